//! A comparison in the terminal: the answer, what it rests on, the steps, and the operations that matter.

use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::compare::{Change, Comparison, OperationChange, Status, StepChange, Verdict};
use crate::report::Style;
use crate::report::number::{self, signed};
use crate::report::prose::Prose;
use crate::report::wording::comparison as wording;

/// Operations that are listed at most.
const OPERATIONS: usize = 10;
/// Changes of structure that are listed at most.
const STRUCTURE: usize = 15;
/// Services that are listed at most.
const SERVICES: usize = 8;

/// The comparison as text of at most `style.width` columns.
pub fn comparison(c: &Comparison, style: Style) -> String {
    draw(c, style).finish()
}

fn draw(c: &Comparison, style: Style) -> Screen {
    let mut screen = Screen::new(style);
    let paint = match c.status {
        Status::Regressed => Paint::Bad,
        Status::Invalid => Paint::Caution,
        Status::Same | Status::CannotTell => Paint::Bold,
    };
    screen.prose(Row::new(), &wording::headline(c), paint);
    screen.blank();
    screen.prose(margin(), &wording::design_line(c), Paint::Dim);
    if let Some(line) = wording::whole_line(c) {
        screen.prose(margin(), &line, Paint::Plain);
    }
    for reason in &c.reasons {
        screen.prose(
            Row::of("  ! ", Paint::Caution),
            &Prose::new().foreign(&reason.to_string()),
            Paint::Caution,
        );
    }
    for reason in &c.allowed {
        let words = Prose::from("let pass: ").foreign(&reason.to_string());
        screen.prose(Row::of("  ! ", Paint::Caution), &words, Paint::Caution);
    }
    structure(c, &mut screen);
    steps(c, &mut screen);
    operations(c, &mut screen);
    services(c, &mut screen);
    screen
}

fn margin() -> Row {
    Row::of("  ", Paint::Plain)
}

fn structure(c: &Comparison, screen: &mut Screen) {
    if c.structure.is_empty() {
        return;
    }
    screen.heading("STRUCTURE", &"what came, went, or became more; no statistics needed".into());
    for change in c.structure.iter().take(STRUCTURE) {
        let (mark, paint) = if change.alarm { ("  ! ", Paint::Bad) } else { ("    ", Paint::Plain) };
        screen.prose(Row::of(mark, paint), &wording::structure_line(change), paint);
    }
    more(c.structure.len(), STRUCTURE, screen);
}

fn more(all: usize, listed: usize, screen: &mut Screen) {
    if all > listed {
        let words = format!("{} more in compare.json", number::count((all - listed) as u64));
        screen.prose(Row::of("    ", Paint::Plain), &words.into(), Paint::Dim);
    }
}

fn verdict(v: Verdict) -> Row {
    let paint = match v {
        Verdict::Regressed => Paint::Bad,
        Verdict::Improved => Paint::Good,
        Verdict::Same => Paint::Plain,
        Verdict::CannotTell => Paint::Dim,
    };
    Row::of(wording::verdict_word(v), paint)
}

fn cells(change: Option<&Change>) -> [Row; 3] {
    let plain = |text: String| Row::of(text, Paint::Plain);
    let Some(change) = change else { return [Row::new(), Row::new(), Row::new()] };
    [
        plain(wording::from_to(change)),
        Row::of(wording::change_of(change.ratio), Paint::Bold),
        plain(wording::interval(change).unwrap_or_default()),
    ]
}

fn steps(c: &Comparison, screen: &mut Screen) {
    if c.steps.is_empty() {
        return;
    }
    screen.heading("STEPS", &"latency in ms, base → head, with 95 % intervals".into());
    let mut columns = vec![
        Column::flexible("step"),
        Column::right("p50"),
        Column::right("change"),
        Column::right("interval").optional(2),
    ];
    let (p95, change) = (Column::right("p95"), Column::right("change"));
    let with_p25 = wording::shows_p25(&c.steps);
    if with_p25 {
        // Where there is no room for all three, the tail goes: it shows nothing here.
        columns.extend([p95.optional(1), change.optional(1), Column::right("interval").optional(3)]);
        columns.extend([
            Column::right("p25"),
            Column::right("change"),
            Column::right("interval").optional(2),
        ]);
    } else {
        columns.extend([p95, change, Column::right("interval").optional(1)]);
    }
    columns.push(Column::left("verdict"));
    let mut table = Table::new(columns);
    for step in &c.steps {
        let mut row = vec![Row::of(screen.foreign(&step.name, 400), Paint::Bold)];
        let quantiles = if with_p25 { 3 } else { 2 };
        row.extend(step.latency.iter().take(quantiles).flat_map(|change| cells(change.as_ref())));
        row.push(verdict(step.verdict));
        table.cells(row.into_iter().map(|r| shown(r, screen)).collect());
    }
    table.render(screen);
    for step in c.steps.iter().filter(|s| worth_dividing(s)) {
        if let Some(part) = wording::main_part(step) {
            screen.prose(margin(), &Prose::new().name(&step.name).own(": ").then(part), Paint::Plain);
        }
    }
}

