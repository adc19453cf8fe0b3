//! The writing side of a run folder: one owner, everything appended.

use super::error::{FolderError, Lost};
use super::exchange_codec::Encoder;
use super::frame::{Kind, MAX_PAYLOAD};
use super::segment::{Disk, SEGMENT_MAX, SegmentWriter, SystemDisk, merge};
use super::{EXCHANGES_DIR, LOGS_DIR, METRICS_DIR, RUN_FILE, SPANS_DIR, document};
use crate::record::{Exchange, Run};
use crate::wire::otlp::{Encoding, Signal};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A frame of exchanges is closed when its payload has this many bytes.
const EXCHANGE_FRAME: usize = 128 << 10;
/// What was appended reaches the system after this long at the latest.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Writes one run. Nothing is ever overwritten but `run.json`, which is replaced whole.
///
/// Records reach the system (and survive the death of this process) within a second of being appended, as long as
/// something is appended or [`RunWriter::flush_if_due`] is called.
pub struct RunWriter {
    dir: PathBuf,
    exchanges: SegmentWriter,
    spans: SegmentWriter,
    metrics: SegmentWriter,
    logs: SegmentWriter,
    pending: Encoder,
    flushed_at: Instant,
}

impl RunWriter {
    /// Makes the folder, its parents and its first `run.json`. A folder that has something in it is refused.
    pub fn create(dir: &Path, run: &Run) -> Result<RunWriter, FolderError> {
        RunWriter::create_on(dir, run, || Box::new(SystemDisk), SEGMENT_MAX)
    }

