//! Documents as tools of today write them: what is carried over, and that the result is a scenario.

use super::*;

fn imported(text: &str, format: Format) -> (String, String, Scenario) {
    let (imported, scenario) = of(text, format);
    (imported.yaml, imported.notes.join("\n"), scenario)
}

/// All of these lines stand in the scenario, in this order.
fn has_in_order(yaml: &str, lines: &[&str]) {
    let mut rest = yaml;
    for line in lines {
        let Some(at) = rest.find(line) else { panic!("{line:?} does not stand here:\n{rest}") };
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn what_an_answer_gave_and_a_later_request_sent_is_taken_from_the_answer() {
    let (yaml, notes, scenario) = imported(include_str!("login.har"), Format::Har);
    assert_eq!(scenario.steps.len(), 7, "{yaml}");
    has_in_order(
        &yaml,
        &[
            r#"get: "/login""#,
            "extract: {csrf_token: {css:",
            r#"post: "/login""#,
            r#""password": "{{ secret.password }}""#,
            r#""csrf_token": "{{ csrf_token }}""#,
            "expect: {status: 302}",
            r#"extract: {csrf_token_2: {css: "input[name=\"csrf_token\"]", attribute: value}}"#,
            r#"post: "/files""#,
            r#""title": "hello""#,
            r#""file": {content: "in place of the file", name: "a.png"}"#,
            r#"extract: {status: "$.links.status", id: "$.id"}"#,
            r#"get: "{{ status }}""#,
            r#"get: "/files/{{ id }}/content""#,
            r#""csrf_token": "{{ csrf_token_2 }}""#,
        ],
    );
    for word in
        ["2 requests for scripts", "no answer", "CORS", "WebSockets", "a.png", "csrf_token, status, id"]
    {
        assert!(notes.contains(word), "{word}: {notes}");
    }
    // What the user typed before any answer had it is the user's own.
    let har = r#"{"log": {"entries": [
      {"startedDateTime": "2026-11-24T10:00:00Z", "time": 1, "request": {"method": "GET", "url": "http://h/s?q=lamp2000", "headers": []}, "response": {"status": 200, "content": {"mimeType": "application/json", "text": "{\"q\": \"lamp2000\", \"items\": [{\"id\": 512}]}"}}},
      {"startedDateTime": "2026-11-24T10:00:01Z", "time": 1, "request": {"method": "POST", "url": "http://h/cart", "headers": [], "postData": {"mimeType": "application/json", "text": "{\"q\": \"lamp2000\", \"id\": 512, \"n\": 2}"}}, "response": {"status": 304}}
    ]}}"#;
    let (yaml, _, _) = imported(har, Format::Har);
    has_in_order(
        &yaml,
        &[r#"extract: {id: "$.items[0].id"}"#, r#"json: {"id":"{{ id }}","n":2,"q":"lamp2000"}"#],
    );
    assert!(!yaml.contains("304"), "nothing that is asked for conditionally: {yaml}");
}

#[test]
fn k6_with_scenarios_setup_and_answers() {
    let (yaml, notes, scenario) = imported(include_str!("shop.k6.js"), Format::K6);
    has_in_order(
        &yaml,
        &[
            "setup:",
            r#"post: "/oauth/token""#,
            r#"extract: {token: "$.access_token"}"#,
            r#""main":"#,
            "load: [{users: 3, ramp: 1s}, {users: 3, ramp: 1s}]",
            r#"get: "/p/{{ pick(1, 100) }}""#,
            r#"extract: {id: "$.id"}"#,
            r#"json: {"id":"{{ id }}","key":"{{ uuid() }}","user":"ann"}"#,
            r#"think: "1s..2s""#,
            r#""api":"#,
            "load: [{rate: 10/s, for: 2s}]",
            r#""authorization": "Bearer {{ token }}""#,
            r#"get: "/a""#,
            r#"post: "/b""#,
            r#""x": "1""#,
            r#"get: "/c""#,
        ],
    );
    assert_eq!(scenario.own_loads.len(), 2);
    assert!(scenario.lifecycle.setup.is_some() && !yaml.contains("Y2xpZW50"), "{yaml}");
    assert!(
        notes.contains("1 checks were not carried over") && notes.contains("checks: rate>0.9"),
        "{notes}"
    );
}

