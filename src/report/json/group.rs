//! Shapes of traces and what goes with slow requests, in `report.json`.

use super::step::Owned;
use super::value::{rounded, share};
use crate::analysis::result::{Association, Feature, ShapeResult};
use crate::report::view;
use serde::Serialize;

/// The traces of a step that hold the same kinds of work about as often.
#[derive(Serialize)]
pub struct ShapeJson<'a> {
    shape: Option<String>,
    exchanges: u64,
    slow: u64,
    mean_ms: f64,
    differs: Vec<DiffersJson<'a>>,
}

#[derive(Serialize)]
struct DiffersJson<'a> {
    contributor: Owned<'a>,
    calls_usual: u32,
    calls: u32,
}

/// Something that goes with slow requests.
#[derive(Serialize)]
pub struct SlowWithJson<'a> {
    kind: &'static str,
    service: &'a str,
    value: String,
    exchanges: u64,
    slow: u64,
    slow_share: f64,
    slow_share_without: f64,
    covers: f64,
    correlation: f64,
    p: f64,
}

impl<'a> ShapeJson<'a> {
    /// As the document has it.
    pub fn new(shape: &'a ShapeResult) -> ShapeJson<'a> {
        let differs = shape.differs.iter().map(|(who, usual, calls)| DiffersJson {
            contributor: Owned::new(who),
            calls_usual: *usual,
            calls: *calls,
        });
        ShapeJson {
            shape: shape.hash.map(|hash| format!("{hash:016x}")),
            exchanges: shape.exchanges,
            slow: shape.slow,
            mean_ms: super::value::ms(view::mean_ms(shape.latency_sum, shape.exchanges)),
            differs: differs.take(DIFFERS_MAX).collect(),
        }
    }
}

/// Most differences of one shape.
const DIFFERS_MAX: usize = 50;

impl<'a> SlowWithJson<'a> {
    /// As the document has it.
    pub fn new(a: &'a Association) -> SlowWithJson<'a> {
        let (kind, service, value): (_, &str, _) = match &a.feature {
            Feature::Shape(hash) => ("shape", "", format!("{hash:016x}")),
            Feature::Status(status) => ("status", "", status.to_string()),
            Feature::Connection(which) => ("connection", "", which.to_string()),
            Feature::Instance(service, instance) => ("instance", service, instance.to_string()),
            Feature::Error(service, operation) => ("error", service, operation.to_string()),
            Feature::Process(service, key, value) => ("process", service, format!("{key}={value}")),
            Feature::User(user) => ("user", "", user.to_string()),
            Feature::Url(url) => ("url", "", url.to_string()),
            Feature::Attribute(service, key, value) => ("attribute", service, format!("{key}={value}")),
        };
        SlowWithJson {
            kind,
            service,
            value,
            exchanges: a.exchanges,
            slow: a.slow,
            slow_share: share(a.slow as f64 / a.exchanges.max(1) as f64),
            slow_share_without: share(a.slow_share_without),
            covers: share(a.covers),
            correlation: share(a.correlation),
            p: rounded(a.p, 1e6),
        }
    }
}
