//! An OpenAPI 3 document: one step per operation, with values made from its examples and schemas.

use super::draft::{Draft, DraftBody, DraftStep, literal, literal_json, name_of};
use serde_json::{Map, Value, json};

/// Schemas within schemas.
const MOST_DEPTH: usize = 8;

/// Reads it.
///
/// # Errors
/// When it is no OpenAPI document of version 3.
pub fn read(text: &str) -> Result<Draft, String> {
    let document = super::document(text)?;
    let version = match &document["openapi"] {
        Value::String(version) => version.clone(),
        other => other.to_string(),
    };
    if !version.starts_with('3') {
        return Err(
            "it is no OpenAPI document of version 3: `openapi: 3.…` is missing (Swagger 2 is not read)"
                .to_string(),
        );
    }
    let mut draft =
        Draft { name: document["info"]["title"].as_str().unwrap_or("api").to_string(), ..Draft::default() };
    let mut prefix = String::new();
    if let Some(url) = document["servers"][0]["url"].as_str() {
        let mut url = url.trim_end_matches('/').to_string();
        if let Value::Object(variables) = &document["servers"][0]["variables"] {
            for (name, variable) in variables {
                url = url.replace(&format!("{{{name}}}"), variable["default"].as_str().unwrap_or_default());
            }
        }
        match url.starts_with("http") && !url.contains('{') {
            true => draft.target = Some(url),
            // `/v1` is a path of the host that serves the document.
            false if url.starts_with('/') && !url.contains('{') => prefix = url,
            false => draft.note(format!("the server {url:?} is no whole URL: put it under `target`")),
        }
    }
    let paths = document["paths"].as_object().ok_or("it has no paths")?;
    let mut steps = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for (path, item) in paths {
        let item = resolved(&document, item, &mut draft);
        for method in ["get", "head", "post", "put", "patch"] {
            if let Value::Object(operation) = &item[method] {
                let reader = Operation { document: &document, item, operation, method, path };
                let mut step = reader.step(&mut draft);
                step.url.insert_str(0, &prefix);
                if let Some(name) = &mut step.name {
                    let taken = names.iter().filter(|n| *n == name).count();
                    names.push(name.clone());
                    if taken > 0 {
                        *name = format!("{name} ({})", taken + 1);
                    }
                }
                steps.push(step);
            }
        }
        if item["delete"].is_object() {
            draft.note(format!("DELETE {path} was left out: it removes what the other requests need"));
        }
    }
    draft.note("values are made from examples and schemas: put in ids that exist, by `extract` or `data`");
    draft.journeys.push(("api".to_string(), 1, None, steps));
    Ok(draft)
}

struct Operation<'a> {
    document: &'a Value,
    item: &'a Value,
    operation: &'a Map<String, Value>,
    method: &'a str,
    path: &'a str,
}

