//! A walk: one user's way through a journey and those that it calls.

use super::random::{of_iteration, pause};
use super::render::{Row, Scope, holds, value};
use super::seat::Seat;
use super::send::{Walk, WalkTrace, Went, not_sent, step};
use super::thread::Thread;
use super::turns::Turn;
use crate::record::{Nanos, StepId, Timestamp};
use crate::scenario::{AtEnd, Data, Journey, Op, RowOrder, Scenario, Then, TraceScope, shuffled};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::Value;
use std::sync::atomic::Ordering;

/// A user of the closed model pauses at least this long after a failure, so that a dead target is not hammered.
pub const BACK_OFF: Nanos = Nanos::from_millis(100);
/// How often a load that can be changed looks for changes while it waits.
pub const LOOK_AGAIN: Nanos = Nanos::from_millis(20);
/// Iterations of a user's own beginning and end are numbered from here, so that their random numbers are their own.
pub const OWN_ITERATIONS: u32 = u32::MAX - 1;

/// A walk outside of iterations: setting up and clearing away.
pub async fn walk(
    thread: &Thread,
    seat: &mut Seat,
    journey: &Journey,
    iteration: u32,
    due: Timestamp,
    until: Timestamp,
) -> Walked {
    let random = of_iteration(thread.seed, seat.user, iteration);
    let mut walker = Walker::new(thread, seat, iteration, random, until);
    walker.walk(journey, due).await
}

/// What came of a walk.
pub struct Walked {
    /// The moment from which the user's next iteration is due.
    pub next: Timestamp,
    /// Whether it was walked to its end, or to a `stop`.
    pub whole: bool,
    /// Whether the user has nothing more to do: its data is used up.
    pub leaves: bool,
    /// The variables at its end.
    pub variables: Vec<Value>,
}

/// A journey under way, and where it has got to.
struct Frame<'a> {
    journey: &'a Journey,
    at: usize,
    /// Where its counters begin.
    counters: usize,
    /// The data row of the journey that called, to be restored; nothing where it is this one's too.
    caller_row: Option<Option<Row<'a>>>,
    /// What others wait for while this one is walked for all.
    turn: Option<Turn>,
}

/// What a user finds who comes to a call that is made for all.
enum Asked {
    /// It is this user who makes it.
    First(Turn),
    /// Somebody else has made it.
    Done,
    /// The load ended first.
    Over,
}

/// Whether a walk goes on after a request.
enum Next {
    On,
    /// It ends: the next iteration is due then.
    End(Timestamp),
}

/// A walk under way.
pub struct Walker<'a, 's> {
    thread: &'a Thread,
    seat: &'s mut Seat,
    walk: Walk<'a>,
    until: Timestamp,
    intended: Timestamp,
    counters: Vec<u32>,
    sent_any: bool,
    /// The run's own variables as they were last seen, and their version.
    of_run: (Vec<Value>, u64),
    /// When the walk last took the run's variables to make something of them.
    took: Timestamp,
}

impl<'a, 's> Walker<'a, 's> {
    /// A walk that is about to begin.
    pub fn new(
        thread: &'a Thread,
        seat: &'s mut Seat,
        iteration: u32,
        random: SmallRng,
        until: Timestamp,
    ) -> Walker<'a, 's> {
        let scenario = &*thread.scenario;
        let variables = seat.variables.as_ref().unwrap_or(&scenario.variables).clone();
        let walk = Walk { iteration, variables, row: None, random, trace: None };
        let mut walker = Walker {
            thread,
            seat,
            walk,
            until,
            intended: Timestamp(0),
            counters: Vec::new(),
            sent_any: false,
            of_run: (Vec::new(), 0),
            // Only who comes to a call that is made for all asks for it.
            took: if thread.looks_back { thread.clock.now() } else { thread.clock.told() },
        };
        walker.exchange_kept();
        walker
    }

    /// Leaves the variables of the run for others, and takes theirs.
    fn exchange_kept(&mut self) {
        let slots = &self.thread.scenario.kept.run;
        if !slots.is_empty() {
            let (before, seen) = &mut self.of_run;
            self.thread.shared.exchange(slots, &mut self.walk.variables, before, seen);
        }
    }

    /// Takes what others have left, to make a request of it.
    fn take_kept(&mut self) {
        if !self.thread.scenario.kept.run.is_empty() {
            self.took = self.thread.clock.now();
            self.exchange_kept();
        }
    }

