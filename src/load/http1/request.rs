//! Requests as bytes.

use super::super::carrier::Carrier;
use crate::record::{TraceContext, Traceparent};
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{Method, Request, Version};
use std::ops::Range;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CONTEXT: usize = TraceContext::LEN;
/// A body up to this size is copied behind its head and leaves with it in one buffer; a larger one is handed to the system
/// as a second part.
const INLINE: usize = 8 << 10;

/// Appends a request as it goes over the wire, its `traceparent` as the last field; gives what of its body does not stand
/// there yet. A `content-length` among its fields is that of a body that goes on after this piece of it.
pub fn write_request(request: &Request<Bytes>, out: &mut Vec<u8>) -> Bytes {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let body = request.body();
    // A proxy is sent the whole URL (RFC 9112, section 3.2.2).
    let [scheme, colon, host] = match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(host)) => [scheme, "://", host.as_str()],
        _ => [""; 3],
    };
    for part in [request.method().as_str(), " ", scheme, colon, host, path, version(request.version())] {
        out.extend_from_slice(part.as_bytes());
    }
    let mut says_length = false;
    for (name, value) in request.headers().iter().filter(|(name, _)| **name != TRACEPARENT) {
        says_length |= *name == CONTENT_LENGTH;
        put_field(out, name, value.as_bytes());
    }
    // Of a method that is about its content, the absence of content is said (RFC 9110, section 8.6).
    let about_content = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    if (!body.is_empty() || about_content) && !says_length {
        put_field(out, &CONTENT_LENGTH, body.len().to_string().as_bytes());
    }
    if let Some(context) = request.headers().get(TRACEPARENT) {
        put_field(out, &TRACEPARENT, context.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
    if body.len() <= INLINE {
        out.extend_from_slice(body);
        Bytes::new()
    } else {
        body.clone()
    }
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_10 { " HTTP/1.0\r\n" } else { " HTTP/1.1\r\n" }
}

fn put_field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.extend_from_slice(name.as_str().as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// A request that is the same each time, but for its trace context.
#[derive(Debug)]
pub struct Prepared {
    bytes: Vec<u8>,
    /// Where its `traceparent` is; beyond the end where it has none.
    context: usize,
    /// Of other headers that carry context: which bytes here are which of the `traceparent`.
    others: Vec<(Range<usize>, Range<usize>)>,
    body: Bytes,
}

impl Prepared {
    /// From one of them, whose headers that carry context have the length that all have. `None` when one of those is missing.
    pub fn new(request: &Request<Bytes>, carrier: &Carrier) -> Option<Prepared> {
        let mut bytes = Vec::new();
        let body = write_request(request, &mut bytes);
        let inline = request.body().len() - body.len();
        let context = match carrier.sends_w3c() {
            true if request.headers().get(TRACEPARENT)?.len() != CONTEXT => return None,
            true => bytes.len().checked_sub(inline + 4 + CONTEXT)?,
            false => usize::MAX - CONTEXT,
        };
        let mut others = Vec::new();
        for (name, field) in carrier.others() {
            let begin = format!("\r\n{name}: ");
            // No value has a line's end in it: what is found first is the header.
            let at = bytes.windows(begin.len()).position(|place| place == begin.as_bytes())? + begin.len();
            others.extend(field.copies().map(|(to, from)| (at + to.start..at + to.end, from)));
        }
        Some(Prepared { bytes, context, others, body })
    }

    /// The one with that `traceparent`, or what says the same.
    pub fn with(&mut self, traceparent: &Traceparent) -> (&[u8], Bytes) {
        if let Some(place) = self.bytes.get_mut(self.context..self.context + CONTEXT) {
            place.copy_from_slice(traceparent);
        }
        for (to, from) in &self.others {
            if let (Some(to), Some(from)) = (self.bytes.get_mut(to.clone()), traceparent.get(from.clone())) {
                to.copy_from_slice(from);
            }
        }
        (&self.bytes, self.body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Propagation, SpanId, TraceId};
    use crate::scenario::parse_propagation;
    use http::HeaderValue;

    fn request(method: &str, body: &'static str) -> Request<Bytes> {
        let request =
            Request::builder().method(method).uri("/a?b=c").header("traceparent", "x".repeat(CONTEXT));
        request.header("host", "h").body(Bytes::from_static(body.as_bytes())).unwrap()
    }

    fn written(request: &Request<Bytes>) -> String {
        let mut out = Vec::new();
        let rest = write_request(request, &mut out);
        out.extend_from_slice(&rest);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_is_its_line_its_fields_and_its_body() {
        let context = "x".repeat(CONTEXT);
        let expected = format!("GET /a?b=c HTTP/1.1\r\nhost: h\r\ntraceparent: {context}\r\n\r\n");
        assert_eq!(written(&request("GET", "")), expected);
        let expected = format!(
            "POST /a?b=c HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\ntraceparent: {context}\r\n\r\nhi"
        );
        assert_eq!(written(&request("POST", "hi")), expected);
        assert!(written(&request("PUT", "")).contains("\r\ncontent-length: 0\r\n"));
        assert!(written(&request("DELETE", "x")).contains("\r\ncontent-length: 1\r\n"));
    }

    #[test]
    fn a_proxy_is_sent_the_whole_url() {
        let mut request = request("GET", "");
        *request.uri_mut() = "http://h:81/a?b=c".parse().unwrap();
        assert!(written(&request).starts_with("GET http://h:81/a?b=c HTTP/1.1\r\n"));
    }

    #[test]
    fn a_length_that_is_said_is_not_said_twice() {
        let mut request = request("POST", "first");
        request.headers_mut().insert("content-length", "99".parse().unwrap());
        assert_eq!(written(&request).matches("content-length").count(), 1);
    }

    #[test]
    fn a_prepared_request_is_the_same_but_for_its_context() {
        let large: &'static str = Box::leak("b".repeat(INLINE + 1).into_boxed_str());
        for body in ["", "small", large] {
            let request = request("POST", body);
            let mut prepared = Prepared::new(&request, &Carrier::new(Propagation::default())).unwrap();
            let mut context = [b'0'; CONTEXT];
            for last in [b'1', b'2'] {
                context[CONTEXT - 1] = last;
                let expected =
                    written(&request).replace(&"x".repeat(CONTEXT), std::str::from_utf8(&context).unwrap());
                let (head, rest) = prepared.with(&context);
                assert_eq!([head, &rest].concat(), expected.as_bytes());
            }
        }
        let mut without = request("GET", "");
        without.headers_mut().remove("traceparent");
        assert!(Prepared::new(&without, &Carrier::new(Propagation::default())).is_none());
    }

    #[test]
    fn a_prepared_request_carries_its_context_in_every_format() {
        let context = |n: u8| {
            let ids = (TraceId([n; 16]), SpanId([n + 1; 8]));
            TraceContext { trace_id: ids.0, span_id: ids.1, sampled: n.is_multiple_of(2) }.traceparent()
        };
        for formats in ["b3", "tracecontext,b3multi", "tracecontext,b3,b3multi,jaeger,xray", "jaeger,xray"] {
            let carrier = Carrier::new(parse_propagation(formats).unwrap());
            let of = |n: u8| {
                // The body has what looks like a header.
                let mut request = request("POST", "\r\nb3: 0");
                let traceparent = HeaderValue::from_bytes(&context(n)).unwrap();
                request.headers_mut().insert(TRACEPARENT, traceparent);
                carrier.put_others(request.headers_mut(), &context(n));
                request
            };
            let mut prepared = Prepared::new(&of(1), &carrier).unwrap();
            for n in [2, 3, 200] {
                let (head, rest) = prepared.with(&context(n));
                assert_eq!(String::from_utf8([head, &rest].concat()).unwrap(), written(&of(n)), "{formats}");
            }
            let lacking = Carrier::new(parse_propagation("b3,jaeger,b3multi").unwrap());
            assert_eq!(Prepared::new(&of(1), &lacking).is_none(), !formats.contains("b3,b3multi,jaeger"));
        }
    }
}
