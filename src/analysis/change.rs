//! What to imagine changed, as a person writes it: `database=0.5x`, `calls(SELECT … FROM review)=1; external=0`.
//!
//! `TARGET=AMOUNT`, several joined by `;`. A target is a category, a service, `calls(PATTERN)`, or a pattern of a
//! contributor's name: its words must occur in the name in that order, in either case, with anything between them. An
//! amount is a factor (`0.5x`, `50%`), `0`, a time that each call takes at most (`2ms`), or for `calls` a number of calls.

use super::result::{Category, Contributor};
use std::fmt;

/// One or several changes that are made together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhatIf {
    /// As it was written.
    pub text: String,
    pub(super) changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub target: Target,
    pub amount: Amount,
}

/// Whose time changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// All contributors of a category.
    Category(Category),
    /// Contributors whose name has these words in this order; or the whole of a service of this name.
    Name(Vec<String>, String),
    /// Calls whose name has these words in this order, each with all that it caused.
    Calls(Vec<String>),
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amount {
    /// So many millionths of the time.
    Millionths(u32),
    /// At most so many nanoseconds for each span.
    AtMost(u64),
    /// At most so many calls in a request.
    Calls(u32),
}

/// Why a change cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangeError {
    /// No `=`, or nothing on one of its sides.
    Shape(String),
    /// An amount of no known form.
    Amount {
        /// The amount.
        amount: String,
        /// Whether it is of `calls(…)`.
        calls: bool,
    },
    /// A factor above one: nothing here can predict how much slower something gets.
    Slower(String),
    /// `calls(` that is not closed, or holds nothing.
    Calls(String),
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChangeError::Shape(text) => write!(
                f,
                "`{text}` is no change; write TARGET=AMOUNT, for example `database=0.5x` or `calls(SELECT review)=1`"
            ),
            ChangeError::Amount { amount, calls: true } => {
                write!(f, "`{amount}` is no number of calls; write for example `calls(SELECT review)=1`")
            }
            ChangeError::Amount { amount, calls: false } => write!(
                f,
                "`{amount}` is no amount; write a factor (`0.5x`, `50%`), `0`, or the longest time of a call (`2ms`)"
            ),
            ChangeError::Slower(amount) => {
                write!(
                    f,
                    "`{amount}` makes something slower; only what gets faster can be predicted from a run"
                )
            }
            ChangeError::Calls(text) => {
                write!(f, "`{text}` names no calls; write for example `calls(SELECT review)=1`")
            }
        }
    }
}

impl std::error::Error for ChangeError {}

impl WhatIf {
    /// Reads changes as they are written on a command line.
    pub fn parse(text: &str) -> Result<WhatIf, ChangeError> {
        let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
        let changes: Vec<Change> = parts.map(change).collect::<Result<_, _>>()?;
        if changes.is_empty() {
            return Err(ChangeError::Shape(text.to_owned()));
        }
        Ok(WhatIf { text: text.trim().to_owned(), changes })
    }

    /// Whether any of the changes is about this contributor.
    pub fn means(&self, who: &Contributor) -> bool {
        self.changes.iter().any(|change| change.target.means(who))
    }
}

fn change(text: &str) -> Result<Change, ChangeError> {
    let shape = || ChangeError::Shape(text.to_owned());
    // The last one: statements hold others.
    let (target, amount) = text.rsplit_once('=').ok_or_else(shape)?;
    let (target, amount) = (target.trim(), amount.trim());
    if target.is_empty() || amount.is_empty() {
        return Err(shape());
    }
    if let Some(rest) = target.strip_prefix("calls(") {
        let words = rest.strip_suffix(')').map(words).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| ChangeError::Calls(target.to_owned()))?;
        let n = amount.parse();
        let n = n.map_err(|_| ChangeError::Amount { amount: amount.to_owned(), calls: true })?;
        return Ok(Change { target: Target::Calls(words), amount: Amount::Calls(n) });
    }
    let category = Category::from_name(match target.to_ascii_lowercase().as_str() {
        "db" => "database",
        "net" => "network",
        "code" | "cpu" => "app",
        other => other,
    });
    let target = match category {
        Some(category) => Target::Category(category),
        None => Target::Name(words(target), target.to_owned()),
    };
    Ok(Change { target, amount: amount_of(amount)? })
}

