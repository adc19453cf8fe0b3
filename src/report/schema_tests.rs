//! `report.json` against its schema, and its numbers against the other formats.

use super::number::{count, ms, percent};
use super::sample::{self, Sample};
use super::{Style, headline, json, markdown, terminal};
use crate::analysis::result::{Category, FindingKind};
use crate::record::FailureClass;
use serde_json::Value;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../docs/report.schema.json")).unwrap()
}

/// The schema, ready to check documents.
pub fn validator() -> jsonschema::Validator {
    jsonschema::draft202012::new(&schema()).unwrap()
}

fn document(sample: &Sample) -> Value {
    serde_json::from_str(&json(&sample.report())).unwrap()
}

#[test]
fn every_sample_is_valid() {
    let validator = validator();
    for sample in sample::all() {
        let value = document(&sample);
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", sample.name);
    }
}

#[test]
fn the_schema_is_strict() {
    let validator = validator();
    let good = document(&sample::everything());
    assert!(validator.is_valid(&good));
    // Every object of the document, one key more and each key less, must be refused (maps with free keys aside).
    let mut pointers = Vec::new();
    objects(&good, String::new(), &mut pointers);
    assert!(pointers.len() > 40, "only {} objects", pointers.len());
    let free = |p: &str| p.ends_with("/evidence") || p.ends_with("/statuses") || p.ends_with("/services");
    for pointer in pointers.iter().filter(|p| !free(p)) {
        let mut bad = good.clone();
        bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert("surprise".into(), Value::Null);
        assert!(!validator.is_valid(&bad), "an unknown key passes at {pointer}");
        let keys: Vec<String> = good.pointer(pointer).unwrap().as_object().unwrap().keys().cloned().collect();
        for key in keys {
            let mut bad = good.clone();
            bad.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(&key);
            assert!(!validator.is_valid(&bad), "{pointer}/{key} may be absent");
        }
    }
}

/// Pointers of all objects, the first of each array only.
fn objects(value: &Value, at: String, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                objects(value, format!("{at}/{key}"), out);
            }
            out.push(at);
        }
        Value::Array(items) => {
            if let Some(first) = items.first() {
                objects(first, format!("{at}/0"), out);
            }
        }
        _ => {}
    }
}

#[test]
fn the_schema_describes_everything_and_knows_every_name() {
    let schema = schema();
    undescribed(&schema, "#");
    let enumerated = |pointer: &str| -> Vec<String> {
        let values = schema.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("{pointer}"));
        values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect()
    };
    let categories: Vec<&str> = Category::ALL.iter().map(|c| c.name()).collect();
    assert_eq!(enumerated("/$defs/category/enum"), categories);
    let classes: Vec<&str> = FailureClass::ALL.iter().map(|c| c.name()).collect();
    assert_eq!(
        enumerated("/properties/steps/items/properties/failures/items/properties/class/enum"),
        classes
    );
    let kinds = enumerated("/properties/findings/items/properties/kind/enum");
    let used = sample::everything().analysis.findings;
    let names: Vec<&str> = used.iter().map(|f| f.kind.name()).collect();
    assert_eq!(kinds, names, "the sample with everything has every kind of finding");
    assert!(names.contains(&FindingKind::ConnectionChurn.name()));
}

/// Every property says what it is; the key names its unit or the description does.
fn undescribed(value: &Value, at: &str) {
    if let Some(properties) = value.get("properties").and_then(Value::as_object) {
        for (key, property) in properties {
            let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
            assert!(text.len() > 3, "{at}/{key} has no description");
            if key.ends_with("_ms") && property["type"] != "object" && property.get("$ref").is_none() {
                assert!(text.contains("ms"), "{at}/{key} does not say its unit");
            }
            undescribed(property, &format!("{at}/{key}"));
        }
    }
    for (key, inner) in [("items", value.get("items")), ("$defs", value.get("$defs"))] {
        if let Some(inner) = inner {
            match key {
                "$defs" => {
                    inner.as_object().unwrap().iter().for_each(|(k, v)| undescribed(v, &format!("{at}/{k}")))
                }
                _ => undescribed(inner, &format!("{at}[]")),
            }
        }
    }
}

