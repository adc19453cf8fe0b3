//! Known spans written in every format decode to the same spans; what is broken costs itself only and is told with its place.

use super::message::Message;
use super::*;
use crate::record::{
    Attribute, Event, Link, Resource, Scope, Span, SpanId, SpanKind, Status, Timestamp, TraceId, Value,
};
use crate::wire::base64;
use proptest::prelude::*;
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;

/// A span that every format can express: times in whole microseconds, attributes that are texts.
#[derive(Clone, Debug)]
struct Known {
    trace: u128,
    id: u64,
    parent: Option<u64>,
    kind: SpanKind,
    name: String,
    start_us: u64,
    length_us: u64,
    error: bool,
    service: String,
    attributes: Vec<(String, String)>,
}

fn known() -> impl Strategy<Value = Known> {
    let text = "[a-zA-Zäß0-9 '\"\\\\\n\t,:;{}\\[\\]|-]{0,14}";
    let kind = prop::sample::select(vec![
        SpanKind::Internal,
        SpanKind::Server,
        SpanKind::Client,
        SpanKind::Producer,
        SpanKind::Consumer,
    ]);
    (
        (1u128.., 1u64.., prop::option::of(1u64..), kind, text),
        (1_600_000_000_000_000u64..1_900_000_000_000_000, 0u64..10_000_000, any::<bool>(), "[a-z]{1,6}"),
        prop::collection::vec(("k[a-z.]{1,8}", text), 0..4),
    )
        .prop_map(
            |((trace, id, parent, kind, name), (start_us, length_us, error, service), attributes)| {
                let attributes: BTreeMap<String, String> = attributes.into_iter().collect();
                let attributes = attributes.into_iter().collect();
                Known { trace, id, parent, kind, name, start_us, length_us, error, service, attributes }
            },
        )
}

/// A span as a line; everything that a format could lose is in it.
fn line(span: &Span<'_>) -> String {
    let text = |a: &Attribute| format!("{}={:?}", a.key, a.value);
    let mut attributes: Vec<String> = span.attributes.iter().map(text).collect();
    attributes.sort();
    format!(
        "{} {} {:?} {:?} {:?} {}+{} {:?} {} {attributes:?}",
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.kind,
        span.name,
        span.start.0,
        span.end.0 - span.start.0,
        span.status,
        span.resource.service_name()
    )
}

impl Known {
    fn line(&self) -> String {
        self.with_span(line)
    }

