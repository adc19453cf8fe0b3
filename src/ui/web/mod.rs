//! The local web pages: runs as a list with search, tags and notes; reports; two sides compared, one thing followed over runs,
//! the traces of a run; a run started, watched, changed and stopped. A pure function from a request to an answer over a store of
//! runs; whoever listens hands in what came and sends what goes.
//!
//! Who may: requests that name this server as their `Host`, so that a name somebody pointed at this machine does not reach
//! it, and that come from a browser with the token, where there is one. Nothing changes by GET; what does needs an `Origin`
//! that is this server's own and the word that its own forms carry, so that no other page can send it. Pages run this
//! server's one script and nothing else. A report runs in a sandbox of an origin of its own, and can reach nothing.

mod door;
mod form;
mod page;
mod store;
#[cfg(test)]
mod tests;

pub use door::{Door, TOKEN_MIN};
pub use form::Form;
pub use store::{
    Change, Notes, RunResult, RunRow, RunStore, Runner, ScenarioFile, TrendOf, Wanted, WantedStatus,
};

use crate::record::Nanos;
use page::Shell;
use serde_json::{Value, json};
use std::sync::LazyLock;

/// Longest form: a scenario as it is edited.
pub const BODY_MAX: usize = 512 << 10;
/// Most tags of a run, and the longest of them.
const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 40;
/// Longest note, in bytes.
const NOTE_MAX: usize = 20_000;
/// Most runs of a side of a comparison.
const SIDE_MAX: usize = 50;
/// Longest word that is looked for.
const SEARCH_MAX: usize = 200;

const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
                           form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const REPORT_POLICY: &str = "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; \
                             style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src 'none'; \
                             form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The one script of the pages.
static SCRIPT: LazyLock<String> = LazyLock::new(|| {
    crate::report::page_script(&[
        include_str!("app/base.js"),
        include_str!("app/compare.js"),
        include_str!("app/trend.js"),
        include_str!("app/traces.js"),
        include_str!("app/editor.js"),
        include_str!("app/live.js"),
        include_str!("app/main.js"),
    ])
});
/// The report's style, and what the pages have beyond it.
static STYLE: LazyLock<String> =
    LazyLock::new(|| format!("{}\n{}", crate::report::page_style(), include_str!("style.css")));

/// What a request says.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// Path and query as they were sent.
    pub target: &'a str,
    /// The `Host` header.
    pub host: &'a str,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `Content-Type` header.
    pub content_type: Option<&'a str>,
    /// The `Cookie` header.
    pub cookie: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// What goes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// `Content-Security-Policy`.
    pub policy: &'static str,
    /// `Location`, where the browser is to go on.
    pub location: Option<String>,
    /// `Set-Cookie`, where the browser was let in.
    pub cookie: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn of(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status, content_type, policy: PAGE_POLICY, location: None, cookie: None, body: body.into() }
    }

    fn page(status: u16, html: String) -> Answer {
        Answer::of(status, "text/html; charset=utf-8", html)
    }

    fn json(status: u16, value: &Value) -> Answer {
        Answer::of(status, "application/json", crate::report::embedded_json(value))
    }

    fn refused(status: u16, why: &str) -> Answer {
        Answer::page(status, page::message(status, why))
    }

    fn go_on(to: &str) -> Answer {
        Answer { location: Some(to.to_owned()), ..Answer::page(303, page::message(303, "Go on.")) }
    }
}

/// A server: who may, whose runs, and who makes new ones.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Who may.
    pub door: &'a Door,
    /// The runs.
    pub store: &'a dyn RunStore,
    /// Who makes runs, where that is allowed.
    pub runner: Option<&'a dyn Runner>,
}

