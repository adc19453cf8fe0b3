//! One span as some process recorded it, borrowed from the bytes it arrived in.
//!
//! Every format is converted to this once, at the edge (`wire`). It borrows so that decoding a run of millions of spans
//! allocates nothing per span.

use super::{Nanos, SpanId, Timestamp, TraceId};

/// A span. Times are as sent: `end` may be before `start`; readers clamp and note it, nobody edits the evidence.
#[derive(Clone, Copy, Debug)]
pub struct Span<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent's id, if it has one.
    pub parent_id: Option<SpanId>,
    /// Role in a call.
    pub kind: SpanKind,
    /// Name as recorded.
    pub name: &'a str,
    /// When it started.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Outcome as recorded.
    pub status: Status,
    /// Words that go with the status.
    pub status_message: &'a str,
    /// W3C `tracestate` as recorded.
    pub trace_state: &'a str,
    /// OTLP span flags: bits 0–7 W3C trace flags, 0x100 "is-remote is known", 0x200 "parent is remote".
    pub flags: u32,
    /// Who recorded it.
    pub resource: &'a Resource<'a>,
    /// Which instrumentation library.
    pub scope: &'a Scope<'a>,
    /// Its attributes, in order.
    pub attributes: &'a [Attribute<'a>],
    /// Its events, in order.
    pub events: &'a [Event<'a>],
    /// Its links, in order.
    pub links: &'a [Link],
    /// Attributes, events and links that the SDK dropped by its own limits.
    pub dropped: u32,
}

/// Role of a span in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpanKind {
    /// Not given: many exports drop it.
    #[default]
    Unspecified,
    /// Work inside one process.
    Internal,
    /// Answering a remote caller.
    Server,
    /// Calling something remote.
    Client,
    /// Handing on a message.
    Producer,
    /// Taking a message.
    Consumer,
}

/// Outcome that a span recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Not set: no error known.
    #[default]
    Unset,
    /// Explicitly well.
    Ok,
    /// An error.
    Error,
}

/// The process that recorded spans.
#[derive(Clone, Debug, Default)]
pub struct Resource<'a> {
    /// All its attributes.
    pub attributes: Vec<Attribute<'a>>,
}

/// The instrumentation library that recorded spans.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    /// Library name.
    pub name: &'a str,
    /// Library version.
    pub version: &'a str,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute<'a> {
    /// Attribute name.
    pub key: &'a str,
    /// Attribute value.
    pub value: Value<'a>,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Text.
    Str(&'a str),
    /// True or false.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Floating-point number.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// A list.
    Array(Vec<Value<'a>>),
    /// Named values.
    Map(Vec<Attribute<'a>>),
    /// No value.
    Empty,
}

/// Something that happened at a moment within a span.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// When.
    pub at: Timestamp,
    /// What.
    pub name: &'a str,
    /// More about it.
    pub attributes: Vec<Attribute<'a>>,
}

/// A relation to a span that is not the parent. Never blocking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// The linked span's trace.
    pub trace_id: TraceId,
    /// The linked span.
    pub span_id: SpanId,
}

impl<'a> Resource<'a> {
    /// Value of a text attribute.
    pub fn text(&self, key: &str) -> Option<&'a str> {
        self.attributes.iter().find(|a| a.key == key).and_then(|a| a.value.as_str())
    }

    /// `service.name`, or empty where none was given.
    pub fn service_name(&self) -> &'a str {
        self.text("service.name").unwrap_or_default()
    }

    /// Which process of the service: `service.instance.id`, else the pod, the container or the host; empty where nothing
    /// tells.
    pub fn instance(&self) -> &'a str {
        const KEYS: [&str; 5] =
            ["service.instance.id", "k8s.pod.name", "container.id", "host.id", "host.name"];
        KEYS.iter().find_map(|key| self.text(key)).unwrap_or_default()
    }
}

impl<'a> Value<'a> {
    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one (text of digits counts: some exporters send numbers as text).
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(*n),
            Value::Str(text) => text.parse().ok(),
            Value::Double(n) if n.fract() == 0.0 => Some(*n as i64),
            _ => None,
        }
    }
}

impl Span<'_> {
    /// End minus start; zero where the end is before the start.
    pub fn duration(&self) -> Nanos {
        self.end.since(self.start)
    }
}
