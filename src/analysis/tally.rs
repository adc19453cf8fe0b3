//! Sums over exchanges. Everything here is a count, an integer sum, an exact histogram or an extreme chosen by content, so
//! adding in any order and in any number of parts gives the same result to the bit.

use super::codec::codec;
use super::findings::evidence::Evidence;
use super::findings::{DOMINANT_MEAN, OUTLIER_MEAN};
use super::messages::MessageTally;
use super::moments::Moments;
use super::result::{BandResult, ByCategory, Contributor};
use crate::record::{Exchange, FailureClass, Nanos, Outcome, Timestamp, TraceId};
use crate::stats::Histogram;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A contributor's part in a step, or a group's.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub calls: u64,
    pub exchanges: u64,
    pub total: u64,
    pub bands: [u64; 4],
    pub call_duration: Histogram,
    /// Latencies of the exchanges in which it had time, as they were and without that time.
    pub touched: Histogram,
    pub without: Histogram,
    /// Most time in one exchange, and which.
    pub worst: Option<(u64, Reverse<TraceId>)>,
    /// When exchanges were due in which it had much time, and some time.
    pub long: Moments,
    pub longish: Moments,
}

/// One exchange, as far as its parts are concerned.
#[derive(Clone, Copy)]
pub(super) struct Occasion {
    pub band: usize,
    pub latency: u64,
    pub at: u64,
    pub trace: TraceId,
    /// For how many exchanges it stands.
    pub weight: u64,
    /// A hash of its URL.
    pub url: u64,
    /// The virtual user.
    pub user: u32,
}

impl Default for Part {
    fn default() -> Part {
        Part {
            calls: 0,
            exchanges: 0,
            total: 0,
            bands: [0; 4],
            call_duration: Histogram::coarse(),
            touched: Histogram::new(),
            without: Histogram::new(),
            worst: None,
            long: Moments::default(),
            longish: Moments::default(),
        }
    }
}

codec!(Part { calls, exchanges, total, bands, call_duration, touched, without, worst, long, longish });
codec!(StepTally {
    exchanges,
    errors,
    checks_failed,
    checked,
    period,
    asked,
    bytes_received,
    bytes_decoded,
    uncompressed,
    traced,
    joined,
    joined_bands,
    latency,
    service_time,
    bands,
    statuses,
    failures,
    checks,
    error_statuses,
    exemplars,
    parts,
    groups,
    series,
    error_latency,
    reasons,
    evidence,
    messages,
});
codec!(OpTally { calls, errors, exchanges, duration, own, own_each });

impl Part {
    /// Counts one exchange in which it had time, and how much shorter that exchange could have been.
    pub fn add(&mut self, time: u64, removable: u64, on: Occasion) {
        self.exchanges += on.weight;
        self.total += time * on.weight;
        self.bands[on.band] += time * on.weight;
        self.touched.record_n(Nanos(on.latency), on.weight);
        self.without.record_n(Nanos(on.latency - removable.min(on.latency)), on.weight);
        self.worst = self.worst.max(Some((time, Reverse(on.trace))));
        if time >= OUTLIER_MEAN.0 {
            self.longish.add(on.at);
        }
        if time >= DOMINANT_MEAN.0 {
            self.long.add(on.at);
        }
    }

    pub fn merge(&mut self, other: &Part) {
        self.calls += other.calls;
        self.exchanges += other.exchanges;
        self.total += other.total;
        self.bands.iter_mut().zip(other.bands).for_each(|(a, b)| *a += b);
        self.call_duration.merge(&other.call_duration);
        self.touched.merge(&other.touched);
        self.without.merge(&other.without);
        self.worst = self.worst.max(other.worst);
        self.long.merge(&other.long);
        self.longish.merge(&other.longish);
    }
}

