//! The critical path of all requests as stacks: folded (flamegraph.pl, inferno) and for speedscope.
//!
//! Weights are microseconds that clients waited, all requests of a step together.

use crate::analysis::result::FlameNode;
use crate::record::{Nanos, StepId};
use crate::report::Report;
use crate::report::text;
use crate::report::view::View;
use serde::Serialize;
use std::collections::BTreeMap;

/// One line for each stack: frames with semicolons between, then its weight.
pub fn folded(report: &Report) -> String {
    let view = View::new(report);
    let mut lines: Vec<String> = Vec::new();
    each_step(&view, &mut |step, nodes| {
        for (at, node) in nodes.iter().enumerate().filter(|(_, node)| micros(node) > 0) {
            let frames: Vec<String> =
                stack(nodes, at).into_iter().map(|i| frame(&nodes[i], step).replace(';', ",")).collect();
            lines.push(format!("{} {}\n", frames.join(";"), micros(node)));
        }
    });
    lines.sort();
    lines.concat()
}

#[derive(Serialize)]
struct Speedscope<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    shared: Shared,
    profiles: Vec<Profile>,
    name: &'a str,
    exporter: String,
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<Frame>,
}

#[derive(Serialize)]
struct Frame {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: u64,
    end_value: u64,
    samples: Vec<Vec<usize>>,
    weights: Vec<u64>,
}

/// A file for <https://www.speedscope.app>: one profile for each step.
pub fn speedscope(report: &Report) -> String {
    let view = View::new(report);
    let mut frames: Vec<Frame> = Vec::new();
    let mut numbers: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut profiles = Vec::new();
    each_step(&view, &mut |step, nodes| {
        let (mut samples, mut weights) = (Vec::new(), Vec::new());
        for (at, node) in nodes.iter().enumerate().filter(|(_, node)| micros(node) > 0) {
            let number = |i: usize| {
                let code = nodes[i].who.as_ref().map_or("", |who| &who.code).to_owned();
                *numbers.entry((frame(&nodes[i], step), code)).or_insert_with_key(|(name, code)| {
                    let file = (!code.is_empty()).then(|| code.clone());
                    frames.push(Frame { name: name.clone(), file });
                    frames.len() - 1
                })
            };
            samples.push(stack(nodes, at).into_iter().map(number).collect());
            weights.push(micros(node));
        }
        profiles.push(Profile {
            r#type: "sampled",
            name: text::clean(step),
            unit: "microseconds",
            start_value: 0,
            end_value: weights.iter().sum(),
            samples,
            weights,
        });
    });
    let file = Speedscope {
        schema: "https://www.speedscope.app/file-format-schema.json",
        shared: Shared { frames },
        profiles,
        name: &report.run.id,
        exporter: format!("hotspan {}", report.run.hotspan_version),
    };
    crate::report::json::embedded(&file) + "\n"
}

/// Each path of each step with something of its own: the step, its exchanges, the frames from the step down, and the time.
pub fn stacks_of(report: &Report, f: &mut impl FnMut(&str, u64, Vec<String>, Nanos)) {
    let view = View::new(report);
    for step in &view.steps {
        let name = view.step_name(step.result.step);
        each_node(&view, step.result.step, &mut |nodes, at| {
            let frames = stack(nodes, at).into_iter().map(|i| frame(&nodes[i], &name)).collect();
            f(&text::clean(&name), step.result.exchanges, frames, nodes[at].own);
        });
    }
}

fn each_node(view: &View, step: StepId, f: &mut dyn FnMut(&[FlameNode], usize)) {
    if let Some(picture) = view.analysis().pictures.steps.get(usize::from(step.0)) {
        (0..picture.flame.len())
            .filter(|at| picture.flame[*at].own.0 > 0)
            .for_each(|at| f(&picture.flame, at));
    }
}

pub(super) fn each_step(view: &View, f: &mut dyn FnMut(&str, &[FlameNode])) {
    for step in &view.steps {
        let pictures = &view.analysis().pictures.steps;
        if let Some(picture) = pictures.get(usize::from(step.result.step.0)).filter(|p| p.flame.len() > 1) {
            f(&view.step_name(step.result.step), &picture.flame);
        }
    }
}

fn micros(node: &FlameNode) -> u64 {
    (node.own.0 + 500) / 1_000
}

/// A time of all requests together, divided by the number of requests of the step, which is the first node.
pub fn mean_of(time: u64, root: Option<&FlameNode>) -> f64 {
    time as f64 / root.map_or(1, |root| root.exchanges).max(1) as f64
}

/// The nodes from the step down to this one.
fn stack(nodes: &[FlameNode], mut at: usize) -> Vec<usize> {
    let mut out = vec![at];
    while let Some(parent) = nodes[at].parent {
        at = parent as usize;
        out.push(at);
    }
    out.reverse();
    out
}

pub fn frame(node: &FlameNode, step: &str) -> String {
    match &node.who {
        Some(who) => format!("{} [{}]", text::clean(&who.name), who.category.name()),
        None if node.folded > 0 => format!("{} smaller", node.folded),
        None => text::clean(step),
    }
}
