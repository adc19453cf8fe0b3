//! Requests as bytes.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderName};
use http::{Method, Request, Version};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Length of a `traceparent`: version, two ids and flags in hexadecimal.
const CONTEXT: usize = 55;
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

/// A request that is the same each time, but for its `traceparent`.
#[derive(Debug)]
pub struct Prepared {
    bytes: Vec<u8>,
    context: usize,
    body: Bytes,
}

impl Prepared {
    /// From one of them; its `traceparent` has the length that all have. `None` when it has none.
    pub fn new(request: &Request<Bytes>) -> Option<Prepared> {
        let mut bytes = Vec::new();
        let body = write_request(request, &mut bytes);
        let inline = request.body().len() - body.len();
        let context = bytes.len().checked_sub(inline + 4 + CONTEXT)?;
        (request.headers().get(TRACEPARENT)?.len() == CONTEXT).then_some(Prepared { bytes, context, body })
    }

    /// The one with that `traceparent`.
    pub fn with(&mut self, traceparent: &[u8; CONTEXT]) -> (&[u8], Bytes) {
        if let Some(place) = self.bytes.get_mut(self.context..self.context + CONTEXT) {
            place.copy_from_slice(traceparent);
        }
        (&self.bytes, self.body.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut prepared = Prepared::new(&request).unwrap();
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
        assert!(Prepared::new(&without).is_none());
    }
}
