//! The protobuf wire format, both ways, without generated types.
//!
//! Reading borrows: a [`Reader`] is a window on the whole message, so every error knows its byte. Writing appends to a
//! `Vec<u8>`; nested messages get a length of fixed width that is filled in afterwards, so nothing is measured twice.

use std::fmt;

/// Groups (a form that no OpenTelemetry message uses) may nest this deep before the message counts as malformed.
const MAX_GROUP_DEPTH: u32 = 32;

/// Why bytes are not the message that they should be, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Offset of the first byte that makes no sense.
    pub offset: usize,
    /// What is wrong there.
    pub reason: Malformed,
}

/// What can be wrong with protobuf bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message ends inside a field.
    Truncated,
    /// A length reaches beyond the enclosing message.
    LengthBeyondEnd,
    /// A number of more than 64 bits.
    NumberTooLong,
    /// A field number that protobuf does not allow.
    FieldNumber,
    /// A wire type that does not exist.
    WireType,
    /// A known field with a wire type that is not its own.
    UnexpectedWireType,
    /// Groups that nest too deep or end without a beginning.
    Group,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Malformed::Truncated => "the message ends inside a field",
            Malformed::LengthBeyondEnd => "a length reaches beyond the enclosing message",
            Malformed::NumberTooLong => "a number has more than 64 bits",
            Malformed::FieldNumber => "a field number is not allowed",
            Malformed::WireType => "a wire type does not exist",
            Malformed::UnexpectedWireType => "a known field has the wrong wire type",
            Malformed::Group => "a group is not closed, not opened, or nested too deep",
        };
        write!(f, "not valid protobuf at byte {}: {what}", self.offset)
    }
}

impl std::error::Error for DecodeError {}

/// One field's value as the wire has it.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: text, bytes or a nested message.
    Bytes(Reader<'a>),
    /// Wire type 5.
    Fixed32(u32),
}

/// A window on a message; the offsets of its errors count from the start of the outermost message.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    /// What has not been read yet.
    rest: &'a [u8],
    /// Where the window ends in the outermost message.
    end: usize,
}

impl<'a> Reader<'a> {
    /// A window on all of `data`.
    pub fn new(data: &'a [u8]) -> Reader<'a> {
        Reader { rest: data, end: data.len() }
    }

    /// What the window has not read yet.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Offset of the next byte in the outermost message.
    #[inline(always)]
    pub fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// An error at a byte of this message.
    #[cold]
    pub fn error<T>(&self, offset: usize, reason: Malformed) -> Result<T, DecodeError> {
        Err(DecodeError { offset, reason })
    }

    /// The next field with its number; `None` at the end of the window. Groups are skipped.
    ///
    /// Inlined into its callers on purpose: there the compiler sees which fields are asked for and never builds the
    /// [`Field`]. The walker is three times as fast for it.
    #[inline(always)]
    pub fn next_field(&mut self) -> Result<Option<(u32, Field<'a>)>, DecodeError> {
        let Some((&key, tail)) = self.rest.split_first() else { return Ok(None) };
        // Field numbers up to 15 have a key of one byte.
        if (8..0x80).contains(&key) {
            let number = u32::from(key >> 3);
            match (key & 7, tail) {
                (2, [len @ ..0x80, tail @ ..]) if tail.len() >= usize::from(*len) => {
                    let (inner, tail) = tail.split_at(usize::from(*len));
                    self.rest = tail;
                    return Ok(Some((number, Field::Bytes(Reader { rest: inner, end: self.offset() }))));
                }
                // Two bytes of length: most spans.
                (2, [low @ 0x80..=0xff, high @ 1..0x80, tail @ ..])
                    if tail.len() >= usize::from(*low & 0x7f) | usize::from(*high) << 7 =>
                {
                    let len = usize::from(*low & 0x7f) | usize::from(*high) << 7;
                    let (inner, tail) = tail.split_at(len);
                    self.rest = tail;
                    return Ok(Some((number, Field::Bytes(Reader { rest: inner, end: self.offset() }))));
                }
                (0, [value @ ..0x80, tail @ ..]) => {
                    self.rest = tail;
                    return Ok(Some((number, Field::Varint(u64::from(*value)))));
                }
                (1, [a, b, c, d, e, f, g, h, tail @ ..]) => {
                    self.rest = tail;
                    let value = u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                    return Ok(Some((number, Field::Fixed64(value))));
                }
                _ => {}
            }
        } else if let (0x85, [1, a, b, c, d, tail @ ..]) = (key, tail) {
            // Field 16, fixed32: the flags of a span.
            self.rest = tail;
            return Ok(Some((16, Field::Fixed32(u32::from_le_bytes([*a, *b, *c, *d])))));
        }
        self.any_field()
    }

    /// The next field where it is of bytes, shorter than 16 KiB, and its number (up to 15) is among `wanted` (a bit for each);
    /// otherwise `None`, and nothing is read.
    ///
    /// For scans of what nearly all messages are made of. The compiler builds the result of [`Reader::next_field`] on the
    /// stack in parts and reads it in wholes, for which the processor waits a dozen cycles with each field; this has nothing
    /// to build.
    #[inline(always)]
    pub fn next_short(&mut self, wanted: u16) -> Option<(u32, Reader<'a>)> {
        let (key, len, tail) = match self.rest {
            [key @ ..0x80, len @ ..0x80, tail @ ..] => (*key, usize::from(*len), tail),
            [key @ ..0x80, low @ 0x80..=0xff, high @ 1..0x80, tail @ ..] => {
                (*key, usize::from(*low & 0x7f) | usize::from(*high) << 7, tail)
            }
            _ => return None,
        };
        let number = u32::from(key >> 3);
        if key & 7 != 2 || wanted >> number & 1 == 0 {
            return None;
        }
        let (inner, tail) = tail.split_at_checked(len)?;
        self.rest = tail;
        Some((number, Reader { rest: inner, end: self.offset() }))
    }

    /// The next field where it is 64 bits wide and has the number (1 to 15); otherwise `None`, and nothing is read.
    #[inline(always)]
    pub fn next_fixed64(&mut self, number: u8) -> Option<u64> {
        let [key, a, b, c, d, e, f, g, h, tail @ ..] = self.rest else { return None };
        if *key != number << 3 | 1 {
            return None;
        }
        self.rest = tail;
        Some(u64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))
    }

