//! The local web pages: runs as a list with search, the report of a run, tags and notes. A pure function from a request
//! to an answer over a store of runs; whoever listens hands in what came and sends what goes.
//!
//! Who may: requests that name this server as their `Host`, so that a name somebody pointed at this machine does not reach
//! it. Nothing changes by GET; what does needs an `Origin` that is this server's own, so that no other page can send it.
//! Pages run no script. A report does, in a sandbox of an origin of its own, and can reach nothing.

mod page;
#[cfg(test)]
mod tests;

use crate::record::{Nanos, RunState, Timestamp};
use std::fmt::Debug;

/// Longest form.
pub const BODY_MAX: usize = 64 << 10;
/// Most tags of a run, and the longest of them.
const TAGS_MAX: usize = 20;
const TAG_MAX: usize = 40;
/// Longest note, in bytes.
const NOTE_MAX: usize = 20_000;

const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                           frame-ancestors 'none'";
const REPORT_POLICY: &str = "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline'; \
                             style-src 'unsafe-inline'; img-src data: blob:; font-src data:; connect-src 'none'; \
                             form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// What people keep with a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notes {
    /// Short words to find it by.
    pub tags: Vec<String>,
    /// Free text.
    pub text: String,
}

/// A run as the list shows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunRow {
    /// Name of its folder.
    pub id: String,
    /// Name of its scenario.
    pub name: String,
    /// What was loaded.
    pub target: String,
    /// When it began.
    pub started_at: Timestamp,
    /// How long the load lasted; absent while it runs, or after a crash.
    pub lasted: Option<Nanos>,
    /// How it stands.
    pub state: RunState,
    /// What its report says, where it has one.
    pub result: Option<RunResult>,
    /// Whether there is a report to show as a page.
    pub has_page: bool,
    /// What people kept with it.
    pub notes: Notes,
}

/// The numbers of a run's report that the list shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunResult {
    /// The answer in a sentence.
    pub headline: String,
    /// Requests.
    pub exchanges: u64,
    /// Failed ones.
    pub errors: u64,
    /// The highest p95 of a step, in milliseconds.
    pub p95_ms: f64,
    /// Thresholds, and how many of them failed.
    pub thresholds: (usize, usize),
}

/// Where runs are kept.
pub trait RunStore {
    /// All runs, the newest first.
    fn list(&self) -> Vec<RunRow>;
    /// One run, if there is one of that name.
    fn run(&self, id: &str) -> Option<RunRow>;
    /// Its report as a page.
    fn page(&self, id: &str) -> Option<Vec<u8>>;
    /// Its report in a text format, made anew.
    ///
    /// # Errors
    /// When the folder cannot be read any more.
    fn text(&self, id: &str) -> Result<String, String>;
    /// Keeps notes.
    ///
    /// # Errors
    /// When they cannot be written, and why.
    fn keep(&self, id: &str, notes: &Notes) -> Result<(), String>;
}

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
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    fn page(status: u16, html: String) -> Answer {
        Answer {
            status,
            content_type: "text/html; charset=utf-8",
            policy: PAGE_POLICY,
            location: None,
            body: html.into_bytes(),
        }
    }

    fn refused(status: u16, why: &str) -> Answer {
        Answer::page(status, page::message(status, why))
    }
}

/// Answers one request to the server that is known as one of `hosts` (`127.0.0.1:7700`, `localhost:7700`).
pub fn answer(asked: &Asked, hosts: &[String], store: &dyn RunStore) -> Answer {
    if !hosts.iter().any(|host| host.eq_ignore_ascii_case(asked.host)) {
        return Answer::refused(
            421,
            "This server is not known under that name; open the address that it printed.",
        );
    }
    let (path, query) = asked.target.split_once('?').unwrap_or((asked.target, ""));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (asked.method, parts.as_slice()) {
        ("GET" | "HEAD", [""]) => list(query, store),
        ("GET" | "HEAD", ["style.css"]) => style(),
        ("GET" | "HEAD", ["runs", id]) => with_run(id, store, |run| Answer::page(200, page::run(run))),
        ("GET" | "HEAD", ["runs", id, "report"]) => with_run(id, store, |run| report(run, store)),
        ("GET" | "HEAD", ["runs", id, "report.md"]) => with_run(id, store, |run| text(run, store)),
        ("POST", ["runs", id, "notes"]) => match may_change(asked) {
            Ok(()) => with_run(id, store, |run| keep(run, asked.body, store)),
            Err(refused) => refused,
        },
        ("GET" | "HEAD", ["runs", _, "notes"]) => {
            Answer::refused(405, "Notes are changed by the form alone.")
        }
        ("GET" | "HEAD", _) => Answer::refused(404, "There is no such page."),
        _ => Answer::refused(405, "That cannot be done here."),
    }
}

