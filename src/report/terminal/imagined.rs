//! Imagined changes.

use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::report::prose::Prose;
use crate::report::view::View;
use crate::report::wording::imagined;

/// A table for each change that was asked about.
pub fn section(view: &View, screen: &mut Screen) {
    for result in &view.analysis().what_if {
        screen.heading("WHAT IF", &Prose::new().foreign(&result.text));
        screen.prose(Row::of("  ", Paint::Plain), &imagined::about(result), Paint::Plain);
        let touched = result.steps.iter().filter(|s| s.touched > 0);
        let mut table = Table::new(vec![
            Column::flexible("step"),
            Column::right("changed").optional(1),
            Column::right("p50 ms"),
            Column::right("p95 ms"),
            Column::right("p99 ms").optional(2),
        ]);
        let mut any = false;
        for step in touched {
            any = true;
            let name = screen.foreign(&view.step_name(step.step), 48);
            let change = |of| Row::of(screen.text(&imagined::change(step, of)), Paint::Plain);
            table.cells(vec![
                Row::of(name, Paint::Plain),
                Row::of(crate::report::number::count(step.touched), Paint::Dim),
                change(|q| q.p50),
                change(|q| q.p95),
                change(|q| q.p99),
            ]);
        }
        if any {
            table.render(screen);
        } else if !result.matched.is_empty() {
            screen.prose(Row::of("  ", Paint::Plain), &"No request would get shorter.".into(), Paint::Plain);
        }
        if let Some(range) = imagined::range(result) {
            screen.prose(Row::of("  ", Paint::Plain), &range, Paint::Dim);
        }
    }
}
