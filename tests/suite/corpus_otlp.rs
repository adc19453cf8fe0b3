//! The official OTLP/JSON examples, read as the generated types read them.

use super::corpus_critical_path::corpus;
use hotspan::wire::otlp::{Encoding, Signal};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::DeserializeOwned;

/// Our protobuf of a JSON example decodes to what serde makes of the same text.
fn same<T>(name: &str, signal: Signal) -> Option<Vec<u8>>
where
    T: Message + Default + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let text = std::fs::read(corpus(&format!("otlp/{name}"))?).unwrap();
    let bytes = Encoding::Json.to_protobuf_of(signal, &text).unwrap().into_owned();
    let ours = T::decode(&bytes[..]).unwrap();
    let theirs: T = serde_json::from_slice(&text).unwrap();
    assert_eq!(ours, theirs, "{name}");
    Some(text)
}

#[test]
fn official_examples_are_read_field_for_field() {
    let Some(traces) = same::<ExportTraceServiceRequest>("trace.json", Signal::Traces) else { return };
    let mut names = Vec::new();
    Encoding::Json.for_each_span(&traces, &mut |span| names.push(span.name.to_owned())).unwrap();
    assert_eq!(names, ["I'm a server span"]);
    let metrics = same::<ExportMetricsServiceRequest>("metrics.json", Signal::Metrics).unwrap();
    let mut names = Vec::new();
    Encoding::Json.for_each_point(&metrics, &mut |point| names.push(point.name.to_owned())).unwrap();
    assert_eq!(names, ["my.counter", "my.gauge", "my.histogram", "my.exponential.histogram"]);
    for (name, with_trace) in [("logs.json", 1), ("events.json", 0)] {
        let logs = same::<ExportLogsServiceRequest>(name, Signal::Logs).unwrap();
        let mut traced = 0;
        let walked =
            Encoding::Json.for_each_log(&logs, &mut |line| traced += u32::from(line.trace_id.is_some()));
        assert_eq!((walked.unwrap().records, traced), (1, with_trace), "{name}");
    }
}
