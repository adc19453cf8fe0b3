//! `grpc:`: calls of gRPC, and at the top where their messages are described.

use super::super::calls::{Call, RpcCall, Sending, Until};
use super::super::check::pattern;
use super::super::descriptors::{self, Inner};
use super::super::error::{Fault, listed, nearest};
use super::super::template::{Names, Template};
use super::super::types::{Caching, ProtocolChoice, Redirects, Step};
use super::super::yaml::{Node, Reader, Value};
use super::request::{request_target, target_of};
use super::step::bare_step;
use super::value::json;
use super::{Context, Scope, positive_duration};
use http::Method;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor};
use std::path::{Path, PathBuf};

/// Keys of `grpc` at the top.
pub const GRPC_KEYS: &[&str] = &["protoset", "proto", "include", "reflection"];
/// Keys of `until`.
pub const UNTIL_KEYS: &[&str] = &["messages", "events", "match", "for"];
const MOST_MESSAGES: usize = 100_000;

/// Reads `grpc: {protoset: …}` or `grpc: {proto: …, include: …}`; nothing where services are asked.
pub fn types(top: &Reader, context: &Context) -> Result<Option<DescriptorPool>, Fault> {
    let Some(node) = top.get("grpc") else { return Ok(None) };
    let reader = Reader::new(node, "grpc", GRPC_KEYS)?;
    let asks = reader.get("reflection").map(Node::flag).transpose()?;
    let given = reader.key("protoset").or(reader.key("proto"));
    match (asks, given) {
        (Some(true), Some(key)) => {
            return Err(Fault::new(
                key.place,
                format!("`{}` beside `reflection`: messages are described by one or the other", key.text),
            ));
        }
        (Some(false), None) => {
            return Err(Fault::new(
                reader.place(),
                "without reflection the messages need `protoset` or `proto` files",
            ));
        }
        (_, None) => {
            if let Some(key) = reader.key("include") {
                return Err(Fault::new(key.place, "`include` goes with `proto`"));
            }
            return Ok(None);
        }
        (_, Some(_)) => {}
    }
    let mut pool = DescriptorPool::new();
    for node in reader.get("protoset").map(Node::items).unwrap_or_default() {
        let (name, bytes) = context.file(node)?;
        descriptors::add_set(&mut pool, &bytes)
            .map_err(|why| Fault::new(node.place, format!("{name} is not usable: {why}")))?;
    }
    let base = Path::new(context.file).parent().unwrap_or(Path::new(""));
    let mut folders = Vec::new();
    for node in reader.get("include").map(Node::items).unwrap_or_default() {
        folders.push(base.join(node.text(context.source, "the name of a folder")?));
    }
    for node in reader.get("proto").map(Node::items).unwrap_or_default() {
        let name = node.text(context.source, "the name of a .proto file")?;
        let path = base.join(&name);
        let own = [path.parent().map(PathBuf::from).unwrap_or_default()];
        let folders = if folders.is_empty() { own.as_slice() } else { folders.as_slice() };
        let unusable = |why: String| Fault::new(node.place, format!("{name} is not usable: {why}"));
        let compiled = descriptors::compile(&path, folders, context.surroundings.read).map_err(unusable)?;
        let files = compiled.file_descriptor_protos().cloned();
        pool.add_file_descriptor_protos(files).map_err(|e| unusable(e.to_string()))?;
    }
    Ok(Some(pool))
}

