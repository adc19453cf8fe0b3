//! Frames and segments: how records lie in the append-only files of a run folder.
//!
//! A segment is a header and frames. A frame is a header (magic, kind, record count, payload length, CRC-32 of all of
//! that and the payload) and its payload. A process that is killed leaves at most one torn frame at the end, which the
//! checksum shows.

use crate::wire::otlp::{Encoding, Signal};

/// First bytes of a segment file.
pub(super) const SEGMENT_MAGIC: &[u8; 12] = b"hotspan-seg\n";
/// Version of the segment format.
pub(super) const SEGMENT_VERSION: u32 = 1;
/// Length of a segment's header.
pub(super) const SEGMENT_HEADER: usize = 16;
/// Length of a frame's header.
pub(super) const FRAME_HEADER: usize = 20;
const FRAME_MAGIC: &[u8; 4] = b"HSfr";

/// Largest payload of a frame. Far above what the receiver lets through; what claims more is not a frame.
pub(super) const MAX_PAYLOAD: usize = 1 << 30;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Exchanges in the codec of this version.
    Exchanges = 1,
    /// One OTLP trace message as received, protobuf.
    SpansProtobuf = 2,
    /// One OTLP trace message as received, JSON.
    SpansJson = 3,
    /// One OTLP metrics message as received, protobuf.
    MetricsProtobuf = 4,
    /// One OTLP metrics message as received, JSON.
    MetricsJson = 5,
    /// One OTLP logs message as received, protobuf.
    LogsProtobuf = 6,
    /// One OTLP logs message as received, JSON.
    LogsJson = 7,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Exchanges,
        Kind::SpansProtobuf,
        Kind::SpansJson,
        Kind::MetricsProtobuf,
        Kind::MetricsJson,
        Kind::LogsProtobuf,
        Kind::LogsJson,
    ];

    pub fn from_byte(byte: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// The kind of a received message.
    pub fn of_message(signal: Signal, encoding: Encoding) -> Kind {
        match (signal, encoding) {
            (Signal::Traces, Encoding::Protobuf) => Kind::SpansProtobuf,
            (Signal::Traces, Encoding::Json) => Kind::SpansJson,
            (Signal::Metrics, Encoding::Protobuf) => Kind::MetricsProtobuf,
            (Signal::Metrics, Encoding::Json) => Kind::MetricsJson,
            (Signal::Logs, Encoding::Protobuf) => Kind::LogsProtobuf,
            (Signal::Logs, Encoding::Json) => Kind::LogsJson,
        }
    }

    /// What a received message of this kind is.
    pub fn message(self) -> Option<(Signal, Encoding)> {
        match self {
            Kind::Exchanges => None,
            Kind::SpansProtobuf => Some((Signal::Traces, Encoding::Protobuf)),
            Kind::SpansJson => Some((Signal::Traces, Encoding::Json)),
            Kind::MetricsProtobuf => Some((Signal::Metrics, Encoding::Protobuf)),
            Kind::MetricsJson => Some((Signal::Metrics, Encoding::Json)),
            Kind::LogsProtobuf => Some((Signal::Logs, Encoding::Protobuf)),
            Kind::LogsJson => Some((Signal::Logs, Encoding::Json)),
        }
    }
}

/// A frame's header as read. The kind stays a byte: a newer version may have written kinds that this one skips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub kind: u8,
    pub count: u32,
    pub len: u32,
    crc: u32,
}

pub(super) fn segment_header() -> [u8; SEGMENT_HEADER] {
    let mut header = [0; SEGMENT_HEADER];
    header[..12].copy_from_slice(SEGMENT_MAGIC);
    header[12..].copy_from_slice(&SEGMENT_VERSION.to_le_bytes());
    header
}

/// Appends a whole frame. The payload must not be longer than [`MAX_PAYLOAD`].
pub(super) fn put_frame(out: &mut Vec<u8>, kind: Kind, count: u32, payload: &[u8]) {
    put_frame_header(out, kind, count, payload);
    out.extend_from_slice(payload);
}

/// Appends the header of a frame alone; its payload has to follow.
pub(super) fn put_frame_header(out: &mut Vec<u8>, kind: Kind, count: u32, payload: &[u8]) {
    let mut header = [0; FRAME_HEADER];
    header[..4].copy_from_slice(FRAME_MAGIC);
    header[4] = kind as u8;
    header[8..12].copy_from_slice(&count.to_le_bytes());
    header[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    let crc = checksum(&header, payload);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
}

impl FrameHeader {
    /// `None` where these bytes do not begin a frame.
    pub fn parse(bytes: &[u8; FRAME_HEADER]) -> Option<FrameHeader> {
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let header = FrameHeader { kind: bytes[4], count: word(8), len: word(12), crc: word(16) };
        (bytes.starts_with(FRAME_MAGIC) && header.len as usize <= MAX_PAYLOAD).then_some(header)
    }

    /// Whether header and payload are as they were written.
    pub fn holds(&self, bytes: &[u8; FRAME_HEADER], payload: &[u8]) -> bool {
        checksum(bytes, payload) == self.crc
    }
}

/// CRC-32 (IEEE) of everything in the header before the checksum, and of the payload.
fn checksum(header: &[u8; FRAME_HEADER], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(payload);
    hasher.finalize()
}
