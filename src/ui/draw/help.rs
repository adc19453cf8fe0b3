//! The keys and how to read the screen, over the rest.

use super::super::canvas::{Canvas, Ink};
use super::super::model::Model;

/// Columns inside of the frame.
const COLUMNS: u16 = 66;

/// Columns before the words, the frame's included, and after them.
const BEFORE: u16 = 13;
const AFTER: u16 = 2;

fn entries(model: &Model) -> Vec<(&'static str, &'static str)> {
    let mut entries = Vec::new();
    if model.setup.may_change {
        entries.extend([
            ("p, space", "pause the load, or go on"),
            ("+  -", "more or less load; the report tells it"),
            ("n", "on to the next stage; in the last: to its end"),
        ]);
    }
    entries.extend([
        ("s", "stop the load and report"),
        ("↑ ↓, tab", "choose a step: its latency, its contributors"),
        ("q, Ctrl-C", "end as interrupted; twice: at once"),
        ("?, h, Esc", "close this help"),
        ("", ""),
        ("latency", "since a request was due, errors included"),
        (
            "mean, bars",
            "latency of the last 20 s and what spent it, from a sample of some 50 requests a second",
        ),
        ("joined", "share of that sample with server spans; the rest is `untraced`"),
        ("lag", "how late the generator's own timers are"),
        ("report", "made from all requests, not from the sample"),
    ]);
    entries
}

/// The entries as lines no longer than this; the key stands in the first of its lines.
fn lines(entries: &[(&'static str, &'static str)], columns: usize) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (key, words) in entries {
        lines.push((*key, String::new()));
        for word in words.split(' ') {
            match lines.last_mut() {
                Some((_, line)) if line.is_empty() => line.push_str(word),
                Some((_, line)) if line.chars().count() + 1 + word.chars().count() <= columns => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(("", word.to_owned())),
            }
        }
    }
    lines
}

/// Draws the help in the middle, as much as fits.
pub fn draw(model: &Model, (columns, rows): (u16, u16), canvas: &mut Canvas) {
    let width = (COLUMNS + 4).min(columns);
    let room = usize::from(width.saturating_sub(BEFORE + AFTER));
    let mut lines = lines(&entries(model), room);
    if lines.len() + 2 > usize::from(rows) {
        lines.retain(|(_, words)| !words.is_empty());
    }
    let height = (lines.len() as u16 + 2).min(rows);
    let (x, y) = ((columns - width) / 2, (rows - height) / 2);
    canvas.clear((x.saturating_sub(1), y), ((width + 2).min(columns), height));
    let across = canvas.either('─', '-').to_string().repeat(usize::from(width - 2));
    let corners = if canvas.look.unicode { ['╭', '╮', '╰', '╯'] } else { ['+'; 4] };
    canvas.put((x, y), usize::from(width), &format!("{}{across}{}", corners[0], corners[1]), Ink::Dim);
    let bottom = format!("{}{across}{}", corners[2], corners[3]);
    canvas.put((x, y + height - 1), usize::from(width), &bottom, Ink::Dim);
    canvas.put((x + 2, y), 6, " Help ", Ink::Bold);
    let side = canvas.either('│', '|').to_string();
    for (i, row) in (y + 1..y + height - 1).enumerate() {
        canvas.put((x, row), 1, &side, Ink::Dim);
        canvas.put((x + width - 1, row), 1, &side, Ink::Dim);
        if let Some((key, words)) = lines.get(i) {
            canvas.put((x + 2, row), 10, key, Ink::Bold);
            canvas.put((x + BEFORE, row), room, words, Ink::Plain);
        }
    }
}
