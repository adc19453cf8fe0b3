//! What making load did to the machine that made it, second by second: the evidence for or against the generator.

use super::Nanos;

/// One look at the generator, over the time since the look before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GeneratorSample {
    /// When, from the start of the load.
    pub at: Nanos,
    /// Time that the look covers.
    pub span: Nanos,
    /// CPU time of the whole process, in cores (1 is one core's whole time).
    pub cpu_cores: f64,
    /// CPU of the busiest load thread, as a share of one core.
    pub busiest_thread: f64,
    /// Share of the time in which a load thread could run and no core was given to it; the worst thread's.
    pub run_delay: f64,
    /// Longest that a load thread's event loop was late.
    pub lag: Nanos,
    /// Files that the process has open, sockets included.
    pub open_files: u64,
    /// TCP connections of this machine in TIME_WAIT.
    pub time_wait: u64,
    /// Ports from which this machine can still connect, if every connection needs one of its own; absent where unknown.
    pub ports_left: Option<u64>,
    /// Memory in use, in bytes.
    pub memory: u64,
    /// Requests under way.
    pub in_flight: u64,
    /// Exchanges that ended.
    pub done: u64,
    /// Exchanges that started more than 5 ms after they were due.
    pub late: u64,
    /// Requests that were due and could not be sent.
    pub not_sent: u64,
    /// The service under load, where its processes are on this machine and known.
    pub service: Option<ServiceSample>,
}

/// The processes of this machine that listen at the target's port, and all that they have started, over the time of a look.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServiceSample {
    /// Their CPU time, in cores.
    pub cpu_cores: f64,
    /// How long their threads could run and no core was given to them: the sum over the threads, as a multiple of the time.
    pub run_delay: f64,
    /// Whether they send spans to this process: then they are the service itself, and no proxy before it.
    pub sends_spans: bool,
}

/// Why the generator was the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GeneratorLimit {
    /// A load thread used all of its core: its share of a core, the median over the run.
    Cpu(f64),
    /// Load threads were ready and got no core: the share of the time, the median over the run.
    RunQueue(f64),
    /// The event loop was late by this much, the median over the run of each second's worst.
    Lag(Nanos),
    /// This many requests found no local port to connect from.
    Ports(u64),
    /// Requests started late, by this share of all latency.
    Late(f64),
}

impl GeneratorLimit {
    /// Stable name, as in `report.json`.
    pub const fn name(self) -> &'static str {
        match self {
            GeneratorLimit::Cpu(_) => "cpu",
            GeneratorLimit::RunQueue(_) => "run_queue",
            GeneratorLimit::Lag(_) => "event_loop_lag",
            GeneratorLimit::Ports(_) => "ports",
            GeneratorLimit::Late(_) => "late",
        }
    }
}

/// A load thread that uses this share of a core has nothing left: what it measures contains its own queue.
const CPU_LIMIT: f64 = 0.9;
/// Ready without a core for this share of the time …
const RUN_DELAY_LIMIT: f64 = 0.2;
/// … or, whatever it would have used, for this share: every second answer was there and waited to be read.
const STARVED: f64 = 0.5;
/// The event loop of an idle generator is late by some tenths of a millisecond.
const LAG_LIMIT: Nanos = Nanos::from_millis(50);
/// Fewest looks from which anything follows.
const LOOKS_MIN: usize = 3;

/// Waits for a core this share of the time in which it wants one or has one: others want the cores more than there are.
const BUSY_SHARE: f64 = 0.5;
/// And this much of the run, so that a thread that hardly runs proves nothing.
const BUSY_DELAY: f64 = 0.01;

