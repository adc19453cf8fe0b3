//! A journey's list of steps as a program: requests, branches, loops and calls.

use super::super::calls::Call;
use super::super::error::{Fault, Place, listed, nearest};
use super::super::flow::Op;
use super::super::quantity;
use super::super::template::{self, Names};
use super::super::types::*;
use super::super::yaml::{Node, Reader, Value, entries};
use super::step::{self, METHODS, STEP_KEYS};
use super::{Context, Inherited, Scope, think, value};
use std::collections::BTreeMap;

/// Most rounds of a `while` that says nothing else.
const ROUNDS: u32 = 1_000;
const MOST_ROUNDS: i64 = 100_000;
/// Blocks within blocks.
const MOST_DEPTH: usize = 24;

/// Keys of an entry that make it something else than a request.
const KINDS: &[&str] = &["steps", "choose", "call", "set", "pause"];
/// Keys that every entry may have.
const MODIFIERS: &[&str] = &["when", "repeat", "while", "max", "weight"];

/// What all journeys of a scenario offer to those that call them.
#[derive(Clone, Debug, Default)]
pub struct Callable {
    /// Index of the journey.
    pub index: usize,
    /// Variables that its callers must have.
    pub takes: Vec<String>,
    /// Slots that it may set.
    pub leaves: Vec<usize>,
}

/// Turns one journey's steps into operations.
pub struct Compiler<'a> {
    pub names: Names,
    pub inherited: Inherited,
    pub context: &'a Context<'a>,
    pub callable: &'a BTreeMap<String, Callable>,
    pub building: &'a mut super::Building,
    pub steps: Vec<Step>,
    pub flow: Vec<Op>,
    pub counters: usize,
    /// The operations that leave each loop around here, to be pointed at its end.
    leaving: Vec<Vec<usize>>,
    depth: usize,
}

