//! `ws:`: conversations over a WebSocket.

use super::super::calls::{Awaited, Call, Conversation, Said, Turn};
use super::super::error::Fault;
use super::super::mask::Kind;
use super::super::template::{Names, Template};
use super::super::types::{Caching, ProtocolChoice, Redirects, Step};
use super::super::yaml::{Node, Reader, Value};
use super::expect::{extracts, json_checks};
use super::request::{request_target, target_of};
use super::step::bare_step;
use super::value::{json, plain};
use super::{Context, Scope, positive_duration};
use http::Method;

/// Keys of an entry of a script.
pub const TURN_KEYS: &[&str] = &["send", "expect", "extract", "wait", "ping", "close", "repeat", "script"];
/// Keys of what is sent.
pub const SAID_KEYS: &[&str] = &["json", "text", "binary"];
/// Keys of what is waited for.
pub const AWAITED_KEYS: &[&str] = &["json", "contains", "matches", "within", "close"];
/// Keys of a close.
pub const CLOSE_KEYS: &[&str] = &["code", "reason"];
const MOST_TURNS: usize = 10_000;

/// A step with `ws: /chat`, without what all steps have.
pub fn step(node: &Node, reader: &Reader, scope: &Scope) -> Result<Step, Fault> {
    let Scope { names, inherited, context, building } = *scope;
    context.secret(node, Kind::Url);
    let typed = node.text(context.source, "a path such as /chat")?;
    // The target says whether there is TLS; whoever writes a whole URL writes ws:// or wss://.
    let text = match typed.split_once("://") {
        Some(("ws", rest)) => format!("http://{rest}"),
        Some(("wss", rest)) => format!("https://{rest}"),
        _ => typed.clone(),
    };
    let target = target_of(reader, scope)?;
    let mut target = request_target(node, &text, 0, target, scope)?;
    target.endpoint = building.speaking(target.endpoint, ProtocolChoice::Http1);
    let mut step = bare_step(Method::GET, target, inherited);
    let mut subprotocols = Vec::new();
    for node in reader.get("subprotocol").map(Node::items).unwrap_or_default() {
        let name = node.text(context.source, "the name of a subprotocol")?;
        if !name.chars().all(|c| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c)) {
            return Err(Fault::new(node.place, format!("{name:?} is no name of a subprotocol")));
        }
        subprotocols.push(name);
    }
    let mut script = Vec::new();
    if let Some(node) = reader.get("script") {
        let mut names = names.clone();
        list(node, &mut names, context, &mut script)?;
    }
    step.call = Call::WebSocket(Box::new(Conversation { subprotocols, script }));
    (step.cache, step.redirects) = (Caching::Never, Redirects::Answer);
    Ok(step)
}

fn list(node: &Node, names: &mut Names, context: &Context, out: &mut Vec<Turn>) -> Result<(), Fault> {
    let Value::List(items) = &node.value else {
        return Err(node.expected("a list such as [{send: hello}, {expect: {contains: hi}}]"));
    };
    items.iter().try_for_each(|item| turn(item, names, context, out))?;
    if out.len() > MOST_TURNS {
        return Err(Fault::new(node.place, format!("more than {MOST_TURNS} entries in a script")));
    }
    Ok(())
}

fn turn(node: &Node, names: &mut Names, context: &Context, out: &mut Vec<Turn>) -> Result<(), Fault> {
    if let Value::Text(word) = &node.value {
        out.push(match word.trim() {
            "ping" => Turn::Ping,
            "close" => Turn::Close { code: 1000, reason: String::new() },
            "expect" => Turn::Expect(Box::new(any_message())),
            _ => return Err(node.expected("send, expect, wait, ping, close, or repeat with its script")),
        });
        return Ok(());
    }
    let reader = Reader::new(node, "an entry of a script", TURN_KEYS)?;
    let kinds = ["send", "expect", "wait", "ping", "close", "repeat"];
    let given: Vec<_> = kinds.iter().filter_map(|kind| reader.key(kind)).collect();
    let [kind] = given.as_slice() else {
        return Err(match given.as_slice() {
            [] => Fault::new(
                reader.place(),
                "an entry of a script has one of send, expect, wait, ping, close and repeat",
            ),
            [_, second, ..] => Fault::new(
                second.place,
                format!("`{}` is an entry of its own: one after the other", second.text),
            ),
            [_] => Fault::new(reader.place(), "an entry of a script has one key"),
        });
    };
    for (key, with) in [("extract", "expect"), ("script", "repeat")] {
        if let Some(stray) = reader.key(key).filter(|_| kind.text != with) {
            return Err(Fault::new(stray.place, format!("`{key}` goes with `{with}`")));
        }
    }
    let value = reader.get(&kind.text);
    let needed = |what: &str| Fault::new(kind.place, format!("`{}` has no value: {what}", kind.text));
    match kind.text.as_str() {
        "send" => {
            let value = value.ok_or_else(|| needed("write a text, or {json: {…}}"))?;
            out.push(Turn::Send(said(value, names, context)?));
        }
        "wait" => {
            let value = value.ok_or_else(|| needed("write a length of time such as 500ms"))?;
            out.push(Turn::Wait(positive_duration(value, context.source, "`wait`")?));
        }
        "ping" => out.push(Turn::Ping),
        "close" => out.push(close(value, context)?),
        "repeat" => {
            let value = value.ok_or_else(|| needed("write a number of rounds"))?;
            let rounds = value.count("repeat", 1..=1_000_000)?;
            let script = reader.need(
                "script",
                "what is repeated, e.g. script: [{send: tick}, {expect: {contains: tock}}]",
            )?;
            let mut inner = Vec::new();
            list(script, names, context, &mut inner)?;
            out.push(Turn::Repeat(rounds, inner));
        }
        _ => {
            let mut awaited = match value {
                Some(value) => awaited(value, names, context)?,
                None => any_message(),
            };
            if let Some(node) = reader.get("extract") {
                if awaited.close.is_some() {
                    return Err(Fault::new(node.place, "a close is no message: there is nothing to extract"));
                }
                awaited.extract = extracts(node, names, context.source)?;
                awaited.extract.iter().for_each(|extract| {
                    names.declare(&extract.name);
                });
            }
            out.push(Turn::Expect(Box::new(awaited)));
        }
    }
    Ok(())
}

