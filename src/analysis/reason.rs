//! Why requests failed, in the server's words: the exception that a span recorded, else the message of its status, else its
//! `error.type`.
//!
//! A failure is recorded by every span that it passes on its way up. The innermost one that says the same is where it began;
//! an inner span that says something else failed for a reason of its own, which its caller dealt with.

use super::names::NONE;
use super::tree::Forest;
use crate::record::{Attribute, Span, Status, Value};

/// Longest reason kept, in bytes.
const LONGEST: usize = 200;

/// What a span says of its failure, without data; nothing where it did not fail or gives no reason.
pub(super) fn of_span(span: &Span<'_>) -> Option<String> {
    let exception = span.events.iter().rev().find(|event| event.name == "exception");
    if span.status != Status::Error && exception.is_none() {
        return None;
    }
    let (kind, message) = exception.map_or(("", ""), |event| {
        (text(&event.attributes, "exception.type"), text(&event.attributes, "exception.message"))
    });
    let message = if message.is_empty() { span.status_message } else { message };
    let kind = if kind.is_empty() { text(span.attributes, "error.type") } else { kind };
    // A status is known without the server's words.
    let kind = if kind.bytes().all(|byte| byte.is_ascii_digit()) { "" } else { kind.trim() };
    let message = without_data(first_line(message));
    Some(match (kind, message.as_str()) {
        ("", "") => return None,
        (kind, "") => cut(kind.to_owned()),
        ("", _) => cut(message),
        // SDKs write the type before the message of a status.
        (kind, said) if said.starts_with(last_name(kind)) => cut(message),
        (kind, said) => cut(format!("{kind}: {said}")),
    })
}

/// The innermost span that says why an exchange failed (a node), and the number of its words. `said` has rows and words, in the order
/// of rows; `words` gives those of a number.
pub(super) fn of_exchange<'n>(
    forest: &Forest,
    exchange: u32,
    said: &[(u32, u32)],
    words: impl Fn(u32) -> &'n str,
) -> Option<(u32, u32)> {
    let says = |node: u32| {
        let row = forest.nodes[node as usize].row;
        let at = said.partition_point(|(other, _)| *other < row);
        said.get(at).filter(|(other, _)| row != NONE && *other == row).map(|(_, words)| *words)
    };
    // Below a node, the nearest that say something; of these the one that ended last.
    let below = |node: u32| {
        let mut left = forest.kids(node).to_vec();
        let mut last: Option<(u64, u32, u32)> = None;
        while let Some(node) = left.pop() {
            match says(node) {
                Some(words) => last = last.max(Some((forest.nodes[node as usize].to, node, words))),
                None => left.extend(forest.kids(node)),
            }
        }
        last.map(|(_, node, words)| (node, words))
    };
    let mut found = below(exchange)?;
    while let Some((node, inner)) = below(found.0) {
        if !says_the_same(words(found.1), words(inner)) {
            break;
        }
        found = (node, inner);
    }
    Some(found)
}

/// Whether two spans tell of one failure: the message of one is part of what the other says.
fn says_the_same(outer: &str, inner: &str) -> bool {
    outer.contains(message_of(inner)) || inner.contains(message_of(outer))
}

/// A reason without its type.
fn message_of(words: &str) -> &str {
    words.split_once(": ").map_or(words, |(_, message)| message)
}

fn text<'a>(attributes: &[Attribute<'a>], key: &str) -> &'a str {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.map(|attribute| &attribute.value) {
        Some(Value::Str(text)) => text,
        _ => "",
    }
}

fn first_line(text: &str) -> &str {
    text.trim().lines().next().unwrap_or_default().trim()
}

/// `OperationalError` of `django.db.utils.OperationalError`.
fn last_name(kind: &str) -> &str {
    kind.rsplit(['.', ':', '\\', '/']).next().unwrap_or(kind)
}

