//! Steps made ready to be sent: whatever is the same for every request is built once.

use super::content::More;
use super::grpc::{Outbound, RpcPlan};
use super::render::{Scope, render};
use super::websocket::TalkPlan;
use crate::record::Nanos;
use crate::scenario::{
    Body, BodyPart, Caching, Call, Decode, Endpoint, HttpOptions, KeepAlive, Proxy, Scenario, Secrets, Step,
    Template, Until, is_secret, masked_url,
};
use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LANGUAGE,
    CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, COOKIE, HOST, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TE, USER_AGENT,
};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri};
use rand::rngs::SmallRng;
use std::rc::Rc;
use std::sync::Arc;

/// The `traceparent` header.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const AGENT: &str = concat!("hotspan/", env!("CARGO_PKG_VERSION"));

/// A step made ready.
pub struct StepPlan {
    /// HTTP method.
    pub method: Method,
    /// Index of the endpoint.
    pub endpoint: usize,
    /// Whether sending it twice is as good as once (RFC 9110, section 9.2.2).
    pub idempotent: bool,
    /// Whether the answer's body is looked at.
    pub keeps_body: bool,
    /// Whether the answer's fields are looked at. A new kind of check, extract or cache that does must set it.
    pub keeps_fields: bool,
    /// Whether compressed bodies are decompressed.
    pub decodes: bool,
    /// Whether its requests say that answers may be compressed.
    pub offers_compression: bool,
    /// An answer whose body has more bytes than this is a failure.
    pub most_body: u64,
    /// So is one that becomes more than this.
    pub most_decoded: u64,
    /// What steps need beyond that which are more than a request over HTTP.
    pub call: CallPlan,
    place: Place,
    headers: HeaderMap,
    made_headers: Vec<(HeaderName, Template)>,
    body: BodyPlan,
    origin: Origin,
    ready: Option<Made>,
    secrets: Arc<Secrets>,
}

/// What is more than a request over HTTP, made ready.
pub enum CallPlan {
    /// Nothing.
    Http,
    /// A call of gRPC.
    Grpc(Box<RpcPlan>),
    /// A conversation over a WebSocket.
    WebSocket(Box<TalkPlan>),
    /// A stream of server-sent events.
    Events(Box<Until>),
}

/// Where a request goes.
pub struct Origin {
    /// Index of the endpoint.
    endpoint: usize,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
    /// Whether whole URLs are sent, because a proxy stands between; and what it is told.
    absolute: bool,
    proxy_authorization: Option<HeaderValue>,
}

impl Origin {
    fn new(scenario: &Scenario, index: usize) -> Result<Origin, String> {
        let endpoint = scenario.endpoints.get(index).ok_or("a step without an endpoint")?;
        let authority = endpoint.authority();
        let proxy = scenario.http_of(index).absolute_through(endpoint);
        let mut proxy_authorization = match proxy.and_then(Proxy::authorization) {
            Some(text) => Some(header_value(&text)?),
            None => None,
        };
        if let Some(value) = &mut proxy_authorization {
            value.set_sensitive(true);
        }
        Ok(Origin {
            endpoint: index,
            scheme: if endpoint.tls { Scheme::HTTPS } else { Scheme::HTTP },
            host: header_value(&authority)?,
            authority: authority.parse().map_err(|e| format!("{authority}: {e}"))?,
            absolute: proxy.is_some(),
            proxy_authorization,
        })
    }
}

enum Place {
    Fixed { path: PathAndQuery, url: Arc<str> },
    Made { path: Template, origin: String, may_be_secret: bool },
}

enum BodyPlan {
    Fixed(Bytes),
    Made(Template),
    Parts(Vec<BodyPart>),
    Messages(Box<Outbound>),
}

