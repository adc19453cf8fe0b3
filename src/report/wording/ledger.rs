//! The books of a run as sentences: what was offered, sent, received, lost, and how the wait for spans ended.

use super::{Message, sentence, verdict};
use crate::record::{RunState, WaitEnd};
use crate::report::number::{self, counted, part_of, percent, seconds};
use crate::report::prose::Prose;
use crate::report::view::View;

/// Below so many exchanges a p99 is one or two requests.
const P99_MIN: u64 = 200;
/// Changes of the load that are told; the report's JSON has all.
const CHANGES_SHOWN: usize = 8;

/// All messages that the run's own books give.
pub fn messages(view: &View) -> Vec<Message> {
    let mut out = Vec::new();
    out.extend(state(view));
    out.extend(load(view));
    receiver(view, &mut out);
    out.extend(export(view));
    out.extend(wait_warning(view));
    out.extend(sampled(view));
    out.extend(changes(view));
    out.extend(fetch_warning(view));
    out.extend(partial_warning(view));
    out
}

/// How the load was changed while it ran.
fn changes(view: &View) -> Option<Message> {
    let changes = &view.run().load.changes;
    let words: Vec<String> =
        changes.iter().take(CHANGES_SHOWN).map(|c| format!("{} after {}", c.what, seconds(c.at))).collect();
    let more = changes.len().saturating_sub(CHANGES_SHOWN);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    (!words.is_empty())
        .then(|| Message::note(format!("The load was changed while it ran: {}{more}.", words.join(", "))))
}

/// What the search for the capacity found.
fn capacity(view: &View) -> Option<String> {
    let search = view.run().load.search.as_ref()?;
    let rate = |r: f64| format!("{}/s", number::rate(r));
    let mut text = match (search.capacity_per_s(), search.holds_per_s, search.breaks_per_s) {
        (Some(capacity), Some(holds), Some(breaks)) => {
            format!("{}: {} holds, {} does not", rate(capacity), rate(holds), rate(breaks))
        }
        (_, Some(holds), None) => format!("at least {}, the highest rate that was tried", rate(holds)),
        (_, None, Some(breaks)) => format!("below {}: no rate that was tried holds", rate(breaks)),
        _ => "not found".to_owned(),
    };
    if let Some(why) = search.broke_by() {
        text.push_str(&format!(" ({why})"));
    }
    text.push_str(&format!(", by {}", counted(search.probes.len() as u64, "probe", "probes")));
    if let Some(why) = &search.cut_short {
        text.push_str(&format!("; the search was cut short: {why}"));
    }
    Some(text)
}

/// What full tracing costs the service.
fn trace_cost(view: &View) -> Option<String> {
    view.run().load.trace_stretch?;
    let Some(cost) = view.run().load.trace_cost.as_ref() else {
        return Some("what it costs cannot be told: too few requests in too few stretches".to_owned());
    };
    let change = |r: crate::record::Ratio| {
        let percent = |ratio: f64| format!("{:+.1}", 100.0 * (ratio - 1.0));
        let sure = r.low > 1.0 || r.high < 1.0;
        let doubt = if sure { "" } else { ", so none is proven" };
        format!("{} % ({} to {}{doubt})", percent(r.value), percent(r.low), percent(r.high))
    };
    let rate = if view.run().load.open_model {
        String::new()
    } else {
        format!(", requests per second {}", change(cost.rate))
    };
    Some(format!(
        "full tracing changes p50 by {}, p95 by {}{rate}; {} of {} each",
        change(cost.p50),
        change(cost.p95),
        counted(u64::from(cost.pairs), "pair of stretches", "pairs of stretches"),
        seconds(cost.stretch)
    ))
}

/// What blame stands on where only a sample was recorded.
fn sampled(view: &View) -> Option<Message> {
    let telemetry = &view.analysis().telemetry;
    let stands_for: u64 = view.steps.iter().map(|s| s.result.joined_weight).sum();
    (stands_for > telemetry.joined).then(|| {
        Message::note(format!(
            "hotspan asked for {} to be recorded; blame counts each of those for as many like it as were not. Latency and errors are those of all requests.",
            part_of(telemetry.traced, telemetry.exchanges, "request", "requests")
        ))
    })
}

