//! Does the context reach every hop, and is its flag kept?

use super::sketch::{Known, Sketch, peer_and_port};
use super::{Exam, Point, Probe, Topic, count, listed};
use crate::analysis::analyzer;
use crate::analysis::result::Category;
use crate::record::{KeptSpan, Propagation, Propagator, SpanKind};
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn arrival(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    if sketch.exam.spans.is_empty() {
        points.push(Point::fault(
            Topic::Arrival,
            "No span came.".into(),
            "All time would be `untraced`.",
            "Let the service export OTLP to hotspan (OTEL_TRACES_EXPORTER=otlp, OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318, \
             or a Collector that hands on to it), and check that its SDK is started and not sampled off.",
        ));
    } else if sketch.ours.is_empty() {
        let services = sketch.exam.spans.iter().map(|(span, _)| span.service().to_owned()).collect();
        points.push(Point::good(
            Topic::Arrival,
            format!("Spans come ({} of them, from {}).", sketch.exam.spans.len(), listed(services)),
        ));
    } else {
        points.push(Point::good(
            Topic::Arrival,
            format!(
                "Spans come: {} of {} for {}.",
                count(sketch.ours.len(), "span"),
                listed(sketch.services()),
                count(sketch.exam.probes.len(), "request")
            ),
        ));
    }
}

pub(super) fn continued(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let sampled = sketch.exam.probes.iter().filter(|p| p.sampled).count();
    if sampled == 0 {
        return;
    }
    if !sketch.joined.is_empty() {
        let entered: BTreeSet<_> = sketch.entries().map(|known| known.span.trace_id).collect();
        if entered.is_empty() {
            points.push(Point::hint(
                Topic::Context,
                "The service continues the trace, but the span that answers the client never came.".into(),
                "What lies between the client and the first span is `network`.",
                "Something in front (a proxy, a gateway, a mesh) takes part in the trace without exporting its spans here: let it \
                 export them to the same place.",
            ));
        } else {
            points.push(Point::good(Topic::Context, "The service continues the caller's trace.".into()));
        }
        return;
    }
    if let Some(point) = read_otherwise(sketch.exam) {
        points.push(point);
        return;
    }
    let own: Vec<&&KeptSpan> = sketch.strays.iter().filter(|s| s.kind == SpanKind::Server).collect();
    if own.is_empty() {
        points.push(Point::fault(
            Topic::Context,
            format!("Spans came, but none for the {}.", count(sampled, "request")),
            "All time would be `untraced`.",
            &format!(
                "Check that the requests reach the instrumented service, and that its sampler records requests whose caller asks \
                 for it (OTEL_TRACES_SAMPLER=parentbased_always_on). {}",
                other_headers(sketch.exam)
            ),
        ));
        return;
    }
    let services = listed(own.iter().map(|span| span.service().to_owned()).collect());
    points.push(Point::fault(
        Topic::Context,
        format!("{services} does not continue the caller's trace: it begins a trace of its own for each request."),
        "No request can be joined with its spans: all time would be `untraced`.",
        &format!(
            "Let it read the {} (OTEL_PROPAGATORS={},baggage), and check that no proxy in front removes it. {}",
            sketch.exam.sent.headers(),
            sketch.exam.sent,
            other_headers(sketch.exam)
        ),
    ));
}

