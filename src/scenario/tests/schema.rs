//! The JSON Schema for editors: it accepts what the reader accepts, and refuses what is built wrong.

use super::super::yaml::{self, Node, Value as Typed};
use super::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn schema() -> jsonschema::Validator {
    let text = include_str!("../../../docs/scenario.schema.json");
    jsonschema::validator_for(&serde_json::from_str(text).unwrap()).unwrap()
}

fn json(node: &Node) -> Value {
    match &node.value {
        Typed::Null => Value::Null,
        Typed::Bool(b) => (*b).into(),
        Typed::Int(n) => (*n).into(),
        Typed::Float(n) => (*n).into(),
        Typed::Text(text) => text.as_str().into(),
        Typed::List(items) => items.iter().map(json).collect(),
        Typed::Map(entries) => {
            entries.iter().map(|(k, v)| (k.text.clone(), json(v))).collect::<serde_json::Map<_, _>>().into()
        }
    }
}

fn faults(text: &str) -> Vec<String> {
    let document = json(&yaml::read(text).unwrap_or_else(|e| panic!("{e:?}")));
    schema().iter_errors(&document).map(|e| format!("{}: {e}", e.instance_path())).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(root().join(folder)).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "yaml"));
    files.sort();
    files
}

#[test]
fn every_example_is_read_and_fits_the_schema() {
    let examples = files("examples");
    assert!(examples.len() >= 3);
    for file in examples {
        let text = std::fs::read_to_string(&file).unwrap();
        let environment = [("PASSWORD".to_string(), "secret".to_string())];
        let surroundings =
            Surroundings { environment: Arc::new(environment.into()), ..Surroundings::default() };
        let name = file.display().to_string();
        let scenario = parse_with(&text, &name, &surroundings).unwrap_or_else(|e| panic!("{e}"));
        assert!(!scenario.thresholds.is_empty(), "{name} says what it must reach");
        assert_eq!(faults(&text), [""; 0], "{name}");
        assert!(text.starts_with("# yaml-language-server: $schema=../docs/scenario.schema.json\n"), "{name}");
    }
    assert_eq!(faults(EXAMPLE), [""; 0]);
}

/// Parts of scenarios in a document: each fits the schema and is read.
fn every_part_is_read(name: &str, document: &str) {
    let blocks: Vec<&str> =
        document.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() >= 3);
    let environment =
        ["PASSWORD", "CLIENT_SECRET"].map(|name| (name.to_string(), "from-the-vault".to_string()));
    let surroundings = Surroundings {
        environment: Arc::new(environment.into()),
        read: &|path| match path.extension().is_some_and(|e| e == "csv") {
            true if path.ends_with("log.csv") => Ok("time,path\n1,/a\n2,/b\n".to_string()),
            true => Ok("user,password\nann,secret\n".to_string()),
            false => Err(std::io::ErrorKind::NotFound.into()),
        },
        ..Surroundings::default()
    };
    for block in blocks {
        // A part stands for the whole that it is a part of.
        let has = |key: &str| block.starts_with(key) || block.contains(&format!("\n{key}"));
        let walks = has("journeys:") || has("steps:");
        let mut whole = block.to_string();
        if !has("target:") && !has("targets:") {
            whole.insert_str(0, "target: http://h\n");
        }
        if !walks {
            whole.push_str("\nsteps: [GET /]\n");
        }
        assert_eq!(faults(&whole), [""; 0], "{block}");
        if walks {
            let loaded = if has("load:") { whole } else { format!("load: {{users: 1, for: 1s}}\n{whole}") };
            parse_with(&loaded, name, &surroundings).unwrap_or_else(|e| panic!("{e}\n{loaded}"));
        }
    }
}

#[test]
fn every_scenario_of_the_reference_fits_the_schema() {
    every_part_is_read("scenario.md", include_str!("../../../docs/scenario.md"));
}

#[test]
fn every_recipe_is_read() {
    every_part_is_read("recipes.md", include_str!("../../../docs/recipes.md"));
}

