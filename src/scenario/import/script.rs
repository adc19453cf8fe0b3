//! k6 and Locust scripts, as far as they are declarative: requests with literal arguments, pauses, weights, load. What is
//! computed is listed with its line and not guessed.

use super::draft::{Draft, DraftBody, DraftStep, literal, literal_json, literal_url};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Arguments within arguments.
const MOST_DEPTH: usize = 24;

/// Reads a k6 script.
///
/// # Errors
/// When it sends no request that can be read.
pub fn k6(text: &str) -> Result<Draft, String> {
    let text = without_comments(text, "//", true);
    let mut draft = Draft { name: "k6".to_string(), ..Draft::default() };
    let names = constants(&text, &["const ", "let ", "var "]);
    let mut steps: Vec<DraftStep> = Vec::new();
    let mut at = 0;
    while let Some(found) = find_any(&text, at, &["http.", "sleep("]) {
        let line = line_of(&text, found);
        let rest = &text[found..];
        at = found + 5;
        if let Some(inside) = rest.strip_prefix("sleep(") {
            match arguments(inside, &names).and_then(|(a, _)| a.into_iter().next()) {
                Some(Some(Value::Number(seconds))) => pause(&mut steps, seconds.as_f64().unwrap_or_default()),
                _ => draft.note(format!("line {line}: the pause is computed: write think: 1s..3s")),
            }
            continue;
        }
        let Some((method, inside)) = rest["http.".len()..].split_once('(') else { continue };
        let method = match method {
            "get" | "post" | "put" | "patch" | "head" | "options" => method.to_ascii_uppercase(),
            "del" => "DELETE".to_string(),
            other if other.len() < 16 && other.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                draft.note(format!("line {line}: http.{other} was not carried over"));
                continue;
            }
            _ => continue,
        };
        let Some((given, used)) = arguments(inside, &names) else {
            draft.note(format!("line {line}: the arguments of http.{method} could not be read"));
            continue;
        };
        let has_body = !matches!(method.as_str(), "GET" | "HEAD" | "OPTIONS");
        let Some(Some(Value::String(url))) = given.first() else {
            draft.note(format!(
                "line {line}: the URL is computed and the request was left out: {}",
                short(rest)
            ));
            continue;
        };
        let mut step = DraftStep { method, url: literal_url(url), ..DraftStep::default() };
        let parameters = given.get(if has_body { 2 } else { 1 });
        if let Some(Some(parameters)) = parameters {
            step.headers = headers(&parameters["headers"]);
            step.name = parameters["tags"]["name"].as_str().map(str::to_string);
        } else if parameters.is_some() {
            draft.note(format!("line {line}: the request's parameters are computed and were left out"));
        }
        if has_body && let Some(body) = given.get(1) {
            match body {
                Some(Value::Object(fields)) => {
                    let json = inside.contains("JSON.stringify")
                        && inside[..used.min(inside.len())].contains("JSON.stringify");
                    step.body = match json {
                        true => DraftBody::Json(literal_json(&Value::Object(fields.clone()))),
                        false => DraftBody::Form(fields.iter().map(|(k, v)| (k.clone(), plain(v))).collect()),
                    };
                }
                Some(value @ Value::Array(_)) => step.body = DraftBody::Json(literal_json(value)),
                Some(Value::String(text)) => step.body = DraftBody::Text(literal(text)),
                Some(Value::Null) => {}
                _ => draft.note(format!("line {line}: the body is computed and was left out")),
            }
        }
        steps.push(step);
        at = found + "http.".len() + used;
    }
    if text.contains("check(") {
        k6_checks(&text, &mut steps, &mut draft);
    }
    k6_options(&text, &names, &mut draft);
    unique(&mut steps);
    draft.journeys.push(("main".to_string(), 1, None, steps));
    Ok(draft)
}

/// `r.status === 200` is the one check that needs no script.
fn k6_checks(text: &str, steps: &mut [DraftStep], draft: &mut Draft) {
    let mut others = 0;
    let total = text.matches("check(").count();
    for (index, part) in text.split("check(").skip(1).enumerate() {
        let status = part.split(".status").nth(1).and_then(|rest| {
            let digits: String =
                rest.trim_start_matches([' ', '=']).chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u16>().ok()
        });
        match (status, total == steps.len()) {
            (Some(status), true) => steps[index].status = Some(status),
            _ => others += 1,
        }
    }
    if others > 0 {
        draft.note(format!("{others} checks were not carried over: write them under `expect`"));
    }
}

