//! [`Exchange`] → OTLP client span, written straight into a buffer.
//!
//! What is the same for all exchanges of a step is encoded once; where two that follow each other differ in nothing but ids
//! and numbers, the whole span is ([`SpanForm`]). The SDK's way costs ten times as much per span and
//! its batch processor drops silently, which a load generator cannot afford.

use super::span_form::{Mark, Marks, SpanForm};
use crate::record::{
    CheckFailure, Exchange, Failure, Messages, Outcome, Protocol, Run, StepInfo, StepKind, Timestamp,
    grpc_status_name,
};
use crate::wire::protobuf::{
    put_bytes, put_double_attribute, put_fixed32, put_fixed64, put_int_attribute, put_text_attribute,
    put_uint, put_varint, varint_len,
};
use bytes::Bytes;

/// Field numbers of `Span`.
const ATTRIBUTES: u32 = 9;
const EVENTS: u32 = 11;

/// Bytes that the length of a span takes: spans of hotspan are between 128 B and 16 KiB, nearly always.
const LENGTH_WIDTH: usize = 2;
const LENGTH_MAX: usize = (1 << (7 * LENGTH_WIDTH)) - 1;

/// Encodes exchanges into one `ExportTraceServiceRequest` after another.
#[derive(Debug)]
pub struct SpanEncoder {
    /// `ResourceSpans.resource`, encoded with its tag.
    resource: Vec<u8>,
    /// `ScopeSpans.scope`, encoded with its tag.
    scope: Vec<u8>,
    steps: Vec<StepPart>,
    /// `ScopeSpans.spans` of the request being built, behind as much room as what stands before them can take: a request is
    /// a quarter of a megabyte, and copying it would cost more than encoding a fifth of it.
    spans: Vec<u8>,
    room: usize,
    count: u64,
}

/// What all spans of a step have in common.
#[derive(Debug)]
struct StepPart {
    /// Name, kind and the attributes that never change.
    fixed: Vec<u8>,
    /// `server.address` and `server.port` of the run's target.
    server: Vec<u8>,
    /// Scheme and authority that `server` stands for, as URLs begin.
    origin: String,
    /// The span that most exchanges have.
    form: SpanForm,
    kind: StepKind,
}

impl SpanEncoder {
    /// An encoder for the exchanges of `run`, sent as the process that `resource` (attribute, value) describes.
    pub fn new(run: &Run, resource: &[(String, String)]) -> SpanEncoder {
        let mut attributes = Vec::new();
        for (key, value) in resource {
            put_text_attribute(&mut attributes, 1, key, value);
        }
        let mut inner = Vec::new();
        put_bytes(&mut inner, 1, b"hotspan");
        put_bytes(&mut inner, 2, run.hotspan_version.as_bytes());
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        put_bytes(&mut resource, 1, &attributes);
        put_bytes(&mut scope, 1, &inner);
        let steps = run.steps.iter().map(|step| StepPart::new(run, step)).collect();
        // Two tags, and two lengths of a message that is smaller than 4 GiB.
        let room = resource.len() + scope.len() + 2 * (1 + LONGEST_U32);
        SpanEncoder { resource, scope, steps, spans: vec![0; room], room, count: 0 }
    }

    /// Adds the client span of an exchange. Exchanges that were not sampled are the caller's to leave out.
    pub fn push(&mut self, exchange: &Exchange) {
        let out = &mut self.spans;
        out.push(2 << 3 | 2);
        let start = out.len() + LENGTH_WIDTH;
        out.extend_from_slice(&[0; LENGTH_WIDTH]);
        let mut step = self.steps.get_mut(usize::from(exchange.step.0));
        if !step.as_mut().is_some_and(|step| step.form.put(out, exchange)) {
            let mut marks = Marks::new(out);
            put_span(out, exchange, step.as_deref(), &mut marks);
            if let Some(step) = step {
                step.form.learn(&out[start..], exchange, marks);
            }
        }
        put_walk(out, exchange);
        fill_length(out, start);
        self.count += 1;
    }

    /// Spans in the request being built.
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether the request being built has no spans.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Size of the spans in the request being built, in bytes.
    pub fn size(&self) -> usize {
        self.spans.len() - self.room
    }

