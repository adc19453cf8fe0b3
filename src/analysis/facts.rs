//! What a span's attributes say, read in one pass under their old and their stable names.
//!
//! Old and stable conventions coexist, within one span even (`OTEL_SEMCONV_STABILITY_OPT_IN=…/dup`): the stable name wins,
//! whatever the order. Which work a span is, `semantics` decides.

use crate::record::{Span, SpanKind, Value};

/// A text that some attribute gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Text {
    Method,
    Url,
    UrlTemplate,
    Path,
    Route,
    Host,
    Address,
    Socket,
    Peer,
    DbSystem,
    DbQuery,
    DbOperation,
    DbCollection,
    DbNamespace,
    DbSummary,
    DbProcedure,
    RpcSystem,
    RpcService,
    RpcMethod,
    MessagingSystem,
    MessagingOperation,
    Destination,
    Invoked,
    GenAiSystem,
    GenAiOperation,
    GenAiModel,
    GenAiTool,
    GraphqlType,
    GraphqlName,
    GraphqlField,
    Bucket,
    AzureNamespace,
    CodeFunction,
    CodeNamespace,
    CodeFile,
}

const TEXTS: usize = Text::CodeFile as usize + 1;

/// The attributes that matter, by meaning.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    texts: [&'a str; TEXTS],
    /// HTTP status, 0 where there is none.
    pub status: u16,
    /// The peer said "not now": HTTP 429 or 503, gRPC RESOURCE_EXHAUSTED or UNAVAILABLE.
    pub throttled: bool,
    /// Sent again (`http.request.resend_count` at least 1).
    pub resend: bool,
    /// The peer's port, 0 where there is none.
    pub port: u16,
    /// Line in the code, 0 where there is none.
    pub line: u32,
    /// Nanoseconds at the span's start that an attribute says were spent in a queue.
    pub queued: u64,
    /// A sampler other than "always" recorded it, by its own attribute (Jaeger's `sampler.type`).
    pub sampler: bool,
    /// A time limit ended it: by its error type, or HTTP 408 or 504, or gRPC DEADLINE_EXCEEDED; or the caller did, who cancelled it.
    pub timed_out: bool,
    /// A function that had to be started first (`faas.coldstart`).
    pub cold: bool,
    /// What a look into a cache found, where an attribute says so.
    pub hit: Option<bool>,
    /// How many like calls an agent or a Collector put into this one span; 0 where nothing says so.
    pub composite: u32,
    /// A hash of the parameters of a statement, 0 where none is given.
    pub parameters: u32,
    /// Nanoseconds in which nothing of it ran, where its tracer counts them (Rust's `tracing`).
    pub idle: u64,
    /// The thread in which it began, empty where nothing says.
    pub thread: &'a str,
    /// It has attributes that no convention defines: what the service's makers wanted to know of a request.
    pub tells: bool,
}

/// What an attribute's name means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    /// A text, and whether this is its stable (or most specific) name.
    Text(Text, bool),
    Status,
    GrpcStatus,
    RpcStatus,
    Resend,
    Port,
    Line,
    Sampler,
    ErrorType,
    Cold,
    Hit(bool),
    Rows,
    Idle,
    Thread,
    Composite,
    Parameter,
    /// Time in a queue, in units of so many nanoseconds; 0 where the name gives no unit.
    Queued(f64),
    /// None that a convention defines.
    Told,
    Nothing,
}

/// Names of attributes that were met last, and what they mean. A run uses the same few dozen over and over: finding one
/// here costs a tenth of comparing it with every name that matters.
pub(super) struct Keys(Vec<(Box<str>, Meaning)>);

/// Places for names; a power of two.
const KEYS: usize = 512;

impl Default for Keys {
    fn default() -> Keys {
        Keys(vec![(Box::default(), Meaning::Nothing); KEYS])
    }
}

