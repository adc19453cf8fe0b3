//! One frame: model, view and size in, cells out. Where there is little room, what matters least is left out first; where
//! there is next to none, three lines are left.

mod foot;
mod head;
mod help;
mod latency;
mod load;
mod steps;
mod work;

use super::canvas::{Canvas, Look};
use super::keys::View;
use super::model::Model;
use ratatui::buffer::Buffer;

/// Least room for a picture; below it, lines of text.
const COLUMNS_MIN: u16 = 44;
const LINES_MIN: u16 = 10;
/// Widest picture: beyond, lines get too long for the eye.
const COLUMNS_MAX: u16 = 160;

/// A rectangle of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Part {
    x: u16,
    y: u16,
    columns: u16,
    lines: u16,
}

impl Part {
    fn right(self) -> u16 {
        self.x + self.columns
    }

    fn width(self) -> usize {
        usize::from(self.columns)
    }

    /// Cuts lines off the top.
    fn take(&mut self, lines: u16) -> Part {
        let lines = lines.min(self.lines);
        let part = Part { lines, ..*self };
        self.y += lines;
        self.lines -= lines;
        part
    }

    /// Cuts lines off the bottom.
    fn take_last(&mut self, lines: u16) -> Part {
        let lines = lines.min(self.lines);
        self.lines -= lines;
        Part { y: self.y + self.lines, lines, ..*self }
    }

    /// Divides the columns, with a gap between.
    fn split(self, left: u16, gap: u16) -> (Part, Part) {
        let left = left.min(self.columns);
        let rest = self.columns.saturating_sub(left + gap);
        (Part { columns: left, ..self }, Part { x: self.x + left + gap, columns: rest, ..self })
    }
}

/// Draws the whole buffer.
pub fn draw(model: &Model, view: View, look: Look, buffer: &mut Buffer) {
    let mut canvas = Canvas::new(buffer, look);
    let (columns, lines) = canvas.size();
    if columns < COLUMNS_MIN || lines < LINES_MIN {
        head::tiny(model, &mut canvas);
        return;
    }
    let mut rest = Part { x: 1, y: 0, columns: columns.min(COLUMNS_MAX) - 2, lines };
    head::draw(model, rest.take(if lines < 14 { 2 } else { 3 }), &mut canvas);
    foot::draw(model, view, rest.take_last(if lines < 18 { 2 } else { 3 }), &mut canvas);
    let gap = u16::from(lines >= 22);
    if lines >= 30 {
        rest.take(1);
        rest.take_last(1);
    }
    let spare = rest.lines.saturating_sub(steps::wanted(model) + work::wanted(model) + 2 * gap);
    let numbers = rest.take(load_lines(model, rest.lines, spare));
    let (left, right) = numbers.split(numbers.columns * 2 / 5, 2);
    load::draw(model, left, &mut canvas);
    latency::draw(model, view, right, &mut canvas);
    rest.take(gap);
    let steps = steps::wanted(model).min(rest.lines.saturating_sub(work::least(model, rest.lines) + gap));
    steps::draw(model, view, rest.take(steps), &mut canvas);
    rest.take(gap);
    work::draw(model, view, rest, &mut canvas);
    if view.help {
        help::draw(model, (columns, lines), &mut canvas);
    }
}

/// Lines for the numbers of the load and the curves beside them.
fn load_lines(model: &Model, lines: u16, spare: u16) -> u16 {
    let fewest = load::lines(model);
    match lines {
        ..8 => fewest.min(lines.saturating_sub(4)).min(4),
        8..14 => 4,
        14..22 => fewest.min(7),
        _ => spare.clamp(fewest, 14),
    }
}