    /// Ends the request: its bytes and its number of spans; `None` when there are none. The encoder begins a new one.
    pub fn take(&mut self) -> Option<(Bytes, u64)> {
        if self.is_empty() {
            return None;
        }
        let scope_len = self.scope.len() + self.size();
        let mut scope_head = vec![2 << 3 | 2];
        put_varint(&mut scope_head, scope_len as u64);
        let mut head = vec![1 << 3 | 2];
        put_varint(&mut head, (self.resource.len() + scope_head.len() + scope_len) as u64);
        for part in [&self.resource, &scope_head, &self.scope] {
            head.extend_from_slice(part);
        }
        let mut next = Vec::with_capacity(self.spans.len() + self.spans.len() / 8);
        next.resize(self.room, 0);
        let mut out = std::mem::replace(&mut self.spans, next);
        let from = self.room.saturating_sub(head.len());
        out.splice(from..self.room, head);
        Some((Bytes::from(out).slice(from..), std::mem::take(&mut self.count)))
    }
}

impl StepPart {
    fn new(run: &Run, step: &StepInfo) -> StepPart {
        let mut fixed = Vec::new();
        let kind = step.kind();
        let (name, about) = about(step);
        put_bytes(&mut fixed, 5, name.as_bytes());
        put_uint(&mut fixed, 6, 3);
        for (key, value) in about.into_iter().chain([
            ("hotspan.run.id", run.id.as_str()),
            ("hotspan.journey", &step.journey),
            ("hotspan.step", &step.name),
        ]) {
            put_text_attribute(&mut fixed, ATTRIBUTES, key, value);
        }
        let origin = origin_of(&run.target).to_owned();
        let mut server = Vec::new();
        put_server(&mut server, &origin);
        StepPart { fixed, server, origin, form: SpanForm::default(), kind }
    }
}

/// The span's name, and the attributes by which conventions tell what was called. RPCs have them under their current names
/// and under those before, which most backends still look for.
fn about(step: &StepInfo) -> (String, Vec<(&'static str, &str)>) {
    match step.kind() {
        StepKind::Http => {
            let about = vec![("http.request.method", step.method.as_str()), ("url.template", &step.template)];
            (format!("{} {}", step.method, step.template), about)
        }
        StepKind::WebSocket => {
            let about = vec![
                ("http.request.method", "GET"),
                ("url.template", step.template.as_str()),
                ("network.protocol.name", "websocket"),
            ];
            (format!("GET {}", step.template), about)
        }
        StepKind::Grpc => {
            let service = step.template.rsplit_once('/').map_or("", |(service, _)| service);
            let about = vec![
                ("rpc.system.name", "grpc"),
                ("rpc.system", "grpc"),
                ("rpc.service", service),
                ("rpc.method", step.template.as_str()),
            ];
            (step.template.clone(), about)
        }
    }
}

/// Scheme and authority of an absolute URL; all of it where there is no path.
fn origin_of(url: &str) -> &str {
    let authority = url.find("://").map_or(0, |at| at + 3);
    let end = url[authority..].find(['/', '?', '#']).map_or(url.len(), |at| authority + at);
    &url[..end]
}

/// Whether a URL begins with this scheme and authority, whole.
#[inline]
fn has_origin(url: &str, origin: &str) -> bool {
    match url.as_bytes().get(origin.len()) {
        None | Some(b'/' | b'?' | b'#') => url.as_bytes().starts_with(origin.as_bytes()),
        Some(_) => false,
    }
}

/// Writes `server.address` and `server.port` for a scheme and authority.
fn put_server(out: &mut Vec<u8>, origin: &str) {
    let (scheme, authority) = origin.split_once("://").unwrap_or(("http", origin));
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = match host_port.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (host_port, None),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return;
    }
    let port =
        port.unwrap_or(if scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("wss") {
            443
        } else {
            80
        });
    put_text_attribute(out, ATTRIBUTES, "server.address", host);
    put_int_attribute(out, ATTRIBUTES, "server.port", port);
}

/// Attributes up to their numbers; the two lengths that depend on these (at 1 and at the last but one) are filled in.
const USER: &[u8; 19] = b"\x4a\0\x0a\x0chotspan.user\x12\0\x18";
const ITERATION: &[u8; 24] = b"\x4a\0\x0a\x11hotspan.iteration\x12\0\x18";

/// Who walked: numbers whose size changes, so they stand last.
fn put_walk(out: &mut Vec<u8>, exchange: &Exchange) {
    let mut room = [0; USER.len() + ITERATION.len() + 2 * LONGEST_U32];
    let user = put_numbered(&mut room, USER, exchange.user);
    let all = user + put_numbered(&mut room[user..], ITERATION, exchange.iteration);
    out.extend_from_slice(&room[..all]);
}

/// Bytes of the longest varint of 32 bits.
const LONGEST_U32: usize = 5;

