//! What kind of work a span is, from OpenTelemetry's semantic conventions, and the stable name of that work.
//!
//! Decided from the span alone; what only the tree can tell (that the peer of a call is traced, that a span without a kind
//! is a server's entry) is corrected in `tree`.

use super::facts::{Facts, Text};
use super::result::Category;
use super::statement;
use crate::record::SpanKind;

/// A span's class: whose time its own time is, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub category: Category,
    pub system: String,
    pub name: String,
    pub code: String,
    /// Name of the operation in the list of operations.
    pub operation: String,
    /// Who is called, for calls.
    pub peer: String,
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
    };
    if matches!(kind, SpanKind::Server | SpanKind::Consumer) {
        let name = operation_name(span_name, facts);
        return class(Category::App, "", name.clone(), name);
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
        return class(database_category(system), system, name, statement::normalise(system, span_name));
    }
    let called = matches!(kind, SpanKind::Client | SpanKind::Producer);
    let messaging = facts.text(Text::MessagingSystem);
    if !messaging.is_empty() && (called || kind == SpanKind::Unspecified) {
        let verb = facts.text(Text::MessagingOperation);
        let destination = statement::name_template(facts.text(Text::Destination));
        let name = if destination.is_empty() { named.clone() } else { join(&[verb, &destination]) };
        return class(Category::Messaging, messaging, name, named);
    }
    if kind == SpanKind::Producer {
        return class(Category::Messaging, "", named.clone(), named);
    }
    if called || (kind == SpanKind::Unspecified && looks_like_a_call(facts)) {
        let (system, name) = external_name(&named, &peer, facts);
        return class(Category::External, &system, name, named);
    }
    class(Category::App, "", named.clone(), named)
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
        return join(&[method, route]);
    }
    let path = facts.text(Text::Path);
    let only_method = span_name.eq_ignore_ascii_case(method) || span_name == "HTTP" || span_name.is_empty();
    if !method.is_empty() && only_method && !path.is_empty() {
        return join(&[method, &statement::path_template(path)]);
    }
    statement::name_template(span_name)
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

/// Old names of database systems that the stable convention changed.
fn system_name(system: &str) -> &str {
    match system {
        "mssql" => "microsoft.sql_server",
        "oracle" => "oracle.db",
        "dynamodb" => "aws.dynamodb",
        "cosmosdb" => "azure.cosmosdb",
        "db2" => "ibm.db2",
        "redshift" => "aws.redshift",
        "spanner" => "gcp.spanner",
        "h2" => "h2database",
        "hanadb" => "sap.hana",
        same => same,
    }
}

