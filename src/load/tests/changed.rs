//! Loads that are changed while they run, several loads side by side, and sampling on the wire.

use super::server::{friendly, ok};
use super::*;
use crate::load::{Change, Controller, Cursor, Next, ONE, control_channel};
use crate::scenario::Sampling;
use std::collections::BTreeSet;

/// Changes at moments from the beginning, in milliseconds; each takes effect a tenth of a second after it is made.
fn changed(changes: &[(u64, Change)], factor: u32) -> (Controller, crate::load::ControlSignal) {
    let (controller, signal) = control_channel(factor);
    for (at, change) in changes {
        let made = Timestamp((at - 100) * 1_000_000);
        assert_eq!(controller.change(Timestamp(0), made, *change), Nanos::from_millis(*at));
    }
    (controller, signal)
}

#[test]
fn a_changed_load_keeps_exact_due_times_on_all_threads() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml =
        "target: http://TARGET\nload: [{rate: 100/s, for: 300ms}, {rate: 40/s, for: 10s}]\nsteps: [GET /]\n";
    let stages = [
        (200, Change::Pause),
        (350, Change::Resume),
        (400, Change::Factor(3 * ONE)),
        (600, Change::Jump(Nanos::from_millis(10_200))),
    ];
    for threads in [1, 3] {
        let (controller, signal) = changed(&stages, 2 * ONE);
        let mut ran = run_with(&server, yaml, |o, _| {
            o.threads = threads;
            o.control = Some(signal);
        });
        let mut cursor = Cursor::default();
        let timeline = controller.timeline();
        let mut expected = Vec::new();
        while let Next::Due(_, at) = cursor.next(&ran.schedule.streams[0].arrivals, &timeline, (0, 1)) {
            expected.push(ran.started_at + at);
        }
        ran.exchanges.sort_by_key(|e| e.intended);
        let intended: Vec<Timestamp> = ran.exchanges.iter().map(|e| e.intended).collect();
        assert_eq!(intended, expected);
        assert!(ran.exchanges.len() > 40, "{}", ran.exchanges.len());
        let paused = |t: f64| (200.0..350.0).contains(&t);
        assert!(ran.exchanges.iter().all(|e| !paused(ran.ms(e.intended))), "nothing is due in the pause");
    }
}

#[test]
fn users_come_and_go_with_the_factor() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nthink: 20ms\nload: {users: 2, for: 600ms}\nsteps: [GET /]\n";
    let (_controller, signal) = changed(&[(300, Change::Factor(3 * ONE))], ONE);
    let ran = run_with(&server, yaml, |o, _| {
        o.threads = 2;
        o.control = Some(signal);
    });
    let of = |which: &dyn Fn(f64) -> bool| -> BTreeSet<u32> {
        ran.exchanges.iter().filter(|e| which(ran.ms(e.intended))).map(|e| e.user).collect()
    };
    assert_eq!(of(&|ms| ms < 300.0), BTreeSet::from([0, 1]));
    assert_eq!(of(&|ms| ms >= 300.0), (0..6).collect());
}

#[test]
fn journeys_with_loads_of_their_own_are_walked_by_them_alone() {
    let (server, _log) = friendly(|_| ok("ok"));
    let yaml = "target: http://TARGET\nload: {rate: 50/s, for: 200ms}\njourneys:\n  a: {load: {rate: 100/s, for: 300ms}, steps: [GET /a]}\n  b: [GET /b]\n  c: {load: {users: 1, for: 100ms}, think: 10ms, steps: [GET /c]}\n";
    let ran = run_with(&server, yaml, |o, _| o.threads = 2);
    let count = |step: u16| ran.exchanges.iter().filter(|e| e.step.0 == step).count();
    assert_eq!((count(0), count(1)), (30, 10));
    assert!(count(2) >= 1);
    let users = |step: u16| -> BTreeSet<u32> {
        ran.exchanges.iter().filter(|e| e.step.0 == step).map(|e| e.user).collect()
    };
    assert_eq!((users(0).len(), users(1).len(), users(2).len()), (30, 10, 1), "each arrival is a user");
    assert!(users(0).is_disjoint(&users(1)) && users(2).is_disjoint(&users(0)));
}

#[test]
fn tracing_is_on_and_off_in_turn() {
    let (server, _log) = friendly(|_| ok("ok"));
    let ran = run_with(
        &server,
        "target: http://TARGET\nload: {rate: 100/s, for: 400ms}\nsteps: [GET /]\n",
        |o, _| o.sampling = Sampling::InTurn { stretch: Nanos::from_millis(100) },
    );
    assert_eq!(ran.facts.trace_stretch, Some(Nanos::from_millis(100)));
    for exchange in &ran.exchanges {
        let on = (100.0..300.0).contains(&ran.ms(exchange.intended));
        assert_eq!((exchange.sampled, exchange.weight()), (on, u64::from(on)));
    }
}
