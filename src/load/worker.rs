//! One load thread: a runtime of its own with its own users, sockets and random numbers.

use super::arrivals::Open;
use super::carrier::Carrier;
use super::clock::Clock;
use super::connection::Dialer;
use super::control::ControlSignal;
use super::flight::Flights;
use super::http1::Scratch;
use super::live::{Counts, LiveCounters, StopLevel, StopSignal};
use super::outbox::Outbox;
use super::plan::StepPlan;
use super::pool::{Pool, Terms};
use super::random::Ids;
use super::sampling::Sampler;
use super::schedule::{ONE, Schedule};
use super::shared::Shared;
use super::thread::{Followed, Thread};
use super::timer::Timer;
use super::tls::Tls;
use super::turns::Turns;
use super::user::{followed_user, user};
use super::words::Words;
use crate::record::{Exchange, Nanos, Timestamp};
use crate::scenario::{KeepAlive, Op, Sampling, Scenario, Sharing};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};

/// How often counters are published and exchanges handed on.
const PUBLISH: Nanos = Nanos::from_millis(50);
/// The longest that a thread sleeps without an ear for its sockets, where it may: more than a thousand wake-ups per second
/// are what is worth sparing.
const NAP: Nanos = Nanos::from_millis(1);
/// How often a load that can be changed is looked at.
const SLICE: Nanos = Nanos::from_millis(20);
/// A pause has no end of its own; this is far enough.
const LONGEST_PAUSE: Nanos = Nanos::from_millis(3_600_000);
/// Most users that a load can be changed to.
const MOST_USERS: u32 = 1_000_000;
/// Iterations that may be under way for each connection that may be: most of an iteration is think time.
const ITERATIONS_PER_CONNECTION: usize = 10;

/// All that a load thread is given.
#[derive(Clone)]
pub struct Setup {
    pub index: usize,
    pub threads: usize,
    pub core: Option<usize>,
    pub scenario: Arc<Scenario>,
    pub schedule: Arc<Schedule>,
    pub clock: Clock,
    pub tls: Arc<[Tls]>,
    pub seed: u64,
    pub sampling: Sampling,
    pub connections: usize,
    pub sink: tokio::sync::mpsc::Sender<Vec<Exchange>>,
    pub stop: StopSignal,
    pub live: Arc<LiveCounters>,
    pub control: Option<ControlSignal>,
    pub shared: Arc<Shared>,
    /// Calls that one user makes for all.
    pub turns: Arc<Turns>,
}

/// Runs one thread's share of the load: says that it is ready, waits for the moment at which load begins, and gives its
/// counters when all is over.
pub fn run(setup: Setup, ready: &mpsc::Sender<Result<(), String>>, go: &mpsc::Receiver<Timestamp>) -> Counts {
    pin_to(setup.core);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build_local(Default::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = ready.send(Err(format!("no runtime for a load thread: {error}")));
            return Counts::default();
        }
    };
    runtime.block_on(async {
        let prepared = Timer::best(setup.clock)
            .map_err(|e| format!("no timer for a load thread: {e}"))
            .and_then(|timer| plans(&setup.scenario).map(|plans| (timer, plans)));
        let (timer, plans) = match prepared {
            Ok(prepared) => prepared,
            Err(message) => {
                let _ = ready.send(Err(message));
                return Counts::default();
            }
        };
        let _ = ready.send(Ok(()));
        // Blocking is fine here: nothing else runs on this thread yet.
        match go.recv() {
            Ok(begin) => load(setup, timer, plans, begin).await,
            Err(_) => Counts::default(),
        }
    })
}

/// All steps made ready.
pub fn plans(scenario: &Scenario) -> Result<Vec<StepPlan>, String> {
    scenario.steps.iter().map(|step| StepPlan::new(scenario, step)).collect()
}