/// Writes an attribute of a number to the front of `room`; gives its size.
#[inline]
fn put_numbered<const N: usize>(room: &mut [u8], head: &[u8; N], number: u32) -> usize {
    let size = varint_len(u64::from(number));
    let Some(room) = room.get_mut(..N + size) else { return 0 };
    let (mut left, mut rest) = (number, &mut room[N..]);
    while let [byte, more @ ..] = rest {
        *byte = left as u8 & 0x7f | if more.is_empty() { 0 } else { 0x80 };
        left >>= 7;
        rest = more;
    }
    room[..N].copy_from_slice(head);
    room[1] = (N - 2 + size) as u8;
    room[N - 2] = (1 + size) as u8;
    N + size
}

/// All of a span but [`put_walk`]. What changes from one to the next is marked behind its last byte.
fn put_span(out: &mut Vec<u8>, exchange: &Exchange, step: Option<&StepPart>, marks: &mut Marks) {
    put_bytes(out, 1, &exchange.trace_id.0);
    marks.set(Mark::Trace, out);
    put_bytes(out, 2, &exchange.span_id.0);
    marks.set(Mark::Span, out);
    if !exchange.threshold.is_always() {
        put_bytes(out, 3, exchange.threshold.to_string().as_bytes());
    }
    match step {
        Some(step) => {
            out.extend_from_slice(&step.fixed);
            if has_origin(&exchange.url, &step.origin) {
                out.extend_from_slice(&step.server);
            } else {
                put_server(out, origin_of(&exchange.url));
            }
        }
        None => {
            put_bytes(out, 5, b"HTTP");
            put_uint(out, 6, 3);
            put_server(out, origin_of(&exchange.url));
        }
    }
    put_fixed64(out, 7, exchange.phases.start.0);
    marks.set(Mark::Start, out);
    put_fixed64(out, 8, exchange.phases.end.0);
    marks.set(Mark::End, out);
    put_text_attribute(out, ATTRIBUTES, "url.full", &exchange.url);
    let version = match exchange.protocol {
        Protocol::Http1 => "1.1",
        Protocol::Http2 => "2",
    };
    put_text_attribute(out, ATTRIBUTES, "network.protocol.version", version);
    let delay = exchange.schedule_delay().as_secs_f64();
    put_double_attribute(out, ATTRIBUTES, "hotspan.schedule_delay", delay);
    marks.set(Mark::Delay, out);
    match step.map(|step| step.kind) {
        Some(StepKind::Grpc) => put_rpc_outcome(out, exchange),
        _ => put_outcome(out, exchange),
    }
    put_phases(out, exchange, marks);
    if let Some(messages) = &exchange.messages {
        put_messages(out, messages);
    }
    for check in &exchange.checks_failed {
        put_check(out, check, exchange.phases.end);
    }
    // Bits 0–7 are the W3C flags (01 sampled, 02 random id); 0x100 says that "parent is remote" is known, and it is not.
    put_fixed32(out, 16, 0x102 | u32::from(exchange.sampled));
}

/// Status and what belongs to it, by the semantic conventions for HTTP clients: 4xx and 5xx are errors whose
/// `error.type` is the status code and which need no description; a failure has its class and its words.
fn put_outcome(out: &mut Vec<u8>, exchange: &Exchange) {
    if let Some(status) = exchange.status() {
        put_int_attribute(out, ATTRIBUTES, "http.response.status_code", i64::from(status));
    }
    match &exchange.outcome {
        Outcome::Answered(status) if *status >= 400 => {
            let digits = [status / 100, status / 10, *status].map(|d| b'0' + (d % 10) as u8);
            let text = std::str::from_utf8(&digits).unwrap_or_default();
            put_text_attribute(out, ATTRIBUTES, "error.type", text);
            put_bytes(out, 15, &[3 << 3, 2]);
        }
        Outcome::Answered(_) => {}
        Outcome::Failed { failure, .. } => put_failure(out, failure),
    }
}

fn put_failure(out: &mut Vec<u8>, failure: &Failure) {
    put_text_attribute(out, ATTRIBUTES, "error.type", failure.class.name());
    let mut status = Vec::with_capacity(failure.message.len() + 8);
    put_bytes(&mut status, 2, failure.message.as_bytes());
    put_uint(&mut status, 3, 2);
    put_bytes(out, 15, &status);
}

/// The same by the conventions for gRPC clients: every status but `OK` is an error, whose type is its name.
fn put_rpc_outcome(out: &mut Vec<u8>, exchange: &Exchange) {
    let name = exchange.status().map(grpc_status_name);
    if let (Some(status), Some(name)) = (exchange.status(), name) {
        put_text_attribute(out, ATTRIBUTES, "rpc.response.status_code", name);
        put_int_attribute(out, ATTRIBUTES, "rpc.grpc.status_code", i64::from(status));
    }
    match (&exchange.outcome, name) {
        (Outcome::Answered(1..), Some(name)) => {
            put_text_attribute(out, ATTRIBUTES, "error.type", name);
            put_bytes(out, 15, &[3 << 3, 2]);
        }
        (Outcome::Answered(_), _) => {}
        (Outcome::Failed { failure, .. }, _) => put_failure(out, failure),
    }
}

