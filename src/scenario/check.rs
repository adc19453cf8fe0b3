//! Conditions on answers: `expect: {status: 2xx, json: {"$.price": "> 0"}}`.

use super::template::Template;
use super::threshold::Comparison;
use super::types::Pattern;
use crate::record::grpc_status_name;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// What must hold of a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatusCheck {
    /// Nothing was said: below 400.
    NoError,
    /// One of these.
    OneOf(Vec<StatusRange>),
    /// One of these statuses of gRPC.
    Rpc(Vec<u16>),
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
            StatusCheck::Rpc(statuses) => statuses.contains(&status),
        }
    }

    /// A status as people call it.
    pub fn spelled(&self, status: u16) -> String {
        match self {
            StatusCheck::Rpc(_) => grpc_status_name(status).to_string(),
            _ => status.to_string(),
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
    /// Its text does not contain this, nor is it a list that does.
    Lacks(String),
    /// Its text matches this pattern somewhere.
    Matches(Pattern),
    /// It is equal to one of these.
    In(Vec<Value>),
    /// The number of its items, members or characters compares so.
    Length(Comparison, u64),
    /// It is of that kind.
    Is(Kind),
    /// It compares so with a value, as expressions compare: two texts are the same or not, whatever they spell.
    Like(Comparison, Value),
    /// A comparison with what a template gives.
    Made(Box<MadeCondition>),
}

/// A condition whose operand has templates: `== {{ id }}`.
#[derive(Clone, Debug, PartialEq)]
pub struct MadeCondition {
    /// What it does with its operand.
    pub how: Operation,
    /// The operand.
    pub operand: Template,
    /// As it was typed, for its name.
    pub typed: String,
}

/// What a condition with templates does with its operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It compares so.
    Compares(Comparison),
    /// See [`Condition::Contains`].
    Contains,
    /// See [`Condition::Lacks`].
    Lacks,
}

impl MadeCondition {
    /// What stands before the first template, and the operand with its templates.
    pub(super) fn split(text: &str) -> Result<(Operation, &str), String> {
        let text = text.trim();
        if let Some((comparison, operand)) = Comparison::parse(text) {
            return Ok((Operation::Compares(comparison), operand.trim_start()));
        }
        for (word, how) in [("not contains ", Operation::Lacks), ("contains ", Operation::Contains)] {
            if let Some(rest) = text.strip_prefix(word) {
                return Ok((how, rest.trim_start()));
            }
        }
        match text.split_whitespace().next().unwrap_or_default() {
            word @ ("matches" | "in" | "length" | "is" | "not") => Err(format!(
                "`{word}` takes no templates: those go with ==, !=, <, <=, >, >=, contains and not contains"
            )),
            _ => Ok((Operation::Compares(Comparison::Equal), text)),
        }
    }
}

/// Kinds of JSON values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is its own name")]
pub enum Kind {
    Text,
    Number,
    Boolean,
    List,
    Object,
}

impl Kind {
    const NAMES: [(&str, Kind); 5] = [
        ("text", Kind::Text),
        ("number", Kind::Number),
        ("boolean", Kind::Boolean),
        ("list", Kind::List),
        ("object", Kind::Object),
    ];

    fn is_of(self, value: &Value) -> bool {
        match self {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_number(),
            Kind::Boolean => value.is_boolean(),
            Kind::List => value.is_array(),
            Kind::Object => value.is_object(),
        }
    }
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
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        Ok(match word {
            "contains" if !rest.is_empty() => Condition::Contains(unquoted(rest).to_string()),
            "not" if rest.starts_with("contains ") => {
                Condition::Lacks(unquoted(rest["contains ".len()..].trim()).to_string())
            }
            "matches" if !rest.is_empty() => Condition::Matches(pattern(unquoted(rest))?),
            "in" if rest.starts_with('[') => Condition::In(listed_values(rest)?),
            "length" if Comparison::parse(rest).is_some() => {
                let (comparison, number) = Comparison::parse(rest).unwrap_or((Comparison::Equal, ""));
                let number = number.parse().map_err(|_| {
                    format!("`length {comparison}` is followed by a whole number, not {number:?}")
                })?;
                Condition::Length(comparison, number)
            }
            "is" => match Kind::NAMES.iter().find(|(name, _)| *name == rest) {
                Some((_, kind)) => Condition::Is(*kind),
                None => {
                    return Err(format!(
                        "`is` is followed by text, number, boolean, list or object, not {rest:?}"
                    ));
                }
            },
            _ if text == "exists" => Condition::Exists,
            _ if text == "absent" => Condition::Absent,
            _ => Condition::Compares(Comparison::Equal, Value::from(text)),
        })
    }

    /// The condition with its template filled by `fill`; itself where it has none.
    ///
    /// # Errors
    /// What `fill` says.
    pub fn filled(
        &self,
        fill: impl FnOnce(&Template) -> Result<Value, String>,
    ) -> Result<Cow<'_, Condition>, String> {
        let Condition::Made(made) = self else { return Ok(Cow::Borrowed(self)) };
        let value = fill(&made.operand)?;
        let text = || super::template::text_of(&value).into_owned();
        Ok(Cow::Owned(match made.how {
            Operation::Compares(comparison) => Condition::Like(comparison, value),
            Operation::Contains => Condition::Contains(text()),
            Operation::Lacks => Condition::Lacks(text()),
        }))
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
            Condition::Lacks(needle) => !Condition::Contains(needle.clone()).holds_of(value),
            Condition::Matches(pattern) => pattern.0.is_match(&super::template::text_of(value)),
            Condition::In(values) => values.iter().any(|wanted| compares(value, Comparison::Equal, wanted)),
            Condition::Length(comparison, wanted) => {
                let length = match value {
                    Value::Array(items) => items.len(),
                    Value::Object(members) => members.len(),
                    Value::Null => return false,
                    other => super::template::text_of(other).chars().count(),
                };
                comparison.holds(length as f64, *wanted as f64)
            }
            Condition::Is(kind) => kind.is_of(value),
            Condition::Like(comparison, wanted) => compares(value, *comparison, wanted),
            // It is filled before it is asked.
            Condition::Made(_) => false,
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
            Condition::Compares(comparison, value) | Condition::Like(comparison, value) => {
                write!(f, "{comparison} {value}")
            }
            Condition::Contains(needle) => write!(f, "contains {needle:?}"),
            Condition::Lacks(needle) => write!(f, "not contains {needle:?}"),
            Condition::Matches(pattern) => write!(f, "matches {}", pattern.0.as_str()),
            Condition::In(values) => write!(f, "in {}", Value::Array(values.clone())),
            Condition::Length(comparison, number) => write!(f, "length {comparison} {number}"),
            Condition::Is(kind) => {
                let name = Kind::NAMES.iter().find(|(_, k)| k == kind).map_or("", |(name, _)| name);
                write!(f, "is {name}")
            }
            Condition::Made(made) => f.write_str(&made.typed),
        }
    }
}

