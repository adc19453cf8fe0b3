//! Thresholds with `abort: true`, watched while load runs: when one does not hold any more, the load is stopped.
//!
//! They are evaluated over everything so far, ten times a second, from the exchanges as they are recorded, and only those whose
//! values exchanges give: latency, service time, schedule delay, rates, errors and checks. Blame and server spans are known only
//! when traces are whole; thresholds on them are evaluated at the end of the run alone.

use super::thresholds::is_once;
use crate::record::{Exchange, Nanos, StepInfo, Timestamp};
use crate::scenario::{Condition, Metric, Statistic, Subject, Threshold};
use hdrhistogram::Histogram;

/// Fewer exchanges than this decide nothing.
const FEWEST: u64 = 20;

/// All thresholds that can stop the load.
pub struct Gates {
    gates: Vec<Gate>,
    steps: Vec<StepInfo>,
}

struct Gate {
    text: String,
    subject: Subject,
    after: Nanos,
    conditions: Vec<(Condition, Measure)>,
    exchanges: u64,
    errors: u64,
    checks_failed: u64,
}

/// What a condition needs besides counts.
enum Measure {
    Counts,
    Lengths(Box<Histogram<u64>>, fn(&Exchange) -> Nanos),
}

impl Gates {
    /// Of a scenario's thresholds.
    pub fn new(thresholds: &[Threshold], steps: Vec<StepInfo>) -> Gates {
        let gates = thresholds.iter().filter_map(gate).collect();
        Gates { gates, steps }
    }

    /// Whether there is nothing to watch.
    pub fn is_empty(&self) -> bool {
        self.gates.is_empty()
    }

    /// Takes an exchange into account.
    pub fn take(&mut self, exchange: &Exchange) {
        for gate in &mut self.gates {
            let (wanted, failed_check) = match &gate.subject {
                Subject::Run => (!is_once(exchange.step, &self.steps), !exchange.checks_failed.is_empty()),
                Subject::Step { steps, .. } => {
                    (steps.contains(&exchange.step), !exchange.checks_failed.is_empty())
                }
                Subject::Check(name) => {
                    let step = self.steps.get(usize::from(exchange.step.0));
                    let has = step.is_some_and(|s| s.checks.iter().any(|c| c == name));
                    (has, exchange.checks_failed.iter().any(|c| &*c.check == name.as_str()))
                }
                Subject::Span(_) | Subject::Contributor(_) | Subject::Service(_) | Subject::New(..) => {
                    continue;
                }
            };
            if !wanted {
                continue;
            }
            gate.exchanges += 1;
            gate.errors += u64::from(exchange.is_error());
            gate.checks_failed += u64::from(failed_check);
            for (_, measure) in &mut gate.conditions {
                if let Measure::Lengths(histogram, of) = measure {
                    // It resizes itself, so every u64 fits.
                    let _ = histogram.record(of(exchange).0);
                }
            }
        }
    }

    /// The first threshold that does not hold any more, said in a sentence.
    pub fn broken(&self, started: Timestamp, now: Timestamp) -> Option<String> {
        let elapsed = now.since(started);
        self.gates.iter().filter(|g| elapsed >= g.after && g.exchanges >= FEWEST).find_map(|gate| {
            let (condition, actual) = gate.conditions.iter().find_map(|(condition, measure)| {
                let actual = gate.value(condition.metric, measure, elapsed)?;
                (!condition.comparison.holds(actual, condition.limit.as_f64())).then_some((condition, actual))
            })?;
            let shown = match condition.limit {
                crate::scenario::Limit::Time(_) => Nanos(actual as u64).to_string(),
                crate::scenario::Limit::Ratio(_) => format!("{:.2} %", actual * 100.0),
                crate::scenario::Limit::Number(_) => format!("{actual:.1}"),
            };
            let after = elapsed.as_secs_f64();
            Some(format!(
                "the load was stopped after {after:.1} s by the threshold `{}` with `abort: true`: it was {shown} after {} exchanges",
                gate.text, gate.exchanges
            ))
        })
    }
}

fn gate(threshold: &Threshold) -> Option<Gate> {
    let after = threshold.abort?;
    let lengths = |of: fn(&Exchange) -> Nanos| {
        Histogram::new(3).ok().map(|histogram| Measure::Lengths(Box::new(histogram), of))
    };
    let conditions: Vec<(Condition, Measure)> = threshold
        .conditions
        .iter()
        .filter_map(|condition| {
            let measure = match condition.metric {
                Metric::Latency(_) => lengths(Exchange::corrected_latency)?,
                Metric::ServiceTime(_) => lengths(Exchange::service_time)?,
                Metric::ScheduleDelay(_) => lengths(Exchange::schedule_delay)?,
                Metric::ErrorRate
                | Metric::CheckFailureRate
                | Metric::Rate
                | Metric::Exchanges
                | Metric::Errors
                | Metric::FailureRate
                | Metric::Failures => Measure::Counts,
                _ => return None,
            };
            Some((condition.clone(), measure))
        })
        .collect();
    (!conditions.is_empty()).then(|| Gate {
        text: threshold.text.clone(),
        subject: threshold.subject.clone(),
        after,
        conditions,
        exchanges: 0,
        errors: 0,
        checks_failed: 0,
    })
}

