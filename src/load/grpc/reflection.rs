//! Asks services what their messages look like: server reflection, version 1, or v1alpha where that is all there is. Once,
//! before any load. Questions carry the metadata of the steps that need the answer, as far as it is the same each time: who
//! may call may also ask.

use super::frames::{self, Came, Frames};
use super::{GRPC_MESSAGE, GRPC_STATUS, status_in, words_in};
use crate::load::connection::{Connection, Http2};
use crate::load::outgoing::Outgoing;
use crate::load::timer::Timer;
use crate::load::worker::{Setup, keep_time, thread_of};
use crate::load::{StopLevel, thread::Thread};
use crate::record::Phases;
use crate::scenario::{Call, Scenario, Template};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, TE};
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt as _;
use prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

const VERSIONS: [&str; 2] = ["v1", "v1alpha"];
const UNIMPLEMENTED: u16 = 12;
/// Most files that a service describes itself in.
const MOST_FILES: usize = 2_000;

#[derive(Clone, PartialEq, Message)]
struct Question {
    #[prost(oneof = "Asked", tags = "3, 4, 7")]
    asked: Option<Asked>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Asked {
    #[prost(string, tag = "3")]
    File(String),
    #[prost(string, tag = "4")]
    Symbol(String),
    #[prost(string, tag = "7")]
    Services(String),
}

#[derive(Clone, PartialEq, Message)]
struct Reply {
    #[prost(oneof = "Told", tags = "4, 6, 7")]
    told: Option<Told>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Told {
    #[prost(message, tag = "4")]
    Files(FilesReply),
    #[prost(message, tag = "6")]
    Services(ServicesReply),
    #[prost(message, tag = "7")]
    Error(ErrorReply),
}

#[derive(Clone, PartialEq, Message)]
struct FilesReply {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct ServicesReply {
    #[prost(message, repeated, tag = "1")]
    services: Vec<ServiceReply>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceReply {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorReply {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The scenario with every call of gRPC described; services are asked where no file says. Blocks.
///
/// # Errors
/// A sentence that says which service does not say what, and what to do.
pub fn describe(mut setup: Setup) -> Result<Arc<Scenario>, String> {
    let unknown = |call: &Call| matches!(call, Call::Grpc(rpc) if rpc.types.is_none());
    if !setup.scenario.steps.iter().any(|step| unknown(&step.call)) {
        return Ok(setup.scenario);
    }
    // Nobody is to get exchanges of this.
    setup.sink = tokio::sync::mpsc::channel(1).0;
    let thread = std::thread::Builder::new().name("hotspan-reflection".to_string());
    let running = thread.spawn(move || on_thread(&setup));
    let running = running.map_err(|e| format!("services cannot be asked for their methods: {e}"))?;
    running.join().unwrap_or_else(|_| Err("asking services for their methods ended unexpectedly".to_string()))
}

fn on_thread(setup: &Setup) -> Result<Arc<Scenario>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build_local(Default::default());
    let runtime = runtime.map_err(|e| format!("no runtime to ask services: {e}"))?;
    runtime.block_on(async {
        let timer = Timer::best(setup.clock).map_err(|e| format!("no timer to ask services: {e}"))?;
        let begin = setup.clock.now();
        let thread = thread_of(setup, &timer, Vec::new(), begin, begin);
        tokio::task::spawn_local(timer.drive());
        let looking =
            tokio::task::spawn_local(keep_time(Rc::clone(&thread), setup.stop.clone(), StopLevel::Drain));
        let mut scenario = Scenario::clone(&setup.scenario);
        let described = ask_all(&thread, &mut scenario).await;
        looking.abort();
        described.map(|()| Arc::new(scenario))
    })
}

/// Asks each endpoint about all services that steps call there.
async fn ask_all(thread: &Thread, scenario: &mut Scenario) -> Result<(), String> {
    let mut wanted: BTreeMap<usize, (BTreeSet<String>, HeaderMap)> = BTreeMap::new();
    for step in &scenario.steps {
        if let Call::Grpc(rpc) = &step.call
            && rpc.types.is_none()
        {
            let (services, metadata) = wanted.entry(step.endpoint).or_default();
            services.insert(rpc.service.clone());
            add_fixed(&step.headers, metadata);
        }
    }
    for (endpoint, (services, metadata)) in wanted {
        let origin = scenario.endpoints[endpoint].origin();
        let pool = ask(thread, endpoint, &origin, &services, metadata).await?;
        for step in scenario.steps.iter_mut().filter(|step| step.endpoint == endpoint) {
            if let Call::Grpc(rpc) = &mut step.call
                && rpc.types.is_none()
            {
                rpc.types = Some(method(&pool, &rpc.service, &rpc.method, &origin)?);
            }
        }
    }
    Ok(())
}

/// Adds what is the same in each request; of several values the first.
fn add_fixed(headers: &[(HeaderName, Template)], metadata: &mut HeaderMap) {
    for (name, value) in headers {
        let revealed = value.revealed();
        let Some(value) = revealed.as_static() else { continue };
        if let (false, Ok(mut value)) = (metadata.contains_key(name), HeaderValue::from_str(value)) {
            value.set_sensitive(true);
            metadata.insert(name.clone(), value);
        }
    }
}

fn method(
    pool: &DescriptorPool,
    service: &str,
    method: &str,
    origin: &str,
) -> Result<MethodDescriptor, String> {
    let service =
        pool.get_service_by_name(service).ok_or_else(|| format!("{origin} does not describe {service}"))?;
    service.methods().find(|m| m.name() == method).ok_or_else(|| {
        let known: Vec<String> = service.methods().map(|m| m.name().to_string()).collect();
        format!("{} at {origin} has no method `{method}`; it has {}", service.full_name(), known.join(", "))
    })
}

/// One service's side of the asking.
struct Peer<'a> {
    thread: &'a Thread,
    origin: &'a str,
    connection: Http2,
    version: &'static str,
    metadata: HeaderMap,
}

async fn ask(
    thread: &Thread,
    endpoint: usize,
    origin: &str,
    services: &BTreeSet<String>,
    metadata: HeaderMap,
) -> Result<DescriptorPool, String> {
    let flight = thread.flights.slot();
    let mut phases = Phases::default();
    let connection = thread.dialer.dial(endpoint, None, &flight, &mut phases, &thread.words).await;
    let connection = match connection {
        Ok(Connection::Http2(connection)) => connection,
        Ok(Connection::Http1(_)) => return Err(format!("{origin} does not speak HTTP/2, which gRPC needs")),
        Err(failure) => return Err(format!("{origin} cannot be asked for its methods: {}", failure.message)),
    };
    let mut peer = Peer { thread, origin, connection, version: VERSIONS[0], metadata };
    let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
    for service in services {
        match peer.question(Asked::Symbol(service.clone())).await? {
            Told::Files(told) => take(&told, &mut files, origin)?,
            Told::Error(error) => return Err(peer.no_service(service, &error).await),
            Told::Services(_) => return Err(format!("{origin} answered another question than was asked")),
        }
    }
    // Some services give what a file imports with it, others do not.
    let own = DescriptorPool::global();
    loop {
        let lacking =
            files.values().flat_map(|file| &file.dependency).find(|name| !files.contains_key(*name)).cloned();
        let Some(name) = lacking else { break };
        if files.len() > MOST_FILES {
            return Err(format!("{origin} describes itself in more than {MOST_FILES} files"));
        }
        match peer.question(Asked::File(name.clone())).await? {
            Told::Files(told) => take(&told, &mut files, origin)?,
            _ => {
                if let Some(file) = own.get_file_by_name(&name) {
                    files.insert(name.clone(), file.file_descriptor_proto().clone());
                }
            }
        }
        if !files.contains_key(&name) {
            return Err(format!(
                "{origin} does not describe {name}, which its own files import: name descriptors with `grpc: {{protoset: …}}`"
            ));
        }
    }
    let mut pool = DescriptorPool::new();
    pool.add_file_descriptor_protos(files.into_values())
        .map_err(|e| format!("{origin} describes itself in a way that does not fit together: {e}"))?;
    Ok(pool)
}

fn take(
    told: &FilesReply,
    files: &mut BTreeMap<String, FileDescriptorProto>,
    origin: &str,
) -> Result<(), String> {
    for bytes in &told.files {
        let file = FileDescriptorProto::decode(&bytes[..])
            .map_err(|e| format!("{origin} sent a description that cannot be read: {e}"))?;
        files.insert(file.name().to_string(), file);
    }
    Ok(())
}

impl Peer<'_> {
    /// Asks in the newest version that the service knows.
    async fn question(&mut self, asked: Asked) -> Result<Told, String> {
        loop {
            let (status, words, told) = self.once(&asked).await?;
            match told {
                Some(told) => return Ok(told),
                None if status == Some(UNIMPLEMENTED) && self.version == VERSIONS[0] => {
                    self.version = VERSIONS[1];
                }
                None => {
                    let why = match status {
                        Some(UNIMPLEMENTED) => "it does not offer server reflection".to_string(),
                        Some(status) => {
                            let name = crate::record::grpc_status_name(status);
                            format!("{name} {}", words.unwrap_or_default())
                        }
                        None => "no answer".to_string(),
                    };
                    return Err(format!(
                        "{} cannot be asked for its methods ({}): name descriptors with `grpc: {{protoset: FILE}}` or `grpc: {{proto: FILE}}`",
                        self.origin,
                        why.trim()
                    ));
                }
            }
        }
    }

