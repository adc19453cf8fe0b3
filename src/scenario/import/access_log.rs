//! An access log in common or combined format: which requests, how often, at what rate.

use super::draft::{Draft, DraftStep, literal_url};
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
        let Some((method, path, seconds)) = request(line) else {
            unread += 1;
            continue;
        };
        lines += 1;
        if let Some(seconds) = seconds {
            (first, last) = (first.min(seconds), last.max(seconds));
        }
        if !matches!(method, "GET" | "HEAD") {
            bodies += 1;
            continue;
        }
        let (shape, values) = shape(path);
        let entry = seen.entry((method.to_string(), shape)).or_default();
        entry.0 += 1;
        if entry.1.len() < MOST_VALUES && !values.is_empty() && !entry.1.contains(&values) {
            entry.1.push(values);
        }
    }
    if lines == 0 {
        return Err("no line of it is in common or combined log format".to_string());
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
fn request(line: &str) -> Option<(&str, &str, Option<u64>)> {
    let open = line.find('"')?;
    let rest = &line[open + 1..];
    let quoted = &rest[..rest.find('"')?];
    let mut words = quoted.split(' ');
    let (method, path, version) = (words.next()?, words.next()?, words.next()?);
    let good = version.starts_with("HTTP/")
        && method.bytes().all(|b| b.is_ascii_uppercase())
        && path.starts_with('/');
    let seconds = line[..open].find('[').and_then(|at| moment(&line[at + 1..open]));
    good.then_some((method, path, seconds))
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
    // Days from civil (Hinnant), with March as the first month.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
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