/// A service that reads headers which were only tried.
fn read_otherwise(exam: &Exam) -> Option<Point> {
    let answers = |probe: &Probe| {
        let (trace, span) = (probe.trace_id, probe.span_id);
        let entered = move |s: &&KeptSpan| s.trace_id == trace && s.parent_id == Some(span);
        exam.spans.iter().map(|(span, _)| span).filter(entered)
    };
    let mut read: Vec<Propagator> = Vec::new();
    let mut services = Vec::new();
    for (propagator, probe) in &exam.tried {
        let before = services.len();
        services.extend(answers(probe).map(|span| span.service().to_owned()));
        if services.len() > before && !read.contains(propagator) {
            read.push(*propagator);
        }
    }
    let first = *read.first()?;
    let all = Propagation::of(exam.sent.propagators().chain([first])).unwrap_or_default();
    let names: Vec<&str> = all.propagators().map(Propagator::name).collect();
    let others: Vec<&str> = read[1..].iter().map(|propagator| propagator.headers()).collect();
    let others = if others.is_empty() { String::new() } else { format!(", and also {}", others.join(", ")) };
    Some(Point::fault(
        Topic::Context,
        format!(
            "{} does not continue the caller's trace by the {}. It reads {}{others}.",
            listed(services),
            exam.sent.headers(),
            first.headers()
        ),
        "Without that no request can be joined with its spans: all time would be `untraced`.",
        &format!(
            "Let hotspan send it: `trace: {{propagate: [{}]}}` in the scenario, or --propagate {all} (also of the doctor, which \
             then looks at all else).",
            names.join(", ")
        ),
    ))
}

/// What is to be said of other headers, where nothing was joined by those that were sent.
fn other_headers(exam: &Exam) -> String {
    let others = Propagation::of(exam.sent.others());
    match others {
        None => "No other headers are known that it could read.".into(),
        Some(others) if exam.tried.is_empty() => format!(
            "If it reads other headers ({}), `hotspan doctor` tells which, and --propagate sends them.",
            others.fields().map(|field| field.name).collect::<Vec<_>>().join(", ")
        ),
        Some(others) => format!("The {} were tried, too: it reads none of them.", others.headers()),
    }
}

pub(super) fn sampling(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let probes = &sketch.exam.probes;
    let sampled = probes.iter().filter(|p| p.sampled).count();
    let joined = sketch.joined.len();
    if joined > 0 && joined < sampled {
        points.push(Point::fault(
            Topic::Sampling,
            format!("Only {joined} of {sampled} requests that asked to be recorded were."),
            "The others would be `untraced`, and averages would be those of a sample that somebody else drew.",
            "Let the caller's flag decide (OTEL_TRACES_SAMPLER=parentbased_always_on; a ratio belongs to the root, here hotspan's \
             own), and do not sample in the Collector on the way to hotspan.",
        ));
    }
    let unsampled: Vec<_> = probes.iter().filter(|p| !p.sampled).collect();
    let recorded: BTreeSet<_> =
        sketch.ours.iter().filter(|known| !known.probe.sampled).map(|known| known.span.trace_id).collect();
    if !recorded.is_empty() {
        points.push(Point::hint(
            Topic::Sampling,
            format!(
                "{} of {} requests that asked not to be recorded were recorded all the same.",
                recorded.len(),
                unsampled.len()
            ),
            "Tracing only a share of the load would not make tracing cheaper.",
            "Let the caller's flag decide: OTEL_TRACES_SAMPLER=parentbased_always_on.",
        ));
    } else if joined == sampled && sampled > 0 && !unsampled.is_empty() {
        points.push(Point::good(
            Topic::Sampling,
            "The sampled flag is kept: what asks to be recorded is, what asks not to be is not.".into(),
        ));
    }
    let thinned = sketch.ours.iter().filter(|known| thinned(known)).count();
    if thinned > 0 {
        points.push(Point::hint(
            Topic::Sampling,
            format!("{} from a sampler that keeps a share (`ot=th` in tracestate).", count(thinned, "span")),
            "Counts would be those of the share that was kept.",
            "Let the caller's flag decide: OTEL_TRACES_SAMPLER=parentbased_always_on.",
        ));
    }
}

/// Whether more was dropped than hotspan itself asked for.
fn thinned(known: &Known<'_>) -> bool {
    analyzer::sampling(&known.span.trace_state, known.probe.threshold) == Some(true)
}

