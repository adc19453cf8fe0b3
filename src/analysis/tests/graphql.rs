//! Operations of GraphQL: many pages behind one endpoint.

use super::results::{MS, Request, kinds};
use crate::analysis::result::{Analysis, FindingKind as K};
use crate::analysis::testing::{Owned, run};
use crate::analysis::{Analyzer, Partition};
use crate::record::{SpanKind, StepId, Value};

/// A request of a step: the server's span, a handler's below it, and what the handler began: for each operation a span of `ms` that
/// names it, then `own` ms of the handler's.
fn request(n: u64, step: u16, operations: &[&'static str], own: f64) -> Request {
    let each = 2.0;
    let ends = 3.0 + each * operations.len() as f64 + own;
    let mut r = Request::new(n, ends + 1.0);
    r.exchange.step = StepId(step);
    r.spans[0].name = "POST /graphql".to_owned();
    let handler = r.span(2, SpanKind::Internal, "shop", "middleware - handle", (1.0, ends), vec![]);
    r.span(2, SpanKind::Internal, "shop", "middleware - parse", (0.2, 0.9), vec![]);
    for (i, operation) in operations.iter().enumerate() {
        let at = 2.0 + each * i as f64;
        let mut told = vec![("graphql.operation.type", Value::Str("query"))];
        if !operation.is_empty() {
            told.push(("graphql.operation.name", Value::Str(operation)));
        }
        r.span(handler, SpanKind::Internal, "shop", "graphql.execute", (at, at + each), told);
    }
    r
}

fn analysed(steps: usize, requests: impl Iterator<Item = Request>) -> Analysis {
    let run = run(steps);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    let requests: Vec<Request> = requests.collect();
    requests.iter().for_each(|r| analyzer.exchange(&r.exchange));
    requests.iter().flat_map(|r| &r.spans).for_each(|s| s.lend(|s| analyzer.span(s)));
    analyzer.finish().into_analysis(&run)
}

/// What owns time in a step, by name.
fn owners(analysis: &Analysis, step: usize) -> Vec<String> {
    let mut names: Vec<String> = analysis.steps[step]
        .contributors
        .iter()
        .filter(|part| part.contributor.service.as_ref() == "shop")
        .map(|part| part.contributor.name.to_string())
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn work_for_an_operation_is_told_by_it() {
    let analysis = analysed(
        2,
        (0..120).map(|n| {
            let cart = n % 2 == 0;
            request(
                n,
                (n % 2) as u16,
                if cart { &["Cart"] } else { &["Stock"] },
                if cart { 60.0 } else { 80.0 },
            )
        }),
    );
    assert_eq!(
        owners(&analysis, 0),
        [
            "POST /graphql query Cart",
            "graphql query Cart",
            "middleware handle query Cart",
            "middleware parse"
        ]
    );
    // Two pages that compute are two findings, though one handler does both.
    assert_eq!(
        kinds(&analysis),
        [
            (K::AppCpu, "middleware handle query Stock".to_owned()),
            (K::AppCpu, "middleware handle query Cart".to_owned())
        ]
    );
    let operations: Vec<&str> = analysis.operations.iter().map(|o| &*o.name).collect();
    assert!(operations.contains(&"POST /graphql query Cart"), "{operations:?}");
}

#[test]
fn several_operations_in_one_request_and_nameless_ones_have_the_endpoints_name() {
    let plain = ["POST /graphql", "middleware handle", "middleware parse"];
    for (operations, inner) in [
        (&["Cart", "Stock"][..], &["graphql query Cart", "graphql query Stock"][..]),
        (&["Cart", "Stock", "Cart"], &["graphql query Cart", "graphql query Stock"]),
        (&[""], &["graphql query"]),
    ] {
        let analysis = analysed(1, (0..40).map(|n| request(n, 0, operations, 20.0)));
        let mut want: Vec<&str> = plain.iter().chain(inner).copied().collect();
        want.sort_unstable();
        assert_eq!(owners(&analysis, 0), want);
    }
    // The same twice is one.
    let analysis = analysed(1, (0..40).map(|n| request(n, 0, &["Cart", "Cart"], 20.0)));
    assert!(
        owners(&analysis, 0).contains(&"POST /graphql query Cart".to_owned()),
        "{:?}",
        owners(&analysis, 0)
    );
}

#[test]
fn an_operation_of_another_service_is_its_own() {
    let analysis = analysed(
        1,
        (0..40).map(|n| {
            let mut r = request(n, 0, &[], 40.0);
            let call = r.span(2, SpanKind::Client, "shop", "POST", (10.0, 30.0), vec![]);
            let mut server = Owned::new(
                90,
                call,
                SpanKind::Server,
                "stock",
                "POST /graphql",
                r.base + 11 * MS,
                r.base + 29 * MS,
            );
            server.trace = r.exchange.trace_id;
            r.spans.push(server);
            let told = vec![("graphql.operation.name", Value::Str("Stock"))];
            r.span(90, SpanKind::Internal, "stock", "graphql.execute", (12.0, 28.0), told);
            r
        }),
    );
    assert!(owners(&analysis, 0).contains(&"POST /graphql".to_owned()), "{:?}", owners(&analysis, 0));
    let stock: Vec<&str> = analysis.steps[0]
        .contributors
        .iter()
        .filter(|part| part.contributor.service.as_ref() == "stock")
        .map(|part| &*part.contributor.name)
        .collect();
    assert!(stock.contains(&"POST /graphql Stock"), "{stock:?}");
}