    /// As [`Reader::next_field`], for everything that is not short and simple.
    #[inline(never)]
    fn any_field(&mut self) -> Result<Option<(u32, Field<'a>)>, DecodeError> {
        loop {
            if self.rest.is_empty() {
                return Ok(None);
            }
            let at = self.offset();
            let (number, wire_type) = self.tag()?;
            let field = match wire_type {
                0 => Field::Varint(self.varint()?),
                1 => Field::Fixed64(u64::from_le_bytes(self.fixed()?)),
                2 => Field::Bytes(self.window()?),
                5 => Field::Fixed32(u32::from_le_bytes(self.fixed()?)),
                3 => {
                    self.skip_group(number, at)?;
                    continue;
                }
                4 => return self.error(at, Malformed::Group),
                _ => return self.error(at, Malformed::WireType),
            };
            return Ok(Some((number, field)));
        }
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), DecodeError> {
        let at = self.offset();
        let key = self.varint()?;
        match u32::try_from(key >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => Ok((number, (key & 7) as u8)),
            _ => self.error(at, Malformed::FieldNumber),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0u64;
        for (i, &byte) in self.rest.iter().take(10).enumerate() {
            if i == 9 && byte > 1 {
                return self.error(self.offset(), Malformed::NumberTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = self.rest.get(i + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        self.error(self.offset(), Malformed::Truncated)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk::<N>() {
            Some((chunk, tail)) => {
                self.rest = tail;
                Ok(*chunk)
            }
            None => self.error(self.offset(), Malformed::Truncated),
        }
    }

    #[inline]
    fn window(&mut self) -> Result<Reader<'a>, DecodeError> {
        let at = self.offset();
        let len = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        match self.rest.split_at_checked(len) {
            Some((inner, tail)) => {
                self.rest = tail;
                Ok(Reader { rest: inner, end: self.offset() })
            }
            None => self.error(at, Malformed::LengthBeyondEnd),
        }
    }

    /// The next of packed varints; `None` at the end of the window.
    pub fn packed_varint(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { self.varint().map(Some) }
    }

    /// The next of packed fixed64 numbers; `None` at the end of the window.
    pub fn packed_fixed64(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.rest.is_empty() { Ok(None) } else { Ok(Some(u64::from_le_bytes(self.fixed()?))) }
    }

    /// Iterative on purpose: nesting is the sender's choice and must not cost stack.
    #[cold]
    fn skip_group(&mut self, number: u32, opened_at: usize) -> Result<(), DecodeError> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            if self.rest.is_empty() {
                return self.error(opened_at, Malformed::Group);
            }
            let at = self.offset();
            let (number, wire_type) = self.tag()?;
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.fixed::<8>()?),
                2 => drop(self.window()?),
                5 => drop(self.fixed::<4>()?),
                3 if (open.len() as u32) < MAX_GROUP_DEPTH => open.push(number),
                4 if number == innermost => drop(open.pop()),
                3 | 4 => return self.error(at, Malformed::Group),
                _ => return self.error(at, Malformed::WireType),
            }
        }
        Ok(())
    }
}

