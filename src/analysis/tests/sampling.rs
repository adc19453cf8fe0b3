//! Blame of a sample, weighed, against blame of all.

use crate::analysis::result::{Analysis, Category};
use crate::analysis::testing::{Owned, exchange, run};
use crate::analysis::{Analyzer, Partition};
use crate::record::{Exchange, Nanos, SpanKind, Threshold, TraceId, Value};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};

const MS: u64 = 1_000_000;

/// Requests of two steps: often a short one, seldom one whose query takes nearly all of a long time.
fn requests(n: u64, seed: u64) -> Vec<(Exchange, u64)> {
    let mut random = SmallRng::seed_from_u64(seed);
    (0..n)
        .map(|i| {
            let slow = random.random_range(0..10) == 0;
            let (latency, query) =
                if slow { (50 * MS, random.random_range(20..45) * MS) } else { (5 * MS, MS) };
            let mut exchange = exchange(random.next_u64() | 1, i * 10 * MS, i * 10 * MS + latency);
            let mut id = [0; 16];
            random.fill_bytes(&mut id);
            (exchange.trace_id, exchange.step) = (TraceId(id), crate::record::StepId(u16::from(slow)));
            (exchange, query)
        })
        .collect()
}

/// The analysis where the step decides how many are sampled.
fn analyse(requests: &[(Exchange, u64)], share: [f64; 2], partitions: u32) -> Analysis {
    let run = run(2);
    let mut whole: Option<crate::analysis::Partial> = None;
    for index in 0..partitions {
        let mut analyzer = Analyzer::new(&run, Partition { index, of: partitions });
        let sampled: Vec<(Exchange, u64)> = requests
            .iter()
            .cloned()
            .map(|(mut e, query)| {
                e.threshold = Threshold::of_probability(share[usize::from(e.step.0)]);
                e.sampled = e.threshold.keeps(&e.trace_id);
                (e, query)
            })
            .collect();
        sampled.iter().for_each(|(e, _)| analyzer.exchange(e));
        for (e, query) in sampled.iter().filter(|(e, _)| e.sampled) {
            let (from, to) = (e.intended.0, e.phases.end.0);
            let client = u64::from_be_bytes(e.span_id.0);
            let mut server =
                Owned::new(2, client, SpanKind::Server, "shop", "GET /", from + MS / 10, to - MS / 10);
            let mut call = Owned::new(3, 2, SpanKind::Client, "shop", "SELECT", from + MS, from + MS + query);
            call.attributes = vec![
                ("db.system.name", Value::Str("postgresql")),
                ("db.query.text", Value::Str("SELECT 1 FROM a")),
            ];
            (server.trace, call.trace) = (e.trace_id, e.trace_id);
            server.lend(|s| analyzer.span(s));
            call.lend(|s| analyzer.span(s));
        }
        let part = analyzer.finish();
        match &mut whole {
            None => whole = Some(part),
            Some(sum) => sum.merge(part),
        }
    }
    whole.unwrap().into_analysis(&run)
}

fn database(analysis: &Analysis) -> f64 {
    analysis.categories.get(Category::Database).0 as f64
}

#[test]
fn the_weighted_blame_of_samples_is_right_on_average() {
    // Shares that are no one in a whole number, and another for each step: the mean over many samples of one population,
    // against its truth.
    let (mut sum, mut truth) = (0.0, 0.0);
    const RUNS: u64 = 40;
    for seed in 0..RUNS {
        let requests = requests(1_000, seed);
        truth += requests.iter().map(|(_, query)| *query as f64).sum::<f64>();
        sum += database(&analyse(&requests, [0.07, 0.3], 1));
    }
    // About 100 slow requests a run, of which 30 are sampled, each with 32.5 ms (deviation 7) of query: the relative error of
    // one run is some 15 %, of the mean of 40 runs 2.5 %; three times that is beyond chance for any right estimate.
    let ratio = sum / truth;
    assert!((ratio - 1.0).abs() < 0.075, "{ratio}");
    // Without weights the slow ones would count four times too often: the test would see that.
}

#[test]
fn a_whole_sample_is_the_truth_to_the_nanosecond() {
    let requests = requests(300, 1);
    let analysis = analyse(&requests, [1.0, 1.0], 1);
    assert_eq!(database(&analysis), requests.iter().map(|(_, query)| *query as f64).sum::<f64>());
}

#[test]
fn sums_stay_exact_and_do_not_depend_on_partitions() {
    let requests = requests(600, 3);
    let (one, three) = (analyse(&requests, [0.2, 0.6], 1), analyse(&requests, [0.2, 0.6], 3));
    for (a, b) in one.steps.iter().zip(&three.steps) {
        assert_eq!(
            (a.latency_sum, a.categories, a.joined_weight),
            (b.latency_sum, b.categories, b.joined_weight)
        );
        assert_eq!(a.categories.total(), a.latency_sum, "shares add up to all");
        let parts: Nanos = a.contributors.iter().map(|c| c.total).sum();
        assert_eq!(parts, a.latency_sum);
        assert_eq!(a.latency.len(), a.exchanges, "latency is that of all requests");
    }
    assert!(
        one.steps
            .iter()
            .all(|s| s.joined < s.exchanges && s.categories.get(Category::Untraced) == Nanos::ZERO)
    );
}