impl Operation<'_> {
    fn get(&self, key: &str) -> &Value {
        self.operation.get(key).unwrap_or(&Value::Null)
    }

    fn step(&self, draft: &mut Draft) -> DraftStep {
        let mut step = DraftStep {
            name: Some(match self.get("operationId").as_str() {
                Some(id) if !id.trim().is_empty() => id.to_string(),
                _ => format!("{} {}", self.method.to_ascii_uppercase(), self.path),
            }),
            method: self.method.to_ascii_uppercase(),
            ..DraftStep::default()
        };
        let mut path = self.path.to_string();
        let mut query = Vec::new();
        let shared = self.item["parameters"].as_array().into_iter().flatten();
        for parameter in shared.chain(self.get("parameters").as_array().into_iter().flatten()) {
            let parameter = self.resolved(parameter, draft);
            let name = parameter["name"].as_str().unwrap_or_default();
            let value = self.parameter(parameter, draft);
            match parameter["in"].as_str().unwrap_or_default() {
                "path" => path = path.replace(&format!("{{{name}}}"), &value),
                "query" if parameter["required"] == true => query.push(format!("{name}={value}")),
                "header" if parameter["required"] == true => step.headers.push((name.to_string(), value)),
                _ => {}
            }
        }
        // What no parameter describes is a text of some kind.
        while let (Some(open), Some(close)) = (single_brace(&path), path.rfind('}')) {
            let end = path[open..].find('}').map_or(close, |at| open + at);
            path.replace_range(open..=end, "{{ random_text(8) }}");
        }
        step.url = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        self.security(&mut step, draft);
        let body = self.resolved(self.get("requestBody"), draft);
        if let Value::Object(content) = &body["content"] {
            step.body = self.body(content, draft);
        }
        if let Value::Object(responses) = self.get("responses") {
            step.status = responses.keys().filter_map(|k| k.parse().ok()).find(|s| (200..300).contains(s));
        }
        step
    }

    fn body(&self, content: &Map<String, Value>, draft: &mut Draft) -> DraftBody {
        // JSON first, whatever stands first.
        let mut kinds: Vec<_> = content.iter().collect();
        kinds.sort_by_key(|(kind, _)| !kind.contains("json"));
        for (kind, media) in kinds {
            let fields = |value: Value| -> Vec<(String, String)> {
                value
                    .as_object()
                    .cloned()
                    .unwrap_or_default()
                    .into_iter()
                    .map(|(k, v)| (k, text(&v)))
                    .collect()
            };
            if kind.contains("json") {
                return DraftBody::Json(self.media_value(media, draft));
            }
            if kind.starts_with("application/x-www-form-urlencoded") {
                return DraftBody::Form(fields(self.media_value(media, draft)));
            }
            if kind.starts_with("multipart/form-data") {
                let mut fields = fields(self.media_value(media, draft));
                let schema = self.resolved(&media["schema"], draft);
                for (name, value) in &mut fields {
                    let property = self.resolved(&schema["properties"][name.as_str()], draft);
                    if property["format"] == "binary" || property["contentMediaType"].is_string() {
                        *value = format!("@{name}");
                    }
                }
                return DraftBody::Multipart(fields);
            }
            if kind.starts_with("text/plain") {
                return DraftBody::Text(text(&self.media_value(media, draft)));
            }
        }
        draft.note(format!(
            "the body of {} {} is neither JSON nor a form nor a text and was left out",
            self.method.to_ascii_uppercase(),
            self.path
        ));
        DraftBody::Empty
    }

    fn media_value(&self, media: &Value, draft: &mut Draft) -> Value {
        if !media["example"].is_null() {
            return literal_json(&media["example"]);
        }
        if let Value::Object(examples) = &media["examples"]
            && let Some(example) = examples.values().next()
        {
            return literal_json(&self.resolved(example, draft)["value"]);
        }
        self.made(&media["schema"], draft, 0)
    }

    fn parameter(&self, parameter: &Value, draft: &mut Draft) -> String {
        let value = match &parameter["example"] {
            Value::Null => self.made(&parameter["schema"], draft, 0),
            example => literal_json(example),
        };
        let value =
            if let Value::Array(items) = &value { items.first().cloned().unwrap_or_default() } else { value };
        text(&value)
    }

    /// A value of a schema: its example, its default, or one that is made anew for each request.
    fn made(&self, schema: &Value, draft: &mut Draft, depth: usize) -> Value {
        let schema = self.resolved(schema, draft);
        if depth > MOST_DEPTH {
            return Value::Null;
        }
        for key in ["example", "default", "const"] {
            if !schema[key].is_null() {
                return literal_json(&schema[key]);
            }
        }
        if let Some(example) = schema["examples"].get(0) {
            return literal_json(example);
        }
        if let Some(values) = schema["enum"].as_array().filter(|v| !v.is_empty()) {
            return literal_json(&values[0]);
        }
        if let Some(value) = self.composed(schema, draft, depth) {
            return value;
        }
        let kind = match &schema["type"] {
            Value::Array(kinds) => {
                kinds.iter().filter_map(Value::as_str).find(|k| *k != "null").unwrap_or_default()
            }
            kind => kind.as_str().unwrap_or_default(),
        };
        match kind {
            "integer" | "number" => {
                let (low, high) = limits(schema);
                format!("{{{{ pick({low}, {high}) }}}}").into()
            }
            "boolean" => true.into(),
            "array" => json!([self.made(&schema["items"], draft, depth + 1)]),
            "string" => made_text(schema).into(),
            "null" => Value::Null,
            _ => {
                let Some(properties) = schema["properties"].as_object() else { return json!({}) };
                let required: Vec<&str> =
                    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                let wanted = |name: &str| required.is_empty() || required.contains(&name);
                let members = properties
                    .iter()
                    .filter(|(name, property)| wanted(name) && property["readOnly"] != true)
                    .map(|(name, property)| (name.clone(), self.made(property, draft, depth + 1)));
                Value::Object(members.collect())
            }
        }
    }

    /// A value of a schema that is put together of others: all of `allOf`, the first of `oneOf` and `anyOf`, and what the
    /// schema says itself.
    fn composed(&self, schema: &Value, draft: &mut Draft, depth: usize) -> Option<Value> {
        let parts = |key: &str| schema[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_null = |part: &&Value| part["type"] == "null";
        let chosen = parts("oneOf").iter().chain(parts("anyOf")).find(|part| !is_null(part));
        if parts("allOf").is_empty() && chosen.is_none() {
            return None;
        }
        let mut all = Map::new();
        for part in parts("allOf").iter().chain(chosen) {
            match self.made(part, draft, depth + 1) {
                Value::Object(members) => all.extend(members),
                other if schema["properties"].is_null() && all.is_empty() => return Some(other),
                _ => {}
            }
        }
        if schema["properties"].is_object() {
            let own = serde_json::json!({"type": "object", "properties": schema["properties"], "required": schema["required"]});
            if let Value::Object(members) = self.made(&own, draft, depth + 1) {
                all.extend(members);
            }
        }
        // What tells the alternatives apart has the name of the one that was chosen.
        if let (Some(property), Some(reference)) =
            (schema["discriminator"]["propertyName"].as_str(), chosen.and_then(|part| part["$ref"].as_str()))
        {
            let mapping = schema["discriminator"]["mapping"].as_object();
            let named = mapping
                .and_then(|m| m.iter().find(|(_, to)| *to == reference))
                .map(|(name, _)| name.as_str());
            let name = named.or_else(|| reference.rsplit('/').next()).unwrap_or_default();
            all.insert(property.to_string(), name.into());
        }
        Some(Value::Object(all))
    }

    fn security(&self, step: &mut DraftStep, draft: &mut Draft) {
        let wanted = match self.get("security") {
            Value::Null => &self.document["security"],
            own => own,
        };
        let Some(scheme) = wanted.get(0).and_then(Value::as_object).and_then(|s| s.keys().next()) else {
            return;
        };
        let found = self.resolved(&self.document["components"]["securitySchemes"][scheme], draft);
        let secret = name_of(scheme);
        let value = format!("{{{{ secret.{secret} }}}}");
        match (found["type"].as_str(), found["scheme"].as_str(), found["in"].as_str()) {
            (Some("http"), Some(kind), _) if kind.eq_ignore_ascii_case("basic") => {
                step.headers.push(("authorization".to_string(), format!("Basic {value}")));
            }
            (Some("http" | "oauth2" | "openIdConnect"), ..) => {
                step.headers.push(("authorization".to_string(), format!("Bearer {value}")));
            }
            (Some("apiKey"), _, Some("header")) => {
                step.headers.push((found["name"].as_str().unwrap_or("x-api-key").to_string(), value));
            }
            (Some("apiKey"), _, Some("query")) => {
                let separator = if step.url.contains('?') { '&' } else { '?' };
                step.url =
                    format!("{}{separator}{}={value}", step.url, found["name"].as_str().unwrap_or("key"));
            }
            _ => return draft.note(format!("the security scheme {scheme} was not carried over")),
        }
        if !draft.secrets.contains(&secret) {
            draft.secrets.push(secret);
        }
    }

    /// What a local reference points to; others are noted and never followed.
    fn resolved<'v>(&'v self, value: &'v Value, draft: &mut Draft) -> &'v Value {
        resolved(self.document, value, draft)
    }
}

