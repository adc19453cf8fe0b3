//! Evaluates a scenario's thresholds against an analysis.
//!
//! Each condition becomes one result. A condition whose subject was never seen has no value and does not hold: a gate
//! that passes because nothing was measured would be a false pass.

use crate::analysis::result::{Analysis, Category, Operation, StepResult};
use crate::record::{Nanos, StepId, StepInfo};
use crate::report::{Actual, ThresholdResult, Unit};
use crate::scenario::{Condition, Kind, Limit, Metric, Part, Statistic, Subject, Threshold};
use crate::stats::Histogram;

/// All conditions of all thresholds, in the scenario's order.
pub fn evaluate(thresholds: &[Threshold], steps: &[StepInfo], analysis: &Analysis) -> Vec<ThresholdResult> {
    thresholds
        .iter()
        .flat_map(|t| t.conditions.iter().map(|condition| one(&t.subject, condition, steps, analysis)))
        .collect()
}

/// Whether a step is walked once, before or after the load: what is measured there is no load.
pub fn is_once(id: StepId, steps: &[StepInfo]) -> bool {
    steps.get(usize::from(id.0)).is_some_and(|s| matches!(s.journey.as_str(), "setup" | "teardown"))
}

/// Whether any threshold needs server spans to be measured.
pub fn need_spans(thresholds: &[Threshold]) -> bool {
    let on_blame = |c: &Condition| {
        matches!(
            c.metric,
            Metric::Category(..)
                | Metric::SpanDuration(_)
                | Metric::SpanCalls
                | Metric::SpanErrorRate
                | Metric::ContributorMean
                | Metric::ContributorShare
                | Metric::SpanOwn(_)
                | Metric::ServiceOwn(_)
                | Metric::NewNames
        )
    };
    thresholds.iter().any(|t| t.conditions.iter().any(on_blame))
}

fn one(subject: &Subject, condition: &Condition, steps: &[StepInfo], analysis: &Analysis) -> ThresholdResult {
    let expression = match subject {
        Subject::Run => condition.text.clone(),
        Subject::Step { name, .. } => format!("{name}: {}", condition.text),
        Subject::Span(pattern) => format!("span(\"{pattern}\"): {}", condition.text),
        Subject::Check(name) => format!("check(\"{name}\"): {}", condition.text),
        Subject::Contributor(pattern) => format!("contributor(\"{pattern}\"): {}", condition.text),
        Subject::Service(pattern) => format!("service(\"{pattern}\"): {}", condition.text),
        Subject::New(..) => condition.text.clone(),
    };
    let mut detail = None;
    let actual = match subject {
        Subject::Run => of_steps(condition.metric, &|id| !is_once(id, steps), analysis),
        Subject::Step { steps, .. } => of_steps(condition.metric, &|id| steps.contains(&id), analysis),
        Subject::Span(pattern) => of_spans(condition.metric, pattern, analysis),
        Subject::Check(name) => of_check(condition.metric, name, steps, analysis),
        Subject::Contributor(pattern) => of_contributors(condition.metric, pattern, steps, analysis),
        Subject::Service(pattern) => of_services(condition.metric, pattern, analysis),
        Subject::New(kind, known) => {
            let new = new_names(*kind, known, analysis);
            // Nothing new is a fact only where traces were seen.
            let seen = analysis.telemetry.joined > 0;
            detail = (seen && !new.is_empty()).then(|| format!("new: {}", new.join(", ")));
            seen.then_some(count(new.len() as f64))
        }
    };
    let passed =
        actual.is_some_and(|actual| condition.comparison.holds(actual.value, limit(condition.limit)));
    let code = match subject {
        Subject::Span(pattern) | Subject::Contributor(pattern) => code_of(pattern, analysis),
        _ => None,
    };
    ThresholdResult { expression, actual, passed, detail, code }
}

/// Where in the code the matching contributor is that spends most.
fn code_of(pattern: &str, analysis: &Analysis) -> Option<String> {
    let contributors = analysis.steps.iter().flat_map(|s| &s.contributors);
    contributors
        .filter(|c| !c.contributor.code.is_empty() && matches_wildcard(pattern, &c.contributor.name))
        .max_by_key(|c| c.total)
        .map(|c| c.contributor.code.to_string())
}