fn pin_to(core: Option<usize>) {
    #[cfg(target_os = "linux")]
    if let Some(core) = core {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        // Without the right to choose a core, load runs where the system puts it.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

async fn load(setup: Setup, timer: Timer, plans: Vec<StepPlan>, begin: Timestamp) -> Counts {
    let Setup { schedule, .. } = &setup;
    let share = |all: usize| (all / setup.threads + usize::from(setup.index < all % setup.threads)).max(1);
    let thread = thread_of(&setup, &timer, plans, begin, begin + schedule.end());
    tokio::task::spawn_local(timer.drive());
    tokio::task::spawn_local(listen(Rc::clone(&thread), setup.stop.clone()));
    let published = Rc::new(RefCell::new(Counts::default()));
    let stage_clock = setup.index == 0;
    tokio::task::spawn_local(tick(
        Rc::clone(&thread),
        Rc::clone(&published),
        Arc::clone(&setup.live),
        stage_clock,
    ));

    if may_nap(&thread) {
        thread.dialer.stamps.set(true);
        thread.scratch.naps.replace(Some(thread.timer.clone()));
        thread.timer.nap(NAP);
    }
    if thread.followed.is_followed() {
        tokio::task::spawn_local(follow(Rc::clone(&thread), (setup.index as u32, setup.threads as u32)));
    }
    let mut users = Vec::new();
    let mut pacers = Vec::new();
    for (index, stream) in schedule.streams.iter().enumerate() {
        // The n-th user of a load walks on the thread that its number over all loads falls to.
        // Where the load can be changed, users come as the followed timeline says.
        let planned = if thread.followed.is_followed() { 0 } else { stream.users.most() };
        for n in (0..planned).filter(|n| (stream.first_user + n) as usize % setup.threads == setup.index) {
            users.push(tokio::task::spawn_local(user(Rc::clone(&thread), index, n)));
        }
        if !stream.arrivals.is_empty() {
            // An arrival that keeps a connection to itself holds it while it thinks.
            let each = if thread.pool.is_any_per_user() { 1 } else { ITERATIONS_PER_CONNECTION };
            let most = share(setup.connections * each);
            let open = Open::new(Rc::clone(&thread), index, most);
            // A task and not this future itself: the runtime asks the system for events before it turns to this future.
            let pacer = Rc::clone(&open).pace((setup.index as u64, setup.threads as u64));
            pacers.push((tokio::task::spawn_local(pacer), open));
        }
    }
    for (pacer, open) in pacers {
        let _ = pacer.await;
        while !open.is_done() {
            thread.timer.steady_sleep_until(thread.clock.now() + Nanos::from_millis(1)).await;
        }
    }
    while thread.followed.is_followed() && !thread.is_stopping() && thread.clock.now() < thread.end.get() {
        thread.timer.steady_sleep_until(thread.clock.now() + SLICE).await;
    }
    users.append(&mut thread.followed.users.borrow_mut());
    for user in users {
        // A user that panicked is a fault of hotspan's; its exchanges so far are kept.
        let _ = user.await;
    }
    thread.outbox.finish().await;
    let counts = *thread.counts.borrow();
    counts.publish(&mut published.borrow_mut(), &setup.live);
    counts
}

/// Whether nothing follows upon an answer, so that it may be read a little after it has come: arrivals of one request each,
/// over connections of which the kernel tells when their bytes came.
fn may_nap(thread: &Thread) -> bool {
    let (scenario, schedule) = (&thread.scenario, &thread.schedule);
    let single = scenario.journeys.iter().all(|j| matches!(j.flow[..], [Op::Step(_)]));
    // Whoever gets a connection that is not stamped keeps the thread awake: see `Attempt::attempts`.
    let plain = scenario.endpoints.iter().all(|e| !e.tls);
    let open = schedule.streams.iter().all(|s| s.users.most() == 0 && !s.arrivals.is_empty());
    let lifecycle = &scenario.lifecycle;
    open && single && plain && lifecycle.on_start.is_none() && lifecycle.on_stop.is_none()
}

/// What everything on one thread shares.
pub fn thread_of(
    setup: &Setup,
    timer: &Timer,
    plans: Vec<StepPlan>,
    begin: Timestamp,
    end: Timestamp,
) -> Rc<Thread> {
    let Setup { scenario, schedule, .. } = setup;
    let clock = timer.clock();
    let share = |all: usize| (all / setup.threads + usize::from(setup.index < all % setup.threads)).max(1);
    let scratch = Scratch::new();
    let propagation = scenario.propagation.unwrap_or_default();
    let for_all = |op: &Op| matches!(op, Op::CallForAll(_));
    Rc::new(Thread {
        looks_back: scenario.journeys.iter().any(|journey| journey.flow.iter().any(for_all)),
        prepared: RefCell::new(plans.iter().map(|_| [None, None]).collect()),
        scratch: Rc::clone(&scratch),
        plans,
        begin,
        end: Cell::new(end),
        followed: Followed::new(setup.control.clone(), schedule),
        clock: Rc::clone(clock),
        timer: timer.clone(),
        flights: Rc::new(Flights::default()),
        dialer: Dialer::new(scenario, &setup.tls, Rc::clone(clock), scratch),
        pool: Rc::new(Pool::new(&terms(scenario, share), share(setup.connections))),
        ids: RefCell::new(Ids::new(propagation)),
        carrier: Carrier::new(propagation),
        words: RefCell::new(Words::without(Arc::clone(&scenario.secrets))),
        outbox: Outbox::new(setup.sink.clone()),
        counts: RefCell::default(),
        stop: Cell::new(StopLevel::Run),
        seed: setup.seed,
        sampler: Sampler::new(setup.sampling, setup.threads, scenario.steps.len(), begin),
        scenario: Arc::clone(scenario),
        schedule: Arc::clone(schedule),
        shared: Arc::clone(&setup.shared),
        turns: Arc::clone(&setup.turns),
    })
}

/// Whose the connections to each endpoint are, `share` giving this thread's part of those that all users share.
fn terms(scenario: &Scenario, share: impl Fn(usize) -> usize) -> Vec<Terms> {
    let of = |index| match scenario.http_of(index).connections {
        Sharing::ByModel => Terms::ByModel,
        Sharing::PerUser => Terms::PerUser,
        Sharing::Shared(most) => Terms::Limited(share(most as usize)),
    };
    (0..scenario.endpoints.len()).map(of).collect()
}

/// Ends what is over on a thread that has no load, and stops it when the run is stopped that far.
pub async fn keep_time(thread: Rc<Thread>, stop: StopSignal, from: StopLevel) {
    loop {
        let now = thread.clock.now();
        thread.flights.sweep(now);
        let level = *stop.level.borrow();
        if level >= from {
            thread.stop(level);
        }
        thread.timer.steady_sleep_until(now + Nanos::from_millis(5)).await;
    }
}

/// Follows the timeline of a load that can be changed: when it ends, and which users are present.
async fn follow(thread: Rc<Thread>, share: (u32, u32)) {
    let mut come = vec![0; thread.schedule.streams.len()];
    loop {
        let now = thread.clock.now();
        let timeline = thread.followed.timeline();
        let real = now.since(thread.begin);
        let end = timeline.end(thread.schedule.end()).map_or(now + LONGEST_PAUSE, |end| thread.begin + end);
        thread.end.set(end);
        if now >= end || thread.is_stopping() {
            thread.followed.present.iter().for_each(|present| present.set(0));
            return;
        }
        let piece = timeline.piece_at(real);
        let at = timeline.schedule_at(real);
        for (index, stream) in thread.schedule.streams.iter().enumerate() {
            let planned = u64::from(stream.users.present(at)) * u64::from(piece.factor);
            let wanted = planned.div_ceil(u64::from(ONE)).min(u64::from(MOST_USERS)) as u32;
            let wanted = if piece.moving { wanted } else { 0 };
            thread.followed.present[index].set(wanted);
            // Users are numbered as those of an unchanged load; those beyond are new ones.
            while come[index] < wanted {
                let number = come[index];
                come[index] += 1;
                if number % share.1 == share.0 {
                    let user = followed_user(Rc::clone(&thread), index, number);
                    thread.followed.users.borrow_mut().push(tokio::task::spawn_local(user));
                }
            }
        }
        thread.timer.steady_sleep_until(now + SLICE).await;
    }
}

/// Passes on the stop signal.
async fn listen(thread: Rc<Thread>, mut stop: StopSignal) {
    loop {
        let level = *stop.level.borrow_and_update();
        thread.stop(level);
        if level == StopLevel::Now || stop.level.changed().await.is_err() {
            return;
        }
    }
}

/// Ends what is over, hands on exchanges, publishes counters; for as long as the thread lives.
async fn tick(
    thread: Rc<Thread>,
    published: Rc<RefCell<Counts>>,
    live: Arc<LiveCounters>,
    stage_clock: bool,
) {
    let shortest = thread.scenario.steps.iter().map(|s| s.timeout).min().unwrap_or(PUBLISH);
    let timeouts = &thread.scenario.timeouts;
    let firsts = thread.scenario.steps.iter().filter_map(|s| s.first_byte);
    let shortest = firsts.chain(timeouts.tls).fold(shortest.min(timeouts.connect), Nanos::min);
    let expires = (0..thread.scenario.endpoints.len())
        .any(|n| matches!(thread.scenario.http_of(n).keep_alive, KeepAlive::Within { .. }));
    // A timeout is noticed at most a tenth late, and a thousand looks per second are enough for anybody.
    let interval = Nanos((shortest.0 / 10).clamp(1_000_000, 20_000_000));
    let mut publish_at = thread.begin;
    let mut wanted = thread.clock.now();
    loop {
        let now = thread.clock.now();
        // How late this task is, all others on this thread are.
        live.lag.fetch_max(now.since(wanted).0, Ordering::Relaxed);
        thread.flights.sweep(now);
        if thread.stop.get() == StopLevel::Now {
            // Whoever was between two waits when the stop came is reached now.
            thread.flights.cancel();
        }
        if now >= publish_at {
            publish_at = now + PUBLISH;
            if expires {
                thread.pool.expire(now);
            }
            thread.outbox.flush();
            if thread.outbox.is_closed() {
                thread.stop(StopLevel::Drain);
            }
            thread.counts.borrow().publish(&mut published.borrow_mut(), &live);
            if stage_clock {
                let stage = thread.schedule.stage_at(now.since(thread.begin));
                live.stage.store(stage as u32, Ordering::Relaxed);
            }
        }
        wanted = now + interval;
        thread.timer.steady_sleep_until(wanted).await;
    }
}
