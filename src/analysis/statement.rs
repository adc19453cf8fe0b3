//! What was asked of a database, cache or peer, without the data: the stable name of a statement, a key or a URL.
//!
//! Two aims that pull the same way: literal data must never reach a report, and every call of one place in the code must
//! get one name. Literals and placeholders of every style become `?`, comments go, white space is one blank, lists of
//! values are cut to one. Identifiers stay, quoted ones too.

mod fit;
mod keys;
mod plan;
mod template;
#[cfg(test)]
mod tests;

use fit::fit;
pub(super) use keys::command;
use keys::{json_shape, key_commands};
pub use plan::{
    changes_rows, compared_columns, counts_all, counts_rows, matches_text, table_of, tests_a_connection,
    with_data, with_parameters,
};
pub use template::{name_template, path_template};

/// Longest name given, in bytes; of what is longer something is left out, marked with `…`.
const LONGEST: usize = 1_000;
/// Longest statement that is looked at: the lists of columns of an ORM are a few thousand bytes.
const LONGEST_READ: usize = 32 * LONGEST;

/// How a system writes strings and identifiers.
#[derive(Clone, Copy)]
struct Dialect {
    /// A backslash escapes the next character of a string.
    backslash: bool,
    /// `"…"` is a string, not an identifier.
    double_is_string: bool,
    /// `[…]` is always an identifier.
    brackets: bool,
    /// `#` starts a comment.
    hash_comment: bool,
    /// A comment within a comment ends by itself.
    nested_comments: bool,
    /// `q'[…]'` is a string.
    q_strings: bool,
}

impl Dialect {
    fn of(system: &str) -> Dialect {
        let mysql = matches!(system, "mysql" | "mariadb");
        let backslash = mysql
            || matches!(
                system,
                "clickhouse" | "gcp.spanner" | "hive" | "trino" | "spark" | "neo4j" | "cosmosdb"
            );
        Dialect {
            backslash,
            double_is_string: mysql
                || matches!(system, "neo4j" | "gcp.spanner" | "influxdb" | "azure.cosmosdb"),
            brackets: matches!(system, "microsoft.sql_server"),
            hash_comment: mysql,
            nested_comments: matches!(
                system,
                "postgresql" | "cockroachdb" | "aws.redshift" | "microsoft.sql_server"
            ),
            q_strings: matches!(system, "oracle.db" | "oracle"),
        }
    }
}

/// The normal form of a statement in the query language of `system` (a `db.system.name`).
pub fn normalise(system: &str, text: &str) -> String {
    let out = match system {
        "redis" | "valkey" | "memcached" | "geode" => key_commands(text),
        _ if text.trim_start().starts_with(['{', '[']) => json_shape(text),
        _ => sql(text, Dialect::of(system)),
    };
    fit(out)
}

/// What the scanner wrote last; decides what a sign, a number or a list belongs to.
#[derive(Clone, Copy, PartialEq)]
enum Last {
    Nothing,
    /// An identifier, a keyword or a closing bracket: something that an operator can follow.
    Operand,
    Literal,
    Other,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    out: String,
    last: Last,
    blank: bool,
    /// Something stood for data that the text does not have.
    placeholders: bool,
}

/// SQL, and what looks like it (CQL, Cypher, SPARQL …). One pass, no grammar: a scanner cannot fail on a dialect that it
/// does not know.
fn sql(text: &str, dialect: Dialect) -> String {
    scan(text, dialect).0
}

/// The normal form, and whether placeholders stand in it for data that is not there.
fn scan(text: &str, dialect: Dialect) -> (String, bool) {
    let mut s = Scanner {
        text: text.as_bytes(),
        at: 0,
        out: String::with_capacity(text.len().min(LONGEST)),
        last: Last::Nothing,
        blank: false,
        placeholders: false,
    };
    while let Some(c) = s.peek(0) {
        if s.out.len() > LONGEST_READ {
            break;
        }
        s.step(c, dialect);
    }
    let mut out = s.out;
    while out.ends_with([';', ' ']) {
        out.pop();
    }
    (out, s.placeholders)
}

/// Whether a statement's text has all of its data, so that two equal texts are two equal questions.
pub(super) fn says_all(system: &str, text: &str) -> bool {
    match system {
        "redis" | "valkey" | "memcached" | "geode" => !text.contains('?'),
        _ if text.trim_start().starts_with(['{', '[']) => !text.contains('?'),
        // What is cut off here, or was cut by an agent, may differ where it was cut.
        _ if text.len() > LONGEST || text.ends_with("...") || text.ends_with('…') => false,
        _ => !scan(text, Dialect::of(system)).1,
    }
}

