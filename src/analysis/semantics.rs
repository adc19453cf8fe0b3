//! What kind of work a span is, from OpenTelemetry's semantic conventions, and the stable name of that work.
//!
//! Decided from the span alone; what only the tree can tell (that the peer of a call is traced, that a span without a kind
//! is a server's entry) is corrected in `tree`.

mod systems;
#[cfg(test)]
mod tests;
mod waiting;

use super::facts::{Facts, Text};
use super::result::Category;
use super::statement;
use crate::record::SpanKind;
use std::borrow::Cow;
use systems::{cloud_service, database_category, system_name};
use waiting::{Waiting, waiting};

/// A span's class: whose time its own time is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub category: Category,
    pub system: String,
    pub name: String,
    pub code: String,
    /// Name of the operation in the list of operations.
    pub operation: String,
    /// Who is called, for calls; for a service's own work the operation of GraphQL that it says it is part of.
    pub peer: String,
    /// What a statement or a key says besides its form.
    pub data: Data,
}

/// The data of a statement: two calls with the same are the same call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Data {
    /// A hash of the text; 0 for what has none.
    pub text: u32,
    /// The text says all: no placeholder stands for anything.
    pub whole: bool,
}

/// The class of a span with these attributes.
pub(super) fn classify(kind: SpanKind, span_name: &str, facts: &Facts<'_>) -> Class {
    let code = code(facts);
    let peer = peer(facts);
    let class = |category, system: &str, name: String, operation: String| Class {
        category,
        system: system.to_owned(),
        name,
        code: code.clone(),
        operation,
        peer: peer.clone(),
        data: Data::default(),
    };
    if matches!(kind, SpanKind::Server | SpanKind::Consumer) {
        let name = operation_name(span_name, facts);
        let peer = graphql_operation(span_name, facts);
        return Class { peer, ..class(Category::App, "", name.clone(), name) };
    }
    let db = facts.text(Text::DbSystem);
    let named = statement::name_template(span_name);
    match waiting(span_name, !db.is_empty()) {
        Some(Waiting::Queue) => return class(Category::Queue, system_name(db), named.clone(), named),
        Some(Waiting::Connection) => return class(Category::Connection, "", named.clone(), named),
        None => {}
    }
    if !db.is_empty() || !facts.text(Text::DbQuery).is_empty() {
        let system = system_name(db);
        let name = database_name(system, span_name, facts);
        let operation = statement::normalise(system, span_name);
        let data = data(system, facts);
        return Class { data, ..class(database_category(system), system, name, operation) };
    }
    let called = matches!(kind, SpanKind::Client | SpanKind::Producer);
    let messaging = facts.text(Text::MessagingSystem);
    let destination = facts.text(Text::Destination);
    if (!messaging.is_empty() || !destination.is_empty()) && (called || kind == SpanKind::Unspecified) {
        return class(Category::Messaging, messaging, message_name(messaging, &named, facts), named);
    }
    if kind == SpanKind::Producer {
        return class(Category::Messaging, "", named.clone(), named);
    }
    if called || (kind == SpanKind::Unspecified && looks_like_a_call(facts)) {
        let (rpc, service) = (facts.text(Text::RpcSystem), facts.text(Text::RpcService));
        if let Some((category, system)) = cloud_service(rpc, service, facts.text(Text::AzureNamespace)) {
            return class(category, system, cloud_name(&named, facts), named);
        }
        let (system, name) = external_name(&named, &peer, facts);
        return class(Category::External, &system, name, named);
    }
    let operation =
        if kind == SpanKind::Internal { graphql_operation(span_name, facts) } else { String::new() };
    let name = inner_name(named, facts);
    let class = class(Category::App, "", name.clone(), name);
    if operation.is_empty() { class } else { Class { peer: operation, ..class } }
}

