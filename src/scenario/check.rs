//! Conditions on answers: `expect: {status: 2xx, json: {"$.price": "> 0"}}`.

use super::threshold::Comparison;
use serde_json::Value;
use std::fmt;

/// What must hold of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusCheck {
    /// Nothing was said: below 400.
    NoError,
    /// One of these.
    OneOf(Vec<StatusRange>),
}

/// A status, or a class of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// First status.
    pub from: u16,
    /// Last status.
    pub to: u16,
}

impl StatusCheck {
    /// Whether a status is as expected.
    pub fn holds(&self, status: u16) -> bool {
        match self {
            StatusCheck::NoError => status < 400,
            StatusCheck::OneOf(ranges) => ranges.iter().any(|r| (r.from..=r.to).contains(&status)),
        }
    }
}

impl StatusRange {
    /// `200` or `2xx`.
    pub(super) fn parse(text: &str) -> Option<StatusRange> {
        let class =
            text.strip_suffix("xx").and_then(|c| c.parse::<u16>().ok()).filter(|c| (1..=5).contains(c));
        match class {
            Some(class) => Some(StatusRange { from: class * 100, to: class * 100 + 99 }),
            None => {
                text.parse().ok().filter(|s| (100..=599).contains(s)).map(|s| StatusRange { from: s, to: s })
            }
        }
    }
}

/// What must hold of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// It is there and not null.
    Exists,
    /// It is not there, or null.
    Absent,
    /// It compares so with a number or text.
    Compares(Comparison, Value),
    /// Its text contains this, or it is a list that does.
    Contains(String),
}

impl Condition {
    /// `> 0`, `== "x"`, `!= null`, `contains abc`, `exists`, `absent`; any other text must be equal.
    pub(super) fn parse(text: &str) -> Result<Condition, String> {
        let text = text.trim();
        if let Some((comparison, operand)) = Comparison::parse(text) {
            let value = operand_value(operand);
            let ordered = !matches!(comparison, Comparison::Equal | Comparison::NotEqual);
            if operand.is_empty() || ordered && !value.is_number() {
                return Err(format!("`{comparison}` is followed by a number, not {operand:?}"));
            }
            return Ok(Condition::Compares(comparison, value));
        }
        Ok(match text.split_once(char::is_whitespace) {
            Some(("contains", needle)) => Condition::Contains(unquoted(needle.trim()).to_string()),
            _ if text == "exists" => Condition::Exists,
            _ if text == "absent" => Condition::Absent,
            _ => Condition::Compares(Comparison::Equal, Value::from(text)),
        })
    }

    /// Whether it holds of all values found at a place.
    pub fn holds(&self, found: &[&Value]) -> bool {
        match self {
            Condition::Absent => found.iter().all(|v| v.is_null()),
            Condition::Exists => found.iter().any(|v| !v.is_null()),
            _ => !found.is_empty() && found.iter().all(|value| self.holds_of(value)),
        }
    }

    fn holds_of(&self, value: &Value) -> bool {
        match self {
            Condition::Exists => !value.is_null(),
            Condition::Absent => value.is_null(),
            Condition::Contains(needle) => match value {
                Value::Array(items) => {
                    items.iter().any(|item| super::template::text_of(item) == needle.as_str())
                }
                other => super::template::text_of(other).contains(needle.as_str()),
            },
            Condition::Compares(comparison, wanted) => match (number(value), wanted.as_f64()) {
                (Some(actual), Some(limit)) => comparison.holds(actual, limit),
                _ => match comparison {
                    Comparison::Equal => value == wanted,
                    Comparison::NotEqual => value != wanted,
                    _ => false,
                },
            },
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::Exists => f.write_str("exists"),
            Condition::Absent => f.write_str("absent"),
            Condition::Compares(comparison, value) => write!(f, "{comparison} {value}"),
            Condition::Contains(needle) => write!(f, "contains {needle:?}"),
        }
    }
}

/// Whether two values compare so: as numbers where both are (or are texts that spell) numbers; else texts are ordered by
/// their characters, and anything else is only equal or not.
pub fn compares(left: &Value, comparison: Comparison, right: &Value) -> bool {
    let both_texts = left.is_string() && right.is_string();
    match (number(left), number(right)) {
        (Some(a), Some(b))
            if !both_texts || !matches!(comparison, Comparison::Equal | Comparison::NotEqual) =>
        {
            comparison.holds(a, b)
        }
        _ => match (comparison, left, right) {
            (Comparison::Equal, ..) => left == right,
            (Comparison::NotEqual, ..) => left != right,
            (_, Value::String(a), Value::String(b)) => {
                let order = match a.cmp(b) {
                    std::cmp::Ordering::Less => -1.0,
                    std::cmp::Ordering::Equal => 0.0,
                    std::cmp::Ordering::Greater => 1.0,
                };
                comparison.holds(order, 0.0)
            }
            _ => false,
        },
    }
}

/// A number, or a text that is one: many services send prices as text.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

fn operand_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => Value::from(unquoted(text)),
    }
}

fn unquoted(text: &str) -> &str {
    let inner = text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''));
    inner.or_else(|| text.strip_prefix('"').and_then(|t| t.strip_suffix('"'))).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn holds(condition: &str, value: Value) -> bool {
        Condition::parse(condition).unwrap().holds(&[&value])
    }

    #[test]
    fn conditions_hold_or_not() {
        assert!(holds("> 0", json!(3)) && !holds("> 0", json!(0)) && holds("> 0", json!("3.5")));
        assert!(!holds("> 0", json!("many")) && !holds("> 0", json!(null)));
        assert!(holds("== 3", json!(3.0)) && holds("!= 3", json!(4)));
        assert!(holds("== \"ok\"", json!("ok")) && holds("ok", json!("ok")) && !holds("ok", json!("no")));
        assert!(
            holds("== true", json!(true)) && holds("!= null", json!(1)) && !holds("!= null", json!(null))
        );
        assert!(holds("contains lamp", json!("a lamp")) && holds("contains lamp", json!(["lamp"])));
        assert!(holds("exists", json!(0)) && !holds("exists", json!(null)) && holds("absent", json!(null)));
        assert!(Condition::parse("absent").unwrap().holds(&[]));
        assert!(!Condition::parse("> 0").unwrap().holds(&[]));
        assert!(Condition::parse("> cheap").is_err());
    }

    #[test]
    fn statuses_and_their_classes() {
        let check =
            StatusCheck::OneOf(vec![StatusRange::parse("2xx").unwrap(), StatusRange::parse("404").unwrap()]);
        assert!(check.holds(204) && check.holds(404) && !check.holds(500));
        assert!(StatusCheck::NoError.holds(302) && !StatusCheck::NoError.holds(400));
        for text in ["9xx", "20", "600", "ok", ""] {
            assert_eq!(StatusRange::parse(text), None, "{text}");
        }
    }
}