/// A step with `grpc: shop.v1.Catalog/GetProduct`, without what all steps have.
pub fn step(node: &Node, reader: &Reader, scope: &Scope) -> Result<Step, Fault> {
    let Scope { names, inherited, context, building } = *scope;
    let typed = node.text(context.source, "a method such as shop.v1.Catalog/GetProduct")?;
    let path = typed.trim_start_matches('/');
    let wrong = || {
        Fault::new(
            node.place,
            format!(
                "{typed:?} is no method of gRPC: write service and method, e.g. shop.v1.Catalog/GetProduct"
            ),
        )
    };
    let (service, method) = path.rsplit_once('/').ok_or_else(wrong)?;
    let word = |text: &str, dots: bool| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || dots && c == '.')
    };
    if !word(service, true) || !word(method, false) {
        return Err(wrong());
    }
    let types = building.rpc_types.as_ref().map(|pool| described(node, pool, service, method)).transpose()?;
    let target = target_of(reader, scope)?;
    let text = format!("/{service}/{method}");
    let mut target = request_target(node, &text, 0, target, scope)?;
    target.endpoint = building.speaking(target.endpoint, ProtocolChoice::Http2Only);
    let mut step = bare_step(Method::POST, target, inherited);
    step.path_template = path.to_string();
    let (messages, sending) = messages(reader, names, context, types.as_ref())?;
    let until = until(reader, "messages", context)?;
    if let (Some(types), Some(key)) = (&types, reader.key("until"))
        && !types.is_server_streaming()
    {
        return Err(Fault::new(key.place, format!("{path} gives one answer: `until` is for streams")));
    }
    step.call = Call::Grpc(Box::new(RpcCall {
        service: service.to_string(),
        method: method.to_string(),
        types,
        messages,
        sending,
        until,
    }));
    (step.cache, step.redirects) = (Caching::Never, Redirects::Answer);
    Ok(step)
}

/// The method among those that the files describe.
fn described(
    node: &Node,
    pool: &DescriptorPool,
    service: &str,
    method: &str,
) -> Result<MethodDescriptor, Fault> {
    let no = |what: String, known: Vec<String>| {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let word = if what.starts_with("service") { service } else { method };
        Fault::new(
            node.place,
            match nearest(word, known.iter().copied()) {
                Some(near) => format!("there is no {what}; did you mean `{near}`?"),
                None if known.is_empty() => format!("there is no {what}: the files describe none"),
                None => format!("there is no {what}; there are {}", listed(&known)),
            },
        )
    };
    let found = pool
        .get_service_by_name(service)
        .ok_or_else(|| no(format!("service `{service}`"), descriptors::services(pool)))?;
    found
        .methods()
        .find(|m| m.name() == method)
        .ok_or_else(|| no(format!("method `{method}` of {service}"), descriptors::methods(&found)))
}

/// `message`, or `messages` and how they are sent.
fn messages(
    reader: &Reader,
    names: &Names,
    context: &Context,
    types: Option<&MethodDescriptor>,
) -> Result<(Vec<Template>, Sending), Fault> {
    let one = |node: &Node| -> Result<Template, Fault> {
        if !matches!(node.value, Value::Map(_)) {
            return Err(node.expected("a message: a mapping of its fields to values"));
        }
        let mut text = Template::default();
        json(node, names, context, &mut text)?;
        if let Some(types) = types {
            fits(node, &types.input())?;
            if let Some(text) = text.revealed().as_static() {
                let whole =
                    DynamicMessage::deserialize(types.input(), &mut serde_json::Deserializer::from_str(text));
                whole.map_err(|e| {
                    let words = e.to_string();
                    let words = words.split(" at line ").next().unwrap_or_default();
                    Fault::new(node.place, format!("it is no {}: {words}", types.input().full_name()))
                })?;
            }
        }
        Ok(text)
    };
    let streams = types.is_none_or(MethodDescriptor::is_client_streaming);
    let several = match (reader.get("message"), reader.get("messages")) {
        (Some(_), Some(second)) => {
            return Err(Fault::new(second.place, "a call has `message` or `messages`, not both"));
        }
        (Some(node), None) => vec![one(node)?],
        (None, None) => vec![Template::text("{}")],
        (None, Some(node)) => {
            let Value::List(items) = &node.value else {
                return Err(node.expected("a list of messages; for a single one write `message`"));
            };
            if items.len() > MOST_MESSAGES {
                return Err(Fault::new(node.place, format!("more than {MOST_MESSAGES} messages")));
            }
            if !streams && items.len() != 1 {
                return Err(Fault::new(
                    node.place,
                    "the method takes one message: it is no stream of the client's",
                ));
            }
            items.iter().map(one).collect::<Result<_, _>>()?
        }
    };
    let Some(node) = reader.get("send") else { return Ok((several, Sending::Together)) };
    if !streams {
        return Err(Fault::new(
            node.place,
            "the method takes one message: `send` is for streams of the client's",
        ));
    }
    let text = node.text(context.source, "together, in_turn or every 100ms")?;
    let sending = match text.trim() {
        "together" => Sending::Together,
        "in_turn" => {
            if types.is_some_and(|types| !types.is_server_streaming()) {
                return Err(Fault::new(
                    node.place,
                    "the service answers once, at the end: nothing would come in turn",
                ));
            }
            Sending::InTurn
        }
        other => match other.strip_prefix("every ").map(super::quantity::duration) {
            Some(Ok(length)) => Sending::Every(length),
            Some(Err(why)) => return Err(Fault::new(node.place, why)),
            None => return Err(node.expected("together, in_turn or every 100ms")),
        },
    };
    Ok((several, sending))
}