/// Place of a name.
fn place(bytes: &[u8]) -> usize {
    let byte = |i: usize| usize::from(bytes.get(i).copied().unwrap_or(0));
    let n = bytes.len();
    // Names of one namespace differ in length and in their latter half.
    (n * 37 + byte(n / 2) * 5 + byte(n.wrapping_sub(1)) * 11 + byte(n.wrapping_sub(4)) * 3) % KEYS
}

impl Keys {
    /// Whether an attribute of this name is one that no convention defines.
    pub fn tells(&mut self, key: &str) -> bool {
        self.meaning(key) == Meaning::Told
    }

    /// Whether an attribute of this name says anything that [`Facts`] keep.
    pub fn matters(&mut self, key: &[u8]) -> bool {
        let kept = &self.0[place(key)];
        let meaning = if kept.0.as_bytes() == key {
            kept.1
        } else {
            // What is not UTF-8 is cut where the span is decoded.
            match std::str::from_utf8(key) {
                Ok(key) => self.meaning(key),
                Err(_) => return true,
            }
        };
        meaning != Meaning::Nothing
    }

    fn meaning(&mut self, key: &str) -> Meaning {
        let kept = &mut self.0[place(key.as_bytes())];
        if *kept.0 != *key {
            *kept = (key.into(), meaning(key));
        }
        kept.1
    }
}

impl<'a> Facts<'a> {
    /// Reads the attributes of a span.
    pub fn of(span: &Span<'a>, keys: &mut Keys) -> Facts<'a> {
        let mut facts = Facts {
            texts: [""; TEXTS],
            status: 0,
            throttled: false,
            resend: false,
            port: 0,
            line: 0,
            queued: 0,
            sampler: false,
            timed_out: false,
            cold: false,
            hit: None,
            composite: 0,
            parameters: 0,
            idle: 0,
            thread: "",
            tells: false,
        };
        let mut stable = 0u64;
        for attribute in span.attributes {
            match (keys.meaning(attribute.key), &attribute.value) {
                (Meaning::Nothing, _) => {}
                (Meaning::Told, _) => facts.tells = true,
                (Meaning::Text(slot, is_stable), Value::Str(text)) => {
                    let bit = 1u64 << slot as u32;
                    if (is_stable || stable & bit == 0) && !text.is_empty() {
                        facts.texts[slot as usize] = text;
                        stable |= if is_stable { bit } else { 0 };
                    }
                }
                // A list of names (tables of a batch) is told by its first.
                (Meaning::Text(slot, is_stable), Value::Array(list)) => {
                    let bit = 1u64 << slot as u32;
                    if let (true, Some(Value::Str(text))) = (is_stable || stable & bit == 0, list.first()) {
                        facts.texts[slot as usize] = text;
                    }
                }
                (Meaning::Text(..), _) => {}
                (Meaning::Thread, Value::Str(name)) => facts.thread = name,
                (Meaning::Parameter, value) => {
                    facts.parameters = with_parameter(facts.parameters, attribute.key, value)
                }
                (meaning, value) => facts.number(meaning, value),
            }
        }
        facts.forget_what_cannot_matter(span.kind);
        facts
    }

    /// A text, empty where no attribute gave it.
    pub fn text(&self, slot: Text) -> &'a str {
        self.texts[slot as usize]
    }

