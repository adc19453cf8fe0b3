//! Zipkin's v2 JSON: lists of spans, or lists of traces.
//!
//! Both ends of a call may share one span id (`shared`); they are kept so, and the analysis gives each an id of its own
//! where it knows the whole trace.

use super::message::Message;
use super::text::{Number, Text, span_id, span_kind, status, trace_id};
use crate::record::{Attribute, Event, Resource, Scope, Span, SpanKind, Status, Timestamp, Value};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use std::fmt;

#[derive(Deserialize)]
pub(super) struct ZipkinSpan<'a> {
    #[serde(borrow, rename = "traceId")]
    trace_id: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow, default, rename = "parentId")]
    parent_id: Text<'a>,
    #[serde(borrow, default)]
    kind: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(default)]
    timestamp: Number,
    #[serde(default)]
    duration: Number,
    #[serde(borrow, default, rename = "localEndpoint")]
    local: Option<Peer<'a>>,
    #[serde(borrow, default, rename = "remoteEndpoint")]
    remote: Option<Peer<'a>>,
    #[serde(borrow, default)]
    annotations: Option<Vec<Annotation<'a>>>,
    #[serde(borrow, default)]
    tags: Tags<'a>,
}

#[derive(Deserialize)]
struct Peer<'a> {
    #[serde(borrow, default, rename = "serviceName")]
    service: Text<'a>,
    #[serde(borrow, default)]
    ipv4: Text<'a>,
    #[serde(borrow, default)]
    ipv6: Text<'a>,
    #[serde(default)]
    port: Number,
}

#[derive(Deserialize)]
struct Annotation<'a> {
    #[serde(default)]
    timestamp: Number,
    #[serde(borrow, default)]
    value: Text<'a>,
}

/// Tags in their order.
#[derive(Default)]
struct Tags<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Tags<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Tags<'a>, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Tags<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Tags::default())
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut tags = Vec::new();
                while let Some(tag) = map.next_entry()? {
                    tags.push(tag);
                }
                Ok(Tags(tags))
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

impl Peer<'_> {
    fn address(&self) -> &str {
        if self.ipv4.as_str().is_empty() { self.ipv6.as_str() } else { self.ipv4.as_str() }
    }
}

/// Writes a span. One that was not finished is taken as empty; one without any time has no place in its trace.
pub(super) fn put_span(span: &ZipkinSpan<'_>, out: &mut Message) -> Result<(), &'static str> {
    let trace = trace_id(span.trace_id.as_str()).ok_or("the span has no traceId")?;
    let id = span_id(span.id.as_str()).ok_or("the span has no id")?;
    let annotations = span.annotations.as_deref().unwrap_or_default();
    let moments = || annotations.iter().filter_map(|a| a.timestamp.micros_as_nanos()).filter(|at| *at > 0);
    let start = span
        .timestamp
        .micros_as_nanos()
        .filter(|at| *at > 0)
        .or_else(|| moments().min())
        .ok_or("the span has no timestamp (it was never finished)")?;
    let end = match span.duration.micros_as_nanos() {
        Some(length) => start.saturating_add(length),
        None => moments().max().unwrap_or(start).max(start),
    };
    let (mut attributes, mut state) = (Vec::with_capacity(span.tags.0.len() + 3), Status::Unset);
    let (mut message, mut scope) = ("", Scope::default());
    for (key, value) in &span.tags.0 {
        match key.as_str() {
            "otel.status_code" => state = status(value.as_str()),
            "otel.status_description" => message = value.as_str(),
            "otel.scope.name" | "otel.library.name" => scope.name = value.as_str(),
            "otel.scope.version" | "otel.library.version" => scope.version = value.as_str(),
            "error" if value.as_str() != "false" => {
                state = Status::Error;
                if !matches!(value.as_str(), "" | "true") && message.is_empty() {
                    message = value.as_str();
                }
            }
            key => attributes.push(Attribute { key, value: Value::Str(value.as_str()) }),
        }
    }
    if let Some(remote) = &span.remote {
        remote_attributes(remote, &mut attributes);
    }
    let events: Vec<Event> = annotations
        .iter()
        .map(|a| Event {
            at: Timestamp(a.timestamp.micros_as_nanos().unwrap_or(start)),
            name: a.value.as_str(),
            attributes: Vec::new(),
        })
        .collect();
    let kind = match span.kind.as_str() {
        // Zipkin's way to say that a span is no end of a call.
        "" => SpanKind::Internal,
        name => span_kind(name),
    };
    out.push(&Span {
        trace_id: trace,
        span_id: id,
        parent_id: span_id(span.parent_id.as_str()),
        kind,
        name: span.name.as_str(),
        start: Timestamp(start),
        end: Timestamp(end),
        status: state,
        status_message: message,
        trace_state: "",
        flags: 0,
        resource: &resource(span.local.as_ref()),
        scope: &scope,
        attributes: &attributes,
        events: &events,
        links: &[],
        dropped: 0,
    });
    Ok(())
}

/// The process that recorded the span; its address stands for its host, as in Zipkin's own correction of clocks.
fn resource<'p>(local: Option<&'p Peer<'_>>) -> Resource<'p> {
    let mut resource = Resource::default();
    let mut push = |key, value: &'p str| {
        if !value.is_empty() {
            resource.attributes.push(Attribute { key, value: Value::Str(value) });
        }
    };
    if let Some(local) = local {
        push("service.name", local.service.as_str());
        push("host.name", local.address());
    }
    resource
}

fn remote_attributes<'p>(remote: &'p Peer<'_>, attributes: &mut Vec<Attribute<'p>>) {
    let absent = |attributes: &[Attribute], key: &str| !attributes.iter().any(|a| a.key == key);
    for (key, value) in
        [("peer.service", remote.service.as_str()), ("network.peer.address", remote.address())]
    {
        if !value.is_empty() && absent(attributes, key) {
            attributes.push(Attribute { key, value: Value::Str(value) });
        }
    }
    if let Some(port) = remote.port.whole().filter(|port| *port > 0) {
        attributes.push(Attribute { key: "network.peer.port", value: Value::Int(port as i64) });
    }
}
