//! Spans of any format → OTLP trace messages in protobuf, the form that everything behind this room reads.

use crate::record::{Attribute, Event, Link, Resource, Scope, Span, SpanKind, Status, Value};
use crate::wire::protobuf::{
    close_message, open_message, put_bytes, put_fixed32, put_fixed64, put_text_attribute, put_uint,
};

/// Values nest no deeper in what is written; deeper ones become no value.
const DEPTH_MAX: u32 = 32;

/// An OTLP trace message under construction.
#[derive(Default)]
pub(super) struct Message {
    /// Whole `resource_spans` fields, but for the open one.
    pub out: Vec<u8>,
    /// Where the open `resource_spans` and its open `scope_spans` begin, and the resource that they are of.
    open: Option<Open>,
}

struct Open {
    resource_spans: usize,
    scope_spans: usize,
    /// Encoded resource and scope: the next span goes in here if its own are the same.
    mark: Vec<u8>,
}

impl Message {
    /// Adds a span, beside the one before where resource and scope are the same.
    pub fn push(&mut self, span: &Span<'_>) {
        let mark = mark_of(span.resource, span.scope);
        if self.open.as_ref().is_none_or(|open| open.mark != mark) {
            self.close();
            let resource_spans = open_message(&mut self.out, 1);
            let resource = open_message(&mut self.out, 1);
            for attribute in &span.resource.attributes {
                put_attribute(&mut self.out, 1, attribute, 0);
            }
            close_message(&mut self.out, resource);
            let scope_spans = open_message(&mut self.out, 2);
            if !span.scope.name.is_empty() || !span.scope.version.is_empty() {
                let scope = open_message(&mut self.out, 1);
                put_text(&mut self.out, 1, span.scope.name);
                put_text(&mut self.out, 2, span.scope.version);
                close_message(&mut self.out, scope);
            }
            self.open = Some(Open { resource_spans, scope_spans, mark });
        }
        put_span(&mut self.out, span);
    }

    /// Ends what is open, so that whole fields can follow.
    pub fn close(&mut self) {
        if let Some(open) = self.open.take() {
            close_message(&mut self.out, open.scope_spans);
            close_message(&mut self.out, open.resource_spans);
        }
    }

    /// The message so far; the next span begins a new one.
    pub fn take(&mut self) -> Vec<u8> {
        self.close();
        std::mem::take(&mut self.out)
    }
}

fn mark_of(resource: &Resource<'_>, scope: &Scope<'_>) -> Vec<u8> {
    let mut mark = Vec::with_capacity(128);
    for attribute in &resource.attributes {
        put_attribute(&mut mark, 1, attribute, 0);
    }
    put_bytes(&mut mark, 2, scope.name.as_bytes());
    put_bytes(&mut mark, 3, scope.version.as_bytes());
    mark
}

/// Appends a span as field 2 of `scope_spans`.
fn put_span(out: &mut Vec<u8>, span: &Span<'_>) {
    let start = open_message(out, 2);
    put_bytes(out, 1, &span.trace_id.0);
    put_bytes(out, 2, &span.span_id.0);
    put_text(out, 3, span.trace_state);
    if let Some(parent) = span.parent_id {
        put_bytes(out, 4, &parent.0);
    }
    put_text(out, 5, span.name);
    put_uint(out, 6, kind_number(span.kind));
    put_fixed64(out, 7, span.start.0);
    put_fixed64(out, 8, span.end.0);
    for attribute in span.attributes {
        put_attribute(out, 9, attribute, 0);
    }
    for event in span.events {
        put_event(out, event);
    }
    for link in span.links {
        put_link(out, link);
    }
    if span.dropped > 0 {
        put_uint(out, 10, u64::from(span.dropped));
    }
    if span.status != Status::Unset || !span.status_message.is_empty() {
        let status = open_message(out, 15);
        put_text(out, 2, span.status_message);
        put_uint(out, 3, span.status as u64);
        close_message(out, status);
    }
    if span.flags != 0 {
        put_fixed32(out, 16, span.flags);
    }
    close_message(out, start);
}

fn kind_number(kind: SpanKind) -> u64 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        put_bytes(out, field, text.as_bytes());
    }
}

fn put_event(out: &mut Vec<u8>, event: &Event<'_>) {
    let start = open_message(out, 11);
    put_fixed64(out, 1, event.at.0);
    put_text(out, 2, event.name);
    for attribute in &event.attributes {
        put_attribute(out, 3, attribute, 0);
    }
    close_message(out, start);
}

fn put_link(out: &mut Vec<u8>, link: &Link) {
    let start = open_message(out, 13);
    put_bytes(out, 1, &link.trace_id.0);
    put_bytes(out, 2, &link.span_id.0);
    close_message(out, start);
}

fn put_attribute(out: &mut Vec<u8>, field: u32, attribute: &Attribute<'_>, depth: u32) {
    if let Value::Str(text) = attribute.value {
        return put_text_attribute(out, field, attribute.key, text);
    }
    let start = open_message(out, field);
    put_bytes(out, 1, attribute.key.as_bytes());
    put_value(out, 2, &attribute.value, depth);
    close_message(out, start);
}

/// Recursion is bounded by [`DEPTH_MAX`].
fn put_value(out: &mut Vec<u8>, field: u32, value: &Value<'_>, depth: u32) {
    let start = open_message(out, field);
    match value {
        Value::Str(text) => put_bytes(out, 1, text.as_bytes()),
        Value::Bool(yes) => put_uint(out, 2, u64::from(*yes)),
        Value::Int(n) => put_uint(out, 3, *n as u64),
        Value::Double(n) => put_fixed64(out, 4, n.to_bits()),
        Value::Bytes(bytes) => put_bytes(out, 7, bytes),
        Value::Array(values) if depth < DEPTH_MAX => {
            let list = open_message(out, 5);
            values.iter().for_each(|value| put_value(out, 1, value, depth + 1));
            close_message(out, list);
        }
        Value::Map(pairs) if depth < DEPTH_MAX => {
            let list = open_message(out, 6);
            pairs.iter().for_each(|pair| put_attribute(out, 1, pair, depth + 1));
            close_message(out, list);
        }
        Value::Array(_) | Value::Map(_) | Value::Empty => {}
    }
    close_message(out, start);
}
