//! A mapper and its driver both record a statement, each beside the other.

use super::results::{Request, load};
use crate::analysis::result::{Analysis, Category, FindingKind as K};
use crate::record::{SpanKind, Value};

const MAPPER: &str = "opentelemetry.instrumentation.sqlalchemy";
const DRIVER: &str = "opentelemetry.instrumentation.asyncpg";

fn call(r: &mut Request, scope: &'static str, text: &'static str, at: (f64, f64)) {
    let attributes = vec![("db.system.name", Value::Str("postgresql")), ("db.query.text", Value::Str(text))];
    r.span(2, SpanKind::Client, "shop", "q", at, attributes);
    r.spans.last_mut().unwrap().scope = scope;
}

const AUTHOR: &str = "SELECT name FROM author WHERE id = $1";

/// A page that asks for 20 authors in turn, 1 ms each; each is recorded by `outer` and, within it, by `inner`.
fn page(outer: &'static str, inner: &'static str) -> Analysis {
    load(100, move |n| {
        let mut r = Request::new(n, 40.0);
        for i in 0..20 {
            let at = 1.0 + 1.5 * f64::from(i);
            call(&mut r, outer, AUTHOR, (at, at + 1.0));
            if i == 0 {
                call(&mut r, inner, "BEGIN;", (at + 0.1, at + 0.3));
            }
            call(&mut r, inner, AUTHOR, (at + 0.4, at + 0.9));
        }
        r
    })
}

fn calls(analysis: &Analysis, name: &str) -> u64 {
    let of = analysis.steps[0]
        .contributors
        .iter()
        .filter(|c| c.contributor.category == Category::Database && c.contributor.name.starts_with(name));
    of.map(|c| c.calls).sum()
}

#[test]
fn a_statement_that_two_libraries_record_side_by_side_is_one_call() {
    let analysis = page(MAPPER, DRIVER);
    assert_eq!((calls(&analysis, "SELECT"), calls(&analysis, "BEGIN")), (2000, 100));
    let found = &analysis.findings[0];
    assert_eq!((found.kind, found.evidence["calls_per_exchange"]), (K::NPlusOneQuery, 20.0));
    // One library means what it records: two statements, of which one happens to be within the time of the other.
    assert_eq!(calls(&page(DRIVER, DRIVER), "SELECT"), 4000);
}

#[test]
fn calls_at_once_are_as_many_as_the_driver_makes() {
    let analysis = load(100, |n| {
        let mut r = Request::new(n, 10.0);
        for i in 0..5 {
            let at = 1.0 + 0.2 * f64::from(i);
            call(&mut r, MAPPER, AUTHOR, (at, at + 4.0));
            call(&mut r, DRIVER, AUTHOR, (at + 0.1, at + 3.9));
        }
        r
    });
    assert_eq!(calls(&analysis, "SELECT"), 500);
}
