//! What `hotspan history show` prints: events, then a plot of each series that changed or was asked for.

use super::Looked;
use super::args::ShowArgs;
use crate::history::{Entry, Event, Findings, Group, Measure, Member, Series};
use crate::report::gate::{Gate, GateVerdict, Outcome, show as with_unit};
use crate::report::{Unit, clean, safe_json};
use serde_json::{Value, json};
use std::fmt::Write;

/// Columns of a plot.
const COLUMNS: usize = 72;
/// Members of an event that are listed.
const MEMBERS: usize = 8;

/// Everything, for people.
pub fn terminal(looked: &Looked, args: &ShowArgs) -> String {
    let mut out = String::new();
    for note in &looked.history.notes {
        let _ = writeln!(out, "Note: {}.", clean(&note.to_string()));
    }
    if looked.by_commit {
        out.push_str("Note: runs stand in the order of their commits, which is not that of time.\n");
    }
    let doubtful: Vec<&Entry> = looked.history.entries.iter().filter(|e| e.doubt.is_some()).collect();
    if let Some(last) = doubtful.last() {
        let why = clean(last.doubt.as_deref().unwrap_or_default());
        let _ = writeln!(
            out,
            "Note: {} doubtful runs are not counted; the last, {}: {why}.",
            doubtful.len(),
            clean(&last.run)
        );
    }
    for (group, findings) in &looked.groups {
        one_group(looked, group, findings, args, &mut out);
    }
    out
}

fn one_group(looked: &Looked, group: &Group, findings: &Findings, args: &ShowArgs, out: &mut String) {
    let entries = &looked.history.entries;
    let time = |place: Option<&usize>| {
        place.and_then(|run| entries.get(*run)).map_or("?", |e| e.at.get(..10).unwrap_or("?"))
    };
    let _ = writeln!(
        out,
        "\n{} on {}\n{} run{}, {} to {}, {} series",
        clean(&group.scenario),
        clean(&group.machine),
        group.runs.len(),
        if group.runs.len() == 1 { "" } else { "s" },
        time(group.runs.first()),
        time(group.runs.last()),
        group.series.len()
    );
    if findings.common > 0 {
        let _ = writeln!(
            out,
            "A part that all series of a run have in common (up to {:.1} %) is taken out of changes and plots.",
            100.0 * findings.common_span
        );
    }
    if findings.short > 0 {
        let _ = writeln!(
            out,
            "{} series have fewer than {} runs and are not looked at.",
            findings.short,
            crate::stats::changepoint::FEWEST
        );
    }
    for point in &findings.whole {
        let run = group.runs.get(point.at).and_then(|run| entries.get(*run));
        let _ = writeln!(
            out,
            "Everything at once: {:+.1} % from {} on, by the machine or by the whole service; compare both commits on one machine.",
            100.0 * (point.shift().exp() - 1.0),
            run.map_or_else(|| "?".to_owned(), name_of)
        );
    }
    if findings.events.is_empty() {
        out.push_str("No change of level.\n");
    }
    for event in &findings.events {
        one_event(looked, group, event, out);
    }
    for (series, found) in group.series.iter().zip(&findings.series) {
        let wanted = match &args.series {
            Some(pattern) => {
                crate::history::matches(pattern, &format!("{}: {}", series.key.group, series.key.title()))
            }
            None => !found.changes.points.is_empty(),
        };
        if wanted {
            let at: Vec<usize> = found.changes.points.iter().map(|p| p.at).collect();
            plot(series, &at, out);
        }
    }
}

fn one_event(looked: &Looked, group: &Group, event: &Event, out: &mut String) {
    let entries = &looked.history.entries;
    let commits = event.commits(group, entries);
    let _ = writeln!(out, "\n● {} · {} series", range(event, group, entries), event.members.len());
    for member in event.members.iter().take(MEMBERS) {
        let name = format!("{}: {}", member.key.group, member.key.title());
        let accepted = match looked.acceptances.of(&commits, &name, &looked.today) {
            Some((a, false)) => format!(" · accepted until {}: {}", a.until, clean(&a.reason)),
            Some((a, true)) => format!(" · was accepted until {}", a.until),
            None => String::new(),
        };
        let word = if member.is_worse() { "worse " } else { "better" };
        let _ = writeln!(out, "  {word} {} · {} · p {}{accepted}", clean(&name), change(member), p(member.p));
    }
    if event.members.len() > MEMBERS {
        let _ = writeln!(out, "  and {} more", event.members.len() - MEMBERS);
    }
    for line in bisect(event, group, entries) {
        let _ = writeln!(out, "  {line}");
    }
}