    async fn once(&mut self, asked: &Asked) -> Result<(Option<u16>, Option<String>, Option<Told>), String> {
        let unanswered = |why: String| format!("{} cannot be asked for its methods: {why}", self.origin);
        let mut body = Vec::new();
        frames::put(&Question { asked: Some(asked.clone()) }.encode_to_vec(), &mut body);
        let request = self.request(body.into())?;
        let limit = self.thread.scenario.timeouts.request;
        let flight = self.thread.flights.slot();
        flight.begin(self.thread.clock.now() + limit);
        let late = |_| unanswered(format!("no answer within {limit}"));
        let response = self.connection.clone().send(request, &flight).await.map_err(late)?;
        let response = response.map_err(|e| unanswered(e.error().to_string()))?;
        let (head, incoming) = response.into_parts();
        if head.status != 200 {
            return Err(unanswered(format!("HTTP status {}", head.status.as_u16())));
        }
        let whole = http_body_util::Limited::new(incoming, frames::MOST).collect();
        let whole = flight.guard(whole).await.map_err(late)?.map_err(|e| unanswered(e.to_string()))?;
        let trailers: HeaderMap = whole.trailers().cloned().unwrap_or_default();
        let said = if trailers.contains_key(&GRPC_STATUS) { &trailers } else { &head.headers };
        let words = said.get(&GRPC_MESSAGE).and_then(|_| words_in(said));
        let mut frames = Frames::new(true);
        frames.take(&whole.to_bytes());
        let told = match frames.next().map_err(unanswered)? {
            Came::Message(Some(message)) => {
                Reply::decode(&message[..]).map_err(|e| unanswered(e.to_string()))?.told
            }
            _ => None,
        };
        Ok((status_in(said), words, told))
    }

    fn request(&self, body: Bytes) -> Result<Request<Outgoing>, String> {
        let uri =
            format!("{}/grpc.reflection.{}.ServerReflection/ServerReflectionInfo", self.origin, self.version);
        let mut request = Request::new(Outgoing::from(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri.parse().map_err(|e| format!("{uri}: {e}"))?;
        *request.headers_mut() = self.metadata.clone();
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
        Ok(request)
    }

    /// Why a service is not described, with those that are.
    async fn no_service(&mut self, service: &str, error: &ErrorReply) -> String {
        let known = match self.question(Asked::Services(String::new())).await {
            Ok(Told::Services(told)) => told.services.into_iter().map(|s| s.name).collect(),
            _ => Vec::new(),
        };
        let own: Vec<String> = known.into_iter().filter(|name| !name.starts_with("grpc.")).collect();
        match own.is_empty() {
            true => format!("{} does not describe {service}: {}", self.origin, error.message),
            false => format!("{} has no service {service}; it has {}", self.origin, own.join(", ")),
        }
    }
}
