//! Metrics and logs of a run folder, as streams.

use super::frame::Kind;
use super::reader::{Frames, ReadNote, RunReader};
use super::{LOGS_DIR, METRICS_DIR};
use crate::record::{LogLine, MetricPoint};
use crate::wire::otlp::{Encoding, Signal, WalkedLogs, WalkedPoints};

/// What reading all metrics of a run met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricTotals {
    /// Messages.
    pub batches: u64,
    /// Messages that were no OTLP; some of their points may have been handed on.
    pub bad_batches: u64,
    /// What the messages held.
    pub walked: WalkedPoints,
    /// What could not be read at all.
    pub notes: Vec<ReadNote>,
}

/// What reading all logs of a run met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTotals {
    /// Messages.
    pub batches: u64,
    /// Messages that were no OTLP; some of their records may have been handed on.
    pub bad_batches: u64,
    /// What the messages held.
    pub walked: WalkedLogs,
    /// What could not be read at all.
    pub notes: Vec<ReadNote>,
}

impl RunReader {
    /// All received messages of metrics or logs in the order in which they were appended. (Spans:
    /// [`RunReader::span_batches`].)
    pub fn messages(&self, signal: Signal) -> MessageBatches {
        let folder = match signal {
            Signal::Traces => super::SPANS_DIR,
            Signal::Metrics => METRICS_DIR,
            Signal::Logs => LOGS_DIR,
        };
        MessageBatches { signal, frames: Frames::open(self.dir(), folder) }
    }

    /// Calls `f` with every data point of every metric that was received, in the order of arrival.
    pub fn for_each_metric(&self, f: &mut impl FnMut(&MetricPoint<'_>)) -> MetricTotals {
        let mut totals = MetricTotals::default();
        let mut batches = self.messages(Signal::Metrics);
        while let Some(batch) = batches.next_batch() {
            totals.batches += 1;
            match batch.encoding.for_each_point(batch.bytes, f) {
                Ok(walked) => totals.walked.merge(&walked),
                Err(_) => totals.bad_batches += 1,
            }
        }
        totals.notes = batches.frames.notes;
        totals
    }

    /// Calls `f` with every log record that was received, in the order of arrival.
    pub fn for_each_log(&self, f: &mut impl FnMut(&LogLine<'_>)) -> LogTotals {
        let mut totals = LogTotals::default();
        let mut batches = self.messages(Signal::Logs);
        while let Some(batch) = batches.next_batch() {
            totals.batches += 1;
            match batch.encoding.for_each_log(batch.bytes, f) {
                Ok(walked) => totals.walked.merge(&walked),
                Err(_) => totals.bad_batches += 1,
            }
        }
        totals.notes = batches.frames.notes;
        totals
    }
}

/// Streams received messages of one signal.
#[derive(Debug)]
pub struct MessageBatches {
    signal: Signal,
    frames: Frames,
}

/// One message as received.
#[derive(Clone, Copy, Debug)]
pub struct MessageBatch<'a> {
    /// How it is written.
    pub encoding: Encoding,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Spans, data points or log records that it was counted to hold when it was received.
    pub records: u32,
}

impl MessageBatches {
    /// The next message; its bytes are valid until the next call.
    pub fn next_batch(&mut self) -> Option<MessageBatch<'_>> {
        loop {
            let (header, _) = self.frames.next_frame()?;
            match Kind::from_byte(header.kind).and_then(Kind::message) {
                Some((signal, encoding)) if signal == self.signal => {
                    let (bytes, records) = (&self.frames.payload[..], header.count);
                    return Some(MessageBatch { encoding, bytes, records });
                }
                _ => self
                    .frames
                    .note_frame("the record is sound but of a kind that this version does not know"),
            }
        }
    }

    /// What could not be read so far.
    pub fn notes(&self) -> &[ReadNote] {
        &self.frames.notes
    }
}
