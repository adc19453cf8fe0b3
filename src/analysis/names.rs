//! Everything that has a name, once: services, hosts, contributors and operations by number.
//!
//! Numbers depend on the order of arrival and never leave this room; whatever must not depend on it compares the names.

use super::facts::Facts;
use super::result::{Category, Contributor};
use super::semantics::{self, Class, Data};
use crate::record::{Resource, Span, SpanKind};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

/// Contributors that need no span, by their fixed numbers.
pub(super) mod own {
    pub const GENERATOR: u32 = 0;
    pub const WAIT: u32 = 1;
    pub const DNS: u32 = 2;
    pub const TCP: u32 = 3;
    pub const TLS: u32 = 4;
    pub const READY: u32 = 5;
    pub const TRANSFER: u32 = 6;
    pub const UNTRACED: u32 = 7;
    /// All connection phases together.
    pub const CONNECTION: u32 = 8;
}

/// No number.
pub(super) const NONE: u32 = u32::MAX;

/// A classified span is remembered by a fingerprint of what classified it; more than this many are forgotten at once, so
/// that statements with literals in them cannot fill the memory.
const MEMO_LIMIT: usize = 200_000;

/// A hasher for keys that are well mixed already.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let (lanes, rest) = bytes.as_chunks::<8>();
        lanes.iter().for_each(|lane| self.write_u64(u64::from_le_bytes(*lane)));
        if !rest.is_empty() {
            self.write_u64(padded(rest));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.0 ^= u64::from(n) << 56;
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = fold(self.0 ^ n, 0x9E37_79B9_7F4A_7C15);
    }
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
}

pub(super) type MixedMap<K, V> = HashMap<K, V, BuildHasherDefault<Mixed>>;

fn fold(a: u64, b: u64) -> u64 {
    let wide = u128::from(a) * u128::from(b);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Up to eight bytes as a number.
fn padded(bytes: &[u8]) -> u64 {
    let mut lane = [0; 8];
    lane[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(lane)
}

/// A 128-bit hash of texts: a collision is less likely than a fault of the memory.
struct Fingerprint(u64, u64);

impl Fingerprint {
    fn mix(&mut self, a: u64, b: u64) {
        let wide = u128::from(self.0 ^ a) * u128::from(self.1 ^ b ^ 0x9E37_79B9_7F4A_7C15);
        let (low, high) = (wide as u64, (wide >> 64) as u64);
        // What went in goes on as well, so that a factor of zero does not forget it.
        (self.0, self.1) = (low ^ self.1.rotate_left(23) ^ b, high.wrapping_add(self.0.rotate_left(41)) ^ a);
    }

    fn add(&mut self, mark: u64, text: &str) {
        self.mix(mark, text.len() as u64);
        let (pairs, rest) = text.as_bytes().as_chunks::<16>();
        for pair in pairs {
            self.mix(padded(&pair[..8]), padded(&pair[8..]));
        }
        if !rest.is_empty() {
            let (a, b) = rest.split_at(rest.len().min(8));
            self.mix(padded(a), padded(b));
        }
    }

    fn key(&self) -> u128 {
        u128::from(self.0) << 64 | u128::from(fold(self.0, self.1 | 1))
    }
}

/// Attributes of a process that slow requests may have in common, besides which process it is.
const TOLD: [&str; 8] = [
    "service.version",
    "deployment.environment.name",
    "cloud.region",
    "cloud.availability_zone",
    "k8s.cluster.name",
    "k8s.node.name",
    "host.type",
    "process.runtime.version",
];

/// A process's marks of the clock that it uses, and what else it says of itself; string numbers, 0 where not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Host {
    id: u32,
    name: u32,
    instance: u32,
    told: [u32; TOLD.len()],
}

/// A server operation.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Op {
    pub service: u32,
    pub name: u32,
    pub kind: SpanKind,
    pub category: Category,
}

/// What is remembered of a class.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub owner: u32,
    pub op: u32,
    pub peer: u32,
    pub data: Data,
}

/// Who recorded a span.
#[derive(Clone, Copy)]
pub(super) struct Origin {
    pub service: u32,
    pub host: u32,
}

