//! A queue of messages on disk with a cap, in the format of a run folder's segments.
//!
//! A segment is removed when all its messages have been dealt with, not when they have been read: what was on its way when
//! the process died is still there for the next one, which may then send it a second time.

use super::frame::{FRAME_HEADER, Kind, SEGMENT_HEADER, put_frame, segment_header};
use super::reader::{Frames, Segment};
use super::segment_name;
use crate::wire::otlp::{Encoding, Signal};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A segment is closed when it has grown beyond this, so that space is given back as the queue empties.
const SEGMENT: u64 = 8 << 20;

const LOCK: &str = "lock";

/// A message from the queue; give `ticket` to [`MessageQueue::done`] when it has been dealt with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// What kind of telemetry.
    pub signal: Signal,
    /// How it is written.
    pub encoding: Encoding,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The number that it was pushed with.
    pub records: u32,
    /// Where it lies.
    pub ticket: u64,
}

/// First in, first out; beyond memory, up to a number of bytes.
#[derive(Debug)]
pub struct MessageQueue {
    dir: PathBuf,
    max: u64,
    bytes: u64,
    next: u64,
    segments: VecDeque<State>,
    writing: Option<File>,
    reading: Option<Segment>,
    /// Bytes that could not be read back.
    damaged: u64,
    /// The first segment that this process began; those before are from an earlier one.
    own: u64,
    /// Held as long as the queue is open.
    _lock: File,
}

#[derive(Debug)]
struct State {
    index: u64,
    bytes: u64,
    /// Read, but not dealt with.
    out: u64,
    exhausted: bool,
}

impl MessageQueue {
    /// Opens a queue, with what an earlier process left in it. A folder that another process has open gives
    /// [`io::ErrorKind::WouldBlock`].
    pub fn open(dir: &Path, max: u64) -> io::Result<MessageQueue> {
        fs::create_dir_all(dir)?;
        let lock = File::create(dir.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        let mut segments = Vec::new();
        for (index, path) in Frames::segments(dir)? {
            segments.push(State { index, bytes: fs::metadata(path)?.len(), out: 0, exhausted: false });
        }
        segments.sort_by_key(|segment| segment.index);
        let next = segments.last().map_or(0, |last| last.index + 1);
        Ok(MessageQueue {
            dir: dir.to_owned(),
            max,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            next,
            own: next,
            _lock: lock,
            segments: segments.into(),
            writing: None,
            reading: None,
            damaged: 0,
        })
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that could not be read back so far: torn or damaged.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Whether a message was left by an earlier process.
    pub fn is_inherited(&self, ticket: u64) -> bool {
        ticket < self.own
    }

    /// Whether there is nothing left to read.
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.exhausted)
    }

    /// Adds a message; false where the cap leaves no room for it.
    pub fn push(
        &mut self,
        signal: Signal,
        encoding: Encoding,
        bytes: &[u8],
        records: u64,
    ) -> io::Result<bool> {
        let size = (FRAME_HEADER + bytes.len()) as u64;
        if self.bytes + size + SEGMENT_HEADER as u64 > self.max {
            return Ok(false);
        }
        let mut frame = Vec::with_capacity(size as usize + SEGMENT_HEADER);
        let file = match &mut self.writing {
            Some(file) => file,
            None => {
                let path = self.path(self.next);
                let file = OpenOptions::new().append(true).create_new(true).open(path)?;
                self.segments.push_back(State { index: self.next, bytes: 0, out: 0, exhausted: false });
                self.next += 1;
                frame.extend_from_slice(&segment_header());
                self.writing.insert(file)
            }
        };
        let count = u32::try_from(records).unwrap_or(u32::MAX);
        put_frame(&mut frame, Kind::of_message(signal, encoding), count, bytes);
        let Some(state) = self.segments.back_mut() else { return Ok(false) };
        if let Err(error) = file.write_all(&frame) {
            // Half a frame would make what follows unreadable.
            let cut = file.set_len(state.bytes);
            if cut.is_err() || state.bytes == 0 {
                self.writing = None;
            }
            return Err(error);
        }
        state.bytes += frame.len() as u64;
        self.bytes += frame.len() as u64;
        if state.bytes >= SEGMENT {
            self.writing = None;
        }
        Ok(true)
    }

    /// The oldest message that has not been read.
    pub fn pop(&mut self) -> Option<Queued> {
        loop {
            let at = self.segments.iter().position(|segment| !segment.exhausted)?;
            let index = self.segments.get(at)?.index;
            if self.reading.is_none() {
                if at + 1 == self.segments.len() {
                    // The size of a segment is taken when it is opened, so nothing more may be added to it.
                    self.writing = None;
                }
                self.reading = Segment::open(&self.path(index), String::new()).ok().flatten();
            }
            let mut payload = Vec::new();
            let read = match &mut self.reading {
                Some(segment) => segment.read_frame(&mut payload),
                None => Ok(None),
            };
            let state = self.segments.get_mut(at)?;
            match read {
                Ok(Some(header)) => {
                    let Some((signal, encoding)) = Kind::from_byte(header.kind).and_then(Kind::message)
                    else {
                        self.damaged += u64::from(header.len);
                        continue;
                    };
                    state.out += 1;
                    return Some(Queued {
                        signal,
                        encoding,
                        bytes: payload,
                        records: header.count,
                        ticket: index,
                    });
                }
                Ok(None) => {}
                Err(_) => {
                    self.damaged += self.reading.as_ref().map_or(0, |segment| segment.left());
                }
            }
            state.exhausted = true;
            self.reading = None;
            self.remove_spent();
        }
    }

