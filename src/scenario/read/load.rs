//! Stages and thresholds.

use super::super::error::{Fault, listed, nearest};
use super::super::quantity::{self, Rate};
use super::super::threshold::{self, Subject, Threshold};
use super::super::types::Stage;
use super::super::yaml::{Node, Reader, Value, entries};
use super::duration;
use crate::record::{Nanos, StepId, StepInfo};

pub const STAGE_KEYS: &[&str] = &["users", "rate", "ramp", "for"];
const MAX_USERS: i64 = 1_000_000;

/// The scenario's name; it names the run folder too.
pub fn name(node: &Node, source: &str) -> Result<String, Fault> {
    let name = node.text(source, "a name")?;
    if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Fault::new(node.place, "the name must have 1 to 100 characters on one line"));
    }
    Ok(name.trim().to_string())
}

/// The stages under `load`; one alone needs no list.
pub fn stages(node: &Node, source: &str) -> Result<Vec<Stage>, Fault> {
    let items = match &node.value {
        Value::List(_) | Value::Map(_) => node.items(),
        _ => return Err(node.expected("a list of stages such as [{users: 20, for: 1m}]")),
    };
    let stages: Vec<Stage> = items.iter().map(|item| stage(item, source)).collect::<Result<_, _>>()?;
    let offers_load = |stage: &Stage| match stage {
        Stage::Users { users, .. } => *users > 0,
        Stage::Rate { rate, .. } => *rate > Rate::default(),
    };
    if !stages.iter().any(offers_load) {
        return Err(Fault::new(node.place, "the load has no stage with users or a rate above 0"));
    }
    Ok(stages)
}

fn stage(node: &Node, source: &str) -> Result<Stage, Fault> {
    let reader = Reader::new(node, "a load stage", STAGE_KEYS)?;
    let ramp = reader.get("ramp").map(|n| duration(n, source)).transpose()?.unwrap_or(Nanos::ZERO);
    let hold = match (reader.get("for"), ramp) {
        (Some(node), _) => duration(node, source)?,
        (None, Nanos::ZERO) => {
            return Err(Fault::new(
                reader.place(),
                "a load stage needs `for`: how long it lasts, e.g. for: 1m",
            ));
        }
        (None, _) => Nanos::ZERO,
    };
    if ramp + hold == Nanos::ZERO {
        return Err(Fault::new(reader.place(), "a load stage must last longer than nothing"));
    }
    match (reader.get("users"), reader.get("rate")) {
        (Some(node), None) => Ok(Stage::Users { users: node.count("users", 0..=MAX_USERS)?, ramp, hold }),
        (None, Some(node)) => {
            let text = node.text(source, "a rate such as 200/s")?;
            let rate = quantity::rate(&text).map_err(|message| Fault::new(node.place, message))?;
            Ok(Stage::Rate { rate, ramp, hold })
        }
        (Some(_), Some(node)) => Err(Fault::new(
            node.place,
            "a load stage has `users` (each waits for its answers) or `rate` (arrivals wait for nobody), not both",
        )),
        (None, None) => Err(Fault::new(reader.place(), "a load stage needs `users` or `rate`")),
    }
}

/// The list under `thresholds`.
pub fn thresholds(node: &Node, source: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, Fault> {
    let mut all = Vec::new();
    for item in node.items() {
        match &item.value {
            Value::Map(_) => {
                for (key, value) in entries(item, "a threshold")? {
                    let subject = subject(&key.text, steps).map_err(|m| Fault::new(key.place, m))?;
                    let text = value.text(source, "a condition such as latency.p95 < 300ms")?;
                    all.push(one(format!("{}: {text}", key.text), subject, &text, value)?);
                }
            }
            Value::Text(text) => match text.split_once(": ") {
                // The whole line in quotes.
                Some((name, rest)) => {
                    let subject = subject(name, steps).map_err(|m| Fault::new(item.place, m))?;
                    all.push(one(text.clone(), subject, rest, item)?);
                }
                None => all.push(one(text.clone(), Subject::Run, text, item)?),
            },
            _ => return Err(item.expected("a threshold such as latency.p95 < 300ms")),
        }
    }
    Ok(all)
}

fn one(text: String, subject: Subject, conditions: &str, node: &Node) -> Result<Threshold, Fault> {
    let about_spans = matches!(subject, Subject::Span(_));
    let conditions = threshold::conditions(conditions, about_spans).map_err(|m| Fault::new(node.place, m))?;
    Ok(Threshold { text, subject, conditions })
}

fn subject(text: &str, known: &[StepInfo]) -> Result<Subject, String> {
    if let Some(pattern) = threshold::span_pattern(text) {
        return pattern.map(Subject::Span);
    }
    let full = |step: &StepInfo| format!("{}/{}", step.journey, step.name);
    let matching = |index: &usize| known[*index].name == text || full(&known[*index]) == text;
    let steps: Vec<StepId> = (0..known.len()).filter(matching).map(|i| StepId(i as u16)).collect();
    if !steps.is_empty() {
        return Ok(Subject::Step { name: text.to_string(), steps });
    }
    let mut names: Vec<&str> = Vec::new();
    for step in known {
        if !names.contains(&step.name.as_str()) {
            names.push(&step.name);
        }
    }
    Err(match nearest(text, names.iter().copied()) {
        Some(near) => format!("no step is named `{text}`; did you mean `{near}`?"),
        None => {
            names.truncate(12);
            format!("no step is named `{text}`; there are {}", listed(&names))
        }
    })
}
