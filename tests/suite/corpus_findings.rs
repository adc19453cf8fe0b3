//! Traces of healthy systems that other projects publish: nothing may be called a problem with high confidence.
//!
//! The corpus has no load generator's side, so each root span gets an exchange that covers it exactly.

use super::corpus_critical_path::{corpus, read};
use hotspan::analysis::result::{Analysis, Confidence};
use hotspan::analysis::{Analyzer, Partition};
use hotspan::record::{
    Attribute, Exchange, Host, Outcome, Phases, Protocol, Resource, Run, Scope, Span, SpanId, SpanKind,
    Status, StepId, StepInfo, Threshold, Timestamp, TraceId, Value,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// A span that owns its texts.
struct Owned {
    trace: String,
    id: String,
    parent: Option<String>,
    kind: SpanKind,
    service: String,
    instance: String,
    name: String,
    start: u64,
    end: u64,
    attributes: Vec<(String, String)>,
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01B3))
}

fn trace_id(text: &str) -> TraceId {
    let mut id = [1; 16];
    id[..8].copy_from_slice(&hash(text).to_be_bytes());
    id[8..].copy_from_slice(&hash(&format!("{text}.")).to_be_bytes());
    TraceId(id)
}

/// All spans as one run: one step for each name of a root.
fn analyze(spans: &[Owned]) -> Analysis {
    let known: std::collections::BTreeSet<(&str, &str)> = spans.iter().map(|s| (&*s.trace, &*s.id)).collect();
    let is_root = |s: &Owned| s.parent.as_ref().is_none_or(|p| !known.contains(&(&*s.trace, &**p)));
    let mut roots: BTreeMap<&str, &Owned> = BTreeMap::new();
    for span in spans.iter().filter(|s| is_root(s) && s.end > s.start) {
        let longest = roots.entry(&span.trace).or_insert(span);
        if span.end - span.start > longest.end - longest.start {
            *longest = span;
        }
    }
    let names: Vec<&str> =
        roots.values().map(|r| &*r.name).collect::<std::collections::BTreeSet<_>>().into_iter().collect();
    let step = |name: &&str| StepInfo {
        journey: "corpus".to_owned(),
        name: (*name).to_owned(),
        method: "GET".to_owned(),
        template: "/".to_owned(),
        checks: Vec::new(),
    };
    let run = run(names.iter().map(step).collect());
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for (trace, root) in &roots {
        let number = names.iter().position(|n| *n == root.name).unwrap();
        analyzer.exchange(&Exchange {
            trace_id: trace_id(trace),
            span_id: SpanId(hash(trace).to_be_bytes()),
            sampled: true,
            step: StepId(number as u16),
            user: 0,
            iteration: 0,
            intended: Timestamp(root.start),
            phases: Phases {
                start: Timestamp(root.start),
                sent: Some(Timestamp(root.start)),
                first_byte: Some(Timestamp(root.end)),
                end: Timestamp(root.end),
                ..Phases::default()
            },
            outcome: Outcome::Answered(200),
            checks_failed: Vec::new(),
            bytes_sent: 100,
            bytes_received: 100,
            bytes_decoded: None,
            followed: false,
            connection_reused: true,
            protocol: Protocol::Http1,
            url: "http://corpus/".into(),
            server_timing: None,
            messages: None,
            threshold: Threshold::ALWAYS,
        });
    }
    for span in spans {
        let top = roots.get(&*span.trace).is_some_and(|r| r.id == span.id);
        let parent = if top { Some(hash(&span.trace)) } else { span.parent.as_ref().map(|p| hash(p)) };
        let text = |key, value| Attribute { key, value: Value::Str(value) };
        let resource = Resource {
            attributes: vec![
                text("service.name", &span.service),
                text("service.instance.id", &span.instance),
            ],
        };
        let attributes: Vec<_> = span.attributes.iter().map(|(k, v)| text(k, v)).collect();
        analyzer.span(&Span {
            trace_id: trace_id(&span.trace),
            span_id: SpanId(hash(&span.id).to_be_bytes()),
            parent_id: parent.map(|p| SpanId(p.to_be_bytes())),
            kind: span.kind,
            name: &span.name,
            start: Timestamp(span.start),
            end: Timestamp(span.end),
            status: Status::Unset,
            status_message: "",
            trace_state: "",
            flags: 0,
            resource: &resource,
            scope: &Scope::default(),
            attributes: &attributes,
            events: &[],
            links: &[],
            dropped: 0,
        });
    }
    analyzer.finish().into_analysis(&run)
}

fn run(steps: Vec<StepInfo>) -> Run {
    Run {
        id: "corpus".to_owned(),
        name: "corpus".to_owned(),
        started_at: Timestamp(0),
        ended_at: None,
        state: Default::default(),
        target: "http://corpus".to_owned(),
        hotspan_version: "0".to_owned(),
        git_commit: None,
        host: Host::default(),
        scenario: String::new(),
        steps,
        load: Default::default(),
        receiver: Default::default(),
        export: Default::default(),
        sources: Default::default(),
        wait: None,
        warnings: Vec::new(),
    }
}

