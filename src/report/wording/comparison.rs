//! The sentences of a comparison.

use crate::compare::{
    AttributionPart, Cause, Change, Changes, Comparison, Design, OperationChange, QUANTILES, ServiceChange,
    Status, StepChange, StructureChange, StructureKind, Verdict, WholeService,
};
use crate::report::number::{self, NBSP, calls, ms, signed};
use crate::report::prose::Prose;

/// How many times as much as against the next must speak against a service that is named without a test.
const STANDS_OUT: f64 = 1.5;

/// The answer in one sentence, or two.
pub fn headline(c: &Comparison) -> Prose {
    match c.status {
        Status::Invalid => {
            let why = c.reasons.first().map_or_else(String::new, ToString::to_string);
            Prose::from("No verdict: ").foreign(&why).own(".")
        }
        Status::Same => {
            Prose::from(format!("Nothing changed by {} or more.", change_of(1.0 + c.settings.min_effect)))
        }
        Status::CannotTell => cannot_tell(c),
        Status::Regressed => regressed(c),
    }
}

fn cannot_tell(c: &Comparison) -> Prose {
    let alone = c.base.len().min(c.head.len()) < 2;
    match c.smallest_detectable {
        Some(ratio) => Prose::from(format!(
            "No regression was shown. Half of the operations would have shown a change of {}; smaller ones need more runs.",
            change_of(ratio)
        )),
        None if alone => suspect(c).own(
            "One run on each side shows what was called more often, and no more: make at least three of each, in turn.",
        ),
        None => Prose::from("Nothing here can be tested: too few requests, or too short times."),
    }
}

/// What speaks against a service more than against any other: a hint where nothing is shown.
fn suspect(c: &Comparison) -> Prose {
    let [first, second, ..] = c.services.as_slice() else { return Prose::new() };
    let (Some(ms), Some(others)) = (first.suspicion_ms, second.suspicion_ms) else { return Prose::new() };
    // What is too little of a request to count as a change is chance.
    let request: f64 = c.services.iter().map(|s| s.own_ms.base + s.network_ms.base).sum();
    let least = c.settings.min_change_ms.max(c.settings.min_effect * request);
    if ms < least || ms < STANDS_OUT * others {
        return Prose::new();
    }
    Prose::from("Most speaks against ")
        .name(&first.service)
        .own(format!(": requests that reach it took {} longer there or on the way. ", number::ms_unit(ms)))
}

fn regressed(c: &Comparison) -> Prose {
    let more = c.regressions() - 1;
    let rest = match more {
        0 => String::new(),
        n => format!(" {} below.", number::counted(n as u64, "more change is", "more changes are")),
    };
    let structural = |kind| c.structure.iter().find(move |s| s.alarm && s.kind == kind);
    let step = c
        .steps
        .iter()
        .filter(|s| s.verdict == Verdict::Regressed)
        .max_by(|a, b| a.attribution.change_ms.total_cmp(&b.attribution.change_ms));
    let sentence = if let Some(change) = structural(StructureKind::MoreCalls) {
        more_calls(c, change)
    } else if let Some(step) = step {
        step_sentence(step)
    } else if let Some(op) = c.operations.iter().find(|o| o.verdict == Verdict::Regressed) {
        operation_sentence(op)
    } else if let Some(change) = structural(StructureKind::MoreErrors) {
        structure_line(change)
    } else if let Some(whole) = &c.whole_service {
        whole_sentence(whole)
    } else {
        Prose::new()
    };
    sentence.own(".").own(rest)
}

fn more_calls(c: &Comparison, change: &StructureChange) -> Prose {
    let line = structure_line(change);
    let step = c.steps.iter().find(|s| s.name == change.step);
    let same = |p: &&AttributionPart| p.key.name == change.name && p.key.service == change.service;
    match step.and_then(|s| s.attribution.parts.iter().find(same)).filter(|p| p.change_ms > 0.0) {
        Some(part) => line.own(format!(", which takes {} more", number::ms_unit(part.change_ms))),
        None => line,
    }
}

