//! Simulated queues of which the answer is known: capacity and limiting contributor have to be found over many seeds.

use crate::analysis::names::{Names, own};
use crate::analysis::result::{ByCategory, LoadDoubt, Recovery, Saturation, Timeline};
use crate::analysis::saturation::saturation;
use crate::analysis::timeline::{Clock, Passage, Ticks};
use crate::record::Nanos;
use crate::stats::{Random, Usl};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const SECOND: f64 = 1e9;
/// What stands for waiting and for work in these runs.
const WAIT: u32 = own::TCP;
const WORK: u32 = own::DNS;

/// One request: due, waited, worked, by whom.
#[derive(Clone, Copy)]
struct Request {
    due: f64,
    wait: f64,
    work: f64,
    user: u32,
}

fn line(requests: &[Request], closed: bool) -> Timeline {
    let due = requests.iter().map(|r| r.due as u64);
    let mut ticks = Ticks::new(Clock::new(due.clone().min().zip(due.max())));
    for r in requests {
        let intended = r.due as u64;
        let passage = Passage { intended, end: intended + (r.wait + r.work) as u64, user: r.user, weight: 1 };
        let mut categories = ByCategory::default();
        categories.0[0] = (r.wait + r.work) as u64;
        let slice = ticks.exchange(passage, &categories);
        ticks.time(WAIT, slice, r.wait as u64, 1);
        ticks.time(WORK, slice, r.work as u64, 1);
        ticks.calls(WORK, slice, 1, r.work as u64);
    }
    ticks.named(&Names::new("")).into_timeline(9, closed)
}

/// M/M/c: Poisson arrivals in stages of a rate and a length in seconds, `c` servers of `rate` each.
fn open(seed: u64, stages: &[(f64, f64)], c: usize, rate: f64) -> Vec<Request> {
    let mut random = Random::new(seed);
    let mut free: BinaryHeap<Reverse<u64>> = (0..c).map(|_| Reverse(0)).collect();
    let (mut now, mut end, mut out) = (0.0, 0.0, Vec::new());
    for (arrivals, length) in stages {
        end += length * SECOND;
        loop {
            let next = now + random.exponential() / arrivals * SECOND;
            if next > end {
                now = end;
                break;
            }
            now = next;
            let work = random.exponential() / rate * SECOND;
            let from = now.max(free.pop().map_or(0, |f| f.0) as f64);
            free.push(Reverse((from + work) as u64));
            out.push(Request { due: now, wait: from - now, work, user: 0 });
        }
    }
    out
}

/// A closed model: users in stages of a number and a length in seconds, each at once again with a call that needs one of
/// `pool` connections for a time that `hold` gives for the number of users.
fn closed(
    seed: u64,
    stages: &[(u32, f64)],
    pool: usize,
    hold: &dyn Fn(u32, &mut Random) -> f64,
) -> Vec<Request> {
    let mut random = Random::new(seed);
    let mut out = Vec::new();
    let mut begin = 0.0;
    for (users, length) in stages {
        let end = begin + length * SECOND;
        let mut free: BinaryHeap<Reverse<u64>> = (0..pool).map(|_| Reverse(begin as u64)).collect();
        let mut ready: BinaryHeap<Reverse<(u64, u32)>> =
            (0..*users).map(|user| Reverse((begin as u64 + u64::from(user), user))).collect();
        while let Some(Reverse((due, user))) = ready.pop().filter(|r| (r.0.0 as f64) < end) {
            let due = due as f64;
            let work = hold(*users, &mut random) * SECOND;
            let from = due.max(free.pop().map_or(0, |f| f.0) as f64);
            free.push(Reverse((from + work) as u64));
            ready.push(Reverse(((from + work) as u64 + 1_000, user)));
            out.push(Request { due, wait: from - due, work, user });
        }
        begin = end;
    }
    out
}

fn limiting(s: &Saturation) -> &str {
    s.limiting.as_ref().map_or("nobody", |l| &*l.contributor.name)
}

