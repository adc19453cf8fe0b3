//! A small mutational fuzzer over the corpus in `tests/fuzz_corpus`: for every decoder of this room, no input makes it
//! panic or take memory out of proportion, and where an independent decoder accepts the same bytes, both read the same.
//!
//! `cargo test` runs each target for a moment; `HOTSPAN_FUZZ_SECONDS=60 cargo test --release --lib fuzz -- --test-threads 1`
//! for longer. The seed is printed with every failure, and an input that failed goes to the corpus. (libFuzzer needs a
//! nightly compiler; this needs nothing.)

use super::folder::{RunReader, RunWriter};
use super::otlp::{
    Encoding, Signal, for_each_log, for_each_point, for_each_span, json_to_protobuf_of, retry_delay, scan_all,
};
use super::protobuf::{Field, Reader};
use crate::record::{MetricValue, Span};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Inputs grow no further than this.
const LONGEST: usize = 64 << 10;

/// Files of the corpus whose names begin so.
pub(crate) fn corpus(prefix: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_corpus");
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let chosen = paths.iter().filter(|p| p.file_name().unwrap().to_string_lossy().starts_with(prefix));
    let inputs: Vec<Vec<u8>> = chosen.map(|path| std::fs::read(path).unwrap()).collect();
    assert!(!inputs.is_empty(), "no corpus for {prefix}");
    inputs
}

/// Runs a target over the corpus and over what becomes of it, for the time that is asked for.
pub(crate) fn fuzz(prefix: &str, mut target: impl FnMut(&[u8])) {
    let seconds = std::env::var("HOTSPAN_FUZZ_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(0.7);
    let seed =
        std::env::var("HOTSPAN_FUZZ_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(rand::random);
    let mut rng = StdRng::seed_from_u64(seed);
    let inputs = corpus(prefix);
    inputs.iter().for_each(|input| target(input));
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let mut executions = 0u64;
    while Instant::now() < end {
        for _ in 0..64 {
            let mut input = inputs[rng.random_range(0..inputs.len())].clone();
            for _ in 0..rng.random_range(1..8) {
                mutate(&mut input, &inputs, &mut rng);
            }
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
            if let Err(panic) = ran {
                let kept = std::env::temp_dir().join(format!("hotspan-fuzz-{prefix}-{seed}"));
                std::fs::write(&kept, &input).unwrap();
                eprintln!(
                    "target {prefix}, seed {seed}, execution {executions}: input kept in {}",
                    kept.display()
                );
                std::panic::resume_unwind(panic);
            }
            executions += 1;
        }
    }
    assert!(executions > 0);
    eprintln!("fuzz {prefix}: {executions} executions, seed {seed}");
}

fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], rng: &mut StdRng) {
    if input.is_empty() {
        input.push(rng.random());
    }
    let at = rng.random_range(0..input.len());
    let len = rng.random_range(1..=16).min(input.len() - at);
    match rng.random_range(0..9) {
        0 => input[at] ^= 1 << rng.random_range(0..8),
        1 => input[at] = rng.random(),
        // Numbers at the edges of widths.
        2 => input[at] = *[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'['].get(rng.random_range(0..8)).unwrap(),
        3 => drop(input.drain(at..at + len)),
        4 => input.truncate(at),
        5 => {
            let piece = input[at..at + len].to_vec();
            let times = rng.random_range(1..20);
            (0..times).for_each(|_| drop(input.splice(at..at, piece.iter().copied())));
        }
        6 => {
            let mut piece = vec![0; len];
            rng.fill_bytes(&mut piece);
            input.splice(at..at, piece);
        }
        7 => {
            let other = &others[rng.random_range(0..others.len())];
            let from = rng.random_range(0..=other.len());
            input.splice(at.., other[from..].iter().copied());
        }
        // The same bytes as a field of some number: nesting, repeated and unknown fields.
        _ => {
            let piece = input[at..at + len].to_vec();
            let head = [rng.random_range(1..16u8) << 3 | 2, piece.len() as u8];
            input.splice(at..at + len, head.into_iter().chain(piece));
        }
    }
    input.truncate(LONGEST);
}