    /// The first of these that is given.
    pub fn first(&self, slots: &[Text]) -> &'a str {
        slots.iter().map(|s| self.text(*s)).find(|t| !t.is_empty()).unwrap_or_default()
    }

    /// Every text, for a fingerprint.
    pub fn texts(&self) -> &[&'a str] {
        &self.texts
    }

    fn number(&mut self, meaning: Meaning, value: &Value<'_>) {
        let int = || value.as_int().unwrap_or(0);
        match meaning {
            Meaning::Status => {
                self.status = u16::try_from(int()).unwrap_or(0);
                self.throttled |= matches!(self.status, 429 | 503);
                self.timed_out |= matches!(self.status, 408 | 504);
            }
            Meaning::GrpcStatus => {
                self.throttled |= matches!(int(), 8 | 14);
                self.timed_out |= matches!(int(), 1 | 4);
            }
            Meaning::RpcStatus => {
                self.throttled |= matches!(value.as_str(), Some("RESOURCE_EXHAUSTED" | "UNAVAILABLE"));
                self.timed_out |= matches!(value.as_str(), Some("DEADLINE_EXCEEDED" | "CANCELLED"));
            }
            Meaning::ErrorType => {
                let ended = |error: &str| names_a_timeout(error) || names_a_cancel(error);
                self.timed_out |= value.as_str().is_some_and(ended);
            }
            Meaning::Cold => self.cold = matches!(value, Value::Bool(true) | Value::Str("true")),
            Meaning::Hit(yes) => match value {
                Value::Bool(hit) => self.hit = Some(*hit == yes),
                Value::Str("true" | "hit" | "HIT") => self.hit = Some(yes),
                Value::Str("false" | "miss" | "MISS") => self.hit = Some(!yes),
                _ => {}
            },
            Meaning::Rows => self.hit = self.hit.or(value.as_int().map(|n| n > 0)),
            Meaning::Idle => self.idle = u64::try_from(int()).unwrap_or(0),
            Meaning::Composite => self.composite = u32::try_from(int()).unwrap_or(0),
            Meaning::Resend => self.resend = int() > 0,
            Meaning::Port => self.port = u16::try_from(int()).unwrap_or(0),
            Meaning::Line => self.line = u32::try_from(int()).unwrap_or(0),
            Meaning::Sampler => self.sampler = !matches!(value.as_str(), None | Some("const")),
            Meaning::Queued(unit) => self.queued = self.queued.max(time_in_queue(unit, value)),
            Meaning::Text(..) | Meaning::Thread | Meaning::Parameter | Meaning::Told | Meaning::Nothing => {}
        }
    }

    /// The route without its method, where it is nothing but the request's path: a framework that knows no template gives that.
    pub fn route_is_path(&self) -> Option<&'a str> {
        let (route, path) = (self.text(Text::Route), self.text(Text::Path));
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let alone = route.strip_prefix(self.text(Text::Method)).map_or(route, str::trim_start);
        (!path.is_empty() && alone.trim_end_matches('/') == path.trim_end_matches('/')).then_some(alone)
    }

    /// Addresses and paths that differ from request to request but say nothing about this kind of span would make every
    /// span look new to the memory of classes.
    fn forget_what_cannot_matter(&mut self, kind: SpanKind) {
        let mut forget = |slots: &[Text]| slots.iter().for_each(|s| self.texts[*s as usize] = "");
        match kind {
            SpanKind::Server | SpanKind::Consumer | SpanKind::Internal => {
                forget(&[Text::Url, Text::Host, Text::Address, Text::Socket, Text::Peer]);
            }
            _ => {}
        }
        let told = !self.text(Text::Route).is_empty() || !self.text(Text::UrlTemplate).is_empty();
        if told && self.route_is_path().is_none() {
            self.texts[Text::Path as usize] = "";
        }
        let url = self.text(Text::Url);
        self.texts[Text::Url as usize] = url.split(['?', '#']).next().unwrap_or(url);
    }
}

