//! Findings as sentences: what was seen, what shows it, what it costs, how sure that is, what to do.

use super::advice::{tests_connections, waits};
use super::{calls_per_request, contributor_name, pool};
use crate::analysis::result::{Category, Confidence, Contributor, Doubt, Finding, FindingKind, Severity};
use crate::record::{Nanos, TraceId};
use crate::report::link;
use crate::report::number::{self, counted, ms, nanos, percent};
use crate::report::prose::Prose;
use crate::report::view::{StepView, View};

/// Stable name of a severity, as in `report.json`.
pub fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "warning",
        Severity::Critical => "critical",
    }
}

/// Stable name of a confidence, as in `report.json`.
pub fn confidence_name(confidence: Confidence) -> &'static str {
    match confidence {
        Confidence::High => "high",
        Confidence::PartlyTraced(_) | Confidence::Inferred(_) => "medium",
        Confidence::FewRequests(_) => "low",
    }
}

/// How sure a finding is, and why not surer.
pub fn sure(finding: &Finding, step: Option<&StepView>) -> String {
    match finding.kind.is_about_evidence() {
        true => "high: counted over the whole run".to_owned(),
        false => confidence(finding, step),
    }
}

/// How sure, and why not surer.
fn confidence(finding: &Finding, step: Option<&StepView>) -> String {
    match (finding.confidence, step) {
        (Confidence::High, Some(step)) => {
            let requests = counted(step.result.joined, "request", "requests");
            // Few of this step may be enough with those of others that have it.
            let steps = finding.evidence.get("steps").copied().unwrap_or(1.0);
            match steps > 1.5 {
                false => format!("high: {requests} with server spans show it"),
                true => format!(
                    "high: {requests} with server spans show it, and those of {}",
                    counted(steps as u64 - 1, "other step", "other steps")
                ),
            }
        }
        (Confidence::High, None) => "high".to_owned(),
        (Confidence::FewRequests(n), _) => {
            format!("low: only {} show it; run longer", counted(n, "request", "requests"))
        }
        (Confidence::Inferred(doubt), _) => format!("medium: {}", doubted(doubt)),
        (Confidence::PartlyTraced(per_mille), _) => {
            format!(
                "medium: only {} of the requests have server spans",
                percent(f64::from(per_mille) / 1_000.0)
            )
        }
    }
}

/// What would settle it.
fn doubted(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::TimingOnly => {
            "spans tell when calls were made, not whether one needs the answer of another; look at the code"
        }
        Doubt::Spread => {
            "told by how much its times differ; the database's own waits would settle it (--database)"
        }
        Doubt::NameOnly => "told by its name and by how few requests do it",
        Doubt::OwnTimeOnly => {
            "the service has no spans of its calls to databases or others, so this may be waiting that nobody recorded; instrument its clients"
        }
        Doubt::Idle => {
            "its spans say that nothing of it ran in most of this time (idle_ns), so it waits for something that no span records; spans of its calls would tell for what"
        }
        Doubt::IdleProcess => {
            "its processes hardly ran in most of this time, by the system's account, so it waits for something that no span records; spans of its calls would tell for what"
        }
        Doubt::Varies => {
            "told by how much it differs between requests; the server's count of waiting requests would settle it"
        }
        Doubt::FewRounds => {
            "they take turns so few times that each may be written out by itself, and in no loop; look at the code"
        }
        Doubt::Minority => {
            "few of the step's requests have it, and they may be of another kind; give such requests a step of their own"
        }
        Doubt::Uneven => {
            "its quickest calls take little, so that the others may wait for a processor, a lock or other requests' work"
        }
        Doubt::Once => {
            "it came at the start of the run and not again; a run after another start would show whether each has it"
        }
        Doubt::LoopOrWorker => {
            "its process does one thing at a time; whether it is an event loop or a worker that takes one request, its spans do not tell"
        }
        Doubt::NoLine => {
            "the service is on this machine, to which no line leads: it waits for a worker, for a core, or in a proxy; which one, spans do not tell"
        }
        Doubt::BeforeStatements => {
            "no span records this wait: it is the service's own time right before its statements, in several pages and hardly elsewhere; the pool's metrics would settle it"
        }
        Doubt::ConnectionsInUse => {
            "no span records this wait: whenever requests of this page wait before their first statement, as many others of it are beyond theirs; a lock of that page looks the same, and the pool's metrics would settle it"
        }
        Doubt::OneByOne => {
            "no span records this wait: requests of this page end one after the other, each as long after the one before as one takes alone, while the process serves others; a lock does that, or anything else of which there is one"
        }
        Doubt::CallsInFlight => {
            "no span records this wait: whenever requests wait before this call, as many calls of their process are under way each time, never more, and the next begins as one of them ends; the limit is in the code or in the client's settings"
        }
        Doubt::InTurn => {
            "several are under way at once, and they end one after the other, each as long after the one before as one takes alone: there is one connection, one lock or one worker for all of them; which, spans do not tell"
        }
        Doubt::BusyMachine => {
            "this machine had no free core, which makes several times as much of all code; measure it where there is one"
        }
        Doubt::NotByNumber => {
            "how long it takes does not go with how many requests are there: a line or a proxy that is slow at times, or work that no request shows"
        }
        Doubt::MoreRequests => {
            "it takes in more requests, or those of more users, than the others do on average, which alone may make it slower"
        }
        Doubt::MadeAsSent => {
            "the service is on this machine, to which no line leads: it makes or compresses the answer while it sends it, which no span covers"
        }
        Doubt::Streamed => {
            "most of it passes while the answer is under way, and a stream takes as long as it has something to say"
        }
        Doubt::GivesWay => {
            "its event loop serves other requests meanwhile, so it computes in a thread, or waits for what no span records: a lock, a semaphore, a call of a client that is not instrumented"
        }
        Doubt::CrowdedLoop => {
            "its event loop is busy with other requests much of the time, whatever their number; the loop's own metrics (lag, utilisation) would settle it"
        }
        Doubt::WrittenAfter => {
            "spans do not say what the cache had; told by what is asked and written to it after the look"
        }
    }
}

