//! A Postman collection (version 2.0 and 2.1).

use super::draft::{Draft, DraftBody, DraftStep, name_of};
use crate::scenario::mask::is_secret;
use serde_json::Value;

/// Folders within folders.
const MOST_DEPTH: usize = 32;

/// Reads it.
///
/// # Errors
/// When it is no collection.
pub fn read(text: &str) -> Result<Draft, String> {
    let document: Value =
        serde_json::from_str(text).map_err(|e| format!("it is no Postman collection: {e}"))?;
    let collection = if document["collection"].is_object() { &document["collection"] } else { &document };
    let items = collection["item"].as_array().ok_or("it is no Postman collection: it has no `item`")?;
    let mut draft = Draft {
        name: collection["info"]["name"].as_str().unwrap_or("collection").to_string(),
        ..Draft::default()
    };
    for variable in collection["variable"].as_array().into_iter().flatten() {
        let key = variable["key"].as_str().unwrap_or_default();
        let value = variable["value"].as_str().unwrap_or_default();
        if is_secret(key) {
            draft.secrets.push(name_of(key));
        } else if !key.is_empty() {
            draft.vars.push((name_of(key), super::literal(value)));
        }
    }
    if !collection["event"].is_null() {
        draft.note("the collection's scripts were not carried over");
    }
    // What a script takes from an answer is neither set nor secret.
    let mut taken = Vec::new();
    taken_by_scripts(items, &mut taken, 0);
    let taken: Vec<String> = taken.into_iter().map(|(name, _)| name_of(&name)).collect();
    draft.secrets.retain(|name| !taken.contains(name));
    draft.vars.retain(|(name, _)| !taken.contains(name));
    draft.taken = taken;
    let mut steps = Vec::new();
    folder(items, &collection["auth"], &mut draft, &mut steps, 0);
    // A host that is a variable becomes the target.
    if let Some(start) = steps.first().map(|s: &DraftStep| s.url.clone())
        && let Some(name) = start.strip_prefix("{{ ").and_then(|r| r.split(" }}").next()).map(str::to_string)
        && let Some((_, value)) = draft.vars.iter().find(|(n, _)| *n == name).cloned()
    {
        let base = value.trim_end_matches('/').to_string();
        for step in &mut steps {
            if let Some(rest) = step.url.strip_prefix(&format!("{{{{ {name} }}}}")) {
                step.url = format!("{base}{rest}");
            }
        }
        if !steps.iter().any(|step| format!("{step:?}").contains(&format!("{{{{ {name} }}}}"))) {
            draft.vars.retain(|(known, _)| *known != name);
        }
        draft.target = super::draft::origin(&base).map(|_| base.clone());
    }
    draft.journeys.push(("collection".to_string(), 1, None, steps));
    Ok(draft)
}

fn folder(items: &[Value], auth: &Value, draft: &mut Draft, steps: &mut Vec<DraftStep>, depth: usize) {
    if depth > MOST_DEPTH {
        return draft.note("folders nested too deeply were left out");
    }
    for item in items {
        let auth = if item["auth"].is_object() { &item["auth"] } else { auth };
        let name = item["name"].as_str().unwrap_or_default();
        let mut step = match item["item"].as_array() {
            Some(items) => {
                folder(items, auth, draft, steps, depth + 1);
                continue;
            }
            None => request(item, auth, name, draft, steps),
        };
        let script = script(item, "test");
        for (name, path) in values_taken(&script) {
            step.extract.push((name_of(&name), super::draft::quoted(&path)));
        }
        step.status = status_wanted(&script);
        let statements = |script: &str| script.lines().any(|line| !line.trim().is_empty());
        if statements(&script) || statements(&self::script(item, "prerequest")) {
            draft.note(format!(
                "the scripts of {name:?} were carried over as far as they take values from the answer or check the status"
            ));
        }
        steps.push(step);
    }
}

