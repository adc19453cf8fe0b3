//! Every format, its secrets and its losses; and that every result is a scenario that reads back.

mod styles;

use super::*;
use crate::scenario::{Scenario, Surroundings, parse_with};
use std::sync::Arc;

/// What was imported, read as a scenario with all secrets set.
fn read(imported: &Imported) -> Scenario {
    let environment =
        imported.environment.iter().map(|name| (name.clone(), "from-the-vault".to_string())).collect();
    let surroundings = Surroundings { environment: Arc::new(environment), ..Surroundings::default() };
    parse_with(&imported.yaml, "imported.yaml", &surroundings)
        .unwrap_or_else(|e| panic!("{e}\n{}", imported.yaml))
}

fn of(text: &str, format: Format) -> (Imported, Scenario) {
    assert_eq!(Format::of(text), Some(format), "it is recognised");
    let imported = import(text, format, None).unwrap_or_else(|e| panic!("{e}"));
    let scenario = read(&imported);
    (imported, scenario)
}

fn steps(scenario: &Scenario) -> Vec<String> {
    scenario.steps().into_iter().map(|s| format!("{} {}", s.method, s.template)).collect()
}

#[test]
fn curl_lines() {
    let (imported, scenario) = of(
        "curl 'https://api.example.org/v1/orders?page=2&api_key=k-123' -X POST \\\n  -H 'Authorization: Bearer abc.def' -H \"X-Tenant: a b\" \\\n  -H 'Cookie: sid=1' --compressed -k --data-raw '{\"user\":\"ann\",\"password\":\"hunter22\",\"n\":[1,{\"t\":\"{{x}}\"}]}' -H 'content-type: application/json' --weird",
        Format::Curl,
    );
    assert_eq!(steps(&scenario), ["POST /v1/orders"]);
    assert_eq!(scenario.target, "https://api.example.org");
    for hidden in ["abc.def", "hunter22", "k-123", "sid=1"] {
        assert!(!imported.yaml.contains(hidden), "{hidden}: {}", imported.yaml);
    }
    assert_eq!(imported.environment, ["API_KEY", "TOKEN", "PASSWORD"]);
    let notes = imported.notes.join("\n");
    assert!(notes.contains("--weird") && notes.contains("cookies"), "{notes}");
    assert!(imported.yaml.contains("insecure: true"), "{}", imported.yaml);
    assert!(imported.yaml.contains(r#""Bearer {{ secret.token }}""#) && imported.yaml.contains("a b"));
    let (_, plain) = of("curl localhost:8080/a -d a=1 -d 'b=x y%20z' -u me:pw", Format::Curl);
    let crate::scenario::Body::Text { content_type, text } = &plain.steps[0].body else { panic!("no body") };
    assert_eq!(
        (*content_type, text.as_static()),
        (Some("application/x-www-form-urlencoded"), Some("a=1&b=x%20y%20z"))
    );
    let line = "curl -x http://me:pw@proxy:3128 --cacert ca.pem --compressed http://h/s";
    let (through, scenario) = of(line, Format::Curl);
    assert_eq!((steps(&scenario), scenario.target.as_str()), (vec!["GET /s".to_string()], "http://h"));
    let notes = through.notes.join("\n");
    assert!(notes.contains("http: {proxy: …}") && notes.contains("http: {tls: {roots: …}}"), "{notes}");
    assert!(through.yaml.contains("accept_encoding") && !notes.contains("pw"), "{notes}");
    let (_, get) = of("curl -G http://h/s -d q=1 -d r=2", Format::Curl);
    assert_eq!(get.steps[0].path.as_static(), Some("/s?q=1&r=2"));
    assert!(import("curl 'http://h", Format::Curl, None).unwrap_err().contains("no end"));
    assert!(import("curl -s", Format::Curl, None).unwrap_err().contains("no URL"));
}

#[test]
fn recordings_of_browsers() {
    let har = r#"{"log": {"version": "1.2", "entries": [
      {"startedDateTime": "2026-11-24T10:00:03.000Z", "time": 50, "request": {"method": "POST", "url": "https://shop.example/login",
        "headers": [{"name": "Content-Type", "value": "application/x-www-form-urlencoded"}, {"name": ":authority", "value": "shop.example"}, {"name": "X-Csrf-Token", "value": "csrf-value-1"}],
        "postData": {"mimeType": "application/x-www-form-urlencoded", "text": "user=ann&password=open%20sesame"}}, "response": {"status": 302}},
      {"startedDateTime": "2026-11-24T10:00:00.000Z", "time": 500, "request": {"method": "GET", "url": "https://shop.example/?q={x}#top", "headers": [{"name": "Cookie", "value": "sid=s3"}]}, "response": {"status": 200}},
      {"startedDateTime": "2026-11-24T10:00:01.000Z", "time": 5, "request": {"method": "GET", "url": "https://shop.example/app.js", "headers": []}, "response": {"status": 200}},
      {"startedDateTime": "2026-11-24T10:00:01.000Z", "time": 5, "request": {"method": "GET", "url": "https://ads.example/x", "headers": []}, "response": {"status": 200}}
    ]}}"#;
    let (imported, scenario) = of(har, Format::Har);
    assert_eq!(steps(&scenario), ["GET /", "POST /login"], "in the order of time");
    assert!(imported.yaml.contains("think: \"2500ms\""), "{}", imported.yaml);
    for hidden in ["sesame", "csrf-value-1", "sid=s3"] {
        assert!(!imported.yaml.contains(hidden), "{hidden}");
    }
    let notes = imported.notes.join("\n");
    assert!(
        notes.contains("1 requests to other hosts") && notes.contains("1 requests for scripts"),
        "{notes}"
    );
    assert!(scenario.steps[1].expect.status.holds(302) && !scenario.steps[1].expect.status.holds(200));
}

