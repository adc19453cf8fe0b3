//! Detectors of calls made one after the other, again, or many at once: a case that holds, one that does not, and one that almost does.

use super::detectors::{get, queries, sql, without};
use super::results::{Request, healthy, kinds, load, only};
use crate::analysis::result::{Analysis, Confidence, Doubt, FindingKind as K};
use crate::record::{SpanKind, Value};

#[test]
fn statements_of_one_loop_are_one_finding_that_lists_them() {
    let nested = |rows: u32| {
        load(60, move |n| {
            let mut r = Request::new(n, 2.0 + f64::from(rows) * 3.0);
            for i in 0..rows {
                let at = 1.0 + f64::from(i) * 3.0;
                queries(
                    &mut r,
                    "postgresql",
                    &[
                        ("SELECT name FROM author WHERE id = $1", at, 0.9),
                        ("SELECT stars FROM review WHERE book = $1", at + 1.0, 1.2),
                        ("SELECT n FROM stock WHERE book = $1", at + 2.2, 0.7),
                    ],
                );
            }
            r
        })
    };
    let analysis = nested(20);
    only(&analysis, K::NPlusOneQuery, "SELECT stars FROM review WHERE book = ?");
    let f = &analysis.findings[0];
    let mut related: Vec<&str> = f.related.iter().map(|c| &*c.name).collect();
    related.sort_unstable();
    assert_eq!(related, ["SELECT n FROM stock WHERE book = ?", "SELECT name FROM author WHERE id = ?"]);
    assert_eq!((f.evidence["loop_statements"], f.evidence["loop_calls"]), (3.0, 60.0));
    assert_eq!(f.confidence, Confidence::High);
    assert!((f.evidence["mean_ms"] - 56.0).abs() < 1e-3, "{:?}", f.evidence);
    assert!(f.impact.mean.as_millis_f64() > 50.0, "{:?}", f.impact);
    // Two loops one after the other are two problems.
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 90.0);
        for i in 0..20 {
            queries(
                &mut r,
                "postgresql",
                &[("SELECT a FROM t WHERE id = $1", 1.0 + f64::from(i) * 2.0, 1.9)],
            );
            queries(
                &mut r,
                "postgresql",
                &[("SELECT b FROM u WHERE id = $1", 45.0 + f64::from(i) * 2.0, 1.9)],
            );
        }
        r
    });
    assert_eq!(analysis.findings.iter().filter(|f| f.kind == K::NPlusOneQuery).count(), 2);
    // Four rows are below the limit, and the loop takes too little to be told nevertheless.
    without(&nested(4), K::NPlusOneQuery);
}

/// Requests of `ms` with `calls` statements of 0.1 ms, `gap` ms of the service's own before each, from the first millisecond on.
fn quick_loop(ms: f64, calls: u32, gap: f64) -> Analysis {
    load(60, move |n| {
        let mut r = Request::new(n, ms);
        for i in 0..calls {
            let at = 1.0 + f64::from(i) * (gap + 0.1);
            queries(&mut r, "sqlite", &[("SELECT name FROM doctor WHERE id = ?", at, 0.1)]);
        }
        r
    })
}

#[test]
fn quick_statements_are_a_series_by_what_their_loop_costs() {
    let analysis = quick_loop(20.0, 40, 0.3);
    only(&analysis, K::NPlusOneQuery, "SELECT name FROM doctor WHERE id = ?");
    let f = &analysis.findings[0];
    assert_eq!(f.confidence, Confidence::High);
    assert!((f.evidence["mean_ms"] - 4.0).abs() < 1e-3, "the statements alone: {:?}", f.evidence);
    assert!((f.evidence["between_ms"] - 39.0 * 0.3).abs() < 1e-3, "{:?}", f.evidence);
    // One of forty stays, of both.
    assert!((f.impact.mean.as_millis_f64() - 15.7 * 39.0 / 40.0).abs() < 0.05, "{:?}", f.impact);
    // The same in a page where it is little, and few quick ones, whatever is between them.
    for (ms, calls, gap) in [(80.0, 40, 0.3), (40.0, 5, 0.3), (40.0, 5, 7.0), (9.0, 9, 0.6)] {
        without(&quick_loop(ms, calls, gap), K::NPlusOneQuery);
    }
    healthy(&quick_loop(24.0, 9, 0.6));
}