    pub(super) fn create_on(
        dir: &Path,
        run: &Run,
        disk: impl Fn() -> Box<dyn Disk>,
        segment_max: u64,
    ) -> Result<RunWriter, FolderError> {
        if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(FolderError::Occupied { path: dir.to_owned() });
        }
        for part in [EXCHANGES_DIR, SPANS_DIR, METRICS_DIR, LOGS_DIR] {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(|source| write_error(&path, source))?;
        }
        let writer = RunWriter {
            dir: dir.to_owned(),
            exchanges: SegmentWriter::new(dir.join(EXCHANGES_DIR), disk(), segment_max),
            spans: SegmentWriter::new(dir.join(SPANS_DIR), disk(), segment_max),
            metrics: SegmentWriter::new(dir.join(METRICS_DIR), disk(), segment_max),
            logs: SegmentWriter::new(dir.join(LOGS_DIR), disk(), segment_max),
            pending: Encoder::default(),
            flushed_at: Instant::now(),
        };
        // A power cut this early loses nothing that was measured, and a disk may take long: the load is about to begin.
        writer.put_run(run, |_| Ok(()))?;
        Ok(writer)
    }

    /// Opens a folder that is there to append to it: new segments after those that it has, so that nothing that was
    /// written before is touched.
    pub fn reopen(dir: &Path) -> Result<RunWriter, FolderError> {
        let after = |part: &str| {
            let path = dir.join(part);
            fs::create_dir_all(&path).map_err(|source| write_error(&path, source))?;
            SegmentWriter::after_those_in(path, Box::new(SystemDisk), SEGMENT_MAX)
        };
        if !dir.join(RUN_FILE).is_file() {
            return Err(FolderError::NotARun { path: dir.to_owned(), reason: "it has no run.json".into() });
        }
        Ok(RunWriter {
            dir: dir.to_owned(),
            exchanges: after(EXCHANGES_DIR)?,
            spans: after(SPANS_DIR)?,
            metrics: after(METRICS_DIR)?,
            logs: after(LOGS_DIR)?,
            pending: Encoder::default(),
            flushed_at: Instant::now(),
        })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Replaces `run.json`: readers see the old one or the new one, never half of one.
    pub fn write_run(&self, run: &Run) -> Result<(), FolderError> {
        self.put_run(run, File::sync_data)
    }

    fn put_run(&self, run: &Run, sync: impl Fn(&File) -> io::Result<()>) -> Result<(), FolderError> {
        let path = self.dir.join(RUN_FILE);
        let half = self.dir.join("run.json.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&half)?;
            file.write_all(&document::to_json(run)?)?;
            sync(&file)?;
            fs::rename(&half, &path)
        };
        write().map_err(|source| {
            let _ = fs::remove_file(&half);
            write_error(&path, source)
        })
    }

    /// Appends exchanges. On an error what is on disk is valid, the error counts what is lost (which may include
    /// records of earlier calls), and later calls try again.
    pub fn append_exchanges(&mut self, exchanges: &[Exchange]) -> Result<(), FolderError> {
        let mut result = Ok(());
        for exchange in exchanges {
            self.pending.push(exchange);
            if self.pending.payload().len() >= EXCHANGE_FRAME {
                result = merge(result, self.close_frame());
            }
        }
        merge(result, self.flush_if_due())
    }

    /// Appends one OTLP trace message exactly as it was received. Errors as in [`RunWriter::append_exchanges`].
    pub fn append_spans(&mut self, encoding: Encoding, bytes: &[u8], spans: u64) -> Result<(), FolderError> {
        self.append_message(Signal::Traces, encoding, bytes, spans)
    }

    /// Appends one OTLP message of any signal exactly as it was received, with the number of its spans, data points or
    /// log records. Errors as in [`RunWriter::append_exchanges`].
    pub fn append_message(
        &mut self,
        signal: Signal,
        encoding: Encoding,
        bytes: &[u8],
        records: u64,
    ) -> Result<(), FolderError> {
        let holds = Lost::message(signal, records);
        if bytes.len() > MAX_PAYLOAD {
            return Err(FolderError::TooLarge { size: bytes.len(), lost: holds });
        }
        let kind = Kind::of_message(signal, encoding);
        let count = u32::try_from(records).unwrap_or(u32::MAX);
        let segments = match signal {
            Signal::Traces => &mut self.spans,
            Signal::Metrics => &mut self.metrics,
            Signal::Logs => &mut self.logs,
        };
        let result = segments.push(kind, count, bytes, holds);
        merge(result, self.flush_if_due())
    }

    fn segments(&mut self) -> impl Iterator<Item = &mut SegmentWriter> {
        [&mut self.exchanges, &mut self.spans, &mut self.metrics, &mut self.logs].into_iter()
    }

    fn close_frame(&mut self) -> Result<(), FolderError> {
        let count = self.pending.count();
        if count == 0 {
            return Ok(());
        }
        let holds = Lost { exchanges: u64::from(count), ..Lost::default() };
        let result = self.exchanges.push(Kind::Exchanges, count, self.pending.payload(), holds);
        self.pending.clear();
        result
    }

    /// Flushes when the last flush was a second ago or more; for the owner's ticker.
    pub fn flush_if_due(&mut self) -> Result<(), FolderError> {
        if self.flushed_at.elapsed() >= FLUSH_INTERVAL { self.flush() } else { Ok(()) }
    }

    /// Hands everything to the system: from here on it survives `kill -9`.
    pub fn flush(&mut self) -> Result<(), FolderError> {
        self.flushed_at = Instant::now();
        let result = self.close_frame();
        self.segments().fold(result, |result, segments| merge(result, segments.flush()))
    }

    /// Flushes, asks the system to put everything on the medium, and replaces `run.json`.
    pub fn finish(mut self, run: &Run) -> Result<(), FolderError> {
        let result = self.flush();
        let result = self.segments().fold(result, |result, segments| merge(result, segments.finish()));
        merge(result, self.write_run(run))
    }
}

impl Drop for RunWriter {
    /// A writer that is dropped on the way out of an error still leaves what it has.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

fn write_error(path: &Path, source: io::Error) -> FolderError {
    FolderError::Write { path: path.to_owned(), source, lost: Lost::default() }
}
