//! How the service behaves as load grows, in `report.json`.

use super::step::Owned;
use super::value::{Map, ms, nanos, rounded, share};
use crate::analysis::result::{Category, Level, LevelPart, Range, Recovery, Saturation};
use crate::report::wording::load;
use serde::Serialize;

/// The object behind the key `saturation`.
#[derive(Serialize)]
pub struct SaturationJson<'a> {
    levels: Vec<LevelJson<'a>>,
    capacity_per_s: Option<f64>,
    capacity_range_per_s: Option<[f64; 2]>,
    capacity_seen: bool,
    knee_per_s: Option<f64>,
    knee_range_per_s: Option<[f64; 2]>,
    contention: Option<[f64; 3]>,
    coherency: Option<[f64; 3]>,
    limiting: Option<LimitingJson<'a>>,
    warm_up_ms: Option<f64>,
    drift: Option<DriftJson<'a>>,
    recovery: Option<RecoveryJson>,
    cannot_tell: Vec<String>,
}

#[derive(Serialize)]
struct LevelJson<'a> {
    duration_s: f64,
    exchanges: u64,
    users: f64,
    offered_per_s: f64,
    achieved_per_s: f64,
    concurrency: f64,
    mean_ms: f64,
    categories: Map<f64>,
    contributors: Vec<PartJson<'a>>,
}

#[derive(Serialize)]
struct PartJson<'a> {
    #[serde(flatten)]
    who: Owned<'a>,
    mean_ms: f64,
    calls_per_exchange: f64,
    call_ms: f64,
    busy: f64,
}

#[derive(Serialize)]
struct LimitingJson<'a> {
    category: &'static str,
    contributor: Owned<'a>,
    mean_ms: [f64; 2],
    share_of_growth: f64,
    from_level: usize,
}

#[derive(Serialize)]
struct DriftJson<'a> {
    ms_per_minute: f64,
    share: f64,
    p: f64,
    contributor: Option<Owned<'a>>,
}

#[derive(Serialize)]
struct RecoveryJson {
    recovered: bool,
    after_ms: f64,
}

impl<'a> SaturationJson<'a> {
    /// As the document has it.
    pub fn new(s: &'a Saturation) -> SaturationJson<'a> {
        let value = |r: &Option<Range>| r.map(|r| ms(r.value));
        let ends = |r: &Option<Range>| r.map(|r| [ms(r.low), ms(r.high)]);
        let three = |r: Range| [r.value, r.low, r.high].map(|v| rounded(v, 1e6));
        SaturationJson {
            levels: s.levels.iter().map(LevelJson::new).collect(),
            capacity_per_s: value(&s.capacity_per_s),
            capacity_range_per_s: ends(&s.capacity_per_s),
            capacity_seen: s.capacity_seen,
            knee_per_s: value(&s.knee_per_s),
            knee_range_per_s: ends(&s.knee_per_s),
            contention: s.scalability.map(|(alpha, _)| three(alpha)),
            coherency: s.scalability.map(|(_, beta)| three(beta)),
            limiting: s.limiting.as_ref().map(|l| LimitingJson {
                category: l.contributor.category.name(),
                contributor: Owned::new(&l.contributor),
                mean_ms: [ms(l.mean_ms.0), ms(l.mean_ms.1)],
                share_of_growth: share(l.share_of_growth),
                from_level: l.from_level,
            }),
            warm_up_ms: s.warm_up.map(nanos),
            drift: s.drift.as_ref().map(|d| DriftJson {
                ms_per_minute: ms(d.ms_per_minute),
                share: share(d.share),
                p: rounded(d.p, 1e6),
                contributor: d.contributor.as_ref().map(Owned::new),
            }),
            recovery: s.recovery.map(|r| match r {
                Recovery::After(time) => RecoveryJson { recovered: true, after_ms: nanos(time) },
                Recovery::NotWithin(time) => RecoveryJson { recovered: false, after_ms: nanos(time) },
            }),
            cannot_tell: s.doubts.iter().map(|d| load::doubt(*d).to_owned()).collect(),
        }
    }
}

impl<'a> LevelJson<'a> {
    fn new(level: &'a Level) -> LevelJson<'a> {
        let category = |(c, value): (Category, f64)| (c.name(), ms(value));
        LevelJson {
            duration_s: rounded(level.duration.as_secs_f64(), 1e3),
            exchanges: level.exchanges,
            users: ms(level.users),
            offered_per_s: ms(level.offered_per_s),
            achieved_per_s: ms(level.achieved_per_s),
            concurrency: ms(level.concurrency),
            mean_ms: ms(level.mean_ms),
            categories: Map(Category::ALL.into_iter().zip(level.categories_ms).map(category).collect()),
            contributors: level.parts.iter().map(PartJson::new).collect(),
        }
    }
}

impl<'a> PartJson<'a> {
    fn new(part: &'a LevelPart) -> PartJson<'a> {
        PartJson {
            who: Owned::new(&part.contributor),
            mean_ms: ms(part.mean_ms),
            calls_per_exchange: rounded(part.calls_per_exchange, 1e4),
            call_ms: ms(part.call_ms),
            busy: rounded(part.busy, 1e4),
        }
    }
}