    fn with_span<T>(&self, f: impl FnOnce(&Span<'_>) -> T) -> T {
        let attributes: Vec<Attribute> =
            self.attributes.iter().map(|(key, value)| Attribute { key, value: Value::Str(value) }).collect();
        let service = Attribute { key: "service.name", value: Value::Str(&self.service) };
        f(&Span {
            trace_id: TraceId(self.trace.to_be_bytes()),
            span_id: SpanId(self.id.to_be_bytes()),
            parent_id: self.parent.map(|p| SpanId(p.to_be_bytes())),
            kind: self.kind,
            name: &self.name,
            start: Timestamp(self.start_us * 1_000),
            end: Timestamp((self.start_us + self.length_us) * 1_000),
            status: if self.error { Status::Error } else { Status::Unset },
            status_message: "",
            trace_state: "",
            flags: 0,
            resource: &Resource { attributes: vec![service] },
            scope: &Scope::default(),
            attributes: &attributes,
            events: &[],
            links: &[],
            dropped: 0,
        })
    }

    fn kind_name(&self) -> String {
        format!("{:?}", self.kind)
    }

    /// As OTLP JSON, with ids in hex or, as Tempo writes them, in base64 with enums by name.
    fn otlp(&self, tempo: bool) -> serde_json::Value {
        let id = |bytes: &[u8], hex: String| if tempo { base64::encode(bytes) } else { hex };
        let value = |text: &str| json!({"stringValue": text});
        let attributes: Vec<_> =
            self.attributes.iter().map(|(k, v)| json!({"key": k, "value": value(v)})).collect();
        let kind = if tempo {
            json!(format!("SPAN_KIND_{}", self.kind_name().to_uppercase()))
        } else {
            json!(self.kind as u32)
        };
        let code = if tempo { json!("STATUS_CODE_ERROR") } else { json!(2) };
        let mut span = json!({
            "traceId": id(&self.trace.to_be_bytes(), format!("{:032x}", self.trace)),
            "spanId": id(&self.id.to_be_bytes(), format!("{:016x}", self.id)),
            "name": self.name, "kind": kind, "attributes": attributes,
            "startTimeUnixNano": (self.start_us * 1000).to_string(),
            "endTimeUnixNano": ((self.start_us + self.length_us) * 1000).to_string(),
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = json!(id(&parent.to_be_bytes(), format!("{parent:016x}")));
        }
        if self.error {
            span["status"] = json!({"code": code});
        }
        json!({
            "resource": {"attributes": [{"key": "service.name", "value": value(&self.service)}]},
            "scopeSpans": [{"spans": [span]}],
        })
    }

    fn jaeger(&self) -> serde_json::Value {
        let mut tags: Vec<_> =
            self.attributes.iter().map(|(k, v)| json!({"key": k, "type": "string", "value": v})).collect();
        tags.push(json!({"key": "span.kind", "type": "string", "value": self.kind_name().to_lowercase()}));
        if self.error {
            tags.push(json!({"key": "error", "type": "bool", "value": true}));
        }
        let trace = format!("{:x}", self.trace);
        let parent = |p: u64| json!({"refType": "CHILD_OF", "traceID": trace, "spanID": format!("{p:016x}"), "span": {"spanID": "ffff"}});
        json!({
            "traceID": trace,
            "spans": [{
                "traceID": trace, "spanID": format!("{:x}", self.id), "operationName": self.name,
                "references": self.parent.map(parent).into_iter().collect::<Vec<_>>(),
                "startTime": self.start_us, "duration": self.length_us, "tags": tags, "logs": [],
                "processID": "p1", "warnings": null,
            }],
            "processes": {"p1": {"serviceName": self.service, "tags": []}},
        })
    }

    fn zipkin(&self) -> serde_json::Value {
        let mut tags: serde_json::Map<_, _> =
            self.attributes.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        if self.error {
            tags.insert("error".into(), json!("true"));
        }
        let kind = (self.kind != SpanKind::Internal).then(|| self.kind_name().to_uppercase());
        json!({
            "traceId": format!("{:032x}", self.trace), "id": format!("{:016x}", self.id),
            "parentId": self.parent.map(|p| format!("{p:016x}")), "kind": kind, "name": self.name,
            "timestamp": self.start_us, "duration": self.length_us,
            "localEndpoint": {"serviceName": self.service}, "tags": tags,
        })
    }

    /// The columns of `otel_traces` that matter, as texts; maps by `map`.
    fn columns(&self, map: impl Fn(&[(String, String)]) -> String) -> [String; 10] {
        let seconds = self.start_us / 1_000_000;
        let date = date_of(seconds);
        [
            format!("{date}.{:06}000", self.start_us % 1_000_000),
            format!("{:032x}", self.trace),
            format!("{:016x}", self.id),
            self.parent.map(|p| format!("{p:016x}")).unwrap_or_default(),
            self.name.clone(),
            self.kind_name(),
            self.service.clone(),
            map(&self.attributes),
            (self.length_us * 1_000).to_string(),
            if self.error { "Error" } else { "Unset" }.to_owned(),
        ]
    }
}

const COLUMN_NAMES: [&str; 10] = [
    "Timestamp",
    "TraceId",
    "SpanId",
    "ParentSpanId",
    "SpanName",
    "SpanKind",
    "ServiceName",
    "SpanAttributes",
    "Duration",
    "StatusCode",
];

/// The slow way to a date: day by day.
fn date_of(seconds: u64) -> String {
    let (mut year, mut month, mut day) = (1970, 1, 1);
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    for _ in 0..seconds / 86_400 {
        let days = match month {
            2 => 28 + u64::from(leap(year)),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        day += 1;
        if day > days {
            (day, month) = (1, month + 1);
        }
        if month > 12 {
            (month, year) = (1, year + 1);
        }
    }
    let rest = seconds % 86_400;
    format!("{year}-{month:02}-{day:02} {:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

/// ClickHouse's text form of a map; `tabs` for TabSeparated, which escapes the field again.
fn click_map(pairs: &[(String, String)], tabs: bool) -> String {
    let quote = |text: &str| {
        let mut out = text.replace('\\', "\\\\").replace('\'', "\\'");
        if tabs {
            out = out.replace('\n', "\\n").replace('\t', "\\t");
        }
        format!("'{out}'")
    };
    let pairs: Vec<String> = pairs.iter().map(|(k, v)| format!("{}:{}", quote(k), quote(v))).collect();
    format!("{{{}}}", pairs.join(","))
}

fn read(bytes: &[u8]) -> (Vec<String>, FileReport) {
    let mut lines = Vec::new();
    let mut sink = |message: &[u8], spans: u64| {
        let walked = otlp::for_each_span(message, &mut |span| lines.push(line(span))).unwrap();
        assert_eq!(walked.spans, spans);
        true
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    let report = read_file(file.path(), &Options::default(), &mut sink).unwrap().expect("a known format");
    lines.sort();
    assert_eq!(report.spans, lines.len() as u64);
    (lines, report)
}

fn protobuf(spans: &[Known]) -> Vec<u8> {
    let mut message = Message::default();
    spans.iter().for_each(|known| known.with_span(|span| message.push(span)));
    message.take()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|m| [&(m.len() as u32).to_be_bytes()[..], m].concat()).collect()
}

/// Every form in which the spans can lie in a file.
fn forms(spans: &[Known]) -> Vec<(&'static str, Format, Vec<u8>)> {
    let list = |f: &dyn Fn(&Known) -> serde_json::Value| spans.iter().map(f).collect::<Vec<_>>();
    let otlp = json!({"resourceSpans": list(&|s| s.otlp(false))});
    let lines: String =
        spans.iter().map(|s| format!("{}\n", json!({"resourceSpans": [s.otlp(false)]}))).collect();
    let json_messages: Vec<Vec<u8>> =
        spans.iter().map(|s| json!({"resourceSpans": [s.otlp(false)]}).to_string().into_bytes()).collect();
    let messages: Vec<Vec<u8>> = spans.iter().map(|s| protobuf(std::slice::from_ref(s))).collect();
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
    let squeezed: Vec<Vec<u8>> = messages.iter().map(|m| zstd(m)).collect();
    let squeezed_json: Vec<Vec<u8>> = json_messages.iter().map(|m| zstd(m)).collect();
    // Whole-file zstd as with rotation: a frame for every write.
    let frames: Vec<u8> = lines.lines().flat_map(|l| zstd(format!("{l}\n").as_bytes())).collect();
    let rows = |tabs: bool| -> Vec<[String; 10]> {
        spans.iter().map(|s| s.columns(|pairs| click_map(pairs, tabs))).collect()
    };
    let each_row: String = spans
        .iter()
        .map(|s| {
            let values = s.columns(|_| String::new());
            let mut row: serde_json::Map<_, _> =
                COLUMN_NAMES.iter().zip(values).map(|(n, v)| ((*n).to_owned(), json!(v))).collect();
            let map: serde_json::Map<_, _> =
                s.attributes.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
            row.insert("SpanAttributes".into(), json!(map));
            format!("{}\n", serde_json::Value::Object(row))
        })
        .collect();
    let mut tsv = COLUMN_NAMES.join("\t") + "\n";
    for row in rows(true) {
        let field = |(i, text): (usize, &String)| match i {
            7 => text.clone(),
            _ => text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t"),
        };
        let _ = writeln!(tsv, "{}", row.iter().enumerate().map(field).collect::<Vec<_>>().join("\t"));
    }
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(COLUMN_NAMES).unwrap();
    rows(false).iter().for_each(|row| csv.write_record(row).unwrap());
    let pretty = serde_json::to_vec_pretty(&otlp).unwrap();
    let mut tempo_wrapped = Vec::new();
    put_bytes(&mut tempo_wrapped, 1, &protobuf(spans));
    vec![
        ("one object", Format::OtlpJson, otlp.to_string().into_bytes()),
        ("pretty", Format::OtlpJson, pretty),
        ("v3", Format::OtlpJson, json!({"result": otlp}).to_string().into_bytes()),
        ("lines", Format::OtlpJson, lines.clone().into_bytes()),
        ("tempo", Format::OtlpJson, json!({"batches": list(&|s| s.otlp(true))}).to_string().into_bytes()),
        (
            "tempo v2",
            Format::OtlpJson,
            json!({"trace": {"resourceSpans": list(&|s| s.otlp(true))}, "status": "COMPLETE"})
                .to_string()
                .into_bytes(),
        ),
        ("protobuf", Format::OtlpProtobuf, protobuf(spans)),
        ("tempo protobuf", Format::OtlpProtobuf, tempo_wrapped),
        ("framed", Format::Framed, framed(&messages)),
        ("framed json", Format::Framed, framed(&json_messages)),
        ("framed zstd", Format::Framed, framed(&squeezed)),
        ("framed zstd json", Format::Framed, framed(&squeezed_json)),
        ("zstd lines", Format::OtlpJson, zstd(lines.as_bytes())),
        ("zstd frames", Format::OtlpJson, frames),
        ("zstd framed", Format::Framed, zstd(&framed(&messages))),
        ("gzip lines", Format::OtlpJson, gzip(lines.as_bytes())),
        (
            "jaeger",
            Format::Jaeger,
            json!({"data": list(&Known::jaeger), "total": 0, "errors": null}).to_string().into_bytes(),
        ),
        ("zipkin", Format::Zipkin, json!(list(&Known::zipkin)).to_string().into_bytes()),
        ("zipkin traces", Format::Zipkin, json!([list(&Known::zipkin)]).to_string().into_bytes()),
        ("clickhouse rows", Format::Table, each_row.into_bytes()),
        ("clickhouse tsv", Format::Table, tsv.into_bytes()),
        ("clickhouse csv", Format::Table, csv.into_inner().unwrap()),
        (
            "clickhouse csv.gz",
            Format::Table,
            gzip(&{
                let mut csv = csv::Writer::from_writer(Vec::new());
                csv.write_record(COLUMN_NAMES).unwrap();
                rows(false).iter().for_each(|row| csv.write_record(row).unwrap());
                csv.into_inner().unwrap()
            }),
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn known_spans_decode_to_the_same_spans_from_every_format(spans in prop::collection::vec(known(), 1..6)) {
        let mut want: Vec<String> = spans.iter().map(Known::line).collect();
        want.sort();
        for (name, format, bytes) in forms(&spans) {
            let (got, report) = read(&bytes);
            prop_assert_eq!(&got, &want, "{}", name);
            prop_assert_eq!(report.broken, 0, "{}: {:?}", name, report.problems);
            let mut formats: Vec<Format> = report.formats.keys().copied().collect();
            // Frames of JSON are both.
            formats.retain(|f| format != Format::Framed || *f != Format::OtlpJson);
            prop_assert_eq!(formats, vec![format], "{}", name);
            prop_assert!(!report.torn);
        }
    }

    /// Cut anywhere: no panic, nothing that was not there, and what the file says is a tear or a broken record.
    #[test]
    fn a_cut_file_gives_a_part_of_its_spans(spans in prop::collection::vec(known(), 1..5), at in 0.0f64..1.0) {
        let want: Vec<String> = spans.iter().map(Known::line).collect();
        for (name, _, bytes) in forms(&spans) {
            let cut = &bytes[..(bytes.len() as f64 * at) as usize];
            let mut lines = Vec::new();
            let report = read_bytes(cut.to_vec(), &Options::default(), &mut |message, _| {
                otlp::for_each_span(message, &mut |span| lines.push(line(span))).unwrap();
                true
            });
            let Some(report) = report else { continue };
            // A row of a table may be cut in its last column and still be a row.
            let tables = name.contains("clickhouse");
            prop_assert!(tables || lines.iter().all(|line| want.contains(line)), "{}", name);
            let whole = lines.len() == spans.len();
            // Where one record ends and the next begins, what lies before is a file in its own right: nothing shows the tear.
            let between = match name {
                "protobuf" => (1..spans.len()).any(|n| protobuf(&spans[..n]).len() == cut.len()),
                "zstd frames" => zstd::decode_all(cut).is_ok(),
                _ => tables || name.contains("lines") || name.contains("framed"),
            };
            let told = report.torn || report.broken > 0;
            prop_assert!(whole || told || between || cut.len() < 9 || lines.is_empty(), "{} {:?}", name, report);
        }
    }
}

fn one(id: u64) -> Known {
    Known {
        trace: 7,
        id,
        parent: (id > 1).then_some(1),
        kind: SpanKind::Server,
        name: format!("op{id}"),
        start_us: 1_700_000_000_000_000 + id,
        length_us: 10,
        error: false,
        service: "shop".into(),
        attributes: vec![],
    }
}

#[test]
fn one_broken_span_costs_itself_only_and_is_told_with_its_place() {
    // OTLP: a number where a name belongs, in the middle of three spans of one resource.
    let spans: Vec<String> =
        (1..4).map(|n| one(n).otlp(false)["scopeSpans"][0]["spans"][0].to_string()).collect();
    let broken = spans[1].replace("\"op2\"", "[2]");
    let text = format!(
        "{{\"resourceSpans\":[{{\"resource\":{{}},\"scopeSpans\":[{{\"spans\":[{},{broken},{}]}}]}}]}}",
        spans[0], spans[2]
    );
    let (lines, report) = read(text.as_bytes());
    assert_eq!((lines.len(), report.broken), (2, 1));
    let place = text.find(&broken).unwrap();
    assert_eq!(report.problems[0].place, format!("byte {place}"));
    assert!(report.problems[0].what.contains("expected a text"), "{}", report.problems[0]);

    // Jaeger: one span without its id, one whose start is no number.
    let mut trace = one(1).jaeger();
    let list = trace["spans"].as_array_mut().unwrap();
    for n in 2..5 {
        list.push(one(n).jaeger()["spans"][0].clone());
    }
    list[1]["spanID"] = json!("");
    list[2]["startTime"] = json!("soon");
    let text = json!({"data": [trace]}).to_string();
    let (lines, report) = read(text.as_bytes());
    assert_eq!((lines.len(), report.broken), (2, 2), "{:?}", report.problems);
    assert!(report.problems.iter().any(|p| p.what.contains("no span id")), "{:?}", report.problems);
    assert!(report.problems.iter().any(|p| p.what.contains("found `soon`")), "{:?}", report.problems);

    // Zipkin: unfinished and without any time.
    let (mut unfinished, mut timeless) = (one(2).zipkin(), one(3).zipkin());
    unfinished["duration"] = json!(null);
    timeless["timestamp"] = json!(null);
    let text = json!([one(1).zipkin(), unfinished, timeless]).to_string();
    let (lines, report) = read(text.as_bytes());
    assert_eq!((lines.len(), report.broken), (2, 1));
    assert!(lines.iter().any(|l| l.contains("\"op2\" 1700000000000002000+0 ")), "{lines:?}");
    assert!(report.problems[0].what.contains("no timestamp"), "{}", report.problems[0]);

    // A table: a row that is too short, and a time that is none.
    let text = "TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano,EndTimeUnixNano,Duration\n\
                07,01,root,cart-579b9bff58-t2dbm,Get,1661140435622501485,1661140436308345627,685844\n\
                07,02\n07,03,01,cart-579b9bff58-t2dbm,Get,yesterday,1661140436308345627,5\n";
    let (lines, report) = read(text.as_bytes());
    assert_eq!((lines.len(), report.broken), (1, 2));
    assert!(lines[0].contains("None") && lines[0].contains(" cart "), "{lines:?}");
    assert_eq!(report.problems[0].to_string(), "line 3: 2 columns where the header has 8");
    assert_eq!(report.problems[1].to_string(), "line 4: `yesterday` is no time");
}

#[test]
fn a_broken_frame_is_passed_over_and_a_torn_one_ends_the_file() {
    let mut file = framed(&[protobuf(&[one(1)]), b"\x0a\x05not!!".to_vec(), protobuf(&[one(2)])]);
    let whole = file.len();
    file.extend_from_slice(&framed(&[protobuf(&[one(3)])])[..20]);
    let (lines, report) = read(&file);
    assert_eq!((lines.len(), report.broken, report.torn), (2, 2, true));
    assert!(report.problems[0].what.starts_with("no OTLP trace message"), "{}", report.problems[0]);
    assert_eq!(report.problems[1].to_string(), format!("byte {whole}: the file ends inside a record"));
}

#[test]
fn a_torn_compressed_file_keeps_what_came_before() {
    let lines: String =
        (1..2_000).map(|n| format!("{}\n", json!({"resourceSpans": [one(n).otlp(false)]}))).collect();
    for bytes in [gzip(lines.as_bytes()), zstd::encode_all(lines.as_bytes(), 1).unwrap()] {
        let (read, report) = read(&bytes[..bytes.len() / 2]);
        assert!(
            report.torn && read.len() > 100 && read.len() < 1_999,
            "{} {:?}",
            read.len(),
            report.problems
        );
        assert!(
            report.problems[0].what.contains("the file ends inside a record ("),
            "{}",
            report.problems[0]
        );
    }
}

#[test]
fn jaegers_words_become_opentelemetrys() {
    let text = r#"{"data":[{"traceID":"a1","spans":[
      {"traceID":"a1","spanID":"b2","operationName":"GET /","startTime":1000,"duration":500,"processID":"p1",
       "references":[{"refType":"FOLLOWS_FROM","traceID":"ff","spanID":"c1"},{"refType":"CHILD_OF","traceID":"a1","spanID":"c2"}],
       "tags":[{"key":"span.kind","type":"string","value":"server"},{"key":"http.status_code","type":"int64","value":"503"},
               {"key":"otel.status_code","type":"string","value":"ERROR"},{"key":"otel.status_description","type":"string","value":"down"},
               {"key":"w3c.tracestate","type":"string","value":"a=b"},{"key":"otel.scope.name","type":"string","value":"lib"}],
       "logs":[{"timestamp":1200,"fields":[{"key":"event","type":"string","value":"retry"},{"key":"n","type":"int64","value":2}]}]}],
      "processes":{"p1":{"serviceName":"shop","tags":[{"key":"hostname","type":"string","value":"h1"}]}}}]}"#;
    let mut seen = 0;
    let mut sink = |message: &[u8], _| {
        otlp::for_each_span(message, &mut |span| {
            seen += 1;
            assert_eq!(
                (span.kind, span.status, span.status_message),
                (SpanKind::Server, Status::Error, "down")
            );
            assert_eq!((span.trace_state, span.scope.name), ("a=b", "lib"));
            assert_eq!(span.parent_id.unwrap().to_string(), "00000000000000c2");
            assert_eq!(span.attributes, [Attribute { key: "http.status_code", value: Value::Int(503) }]);
            assert_eq!(span.resource.text("host.name"), Some("h1"));
            let link =
                Link { trace_id: text::trace_id("ff").unwrap(), span_id: text::span_id("c1").unwrap() };
            assert_eq!(span.links, [link]);
            let event: &Event = &span.events[0];
            assert_eq!((event.name, event.at.0), ("retry", 1_200_000));
            assert_eq!(event.attributes, [Attribute { key: "n", value: Value::Int(2) }]);
        })
        .unwrap();
        true
    };
    read_bytes(text.as_bytes().to_vec(), &Options::default(), &mut sink).unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn parts_of_a_split_trace_come_together() {
    let span = |trace: &str, id: &str, parent: &str, tags: serde_json::Value| {
        let references = if parent.is_empty() {
            json!([])
        } else {
            json!([{"refType": "CHILD_OF", "traceID": trace, "spanID": parent}])
        };
        json!({"traceID": trace, "spanID": id, "operationName": "o", "references": references,
               "startTime": 1, "duration": 1, "processID": "p", "tags": tags})
    };
    let mark = |part: &str, root: &str| json!([{"key": "internal.splittrace.traceID", "value": part}, {"key": "internal.splittrace.spanID", "value": root}]);
    let trace = |id: &str, spans: Vec<serde_json::Value>| json!({"traceID": id, "spans": spans, "processes": {"p": {"serviceName": "s"}}});
    // The part of a part comes first, so that nothing can be known in one pass.
    let text = json!({"data": [
        trace("c", vec![span("c", "5", "", json!([]))]),
        trace("b", vec![span("b", "3", "", json!([])), span("b", "4", "3", mark("c", "5"))]),
        trace("a", vec![span("a", "1", "", json!([])), span("a", "2", "1", mark("b", "3"))]),
    ]})
    .to_string();
    let first = read_bytes(text.clone().into_bytes(), &Options::default(), &mut |_, _| true).unwrap();
    assert_eq!(first.splits.len(), 2);
    let mut lines = Vec::new();
    let options = Options { splits: Arc::new(first.splits) };
    read_bytes(text.into_bytes(), &options, &mut |message, _| {
        otlp::for_each_span(message, &mut |s| {
            lines.push(format!(
                "{:x} {:x} {:?}",
                s.trace_id.0[15],
                s.span_id.0[7],
                s.parent_id.map(|p| p.0[7])
            ));
        })
        .unwrap();
        true
    });
    lines.sort();
    assert_eq!(lines, ["a 1 None", "a 2 Some(1)", "a 3 Some(2)", "a 4 Some(3)", "a 5 Some(4)"]);
}

#[test]
fn what_is_no_trace_file_is_said_to_be_none() {
    let nothing = |bytes: &[u8]| read_bytes(bytes.to_vec(), &Options::default(), &mut |_, _| true);
    assert!(nothing(b"hello world, this is a text").is_none());
    assert!(nothing(b"name,age\nx,3\n").is_none());
    assert!(nothing(b"\x7fELF\x02\x01\x01\0\0\0\0").is_none());
    assert_eq!(nothing(b"").unwrap().spans, 0);
    let other = nothing(br#"{"resourceLogs":[{"x":1}]}"#).unwrap();
    assert_eq!((other.spans, other.other_signals), (0, 1));
    assert!(
        nothing(br#"{"name":"package","version":"1"}"#).unwrap().formats.contains_key(&Format::OtherJson)
    );
}

#[test]
fn files_come_in_the_order_of_their_names_and_hidden_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["t-2026-01-02.json", "t-2026-01-01.json", ".hidden.json", "sub/inner.json", "t.json"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "{}").unwrap();
    }
    let files = list(&[folder.path().to_owned()]).unwrap();
    let names: Vec<_> = files.iter().map(|f| f.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["inner.json", "t-2026-01-01.json", "t-2026-01-02.json", "t.json"]);
    assert!(list(&[folder.path().join("absent.json")]).is_ok());
}
