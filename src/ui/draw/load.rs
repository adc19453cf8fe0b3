//! What load is put on: rate and users against plan, errors and checks.

use super::super::canvas::{Canvas, Ink};
use super::super::model::{LoadSecond, Model};
use super::Part;
use crate::report::look::{count, percent, rate};

/// Columns of the names.
const NAME: usize = 14;
/// Columns up to the end of the numbers.
const NUMBERS: usize = 25;
/// Fewest cells of a course over time that say anything.
const SPARK_MIN: usize = 5;
/// Seconds over which a rate is taken.
const RATE_OVER: usize = 3;

struct Line {
    name: &'static str,
    value: Vec<(String, Ink)>,
    course: Vec<f64>,
    ink: Ink,
}

/// Lines that all of it needs.
pub fn lines(model: &Model) -> u16 {
    1 + all(model).len() as u16
}

/// Heading and lines; the least important are last.
pub fn draw(model: &Model, part: Part, canvas: &mut Canvas) {
    canvas.put((part.x, part.y), part.width(), "Load", Ink::Bold);
    for (line, y) in all(model).into_iter().zip(part.y + 1..part.y + part.lines) {
        canvas.put((part.x, y), NAME, line.name, Ink::Dim);
        let numbers = NUMBERS.min(part.width());
        canvas.line_to((part.x + numbers as u16, y), numbers - NAME, &line.value);
        let cells = part.width().saturating_sub(NUMBERS + 2);
        if cells >= SPARK_MIN {
            let shown = &line.course[line.course.len().saturating_sub(cells)..];
            let top = shown.iter().copied().fold(0.0, f64::max);
            canvas.spark((part.x + NUMBERS as u16 + 2, y), cells, shown, top, line.ink);
        }
    }
}

fn all(model: &Model) -> Vec<Line> {
    let load = &model.load;
    let series = &model.series[0];
    let plain = |name, text: String| Line {
        name,
        value: vec![(text, Ink::Plain)],
        course: Vec::new(),
        ink: Ink::Dim,
    };
    let mut lines = vec![Line {
        name: "requests/s",
        value: vec![(rate(mean(model, |second| second.done)), Ink::Bold)],
        course: model.seconds.iter().map(|second| second.done).collect(),
        ink: Ink::Percentile(1),
    }];
    if model.setup.open_model {
        lines.push(arrivals(model));
    }
    if let Some(planned) = load.users_planned {
        let ink = if load.users < planned && !load.stopping { Ink::Caution } else { Ink::Bold };
        lines.push(Line {
            name: "users",
            value: vec![(count(load.users), ink), (format!(" of {}", count(planned)), Ink::Dim)],
            course: model.seconds.iter().map(|second| second.users as f64).collect(),
            ink: Ink::Percentile(0),
        });
    }
    lines.push(bad("errors", series.total.errors, series.total.done));
    if let Some(line) = lines.last_mut() {
        line.course = series.sums.iter().map(|second| second.errors as f64).collect();
        line.ink = Ink::Bad;
    }
    lines.push(bad("checks failed", series.total.checks_failed, series.total.done));
    lines.push(plain("under way", count(load.in_flight)));
    if model.setup.open_model || load.late > 0 {
        lines.push(bad("started late", load.late, load.done));
    }
    if load.not_sent > 0 {
        lines.push(bad("never sent", load.not_sent, load.done));
    }
    lines
}

/// Of the last seconds.
fn mean(model: &Model, of: fn(&LoadSecond) -> f64) -> f64 {
    let recent = model.seconds.iter().rev().take(RATE_OVER);
    let n = recent.len().max(1) as f64;
    recent.map(of).sum::<f64>() / n
}

/// Iterations per second that began, against those that were due.
fn arrivals(model: &Model) -> Line {
    let (began, due) = (mean(model, |second| second.began), mean(model, |second| second.due));
    let behind = began < due * 0.98 - 0.5;
    Line {
        name: "arrivals/s",
        value: vec![
            (rate(began), if behind { Ink::Caution } else { Ink::Bold }),
            (format!(" of {}", rate(due)), Ink::Dim),
        ],
        course: model.seconds.iter().map(|second| second.began).collect(),
        ink: Ink::Percentile(0),
    }
}

/// A number that should be nothing, and its share.
fn bad(name: &'static str, number: u64, whole: u64) -> Line {
    let value = match number {
        0 => vec![("0".into(), Ink::Plain)],
        n => vec![
            (count(n), Ink::Bad),
            (format!("  {}", percent((n as f64 / whole.max(1) as f64).min(1.0))), Ink::Dim),
        ],
    };
    Line { name, value, course: Vec::new(), ink: Ink::Dim }
}
