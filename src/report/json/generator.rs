//! What the generator saw of itself, in `report.json`.

use super::value::{nanos, rounded, share};
use crate::analysis::result::Note;
use crate::record::{GeneratorLimit, GeneratorSample};
use crate::report::view::View;
use crate::report::wording::verdict;
use serde::Serialize;

/// Most points of the series; longer runs have the worst of several seconds in each.
const POINTS_MAX: usize = 600;

/// Whether the machine that made the load could, and what shows it.
#[derive(Serialize)]
pub struct Generator {
    bottleneck: Option<Bottleneck>,
    samples: usize,
    cpu_cores_max: Option<f64>,
    busiest_thread_max: Option<f64>,
    run_delay_max: Option<f64>,
    event_loop_lag_max_ms: Option<f64>,
    open_files_max: Option<u64>,
    time_wait_max: Option<u64>,
    ports_left_min: Option<u64>,
    memory_max_bytes: Option<u64>,
    series: Vec<Point>,
}

#[derive(Serialize)]
struct Bottleneck {
    reason: &'static str,
    text: String,
}

#[derive(Serialize)]
struct Point {
    at_s: f64,
    cpu_cores: f64,
    busiest_thread: f64,
    run_delay: f64,
    event_loop_lag_ms: f64,
    open_files: u64,
    time_wait: u64,
    memory_bytes: u64,
    in_flight: u64,
    done: u64,
    late: u64,
    not_sent: u64,
}

impl Generator {
    /// From the looks of the run and the note that the analysis made of them.
    pub fn new(view: &View) -> Generator {
        let looks = &view.run().load.generator;
        let late = |note: &Note| match note {
            Note::GeneratorLimited(limit) => Some(*limit),
            Note::GeneratorLate { share } => Some(GeneratorLimit::Late(*share)),
            _ => None,
        };
        // A limit that was seen explains more than that requests were late.
        let mut limits: Vec<GeneratorLimit> = view.analysis().notes.iter().filter_map(late).collect();
        limits.sort_by_key(|limit| matches!(limit, GeneratorLimit::Late(_)));
        let bottleneck = limits
            .first()
            .map(|limit| Bottleneck { reason: limit.name(), text: verdict::generator_limit(*limit, view) });
        let most = |of: fn(&GeneratorSample) -> f64| looks.iter().map(of).max_by(f64::total_cmp);
        let count = |of: fn(&GeneratorSample) -> u64| looks.iter().map(of).max();
        let each = looks.len().div_ceil(POINTS_MAX).max(1);
        Generator {
            bottleneck,
            samples: looks.len(),
            cpu_cores_max: most(|s| s.cpu_cores).map(share),
            busiest_thread_max: most(|s| s.busiest_thread).map(share),
            run_delay_max: most(|s| s.run_delay).map(share),
            event_loop_lag_max_ms: looks.iter().map(|s| s.lag).max().map(nanos),
            open_files_max: count(|s| s.open_files),
            time_wait_max: count(|s| s.time_wait),
            ports_left_min: looks.iter().filter_map(|s| s.ports_left).min(),
            memory_max_bytes: count(|s| s.memory),
            series: looks.chunks(each).map(Point::new).collect(),
        }
    }
}

impl Point {
    /// The worst of some looks, and the sums of what is counted.
    fn new(looks: &[GeneratorSample]) -> Point {
        let most = |of: fn(&GeneratorSample) -> f64| share(looks.iter().map(of).fold(0.0, f64::max));
        let count = |of: fn(&GeneratorSample) -> u64| looks.iter().map(of).max().unwrap_or(0);
        let sum = |of: fn(&GeneratorSample) -> u64| looks.iter().map(of).sum();
        Point {
            at_s: looks.last().map_or(0.0, |s| rounded(s.at.as_secs_f64(), 1e3)),
            cpu_cores: most(|s| s.cpu_cores),
            busiest_thread: most(|s| s.busiest_thread),
            run_delay: most(|s| s.run_delay),
            event_loop_lag_ms: looks.iter().map(|s| s.lag).max().map_or(0.0, nanos),
            open_files: count(|s| s.open_files),
            time_wait: count(|s| s.time_wait),
            memory_bytes: count(|s| s.memory),
            in_flight: count(|s| s.in_flight),
            done: sum(|s| s.done),
            late: sum(|s| s.late),
            not_sent: sum(|s| s.not_sent),
        }
    }
}