#[test]
fn files_that_are_built_wrong_do_not_fit() {
    let built_wrong = [
        "unknown_key_near",
        "unknown_key_far",
        "steps_and_journeys",
        "pace_beside_journeys",
        "target_bad_key",
        "step_typo",
        "step_no_method",
        "step_two_methods",
        "step_two_bodies",
        "step_no_slash",
        "step_body_a_list",
        "steps_empty",
        "steps_a_text",
        "vars_reserved_name",
        "vars_bad_name",
        "when_without_steps",
        "else_without_when",
        "repeat_and_while",
        "repeat_a_word",
        "max_without_while",
        "choose_empty",
        "choose_weight_zero",
        "weight_a_word",
        "journey_called_setup",
        "stray_key_with_call",
        "request_beside_steps",
        "on_failure_typo",
        "extract_no_path",
        "extract_two_sources",
        "extract_bad_take",
        "expect_status",
        "expect_typo",
        "data_order",
        "flag_a_word",
        "telemetry_protocol",
        "secret_in_the_file",
        "locale_unknown",
        "graphql_typo",
        "two_bodies_graphql",
        "threshold_after_alone",
        "no_target",
        "no_steps",
        "grpc_with_json",
        "grpc_message_a_list",
        "grpc_message_and_messages",
        "grpc_status_of_http",
        "grpc_include_alone",
        "ws_with_json",
        "ws_turn_typo",
        "ws_turn_two",
        "ws_close_code_small",
        "sse_cached",
        "sse_until_zero",
        "a_list",
        "a_text",
        "target_other_scheme",
        "http_unknown_key",
        "http_version",
        "http_keep_alive_limit",
        "http_connections",
        "http_connections_none",
        "http_dns_family",
        "http_encoding_twice",
        "http_encoding_unknown",
        "http_decode",
        "tls_key_alone",
        "tls_old_version",
        "proxy_password_alone",
        "follow_a_word",
        "follow_too_far",
        "timeout_unknown_phase",
        "step_timeout_unknown_phase",
        "trace_propagate_typo",
        "trace_propagate_unknown",
        "trace_propagate_nothing",
        "trace_propagate_ottrace",
    ];
    let accepted: Vec<&str> = built_wrong
        .into_iter()
        .filter(|name| {
            let file = root().join(format!("src/scenario/tests/broken/{name}.yaml"));
            faults(&std::fs::read_to_string(file).unwrap()).is_empty()
        })
        .collect();
    assert_eq!(accepted, [""; 0], "the schema accepts these");
}

/// Every key that the schema names, wherever it stands.
fn keys(schema: &Value) -> BTreeSet<&str> {
    let mut keys = BTreeSet::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::Object(properties)) = members.get("properties") {
                    keys.extend(properties.keys().map(String::as_str));
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    keys
}

#[test]
fn the_schema_knows_every_key() {
    let schema: Value = serde_json::from_str(include_str!("../../../docs/scenario.schema.json")).unwrap();
    let known = keys(&schema);
    let missing: Vec<&str> =
        super::super::read::structural_words().filter(|word| !known.contains(word)).collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_reference_and_the_schema_have_the_same_keys() {
    let schema: Value = serde_json::from_str(include_str!("../../../docs/scenario.schema.json")).unwrap();
    let reference = include_str!("../../../docs/scenario.md");
    let known = keys(&schema);
    // Within back-ticks, or as a key in an example.
    let named = |key: &&str| {
        let word =
            |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == *key);
        let mut code = reference.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
        code.any(word) || reference.lines().any(|line| line.contains(&format!("{key}:")) && word(line))
    };
    let untold: Vec<&str> = known.iter().copied().filter(|key| !named(key)).collect();
    assert_eq!(untold, [""; 0], "the schema has these, docs/scenario.md does not");
    // The first cells of tables of keys.
    let (mut in_table, mut seen) = (false, 0);
    for line in reference.lines() {
        in_table = line.starts_with("| key") || in_table && line.starts_with('|');
        if !in_table || line.starts_with("| key") || line.starts_with("|--") {
            continue;
        }
        let cell = line.split('|').nth(1).unwrap_or_default();
        for key in cell.split('`').skip(1).step_by(2) {
            let key = key.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
            assert!(known.contains(key), "the schema has no key `{key}`: {line}");
            seen += 1;
        }
    }
    assert!(seen > 100, "{seen} keys in the tables");
}