fn state(view: &View) -> Option<Message> {
    let run = view.run();
    let planned =
        if run.load.planned.0 > 0 { format!(" of {}", seconds(run.load.planned)) } else { String::new() };
    let after = format!("{}{planned}", seconds(view.analysis().load.duration));
    match run.state {
        RunState::Complete => None,
        RunState::Running => Some(Message::warning(format!(
            "This run has no end: hotspan was killed while it ran. The report covers what was on disk, {after}."
        ))),
        RunState::Interrupted => Some(Message::warning(format!(
            "The run was stopped by the user after {after}; the report covers that part."
        ))),
        RunState::Aborted => Some(Message::warning(format!(
            "hotspan ended the run after {after}, because it made no sense to go on; the report covers that part."
        ))),
    }
}

fn load(view: &View) -> Option<Message> {
    let load = &view.run().load;
    (load.not_sent > 0).then(|| {
        Message::warning(format!(
            "{} that were due {} never sent, so the service had less load than was asked for.",
            sentence(&part_of(load.not_sent, load.offered, "request", "requests")),
            if load.not_sent == 1 { "was" } else { "were" },
        ))
        .instead(format!("{}.", sentence(&verdict::generator_way_out(view))))
    })
}

fn receiver(view: &View, out: &mut Vec<Message>) {
    let facts = &view.run().receiver;
    // What came when the run's wait for spans had ended was no fault of the disk.
    let late = facts.dropped_at_end.min(facts.spans_dropped);
    if late > 0 {
        out.push(
            Message::warning(format!(
                "{} received came too late to be kept: the run's wait for spans had ended.",
                sentence(&part_of(late, facts.spans_received, "span", "spans"))
            ))
            .instead("Wait longer for them with --wait."),
        );
    }
    let unwritten = facts.spans_dropped - late;
    if unwritten > 0 {
        out.push(
            Message::warning(format!(
                "hotspan lost {} received, because they could not be written.",
                part_of(unwritten, facts.spans_received, "span", "spans")
            ))
            .instead("Free space on the disk of the run folder, or name another with --out."),
        );
    }
    if facts.spans_rejected > 0 {
        out.push(Message::warning(format!(
            "{} refused, because the trace or span id is not valid; the sender was told.",
            format_args!(
                "{} {}",
                counted(facts.spans_rejected, "span", "spans"),
                if facts.spans_rejected == 1 { "was" } else { "were" }
            )
        )));
    }
    if facts.bad_requests > 0 {
        out.push(
            Message::warning(format!(
                "{} to the receiver {} not OTLP.",
                counted(facts.bad_requests, "request", "requests"),
                if facts.bad_requests == 1 { "was" } else { "were" }
            ))
            .instead("gRPC goes to the port of --otlp-grpc (4317), protobuf and JSON over HTTP to that of --otlp-http (4318)."),
        );
    }
    if facts.forward_dropped > 0 {
        out.push(
            Message::warning(format!(
                "{} could not be handed on; hotspan's own copy is complete.",
                sentence(&part_of(
                    facts.forward_dropped,
                    facts.forwarded + facts.forward_dropped,
                    "span",
                    "spans"
                ))
            ))
            .instead("Check that the address of --forward takes OTLP."),
        );
    }
}

fn export(view: &View) -> Option<Message> {
    let facts = &view.run().export;
    let endpoint = facts.endpoint.as_deref()?;
    let reason = |text: Prose| match &facts.last_error {
        Some(error) => text.own(": ").foreign(error).own("."),
        None => text.own("."),
    };
    if facts.spans_dropped > 0 {
        let text = Prose::new()
            .own(format!(
                "{} did not reach ",
                sentence(&part_of(facts.spans_dropped, facts.spans_offered, "client span", "client spans"))
            ))
            .name(endpoint);
        let out = Message::warning(reason(text));
        return Some(out.instead("The report does not need them; traces there lack their first span."));
    }
    facts.last_error.as_ref().map(|_| {
        let text =
            Prose::from("All client spans reached ").name(endpoint).own(", after an export that failed");
        Message::note(reason(text))
    })
}

