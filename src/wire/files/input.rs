//! A file as a stream of bytes, decompressed layer by layer, with a window that can look ahead.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

/// Bytes that are read at a time, at least.
const CHUNK: usize = 256 << 10;
/// Compression within compression goes no deeper; more is an attack or a mistake.
const LAYERS: usize = 4;
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// First bytes of a zstd frame.
pub(super) const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// What of a stream has been read and not yet used. Offsets count decompressed bytes.
pub(super) struct Window {
    source: Box<dyn Read>,
    buffer: Vec<u8>,
    at: usize,
    offset: u64,
    ended: bool,
    /// Why the stream ended early, if it did: a torn compressed file, a disk that refused.
    pub failure: Option<String>,
    /// Names of the compressions taken off, outermost first.
    pub layers: Vec<&'static str>,
}

impl Window {
    /// Over any source, as it is.
    pub fn new(source: Box<dyn Read>) -> Window {
        Window {
            source,
            buffer: Vec::new(),
            at: 0,
            offset: 0,
            ended: false,
            failure: None,
            layers: Vec::new(),
        }
    }

    /// Over bytes that are in memory.
    pub fn of_bytes(bytes: Vec<u8>) -> Window {
        let mut window = Window::new(Box::new(io::empty()));
        (window.buffer, window.ended) = (bytes, true);
        window
    }

    /// Over a file, with gzip and whole-file zstd taken off.
    pub fn open(path: &Path) -> io::Result<Window> {
        let mut window = Window::new(Box::new(File::open(path)?));
        for _ in 0..LAYERS {
            window.look(4);
            let bytes = window.at_hand();
            let gzip = bytes.starts_with(&GZIP);
            if !gzip && !bytes.starts_with(&ZSTD) {
                break;
            }
            let mut layers = std::mem::take(&mut window.layers);
            let read_ahead = Cursor::new(window.buffer.split_off(window.at));
            let inner = read_ahead.chain(window.source);
            let source: Box<dyn Read> = if gzip {
                layers.push("gzip");
                Box::new(flate2::read::MultiGzDecoder::new(inner))
            } else {
                layers.push("zstd");
                Box::new(zstd::stream::read::Decoder::new(inner)?)
            };
            window = Window { layers, ..Window::new(source) };
        }
        Ok(window)
    }

    /// What is at hand.
    pub fn at_hand(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Offset of the first byte at hand.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives up the first bytes at hand.
    pub fn consume(&mut self, bytes: usize) {
        let bytes = bytes.min(self.buffer.len() - self.at);
        self.at += bytes;
        self.offset += bytes as u64;
    }

    /// Reads on; false at the end.
    pub fn more(&mut self) -> bool {
        if self.ended {
            return false;
        }
        if self.at > 0 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
        let had = self.buffer.len();
        // Grows with what is at hand, so that a long record is not copied once per chunk.
        let want = CHUNK.max(had);
        self.buffer.resize(had + want, 0);
        let mut filled = had;
        while filled < self.buffer.len() {
            match self.source.read(&mut self.buffer[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error.to_string());
                    self.ended = true;
                    break;
                }
            }
        }
        self.buffer.truncate(filled);
        filled > had
    }

    /// Reads until so many bytes are at hand or the stream ends; whether they are.
    pub fn look(&mut self, bytes: usize) -> bool {
        while self.at_hand().len() < bytes {
            if !self.more() {
                return false;
            }
        }
        true
    }
}

/// For readers of lines and tables. An early end is told by [`Window::failure`] elsewhere; here it is an error.
impl Read for Window {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at_hand().is_empty() && !self.more() {
            return match &self.failure {
                Some(reason) => Err(io::Error::other(reason.clone())),
                None => Ok(0),
            };
        }
        let n = self.at_hand().len().min(out.len());
        out[..n].copy_from_slice(&self.at_hand()[..n]);
        self.consume(n);
        Ok(n)
    }
}
