//! Spans and exchanges for this room's tests, made from few words.

use crate::record::{
    Attribute, Exchange, Host, Outcome, Phases, Protocol, Resource, Run, Scope, Span, SpanId, SpanKind,
    Status, StepId, StepInfo, Timestamp, TraceId, Value,
};

/// Calls `f` with a span of that name, kind and attributes.
pub(super) fn span<R>(
    name: &str,
    kind: SpanKind,
    attributes: &[(&str, Value<'_>)],
    f: impl FnOnce(&Span<'_>) -> R,
) -> R {
    let attributes: Vec<_> =
        attributes.iter().map(|(key, value)| Attribute { key, value: value.clone() }).collect();
    let (resource, scope) = (Resource::default(), Scope::default());
    f(&Span { name, kind, attributes: &attributes, ..blank(&resource, &scope) })
}

/// A span without anything.
pub(super) fn blank<'a>(resource: &'a Resource<'a>, scope: &'a Scope<'a>) -> Span<'a> {
    Span {
        trace_id: trace(1),
        span_id: SpanId([9; 8]),
        parent_id: None,
        kind: SpanKind::Unspecified,
        name: "",
        start: Timestamp(0),
        end: Timestamp(0),
        status: Status::Unset,
        status_message: "",
        trace_state: "",
        flags: 0,
        resource,
        scope,
        attributes: &[],
        events: &[],
        links: &[],
        dropped: 0,
    }
}

/// A trace id from a number.
pub(super) fn trace(n: u64) -> TraceId {
    let mut id = [7; 16];
    id[8..].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    TraceId(id)
}

/// A span id from a number.
pub(super) fn id(n: u64) -> SpanId {
    SpanId(n.to_be_bytes())
}

/// A span that owns what it borrows.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub trace: TraceId,
    pub id: u64,
    pub parent: u64,
    pub kind: SpanKind,
    pub service: String,
    pub host: String,
    pub name: String,
    pub start: u64,
    pub end: u64,
    pub attributes: Vec<(&'static str, Value<'static>)>,
    pub failed: bool,
    /// The message of its status.
    pub message: &'static str,
    /// Name of the instrumentation that recorded it.
    pub scope: &'static str,
}

impl Owned {
    /// A span of a service that gives no host.
    pub fn new(
        id: u64,
        parent: u64,
        kind: SpanKind,
        service: &str,
        name: &str,
        start: u64,
        end: u64,
    ) -> Owned {
        Owned {
            trace: trace(1),
            id,
            parent,
            kind,
            service: service.to_owned(),
            host: String::new(),
            name: name.to_owned(),
            start,
            end,
            attributes: Vec::new(),
            failed: false,
            message: "",
            scope: "",
        }
    }

    /// Calls `f` with it as the decoder would give it.
    pub fn lend<R>(&self, f: impl FnOnce(&Span<'_>) -> R) -> R {
        let mut resource = Resource::default();
        for (key, text) in [("service.name", &self.service), ("host.name", &self.host)] {
            if !text.is_empty() {
                resource.attributes.push(Attribute { key, value: Value::Str(text) });
            }
        }
        let attributes: Vec<_> =
            self.attributes.iter().map(|(key, value)| Attribute { key, value: value.clone() }).collect();
        let scope = Scope { name: self.scope, ..Scope::default() };
        f(&Span {
            trace_id: self.trace,
            span_id: id(self.id),
            parent_id: (self.parent != 0).then(|| id(self.parent)),
            kind: self.kind,
            name: &self.name,
            start: Timestamp(self.start),
            end: Timestamp(self.end),
            attributes: &attributes,
            status: if self.failed { Status::Error } else { Status::Unset },
            status_message: self.message,
            ..blank(&resource, &scope)
        })
    }
}

/// An answered exchange: due and started at `from`, sent at once, first byte at the end.
pub(super) fn exchange(span_id: u64, from: u64, to: u64) -> Exchange {
    Exchange {
        trace_id: trace(1),
        span_id: id(span_id),
        sampled: true,
        threshold: crate::record::Threshold::ALWAYS,
        step: StepId(0),
        user: 0,
        iteration: 0,
        intended: Timestamp(from),
        phases: Phases {
            start: Timestamp(from),
            sent: Some(Timestamp(from)),
            first_byte: Some(Timestamp(to)),
            end: Timestamp(to),
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
        url: "http://127.0.0.1/".into(),
        server_timing: None,
        messages: None,
    }
}

/// A run of so many steps.
pub(super) fn run(steps: usize) -> Run {
    let step = |i| StepInfo {
        journey: "j".to_owned(),
        name: format!("step {i}"),
        method: "GET".to_owned(),
        template: format!("/{i}"),
        checks: Vec::new(),
    };
    Run {
        id: "r".to_owned(),
        name: "r".to_owned(),
        started_at: Timestamp(0),
        ended_at: None,
        state: Default::default(),
        target: "http://127.0.0.1".to_owned(),
        hotspan_version: "0".to_owned(),
        git_commit: None,
        host: Host { name: "client".to_owned(), ..Host::default() },
        scenario: String::new(),
        steps: (0..steps).map(step).collect(),
        load: Default::default(),
        receiver: Default::default(),
        export: Default::default(),
        sources: Default::default(),
        wait: None,
        warnings: Vec::new(),
    }
}
