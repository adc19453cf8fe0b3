//! Locust files, as far as they are declarative: tasks with their weights, requests with literal arguments, what every user does
//! first and last, pauses. What is computed is listed with its line and not guessed.

use super::draft::{Draft, DraftBody, DraftStep, hole, literal, literal_json, literal_url, name_of, quoted};
use super::k6::{headers, path_after, plain, short, unique};
use super::literals::{Parser, constants, without_comments};
use serde_json::Value;
use std::collections::BTreeMap;

/// A file while it is read.
struct File<'t> {
    text: &'t str,
    names: BTreeMap<String, Value>,
    think: Option<String>,
    pace: Option<String>,
    weight: Option<u32>,
    /// The task that is read.
    journey: Option<(String, u32, Vec<DraftStep>)>,
    /// The variable of the last answer, as far as it has one.
    answer: Option<String>,
    /// Whether the tasks of this class are walked in order.
    in_order: Option<String>,
    /// Headers that the client was given for all of its requests.
    headers: Vec<(String, String)>,
    draft: Draft,
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
    let (think, pace) = wait_time(&text, &mut draft);
    let mut file = File {
        text: &text,
        names,
        think,
        pace,
        weight: None,
        journey: None,
        answer: None,
        in_order: None,
        headers: Vec::new(),
        draft,
    };
    let mut offset = 0;
    for (index, full) in text.split_inclusive('\n').enumerate() {
        file.line(index + 1, full, offset);
        offset += full.len();
    }
    file.finish()
}

impl File<'_> {
    fn line(&mut self, number: usize, full: &str, begin: usize) {
        let line = full.trim();
        if let Some(rest) = line.strip_prefix("@task") {
            let given = rest.strip_prefix('(').and_then(|r| r.strip_suffix(')'));
            self.weight = Some(given.and_then(|n| n.trim().parse().ok()).unwrap_or(1));
            return;
        }
        if let Some(rest) = line.strip_prefix("class ") {
            self.end_of_task();
            let name = rest.split(['(', ':']).next().unwrap_or_default().trim();
            self.in_order = rest.contains("SequentialTaskSet").then(|| name.to_string());
            return;
        }
        if let Some(rest) = line.strip_prefix("def ").or_else(|| line.strip_prefix("async def ")) {
            return self.function(number, rest);
        }
        self.taken(line);
        if line.contains("client.headers") {
            self.client_headers(number, line);
        }
        let Some(call) = full.find("self.client.").map(|at| begin + at + "self.client.".len()) else {
            return;
        };
        let Some((name, _, _)) = &self.journey else { return };
        let is_start = name == "on_start";
        let rest = &self.text[call..];
        let Some((method, inside)) = rest.split_once('(') else { return };
        if method.starts_with("headers") {
            return;
        }
        if !["get", "post", "put", "patch", "delete", "head", "options"].contains(&method) {
            return self
                .draft
                .note(format!("line {number}: self.client.{} was not carried over", short(method)));
        }
        let Some((mut step, lost)) = locust_step(method, inside, &self.names) else {
            return self
                .draft
                .note(format!("line {number}: the request is computed and was left out: {}", short(rest)));
        };
        for word in lost {
            self.draft.note(format!("line {number}: the argument {word} is computed and was left out"));
        }
        if is_start {
            step.headers.extend(self.headers.iter().cloned());
        }
        if let Some((_, _, steps)) = &mut self.journey {
            steps.push(step);
        }
        // `r = self.client.…` and `with self.client.… as r:`
        let named = line.split_once(" = ").map(|(name, _)| name.trim());
        let with = line.rsplit_once(" as ").map(|(_, name)| name.trim_end_matches(':').trim());
        let name = if line.starts_with("with ") { with.or(Some("response")) } else { named };
        self.answer = name.map(str::to_string);
    }

    fn function(&mut self, number: usize, rest: &str) {
        let name = rest.split('(').next().unwrap_or_default().trim().to_string();
        let weight = self.weight.take();
        if let (Some(_), Some(class), Some((current, ..))) = (weight, &self.in_order, &self.journey)
            && current == class
        {
            return;
        }
        self.end_of_task();
        match (name.as_str(), weight) {
            ("on_start" | "on_stop", _) => self.journey = Some((name, 1, Vec::new())),
            (_, Some(weight)) => {
                self.journey = Some((self.in_order.clone().unwrap_or(name), weight, Vec::new()));
            }
            _ => self.draft.note(format!("line {number}: the function {name} is no task and was left out")),
        }
    }

    fn end_of_task(&mut self) {
        self.answer = None;
        if let Some((name, weight, steps)) = self.journey.take() {
            self.draft.journeys.push((name, weight, self.think.clone(), steps));
        }
    }

    /// `self.token = r.json()["token"]`
    fn taken(&mut self, line: &str) {
        let Some((name, value)) = line.split_once(" = ") else { return };
        let Some(place) = value.find(".json()") else { return };
        let of = value[..place].trim();
        if self.answer.as_deref() != Some(of) {
            return;
        }
        let Some(path) = path_after(&value[place + ".json(".len()..]) else { return };
        let variable = name_of(name.trim_start_matches("self."));
        if let Some(step) = self.journey.as_mut().and_then(|(_, _, steps)| steps.last_mut()) {
            step.extract.push((variable.clone(), quoted(&path)));
            self.names.insert(name.trim().to_string(), hole(&variable).into());
        }
    }

    /// `self.client.headers.update({…})`, `self.client.headers["X"] = …`, `self.client.headers = {…}`
    fn client_headers(&mut self, number: usize, line: &str) {
        let rest = line.split("client.headers").nth(1).unwrap_or_default().trim_start();
        let given = if let Some(inside) = rest.strip_prefix(".update(").or_else(|| rest.strip_prefix("= ")) {
            Parser::new(inside, &self.names).value(0).and_then(|(value, _)| value).map(|v| headers(&v))
        } else if let Some((key, value)) = rest.split_once("] = ") {
            let name = key.trim_start_matches('[').trim_matches(['"', '\'']).to_string();
            let value = Parser::new(value, &self.names).value(0).and_then(|(value, _)| value);
            value.map(|value| vec![(name, plain(&value))])
        } else {
            None
        };
        match given {
            Some(given) => self.headers.extend(given),
            None => {
                self.draft.note(format!("line {number}: the client's headers are computed and were left out"))
            }
        }
    }

    fn finish(mut self) -> Result<Draft, String> {
        self.end_of_task();
        let mut draft = self.draft;
        for (name, ..) in draft.journeys.iter_mut().filter(|j| matches!(j.0.as_str(), "setup" | "teardown")) {
            name.push('_');
        }
        for (name, _, _, steps) in &mut draft.journeys {
            unique(steps);
            if name != "on_start" {
                steps.iter_mut().for_each(|step| step.headers.extend(self.headers.iter().cloned()));
            }
            if let Some(pace) = self.pace.as_ref().filter(|_| !name.starts_with("on_")) {
                draft.lines.insert(name.clone(), vec![format!("pace: {pace}")]);
            }
        }
        merge_alike(&mut draft);
        Ok(draft)
    }
}

