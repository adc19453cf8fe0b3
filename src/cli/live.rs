//! While load runs: the progress line or the live screen, Ctrl-C (once to drain and report, twice to stop at once), and the decision to give
//! up on a target that is gone.

use super::control::Commands;
use super::progress::Progress;
use super::recorder::RecorderLive;
use super::screen;
use super::search::{Searcher, Searching, Tally};
use super::service_cpu::ServiceCpu;
use crate::load::{Controller, LiveCounters, LoadHandle, Schedule, Stopper};
use crate::record::Nanos;
use crate::scenario::Scenario;
use crate::traces::Receiver;
use crate::ui::Update;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// How often the load is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// A target that takes no connection for this long is gone …
const GONE_AFTER: Duration = Duration::from_secs(10);
/// … if so many requests found that out.
const GONE_REQUESTS: u64 = 20;

/// Counts Ctrl-C and SIGTERM.
#[derive(Debug)]
pub struct Interrupts(Arc<AtomicU32>);

impl Interrupts {
    /// Listens from now on.
    pub fn listen(runtime: &Runtime) -> Interrupts {
        let count = Arc::new(AtomicU32::new(0));
        let counter = count.clone();
        runtime.spawn(async move {
            while interrupted().await.is_ok() {
                counter.fetch_add(1, Relaxed);
            }
        });
        Interrupts(count)
    }

    /// How many so far.
    pub fn count(&self) -> u32 {
        self.0.load(Relaxed)
    }

    /// One more: a terminal whose keys are read makes no signal of Ctrl-C.
    pub fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }
}

#[cfg(unix)]
async fn interrupted() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn interrupted() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

/// What is looked at while load runs.
pub struct LoadWatch<'a> {
    pub scenario: &'a Scenario,
    pub counters: &'a Arc<LiveCounters>,
    pub live: &'a RecorderLive,
    pub stopper: &'a Stopper,
    pub controller: &'a Controller,
    /// Where the load may be changed by hand or over HTTP: how.
    pub commands: Option<&'a Commands>,
    /// When load is due.
    pub schedule: &'a Schedule,
    /// Where spans come in.
    pub receiver: Option<&'a Receiver>,
    pub tally: &'a Arc<Tally>,
}

/// When the target last took a request.
struct Reach {
    sent: u64,
    done: u64,
    at: Instant,
}

