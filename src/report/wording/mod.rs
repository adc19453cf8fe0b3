//! Every sentence of a report. One function for each enum of the analysis and the record; none of them computes anything
//! that another format could need as a number.

pub mod advice;
pub mod comparison;
pub mod finding;
pub mod group;
pub mod imagined;
pub mod ledger;
pub mod load;
pub mod note;
pub mod pool;
pub mod verdict;

#[cfg(test)]
mod tests;

use super::number;
use super::prose::Prose;
use super::text;
use super::view::{Owner, StepView, Tail, View};
use super::{Actual, Unit};
use crate::analysis::result::{Category, Contributor, Exemplar, ExemplarRole};

/// Something to know about a run, with the way out where there is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// How much it matters.
    pub level: Level,
    /// What is so.
    pub text: Prose,
    /// What to do about it.
    pub way_out: Option<Prose>,
}

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Makes numbers doubtful or says that something was lost.
    Warning,
    /// Was seen and dealt with.
    Note,
}

impl Message {
    fn warning(text: impl Into<Prose>) -> Message {
        Message { level: Level::Warning, text: text.into(), way_out: None }
    }

    fn note(text: impl Into<Prose>) -> Message {
        Message { level: Level::Note, text: text.into(), way_out: None }
    }

    fn instead(self, way_out: impl Into<Prose>) -> Message {
        Message { way_out: Some(way_out.into()), ..self }
    }

    /// Text and way out in one.
    pub fn whole(&self) -> Prose {
        match &self.way_out {
            Some(way_out) => self.text.clone().own(" ").then(way_out.clone()),
            None => self.text.clone(),
        }
    }
}

/// With a capital first letter.
fn sentence(fragment: &str) -> String {
    let mut chars = fragment.chars();
    match chars.next() {
        Some(first) => format!("{}{}", first.to_uppercase(), chars.as_str()),
        None => String::new(),
    }
}

/// All messages of a report: what the run could know, its ledgers, the analysis. Warnings first.
pub fn messages(view: &View) -> Vec<Message> {
    let mut all: Vec<Message> = ledger::messages(view);
    all.extend(view.analysis().notes.iter().map(|n| note::message(n, view)));
    all.extend(view.run().warnings.iter().map(|w| Message::warning(Prose::new().foreign(w))));
    all.extend(ledger::small_samples(view));
    // Stable: within a level the order above stays.
    all.sort_by_key(|m| m.level);
    all
}

/// A category as the cause in a sentence: "slow because of …".
pub fn cause(category: Category) -> &'static str {
    match category {
        Category::Generator => "the load generator",
        Category::Connection => "opening connections",
        Category::Network => "the network",
        Category::Queue => "queueing",
        Category::App => "its own code",
        Category::Database => "the database",
        Category::Cache => "the cache",
        Category::Search => "the search engine",
        Category::Messaging => "messaging",
        Category::External => "an external service",
        Category::Transfer => "the transfer of its answers",
        Category::Untraced => "a server without spans",
    }
}

/// What a contributor is called: its name, else the best that is known.
pub fn contributor_name(contributor: &Contributor) -> &str {
    [&*contributor.name, &*contributor.system, &*contributor.service]
        .into_iter()
        .find(|text| !text.trim().is_empty())
        .unwrap_or(match contributor.category {
            Category::Generator => "sent late by hotspan",
            Category::Connection => "DNS, TCP, TLS",
            Category::Network => "under no span",
            Category::Transfer => "first to last byte of the answer",
            Category::Untraced => "waiting for a server without spans",
            category => category.name(),
        })
}

/// The name for a table, cleaned and short; with the place in the code where a row above or below has the same name.
pub fn contributor_label(owner: &Owner, step: &StepView) -> String {
    let name = text::statement(&text::clean(contributor_name(&owner.result.contributor)));
    match step.told_apart_by(owner) {
        Some(code) => format!("{name} at {}", text::clean(code)),
        None => name,
    }
}

/// `26 calls per request`; nothing for time that comes from no span.
pub fn calls_per_request(calls: f64) -> Option<String> {
    (calls > 0.0).then(|| {
        let text = number::calls(calls);
        let word = if text == "1" { "call" } else { "calls" };
        format!("{text} {word} per request")
    })
}

/// What the column "at p95" is; nothing where no request is between p90 and p99.
pub fn at_p95(slow: u64) -> Option<String> {
    let n = number::counted(slow, "request", "requests");
    (slow > 0).then(|| format!("“at p95” is the share of the latency of the {n} between p90 and p99"))
}

/// What was said within the requests of each step that is more than a question and its answer.
pub fn conversations(view: &View) -> Vec<Prose> {
    let of = |step: &StepView| {
        let words = conversation(step)?;
        Some(Prose::new().short_name(&view.step_name(step.result.step), 48).own(format!(": {words}")))
    };
    view.steps.iter().filter_map(of).collect()
}

