//! hotspan's eye on itself: CPU of its load threads, their wait for a core, sockets, memory and the lateness of its event
//! loops, once a second while load runs, into `generator.jsonl` of the run folder.
//!
//! Everything is read from the system's own books (`/proc`, Linux); where one is missing its number is 0 or absent, and
//! nothing is concluded from it.

use super::service_cpu::{ServiceCpu, Used};
use crate::load::LiveCounters;
use crate::record::{GeneratorSample, Nanos, ServiceSample};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Beginning of a load thread's name.
const LOAD_THREAD: &str = "hotspan-load-";

/// The watch while it goes on.
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Vec<GeneratorSample>>>,
}

impl Watch {
    /// Begins; each look goes to `each`, and all of them come back from [`Watch::stop`]. Where the service may be on this machine, its
    /// processes are looked at as well.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        counters: Arc<LiveCounters>,
        mut service: Option<ServiceCpu>,
        mut each: impl FnMut(&GeneratorSample) + Send + 'static,
    ) -> std::io::Result<Watch> {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::Builder::new().name("hotspan-watch".into()).spawn(move || {
            let began = Instant::now();
            let mut before = Books::read(&counters);
            let mut of_service = move || service.as_mut().and_then(ServiceCpu::look);
            of_service();
            let mut samples = Vec::new();
            while !told.load(Relaxed) {
                std::thread::park_timeout(EVERY.saturating_sub(before.at.elapsed()));
                let ended = told.load(Relaxed);
                // A last look that covers next to nothing tells nothing.
                if before.at.elapsed() < EVERY && !(ended && before.at.elapsed() > EVERY / 4) {
                    continue;
                }
                let now = Books::read(&counters);
                let sample = before.sample(&now, of_service(), began);
                each(&sample);
                samples.push(sample);
                before = now;
            }
            samples
        })?;
        Ok(Watch { over, thread: Some(thread) })
    }

    /// Ends, and gives all looks.
    pub fn stop(mut self) -> Vec<GeneratorSample> {
        self.over.store(true, Relaxed);
        let Some(thread) = self.thread.take() else { return Vec::new() };
        thread.thread().unpark();
        thread.join().unwrap_or_default()
    }
}

/// What the system's books say at a moment: sums since the beginning.
struct Books {
    at: Instant,
    process_cpu: Nanos,
    /// By thread id: time on a core and time without one, in nanoseconds.
    threads: BTreeMap<u64, (u64, u64)>,
    open_files: u64,
    time_wait: u64,
    ports_left: Option<u64>,
    memory: u64,
    lag: Nanos,
    in_flight: u64,
    done: u64,
    late: u64,
    not_sent: u64,
}

impl Books {
    fn read(counters: &LiveCounters) -> Books {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (in_use, time_wait) = sockets(&text("/proc/net/sockstat"));
        let range = port_range(&text("/proc/sys/net/ipv4/ip_local_port_range"));
        Books {
            at: Instant::now(),
            process_cpu: process_cpu(),
            threads: load_threads(Path::new("/proc/self/task")),
            open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
            time_wait,
            ports_left: range.map(|ports| ports.saturating_sub(in_use + time_wait)),
            memory: resident(&text("/proc/self/statm")),
            lag: Nanos(counters.lag.swap(0, Relaxed)),
            in_flight: counters.in_flight.load(Relaxed),
            done: counters.done.load(Relaxed),
            late: counters.late.load(Relaxed),
            not_sent: counters.not_sent.load(Relaxed),
        }
    }