/// `12.3 ms → 14.5 ms, +18.0 % [+15.1, +21.0]`.
pub fn change(member: &Member) -> String {
    let unit = Some(match member.key.measure {
        Measure::StepErrors => Unit::Share,
        Measure::OperationCalls => Unit::Count,
        _ => Unit::Milliseconds,
    });
    let levels = format!("{} → {}", with_unit(member.before, unit), with_unit(member.after, unit));
    if member.key.measure == Measure::StepErrors {
        return levels;
    }
    let interval = crate::report::gate::Change { ratio: member.ratio, low: member.low, high: member.high };
    format!("{levels}, {interval}")
}

/// A probability, short.
pub fn p(p: f64) -> String {
    if p < 1e-6 { "< 0.000001".to_owned() } else { crate::report::gate::digits(p) }
}

/// A share in per cent, short.
pub fn percent(share: f64) -> String {
    crate::report::gate::digits(100.0 * share)
}

/// `abc1234..def5678`: the last commit without the change and the first that has it for sure. Runs stand for commits that are
/// not known.
pub fn range(event: &Event, group: &Group, entries: &[Entry]) -> String {
    let (good, bad) = event.bounds(group, entries);
    let of = |entry: Option<&Entry>| entry.map_or_else(|| "the beginning".to_owned(), name_of);
    format!("{}..{}", of(good), of(bad))
}

fn name_of(entry: &Entry) -> String {
    match &entry.commit {
        Some(commit) => clean(commit).chars().take(12).collect(),
        None => clean(&entry.run),
    }
}

/// How to find the commit: the command line, and the limit that tells good from bad. Nothing where both ends are one commit
/// or are not known.
pub fn bisect(event: &Event, group: &Group, entries: &[Entry]) -> Vec<String> {
    let (Some(good), Some(bad)) = event.bounds(group, entries) else { return Vec::new() };
    let plain = |entry: &Entry| {
        let commit = entry.commit.as_deref()?.trim_end_matches("-dirty");
        (commit.len() >= 7 && commit.bytes().all(|b| b.is_ascii_hexdigit())).then(|| commit.to_owned())
    };
    let (Some(good), Some(bad)) = (plain(good), plain(bad)) else { return Vec::new() };
    let Some(limit) = event.members.first().filter(|m| m.is_worse()).and_then(threshold) else {
        return Vec::new();
    };
    if good == bad {
        return vec![format!("both sides are commit {good}: the machine or the load changed, not the code")];
    }
    vec![
        format!("bisect: git bisect start {bad} {good} && git bisect run ./bisect.sh"),
        "where bisect.sh builds and starts the service, and ends with:".to_owned(),
        "  hotspan run SCENARIO --budget bisect.yaml; status=$?; [ $status -eq 3 ] && exit 125; exit $status"
            .to_owned(),
        format!("and bisect.yaml is:  thresholds: ['{}']", limit.replace('\'', "''")),
    ]
}

/// A limit half way between the levels.
fn threshold(member: &Member) -> Option<String> {
    let middle = (member.before * member.after).sqrt();
    let named = |name: &str| (!name.contains(['"', '\n', ','])).then(|| clean(name));
    let operation = member.key.name.rsplit_once(" (").map_or(member.key.name.as_str(), |(name, _)| name);
    let time = |what: &str| format!("{what} < {:.0}us", (middle * 1e3).max(1.0));
    Some(match member.key.measure {
        Measure::StepP50 => format!("{}: {}", named(&member.key.name)?, time("latency.p50")),
        Measure::StepP95 => format!("{}: {}", named(&member.key.name)?, time("latency.p95")),
        Measure::StepErrors => {
            let limit = (member.before + member.after) / 2.0;
            format!("{}: error_rate < {}%", named(&member.key.name)?, percent(limit))
        }
        Measure::OperationOwn => format!("span(\"{}\"): {}", named(operation)?, time("self.mean")),
        Measure::OperationP95 => format!("span(\"{}\"): {}", named(operation)?, time("duration.p95")),
        Measure::OperationCalls => {
            format!("span(\"{}\"): calls < {}", named(operation)?, crate::report::gate::digits(middle))
        }
    })
}