    /// A message has been dealt with: sent, refused, or given up.
    pub fn done(&mut self, ticket: u64) {
        if let Some(state) = self.segments.iter_mut().find(|segment| segment.index == ticket) {
            state.out = state.out.saturating_sub(1);
        }
        self.remove_spent();
    }

    fn remove_spent(&mut self) {
        let spent = |segment: &State| segment.exhausted && segment.out == 0;
        for segment in self.segments.iter().filter(|segment| spent(segment)) {
            // A file that cannot be removed is sent again by the next process, and its receiver knows it again.
            let _ = fs::remove_file(self.dir.join(segment_name(segment.index as u32)));
            self.bytes -= segment.bytes.min(self.bytes);
        }
        self.segments.retain(|segment| !spent(segment));
    }

    fn path(&self, index: u64) -> PathBuf {
        self.dir.join(segment_name(index as u32))
    }
}

impl Drop for MessageQueue {
    /// An empty queue leaves nothing behind.
    fn drop(&mut self) {
        if self.segments.is_empty() {
            let _ = fs::remove_file(self.dir.join(LOCK));
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn push(queue: &mut MessageQueue, n: u64) -> bool {
        queue.push(Signal::Traces, Encoding::Protobuf, &n.to_le_bytes(), n).unwrap()
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_is_pushed_comes_out_in_order_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = MessageQueue::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(queue.pop(), None);
        let mut next = 0;
        for round in 0..5 {
            (0..100).for_each(|n| assert!(push(&mut queue, round * 100 + n)));
            for _ in 0..=round * 20 {
                let message = queue.pop().unwrap();
                assert_eq!((message.records, message.bytes), (next, u64::from(next).to_le_bytes().to_vec()));
                queue.done(message.ticket);
                next += 1;
            }
        }
        while let Some(message) = queue.pop() {
            assert_eq!(message.records, next);
            queue.done(message.ticket);
            next += 1;
        }
        assert_eq!((next, queue.bytes(), files(dir.path()), queue.is_empty()), (500, 0, 1, true));
        assert!(MessageQueue::open(dir.path(), 1).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock));
        drop(queue);
        assert!(!dir.path().exists());
    }

    #[test]
    fn the_cap_holds_and_room_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = MessageQueue::open(dir.path(), 1_000).unwrap();
        let taken = (0..100).filter(|n| push(&mut queue, *n)).count();
        assert!((30..40).contains(&taken) && queue.bytes() <= 1_000, "{taken}");
        let all: Vec<Queued> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(all.len(), taken);
        assert!(!push(&mut queue, 1), "nothing has been dealt with yet");
        all.iter().for_each(|message| queue.done(message.ticket));
        assert!(push(&mut queue, 1));
    }

    #[test]
    fn what_was_under_way_when_the_process_died_comes_again_and_a_torn_end_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let mut queue = MessageQueue::open(dir.path(), 1 << 20).unwrap();
        (0..10).for_each(|n| assert!(push(&mut queue, n)));
        let first = queue.pop().unwrap();
        assert_eq!(first.records, 0);
        drop(queue);
        let segment = dir.path().join(segment_name(0));
        let size = fs::metadata(&segment).unwrap().len();
        OpenOptions::new().write(true).open(&segment).unwrap().set_len(size - 3).unwrap();
        let mut queue = MessageQueue::open(dir.path(), 1 << 20).unwrap();
        push(&mut queue, 99);
        let records: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|message| message.records).collect();
        assert_eq!(records, [0, 1, 2, 3, 4, 5, 6, 7, 8, 99]);
        assert!(queue.is_inherited(0) && !queue.is_inherited(1));
        assert_eq!(queue.damaged(), 25);
    }

    proptest! {
        #[test]
        fn it_is_a_queue(steps in prop::collection::vec((any::<bool>(), 0u64..4), 0..60)) {
            let dir = tempfile::tempdir().unwrap();
            let mut queue = MessageQueue::open(dir.path(), 1 << 20).unwrap();
            let mut model = VecDeque::new();
            let mut out = Vec::new();
            for (n, (pushes, count)) in steps.into_iter().enumerate() {
                for _ in 0..count {
                    if pushes {
                        push(&mut queue, n as u64);
                        model.push_back(n as u32);
                    } else {
                        let popped = queue.pop();
                        prop_assert_eq!(popped.as_ref().map(|m| m.records), model.pop_front());
                        out.extend(popped);
                    }
                }
                if count == 3 {
                    out.drain(..).for_each(|message: Queued| queue.done(message.ticket));
                }
            }
            let rest: Vec<u32> = std::iter::from_fn(|| queue.pop()).map(|message| message.records).collect();
            prop_assert_eq!(rest, Vec::from(model));
            prop_assert!(queue.is_empty());
        }
    }
}
