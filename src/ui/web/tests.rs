//! Pages and refusals.

use super::*;
use crate::record::{RunState, Timestamp};
use std::cell::RefCell;

#[derive(Default)]
struct Fake {
    runs: Vec<RunRow>,
    kept: RefCell<Vec<(String, Notes)>>,
}

impl RunStore for Fake {
    fn list(&self) -> Vec<RunRow> {
        self.runs.clone()
    }
    fn run(&self, id: &str) -> Option<RunRow> {
        self.runs.iter().find(|run| run.id == id).cloned()
    }
    fn page(&self, _: &str) -> Option<Vec<u8>> {
        Some(b"<script>1</script>".to_vec())
    }
    fn text(&self, _: &str) -> Result<String, String> {
        Ok("STEPS".into())
    }
    fn keep(&self, id: &str, notes: &Notes) -> Result<(), String> {
        self.kept.borrow_mut().push((id.into(), notes.clone()));
        Ok(())
    }
    fn compare(&self, base: &[String], head: &[String], allow: &[String]) -> Result<Value, String> {
        Ok(json!({"comparison": {"sides": [base, head], "allow": allow}, "allowable": []}))
    }
    fn trend(&self, of: &TrendOf) -> Result<Value, String> {
        Ok(json!({"of": format!("{of:?}")}))
    }
    fn traces(&self, _: &str, wanted: &Wanted) -> Result<Value, String> {
        Ok(json!({"wanted": format!("{wanted:?}")}))
    }
    fn trace(&self, _: &str, trace: &str) -> Result<Value, String> {
        Ok(json!({ "trace": trace }))
    }
    fn scenario(&self, id: &str) -> Option<String> {
        (id == "20261124T1-shop").then(|| HOSTILE.into())
    }
}

/// Ends a script element, if it may.
const HOSTILE: &str = "</script><script>alert(1)</script>";

#[derive(Default)]
struct FakeRunner(RefCell<Vec<String>>);

impl Runner for FakeRunner {
    fn scenarios(&self) -> Vec<String> {
        vec!["shop.yaml".into()]
    }
    fn scenario(&self, name: &str) -> Result<ScenarioFile, String> {
        let file = ScenarioFile { text: HOSTILE.into(), version: "v1".into() };
        if name == "shop.yaml" { Ok(file) } else { Err("There is no such scenario.".into()) }
    }
    fn save(&self, name: &str, _: &str, version: &str) -> Result<String, Value> {
        self.0.borrow_mut().push(format!("save {name} {version}"));
        if version == "v1" { Ok("v2".into()) } else { Err(json!({"error": {"message": "it was changed"}})) }
    }
    fn check(&self, name: &str, text: &str) -> Value {
        json!({"ok": {"name": name, "text": text}})
    }
    fn start(&self, name: &str, _: &str) -> Result<(), Value> {
        self.0.borrow_mut().push(format!("start {name}"));
        if name == "busy.yaml" { Err(json!({"error": {"message": "a run is under way"}})) } else { Ok(()) }
    }
    fn state(&self) -> Value {
        json!({"state": "running", "said": [HOSTILE]})
    }
    fn change(&self, change: Change) -> Result<Value, String> {
        self.0.borrow_mut().push(format!("{change:?}"));
        Ok(json!({"done": "so"}))
    }
}

fn door() -> Door {
    Door {
        hosts: vec!["127.0.0.1:7700".into(), "localhost:7700".into()],
        csrf: "c5rf".into(),
        session: "s3ss10n".into(),
        cookie: "hotspan_7700".into(),
        ..Door::default()
    }
}

fn ask(asked: &Asked, store: &Fake) -> Answer {
    answer(asked, Site { door: &door(), store, runner: None })
}

fn run(id: &str, name: &str, tags: &[&str]) -> RunRow {
    RunRow {
        id: id.into(),
        name: name.into(),
        target: "http://127.0.0.1:8080".into(),
        started_at: Timestamp(1_795_532_592_250_000_000),
        lasted: Some(Nanos::from_millis(30_000)),
        state: RunState::Complete,
        result: Some(RunResult {
            headline: "database has 98 % of p95".into(),
            exchanges: 1_234,
            errors: 5,
            p95_ms: 76.2,
            categories: vec![("database".into(), 0.9), ("app".into(), 0.1)],
            thresholds: (3, 1),
        }),
        has_page: true,
        notes: Notes { tags: tags.iter().map(ToString::to_string).collect(), text: "first\nsecond".into() },
    }
}

