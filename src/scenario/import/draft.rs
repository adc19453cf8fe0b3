//! What importers make: requests as far as they are known, before they are written down as a scenario.

use super::Imported;
use crate::scenario::mask::is_secret;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Steps of one scenario beyond this are no scenario that a person keeps.
const MOST_STEPS: usize = 500;
/// Headers that hotspan sets itself, or that belong to one connection or one visit.
const DROPPED: &[&str] = &[
    "host",
    "content-length",
    "connection",
    "transfer-encoding",
    "traceparent",
    "tracestate",
    "accept-encoding",
    "user-agent",
    "referer",
    "if-none-match",
    "if-modified-since",
    "cache-control",
    "pragma",
    "keep-alive",
    "upgrade-insecure-requests",
    "priority",
    "te",
    "dnt",
    "proxy-connection",
    // Trace context: a recorded one would put all requests into one trace.
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "x-amzn-trace-id",
    "baggage",
];

/// What begins and ends a hole while a text is on its way: no recorded text has these, so that [`literal`] and [`hole`] can
/// be used in any order.
const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';

/// A hole with an expression of ours in it.
pub fn hole(expression: &str) -> String {
    format!("{OPEN}{expression}{CLOSE}")
}

/// The expression of a text that is one hole.
pub fn as_hole(text: &str) -> Option<&str> {
    text.strip_prefix(OPEN)?.strip_suffix(CLOSE).filter(|inside| !inside.contains(OPEN))
}

/// Whether there is a hole in it.
fn has_hole(text: &str) -> bool {
    text.contains(OPEN) || text.contains("{{")
}

/// Journeys that stand at the top level.
const TOP: [&str; 4] = ["setup", "on_start", "on_stop", "teardown"];

/// Requests on their way to a scenario. Texts in it are templates of ours: what must stand as it is goes through
/// [`literal`].
#[derive(Debug, Default)]
pub struct Draft {
    /// Name of the scenario.
    pub name: String,
    /// Where it goes: scheme, host, and path before all steps.
    pub target: Option<String>,
    /// YAML of the load; one user where it is empty.
    pub load: String,
    /// Variables.
    pub vars: Vec<(String, String)>,
    /// Names of secrets that templates use.
    pub secrets: Vec<String>,
    /// Journeys: name, weight, pause, steps. `on_start` is one that every user walks first.
    pub journeys: Vec<(String, u32, Option<String>, Vec<DraftStep>)>,
    /// Further keys of the top level, as YAML.
    pub options: BTreeMap<&'static str, String>,
    /// Keys of `http`, as YAML.
    pub http: BTreeMap<&'static str, String>,
    /// Further lines of journeys, by name.
    pub lines: BTreeMap<String, Vec<String>>,
    /// Variables that steps take from answers, where that is known beforehand.
    pub taken: Vec<String>,
    /// Lines under `thresholds`.
    pub thresholds: Vec<String>,
    /// What was not carried over.
    pub notes: Vec<String>,
    /// Secret values and their names.
    pub(crate) known: BTreeMap<String, String>,
}

/// A request on its way to a step.
#[derive(Clone, Debug, Default)]
pub struct DraftStep {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Method, in capitals.
    pub method: String,
    /// Path, or absolute URL.
    pub url: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: DraftBody,
    /// The status that is expected.
    pub status: Option<u16>,
    /// What is taken from the answer: variables, and where they are as YAML.
    pub extract: Vec<(String, String)>,
    /// Pause after it.
    pub think: Option<String>,
    /// Weight among others, where one of them is chosen.
    pub weight: Option<u32>,
}

/// A body.
#[derive(Clone, Debug, Default)]
pub enum DraftBody {
    /// None.
    #[default]
    Empty,
    /// JSON whose texts are templates.
    Json(Value),
    /// A form.
    Form(Vec<(String, String)>),
    /// A form with files; a value that begins with `@` is a file.
    Multipart(Vec<(String, String)>),
    /// A text.
    Text(String),
}

/// A text that means itself: no template in it.
pub fn literal(text: &str) -> String {
    text.replace("{{", "{{ \"{{\" }}")
}