    /// Walks a journey, and those that it calls, to its end.
    pub async fn walk(&mut self, journey: &'a Journey, due: Timestamp) -> Walked {
        self.intended = due;
        if self.thread.scenario.trace == TraceScope::Iteration {
            self.walk.trace = Some(WalkTrace::new(self.thread, journey.first, due));
        }
        let mut callers: Vec<Frame> = Vec::new();
        let Some(mut frame) = self.enter(journey, false) else {
            return self.walked(due, false, true);
        };
        let mut without_request = 0u32;
        loop {
            let Some(op) = frame.journey.flow.get(frame.at) else {
                let Some(caller) = callers.pop() else { break };
                self.counters.truncate(frame.counters);
                if let Some(turn) = frame.turn.take() {
                    self.exchange_kept();
                    turn.done(self.thread.clock.now());
                }
                if let Some(row) = frame.caller_row.take() {
                    self.walk.row = row;
                }
                frame = caller;
                continue;
            };
            frame.at += 1;
            match op {
                Op::Step(local) => {
                    without_request = 0;
                    let id = StepId((frame.journey.steps.start + local) as u16);
                    if let Next::End(next) = self.request(id).await {
                        return self.walked(next, false, false);
                    }
                }
                Op::Call(called) => {
                    let called = &self.thread.scenario.journeys[*called];
                    match self.enter(called, frame.journey.shares_row) {
                        Some(entered) => callers.push(std::mem::replace(&mut frame, entered)),
                        None => {
                            return self.walked(self.intended, false, true);
                        }
                    }
                }
                Op::CallForAll(index) => match self.ask(*index).await {
                    Asked::First(turn) => {
                        let called = &self.thread.scenario.journeys[*index];
                        let Some(entered) = self.enter(called, frame.journey.shares_row) else {
                            return self.walked(self.intended, false, true);
                        };
                        let entered = Frame { turn: Some(turn), ..entered };
                        callers.push(std::mem::replace(&mut frame, entered));
                    }
                    Asked::Done => {}
                    Asked::Over => return self.walked(self.until, false, false),
                },
                Op::Stop => break,
                other => self.move_on(other, &mut frame),
            }
            without_request += 1;
            if without_request.is_multiple_of(1_024) {
                // A loop without requests must not hold up everybody else on this thread, nor outlive the load.
                tokio::task::yield_now().await;
                if self.thread.is_stopping() || self.thread.clock.now() >= self.until {
                    break;
                }
            }
        }
        self.walked(self.intended, true, false)
    }

    /// The end of the walk.
    fn walked(&mut self, next: Timestamp, whole: bool, leaves: bool) -> Walked {
        Walked { next, whole, leaves, variables: std::mem::take(&mut self.walk.variables) }
    }

