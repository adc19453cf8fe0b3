//! What is taken from answers, and whether they are as expected.

use super::field_map::FieldMap;
use super::render::{Scope, holds, render, value};
use super::send::Walk;
use super::words::Words;
use crate::record::{CheckFailure, Nanos, Timestamp};
use crate::scenario::{
    Awaited, Call, Extract, Locale, Missing, Pattern, Source, Step, Take, Template, ValueCondition, text_of,
};
use http::HeaderMap;
use rand::RngExt;
use rand::rngs::SmallRng;
use scraper::Html;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Most bytes of a body that are kept to be looked at.
pub const KEPT_BODY: usize = 8 << 20;

/// A whole answer.
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers: all of them where the step looks at any (see `StepPlan::keeps_fields`), where a cookie is set, and of
    /// redirects; else none.
    pub headers: FieldMap,
    /// The first bytes of its body, decompressed, where the step looks at bodies.
    pub body: Vec<u8>,
}

/// Most values that one extraction finds.
const MOST_FOUND: usize = 10_000;

/// What was measured of an answer.
#[derive(Clone, Copy)]
pub struct Measured {
    /// From the intended start to the last byte.
    pub latency: Nanos,
    /// Bytes of the body, as they came.
    pub bytes: u64,
    /// When it had come.
    pub now: Timestamp,
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
    measured: Measured,
    walk: &mut Walk,
    (user, locale): (u32, Locale),
    words: &mut Words,
) -> Verdict {
    let mut verdict = Verdict::default();
    if !step.expect.status.holds(answer.status) {
        let (check, seen) = (words.share(STATUS), words.share(&status_seen(step, answer)));
        verdict.failed.push(CheckFailure { check, seen });
    }
    if let Some((name, limit)) = &step.expect.within
        && measured.latency > *limit
    {
        verdict
            .failed
            .push(CheckFailure { check: Arc::clone(name), seen: measured.latency.to_string().into() });
    }
    let expect = &step.expect;
    if !expect.looks_closer() && step.extract.is_empty() {
        return verdict;
    }
    if let Some((name, comparison, bytes)) = &expect.size {
        let holds = comparison.holds(measured.bytes as f64, *bytes as f64);
        note(&mut verdict, name, holds, || format!("{} bytes", measured.bytes), words);
    }
    let body: &[u8] = &answer.body;
    let mut json = Json { body, parsed: None };
    let mut html = None;
    // Checks see what the same answer gave; what it did not give is told after them.
    let mut taken = Verdict::default();
    for extract in &step.extract {
        let found = found(&extract.source, extract.take, answer, &mut json, &mut html);
        keep(extract, found, walk, &mut taken, words);
    }
    let Walk { variables, row, random, iteration, .. } = walk;
    let scope =
        Scope { variables, row: row.as_ref(), user, iteration: *iteration, now: measured.now, locale };
    for check in &expect.headers {
        let value =
            answer.headers.get(&check.header).map(|v| Value::from(String::from_utf8_lossy(v.as_bytes())));
        let found: Vec<&Value> = value.iter().collect();
        note_condition(&mut verdict, (&check.name, &check.condition), &found, (&scope, random), words);
    }
    for check in &expect.json {
        match json.value() {
            Ok(value) => {
                let found = check.path.query(value).all();
                note_condition(
                    &mut verdict,
                    (&check.name, &check.condition),
                    &found,
                    (&scope, random),
                    words,
                );
            }
            Err(why) => {
                let why = why.clone();
                note(&mut verdict, &check.name, false, || why, words);
            }
        }
    }
    look_for_texts(step, body, &scope, random, &mut verdict, words);
    if !expect.matches.is_empty() {
        let text = String::from_utf8_lossy(body);
        for (name, pattern) in &expect.matches {
            note(&mut verdict, name, pattern.0.is_match(&text), || "no match in the body".to_string(), words);
        }
    }
    verdict.failed.append(&mut taken.failed);
    verdict.lacks |= taken.lacks;
    for (name, condition) in &expect.that {
        note(&mut verdict, name, holds(condition, &scope, random), || "false".to_string(), words);
    }
    verdict
}

