//! What the analysis had to repair or doubts, as sentences.

use super::{Message, sentence, verdict};
use crate::analysis::result::{Note, Opaque};
use crate::record::{RunState, StepId, WaitEnd};
use crate::report::number::{counted, nanos, part_of, percent};
use crate::report::prose::Prose;
use crate::report::view::View;

/// Orphans above this share of all spans are more than the usual noise of sampling and lost batches.
const MANY: f64 = 0.05;

/// One note as a message.
pub fn message(note: &Note, view: &View) -> Message {
    let spans = |n: u64| counted(n, "span", "spans");
    match note {
        Note::LowCoverage { joined, traced } => low_coverage(*joined, *traced, view),
        Note::Orphans(n) => orphans(*n, view),
        Note::Duplicates(n) => Message::note(format!("{} came twice and {} counted once.", spans(*n), was(*n))),
        Note::Foreign(n) => Message::note(format!(
            "{} {} to traces that this run did not start and {} left out.",
            spans(*n),
            if *n == 1 { "belongs" } else { "belong" },
            was(*n)
        )),
        Note::ClockSkew { spans: n, max } => Message::note(format!(
            "{} moved by up to {}, because the clocks of client and server disagree; durations are as measured.",
            format_args!("{} {}", spans(*n), was(*n)),
            nanos(*max)
        )),
        Note::NegativeDuration(n) => {
            Message::note(format!("{} ended before the start and {} taken as empty.", spans(*n), was(*n)))
        }
        Note::Cycles(n) => Message::note(format!(
            "In {} the parents of spans form a circle; it was cut.",
            counted(*n, "trace", "traces")
        )),
        Note::GeneratorLate { share } => Message::warning(format!(
            "The load generator was late: {} of the latency is waiting to be sent, so the numbers are not the service's alone.",
            percent(*share)
        ))
        .instead(format!("{}.", sentence(&verdict::generator_way_out(view)))),
        Note::GeneratorLimited(limit) => Message::warning(format!(
            "The generator was the bottleneck: {}.",
            verdict::generator_limit(*limit, view)
        ))
        .instead(format!("{}.", sentence(&verdict::generator_limit_way_out(*limit, view)))),
        Note::BusyMachine { share } => Message::warning(format!(
            "This machine had no free core: hotspan waited for one in {} of the time in which it wanted to run, and a service on the same machine did so too. Times hold those waits.",
            percent(*share)
        ))
        .instead("Run the service, or what else is busy here, on another machine, or load it less."),
        Note::SdkDropped(n) => Message::warning(format!(
            "SDK limits cut attributes, events or links from {}; statements or addresses may be missing.",
            spans(*n)
        ))
        .instead("Raise OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT and OTEL_SPAN_EVENT_COUNT_LIMIT in the service."),
        Note::NotIdentifiable { step, others, service, place, share } => {
            opaque((*step, *others), service, *place, *share, view)
        }
        Note::Sampling { known, unknown } => sampling(*known, *unknown),
    }
}

/// What spans cannot tell, and what would.
fn opaque((step, others): (StepId, u64), service: &str, place: Opaque, share: f64, view: &View) -> Message {
    let step = Prose::from(format!("{} of ", percent(share))).name(&view.step_name(step));
    let step = match others {
        0 => step,
        n => step.own(format!(", and most of {},", counted(n, "other step", "other steps"))),
    };
    match place {
        Opaque::Service => Message::warning(
            step.own(" is in ").name(service).own(
                ", which records one span a request: what its code does inside is not identifiable from these spans.",
            ),
        )
        .instead("Instrument its database, cache and HTTP clients (the language's automatic instrumentation does), or put spans around its slow parts."),
        Opaque::Outside => Message::warning(
            step.own(" passed before ").name(service).own(
                " began its span or after it ended: whether wire, proxy, accept queue or middleware is not identifiable from these spans.",
            ),
        )
        .instead("Instrument the proxy before it, or start its span where the connection is accepted; its CPU and queue metrics tell the rest."),
    }
}

fn was(n: u64) -> &'static str {
    if n == 1 { "was" } else { "were" }
}

fn orphans(n: u64, view: &View) -> Message {
    let spans = view.analysis().telemetry.spans.max(1);
    let text = format!(
        "The parent of {} never came; {} placed under the nearest span that did.",
        counted(n, "span", "spans"),
        if n == 1 { "it was" } else { "they were" }
    );
    if n as f64 / spans as f64 > MANY {
        Message::warning(text)
            .instead(if view.run().sources.from_traces {
                "Part of the spans is not in the files, or was lost before they were written."
            } else {
                "Part of the services' spans is lost or sent elsewhere: see that all of them export here, and raise OTEL_BSP_MAX_QUEUE_SIZE where spans are dropped."
            })
    } else {
        Message::note(text)
    }
}

