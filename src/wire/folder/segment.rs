//! Writing segments: whole frames or nothing. When the disk refuses, what reached it is cut back to the last whole
//! frame, and what did not is counted.

use super::error::{FolderError, Lost};
use super::frame::{FRAME_HEADER, Kind, SEGMENT_HEADER, put_frame, put_frame_header, segment_header};
use super::segment_name;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};

/// A segment is closed and the next one begun before it grows beyond this many bytes.
pub(super) const SEGMENT_MAX: u64 = 256 << 20;
/// Frames are handed to the system when this many bytes have come together.
const BUFFER: usize = 256 << 10;
/// Payloads of this many bytes go to the system from where they are: copying them would cost more than the call.
const DIRECT: usize = 64 << 10;
/// Space on the disk is taken ahead in steps of as much as a segment has already, within these bounds: a file system finds
/// room for many megabytes at once much cheaper than page by page, and a short run takes no more than it needs.
const AHEAD: std::ops::RangeInclusive<u64> = 4 << 20..=64 << 20;
/// A disk with less than this free is not asked for space ahead: what one segment holds another could not use.
const FREE: u64 = 1 << 30;

/// The system's files, or in tests a disk with a size.
pub(super) trait Disk: Send {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;
}

/// One file that is appended to.
pub(super) trait SegmentFile: Send {
    /// Appends as much of both as the system takes, the first before the second.
    fn append(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize>;
    fn cut(&mut self, len: u64) -> io::Result<()>;
    /// Takes space for `more` bytes beyond `len`, without making the file longer; false where that is not to be had.
    fn take_space(&mut self, len: u64, more: u64) -> bool;
    fn sync(&mut self) -> io::Result<()>;
}

/// The real disk.
pub(super) struct SystemDisk;

impl Disk for SystemDisk {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        // Append mode: after a cut the next write lands at the new end.
        Ok(Box::new(OpenOptions::new().append(true).create_new(true).open(path)?))
    }
}