impl Scanner<'_> {
    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.get(self.at + ahead).copied()
    }

    fn step(&mut self, c: u8, dialect: Dialect) {
        let next = self.peek(1);
        match c {
            _ if c.is_ascii_whitespace() => self.skip(1),
            b'-' if next == Some(b'-') => self.comment_to_line_end(),
            b'#' if dialect.hash_comment => self.comment_to_line_end(),
            b'/' if next == Some(b'*') => self.block_comment(dialect.nested_comments),
            b'\'' => self.string(1, b'\'', dialect.backslash),
            b'"' if dialect.double_is_string => self.string(1, b'"', dialect.backslash),
            b'"' | b'`' => self.quoted_identifier(c),
            b'[' if dialect.brackets => self.quoted_identifier(b']'),
            b'$' => self.dollar(),
            b'@' => self.variable(),
            b':' if next == Some(b':') => self.punctuation(2),
            b':' if next.is_some_and(is_word) => self.named_placeholder(1),
            b'%' if next == Some(b's') && !self.peek(2).is_some_and(is_word) => self.unknown(2),
            b'%' if next == Some(b'(') => self.python_placeholder(),
            b'?' => self.placeholder_or_operator(),
            b'0'..=b'9' => self.number(0),
            b'.' if next.is_some_and(|n| n.is_ascii_digit()) && self.last != Last::Operand => self.number(0),
            b'+' | b'-' if self.sign_of_a_number() => self.number(1),
            _ if is_word(c) => self.word(dialect),
            b')' => self.close(),
            _ => self.punctuation(1),
        }
    }

    fn skip(&mut self, n: usize) {
        self.at += n;
        self.blank = true;
    }

    fn write(&mut self, from: usize, to: usize, last: Last) {
        self.write_blank(!matches!(self.text.get(from), Some(b',' | b')' | b';')));
        self.out.push_str(&String::from_utf8_lossy(&self.text[from..to]));
        self.last = last;
    }

    /// The blank that stood here, unless brackets and commas make it a matter of taste.
    fn write_blank(&mut self, wanted: bool) {
        if std::mem::take(&mut self.blank) && wanted && !self.out.is_empty() && !self.out.ends_with('(') {
            self.out.push(' ');
        }
    }

    /// `?`, `$1`, `%s`, `:name`: something that the text does not tell.
    fn unknown(&mut self, length: usize) {
        self.placeholders = true;
        self.literal(length);
    }

    fn literal(&mut self, length: usize) {
        self.at = (self.at + length).min(self.text.len());
        self.write_blank(true);
        self.last = Last::Literal;
        // Lists of values: `IN (?, ?` and `ARRAY[?, ?` keep the first only.
        if let Some(kept) = self.out.trim_end().strip_suffix(',') {
            let list = kept.strip_suffix('?').map(str::trim_end);
            let opener = list.and_then(|l| l.strip_suffix('(').or(l.strip_suffix('['))).map(str::trim_end);
            if opener.is_some_and(|o| ends_with_word(o, "IN") || ends_with_word(o, "ARRAY")) {
                self.out.truncate(kept.len());
                return;
            }
        }
        self.out.push('?');
    }

    fn punctuation(&mut self, n: usize) {
        let from = self.at;
        self.at += n;
        // A byte of a longer character is no punctuation: take the character whole.
        while self.peek(0).is_some_and(|c| c & 0xC0 == 0x80) {
            self.at += 1;
        }
        self.write(from, self.at, Last::Other);
    }

    /// `VALUES (?, ?), (?, ?)` keeps the first tuple only: drop what closes a tuple equal to the one before.
    fn close(&mut self) {
        self.punctuation(1);
        self.last = Last::Operand;
        let Some(open) = matching_open(&self.out) else { return };
        // `IN (?::INTEGER, ?::INTEGER)`, `IN ((?, ?), (?, ?))`: what stands in a list more than once is said once.
        if ends_with_word(self.out[..open].trim_end(), "IN")
            && let Some(one) = repeated(&self.out[open + 1..self.out.len() - 1])
        {
            let end = open + 1 + one;
            self.out.truncate(end);
            self.out.push(')');
            return;
        }
        let tuple = &self.out[open..];
        let before = self.out[..open].trim_end();
        let Some(before) = before.strip_suffix(',').map(str::trim_end) else { return };
        if tuple.contains('?') && squeezed_suffix(before, tuple) {
            let keep = before.len();
            self.out.truncate(keep);
        }
    }

    fn comment_to_line_end(&mut self) {
        while self.peek(0).is_some_and(|c| c != b'\n') {
            self.at += 1;
        }
        self.blank = true;
    }

    fn block_comment(&mut self, nests: bool) {
        // PostgreSQL, SQL Server and the standard nest comments; MySQL and Oracle do not, and end at the first mark.
        let mut depth = 1;
        self.at += 2;
        while self.peek(0).is_some() {
            match (self.peek(0), self.peek(1)) {
                (Some(b'*'), Some(b'/')) if depth == 1 => break,
                (Some(b'*'), Some(b'/')) => (depth, self.at) = (depth - 1, self.at + 2),
                (Some(b'/'), Some(b'*')) if nests => (depth, self.at) = (depth + 1, self.at + 2),
                _ => self.at += 1,
            }
        }
        self.skip(2);
    }

    /// A string whose text starts `skip` bytes on. One without an end runs to the end of the statement: data that is cut
    /// off is data still.
    fn string(&mut self, skip: usize, quote: u8, backslash: bool) {
        let mut length = skip;
        loop {
            match self.peek(length) {
                None => break,
                Some(b'\\') if backslash => length += 2,
                Some(c) if c == quote && self.peek(length + 1) == Some(quote) => length += 2,
                Some(c) if c == quote => {
                    length += 1;
                    break;
                }
                Some(_) => length += 1,
            }
        }
        self.literal(length);
    }

    /// Oracle's `q'[…]'`: ends where its own bracket and a quote stand together.
    fn q_string(&mut self, prefix: usize) {
        let open = self.peek(prefix + 1).unwrap_or(b'\'');
        let close = match open {
            b'[' => b']',
            b'(' => b')',
            b'{' => b'}',
            b'<' => b'>',
            same => same,
        };
        let body = &self.text[(self.at + prefix + 2).min(self.text.len())..];
        let end = body.windows(2).position(|w| w == [close, b'\'']).map_or(body.len(), |p| p + 2);
        self.literal(prefix + 2 + end);
    }

    fn quoted_identifier(&mut self, end: u8) {
        let from = self.at;
        self.at += 1;
        loop {
            match self.peek(0) {
                // Twice stands for itself.
                Some(c) if c == end && self.peek(1) == Some(end) => self.at += 2,
                Some(c) if c != end => self.at += 1,
                _ => break,
            }
        }
        self.at = (self.at + 1).min(self.text.len());
        self.write(from, self.at, Last::Operand);
    }

    /// `$1` is a placeholder, `$$…$$` and `$tag$…$tag$` are PostgreSQL strings.
    fn dollar(&mut self) {
        let mut tag = 1;
        while self.peek(tag).is_some_and(is_word) {
            tag += 1;
        }
        if self.peek(tag) != Some(b'$') {
            return if tag > 1 { self.unknown(tag) } else { self.punctuation(1) };
        }
        let (mark, rest) = self.text[self.at..].split_at(tag + 1);
        let body = rest.windows(mark.len()).position(|w| w == mark).map_or(rest.len(), |p| p + mark.len());
        self.literal(tag + 1 + body);
    }

    /// `@name` is a parameter or a user's variable; `@@name` belongs to the system.
    fn variable(&mut self) {
        if self.peek(1).is_some_and(is_word) {
            self.named_placeholder(1);
        } else {
            self.punctuation(if self.peek(1) == Some(b'@') { 2 } else { 1 });
        }
    }

    fn named_placeholder(&mut self, mut length: usize) {
        while self.peek(length).is_some_and(is_word) {
            length += 1;
        }
        self.unknown(length);
    }

    fn python_placeholder(&mut self) {
        match self.text[self.at..].iter().position(|c| *c == b')') {
            Some(close) if self.peek(close + 1) == Some(b's') => self.unknown(close + 2),
            _ => self.punctuation(1),
        }
    }

    /// `?` is a placeholder (`?1` in SQLite), `?|`, `?&` and `a ? b` are JSON operators in PostgreSQL.
    fn placeholder_or_operator(&mut self) {
        let mut length = 1;
        while self.peek(length).is_some_and(|c| c.is_ascii_digit()) {
            length += 1;
        }
        if matches!(self.peek(1), Some(b'|' | b'&')) { self.punctuation(2) } else { self.unknown(length) }
    }

    /// A sign belongs to the number when it touches it and no name or bracket stands before it.
    fn sign_of_a_number(&self) -> bool {
        let number = match self.peek(1) {
            Some(b'.') => self.peek(2).is_some_and(|c| c.is_ascii_digit()),
            Some(c) => c.is_ascii_digit(),
            None => false,
        };
        number && (self.last != Last::Operand || (self.blank && ends_with_keyword(&self.out)))
    }

    fn number(&mut self, sign: usize) {
        let mut length = sign;
        loop {
            match self.peek(length) {
                Some(b'+' | b'-') if matches!(self.text[self.at + length - 1], b'e' | b'E') => {
                    let hex = self.text[self.at + sign..].len() > 1
                        && matches!(self.text[self.at + sign + 1], b'x' | b'X');
                    if hex || !self.peek(length + 1).is_some_and(|c| c.is_ascii_digit()) {
                        break;
                    }
                    length += 1;
                }
                Some(c) if is_word(c) || c == b'.' => length += 1,
                _ => break,
            }
        }
        self.literal(length);
    }

    fn word(&mut self, dialect: Dialect) {
        let from = self.at;
        let mut to = from;
        while self.text.get(to).copied().is_some_and(|c| is_word(c) || c == b'$') {
            to += 1;
        }
        let word = &self.text[from..to];
        let quote = self.text.get(to).copied();
        if quote == Some(b'\'')
            && dialect.q_strings
            && matches!(word, [b'q' | b'Q'] | [b'n' | b'N', b'q' | b'Q'])
        {
            return self.q_string(to - from);
        }
        // N'…', X'…', B'…', E'…', U&'…' and MySQL's _utf8'…' are strings with a prefix.
        let prefix = matches!(word, [b'n' | b'N' | b'x' | b'X' | b'b' | b'B' | b'e' | b'E' | b'r' | b'R'])
            || (word.first() == Some(&b'_') && dialect.hash_comment);
        if quote == Some(b'\'') && prefix {
            let backslash = dialect.backslash || matches!(word, [b'e' | b'E']);
            return self.string(to - from + 1, b'\'', backslash);
        }
        if quote == Some(b'&') && self.text.get(to + 1) == Some(&b'\'') && matches!(word, [b'u' | b'U']) {
            return self.string(3, b'\'', false);
        }
        self.at = to;
        self.write(from, to, Last::Operand);
    }
}

