//! Values that one answer gave and a later request sent (tokens, ids, hidden fields): where a recording has the value itself, the
//! scenario takes it from the answer.

use super::draft::{hole, name_of, quoted};
use scraper::{Html, Selector};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Values of one answer that are looked at.
const MOST_VALUES: usize = 5_000;
const MOST_DEPTH: usize = 16;
/// A body beyond this is no answer that holds a token.
const MOST_BODY: usize = 4 << 20;

/// What requests have sent and answers have given so far.
#[derive(Default)]
pub struct Recorded {
    /// What was sent before any answer gave it is the user's own.
    sent: BTreeSet<String>,
    given: BTreeMap<String, Given>,
    names: BTreeSet<String>,
    used: Vec<(usize, String, String)>,
}

struct Given {
    step: usize,
    key: String,
    place: String,
    /// Its variable, once it is used.
    name: Option<String>,
}

impl Recorded {
    /// A hole for a value, if an earlier answer gave it.
    pub fn hole(&mut self, value: &str) -> Option<String> {
        let given = self.given.get_mut(value)?;
        let name = match &given.name {
            Some(name) => name.clone(),
            None => {
                let base = name_of(&given.key);
                let numbered = |n: usize| if n == 1 { base.clone() } else { format!("{base}_{n}") };
                let name = (1..10_000).map(numbered).find(|n| !self.names.contains(n))?;
                self.names.insert(name.clone());
                self.used.push((given.step, name.clone(), given.place.clone()));
                given.name = Some(name.clone());
                name
            }
        };
        Some(hole(&name))
    }

    /// A value that a request sends as it was recorded.
    pub fn sends(&mut self, value: &str) {
        self.sent.insert(value.to_string());
    }

    /// What all used values are taken from: step, variable, place.
    pub fn extracts(self) -> Vec<(usize, String, String)> {
        self.used
    }

    /// Looks at the answer of a step for values that can be sent later.
    pub fn answer(&mut self, step: usize, response: &Value) {
        for header in response["headers"].as_array().into_iter().flatten() {
            let (Some(name), Some(value)) = (header["name"].as_str(), header["value"].as_str()) else {
                continue;
            };
            let lower = name.to_ascii_lowercase();
            let is_token =
                crate::scenario::mask::is_secret(&lower) || lower.contains("csrf") || lower.contains("xsrf");
            if lower == "location" && value.bytes().any(|b| b.is_ascii_digit()) {
                self.gives(step, "location", "{header: location}".to_string(), value);
            } else if is_token && lower != "set-cookie" && is_made(value) {
                self.gives(step, &lower, format!("{{header: {}}}", quoted(&lower)), value);
            }
        }
        let content = &response["content"];
        let Some(text) = content["text"].as_str().filter(|t| t.len() <= MOST_BODY) else { return };
        let bytes = match content["encoding"].as_str() {
            Some("base64") => crate::scenario::base64_bytes(text),
            _ => Some(text.as_bytes().to_vec()),
        };
        let Some(body) = bytes.and_then(|bytes| String::from_utf8(bytes).ok()) else { return };
        let kind = content["mimeType"].as_str().unwrap_or_default();
        if kind.contains("html") {
            self.page(step, &body);
        } else if let Ok(value) = serde_json::from_str::<Value>(&body) {
            let mut left = MOST_VALUES;
            self.document(step, &value, "$", "value", 0, &mut left);
        }
    }

    fn gives(&mut self, step: usize, key: &str, place: String, value: &str) {
        if !self.sent.contains(value) {
            // The latest answer has the value that is good now.
            let given = Given { step, key: key.to_string(), place, name: None };
            self.given.insert(value.to_string(), given);
        }
    }

    fn document(
        &mut self,
        step: usize,
        value: &Value,
        path: &str,
        key: &str,
        depth: usize,
        left: &mut usize,
    ) {
        if depth > MOST_DEPTH || *left == 0 {
            return;
        }
        *left -= 1;
        match value {
            Value::String(text) if is_made(text) => self.gives(step, key, quoted(path), text),
            Value::Number(number) if key.to_ascii_lowercase().ends_with("id") => {
                let text = number.to_string();
                if text.len() >= 2 && text.bytes().all(|b| b.is_ascii_digit()) {
                    self.gives(step, key, quoted(path), &text);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.document(step, item, &format!("{path}[{index}]"), key, depth + 1, left);
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    let simple = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
                    let path = match simple {
                        true => format!("{path}.{key}"),
                        false => {
                            format!("{path}['{}']", key.replace('\\', "\\\\").replace('\'', "\\'"))
                        }
                    };
                    self.document(step, member, &path, key, depth + 1, left);
                }
            }
            _ => {}
        }
    }

    /// Hidden fields and tokens of a page.
    fn page(&mut self, step: usize, body: &str) {
        let html = Html::parse_document(body);
        for (kind, attribute) in [("input", "value"), ("meta", "content")] {
            let Ok(selector) = Selector::parse(&format!("{kind}[name][{attribute}]")) else { continue };
            for element in html.select(&selector).take(MOST_VALUES) {
                let element = element.value();
                let (Some(name), Some(value)) = (element.attr("name"), element.attr(attribute)) else {
                    continue;
                };
                let simple = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:[]".contains(&b));
                if simple && is_made(value) {
                    let css = quoted(&format!("{kind}[name=\"{name}\"]"));
                    self.gives(step, name, format!("{{css: {css}, attribute: {attribute}}}"), value);
                }
            }
        }
    }
}

/// Whether a service made this text up, as far as one can tell: long, or with letters and digits, and no words.
fn is_made(text: &str) -> bool {
    let has = |test: fn(&u8) -> bool| text.as_bytes().iter().any(test);
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let mixed = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
    text.len() <= 8_192
        && !text.chars().any(char::is_whitespace)
        && !text.contains("://")
        && (digits && text.len() >= 3 || !digits && (mixed && text.len() >= 6 || text.len() >= 20))
}
