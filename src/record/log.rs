//! One log record as some process wrote it, borrowed from the bytes it arrived in.

use super::{Attribute, Resource, Scope, SpanId, Timestamp, TraceId, Value};

/// A log record.
#[derive(Clone, Debug)]
pub struct LogLine<'a> {
    /// When it happened; where the sender does not say, when it was seen.
    pub time: Timestamp,
    /// The trace that was going on, if there was one.
    pub trace_id: Option<TraceId>,
    /// The span that was going on, if there was one.
    pub span_id: Option<SpanId>,
    /// OpenTelemetry's severity number: 1–4 trace, 5–8 debug, 9–12 info, 13–16 warn, 17–20 error, 21–24 fatal, 0 not given.
    pub severity: u8,
    /// The severity in the sender's words.
    pub severity_text: &'a str,
    /// Name of the event, where the record is one.
    pub event_name: &'a str,
    /// What it says.
    pub body: Value<'a>,
    /// Who wrote it.
    pub resource: &'a Resource<'a>,
    /// Which logger.
    pub scope: &'a Scope<'a>,
    /// More about it, e.g. `exception.type`.
    pub attributes: &'a [Attribute<'a>],
}

impl LogLine<'_> {
    /// Whether it tells of an error.
    pub fn is_error(&self) -> bool {
        self.severity >= 17
    }

    /// The text of the body, where it is text.
    pub fn text(&self) -> Option<&str> {
        self.body.as_str()
    }

    /// The text of an attribute.
    pub fn attribute(&self, key: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_str())
    }
}
