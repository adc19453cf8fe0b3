//! `hotspan doctor`: a few requests, and plain words on how well the service is traced. Makes the requests and takes in
//! their spans; what they mean is `analysis::doctor`'s.

use super::args::{DoctorArgs, DoctorFormat};
use super::exit::{self, Exit, root, say};
use super::host;
use super::propagation;
use crate::analysis::doctor::{self, Diagnosis, Exam, Probe, Standing};
use crate::record::{KeptSpan, Propagation, Propagator, SpanId, Threshold, Timestamp, TraceContext, TraceId};
use crate::traces::{Ack, Content, Incoming, Receiver, ReceiverConfig, install_crypto_provider};
use anyhow::{Context, anyhow, bail};
use rand::RngExt;
use serde_json::json;
use std::fmt::Write;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Spans kept at most: some requests of a service that records far too much.
const SPANS_MAX: usize = 200_000;
/// Pause between requests, so that what belongs to one does not overlap the next.
const PAUSE: Duration = Duration::from_millis(50);
/// Counters of a Collector that say that it refused or lost spans.
const LOSSES: [&str; 5] = [
    "otelcol_receiver_refused_spans",
    "otelcol_processor_refused_spans",
    "otelcol_processor_dropped_spans",
    "otelcol_exporter_send_failed_spans",
    "otelcol_exporter_enqueue_failed_spans",
];