fn resolved<'v>(document: &'v Value, value: &'v Value, draft: &mut Draft) -> &'v Value {
    let mut value = value;
    for _ in 0..16 {
        let Some(reference) = value["$ref"].as_str() else { return value };
        let target = reference.strip_prefix('#').and_then(|pointer| {
            document.pointer(pointer).or_else(|| document.pointer(&super::draft::decoded(pointer)))
        });
        match target {
            Some(target) => value = target,
            None => {
                draft.note(format!(
                    "the reference {reference:?} points out of the document and was not followed"
                ));
                return &Value::Null;
            }
        }
    }
    &Value::Null
}

/// The whole numbers that a schema allows, a hundred of them at most.
fn limits(schema: &Value) -> (i64, i64) {
    let whole = |value: &Value| value.as_i64().or_else(|| value.as_f64().map(|n| n.ceil() as i64));
    // Version 3.0 has truth values there, 3.1 numbers.
    let beyond = |key: &str, bound: Option<i64>, step: i64| match &schema[key] {
        Value::Bool(true) => bound.map(|b| b.saturating_add(step)),
        Value::Number(_) => whole(&schema[key]).map(|b| b.saturating_add(step)),
        _ => bound,
    };
    let low = beyond("exclusiveMinimum", whole(&schema["minimum"]), 1);
    let high = beyond("exclusiveMaximum", schema["maximum"].as_f64().map(|n| n.floor() as i64), -1);
    let low = low.unwrap_or_else(|| high.map_or(1, |high| high.saturating_sub(99).max(1.min(high))));
    (low, high.unwrap_or(low.saturating_add(99)).max(low))
}