fn low_coverage(joined: u64, traced: u64, view: &View) -> Message {
    let share = if traced == 0 { 0.0 } else { joined as f64 / traced as f64 };
    let text = Prose::new().own(format!(
        "{} have server spans ({}); the rest of their time counts as untraced.",
        sentence(&part_of(joined, traced, "traced request", "traced requests")),
        percent(share)
    ));
    if view.run().sources.from_traces {
        return Message::warning(text)
            .instead("Of these requests the files hold the caller's span alone: add the files of the services that answer.");
    }
    if joined == 0 {
        return Message::warning(text).instead(capitalised(no_spans_way_out(view)).own("."));
    }
    Message::warning(text).instead(some_spans_way_out(view))
}

fn capitalised(prose: Prose) -> Prose {
    use crate::report::prose::Piece;
    let mut pieces = prose.0;
    if let Some(Piece::Own(first)) = pieces.first_mut() {
        *first = sentence(first);
    }
    Prose(pieces)
}

/// What to do where no server span was joined; a fragment without a full stop. Never the endpoint where spans do arrive.
pub fn no_spans_way_out(view: &View) -> Prose {
    let receiver = &view.run().receiver;
    let telemetry = &view.analysis().telemetry;
    if view.run().sources.from_traces {
        return "the files hold callers' spans alone; add the files of the services that answer".into();
    }
    if telemetry.traced == 0 && telemetry.exchanges > 0 {
        return "no request that was sent asked the server to record, so no span can belong to one".into();
    }
    let run = view.run();
    // Whoever waits for spans, or fetches them, says so; a run that ended as planned without either was told to.
    if run.wait.is_none()
        && run.sources.fetched.is_none()
        && run.state == RunState::Complete
        && receiver.requests == 0
    {
        return "none was asked for (--traces-from none); run without that, and let the service send its spans".into();
    }
    if let Some(service) = telemetry.services.keys().next().filter(|_| telemetry.spans_foreign > 0) {
        return Prose::new()
            .own("spans of ")
            .short_name(service, 24)
            .own(format!(" arrive, but under other trace ids; {}", let_it_continue("it", view)));
    }
    if telemetry.spans_foreign > 0 {
        return format!("spans arrive, but under other trace ids; {}", let_it_continue("the service", view))
            .into();
    }
    if receiver.bad_requests > 0 {
        return "what arrived was not OTLP; set OTEL_EXPORTER_OTLP_PROTOCOL=grpc for port 4317 or http/protobuf for port 4318".into();
    }
    if receiver.spans_rejected > 0 {
        return "all spans that arrived had invalid ids; check what stands between the service and hotspan"
            .into();
    }
    "none arrived; start the service with OpenTelemetry and OTEL_EXPORTER_OTLP_ENDPOINT set to hotspan's receiver (http://127.0.0.1:4317 unless --otlp-grpc says otherwise)".into()
}

/// How a service that begins traces of its own comes to continue the client's.
fn let_it_continue(who: &str, view: &View) -> String {
    let sent = view.run().load.propagation;
    let others = match sent.others().next() {
        Some(_) => {
            "; if it reads other headers, hotspan doctor with the URL tells which, and --propagate sends them"
        }
        None => "",
    };
    format!(
        "let {who} continue the {} (instrument its HTTP server, and have {sent} in OTEL_PROPAGATORS){others}",
        sent.headers()
    )
}

/// Steps that no span covers explain low coverage best; else late spans; else lost ones.
fn some_spans_way_out(view: &View) -> Prose {
    let dark: Vec<_> = view.steps.iter().filter(|s| s.result.exchanges > 0 && s.result.joined == 0).collect();
    if let Some(first) = dark.first() {
        let mut out = Prose::from("None came for ").name(&view.step_name(first.result.step));
        if dark.len() > 1 {
            out = out.own(format!(" and {}", counted(dark.len() as u64 - 1, "other step", "other steps")));
        }
        return out.own(": something that sends no spans answers there (a proxy, a cache, a file server).");
    }
    if view.run().wait.is_some_and(|w| w.end == WaitEnd::Deadline) {
        return "Spans still came when the wait ended: set a shorter OTEL_BSP_SCHEDULE_DELAY in the service."
            .into();
    }
    "The service drops or samples spans: raise OTEL_BSP_MAX_QUEUE_SIZE, and let its sampler follow the caller (OTEL_TRACES_SAMPLER=parentbased_always_on).".into()
}

fn sampling(known: u64, unknown: u64) -> Message {
    let text = match (known, unknown) {
        (known, 0) => format!(
            "{} sampled by the service with a known probability below one: averages rest on a part of the requests.",
            format_args!("{} {}", counted(known, "span", "spans"), was(known))
        ),
        (_, unknown) => format!(
            "{} sampled by a rule that is not known (perhaps by their duration): averages may be biased, and counts are not extrapolated.",
            format_args!("{} {}", counted(unknown, "span", "spans"), was(unknown))
        ),
    };
    Message::warning(text).instead(
        "For a load test let every service follow the caller's decision (OTEL_TRACES_SAMPLER=parentbased_always_on) and turn tail sampling off.",
    )
}
