//! One reading of a run folder for several takers, each on a thread of its own: every record is read and checked once, and
//! divided among the takers where each takes another share of the traces.

use super::reader::{RunReader, SpanBatches, SpanTotals};
use super::together;
use crate::record::{Partition, SpanSink};
use crate::wire::otlp::{Walked, for_each_span_into, for_each_span_of_share};
use crate::wire::protobuf::DecodeError;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

/// Messages that may wait for the slowest taker: few, so that they are still close to the processor when it comes to them.
const AHEAD: usize = 8;

/// Where a message stands: its number, and its stretch of the folder.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub number: u64,
    pub stretch: u32,
}

type Message = (Place, Arc<Vec<u8>>);

/// What one taker met.
#[derive(Default)]
pub(super) struct Took {
    pub totals: SpanTotals,
    /// Numbers of messages that were malformed.
    pub bad: Vec<u64>,
}

impl Took {
    fn walked(&mut self, place: Place, walked: Result<Walked, DecodeError>) {
        match walked {
            Ok(walked) => self.totals.walked.merge(&walked),
            Err(_) => self.bad.push(place.number),
        }
    }

    fn add(&mut self, other: Took) {
        self.totals.batches += other.totals.batches;
        self.totals.bad_batches += other.totals.bad_batches;
        self.totals.walked.merge(&other.totals.walked);
        self.bad.extend(other.bad);
    }
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
    fn send(&mut self, place: Place, filled: &mut Vec<u8>, takers: &[SyncSender<Message>]) {
        let mut message = self.free();
        // Nobody else has it: it was free.
        if let Some(buffer) = Arc::get_mut(&mut message) {
            std::mem::swap(buffer, filled);
        }
        // A taker that is gone has panicked, and joining it tells.
        takers.iter().for_each(|taker| drop(taker.send((place, message.clone()))));
        self.0.push_back(message);
    }
}

impl RunReader {
    /// Gives every span to the sinks that want it, each on its own thread where there are several. A sink that is alone, and
    /// sinks that do not take the shares of a run one after the other, get them in the order of arrival. Counts of spans are
    /// sums over the sinks.
    pub fn spans_into<S: SpanSink + Send>(&self, sinks: &mut [S]) -> SpanTotals {
        let mut batches = self.span_batches();
        let first = first_of_row(sinks);
        let mut took = match (sinks, first) {
            ([sink], _) => read_for(sink, &mut batches),
            (sinks, Some(first)) => together::read(sinks, first, &mut batches),
            (sinks, None) => hand_out(sinks, &mut batches),
        };
        took.bad.sort_unstable();
        took.bad.dedup();
        took.totals.bad_batches += took.bad.len() as u64;
        (took.totals.notes, took.totals.stretches) = batches.into_parts();
        took.totals
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

/// Reads all messages for one sink.
fn read_for(sink: &mut impl SpanSink, batches: &mut SpanBatches) -> Took {
    let mut took = Took::default();
    while let Some(batch) = batches.next_batch() {
        let place = Place { number: took.totals.batches, stretch: batch.stretch };
        took.totals.batches += 1;
        match batch.encoding.to_protobuf(batch.bytes) {
            Ok(bytes) => take(sink, place, &bytes, &mut took),
            Err(_) => took.totals.bad_batches += 1,
        }
    }
    took
}

/// Reads all messages and gives each to all sinks.
fn hand_out<S: SpanSink + Send>(sinks: &mut [S], batches: &mut SpanBatches) -> Took {
    thread::scope(|scope| {
        let mut takers: Vec<SyncSender<Message>> = Vec::new();
        let mut workers = Vec::new();
        for sink in sinks.iter_mut() {
            let (send, receive) = sync_channel(AHEAD);
            takers.push(send);
            workers.push(scope.spawn(move || work(sink, receive)));
        }
        let mut took = Took::default();
        let (mut buffers, mut message) = (Buffers::default(), Vec::new());
        while let Some((encoding, stretch)) = batches.next_into(&mut message) {
            let place = Place { number: took.totals.batches, stretch };
            took.totals.batches += 1;
            match encoding.to_protobuf(&message) {
                Ok(Cow::Owned(written)) => message = written,
                Ok(Cow::Borrowed(_)) => {}
                Err(_) => {
                    took.totals.bad_batches += 1;
                    continue;
                }
            }
            buffers.send(place, &mut message, &takers);
        }
        drop(takers);
        join(workers, took)
    })
}

/// Adds what all threads took, when they are done.
pub(super) fn join(workers: Vec<thread::ScopedJoinHandle<'_, Took>>, mut took: Took) -> Took {
    for worker in workers {
        match worker.join() {
            Ok(more) => took.add(more),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
    took
}

fn work(sink: &mut impl SpanSink, messages: Receiver<Message>) -> Took {
    let mut took = Took::default();
    for (place, bytes) in messages {
        take(sink, place, &bytes, &mut took);
    }
    took
}

fn take(sink: &mut impl SpanSink, place: Place, bytes: &[u8], took: &mut Took) {
    sink.stretch(place.stretch);
    took.walked(place, for_each_span_into(bytes, sink));
}

/// As [`take`], of a share of a message.
pub(super) fn take_share(sink: &mut impl SpanSink, place: Place, bytes: &[u8], took: &mut Took) {
    sink.stretch(place.stretch);
    took.walked(place, for_each_span_of_share(bytes, sink));
}
