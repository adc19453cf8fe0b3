//! The steps: numbers of each, and a bar of where its latency went just now.

use super::super::canvas::{Canvas, Ink};
use super::super::keys::View;
use super::super::model::{Divided, Model};
use super::super::series::Series;
use super::Part;
use crate::report::look::{Category, count, ms, percent, rate};

/// Seconds over which a step's rate is taken.
const RATE_OVER: usize = 5;

/// A column of numbers: heading, width, and from which width of the whole on it is shown.
const COLUMNS: [(&str, u16, u16); 6] =
    [("per s", 7, 54), ("errors", 7, 70), ("p50", 8, 100), ("p95", 8, 0), ("p99", 8, 92), ("mean", 8, 62)];

/// Lines that all of it would take.
pub fn wanted(model: &Model) -> u16 {
    let legend = u16::from(model.setup.expects_spans);
    2 + (model.setup.steps.len() as u16).min(200) + legend
}

/// Headings, all steps together, then each; the chosen one is always in sight.
pub fn draw(model: &Model, view: View, mut part: Part, canvas: &mut Canvas) {
    if part.lines == 0 {
        return;
    }
    let table = Table::of(part);
    table.headings(model, part.take(1).y, canvas);
    let legend = (model.setup.expects_spans && part.lines >= 3).then(|| part.take_last(1));
    let rows = model.setup.steps.len() + 1;
    let fits = usize::from(part.lines);
    // The row of all steps stays; of the others, those around the chosen one.
    let rest = fits.saturating_sub(1);
    let first = view.row.saturating_sub(1).saturating_sub(rest / 2).min((rows - 1).saturating_sub(rest));
    let shown = std::iter::once(0).chain((first..rows - 1).map(|step| step + 1));
    for (row, y) in shown.take(fits).zip(part.y..) {
        table.row(model, row, row == view.row, y, canvas);
    }
    let hidden = rows.saturating_sub(fits.max(1));
    if let Some(legend) = legend {
        key(model, hidden, legend, canvas);
    } else if hidden > 0 && fits > 0 {
        canvas.right((part.right(), part.y - 1), 12, &format!("{hidden} more"), Ink::Dim);
    }
}

/// Where the columns are.
struct Table {
    part: Part,
    name: u16,
    /// Headings and right ends of the columns that are shown.
    columns: Vec<(&'static str, u16)>,
    bar: (u16, u16),
    joined: bool,
}

impl Table {
    fn of(part: Part) -> Table {
        let shown = || COLUMNS.iter().filter(|(_, _, from)| part.columns >= *from);
        let numbers: u16 = shown().map(|(_, width, _)| width).sum();
        let joined = part.columns >= 76;
        let tail = if joined { 8 } else { 0 };
        let free = part.columns.saturating_sub(numbers + tail + 4);
        let name = (free * 9 / 20).clamp(8, 36);
        let mut at = part.x + 2 + name;
        let mut columns = Vec::new();
        for (heading, width, _) in shown() {
            at += width;
            columns.push((*heading, at));
        }
        let bar = (at + 2, part.right().saturating_sub(tail + at + 2));
        Table { part, name, columns, bar, joined }
    }

    fn headings(&self, model: &Model, y: u16, canvas: &mut Canvas) {
        canvas.put((self.part.x, y), self.part.width(), "Steps", Ink::Bold);
        for (heading, right) in &self.columns {
            canvas.right((*right, y), 8, heading, Ink::Dim);
        }
        if model.setup.expects_spans {
            let words =
                if self.bar.1 >= 35 { "of the last 20 s, and where it went" } else { "of the last 20 s" };
            canvas.put((self.bar.0, y), usize::from(self.bar.1), words, Ink::Dim);
            if self.joined {
                canvas.right((self.part.right(), y), 8, "joined", Ink::Dim);
            }
        }
    }

