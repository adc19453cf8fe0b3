//! Over time and over load: requests and users, the heat map of a step's latency, latency and throughput by load level.

use super::{Drawing, EDGE, TOP, WIDTH, label, number, px, rect, slug, ticks, together, told};
use crate::analysis::result::{Category, Slice, StepPicture, bucket_start};
use crate::report::json::value::ms;
use crate::report::number as words;
use crate::report::view::View;
use std::collections::BTreeMap;

const LEFT: f64 = 70.0;
const TALL: f64 = 200.0;

/// Lines of the vertical scale and its unit.
fn scale(most: f64, top: f64, tall: f64, unit: &str) -> String {
    let mut out = String::new();
    for value in ticks(most, 4.0) {
        let y = px(top + tall - tall * value / most);
        out.push_str(&format!("<path class=\"grid\" d=\"M{LEFT} {y}H{}\"/>\n", WIDTH - EDGE));
        out.push_str(&label(LEFT - 8.0, y + 4.0, "d e", &number(value), 12));
    }
    out.push_str(&label(LEFT - 8.0, top - 10.0, "d e", unit, 10));
    out
}

/// Seconds below a picture over time.
fn seconds(length: f64, y: f64) -> String {
    let width = WIDTH - LEFT - EDGE;
    let all = ticks(length, 8.0);
    let words =
        |t: &f64| label(LEFT + width * t / length.max(1e-9), y, "d c", &format!("{} s", number(*t)), 12);
    all.iter().map(words).collect()
}

/// Requests that ended and users, over time.
pub fn load(view: &View) -> Option<Drawing> {
    let timeline = &view.analysis().timeline;
    let width_s = timeline.width.as_secs_f64();
    let slices = &timeline.slices;
    if slices.len() < 2 || width_s <= 0.0 {
        return None;
    }
    let group = together(slices.len(), slices.iter().map(|slice| slice.done).sum(), 120);
    // The last column may be shorter than the others.
    let rate: Vec<f64> = slices
        .chunks(group)
        .map(|some| some.iter().map(|slice| slice.done).sum::<u64>() as f64 / (width_s * some.len() as f64))
        .collect();
    let most_users = |some: &[Slice]| some.iter().map(|slice| slice.users).max().unwrap_or(0);
    let users: Vec<f64> = slices.chunks(group).map(|some| f64::from(most_users(some))).collect();
    let room = WIDTH - LEFT - EDGE;
    let x_of = |at: usize| {
        LEFT + room * ((at as f64 + 0.5) * group as f64).min(slices.len() as f64) / slices.len() as f64
    };
    // In a closed model users who think are there too.
    let who = if view.run().load.open_model { "users with a request under way" } else { "users" };
    let mut body = String::new();
    let mut top = TOP + 8.0;
    for (values, unit, line, name) in
        [(&rate, "1/s", 1, "requests that ended per second"), (&users, "users", 2, who)]
    {
        let most = values.iter().copied().fold(0.0, f64::max).max(1e-9) * 1.05;
        let tall = TALL / 2.0;
        body.push_str(&scale(most, top, tall, unit));
        let points: Vec<String> = values
            .iter()
            .enumerate()
            .map(|(at, value)| format!("{} {}", px(x_of(at)), px(top + tall - tall * value / most)))
            .collect();
        let path = format!("<path class=\"l{line}\" d=\"M{}\"/>", points.join("L"));
        body.push_str(&told(name, &path));
        top += tall + 34.0;
    }
    body.push_str(&seconds(width_s * slices.len() as f64, top - 14.0));
    Some(Drawing {
        name: "load".into(),
        title: "Requests and users over time".into(),
        height: top + 8.0,
        body,
    })
}

