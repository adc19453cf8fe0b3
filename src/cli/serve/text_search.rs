//! Traces of a run with a span of a service whose name or attribute holds a text.
//!
//! The spans of a run are read once, on several threads. A trace that was found is passed over from then on, and a span
//! that looks exactly like an earlier one is answered as that one was: most spans repeat each other but for ids and times.

use crate::record::{
    Attribute, BareSpan, Partition, Resource, Scope, Span, SpanId, SpanSink, TraceId, Value as Attr,
};
use crate::wire::folder::RunReader;
use regex::{Regex, RegexBuilder};
use std::collections::HashSet;

/// Most traces with a span that is wanted: some 20 MB of ids.
pub const TRACES_MAX: usize = 500_000;
/// Threads that read.
const THREADS_MAX: usize = 4;
/// Spans whose answer is remembered, on each thread; a power of two.
const REMEMBERED: usize = 1 << 12;

/// The traces, and whether there were too many to keep.
///
/// # Errors
/// When the text cannot be looked for.
pub fn traces_with(
    reader: &RunReader,
    service: &str,
    text: &str,
) -> Result<(HashSet<TraceId>, bool), String> {
    let text = Text::of(text)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    let of = threads as u32;
    let mut seekers: Vec<Seeker> =
        (0..of).map(|index| Seeker::new(Partition { index, of }, service, &text)).collect();
    reader.spans_into(&mut seekers);
    let mut seekers = seekers.into_iter();
    let Some(first) = seekers.next() else { return Ok((HashSet::new(), false)) };
    let mut all = (first.found, first.cut);
    for more in seekers {
        all.0.extend(more.found);
        all.1 |= more.cut;
    }
    Ok(all)
}

/// Looks at one share of the traces.
struct Seeker<'t> {
    partition: Partition,
    service: &'t str,
    text: &'t Text,
    found: HashSet<TraceId>,
    cut: bool,
    /// Whether the spans that come now are of the service.
    by_service: bool,
    /// Answers by fingerprint.
    answers: Vec<(u128, bool)>,
    /// The span that was asked for last by its fingerprint, and was not known.
    asked: Option<(TraceId, SpanId, u128)>,
}

impl<'t> Seeker<'t> {
    fn new(partition: Partition, service: &'t str, text: &'t Text) -> Seeker<'t> {
        Seeker {
            partition,
            service,
            text,
            found: HashSet::new(),
            cut: false,
            by_service: true,
            answers: vec![(0, false); REMEMBERED],
            asked: None,
        }
    }

    fn found(&mut self, trace: TraceId) {
        if self.found.len() < TRACES_MAX / self.partition.of.max(1) as usize {
            self.found.insert(trace);
        } else {
            self.cut = true;
        }
    }
}

impl SpanSink for Seeker<'_> {
    const TAKES_BARE: bool = true;

    fn partition(&self) -> Partition {
        self.partition
    }

    fn wants(&mut self, trace: &TraceId) -> bool {
        self.partition.holds(trace) && !self.found.contains(trace)
    }

    fn process(&mut self, resource: &Resource<'_>, _: &Scope<'_>) -> u64 {
        self.by_service = self.service.is_empty() || resource.service_name() == self.service;
        u64::from(self.by_service)
    }

    /// The fingerprint of all attributes decides, not that of some.
    fn matters(&mut self, _: &[u8]) -> bool {
        false
    }

    fn known(&mut self, span: &BareSpan<'_>) -> bool {
        if !self.by_service {
            return true;
        }
        let (print, answer) = self.answers[span.sight as usize & (REMEMBERED - 1)];
        if print != span.sight {
            self.asked = Some((span.trace_id, span.span_id, span.sight));
            return false;
        }
        if answer {
            self.found(span.trace_id);
        }
        true
    }

    fn span(&mut self, span: &Span<'_>, _: Option<u128>) {
        let answer = self.by_service && self.text.is_in(span);
        if let Some((trace, id, sight)) = self.asked.take()
            && (trace, id) == (span.trace_id, span.span_id)
        {
            self.answers[sight as usize & (REMEMBERED - 1)] = (sight, answer);
        }
        if answer {
            self.found(span.trace_id);
        }
    }
}