/// What was said within a step's requests, where they are more than a question and its answer.
pub fn conversation(step: &StepView) -> Option<String> {
    let messages = step.result.messages.as_ref().filter(|m| m.exchanges > 0)?;
    let each = |n: u64| number::calls(n as f64 / messages.exchanges as f64);
    let mut words =
        format!("messages per request: {} sent, {} received", each(messages.sent), each(messages.received));
    if !messages.first.is_empty() {
        let first = messages.first.quantiles();
        words.push_str(&format!(
            "; the first came after {} (p50), {} (p95)",
            number::nanos(first.p50),
            number::nanos(first.p95)
        ));
    }
    if messages.received > messages.exchanges {
        words.push_str(&format!("; longest gap between two {}", number::nanos(messages.longest_gap)));
    }
    if let Some((count, mean, longest)) = messages.round_trips {
        words.push_str(&format!(
            "; {} with a mean of {}, the longest {}",
            number::counted(count, "round trip", "round trips"),
            number::nanos(mean),
            number::nanos(longest)
        ));
    }
    Some(words)
}

/// Why a request was chosen to be looked at.
pub fn role(role: ExemplarRole) -> &'static str {
    match role {
        ExemplarRole::Typical => "typical",
        ExemplarRole::Slow => "slow",
        ExemplarRole::Worst => "worst",
    }
}

/// A check that did not hold, with one example of what was seen.
pub fn check_failed(check: &str, n: u64, seen: &str) -> Prose {
    let out = Prose::new().own(format!("{} failed the check ", number::count(n))).short_name(check, 48);
    if seen.trim().is_empty() { out } else { out.own(", for example with ").short_name(seen, 64) }
}

/// One sentence for each way in which requests of a step failed.
pub fn failures(step: &StepView) -> Vec<Prose> {
    let mut out = Vec::new();
    for (class, (n, message)) in &step.result.failures {
        let text = Prose::new().own(format!("{} because {}", number::count(*n), verdict::failure(*class)));
        out.push(match message.trim().is_empty() {
            true => text,
            false => text.own(": ").foreign(message),
        });
    }
    for (status, n) in step.result.statuses.iter().filter(|(status, _)| **status < 100 || **status >= 400) {
        out.push(Prose::new().own(format!(
            "{} answered with {}",
            number::count(*n),
            verdict::status_words(*status)
        )));
    }
    for (check, (n, seen)) in &step.result.checks {
        out.push(check_failed(check, *n, seen));
    }
    out.extend(reasons(step));
    out
}

/// Reasons that are told one by one.
const REASONS: usize = 5;

/// Why requests of a step failed, in the words of the server's spans.
fn reasons(step: &StepView) -> Vec<Prose> {
    let (told, more) = step.result.reasons.split_at(step.result.reasons.len().min(REASONS));
    let mut out: Vec<Prose> = told
        .iter()
        .map(|reason| {
            let who = &reason.contributor;
            let text = Prose::new().own(format!("{} in ", number::count(reason.exchanges)));
            let text = text.name(&who.service).own(" with ").foreign(&reason.words).own(", at ");
            text.name(contributor_name(who))
        })
        .collect();
    let more: u64 = more.iter().map(|reason| reason.exchanges).sum();
    if more > 0 {
        out.push(
            Prose::new().own(format!("{} for other reasons in the server's words", number::count(more))),
        );
    }
    out
}

/// Who makes the slow ones slow; nothing where they hardly differ or nobody stands out.
pub fn main_excess(step: &StepView, tail: &Tail) -> Option<Prose> {
    let (index, excess) = tail.main?;
    let owner = step.contributors.get(index)?;
    let gap = tail.gap_ms();
    if gap < tail.typical_mean_ms * 0.1
        || excess < gap * 0.3
        || owner.part.category == Category::Untraced
        || step.error_share() > 0.5
    {
        return None;
    }
    Some(
        Prose::new()
            .own(format!(
                "Of the {} that the slowest {}{}% take longer, {} are in ",
                number::ms_unit(gap),
                tail.percent,
                number::NBSP,
                number::ms_unit(excess)
            ))
            .name(contributor_name(&owner.result.contributor))
            .own("."),
    )
}

/// A measured value with its unit.
pub fn measured(actual: Option<Actual>) -> String {
    match actual {
        None => "nothing to measure".to_owned(),
        Some(Actual { value, unit: Unit::Milliseconds }) => number::ms_unit(value),
        Some(Actual { value, unit: Unit::Share }) => number::percent(value),
        Some(Actual { value, unit: Unit::PerSecond }) => format!("{}/s", number::rate(value)),
        Some(Actual { value, unit: Unit::Count }) => number::calls(value),
    }
}

/// Why an exemplar is there and what it took.
pub fn exemplar(exemplar: &Exemplar) -> (String, String, &'static str) {
    (
        role(exemplar.role).to_owned(),
        number::nanos(exemplar.latency),
        if exemplar.joined { "" } else { "no server spans" },
    )
}
