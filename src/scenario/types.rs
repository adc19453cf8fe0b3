//! A scenario as meant: everything resolved, checked and ready to be run.

use super::calls::Call;
use super::check::{Condition as ValueCondition, StatusCheck};
use super::data::Table;
pub use super::flow::{Lifecycle, OnFailure, Op, Then, Think};
use super::http_options::HttpOptions;
use super::secret::Secrets;
use super::shape::LoadPlan;
use super::template::{Expression, Locale, Piece, Template};
use super::threshold::{Comparison, Threshold};
use crate::record::{Nanos, Propagation, StepId, StepInfo};
use bytes::Bytes;
use http::{HeaderName, Method};
use scraper::Selector;
use serde_json_path::JsonPath;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};

/// What to run: journeys over steps, stages of load, what must hold.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Name of the scenario; also part of the run folder's name.
    pub name: String,
    /// Where it goes, without user info: what steps with a path are relative to.
    pub target: String,
    /// All hosts that steps go to; the target's is the first.
    pub endpoints: Vec<Endpoint>,
    /// The load of all journeys that have none of their own; without stages where all have.
    pub load: LoadPlan,
    /// Loads of single journeys, by the journey's index, in order.
    pub own_loads: Vec<(usize, LoadPlan)>,
    /// Journeys, in the file's order.
    pub journeys: Vec<Journey>,
    /// Which of them are walked once per run and once per user.
    pub lifecycle: Lifecycle,
    /// All steps of all journeys; [`StepId`] is the index.
    pub steps: Vec<Step>,
    /// What the run must reach.
    pub thresholds: Vec<Threshold>,
    /// What is changed about looking for problems.
    pub findings: Vec<FindingRule>,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How connections are made and used, by endpoint; see [`Scenario::http_of`].
    pub(super) http: Vec<HttpOptions>,
    /// What one trace covers.
    pub trace: TraceScope,
    /// Which traces servers are asked to record.
    pub sampling: Sampling,
    /// In which formats requests carry their trace context; W3C's alone where nobody says.
    pub propagation: Option<Propagation>,
    /// Where client spans and metrics go, if the scenario says.
    pub telemetry: Option<Telemetry>,
    /// Initial values of variables by slot; extracted ones are null until they are extracted.
    pub variables: Vec<serde_json::Value>,
    /// Which of them outlast an iteration.
    pub kept: KeptSlots,
    /// The country and language of invented data.
    pub locale: Locale,
    /// Values that must not be seen.
    pub secrets: Arc<Secrets>,
    pub(super) text: String,
}

impl Scenario {
    /// How connections to an endpoint are made and used.
    pub fn http_of(&self, endpoint: usize) -> &HttpOptions {
        static USUAL: LazyLock<HttpOptions> = LazyLock::new(HttpOptions::default);
        self.http.get(endpoint).unwrap_or(&USUAL)
    }

    /// The hosts whose certificates are not checked.
    pub fn unchecked_hosts(&self) -> Vec<String> {
        let all = self.endpoints.iter().enumerate();
        let unchecked = all.filter(|(n, e)| e.tls && self.http_of(*n).tls.trust == Trust::Anyone);
        unchecked.map(|(_, endpoint)| endpoint.authority()).collect()
    }
}

/// A limit of a detector or a kind of findings, and what it is set to. Which there are, only the analysis knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingRule {
    /// `kind.option`, or a kind.
    pub name: String,
    /// A number; `on` or `off` for a kind.
    pub value: String,
    /// Where it stands.
    pub place: super::Place,
}

/// A host and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Name or address, an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// A weighted sequence of steps that one virtual user walks.
#[derive(Clone, Debug)]
pub struct Journey {
    /// Name.
    pub name: String,
    /// How often it is chosen, relative to the others; 0 for those that are only called.
    pub weight: u32,
    /// Its steps, as a range of [`Scenario::steps`].
    pub steps: Range<usize>,
    /// The request with which a walk begins, if nothing is skipped.
    pub first: StepId,
    /// Its data rows.
    pub data: Option<Data>,
    /// Whether the data is the scenario's, so that a journey that is called goes on with its caller's row.
    pub shares_row: bool,
    /// What a walk does.
    pub flow: Vec<Op>,
    /// How many counters it needs.
    pub counters: usize,
    /// The least time from the beginning of an iteration to the beginning of the same user's next.
    pub pace: Think,
}

/// Data rows of a journey and the order in which they are used.
#[derive(Clone, Debug)]
pub struct Data {
    /// The rows.
    pub table: Arc<Table>,
    /// Which row an iteration gets.
    pub order: RowOrder,
    /// What happens when all rows are used.
    pub at_end: AtEnd,
    /// The next row that was not taken yet, over all users and threads; for [`RowOrder::Once`].
    pub next: Arc<AtomicU64>,
}

