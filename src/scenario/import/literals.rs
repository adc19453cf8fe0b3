//! Literals of JavaScript and Python, and what few calls have a counterpart here: random numbers, choices, ids.

use super::draft::hole;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Arguments within arguments.
const MOST_DEPTH: usize = 24;

/// A value within a text.
fn joined(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Comments become spaces, so that lines keep their numbers. Quoted text is left alone.
pub fn without_comments(text: &str, line_comment: &str, blocks: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quote: Option<char> = None;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut step = c.len_utf8();
        match quote {
            Some(open) => {
                out.push(c);
                if c == '\\' {
                    if let Some(next) = rest[step..].chars().next() {
                        out.push(next);
                        step += next.len_utf8();
                    }
                } else if c == open || c == '\n' && open != '`' {
                    quote = None;
                }
            }
            None if rest.starts_with(line_comment) => {
                step = rest.find('\n').unwrap_or(rest.len());
            }
            None if blocks && rest.starts_with("/*") => {
                step = rest.find("*/").map_or(rest.len(), |at| at + 2);
                out.extend(rest[..step].chars().filter(|c| *c == '\n'));
            }
            None => {
                if matches!(c, '"' | '\'' | '`') {
                    quote = Some(c);
                }
                out.push(c);
            }
        }
        rest = &rest[step..];
    }
    out
}

/// Names that are set to literals.
pub fn constants(text: &str, keywords: &[&str]) -> BTreeMap<String, Value> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        for keyword in keywords {
            let Some(rest) = line.trim().strip_prefix(keyword) else { continue };
            let Some((name, value)) = rest.split_once('=') else { continue };
            let name = name.trim();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                continue;
            }
            if let Some((
                Some(value @ (Value::String(_) | Value::Number(_) | Value::Array(_) | Value::Object(_))),
                _,
            )) = Parser::new(value, &names).value(0)
            {
                names.insert(name.to_string(), value);
            }
        }
    }
    names
}

/// The arguments of a call up to its `)`, those that are literals as values, and how many bytes they take.
pub fn arguments(inside: &str, names: &BTreeMap<String, Value>) -> Option<(Vec<Option<Value>>, usize)> {
    let mut parser = Parser::new(inside, names);
    let mut all = Vec::new();
    loop {
        parser.space();
        if parser.eat(')') {
            return Some((all, parser.at));
        }
        all.push(parser.value_or_skip(0)?);
        parser.space();
        if parser.eat(')') {
            return Some((all, parser.at));
        }
        if !parser.eat(',') {
            return None;
        }
    }
}

/// Literals of JavaScript and Python: what is neither is skipped to the next comma or bracket.
pub struct Parser<'a> {
    text: &'a str,
    /// How far it has read.
    pub at: usize,
    names: &'a BTreeMap<String, Value>,
}