/// A JSON value whose texts mean themselves.
pub fn literal_json(value: &Value) -> Value {
    match value {
        Value::String(text) => literal(text).into(),
        Value::Array(items) => items.iter().map(literal_json).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(k, v)| (k.clone(), literal_json(v)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// A path or query that means itself.
pub fn literal_url(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        within = c == OPEN || within && c != CLOSE;
        match c {
            '#' if !within => break,
            '{' if !within => out.push_str("%7B"),
            '}' if !within => out.push_str("%7D"),
            ' ' if !within => out.push_str("%20"),
            c => out.push(c),
        }
    }
    out
}

/// A name that templates can spell.
pub fn name_of(text: &str) -> String {
    let mut name: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        name.insert(0, 'v');
    }
    if matches!(
        name.as_str(),
        "data" | "fake" | "env" | "secret" | "true" | "false" | "null" | "and" | "or" | "not" | "contains"
    ) {
        name.push('_');
    }
    name
}

impl Draft {
    /// A note, once.
    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) && self.notes.len() < 200 {
            self.notes.push(note);
        }
    }

    /// `{{ secret.name }}` for a secret value; the same for the same value.
    fn secret(&mut self, name: &str, value: &str) -> String {
        if let Some(name) = self.known.get(value) {
            return format!("{{{{ secret.{name} }}}}");
        }
        let base = match name.to_ascii_lowercase().as_str() {
            "authorization" | "auth" => "token".to_string(),
            _ => name_of(name),
        };
        let free = (1..)
            .map(|n| if n == 1 { base.clone() } else { format!("{base}_{n}") })
            .take(10_000)
            .find(|n| !self.secrets.contains(n))
            .unwrap_or(base);
        self.secrets.push(free.clone());
        self.known.insert(value.to_string(), free.clone());
        format!("{{{{ secret.{free} }}}}")
    }

    /// The value of a header or field as it may stand in a file.
    fn stripped(&mut self, name: &str, value: &str) -> String {
        if !is_secret(name) || value.trim().is_empty() || has_hole(value) {
            return value.to_string();
        }
        let scheme = ["Bearer ", "Basic ", "Token "]
            .into_iter()
            .find(|s| value.get(..s.len()).is_some_and(|start| start.eq_ignore_ascii_case(s)));
        match scheme {
            Some(scheme) => format!("{scheme}{}", self.secret(name, value[scheme.len()..].trim())),
            None => self.secret(name, value),
        }
    }

    fn stripped_json(&mut self, key: &str, value: Value) -> Value {
        match value {
            Value::String(text) => self.stripped(key, &text).into(),
            Value::Number(number) if is_secret(key) => self.stripped(key, &number.to_string()).into(),
            Value::Array(items) => items.into_iter().map(|v| self.stripped_json(key, v)).collect(),
            Value::Object(members) => {
                let members = members.into_iter().map(|(k, v)| {
                    let stripped = self.stripped_json(&k, v);
                    (k, stripped)
                });
                Value::Object(members.collect())
            }
            other => other,
        }
    }

    fn stripped_url(&mut self, url: &str) -> String {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        let mut out = place.to_string();
        for (index, pair) in query.split('&').filter(|p| !p.is_empty()).enumerate() {
            out.push(if index == 0 { '?' } else { '&' });
            match pair.split_once('=') {
                // The value stands percent-encoded here, and is encoded again when it is sent.
                Some((key, value)) if is_secret(key) && !has_hole(value) => {
                    let decoded = decoded(value);
                    let _ = write!(out, "{key}={}", self.stripped(key, &decoded));
                }
                _ => out.push_str(pair),
            }
        }
        out
    }

    /// The scenario.
    ///
    /// # Errors
    /// When there is no request in it, or nothing says where it goes.
    pub fn finish(mut self) -> Result<Imported, String> {
        let first = self.journeys.iter().flat_map(|j| &j.3).find_map(|s| origin(&s.url));
        let target = match self.target.clone().or(first.map(str::to_string)) {
            Some(target) => target,
            None => {
                self.note("nothing says where the requests go: put it under `target`");
                "http://127.0.0.1:8080".to_string()
            }
        };
        let target = strip_user_info(&mut self, &target);
        self.set_what_is_used_first();
        if self.journeys.iter().all(|j| j.3.is_empty()) {
            return Err("there is no request in it that could be a step".to_string());
        }
        let walked = self.journeys.iter().filter(|j| !j.3.is_empty() && !TOP.contains(&j.0.as_str()));
        let has_load =
            |name: &String| self.lines.get(name).is_some_and(|l| l.iter().any(|l| l.starts_with("load:")));
        let all_have_loads = walked.clone().count() > 0 && walked.clone().all(|j| has_load(&j.0));
        let mut hosts: Vec<String> = Vec::new();
        let mut journeys = String::new();
        let mut start = String::new();
        let mut count = 0;
        for (name, weight, think, steps) in std::mem::take(&mut self.journeys) {
            if steps.is_empty() {
                continue;
            }
            let mut body = String::new();
            let chosen = steps.len() > 1 && steps.iter().all(|s| s.weight.is_some());
            let at_top = TOP.contains(&name.as_str());
            let indent = if at_top { "  " } else { "      " };
            if chosen {
                let _ = writeln!(body, "{indent}- choose:");
            }
            for step in steps {
                count += 1;
                if count > MOST_STEPS {
                    self.note(format!("more than {MOST_STEPS} requests: the others were left out"));
                    break;
                }
                let inner = if chosen { format!("{indent}    ") } else { indent.to_string() };
                self.write_step(&mut body, &inner, step, &target, &mut hosts);
            }
            if at_top {
                let _ = writeln!(start, "{name}:\n{body}");
                continue;
            }
            let _ = writeln!(journeys, "  {}:", quoted(&name));
            if weight != 1 {
                let _ = writeln!(journeys, "    weight: {weight}");
            }
            if let Some(think) = think {
                let _ = writeln!(journeys, "    think: {}", quoted(&think));
            }
            for line in self.lines.get(&name).into_iter().flatten() {
                let _ = writeln!(journeys, "    {line}");
            }
            let _ = write!(journeys, "    steps:\n{body}");
        }
        let mut yaml = String::new();
        let name = if self.name.trim().is_empty() {
            "imported".to_string()
        } else {
            self.name.chars().filter(|c| !c.is_control()).take(100).collect()
        };
        let _ = writeln!(yaml, "name: {}\ntarget: {}", quoted(&name), quoted(&target));
        if !hosts.is_empty() {
            yaml.push_str("targets:\n");
            for (index, host) in hosts.iter().enumerate() {
                let _ = writeln!(yaml, "  host{}: {}", index + 2, quoted(host));
            }
        }
        let load = if self.load.is_empty() { "load:\n  - {users: 1, for: 30s}\n" } else { &self.load };
        if !all_have_loads {
            yaml.push_str(load);
        }
        for (key, value) in &self.options {
            let _ = writeln!(yaml, "{key}: {value}");
        }
        if !self.http.is_empty() {
            let all: Vec<String> = self.http.iter().map(|(key, value)| format!("{key}: {value}")).collect();
            let _ = writeln!(yaml, "http: {{{}}}", all.join(", "));
        }
        let mut environment = Vec::new();
        if !self.secrets.is_empty() {
            yaml.push_str("secrets:\n");
            for secret in &self.secrets {
                let variable = secret.to_ascii_uppercase();
                let _ = writeln!(yaml, "  {secret}: {{env: {variable}}}");
                environment.push(variable);
            }
        }
        if !self.vars.is_empty() {
            yaml.push_str("vars:\n");
            for (name, value) in &self.vars {
                let _ = writeln!(yaml, "  {name}: {}", quoted(value));
            }
        }
        yaml.push_str(&start);
        if journeys.is_empty() {
            return Err("there is no request in it that could be a step".to_string());
        }
        let _ = write!(yaml, "journeys:\n{journeys}");
        yaml.push_str("thresholds:\n");
        if self.thresholds.is_empty() {
            yaml.push_str("  - error_rate < 1%\n");
        }
        for line in &self.thresholds {
            let _ = writeln!(yaml, "  - {line}");
        }
        let yaml = yaml.replace(OPEN, "{{ ").replace(CLOSE, " }}");
        Ok(Imported { yaml, notes: self.notes, environment })
    }

    /// What a step uses before any step has taken it from an answer is given an empty value, so that the scenario can be read.
    fn set_what_is_used_first(&mut self) {
        let of_start: Vec<String> = self
            .journeys
            .iter()
            .filter(|j| matches!(j.0.as_str(), "setup" | "on_start"))
            .flat_map(|j| j.3.iter().flat_map(|s| s.extract.iter().map(|(name, _)| name.clone())))
            .collect();
        let all: Vec<String> = self
            .journeys
            .iter()
            .flat_map(|j| &j.3)
            .flat_map(|s| &s.extract)
            .map(|(n, _)| n.clone())
            .collect();
        let mut early = Vec::new();
        for (journey, _, _, steps) in &self.journeys {
            let begins = matches!(journey.as_str(), "setup" | "on_start");
            let mut known: Vec<&String> = if begins { Vec::new() } else { of_start.iter().collect() };
            for step in steps {
                let text = format!("{} {:?} {:?}", step.url, step.headers, step.body);
                // Debug writes the marks as escapes.
                let uses = |name: &str| {
                    [
                        format!("{OPEN}{name}{CLOSE}"),
                        format!("\\u{{e000}}{name}\\u{{e001}}"),
                        format!("{{{{ {name} }}}}"),
                    ]
                    .iter()
                    .any(|hole| text.contains(hole.as_str()))
                };
                early.extend(all.iter().filter(|name| !known.contains(name) && uses(name)).cloned());
                known.extend(step.extract.iter().map(|(name, _)| name));
            }
        }
        for name in early {
            if !self.vars.iter().any(|(known, _)| *known == name) {
                self.note(format!(
                    "{name} is used before an answer gives it: it is empty until then, see `vars`"
                ));
                self.vars.push((name, String::new()));
            }
        }
    }

    fn write_step(
        &mut self,
        out: &mut String,
        indent: &str,
        step: DraftStep,
        target: &str,
        hosts: &mut Vec<String>,
    ) {
        let method = step.method.to_ascii_lowercase();
        if !["get", "post", "put", "patch", "delete", "head", "options"].contains(&method.as_str()) {
            self.note(format!("a request with the method {} was left out", step.method));
            return;
        }
        let mut url = self.stripped_url(&step.url);
        if let Some(rest) = url.strip_prefix(target).filter(|r| r.is_empty() || r.starts_with(['/', '?'])) {
            url = if rest.is_empty() { "/".to_string() } else { rest.to_string() };
        } else if let Some(host) = origin(&url) {
            let host = host.to_string();
            if host != *target && !hosts.contains(&host) {
                hosts.push(host);
            }
        } else if !url.starts_with('/')
            && !url.starts_with("{{")
            && !url.starts_with(OPEN)
            && !url.starts_with('?')
        {
            url.insert(0, '/');
        }
        let _ = writeln!(out, "{indent}- {method}: {}", quoted(&url));
        if let Some(weight) = step.weight {
            let _ = writeln!(out, "{indent}  weight: {weight}");
        }
        if let Some(name) = &step.name {
            let name: String = name.chars().filter(|c| !c.is_control()).take(100).collect();
            let _ = writeln!(out, "{indent}  name: {}", quoted(&name));
        }
        let implied = match step.body {
            DraftBody::Json(_) => "application/json",
            DraftBody::Form(_) => "application/x-www-form-urlencoded",
            DraftBody::Multipart(_) => "multipart/form-data",
            _ => "",
        };
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in step.headers {
            let lower = name.trim().to_ascii_lowercase();
            if lower == "cookie" {
                self.note("cookies are kept for each user as a browser does: recorded `cookie` headers were left out");
                continue;
            }
            let dropped =
                DROPPED.contains(&lower.as_str()) || lower.starts_with("sec-") || lower.starts_with(':');
            let is_implied = lower == "content-type" && !implied.is_empty() && value.starts_with(implied);
            let good = http::HeaderName::from_bytes(lower.as_bytes()).is_ok()
                && !value.chars().any(char::is_control);
            if !dropped && !is_implied && good && !headers.iter().any(|(n, _)| *n == lower) {
                let value = self.stripped(&lower, &value);
                headers.push((lower, value));
            }
        }
        if !headers.is_empty() {
            let _ = writeln!(out, "{indent}  headers:");
            for (name, value) in headers {
                let _ = writeln!(out, "{indent}    {}: {}", quoted(&name), quoted(&value));
            }
        }
        match step.body {
            DraftBody::Empty => {}
            DraftBody::Text(text) if text.is_empty() => {}
            DraftBody::Text(text) => {
                let _ = writeln!(out, "{indent}  body: {}", quoted(&text));
            }
            DraftBody::Json(value) => {
                let value = self.stripped_json("", value);
                let _ = writeln!(out, "{indent}  json: {value}");
            }
            DraftBody::Form(fields) => {
                let _ = writeln!(out, "{indent}  form:");
                self.write_fields(out, indent, fields);
            }
            DraftBody::Multipart(fields) => {
                let (files, fields): (Vec<_>, Vec<_>) =
                    fields.into_iter().partition(|(_, v)| v.starts_with('@'));
                if !fields.is_empty() || !files.is_empty() {
                    let _ = writeln!(out, "{indent}  multipart:");
                    self.write_fields(out, indent, fields);
                }
                for (name, file) in files {
                    let file = &file[1..];
                    let shown = file.rsplit(['/', '\\']).next().unwrap_or(file);
                    let content = quoted("in place of the file");
                    let _ = writeln!(
                        out,
                        "{indent}    {}: {{content: {content}, name: {}}}",
                        quoted(&name),
                        quoted(shown)
                    );
                    self.note(format!("a text is sent in place of the file {file} of the field {name}: put it beside the scenario and write {name}: {{file: …}} under `multipart`"));
                }
            }
        }
        if !step.extract.is_empty() {
            let all: Vec<String> =
                step.extract.iter().map(|(name, place)| format!("{name}: {place}")).collect();
            let _ = writeln!(out, "{indent}  extract: {{{}}}", all.join(", "));
        }
        // A 304 answers a condition that is not sent here.
        if let Some(status) = step.status.filter(|s| (100..400).contains(s) && *s != 304) {
            let _ = writeln!(out, "{indent}  expect: {{status: {status}}}");
        }
        if let Some(think) = step.think {
            let _ = writeln!(out, "{indent}  think: {}", quoted(&think));
        }
    }

    fn write_fields(&mut self, out: &mut String, indent: &str, fields: Vec<(String, String)>) {
        let mut seen: Vec<String> = Vec::new();
        for (name, value) in fields {
            if seen.contains(&name) {
                self.note(format!("the field {name} stands there several times: the first was kept"));
                continue;
            }
            let value = self.stripped(&name, &value);
            let _ = writeln!(out, "{indent}    {}: {}", quoted(&name), quoted(&value));
            seen.push(name);
        }
    }
}

