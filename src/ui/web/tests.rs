//! Pages and refusals.

use super::*;
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

fn hosts() -> Vec<String> {
    vec!["127.0.0.1:7700".into(), "localhost:7700".into()]
}

fn get(target: &str, store: &Fake) -> (u16, String) {
    let asked = Asked { method: "GET", target, host: "127.0.0.1:7700", ..Asked::default() };
    let answer = answer(&asked, &hosts(), store);
    (answer.status, String::from_utf8(answer.body).unwrap())
}

#[test]
fn the_list_is_searched() {
    let store = fake();
    let (status, all) = get("/", &store);
    assert_eq!(status, 200);
    for wanted in
        ["/runs/20261124T1-shop", "2026-11-24 15:03 UTC · 30 s", "1,234", "1 of 3 failed", "76.2", "release"]
    {
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
        body: b"tags=a+b%2Ca&text=x%0D%0Ay",
    };
    let status = |asked: &Asked| answer(asked, &hosts(), &store).status;
    let done = answer(&own, &hosts(), &store);
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
        (400, Asked { body: b"state=x", ..own.clone() }),
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
fn pages_run_no_script_and_reports_reach_nothing() {
    let store = fake();
    let policy = |target: &str| {
        let asked = Asked { method: "GET", target, host: "localhost:7700", ..Asked::default() };
        answer(&asked, &hosts(), &store).policy
    };
    for page in ["/", "/runs/20261124T1-shop", "/nothing", "/style.css", "/runs/20261124T1-shop/report.md"] {
        let policy = policy(page);
        assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{page}: {policy}");
    }
    let report = policy("/runs/20261124T1-shop/report");
    assert!(report.starts_with("sandbox") && !report.contains("allow-same-origin"), "{report}");
    assert!(report.contains("connect-src 'none'") && report.contains("form-action 'none'"), "{report}");
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
            for bad in ["<script", "<img", "onfocus='", "\u{202e}", "\u{0}", "\u{1b}", "href=\"javascript"] {
                assert!(!page.contains(bad), "{hostile:?} leaves {bad:?} in {target}: {page}");
            }
            assert_eq!(
                page.matches("</textarea>").count(),
                usize::from(target.starts_with("/runs")),
                "{hostile:?}"
            );
            assert_eq!(page.matches("</title>").count(), 1);
        }
    }
}
