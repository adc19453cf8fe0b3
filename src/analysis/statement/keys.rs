//! What is asked of stores that speak no SQL: commands with key patterns, documents by their shape.

use super::{LONGEST, fit};

/// Redis and Memcached: command and key pattern, one for each line of a pipeline, repeats once.
pub(super) fn key_commands(text: &str) -> String {
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()).take(50) {
        let mut words = line.split_ascii_whitespace();
        let command = words.next().unwrap_or_default();
        let mut form: String = if is_name(command) { command.to_ascii_uppercase() } else { "?".to_owned() };
        // What stands first after these is no key but a secret, a script or a setting.
        let keyless = matches!(
            form.as_str(),
            "AUTH"
                | "HELLO"
                | "EVAL"
                | "EVALSHA"
                | "EVAL_RO"
                | "EVALSHA_RO"
                | "FCALL"
                | "SCRIPT"
                | "CONFIG"
                | "ECHO"
                | "PING"
                | "SELECT"
                | "CLIENT"
                | "ACL"
                | "?"
        );
        if let (false, Some(key)) = (keyless, words.next()) {
            form.push(' ');
            form.push_str(&key_pattern(key));
        }
        if !commands.contains(&form) {
            commands.push(form);
        }
    }
    let more = commands.len() > 3;
    commands.truncate(3);
    let mut out = commands.join("; ");
    if more {
        out.push_str("; …");
    }
    out
}

/// The part of a key that names its kind: what stands before the first separator, if that is a name at all.
fn key_pattern(key: &str) -> String {
    let key = key.trim_matches(['"', '\'']);
    match key.find([':', '.', '/', '|', '{', '#']) {
        Some(end) if is_name(&key[..end]) => format!("{}?", &key[..=end]),
        None if is_name(key) => key.to_owned(),
        _ => "?".to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphabetic() || matches!(c, b'_' | b'-'))
}

/// JSON (MongoDB, Elasticsearch): keys stay, every value becomes `?`, lists keep their first element.
pub(super) fn json_shape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::new(), 0);
    while let Some(&c) = bytes.get(at) {
        if out.len() > LONGEST {
            break;
        }
        match c {
            b'"' => {
                let start = at;
                at += 1;
                while bytes.get(at).is_some_and(|c| *c != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                let is_key = bytes[at..].iter().find(|c| !c.is_ascii_whitespace()) == Some(&b':');
                if is_key {
                    out.push_str(&String::from_utf8_lossy(&bytes[start..at]));
                } else {
                    push_value(&mut out);
                }
            }
            b'{' | b'}' | b'[' | b']' | b':' => {
                out.push(char::from(c));
                at += 1;
            }
            b',' => {
                out.push_str(", ");
                at += 1;
            }
            _ if c.is_ascii_whitespace() => at += 1,
            _ => {
                push_value(&mut out);
                while bytes.get(at).is_some_and(|c| !b",:{}[]\"".contains(c) && !c.is_ascii_whitespace()) {
                    at += 1;
                }
            }
        }
    }
    out
}

/// A MongoDB command: its verb, its collection and the fields that it asks by; not where its driver keeps its books.
pub(in crate::analysis) fn command(text: &str, operation: &str, collection: &str) -> String {
    let members = top_members(text);
    let value = |key: &str| members.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let plain = |v: &str| v.trim_matches('"').to_owned();
    let named = members.first().filter(|(k, v)| is_name(k) && v.starts_with('"'));
    let verb = if operation.is_empty() { named.map_or("", |(k, _)| *k) } else { operation };
    let from = value(verb).filter(|v| v.starts_with('"')).map(plain);
    let collection = if collection.is_empty() { from.unwrap_or_default() } else { collection.to_owned() };
    if verb.is_empty() || collection.is_empty() {
        return fit(json_shape(text));
    }
    let mut out = format!("{verb} {collection}");
    for (key, mark) in [("filter", ""), ("query", ""), ("q", ""), ("pipeline", ""), ("sort", "sort ")] {
        let shape = value(key).map(json_shape).filter(|s| s.len() > 2);
        if let Some(shape) = shape {
            out.push(' ');
            out.push_str(mark);
            out.push_str(&shape);
        }
    }
    fit(out)
}

/// Keys and values of a document's first level, as they are written; what is cut off ends where it ends.
fn top_members(text: &str) -> Vec<(&str, &str)> {
    let bytes = text.as_bytes();
    let (mut members, mut at, mut depth) = (Vec::new(), 0, 0usize);
    let (mut key, mut from) = (None, 0);
    while at < bytes.len() && members.len() < 64 {
        match bytes[at] {
            b'"' => {
                let start = at + 1;
                at = start;
                while bytes.get(at).is_some_and(|c| *c != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 1 && key.is_none() {
                    key = text.get(start..at.min(bytes.len()));
                }
            }
            b':' if depth == 1 && key.is_some() && from == 0 => from = at + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b',' if depth == 1 => {
                if let (Some(key), Some(value)) = (key.take(), text.get(from..at)) {
                    members.push((key, value.trim()));
                }
                from = 0;
            }
            _ => {}
        }
        at += 1;
    }
    if let (Some(key), true, Some(value)) = (key, from > 0, text.get(from..)) {
        members.push((key, value.trim()));
    }
    members
}

fn push_value(out: &mut String) {
    if out.ends_with("[?, ") {
        out.truncate(out.len() - 2);
    } else if !out.ends_with('?') {
        out.push('?');
    }
}