impl Gate {
    /// In the unit of the condition's limit.
    fn value(&self, metric: Metric, measure: &Measure, elapsed: Nanos) -> Option<f64> {
        let share = |part: u64| part as f64 / self.exchanges.max(1) as f64;
        if let (
            Measure::Lengths(histogram, _),
            Metric::Latency(s) | Metric::ServiceTime(s) | Metric::ScheduleDelay(s),
        ) = (measure, metric)
        {
            return Some(match s {
                Statistic::Mean => histogram.mean(),
                Statistic::Max => histogram.max() as f64,
                Statistic::Quantile(q) => histogram.value_at_quantile(q) as f64,
            });
        }
        match metric {
            Metric::ErrorRate => Some(share(self.errors)),
            Metric::CheckFailureRate | Metric::FailureRate => Some(share(self.checks_failed)),
            Metric::Rate => Some(self.exchanges as f64 / elapsed.as_secs_f64().max(1e-9)),
            // A number that must be reached at the end is no reason to stop before it.
            Metric::Exchanges => None,
            Metric::Errors => Some(self.errors as f64),
            Metric::Failures => Some(self.checks_failed as f64),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{CheckFailure, Outcome, Phases, Protocol, SpanId, StepId, TraceId};
    use crate::scenario::parse;

    fn gates(thresholds: &str) -> Gates {
        let text = format!(
            "target: http://h\nload: {{users: 1, for: 1s}}\nsetup: [GET /setup]\nsteps:\n  - {{name: a, get: /a, expect: {{contains: x}}}}\n  - {{name: b, get: /b}}\nthresholds:\n{thresholds}"
        );
        let scenario = parse(&text, "t").unwrap_or_else(|e| panic!("{e}"));
        Gates::new(&scenario.thresholds, scenario.steps())
    }

    fn exchange(step: u16, ms: u64, failed: &[&str]) -> Exchange {
        let checks_failed =
            failed.iter().map(|c| CheckFailure { check: (*c).into(), seen: "?".into() }).collect();
        Exchange {
            trace_id: TraceId([1; 16]),
            span_id: SpanId([1; 8]),
            sampled: true,
            threshold: crate::record::Threshold::ALWAYS,
            step: StepId(step),
            user: 0,
            iteration: 0,
            intended: Timestamp(0),
            phases: Phases {
                start: Timestamp(0),
                end: Timestamp(0) + Nanos::from_millis(ms),
                ..Phases::default()
            },
            outcome: Outcome::Answered(200),
            checks_failed,
            bytes_sent: 0,
            bytes_received: 0,
            bytes_decoded: None,
            followed: false,
            connection_reused: false,
            protocol: Protocol::Http1,
            url: "http://h/".into(),
            server_timing: None,
            messages: None,
        }
    }

    fn broken(gates: &Gates, seconds: u64) -> Option<String> {
        gates.broken(Timestamp(0), Timestamp(0) + Nanos::from_millis(seconds * 1_000))
    }

    #[test]
    fn a_broken_threshold_stops_the_load_and_a_whole_one_does_not() {
        let mut gates = gates(
            "  - {that: latency.p95 < 300ms, abort: true, after: 10s}\n  - {that: latency.p95 < 1ms}\n  - latency.mean < 1ms\n",
        );
        (0..19).for_each(|_| gates.take(&exchange(1, 500, &[])));
        assert_eq!(broken(&gates, 11), None, "too few");
        gates.take(&exchange(1, 500, &[]));
        assert_eq!(broken(&gates, 9), None, "too early");
        assert_eq!(
            broken(&gates, 11).unwrap(),
            "the load was stopped after 11.0 s by the threshold `latency.p95 < 300ms` with `abort: true`: it was 500 ms after 20 exchanges"
        );
        (0..1_000).for_each(|_| gates.take(&exchange(1, 100, &[])));
        assert_eq!(broken(&gates, 12), None, "it recovered");
    }

    #[test]
    fn checks_by_name_and_steps_are_told_apart() {
        let text = r#"  - {on: 'check("contains "x"")', that: failure_rate < 10%, abort: true}
  - {on: b, that: error_rate < 50%, abort: true}
"#;
        let mut gates = gates(text);
        for n in 0..40 {
            gates.take(&exchange(0, 900, &["status"]));
            gates.take(&exchange(1, 1, if n % 4 == 0 { &["status"] } else { &[] }));
            gates.take(&exchange(2, 1, &[]));
        }
        assert_eq!(broken(&gates, 1), None, "the setup and other checks do not count");
        (0..20).for_each(|_| gates.take(&exchange(1, 1, &["contains \"x\""])));
        assert!(broken(&gates, 1).unwrap().contains("33.33 % after 60 exchanges"), "{:?}", broken(&gates, 1));
    }

    #[test]
    fn blame_and_spans_stop_nothing() {
        let gates = gates(
            "  - {that: database.mean < 1ms, abort: true}\n  - {on: span(\"x\"), that: calls < 1, abort: true}\n",
        );
        assert!(gates.is_empty());
    }
}
