//! The reading side of a run folder: streams, with one frame in memory at a time. What cannot be read becomes a note
//! and never an end of the analysis.

use super::error::FolderError;
use super::exchange_codec::decode;
use super::frame::{FRAME_HEADER, FrameHeader, Kind, SEGMENT_HEADER, SEGMENT_MAGIC, SEGMENT_VERSION};
use super::{EXCHANGES_DIR, LOGS_DIR, METRICS_DIR, RUN_FILE, SPANS_DIR, document};
use crate::record::{Exchange, Run, Span, TraceId};
use crate::wire::otlp::{Encoding, OtlpError, Walked};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Something in a run folder that could not be read. Everything else was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadNote {
    /// The file, below the run folder.
    pub file: String,
    /// Where reading stopped.
    pub offset: u64,
    /// Bytes that were left out.
    pub bytes: u64,
    /// Why.
    pub reason: &'static str,
}

impl fmt::Display for ReadNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes == 0 {
            return write!(f, "{}: {}", self.file, self.reason);
        }
        write!(
            f,
            "{}: {} bytes from byte {} were left out: {}",
            self.file, self.bytes, self.offset, self.reason
        )
    }
}

/// A run folder opened for reading.
#[derive(Debug)]
pub struct RunReader {
    dir: PathBuf,
    run: Run,
}

impl RunReader {
    /// Opens a folder that has a `run.json` of this version or an earlier one.
    pub fn open(dir: &Path) -> Result<RunReader, FolderError> {
        let path = dir.join(RUN_FILE);
        let text = fs::read(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound if !dir.exists() => FolderError::Absent { path: dir.to_owned() },
            io::ErrorKind::NotFound => {
                FolderError::NotARun { path: dir.to_owned(), reason: "it has no run.json".into() }
            }
            io::ErrorKind::NotADirectory => {
                FolderError::NotARun { path: dir.to_owned(), reason: "it is a file".into() }
            }
            _ => FolderError::Read { path, source },
        })?;
        let mut run = document::from_json(&text).map_err(|wrong| match wrong {
            document::Wrong::Newer(format) => FolderError::Newer { path: dir.to_owned(), format },
            document::Wrong::Broken(reason) => FolderError::NotARun { path: dir.to_owned(), reason },
        })?;
        run.load.generator = super::generator::read(dir);
        Ok(RunReader { dir: dir.to_owned(), run })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was run.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// All exchanges in the order in which they were appended.
    pub fn exchanges(&self) -> Exchanges {
        Exchanges { frames: Frames::open(&self.dir, EXCHANGES_DIR), batch: Vec::new() }
    }

    /// All received messages in the order in which they were appended.
    pub fn span_batches(&self) -> SpanBatches {
        SpanBatches { frames: Frames::open(&self.dir, SPANS_DIR), stretches: Vec::new() }
    }

