//! What the OpenTelemetry SDKs of six languages sent, decoded field by field as a real Collector decoded the same bytes.
//! `tests/stack/run payloads` records both anew (tests/payloads).

use hotspan::record::{Attribute, Span, Status, Value};
use hotspan::wire::otlp::{Encoding, for_each_span, scan_all};
use serde_json::{Map, Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/payloads")
}

fn value(of: &Value<'_>) -> Json {
    match of {
        Value::Str(text) => json!({"stringValue": text}),
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Int(number) => json!({"intValue": number.to_string()}),
        Value::Double(number) => json!({"doubleValue": number}),
        Value::Array(values) => {
            json!({"arrayValue": {"values": values.iter().map(value).collect::<Vec<_>>()}})
        }
        Value::Map(entries) => json!({"kvlistValue": {"values": attributes(entries)}}),
        Value::Bytes(bytes) => json!({"bytesValue": hotspan::wire::base64::encode(bytes)}),
        Value::Empty => json!({}),
    }
}

fn attributes(of: &[Attribute<'_>]) -> Json {
    of.iter().map(|a| json!({"key": a.key, "value": value(&a.value)})).collect()
}

/// A span as the Collector writes it. What is empty or zero is left out.
fn written(span: &Span<'_>) -> Json {
    let status = match span.status {
        Status::Unset => 0,
        Status::Ok => 1,
        Status::Error => 2,
    };
    let events = span.events.iter().map(|event| {
        full(json!({
            "timeUnixNano": event.at.0.to_string(), "name": event.name, "attributes": attributes(&event.attributes),
        }))
    });
    let links = span
        .links
        .iter()
        .map(|link| json!({"traceId": link.trace_id.to_string(), "spanId": link.span_id.to_string()}));
    full(json!({
        "traceId": span.trace_id.to_string(),
        "spanId": span.span_id.to_string(),
        "parentSpanId": span.parent_id.map(|id| id.to_string()).unwrap_or_default(),
        "traceState": span.trace_state,
        "flags": span.flags,
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start.0.to_string(),
        "endTimeUnixNano": span.end.0.to_string(),
        "attributes": attributes(span.attributes),
        "events": events.collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "status": full(json!({"code": status, "message": span.status_message})),
        "resource": attributes(&span.resource.attributes),
        "scope": full(json!({"name": span.scope.name, "version": span.scope.version})),
        "dropped": span.dropped,
    }))
}

/// Without what is empty or zero.
fn full(object: Json) -> Json {
    let Json::Object(object) = object else { return object };
    let empty = |value: &Json| {
        *value == json!(0) || *value == json!("") || *value == json!([]) || *value == json!({})
    };
    Json::Object(object.into_iter().filter(|(_, value)| !empty(value)).collect::<Map<String, Json>>())
}

/// The Collector's spans by id, in the form of [`written`].
fn of_collector(line: &Json) -> BTreeMap<String, Json> {
    let list = |of: &Json, key: &str| of[key].as_array().cloned().unwrap_or_default();
    let mut spans = BTreeMap::new();
    for resource in list(line, "resourceSpans") {
        for scope in list(&resource, "scopeSpans") {
            for span in list(&scope, "spans") {
                let mut span = span;
                let dropped: u64 = ["Attributes", "Events", "Links"]
                    .iter()
                    .filter_map(|what| span[format!("dropped{what}Count")].as_u64())
                    .sum();
                // hotspan keeps who is linked to, not why.
                if let Some(links) = span["links"].as_array_mut() {
                    for link in links {
                        *link = json!({"traceId": link["traceId"], "spanId": link["spanId"]});
                    }
                }
                if let Some(events) = span["events"].as_array_mut() {
                    events.iter_mut().for_each(|event| *event = full(event.clone()));
                }
                span["status"] = full(span["status"].clone());
                span["resource"] = resource["resource"]["attributes"].clone();
                let (name, version) = (&scope["scope"]["name"], &scope["scope"]["version"]);
                span["scope"] = full(json!({"name": name, "version": version.as_str().unwrap_or_default()}));
                span["dropped"] = json!(dropped);
                let id = span["spanId"].as_str().unwrap_or_default().to_owned();
                let object = span.as_object_mut().unwrap();
                object.retain(|key, value| {
                    !(value.is_null() || key.starts_with("dropped") && key != "dropped")
                });
                spans.insert(id, full(span));
            }
        }
    }
    spans
}

#[test]
fn payloads_of_six_languages_are_decoded_as_the_collector_decodes_them() {
    let mut languages = BTreeSet::new();
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let encoding = match name.split_once('.').unwrap() {
            (_, "binpb") => Encoding::Protobuf,
            (_, "json") => Encoding::Json,
            _ => continue,
        };
        let payload = std::fs::read(&path).unwrap();
        let message = encoding.to_protobuf(&payload).unwrap();
        let scanned = scan_all(&message).unwrap();
        assert_eq!((scanned.spans, scanned.invalid), (5, 0), "{name}");
        let mut ours = BTreeMap::new();
        for_each_span(&message, &mut |span| {
            ours.insert(span.span_id.to_string(), written(span));
        })
        .unwrap();
        let stem = name.split_once('.').unwrap().0;
        let line = std::fs::read_to_string(folder().join(format!("{stem}.collector.json"))).unwrap();
        let theirs = of_collector(&serde_json::from_str(&line).unwrap());
        assert_eq!(ours.len(), 5, "{name}");
        assert_eq!(ours, theirs, "{name}");
        languages.insert(stem.split('-').next().unwrap().to_owned());
    }
    assert!(languages.len() >= 6, "{languages:?}");
}
