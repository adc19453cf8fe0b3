//! Journeys' steps: requests, what is taken from their answers and what must hold of them.

use super::super::address::Address;
use super::super::calls::Call;
use super::super::check::StatusCheck;
use super::super::error::{Fault, nearest};
use super::super::mask::{self, Kind};
use super::super::template::{self, Escape, Expression, Names, Piece, Template};
use super::super::types::*;
use super::super::yaml::{Key, Node, Reader, Value, entries};
use super::expect::{any_status, expect, extracts};
use super::flow::on_failure;
use super::{Building, Context, Inherited, MAX_STEPS, positive_duration, redirects, think};
use crate::record::StepKind;
use http::{HeaderName, HeaderValue, Method};
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
    Ok(Extract { name: IDS.to_string(), slot, source, take: Take::AsItIs, missing: Missing::Failure })
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
pub fn step(
    node: &Node,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    building: &Building,
) -> Result<Step, Fault> {
    if let Value::Text(text) = &node.value {
        context.secret(node, Kind::Url);
        let (method, url) = shorthand(node, text)?;
        let offset = text.len() - url.len();
        let target = request_target(node, text, offset, names, inherited.target, context, building)?;
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
        let step = read(node, &reader, names, inherited, context, building)?;
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
    let target = target_of(&reader, inherited, context, building)?;
    let target = request_target(url, &text, 0, names, target, context, building)?;
    let mut step = bare_step(method, target, inherited);
    step.body = body(&reader, names, context)?;
    if let Some(node) = reader.get("cache") {
        step.cache = if node.flag()? { Caching::AsBrowser } else { Caching::Never };
    }
    common(step, &reader, names, context)
}

/// The target that a step names, or the one that it inherits.
pub fn target_of(
    reader: &Reader,
    inherited: &Inherited,
    context: &Context,
    building: &Building,
) -> Result<usize, Fault> {
    let named = reader.get("target").map(|node| building.target_named(node, context)).transpose()?;
    Ok(named.unwrap_or(inherited.target))
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

pub struct RequestTarget {
    pub endpoint: usize,
    is_first: bool,
    headers: Vec<(HeaderName, Template)>,
    path: Template,
    path_template: String,
}

/// A step's URL: a path under a target, or a whole URL of a host that is one. `text[offset..]` is the URL.
pub fn request_target(
    node: &Node,
    text: &str,
    offset: usize,
    names: &Names,
    target: usize,
    context: &Context,
    building: &Building,
) -> Result<RequestTarget, Fault> {
    let url = &text[offset..];
    let chars_before = text[..offset].chars().count();
    let (target, prefix, path) = if url.starts_with("http://") || url.starts_with("https://") {
        let scheme = url.find("://").map_or(0, |at| at + 3);
        let end = url[scheme..].find(['/', '?']).map_or(url.len(), |at| scheme + at);
        if url[..end].contains("{{") {
            return Err(Fault::new(
                node.place,
                "the host of a step cannot be a template: hosts are resolved and connected once",
            ));
        }
        let address = Address::parse(&url[..end]).map_err(|m| Fault::new(node.place, m))?;
        let known = building.targets.iter().position(|t| t.address.endpoint == address.endpoint);
        let Some(known) = known else {
            let host = address.endpoint.origin();
            return Err(Fault::new(
                node.place,
                format!(
                    "{host} is no target of this scenario: name it under `targets: {{other: {host}}}`, so that no slip loads a stranger"
                ),
            ));
        };
        (known, String::new(), &url[end..])
    } else {
        (target, building.targets[target].address.prefix().to_string(), url)
    };
    let target = &building.targets[target];
    let at = chars_before + url[..url.len() - path.len()].chars().count();
    literal_faults(node, text, path, at, context)?;
    let hole = path.starts_with("{{");
    if !path.is_empty() && !path.starts_with(['/', '?']) && !hole {
        return Err(Fault::new(
            context.place_within(node, text, at),
            format!("the path {path:?} must start with `/` (or be a whole URL)"),
        ));
    }
    let parsed = Template::parse(path, names, Escape::Percent, template::url_literal)
        .map_err(|fault| context.template_fault(node, text, at, fault))?;
    // What a hole brings at the beginning is a path or URL that the service sent: it has the target's own path already.
    let mut whole = Template::text(if hole { "" } else { &prefix });
    if path.is_empty() || path.starts_with('?') {
        whole.push_text("/");
    }
    whole.append(parsed);
    let skeleton = whole.skeleton();
    let path_template = skeleton.split('?').next().unwrap_or_default().to_string();
    Ok(RequestTarget {
        endpoint: building.endpoint(&target.address.endpoint),
        is_first: target.address.endpoint == building.targets[0].address.endpoint,
        headers: target.headers.clone(),
        path: whole,
        path_template,
    })
}

fn literal_faults(node: &Node, text: &str, path: &str, at: usize, context: &Context) -> Result<(), Fault> {
    let mut rest = path;
    let mut before = at;
    loop {
        let open = rest.find("{{").unwrap_or(rest.len());
        let literal = &rest[..open];
        if let Some(found) = literal.find(['{', '#']) {
            let place = context.place_within(node, text, before + literal[..found].chars().count());
            let message = if literal[found..].starts_with('#') {
                "a fragment (#…) is never sent: leave it out".to_string()
            } else {
                let name: String = literal[found + 1..].chars().take_while(|c| *c != '}').collect();
                format!("`{{{name}}}` is no template: write {{{{ {name} }}}}")
            };
            return Err(Fault::new(place, message));
        }
        let Some(close) = rest.find("}}") else { return Ok(()) };
        if close < open {
            return Ok(());
        }
        before += rest[..close + 2].chars().count();
        rest = &rest[close + 2..];
    }
}

fn merge_headers(all: &mut Vec<(HeaderName, Template)>, own: Vec<(HeaderName, Template)>) {
    for (name, value) in own {
        all.retain(|(other, _)| *other != name);
        all.push((name, value));
    }
}

/// A mapping of header names to values.
pub fn headers(
    node: Option<&Node>,
    names: &Names,
    context: &Context,
) -> Result<Vec<(HeaderName, Template)>, Fault> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut headers = Vec::new();
    for (key, node) in entries(node, "a mapping of header names to values")? {
        let name = HeaderName::from_bytes(key.text.as_bytes())
            .map_err(|_| Fault::new(key.place, format!("{:?} is no header name", key.text)))?;
        if matches!(name.as_str(), "traceparent" | "content-length" | "transfer-encoding" | "connection") {
            return Err(Fault::new(
                key.place,
                format!("`{name}` is set for each request by hotspan: leave it out"),
            ));
        }
        if mask::is_secret(name.as_str()) {
            context.secret(node, Kind::Value);
        }
        let text = node.text(context.source, "a header's value")?;
        let template = plain(node, &text, names, context)?;
        for piece in &template.pieces {
            if let Piece::Text(text) = piece
                && HeaderValue::from_str(text).is_err()
            {
                return Err(Fault::new(
                    node.place,
                    format!("the value of `{name}` has a character that no header may have"),
                ));
            }
        }
        headers.push((name, template));
    }
    Ok(headers)
}

pub fn plain(node: &Node, text: &str, names: &Names, context: &Context) -> Result<Template, Fault> {
    Template::parse(text, names, Escape::Plain, template::as_it_is)
        .map_err(|fault| context.template_fault(node, text, 0, fault))
}

/// A text whose holes, if any, are environment variables.
pub fn fixed_text(
    node: &Node,
    text: &str,
    names: &Names,
    context: &Context,
    what: &str,
) -> Result<String, Fault> {
    let template = plain(node, text, names, context)?;
    template.revealed().as_static().map(str::to_string).ok_or_else(|| {
        Fault::new(
            node.place,
            format!("{what} is fixed for the whole run: only {{{{ env.… }}}} can be used in it"),
        )
    })
}

pub fn body(step: &Reader, names: &Names, context: &Context) -> Result<Body, Fault> {
    let kinds = ["json", "form", "body", "multipart", "graphql"];
    let given: Vec<&Key> = kinds.iter().filter_map(|kind| step.key(kind)).collect();
    if let [_, second, ..] = given.as_slice() {
        return Err(Fault::new(
            second.place,
            format!("a step has one body: it has `{}` and `{}`", given[0].text, second.text),
        ));
    }
    if let Some(node) = step.get("json") {
        let mut text = Template::default();
        json(node, names, context, &mut text)?;
        return Ok(Body::Text { content_type: Some("application/json"), text });
    }
    if let Some(node) = step.get("form") {
        let mut text = Template::default();
        for (index, (key, node)) in entries(node, "a mapping of field names to values")?.iter().enumerate() {
            if mask::is_secret(&key.text) {
                context.secret(node, Kind::Value);
            }
            let separator = if index > 0 { "&" } else { "" };
            text.push_text(&format!("{separator}{}=", template::form_literal(&key.text)));
            let typed = node.text(context.source, "a field's value")?;
            let value = Template::parse(&typed, names, Escape::Percent, template::form_literal)
                .map_err(|fault| context.template_fault(node, &typed, 0, fault))?;
            text.append(value);
        }
        return Ok(Body::Text { content_type: Some("application/x-www-form-urlencoded"), text });
    }
    if let Some(node) = step.get("multipart") {
        return super::body::multipart(node, names, context);
    }
    if let Some(node) = step.get("graphql") {
        return super::body::graphql(node, names, context);
    }
    if let Some(node) = step.get("body") {
        if let Value::Map(_) = node.value {
            return super::body::file(node, context);
        }
        let typed = node.text(context.source, "a text; for structured bodies use `json` or `form`")?;
        return Ok(Body::Text { content_type: None, text: plain(node, &typed, names, context)? });
    }
    Ok(Body::Empty)
}

/// JSON text with holes. A text that is one hole keeps its value's type: `"{{ pick(1, 9) }}"` is sent as a number.
pub fn json(node: &Node, names: &Names, context: &Context, out: &mut Template) -> Result<(), Fault> {
    match &node.value {
        Value::Null => out.push_text("null"),
        Value::Bool(b) => out.push_text(&b.to_string()),
        Value::Int(n) => out.push_text(&n.to_string()),
        Value::Float(n) => out.push_text(&serde_json::Value::from(*n).to_string()),
        Value::Text(text) => {
            let fault = |fault| context.template_fault(node, text, 0, fault);
            let single =
                Template::parse(text, names, Escape::JsonValue, template::json_inside).map_err(fault)?;
            if single.as_single_hole().is_some() {
                out.append(single);
            } else {
                let inside =
                    Template::parse(text, names, Escape::JsonInside, template::json_inside).map_err(fault)?;
                out.push_text("\"");
                out.append(inside);
                out.push_text("\"");
            }
        }
        Value::List(items) => {
            out.push_text("[");
            for (index, item) in items.iter().enumerate() {
                out.push_text(if index > 0 { "," } else { "" });
                json(item, names, context, out)?;
            }
            out.push_text("]");
        }
        Value::Map(entries) => {
            out.push_text("{");
            for (index, (key, value)) in entries.iter().enumerate() {
                if mask::is_secret(&key.text) {
                    context.secret(value, Kind::Value);
                }
                out.push_text(if index > 0 { "," } else { "" });
                out.push_text(&format!("\"{}\":", template::json_inside(&key.text)));
                json(value, names, context, out)?;
            }
            out.push_text("}");
        }
    }
    Ok(())
}

/// A value under `set` or `with`: a text that is one hole keeps its value's type.
pub fn single_value(node: &Node, names: &Names, context: &Context) -> Result<Expression, Fault> {
    if let Value::Text(text) = &node.value {
        let template = plain(node, text, names, context)?;
        return Ok(match (template.as_single_hole(), template.as_static()) {
            (Some(expression), _) => expression.clone(),
            (_, Some(text)) => Expression::Literal(text.into()),
            _ => Expression::Text(template),
        });
    }
    let mut text = Template::default();
    json(node, names, context, &mut text)?;
    let fixed = text.as_static().and_then(|t| serde_json::from_str(t).ok());
    fixed.map(Expression::Literal).ok_or_else(|| {
        Fault::new(node.place, "lists and mappings are fixed here: only texts can have templates")
    })
}

/// A fixed value, for `vars`.
pub fn json_value(node: &Node, names: &Names, context: &Context) -> Result<serde_json::Value, Fault> {
    let mut text = Template::default();
    json(node, names, context, &mut text)?;
    let fixed = text.revealed().as_static().and_then(|t| serde_json::from_str(t).ok());
    fixed.ok_or_else(|| {
        Fault::new(node.place, "`vars` are fixed for the whole run: only {{ env.… }} can be used in them")
    })
}

/// A name that templates can spell.
pub fn variable_name(key: &Key) -> Result<(), Fault> {
    let mut chars = key.text.chars();
    let good = chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_');
    if !good {
        return Err(Fault::new(
            key.place,
            format!("`{}` is no variable name: use letters, digits and _", key.text),
        ));
    }
    if matches!(
        key.text.as_str(),
        "data" | "fake" | "env" | "secret" | "true" | "false" | "null" | "and" | "or" | "not" | "contains"
    ) {
        return Err(Fault::new(
            key.place,
            format!("`{}` has a meaning of its own in templates: choose another name", key.text),
        ));
    }
    Ok(())
}
