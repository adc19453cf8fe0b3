//! A [`Model`] as JSON, for a page that draws it. Times are milliseconds where their name says so, else seconds.

use super::follower::BlameMoment;
use super::model::{LoadLook, Model};
use super::series::Series;
use crate::record::{GeneratorLimit, Nanos};
use crate::report::look::Category;
use crate::stats::Histogram;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;

/// Contributors that are told.
const CONTRIBUTORS: usize = 12;
/// Seconds that the rate of a step is taken over.
const RATE_OVER: usize = 5;

/// All that a page needs.
pub fn of(model: &Model, blame: &VecDeque<BlameMoment>) -> Value {
    let setup = &model.setup;
    let all = &model.series[0];
    // Curves end together: seconds are counted by the load and by exchanges alike.
    let n = model.seconds.len().min(all.points.len());
    let end = model.load.at.as_secs_f64().floor();
    let seconds: Vec<Value> = (0..n)
        .map(|i| {
            let second = &model.seconds[model.seconds.len() - n + i];
            let errors = all.sums[all.sums.len() - n + i].errors;
            let at = end - (n - 1 - i) as f64;
            json!([
                at,
                rounded(second.done),
                rounded(second.began),
                rounded(second.due),
                second.users,
                errors
            ])
        })
        .collect();
    let latency: Vec<Value> = all
        .points
        .iter()
        .skip(all.points.len() - n)
        .map(|point| point.map_or(Value::Null, |point| json!(point.map(ms))))
        .collect();
    let now = all.now();
    json!({
        "name": setup.name,
        "target": setup.target,
        "open_model": setup.open_model,
        "expects_spans": setup.expects_spans,
        "stages": setup.stages.iter().map(|stage| json!({
            "words": stage.words, "seconds": stage.length.as_secs_f64(),
        })).collect::<Vec<_>>(),
        "stage": model.stage().map(|(index, share)| json!([index, rounded(share)])),
        "load": load(&model.load),
        "now": {"rate": rounded(all.rate(RATE_OVER)), "p50": quantile(&now, 0.5), "p95": quantile(&now, 0.95), "p99": quantile(&now, 0.99)},
        "seconds": seconds,
        "latency": latency,
        "blame": blame.iter().map(|(at, parts)| {
            let parts = parts.iter().map(|(c, ms)| (c.name().to_owned(), json!(rounded(*ms))));
            json!([rounded(*at), parts.collect::<Map<_, _>>()])
        }).collect::<Vec<_>>(),
        "rows": rows(model),
        "contributors": contributors(model),
        "spans": {
            "stored": model.spans.stored, "traced": model.spans.traced, "joined": model.spans.joined,
            "lost": model.spans.lost, "bad_requests": model.spans.bad_requests,
        },
        "generator": {
            "cpu_cores": rounded(model.generator.cpu_cores),
            "busiest_thread": rounded(model.generator.busiest_thread),
            "memory": model.generator.memory,
            "limit": model.limit().map(limit),
        },
        "status": model.status,
        "notes": model.notes,
    })
}

fn load(look: &LoadLook) -> Value {
    json!({
        "at_s": look.at.as_secs_f64(),
        "left_s": look.left.map(Nanos::as_secs_f64),
        "factor": look.factor,
        "paused": look.paused,
        "stopping": look.stopping,
        "users": look.users,
        "users_planned": look.users_planned,
        "in_flight": look.in_flight,
        "waiting": look.waiting,
        "due": look.due,
        "iterations": look.iterations,
        "done": look.done,
        "errors": look.errors,
        "checks_failed": look.checks_failed,
        "late": look.late,
        "not_sent": look.not_sent,
    })
}

fn rows(model: &Model) -> Vec<Value> {
    let step = |(index, (journey, name)): (usize, &(String, String))| {
        let nothing = Series::default();
        let series = model.series.get(index + 1).unwrap_or(&nothing);
        let divided = model.divided(index + 1);
        let mean = |time: Nanos| rounded(time.as_millis_f64() / divided.exchanges.max(1) as f64);
        let categories: Map<String, Value> = Category::ALL
            .into_iter()
            .map(|c| (c, divided.categories.get(c)))
            .filter(|(_, time)| *time > Nanos::ZERO)
            .map(|(c, time)| (c.name().to_owned(), json!(mean(time))))
            .collect();
        json!({
            "journey": journey,
            "name": name,
            "rate": rounded(series.rate(RATE_OVER)),
            "done": series.total.done,
            "errors": series.total.errors,
            "checks_failed": series.total.checks_failed,
            "p50": quantile(&series.run, 0.5),
            "p95": quantile(&series.run, 0.95),
            "p99": quantile(&series.run, 0.99),
            "blamed": divided.exchanges,
            "joined": divided.joined,
            "mean_ms": mean(divided.categories.total()),
            "categories": categories,
        })
    };
    model.setup.steps.iter().enumerate().map(step).collect()
}

fn contributors(model: &Model) -> Vec<Value> {
    let divided = model.divided(0);
    let (exchanges, total) = (divided.exchanges.max(1) as f64, divided.categories.total().as_millis_f64());
    let one = |(who, calls, time): (&crate::report::look::Contributor, u64, Nanos)| {
        json!({
            "category": who.category.name(),
            "service": &*who.service,
            "system": &*who.system,
            "name": &*who.name,
            "calls": rounded(calls as f64 / exchanges),
            "mean_ms": rounded(time.as_millis_f64() / exchanges),
            "share": rounded(time.as_millis_f64() / total.max(f64::MIN_POSITIVE)),
        })
    };
    model.contributors(0).into_iter().take(CONTRIBUTORS).map(one).collect()
}

fn limit(limit: GeneratorLimit) -> &'static str {
    match limit {
        GeneratorLimit::Cpu(_) => "out of CPU",
        GeneratorLimit::RunQueue(_) => "waits for a core",
        GeneratorLimit::Lag(_) => "event loop late",
        GeneratorLimit::Ports(_) => "out of ports",
        GeneratorLimit::Late(_) => "requests start late",
    }
}

fn quantile(latency: &Histogram, q: f64) -> Option<f64> {
    (!latency.is_empty()).then(|| ms(latency.quantile(q)))
}

fn ms(time: Nanos) -> f64 {
    rounded(time.as_millis_f64())
}

/// To four digits behind the point: more is noise, and longer.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
