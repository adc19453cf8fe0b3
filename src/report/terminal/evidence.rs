//! How complete the evidence is, what to doubt, which requests to look at, where the files are.

use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::report::link;
use crate::report::prose::Prose;
use crate::report::view::View;
use crate::report::wording::{self, Level, Message, ledger};

/// Coverage and the books of the run.
pub fn section(view: &View, screen: &mut Screen) {
    screen.heading("EVIDENCE", &Prose::new());
    for (label, prose) in ledger::facts(view) {
        let label = Row::of(format!("  {label}"), Paint::Dim).pad_to(12);
        screen.prose(label, &prose, Paint::Plain);
    }
}

/// Warnings with their way out, then notes.
pub fn messages(messages: &[Message], screen: &mut Screen) {
    for (level, title, paint) in
        [(Level::Warning, "WARNINGS", Paint::Caution), (Level::Note, "NOTES", Paint::Dim)]
    {
        let mut some = messages.iter().filter(|m| m.level == level).peekable();
        if some.peek().is_none() {
            continue;
        }
        screen.heading(title, &Prose::new());
        let mark = if level == Level::Warning { "  ! " } else { "  - " };
        for message in some {
            screen.prose(Row::of(mark, paint), &message.whole(), Paint::Plain);
        }
    }
}

/// Requests to look at in a trace viewer.
pub fn traces(view: &View, screen: &mut Screen) {
    let steps = view.to_look_at();
    if steps.is_empty() {
        return;
    }
    screen.heading("TRACES TO LOOK AT", &Prose::new());
    let mut table = Table::new(vec![
        Column::left("request"),
        Column::right("latency"),
        Column::left("trace id"),
        Column::left("").optional(1),
    ]);
    for step in steps {
        let name = screen.foreign(&view.step_name(step.result.step), screen.width() - 2);
        table.free(Row::of("  ", Paint::Plain).push(name, Paint::Bold));
        for exemplar in step.exemplars() {
            let (role, latency, remark) = wording::exemplar(exemplar);
            table.cells(vec![
                Row::of(role, Paint::Plain),
                Row::of(latency, Paint::Plain),
                Row::of(exemplar.trace_id.to_string(), Paint::Plain),
                Row::of(remark, Paint::Dim),
            ]);
            if let Some(url) = link::url(view, exemplar.trace_id) {
                table.free(Row::of("    ", Paint::Plain).push(url, Paint::Dim));
            }
        }
    }
    table.render(screen);
}

/// Where everything is and how to look again.
pub fn files(view: &View, screen: &mut Screen) {
    screen.heading("FILES", &Prose::new());
    screen.prose(Row::of("  ", Paint::Plain), &ledger::files(view), Paint::Plain);
}
