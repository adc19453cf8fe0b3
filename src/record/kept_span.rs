//! A span that outlives the message it came in. For the few that are looked at while a run goes on; the analysis of a run
//! reads spans where they lie.

use super::{
    Attribute, Event, Link, Resource, Scope, Span, SpanId, SpanKind, Status, Timestamp, TraceId, Value,
};

/// A span with texts of its own.
#[derive(Clone, Debug)]
pub struct KeptSpan {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent's id, if it has one.
    pub parent_id: Option<SpanId>,
    /// Role in a call.
    pub kind: SpanKind,
    /// When it started.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Outcome as recorded.
    pub status: Status,
    /// OTLP span flags.
    pub flags: u32,
    /// What the SDK dropped by its own limits.
    pub dropped: u32,
    /// Its name.
    pub name: String,
    /// W3C `tracestate` as recorded.
    pub trace_state: String,
    status_message: String,
    resource: Vec<(String, KeptValue)>,
    scope: (String, String),
    attributes: Vec<(String, KeptValue)>,
    events: Vec<(Timestamp, String)>,
    links: Vec<Link>,
}

#[derive(Clone, Debug)]
enum KeptValue {
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// Lists, maps and bytes: that they are there, not what they hold.
    Other,
}

impl KeptSpan {
    /// A copy. Of events only time and name are kept; of lists, maps and bytes only that they were there.
    pub fn of(span: &Span<'_>) -> KeptSpan {
        KeptSpan {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent_id: span.parent_id,
            kind: span.kind,
            start: span.start,
            end: span.end,
            status: span.status,
            flags: span.flags,
            dropped: span.dropped,
            name: span.name.to_owned(),
            trace_state: span.trace_state.to_owned(),
            status_message: span.status_message.to_owned(),
            resource: kept(&span.resource.attributes),
            scope: (span.scope.name.to_owned(), span.scope.version.to_owned()),
            attributes: kept(span.attributes),
            events: span.events.iter().map(|e| (e.at, e.name.to_owned())).collect(),
            links: span.links.to_vec(),
        }
    }

    /// Hands the span on as readers of spans take it.
    pub fn lend<T>(&self, f: impl FnOnce(&Span<'_>) -> T) -> T {
        let resource = Resource { attributes: lent(&self.resource) };
        let scope = Scope { name: &self.scope.0, version: &self.scope.1 };
        let attributes = lent(&self.attributes);
        let events: Vec<Event<'_>> =
            self.events.iter().map(|(at, name)| Event { at: *at, name, attributes: Vec::new() }).collect();
        f(&Span {
            trace_id: self.trace_id,
            span_id: self.span_id,
            parent_id: self.parent_id,
            kind: self.kind,
            name: &self.name,
            start: self.start,
            end: self.end,
            status: self.status,
            status_message: &self.status_message,
            trace_state: &self.trace_state,
            flags: self.flags,
            resource: &resource,
            scope: &scope,
            attributes: &attributes,
            events: &events,
            links: &self.links,
            dropped: self.dropped,
        })
    }

    /// `service.name`, or empty where none was given.
    pub fn service(&self) -> &str {
        text(&self.resource, "service.name").unwrap_or_default()
    }

    /// Value of a text attribute.
    pub fn text(&self, key: &str) -> Option<&str> {
        text(&self.attributes, key)
    }

    /// Value of a whole-number attribute.
    pub fn int(&self, key: &str) -> Option<i64> {
        self.attributes.iter().find(|(k, _)| k == key).and_then(|(_, value)| match value {
            KeptValue::Int(number) => Some(*number),
            _ => None,
        })
    }

    /// Value of the first of these text attributes that is there and not empty.
    pub fn first_text(&self, keys: &[&str]) -> Option<&str> {
        keys.iter().find_map(|key| self.text(key).filter(|value| !value.is_empty()))
    }

    /// Name of the instrumentation library.
    pub fn library(&self) -> &str {
        &self.scope.0
    }
}

fn kept(attributes: &[Attribute<'_>]) -> Vec<(String, KeptValue)> {
    let value = |value: &Value<'_>| match value {
        Value::Str(text) => KeptValue::Str((*text).to_owned()),
        Value::Bool(flag) => KeptValue::Bool(*flag),
        Value::Int(number) => KeptValue::Int(*number),
        Value::Double(number) => KeptValue::Double(*number),
        Value::Bytes(_) | Value::Array(_) | Value::Map(_) | Value::Empty => KeptValue::Other,
    };
    attributes.iter().map(|a| (a.key.to_owned(), value(&a.value))).collect()
}

fn lent(attributes: &[(String, KeptValue)]) -> Vec<Attribute<'_>> {
    let value = |value: &'_ KeptValue| match value {
        KeptValue::Bool(flag) => Value::Bool(*flag),
        KeptValue::Int(number) => Value::Int(*number),
        KeptValue::Double(number) => Value::Double(*number),
        KeptValue::Str(_) | KeptValue::Other => Value::Empty,
    };
    attributes
        .iter()
        .map(|(key, kept)| match kept {
            KeptValue::Str(text) => Attribute { key, value: Value::Str(text) },
            other => Attribute { key, value: value(other) },
        })
        .collect()
}

