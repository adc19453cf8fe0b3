//! The conservation law of the receiver: whatever comes, in whatever order and with whatever faults, every span is
//! stored, rejected, dropped or a duplicate, and what a sender was told is true of the run folder. And the decoders in
//! front of it, fuzzed.

use super::body::{BodyError, Share};
use super::service::deframe;
use super::tests::*;
use super::unpack::{Packing, unpack};
use super::*;
use crate::traces::Keeper;
use crate::wire::folder::tests::run;
use crate::wire::folder::{RunReader, RunWriter};
use crate::wire::fuzz::fuzz;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use proptest::prelude::*;
use prost::Message;
use std::collections::HashMap;

/// What a sender does.
#[derive(Clone, Debug)]
enum Step {
    /// Sends spans with these numbers, and so many invalid ones, as JSON or protobuf.
    Send { spans: Vec<u8>, invalid: usize, json: bool },
    /// Sends something that is no OTLP.
    Garbage(Vec<u8>),
    /// Sends data points and log records.
    Other(u8),
}

/// What the owner of the folder does with a message.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Refuses,
    Forgets,
}

fn step() -> impl Strategy<Value = Step> {
    let spans = prop::collection::vec(0u8..40, 0..12);
    prop_oneof![
        6 => (spans, 0..3usize, any::<bool>())
            .prop_map(|(spans, invalid, json)| Step::Send { spans, invalid, json }),
        1 => prop::collection::vec(any::<u8>(), 1..30).prop_map(Step::Garbage),
        1 => (0..4u8).prop_map(Step::Other),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![5 => Just(Fault::None), 1 => Just(Fault::Refuses), 1 => Just(Fault::Forgets)]
}

/// Plays the steps and gives the facts, what the folder holds by span id, and what was acknowledged.
async fn play(
    steps: Vec<Step>,
    faults: Vec<Fault>,
    dir: std::path::PathBuf,
) -> (ReceiverFacts, HashMap<u64, u64>, Vec<u64>) {
    let (sink, mut messages) = mpsc::channel::<Incoming>(2);
    let receiver = Receiver::start(config(), sink).unwrap();
    let folder = dir.clone();
    let owner = tokio::spawn(async move {
        let mut writer = RunWriter::create(&folder, &run()).unwrap();
        let mut keeper = Keeper::default();
        let mut n = 0;
        while let Some(message) = messages.recv().await {
            match faults.get(n % faults.len()) {
                Some(Fault::Refuses) => {
                    let _ = message.ack.send(Ack::Dropped);
                }
                Some(Fault::Forgets) => drop(message),
                _ => {
                    let ack = keeper.keep(&mut writer, &message).unwrap();
                    let _ = message.ack.send(ack);
                }
            }
            n += 1;
        }
        writer.finish(&run()).unwrap();
    });
    let mut acknowledged = Vec::new();
    for step in steps {
        match step {
            Step::Send { spans, invalid, json } => {
                let bad = ProtoSpan { span_id: vec![0; 8], ..proto_span(1) };
                let all = spans.iter().map(|n| proto_span(u64::from(*n)));
                let message = request(all.chain((0..invalid).map(|_| bad.clone())).collect());
                let (kind, body) = if json {
                    (JSON, serde_json::to_vec(&message).unwrap())
                } else {
                    (PROTOBUF, message.encode_to_vec())
                };
                let answer = post(&receiver, "/v1/traces", &[kind], body).await;
                assert!(matches!(answer.status, 200 | 503));
                if answer.status == 200 {
                    acknowledged.extend(spans.iter().map(|n| u64::from(*n)));
                }
            }
            Step::Garbage(bytes) => {
                post(&receiver, "/v1/traces", &[PROTOBUF], bytes).await;
            }
            Step::Other(n) => {
                let points = vec!["{\"asInt\":1}"; n.into()].join(",");
                let text = format!(
                    "{{\"resourceMetrics\":[{{\"scopeMetrics\":[{{\"metrics\":[{{\"gauge\":{{\"dataPoints\":[{points}]}}}}]}}]}}]}}"
                );
                post(&receiver, "/v1/metrics", &[JSON], text.into()).await;
            }
        }
    }
    let facts = receiver.stop().await;
    owner.await.unwrap();
    let mut stored = HashMap::new();
    let totals = RunReader::open(&dir).unwrap().for_each_span(&mut |span| {
        *stored.entry(u64::from_be_bytes(span.span_id.0) - 1).or_insert(0) += 1;
    });
    assert!(totals.notes.is_empty() && totals.bad_batches == 0);
    (facts, stored, acknowledged)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_always_adds_up(
        steps in prop::collection::vec(step(), 1..20), faults in prop::collection::vec(fault(), 1..8)
    ) {
        let temp = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (facts, stored, acknowledged) = runtime.block_on(play(steps, faults, temp.path().join("r")));
        prop_assert_eq!(facts.unaccounted(), 0, "{:?}", facts);
        prop_assert_eq!(facts.metrics.received, facts.metrics.stored + facts.metrics.dropped);
        // Stored counts each span once, however often it was sent.
        prop_assert_eq!(facts.spans_stored, stored.len() as u64, "{:?}", facts);
        prop_assert!(acknowledged.iter().all(|n| stored.contains_key(n)), "acknowledged, and not in the folder");
    }
}

#[test]
fn fuzz_unpacking() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let budget = Budget::new(64 << 20);
    let max = 1 << 20;
    fuzz("packed", |bytes| {
        for packing in [Packing::Gzip, Packing::Zstd, Packing::Deflate] {
            let bytes = Bytes::copy_from_slice(bytes);
            let unpacked = runtime.block_on(unpack(packing, bytes, max, &budget, Share::default()));
            match unpacked {
                Ok((out, share)) => assert!(out.len() <= max && share.bytes() >= out.len()),
                Err(error) => {
                    assert!(matches!(error, BodyError::TooLarge | BodyError::NotPacked(..)), "{error:?}")
                }
            }
        }
    });
}

#[test]
fn fuzz_grpc_frames() {
    fuzz("frame", |bytes| {
        for packing in [Packing::None, Packing::Gzip] {
            if let Ok((left, message)) = deframe(packing, Bytes::copy_from_slice(bytes)) {
                assert!(message.len() + 5 == bytes.len() && (left == packing || left == Packing::None));
            }
        }
    });
}