#[test]
fn locust_with_sequences_and_answers() {
    let (yaml, _, scenario) = imported(include_str!("shop.locust.py"), Format::Locust);
    has_in_order(
        &yaml,
        &[
            "on_start:",
            r#""user":"u{{ pick(1, 1000000) }}""#,
            r#"extract: {session: "$.session"}"#,
            "on_stop:",
            r#"json: {"session":"{{ session }}"}"#,
            r#""product":"#,
            "weight: 3",
            "pace: 1s",
            r#""x-session": "{{ session }}""#,
            r#"extract: {pid: "$.id"}"#,
            r#"json: {"id":"{{ pid }}","n":"{{ one_of(1, 2, 3) }}"}"#,
            r#""Flow":"#,
            r#"get: "/first""#,
            r#"get: "/second?q=a%20b""#,
        ],
    );
    assert_eq!(scenario.journeys.iter().filter(|j| j.weight > 0).count(), 2, "{yaml}");
    assert!(!yaml.contains("bWU6cHc="), "the password of `auth` is secret: {yaml}");
}

#[test]
fn postman_scripts_that_take_values() {
    let (yaml, notes, _) = imported(include_str!("shop.postman.json"), Format::Postman);
    has_in_order(
        &yaml,
        &[
            r#""authorization": "Basic {{ ('client' + ':' + secret.client_secret) | base64 }}""#,
            r#"extract: {access_token: "$.access_token"}"#,
            "expect: {status: 200}",
            r#""authorization": "Bearer {{ access_token }}""#,
            r#""content-type": "application/json""#,
            r#"body: "{\"id\": {{ pick(0, 1000) }}, \"k\": \"{{ uuid() }}\"}""#,
        ],
    );
    assert!(notes.contains("scripts of \"Token\"") && !notes.contains("scripts of \"Me\""), "{notes}");
}

#[test]
fn schemas_that_are_put_together() {
    let (yaml, notes, _) = imported(include_str!("pets.openapi.yaml"), Format::OpenApi);
    has_in_order(
        &yaml,
        &[
            r#"get: "/api/v1/pets?ids={{ pick(3, 3) }}""#,
            r#"json: {"kind":"{{ fake.word }}","lives":"{{ pick(1, 9) }}","name":"{{ random_text(5) }}"}"#,
            r#"put: "/api/v1/pets/{{ pick(1, 10) }}/events~x""#,
            r#"json: {"kind":"kitty","lives":"{{ pick(1, 9) }}","name":"{{ random_text(5) }}"}"#,
            r#"post: "/api/v1/up""#,
            "multipart:",
        ],
    );
    assert!(notes.contains("image"), "{notes}");
}

#[test]
fn what_browsers_copy() {
    let (yaml, ..) = imported(include_str!("items.cmd.txt"), Format::Curl);
    has_in_order(&yaml, &[r#"post: "/api/items?x=1&y=%2B2""#, r#"json: {"a":"b c % d","n":1}"#]);
    let (yaml, notes, _) = imported(include_str!("order.ps1"), Format::PowerShell);
    has_in_order(
        &yaml,
        &[
            r#"post: "/orders?x=1""#,
            r#""x-requested-with": "XMLHttpRequest""#,
            r#"json: {"a":"b","n":[1,2]}"#,
        ],
    );
    assert!(notes.is_empty() && !yaml.contains("authority"), "{notes}\n{yaml}");
    let fetch = r#"fetch("http://h/orders", {"headers": {"accept": "*/*", "content-type": "application/json", "sec-fetch-mode": "cors"}, "body": "{\"a\":[1]}", "method": "POST"});"#;
    let (yaml, ..) = imported(fetch, Format::Fetch);
    has_in_order(&yaml, &[r#"post: "/orders""#, r#"json: {"a":[1]}"#]);
    let line = "curl -sSfL -m 2.5 --http2 http://h/x --data-urlencode 'q=a b&c'; curl -XDELETE http://h/y";
    let (yaml, notes, scenario) = imported(line, Format::Curl);
    assert_eq!(steps(&scenario), ["POST /x", "DELETE /y"]);
    has_in_order(
        &yaml,
        &["follow: true", "timeouts: {request: 2.5s}", "http: {version: auto}", r#""q": "a b&c""#],
    );
    assert_eq!(notes, "");
}

#[test]
fn logs_of_json() {
    let caddy: String = (1..=6)
        .map(|n| format!("{{\"level\":\"info\",\"ts\":170000000{n}.5,\"request\":{{\"method\":\"GET\",\"proto\":\"HTTP/2.0\",\"uri\":\"/p/{n}?lang=en\"}},\"status\":200}}\n"))
        .collect();
    let (yaml, ..) = imported(&caddy, Format::AccessLog);
    has_in_order(&yaml, &["rate: 1/s", "/p/{{ one_of(", "}}?lang=en", "weight: 6"]);
    let nginx = "{\"time\":\"2026-11-29T01:59:59+00:00\",\"request\":\"GET /a HTTP/1.1\"}\n{\"time\":\"2026-11-29T02:00:02+00:00\",\"request\":\"GET /a HTTP/1.1\"}\n";
    let (yaml, ..) = imported(nginx, Format::AccessLog);
    has_in_order(&yaml, &["rate: 0.5/s", r#"get: "/a""#]);
}