fn wait_warning(view: &View) -> Option<Message> {
    let wait = view.run().wait.as_ref()?;
    let missing = wait.traced.saturating_sub(wait.joined);
    match wait.end {
        WaitEnd::Deadline if missing > 0 => Some(Message::warning(format!(
            "Spans still came when the wait for them ended after {}; {} had no server span by then.",
            seconds(wait.waited),
            counted(missing, "request", "requests")
        ))),
        WaitEnd::Interrupted if missing > 0 => Some(Message::warning(format!(
            "The wait for late spans was cut short after {}; {} had no server span by then.",
            seconds(wait.waited),
            counted(missing, "request", "requests")
        ))),
        WaitEnd::Complete | WaitEnd::Quiet | WaitEnd::Deadline | WaitEnd::Interrupted => None,
    }
}

/// How the wait for late spans ended, as a fact.
pub fn wait(view: &View) -> Option<String> {
    let wait = view.run().wait.as_ref()?;
    let why = match wait.end {
        WaitEnd::Complete => "every traced request had its server span",
        WaitEnd::Quiet => "nothing more came",
        WaitEnd::Deadline => "the time limit was reached",
        WaitEnd::Interrupted => "it was cut short by the user",
    };
    Some(format!("{} for late spans, until {why}", seconds(wait.waited)))
}

/// What was joined, as a fact.
pub fn joined(view: &View) -> String {
    let telemetry = &view.analysis().telemetry;
    if view.run().sources.from_traces {
        return of_traces(view);
    }
    let mut out = if telemetry.traced == 0 {
        "no request was traced".to_owned()
    } else {
        format!(
            "{} have server spans ({})",
            part_of(telemetry.joined, telemetry.traced, "traced request", "traced requests"),
            percent(telemetry.coverage())
        )
    };
    if telemetry.traced > 0 && telemetry.traced < telemetry.exchanges {
        out.push_str(&format!("; {} in all", counted(telemetry.exchanges, "request", "requests")));
    }
    if let Some(cover) = view.span_cover() {
        out.push_str(&format!("; spans cover {} of their time", percent(cover)));
    }
    out
}

/// What traces without a load run hold, as a fact.
fn of_traces(view: &View) -> String {
    let telemetry = &view.analysis().telemetry;
    let mut out = format!(
        "{} in {}",
        counted(telemetry.spans, "span", "spans"),
        counted(telemetry.exchanges, "request", "requests")
    );
    let alone = telemetry.exchanges.saturating_sub(telemetry.joined);
    if alone > 0 {
        out.push_str(&format!(
            "; of {} only the client's span is there",
            part_of(alone, telemetry.exchanges, "request", "requests")
        ));
    }
    if let Some(cover) = view.span_cover() {
        out.push_str(&format!("; spans cover {} of their time", percent(cover)));
    }
    out
}

/// What a backend was asked for and gave, as a fact.
pub fn fetched(view: &View) -> Option<Prose> {
    let facts = view.run().sources.fetched.as_ref()?;
    let repeated = if facts.retries > 0 {
        format!(", {} of them again", counted(facts.retries, "request", "requests"))
    } else {
        String::new()
    };
    Some(
        Prose::new()
            .own(format!("{} from ", part_of(facts.found, facts.asked, "trace", "traces")))
            .name(&facts.source)
            .own(if facts.partial > 0 {
                format!(", {} of them in part", number::count(facts.partial))
            } else {
                String::new()
            })
            .own(format!(
                ", {} in {} ({}{repeated})",
                counted(facts.spans, "span", "spans"),
                seconds(facts.took),
                counted(facts.requests, "request", "requests"),
            )),
    )
}

/// Traces that a backend was asked for and did not have.
fn fetch_warning(view: &View) -> Option<Message> {
    let facts = view.run().sources.fetched.as_ref()?;
    let missing = facts.asked.saturating_sub(facts.found);
    if missing == 0 && facts.problem.is_none() {
        return None;
    }
    let mut text = Prose::new();
    if missing > 0 {
        text = text
            .own(format!(
                "{} {} not in ",
                sentence(&part_of(
                    missing,
                    facts.asked,
                    "trace that was asked for",
                    "traces that were asked for"
                )),
                if missing == 1 { "is" } else { "are" }
            ))
            .name(&facts.source);
    } else {
        text = text.own("A request to ").name(&facts.source).own(" failed");
    }
    text = match &facts.problem {
        Some(problem) => text.own("; the last request that failed: ").foreign(problem).own("."),
        None => text.own("."),
    };
    let advice = match (facts.problem.is_some(), facts.found) {
        (true, _) => {
            "When the backend answers again, hotspan analyze with the run folder and the same --traces-from fetches what is missing.".to_owned()
        }
        (false, 0) => {
            format!(
                "See that the service exports to this backend and continues the {} (hotspan doctor with the URL tells what it reads), and that the tenant and the URL are right; traces that come later are fetched by hotspan analyze with the run folder and --traces-from.",
                view.run().load.propagation.headers()
            )
        }
        (false, _) => {
            "The backend's sampler dropped them, or they come later: let sampling follow the caller (OTEL_TRACES_SAMPLER=parentbased_always_on, no tail sampling), or fetch again with hotspan analyze, the run folder and --traces-from.".to_owned()
        }
    };
    Some(Message::warning(text).instead(advice))
}

