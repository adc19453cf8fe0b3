//! What is taken from a step's answer, and what must hold of it.

use super::super::check::{Condition, MadeCondition, StatusCheck, StatusRange, pattern};
use super::super::error::{Fault, listed, nearest};
use super::super::quantity::{self, duration_text};
use super::super::template::{self, Escape, Names, Template};
use super::super::threshold::Comparison;
use super::super::types::*;
use super::super::yaml::{Node, Reader, Value, entries};
use super::value::{plain, variable_name};
use super::{Context, positive_duration};
use crate::record::{GRPC_STATUSES, StepKind};
use http::HeaderName;
use scraper::Selector;
use serde_json_path::JsonPath;
use std::sync::Arc;

/// All keys of `expect`.
pub const EXPECT_KEYS: &[&str] =
    &["status", "json", "headers", "contains", "not_contains", "matches", "size", "within", "that"];

/// Variables and where they stand in the answer.
pub fn extracts(node: &Node, names: &Names, source: &str) -> Result<Vec<Extract>, Fault> {
    let mut names = names.clone();
    let mut all = Vec::new();
    for (key, node) in entries(node, "a mapping of variables to where they are, e.g. {token: $.token}")? {
        variable_name(key)?;
        let slot = names.declare(&key.text);
        let (from, take, missing, keep) = extract_source(node, source)?;
        if keep != Keep::Iteration {
            names.kept.borrow_mut().insert(slot, keep);
        }
        all.push(Extract { name: key.text.clone(), slot, source: from, take, missing, keep });
    }
    Ok(all)
}

/// The places, `regex` last: it can also stand beside another one.
const SOURCES: &[&str] = &["json", "header", "cookie", "css", "between", "status", "regex"];

/// Keys of an extraction.
pub const EXTRACT_KEYS: &[&str] = &[
    "json",
    "header",
    "cookie",
    "css",
    "regex",
    "between",
    "status",
    "attribute",
    "group",
    "take",
    "optional",
    "keep",
];

fn extract_source(node: &Node, source: &str) -> Result<(Source, Take, Missing, Keep), Fault> {
    if !matches!(node.value, Value::Map(_)) {
        if matches!(&node.value, Value::Text(text) if text.trim() == "status") {
            return Ok((Source::Status, Take::AsItIs, Missing::Failure, Keep::Iteration));
        }
        return Ok((json_source(node, source)?, Take::AsItIs, Missing::Failure, Keep::Iteration));
    }
    let reader = Reader::new(node, "an extraction", EXTRACT_KEYS)?;
    let keep = match reader.get("keep") {
        None => Keep::Iteration,
        Some(node) => keep(node, source)?,
    };
    let missing = match reader.get("optional").map(Node::flag).transpose()? {
        Some(true) => Missing::Ignored,
        _ => Missing::Failure,
    };
    let given: Vec<(&str, &Node)> =
        SOURCES.iter().filter_map(|key| reader.get(key).map(|node| (*key, node))).collect();
    let (kind, from, within) = match given.as_slice() {
        [(kind, from)] => (kind, from, None),
        // A pattern beside another place is looked for in what stands there.
        [(kind, from), ("regex", pattern)] => (kind, from, Some(*pattern)),
        _ => {
            let message = format!("an extraction has one of {}, or one and `regex`", listed(SOURCES));
            return Err(Fault::new(reader.place(), message));
        }
    };
    for (key, wanted) in [("attribute", "css"), ("group", "regex")] {
        let has = *kind == wanted || within.is_some() && wanted == "regex";
        if let Some(stray) = reader.key(key).filter(|_| !has) {
            return Err(Fault::new(stray.place, format!("`{key}` goes with `{wanted}`")));
        }
    }
    let take = reader.get("take").map(|node| take(node, source)).transpose()?.unwrap_or(Take::AsItIs);
    if matches!(*kind, "header" | "cookie" | "between" | "status")
        && within.is_none()
        && let Some(key) = reader.key("take")
    {
        return Err(Fault::new(key.place, format!("`{kind}` gives one value: `take` means nothing here")));
    }
    let from = match *kind {
        "json" => json_source(from, source)?,
        "header" => {
            let text = from.text(source, "a header name")?;
            let name = HeaderName::from_bytes(text.as_bytes());
            Source::Header(name.map_err(|_| Fault::new(from.place, format!("{text:?} is no header name")))?)
        }
        "status" => match from.flag()? {
            true => Source::Status,
            false => return Err(from.expected("true: the status is always there")),
        },
        "cookie" => Source::Cookie(from.text(source, "a cookie's name")?),
        "css" => {
            let text = from.text(source, "a CSS selector such as input[name=csrf]")?;
            let selector = Selector::parse(&text).map_err(|_| {
                Fault::new(
                    from.place,
                    format!("{text:?} is no CSS selector: write e.g. li.item > a or input[name=csrf]"),
                )
            })?;
            let attribute =
                reader.get("attribute").map(|n| n.text(source, "an attribute's name")).transpose()?;
            Source::Css(Arc::new(selector), attribute)
        }
        "regex" => {
            let (pattern, group) = regex(from, reader.get("group"), source)?;
            Source::Pattern(pattern, group)
        }
        _ => between(from, source)?,
    };
    let from = match within {
        None => from,
        Some(node) => {
            let (pattern, group) = regex(node, reader.get("group"), source)?;
            Source::Within(Box::new(from), pattern, group)
        }
    };
    Ok((from, take, missing, keep))
}