#[test]
fn an_open_queue_shows_its_capacity_its_knee_and_who_waits() {
    // 4 servers of 50 per second each: 200 per second.
    let stages = [40.0, 80.0, 120.0, 150.0, 180.0, 240.0].map(|rate| (rate, 20.0));
    let (mut held, seeds) = (0, 20);
    for seed in 0..seeds {
        let s = saturation(&line(&open(seed, &stages, 4, 50.0), false), true);
        let capacity = s.capacity_per_s.unwrap();
        assert!((180.0..220.0).contains(&capacity.value) && s.capacity_seen, "seed {seed}: {capacity:?}");
        held += u32::from(capacity.low <= 200.0 && 200.0 <= capacity.high);
        assert_eq!(limiting(&s), "TCP connect", "seed {seed}: {:?}", s.limiting);
        let knee = s.knee_per_s.unwrap();
        assert!((120.0..=210.0).contains(&knee.value), "seed {seed}: {knee:?}");
        assert!(s.levels.len() >= 4 && s.levels.windows(2).all(|w| w[0].offered_per_s < w[1].offered_per_s));
        // Little: calls under way are rate times length.
        let level = &s.levels[0];
        let work = level.parts.iter().find(|p| &*p.contributor.name == "DNS lookup").unwrap();
        let expected = level.offered_per_s * work.call_ms / 1e3;
        assert!((work.busy - expected).abs() < 0.02 * expected, "{} {expected}", work.busy);
    }
    assert!(held * 10 >= seeds as u32 * 8, "{held} of {seeds} intervals held the capacity");
}

#[test]
fn a_pool_of_connections_is_what_limits_many_users() {
    // 5 connections, 20 ms each: 250 per second, reached with 5 users.
    for seed in 0..20 {
        let stages = [1, 2, 4, 8, 16, 32].map(|users| (users, 15.0));
        let run = closed(seed, &stages, 5, &|_, random| 0.02 * random.exponential());
        let s = saturation(&line(&run, true), false);
        let capacity = s.capacity_per_s.unwrap();
        assert!((225.0..275.0).contains(&capacity.value), "seed {seed}: {capacity:?} {:?}", s.levels);
        assert_eq!(limiting(&s), "TCP connect", "seed {seed}");
        assert!(s.limiting.as_ref().unwrap().share_of_growth > 0.8);
    }
}

#[test]
fn a_server_that_follows_the_law_has_the_laws_capacity() {
    // Capacity lies at 31 users. Work itself gets slower, nobody waits by name.
    let law = Usl { gamma: 50.0, alpha: 0.06, beta: 0.001 };
    let slow = |users: u32, random: &mut Random| {
        let n = f64::from(users);
        n / law.throughput(n) * (0.5 + random.uniform())
    };
    for seed in 0..20 {
        let stages = [1, 2, 4, 7, 12, 20].map(|users| (users, 15.0));
        let s = saturation(&line(&closed(seed, &stages, 1_000, &slow), true), false);
        let capacity = s.capacity_per_s.unwrap();
        let ratio = capacity.value / law.capacity();
        assert!((0.88..1.12).contains(&ratio), "seed {seed}: {capacity:?} for {}", law.capacity());
        assert_eq!(limiting(&s), "DNS lookup", "seed {seed}");
        let (alpha, beta) = s.scalability.unwrap();
        assert!(
            (alpha.value - 0.06).abs() < 0.03 && (beta.value - 0.001).abs() < 0.0015,
            "{alpha:?} {beta:?}"
        );
    }
}

#[test]
fn what_the_load_does_not_reach_is_not_told() {
    for seed in 0..20 {
        let stages = [50.0, 100.0, 200.0].map(|rate| (rate, 20.0));
        let s = saturation(&line(&open(seed, &stages, 40, 50.0), false), true);
        assert_eq!((s.knee_per_s, s.limiting), (None, None), "seed {seed}");
        assert!(s.capacity_per_s.is_none(), "seed {seed}: {:?}", s.capacity_per_s);
        assert!(s.doubts.contains(&LoadDoubt::NoGrowth) && s.doubts.contains(&LoadDoubt::NoKnee));
    }
    assert_eq!(
        saturation(&line(&open(1, &[(2.0, 3.0)], 1, 50.0), false), true).doubts,
        [LoadDoubt::TooShort]
    );
}