fn meaning(key: &str) -> Meaning {
    match key {
        "http.response.status_code" | "http.status_code" => Meaning::Status,
        "rpc.grpc.status_code" => Meaning::GrpcStatus,
        "rpc.status_code" | "rpc.response.status_code" => Meaning::RpcStatus,
        "http.request.resend_count" | "http.resend_count" => Meaning::Resend,
        "server.port" | "net.peer.port" => Meaning::Port,
        "code.line.number" | "code.lineno" => Meaning::Line,
        "sampler.type" => Meaning::Sampler,
        "error.type" | "exception.type" => Meaning::ErrorType,
        "faas.coldstart" => Meaning::Cold,
        "cache.hit" | "db.cache.hit" => Meaning::Hit(true),
        "cache.miss" => Meaning::Hit(false),
        "db.response.returned_rows" => Meaning::Rows,
        "thread.name" => Meaning::Thread,
        "idle_ns" => Meaning::Idle,
        "busy_ns" => Meaning::Nothing,
        "composite.count" | "span.composite.count" | "aggregation.span_count" => Meaning::Composite,
        "db.statement.parameters" | "db.sql.parameters" | "db.params" => Meaning::Parameter,
        _ if key.starts_with("db.query.parameter.") => Meaning::Parameter,
        _ => match text_slot(key) {
            Some((slot, stable)) => Meaning::Text(slot, stable),
            None => match queue_unit(key) {
                Some(unit) => Meaning::Queued(unit),
                None if is_defined(key) => Meaning::Nothing,
                None => Meaning::Told,
            },
        },
    }
}

/// Whether conventions or instrumentations define an attribute. Those of a user, a tenant, a session and a feature flag are defined,
/// too, but say what makes requests differ.
fn is_defined(key: &str) -> bool {
    const NAMESPACES: [&str; 52] = [
        "http",
        "url",
        "net",
        "network",
        "server",
        "client",
        "source",
        "destination",
        "db",
        "rpc",
        "grpc",
        "messaging",
        "code",
        "thread",
        "otel",
        "telemetry",
        "service",
        "host",
        "process",
        "os",
        "container",
        "k8s",
        "cloud",
        "exception",
        "error",
        "event",
        "peer",
        "user_agent",
        "faas",
        "asgi",
        "wsgi",
        "aws",
        "azure",
        "gcp",
        "sampler",
        "sampling",
        "internal",
        "span",
        "graphql",
        "gen_ai",
        "tls",
        "dns",
        "cache",
        "redis",
        "express",
        "koa",
        "fastify",
        "hapi",
        "nestjs",
        "jvm",
        "hotspan",
        "composite",
    ];
    let (namespace, rest) = key.split_once('.').unwrap_or((key, ""));
    NAMESPACES.contains(&namespace)
        || (rest.is_empty() && matches!(key, "component" | "type" | "kind" | "method" | "status"))
}