impl<'a> Parser<'a> {
    /// Reads from the beginning of a text; `names` are those that have a value.
    pub fn new(text: &'a str, names: &'a BTreeMap<String, Value>) -> Parser<'a> {
        Parser { text, at: 0, names }
    }

    /// The next character.
    pub fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// The character before.
    pub fn before(&self) -> Option<char> {
        self.text[..self.at].chars().next_back()
    }

    /// Passes over space.
    pub fn space(&mut self) {
        while let Some(c) = self.peek().filter(|c| c.is_whitespace()) {
            self.at += c.len_utf8();
        }
    }

    /// Passes over a character, after space; whether it was there.
    pub fn eat(&mut self, wanted: char) -> bool {
        self.space();
        let found = self.peek() == Some(wanted);
        self.at += if found { wanted.len_utf8() } else { 0 };
        found
    }

    fn after_space(&mut self) -> Option<char> {
        self.space();
        self.peek()
    }

    /// A name, which may be empty.
    pub fn word(&mut self) -> String {
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '$').unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_string()
    }

    /// `name=` before an argument.
    pub fn keyword(&mut self) -> Option<String> {
        self.space();
        let start = self.at;
        let word = self.word();
        self.space();
        if !word.is_empty() && self.peek() == Some('=') && !self.text[self.at..].starts_with("==") {
            self.at += 1;
            return Some(word);
        }
        self.at = start;
        None
    }

    /// A literal; `None` inside where it is none, and then the place is after it. `None` outside where the text ends.
    pub fn value_or_skip(&mut self, depth: usize) -> Option<Option<Value>> {
        let start = self.at;
        let read = self.sum(depth);
        self.space();
        match (read, self.peek()) {
            (Some(value), Some(',' | ')' | ']' | '}')) => Some(Some(value)),
            _ => {
                self.at = start;
                self.skip().then_some(None)
            }
        }
    }

    /// A value, and where it ends.
    pub fn value(mut self, depth: usize) -> Option<(Option<Value>, usize)> {
        let value = self.sum(depth);
        Some((value, self.at))
    }

    /// A literal, or texts that are joined by `+`.
    fn sum(&mut self, depth: usize) -> Option<Value> {
        let mut value = self.literal(depth)?;
        while depth < MOST_DEPTH && self.eat('+') {
            let next = self.literal(depth + 1)?;
            if !value.is_string() && !next.is_string() {
                return None;
            }
            value = format!("{}{}", joined(&value), joined(&next)).into();
        }
        Some(value)
    }

    fn literal(&mut self, depth: usize) -> Option<Value> {
        if depth > MOST_DEPTH {
            return None;
        }
        self.space();
        match self.peek()? {
            '{' => self.object(depth),
            '[' => self.list('[', ']', depth),
            '(' => {
                // Parentheses, or a tuple of Python.
                let Value::Array(mut items) = self.list('(', ')', depth)? else { return None };
                let single =
                    items.len() == 1 && !self.text[..self.at].trim_end_matches(')').trim_end().ends_with(',');
                if single { items.pop() } else { Some(Value::Array(items)) }
            }
            quote @ ('"' | '\'' | '`') => self.quoted(quote).map(Value::String),
            c if c.is_ascii_digit() || c == '-' => {
                let rest = &self.text[self.at + 1..];
                let end = 1 + rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number = &self.text[self.at..self.at + end];
                self.at += end;
                serde_json::from_str(number).ok()
            }
            _ => self.named(depth),
        }
    }

    fn named(&mut self, depth: usize) -> Option<Value> {
        let word = self.word();
        match word.as_str() {
            "" => None,
            "true" => Some(true.into()),
            "false" => Some(false.into()),
            "null" | "undefined" => Some(Value::Null),
            // An f-string without holes is its text.
            "f" | "r" | "b" if matches!(self.peek(), Some('"' | '\'')) => {
                let quote = self.peek()?;
                self.quoted(quote).map(Value::String)
            }
            "JSON" if self.eats(".stringify(") => self.inside(depth),
            "json" if self.eats(".dumps(") => self.inside(depth),
            "encodeURIComponent" | "String" | "str" | "int" if self.eats("(") => self.inside(depth),
            "self" | "data" if self.peek() == Some('.') => {
                self.at += 1;
                let member = self.word();
                self.names.get(&format!("{word}.{member}")).cloned()
            }
            "__ENV" | "os" => self.environment_default(depth),
            "__VU" => Some(hole("user + 1").into()),
            "__ITER" => Some(hole("iteration").into()),
            "uuidv4" if self.eats("()") => Some(hole("uuid()").into()),
            "uuid" if self.eats(".uuid4()") => Some(hole("uuid()").into()),
            "Date" if self.eats(".now()") => Some(hole("now()").into()),
            "randomIntBetween" if self.eats("(") => self.pick(depth),
            "random" if self.eats(".randint(") => self.pick(depth),
            "random" if self.eats(".choice(") => self.one_of(depth),
            "randomItem" if self.eats("(") => self.one_of(depth),
            "randomString" if self.eats("(") => {
                let length = self.inside(depth)?.as_u64().filter(|n| (1..=10_000).contains(n))?;
                Some(hole(&format!("random_text({length})")).into())
            }
            "Math" if self.eats(".floor(Math.random() * ") => self.random_below(),
            name => {
                let value = self.names.get(name).cloned()?;
                self.part_of(value)
            }
        }
    }

    /// `[0]`, `.key` and `["key"]` behind a list or an object.
    fn part_of(&mut self, mut value: Value) -> Option<Value> {
        while value.is_array() || value.is_object() {
            if self.eats(".") {
                let key = self.word();
                value = value.get(&key)?.clone();
            } else if self.eats("[") {
                let key = self.literal(1)?;
                self.eat(']').then_some(())?;
                value = match (&key, key.as_u64()) {
                    (_, Some(index)) => value.get(index as usize)?.clone(),
                    (Value::String(key), _) => value.get(key)?.clone(),
                    _ => return None,
                };
            } else {
                break;
            }
        }
        Some(value)
    }

    /// Passes over a text that stands right here.
    fn eats(&mut self, text: &str) -> bool {
        let found = self.text[self.at..].starts_with(text);
        self.at += if found { text.len() } else { 0 };
        found
    }

    /// The one argument of a call, and its `)`.
    fn inside(&mut self, depth: usize) -> Option<Value> {
        let value = self.sum(depth + 1)?;
        self.eat(')').then_some(value)
    }

    /// `__ENV.NAME || "default"`, `os.getenv("NAME", "default")`: the default, as nobody's environment is read here.
    fn environment_default(&mut self, depth: usize) -> Option<Value> {
        if self.eats(".getenv(") || self.eats(".environ.get(") {
            self.sum(depth + 1)?;
            let default = self.eat(',').then(|| self.sum(depth + 1))??;
            return self.eat(')').then_some(default);
        }
        self.eat('.');
        self.word();
        self.space();
        if self.eats("||") || self.eats("??") { self.literal(depth + 1) } else { None }
    }

    fn pick(&mut self, depth: usize) -> Option<Value> {
        let low = self.sum(depth + 1)?.as_i64()?;
        let high = self.eat(',').then(|| self.sum(depth + 1))??.as_i64().filter(|high| *high >= low)?;
        self.eat(')').then(|| hole(&format!("pick({low}, {high})")).into())
    }

    fn one_of(&mut self, depth: usize) -> Option<Value> {
        let list = self.inside(depth)?;
        let items = list.as_array().filter(|items| (1..1_000).contains(&items.len()))?;
        let simple = |v: &&Value| match v {
            Value::String(text) => {
                text.chars().all(|c| !matches!(c, '"' | '{' | '}' | '\\') && !c.is_control())
            }
            other => other.is_number(),
        };
        let all: Vec<String> = items.iter().filter(simple).map(Value::to_string).collect();
        (all.len() == items.len()).then(|| hole(&format!("one_of({})", all.join(", "))).into())
    }

    /// `N) + M`, after `Math.floor(Math.random() * `.
    fn random_below(&mut self) -> Option<Value> {
        let number =
            |parser: &mut Self| -> Option<i64> { parser.word().parse().ok().filter(|n| *n < 1 << 40) };
        let count = number(self).filter(|n| *n > 0)?;
        if !self.eat(')') {
            return None;
        }
        let before = self.at;
        let first = if self.eat('+') { number(self) } else { None };
        if first.is_none() {
            self.at = before;
        }
        let first = first.unwrap_or(0);
        Some(hole(&format!("pick({first}, {})", first + count - 1)).into())
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.eat('{');
        let mut members = Map::new();
        loop {
            if self.eat('}') {
                return Some(Value::Object(members));
            }
            self.space();
            let key = match self.peek()? {
                quote @ ('"' | '\'') => self.quoted(quote)?,
                _ => self.word(),
            };
            // `{ name }` is short for `{ name: name }`.
            if let Some(value) =
                self.names.get(&key).filter(|_| matches!(self.after_space(), Some(',' | '}')))
            {
                members.insert(key, value.clone());
                if !self.eat(',') && self.peek() != Some('}') {
                    return None;
                }
                continue;
            }
            if key.is_empty() || !self.eat(':') {
                return None;
            }
            members.insert(key, self.sum(depth + 1)?);
            if !self.eat(',') && self.peek() != Some('}') {
                return None;
            }
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Value> {
        self.eat(open);
        let mut items = Vec::new();
        loop {
            if self.eat(close) {
                return Some(Value::Array(items));
            }
            items.push(self.sum(depth + 1)?);
            if !self.eat(',') && self.peek() != Some(close) {
                return None;
            }
        }
    }

    /// A quoted text; `${name}` and `{name}` of known names are filled in, others make it no literal.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let is_format = self.before() == Some('f');
        self.at += quote.len_utf8();
        let mut out = String::new();
        loop {
            let c = self.peek()?;
            self.at += c.len_utf8();
            match c {
                c if c == quote => return Some(out),
                '\\' => {
                    let next = self.peek()?;
                    self.at += next.len_utf8();
                    out.push(match next {
                        'n' => '\n',
                        't' => '\t',
                        'r' => '\r',
                        other => other,
                    });
                }
                '$' if quote == '`' && self.peek() == Some('{') => {
                    self.at += 1;
                    out.push_str(&self.hole()?);
                }
                '{' if is_format => out.push_str(&self.hole()?),
                c => out.push(c),
            }
        }
    }

    fn hole(&mut self) -> Option<String> {
        let value = self.sum(1)?;
        let text = joined(&value);
        self.eat('}').then_some(text)
    }

    /// To the next comma or closing bracket of this level.
    fn skip(&mut self) -> bool {
        let mut depth = 0usize;
        while let Some(c) = self.peek() {
            match c {
                '"' | '\'' | '`' => {
                    self.at += 1;
                    while let Some(inner) = self.peek() {
                        self.at += inner.len_utf8();
                        if inner == '\\' {
                            self.at += self.peek().map_or(0, char::len_utf8);
                        } else if inner == c {
                            break;
                        }
                    }
                    continue;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' if depth == 0 => return true,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => return true,
                _ => {}
            }
            self.at += c.len_utf8();
        }
        false
    }
}
