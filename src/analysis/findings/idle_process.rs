//! Own time in which the process of its service hardly runs: it waits for what no span records.
//!
//! Spans tell where a service's own time is, not whether it computes in it. Where the service runs beside the load, the system's books do:
//! in each second of the run, while a contributor has the time of at least one request, its processes were on a core, or ready for one,
//! for so long; what is left of the time is idle, whatever else they did in that second. So this is the least that it waits, and where
//! other pages compute meanwhile nothing is told.

use super::{View, anywhere};
use crate::analysis::names::callee;
use crate::analysis::result::{Category, Contributor};
use crate::analysis::verdict::reached_on_this_machine;
use crate::record::{GeneratorSample, ServiceSample};

/// Seconds of the run in which the processes were seen and the contributor had time, at least.
const LOOKS: usize = 3;

/// What is known of the time in which at least one request is in a contributor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Idle {
    /// The share of it in which no thread of the service ran or was ready to.
    pub share: f64,
    /// Cores that the service's processes used in the seconds of the run that have some of it.
    pub cores: f64,
}

/// How idle the service is in its own time, where that is known.
pub(super) fn idle(view: &View<'_>, who: &Contributor) -> Option<Idle> {
    let run = view.known.run;
    let looks = &run.load.generator;
    let sends_spans = looks.iter().rev().find_map(|look| look.service).is_some_and(|last| last.sends_spans);
    // The processes are those that the load goes to.
    let way = |c: &Contributor| {
        c.category == Category::Network && c.service.is_empty() && callee(c) == &*who.service
    };
    let asked = || view.tally.groups.keys().chain(view.tally.parts.keys()).any(way);
    if !sends_spans || who.category != Category::App || !reached_on_this_machine(run) || !asked() {
        return None;
    }
    let whole = anywhere(who);
    let of = view.tally.evidence.stretches.iter().filter(|((of, _), _)| of == who || *of == whole);
    let pieces = of.flat_map(|(_, pieces)| pieces.sample.iter().map(|(_, start, end)| (*start, *end)));
    over_looks(&union(pieces.collect()), looks, run.started_at.0)
}

fn over_looks(pieces: &[(u64, u64)], looks: &[GeneratorSample], started: u64) -> Option<Idle> {
    let (mut all, mut idle, mut seen) = (0.0, 0.0, 0);
    let (mut cpu, mut time) = (0.0, 0.0);
    for (look, service) in looks.iter().filter_map(|look| Some((look, look.service?))) {
        let to = started + look.at.0;
        let (from, span) = (to.saturating_sub(look.span.0), look.span.0 as f64);
        let within = |(start, end): &(u64, u64)| end.min(&to).saturating_sub(*start.max(&from));
        let there = pieces.iter().map(within).sum::<u64>() as f64;
        if there <= 0.0 {
            continue;
        }
        let ServiceSample { cpu_cores, run_delay, .. } = service;
        seen += 1;
        all += there;
        idle += (there - (cpu_cores + run_delay) * span).max(0.0);
        (cpu, time) = (cpu + cpu_cores * span, time + span);
    }
    (seen >= LOOKS).then(|| Idle { share: idle / all, cores: cpu / time })
}

/// Times that have at least one of some pieces, in order.
fn union(mut pieces: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    pieces.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::new();
    for (start, end) in pieces {
        match out.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => out.push((start, end)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Nanos;

    const S: u64 = 1_000_000_000;

    fn look(at: u64, cpu_cores: f64, run_delay: f64) -> GeneratorSample {
        let service = Some(ServiceSample { cpu_cores, run_delay, sends_spans: true });
        GeneratorSample { at: Nanos(at * S), span: Nanos(S), service, ..GeneratorSample::default() }
    }

    #[test]
    fn times_of_many_requests_count_once() {
        assert_eq!(union(vec![(5, 9), (1, 3), (2, 4), (9, 10)]), [(1, 4), (5, 10)]);
        assert_eq!(union(Vec::new()), []);
    }

    #[test]
    fn what_the_processes_do_not_use_of_the_time_is_idle() {
        // Half of each second, the process at a tenth of a core.
        let pieces: Vec<(u64, u64)> = (10..14).map(|s| (s * S + S / 4, s * S + 3 * S / 4)).collect();
        let looks = |cpu, delay| (1..=4).map(|at| look(at, cpu, delay)).collect::<Vec<_>>();
        let idle = |cpu, delay| over_looks(&pieces, &looks(cpu, delay), 10 * S).unwrap();
        assert!((idle(0.1, 0.0).share - 0.8).abs() < 1e-9 && (idle(0.1, 0.0).cores - 0.1).abs() < 1e-9);
        // Ready and without a core is not waiting for something else; more cores than time are no less than none idle.
        assert!((idle(0.1, 0.3).share - 0.2).abs() < 1e-9);
        assert_eq!(idle(1.7, 0.0).share, 0.0);
        // Too few looks, looks without the service, and at other times.
        assert_eq!(over_looks(&pieces, &looks(0.1, 0.0)[..2], 10 * S), None);
        assert_eq!(over_looks(&pieces, &vec![GeneratorSample::default(); 9], 10 * S), None);
        assert_eq!(over_looks(&pieces, &looks(0.1, 0.0), 20 * S), None);
    }
}
