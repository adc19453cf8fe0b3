//! Over all steps: where their time went, and how their latency is distributed.

use super::{Drawing, EDGE, TOP, WIDTH, label, legend, number, px, rect, ticks, told};
use crate::analysis::result::Category;
use crate::report::json::value::{ms, nanos, share};
use crate::report::number as words;
use crate::report::view::{StepView, View};

/// Steps with bars, and with lines.
const BARS: usize = 40;
const LINES: usize = 6;

fn with_requests<'v>(view: &'v View<'_>) -> Vec<&'v StepView<'v>> {
    view.steps.iter().filter(|step| step.result.exchanges > 0).collect()
}

/// A bar for each step: its mean by category.
pub fn blame(view: &View) -> Option<Drawing> {
    let steps = with_requests(view);
    let most = steps.iter().map(|step| nanos(step.latency.mean)).fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let (left, room) = (300.0, WIDTH - 300.0 - EDGE - 70.0);
    let mut body = String::new();
    let mut seen: Vec<Category> = Vec::new();
    for (at, step) in steps.iter().take(BARS).enumerate() {
        let y = TOP + 28.0 * at as f64;
        let name = view.step_name(step.result.step);
        body.push_str(&label(left - 12.0, y + 15.0, "t e", &name, 40));
        let mut x = left;
        for part in step.categories.iter().filter(|part| part.mean_ms > 0.0) {
            seen.push(part.category);
            let width = room * part.mean_ms / most;
            let data = format!(
                " data-step=\"{}\" data-category=\"{}\" data-ms=\"{}\" data-share=\"{}\"",
                step.result.step.0,
                part.category.name(),
                ms(part.mean_ms),
                share(part.share)
            );
            let bar = rect(x, y, width, 20.0, part.category.name(), &data);
            let title =
                format!("{name}: {} {} of the mean", part.category.name(), words::percent(part.share));
            body.push_str(&told(&title, &bar));
            x += width;
        }
        let mean = words::ms_unit(nanos(step.latency.mean));
        body.push_str(&label(x + 8.0, y + 15.0, "d", &mean, 20));
    }
    let height = TOP + 28.0 * steps.len().min(BARS) as f64 + 44.0;
    body.push_str(&legend(height - 18.0, &seen));
    let title = "Where the mean latency of each step went".to_owned();
    Some(Drawing { name: "blame".into(), title, height, body })
}

/// Latency over the share of requests that are faster, as HdrHistogram plots it.
pub fn latency(view: &View) -> Option<Drawing> {
    const MARKS: [(f64, &str); 6] =
        [(0.0, "0"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %")];
    let mut steps = with_requests(view);
    steps.sort_by_key(|step| std::cmp::Reverse(step.result.latency_sum));
    steps.truncate(LINES);
    let most = steps.iter().map(|step| nanos(step.latency.max)).fold(0.0, f64::max);
    let count = steps.iter().map(|step| step.result.exchanges).max().unwrap_or(0);
    if most <= 0.0 {
        return None;
    }
    let (left, top, width, tall) = (70.0, TOP, WIDTH - 70.0 - EDGE, 280.0);
    let decades = (count.max(10) as f64).log10();
    let x_of = |q: f64| left + width * ((1.0 / (1.0 - q).max(1e-12)).log10().min(decades) / decades);
    let y_of = |value: f64| top + tall - tall * value / (most * 1.05);
    let mut body = String::new();
    for value in ticks(most, 5.0) {
        let y = y_of(value);
        body.push_str(&format!(
            "<path class=\"grid\" d=\"M{} {y}H{}\"/>\n",
            px(left),
            px(left + width),
            y = px(y)
        ));
        body.push_str(&label(left - 8.0, y + 4.0, "d e", &number(value), 12));
    }
    body.push_str(&label(left - 8.0, top - 8.0, "d e", "ms", 4));
    for (q, name) in MARKS.into_iter().filter(|(q, _)| 1.0 / (1.0 - q) <= count.max(10) as f64) {
        body.push_str(&label(x_of(q), top + tall + 18.0, "d c", name, 12));
    }
    for (at, step) in steps.iter().enumerate() {
        let points = crate::report::html::distribution(&step.result.latency);
        let path: Vec<String> =
            points.iter().map(|(q, v)| format!("{} {}", px(x_of(*q)), px(y_of(*v)))).collect();
        let name = view.step_name(step.result.step);
        let q = &step.latency;
        let data = format!(
            " data-step=\"{}\" data-n=\"{}\" data-p50=\"{}\" data-p95=\"{}\" data-p99=\"{}\" data-max=\"{}\"",
            step.result.step.0,
            step.result.exchanges,
            nanos(q.p50),
            nanos(q.p95),
            nanos(q.p99),
            nanos(q.max)
        );
        let line = format!("<path class=\"l{}\" d=\"M{}\"{data}/>", at + 1, path.join("L"));
        body.push_str(&told(&format!("{name}: p95 {}", words::ms_unit(nanos(q.p95))), &line));
        let y = top + tall + 44.0 + 18.0 * at as f64;
        body.push_str(&rect(left, y - 6.0, 18.0, 3.0, &format!("f{}", at + 1), ""));
        let said = format!(
            "{name}: {}, p50 {}, p95 {}, p99 {}",
            words::counted(step.result.exchanges, "request", "requests"),
            words::ms_unit(nanos(q.p50)),
            words::ms_unit(nanos(q.p95)),
            words::ms_unit(nanos(q.p99))
        );
        body.push_str(&label(left + 26.0, y, "t", &said, 120));
    }
    let height = top + tall + 44.0 + 18.0 * steps.len() as f64 + 6.0;
    Some(Drawing {
        name: "latency".into(),
        title: "Latency by the share of requests that are faster".into(),
        height,
        body,
    })
}
