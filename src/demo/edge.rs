//! The edge of a traced service: a SERVER span and a clock around each request, and `Server-Timing` on each answer.

use super::telemetry::continue_trace;
use super::timing::Clock;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{HOST, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, Version};
use axum::middleware::Next;
use axum::response::Response;
use tracing::field::Empty;
use tracing::{Instrument, Span, info_span};

/// Runs the rest of the service inside a SERVER span. The span and the clock begin when the request's head is read and end
/// when the answer is handed to the HTTP layer: with its body, unless the body is a stream.
pub(super) async fn traced(mut request: Request, next: Next) -> Response {
    let (clock, span) = server_span(&request);
    continue_trace(&span, request.headers());
    request.extensions_mut().insert(clock.clone());
    let (mut response, total) = async {
        let response = next.run(request).await;
        (response, clock.elapsed())
    }
    .instrument(span.clone())
    .await;
    let status = response.status();
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if status.is_server_error() {
        span.record("otel.status_code", "error").record("error.type", status.as_str());
    }
    if let Ok(value) = HeaderValue::try_from(clock.server_timing(total)) {
        response.headers_mut().insert("server-timing", value);
    }
    response
}

/// A span and a clock that begin together.
fn server_span(request: &Request) -> (Clock, Span) {
    let headers = request.headers();
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str).map(plain_template);
    let method = request.method().as_str();
    let (address, port) = host(headers);
    let name = route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
    let agent = headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let clock = Clock::start();
    let span = info_span!(
        parent: None,
        "request",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        "http.request.method" = method,
        "http.route" = route,
        "url.path" = request.uri().path(),
        "url.query" = request.uri().query(),
        "url.scheme" = "http",
        "http.response.status_code" = Empty,
        "server.address" = address,
        "server.port" = port,
        "network.protocol.version" = version(request.version()),
        "user_agent.original" = agent,
        "error.type" = Empty,
    );
    (clock, span)
}

/// `/static/{*path}` is axum's spelling; the conventions' examples have `/static/{path}`.
fn plain_template(route: &str) -> String {
    route.replace("{*", "{")
}

/// Name and port that the client asked for.
fn host(headers: &HeaderMap) -> (Option<&str>, Option<i64>) {
    let Some(host) = headers.get(HOST).and_then(|value| value.to_str().ok()) else { return (None, None) };
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => {
            (Some(name.trim_start_matches('[').trim_end_matches(']')), port.parse().ok())
        }
        _ => (Some(host), Some(80)),
    }
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_gives_address_and_port() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(value));
            let (name, port) = host(&headers);
            (name.map(str::to_owned), port)
        };
        assert_eq!(of("127.0.0.1:8080"), (Some("127.0.0.1".to_owned()), Some(8080)));
        assert_eq!(of("shop.example"), (Some("shop.example".to_owned()), Some(80)));
        assert_eq!(of("[::1]:81"), (Some("::1".to_owned()), Some(81)));
        assert_eq!(host(&HeaderMap::new()), (None, None));
    }

    #[test]
    fn a_catch_all_route_is_written_as_a_template() {
        assert_eq!(plain_template("/static/{*path}"), "/static/{path}");
        assert_eq!(plain_template("/products/{id}"), "/products/{id}");
    }
}
