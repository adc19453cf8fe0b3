//! What a request's head asks for: an export of some signal, a browser's question, or something that is none of ours.

use super::answer::{Language, Reply, Verdict, empty, plain};
use super::unpack::Packing;
use crate::wire::otlp::{Encoding, Rpc, Signal};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, ORIGIN, VARY,
};
use http::{Method, Request, Response, StatusCode, Version};

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// An export request whose head has been understood.
pub(super) struct Export {
    pub signal: Signal,
    pub language: Language,
    pub packing: Packing,
}

/// Understands the head of a request, or gives the answer to what is none.
pub(super) fn route<B>(request: &Request<B>, origins: &Origins) -> Result<Export, Box<Response<Reply>>> {
    let path = request.uri().path();
    let content_type = mime(request.headers());
    let refuse = |code, message: &str| Err(Box::new(plain(code, message)));
    if !origins.allow(request.headers()) {
        return refuse(
            StatusCode::FORBIDDEN,
            "requests of web pages are not taken from this origin; name it with --otlp-cors ORIGIN",
        );
    }
    if content_type.starts_with("application/grpc") {
        if request.version() != Version::HTTP_2 {
            return refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2");
        }
        return route_grpc(path, &content_type, request.headers());
    }
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.path() == path) else {
        return refuse(
            StatusCode::NOT_FOUND,
            "this is hotspan's OTLP receiver: POST /v1/traces, /v1/metrics or /v1/logs, or use gRPC",
        );
    };
    if request.method() == Method::OPTIONS && request.headers().contains_key(ORIGIN) {
        return Err(Box::new(origins.preflight(request.headers())));
    }
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "OTLP messages are sent with POST");
    }
    let encoding = match content_type.as_str() {
        "application/x-protobuf" | "application/protobuf" => Encoding::Protobuf,
        "application/json" => Encoding::Json,
        _ => {
            return refuse(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type must be application/x-protobuf or application/json",
            );
        }
    };
    let language = Language::Http(encoding);
    let name = text(request.headers(), &CONTENT_ENCODING);
    let Some(packing) = Packing::from_name(&name) else {
        let message = format!("Content-Encoding {name} is not known; use gzip, zstd, deflate or none");
        let verdict = Verdict::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, Rpc::InvalidArgument, message);
        return Err(Box::new(verdict.into_response(language)));
    };
    Ok(Export { signal, language, packing })
}

fn route_grpc(path: &str, content_type: &str, headers: &HeaderMap) -> Result<Export, Box<Response<Reply>>> {
    let refuse = |message: String| {
        let verdict = Verdict::refused(StatusCode::OK, Rpc::Unimplemented, message);
        Err(Box::new(verdict.into_response(Language::Grpc)))
    };
    if !matches!(content_type, "application/grpc" | "application/grpc+proto") {
        return refuse(format!("{content_type} is not known; use application/grpc+proto"));
    }
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path) else {
        return refuse(format!("there is no method {path}; traces, metrics and logs have Export"));
    };
    let name = text(headers, &GRPC_ENCODING);
    match Packing::from_name(&name) {
        Some(packing) => Ok(Export { signal, language: Language::Grpc, packing }),
        None => refuse(format!("grpc-encoding {name} is not known; use gzip, zstd, deflate or identity")),
    }
}

/// Web pages that may send spans: none unless named. Programs do not send `Origin`, browsers always do, so that a page
/// cannot write into somebody's run, not even through a name that it makes point here (DNS rebinding).
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(Vec<String>);

impl Origins {
    pub fn new(named: &[String]) -> Origins {
        Origins(named.iter().map(|origin| origin.trim_end_matches('/').to_ascii_lowercase()).collect())
    }

    fn allow(&self, headers: &HeaderMap) -> bool {
        !headers.contains_key(ORIGIN) || self.allowed(headers).is_some()
    }

    /// The origin of a request, if it is one of those named.
    fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = text(headers, &ORIGIN);
        let named = self.0.iter().any(|named| *named == origin || named == "*");
        named.then(|| headers.get(ORIGIN).cloned()).flatten()
    }

    /// Lets a page read the answer.
    pub fn mark(&self, request: &HeaderMap, response: &mut Response<Reply>) {
        if let Some(origin) = self.allowed(request) {
            response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            response.headers_mut().insert(VARY, HeaderValue::from_static("Origin"));
        }
    }

    /// The answer to a browser's question whether a page may send.
    fn preflight(&self, request: &HeaderMap) -> Response<Reply> {
        let mut response = empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        if let Some(wanted) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        response
    }
}

/// A header's value in lower case.
fn text(headers: &HeaderMap, name: &HeaderName) -> String {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.trim().to_ascii_lowercase()
}

/// The content type without parameters.
fn mime(headers: &HeaderMap) -> String {
    let value = text(headers, &CONTENT_TYPE);
    value.split(';').next().unwrap_or_default().trim().to_owned()
}