#[test]
fn a_light_load_has_the_rate_that_it_has() {
    // 20 per second for six seconds: slices are shorter than the distance of two requests. Then users who think.
    let even: Vec<Request> = (0..120)
        .map(|n| Request { due: f64::from(n) * SECOND / 20.0, wait: 0.0, work: 5e6, user: 0 })
        .collect();
    let s = saturation(&line(&even, false), true);
    assert_eq!((s.levels.len(), &*s.doubts), (1, &[LoadDoubt::OneLevel][..]));
    assert!((19.5..20.5).contains(&s.levels[0].offered_per_s), "{:?}", s.levels[0]);
    assert!((19.5..20.5).contains(&s.levels[0].achieved_per_s), "{:?}", s.levels[0]);
    // A pause of five seconds between the stages is no level and makes none lighter.
    let stages = [(10.0, 10.0), (0.001, 5.0), (40.0, 10.0)];
    for seed in 0..20 {
        let s = saturation(&line(&open(seed, &stages, 8, 50.0), false), true);
        let offered: Vec<f64> = s.levels.iter().map(|l| l.offered_per_s).collect();
        assert_eq!(offered.len(), 2, "seed {seed}: {offered:?}");
        assert!(
            (offered[0] - 10.0).abs() < 3.0 && (offered[1] - 40.0).abs() < 6.0,
            "seed {seed}: {offered:?}"
        );
    }
}

/// Users in stages of a number and a length in seconds, who think from half a second to two after each of three quick calls.
fn thinking(seed: u64, stages: &[(u32, f64)]) -> Vec<Request> {
    let mut random = Random::new(seed);
    let (mut out, mut begin) = (Vec::new(), 0.0);
    for (users, length) in stages {
        let end = begin + length * SECOND;
        for user in 0..*users {
            let mut due = begin;
            while due < end {
                for _ in 0..3 {
                    let work = 0.01 * random.exponential() * SECOND;
                    out.push(Request { due, wait: 0.0, work, user });
                    due += work;
                }
                due += (0.5 + 1.5 * random.uniform()) * SECOND;
            }
        }
        begin = end;
    }
    out
}

#[test]
fn users_who_think_make_the_levels_that_were_planned_and_no_others() {
    for seed in 0..20 {
        let s = saturation(&line(&thinking(seed, &[(20, 30.0)]), true), false);
        assert_eq!((s.levels.len(), &*s.doubts), (1, &[LoadDoubt::OneLevel][..]), "seed {seed}");
        assert!((19.0..=20.0).contains(&s.levels[0].users), "seed {seed}: {}", s.levels[0].users);
        let s = saturation(&line(&thinking(seed, &[(5, 30.0), (20, 30.0), (5, 30.0)]), true), false);
        let users: Vec<f64> = s.levels.iter().map(|level| level.users).collect();
        assert_eq!(users.len(), 2, "seed {seed}: {users:?}");
        assert!((users[0] - 5.0).abs() < 0.5 && (users[1] - 20.0).abs() < 1.0, "seed {seed}: {users:?}");
    }
}

#[test]
fn one_load_is_one_level_and_steady_is_steady() {
    let mut told = 0;
    for seed in 0..40 {
        let s = saturation(&line(&open(seed, &[(60.0, 60.0)], 2, 50.0), false), true);
        assert_eq!((s.levels.len(), &*s.doubts), (1, &[LoadDoubt::OneLevel][..]), "seed {seed}");
        told += u32::from(s.drift.is_some() || s.warm_up.is_some());
    }
    assert!(told <= 3, "{told} of 40 steady runs drift");
}

#[test]
fn leaks_start_ups_and_peaks_are_seen() {
    for seed in 0..10 {
        let mut run = open(seed, &[(100.0, 60.0)], 8, 50.0);
        run.iter_mut().for_each(|r| r.work *= 1.0 + r.due / (60.0 * SECOND));
        let drift = saturation(&line(&run, false), true).drift.unwrap();
        assert!((0.3..1.2).contains(&drift.share), "{drift:?}");
        assert_eq!(&*drift.contributor.unwrap().name, "DNS lookup");

        let mut run = open(seed, &[(100.0, 60.0)], 8, 50.0);
        run.iter_mut().filter(|r| r.due < 8.0 * SECOND).for_each(|r| r.work *= 6.0);
        let warm = saturation(&line(&run, false), true).warm_up.unwrap();
        assert!((Nanos::from_millis(6_000)..Nanos::from_millis(12_000)).contains(&warm), "{warm}");

        // A peak above capacity: the queue it leaves is worked off at 2 × 50 − 40 per second.
        let stages = [(40.0, 30.0), (140.0, 20.0), (40.0, 50.0)];
        match saturation(&line(&open(seed, &stages, 2, 50.0), false), true).recovery {
            Some(Recovery::After(time)) => {
                assert!((Nanos::from_millis(6_000)..Nanos::from_millis(25_000)).contains(&time), "{time}");
            }
            other => panic!("seed {seed}: {other:?}"),
        }
    }
}