fn cut(mut text: String) -> String {
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// Words before a number that is no data: `status 503`, `HTTP 404`.
const CODES: [&str; 3] = ["status", "code", "http"];

/// Numbers and quoted texts become `?`; names in double quotes stay.
fn without_data(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let inside = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let quoted = matches!(c, '\'' | '"').then(|| rest[1..].find(c)).flatten();
        let len = match quoted {
            // Not the apostrophe of "can't".
            Some(len) if !inside => {
                let name = &rest[1..=len];
                let is_name =
                    c == '"' && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
                out.push_str(if is_name { &rest[..len + 2] } else { "?" });
                len + 2
            }
            _ if c.is_ascii_digit() && !inside => {
                let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '.' | '-' | '_'));
                let number = rest[..len.unwrap_or(rest.len())].trim_end_matches(['.', '-', '_']);
                let before = out.trim_end_matches([' ', ':', '=']).to_ascii_lowercase();
                let is_code = number.len() == 3 && CODES.iter().any(|code| before.ends_with(code));
                out.push_str(if is_code { number } else { "?" });
                number.len()
            }
            _ if c.is_ascii_alphabetic() && !inside => {
                let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
                let word = &rest[..len.unwrap_or(rest.len())];
                let is_id = word.len() >= 8
                    && word.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
                    && word.bytes().any(|b| b.is_ascii_digit());
                out.push_str(if is_id { "?" } else { word });
                word.len()
            }
            _ => {
                out.push(c);
                c.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::blank;
    use super::*;
    use crate::record::{Event, Resource, Scope, Timestamp};

    #[test]
    fn data_does_not_stay() {
        for (text, want) in [
            ("database is locked", "database is locked"),
            ("no user 'ann' with id 4711", "no user ? with id ?"),
            ("can't connect to 10.0.0.7:5432 after 30s", "can't connect to ?:? after ?"),
            (
                "duplicate key value violates unique constraint \"users_email_key\"",
                "duplicate key value violates unique constraint \"users_email_key\"",
            ),
            ("bad value \"ann smith\" in utf8 text", "bad value ? in utf8 text"),
            ("HTTP 503 for order 17. Status: 404", "HTTP 503 for order ?. Status: 404"),
            ("id 3f2a-77b at é", "id ? at é"),
            ("span deadbeef01 is no decade_of_1990", "span ? is no decade_of_1990"),
            ("it's 'open", "it's 'open"),
        ] {
            assert_eq!(without_data(text), want);
        }
    }

    #[test]
    fn a_span_says_why_it_failed() {
        let (resource, scope) = (Resource::default(), Scope::default());
        let str = |key, text| Attribute { key, value: Value::Str(text) };
        let said = |status, status_message, attributes: &[Attribute<'_>], exception: &[Attribute<'_>]| {
            let event = Event { at: Timestamp(1), name: "exception", attributes: exception.to_vec() };
            let events = if exception.is_empty() { vec![] } else { vec![event] };
            of_span(&Span { status, status_message, attributes, events: &events, ..blank(&resource, &scope) })
        };
        let locked = [
            str("exception.type", "django.db.utils.OperationalError"),
            str("exception.message", "database is locked\nDETAIL: x"),
        ];
        let want = Some("django.db.utils.OperationalError: database is locked".to_owned());
        assert_eq!(said(Status::Error, "OperationalError: database is locked", &[], &locked), want);
        assert_eq!(said(Status::Unset, "", &[], &locked), want);
        let of_status = "OperationalError: database is locked";
        let kind = [str("error.type", "OperationalError")];
        assert_eq!(said(Status::Error, of_status, &kind, &[]).as_deref(), Some(of_status));
        assert_eq!(said(Status::Error, "", &kind, &[]).as_deref(), Some("OperationalError"));
        // A number is the status, which everybody knows.
        assert_eq!(said(Status::Error, "", &[str("error.type", "500")], &[]), None);
        assert_eq!(said(Status::Error, "", &[], &[]), None);
        assert_eq!(said(Status::Ok, of_status, &kind, &[]), None);
        let long = said(Status::Error, &"é".repeat(500), &[], &[]).unwrap();
        assert!(long.len() <= LONGEST + '…'.len_utf8() && long.ends_with('…'));
    }

    #[test]
    fn one_failure_is_told_by_all_that_it_passes() {
        assert!(says_the_same(
            "django.db.utils.OperationalError: database is locked",
            "sqlite3.OperationalError: database is locked"
        ));
        assert!(says_the_same("OrderError: cannot pay: card refused", "card refused"));
        assert!(!says_the_same("KeyError: ?", "sqlite3.OperationalError: database is locked"));
    }
}