#[test]
fn what_a_loop_does_for_itself_is_not_its_calls() {
    // Three milliseconds of work for each of twelve rows: code that takes long, and quick statements in it.
    let analysis = quick_loop(40.0, 12, 3.0);
    assert_eq!(kinds(&analysis)[0].0, K::AppCpu, "{:?}", kinds(&analysis));
    let series = analysis.findings.iter().find(|f| f.kind == K::NPlusOneQuery);
    assert!(series.is_none_or(|f| f.impact.mean.as_millis_f64() < 12.5), "{:?}", series.map(|f| f.impact));
    // Where the loop is what makes the service's own time long, that is told once.
    only(&quick_loop(60.0, 100, 0.4), K::NPlusOneQuery, "SELECT name FROM doctor WHERE id = ?");
}

#[test]
fn the_fastest_services_have_series_too() {
    // Two milliseconds, most of them twenty statements; and the same beside a millisecond and a half of other work.
    only(&quick_loop(4.2, 20, 0.02), K::NPlusOneQuery, "SELECT name FROM doctor WHERE id = ?");
    healthy(&quick_loop(6.0, 20, 0.02));
    healthy(&quick_loop(1.9, 8, 0.02));
}

#[test]
fn few_rounds_are_a_loop_where_statements_take_turns() {
    let turns = |rounds: u32, length: f64, apart: bool| {
        load(60, move |n| {
            let mut r = Request::new(n, 70.0);
            for i in 0..rounds {
                let at = 1.0 + f64::from(i) * 16.0;
                let at = if apart { 1.0 + f64::from(i) * 8.0 } else { at };
                let second = if apart { 35.0 + f64::from(i) * 8.0 } else { at + 8.0 };
                queries(&mut r, "mysql", &[("SELECT name FROM author WHERE id = ?", at, length)]);
                queries(
                    &mut r,
                    "mysql",
                    &[("SELECT stars FROM review WHERE book = ?", second, length - 0.1)],
                );
            }
            r
        })
    };
    let found = |analysis: &Analysis| kinds(analysis).into_iter().find(|f| f.0 == K::NPlusOneQuery);
    let analysis = turns(4, 7.0, false);
    let first = &analysis.findings[0];
    assert_eq!(found(&analysis).unwrap().1, "SELECT name FROM author WHERE id = ?");
    assert_eq!((first.evidence["loop_statements"], first.evidence["loop_calls"]), (2.0, 8.0));
    // Whether so few are a loop the code tells.
    assert_eq!(first.confidence, Confidence::Inferred(Doubt::FewRounds));
    assert!(found(&turns(3, 7.0, false)).is_some());
    // Two rounds are chance, a loop of few rounds must take more, and one kind after the other is no loop.
    assert!(found(&turns(2, 7.0, false)).is_none());
    assert!(found(&turns(4, 2.0, false)).is_none());
    assert!(found(&turns(4, 7.0, true)).is_none());
}

#[test]
fn waiting_to_ask_again_is_seen_without_a_word_of_it() {
    let called = |first: i64, path: &'static str| {
        load(60, move |n| {
            let mut r = Request::new(n, 260.0);
            for (at, status, url) in [(1.0, first, "http://pay.example/charge"), (241.0, 200, path)] {
                let attributes = vec![
                    ("http.request.method", Value::Str("POST")),
                    ("url.full", Value::Str(url)),
                    ("server.address", Value::Str("pay.example")),
                    ("http.response.status_code", Value::Int(status)),
                ];
                r.span(2, SpanKind::Client, "shop", "POST", (at, at + 10.0), attributes);
                r.spans.last_mut().unwrap().failed = status >= 400;
            }
            r
        })
    };
    only(&called(429, "http://pay.example/charge"), K::RateLimited, "retry wait: POST pay.example/charge");
    only(
        &called(500, "http://pay.example/charge"),
        K::RetryStorm,
        "wait after failure: POST pay.example/charge",
    );
    // Nothing failed, or something else is asked: the time between is the code's.
    only(&called(200, "http://pay.example/charge"), K::AppCpu, "GET /");
    only(&called(429, "http://pay.example/refund"), K::AppCpu, "GET /");
}

#[test]
fn a_span_that_stands_for_many_is_a_series_by_itself() {
    let composite = |count: i64| {
        load(60, move |n| {
            let mut r = Request::new(n, 30.0);
            let mut attributes = sql("mysql", "SELECT * FROM review WHERE product = ?");
            attributes.push(("composite.count", Value::Int(count)));
            r.span(2, SpanKind::Client, "shop", "q", (1.0, 21.0), attributes);
            r
        })
    };
    let analysis = composite(20);
    only(&analysis, K::NPlusOneQuery, "SELECT * FROM review WHERE product = ?");
    assert_eq!(analysis.findings[0].evidence["calls_per_exchange"], 20.0);
    without(&composite(1), K::NPlusOneQuery);
    without(&composite(4), K::NPlusOneQuery);
}

