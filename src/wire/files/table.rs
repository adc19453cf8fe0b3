//! Tables of spans: ClickHouse's `otel_traces` (as the Collector's exporter writes it) in JSONEachRow, TabSeparated or CSV
//! with names, and any other CSV or TSV with a header that names trace, span, parent, operation and times.

use super::message::Message;
use super::text::{span_id, span_kind, status, trace_id};
use crate::record::{Attribute, Event, Link, Resource, Scope, Span, Timestamp, Value, day_of_date};
use std::io::Read;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    TraceId,
    SpanId,
    ParentId,
    TraceState,
    Name,
    Kind,
    Service,
    Pod,
    Start,
    End,
    Duration,
    Status,
    StatusMessage,
    ResourceAttributes,
    ScopeName,
    ScopeVersion,
    SpanAttributes,
    EventTimes,
    EventNames,
    EventAttributes,
    LinkTraces,
    LinkSpans,
}

impl Column {
    /// Whether it holds maps or lists.
    fn is_nested(self) -> bool {
        use Column::*;
        matches!(
            self,
            ResourceAttributes
                | SpanAttributes
                | EventTimes
                | EventNames
                | EventAttributes
                | LinkTraces
                | LinkSpans
        )
    }
}

/// How many kinds of columns there are.
const COLUMNS: usize = Column::LinkSpans as usize + 1;

/// What a column of that name holds, whatever its letter case and separators.
fn column(name: &str) -> Option<Column> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    Some(match plain.as_str() {
        "traceid" => Column::TraceId,
        "spanid" => Column::SpanId,
        "parentspanid" | "parentid" => Column::ParentId,
        "tracestate" => Column::TraceState,
        "spanname" | "operationname" | "operation" | "name" => Column::Name,
        "spankind" | "kind" => Column::Kind,
        "servicename" | "service" => Column::Service,
        "podname" | "pod" => Column::Pod,
        "timestamp" | "starttime" | "starttimeunixnano" | "start" => Column::Start,
        "endtime" | "endtimeunixnano" | "end" => Column::End,
        "duration" | "durationnano" | "durationns" => Column::Duration,
        "statuscode" | "status" => Column::Status,
        "statusmessage" => Column::StatusMessage,
        "resourceattributes" => Column::ResourceAttributes,
        "scopename" => Column::ScopeName,
        "scopeversion" => Column::ScopeVersion,
        "spanattributes" | "attributes" | "tags" => Column::SpanAttributes,
        "eventstimestamp" => Column::EventTimes,
        "eventsname" => Column::EventNames,
        "eventsattributes" => Column::EventAttributes,
        "linkstraceid" => Column::LinkTraces,
        "linksspanid" => Column::LinkSpans,
        _ => return None,
    })
}

/// One row: the text of each column, where it is there.
#[derive(Default)]
pub(super) struct Row([Option<String>; COLUMNS]);

impl Row {
    fn get(&self, column: Column) -> &str {
        self.0[column as usize].as_deref().unwrap_or_default()
    }

    fn set(&mut self, column: Column, text: String) {
        self.0[column as usize] = Some(text);
    }

    /// From an object of JSONEachRow; nested values stay JSON, which the reader of maps and lists understands.
    pub fn from_json(object: &[u8]) -> Result<Row, String> {
        let value: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(object).map_err(|error| error.to_string())?;
        let mut row = Row::default();
        for (name, value) in value {
            let Some(column) = column(&name) else { continue };
            match value {
                serde_json::Value::Null => {}
                serde_json::Value::String(text) => row.set(column, text),
                other => row.set(column, other.to_string()),
            }
        }
        Ok(row)
    }
}

/// Where a row's length of time stands in nanoseconds, or not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// Column `Timestamp`, duration in nanoseconds: ClickHouse.
    ClickHouse,
    /// Times by their size.
    BySize,
}

