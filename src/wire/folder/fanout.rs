//! One reading of a run folder for several takers, each on a thread of its own: every record is read and checked once, and
//! every taker passes over the traces that are not its own.

use super::reader::{RunReader, SpanTotals};
use crate::record::SpanSink;
use crate::wire::otlp::{Encoding, for_each_span_into};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Messages that may wait for the slowest taker.
const AHEAD: usize = 16;

type Message = (u64, Arc<[u8]>);

/// What one taker met.
#[derive(Default)]
struct Took {
    totals: SpanTotals,
    bad: Vec<u64>,
}

impl RunReader {
    /// Gives every span to the sinks that want it. Each sink gets all messages, in the order of arrival, on its own thread
    /// where there are several. Counts of spans are sums over the sinks.
    pub fn spans_into<S: SpanSink + Send>(&self, sinks: &mut [S]) -> SpanTotals {
        let mut out = SpanTotals::default();
        let mut bad = Vec::new();
        if let [sink] = sinks {
            let mut took = Took::default();
            let mut number = 0;
            out = self.for_each_message(&mut |bytes| {
                take(sink, number, bytes, &mut took);
                number += 1;
            });
            out.walked = took.totals.walked;
            bad = took.bad;
        } else {
            thread::scope(|scope| {
                let mut channels: Vec<SyncSender<Message>> = Vec::new();
                let mut workers = Vec::new();
                for sink in sinks.iter_mut() {
                    let (send, receive) = sync_channel(AHEAD);
                    channels.push(send);
                    workers.push(scope.spawn(move || work(sink, &receive)));
                }
                let mut number = 0;
                out = self.for_each_message(&mut |bytes| {
                    let message: Arc<[u8]> = Arc::from(bytes);
                    // A taker that is gone has panicked, and joining it tells.
                    channels.iter().for_each(|c| drop(c.send((number, message.clone()))));
                    number += 1;
                });
                drop(channels);
                for worker in workers {
                    match worker.join() {
                        Ok(took) => {
                            out.walked.merge(&took.totals.walked);
                            bad.extend(took.bad);
                        }
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
            });
        }
        bad.sort_unstable();
        bad.dedup();
        out.bad_batches += bad.len() as u64;
        out
    }

    /// Calls `f` with every message as protobuf.
    fn for_each_message(&self, f: &mut dyn FnMut(&[u8])) -> SpanTotals {
        let mut totals = SpanTotals::default();
        let mut batches = self.span_batches();
        while let Some(batch) = batches.next_batch() {
            totals.batches += 1;
            match batch.encoding {
                Encoding::Protobuf => f(batch.bytes),
                Encoding::Json => match batch.encoding.to_protobuf(batch.bytes) {
                    Ok(bytes) => f(&bytes),
                    Err(_) => totals.bad_batches += 1,
                },
            }
        }
        totals.notes = batches.into_notes();
        totals
    }
}

fn work(sink: &mut impl SpanSink, messages: &Receiver<Message>) -> Took {
    let mut took = Took::default();
    for (number, bytes) in messages {
        take(sink, number, &bytes, &mut took);
    }
    took
}

fn take(sink: &mut impl SpanSink, number: u64, bytes: &[u8], took: &mut Took) {
    match for_each_span_into(bytes, sink) {
        Ok(walked) => took.totals.walked.merge(&walked),
        Err(_) => took.bad.push(number),
    }
}
