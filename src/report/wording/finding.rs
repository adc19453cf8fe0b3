//! Findings as sentences: what was seen, what shows it, what it costs, how sure that is, what to do.

use super::{calls_per_request, contributor_name, pool};
use crate::analysis::result::{Category, Confidence, Contributor, Doubt, Finding, FindingKind, Severity};
use crate::analysis::statement;
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
            "it takes in more requests than each of the others, which alone may make it slower"
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
fn in_turn(finding: &Finding) -> bool {
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
            let out = start("Slow code").name(name);
            match finding.related.len() {
                0 => out,
                n => out.own(", and in ").own(counted(n as u64, "page more", "pages more")),
            }
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
const EVIDENCE_NAMES: [(&str, &str); 21] = [
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

/// What to do, in one or two sentences.
pub fn advice(finding: &Finding) -> Prose {
    let c = &finding.contributor;
    use FindingKind as K;
    match finding.kind {
        K::NPlusOneQuery | K::DuplicateQuery if tests_connections(c) => Prose::from(
            "This statement only asks whether its connection still works, as pools do before they hand one out (pool_pre_ping, testOnBorrow, validation queries). Keep one connection for the whole request, and test those that were idle for long only.",
        ),
        K::NPlusOneQuery => n_plus_one_query(c),
        K::NPlusOneCall => Prose::from(
            "Ask for all items in one call, if the peer has such an endpoint, or send the calls at the same time instead of one after the other.",
        ),
        K::DuplicateQuery => Prose::from(
            "Ask once and hand the answer on, or keep it for the time of the request (an identity map, a data loader).",
        ),
        K::SlowQuery => slow_query(c),
        K::MissingIndex => missing_index(finding),
        K::ManyQueries if !finding.related.is_empty() => many_of_one(&finding.related[0]),
        K::ManyQueries => Prose::from(
            "Join what belongs together, or fetch it in a few statements; each is a round trip. Look at what the request really shows.",
        ),
        K::SequentialCalls => Prose::from(
            "If no call needs the answer of another, send them at the same time; the request then takes as long as the longest.",
        ),
        K::SlowExternal => Prose::from("What ")
            .name(contributor_name(c))
            .own(" does inside is not known, because it sends no spans. Cache its answers, call it after responding or beside other work, and give it a time limit; if it is yours, trace it."),
        K::RateLimited => Prose::from(
            "The peer asks to come back later and the request waits for that. Send it fewer calls (cache its answers, put several in one), or get a higher limit.",
        ),
        K::RetryStorm => Prose::from(
            "Find out why the calls fail. Until then, retry fewer times, with growing pauses and a budget, and stop calling while all fail (a circuit breaker): retries load what is in trouble already.",
        ),
        K::Timeout => Prose::from(
            "Find out why it does not answer in time. Until then, a shorter limit and an answer without it keep the request from waiting for nothing.",
        ),
        K::PoolWait | K::LockContention if pool::places(finding).is_some() => pool::few_places(finding),
        K::PoolWait => pool::advice(finding),
        K::LockContention if in_turn(finding) => Prose::from(
            "While one is served the others wait. Give them more connections (a pool of one serves one at a time), or take away what lets only one through; then look at what one takes alone.",
        ),
        K::LockContention if c.category == Category::App => Prose::from(
            "Its requests go through one at a time, as behind a mutex. Hold it shorter (work on a copy, and make no calls while it is held), or take one for each key instead of one for all; a trace of locks (Go's mutex profile, a thread dump) shows which.",
        ),
        K::LockContention => Prose::from(
            "It waits for a lock that another transaction or thread holds. Hold the lock shorter (no calls to others while it is held, the contended row last), or let each touch rows of its own.",
        ),
        K::Queueing => queueing(finding),
        K::AppCpu if !finding.related.is_empty() => slow_pages(c),
        K::AppCpu if finding.confidence == Confidence::Inferred(Doubt::OwnTimeOnly) => unrecorded(c),
        K::AppCpu if finding.confidence == Confidence::Inferred(Doubt::Idle) => idle_code(c),
        K::AppCpu => slow_code(c),
        K::EventLoopBlocked if c.category != Category::App => Prose::from(
            "While it waits for the answer, its process serves nobody else: the call does not give way to the event loop. Make it with an asynchronous client or driver, or in a worker thread.",
        ),
        K::EventLoopBlocked if finding.evidence.contains_key("after_answer_ms") => Prose::from(
            "It runs after its own answer, but in the event loop that serves everybody, so it delays all requests that come meanwhile. Give it to a worker process or a queue; what only waits, to a thread (Starlette and FastAPI run a background task there if it is a plain function, not an async one).",
        ),
        K::EventLoopBlocked => Prose::from(
            "While this runs, its process serves nobody else. Move it to a worker thread or process, cut it into pieces, or do less of it; more processes help only as far as there are cores.",
        ),
        K::GcPause => Prose::from(
            "Allocate less in what the requests run, or give the runtime more memory; then look at the collector's settings.",
        ),
        K::RuntimeSaturation => Prose::from(
            "Its threads, event loop or processors have no time left: find what keeps them busy with a profile under this load, then add processes or cores.",
        ),
        K::StaticByApp => Prose::from(
            "Let a web server, a proxy or a CDN send the files, compressed once, with a lifetime that lets clients keep them.",
        ),
        K::Uncached if statement::counts_all(&c.name) => counted_anew(),
        K::Uncached => Prose::from(
            "All calls ask the same. Keep the answer (in memory, in a cache, as a materialised view) for as long as it may be old.",
        ),
        K::CacheMiss => Prose::from(
            "Look at what makes it miss: lifetimes that are too short, too little memory, keys that never repeat, or answers that are not put in.",
        ),
        K::ColdStart => Prose::from(
            "Do it before the first request (at the start, before traffic comes), keep what it makes, and recycle processes less often.",
        ),
        K::LargePayload => large_payload(finding),
        K::Uncompressed => uncompressed(finding),
        K::SlowNetwork if c.category == Category::Transfer => Prose::from(
            "The head of the answer comes at once and its few bytes of body later. Send both in one write (two small writes wait for each other: Nagle's algorithm and delayed acknowledgements), set TCP_NODELAY, or make the body before the head if it is streamed.",
        ),
        K::SlowNetwork if c.category == Category::Database => slow_way(finding),
        K::SlowNetwork => slow_network(finding),
        K::ConnectionChurn => Prose::from(
            "Let the server keep connections open (no Connection: close in its answers, an idle limit longer than the pause between requests).",
        ),
        K::ErrorPath => Prose::from(
            "Read percentiles of the good requests alone, and look at what the failed ones do: quick failures flatter every number, slow ones make the tail.",
        ),
        K::ChattyService => Prose::from(
            "Ask for more at a time, or move what belongs together into one service; each call is a round trip.",
        ),
        K::FanOut => Prose::from(
            "The slowest of many calls decides. Send fewer (several items in one), ask again elsewhere when one is late, or answer with what has come.",
        ),
        K::SlowInstance => slow_instance(finding),
        K::ClockSkew => Prose::from(
            "Set the hosts' clocks (NTP). Durations are not affected; where a call waited on its way is.",
        ),
        K::IncompleteTraces => Prose::from(
            "See that every service exports all spans of the test (sampling, queue sizes, collectors), and that the run waits for them.",
        ),
        K::GeneratorBound => Prose::from(
            "Offer less load, or give the generator more cores: what it measures as latency is partly its own delay.",
        ),
    }
}

/// A plain index is the wrong advice for a search within texts.
const WITHIN_TEXTS: &str = "It searches within texts, which a plain index serves only where the pattern begins with fixed letters: take a trigram index (PostgreSQL's pg_trgm) or full-text search, or let the pattern begin with letters.";

/// The index to create, and what shows it.
fn missing_index(finding: &Finding) -> Prose {
    let rows = finding.evidence.get("table_rows").map_or(String::new(), |n| format!(" of {n:.0} rows"));
    let out = Prose::from(format!("Its plan reads a whole table{rows} to find a few. "));
    match finding.remedy.is_empty() {
        true if statement::matches_text(&finding.contributor.name) => out.own(WITHIN_TEXTS),
        true => out.own("Index the columns that it filters by."),
        false => out
            .name(&finding.remedy)
            .own("; then look at the plan again, and mind what the index costs writes."),
    }
}

fn slow_instance(finding: &Finding) -> Prose {
    if finding.confidence == Confidence::Inferred(Doubt::MoreRequests) {
        return Prose::new()
            .name(&finding.remedy)
            .own(" takes in more requests than the others: processes that share a port get connections as they happen to accept them, and kept connections stay where they are. Spread them first (a proxy before the workers, one listener for each, connections that are closed from time to time); if it is still slower then, compare its host and its settings.");
    }
    Prose::from("Compare it with the others: its host, its neighbours, its version, its settings. It is ")
        .name(&finding.remedy)
        .own(".")
}

/// Whether it is about how a pool sees that its connections work.
fn tests_connections(c: &Contributor) -> bool {
    c.category == Category::Database && statement::tests_a_connection(&c.name)
}

/// A number over all rows, as pages of a list ask for.
fn counted_anew() -> Prose {
    Prose::from(
        "It goes through all rows for one number, the same for everybody, as paginators do to tell how many pages there are: page by key (cursors) instead, keep the number for as long as it may be old, or show an estimate.",
    )
}

fn n_plus_one_query(c: &Contributor) -> Prose {
    let out = Prose::from(match c.category {
        Category::Cache => "Get all keys in one round trip (a multi-get or a pipeline)",
        Category::Search => "Put the searches into one request (a multi-search)",
        _ if statement::changes_rows(&c.name) => {
            "Write all rows with one statement: INSERT … VALUES (…), (…), one UPDATE with a list, or the bulk operation of the ORM"
        }
        _ if statement::counts_rows(&c.name) => {
            "Ask for the numbers of all rows with one statement: GROUP BY, or the ORM's aggregates (Django's annotate, a subquery or column_property in SQLAlchemy)"
        }
        _ => {
            "Fetch all rows with one statement: a join, WHERE … IN (…), or the ORM's eager loading (Django's select_related and prefetch_related, SQLAlchemy's selectinload)"
        }
    });
    match c.code.is_empty() {
        true => out.own("; look for the loop that runs it."),
        false => out.own("; the loop is around ").name(&c.code).own("."),
    }
}

fn slow_query(c: &Contributor) -> Prose {
    let system = c.system.to_ascii_lowercase();
    let plan = match system.as_str() {
        "postgresql" => "EXPLAIN (ANALYZE, BUFFERS)",
        "mysql" | "mariadb" => "EXPLAIN ANALYZE",
        "sqlite" => "EXPLAIN QUERY PLAN",
        "mongodb" => "explain(\"executionStats\")",
        "microsoft.sql_server" | "mssql" => "SET STATISTICS XML ON",
        "oracle.db" | "oracle" => "DBMS_XPLAN.DISPLAY_CURSOR",
        _ => "",
    };
    match (c.category, plan) {
        (Category::Search, _) => "Profile this search in the search engine; narrow its filters, and fetch fewer fields and hits.".into(),
        (Category::Cache, _) => "See what makes this command slow: large values, a scan over many keys, or a busy cache server.".into(),
        (_, "") => "Look at its plan: a scan of the whole table wants an index on the columns that it filters and sorts by; else fetch fewer rows.".into(),
        (_, plan) => Prose::new().own(format!(
            "Look at its plan with {plan}: a scan of the whole table wants an index on the columns that it filters and sorts by. If the plan is good, look for locks, or fetch fewer rows."
        )),
    }
}

fn queueing(finding: &Finding) -> Prose {
    let out = Prose::from("Requests wait for their turn (").name(contributor_name(&finding.contributor));
    let known = finding.related.first().zip(finding.evidence.get("turn_share"));
    let out = match known {
        None => out.own("). Shorten the work that holds up the others, or let more of it"),
        Some((who, share)) => out
            .own("). Who has it is in ")
            .name(contributor_name(who))
            .own(format!(" for {} of that time: shorten this, or let more", percent(*share))),
    };
    out.own(" go on at once: more workers, finer locks, larger limits.")
}

fn many_of_one(statement: &Contributor) -> Prose {
    Prose::from("Nearly all are ").name(contributor_name(statement)).own(
        ", many of them at once: fetch all rows with one statement (a join, WHERE … IN (…), the ORM's eager loading, a data loader).",
    )
}

/// Own time of a service that records none of its calls.
fn unrecorded(c: &Contributor) -> Prose {
    let service = if c.service.is_empty() { "the service" } else { &c.service };
    let out = Prose::from("What takes so long here is not known, because ").short_name(service, 32).own(
        " records no call to a database or another service: instrument its clients and drivers, and run again. If it makes no calls in this time, profile its code under this load",
    );
    match c.code.is_empty() {
        true => out.own("."),
        false => out.own(", starting at ").name(&c.code).own("."),
    }
}

fn idle_code(c: &Contributor) -> Prose {
    let out = Prose::from(
        "It does not compute in this time: it waits for a call, a lock or a timer that no span records. Give the calls that it makes spans of their own (of kind client, with the conventions' attributes)",
    );
    match c.code.is_empty() {
        true => out.own(", and run again."),
        false => out.own(", starting at ").name(&c.code).own(", and run again."),
    }
}

fn slow_code(c: &Contributor) -> Prose {
    let out = Prose::from("The time is in ");
    let out = if c.service.is_empty() {
        out.own("the service's")
    } else {
        out.short_name(&c.service, 32).own("'s")
    };
    let out = out.own(" own code, under no finer span: it computes, or waits for what no span records (mail, files, a lock, a client that is not instrumented). Profile it under this load");
    match c.code.is_empty() {
        true => out.own(", or put spans around its parts to see which one it is."),
        false => out.own(", starting at ").name(&c.code).own(", or put spans around its parts."),
    }
}

fn slow_pages(c: &Contributor) -> Prose {
    Prose::from("Most pages of ").short_name(if c.service.is_empty() { "the service" } else { &c.service }, 32).own(
        " take about as long in code of their own, so look first at what all of them go through: middleware, sessions, templates, serialisation, a debug mode, too few cores. Profile this one under this load.",
    )
}

/// How large the answers are, where it is known.
fn size_of_answers(finding: &Finding) -> Prose {
    let size = finding.evidence.iter().find(|(key, _)| **key == "answer_bytes");
    match size.map(|(_, value)| number::bytes(*value)) {
        Some(size) => Prose::new().own(format!("An answer has {size} on average. ")),
        None => Prose::new(),
    }
}

fn uncompressed(finding: &Finding) -> Prose {
    size_of_answers(finding).own(
        "It is a text, and the client offered to take it compressed: compress it (in the proxy before the service, or in a middleware; files once, beforehand). Text usually becomes a fifth or less. Then see whether all of its fields are needed.",
    )
}

fn large_payload(finding: &Finding) -> Prose {
    let out = size_of_answers(finding);
    // Never what is done already.
    match finding.evidence.contains_key("decompressed_bytes") {
        true => out.own("It is compressed already: return fewer fields, or a page at a time."),
        false => out.own("Return fewer fields or a page at a time, or compress it."),
    }
}

fn slow_way(finding: &Finding) -> Prose {
    let least = finding.number("at_least_ms");
    Prose::from(format!(
        "Every statement takes {} at least, whatever it asks, so it is not the statements: look at the way to the database first (another zone, a proxy or pooler, a connection for each statement), then whether the database has a free core. Until then each statement less counts.",
        number::ms_unit(least)
    ))
}

fn slow_network(finding: &Finding) -> Prose {
    let c = &finding.contributor;
    let side = if c.service.is_empty() {
        Prose::from("the client")
    } else {
        Prose::new().short_name(&c.service, 32)
    };
    let out = Prose::from("This is time that ").then(side).own(" waited while the callee had no span open");
    // No advice to look where the numbers say that it is not.
    match finding.confidence {
        Confidence::Inferred(Doubt::NotByNumber) => out.own(
            ". It does not grow with the number of requests that are there, so look at the way first: a proxy or load balancer between, or a line that is slow at times.",
        ),
        _ => out.own(": a full accept queue or too few workers there, a proxy between, or a slow line. Compare with the callee's busy workers first."),
    }
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