/// What one request of a step is made of, beyond what is fixed.
pub struct Made {
    /// Path and query.
    pub path: PathAndQuery,
    /// Full URL without secrets.
    pub url: Arc<str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    /// What follows the body's first piece.
    pub more: More,
    /// Where it goes, if an answer has pointed to another host than the step's.
    elsewhere: Option<Rc<Origin>>,
    /// Whether it is on its way from another host: what is secret stays behind, also on the way back.
    stripped: bool,
}

impl Made {
    fn new(
        path: PathAndQuery,
        url: Arc<str>,
        headers: Vec<(HeaderName, HeaderValue)>,
        (body, more): (Bytes, More),
    ) -> Made {
        Made { path, url, headers, body, more, elsewhere: None, stripped: false }
    }

    /// Index of the endpoint that it goes to.
    pub fn endpoint(&self, plan: &StepPlan) -> usize {
        self.elsewhere.as_ref().map_or(plan.endpoint, |origin| origin.endpoint)
    }

    fn has_body(&self) -> bool {
        !self.body.is_empty() || !self.more.is_empty()
    }

    /// Adds fields.
    pub fn extend(&mut self, fields: Vec<(HeaderName, HeaderValue)>) {
        self.headers.extend(fields);
    }
}

impl StepPlan {
    /// Makes a step ready.
    ///
    /// # Errors
    /// When the scenario holds something that no request can have. The scenario's reader refuses that; so this is a fault
    /// of hotspan's.
    pub fn new(scenario: &Scenario, step: &Step) -> Result<StepPlan, String> {
        let endpoint = scenario.endpoints.get(step.endpoint).ok_or("a step without an endpoint")?;
        let http = scenario.http_of(step.endpoint);
        let origin = Origin::new(scenario, step.endpoint)?;
        let mut headers = usual_headers(http, &origin, step.headers.len())?;
        let body = body_plan(&step.body, &mut headers)?;
        let (call, body) = call_plan(step, endpoint, body, &mut headers)?;
        let mut made_headers = Vec::new();
        for (name, value) in &step.headers {
            let value = value.revealed();
            match value.as_static() {
                Some(text) => {
                    headers.insert(name.clone(), header_value(text)?);
                }
                None => {
                    headers.insert(name.clone(), HeaderValue::from_static(""));
                    made_headers.push((name.clone(), value));
                }
            }
        }
        mark_secrets(&mut headers);
        let place = place(endpoint, step, &scenario.secrets)?;
        let body_extracts = step.extract.iter().any(|e| e.source.is_in_body());
        // Validators are added to requests whose answers are cached.
        let fixed = made_headers.is_empty() && step.cache == Caching::Never;
        let ready = match (&place, &body) {
            (Place::Fixed { path, url }, BodyPlan::Fixed(body)) if fixed => {
                let whole = (body.clone(), More::new());
                Some(Made::new(path.clone(), Arc::clone(url), Vec::new(), whole))
            }
            _ => None,
        };
        let keeps_body = body_extracts || step.expect.looks_at_body();
        let offers_compression = headers.get(ACCEPT_ENCODING).is_some_and(|value| value != "identity");
        Ok(StepPlan {
            decodes: match http.decode {
                Decode::Never => false,
                Decode::Always => true,
                Decode::Needed => keeps_body,
            },
            offers_compression,
            most_body: http.max_body,
            most_decoded: http.max_decoded,
            ready,
            method: step.method.clone(),
            endpoint: step.endpoint,
            idempotent: step.method.is_idempotent(),
            // A retry looks for `Retry-After`.
            keeps_fields: !step.extract.is_empty()
                || step.on_failure.retries > 0
                || step.expect.looks_closer()
                || step.cache == Caching::AsBrowser
                || http.decode == Decode::Always
                || offers_compression,
            keeps_body,
            call,
            place,
            headers,
            made_headers,
            body,
            origin,
            secrets: Arc::clone(&scenario.secrets),
        })
    }

    /// Whether nothing at all is made anew for each request but trace context and cookies.
    pub fn is_fixed(&self) -> bool {
        self.ready.is_some()
    }

