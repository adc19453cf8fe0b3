//! The first line: the answer, or why there is none and what to do.

use super::advice::waits;
use super::{calls_per_request, cause, contributor_name, note};
use crate::analysis::MIN_REQUESTS;
use crate::analysis::result::{Category, Confidence, Doubt, Finding, FindingKind, Note, Reason, Verdict};
use crate::record::{FailureClass, GeneratorLimit, RunState, StepId, grpc_status_name};
use crate::report::number;
use crate::report::prose::Prose;
use crate::report::view::{StepView, View};

/// Columns of a contributor's name in the headline.
const NAME_COLUMNS: usize = 48;

/// The answer in one sentence, without a full stop.
pub fn headline(view: &View) -> Prose {
    match &view.analysis().verdict {
        Verdict::NoData => no_data(view),
        Verdict::GeneratorBound(share) => generator_bound(view, *share),
        Verdict::Failing { step, class, status } => failing(view, *step, *class, *status),
        Verdict::Untraced { step } => untraced(view, *step),
        Verdict::Bottleneck(index) => match view.analysis().findings.get(*index) {
            Some(finding) => bottleneck(view, finding),
            None => "A bottleneck was named, but its finding is missing from this result".into(),
        },
        Verdict::Healthy { step } => healthy(view, *step),
    }
}

/// Stable name of the verdict, as in `report.json`.
pub fn name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::NoData => "no_data",
        Verdict::GeneratorBound(_) => "generator_bound",
        Verdict::Failing { .. } => "failing",
        Verdict::Untraced { .. } => "untraced",
        Verdict::Bottleneck(_) => "bottleneck",
        Verdict::Healthy { .. } => "healthy",
    }
}

fn bottleneck(view: &View, finding: &Finding) -> Prose {
    let contributor = &finding.contributor;
    let mut out = Prose::new().name(&view.step_name(finding.step)).own(" is slow because of ");
    out = match finding.kind {
        FindingKind::RateLimited => out.own("a rate limit"),
        FindingKind::PoolWait => out.own("the wait for a connection of the pool"),
        FindingKind::Queueing if contributor.category == Category::Network => {
            out.own("requests that wait for their turn")
        }
        FindingKind::CacheMiss => out.own("a cache that misses"),
        FindingKind::LargePayload => out.own("the size of its answers"),
        FindingKind::Uncompressed => out.own("answers that nobody compresses"),
        FindingKind::SequentialCalls | FindingKind::ChattyService | FindingKind::FanOut
            if contributor.category == Category::App =>
        {
            out.own("calls to other services")
        }
        FindingKind::NPlusOneCall | FindingKind::SequentialCalls | FindingKind::ChattyService
            if contributor.category != Category::External =>
        {
            out.own("calls to another service")
        }
        FindingKind::EventLoopBlocked if contributor.category != Category::App => {
            out.own("calls that hold up ").short_name(&contributor.service, 24)
        }
        FindingKind::AppCpu if waits(finding) && !contributor.service.is_empty() => {
            out.own("a wait that ").short_name(&contributor.service, 24).own(" does not record")
        }
        FindingKind::AppCpu
            if finding.confidence == Confidence::Inferred(Doubt::OwnTimeOnly)
                && !contributor.service.is_empty() =>
        {
            out.own("the code of ")
                .short_name(&contributor.service, 24)
                .own(", or calls that it does not record")
        }
        FindingKind::ColdStart if start(finding).is_some() && !contributor.service.is_empty() => {
            out.own("a start of ").short_name(&contributor.service, 24)
        }
        FindingKind::AppCpu
        | FindingKind::EventLoopBlocked
        | FindingKind::StaticByApp
        | FindingKind::GcPause
        | FindingKind::RuntimeSaturation
        | FindingKind::ColdStart
        | FindingKind::SlowInstance
        | FindingKind::FanOut
            if !contributor.service.is_empty() =>
        {
            out.own("the code of ").short_name(&contributor.service, 24)
        }
        FindingKind::SlowNetwork if contributor.category == Category::Transfer => {
            out.own("answers that end late after their beginning")
        }
        FindingKind::SlowNetwork if contributor.category == Category::Database => {
            out.own("the way to its database")
        }
        FindingKind::ErrorPath => out.own("failing requests"),
        FindingKind::ManyQueries => out.own("many statements"),
        _ => out.own(cause(contributor.category)),
    };
    match view.step(finding.step) {
        Some(step) => {
            let what = waiting(step, finding).or_else(|| start(finding));
            out.own(": ").then(what.unwrap_or_else(|| share_of_latency(step, finding)))
        }
        None => out,
    }
}