/// A pattern, and the number of the group that is meant.
fn regex(node: &Node, group: Option<&Node>, source: &str) -> Result<(Pattern, usize), Fault> {
    let text = node.text(source, "a regular expression")?;
    let pattern = pattern(&text).map_err(|m| Fault::new(node.place, m))?;
    let groups = pattern.0.captures_len() - 1;
    let index = match group {
        None => usize::from(groups > 0),
        Some(node) => match &node.value {
            Value::Int(_) => node.count("group", 0..=groups as i64)? as usize,
            _ => {
                let name = node.text(source, "the number or name of a group")?;
                pattern.0.capture_names().position(|n| n == Some(&name)).ok_or_else(|| {
                    Fault::new(
                        node.place,
                        format!("the pattern has no group `{name}`: groups are written (?<{name}>…)"),
                    )
                })?
            }
        },
    };
    Ok((pattern, index))
}

fn between(node: &Node, source: &str) -> Result<Source, Fault> {
    match node.items() {
        [left, right] => {
            let (left, right) = (left.text(source, "a text")?, right.text(source, "a text")?);
            if left.is_empty() || right.is_empty() {
                return Err(Fault::new(node.place, "`between` needs two texts that are not empty"));
            }
            Ok(Source::Between(left, right))
        }
        _ => Err(node.expected("two texts, e.g. between: ['value=\"', '\"']")),
    }
}

/// Who keeps a value: `user` or `run`.
pub fn keep(node: &Node, source: &str) -> Result<Keep, Fault> {
    let text = node.text(source, "user or run")?;
    match text.trim() {
        "user" => Ok(Keep::User),
        "run" => Ok(Keep::Run),
        _ => Err(node.expected(
            "user (the variable lasts as long as its user) or run (to the end of the run, for all users)",
        )),
    }
}

/// `first`, `last`, `random`, `all`, or a number from 0.
fn take(node: &Node, source: &str) -> Result<Take, Fault> {
    if let Value::Int(n) = node.value {
        return Ok(Take::Nth(n));
    }
    let text = node.text(source, "first, last, random, all or a number")?;
    match text.as_str() {
        "first" => Ok(Take::Nth(0)),
        "last" => Ok(Take::Nth(-1)),
        "random" => Ok(Take::Random),
        "all" => Ok(Take::All),
        _ => Err(match nearest(&text, ["first", "last", "random", "all"]) {
            Some(near) => {
                Fault::new(node.place, format!("`{text}` is not known here; did you mean `{near}`?"))
            }
            None => node.expected("first, last, random, all or a number from 0"),
        }),
    }
}