fn text<'a>(attributes: &'a [(String, KeptValue)], key: &str) -> Option<&'a str> {
    attributes.iter().find(|(k, _)| k == key).and_then(|(_, value)| match value {
        KeptValue::Str(text) => Some(text.as_str()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lent_is_what_was_kept() {
        let text = |key, value| Attribute { key, value: Value::Str(value) };
        let resource = Resource { attributes: vec![text("service.name", "shop")] };
        let attributes = [
            text("db.query.text", "SELECT 1"),
            Attribute { key: "server.port", value: Value::Int(5432) },
            Attribute { key: "list", value: Value::Array(vec![Value::Bool(true)]) },
        ];
        let events = [Event { at: Timestamp(7), name: "retry", attributes: vec![text("why", "busy")] }];
        let links = [Link { trace_id: TraceId([5; 16]), span_id: SpanId([6; 8]) }];
        let span = Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([2; 8]),
            parent_id: Some(SpanId([3; 8])),
            kind: SpanKind::Client,
            name: "SELECT",
            start: Timestamp(10),
            end: Timestamp(20),
            status: Status::Error,
            status_message: "gone",
            trace_state: "ot=th:8",
            flags: 0x301,
            resource: &resource,
            scope: &Scope { name: "driver", version: "2" },
            attributes: &attributes,
            events: &events,
            links: &links,
            dropped: 4,
        };
        let kept = KeptSpan::of(&span);
        assert_eq!((kept.service(), kept.library()), ("shop", "driver"));
        assert_eq!(
            (kept.first_text(&["no", "db.query.text"]), kept.int("server.port")),
            (Some("SELECT 1"), Some(5432))
        );
        kept.lend(|lent| {
            assert_eq!(
                (lent.trace_id, lent.span_id, lent.parent_id),
                (span.trace_id, span.span_id, span.parent_id)
            );
            assert_eq!((lent.name, lent.start, lent.end), ("SELECT", span.start, span.end));
            assert_eq!((lent.status_message, lent.trace_state, lent.flags), ("gone", "ot=th:8", 0x301));
            assert_eq!(lent.resource.service_name(), "shop");
            assert_eq!(lent.attributes[..2], attributes[..2]);
            // Of a list only that it was there.
            assert_eq!(lent.attributes[2], Attribute { key: "list", value: Value::Empty });
            assert_eq!((lent.events[0].at, lent.events[0].name), (Timestamp(7), "retry"));
            assert_eq!((lent.links, lent.dropped), (&links[..], 4));
        });
    }
}
