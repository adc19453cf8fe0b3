//! Puts load on a target: schedule (when), engine (how), virtual users (who). `Scenario` in, `Exchange`s out.
//!
//! Each load core is one thread with a runtime, users, sockets and random numbers of its own; threads share nothing but
//! the scenario and a few counters. What is due when is a pure function of the scenario ([`Schedule`]); the engine never
//! changes it: when it is late, the difference is in every record (intended and actual start), and when it cannot send
//! at all, that is a record too. Every failure is an exchange with a class. Exchanges leave through one bounded channel.
//!
//! What this room must not do: know of spans, files, reports, or the terminal.

mod arrivals;
mod cache;
mod carrier;
mod check;
mod clock;
mod connection;
mod content;
mod control;
mod decode;
mod events;
mod field_map;
mod flight;
mod grpc;
mod http1;
mod jar;
mod live;
mod once;
mod outbox;
mod outgoing;
mod plan;
mod pool;
mod random;
mod render;
mod route;
mod sampling;
mod schedule;
mod seat;
mod send;
mod shared;
mod stamp;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod thread;
mod timer;
mod tls;
mod turns;
mod user;
mod walk;
mod websocket;
mod words;
mod worker;

pub use control::{ControlSignal, Controller, control_channel};
pub use live::{LiveCounters, StopLevel, StopSignal, Stopper, stop_channel};
pub use schedule::{Arrivals, Change, Cursor, Next, ONE, Piece, Schedule, Stream, Timeline, Users};
pub use target::{TargetError, TargetErrorKind, check_target};

use crate::record::{Exchange, LoadFacts, Nanos, Timestamp};
use crate::scenario::{Sampling, Scenario};
pub use clock::Clock;
use live::Counts;
use std::fmt;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use worker::Setup;

/// What a run of load needs.
pub struct LoadOptions {
    /// What to run.
    pub scenario: Arc<Scenario>,
    /// Load threads; one per core that is to be spent on load.
    pub threads: usize,
    /// The same seed sends the same requests (trace ids apart).
    pub seed: u64,
    /// Which traces servers are asked to record; the scenario's own rule unless it is changed.
    pub sampling: Sampling,
    /// Most exchanges at once in the open model; arrivals beyond wait and are late.
    pub max_connections: usize,
    /// Where exchanges go, some hundreds at a time or every 50 ms. A full channel makes load wait, which shows as
    /// schedule delay; a closed one ends it.
    pub sink: tokio::sync::mpsc::Sender<Vec<Exchange>>,
    /// How the run is stopped early.
    pub stop: StopSignal,
    /// What can be seen meanwhile.
    pub live: Arc<LiveCounters>,
    /// What changes the load while it runs, if anything may.
    pub control: Option<ControlSignal>,
    /// Cores to bind the threads to, in turn. Linux only.
    pub pin: Option<Vec<usize>>,
}

impl LoadOptions {
    /// One thread, sampled as the scenario says, at most 10,000 connections, no pinning.
    pub fn new(
        scenario: Arc<Scenario>,
        sink: tokio::sync::mpsc::Sender<Vec<Exchange>>,
        stop: StopSignal,
    ) -> LoadOptions {
        let sampling = scenario.sampling;
        LoadOptions {
            scenario,
            threads: 1,
            seed: 0,
            sampling,
            max_connections: 10_000,
            sink,
            stop,
            live: Arc::default(),
            control: None,
            pin: None,
        }
    }
}

/// Why load could not begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The load needs more sockets than the process may have.
    TooFewFiles {
        /// Sockets that it needs at least.
        needed: u64,
        /// Files that the process may have open.
        limit: u64,
    },
    /// TLS could not be set up.
    Tls(String),
    /// A thread, a runtime or a timer could not be had.
    Thread(String),
    /// A service does not say what its methods of gRPC look like.
    Undescribed(String),
    /// The scenario's `setup` failed.
    Setup(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::TooFewFiles { needed, limit } => write!(
                f,
                "the load needs {needed} connections, but this process may open only {limit} files: raise the limit (ulimit -n {}) or lower the users",
                needed + 100
            ),
            LoadError::Tls(why) => write!(f, "TLS cannot be used: {why}"),
            LoadError::Thread(why) => write!(f, "the load cannot be started: {why}"),
            LoadError::Undescribed(why) => write!(f, "no load was put on: {why}"),
            LoadError::Setup(why) => write!(f, "no load was put on: {why}"),
        }
    }
}

impl std::error::Error for LoadError {}

/// Load under way.
pub struct LoadHandle {
    threads: Vec<JoinHandle<Counts>>,
    started_at: Timestamp,
    cpu_before: Nanos,
    scenario: Arc<Scenario>,
    sampling: Sampling,
    clock: Clock,
    most_users: u32,
    /// How the scenario's `teardown` is walked.
    last: Option<(Setup, usize)>,
    /// What was counted before and after the load.
    around: Counts,
}

