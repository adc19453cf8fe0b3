//! What was asked of a database, cache or peer, without the data: the stable name of a statement, a key or a URL.
//!
//! Two aims that pull the same way: literal data must never reach a report, and every call of one place in the code must
//! get one name. Literals and placeholders of every style become `?`, comments go, white space is one blank, lists of
//! values are cut to one. Identifiers stay, quoted ones too.

/// Longest name given; what is longer is cut at a character and marked with `…`.
const LONGEST: usize = 1_000;

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
    shorten(out)
}

fn shorten(mut text: String) -> String {
    if text.len() > LONGEST {
        let cut = (0..=LONGEST).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
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
        // Far beyond what is kept: the rest cannot change the name.
        if s.out.len() > 4 * LONGEST {
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

/// A normal form as a statement that a database can plan: each `?` a parameter of its own, `$1`, `$2` … Nothing for what was
/// cut off, what is no query or change of rows, and what is more than one statement.
pub fn with_parameters(normal: &str) -> Option<String> {
    let first = normal.split([' ', '(']).next()?.to_ascii_uppercase();
    let plain = matches!(first.as_str(), "SELECT" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "VALUES");
    if !plain || normal.contains(';') || normal.ends_with('…') {
        return None;
    }
    let (mut out, mut n, mut quote) = (String::with_capacity(normal.len() + 16), 0, None);
    let mut characters = normal.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '`', None) => quote = Some(c),
            ('?', None) if !matches!(characters.peek(), Some('|' | '&')) => {
                n += 1;
                let interval = ends_with_word(out.trim_end(), "INTERVAL");
                if interval {
                    out.truncate(out.trim_end().len() - "INTERVAL".len());
                }
                out.push_str(&format!("${n}"));
                out.push_str(if interval { "::interval" } else { "" });
                continue;
            }
            _ => {}
        }
        out.push(c);
    }
    Some(out)
}

/// The table that a name stands for in a statement: `term` for `t` in `FROM term t`, or `FROM term AS t`.
pub fn table_of<'a>(normal: &'a str, alias: &str) -> Option<&'a str> {
    let words: Vec<&str> =
        normal.split(|c: char| c.is_whitespace() || matches!(c, ',' | '(' | ')')).collect();
    let words: Vec<&str> = words.into_iter().filter(|w| !w.is_empty()).collect();
    let at = words.iter().position(|w| *w == alias)?;
    let named = |i: usize| words.get(i).copied();
    let before = |i: usize| at.checked_sub(i).and_then(named);
    let opens = |w: Option<&str>| {
        w.is_some_and(|w| ["FROM", "JOIN", "UPDATE", "INTO"].iter().any(|k| w.eq_ignore_ascii_case(k)))
    };
    let found = if opens(before(1)) {
        named(at)
    } else if before(1).is_some_and(|w| w.eq_ignore_ascii_case("AS")) {
        before(2)
    } else {
        before(1)
    };
    found.map(|w| w.trim_matches(['"', '`']))
}

/// Columns that a statement compares with data, those compared for equality first; at most one that is compared otherwise.
pub fn compared_columns(normal: &str, is_column: &dyn Fn(&str) -> bool) -> Vec<String> {
    let upper = normal.to_ascii_uppercase();
    let Some(from) = upper.find(" WHERE ").filter(|_| upper.len() == normal.len()) else { return Vec::new() };
    let (mut equal, mut other): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let words: Vec<&str> = normal[from + 7..].split_whitespace().collect();
    for three in words.windows(3) {
        let column = three[0].trim_start_matches('(').rsplit('.').next().unwrap_or_default();
        let column = column.trim_matches(['"', '`']);
        let list = match three[1] {
            "=" | "==" => &mut equal,
            word if word.eq_ignore_ascii_case("IN") => &mut equal,
            "<" | ">" | "<=" | ">=" => &mut other,
            word if word.eq_ignore_ascii_case("BETWEEN") => &mut other,
            _ => continue,
        };
        if three[2].trim_start_matches('(').starts_with('?')
            && is_column(column)
            && !list.iter().any(|c| c == column)
        {
            list.push(column.to_owned());
        }
    }
    other.truncate(1);
    other.retain(|c| !equal.contains(c));
    equal.extend(other);
    equal
}

