//! Thresholds: what a run must reach, as text and as a tree.
//!
//! `latency.p95 < 300ms`, `product: database.mean < 40ms`, `span("SELECT product"): duration.p95 < 20ms, calls < 5`.

use super::error::{listed, nearest};
use super::quantity;
use crate::record::{Nanos, StepId};
use std::fmt;

/// One line under `thresholds`: conditions on one subject, all of which must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The line as written, subject included.
    pub text: String,
    /// What it is about.
    pub subject: Subject,
    /// What must hold.
    pub conditions: Vec<Condition>,
    /// Whether the load is stopped when it does not hold any more, and how long after its beginning at the earliest.
    pub abort: Option<Nanos>,
}

/// What a threshold is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// All exchanges of the run.
    Run,
    /// The exchanges of one step (of several where journeys have steps of the same name).
    Step {
        /// The name as written.
        name: String,
        /// Which steps.
        steps: Vec<StepId>,
    },
    /// Server spans whose name, or the name of the work that they did, matches; `*` stands for any text.
    Span(String),
    /// The check of that name, wherever it is made.
    Check(String),
    /// Whoever spent time and has a name that matches: a statement, a key, a destination, a host and route, an operation;
    /// `*` stands for any text.
    Contributor(String),
    /// Services whose name matches, by what they themselves did; `*` stands for any text.
    Service(String),
    /// What the run met beside what is known; in these, `*` stands for any text.
    New(Kind, Vec<String>),
}

/// Of what there must be nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Hosts of calls to peers that send no spans.
    ExternalHost,
    /// Services that send spans.
    Service,
    /// Database systems.
    Database,
    /// Operations: names of spans, whatever their service.
    Operation,
}

impl Kind {
    /// As scenarios say it, after `no new`.
    pub const fn words(self) -> &'static str {
        match self {
            Kind::ExternalHost => "external host",
            Kind::Service => "service",
            Kind::Database => "database",
            Kind::Operation => "operation",
        }
    }

    /// `no new external host`: of what; `None` where the text does not begin so.
    pub(super) fn parse(text: &str) -> Option<Result<Kind, String>> {
        const ALL: [Kind; 4] = [Kind::ExternalHost, Kind::Service, Kind::Database, Kind::Operation];
        let what = text.trim().strip_prefix("no new ")?.trim();
        let known = ALL.map(Kind::words);
        Some(ALL.into_iter().find(|kind| kind.words() == what).ok_or_else(|| match nearest(what, known) {
            Some(near) => format!("unknown kind `{what}`; did you mean `no new {near}`?"),
            None => format!("unknown kind `{what}`; expected one of {}", listed(&known)),
        }))
    }
}

/// What kind of subject a condition is about: it decides which metrics there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Exchanges,
    Spans,
    Check,
    Contributor,
    Service,
}

impl Subject {
    pub(super) fn about(&self) -> About {
        match self {
            Subject::Run | Subject::Step { .. } => About::Exchanges,
            Subject::Span(_) => About::Spans,
            Subject::Check(_) => About::Check,
            Subject::Contributor(_) => About::Contributor,
            // Conditions on what is new are not written.
            Subject::Service(_) | Subject::New(..) => About::Service,
        }
    }
}

/// One comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// Without the subject, as written.
    pub text: String,
    /// What is measured.
    pub metric: Metric,
    /// How it must compare.
    pub comparison: Comparison,
    /// With what.
    pub limit: Limit,
}

/// What a condition measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Metric {
    /// Corrected latency: from the intended start.
    Latency(Statistic),
    /// Service time: from the actual start.
    ServiceTime(Statistic),
    /// How late requests were started.
    ScheduleDelay(Statistic),
    /// Latency that a category of blame owns, per exchange; the category's name as in `report.json`.
    Category(&'static str, Part),
    /// Share of exchanges that failed or had a wrong status.
    ErrorRate,
    /// Share of exchanges with a check that did not hold.
    CheckFailureRate,
    /// Exchanges per second.
    Rate,
    /// Number of exchanges.
    Exchanges,
    /// Number of errors.
    Errors,
    /// Duration of the matching server spans.
    SpanDuration(Statistic),
    /// Matching server spans per exchange that has a trace.
    SpanCalls,
    /// Share of the matching server spans with an error status.
    SpanErrorRate,
    /// Share of the exchanges of the check's steps in which it did not hold.
    FailureRate,
    /// Exchanges in which the check did not hold.
    Failures,
    /// Time of a contributor on the critical path, per exchange of the run.
    ContributorMean,
    /// The same as a share of all latency, 0..=1.
    ContributorShare,
    /// Own time of the matching spans on the critical path: per exchange in which they occur, or of all latency.
    SpanOwn(Part),
    /// Own time of the matching services, the same way.
    ServiceOwn(Part),
    /// Share of traced exchanges that have server spans, 0..=1.
    Coverage,
    /// How many names are new.
    NewNames,
}

