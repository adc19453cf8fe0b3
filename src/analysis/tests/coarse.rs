//! Starts that are cut to the millisecond, as OpenTelemetry's SDK for JavaScript tells them.

use super::results::{MS, Request, load};
use crate::analysis::result::{Analysis, Category, FindingKind as K};
use crate::record::{SpanKind, Value};

/// Cuts the starts of a request's spans, as that SDK does: lengths stay.
fn cut(mut r: Request) -> Request {
    for span in &mut r.spans {
        let early = span.start % MS;
        (span.start, span.end) = (span.start - early, span.end - early);
    }
    r
}

fn query(r: &mut Request, at: (f64, f64)) {
    let attributes = vec![
        ("db.system.name", Value::Str("postgresql")),
        ("db.query.text", Value::Str("SELECT name FROM author WHERE id = $1")),
    ];
    r.span(2, SpanKind::Client, "shop", "pg.query", at, attributes);
}

/// Milliseconds of a request that go to the database.
fn database(analysis: &Analysis) -> f64 {
    let of = analysis.steps[0].contributors.iter();
    let time: u64 = of.filter(|c| c.contributor.category == Category::Database).map(|c| c.total.0).sum();
    time as f64 / 1e6 / analysis.steps[0].exchanges as f64
}

#[test]
fn calls_in_turn_are_told_in_whole() {
    // 0.31 ms each, 0.02 ms of code between two: three or four begin within one millisecond.
    let page = |n: u64| {
        let begin = 0.37 + (n % 10) as f64 * 0.1;
        let mut r = Request::new(n, 9.0);
        (0..20).map(|i| begin + 0.33 * f64::from(i)).for_each(|at| query(&mut r, (at, at + 0.31)));
        r
    };
    let (fine, coarse) = (load(100, page), load(100, |n| cut(page(n))));
    assert!((database(&fine) - 6.2).abs() < 0.01, "{}", database(&fine));
    assert!((database(&coarse) - 6.2).abs() < 0.31, "{}", database(&coarse));
    assert_eq!(coarse.findings[0].kind, K::NPlusOneQuery);
    assert_eq!((fine.telemetry.coarse_starts, coarse.telemetry.coarse_starts), (0, 2100));
    // The server's span began before the request was sent, to go by what it tells.
    assert_eq!(coarse.telemetry.shifted, 0);
}

#[test]
fn calls_at_once_stay_so() {
    // Six of 0.4 ms, begun together: 2.4 ms, had they come one after the other.
    let page = |n: u64| {
        let begin = 1.0 + (n % 10) as f64 * 0.07;
        let mut r = Request::new(n, 6.0);
        (0..6).for_each(|i| query(&mut r, (begin + 0.01 * f64::from(i), begin + 0.4)));
        r
    };
    let coarse = load(100, |n| cut(page(n)));
    assert!(database(&coarse) < 0.45, "{}", database(&coarse));
    // Of a long one and many short ones beside it little more than the long one is seen: which of them began first is not known.
    let beside = |n: u64| {
        let mut r = Request::new(n, 12.0);
        query(&mut r, (1.3, 10.4));
        (0..10).map(|i| 1.6 + 0.5 * f64::from(i)).for_each(|at| query(&mut r, (at, at + 0.42)));
        r
    };
    let coarse = load(100, |n| cut(beside(n)));
    assert!((database(&coarse) - 9.1).abs() < 0.5, "{}", database(&coarse));
}

#[test]
fn calls_that_do_not_fit_into_their_parent_one_after_the_other_were_begun_together() {
    // Three of 0.3 ms in a request of which the server's span lasts 0.6.
    let page = |n: u64| {
        let mut r = Request::new(n, 0.8);
        (0..3).for_each(|_| query(&mut r, (0.25, 0.55)));
        r
    };
    let coarse = load(100, |n| cut(page(n)));
    assert!((database(&coarse) - 0.3).abs() < 0.01, "{}", database(&coarse));
}

#[test]
fn finer_clocks_are_believed() {
    // One statement of a hundred begins on a whole millisecond, others beside it do not.
    let analysis = load(100, |n| {
        let mut r = Request::new(n, 9.0);
        query(&mut r, (2.0, 2.71));
        query(&mut r, (2.15, 2.93));
        query(&mut r, (3.21, 4.12));
        r
    });
    assert_eq!(analysis.telemetry.coarse_starts, 0);
    assert!((database(&analysis) - 1.84).abs() < 0.01, "{}", database(&analysis));
}
