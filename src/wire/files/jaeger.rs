//! Jaeger's v1 JSON: answers of `/api/traces`, downloads of its user interface (which repeat parents inside references),
//! and spans as its Elasticsearch storage keeps them.

use super::message::Message;
use super::text::{Number, Scalar, Text, span_id, span_kind, status, trace_id};
use crate::record::{
    Attribute, Event, Link, Resource, Scope, Span, SpanId, SpanKind, Status, Timestamp, TraceId, Value,
};
use serde::Deserialize;
use std::collections::HashMap;

/// Where the parts of a trace that was split for its size belong: the id of the part → the trace and the span that it
/// goes on from.
pub(super) type Splits = HashMap<TraceId, (TraceId, SpanId)>;

#[derive(Deserialize)]
pub(super) struct Trace<'a> {
    #[serde(borrow, default, rename = "traceID")]
    trace_id: Text<'a>,
    #[serde(borrow, default)]
    pub spans: Vec<JaegerSpan<'a>>,
    #[serde(borrow, default)]
    processes: Option<HashMap<Text<'a>, Process<'a>>>,
}

/// The same without its spans, which are read one by one where one of them is broken.
#[derive(Deserialize)]
pub(super) struct Frame<'a> {
    #[serde(borrow, default, rename = "traceID")]
    trace_id: Text<'a>,
    #[serde(borrow, default)]
    processes: Option<HashMap<Text<'a>, Process<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct JaegerSpan<'a> {
    #[serde(borrow, default, rename = "traceID")]
    trace_id: Text<'a>,
    #[serde(borrow, rename = "spanID")]
    span_id: Text<'a>,
    #[serde(borrow, default, rename = "parentSpanID")]
    parent_id: Text<'a>,
    #[serde(default)]
    flags: Option<u32>,
    #[serde(borrow, default, rename = "operationName")]
    name: Text<'a>,
    #[serde(borrow, default)]
    references: Option<Vec<Reference<'a>>>,
    #[serde(rename = "startTime")]
    start: Number,
    #[serde(default)]
    duration: Number,
    #[serde(borrow, default)]
    tags: Option<Vec<Tag<'a>>>,
    #[serde(borrow, default)]
    logs: Option<Vec<Log<'a>>>,
    #[serde(borrow, default, rename = "processID")]
    process_id: Text<'a>,
    #[serde(borrow, default)]
    process: Option<Process<'a>>,
}

#[derive(Deserialize)]
struct Reference<'a> {
    #[serde(borrow, default, rename = "refType")]
    kind: Text<'a>,
    #[serde(borrow, default, rename = "traceID")]
    trace_id: Text<'a>,
    #[serde(borrow, default, rename = "spanID")]
    span_id: Text<'a>,
}

#[derive(Deserialize)]
struct Tag<'a> {
    #[serde(borrow, default)]
    key: Text<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow, default)]
    value: Scalar<'a>,
}

#[derive(Deserialize)]
struct Log<'a> {
    #[serde(default)]
    timestamp: Number,
    #[serde(borrow, default)]
    fields: Option<Vec<Tag<'a>>>,
}

#[derive(Deserialize, Default)]
struct Process<'a> {
    #[serde(borrow, default, rename = "serviceName")]
    service: Text<'a>,
    #[serde(borrow, default)]
    tags: Option<Vec<Tag<'a>>>,
}

impl Tag<'_> {
    /// The value in the type that is named beside it: some storages give every value as text.
    fn value(&self) -> Value<'_> {
        let Scalar::Str(text) = &self.value else { return self.value.value() };
        let typed = match self.kind.as_str() {
            "int64" => text.parse().ok().map(Value::Int),
            "float64" => text.parse().ok().map(Value::Double),
            "bool" => text.parse().ok().map(Value::Bool),
            _ => None,
        };
        typed.unwrap_or(Value::Str(text))
    }
}

/// Writes the spans of a trace; what is wrong with single ones goes to `complain`.
pub(super) fn put_trace(
    trace: &Trace<'_>,
    splits: &mut Splits,
    known: &Splits,
    out: &mut Message,
    complain: &mut dyn FnMut(&str),
) {
    let resources = resources(trace.processes.as_ref());
    let mut spans: Vec<&JaegerSpan> = trace.spans.iter().collect();
    // Spans of one process together, so that its attributes are written once.
    spans.sort_by(|a, b| a.process_id.as_str().cmp(b.process_id.as_str()));
    for span in spans {
        let resource = resources.get(span.process_id.as_str());
        if let Err(why) = put_span(span, trace.trace_id.as_str(), resource, splits, known, out) {
            complain(why);
        }
    }
}

