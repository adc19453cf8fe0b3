//! Journeys' steps: requests, what is taken from their answers and what must hold of them.

use super::super::calls::Call;
use super::super::check::StatusCheck;
use super::super::error::{Fault, nearest};
use super::super::mask::{self, Kind};
use super::super::template::{Names, Template};
use super::super::types::*;
use super::super::yaml::{Key, Node, Reader, Value, entries};
use super::body::body;
use super::expect::{any_status, expect, extracts};
use super::flow::on_failure;
use super::request::{RequestTarget, headers, request_target, target_of};
use super::{Context, Inherited, MAX_STEPS, Scope, positive_duration, redirects, think};
use crate::record::StepKind;
use http::{HeaderName, Method};
use serde_json_path::JsonPath;
use std::sync::Arc;

pub const METHODS: &[(&str, Method)] = &[
    ("get", Method::GET),
    ("post", Method::POST),
    ("put", Method::PUT),
    ("patch", Method::PATCH),
    ("delete", Method::DELETE),
    ("head", Method::HEAD),
    ("options", Method::OPTIONS),
];
pub const STEP_KEYS: &[&str] = &[
    "name",
    "get",
    "post",
    "put",
    "patch",
    "delete",
    "head",
    "options",
    "grpc",
    "ws",
    "sse",
    "subprotocol",
    "script",
    "message",
    "messages",
    "metadata",
    "send",
    "until",
    "headers",
    "json",
    "form",
    "body",
    "multipart",
    "graphql",
    "extract",
    "expect",
    "think",
    "timeout",
    "follow",
    "target",
    "on_failure",
    "cache",
    "when",
    "else",
    "repeat",
    "while",
    "max",
    "steps",
    "choose",
    "weight",
    "call",
    "with",
    "one_for_all",
    "set",
    "pause",
];
/// Keys that make a step a call of another kind than a request over HTTP.
pub const CALLS: &[&str] = &["grpc", "ws", "sse"];
/// Keys that not every kind of step has.
const NOT_FOR_ALL: &[&str] = &[
    "json",
    "form",
    "body",
    "multipart",
    "graphql",
    "cache",
    "follow",
    "message",
    "messages",
    "metadata",
    "send",
    "until",
    "subprotocol",
    "script",
];

/// Those of them that a kind has.
fn keys_of(kind: &str) -> &'static [&'static str] {
    match kind {
        "grpc" => &["message", "messages", "metadata", "send", "until"],
        "ws" => &["subprotocol", "script"],
        "sse" => &["json", "form", "body", "multipart", "graphql", "follow", "until"],
        _ => &["json", "form", "body", "multipart", "graphql", "follow", "cache"],
    }
}

/// A journey that uses this variable without extracting it gets all `id` members of the answer before its first use.
const IDS: &str = "ids";

/// The extraction of all ids of an answer.
pub fn ids(names: &mut Names) -> Result<Extract, Fault> {
    let path = JsonPath::parse("$..id").map_err(|e| Fault::new(Default::default(), e.to_string()))?;
    let slot = names.declare(IDS);
    let source = Source::Json(Arc::new(path), Several::Yes);
    Ok(Extract {
        name: IDS.to_string(),
        slot,
        source,
        take: Take::AsItIs,
        missing: Missing::Failure,
        keep: Keep::Iteration,
    })
}

/// The step that `ids` is taken from, if it is used in a later one and never defined.
pub fn implied_ids(items: &[Node], names: &Names) -> Option<usize> {
    let extracts = |item: &Node| {
        let Ok(step) = Reader::new(item, "a step", STEP_KEYS) else { return false };
        let Some(Ok(extracts)) = step.get("extract").map(|node| entries(node, "")) else { return false };
        extracts.iter().any(|(key, _)| key.text == IDS)
    };
    if names.slot(IDS).is_some() || items.iter().any(extracts) {
        return None;
    }
    items.iter().position(mentions_ids)?.checked_sub(1)
}

fn mentions_ids(node: &Node) -> bool {
    match &node.value {
        Value::Text(text) => text.split("{{").skip(1).any(|hole| {
            hole.trim_start()
                .strip_prefix(IDS)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        }),
        Value::List(items) => items.iter().any(mentions_ids),
        Value::Map(entries) => entries.iter().any(|(_, value)| mentions_ids(value)),
        _ => false,
    }
}

/// The name that an entry gives itself.
pub fn named(item: &Node) -> Option<&Node> {
    match &item.value {
        Value::Map(entries) => entries.iter().find(|(k, _)| k.text == "name").map(|(_, v)| v),
        _ => None,
    }
}