/// Whether a step's difference is large enough to say where it sits.
fn worth_dividing(step: &StepChange) -> bool {
    matches!(step.verdict, Verdict::Regressed | Verdict::Improved)
        || step.attribution.change_ms.abs() >= 0.05 * step.mean_ms.base
}

/// In the characters that this terminal has, so that columns are measured as they are printed.
fn shown(row: Row, screen: &Screen) -> Row {
    Row(row.0.into_iter().map(|(text, paint)| (screen.text(&text), paint)).collect())
}

fn operations(c: &Comparison, screen: &mut Screen) {
    let changed = |o: &&OperationChange| matches!(o.verdict, Verdict::Regressed | Verdict::Improved);
    let all: Vec<&OperationChange> = c.operations.iter().filter(changed).collect();
    let tested = c.operations.iter().filter(|o| wording::worst(o).is_some()).count();
    if tested == 0 {
        return;
    }
    let same = c.operations.iter().filter(|o| o.verdict == Verdict::Same).count();
    let aside = format!("{} changed of {tested} tested, {same} are the same; times in ms", all.len());
    screen.heading("OPERATIONS", &aside.into());
    if all.is_empty() {
        return;
    }
    let mut table = Table::new(vec![
        Column::flexible("operation"),
        Column::left("service").optional(1),
        Column::left("of"),
        Column::right("base → head"),
        Column::right("change"),
        Column::right("interval").optional(2),
        Column::left("verdict"),
    ]);
    for op in all.iter().take(OPERATIONS) {
        let Some((what, change)) = wording::worst(op) else { continue };
        let [from_to, by, interval] = cells(Some(change));
        let row = vec![
            Row::of(screen.foreign(&op.key.name, 400), Paint::Bold),
            Row::of(screen.foreign(&op.key.service, 24), Paint::Plain),
            Row::of(what, Paint::Plain),
            from_to,
            by,
            interval,
            verdict(op.verdict),
        ];
        table.cells(row.into_iter().map(|r| shown(r, screen)).collect());
    }
    table.render(screen);
    more(all.len(), OPERATIONS, screen);
}

fn services(c: &Comparison, screen: &mut Screen) {
    let least = c.settings.min_change_ms;
    let all: Vec<_> = c.services.iter().filter(|s| wording::is_shown(s, least)).collect();
    if all.is_empty() {
        return;
    }
    let (figures, with_suspicion) = wording::services(c);
    screen.heading("SERVICES", &figures.into());
    let mut columns = vec![Column::flexible("service")];
    columns.extend(with_suspicion.then(|| Column::right("suspicion")));
    columns.extend([
        Column::right("own base → head"),
        Column::right("ways from it base → head").optional(1),
        Column::right("change"),
    ]);
    let mut table = Table::new(columns);
    for service in all.iter().take(SERVICES) {
        let from_to = |s: crate::compare::Sides| format!("{} → {}", number::ms(s.base), number::ms(s.head));
        let mut row = vec![Row::of(screen.foreign(&service.service, 400), Paint::Bold)];
        let suspicion = service.suspicion_ms.map(|ms| signed(ms, 2)).unwrap_or_default();
        row.extend(with_suspicion.then(|| Row::of(suspicion, Paint::Bold)));
        row.extend([
            Row::of(from_to(service.own_ms), Paint::Plain),
            Row::of(from_to(service.network_ms), Paint::Plain),
            Row::of(signed(service.change_ms(), 2), Paint::Plain),
        ]);
        table.cells(row.into_iter().map(|r| shown(r, screen)).collect());
    }
    table.render(screen);
    more(all.len(), SERVICES, screen);
}

#[cfg(test)]
pub(in crate::report) fn clips(c: &Comparison, style: Style) -> bool {
    draw(c, style).clipped()
}