/// Mean latency and throughput of each load level.
pub fn saturation(view: &View) -> Option<Drawing> {
    let levels = &view.analysis().saturation.levels;
    if levels.len() < 2 {
        return None;
    }
    let far = levels.iter().map(|level| level.concurrency).fold(0.0, f64::max).max(1e-9) * 1.05;
    let room = WIDTH - LEFT - EDGE;
    let mut body = String::new();
    let mut top = TOP + 8.0;
    let latency: Vec<f64> = levels.iter().map(|level| level.mean_ms).collect();
    let rate: Vec<f64> = levels.iter().map(|level| level.achieved_per_s).collect();
    for (values, unit, line, key) in [(&rate, "1/s", 1, "per-s"), (&latency, "ms", 4, "ms")] {
        let most = values.iter().copied().fold(0.0, f64::max).max(1e-9) * 1.08;
        body.push_str(&scale(most, top, TALL, unit));
        let at = |x: f64, y: f64| (px(LEFT + room * x / far), px(top + TALL - TALL * y / most));
        let points: Vec<(f64, f64)> = levels.iter().zip(values).map(|(l, v)| at(l.concurrency, *v)).collect();
        let path: Vec<String> = points.iter().map(|(x, y)| format!("{x} {y}")).collect();
        body.push_str(&format!("<path class=\"l{line}\" d=\"M{}\"/>\n", path.join("L")));
        for (((x, y), level), value) in points.iter().zip(levels).zip(values) {
            let dot = format!(
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"4\" class=\"f{line}\" data-{key}=\"{}\"/>",
                ms(*value)
            );
            let said = format!(
                "{} under way: {} requests/s, mean {}",
                number(px(level.concurrency)),
                words::rate(level.achieved_per_s),
                words::ms_unit(level.mean_ms)
            );
            body.push_str(&told(&said, &dot));
        }
        top += TALL + 40.0;
    }
    let under: Vec<String> = ticks(far, 8.0)
        .iter()
        .map(|x| label(LEFT + room * x / far, top - 22.0, "d c", &number(*x), 12))
        .collect();
    body.push_str(&under.concat());
    body.push_str(&label(WIDTH - EDGE, top - 4.0, "d e", "requests under way at once", 40));
    let title = "Throughput and mean latency over load".to_owned();
    Some(Drawing { name: "saturation".into(), title, height: top + 10.0, body })
}

/// Every request of a step by time and latency; darker is more of them.
pub fn heat(view: &View, step: &str, at: usize, picture: &StepPicture) -> Option<Drawing> {
    let cells = || picture.heat.iter().flatten();
    let first = cells().map(|cell| cell.0).min()?;
    let last = cells().map(|cell| cell.0).max()?;
    let all: u64 = picture.slices.iter().map(|slice| slice.exchanges).sum();
    let group = together(picture.heat.len(), all, 160);
    let summed: Vec<BTreeMap<u16, u64>> = picture
        .heat
        .chunks(group)
        .map(|some| {
            let mut sums = BTreeMap::new();
            some.iter().flatten().for_each(|(bucket, n)| *sums.entry(*bucket).or_default() += n);
            sums
        })
        .collect();
    let most = summed.iter().flat_map(BTreeMap::values).copied().max()?.max(1) as f64;
    let columns = picture.heat.len() as f64;
    let rows = f64::from(last - first) + 1.0;
    let (room, tall) = (WIDTH - LEFT - EDGE, 260.0);
    let (wide, high) = (room * group as f64 / columns, tall / rows);
    let mut body = String::new();
    for (slice, counts) in summed.iter().enumerate() {
        for (bucket, n) in counts {
            let depth = 0.12 + 0.88 * ((*n as f64).ln_1p() / most.ln_1p());
            let y = TOP + tall - high * (f64::from(bucket - first) + 1.0);
            let more = format!(" fill-opacity=\"{}\" data-n=\"{n}\"", px(depth));
            let left = LEFT + wide * slice as f64;
            let wide = wide.min(LEFT + room - left);
            body.push_str(&rect(left, y, wide + 0.3, high + 0.3, "heat", &more));
        }
    }
    // Buckets are steps of a logarithm: a label where a bucket begins, seven in all.
    for mark in 0..=6 {
        let bucket = first + (f64::from(last - first) * f64::from(mark) / 6.0) as u16;
        let y = TOP + tall - high * f64::from(bucket - first);
        let value = words::ms(bucket_start(bucket).as_millis_f64());
        body.push_str(&label(LEFT - 8.0, y + 4.0, "d e", &value, 14));
    }
    body.push_str(&label(LEFT - 8.0, TOP - 8.0, "d e", "ms", 4));
    let length = view.analysis().timeline.width.as_secs_f64() * columns;
    body.push_str(&seconds(length, TOP + tall + 18.0));
    let failed: u64 = picture.slices.iter().map(|slice| slice.errors).sum();
    let said = format!("{}, {} failed", words::counted(all, "request", "requests"), words::count(failed));
    body.push_str(&label(LEFT, TOP + tall + 40.0, "d", &said, 80));
    let title = format!("Latency of every request over time: {step}");
    Some(Drawing { name: format!("heat-{}-{}", at + 1, slug(step)), title, height: TOP + tall + 54.0, body })
}

/// Categories in the order of legends.
pub fn in_order(seen: &[Category]) -> Vec<Category> {
    Category::ALL.into_iter().filter(|c| seen.contains(c)).collect()
}
