//! An HTTP archive, as browsers and proxies save it (HAR 1.2).

use super::draft::{
    Draft, DraftBody, DraftStep, body_of, decoded, form_fields, literal, literal_url, origin,
};
use super::recorded::Recorded;
use serde_json::Value;

/// Kinds of resources that a page loads by itself, by the end of their path and by their content type.
const ASSETS: [&str; 20] = [
    ".js", ".mjs", ".css", ".map", ".png", ".jpg", ".jpeg", ".webp", ".avif", ".svg", ".gif", ".ico",
    ".woff", ".woff2", ".ttf", ".otf", ".mp4", ".webm", ".mp3", ".wasm",
];
const ASSET_KINDS: [&str; 6] = ["image/", "font/", "text/css", "javascript", "video/", "audio/"];
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
    let (mut steps, mut recorded) = (Vec::<DraftStep>::new(), Recorded::default());
    let mut left = Left::default();
    let mut ended: Option<f64> = None;
    for entry in sorted {
        let url = entry["request"]["url"].as_str().unwrap_or_default();
        if left.out(entry, url, host.as_deref()) {
            continue;
        }
        let started = entry["startedDateTime"].as_str().and_then(milliseconds);
        if let (Some(started), Some(ended), Some(last)) = (started, ended, steps.last_mut())
            && started - ended > PAUSE_MS
        {
            last.think = Some(format!("{}ms", (started - ended).min(60_000.0) as u64));
        }
        ended = started.map(|s| s + entry["time"].as_f64().unwrap_or_default().max(0.0));
        let step = step(&entry["request"], entry, &mut recorded, &mut draft);
        recorded.answer(steps.len(), &entry["response"]);
        steps.push(step);
    }
    left.tell(&mut draft);
    let mut taken = Vec::new();
    for (step, name, place) in recorded.extracts() {
        if let Some(step) = steps.get_mut(step) {
            step.extract.push((name.clone(), place));
            taken.push(name);
        }
    }
    if !taken.is_empty() {
        draft.note(format!(
            "values that one answer gave and a later request sent are taken from the answer: {}; look whether others stand as they were recorded",
            taken.join(", ")
        ));
    } else if steps.len() > 1 {
        draft.note("values that one answer gave and a later request sent stand as they were recorded: take them with `extract` (a recording with the answers' bodies shows them)");
    }
    draft.journeys.push(("recorded".to_string(), 1, None, steps));
    Ok(draft)
}

/// Requests that are no steps, by reason.
#[derive(Default)]
struct Left {
    others: usize,
    assets: usize,
    unanswered: usize,
    preflights: usize,
    sockets: usize,
}

impl Left {
    /// Whether a request is left out.
    fn out(&mut self, entry: &Value, url: &str, host: Option<&str>) -> bool {
        let request = &entry["request"];
        let kind = entry["response"]["content"]["mimeType"].as_str().unwrap_or_default();
        let path = url.split(['?', '#']).next().unwrap_or_default();
        let fields = |name: &str| {
            let mut all = request["headers"].as_array().into_iter().flatten();
            all.any(|h| h["name"].as_str().is_some_and(|n| n.eq_ignore_ascii_case(name)))
        };
        let count =
            if url.starts_with("ws:") || url.starts_with("wss:") || entry["_webSocketMessages"].is_array() {
                &mut self.sockets
            } else if origin(url) != host {
                &mut self.others
            } else if ASSETS.iter().any(|end| path.ends_with(end))
                || ASSET_KINDS.iter().any(|k| kind.contains(k))
            {
                &mut self.assets
            } else if entry["response"]["status"] == 0 {
                &mut self.unanswered
            } else if request["method"] == "OPTIONS" && fields("access-control-request-method") {
                &mut self.preflights
            } else {
                return false;
            };
        *count += 1;
        true
    }

    fn tell(&self, draft: &mut Draft) {
        let all = [
            (self.others, "to other hosts were left out"),
            (self.assets, "for scripts, styles, images and fonts were left out: browsers load them once"),
            (self.unanswered, "that got no answer (blocked or cancelled) were left out"),
            (self.preflights, "with which the browser asked for leave (CORS) were left out"),
            (self.sockets, "for WebSockets were left out: write them as `ws` with a script"),
        ];
        for (count, what) in all.into_iter().filter(|(count, _)| *count > 0) {
            draft.note(format!("{count} requests {what}"));
        }
    }
}

