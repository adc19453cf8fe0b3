//! Searches against servers that answer as the real ones do. Jaeger's two APIs are asked in the stack suites as well; Tempo,
//! Zipkin and ClickHouse have here the shapes that their documentation gives.

use super::tests::{Kept, Seen, answer_of_v1, id, otlp_json, serve, tempo_answer, zipkin_trace};
use super::*;
use crate::record::SpanId;
use crate::wire::protobuf::{Field, Reader};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Mutex;

const SECOND: u64 = 1_000_000_000;
/// Long before the searches, so that nothing is late.
const START: u64 = 1_700_000_000 * SECOND;
const HOUR: u64 = 3_600 * SECOND;

fn search(limit: u64) -> TraceSearch {
    let stretch =
        Stretch { from: Timestamp(START), to: Timestamp(START + HOUR), service: None, at_least: None };
    TraceSearch { limit, stretches: vec![stretch], ..TraceSearch::default() }
}

async fn find(source: &str, search: TraceSearch) -> (Fetched, Kept) {
    find_with(source, search, HashMap::new(), Vec::new()).await
}

async fn find_with(
    source: &str,
    search: TraceSearch,
    have: HashMap<TraceId, u64>,
    wanted: Vec<Wanted>,
) -> (Fetched, Kept) {
    let TraceSource::Backend(backend) = TraceSource::parse(source, &[]).unwrap() else { panic!() };
    let plan = FetchPlan {
        wanted,
        have,
        search: Some(search),
        run_id: None,
        from: Timestamp(START),
        to: Timestamp(START + HOUR),
        now: Timestamp(START + 2 * HOUR),
        pause: Duration::from_millis(1),
        deadline: Duration::from_secs(60),
        settled_after: Nanos::from_millis(60_000),
    };
    let mut kept = Kept::default();
    let fetched = fetch_with(Client::impatient(&backend), &backend, &plan, &mut kept).await;
    (fetched, kept)
}

fn traces_of(kept: &Kept) -> BTreeSet<TraceId> {
    kept.spans.iter().map(|(trace, _): &(TraceId, SpanId)| *trace).collect()
}

