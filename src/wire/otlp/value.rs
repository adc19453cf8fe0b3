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

/// Decodes values and keeps count of what it could not keep.
pub(super) struct Values {
    pub walked: Walked,
    pub left: u32,
    pub over: u32,
}

impl Values {
    pub fn new() -> Values {
        Values { walked: Walked::default(), left: MAX_VALUES, over: 0 }
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
    pub fn text<'a>(&mut self, reader: Reader<'a>) -> &'a str {
        match std::str::from_utf8(reader.rest()) {
            Ok(text) => text,
            Err(error) => {
                self.walked.text_cut += 1;
                std::str::from_utf8(&reader.rest()[..error.valid_up_to()]).unwrap_or_default()
            }
        }
    }

    /// A `KeyValue`.
    #[inline]
    pub fn attribute<'a>(
        &mut self,
        mut reader: Reader<'a>,
        depth: u32,
    ) -> Result<Attribute<'a>, DecodeError> {
        let mut attribute = Attribute { key: "", value: Value::Empty };
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(attribute),
                Some((1, Field::Bytes(key))) => attribute.key = self.text(key),
                Some((2, Field::Bytes(value))) => attribute.value = self.value(value, depth)?,
                Some((1 | 2, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    /// An `AnyValue`; of several values in one message the last counts, as protobuf says.
    fn value<'a>(&mut self, mut reader: Reader<'a>, depth: u32) -> Result<Value<'a>, DecodeError> {
        let mut value = Value::Empty;
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
                Some((5, Field::Bytes(list))) => value = Value::Array(self.array(list, depth + 1)?),
                Some((6, Field::Bytes(list))) => value = Value::Map(self.map(list, depth + 1)?),
                Some((1..=7, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    fn array<'a>(&mut self, mut reader: Reader<'a>, depth: u32) -> Result<Vec<Value<'a>>, DecodeError> {
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

    fn map<'a>(&mut self, mut reader: Reader<'a>, depth: u32) -> Result<Vec<Attribute<'a>>, DecodeError> {
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
    pub fn push<'a>(
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