/// `checkout got slower: p50 +18 % (12 to 25 %), 92 % of it in SELECT orders (+14 ms, 3 → 41 calls)`.
fn step_sentence(step: &StepChange) -> Prose {
    let sentence = Prose::new().name(&step.name).own(" got slower");
    let sentence = match shown_by(&step.latency, Verdict::Regressed) {
        Some((quantile, change)) => sentence.own(format!(": {quantile} {}", with_interval(change))),
        None => sentence,
    };
    match main_part(step) {
        Some(part) => sentence.own("; ").then(part),
        None => sentence,
    }
}

/// Which contributor has most of a step's difference; none where it does not matter or nobody has.
pub fn main_part(step: &StepChange) -> Option<Prose> {
    let part = step.attribution.main()?;
    let share = match part.share {
        s if s >= 0.995 => "all".to_owned(),
        s => number::percent(s),
    };
    let mut facts = format!("{}{NBSP}ms", signed(part.change_ms, decimals(part.change_ms)));
    let (before, after) = (calls(part.calls_per_exchange.base), calls(part.calls_per_exchange.head));
    if before != after {
        facts.push_str(&format!(", {before} → {after}{NBSP}calls"));
    }
    let words = format!(
        "{share} of the mean's {}{NBSP}ms is in ",
        signed(step.attribution.change_ms, decimals(step.attribution.change_ms))
    );
    let named = if part.key.name.is_empty() { &part.key.category } else { &part.key.name };
    Some(Prose::from(words).name(named).own(format!(" ({facts})")))
}

/// What the figures of services are, and whether there is a suspicion among them.
pub fn services(c: &Comparison) -> (&'static str, bool) {
    if c.services.iter().any(|s| s.suspicion_ms.is_some()) {
        (
            "mean ms of a request; suspicion: how much slower those got that reach it, there and on the way",
            true,
        )
    } else {
        ("mean ms of a request; largest change first", false)
    }
}

/// Whether a service's change is worth a line.
pub fn is_shown(service: &ServiceChange, least: f64) -> bool {
    service.change_ms().abs() >= least || service.suspicion_ms.is_some_and(|ms| ms.abs() >= least)
}

fn decimals(value: f64) -> usize {
    match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.995 => 2,
        _ => 3,
    }
}

fn operation_sentence(op: &OperationChange) -> Prose {
    let quantile = worst(op);
    let sentence = Prose::new().name(&op.key.name).own(" of ").name(&op.key.service).own(" got slower");
    let sentence = match quantile {
        Some((what, change)) => sentence.own(format!(": {what} {}", with_interval(change))),
        None => sentence,
    };
    match op.cause {
        Cause::Below => sentence.own(", in what it calls"),
        Cause::Own | Cause::None => sentence,
    }
}

/// The first quantile that has this verdict, with its name.
pub fn shown_by(changes: &Changes, verdict: Verdict) -> Option<(&'static str, &Change)> {
    tested(changes).find(|(_, change)| change.verdict == verdict)
}

/// The quantiles that were tested, with their names.
pub fn tested(changes: &Changes) -> impl Iterator<Item = (&'static str, &Change)> {
    QUANTILES.into_iter().zip(changes).filter_map(|(name, change)| Some((name, change.as_ref()?)))
}

/// The quantile of an operation that shows its verdict best.
pub fn worst(op: &OperationChange) -> Option<(String, &Change)> {
    let kinds = [("own time", &op.own), ("duration", &op.duration)];
    let mut shown = kinds.iter().filter_map(|(kind, times)| Some((kind, shown_by(times, op.verdict)?)));
    let mut any = kinds.iter().filter_map(|(kind, times)| Some((kind, tested(times).next()?)));
    let (kind, (quantile, change)) = shown.next().or_else(|| any.next())?;
    Some((format!("{kind} {quantile}"), change))
}

/// Whether there are changes that only the lower quartile shows, so that its columns are worth their room.
pub fn shows_p25(steps: &[StepChange]) -> bool {
    let changed = |v: Verdict| matches!(v, Verdict::Regressed | Verdict::Improved);
    let alone = |s: &StepChange| {
        shown_by(&s.latency, s.verdict).is_some_and(|(quantile, _)| quantile == QUANTILES[2])
    };
    steps.iter().any(|s| changed(s.verdict) && alone(s))
}