/// A number that stands for many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// Arithmetic mean.
    Mean,
    /// The largest.
    Max,
    /// Value at a quantile, 0..=1: `p95` is 0.95, `p999` is 0.999.
    Quantile(f64),
}

/// What of a category of blame is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its mean per exchange.
    Mean,
    /// Its share of all latency, 0..=1.
    Share,
    /// Calls of its kind per exchange that has server spans.
    Calls,
}

/// How a measured value must compare with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `>`
    More,
    /// `>=`
    AtLeast,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// What a measured value is compared with. The kind always fits the metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// A length of time.
    Time(Nanos),
    /// A share, 0..=1.
    Ratio(f64),
    /// A number, or a number per second.
    Number(f64),
}

/// Names of the categories of blame that a threshold may use: those of the analysis.
pub const CATEGORIES: &[&str] = &[
    "generator",
    "connection",
    "network",
    "queue",
    "app",
    "database",
    "cache",
    "search",
    "messaging",
    "external",
    "transfer",
    "untraced",
];

/// Those of them that are calls, which can be counted.
const CALLED: &[&str] = &["database", "cache", "search", "messaging", "external"];

impl Comparison {
    /// Whether `actual` compares so with `limit`.
    pub fn holds(self, actual: f64, limit: f64) -> bool {
        match self {
            Comparison::Less => actual < limit,
            Comparison::AtMost => actual <= limit,
            Comparison::More => actual > limit,
            Comparison::AtLeast => actual >= limit,
            Comparison::Equal => actual == limit,
            Comparison::NotEqual => actual != limit,
        }
    }

    /// The operator at the start of a text, and the rest without space before it.
    pub(super) fn parse(text: &str) -> Option<(Comparison, &str)> {
        Comparison::parse_sign(text).map(|(comparison, rest)| (comparison, rest.trim_start()))
    }

    /// The operator at the start of a text, and all that follows.
    pub(super) fn parse_sign(text: &str) -> Option<(Comparison, &str)> {
        const OPERATORS: [(&str, Comparison); 6] = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<", Comparison::Less),
            (">", Comparison::More),
        ];
        OPERATORS.into_iter().find_map(|(sign, op)| text.strip_prefix(sign).map(|rest| (op, rest)))
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Comparison::Less => "<",
            Comparison::AtMost => "<=",
            Comparison::More => ">",
            Comparison::AtLeast => ">=",
            Comparison::Equal => "==",
            Comparison::NotEqual => "!=",
        })
    }
}

impl Limit {
    /// As the unit-free number that [`Comparison::holds`] takes: nanoseconds, a ratio, a number.
    pub fn as_f64(self) -> f64 {
        match self {
            Limit::Time(length) => length.0 as f64,
            Limit::Ratio(n) | Limit::Number(n) => n,
        }
    }
}

/// `span("SELECT product")`: what stands in the quotes, if the text is of that form.
pub(super) fn called(function: &str, text: &str) -> Option<Result<String, String>> {
    let inner = text.trim().strip_prefix(function)?.strip_prefix('(')?;
    let quoted = inner.strip_suffix(')').map(str::trim);
    let pattern = quoted.and_then(|q| {
        q.strip_prefix('"')
            .and_then(|q| q.strip_suffix('"'))
            .or_else(|| q.strip_prefix('\'')?.strip_suffix('\''))
    });
    Some(match pattern {
        Some(pattern) if !pattern.is_empty() => Ok(pattern.to_string()),
        _ => Err(format!(
            "write {function}(\"…\") with the name in quotes; `*` stands for any text in names of spans and contributors"
        )),
    })
}

