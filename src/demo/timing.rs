//! The shop's own measurement of its parts with a monotonic clock, apart from OpenTelemetry, and its `Server-Timing` form.
//!
//! Nothing in here may ever be computed from a span: it is the truth that spans are checked against.
//!
//! Conservation law: the parts of one header are disjoint and sum to its `total`, in whole microseconds. `app` is what no
//! timer covered.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a request waits for outside the code of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Database,
    Cache,
    External,
    Queue,
    Network,
}

impl Part {
    pub(super) const ALL: [Part; 5] =
        [Part::Database, Part::Cache, Part::External, Part::Queue, Part::Network];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Part::Database => "database",
            Part::Cache => "cache",
            Part::External => "external",
            Part::Queue => "queue",
            Part::Network => "network",
        }
    }
}

/// Time by part, in nanoseconds.
#[derive(Debug, Default)]
struct Parts([AtomicU64; 5]);

/// The timers of one request. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Clock {
    started: Instant,
    parts: Arc<Parts>,
}

impl Clock {
    /// Starts with the request.
    pub(super) fn start() -> Clock {
        Clock { started: Instant::now(), parts: Arc::default() }
    }

    /// Since the start.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn add(&self, part: Part, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.parts.0[part as usize].fetch_add(nanos, Ordering::Relaxed);
    }

    pub(super) fn get(&self, part: Part) -> Duration {
        Duration::from_nanos(self.parts.0[part as usize].load(Ordering::Relaxed))
    }

    /// Adds the parts of a service that was called, and the way there and back (`wall` less its own total) as network.
    pub(super) fn add_callee(&self, wall: Duration, callee: &Measured) {
        for (part, time) in Part::ALL.into_iter().zip(callee.parts) {
            self.add(part, time);
        }
        self.add(Part::Network, wall.saturating_sub(callee.total));
    }

    /// Runs two things at once and counts only what the request waited for: the parts of the one that finished last.
    pub(super) async fn race<A, B>(
        &self,
        one: impl AsyncFnOnce(Clock) -> A,
        other: impl AsyncFnOnce(Clock) -> B,
    ) -> (A, B) {
        let (clock_a, clock_b) = (Clock::start(), Clock::start());
        let ((a, a_end), (b, b_end)) = tokio::join!(
            async { (one(clock_a.clone()).await, Instant::now()) },
            async { (other(clock_b.clone()).await, Instant::now()) },
        );
        let last = if a_end > b_end { clock_a } else { clock_b };
        for part in Part::ALL {
            self.add(part, last.get(part));
        }
        (a, b)
    }

    /// The header for a request that took `total`.
    pub(super) fn server_timing(&self, total: Duration) -> String {
        let parts = Part::ALL.map(|part| self.get(part).as_micros());
        let covered: u128 = parts.iter().sum();
        // Whole microseconds below `total` cannot sum to more unless a callee's clock ran faster than ours.
        let total = total.as_micros().max(covered);
        let mut header = format!("total;dur={}", millis(total));
        for (part, micros) in Part::ALL.into_iter().zip(parts) {
            header.push_str(&format!(", {};dur={}", part.name(), millis(micros)));
        }
        header.push_str(&format!(", app;dur={}", millis(total - covered)));
        header
    }
}

fn millis(micros: u128) -> String {
    format!("{}.{:03}", micros / 1000, micros % 1000)
}

/// What a called service said about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measured {
    pub(super) total: Duration,
    /// In the order of [`Part::ALL`].
    pub(super) parts: [Duration; 5],
}

impl Measured {
    /// Reads a `Server-Timing` header; `None` without a total.
    pub(super) fn parse(header: &str) -> Option<Measured> {
        let duration_of = |name: &str| {
            header.split(',').find_map(|metric| {
                let (metric_name, parameters) = metric.trim().split_once(';')?;
                let millis: f64 = parameters.trim().strip_prefix("dur=")?.trim().parse().ok()?;
                (metric_name == name && millis.is_finite() && millis >= 0.0)
                    .then(|| Duration::from_micros((millis * 1000.0).round() as u64))
            })
        };
        let total = duration_of("total")?;
        let parts = Part::ALL.map(|part| duration_of(part.name()).unwrap_or_default());
        Some(Measured { total, parts })
    }
}

/// Runs something and says how long it took.
pub(super) async fn timed<F: Future>(work: F) -> (F::Output, Duration) {
    let started = Instant::now();
    let output = work.await;
    (output, started.elapsed())
}

#[cfg(test)]
pub(super) fn parts_of(header: &str) -> std::collections::BTreeMap<String, f64> {
    header
        .split(',')
        .map(|metric| {
            let (name, duration) = metric.trim().split_once(";dur=").unwrap();
            (name.to_owned(), duration.parse().unwrap())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn parts_sum_to_the_total_exactly() {
        let clock = Clock::start();
        clock.add(Part::Database, Duration::from_nanos(1_234_567));
        clock.add(Part::Database, Duration::from_nanos(900));
        clock.add(Part::Queue, Duration::from_nanos(999));
        clock.add(Part::Network, Duration::from_nanos(2_000_999));
        let header = clock.server_timing(Duration::from_nanos(7_000_100));
        assert_eq!(
            header,
            "total;dur=7.000, database;dur=1.235, cache;dur=0.000, external;dur=0.000, queue;dur=0.000, \
             network;dur=2.000, app;dur=3.765"
        );
    }

    #[test]
    fn a_callee_keeps_its_parts_and_the_rest_of_the_call_is_network() {
        let callee = Clock::start();
        callee.add(Part::Database, micros(700));
        let said = Measured::parse(&callee.server_timing(micros(1_000))).unwrap();
        assert_eq!(said.total, micros(1_000));
        let caller = Clock::start();
        caller.add_callee(micros(1_450), &said);
        assert_eq!(caller.get(Part::Database), micros(700));
        assert_eq!(caller.get(Part::Network), micros(450));
        let header = caller.server_timing(micros(2_000));
        assert!(header.ends_with("network;dur=0.450, app;dur=0.850"), "the callee's own code is app: {header}");
    }

    #[test]
    fn a_callee_that_claims_more_than_the_call_took_gives_no_negative_network() {
        let said = Measured::parse("total;dur=5.000, database;dur=5.000").unwrap();
        let caller = Clock::start();
        caller.add_callee(micros(4_000), &said);
        assert_eq!(caller.get(Part::Network), Duration::ZERO);
        assert!(caller.server_timing(micros(4_500)).starts_with("total;dur=5.000"));
    }

    #[test]
    fn a_header_without_a_total_is_no_measurement() {
        assert_eq!(Measured::parse("database;dur=1.0"), None);
        assert_eq!(Measured::parse("total;dur=abc"), None);
        assert_eq!(Measured::parse(""), None);
    }

    #[tokio::test]
    async fn of_two_things_at_once_only_the_last_to_finish_counts() {
        let clock = Clock::start();
        let (a, b) = clock
            .race(
                async |clock| {
                    clock.add(Part::Database, micros(10));
                    "quick"
                },
                async |clock| {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    clock.add(Part::Cache, micros(20));
                    "slow"
                },
            )
            .await;
        assert_eq!((a, b), ("quick", "slow"));
        assert_eq!(clock.get(Part::Database), Duration::ZERO);
        assert_eq!(clock.get(Part::Cache), micros(20));
    }
}