fn k6_options(text: &str, names: &BTreeMap<String, Value>, draft: &mut Draft) {
    let Some(at) = text.find("export const options").or_else(|| text.find("export let options")) else {
        return;
    };
    let Some(open) = text[at..].find('{').map(|o| at + o) else { return };
    let Some((options, _)) = Parser::new(&text[open..], names).value(0) else {
        return draft.note("the options are computed and were left out: write `load` by hand");
    };
    let Some(options) = options else { return draft.note("the options were left out: write `load` by hand") };
    let mut stages = Vec::new();
    for stage in options["stages"].as_array().into_iter().flatten() {
        if let (Some(target), Some(duration)) = (stage["target"].as_u64(), stage["duration"].as_str()) {
            stages.push(format!("  - {{users: {target}, ramp: {duration}}}\n"));
        }
    }
    if stages.is_empty()
        && let (Some(users), Some(duration)) = (options["vus"].as_u64(), options["duration"].as_str())
    {
        stages.push(format!("  - {{users: {users}, for: {duration}}}\n"));
    }
    if !stages.is_empty() {
        let load = format!("load:\n{}", stages.concat());
        // What another tool calls a duration need not be one here.
        let whole = format!("target: http://h\n{load}steps: [GET /]\n");
        match crate::scenario::parse(&whole, "load") {
            Ok(_) => draft.load = load,
            Err(error) => draft.note(format!("the load was not carried over: {}", error.message)),
        }
    }
    if options["scenarios"].is_object() {
        draft.note(
            "`scenarios` of the options were not carried over: write `load`, or a `load` for each journey",
        );
    }
    for (metric, limits) in options["thresholds"].as_object().into_iter().flatten() {
        for limit in limits.as_array().into_iter().flatten().filter_map(Value::as_str) {
            let line = limit.replace(' ', "");
            let bound: String = line.chars().skip_while(|c| !"<>".contains(*c)).collect();
            let statistic = line.split(['<', '>']).next().unwrap_or_default();
            let (sign, number) =
                bound.split_at(bound.find(|c: char| c.is_ascii_digit()).unwrap_or(bound.len()));
            let percentile = statistic.strip_prefix("p(").and_then(|p| p.strip_suffix(')'));
            match (metric.as_str(), percentile, statistic) {
                ("http_req_duration", Some(p), _) => {
                    draft.thresholds.push(format!("latency.p{p} {sign} {number}ms"))
                }
                ("http_req_duration", None, "avg") => {
                    draft.thresholds.push(format!("latency.mean {sign} {number}ms"))
                }
                ("http_req_duration", None, "max") => {
                    draft.thresholds.push(format!("latency.max {sign} {number}ms"))
                }
                ("http_req_failed", _, "rate") => {
                    draft.thresholds.push(format!("error_rate {sign} {number}"))
                }
                _ => draft.note(format!("the threshold {metric}: {limit} was not carried over")),
            }
        }
    }
}