/// The operation of GraphQL that a span says it is part of, by type and name (`query Products`); empty where it has no name of its
/// own, as then all that are of its type would be one.
fn graphql_operation(span_name: &str, facts: &Facts<'_>) -> String {
    // Strawberry tells it in the name of its span alone, and calls mutations queries, too.
    let told = span_name.strip_prefix("GraphQL Query: ").unwrap_or_default();
    let (kind, name) = (facts.text(Text::GraphqlType), facts.text(Text::GraphqlName));
    let name = if name.is_empty() { told } else { name };
    // What Ariadne and Spring for GraphQL call an operation without a name.
    if matches!(name, "" | "GraphQL Operation" | "query" | "mutation" | "subscription" | "operation") {
        return String::new();
    }
    join(&[kind, &statement::name_template(name)])
}

/// Whether a span is a framework's wait for what the client sends next, or for its going away: ASGI's.
pub(super) fn listens(span_name: &str) -> bool {
    span_name.ends_with(" receive")
        && [" http receive", " websocket receive"].iter().any(|end| span_name.ends_with(end))
}

/// A framework's own spans under a name that a person reads: ASGI's sends and receives without the route that they
/// repeat, GraphQL's operations and fields, an agent's tools.
fn inner_name(named: String, facts: &Facts<'_>) -> String {
    for end in [" http send", " http receive", " websocket send", " websocket receive", " lifespan send"] {
        if named.ends_with(end) {
            return format!("ASGI{end}");
        }
    }
    let field = facts.text(Text::GraphqlField);
    if !field.is_empty() {
        let steps = field.split('.').map(|s| if s.bytes().all(|c| c.is_ascii_digit()) { "*" } else { s });
        return format!("resolve {}", steps.collect::<Vec<_>>().join("."));
    }
    let (graphql, name) = (facts.text(Text::GraphqlType), facts.text(Text::GraphqlName));
    if !graphql.is_empty() || !name.is_empty() {
        return join(&["graphql", graphql, &statement::name_template(name)]);
    }
    let tool = facts.text(Text::GenAiTool);
    if !tool.is_empty() {
        return join(&[facts.text(Text::GenAiOperation), tool]);
    }
    // `middleware - query`, `request handler - /books`: Express and its like.
    match named.split_once(" - ") {
        Some((what @ ("middleware" | "request handler" | "router" | "request_handler"), of)) => {
            format!("{what} {of}")
        }
        _ => named,
    }
}

/// What a message is sent to or taken from, and how. Queues by their name, not their URL or ARN.
fn message_name(system: &str, named: &str, facts: &Facts<'_>) -> String {
    let destination = facts.text(Text::Destination);
    let short = match destination.rsplit_once("://") {
        Some(_) => destination.rsplit('/').next().unwrap_or_default(),
        None if destination.starts_with("arn:") => destination.rsplit(':').next().unwrap_or_default(),
        None => destination,
    };
    // JMS and AMQP name the queue for an answer by a random id.
    let temporary = short.starts_with("amq.gen") || (short.starts_with("ID:") && system != "kafka");
    let short = if temporary { "(temporary)".to_owned() } else { statement::name_template(short) };
    let verb = facts.text(Text::MessagingOperation);
    if short.is_empty() { named.to_owned() } else { join(&[verb, &short]) }
}

/// A cloud's call: its method and what it works on.
fn cloud_name(named: &str, facts: &Facts<'_>) -> String {
    let (service, method) = (facts.text(Text::RpcService), facts.text(Text::RpcMethod));
    let what = facts.first(&[Text::DbCollection, Text::Destination, Text::Bucket, Text::Invoked]);
    let what = what.rsplit(['/', ':']).next().unwrap_or_default();
    let call = match (service, method) {
        (_, "") => named.to_owned(),
        ("", method) => method.to_owned(),
        (_, method) if method.contains('/') => method.to_owned(),
        (service, method) => format!("{service}/{method}"),
    };
    join(&[&call, &statement::name_template(what)])
}

