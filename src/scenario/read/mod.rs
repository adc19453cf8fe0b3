//! From what was typed to what is meant: the top level of the file.

mod expect;
mod load;
mod step;

use super::address::Address;
use super::data::Table;
use super::error::{Fault, Place, listed, nearest};
use super::mask::{self, Kind};
use super::template::{Names, TemplateFault};
use super::threshold::Threshold;
use super::types::*;
use super::yaml::{self, Key, Node, Reader, Value, entries};
use super::{Surroundings, quantity};
use crate::record::{Nanos, StepInfo};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

const KEYS: &[&str] = &[
    "name",
    "target",
    "load",
    "journeys",
    "steps",
    "thresholds",
    "headers",
    "vars",
    "data",
    "think",
    "timeouts",
    "insecure",
    "http2",
    "follow",
    "trace",
    "telemetry",
];
const JOURNEY_KEYS: &[&str] = &["weight", "think", "data", "steps"];
const MAX_STEPS: usize = u16::MAX as usize;

/// What the whole reading shares.
struct Context<'a> {
    source: &'a str,
    file: &'a str,
    surroundings: &'a Surroundings<'a>,
    secrets: RefCell<Vec<(Range<usize>, Kind)>>,
    tables: RefCell<BTreeMap<String, Arc<Table>>>,
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

    /// A CSV file beside the scenario; read once, however often it is named.
    fn table(&self, node: &Node) -> Result<Arc<Table>, Fault> {
        let name = node.text(self.source, "the name of a CSV file")?;
        if let Some(table) = self.tables.borrow().get(&name) {
            return Ok(Arc::clone(table));
        }
        let path = Path::new(self.file).parent().unwrap_or(Path::new("")).join(&name);
        let text = (self.surroundings.read)(&path).map_err(|e| {
            Fault::new(node.place, format!("the data file {} cannot be read: {e}", path.display()))
        })?;
        let table = Table::parse(&text).map_err(|e| {
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
    target: Address,
    headers: Vec<(http::HeaderName, super::template::Template)>,
    think: Think,
    timeouts: Timeouts,
}

/// Reads a scenario's text.
pub(super) fn scenario(source: &str, file: &str, surroundings: &Surroundings) -> Result<Scenario, Fault> {
    let context =
        Context { source, file, surroundings, secrets: RefCell::default(), tables: RefCell::default() };
    let root = yaml::read(source)?;
    if matches!(root.value, Value::Null) || matches!(&root.value, Value::Map(m) if m.is_empty()) {
        return Err(Fault::new(
            Place { line: 1, column: 1 },
            "the file is empty: a scenario needs at least `target`, `load` and `journeys`",
        ));
    }
    let top = Reader::new(&root, "the scenario", KEYS)?;
    let target = target(&top, &context)?;
    let stages = load::stages(top.need("load", "e.g. load: [{users: 20, for: 1m}]")?, source)?;
    let (vars, mut names) = variables(&top, &context)?;
    names.environment = Arc::clone(&surroundings.environment);
    let timeouts = timeouts(&top, source)?;
    let mut headers = step::headers(top.get("headers"), &names, &context)?;
    let says_who = headers.iter().any(|(name, _)| name == http::header::AUTHORIZATION);
    if let Some(authorization) = target.authorization.as_ref().filter(|_| !says_who) {
        headers.push((http::header::AUTHORIZATION, super::template::Template::text(authorization)));
    }
    let think = top.get("think").map(|node| think(node, source)).transpose()?.unwrap_or_default();
    let inherited = Inherited { target: target.clone(), headers, think, timeouts };
    let mut building = Building { endpoints: vec![target.endpoint.clone()], ..Building::default() };
    journeys(&top, &names, &inherited, &context, &mut building)?;
    let thresholds = match top.get("thresholds") {
        Some(node) => load::thresholds(node, source, &building.infos())?,
        None => Vec::new(),
    };
    let mut initial = vars;
    initial.resize(building.slots.max(initial.len()), serde_json::Value::Null);
    let name = match top.get("name") {
        Some(node) => load::name(node, source)?,
        None => default_name(file, &target),
    };
    let telemetry = top.get("telemetry").map(|node| telemetry(node, &context)).transpose()?;
    let text = mask::masked_source(source, &context.secrets.borrow());
    Ok(Scenario {
        name,
        target: format!("{}{}", target.endpoint.origin(), target.prefix()),
        endpoints: building.endpoints,
        stages,
        journeys: building.journeys,
        steps: building.steps,
        thresholds,
        timeouts,
        trust: if flag(&top, "insecure")? { Trust::Anyone } else { Trust::System },
        protocol: if flag(&top, "http2")? { ProtocolChoice::Http2 } else { ProtocolChoice::Http1 },
        trace: trace(&top, source)?,
        redirects: if flag(&top, "follow")? { Redirects::Follow } else { Redirects::Answer },
        telemetry,
        variables: initial,
        text,
    })
}

/// Reads the thresholds of a scenario's text alone.
pub(super) fn thresholds(source: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, Fault> {
    let root = yaml::read(source)?;
    let top = Reader::new(&root, "the scenario", KEYS)?;
    top.get("thresholds").map_or_else(|| Ok(Vec::new()), |node| load::thresholds(node, source, steps))
}

/// What grows while journeys are read.
#[derive(Default)]
struct Building {
    endpoints: Vec<Endpoint>,
    journeys: Vec<Journey>,
    steps: Vec<Step>,
    slots: usize,
}

impl Building {
    fn infos(&self) -> Vec<StepInfo> {
        self.steps.iter().map(|step| step.info(&self.journeys)).collect()
    }

    fn endpoint(&mut self, endpoint: Endpoint) -> usize {
        self.endpoints.iter().position(|e| *e == endpoint).unwrap_or_else(|| {
            self.endpoints.push(endpoint);
            self.endpoints.len() - 1
        })
    }
}

fn default_name(file: &str, target: &Address) -> String {
    let stem = Path::new(file).file_stem().and_then(|s| s.to_str()).filter(|s| !s.is_empty() && *s != "-");
    stem.map_or_else(|| target.endpoint.host.clone(), str::to_string)
}

fn target(top: &Reader, context: &Context) -> Result<Address, Fault> {
    let node = top.need("target", "the URL that is loaded, e.g. http://127.0.0.1:8080")?;
    context.secret(node, Kind::Url);
    let typed = node.text(context.source, "a URL")?;
    let names = Names { environment: Arc::clone(&context.surroundings.environment), ..Names::default() };
    let fixed = step::fixed_text(node, &typed, &names, context, "the target")?;
    let address = Address::parse(&fixed).map_err(|message| Fault::new(node.place, message))?;
    if address.path.contains('?') {
        return Err(Fault::new(node.place, "the target has a query (?…): put it into the steps"));
    }
    Ok(address)
}

fn variables(top: &Reader, context: &Context) -> Result<(Vec<serde_json::Value>, Names), Fault> {
    let mut values = Vec::new();
    let mut names = Names { environment: Arc::clone(&context.surroundings.environment), ..Names::default() };
    if let Some(node) = top.get("vars") {
        for (key, node) in entries(node, "a mapping of names to values")? {
            step::variable_name(key)?;
            if mask::is_secret(&key.text) {
                context.secret(node, Kind::Value);
            }
            values.push(step::json_value(node, &names, context)?);
            names.variables.push(key.text.clone());
        }
    }
    Ok((values, names))
}

fn journeys(
    top: &Reader,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    building: &mut Building,
) -> Result<(), Fault> {
    match (top.get("journeys"), top.get("steps")) {
        (Some(_), Some(steps)) => Err(Fault::new(
            steps.place,
            "`steps` beside `journeys`: steps belong under a journey, or alone at the top for a scenario of one journey",
        )),
        (None, None) => {
            Err(Fault::new(top.place(), "the scenario needs `journeys` (or `steps` for a single journey)"))
        }
        (None, Some(steps)) => {
            let data = top.get("data").map(|node| data(node, context)).transpose()?;
            let journey = JourneyTyped { name: "main", weight: 1, data, think: inherited.think, steps };
            step::journey(journey, names, inherited, context, building)
        }
        (Some(node), None) => {
            if let Some(key) = top.key("data") {
                return Err(Fault::new(key.place, "`data` belongs under a journey"));
            }
            let all = entries(node, "a mapping of names to journeys")?;
            if all.is_empty() {
                return Err(node.expected("at least one journey"));
            }
            all.iter().try_for_each(|(key, node)| journey(key, node, names, inherited, context, building))
        }
    }
}

/// A journey as typed, its own keys read.
struct JourneyTyped<'a> {
    name: &'a str,
    weight: u32,
    data: Option<Data>,
    think: Think,
    steps: &'a Node,
}

fn journey(
    key: &Key,
    node: &Node,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    building: &mut Building,
) -> Result<(), Fault> {
    if key.text.trim().is_empty() {
        return Err(Fault::new(key.place, "a journey needs a name"));
    }
    // A list in place of the mapping is a journey with nothing but steps.
    if let Value::List(_) = node.value {
        let typed =
            JourneyTyped { name: &key.text, weight: 1, data: None, think: inherited.think, steps: node };
        return step::journey(typed, names, inherited, context, building);
    }
    let reader = Reader::new(node, "a journey", JOURNEY_KEYS)?;
    let weight = reader.get("weight").map(|n| n.count("weight", 1..=1_000_000)).transpose()?.unwrap_or(1);
    let think = reader.get("think").map(|n| think(n, context.source)).transpose()?.unwrap_or(inherited.think);
    let data = reader.get("data").map(|n| data(n, context)).transpose()?;
    let steps = reader.need("steps", "a list such as [GET /products]")?;
    let typed = JourneyTyped { name: &key.text, weight, data, think, steps };
    step::journey(typed, names, inherited, context, building)
}

fn data(node: &Node, context: &Context) -> Result<Data, Fault> {
    if !matches!(node.value, Value::Map(_)) {
        return Ok(Data { table: context.table(node)?, order: RowOrder::Sequential });
    }
    let reader = Reader::new(node, "data", &["file", "order"])?;
    let table = context.table(reader.need("file", "the name of a CSV file")?)?;
    let order = match reader.get("order") {
        None => RowOrder::Sequential,
        Some(node) => one_of(
            node,
            context.source,
            &[
                ("sequential", RowOrder::Sequential),
                ("random", RowOrder::Random),
                ("per_user", RowOrder::PerUser),
            ],
        )?,
    };
    Ok(Data { table, order })
}

/// `500ms..2s`, or one length for always the same pause.
fn think(node: &Node, source: &str) -> Result<Think, Fault> {
    let text = node.text(source, "a pause such as 500ms..2s")?;
    let (least, most) = text.split_once("..").unwrap_or((&text, &text));
    let wrong = |message: String| Fault::new(node.place, message);
    let (least, most) = (quantity::duration(least).map_err(wrong)?, quantity::duration(most).map_err(wrong)?);
    if least > most {
        return Err(Fault::new(
            node.place,
            format!("the range {text} is empty: the shorter pause goes first"),
        ));
    }
    Ok(Think { least, most })
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

fn timeouts(top: &Reader, source: &str) -> Result<Timeouts, Fault> {
    let mut timeouts = Timeouts { connect: Nanos::from_millis(5_000), request: Nanos::from_millis(30_000) };
    if let Some(node) = top.get("timeouts") {
        let reader = Reader::new(node, "timeouts", &["connect", "request"])?;
        if let Some(node) = reader.get("connect") {
            timeouts.connect = positive_duration(node, source, "a timeout")?;
        }
        if let Some(node) = reader.get("request") {
            timeouts.request = positive_duration(node, source, "a timeout")?;
        }
    }
    Ok(timeouts)
}

fn trace(top: &Reader, source: &str) -> Result<TraceScope, Fault> {
    match top.get("trace") {
        None => Ok(TraceScope::Exchange),
        Some(node) => {
            one_of(node, source, &[("exchange", TraceScope::Exchange), ("iteration", TraceScope::Iteration)])
        }
    }
}

fn telemetry(node: &Node, context: &Context) -> Result<Telemetry, Fault> {
    let reader = Reader::new(node, "telemetry", &["endpoint", "protocol", "headers", "baggage"])?;
    let endpoint = match reader.get("endpoint") {
        None => None,
        Some(node) => {
            context.secret(node, Kind::Url);
            let text = node.text(context.source, "a URL")?;
            Address::parse(&text).map_err(|message| Fault::new(node.place, message))?;
            Some(text)
        }
    };
    let protocol = match reader.get("protocol") {
        None => None,
        Some(node) => Some(one_of(node, context.source, &OtlpProtocol::NAMES)?),
    };
    let mut headers = Vec::new();
    if let Some(node) = reader.get("headers") {
        let names = Names { environment: Arc::clone(&context.surroundings.environment), ..Names::default() };
        for (key, node) in entries(node, "a mapping of header names to values")? {
            // Whatever is sent to a telemetry backend is there to get in.
            context.secret(node, Kind::Value);
            let typed = node.text(context.source, "a header's value")?;
            headers.push((
                key.text.clone(),
                step::fixed_text(node, &typed, &names, context, "a telemetry header")?,
            ));
        }
    }
    Ok(Telemetry { endpoint, protocol, headers, baggage: flag(&reader, "baggage")? })
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

/// Every key of a scenario, for the test that the reference names them all.
#[cfg(test)]
pub(super) fn words() -> impl Iterator<Item = &'static str> {
    KEYS.iter().chain(JOURNEY_KEYS).chain(load::STAGE_KEYS).chain(step::STEP_KEYS).copied()
}