/// Which text an attribute gives, and whether that is its stable (or most specific) name.
fn text_slot(key: &str) -> Option<(Text, bool)> {
    let (namespace, _) = key.split_once('.')?;
    Some(match namespace {
        "http" | "url" => match key {
            "http.request.method" => (Text::Method, true),
            "http.method" => (Text::Method, false),
            "http.route" => (Text::Route, true),
            "url.template" => (Text::UrlTemplate, true),
            "url.full" => (Text::Url, true),
            "http.url" => (Text::Url, false),
            "url.path" => (Text::Path, true),
            "http.target" | "http.path" => (Text::Path, false),
            "http.host" => (Text::Host, true),
            _ => return None,
        },
        "server" | "net" | "network" | "peer" | "service" => match key {
            "server.address" => (Text::Address, true),
            "net.peer.name" => (Text::Address, false),
            "network.peer.address" => (Text::Socket, true),
            "net.sock.peer.addr" | "net.peer.ip" | "peer.ipv4" | "peer.ipv6" => (Text::Socket, false),
            "service.peer.name" => (Text::Peer, true),
            "peer.service" => (Text::Peer, false),
            "peer.hostname" | "peer.address" => (Text::Address, false),
            _ => return None,
        },
        "db" => match key {
            "db.system.name" => (Text::DbSystem, true),
            "db.system" | "db.type" => (Text::DbSystem, false),
            "db.query.text" => (Text::DbQuery, true),
            "db.statement" => (Text::DbQuery, false),
            "db.operation.name" => (Text::DbOperation, true),
            "db.operation" => (Text::DbOperation, false),
            "db.collection.name" => (Text::DbCollection, true),
            "db.sql.table"
            | "db.mongodb.collection"
            | "db.cassandra.table"
            | "db.cosmosdb.container"
            | "db.elasticsearch.path_parts.index" => (Text::DbCollection, false),
            "db.namespace" => (Text::DbNamespace, true),
            "db.name" | "db.redis.database_index" | "db.instance" => (Text::DbNamespace, false),
            "db.query.summary" => (Text::DbSummary, true),
            "db.stored_procedure.name" => (Text::DbProcedure, true),
            _ => return None,
        },
        "rpc" => match key {
            "rpc.system.name" => (Text::RpcSystem, true),
            "rpc.system" => (Text::RpcSystem, false),
            "rpc.service" => (Text::RpcService, true),
            "rpc.method" => (Text::RpcMethod, true),
            _ => return None,
        },
        "messaging" => match key {
            "messaging.system" => (Text::MessagingSystem, true),
            "messaging.operation.type" => (Text::MessagingOperation, true),
            "messaging.operation" | "messaging.operation.name" => (Text::MessagingOperation, false),
            "messaging.destination.template" => (Text::Destination, true),
            "messaging.destination.name"
            | "messaging.destination"
            | "messaging.kafka.topic"
            | "messaging.url"
            | "messaging.rabbitmq.destination.routing_key" => (Text::Destination, false),
            _ => return None,
        },
        // OpenTracing's names, and Zipkin's.
        "message_bus" if key == "message_bus.destination" => (Text::Destination, false),
        "sql" if key == "sql.query" => (Text::DbQuery, false),
        "faas" => match key {
            "faas.invoked_name" => (Text::Invoked, true),
            _ => return None,
        },
        "aws" => match key {
            "aws.s3.bucket" => (Text::Bucket, true),
            "aws.dynamodb.table_names" | "aws.table.name" => (Text::DbCollection, false),
            "aws.sqs.queue.url" | "aws.queue_url" | "aws.sns.topic.arn" | "aws.kinesis.stream_name" => {
                (Text::Destination, false)
            }
            "aws.lambda.resource_mapping.id" => (Text::Invoked, false),
            _ => return None,
        },
        "az" | "azure" => match key {
            "azure.resource_provider.namespace" => (Text::AzureNamespace, true),
            "az.namespace" => (Text::AzureNamespace, false),
            _ => return None,
        },
        "graphql" => match key {
            "graphql.operation.name" => (Text::GraphqlName, true),
            "graphql.operation.type" => (Text::GraphqlType, true),
            // Spring for GraphQL, before its 1.4.3.
            "graphql.operation" => (Text::GraphqlName, false),
            "graphql.field.path" => (Text::GraphqlField, true),
            "graphql.path" => (Text::GraphqlField, false),
            _ => return None,
        },
        "gen_ai" => match key {
            "gen_ai.provider.name" => (Text::GenAiSystem, true),
            "gen_ai.system" => (Text::GenAiSystem, false),
            "gen_ai.operation.name" => (Text::GenAiOperation, true),
            "gen_ai.request.model" => (Text::GenAiModel, true),
            "gen_ai.tool.name" | "gen_ai.agent.name" => (Text::GenAiTool, true),
            _ => return None,
        },
        "code" => match key {
            "code.function.name" => (Text::CodeFunction, true),
            "code.function" => (Text::CodeFunction, false),
            "code.namespace" => (Text::CodeNamespace, true),
            "code.file.path" => (Text::CodeFile, true),
            "code.filepath" => (Text::CodeFile, false),
            _ => return None,
        },
        _ => return None,
    })
}

/// Whether the name of an error or an exception says that a time limit was reached.
pub(super) fn names_a_timeout(text: &str) -> bool {
    const WORDS: [&str; 6] =
        ["timeout", "timed out", "timedout", "deadline_exceeded", "deadline exceeded", "deadlineexceeded"];
    let text = text.get(..200).unwrap_or(text).to_ascii_lowercase();
    WORDS.iter().any(|w| text.contains(w))
}