/// Whether all fields of a message are those of its type.
fn fits(node: &Node, message: &MessageDescriptor) -> Result<(), Fault> {
    let Value::Map(map) = &node.value else { return Ok(()) };
    if message.full_name().starts_with("google.protobuf.") {
        return Ok(());
    }
    for (key, value) in map {
        match descriptors::inner(message, &key.text) {
            Inner::Value => {}
            Inner::Unknown => {
                let known = descriptors::fields(message);
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let name = message.full_name();
                return Err(Fault::new(
                    key.place,
                    match nearest(&key.text, known.iter().copied()) {
                        Some(near) => format!("{name} has no field `{}`; did you mean `{near}`?", key.text),
                        None if known.is_empty() => format!("{name} has no fields"),
                        None => {
                            format!("{name} has no field `{}`; its fields are {}", key.text, listed(&known))
                        }
                    },
                ));
            }
            Inner::Message(inner) => value.items().iter().try_for_each(|item| fits(item, &inner))?,
            Inner::Values(inner) => {
                if let Value::Map(values) = &value.value {
                    values.iter().try_for_each(|(_, item)| fits(item, &inner))?;
                }
            }
        }
    }
    Ok(())
}

/// `until: {messages: 10, match: done, for: 5s}`.
pub fn until(reader: &Reader, what: &str, context: &Context) -> Result<Until, Fault> {
    let Some(node) = reader.get("until") else { return Ok(Until::default()) };
    let until = Reader::new(node, "until", UNTIL_KEYS)?;
    let other = if what == "events" { "messages" } else { "events" };
    if let Some(key) = until.key(other) {
        return Err(Fault::new(key.place, format!("`{other}` means nothing here: write `{what}`")));
    }
    let count = until.get(what).map(|n| n.count(what, 1..=1_000_000_000)).transpose()?;
    let matches = match until.get("match") {
        None => None,
        Some(node) => {
            let text = node.text(context.source, "a regular expression")?;
            Some(pattern(&text).map_err(|why| Fault::new(node.place, why))?)
        }
    };
    let length = until.get("for").map(|n| positive_duration(n, context.source, "`for`")).transpose()?;
    let until = Until { count, matches, length };
    if until.is_open() {
        return Err(node.expected(&format!("{what}, match or for")));
    }
    Ok(until)
}

/// Metadata that is not the protocol's own.
pub fn metadata_is_sound(node: &Node) -> Result<(), Fault> {
    let Value::Map(map) = &node.value else { return Ok(()) };
    for (key, _) in map {
        if key.text.to_ascii_lowercase().starts_with("grpc-") {
            return Err(Fault::new(
                key.place,
                format!(
                    "`{}`: names that begin with grpc- are the protocol's own (`timeout` sets the deadline)",
                    key.text
                ),
            ));
        }
    }
    Ok(())
}
