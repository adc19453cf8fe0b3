//! An access log in common or combined format, or as lines of JSON: which requests, how often, at what rate.

use super::draft::{Draft, DraftStep, literal_url};
use serde_json::Value;
use std::collections::BTreeMap;

/// Requests that are kept: the commonest.
const MOST_STEPS: usize = 40;
/// Values of a path's changing part that are kept.
const MOST_VALUES: usize = 20;

/// How often a request came, and with which values in its changing parts.
type Counted = (u64, Vec<Vec<String>>);

/// Reads it.
///
/// # Errors
/// When no line is of that format.
pub fn read(text: &str) -> Result<Draft, String> {
    let mut draft = Draft { name: "replay".to_string(), ..Draft::default() };
    // By method and path with its changing parts named: how often, and with which values.
    let mut seen: BTreeMap<(String, String), Counted> = BTreeMap::new();
    let (mut lines, mut unread, mut bodies) = (0u64, 0u64, 0u64);
    let (mut first, mut last) = (u64::MAX, 0);
    for line in text.lines().filter(|l| !l.trim().is_empty()) {
        let Some((method, path, seconds)) = request(line).or_else(|| json_request(line)) else {
            unread += 1;
            continue;
        };
        lines += 1;
        if let Some(seconds) = seconds {
            (first, last) = (first.min(seconds), last.max(seconds));
        }
        if !matches!(method.as_str(), "GET" | "HEAD") {
            bodies += 1;
            continue;
        }
        let (shape, values) = shape(&path);
        let entry = seen.entry((method, shape)).or_default();
        entry.0 += 1;
        if entry.1.len() < MOST_VALUES && !values.is_empty() && !entry.1.contains(&values) {
            entry.1.push(values);
        }
    }
    if lines == 0 {
        return Err(
            "no line of it is in common or combined log format, nor JSON with method and path".to_string()
        );
    }
    let mut all: Vec<_> = seen.into_iter().collect();
    all.sort_by(|a, b| b.1.0.cmp(&a.1.0).then_with(|| a.0.cmp(&b.0)));
    if all.len() > MOST_STEPS {
        draft.note(format!("{} rarer requests were left out", all.len() - MOST_STEPS));
        all.truncate(MOST_STEPS);
    }
    if unread > 0 {
        draft.note(format!("{unread} lines were not understood"));
    }
    if bodies > 0 {
        draft.note(format!(
            "{bodies} requests other than GET and HEAD were left out: a log does not keep their bodies"
        ));
    }
    let steps = all
        .into_iter()
        .map(|((method, shape), (count, values))| step(method, &shape, count, &values))
        .collect();
    if first < last {
        let rate = lines as f64 / (last - first + 1) as f64;
        draft.load = format!("load:\n  - {{rate: {}/s, for: 1m}}\n", (rate * 1_000.0).ceil() / 1_000.0);
        draft.note(format!(
            "the rate is the log's mean over {} s; a log shows the arrivals, not who waited for whom",
            last - first + 1
        ));
    }
    draft.journeys.push(("mix".to_string(), 1, None, steps));
    Ok(draft)
}

fn step(method: String, shape: &str, count: u64, values: &[Vec<String>]) -> DraftStep {
    let mut url = String::new();
    for (index, part) in shape.split("{}").enumerate() {
        if index > 0 {
            // Changing parts of one path are drawn apart from each other.
            let mut known: Vec<String> =
                values.iter().filter_map(|v| v.get(index - 1)).map(|v| format!("{v:?}")).collect();
            known.sort();
            known.dedup();
            if let [only] = &known[..] {
                url.push_str(&literal_url(only.trim_matches('"')));
                url.push_str(part);
                continue;
            }
            url.push_str(&format!("{{{{ one_of({}) }}}}", known.join(", ")));
        }
        url.push_str(part);
    }
    let name = format!("{method} {}", shape.replace("{}", "{id}"));
    DraftStep {
        name: Some(name),
        method,
        url,
        weight: Some(count.min(1_000_000) as u32),
        ..DraftStep::default()
    }
}