    /// Begins a journey; nothing when its data is used up.
    fn enter(&mut self, journey: &'a Journey, has_shared_row: bool) -> Option<Frame<'a>> {
        let goes_on = journey.shares_row && has_shared_row;
        let caller_row = if goes_on { None } else { Some(self.walk.row.take()) };
        if let Some(data) = journey.data.as_ref().filter(|_| !goes_on) {
            let scenario = &*self.thread.scenario;
            self.walk.row = Some(row(
                data,
                scenario,
                self.thread.seed,
                self.seat.user,
                self.walk.iteration,
                &mut self.walk.random,
            )?);
        }
        let counters = self.counters.len();
        self.counters.resize(counters + journey.counters, 0);
        Some(Frame { journey, at: 0, counters, caller_row, turn: None })
    }

    /// Stands in line before a call that is made for all. What is sent next is due when the waiting is over, as after an answer.
    async fn ask(&mut self, journey: usize) -> Asked {
        let thread = self.thread;
        let is_over = || thread.is_stopping() || thread.clock.now() >= self.until;
        thread.timer.sleep_until(self.intended.min(self.until)).await;
        if is_over() {
            return Asked::Over;
        }
        let line = thread.turns.line(journey);
        let turn = match line.at_once() {
            Some(turn) => turn,
            None => {
                let mut waiting = std::pin::pin!(line.wait());
                let turn = loop {
                    let look = (thread.clock.now() + LOOK_AGAIN).min(self.until);
                    tokio::select! {
                        turn = &mut waiting => break turn,
                        () = thread.timer.sleep_until(look) => {}
                    }
                    if is_over() {
                        return Asked::Over;
                    }
                };
                self.intended = self.intended.max(thread.clock.now());
                turn
            }
        };
        if !turn.is_done_since(self.took) {
            return Asked::First(turn);
        }
        self.exchange_kept();
        Asked::Done
    }

    /// Everything that is neither a request nor a call.
    fn move_on(&mut self, op: &'a Op, frame: &mut Frame) {
        let walk = &mut self.walk;
        let scope = Scope {
            variables: &walk.variables,
            row: walk.row.as_ref(),
            user: self.seat.user,
            iteration: walk.iteration,
            now: self.intended,
            locale: self.thread.scenario.locale,
        };
        match op {
            Op::Set(slot, expression) => {
                // What cannot be worked out has no value; the request that needs it says so.
                let value = value(expression, &scope, &mut walk.random).unwrap_or_default();
                if let Some(place) = walk.variables.get_mut(*slot) {
                    *place = value;
                }
            }
            Op::Pause(think) => self.intended = self.intended + pause(*think, &mut walk.random),
            Op::Unless(condition, to) => {
                if !holds(condition, &scope, &mut walk.random) {
                    frame.at = *to;
                }
            }
            Op::Jump(to) => frame.at = *to,
            Op::Count(counter, least, most) => {
                let rounds = if most > least { walk.random.random_range(*least..=*most) } else { *least };
                self.counters[frame.counters + counter] = rounds;
            }
            Op::Take(counter, to) => match &mut self.counters[frame.counters + counter] {
                0 => frame.at = *to,
                left => *left -= 1,
            },
            Op::Choose(branches) => {
                let total: u64 = branches.iter().map(|(weight, _)| u64::from(*weight)).sum();
                let mut left = walk.random.random_range(0..total.max(1));
                for (weight, to) in branches {
                    match left.checked_sub(u64::from(*weight)) {
                        Some(remaining) => left = remaining,
                        None => {
                            frame.at = *to;
                            break;
                        }
                    }
                }
            }
            // These are the walk's own.
            Op::Step(_) | Op::Call(_) | Op::CallForAll(_) | Op::Stop => {}
        }
    }

    /// One request, again where it failed and shall be retried.
    async fn request(&mut self, id: StepId) -> Next {
        let thread = self.thread;
        let wanted = &thread.scenario.steps[usize::from(id.0)];
        let mut retries = wanted.on_failure.retries;
        loop {
            thread.timer.sleep_until(self.intended.min(self.until)).await;
            if self.intended >= self.until || thread.is_stopping() {
                if !self.sent_any && self.seat.connections.are_of_open_model() {
                    // It was due and is accounted for, though the run was stopped first.
                    not_sent(thread, self.seat.user, self.walk.iteration, id, self.intended);
                }
                return Next::End(self.until);
            }
            self.sent_any = true;
            // What others have left while this user was thinking.
            self.take_kept();
            let end = step(thread, self.seat, &mut self.walk, id, self.intended).await;
            if end.went == Went::Over {
                return Next::End(self.until);
            }
            self.exchange_kept();
            let failed = end.flawed || end.went != Went::On;
            if failed && retries > 0 {
                retries -= 1;
                self.intended = end.at + wanted.on_failure.wait.max(end.come_back);
                continue;
            }
            let mut think = pause(wanted.think, &mut self.walk.random);
            if end.went == Went::Failed {
                think = think.max(BACK_OFF);
            }
            let ends = failed
                && match wanted.on_failure.then {
                    Then::GoOn => false,
                    Then::Stop => true,
                    // The rest of the journey makes no sense without what is missing.
                    Then::AsNeeded => end.went != Went::On,
                };
            self.intended = end.at + think;
            return if ends { Next::End(self.intended) } else { Next::On };
        }
    }
}

/// The row of an iteration; nothing when all are used up.
fn row<'a>(
    data: &'a Data,
    scenario: &Scenario,
    seed: u64,
    user: u32,
    iteration: u32,
    random: &mut SmallRng,
) -> Option<Row<'a>> {
    let length = data.table.len();
    // A user's own beginning and end have no number of their own among the iterations.
    let iteration = if iteration >= OWN_ITERATIONS { 0 } else { iteration as usize };
    // Users begin side by side and move on together: all rows are used, without any shared counter.
    let nth = user as usize + iteration * scenario.most_users().max(1) as usize;
    let index = match data.order {
        RowOrder::PerUser => user as usize,
        RowOrder::Random => random.random_range(0..length),
        RowOrder::Sequential | RowOrder::Shuffled => nth,
        RowOrder::Once => data.next.fetch_add(1, Ordering::Relaxed) as usize,
    };
    if index >= length && data.at_end == AtEnd::Stop {
        return None;
    }
    let index = match data.order {
        RowOrder::Shuffled => {
            let round = (index / length) as u64;
            shuffled(index % length, length, seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }
        _ => index % length,
    };
    // A row that cannot be read any more has no values: the request that needs one says so.
    Some(
        data.table
            .kept(index)
            .map_or_else(|| Row::Read(data.table.read(index).unwrap_or_default()), Row::Kept),
    )
}
