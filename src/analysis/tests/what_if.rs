//! Imagined changes on traces of which the answer is plain.

use crate::analysis::result::Analysis;
use crate::analysis::testing::{Owned, exchange, run, trace};
use crate::analysis::{Analyzer, Partition, WhatIf};
use crate::record::{SpanKind, Value};

const MS: u64 = 1_000_000;

/// Requests of 100 ms: 10 ms of own code, five statements of 10 ms in turn, then two calls at once, of 40 ms and of 25 ms.
fn shop(changes: &[&str], wait: bool) -> Analysis {
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let plans: Vec<WhatIf> = changes.iter().map(|text| WhatIf::parse(text).unwrap()).collect();
    analyzer.imagine(&plans);
    let mut spans = Vec::new();
    for n in 0..20u64 {
        let at = n * 1_000 * MS;
        let mut one = exchange(n * 100 + 1, at, at + 100 * MS);
        one.trace_id = trace(n);
        analyzer.exchange(&one);
        let span = |id: u64, parent: u64, kind, service: &str, name: &str, from: u64, to: u64| {
            let mut span =
                Owned::new(n * 100 + id, n * 100 + parent, kind, service, name, at + from * MS, at + to * MS);
            span.trace = trace(n);
            span
        };
        spans.push(span(2, 1, SpanKind::Server, "shop", "GET /", 0, 100));
        for i in 0..5 {
            let name = if wait && i == 0 { "pool acquire" } else { "SELECT" };
            let mut statement = span(10 + i, 2, SpanKind::Client, "shop", name, 10 + i * 10, 20 + i * 10);
            if name == "SELECT" {
                statement.attributes = vec![
                    ("db.system.name", Value::Str("postgresql")),
                    ("db.query.text", Value::Str("SELECT stars FROM review WHERE id = $1")),
                ];
            } else {
                statement.kind = SpanKind::Internal;
            }
            spans.push(statement);
        }
        spans.push(span(20, 2, SpanKind::Client, "shop", "GET", 60, 100));
        spans.push(span(21, 20, SpanKind::Server, "stock", "GET /stock", 62, 98));
        let mut other = span(30, 2, SpanKind::Client, "shop", "GET", 60, 85);
        other.attributes = vec![
            ("http.request.method", Value::Str("GET")),
            ("server.address", Value::Str("prices")),
            ("url.template", Value::Str("/v1/price")),
        ];
        spans.push(other);
    }
    spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis(&run)
}

/// Median latency after each change, in whole milliseconds.
fn after(changes: &[&str]) -> Vec<u64> {
    let analysis = shop(changes, false);
    analysis.what_if.iter().map(|w| (w.steps[0].after.p50.0 + MS / 2) / MS).collect()
}

#[test]
fn what_depends_moves_and_what_runs_beside_takes_its_place() {
    let cases = [
        ("database=0", 50),
        ("db=0.5x", 75),
        ("SELECT … review=2ms", 60),
        ("calls(SELECT review)=1", 60),
        ("calls(SELECT review)=3", 80),
        // Its own 36 ms go; the call itself (4 ms on its way) and the other one beside it stay.
        ("stock=0", 85),
        ("calls(GET /stock)=0", 85),
        ("external=0", 100),
        ("external=0; stock=0", 64),
        ("prices=0; calls(/stock)=0; db=0", 10),
        ("nothing of that name=0", 100),
    ];
    let texts: Vec<&str> = cases.iter().map(|c| c.0).collect();
    let got = after(&texts);
    for ((text, want), got) in cases.iter().zip(got) {
        assert_eq!(got, *want, "{text}");
    }
}

#[test]
fn what_a_change_is_about_is_told() {
    let analysis = shop(&["db=0.5x", "no such thing=0"], false);
    let [some, none] = &analysis.what_if[..] else { panic!("two were asked") };
    assert_eq!((some.matched.len(), some.steps[0].touched), (1, 20));
    assert_eq!(&*some.matched[0].name, "SELECT stars FROM review WHERE id = ?");
    assert_eq!((none.matched.len(), none.steps[0].touched), (0, 0));
    assert_eq!(some.steps[0].best, None, "nobody waited for a turn");
}

#[test]
fn waits_for_a_turn_make_a_range() {
    // 10 of 100 ms were a wait; statements of 40 ms go, 50 of the 90 ms of work are left.
    let analysis = shop(&["database=0"], true);
    let step = &analysis.what_if[0].steps[0];
    let best = step.best.unwrap();
    assert_eq!((step.after.p50.0 + MS / 2) / MS, 60);
    assert_eq!((best.p50.0 + MS / 2) / MS, 53, "10 ms times (5/9)² are left of the wait");
    assert!((step.queued_share - 0.1).abs() < 1e-9);
}

#[test]
fn what_the_caller_does_between_the_calls_of_a_loop_goes_with_them() {
    const US: u64 = 1_000;
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    analyzer.imagine(
        &["calls(SELECT author)=1", "calls(SELECT author)=0"].map(|text| WhatIf::parse(text).unwrap()),
    );
    let mut one = exchange(1, 0, 50 * MS);
    one.trace_id = trace(0);
    analyzer.exchange(&one);
    let mut spans = vec![Owned::new(2, 1, SpanKind::Server, "shop", "GET /", 0, 50 * MS)];
    // Twenty statements of 0.2 ms, half a millisecond between two, but 20 ms of other work before the eleventh.
    let mut at = 5 * MS;
    for n in 0..20 {
        let mut statement = Owned::new(10 + n, 2, SpanKind::Client, "shop", "SELECT", at, at + 200 * US);
        statement.attributes = vec![
            ("db.system.name", Value::Str("postgresql")),
            ("db.query.text", Value::Str("SELECT name FROM author WHERE id = $1")),
        ];
        spans.push(statement);
        at += 200 * US + if n == 9 { 20 * MS } else { 500 * US };
    }
    spans.iter_mut().for_each(|span| span.trace = trace(0));
    spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    let analysis = analyzer.finish().into_analysis(&run);
    let after: Vec<u64> =
        analysis.what_if.iter().map(|w| (w.steps[0].after.p50.0 + 50 * US) / (100 * US)).collect();
    // 19 × 0.2 ms, 18 × 0.5 ms and 1 of the 20 ms are gone: 50 − 3.8 − 9 − 1; without the first one 0.2 ms more.
    assert_eq!(after, [362, 360]);
}

#[test]
fn calls_that_overlap_have_nothing_between_them() {
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    analyzer.imagine(&[WhatIf::parse("calls(SELECT author)=1").unwrap()]);
    let mut one = exchange(1, 0, 50 * MS);
    one.trace_id = trace(0);
    analyzer.exchange(&one);
    // Three at once, of 20, 15 and 10 ms, begun one after the other: the first stays, and with it all that is waited for.
    let mut spans = vec![Owned::new(2, 1, SpanKind::Server, "shop", "GET /", 0, 50 * MS)];
    for (n, (from, to)) in [(10, 30), (12, 27), (14, 24)].into_iter().enumerate() {
        let mut statement =
            Owned::new(10 + n as u64, 2, SpanKind::Client, "shop", "SELECT", from * MS, to * MS);
        statement.attributes = vec![
            ("db.system.name", Value::Str("postgresql")),
            ("db.query.text", Value::Str("SELECT name FROM author WHERE id = $1")),
        ];
        spans.push(statement);
    }
    spans.iter_mut().for_each(|span| span.trace = trace(0));
    spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    let analysis = analyzer.finish().into_analysis(&run);
    assert_eq!((analysis.what_if[0].steps[0].after.p50.0 + MS / 2) / MS, 50);
}
