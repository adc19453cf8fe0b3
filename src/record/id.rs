//! Identifiers of traces, spans and steps, and W3C trace context on the wire.

use super::Timestamp;
use std::fmt;

/// Sixteen bytes that name a trace. Never all zero when made by [`TraceId::from_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

/// Eight bytes that name a span within its trace. Never all zero when made by [`SpanId::from_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

/// Index of a step in [`crate::record::Run::steps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub u16);

/// Why bytes or text are not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// Not the length that the specification asks for.
    Length,
    /// All bytes zero: the specification's mark for "no id".
    Zero,
    /// A character that is no hexadecimal digit.
    Hex,
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            IdError::Length => "has the wrong length",
            IdError::Zero => "is all zero",
            IdError::Hex => "is not hexadecimal",
        })
    }
}

impl std::error::Error for IdError {}

impl TraceId {
    /// From wire bytes; zero and other lengths are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<TraceId, IdError> {
        let id: [u8; 16] = bytes.try_into().map_err(|_| IdError::Length)?;
        if id == [0; 16] { Err(IdError::Zero) } else { Ok(TraceId(id)) }
    }

    /// The same but for its first four bytes, which are the time in seconds since 1970, as X-Ray wants them.
    pub fn dated(self, now: Timestamp) -> TraceId {
        let rest = u128::from_be_bytes(self.0) & (u128::MAX >> 32);
        TraceId((u128::from(now.0 / 1_000_000_000) << 96 | rest).to_be_bytes())
    }

    /// From 32 hexadecimal digits of either case.
    pub fn from_hex(text: &str) -> Result<TraceId, IdError> {
        TraceId::from_bytes(&decode_hex::<16>(text)?)
    }
}

impl SpanId {
    /// From wire bytes; zero and other lengths are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<SpanId, IdError> {
        let id: [u8; 8] = bytes.try_into().map_err(|_| IdError::Length)?;
        if id == [0; 8] { Err(IdError::Zero) } else { Ok(SpanId(id)) }
    }

    /// From 16 hexadecimal digits of either case.
    pub fn from_hex(text: &str) -> Result<SpanId, IdError> {
        SpanId::from_bytes(&decode_hex::<8>(text)?)
    }
}

/// What a request carries in its `traceparent` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace that the request belongs to.
    pub trace_id: TraceId,
    /// The client span: the parent of whatever the server records.
    pub span_id: SpanId,
    /// Whether the server is asked to record.
    pub sampled: bool,
}

impl TraceContext {
    /// Length of a `traceparent` value.
    pub const LEN: usize = 55;

    /// The header value: version 00, ids in lower-case hex, and the flag `sampled` alone. That the ids are random is not said
    /// (the random bit, `02`, of Trace Context Level 2): many services, all of Go's among them whose `propagation` is older than
    /// that level, take a header with it for a broken one and begin a trace of their own.
    pub fn traceparent(&self) -> [u8; Self::LEN] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        encode_hex(&self.trace_id.0, &mut out[3..35]);
        encode_hex(&self.span_id.0, &mut out[36..52]);
        if self.sampled {
            out[54] = b'1';
        }
        out
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Each byte in hex.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < pairs.len() {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 15]];
        byte += 1;
    }
    pairs
};

#[inline]
fn encode_hex(bytes: &[u8], out: &mut [u8]) {
    for (pair, byte) in out.as_chunks_mut().0.iter_mut().zip(bytes) {
        *pair = PAIRS[usize::from(*byte)];
    }
}

fn decode_hex<const N: usize>(text: &str) -> Result<[u8; N], IdError> {
    let text = text.as_bytes();
    if text.len() != 2 * N {
        return Err(IdError::Length);
    }
    let digit = |c: u8| char::from(c).to_digit(16).ok_or(IdError::Hex);
    let mut out = [0u8; N];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Ok(out)
}

macro_rules! hex_format {
    ($type:ty, $digits:literal) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut out = [0u8; $digits];
                encode_hex(&self.0, &mut out);
                f.write_str(std::str::from_utf8(&out).unwrap_or_default())
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}
hex_format!(TraceId, 32);
hex_format!(SpanId, 16);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_carries_both_ids_and_the_flags() {
        let context = TraceContext {
            trace_id: TraceId::from_hex("4BF92F3577B34DA6A3CE929D0E0E4736").unwrap(),
            span_id: SpanId::from_hex("00f067aa0ba902b7").unwrap(),
            sampled: true,
        };
        assert_eq!(&context.traceparent(), b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let unsampled = TraceContext { sampled: false, ..context };
        assert!(unsampled.traceparent().ends_with(b"-00"));
    }

    #[test]
    fn an_id_can_begin_with_the_time() {
        let dated = TraceId([0xff; 16]).dated(Timestamp(1_465_510_280_999_999_999));
        assert_eq!(dated.to_string(), "5759e988ffffffffffffffffffffffff");
    }

    #[test]
    fn broken_ids_are_refused() {
        assert_eq!(TraceId::from_bytes(&[0; 16]), Err(IdError::Zero));
        assert_eq!(TraceId::from_bytes(&[1; 15]), Err(IdError::Length));
        assert_eq!(SpanId::from_hex("00f067aa0ba902b"), Err(IdError::Length));
        assert_eq!(SpanId::from_hex("00f067aa0ba902bx"), Err(IdError::Hex));
        assert_eq!(SpanId::from_hex("0000000000000000"), Err(IdError::Zero));
    }
}