/// Eight heights for each run, or for the mean of a few where there are more runs than columns; a bar stands before a change.
fn plot(series: &Series, changes: &[usize], out: &mut String) {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let known: Vec<f64> = series.values.iter().flatten().copied().collect();
    let mut sorted = known.clone();
    sorted.sort_by(f64::total_cmp);
    let (Some(low), Some(high)) = (sorted.first(), sorted.last()) else { return };
    let per_column = series.values.len().div_ceil(COLUMNS).max(1);
    let mut line = String::new();
    for (column, values) in series.values.chunks(per_column).enumerate() {
        let from = column * per_column;
        if changes.iter().any(|at| (from..from + per_column).contains(at)) {
            line.push('|');
        }
        let here: Vec<f64> = values.iter().flatten().copied().collect();
        line.push(if here.is_empty() {
            ' '
        } else {
            let mean = here.iter().sum::<f64>() / here.len() as f64;
            let height = if high > low { (mean - low) / (high - low) * 7.99 } else { 0.0 };
            HEIGHTS[(height as usize).min(7)]
        });
    }
    let unit = match series.key.measure {
        Measure::StepErrors => Unit::Share,
        Measure::OperationCalls => Unit::Count,
        _ => Unit::Milliseconds,
    };
    let _ = writeln!(
        out,
        "\n  {}: {}\n  {line}  {} to {}",
        clean(&series.key.group),
        clean(&series.key.title()),
        with_unit(*low, Some(unit)),
        with_unit(*high, Some(unit))
    );
}

/// Everything, schema `hotspan.changes/1`.
pub fn json(looked: &Looked) -> String {
    let entries = &looked.history.entries;
    let member = |m: &Member| {
        json!({"group": m.key.group, "name": m.key.name, "measure": m.key.measure.name(), "before": m.before, "after": m.after,
            "ratio": m.ratio, "low": m.low, "high": m.high, "p": m.p, "worse": m.is_worse()})
    };
    let event = |group: &Group, event: &Event| {
        let (good, bad) = event.bounds(group, entries);
        let run =
            |entry: Option<&Entry>| entry.map(|e| json!({"run": e.run, "commit": e.commit, "at": e.at}));
        json!({"last_without": run(good), "first_with": run(bad), "commits": event.commits(group, entries),
            "series": event.members.iter().map(member).collect::<Vec<_>>()})
    };
    let groups: Vec<Value> = looked
        .groups
        .iter()
        .map(|(group, findings)| {
            json!({"scenario": group.scenario, "machine": group.machine, "runs": group.runs.len(), "series": group.series.len(),
                "common_series": findings.common, "short_series": findings.short,
                "events": findings.events.iter().map(|e| event(group, e)).collect::<Vec<_>>(),
                "whole": findings.whole.iter().map(|point| {
                    let run = group.runs.get(point.at).and_then(|run| entries.get(*run));
                    json!({"first_with": run.map(|e| &e.run), "ratio": point.shift().exp(), "low": point.low.exp(), "high": point.high.exp(), "p": point.p})
                }).collect::<Vec<_>>()})
        })
        .collect();
    let notes: Vec<String> = looked.history.notes.iter().map(ToString::to_string).collect();
    safe_json(&json!({"schema": "hotspan.changes/1", "notes": notes, "groups": groups}))
}

/// What `check` prints.
pub fn verdict(gate: &Gate) -> String {
    let mut out = String::new();
    let word = match gate.verdict {
        GateVerdict::Passed => "Passed",
        GateVerdict::Failed => "Failed",
        GateVerdict::CannotTell => "Cannot tell",
    };
    let _ = writeln!(out, "{word}: {}.", clean(&gate.headline));
    for check in gate.worst().iter().filter(|c| c.outcome != Outcome::Improved) {
        let _ = writeln!(
            out,
            "  {} {}: {}",
            check.outcome.words(),
            clean(&check.full_name()),
            clean(&check.told())
        );
    }
    for (title, lines) in &gate.details {
        let _ = writeln!(out, "\n{}", clean(title));
        for line in lines {
            let _ = writeln!(out, "  {}", clean(line));
        }
    }
    for line in gate.design.iter().chain(&gate.reasons) {
        let _ = writeln!(out, "  {}", clean(line));
    }
    out
}
