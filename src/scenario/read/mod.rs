//! From what was typed to what is meant: the top level of the file.

mod body;
mod conversation;
mod events;
mod expect;
mod flow;
mod grpc;
mod http_options;
mod journey;
mod load;
mod proxy;
mod request;
mod settings;
mod shape;
mod step;
mod targets;
mod tls_options;
mod trace;
mod value;

use super::address::Address;
use super::data::{Format, SMALL, Table};
use super::error::{Fault, Place, listed, nearest};
use super::flow::{Lifecycle, Think};
use super::http_options::HttpOptions;
use super::mask::{self, Kind};
use super::secret::Secrets;
use super::template::{Locale, Names, TemplateFault};
use super::threshold::Threshold;
use super::types::*;
use super::yaml::{self, Node, Reader, Value, entries};
use super::{Surroundings, quantity};
use crate::record::{Nanos, Propagation, StepInfo};
use settings::{data, default_name, redirects, telemetry, think, timeouts, variables};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
pub(super) use trace::{propagation, propagator, sampling};

const KEYS: &[&str] = &[
    "name",
    "target",
    "load",
    "journeys",
    "targets",
    "steps",
    "thresholds",
    "findings",
    "headers",
    "vars",
    "secrets",
    "locale",
    "data",
    "setup",
    "teardown",
    "on_start",
    "on_stop",
    "on_failure",
    "think",
    "pace",
    "cache",
    "timeouts",
    "http",
    "insecure",
    "http2",
    "follow",
    "trace",
    "telemetry",
    "grpc",
];
const MAX_STEPS: usize = u16::MAX as usize;

/// What the whole reading shares.
struct Context<'a> {
    source: &'a str,
    file: &'a str,
    surroundings: &'a Surroundings<'a>,
    /// In which formats requests carry their trace context: those headers are hotspan's.
    propagation: Propagation,
    secrets: RefCell<Vec<(Range<usize>, Kind)>>,
    tables: RefCell<BTreeMap<String, Arc<Table>>>,
    files: RefCell<BTreeMap<String, bytes::Bytes>>,
}

impl Context<'_> {
    fn secret(&self, node: &Node, kind: Kind) {
        if matches!(node.value, Value::Text(_) | Value::Int(_) | Value::Float(_)) {
            self.secrets.borrow_mut().push((node.bytes.clone(), kind));
        }
    }

    /// The place of the n-th character of a scalar's text, as far as the source shows it on one line.
    fn place_within(&self, node: &Node, text: &str, at: usize) -> Place {
        let raw = self.source.get(node.bytes.clone()).unwrap_or_default();
        let quote = usize::from(raw.starts_with(['"', '\'']));
        let before: String = text.chars().take(at).collect();
        if raw.get(quote..).is_some_and(|inside| inside.starts_with(&before)) && !before.contains('\n') {
            Place { line: node.place.line, column: node.place.column + quote + at }
        } else {
            node.place
        }
    }

    fn template_fault(&self, node: &Node, text: &str, offset: usize, fault: TemplateFault) -> Fault {
        Fault::new(self.place_within(node, text, offset + fault.at), fault.message)
    }

    /// The text of a file beside the scenario.
    fn read(&self, node: &Node, what: &str) -> Result<String, Fault> {
        let name = node.text(self.source, &format!("the name of {what}"))?;
        let path = Path::new(self.file).parent().unwrap_or(Path::new("")).join(&name);
        (self.surroundings.read)(&path)
            .map_err(|e| Fault::new(node.place, format!("{what} {} cannot be read: {e}", path.display())))
    }

    /// The bytes of a file beside the scenario that is sent.
    fn file(&self, node: &Node) -> Result<(String, bytes::Bytes), Fault> {
        use std::io::Read as _;
        /// Larger uploads are possible, but a slip is likelier.
        const MOST: u64 = 1 << 30;
        let name = node.text(self.source, "the name of a file")?;
        let path = Path::new(self.file).parent().unwrap_or(Path::new("")).join(&name);
        let unreadable = |e: std::io::Error| {
            Fault::new(node.place, format!("the file {} cannot be read: {e}", path.display()))
        };
        if let Some(bytes) = self.files.borrow().get(&name) {
            return Ok((name, bytes.clone()));
        }
        let file = (self.surroundings.open)(&path).map_err(unreadable)?;
        let mut bytes = Vec::new();
        file.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MOST {
            return Err(Fault::new(node.place, format!("the file {} is larger than 1 GiB", path.display())));
        }
        let bytes = bytes::Bytes::from(bytes);
        self.files.borrow_mut().insert(name.clone(), bytes.clone());
        Ok((name, bytes))
    }

    /// A data file beside the scenario; read once, however often it is named.
    fn table(&self, node: &Node) -> Result<Arc<Table>, Fault> {
        let name = node.text(self.source, "the name of a data file")?;
        if let Some(table) = self.tables.borrow().get(&name) {
            return Ok(Arc::clone(table));
        }
        let path = Path::new(self.file).parent().unwrap_or(Path::new("")).join(&name);
        let unreadable = |e: std::io::Error| {
            Fault::new(node.place, format!("the data file {} cannot be read: {e}", path.display()))
        };
        let format = Format::of(&name);
        let large = (self.surroundings.open)(&path)
            .ok()
            .filter(|file| file.metadata().is_ok_and(|m| m.is_file() && m.len() > SMALL));
        let table = match large {
            Some(file) => Table::index(file, format),
            None => Table::parse(&(self.surroundings.read)(&path).map_err(unreadable)?, format),
        };
        let table = table.map_err(|e| {
            Fault::new(node.place, format!("the data file {} is not usable: {e}", path.display()))
        })?;
        let table = Arc::new(table);
        self.tables.borrow_mut().insert(name, Arc::clone(&table));
        Ok(table)
    }
}

