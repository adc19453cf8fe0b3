//! Virtual users: who is there when, how they begin and end, and what they keep between iterations.

use super::cache::Cache;
use super::jar::Jar;
use super::random::{of_iteration, pause};
use super::seat::{Connections, Seat};
use super::thread::Thread;
use super::walk::{BACK_OFF, LOOK_AGAIN, OWN_ITERATIONS, Walked, Walker, walk};
use crate::record::{Nanos, Timestamp};
use crate::scenario::{Journey, Think};
use rand::RngExt;
use rand::rngs::SmallRng;
use serde_json::Value;
use std::rc::Rc;

/// How often a user tries to begin before it stays away.
const MOST_STARTS: usize = 1_000;
/// A user's `on_stop` may take this long beyond the load.
const LAST_WALK: Nanos = Nanos::from_millis(30_000);

/// A user of the closed model: walks for as long as it is present.
pub async fn user(thread: Rc<Thread>, load: usize, number: u32) {
    let stream = &thread.schedule.streams[load];
    let own = Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
    let mut seat = new_seat(&thread, load, stream.first_user + number, own);
    let mut iteration = 0;
    for (from, until) in stream.users.intervals(number) {
        let until = thread.begin + until;
        let mut due = thread.begin + from;
        thread.timer.sleep_until(due).await;
        if thread.is_stopping() {
            return;
        }
        thread.count(|c| c.users += 1);
        let mut stays = true;
        (due, stays) = begin_user(&thread, &mut seat, due, until).await.unwrap_or((due, stays));
        while stays && due < until && thread.clock.told() < until && !thread.is_stopping() {
            let walked = iterate(&thread, &mut seat, iteration, due, until).await;
            (due, stays) = (walked.next, !walked.leaves);
            iteration += 1;
        }
        end_user(&thread, &mut seat).await;
        thread.count(|c| c.users -= 1);
        // Whoever leaves hangs up.
        seat.connections = Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
        if !stays {
            return;
        }
    }
}

/// A user of a load that can be changed: walks whenever it is to be there. It leaves between two iterations, not within
/// one, because nobody knows beforehand when it has to.
pub async fn followed_user(thread: Rc<Thread>, load: usize, number: u32) {
    let own = || Connections::Own(thread.scenario.endpoints.iter().map(|_| None).collect());
    let first = thread.schedule.streams[load].first_user;
    let mut seat = new_seat(&thread, load, first + number, own());
    let over = || thread.is_stopping() || thread.clock.now() >= thread.end.get();
    let present = || !over() && number < thread.followed.present[load].get();
    let mut iteration = 0;
    let mut stays = true;
    while stays && !over() {
        if !present() {
            thread.timer.sleep_until(thread.clock.now() + LOOK_AGAIN).await;
            continue;
        }
        thread.count(|c| c.users += 1);
        let mut due = thread.clock.now();
        (due, stays) = begin_user(&thread, &mut seat, due, thread.end.get()).await.unwrap_or((due, stays));
        while stays && present() {
            let walked = iterate(&thread, &mut seat, iteration, due, thread.end.get()).await;
            (due, stays) = (walked.next, !walked.leaves);
            iteration += 1;
        }
        end_user(&thread, &mut seat).await;
        thread.count(|c| c.users -= 1);
        // Whoever leaves hangs up.
        seat.connections = own();
    }
}

/// A user that is on its way: its own cookies and variables, none yet.
pub fn new_seat(thread: &Thread, load: usize, user: u32, connections: Connections) -> Seat {
    Seat {
        load,
        user,
        flight: thread.flights.slot(),
        cookies: Jar::default(),
        connections,
        variables: None,
        cache: Cache::default(),
    }
}

/// Walks `on_start`, if the scenario has it. Gives when the user's first iteration is due and whether the user stays: one
/// that could not be set up tries again, as a person whose login fails.
pub async fn begin_user(
    thread: &Thread,
    seat: &mut Seat,
    due: Timestamp,
    until: Timestamp,
) -> Option<(Timestamp, bool)> {
    let journey = &thread.scenario.journeys[thread.scenario.lifecycle.on_start?];
    let mut due = due;
    for _ in 0..MOST_STARTS {
        seat.variables = None;
        let walked = walk(thread, seat, journey, OWN_ITERATIONS, due, until).await;
        if walked.whole {
            seat.variables = Some(walked.variables);
            return Some((walked.next, true));
        }
        due = walked.next.max(due + BACK_OFF);
        if due >= until || thread.is_stopping() || seat.connections.are_of_open_model() {
            break;
        }
    }
    Some((due, false))
}

/// Walks `on_stop`, if the scenario has it and the run was not stopped.
pub async fn end_user(thread: &Thread, seat: &mut Seat) {
    let Some(index) = thread.scenario.lifecycle.on_stop else { return };
    let set_up = thread.scenario.lifecycle.on_start.is_none() || seat.variables.is_some();
    if thread.is_stopping() || !set_up {
        return;
    }
    let now = thread.clock.now();
    let journey = &thread.scenario.journeys[index];
    walk(thread, seat, journey, OWN_ITERATIONS + 1, now, now + LAST_WALK).await;
}

/// One iteration of a journey that is chosen by weight.
pub async fn iterate(
    thread: &Thread,
    seat: &mut Seat,
    iteration: u32,
    due: Timestamp,
    until: Timestamp,
) -> Walked {
    let mut random = of_iteration(thread.seed, seat.user, iteration);
    let journey = choose(thread, seat.load, &mut random);
    thread.count(|c| c.iterations += 1);
    let mut walker = Walker::new(thread, seat, iteration, random, until);
    let mut walked = walker.walk(journey, due).await;
    keep_of_user(thread, seat, &mut walked.variables);
    if journey.pace != Think::default() {
        let pace = pause(journey.pace, &mut of_iteration(!thread.seed, seat.user, iteration));
        walked.next = walked.next.max(due + pace);
    }
    walked
}

/// What lasts as long as the user is there for its next iteration.
fn keep_of_user(thread: &Thread, seat: &mut Seat, variables: &mut [Value]) {
    let slots = &thread.scenario.kept.user;
    if slots.is_empty() {
        return;
    }
    let kept = seat.variables.get_or_insert_with(|| thread.scenario.variables.clone());
    for slot in slots {
        if let (Some(place), Some(value)) = (kept.get_mut(*slot), variables.get_mut(*slot)) {
            *place = std::mem::take(value);
        }
    }
}
/// A journey of a load, by weight. A load has at least one.
pub fn choose<'a>(thread: &'a Thread, load: usize, random: &mut SmallRng) -> &'a Journey {
    let journeys = &thread.scenario.journeys;
    let of_load = &thread.schedule.streams[load].journeys;
    if let [only] = of_load[..] {
        return &journeys[only];
    }
    let total: u64 = of_load.iter().map(|j| u64::from(journeys[*j].weight)).sum();
    let mut left = random.random_range(0..total.max(1));
    for journey in of_load.iter().map(|j| &journeys[*j]) {
        match left.checked_sub(u64::from(journey.weight)) {
            Some(remaining) => left = remaining,
            None => return journey,
        }
    }
    &journeys[of_load.first().copied().unwrap_or_default()]
}