    /// Calls `f` with every span of a trace that `keep` wants and that lies within these stretches, in the order of arrival
    /// where the stretches are in theirs.
    pub fn for_each_span_within(
        &self,
        stretches: impl IntoIterator<Item = Stretch>,
        keep: &mut impl FnMut(TraceId) -> bool,
        f: &mut impl FnMut(&Span<'_>),
    ) {
        for stretch in stretches {
            let mut batches =
                SpanBatches { frames: Frames::of(&self.dir, stretch), stretches: vec![stretch] };
            while let Some(batch) = batches.next_batch().filter(|batch| batch.stretch == 0) {
                // Whoever looks for spans again has been told what cannot be read.
                let _ = batch.for_each_span_where(keep, f);
            }
        }
    }

    /// Calls `f` with every span of a trace that `keep` wants, in the order of arrival.
    pub fn for_each_span_where(
        &self,
        keep: &mut impl FnMut(TraceId) -> bool,
        f: &mut impl FnMut(&Span<'_>),
    ) -> SpanTotals {
        let mut totals = SpanTotals::default();
        let mut batches = self.span_batches();
        while let Some(batch) = batches.next_batch() {
            totals.batches += 1;
            match batch.for_each_span_where(keep, f) {
                Ok(walked) => totals.walked.merge(&walked),
                Err(_) => totals.bad_batches += 1,
            }
        }
        totals.notes = batches.into_parts().0;
        totals
    }

    /// Calls `f` with every span, in the order of arrival.
    pub fn for_each_span(&self, f: &mut impl FnMut(&Span<'_>)) -> SpanTotals {
        self.for_each_span_where(&mut |_| true, f)
    }
}

/// What reading all spans of a run met.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanTotals {
    /// Messages.
    pub batches: u64,
    /// Messages that were no OTLP; some of their spans may have been handed on.
    pub bad_batches: u64,
    /// What the messages held.
    pub walked: Walked,
    /// What could not be read at all.
    pub notes: Vec<ReadNote>,
    /// Where the messages lie, where they were given to sinks.
    pub stretches: Vec<Stretch>,
}

/// Streams exchanges.
#[derive(Debug)]
pub struct Exchanges {
    frames: Frames,
    /// The rest of the frame at hand, last first.
    batch: Vec<Exchange>,
}

impl Iterator for Exchanges {
    type Item = Exchange;

    fn next(&mut self) -> Option<Exchange> {
        while self.batch.is_empty() {
            let (header, payload) = self.frames.next_frame()?;
            let sound = match Kind::from_byte(header.kind) {
                Some(Kind::Exchanges) => decode(payload, header.count, &mut self.batch),
                _ => None,
            };
            if sound.is_none() {
                self.batch.clear();
                self.frames.note_frame("the record is sound but of a kind that this version does not know");
            }
            self.batch.reverse();
        }
        self.batch.pop()
    }
}

impl Exchanges {
    /// What could not be read so far.
    pub fn notes(&self) -> &[ReadNote] {
        &self.frames.notes
    }
}

/// Messages that lie one after the other, about [`STRETCH`] bytes of them: small enough to be read again for one trace, and
/// few enough to be remembered for a run of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Number of the file.
    segment: u64,
    /// Where the first message begins.
    offset: u64,
}

/// Messages that begin further from the first than this belong to the next stretch.
const STRETCH: u64 = 1 << 20;

impl Stretch {
    fn holds(&self, other: &Stretch) -> bool {
        self.segment == other.segment && (self.offset..self.offset + STRETCH).contains(&other.offset)
    }
}

/// Streams received messages.
#[derive(Debug)]
pub struct SpanBatches {
    frames: Frames,
    /// Where the messages so far lie.
    stretches: Vec<Stretch>,
}

/// One message as received.
#[derive(Clone, Copy, Debug)]
pub struct SpanBatch<'a> {
    /// How it is written.
    pub encoding: Encoding,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Spans that it was counted to hold when it was received.
    pub spans: u32,
    /// In which of the stretches it lies, counted from 0.
    pub stretch: u32,
}