/// Where does the context get lost between services?
pub(super) fn hops(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let before = points.len();
    lost(sketch, points);
    half_answered(sketch, points);
    orphans(sketch, points);
    let services = sketch.services().len();
    if points.len() == before && services > 1 {
        points.push(Point::good(Topic::Hops, format!("The context reaches all {services} services.")));
    }
}

/// Traces of their own that another service began while one of ours waited.
fn lost(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let entries: BTreeSet<&str> = sketch.entries().map(|known| known.span.service()).collect();
    let mut pairs: BTreeMap<(String, String), usize> = BTreeMap::new();
    for stray in &sketch.strays {
        let called = matches!(stray.kind, SpanKind::Server | SpanKind::Consumer);
        if !called || entries.contains(stray.service()) {
            continue;
        }
        let caller = sketch
            .ours
            .iter()
            .filter(|known| known.span.start <= stray.start && stray.end <= known.span.end)
            .filter(|known| known.span.service() != stray.service())
            // The shortest that contains it: the call, where it is instrumented, else what made it.
            .min_by_key(|known| known.span.end.since(known.span.start));
        if let Some(caller) = caller {
            let key = (caller.span.service().to_owned(), stray.service().to_owned());
            *pairs.entry(key).or_default() += 1;
        }
    }
    for ((from, to), times) in pairs {
        points.push(Point::fault(
            Topic::Hops,
            format!("The context is lost between {from} and {to}: {to} began {} of its own meanwhile.", count(times, "trace")),
            &format!("The time in {to} would be time of {from}'s call to something unknown."),
            &format!(
                "Instrument the client that {from} calls {to} with, so that it sends headers that {to} reads (the OTEL_PROPAGATORS \
                 of both have one in common), and check what lies between them: gateways, queues."
            ),
        ));
    }
}

/// Calls to a traced service that are answered by its span only now and then.
fn half_answered(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let mut calls: BTreeMap<(&str, String), (usize, BTreeSet<&str>, usize)> = BTreeMap::new();
    for call in sketch.calls().filter(|k| k.span.kind == SpanKind::Client && k.category == Category::External)
    {
        let answered = sketch.children(call).find(|child| child.span.service() != call.span.service());
        let seen = calls.entry((call.span.service(), peer_and_port(call.span))).or_default();
        seen.0 += 1;
        if let Some(answer) = answered {
            seen.1.insert(answer.span.service());
            seen.2 += 1;
        }
    }
    for ((from, peer), (all, to, answered)) in calls {
        if answered > 0 && answered < all {
            let to = listed(to.into_iter().map(str::to_owned).collect());
            points.push(Point::fault(
                Topic::Hops,
                format!("Of {all} calls of {from} to {peer} only {answered} have a span of {to}."),
                &format!("The time in {to} would be told from a part of the calls."),
                &format!(
                    "Let {to} follow the caller's flag (OTEL_TRACES_SAMPLER=parentbased_always_on), and look for a full queue in its \
                     exporter or in the Collector."
                ),
            ));
        }
    }
}

/// Spans whose parent never came.
fn orphans(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let missing = |known: &&Known<'_>| {
        known.parent.is_none() && known.span.parent_id.is_some_and(|id| id != known.probe.span_id)
    };
    let by_service = Sketch::tally(sketch.ours.iter().filter(missing).map(|known| known.span.service()));
    let entered = sketch.entries().next().is_some();
    // Where nothing answers the client itself, `continued` has said so.
    for (service, times) in by_service.into_iter().filter(|_| entered) {
        points.push(Point::hint(
            Topic::Hops,
            format!("{} of {service} name a parent that never came.", count(times, "span")),
            "They are hung below the nearest span that is known; what lies between is blamed on that one.",
            "Either spans get lost (a full queue: raise OTEL_BSP_MAX_QUEUE_SIZE, look at the Collector), or a hop in between (a \
             proxy, a mesh) takes part in the trace and exports its spans elsewhere.",
        ));
    }
}