/// Traces that a backend gave in part.
fn partial_warning(view: &View) -> Option<Message> {
    let facts = view.run().sources.fetched.as_ref().filter(|facts| facts.partial > 0)?;
    let mut text = Prose::new()
        .own(format!(
            "{} came in part from ",
            sentence(&part_of(facts.partial, facts.found, "trace", "traces"))
        ))
        .name(&facts.source);
    text = match facts.partial_reason.as_deref().filter(|why| !why.is_empty()) {
        Some(why) => text.own(", which says: ").foreign(why).own("."),
        None => text.own(", which says no more than that."),
    };
    Some(Message::warning(text).instead(
        "What the missing spans took is told as time of those above them. Raise the backend's limit of a trace's size (Tempo: max_bytes_per_trace), or let the service record fewer spans.",
    ))
}

/// Which services sent spans, largest first.
pub fn services(view: &View) -> Option<Prose> {
    let mut services: Vec<_> = view.analysis().telemetry.services.iter().collect();
    services.sort_by(|a, b| b.1.cmp(a.1).then_with(|| a.0.cmp(b.0)));
    let more = services.len().saturating_sub(6);
    let mut out = Prose::new();
    for (i, (name, spans)) in services.iter().take(6).enumerate() {
        out = out.own(if i > 0 { ", " } else { "" }).short_name(name, 32);
        out = out.own(format!(" {}", counted(**spans, "span", "spans")));
    }
    if more > 0 {
        out = out.own(format!(" and {}", counted(more as u64, "more", "more")));
    }
    (!services.is_empty()).then_some(out)
}

/// What was sent out over OTLP, as a fact.
pub fn exported(view: &View) -> Option<Prose> {
    let facts = &view.run().export;
    let endpoint = facts.endpoint.as_deref()?;
    let lost = if facts.spans_dropped == 0 { ", none lost".to_owned() } else { String::new() };
    Some(
        Prose::new()
            .own(format!("{} to ", counted(facts.spans_sent, "client span", "client spans")))
            .name(endpoint)
            .own(lost),
    )
}

/// Steps whose p99 rests on too few requests.
pub fn small_samples(view: &View) -> Option<Message> {
    let few: Vec<_> = view.steps.iter().filter(|s| (1..P99_MIN).contains(&s.result.exchanges)).collect();
    let first = few.first()?;
    let mut text = Prose::from("The p99 of ").name(&view.step_name(first.result.step));
    if few.len() > 1 {
        text = text.own(format!(" and {}", counted(few.len() as u64 - 1, "other step", "other steps")));
    }
    let least = few.iter().map(|s| s.result.exchanges).min().unwrap_or(0);
    let n = if few.len() > 1 {
        format!("as few as {}", counted(least, "request", "requests"))
    } else {
        counted(least, "request", "requests")
    };
    Some(Message::note(text.own(format!(" rests on {n}; run longer to trust it."))))
}

/// `shop at http://127.0.0.1:8080, 20 users, 30 s, from 2026-11-24 15:03:12 UTC`.
pub fn run(view: &View) -> Prose {
    let run = view.run();
    let mut out = match run.sources.from_traces {
        true => Prose::from("traces of ").name(&run.target),
        false => Prose::new().name(&run.name).own(" at ").name(&run.target),
    };
    if run.load.users_max > 0 {
        let (one, many) =
            if run.load.open_model { ("request at once", "requests at once") } else { ("user", "users") };
        let most = if run.load.open_model { "at most " } else { "" };
        out = out.own(format!(", {most}{}", number::counted(u64::from(run.load.users_max), one, many)));
    }
    let started = number::rfc3339(run.started_at);
    let started = started.get(..19).unwrap_or(&started).replace('T', &number::NBSP.to_string());
    out.own(format!(", {} from {started}{}UTC", number::seconds(view.analysis().load.duration), number::NBSP))
}