/// In the unit of the matching [`Actual`].
fn limit(limit: Limit) -> f64 {
    match limit {
        Limit::Time(time) => time.as_millis_f64(),
        Limit::Ratio(number) | Limit::Number(number) => number,
    }
}

fn of_steps(metric: Metric, wanted: &dyn Fn(StepId) -> bool, analysis: &Analysis) -> Option<Actual> {
    let steps: Vec<&StepResult> = analysis.steps.iter().filter(|s| wanted(s.step)).collect();
    let exchanges: u64 = steps.iter().map(|s| s.exchanges).sum();
    let sum = |of: fn(&StepResult) -> u64| steps.iter().map(|s| of(s)).sum::<u64>();
    let merged = |of: fn(&StepResult) -> &Histogram| {
        let mut all = Histogram::new();
        steps.iter().for_each(|s| all.merge(of(s)));
        all
    };
    if exchanges == 0 && !matches!(metric, Metric::Exchanges | Metric::Rate) {
        return None;
    }
    match metric {
        Metric::Latency(statistic) => Some(time(&merged(|s| &s.latency), statistic)),
        Metric::ServiceTime(statistic) => Some(time(&merged(|s| &s.service_time), statistic)),
        Metric::ScheduleDelay(statistic) => Some(time(&analysis.load.schedule_delay, statistic)),
        Metric::Category(name, part) => {
            let category = Category::from_name(name)?;
            let owned: Nanos = steps.iter().map(|s| s.categories.get(category)).sum();
            let latency: Nanos = steps.iter().map(|s| s.latency_sum).sum();
            // Where a sample was recorded, its exchanges stand for the others.
            let weighed: u64 = steps.iter().flat_map(|s| &s.bands).map(|band| band.exchanges).sum();
            if part == Part::Calls {
                return calls_of(category, &steps);
            }
            Some(match part {
                Part::Calls => return None,
                Part::Mean => ms(owned.as_millis_f64() / weighed.max(1) as f64),
                Part::Share => share(owned.0, latency.0),
            })
        }
        Metric::ErrorRate => Some(share(sum(|s| s.errors), exchanges)),
        Metric::CheckFailureRate => Some(share(sum(|s| s.checks_failed), exchanges)),
        Metric::Rate => {
            let seconds = analysis.load.duration.as_secs_f64();
            (seconds > 0.0).then(|| Actual { value: exchanges as f64 / seconds, unit: Unit::PerSecond })
        }
        Metric::Coverage => {
            let of_all = analysis.telemetry.coverage();
            (analysis.telemetry.traced > 0).then_some(Actual { value: of_all, unit: Unit::Share })
        }
        Metric::Exchanges => Some(count(exchanges as f64)),
        Metric::Errors => Some(count(sum(|s| s.errors) as f64)),
        // The parser gives these to other subjects only.
        Metric::SpanDuration(_)
        | Metric::SpanCalls
        | Metric::SpanErrorRate
        | Metric::FailureRate
        | Metric::Failures
        | Metric::ContributorMean
        | Metric::SpanOwn(_)
        | Metric::ServiceOwn(_)
        | Metric::NewNames
        | Metric::ContributorShare => None,
    }
}

/// Calls of a category per exchange with server spans: queries per request.
fn calls_of(category: Category, steps: &[&StepResult]) -> Option<Actual> {
    let of = |s: &&StepResult| {
        s.contributors.iter().filter(|c| c.contributor.category == category).map(|c| c.calls).sum::<u64>()
    };
    let calls: u64 = steps.iter().map(of).sum();
    let joined: u64 = steps.iter().map(|s| s.joined).sum();
    (joined > 0).then(|| count(calls as f64 / joined as f64))
}