fn whole_sentence(whole: &WholeService) -> Prose {
    let (quantile, change) =
        if whole.p50.verdict == whole.verdict { ("median", &whole.p50) } else { ("p95", &whole.p95) };
    let word = if change.ratio >= 1.0 { "slower" } else { "faster" };
    Prose::from(format!(
        "The whole service got {word}: the {quantile} of {} moved together by {}",
        number::counted(whole.operations as u64, "operation", "operations"),
        with_interval(change)
    ))
}

/// What happened to all operations alike.
pub fn whole_line(c: &Comparison) -> Option<Prose> {
    let whole = c.whole_service.as_ref()?;
    Some(match whole.verdict {
        Verdict::Regressed | Verdict::Improved => whole_sentence(whole),
        Verdict::Same | Verdict::CannotTell => Prose::from(format!(
            "All {} operations together moved by {}, which is what the machine did or a change of all; it is taken out of each operation's change",
            whole.operations,
            with_interval(&whole.p50)
        )),
    })
}

/// How the runs were made, and what they could have shown.
pub fn design_line(c: &Comparison) -> Prose {
    let runs = match (c.design, c.base.len(), c.head.len()) {
        (Design::Paired, n, m) if n == m => {
            number::counted(n as u64, "pair of runs", "pairs of runs in turn")
        }
        (_, n, m) => format!("{n} and {m} runs, not in turn"),
    };
    let machine = if c.same_machine { "one machine" } else { "different machines" };
    let detectable = c.smallest_detectable.map_or_else(String::new, |ratio| {
        format!(" · half of the operations would have shown {}", change_of(ratio))
    });
    Prose::from(format!(
        "{runs} on {machine}{detectable} · changes below {} do not count",
        number::percent(c.settings.min_effect)
    ))
}

/// One change of structure.
pub fn structure_line(s: &StructureChange) -> Prose {
    let named = Prose::new().name(&s.name);
    let of = |prose: Prose| if s.service.is_empty() { prose } else { prose.own(" of ").name(&s.service) };
    let (base, head) = (calls(s.calls.base), calls(s.calls.head));
    match s.kind {
        StructureKind::MoreCalls | StructureKind::FewerCalls => {
            let head = of(named).own(format!(" is called {head} times instead of {base}"));
            if s.step.is_empty() { head } else { head.own(" in a request of ").name(&s.step) }
        }
        StructureKind::MoreErrors => named.own(format!(
            " fails in {} of its requests instead of {}",
            number::percent(s.calls.head),
            number::percent(s.calls.base)
        )),
        StructureKind::New => of(named).own(format!(" is new ({head} calls in a request that has it)")),
        StructureKind::Vanished => of(named).own(format!(" is gone ({base} calls in a request that had it)")),
    }
}

/// A reason in the words of the lists.
pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Regressed => "slower",
        Verdict::Improved => "faster",
        Verdict::Same => "same",
        Verdict::CannotTell => "cannot tell",
    }
}

/// `+18 %`.
pub fn change_of(ratio: f64) -> String {
    let percent = 100.0 * (ratio - 1.0);
    format!("{}{NBSP}%", signed(percent, if percent.abs() < 9.95 { 1 } else { 0 }))
}

/// `+18 % (12 to 25 %)`.
pub fn with_interval(c: &Change) -> String {
    match interval(c) {
        Some(interval) => format!("{} ({interval})", change_of(c.ratio)),
        None => change_of(c.ratio),
    }
}

/// `12 to 25 %`; none where there is none.
pub fn interval(c: &Change) -> Option<String> {
    let number = |ratio: f64| {
        let percent = 100.0 * (ratio - 1.0);
        signed(percent, if percent.abs() < 9.95 { 1 } else { 0 })
    };
    (c.high.is_finite() && c.low > 0.0).then(|| format!("{} to {}{NBSP}%", number(c.low), number(c.high)))
}

/// `41.2 → 48.1`.
pub fn from_to(c: &Change) -> String {
    format!("{} → {}", ms(c.base_ms), ms(c.head_ms))
}
