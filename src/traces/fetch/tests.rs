//! Fetching against servers that answer as the real ones do, in the shapes that their documentation and code give.

use super::*;
use crate::record::SpanId;
use crate::wire::protobuf::{close_message, open_message, put_bytes, put_fixed64, put_uint};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// A request as the server saw it.
pub(super) struct Seen {
    pub path: String,
    pub head: String,
    pub body: String,
}

type Reply = (u16, &'static str, Vec<u8>);

/// Serves every request on a connection of its own; the base URL.
pub(super) async fn serve(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut bytes = Vec::new();
                let head_end = loop {
                    if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                        break at + 4;
                    }
                    if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        return;
                    }
                };
                let head = String::from_utf8_lossy(&bytes[..head_end]).to_lowercase();
                let length = head
                    .lines()
                    .find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok())
                    .unwrap_or(0);
                while bytes.len() < head_end + length {
                    if socket.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let raw = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
                let path = raw.split(' ').nth(1).unwrap_or_default().to_owned();
                let body = String::from_utf8_lossy(&bytes[head_end..]).into_owned();
                let (status, headers, body) = answer(&Seen { path, head, body });
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n",
                    body.len()
                );
                let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
                let _ = socket.shutdown().await;
            });
        }
    });
    base
}

pub(super) fn id(n: u64) -> TraceId {
    TraceId((u128::from(n) | 0xAB << 120).to_be_bytes())
}

/// The trace that a path names, by its number.
pub(super) fn number(path: &str) -> Option<u64> {
    let hex = path.split('?').next()?.rsplit('/').next()?;
    let id = TraceId::from_hex(hex).ok()?;
    Some(u128::from_be_bytes(id.0) as u64)
}

pub(super) fn otlp_json(n: u64, spans: u64) -> serde_json::Value {
    let span = |s: u64| {
        json!({"traceId": id(n).to_string(), "spanId": format!("{:016x}", s + 1), "parentSpanId": "00000000000000ff",
               "name": "GET /", "kind": 2, "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000001000000"})
    };
    json!({"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": (0..spans).map(span).collect::<Vec<_>>()}]}]})
}

pub(super) fn plan(count: u64) -> FetchPlan {
    let ended = Timestamp(1_700_000_010_000_000_000);
    FetchPlan {
        wanted: (1..=count).map(|n| Wanted { trace: id(n), ended }).collect(),
        run_id: None,
        have: HashMap::new(),
        search: None,
        from: Timestamp(1_700_000_000_000_000_000),
        to: ended,
        // Long after the run, so that one round is enough.
        now: Timestamp(1_700_000_900_000_000_000),
        pause: Duration::from_millis(1),
        deadline: Duration::from_secs(60),
        settled_after: Nanos::from_millis(60_000),
    }
}

/// Keeps what comes.
#[derive(Default)]
pub(super) struct Kept {
    pub spans: BTreeSet<(TraceId, SpanId)>,
    last: FetchProgress,
    stop_after: Option<u64>,
    calls: u64,
}

impl FetchSink for Kept {
    fn message(&mut self, bytes: &[u8], spans: u64) -> Result<(), String> {
        let mut n = 0;
        otlp::scan(bytes, &mut |key| {
            n += 1;
            self.spans.insert((key.trace_id, key.span_id));
        })
        .unwrap();
        assert_eq!(n, spans);
        Ok(())
    }

    fn progress(&mut self, progress: FetchProgress) -> bool {
        self.last = progress;
        self.calls += 1;
        self.stop_after.is_some_and(|n| self.calls > n)
    }
}

async fn run(source: &str, headers: &[&str], plan: &FetchPlan) -> (FetchFacts, Kept) {
    let headers: Vec<String> = headers.iter().map(|h| (*h).to_owned()).collect();
    let TraceSource::Backend(backend) = TraceSource::parse(source, &headers).unwrap() else { panic!() };
    let mut kept = Kept::default();
    let facts = fetch_with(Client::impatient(&backend), &backend, plan, &mut kept).await.facts;
    assert_eq!(facts.found, facts.asked - missing(plan, &kept), "found and missing are what was asked for");
    (facts, kept)
}

