//! Corrected latency: percentiles by time as curves, just now and over the run as numbers.

use super::super::canvas::{Canvas, Ink};
use super::super::chart::{Chart, round_up};
use super::super::keys::View;
use super::super::model::Model;
use super::super::series::{KEPT, Point, Series};
use super::Part;
use crate::record::Nanos;
use crate::report::look::ms;

/// Columns of the numbers beside the curves.
const NUMBERS: u16 = 22;
/// Fewest columns and lines of a chart.
const CHART_MIN: (u16, u16) = (16, 3);
/// Seconds that the chart spans at least.
const SPAN_MIN: usize = 20;
/// The percentiles from the top down: name, quantile, ink.
const SHOWN: [(&str, f64, usize); 3] = [("p99", 0.99, 2), ("p95", 0.95, 1), ("p50", 0.5, 0)];

/// Heading, curves on the left, numbers on the right.
pub fn draw(model: &Model, view: View, mut part: Part, canvas: &mut Canvas) {
    let Some(series) = model.series.get(view.row).or(model.series.first()) else { return };
    let heading = part.take(1);
    let used = canvas.put((heading.x, heading.y), heading.width(), "Latency ms", Ink::Bold);
    let mut chart = part;
    let fits = part.columns >= NUMBERS + 2 + CHART_MIN.0 && part.lines >= CHART_MIN.1;
    let numbers = if fits {
        let (left, right) = part.split(part.columns - NUMBERS - 2, 2);
        chart = left;
        right
    } else {
        part
    };
    let of = match view.row.checked_sub(1).and_then(|step| model.setup.steps.get(step)) {
        Some((_, name)) => name.clone(),
        None => "since due".into(),
    };
    let room = usize::from(if fits { chart.columns } else { part.columns - NUMBERS.min(part.columns) });
    let of = canvas.foreign(&of, room.saturating_sub(used + 2));
    canvas.put((heading.x + used as u16 + 2, heading.y), of.len(), &of, Ink::Dim);
    columns(series, heading.y, numbers, canvas);
    if fits {
        curves(model, series, chart, canvas);
    }
}

fn columns(series: &Series, heading: u16, part: Part, canvas: &mut Canvas) {
    let (right, middle) = (part.right(), part.right().saturating_sub(9));
    canvas.right((middle, heading), 9, "last 10 s", Ink::Dim);
    canvas.right((right, heading), 8, "run", Ink::Dim);
    let now = series.now();
    for ((name, q, ink), y) in SHOWN.into_iter().zip(part.y..part.y + part.lines) {
        let text = |empty: bool, value: Nanos| if empty { "-".into() } else { ms(value.as_millis_f64()) };
        let left = middle.saturating_sub(13);
        let mark = canvas.either('━', '-').to_string();
        canvas.line((left, y), 5, &[(mark, Ink::Percentile(ink)), (format!(" {name}"), Ink::Dim)]);
        canvas.right((middle, y), 7, &text(now.is_empty(), now.quantile(q)), Ink::Bold);
        canvas.right((right, y), 8, &text(series.run.is_empty(), series.run.quantile(q)), Ink::Plain);
    }
}

fn curves(model: &Model, series: &Series, part: Part, canvas: &mut Canvas) {
    // Short runs are seen whole, of long ones the last minutes.
    let planned = (model.planned().0 / 1_000_000_000) as usize;
    let seconds = series.points.len();
    let over = model.load.at.0 as usize / 1_000_000_000 > KEPT;
    let span = if over { KEPT } else { planned.max(seconds).clamp(SPAN_MIN, KEPT) };
    let shown: Vec<&Option<Point>> = series.points.iter().skip(seconds.saturating_sub(span)).collect();
    let highest = shown.iter().filter_map(|point| point.map(|p| p[2].as_millis_f64())).fold(0.0, f64::max);
    let top = round_up(highest * 1.04);
    let label = if highest > 0.0 { ms(top) } else { String::new() };
    let margin = label.len().max(3) as u16;
    let axis = canvas.either('│', '|').to_string();
    let columns = part.columns.saturating_sub(margin + 2);
    for y in part.y..part.y + part.lines {
        canvas.put((part.x + margin + 1, y), 1, &axis, Ink::Dim);
    }
    canvas.right((part.x + margin, part.y), label.len(), &label, Ink::Dim);
    canvas.right((part.x + margin, part.y + part.lines - 1), 1, "0", Ink::Dim);
    if highest <= 0.0 || columns == 0 {
        let word = if model.load.done == 0 { "no answer yet" } else { "a moment …" };
        canvas.put((part.x + margin + 3, part.y), usize::from(columns), word, Ink::Dim);
        return;
    }
    let mut chart = Chart::new(usize::from(columns), usize::from(part.lines));
    for (which, ink) in [(0, 0), (1, 1), (2, 2)] {
        let points: Vec<(f64, Option<f64>)> = shown
            .iter()
            .enumerate()
            .map(|(i, point)| (i as f64 / (span - 1) as f64, point.map(|p| p[which].as_millis_f64() / top)))
            .collect();
        chart.curve(&points, Ink::Percentile(ink));
    }
    chart.put((part.x + margin + 2, part.y), canvas);
}
