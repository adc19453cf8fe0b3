//! One table for each convention, its old and its stable names.

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
    client(
        &[("db.system", "cache"), ("db.statement", "SELECT 1")],
        (Database, "intersystems_cache", "SELECT ?"),
    );
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
        &[("rpc.system", "grpc"), ("rpc.service", "Shop"), ("rpc.method", "Get"), ("server.address", "shop")],
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
    check(SpanKind::Client, "pg.connect", &db, (Category::Queue, "postgresql", "pg.connect"));
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
        let want = if matches!(name, "queue" | "get connections page") { continue } else { Category::App };
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
    // The path itself is no route, with the method before it or not; one without ids stays.
    for (said, path, want) in [
        ("GET /products/17", "/products/17?page=2", "GET /products/{id}"),
        ("/products/17", "/products/17", "GET /products/{id}"),
        ("/about", "/about", "GET /about"),
        ("GETTING/started", "/docs", "GET GETTING/started"),
        ("/products/{id}/17", "/products/4/17", "GET /products/{id}/17"),
    ] {
        let given = [route[0], ("http.route", said), ("http.target", path)];
        check(SpanKind::Server, "GET", &given, (Category::App, "", want));
    }
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

/// A CLIENT span under the old and the stable names of its convention.
#[track_caller]
fn both(old: &[(&str, &str)], stable: &[(&str, &str)], want: (Category, &str, &str)) {
    check(SpanKind::Client, "call", old, want);
    check(SpanKind::Client, "call", stable, want);
}