fn missing(plan: &FetchPlan, kept: &Kept) -> u64 {
    let have: BTreeSet<TraceId> = kept.spans.iter().map(|(id, _)| *id).collect();
    plan.wanted.iter().filter(|w| !have.contains(&w.trace)).count() as u64
}

#[tokio::test]
async fn jaeger_by_id_with_busy_answers_and_missing_traces() {
    let tries = Arc::new(AtomicU64::new(0));
    let counted = tries.clone();
    let base = serve(move |seen| {
        assert!(
            seen.path.starts_with("/api/v3/traces/") && seen.path.contains("rawTraces=true"),
            "{}",
            seen.path
        );
        let n = number(&seen.path).unwrap();
        match counted.fetch_add(1, SeqCst) {
            3 => (503, "retry-after: 0\r\n", b"busy".to_vec()),
            7 => (429, "", vec![]),
            _ if n.is_multiple_of(10) => {
                (404, "", br#"{"error":{"httpCode":404,"message":"No traces found"}}"#.to_vec())
            }
            _ => (200, "", json!({"result": otlp_json(n, 2)}).to_string().into_bytes()),
        }
    })
    .await;
    // 404 of v3 is asked of v1 too until v3 is known: the server would fail the test if that went on.
    let plan = plan(200);
    let (facts, kept) = run(&format!("jaeger:{base}"), &[], &plan).await;
    assert_eq!((facts.asked, facts.found, facts.spans), (200, 180, 360));
    assert_eq!((facts.retries, facts.requests, facts.problem), (2, 202, None));
    assert_eq!((kept.spans.len(), kept.last.found, kept.last.doing), (360, 180, FetchDoing::Getting));
    assert_eq!(facts.source, format!("jaeger:{base}"));
}

/// What `/api/traces` of Jaeger answers.
pub(super) fn answer_of_v1(numbers: &[u64]) -> Vec<u8> {
    let trace = |n: &u64| {
        let trace = id(*n).to_string();
        let span = json!({"traceID": trace, "spanID": "1", "operationName": "o", "references": [], "startTime": 1_700_000_000_000_000u64,
                          "duration": 5, "tags": [], "logs": [], "processID": "p1"});
        json!({"traceID": trace, "spans": [span], "processes": {"p1": {"serviceName": "s", "tags": []}}})
    };
    let data: Vec<_> = numbers.iter().map(trace).collect();
    json!({"data": data, "total": 0, "limit": 0, "offset": 0, "errors": null}).to_string().into_bytes()
}

#[tokio::test]
async fn an_older_jaeger_is_asked_in_its_way() {
    let base = serve(|seen| {
        if seen.path.starts_with("/api/v3") {
            return (404, "", b"404 page not found\n".to_vec());
        }
        assert!(seen.path.starts_with("/api/traces/") && seen.path.ends_with("?raw=true"), "{}", seen.path);
        let n = number(&seen.path).unwrap();
        (200, "", answer_of_v1(&[n]))
    })
    .await;
    let (facts, _) = run(&format!("jaeger+{base}"), &[], &plan(40)).await;
    assert_eq!((facts.found, facts.spans, facts.problem), (40, 40, None));
    // The new way was tried by the first requests only.
    assert!((40..=52 + 12).contains(&facts.requests), "{}", facts.requests);
}

/// A `TraceByIDResponse`: the trace within a field of its own.
pub(super) fn tempo_answer(n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let trace = open_message(&mut out, 1);
    let resource_spans = open_message(&mut out, 1);
    let resource = open_message(&mut out, 1);
    close_message(&mut out, resource);
    let scope_spans = open_message(&mut out, 2);
    let span = open_message(&mut out, 2);
    put_bytes(&mut out, 1, &id(n).0);
    put_bytes(&mut out, 2, &[7; 8]);
    put_uint(&mut out, 6, 2);
    put_fixed64(&mut out, 7, 1);
    put_fixed64(&mut out, 8, 2);
    for start in [span, scope_spans, resource_spans, trace] {
        close_message(&mut out, start);
    }
    out
}

#[tokio::test]
async fn tempo_by_id_in_protobuf_with_a_tenant() {
    let base = serve(|seen| {
        if !seen.head.contains("x-scope-orgid: team-a\r\n") {
            return (401, "", b"no org id".to_vec());
        }
        assert!(seen.head.contains("accept: application/protobuf\r\n"), "{}", seen.head);
        assert!(seen.path.starts_with("/api/v2/traces/"), "{}", seen.path);
        assert!(seen.path.ends_with("?start=1699996400&end=1700003610"), "{}", seen.path);
        let n = number(&seen.path).unwrap();
        (200, "", tempo_answer(n))
    })
    .await;
    let source = format!("tempo:{base}");
    let (facts, _) = run(&source, &["X-Scope-OrgID: team-a"], &plan(30)).await;
    assert_eq!((facts.found, facts.spans, facts.requests), (30, 30, 30));
    // Without the tenant nothing will ever come: no further requests than those under way.
    let (facts, _) = run(&source, &[], &plan(300)).await;
    assert_eq!(facts.found, 0);
    assert!(facts.requests <= 24, "{}", facts.requests);
    let problem = facts.problem.unwrap();
    assert!(
        problem.contains("HTTP status 401: no org id; give credentials with --traces-header"),
        "{problem}"
    );
}

#[tokio::test]
async fn what_tempo_gives_in_part_is_told() {
    let said = "Trace exceeds maximum size of 5 bytes";
    let base = serve(move |seen| match number(&seen.path).unwrap() {
        2 => {
            let mut answer = tempo_answer(2);
            put_uint(&mut answer, 3, 1);
            put_bytes(&mut answer, 4, said.as_bytes());
            (200, "", answer)
        }
        3 => {
            let answer =
                json!({"trace": otlp_json(3, 2), "metrics": {}, "status": "PARTIAL", "message": "large"});
            (200, "", answer.to_string().into_bytes())
        }
        4 => {
            let answer = json!({"trace": otlp_json(4, 2), "status": "COMPLETE"});
            (200, "", answer.to_string().into_bytes())
        }
        n => {
            let mut answer = tempo_answer(n);
            put_bytes(&mut answer, 2, &[]);
            (200, "", answer)
        }
    })
    .await;
    let (facts, _) = run(&format!("tempo:{base}"), &[], &plan(6)).await;
    assert_eq!((facts.found, facts.partial, facts.problem), (6, 2, None));
    assert_eq!(facts.partial_reason.as_deref(), Some(said));
}

#[tokio::test]
async fn an_older_tempo_answers_json_with_batches() {
    let base = serve(|seen| {
        if seen.path.starts_with("/api/v2") {
            return (404, "", b"404 page not found".to_vec());
        }
        let n = number(&seen.path).unwrap();
        let coded = crate::wire::base64::encode(&id(n).0);
        let span = json!({"traceId": coded, "spanId": crate::wire::base64::encode(&[3; 8]), "name": "x", "kind": "SPAN_KIND_SERVER",
                          "startTimeUnixNano": "1", "endTimeUnixNano": "2"});
        let body = json!({"batches": [{"resource": {}, "instrumentationLibrarySpans": [{"spans": [span]}]}]});
        (200, "", body.to_string().into_bytes())
    })
    .await;
    let (facts, _) = run(&format!("tempo:{base}"), &[], &plan(20)).await;
    assert_eq!((facts.found, facts.spans, facts.problem), (20, 20, None));
}

pub(super) fn zipkin_trace(hex: &str) -> serde_json::Value {
    json!([{"traceId": hex, "id": "00000000000000aa", "name": "get", "timestamp": 5, "duration": 3}])
}

#[tokio::test]
async fn zipkin_gives_many_at_once_or_one_by_one() {
    let base = serve(|seen| {
        let ids = seen.path.strip_prefix("/api/v2/traceMany?traceIds=").expect(&seen.path);
        let traces: Vec<_> = ids.split(',').map(zipkin_trace).collect();
        assert!(traces.len() <= 40 && seen.path.len() < 2_000);
        (200, "", json!(traces).to_string().into_bytes())
    })
    .await;
    let (facts, _) = run(&format!("zipkin:{base}"), &[], &plan(100)).await;
    assert_eq!((facts.found, facts.requests), (100, 3));
    let base = serve(|seen| match seen.path.strip_prefix("/api/v2/trace/") {
        Some(hex) => (200, "", zipkin_trace(hex).to_string().into_bytes()),
        None => (404, "", vec![]),
    })
    .await;
    let (facts, _) = run(&format!("zipkin:{base}"), &[], &plan(50)).await;
    assert_eq!((facts.found, facts.problem), (50, None));
}

#[tokio::test]
async fn clickhouse_is_asked_by_lists_of_ids_through_its_index() {
    let base = serve(|seen| {
        assert!(seen.head.contains("x-clickhouse-user: reader\r\n"), "{}", seen.head);
        assert!(seen.body.contains("FROM otel.otel_traces WHERE TraceId IN ("), "{}", seen.body);
        assert!(seen.body.contains("FROM otel.otel_traces_trace_id_ts WHERE"), "{}", seen.body);
        let ids = seen.body.split("TraceId IN (").nth(1).unwrap().split(')').next().unwrap();
        let rows: String = ids
            .split(',')
            .map(|quoted| {
                let row = json!({"StartTimeUnixNano": "1700000000000000000", "TraceId": quoted.trim_matches('\''),
                    "SpanId": "00000000000000aa", "ParentSpanId": "", "SpanName": "GET /", "SpanKind": "Server", "ServiceName": "shop",
                    "ResourceAttributes": {"service.name": "shop"}, "SpanAttributes": {"http.route": "/"}, "Duration": "1500",
                    "StatusCode": "Unset", "EventsTimestamp": [], "EventsName": [], "EventsAttributes": []});
                format!("{row}\n")
            })
            .collect();
        (200, "", rows.into_bytes())
    })
    .await;
    let source = format!("clickhouse:{}/?database=otel", base.replace("http://", "http://reader:k@"));
    let (facts, _) = run(&source, &[], &plan(1_200)).await;
    assert_eq!((facts.found, facts.spans, facts.requests), (1_200, 1_200, 3));
    assert!(!facts.source.contains("reader") && facts.source.contains("database=otel"), "{}", facts.source);
}

#[tokio::test]
async fn late_traces_are_asked_for_until_two_rounds_agree() {
    let asked: Arc<Mutex<HashMap<u64, u64>>> = Arc::default();
    let count = asked.clone();
    let base = serve(move |seen| {
        let n = number(&seen.path).unwrap();
        let mut asked = count.lock().unwrap();
        let round = asked.entry(n).or_default();
        // The old way of the same server has none of it.
        if seen.path.starts_with("/api/traces") {
            return (404, "", vec![]);
        }
        *round += 1;
        match (n, *round) {
            // Complete from the start; grows once; comes in the second round; never comes.
            (1, _) => (200, "", json!({"result": otlp_json(1, 3)}).to_string().into_bytes()),
            (2, 1) => (200, "", json!({"result": otlp_json(2, 1)}).to_string().into_bytes()),
            (2, _) => (200, "", json!({"result": otlp_json(2, 4)}).to_string().into_bytes()),
            (3, 2..) => (200, "", json!({"result": otlp_json(3, 2)}).to_string().into_bytes()),
            _ => (404, "", vec![]),
        }
    })
    .await;
    let mut late = plan(4);
    late.now = Timestamp(late.to.0 + 1_000_000);
    let (facts, kept) = run(&format!("jaeger:{base}"), &[], &late).await;
    assert_eq!((facts.asked, facts.found, facts.problem), (4, 3, None));
    assert_eq!(kept.spans.len(), 3 + 4 + 2);
    // The complete one twice, to agree; the growing and the late one until they agreed; the missing one as often.
    assert_eq!(*asked.lock().unwrap(), HashMap::from([(1, 2), (2, 3), (3, 3), (4, 3)]));
    // With no time left there is one round.
    late.deadline = Duration::ZERO;
    asked.lock().unwrap().clear();
    let (facts, _) = run(&format!("jaeger:{base}"), &[], &late).await;
    assert_eq!((facts.found, facts.requests >= 4), (2, true));
    assert_eq!(asked.lock().unwrap()[&1], 1);
}

#[tokio::test]
async fn a_dead_or_senseless_backend_is_a_problem_and_no_hang() {
    let (facts, _) = run("jaeger:http://127.0.0.1:1", &[], &plan(500)).await;
    assert_eq!(facts.found, 0);
    assert!(facts.requests < 200, "{}", facts.requests);
    let problem = facts.problem.unwrap();
    assert!(problem.to_lowercase().contains("connect"), "{problem}");

    let base = serve(|_| (200, "", b"<!doctype html><title>Login</title>".to_vec())).await;
    let (facts, _) = run(&format!("tempo:{base}"), &[], &plan(500)).await;
    assert!(facts.requests < 60, "{}", facts.requests);
    assert!(facts.problem.unwrap().contains("in no format that hotspan knows; is this the right URL?"));

    let base = serve(|_| (400, "", b"bad id".to_vec())).await;
    let (facts, _) = run(&format!("zipkin:{base}"), &[], &plan(10)).await;
    assert_eq!(facts.problem.as_deref(), Some("HTTP status 400: bad id"));
}

#[tokio::test]
async fn the_user_can_stop_it() {
    let base = serve(|seen| {
        let n = number(&seen.path).unwrap();
        (200, "", json!({"result": otlp_json(n, 1)}).to_string().into_bytes())
    })
    .await;
    let TraceSource::Backend(backend) = TraceSource::parse(&format!("jaeger:{base}"), &[]).unwrap() else {
        panic!()
    };
    let mut kept = Kept { stop_after: Some(5), ..Kept::default() };
    let facts = fetch_with(Client::impatient(&backend), &backend, &plan(400), &mut kept).await.facts;
    assert!((5..60).contains(&facts.found), "{}", facts.found);
}

#[tokio::test]
async fn a_search_by_the_runs_id_is_divided_until_windows_are_not_full() {
    // 2,500 traces spread evenly over the run's ten seconds.
    let base = serve(|seen| {
        let Some(query) = seen.path.strip_prefix("/api/v3/traces?") else {
            return (404, "", vec![]);
        };
        let pairs: HashMap<String, String> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(pairs["query.attributes"], r#"{"hotspan.run.id":"run-1"}"#);
        assert_eq!(
            (pairs["query.serviceName"].as_str(), pairs["query.rawTraces"].as_str()),
            ("hotspan", "true")
        );
        let depth: usize = pairs["query.searchDepth"].parse().unwrap();
        let seconds = |key: &str| {
            let text = &pairs[key];
            let clock: Vec<f64> =
                text[11..text.len() - 1].split(':').map(|part| part.parse().unwrap()).collect();
            clock[0] * 3600.0 + clock[1] * 60.0 + clock[2]
        };
        // 1,700,000,000 s is 22:13:20.
        let start = 22.0 * 3600.0 + 13.0 * 60.0 + 20.0;
        let (from, to) = (seconds("query.startTimeMin") - start, seconds("query.startTimeMax") - start);
        let spans: Vec<_> = (1..=2_500u64)
            .filter(|n| (from..to).contains(&(*n as f64 * 0.003_999)))
            .take(depth)
            .map(|n| otlp_json(n, 1)["resourceSpans"][0].clone())
            .collect();
        (200, "", json!({"result": {"resourceSpans": spans}}).to_string().into_bytes())
    })
    .await;
    let plan = FetchPlan { run_id: Some("run-1".into()), ..plan(2_500) };
    let (facts, _) = run(&format!("jaeger:{base}"), &[], &plan).await;
    assert_eq!((facts.found, facts.problem), (2_500, None));
    assert!(facts.requests <= 9, "{}", facts.requests);
}