/// Whether it is told of calls that end one after the other.
pub(super) fn in_turn(finding: &Finding) -> bool {
    finding.contributor.category != Category::App && finding.evidence.contains_key("held_ms")
}

/// One line that names the problem and where it is.
pub fn title(finding: &Finding, view: &View) -> Prose {
    let step = view.step_name(finding.step);
    let c = &finding.contributor;
    let name = contributor_name(c);
    let start = |what: &str| Prose::new().own(what).own(" in ").name(&step).own(": ");
    let calls =
        view.step(finding.step).and_then(|s| s.held(c)).and_then(|(calls, _)| calls_per_request(calls));
    let with_calls = |out: Prose| match &calls {
        Some(calls) => out.own(", ").own(calls),
        None => out,
    };
    use FindingKind as K;
    match finding.kind {
        K::NPlusOneQuery | K::DuplicateQuery if tests_connections(c) => {
            with_calls(start("Connections tested before each use").name(name))
        }
        K::NPlusOneQuery => with_calls(start("N+1 query").name(name)),
        K::NPlusOneCall => with_calls(start("N+1 call").name(name)),
        K::DuplicateQuery => start("The same question asked again").name(name),
        K::SlowQuery => start("Slow query").name(name),
        K::MissingIndex => start("Missing index").name(name),
        K::ManyQueries => start("Many statements").name(name),
        K::SequentialCalls => start("Calls one after the other").name(name),
        K::SlowExternal => start("Slow external call").name(name),
        K::RateLimited => start("Rate limit").name(name),
        K::RetryStorm => start("Failed calls made again").name(name),
        K::Timeout => start("Waiting until a time limit").name(name),
        K::PoolWait => match pool::places(finding) {
            Some(places) => {
                start(&format!("Waiting for one of {} places for a call", number::calls(places))).name(name)
            }
            None => start("Waiting for a connection of a pool").name(name),
        },
        K::LockContention if pool::places(finding).is_some() => start("Calls made one at a time").name(name),
        K::LockContention if in_turn(finding) => start("Statement served one at a time").name(name),
        K::LockContention => start("Waiting for a lock").name(name),
        K::Queueing => start("Queueing").name(name),
        K::AppCpu => {
            let out =
                start(if waits(finding) { "A wait that no span records" } else { "Slow code" }).name(name);
            match finding.related.len() {
                0 => out,
                n => out.own(", and in ").own(counted(n as u64, "page more", "pages more")),
            }
        }
        K::EventLoopBlocked if finding.evidence.contains_key("block_ms") => {
            start("Calls that hold up their whole process").name(name)
        }
        K::EventLoopBlocked if c.category == Category::App => {
            start("Code that holds up its whole process").name(name)
        }
        K::EventLoopBlocked => start("A call that holds up its whole process").name(name),
        K::GcPause => start("Pauses for garbage").short_name(&c.service, 32),
        K::RuntimeSaturation => start("A busy runtime").short_name(&c.service, 32),
        K::StaticByApp => start("Static files made by the application").name(name),
        K::Uncached => start("The same answer computed each time").name(name),
        K::CacheMiss => start("A cache that misses").name(name),
        K::ColdStart => start("Work of a start").name(name),
        K::LargePayload => Prose::new().own("Large answers of ").name(&step),
        K::Uncompressed => Prose::new().own("Uncompressed answers of ").name(&step),
        K::SlowNetwork if c.category == Category::Transfer => {
            Prose::new().own("Small answers that end late in ").name(&step)
        }
        K::SlowNetwork if c.category == Category::Database => start("Slow way to a database").name(name),
        K::SlowNetwork => match c.service.is_empty() {
            true => Prose::new().own("Time between client and server of ").name(&step),
            false => start("Time between services").name(name),
        },
        K::ConnectionChurn => Prose::new().own("Connections opened again and again for ").name(&step),
        K::ErrorPath => start("Errors with another latency").name(name),
        K::ChattyService => start("Many calls to other services").name(name),
        K::FanOut => start("Many calls at once").name(name),
        K::SlowInstance => start("One slow instance").name(name),
        K::ClockSkew => Prose::from("Clocks of hosts differ"),
        K::IncompleteTraces => Prose::from("Spans are missing"),
        K::GeneratorBound => Prose::from("The load generator was late"),
    }
}