fn pairs(seen: &Seen) -> HashMap<String, String> {
    let query = seen.path.split_once('?').map_or("", |(_, query)| query);
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

/// When the n-th of `count` traces began, spread evenly over the hour.
fn at(n: u64, count: u64) -> u64 {
    START + n * (HOUR / (count + 1))
}

/// Nanoseconds of an RFC 3339 time of 14 November 2023.
fn moment(text: &str) -> u64 {
    let (day, clock) = (&text[..10], &text[11..text.len() - 1]);
    let days = match day {
        "2023-11-14" => 19_675,
        "2023-11-15" => 19_676,
        other => panic!("{other}"),
    };
    let parts: Vec<f64> = clock.split(':').map(|part| part.parse().unwrap()).collect();
    let whole = days * 86_400 + parts[0] as u64 * 3_600 + parts[1] as u64 * 60;
    whole * SECOND + (parts[2] * 1e9).round() as u64
}

/// A Jaeger with traces of one service that want to be whole within the stretch, as its store in memory does.
fn jaeger(
    count: u64,
    length: u64,
    most: usize,
) -> impl Fn(&Seen) -> (u16, &'static str, Vec<u8>) + Send + Sync + 'static {
    move |seen| {
        if seen.path == "/api/v3/services" {
            return (200, "", br#"{"services":["jaeger","shop"]}"#.to_vec());
        }
        let Some(_) = seen.path.strip_prefix("/api/v3/traces?") else { return (404, "", vec![]) };
        let pairs = pairs(seen);
        if !pairs.contains_key("query.start_time_min") {
            let why = br#"{"error":{"httpCode":400,"message":"query.start_time_min and query.start_time_max are required"}}"#;
            return (400, "", why.to_vec());
        }
        assert_eq!(
            (pairs["query.service_name"].as_str(), pairs["query.raw_traces"].as_str()),
            ("shop", "true")
        );
        let (from, to) = (moment(&pairs["query.start_time_min"]), moment(&pairs["query.start_time_max"]));
        let least =
            pairs.get("query.duration_min").map_or(0, |d| d.strip_suffix("ns").unwrap().parse().unwrap());
        let depth: usize = pairs["query.num_traces"].parse().unwrap();
        if depth > most {
            let why = br#"{"error":{"httpCode":500,"message":"search depth must be greater than 0 and less than max traces"}}"#;
            return (500, "", why.to_vec());
        }
        let within = |n: &u64| from < at(*n, count) && at(*n, count) + length < to && length >= least;
        let spans: Vec<_> = (1..=count)
            .rev()
            .filter(within)
            .take(depth)
            .map(|n| {
                let mut trace = otlp_json(n, 1)["resourceSpans"][0].clone();
                trace["scopeSpans"][0]["spans"][0]["startTimeUnixNano"] = json!(at(n, count).to_string());
                trace
            })
            .collect();
        if spans.is_empty() {
            return (404, "", br#"{"error":{"httpCode":404,"message":"No traces found"}}"#.to_vec());
        }
        (200, "", json!({"result": {"resourceSpans": spans}}).to_string().into_bytes())
    }
}

#[tokio::test]
async fn jaeger_is_searched_in_pieces_and_nothing_falls_between_them() {
    // Traces of two minutes: at 1,000 in a quarter of an hour many lie across a cut.
    for length in [1, 120 * SECOND] {
        let base = serve(jaeger(5_000, length, 40_000)).await;
        let (fetched, kept) = find(&format!("jaeger:{base}"), search(100_000)).await;
        assert_eq!(fetched.facts.problem, None);
        let whole = (1..=5_000u64).filter(|n| at(*n, 5_000) + length < START + HOUR).count();
        assert_eq!((traces_of(&kept).len(), fetched.facts.found as usize), (whole, whole), "{length}");
        assert!(!fetched.search.more && fetched.search.left.is_empty() && fetched.missing.is_empty());
        assert!(fetched.facts.requests < 150, "{}", fetched.facts.requests);
        // Its own service is passed over.
        assert_eq!(fetched.search.services, ["jaeger", "shop"]);
    }
}

#[tokio::test]
async fn a_store_that_holds_few_traces_is_asked_for_fewer() {
    let base = serve(jaeger(700, 1, 200)).await;
    let (fetched, _) = find(&format!("jaeger:{base}"), search(100_000)).await;
    assert_eq!((fetched.facts.found, fetched.search.more, fetched.search.failed), (700, false, false));
}

#[tokio::test]
async fn a_search_ends_with_as_many_as_are_wanted_and_goes_on_from_there() {
    let base = serve(jaeger(5_000, 1, 40_000)).await;
    let source = format!("jaeger:{base}");
    let (first, kept) = find(&source, search(1_500)).await;
    assert_eq!((first.facts.found, first.search.more), (1_500, true));
    // The newest come first.
    let newest: BTreeSet<TraceId> = (3_900..=5_000).map(id).collect();
    assert!(newest.is_subset(&traces_of(&kept)));
    let have: HashMap<TraceId, u64> = traces_of(&kept).into_iter().map(|id| (id, 1)).collect();
    let rest = TraceSearch { stretches: first.search.left.clone(), ..search(100_000) };
    let (second, more) = find_with(&source, rest, have, Vec::new()).await;
    let both: BTreeSet<TraceId> = traces_of(&kept).union(&traces_of(&more)).copied().collect();
    assert_eq!((both.len(), second.facts.found), (5_000, 5_000));
    // One question where one answer can hold what is wanted.
    let (few, _) = find(&source, search(10)).await;
    assert_eq!((few.facts.found, few.search.more), (10, true));
    assert!(few.facts.requests <= 3, "{}", few.facts.requests);
    assert_eq!(few.search.left.len(), 1, "its stretch is not searched to the end");
}

#[tokio::test]
async fn an_older_jaeger_is_searched_in_its_way() {
    let base = serve(|seen| {
        if seen.path.starts_with("/api/v3") {
            // The page of the user interface, as it answers to every path that it does not know.
            return (200, "", b"<!doctype html><title>Jaeger UI</title>".to_vec());
        }
        if seen.path == "/api/services" {
            return (200, "", br#"{"data":["shop"],"total":1,"limit":0,"offset":0,"errors":null}"#.to_vec());
        }
        let pairs = pairs(seen);
        assert_eq!(pairs["service"], "shop");
        assert_eq!((pairs["operation"].as_str(), pairs["minDuration"].as_str()), ("GET /x", "5000000ns"));
        assert_eq!(pairs["start"], (START / 1_000).to_string());
        assert_eq!((pairs["limit"].as_str(), pairs["raw"].as_str()), ("200", "true"));
        (200, "", answer_of_v1(&[1, 2, 3]))
    })
    .await;
    let search = TraceSearch {
        operation: Some("GET /x".into()),
        min_duration: Some(Nanos::from_millis(5)),
        ..search(200)
    };
    let (fetched, _) = find(&format!("jaeger:{base}"), search).await;
    assert_eq!((fetched.facts.found, fetched.facts.problem, fetched.search.more), (3, None, false));
}

#[tokio::test]
async fn tempo_is_searched_with_traceql_and_its_traces_are_asked_for_by_id() {
    let count = 2_500u64;
    let base = serve(move |seen| {
        assert!(seen.head.contains("x-scope-orgid: team-a\r\n") || !seen.path.contains("tenant"));
        if seen.path.starts_with("/api/search?") {
            let pairs = pairs(seen);
            assert_eq!(pairs["q"], r#"{ resource.service.name = "sh\"op" && name = "GET /" && trace:duration >= 1000000ns }"#);
            let (from, to): (u64, u64) = (pairs["start"].parse().unwrap(), pairs["end"].parse().unwrap());
            let limit: usize = pairs["limit"].parse().unwrap();
            let within = |n: &u64| (from * SECOND..to * SECOND).contains(&at(*n, count));
            let traces: Vec<_> = (1..=count)
                .filter(within)
                .take(limit)
                .map(|n| {
                    // Zeros in front of an id are left out, and the number of nanoseconds is text.
                    let hex = super::tests::id(n).to_string();
                    json!({"traceID": hex.trim_start_matches('0'), "rootServiceName": "shop", "rootTraceName": "GET /",
                           "startTimeUnixNano": at(n, count).to_string(), "durationMs": 12,
                           "spanSets": [{"spans": [{"spanID": "563d623c76514f8e"}], "matched": 1}]})
                })
                .collect();
            let answer = json!({"traces": traces, "metrics": {"inspectedTraces": 1, "inspectedBytes": "2"}});
            return (200, "", answer.to_string().into_bytes());
        }
        let n = super::tests::number(&seen.path).unwrap();
        // Five of them are found and not there.
        if n.is_multiple_of(500) { (404, "", vec![]) } else { (200, "", tempo_answer(n)) }
    })
    .await;
    let search = TraceSearch {
        service: Some("sh\"op".into()),
        operation: Some("GET /".into()),
        min_duration: Some(Nanos::from_millis(1)),
        ..search(10_000)
    };
    let (fetched, kept) = find(&format!("tempo:{base}"), search.clone()).await;
    assert_eq!(
        (fetched.facts.asked, fetched.facts.found, fetched.facts.problem.clone()),
        (count, count - 5, None)
    );
    assert_eq!(traces_of(&kept).len() as u64, count - 5);
    let missing: Vec<TraceId> = fetched.missing.iter().map(|w| w.trace).collect();
    assert_eq!(missing, [500, 1_000, 1_500, 2_000, 2_500].map(id));
    // What is known is not asked for again, nor what was searched.
    let have: HashMap<TraceId, u64> = traces_of(&kept).into_iter().map(|id| (id, 1)).collect();
    let rest = TraceSearch { stretches: fetched.search.left.clone(), ..search };
    let (again, _) = find_with(&format!("tempo:{base}"), rest, have, fetched.missing.clone()).await;
    assert_eq!((again.facts.asked, again.facts.found, again.facts.spans), (count, count - 5, 0));
    assert!(again.facts.requests <= 10, "{}", again.facts.requests);
}

#[tokio::test]
async fn tempo_takes_a_query_as_it_is_and_says_what_it_does_not_understand() {
    let base = serve(|seen| match pairs(seen).get("q").map(String::as_str) {
        Some("{ status = error }") => (200, "", br#"{"metrics":{}}"#.to_vec()),
        Some(_) => (400, "", b"invalid TraceQL query: parse error at line 1, col 3".to_vec()),
        None if seen.path.starts_with("/api/v2/search/tag/resource.service.name/values") => {
            (200, "", br#"{"tagValues":[{"type":"string","value":"cart"}],"metrics":{}}"#.to_vec())
        }
        None => (404, "", vec![]),
    })
    .await;
    let of = |query: &str| TraceSearch { traceql: Some(query.into()), ..search(10) };
    let (fetched, _) = find(&format!("tempo:{base}"), of("{ status = error }")).await;
    assert_eq!((fetched.facts.asked, fetched.facts.problem), (0, None));
    assert_eq!(fetched.search.services, ["cart"], "what there is instead");
    let (fetched, _) = find(&format!("tempo:{base}"), of("{{")).await;
    assert!(fetched.search.failed && fetched.search.left.len() == 1);
    assert_eq!(
        fetched.facts.problem.as_deref(),
        Some("HTTP status 400: invalid TraceQL query: parse error at line 1, col 3")
    );
}

#[tokio::test]
async fn zipkin_is_searched_by_end_and_lookback() {
    let count = 1_800u64;
    let base = serve(move |seen| {
        assert!(seen.path.starts_with("/api/v2/traces?"), "{}", seen.path);
        let pairs = pairs(seen);
        assert_eq!((pairs["serviceName"].as_str(), pairs["spanName"].as_str()), ("shop", "get /x"));
        assert_eq!(pairs["maxDuration"], "7000");
        let (end, back): (u64, u64) = (pairs["endTs"].parse().unwrap(), pairs["lookback"].parse().unwrap());
        let limit: usize = pairs["limit"].parse().unwrap();
        let (from, to) = ((end - back) * 1_000_000, end * 1_000_000);
        let within = |n: &u64| (from..to).contains(&at(*n, count));
        let traces: Vec<_> = (1..=count)
            .rev()
            .filter(within)
            .take(limit)
            .map(|n| {
                let mut trace = zipkin_trace(&id(n).to_string());
                trace[0]["timestamp"] = json!(at(n, count) / 1_000);
                trace
            })
            .collect();
        (200, "", json!(traces).to_string().into_bytes())
    })
    .await;
    let search = TraceSearch {
        service: Some("Shop".into()),
        operation: Some("GET /x".into()),
        max_duration: Some(Nanos::from_millis(7)),
        ..search(10_000)
    };
    let (fetched, kept) = find(&format!("zipkin:{base}"), search).await;
    assert_eq!((fetched.facts.found, traces_of(&kept).len() as u64), (count, count));
    assert!(fetched.missing.is_empty() && fetched.facts.requests < 10, "{}", fetched.facts.requests);
}

#[tokio::test]
async fn clickhouse_gives_ids_in_one_query_and_then_their_spans() {
    let base = serve(|seen| {
        if seen.body.contains("GROUP BY TraceId") {
            assert!(
                seen.body.contains("FROM otel.otel_traces WHERE Timestamp >= fromUnixTimestamp64Nano(1700000000000000000)"),
                "{}",
                seen.body
            );
            assert!(seen.body.contains(r"AND ServiceName = 'sh\'op' AND SpanName = 'GET /'"), "{}", seen.body);
            assert!(seen.body.contains("HAVING max(Duration) >= 5000000"), "{}", seen.body);
            assert!(seen.body.contains("ORDER BY max(Timestamp) DESC, TraceId LIMIT 3000 FORMAT"), "{}", seen.body);
            let rows: String = (1..=1_200)
                .map(|n| format!("{{\"TraceId\":\"{}\",\"Last\":\"{}\"}}\n", id(n), at(n, 1_200)))
                .collect();
            return (200, "", rows.into_bytes());
        }
        let ids = seen.body.split("TraceId IN (").nth(1).unwrap().split(')').next().unwrap();
        let row = |quoted: &str| {
            json!({"StartTimeUnixNano": START.to_string(), "TraceId": quoted.trim_matches('\''), "SpanId": "00000000000000aa",
                   "ParentSpanId": "", "SpanName": "GET /", "SpanKind": "Server", "ServiceName": "shop",
                   "ResourceAttributes": {}, "SpanAttributes": {}, "Duration": "1500", "StatusCode": "Unset",
                   "EventsTimestamp": [], "EventsName": [], "EventsAttributes": []})
        };
        let rows: String = ids.split(',').map(|quoted| format!("{}\n", row(quoted))).collect();
        (200, "", rows.into_bytes())
    })
    .await;
    let search = TraceSearch {
        service: Some("sh'op".into()),
        operation: Some("GET /".into()),
        min_duration: Some(Nanos::from_millis(5)),
        ..search(3_000)
    };
    let (fetched, _) = find(&format!("clickhouse:{base}/?database=otel"), search).await;
    assert_eq!((fetched.facts.asked, fetched.facts.found, fetched.facts.problem), (1_200, 1_200, None));
    assert_eq!(fetched.facts.requests, 1 + 3);
}

#[tokio::test]
async fn a_path_or_a_table_that_is_none_is_no_empty_answer() {
    let base = serve(|_| (404, "", b"Code: 60. DB::Exception: Unknown table otel.spans".to_vec())).await;
    for (source, said) in [
        (format!("clickhouse:{base}"), "Unknown table otel.spans"),
        (format!("zipkin:{base}"), "404"),
        (format!("tempo:{base}"), "404"),
    ] {
        let search = TraceSearch { service: Some("shop".into()), ..search(100) };
        let (fetched, _) = find(&source, search).await;
        let problem = fetched.facts.problem.unwrap_or_default();
        assert!(fetched.search.failed && problem.contains(said), "{source}: {problem}");
    }
}

#[tokio::test]
async fn an_unknown_service_and_a_dead_server_are_told_apart() {
    let base = serve(jaeger(10, 1, 40_000)).await;
    let search_for = |name: &str| TraceSearch { service: Some(name.into()), ..search(100) };
    let (fetched, _) = find(&format!("jaeger:{base}"), search_for("shp")).await;
    assert_eq!((fetched.facts.asked, fetched.facts.problem, fetched.search.failed), (0, None, false));
    assert_eq!(fetched.search.services, ["jaeger", "shop"]);
    for source in ["jaeger:http://127.0.0.1:1", "jaeger:grpc://127.0.0.1:1", "tempo:http://127.0.0.1:1"] {
        let (fetched, _) = find(source, search_for("shop")).await;
        assert!(fetched.search.failed && fetched.search.left.len() == 1, "{source}");
        let problem = fetched.facts.problem.unwrap();
        assert!(problem.to_lowercase().contains("connect"), "{source}: {problem}");
    }
}

/// A server of gRPC that answers each call with messages and a status.
async fn serve_grpc(
    answer: impl Fn(&str, &[u8]) -> (Vec<Vec<u8>>, u32, &'static str) + Send + Sync + 'static,
) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("grpc://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (messages, status, why) = answer(&path, &body[5..]);
                    let mut bytes = Vec::new();
                    for message in messages {
                        bytes.push(0);
                        bytes.extend((message.len() as u32).to_be_bytes());
                        bytes.extend(message);
                    }
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", status.into());
                    trailers.insert("grpc-message", http::HeaderValue::from_static(why));
                    let frames =
                        [Ok::<_, Infallible>(Frame::data(Bytes::from(bytes))), Ok(Frame::trailers(trailers))];
                    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed();
                    let answer =
                        http::Response::builder().header("content-type", "application/grpc").body(body);
                    Ok::<_, http::Error>(
                        answer.unwrap_or_else(|_| http::Response::new(Full::default().boxed())),
                    )
                }
            });
            let io = hyper_util::rt::TokioIo::new(socket);
            let executor = hyper_util::rt::TokioExecutor::new();
            tokio::spawn(hyper::server::conn::http2::Builder::new(executor).serve_connection(io, service));
        }
    });
    base
}

/// The fields of a message, those of its parts behind a dot.
fn fields(bytes: &[u8], before: &str, inner: &[&str], out: &mut Vec<String>) {
    let mut reader = Reader::new(bytes);
    while let Some((number, field)) = reader.next_field().unwrap() {
        let name = format!("{before}{number}");
        match field {
            Field::Bytes(part) if inner.contains(&name.as_str()) => {
                fields(part.rest(), &format!("{name}."), inner, out);
            }
            Field::Bytes(text) => out.push(format!("{name}={}", String::from_utf8_lossy(text.rest()))),
            Field::Varint(value) => out.push(format!("{name}={value}")),
            _ => out.push(format!("{name}=?")),
        }
    }
}

/// The message of one trace, as a chunk of Jaeger's answer.
fn chunk(n: u64) -> Vec<u8> {
    let whole = tempo_answer(n);
    let mut reader = Reader::new(&whole);
    match reader.next_field().unwrap() {
        Some((1, Field::Bytes(trace))) => trace.rest().to_vec(),
        _ => panic!("no trace"),
    }
}

#[tokio::test]
async fn jaeger_over_grpc_is_searched_and_asked_by_id() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = asked.clone();
    let base = serve_grpc(move |path, message| {
        let mut words = Vec::new();
        fields(message, "", &["1", "1.4", "1.5", "1.6"], &mut words);
        match path.rsplit('/').next().unwrap() {
            "GetServices" => (vec![b"\x0a\x04shop\x0a\x06jaeger".to_vec()], 0, ""),
            "FindTraces" => {
                seen.lock().unwrap().push(words.join(" "));
                (vec![chunk(1), chunk(2), chunk(3)], 0, "")
            }
            _ => (vec![], 5, "trace not found"),
        }
    })
    .await;
    let search = TraceSearch { min_duration: Some(Nanos::from_millis(1_500)), ..search(50) };
    let (fetched, kept) = find(&format!("jaeger={base}"), search).await;
    assert_eq!((fetched.facts.found, fetched.facts.problem, kept.spans.len()), (3, None, 3));
    let expected = format!(
        "1.1=shop 1.4.1={} 1.4.2=0 1.5.1={} 1.5.2=0 1.6.1=1 1.6.2=500000000 1.8=50 1.9=1",
        START / SECOND,
        START / SECOND + 3_600
    );
    assert_eq!(*asked.lock().unwrap(), [expected]);
}

#[tokio::test]
async fn a_run_is_fetched_over_grpc_by_its_id_and_then_trace_by_trace() {
    let tries = Mutex::new(0);
    let base = serve_grpc(move |path, message| {
        let text = String::from_utf8_lossy(message).into_owned();
        match path.rsplit('/').next().unwrap() {
            "FindTraces" => {
                assert!(text.contains("hotspan.run.id") && text.contains("run-1"), "{text}");
                (vec![chunk(1), chunk(2)], 0, "")
            }
            "GetTrace" => {
                let mut words = Vec::new();
                fields(message, "", &[], &mut words);
                let n = (3..=6).find(|n| words[0] == format!("1={}", id(*n))).expect(&text);
                assert_eq!(words[1], "4=1");
                let mut tries = tries.lock().unwrap();
                *tries += 1;
                match (n, *tries) {
                    (_, 1) => (vec![], 14, "the store is restarting"),
                    (5, _) => (vec![], 2, "trace not found"),
                    (6, _) => (vec![], 0, ""),
                    _ => (vec![chunk(n)], 0, ""),
                }
            }
            other => panic!("{other}"),
        }
    })
    .await;
    let mut plan = super::tests::plan(6);
    plan.run_id = Some("run-1".into());
    let TraceSource::Backend(backend) = TraceSource::parse(&format!("jaeger:{base}"), &[]).unwrap() else {
        panic!()
    };
    let mut kept = Kept::default();
    let fetched = fetch_with(Client::impatient(&backend), &backend, &plan, &mut kept).await;
    assert_eq!((fetched.facts.found, fetched.facts.retries, fetched.facts.problem), (4, 1, None));
    assert_eq!(fetched.missing.iter().map(|w| w.trace).collect::<Vec<_>>(), [id(5), id(6)]);
    // Another service than Jaeger's.
    let base = serve_grpc(|_, _| (vec![], 12, "unknown service jaeger.api_v3.QueryService")).await;
    let (fetched, _) = find(&format!("jaeger:{base}"), search(5)).await;
    let problem = fetched.facts.problem.unwrap();
    assert!(
        problem.contains("Unimplemented") && problem.contains("Jaeger serves it on port 16685"),
        "{problem}"
    );
    let base = serve_grpc(|_, _| (vec![], 16, "no token")).await;
    let (fetched, _) = find(&format!("jaeger:{base}"), search(5)).await;
    assert!(
        fetched
            .facts
            .problem
            .unwrap()
            .ends_with("no token; give credentials with --traces-header or in the URL")
    );
}
