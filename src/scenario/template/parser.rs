//! Reads what stands between `{{` and `}}`.

use super::{Expression, Fake, Filter, Member, Named, Operator};
use crate::scenario::error::{listed, nearest};
use crate::scenario::mask::is_secret;
use crate::scenario::secret::SHORTEST;
use crate::scenario::threshold::Comparison;
use crate::scenario::types::Keep;
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;

/// What names a template may use: filled by the reader of the scenario, step by step.
#[derive(Clone, Debug, Default)]
pub(in crate::scenario) struct Names {
    /// The names of all variables of the scenario by slot. All clones share them: a variable has the same slot in every
    /// journey, so that a journey that is called finds and leaves values where its caller does.
    pub slots: Rc<RefCell<Vec<String>>>,
    /// The slots of those that can be named here.
    pub visible: BTreeSet<usize>,
    /// Columns of the journey's data, if it has data.
    pub columns: Option<Arc<[String]>>,
    /// How long variables last that outlast an iteration, by slot.
    pub kept: Rc<RefCell<BTreeMap<usize, Keep>>>,
    /// Secrets by name, and all values that were found to be secret.
    pub secrets: Rc<RefCell<Known>>,
    /// Environment variables: the reader of the scenario never looks at the process's environment itself.
    pub environment: Arc<BTreeMap<String, String>>,
}

/// Secrets that a template may use.
#[derive(Clone, Default)]
pub(in crate::scenario) struct Known {
    /// By name.
    pub named: BTreeMap<String, String>,
    /// All of them, those that came from the environment under a secret name too.
    pub values: BTreeSet<String>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Known")
    }
}

impl Names {
    /// The slot of a variable that can be named from now on; a new one for a new name.
    pub fn declare(&mut self, name: &str) -> usize {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.iter().position(|v| v == name).unwrap_or_else(|| {
            slots.push(name.to_string());
            slots.len() - 1
        });
        self.visible.insert(slot);
        slot
    }

    /// The slot of a variable that can be named here.
    pub fn slot(&self, name: &str) -> Option<usize> {
        let slots = self.slots.borrow();
        self.visible.iter().copied().find(|slot| slots.get(*slot).is_some_and(|v| v == name))
    }

    /// All variables that can be named here.
    pub fn variables(&self) -> Vec<String> {
        let slots = self.slots.borrow();
        self.visible.iter().filter_map(|slot| slots.get(*slot).cloned()).collect()
    }
}

/// What is wrong with a template, and at which character of its text (from 0).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::scenario) struct TemplateFault {
    pub at: usize,
    pub message: String,
}

pub(super) const FUNCTIONS: &[&str] = &["pick", "one_of", "uuid", "random_text", "now", "defined"];
/// Deeper nesting than this is no formula that a person wrote.
const MOST_DEPTH: usize = 32;
pub(super) const FILTERS: &[&str] = &[
    "random",
    "first",
    "last",
    "length",
    "int",
    "string",
    "json",
    "upper",
    "lower",
    "trim",
    "urlencode",
    "base64",
    "raw",
    "default",
];
const BUILT_IN: &[&str] = &["data", "fake", "env", "secret", "user", "iteration"];

/// Position of the `}}` that ends a hole; one inside a quoted literal does not count.
pub(super) fn closing(inside: &str) -> Option<usize> {
    let mut quote = None;
    let bytes = inside.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            _ => {}
        }
    }
    None
}

/// Reads what stands between `{{` and `}}`.
pub(in crate::scenario) fn parse_expression(text: &str, names: &Names) -> Result<Expression, TemplateFault> {
    let mut parser = Parser { chars: text.chars().collect(), at: 0, depth: 0, names };
    let expression = parser.either()?;
    parser.skip_space();
    match parser.peek() {
        None => Ok(expression),
        Some('=') => Err(parser.fault("`=` is no comparison: write == for equal")),
        Some('&') => Err(parser.fault("`&` is written `and`")),
        Some('?') => {
            Err(parser.fault("there is no `? :` here: branch by `when`, or give a value by `| default(…)`"))
        }
        Some(c) => {
            Err(parser.fault(format!("expected `|`, an operator or the end of the template, found `{c}`")))
        }
    }
}