impl<'a> Compiler<'a> {
    pub fn new(
        names: Names,
        inherited: Inherited,
        context: &'a Context<'a>,
        callable: &'a BTreeMap<String, Callable>,
        building: &'a mut super::Building,
    ) -> Compiler<'a> {
        Compiler {
            names,
            inherited,
            context,
            callable,
            building,
            steps: Vec::new(),
            flow: Vec::new(),
            counters: 0,
            leaving: Vec::new(),
            depth: 0,
        }
    }

    /// One entry of the list.
    pub fn entry(&mut self, node: &Node) -> Result<(), Fault> {
        if let Value::Text(text) = &node.value {
            match text.trim() {
                "break" => return self.leave(node.place),
                "stop" => {
                    self.flow.push(Op::Stop);
                    return Ok(());
                }
                _ => return self.request(node),
            }
        }
        let reader = Reader::new(node, "a step", STEP_KEYS)?;
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(Fault::new(node.place, format!("steps are nested more than {MOST_DEPTH} deep")));
        }
        let done = self.guarded(node, &reader);
        self.depth -= 1;
        done
    }

    /// `when` is asked once, around everything else.
    fn guarded(&mut self, node: &Node, reader: &Reader) -> Result<(), Fault> {
        let Some(test) = reader.get("when") else {
            if let Some(key) = reader.key("else") {
                return Err(Fault::new(key.place, "`else` goes with `when`"));
            }
            return self.looped(node, reader);
        };
        let condition = condition(test, "when", &self.names, self.context)?;
        let at = self.flow.len();
        self.flow.push(Op::Stop);
        self.looped(node, reader)?;
        let mut otherwise = self.flow.len();
        if let Some(node) = reader.get("else") {
            let skip = self.flow.len();
            self.flow.push(Op::Stop);
            otherwise = self.flow.len();
            self.list(node, "`else`")?;
            self.flow[skip] = Op::Jump(self.flow.len());
        }
        self.flow[at] = Op::Unless(condition, otherwise);
        Ok(())
    }

    fn looped(&mut self, node: &Node, reader: &Reader) -> Result<(), Fault> {
        let rounds = match (reader.get("repeat"), reader.get("while")) {
            (Some(_), Some(second)) => {
                return Err(Fault::new(
                    second.place,
                    "a loop has `repeat` or `while`, not both: `while` takes `max`",
                ));
            }
            (Some(node), None) => Some(self.rounds(node)?),
            (None, Some(_)) => {
                let max = reader.get("max").map(|n| n.count("max", 1..=MOST_ROUNDS)).transpose()?;
                let max = max.unwrap_or(ROUNDS);
                Some((max, max))
            }
            (None, None) => None,
        };
        if let (Some(key), None) = (reader.key("max"), reader.get("while")) {
            return Err(Fault::new(key.place, "`max` goes with `while`: the most rounds that it may take"));
        }
        let Some((least, most)) = rounds else { return self.plain(node, reader) };
        // What a round leaves behind is there for the next one.
        for name in names_set(node, self.callable, &self.names) {
            self.names.declare(&name);
        }
        let counter = self.counters;
        self.counters += 1;
        self.flow.push(Op::Count(counter, least, most));
        let top = self.flow.len();
        self.flow.push(Op::Stop);
        self.leaving.push(Vec::new());
        let test = match reader.get("while") {
            Some(test) => {
                let condition = condition(test, "while", &self.names, self.context)?;
                self.flow.push(Op::Stop);
                Some((self.flow.len() - 1, condition))
            }
            None => None,
        };
        self.plain(node, reader)?;
        self.flow.push(Op::Jump(top));
        let end = self.flow.len();
        self.flow[top] = Op::Take(counter, end);
        if let Some((at, condition)) = test {
            self.flow[at] = Op::Unless(condition, end);
        }
        for at in self.leaving.pop().unwrap_or_default() {
            self.flow[at] = Op::Jump(end);
        }
        Ok(())
    }

    /// `3`, or `2..5` of which each number is as likely.
    fn rounds(&self, node: &Node) -> Result<(u32, u32), Fault> {
        if let Value::Text(text) = &node.value
            && let Some((least, most)) = text.split_once("..")
        {
            let number = |t: &str| t.trim().parse::<u32>().ok().filter(|n| i64::from(*n) <= MOST_ROUNDS);
            return match (number(least), number(most)) {
                (Some(least), Some(most)) if least <= most => Ok((least, most)),
                (Some(_), Some(_)) => Err(Fault::new(
                    node.place,
                    format!("the range {text} is empty: the smaller number goes first"),
                )),
                _ => Err(node.expected("a number of rounds, or a range such as 2..5")),
            };
        }
        match node.value {
            Value::Int(_) => node.count("repeat", 0..=MOST_ROUNDS).map(|n| (n, n)),
            _ => Err(node.expected("a number of rounds, or a range such as 2..5")),
        }
    }

    fn plain(&mut self, node: &Node, reader: &Reader) -> Result<(), Fault> {
        let kind = KINDS.iter().find_map(|kind| reader.key(kind).map(|key| (*kind, key)));
        let method = METHODS.iter().find_map(|(name, _)| reader.key(name));
        let method = method.or_else(|| step::CALLS.iter().find_map(|name| reader.key(name)));
        let Some((kind, key)) = kind else {
            if method.is_none() && reader.key("when").is_some() && reader.key("name").is_none() {
                return Err(Fault::new(
                    reader.place(),
                    "`when` needs `steps`, a request or a `call` beside it",
                ));
            }
            return self.request(node);
        };
        if let Some(method) = method {
            return Err(Fault::new(
                method.place,
                format!("`{}` beside `{kind}`: a request is an entry of its own", method.text),
            ));
        }
        let allowed: &[&str] = match kind {
            "steps" => &["steps", "else", "name"],
            "call" => &["call", "with", "one_for_all", "else"],
            "choose" => &["choose", "else"],
            "set" => &["set", "else"],
            _ => &["pause", "else"],
        };
        if let Some(stray) = reader
            .keys()
            .find(|k| !allowed.contains(&k.text.as_str()) && !MODIFIERS.contains(&k.text.as_str()))
        {
            return Err(Fault::new(stray.place, format!("`{}` does not go with `{kind}`", stray.text)));
        }
        let value =
            reader.get(kind).ok_or_else(|| Fault::new(key.place, format!("`{kind}` has no value")))?;
        match kind {
            "steps" => self.list(value, "`steps`"),
            "choose" => self.choose(value),
            "call" => self.call(value, reader),
            "set" => self.set(value),
            _ => {
                let pause = think(value, self.context.source)?;
                self.flow.push(Op::Pause(pause));
                Ok(())
            }
        }
    }

    /// A list of entries.
    pub fn list(&mut self, node: &Node, what: &str) -> Result<(), Fault> {
        match &node.value {
            Value::List(items) if items.is_empty() => {
                Err(Fault::new(node.place, format!("{what} has no steps")))
            }
            Value::List(items) => items.iter().try_for_each(|item| self.entry(item)),
            _ => Err(node.expected(&format!("a list of steps under {what}"))),
        }
    }

    fn request(&mut self, node: &Node) -> Result<(), Fault> {
        let local = self.steps.len();
        let scope = Scope {
            names: &self.names,
            inherited: &self.inherited,
            context: self.context,
            building: self.building,
        };
        let mut step = step::step(node, &scope)?;
        for extract in &step.extract {
            self.names.declare(&extract.name);
        }
        if let Call::WebSocket(conversation) = &step.call {
            for extract in conversation.awaited().into_iter().flat_map(|awaited| &awaited.extract) {
                self.names.declare(&extract.name);
            }
        }
        let taken: Vec<&str> = self.steps.iter().map(|s| s.name.as_str()).collect();
        step.name = step::unique_name(step.name, step::named(node).map(|n| n.place), &taken)?;
        if local >= super::MAX_STEPS {
            return Err(Fault::new(node.place, format!("more than {} steps", super::MAX_STEPS)));
        }
        self.steps.push(step);
        self.flow.push(Op::Step(local));
        Ok(())
    }

    fn leave(&mut self, place: Place) -> Result<(), Fault> {
        let at = self.flow.len();
        let Some(innermost) = self.leaving.last_mut() else {
            return Err(Fault::new(
                place,
                "`break` stands in no loop: it leaves a `repeat` or `while`; `stop` ends the iteration",
            ));
        };
        innermost.push(at);
        self.flow.push(Op::Stop);
        Ok(())
    }

    fn choose(&mut self, node: &Node) -> Result<(), Fault> {
        let Value::List(branches) = &node.value else {
            return Err(
                node.expected("a list of branches such as [{weight: 3, get: /a}, {weight: 1, call: b}]")
            );
        };
        if branches.is_empty() {
            return Err(node.expected("at least one branch"));
        }
        let at = self.flow.len();
        self.flow.push(Op::Stop);
        let (mut choices, mut ends) = (Vec::new(), Vec::new());
        for branch in branches {
            let weight = match &branch.value {
                Value::Map(entries) => match entries.iter().find(|(k, _)| k.text == "weight") {
                    Some((_, node)) => node.count("weight", 1..=1_000_000)?,
                    None => 1,
                },
                _ => 1,
            };
            choices.push((weight, self.flow.len()));
            self.entry(branch)?;
            ends.push(self.flow.len());
            self.flow.push(Op::Stop);
        }
        let end = self.flow.len();
        for at in ends {
            self.flow[at] = Op::Jump(end);
        }
        self.flow[at] = Op::Choose(choices);
        Ok(())
    }

    fn call(&mut self, node: &Node, reader: &Reader) -> Result<(), Fault> {
        let name = node.text(self.context.source, "the name of a journey")?;
        let Some(target) = self.callable.get(&name) else {
            let known: Vec<&str> = self.callable.keys().map(String::as_str).collect();
            return Err(Fault::new(
                node.place,
                match nearest(&name, known.iter().copied()) {
                    Some(near) => format!("there is no journey `{name}`; did you mean `{near}`?"),
                    None => format!("there is no journey `{name}`; the journeys are {}", listed(&known)),
                },
            ));
        };
        if let Some(node) = reader.get("with") {
            for (key, value) in entries(node, "a mapping of the journey's variables to values")? {
                if !target.takes.contains(&key.text) {
                    return Err(Fault::new(
                        key.place,
                        format!("the journey `{name}` takes no `{}`: name it there under `takes`", key.text),
                    ));
                }
                self.assign(&key.text, value)?;
            }
        }
        if let Some(lacking) = target.takes.iter().find(|v| self.names.slot(v).is_none()) {
            return Err(Fault::new(
                node.place,
                format!(
                    "the journey `{name}` takes `{lacking}`, which is not there yet: give it with `with: {{{lacking}: …}}`"
                ),
            ));
        }
        match reader.get("one_for_all") {
            Some(flag) if flag.flag()? => {
                let kept = self.names.kept.borrow();
                // All else that the journey leaves would be there for one user only.
                if !kept.values().any(|lasts| *lasts == Keep::Run) {
                    let why = format!(
                        "`{name}` leaves nothing for the users who wait: give what it extracts `keep: run`, as in \
                         {{token: {{json: $.token, keep: run}}}}"
                    );
                    return Err(Fault::new(flag.place, why));
                }
                self.flow.push(Op::CallForAll(target.index));
            }
            _ => {
                self.names.visible.extend(&target.leaves);
                self.flow.push(Op::Call(target.index));
            }
        }
        Ok(())
    }

    fn set(&mut self, node: &Node) -> Result<(), Fault> {
        for (key, value) in
            entries(node, "a mapping of variables to values, e.g. {page: \"{{ page + 1 }}\"}")?
        {
            value::variable_name(key)?;
            self.assign(&key.text, value)?;
        }
        Ok(())
    }

    /// A text that is one hole keeps its value's type; any other value is what it is.
    fn assign(&mut self, name: &str, node: &Node) -> Result<(), Fault> {
        let expression = value::single_value(node, &self.names, self.context)?;
        let slot = self.names.declare(name);
        self.flow.push(Op::Set(slot, expression));
        Ok(())
    }
}

