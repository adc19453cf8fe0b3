//! The table of steps and what failed in them.

use super::bar;
use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::report::checks;
use crate::report::number::{self, count, counted, ms, percent};
use crate::report::prose::Prose;
use crate::report::view::{StepView, View};
use crate::report::wording;

/// Shares below this stay without a word beside the bar.
const LABEL_MIN: f64 = 0.02;

/// Numbers of every step, and under each a bar of where its mean latency went.
pub fn section(view: &View, screen: &mut Screen) {
    if view.steps.is_empty() {
        return;
    }
    let since = if view.run().load.open_model {
        "latency in ms since the moment a request was due"
    } else {
        "latency in ms"
    };
    screen.heading("STEPS", &format!("{since}; bars show where the mean went").into());
    let mut table = Table::new(vec![
        Column::flexible("step"),
        Column::right("requests"),
        Column::right("per s"),
        Column::right("errors"),
        Column::right("mean"),
        Column::right("p50"),
        Column::right("p95"),
        Column::right("p99"),
    ]);
    let slowest = view.steps.iter().map(|s| s.latency.mean.as_millis_f64()).fold(0.0, f64::max);
    for step in &view.steps {
        table.cells(cells(step, view, screen));
        if step.result.exchanges > 0 {
            table.free(bar_line(step, slowest, screen));
        }
    }
    table.render(screen);
    legend(view, screen);
}

fn cells(step: &StepView, view: &View, screen: &Screen) -> Vec<Row> {
    let name = Row::of(screen.foreign(&view.step_name(step.result.step), 400), Paint::Bold);
    if step.result.exchanges == 0 {
        return vec![name, Row::of("0", Paint::Plain)];
    }
    let plain = |text: String| Row::of(text, Paint::Plain);
    let errors = match step.result.errors {
        0 => plain("0".into()),
        n => Row::of(count(n), Paint::Bad),
    };
    let l = &step.latency;
    vec![
        name,
        plain(count(step.result.exchanges)),
        plain(number::rate(step.rate)),
        errors,
        plain(ms(l.mean.as_millis_f64())),
        plain(ms(l.p50.as_millis_f64())),
        Row::of(ms(l.p95.as_millis_f64()), Paint::Bold),
        plain(ms(l.p99.as_millis_f64())),
    ]
}

/// The bar's length is the mean against that of the slowest step; its parts are the categories.
fn bar_line(step: &StepView, slowest: f64, screen: &Screen) -> Row {
    let cells = if screen.width() >= 90 { 44 } else { 26 };
    let mean = step.latency.mean.as_millis_f64();
    let length =
        if slowest > 0.0 { ((mean / slowest * cells as f64).round() as usize).clamp(1, cells) } else { 0 };
    let parts: Vec<_> = step.categories.iter().map(|p| (p.category, p.mean_ms)).collect();
    let mut row = Row::of("  ", Paint::Plain).then(bar::stacked(&parts, length, screen));
    let mut gap = "  ";
    for part in step.largest().into_iter().filter(|p| p.share >= LABEL_MIN) {
        let label = format!("{gap}{} {}", part.category.name(), percent(part.share));
        if row.width() + label.len() > screen.width() {
            break;
        }
        row = row.push(label, Paint::Dim);
        gap = ", ";
    }
    row
}

/// Marks and meanings of the categories that occur.
fn legend(view: &View, screen: &mut Screen) {
    let seen = view.categories_seen();
    if seen.is_empty() {
        return;
    }
    screen.blank();
    let entries: Vec<Row> = seen
        .iter()
        .map(|c| {
            let mark = bar::mark(*c, screen).to_string().repeat(2);
            Row::of(mark, Paint::Category(*c)).push(format!(" {}", c.name()), Paint::Plain)
        })
        .collect();
    // As many aligned columns as fit, so that the legend reads like a small table.
    let cell = entries.iter().map(Row::width).max().unwrap_or(0) + 3;
    let per_line = ((screen.width() - 2) / cell).clamp(1, entries.len());
    let lines = entries.len().div_ceil(per_line);
    let per_line = entries.len().div_ceil(lines);
    for chunk in entries.chunks(per_line) {
        let mut row = Row::new();
        for (i, entry) in chunk.iter().enumerate() {
            row = row.pad_to(2 + i * cell).then(entry.clone());
        }
        screen.row(row);
    }
}

/// Checks beyond the status, each with how often it held.
pub fn checks(view: &View, screen: &mut Screen) {
    let stated = checks::stated(view);
    if stated.is_empty() {
        return;
    }
    screen.heading("CHECKS", &Prose::new());
    let mut table =
        Table::new(vec![Column::flexible("check"), Column::right("passed"), Column::right("failed")]);
    for (step, checks) in stated {
        let name = screen.foreign(&view.step_name(step.result.step), 400);
        table.cells(vec![Row::of(name, Paint::Bold)]);
        for check in checks {
            let paint = if check.failed > 0 { Paint::Bad } else { Paint::Plain };
            table.cells(vec![
                Row::of("  ", Paint::Plain).then(Row::of(screen.foreign(check.name, 80), Paint::Plain)),
                Row::of(count(check.passed), Paint::Plain),
                Row::of(count(check.failed), paint),
            ]);
        }
    }
    table.render(screen);
}

/// Failures by class, bad statuses and checks that did not hold, for each step that has any.
pub fn failures(view: &View, screen: &mut Screen) {
    let bad: Vec<_> =
        view.steps.iter().filter(|s| s.result.errors > 0 || s.result.checks_failed > 0).collect();
    if bad.is_empty() {
        return;
    }
    screen.heading("ERRORS", &Prose::new());
    for step in bad {
        let head = Prose::new().name(&view.step_name(step.result.step)).own(format!(
            ": {} of {}",
            counted(step.result.errors, "error", "errors"),
            counted(step.result.exchanges, "request", "requests")
        ));
        screen.prose(Row::of("  ", Paint::Plain), &head, Paint::Plain);
        for line in wording::failures(step) {
            screen.prose(Row::of("    ", Paint::Plain), &line, Paint::Plain);
        }
    }
}

/// What was said within requests that are more than a question and its answer.
pub fn conversations(view: &View, screen: &mut Screen) {
    let all = wording::conversations(view);
    if all.is_empty() {
        return;
    }
    screen.heading("MESSAGES", &Prose::new());
    for sentence in all {
        screen.prose(Row::of("  ", Paint::Plain), &sentence, Paint::Plain);
    }
}