/// Reads a Locust file.
///
/// # Errors
/// When it sends no request that can be read.
pub fn locust(text: &str) -> Result<Draft, String> {
    let text = without_comments(text, "#", false);
    let mut draft = Draft { name: "locust".to_string(), ..Draft::default() };
    let mut names = constants(&text, &[""]);
    names.insert("True".to_string(), true.into());
    names.insert("False".to_string(), false.into());
    names.insert("None".to_string(), Value::Null);
    if let Some(Value::String(host)) = names.get("host") {
        draft.target = Some(host.trim_end_matches('/').to_string());
    }
    let think = wait_time(&text, &mut draft);
    let mut weight: Option<u32> = None;
    let mut journey: Option<(String, u32, Vec<DraftStep>)> = None;
    let mut offset = 0;
    for (index, full) in text.split_inclusive('\n').enumerate() {
        let (line, begin) = (full.trim(), offset);
        offset += full.len();
        if let Some(rest) = line.strip_prefix("@task") {
            let number = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')'));
            weight = Some(number.and_then(|n| n.trim().parse().ok()).unwrap_or(1));
            continue;
        }
        if let Some(rest) = line.strip_prefix("def ").or_else(|| line.strip_prefix("async def ")) {
            if let Some((name, weight, steps)) = journey.take() {
                draft.journeys.push((name, weight, think.clone(), steps));
            }
            let name = rest.split('(').next().unwrap_or_default().trim().to_string();
            match (name.as_str(), weight.take()) {
                ("on_start", _) => journey = Some((name, 1, Vec::new())),
                (_, Some(weight)) => journey = Some((name, weight, Vec::new())),
                _ => {
                    draft.note(format!("line {}: the function {name} is no task and was left out", index + 1))
                }
            }
            continue;
        }
        let Some(call) = full.find("self.client.").map(|at| begin + at + "self.client.".len()) else {
            continue;
        };
        let Some((_, _, steps)) = &mut journey else { continue };
        let rest = &text[call..];
        let Some((method, inside)) = rest.split_once('(') else { continue };
        if !["get", "post", "put", "patch", "delete", "head", "options"].contains(&method) {
            draft.note(format!("line {}: self.client.{} was not carried over", index + 1, short(method)));
            continue;
        }
        match locust_step(method, inside, &names) {
            Some((step, lost)) => {
                for word in lost {
                    draft.note(format!(
                        "line {}: the argument {word} is computed and was left out",
                        index + 1
                    ));
                }
                steps.push(step);
            }
            None => draft.note(format!(
                "line {}: the request is computed and was left out: {}",
                index + 1,
                short(rest)
            )),
        }
    }
    if let Some((name, weight, steps)) = journey.take() {
        draft.journeys.push((name, weight, think, steps));
    }
    for (name, ..) in
        draft.journeys.iter_mut().filter(|j| matches!(j.0.as_str(), "setup" | "teardown" | "on_stop"))
    {
        name.push('_');
    }
    for (_, _, _, steps) in &mut draft.journeys {
        unique(steps);
    }
    Ok(draft)
}

fn wait_time(text: &str, draft: &mut Draft) -> Option<String> {
    let rest = text.split("wait_time").nth(1)?.trim_start().strip_prefix('=')?.trim_start();
    let (function, inside) = rest.split_once('(')?;
    let numbers: Vec<f64> =
        inside.split(')').next()?.split(',').map(str::trim).map(str::parse).collect::<Result<_, _>>().ok()?;
    match (function, numbers.as_slice()) {
        ("between", [low, high]) if low <= high => Some(format!("{low}s..{high}s")),
        ("constant", [length]) => Some(format!("{length}s")),
        (other, _) => {
            draft.note(format!("wait_time = {other}(…) was not carried over: write `think` or `pace`"));
            None
        }
    }
}

/// The step, and the arguments that are computed.
fn locust_step(
    method: &str,
    inside: &str,
    names: &BTreeMap<String, Value>,
) -> Option<(DraftStep, Vec<String>)> {
    let mut parser = Parser::new(inside, names);
    let (mut step, mut lost) =
        (DraftStep { method: method.to_ascii_uppercase(), ..DraftStep::default() }, Vec::new());
    let mut position = 0;
    loop {
        parser.space();
        if parser.eat(')') {
            break;
        }
        let word = parser.keyword();
        let value = parser.value_or_skip(0)?;
        match (word.as_deref(), position, value) {
            (None, 0, Some(Value::String(url))) | (Some("url"), _, Some(Value::String(url))) => {
                step.url = literal_url(&url)
            }
            (None, 0, _) | (Some("url"), ..) => return None,
            (Some("json"), _, Some(value)) => step.body = DraftBody::Json(literal_json(&value)),
            (Some("data") | None, _, Some(Value::Object(fields))) => {
                step.body = DraftBody::Form(fields.iter().map(|(k, v)| (k.clone(), plain(v))).collect());
            }
            (Some("data") | None, _, Some(Value::String(text))) => {
                step.body = DraftBody::Text(literal(&text))
            }
            (Some("headers"), _, Some(value)) => step.headers = headers(&value),
            (Some("name"), _, Some(Value::String(name))) => step.name = Some(name),
            (Some("params"), _, Some(Value::Object(fields))) => {
                let pairs: Vec<String> =
                    fields.iter().map(|(k, v)| format!("{k}={}", literal_url(&plain(v)))).collect();
                step.url = format!("{}?{}", step.url, pairs.join("&"));
            }
            (Some("catch_response" | "verify" | "allow_redirects" | "timeout"), ..) => {}
            (Some(word), ..) => lost.push(word.to_string()),
            (None, ..) => lost.push(format!("{}", position + 1)),
        }
        position += 1;
        parser.space();
        if !parser.eat(',') && !parser.eat(')') {
            return None;
        } else if parser.before() == Some(')') {
            break;
        }
    }
    (!step.url.is_empty()).then_some((step, lost))
}