impl SegmentFile for File {
    fn append(&mut self, first: &[u8], second: &[u8]) -> io::Result<usize> {
        match (first, second) {
            (bytes, []) | ([], bytes) => self.write(bytes),
            (first, second) => self.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
        }
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
    #[cfg(target_os = "linux")]
    fn take_space(&mut self, len: u64, more: u64) -> bool {
        use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
        let free = fstatvfs(&*self).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        free >= FREE && fallocate(&*self, FallocateFlags::KEEP_SIZE, len, more).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    fn take_space(&mut self, _len: u64, _more: u64) -> bool {
        false
    }
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Appends frames to the segments of one folder.
pub(super) struct SegmentWriter {
    dir: PathBuf,
    disk: Box<dyn Disk>,
    file: Option<Box<dyn SegmentFile>>,
    /// Number of the segment that is open or comes next.
    index: u32,
    /// Bytes of the open segment that are on disk, all of them whole frames.
    len: u64,
    /// How far space has been taken; nothing is asked for where the system gave none.
    taken: Option<u64>,
    max: u64,
    buffer: Vec<u8>,
    /// End of each frame in the buffer, and what is in it.
    frames: Vec<(usize, Lost)>,
}

impl SegmentWriter {
    pub fn new(dir: PathBuf, disk: Box<dyn Disk>, max: u64) -> SegmentWriter {
        SegmentWriter {
            dir,
            disk,
            file: None,
            index: 0,
            len: 0,
            taken: Some(0),
            max,
            buffer: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// A writer whose first segment comes after all that are in the folder.
    pub fn after_those_in(dir: PathBuf, disk: Box<dyn Disk>, max: u64) -> Result<SegmentWriter, FolderError> {
        let unreadable = |source| FolderError::Read { path: dir.clone(), source };
        let mut next = 0;
        for entry in std::fs::read_dir(&dir).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let index =
                name.to_str().and_then(|n| n.strip_suffix(".seg")).and_then(|n| n.parse::<u32>().ok());
            next = index.map_or(next, |i| next.max(i.saturating_add(1)));
        }
        Ok(SegmentWriter { index: next, ..SegmentWriter::new(dir, disk, max) })
    }

    /// Adds a frame; it reaches the system when enough has come together or on [`SegmentWriter::flush`].
    pub fn push(&mut self, kind: Kind, count: u32, payload: &[u8], holds: Lost) -> Result<(), FolderError> {
        let size = (FRAME_HEADER + payload.len()) as u64;
        let filled = self.len + self.buffer.len() as u64;
        let mut result = Ok(());
        if filled > SEGMENT_HEADER as u64 && filled + size > self.max {
            result = self.flush();
            self.close();
        }
        if self.file.is_none() && self.buffer.is_empty() {
            self.buffer.extend_from_slice(&segment_header());
            self.frames.push((self.buffer.len(), Lost::default()));
        }
        if payload.len() >= DIRECT {
            put_frame_header(&mut self.buffer, kind, count, payload);
            self.frames.push((self.buffer.len() + payload.len(), holds));
            return merge(result, self.write_out(payload));
        }
        put_frame(&mut self.buffer, kind, count, payload);
        self.frames.push((self.buffer.len(), holds));
        if self.buffer.len() >= BUFFER { merge(result, self.flush()) } else { result }
    }

    /// Hands everything to the system, so that it survives the end of this process.
    pub fn flush(&mut self) -> Result<(), FolderError> {
        if self.buffer.is_empty() { Ok(()) } else { self.write_out(&[]) }
    }

    /// Hands the buffer and then `payload`, which ends its last frame, to the system.
    fn write_out(&mut self, payload: &[u8]) -> Result<(), FolderError> {
        self.take_space((self.buffer.len() + payload.len()) as u64);
        let (written, error) = self.write_all(payload);
        let kept =
            self.frames.iter().map(|(end, _)| *end).take_while(|end| *end <= written).last().unwrap_or(0);
        let lost =
            self.frames.iter().filter(|(end, _)| *end > written).fold(Lost::default(), |mut sum, (_, l)| {
                sum.add(*l);
                sum
            });
        self.buffer.clear();
        self.frames.clear();
        self.len += kept as u64;
        let path = self.dir.join(segment_name(self.index));
        let Some(source) = error else { return Ok(()) };
        // A segment with a torn end stays readable up to there; what comes later needs a new one.
        let cut = self.file.as_mut().map(|file| file.cut(self.len));
        self.taken = None;
        if self.len < SEGMENT_HEADER as u64 || matches!(cut, Some(Err(_))) {
            self.close();
        }
        Err(FolderError::Write { path, source, lost })
    }

    /// Writes as much of the buffer and of `payload` as the system takes.
    fn write_all(&mut self, payload: &[u8]) -> (usize, Option<io::Error>) {
        let file = match &mut self.file {
            Some(file) => file,
            None => match self.disk.create(&self.dir.join(segment_name(self.index))) {
                Ok(file) => self.file.insert(file),
                Err(error) => return (0, Some(error)),
            },
        };
        let (buffered, mut written) = (self.buffer.len(), 0);
        while written < buffered + payload.len() {
            let first = self.buffer.get(written..).unwrap_or_default();
            let second = &payload[written.saturating_sub(buffered)..];
            match file.append(first, second) {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(n) => written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }

    /// Takes space ahead where the next bytes need more than was taken.
    fn take_space(&mut self, next: u64) {
        let (Some(file), Some(taken)) = (&mut self.file, self.taken) else { return };
        if self.len < *AHEAD.start() || self.len + next <= taken {
            return;
        }
        let more =
            self.len.clamp(*AHEAD.start(), *AHEAD.end()).min(self.max.saturating_sub(self.len)).max(next);
        self.taken = file.take_space(self.len, more).then_some(self.len + more);
    }

    /// Gives back the space that was taken and not used.
    fn give_back(&mut self) {
        if let (Some(file), Some(taken)) = (&mut self.file, self.taken)
            && taken > self.len
        {
            // Nothing that was written is at stake: at worst the file takes more of the disk than it is long.
            let _ = file.cut(self.len);
        }
        self.taken = Some(0);
    }

    fn close(&mut self) {
        self.give_back();
        if self.file.take().is_some() {
            self.index += 1;
        }
        self.len = 0;
    }

    /// Flushes and asks the system to put everything on the medium.
    pub fn finish(&mut self) -> Result<(), FolderError> {
        let result = self.flush();
        self.give_back();
        let synced = match &mut self.file {
            Some(file) => file.sync(),
            None => Ok(()),
        };
        let path = self.dir.join(segment_name(self.index));
        merge(result, synced.map_err(|source| FolderError::Write { path, source, lost: Lost::default() }))
    }
}

/// The first error, with what both lost.
pub(super) fn merge(
    first: Result<(), FolderError>,
    second: Result<(), FolderError>,
) -> Result<(), FolderError> {
    match (first, second) {
        (Err(mut error), Err(other)) => {
            if let FolderError::Write { lost, .. } | FolderError::TooLarge { lost, .. } = &mut error {
                lost.add(other.lost());
            }
            Err(error)
        }
        (first, second) => first.and(second),
    }
}
