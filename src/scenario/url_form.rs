//! A scenario for one URL: `hotspan run http://… --rate 100 --duration 30s`.
//!
//! It is written as YAML and read back, so that what a run folder shows is what was run.

use super::quantity::{Rate, duration_text};
use super::{Scenario, ScenarioError, Surroundings, parse_with};
use crate::record::Nanos;
use std::fmt::Write as _;

/// One URL and the load on it.
#[derive(Clone, Debug, PartialEq)]
pub struct UrlForm {
    /// Absolute URL.
    pub url: String,
    /// How load is offered.
    pub load: UrlLoad,
    /// Time to reach it, linearly.
    pub ramp: Nanos,
    /// Time to stay there.
    pub duration: Nanos,
    /// HTTP method.
    pub method: String,
    /// Headers, in order.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Option<String>,
    /// No answer within this time is a failure.
    pub timeout: Option<Nanos>,
    /// Whether any certificate is believed.
    pub insecure: bool,
    /// Whether HTTP/2 is spoken.
    pub http2: bool,
}

/// How load is offered to one URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlLoad {
    /// That many users, each sending as soon as its last answer has come.
    Users(u32),
    /// Requests at that rate, whatever the answers do.
    Rate(Rate),
}

impl UrlForm {
    /// A GET of that URL by ten users for ten seconds.
    pub fn new(url: impl Into<String>) -> UrlForm {
        UrlForm {
            url: url.into(),
            load: UrlLoad::Users(10),
            ramp: Nanos::ZERO,
            duration: Nanos::from_millis(10_000),
            method: "GET".to_string(),
            headers: Vec::new(),
            body: None,
            timeout: None,
            insecure: false,
            http2: false,
        }
    }

    /// The YAML that it stands for.
    pub fn to_yaml(&self) -> String {
        // JSON texts are YAML texts.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let scheme = self.url.find("://").map_or(0, |at| at + 3);
        let end = self.url[scheme..].find(['/', '?', '#']).map_or(self.url.len(), |at| scheme + at);
        let (origin, path) = self.url.split_at(end);
        // A URL is meant as it is: braces in it are no template.
        let path = path.replace("{", "%7B").replace("}", "%7D");
        let load = match self.load {
            UrlLoad::Users(users) => format!("users: {users}"),
            UrlLoad::Rate(rate) => format!("rate: {rate}"),
        };
        let mut stage = load;
        if self.ramp > Nanos::ZERO {
            let _ = write!(stage, ", ramp: {}", duration_text(self.ramp));
        }
        let mut out = String::new();
        let host = origin[scheme..].rsplit('@').next().unwrap_or_default();
        let _ = writeln!(out, "name: {}", quoted(host));
        let _ = writeln!(out, "target: {}", quoted(origin));
        let _ = writeln!(out, "load:\n  - {{{stage}, for: {}}}", duration_text(self.duration));
        if self.insecure {
            out.push_str("insecure: true\n");
        }
        if self.http2 {
            out.push_str("http2: true\n");
        }
        let _ = writeln!(
            out,
            "steps:\n  - {}: {}",
            self.method.to_lowercase(),
            quoted(if path.is_empty() { "/" } else { &path })
        );
        if !self.headers.is_empty() {
            out.push_str("    headers:\n");
            for (name, value) in &self.headers {
                let _ = writeln!(out, "      {}: {}", quoted(name), quoted(value));
            }
        }
        if let Some(body) = &self.body {
            let _ = writeln!(out, "    body: {}", quoted(body));
        }
        if let Some(timeout) = self.timeout {
            let _ = writeln!(out, "    timeout: {}", duration_text(timeout));
        }
        out
    }
}

/// The scenario that a URL form stands for.
///
/// # Errors
/// When the URL is none, or a header or the method is not one of HTTP's. The message speaks of the URL form: it names no
/// line of a file that nobody wrote.
pub fn from_url(form: &UrlForm) -> Result<Scenario, ScenarioError> {
    let surroundings =
        Surroundings { read: &|_| Err(std::io::ErrorKind::NotFound.into()), ..Surroundings::default() };
    parse_with(&form.to_yaml(), &form.url, &surroundings).map_err(|error| ScenarioError {
        place: Default::default(),
        excerpt: String::new(),
        ..error
    })
}