struct Parser<'a> {
    chars: Vec<char>,
    at: usize,
    depth: usize,
    names: &'a Names,
}

impl Parser<'_> {
    fn fault(&self, message: impl Into<String>) -> TemplateFault {
        TemplateFault { at: self.at, message: message.into() }
    }

    fn fault_at(&self, at: usize, message: impl Into<String>) -> TemplateFault {
        TemplateFault { at, message: message.into() }
    }

    /// Whether what stands at `at` follows a comparison.
    fn is_compared(&self, at: usize) -> bool {
        let before: String = self.chars.iter().take(at).collect();
        let before = before.trim_end();
        before.ends_with(['=', '<', '>']) || before.ends_with(" contains")
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Option<String> {
        self.skip_space();
        let start = self.at;
        while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
            self.at += 1;
        }
        (self.at > start).then(|| self.chars[start..self.at].iter().collect())
    }

    /// A word that stands alone: `not` is none in `nothing`.
    fn eat_word(&mut self, word: &str) -> bool {
        self.skip_space();
        let start = self.at;
        if self.name().as_deref() == Some(word) {
            return true;
        }
        self.at = start;
        false
    }

    fn eat_sign(&mut self, sign: &str) -> bool {
        self.skip_space();
        let found = sign.chars().enumerate().all(|(i, c)| self.chars.get(self.at + i) == Some(&c));
        self.at += if found { sign.len() } else { 0 };
        found
    }

    fn either(&mut self) -> Result<Expression, TemplateFault> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.fault("the expression is nested too deeply"));
        }
        let mut left = self.both()?;
        while self.eat_word("or") {
            left = Expression::Or(Box::new(left), Box::new(self.both()?));
        }
        self.depth -= 1;
        Ok(left)
    }

    fn both(&mut self) -> Result<Expression, TemplateFault> {
        let mut left = self.negated()?;
        while self.eat_word("and") {
            left = Expression::And(Box::new(left), Box::new(self.negated()?));
        }
        Ok(left)
    }

    fn negated(&mut self) -> Result<Expression, TemplateFault> {
        let mut turns = 0;
        while self.eat_word("not") {
            turns += 1;
        }
        let inner = self.compared()?;
        Ok(match turns {
            0 => inner,
            n if n % 2 == 1 => Expression::Not(Box::new(inner)),
            _ => Expression::Not(Box::new(Expression::Not(Box::new(inner)))),
        })
    }

    fn compared(&mut self) -> Result<Expression, TemplateFault> {
        let left = self.sum()?;
        if self.eat_word("contains") {
            return Ok(Expression::Contains(Box::new(left), Box::new(self.sum()?)));
        }
        self.skip_space();
        let rest: String = self.chars[self.at..].iter().take(2).collect();
        let Some((comparison, tail)) = Comparison::parse_sign(&rest) else { return Ok(left) };
        self.at += rest.chars().count() - tail.chars().count();
        Ok(Expression::Compare(Box::new(left), comparison, Box::new(self.sum()?)))
    }

    fn sum(&mut self) -> Result<Expression, TemplateFault> {
        let mut left = self.product()?;
        loop {
            let operator = match () {
                () if self.eat_sign("+") => Operator::Plus,
                () if self.eat_sign("-") => Operator::Minus,
                () => return Ok(left),
            };
            left = Expression::Arithmetic(Box::new(left), operator, Box::new(self.product()?));
        }
    }

    fn product(&mut self) -> Result<Expression, TemplateFault> {
        let mut left = self.filtered()?;
        loop {
            let operator = match () {
                () if self.eat_sign("*") => Operator::Times,
                () if self.eat_sign("/") => Operator::Over,
                () if self.eat_sign("%") => Operator::Modulo,
                () => return Ok(left),
            };
            left = Expression::Arithmetic(Box::new(left), operator, Box::new(self.filtered()?));
        }
    }

    fn filtered(&mut self) -> Result<Expression, TemplateFault> {
        let mut expression = self.primary()?;
        while self.eat('|') {
            self.skip_space();
            let at = self.at;
            let Some(name) = self.name() else {
                if self.peek() == Some('|') {
                    return Err(self.fault("`||` is written `or`"));
                }
                return Err(self.fault("expected the name of a filter after `|`"));
            };
            let filter = self.filter(&name, at)?;
            expression = Expression::Filtered(Box::new(expression), filter);
        }
        Ok(expression)
    }

    fn filter(&mut self, name: &str, at: usize) -> Result<Filter, TemplateFault> {
        Ok(match name {
            "random" => Filter::Random,
            "first" => Filter::First,
            "last" => Filter::Last,
            "length" => Filter::Length,
            "int" => Filter::Int,
            "string" => Filter::Text,
            "json" => Filter::Json,
            "upper" => Filter::Upper,
            "lower" => Filter::Lower,
            "trim" => Filter::Trim,
            "urlencode" => Filter::UrlEncode,
            "base64" => Filter::Base64,
            "raw" => Filter::Raw,
            "default" => {
                let mut given = self.arguments("default")?;
                match (given.pop(), given.is_empty()) {
                    (Some(value), true) => Filter::Default(Box::new(value)),
                    _ => return Err(self.fault_at(at, "`default` takes one value, e.g. default(\"none\")")),
                }
            }
            _ => return Err(self.fault_at(at, unknown("filter", name, FILTERS))),
        })
    }

    fn primary(&mut self) -> Result<Expression, TemplateFault> {
        self.skip_space();
        let at = self.at;
        match self.peek() {
            None if self.chars.iter().all(|c| c.is_whitespace()) => Err(self.fault("an empty `{{ }}`")),
            None => Err(self.fault("a value is missing at the end")),
            Some(quote @ ('"' | '\'')) => self.quoted(quote),
            Some('(') => {
                self.at += 1;
                let inner = self.either()?;
                if self.eat(')') { Ok(inner) } else { Err(self.fault("`(` without its `)`")) }
            }
            Some(c) if c.is_ascii_digit() || c == '-' => self.number(),
            Some('!') => Err(self.fault("`!` is written `not`")),
            Some('=') => Err(self.fault("`===` is written `==`")),
            Some(_) => {
                let Some(name) = self.name() else {
                    return Err(self.fault("expected a variable, a function or a literal"));
                };
                self.skip_space();
                let head =
                    if self.peek() == Some('(') { self.call(&name, at)? } else { self.variable(&name, at)? };
                self.members(head)
            }
        }
    }

    fn quoted(&mut self, quote: char) -> Result<Expression, TemplateFault> {
        let start = self.at + 1;
        let Some(len) = self.chars[start..].iter().position(|c| *c == quote) else {
            return Err(self.fault("a quoted text without its end"));
        };
        self.at = start + len + 1;
        let text: String = self.chars[start..start + len].iter().collect();
        Ok(Expression::Literal(text.into()))
    }

    fn number(&mut self) -> Result<Expression, TemplateFault> {
        let start = self.at;
        self.at += 1;
        while self.peek().is_some_and(|c| c.is_ascii_digit() || c == '.') {
            self.at += 1;
        }
        let text: String = self.chars[start..self.at].iter().collect();
        let value = text.parse::<i64>().ok().map(Value::from);
        let value = value.or_else(|| text.parse::<f64>().ok().map(Value::from));
        value.map(Expression::Literal).ok_or_else(|| self.fault_at(start, format!("`{text}` is no number")))
    }

    /// `(a, b)` with each argument an expression.
    fn arguments(&mut self, function: &str) -> Result<Vec<Expression>, TemplateFault> {
        if !self.eat('(') {
            return Err(self.fault(format!("expected `(` after `{function}`")));
        }
        let mut given = Vec::new();
        if self.eat(')') {
            return Ok(given);
        }
        loop {
            given.push(self.either()?);
            if self.eat(')') {
                return Ok(given);
            }
            if !self.eat(',') {
                return Err(self.fault(format!("expected `,` or `)` in the arguments of `{function}`")));
            }
        }
    }

    fn call(&mut self, name: &str, at: usize) -> Result<Expression, TemplateFault> {
        let mut given = self.arguments(name)?;
        let whole = |e: Option<&Expression>| match e {
            Some(Expression::Literal(value)) => value.as_i64(),
            _ => None,
        };
        match name {
            "pick" => match (whole(given.first()), whole(given.get(1)), given.len()) {
                (Some(low), Some(high), 2) if low <= high => Ok(Expression::Pick(low, high)),
                (Some(low), Some(high), 2) => Err(self.fault_at(
                    at,
                    format!("pick({low}, {high}) is an empty range: the smaller number goes first"),
                )),
                _ => {
                    let fits =
                        |e: &Expression| !matches!(e, Expression::Literal(value) if value.as_i64().is_none());
                    match (given.pop(), given.pop(), given.is_empty()) {
                        (Some(high), Some(low), true) if fits(&low) && fits(&high) => {
                            Ok(Expression::PickBetween(Box::new(low), Box::new(high)))
                        }
                        _ => Err(self.fault_at(at, "`pick` takes two whole numbers, e.g. pick(1, 20); for one of several values use one_of(…)")),
                    }
                }
            },
            "one_of" if given.is_empty() => Err(self.fault_at(at, "`one_of` takes at least one value")),
            "one_of" => Ok(Expression::OneOf(given)),
            "defined" => match (given.pop(), given.is_empty()) {
                (Some(value), true) => Ok(Expression::Defined(Box::new(value))),
                _ => Err(self.fault_at(at, "`defined` takes one variable, e.g. defined(token)")),
            },
            "uuid" | "now" if !given.is_empty() => {
                Err(self.fault_at(at, format!("`{name}` takes no arguments")))
            }
            "uuid" => Ok(Expression::Uuid),
            "now" => Ok(Expression::Now),
            "random_text" => match (whole(given.first()), given.len()) {
                (Some(n @ 1..=1_000_000), 1) => Ok(Expression::RandomText(n as usize)),
                _ => Err(self.fault_at(at, "`random_text` takes a length from 1 to 1000000")),
            },
            _ => Err(self.fault_at(at, unknown("function", name, FUNCTIONS))),
        }
    }

    fn variable(&mut self, name: &str, at: usize) -> Result<Expression, TemplateFault> {
        // A scenario's own variable wins over a built-in name.
        if let Some(slot) = self.names.slot(name) {
            return Ok(Expression::Variable(Named { index: slot, name: name.into() }));
        }
        match name {
            "true" => Ok(Expression::Literal(true.into())),
            "false" => Ok(Expression::Literal(false.into())),
            "null" => Ok(Expression::Literal(Value::Null)),
            "and" | "or" | "not" | "contains" => {
                Err(self.fault_at(at, format!("`{name}` stands between two values: a value is missing here")))
            }
            "user" => Ok(Expression::User),
            "iteration" => Ok(Expression::Iteration),
            "data" => {
                let Some(columns) = self.names.columns.clone() else {
                    return Err(self.fault_at(
                        at,
                        "this journey has no `data:`; name a CSV or JSON file there to use `data.…`",
                    ));
                };
                let (column, at) = self.dotted("data")?;
                let known: Vec<&str> = columns.iter().map(String::as_str).collect();
                match columns.iter().position(|c| *c == column) {
                    Some(index) => Ok(Expression::Column(Named { index, name: column.into() })),
                    None => Err(self.fault_at(at, unknown("column", &column, &known))),
                }
            }
            "fake" => {
                let (kind, at) = self.dotted("fake")?;
                Fake::from_name(&kind)
                    .map(Expression::Fake)
                    .ok_or_else(|| self.fault_at(at, unknown("kind of fake data", &kind, Fake::NAMES)))
            }
            "env" => {
                let (variable, at) = self.dotted("env")?;
                match self.names.environment.get(&variable) {
                    Some(value) if is_secret(&variable) && value.len() >= SHORTEST => {
                        self.names.secrets.borrow_mut().values.insert(value.clone());
                        Ok(Expression::Secret(variable.into(), value.as_str().into()))
                    }
                    Some(value) => Ok(Expression::Literal(value.as_str().into())),
                    None => Err(self.fault_at(at, format!("the environment variable {variable} is not set"))),
                }
            }
            "secret" => {
                let (name, at) = self.dotted("secret")?;
                let secrets = self.names.secrets.borrow();
                match secrets.named.get(&name) {
                    Some(value) => Ok(Expression::Secret(name.into(), value.as_str().into())),
                    None if secrets.named.is_empty() => {
                        let how = format!(
                            "there are no secrets: name them at the top, e.g. secrets: {{{name}: {{env: {}}}}}",
                            name.to_uppercase()
                        );
                        Err(self.fault_at(at, how))
                    }
                    None => {
                        let known: Vec<&str> = secrets.named.keys().map(String::as_str).collect();
                        Err(self.fault_at(at, unknown("secret", &name, &known)))
                    }
                }
            }
            _ if FUNCTIONS.contains(&name) => {
                Err(self.fault_at(at, format!("`{name}` is a function: write {name}(…)")))
            }
            _ => {
                let variables = self.names.variables();
                let mut known: Vec<&str> = variables.iter().map(String::as_str).collect();
                known.extend(BUILT_IN);
                let is_column = self.names.columns.as_ref().is_some_and(|all| all.iter().any(|c| c == name));
                let hint = match nearest(name, known.iter().copied()) {
                    _ if is_column => format!("; a column of the journey's data is `data.{name}`"),
                    Some(near) => format!("; did you mean `{near}`?"),
                    // Whoever compares with a word nearly always means the text.
                    None if self.is_compared(at) => format!("; a text stands in quotes: \"{name}\""),
                    None => {
                        "; extract it in an earlier step of this journey, or set it under `vars`".to_string()
                    }
                };
                Err(self.fault_at(at, format!("undefined variable `{name}`{hint}")))
            }
        }
    }

    fn dotted(&mut self, what: &str) -> Result<(String, usize), TemplateFault> {
        if !self.eat('.') {
            return Err(self.fault(format!("expected `.` and a name after `{what}`")));
        }
        self.skip_space();
        let at = self.at;
        match self.name() {
            Some(name) => Ok((name, at)),
            None => Err(self.fault(format!("expected a name after `{what}.`"))),
        }
    }

    fn members(&mut self, mut head: Expression) -> Result<Expression, TemplateFault> {
        loop {
            if self.eat('.') {
                match self.name() {
                    Some(key) => head = Expression::Member(Box::new(head), Member::Key(key)),
                    None => return Err(self.fault("expected a name after `.`")),
                }
            } else if self.eat('[') {
                let member = match self.primary()? {
                    Expression::Literal(Value::String(key)) => Member::Key(key),
                    Expression::Literal(value) => match value.as_i64() {
                        Some(index) => Member::Index(index),
                        None => return Err(self.fault("expected a whole number or a quoted key in `[…]`")),
                    },
                    _ => return Err(self.fault("expected a whole number or a quoted key in `[…]`")),
                };
                if !self.eat(']') {
                    return Err(self.fault("expected `]`"));
                }
                head = Expression::Member(Box::new(head), member);
            } else {
                return Ok(head);
            }
        }
    }
}

fn unknown(what: &str, word: &str, known: &[&str]) -> String {
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("unknown {what} `{word}`; did you mean `{near}`?"),
        None => format!("unknown {what} `{word}`; expected one of {}", listed(known)),
    }
}
