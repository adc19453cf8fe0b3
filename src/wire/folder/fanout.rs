//! One reading of a run folder for several takers, each on a thread of its own: every record is read and checked once, and
//! divided among the takers where each takes another share of the traces.

use super::reader::{RunReader, SpanBatches, SpanTotals};
use crate::record::{Partition, SpanSink, TraceId};
use crate::wire::otlp::{for_each_span_into, split};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Messages that may wait for the slowest taker: few, so that they are still close to the processor when it comes to them.
const AHEAD: usize = 8;

type Message = (u64, Arc<Vec<u8>>);

/// What one taker met.
#[derive(Default)]
struct Took {
    totals: SpanTotals,
    bad: Vec<u64>,
}

/// Buffers that go to a taker and come back when it is done: nothing is allocated, and no memory new to the processor, once
/// there are enough.
#[derive(Default)]
struct Buffers(VecDeque<Arc<Vec<u8>>>);

impl Buffers {
    /// A buffer that nobody reads: the oldest, or a new one.
    fn free(&mut self) -> Arc<Vec<u8>> {
        match self.0.front_mut().map(|oldest| Arc::get_mut(oldest).is_some()) {
            Some(true) => self.0.pop_front().unwrap_or_default(),
            _ => Arc::default(),
        }
    }

    /// Sends what `filled` holds, which then holds an old buffer.
    fn send(&mut self, number: u64, filled: &mut Vec<u8>, takers: &[SyncSender<Message>]) {
        let mut message = self.free();
        // Nobody else has it: it was free.
        if let Some(buffer) = Arc::get_mut(&mut message) {
            std::mem::swap(buffer, filled);
        }
        // A taker that is gone has panicked, and joining it tells.
        takers.iter().for_each(|taker| drop(taker.send((number, message.clone()))));
        self.0.push_back(message);
    }
}

impl RunReader {
    /// Gives every span to the sinks that want it. Each sink gets its spans in the order of arrival, on its own thread where
    /// there are several. Counts of spans are sums over the sinks.
    pub fn spans_into<S: SpanSink + Send>(&self, sinks: &mut [S]) -> SpanTotals {
        let mut totals = SpanTotals::default();
        let mut batches = self.span_batches();
        let mut bad = Vec::new();
        if let [sink] = sinks {
            let mut took = Took::default();
            while let Some(batch) = batches.next_batch() {
                match batch.encoding.to_protobuf(batch.bytes) {
                    Ok(bytes) => take(sink, totals.batches, &bytes, &mut took),
                    Err(_) => totals.bad_batches += 1,
                }
                totals.batches += 1;
            }
            totals.walked = took.totals.walked;
            bad = took.bad;
        } else {
            let first = first_of_row(sinks);
            thread::scope(|scope| {
                let mut takers: Vec<SyncSender<Message>> = Vec::new();
                let mut workers = Vec::new();
                for sink in sinks.iter_mut() {
                    let (send, receive) = sync_channel(AHEAD);
                    takers.push(send);
                    workers.push(scope.spawn(move || work(sink, receive)));
                }
                match first {
                    Some(first) => divide(&mut batches, first, &takers, &mut totals, &mut bad),
                    None => hand_out(&mut batches, &takers, &mut totals),
                }
                drop(takers);
                for worker in workers {
                    match worker.join() {
                        Ok(took) => {
                            totals.walked.merge(&took.totals.walked);
                            bad.extend(took.bad);
                        }
                        Err(panic) => std::panic::resume_unwind(panic),
                    }
                }
            });
        }
        bad.sort_unstable();
        bad.dedup();
        totals.bad_batches += bad.len() as u64;
        totals.notes = batches.into_notes();
        totals
    }
}

/// The share of the first sink, if each of the others takes the share that follows the one before it.
fn first_of_row<S: SpanSink>(sinks: &[S]) -> Option<Partition> {
    let first = sinks.first()?.partition();
    let follows = |(sink, at): (&S, u32)| {
        first.index.checked_add(at).is_some_and(|index| sink.partition() == Partition { index, of: first.of })
    };
    sinks.iter().zip(0..).all(follows).then_some(first)
}

/// Reads all messages and gives each taker what is in its share of them.
fn divide(
    batches: &mut SpanBatches,
    first: Partition,
    takers: &[SyncSender<Message>],
    totals: &mut SpanTotals,
    bad: &mut Vec<u64>,
) {
    let mut buffers: Vec<Buffers> = takers.iter().map(|_| Buffers::default()).collect();
    let mut shares: Vec<Vec<u8>> = takers.iter().map(|_| Vec::new()).collect();
    while let Some(batch) = batches.next_batch() {
        let number = totals.batches;
        totals.batches += 1;
        let Ok(bytes) = batch.encoding.to_protobuf(batch.bytes) else {
            totals.bad_batches += 1;
            continue;
        };
        let mut share = |trace: &TraceId| {
            let at = Partition::index_of(trace, first.of).checked_sub(first.index)?;
            Some(at as usize)
        };
        if split(&bytes, &mut share, &mut shares).is_err() {
            bad.push(number);
        }
        for ((share, buffers), taker) in shares.iter_mut().zip(&mut buffers).zip(takers) {
            if !share.is_empty() {
                buffers.send(number, share, std::slice::from_ref(taker));
            }
        }
    }
}

/// Reads all messages and gives each to all takers.
fn hand_out(batches: &mut SpanBatches, takers: &[SyncSender<Message>], totals: &mut SpanTotals) {
    let mut buffers = Buffers::default();
    let mut message = Vec::new();
    while let Some(batch) = batches.next_batch() {
        let number = totals.batches;
        totals.batches += 1;
        message.clear();
        match batch.encoding.to_protobuf(batch.bytes) {
            Ok(bytes) => message.extend_from_slice(&bytes),
            Err(_) => {
                totals.bad_batches += 1;
                continue;
            }
        }
        buffers.send(number, &mut message, takers);
    }
}

fn work(sink: &mut impl SpanSink, messages: Receiver<Message>) -> Took {
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
