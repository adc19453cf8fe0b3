//! Journeys: their own keys, which calls which, and what is walked once per run and once per user.

use super::super::error::{Fault, Place};
use super::super::flow::{Lifecycle, Op, Think};
use super::super::template::Names;
use super::super::types::*;
use super::super::yaml::{Key, Node, Reader, Value, entries};
use super::flow::{Callable, Compiler, calls, on_failure};
use super::{Building, Context, Inherited, data, redirects, step, think, value};
use crate::record::StepId;
use std::collections::BTreeMap;

pub const JOURNEY_KEYS: &[&str] =
    &["weight", "think", "pace", "data", "load", "takes", "target", "on_failure", "follow", "steps"];
/// Keys of the top level whose steps are walked once per run or once per user.
const LIFECYCLE: [&str; 4] = ["setup", "on_start", "on_stop", "teardown"];

/// Keys of steps that hold what is sent.
const SENT: [&str; 8] = ["json", "form", "multipart", "graphql", "message", "messages", "metadata", "send"];

/// A journey as typed, its own keys read.
struct Typed<'a> {
    name: String,
    place: Place,
    weight: u32,
    data: Option<Data>,
    shares_row: bool,
    think: Think,
    pace: Think,
    on_failure: OnFailure,
    redirects: Redirects,
    target: Option<usize>,
    takes: Vec<String>,
    steps: &'a Node,
}

/// Reads all journeys.
pub fn journeys(
    top: &Reader,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    building: &mut Building,
) -> Result<(), Fault> {
    let mut all = Vec::new();
    let shared = top.get("data").map(|node| data(node, context)).transpose()?;
    let names = &kept(top, names, context)?;
    let blank = |name, steps, weight| blank(name, steps, weight, inherited);
    let once = |key: &'static str| top.get(key).map(|node| (key, node));
    // Steps keep the order in which they are walked: setup first.
    for (key, node) in LIFECYCLE[..2].iter().filter_map(|key| once(key)) {
        all.push(blank_of(blank(key, node, 0), inherited, key));
    }
    match (top.get("journeys"), top.get("steps")) {
        (Some(_), Some(steps)) => {
            return Err(Fault::new(
                steps.place,
                "`steps` beside `journeys`: steps belong under a journey, or alone at the top for a scenario of one journey",
            ));
        }
        (None, None) => {
            return Err(Fault::new(
                top.place(),
                "the scenario needs `journeys` (or `steps` for a single journey)",
            ));
        }
        (None, Some(steps)) => {
            let pace = top.get("pace").map(|n| think(n, context.source)).transpose()?.unwrap_or_default();
            all.push(Typed { pace, ..blank("main", steps, 1) });
        }
        (Some(node), None) => {
            if let Some(key) = top.key("pace") {
                return Err(Fault::new(key.place, format!("`{}` belongs under a journey", key.text)));
            }
            let entries = entries(node, "a mapping of names to journeys")?;
            if entries.is_empty() {
                return Err(node.expected("at least one journey"));
            }
            for (key, node) in entries {
                all.push(typed(key, node, inherited, context, building)?);
            }
            if all.iter().all(|j| j.weight == 0) {
                return Err(Fault::new(
                    node.place,
                    "no journey has a weight above 0: there is nothing that a user would choose",
                ));
            }
        }
    }
    for (key, node) in LIFECYCLE[2..].iter().filter_map(|key| once(key)) {
        all.push(blank_of(blank(key, node, 0), inherited, key));
    }
    // What nobody says of its own holds for all that users walk.
    for typed in
        all.iter_mut().filter(|j| j.data.is_none() && !matches!(j.name.as_str(), "setup" | "teardown"))
    {
        (typed.data, typed.shares_row) = (shared.clone(), shared.is_some());
    }
    build(all, names, inherited, context, building)
}