/// Bytes that `value` takes as a varint.
#[inline]
pub const fn varint_len(value: u64) -> usize {
    ((63 - (value | 1).leading_zeros()) as usize * 9 + 73) / 64
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a varint field.
#[inline]
pub fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3);
    put_varint(out, value);
}

/// Appends a field of text, bytes or an encoded message.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a fixed64 field.
#[inline]
pub fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a fixed32 field.
#[inline]
pub fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_varint(out, u64::from(field) << 3 | 5);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Width of the length that [`open_message`] leaves room for: enough for 32 bits.
const LENGTH_WIDTH: usize = 5;

/// Begins a nested message whose length is not known yet; give the result to [`close_message`].
pub fn open_message(out: &mut Vec<u8>, field: u32) -> usize {
    put_varint(out, u64::from(field) << 3 | 2);
    out.extend_from_slice(&[0; LENGTH_WIDTH]);
    out.len()
}

/// Ends the nested message that began at `start`: fills in its length, padded to a fixed width (every decoder must
/// accept a varint of up to ten bytes).
pub fn close_message(out: &mut [u8], start: usize) {
    let mut len = out.len().saturating_sub(start);
    if let Some(width) = out.get_mut(start.saturating_sub(LENGTH_WIDTH)..start) {
        for byte in width.iter_mut() {
            *byte = (len & 0x7f) as u8 | 0x80;
            len >>= 7;
        }
        if let Some(last) = width.last_mut() {
            *last &= 0x7f;
        }
    }
}

/// Appends a `KeyValue` with a text value as `field` of the enclosing message.
#[inline]
pub fn put_text_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: &str) {
    let value_len = 1 + varint_len(value.len() as u64) + value.len();
    put_attribute_head(out, field, key, value_len);
    put_bytes(out, 1, value.as_bytes());
}

/// Appends a `KeyValue` with a whole-number value as `field` of the enclosing message.
#[inline]
pub fn put_int_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: i64) {
    put_attribute_head(out, field, key, 1 + varint_len(value as u64));
    put_uint(out, 3, value as u64);
}

/// Appends a `KeyValue` with a floating-point value as `field` of the enclosing message.
#[inline]
pub fn put_double_attribute(out: &mut Vec<u8>, field: u32, key: &str, value: f64) {
    put_attribute_head(out, field, key, 9);
    put_fixed64(out, 4, value.to_bits());
}

