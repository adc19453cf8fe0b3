//! The four services in one process, without an exporter: every route, with every fault. Spans are collected from the same
//! layer that exports them otherwise, so that attributes are checked as OpenTelemetry has them.

use super::database::seed;
use super::timing::parts_of;
use super::*;
use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use reqwest::{Method, Response};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tracing_subscriber::layer::SubscriberExt;

#[derive(Clone, Debug, Default)]
struct Collected(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Collected {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Collected {
    fn take(&self) -> Vec<SpanData> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn attribute(span: &SpanData, key: &str) -> Option<String> {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).map(|pair| pair.value.to_string())
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// A running shop; dropping it stops its services.
struct Running {
    base: String,
    client: reqwest::Client,
    spans: Collected,
    /// Of the database.
    path: std::path::PathBuf,
    payment: String,
    cookie: Mutex<String>,
    _stops: Vec<oneshot::Sender<()>>,
    _subscriber: tracing::subscriber::DefaultGuard,
    _directory: tempfile::TempDir,
}

impl Running {
    /// Everything runs on the calling thread, so that the thread's own subscriber sees it.
    async fn start() -> Running {
        let spans = Collected::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
        let layer = telemetry::layer(provider.tracer("test"));
        let subscriber = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        let database = Database::Sqlite { path: path.clone() };
        seed::fill(&database, &password::seed_password()).await.unwrap();
        let mut stops = Vec::new();
        let cache = spawn(Service::Cache, &mut stops).await;
        let payment = format!("http://{}", spawn(Service::Payment, &mut stops).await);
        let inventory = Service::Inventory { database: database.clone() };
        let inventory_url = format!("http://{}", spawn(inventory, &mut stops).await);
        let assets = directory.path().join("static");
        let payment_url = payment.clone();
        let shop = Service::Shop { database, cache, inventory_url, payment_url, assets };
        let base = format!("http://{}", spawn(shop, &mut stops).await);
        let running = Running {
            base,
            client: outbound::http_client().unwrap(),
            spans,
            path,
            payment,
            cookie: Mutex::default(),
            _stops: stops,
            _subscriber: subscriber,
            _directory: directory,
        };
        assert_eq!(running.get("/healthz").await.status(), 200);
        assert!(running.spans.take().is_empty(), "neither warming up nor /healthz is traced");
        running
    }

    async fn get(&self, path: &str) -> Response {
        self.send(Method::GET, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<serde_json::Value>) -> Response {
        let mut request =
            self.client.request(method, format!("{}{path}", self.base)).header("user-agent", "test");
        request =
            request.header("accept-encoding", "gzip").header("cookie", self.cookie.lock().unwrap().clone());
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await.unwrap()
    }

    /// Sends a request and checks status and `Server-Timing`. Gives the timing and the spans of the request.
    async fn walk(&self, method: Method, path: &str, body: Option<serde_json::Value>, status: u16) -> Visit {
        self.spans.take();
        let response = self.send(method, path, body).await;
        let seen = response.status().as_u16();
        let timing = response.headers()["server-timing"].to_str().unwrap().to_owned();
        if let Some(cookie) = response.headers().get("set-cookie") {
            let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
            *self.cookie.lock().unwrap() = cookie;
        }
        let body = response.bytes().await.unwrap();
        assert_eq!(seen, status, "{path}: {}", String::from_utf8_lossy(&body));
        let timing = parts_of(&timing);
        let total: i64 = micros(timing["total"]);
        let parts: i64 = timing.iter().filter(|(name, _)| *name != "total").map(|(_, ms)| micros(*ms)).sum();
        assert_eq!(parts, total, "{path}: {timing:?}");
        let names: Vec<&str> = timing.keys().map(String::as_str).collect();
        assert_eq!(names, ["app", "cache", "database", "external", "network", "queue", "total"]);
        Visit { timing, body, spans: self.spans.take() }
    }

    async fn visit(&self, path: &str) -> Visit {
        self.walk(Method::GET, path, None, 200).await
    }

    async fn log_in(&self) -> Visit {
        let credentials = serde_json::json!({"user": "user42", "password": "secret"});
        self.walk(Method::POST, "/login", Some(credentials), 200).await
    }

    async fn fill_basket(&self) -> Visit {
        self.walk(Method::POST, "/basket", Some(serde_json::json!({"product_id": 7, "quantity": 2})), 201)
            .await
    }

    async fn check_out(&self) -> Visit {
        self.walk(Method::POST, "/checkout", None, 201).await
    }

    /// Uses up what the payment API allows.
    async fn charge_someone_else(&self) {
        let request = self.client.post(format!("{}/v1/charges", self.payment));
        let request = request.header("content-type", "application/json").body(r#"{"amount_cents": 1}"#);
        let status = request.send().await.unwrap().status().as_u16();
        assert!(status == 201 || status == 429, "{status}");
    }

    /// Every route once, as a customer walks.
    async fn every_route(&self) -> BTreeMap<&'static str, Visit> {
        BTreeMap::from([
            ("home", self.visit("/").await),
            ("products", self.visit("/products?page=3").await),
            ("product", self.visit("/products/77").await),
            ("search", self.visit("/search?q=mk7").await),
            ("static", self.visit("/static/app.js").await),
            ("login", self.log_in().await),
            ("basket_add", self.fill_basket().await),
            ("basket", self.visit("/basket").await),
            ("checkout", self.check_out().await),
            ("logout", self.walk(Method::POST, "/logout", None, 200).await),
        ])
    }

    async fn faults(&self, list: &str) {
        for base in [&self.base, &self.payment] {
            let url = format!("{base}/admin/faults");
            let response = self.client.post(url).body(list.to_owned()).send().await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.text().await.unwrap().trim(), list);
        }
    }
}

/// Starts one service on this thread; it is stopped by dropping the sender.
async fn spawn(service: Service, stops: &mut Vec<oneshot::Sender<()>>) -> SocketAddr {
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = oneshot::channel();
    stops.push(stop);
    let options = ServeOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        service,
        faults: Faults::NONE,
        telemetry: Telemetry::Off,
    };
    tokio::spawn(async move {
        let until = async {
            let _ = stopped.await;
        };
        serve(options, |address| ready.send(address).unwrap(), until).await.unwrap();
    });
    is_ready.await.unwrap()
}

/// One answer.
struct Visit {
    timing: BTreeMap<String, f64>,
    body: bytes::Bytes,
    spans: Vec<SpanData>,
}

fn micros(ms: f64) -> i64 {
    (ms * 1000.0).round() as i64
}

#[tokio::test]
async fn a_healthy_shop_explains_every_request_of_every_route() {
    let shop = Running::start().await;
    let visits = shop.every_route().await;
    let routes = [
        ("home", "GET /"),
        ("products", "GET /products"),
        ("product", "GET /products/{id}"),
        ("search", "GET /search"),
        ("static", "GET /static/{path}"),
        ("login", "POST /login"),
        ("basket_add", "POST /basket"),
        ("basket", "GET /basket"),
        ("checkout", "POST /checkout"),
        ("logout", "POST /logout"),
    ];
    assert_eq!(routes.len(), visits.len());
    for (step, route) in routes {
        let spans = &visits[step].spans;
        let server = named(spans, route)[0];
        assert_eq!(server.span_kind, SpanKind::Server);
        let (method, template) = route.split_once(' ').unwrap();
        for (key, value) in [
            ("http.request.method", method),
            ("http.route", template),
            ("url.scheme", "http"),
            ("server.address", "127.0.0.1"),
            ("network.protocol.version", "1.1"),
            ("user_agent.original", "test"),
        ] {
            assert_eq!(attribute(server, key).as_deref(), Some(value), "{route} {key}");
        }
        assert!(attribute(server, "http.response.status_code").unwrap().starts_with("20"));
        assert!(attribute(server, "url.path").unwrap().starts_with('/'));
        assert!(attribute(server, "server.port").is_some());
        for span in spans {
            assert_eq!(
                span.span_context.trace_id(),
                server.span_context.trace_id(),
                "one trace: {}",
                span.name
            );
            check_attributes(span);
        }
        // Each part that the timers saw has a span, and the other way round.
        let is =
            |key: &str, value: &str| spans.iter().any(|span| attribute(span, key).as_deref() == Some(value));
        assert_eq!(visits[step].timing["database"] > 0.0, is("db.system.name", "sqlite"), "{route}");
        assert_eq!(visits[step].timing["cache"] > 0.0, is("db.system.name", "redis"), "{route}");
        assert_eq!(visits[step].timing["external"] > 0.0, is("url.template", "/v1/charges"), "{route}");
        if step != "product" {
            assert!(visits[step].timing["network"] == 0.0, "{route} calls no traced service");
        }
    }
    assert_eq!(named(&visits["products"].spans, "SELECT review").len(), 1, "all ratings at once");
    assert!(
        named(&visits["home"].spans, "load catalogue").is_empty(),
        "it is loaded before the first request"
    );
    assert!(named(&visits["static"].spans, "compress static file").is_empty());
}

/// What the semantic conventions ask of a span of this kind.
fn check_attributes(span: &SpanData) {
    let wanted: &[&str] = match span.span_kind {
        SpanKind::Internal => &["code.function.name", "code.file.path", "code.line.number"],
        SpanKind::Client if attribute(span, "db.system.name").as_deref() == Some("redis") => {
            &["db.operation.name", "db.query.text", "server.address", "server.port"]
        }
        SpanKind::Client if attribute(span, "db.system.name").is_some() => {
            &["db.namespace", "db.operation.name", "db.query.text", "db.query.summary"]
        }
        SpanKind::Client => &[
            "http.request.method",
            "url.full",
            "url.template",
            "server.address",
            "server.port",
            "http.response.status_code",
        ],
        _ => &["http.request.method", "http.route"],
    };
    for key in wanted {
        assert!(attribute(span, key).is_some(), "{} lacks {key}", span.name);
    }
    if span.name == "pool acquire" {
        assert!(attribute(span, "db.client.connection.pool.name").is_some());
    }
}

#[tokio::test]
async fn the_inventory_continues_the_trace_and_its_parts_are_counted() {
    let shop = Running::start().await;
    let visit = shop.visit("/products/77").await;
    let call =
        *named(&visit.spans, "GET /stock").iter().find(|span| span.span_kind == SpanKind::Client).unwrap();
    let serve =
        *named(&visit.spans, "GET /stock").iter().find(|span| span.span_kind == SpanKind::Server).unwrap();
    assert_eq!(serve.parent_span_id, call.span_context.span_id());
    let statement = named(&visit.spans, "SELECT stock")[0];
    assert_eq!(statement.parent_span_id, serve.span_context.span_id());
    let stock: serde_json::Value = serde_json::from_slice(&visit.body).unwrap();
    assert_eq!(stock["stock"][0].as_array().unwrap().len(), 60);
    assert_eq!(stock["product"]["id"], 77);
    assert_eq!(stock["reviews"].as_array().unwrap().len(), 8);
    // Reviews and stock are asked for at once. What the request waited for is the one that came last.
    let end = |name: &str| named(&visit.spans, name)[0].end_time;
    assert_eq!(visit.timing["network"] > 0.0, end("load stock") > end("load reviews"), "{:?}", visit.timing);
}

#[tokio::test]
async fn faults_of_the_database_are_what_they_say() {
    let shop = Running::start().await;
    shop.faults("n_plus_one").await;
    assert_eq!(named(&shop.visit("/products").await.spans, "SELECT review").len(), 20);

    let index = || {
        let file = rusqlite::Connection::open(&shop.path).unwrap();
        let sql = "SELECT COUNT(*) FROM sqlite_schema WHERE name = 'search_term_by_term'";
        file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let found = shop.visit("/search?q=mk7").await.body;
    shop.faults("missing_index").await;
    assert_eq!(index(), 0);
    assert_eq!(shop.visit("/search?q=mk7").await.body, found, "the same answer, only slower");
    shop.faults("none").await;
    assert_eq!(index(), 1);

    let cached = shop.visit("/").await;
    assert_eq!(
        (named(&cached.spans, "GET").len(), named(&cached.spans, "SELECT order_item product").len()),
        (1, 0)
    );
    shop.faults("cache_off").await;
    let uncached = shop.visit("/").await;
    assert_eq!(
        (named(&uncached.spans, "GET").len(), named(&uncached.spans, "SELECT order_item product").len()),
        (0, 1)
    );
    assert_eq!(uncached.body, cached.body);
}

#[tokio::test]
async fn a_job_that_keeps_the_only_connection_makes_requests_wait() {
    let shop = Running::start().await;
    shop.faults("pool_exhausted").await;
    let mut longest: f64 = 0.0;
    for _ in 0..5 {
        let visit = shop.visit("/products").await;
        assert_eq!(named(&visit.spans, "pool acquire").len(), 1);
        longest = longest.max(visit.timing["queue"]);
    }
    // The job holds the connection 80 ms out of every 85, and each request comes after one that was served.
    assert!(longest >= 20.0, "no request waited: {longest} ms at most");
    shop.faults("none").await;
}

#[tokio::test]
async fn a_checkout_that_holds_its_lock_makes_others_wait_in_the_database() {
    let shop = Running::start().await;
    shop.log_in().await;
    shop.fill_basket().await;
    shop.faults("lock_contention").await;
    let sold = std::cell::Cell::new(false);
    let checkout = async {
        let response = shop.send(Method::POST, "/checkout", None).await;
        assert_eq!(response.status(), 201);
        sold.set(true);
    };
    let others = async {
        let mut longest: f64 = 0.0;
        while !sold.get() {
            let wish = serde_json::json!({"product_id": 7, "quantity": 1});
            let response = shop.send(Method::POST, "/basket", Some(wish)).await;
            longest =
                longest.max(parts_of(response.headers()["server-timing"].to_str().unwrap())["database"]);
        }
        longest
    };
    // The lock is held for 320 ms and the others never stop, so one of them meets it soon after it is taken.
    let ((), longest) = tokio::join!(checkout, others);
    assert!(longest >= 50.0, "nobody waited: {longest} ms at most");
    let waited = shop.spans.take().iter().filter(|span| span.name == "UPDATE warehouse").map(millis).max();
    assert!(waited >= Some(50), "the wait is in the statement that takes the lock: {waited:?} ms");
}

fn millis(span: &SpanData) -> u128 {
    span.end_time.duration_since(span.start_time).unwrap_or_default().as_millis()
}

#[tokio::test]
async fn faults_of_the_payment_api_are_seen_and_survived() {
    let shop = Running::start().await;
    shop.log_in().await;
    shop.faults("slow_external").await;
    shop.fill_basket().await;
    assert!(shop.check_out().await.timing["external"] >= 400.0);

    shop.faults("rate_limited_external").await;
    let mut limited = None;
    for _ in 0..20 {
        shop.fill_basket().await;
        tokio::join!(shop.charge_someone_else(), shop.charge_someone_else(), shop.charge_someone_else());
        let visit = shop.check_out().await;
        if named(&visit.spans, "POST /v1/charges").len() == 2 {
            limited = Some(visit);
            break;
        }
    }
    let limited = limited.expect("a checkout that was refused once");
    let calls = named(&limited.spans, "POST /v1/charges");
    let field = |key: &str| calls.iter().map(|span| attribute(span, key)).collect::<Vec<_>>();
    let some = |value: &str| Some(value.to_owned());
    assert_eq!(field("http.response.status_code"), [some("429"), some("201")]);
    assert_eq!(field("http.request.resend_count"), [None, some("1")]);
    assert_eq!(field("error.type"), [some("429"), None]);
    assert!(limited.timing["queue"] >= 1_000.0, "the wait that Retry-After asks for");
}

#[tokio::test]
async fn faults_in_the_code_of_the_shop_are_work() {
    let shop = Running::start().await;
    shop.faults("cpu").await;
    let login = shop.log_in().await;
    assert_eq!(named(&login.spans, "hash password").len(), 1);
    // 300,000 blocks of SHA-256 take longer than this on any processor there is.
    assert!(login.timing["app"] >= 5.0, "{:?}", login.timing);

    shop.faults("sequential_calls").await;
    let product = shop.visit("/products/9").await;
    let calls = named(&product.spans, "GET /stock/{product_id}");
    assert_eq!(calls.len(), 120, "sixty calls, each with a CLIENT and a SERVER span");
    assert!(named(&product.spans, "GET /stock").is_empty());

    shop.faults("cold_start").await;
    let mut loads = 0;
    for _ in 0..36 {
        loads += named(&shop.visit("/").await.spans, "load catalogue").len();
    }
    assert_eq!(loads, 3, "once in twelve requests");

    let healthy = shop.visit("/static/app.js").await;
    shop.faults("static_by_app").await;
    let busy = shop.visit("/static/app.js").await;
    assert_eq!(named(&busy.spans, "compress static file").len(), 1);
    assert_eq!(busy.body, healthy.body);

    shop.faults("large_payload").await;
    let large = shop.visit("/products").await;
    assert!(large.body.len() > 4_000_000, "{} bytes", large.body.len());
    let large: serde_json::Value = serde_json::from_slice(&large.body).unwrap();
    assert_eq!(large["catalogue"].as_array().unwrap().len(), 10_000);
    assert_eq!(large["page"]["products"].as_array().unwrap().len(), 20);
}

#[tokio::test]
async fn all_faults_together_still_sell() {
    let shop = Running::start().await;
    let all: Faults = Fault::ALL.into_iter().collect();
    shop.faults(&all.to_string()).await;
    shop.every_route().await;
    shop.faults("none").await;
    shop.every_route().await;
}

#[tokio::test]
async fn bad_requests_are_refused_with_a_reason() {
    let shop = Running::start().await;
    let post = |path: &'static str, body: serde_json::Value, status| {
        shop.walk(Method::POST, path, Some(body), status)
    };
    post("/login", serde_json::json!({"user": "user42", "password": "wrong"}), 401).await;
    post("/login", serde_json::json!({"user": "nobody", "password": "secret"}), 401).await;
    post("/basket", serde_json::json!({"product_id": 1, "quantity": 1}), 401).await;
    shop.log_in().await;
    post("/checkout", serde_json::json!({}), 409).await;
    post("/basket", serde_json::json!({"product_id": 1, "quantity": 0}), 400).await;
    for path in ["/products/0", "/products/10001", "/static/../shop.db", "/static/none.js"] {
        assert_eq!(shop.get(path).await.status(), 404, "{path}");
    }
    let url = format!("{}/admin/faults", shop.base);
    let response = shop.client.post(&url).body("n_plus_two").send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(
        response.text().await.unwrap().starts_with("`n_plus_two` is not a fault; known are none, n_plus_one")
    );
    assert_eq!(shop.client.get(&url).send().await.unwrap().text().await.unwrap(), "none\n");
}