/// The lines of a request's script.
fn script(item: &Value, kind: &str) -> String {
    let events = item["event"].as_array().into_iter().flatten().filter(|e| e["listen"] == kind);
    let lines = events.flat_map(|event| match &event["script"]["exec"] {
        Value::String(text) => vec![text.clone()],
        lines => {
            lines.as_array().into_iter().flatten().filter_map(|l| l.as_str().map(str::to_string)).collect()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn taken_by_scripts(items: &[Value], taken: &mut Vec<(String, String)>, depth: usize) {
    for item in items.iter().filter(|_| depth <= MOST_DEPTH) {
        taken.extend(values_taken(&script(item, "test")));
        if let Some(items) = item["item"].as_array() {
            taken_by_scripts(items, taken, depth + 1);
        }
    }
}

/// `pm.environment.set("token", pm.response.json().token)`, also by way of a variable that holds the answer.
fn values_taken(script: &str) -> Vec<(String, String)> {
    let mut answers = vec!["pm.response.json()".to_string(), "JSON.parse(responseBody)".to_string()];
    for line in script.lines() {
        if let Some((name, value)) = line.split_once('=')
            && answers.iter().take(2).any(|a| value.trim().trim_end_matches(';') == a)
        {
            let name = name.trim().rsplit(' ').next().unwrap_or_default();
            answers.push(name.to_string());
        }
    }
    let mut found = Vec::new();
    let calls = script.match_indices(".set(").chain(script.match_indices("Variable("));
    for (at, word) in calls {
        let inside = script[at + word.len()..].trim_start();
        let Some(quote) = inside.chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        let Some((name, rest)) = inside[1..].split_once(quote) else { continue };
        let value = rest.trim_start().trim_start_matches(',').trim_start();
        let Some(rest) = answers.iter().find_map(|answer| value.strip_prefix(answer.as_str())) else {
            continue;
        };
        if let Some(path) = super::k6::path_after(&format!("){rest}")) {
            found.push((name.to_string(), path));
        }
    }
    found
}

/// `pm.response.to.have.status(201)`, `pm.expect(pm.response.code).to.equal(201)`.
fn status_wanted(script: &str) -> Option<u16> {
    let after = ["to.have.status(", "pm.response.code).to.equal(", "pm.response.code).to.eql("];
    let rest = after.iter().find_map(|word| script.split(word).nth(1))?;
    rest.split(')').next()?.trim().parse().ok()
}

fn request(item: &Value, auth: &Value, name: &str, draft: &mut Draft, before: &[DraftStep]) -> DraftStep {
    let request = &item["request"];
    let raw =
        request["url"]["raw"].as_str().or(request["url"].as_str()).or(request.as_str()).unwrap_or_default();
    let mut url = template(raw.split('#').next().unwrap_or_default(), draft);
    for variable in request["url"]["variable"].as_array().into_iter().flatten() {
        // `/users/:id`
        if let Some(key) = variable["key"].as_str() {
            let value = template(variable["value"].as_str().unwrap_or_default(), draft);
            url = url.replace(&format!("/:{key}"), &format!("/{value}"));
        }
    }
    if !url.starts_with("http") && !url.starts_with("{{") && !url.starts_with('/') {
        url.insert_str(0, "http://");
    }
    let taken = before.iter().filter(|s| s.name.as_deref() == Some(name)).count();
    let mut step = DraftStep {
        name: (!name.is_empty())
            .then(|| if taken > 0 { format!("{name} ({})", taken + 1) } else { name.to_string() }),
        method: request["method"].as_str().unwrap_or("GET").to_ascii_uppercase(),
        url: url.replace(' ', "%20").replace("{{%20", "{{ ").replace("%20}}", " }}"),
        ..DraftStep::default()
    };
    for header in request["header"].as_array().into_iter().flatten().filter(|h| h["disabled"] != true) {
        let (Some(key), Some(value)) = (header["key"].as_str(), header["value"].as_str()) else { continue };
        step.headers.push((key.to_string(), template(value, draft)));
    }
    let auth = if request["auth"].is_object() { &request["auth"] } else { auth };
    authorize(&mut step, auth, draft);
    step.body = body(&request["body"], draft, name, &mut step);
    step
}

fn body(body: &Value, draft: &mut Draft, name: &str, step: &mut DraftStep) -> DraftBody {
    let fields = |list: &Value, draft: &mut Draft| -> Vec<(String, String)> {
        let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .filter(|f| f["disabled"] != true)
            .filter_map(|f| {
                let key = f["key"].as_str()?.to_string();
                let file = f["src"].as_str().map(|src| format!("@{src}"));
                Some((key, file.unwrap_or_else(|| template(f["value"].as_str().unwrap_or_default(), draft))))
            })
            .collect()
    };
    match body["mode"].as_str().unwrap_or_default() {
        "raw" => {
            let says_json = body["options"]["raw"]["language"] == "json";
            let text = template(body["raw"].as_str().unwrap_or_default(), draft);
            match serde_json::from_str::<Value>(&text) {
                Ok(value) if value.is_object() || value.is_array() => DraftBody::Json(value),
                _ => {
                    // Postman says so by itself.
                    if says_json && !step.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("content-type"))
                    {
                        step.headers.push(("content-type".to_string(), "application/json".to_string()));
                    }
                    DraftBody::Text(text)
                }
            }
        }
        "urlencoded" => DraftBody::Form(fields(&body["urlencoded"], draft)),
        "formdata" => DraftBody::Multipart(fields(&body["formdata"], draft)),
        "graphql" => {
            let query = super::literal(body["graphql"]["query"].as_str().unwrap_or_default());
            let variables = body["graphql"]["variables"].as_str().unwrap_or("{}");
            let variables =
                serde_json::from_str(&template(variables, draft)).unwrap_or_else(|_| serde_json::json!({}));
            DraftBody::Json(serde_json::json!({"query": query, "variables": variables}))
        }
        "" => DraftBody::Empty,
        other => {
            draft.note(format!("the body of {name:?} is of the kind {other} and was left out"));
            DraftBody::Empty
        }
    }
}

fn authorize(step: &mut DraftStep, auth: &Value, draft: &mut Draft) {
    let kind = auth["type"].as_str().unwrap_or("noauth");
    let member = |key: &str| -> Option<String> {
        let list = &auth[kind];
        let found = list.as_array().and_then(|l| l.iter().find(|e| e["key"] == key)).map(|e| &e["value"]);
        found.or_else(|| list.get(key)).and_then(Value::as_str).map(str::to_string)
    };
    match kind {
        "noauth" | "inherit" => {}
        "bearer" => {
            let token = member("token").map(|t| template(&t, draft)).unwrap_or_default();
            step.headers.push(("authorization".to_string(), format!("Bearer {token}")));
        }
        "basic" => {
            let (user, password) =
                (member("username").unwrap_or_default(), member("password").unwrap_or_default());
            let made = match (expression(&user, draft), expression(&password, draft)) {
                // Neither is a variable.
                (None, None) => crate::scenario::base64(format!("{user}:{password}").as_bytes()),
                (a, b) => {
                    let text = |given: Option<String>, plain: &str| {
                        given.unwrap_or_else(|| format!("'{}'", plain.replace(['\'', '{', '}'], "")))
                    };
                    super::draft::hole(&format!(
                        "({} + ':' + {}) | base64",
                        text(a, &user),
                        text(b, &password)
                    ))
                }
            };
            step.headers.push(("authorization".to_string(), format!("Basic {made}")));
        }
        "apikey" if member("in").as_deref() == Some("query") => {
            let value = member("value").map(|v| template(&v, draft)).unwrap_or_default();
            let separator = if step.url.contains('?') { '&' } else { '?' };
            step.url = format!("{}{separator}{}={value}", step.url, member("key").unwrap_or_default());
        }
        "apikey" => {
            let value = member("value").map(|v| template(&v, draft)).unwrap_or_default();
            step.headers.push((member("key").unwrap_or_else(|| "x-api-key".to_string()), value));
        }
        other => draft.note(format!("authorization of the kind {other} was not carried over")),
    }
}

/// The expression of a text that is one variable.
fn expression(text: &str, draft: &mut Draft) -> Option<String> {
    let whole = text.trim();
    let one = whole.starts_with("{{") && whole.ends_with("}}") && whole.matches("{{").count() == 1;
    one.then(|| template(whole, draft).replace("{{ ", "").replace(" }}", ""))
}

/// Postman's `{{name}}` as ours. A variable that the collection does not set is one to be set.
fn template(text: &str, draft: &mut Draft) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        out.push_str(&rest[..open]);
        let Some(close) = rest[open..].find("}}") else {
            out.push_str(&super::literal(&rest[open..]));
            return out;
        };
        let name = rest[open + 2..open + close].trim();
        rest = &rest[open + close + 2..];
        let ours = match name {
            "$guid" | "$randomUUID" => "uuid()".to_string(),
            "$timestamp" => "(now() / 1000) | int".to_string(),
            "$randomInt" => "pick(0, 1000)".to_string(),
            "$randomEmail" => "fake.email".to_string(),
            "$randomFullName" => "fake.name".to_string(),
            "$randomFirstName" => "fake.first_name".to_string(),
            "$randomLastName" => "fake.last_name".to_string(),
            "$randomCity" => "fake.city".to_string(),
            "$randomWord" => "fake.word".to_string(),
            dynamic if dynamic.starts_with('$') => {
                draft.note(format!("the dynamic variable {dynamic} became a random text"));
                "random_text(8)".to_string()
            }
            variable => {
                let name = name_of(variable);
                if draft.taken.contains(&name) {
                    name
                } else if draft.secrets.contains(&name) || is_secret(variable) {
                    if !draft.secrets.contains(&name) {
                        draft.secrets.push(name.clone());
                    }
                    format!("secret.{name}")
                } else {
                    if !draft.vars.iter().any(|(n, _)| *n == name) {
                        draft.note(format!(
                            "the variable {variable} is not set in the collection: set it under `vars`"
                        ));
                        draft.vars.push((name.clone(), "TO-BE-SET".to_string()));
                    }
                    name
                }
            }
        };
        out.push_str(&format!("{{{{ {ours} }}}}"));
    }
    out.push_str(rest);
    out
}