/// `up to 1,620 ms for GET /triage`: of what took long at the start of the run and not again.
fn start(finding: &Finding) -> Option<Prose> {
    let longest = *finding.evidence.get("longest_ms").filter(|_| finding.kind == FindingKind::ColdStart)?;
    let out = Prose::new().own(format!("up to {} for ", number::ms_unit(longest)));
    Some(out.short_name(contributor_name(&finding.contributor), NAME_COLUMNS))
}

/// `93 % of 530 ms mean is waiting for BackgroundTask index`: of what holds up its process, where others wait longer for it than it takes
/// of their own requests.
fn waiting(step: &StepView, finding: &Finding) -> Option<Prose> {
    let holds_up = matches!(finding.kind, FindingKind::EventLoopBlocked | FindingKind::ColdStart);
    let waiting = *finding.evidence.get("waiting_ms").filter(|_| holds_up)?;
    let mean = step.latency.mean.as_millis_f64();
    let own = finding.evidence.get("mean_ms").copied().unwrap_or_default();
    (waiting > own && waiting <= mean).then(|| {
        let share = number::percent(waiting / mean);
        let out =
            Prose::new().own(format!("{share} of {} mean is waiting for ", number::nanos(step.latency.mean)));
        out.short_name(contributor_name(&finding.contributor), NAME_COLUMNS)
    })
}

/// `85 % of 1.08 s mean, 37 calls per request`: of what is told of all calls of a request, and not of the code that makes them.
fn all_calls(step: &StepView, finding: &Finding) -> Option<Prose> {
    use FindingKind::{ChattyService, FanOut, ManyQueries, SequentialCalls};
    let of_calls = matches!(finding.kind, ChattyService | FanOut | ManyQueries | SequentialCalls)
        && finding.contributor.category == Category::App;
    let share = *finding.evidence.get("share").filter(|_| of_calls)?;
    let out =
        Prose::new().own(format!("{} of {} mean", number::percent(share), number::nanos(step.latency.mean)));
    let calls = finding.evidence.get("calls_per_exchange").and_then(|calls| calls_per_request(*calls));
    Some(match calls {
        Some(calls) => out.own(", ").own(calls),
        None => out,
    })
}