/// Whether a request that changes something comes from a page of this server.
fn may_change(asked: &Asked) -> Result<(), Answer> {
    let own = format!("http://{}", asked.host);
    if !asked.origin.is_some_and(|origin| origin.eq_ignore_ascii_case(&own)) {
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
    Ok(())
}

fn with_run(id: &str, store: &dyn RunStore, then: impl FnOnce(&RunRow) -> Answer) -> Answer {
    // Names of run folders need no escapes; what has some is no run.
    match Some(id).filter(|id| is_name(id)).and_then(|id| store.run(id)) {
        Some(run) => then(&run),
        None => Answer::refused(404, "There is no such run; it may have been removed."),
    }
}

/// Whether a text can be the name of a run folder: nothing that leaves the folder of runs.
pub fn is_name(id: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !id.is_empty() && id.len() <= 120 && !id.starts_with('.') && id.chars().all(fine)
}

fn list(query: &str, store: &dyn RunStore) -> Answer {
    let search = form(query.as_bytes()).into_iter().find(|(name, _)| name == "q").map(|(_, value)| value);
    let search = search.unwrap_or_default();
    let all = store.list();
    let found: Vec<&RunRow> = all.iter().filter(|run| matches(run, &search)).collect();
    Answer::page(200, page::list(&found, all.len(), &search))
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

fn style() -> Answer {
    let body = include_bytes!("style.css").to_vec();
    Answer { status: 200, content_type: "text/css; charset=utf-8", policy: PAGE_POLICY, location: None, body }
}

fn report(run: &RunRow, store: &dyn RunStore) -> Answer {
    match store.page(&run.id) {
        Some(body) => Answer {
            status: 200,
            content_type: "text/html; charset=utf-8",
            policy: REPORT_POLICY,
            location: None,
            body,
        },
        None => Answer::refused(404, "This run has no report as a page; `hotspan analyze` makes it anew."),
    }
}

fn text(run: &RunRow, store: &dyn RunStore) -> Answer {
    match store.text(&run.id) {
        Ok(text) => Answer {
            status: 200,
            content_type: "text/plain; charset=utf-8",
            policy: PAGE_POLICY,
            location: None,
            body: text.into_bytes(),
        },
        Err(why) => Answer::refused(500, &why),
    }
}

fn keep(run: &RunRow, body: &[u8], store: &dyn RunStore) -> Answer {
    let mut notes = Notes::default();
    for (name, value) in form(body) {
        match name.as_str() {
            "tags" => notes.tags = tags(&value),
            "text" => notes.text = value.replace("\r\n", "\n").trim_end().to_owned(),
            _ => return Answer::refused(400, "The form has a field that is not known."),
        }
    }
    if notes.text.len() > NOTE_MAX {
        return Answer::refused(413, "The note is too long.");
    }
    match store.keep(&run.id, &notes) {
        Ok(()) => Answer {
            location: Some(format!("/runs/{}", run.id)),
            ..Answer::page(303, page::message(303, "Kept."))
        },
        Err(why) => Answer::refused(500, &why),
    }
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

/// Names and values of a form or a query.
fn form(text: &[u8]) -> Vec<(String, String)> {
    text.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
            (decoded(&pair[..at]), decoded(pair.get(at + 1..).unwrap_or_default()))
        })
        .collect()
}

fn decoded(text: &[u8]) -> String {
    let hex = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let escaped = match (byte, text.get(at + 1..at + 3)) {
            (b'%', Some([high, low])) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        match (byte, escaped) {
            (_, Some(escaped)) => {
                bytes.push(escaped);
                at += 2;
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