#[test]
fn every_convention_under_its_old_and_its_stable_names() {
    use Category::{Cache, Database, External, Messaging, Search};
    both(
        &[("http.method", "GET"), ("http.url", "https://a.example/x/7"), ("net.peer.name", "a.example")],
        &[
            ("http.request.method", "GET"),
            ("url.full", "https://a.example/x/7"),
            ("server.address", "a.example"),
        ],
        (External, "http", "GET a.example/x/{id}"),
    );
    both(
        &[("db.system", "mssql"), ("db.statement", "SELECT 1"), ("db.name", "shop")],
        &[
            ("db.system.name", "microsoft.sql_server"),
            ("db.query.text", "SELECT 2"),
            ("db.namespace", "shop"),
        ],
        (Database, "microsoft.sql_server", "SELECT ?"),
    );
    both(
        &[("db.system", "cassandra"), ("db.operation", "SELECT"), ("db.cassandra.table", "t")],
        &[("db.system.name", "cassandra"), ("db.operation.name", "SELECT"), ("db.collection.name", "t")],
        (Database, "cassandra", "SELECT t"),
    );
    both(
        &[("db.system", "redis"), ("db.statement", "HGET cart:9 n"), ("db.redis.database_index", "1")],
        &[("db.system.name", "redis"), ("db.query.text", "HGET cart:9 n"), ("db.namespace", "1")],
        (Cache, "redis", "HGET cart:?"),
    );
    both(
        &[
            ("db.system", "elasticsearch"),
            ("http.method", "POST"),
            ("http.url", "http://es:9200/products/_search?q=1"),
        ],
        &[
            ("db.system.name", "elasticsearch"),
            ("db.operation.name", "search"),
            ("db.elasticsearch.path_parts.index", "products"),
        ],
        (Search, "elasticsearch", "search products"),
    );
    both(
        &[
            ("rpc.system", "grpc"),
            ("rpc.service", "shop.Cart"),
            ("rpc.method", "Get"),
            ("net.peer.name", "cart"),
        ],
        &[("rpc.system.name", "grpc"), ("rpc.method", "shop.Cart/Get"), ("server.address", "cart")],
        (External, "grpc", "cart shop.Cart/Get"),
    );
    both(
        &[
            ("messaging.system", "rabbitmq"),
            ("messaging.operation", "send"),
            ("messaging.destination", "orders"),
        ],
        &[
            ("messaging.system", "rabbitmq"),
            ("messaging.operation.type", "send"),
            ("messaging.destination.name", "orders"),
        ],
        (Messaging, "rabbitmq", "send orders"),
    );
    both(
        &[("gen_ai.system", "acme"), ("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "m")],
        &[("gen_ai.provider.name", "acme"), ("gen_ai.operation.name", "chat"), ("gen_ai.request.model", "m")],
        (External, "acme", "chat m"),
    );
    both(
        &[("faas.invoked_name", "resize")],
        &[("faas.invoked_name", "resize"), ("faas.invoked_provider", "aws")],
        (External, "faas", "resize"),
    );
    // OpenTracing's and Zipkin's.
    both(
        &[("db.type", "mysql"), ("db.statement", "SELECT 1"), ("db.instance", "shop")],
        &[("db.system", "mysql"), ("sql.query", "SELECT 1")],
        (Database, "mysql", "SELECT ?"),
    );
}

#[test]
fn services_of_clouds_are_what_they_are() {
    use Category::{Database, External, Messaging};
    let call = |attributes: &[(&str, &str)], want| check(SpanKind::Client, "call", attributes, want);
    call(
        &[
            ("rpc.system", "aws-api"),
            ("rpc.service", "S3"),
            ("rpc.method", "GetObject"),
            ("aws.s3.bucket", "media"),
        ],
        (External, "aws-api", "S3/GetObject media"),
    );
    call(
        &[("rpc.system", "aws-api"), ("rpc.service", "DynamoDB"), ("rpc.method", "Query")],
        (Database, "aws.dynamodb", "DynamoDB/Query"),
    );
    call(
        &[
            ("rpc.system", "aws-api"),
            ("rpc.service", "SQS"),
            ("rpc.method", "SendMessage"),
            ("messaging.url", "https://sqs.example/1234/orders"),
        ],
        (Messaging, "", "orders"),
    );
    call(
        &[("rpc.system", "grpc"), ("rpc.service", "google.spanner.v1.Spanner"), ("rpc.method", "Read")],
        (Database, "gcp.spanner", "google.spanner.v1.Spanner/Read"),
    );
}

#[test]
fn spans_of_frameworks_have_names_to_read() {
    let inner = |name: &str, attributes: &[(&str, &str)], want: &str| {
        check(SpanKind::Internal, name, attributes, (Category::App, "", want));
    };
    inner("GET /books/{id} http send", &[("asgi.event.type", "http.response.body")], "ASGI http send");
    inner("POST /x http receive", &[], "ASGI http receive");
    inner("middleware - expressInit", &[], "middleware expressInit");
    inner("request handler - /books", &[], "request handler /books");
    inner("graphql.resolve", &[("graphql.field.path", "users.17.name")], "resolve users.*.name");
    inner(
        "graphql.execute",
        &[("graphql.operation.type", "query"), ("graphql.operation.name", "Cart")],
        "graphql query Cart",
    );
    inner(
        "tool",
        &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "search")],
        "execute_tool search",
    );
    inner("jinja2.render", &[], "jinja2.render");
    check(
        SpanKind::Server,
        "POST /graphql",
        &[("graphql.operation.type", "query"), ("graphql.operation.name", "Cart")],
        (Category::App, "", "graphql query Cart"),
    );
    inner(
        "name",
        &[("graphql.path", "users.17.name"), ("graphql.operation.name", "Cart")],
        "resolve users.*.name",
    );
}