/// Conditions after the subject, separated by commas.
pub(super) fn conditions(text: &str, about: About) -> Result<Vec<Condition>, String> {
    text.split(',').map(|part| condition(part.trim(), about)).collect()
}

fn condition(text: &str, about: About) -> Result<Condition, String> {
    let Some(at) = text.find(['<', '>', '=', '!']) else {
        return Err(format!("{text:?} has no comparison: write e.g. latency.p95 < 300ms"));
    };
    let (left, right) = text.split_at(at);
    let Some((comparison, limit)) = Comparison::parse(right) else {
        return Err(format!("`{}` is no comparison: use <, <=, >, >=, == or !=", right.trim()));
    };
    let metric = metric(left.trim(), about)?;
    let limit = limit_for(&metric, limit.trim(), left.trim())?;
    Ok(Condition { text: text.to_string(), metric, comparison, limit })
}

fn metric(text: &str, about: About) -> Result<Metric, String> {
    let (head, tail) = match text.split_once('.') {
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    };
    const OF_SPANS: &[&str] = &["duration", "self", "calls", "error_rate"];
    const OF_EXCHANGES: &[&str] = &[
        "latency",
        "service_time",
        "schedule_delay",
        "error_rate",
        "check_failure_rate",
        "rate",
        "exchanges",
        "errors",
        "coverage",
    ];
    let known: Vec<&str> = match about {
        About::Spans => OF_SPANS.to_vec(),
        About::Check => vec!["failure_rate", "failures"],
        About::Contributor => vec!["mean", "share", "duration", "calls"],
        About::Service => vec!["self"],
        About::Exchanges => OF_EXCHANGES.iter().chain(CATEGORIES).copied().collect(),
    };
    if !known.contains(&head) {
        return Err(match nearest(head, known.iter().copied()) {
            Some(near) => format!("unknown metric `{head}`; did you mean `{near}`?"),
            None if OF_SPANS.contains(&head) && about == About::Exchanges => {
                format!("`{head}` is a metric of spans: write span(\"…\"): {text} …")
            }
            None => format!("unknown metric `{head}`; expected one of {}", listed(&known)),
        });
    }
    let whole = |metric: Metric| match tail {
        None => Ok(metric),
        Some(tail) => Err(format!("`{head}` is one number, so `.{tail}` means nothing here")),
    };
    let of = |statistic_of: fn(Statistic) -> Metric| statistic(head, tail).map(statistic_of);
    match (head, about == About::Spans) {
        ("failure_rate", _) => whole(Metric::FailureRate),
        ("failures", _) => whole(Metric::Failures),
        ("mean", _) => whole(Metric::ContributorMean),
        ("share", _) => whole(Metric::ContributorShare),
        ("latency", _) => of(Metric::Latency),
        ("service_time", _) => of(Metric::ServiceTime),
        ("schedule_delay", _) => of(Metric::ScheduleDelay),
        ("duration", _) => of(Metric::SpanDuration),
        ("error_rate", false) => whole(Metric::ErrorRate),
        ("error_rate", true) => whole(Metric::SpanErrorRate),
        ("check_failure_rate", _) => whole(Metric::CheckFailureRate),
        ("rate", _) => whole(Metric::Rate),
        ("exchanges", _) => whole(Metric::Exchanges),
        ("errors", _) => whole(Metric::Errors),
        ("calls", _) => whole(Metric::SpanCalls),
        ("coverage", _) => whole(Metric::Coverage),
        ("self", of_spans) => {
            let metric = if of_spans { Metric::SpanOwn } else { Metric::ServiceOwn };
            match tail {
                Some("mean") => Ok(metric(Part::Mean)),
                Some("share") => Ok(metric(Part::Share)),
                _ => Err("write self.mean or self.share".to_owned()),
            }
        }
        (category, _) => {
            let name = CATEGORIES.iter().copied().find(|c| *c == category).unwrap_or_default();
            match tail {
                Some("mean") => Ok(Metric::Category(name, Part::Mean)),
                Some("share") => Ok(Metric::Category(name, Part::Share)),
                Some("calls") if CALLED.contains(&name) => Ok(Metric::Category(name, Part::Calls)),
                _ if CALLED.contains(&name) => {
                    Err(format!("write {name}.mean, {name}.share or {name}.calls"))
                }
                _ => Err(format!("write {name}.mean or {name}.share")),
            }
        }
    }
}

