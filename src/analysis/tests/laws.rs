//! Laws that hold for any exchanges and spans, however broken.

use crate::analysis::result::{Analysis, StepPicture, StepResult, bucket_start};
use crate::analysis::testing::{Owned, exchange, run, trace};
use crate::analysis::{Analyzer, Partition, Segment, blame_trace};
use crate::record::{
    Exchange, Failure, FailureClass, Nanos, Outcome, Phases, SpanKind, StepId, Timestamp, Value,
};
use proptest::prelude::*;

const KINDS: [SpanKind; 6] = [
    SpanKind::Unspecified,
    SpanKind::Internal,
    SpanKind::Server,
    SpanKind::Client,
    SpanKind::Producer,
    SpanKind::Consumer,
];

/// Attributes that lead to different kinds of work.
fn attributes(n: u8) -> Vec<(&'static str, Value<'static>)> {
    match n % 8 {
        0 => vec![("db.system", Value::Str("postgresql")), ("db.statement", Value::Str("SELECT 1"))],
        1 => vec![("db.system", Value::Str("redis")), ("code.function.name", Value::Str("f"))],
        2 => vec![("http.request.method", Value::Str("GET")), ("server.address", Value::Str("peer"))],
        3 => vec![("http.request.method", Value::Str("GET")), ("http.response.status_code", Value::Int(429))],
        4 => vec![("http.request.method", Value::Str("GET")), ("http.request.resend_count", Value::Int(1))],
        5 => vec![("job.queue_time_us", Value::Int(1))],
        _ => Vec::new(),
    }
}

/// A span of which anything may be wrong: parents unknown or in a circle, ids shared, ends before starts, clocks apart.
fn span(exchanges: u64) -> impl Strategy<Value = Owned> {
    let times = (0u64..4_000, 0u64..2_500, 0u64..40);
    let ids = (0u64..12, 0u64..16, 0..exchanges);
    (ids, times, 0usize..6, 0u8..3, 0u8..3, any::<u8>()).prop_map(
        |((id, parent, in_trace), (start, length, odd), kind, service, host, attribute)| {
            // Exchange e has the span id e + 1; spans have ids from 100.
            let parent = match parent {
                0..12 => 100 + parent,
                12 => 0,
                _ => in_trace + 1,
            };
            let skew = [0, 0, 1_000_000][usize::from(host)];
            let mut span = Owned::new(
                if odd == 1 { 1 } else { 100 + id },
                parent,
                KINDS[kind],
                ["shop", "stock", ""][usize::from(service)],
                ["work", "GET", "pool acquire"][usize::from(attribute) % 3],
                10_000 + start + skew,
                if odd == 0 { 9_000 } else { 10_000 + start + length + skew },
            );
            span.trace = trace(in_trace / 2);
            span.host = ["", "a", "b"][usize::from(host)].to_owned();
            span.attributes = attributes(attribute);
            span
        },
    )
}

/// Exchange `n`: two in each trace, each in one of two steps, some late, some failed before anything was sent.
fn asked(n: u64) -> impl Strategy<Value = Exchange> {
    let moments = (0u64..300, 0u64..300, 0u64..300, 0u64..2_000, 0u64..2_000);
    (0u64..1_000, moments, 0u8..5, 0u16..2).prop_map(
        move |(due, (late, connect, send, wait, body), fate, step)| {
            let mut x = exchange(n + 1, 10_000 + due, 10_000 + due);
            x.trace_id = trace(n / 2);
            x.step = StepId(step);
            let start = x.intended.0 + late;
            let sent = start + connect + send;
            x.phases.start = Timestamp(start);
            x.phases.connected = (fate % 2 == 0).then_some(Timestamp(start + connect));
            x.phases.sent = (fate != 0).then_some(Timestamp(sent));
            x.phases.first_byte = (fate > 1).then_some(Timestamp(sent + wait));
            x.phases.end = Timestamp(sent + wait + if fate > 1 { body } else { 0 });
            if fate < 2 {
                let class = if fate == 0 { FailureClass::Connect } else { FailureClass::Timeout };
                let failure = Failure { class, message: ["a", "b"][usize::from(step)].into() };
                x.outcome = Outcome::Failed { failure, status: None };
            }
            x
        },
    )
}