#[inline]
fn put_attribute_head(out: &mut Vec<u8>, field: u32, key: &str, value_len: usize) {
    let key_len = 1 + varint_len(key.len() as u64) + key.len();
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, (key_len + 1 + varint_len(value_len as u64) + value_len) as u64);
    put_bytes(out, 1, key.as_bytes());
    out.push(2 << 3 | 2);
    put_varint(out, value_len as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_take_as_many_bytes_as_announced() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                assert_eq!(Reader::new(&out).varint(), Ok(value));
            }
        }
        assert_eq!(varint_len(u64::MAX), 10);
    }

    #[test]
    fn short_fields_are_read_as_all_are_or_left_alone() {
        const ALL: u16 = 0xfffe;
        let mut long = vec![0x4a, 0x80, 0x01];
        long.extend([7; 128]);
        type Case<'a> = (&'a [u8], u16, Option<(u32, usize)>);
        let cases: [Case; 9] = [
            (&[0x0a, 2, 1, 2, 9], ALL, Some((1, 2))),
            (&[0x7a, 0], ALL, Some((15, 0))),
            (&long, ALL, Some((9, 128))),
            (&[0x0a, 2, 1, 2], 1 << 2, None),
            (&[0x0a, 3, 1, 2], ALL, None),
            (&[0x08, 1], ALL, None),
            (&[0x82, 0x01, 1, 7], ALL, None),
            (&[0x0a, 0x80, 0x80, 0x01], ALL, None),
            (&[0x0a], ALL, None),
        ];
        for (bytes, wanted, found) in cases {
            let mut short = Reader::new(bytes);
            let got = short.next_short(wanted);
            assert_eq!(got.map(|(number, inner)| (number, inner.rest().len())), found, "{bytes:?}");
            let mut usual = Reader::new(bytes);
            match (got, usual.next_field()) {
                (None, _) => assert_eq!(short.rest().len(), bytes.len(), "nothing is read"),
                (Some((number, inner)), Ok(Some((n, Field::Bytes(other))))) => {
                    assert_eq!((number, inner.rest(), inner.offset()), (n, other.rest(), other.offset()));
                    assert_eq!(short.rest(), usual.rest());
                }
                other => panic!("{bytes:?}: {other:?}"),
            }
        }
        let mut reader = Reader::new(&[0x39, 1, 0, 0, 0, 0, 0, 0, 0, 0x39, 1]);
        assert_eq!((reader.next_fixed64(8), reader.next_fixed64(7)), (None, Some(1)));
        assert_eq!((reader.next_fixed64(7), reader.rest().len()), (None, 2));
    }

    #[test]
    fn errors_name_the_byte() {
        let cases: [(&[u8], usize, Malformed); 8] = [
            (&[0x08], 1, Malformed::Truncated),
            (&[0x08, 0xff], 1, Malformed::Truncated),
            (&[0x0a, 5, 1, 2], 1, Malformed::LengthBeyondEnd),
            (&[0x09, 1, 2, 3], 1, Malformed::Truncated),
            (&[0x00, 1], 0, Malformed::FieldNumber),
            (&[0x0f, 1], 0, Malformed::WireType),
            (&[0x0b, 0x08, 1], 0, Malformed::Group),
            (&[0x08, 1, 0x0c], 2, Malformed::Group),
        ];
        for (bytes, offset, reason) in cases {
            let mut reader = Reader::new(bytes);
            let error = loop {
                match reader.next_field() {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{bytes:?} was read"),
                    Err(error) => break error,
                }
            };
            assert_eq!(error, DecodeError { offset, reason }, "{bytes:?}");
        }
    }

    #[test]
    fn an_eleven_byte_number_is_refused() {
        let mut bytes = vec![0x08];
        bytes.extend([0xff; 9]);
        bytes.push(0x7f);
        assert_eq!(Reader::new(&bytes).next_field().unwrap_err().reason, Malformed::NumberTooLong);
    }

    #[test]
    fn groups_are_skipped_without_recursion() {
        // Field 2 as a group with a nested group, then field 1.
        let bytes = [0x13, 0x1b, 0x08, 7, 0x1c, 0x12, 1, 9, 0x14, 0x08, 42];
        let mut reader = Reader::new(&bytes);
        assert!(matches!(reader.next_field(), Ok(Some((1, Field::Varint(42))))));
        let deep = vec![0x13; 1_000_000];
        assert_eq!(Reader::new(&deep).next_field().unwrap_err().reason, Malformed::Group);
    }

    #[test]
    fn nested_messages_get_their_length_afterwards() {
        let mut out = Vec::new();
        let outer = open_message(&mut out, 1);
        let inner = open_message(&mut out, 2);
        put_uint(&mut out, 3, 300);
        close_message(&mut out, inner);
        close_message(&mut out, outer);
        let Ok(Some((1, Field::Bytes(mut outer)))) = Reader::new(&out).next_field() else { panic!() };
        let Ok(Some((2, Field::Bytes(mut inner)))) = outer.next_field() else { panic!() };
        assert!(matches!(inner.next_field(), Ok(Some((3, Field::Varint(300))))));
        assert!(matches!(inner.next_field(), Ok(None)));
    }
}
