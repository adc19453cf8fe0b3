//! One cause is one finding: what loops have of own time, one index that many statements want, a start, a client that gives up.

use super::results::{Request, healthy, kinds, load, only};
use crate::analysis::plans::{DatabaseEvidence, Scan};
use crate::analysis::result::{Analysis, FindingKind as K, Severity};
use crate::analysis::runtime::RuntimeMetrics;
use crate::analysis::testing::run;
use crate::analysis::{Analyzer, Limits, Partition};
use crate::record::{Failure, FailureClass, Outcome, SpanKind, StepId, Timestamp, Value};

fn statement(r: &mut Request, text: &'static str, (at, length): (f64, f64)) {
    let attributes = vec![("db.system.name", Value::Str("postgresql")), ("db.query.text", Value::Str(text))];
    r.span(2, SpanKind::Client, "shop", "q", (at, at + length), attributes);
}

/// A request of `ms` with loops of so many statements of 0.1 ms, `gap` ms of the service's own before each.
fn loops(ms: f64, texts: &[&'static str], calls: u32, gap: f64) -> Analysis {
    load(60, move |n| {
        let mut r = Request::new(n, ms);
        let mut at = 1.0;
        for text in texts {
            for _ in 0..calls {
                statement(&mut r, text, (at, 0.1));
                at += 0.1 + gap;
            }
        }
        r
    })
}

const BOOK: &str = "SELECT a FROM book WHERE id = ?";
const SHELF: &str = "SELECT b FROM shelf WHERE id = ?";

#[test]
fn own_time_is_judged_without_what_loops_have_of_it() {
    // Neither loop has half of it, both have.
    let kinds_of = |analysis: &Analysis| kinds(analysis).into_iter().map(|f| f.0).collect::<Vec<_>>();
    let two = loops(44.0, &[BOOK, SHELF], 30, 0.4);
    assert_eq!(kinds_of(&two), [K::NPlusOneQuery, K::NPlusOneQuery]);
    // What is left would be no finding.
    only(&loops(46.0, &[BOOK], 40, 0.5), K::NPlusOneQuery, BOOK);
    // What is left is one, and has only that.
    let much = loops(80.0, &[BOOK], 40, 0.7);
    assert_eq!(kinds_of(&much), [K::AppCpu, K::NPlusOneQuery]);
    let own = &much.findings[0];
    assert!((own.evidence["in_loops_ms"] - 39.0 * 0.7).abs() < 1e-3, "{:?}", own.evidence);
    assert!((own.impact.mean.as_millis_f64() - (75.8 - 27.3)).abs() < 1.0, "{:?}", own.impact);
}

const BY_WORD: [&str; 5] = [
    "SELECT a FROM term WHERE word = ?",
    "SELECT b FROM term WHERE word = ?",
    "SELECT c FROM term WHERE word = ?",
    "SELECT d FROM term WHERE word = ?",
    "SELECT e FROM term WHERE word = ?",
];

/// Two pages with five statements of `ms` each in 20 ms, whose plans scan a table for the columns given.
fn scans(ms: f64, column: fn(usize) -> &'static str) -> Analysis {
    let scan = |at: usize| Scan {
        table: "term".into(),
        columns: vec![column(at).to_owned()],
        rows: 90_000.0,
        found: 2.0,
        cost: None,
    };
    let scans = BY_WORD.iter().enumerate().map(|(at, text)| ((*text).into(), scan(at))).collect();
    let database = DatabaseEvidence { scans, ..Default::default() };
    let run = run(2);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for n in 0..100 {
        let mut r = Request::new(n, 20.0);
        r.exchange.step = StepId((n % 2) as u16);
        for (at, text) in BY_WORD.iter().enumerate() {
            statement(&mut r, text, (0.5 + 3.5 * at as f64, ms));
        }
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis_with(&run, &Limits::default(), &database, &RuntimeMetrics::default())
}

#[test]
fn an_index_that_many_statements_want_is_one_finding() {
    let analysis = scans(2.5, |_| "word");
    assert_eq!(kinds(&analysis).len(), 1, "{:?}", kinds(&analysis));
    let f = &analysis.findings[0];
    assert_eq!((f.kind, &*f.remedy), (K::MissingIndex, "CREATE INDEX term_word ON term (word)"));
    assert_eq!((f.evidence["index_statements"], f.evidence["steps"], f.related.len()), (5.0, 2.0, 4));
    assert!((f.evidence["mean_ms"] - 12.5).abs() < 1e-3, "{:?}", f.evidence);
    assert!((f.evidence["calls_per_exchange"] - 5.0).abs() < 1e-6, "{:?}", f.evidence);
    assert!((f.impact.mean.as_millis_f64() - 12.5).abs() < 0.5, "{:?}", f.impact);
    // An index for each; and all together take little.
    healthy(&scans(2.5, |at| ["a", "b", "c", "d", "e"][at]));
    healthy(&scans(0.4, |_| "word"));
}

/// A page whose only statement scans for 40 ms, of which its span has the part until the first row, and `own` ms of its own after it.
fn read_later(system: &'static str, first_row: fn(u64) -> f64, own: f64) -> Analysis {
    let of_word = Scan {
        table: "term".into(),
        columns: vec!["word".to_owned()],
        rows: 90_000.0,
        found: 1.0,
        cost: None,
    };
    let scans = [(BY_WORD[0].into(), of_word)].into();
    let database = DatabaseEvidence { scans, ..Default::default() };
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for n in 0..100 {
        let mut r = Request::new(n, 43.0 + own);
        let attributes =
            vec![("db.system.name", Value::Str(system)), ("db.query.text", Value::Str(BY_WORD[0]))];
        r.span(2, SpanKind::Client, "shop", "q", (2.0, 2.0 + first_row(n)), attributes);
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis_with(&run, &Limits::default(), &database, &RuntimeMetrics::default())
}

#[test]
fn rows_that_are_read_after_the_span_of_their_statement_are_the_scans() {
    // Anywhere in the table.
    let anywhere: fn(u64) -> f64 = |n| (n * 37 % 100) as f64 * 0.4 + 0.4;
    let found = read_later("sqlite", anywhere, 1.0);
    assert_eq!(kinds(&found), [(K::MissingIndex, BY_WORD[0].to_owned())]);
    let f = &found.findings[0];
    assert!((f.evidence["mean_ms"] - 36.0).abs() < 2.0, "{:?}", f.evidence);
    assert!((f.evidence["reading_ms"] - 16.0).abs() < 2.0, "{:?}", f.evidence);
    assert!((f.impact.mean.as_millis_f64() - 36.0).abs() < 3.0, "{:?}", f.impact);
    // What the code does itself is told beside it, without the scan's.
    let found = read_later("sqlite", anywhere, 70.0);
    assert_eq!(kinds(&found), [(K::AppCpu, "GET /".to_owned()), (K::MissingIndex, BY_WORD[0].to_owned())]);
    assert!(
        (found.findings[0].evidence["in_scans_ms"] - 16.0).abs() < 2.0,
        "{:?}",
        found.findings[0].evidence
    );
    // At the table's end, all of it is in the span; so it is of a database that answers when it has all rows.
    let found = read_later("sqlite", |_| 40.0, 30.0);
    assert_eq!(kinds(&found), [(K::MissingIndex, BY_WORD[0].to_owned()), (K::AppCpu, "GET /".to_owned())]);
    assert!(!found.findings[0].evidence.contains_key("reading_ms"), "{:?}", found.findings[0].evidence);
    let found = read_later("postgresql", anywhere, 1.0);
    assert!(found.findings.iter().all(|f| !f.evidence.contains_key("reading_ms")), "{:?}", kinds(&found));
}

/// A page with a loop of twenty statements of `ms` each, whose plan scans a table, and of as many that take 0.2 ms.
fn scans_in_a_loop(ms: f64) -> Analysis {
    let columns = vec!["word".to_owned()];
    let scan = Scan { table: "term".into(), columns, rows: 90_000.0, found: 2.0, cost: None };
    let database = DatabaseEvidence { scans: [(BY_WORD[0].into(), scan)].into(), ..Default::default() };
    let run = run(1);
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for n in 0..60 {
        let mut r = Request::new(n, 2.0 + 20.0 * (ms + 0.4));
        for i in 0..20 {
            let at = 1.0 + f64::from(i) * (ms + 0.4);
            statement(&mut r, BY_WORD[0], (at, ms));
            statement(&mut r, SHELF, (at + ms + 0.1, 0.2));
        }
        analyzer.exchange(&r.exchange);
        r.spans.iter().for_each(|s| s.lend(|s| analyzer.span(s)));
    }
    analyzer.finish().into_analysis_with(&run, &Limits::default(), &database, &RuntimeMetrics::default())
}

#[test]
fn a_loop_that_scans_a_table_each_time_has_two_remedies() {
    let told = |ms| kinds(&scans_in_a_loop(ms)).into_iter().map(|f| f.0).collect::<Vec<_>>();
    // The index is the quicker one, and mends most of it.
    assert_eq!(told(20.0), [K::MissingIndex, K::NPlusOneQuery]);
    let loops = &scans_in_a_loop(20.0).findings[1];
    assert!(loops.impact.mean.as_millis_f64() > 370.0, "{:?}", loops.impact);
    // Calls that are quick although they scan are slow by their number.
    assert_eq!(told(1.5), [K::NPlusOneQuery]);
}

/// A page with ten different statements, the `i`th of the `n`th request as long as told, taken in after `waits` ms.
fn ten_statements(waits: f64, length: fn(u64, usize) -> f64) -> Analysis {
    let texts: Vec<&'static str> = (0..10)
        .map(|i| &*Box::leak(format!("SELECT a{i} FROM t{i} WHERE id = ?").into_boxed_str()))
        .collect();
    load(60, move |n| {
        let mut at = waits + 0.5;
        let mut r = Request::new(n, waits + 1.5 + (0..10).map(|i| length(n, i) + 0.2).sum::<f64>());
        r.spans[0].start += (waits * 1e6) as u64;
        for (i, text) in texts.iter().enumerate() {
            statement(&mut r, text, (at, length(n, i)));
            at += length(n, i) + 0.2;
        }
        r
    })
}

#[test]
fn a_slow_way_to_a_database_is_told_where_no_statement_stands_out() {
    let far = ten_statements(0.1, |n, i| 16.0 + ((n + i as u64) % 4) as f64);
    only(&far, K::SlowNetwork, "postgresql");
    let f = &far.findings[0];
    assert!((f.evidence["at_least_ms"] - 16.0).abs() < 1.0, "{:?}", f.evidence);
    assert!((f.evidence["mean_ms"] - 160.0).abs() < 10.0, "{:?}", f.evidence);
    assert!((f.impact.mean.as_millis_f64() - 160.0).abs() < 12.0, "{:?}", f.impact);
    // One that is slow itself keeps its own name.
    let one = ten_statements(0.1, |_, i| if i == 0 { 220.0 } else { 16.0 });
    let told = kinds(&one).into_iter().map(|f| f.0).collect::<Vec<_>>();
    assert_eq!(told, [K::SlowQuery, K::SlowNetwork]);
    // Near; late by chance, as without a free core; late as all requests are; and quick for what is simple.
    healthy(&ten_statements(0.1, |_, _| 3.0));
    healthy(&ten_statements(0.1, |n, i| if (n + i as u64).is_multiple_of(3) { 6.0 } else { 21.0 }));
    let told = kinds(&ten_statements(12.0, |_, _| 16.0));
    assert!(told.iter().all(|f| f.1 != "postgresql"), "{told:?}");
    healthy(&ten_statements(0.1, |_, i| if i == 0 { 0.4 } else { 16.0 }));
    // Few kinds may all be slow themselves.
    let few = load(60, |n| {
        let mut r = Request::new(n, 100.0);
        for (at, text) in BY_WORD.iter().enumerate() {
            statement(&mut r, text, (1.0 + 18.0 * at as f64, 16.0));
        }
        r
    });
    assert!(kinds(&few).iter().all(|f| f.0 != K::SlowNetwork), "{:?}", kinds(&few));
}

#[test]
fn a_start_is_told_beside_requests_that_take_a_little_later() {
    let slow = |which: fn(u64) -> bool| {
        load(100, move |n| {
            let mut r = Request::new(n, if which(n) { 3_000.0 } else { 34.0 });
            statement(&mut r, BOOK, (0.5, 1.0));
            r
        })
    };
    assert_eq!(kinds(&slow(|n| n < 6)), [(K::ColdStart, "GET /".to_owned())]);
    // Later, too; and all that come.
    assert_eq!(kinds(&slow(|n| n < 6 || (60..64).contains(&n)))[0].0, K::AppCpu);
    assert_eq!(kinds(&slow(|_| true))[0].0, K::AppCpu);
}

#[test]
fn the_length_of_a_run_hides_no_start() {
    let start = |of: u64, first: u64| {
        load(of, move |n| {
            let mut r = Request::new(n, if n < first { 1_300.0 } else { 3.0 });
            statement(&mut r, BOOK, (0.5, 1.0));
            r
        })
    };
    // 12 of 600 and of 3,000 requests; the mean of the latter has 5 ms of it.
    for of in [600, 3_000] {
        assert_eq!(kinds(&start(of, 12)), [(K::ColdStart, "GET /".to_owned())]);
    }
    // A few, and a share of all that nobody would look for.
    assert_eq!(kinds(&start(600, 4)), []);
    assert_eq!(kinds(&start(20_000, 12)), []);
}

#[test]
fn a_start_under_a_higher_load_is_none() {
    // Most requests come in the first part of the run.
    let analysis = load(100, |n| {
        let late = n >= 80;
        let mut r = Request::new(if late { 20 * (n - 76) } else { n }, if late { 34.0 } else { 600.0 });
        statement(&mut r, BOOK, (0.5, 1.0));
        r
    });
    assert_eq!(kinds(&analysis)[0].0, K::AppCpu, "{:?}", kinds(&analysis));
}

#[test]
fn a_client_that_gives_up_each_time_names_who_had_the_time() {
    let given_up = |statement_ms: f64| {
        load(60, move |n| {
            let mut r = Request::new(n, 30_000.0);
            let failure = Failure { class: FailureClass::Timeout, message: "no answer within 30 s".into() };
            r.exchange.outcome = Outcome::Failed { failure, status: None };
            let phases = &mut r.exchange.phases;
            phases.connected = Some(Timestamp(phases.start.0 + 50_000));
            statement(&mut r, BOOK, (1.0, statement_ms));
            r
        })
    };
    assert_eq!(kinds(&given_up(29_000.0)), [(K::Timeout, BOOK.to_owned())]);
    assert_eq!(kinds(&given_up(1_000.0))[0], (K::Timeout, "GET /".to_owned()));
}

#[test]
fn what_says_why_the_client_gives_up_is_the_finding() {
    let series = |calls: u32, each_ms: f64| {
        load(60, move |n| {
            let mut r = Request::new(n, 10_000.0);
            let failure = Failure { class: FailureClass::Timeout, message: "no answer within 10 s".into() };
            r.exchange.outcome = Outcome::Failed { failure, status: None };
            for i in 0..calls {
                let from = 5.0 + f64::from(i) * (each_ms + 1.0);
                statement(&mut r, BOOK, (from, each_ms));
            }
            r
        })
    };
    let analysis = series(90, 100.0);
    assert_eq!(kinds(&analysis), [(K::NPlusOneQuery, BOOK.to_owned())]);
    let f = &analysis.findings[0];
    assert_eq!((f.evidence["given_up_share"], f.severity), (1.0, Severity::Critical));
    // One that takes as long has no reason but itself.
    assert_eq!(kinds(&series(1, 9_000.0)), [(K::Timeout, BOOK.to_owned())]);
}

#[test]
fn calls_that_are_recorded_under_a_service_of_their_own_are_a_series_of_their_maker() {
    let named = |service: &'static str, at_once: bool| {
        load(60, move |n| {
            let mut r = Request::new(n, 130.0);
            for i in 0..12 {
                let from = if at_once { 1.0 } else { 1.0 + 10.0 * f64::from(i) };
                r.span(2, SpanKind::Client, service, "GetDriver", (from, from + 9.0), Vec::new());
            }
            r
        })
    };
    for service in ["shop", "shop-redis"] {
        let found = kinds(&named(service, false));
        assert_eq!(found.iter().map(|f| f.0).collect::<Vec<_>>(), [K::NPlusOneCall], "{service}: {found:?}");
        let at_once = kinds(&named(service, true));
        assert!(at_once.iter().all(|f| f.0 != K::NPlusOneCall), "{service}: {at_once:?}");
    }
}

/// A page that calls one of some things of a partner, and waits for a try again where `waits`.
fn things(path: fn(u64) -> String, waits: bool) -> Analysis {
    load(300, move |n| {
        let mut r = Request::new(n, 200.0);
        let path = path(n);
        let call = |r: &mut Request, at, status| {
            let url: &'static str = Box::leak(format!("http://rates.example{path}").into_boxed_str());
            let attributes = vec![
                ("http.request.method", Value::Str("GET")),
                ("url.full", Value::Str(url)),
                ("server.address", Value::Str("rates.example")),
                ("http.response.status_code", Value::Int(status)),
            ];
            r.span(2, SpanKind::Client, "shop", "GET", at, attributes);
        };
        if waits {
            call(&mut r, (1.0, 10.0), 503);
            call(&mut r, (110.0, 190.0), 200);
        } else {
            call(&mut r, (1.0, 190.0), 200);
        }
        r
    })
}

#[test]
fn words_that_stand_for_things_are_left_out_of_paths() {
    const WORDS: [&str; 12] =
        ["EUR", "USD", "GBP", "JPY", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "RON"];
    let of_words = things(|n| format!("/rates/{}/latest", WORDS[n as usize % 7]), false);
    assert_eq!(kinds(&of_words), [(K::SlowExternal, "GET rates.example/rates/{id}/latest".to_owned())]);
    let f = &of_words.findings[0];
    assert!((f.evidence["calls_per_exchange"] - 1.0).abs() < 1e-9 && f.evidence["share"] > 0.9, "{f:?}");
    assert!(f.impact.mean.as_millis_f64() > 180.0, "{:?}", f.impact);
    // Two places, and some that look like ids.
    let two = things(|n| format!("/convert/{}/{}", WORDS[n as usize % 7], WORDS[n as usize / 7 % 12]), false);
    assert_eq!(kinds(&two), [(K::SlowExternal, "GET rates.example/convert/{id}/{id}".to_owned())]);
    let mixed = things(
        |n| if n % 2 == 0 { format!("/p/{n}") } else { format!("/p/{}", WORDS[n as usize % 5]) },
        false,
    );
    assert_eq!(kinds(&mixed), [(K::SlowExternal, "GET rates.example/p/{id}".to_owned())]);
    // The wait before a try again goes with its call.
    let again = things(|n| format!("/rates/{}", WORDS[n as usize % 7]), true);
    let wait = (K::RateLimited, "retry wait: GET rates.example/rates/{id}".to_owned());
    assert_eq!(kinds(&again)[0], wait, "{:?}", kinds(&again));
    // A few operations of an API, and what each request calls, keep their names.
    let few = things(|n| format!("/v1/{}", WORDS[n as usize % 2]), false);
    assert!(
        kinds(&few).iter().all(|f| !f.1.contains("{id}")) && !few.findings.is_empty(),
        "{:?}",
        kinds(&few)
    );
    let first = things(|n| format!("/{}", WORDS[n as usize % 7]), false);
    assert!(kinds(&first).iter().all(|f| !f.1.contains("{id}")), "{:?}", kinds(&first));
}