/// What steps take from the level above them.
#[derive(Clone)]
struct Inherited {
    /// Where steps go that name no target.
    target: usize,
    headers: Vec<(http::HeaderName, super::template::Template)>,
    think: Think,
    on_failure: OnFailure,
    cache: Caching,
    timeouts: Timeouts,
    redirects: Redirects,
}

/// A host that steps may go to, and what they send it.
#[derive(Clone)]
struct Target {
    /// Its name under `targets`; the one under `target` has none.
    name: Option<String>,
    address: Address,
    /// Headers of its own requests, its user info among them.
    headers: Vec<(http::HeaderName, super::template::Template)>,
    /// How connections to it are made.
    http: super::http_options::HttpOptions,
}

/// Reads a scenario's text.
pub(super) fn scenario(source: &str, file: &str, surroundings: &Surroundings) -> Result<Scenario, Fault> {
    let root = yaml::read(source)?;
    if matches!(root.value, Value::Null) || matches!(&root.value, Value::Map(m) if m.is_empty()) {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "the file is empty: a scenario needs at least `target`, `load` and `journeys`",
        ));
    }
    let top = Reader::new(&root, "the scenario", KEYS)?;
    let traced = trace::trace(&top, source)?;
    let context = Context {
        source,
        file,
        surroundings,
        propagation: traced.propagation.unwrap_or_default(),
        secrets: RefCell::default(),
        tables: RefCell::default(),
        files: RefCell::default(),
    };
    let (vars, names) = variables(&top, &context)?;
    let http = http_options::top(&top, &names, &context)?;
    let targets = targets::read(&top, &http, &names, &context)?;
    let first = targets[0].address.clone();
    let timeouts = timeouts(&top, http.first_byte, source)?;
    let headers = request::headers(top.get("headers"), &names, &context)?;
    let think = top.get("think").map(|node| think(node, source)).transpose()?.unwrap_or_default();
    let on_failure =
        top.get("on_failure").map(|n| flow::on_failure(n, source)).transpose()?.unwrap_or_default();
    let cache = if flag(&top, "cache")? { Caching::AsBrowser } else { Caching::Never };
    let redirects = top.get("follow").map(redirects).transpose()?.unwrap_or(Redirects::Answer);
    let inherited = Inherited { target: 0, headers, think, on_failure, cache, timeouts, redirects };
    let endpoints = distinct(targets.iter().map(|t| t.address.endpoint.clone()));
    let of = |endpoint: &Endpoint| targets.iter().find(|t| t.address.endpoint == *endpoint);
    let mut http: Vec<HttpOptions> = endpoints.iter().filter_map(|e| of(e).map(|t| t.http.clone())).collect();
    let mut building =
        Building { endpoints, targets, rpc_types: grpc::types(&top, &context)?, ..Building::default() };
    journey::journeys(&top, &names, &inherited, &context, &mut building)?;
    for (endpoint, version) in building.lanes.take() {
        let (Some(same), Some(options)) = (building.endpoints.get(endpoint), http.get(endpoint)) else {
            continue;
        };
        let (same, options) = (same.clone(), HttpOptions { version, ..options.clone() });
        building.endpoints.push(same);
        http.push(options);
    }
    let (load, own_loads) = load::loads(&top, &building.journeys, &context)?;
    let thresholds = match top.get("thresholds") {
        Some(node) => load::thresholds(node, source, &building.infos())?,
        None => Vec::new(),
    };
    let mut initial = vars;
    initial.resize(building.slots.max(initial.len()), serde_json::Value::Null);
    let name = match top.get("name") {
        Some(node) => load::name(node, source)?,
        None => default_name(file, &first),
    };
    let locale = match top.get("locale") {
        Some(node) => one_of(node, source, &Locale::NAMES)?,
        None => Locale::default(),
    };
    let telemetry = top.get("telemetry").map(|node| telemetry(node, &context)).transpose()?;
    let text = mask::masked_source(source, &context.secrets.borrow());
    Ok(Scenario {
        name,
        target: format!("{}{}", first.endpoint.origin(), first.prefix()),
        endpoints: building.endpoints,
        load,
        own_loads,
        journeys: building.journeys,
        lifecycle: building.lifecycle,
        steps: building.steps,
        thresholds,
        findings: finding_rules(&top, source)?,
        timeouts,
        http,
        trace: traced.scope,
        sampling: traced.sampling,
        propagation: traced.propagation,
        telemetry,
        variables: initial,
        kept: kept_slots(&names),
        locale,
        secrets: Arc::new(Secrets::new(&names.secrets.borrow().values.iter().cloned().collect::<Vec<_>>())),
        text,
    })
}

