//! The limits of all detectors: one table of names, defaults and reasons, which a run can change. A run can also say which
//! kinds of findings it does not want to hear of.

use crate::analysis::result::FindingKind;
use std::fmt;

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitInfo {
    /// `kind.option`, as it is typed.
    pub name: &'static str,
    /// What holds where nothing else is asked for.
    pub default: f64,
    /// What it limits, with its unit.
    pub about: &'static str,
}

macro_rules! limits {
    ($($variant:ident $name:literal $default:literal $about:literal;)*) => {
        /// Which limit.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::analysis) enum Limit { $($variant),* }

        /// All limits, in the order of docs/findings.md.
        pub const LIMITS: &[LimitInfo] =
            &[$(LimitInfo { name: $name, default: $default, about: $about }),*];
    };
}

limits! {
    Share "dominant.share" 0.30 "share of a step's mean that one contributor owns";
    MeanMs "dominant.mean_ms" 25.0 "and this much of it, in ms";
    Spread "dominant.spread" 0.25 "share of the run over which such requests come";
    OutlierRatio "slow_query.ratio" 10.0 "times as long as other calls of its system";
    OutlierMeanMs "slow_query.mean_ms" 3.0 "and this much of the step's mean, in ms";
    CodeRatio "app_cpu.ratio" 5.0 "own time at its best over that of the service's other pages, for as many calls";
    CodeMeanMs "app_cpu.mean_ms" 10.0 "and this much at its best, in ms, with half of the step's mean";
    SeriesCalls "n_plus_one.calls" 5.0 "calls of one kind in turn, per request that has them (5 or more are counted)";
    LoopCalls "n_plus_one.loop_calls" 6.0 "calls of a loop of several kinds, of 3 rounds or more, that takes dominant.mean_ms (6 or more are counted)";
    SeriesShare "n_plus_one.share" 0.25 "share of a step's mean that they take";
    SeriesMeanMs "n_plus_one.mean_ms" 3.0 "and this much of it, in ms";
    QuickCalls "n_plus_one.quick_calls" 10.0 "calls of one kind from which the caller's own time between them counts too";
    QuickShare "n_plus_one.quick_share" 0.50 "share of a step's mean from which so many calls need take only";
    QuickMeanMs "n_plus_one.quick_mean_ms" 1.0 "this much of it, with the time between them, in ms";
    SeriesRequests "n_plus_one.requests" 0.10 "share of the step's requests that have them";
    TailShare "tail.share" 0.50 "share of the gap between slow and typical requests";
    TailMs "tail.excess_ms" 50.0 "and this much of it, in ms";
    LargeBytes "large_payload.bytes" 1_048_576.0 "bytes of an answer, on average";
    LargeMeanMs "large_payload.mean_ms" 3.0 "time to read it, in ms";
    DuplicateShare "duplicate_query.share" 0.10 "share of a step's mean that repeats take";
    DuplicateMeanMs "duplicate_query.mean_ms" 3.0 "and this much of it, in ms";
    ManyQueries "many_queries.calls" 30.0 "statements per request (20 or more are counted)";
    ManyShare "many_queries.share" 0.30 "share of a step's mean that they take";
    ManyMeanMs "many_queries.mean_ms" 10.0 "and this much of it, in ms";
    RowShare "sequential_calls.share" 0.20 "share of a step's mean that calling at once would save";
    RowMeanMs "sequential_calls.mean_ms" 25.0 "and this much of it, in ms";
    RetryRequests "retry_storm.requests" 0.10 "share of the step's requests in which a failed call is made again";
    RetryShare "retry_storm.share" 0.10 "share of a step's mean that failed calls take";
    RetryMeanMs "retry_storm.mean_ms" 3.0 "and this much of it, in ms";
    TimeoutRequests "timeout.requests" 0.01 "share of the step's requests that wait for a time limit";
    TimeoutShare "timeout.share" 0.10 "share of a step's mean that this takes";
    TimeoutMeanMs "timeout.mean_ms" 3.0 "and this much of it, in ms";
    LockRatio "lock_contention.ratio" 8.0 "p95 of a write over its median, or over the usual call of its system";
    ChattyCalls "chatty_service.calls" 15.0 "calls to other services per request (10 or more are counted)";
    ChattyShare "chatty_service.share" 0.30 "share of a step's mean that they take";
    ChattyMeanMs "chatty_service.mean_ms" 25.0 "and this much of it, in ms";
    FanOutCalls "fan_out.calls" 20.0 "calls under way at once (10 or more are counted)";
    FanOutShare "fan_out.share" 0.50 "share of a step's mean that waiting for the slowest takes";
    FanOutMeanMs "fan_out.mean_ms" 25.0 "and this much of it, in ms";
    VariesRatio "queueing.ratio" 4.0 "time before the server in slow requests over that in typical ones";
    SameCalls "uncached.calls" 5.0 "calls that all ask the same";
    MissRatio "cache_miss.ratio" 0.50 "share of looks into a cache that find nothing";
    MissCalls "cache_miss.calls" 30.0 "looks of which it is known";
    RareRequests "cold_start.requests" 0.90 "share of requests that do, or wait for, work of a start, at most";
    ErrorShare "error_path.errors" 0.05 "share of requests that fail";
    ErrorRatio "error_path.ratio" 2.0 "latency of failed requests over that of others, or the other way round";
    InstanceRatio "slow_instance.ratio" 1.7 "median of one instance over that of all others";
    InstanceMs "slow_instance.excess_ms" 5.0 "and this much longer, in ms";
    InstanceRequests "slow_instance.requests" 30.0 "requests of each instance";
    ExclusiveShare "event_loop_blocked.overlap" 0.15 "beginnings and ends of other requests in it, over those that chance gives, at most";
    ExclusiveExpected "event_loop_blocked.expected" 20.0 "beginnings and ends that chance would give, at least";
    SkewMs "clock_skew.ms" 100.0 "largest move of a span to fit its caller, in ms";
    MissingShare "incomplete_traces.orphans" 0.05 "share of spans whose parents are missing";
    GcShare "gc_pause.share" 0.10 "share of the time that a runtime pauses for garbage, per instance";
    BusyShare "runtime_saturation.share" 0.90 "share of the time that an event loop or the processors are busy";
    LoopDelayMs "runtime_saturation.delay_ms" 50.0 "p99 of an event loop's delay, in ms";
    Queued "runtime_saturation.queued" 1.0 "pieces of work that wait for a thread, on average";
    RuntimeMs "runtime_saturation.mean_ms" 10.0 "own time of the service in a step, in ms, with dominant.share of its mean";
    IndexRows "missing_index.rows" 1000.0 "rows that a scan reads, at least";
    IndexMeanMs "missing_index.mean_ms" 3.0 "and this much of the step's mean, in ms, with dominant.share of it";
}