/// What else has the same cause.
pub fn also(finding: &Finding) -> Option<Prose> {
    // Of a queue it is what those do who have their turn, of many statements what they are: their advice says so.
    let same_cause = !matches!(finding.kind, FindingKind::Queueing | FindingKind::ManyQueries);
    let mut related = finding.related.iter().filter(|_| same_cause).take(8);
    let first = related.next()?;
    let out = Prose::new().name(contributor_name(first));
    Some(related.fold(out, |out, c| out.own("; ").name(contributor_name(c))))
}

/// Whose time it is and where in the code: `shop → sqlite, at src/reviews.rs:41`; nothing where nothing is known.
pub fn place(contributor: &Contributor) -> Option<Prose> {
    let mut out = Prose::new();
    let mut known = false;
    if !contributor.service.is_empty() {
        out = out.short_name(&contributor.service, 32);
        known = true;
    }
    if !contributor.system.is_empty() && *contributor.system != *contributor.name {
        out = out.own(if known { " → " } else { "" }).short_name(&contributor.system, 24);
        known = true;
    }
    if !contributor.code.is_empty() {
        out = out.own(if known { ", at " } else { "at " }).name(&contributor.code);
        known = true;
    }
    known.then_some(out)
}

/// Numbers whose names do not read by themselves.
const EVIDENCE_NAMES: [(&str, &str); 25] = [
    ("errors_p50", "p50 of failed requests"),
    ("others_p50", "p50 of the others"),
    ("errors_share", "failed requests"),
    ("joined_share", "requests with server spans"),
    ("orphans_share", "spans without their parent"),
    ("held_up_share", "share of the run in which it holds up its process"),
    ("steps", "steps that have it"),
    ("processes", "processes that do it"),
    ("as_others_end_share", "waits that end as another request does"),
    ("at_least", "quickest calls of all kinds"),
    ("index_statements", "statements that want it"),
    ("gc_share", "share of the time in which it stands"),
    ("gc_pause", "mean length of a pause"),
    ("block", "its calls and what is between them"),
    ("piece", "each piece of it"),
    ("idle", "time in which nothing of it ran"),
    ("process_cores", "cores that its processes used meanwhile"),
    ("own_time", "own time of the service in this step"),
    ("loop_calls", "calls of the loop"),
    ("loop_statements", "statements of the loop"),
    ("call_p10", "quickest tenth of its calls"),
    ("call_p50", "median of its calls"),
    ("other_calls_p50", "median of other calls"),
    ("typical", "of typical requests"),
    ("slow", "of slow requests"),
];

/// The unit of a number is in its name: `_ms`, `_share`, `_bytes`, `_per_s`; else it is a plain number.
fn evidence_pair(key: &str, value: f64) -> (String, String) {
    let words = |stem: &str| {
        let known = EVIDENCE_NAMES.iter().find(|(key, _)| *key == stem).map(|(_, words)| (*words).to_owned());
        known.unwrap_or_else(|| {
            stem.replace('_', " ").replace("per exchange", "per request").replace("exchanges", "requests")
        })
    };
    if let Some(stem) = key.strip_suffix("_ms") {
        return (words(stem), number::ms_unit(value));
    }
    if key == "share" || key.ends_with("_share") {
        return (words(key), percent(value));
    }
    if let Some(stem) = key.strip_suffix("_bytes") {
        return (words(stem), number::bytes(value));
    }
    if let Some(stem) = key.strip_suffix("_per_s") {
        return (words(stem), format!("{}/s", number::rate(value)));
    }
    (words(key), number::calls(value))
}