fn any_message() -> Awaited {
    Awaited { name: "message".into(), ..Awaited::default() }
}

/// A text, or `{json: …}`, `{text: …}`, `{binary: …}`.
fn said(node: &Node, names: &Names, context: &Context) -> Result<Said, Fault> {
    if !matches!(node.value, Value::Map(_)) {
        let text = node.text(context.source, "a text, or {json: {…}} or {binary: base64}")?;
        return Ok(Said::Text(plain(node, &text, names, context)?));
    }
    let reader = Reader::new(node, "a message", SAID_KEYS)?;
    match (reader.get("json"), reader.get("text"), reader.get("binary")) {
        (Some(node), None, None) => {
            let mut text = Template::default();
            json(node, names, context, &mut text)?;
            Ok(Said::Text(text))
        }
        (None, Some(node), None) => {
            let text = node.text(context.source, "a text")?;
            Ok(Said::Text(plain(node, &text, names, context)?))
        }
        (None, None, Some(node)) => {
            let text = node.text(context.source, "base64 of the bytes")?;
            let template = plain(node, &text, names, context)?;
            if let Some(fixed) = template.revealed().as_static()
                && super::super::address::base64_bytes(fixed).is_none()
            {
                return Err(node.expected("base64 of the bytes, e.g. AAEC"));
            }
            Ok(Said::Binary(template))
        }
        _ => Err(Fault::new(reader.place(), "a message has one of json, text and binary")),
    }
}

fn awaited(node: &Node, names: &Names, context: &Context) -> Result<Awaited, Fault> {
    let source = context.source;
    if !matches!(node.value, Value::Map(_)) {
        let text =
            node.text(source, "a text that the message contains, or {json: {…}, contains: …, within: 1s}")?;
        return Ok(Awaited {
            name: format!("message contains {text:?}").into(),
            contains: vec![plain(node, &text, names, context)?],
            ..Awaited::default()
        });
    }
    let reader = Reader::new(node, "expect", AWAITED_KEYS)?;
    let mut awaited = Awaited::default();
    let mut parts: Vec<String> = Vec::new();
    if let Some(node) = reader.get("json") {
        awaited.json = json_checks(node, names, context)?;
        parts.extend(awaited.json.iter().map(|check| check.name.to_string()));
    }
    for node in reader.get("contains").map(Node::items).unwrap_or_default() {
        let text = node.text(source, "a text")?;
        parts.push(format!("contains {text:?}"));
        awaited.contains.push(plain(node, &text, names, context)?);
    }
    for node in reader.get("matches").map(Node::items).unwrap_or_default() {
        let text = node.text(source, "a regular expression")?;
        awaited.matches.push(super::super::check::pattern(&text).map_err(|why| Fault::new(node.place, why))?);
        parts.push(format!("matches {text}"));
    }
    if let Some(node) = reader.get("within") {
        awaited.within = Some(positive_duration(node, source, "`within`")?);
    }
    if let Some(node) = reader.get("close") {
        if let Some(part) = parts.first() {
            return Err(Fault::new(
                node.place,
                format!("a close is no message: `{part}` is waited for in an entry of its own"),
            ));
        }
        let code = close_code(node)?;
        awaited.close = Some(code);
        parts.push(format!("close {code}"));
    }
    awaited.name = match (awaited.close, parts.is_empty()) {
        (Some(_), _) => parts.join(", ").into(),
        (None, true) => "message".into(),
        (None, false) => format!("message {}", parts.join(", ")).into(),
    };
    Ok(awaited)
}

/// `close`, `close: 1000`, `close: {code: 4000, reason: bye}`.
fn close(node: Option<&Node>, context: &Context) -> Result<Turn, Fault> {
    let Some(node) = node else { return Ok(Turn::Close { code: 1000, reason: String::new() }) };
    if !matches!(node.value, Value::Map(_)) {
        return Ok(Turn::Close { code: sendable(node)?, reason: String::new() });
    }
    let reader = Reader::new(node, "close", CLOSE_KEYS)?;
    let code = reader.get("code").map(sendable).transpose()?.unwrap_or(1000);
    let reason = match reader.get("reason") {
        None => String::new(),
        Some(node) => {
            let text = node.text(context.source, "a reason")?;
            if text.len() > 123 {
                return Err(Fault::new(node.place, "a reason has at most 123 bytes (RFC 6455, section 5.5)"));
            }
            text
        }
    };
    Ok(Turn::Close { code, reason })
}

fn close_code(node: &Node) -> Result<u16, Fault> {
    Ok(node.count("a close code", 1000..=4999)? as u16)
}

/// A code that a client may send (RFC 6455, section 7.4).
fn sendable(node: &Node) -> Result<u16, Fault> {
    let code = close_code(node)?;
    match code {
        1000 | 1001 | 1002 | 1003 | 1007..=1011 | 3000..=4999 => Ok(code),
        _ => Err(Fault::new(
            node.place,
            format!(
                "the close code {code} is never sent: use 1000 (done), or one of 3000 to 4999 of your own"
            ),
        )),
    }
}