/// A name that was given must be new; one that was made up gets a number when it is not.
pub fn unique_name(name: String, given: Option<super::Place>, taken: &[&str]) -> Result<String, Fault> {
    if !taken.contains(&name.as_str()) {
        return Ok(name);
    }
    if let Some(place) = given {
        return Err(Fault::new(place, format!("the journey has a step named `{name}` already")));
    }
    let free = (2..=MAX_STEPS + 2).map(|n| format!("{name} ({n})")).find(|n| !taken.contains(&n.as_str()));
    Ok(free.unwrap_or(name))
}

/// A request as written: its method and path alone, or a mapping.
pub fn step(node: &Node, scope: &Scope) -> Result<Step, Fault> {
    let Scope { names, inherited, context, .. } = *scope;
    if let Value::Text(text) = &node.value {
        context.secret(node, Kind::Url);
        let (method, url) = shorthand(node, text)?;
        let offset = text.len() - url.len();
        let target = request_target(node, text, offset, inherited.target, scope)?;
        let step = Step {
            name: format!("{method} {}", target.path_template),
            ..bare_step(method, target, inherited)
        };
        return Ok(step);
    }
    let reader = Reader::new(node, "a step", STEP_KEYS)?;
    let call = CALLS.iter().find_map(|key| reader.get(key).map(|node| (*key, node)));
    if let Some((kind, node)) = call {
        if let Some((key, _)) = METHODS.iter().find(|(key, _)| reader.key(key).is_some()) {
            let place = reader.key(key).map_or(reader.place(), |key| key.place);
            return Err(Fault::new(place, format!("a step is one request: it has `{kind}` and `{key}`")));
        }
        if let Some(other) = CALLS.iter().filter_map(|key| reader.key(key)).find(|key| key.text != kind) {
            return Err(Fault::new(
                other.place,
                format!("a step is one call: it has `{kind}` and `{}`", other.text),
            ));
        }
        goes_with(&reader, kind)?;
        let read = match kind {
            "ws" => super::conversation::step,
            "sse" => super::events::step,
            _ => super::grpc::step,
        };
        let step = read(node, &reader, scope)?;
        return common(step, &reader, names, context);
    }
    goes_with(&reader, "a request over HTTP")?;
    let mut methods =
        METHODS.iter().filter_map(|(key, method)| reader.get(key).map(|node| (method.clone(), node)));
    let Some((method, url)) = methods.next() else {
        let empty = METHODS.iter().find_map(|(key, _)| reader.key(key));
        let place = empty.map_or(reader.place(), |key| key.place);
        return Err(Fault::new(place, "a step needs a method and its path, e.g. get: /products"));
    };
    if let Some((other, second)) = methods.next() {
        return Err(Fault::new(second.place, format!("a step is one request: it has {method} and {other}")));
    }
    context.secret(url, Kind::Url);
    let text = url.text(context.source, "a path such as /products")?;
    if let Some(key) = reader.key("with") {
        return Err(Fault::new(key.place, "`with` goes with `call`"));
    }
    let target = target_of(&reader, scope)?;
    let target = request_target(url, &text, 0, target, scope)?;
    let mut step = bare_step(method, target, inherited);
    step.body = body(&reader, names, context)?;
    if let Some(node) = reader.get("cache") {
        step.cache = if node.flag()? { Caching::AsBrowser } else { Caching::Never };
    }
    common(step, &reader, names, context)
}

/// Refuses keys that belong to steps of another kind.
fn goes_with(reader: &Reader, kind: &str) -> Result<(), Fault> {
    let own = keys_of(kind);
    let others = |key: &&Key| NOT_FOR_ALL.contains(&key.text.as_str()) && !own.contains(&key.text.as_str());
    let Some(stray) = reader.keys().find(others) else { return Ok(()) };
    let instead = match (kind, stray.text.as_str()) {
        ("grpc", "json") => ": write `message`",
        ("ws", "json" | "message" | "messages" | "send") => ": messages are sent in its `script`",
        _ => "",
    };
    let kind = if CALLS.contains(&kind) { format!("`{kind}`") } else { kind.to_string() };
    Err(Fault::new(stray.place, format!("`{}` does not go with {kind}{instead}", stray.text)))
}

/// What stands before the path in a step's name.
fn called(step: &Step) -> &str {
    match step.call {
        Call::WebSocket(_) => "WS",
        Call::Events(_) => "SSE",
        _ => step.method.as_str(),
    }
}