fn fake() -> Fake {
    Fake {
        runs: vec![run("20261124T1-shop", "shop", &["release"]), run("20261123T1-pay", "pay", &[])],
        ..Fake::default()
    }
}

fn get(target: &str, store: &Fake) -> (u16, String) {
    let asked = Asked { method: "GET", target, host: "127.0.0.1:7700", ..Asked::default() };
    let answer = ask(&asked, store);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[test]
fn the_list_is_searched() {
    let store = fake();
    let (status, all) = get("/", &store);
    assert_eq!(status, 200);
    for wanted in [
        "/runs/20261124T1-shop",
        "2026-11-24 15:03:12 UTC · 30 s",
        "1,234",
        "1 of 3 failed",
        "76.2",
        "release",
    ] {
        assert!(all.contains(wanted), "{wanted} is not in {all}");
    }
    for (search, shop, pay) in [
        ("shop", true, false),
        ("PAY", false, true),
        ("tag:release", true, false),
        ("tag:rel", false, false),
        ("database+second", true, true),
        ("database%20shop", true, false),
        ("nothing", false, false),
    ] {
        let (_, found) = get(&format!("/?q={search}"), &store);
        let has = |id: &str| found.contains(&format!("/runs/{id}"));
        assert_eq!((has("20261124T1-shop"), has("20261123T1-pay")), (shop, pay), "{search}");
    }
}

#[test]
fn only_its_own_name_and_its_own_pages_reach_it() {
    let store = fake();
    let form = "application/x-www-form-urlencoded";
    let own = Asked {
        method: "POST",
        target: "/runs/20261124T1-shop/notes",
        host: "127.0.0.1:7700",
        origin: Some("http://127.0.0.1:7700"),
        content_type: Some(form),
        cookie: None,
        body: b"csrf=c5rf&tags=a+b%2Ca&text=x%0D%0Ay",
    };
    let status = |asked: &Asked| ask(asked, &store).status;
    let done = ask(&own, &store);
    assert_eq!((done.status, done.location.as_deref()), (303, Some("/runs/20261124T1-shop")));
    let kept = Notes { tags: vec!["a".into(), "b".into()], text: "x\ny".into() };
    assert_eq!(store.kept.borrow().as_slice(), [("20261124T1-shop".to_owned(), kept)]);
    let refusals = [
        (421, Asked { host: "evil.example:7700", ..own.clone() }),
        (421, Asked { host: "", ..own.clone() }),
        (403, Asked { origin: None, ..own.clone() }),
        (403, Asked { origin: Some("null"), ..own.clone() }),
        (403, Asked { origin: Some("http://evil.example"), ..own.clone() }),
        (403, Asked { origin: Some("http://localhost:7700"), ..own.clone() }),
        (415, Asked { content_type: Some("text/plain"), ..own.clone() }),
        (415, Asked { content_type: None, ..own.clone() }),
        (405, Asked { method: "GET", ..own.clone() }),
        (405, Asked { method: "DELETE", ..own.clone() }),
        (404, Asked { target: "/runs/other/notes", ..own.clone() }),
        (403, Asked { body: b"tags=a", ..own.clone() }),
        (403, Asked { body: b"csrf=c5r&tags=a", ..own.clone() }),
        (403, Asked { body: b"csrf=&tags=a", ..own.clone() }),
        (400, Asked { body: b"csrf=c5rf&state=x", ..own.clone() }),
        (421, Asked { method: "GET", target: "/", host: "rebound.example:7700", ..Asked::default() }),
    ];
    for (wanted, asked) in refusals {
        assert_eq!(status(&asked), wanted, "{asked:?}");
    }
    assert_eq!(store.kept.borrow().len(), 1, "nothing that was refused was kept");
}

#[test]
fn no_path_leaves_the_runs() {
    let store = fake();
    for path in [
        "/runs/..",
        "/runs/../secret",
        "/runs/%2e%2e/report",
        "/runs/..%2f..%2fetc/report",
        "/runs/.hidden",
        "/runs//report",
        "/runs/a/b/c",
        "/runs/20261124T1-shop/report/..",
        "/runs/C:%5C",
        "/etc/passwd",
        "//etc/passwd",
    ] {
        assert_eq!(get(path, &store).0, 404, "{path}");
    }
    assert!(is_name("20261124T101500Z-shop-2") && !is_name("..") && !is_name("a/b") && !is_name(""));
}

#[test]
fn pages_run_their_own_script_alone_and_reports_reach_nothing() {
    let store = fake();
    let of = |target: &str| {
        let asked = Asked { method: "GET", target, host: "localhost:7700", ..Asked::default() };
        ask(&asked, &store)
    };
    for page in [
        "/",
        "/runs/20261124T1-shop",
        "/runs/20261124T1-shop/traces",
        "/compare?base=20261124T1-shop&head=20261123T1-pay",
        "/trend",
        "/nothing",
        "/style.css",
        "/app.js",
        "/runs/20261124T1-shop/report.md",
    ] {
        let policy = of(page).policy;
        assert!(
            policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"),
            "{page}: {policy}"
        );
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{page}: {policy}");
        let html = String::from_utf8(of(page).body).unwrap();
        for inline in [" style=\"", " onclick=", "<script>"] {
            assert!(!html.contains(inline) || page.ends_with("js"), "{page} has {inline}");
        }
    }
    let report = of("/runs/20261124T1-shop/report").policy;
    assert!(report.starts_with("sandbox") && !report.contains("allow-same-origin"), "{report}");
    assert!(report.contains("connect-src 'none'") && report.contains("form-action 'none'"), "{report}");
}

#[test]
fn a_token_is_asked_for() {
    let store = fake();
    let closed = Door { token: Some("a-token-of-the-user".into()), ..door() };
    let runner = FakeRunner::default();
    let site = Site { door: &closed, store: &store, runner: Some(&runner) };
    let get = Asked { method: "GET", target: "/", host: "127.0.0.1:7700", ..Asked::default() };
    let to_enter = answer(&get, site);
    assert_eq!((to_enter.status, to_enter.location.as_deref()), (303, Some("/enter")));
    assert_eq!(answer(&Asked { target: "/live/state", ..get.clone() }, site).status, 401);
    for open in ["/enter", "/style.css", "/app.js"] {
        assert_eq!(answer(&Asked { target: open, ..get.clone() }, site).status, 200, "{open}");
    }
    let post = Asked {
        method: "POST",
        target: "/enter",
        origin: Some("http://127.0.0.1:7700"),
        content_type: Some("application/x-www-form-urlencoded"),
        body: b"token=a-token-of-the-user",
        ..get.clone()
    };
    let cookie = answer(&post, site).cookie.unwrap();
    assert_eq!(cookie, "hotspan_7700=s3ss10n; Path=/; HttpOnly; SameSite=Strict");
    assert_eq!(answer(&Asked { body: b"token=wrong", ..post.clone() }, site).status, 401);
    assert_eq!(answer(&Asked { origin: Some("http://evil.example"), ..post.clone() }, site).status, 403);
    let with = cookie.split(';').next();
    assert_eq!(answer(&Asked { cookie: with, ..get }, site).status, 200);
    let start = Asked { target: "/start", body: b"csrf=c5rf&scenario=shop.yaml&text=x", ..post };
    assert_eq!(answer(&start, site).status, 401, "without the cookie the word of a form is not enough");
    assert_eq!(answer(&Asked { cookie: with, ..start }, site).status, 200);
    assert_eq!(runner.0.borrow().as_slice(), ["start shop.yaml"]);
}

#[test]
fn a_link_leads_to_its_page_once_the_token_is_there() {
    let store = fake();
    let closed = Door { token: Some("a-token-of-the-user".into()), ..door() };
    let site = Site { door: &closed, store: &store, runner: None };
    let get = Asked { method: "GET", target: "/", host: "127.0.0.1:7700", ..Asked::default() };
    let to = |target| answer(&Asked { target, ..get.clone() }, site).location.unwrap();
    assert_eq!(to("/runs/20261124T1-shop/traces/ab"), "/enter?to=/runs/20261124T1-shop/traces/ab");
    for elsewhere in ["//evil.example", "/\\evil.example", "/%0d%0ax", "/a:b", "/?to=x"] {
        assert_eq!(to(elsewhere), "/enter", "{elsewhere}");
    }
    let page = |target| String::from_utf8(answer(&Asked { target, ..get.clone() }, site).body).unwrap();
    assert!(page("/enter?to=/runs/x/report").contains("value=\"/runs/x/report\""));
    assert!(page("/enter?to=https://evil.example").contains("id=\"enter-to\" value=\"/\""));
    let post = Asked {
        method: "POST",
        target: "/enter",
        origin: Some("http://127.0.0.1:7700"),
        content_type: Some("application/x-www-form-urlencoded"),
        ..get.clone()
    };
    for (form, goes_on) in [
        (&b"token=a-token-of-the-user&to=/runs/x"[..], "/runs/x"),
        (b"token=a-token-of-the-user&to=//evil.example", "/"),
        (b"token=a-token-of-the-user", "/"),
    ] {
        assert_eq!(answer(&Asked { body: form, ..post.clone() }, site).location.as_deref(), Some(goes_on));
    }
}

#[test]
fn a_report_leads_to_the_trace_browser_of_its_run() {
    let report = with_browser(b"<title>&lt;body&gt;</title><body>\n<body>".to_vec(), "20261124T1-shop");
    let text = String::from_utf8(report).unwrap();
    assert_eq!(
        text,
        "<title>&lt;body&gt;</title><body data-traces=\"/runs/20261124T1-shop/traces/\">\n<body>"
    );
    assert_eq!(with_browser(b"no page".to_vec(), "x"), b"no page");
}

/// A form as the page's own browser sends it.
fn posted<'a>(target: &'a str, body: &'a [u8]) -> Asked<'a> {
    Asked {
        method: "POST",
        target,
        host: "127.0.0.1:7700",
        origin: Some("http://127.0.0.1:7700"),
        content_type: Some("application/x-www-form-urlencoded"),
        cookie: None,
        body,
    }
}

#[test]
fn a_scenario_is_saved_by_the_form_of_its_page_alone() {
    let store = fake();
    let runner = FakeRunner::default();
    let door = door();
    let site = Site { door: &door, store: &store, runner: Some(&runner) };
    let own = posted("/save", b"csrf=c5rf&scenario=shop.yaml&text=x&version=v1");
    let saved = answer(&own, site);
    let value: Value = serde_json::from_slice(&saved.body).unwrap();
    assert_eq!((saved.status, &value["version"]), (200, &json!("v2")));
    let late = Asked { body: b"csrf=c5rf&scenario=shop.yaml&text=x&version=v0", ..own.clone() };
    assert_eq!(answer(&late, site).status, 409);
    let before = runner.0.borrow().len();
    for (wanted, asked) in [
        (403, Asked { origin: Some("http://evil.example"), ..own.clone() }),
        (403, Asked { origin: None, ..own.clone() }),
        (403, Asked { body: b"csrf=wrong&scenario=shop.yaml&text=x&version=v1", ..own.clone() }),
        (421, Asked { host: "evil.example:7700", ..own.clone() }),
        (415, Asked { content_type: Some("text/plain"), ..own.clone() }),
        (405, Asked { method: "GET", ..own.clone() }),
    ] {
        assert_eq!(answer(&asked, site).status, wanted, "{asked:?}");
    }
    assert_eq!(runner.0.borrow().len(), before);
    assert_eq!(answer(&own, Site { runner: None, ..site }).status, 404);
}

#[test]
fn a_run_is_started_and_changed_by_its_own_forms_alone() {
    let store = fake();
    let runner = FakeRunner::default();
    let door = door();
    let site = Site { door: &door, store: &store, runner: Some(&runner) };
    let own = posted("/live/change", b"csrf=c5rf&change=factor&factor=1.5");
    assert_eq!(answer(&own, site).status, 200);
    assert_eq!(answer(&Asked { body: b"csrf=c5rf&change=stop", ..own.clone() }, site).status, 200);
    assert_eq!(runner.0.borrow().as_slice(), ["Factor(1.5)", "Stop"]);
    for (wanted, asked) in [
        (403, Asked { origin: Some("http://evil.example"), ..own.clone() }),
        (403, Asked { origin: Some("null"), ..own.clone() }),
        (403, Asked { origin: None, ..own.clone() }),
        (
            421,
            Asked {
                host: "rebound.example:7700",
                origin: Some("http://rebound.example:7700"),
                ..own.clone()
            },
        ),
        (403, Asked { body: b"change=stop", ..own.clone() }),
        (415, Asked { content_type: Some("application/json"), ..own.clone() }),
        (405, Asked { method: "GET", ..own.clone() }),
        (405, Asked { method: "PUT", ..own.clone() }),
        (400, Asked { body: b"csrf=c5rf&change=factor&factor=inf", ..own.clone() }),
        (400, Asked { body: b"csrf=c5rf&change=factor&factor=-1", ..own.clone() }),
        (400, Asked { body: b"csrf=c5rf&change=explode", ..own.clone() }),
        (409, Asked { target: "/start", body: b"csrf=c5rf&scenario=busy.yaml", ..own.clone() }),
        (403, Asked { target: "/start", body: b"scenario=shop.yaml", ..own.clone() }),
        (403, Asked { target: "/check", body: b"scenario=shop.yaml", ..own.clone() }),
    ] {
        assert_eq!(answer(&asked, site).status, wanted, "{asked:?}");
    }
    let long = vec![b'x'; BODY_MAX + 1];
    assert_eq!(answer(&Asked { body: &long, ..own.clone() }, site).status, 413);
    assert_eq!(runner.0.borrow().len(), 3, "nothing that was refused was done: {:?}", runner.0.borrow());
    let without = Site { runner: None, ..site };
    for target in ["/start", "/live", "/live/state"] {
        let asked = Asked { method: "GET", target, host: "127.0.0.1:7700", ..Asked::default() };
        assert_eq!(answer(&asked, without).status, 404, "{target}");
    }
    assert_eq!(answer(&own, without).status, 404);
}

#[test]
fn what_is_asked_for_is_understood() {
    let store = fake();
    let page = |target: &str| get(target, &store);
    let (status, both) = page("/compare?base=20261124T1-shop&head=20261123T1-pay&allow=telemetry");
    assert!(status == 200 && both.contains("\"allow\":[\"telemetry\"]"), "{both}");
    assert_eq!(page("/compare?base=20261124T1-shop").0, 400);
    assert_eq!(page("/compare?base=20261124T1-shop&head=..%2fsecret").0, 404);
    let run = "/runs/20261124T1-shop/traces";
    let (_, traces) =
        page(&format!("{run}?step=2&status=5xx&min_ms=1.5&service=shop&text=SELECT+1&order=time&page=3"));
    for part in ["step: Some(2)", "Class(5)", "Nanos(1500000)", "by_time: true", "page: 3", "SELECT 1"] {
        assert!(traces.contains(part), "{part} is not in {traces}");
    }
    for bad in ["step=x", "status=slow", "min_ms=x", "min_ms=-1", "min_ms=NaN", "page=-1"] {
        assert_eq!(page(&format!("{run}?{bad}")).0, 400, "{bad}");
    }
    assert_eq!(page(&format!("{run}/{}", "0a".repeat(16))).0, 200);
    for bad in ["x", "..", &"0g".repeat(16)] {
        assert_eq!(page(&format!("{run}/{bad}")).0, 404, "{bad}");
    }
    assert!(page("/trend").1.contains("First"));
    assert!(page("/trend?scenario=s&journey=j&step=n").1.contains("Step(\\\"s\\\", \\\"j\\\", \\\"n\\\")"));
    assert!(page("/trend?scenario=s&service=a&operation=o&span=client").1.contains("Operation("));
}

#[test]
fn data_of_scripts_does_not_leave_its_element() {
    let store = fake();
    let (runner, door) = (FakeRunner::default(), door());
    let site = Site { door: &door, store: &store, runner: Some(&runner) };
    for target in ["/start?scenario=shop.yaml", "/start?run=20261124T1-shop", "/live"] {
        let asked = Asked { method: "GET", target, host: "127.0.0.1:7700", ..Asked::default() };
        let page = String::from_utf8(answer(&asked, site).body).unwrap();
        assert_eq!(page.matches("<script").count(), 2, "{target}: {page}");
        assert!(page.contains("\\u003c/script\\u003e"), "{target}: {page}");
    }
}

#[test]
fn hostile_texts_stay_text() {
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "' onfocus='alert(1)",
        "</textarea><script>alert(1)</script>",
        "</title><script>alert(1)</script>",
        "\u{202e}evil\u{0}\u{1b}[2J",
        "&lt;script&gt;",
        "javascript:alert(1)",
    ] {
        let mut hostile_run = run("20261124T1-shop", hostile, &[hostile]);
        hostile_run.target = hostile.into();
        hostile_run.notes.text = format!("a\n{hostile}");
        hostile_run.result.as_mut().unwrap().headline = hostile.into();
        let store = Fake { runs: vec![hostile_run], ..Fake::default() };
        let query: String = hostile.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for target in ["/".to_owned(), format!("/?q={query}"), "/runs/20261124T1-shop".to_owned()] {
            let (_, page) = get(&target, &store);
            for bad in ["<script>", "<img", "onfocus='", "\u{202e}", "\u{0}", "\u{1b}", "href=\"javascript"] {
                assert!(!page.contains(bad), "{hostile:?} leaves {bad:?} in {target}: {page}");
            }
            assert_eq!(
                page.matches("</textarea>").count(),
                usize::from(target.starts_with("/runs")),
                "{hostile:?}"
            );
            // The page's own, and one for each bar.
            assert_eq!(page.matches("</title>").count(), 1 + page.matches("<svg").count());
        }
    }
}
