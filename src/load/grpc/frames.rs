//! gRPC's framing: one byte of flags, four of length, a message.

use bytes::{Buf, Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use std::io::Read as _;

/// Largest message that is taken in.
pub const MOST: usize = 64 << 20;
const HEAD: usize = 5;

/// Appends a message as it is sent, uncompressed.
pub fn put(message: &[u8], out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&(message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
}

/// Splits what [`put`] wrote into messages, heads included.
pub fn split(mut all: Bytes) -> Vec<Bytes> {
    let mut out = Vec::new();
    while let Some(length) = length_of(&all).filter(|length| HEAD + length <= all.len()) {
        out.push(all.split_to(HEAD + length));
    }
    out
}

/// How many messages are in what [`put`] wrote.
pub fn count(mut all: &[u8]) -> u32 {
    let mut count = 0;
    while let Some(rest) = length_of(all).and_then(|length| all.get(HEAD + length..)) {
        (all, count) = (rest, count + 1);
    }
    count
}

fn length_of(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(1..HEAD)?.try_into().ok()?;
    Some(u32::from_be_bytes(length) as usize)
}

/// Messages out of pieces of a body. Messages that nobody wants are passed over and never kept.
#[derive(Default)]
pub struct Frames {
    buffer: BytesMut,
    /// Bytes of a message to pass over.
    passing: usize,
    wanted: bool,
}

/// What a piece of a body brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// No whole message yet.
    Nothing,
    /// A message; nothing where they are not wanted.
    Message(Option<Vec<u8>>),
}

impl Frames {
    /// Whose messages are looked at, or only counted.
    pub fn new(wanted: bool) -> Frames {
        Frames { wanted, ..Frames::default() }
    }

    /// Takes in a piece.
    pub fn take(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Whether bytes of a message that is not whole are there.
    pub fn is_within(&self) -> bool {
        self.passing > 0 || !self.buffer.is_empty()
    }

    /// The next message of what was taken in.
    ///
    /// # Errors
    /// A sentence, where the bytes are no messages.
    pub fn next(&mut self) -> Result<Came, String> {
        if self.passing > 0 {
            let gone = self.passing.min(self.buffer.len());
            self.buffer.advance(gone);
            self.passing -= gone;
            return Ok(if self.passing > 0 { Came::Nothing } else { Came::Message(None) });
        }
        let Some(length) = length_of(&self.buffer) else { return Ok(Came::Nothing) };
        let flags = self.buffer.first().copied().unwrap_or_default();
        if flags > 1 {
            return Err(format!("a message begins with {flags:#04x}, which is no flag of gRPC"));
        }
        if !self.wanted {
            self.buffer.advance(HEAD);
            if length == 0 {
                return Ok(Came::Message(None));
            }
            self.passing = length;
            return self.next();
        }
        if length > MOST {
            return Err(format!("a message of {length} bytes is larger than {MOST}"));
        }
        if self.buffer.len() < HEAD + length {
            return Ok(Came::Nothing);
        }
        self.buffer.advance(HEAD);
        let message = self.buffer.split_to(length);
        if flags == 0 {
            return Ok(Came::Message(Some(message.to_vec())));
        }
        let mut out = Vec::new();
        MultiGzDecoder::new(&message[..])
            .take(MOST as u64)
            .read_to_end(&mut out)
            .map_err(|e| format!("a compressed message cannot be read: {e}"))?;
        Ok(Came::Message(Some(out)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write as _;

    fn all(frames: &mut Frames) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        while let Came::Message(message) = frames.next().unwrap() {
            out.push(message);
        }
        out
    }

    proptest! {
        #[test]
        fn messages_are_the_same_however_they_are_split(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6),
            sizes in prop::collection::vec(1usize..40, 1..8),
        ) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|m| put(m, &mut bytes));
            prop_assert_eq!(count(&bytes) as usize, messages.len());
            prop_assert_eq!(split(Bytes::from(bytes.clone())).len(), messages.len());
            let (mut wanted, mut counted) = (Frames::new(true), Frames::new(false));
            let (mut seen, mut number) = (Vec::new(), 0);
            let (mut rest, mut turn) = (&bytes[..], 0);
            while !rest.is_empty() {
                let (piece, later) = rest.split_at(sizes[turn % sizes.len()].min(rest.len()));
                (rest, turn) = (later, turn + 1);
                wanted.take(piece);
                counted.take(piece);
                seen.extend(all(&mut wanted).into_iter().flatten());
                number += all(&mut counted).len();
            }
            prop_assert_eq!(&seen, &messages);
            prop_assert_eq!(number, messages.len());
            prop_assert!(!wanted.is_within() && !counted.is_within());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), wanted in any::<bool>()) {
            let mut frames = Frames::new(wanted);
            frames.take(&bytes);
            for _ in 0..100 {
                match frames.next() {
                    Ok(Came::Message(_)) => {}
                    _ => break,
                }
            }
        }
    }

    #[test]
    fn compressed_messages_are_unpacked_and_broken_ones_told() {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"hello").unwrap();
        let packed = encoder.finish().unwrap();
        let mut bytes = vec![1];
        bytes.extend((packed.len() as u32).to_be_bytes());
        bytes.extend(&packed);
        let mut frames = Frames::new(true);
        frames.take(&bytes);
        assert_eq!(frames.next(), Ok(Came::Message(Some(b"hello".to_vec()))));
        frames.take(&[1, 0, 0, 0, 2, 9, 9]);
        assert!(frames.next().unwrap_err().starts_with("a compressed message cannot be read"));
        let mut frames = Frames::new(true);
        frames.take(&[7, 0, 0, 0, 0]);
        assert!(frames.next().unwrap_err().contains("0x07"));
        let mut frames = Frames::new(true);
        frames.take(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert!(frames.next().unwrap_err().contains("larger than"));
    }
}