impl SpanBatches {
    /// The next message; its bytes are valid until the next call.
    pub fn next_batch(&mut self) -> Option<SpanBatch<'_>> {
        let (encoding, spans) = self.next_message()?;
        let stretch = self.stretch();
        Some(SpanBatch { encoding, bytes: &self.frames.payload, spans, stretch })
    }

    /// The next message as [`SpanBatches::next_batch`] has it, its bytes in `into`: its encoding and its stretch. What was in
    /// `into` is lost.
    pub fn next_into(&mut self, into: &mut Vec<u8>) -> Option<(Encoding, u32)> {
        let (encoding, _) = self.next_message()?;
        std::mem::swap(&mut self.frames.payload, into);
        Some((encoding, self.stretch()))
    }

    /// The stretch of the message that was read last.
    fn stretch(&self) -> u32 {
        u32::try_from(self.stretches.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// Reads the next message: its encoding and its number of spans.
    fn next_message(&mut self) -> Option<(Encoding, u32)> {
        loop {
            let (header, _) = self.frames.next_frame()?;
            let encoding = match Kind::from_byte(header.kind) {
                Some(Kind::SpansProtobuf) => Encoding::Protobuf,
                Some(Kind::SpansJson) => Encoding::Json,
                _ => {
                    self.frames
                        .note_frame("the record is sound but of a kind that this version does not know");
                    continue;
                }
            };
            let count = header.count;
            if let Some(at) = self.frames.place()
                && !self.stretches.last().is_some_and(|last| last.holds(&at))
            {
                self.stretches.push(at);
            }
            return Some((encoding, count));
        }
    }

    /// What could not be read so far.
    pub fn notes(&self) -> &[ReadNote] {
        &self.frames.notes
    }

    /// What could not be read, and where all messages lie.
    pub fn into_parts(self) -> (Vec<ReadNote>, Vec<Stretch>) {
        (self.frames.notes, self.stretches)
    }
}

impl SpanBatch<'_> {
    /// Calls `f` with every span.
    pub fn for_each_span(&self, f: &mut impl FnMut(&Span<'_>)) -> Result<Walked, OtlpError> {
        self.encoding.for_each_span(self.bytes, f)
    }

    /// Calls `f` with every span of a trace that `keep` wants.
    pub fn for_each_span_where(
        &self,
        keep: &mut impl FnMut(TraceId) -> bool,
        f: &mut impl FnMut(&Span<'_>),
    ) -> Result<Walked, OtlpError> {
        self.encoding.for_each_span_where(self.bytes, keep, f)
    }
}

/// The frames of all segments of one folder, in order.
#[derive(Debug)]
pub(super) struct Frames {
    folder: &'static str,
    /// Segments that are still to be read, last first.
    segments: Vec<PathBuf>,
    open: Option<Segment>,
    /// Number of the file that was opened last.
    number: u64,
    pub payload: Vec<u8>,
    pub notes: Vec<ReadNote>,
}

#[derive(Debug)]
pub(super) struct Segment {
    file: BufReader<File>,
    name: String,
    /// Where the frame that was read last begins.
    begun: u64,
    /// Where the next frame begins.
    offset: u64,
    /// Size of the file when it was opened.
    size: u64,
}

impl Frames {
    fn none(folder: &'static str) -> Frames {
        let (payload, notes) = (Vec::new(), Vec::new());
        Frames { folder, segments: Vec::new(), open: None, number: 0, payload, notes }
    }

    /// Those of one file of spans from a stretch on.
    fn of(dir: &Path, stretch: Stretch) -> Frames {
        let mut frames = Frames::none(SPANS_DIR);
        let segments = Frames::segments(&dir.join(SPANS_DIR)).unwrap_or_default();
        if let Some((_, path)) = segments.into_iter().find(|(number, _)| *number == stretch.segment) {
            frames.open_segment(&path);
            frames.open = frames.open.take().and_then(|segment| segment.go_to(stretch.offset));
        }
        frames
    }

    pub fn open(dir: &Path, folder: &'static str) -> Frames {
        let mut frames = Frames::none(folder);
        match Frames::segments(&dir.join(folder)) {
            Ok(mut segments) => {
                segments.sort_by_key(|(index, _)| std::cmp::Reverse(*index));
                frames.segments = segments.into_iter().map(|(_, path)| path).collect();
            }
            // Earlier versions kept no metrics and logs.
            Err(error)
                if error.kind() == io::ErrorKind::NotFound && matches!(folder, METRICS_DIR | LOGS_DIR) => {}
            Err(_) => frames.note(folder.to_owned(), 0, 0, "the folder is missing or cannot be read"),
        }
        frames
    }

    /// Numbers and paths of all segments of a folder, in no order.
    pub fn segments(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
        let paths = fs::read_dir(dir)?.flatten().map(|entry| entry.path());
        Ok(paths.filter_map(|path| Some((segment_index(&path)?, path))).collect())
    }

    fn note(&mut self, file: String, offset: u64, bytes: u64, reason: &'static str) {
        self.notes.push(ReadNote { file, offset, bytes, reason });
    }

    /// Notes that the frame just read was not understood.
    pub fn note_frame(&mut self, reason: &'static str) {
        let bytes = (FRAME_HEADER + self.payload.len()) as u64;
        let place = self.open.as_ref().map(|segment| (segment.name.clone(), segment.offset));
        let (name, end) = place.unwrap_or_default();
        self.note(name, end.saturating_sub(bytes), bytes, reason);
    }

    /// The next whole frame; a torn or broken one ends its segment with a note, and the next segment follows.
    pub fn next_frame(&mut self) -> Option<(FrameHeader, &[u8])> {
        loop {
            if self.open.is_none() {
                let path = self.segments.pop()?;
                self.open_segment(&path);
                continue;
            }
            let segment = self.open.as_mut()?;
            match segment.read_frame(&mut self.payload) {
                Ok(Some(header)) => return Some((header, &self.payload)),
                Ok(None) => self.open = None,
                Err(reason) => {
                    let bytes = segment.size.saturating_sub(segment.offset);
                    let (name, offset) = (segment.name.clone(), segment.offset);
                    self.open = None;
                    self.note(name, offset, bytes, reason);
                }
            }
        }
    }

    /// Where the frame that was read last begins.
    fn place(&self) -> Option<Stretch> {
        self.open.as_ref().map(|open| Stretch { segment: self.number, offset: open.begun })
    }

    fn open_segment(&mut self, path: &Path) {
        self.number = segment_index(path).unwrap_or_default();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = format!("{}/{name}", self.folder);
        match Segment::open(path, name.clone()) {
            Ok(segment) => self.open = segment,
            Err((size, reason)) => self.note(name, 0, size, reason),
        }
    }
}

/// Number of a segment file; other files are not ours to read.
fn segment_index(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".seg")?.parse().ok()
}

impl Segment {
    /// Opens a segment; `None` where it is empty, and where it is not to be read, its size and why.
    pub fn open(path: &Path, name: String) -> Result<Option<Segment>, (u64, &'static str)> {
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let Ok((size, file)) = opened else {
            return Err((0, "the file cannot be opened"));
        };
        if size == 0 {
            return Ok(None);
        }
        // Smaller than most messages: what is beyond it is read to where it is wanted, without a copy.
        let mut file = BufReader::with_capacity(32 << 10, file);
        let mut header = [0; SEGMENT_HEADER];
        if file.read_exact(&mut header).is_err() {
            return Err((size, "the file ends before its header does"));
        }
        if !header.starts_with(SEGMENT_MAGIC) {
            return Err((size, "the file is not a segment of a run"));
        }
        if header[12..] != SEGMENT_VERSION.to_le_bytes() {
            return Err((size, "a newer hotspan wrote the file"));
        }
        let offset = SEGMENT_HEADER as u64;
        Ok(Some(Segment { file, name, begun: offset, offset, size }))
    }

    /// The same from a later frame on; `None` where there is none.
    fn go_to(mut self, offset: u64) -> Option<Segment> {
        self.file.seek(SeekFrom::Start(offset)).ok()?;
        self.offset = offset;
        (offset < self.size).then_some(self)
    }

    /// Bytes that have not been read.
    pub fn left(&self) -> u64 {
        self.size.saturating_sub(self.offset)
    }

    /// `None` at the end.
    pub fn read_frame(&mut self, payload: &mut Vec<u8>) -> Result<Option<FrameHeader>, &'static str> {
        const TORN: &str = "the last record is torn; the run was probably killed while it was written";
        const BROKEN: &str = "the record is damaged, so what follows in this file cannot be trusted";
        let left = self.size.saturating_sub(self.offset);
        if left == 0 {
            return Ok(None);
        }
        if left < FRAME_HEADER as u64 {
            return Err(TORN);
        }
        let mut bytes = [0; FRAME_HEADER];
        self.file.read_exact(&mut bytes).map_err(|_| "the system refused to read on")?;
        let header = FrameHeader::parse(&bytes).ok_or(BROKEN)?;
        // Checked against the file before anything is allocated: a damaged length must not cost memory.
        if u64::from(header.len) > left - FRAME_HEADER as u64 {
            return Err(TORN);
        }
        payload.resize(header.len as usize, 0);
        self.file.read_exact(payload).map_err(|_| "the system refused to read on")?;
        if !header.holds(&bytes, payload) {
            return Err(BROKEN);
        }
        self.begun = self.offset;
        self.offset += FRAME_HEADER as u64 + u64::from(header.len);
        Ok(Some(header))
    }
}
