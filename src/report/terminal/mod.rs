//! The report as terminal text: the answer first, then what it rests on.
//!
//! Nothing is said by colour alone, no line is wider than asked for, and foreign text cannot act on the terminal.

mod bar;
mod comparison;
mod detail;
mod evidence;
mod findings;
mod imagined;
mod load;
mod screen;
mod steps;
mod table;

#[cfg(test)]
pub(super) use comparison::clips;
pub use comparison::comparison;

use super::view::View;
use super::wording::{self, Level, Message, ledger};
use super::{Report, Style, number};
use screen::{Paint, Row, Screen};

/// The report as text of at most `style.width` columns.
pub fn terminal(report: &Report, style: Style) -> String {
    draw(report, style).finish()
}

/// Everything, drawn.
fn draw(report: &Report, style: Style) -> Screen {
    let view = View::new(report);
    let messages = wording::messages(&view);
    let mut screen = Screen::new(style);
    screen.prose(Row::new(), &wording::verdict::headline(&view), Paint::Bold);
    screen.blank();
    facts(&view, &messages, &mut screen);
    steps::section(&view, &mut screen);
    steps::failures(&view, &mut screen);
    steps::checks(&view, &mut screen);
    steps::conversations(&view, &mut screen);
    for step in view.detailed() {
        detail::section(step, &view, &mut screen);
    }
    findings::section(&view, &mut screen);
    imagined::section(&view, &mut screen);
    load::section(&view, &mut screen);
    findings::thresholds(&view, &mut screen);
    evidence::section(&view, &mut screen);
    evidence::messages(&messages, &mut screen);
    evidence::traces(&view, &mut screen);
    evidence::files(&view, &mut screen);
    screen
}

/// What was run, in two lines.
fn facts(view: &View, messages: &[Message], screen: &mut Screen) {
    screen.prose(margin(), &ledger::run(view), Paint::Dim);
    screen.prose(margin(), &ledger::totals(view), Paint::Plain);
    let warnings = messages.iter().filter(|m| m.level == Level::Warning).count();
    if warnings > 0 {
        let words = number::counted(warnings as u64, "warning", "warnings");
        screen.prose(
            margin(),
            &format!("{words} below: read them before you trust the numbers").into(),
            Paint::Caution,
        );
    }
    let failed = view.report.thresholds.iter().filter(|t| !t.passed).count();
    if failed > 0 {
        let all = number::counted(view.report.thresholds.len() as u64, "threshold", "thresholds");
        screen.prose(margin(), &format!("{failed} of {all} failed").into(), Paint::Bad);
    }
}

fn margin() -> Row {
    Row::of("  ", Paint::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn no_layout_needs_clipping() {
        for sample in sample::all() {
            for width in 60..=120 {
                for unicode in [true, false] {
                    let screen = draw(&sample.report(), Style { color: false, width, unicode });
                    assert!(!screen.clipped(), "{} at {width}:\n{}", sample.name, screen.finish());
                }
            }
        }
    }
}