/// What happens when all rows are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtEnd {
    /// They are used again from the start.
    Recycle,
    /// Whoever finds no row left leaves.
    Stop,
}

impl Data {
    /// Names of the columns.
    pub(super) fn columns(&self) -> Arc<[String]> {
        Arc::clone(&self.table.columns)
    }
}

/// Which data row an iteration gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOrder {
    /// One after the other over all users, from the start again after the last.
    Sequential,
    /// Any, each as likely.
    Random,
    /// As `Sequential`, in an order that looks random and is another one each time around.
    Shuffled,
    /// The next that nobody had: no row is used twice before all were used once.
    Once,
    /// Always the same row for the same user.
    PerUser,
}

/// One request template.
#[derive(Clone, Debug)]
pub struct Step {
    /// Low-cardinality name, unique within its journey.
    pub name: String,
    /// Index of its journey.
    pub journey: usize,
    /// HTTP method.
    pub method: Method,
    /// Index of its endpoint.
    pub endpoint: usize,
    /// Path and query.
    pub path: Template,
    /// Path with short names for holes, without the query: `url.template`.
    pub path_template: String,
    /// Headers beyond those that every request has, in the file's order.
    pub headers: Vec<(HeaderName, Template)>,
    /// Body.
    pub body: Body,
    /// What is taken from the answer for later steps.
    pub extract: Vec<Extract>,
    /// What must hold of the answer.
    pub expect: Expect,
    /// Pause after this step.
    pub think: Think,
    /// No answer within this time is a failure.
    pub timeout: Nanos,
    /// No first byte of the answer within this time is one, too.
    pub first_byte: Option<Nanos>,
    /// What is done with an answer that points elsewhere.
    pub redirects: Redirects,
    /// What is done when it fails.
    pub on_failure: OnFailure,
    /// Whether its answers are kept.
    pub cache: Caching,
    /// What it says, where that is more than a request over HTTP.
    pub call: Call,
}

/// A request's body.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// None.
    Empty,
    /// Text of a content type; JSON and forms are such texts with their holes escaped.
    Text {
        /// `content-type`, unless the step's headers say otherwise.
        content_type: Option<&'static str>,
        /// The text.
        text: Template,
    },
    /// Bytes and texts one after the other: files and forms with files.
    Parts {
        /// `content-type`, unless the step's headers say otherwise.
        content_type: String,
        /// In order.
        parts: Vec<BodyPart>,
    },
}

/// A piece of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum BodyPart {
    /// Filled for each request.
    Text(Template),
    /// A file's bytes, read once.
    Bytes(Bytes),
}

/// A value that is taken from an answer.
#[derive(Clone, Debug)]
pub struct Extract {
    /// The variable's name.
    pub name: String,
    /// The variable's slot.
    pub slot: usize,
    /// Where the value stands.
    pub source: Source,
    /// Which one, where there are several.
    pub take: Take,
    /// What to do when it is not there.
    pub missing: Missing,
    /// Who has it beyond the iteration.
    pub keep: Keep,
}

/// How long a variable's value lasts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// To the end of the iteration.
    #[default]
    Iteration,
    /// As long as its user.
    User,
    /// To the end of the run, for all users.
    Run,
}

/// Variables that outlast an iteration, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeptSlots {
    /// As long as their user.
    pub user: Vec<usize>,
    /// To the end of the run, for all users.
    pub run: Vec<usize>,
}

/// Where an extracted value stands.
#[derive(Clone, Debug)]
pub enum Source {
    /// In a JSON body. A path to one place gives that value, any other a list.
    Json(Arc<JsonPath>, Several),
    /// In a header.
    Header(HeaderName),
    /// The status.
    Status,
    /// A cookie that the answer sets.
    Cookie(String),
    /// In the body, between two texts.
    Between(String, String),
    /// In an HTML body: the text of an element, or one of its attributes.
    Css(Arc<Selector>, Option<String>),
    /// In the body: a group of a pattern, 0 for the whole match.
    Pattern(Pattern, usize),
    /// In what stands at another place: a group of a pattern there.
    Within(Box<Source>, Pattern, usize),
}

impl Source {
    /// Whether it stands in the body.
    pub fn is_in_body(&self) -> bool {
        match self {
            Source::Header(_) | Source::Cookie(_) | Source::Status => false,
            Source::Within(source, ..) => source.is_in_body(),
            Source::Json(..) | Source::Between(..) | Source::Css(..) | Source::Pattern(..) => true,
        }
    }

    /// Whether it names many places, so that all of them are meant where nothing else is said.
    pub fn is_several(&self) -> bool {
        match self {
            Source::Json(_, several) => *several == Several::Yes,
            Source::Within(source, ..) => source.is_several(),
            _ => false,
        }
    }
}