/// A trace whose spans are read one by one: for each of `spans` its text.
pub(super) fn put_spans_of(
    frame: &Frame<'_>,
    spans: &[&[u8]],
    splits: &mut Splits,
    known: &Splits,
    out: &mut Message,
    complain: &mut dyn FnMut(usize, &str),
) {
    let resources = resources(frame.processes.as_ref());
    for (index, text) in spans.iter().enumerate() {
        match serde_json::from_slice::<JaegerSpan>(text) {
            Ok(span) => {
                let resource = resources.get(span.process_id.as_str());
                if let Err(why) = put_span(&span, frame.trace_id.as_str(), resource, splits, known, out) {
                    complain(index, why);
                }
            }
            Err(error) => complain(index, &error.to_string()),
        }
    }
}

fn resources<'p>(processes: Option<&'p HashMap<Text<'_>, Process<'_>>>) -> HashMap<&'p str, Resource<'p>> {
    processes.into_iter().flatten().map(|(id, process)| (id.as_str(), resource(process))).collect()
}

fn resource<'p>(process: &'p Process<'_>) -> Resource<'p> {
    let mut attributes = vec![Attribute { key: "service.name", value: Value::Str(process.service.as_str()) }];
    let tags = process.tags.as_deref().unwrap_or_default();
    // What Jaeger's own clients call the host.
    let named = tags.iter().any(|tag| tag.key.as_str() == "host.name");
    for tag in tags {
        let key = match tag.key.as_str() {
            "hostname" if !named => "host.name",
            "service.name" => continue,
            key => key,
        };
        attributes.push(Attribute { key, value: tag.value() });
    }
    Resource { attributes }
}

/// Writes a span on its own, as Elasticsearch has it.
pub(super) fn put_lone_span(
    span: &JaegerSpan<'_>,
    splits: &mut Splits,
    known: &Splits,
    out: &mut Message,
) -> Result<(), &'static str> {
    put_span(span, "", None, splits, known, out)
}

fn put_span(
    span: &JaegerSpan<'_>,
    of_trace: &str,
    resource_of_process: Option<&Resource<'_>>,
    splits: &mut Splits,
    known: &Splits,
    out: &mut Message,
) -> Result<(), &'static str> {
    let own_trace = if span.trace_id.as_str().is_empty() { of_trace } else { span.trace_id.as_str() };
    let written = trace_id(own_trace).ok_or("the span has no trace id")?;
    let id = span_id(span.span_id.as_str()).ok_or("the span has no span id")?;
    let start = span.start.micros_as_nanos().ok_or("the span has no startTime")?;
    let end = start.saturating_add(span.duration.micros_as_nanos().unwrap_or(0));
    let Relations { mut parent, links } = relations(span, own_trace);
    let mut trace = written;
    if let Some((into, from)) = known.get(&written) {
        trace = *into;
        parent = parent.or(Some(*from));
    }
    let lone = span.process.as_ref().map(resource);
    let nobody = Resource::default();
    let resource = resource_of_process.or(lone.as_ref()).unwrap_or(&nobody);
    let tags = span.tags.as_deref().unwrap_or_default();
    let known_tags = Known::of(tags);
    if let Some(part) = known_tags.split {
        // The trace may itself be a part: the table is followed to the end where it is used.
        splits.entry(part).or_insert((trace, id));
    }
    let events: Vec<Event> = span.logs.iter().flatten().map(event).collect();
    let scope = Scope { name: known_tags.scope, version: known_tags.scope_version };
    out.push(&Span {
        trace_id: trace,
        span_id: id,
        parent_id: parent,
        kind: known_tags.kind,
        name: span.name.as_str(),
        start: Timestamp(start),
        end: Timestamp(end),
        status: known_tags.status,
        status_message: known_tags.message,
        trace_state: known_tags.trace_state,
        flags: span.flags.unwrap_or(0) & 0xff,
        resource,
        scope: &scope,
        attributes: &known_tags.rest,
        events: &events,
        links: &links,
        dropped: 0,
    });
    Ok(())
}

