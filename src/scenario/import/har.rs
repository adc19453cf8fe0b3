//! An HTTP archive, as browsers and proxies save it (HAR 1.2).

use super::draft::{Draft, DraftBody, DraftStep, body_of, literal, literal_url, origin};
use serde_json::Value;

/// Kinds of resources that a page loads by itself.
const ASSETS: [&str; 8] = [".js", ".css", ".png", ".jpg", ".svg", ".woff2", ".ico", ".gif"];
/// A gap longer than this between requests is a person who thinks.
const PAUSE_MS: f64 = 500.0;

/// Reads it.
///
/// # Errors
/// When it is no HAR.
pub fn read(text: &str) -> Result<Draft, String> {
    let har: Value = serde_json::from_str(text).map_err(|e| format!("it is no HAR: {e}"))?;
    let entries = har["log"]["entries"].as_array().ok_or("it is no HAR: it has no log.entries")?;
    let mut draft = Draft { name: "recorded".to_string(), ..Draft::default() };
    let mut sorted: Vec<&Value> = entries.iter().collect();
    // Times are of one format and zone within a file: texts order as moments do.
    sorted.sort_by_key(|e| e["startedDateTime"].as_str().unwrap_or_default());
    let host = sorted.iter().find_map(|e| origin(e["request"]["url"].as_str()?)).map(str::to_string);
    let (mut steps, mut others, mut assets) = (Vec::<DraftStep>::new(), 0, 0);
    let mut ended: Option<f64> = None;
    for entry in sorted {
        let request = &entry["request"];
        let url = request["url"].as_str().unwrap_or_default();
        if origin(url).map(str::to_string) != host {
            others += 1;
            continue;
        }
        let path = url.split(['?', '#']).next().unwrap_or_default();
        if ASSETS.iter().any(|end| path.ends_with(end)) {
            assets += 1;
            continue;
        }
        let started = entry["startedDateTime"].as_str().and_then(milliseconds);
        if let (Some(started), Some(ended), Some(last)) = (started, ended, steps.last_mut())
            && started - ended > PAUSE_MS
        {
            last.think = Some(format!("{}ms", (started - ended).min(60_000.0) as u64));
        }
        ended = started.map(|s| s + entry["time"].as_f64().unwrap_or_default().max(0.0));
        steps.push(step(request, entry));
    }
    if others > 0 {
        draft.note(format!("{others} requests to other hosts were left out"));
    }
    if assets > 0 {
        draft.note(format!(
            "{assets} requests for scripts, styles, images and fonts were left out: browsers load them once"
        ));
    }
    if steps.len() > 1 {
        draft.note("values that one answer gave and a later request sent stand as they were recorded: take them with `extract`");
    }
    draft.journeys.push(("recorded".to_string(), 1, None, steps));
    Ok(draft)
}

fn step(request: &Value, entry: &Value) -> DraftStep {
    let pairs = |list: &Value| -> Vec<(String, String)> {
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .filter_map(|h| Some((h["name"].as_str()?.to_string(), literal(h["value"].as_str()?))))
            .collect()
    };
    let posted = &request["postData"];
    let kind = posted["mimeType"].as_str().unwrap_or_default();
    let body = match posted["text"].as_str() {
        Some(text) if !kind.starts_with("multipart/") => body_of(text, kind),
        _ => {
            let fields = pairs(&posted["params"]);
            match fields.is_empty() {
                true => DraftBody::Empty,
                false if kind.starts_with("multipart/") => DraftBody::Multipart(fields),
                false => DraftBody::Form(fields),
            }
        }
    };
    DraftStep {
        method: request["method"].as_str().unwrap_or("GET").to_ascii_uppercase(),
        url: literal_url(request["url"].as_str().unwrap_or_default()),
        headers: pairs(&request["headers"]),
        body,
        status: entry["response"]["status"].as_u64().and_then(|s| u16::try_from(s).ok()),
        ..DraftStep::default()
    }
}

/// Milliseconds within a day, which is all that a gap needs.
fn milliseconds(moment: &str) -> Option<f64> {
    let time = moment.split('T').nth(1)?;
    let time = time.split(['Z', '+', '-']).next()?;
    let mut parts = time.split(':');
    let (h, m, s): (f64, f64, f64) =
        (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    Some((h * 3_600.0 + m * 60.0 + s) * 1_000.0)
}