/// Answers one request.
pub fn answer(asked: &Asked, site: Site) -> Answer {
    if !site.door.knows(asked.host) {
        return Answer::refused(
            421,
            "This server is not known under that name; open the address that it printed.",
        );
    }
    let (path, query) = asked.target.split_once('?').unwrap_or((asked.target, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (asked.method, parts.as_slice()) {
        ("GET" | "HEAD", ["style.css"]) => Answer::of(200, "text/css; charset=utf-8", STYLE.as_str()),
        ("GET" | "HEAD", ["app.js"]) => Answer::of(200, "text/javascript; charset=utf-8", SCRIPT.as_str()),
        ("GET" | "HEAD", ["enter"]) => {
            let to = Form::read(query.as_bytes());
            Answer::page(200, page::enter(site.door.token.is_some(), own_path(to.get("to"))))
        }
        ("POST", ["enter"]) => enter(asked, site.door),
        (_, _) if !site.door.is_open_to(asked) => match asked.method {
            "GET" | "HEAD" if parts.last() != Some(&"state") => match own_path(path) {
                "/" => Answer::go_on("/enter"),
                to => Answer::go_on(&format!("/enter?to={to}")),
            },
            _ => Answer::refused(401, "The token that was printed opens this server."),
        },
        ("GET" | "HEAD", parts) => site.look(parts, &Form::read(query.as_bytes())),
        ("POST", parts) => match site.may_change(asked) {
            Ok(form) => site.change(parts, &form),
            Err(refused) => refused,
        },
        _ => Answer::refused(405, "That cannot be done here."),
    }
}

/// A path of this server that needs no escapes; else that of the list of runs. Never another server's.
fn own_path(path: &str) -> &str {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    if path.starts_with('/') && !path.starts_with("//") && path.chars().all(fine) { path } else { "/" }
}

/// Lets a browser in that has the token.
fn enter(asked: &Asked, door: &Door) -> Answer {
    match own_form(asked) {
        Err(refused) => refused,
        Ok(form) if door.is_token(form.get("token")) => {
            Answer { cookie: Some(door.let_in()), ..Answer::go_on(own_path(form.get("to"))) }
        }
        Ok(_) => Answer::refused(401, "That is not the token that was printed."),
    }
}

/// The form of a request that comes from a page of this server.
fn own_form(asked: &Asked) -> Result<Form, Answer> {
    // A proxy before this server may do TLS.
    let is_own = |origin: &str| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(|host| host.eq_ignore_ascii_case(asked.host))
    };
    if !asked.origin.is_some_and(is_own) {
        return Err(Answer::refused(403, "Only pages of this server may change something."));
    }
    let form = "application/x-www-form-urlencoded";
    let kind = asked.content_type.and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
    if kind != form {
        return Err(Answer::refused(415, "Changes come from the form alone."));
    }
    if asked.body.len() > BODY_MAX {
        return Err(Answer::refused(413, "That is too long."));
    }
    Ok(Form::read(asked.body))
}

impl Site<'_> {
    /// The form of a request that may change something.
    fn may_change(&self, asked: &Asked) -> Result<Form, Answer> {
        let form = own_form(asked)?;
        if !self.door.is_own_form(form.get("csrf")) {
            return Err(Answer::refused(
                403,
                "The page is older than this server, or not its own: open it again, then change it.",
            ));
        }
        Ok(form)
    }

    fn shell(&self) -> Shell<'_> {
        Shell { csrf: &self.door.csrf, may_start: self.runner.is_some() }
    }

    /// What does not change anything.
    fn look(&self, parts: &[&str], query: &Form) -> Answer {
        let shell = self.shell();
        match parts {
            [""] => self.list(query),
            ["compare"] => self.compare(query),
            ["trend"] => self.trend(query),
            ["runs", id] => self.with_run(id, |run| Answer::page(200, shell.run(run))),
            ["runs", id, "report"] => self.with_run(id, |run| self.report(run)),
            ["runs", id, "report.md"] => self.with_run(id, |run| self.text(run)),
            ["runs", id, "traces"] => self.with_run(id, |run| self.traces(run, query)),
            ["runs", id, "traces", trace] => self.with_run(id, |run| self.trace(run, trace)),
            ["start"] => self.with_runner(|runner| self.editor(runner, query)),
            ["live"] => self.with_runner(|runner| {
                let data = json!({"kind": "live", "csrf": self.door.csrf, "state": runner.state()});
                Answer::page(200, shell.tool("A run as it goes on", "/live", &data))
            }),
            ["live", "state"] => self.with_runner(|runner| Answer::json(200, &runner.state())),
            ["runs", _, "notes"] | ["check"] | ["save"] | ["live", "change"] => {
                Answer::refused(405, "That is done by the form alone.")
            }
            _ => Answer::refused(404, "There is no such page."),
        }
    }

    /// What changes something; the request was checked.
    fn change(&self, parts: &[&str], form: &Form) -> Answer {
        match parts {
            ["runs", id, "notes"] => self.with_run(id, |run| self.keep(run, form)),
            ["check"] => self.with_runner(|runner| {
                Answer::json(200, &runner.check(form.get("scenario"), form.get("text")))
            }),
            ["save"] => self.with_runner(|runner| {
                let name = form.get("scenario");
                match runner.save(name, form.get("text"), form.get("version")) {
                    Ok(version) => {
                        Answer::json(200, &json!({"ok": "saved", "scenario": name, "version": version}))
                    }
                    Err(why) => Answer::json(409, &why),
                }
            }),
            ["start"] => {
                self.with_runner(|runner| match runner.start(form.get("scenario"), form.get("text")) {
                    Ok(()) => Answer::json(200, &json!({"ok": "started", "at": "/live"})),
                    Err(why) => Answer::json(409, &why),
                })
            }
            ["live", "change"] => self.with_runner(|runner| match wished(form) {
                None => Answer::json(400, &json!({"error": "that is no change that a run knows"})),
                Some(change) => match runner.change(change) {
                    Ok(done) => Answer::json(200, &done),
                    Err(why) => Answer::json(409, &json!({ "error": why })),
                },
            }),
            _ => Answer::refused(405, "That cannot be done here."),
        }
    }

    fn with_run(&self, id: &str, then: impl FnOnce(&RunRow) -> Answer) -> Answer {
        // Names of run folders need no escapes; what has some is no run.
        match Some(id).filter(|id| is_name(id)).and_then(|id| self.store.run(id)) {
            Some(run) => then(&run),
            None => Answer::refused(404, "There is no such run; it may have been removed."),
        }
    }

    fn with_runner(&self, then: impl FnOnce(&dyn Runner) -> Answer) -> Answer {
        match self.runner {
            Some(runner) => then(runner),
            None => Answer::refused(
                404,
                "Runs are not started here; `hotspan serve --scenarios DIR` names the folder of scenarios that may be.",
            ),
        }
    }

    fn list(&self, query: &Form) -> Answer {
        let search = query.get("q");
        let all = self.store.list();
        let found: Vec<&RunRow> = all.iter().filter(|run| matches(run, search)).collect();
        Answer::page(200, self.shell().list(&found, all.len(), search))
    }

    fn compare(&self, query: &Form) -> Answer {
        let (base, head) = (query.all("base"), query.all("head"));
        if base.is_empty() || head.is_empty() {
            return Answer::refused(
                400,
                "Pick at least one run for base and one for head in the list of runs.",
            );
        }
        if base.len() > SIDE_MAX || head.len() > SIDE_MAX {
            return Answer::refused(400, "Fifty runs of a side are the most that are compared.");
        }
        let mut known = serde_json::Map::new();
        for id in base.iter().chain(&head) {
            let Some(run) = Some(id).filter(|id| is_name(id)).and_then(|id| self.store.run(id)) else {
                return Answer::refused(404, &format!("There is no run {id}; it may have been removed."));
            };
            known.insert(id.clone(), page::facts(&run));
        }
        match self.store.compare(&base, &head, &query.all("allow")) {
            Ok(compared) => {
                let data = json!({
                    "kind": "compare", "base": base, "head": head, "runs": known,
                    "comparison": compared["comparison"], "allowable": compared["allowable"],
                });
                Answer::page(200, self.shell().tool("Comparison", "/", &data))
            }
            Err(why) => Answer::refused(422, &why),
        }
    }

    fn trend(&self, query: &Form) -> Answer {
        let text = |name| query.get(name).to_owned();
        let of = match (query.get("step"), query.get("operation")) {
            ("", "") | ("*", _) => TrendOf::First(text("scenario")),
            ("", _) => TrendOf::Operation(text("scenario"), text("service"), text("operation"), text("span")),
            (..) => TrendOf::Step(text("scenario"), text("journey"), text("step")),
        };
        match self.store.trend(&of) {
            Ok(trend) => {
                let data = json!({"kind": "trend", "trend": trend});
                Answer::page(200, self.shell().tool("Trend over runs", "/trend", &data))
            }
            Err(why) => Answer::refused(404, &why),
        }
    }

    fn report(&self, run: &RunRow) -> Answer {
        match self.store.page(&run.id) {
            Some(body) => {
                let body = with_browser(body, &run.id);
                Answer { policy: REPORT_POLICY, ..Answer::of(200, "text/html; charset=utf-8", body) }
            }
            None => {
                Answer::refused(404, "This run has no report as a page; `hotspan analyze` makes it anew.")
            }
        }
    }

    fn text(&self, run: &RunRow) -> Answer {
        match self.store.text(&run.id) {
            Ok(text) => Answer::of(200, "text/plain; charset=utf-8", text),
            Err(why) => Answer::refused(500, &why),
        }
    }

    fn traces(&self, run: &RunRow, query: &Form) -> Answer {
        let wanted = match wanted(query) {
            Ok(wanted) => wanted,
            Err(why) => return Answer::refused(400, why),
        };
        match self.store.traces(&run.id, &wanted) {
            Ok(traces) => {
                let asked: serde_json::Map<String, Value> =
                    ["step", "status", "min_ms", "service", "text", "order", "page"]
                        .map(|name| (name.to_owned(), json!(query.get(name))))
                        .into_iter()
                        .collect();
                let data =
                    json!({"kind": "traces", "run": page::facts(run), "asked": asked, "traces": traces});
                Answer::page(200, self.shell().tool("Traces", "/", &data))
            }
            Err(why) => Answer::refused(422, &why),
        }
    }

    fn trace(&self, run: &RunRow, trace: &str) -> Answer {
        if trace.len() != 32 || !trace.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Answer::refused(404, "A trace id is 32 hexadecimal digits.");
        }
        match self.store.trace(&run.id, trace) {
            Ok(found) => {
                let data = json!({"kind": "trace", "run": page::facts(run), "id": trace, "trace": found});
                Answer::page(200, self.shell().tool("Trace", "/", &data))
            }
            Err(why) => Answer::refused(404, &why),
        }
    }

    fn editor(&self, runner: &dyn Runner, query: &Form) -> Answer {
        let (name, run) = (query.get("scenario"), query.get("run"));
        let text = match (name, run) {
            ("", "") => None,
            ("", id) => match Some(id).filter(|id| is_name(id)).and_then(|id| self.store.scenario(id)) {
                Some(text) => Some(("again.yaml".to_owned(), ScenarioFile { text, version: String::new() })),
                None => return Answer::refused(404, "The scenario of that run is not kept."),
            },
            (name, _) => match runner.scenario(name) {
                Ok(file) => Some((name.to_owned(), file)),
                Err(why) => return Answer::refused(404, &why),
            },
        };
        let data = json!({
            "kind": "start",
            "csrf": self.door.csrf,
            "scenarios": runner.scenarios(),
            "name": text.as_ref().map(|(name, _)| name),
            "text": text.as_ref().map(|(_, file)| &file.text),
            "version": text.as_ref().map_or("", |(_, file)| &file.version),
        });
        Answer::page(200, self.shell().tool("Start a run", "/start", &data))
    }

    fn keep(&self, run: &RunRow, form: &Form) -> Answer {
        if !form.has_only(&["csrf", "tags", "text"]) {
            return Answer::refused(400, "The form has a field that is not known.");
        }
        let text = form.get("text").replace("\r\n", "\n").trim_end().to_owned();
        if text.len() > NOTE_MAX {
            return Answer::refused(413, "The note is too long.");
        }
        match self.store.keep(&run.id, &Notes { tags: tags(form.get("tags")), text }) {
            Ok(()) => Answer::go_on(&format!("/runs/{}", run.id)),
            Err(why) => Answer::refused(500, &why),
        }
    }
}