fn json_source(node: &Node, source: &str) -> Result<Source, Fault> {
    let text = node.text(source, "a JSONPath such as $.token")?;
    let path = json_path(&text).map_err(|m| Fault::new(node.place, m))?;
    Ok(Source::Json(Arc::new(path), several(&text)))
}

fn json_path(text: &str) -> Result<JsonPath, String> {
    if !text.starts_with('$') {
        return Err(format!("{text:?} is no JSONPath: it starts with `$`, e.g. $.token or $.items[*].id"));
    }
    JsonPath::parse(text).map_err(|e| format!("{text:?} is no JSONPath: {}", e.message()))
}

/// Whether a path can name more than one place: wildcards, slices, unions, filters, descendants.
fn several(path: &str) -> Several {
    let mut quote = None;
    let mut before = ' ';
    for c in path.chars() {
        match (quote, c) {
            (Some(open), c) if c == open && before != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '*' | '?' | ':' | ',') => return Several::Yes,
            (None, '.') if before == '.' => return Several::Yes,
            _ => {}
        }
        before = c;
    }
    Several::No
}

/// Checks of the answer.
pub fn expect(node: &Node, names: &Names, context: &Context, kind: StepKind) -> Result<Expect, Fault> {
    let source = context.source;
    let reader = Reader::new(node, "expect", EXPECT_KEYS)?;
    let status = match reader.get("status") {
        None => any_status(kind),
        Some(node) if kind == StepKind::Grpc => {
            StatusCheck::Rpc(node.items().iter().map(|n| rpc_status(n, source)).collect::<Result<_, _>>()?)
        }
        Some(node) => {
            StatusCheck::OneOf(node.items().iter().map(|n| status(n, source)).collect::<Result<_, _>>()?)
        }
    };
    let json = match reader.get("json") {
        Some(node) => json_checks(node, names, context)?,
        None => Vec::new(),
    };
    let mut headers = Vec::new();
    if let Some(node) = reader.get("headers") {
        for (key, node) in entries(node, "a mapping of header names to conditions")? {
            let header = HeaderName::from_bytes(key.text.as_bytes())
                .map_err(|_| Fault::new(key.place, format!("{:?} is no header name", key.text)))?;
            let condition = condition(node, names, context)?;
            headers.push(HeaderCheck {
                name: format!("header {header} {condition}").into(),
                header,
                condition,
            });
        }
    }
    let texts = |key: &str, word: &str| -> Result<Vec<(Arc<str>, Template)>, Fault> {
        let nodes = reader.get(key).map(Node::items).unwrap_or_default();
        nodes
            .iter()
            .map(|node| {
                let text = node.text(source, "a text")?;
                if text.is_empty() {
                    return Err(Fault::new(node.place, format!("`{key}` needs a text that is not empty")));
                }
                Ok((Arc::from(format!("{word} {text:?}")), plain(node, &text, names, context)?))
            })
            .collect()
    };
    let (contains, lacks) = (texts("contains", "contains")?, texts("not_contains", "not contains")?);
    let mut matches = Vec::new();
    for node in reader.get("matches").map(Node::items).unwrap_or_default() {
        let text = node.text(source, "a regular expression")?;
        let pattern = pattern(&text).map_err(|m| Fault::new(node.place, m))?;
        matches.push((Arc::from(format!("matches {text}")), pattern));
    }
    let size = reader.get("size").map(|node| size(node, source)).transpose()?;
    let mut that = Vec::new();
    if let Some(node) = reader.get("that") {
        for (key, node) in
            entries(node, "a mapping of names to conditions, e.g. {cart has items: cart | length > 0}")?
        {
            that.push((Arc::from(key.text.as_str()), super::flow::condition(node, "that", names, context)?));
        }
    }
    let within = match reader.get("within") {
        None => None,
        Some(node) => {
            let limit = positive_duration(node, source, "`within`")?;
            Some((Arc::from(format!("within {}", duration_text(limit))), limit))
        }
    };
    let expect = Expect { status, json, headers, contains, lacks, matches, size, within, that };
    unlike_names(&expect, node)?;
    Ok(expect)
}