/// The tables.
pub(super) struct Names {
    texts: Vec<Arc<str>>,
    text_ids: HashMap<Arc<str>, u32>,
    contributors: Vec<Contributor>,
    /// Category by contributor's number: asked for several times for every span.
    categories: Vec<Category>,
    /// Whether a contributor is the reading of a statement's rows, by its number.
    reads_rows: Vec<bool>,
    contributor_ids: HashMap<Contributor, u32>,
    groups: Vec<u32>,
    /// Whether a group has members besides itself.
    shared: Vec<bool>,
    ops: Vec<Op>,
    op_ids: HashMap<Op, u32>,
    hosts: Vec<Host>,
    host_ids: HashMap<Host, u32>,
    event_loops: HashMap<(u32, u32), u32>,
    memo: MixedMap<u128, Known>,
    networks: MixedMap<u64, u32>,
    retries: MixedMap<u64, u32>,
    queues: MixedMap<u64, u32>,
    /// Owner and operation of a server's span by the operation of GraphQL that it carries out.
    within: HashMap<(u32, u32, u32), (u32, u32)>,
    /// Spans come in batches of one process: who recorded the last one likely recorded the next.
    last_origin: Option<([u32; 4 + TOLD.len()], Origin)>,
    /// No load was made: the exchanges stand for root spans.
    pub roots_are_spans: bool,
    /// The service that is asked is on the client's machine, or in a container of it.
    pub on_this_machine: bool,
}

/// Between the name of an instance and that of one of its event loops.
const LOOP: &str = " event loop ";

/// The instance that an event loop of several is part of; an instance is its own.
pub(super) fn whole_instance(instance: &str) -> &str {
    instance.split(LOOP).next().unwrap_or(instance)
}

impl Names {
    pub fn new(client_host: &str) -> Names {
        let mut names = Names {
            texts: vec![Arc::from("")],
            text_ids: HashMap::from([(Arc::from(""), 0)]),
            contributors: Vec::new(),
            categories: Vec::new(),
            reads_rows: Vec::new(),
            contributor_ids: HashMap::new(),
            groups: Vec::new(),
            shared: Vec::new(),
            ops: Vec::new(),
            op_ids: HashMap::new(),
            hosts: Vec::new(),
            host_ids: HashMap::new(),
            event_loops: HashMap::new(),
            memo: MixedMap::default(),
            networks: MixedMap::default(),
            retries: MixedMap::default(),
            queues: MixedMap::default(),
            within: HashMap::new(),
            last_origin: None,
            roots_are_spans: false,
            on_this_machine: false,
        };
        for (category, name) in [
            (Category::Generator, "schedule delay"),
            (Category::Connection, "wait for a connection"),
            (Category::Connection, "DNS lookup"),
            (Category::Connection, "TCP connect"),
            (Category::Connection, "TLS handshake"),
            (Category::Connection, "connection ready"),
            (Category::Transfer, "answer body"),
            (Category::Untraced, "no server span"),
            (Category::Connection, "opening connections"),
        ] {
            names.contributor(category, 0, "", name, "");
        }
        names.groups[own::WAIT as usize..=own::READY as usize].fill(own::CONNECTION);
        names.shared[own::CONNECTION as usize] = true;
        // Operation 0 and contributor 0 stand for "of no matter" where only intervals count.
        names.op(Op { service: 0, name: 0, kind: SpanKind::Unspecified, category: Category::App });
        let name = names.text(client_host);
        // Host 0 is the client's own.
        names.host(Host { name, ..Host::default() });
        names
    }