/// An expression, with or without `{{ }}` around it.
pub fn condition(
    node: &Node,
    key: &str,
    names: &Names,
    context: &Context,
) -> Result<template::Expression, Fault> {
    let text = node.text(context.source, "a condition such as cart_total > 0")?;
    let trimmed = text.trim_start();
    let mut offset = text.chars().count() - trimmed.chars().count();
    let mut inside = trimmed.trim_end();
    if let Some(inner) = inside.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")) {
        (inside, offset) = (inner, offset + 2);
    }
    if inside.trim().is_empty() {
        return Err(node.expected(&format!("a condition under `{key}`")));
    }
    template::parse_expression(inside, names)
        .map_err(|fault| context.template_fault(node, &text, offset, fault))
}

/// The names of all variables that the steps under a node may set.
pub fn names_set(node: &Node, callable: &BTreeMap<String, Callable>, names: &Names) -> Vec<String> {
    let mut found = Vec::new();
    gather(node, callable, names, &mut found);
    found
}

fn gather(node: &Node, callable: &BTreeMap<String, Callable>, names: &Names, found: &mut Vec<String>) {
    match &node.value {
        Value::List(items) => items.iter().for_each(|item| gather(item, callable, names, found)),
        Value::Map(map) => {
            for (key, value) in map {
                match (key.text.as_str(), &value.value) {
                    ("extract" | "set" | "with", Value::Map(entries)) => {
                        found.extend(entries.iter().map(|(k, _)| k.text.clone()));
                    }
                    ("steps" | "else" | "choose" | "script", _) => gather(value, callable, names, found),
                    ("call", Value::Text(name)) => {
                        if let Some(target) = callable.get(name) {
                            let slots = names.slots.borrow();
                            found.extend(target.leaves.iter().filter_map(|slot| slots.get(*slot).cloned()));
                        }
                    }
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// The names of all journeys that the steps under a node call, with their places.
pub fn calls(node: &Node) -> Vec<(String, Place)> {
    let mut found = Vec::new();
    let mut open = vec![node];
    while let Some(node) = open.pop() {
        match &node.value {
            Value::List(items) => open.extend(items),
            Value::Map(map) => {
                for (key, value) in map {
                    match (key.text.as_str(), &value.value) {
                        ("call", Value::Text(name)) => found.push((name.clone(), value.place)),
                        ("steps" | "else" | "choose", _) => open.push(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    found
}

/// `go_on`, `stop`, `retry(3, 500ms)` or `retry(3, 500ms) then go_on`.
pub fn on_failure(node: &Node, source: &str) -> Result<OnFailure, Fault> {
    let text = node.text(source, "go_on, stop or retry(3, 500ms)")?;
    let wrong = |why: String| Fault::new(node.place, why);
    let then = |word: &str| match word.trim() {
        "go_on" => Ok(Then::GoOn),
        "stop" => Ok(Then::Stop),
        other => Err(wrong(match nearest(other, ["go_on", "stop", "retry"]) {
            Some(near) => format!("`{other}` is not known here; did you mean `{near}`?"),
            None => format!("expected go_on, stop or retry(3, 500ms), found {other:?}"),
        })),
    };
    let Some(rest) = text.trim().strip_prefix("retry") else {
        return Ok(OnFailure { then: then(&text)?, ..OnFailure::default() });
    };
    let form = || {
        wrong(format!(
            "{text:?}: write retry(times, wait), e.g. retry(3, 500ms) or retry(3, 500ms) then go_on"
        ))
    };
    let (inside, after) =
        rest.trim_start().strip_prefix('(').and_then(|r| r.split_once(')')).ok_or_else(form)?;
    let (times, wait) = inside.split_once(',').unwrap_or((inside, "0s"));
    let retries = times
        .trim()
        .parse::<u16>()
        .ok()
        .filter(|n| (1..=100).contains(n))
        .ok_or_else(|| wrong(format!("{:?} is no number of retries: write 1 to 100", times.trim())))?;
    let wait = quantity::duration(wait).map_err(wrong)?;
    let then = match after.trim() {
        "" => Then::Stop,
        after => then(after.strip_prefix("then").ok_or_else(form)?)?,
    };
    Ok(OnFailure { retries, wait, then })
}