/// Share of the time in which a load thread could run that it had to wait for a core, where that is at least half: the
/// median over the run. The generator may be idle; the machine is not, and a service on it waits as well.
pub fn busy_machine(samples: &[GeneratorSample]) -> Option<f64> {
    if samples.len() < LOOKS_MIN {
        return None;
    }
    let waits = |s: &GeneratorSample| {
        let wanted = s.run_delay + s.busiest_thread;
        if s.run_delay >= BUSY_DELAY { s.run_delay / wanted } else { 0.0 }
    };
    let mut shares: Vec<f64> = samples.iter().map(waits).collect();
    shares.sort_by(f64::total_cmp);
    Some(shares[shares.len() / 2]).filter(|share| *share >= BUSY_SHARE)
}

/// Why the machine that made the load could not make it properly, by what was seen of it. Medians: one bad second is no
/// verdict on a run (and where it made requests late, lateness tells).
pub fn generator_limit(samples: &[GeneratorSample]) -> Option<GeneratorLimit> {
    if samples.len() < LOOKS_MIN {
        return None;
    }
    let median = |of: &dyn Fn(&GeneratorSample) -> f64| {
        let mut values: Vec<f64> = samples.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let cpu = median(&|s| s.busiest_thread);
    let delay = median(&|s| s.run_delay);
    let lag = Nanos(median(&|s| s.lag.0 as f64) as u64);
    if cpu >= CPU_LIMIT {
        Some(GeneratorLimit::Cpu(cpu))
    } else if delay >= RUN_DELAY_LIMIT && delay + cpu >= CPU_LIMIT || delay >= STARVED {
        // It wanted a whole core and others had a part of it, or it hardly got one.
        Some(GeneratorLimit::RunQueue(delay))
    } else if lag >= LAG_LIMIT {
        Some(GeneratorLimit::Lag(lag))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(of: impl Fn(usize) -> GeneratorSample) -> Option<GeneratorLimit> {
        generator_limit(&(0..10).map(of).collect::<Vec<_>>())
    }

    #[test]
    fn a_whole_core_is_the_limit_and_one_bad_second_is_not() {
        let busy = |share| GeneratorSample { busiest_thread: share, ..GeneratorSample::default() };
        assert_eq!(looks(|_| busy(0.95)), Some(GeneratorLimit::Cpu(0.95)));
        assert_eq!(looks(|i| busy(if i == 3 { 1.0 } else { 0.5 })), None);
        assert_eq!(generator_limit(&[busy(1.0), busy(1.0)]), None, "two looks are not enough");
    }

    #[test]
    fn waiting_for_a_core_counts_where_the_core_was_wanted() {
        let of = |cpu, delay| GeneratorSample {
            busiest_thread: cpu,
            run_delay: delay,
            ..GeneratorSample::default()
        };
        assert_eq!(looks(|_| of(0.6, 0.35)), Some(GeneratorLimit::RunQueue(0.35)));
        assert_eq!(looks(|_| of(0.1, 0.3)), None);
        assert_eq!(
            looks(|_| of(0.19, 0.63)),
            Some(GeneratorLimit::RunQueue(0.63)),
            "a closed model that others starve"
        );
    }

    #[test]
    fn a_machine_without_a_free_core_is_told_from_an_idle_one() {
        let of = |cpu, delay| {
            let look =
                GeneratorSample { busiest_thread: cpu, run_delay: delay, ..GeneratorSample::default() };
            busy_machine(&std::iter::repeat_n(look, 5).collect::<Vec<_>>())
        };
        assert_eq!(of(0.01, 0.03), Some(0.75));
        assert_eq!(of(0.4, 0.05), None, "a core was there nearly always");
        assert_eq!(of(0.0001, 0.002), None, "too little to tell");
        assert_eq!(busy_machine(&[]), None);
    }

    #[test]
    fn a_late_event_loop_counts() {
        let of = |ms| GeneratorSample { lag: Nanos::from_millis(ms), ..GeneratorSample::default() };
        assert_eq!(looks(|_| of(80)), Some(GeneratorLimit::Lag(Nanos::from_millis(80))));
        assert_eq!(looks(|_| of(5)), None);
    }
}