/// The data of a database call.
fn data(system: &str, facts: &Facts<'_>) -> Data {
    let text = facts.text(Text::DbQuery);
    if text.is_empty() {
        return Data::default();
    }
    let mut hash = 0x811C_9DC5u32;
    for byte in text.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    Data { text: hash.max(1), whole: statement::says_all(system, text) }
}

/// The class that a span has when the tree shows that it is a service's entry after all.
pub(super) fn as_entry(class: &Class) -> Class {
    Class { category: Category::App, system: String::new(), name: class.operation.clone(), ..class.clone() }
}

/// Without a kind, only a peer makes a call of an HTTP or RPC span, and a route makes an answer of it.
fn looks_like_a_call(facts: &Facts<'_>) -> bool {
    let protocol = !facts.first(&[Text::Method, Text::RpcSystem]).is_empty();
    protocol
        && facts.text(Text::Route).is_empty()
        && !facts.first(&[Text::Url, Text::Address, Text::Peer]).is_empty()
}

/// What a server calls this request: method and route where they are given, else the span's name without ids.
fn operation_name(span_name: &str, facts: &Facts<'_>) -> String {
    let (method, route) = (facts.text(Text::Method), facts.text(Text::Route));
    if !method.is_empty() && !route.is_empty() {
        return join(&[method, &template_of(route, facts), &graphql_operation("", facts)]);
    }
    let (graphql, named) = (facts.text(Text::GraphqlType), facts.text(Text::GraphqlName));
    if !graphql.is_empty() && !named.is_empty() {
        return join(&["graphql", graphql, &statement::name_template(named)]);
    }
    let path = facts.text(Text::Path);
    let only_method = span_name.eq_ignore_ascii_case(method) || span_name == "HTTP" || span_name.is_empty();
    if !method.is_empty() && only_method && !path.is_empty() {
        return join(&[method, &statement::path_template(path)]);
    }
    statement::name_template(span_name)
}

/// A route, of which the ids are no names where it is the path itself (Litestar: `GET /books/17`).
fn template_of<'a>(route: &'a str, facts: &Facts<'_>) -> Cow<'a, str> {
    facts.route_is_path().map_or(Cow::Borrowed(route), |path| Cow::Owned(statement::path_template(path)))
}

/// `file:line`, or the function's full name, or nothing.
fn code(facts: &Facts<'_>) -> String {
    let (file, function) = (facts.text(Text::CodeFile), facts.text(Text::CodeFunction));
    match (file, facts.line, function) {
        ("", _, "") => String::new(),
        ("", _, function) => match facts.text(Text::CodeNamespace) {
            "" => function.to_owned(),
            namespace => format!("{namespace}.{function}"),
        },
        (file, 0, _) => file.to_owned(),
        (file, line, _) => format!("{file}:{line}"),
    }
}

/// Who is called, in the order of OpenTelemetry's and Tempo's rules: a name given for the peer, then its address.
fn peer(facts: &Facts<'_>) -> String {
    let peer = facts.text(Text::Peer);
    if !peer.is_empty() {
        return peer.to_owned();
    }
    let url = facts.text(Text::Url);
    let authority = url.split_once("://").map_or("", |(_, rest)| rest.split('/').next().unwrap_or_default());
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let address = facts.text(Text::Address);
    if address.is_empty() {
        let known = [authority, facts.text(Text::Host), facts.text(Text::Socket)];
        return known.into_iter().find(|a| !a.is_empty()).unwrap_or_default().to_owned();
    }
    let port = match facts.port {
        0 => authority.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0),
        port => port,
    };
    if matches!(port, 0 | 80 | 443) { address.to_owned() } else { format!("{address}:{port}") }
}

