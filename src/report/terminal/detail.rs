//! One step in detail: who owns its time, and what its slowest requests spend more.

use super::bar;
use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::analysis::result::{Band, Category};
use crate::report::number::{self, count, counted, ms, nanos, percent, signed};
use crate::report::view::{self, Owner, StepView, TAIL_MIN, Tail, View};
use crate::report::wording;

/// Cells of the bar beside a share.
const BAR: usize = 8;

/// Contributors and tail of one step.
pub fn section(step: &StepView, view: &View, screen: &mut Screen) {
    let title = screen.foreign(&view.step_name(step.result.step), 60);
    let slow = step.result.bands[Band::Slow as usize].exchanges;
    let service = match view::only_service(step) {
        Some(service) => format!(", all in {}", screen.foreign(service, 24)),
        None => String::new(),
    };
    let aside = format!(
        "{}, mean {}, p95 {}{service}",
        counted(step.result.exchanges, "request", "requests"),
        nanos(step.latency.mean),
        nanos(step.latency.p95)
    );
    screen.heading(&title, &aside.into());
    contributors(step, slow > 0, screen);
    if let Some(text) = wording::at_p95(slow) {
        screen.prose(Row::of("  ", Paint::Plain), &text.into(), Paint::Dim);
    }
    tail(step, screen);
}

fn contributors(step: &StepView, at_p95: bool, screen: &mut Screen) {
    // One service for all rows is said above the table once.
    let service = match view::only_service(step) {
        Some(_) => Column::hidden(),
        None => Column::left("service").optional(2),
    };
    let mut table = Table::new(vec![
        Column::left("  category"),
        Column::flexible("what"),
        service,
        Column::right("calls"),
        Column::right("mean ms"),
        Column::right("share"),
        Column::left("").optional(3),
        Column::right(if at_p95 { "at p95" } else { "" }),
    ]);
    let (shown, rest) = step.shown();
    for owner in &shown {
        table.cells(owner_cells(owner, step, screen));
    }
    let plain = |text: String| Row::of(text, Paint::Dim);
    if !rest.is_empty() {
        let sum = view::sum(&rest);
        table.cells(vec![
            Row::new(),
            plain(format!("{} more", count(rest.len() as u64))),
            Row::new(),
            Row::new(),
            plain(ms(sum.mean_ms)),
            plain(percent(sum.share)),
            Row::new(),
            plain(sum.tail_share.map(percent).unwrap_or_default()),
        ]);
    }
    // Of the rows above: where requests were sampled, their mean is not quite that of all.
    table.cells(vec![
        Row::new(),
        plain("all".into()),
        Row::new(),
        Row::new(),
        plain(ms(view::sum(&step.contributors.iter().collect::<Vec<_>>()).mean_ms)),
        plain(percent(1.0)),
        Row::new(),
        plain(if at_p95 { percent(1.0) } else { String::new() }),
    ]);
    table.render(screen);
}

fn owner_cells(owner: &Owner, step: &StepView, screen: &Screen) -> Vec<Row> {
    let c = &owner.result.contributor;
    let plain = |text: String| Row::of(text, Paint::Plain);
    let name = wording::contributor_label(owner, step);
    vec![
        bar::key(c.category, screen),
        plain(screen.foreign(&name, 200)),
        plain(screen.foreign(&c.service, 16)),
        plain(if owner.calls > 0.0 { number::calls(owner.calls) } else { String::new() }),
        plain(ms(owner.part.mean_ms)),
        plain(percent(owner.part.share)),
        bar::single(c.category, owner.part.share, BAR, screen),
        plain(owner.part.tail_share.map(percent).unwrap_or_default()),
    ]
}

/// The slowest 10 % and 1 % against the typical half: the excess of each category, summing to the gap.
fn tail(step: &StepView, screen: &mut Screen) {
    let tails: Vec<&Tail> = step.tails.iter().filter(|t| t.exchanges >= TAIL_MIN).collect();
    let Some(first) = tails.first() else { return };
    screen.blank();
    let mut table = Table::new(columns(&tails, screen.width() < 80));
    table.cells(head_cells(first, &tails));
    let largest = tails.iter().map(|t| t.mean_ms).fold(first.typical_mean_ms, f64::max);
    let digits = number::digits_for(largest);
    let worth = |i: usize| {
        tails.iter().any(|t| {
            let part = &t.categories[i];
            part.typical_ms.max(part.tail_ms) >= largest * 0.02
        })
    };
    let (shown, rest): (Vec<usize>, Vec<usize>) = (0..Category::ALL.len()).partition(|i| worth(*i));
    for i in view::by_excess(shown, first) {
        let category = Category::ALL[i];
        table.cells(tail_cells(bar::key(category, screen), &[i], &tails, digits, Paint::Plain));
    }
    if rest.iter().any(|i| tails.iter().any(|t| t.categories[*i].typical_ms + t.categories[*i].tail_ms > 0.0))
    {
        table.cells(tail_cells(Row::of("  other", Paint::Plain), &rest, &tails, digits, Paint::Plain));
    }
    let all: Vec<usize> = (0..Category::ALL.len()).collect();
    table.cells(tail_cells(Row::of("  all", Paint::Dim), &all, &tails, digits, Paint::Dim));
    table.render(screen);
    if let Some(main) = wording::main_excess(step, first) {
        screen.prose(Row::of("  ", Paint::Plain), &main, Paint::Plain);
    }
    for sentence in wording::group::slow_with(step) {
        screen.prose(Row::of("  ", Paint::Plain), &sentence, Paint::Plain);
    }
}

/// Where it is narrow the columns have the quantiles' names; where that is not enough, the slowest 1 % go.
fn columns(tails: &[&Tail], narrow: bool) -> Vec<Column> {
    let title = |wide, short| Column::right(if narrow { short } else { wide });
    let mut columns = vec![Column::left("  mean ms"), title("typical half", "≤ p50")];
    for tail in tails {
        if tail.percent == 10 {
            columns.extend([title("slowest 10 %", "> p90"), Column::right("more")]);
        } else {
            columns.extend([title("slowest 1 %", "> p99"), Column::right("more")].map(|c| c.optional(1)));
        }
    }
    columns
}

/// How many requests each column is the mean of.
fn head_cells(first: &Tail, tails: &[&Tail]) -> Vec<Row> {
    let n = |n: u64| Row::of(format!("n = {}", count(n)), Paint::Dim);
    let mut cells = vec![Row::new(), n(first.typical_exchanges)];
    for tail in tails {
        cells.extend([n(tail.exchanges), Row::new()]);
    }
    cells
}

fn tail_cells(name: Row, categories: &[usize], tails: &[&Tail], digits: usize, paint: Paint) -> Vec<Row> {
    let typical = |t: &Tail| categories.iter().map(|i| t.categories[*i].typical_ms).sum::<f64>();
    let slow = |t: &Tail| categories.iter().map(|i| t.categories[*i].tail_ms).sum::<f64>();
    let mut cells = vec![name];
    cells.extend(tails.first().map(|t| Row::of(number::grouped(typical(t), digits), paint)));
    for t in tails {
        cells.push(Row::of(number::grouped(slow(t), digits), paint));
        let more = if paint == Paint::Plain { Paint::Bold } else { paint };
        cells.push(Row::of(signed(slow(t) - typical(t), digits), more));
    }
    cells
}