/// A YAML scalar: JSON texts are YAML texts.
pub fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Scheme and host of an absolute URL.
pub fn origin(url: &str) -> Option<&str> {
    let scheme = if url.starts_with("https://") {
        8
    } else if url.starts_with("http://") {
        7
    } else {
        return None;
    };
    let end = url[scheme..].find(['/', '?', '#']).map_or(url.len(), |at| scheme + at);
    (!has_hole(&url[..end]) && end > scheme).then_some(&url[..end])
}

/// User info in a target is a secret: it is left out, and the header that it stands for is put in its place by hand.
fn strip_user_info(draft: &mut Draft, target: &str) -> String {
    let Some((scheme, rest)) = target.split_once("://") else { return target.to_string() };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => {
            draft.note("user and password in the URL were left out: set `headers: {Authorization: \"Basic {{ secret.… }}\"}`");
            format!("{scheme}://{}", &rest[at + 1..])
        }
        None => target.to_string(),
    }
}

/// Percent-decoded, `+` as it is.
pub fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], hex) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Fields of a form body.
pub fn form_fields(text: &str) -> Vec<(String, String)> {
    let plain = |t: &str| literal(&decoded(&t.replace('+', " ")));
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(k, v)| (decoded(&k.replace('+', " ")), plain(v)))
        .collect()
}

/// A body by its content type.
pub fn body_of(text: &str, content_type: &str) -> DraftBody {
    if text.is_empty() {
        return DraftBody::Empty;
    }
    if content_type.contains("json")
        && let Ok(value) = serde_json::from_str::<Value>(text)
    {
        return DraftBody::Json(literal_json(&value));
    }
    if content_type.starts_with("application/x-www-form-urlencoded") {
        return DraftBody::Form(form_fields(text));
    }
    DraftBody::Text(literal(text))
}
