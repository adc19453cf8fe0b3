//! k6 scripts, as far as they are declarative: requests, pauses, checks on a status, values that one answer gave and a later
//! request sends, load. What is computed is listed with its line and not guessed.

use super::draft::as_hole;
use super::draft::{Draft, DraftBody, DraftStep, hole, literal, literal_json, literal_url, name_of, quoted};
use super::literals::{Parser, arguments, constants, without_comments};
use serde_json::Value;
use std::collections::BTreeMap;

/// A script while it is read.
struct Script<'t> {
    text: &'t str,
    names: BTreeMap<String, Value>,
    /// Requests, with their function.
    steps: Vec<(String, DraftStep)>,
    /// Variables that hold an answer, and the request.
    answers: BTreeMap<String, usize>,
    /// Exported functions: where each begins, and its name.
    functions: Vec<(usize, String)>,
    draft: Draft,
}

/// Reads a k6 script.
///
/// # Errors
/// When it sends no request that can be read.
pub fn k6(text: &str) -> Result<Draft, String> {
    let text = without_comments(text, "//", true);
    let names = constants(&text, &["const ", "let ", "var "]);
    let functions = exported(&text);
    let draft = Draft { name: "k6".to_string(), ..Draft::default() };
    let (steps, answers) = (Vec::new(), BTreeMap::new());
    let mut script = Script { text: &text, names, steps, answers, functions, draft };
    let mut at = 0;
    while let Some(found) = find_any(&text, at, &["http.", "sleep(", ".json(", "check("]) {
        at = found + 5;
        let rest = &text[found..];
        let within_word =
            text[..found].ends_with(|c: char| c.is_ascii_alphanumeric() || "_/'\"`".contains(c));
        if rest.starts_with(".json(") {
            script.value(found);
        } else if within_word {
            // The end of another word.
        } else if let Some(inside) = rest.strip_prefix("sleep(") {
            script.sleep(inside, found);
        } else if let Some(inside) = rest.strip_prefix("check(") {
            script.check(inside, found);
        } else {
            at = found + script.call(found).max(5);
        }
    }
    k6_options(&text, &script.names, &mut script.draft);
    instrumented(&text, &script.names, &mut script.draft);
    let Script { mut draft, steps, functions, .. } = script;
    let mut order: Vec<String> = functions.into_iter().map(|(_, name)| name).collect();
    order.insert(0, "main".to_string());
    order.sort_by_key(|name| usize::from(name != "setup"));
    for (n, name) in order.iter().enumerate() {
        if order[..n].contains(name) {
            continue;
        }
        let mut own: Vec<DraftStep> =
            steps.iter().filter(|(f, _)| f == name).map(|(_, s)| s.clone()).collect();
        unique(&mut own);
        draft.journeys.push((name.clone(), 1, None, own));
    }
    Ok(draft)
}

/// Functions that k6 calls by themselves, `default` as `main`.
fn exported(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("export ") {
        let rest = text[at + "export ".len()..].trim_start();
        let (is_default, rest) = match rest.strip_prefix("default") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, rest),
        };
        let rest = rest.strip_prefix("async").unwrap_or(rest).trim_start();
        let name = rest.strip_prefix("function").map(|r| r.split('(').next().unwrap_or_default().trim());
        match (is_default, name) {
            (true, _) => found.push((at, "main".to_string())),
            (false, Some(name)) if !name.is_empty() => found.push((at, name.to_string())),
            _ => {}
        }
    }
    found
}