/// The tags that OpenTelemetry has fields for, and the rest.
struct Known<'t> {
    kind: SpanKind,
    status: Status,
    message: &'t str,
    trace_state: &'t str,
    scope: &'t str,
    scope_version: &'t str,
    split: Option<TraceId>,
    rest: Vec<Attribute<'t>>,
}

impl<'t> Known<'t> {
    fn of(tags: &'t [Tag<'_>]) -> Known<'t> {
        let mut known = Known {
            kind: SpanKind::Unspecified,
            status: Status::Unset,
            message: "",
            trace_state: "",
            scope: "",
            scope_version: "",
            split: None,
            rest: Vec::with_capacity(tags.len()),
        };
        let (mut error, mut code) = (false, None);
        for tag in tags {
            match tag.key.as_str() {
                "span.kind" => known.kind = span_kind(tag.value.as_str()),
                "otel.status_code" => code = Some(status(tag.value.as_str())),
                "otel.status_description" => known.message = tag.value.as_str(),
                "w3c.tracestate" => known.trace_state = tag.value.as_str(),
                "otel.scope.name" | "otel.library.name" => known.scope = tag.value.as_str(),
                "otel.scope.version" | "otel.library.version" => known.scope_version = tag.value.as_str(),
                "internal.splittrace.traceID" => known.split = trace_id(tag.value.as_str()),
                "internal.span.format" | "internal.splittrace.spanID" => {}
                "error" if matches!(tag.value(), Value::Bool(_)) || tag.value.is_true() => {
                    error = tag.value.is_true();
                }
                key => {
                    // Old clients give the error itself as the tag's text.
                    error = error || (key == "error" && !matches!(tag.value.as_str(), "" | "false"));
                    known.rest.push(Attribute { key, value: tag.value() });
                }
            }
        }
        known.status = code.unwrap_or(if error { Status::Error } else { Status::Unset });
        known
    }
}

struct Relations {
    parent: Option<SpanId>,
    links: Vec<Link>,
}

/// The parent is the first CHILD_OF of the same trace, else the first FOLLOWS_FROM of it; all others are links. Spans
/// that are repeated inside references are not looked at: they come on their own.
fn relations(span: &JaegerSpan<'_>, own_trace: &str) -> Relations {
    let references = span.references.as_deref().unwrap_or_default();
    let same = |r: &&Reference| r.trace_id.as_str().is_empty() || r.trace_id.as_str() == own_trace;
    let chosen = references
        .iter()
        .filter(same)
        .find(|r| r.kind.as_str().eq_ignore_ascii_case("CHILD_OF"))
        .or_else(|| references.iter().find(same));
    let parent =
        chosen.and_then(|r| span_id(r.span_id.as_str())).or_else(|| span_id(span.parent_id.as_str()));
    let links = references
        .iter()
        .filter(|r| chosen.is_none_or(|c| !std::ptr::eq(*r, c)))
        .filter_map(|r| {
            let of = if r.trace_id.as_str().is_empty() { own_trace } else { r.trace_id.as_str() };
            Some(Link { trace_id: trace_id(of)?, span_id: span_id(r.span_id.as_str())? })
        })
        .collect();
    Relations { parent, links }
}

/// A log is an event; its name is the field `event`, as OpenTelemetry's exporters write it.
fn event<'l>(log: &'l Log<'_>) -> Event<'l> {
    let fields = log.fields.as_deref().unwrap_or_default();
    let name = fields.iter().find(|field| field.key.as_str() == "event").map_or("", |f| f.value.as_str());
    Event {
        at: Timestamp(log.timestamp.micros_as_nanos().unwrap_or(0)),
        name,
        attributes: fields
            .iter()
            .filter(|field| field.key.as_str() != "event")
            .map(|field| Attribute { key: field.key.as_str(), value: field.value() })
            .collect(),
    }
}

/// Follows parts of parts to the trace that all of them belong to. Bounded by the table's size, for a circle would not end.
pub(super) fn settle(splits: &mut Splits) {
    let table = splits.clone();
    for (into, _) in splits.values_mut() {
        for _ in 0..table.len() {
            match table.get(into) {
                Some((further, _)) if further != into => *into = *further,
                _ => break,
            }
        }
    }
    splits.retain(|part, (into, _)| part != into);
}
