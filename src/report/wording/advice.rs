//! What to do about a finding.

use super::finding::in_turn;
use super::{contributor_name, pool};
use crate::analysis::result::{Category, Confidence, Contributor, Doubt, Finding, FindingKind};
use crate::analysis::statement;
use crate::report::number::{self, percent};
use crate::report::prose::Prose;

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
        K::AppCpu if waits(finding) => idle_code(c),
        K::AppCpu => slow_code(c),
        K::EventLoopBlocked if c.category != Category::App => Prose::from(
            "While it waits for the answer, its process serves nobody else: the call does not give way to the event loop. Make it with an asynchronous client or driver, or in a worker thread.",
        ),
        K::EventLoopBlocked if finding.evidence.contains_key("after_answer_ms") => Prose::from(
            "It runs after its own answer, but in the event loop that serves everybody, so it delays all requests that come meanwhile. Give it to a worker process or a queue; what only waits, to a thread (Starlette and FastAPI run a background task there if it is a plain function, not an async one).",
        ),
        K::EventLoopBlocked if finding.evidence.contains_key("block_ms") => Prose::from(
            "From its first call to its last, its process serves nobody else: these calls do not give way to the event loop. Make them with an asynchronous client or driver, or let the framework run the handler in a thread (FastAPI and Starlette do so with a plain function); fewer calls hold it up for shorter.",
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

/// Columns of a statement that is to be copied.
const STATEMENT_COLUMNS: usize = 500;

/// The index to create, and what shows it.
fn missing_index(finding: &Finding) -> Prose {
    let rows = finding.evidence.get("table_rows").map_or(String::new(), |n| format!(" of {n:.0} rows"));
    let out = Prose::from(format!("Its plan reads a whole table{rows} to find a few. "));
    match finding.remedy.is_empty() {
        true if statement::matches_text(&finding.contributor.name) => out.own(WITHIN_TEXTS),
        true => out.own("Index the columns that it filters by."),
        // To be copied, so whole.
        false => out
            .short_name(&finding.remedy, STATEMENT_COLUMNS)
            .own("; then look at the plan again, and mind what the index costs writes."),
    }
}

fn slow_instance(finding: &Finding) -> Prose {
    if finding.confidence == Confidence::Inferred(Doubt::MoreRequests) {
        return Prose::new()
            .name(&finding.remedy)
            .own(" takes in more requests or serves more of the users than the others: processes that share a port get connections as they happen to accept them, and kept connections stay where they are. Spread them first (a proxy before the workers, one listener for each, connections that are closed from time to time); if it is still slower then, compare its host and its settings.");
    }
    Prose::from("Compare it with the others: its host, its neighbours, its version, its settings. It is ")
        .name(&finding.remedy)
        .own(".")
}

/// Whether it is about how a pool sees that its connections work.
pub(super) fn tests_connections(c: &Contributor) -> bool {
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

/// Whether own time is known to be waiting.
pub(super) fn waits(finding: &Finding) -> bool {
    matches!(finding.confidence, Confidence::Inferred(Doubt::Idle | Doubt::IdleProcess))
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