/// The shortest period that holds both.
pub(super) fn wider<T: Ord>(a: Option<(T, T)>, b: Option<(T, T)>) -> Option<(T, T)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.min(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

/// A candidate for an exemplar: the smallest is the best.
pub(super) type Candidate = (bool, u64, Timestamp, TraceId, u64, bool);

/// One step.
#[derive(Clone, Debug, Default)]
pub(super) struct StepTally {
    pub exchanges: u64,
    pub errors: u64,
    pub checks_failed: u64,
    /// Exchanges whose checks were made.
    pub checked: u64,
    /// When the first and the last exchange were due.
    pub period: Option<(u64, u64)>,
    /// When exchanges were due.
    pub asked: Moments,
    /// Bytes of the answers' bodies.
    pub bytes_received: u64,
    /// What those became that were decompressed.
    pub bytes_decoded: u64,
    /// Answers that are texts and came as they are though compression was offered.
    pub uncompressed: u64,
    pub traced: u64,
    pub joined: u64,
    /// Corrected latency of the joined exchanges, by band: how many, how much. Weighted, as all blame is.
    pub joined_bands: [(u64, u64); 4],
    pub latency: Histogram,
    pub service_time: Histogram,
    pub bands: [BandResult; 4],
    pub statuses: BTreeMap<u16, u64>,
    pub failures: BTreeMap<FailureClass, BTreeMap<Arc<str>, u64>>,
    pub checks: BTreeMap<Arc<str>, (u64, Arc<str>)>,
    /// Error exchanges by status, for those that were answered.
    pub error_statuses: BTreeMap<u16, u64>,
    /// Typical, slow, worst.
    pub exemplars: [Option<Candidate>; 3],
    pub parts: BTreeMap<Contributor, Part>,
    pub groups: BTreeMap<Contributor, Part>,
    /// Calls made many times one after the other in one exchange; `total` is the time that they and all below them took.
    pub series: BTreeMap<Contributor, Part>,
    /// Corrected latency of the exchanges that failed, or whose status did.
    pub error_latency: Histogram,
    /// What server spans say of exchanges that failed, and whose: how many, and the first trace of them by its id.
    pub reasons: BTreeMap<(Contributor, Arc<str>), (u64, TraceId)>,
    /// What requests show besides who owned their time.
    pub evidence: Evidence,
    /// What was said within exchanges that carry more than a request and its answer.
    pub messages: MessageTally,
}

impl StepTally {
    /// Exchanges that have server spans, and their latency in ns, weighted as all blame is.
    pub fn joined_sum(&self) -> (u64, u64) {
        self.joined_bands.iter().fold((0, 0), |sum, band| (sum.0 + band.0, sum.1 + band.1))
    }

    /// Counts what the client alone knows.
    pub fn exchange(&mut self, exchange: &Exchange) {
        self.exchanges += 1;
        self.traced += u64::from(exchange.sampled && exchange.was_sent());
        self.checks_failed += u64::from(!exchange.checks_failed.is_empty());
        self.period = wider(self.period, Some((exchange.intended.0, exchange.intended.0)));
        self.asked.add(exchange.intended.0);
        self.bytes_received += exchange.bytes_received;
        if exchange.came_uncompressed() {
            self.uncompressed += 1;
        } else {
            self.bytes_decoded += exchange.bytes_decoded.unwrap_or_default();
        }
        self.checked += u64::from(exchange.was_checked());
        self.messages.exchange(exchange);
        self.latency.record(exchange.corrected_latency());
        self.service_time.record(exchange.service_time());
        // 0: answered by a protocol without HTTP statuses.
        if let Some(status) = exchange.status().filter(|status| *status != 0) {
            *self.statuses.entry(status).or_default() += 1;
        }
        if exchange.is_error() {
            self.errors += 1;
            self.error_latency.record(exchange.corrected_latency());
            if let Outcome::Answered(status @ 1..) = exchange.outcome {
                *self.error_statuses.entry(status).or_default() += 1;
            }
        }
        if let Outcome::Failed { failure, .. } = &exchange.outcome {
            let messages = self.failures.entry(failure.class).or_default();
            *messages.entry(failure.message.clone()).or_default() += 1;
        }
        for check in &exchange.checks_failed {
            let (n, seen) = self.checks.entry(check.check.clone()).or_insert_with(|| (0, check.seen.clone()));
            *n += 1;
            if check.seen < *seen {
                *seen = check.seen.clone();
            }
        }
    }

    /// Counts why exchanges failed, in a server's words.
    pub fn failed_for(&mut self, reason: (Contributor, Arc<str>), exchanges: u64, trace: TraceId) {
        let (n, first) = self.reasons.entry(reason).or_insert((0, trace));
        *n += exchanges;
        *first = trace.min(*first);
    }

    pub fn merge(&mut self, other: StepTally) {
        self.exchanges += other.exchanges;
        self.errors += other.errors;
        self.checks_failed += other.checks_failed;
        self.period = wider(self.period, other.period);
        self.asked.merge(&other.asked);
        self.bytes_received += other.bytes_received;
        self.bytes_decoded += other.bytes_decoded;
        self.uncompressed += other.uncompressed;
        self.checked += other.checked;
        self.messages.merge(&other.messages);
        self.traced += other.traced;
        self.joined += other.joined;
        self.latency.merge(&other.latency);
        self.service_time.merge(&other.service_time);
        for (mine, theirs) in self.joined_bands.iter_mut().zip(other.joined_bands) {
            *mine = (mine.0 + theirs.0, mine.1 + theirs.1);
        }
        for (mine, theirs) in self.bands.iter_mut().zip(other.bands) {
            mine.exchanges += theirs.exchanges;
            mine.latency_sum += theirs.latency_sum;
            mine.categories.merge(&theirs.categories);
        }
        for (mine, theirs) in self.exemplars.iter_mut().zip(other.exemplars) {
            *mine = [*mine, theirs].into_iter().flatten().min();
        }
        add_counts(&mut self.statuses, other.statuses);
        add_counts(&mut self.error_statuses, other.error_statuses);
        for (class, messages) in other.failures {
            add_counts(self.failures.entry(class).or_default(), messages);
        }
        for (check, (n, seen)) in other.checks {
            let mine = self.checks.entry(check).or_insert_with(|| (0, seen.clone()));
            mine.0 += n;
            if seen < mine.1 {
                mine.1 = seen;
            }
        }
        for (reason, (n, trace)) in other.reasons {
            self.failed_for(reason, n, trace);
        }
        merge_parts(&mut self.parts, other.parts);
        merge_parts(&mut self.groups, other.groups);
        merge_parts(&mut self.series, other.series);
        self.error_latency.merge(&other.error_latency);
        self.evidence.merge(other.evidence);
    }

    /// Over all bands.
    pub fn categories(&self) -> ByCategory {
        let mut all = ByCategory::default();
        self.bands.iter().for_each(|b| all.merge(&b.categories));
        all
    }
}

fn merge_parts(mine: &mut BTreeMap<Contributor, Part>, theirs: BTreeMap<Contributor, Part>) {
    for (who, part) in theirs {
        mine.entry(who).or_default().merge(&part);
    }
}

/// Adds counts by key.
pub(super) fn add_counts<K: Ord>(mine: &mut BTreeMap<K, u64>, theirs: BTreeMap<K, u64>) {
    for (key, n) in theirs {
        *mine.entry(key).or_default() += n;
    }
}

/// An operation's sums.
#[derive(Clone, Debug)]
pub(super) struct OpTally {
    pub calls: u64,
    pub errors: u64,
    pub exchanges: u64,
    pub duration: Histogram,
    pub own: u64,
    /// The same by exchange in which it had any.
    pub own_each: Histogram,
}

impl Default for OpTally {
    fn default() -> OpTally {
        OpTally {
            calls: 0,
            errors: 0,
            exchanges: 0,
            duration: Histogram::coarse(),
            own: 0,
            own_each: Histogram::coarse(),
        }
    }
}

impl OpTally {
    pub fn merge(&mut self, other: &OpTally) {
        self.calls += other.calls;
        self.errors += other.errors;
        self.exchanges += other.exchanges;
        self.duration.merge(&other.duration);
        self.own += other.own;
        self.own_each.merge(&other.own_each);
    }
}