    /// What every request of this step is made of, where all are the same.
    pub fn ready(&self) -> Option<&Made> {
        self.ready.as_ref()
    }

    /// What a request of this step is made of.
    ///
    /// # Errors
    /// A sentence that says which template cannot be filled, and why.
    pub fn make(&self, scope: &Scope, random: &mut SmallRng) -> Result<Made, String> {
        let (path, url) = match &self.place {
            Place::Fixed { path, url } => (path.clone(), Arc::clone(url)),
            Place::Made { path, origin, may_be_secret } => {
                let mut text = String::with_capacity(origin.len() + 64);
                text.push_str(origin);
                render(path, scope, random, &mut text)?;
                // A template that is one hole can hold a whole URL that the service sent, of this host.
                if text[origin.len()..].starts_with(origin.as_str()) {
                    text.drain(..origin.len());
                }
                let path = PathAndQuery::try_from(&text[origin.len()..])
                    .ok()
                    .filter(|path| path.as_str().starts_with('/'))
                    .ok_or_else(|| {
                        format!(
                            "{:?} is no path: it must start with / and have no spaces",
                            &text[origin.len()..]
                        )
                    })?;
                let url: Arc<str> = if *may_be_secret { masked_url(&text).into() } else { text.into() };
                (path, unseen(url, &self.secrets))
            }
        };
        let mut headers = Vec::with_capacity(self.made_headers.len());
        for (name, template) in &self.made_headers {
            let mut text = String::new();
            render(template, scope, random, &mut text).map_err(|e| format!("header {name}: {e}"))?;
            let value = HeaderValue::from_str(&text)
                .map_err(|_| format!("header {name} would hold a character that no header may have"))?;
            headers.push((name.clone(), value));
        }
        let body = match &self.body {
            BodyPlan::Fixed(bytes) => (bytes.clone(), More::new()),
            BodyPlan::Made(template) => {
                let mut text = String::new();
                render(template, scope, random, &mut text).map_err(|e| format!("body: {e}"))?;
                (Bytes::from(text), More::new())
            }
            BodyPlan::Messages(outbound) => (outbound.make(scope, random)?, More::new()),
            BodyPlan::Parts(parts) => {
                let mut pieces = More::with_capacity(parts.len());
                for part in parts {
                    let piece = match part {
                        // All requests share the file's bytes.
                        BodyPart::Bytes(file) => file.clone(),
                        BodyPart::Text(template) => {
                            let mut text = String::new();
                            render(template, scope, random, &mut text).map_err(|e| format!("body: {e}"))?;
                            Bytes::from(text)
                        }
                    };
                    if !piece.is_empty() {
                        pieces.push_back(piece);
                    }
                }
                (pieces.pop_front().unwrap_or_default(), pieces)
            }
        };
        Ok(Made::new(path, url, headers, body))
    }

    /// A request that goes where an answer has pointed to: that path of an endpoint of the scenario. `keep_body` is false
    /// where a redirect turns the request into a GET.
    pub fn redirected(
        &self,
        made: &Made,
        (scenario, endpoint): (&Scenario, usize),
        (path, url): (PathAndQuery, Arc<str>),
        keep_body: bool,
    ) -> Option<Made> {
        let body = if keep_body { (made.body.clone(), made.more.clone()) } else { Default::default() };
        let mut next = Made::new(path, url, made.headers.clone(), body);
        next.stripped = made.stripped || endpoint != made.endpoint(self);
        if endpoint != self.endpoint {
            next.elsewhere = Some(match &made.elsewhere {
                Some(origin) if origin.endpoint == endpoint => Rc::clone(origin),
                _ => Rc::new(Origin::new(scenario, endpoint).ok()?),
            });
        }
        Some(next)
    }

    /// Whether a field may go to another host than the step's.
    fn goes_anywhere(name: &HeaderName) -> bool {
        !is_secret(name.as_str())
    }

