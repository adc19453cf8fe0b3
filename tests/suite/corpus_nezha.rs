//! Minutes of two systems with a fault injected (Nezha, IntelligentDDS): the services ranked by how much they grew over a
//! minute without a fault, by the same analysis that a run gets. Spans there have neither kinds nor attributes.

use crate::corpus_critical_path::{corpus, read};
use hotspan::analysis::result::Analysis;
use hotspan::analysis::{Analyzer, Partition, service_growth};
use hotspan::record::{
    Attribute, Exchange, Host, LoadFacts, Outcome, Phases, Protocol, ReceiverFacts, Resource, Run, RunState,
    Scope, Span, SpanId, SpanKind, Status, StepId, StepInfo, Threshold, Timestamp, TraceId, Value,
};
use std::collections::BTreeMap;
use std::path::Path;

struct Row {
    trace: TraceId,
    id: SpanId,
    parent: Option<SpanId>,
    service: String,
    operation: String,
    start: Timestamp,
    end: Timestamp,
}

/// `frontend-579b9bff58-t2dbm` is an instance of `frontend`.
fn service(pod: &str) -> &str {
    let mut parts = pod.rsplitn(3, '-');
    let (last, middle, rest) = (parts.next(), parts.next(), parts.next());
    match (last.map(str::len), middle.map(str::len), rest) {
        (Some(5), Some(8..=10), Some(service)) => service,
        _ => pod,
    }
}

fn rows(path: &Path) -> Vec<Row> {
    let file = std::fs::File::open(path).unwrap();
    let mut reader = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let time = |text: &str| Timestamp(text.parse().unwrap());
    let row = |r: csv::StringRecord| Row {
        trace: TraceId::from_hex(&r[0]).unwrap(),
        id: SpanId::from_hex(&r[1]).unwrap(),
        parent: SpanId::from_hex(&r[2]).ok(),
        service: service(&r[3]).to_owned(),
        operation: r[4].to_owned(),
        start: time(&r[5]),
        end: time(&r[6]),
    };
    reader.records().map(|r| row(r.unwrap())).collect()
}

fn run() -> Run {
    Run {
        id: "nezha".into(),
        name: "nezha".into(),
        started_at: Timestamp(0),
        ended_at: None,
        state: RunState::Complete,
        target: String::new(),
        hotspan_version: String::new(),
        git_commit: None,
        host: Host::default(),
        scenario: String::new(),
        steps: vec![StepInfo {
            journey: "all".into(),
            name: "all".into(),
            method: "GET".into(),
            template: "/".into(),
            checks: Vec::new(),
        }],
        load: LoadFacts::default(),
        receiver: ReceiverFacts::default(),
        export: Default::default(),
        sources: Default::default(),
        wait: None,
        warnings: Vec::new(),
    }
}

/// A minute, each trace's root as the request of a client that sent none of its own spans.
fn analyse(path: &Path) -> Analysis {
    let rows = rows(path);
    let run = run();
    let mut analyzer = Analyzer::new(&run, Partition::WHOLE);
    for root in rows.iter().filter(|r| r.parent.is_none()) {
        let request = SpanId((u64::from_be_bytes(root.id.0) ^ u64::MAX).to_be_bytes());
        analyzer.exchange(&Exchange {
            trace_id: root.trace,
            span_id: request,
            sampled: true,
            threshold: Threshold::ALWAYS,
            step: StepId(0),
            user: 0,
            iteration: 0,
            intended: root.start,
            phases: Phases {
                start: root.start,
                sent: Some(root.start),
                first_byte: Some(root.end),
                end: root.end,
                ..Phases::default()
            },
            outcome: Outcome::Answered(200),
            checks_failed: Vec::new(),
            bytes_sent: 0,
            bytes_received: 0,
            bytes_decoded: None,
            followed: false,
            connection_reused: true,
            protocol: Protocol::Http1,
            url: "".into(),
            server_timing: None,
            messages: None,
        });
    }
    let scope = Scope::default();
    for row in &rows {
        let name = Attribute { key: "service.name", value: Value::Str(&row.service) };
        let resource = Resource { attributes: vec![name] };
        analyzer.span(&Span {
            trace_id: row.trace,
            span_id: row.id,
            parent_id: row.parent,
            kind: SpanKind::Unspecified,
            name: &row.operation,
            start: row.start,
            end: row.end,
            status: Status::Unset,
            status_message: "",
            trace_state: "",
            flags: 0,
            resource: &resource,
            scope: &scope,
            attributes: &[],
            events: &[],
            links: &[],
            dropped: 0,
        });
    }
    analyzer.finish().into_analysis(&run)
}

#[test]
fn the_faulty_service_is_ranked_first() {
    let Some(folder) = corpus("nezha") else { return };
    let labels = read(&folder.join("labels.json"));
    let baselines = [
        ("OnlineBoutique", "", "baseline_OnlineBoutique_2022-08-23_17_00.csv.gz"),
        ("TrainTicket", "2023-01-29", "baseline_TrainTicket_2023-01-29_08_50.csv.gz"),
        ("TrainTicket", "2023-01-30", "baseline_TrainTicket_2023-01-30_11_39.csv.gz"),
    ];
    let baselines = baselines.map(|(system, day, file)| (system, day, analyse(&folder.join(file))));
    // Minutes, those with the service first, those with it among three.
    let mut found: BTreeMap<(String, String), (u32, u32, u32)> = BTreeMap::new();
    for label in labels.as_array().unwrap() {
        let text = |key: &str| label[key].as_str().unwrap();
        let (file, system, fault) = (text("file"), text("system"), text("fault"));
        let baseline = baselines.iter().find(|b| b.0 == system && file.starts_with(b.1)).unwrap();
        let ranked = service_growth(&baseline.2, &analyse(&folder.join(file)));
        let place = ranked.iter().position(|g| &*g.service == text("root_cause_service"));
        let counts = found.entry((system.to_owned(), fault.to_owned())).or_default();
        counts.0 += 1;
        counts.1 += u32::from(place == Some(0));
        counts.2 += u32::from(place.is_some_and(|p| p < 3));
        let first: Vec<String> = ranked
            .iter()
            .take(3)
            .map(|g| format!("{} {:+.0} ms", g.service, g.suspicion_ms.unwrap_or(0.0)))
            .collect();
        eprintln!("{file} {fault} {}: place {place:?}; {}", text("root_cause_service"), first.join(", "));
    }
    for ((system, fault), (minutes, first, three)) in &found {
        eprintln!("{system} {fault}: first in {first} of {minutes}, among three in {three}");
    }
    let of = |system: &str, fault: &str| found[&(system.to_owned(), fault.to_owned())];
    for (system, fault) in [
        ("OnlineBoutique", "network_delay"),
        ("OnlineBoutique", "cpu_consumed"),
        ("TrainTicket", "network_delay"),
    ] {
        let (minutes, first, _) = of(system, fault);
        assert!(first * 10 >= minutes * 9, "{system} {fault}: {first} of {minutes}");
    }
    let (minutes, _, three) = of("OnlineBoutique", "cpu_contention");
    assert!(three * 10 >= minutes * 8, "cpu_contention: {three} of {minutes}");
}