#[test]
fn the_same_question_twice() {
    let twice = |second: &'static str, length: f64| {
        load(60, move |n| {
            let mut r = Request::new(n, 22.0);
            queries(
                &mut r,
                "postgresql",
                &[("SELECT * FROM setting WHERE k = 'a'", 1.0, length), (second, 11.0, length)],
            );
            r
        })
    };
    let analysis = twice("SELECT * FROM setting WHERE k = 'a'", 8.0);
    only(&analysis, K::DuplicateQuery, "SELECT * FROM setting WHERE k = ?");
    assert!((analysis.findings[0].evidence["mean_ms"] - 8.0).abs() < 1e-3, "only the repeat is lost");
    healthy(&twice("SELECT * FROM setting WHERE k = 'b'", 8.0));
    healthy(&twice("SELECT * FROM setting WHERE k = 'a'", 1.0));
    // Placeholders hide what is asked; parameters that are given apart tell it.
    let parameters = |second: &'static str| {
        load(60, move |n| {
            let mut r = Request::new(n, 22.0);
            for (at, value) in [(1.0, "7"), (11.0, second)] {
                let mut attributes = sql("postgresql", "SELECT * FROM setting WHERE k = $1");
                attributes.push(("db.query.parameter.0", Value::Str(value)));
                r.span(2, SpanKind::Client, "shop", "q", (at, at + 8.0), attributes);
            }
            r
        })
    };
    only(&parameters("7"), K::DuplicateQuery, "SELECT * FROM setting WHERE k = ?");
    healthy(&parameters("8"));
}

#[test]
fn many_statements_of_all_kinds() {
    const TABLES: [&str; 8] = [
        "SELECT 1 FROM a",
        "SELECT 1 FROM b",
        "SELECT 1 FROM c",
        "SELECT 1 FROM d",
        "SELECT 1 FROM e",
        "SELECT 1 FROM f",
        "SELECT 1 FROM g",
        "SELECT 1 FROM h",
    ];
    let many = |calls: usize| {
        load(60, move |n| {
            let mut r = Request::new(n, calls as f64 + 4.0);
            for i in 0..calls {
                let mut attributes = sql("postgresql", TABLES[i / 4 % 8]);
                attributes.push(("db.query.parameter.0", Value::Int(i as i64)));
                // In no order that a loop would have, and never five of one kind.
                let at = 1.0 + i as f64;
                r.span(2, SpanKind::Client, "shop", "q", (at, at + 0.9), attributes);
            }
            r
        })
    };
    let analysis = many(32);
    assert_eq!(kinds(&analysis), [(K::ManyQueries, "GET /".to_owned())]);
    assert!(analysis.findings[0].related.is_empty());
    without(&many(29), K::ManyQueries);
}

#[test]
fn a_statement_that_is_sent_for_each_row_at_once_is_named() {
    let analysis = load(60, |n| {
        let mut r = Request::new(n, 36.0);
        for i in 0..32 {
            let mut attributes = sql("postgresql", "SELECT name FROM customer WHERE id = $1");
            attributes.push(("db.query.parameter.0", Value::Int(i)));
            // A connection for each, and one processor that answers them in turn.
            r.span(2, SpanKind::Client, "shop", "q", (1.0 + 0.01 * i as f64, 3.0 + i as f64), attributes);
        }
        r
    });
    assert_eq!(kinds(&analysis), [(K::ManyQueries, "GET /".to_owned())]);
    assert_eq!(&*analysis.findings[0].related[0].name, "SELECT name FROM customer WHERE id = ?");
}

#[test]
fn calls_in_a_row_to_different_peers() {
    let row = |overlap: bool, peers: [&'static str; 3]| {
        load(60, move |n| {
            let mut r = Request::new(n, 100.0);
            for (i, peer) in peers.into_iter().enumerate() {
                let at = 1.0 + if overlap { 0.0 } else { 22.0 * i as f64 };
                r.span(2, SpanKind::Client, "shop", "GET", (at, at + 21.0), get(peer));
            }
            r
        })
    };
    let analysis = row(false, ["a.example", "b.example", "c.example"]);
    let f = analysis.findings.iter().find(|f| f.kind == K::SequentialCalls).expect("in a row");
    assert_eq!(f.confidence, Confidence::Inferred(Doubt::TimingOnly));
    assert!((f.evidence["mean_ms"] - 42.0).abs() < 1e-3, "all but the longest: {:?}", f.evidence);
    // None of them takes more than calling at once would save: their order is the cause of all three.
    let found = kinds(&analysis);
    assert!(found.iter().all(|f| f.0 != K::SlowExternal), "{found:?}");
    without(&row(true, ["a.example", "b.example", "c.example"]), K::SequentialCalls);
    without(&row(false, ["a.example", "a.example", "c.example"]), K::SequentialCalls);
}

