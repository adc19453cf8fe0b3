//! Sentences on load: capacity, knee, what limits, start-up, drift, recovery, and what a run cannot tell of them.

use super::{cause, contributor_name};
use crate::analysis::result::{Category, Level, LoadDoubt, Range, Recovery, Saturation};
use crate::report::number::{ms_unit, percent, rate, seconds};
use crate::report::prose::Prose;

/// What the run says about load, a sentence each; empty where it says nothing worth a line.
pub fn sentences(s: &Saturation) -> Vec<Prose> {
    let mut out = Vec::new();
    out.extend(limiting(s));
    if let Some(range) = &s.capacity_per_s {
        let how = if s.capacity_seen {
            "More than that did not come through at any load"
        } else {
            "That lies beyond what was offered and is the curve prolonged (Universal Scalability Law)"
        };
        out.push(format!("Capacity: {}/s ({}). {how}.", rate(range.value), interval(range)).into());
    }
    if let Some(range) = &s.knee_per_s {
        out.push(
            format!(
                "Knee: at {}/s ({}) latency is twice what it is at the lightest load.",
                rate(range.value),
                interval(range)
            )
            .into(),
        );
    }
    if let Some(time) = s.warm_up {
        out.push(
            format!(
                "The first {} were slower than the rest: a start-up phase, in all numbers above.",
                seconds(time)
            )
            .into(),
        );
    }
    out.extend(drift(s));
    out.extend(s.recovery.map(|r| match r {
        Recovery::After(time) => format!("After the peak, latency was back where it had been within {}.", seconds(time)).into(),
        Recovery::NotWithin(time) => format!(
            "After the peak, latency did not come back to what it had been, for the {} that the run went on.",
            seconds(time)
        )
        .into(),
    }));
    if s.levels.len() > 1 {
        out.extend(doubts(&s.doubts).into_iter().map(|why| Prose::from(format!("Cannot tell: {why}"))));
    }
    out
}

/// What cannot be told, a sentence each; what has one reason is one.
fn doubts(all: &[LoadDoubt]) -> Vec<&'static str> {
    const UNTRIED: [LoadDoubt; 3] = [LoadDoubt::NotReached, LoadDoubt::NoKnee, LoadDoubt::NoGrowth];
    let untried = UNTRIED.iter().all(|d| all.contains(d));
    let whole = "throughput kept up with load and latency did not grow with it to the end, so capacity, knee and what \
                 limits lie beyond what was offered; offer more.";
    let rest = all.iter().filter(|d| !untried || !UNTRIED.contains(d)).map(|d| doubt(*d));
    untried.then_some(whole).into_iter().chain(rest).collect()
}

fn limiting(s: &Saturation) -> Option<Prose> {
    let l = s.limiting.as_ref()?;
    let words = format!("As load grows, most of what is added ({}) is ", percent(l.share_of_growth));
    Some(
        Prose::new()
            .own(words)
            .own(cause(l.contributor.category))
            .own(": ")
            .name(contributor_name(&l.contributor))
            .own(format!(", from {} to {} per request.", ms_unit(l.mean_ms.0), ms_unit(l.mean_ms.1))),
    )
}

fn drift(s: &Saturation) -> Option<Prose> {
    let d = s.drift.as_ref()?;
    let way = if d.share > 0.0 { "rose" } else { "fell" };
    let prose = Prose::new().own(format!(
        "At the same load latency {way} by {} a minute, over the run by {} of its median",
        ms_unit(d.ms_per_minute.abs()),
        percent(d.share.abs())
    ));
    Some(match &d.contributor {
        Some(who) => prose.own(", most of it in ").name(contributor_name(who)).own("."),
        None => prose.own("."),
    })
}

fn interval(range: &Range) -> String {
    format!("95 % sure: {} to {}", rate(range.low), rate(range.high))
}

/// What cannot be told, and what would tell it.
pub fn doubt(doubt: LoadDoubt) -> &'static str {
    match doubt {
        LoadDoubt::TooShort => "too few requests, or too short a run, to see how it goes with load.",
        LoadDoubt::OneLevel => {
            "the load was the same all the time, so neither knee nor capacity show; offer it in stages."
        }
        LoadDoubt::NotReached => {
            "throughput grew with load to the end, so capacity lies beyond what was offered; offer more."
        }
        LoadDoubt::WideInterval => {
            "throughput bends, but the points do not say where it would end; offer more, or for longer."
        }
        LoadDoubt::NoKnee => {
            "latency did not double within the load that was offered, so there is no knee in it."
        }
        LoadDoubt::NoGrowth => "latency did not grow with load, so nothing limits within it.",
        LoadDoubt::Spread => "latency grew with load, but no single contributor's time with it.",
    }
}

/// The largest categories of a level.
pub fn composition(level: &Level) -> String {
    let mut parts: Vec<(Category, f64)> = Category::ALL.into_iter().zip(level.categories_ms).collect();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let all: f64 = level.categories_ms.iter().sum();
    let shown = parts.iter().take(3).filter(|p| p.1 > 0.03 * all && all > 0.0);
    shown.map(|(c, value)| format!("{} {}", c.name(), percent(value / all))).collect::<Vec<_>>().join(", ")
}