/// The values in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    values: Vec<f64>,
    /// Kinds that are not looked for.
    off: Vec<FindingKind>,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { values: LIMITS.iter().map(|l| l.default).collect(), off: Vec::new() }
    }
}

/// A limit that cannot be set so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitError(String);

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for LimitError {}

impl Limits {
    pub(in crate::analysis) fn get(&self, limit: Limit) -> f64 {
        self.values[limit as usize]
    }

    /// Whether a kind is looked for.
    pub(in crate::analysis) fn wants(&self, kind: FindingKind) -> bool {
        !self.off.contains(&kind)
    }

    /// Sets one from `kind.option=value`, or a kind from `kind=off` or `kind=on`.
    ///
    /// # Errors
    /// As [`Limits::set_to`], and if there is no `=`.
    pub fn set(&mut self, text: &str) -> Result<(), LimitError> {
        let Some((name, value)) = text.split_once('=').map(|(n, v)| (n.trim(), v.trim())) else {
            return Err(LimitError(format!(
                "`{text}` is no limit of a finding: expected kind.option=value, as in {}=10, or kind=off",
                LIMITS[Limit::SeriesCalls as usize].name
            )));
        };
        self.set_to(name, value)
    }

    /// Sets a limit to a number, or a kind to `off` or `on`.
    ///
    /// # Errors
    /// If there is no such limit or kind, or the value is no finite number of at least 0 or no such word; the message names
    /// the nearest one.
    pub fn set_to(&mut self, name: &str, value: &str) -> Result<(), LimitError> {
        if let Some(kind) = FindingKind::ALL.into_iter().find(|kind| kind.name() == name) {
            self.off.retain(|off| *off != kind);
            match value {
                "off" | "false" => self.off.push(kind),
                "on" | "true" => {}
                _ => {
                    return Err(LimitError(format!(
                        "`{name}` is a kind of findings: expected `off` or `on`, not `{value}`"
                    )));
                }
            }
            return Ok(());
        }
        let Some(at) = LIMITS.iter().position(|l| l.name == name) else {
            let kinds = FindingKind::ALL.into_iter().map(FindingKind::name);
            let names = LIMITS.iter().map(|l| l.name).chain(kinds);
            let nearest = names.min_by_key(|known| distance(known, name)).unwrap_or("");
            return Err(LimitError(format!(
                "there is no limit and no kind `{name}`; did you mean `{nearest}`? All are in docs/findings.md"
            )));
        };
        match value.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => {
                self.values[at] = number;
                Ok(())
            }
            _ => Err(LimitError(format!(
                "`{name}` is {}; expected a number of at least 0, not `{value}`",
                LIMITS[at].about
            ))),
        }
    }
}