#[test]
fn a_row_lists_its_calls_unless_one_of_them_takes_most() {
    let row = |first: f64| {
        load(60, move |n| {
            let mut r = Request::new(n, first + 80.0);
            for (peer, at, length) in [
                ("a.example", 1.0, first),
                ("b.example", first + 2.0, 36.0),
                ("c.example", first + 39.0, 35.0),
            ] {
                r.span(2, SpanKind::Client, "shop", "GET", (at, at + length), get(peer));
            }
            r
        })
    };
    let analysis = row(37.0);
    only(&analysis, K::SequentialCalls, "GET /");
    let listed: Vec<&str> = analysis.findings[0].related.iter().map(|c| &*c.name).collect();
    assert_eq!(listed, ["GET a.example/a", "GET b.example/a"], "the calls that are long by themselves");
    // Calling at once would save 71 ms of 280.
    let one = row(200.0);
    assert_eq!(one.findings[0].kind, K::SlowExternal, "{:?}", kinds(&one));
    without(&one, K::SequentialCalls);
}

#[test]
fn many_at_once_that_come_back_one_after_the_other_are_too_many() {
    let at_once = |first: f64, each: f64| {
        load(60, move |n| {
            let mut r = Request::new(n, first + 25.0 * each + 4.0);
            for i in 0..25 {
                let to = 1.0 + first + each * f64::from(i);
                r.span(2, SpanKind::Client, "shop", "GET", (1.0, to), get("stock.example"));
            }
            r
        })
    };
    let analysis = at_once(8.0, 8.0);
    only(&analysis, K::FanOut, "GET /");
    let listed: Vec<&str> = analysis.findings[0].related.iter().map(|c| &*c.name).collect();
    assert_eq!(listed, ["GET stock.example/a"]);
    // All take as long: the peer is slow, however many are sent.
    only(&at_once(200.0, 0.5), K::SlowExternal, "GET stock.example/a");
}

#[test]
fn failed_calls_made_again() {
    let retries = |failed: bool, every: u64| {
        load(60, move |n| {
            let mut r = Request::new(n, 36.0);
            for i in 0..3u32 {
                let at = 1.0 + 11.0 * f64::from(i);
                r.span(2, SpanKind::Client, "shop", "GET", (at, at + 10.0), get("mail.example"));
                let last = r.spans.len() - 1;
                if failed && i < 2 && n % every == 0 {
                    r.spans[last].attributes.push(("http.response.status_code", Value::Int(500)));
                    r.spans[last].failed = true;
                }
            }
            r
        })
    };
    let analysis = retries(true, 1);
    let found = kinds(&analysis);
    assert_eq!(found[0].0, K::RetryStorm, "{found:?}");
    assert!((analysis.findings[0].evidence["mean_ms"] - 20.0).abs() < 1e-3);
    without(&retries(false, 1), K::RetryStorm);
    without(&retries(true, 20), K::RetryStorm);
}

#[test]
fn many_calls_and_many_at_once() {
    const PEERS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let chatty = |calls: usize| {
        load(60, move |n| {
            let mut r = Request::new(n, 4.0 * calls as f64 + 4.0);
            for i in 0..calls {
                let at = 1.0 + 4.0 * i as f64;
                r.span(2, SpanKind::Client, "shop", "GET", (at, at + 3.9), get(PEERS[i / 3 % 6]));
            }
            r
        })
    };
    // Three of each peer: no series.
    let analysis = chatty(18);
    assert!(analysis.findings.iter().any(|f| f.kind == K::ChattyService), "{:?}", kinds(&analysis));
    without(&chatty(12), K::ChattyService);
    let at_once = |calls: usize| {
        load(60, move |n| {
            let mut r = Request::new(n, 90.0);
            for i in 0..calls {
                let slow = if i == 3 { 80.0 } else { 5.0 };
                r.span(
                    2,
                    SpanKind::Client,
                    "shop",
                    "GET",
                    (1.0, 1.0 + slow + i as f64 * 0.01),
                    get("stock.example"),
                );
            }
            r
        })
    };
    let fan = at_once(25);
    assert!(
        fan.findings.iter().any(|f| f.kind == K::FanOut || f.kind == K::SlowExternal),
        "{:?}",
        kinds(&fan)
    );
    without(&at_once(15), K::FanOut);
}
