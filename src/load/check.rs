//! What is taken from answers, and whether they are as expected.

use super::words::Words;
use crate::record::{CheckFailure, Nanos};
use crate::scenario::{Extract, Missing, Several, Source, Step};
use http::HeaderMap;
use serde_json::Value;
use std::io::Read as _;
use std::sync::Arc;

/// Most bytes of a body that are kept to be looked at.
pub const KEPT_BODY: usize = 8 << 20;

/// A whole answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers: all of them where the step looks at any (see `StepPlan::keeps_fields`), where a cookie is set, and of
    /// redirects; else none.
    pub headers: HeaderMap,
    /// The first bytes of its body, where the step looks at bodies.
    pub body: Vec<u8>,
}

/// The name of the check on the status: what makes an exchange an error.
pub const STATUS: &str = "status";

/// What came of looking at an answer.
#[derive(Default)]
pub struct Verdict {
    /// Checks that did not hold.
    pub failed: Vec<CheckFailure>,
    /// Whether a value that later steps need was not there.
    pub lacks: bool,
}

/// Checks an answer and takes its values.
pub fn look(
    step: &Step,
    answer: &Answer,
    latency: Nanos,
    variables: &mut [Value],
    words: &mut Words,
) -> Verdict {
    let mut verdict = Verdict::default();
    if !step.expect.status.holds(answer.status) {
        let (check, seen) = (words.share(STATUS), words.share(&answer.status.to_string()));
        verdict.failed.push(CheckFailure { check, seen });
    }
    if let Some((name, limit)) = &step.expect.within
        && latency > *limit
    {
        verdict.failed.push(CheckFailure { check: Arc::clone(name), seen: latency.to_string().into() });
    }
    let expect = &step.expect;
    if expect.json.is_empty()
        && expect.headers.is_empty()
        && expect.contains.is_empty()
        && step.extract.is_empty()
    {
        return verdict;
    }
    let decoded = decoded(answer);
    let body: &[u8] = decoded.as_deref().unwrap_or(&answer.body);
    let mut json = Json { body, parsed: None };
    for check in &expect.headers {
        let value =
            answer.headers.get(&check.header).map(|v| Value::from(String::from_utf8_lossy(v.as_bytes())));
        let found: Vec<&Value> = value.iter().collect();
        note(&mut verdict, &check.name, check.condition.holds(&found), || seen_of(&found), words);
    }
    for check in &expect.json {
        match json.value() {
            Ok(value) => {
                let found = check.path.query(value).all();
                note(&mut verdict, &check.name, check.condition.holds(&found), || seen_of(&found), words);
            }
            Err(why) => {
                let why = why.clone();
                note(&mut verdict, &check.name, false, || why, words);
            }
        }
    }
    for (name, text) in &expect.contains {
        let holds = find(body, text.as_bytes()).is_some();
        note(&mut verdict, name, holds, || format!("{} bytes without it", body.len()), words);
    }
    for extract in &step.extract {
        take(extract, answer, &mut json, variables, &mut verdict, words);
    }
    verdict
}

fn note(
    verdict: &mut Verdict,
    check: &Arc<str>,
    holds: bool,
    seen: impl FnOnce() -> String,
    words: &mut Words,
) {
    if !holds {
        let seen = words.share(&seen());
        verdict.failed.push(CheckFailure { check: Arc::clone(check), seen });
    }
}

fn take(
    extract: &Extract,
    answer: &Answer,
    json: &mut Json,
    variables: &mut [Value],
    verdict: &mut Verdict,
    words: &mut Words,
) {
    let found: Result<Value, String> = match &extract.source {
        Source::Header(name) => match answer.headers.get(name) {
            Some(value) => Ok(String::from_utf8_lossy(value.as_bytes()).into()),
            None => Err(format!("no header {name}")),
        },
        Source::Between(left, right) => {
            between(json.body, left, right).map(Value::from).ok_or_else(|| "not in the body".to_string())
        }
        Source::Json(path, several) => json.value().map_err(Clone::clone).and_then(|value| {
            let found = path.query(value).all();
            match (several, found.as_slice()) {
                (_, []) => Err("nothing at that path".to_string()),
                (Several::No, [first, ..]) => Ok((*first).clone()),
                (Several::Yes, all) => Ok(Value::Array(all.iter().map(|v| (*v).clone()).collect())),
            }
        }),
    };
    match (found, extract.missing) {
        (Ok(value), _) => {
            if let Some(slot) = variables.get_mut(extract.slot) {
                *slot = value;
            }
        }
        (Err(_), Missing::Ignored) => {}
        (Err(why), Missing::Failure) => {
            let check = words.share(&format!("extract {}", extract.name));
            let seen = words.share(&why);
            verdict.failed.push(CheckFailure { check, seen });
            verdict.lacks = true;
        }
    }
}

/// The body as JSON, parsed once if at all.
struct Json<'a> {
    body: &'a [u8],
    parsed: Option<Result<Value, String>>,
}

impl Json<'_> {
    fn value(&mut self) -> Result<&Value, &String> {
        let body = self.body;
        let parse = || match serde_json::from_slice(body) {
            Ok(value) => Ok(value),
            Err(_) if body.is_empty() => Err("an empty body".to_string()),
            Err(_) if body.len() >= KEPT_BODY => Err(format!("a body of more than {KEPT_BODY} bytes")),
            Err(error) => Err(format!("no JSON ({error})")),
        };
        self.parsed.get_or_insert_with(parse).as_ref()
    }
}