#[test]
fn open_api_documents() {
    let yaml = r##"openapi: 3.0.3
info: {title: Pets, version: "1"}
servers: [{url: "https://pets.example/v2/"}]
security: [{bearer: []}]
paths:
  /pets:
    get:
      operationId: list
      parameters: [{name: limit, in: query, required: true, schema: {type: integer, maximum: 50}}, {name: tag, in: query, schema: {type: string}}]
      responses: {"200": {description: ok}}
    post:
      requestBody: {content: {application/json: {schema: {$ref: "#/components/schemas/Pet"}}}}
      responses: {"201": {description: made}, default: {description: bad}}
  /pets/{petId}:
    parameters: [{name: petId, in: path, required: true, schema: {type: string, format: uuid}}]
    get: {operationId: list, responses: {"200": {description: ok}}}
    delete: {responses: {"204": {description: gone}}}
  /elsewhere/{undeclared}:
    put: {requestBody: {$ref: "https://other.example/body.yaml"}, security: [{key: []}], responses: {}}
components:
  securitySchemes: {bearer: {type: http, scheme: bearer}, key: {type: apiKey, in: header, name: X-Key}}
  schemas:
    Pet: {type: object, required: [name, kind, owner], properties: {name: {type: string}, kind: {enum: [cat, dog]}, owner: {$ref: "#/components/schemas/Owner"}, id: {type: integer}}}
    Owner: {type: object, properties: {email: {type: string, format: email}, pets: {type: array, items: {$ref: "#/components/schemas/Pet"}}}}
"##;
    let (imported, scenario) = of(yaml, Format::OpenApi);
    let mut found = steps(&scenario);
    found.sort();
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found.contains(&"POST /v2/pets".to_string()) && found.contains(&"GET /v2/pets/{uuid}".to_string()),
        "{found:?}"
    );
    assert_eq!(imported.environment, ["KEY", "BEARER"]);
    assert!(
        imported.yaml.contains("limit={{ pick(1, 50) }}") && !imported.yaml.contains("tag="),
        "{}",
        imported.yaml
    );
    assert!(imported.yaml.contains("{{ fake.email }}"));
    let notes = imported.notes.join("\n");
    assert!(
        notes.contains("DELETE /pets/{petId} was left out") && notes.contains("was not followed"),
        "{notes}"
    );
    assert!(import("openapi: 2.0\npaths: {}\n", Format::OpenApi, None).unwrap_err().contains("version 3"));
    let json = r#"{"openapi": "3.1.0", "info": {"title": "x"}, "paths": {"/a": {"get": {"responses": {}}}}}"#;
    let (imported, _) = of(json, Format::OpenApi);
    assert!(imported.notes.iter().any(|n| n.contains("put it under `target`")));
}

