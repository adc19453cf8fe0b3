//! The gate on a history: recent changes for the worse that nobody has accepted.

use super::Looked;
use super::args::CheckArgs;
use super::show;
use crate::history::{Event, Findings, Group, Measure, Member};
use crate::report::Unit;
use crate::report::gate::{Change, Check, CheckKind, Figures, Gate, GateVerdict, Outcome};
use crate::stats::changepoint::FEWEST;

/// Decides on the machine that was measured last, and on every other whose runs are among the recent ones.
pub fn gate(looked: &Looked, args: &CheckArgs) -> Gate {
    let mut gate =
        Gate { id: "history".to_owned(), title: "Performance history".to_owned(), ..Gate::default() };
    let mut looked_at = 0;
    for (group, findings) in &looked.groups {
        let runs = group.runs.len();
        if runs < FEWEST {
            continue;
        }
        looked_at += 1;
        gate.design.push(format!(
            "{}: {runs} runs on {}, {} series{}",
            group.scenario,
            group.machine,
            group.series.len(),
            if findings.common > 0 { ", the part that all have in common taken out" } else { "" }
        ));
        for event in findings.events.iter().filter(|event| event.latest + args.recent >= runs) {
            one(looked, group, event, args, &mut gate);
        }
        whole(findings, runs, args, &mut gate);
    }
    gate.reasons.extend(looked.history.notes.iter().map(ToString::to_string));
    let failed = gate.count(Outcome::Failed);
    (gate.verdict, gate.headline) = if looked_at == 0 {
        let most = looked.groups.iter().map(|(group, _)| group.runs.len()).max().unwrap_or(0);
        let said = format!(
            "a change is looked for in {FEWEST} runs of one scenario on one machine or more, and there are {most}"
        );
        (GateVerdict::CannotTell, said)
    } else if failed > 0 {
        let said = format!("{failed} series became worse by {} % or more", show::percent(args.fail_over));
        (GateVerdict::Failed, said)
    } else {
        (
            GateVerdict::Passed,
            format!("no recent change for the worse of {} % or more", show::percent(args.fail_over)),
        )
    };
    gate
}

fn one(looked: &Looked, group: &Group, event: &Event, args: &CheckArgs, gate: &mut Gate) {
    let entries = &looked.history.entries;
    let commits = event.commits(group, entries);
    let range = show::range(event, group, entries);
    for member in &event.members {
        let name = format!("{}: {}", member.key.group, member.key.title());
        let accepted = looked.acceptances.of(&commits, &name, &looked.today);
        let worse = member.ratio >= 1.0 + args.fail_over;
        let mut message = format!("{} in {range}, p {}", show::change(member), show::p(member.p));
        let outcome = match accepted {
            _ if !worse && member.is_worse() => Outcome::Passed,
            _ if !worse => Outcome::Improved,
            Some((acceptance, false)) => {
                message.push_str(&format!("; accepted until {}: {}", acceptance.until, acceptance.reason));
                Outcome::Accepted
            }
            Some((acceptance, true)) => {
                message
                    .push_str(&format!("; was accepted until {}: {}", acceptance.until, acceptance.reason));
                Outcome::Failed
            }
            None => Outcome::Failed,
        };
        gate.checks.push(Check {
            kind: CheckKind::History,
            group: member.key.group.clone(),
            name: member.key.title(),
            outcome,
            figures: figures(member),
            message,
            location: None,
            traces: Vec::new(),
            weight: member.ratio.ln().abs(),
        });
    }
    if event.is_worse_by(args.fail_over) {
        let bisect = show::bisect(event, group, entries);
        if !bisect.is_empty() {
            gate.details.push((format!("Bisect {range}"), bisect));
        }
    }
}

/// What hit everything at once: the machine or the service, which a history alone cannot tell apart.
fn whole(findings: &Findings, runs: usize, args: &CheckArgs, gate: &mut Gate) {
    for point in findings.whole.iter().filter(|point| point.latest + args.recent >= runs) {
        let change = Change { ratio: point.shift().exp(), low: point.low.exp(), high: point.high.exp() };
        gate.checks.push(Check {
            kind: CheckKind::History,
            name: "all series together".to_owned(),
            outcome: if change.ratio >= 1.0 + args.fail_over { Outcome::CannotTell } else { Outcome::Passed },
            figures: Figures { change: Some(change), ..Figures::default() },
            message: format!(
                "everything changed by {change} at once, by the machine or by the whole service: compare both commits on one machine with `hotspan compare`"
            ),
            weight: 1.0,
            ..Check::default()
        });
    }
}

fn figures(member: &Member) -> Figures {
    let unit = match member.key.measure {
        Measure::StepErrors => Unit::Share,
        Measure::OperationCalls => Unit::Count,
        _ => Unit::Milliseconds,
    };
    let ratio = member.key.measure != Measure::StepErrors;
    Figures {
        unit: Some(unit),
        base: Some(member.before),
        now: Some(member.after),
        limit: None,
        change: ratio.then_some(Change { ratio: member.ratio, low: member.low, high: member.high }),
    }
}