/// A text that is looked for: anywhere, or `key=text` in the attribute of that name. Small and large letters are alike.
struct Text {
    /// The attribute, in small letters, and what its value is to hold.
    of_key: Option<(String, Part)>,
    /// What may stand anywhere.
    anywhere: Part,
}

impl Text {
    fn of(typed: &str) -> Result<Text, String> {
        let is_key = |key: &&str| !key.is_empty() && !key.contains(char::is_whitespace);
        match typed.split_once('=').map(|(name, text)| (name.trim(), text)).filter(|(name, _)| is_key(name)) {
            Some((key, text)) => Ok(Text {
                of_key: Some((key.to_lowercase(), Part::of(text.trim())?)),
                // `x=y` may also stand in a statement or a URL.
                anywhere: Part::of(&format!("{key}={}", text.trim()))?,
            }),
            None => Ok(Text { of_key: None, anywhere: Part::of(typed)? }),
        }
    }

    fn is_in(&self, span: &Span<'_>) -> bool {
        let of_key = self.of_key.as_ref().is_some_and(|(key, part)| {
            let named = |a: &&Attribute<'_>| a.key.eq_ignore_ascii_case(key);
            span.attributes.iter().filter(named).any(|a| part.is_in_value(&a.value))
        });
        of_key
            || self.anywhere.is_in(span.name)
            || self.anywhere.is_in(span.status_message)
            || span.attributes.iter().any(|a| self.anywhere.is_in_value(&a.value))
    }
}

/// One text, however it is written.
struct Part {
    /// Nothing where any text holds it.
    pattern: Option<Regex>,
    /// Whether a number may hold it.
    in_numbers: bool,
}

impl Part {
    fn of(text: &str) -> Result<Part, String> {
        let pattern = RegexBuilder::new(&regex::escape(text)).case_insensitive(true).build();
        let in_numbers = text.chars().all(|c| c.is_ascii_digit() || "+-.eEinfINFaA".contains(c));
        match pattern {
            _ if text.is_empty() => Ok(Part { pattern: None, in_numbers }),
            Ok(pattern) => Ok(Part { pattern: Some(pattern), in_numbers }),
            Err(error) => Err(format!("That text cannot be looked for: {error}; take a shorter one.")),
        }
    }

    fn is_in(&self, text: &str) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| pattern.is_match(text))
    }

    fn is_in_value(&self, value: &Attr<'_>) -> bool {
        match value {
            Attr::Str(text) => self.is_in(text),
            Attr::Bool(flag) => self.is_in(if *flag { "true" } else { "false" }),
            Attr::Int(number) => self.in_numbers && self.is_in(&number.to_string()),
            Attr::Double(number) => self.in_numbers && self.is_in(&number.to_string()),
            Attr::Array(values) => values.iter().any(|value| self.is_in_value(value)),
            Attr::Map(entries) => entries.iter().any(|entry| self.is_in_value(&entry.value)),
            Attr::Bytes(_) | Attr::Empty => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SpanId, SpanKind, Status, Timestamp};

    #[test]
    fn a_text_is_found_in_names_and_attributes() {
        let attributes = [
            Attribute { key: "db.query.text", value: Attr::Str("SELECT name FROM users WHERE id=17") },
            Attribute { key: "http.response.status_code", value: Attr::Int(404) },
            Attribute { key: "città", value: Attr::Str("CITTÀ DI CASTELLO") },
        ];
        let (resource, scope) = (Resource::default(), Scope::default());
        let span = Span {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([1; 8]),
            parent_id: None,
            kind: SpanKind::Server,
            name: "GET /users/{id}",
            start: Timestamp(1),
            end: Timestamp(2),
            status: Status::Error,
            status_message: "no such user",
            trace_state: "",
            flags: 0,
            resource: &resource,
            scope: &scope,
            attributes: &attributes,
            events: &[],
            links: &[],
            dropped: 0,
        };
        let is_in = |typed: &str| Text::of(typed).unwrap().is_in(&span);
        for found in [
            "get /users",
            "select NAME",
            "404",
            "http.response.status_code=404",
            "HTTP.response.status_code = 40",
            "no such",
            "città di",
            "id=17",
            "",
        ] {
            assert!(is_in(found), "{found}");
        }
        for missing in ["POST", "http.response.status_code=500", "db.query.text=DELETE", "405"] {
            assert!(!is_in(missing), "{missing}");
        }
    }
}