/// Runs the command.
pub fn run(args: &DoctorArgs) -> anyhow::Result<Exit> {
    install_crypto_provider();
    let url = url::Url::parse(&args.url).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    if url.is_none_or(|url| url.host_str().is_none()) {
        bail!("{:?} is no URL of HTTP; write it with its scheme, e.g. http://127.0.0.1:8080", args.url);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let exam = runtime.block_on(examination(args))?;
    let diagnosis = doctor::examine(&exam);
    exit::print(&match args.format {
        DoctorFormat::Text => text(args, &diagnosis),
        DoctorFormat::Json => document(args, &diagnosis),
    })?;
    Ok(if diagnosis.standing() == Standing::Fault { Exit::CannotTell } else { Exit::Passed })
}

async fn examination(args: &DoctorArgs) -> anyhow::Result<Exam> {
    let (sink, incoming) = mpsc::channel(64);
    let config = ReceiverConfig {
        grpc: Some(args.otlp_grpc),
        http: Some(args.otlp_http),
        ..ReceiverConfig::default()
    };
    let receiver = Receiver::start(config, sink)?;
    if let (Some(grpc), Some(http), DoctorFormat::Text) =
        (receiver.grpc_address(), receiver.http_address(), args.format)
    {
        say(&format!("Taking in spans on {grpc} (OTLP/gRPC) and {http} (OTLP/HTTP)."));
    }
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(reqwest::redirect::Policy::none())
        .user_agent("hotspan")
        .build()
        .context("cannot make an HTTP client")?;
    let before = losses(&client, args).await?;
    let (spans, mut taken) = mpsc::unbounded_channel();
    let taking = tokio::spawn(take(incoming, spans));
    let sent = args.propagate.or_else(|| propagation::environment().0).unwrap_or_default();
    let flags = (0..args.requests).map(|_| true).chain((0..args.unsampled).map(|_| false));
    let mut exam = Exam { sent, probes: ask(&client, args, sent, flags).await?, ..Exam::default() };
    wait(&mut exam, &mut taken, args).await;
    if doctor::is_nothing_joined(&exam) && sent.others().next().is_some() {
        if args.format == DoctorFormat::Text {
            say(&format!("No request was joined by the {}; trying others.", sent.headers()));
        }
        for propagator in sent.others() {
            let flags = (0..args.requests).map(|_| true);
            let probes = ask(&client, args, Propagation::only(propagator), flags).await?;
            exam.tried.extend(probes.into_iter().map(|probe| (propagator, probe)));
        }
        wait(&mut exam, &mut taken, args).await;
    }
    exam.collector = match (before, losses(&client, args).await?) {
        (Some(before), Some(after)) => Some(
            after.into_iter().zip(before).map(|((name, a), (_, b))| (name, a.saturating_sub(b))).collect(),
        ),
        _ => None,
    };
    receiver.stop().await;
    taking.abort();
    Ok(exam)
}

/// Makes requests, one after the other, each sampled or not, with their context in those formats.
async fn ask(
    client: &reqwest::Client,
    args: &DoctorArgs,
    propagation: Propagation,
    flags: impl Iterator<Item = bool>,
) -> anyhow::Result<Vec<Probe>> {
    let mut probes = Vec::new();
    for sampled in flags {
        let mut random = rand::rng();
        let trace_id = TraceId(random.random_range(1..=u128::MAX).to_be_bytes());
        let trace_id = if propagation.dates_traces() { trace_id.dated(host::now()) } else { trace_id };
        let span_id = SpanId(random.random_range(1..=u64::MAX).to_be_bytes());
        let context = TraceContext { trace_id, span_id, sampled }.traceparent();
        let mut request = client.get(&args.url);
        for field in propagation.fields() {
            request = request.header(field.name, field.value(&context));
        }
        for header in &args.header {
            let Some((name, value)) = header.split_once(':') else {
                bail!("--header {header}: write it as `name: value`");
            };
            request = request.header(name.trim(), value.trim());
        }
        let start = host::now();
        let answer = request.send().await.map_err(|error| {
            let why = root(&error);
            anyhow!("{} does not answer ({why}); start the service, or correct the address", args.url)
        })?;
        let status = answer.status();
        answer.bytes().await.with_context(|| format!("{} did not answer to its end", args.url))?;
        if status.is_client_error() || status.is_server_error() {
            bail!("{} answered {status}; name a URL that answers as it does in normal use", args.url);
        }
        probes.push(Probe {
            trace_id,
            span_id,
            sampled,
            threshold: Threshold::ALWAYS,
            start,
            end: host::now(),
        });
        tokio::time::sleep(PAUSE).await;
    }
    Ok(probes)
}

/// Takes in messages, tells their senders, and hands the spans on.
async fn take(mut incoming: mpsc::Receiver<Incoming>, spans: mpsc::UnboundedSender<(KeptSpan, Timestamp)>) {
    let mut kept = 0;
    while let Some(message) = incoming.recv().await {
        let Incoming { encoding, bytes, received_at, ack, content, .. } = message;
        if !matches!(content, Content::Spans(_)) {
            let _ = ack.send(Ack::Stored { duplicates: 0 });
            continue;
        }
        let _ = encoding.for_each_span(&bytes, &mut |span| {
            kept += 1;
            if kept <= SPANS_MAX {
                let _ = spans.send((KeptSpan::of(span), received_at));
            }
        });
        let _ = ack.send(Ack::Stored { duplicates: 0 });
    }
}

/// Waits until no span has come for the quiet period (counted from the last request), or the time is up.
async fn wait(
    exam: &mut Exam,
    taken: &mut mpsc::UnboundedReceiver<(KeptSpan, Timestamp)>,
    args: &DoctorArgs,
) {
    let began = Instant::now();
    let mut last = began;
    loop {
        // Without any span there is nothing to be quiet after: then only the deadline counts.
        let limit = if exam.spans.is_empty() { args.wait } else { args.quiet_period };
        let rest = (limit.saturating_sub(last.elapsed())).min(args.wait.saturating_sub(began.elapsed()));
        match tokio::time::timeout(rest, taken.recv()).await {
            Ok(Some(span)) => {
                exam.spans.push(span);
                last = Instant::now();
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// What a Collector says that it refused or lost so far.
async fn losses(client: &reqwest::Client, args: &DoctorArgs) -> anyhow::Result<Option<Vec<(String, u64)>>> {
    let Some(url) = &args.collector_metrics else { return Ok(None) };
    let wrong = || format!("cannot read the Collector's own metrics at {url} (--collector-metrics)");
    let answer = client.get(url).send().await.and_then(reqwest::Response::error_for_status);
    let text = answer.with_context(wrong)?.text().await.with_context(wrong)?;
    Ok(Some(LOSSES.iter().map(|name| ((*name).to_owned(), counter(&text, name))).collect()))
}

/// Sum of a counter's series in Prometheus text; zero where there is none.
fn counter(text: &str, name: &str) -> u64 {
    let value = |line: &str| -> Option<f64> {
        let rest = line.strip_prefix(name)?;
        let rest = rest.strip_prefix("_total").unwrap_or(rest);
        let labels = rest.starts_with('{') || rest.starts_with(' ');
        labels.then(|| rest.rsplit(' ').next()?.parse().ok())?
    };
    text.lines().filter_map(value).sum::<f64>() as u64
}

fn text(args: &DoctorArgs, diagnosis: &Diagnosis) -> String {
    let mut out = String::new();
    let verdict = match diagnosis.standing() {
        Standing::Good => "is traced well: blame will be fair",
        Standing::Hint => "is traced well enough: blame will hold, with what is said below",
        Standing::Fault => "is not traced well enough: blame would be wrong or empty",
    };
    let _ = writeln!(out, "{} {verdict}.", args.url);
    let _ = writeln!(
        out,
        "{} of {} sampled requests joined, {} unsampled ones; {} spans of {}.\n",
        diagnosis.joined,
        diagnosis.sampled,
        diagnosis.unsampled,
        diagnosis.spans,
        if diagnosis.services.is_empty() { "nobody".into() } else { diagnosis.services.join(", ") }
    );
    for point in &diagnosis.points {
        let mark = match point.standing {
            Standing::Good => "ok  ",
            Standing::Hint => "note",
            Standing::Fault => "FAIL",
        };
        let _ = writeln!(out, "{mark}  {}", point.seen);
        for more in [&point.blind, &point.fix].into_iter().filter(|more| !more.is_empty()) {
            let _ = writeln!(out, "      {more}");
        }
    }
    out
}

fn document(args: &DoctorArgs, diagnosis: &Diagnosis) -> String {
    let document = json!({
        "schema": "hotspan.doctor/1",
        "target": args.url,
        "standing": diagnosis.standing().name(),
        "requests": {"sampled": diagnosis.sampled, "joined": diagnosis.joined, "unsampled": diagnosis.unsampled},
        "propagators": diagnosis.sent.propagators().map(Propagator::name).collect::<Vec<_>>(),
        "spans": diagnosis.spans,
        "services": diagnosis.services,
        "points": diagnosis.points.iter().map(|point| json!({
            "topic": point.topic.name(),
            "standing": point.standing.name(),
            "seen": point.seen,
            "blind": point.blind,
            "fix": point.fix,
        })).collect::<Vec<_>>(),
    });
    format!("{document:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_a_collector_are_summed_under_both_spellings() {
        let text = "# TYPE otelcol_receiver_refused_spans counter\n\
                    otelcol_receiver_refused_spans{receiver=\"otlp\",transport=\"grpc\"} 3\n\
                    otelcol_receiver_refused_spans_total{receiver=\"otlp\",transport=\"http\"} 4\n\
                    otelcol_receiver_refused_spans_of_others{x=\"y\"} 99\n\
                    otelcol_exporter_send_failed_spans 1e+01\n";
        assert_eq!(counter(text, "otelcol_receiver_refused_spans"), 7);
        assert_eq!(counter(text, "otelcol_exporter_send_failed_spans"), 10);
        assert_eq!(counter(text, "otelcol_processor_dropped_spans"), 0);
    }
}
