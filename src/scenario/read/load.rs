//! Stages and thresholds.

use super::super::error::{Fault, listed, nearest};
use super::super::shape::LoadPlan;
use super::super::threshold::{self, Comparison, Condition, Kind, Limit, Metric, Subject, Threshold};
use super::super::types::Journey;
use super::super::yaml::{Node, Reader, Value, entries};
use super::shape::Shapes;
use super::{Context, duration};
use crate::record::{Nanos, StepId, StepInfo};

/// The scenario's name; it names the run folder too.
pub fn name(node: &Node, source: &str) -> Result<String, Fault> {
    let name = node.text(source, "a name")?;
    if name.trim().is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Fault::new(node.place, "the name must have 1 to 100 characters on one line"));
    }
    Ok(name.trim().to_string())
}

/// The scenario-wide load and those of single journeys, by index.
pub fn loads(
    top: &Reader,
    journeys: &[Journey],
    context: &Context,
) -> Result<(LoadPlan, Vec<(usize, LoadPlan)>), Fault> {
    let mut own = Vec::new();
    if let Some(Value::Map(typed)) = top.get("journeys").map(|node| &node.value) {
        for (key, node) in typed {
            let Value::Map(entries) = &node.value else { continue };
            let Some((_, node)) = entries.iter().find(|(key, _)| key.text == "load") else { continue };
            if let Some(index) = journeys.iter().position(|j| j.name == key.text) {
                own.push((index, Shapes::plan(node, context)?));
            }
        }
    }
    let has = |index: usize| own.iter().any(|(with, _)| *with == index);
    let all_have = !own.is_empty() && journeys.iter().enumerate().all(|(i, j)| j.weight == 0 || has(i));
    let wide = match top.get("load") {
        Some(node) if all_have => {
            return Err(Fault::new(
                node.place,
                "every journey has a `load` of its own, so nobody would walk by this one: leave it out",
            ));
        }
        Some(node) => Shapes::plan(node, context)?,
        None if all_have => LoadPlan::default(),
        None => Shapes::plan(top.need("load", "e.g. load: [{users: 20, for: 1m}]")?, context)?,
    };
    Ok((wide, own))
}

/// The list under `thresholds`.
pub fn thresholds(node: &Node, source: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, Fault> {
    let mut all = Vec::new();
    for item in node.items() {
        match &item.value {
            Value::Map(map) if map.iter().any(|(key, _)| key.text == "that") => {
                all.push(in_full(item, source, steps)?);
            }
            Value::Map(_) => {
                for (key, value) in entries(item, "a threshold")? {
                    if let Some(kind) = Kind::parse(&key.text) {
                        let kind = kind.map_err(|m| Fault::new(key.place, m))?;
                        all.push(nothing_new(kind, value, source)?);
                        continue;
                    }
                    let subject = subject(&key.text, steps).map_err(|m| Fault::new(key.place, m))?;
                    let text = value.text(source, "a condition such as latency.p95 < 300ms")?;
                    all.push(one(format!("{}: {text}", key.text), subject, &text, value)?);
                }
            }
            Value::Text(text) if Kind::parse(text).is_some() => {
                let known = "- no new external host: [api.example.com, \"*.amazonaws.com\"]";
                return Err(Fault::new(
                    item.place,
                    format!("say what is known, else everything is new: {known}"),
                ));
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

/// `no new service: [shop, payment]`.
fn nothing_new(kind: Kind, known: &Node, source: &str) -> Result<Threshold, Fault> {
    let names = known.items().iter().map(|node| node.text(source, "a name that is known"));
    let names: Vec<String> = names.collect::<Result<_, _>>()?;
    let text = format!("no new {}", kind.words());
    let condition = Condition {
        text: text.clone(),
        metric: Metric::NewNames,
        comparison: Comparison::Equal,
        limit: Limit::Number(0.0),
    };
    Ok(Threshold { text, subject: Subject::New(kind, names), conditions: vec![condition], abort: None })
}

/// `{that: latency.p95 < 300ms, on: product, abort: true, after: 10s}`.
fn in_full(node: &Node, source: &str, steps: &[StepInfo]) -> Result<Threshold, Fault> {
    let reader = Reader::new(node, "a threshold", &["that", "on", "abort", "after"])?;
    let that = reader.need("that", "a condition such as latency.p95 < 300ms")?;
    let text = that.text(source, "a condition such as latency.p95 < 300ms")?;
    let (subject, text_whole) = match reader.get("on") {
        None => (Subject::Run, text.clone()),
        Some(node) => {
            let name =
                node.text(source, "a step, span(\"…\"), service(\"…\"), check(\"…\") or contributor(\"…\")")?;
            let subject = subject(&name, steps).map_err(|m| Fault::new(node.place, m))?;
            (subject, format!("{name}: {text}"))
        }
    };
    let mut threshold = one(text_whole, subject, &text, that)?;
    let after = reader.get("after").map(|node| duration(node, source)).transpose()?;
    if reader.get("abort").map(Node::flag).transpose()? == Some(true) {
        threshold.abort = Some(after.unwrap_or(Nanos::ZERO));
    } else if let Some(key) = reader.key("after") {
        return Err(Fault::new(
            key.place,
            "`after` goes with `abort: true`: how long the load runs at least",
        ));
    }
    Ok(threshold)
}

fn one(text: String, subject: Subject, conditions: &str, node: &Node) -> Result<Threshold, Fault> {
    let conditions =
        threshold::conditions(conditions, subject.about()).map_err(|m| Fault::new(node.place, m))?;
    Ok(Threshold { text, subject, conditions, abort: None })
}

fn subject(text: &str, known: &[StepInfo]) -> Result<Subject, String> {
    if let Some(pattern) = threshold::called("span", text) {
        return pattern.map(Subject::Span);
    }
    if let Some(pattern) = threshold::called("contributor", text) {
        return pattern.map(Subject::Contributor);
    }
    if let Some(pattern) = threshold::called("service", text) {
        return pattern.map(Subject::Service);
    }
    if let Some(name) = threshold::called("check", text) {
        let name = name?;
        let mut checks: Vec<&str> = known.iter().flat_map(|s| s.checks.iter().map(String::as_str)).collect();
        checks.sort_unstable();
        checks.dedup();
        if checks.contains(&name.as_str()) {
            return Ok(Subject::Check(name));
        }
        return Err(match nearest(&name, checks.iter().copied()) {
            Some(near) => format!("no check is named `{name}`; did you mean `{near}`?"),
            None => format!(
                "no check is named `{name}`; the checks are {}",
                listed(&checks[..checks.len().min(12)])
            ),
        });
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