/// A compressed body, decompressed: only asked for where the scenario asked for compression.
fn decoded(answer: &Answer) -> Option<Vec<u8>> {
    let coding = answer.headers.get(http::header::CONTENT_ENCODING)?.to_str().ok()?;
    let mut out = Vec::new();
    let limit = KEPT_BODY as u64;
    let done = match coding.trim() {
        "gzip" | "x-gzip" => {
            flate2::read::MultiGzDecoder::new(answer.body.as_slice()).take(limit).read_to_end(&mut out)
        }
        "deflate" => flate2::read::ZlibDecoder::new(answer.body.as_slice()).take(limit).read_to_end(&mut out),
        _ => return None,
    };
    done.ok().map(|_| out)
}

fn between(body: &[u8], left: &str, right: &str) -> Option<String> {
    let start = find(body, left.as_bytes())? + left.len();
    let length = find(&body[start..], right.as_bytes())?;
    Some(String::from_utf8_lossy(&body[start..start + length]).into_owned())
}

/// Where `needle` begins; the first byte is looked for fast, the rest compared.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, last) = (*needle.first()?, haystack.len().checked_sub(needle.len())?);
    let mut at = 0;
    while at <= last {
        at += haystack[at..=last].iter().position(|b| *b == first)?;
        if &haystack[at..at + needle.len()] == needle {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// What was found, short enough for a table.
fn seen_of(found: &[&Value]) -> String {
    let mut text = match found {
        [] => "nothing".to_string(),
        [one] => one.to_string(),
        [one, rest @ ..] => format!("{one} and {} more", rest.len()),
    };
    if let Some((cut, _)) = text.char_indices().nth(80) {
        text.truncate(cut);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;
    use http::HeaderValue;
    use serde_json::json;

    fn looked(
        step: &str,
        status: u16,
        body: &[u8],
        headers: &[(&'static str, &'static str)],
    ) -> (Vec<String>, Vec<Value>, bool) {
        let text = format!("target: http://h\nload: {{users: 1, for: 1s}}\nsteps:\n  - {step}\n");
        let scenario = parse(&text, "test").unwrap_or_else(|e| panic!("{e}"));
        let headers = headers
            .iter()
            .map(|(n, v)| (http::HeaderName::from_static(n), HeaderValue::from_static(v)))
            .collect();
        let answer = Answer { status, headers, body: body.to_vec() };
        let mut variables = scenario.variables.clone();
        let verdict =
            look(&scenario.steps[0], &answer, Nanos::from_millis(20), &mut variables, &mut Words::default());
        let failed = verdict.failed.iter().map(|f| format!("{}: {}", f.check, f.seen)).collect();
        (failed, variables, verdict.lacks)
    }

    #[test]
    fn checks_name_what_was_seen() {
        let step = "{get: /, expect: {status: 200, json: {$.a: '> 1', $.b: exists}, headers: {x-a: contains q}, contains: [abc, '\"a\"'], within: 10ms}}";
        let (failed, _, _) = looked(step, 503, br#"{"a": 1}"#, &[("x-a", "r")]);
        assert_eq!(
            failed,
            [
                "status: 503",
                "within 10ms: 20.0 ms",
                "header x-a contains \"q\": \"r\"",
                "json $.a > 1: 1",
                "json $.b exists: nothing",
                "contains \"abc\": 8 bytes without it",
            ]
        );
        let (failed, _, _) = looked(
            step.replace("10ms", "20ms").as_str(),
            200,
            br#"{"a": 2, "b": 0, "c": "abc"}"#,
            &[("x-a", "pq")],
        );
        assert_eq!(failed, [""; 0]);
    }

    #[test]
    fn a_status_is_wrong_from_400_up_unless_told_otherwise() {
        assert_eq!(looked("GET /", 302, b"", &[]).0, [""; 0]);
        assert_eq!(looked("GET /", 404, b"", &[]).0, ["status: 404"]);
        assert_eq!(looked("{get: /, expect: {status: 404}}", 404, b"", &[]).0, [""; 0]);
    }

    #[test]
    fn values_are_taken_from_everywhere() {
        let step = "{get: /, extract: {one: $.a.b, many: '$.l[*].id', head: {header: x-a}, csrf: {between: ['name=\"', '\"']}, none: {json: $.zz, optional: true}}}";
        let body = br#"{"a": {"b": "v"}, "l": [{"id": 1}, {"id": 2}], "html": "name="tok""}"#;
        // The body is no JSON for the sake of `between`: JSON values are missing, the others are not.
        let (failed, variables, lacks) = looked(step, 200, body, &[("x-a", "h")]);
        assert_eq!(failed.len(), 2);
        assert!(lacks && failed[0].starts_with("extract one: no JSON"), "{failed:?}");
        assert_eq!((&variables[2], &variables[3]), (&json!("h"), &json!("tok")));
        let (failed, variables, lacks) = looked(
            &step.replace("csrf: {between: ['name=\"', '\"']}, ", ""),
            200,
            br#"{"a": {"b": "v"}, "l": [{"id": 1}, {"id": 2}]}"#,
            &[("x-a", "h")],
        );
        assert_eq!((failed.len(), lacks), (0, false));
        assert_eq!(variables, [json!("v"), json!([1, 2]), json!("h"), Value::Null]);
    }

    #[test]
    fn compressed_bodies_are_looked_into() {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(br#"{"token": "t"}"#).unwrap();
        let body = encoder.finish().unwrap();
        let (failed, variables, _) =
            looked("{get: /, extract: {token: $.token}}", 200, &body, &[("content-encoding", "gzip")]);
        assert_eq!((failed.len(), &variables[0]), (0, &json!("t")));
    }

    #[test]
    fn needles_are_found() {
        assert_eq!(find(b"aab", b"ab"), Some(1));
        assert_eq!(find(b"aa", b"aab"), None);
        assert_eq!(find(b"", b"a"), None);
    }
}