/// Which of several values is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// What the source gives: a list where a JSONPath can name many places, else the first.
    AsItIs,
    /// Any, each as likely.
    Random,
    /// All, as a list.
    All,
    /// The n-th from 0; negative counts from the end.
    Nth(i64),
}

/// A regular expression. Equal when spelled so.
#[derive(Clone, Debug)]
pub struct Pattern(pub regex::Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// Whether a JSONPath can give more than one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Several {
    /// It names one place.
    No,
    /// It can name many: the value is a list.
    Yes,
}

/// What a missing value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A failed check; the walk ends.
    Failure,
    /// Nothing: the variable keeps what it had.
    Ignored,
}

/// What must hold of an answer.
#[derive(Clone, Debug)]
pub struct Expect {
    /// Of its status.
    pub status: StatusCheck,
    /// Of its JSON body: the check's name, the place, the condition.
    pub json: Vec<JsonCheck>,
    /// Of its headers.
    pub headers: Vec<HeaderCheck>,
    /// Texts that its body contains.
    pub contains: Vec<(Arc<str>, Template)>,
    /// Texts that its body does not contain.
    pub lacks: Vec<(Arc<str>, Template)>,
    /// Patterns that its body matches.
    pub matches: Vec<(Arc<str>, Pattern)>,
    /// Of the number of bytes of its body, as they came.
    pub size: Option<(Arc<str>, Comparison, u64)>,
    /// Of its corrected latency.
    pub within: Option<(Arc<str>, Nanos)>,
    /// Conditions with names of their own, over what was extracted.
    pub that: Vec<(Arc<str>, Expression)>,
}

impl Expect {
    /// Whether anything but the status and the latency is looked at.
    pub fn looks_closer(&self) -> bool {
        self.looks_at_body() || !self.headers.is_empty() || self.size.is_some() || !self.that.is_empty()
    }

    /// Whether the body is looked at.
    pub fn looks_at_body(&self) -> bool {
        !(self.json.is_empty()
            && self.contains.is_empty()
            && self.lacks.is_empty()
            && self.matches.is_empty())
    }

    /// The names of all checks, the status first.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["status".to_string()];
        names.extend(self.within.iter().map(|(name, _)| name.to_string()));
        names.extend(self.size.iter().map(|(name, ..)| name.to_string()));
        names.extend(self.headers.iter().map(|c| c.name.to_string()));
        names.extend(self.json.iter().map(|c| c.name.to_string()));
        for texts in [&self.contains, &self.lacks] {
            names.extend(texts.iter().map(|(name, _)| name.to_string()));
        }
        names.extend(self.matches.iter().map(|(name, _)| name.to_string()));
        names.extend(self.that.iter().map(|(name, _)| name.to_string()));
        names
    }
}

/// A condition on a value in a JSON body.
#[derive(Clone, Debug)]
pub struct JsonCheck {
    /// Name in reports: `json $.price > 0`.
    pub name: Arc<str>,
    /// Where the value stands.
    pub path: Arc<JsonPath>,
    /// What must hold of every value found; one must be found.
    pub condition: ValueCondition,
}

/// A condition on a header.
#[derive(Clone, Debug)]
pub struct HeaderCheck {
    /// Name in reports.
    pub name: Arc<str>,
    /// The header.
    pub header: HeaderName,
    /// What must hold.
    pub condition: ValueCondition,
}

/// Whether answers are kept as a browser keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Caching {
    /// Each request is sent.
    #[default]
    Never,
    /// A fresh answer is used again without a request, a stale one is asked for conditionally (RFC 9111).
    AsBrowser,
}

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection: name, TCP, proxy and TLS together.
    pub connect: Nanos,
    /// For TLS alone, where it has a limit of its own.
    pub tls: Option<Nanos>,
    /// For the first byte of an answer.
    pub first_byte: Option<Nanos>,
    /// For a whole answer, from when the request was handed to its connection.
    pub request: Nanos,
}

/// Whose certificates are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Those of the system's authorities.
    System,
    /// All, checked or not: `insecure: true`.
    Anyone,
}

/// Which protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProtocolChoice {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: offered over TLS (HTTP/1.1 where it is refused), spoken at once without TLS.
    Http2,
    /// HTTP/2 and nothing else: over TLS a server that does not choose it is a failure.
    Http2Only,
    /// As a browser: HTTP/2 where it is chosen over TLS, HTTP/1.1 everywhere else.
    Negotiated,
}

/// What one trace covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceScope {
    /// One exchange.
    Exchange,
    /// All exchanges of an iteration.
    Iteration,
}