fn workload() -> impl Strategy<Value = (Vec<Exchange>, Vec<Owned>)> {
    let exchanges: Vec<_> = (0..6).map(|n| asked(n).boxed()).collect();
    let fine = (exchanges, prop::collection::vec(span(6), 0..40));
    (fine, any::<bool>()).prop_map(|(fine, cut)| if cut { in_milliseconds(fine) } else { fine })
}

/// The same, so much longer that milliseconds matter, with the starts of spans cut to the millisecond.
fn in_milliseconds((mut exchanges, mut spans): (Vec<Exchange>, Vec<Owned>)) -> (Vec<Exchange>, Vec<Owned>) {
    const LONGER: u64 = 250_007;
    let longer = |moment: &mut Timestamp| moment.0 *= LONGER;
    for exchange in &mut exchanges {
        let Phases { start, resolved, connected, tls_done, sent, first_byte, end } = &mut exchange.phases;
        [&mut exchange.intended, start, end].into_iter().for_each(longer);
        [resolved, connected, tls_done, sent, first_byte].into_iter().flatten().for_each(longer);
    }
    for span in &mut spans {
        let early = span.start * LONGER % 1_000_000;
        (span.start, span.end) = (span.start * LONGER - early, span.end * LONGER - early);
    }
    (exchanges, spans)
}

fn analyse(exchanges: &[Exchange], spans: &[Owned], partitions: u32) -> Analysis {
    let run = run(2);
    let mut whole: Option<crate::analysis::Partial> = None;
    for index in 0..partitions {
        let mut analyzer = Analyzer::new(&run, Partition { index, of: partitions });
        exchanges.iter().for_each(|e| analyzer.exchange(e));
        spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
        let mut part = analyzer.finish();
        if partitions > 1 {
            // As it travels from one machine to another.
            let mut bytes = Vec::new();
            part.encode(&mut bytes);
            assert!(crate::analysis::Partial::decode(&bytes[..bytes.len() - 1]).is_none());
            part = crate::analysis::Partial::decode(&bytes).unwrap();
        }
        match &mut whole {
            None => whole = Some(part),
            Some(whole) => whole.merge(part),
        }
    }
    whole.unwrap().into_analysis(&run)
}

fn segments(exchanges: &[Exchange], spans: &[Owned]) -> Vec<Vec<Segment>> {
    fn lend(
        exchanges: &[Exchange],
        rest: &[Owned],
        have: &mut Vec<crate::record::Span<'_>>,
    ) -> Vec<Vec<Segment>> {
        match rest.split_first() {
            None => blame_trace(&run(2), exchanges, have).into_iter().map(|b| b.segments).collect(),
            Some((first, rest)) => first.lend(|span| {
                let mut have = have.clone();
                have.push(*span);
                lend(exchanges, rest, &mut have)
            }),
        }
    }
    lend(exchanges, spans, &mut Vec::new())
}

/// Sums by band, category and contributor all come to the same latency.
fn conserved(step: &StepResult, exchanges: &[Exchange]) {
    let mine: Vec<&Exchange> = exchanges.iter().filter(|e| e.step == step.step).collect();
    let latency: u64 = mine.iter().map(|e| e.corrected_latency().0).sum();
    assert_eq!(step.latency_sum.0, latency);
    assert_eq!(step.categories.total().0, latency);
    assert_eq!(step.contributors.iter().map(|c| c.total.0).sum::<u64>(), latency);
    assert_eq!(step.latency.sum(), u128::from(latency));
    assert_eq!(step.exchanges, mine.len() as u64);
    assert_eq!(step.bands.iter().map(|b| b.exchanges).sum::<u64>(), step.exchanges);
    for (i, band) in step.bands.iter().enumerate() {
        assert_eq!(band.latency_sum, band.categories.total());
        let owned: u64 = step.contributors.iter().map(|c| c.bands[i].0).sum();
        assert_eq!(band.latency_sum.0, owned);
    }
    for c in step.contributors.iter().take(20) {
        assert_eq!(c.without.len(), step.exchanges);
        // Other branches may take its place: what is gained is at most its time on the path.
        assert!(c.without.sum() >= u128::from(latency - c.total.0), "{:?}", c.contributor);
        assert!(c.without.sum() <= u128::from(latency), "{:?}", c.contributor);
    }
}