/// The words of a pattern, in lower case; what stands for "anything" is between words. Reports leave out the quotes of names.
fn words(pattern: &str) -> Vec<String> {
    unquoted(pattern)
        .replace(['…', '*'], " ")
        .replace("...", " ")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn unquoted(text: &str) -> String {
    text.replace(['"', '`', '[', ']'], "").to_lowercase()
}

fn amount_of(text: &str) -> Result<Amount, ChangeError> {
    let wrong = || ChangeError::Amount { amount: text.to_owned(), calls: false };
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let factor = |of: f64| {
        if of > 1.0 {
            Err(ChangeError::Slower(text.to_owned()))
        } else {
            Ok(Amount::Millionths((of * 1e6) as u32))
        }
    };
    let time = |ns: f64| Ok(Amount::AtMost((number * ns) as u64));
    match unit.trim() {
        "x" => factor(number),
        "%" => factor(number / 100.0),
        "" if number == 0.0 => factor(0.0),
        "us" | "µs" => time(1e3),
        "ms" => time(1e6),
        "s" => time(1e9),
        _ => Err(wrong()),
    }
}

impl Target {
    /// Whether the time of a contributor is meant.
    pub fn means(&self, who: &Contributor) -> bool {
        match self {
            Target::Category(category) => who.category == *category,
            // The name of a way holds those of both its ends: it is meant where a pattern says so.
            Target::Name(words, whole) => {
                let way = who.category == Category::Network && !whole.contains(['→', '>']);
                !way && (*who.service == **whole || occur(words, &who.name))
            }
            Target::Calls(words) => occur(words, &who.name),
        }
    }
}

/// Whether all words occur, one after the other.
fn occur(words: &[String], name: &str) -> bool {
    let name = unquoted(name);
    let mut rest = name.as_str();
    words.iter().all(|word| match rest.find(word.as_str()) {
        Some(at) => {
            rest = &rest[at + word.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(category: Category, service: &str, name: &str) -> Contributor {
        Contributor {
            category,
            service: service.into(),
            system: "".into(),
            name: name.into(),
            code: "".into(),
        }
    }

    #[test]
    fn targets_and_amounts() {
        let statement = who(Category::Database, "shop", "SELECT id FROM review WHERE product_id = ?");
        let charge = who(Category::External, "shop", "POST 127.0.0.1:9090/v1/charges");
        let quoted = who(Category::Database, "shop", r#"SELECT "r"."id" FROM "r" WHERE "r"."of" = ?"#);
        let cases = [
            ("db=0.5x", &statement, true, Amount::Millionths(500_000)),
            ("database = 50%", &charge, false, Amount::Millionths(500_000)),
            ("SELECT … WHERE product_id = ?=2ms", &statement, true, Amount::AtMost(2_000_000)),
            ("calls(select * from REVIEW)=1", &statement, true, Amount::Calls(1)),
            // As reports write it, and as the statement is.
            ("calls(SELECT … FROM r WHERE r.of = ?)=1", &quoted, true, Amount::Calls(1)),
            ("calls(FROM r WHERE of = ?)=1", &quoted, true, Amount::Calls(1)),
            (r#"calls(FROM "r" WHERE "r"."of" = ?)=1"#, &quoted, true, Amount::Calls(1)),
            ("POST /charges=0", &charge, true, Amount::Millionths(0)),
            ("/charges POST=0", &charge, false, Amount::Millionths(0)),
            ("shop=1.5s", &charge, true, Amount::AtMost(1_500_000_000)),
            ("sho=0", &charge, false, Amount::Millionths(0)),
        ];
        for (text, contributor, means, amount) in cases {
            let parsed = WhatIf::parse(text).unwrap();
            assert_eq!(parsed.changes[0].target.means(contributor), means, "{text}");
            assert_eq!(parsed.changes[0].amount, amount, "{text}");
        }
        assert_eq!(WhatIf::parse("db=0; calls(x)=2").unwrap().changes.len(), 2);
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("db", "is no change; write TARGET=AMOUNT"),
            (" ; ", "is no change"),
            ("=0.5x", "is no change"),
            ("db=fast", "`fast` is no amount"),
            ("db=3", "`3` is no amount"),
            ("db=2x", "makes something slower"),
            ("db=5parsecs", "is no amount"),
            ("calls()=1", "names no calls"),
            ("calls(x=1", "names no calls"),
            ("calls(x)=few", "`few` is no number of calls"),
        ];
        for (text, message) in cases {
            let error = WhatIf::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