/// `71 % of 184 ms p95, mostly SELECT … FROM review, 26 calls per request`. The share and the contributor's part of it
/// are of the same requests: those between p90 and p99, or all where there are none such.
fn share_of_latency(step: &StepView, finding: &Finding) -> Prose {
    if let Some(calls) = all_calls(step, finding) {
        return calls;
    }
    // What a miss costs is what is asked instead.
    let instead = finding.related.first().filter(|_| finding.kind == FindingKind::CacheMiss);
    let contributor = instead.unwrap_or(&finding.contributor);
    let all = step.part(contributor.category);
    let held = step.held(contributor);
    // What reads a statement's rows is the code, in the parts of the latency; the finding has both.
    let read = finding.evidence.get("share").copied().filter(|_| finding.evidence.contains_key("reading_ms"));
    let (share, latency, of, own_share) = match (read, all.tail_share) {
        (Some(share), _) => (share, step.latency.mean, "mean", read),
        (None, Some(share)) => (share, step.latency.p95, "p95", held.and_then(|(_, part)| part.tail_share)),
        (None, None) => (all.share, step.latency.mean, "mean", held.map(|(_, part)| part.share)),
    };
    let out = Prose::new().own(format!("{} of {} {of}", number::percent(share), number::nanos(latency)));
    // Of the client's own categories the cause says it all.
    let (Some((calls, _)), Some(own_share), false) = (held, own_share, is_clients_own(contributor.category))
    else {
        return out;
    };
    let name = contributor_name(contributor);
    let out = if own_share * 2.0 < share {
        let part = format!(" ({})", number::percent(own_share));
        out.own(", the largest part ").short_name(name, NAME_COLUMNS).own(part)
    } else {
        out.own(", mostly ").short_name(name, NAME_COLUMNS)
    };
    let out = if read.is_some() { out.own(" and reading its rows") } else { out };
    let out = match contributor.category {
        Category::App if !contributor.code.is_empty() => {
            out.own(" at ").short_name(&contributor.code, NAME_COLUMNS)
        }
        _ => out,
    };
    match calls_per_request(calls) {
        Some(calls) => out.own(", ").own(calls),
        None => out,
    }
}

fn is_clients_own(category: Category) -> bool {
    use Category::{Connection, Generator, Transfer, Untraced};
    matches!(category, Connection | Generator | Transfer | Untraced)
}

fn healthy(view: &View, id: StepId) -> Prose {
    let (exchanges, errors) = view.totals();
    // Where the slowest step has so few requests that nothing is told of it, nothing is known either.
    let few = view.step(id).map(|step| step.result.exchanges).filter(|n| *n < MIN_REQUESTS);
    let begin = if few.is_some() { "Too few requests to tell" } else { "No bottleneck" };
    let mut out = Prose::new().own(begin).own(": slowest step ").name(&view.step_name(id));
    if let Some(step) = view.step(id) {
        out = out.own(format!(", p95 {}", number::nanos(step.latency.p95)));
    }
    if let Some(few) = few {
        out = out.own(format!(" of {}: run longer", number::counted(few, "request", "requests")));
    }
    out = out.own(format!("; {}, ", number::counted(exchanges, "request", "requests")));
    out = match errors {
        0 => out.own("no errors"),
        n => out.own(number::counted(n, "error", "errors")),
    };
    if view.coverage() < 0.9 {
        out = out.own(format!("; only {} of them have server spans", number::percent(joined_share(view))));
    }
    out
}

fn joined_share(view: &View) -> f64 {
    let (exchanges, _) = view.totals();
    if exchanges == 0 { 0.0 } else { view.analysis().telemetry.joined as f64 / exchanges as f64 }
}

fn no_data(view: &View) -> Prose {
    let run = view.run();
    let out = Prose::from("There is nothing to explain, because no request was recorded: ");
    match (run.state, run.load.offered) {
        (RunState::Running, _) => out.own("hotspan was killed before the first one ended; run it again"),
        (RunState::Interrupted, _) => {
            out.own("the run was stopped before the first one ended; let it run longer")
        }
        (RunState::Aborted, _) => out.own("the run ended early; the warnings say why"),
        (RunState::Complete, 0) => {
            out.own("the scenario's load stages ask for none; give it users or a rate and a duration")
        }
        (RunState::Complete, n) => {
            out.own(format!("{} due, none sent; the warnings say why", number::counted(n, "was", "were")))
        }
    }
}

/// What the machine that made the load had too little of, with the number that shows it.
pub fn generator_limit(limit: GeneratorLimit, view: &View) -> String {
    let threads = view.run().load.threads;
    match limit {
        GeneratorLimit::Cpu(share) => format!(
            "{} used {} of a core in half of all seconds or more",
            if threads == 1 { "its load thread" } else { "its busiest load thread" },
            number::percent(share)
        ),
        GeneratorLimit::RunQueue(share) => format!(
            "its load threads were ready to run and got no core for {} of the time",
            number::percent(share)
        ),
        GeneratorLimit::Lag(lag) => {
            format!("its event loop was late by {} or more in half of all seconds", number::nanos(lag))
        }
        GeneratorLimit::Ports(n) => {
            format!("{} found no local port to connect from", number::counted(n, "request", "requests"))
        }
        GeneratorLimit::Late(share) => {
            format!("{} of the latency is waiting to be sent", number::percent(share))
        }
    }
}