/// What was said within the exchange: counts, and when the first message came.
fn put_messages(out: &mut Vec<u8>, messages: &Messages) {
    put_int_attribute(out, ATTRIBUTES, "hotspan.messages.sent", i64::from(messages.sent));
    put_int_attribute(out, ATTRIBUTES, "hotspan.messages.received", i64::from(messages.received));
    if messages.received > 1 {
        put_double_attribute(
            out,
            ATTRIBUTES,
            "hotspan.messages.longest_gap",
            messages.longest_gap.as_secs_f64(),
        );
    }
    if messages.round_trips > 0 {
        let mean = messages.round_trip_total.as_secs_f64() / f64::from(messages.round_trips);
        put_double_attribute(out, ATTRIBUTES, "hotspan.messages.round_trip.mean", mean);
        let longest = messages.round_trip_longest.as_secs_f64();
        put_double_attribute(out, ATTRIBUTES, "hotspan.messages.round_trip.longest", longest);
    }
    if let Some(at) = messages.first {
        put_moment(out, at, "first_message");
    }
}

#[inline]
fn put_phases(out: &mut Vec<u8>, exchange: &Exchange, marks: &mut Marks) {
    let phases = &exchange.phases;
    for (at, name, mark) in [
        (phases.resolved, "resolved", None),
        (phases.connected, "connected", None),
        (phases.tls_done, "tls_done", None),
        (phases.sent, "sent", Some(Mark::Sent)),
        (phases.first_byte, "first_byte", Some(Mark::FirstByte)),
    ] {
        if let Some(at) = at {
            // An event is its time (9 bytes) and its name (2 bytes and the text).
            out.extend_from_slice(&[(EVENTS as u8) << 3 | 2, 11 + name.len() as u8]);
            put_fixed64(out, 1, at.0);
            if let Some(mark) = mark {
                marks.set(mark, out);
            }
            put_bytes(out, 2, name.as_bytes());
        }
    }
}

/// An event is its time (9 bytes) and its name (2 bytes and the text).
#[inline]
fn put_moment(out: &mut Vec<u8>, at: Timestamp, name: &str) {
    out.extend_from_slice(&[(EVENTS as u8) << 3 | 2, 11 + name.len() as u8]);
    put_fixed64(out, 1, at.0);
    put_bytes(out, 2, name.as_bytes());
}

fn put_check(out: &mut Vec<u8>, check: &CheckFailure, at: Timestamp) {
    let mut event = Vec::new();
    put_fixed64(&mut event, 1, at.0);
    put_bytes(&mut event, 2, b"check failed");
    put_text_attribute(&mut event, 3, "hotspan.check", &check.check);
    put_text_attribute(&mut event, 3, "hotspan.check.seen", &check.seen);
    put_bytes(out, EVENTS, &event);
}

/// Fills in the length of the span that began at `start`, moving it where two bytes are too few.
fn fill_length(out: &mut Vec<u8>, start: usize) {
    let len = out.len() - start;
    if len > LENGTH_MAX {
        let mut wide = Vec::new();
        put_varint(&mut wide, len as u64);
        out.splice(start - LENGTH_WIDTH..start, wide);
    } else if let Some(width) = out.get_mut(start - LENGTH_WIDTH..start) {
        width.copy_from_slice(&[(len & 0x7f) as u8 | 0x80, (len >> 7) as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_stand_last_are_attributes_like_others() {
        for number in [0, 1, 127, 128, 16_383, 16_384, 1 << 21, 1 << 28, u32::MAX] {
            let mut expected = Vec::new();
            put_int_attribute(&mut expected, ATTRIBUTES, "hotspan.user", i64::from(number));
            put_int_attribute(&mut expected, ATTRIBUTES, "hotspan.iteration", i64::from(number / 3));
            let mut room = [0; 64];
            let user = put_numbered(&mut room, USER, number);
            let all = user + put_numbered(&mut room[user..], ITERATION, number / 3);
            assert_eq!(room[..all], expected, "{number}");
        }
    }

    #[test]
    fn origins_are_compared_whole() {
        assert_eq!(origin_of("http://shop:8080/a/b?c"), "http://shop:8080");
        assert_eq!(origin_of("https://shop?x"), "https://shop");
        assert!(has_origin("http://shop:8080", "http://shop:8080"));
        assert!(has_origin("http://shop:8080?x", "http://shop:8080"));
        assert!(!has_origin("http://shop:80801/", "http://shop:8080"));
        assert!(!has_origin("http://other:808/", "http://shop:8080"));
    }
}