/// Redis and Memcached: command and key pattern, one for each line of a pipeline, repeats once.
fn key_commands(text: &str) -> String {
    let mut commands: Vec<String> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty()).take(50) {
        let mut words = line.split_ascii_whitespace();
        let command = words.next().unwrap_or_default();
        let mut form: String = if is_name(command) { command.to_ascii_uppercase() } else { "?".to_owned() };
        // What stands first after these is no key but a secret, a script or a setting.
        let keyless = matches!(
            form.as_str(),
            "AUTH"
                | "HELLO"
                | "EVAL"
                | "EVALSHA"
                | "EVAL_RO"
                | "EVALSHA_RO"
                | "FCALL"
                | "SCRIPT"
                | "CONFIG"
                | "ECHO"
                | "PING"
                | "SELECT"
                | "CLIENT"
                | "ACL"
                | "?"
        );
        if let (false, Some(key)) = (keyless, words.next()) {
            form.push(' ');
            form.push_str(&key_pattern(key));
        }
        if !commands.contains(&form) {
            commands.push(form);
        }
    }
    let more = commands.len() > 3;
    commands.truncate(3);
    let mut out = commands.join("; ");
    if more {
        out.push_str("; …");
    }
    out
}

/// The part of a key that names its kind: what stands before the first separator, if that is a name at all.
fn key_pattern(key: &str) -> String {
    let key = key.trim_matches(['"', '\'']);
    match key.find([':', '.', '/', '|', '{', '#']) {
        Some(end) if is_name(&key[..end]) => format!("{}?", &key[..=end]),
        None if is_name(key) => key.to_owned(),
        _ => "?".to_owned(),
    }
}

fn is_name(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphabetic() || matches!(c, b'_' | b'-'))
}

/// JSON (MongoDB, Elasticsearch): keys stay, every value becomes `?`, lists keep their first element.
fn json_shape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (String::new(), 0);
    while let Some(&c) = bytes.get(at) {
        if out.len() > LONGEST {
            break;
        }
        match c {
            b'"' => {
                let start = at;
                at += 1;
                while bytes.get(at).is_some_and(|c| *c != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at = (at + 1).min(bytes.len());
                let is_key = bytes[at..].iter().find(|c| !c.is_ascii_whitespace()) == Some(&b':');
                if is_key {
                    out.push_str(&String::from_utf8_lossy(&bytes[start..at]));
                } else {
                    push_value(&mut out);
                }
            }
            b'{' | b'}' | b'[' | b']' | b':' => {
                out.push(char::from(c));
                at += 1;
            }
            b',' => {
                out.push_str(", ");
                at += 1;
            }
            _ if c.is_ascii_whitespace() => at += 1,
            _ => {
                push_value(&mut out);
                while bytes.get(at).is_some_and(|c| !b",:{}[]\"".contains(c) && !c.is_ascii_whitespace()) {
                    at += 1;
                }
            }
        }
    }
    out
}

/// A MongoDB command: its verb, its collection and the fields that it asks by; not where its driver keeps its books.
pub(super) fn command(text: &str, operation: &str, collection: &str) -> String {
    let members = top_members(text);
    let value = |key: &str| members.iter().find(|(k, _)| *k == key).map(|(_, v)| *v);
    let plain = |v: &str| v.trim_matches('"').to_owned();
    let named = members.first().filter(|(k, v)| is_name(k) && v.starts_with('"'));
    let verb = if operation.is_empty() { named.map_or("", |(k, _)| *k) } else { operation };
    let from = value(verb).filter(|v| v.starts_with('"')).map(plain);
    let collection = if collection.is_empty() { from.unwrap_or_default() } else { collection.to_owned() };
    if verb.is_empty() || collection.is_empty() {
        return shorten(json_shape(text));
    }
    let mut out = format!("{verb} {collection}");
    for (key, mark) in [("filter", ""), ("query", ""), ("q", ""), ("pipeline", ""), ("sort", "sort ")] {
        let shape = value(key).map(json_shape).filter(|s| s.len() > 2);
        if let Some(shape) = shape {
            out.push(' ');
            out.push_str(mark);
            out.push_str(&shape);
        }
    }
    shorten(out)
}

