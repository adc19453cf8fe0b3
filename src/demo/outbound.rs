//! Calls to other services over HTTP: each attempt a CLIENT span and a timer around the same wait.

use super::edge::version;
use super::telemetry::propagate;
use super::timing::{Clock, Measured, Part};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use std::time::{Duration, Instant};
use tracing::field::Empty;
use tracing::{Instrument, info_span};

const TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP client bound to one service.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    client: reqwest::Client,
    base: String,
    address: String,
    port: i64,
}

/// What a service answered, body included.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Path and query as sent.
    pub(super) path: String,
    /// The path as a template, low in cardinality.
    pub(super) template: &'a str,
    pub(super) json: Option<serde_json::Value>,
    /// Which attempt, counted from 0.
    pub(super) resend: u32,
}

/// A client without proxies: everything that the demo calls is a neighbour.
pub(super) fn http_client() -> Result<reqwest::Client, reqwest::Error> {
    // The client wants a TLS provider even for plain HTTP. A second installation is refused, and fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(TIMEOUT).tcp_nodelay(true).build()
}

impl Peer {
    pub(super) fn new(client: reqwest::Client, base: &str) -> Peer {
        let base = base.trim_end_matches('/').to_owned();
        let parsed = url::Url::parse(&base).ok();
        let address = parsed.as_ref().and_then(url::Url::host_str).unwrap_or_default().to_owned();
        let port = parsed.as_ref().and_then(url::Url::port_or_known_default).unwrap_or_default();
        Peer { client, base, address, port: i64::from(port) }
    }

    /// A call to a service that measures itself: its parts count as its own, the rest of the wait as network.
    pub(super) async fn call_traced(&self, clock: &Clock, call: Call<'_>) -> Result<Answer, reqwest::Error> {
        let (answer, waited) = self.attempt(&call).await;
        let measured = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.headers.get("server-timing")?.to_str().ok().and_then(Measured::parse));
        match measured {
            Some(measured) => clock.add_callee(waited, &measured),
            None => clock.add(Part::External, waited),
        }
        answer
    }

    /// A call to a service that says nothing about itself.
    pub(super) async fn call(&self, clock: &Clock, call: Call<'_>) -> Result<Answer, reqwest::Error> {
        let (answer, waited) = self.attempt(&call).await;
        clock.add(Part::External, waited);
        answer
    }

    /// The same without span or timer, for background jobs.
    pub(super) async fn call_untraced(&self, path: &str) -> Result<(), reqwest::Error> {
        self.client.get(format!("{}{path}", self.base)).send().await?.bytes().await.map(drop)
    }

    async fn attempt(&self, call: &Call<'_>) -> (Result<Answer, reqwest::Error>, Duration) {
        let url = format!("{}{}", self.base, call.path);
        let method = call.method.as_str();
        let name = format!("{method} {}", call.template);
        let started = Instant::now();
        let span = info_span!(
            "call",
            otel.name = name,
            otel.kind = "client",
            otel.status_code = Empty,
            "http.request.method" = method,
            "url.full" = url,
            "url.template" = call.template,
            "server.address" = self.address,
            "server.port" = self.port,
            "http.request.resend_count" = (call.resend > 0).then_some(i64::from(call.resend)),
            "http.response.status_code" = Empty,
            "network.protocol.version" = Empty,
            "error.type" = Empty,
        );
        let mut headers = HeaderMap::new();
        propagate(&span, &mut headers);
        let mut request = self.client.request(call.method.clone(), &url).headers(headers);
        if let Some(json) = &call.json {
            request = request
                .header(http::header::CONTENT_TYPE, "application/json")
                .body(serde_json::to_vec(json).unwrap_or_default());
        }
        let (answer, waited) = async {
            let answer = exchange(request).await;
            (answer, started.elapsed())
        }
        .instrument(span.clone())
        .await;
        match &answer {
            Ok((answer, http_version)) => {
                span.record("http.response.status_code", i64::from(answer.status.as_u16()))
                    .record("network.protocol.version", version(*http_version));
                if answer.status.is_client_error() || answer.status.is_server_error() {
                    span.record("otel.status_code", "error").record("error.type", answer.status.as_str());
                }
            }
            Err(error) => {
                span.record("otel.status_code", "error").record("error.type", error_type(error));
            }
        }
        (answer.map(|(answer, _)| answer), waited)
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<(Answer, http::Version), reqwest::Error> {
    let mut response = request.send().await?;
    let (status, version) = (response.status(), response.version());
    let headers = std::mem::take(response.headers_mut());
    Ok((Answer { status, headers, body: response.bytes().await? }, version))
}

fn error_type(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "connect"
    } else {
        "http"
    }
}