/// Begins load.
///
/// # Errors
/// When the machine does not give what the load needs; nothing has been sent then.
pub fn start(options: LoadOptions) -> Result<LoadHandle, LoadError> {
    let scenario = &options.scenario;
    let schedule = Arc::new(Schedule::of(scenario, options.seed));
    ensure_files(u64::from(schedule.most_users()) * scenario.endpoints.len() as u64)?;
    let tls = tls::connectors(scenario).map_err(LoadError::Tls)?;
    let clock = Clock::start();
    let cpu_before = process_cpu();
    let count = options.threads.max(1);
    let mut setup = Setup {
        index: 0,
        threads: count,
        core: None,
        scenario: Arc::clone(scenario),
        schedule: Arc::clone(&schedule),
        clock,
        tls,
        seed: options.seed,
        sampling: options.sampling,
        connections: options.max_connections,
        sink: options.sink.clone(),
        stop: options.stop.clone(),
        live: Arc::clone(&options.live),
        control: options.control.clone(),
        shared: Arc::default(),
        turns: Arc::default(),
    };
    setup.scenario = grpc::describe(setup.clone()).map_err(LoadError::Undescribed)?;
    let mut around = Counts::default();
    if let Some(journey) = scenario.lifecycle.setup {
        let walked = once::walk_once(setup.clone(), journey, "setup");
        around.add(&walked.counts);
        let variables = walked.variables.map_err(LoadError::Setup)?;
        let mut set_up = Scenario::clone(&setup.scenario);
        set_up.variables = variables;
        setup.scenario = Arc::new(set_up);
    }
    let (ready, readiness) = mpsc::channel();
    let mut threads = Vec::with_capacity(count);
    let mut starters = Vec::with_capacity(count);
    for index in 0..count {
        let core = options.pin.as_ref().filter(|c| !c.is_empty()).map(|cores| cores[index % cores.len()]);
        let setup = Setup { index, core, ..setup.clone() };
        let (starter, go) = mpsc::channel();
        let ready = ready.clone();
        let thread = std::thread::Builder::new()
            .name(format!("hotspan-load-{index}"))
            .spawn(move || worker::run(setup, &ready, &go))
            .map_err(|e| LoadError::Thread(e.to_string()))?;
        threads.push(thread);
        starters.push(starter);
    }
    drop(ready);
    for _ in 0..count {
        match readiness.recv() {
            Ok(Ok(())) => {}
            Ok(Err(why)) => return Err(LoadError::Thread(why)),
            Err(_) => return Err(LoadError::Thread("a load thread ended at once".to_string())),
        }
    }
    // All threads stand ready: nobody is late because another was slow to start.
    let started_at = clock.now();
    for starter in starters {
        let _ = starter.send(started_at);
    }
    let most_users = schedule.most_users();
    let last = scenario.lifecycle.teardown.map(|journey| (setup, journey));
    Ok(LoadHandle {
        threads,
        started_at,
        cpu_before,
        scenario: Arc::clone(scenario),
        sampling: options.sampling,
        clock,
        most_users,
        last,
        around,
    })
}

impl LoadHandle {
    /// When load began: the run's clock anchor.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The run's clock.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether all load threads are done.
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits until all load is over and walks the scenario's `teardown`, if it has one; blocks. Gives what went wrong with it.
    pub fn tear_down(&mut self) -> Option<String> {
        let (setup, journey) = self.last.take()?;
        while !self.is_finished() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let walked = once::walk_once(setup, journey, "teardown");
        self.around.add(&walked.counts);
        walked.variables.err()
    }

    /// Waits until all load is over and every exchange is in the channel; blocks. The channel's receiver must be served
    /// meanwhile.
    pub fn join(mut self) -> LoadFacts {
        // Whoever did not ask what became of it gets it walked all the same.
        let _ = self.tear_down();
        let threads = self.threads.len() as u32;
        let mut all = self.around;
        for thread in self.threads {
            // A thread that panicked is a fault of hotspan's; what it sent is kept, its counters are lost.
            let counts = thread.join().unwrap_or_default();
            all.add(&counts);
        }
        let open_model = self.scenario.is_open();
        let most_at_once = if open_model { all.most_in_flight as u32 } else { 0 };
        LoadFacts {
            open_model,
            planned: self.scenario.duration(),
            offered: all.done,
            sent: all.sent,
            not_sent: all.not_sent,
            late: all.late - all.not_sent.min(all.late),
            users_max: self.most_users.max(most_at_once),
            iterations: all.iterations,
            cached: all.cached,
            cpu: Nanos(process_cpu().0.saturating_sub(self.cpu_before.0)),
            threads,
            changes: Vec::new(),
            search: None,
            propagation: self.scenario.propagation.unwrap_or_default(),
            trace_stretch: match self.sampling {
                Sampling::InTurn { stretch } => Some(stretch),
                _ => None,
            },
            trace_cost: None,
            generator: Vec::new(),
        }
    }
}

/// CPU time of this process so far.
fn process_cpu() -> Nanos {
    #[cfg(unix)]
    {
        let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Nanos(spent.tv_sec as u64 * 1_000_000_000 + spent.tv_nsec as u64)
    }
    #[cfg(not(unix))]
    {
        Nanos::ZERO
    }
}

/// Raises the soft limit of open files to the hard one, and refuses what will not fit.
fn ensure_files(needed: u64) -> Result<(), LoadError> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let limit = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => limit.maximum,
            Err(_) => limit.current,
        };
        match current {
            Some(limit) if needed + 64 > limit => Err(LoadError::TooFewFiles { needed, limit }),
            _ => Ok(()),
        }
    }
    #[cfg(not(unix))]
    {
        let _ = needed;
        Ok(())
    }
}