/// A mapping of JSONPaths to conditions.
pub fn json_checks(node: &Node, names: &Names, context: &Context) -> Result<Vec<JsonCheck>, Fault> {
    let mut json = Vec::new();
    for (key, node) in entries(node, "a mapping of JSONPaths to conditions")? {
        let path = json_path(&key.text).map_err(|m| Fault::new(key.place, m))?;
        let condition = condition(node, names, context)?;
        let name = format!("json {} {condition}", key.text).into();
        json.push(JsonCheck { name, path: Arc::new(path), condition });
    }
    Ok(json)
}

/// Checks are counted by name: two of one name could not be told apart.
fn unlike_names(expect: &Expect, node: &Node) -> Result<(), Fault> {
    let mut names = expect.names();
    names.sort();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Fault::new(node.place, format!("two checks are named `{}`", pair[0]))),
        None => Ok(()),
    }
}

/// `"< 10kB"`, `"> 0"`, or a number that it must be.
fn size(node: &Node, source: &str) -> Result<(Arc<str>, Comparison, u64), Fault> {
    let text = node.text(source, "a size such as < 10kB")?;
    let (comparison, number) = Comparison::parse(text.trim()).unwrap_or((Comparison::Equal, text.trim()));
    let bytes = quantity::bytes(number).map_err(|m| Fault::new(node.place, m))?;
    Ok((Arc::from(format!("size {comparison} {number}")), comparison, bytes))
}

/// What a status must be where nothing is said.
pub fn any_status(kind: StepKind) -> StatusCheck {
    match kind {
        StepKind::Grpc => StatusCheck::Rpc(vec![0]),
        _ => StatusCheck::NoError,
    }
}

/// `OK`, `NOT_FOUND`, or the number.
fn rpc_status(node: &Node, source: &str) -> Result<u16, Fault> {
    let text = node.text(source, "a status of gRPC such as OK or NOT_FOUND")?;
    let number = text.parse::<usize>().ok().filter(|n| *n < GRPC_STATUSES.len());
    let named = || GRPC_STATUSES.iter().position(|name| name.eq_ignore_ascii_case(text.trim()));
    number.or_else(named).map(|n| n as u16).ok_or_else(|| {
        match nearest(&text.to_uppercase(), GRPC_STATUSES) {
            Some(near) => {
                Fault::new(node.place, format!("`{text}` is no status of gRPC; did you mean `{near}`?"))
            }
            None => node.expected("a status of gRPC such as OK or NOT_FOUND, or a number from 0 to 16"),
        }
    })
}

fn status(node: &Node, source: &str) -> Result<StatusRange, Fault> {
    let text = node.text(source, "a status such as 200 or 2xx")?;
    StatusRange::parse(&text).ok_or_else(|| node.expected("a status such as 200 or 2xx"))
}

/// A text is a condition; any other value must be equal.
fn condition(node: &Node, names: &Names, context: &Context) -> Result<Condition, Fault> {
    use super::super::threshold::Comparison::Equal;
    match &node.value {
        Value::Text(text) if text.contains("{{") => {
            let (how, operand) = MadeCondition::split(text).map_err(|m| Fault::new(node.place, m))?;
            let offset = text.chars().count() - operand.chars().count();
            let made = Template::parse(operand, names, Escape::Plain, template::as_it_is)
                .map_err(|fault| context.template_fault(node, text, offset, fault))?;
            Ok(Condition::Made(Box::new(MadeCondition {
                how,
                operand: made,
                typed: text.trim().to_string(),
            })))
        }
        Value::Text(text) => Condition::parse(text).map_err(|m| Fault::new(node.place, m)),
        Value::Int(n) => Ok(Condition::Compares(Equal, (*n).into())),
        Value::Float(n) => Ok(Condition::Compares(Equal, (*n).into())),
        Value::Bool(b) => Ok(Condition::Compares(Equal, (*b).into())),
        Value::Null => Ok(Condition::Absent),
        _ => Err(node.expected(&format!("a condition such as {}", listed(&["> 0", "exists", "contains x"])))),
    }
}