fn statistic(head: &str, tail: Option<&str>) -> Result<Statistic, String> {
    let wrong = || format!("write {head}.mean, {head}.max or a percentile such as {head}.p95");
    match tail {
        Some("mean") => Ok(Statistic::Mean),
        Some("max") => Ok(Statistic::Max),
        Some("median") => Ok(Statistic::Quantile(0.5)),
        Some(tail) => {
            // p95 is 0.95, p5 is 0.05; p999 and p99.9 are both 0.999.
            let digits = tail.strip_prefix('p').filter(|d| d.len() <= 6).ok_or_else(wrong)?;
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
            let all = format!("{whole:0>2}{fraction}");
            let number: u32 = all.parse().map_err(|_| wrong())?;
            // One division of whole numbers gives the nearest float, the one that 0.999 is read as.
            let quantile =
                if whole == "100" { 1.0 } else { f64::from(number) / 10f64.powi(all.len() as i32) };
            if (0.0..=1.0).contains(&quantile) { Ok(Statistic::Quantile(quantile)) } else { Err(wrong()) }
        }
        None => Err(wrong()),
    }
}

fn limit_for(metric: &Metric, text: &str, name: &str) -> Result<Limit, String> {
    match metric {
        Metric::Latency(_)
        | Metric::ServiceTime(_)
        | Metric::ScheduleDelay(_)
        | Metric::Category(_, Part::Mean)
        | Metric::ContributorMean
        | Metric::SpanOwn(Part::Mean)
        | Metric::ServiceOwn(Part::Mean)
        | Metric::SpanDuration(_) => quantity::duration(text)
            .map(Limit::Time)
            .map_err(|e| format!("{name} is compared with a duration: {e}")),
        Metric::ErrorRate
        | Metric::CheckFailureRate
        | Metric::SpanErrorRate
        | Metric::FailureRate
        | Metric::ContributorShare
        | Metric::Coverage
        | Metric::SpanOwn(_)
        | Metric::ServiceOwn(_)
        | Metric::Category(_, Part::Share) => match quantity::ratio(text) {
            // 1 may be meant as a hundredth, and as the whole would always hold.
            Some(1.0) if !text.trim().ends_with('%') => {
                Err(format!("{name}: 1 is 100 %: write 1% or 0.01, or 100%"))
            }
            Some(ratio) if ratio <= 1.0 => Ok(Limit::Ratio(ratio)),
            _ => Err(format!("{name} is compared with a share such as 0.1% or 0.001, not {text:?}")),
        },
        Metric::Rate => quantity::rate(text)
            .map(|rate| Limit::Number(rate.as_per_second()))
            .map_err(|e| format!("{name} is compared with a rate: {e}")),
        Metric::Exchanges
        | Metric::Errors
        | Metric::SpanCalls
        | Metric::Failures
        | Metric::NewNames
        | Metric::Category(_, Part::Calls) => match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(Limit::Number(number)),
            _ => Err(format!("{name} is compared with a number, not {text:?}")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_of_exchanges() {
        let cases: [(&str, Metric, Comparison, Limit); 8] = [
            (
                "latency.p95 < 300ms",
                Metric::Latency(Statistic::Quantile(0.95)),
                Comparison::Less,
                Limit::Time(Nanos::from_millis(300)),
            ),
            (
                "latency.p99.9 <= 1s",
                Metric::Latency(Statistic::Quantile(0.999)),
                Comparison::AtMost,
                Limit::Time(Nanos::from_millis(1000)),
            ),
            (
                "service_time.p999<1s",
                Metric::ServiceTime(Statistic::Quantile(0.999)),
                Comparison::Less,
                Limit::Time(Nanos::from_millis(1000)),
            ),
            (
                "latency.p5 > 1ms",
                Metric::Latency(Statistic::Quantile(0.05)),
                Comparison::More,
                Limit::Time(Nanos::from_millis(1)),
            ),
            ("error_rate < 0.1%", Metric::ErrorRate, Comparison::Less, Limit::Ratio(0.001)),
            (
                "database.mean < 40ms",
                Metric::Category("database", Part::Mean),
                Comparison::Less,
                Limit::Time(Nanos::from_millis(40)),
            ),
            ("app.share <= 50%", Metric::Category("app", Part::Share), Comparison::AtMost, Limit::Ratio(0.5)),
            ("rate >= 100/s", Metric::Rate, Comparison::AtLeast, Limit::Number(100.0)),
        ];
        for (text, metric, comparison, limit) in cases {
            let parsed = conditions(text, About::Exchanges).unwrap();
            assert_eq!(parsed, vec![Condition { text: text.into(), metric, comparison, limit }]);
        }
    }

    #[test]
    fn conditions_of_spans() {
        let parsed = conditions("duration.p95 < 20ms, calls < 5", About::Spans).unwrap();
        assert_eq!(parsed[0].metric, Metric::SpanDuration(Statistic::Quantile(0.95)));
        assert_eq!((&parsed[1].metric, parsed[1].limit), (&Metric::SpanCalls, Limit::Number(5.0)));
        assert_eq!(called("span", "span(\"SELECT product\")"), Some(Ok("SELECT product".into())));
        assert_eq!(called("span", "product"), None);
        assert!(called("span", "span(SELECT)").unwrap().is_err());
    }

    #[test]
    fn conditions_of_checks_and_contributors() {
        let parsed = conditions("failure_rate < 1%, failures < 10", About::Check).unwrap();
        assert_eq!((parsed[0].metric, parsed[1].metric), (Metric::FailureRate, Metric::Failures));
        let parsed =
            conditions("mean < 40ms, share < 20%, duration.p99 < 1s, calls < 5", About::Contributor).unwrap();
        assert_eq!((parsed[0].metric, parsed[1].metric), (Metric::ContributorMean, Metric::ContributorShare));
        assert!(conditions("mean < 40ms", About::Exchanges).unwrap_err().contains("unknown metric `mean`"));
        assert!(
            conditions("latency.p95 < 40ms", About::Check)
                .unwrap_err()
                .contains("`failure_rate` and `failures`")
        );
    }

    #[test]
    fn budgets_of_spans_services_and_calls() {
        let metric = |text: &str, about| conditions(text, about).unwrap()[0].metric;
        assert_eq!(metric("self.mean < 5ms", About::Spans), Metric::SpanOwn(Part::Mean));
        assert_eq!(metric("self.share < 20%", About::Service), Metric::ServiceOwn(Part::Share));
        assert_eq!(
            metric("database.calls < 20", About::Exchanges),
            Metric::Category("database", Part::Calls)
        );
        assert_eq!(metric("coverage > 95%", About::Exchanges), Metric::Coverage);
        assert!(conditions("self < 5ms", About::Spans).unwrap_err().contains("self.mean or self.share"));
        assert_eq!(Kind::parse("no new external host"), Some(Ok(Kind::ExternalHost)));
        assert_eq!(Kind::parse("latency.p95 < 1s"), None);
        assert!(Kind::parse("no new servce").unwrap().unwrap_err().contains("`no new service`"));
    }

    #[test]
    fn faults_say_what_to_write() {
        let cases = [
            ("latncy.p95 < 1s", "unknown metric `latncy`; did you mean `latency`?"),
            ("latency < 1s", "write latency.mean, latency.max or a percentile such as latency.p95"),
            (
                "latency.p95 < 300",
                "latency.p95 is compared with a duration: \"300\" has no unit: write e.g. 300s or 300ms",
            ),
            ("error_rate < 5", "error_rate is compared with a share such as 0.1% or 0.001, not \"5\""),
            ("latency.p95 300ms", "\"latency.p95 300ms\" has no comparison: write e.g. latency.p95 < 300ms"),
            ("latency.p95 =< 300ms", "`=< 300ms` is no comparison: use <, <=, >, >=, == or !="),
            ("calls < 5", "`calls` is a metric of spans: write span(\"…\"): calls …"),
            ("database.p95 < 1s", "write database.mean, database.share or database.calls"),
            ("app.calls < 5", "write app.mean or app.share"),
            ("self.mean < 1ms", "`self` is a metric of spans: write span(\"…\"): self.mean …"),
        ];
        for (text, message) in cases {
            assert_eq!(conditions(text, About::Exchanges).unwrap_err(), message);
        }
    }
}