/// Method, path and second of a line.
fn request(line: &str) -> Option<(String, String, Option<u64>)> {
    let open = line.find('"')?;
    let rest = &line[open + 1..];
    let quoted = &rest[..rest.find('"')?];
    let mut words = quoted.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    let good = version.starts_with("HTTP/")
        && method.bytes().all(|b| b.is_ascii_uppercase())
        && path.starts_with('/');
    let seconds = line[..open].find('[').and_then(|at| moment(&line[at + 1..open]));
    good.then(|| (method.to_string(), path.to_string(), seconds))
}

/// Whether the first line is an object that tells of a request.
pub fn is_json_log(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| json_request(line).is_some())
}

/// A line of JSON: Caddy's, or nginx's and Traefik's with their usual names.
fn json_request(line: &str) -> Option<(String, String, Option<u64>)> {
    let line: Value = serde_json::from_str(line.trim().trim_start_matches('\u{feff}')).ok()?;
    let within = if line["request"].is_object() { &line["request"] } else { &line };
    let named = |names: &[&str]| names.iter().find_map(|name| within[*name].as_str());
    let (method, path) = match line["request"].as_str() {
        Some(request) => {
            let mut words = request.split(' ');
            (words.next()?, words.next()?)
        }
        None => (
            named(&["method", "request_method", "RequestMethod"])?,
            named(&["uri", "request_uri", "path", "RequestPath", "url"])?,
        ),
    };
    let good = !method.is_empty() && method.bytes().all(|b| b.is_ascii_uppercase()) && path.starts_with('/');
    let moments = ["ts", "time", "msec", "time_iso8601", "timestamp", "time_local", "StartUTC", "@timestamp"];
    let seconds = moments.iter().find_map(|name| match &line[*name] {
        Value::Number(number) => number.as_f64().map(|n| if n > 1e11 { n / 1e3 } else { n } as u64),
        Value::String(text) => {
            let number = text.parse::<f64>().ok().map(|n| n as u64);
            number.or_else(|| rfc3339(text)).or_else(|| moment(text))
        }
        _ => None,
    });
    good.then(|| (method.to_string(), path.to_string(), seconds))
}

/// `2026-03-01T12:00:00+02:00` in seconds; the zone is one within a log.
fn rfc3339(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<u64>().ok();
    let separators = text.get(4..5)? == "-" && matches!(text.get(10..11)?, "T" | " ");
    let (day, hour, minute, second) = (number(8..10)?, number(11..13)?, number(14..16)?, number(17..19)?);
    separators
        .then(|| days(number(0..4)?, number(5..7)?, day))
        .flatten()
        .map(|days| days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from civil (Hinnant), with March as the first month.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, (month + 9) % 12) };
    Some(y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day)
}

/// `10/Oct/2000:13:55:36 -0700` in seconds since the year 0; the zone is one within a log.
fn moment(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut parts = text.split([':', '/', ' ', ']']);
    let day: u64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = MONTHS.iter().position(|m| *m == name)? as u64 + 1;
    let year: u64 = parts.next()?.parse().ok().filter(|y| *y < 10_000)?;
    let mut number = || -> Option<u64> { parts.next()?.parse().ok() };
    let (hour, minute, second) = (number()?, number()?, number()?);
    Some(days(year, month, day)? * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// A path with `{}` for what changes (numbers, ids), and the values there. Queries are left out where they change.
fn shape(path: &str) -> (String, Vec<String>) {
    let plain = literal_url(path);
    let (place, query) = plain.split_once('?').unwrap_or((&plain, ""));
    let mut values = Vec::new();
    let parts: Vec<String> = place
        .split('/')
        .map(|part| {
            let id = !part.is_empty()
                && (part.bytes().all(|b| b.is_ascii_digit())
                    || part.len() >= 16 && part.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-'));
            if id {
                values.push(part.to_string());
                "{}".to_string()
            } else {
                part.to_string()
            }
        })
        .collect();
    let mut shape = parts.join("/");
    let pairs = query.split('&').filter(|p| !p.is_empty());
    // What is secret in a log is nobody's to send again.
    let kept = pairs.filter(|p| !crate::scenario::mask::is_secret(p.split('=').next().unwrap_or_default()));
    for (index, pair) in kept.enumerate() {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        shape.push(if index == 0 { '?' } else { '&' });
        if value.is_empty() {
            shape.push_str(pair);
        } else {
            shape.push_str(&format!("{key}={{}}"));
            values.push(super::draft::decoded(value).replace(['"', '\\'], ""));
        }
    }
    (shape, values)
}