/// Tasks of several classes can have one name: journeys cannot.
fn merge_alike(draft: &mut Draft) {
    let mut seen: Vec<String> = Vec::new();
    for index in 0..draft.journeys.len() {
        let name = draft.journeys[index].0.clone();
        if !seen.contains(&name) {
            seen.push(name);
            continue;
        }
        if name == "on_start" || name == "on_stop" {
            draft.note(format!("several classes have {name}: the first was kept"));
            draft.journeys[index].3.clear();
            continue;
        }
        let free = (2..10_000).map(|n| format!("{name}_{n}")).find(|n| !seen.contains(n)).unwrap_or(name);
        seen.push(free.clone());
        draft.journeys[index].0 = free;
    }
}

/// Pause and pace.
fn wait_time(text: &str, draft: &mut Draft) -> (Option<String>, Option<String>) {
    let given = || -> Option<(&str, Vec<f64>)> {
        let rest = text.split("wait_time").nth(1)?.trim_start().strip_prefix('=')?.trim_start();
        let (function, inside) = rest.split_once('(')?;
        let numbers = inside.split(')').next()?.split(',').map(str::trim).map(str::parse);
        Some((function, numbers.collect::<Result<_, _>>().ok()?))
    };
    match given() {
        None => (None, None),
        Some(("between", numbers)) if numbers.len() == 2 && numbers[0] <= numbers[1] => {
            (Some(format!("{}s..{}s", numbers[0], numbers[1])), None)
        }
        Some(("constant", numbers)) if numbers.len() == 1 => (Some(format!("{}s", numbers[0])), None),
        Some(("constant_pacing", numbers)) if numbers.len() == 1 => (None, Some(format!("{}s", numbers[0]))),
        Some(("constant_throughput", numbers)) if numbers.len() == 1 && numbers[0] > 0.0 => {
            (None, Some(format!("{}s", 1.0 / numbers[0])))
        }
        Some((other, _)) => {
            draft.note(format!("wait_time = {other}(…) was not carried over: write `think` or `pace`"));
            (None, None)
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
            (Some("auth"), _, Some(Value::Array(pair))) if pair.len() == 2 => {
                let pair = format!("{}:{}", plain(&pair[0]), plain(&pair[1]));
                let token = crate::scenario::base64(pair.as_bytes());
                step.headers.push(("authorization".to_string(), format!("Basic {token}")));
            }
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