#[test]
fn postman_collections() {
    let text = r#"{"info": {"_postman_id": "1", "name": "Shop", "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"},
      "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}"}]},
      "variable": [{"key": "baseUrl", "value": "https://shop.example/api"}, {"key": "token", "value": "very-secret-1"}],
      "item": [
        {"name": "Folder", "item": [{"name": "get", "request": {"method": "GET", "url": {"raw": "{{baseUrl}}/users/:id?x={{$guid}}", "variable": [{"key": "id", "value": "7"}]}}, "event": [{"listen": "test", "script": {"exec": ["pm.test(1);"]}}]}]},
        {"name": "get", "request": {"method": "POST", "header": [{"key": "X-Off", "value": "1", "disabled": true}], "url": "{{baseUrl}}/orders", "body": {"mode": "raw", "raw": "{\"user\": \"{{userName}}\", \"password\": \"pw-123456\"}"}}},
        {"name": "up", "request": {"method": "POST", "auth": {"type": "basic", "basic": {"username": "u", "password": "p-9"}}, "url": "{{baseUrl}}/up", "body": {"mode": "formdata", "formdata": [{"key": "f", "type": "file", "src": "/home/me/a.png"}, {"key": "t", "value": "x"}]}}}
      ]}"#;
    let (imported, scenario) = of(text, Format::Postman);
    assert_eq!(steps(&scenario), ["GET /api/users/7", "POST /api/orders", "POST /api/up"]);
    assert_eq!(scenario.target, "https://shop.example/api");
    for hidden in ["very-secret-1", "pw-123456", "dTpwLTk="] {
        assert!(!imported.yaml.contains(hidden), "{hidden}: {}", imported.yaml);
    }
    let notes = imported.notes.join("\n");
    assert!(
        notes.contains("scripts of \"get\"")
            && notes.contains("userName is not set")
            && notes.contains("a.png"),
        "{notes}"
    );
}

#[test]
fn access_logs() {
    let mut log = String::new();
    for n in 0..60 {
        log.push_str(&format!("127.0.0.1 - - [10/Oct/2026:13:55:{:02} -0700] \"GET /products/{} HTTP/1.1\" 200 23 \"-\" \"agent\"\n", n % 60, n % 5));
    }
    log.push_str(
        "::1 - ann [10/Oct/2026:13:55:59 -0700] \"GET /search?q=a%20b&token=t-secret HTTP/2.0\" 200 5\n",
    );
    log.push_str("::1 - - [10/Oct/2026:13:55:59 -0700] \"POST /login HTTP/1.1\" 200 5\nbroken line\n");
    let (imported, scenario) = of(&log, Format::AccessLog);
    assert_eq!(steps(&scenario), ["GET /products/{value}", "GET /search"]);
    assert!(!imported.yaml.contains("t-secret"));
    assert!(
        imported.yaml.contains("weight: 60") && imported.yaml.contains("rate: 1.034/s"),
        "{}",
        imported.yaml
    );
    let notes = imported.notes.join("\n");
    assert!(
        notes.contains("1 lines were not understood") && notes.contains("1 requests other than GET"),
        "{notes}"
    );
}

#[test]
fn k6_scripts() {
    let (imported, scenario) = of(
        r#"import http from 'k6/http';
import { check, sleep } from 'k6';
const BASE = 'http://127.0.0.1:8080'; // the shop
export const options = { stages: [{ duration: '30s', target: 20 }, { duration: '1m', target: 20 }], thresholds: { http_req_duration: ['p(95)<500', 'med<1'], http_req_failed: ['rate<0.01'] } };
export default function () {
  const res = http.get(`${BASE}/products?page=1`, { tags: { name: 'list' }, headers: { 'X-A': 'b' } });
  check(res, { 'ok': (r) => r.status === 200 });
  sleep(1.5);
  http.post(BASE + '/computed', 'x');
  const r2 = http.post(`${BASE}/orders`, JSON.stringify({ product: 3, items: ['a', "b"], password: 'pw-abcdef' }), { headers: { 'Content-Type': 'application/json' } });
  check(r2, { 'made': (r) => r.status == 201 && r.json('id') > 0 });
  http.get(`${BASE}/p/${res.json('id')}`);
  http.batch([['GET', BASE]]);
}
"#,
        Format::K6,
    );
    assert_eq!(steps(&scenario), ["GET /products", "POST /computed", "POST /orders", "GET /"]);
    assert_eq!(scenario.duration(), crate::record::Nanos::from_millis(90_000));
    assert_eq!(scenario.thresholds.len(), 2);
    assert!(
        imported.yaml.contains("think: \"1500ms\"") && !imported.yaml.contains("pw-abcdef"),
        "{}",
        imported.yaml
    );
    let notes = imported.notes.join("\n");
    for line in ["line 12", "http.batch", "med<1"] {
        assert!(notes.contains(line), "{line}: {notes}");
    }
}