/// A condition on what was found, with its templates filled.
fn note_condition(
    verdict: &mut Verdict,
    (name, condition): (&Arc<str>, &ValueCondition),
    found: &[&Value],
    (scope, random): (&Scope, &mut SmallRng),
    words: &mut Words,
) {
    match condition.filled(|template| operand(template, scope, random)) {
        Ok(condition) => note(verdict, name, condition.holds(found), || seen_of(found), words),
        Err(why) => note(verdict, name, false, || why, words),
    }
}

/// What a condition's template gives; one that is a single hole keeps its value's type.
fn operand(template: &Template, scope: &Scope, random: &mut SmallRng) -> Result<Value, String> {
    match template.as_single_hole() {
        Some(expression) => value(expression, scope, random),
        None => filled(template, scope, random).map(|text| Value::from(text.into_owned())),
    }
}

/// Texts that are to be in a body, and those that are not.
fn look_for_texts(
    step: &Step,
    body: &[u8],
    scope: &Scope,
    random: &mut SmallRng,
    verdict: &mut Verdict,
    words: &mut Words,
) {
    for (name, text) in &step.expect.contains {
        let seen = match filled(text, scope, random) {
            Ok(text) if find(body, text.as_bytes()).is_some() => None,
            Ok(_) => Some(format!("{} bytes without it", body.len())),
            Err(why) => Some(why),
        };
        note(verdict, name, seen.is_none(), || seen.unwrap_or_default(), words);
    }
    for (name, text) in &step.expect.lacks {
        let seen = match filled(text, scope, random) {
            Ok(text) => find(body, text.as_bytes()).map(|at| format!("at byte {at}")),
            Err(why) => Some(why),
        };
        note(verdict, name, seen.is_none(), || seen.unwrap_or_default(), words);
    }
}

/// A text that is looked for, with its holes filled.
fn filled<'t>(text: &'t Template, scope: &Scope, random: &mut SmallRng) -> Result<Cow<'t, str>, String> {
    if let Some(text) = text.as_static() {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::new();
    render(text, scope, random, &mut out)?;
    Ok(Cow::Owned(out))
}

/// A status as people call it, with gRPC's words for it.
fn status_seen(step: &Step, answer: &Answer) -> String {
    let mut seen = step.expect.status.spelled(answer.status);
    if let (Call::Grpc(_), Some(words)) = (&step.call, answer.headers.get("grpc-message")) {
        seen.push_str(": ");
        seen.extend(String::from_utf8_lossy(words.as_bytes()).chars().take(80));
    }
    seen
}