/// What helps against that.
pub fn generator_limit_way_out(limit: GeneratorLimit, view: &View) -> String {
    match limit {
        GeneratorLimit::Ports(_) => "keep connections open between requests, lower the rate, or widen net.ipv4.ip_local_port_range".to_owned(),
        GeneratorLimit::RunQueue(_) | GeneratorLimit::Lag(_) => "find what else takes this machine's CPU (the service itself, where it runs here), give hotspan cores of its own, or lower the load".to_owned(),
        GeneratorLimit::Cpu(_) => format!(
            "give it more than {} with --threads, or make less load from each machine",
            number::counted(u64::from(view.run().load.threads), "load thread", "load threads")
        ),
        GeneratorLimit::Late(_) => generator_way_out(view),
    }
}

fn generator_bound(view: &View, share: f64) -> Prose {
    let limit = view.analysis().notes.iter().find_map(|note| match note {
        Note::GeneratorLimited(limit) => Some(*limit),
        _ => None,
    });
    if let Some(limit) = limit {
        return Prose::new().own(format!(
            "The generator was the bottleneck, so these latencies are not the service's alone: {}; {}",
            generator_limit(limit, view),
            generator_limit_way_out(limit, view)
        ));
    }
    let out = Prose::new().own(format!(
        "The load generator was late, so these latencies are not the service's: {} of them is waiting to be sent; ",
        number::percent(share)
    ));
    out.own(generator_way_out(view))
}

/// What helps a late generator; never more cores where the ones it has were idle.
pub fn generator_way_out(view: &View) -> String {
    let threads = u64::from(view.run().load.threads);
    match view.generator_cpu_share() {
        Some(busy) if busy < 0.6 => format!(
            "its {} busy only {} of the time, so find what else takes this machine's CPU, or lower the rate",
            if threads == 1 {
                "core was".to_owned()
            } else {
                format!("{} were", number::counted(threads, "core", "cores"))
            },
            number::percent(busy)
        ),
        Some(_) => format!(
            "lower the rate, or make the load on a machine with more than {}",
            number::counted(threads, "core", "cores")
        ),
        None => "lower the rate, or make the load on a faster machine".to_owned(),
    }
}

fn failing(view: &View, id: StepId, class: Option<FailureClass>, status: Option<u16>) -> Prose {
    let mut out = Prose::new().name(&view.step_name(id)).own(" fails");
    if let Some(step) = view.step(id) {
        out = out.own(format!(
            ": {} of {}",
            number::percent(step.error_share()),
            number::counted(step.result.exchanges, "request", "requests")
        ));
    }
    // Where most say why, nobody has to look for it.
    let step = view.step(id).map(|step| step.result);
    let reason = step.and_then(|r| r.reasons.first().filter(|why| 2 * why.exchanges >= r.errors));
    let told = |out: Prose, why: &Reason| {
        out.own(": ")
            .foreign(&why.words)
            .own(", at ")
            .name(contributor_name(&why.contributor))
            .own(" in ")
            .name(&why.contributor.service)
    };
    match (class, status, reason) {
        (Some(class), ..) => {
            out = out.own(format!(", mostly because {}; ", failure(class)));
            failure_way_out(out, class, &view.run().target)
        }
        (None, Some(status), reason) => {
            let out = out.own(format!(", mostly with {}", status_words(status)));
            match (reason, what_makes_fail(view, id)) {
                (Some(why), _) => told(out, why),
                (None, Some((how, finding))) => {
                    out.own("; ").own(how).own(": ").name(contributor_name(&finding.contributor))
                }
                (None, None) => out.own("; ").own(status_way_out(status)),
            }
        }
        (None, None, Some(why)) => told(out, why),
        (None, None, None) if view.run().sources.from_traces => out.own("; their spans do not say why"),
        (None, None, None) => out.own("; see what the checks of the scenario expect"),
    }
}