    /// A field of the request, cookies and trace context apart.
    pub fn field(&self, made: &Made, name: &HeaderName) -> Option<HeaderValue> {
        let own = made.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value);
        own.or_else(|| self.headers.get(name)).cloned()
    }

    /// The URL that is shown while no request could be made.
    pub fn shown_url(&self) -> Arc<str> {
        match &self.place {
            Place::Fixed { url, .. } => Arc::clone(url),
            Place::Made { origin, .. } => origin.as_str().into(),
        }
    }

    /// The request, for whichever protocol.
    pub fn request(
        &self,
        made: &Made,
        method: &Method,
        traceparent: HeaderValue,
        cookies: Option<HeaderValue>,
        http2: bool,
    ) -> Request<Bytes> {
        let mut request = Request::new(made.body.clone());
        let origin = made.elsewhere.as_deref().unwrap_or(&self.origin);
        *request.method_mut() = method.clone();
        *request.uri_mut() = match http2 || origin.absolute {
            true => full_uri(origin, made),
            false => Uri::from(made.path.clone()),
        };
        let headers = request.headers_mut();
        *headers = self.headers.clone();
        headers.insert(TRACEPARENT, traceparent);
        for (name, value) in &made.headers {
            headers.insert(name.clone(), value.clone());
        }
        if made.stripped {
            let secret: Vec<HeaderName> =
                headers.keys().filter(|name| !Self::goes_anywhere(name)).cloned().collect();
            for name in secret {
                headers.remove(name);
            }
            headers.insert(HOST, origin.host.clone());
            if let Some(authorization) = &origin.proxy_authorization {
                headers.insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        }
        if !made.more.is_empty() {
            headers.insert(CONTENT_LENGTH, super::content::length(&made.body, &made.more).into());
        }
        if let Some(cookies) = cookies {
            headers.insert(COOKIE, cookies);
        }
        if http2 {
            // `:authority` says it, and connections are not for requests to speak of.
            headers.remove(HOST);
            headers.remove(CONNECTION);
        }
        if method != self.method && !made.has_body() {
            for about_content in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION] {
                headers.remove(about_content);
            }
        }
        request
    }
}

fn full_uri(origin: &Origin, made: &Made) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(origin.scheme.clone());
    parts.authority = Some(origin.authority.clone());
    parts.path_and_query = Some(made.path.clone());
    Uri::from_parts(parts).unwrap_or_default()
}

/// Size of a request's head as text, for protocols whose bytes on the wire are not those of one request.
pub fn head_size<B>(request: &Request<B>) -> u64 {
    let line =
        request.method().as_str().len() + request.uri().path_and_query().map_or(1, |p| p.as_str().len()) + 12;
    let fields: usize = request.headers().iter().map(|(n, v)| n.as_str().len() + v.len() + 4).sum();
    (line + fields + 2) as u64
}

/// A deadline as gRPC writes it: at most eight digits and a unit.
fn grpc_timeout(limit: Nanos) -> String {
    let units = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')];
    let fitting = units.iter().find(|(unit, _)| limit.0.div_ceil(*unit) < 100_000_000);
    let (unit, letter) = fitting.copied().unwrap_or((3_600_000_000_000, 'H'));
    format!("{}{letter}", limit.0.div_ceil(unit).min(99_999_999))
}

fn header_value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} cannot stand in a header"))
}

/// The fields that requests have whatever a step says.
fn usual_headers(http: &HttpOptions, origin: &Origin, more: usize) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::with_capacity(8 + more);
    headers.insert(HOST, origin.host.clone());
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(accepts) = http.accepts() {
        headers.insert(ACCEPT_ENCODING, header_value(&accepts)?);
    }
    if let Some(authorization) = &origin.proxy_authorization {
        headers.insert(PROXY_AUTHORIZATION, authorization.clone());
    }
    if http.keep_alive == KeepAlive::Never {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    // Room is made here, so that filling it in later does not make the map grow.
    headers.insert(TRACEPARENT, HeaderValue::from_static(""));
    Ok(headers)
}

