//! Sinks that take the shares of a run, one thread each and nobody else: whoever has nothing to do reads the next message,
//! takes the spans of its own share, and leaves those of others in their boxes.
//!
//! So all threads are busy to the end whatever their speed: a reader of its own is a thread more than there are cores, for
//! which the others wait in turn. Spans come to a sink in no certain order. Nobody waits for somebody who waits: a thread whose
//! own box holds something empties it before it waits for room in another, and a box that is full holds something.

use super::fanout::{Place, Took, join, take_share};
use super::reader::SpanBatches;
use crate::record::{Partition, SpanSink, TraceId};
use crate::wire::otlp::{Encoding, split};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a thread stays awake while another reads its message: reading takes some thirty microseconds, and whoever lies down
/// for that is woken after several times as long.
const AWAKE: Duration = Duration::from_micros(80);
/// Pauses of the processor between two looks.
const PAUSES: usize = 8;

/// Letters that may wait in a box: few, so that they are still close to the processor when it comes to them.
const WAITING: usize = 8;

/// The spans of one share that were in one message.
struct Letter {
    place: Place,
    bytes: Vec<u8>,
}

/// What the threads share.
struct Desk<'b> {
    source: Mutex<Source<'b>>,
    boxes: Mutex<Boxes>,
    /// Told when a letter was put into an empty box or taken from a full one, or when a thread reads no more.
    moved: Condvar,
}

struct Source<'b> {
    batches: &'b mut SpanBatches,
    read: u64,
}

struct Boxes {
    /// By sink.
    letters: Vec<VecDeque<Letter>>,
    /// Sinks that take nothing any more.
    gone: Vec<bool>,
    /// Threads that may still leave letters.
    reading: usize,
    /// Threads that wait.
    asleep: usize,
    /// Buffers of letters that were read, to be used again.
    spare: Vec<Vec<u8>>,
}

/// A panic elsewhere ends in the thread that joins.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives every sink the spans of its share: that of the first sink, and those that follow it.
pub(super) fn read<S: SpanSink + Send>(sinks: &mut [S], first: Partition, batches: &mut SpanBatches) -> Took {
    let n = sinks.len();
    let boxes = Boxes {
        letters: (0..n).map(|_| VecDeque::new()).collect(),
        gone: vec![false; n],
        reading: n,
        asleep: 0,
        spare: Vec::new(),
    };
    let source = Source { batches, read: 0 };
    let desk = Desk { source: Mutex::new(source), boxes: Mutex::new(boxes), moved: Condvar::new() };
    let mut took = thread::scope(|scope| {
        let mut workers = Vec::new();
        for (me, sink) in sinks.iter_mut().enumerate() {
            let desk = &desk;
            workers.push(scope.spawn(move || Reader { desk, me, first, reads: true }.run(sink)));
        }
        join(workers, Took::default())
    });
    took.totals.batches = locked(&desk.source).read;
    took
}

/// One thread at the desk.
struct Reader<'d, 'b> {
    desk: &'d Desk<'b>,
    me: usize,
    first: Partition,
    /// Whether it may still leave letters.
    reads: bool,
}

impl Reader<'_, '_> {
    fn run(mut self, sink: &mut impl SpanSink) -> Took {
        let mut took = Took::default();
        let mut message = Vec::new();
        let mut shares: Vec<Vec<u8>> = locked(&self.desk.boxes).letters.iter().map(|_| Vec::new()).collect();
        loop {
            // What others found comes first: it has been waiting.
            while let Some(letter) = self.desk.look(self.me) {
                self.open(letter, sink, &mut took);
            }
            let Some((encoding, place)) = self.desk.next(&mut message) else { break };
            let Ok(bytes) = encoding.to_protobuf(&message) else {
                took.totals.bad_batches += 1;
                continue;
            };
            let mut share = |trace: &TraceId| {
                let at = Partition::index_of(trace, self.first.of).checked_sub(self.first.index)?;
                Some(at as usize)
            };
            if split(&bytes, &mut share, &mut shares).is_err() {
                took.bad.push(place.number);
            }
            // Others' first: they may be waiting for work.
            let others =
                shares.iter_mut().enumerate().filter(|(to, share)| *to != self.me && !share.is_empty());
            for (to, share) in others {
                let spare = self.desk.boxes().spare.pop().unwrap_or_default();
                let mut letter = Some(Letter { place, bytes: std::mem::replace(share, spare) });
                while let Some(mine) = self.desk.leave(self.me, to, &mut letter) {
                    self.open(mine, sink, &mut took);
                }
            }
            take_share(sink, place, &shares[self.me], &mut took);
        }
        self.read_no_more();
        while let Some(letter) = self.desk.wait_for(self.me) {
            self.open(letter, sink, &mut took);
        }
        took
    }

