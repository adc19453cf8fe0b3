//! OTLP JSON → the same message as protobuf bytes, so that only one walker exists.
//!
//! Nothing is held between: each JSON value is written to the output as it is parsed, so a small text cannot claim a
//! large tree in memory. Tolerant where the specification asks for it (ids in hex of either case, 64-bit numbers as
//! text or numbers, unknown fields, `null` as absent) and where known senders need it (enum names, ids in base64). An id
//! that is neither hex nor base64 makes its span invalid, not the message.

use super::json_tables::{self, Entry, Kind, REQUEST, RESOURCE_SPANS, Table};
use super::signal::Signal;
use crate::wire::base64;
use crate::wire::protobuf::{
    close_message, open_message, put_bytes, put_fixed32, put_fixed64, put_uint, put_varint,
};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use std::fmt;

/// Why a text is not OTLP JSON, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// Line, from 1.
    pub line: usize,
    /// Column in bytes, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid OTLP JSON at line {}, column {}: {}", self.line, self.column, self.reason)
    }
}

impl std::error::Error for JsonError {}

/// The protobuf bytes of an `ExportTraceServiceRequest` given as JSON.
pub fn json_to_protobuf(text: &[u8]) -> Result<Vec<u8>, JsonError> {
    json_to_protobuf_of(Signal::Traces, text)
}

/// The protobuf bytes of an export request given as JSON.
pub fn json_to_protobuf_of(signal: Signal, text: &[u8]) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::with_capacity(text.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(text);
    let fields = match signal {
        Signal::Traces => &REQUEST,
        Signal::Metrics => &json_tables::METRICS,
        Signal::Logs => &json_tables::LOGS,
    };
    let seed = Fields { fields, out: &mut out };
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| JsonError {
        line: error.line(),
        column: error.column(),
        reason: without_position(error.to_string()),
    })?;
    Ok(out)
}

/// Appends one element of `resourceSpans` given as JSON, as the same field in protobuf. On an error `out` holds part of it.
pub fn resource_spans_json(text: &[u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
    let mut json = serde_json::Deserializer::from_slice(text);
    let seed = Nested { number: 1, fields: &RESOURCE_SPANS, out };
    seed.deserialize(&mut json).and_then(|()| json.end()).map_err(|error| JsonError {
        line: error.line(),
        column: error.column(),
        reason: without_position(error.to_string()),
    })
}

/// serde_json puts the position at the end of its messages; ours has it at the front.
fn without_position(message: String) -> String {
    match message.rfind(" at line ") {
        Some(at) => message[..at].to_owned(),
        None => message,
    }
}

/// Writes the fields of a JSON object; `null` writes nothing.
struct Fields<'o> {
    fields: &'static Table,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Fields<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(entry) = map.next_key_seed(Name(self.fields))? {
            match entry {
                Some(Entry { number, kind: Kind::Many(fields), .. }) => {
                    map.next_value_seed(Repeated { number: *number, fields, out: self.out })?
                }
                Some(Entry { number, kind: Kind::One(fields), .. }) => {
                    map.next_value_seed(Nested { number: *number, fields, out: self.out })?
                }
                Some(Entry { number, kind: Kind::List(kind), .. }) => {
                    map.next_value_seed(List { number: *number, kind: **kind, out: self.out })?
                }
                Some(Entry { number, kind, .. }) => {
                    map.next_value_seed(Scalar { number: *number, kind: *kind, out: self.out })?
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// Finds a field by its name.
struct Name(&'static Table);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static Entry>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static Entry>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }
    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.0.iter().find(|entry| entry.name == name))
    }
}

/// A nested message, absent where the value is `null`.
struct Nested<'o> {
    number: u32,
    fields: &'static Table,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let start = open_message(self.out, self.number);
        Fields { fields: self.fields, out: self.out }.visit_map(map)?;
        close_message(self.out, start);
        Ok(())
    }
}

/// A list of nested messages.
struct Repeated<'o> {
    number: u32,
    fields: &'static Table,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Repeated<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Repeated<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (number, fields) = (self.number, self.fields);
        while seq.next_element_seed(Nested { number, fields, out: &mut *self.out })?.is_some() {}
        Ok(())
    }
}

/// A list of values that are no messages.
struct List<'o> {
    number: u32,
    kind: Kind,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (number, kind) = (self.number, self.kind);
        while seq.next_element_seed(Scalar { number, kind, out: &mut *self.out })?.is_some() {}
        Ok(())
    }
}