fn body_plan(body: &Body, headers: &mut HeaderMap) -> Result<BodyPlan, String> {
    Ok(match body {
        Body::Empty => BodyPlan::Fixed(Bytes::new()),
        Body::Text { content_type, text } => {
            if let Some(content_type) = content_type {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            }
            let text = text.revealed();
            match text.as_static() {
                Some(text) => BodyPlan::Fixed(Bytes::copy_from_slice(text.as_bytes())),
                None => BodyPlan::Made(text),
            }
        }
        Body::Parts { content_type, parts } => {
            headers.insert(CONTENT_TYPE, header_value(content_type)?);
            parts_plan(parts)
        }
    })
}

/// What a call needs beyond a request over HTTP, in its fields and in its body.
fn call_plan(
    step: &Step,
    endpoint: &Endpoint,
    body: BodyPlan,
    headers: &mut HeaderMap,
) -> Result<(CallPlan, BodyPlan), String> {
    if !matches!(step.call, Call::Http) {
        // Nobody decompresses streams.
        headers.remove(ACCEPT_ENCODING);
    }
    Ok(match &step.call {
        Call::Http => (CallPlan::Http, body),
        Call::Grpc(rpc) => {
            let (plan, outbound) = RpcPlan::new(rpc)?;
            headers.remove(ACCEPT);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
            headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity, gzip"));
            headers.insert("grpc-timeout", header_value(&grpc_timeout(step.timeout))?);
            let body = match outbound.fixed() {
                Some(bytes) => BodyPlan::Fixed(bytes),
                None => BodyPlan::Messages(Box::new(outbound)),
            };
            (CallPlan::Grpc(Box::new(plan)), body)
        }
        Call::WebSocket(conversation) => {
            headers.remove(ACCEPT);
            let plan = TalkPlan::new(conversation, &endpoint.origin())?;
            (CallPlan::WebSocket(Box::new(plan)), body)
        }
        Call::Events(until) => {
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            (CallPlan::Events(until.clone()), body)
        }
    })
}

/// HTTP/2 must not keep secrets in its compression table.
fn mark_secrets(headers: &mut HeaderMap) {
    for (name, value) in headers.iter_mut() {
        if *name == AUTHORIZATION || is_secret(name.as_str()) {
            value.set_sensitive(true);
        }
    }
}

/// A body of parts: put together once where nothing in it changes, so that a file is never copied for a request.
fn parts_plan(parts: &[BodyPart]) -> BodyPlan {
    let parts: Vec<BodyPart> = parts
        .iter()
        .map(|part| match part {
            BodyPart::Text(text) => BodyPart::Text(text.revealed()),
            BodyPart::Bytes(bytes) => BodyPart::Bytes(bytes.clone()),
        })
        .collect();
    if let [BodyPart::Bytes(bytes)] = parts.as_slice() {
        return BodyPlan::Fixed(bytes.clone());
    }
    let mut all = Vec::new();
    for part in &parts {
        match part {
            BodyPart::Bytes(bytes) => all.extend_from_slice(bytes),
            BodyPart::Text(text) => match text.as_static() {
                Some(text) => all.extend_from_slice(text.as_bytes()),
                None => return BodyPlan::Parts(parts),
            },
        }
    }
    BodyPlan::Fixed(Bytes::from(all))
}

/// A URL as it is shown.
fn unseen(url: Arc<str>, secrets: &Secrets) -> Arc<str> {
    if secrets.is_empty() {
        return url;
    }
    match secrets.mask(&url) {
        std::borrow::Cow::Borrowed(_) => url,
        std::borrow::Cow::Owned(masked) => masked.into(),
    }
}