/// Whether the type of an error says that the caller did not want to wait for the end: the way in which most of what is asynchronous
/// carries a time limit out (Reactor's `timeout`, `AbortController`, `asyncio.wait_for`, Go's contexts).
fn names_a_cancel(error: &str) -> bool {
    const NAMES: [&str; 7] = [
        "cancelled",
        "canceled",
        "cancellederror",
        "cancellationexception",
        "jobcancellationexception",
        "context canceled",
        "aborterror",
    ];
    let name = error.rsplit(['.', ':', '$']).next().unwrap_or(error).trim();
    NAMES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

/// The hash of parameters with one more; never 0. Their order does not matter.
fn with_parameter(hash: u32, key: &str, value: &Value<'_>) -> u32 {
    let mut one = 0x811C_9DC5u32;
    let mut eat =
        |bytes: &[u8]| bytes.iter().for_each(|b| one = (one ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    eat(key.as_bytes());
    match value {
        Value::Str(text) => eat(text.as_bytes()),
        Value::Int(n) => eat(&n.to_le_bytes()),
        Value::Double(n) => eat(&n.to_bits().to_le_bytes()),
        Value::Bool(b) => eat(&[u8::from(*b)]),
        Value::Bytes(bytes) => eat(bytes),
        Value::Array(list) => list.iter().for_each(|v| eat(&with_parameter(1, "", v).to_le_bytes())),
        Value::Map(_) | Value::Empty => {}
    }
    hash.wrapping_add(one | 1).max(1)
}

/// The unit of an attribute such as `http.client.request.time_in_queue` or `queue_time_ms`, in nanoseconds; 0 where the
/// name gives none; nothing where it is another attribute.
fn queue_unit(key: &str) -> Option<f64> {
    let last = key.rsplit('.').next().unwrap_or(key);
    let (name, unit) = match last.rsplit_once('_') {
        Some((name, "ns")) => (name, 1.0),
        Some((name, "us")) => (name, 1e3),
        Some((name, "ms")) => (name, 1e6),
        Some((name, "s" | "seconds")) => (name, 1e9),
        _ => (last, 0.0),
    };
    let queue = matches!(
        name,
        "time_in_queue" | "queue_time" | "queue_duration" | "queue_wait" | "wait_time" | "queued"
    );
    queue.then_some(unit)
}

/// Nanoseconds in a queue. Without a unit a number is in seconds, as OpenTelemetry has it, and only a fractional one is
/// believed.
fn time_in_queue(unit: f64, value: &Value<'_>) -> u64 {
    let number = match value {
        Value::Int(n) if unit > 0.0 => *n as f64,
        Value::Double(n) => *n,
        _ => return 0,
    };
    let ns = number * if unit > 0.0 { unit } else { 1e9 };
    // A day in a queue is a wrong unit.
    if (0.0..8.64e13).contains(&ns) { ns as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::span;

    #[test]
    fn the_stable_name_wins_in_either_order() {
        let (old, new) = (("http.method", Value::Str("GET")), ("http.request.method", Value::Str("POST")));
        for attributes in [[old.clone(), new.clone()], [new, old]] {
            span("x", SpanKind::Client, &attributes, |s| {
                assert_eq!(Facts::of(s, &mut Keys::default()).text(Text::Method), "POST")
            });
        }
    }

    #[test]
    fn numbers_and_queue_times() {
        let attributes = [
            ("http.status_code", Value::Str("429")),
            ("http.request.resend_count", Value::Int(2)),
            ("server.port", Value::Int(8080)),
            ("http.client.request.time_in_queue", Value::Double(0.25)),
            ("job.queue_time_ms", Value::Int(40)),
            ("wait_time", Value::Int(7)),
        ];
        span("x", SpanKind::Client, &attributes, |s| {
            let f = Facts::of(s, &mut Keys::default());
            assert_eq!(
                (f.status, f.throttled, f.resend, f.port, f.queued),
                (429, true, true, 8080, 250_000_000)
            );
        });
    }
}
