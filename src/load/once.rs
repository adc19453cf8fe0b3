//! What is walked once per run: `setup` before any load, `teardown` after all of it.
//!
//! It is a walk like any other, on a thread of its own, and its exchanges are recorded like any other's. The variables that
//! the setup leaves are those with which every walk of the run begins.

use super::live::{Counts, StopLevel};
use super::seat::Connections;
use super::timer::Timer;
use super::user::new_seat;
use super::walk::walk;
use super::worker::{Setup, plans, thread_of};
use crate::record::{Exchange, Nanos, Outcome};
use serde_json::Value;
use std::rc::Rc;
use std::sync::Arc;

/// Longer than this is no setup.
const LONGEST: Nanos = Nanos::from_millis(600_000);
/// Users of their own, far from those of the load, so that random numbers do not repeat.
const NUMBER: u32 = u32::MAX;
/// Batches of exchanges that may wait until the walk is over: more than a walk of ten minutes makes.
const BATCHES: usize = 65_536;

/// What came of it.
pub struct Once {
    /// The variables at its end, or a sentence that says which step failed and how.
    pub variables: Result<Vec<Value>, String>,
    /// What was counted.
    pub counts: Counts,
}

/// Walks a journey once and waits for its end. `what` is its key, for messages.
pub fn walk_once(setup: Setup, journey: usize, what: &'static str) -> Once {
    let failed = |why: String| Once { variables: Err(why), counts: Counts::default() };
    let thread = std::thread::Builder::new().name(format!("hotspan-{what}"));
    match thread.spawn(move || on_thread(setup, journey, what)) {
        Ok(running) => match running.join() {
            Ok(Ok(once)) => once,
            Ok(Err(why)) => failed(why),
            Err(_) => failed(format!("the {what} ended unexpectedly")),
        },
        Err(why) => failed(format!("the {what} cannot be started: {why}")),
    }
}

fn on_thread(mut setup: Setup, journey: usize, what: &'static str) -> Result<Once, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build_local(Default::default());
    let runtime = runtime.map_err(|e| format!("no runtime for the {what}: {e}"))?;
    runtime.block_on(async {
        let timer = Timer::best(setup.clock).map_err(|e| format!("no timer for the {what}: {e}"))?;
        let plans = plans(&setup.scenario)?;
        let (sink, mut made) = tokio::sync::mpsc::channel(BATCHES);
        let sink = std::mem::replace(&mut setup.sink, sink);
        let begin = setup.clock.now();
        let thread = thread_of(&setup, &timer, plans, begin, begin + LONGEST);
        tokio::task::spawn_local(timer.drive());
        let looking = tokio::task::spawn_local(super::worker::keep_time(
            Rc::clone(&thread),
            setup.stop.clone(),
            if what == "teardown" { StopLevel::Now } else { StopLevel::Drain },
        ));
        let none = thread.scenario.endpoints.iter().map(|_| None).collect();
        let mut seat = new_seat(&thread, 0, NUMBER, Connections::Own(none));
        let journey = &thread.scenario.journeys[journey];
        let walked = walk(&thread, &mut seat, journey, 0, begin, begin + LONGEST).await;
        looking.abort();
        thread.outbox.finish().await;
        let mut last = None;
        while let Ok(batch) = made.try_recv() {
            last = batch.iter().rev().find_map(|e| wrong(e).map(|w| (e.step, w))).or(last);
            // Nobody takes exchanges any more: then nobody wants to read of them either.
            let _ = sink.send(batch).await;
        }
        let counts = *thread.counts.borrow();
        if walked.whole {
            return Ok(Once { variables: Ok(walked.variables), counts });
        }
        let scenario = Arc::clone(&thread.scenario);
        let (step, why) = match last {
            Some((id, why)) => (scenario.steps[usize::from(id.0)].name.clone(), why),
            None => ("its first step".to_string(), "the run was stopped".to_string()),
        };
        let variables = Err(format!("the {what} failed at `{step}`: {why}"));
        Ok(Once { variables, counts })
    })
}

/// What is wrong with an exchange, if anything is.
fn wrong(exchange: &Exchange) -> Option<String> {
    if let Outcome::Failed { failure, .. } = &exchange.outcome {
        return Some(failure.message.to_string());
    }
    exchange.checks_failed.first().map(|c| format!("the check `{}` does not hold: {}", c.check, c.seen))
}