    fn open(&self, letter: Letter, sink: &mut impl SpanSink, took: &mut Took) {
        take_share(sink, letter.place, &letter.bytes, took);
        self.desk.boxes().spare.push(letter.bytes);
    }

    fn read_no_more(&mut self) {
        if std::mem::take(&mut self.reads) {
            self.desk.boxes().reading -= 1;
            self.desk.moved.notify_all();
        }
    }
}

/// Also where a sink panics: the others must not wait for its letters, nor for room in its box.
impl Drop for Reader<'_, '_> {
    fn drop(&mut self) {
        self.read_no_more();
        let mut boxes = self.desk.boxes();
        boxes.letters[self.me].clear();
        boxes.gone[self.me] = true;
        drop(boxes);
        self.desk.moved.notify_all();
    }
}

impl<'b> Desk<'b> {
    fn boxes(&self) -> MutexGuard<'_, Boxes> {
        locked(&self.boxes)
    }

    /// Reads the next message.
    fn next(&self, into: &mut Vec<u8>) -> Option<(Encoding, Place)> {
        let mut source = self.turn();
        let (encoding, stretch) = source.batches.next_into(into)?;
        let number = source.read;
        source.read += 1;
        Some((encoding, Place { number, stretch }))
    }

    /// Waits until nobody else reads: awake for as long as that usually takes.
    fn turn(&self) -> MutexGuard<'_, Source<'b>> {
        let since = Instant::now();
        while since.elapsed() < AWAKE {
            match self.source.try_lock() {
                Ok(source) => return source,
                Err(TryLockError::Poisoned(poisoned)) => return poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => (0..PAUSES).for_each(|_| std::hint::spin_loop()),
            }
        }
        locked(&self.source)
    }

    /// What lies in a box first, if anything does.
    fn look(&self, me: usize) -> Option<Letter> {
        self.pop(&mut self.boxes(), me)
    }

    /// Puts a letter into a box. Where that is full, gives what lies in the sender's own instead, and waits where that is
    /// empty.
    fn leave(&self, me: usize, to: usize, letter: &mut Option<Letter>) -> Option<Letter> {
        let mut boxes = self.boxes();
        loop {
            if boxes.gone[to] {
                return None;
            }
            let lie = boxes.letters[to].len();
            if lie < WAITING {
                boxes.letters[to].extend(letter.take());
                self.tell(&boxes, lie == 0);
                return None;
            }
            if let Some(mine) = self.pop(&mut boxes, me) {
                return Some(mine);
            }
            boxes = self.sleep(boxes);
        }
    }

    /// The next letter; `None` when there will be no more.
    fn wait_for(&self, me: usize) -> Option<Letter> {
        let mut boxes = self.boxes();
        loop {
            if let Some(letter) = self.pop(&mut boxes, me) {
                return Some(letter);
            }
            if boxes.reading == 0 {
                return None;
            }
            boxes = self.sleep(boxes);
        }
    }

    fn pop(&self, boxes: &mut Boxes, me: usize) -> Option<Letter> {
        let letter = boxes.letters[me].pop_front()?;
        self.tell(boxes, boxes.letters[me].len() + 1 == WAITING);
        Some(letter)
    }

    /// Wakes those who wait for such news, if there are any.
    fn tell(&self, boxes: &Boxes, news: bool) {
        if news && boxes.asleep > 0 {
            self.moved.notify_all();
        }
    }

    fn sleep<'g>(&self, mut boxes: MutexGuard<'g, Boxes>) -> MutexGuard<'g, Boxes> {
        boxes.asleep += 1;
        let mut boxes = self.moved.wait(boxes).unwrap_or_else(PoisonError::into_inner);
        boxes.asleep -= 1;
        boxes
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use crate::record::{BareSpan, Partition, Span, SpanId, SpanSink, TraceId};
    use crate::wire::folder::{RunReader, RunWriter, Stretch};
    use crate::wire::otlp::Encoding;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Message};
    use prost::Message as _;
    use std::path::Path;

    const MESSAGES: u64 = 300;
    const SPANS: u64 = 40;
    /// Long enough for several stretches.
    const NAME: usize = 500;

    fn trace_of(n: u64) -> [u8; 16] {
        let mut id = [3; 16];
        id[..8].copy_from_slice(&(n % 97).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        id
    }

    fn written(dir: &Path) -> RunReader {
        let mut writer = RunWriter::create(dir, &run()).unwrap();
        for number in 0..MESSAGES {
            let spans = (0..SPANS)
                .map(|n| Message {
                    trace_id: trace_of(number / 3 + n).to_vec(),
                    span_id: (number * SPANS + n + 1).to_be_bytes().to_vec(),
                    name: "n".repeat(NAME),
                    ..Message::default()
                })
                .collect();
            let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
            let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
            let bytes = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
            writer.append_spans(Encoding::Protobuf, &bytes, SPANS).unwrap();
            if number == 100 {
                writer.append_spans(Encoding::Protobuf, &bytes[..bytes.len() - 1], SPANS).unwrap();
                writer.append_spans(Encoding::Json, b"{", SPANS).unwrap();
            }
        }
        writer.finish(&run()).unwrap();
        RunReader::open(dir).unwrap()
    }

    /// Keeps the spans of its share with their stretches.
    struct Share {
        partition: Partition,
        stretch: u32,
        came: Vec<(SpanId, TraceId, u32)>,
        /// Spans that it takes before it panics.
        patience: usize,
        pause: bool,
    }

    impl SpanSink for Share {
        fn partition(&self) -> Partition {
            self.partition
        }
        fn stretch(&mut self, number: u32) {
            self.stretch = number;
            if self.pause {
                std::thread::sleep(std::time::Duration::from_micros(200));
            }
        }
        fn wants(&mut self, trace: &TraceId) -> bool {
            assert!(self.partition.holds(trace), "a span of another share");
            true
        }
        fn bare(&mut self, _: &BareSpan<'_>) -> bool {
            false
        }
        fn span(&mut self, span: &Span<'_>, _: Option<u128>) {
            assert!(self.came.len() < self.patience, "no more");
            self.came.push((span.span_id, span.trace_id, self.stretch));
        }
    }

    fn shares(of: u32) -> Vec<Share> {
        let share = |index| Share {
            partition: Partition { index, of },
            stretch: 0,
            came: Vec::new(),
            patience: usize::MAX,
            pause: false,
        };
        (0..of).map(share).collect()
    }

    #[test]
    fn every_span_comes_once_whoever_reads_and_however_slow_a_thread_is() {
        let dir = tempfile::tempdir().unwrap();
        let reader = written(&dir.path().join("run"));
        let mut alone = shares(1);
        let want = reader.spans_into(&mut alone);
        assert!(want.stretches.len() > 4 && want.bad_batches == 2);
        let mut all = alone.remove(0).came;
        all.sort_unstable();
        for (of, slow) in [(2, None), (2, Some(0)), (3, Some(2)), (7, None)] {
            let mut sinks = shares(of);
            if let Some(slow) = slow {
                sinks[slow].pause = true;
            }
            let totals = reader.spans_into(&mut sinks);
            assert_eq!(totals, want);
            let mut came: Vec<_> = sinks.into_iter().flat_map(|sink| sink.came).collect();
            came.sort_unstable();
            assert_eq!(came, all, "{of} threads");
        }
    }

    #[test]
    fn the_stretches_of_a_trace_are_enough_to_find_its_spans_again() {
        let dir = tempfile::tempdir().unwrap();
        let reader = written(&dir.path().join("run"));
        let mut sinks = shares(2);
        let totals = reader.spans_into(&mut sinks);
        let came: Vec<_> = sinks.into_iter().flat_map(|sink| sink.came).collect();
        for n in [0, 5, 60, 96] {
            let wanted = TraceId(trace_of(n));
            let of_trace = || came.iter().filter(|(_, trace, _)| *trace == wanted);
            let lie: std::collections::BTreeSet<u32> = of_trace().map(|(.., stretch)| *stretch).collect();
            let within: Vec<Stretch> = lie.iter().map(|at| totals.stretches[*at as usize]).collect();
            let (mut want, mut found): (Vec<_>, Vec<_>) =
                (of_trace().map(|(id, ..)| *id).collect(), Vec::new());
            reader.for_each_span_within(within, &mut |id| id == wanted, &mut |span| found.push(span.span_id));
            want.sort_unstable();
            assert!(found.is_sorted() && want.len() > 20, "{}", want.len());
            assert_eq!(found, want, "trace {n} in {lie:?}");
        }
    }

    #[test]
    #[should_panic(expected = "no more")]
    fn a_panic_in_a_sink_ends_all_and_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let reader = written(&dir.path().join("run"));
        let mut sinks = shares(3);
        sinks[1].patience = 50;
        reader.spans_into(&mut sinks);
    }
}