fn headers(value: &Value) -> Vec<(String, String)> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), plain(v))).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => literal(text),
        other => other.to_string(),
    }
}

fn pause(steps: &mut [DraftStep], seconds: f64) {
    if let Some(last) = steps.last_mut().filter(|_| (0.001..3_600.0).contains(&seconds)) {
        last.think = Some(format!("{}ms", (seconds * 1_000.0) as u64));
    }
}

/// Names must differ: those that were given twice lose them.
fn unique(steps: &mut [DraftStep]) {
    let mut seen: Vec<String> = Vec::new();
    for step in steps {
        match &step.name {
            Some(name) if seen.contains(name) => step.name = None,
            Some(name) => seen.push(name.clone()),
            None => {}
        }
    }
}

fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(60).collect()
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

fn find_any(text: &str, from: usize, words: &[&str]) -> Option<usize> {
    let rest = text.get(from..)?;
    words.iter().filter_map(|w| rest.find(w)).min().map(|at| from + at)
}

/// Comments become spaces, so that lines keep their numbers. Quoted text is left alone.
fn without_comments(text: &str, line_comment: &str, blocks: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut step = c.len_utf8();
        match quote {
            Some(open) => {
                out.push(c);
                if c == '\\' {
                    if let Some(next) = rest[step..].chars().next() {
                        out.push(next);
                        step += next.len_utf8();
                    }
                } else if c == open || c == '\n' && open != '`' {
                    quote = None;
                }
            }
            None if rest.starts_with(line_comment) => {
                step = rest.find('\n').unwrap_or(rest.len());
            }
            None if blocks && rest.starts_with("/*") => {
                step = rest.find("*/").map_or(rest.len(), |at| at + 2);
                out.extend(rest[..step].chars().filter(|c| *c == '\n'));
            }
            None => {
                if matches!(c, '"' | '\'' | '`') {
                    quote = Some(c);
                }
                out.push(c);
            }
        }
        rest = &rest[step..];
    }
    out
}

/// Names that are set to literals.
fn constants(text: &str, keywords: &[&str]) -> BTreeMap<String, Value> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        for keyword in keywords {
            let Some(rest) = line.trim().strip_prefix(keyword) else { continue };
            let Some((name, value)) = rest.split_once('=') else { continue };
            let name = name.trim();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            if let Some((Some(value @ (Value::String(_) | Value::Number(_))), _)) =
                Parser::new(value, &names).value(0)
            {
                names.insert(name.to_string(), value);
            }
        }
    }
    names
}

/// The arguments of a call up to its `)`, those that are literals as values, and how many bytes they take.
fn arguments(inside: &str, names: &BTreeMap<String, Value>) -> Option<(Vec<Option<Value>>, usize)> {
    let mut parser = Parser::new(inside, names);
    let mut all = Vec::new();
    loop {
        parser.space();
        if parser.eat(')') {
            return Some((all, parser.at));
        }
        all.push(parser.value_or_skip(0)?);
        parser.space();
        if parser.eat(')') {
            return Some((all, parser.at));
        }
        if !parser.eat(',') {
            return None;
        }
    }
}