/// Writes the span of a row.
pub(super) fn put_row(row: &Row, form: Start, out: &mut Message) -> Result<(), String> {
    let trace = trace_id(row.get(Column::TraceId)).ok_or("the row has no trace id")?;
    let id = span_id(row.get(Column::SpanId)).ok_or("the row has no span id")?;
    // Some tables write a word where a root has no parent.
    let parent = match row.get(Column::ParentId) {
        "root" | "ROOT" | "null" | "None" | "\\N" => None,
        text => span_id(text),
    };
    let start = moment(row.get(Column::Start))?;
    let end = match (row.get(Column::End), row.get(Column::Duration)) {
        ("", "") => start,
        ("", text) => {
            let length: u64 =
                text.parse().map_err(|_| format!("the duration `{text}` is no whole number"))?;
            // Without an end the unit is the table's: nanoseconds in ClickHouse, else microseconds as in Jaeger.
            start.saturating_add(if form == Start::ClickHouse {
                length
            } else {
                length.saturating_mul(1_000)
            })
        }
        (text, _) => moment(text)?,
    };
    let resource_pairs = map(row.get(Column::ResourceAttributes));
    let span_pairs = map(row.get(Column::SpanAttributes));
    let service = if row.get(Column::Service).is_empty() {
        deployment(row.get(Column::Pod))
    } else {
        row.get(Column::Service)
    };
    let mut resource = Resource { attributes: attributes(&resource_pairs) };
    if !service.is_empty() && !resource.attributes.iter().any(|a| a.key == "service.name") {
        resource.attributes.insert(0, Attribute { key: "service.name", value: Value::Str(service) });
    }
    if !row.get(Column::Pod).is_empty() {
        resource.attributes.push(Attribute { key: "k8s.pod.name", value: Value::Str(row.get(Column::Pod)) });
    }
    let (times, names) = (list(row.get(Column::EventTimes)), list(row.get(Column::EventNames)));
    let event_pairs: Vec<Vec<(String, String)>> =
        list(row.get(Column::EventAttributes)).iter().map(|text| map(text)).collect();
    let events: Vec<Event> = names
        .iter()
        .enumerate()
        .map(|(i, name)| Event {
            at: Timestamp(times.get(i).and_then(|text| moment(text).ok()).unwrap_or(start)),
            name,
            attributes: event_pairs.get(i).map(|pairs| attributes(pairs)).unwrap_or_default(),
        })
        .collect();
    let (link_traces, link_spans) = (list(row.get(Column::LinkTraces)), list(row.get(Column::LinkSpans)));
    let links: Vec<Link> = link_traces
        .iter()
        .zip(&link_spans)
        .filter_map(|(trace, span)| Some(Link { trace_id: trace_id(trace)?, span_id: span_id(span)? }))
        .collect();
    out.push(&Span {
        trace_id: trace,
        span_id: id,
        parent_id: parent,
        kind: span_kind(row.get(Column::Kind)),
        name: row.get(Column::Name),
        start: Timestamp(start),
        end: Timestamp(end),
        status: status(row.get(Column::Status)),
        status_message: row.get(Column::StatusMessage),
        trace_state: row.get(Column::TraceState),
        flags: 0,
        resource: &resource,
        scope: &Scope { name: row.get(Column::ScopeName), version: row.get(Column::ScopeVersion) },
        attributes: &attributes(&span_pairs),
        events: &events,
        links: &links,
        dropped: 0,
    });
    Ok(())
}

fn attributes(pairs: &[(String, String)]) -> Vec<Attribute<'_>> {
    pairs.iter().map(|(key, value)| Attribute { key, value: Value::Str(value) }).collect()
}

