//! The live screen and the run: what it is told, and what its keys do to the load.

use super::args::ColorChoice;
use super::control::Action;
use super::live::{Interrupts, LoadWatch};
use super::progress::Progress;
use super::recorder::RecorderLive;
use super::report;
use crate::load::{LoadHandle, ONE};
use crate::record::{Exchange, Nanos, StepId};
use crate::scenario::{Scenario, Stage};
use crate::stats::Histogram;
use crate::traces::Receiver;
use crate::ui::{Feed, LoadLook, Look, Setup, SpanCounts, StageInfo, StepSum, Update, Wish};
use std::sync::atomic::Ordering::Relaxed;

/// What `+` and `-` step through: factors of the planned load.
const FACTORS: [f64; 24] = [
    0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 5.0,
    6.0, 8.0, 10.0,
];

/// What the screen needs to know before the load.
pub fn setup(scenario: &Scenario, target: &str, expects_spans: bool, may_change: bool) -> Setup {
    let stages = match (scenario.load.search, scenario.loads().first()) {
        (None, Some((_, load))) => load.stages.iter().map(stage).collect(),
        _ => Vec::new(),
    };
    Setup {
        name: scenario.name.clone(),
        target: target.to_owned(),
        steps: scenario.steps().into_iter().map(|step| (step.journey, step.name)).collect(),
        stages,
        open_model: scenario.is_open(),
        expects_spans,
        may_change,
    }
}

/// What the terminal can show; the same as for the report.
pub fn look(color: ColorChoice) -> Look {
    let style = report::style(color);
    Look { color: style.color, unicode: style.unicode }
}

/// A stage in words.
fn stage(stage: &Stage) -> StageInfo {
    let ramped = |what: String, ramp: &Nanos| match ramp.0 {
        0 => what,
        _ => format!("{what} after a ramp of {}", seconds(*ramp)),
    };
    let words = match stage {
        Stage::Users { users: 1, ramp, .. } => ramped("1 user".into(), ramp),
        Stage::Users { users, ramp, .. } => ramped(format!("{users} users"), ramp),
        Stage::Rate { rate, ramp, .. } => {
            let per_second = rate.as_per_second();
            ramped(format!("{} arrivals/s", (per_second * 100.0).round() / 100.0), ramp)
        }
        Stage::Curve { .. } => "arrivals by a curve".into(),
        Stage::Replay { times, .. } => format!("{} arrivals, replayed", times.len()),
    };
    StageInfo { words, length: stage.duration() }
}

/// A length of time in seconds or minutes.
fn seconds(time: Nanos) -> String {
    let seconds = time.as_secs_f64();
    match seconds {
        s if s >= 120.0 && s % 60.0 == 0.0 => format!("{:.0} min", s / 60.0),
        s if s % 1.0 == 0.0 => format!("{s:.0} s"),
        s => format!("{s:.1} s"),
    }
}

/// What the receiver and the recorder know of spans.
pub fn spans(live: &RecorderLive, receiver: Option<&Receiver>) -> SpanCounts {
    let facts = receiver.map(Receiver::facts).unwrap_or_default();
    SpanCounts {
        stored: live.spans.load(Relaxed),
        traced: live.traced.load(Relaxed),
        joined: live.joined.load(Relaxed),
        lost: facts.spans_rejected + facts.spans_dropped,
        bad_requests: facts.bad_requests,
    }
}

/// What became of exchanges since the screen was told, by step. Kept from the first exchange on; told when there is a screen
/// with room for it.
#[derive(Debug, Default)]
pub struct Watched {
    steps: Vec<Option<StepSum>>,
}

impl Watched {
    /// An exchange ended.
    pub fn take(&mut self, exchange: &Exchange) {
        let at = usize::from(exchange.step.0);
        if at >= self.steps.len() {
            self.steps.resize_with(at + 1, || None);
        }
        let sum = self.steps[at].get_or_insert_with(|| nothing(exchange.step));
        sum.latency.record(exchange.corrected_latency());
        sum.errors += u64::from(exchange.is_error());
        sum.checks_failed += u64::from(!exchange.checks_failed.is_empty());
    }

    /// Tells what there is; keeps it where there is no room.
    pub fn tell(&mut self, feed: &Feed) {
        let sums: Vec<StepSum> = self.steps.iter_mut().filter_map(Option::take).collect();
        if sums.is_empty() {
            return;
        }
        if let Some(Update::Exchanges(sums)) = feed.tell(Update::Exchanges(sums)) {
            for sum in sums {
                let at = usize::from(sum.step.0);
                self.steps[at] = Some(sum);
            }
        }
    }
}

fn nothing(step: StepId) -> StepSum {
    StepSum { step, latency: Histogram::coarse(), errors: 0, checks_failed: 0 }
}