impl LoadWatch<'_> {
    /// The look at the processes of the service, where all requests go to one port of this machine and spans come from there.
    pub fn service_cpu(&self) -> Option<ServiceCpu> {
        let ([only], Some(receiver)) = (self.scenario.endpoints.as_slice(), self.receiver) else {
            return None;
        };
        let here = only.host == "localhost" || only.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let addresses = [receiver.grpc_address(), receiver.http_address()];
        let ports = addresses.into_iter().flatten().map(|address| address.port()).collect();
        here.then(|| ServiceCpu::new(only.port, ports))
    }

    /// Returns when all load threads are done. Gives the reason, where the load was given up.
    pub fn until_finished(
        &self,
        handle: &LoadHandle,
        interrupts: &Interrupts,
        progress: &mut Progress,
    ) -> Option<String> {
        let began = Instant::now();
        let mut reach = Reach { sent: 0, done: 0, at: began };
        let mut rate = RateMeter { at: began, done: 0, per_second: 0.0 };
        let mut aborted = None;
        let (mut told, mut advised) = (0, false);
        while !handle.is_finished() {
            std::thread::sleep(LOOK);
            if let Some(commands) = self.commands {
                commands.apply(handle.started_at(), handle.clock(), self.stopper);
            }
            while let Some(wish) = progress.wish() {
                self.grant(wish, handle, interrupts, progress);
            }
            match interrupts.count() {
                0 => {}
                1 if told == 0 => {
                    told = 1;
                    self.stopper.drain();
                    progress.note("Stopping: requests under way may end; Ctrl-C again stops at once.");
                }
                count if count > 1 => self.stopper.now(),
                _ => {}
            }
            if aborted.is_none() && self.is_gone(&mut reach) {
                self.stopper.drain();
                aborted = Some(format!(
                    "the load was stopped: for {} s the target took no connection; is it still running?",
                    GONE_AFTER.as_secs()
                ));
            }
            if !advised && let Some(word) = self.word() {
                advised = true;
                word.iter().for_each(|sentence| progress.note(sentence));
            }
            if progress.feed().is_some() {
                progress.tell(Update::Load(self.look(handle)));
                progress.tell(Update::Spans(screen::spans(self.live, self.receiver)));
            }
            if progress.has_screen() {
                continue;
            }
            rate.update(self.counters.done.load(Relaxed));
            progress.line(&self.line(began.elapsed(), rate.per_second));
        }
        progress.clear();
        aborted.or_else(|| self.live.broken.lock().unwrap_or_else(PoisonError::into_inner).take())
    }

    /// Begins the search that the scenario asks for, if it does.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn search(&self, handle: &LoadHandle) -> anyhow::Result<Option<Searching>> {
        let Some(plan) = self.scenario.load.search else { return Ok(None) };
        Ok(Some(Searching::start(Searcher {
            plan,
            thresholds: self.scenario.thresholds.clone(),
            controller: self.controller.clone(),
            stopper: self.stopper.clone(),
            counters: self.counters.clone(),
            tally: self.tally.clone(),
            begin: handle.started_at(),
            clock: handle.clock(),
            over: Arc::default(),
        })?))
    }

    /// What the doctor saw in the first exchanges.
    fn word(&self) -> Option<Vec<String>> {
        self.live.word.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_gone(&self, reach: &mut Reach) -> bool {
        let (sent, done) = (self.counters.sent.load(Relaxed), self.counters.done.load(Relaxed));
        // While requests are under way the target holds connections: slow is not gone.
        if sent != reach.sent || self.counters.in_flight.load(Relaxed) > 0 && done == reach.done {
            *reach = Reach { sent, done, at: Instant::now() };
        }
        reach.at.elapsed() >= GONE_AFTER && done - reach.done >= GONE_REQUESTS
    }

    fn line(&self, elapsed: Duration, per_second: f64) -> String {
        let counters = self.counters;
        let planned = self.scenario.duration().as_secs_f64();
        let mut line = match self.scenario.load.search {
            Some(_) => format!("{:>4.0} s, searching", elapsed.as_secs_f64()),
            None => format!("{:>4.0} s of {planned:.0} s", elapsed.as_secs_f64().min(planned)),
        };
        let users = counters.users.load(Relaxed);
        let _ = write!(line, "   {users} {}", if self.scenario.is_open() { "under way" } else { "users" });
        let _ = write!(line, "   {per_second:.0} requests/s");
        let p95 = Nanos(self.live.p95_ns.load(Relaxed));
        if p95 > Nanos::ZERO {
            let _ = write!(line, "   p95 {p95}");
        }
        let done = counters.done.load(Relaxed);
        let errors = counters.errors.load(Relaxed);
        if errors > 0 {
            let _ = write!(line, "   {errors} errors ({:.1} %)", 100.0 * errors as f64 / done.max(1) as f64);
        }
        let late = counters.late.load(Relaxed);
        if late > 0 {
            let _ = write!(line, "   {late} late");
        }
        let traced = self.live.traced.load(Relaxed);
        if traced > 0 {
            let joined = self.live.joined.load(Relaxed);
            let _ = write!(line, "   {:.0} % joined", 100.0 * joined as f64 / traced as f64);
        }
        line
    }
}

/// Requests per second, over the last second.
struct RateMeter {
    at: Instant,
    done: u64,
    per_second: f64,
}

impl RateMeter {
    fn update(&mut self, done: u64) {
        let elapsed = self.at.elapsed();
        if elapsed >= Duration::from_secs(1) {
            self.per_second = done.saturating_sub(self.done) as f64 / elapsed.as_secs_f64();
            self.done = done;
            self.at = Instant::now();
        }
    }
}