/// A report that knows where its traces can be browsed. What stands before its body is a title without markup.
fn with_browser(page: Vec<u8>, id: &str) -> Vec<u8> {
    const BODY: &[u8] = b"<body>";
    match page.windows(BODY.len()).position(|part| part == BODY) {
        Some(at) => {
            let body = format!("<body data-traces=\"/runs/{id}/traces/\">");
            [&page[..at], body.as_bytes(), &page[at + BODY.len()..]].concat()
        }
        None => page,
    }
}

/// Whether a text can be the name of a run folder: nothing that leaves the folder of runs.
pub fn is_name(id: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= 120 && !id.starts_with('.') && id.chars().all(fine)
}

/// The change that a form asks for.
fn wished(form: &Form) -> Option<Change> {
    Some(match form.get("change") {
        "factor" => {
            Change::Factor(form.get("factor").parse().ok().filter(|f: &f64| f.is_finite() && *f > 0.0)?)
        }
        "pause" => Change::Pause,
        "resume" => Change::Resume,
        "next_stage" => Change::NextStage,
        "stop" => Change::Stop,
        "stop_now" => Change::StopNow,
        _ => return None,
    })
}

/// The exchanges that a query asks for.
fn wanted(query: &Form) -> Result<Wanted, &'static str> {
    let step = match query.get("step") {
        "" => None,
        text => Some(text.parse().map_err(|_| "A step is named by its number.")?),
    };
    let status = match query.get("status") {
        "" => WantedStatus::Any,
        "failed" => WantedStatus::Failed,
        "fine" => WantedStatus::Fine,
        text => match text.strip_suffix("xx") {
            Some(class) => class.parse().map(WantedStatus::Class),
            None => text.parse().map(WantedStatus::Code),
        }
        .map_err(|_| "A status is a number, such as 404 or 5xx, or failed or fine.")?,
    };
    let at_least = match query.get("min_ms").trim() {
        "" => Nanos::ZERO,
        text => {
            let ms: f64 = text.parse().map_err(|_| "The shortest time is a number of milliseconds.")?;
            if !(0.0..=1e9).contains(&ms) {
                return Err("The shortest time is a number of milliseconds.");
            }
            Nanos((ms * 1e6) as u64)
        }
    };
    let page = match query.get("page") {
        "" => 0,
        text => text.parse().map_err(|_| "A page is a number.")?,
    };
    let word = |name: &str| query.get(name).trim().chars().take(SEARCH_MAX).collect::<String>();
    Ok(Wanted {
        step,
        status,
        at_least,
        service: word("service"),
        text: word("text"),
        by_time: query.get("order") == "time",
        page,
    })
}

/// Whether every word of a search is somewhere in a run's texts; `tag:x` means a tag alone.
fn matches(run: &RunRow, search: &str) -> bool {
    let headline = run.result.as_ref().map_or("", |result| &result.headline);
    let tags = run.notes.tags.join(" ");
    let texts = [&run.id, &run.name, &run.target, headline, &tags, &run.notes.text].map(str::to_lowercase);
    search.to_lowercase().split_whitespace().all(|word| match word.strip_prefix("tag:") {
        Some(tag) => run.notes.tags.iter().any(|own| own.to_lowercase() == tag),
        None => texts.iter().any(|text| text.contains(word)),
    })
}

/// Tags as they are typed: separated by commas or spaces, each once.
fn tags(text: &str) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for tag in text.split(|c: char| c == ',' || c.is_whitespace() || c.is_control()) {
        let tag: String = tag.trim_start_matches('#').chars().take(TAG_MAX).collect();
        if !tag.is_empty() && tags.len() < TAGS_MAX && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}