#[test]
fn the_documentation_names_every_key_and_finding() {
    let docs = include_str!("../../docs/report.md");
    let schema = schema();
    let mut keys = Vec::new();
    property_names(&schema, &mut keys);
    for key in keys {
        assert!(docs.contains(&format!("`{key}`")), "docs/report.md does not describe `{key}`");
    }
    for finding in sample::everything().analysis.findings {
        assert!(docs.contains(&format!("`{}`", finding.kind.name())), "{}", finding.kind.name());
    }
}

fn property_names(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if key == "properties" {
                    out.extend(inner.as_object().into_iter().flatten().map(|(name, _)| name.clone()));
                }
                property_names(inner, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|v| property_names(v, out)),
        _ => {}
    }
}

/// Text without the spaces of wrapping and tables, and without Markdown's marks.
fn squeezed(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '\\' | '`' | '*')).collect()
}

#[test]
fn the_same_numbers_stand_in_every_format() {
    for sample in sample::all() {
        let value = document(&sample);
        let text = terminal(&sample.report(), Style { color: false, width: 140, unicode: true });
        let texts = [("terminal", squeezed(&text)), ("Markdown", squeezed(&markdown(&sample.report())))];
        let mut expected: Vec<String> = Vec::new();
        let number = |v: &Value| v.as_f64().unwrap();
        for step in value["steps"].as_array().unwrap() {
            expected.push(count(step["exchanges"].as_u64().unwrap()));
            expected.push(count(step["errors"].as_u64().unwrap()));
            if step["exchanges"] != 0 {
                for key in ["mean", "p50", "p95", "p99"] {
                    expected.push(ms(number(&step["latency_ms"][key])));
                }
            }
        }
        for finding in value["findings"].as_array().unwrap() {
            if finding["kind"] != "large_payload" && number(&finding["impact_ms"]["p95"]) > 0.0 {
                expected.push(format!("save at most {} ms of p95", ms(number(&finding["impact_ms"]["p95"]))));
            }
            expected.push(finding["title"].as_str().unwrap().to_owned());
            expected.push(finding["advice"].as_str().unwrap().to_owned());
        }
        if value["telemetry"]["traced"] != 0 {
            expected.push(percent(number(&value["telemetry"]["coverage"])));
        }
        for text in value["telemetry"]["warnings"].as_array().unwrap() {
            expected.push(text.as_str().unwrap().to_owned());
        }
        expected.push(value["verdict"]["headline"].as_str().unwrap().to_owned());
        assert_eq!(value["verdict"]["headline"].as_str(), Some(headline(&sample.report()).as_str()));
        for (format, text) in &texts {
            for want in &expected {
                let shown = text.contains(&squeezed(want));
                let beyond = *format == "terminal"
                    && value["findings"].as_array().unwrap().iter().skip(8).any(|f| {
                        let own = [f["title"].as_str().unwrap(), f["advice"].as_str().unwrap()];
                        own.contains(&want.as_str())
                            || want.contains(&format!("most {} ms", ms(number(&f["impact_ms"]["p95"]))))
                    });
                assert!(shown || beyond, "{}: {want:?} is not in the {format}", sample.name);
            }
        }
    }
}

#[test]
fn shares_and_excesses_add_up() {
    for sample in sample::all() {
        for step in document(&sample)["steps"].as_array().unwrap().iter().filter(|s| s["exchanges"] != 0) {
            let sum = |at: &str, key: &str| -> f64 {
                let map = step.pointer(at).unwrap().as_object().unwrap();
                map.values().map(|v| if key.is_empty() { v } else { &v[key] }.as_f64().unwrap()).sum()
            };
            assert!((sum("/categories", "share") - 1.0).abs() < 0.001, "{}", sample.name);
            let mean = step["latency_ms"]["mean"].as_f64().unwrap();
            assert!((sum("/categories", "mean_ms") - mean).abs() < 0.01, "{}", sample.name);
            for (i, tail) in step["tail"].as_array().unwrap().iter().enumerate() {
                let gap = tail["gap_ms"].as_f64().unwrap();
                assert!((sum(&format!("/tail/{i}/excess_ms"), "") - gap).abs() < 0.01, "{}", sample.name);
            }
            let owners: f64 =
                step["contributors"].as_array().unwrap().iter().map(|c| c["share"].as_f64().unwrap()).sum();
            assert!((owners + step["contributors_omitted"]["share"].as_f64().unwrap() - 1.0).abs() < 0.002);
        }
    }
}