fn step(request: &Value, entry: &Value, recorded: &mut Recorded, draft: &mut Draft) -> DraftStep {
    let pairs = |list: &Value| -> Vec<(String, String)> {
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .filter_map(|h| {
                let file = h["fileName"].as_str().map(|file| format!("@{file}"));
                let value = file.or_else(|| h["value"].as_str().map(str::to_string))?;
                Some((h["name"].as_str()?.to_string(), value))
            })
            .collect()
    };
    let posted = &request["postData"];
    let kind = posted["mimeType"].as_str().unwrap_or_default();
    let text = posted["text"].as_str().unwrap_or_default();
    let body = if kind.starts_with("multipart/") {
        let mut fields = parts(text, kind);
        if fields.is_empty() {
            fields = pairs(&posted["params"]);
        }
        DraftBody::Multipart(fields.into_iter().map(|(k, v)| (k, of_answer(&v, recorded))).collect())
    } else if kind.starts_with("application/x-www-form-urlencoded") {
        let fields = if text.is_empty() { pairs(&posted["params"]) } else { plain_fields(text) };
        match fields.is_empty() {
            true => DraftBody::Empty,
            false => DraftBody::Form(fields.into_iter().map(|(k, v)| (k, of_answer(&v, recorded))).collect()),
        }
    } else {
        match serde_json::from_str::<Value>(text) {
            Ok(value) if kind.contains("json") => DraftBody::Json(json_of_answer(&value, recorded)),
            _ => body_of(text, kind),
        }
    };
    if matches!(&body, DraftBody::Empty) && request["bodySize"].as_i64().is_some_and(|n| n > 0) {
        draft.note(format!(
            "the body of {} is not in the recording and was left out",
            request["url"].as_str().unwrap_or_default().split('?').next().unwrap_or_default()
        ));
    }
    let headers = pairs(&request["headers"]).into_iter().filter(|(n, _)| !n.starts_with(':'));
    let headers = headers.map(|(name, value)| {
        let value = match value.split_once(' ') {
            Some((scheme, token)) if name.eq_ignore_ascii_case("authorization") => {
                format!("{scheme} {}", of_answer(token, recorded))
            }
            _ => of_answer(&value, recorded),
        };
        (name, value)
    });
    DraftStep {
        headers: headers.collect(),
        method: request["method"].as_str().unwrap_or("GET").to_ascii_uppercase(),
        url: url_of_answer(request["url"].as_str().unwrap_or_default(), recorded),
        body,
        status: entry["response"]["status"].as_u64().and_then(|s| u16::try_from(s).ok()),
        ..DraftStep::default()
    }
}

/// A value that an earlier answer gave, or itself.
fn of_answer(value: &str, recorded: &mut Recorded) -> String {
    recorded.hole(value).unwrap_or_else(|| {
        recorded.sends(value);
        literal(value)
    })
}

fn json_of_answer(value: &Value, recorded: &mut Recorded) -> Value {
    match value {
        Value::String(text) => of_answer(text, recorded).into(),
        Value::Number(number) => match recorded.hole(&number.to_string()) {
            Some(hole) => hole.into(),
            None => value.clone(),
        },
        Value::Array(items) => items.iter().map(|v| json_of_answer(v, recorded)).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(k, v)| (k.clone(), json_of_answer(v, recorded)));
            members.collect::<serde_json::Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

/// A URL whose parts an earlier answer gave.
fn url_of_answer(url: &str, recorded: &mut Recorded) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let host = origin(url).map_or(0, str::len);
    // A redirect that is walked by hand, or a link.
    if let Some(hole) = recorded.hole(url).or_else(|| recorded.hole(&url[host..])) {
        return hole;
    }
    let (place, query) = url[host..].split_once('?').unwrap_or((&url[host..], ""));
    let mut part = |text: &str| {
        let plain = decoded(text);
        recorded.hole(&plain).unwrap_or_else(|| {
            recorded.sends(&plain);
            literal_url(text)
        })
    };
    let segments: Vec<String> = place.split('/').map(&mut part).collect();
    let pairs: Vec<String> = query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) => format!("{}={}", literal_url(key), part(value)),
            None => literal_url(pair),
        })
        .collect();
    let mut out = format!("{}{}", &url[..host], segments.join("/"));
    if !pairs.is_empty() {
        out.push('?');
        out.push_str(&pairs.join("&"));
    }
    out
}

fn plain_fields(text: &str) -> Vec<(String, String)> {
    // What means itself is made so later.
    form_fields(text).into_iter().map(|(k, v)| (k, v.replace("{{ \"{{\" }}", "{{"))).collect()
}

/// The fields of a multipart body as browsers record it; files by `@` and their names.
fn parts(text: &str, kind: &str) -> Vec<(String, String)> {
    let Some(boundary) =
        kind.split("boundary=").nth(1).map(|b| b.split(';').next().unwrap_or(b).trim_matches('"'))
    else {
        return Vec::new();
    };
    let marker = format!("--{boundary}");
    let mut fields = Vec::new();
    for part in text.split(marker.as_str()).skip(1) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else { continue };
        let parameter = |name: &str| {
            let rest = head.split(&format!("; {name}=\"")).nth(1)?;
            rest.split('"').next().map(str::to_string)
        };
        let Some(name) = parameter("name") else { continue };
        let value = match parameter("filename") {
            Some(file) => format!("@{file}"),
            None => content.strip_suffix("\r\n").unwrap_or(content).to_string(),
        };
        fields.push((name, value));
    }
    fields
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