/// What all steps have: a name, headers, what is taken from the answer and what must hold of it.
fn common(mut step: Step, reader: &Reader, names: &Names, context: &Context) -> Result<Step, Fault> {
    let kind = step.call.kind();
    step.name = match reader.get("name") {
        Some(node) => super::load::name(node, context.source)?,
        None if kind == StepKind::Grpc => step.path_template.chars().take(100).collect(),
        None => format!("{} {}", called(&step), step.path_template),
    };
    for node in [reader.get("headers"), reader.get("metadata")] {
        if let Some(node) = node.filter(|_| kind == StepKind::Grpc) {
            super::grpc::metadata_is_sound(node)?;
        }
        merge_headers(&mut step.headers, headers(node, names, context)?);
    }
    step.expect.status = any_status(kind);
    if let Some(node) = reader.get("extract") {
        step.extract = extracts(node, names, context.source)?;
    }
    if let Some(node) = reader.get("expect") {
        // A check sees what the same answer gave.
        let mut names = names.clone();
        for extract in &step.extract {
            names.declare(&extract.name);
        }
        step.expect = expect(node, &names, context, kind)?;
    }
    if let Some(node) = reader.get("think") {
        step.think = think(node, context.source)?;
    }
    if let Some(node) = reader.get("timeout") {
        timeout(node, context.source, &mut step)?;
    }
    if let Some(node) = reader.get("follow") {
        step.redirects = redirects(node)?;
    }
    listens_in_time(&step, reader)?;
    if let Some(node) = reader.get("on_failure") {
        step.on_failure = on_failure(node, context.source)?;
    }
    Ok(step)
}

/// `timeout: 5s`, or `{first_byte: 1s, request: 5s}`.
fn timeout(node: &Node, source: &str, step: &mut Step) -> Result<(), Fault> {
    if !matches!(node.value, Value::Map(_)) {
        step.timeout = positive_duration(node, source, "a timeout")?;
        return Ok(());
    }
    let reader = Reader::new(node, "a step's timeout", &["first_byte", "request"])?;
    if let Some(node) = reader.get("first_byte") {
        step.first_byte = Some(positive_duration(node, source, "a timeout")?);
    }
    if let Some(node) = reader.get("request") {
        step.timeout = positive_duration(node, source, "a timeout")?;
    }
    Ok(())
}

/// A stream that is to be listened to for longer than the step may take would always be a failure.
fn listens_in_time(step: &Step, reader: &Reader) -> Result<(), Fault> {
    let until = match &step.call {
        Call::Grpc(rpc) => &rpc.until,
        Call::Events(until) => until,
        _ => return Ok(()),
    };
    match (until.length.filter(|length| *length >= step.timeout), reader.get("until")) {
        (Some(length), Some(node)) => Err(Fault::new(
            node.place,
            format!(
                "`for` ({length}) reaches beyond the step's timeout ({}): give it a longer `timeout`",
                step.timeout
            ),
        )),
        _ => Ok(()),
    }
}

pub fn bare_step(method: Method, target: RequestTarget, inherited: &Inherited) -> Step {
    // Credentials for the target are not for other hosts.
    let mut headers: Vec<_> = if target.is_first {
        inherited.headers.clone()
    } else {
        inherited.headers.iter().filter(|(name, _)| !mask::is_secret(name.as_str())).cloned().collect()
    };
    // A target's own headers win, save for the credentials in its URL.
    for (name, value) in target.headers {
        if name != http::header::AUTHORIZATION || !headers.iter().any(|(other, _)| *other == name) {
            merge_headers(&mut headers, vec![(name, value)]);
        }
    }
    Step {
        name: String::new(),
        journey: 0,
        method,
        endpoint: target.endpoint,
        path: target.path,
        path_template: target.path_template,
        headers,
        body: Body::Empty,
        extract: Vec::new(),
        expect: Expect {
            status: StatusCheck::NoError,
            json: vec![],
            headers: vec![],
            contains: vec![],
            lacks: vec![],
            matches: vec![],
            size: None,
            within: None,
            that: vec![],
        },
        think: inherited.think,
        timeout: inherited.timeouts.request,
        first_byte: inherited.timeouts.first_byte,
        redirects: inherited.redirects,
        on_failure: inherited.on_failure,
        cache: inherited.cache,
        call: Call::Http,
    }
}

/// `GET /products`; a path alone is a GET.
fn shorthand<'a>(node: &Node, text: &'a str) -> Result<(Method, &'a str), Fault> {
    let wrong = || {
        Fault::new(node.place, format!("{text:?} is no step: write a method and a path, e.g. GET /products"))
    };
    if text.starts_with('/') || text.starts_with("http") {
        return Ok((Method::GET, text));
    }
    let (word, url) = text.split_once(char::is_whitespace).ok_or_else(wrong)?;
    let lower = word.to_lowercase();
    match METHODS.iter().find(|(key, _)| *key == lower) {
        Some((_, method)) => Ok((method.clone(), url.trim_start())),
        None => {
            let known: Vec<&str> = METHODS.iter().map(|(key, _)| *key).collect();
            Err(match nearest(&lower, known) {
                Some(near) => Fault::new(
                    node.place,
                    format!("unknown method `{word}`; did you mean `{}`?", near.to_uppercase()),
                ),
                None => wrong(),
            })
        }
    }
}

fn merge_headers(all: &mut Vec<(HeaderName, Template)>, own: Vec<(HeaderName, Template)>) {
    for (name, value) in own {
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    }
}