fn is_word(c: u8) -> bool {
    c.is_ascii_alphanumeric() || c == b'_' || c >= 0x80
}

fn ends_with_word(text: &str, word: &str) -> bool {
    let Some(start) = text.len().checked_sub(word.len()) else { return false };
    text.is_char_boundary(start)
        && text[start..].eq_ignore_ascii_case(word)
        && !text[..start].bytes().next_back().is_some_and(is_word)
}

/// Words after which a sign belongs to the number that follows.
fn ends_with_keyword(text: &str) -> bool {
    const BEFORE_A_VALUE: [&str; 16] = [
        "SELECT", "WHERE", "AND", "OR", "NOT", "THEN", "ELSE", "WHEN", "LIMIT", "OFFSET", "BETWEEN", "LIKE",
        "IN", "BY", "RETURN", "SET",
    ];
    BEFORE_A_VALUE.iter().any(|w| ends_with_word(text, w))
}

/// The length of the first element of a list whose elements are all equal and have data, if it has more than one.
fn repeated(list: &str) -> Option<usize> {
    let mut parts = list.split(',').map(str::trim);
    let first = parts.next().filter(|p| p.contains('?') && !p.contains(['(', ')']))?;
    let mut more = false;
    parts
        .all(|p| {
            more = true;
            p == first
        })
        .then_some(())?;
    more.then(|| list.find(',').unwrap_or(list.len()))
}

/// Where the bracket closed by the last character opens.
fn matching_open(text: &str) -> Option<usize> {
    let mut depth = 0u32;
    for (i, c) in text.bytes().enumerate().rev() {
        match c {
            b')' => depth += 1,
            b'(' if depth == 1 => return Some(i),
            b'(' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Whether `text` ends with `tuple`, blanks aside.
fn squeezed_suffix(text: &str, tuple: &str) -> bool {
    let mut have = text.bytes().rev().filter(|c| *c != b' ');
    tuple.bytes().rev().filter(|c| *c != b' ').all(|c| have.next() == Some(c))
}