/// A regular expression that is not too large to be run on every answer.
///
/// # Errors
/// Says what is wrong with it.
pub(super) fn pattern(text: &str) -> Result<Pattern, String> {
    match regex::RegexBuilder::new(text).size_limit(1 << 20).build() {
        Ok(regex) => Ok(Pattern(regex)),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!("the pattern {text:?} is too large")),
        Err(error) => {
            // The library draws the pattern with a mark under the place; its last line says what is wrong.
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ");
            Err(format!("{text:?} is no regular expression: {last}"))
        }
    }
}

/// `[200, "a", b]`.
fn listed_values(text: &str) -> Result<Vec<Value>, String> {
    if let Ok(Value::Array(values)) = serde_json::from_str(text) {
        return Ok(values);
    }
    let inside = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let inside = inside.ok_or_else(|| format!("{text:?} has no `]` at its end"))?;
    Ok(inside.split(',').map(|item| operand_value(item.trim())).collect())
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
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).filter(|number| number.is_finite())
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
    fn what_a_template_gives_is_compared_as_in_expressions() {
        let made = |text: &str, given: Value, found: Value| {
            let (how, _) = MadeCondition::split(text).unwrap();
            let made = MadeCondition { how, operand: Template::default(), typed: text.to_string() };
            let condition = Condition::Made(Box::new(made));
            assert_eq!(condition.to_string(), text);
            condition.filled(|_| Ok(given)).unwrap().holds(&[&found])
        };
        // Texts that spell the same number, or one beyond all numbers, are not the same for it.
        assert!(made("{{ id }}", json!("12e456"), json!("12e456")));
        assert!(!made("{{ id }}", json!("1e2"), json!("100")));
        assert!(made("== {{ id }}", json!("7"), json!(7)) && !made("!= {{ id }}", json!(7), json!("7")));
        assert!(made("< {{ id }}", json!("10"), json!("9")) && made(">= {{ id }}", json!(3), json!("3.0")));
        assert!(made("contains {{ id }}", json!("b"), json!(["a", "b"])));
        assert!(made("not contains {{ id }}", json!(5), json!("abc")));
        assert!(!holds("< 5", json!("12e456")), "no number is that large");
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
        assert!(holds("not contains x", json!("abc")) && !holds("not contains b", json!("abc")));
        assert!(!holds("not contains 2", json!([1, 2])));
        assert!(holds("matches ^a\\d+$", json!("a12")) && !holds("matches ^a\\d+$", json!("ab")));
        assert!(
            holds("in [1, 2]", json!("2"))
                && holds("in [a, b]", json!("b"))
                && !holds("in [a, b]", json!("c"))
        );
        assert!(
            holds("length > 1", json!([1, 2]))
                && holds("length == 3", json!("abc"))
                && !holds("length > 0", json!([]))
        );
        assert!(
            holds("is number", json!(1)) && !holds("is number", json!("1")) && holds("is object", json!({}))
        );
        assert_eq!(
            Condition::parse("matches a(").unwrap_err(),
            "\"a(\" is no regular expression: unclosed group"
        );
        assert!(Condition::parse("is price").unwrap_err().contains("text, number"));
        assert!(Condition::parse("length > many").unwrap_err().contains("whole number"));
        assert!(pattern("(a{1000}){1000}").unwrap_err().contains("too large"));
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