    /// The number of a text.
    pub fn text(&mut self, text: &str) -> u32 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let id = self.texts.len() as u32;
        let text: Arc<str> = Arc::from(text);
        self.texts.push(text.clone());
        self.text_ids.insert(text, id);
        id
    }

    /// The text of a number.
    pub fn str(&self, id: u32) -> &Arc<str> {
        &self.texts[id as usize]
    }

    fn host(&mut self, host: Host) -> u32 {
        if let Some(id) = self.host_ids.get(&host) {
            return *id;
        }
        let id = self.hosts.len() as u32;
        self.hosts.push(host);
        self.host_ids.insert(host, id);
        id
    }

    /// Service and host of a resource.
    pub fn origin(&mut self, resource: &Resource<'_>) -> Origin {
        let mut marks = [""; 4 + TOLD.len()];
        for attribute in &resource.attributes {
            let slot = match attribute.key {
                "service.name" => 0,
                "host.id" => 1,
                "host.name" => 2,
                "service.instance.id" => 3,
                key => match TOLD.iter().position(|told| *told == key) {
                    Some(at) => 4 + at,
                    None => continue,
                },
            };
            marks[slot] = attribute.value.as_str().unwrap_or_default();
        }
        if let Some((last, origin)) = &self.last_origin
            && last.iter().zip(marks).all(|(id, mark)| *self.texts[*id as usize] == *mark)
        {
            return *origin;
        }
        let marks = marks.map(|mark| self.text(mark));
        let mut told = [0; TOLD.len()];
        told.copy_from_slice(&marks[4..]);
        let host = self.host(Host { id: marks[1], name: marks[2], instance: marks[3], told });
        let origin = Origin { service: marks[0], host };
        self.last_origin = Some((marks, origin));
        origin
    }

    /// Whether two hosts share a clock; `None` where their marks do not tell.
    pub fn same_clock(&self, a: u32, b: u32) -> Option<bool> {
        let (a, b) = (&self.hosts[a as usize], &self.hosts[b as usize]);
        [(a.id, b.id), (a.name, b.name), (a.instance, b.instance)]
            .into_iter()
            .find(|(a, b)| *a != 0 && *b != 0)
            .map(|(a, b)| a == b)
    }

    /// What tells the instances of a service apart: its instance id, else the host's name or id; empty where unknown.
    pub fn instance(&self, host: u32) -> &Arc<str> {
        let Host { id, name, instance, .. } = self.hosts[host as usize];
        let mark = [instance, name, id].into_iter().find(|m| *m != 0).unwrap_or(0);
        self.str(mark)
    }

    /// One of the event loops of a process, by the name of its thread, as a host of its own: what is told of a process that has one
    /// loop holds for each of several.
    pub fn event_loop(&mut self, host: u32, thread: &str) -> u32 {
        let thread = self.text(thread);
        if let Some(id) = self.event_loops.get(&(host, thread)) {
            return *id;
        }
        let name = format!("{}{LOOP}{}", self.instance(host), self.str(thread));
        let instance = self.text(&name);
        let id = self.host(Host { instance, ..self.hosts[host as usize] });
        self.event_loops.insert((host, thread), id);
        id
    }

    /// What a process says of itself: which attribute, and the number of its value.
    pub fn told(&self, host: u32) -> impl Iterator<Item = (u8, u32)> + '_ {
        let told = self.hosts[host as usize].told.iter().enumerate();
        told.filter(|(_, value)| **value != 0).map(|(key, value)| (key as u8, *value))
    }

    /// The name of an attribute that [`Names::told`] gave.
    pub fn told_key(key: u8) -> &'static str {
        TOLD.get(usize::from(key)).copied().unwrap_or_default()
    }

    /// Owner, operation and peer of a span.
    pub fn class(&mut self, origin: Origin, span: &Span<'_>, facts: &Facts<'_>) -> Known {
        let mut print = Fingerprint(0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344);
        let numbers = u64::from(facts.port) << 32 | u64::from(facts.line);
        print.mix(u64::from(origin.service) << 8 | span.kind as u64, numbers);
        print.add(u64::MAX, span.name);
        for (slot, text) in facts.texts().iter().enumerate() {
            if !text.is_empty() {
                print.add(slot as u64, text);
            }
        }
        let key = print.key();
        if let Some(known) = self.memo.get(&key) {
            return *known;
        }
        let class = semantics::classify(span.kind, span.name, facts);
        let known = self.learn(origin.service, span.kind, &class);
        if self.memo.len() >= MEMO_LIMIT {
            self.memo.clear();
        }
        self.memo.insert(key, known);
        known
    }

    fn learn(&mut self, service: u32, kind: SpanKind, class: &Class) -> Known {
        let owner = self.contributor(class.category, service, &class.system, &class.name, &class.code);
        let name = self.text(&class.operation);
        let op = self.op(Op { service, name, kind, category: class.category });
        Known { owner, op, peer: self.text(&class.peer), data: class.data }
    }

    /// Owner and operation of a span whose kind was missing, once the tree shows that it is its service's entry.
    pub fn entry_class(&mut self, owner: u32, op: u32) -> (u32, u32) {
        let Op { service, name, kind, category } = self.ops[op as usize];
        if category == Category::App {
            return (owner, op);
        }
        let class = semantics::as_entry(&Class {
            category,
            system: String::new(),
            name: String::new(),
            code: self.contributors[owner as usize].code.to_string(),
            operation: self.str(name).to_string(),
            peer: String::new(),
            data: Data::default(),
        });
        let known = self.learn(service, kind, &class);
        (known.owner, known.op)
    }

    /// Owner and operation of a server's span that carries out an operation of GraphQL (the text of a number): all of them go to
    /// one endpoint, so that its route alone does not tell which code runs.
    pub fn carrying_out(&mut self, owner: u32, op: u32, operation: u32) -> (u32, u32) {
        let key = (owner, op, operation);
        if let Some(known) = self.within.get(&key) {
            return *known;
        }
        let Op { service, name, kind, category } = self.ops[op as usize];
        let (named, operation) = (self.str(name).clone(), self.str(operation).clone());
        let known = if named.ends_with(&*operation) {
            (owner, op)
        } else {
            let name = format!("{named} {operation}");
            let code = self.contributors[owner as usize].code.clone();
            let owner = self.contributor(category, service, "", &name, &code);
            let name = self.text(&name);
            (owner, self.op(Op { service, name, kind, category }))
        };
        self.within.insert(key, known);
        known
    }

    fn op(&mut self, op: Op) -> u32 {
        if let Some(id) = self.op_ids.get(&op) {
            return *id;
        }
        let id = self.ops.len() as u32;
        self.ops.push(op);
        self.op_ids.insert(op, id);
        id
    }

    /// The number of a contributor, and of the group that it belongs to.
    fn contributor(&mut self, category: Category, service: u32, system: &str, name: &str, code: &str) -> u32 {
        let mut shared = |text: &str| {
            let id = self.text(text);
            self.texts[id as usize].clone()
        };
        let (system, name, code) = (shared(system), shared(name), shared(code));
        let service = self.texts[service as usize].clone();
        let contributor = Contributor { category, service, system, name, code };
        if let Some(id) = self.contributor_ids.get(&contributor) {
            return *id;
        }
        let id = self.contributors.len() as u32;
        self.contributors.push(contributor.clone());
        self.categories.push(category);
        self.reads_rows.push(category == Category::Database && &*contributor.name == ROWS);
        self.shared.push(false);
        self.contributor_ids.insert(contributor.clone(), id);
        self.groups.push(if grouped(category) { id } else { NONE });
        if grouped(category) && !contributor.code.is_empty() {
            let whole = Contributor { code: self.texts[0].clone(), ..contributor };
            let service = self.text(&whole.service.clone());
            let group = self.contributor(category, service, &whole.system.clone(), &whole.name.clone(), "");
            self.groups[id as usize] = group;
            self.shared[group as usize] = true;
        }
        id
    }

    /// The contributor of a number.
    pub fn who(&self, id: u32) -> &Contributor {
        &self.contributors[id as usize]
    }

    /// What kind of owner a contributor is.
    pub fn category(&self, id: u32) -> Category {
        self.categories[id as usize]
    }

    /// Whether a contributor is the reading of a statement's rows, which it does not name.
    pub fn reads_rows(&self, id: u32) -> bool {
        self.reads_rows[id as usize]
    }

    /// Whether a group has members besides itself. Once the spans have come this changes no more.
    pub fn is_shared(&self, group: u32) -> bool {
        self.shared[group as usize]
    }

    /// The group of a contributor: the same work wherever in the code it is done. [`NONE`] for work that stands alone.
    pub fn group(&self, id: u32) -> u32 {
        self.groups[id as usize]
    }

    /// Whether its time is the own time of spans that it owns: not the client's phases, nor a wait between two spans.
    pub fn has_spans(&self, id: u32) -> bool {
        let who = self.who(id);
        let between = who.category == Category::Queue
            && (who.name.starts_with(RETRY_WAIT) || who.name.starts_with(TIME_IN_QUEUE));
        let of_client = who.service.is_empty() && who.category == Category::Network;
        id > own::CONNECTION && !between && !of_client
    }

    /// The operation of a number.
    pub fn operation(&self, id: u32) -> &Op {
        &self.ops[id as usize]
    }

    /// Time between the client and the service that it reaches.
    pub fn network_of_client(&mut self, callee: u32) -> u32 {
        let key = u64::from(NONE) << 32 | u64::from(callee);
        if let Some(id) = self.networks.get(&key) {
            return *id;
        }
        let name = format!("client{ARROW}{}", unnamed(self.str(callee)));
        let id = self.contributor(Category::Network, 0, "", &name, "");
        self.networks.insert(key, id);
        id
    }

    /// Time between a service and an operation of another traced service that it calls.
    pub fn network(&mut self, caller: u32, callee_op: u32) -> u32 {
        let key = u64::from(caller) << 32 | u64::from(callee_op);
        if let Some(id) = self.networks.get(&key) {
            return *id;
        }
        let Op { service, name, .. } = self.ops[callee_op as usize];
        let [from, to, name] = [caller, service, name].map(|id| unnamed(self.str(id)));
        let name = format!("{from}{ARROW}{to} {name}");
        let id = self.contributor(Category::Network, caller, "", &name, "");
        self.networks.insert(key, id);
        id
    }

    /// Whether a contributor is a request to a peer, traced or not.
    pub fn is_a_request(&self, owner: u32) -> bool {
        matches!(self.category(owner), Category::External | Category::Network)
    }

    /// Waiting of a service until a peer may be asked again; `call` is the owner of the call that was refused with "not now"
    /// or failed.
    pub fn retry_wait(&mut self, service: u32, peer: u32, call: u32, not_now: bool) -> u32 {
        let key = u64::from(service) << 33 | u64::from(call) << 1 | u64::from(not_now);
        if let Some(id) = self.retries.get(&key) {
            return *id;
        }
        let call = self.who(call);
        let what = if call.category == Category::Network { self.str(peer) } else { &call.name };
        let name = format!("{}{what}", if not_now { RETRY_WAIT } else { FAILURE_WAIT });
        let id = self.contributor(Category::Queue, service, "", &name, "");
        self.retries.insert(key, id);
        id
    }

    /// Time in a queue that an attribute of this operation gives.
    pub fn time_in_queue(&mut self, op: u32) -> u32 {
        if let Some(id) = self.queues.get(&u64::from(op)) {
            return *id;
        }
        let Op { service, name, .. } = self.ops[op as usize];
        let name = format!("{TIME_IN_QUEUE}{}", self.str(name));
        let id = self.contributor(Category::Queue, service, "", &name, "");
        self.queues.insert(u64::from(op), id);
        id
    }
}

