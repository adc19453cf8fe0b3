//! What the JSON formats share: texts that borrow, numbers in whatever form they come, ids of any length, names of kinds.

use crate::record::{SpanId, SpanKind, Status, TraceId, Value};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A text that borrows from the input unless it had to be unescaped. `null` is empty, numbers are their digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Text<'a>(pub Cow<'a, str>);

impl Text<'_> {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A tag's value. Lists and maps become JSON again: no format that has them here gives them a meaning.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    #[default]
    Nothing,
    Str(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl<'a> Scalar<'a> {
    pub fn value(&'a self) -> Value<'a> {
        match self {
            Scalar::Nothing => Value::Empty,
            Scalar::Str(text) => Value::Str(text),
            Scalar::Bool(yes) => Value::Bool(*yes),
            Scalar::Int(n) => Value::Int(*n),
            Scalar::Double(n) => Value::Double(*n),
        }
    }

    pub fn as_str(&self) -> &str {
        match self {
            Scalar::Str(text) => text,
            _ => "",
        }
    }

    /// `true` in either form.
    pub fn is_true(&self) -> bool {
        match self {
            Scalar::Bool(yes) => *yes,
            Scalar::Str(text) => text == "true",
            _ => false,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text<'a>, D::Error> {
        Ok(Text(match Scalar::deserialize(deserializer)? {
            Scalar::Str(text) => text,
            Scalar::Nothing => Cow::Borrowed(""),
            Scalar::Int(n) => Cow::Owned(n.to_string()),
            Scalar::Double(n) => Cow::Owned(n.to_string()),
            Scalar::Bool(_) => return Err(D::Error::custom("expected a text, found true or false")),
        }))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Scalar<'a>, D::Error> {
        struct Visit;
        impl<'de> Visitor<'de> for Visit {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, a number, true or false")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Str(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Str(Cow::Owned(text.to_owned())))
            }
            fn visit_bool<E>(self, yes: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Bool(yes))
            }
            fn visit_i64<E>(self, n: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Int(n))
            }
            fn visit_u64<E>(self, n: u64) -> Result<Self::Value, E> {
                Ok(i64::try_from(n).map_or(Scalar::Double(n as f64), Scalar::Int))
            }
            fn visit_f64<E>(self, n: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Double(n))
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Nothing)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut parts: Vec<String> = Vec::new();
                while let Some(part) = seq.next_element::<serde_json::Value>()? {
                    parts.push(part.to_string());
                }
                Ok(Scalar::Str(Cow::Owned(format!("[{}]", parts.join(",")))))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }
        }
        deserializer.deserialize_any(Visit)
    }
}

/// A whole number that may come as a number, a float or a text; absent where it is `null`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Number(pub Option<f64>, pub Option<u64>);

impl Number {
    /// Microseconds as nanoseconds; negative counts as zero. Whole numbers stay exact.
    pub fn micros_as_nanos(self) -> Option<u64> {
        match self {
            Number(_, Some(whole)) => Some(whole.saturating_mul(1_000)),
            Number(Some(n), None) => Some((n.max(0.0) * 1e3).round() as u64),
            Number(None, None) => None,
        }
    }

    /// The whole number.
    pub fn whole(self) -> Option<u64> {
        self.1.or(self.0.filter(|n| n.fract() == 0.0 && *n >= 0.0).map(|n| n as u64))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        Ok(match Scalar::deserialize(deserializer)? {
            Scalar::Nothing => Number::default(),
            Scalar::Int(n) => Number(None, Some(u64::try_from(n).unwrap_or(0))),
            Scalar::Double(n) if n.is_finite() => Number(Some(n), None),
            Scalar::Str(text) if text.is_empty() => Number::default(),
            Scalar::Str(text) => match (text.parse::<u64>(), text.parse::<f64>()) {
                (Ok(whole), _) => Number(None, Some(whole)),
                (_, Ok(n)) if n.is_finite() => Number(Some(n), None),
                _ => return Err(D::Error::custom(format!("expected a number, found `{text}`"))),
            },
            Scalar::Double(_) | Scalar::Bool(_) => return Err(D::Error::custom("expected a number")),
        })
    }
}