    fn sample(&self, now: &Books, service: Option<Used>, began: Instant) -> GeneratorSample {
        let span = now.at.duration_since(self.at).as_nanos().max(1) as f64;
        // A thread that ended is missing now, one that began was missing before: neither tells anything of this second.
        let shares = now.threads.iter().filter_map(|(id, (cpu, wait))| {
            let (cpu_before, wait_before) = self.threads.get(id)?;
            Some((
                cpu.saturating_sub(*cpu_before) as f64 / span,
                wait.saturating_sub(*wait_before) as f64 / span,
            ))
        });
        // As exact as it is written to the run folder, so that a report made of that later says the same.
        let short = |share: f64| (share * 1e4).round() / 1e4;
        let (busiest, waited) = shares.fold((0.0f64, 0.0f64), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        GeneratorSample {
            at: Nanos(now.at.duration_since(began).as_nanos() as u64),
            span: Nanos(span as u64),
            cpu_cores: short(now.process_cpu.0.saturating_sub(self.process_cpu.0) as f64 / span),
            busiest_thread: short(busiest),
            run_delay: short(waited.min(1.0)),
            lag: now.lag,
            open_files: now.open_files,
            time_wait: now.time_wait,
            ports_left: now.ports_left,
            memory: now.memory,
            in_flight: now.in_flight,
            done: now.done.saturating_sub(self.done),
            late: now.late.saturating_sub(self.late),
            not_sent: now.not_sent.saturating_sub(self.not_sent),
            service: service.map(|used| ServiceSample {
                cpu_cores: short(used.cpu.0 as f64 / span),
                run_delay: short(used.waited.0 as f64 / span),
                sends_spans: used.sends_spans,
            }),
        }
    }
}

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

/// `schedstat` of the load threads among the tasks of a folder.
fn load_threads(tasks: &Path) -> BTreeMap<u64, (u64, u64)> {
    let Ok(tasks) = fs::read_dir(tasks) else { return BTreeMap::new() };
    tasks
        .filter_map(|task| {
            let task = task.ok()?;
            let name = fs::read_to_string(task.path().join("comm")).ok()?;
            if !name.starts_with(LOAD_THREAD) {
                return None;
            }
            let id = task.file_name().to_str()?.parse().ok()?;
            Some((id, schedstat(&fs::read_to_string(task.path().join("schedstat")).ok()?)?))
        })
        .collect()
}

/// Time on a core and time ready without one, in nanoseconds.
pub(super) fn schedstat(text: &str) -> Option<(u64, u64)> {
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// TCP sockets in use and in TIME_WAIT, of the whole machine (its network namespace).
fn sockets(sockstat: &str) -> (u64, u64) {
    let Some(line) = sockstat.lines().find_map(|line| line.strip_prefix("TCP:")) else { return (0, 0) };
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let of = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    (of("inuse").unwrap_or(0), of("tw").unwrap_or(0))
}

/// How many ports the system connects from.
fn port_range(text: &str) -> Option<u64> {
    let mut ends = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (first, last) = (ends.next()?.ok()?, ends.next()?.ok()?);
    (last >= first).then(|| last - first + 1)
}

/// Bytes of memory in use. The second number of `statm` counts pages of 4 KiB, which is what Linux has nearly everywhere.
fn resident(statm: &str) -> u64 {
    let pages = statm.split_ascii_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    pages * 4_096
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_of_the_system_are_read_right() {
        assert_eq!(schedstat("123456 789 42\n"), Some((123_456, 789)));
        assert_eq!(schedstat("x"), None);
        let sockstat = "sockets: used 200\nTCP: inuse 7 orphan 0 tw 12 alloc 20 mem 3\nUDP: inuse 1 mem 0\n";
        assert_eq!(sockets(sockstat), (7, 12));
        assert_eq!(sockets(""), (0, 0));
        assert_eq!(port_range("32768\t60999\n"), Some(28_232));
        assert_eq!(port_range("9 3"), None);
        assert_eq!(resident("1000 25 3 1 0 9 0\n"), 102_400);
    }

    #[test]
    fn looks_are_differences() {
        let began = Instant::now();
        let books = |ms: u64, cpu: u64, thread: (u64, u64), done: u64| Books {
            at: began + Duration::from_millis(ms),
            process_cpu: Nanos(cpu),
            threads: BTreeMap::from([(7, thread)]),
            open_files: 10,
            time_wait: 5,
            ports_left: Some(100),
            memory: 4_096,
            lag: Nanos(3),
            in_flight: 2,
            done,
            late: 0,
            not_sent: 0,
        };
        let now = books(500, 1_000_000_000, (400_000_000, 50_000_000), 9);
        let service =
            Used { cpu: Nanos::from_millis(250), waited: Nanos::from_millis(50), sends_spans: true };
        let sample = books(0, 0, (0, 0), 5).sample(&now, Some(service), began);
        let of_service = ServiceSample { cpu_cores: 0.5, run_delay: 0.1, sends_spans: true };
        assert_eq!(sample.service, Some(of_service));
        assert_eq!((sample.cpu_cores, sample.busiest_thread, sample.run_delay), (2.0, 0.8, 0.1));
        assert_eq!((sample.done, sample.at, sample.lag), (4, Nanos::from_millis(500), Nanos(3)));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_can_be_watched() {
        let spinning = Arc::new(AtomicBool::new(true));
        let told = Arc::clone(&spinning);
        let thread = std::thread::Builder::new()
            .name("hotspan-load-9".into())
            .spawn(move || while told.load(Relaxed) {})
            .unwrap();
        let counters = LiveCounters::default();
        let before = Books::read(&counters);
        // Bounded: the thread is there as soon as it runs, and its time grows.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut now = Books::read(&counters);
        while now.threads.values().all(|t| t.0 == 0) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
            now = Books::read(&counters);
        }
        spinning.store(false, Relaxed);
        thread.join().unwrap();
        assert!(now.threads.values().any(|(cpu, _)| *cpu > 0), "{:?}", now.threads);
        assert!(now.memory > 100_000 && now.open_files > 2, "{} {}", now.memory, now.open_files);
        assert!(before.at <= now.at);
    }
}