/// No `cache.*` convention exists, so the system decides. `cache` as a system is InterSystems Caché, a database.
fn database_category(system: &str) -> Category {
    match system {
        "redis" | "valkey" | "memcached" | "geode" => Category::Cache,
        "elasticsearch" | "opensearch" => Category::Search,
        _ => Category::Database,
    }
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
    if !summary.is_empty() {
        return summary.to_owned();
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

enum Waiting {
    Queue,
    Connection,
}

/// Whether a span's name says that it waits: for a connection of a pool, for a lock, in a queue; or that it opens a
/// connection. Whole words only, so that an online shop's `checkout` is not taken for a pool's.
fn waiting(name: &str, database: bool) -> Option<Waiting> {
    const VERBS: [&str; 12] = [
        "acquire",
        "acquiring",
        "checkout",
        "borrow",
        "lease",
        "wait",
        "waiting",
        "get",
        "obtain",
        "request",
        "connect",
        "take",
    ];
    const THINGS: [&str; 12] = [
        "pool",
        "connection",
        "conn",
        "connections",
        "permit",
        "semaphore",
        "lock",
        "mutex",
        "slot",
        "latch",
        "rwlock",
        "limiter",
    ];
    let words = words(name);
    let has = |list: &[&str]| words.iter().any(|w| list.contains(&w.as_str()));
    if has(&["dns", "tcp", "tls", "ssl"]) && has(&["connect", "lookup", "handshake", "resolve"])
        || has(&["connection"]) && has(&["setup"])
    {
        return Some(Waiting::Connection);
    }
    let retry = has(&["backoff"])
        || (has(&["retry", "retrying", "rate", "throttle"]) && has(&["wait", "waiting", "delay", "sleep"]));
    let alone = |list: &[&str]| words.len() == 1 && has(list);
    let queue =
        has(&["queue", "queued", "queueing", "queuing"]) && has(&["wait", "waiting", "time", "in", "delay"]);
    let acquire = has(&VERBS)
        && has(&THINGS)
        && (!has(&["request", "get", "take"]) || has(&["pool", "connection", "conn", "permit", "lock"]));
    let of_a_database = database && alone(&["connect", "checkout", "acquire"]);
    let begins =
        database && words.first().is_some_and(|w| matches!(w.as_str(), "connect" | "acquire" | "checkout"));
    (queue || acquire || retry || of_a_database || begins || alone(&["connect", "queue", "queued"]))
        .then_some(Waiting::Queue)
}

/// Lower-case words of a name: letters and digits, split where a capital follows a small letter.
fn words(name: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in name.chars().take(200) {
        if c.is_alphanumeric() {
            let starts = !before.is_alphanumeric() || (before.is_lowercase() && c.is_uppercase());
            if starts {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase());
            }
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::facts::Keys;
    use crate::analysis::testing::span;
    use crate::record::Value;

    /// Category, system and name of a span.
    #[track_caller]
    fn check(kind: SpanKind, name: &str, attributes: &[(&str, &str)], want: (Category, &str, &str)) {
        let values: Vec<_> =
            attributes.iter().map(|(k, v)| (*k, v.parse().map_or(Value::Str(v), Value::Int))).collect();
        span(name, kind, &values, |s| {
            let class = classify(s.kind, s.name, &Facts::of(s, &mut Keys::default()));
            assert_eq!((class.category, &*class.system, &*class.name), want, "{name} {attributes:?}");
        });
    }

    #[test]
    fn databases_caches_and_search_under_old_and_stable_names() {
        use Category::{Cache, Database, Search};
        let client = |attributes: &[(&str, &str)], want| check(SpanKind::Client, "query", attributes, want);
        let sql = "SELECT * FROM product WHERE id = 7";
        let want = (Database, "postgresql", "SELECT * FROM product WHERE id = ?");
        client(&[("db.system", "postgresql"), ("db.statement", sql)], want);
        client(&[("db.system.name", "postgresql"), ("db.query.text", sql)], want);
        client(
            &[("db.system", "mssql"), ("db.statement", "SELECT 1")],
            (Database, "microsoft.sql_server", "SELECT ?"),
        );
        client(&[("db.system", "cache"), ("db.statement", "SELECT 1")], (Database, "cache", "SELECT ?"));
        client(&[("db.system", "redis"), ("db.statement", "GET user:17")], (Cache, "redis", "GET user:?"));
        client(&[("db.system.name", "valkey"), ("db.operation.name", "GET")], (Cache, "valkey", "GET"));
        client(
            &[
                ("db.system", "mongodb"),
                ("db.operation", "find"),
                ("db.mongodb.collection", "users"),
                ("db.statement", "{\"find\":1}"),
            ],
            (Database, "mongodb", "find users"),
        );
        client(
            &[("db.system", "elasticsearch"), ("db.operation", "search"), ("db.collection.name", "products")],
            (Search, "elasticsearch", "search products"),
        );
        check(
            SpanKind::Internal,
            "load",
            &[("db.system", "sqlite"), ("db.statement", "SELECT 1")],
            (Database, "sqlite", "SELECT ?"),
        );
        check(SpanKind::Server, "GET /x", &[("db.system", "sqlite")], (Category::App, "", "GET /x"));
    }

    #[test]
    fn calls_by_host_and_template() {
        let call = |attributes: &[(&str, &str)], want| check(SpanKind::Client, "POST", attributes, want);
        call(
            &[
                ("http.request.method", "POST"),
                ("url.full", "https://pay.example/charge/17?x=secret"),
                ("server.address", "pay.example"),
                ("server.port", "443"),
            ],
            (Category::External, "http", "POST pay.example/charge/{id}"),
        );
        call(
            &[
                ("http.method", "POST"),
                ("http.url", "http://u:p@127.0.0.1:9001/charge"),
                ("net.peer.name", "127.0.0.1"),
            ],
            (Category::External, "http", "POST 127.0.0.1:9001/charge"),
        );
        call(
            &[("http.request.method", "GET"), ("peer.service", "billing"), ("url.template", "/bill/{n}")],
            (Category::External, "http", "GET billing/bill/{n}"),
        );
        call(
            &[
                ("rpc.system", "grpc"),
                ("rpc.service", "Shop"),
                ("rpc.method", "Get"),
                ("server.address", "shop"),
            ],
            (Category::External, "grpc", "shop Shop/Get"),
        );
        call(
            &[
                ("gen_ai.provider.name", "acme"),
                ("gen_ai.operation.name", "chat"),
                ("gen_ai.request.model", "m-1"),
                ("http.request.method", "POST"),
            ],
            (Category::External, "acme", "chat m-1"),
        );
        call(&[("faas.invoked_name", "resize")], (Category::External, "faas", "resize"));
        check(
            SpanKind::Producer,
            "orders send",
            &[
                ("messaging.system", "kafka"),
                ("messaging.operation.type", "send"),
                ("messaging.destination.name", "orders"),
            ],
            (Category::Messaging, "kafka", "send orders"),
        );
        check(
            SpanKind::Consumer,
            "orders process",
            &[("messaging.system", "kafka")],
            (Category::App, "", "orders process"),
        );
    }

    #[test]
    fn spans_without_a_kind_are_judged_by_what_they_name() {
        let kind = SpanKind::Unspecified;
        let method = ("http.method", "GET");
        check(
            kind,
            "GET",
            &[method, ("http.url", "http://a.example/x")],
            (Category::External, "http", "GET a.example/x"),
        );
        check(
            kind,
            "GET /x",
            &[method, ("http.route", "/x"), ("net.peer.name", "c")],
            (Category::App, "", "GET /x"),
        );
        check(kind, "work", &[], (Category::App, "", "work"));
    }

    #[test]
    fn waiting_is_known_by_whole_words() {
        let db = [("db.system", "postgresql")];
        for name in [
            "pg-pool.connect",
            "getConnection",
            "HTTP wait_for_connection 10.0.0.7:80",
            "pool acquire",
            "acquire lock",
            "wait for connection",
            "queue wait",
            "backoff",
            "retry delay",
            "connect",
            "lock.acquire",
            "checkout connection",
        ] {
            span(name, SpanKind::Internal, &[], |s| {
                assert_eq!(
                    classify(s.kind, s.name, &Facts::of(s, &mut Keys::default())).category,
                    Category::Queue,
                    "{name}"
                );
            });
        }
        check(SpanKind::Client, "connect", &db, (Category::Queue, "postgresql", "connect"));
        check(SpanKind::Client, "checkout", &db, (Category::Queue, "postgresql", "checkout"));
        for name in [
            "checkout",
            "POST /checkout",
            "enqueue",
            "get connections page",
            "unlock",
            "wait",
            "queue",
            "disconnect",
            "request handler",
        ] {
            let want =
                if matches!(name, "queue" | "get connections page") { continue } else { Category::App };
            span(name, SpanKind::Internal, &[], |s| {
                assert_eq!(
                    classify(s.kind, s.name, &Facts::of(s, &mut Keys::default())).category,
                    want,
                    "{name}"
                );
            });
        }
        for name in ["tcp.connect", "tls handshake", "dns.lookup", "HTTP connection_setup a:80"] {
            span(name, SpanKind::Internal, &[], |s| {
                assert_eq!(
                    classify(s.kind, s.name, &Facts::of(s, &mut Keys::default())).category,
                    Category::Connection,
                    "{name}"
                );
            });
        }
    }

    #[test]
    fn operations_and_code() {
        let route =
            [("http.request.method", "GET"), ("http.route", "/products/{id}"), ("url.path", "/products/17")];
        check(SpanKind::Server, "GET", &route, (Category::App, "", "GET /products/{id}"));
        check(SpanKind::Server, "GET", &route[..1], (Category::App, "", "GET"));
        check(SpanKind::Server, "GET", &[route[0], route[2]], (Category::App, "", "GET /products/{id}"));
        span(
            "x",
            SpanKind::Internal,
            &[("code.filepath", Value::Str("src/a.rs")), ("code.lineno", Value::Int(7))],
            |s| {
                assert_eq!(classify(s.kind, s.name, &Facts::of(s, &mut Keys::default())).code, "src/a.rs:7");
            },
        );
        span(
            "x",
            SpanKind::Internal,
            &[("code.namespace", Value::Str("A")), ("code.function", Value::Str("f"))],
            |s| {
                assert_eq!(classify(s.kind, s.name, &Facts::of(s, &mut Keys::default())).code, "A.f");
            },
        );
    }
}