/// Whether some span has more than one trace id: there the walker takes the first on purpose.
fn has_two_trace_ids(bytes: &[u8]) -> bool {
    fn messages(reader: Reader<'_>, number: u32) -> Vec<Reader<'_>> {
        let mut reader = reader;
        let mut found = Vec::new();
        while let Ok(Some((n, field))) = reader.next_field() {
            match field {
                Field::Bytes(inner) if n == number => found.push(inner),
                _ => {}
            }
        }
        found
    }
    let resources = messages(Reader::new(bytes), 1);
    let spans = resources.iter().flat_map(|r| messages(*r, 2)).flat_map(|scope| messages(scope, 2));
    spans.into_iter().any(|span| messages(span, 1).len() > 1)
}

type Seen = (Vec<u8>, Vec<u8>, Vec<u8>, String, i32, u64, u64, usize, usize, usize, i32, String);

fn seen(span: &Span<'_>) -> Seen {
    (
        span.trace_id.0.to_vec(),
        span.span_id.0.to_vec(),
        span.parent_id.map(|id| id.0.to_vec()).unwrap_or_default(),
        span.name.to_owned(),
        span.kind as i32,
        span.start.0,
        span.end.0,
        span.attributes.len(),
        span.events.len(),
        span.links.len(),
        span.status as i32,
        format!("{:?}", span.attributes.first().map(|a| a.key)),
    )
}

fn expected(request: &ExportTraceServiceRequest) -> Vec<Seen> {
    let valid = |id: &[u8], len| id.len() == len && id.iter().any(|byte| *byte != 0);
    let spans = request.resource_spans.iter().flat_map(|r| &r.scope_spans).flat_map(|s| &s.spans);
    let known = |number: i32, max: i32| if (0..=max).contains(&number) { number } else { 0 };
    let expected = spans.filter(|span| valid(&span.trace_id, 16) && valid(&span.span_id, 8)).map(|span| {
        let parent = if valid(&span.parent_span_id, 8) { span.parent_span_id.clone() } else { vec![] };
        let links = span.links.iter().filter(|link| valid(&link.trace_id, 16) && valid(&link.span_id, 8));
        (
            span.trace_id.clone(),
            span.span_id.clone(),
            parent,
            span.name.clone(),
            known(span.kind, 5),
            span.start_time_unix_nano,
            span.end_time_unix_nano,
            span.attributes.len(),
            span.events.len(),
            links.count(),
            span.status.as_ref().map_or(0, |status| known(status.code, 2)),
            format!("{:?}", span.attributes.first().map(|a| a.key.as_str())),
        )
    });
    expected.collect()
}

fn spans(bytes: &[u8]) {
    let mut found = Vec::new();
    let walked = for_each_span(bytes, &mut |span| found.push(seen(span)));
    let scanned = scan_all(bytes);
    assert_eq!(walked.is_ok(), scanned.is_ok(), "walk {walked:?}, scan {scanned:?}");
    let (Ok(walked), Ok(scanned)) = (walked, scanned) else { return };
    assert_eq!((walked.spans, walked.invalid), (scanned.valid(), scanned.invalid));
    assert_eq!(scanned.keys.len() as u64, scanned.valid());
    if let Ok(request) = ExportTraceServiceRequest::decode(bytes)
        && !has_two_trace_ids(bytes)
    {
        assert_eq!(found, expected(&request));
    }
}

fn metrics(bytes: &[u8]) {
    let mut numbers = Vec::new();
    let walked = for_each_point(bytes, &mut |point| {
        numbers.push((point.name.to_owned(), point.time.0, point.attributes.len()));
        if let MetricValue::Histogram { values, .. } = point.value {
            assert!(values.buckets.len() <= 2 * super::otlp::MAX_BUCKETS + 1);
            let _ = (values.mean(), values.quantile_bound(0.99));
        }
    });
    let (Ok(walked), Ok(request)) = (walked, ExportMetricsServiceRequest::decode(bytes)) else { return };
    let all = request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics);
    let points = all.map(|metric| match &metric.data {
        Some(Data::Gauge(data)) => data.data_points.len(),
        Some(Data::Sum(data)) => data.data_points.len(),
        Some(Data::Histogram(data)) => data.data_points.len(),
        Some(Data::ExponentialHistogram(data)) => data.data_points.len(),
        Some(Data::Summary(data)) => data.data_points.len(),
        None => 0,
    });
    // Protobuf joins the parts of a metric that is written twice; here the last counts, and no encoder writes two.
    assert!(walked.points + walked.without_value <= points.sum::<usize>() as u64);
}