/// A trace id of up to 32 hexadecimal digits, shorter ones filled with zeros in front. A text that is no such number (as
/// in examples and tests) gets an id of its own by hash; none and zero are no id.
pub(super) fn trace_id(text: &str) -> Option<TraceId> {
    let id = id_bytes(text.as_bytes(), 32)?;
    TraceId::from_bytes(&id.to_be_bytes()).ok()
}

/// As [`trace_id`], of up to 16 digits.
pub(super) fn span_id(text: &str) -> Option<SpanId> {
    let id = id_bytes(text.as_bytes(), 16)? as u64;
    SpanId::from_bytes(&id.to_be_bytes()).ok()
}

fn id_bytes(text: &[u8], digits: usize) -> Option<u128> {
    if text.is_empty() {
        return None;
    }
    let mut id = 0u128;
    for c in text {
        match char::from(*c).to_digit(16) {
            Some(digit) if text.len() <= digits => id = id << 4 | u128::from(digit),
            _ => return Some(hashed(text)),
        }
    }
    Some(id)
}

/// FNV-1a over 128 bits, folded so that its low half depends on all of it.
fn hashed(text: &[u8]) -> u128 {
    let mut hash: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    for byte in text {
        hash = (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
    }
    (hash ^ hash >> 64) | 1
}

/// The kind of that name: `server`, `SERVER`, `Server`, `SPAN_KIND_SERVER`, or the number.
pub(super) fn span_kind(name: &str) -> SpanKind {
    let name = name.strip_prefix("SPAN_KIND_").unwrap_or(name);
    let is = |word: &str| name.eq_ignore_ascii_case(word);
    match name {
        "1" => SpanKind::Internal,
        "2" => SpanKind::Server,
        "3" => SpanKind::Client,
        "4" => SpanKind::Producer,
        "5" => SpanKind::Consumer,
        _ if is("internal") => SpanKind::Internal,
        _ if is("server") => SpanKind::Server,
        _ if is("client") => SpanKind::Client,
        _ if is("producer") => SpanKind::Producer,
        _ if is("consumer") => SpanKind::Consumer,
        _ => SpanKind::Unspecified,
    }
}

/// The status of that name: `Error`, `ERROR`, `STATUS_CODE_ERROR`, or the number.
pub(super) fn status(name: &str) -> Status {
    let name = name.strip_prefix("STATUS_CODE_").unwrap_or(name);
    match name {
        "1" => Status::Ok,
        "2" => Status::Error,
        _ if name.eq_ignore_ascii_case("ok") => Status::Ok,
        _ if name.eq_ignore_ascii_case("error") => Status::Error,
        _ => Status::Unset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ids_are_filled_and_texts_are_hashed() {
        assert_eq!(trace_id("151e8ea44a5cf41c").unwrap().to_string(), "0000000000000000151e8ea44a5cf41c");
        assert_eq!(span_id("AbC").unwrap().to_string(), "0000000000000abc");
        assert_eq!((trace_id(""), trace_id("0000"), span_id("0")), (None, None, None));
        assert_ne!(trace_id("S1"), trace_id("S2"));
        assert_eq!(span_id("root-span"), span_id("root-span"));
        // Too long for an id: hashed, not cut.
        assert_ne!(span_id("11112222333344445"), span_id("11112222333344446"));
    }

    #[test]
    fn numbers_come_in_any_form() {
        let read = |text: &str| serde_json::from_str::<Number>(text).map(Number::micros_as_nanos);
        assert_eq!(read("1531282088548312").unwrap(), Some(1_531_282_088_548_312_000));
        assert_eq!(read("\"12\"").unwrap(), Some(12_000));
        assert_eq!(read("1.5").unwrap(), Some(1_500));
        assert_eq!(read("-3").unwrap(), Some(0));
        assert_eq!(read("null").unwrap(), None);
        assert!(read("\"soon\"").unwrap_err().to_string().contains("expected a number, found `soon`"));
    }
}