/// What pictures are drawn from comes to the same sums.
fn drawn(step: &StepResult, picture: &StepPicture) {
    let sum = |values: &mut dyn Iterator<Item = u64>| values.sum::<u64>();
    assert_eq!(sum(&mut picture.slices.iter().map(|s| s.exchanges)), step.exchanges);
    assert_eq!(sum(&mut picture.slices.iter().map(|s| s.errors)), step.errors);
    assert_eq!(sum(&mut picture.slices.iter().map(|s| s.latency.0)), step.latency_sum.0);
    assert_eq!(sum(&mut picture.slices.iter().map(|s| s.categories.total().0)), step.latency_sum.0);
    assert_eq!(sum(&mut picture.heat.iter().flatten().map(|cell| cell.1)), step.exchanges);
    let highest = picture.heat.iter().flatten().map(|cell| cell.0).max();
    assert!(highest.is_none_or(|bucket| bucket_start(bucket) <= step.latency.quantile(1.0)));
    assert_eq!(sum(&mut picture.flame.iter().map(|node| node.own.0)), step.latency_sum.0);
    for (at, node) in picture.flame.iter().enumerate() {
        assert_eq!(node.parent.is_none(), at == 0);
        assert!(node.parent.is_none_or(|parent| (parent as usize) < at));
        assert!(node.exchanges <= step.exchanges);
    }
    // So few exchanges are all in the sample.
    assert_eq!(picture.sample.len() as u64, step.exchanges);
    for one in &picture.sample {
        assert_eq!(one.parts.iter().map(|part| part.1).sum::<Nanos>() + one.rest, one.latency);
        assert!(one.parts.iter().all(|(_, time, saved)| saved <= time));
    }
    assert_eq!(picture.trees.len(), step.exemplars.len());
    for (tree, exemplar) in picture.trees.iter().zip(&step.exemplars) {
        assert_eq!((tree.trace_id, tree.due, tree.role), (exemplar.trace_id, exemplar.at, exemplar.role));
        let mut at = tree.due;
        for (_, from, to, span) in &tree.path {
            assert_eq!(*from, at);
            assert!(span.is_none_or(|span| (span as usize) < tree.spans.len()));
            at = *to;
        }
        assert_eq!(at, tree.due + exemplar.latency);
        for (at, span) in tree.spans.iter().enumerate() {
            assert!(span.parent.is_none_or(|parent| (parent as usize) < at), "parents before children");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// DESIGN's identity: segments disjoint, in order, none empty, and together the corrected latency exactly.
    #[test]
    fn segments_fill_the_latency((exchanges, spans) in workload()) {
        for pair in exchanges.chunks(2) {
            let blamed = segments(pair, &spans);
            prop_assert_eq!(blamed.len(), 2);
            for (exchange, segments) in pair.iter().zip(blamed) {
                let mut at = exchange.intended;
                for segment in &segments {
                    prop_assert_eq!(segment.start, at);
                    prop_assert!(segment.end > segment.start);
                    at = segment.end;
                }
                prop_assert_eq!(at, exchange.phases.end);
                let sum: Nanos = segments.iter().map(Segment::length).sum();
                prop_assert_eq!(sum, exchange.corrected_latency());
            }
        }
    }

    #[test]
    fn sums_are_conserved((exchanges, spans) in workload()) {
        let analysis = analyse(&exchanges, &spans, 1);
        analysis.steps.iter().for_each(|s| conserved(s, &exchanges));
        analysis.steps.iter().zip(&analysis.pictures.steps).for_each(|(step, picture)| drawn(step, picture));
        let t = &analysis.telemetry;
        prop_assert!(t.joined <= t.traced);
        prop_assert!(t.covered <= t.coverable);
        prop_assert_eq!(t.services.values().sum::<u64>() + t.duplicates + t.spans_foreign, t.spans);
        let total: u64 = exchanges.iter().map(|e| e.corrected_latency().0).sum();
        prop_assert_eq!(analysis.categories.total().0, total);
    }

    /// The result does not depend on how the work was divided, nor on the order of anything, to the bit.
    #[test]
    fn partitions_and_order_do_not_matter((exchanges, spans) in workload(), turn in 0usize..40) {
        // Pictures are compared as they are: written out they would be most of the test's time.
        let apart = |mut analysis: Analysis| (std::mem::take(&mut analysis.pictures), format!("{analysis:?}"));
        let want = apart(analyse(&exchanges, &spans, 1));
        let (mut turned, mut shuffled) = (exchanges.clone(), spans.clone());
        turned.rotate_left(turn % exchanges.len());
        shuffled.reverse();
        shuffled.rotate_left(turn % spans.len().max(1));
        for partitions in [1, 2, 7] {
            prop_assert_eq!(&apart(analyse(&turned, &shuffled, partitions)), &want);
        }
    }
}

/// A trace as deep as no stack is, and one as wide as no table of pairs is.
#[test]
fn deep_and_wide_traces() {
    let deep: Vec<Owned> = (0..50_000)
        .map(|i| {
            Owned::new(
                i + 100,
                if i == 0 { 1 } else { i + 99 },
                SpanKind::Internal,
                "s",
                "work",
                1_000 + i,
                201_000 - i,
            )
        })
        .collect();
    let one = exchange(1, 1_000, 201_000);
    let analysis = analyse(std::slice::from_ref(&one), &deep, 1);
    conserved(&analysis.steps[0], std::slice::from_ref(&one));
    assert_eq!(analysis.telemetry.orphans, 0);
    assert_eq!(analysis.telemetry.covered, Nanos(200_000));
    drawn(&analysis.steps[0], &analysis.pictures.steps[0]);
    assert_eq!(analysis.pictures.steps[0].trees[0].spans.len(), 400);
    assert_eq!(analysis.pictures.steps[0].trees[0].omitted, 49_600);
    // The same with every second span lost: 25,000 orphans, each in the shortest span around it.
    let holes: Vec<Owned> = deep.iter().filter(|s| s.id % 2 == 0 || s.id < 102).cloned().collect();
    let analysis = analyse(std::slice::from_ref(&one), &holes, 1);
    conserved(&analysis.steps[0], &[one]);
    assert_eq!(analysis.telemetry.orphans, 24_998);

    let mut wide = vec![Owned::new(100, 1, SpanKind::Server, "s", "GET /", 1_000, 1_001_000)];
    for i in 0..100_000 {
        let mut child = Owned::new(
            i + 200,
            100,
            KINDS[1 + 2 * (i % 2) as usize],
            "s",
            "SELECT",
            1_000 + i * 7,
            1_020 + i * 10,
        );
        child.attributes = attributes(if i % 2 == 0 { 7 } else { (i % 8) as u8 });
        wide.push(child);
        if i % 10 == 0 {
            wide.push(Owned::new(
                i + 500_000,
                i + 200,
                SpanKind::Server,
                "t",
                "GET",
                1_001 + i * 7,
                1_019 + i * 10,
            ));
        }
    }
    let one = exchange(1, 1_000, 1_001_000);
    let analysis = analyse(std::slice::from_ref(&one), &wide, 1);
    conserved(&analysis.steps[0], &[one]);
    assert_eq!(analysis.telemetry.spans, 110_001);
}