/// Nezha's minutes: pods, operations, nanoseconds; no kinds and no attributes.
fn nezha(path: &Path) -> Vec<Owned> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let span = |line: &str| {
        let f: Vec<&str> = line.split(',').collect();
        // `frontend-579b9bff58-t2dbm` is a pod of `frontend`.
        let service = f[3].rsplitn(3, '-').last().unwrap_or(f[3]);
        Owned {
            trace: f[0].to_owned(),
            id: format!("{}{}", f[0], f[1]),
            parent: (f[2] != "root").then(|| format!("{}{}", f[0], f[2])),
            kind: SpanKind::Unspecified,
            service: service.to_owned(),
            instance: f[3].to_owned(),
            name: f[4].to_owned(),
            start: f[5].parse().unwrap(),
            end: f[6].parse().unwrap(),
            attributes: Vec::new(),
        }
    };
    text.lines().skip(1).filter(|l| l.split(',').count() >= 7).map(span).collect()
}

fn kind(name: Option<&str>) -> SpanKind {
    match name.map(str::to_ascii_lowercase).as_deref() {
        Some("server") => SpanKind::Server,
        Some("client") => SpanKind::Client,
        Some("producer") => SpanKind::Producer,
        Some("consumer") => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

/// Jaeger's own JSON.
fn jaeger(path: &Path) -> Vec<Owned> {
    let mut spans = Vec::new();
    for trace in read(&path.to_owned())["data"].as_array().unwrap() {
        for s in trace["spans"].as_array().unwrap() {
            let text = |v: &Json| v.as_str().unwrap_or_default().to_owned();
            let tags = s["tags"].as_array().cloned().unwrap_or_default();
            let parent = s["references"].as_array().and_then(|r| r.first()).map(|r| text(&r["spanID"]));
            let service = text(&trace["processes"][s["processID"].as_str().unwrap()]["serviceName"]);
            let start = s["startTime"].as_u64().unwrap() * 1_000;
            spans.push(Owned {
                trace: text(&trace["traceID"]),
                id: format!("{}{}", text(&trace["traceID"]), text(&s["spanID"])),
                parent: parent.map(|p| format!("{}{p}", text(&trace["traceID"]))),
                kind: kind(tags.iter().find(|t| t["key"] == "span.kind").and_then(|t| t["value"].as_str())),
                instance: service.clone(),
                service,
                name: text(&s["operationName"]),
                start,
                end: start + s["duration"].as_u64().unwrap() * 1_000,
                attributes: tags.iter().map(|t| (text(&t["key"]), text(&t["value"]))).collect(),
            });
        }
    }
    spans
}

/// Zipkin's version 2 JSON: one trace.
fn zipkin(path: &Path) -> Vec<Owned> {
    let whole = read(&path.to_owned());
    let text = |v: &Json| v.as_str().unwrap_or_default().to_owned();
    let span = |s: &Json| {
        let start = s["timestamp"].as_u64()? * 1_000;
        let service = text(&s["localEndpoint"]["serviceName"]);
        let tags = s["tags"].as_object().cloned().unwrap_or_default();
        Some(Owned {
            trace: text(&s["traceId"]),
            id: text(&s["id"]),
            parent: s["parentId"].as_str().map(str::to_owned),
            kind: kind(s["kind"].as_str()),
            instance: service.clone(),
            service,
            name: text(&s["name"]),
            start,
            end: start + s["duration"].as_u64().unwrap_or(0) * 1_000,
            attributes: tags.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
        })
    };
    whole.as_array().into_iter().flatten().filter_map(span).collect()
}

/// Nothing about the system with high confidence.
#[track_caller]
fn healthy(name: &str, spans: &[Owned]) {
    assert!(!spans.is_empty(), "{name} has no spans");
    let analysis = analyze(spans);
    assert!(analysis.telemetry.joined > 0, "{name}: nothing joined");
    let sure: Vec<String> = analysis
        .findings
        .iter()
        .filter(|f| f.confidence == Confidence::High && !f.kind.is_about_evidence())
        .map(|f| format!("{} {:?} {:?}", f.kind.name(), f.contributor, f.evidence))
        .collect();
    assert!(sure.is_empty(), "{name}: {sure:#?}");
}

#[test]
fn deathstarbench_is_healthy() {
    let Some(path) = corpus("deathstarbench/traces-1695947455229.json") else { return };
    healthy("deathstarbench", &jaeger(&path));
}

#[test]
fn zipkins_traces_are_healthy() {
    let Some(folder) = corpus("zipkin") else { return };
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let spans = zipkin(&path);
        if spans.iter().any(|s| s.end > s.start) {
            healthy(&path.display().to_string(), &spans);
            seen += 1;
        }
    }
    assert!(seen >= 8, "{seen} files with finished spans");
}

#[test]
fn nezhas_minutes_without_faults_are_healthy() {
    let Some(folder) = corpus("nezha") else { return };
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("baseline") {
            healthy(&name, &nezha(&path));
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen} baseline files");
}