/// Which traces servers are asked to record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampling {
    /// That share of all, 0..=1, chosen by the trace id.
    Share(f64),
    /// All, up to so many requests per second; above that every step gets an even part, so that rare ones stay whole.
    Auto {
        /// Most traced requests per second.
        cap_per_second: f64,
    },
    /// All for a while, none for a while: to find out what being traced costs the service.
    InTurn {
        /// How long each lasts.
        stretch: Nanos,
    },
}

impl Sampling {
    /// Cap of `auto` where none is given: what a service's exporter and a backend stand without being tuned.
    pub const CAP_PER_SECOND: f64 = 200.0;
}

impl Default for Sampling {
    /// All.
    fn default() -> Sampling {
        Sampling::Share(1.0)
    }
}

/// What is done with an answer that points elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// It is the answer.
    Answer,
    /// It is followed, up to so many times; each hop is an exchange of the same step.
    Follow(u8),
}

/// Where client spans and metrics go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telemetry {
    /// OTLP endpoint.
    pub endpoint: Option<String>,
    /// OTLP protocol.
    pub protocol: Option<OtlpProtocol>,
    /// Headers of each export request.
    pub headers: Vec<(String, String)>,
    /// Whether every request is marked as test traffic with a `baggage` header.
    pub baggage: bool,
}

/// OTLP protocols, named as in `OTEL_EXPORTER_OTLP_PROTOCOL`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// `grpc`
    Grpc,
    /// `http/protobuf`
    HttpProtobuf,
    /// `http/json`
    HttpJson,
}

impl Scenario {
    /// Adds a `baggage` header of that value to every step that has none of its own.
    pub fn mark_requests(&mut self, baggage: &str) {
        let name = HeaderName::from_static("baggage");
        for step in &mut self.steps {
            if !step.headers.iter().any(|(header, _)| *header == name) {
                let value = Template { pieces: vec![Piece::Text(baggage.to_owned())] };
                step.headers.push((name.clone(), value));
            }
        }
    }

    /// Lets requests carry their trace context in these formats, whatever the file says.
    ///
    /// # Errors
    /// When a step has a header of its own that is one of theirs: the step and the header.
    pub fn propagate(&mut self, propagation: Propagation) -> Result<(), String> {
        let set = |name: &HeaderName| propagation.fields().any(|field| field.name == name.as_str());
        for step in &self.steps {
            if let Some((name, _)) = step.headers.iter().find(|(name, _)| set(name)) {
                return Err(format!(
                    "the step `{}` has a header `{name}` of its own, which hotspan would set for each request: leave one of them out",
                    step.name
                ));
            }
        }
        self.propagation = Some(propagation);
        Ok(())
    }

    /// What `run.json` says of each step, in order.
    pub fn steps(&self) -> Vec<StepInfo> {
        self.steps.iter().map(|step| step.info(&self.journeys)).collect()
    }

    /// The YAML that was run, secrets masked with `***`. For a URL: the YAML that the URL form stands for.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl Step {
    /// What `run.json` says of it.
    pub(super) fn info(&self, journeys: &[Journey]) -> StepInfo {
        StepInfo {
            journey: journeys[self.journey].name.clone(),
            name: self.name.clone(),
            method: match self.call {
                Call::Http | Call::Events(_) => self.method.to_string(),
                Call::Grpc(_) => StepInfo::GRPC.to_string(),
                Call::WebSocket(_) => StepInfo::WEBSOCKET.to_string(),
            },
            template: self.path_template.clone(),
            checks: {
                let missing = |e: &&Extract| e.missing == Missing::Failure;
                let mut names = self.expect.names();
                let mut extracts: Vec<&Extract> = self.extract.iter().collect();
                if let Call::WebSocket(conversation) = &self.call {
                    for awaited in conversation.awaited() {
                        names.push(awaited.name.to_string());
                        extracts.extend(&awaited.extract);
                    }
                }
                let extracts = extracts.into_iter().filter(missing).map(|e| format!("extract {}", e.name));
                names.extend(extracts);
                let mut seen = std::collections::HashSet::new();
                names.retain(|name| seen.insert(name.clone()));
                names
            },
        }
    }
}

impl Endpoint {
    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }

    /// Host, and the port where it is not the scheme's own: the `host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// Scheme and authority: what a path is appended to.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme(), self.authority())
    }
}

impl OtlpProtocol {
    /// As in `OTEL_EXPORTER_OTLP_PROTOCOL`.
    pub const NAMES: [(&'static str, OtlpProtocol); 3] = [
        ("grpc", OtlpProtocol::Grpc),
        ("http/protobuf", OtlpProtocol::HttpProtobuf),
        ("http/json", OtlpProtocol::HttpJson),
    ];
}
