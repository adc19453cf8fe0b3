//! What happens to spans between the service and here: limits, clocks, delay, losses.

use super::sketch::{Known, Sketch};
use super::{Point, Topic, count, listed};
use crate::record::{Nanos, SpanKind};
use std::collections::BTreeMap;

/// Clocks that differ by less agree for every purpose here.
const SKEW: u64 = 5_000_000;
/// The wait for late spans ends when none has come for this long, unless told otherwise.
const QUIET: Nanos = Nanos::from_millis(6_000);
/// A trace of more spans is likely to meet limits of backends.
const MANY: usize = 2_000;

pub(super) fn limits(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let cut: Vec<String> =
        sketch.ours.iter().filter(|k| k.span.dropped > 0).map(|k| k.span.service().to_owned()).collect();
    if !cut.is_empty() {
        points.push(Point::hint(
            Topic::Limits,
            format!(
                "{} of {} lost attributes or events to a limit of the SDK.",
                count(cut.len(), "span"),
                listed(cut)
            ),
            "What was cut (a query, a peer) cannot be named.",
            "Raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT and OTEL_SPAN_EVENT_COUNT_LIMIT (128 by default).",
        ));
    }
    let largest = Sketch::tally(sketch.ours.iter().map(|k| k.span.trace_id)).into_values().max();
    if let Some(largest) = largest.filter(|n| *n > MANY) {
        points.push(Point::hint(
            Topic::Limits,
            format!("One request leaves {largest} spans."),
            "Under load the exporter's queue (2,048 spans by default) may overflow and lose some.",
            "Raise OTEL_BSP_MAX_QUEUE_SIZE, and look for a loop that records one span for each item.",
        ));
    }
}

/// Offsets of hosts' clocks against their callers', where a callee does not lie within its call.
pub(super) fn clocks(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let mut offsets: BTreeMap<(String, &str), Vec<i128>> = BTreeMap::new();
    for known in &sketch.ours {
        let callee = matches!(known.span.kind, SpanKind::Server | SpanKind::Consumer);
        let Some((caller, from, to)) = caller(sketch, known).filter(|_| callee) else { continue };
        offsets.entry((caller, known.span.service())).or_default().push(offset(known, from, to));
    }
    let mut agree = true;
    for ((caller, callee), mut seen) in offsets {
        seen.sort_unstable();
        let median = seen[seen.len() / 2];
        if median.unsigned_abs() <= u128::from(SKEW) {
            continue;
        }
        agree = false;
        let way = if median > 0 { "ahead of" } else { "behind" };
        points.push(Point::hint(
            Topic::Clocks,
            format!(
                "The clock of {callee} is {:.1} ms {way} that of {caller}.",
                median.unsigned_abs() as f64 / 1e6
            ),
            "Blame uses durations and holds; the split of network time into to and from would not be shown.",
            "Synchronise the clocks (NTP, chrony).",
        ));
    }
    if agree {
        points.push(Point::good(Topic::Clocks, "The clocks agree.".into()));
    }
}

/// Who called, and from when to when by its own clock.
fn caller(sketch: &Sketch<'_>, known: &Known<'_>) -> Option<(String, u64, u64)> {
    if known.span.parent_id == Some(known.probe.span_id) {
        return Some(("the client".into(), known.probe.start.0, known.probe.end.0));
    }
    let parent = sketch.parent(known).filter(|parent| parent.span.service() != known.span.service())?;
    Some((parent.span.service().to_owned(), parent.span.start.0, parent.span.end.0))
}

/// Zero where the callee lies within the call; else what would move it to the middle.
fn offset(known: &Known<'_>, from: u64, to: u64) -> i128 {
    let (start, end) = (i128::from(known.span.start.0), i128::from(known.span.end.0));
    let (from, to) = (i128::from(from), i128::from(to));
    // A callee that is longer than its call (a stream, a call given up early) says nothing about clocks.
    if end - start > to - from || (start >= from && end <= to) {
        return 0;
    }
    start - from - ((to - from) - (end - start)) / 2
}

pub(super) fn delay(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let mut slowest: BTreeMap<&str, Nanos> = BTreeMap::new();
    for known in &sketch.ours {
        let late = known.arrived.since(known.probe.end);
        let most = slowest.entry(known.span.service()).or_default();
        *most = (*most).max(late);
    }
    // The first of those that are equally late.
    let Some((service, late)) = slowest.into_iter().rev().max_by_key(|(_, late)| *late) else { return };
    let seconds = late.as_secs_f64();
    let seen = format!("Spans come up to {seconds:.1} s after the answer (the latest from {service}).");
    if late > QUIET {
        points.push(Point::hint(
            Topic::Delay,
            seen,
            "A run waits until none has come for 6 s and could end before the last ones.",
            "Export sooner (OTEL_BSP_SCHEDULE_DELAY=1000; a shorter `timeout` of the Collector's batch processor), or give \
             `run` a longer --quiet-period.",
        ));
    } else {
        points.push(Point::good(Topic::Delay, seen));
    }
}

pub(super) fn collector(counts: &[(String, u64)], points: &mut Vec<Point>) {
    let lost: Vec<&(String, u64)> = counts.iter().filter(|(_, n)| *n > 0).collect();
    if lost.is_empty() {
        points
            .push(Point::good(Topic::Collector, "The Collector refused and lost no span meanwhile.".into()));
    } else {
        let named = lost.iter().map(|(name, n)| format!("{name} {n}")).collect();
        points.push(Point::fault(
            Topic::Collector,
            format!("The Collector refused or lost spans meanwhile: {}.", listed(named)),
            "What is lost there is missing in the blame.",
            "Raise `sending_queue.queue_size` of the exporter and the limit of `memory_limiter`, and look at the Collector's \
             log for the backend that does not keep up.",
        ));
    }
}