/// Edits between two names (Levenshtein's, two rows).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(80).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut before = std::mem::replace(&mut row[0], i + 1);
        for (j, to) in b.iter().enumerate() {
            let change = before + usize::from(from != *to);
            before = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_name() {
        let mut limits = Limits::default();
        assert_eq!(limits.get(Limit::SeriesCalls), 5.0);
        limits.set("n_plus_one.calls = 8").unwrap();
        assert_eq!(limits.get(Limit::SeriesCalls), 8.0);
        let error = |text: &str| Limits::default().set(text).unwrap_err().to_string();
        assert!(error("n_plus_one.cals=8").contains("did you mean `n_plus_one.calls`?"));
        assert!(error("n_plus_one.calls").contains("expected kind.option=value"));
        assert!(error("n_plus_one.calls=many").contains("calls of one kind in turn"));
        assert!(error("n_plus_one.calls=-1").contains("at least 0"));
        assert!(error("n_plus_one_querry=off").contains("did you mean `n_plus_one_query`?"));
        assert!(error("slow_query=5").contains("expected `off` or `on`, not `5`"));
    }

    #[test]
    fn kinds_are_switched_off_and_on_again() {
        let mut limits = Limits::default();
        limits.set("slow_query = off").unwrap();
        assert!(!limits.wants(FindingKind::SlowQuery) && limits.wants(FindingKind::AppCpu));
        limits.set_to("slow_query", "on").unwrap();
        assert_eq!(limits, Limits::default());
    }

    #[test]
    fn every_limit_is_documented_with_its_default() {
        let docs = include_str!("../../../docs/findings.md");
        for limit in LIMITS {
            let row = docs.lines().find(|l| l.starts_with(&format!("| `{}` |", limit.name)));
            let row = row.unwrap_or_else(|| panic!("docs/findings.md has no row for {}", limit.name));
            assert!(
                row.contains(&format!("| {} |", limit.default)),
                "{row}: the default is {}",
                limit.default
            );
        }
    }
    #[test]
    fn every_kind_is_documented_with_its_fix() {
        let docs = include_str!("../../../docs/findings.md");
        let fixes = docs.split("## How each is found").next().unwrap();
        for kind in FindingKind::ALL {
            let row = fixes.lines().find(|l| l.starts_with(&format!("| `{}` |", kind.name())));
            let cells = row.map_or(0, |row| row.split('|').filter(|cell| cell.trim().len() > 5).count());
            assert_eq!(
                cells,
                3,
                "docs/findings.md says of {} what happens and how it is mended",
                kind.name()
            );
        }
    }
}