/// The deployment that a Kubernetes pod's name tells: `cart-579b9bff58-t2dbm` is one of `cart`.
fn deployment(pod: &str) -> &str {
    let short = |part: &str, from: usize, to: usize| {
        (from..=to).contains(&part.len())
            && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let Some((set, last)) = pod.rsplit_once('-') else { return pod };
    match set.rsplit_once('-') {
        Some((name, hash)) if short(last, 5, 5) && short(hash, 6, 10) => name,
        _ => pod,
    }
}

/// Nanoseconds since the epoch: a date as ClickHouse writes it (in UTC), or a number whose size tells its unit.
fn moment(text: &str) -> Result<u64, String> {
    if let Ok(number) = text.parse::<u64>() {
        return Ok(match number {
            0..100_000_000_000 => number.saturating_mul(1_000_000_000),
            100_000_000_000..100_000_000_000_000 => number.saturating_mul(1_000_000),
            100_000_000_000_000..100_000_000_000_000_000 => number.saturating_mul(1_000),
            _ => number,
        });
    }
    date(text).ok_or_else(|| format!("`{text}` is no time"))
}

/// `2024-05-01 12:00:00.123456789`, also with `T` and `Z`.
fn date(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches('Z');
    let (day, time) = text.split_once([' ', 'T'])?;
    let mut parts = day.splitn(3, '-').map(str::parse::<i64>);
    let (year, month, day) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut parts = clock.splitn(3, ':').map(str::parse::<u64>);
    let (hour, minute, second) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
    if !(1970..2300).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
        || fraction.len() > 9
        || !fraction.bytes().all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let days = u64::try_from(day_of_date(year, month, day)).ok()?;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    let nanos = format!("{fraction:0<9}").parse::<u64>().ok()?;
    Some(seconds * 1_000_000_000 + nanos)
}

/// A map as ClickHouse writes it in text (`{'a':'b'}`) or as JSON.
fn map(text: &str) -> Vec<(String, String)> {
    let mut parts = Parts::new(text, '{');
    let mut pairs = Vec::new();
    while let Some(key) = parts.next_part() {
        let Some(value) = parts.next_part() else { break };
        pairs.push((key, value));
    }
    pairs
}

/// A list as ClickHouse writes it in text (`['a','b']`) or as JSON; maps within it stay text.
fn list(text: &str) -> Vec<String> {
    let mut parts = Parts::new(text, '[');
    let mut items = Vec::new();
    while let Some(item) = parts.next_part() {
        items.push(item);
    }
    items
}

/// The parts of a map or a list: texts in either quotes, numbers, nested values as they are.
struct Parts<'a> {
    rest: &'a str,
}