/// What services themselves did.
fn of_services(metric: Metric, pattern: &str, analysis: &Analysis) -> Option<Actual> {
    let found: Vec<_> = analysis
        .services
        .iter()
        .filter(|(name, _)| matches_wildcard(pattern, name))
        .map(|(_, s)| s)
        .collect();
    let exchanges: u64 = found.iter().map(|s| s.exchanges).sum();
    let own: u64 = found.iter().map(|s| s.own.0).sum();
    match metric {
        Metric::ServiceOwn(part) if exchanges > 0 => Some(own_time(part, own, exchanges, analysis)),
        _ => None,
    }
}

fn own_time(part: Part, own: u64, exchanges: u64, analysis: &Analysis) -> Actual {
    let latency: u64 = analysis.steps.iter().map(|s| s.latency_sum.0).sum();
    match part {
        Part::Share => share(own, latency),
        Part::Mean | Part::Calls => ms(own as f64 / 1e6 / exchanges.max(1) as f64),
    }
}

/// Names of that kind that the run met and that nothing in the list stands for, in order.
fn new_names(kind: Kind, known: &[String], analysis: &Analysis) -> Vec<String> {
    let contributors = || analysis.steps.iter().flat_map(|s| &s.contributors).map(|c| &c.contributor);
    let mut names: Vec<String> = match kind {
        Kind::Service => analysis.services.keys().map(ToString::to_string).collect(),
        Kind::Operation => analysis.operations.iter().map(|o| o.name.to_string()).collect(),
        Kind::Database => contributors()
            .filter(|c| c.category == Category::Database && !c.system.is_empty())
            .map(|c| c.system.to_string())
            .collect(),
        Kind::ExternalHost => {
            contributors().filter(|c| c.category == Category::External).map(|c| host_of(&c.name)).collect()
        }
    };
    names.retain(|name| !known.iter().any(|pattern| matches_wildcard(pattern, name)));
    names.sort_unstable();
    names.dedup();
    names
}

/// `api.example` of `POST api.example/charge/{id}`; of names without a method their first word.
fn host_of(name: &str) -> String {
    let is_method = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase());
    let rest = match name.split_once(' ') {
        Some((method, rest)) if is_method(method) => rest,
        _ => name,
    };
    rest.split(['/', ' ']).next().unwrap_or(rest).to_owned()
}

fn of_check(metric: Metric, name: &str, infos: &[StepInfo], analysis: &Analysis) -> Option<Actual> {
    let makes = |id: StepId| infos.get(usize::from(id.0)).is_some_and(|s| s.checks.iter().any(|c| c == name));
    let steps: Vec<&StepResult> = analysis.steps.iter().filter(|s| makes(s.step)).collect();
    let exchanges: u64 = steps.iter().map(|s| s.exchanges).sum();
    let failures: u64 = steps.iter().filter_map(|s| s.checks.get(name)).map(|(count, _)| *count).sum();
    match metric {
        _ if exchanges == 0 => None,
        Metric::FailureRate => Some(share(failures, exchanges)),
        Metric::Failures => Some(count(failures as f64)),
        _ => None,
    }
}

/// Of everybody whose name matches, over all steps of the load.
fn of_contributors(metric: Metric, pattern: &str, infos: &[StepInfo], analysis: &Analysis) -> Option<Actual> {
    let steps = || analysis.steps.iter().filter(|s| !is_once(s.step, infos));
    let exchanges: u64 = steps().map(|s| s.exchanges).sum();
    let latency: u64 = steps().map(|s| s.latency_sum.0).sum();
    let found: Vec<_> = steps()
        .flat_map(|s| &s.contributors)
        .filter(|c| matches_wildcard(pattern, &c.contributor.name))
        .collect();
    let own: u64 = found.iter().map(|c| c.total.0).sum();
    match metric {
        // Nobody of that name is a fact only where traces were seen.
        _ if exchanges == 0 || found.is_empty() && analysis.telemetry.joined == 0 => None,
        Metric::ContributorMean => Some(ms(own as f64 / 1e6 / exchanges as f64)),
        Metric::ContributorShare => Some(share(own, latency)),
        _ => of_statements(metric, pattern, analysis),
    }
}