#[test]
fn k6_scripts_that_trace_their_requests() {
    let traced = |call: &str| {
        let script = format!(
            "import http from 'k6/http';\nimport tempo from 'https://jslib.k6.io/http-instrumentation-tempo/1.0.0/index.js';\n{call}\nexport default function () {{\n  http.get('http://127.0.0.1:8080/', {{ headers: {{ 'X-Amzn-Trace-Id': 'Root=1-5759e988-bd862e3fe1be46a994272793', 'X-B3-TraceId': '463ac35c9f6413ad48485a3953bb6124', 'X-A': 'b' }} }});\n}}\n"
        );
        let (imported, scenario) = of(&script, Format::K6);
        assert!(!imported.yaml.contains("x-amzn") && !imported.yaml.contains("x-b3"), "{}", imported.yaml);
        assert!(imported.yaml.contains("x-a"), "{}", imported.yaml);
        let formats = scenario.propagation.map(|formats| formats.to_string()).unwrap_or_default();
        (formats, scenario.sampling, imported.notes.join("\n"))
    };
    let all = crate::scenario::Sampling::Share(1.0);
    let (formats, sampling, notes) = traced("tempo.instrumentHTTP({ propagator: 'w3c' });");
    assert_eq!((formats.as_str(), sampling, notes.contains("line 3")), ("", all, false));
    let (formats, sampling, notes) = traced("tempo.instrumentHTTP({ propagator: 'jaeger', sampling: 0.1 });");
    assert_eq!((formats.as_str(), sampling), ("tracecontext,jaeger", crate::scenario::Sampling::Share(0.1)));
    assert!(!notes.contains("line 3"), "{notes}");
    let (formats, _, notes) = traced("instrumentHTTP({ propagator: 'datadog', sampling: 7 });");
    assert!(formats.is_empty() && notes.contains("the propagator datadog was not"), "{notes}");
    assert!(notes.contains("line 3: the sampling was not"), "{notes}");
    assert!(
        traced("tracing.instrumentHTTP(options);").2.contains("line 3: how requests are traced is computed")
    );
}

#[test]
fn locust_files() {
    let (imported, scenario) = of(
        r#"from locust import HttpUser, task, between

class Shopper(HttpUser):
    host = "http://127.0.0.1:8080"
    wait_time = between(1, 2.5)

    def on_start(self):
        self.client.post("/login", data={"user": "ann", "password": "s3cr3t-pw"})

    @task(3)
    def browse(self):
        self.client.get("/products", params={"page": 2}, name="list")  # a list
        for i in range(3):
            self.client.get(f"/products/{i}")

    @task
    def order(self):
        self.client.post("/orders", json={"product": 1, "gift": True},
                         headers={"X-A": "b"})

    def helper(self):
        pass
"#,
        Format::Locust,
    );
    assert_eq!(steps(&scenario), ["POST /login", "GET /products", "POST /orders"]);
    assert!(scenario.lifecycle.on_start.is_some());
    let weights: Vec<u32> = scenario.journeys.iter().map(|j| j.weight).collect();
    assert_eq!(weights, [0, 3, 1]);
    assert!(
        !imported.yaml.contains("s3cr3t-pw") && imported.yaml.contains("\"1s..2.5s\""),
        "{}",
        imported.yaml
    );
    let notes = imported.notes.join("\n");
    assert!(notes.contains("line 14") && notes.contains("helper is no task"), "{notes}");
}

#[test]
fn nothing_that_is_no_such_document_makes_a_scenario_or_a_panic() {
    for (_, format) in Format::NAMES {
        for text in [
            "",
            "{}",
            "[]",
            "curl",
            "{\"log\": {\"entries\": [{}]}}",
            "openapi: 3.0\npaths: {/a: 5}",
            "\u{feff}",
            "http.get(",
            "self.client.get(",
            "\"GET / HTTP",
            "{\"item\": [{}]}",
            "http.get('{{', {",
            "é`${",
        ] {
            if let Ok(imported) = import(text, format, Some("http://127.0.0.1:1")) {
                read(&imported);
            }
        }
    }
    assert_eq!(Format::of("hello"), None);
}