impl LoadWatch<'_> {
    /// How the load stands.
    pub(super) fn look(&self, handle: &LoadHandle) -> LoadLook {
        let at = handle.clock().now().since(handle.started_at());
        let timeline = self.controller.timeline();
        let piece = timeline.piece_at(at);
        let position = timeline.schedule_at(at);
        let searching = self.scenario.load.search.is_some();
        let end = timeline.end(self.schedule.end()).filter(|_| !searching);
        let c = self.counters;
        LoadLook {
            at,
            position,
            left: end.map(|end| Nanos(end.0.saturating_sub(at.0))),
            factor: if searching { 1.0 } else { f64::from(piece.factor) / f64::from(ONE) },
            paused: !piece.moving,
            stopping: self.stopper.is_stopping(),
            users: c.users.load(Relaxed),
            users_planned: self.users_planned(position, piece.factor, piece.moving),
            in_flight: c.in_flight.load(Relaxed),
            waiting: c.waiting.load(Relaxed),
            due: c.due.load(Relaxed),
            iterations: c.iterations.load(Relaxed),
            done: c.done.load(Relaxed),
            errors: c.errors.load(Relaxed),
            checks_failed: c.checks_failed.load(Relaxed),
            late: c.late.load(Relaxed),
            not_sent: c.not_sent.load(Relaxed),
        }
    }

    fn users_planned(&self, position: Nanos, factor: u32, moving: bool) -> Option<u64> {
        if self.schedule.most_users() == 0 {
            return None;
        }
        let planned = |present: u32| (u64::from(present) * u64::from(factor)).div_ceil(u64::from(ONE));
        let all: u64 = self.schedule.streams.iter().map(|s| planned(s.users.present(position))).sum();
        Some(if moving { all } else { 0 })
    }

    /// Does what the user of the screen wants.
    pub(super) fn grant(
        &self,
        wish: Wish,
        handle: &LoadHandle,
        interrupts: &Interrupts,
        progress: &mut Progress,
    ) {
        if wish == Wish::Interrupt {
            return interrupts.add();
        }
        let Some(commands) = self.commands else {
            if wish == Wish::Stop {
                self.stopper.drain();
            }
            return;
        };
        let timeline = self.controller.timeline();
        let Some(last) = timeline.pieces().last() else { return };
        let factor = f64::from(last.factor) / f64::from(ONE);
        let action = match wish {
            Wish::PauseOrResume if last.moving => Action::Pause,
            Wish::PauseOrResume => Action::Resume,
            Wish::More => Action::Factor(next_factor(factor, true)),
            Wish::Less => Action::Factor(next_factor(factor, false)),
            Wish::NextStage => Action::NextStage,
            Wish::Stop | Wish::Interrupt => Action::Stop,
        };
        match commands.act(action, handle.started_at(), handle.clock(), self.stopper) {
            Ok(change) => progress.note(&format!("{} by hand", change.what)),
            Err(why) => progress.note(&why),
        }
    }
}

/// The next factor up or down; the ends stay.
fn next_factor(factor: f64, more: bool) -> f64 {
    let near = 1e-6;
    if more {
        FACTORS.into_iter().find(|f| *f > factor + near).unwrap_or(factor)
    } else {
        FACTORS.into_iter().rev().find(|f| *f < factor - near).unwrap_or(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_and_less_are_steps_of_a_ladder() {
        assert_eq!((next_factor(1.0, true), next_factor(1.0, false)), (1.1, 0.9));
        assert_eq!((next_factor(1.04, true), next_factor(1.04, false)), (1.1, 1.0));
        assert_eq!((next_factor(10.0, true), next_factor(0.1, false)), (10.0, 0.1));
        assert_eq!(next_factor(300.0, true), 300.0, "what was set over HTTP is not taken back");
        assert!(FACTORS.is_sorted());
    }

    #[test]
    fn stages_are_named_in_words() {
        let text = "target: http://127.0.0.1:1\nload:\n  - {users: 20, ramp: 10s, for: 1m}\n  - {users: 1, for: 5m}\n  \
                    - {rate: 200/s, ramp: 1500ms, for: 2m}\nsteps: [GET /]\n";
        let scenario = crate::scenario::parse(text, "t.yaml").unwrap();
        let setup = setup(&scenario, "http://127.0.0.1:1", true, true);
        let words: Vec<&str> = setup.stages.iter().map(|stage| stage.words.as_str()).collect();
        assert_eq!(
            words,
            ["20 users after a ramp of 10 s", "1 user", "200 arrivals/s after a ramp of 1.5 s"]
        );
        assert_eq!(setup.stages[0].length, Nanos::from_millis(70_000));
        assert!(setup.open_model && setup.may_change);
    }
}
