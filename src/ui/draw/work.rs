//! The contributors with most time, of all steps or of the chosen one.

use super::super::canvas::{Canvas, Ink};
use super::super::keys::View;
use super::super::model::{BLAME_NOW, Model};
use super::{Part, steps};
use crate::report::look::{self, Category, Contributor, calls, count, ms, percent};

/// Columns of the category's name: `connection` is the longest with its mark.
const CATEGORY: usize = 13;

/// Lines that it takes where there is room for all.
pub fn wanted(model: &Model) -> u16 {
    if model.setup.expects_spans { 9 } else { 0 }
}

/// Lines that are kept for it below the steps.
pub fn least(model: &Model, lines: u16) -> u16 {
    match lines {
        _ if !model.setup.expects_spans => 0,
        ..7 => 0,
        7..10 => 3,
        10..14 => 4,
        _ => 6,
    }
}

/// Heading and rows.
pub fn draw(model: &Model, view: View, mut part: Part, canvas: &mut Canvas) {
    if part.lines < 2 || !model.setup.expects_spans {
        return;
    }
    let heading = part.take(1);
    let divided = model.divided(view.row);
    let wide = part.columns >= 64;
    let right = part.right();
    let used = canvas.put((heading.x, heading.y), heading.width(), "Top contributors", Ink::Bold);
    let whose = match view.row.checked_sub(1) {
        Some(step) => format!("of {}", steps::name_of(model, step)),
        None => "of all steps".into(),
    };
    let seconds = BLAME_NOW.0 / 1_000_000_000;
    let long = format!("{whose}, {} requests of the last {seconds} s", count(divided.exchanges));
    let short = format!("{whose}, last {seconds} s");
    let room = heading.width().saturating_sub(used + 2 + if wide { 24 } else { 9 });
    let fits = [long, short].into_iter().find(|text| canvas.width(text) <= room && divided.exchanges > 0);
    let aside = canvas.foreign(&fits.unwrap_or(whose), room);
    canvas.put((heading.x + used as u16 + 2, heading.y), room, &aside, Ink::Dim);
    canvas.right((right, heading.y), 7, "share", Ink::Dim);
    if wide {
        canvas.right((right - 8, heading.y), 8, "mean ms", Ink::Dim);
        canvas.right((right - 17, heading.y), 8, "calls", Ink::Dim);
    }
    let total = divided.categories.total().0.max(1) as f64;
    let exchanges = divided.exchanges.max(1) as f64;
    let rows = model.contributors(view.row);
    if rows.is_empty() {
        canvas.put((part.x + 2, part.y), part.width(), waiting(model), Ink::Dim);
    }
    for ((who, n, time), y) in rows.into_iter().filter(|row| row.2.0 > 0).zip(part.y..part.y + part.lines) {
        let mark = canvas.mark(who.category).to_string();
        canvas.put((part.x, y), 1, &mark, Ink::Of(who.category));
        canvas.put((part.x + 2, y), CATEGORY - 3, who.category.name(), Ink::Dim);
        let names = part.width().saturating_sub(CATEGORY + if wide { 26 } else { 9 });
        let name = named(who, names, canvas);
        canvas.put((part.x + CATEGORY as u16, y), names, &name, Ink::Plain);
        canvas.right((right, y), 7, &percent(time.0 as f64 / total), Ink::Bold);
        if wide {
            canvas.right((right - 8, y), 8, &ms(time.as_millis_f64() / exchanges), Ink::Plain);
            let calls = if n == 0 { String::new() } else { calls(n as f64 / exchanges) };
            canvas.right((right - 17, y), 8, &calls, Ink::Plain);
        }
    }
}

fn waiting(model: &Model) -> &'static str {
    if model.spans.stored == 0 {
        "no span has come yet: services send theirs every few seconds"
    } else {
        "spans come; latency is divided once those of a request are complete"
    }
}

/// The service where it says more than the name, then the name as people would say it.
fn named(who: &Contributor, columns: usize, canvas: &Canvas) -> String {
    let name = canvas.foreign(&look::statement(&look::clean(look::contributor_name(who))), columns);
    let own = matches!(who.category, Category::App | Category::Queue | Category::Network);
    let service = canvas.foreign(&who.service, columns / 3);
    if !own || service.is_empty() || name.starts_with(&service) {
        return name;
    }
    let room = columns.saturating_sub(canvas.width(&service) + 2);
    if room < 8 { name } else { format!("{service}: {}", canvas.foreign(&name, room)) }
}