/// The names with those that outlast an iteration, which can be named everywhere: they have no value before they are
/// first given one.
fn kept(top: &Reader, names: &Names, context: &Context) -> Result<Names, Fault> {
    let mut names = names.clone();
    let mut open: Vec<&Node> =
        LIFECYCLE.iter().chain(&["journeys", "steps"]).filter_map(|key| top.get(key)).collect();
    while let Some(node) = open.pop() {
        match &node.value {
            Value::List(items) => open.extend(items),
            Value::Map(map) => {
                for (key, value) in map {
                    match (key.text.as_str(), &value.value) {
                        ("extract", Value::Map(extracts)) => {
                            for (name, node) in extracts {
                                let Value::Map(parts) = &node.value else { continue };
                                let Some((_, lasts)) = parts.iter().find(|(k, _)| k.text == "keep") else {
                                    continue;
                                };
                                value::variable_name(name)?;
                                let lasts = super::expect::keep(lasts, context.source)?;
                                declare_kept(&mut names, &name.text, lasts, node.place)?;
                            }
                        }
                        // What is sent may have such words of its own.
                        (key, _) if SENT.contains(&key) => {}
                        _ => open.push(value),
                    }
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

fn declare_kept(names: &mut Names, name: &str, lasts: Keep, place: Place) -> Result<(), Fault> {
    let slot = names.declare(name);
    match names.kept.borrow_mut().insert(slot, lasts) {
        Some(other) if other != lasts => Err(Fault::new(
            place,
            format!("`{name}` is kept by the user in one place and by the run in another"),
        )),
        _ => Ok(()),
    }
}

fn blank<'a>(name: &str, steps: &'a Node, weight: u32, inherited: &Inherited) -> Typed<'a> {
    Typed {
        name: name.to_string(),
        place: steps.place,
        weight,
        data: None,
        shares_row: false,
        think: inherited.think,
        pace: Think::default(),
        on_failure: inherited.on_failure,
        redirects: inherited.redirects,
        target: None,
        takes: Vec::new(),
        steps,
    }
}

/// Nobody thinks while a run is set up.
fn blank_of<'a>(typed: Typed<'a>, inherited: &Inherited, key: &str) -> Typed<'a> {
    let per_user = key.starts_with("on_");
    Typed { think: if per_user { inherited.think } else { Think::default() }, ..typed }
}

fn typed<'a>(
    key: &Key,
    node: &'a Node,
    inherited: &Inherited,
    context: &Context,
    building: &Building,
) -> Result<Typed<'a>, Fault> {
    if key.text.trim().is_empty() {
        return Err(Fault::new(key.place, "a journey needs a name"));
    }
    if LIFECYCLE.contains(&key.text.as_str()) {
        return Err(Fault::new(
            key.place,
            format!(
                "`{}` has a meaning of its own: put it at the top level, or choose another name",
                key.text
            ),
        ));
    }
    // A list in place of the mapping is a journey with nothing but steps.
    if let Value::List(_) = node.value {
        return Ok(Typed { place: key.place, ..blank(&key.text, node, 1, inherited) });
    }
    let reader = Reader::new(node, "a journey", JOURNEY_KEYS)?;
    let steps = reader.need("steps", "a list such as [GET /products]")?;
    let mut typed = Typed { place: key.place, ..blank(&key.text, steps, 1, inherited) };
    if let Some(node) = reader.get("weight") {
        typed.weight = node.count("weight", 0..=1_000_000)?;
    }
    if let Some(node) = reader.get("think") {
        typed.think = think(node, context.source)?;
    }
    if let Some(node) = reader.get("pace") {
        typed.pace = think(node, context.source)?;
    }
    if let Some(node) = reader.get("on_failure") {
        typed.on_failure = on_failure(node, context.source)?;
    }
    if let Some(node) = reader.get("follow") {
        typed.redirects = redirects(node)?;
    }
    if let Some(node) = reader.get("target") {
        typed.target = Some(building.target_named(node, context)?);
    }
    typed.data = reader.get("data").map(|n| data(n, context)).transpose()?;
    for node in reader.get("takes").map(Node::items).unwrap_or_default() {
        let name = node.text(context.source, "the name of a variable")?;
        value::variable_name(&Key { place: node.place, text: name.clone() })?;
        typed.takes.push(name);
    }
    if typed.weight > 0 && !typed.takes.is_empty() {
        return Err(Fault::new(
            key.place,
            "a journey with `takes` is only called, by one that has the values: give it `weight: 0`",
        ));
    }
    Ok(typed)
}

/// Compiles all journeys, those first that others call, and puts them together in the file's order.
fn build(
    all: Vec<Typed>,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    building: &mut Building,
) -> Result<(), Fault> {
    let mut callable: BTreeMap<String, Callable> = all
        .iter()
        .enumerate()
        .map(|(index, j)| (j.name.clone(), Callable { index, takes: j.takes.clone(), ..Callable::default() }))
        .collect();
    for key in LIFECYCLE {
        callable.remove(key);
    }
    let mut done: BTreeMap<usize, (Vec<Step>, Journey)> = BTreeMap::new();
    // What the setup leaves is there for everybody, what `on_start` leaves for all of the user's journeys.
    let mut names = names.clone();
    for index in order(&all, &callable)? {
        let typed = &all[index];
        let (steps, journey, left) = compile(typed, &names, inherited, context, &callable, building)?;
        match typed.name.as_str() {
            "setup" | "on_start" => names.visible.extend(&left),
            _ => {
                if let Some(entry) = callable.get_mut(&typed.name) {
                    entry.leaves = left;
                }
            }
        }
        done.insert(index, (steps, journey));
    }
    let mut count = 0;
    let firsts: Vec<usize> = done
        .values()
        .map(|(steps, _)| {
            count += steps.len();
            count - steps.len()
        })
        .collect();
    if count > super::MAX_STEPS {
        return Err(Fault::new(Place::default(), format!("more than {} steps", super::MAX_STEPS)));
    }
    let entries: Vec<Option<usize>> =
        all.iter().enumerate().map(|(index, _)| first_step(index, &done, &firsts, 0)).collect();
    for (index, (mut steps, mut journey)) in done {
        let Some(first) = entries[index] else {
            let typed = &all[index];
            return Err(Fault::new(
                typed.place,
                format!("the journey `{}` has no request, and calls no journey that has one", typed.name),
            ));
        };
        journey.first = StepId(first as u16);
        journey.steps = firsts[index]..firsts[index] + steps.len();
        steps.iter_mut().for_each(|step| step.journey = index);
        building.steps.append(&mut steps);
        building.journeys.push(journey);
    }
    let at = |name: &str| all.iter().position(|j| j.name == name);
    building.lifecycle = Lifecycle {
        setup: at("setup"),
        teardown: at("teardown"),
        on_start: at("on_start"),
        on_stop: at("on_stop"),
    };
    building.slots = names.slots.borrow().len();
    Ok(())
}

