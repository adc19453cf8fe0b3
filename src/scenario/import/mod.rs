//! Scenarios from what is there already: a curl line (or what browsers copy for PowerShell and fetch), a HAR file, an OpenAPI document, a Postman collection, an access log,
//! a k6 or Locust script.
//!
//! Text goes in, a scenario's text comes out, with a list of what could not be carried over. Nothing is fetched and nothing
//! is executed: a reference to another document is listed, a script is read and not run. Values that look secret do not
//! reach the scenario: each becomes a name under `secrets`, to be given by the environment.

mod access_log;
mod curl;
mod draft;
mod har;
mod k6;
mod literals;
mod locust;
mod openapi;
mod postman;
mod recorded;
#[cfg(test)]
mod tests;
mod windows;

pub use draft::{Draft, DraftBody, DraftStep, literal, literal_url};

use super::yaml;

/// Largest document that is read.
const MOST_BYTES: usize = 64 << 20;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A curl command.
    Curl,
    /// An HTTP archive, as browsers save it.
    Har,
    /// An OpenAPI 3 document, JSON or YAML.
    OpenApi,
    /// A Postman collection, version 2.
    Postman,
    /// An access log in common or combined format.
    AccessLog,
    /// A k6 script.
    K6,
    /// A Locust file.
    Locust,
    /// A call of PowerShell, as browsers copy it.
    PowerShell,
    /// A call of `fetch`, as browsers copy it.
    Fetch,
}

impl Format {
    /// As written on the command line.
    pub const NAMES: [(&'static str, Format); 9] = [
        ("curl", Format::Curl),
        ("har", Format::Har),
        ("openapi", Format::OpenApi),
        ("postman", Format::Postman),
        ("access-log", Format::AccessLog),
        ("k6", Format::K6),
        ("locust", Format::Locust),
        ("powershell", Format::PowerShell),
        ("fetch", Format::Fetch),
    ];

    /// By what stands in it.
    pub fn of(text: &str) -> Option<Format> {
        let start = text.trim_start().trim_start_matches('\u{feff}');
        let head: String = start.chars().take(4_096).collect();
        if start.starts_with("curl ") || start.starts_with("$ curl ") {
            return Some(Format::Curl);
        }
        if text.contains("Invoke-WebRequest") || text.contains("Invoke-RestMethod") {
            return Some(Format::PowerShell);
        }
        if start.starts_with("fetch(") || start.starts_with("await fetch(") {
            return Some(Format::Fetch);
        }
        if start.starts_with('{') {
            if access_log::is_json_log(text) {
                return Some(Format::AccessLog);
            }
            if head.contains("\"openapi\"") || text.contains("\"openapi\"") && text.contains("\"paths\"") {
                return Some(Format::OpenApi);
            }
            if head.contains("schema.getpostman.com") || head.contains("\"_postman_id\"") {
                return Some(Format::Postman);
            }
            if head.contains("\"log\"") {
                return Some(Format::Har);
            }
        }
        if head.contains("openapi:") {
            return Some(Format::OpenApi);
        }
        if text.contains("from locust") || text.contains("import locust") {
            return Some(Format::Locust);
        }
        if text.contains("'k6/http'") || text.contains("\"k6/http\"") {
            return Some(Format::K6);
        }
        let first = start.lines().next().unwrap_or_default();
        (first.contains("HTTP/") && first.contains('[') && first.contains('"')).then_some(Format::AccessLog)
    }
}

/// What came of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The scenario.
    pub yaml: String,
    /// What was not carried over, and what to look at.
    pub notes: Vec<String>,
    /// Environment variables that the scenario's secrets come from.
    pub environment: Vec<String>,
}

/// Makes a scenario of a document. `target` is where it goes where the document does not say.
///
/// # Errors
/// A sentence that says why it cannot be read as that format.
pub fn import(text: &str, format: Format, target: Option<&str>) -> Result<Imported, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("it has {} MiB: at most 64 are read", text.len() >> 20));
    }
    let text = text.trim_start_matches('\u{feff}');
    let mut draft = match format {
        Format::Curl => curl::read(text)?,
        Format::Har => har::read(text)?,
        Format::OpenApi => openapi::read(text)?,
        Format::Postman => postman::read(text)?,
        Format::AccessLog => access_log::read(text)?,
        Format::K6 => k6::k6(text)?,
        Format::Locust => locust::locust(text)?,
        Format::PowerShell => windows::powershell(text)?,
        Format::Fetch => windows::fetch(text)?,
    };
    if let Some(target) = target {
        draft.target = Some(target.trim_end_matches('/').to_string());
    }
    draft.finish()
}

/// JSON or YAML text.
fn document(text: &str) -> Result<serde_json::Value, String> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) if text.trim_start().starts_with('{') => Err(format!("it is no JSON: {error}")),
        Err(_) => yaml::document(text),
    }
}
