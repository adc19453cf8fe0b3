//! Load levels and what they say.

use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::report::number;
use crate::report::prose::Prose;
use crate::report::view::View;
use crate::report::wording::load;

/// Levels as a table, then sentences; nothing where the run says nothing about load.
pub fn section(view: &View, screen: &mut Screen) {
    let saturation = &view.analysis().saturation;
    let sentences = load::sentences(saturation);
    if sentences.is_empty() {
        return;
    }
    screen.heading("LOAD", &Prose::new());
    if saturation.levels.len() > 1 {
        let mut table = Table::new(vec![
            Column::right("offered per s"),
            Column::right("done per s"),
            Column::right("under way"),
            Column::right("mean ms"),
            Column::left("where the mean went").optional(1),
        ]);
        for level in &saturation.levels {
            table.cells(vec![
                Row::of(number::rate(level.offered_per_s), Paint::Plain),
                Row::of(number::rate(level.achieved_per_s), Paint::Plain),
                Row::of(number::calls(level.concurrency), Paint::Plain),
                Row::of(number::ms(level.mean_ms), Paint::Bold),
                Row::of(load::composition(level), Paint::Dim),
            ]);
        }
        table.render(screen);
    }
    for sentence in sentences {
        screen.prose(Row::of("  ", Paint::Plain), &sentence, Paint::Plain);
    }
}