/// The request that a walk of a journey would send first if nothing were skipped.
fn first_step(
    index: usize,
    done: &BTreeMap<usize, (Vec<Step>, Journey)>,
    firsts: &[usize],
    depth: usize,
) -> Option<usize> {
    let (_, journey) = done.get(&index)?;
    journey.flow.iter().find_map(|op| match op {
        Op::Step(local) => Some(firsts[index] + local),
        // Calls have no cycles: the depth is at most the number of journeys.
        Op::Call(called) | Op::CallForAll(called) if depth <= done.len() => {
            first_step(*called, done, firsts, depth + 1)
        }
        _ => None,
    })
}

fn compile(
    typed: &Typed,
    names: &Names,
    inherited: &Inherited,
    context: &Context,
    callable: &BTreeMap<String, Callable>,
    building: &mut Building,
) -> Result<(Vec<Step>, Journey, Vec<usize>), Fault> {
    let Value::List(items) = &typed.steps.value else {
        return Err(typed.steps.expected("a list of steps such as [GET /products]"));
    };
    if items.is_empty() {
        return Err(Fault::new(typed.steps.place, format!("the journey `{}` has no steps", typed.name)));
    }
    let mut names = Names { columns: typed.data.as_ref().map(Data::columns), ..names.clone() };
    for name in &typed.takes {
        names.declare(name);
    }
    let before = names.visible.clone();
    let inherited = Inherited {
        think: typed.think,
        on_failure: typed.on_failure,
        redirects: typed.redirects,
        target: typed.target.unwrap_or(inherited.target),
        ..inherited.clone()
    };
    let implied = step::implied_ids(items, &names);
    let mut compiler = Compiler::new(names, inherited, context, callable, building);
    for (index, item) in items.iter().enumerate() {
        compiler.entry(item)?;
        if implied == Some(index)
            && let Some(Op::Step(local)) = compiler.flow.last().cloned()
        {
            let ids = step::ids(&mut compiler.names)?;
            compiler.steps[local].extract.push(ids);
        }
    }
    let left = compiler.names.visible.difference(&before).copied().collect();
    let journey = Journey {
        name: typed.name.clone(),
        weight: typed.weight,
        steps: 0..0,
        first: StepId(0),
        data: typed.data.clone(),
        shares_row: typed.shares_row,
        flow: compiler.flow,
        counters: compiler.counters,
        pace: typed.pace,
    };
    Ok((compiler.steps, journey, left))
}

/// Journeys so that each comes after all that it calls; setup and `on_start` before all others that they do not call.
fn order(all: &[Typed], callable: &BTreeMap<String, Callable>) -> Result<Vec<usize>, Fault> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let called: Vec<Vec<(usize, Place)>> = all
        .iter()
        .map(|j| {
            calls(j.steps)
                .into_iter()
                .filter_map(|(name, at)| Some((callable.get(&name)?.index, at)))
                .collect()
        })
        .collect();
    let mut marks = vec![Mark::New; all.len()];
    let mut sorted = Vec::new();
    for start in 0..all.len() {
        let mut path = vec![(start, 0)];
        if marks[start] != Mark::New {
            continue;
        }
        marks[start] = Mark::Open;
        while let Some((journey, next)) = path.last_mut() {
            let Some((to, place)) = called[*journey].get(*next).copied() else {
                marks[*journey] = Mark::Done;
                sorted.push(*journey);
                path.pop();
                continue;
            };
            *next += 1;
            match marks[to] {
                Mark::Done => {}
                Mark::New => {
                    marks[to] = Mark::Open;
                    path.push((to, 0));
                }
                Mark::Open => {
                    let from = path.iter().position(|(j, _)| *j == to).unwrap_or(0);
                    let mut names: Vec<&str> =
                        path[from..].iter().map(|(j, _)| all[*j].name.as_str()).collect();
                    names.push(&all[to].name);
                    return Err(Fault::new(
                        place,
                        format!(
                            "journeys call each other in a circle: {}; loops are written with `repeat` or `while`",
                            names.join(" → ")
                        ),
                    ));
                }
            }
        }
    }
    Ok(sorted)
}