/// A value that is no message.
struct Scalar<'o> {
    number: u32,
    kind: Kind,
    out: &'o mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Scalar<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Scalar<'_> {
    fn unsigned(self, value: u64) -> bool {
        match self.kind {
            Kind::Fixed64 => put_fixed64(self.out, self.number, value),
            Kind::Fixed32 if u32::try_from(value).is_ok() => put_fixed32(self.out, self.number, value as u32),
            Kind::Unsigned if u32::try_from(value).is_ok() => put_uint(self.out, self.number, value),
            Kind::Unsigned64 => put_uint(self.out, self.number, value),
            Kind::Signed if i64::try_from(value).is_ok() => put_uint(self.out, self.number, value),
            Kind::SignedFixed64 if i64::try_from(value).is_ok() => put_fixed64(self.out, self.number, value),
            Kind::Zigzag32 => match i32::try_from(value) {
                Ok(value) => put_uint(self.out, self.number, zigzag(value)),
                Err(_) => return false,
            },
            Kind::Enum(_) if i32::try_from(value).is_ok() => put_uint(self.out, self.number, value),
            Kind::Double => put_fixed64(self.out, self.number, (value as f64).to_bits()),
            _ => return false,
        }
        true
    }

    fn text(self, text: &str) -> bool {
        match self.kind {
            Kind::Text => put_bytes(self.out, self.number, text.as_bytes()),
            Kind::Id(len) => put_id(self.out, self.number, text, len),
            Kind::Base64 => match base64::decode(text) {
                Some(bytes) => put_bytes(self.out, self.number, &bytes),
                None => return false,
            },
            Kind::Enum(names) => match names.iter().position(|name| *name == text) {
                Some(code) => put_uint(self.out, self.number, code as u64),
                None => return false,
            },
            Kind::Signed => match text.parse::<i64>() {
                Ok(value) => put_uint(self.out, self.number, value as u64),
                Err(_) => return false,
            },
            Kind::SignedFixed64 => match text.parse::<i64>() {
                Ok(value) => put_fixed64(self.out, self.number, value as u64),
                Err(_) => return false,
            },
            Kind::Zigzag32 => match text.parse::<i32>() {
                Ok(value) => put_uint(self.out, self.number, zigzag(value)),
                Err(_) => return false,
            },
            Kind::Double => match text.parse::<f64>() {
                Ok(value) => put_fixed64(self.out, self.number, value.to_bits()),
                Err(_) => return false,
            },
            _ => match text.parse::<u64>() {
                Ok(value) => return self.unsigned(value),
                Err(_) => return false,
            },
        }
        true
    }
}

impl Visitor<'_> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::Text => "a text",
            Kind::Id(_) => "an id in hexadecimal",
            Kind::Base64 => "bytes in base64",
            Kind::Fixed64 => "a whole number, as text or number",
            Kind::Fixed32 | Kind::Unsigned => "a whole number of 32 bits",
            Kind::Unsigned64 => "a whole number, as text or number",
            Kind::Signed | Kind::SignedFixed64 => "a signed whole number, as text or number",
            Kind::Zigzag32 => "a signed whole number of 32 bits",
            Kind::List(_) => "an array",
            Kind::Bool => "true or false",
            Kind::Double => "a number",
            Kind::Enum(_) => "the number of an enum value",
            Kind::One(&_) | Kind::Many(&_) => "a message",
        })
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.kind {
            Kind::Bool => put_uint(self.out, self.number, u64::from(value)),
            _ => return Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        let Scalar { number, kind, .. } = self;
        if self.unsigned(value) { Ok(()) } else { Err(mismatch(number, kind, Unexpected::Unsigned(value))) }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        match (self.kind, u64::try_from(value)) {
            (_, Ok(value)) => self.visit_u64(value),
            (Kind::Signed, _) => {
                put_uint(self.out, self.number, value as u64);
                Ok(())
            }
            (Kind::SignedFixed64, _) => {
                put_fixed64(self.out, self.number, value as u64);
                Ok(())
            }
            (Kind::Zigzag32, _) if i32::try_from(value).is_ok() => {
                put_uint(self.out, self.number, zigzag(value as i32));
                Ok(())
            }
            (Kind::Double, _) => {
                put_fixed64(self.out, self.number, (value as f64).to_bits());
                Ok(())
            }
            _ => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        // Some writers give whole numbers as 1.5e18; below 2^63 the conversion is the number that was written.
        let whole = value.fract() == 0.0 && value.abs() < 9.2e18;
        match self.kind {
            Kind::Double => {
                put_fixed64(self.out, self.number, value.to_bits());
                Ok(())
            }
            _ if whole => self.visit_i64(value as i64),
            _ => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        let Scalar { number, kind, .. } = self;
        if self.text(text) { Ok(()) } else { Err(mismatch(number, kind, Unexpected::Str(text))) }
    }
}

/// Signed numbers of protobuf's `sint32`: small ones of either sign are short.
fn zigzag(value: i32) -> u64 {
    u64::from((value << 1 ^ value >> 31) as u32)
}

fn mismatch<E: serde::de::Error>(number: u32, kind: Kind, seen: Unexpected<'_>) -> E {
    E::invalid_value(seen, &Scalar { number, kind, out: &mut Vec::new() })
}

/// An id from hex (either case) or base64; a text that is neither is kept as it is, so that its length shows it invalid.
fn put_id(out: &mut Vec<u8>, number: u32, text: &str, len: usize) {
    if text.len() == 2 * len && text.bytes().all(|c| c.is_ascii_hexdigit()) {
        put_varint(out, u64::from(number) << 3 | 2);
        put_varint(out, len as u64);
        out.extend(text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])));
        return;
    }
    // Base64 of an id always ends in padding; hex never does, so no text can be both.
    match base64::decode(text) {
        Some(bytes) if bytes.len() == len && text.ends_with('=') => put_bytes(out, number, &bytes),
        // One byte is no valid length for any id.
        _ if text.is_empty() => {}
        _ => put_bytes(out, number, &[0xff]),
    }
}