/// What Go's otelsql calls the reading of rows, after the span of the query itself: it has no statement of its own.
pub(super) const ROWS: &str = "sql.rows";
/// How the name of a retry's wait begins.
pub(super) const RETRY_WAIT: &str = "retry wait: ";
/// How the name of a wait after a failure begins.
pub(super) const FAILURE_WAIT: &str = "wait after failure: ";
/// How the name of a queue that only an attribute tells of begins.
const TIME_IN_QUEUE: &str = "time in queue: ";
/// Between caller and callee in the name of a way.
const ARROW: &str = " → ";

/// What a service without a name is called.
pub(super) const UNNAMED: &str = "unknown_service";

fn unnamed(text: &str) -> &str {
    if text.is_empty() { UNNAMED } else { text }
}

/// What a way leads to: a service, and maybe its operation after a space.
pub(super) fn way_to(way: &Contributor) -> &str {
    way.name.split_once(ARROW).map_or("", |(_, to)| to)
}

/// The service that a way leads to.
pub(super) fn callee(way: &Contributor) -> &str {
    way.name.split_once(ARROW).map_or("", |(_, to)| to.split(' ').next().unwrap_or_default())
}

/// Whether the same work from several places in the code belongs together.
fn grouped(category: Category) -> bool {
    use Category::{Cache, Connection, Database, External, Messaging, Queue, Search};
    matches!(category, Connection | Queue | Database | Cache | Search | Messaging | External)
}