/// Keys and values of a document's first level, as they are written; what is cut off ends where it ends.
fn top_members(text: &str) -> Vec<(&str, &str)> {
    let bytes = text.as_bytes();
    let (mut members, mut at, mut depth) = (Vec::new(), 0, 0usize);
    let (mut key, mut from) = (None, 0);
    while at < bytes.len() && members.len() < 64 {
        match bytes[at] {
            b'"' => {
                let start = at + 1;
                at = start;
                while bytes.get(at).is_some_and(|c| *c != b'"') {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                if depth == 1 && key.is_none() {
                    key = text.get(start..at.min(bytes.len()));
                }
            }
            b':' if depth == 1 && key.is_some() && from == 0 => from = at + 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b',' if depth == 1 => {
                if let (Some(key), Some(value)) = (key.take(), text.get(from..at)) {
                    members.push((key, value.trim()));
                }
                from = 0;
            }
            _ => {}
        }
        at += 1;
    }
    if let (Some(key), true, Some(value)) = (key, from > 0, text.get(from..)) {
        members.push((key, value.trim()));
    }
    members
}

fn push_value(out: &mut String) {
    if out.ends_with("[?, ") {
        out.truncate(out.len() - 2);
    } else if !out.ends_with('?') {
        out.push('?');
    }
}

/// A URL's path with what identifies single things replaced by `{id}`; query, fragment and matrix parameters dropped.
pub fn path_template(path: &str) -> String {
    let path = path.split(['?', '#', ';']).next().unwrap_or_default();
    let segments: Vec<&str> =
        path.split('/').map(|segment| if identifies(segment) { "{id}" } else { segment }).collect();
    shorten(segments.join("/"))
}

/// A span name in which a path, a number or an id may stand; names without any stay as they are.
pub fn name_template(name: &str) -> String {
    if !name.bytes().any(|c| c.is_ascii_digit() || matches!(c, b'/' | b'@' | b'%')) {
        return shorten(name.to_owned());
    }
    let words: Vec<String> = name
        .split(' ')
        .map(|word| match word {
            _ if word.contains("://") || word.starts_with("HTTP/") => word.to_owned(),
            _ if word.contains('/') => path_template(word),
            _ if identifies(word) => "{id}".to_owned(),
            _ => word.to_owned(),
        })
        .collect();
    shorten(words.join(" "))
}

/// Whether a path segment names a single thing: a number, a date, a UUID, a long hexadecimal or random token, an address,
/// a number with a prefix (`order-42`), a title made into a path (`ten-ways-to-brew-tea`).
fn identifies(segment: &str) -> bool {
    let stem = segment.split_once('.').map_or(segment, |(stem, _)| stem);
    let bytes = stem.as_bytes();
    let digits = bytes.iter().filter(|c| c.is_ascii_digit()).count();
    let lower = bytes.iter().filter(|c| c.is_ascii_lowercase()).count();
    let upper = bytes.iter().filter(|c| c.is_ascii_uppercase()).count();
    let letters = lower + upper;
    let hex = bytes.iter().all(|c| c.is_ascii_hexdigit() || *c == b'-');
    let number = digits > 0
        && bytes.iter().all(|c| c.is_ascii_digit() || matches!(c, b'-' | b'_' | b',' | b'+' | b':'));
    number
        || (hex && digits > 0 && bytes.len() >= 10)
        || (bytes.len() >= 20 && digits >= 3 && letters >= 3)
        // Random tokens mix small, capital and digits; words of a path hardly do.
        || (bytes.len() >= 12 && digits >= 2 && upper >= 2 && lower >= 2 && !stem.contains(['-', '_']))
        || ends_in_a_number(stem)
        || is_a_date(bytes)
        || is_a_title(stem, lower)
        || segment.contains(['@', '%'])
}

/// `order-42`, `SKU12345`: letters, then a number; at least four digits where nothing stands between.
fn ends_in_a_number(stem: &str) -> bool {
    let rest = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = stem.len() - rest.len();
    let word = rest.trim_end_matches(['-', '_', ':', '~']);
    let parted = word.len() < rest.len();
    !word.is_empty()
        && word.bytes().any(|c| c.is_ascii_alphabetic())
        && (digits >= 4 || (parted && digits >= 2))
}

/// `2024-01-31T10:00:00Z`, `20240131T100000`.
fn is_a_date(bytes: &[u8]) -> bool {
    let (date, time) = match bytes.iter().position(|c| matches!(c, b'T' | b't')) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => return false,
    };
    let of = |text: &[u8], more: &[u8]| text.iter().all(|c| c.is_ascii_digit() || more.contains(c));
    date.len() >= 8 && of(date, b"-") && !time.is_empty() && of(time, b":+-Zz")
}