fn digit(c: u8) -> u8 {
    char::from(c).to_digit(16).unwrap_or_default() as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp::{for_each_span, scan};

    fn spans(text: &str) -> Vec<String> {
        let bytes = json_to_protobuf(text.as_bytes()).unwrap();
        let mut seen = Vec::new();
        for_each_span(&bytes, &mut |span| {
            seen.push(format!(
                "{} {} {:?} {:?} {} {} {:?}",
                span.trace_id,
                span.span_id,
                span.parent_id,
                span.kind,
                span.start.0,
                span.end.0,
                span.attributes
            ));
        })
        .unwrap();
        seen
    }

    fn request(span: &str) -> String {
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
    }

    const IDS: &str = r#""traceId":"5B8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174""#;

    #[test]
    fn numbers_come_as_text_or_numbers_and_unknown_fields_are_ignored() {
        let text = request(&format!(
            r#"{{{IDS},"kind":2,"startTimeUnixNano":1544712660000000000,"endTimeUnixNano":"1544712661000000000",
            "shoeSize":{{"a":[1,{{}}]}},"parentSpanId":null,"attributes":[
            {{"key":"a","value":{{"intValue":"-7"}}}},{{"key":"b","value":{{"intValue":9,"newKind":[1]}}}},
            {{"key":"c","value":{{"doubleValue":3}}}},{{"key":"d","value":{{"doubleValue":"NaN"}}}},
            {{"key":"e","value":{{"bytesValue":"3q2+7w=="}}}},{{"key":"f","value":{{}}}},{{"key":"g","value":null}},
            {{"key":"h","value":{{"arrayValue":{{"values":[{{"boolValue":true}},null,{{"stringValue":""}}]}}}}}}]}}"#
        ));
        let seen = spans(&text);
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].starts_with(
            "5b8efff798038103d269b633813fc60c eee19b7ec3c1b174 None Server 1544712660000000000 1544712661000000000"
        ));
        for value in [
            "Int(-7)",
            "Int(9)",
            "Double(3.0)",
            "Double(NaN)",
            "Bytes([222, 173, 190, 239])",
            r#"key: "f", value: Empty"#,
            r#"key: "g", value: Empty"#,
            r#"Array([Bool(true), Str("")])"#,
        ] {
            assert!(seen[0].contains(value), "{value} not in {}", seen[0]);
        }
    }

    #[test]
    fn names_of_enums_and_base64_ids_are_read_too() {
        let text = request(
            r#"{"traceId":"W47/95gDgQPSabYzgT/GDA==","spanId":"7uGbfsPBsXQ=","kind":"SPAN_KIND_CLIENT"}"#,
        );
        assert_eq!(spans(&text), ["5b8efff798038103d269b633813fc60c eee19b7ec3c1b174 None Client 0 0 []"]);
    }

    #[test]
    fn a_broken_id_spoils_its_span_only() {
        let bad = r#"{"traceId":"zz8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}"#;
        let bytes = json_to_protobuf(request(&format!("{bad},{{{IDS}}},{{}}")).as_bytes()).unwrap();
        let counted = scan(&bytes, &mut |_| {}).unwrap();
        assert_eq!((counted.spans, counted.invalid), (3, 2));
    }

    #[test]
    fn errors_name_line_column_and_what_was_expected() {
        let error = json_to_protobuf(b"{\"resourceSpans\":\n [{\"scopeSpans\": 3}]}").unwrap_err();
        assert_eq!((error.line, error.reason.as_str()), (2, "invalid type: integer `3`, expected an array"));
        let error = json_to_protobuf(request(r#"{"kind":"SERVER"}"#).as_bytes()).unwrap_err();
        assert_eq!(error.reason, "invalid value: string \"SERVER\", expected the number of an enum value");
        for bad in ["", "[]", "{", "{} {}", "{\"resourceSpans\":[{\"resource\":\"x\"}]}"] {
            assert!(json_to_protobuf(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(json_to_protobuf(b"{}"), Ok(vec![]));
    }

    #[test]
    fn nesting_that_would_exhaust_the_stack_is_an_error() {
        let deep = 100_000;
        let value = format!(
            r#"{{"key":"k","value":{}{{}}{}}}"#,
            r#"{"arrayValue":{"values":["#.repeat(deep),
            "]}}".repeat(deep)
        );
        let text = request(&format!(r#"{{{IDS},"attributes":[{value}]}}"#));
        assert!(json_to_protobuf(text.as_bytes()).unwrap_err().reason.contains("recursion"));
    }
}