/// Whether a message is the one that is waited for.
///
/// # Errors
/// A sentence that says which template cannot be filled.
pub fn found_in(
    awaited: &Awaited,
    body: &[u8],
    scope: &Scope,
    random: &mut SmallRng,
) -> Result<bool, String> {
    for text in &awaited.contains {
        if find(body, filled(text, scope, random)?.as_bytes()).is_none() {
            return Ok(false);
        }
    }
    if !awaited.matches.is_empty() {
        let text = String::from_utf8_lossy(body);
        if !awaited.matches.iter().all(|pattern| pattern.0.is_match(&text)) {
            return Ok(false);
        }
    }
    if awaited.json.is_empty() {
        return Ok(true);
    }
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return Ok(false) };
    for check in &awaited.json {
        let condition = check.condition.filled(|template| operand(template, scope, random))?;
        if !condition.holds(&check.path.query(&value).all()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes values from an answer, without any other checks.
pub fn take_values(
    extracts: &[Extract],
    answer: &Answer,
    walk: &mut Walk,
    verdict: &mut Verdict,
    words: &mut Words,
) {
    let (mut json, mut html) = (Json { body: &answer.body, parsed: None }, None);
    for extract in extracts {
        let found = found(&extract.source, extract.take, answer, &mut json, &mut html);
        keep(extract, found, walk, verdict, words);
    }
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

/// All values that are at the place of an extraction: at least one, else a sentence that says what is lacking.
fn found(
    source: &Source,
    take: Take,
    answer: &Answer,
    json: &mut Json,
    html: &mut Option<Html>,
) -> Result<Vec<Value>, String> {
    let one = |value: Option<String>, lacking: &str| {
        value.map(|v| vec![Value::from(v)]).ok_or_else(|| lacking.to_string())
    };
    match source {
        Source::Header(name) => {
            let value = answer.headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
            value.map(|v| vec![Value::from(v)]).ok_or_else(|| format!("no header {name}"))
        }
        Source::Status => Ok(vec![answer.status.into()]),
        Source::Cookie(name) => one(cookie(&answer.headers, name), "the answer sets no such cookie"),
        Source::Between(left, right) => one(between(json.body, left, right), "not in the body"),
        Source::Json(path, _) => {
            let found: Vec<Value> =
                path.query(json.value().map_err(|why| why.clone())?).all().into_iter().cloned().collect();
            if found.is_empty() { Err("nothing at that path".to_string()) } else { Ok(found) }
        }
        Source::Css(selector, attribute) => {
            let html = html.get_or_insert_with(|| Html::parse_document(&String::from_utf8_lossy(json.body)));
            let elements: Vec<_> = html.select(selector).take(MOST_FOUND).collect();
            if elements.is_empty() {
                return Err("no element matches the selector".to_string());
            }
            let values: Vec<Value> = elements
                .iter()
                .filter_map(|element| match attribute {
                    Some(name) => element.value().attr(name).map(Value::from),
                    None => Some(Value::from(element.text().collect::<String>().trim())),
                })
                .collect();
            let lacking = || {
                format!("no matching element has the attribute {}", attribute.as_deref().unwrap_or_default())
            };
            if values.is_empty() { Err(lacking()) } else { Ok(values) }
        }
        Source::Pattern(pattern, group) => {
            let most = if matches!(take, Take::AsItIs | Take::Nth(0)) { 1 } else { MOST_FOUND };
            matches_of(pattern, *group, &[String::from_utf8_lossy(json.body)], most)
        }
        Source::Within(source, pattern, group) => {
            let values = found(source, Take::All, answer, json, html)?;
            let texts: Vec<_> = values.iter().map(text_of).collect();
            let only_first = matches!(take, Take::AsItIs | Take::Nth(0)) && !source.is_several();
            matches_of(pattern, *group, &texts, if only_first { 1 } else { MOST_FOUND })
        }
    }
}

/// What a pattern's group matches in texts, in their order.
fn matches_of(
    pattern: &Pattern,
    group: usize,
    texts: &[Cow<str>],
    most: usize,
) -> Result<Vec<Value>, String> {
    let found = texts.iter().flat_map(|text| pattern.0.captures_iter(text));
    let found = found.filter_map(|found| found.get(group).map(|m| Value::from(m.as_str())));
    let values: Vec<Value> = found.take(most).collect();
    if values.is_empty() { Err("the pattern does not match".to_string()) } else { Ok(values) }
}

/// Puts what was found into its variable.
fn keep(
    extract: &Extract,
    found: Result<Vec<Value>, String>,
    walk: &mut Walk,
    verdict: &mut Verdict,
    words: &mut Words,
) {
    let several = extract.source.is_several();
    let taken = found.and_then(|mut values| {
        let count = values.len();
        let index = match extract.take {
            Take::AsItIs if several => return Ok(Value::Array(values)),
            Take::All => return Ok(Value::Array(values)),
            Take::AsItIs => 0,
            Take::Random => walk.random.random_range(0..count.max(1)),
            Take::Nth(n) if n < 0 => {
                count.checked_add_signed(n as isize).ok_or_else(|| format!("only {count} values"))?
            }
            Take::Nth(n) => n as usize,
        };
        if index < count { Ok(values.swap_remove(index)) } else { Err(format!("only {count} values")) }
    });
    match (taken, extract.missing) {
        (Ok(value), _) => {
            if let Some(slot) = walk.variables.get_mut(extract.slot) {
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

/// The value of a cookie that an answer sets.
fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get_all(http::header::SET_COOKIE).iter().find_map(|header| {
        let pair = header.to_str().ok()?.split(';').next()?;
        let (key, value) = pair.split_once('=')?;
        (key.trim() == name).then(|| value.trim().trim_matches('"').to_string())
    })
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
        let mut walk = Walk {
            iteration: 0,
            variables: scenario.variables.clone(),
            row: None,
            random: crate::load::random::of_iteration(1, 0, 0),
            trace: None,
        };
        let measured =
            Measured { latency: Nanos::from_millis(20), bytes: body.len() as u64, now: Timestamp(0) };
        let verdict =
            look(&scenario.steps[0], &answer, measured, &mut walk, (0, Locale::En), &mut Words::default());
        let failed = verdict.failed.iter().map(|f| format!("{}: {}", f.check, f.seen)).collect();
        (failed, walk.variables, verdict.lacks)
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
    fn values_are_taken_from_pages_patterns_and_cookies() {
        let page = br#"<html><body><form><input name="csrf" value="t-1"></form>
            <ul><li class="p"><a href="/p/1">One </a></li><li class="p"><a href="/p/2">Two</a></li><li><a>Bare</a></li></ul></body></html>"#;
        let step = r#"{get: /, extract: {
            csrf: {css: 'input[name=csrf]', attribute: value}, names: {css: li.p a, take: all}, second: {css: 'a', attribute: href, take: 1},
            last: {css: li, take: last}, any: {css: 'a[href]', attribute: href, take: random},
            number: {regex: '/p/(\d+)'}, numbers: {regex: '/p/(?<n>\d+)', group: n, take: all}, whole: {regex: '/p/(\d+)', group: 0, take: last},
            sid: {cookie: sid}}}"#;
        let headers = [("set-cookie", "sid=abc; Path=/; HttpOnly")];
        let (failed, variables, lacks) = looked(&step.replace('\n', " "), 200, page, &headers);
        assert_eq!((failed, lacks), (vec![], false));
        assert_eq!(variables[..4], [json!("t-1"), json!(["One", "Two"]), json!("/p/2"), json!("Bare")]);
        assert!(variables[4] == "/p/1" || variables[4] == "/p/2");
        assert_eq!(variables[5..], [json!("1"), json!(["1", "2"]), json!("/p/2"), json!("abc")]);
        let step = "{get: /, extract: {a: {css: b}, b: {css: a, attribute: rel}, c: {regex: zz}, d: {cookie: x}, e: {css: a, take: 9}, f: {css: a, take: -9, optional: true}}}";
        let (failed, _, lacks) = looked(step, 200, page, &headers);
        assert_eq!(
            failed,
            [
                "extract a: no element matches the selector",
                "extract b: no matching element has the attribute rel",
                "extract c: the pattern does not match",
                "extract d: the answer sets no such cookie",
                "extract e: only 3 values",
            ]
        );
        assert!(lacks);
    }

    #[test]
    fn a_pattern_finds_its_part_in_what_stands_elsewhere() {
        let step = r#"{get: /, extract: {
            next: {header: link, regex: '<([^>]+)>; rel="next"'}, id: {header: location, regex: '/orders/(?<id>\d+)', group: id},
            two: {json: '$..id', regex: 'n-(\d+)'}, first: {json: '$..id', regex: '\d+', take: first}, word: {cookie: sid, regex: '^..'},
            href: {css: 'a', attribute: href, regex: 'p/(\d)', take: last}, none: {header: link, regex: zz, optional: true}, no: {header: location, regex: zz}}}"#;
        let headers = [
            ("link", r#"</a?p=2>; rel="next", </a>; rel="first""#),
            ("location", "/orders/17"),
            ("set-cookie", "sid=abc; Path=/"),
        ];
        let body =
            br#"{"x": [{"id": "n-1"}, {"id": "n-22"}], "html": "<a href='/p/1'></a><a href='/p/2'></a>"}"#;
        let (failed, variables, lacks) = looked(&step.replace('\n', " "), 200, body, &headers);
        assert_eq!((failed, lacks), (vec!["extract no: the pattern does not match".to_string()], true));
        let expected =
            [json!("/a?p=2"), json!("17"), json!(["1", "22"]), json!("1"), json!("ab"), json!("2")];
        assert_eq!(variables[..6], expected);
    }

    #[test]
    fn texts_that_are_looked_for_can_have_templates() {
        let step = r#"{get: /, extract: {name: $.name}, expect: {contains: ["user {{ user }}", "hello {{ name }}"], not_contains: "{{ name }}!"}}"#;
        assert_eq!(looked(step, 200, br#"{"name": "ann", "a": "user 0, hello ann"}"#, &[]).0, [""; 0]);
        let (failed, _, _) = looked(step, 200, br#"{"name": "ann", "a": "user 1, hello bob, ann!"}"#, &[]);
        assert_eq!(
            failed,
            [
                r#"contains "user {{ user }}": 47 bytes without it"#,
                r#"contains "hello {{ name }}": 47 bytes without it"#,
                r#"not contains "{{ name }}!": at byte 41"#,
            ]
        );
        let (failed, _, _) = looked(step, 200, br#"{"a": "user 0"}"#, &[]);
        assert_eq!(failed[0], r#"contains "hello {{ name }}": `name` has no value"#);
    }

    #[test]
    fn lists_of_json_can_be_taken_from() {
        let step = "{get: /, extract: {one: {json: '$..id', take: first}, all: {json: $.a.id, take: all}, last: {json: '$..id', take: -1}}}";
        let (failed, variables, _) = looked(step, 200, br#"{"a": {"id": 1}, "b": [{"id": 2}]}"#, &[]);
        assert_eq!((failed, variables), (vec![], vec![json!(1), json!([1]), json!(2)]));
    }

    #[test]
    fn every_kind_of_check_counts_by_its_name() {
        let step = "{get: /, extract: {cart: $.cart}, expect: {not_contains: error, matches: '^.{2}c', size: '< 1kB', that: {cart has items: cart | length > 0, cheap: cart.total < 5}}}";
        let (failed, _, _) = looked(step, 200, br#"{"cart": {"total": 3}}"#, &[]);
        assert_eq!(failed, [""; 0]);
        let body = format!(r#"{{"error": "{}", "cart": {{"total": 9}}}}"#, "x".repeat(1_000));
        let (failed, _, _) = looked(step, 200, body.as_bytes(), &[]);
        assert_eq!(
            failed,
            [
                "size < 1kB: 1035 bytes",
                "not contains \"error\": at byte 2",
                "matches ^.{2}c: no match in the body",
                "cheap: false",
            ]
        );
        let scenario =
            parse(&format!("target: http://h\nload: {{users: 1, for: 1s}}\nsteps:\n  - {step}\n"), "t")
                .unwrap();
        assert_eq!(
            scenario.steps()[0].checks,
            [
                "status",
                "size < 1kB",
                "not contains \"error\"",
                "matches ^.{2}c",
                "cart has items",
                "cheap",
                "extract cart"
            ]
        );
    }

    #[test]
    fn needles_are_found() {
        assert_eq!(find(b"aab", b"ab"), Some(1));
        assert_eq!(find(b"aa", b"aab"), None);
        assert_eq!(find(b"", b"a"), None);
    }
}
