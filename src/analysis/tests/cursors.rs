//! Statements whose spans last until their rows are read, and what is called meanwhile.

use super::results::{Attributes, Request, kinds, load, only};
use crate::analysis::result::{Analysis, FindingKind as K};
use crate::record::{SpanKind, Value};

const LIST: &str = "SELECT id FROM product WHERE category = $1";
const EACH: &str = "SELECT text FROM review WHERE product = $1";

fn sql(text: &'static str) -> Attributes {
    let system = ("db.system.name", Value::Str("postgresql"));
    if text.is_empty() { vec![system] } else { vec![system, ("db.query.text", Value::Str(text))] }
}

fn statement(r: &mut Request, text: &'static str, at: (f64, f64)) -> u64 {
    r.span(2, SpanKind::Client, "shop", "query", at, sql(text))
}

/// Own time and calls of a contributor of the only step.
fn part(analysis: &Analysis, name: &str) -> (f64, u64) {
    let parts = &analysis.steps[0].contributors;
    parts
        .iter()
        .find(|part| &*part.contributor.name == name)
        .map_or((0.0, 0), |part| (part.total.as_millis_f64() / 60.0, part.calls / 60))
}

/// A statement from 1 to `until`, whose first row comes after 2 ms, and a statement of 2 ms for each of ten rows.
fn over_rows(first: f64, until: f64) -> Analysis {
    load(60, move |n| {
        let mut r = Request::new(n, 40.0);
        statement(&mut r, LIST, (1.0, until));
        for i in 0..10 {
            let at = first + 2.5 * f64::from(i);
            statement(&mut r, EACH, (at, at + 2.0));
        }
        r
    })
}

#[test]
fn statements_for_each_row_that_is_read_are_a_series() {
    let each = "SELECT text FROM review WHERE product = ?";
    let analysis = over_rows(3.5, 29.0);
    only(&analysis, K::NPlusOneQuery, each);
    let ((own, calls), (series, made)) =
        (part(&analysis, "SELECT id FROM product WHERE category = ?"), part(&analysis, each));
    assert_eq!((calls, made), (1, 10));
    // Its way to the first row, what is between the others, and the end; the rest is the loop's.
    assert!((own - (2.5 + 9.0 * 0.5 + 1.0)).abs() < 1e-3 && (series - 20.0).abs() < 1e-3, "{own} {series}");
    // What begins together was begun together; and what goes on long after the last one is no loop's.
    for (first, until) in [(1.1, 29.0), (3.5, 36.0)] {
        let analysis = over_rows(first, until);
        assert!(part(&analysis, each).0 < 10.0, "{:?}", kinds(&analysis));
        assert!(part(&analysis, "SELECT id FROM product WHERE category = ?").0 > 20.0);
    }
}

#[test]
fn calls_that_are_made_at_once_within_a_statement_are_beside_it() {
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 40.0);
        statement(&mut r, LIST, (1.0, 30.0));
        for i in 0..10 {
            let at = 4.0 + 2.5 * f64::from(i);
            statement(&mut r, EACH, (at, at + 3.0));
        }
        r
    });
    assert!(part(&analysis, "SELECT id FROM product WHERE category = ?").0 > 25.0, "{:?}", kinds(&analysis));
}

#[test]
fn calls_to_others_in_a_loop_over_rows_are_their_own() {
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 60.0);
        statement(&mut r, LIST, (1.0, 54.0));
        for i in 0..10 {
            let at = 4.0 + 5.0 * f64::from(i);
            statement(&mut r, EACH, (at, at + 0.5));
            let call = vec![
                ("http.request.method", Value::Str("GET")),
                ("server.address", Value::Str("stock.example")),
                ("url.full", Value::Str("http://stock.example/a")),
            ];
            r.span(2, SpanKind::Client, "shop", "GET", (at + 0.6, at + 4.8), call);
        }
        r
    });
    assert_eq!(analysis.findings[0].kind, K::NPlusOneCall, "{:?}", kinds(&analysis));
    assert_eq!(part(&analysis, "GET stock.example/a").1, 10);
}

/// `database/sql`: the query, then a span for the reading of its rows, `gap` later; in a loop over the rows or after it.
fn in_two_spans(gap: f64, within: bool) -> Analysis {
    load(60, move |n| {
        let mut r = Request::new(n, 40.0);
        statement(&mut r, LIST, (1.0, 3.0));
        let ends = if within { 31.0 } else { 3.4 };
        r.span(2, SpanKind::Client, "shop", "sql.rows", (3.0, ends), sql(""));
        for i in 0..9 {
            let at = 4.0 + 3.0 * f64::from(i);
            r.span(2, SpanKind::Client, "shop", "sql.conn.reset_session", (at - 0.1, at - 0.1), sql(""));
            statement(&mut r, EACH, (at, at + 2.0));
            r.span(2, SpanKind::Client, "shop", "sql.rows", (at + 2.0 + gap, at + 2.4 + gap), sql(""));
        }
        r
    })
}

#[test]
fn the_reading_of_rows_belongs_to_its_statement() {
    for (gap, within) in [(0.01, true), (0.01, false), (-0.02, true), (-0.02, false)] {
        let analysis = in_two_spans(gap, within);
        only(&analysis, K::NPlusOneQuery, "SELECT text FROM review WHERE product = ?");
        let f = &analysis.findings[0];
        assert!(f.related.is_empty() && !f.evidence.contains_key("loop_statements"), "{:?}", f.evidence);
        assert_eq!(part(&analysis, "sql.rows"), (0.0, 0));
        let (time, calls) = part(&analysis, "SELECT text FROM review WHERE product = ?");
        assert!((time - 9.0 * (2.4 + f64::min(gap, 0.0))).abs() < 1e-3 && calls == 9, "{time} {calls}");
    }
    // What comes long after belongs to none.
    let load_later = load(60, |n| {
        let mut r = Request::new(n, 40.0);
        statement(&mut r, LIST, (1.0, 3.0));
        r.span(2, SpanKind::Client, "shop", "sql.rows", (5.0, 39.0), sql(""));
        r
    });
    assert_eq!(part(&load_later, "sql.rows").1, 1);
}