/// What a fix could gain at best.
pub fn impact(finding: &Finding, step: Option<&StepView>) -> String {
    let i = &finding.impact;
    if i.mean == Nanos::ZERO && i.p95 == Nanos::ZERO && i.p99 == Nanos::ZERO {
        return "no measurable gain by itself".to_owned();
    }
    let after = step.filter(|_| i.p95 > Nanos::ZERO).map(|step| {
        let before = step.latency.p95;
        format!(" ({} → {})", ms(before.as_millis_f64()), nanos(Nanos(before.0.saturating_sub(i.p95.0))))
    });
    let parts = [
        (i.p95, "p95", after.unwrap_or_default()),
        (i.mean, "the mean", String::new()),
        (i.p99, "p99", String::new()),
    ];
    let saved = parts.iter().filter(|(time, ..)| *time > Nanos::ZERO);
    // The first number has the unit for all.
    let words: Vec<String> = saved
        .enumerate()
        .map(|(i, (time, of, after))| {
            let time = if i == 0 { nanos(*time) } else { ms(time.as_millis_f64()) };
            format!("{time} of {of}{after}")
        })
        .collect();
    format!("would save at most {}", words.join(", "))
}

/// The numbers that show it: the usual ones as words, in an order that reads, then any others by their names.
pub fn evidence_line(finding: &Finding) -> Option<Prose> {
    let mut numbers = finding.evidence.clone();
    let mut take = |key: &str| numbers.remove(key);
    let mut words = Vec::new();
    words.extend(take("calls_per_exchange").and_then(calls_per_request));
    words.extend(take("call_mean_ms").map(|v| format!("{} per call", number::ms_unit(v))));
    words.extend(take("call_p95_ms").map(|v| format!("{} per call at p95", number::ms_unit(v))));
    words.extend(take("mean_ms").map(|v| format!("{} per request", number::ms_unit(v))));
    words.extend(take("share").map(|v| format!("{} of the mean", percent(v))));
    words.extend(
        take("between_ms").map(|v| format!("{} of the service's own between them", number::ms_unit(v))),
    );
    words.extend(
        take("in_loops_ms").map(|v| format!("{} of it between the calls of a loop", number::ms_unit(v))),
    );
    words.extend(
        take("reading_ms")
            .map(|v| format!("{} of it own time of the code that reads the rows", number::ms_unit(v))),
    );
    words.extend(take("in_scans_ms").map(|v| format!("{} of it in scans", number::ms_unit(v))));
    words.extend(
        take("exchanges_share").filter(|v| *v < 0.9995).map(|v| format!("in {} of the requests", percent(v))),
    );
    words.extend(take("given_up_share").map(|v| format!("{} of the requests given up", percent(v))));
    words.extend(take("answer_bytes").map(|v| format!("{} per answer", number::bytes(v))));
    words.extend(
        take("pool_wait_ms").map(|v| format!("{} of waiting for its connection", number::ms_unit(v))),
    );
    words.extend(
        take("served_at_once").map(|v| format!("{} served at once by each process", number::calls(v))),
    );
    words.extend(
        take("before_statements_ms").map(|v| format!("{} right before statements", number::ms_unit(v))),
    );
    // The advice says these.
    take("connections_held");
    take("turn_share");
    words.extend(take("before_calls_ms").map(|v| format!("{} right before calls", number::ms_unit(v))));
    words.extend(
        take("places")
            .map(|v| format!("at most {} at once in each process", counted(v as u64, "call", "calls"))),
    );
    words.extend(take("held_ms").map(|v| format!("{} for each in turn", number::ms_unit(v))));
    words.extend(take("waiting_ms").map(|v| format!("{} of waiting for the process", number::ms_unit(v))));
    let tail = (take("tail_excess_ms"), take("tail_gap_ms"), take("tail_share"));
    if let (Some(excess), Some(gap), share) = tail {
        let share = share.map(|s| format!(" ({})", percent(s))).unwrap_or_default();
        words.push(format!(
            "{} of the {} that the slowest take longer{share}",
            number::ms_unit(excess),
            number::ms_unit(gap)
        ));
    }
    words.extend(numbers.iter().map(|(key, value)| {
        let (label, value) = evidence_pair(key, *value);
        format!("{label} {value}").replace(' ', "\u{a0}")
    }));
    let numbers = (!words.is_empty()).then(|| Prose::from(words.join(", ")));
    match (numbers, pool::holders(finding)) {
        (Some(numbers), Some(holders)) => Some(numbers.own("; ").then(holders)),
        (numbers, holders) => numbers.or(holders),
    }
}

/// Traces of a finding, unless the list of traces to look at has them all; at most three.
pub fn own_traces(finding: &Finding, view: &View) -> Vec<String> {
    let listed = |id: &TraceId| {
        view.to_look_at().iter().any(|step| step.exemplars().iter().any(|e| e.trace_id == *id))
    };
    match finding.exemplars.iter().all(listed) {
        true => Vec::new(),
        false => finding
            .exemplars
            .iter()
            .take(3)
            .map(|id| link::url(view, *id).unwrap_or_else(|| id.to_string()))
            .collect(),
    }
}