/// Variables that outlast an iteration.
fn kept_slots(names: &Names) -> KeptSlots {
    let kept = names.kept.borrow();
    let of = |wanted: Keep| kept.iter().filter(|(_, k)| **k == wanted).map(|(slot, _)| *slot).collect();
    KeptSlots { user: of(Keep::User), run: of(Keep::Run) }
}

/// Reads the thresholds of a scenario's text alone.
pub(super) fn thresholds(source: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, Fault> {
    let root = yaml::read(source)?;
    let top = Reader::new(&root, "the scenario", KEYS)?;
    top.get("thresholds").map_or_else(|| Ok(Vec::new()), |node| load::thresholds(node, source, steps))
}

/// Reads a file of limits.
pub(super) fn budget(source: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, Fault> {
    let root = yaml::read(source)?;
    let top = Reader::new(&root, "a budget", &["thresholds"])?;
    load::thresholds(top.need("thresholds", "a list such as [latency.p95 < 300ms]")?, source, steps)
}

/// Reads what a scenario's text changes about looking for problems.
pub(super) fn findings(source: &str) -> Result<Vec<FindingRule>, Fault> {
    let root = yaml::read(source)?;
    finding_rules(&Reader::new(&root, "the scenario", KEYS)?, source)
}

fn finding_rules(top: &Reader<'_>, source: &str) -> Result<Vec<FindingRule>, Fault> {
    const WHAT: &str = "limits of findings, such as {n_plus_one.calls: 10, slow_query: off}";
    let Some(node) = top.get("findings") else { return Ok(Vec::new()) };
    let rule = |(key, value): &(yaml::Key, Node)| {
        let name = key.text.clone();
        let value = value.text(source, &format!("a number, `on` or `off` for `{name}`"))?;
        Ok(FindingRule { name, value, place: key.place })
    };
    entries(node, WHAT)?.iter().map(rule).collect()
}

/// What a step is read with: the names that it may use, what it inherits, and what there is of the scenario so far.
#[derive(Clone, Copy)]
struct Scope<'a> {
    names: &'a Names,
    inherited: &'a Inherited,
    context: &'a Context<'a>,
    building: &'a Building,
}

/// What grows while journeys are read.
#[derive(Default)]
struct Building {
    targets: Vec<Target>,
    endpoints: Vec<Endpoint>,
    /// Endpoints that follow those, for steps that need another protocol there: which, and that protocol.
    lanes: RefCell<Vec<(usize, ProtocolChoice)>>,
    /// What messages of gRPC look like, where files say.
    rpc_types: Option<prost_reflect::DescriptorPool>,
    journeys: Vec<Journey>,
    lifecycle: Lifecycle,
    steps: Vec<Step>,
    slots: usize,
}

fn distinct(endpoints: impl Iterator<Item = Endpoint>) -> Vec<Endpoint> {
    let mut all: Vec<Endpoint> = Vec::new();
    for endpoint in endpoints {
        if !all.contains(&endpoint) {
            all.push(endpoint);
        }
    }
    all
}

impl Building {
    fn infos(&self) -> Vec<StepInfo> {
        self.steps.iter().map(|step| step.info(&self.journeys)).collect()
    }

    fn endpoint(&self, endpoint: &Endpoint) -> usize {
        self.endpoints.iter().position(|e| e == endpoint).unwrap_or(0)
    }

    /// An endpoint of the same host with connections of its own that speak this protocol; the same where they all do.
    fn speaking(&self, endpoint: usize, choice: ProtocolChoice) -> usize {
        let of = |target: &&Target| self.endpoints.get(endpoint) == Some(&target.address.endpoint);
        if self.targets.iter().find(of).is_some_and(|target| target.http.version == choice) {
            return endpoint;
        }
        let mut lanes = self.lanes.borrow_mut();
        let at = lanes.iter().position(|lane| *lane == (endpoint, choice)).unwrap_or_else(|| {
            lanes.push((endpoint, choice));
            lanes.len() - 1
        });
        self.endpoints.len() + at
    }

    /// The target of that name.
    fn target_named(&self, node: &Node, context: &Context) -> Result<usize, Fault> {
        let name = node.text(context.source, "the name of a target")?;
        self.targets.iter().position(|t| t.name.as_deref() == Some(&name)).ok_or_else(|| {
            let known: Vec<&str> = self.targets.iter().filter_map(|t| t.name.as_deref()).collect();
            let why = match nearest(&name, known.iter().copied()) {
                Some(near) => format!("there is no target `{name}`; did you mean `{near}`?"),
                None if known.is_empty() => {
                    format!("there is no target `{name}`: name it under `targets: {{{name}: http://…}}`")
                }
                None => format!("there is no target `{name}`; the targets are {}", listed(&known)),
            };
            Fault::new(node.place, why)
        })
    }
}

/// A length of time that is not zero.
fn positive_duration(node: &Node, source: &str, what: &str) -> Result<Nanos, Fault> {
    let length = duration(node, source)?;
    if length == Nanos::ZERO {
        Err(Fault::new(node.place, format!("{what} must be longer than nothing")))
    } else {
        Ok(length)
    }
}

fn duration(node: &Node, source: &str) -> Result<Nanos, Fault> {
    let text = node.text(source, "a duration such as 30s")?;
    quantity::duration(&text).map_err(|message| Fault::new(node.place, message))
}

fn flag(top: &Reader, key: &str) -> Result<bool, Fault> {
    top.get(key).map_or(Ok(false), Node::flag)
}

/// One of a few words.
fn one_of<T: Copy>(node: &Node, source: &str, words: &[(&str, T)]) -> Result<T, Fault> {
    let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let text = node.text(source, &format!("one of {}", listed(&known)))?;
    match words.iter().find(|(word, _)| *word == text) {
        Some((_, value)) => Ok(*value),
        None => Err(match nearest(&text, known.iter().copied()) {
            Some(near) => {
                Fault::new(node.place, format!("`{text}` is not known here; did you mean `{near}`?"))
            }
            None => node.expected(&format!("one of {}", listed(&known))),
        }),
    }
}

/// Every key that the JSON Schema describes; the load's and the trace's are said in words alone.
#[cfg(test)]
pub(super) fn structural_words() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .chain(journey::JOURNEY_KEYS)
        .chain(step::STEP_KEYS)
        .chain(expect::EXPECT_KEYS)
        .chain(settings::DATA_KEYS)
        .chain(http_options::HTTP_KEYS)
        .chain(http_options::KEEP_ALIVE_KEYS)
        .chain(http_options::DNS_KEYS)
        .chain(tls_options::TLS_KEYS)
        .chain(proxy::PROXY_KEYS)
        .chain(settings::TIMEOUT_KEYS)
        .chain(grpc::GRPC_KEYS)
        .chain(grpc::UNTIL_KEYS)
        .chain(conversation::TURN_KEYS)
        .chain(conversation::SAID_KEYS)
        .chain(conversation::AWAITED_KEYS)
        .chain(conversation::CLOSE_KEYS)
        .copied()
}

/// Every key of a scenario, for the test that the reference names them all.
#[cfg(test)]
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .chain(journey::JOURNEY_KEYS)
        .chain(shape::LOAD_KEYS)
        .chain(trace::TRACE_KEYS)
        .chain(shape::STAGE_KEYS)
        .chain(shape::SEARCH_KEYS)
        .chain(step::STEP_KEYS)
        .chain(expect::EXPECT_KEYS)
        .chain(settings::DATA_KEYS)
        .chain(http_options::HTTP_KEYS)
        .chain(http_options::KEEP_ALIVE_KEYS)
        .chain(http_options::DNS_KEYS)
        .chain(tls_options::TLS_KEYS)
        .chain(proxy::PROXY_KEYS)
        .chain(settings::TIMEOUT_KEYS)
        .chain(grpc::GRPC_KEYS)
        .chain(grpc::UNTIL_KEYS)
        .chain(conversation::TURN_KEYS)
        .chain(conversation::SAID_KEYS)
        .chain(conversation::AWAITED_KEYS)
        .chain(conversation::CLOSE_KEYS)
        .copied()
}