/// `12,345 requests (411/s), no errors; 99.8 % of the traced ones have server spans`.
pub fn totals(view: &View) -> Prose {
    let (exchanges, errors) = view.totals();
    let mut out = number::counted(exchanges, "request", "requests");
    // One request has no rate.
    if view.seconds > 0.0 && exchanges > 1 {
        out.push_str(&format!(" ({}/s)", number::rate(exchanges as f64 / view.seconds)));
    }
    out.push_str(&match errors {
        0 => ", no errors".to_owned(),
        n => format!(
            ", {} ({})",
            number::counted(n, "error", "errors"),
            number::percent(n as f64 / exchanges.max(1) as f64)
        ),
    });
    if view.analysis().telemetry.traced > 0 && !view.run().sources.from_traces {
        out.push_str(&format!("; {} joined with server spans", number::percent(view.coverage())));
    }
    out.into()
}

/// Labels and sentences, for terminal and Markdown.
pub fn facts(view: &View) -> Vec<(&'static str, Prose)> {
    let mut out = vec![("joined", Prose::from(joined(view)))];
    out.extend(services(view).map(|s| ("services", s)));
    out.extend(gaps(view).map(|g| ("gaps", g.into())));
    out.extend(fetched(view).map(|f| ("fetched", f)));
    out.extend(wait(view).map(|w| ("waited", w.into())));
    out.extend(exported(view).map(|e| ("exported", e)));
    out.extend(generator(view).map(|l| ("load", l.into())));
    out.extend(capacity(view).map(|c| ("capacity", c.into())));
    out.extend(trace_cost(view).map(|c| ("tracing", c.into())));
    out
}

/// What spans should say and do not.
fn gaps(view: &View) -> Option<String> {
    let gaps = &view.analysis().telemetry.gaps;
    let part = |n: u64, of: u64, one, many, what: &str| {
        (n > 0).then(|| format!("{} {what}", part_of(n, of, one, many)))
    };
    let exchanges = view.analysis().telemetry.joined;
    let words: Vec<String> = [
        part(gaps.without_statement, gaps.database, "database call", "database calls", "without a statement"),
        part(gaps.without_peer, gaps.external, "call to others", "calls to others", "without a peer"),
        part(
            gaps.incomplete,
            exchanges,
            "joined request",
            "joined requests",
            "with a span whose parent never came",
        ),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// What hotspan itself did: rate, delay, CPU.
fn generator(view: &View) -> Option<String> {
    if view.run().sources.from_traces {
        return None;
    }
    let delay = &view.analysis().load.schedule_delay;
    let mut words = Vec::new();
    if let (Some(offered), Some(achieved)) = (view.offered_per_s(), view.achieved_per_s()) {
        words.push(match view.run().load.open_model {
            true => format!("{}/s were due, {}/s sent", number::rate(offered), number::rate(achieved)),
            false => format!("{}/s sent", number::rate(achieved)),
        });
    }
    if view.run().load.open_model && !delay.is_empty() {
        words.push(format!("sent {} late at p99", number::nanos(delay.quantile(0.99))));
    }
    if let Some(cpu) = view.generator_cpu_share() {
        let cores = number::counted(u64::from(view.run().load.threads), "core", "cores");
        words.push(format!("hotspan used {} of {cores}", number::percent(cpu)));
    }
    (!words.is_empty()).then(|| words.join(", "))
}

/// The run folder and what is in it.
pub fn files(view: &View) -> Prose {
    if view.run().sources.from_traces {
        return Prose::from("Made from traces alone: the root span of each stands for the request. Where --out DIR keeps it, it is the run folder ")
            .short_name(&view.run().id, 80)
            .own(", which hotspan report and hotspan compare read.");
    }
    Prose::from("Run folder ").short_name(&view.run().id, 80).own(
        ": report.html (for a browser, with pictures), report.json and report.md hold this report, exchanges/ and spans/ what it was made from; hotspan analyze makes it again.",
    )
}