    fn row(&self, model: &Model, row: usize, chosen: bool, y: u16, canvas: &mut Canvas) {
        let Some(series) = model.series.get(row) else { return };
        let ink = if chosen { Ink::Chosen } else { Ink::Plain };
        if chosen {
            let mark = canvas.either('▸', '>').to_string();
            canvas.put((self.part.x, y), 1, &mark, Ink::Chosen);
        }
        let name = match row.checked_sub(1) {
            None => "all steps".to_owned(),
            Some(step) => canvas.foreign(&name_of(model, step), usize::from(self.name)),
        };
        canvas.put((self.part.x + 2, y), usize::from(self.name), &name, ink);
        let divided = model.divided(row);
        for (heading, right) in &self.columns {
            let (text, ink) = number(heading, series, &divided);
            canvas.right((*right, y), 8, &text, if chosen && ink == Ink::Plain { Ink::Chosen } else { ink });
        }
        if model.setup.expects_spans {
            self.blame(&divided, series, y, canvas);
        }
    }

    fn blame(&self, divided: &Divided, series: &Series, y: u16, canvas: &mut Canvas) {
        let cells = usize::from(self.bar.1);
        if divided.exchanges == 0 {
            let word = if series.total.done == 0 { "" } else { "waiting for spans" };
            canvas.put((self.bar.0, y), cells, word, Ink::Dim);
            return;
        }
        let parts: Vec<(Category, f64)> =
            Category::ALL.into_iter().map(|c| (c, divided.categories.get(c).0 as f64)).collect();
        canvas.stacked((self.bar.0, y), &parts, cells);
        if self.joined {
            let share = divided.joined as f64 / divided.exchanges as f64;
            let ink = if share < 0.9 { Ink::Caution } else { Ink::Plain };
            canvas.right((self.part.right(), y), 7, &percent(share), ink);
        }
    }
}

/// A step's name; with its journey where another journey has a step of that name.
pub fn name_of(model: &Model, step: usize) -> String {
    let Some((journey, name)) = model.setup.steps.get(step) else { return String::new() };
    let twins = model.setup.steps.iter().filter(|(_, other)| other == name).count();
    if twins > 1 { format!("{journey} › {name}") } else { name.clone() }
}

fn number(heading: &str, series: &Series, divided: &Divided) -> (String, Ink) {
    if series.total.done == 0 {
        return (if heading == "per s" { "0" } else { "-" }.into(), Ink::Dim);
    }
    let quantile = |q| ms(series.run.quantile(q).as_millis_f64());
    match heading {
        "per s" => (rate(series.rate(RATE_OVER)), Ink::Plain),
        "errors" if series.total.errors > 0 => (count(series.total.errors), Ink::Bad),
        "errors" => ("0".into(), Ink::Plain),
        "p50" => (quantile(0.5), Ink::Plain),
        "p95" => (quantile(0.95), Ink::Plain),
        "p99" => (quantile(0.99), Ink::Plain),
        _ if divided.exchanges == 0 => ("-".into(), Ink::Dim),
        _ => {
            let mean = divided.categories.total().as_millis_f64() / divided.exchanges as f64;
            (ms(mean), Ink::Plain)
        }
    }
}

/// Marks and names of the categories that occur, largest first, as many as fit.
fn key(model: &Model, hidden: usize, part: Part, canvas: &mut Canvas) {
    let divided = model.divided(0);
    let mut seen: Vec<(Category, u64)> = Category::ALL
        .into_iter()
        .map(|c| (c, divided.categories.get(c).0))
        .filter(|(_, time)| *time > 0)
        .collect();
    seen.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    let more = if hidden > 0 { format!("{hidden} more steps") } else { String::new() };
    let taken = canvas.right((part.right(), part.y), 20, &more, Ink::Dim);
    let room = part.width().saturating_sub(taken + 3);
    let mut at = 2;
    let total = divided.categories.total().0.max(1) as f64;
    for (category, time) in seen {
        let mark = canvas.mark(category).to_string().repeat(2);
        let share = percent(time as f64 / total);
        let entry =
            [(mark, Ink::Of(category)), (format!(" {} ", category.name()), Ink::Plain), (share, Ink::Dim)];
        let columns: usize = entry.iter().map(|(text, _)| canvas.width(text)).sum();
        if at + columns > room {
            break;
        }
        canvas.line((part.x + at as u16, part.y), columns, &entry);
        at += columns + 3;
    }
}