fn logs(bytes: &[u8]) {
    let mut found = Vec::new();
    let walked = for_each_log(bytes, &mut |line| {
        found.push((line.severity_text.to_owned(), line.event_name.to_owned(), line.attributes.len()));
    });
    let (Ok(_), Ok(request)) = (walked, ExportLogsServiceRequest::decode(bytes)) else { return };
    let all = request.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records);
    let expected: Vec<_> =
        all.map(|r| (r.severity_text.clone(), r.event_name.clone(), r.attributes.len())).collect();
    assert_eq!(found, expected);
}

/// What JSON becomes is sound protobuf, and in proportion to the text.
fn json(signal: Signal, text: &[u8]) {
    let Ok(bytes) = json_to_protobuf_of(signal, text) else { return };
    assert!(bytes.len() <= 3 * text.len() + 64, "{} bytes from {}", bytes.len(), text.len());
    match signal {
        Signal::Traces => drop(for_each_span(&bytes, &mut |_| {}).unwrap()),
        Signal::Metrics => drop(for_each_point(&bytes, &mut |_| {}).unwrap()),
        Signal::Logs => drop(for_each_log(&bytes, &mut |_| {}).unwrap()),
    }
    match signal {
        Signal::Traces => drop(ExportTraceServiceRequest::decode(&bytes[..]).unwrap()),
        Signal::Metrics => drop(ExportMetricsServiceRequest::decode(&bytes[..]).unwrap()),
        Signal::Logs => drop(ExportLogsServiceRequest::decode(&bytes[..]).unwrap()),
    }
}

#[test]
fn fuzz_spans() {
    fuzz("spans.pb", spans);
}

#[test]
fn fuzz_metrics() {
    fuzz("metrics.pb", metrics);
}

#[test]
fn fuzz_logs() {
    fuzz("logs.pb", logs);
}

#[test]
fn fuzz_json() {
    fuzz("spans.json", |text| json(Signal::Traces, text));
    fuzz("metrics.json", |text| json(Signal::Metrics, text));
    fuzz("logs.json", |text| json(Signal::Logs, text));
}

#[test]
fn fuzz_answers() {
    fuzz("status", |bytes| {
        let _ = retry_delay(bytes);
        let _ = super::otlp::PartialSuccess::decode(bytes, Encoding::Protobuf);
        let _ = super::otlp::PartialSuccess::decode(bytes, Encoding::Json);
    });
}

#[test]
fn fuzz_folder_recovery() {
    let temp = tempfile::tempdir().unwrap();
    let run = super::folder::tests::run();
    RunWriter::create(&temp.path().join("r"), &run).unwrap().finish(&run).unwrap();
    let reader = RunReader::open(&temp.path().join("r")).unwrap();
    fuzz("segment", |bytes| {
        for folder in ["exchanges", "spans", "metrics", "logs"] {
            let path = temp.path().join("r").join(folder).join("000000.seg");
            // Removed, not overwritten: some file systems wait for the disk when a file is replaced.
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, bytes).unwrap();
        }
        let mut exchanges = reader.exchanges();
        let read = exchanges.by_ref().count();
        assert!(read <= bytes.len());
        let totals = reader.for_each_span(&mut |_| {});
        assert!(totals.batches as usize <= bytes.len());
        reader.for_each_metric(&mut |_| {});
        reader.for_each_log(&mut |_| {});
    });
}

/// Writes the corpus anew from the generated types; run by hand when a decoder learns something.
#[test]
#[ignore = "writes into tests/fuzz_corpus"]
fn write_corpus() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz_corpus");
    for (name, bytes) in super::fuzz_seeds::all() {
        std::fs::write(folder.join(name), bytes).unwrap();
    }
}