fn place(endpoint: &Endpoint, step: &Step, secrets: &Secrets) -> Result<Place, String> {
    let origin = endpoint.origin();
    let whole = step.path.revealed();
    match whole.as_static() {
        Some(path) => {
            let url = unseen(masked_url(&format!("{origin}{path}")).into(), secrets);
            let path = PathAndQuery::try_from(path).map_err(|e| format!("{path:?}: {e}"))?;
            Ok(Place::Fixed { path, url })
        }
        None => {
            // Whether a hole can bring a secret query value is not known: what it brings may be a whole URL.
            let opens_with_hole = !matches!(step.path.pieces.first(), Some(crate::scenario::Piece::Text(_)));
            let query = step.path.pieces.iter().any(|piece| match piece {
                crate::scenario::Piece::Text(text) => text
                    .split(['?', '&'])
                    .skip(1)
                    .any(|pair| is_secret(pair.split('=').next().unwrap_or_default())),
                crate::scenario::Piece::Hole(..) => false,
            });
            Ok(Place::Made { path: whole.clone(), origin, may_be_secret: opens_with_hole || query })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::random::of_iteration;
    use crate::record::Timestamp;
    use crate::scenario::parse;

    fn plan(step: &str) -> StepPlan {
        let text = format!(
            "target: http://me:pw@h:8080/api\nload: {{users: 1, for: 1s}}\nvars: {{next: 'http://h:8080/n?token=abc', bad: 'a b', nl: \"a\\nb\"}}\nsteps:\n  - {step}\n"
        );
        let scenario = parse(&text, "test").unwrap_or_else(|e| panic!("{e}"));
        StepPlan::new(&scenario, &scenario.steps[0]).unwrap()
    }

    fn make(plan: &StepPlan) -> Result<Made, String> {
        let variables = ["http://h:8080/n?token=abc".into(), "a b".into(), "a\nb".into()];
        let scope = Scope {
            variables: &variables,
            row: None,
            user: 0,
            iteration: 0,
            now: Timestamp(0),
            locale: crate::scenario::Locale::En,
        };
        plan.make(&scope, &mut of_iteration(0, 0, 0))
    }

    #[test]
    fn a_fixed_step_is_ready() {
        let plan = plan("{post: '/x?token=t', json: {a: 1}, headers: {X-A: b}}");
        assert!(plan.is_fixed() && !plan.idempotent && !plan.keeps_body);
        let made = make(&plan).unwrap();
        assert_eq!(&*made.url, "http://h:8080/api/x?token=***");
        let request = plan.request(&made, &Method::POST, HeaderValue::from_static("00-x"), None, false);
        assert_eq!(request.uri(), "/api/x?token=t");
        let mut headers: Vec<String> =
            request.headers().iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        headers.sort();
        assert_eq!(
            headers,
            [
                "accept: */*",
                "authorization: Basic bWU6cHc=",
                "content-type: application/json",
                "host: h:8080",
                concat!("user-agent: hotspan/", env!("CARGO_PKG_VERSION")),
                "traceparent: 00-x",
                "x-a: b",
            ]
            .map(str::to_string)
            .into_iter()
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
        );
        let http2 = plan.request(&made, &Method::POST, HeaderValue::from_static("00-x"), None, true);
        assert_eq!(
            (http2.uri().to_string().as_str(), http2.headers().get(HOST)),
            ("http://h:8080/api/x?token=t", None)
        );
    }

    #[test]
    fn a_url_that_the_service_sent_can_be_a_step() {
        let made = make(&plan("get: '{{ next | raw }}'")).unwrap();
        assert_eq!((made.path.as_str(), &*made.url), ("/n?token=abc", "http://h:8080/n?token=***"));
    }

    #[test]
    fn what_cannot_be_sent_is_said() {
        let said = |step: &str| make(&plan(step)).err().unwrap_or_default();
        assert!(said("get: '/{{ bad | raw }}'").contains("is no path"));
        assert_eq!(
            said("{get: /, headers: {X-A: '{{ nl }}'}}"),
            "header x-a would hold a character that no header may have"
        );
    }
}