impl Script<'_> {
    fn function(&self, at: usize) -> String {
        let last = self.functions.iter().rev().find(|(begin, _)| *begin < at);
        last.map_or_else(|| "main".to_string(), |(_, name)| name.clone())
    }

    fn sleep(&mut self, inside: &str, at: usize) {
        let line = line_of(self.text, at);
        let given = arguments(inside, &self.names).and_then(|(a, _)| a.into_iter().next().flatten());
        let range = |text: &str| {
            let (low, high) = text.strip_prefix("pick(")?.strip_suffix(')')?.split_once(", ")?;
            Some(format!("{low}s..{high}s"))
        };
        let last = self.steps.last_mut().map(|(_, step)| step);
        match (given, last) {
            (_, None) => {}
            (Some(Value::Number(seconds)), Some(step)) => {
                pause(std::slice::from_mut(step), seconds.as_f64().unwrap_or_default());
            }
            (Some(Value::String(text)), Some(step)) if as_hole(&text).and_then(range).is_some() => {
                step.think = as_hole(&text).and_then(range);
            }
            _ => self.draft.note(format!("line {line}: the pause is computed: write think: 1s..3s")),
        }
    }

    /// A call of `http`; how many bytes it takes.
    fn call(&mut self, found: usize) -> usize {
        let line = line_of(self.text, found);
        let rest = &self.text[found..];
        let Some((method, inside)) = rest["http.".len()..].split_once('(') else { return 0 };
        let is_name = method.len() < 16 && method.bytes().all(|b| b.is_ascii_alphanumeric());
        let known = match method {
            "get" | "post" | "put" | "patch" | "head" | "options" => method.to_ascii_uppercase(),
            "del" => "DELETE".to_string(),
            "request" | "asyncRequest" | "batch" => String::new(),
            other if is_name => {
                self.draft.note(format!("line {line}: http.{other} was not carried over"));
                return 0;
            }
            _ => return 0,
        };
        let Some((mut given, used)) = arguments(inside, &self.names) else {
            self.draft.note(format!("line {line}: the arguments of http.{method} could not be read"));
            return 0;
        };
        if method == "batch" {
            self.batch(given.into_iter().next().flatten(), found);
            return "http.".len() + used;
        }
        let mut known = known;
        if known.is_empty() {
            let Some(Some(Value::String(method))) = given.first() else {
                self.draft.note(format!("line {line}: the method is computed and the request was left out"));
                return 0;
            };
            known = method.to_ascii_uppercase();
            given.remove(0);
        } else if matches!(known.as_str(), "GET" | "HEAD" | "OPTIONS") {
            given.insert(1.min(given.len()), Some(Value::Null));
        }
        let is_json = inside[..used.min(inside.len())].contains("JSON.stringify");
        let assigned = assigned_name(&self.text[..found]);
        if self.request(known, given, is_json, found)
            && let Some(name) = assigned
        {
            self.answers.insert(name, self.steps.len() - 1);
        }
        "http.".len() + used
    }

    /// Requests that k6 sends at once.
    fn batch(&mut self, list: Option<Value>, at: usize) {
        let line = line_of(self.text, at);
        let items: Vec<Value> = match list {
            Some(Value::Array(items)) => items,
            Some(Value::Object(items)) => items.into_iter().map(|(_, item)| item).collect(),
            _ => {
                return self
                    .draft
                    .note(format!("line {line}: http.batch was not carried over: its list is computed"));
            }
        };
        for item in items {
            let mut given: Vec<Option<Value>> = match item {
                Value::String(url) => vec![Some("GET".into()), Some(url.into())],
                Value::Array(parts) => parts.into_iter().map(Some).collect(),
                item => {
                    ["method", "url", "body", "params"].iter().map(|key| Some(item[*key].clone())).collect()
                }
            };
            let method = match given.is_empty() {
                true => None,
                false => given.remove(0).and_then(|m| m.as_str().map(str::to_ascii_uppercase)),
            };
            self.request(method.unwrap_or_else(|| "GET".to_string()), given, false, at);
        }
        self.draft.note(format!("line {line}: the requests of http.batch are sent one after the other"));
    }

    /// A request: its URL, body and parameters. Whether it could be read.
    fn request(&mut self, method: String, given: Vec<Option<Value>>, is_json: bool, at: usize) -> bool {
        let line = line_of(self.text, at);
        let Some(Some(Value::String(url))) = given.first() else {
            self.draft.note(format!(
                "line {line}: the URL is computed and the request was left out: {}",
                short(&self.text[at..])
            ));
            return false;
        };
        let mut step = DraftStep { method, url: literal_url(url), ..DraftStep::default() };
        match given.get(2) {
            Some(Some(parameters)) => {
                step.headers = headers(&parameters["headers"]);
                step.name = parameters["tags"]["name"].as_str().map(str::to_string);
            }
            Some(None) => {
                self.draft
                    .note(format!("line {line}: the request's parameters are computed and were left out"));
            }
            None => {}
        }
        match given.get(1) {
            Some(Some(Value::Object(fields))) if !is_json => {
                step.body = DraftBody::Form(fields.iter().map(|(k, v)| (k.clone(), plain(v))).collect());
            }
            Some(Some(value @ (Value::Object(_) | Value::Array(_)))) => {
                step.body = DraftBody::Json(literal_json(value));
            }
            Some(Some(Value::String(text))) => step.body = DraftBody::Text(literal(text)),
            Some(Some(Value::Null)) | None => {}
            _ => self.draft.note(format!("line {line}: the body is computed and was left out")),
        }
        self.steps.push((self.function(at), step));
        true
    }

    /// `r.status === 200` is the one check that needs no script.
    fn check(&mut self, inside: &str, at: usize) {
        let line = line_of(self.text, at);
        let mut parser = Parser::new(inside, &self.names);
        parser.space();
        let of = parser.word();
        let end = closing(inside);
        let tests = &inside[..end];
        let status = tests.split(".status").nth(1).and_then(|rest| {
            let digits = rest.trim_start_matches([' ', '=']);
            digits[..digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())].parse::<u16>().ok()
        });
        let others =
            tests.matches("=>").count() - usize::from(status.is_some()).min(tests.matches("=>").count());
        if others > 0 {
            self.draft.note(format!(
                "line {line}: {others} checks were not carried over: write them under `expect`"
            ));
        }
        let step = match self.answers.get(&of) {
            Some(index) => self.steps.get_mut(*index),
            None => self.steps.last_mut(),
        };
        if let Some((_, step)) = step.filter(|_| status.is_some()) {
            step.status = status;
        }
    }

    /// `const token = res.json('access_token')`, `res.json().access_token`, `{ token: res.json('token') }`.
    fn value(&mut self, at: usize) {
        let before = &self.text[..at];
        let of_len = before.len()
            - before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$').len();
        let (before, of) = before.split_at(before.len() - of_len);
        let Some(step) = self.answers.get(of).copied() else { return };
        let Some(name) = assigned_name(before).or_else(|| key_before(before)) else { return };
        let Some(path) = path_after(&self.text[at + ".json(".len()..]) else { return };
        let variable = name_of(&name);
        let function = self.function(at);
        if let Some((_, step)) = self.steps.get_mut(step) {
            if !step.extract.iter().any(|(known, _)| *known == variable) {
                step.extract.push((variable.clone(), quoted(&path)));
            }
            if function == "setup" {
                self.names.insert(format!("data.{name}"), hole(&variable).into());
            }
            self.names.insert(name, hole(&variable).into());
        }
    }
}