/// The finding for which the step's requests fail, and how it makes them, where one is known.
fn what_makes_fail<'a>(view: &'a View, id: StepId) -> Option<(&'static str, &'a Finding)> {
    view.analysis()
        .findings
        .iter()
        .filter(|f| f.step == id && f.evidence.contains_key("errors_share"))
        .find_map(|finding| match finding.kind {
            FindingKind::RateLimited => Some(("what they call limits their rate", finding)),
            FindingKind::Timeout => Some(("their calls run into a time limit", finding)),
            FindingKind::RetryStorm => Some(("their calls fail again and again", finding)),
            _ => None,
        })
}

/// What a class of failure means, after "because".
pub fn failure(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Template => "the request could not be made from its template",
        FailureClass::Dns => "the host name did not resolve",
        FailureClass::ConnectRefused => "the connection was refused",
        FailureClass::ConnectTimeout => "no connection came up in time",
        FailureClass::Connect => "connecting failed",
        FailureClass::Tls => "the TLS handshake failed",
        FailureClass::Reset => "the connection was closed before the answer",
        FailureClass::Timeout => "no answer came in time",
        FailureClass::InvalidResponse => "the answer was not valid HTTP",
        FailureClass::BodyTruncated => "the answer's body ended too early",
        FailureClass::NotSent => "the run ended before they were sent",
        FailureClass::Cancelled => "the run was stopped while they were under way",
    }
}

fn failure_way_out(out: Prose, class: FailureClass, target: &str) -> Prose {
    match class {
        FailureClass::Template => out.own("correct that template in the scenario"),
        FailureClass::Dns => out.own("check the host in ").name(target),
        FailureClass::ConnectRefused => {
            out.own("start the service, or correct the target if it is not at ").name(target)
        }
        FailureClass::ConnectTimeout | FailureClass::Connect => {
            out.own("check that this machine can reach ").name(target)
        }
        FailureClass::Tls => out.own("check the certificate of ").name(target),
        FailureClass::Reset => out.own("look in the server's log for restarts and connection limits"),
        FailureClass::Timeout => out.own("look at what the server does meanwhile, or lower the load"),
        FailureClass::InvalidResponse => out.own("check that an HTTP server answers at ").name(target),
        FailureClass::BodyTruncated => out.own("look in the log of the server and of proxies before it"),
        FailureClass::NotSent | FailureClass::Cancelled => out.own("let the run go to its end"),
    }
}

/// A status by its protocol: those of HTTP have three digits, those of gRPC have names.
pub fn status_words(status: u16) -> String {
    match status {
        0..100 => format!("gRPC status {}", grpc_status_name(status)),
        _ => format!("HTTP status {status}"),
    }
}

fn status_way_out(status: u16) -> &'static str {
    match status {
        7 | 16 | 401 | 403 => "check the scenario's credentials, and that its login step comes first",
        404 | 405 => "check the step's path and method",
        12 => "check the step's service and method",
        2 | 4 | 13..=15 => "look in the server's log, and at this step's traces",
        8 | 429 => "the target limits the rate: lower it, or raise that limit",
        500..=599 => "look in the server's log, and at this step's traces",
        300..=399 => "redirects are not followed: let the step expect it, or request its destination",
        _ => "check what the step sends and what it expects",
    }
}

fn untraced(view: &View, id: StepId) -> Prose {
    let mut out = Prose::new().name(&view.step_name(id));
    out = match view.step(id) {
        Some(step) => out.own(format!(" takes {} at p95", number::nanos(step.latency.p95))),
        None => out.own(" is the slowest step"),
    };
    out.own(", but no server span says why: ").then(note::no_spans_way_out(view))
}
