//! Attributes and their values, borrowed from the message. What a sender can make large (depth, number of values) is
//! bounded here, and what goes beyond is counted, never followed.

use super::walk::Walked;
use crate::record::{Attribute, Value};
use crate::wire::protobuf::{DecodeError, Field, Malformed, Reader};

/// Arrays and maps within a value may nest this deep; what lies deeper is read as no value and counted.
pub const MAX_VALUE_DEPTH: u32 = 32;

/// Values of one span or resource that are read; the rest is counted as dropped. An empty value takes two bytes on the
/// wire but forty in memory, so without a limit a message could claim twenty times its size.
pub const MAX_VALUES: u32 = 65_536;

/// Texts of a message that are remembered.
const MEMO: usize = 64;
/// Longer texts are rarely repeated, and the checker is fast on them.
const MEMO_TEXT: usize = 64;

/// Decodes values and keeps count of what it could not keep.
pub(super) struct Values<'a> {
    pub walked: Walked,
    pub left: u32,
    pub over: u32,
    /// Texts that were checked before, by a cheap hash. Keys and many values come again with every span, and comparing
    /// costs a fraction of checking that short text is UTF-8.
    memo: [&'a str; MEMO],
}

/// Place of a short text in the memo.
#[inline(always)]
fn place(text: &[u8]) -> usize {
    match text {
        [first, .., last] => (text.len() * 11 + usize::from(*first) * 3 + usize::from(*last)) % MEMO,
        _ => 0,
    }
}

impl<'a> Values<'a> {
    pub fn new() -> Values<'a> {
        Values { walked: Walked::default(), left: MAX_VALUES, over: 0, memo: [""; MEMO] }
    }

    /// Begins a span or a resource.
    pub fn reset(&mut self) {
        self.left = MAX_VALUES;
        self.over = 0;
    }

    /// Takes one value out of the budget; false where it is used up.
    pub fn take(&mut self) -> bool {
        if self.left == 0 {
            self.over = self.over.saturating_add(1);
            return false;
        }
        self.left -= 1;
        true
    }

    /// Text as it is, or cut at the first byte that is not UTF-8 (counted): the rest of the span is still evidence.
    #[inline]
    pub fn text(&mut self, reader: Reader<'a>) -> &'a str {
        let bytes = reader.rest();
        if bytes.len() > MEMO_TEXT {
            return self.check(bytes);
        }
        let place = place(bytes);
        if self.memo[place].as_bytes() != bytes {
            self.memo[place] = self.check(bytes);
        }
        self.memo[place]
    }

    fn check(&mut self, bytes: &'a [u8]) -> &'a str {
        std::str::from_utf8(bytes).unwrap_or_else(|error| {
            self.walked.text_cut += 1;
            std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or_default()
        })
    }

    /// A `KeyValue`.
    #[inline]
    pub fn attribute(&mut self, mut reader: Reader<'a>, depth: u32) -> Result<Attribute<'a>, DecodeError> {
        // As every encoder writes it: a key, a value, nothing else.
        let mut usual = reader;
        if let Some((1, Field::Bytes(key))) = usual.next_field()?
            && let Some((2, Field::Bytes(value))) = usual.next_field()?
            && usual.rest().is_empty()
        {
            return Ok(Attribute { key: self.text(key), value: self.value(value, depth)? });
        }
        let mut attribute = Attribute { key: "", value: Value::Empty };
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(attribute),
                Some((1, Field::Bytes(key))) => attribute.key = self.text(key),
                Some((2, Field::Bytes(value))) => {
                    attribute.value = self.any_value(value, depth, attribute.value)?;
                }
                Some((1 | 2, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    /// An `AnyValue`, the usual ones without a loop.
    #[inline]
    pub fn value(&mut self, reader: Reader<'a>, depth: u32) -> Result<Value<'a>, DecodeError> {
        let mut usual = reader;
        match usual.next_field()? {
            Some((1, Field::Bytes(text))) if usual.rest().is_empty() => Ok(Value::Str(self.text(text))),
            Some((3, Field::Varint(n))) if usual.rest().is_empty() => Ok(Value::Int(n as i64)),
            _ => self.any_value(reader, depth, Value::Empty),
        }
    }

    /// An `AnyValue` on top of what a field of the same number had before. Of several values the last counts, but lists of
    /// one kind are joined, as protobuf says of messages.
    #[inline(never)]
    fn any_value(
        &mut self,
        mut reader: Reader<'a>,
        depth: u32,
        mut value: Value<'a>,
    ) -> Result<Value<'a>, DecodeError> {
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(value),
                Some((1, Field::Bytes(text))) => value = Value::Str(self.text(text)),
                Some((2, Field::Varint(n))) => value = Value::Bool(n != 0),
                Some((3, Field::Varint(n))) => value = Value::Int(n as i64),
                Some((4, Field::Fixed64(bits))) => value = Value::Double(f64::from_bits(bits)),
                Some((7, Field::Bytes(bytes))) => value = Value::Bytes(bytes.rest()),
                Some((5 | 6, Field::Bytes(_))) if depth >= MAX_VALUE_DEPTH => {
                    self.walked.too_deep += 1;
                    value = Value::Empty;
                }
                Some((5, Field::Bytes(list))) => {
                    let mut values = if let Value::Array(before) = value { before } else { Vec::new() };
                    values.append(&mut self.array(list, depth + 1)?);
                    value = Value::Array(values);
                }
                Some((6, Field::Bytes(list))) => {
                    let mut pairs = if let Value::Map(before) = value { before } else { Vec::new() };
                    pairs.append(&mut self.map(list, depth + 1)?);
                    value = Value::Map(pairs);
                }
                Some((1..=7, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    fn array(&mut self, mut reader: Reader<'a>, depth: u32) -> Result<Vec<Value<'a>>, DecodeError> {
        let mut values = Vec::new();
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(values),
                Some((1, Field::Bytes(value))) => {
                    let value = self.value(value, depth)?;
                    if self.take() {
                        values.push(value);
                    }
                }
                Some((1, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    fn map(&mut self, mut reader: Reader<'a>, depth: u32) -> Result<Vec<Attribute<'a>>, DecodeError> {
        let mut attributes = Vec::new();
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(attributes),
                Some((1, Field::Bytes(pair))) => self.push(&mut attributes, pair, depth)?,
                Some((1, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    /// Decodes one `KeyValue` onto a list, as far as the budget goes.
    #[inline]
    pub fn push(
        &mut self,
        list: &mut Vec<Attribute<'a>>,
        pair: Reader<'a>,
        depth: u32,
    ) -> Result<(), DecodeError> {
        let attribute = self.attribute(pair, depth)?;
        if self.take() {
            list.push(attribute);
        }
        Ok(())
    }
}