/// Protocol and name of a call to a peer that sends no spans.
fn external_name(span_name: &str, peer: &str, facts: &Facts<'_>) -> (String, String) {
    let gen_ai = facts.text(Text::GenAiSystem);
    let gen_ai_operation = facts.text(Text::GenAiOperation);
    if !gen_ai.is_empty() || !gen_ai_operation.is_empty() {
        return (gen_ai.to_owned(), join(&[gen_ai_operation, facts.text(Text::GenAiModel)]));
    }
    let rpc = facts.text(Text::RpcSystem);
    if !rpc.is_empty() {
        let (service, method) = (facts.text(Text::RpcService), facts.text(Text::RpcMethod));
        let call = match (service, method) {
            ("", "") => span_name.to_owned(),
            ("", method) => method.to_owned(),
            (service, method) if method.starts_with(service) => method.to_owned(),
            (service, method) => format!("{service}/{method}"),
        };
        return (rpc.to_owned(), join(&[peer, &call]));
    }
    let invoked = facts.text(Text::Invoked);
    if !invoked.is_empty() {
        return ("faas".to_owned(), invoked.to_owned());
    }
    let method = facts.text(Text::Method);
    if !method.is_empty() {
        let url = facts.text(Text::Url);
        let url_path =
            url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |slash| &rest[slash..]));
        let template = match facts.first(&[Text::UrlTemplate, Text::Route]) {
            "" => {
                statement::path_template(if url_path.is_empty() { facts.text(Text::Path) } else { url_path })
            }
            template => template.to_owned(),
        };
        let slash = if template.is_empty() || template.starts_with('/') { "" } else { "/" };
        return ("http".to_owned(), format!("{method} {peer}{slash}{template}"));
    }
    let name = if span_name.contains(peer) { span_name.to_owned() } else { join(&[span_name, peer]) };
    (String::new(), name)
}

fn join(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(" ")
}

/// The statement without its data; where the span carries none, the summary or operation and collection.
fn database_name(system: &str, span_name: &str, facts: &Facts<'_>) -> String {
    let (operation, collection) = (facts.text(Text::DbOperation), facts.text(Text::DbCollection));
    let text = facts.text(Text::DbQuery);
    let document = text.trim_start().starts_with(['{', '[']);
    let summary = facts.text(Text::DbSummary);
    if !text.is_empty() && !document {
        return statement::normalise(system, text);
    }
    if document && system == "mongodb" {
        return statement::command(text, operation, collection);
    }
    if !summary.is_empty() {
        return summary.to_owned();
    }
    if database_category(system) == Category::Search
        && let Some(name) = search_name(operation, collection, facts)
    {
        return name;
    }
    if !operation.is_empty() && !collection.is_empty() {
        return join(&[operation, collection]);
    }
    let procedure = facts.text(Text::DbProcedure);
    if !procedure.is_empty() {
        return join(&["CALL", procedure]);
    }
    if document && operation.is_empty() {
        return statement::normalise(system, text);
    }
    if database_category(system) == Category::Cache && !operation.is_empty() {
        return operation.to_ascii_uppercase();
    }
    let name = statement::normalise(system, span_name);
    if name.is_empty() || name == system { join(&[operation, facts.text(Text::DbNamespace)]) } else { name }
}

/// A search engine's operation and index: from its attributes, else from its URL (`/products/_search`).
fn search_name(operation: &str, collection: &str, facts: &Facts<'_>) -> Option<String> {
    let url = facts.first(&[Text::Url, Text::Path]);
    let path = url.split_once("://").map_or(url, |(_, rest)| rest.split_once('/').map_or("", |(_, p)| p));
    let mut parts = path.split('/').filter(|p| !p.is_empty());
    let index = parts.clone().next().filter(|p| !p.starts_with('_')).unwrap_or_default();
    let verb = parts.find_map(|p| p.strip_prefix('_')).unwrap_or_default();
    let operation = if operation.is_empty() { verb } else { operation };
    let collection = if collection.is_empty() { index } else { collection };
    (!operation.is_empty() && !collection.is_empty())
        .then(|| join(&[operation, &statement::name_template(collection)]))
}
