//! The keys and how to read the screen, over the rest.

use super::super::canvas::{Canvas, Ink};
use super::super::model::Model;

/// Columns inside of the frame.
const COLUMNS: u16 = 66;

fn lines(model: &Model) -> Vec<(&'static str, &'static str)> {
    let mut lines = Vec::new();
    if model.setup.may_change {
        lines.extend([
            ("p, space", "pause the load, or go on"),
            ("+  -", "more or less load than planned; kept in the report"),
            ("n", "on to the next stage"),
        ]);
    }
    lines.extend([
        ("s", "stop the load and report"),
        ("↑ ↓, tab", "choose a step: shows its latency and contributors"),
        ("q, Ctrl-C", "end as interrupted, with a report; twice: at once"),
        ("?, h, Esc", "close this help"),
        ("", ""),
        ("latency", "since the moment a request was due, errors included"),
        ("mean, bars", "latency of the last 20 s by what spent it, from a"),
        ("", "sample of some 50 requests a second"),
        ("joined", "share of that sample with server spans; the rest is"),
        ("", "`untraced`. The report is made from all requests"),
    ]);
    lines
}

/// Draws the help in the middle, as much as fits.
pub fn draw(model: &Model, (columns, rows): (u16, u16), canvas: &mut Canvas) {
    let lines = lines(model);
    let width = (COLUMNS + 4).min(columns);
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
            canvas.put((x + 13, row), usize::from(width).saturating_sub(15), words, Ink::Plain);
        }
    }
}