impl<'a> Parts<'a> {
    fn new(text: &'a str, opening: char) -> Parts<'a> {
        let closing = if opening == '{' { '}' } else { ']' };
        let inner = text.trim().strip_prefix(opening).and_then(|t| t.strip_suffix(closing));
        Parts { rest: inner.unwrap_or_default() }
    }

    fn next_part(&mut self) -> Option<String> {
        let text = self.rest.trim_start_matches([' ', ',', ':', '\n', '\t', '\r']);
        let first = text.chars().next()?;
        let end = match first {
            '\'' | '"' => quoted_end(text, first)?,
            '{' | '[' => nested_end(text)?,
            _ => text.find([',', ':', ' ']).unwrap_or(text.len()),
        };
        let (part, rest) = text.split_at_checked(end)?;
        self.rest = rest;
        match first {
            '"' => serde_json::from_str(part).ok().or_else(|| Some(unescaped(&part[1..end - 1]))),
            '\'' => Some(unescaped(&part[1..end - 1])),
            _ => Some(part.to_owned()),
        }
    }
}

/// Length of a text in quotes, both included. ClickHouse doubles a quote or escapes it.
fn quoted_end(text: &str, quote: char) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 1;
    while let Some(byte) = bytes.get(at) {
        match *byte {
            b'\\' => at += 2,
            byte if char::from(byte) == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
    None
}

fn nested_end(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0u32, 0);
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'\'' | b'"' => at += quoted_end(text.get(at..)?, char::from(*byte))? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Backslash escapes taken off, as in ClickHouse's TabSeparated.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('0') => out.push('\0'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

/// The separator and the form of a table that begins like this, if its header names a trace and a span.
pub(super) fn header(line: &str) -> Option<(u8, Start)> {
    let line = line.trim_start_matches('\u{feff}').trim_end();
    let separator = if line.contains('\t') { b'\t' } else { b',' };
    let names: Vec<&str> =
        line.split(char::from(separator)).map(|name| name.trim().trim_matches('"')).collect();
    let has = |wanted: Column| names.iter().any(|name| column(name) == Some(wanted));
    if !(has(Column::TraceId) && has(Column::SpanId) && has(Column::Start)) {
        return None;
    }
    let form = if names.contains(&"Timestamp") { Start::ClickHouse } else { Start::BySize };
    Some((separator, form))
}

/// Reads all rows. `each` gets a row and its line, or what is wrong with it; false stops.
pub(super) fn rows(input: impl Read, separator: u8, each: &mut dyn FnMut(u64, Result<Row, String>) -> bool) {
    let tabs = separator == b'\t';
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .quoting(!tabs)
        .flexible(true)
        .buffer_capacity(256 << 10)
        .from_reader(input);
    let columns: Vec<Option<Column>> = match reader.headers() {
        Ok(names) => names.iter().map(|name| column(name.trim_start_matches('\u{feff}'))).collect(),
        Err(error) => {
            each(1, Err(error.to_string()));
            return;
        }
    };
    let mut record = csv::StringRecord::new();
    loop {
        let line = reader.position().line();
        match reader.read_record(&mut record) {
            Ok(false) => return,
            Ok(true) => {
                // TabSeparatedWithNamesAndTypes has a second header.
                let types =
                    line == 2 && record.iter().any(|text| text.starts_with("DateTime") || text == "String");
                if types {
                    continue;
                }
                let row = if record.len() == columns.len() {
                    Ok(row(&columns, &record, tabs))
                } else {
                    Err(format!("{} columns where the header has {}", record.len(), columns.len()))
                };
                if !each(line, row) {
                    return;
                }
            }
            Err(error) => {
                let io = matches!(error.kind(), csv::ErrorKind::Io(_));
                if !each(line, Err(error.to_string())) || io {
                    return;
                }
            }
        }
    }
}

fn row(columns: &[Option<Column>], record: &csv::StringRecord, tabs: bool) -> Row {
    let mut row = Row::default();
    for (column, text) in columns.iter().zip(record) {
        let Some(column) = column else { continue };
        // Maps and lists take their escapes off themselves.
        let nested = column.is_nested();
        row.set(*column, if tabs && !nested { unescaped(text) } else { text.to_owned() });
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_numbers_become_nanoseconds() {
        assert_eq!(moment("1970-01-01 00:00:00"), Ok(0));
        assert_eq!(moment("2024-02-29 12:34:56.123456789"), Ok(1_709_210_096_123_456_789));
        assert_eq!(moment("2024-02-29T12:34:56.1Z"), Ok(1_709_210_096_100_000_000));
        for number in ["1709210096", "1709210096000", "1709210096000000", "1709210096000000000"] {
            assert_eq!(moment(number), Ok(1_709_210_096_000_000_000), "{number}");
        }
        for bad in ["", "now", "2024-13-01 00:00:00", "2024-01-01", "2024-01-01 25:00:00"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn maps_and_lists_in_either_form() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let want = [pair("http.method", "GET"), pair("q", "it's {a,b}: \"x\"")];
        assert_eq!(map(r#"{'http.method':'GET','q':'it\'s {a,b}: "x"'}"#), want);
        assert_eq!(map(r#"{"http.method":"GET","q":"it's {a,b}: \"x\""}"#), want);
        assert_eq!(map(r#"{"n":5}"#), [pair("n", "5")]);
        assert_eq!((map(""), map("{}"), map("broken")), (vec![], vec![], vec![]));
        assert_eq!(list("['a','b,c']"), ["a", "b,c"]);
        assert_eq!(list("[{'k':'v]'},{}]"), ["{'k':'v]'}", "{}"]);
    }

    #[test]
    fn a_pod_tells_its_deployment() {
        assert_eq!(deployment("cart-579b9bff58-t2dbm"), "cart");
        assert_eq!(deployment("ts-gateway-service-6f6cfc45b-h5m2n"), "ts-gateway-service");
        assert_eq!(deployment("redis-cart"), "redis-cart");
    }

    #[test]
    fn tables_are_known_by_their_header() {
        assert!(header("TraceID,SpanID,ParentID,PodName,OperationName,StartTimeUnixNano").is_some());
        assert!(header("Timestamp\tTraceId\tSpanId").is_some_and(|h| h.0 == b'\t'));
        assert!(header("name,age").is_none());
    }
}