/// Four words or more joined by hyphens, all small: what a title becomes in a path.
fn is_a_title(stem: &str, lower: usize) -> bool {
    let hyphens = stem.bytes().filter(|c| *c == b'-').count();
    hyphens >= 3 && stem.len() >= 18 && lower + hyphens >= stem.len() - 4 && !stem.contains('_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(system: &str, cases: &[(&str, &str)]) {
        for (text, want) in cases {
            assert_eq!(normalise(system, text), *want, "{system}: {text}");
        }
    }

    #[test]
    fn literals_and_placeholders_of_every_style_are_one() {
        let want = "SELECT * FROM product WHERE id = ? AND name = ?";
        for (id, name) in [
            ("17", "'O''Hara'"),
            ("$1", "$2"),
            ("%s", "%s"),
            ("?", "?2"),
            (":id", ":name"),
            ("@p0", "@p1"),
            ("%(id)s", "%(n)s"),
            ("-1.5e-3", "N'x'"),
            ("0xFF", "E'a\\'b'"),
            ("$$a'b$$", "$q$it's$q$"),
        ] {
            let text =
                format!("SELECT *\n\tFROM product -- by id\nWHERE id = {id} /* 2 */ AND name = {name};");
            assert_eq!(normalise("postgresql", &text), want, "{text}");
        }
    }

    #[test]
    fn lists_are_cut_to_one_value() {
        check(
            "postgresql",
            &[
                ("SELECT a FROM t WHERE id IN ( 1, 2,3 , 4 )", "SELECT a FROM t WHERE id IN (?)"),
                ("SELECT a FROM t WHERE id in ($1,$2)", "SELECT a FROM t WHERE id in (?)"),
                ("SELECT a FROM t WHERE id = ANY(ARRAY[1,2])", "SELECT a FROM t WHERE id = ANY(ARRAY[?])"),
                (
                    "INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y'), (3,'z')",
                    "INSERT INTO t (a, b) VALUES (?, ?)",
                ),
                ("SELECT f(1, 2), (SELECT 3)", "SELECT f(?, ?), (SELECT ?)"),
                (
                    "SELECT a FROM t WHERE id IN ($1::INTEGER, $2::INTEGER)",
                    "SELECT a FROM t WHERE id IN (?::INTEGER)",
                ),
                (
                    "SELECT a FROM t WHERE (a, b) IN ((1, 2), (3, 4), (5, 6))",
                    "SELECT a FROM t WHERE (a, b) IN ((?, ?))",
                ),
                (
                    "SELECT a FROM t WHERE id IN (SELECT b FROM u)",
                    "SELECT a FROM t WHERE id IN (SELECT b FROM u)",
                ),
            ],
        );
    }

    #[test]
    fn identifiers_stay_and_operators_are_no_signs() {
        check(
            "postgresql",
            &[
                ("SELECT \"Order\".\"2nd\" FROM \"Order\"", "SELECT \"Order\".\"2nd\" FROM \"Order\""),
                (
                    "SELECT c3po, a::int8 FROM t2 WHERE a-1 > b - 2 LIMIT -1",
                    "SELECT c3po, a::int8 FROM t2 WHERE a-? > b - ? LIMIT ?",
                ),
                ("SELECT x ?| y, arr[1] FROM größe", "SELECT x ?| y, arr[?] FROM größe"),
            ],
        );
        check(
            "mysql",
            &[
                (
                    "SELECT `a b` FROM t WHERE n = \"se'cret\" AND m = 'it\\'s' # done",
                    "SELECT `a b` FROM t WHERE n = ? AND m = ?",
                ),
                ("SELECT @@version, _utf8'x', @u", "SELECT @@version, ?, ?"),
            ],
        );
        check(
            "microsoft.sql_server",
            &[
                ("SELECT [Order 1] FROM [t] WHERE a = 1", "SELECT [Order 1] FROM [t] WHERE a = ?"),
                ("SELECT [a]]b] FROM #tmp WHERE c = @p0", "SELECT [a]]b] FROM #tmp WHERE c = ?"),
            ],
        );
        check(
            "oracle.db",
            &[
                ("SELECT /*+ INDEX(t i) */ a FROM t WHERE b = :1", "SELECT a FROM t WHERE b = ?"),
                (
                    "SELECT a FROM t WHERE b = q'[it's]' AND c = nq'{x}'",
                    "SELECT a FROM t WHERE b = ? AND c = ?",
                ),
            ],
        );
        check(
            "postgresql",
            &[
                ("SELECT /* a /* b */ c */ x FROM \"a\"\"b\"", "SELECT x FROM \"a\"\"b\""),
                ("SELECT x /*traceparent='00-1'*/ FROM t", "SELECT x FROM t"),
            ],
        );
    }

    #[test]
    fn data_that_is_cut_off_is_data_still() {
        check(
            "sqlite",
            &[
                ("SELECT a FROM t WHERE b = 'secre", "SELECT a FROM t WHERE b = ?"),
                ("SELECT a /* not closed", "SELECT a"),
                ("SELECT \"a", "SELECT \"a"),
                ("", ""),
                ("'", "?"),
            ],
        );
        let long = format!("SELECT {}", "column_é, ".repeat(500));
        let name = normalise("sqlite", &long);
        assert!(name.len() <= LONGEST + 3 && name.ends_with('…'), "{}", name.len());
    }

    #[test]
    fn keys_and_documents() {
        check(
            "redis",
            &[
                ("GET user:123", "GET user:?"),
                ("set session:abc \"secret value\"", "SET session:?"),
                ("AUTH hunter2", "AUTH"),
                ("MGET a:1\nMGET a:2\nDEL b", "MGET a:?; DEL b"),
                ("GET 12345", "GET ?"),
                ("", ""),
            ],
        );
        check(
            "mongodb",
            &[(
                r#"{"find": "users", "filter": {"age": {"$gt": 30}, "tags": ["a", "b"]}}"#,
                r#"{"find":?, "filter":{"age":{"$gt":?}, "tags":[?]}}"#,
            )],
        );
    }

    #[test]
    fn paths_are_templates() {
        for (path, want) in [
            ("/products/42?x=1", "/products/{id}"),
            ("/u/7d5a9b0e-3f7c-4b6e-9f7a-0a1b2c3d4e5f/orders", "/u/{id}/orders"),
            ("/static/app.js", "/static/app.js"),
            ("/api/v1/users/deadbeef01", "/api/v1/users/{id}"),
            ("/by-mail/a@b.example", "/by-mail/{id}"),
            ("/2024-01-31/report", "/{id}/report"),
            ("/image/17.png", "/image/{id}"),
            ("/orders/order-42;jsessionid=1", "/orders/{id}"),
            ("/sku/SKU12345", "/sku/{id}"),
            ("/blog/ten-ways-to-brew-green-tea", "/blog/{id}"),
            ("/at/2024-01-31T10:00:00Z", "/at/{id}"),
            ("/t/V1StGXR8Z5jdHi6B", "/t/{id}"),
            ("/api/v2/oauth2/forgot-my-password", "/api/v2/oauth2/forgot-my-password"),
            ("/files/x509/utf8", "/files/x509/utf8"),
        ] {
            assert_eq!(path_template(path), want);
        }
        for (name, want) in [
            ("GET /products/42", "GET /products/{id}"),
            ("get user 42", "get user {id}"),
            ("render", "render"),
            ("HTTP/1.1 GET", "HTTP/1.1 GET"),
            ("grpc.Shop/GetProduct", "grpc.Shop/GetProduct"),
        ] {
            assert_eq!(name_template(name), want);
        }
    }

    #[test]
    fn a_normal_form_can_be_planned() {
        for (normal, want) in [
            (
                "SELECT a FROM t WHERE b = ? AND c IN (?) LIMIT ?",
                Some("SELECT a FROM t WHERE b = $1 AND c IN ($2) LIMIT $3"),
            ),
            (
                "SELECT a FROM \"w?y\" WHERE x ?| y AND z = ?::INTEGER",
                Some("SELECT a FROM \"w?y\" WHERE x ?| y AND z = $1::INTEGER"),
            ),
            (
                "SELECT a FROM t WHERE b > now() - INTERVAL ?",
                Some("SELECT a FROM t WHERE b > now() - $1::interval"),
            ),
            ("SELECT a, column_…", None),
            ("BEGIN", None),
            ("DROP TABLE t", None),
            ("SELECT ?; DELETE FROM t", None),
        ] {
            assert_eq!(with_parameters(normal).as_deref(), want, "{normal}");
        }
        assert_eq!(table_of("SELECT t.n FROM term t WHERE t.w = ?", "t"), Some("term"));
        assert_eq!(table_of("SELECT n FROM a JOIN \"b\" AS x ON a.i = x.i", "x"), Some("b"));
        assert_eq!(table_of("SELECT n FROM term WHERE w = ?", "term"), Some("term"));
        let columns =
            compared_columns("SELECT a FROM t WHERE t.at > ? AND (t.b = ? OR c IN (?)) AND d = e.d", &|w| {
                w != "x"
            });
        assert_eq!(columns, ["b", "c", "at"]);
    }

    proptest::proptest! {
        /// A literal never comes through, whatever stands around it.
        #[test]
        fn no_literal_data_in_the_output(before in "[ -~]{0,20}", secret in "[a-z]{12}") {
            let before = before.replace(['\'', '"', '`', '$', '[', '\\'], " ").replace("--", " ").replace("/*", " ");
            let out = normalise("sqlite", &format!("{before} '{secret}'"));
            proptest::prop_assert!(!out.contains(&secret), "{}", out);
        }

        #[test]
        fn normalising_again_changes_nothing(text in "[a-c(),= '1?-]{0,30}") {
            let once = normalise("postgresql", &text);
            let again = normalise("postgresql", &once);
            proptest::prop_assert_eq!(&normalise("postgresql", &again), &again);
        }
    }
}