/// Literals of JavaScript and Python: what is neither is skipped to the next comma or bracket.
struct Parser<'a> {
    text: &'a str,
    at: usize,
    names: &'a BTreeMap<String, Value>,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, names: &'a BTreeMap<String, Value>) -> Parser<'a> {
        Parser { text, at: 0, names }
    }

    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn before(&self) -> Option<char> {
        self.text[..self.at].chars().next_back()
    }

    fn space(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn word(&mut self) -> String {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_string()
    }

    /// `name=` before an argument.
    fn keyword(&mut self) -> Option<String> {
        self.space();
        let start = self.at;
        let word = self.word();
        self.space();
        if !word.is_empty() && self.peek() == Some('=') && !self.text[self.at..].starts_with("==") {
            self.at += 1;
            return Some(word);
        }
        self.at = start;
        None
    }

    /// A literal; `None` inside where it is none, and then the place is after it. `None` outside where the text ends.
    fn value_or_skip(&mut self, depth: usize) -> Option<Option<Value>> {
        let start = self.at;
        let read = self.literal(depth);
        self.space();
        match (read, self.peek()) {
            (Some(value), Some(',' | ')' | ']' | '}')) => Some(Some(value)),
            _ => {
                self.at = start;
                self.skip().then_some(None)
            }
        }
    }

    fn value(mut self, depth: usize) -> Option<(Option<Value>, usize)> {
        let value = self.literal(depth);
        Some((value, self.at))
    }

    fn literal(&mut self, depth: usize) -> Option<Value> {
        if depth > MOST_DEPTH {
            return None;
        }
        self.space();
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.list(depth),
            quote @ ('"' | '\'' | '`') => self.quoted(quote).map(Value::String),
            c if c.is_ascii_digit() || c == '-' => {
                let rest = &self.text[self.at + 1..];
                let end = 1 + rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number = &self.text[self.at..self.at + end];
                self.at += end;
                serde_json::from_str(number).ok()
            }
            _ => self.named(depth),
        }
    }

    fn named(&mut self, depth: usize) -> Option<Value> {
        match self.word().as_str() {
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            "null" | "undefined" => Some(Value::Null),
            // An f-string without holes is its text.
            "f" | "r" | "b" if matches!(self.peek(), Some('"' | '\'')) => {
                let quote = self.peek()?;
                self.quoted(quote).map(Value::String)
            }
            "JSON" if self.text[self.at..].starts_with(".stringify(") => {
                self.at += ".stringify(".len();
                let value = self.literal(depth + 1)?;
                self.eat(')').then_some(value)
            }
            name => self.names.get(name).cloned(),
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.eat('{');
        let mut members = Map::new();
        loop {
            if self.eat('}') {
                return Some(Value::Object(members));
            }
            self.space();
            let key = match self.peek()? {
                quote @ ('"' | '\'') => self.quoted(quote)?,
                _ => self.word(),
            };
            if key.is_empty() || !self.eat(':') {
                return None;
            }
            members.insert(key, self.literal(depth + 1)?);
            if !self.eat(',') && self.peek() != Some('}') {
                return None;
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.eat('[');
        let mut items = Vec::new();
        loop {
            if self.eat(']') {
                return Some(Value::Array(items));
            }
            items.push(self.literal(depth + 1)?);
            if !self.eat(',') && self.peek() != Some(']') {
                return None;
            }
        }
    }

    /// A quoted text; `${name}` and `{name}` of known names are filled in, others make it no literal.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let is_format = self.before() == Some('f');
        self.at += quote.len_utf8();
        let mut out = String::new();
        loop {
            let c = self.peek()?;
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Some(out),
                '\\' => {
                    let next = self.peek()?;
                    self.at += next.len_utf8();
                    out.push(match next {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    });
                }
                '$' if quote == '`' && self.peek() == Some('{') => {
                    self.at += 1;
                    out.push_str(&self.hole()?);
                }
                '{' if is_format => out.push_str(&self.hole()?),
                c => out.push(c),
            }
        }
    }

    fn hole(&mut self) -> Option<String> {
        let name = self.word();
        let value = match self.names.get(&name)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.eat('}').then_some(value)
    }

    /// To the next comma or closing bracket of this level.
    fn skip(&mut self) -> bool {
        let mut depth = 0usize;
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' | '`' => {
                    self.at += 1;
                    while let Some(inner) = self.peek() {
                        self.at += inner.len_utf8();
                        if inner == '\\' {
                            self.at += self.peek().map_or(0, char::len_utf8);
                        } else if inner == c {
                            break;
                        }
                    }
                    continue;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => return true,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => return true,
                _ => {}
            }
            self.at += c.len_utf8();
        }
        false
    }
}