#[test]
fn own_work_tells_the_operation_of_graphql_that_it_is_part_of() {
    let told = |kind: SpanKind, name: &str, attributes: &[(&str, &str)]| {
        let attributes: Vec<_> = attributes.iter().map(|(k, v)| (*k, Value::Str(v))).collect();
        span(name, kind, &attributes, |s| {
            let class = classify(s.kind, s.name, &Facts::of(s, &mut Keys::default()));
            (class.name, class.peer)
        })
    };
    let operation = |kind: SpanKind, name: &str, attributes: &[(&str, &str)]| told(kind, name, attributes).1;
    let cart = [("graphql.operation.type", "query"), ("graphql.operation.name", "Cart")];
    assert_eq!(operation(SpanKind::Internal, "query Cart", &cart), "query Cart");
    assert_eq!(operation(SpanKind::Server, "query", &cart), "query Cart");
    // Spring for GraphQL; Ariadne's resolvers; Strawberry, in the name alone.
    assert_eq!(operation(SpanKind::Internal, "graphql Cart", &[("graphql.operation", "Cart")]), "Cart");
    let resolver = [("graphql.operation.name", "Cart"), ("graphql.path", "cart.total")];
    assert_eq!(operation(SpanKind::Internal, "total", &resolver), "Cart");
    assert_eq!(operation(SpanKind::Server, "GraphQL Query: Cart", &[("component", "graphql")]), "Cart");
    // Ids do not make operations.
    let numbered = [("graphql.operation.type", "query"), ("graphql.operation.name", "Cart_8472910")];
    assert_eq!(operation(SpanKind::Internal, "query", &numbered), "query {id}");
    // Without a name of its own an operation is told by nothing.
    for (key, value) in [
        ("graphql.operation.type", "query"),
        ("graphql.operation", "query"),
        ("graphql.operation.name", "GraphQL Operation"),
        ("graphql.field.path", "cart.total"),
    ] {
        assert_eq!(operation(SpanKind::Internal, "GraphQL Query", &[(key, value)]), "");
    }
    // A call is told by whom it calls.
    let call = [cart[0], cart[1], ("server.address", "api.example"), ("http.request.method", "POST")];
    assert_eq!(operation(SpanKind::Client, "POST", &call), "api.example");
    // Where the server's own span tells it, its route says more.
    let server = [cart[0], cart[1], ("http.request.method", "POST"), ("http.route", "/graphql")];
    assert_eq!(told(SpanKind::Server, "POST /graphql", &server).0, "POST /graphql query Cart");
}

#[test]
fn documents_are_named_by_what_they_ask_for() {
    use Category::Database;
    let text =
        r#"{"find": "users", "filter": {"mail": "a@b", "age": {"$gt": 3}}, "limit": 5, "lsid": {"id": 1}}"#;
    let mongo = |attributes: &[(&str, &str)], want: &str| {
        check(SpanKind::Client, "users.find", attributes, (Database, "mongodb", want));
    };
    let want = r#"find users {"mail":?, "age":{"$gt":?}}"#;
    mongo(&[("db.system", "mongodb"), ("db.statement", text)], want);
    mongo(
        &[
            ("db.system.name", "mongodb"),
            ("db.query.text", text),
            ("db.operation.name", "find"),
            ("db.collection.name", "users"),
        ],
        want,
    );
    let cut = r#"{"aggregate": "orders", "pipeline": [{"$match": {"paid": true, "#;
    mongo(&[("db.system", "mongodb"), ("db.statement", cut)], r#"aggregate orders [{"$match":{"paid":?, "#);
    let messages = [("messaging.system", "aws_sqs"), ("messaging.destination", "arn:aws:sqs:eu:12:orders")];
    check(SpanKind::Producer, "x", &messages, (Category::Messaging, "aws_sqs", "orders"));
    let temporary = [("messaging.system", "rabbitmq"), ("messaging.destination", "amq.gen-Xa1")];
    check(SpanKind::Producer, "x", &temporary, (Category::Messaging, "rabbitmq", "(temporary)"));
}

#[test]
fn data_is_whole_only_without_placeholders() {
    let data = |sql: &str| {
        span(
            "q",
            SpanKind::Client,
            &[("db.system", Value::Str("postgresql")), ("db.statement", Value::Str(sql))],
            |s| classify(s.kind, s.name, &Facts::of(s, &mut Keys::default())).data,
        )
    };
    assert!(data("SELECT 1").whole && data("SELECT a FROM t WHERE b = 'x'").whole);
    assert!(!data("SELECT a FROM t WHERE b = $1").whole && !data("SELECT a FROM t WHERE b = %s").whole);
    assert_ne!(data("SELECT 1").text, data("SELECT 2").text);
}