/// `name = ` right before a place.
fn assigned_name(before: &str) -> Option<String> {
    let rest = before.trim_end().strip_suffix('=')?.trim_end();
    let name = rest.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$').next()?;
    (!name.is_empty()).then(|| name.to_string())
}

/// `name: ` right before a place.
fn key_before(before: &str) -> Option<String> {
    let rest = before.trim_end().strip_suffix(':')?.trim_end();
    let name = rest.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '_').next()?;
    (!name.is_empty()).then(|| name.to_string())
}

/// The JSONPath of `'a.b.0')` or `).a.b[0];`.
pub fn path_after(text: &str) -> Option<String> {
    let mut path = "$".to_string();
    if let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) {
        for part in text[1..].split(quote).next()?.split('.') {
            push_part(&mut path, part)?;
        }
        return Some(path);
    }
    let mut rest = text.strip_prefix(')')?;
    while let Some(inside) = rest.strip_prefix('.').or_else(|| rest.strip_prefix('[')) {
        let inside = inside.trim_start_matches(['"', '\'']);
        let end = inside.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inside.len());
        push_part(&mut path, &inside[..end])?;
        rest = inside[end..].trim_start_matches(['"', '\'', ']']);
    }
    // A method is no member.
    (path.len() > 1 && !rest.starts_with('(')).then_some(path)
}

fn push_part(path: &mut String, part: &str) -> Option<()> {
    let simple = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match part.parse::<u32>() {
        _ if !simple => return None,
        Ok(index) => path.push_str(&format!("[{index}]")),
        Err(_) => path.push_str(&format!(".{part}")),
    }
    Some(())
}

/// Where the bracket closes that is open at the beginning.
fn closing(inside: &str) -> usize {
    let (mut depth, mut quote) = (0usize, None);
    for (at, c) in inside.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'' | '`') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') if depth == 0 => return at,
            (None, ')') => depth -= 1,
            _ => {}
        }
    }
    inside.len()
}

/// The stages of one of k6's executors.
fn executor(scenario: &Value) -> Option<Vec<String>> {
    let text = |key: &str| scenario[key].as_str();
    let number = |value: &Value| value.as_u64();
    // Arrivals are counted per `timeUnit`, a second where it is not given.
    let per = match text("timeUnit")
        .map_or(Ok(crate::record::Nanos::from_millis(1_000)), crate::scenario::quantity::duration)
    {
        Ok(unit) if unit.0 > 0 => unit.0 as f64 / 1e9,
        _ => return None,
    };
    let rate = |count: u64| format!("{}/s", (count as f64 / per * 1e6).round() / 1e6);
    let ramps = |unit: &dyn Fn(u64) -> String, key: &str| -> Option<Vec<String>> {
        let mut stages = Vec::new();
        for stage in scenario["stages"].as_array()? {
            let (target, length) = (stage["target"].as_u64()?, stage["duration"].as_str()?);
            stages.push(format!("{{{key}: {}, ramp: {length}}}", unit(target)));
        }
        Some(stages)
    };
    match text("executor")? {
        "constant-vus" => Some(vec![format!(
            "{{users: {}, for: {}}}",
            number(&scenario["vus"]).unwrap_or(1),
            text("duration")?
        )]),
        "ramping-vus" => ramps(&|n| n.to_string(), "users"),
        "constant-arrival-rate" => {
            Some(vec![format!("{{rate: {}, for: {}}}", rate(number(&scenario["rate"])?), text("duration")?)])
        }
        "ramping-arrival-rate" => ramps(&rate, "rate"),
        _ => None,
    }
}