/// Spans by the normalised statement, key, destination or route of what they did.
fn of_statements(metric: Metric, pattern: &str, analysis: &Analysis) -> Option<Actual> {
    let found: Vec<_> = analysis
        .steps
        .iter()
        .flat_map(|s| &s.contributors)
        .filter(|c| c.calls > 0 && matches_wildcard(pattern, &c.contributor.name))
        .collect();
    let calls: u64 = found.iter().map(|c| c.calls).sum();
    match metric {
        Metric::SpanCalls if analysis.telemetry.joined > 0 => {
            Some(count(calls as f64 / analysis.telemetry.joined as f64))
        }
        Metric::SpanDuration(statistic) if calls > 0 => {
            let mut all = Histogram::new();
            found.iter().for_each(|c| all.merge(&c.call_duration));
            Some(time(&all, statistic))
        }
        _ => None,
    }
}

fn of_spans(metric: Metric, pattern: &str, analysis: &Analysis) -> Option<Actual> {
    let found: Vec<&Operation> =
        analysis.operations.iter().filter(|o| matches_wildcard(pattern, &o.name)).collect();
    let calls: u64 = found.iter().map(|o| o.calls).sum();
    if calls == 0 {
        // Spans have names such as `SELECT shop`; what they did has a name of its own.
        return of_statements(metric, pattern, analysis);
    }
    match metric {
        // No call at all is a fact where traces were seen: `calls < 5` then holds.
        Metric::SpanCalls if analysis.telemetry.joined > 0 => {
            let joined: u64 = analysis.steps.iter().map(|s| s.joined_weight).sum();
            Some(count(calls as f64 / joined.max(1) as f64))
        }
        _ if calls == 0 => None,
        Metric::SpanDuration(statistic) => {
            let mut all = Histogram::new();
            found.iter().for_each(|o| all.merge(&o.duration));
            Some(time(&all, statistic))
        }
        Metric::SpanErrorRate => Some(share(found.iter().map(|o| o.errors).sum(), calls)),
        Metric::SpanOwn(part) => {
            let own = found.iter().map(|o| o.own.0).sum();
            Some(own_time(part, own, found.iter().map(|o| o.exchanges).sum(), analysis))
        }
        _ => None,
    }
}

fn time(histogram: &Histogram, statistic: Statistic) -> Actual {
    let nanos = match statistic {
        Statistic::Mean => histogram.mean(),
        Statistic::Max => histogram.quantiles().max,
        Statistic::Quantile(q) => histogram.quantile(q),
    };
    ms(nanos.as_millis_f64())
}

fn ms(value: f64) -> Actual {
    Actual { value, unit: Unit::Milliseconds }
}

fn count(value: f64) -> Actual {
    Actual { value, unit: Unit::Count }
}

fn share(part: u64, whole: u64) -> Actual {
    let value = if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
    Actual { value, unit: Unit::Share }
}

/// Whether `text` matches `pattern`, in which `*` stands for any text. Linear: one backtracking point suffices.
fn matches_wildcard(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() && pattern[p] == b'*' {
            star = Some((p, t));
            p += 1;
        } else if p < pattern.len() && pattern[p] == text[t] {
            p += 1;
            t += 1;
        } else if let Some((after, from)) = star {
            p = after + 1;
            t = from + 1;
            star = Some((after, from + 1));
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|&c| c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_know_the_categories_of_the_analysis() {
        assert_eq!(crate::scenario::CATEGORIES, Category::ALL.map(Category::name));
    }

    #[test]
    fn hosts_of_external_calls() {
        for (name, want) in [
            ("POST pay.example/charge/{id}", "pay.example"),
            ("GET 127.0.0.1:9001/x", "127.0.0.1:9001"),
            ("shop Shop/Get", "shop"),
            ("S3/GetObject media", "S3"),
            ("resize", "resize"),
        ] {
            assert_eq!(host_of(name), want);
        }
    }

    #[test]
    fn wildcards_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("SELECT product", "SELECT product", true),
            ("SELECT product", "SELECT products", false),
            ("SELECT *", "SELECT product", true),
            ("*product*", "SELECT product WHERE", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b*c", "axxbyybzz", false),
            ("*", "", true),
            ("", "x", false),
        ] {
            assert_eq!(matches_wildcard(pattern, text), expected, "{pattern} ~ {text}");
        }
    }
}
