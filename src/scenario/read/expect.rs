//! What is taken from a step's answer, and what must hold of it.

use super::super::check::{Condition, StatusCheck, StatusRange};
use super::super::error::{Fault, listed};
use super::super::quantity::duration_text;
use super::super::template::Names;
use super::super::types::*;
use super::super::yaml::{Node, Reader, Value, entries};
use super::positive_duration;
use super::step::variable_name;
use http::HeaderName;
use serde_json_path::JsonPath;
use std::sync::Arc;

/// Variables and where they stand in the answer.
pub fn extracts(node: &Node, names: &Names, source: &str) -> Result<Vec<Extract>, Fault> {
    let mut names = names.clone();
    let mut all = Vec::new();
    for (key, node) in entries(node, "a mapping of variables to where they are, e.g. {token: $.token}")? {
        variable_name(key)?;
        let slot = names.declare(&key.text);
        let (from, missing) = extract_source(node, source)?;
        all.push(Extract { name: key.text.clone(), slot, source: from, missing });
    }
    Ok(all)
}

fn extract_source(node: &Node, source: &str) -> Result<(Source, Missing), Fault> {
    if !matches!(node.value, Value::Map(_)) {
        return Ok((json_source(node, source)?, Missing::Failure));
    }
    let reader = Reader::new(node, "an extraction", &["json", "header", "between", "optional"])?;
    let missing = match reader.get("optional").map(Node::flag).transpose()? {
        Some(true) => Missing::Ignored,
        _ => Missing::Failure,
    };
    let from = match (reader.get("json"), reader.get("header"), reader.get("between")) {
        (Some(node), None, None) => json_source(node, source)?,
        (None, Some(node), None) => {
            let text = node.text(source, "a header name")?;
            let name = HeaderName::from_bytes(text.as_bytes());
            Source::Header(name.map_err(|_| Fault::new(node.place, format!("{text:?} is no header name")))?)
        }
        (None, None, Some(node)) => match node.items() {
            [left, right] => {
                let (left, right) = (left.text(source, "a text")?, right.text(source, "a text")?);
                if left.is_empty() || right.is_empty() {
                    return Err(Fault::new(node.place, "`between` needs two texts that are not empty"));
                }
                Source::Between(left, right)
            }
            _ => return Err(node.expected("two texts, e.g. between: ['value=\"', '\"']")),
        },
        _ => {
            return Err(Fault::new(
                reader.place(),
                "an extraction has one of `json`, `header` and `between`",
            ));
        }
    };
    Ok((from, missing))
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
pub fn expect(node: &Node, source: &str) -> Result<Expect, Fault> {
    let reader = Reader::new(node, "expect", &["status", "json", "headers", "contains", "within"])?;
    let status = match reader.get("status") {
        None => StatusCheck::NoError,
        Some(node) => {
            StatusCheck::OneOf(node.items().iter().map(|n| status(n, source)).collect::<Result<_, _>>()?)
        }
    };
    let mut json = Vec::new();
    if let Some(node) = reader.get("json") {
        for (key, node) in entries(node, "a mapping of JSONPaths to conditions")? {
            let path = json_path(&key.text).map_err(|m| Fault::new(key.place, m))?;
            let condition = condition(node)?;
            let name = format!("json {} {condition}", key.text).into();
            json.push(JsonCheck { name, path: Arc::new(path), condition });
        }
    }
    let mut headers = Vec::new();
    if let Some(node) = reader.get("headers") {
        for (key, node) in entries(node, "a mapping of header names to conditions")? {
            let header = HeaderName::from_bytes(key.text.as_bytes())
                .map_err(|_| Fault::new(key.place, format!("{:?} is no header name", key.text)))?;
            let condition = condition(node)?;
            headers.push(HeaderCheck {
                name: format!("header {header} {condition}").into(),
                header,
                condition,
            });
        }
    }
    let mut contains = Vec::new();
    for node in reader.get("contains").map(Node::items).unwrap_or_default() {
        let text = node.text(source, "a text that the body contains")?;
        contains.push((Arc::from(format!("contains {text:?}")), text));
    }
    let within = match reader.get("within") {
        None => None,
        Some(node) => {
            let limit = positive_duration(node, source, "`within`")?;
            Some((Arc::from(format!("within {}", duration_text(limit))), limit))
        }
    };
    Ok(Expect { status, json, headers, contains, within })
}

fn status(node: &Node, source: &str) -> Result<StatusRange, Fault> {
    let text = node.text(source, "a status such as 200 or 2xx")?;
    StatusRange::parse(&text).ok_or_else(|| node.expected("a status such as 200 or 2xx"))
}

/// A text is a condition; any other value must be equal.
fn condition(node: &Node) -> Result<Condition, Fault> {
    use super::super::threshold::Comparison::Equal;
    match &node.value {
        Value::Text(text) => Condition::parse(text).map_err(|m| Fault::new(node.place, m)),
        Value::Int(n) => Ok(Condition::Compares(Equal, (*n).into())),
        Value::Float(n) => Ok(Condition::Compares(Equal, (*n).into())),
        Value::Bool(b) => Ok(Condition::Compares(Equal, (*b).into())),
        Value::Null => Ok(Condition::Absent),
        _ => Err(node.expected(&format!("a condition such as {}", listed(&["> 0", "exists", "contains x"])))),
    }
}