fn made_text(schema: &Value) -> String {
    let (least, most) =
        (schema["minLength"].as_u64().unwrap_or(0), schema["maxLength"].as_u64().unwrap_or(u64::MAX));
    if schema["format"].is_null() && (least > 3 || most < 12) {
        return format!("{{{{ random_text({}) }}}}", least.clamp(1, 10_000).max(8.min(most)));
    }
    match schema["format"].as_str().unwrap_or_default() {
        "uuid" => "{{ uuid() }}",
        "email" => "{{ fake.email }}",
        "date" => "{{ fake.date }}",
        "date-time" => "{{ fake.date_time }}",
        "ipv4" => "{{ fake.ipv4 }}",
        "ipv6" => "{{ fake.ipv6 }}",
        "hostname" => "{{ fake.domain }}",
        "uri" | "url" => "https://example.org/{{ fake.word }}",
        "password" => "{{ fake.password }}",
        "byte" => "{{ fake.word | base64 }}",
        "time" => "{{ fake.time }}",
        _ => "{{ fake.word }}",
    }
    .to_string()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => literal(""),
        other => other.to_string(),
    }
}

/// The first brace that is none of a template.
fn single_brace(path: &str) -> Option<usize> {
    let bytes = path.as_bytes();
    let (mut at, mut in_hole) = (0, false);
    while at < bytes.len() {
        match (&bytes[at..], in_hole) {
            ([b'{', b'{', ..], _) => {
                in_hole = true;
                at += 1;
            }
            ([b'}', b'}', ..], true) => {
                in_hole = false;
                at += 1;
            }
            ([b'{', ..], false) => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}