/// One load is everybody's; several are of their journeys.
fn carry_loads(loads: Vec<(String, String, Vec<String>)>, draft: &mut Draft) {
    let single = loads.len() == 1;
    for (name, journey, stages) in loads {
        let whole = format!("target: http://h\nload: [{}]\nsteps: [GET /]\n", stages.join(", "));
        if let Err(error) = crate::scenario::parse(&whole, "load") {
            draft.note(format!("the load of {name} was not carried over: {}", error.message));
        } else if single {
            draft.load =
                format!("load:\n{}", stages.iter().map(|s| format!("  - {s}\n")).collect::<String>());
        } else {
            let line = format!("load: [{}]", stages.join(", "));
            let lines = draft.lines.entry(journey).or_default();
            match lines.is_empty() {
                true => lines.push(line),
                false => draft
                    .note(format!("the scenario {name} is a second load of its function and was left out")),
            }
        }
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
    let (mut stages, mut loads) = (Vec::new(), Vec::new());
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
    for (name, scenario) in options["scenarios"].as_object().into_iter().flatten() {
        match executor(scenario) {
            Some(stages) => {
                let journey = scenario["exec"].as_str().unwrap_or("main");
                let journey = if journey == "default" { "main" } else { journey };
                loads.push((name.clone(), journey.to_string(), stages));
            }
            None => {
                draft.note(format!("the scenario {name} of the options was not carried over: write `load`"))
            }
        }
    }
    carry_loads(loads, draft);
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

/// `instrumentHTTP({propagator: 'jaeger', sampling: 0.1})` of Tempo's library and of k6's own. W3C's headers go with every
/// request, whatever a script asks for.
fn instrumented(text: &str, names: &BTreeMap<String, Value>, draft: &mut Draft) {
    const CALL: &str = "instrumentHTTP(";
    let Some(at) = text.find(CALL) else { return };
    let line = line_of(text, at);
    let given = arguments(&text[at + CALL.len()..], names).and_then(|(given, _)| given.into_iter().next());
    let Some(Some(Value::Object(given))) = given else {
        return draft.note(format!("line {line}: how requests are traced is computed: write `trace`"));
    };
    let mut keys = Vec::new();
    match given.get("propagator").and_then(Value::as_str) {
        None | Some("w3c") => {}
        Some(name) => match crate::scenario::parse_propagator(name) {
            Ok(propagator) => keys.push(format!("propagate: [tracecontext, {}]", propagator.name())),
            Err(_) => draft.note(format!("line {line}: the propagator {name} was not carried over")),
        },
    }
    match given.get("sampling").map(Value::as_f64) {
        None | Some(Some(1.0)) => {}
        Some(Some(share)) if (0.0..1.0).contains(&share) => keys.push(format!("sample: {share}")),
        Some(_) => draft.note(format!("line {line}: the sampling was not carried over: write `trace`")),
    }
    if !keys.is_empty() {
        draft.options.insert("trace", format!("{{{}}}", keys.join(", ")));
    }
}

/// Headers of an object.
pub fn headers(value: &Value) -> Vec<(String, String)> {
    value.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), plain(v))).collect()
}

/// A value as a text that means itself.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => literal(text),
        other => other.to_string(),
    }
}

/// A pause after the last step.
pub fn pause(steps: &mut [DraftStep], seconds: f64) {
    if let Some(last) = steps.last_mut().filter(|_| (0.001..3_600.0).contains(&seconds)) {
        last.think = Some(format!("{}ms", (seconds * 1_000.0) as u64));
    }
}

/// Names must differ: those that were given twice lose them.
pub fn unique(steps: &mut [DraftStep]) {
    let mut seen: Vec<String> = Vec::new();
    for step in steps {
        match &step.name {
            Some(name) if seen.contains(name) => step.name = None,
            Some(name) => seen.push(name.clone()),
            None => {}
        }
    }
}

/// The beginning of a line.
pub fn short(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(60).collect()
}

/// The line of a place, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The next place of any of these words.
pub fn find_any(text: &str, from: usize, words: &[&str]) -> Option<usize> {
    let rest = text.get(from..)?;
    words.iter().filter_map(|w| rest.find(w)).min().map(|at| from + at)
}
