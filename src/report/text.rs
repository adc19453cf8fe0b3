//! Foreign text made harmless, measured and shortened.
//!
//! Hazards of foreign text: escape sequences that recolour or rewrite the screen, bidirectional controls that reorder a
//! line, line breaks that forge lines, invisible characters that make two names look alike, piled combining marks, and
//! wide characters that push a column off its place.

use unicode_width::UnicodeWidthChar;

/// Most combining marks that one character keeps; more are shown as escapes.
const MARKS_MAX: usize = 2;

/// On one line and without hazards: white space collapses to single spaces, hazards become visible escapes.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut marks = MARKS_MAX;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() {
            gap = !out.is_empty();
            marks = MARKS_MAX;
            continue;
        }
        if gap {
            out.push(' ');
            gap = false;
        }
        let zero_width = char_width(c) == 0;
        if is_hazard(c) || (zero_width && marks >= MARKS_MAX) {
            escape(c, &mut out);
            marks = MARKS_MAX;
        } else {
            marks = if zero_width { marks + 1 } else { 0 };
            out.push(c);
        }
    }
    out
}

/// Whether a character acts on a terminal or a reader instead of being seen.
pub fn is_hazard(c: char) -> bool {
    let code = u32::from(c);
    c.is_control()
        || code & 0xfffe == 0xfffe
        || matches!(code,
            0x00ad | 0x034f | 0x061c | 0x115f | 0x1160 | 0x17b4 | 0x17b5 | 0x180b..=0x180f | 0x200b..=0x200f
            | 0x2028..=0x202e | 0x2060..=0x206f | 0x3164 | 0xfdd0..=0xfdef | 0xfe00..=0xfe0f | 0xfeff | 0xffa0
            | 0xfff0..=0xfffb | 0x1bca0..=0x1bca3 | 0x1d173..=0x1d17a | 0xe0000..=0xe0fff)
}

fn escape(c: char, out: &mut String) {
    match u32::from(c) {
        code @ 0..0x100 => out.push_str(&format!("\\x{code:02x}")),
        code => out.push_str(&format!("\\u{{{code:x}}}")),
    }
}

/// Columns that a text takes in a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// Columns of one character; 0 for marks that sit on the character before.
pub fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// In pure ASCII: our typography in its plain form, everything else as an escape.
pub fn ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // The no-break space is ours while text is wrapped; it becomes a plain one on the way out.
            '\u{a0}' => out.push(c),
            c if c.is_ascii() => out.push(c),
            '…' => out.push_str("..."),
            '·' | '–' | '—' => out.push('-'),
            '≤' => out.push_str("<="),
            '→' => out.push_str("->"),
            '×' => out.push('x'),
            '›' => out.push('>'),
            '’' => out.push('\''),
            '“' | '”' => out.push('"'),
            c => escape(c, &mut out),
        }
    }
    out
}

/// At most `max` columns, the middle left out.
pub fn elide_middle(text: &str, max: usize, ellipsis: &str) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let Some(room) = max.checked_sub(width(ellipsis)).filter(|room| *room >= 2) else {
        return take_columns(text, max).to_owned();
    };
    let tail_room = room * 2 / 5;
    let head = at_word(take_columns(text, room - tail_room), room - tail_room);
    let tail = from_word(take_last_columns(text, room - width(head)), room);
    format!("{head}{ellipsis}{tail}")
}

/// Cuts back to the last space when that costs little, so that words stay whole.
fn at_word(head: &str, room: usize) -> &str {
    match head.rfind(' ') {
        Some(at) if width(&head[..at]) + 1 + room / 5 >= room => &head[..=at],
        _ => head,
    }
}

/// The same at the front, with the space kept.
fn from_word(tail: &str, room: usize) -> &str {
    match tail.find(' ') {
        Some(at) if width(&tail[..at]) <= room / 5 => &tail[at..],
        _ => tail,
    }
}

fn take_columns(text: &str, max: usize) -> &str {
    let mut used = 0;
    for (at, c) in text.char_indices() {
        used += char_width(c);
        if used > max {
            return &text[..at];
        }
    }
    text
}

fn take_last_columns(text: &str, max: usize) -> &str {
    let mut used = 0;
    let mut start = text.len();
    for (at, c) in text.char_indices().rev() {
        used += char_width(c);
        if used > max {
            break;
        }
        start = at;
    }
    // A mark whose base was left behind would sit on the ellipsis.
    text[start..].trim_start_matches(|c| char_width(c) == 0)
}

/// A statement as people would say it: `SELECT … FROM review WHERE product_id = ?`. Other names come back unchanged.
pub fn statement(name: &str) -> String {
    let Some((verb, _)) = name.split_once(' ') else { return name.to_owned() };
    let short = match verb.to_ascii_uppercase().as_str() {
        "SELECT" => aggregate(name, verb.len()).unwrap_or_else(|| between(name, verb.len(), " FROM ", 14)),
        "UPDATE" => find_word(name, " SET ", 0)
            .map_or_else(|| name.to_owned(), |set| between(name, set + 4, " WHERE ", 24)),
        "INSERT" | "REPLACE" | "DELETE" | "WITH" | "MERGE" => name.to_owned(),
        _ => return name.to_owned(),
    };
    collapse_parentheses(&without_table(&without_quotes(&short)), 18)
}

/// What a statement asks for, where that is one number over many rows: what it counts or adds up tells more than its columns
/// would, and its alias nothing.
fn aggregate(name: &str, from: usize) -> Option<String> {
    let at = find_word(name, " FROM ", from)?;
    let asked = name[from..at].trim();
    let open = asked.find('(')?;
    let known = ["COUNT", "SUM", "AVG", "MIN", "MAX"].iter().any(|f| asked[..open].eq_ignore_ascii_case(f));
    let (call, alias) = asked.split_at(open + group_end(&asked[open..]));
    let alias = alias.trim_start();
    let alias = alias.get(..3).filter(|word| word.eq_ignore_ascii_case("AS ")).map_or(alias, |_| &alias[3..]);
    let alone = alias.is_empty() || is_plain(&without_quotes(alias.trim()));
    (known && alone).then(|| format!("{} {call}{}", &name[..from], &name[at..]))
}

/// Names that need no quotes lose them: ORMs quote every one.
fn without_quotes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['"', '`', '[']) {
        let (before, quoted) = rest.split_at(at);
        out.push_str(before);
        let close = match quoted.as_bytes()[0] {
            // A subscript, not a name, where a name goes before it.
            b'[' if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') => None,
            b'[' => quoted.find(']'),
            quote => quoted[1..].find(char::from(quote)).map(|close| close + 1),
        };
        let name = close.map(|close| &quoted[1..close]);
        match (name.filter(|name| is_plain(name)), close) {
            (Some(name), Some(close)) => {
                out.push_str(name);
                rest = &quoted[close + 1..];
            }
            (_, close) => {
                let whole = close.map_or(1, |close| close + 1);
                out.push_str(&quoted[..whole]);
                rest = &quoted[whole..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn is_plain(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'))
}

/// Of one table alone, its name before each column says nothing.
fn without_table(text: &str) -> String {
    let upper = text.to_ascii_uppercase();
    let tables = [" FROM ", " JOIN ", "UPDATE "];
    let one = tables.iter().map(|word| upper.matches(word).count()).sum::<usize>() == 1;
    let begin = tables.iter().find_map(|word| Some(upper.find(word)? + word.len()));
    let Some(begin) = begin.filter(|_| one) else { return text.to_owned() };
    let table = text[begin..].split([' ', ',', '(', ')']).next().unwrap_or_default();
    if !is_plain(table) || text[begin + table.len()..].starts_with(',') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(table) {
        let (before, named) = rest.split_at(at);
        out.push_str(before);
        let after = &named[table.len()..];
        let is_whole = !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.'));
        rest = match after.strip_prefix('.') {
            Some(column) if is_whole => column,
            _ => {
                out.push_str(table);
                after
            }
        };
    }
    out.push_str(rest);
    out
}

/// Leaves out what stands between `from` and the next top-level `word`, if it is longer than `keep`.
fn between(text: &str, from: usize, word: &str, keep: usize) -> String {
    match find_word(text, word, from) {
        Some(at) if width(&text[from..at]) > keep => format!("{} …{}", &text[..from], &text[at..]),
        _ => text.to_owned(),
    }
}

/// Byte index of `word` (upper case, ASCII) outside of parentheses and quotes, at or after `from`.
fn find_word(text: &str, word: &str, from: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut depth = 0usize;
    let mut quote = None;
    for (at, &byte) in bytes.iter().enumerate().skip(from) {
        match (quote, byte) {
            (Some(open), b) if b == open => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"' | b'`') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') => depth = depth.saturating_sub(1),
            _ if depth == 0
                && bytes.len() - at >= word.len()
                && bytes[at..at + word.len()].eq_ignore_ascii_case(word.as_bytes()) =>
            {
                return Some(at);
            }
            _ => {}
        }
    }
    None
}

/// `(a long list)` becomes `(…)`.
fn collapse_parentheses(text: &str, keep: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find('(') {
        let (before, group) = rest.split_at(open);
        out.push_str(before);
        let end = group_end(group);
        if width(&group[..end]) > keep {
            out.push_str("(…)");
        } else {
            out.push_str(&group[..end]);
        }
        rest = &group[end..];
    }
    out.push_str(rest);
    out
}

/// Byte index after the parenthesis that closes the first one; the end where none does.
fn group_end(group: &str) -> usize {
    let mut depth = 0usize;
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' if depth == 1 => return at + 1,
            b')' => depth -= 1,
            _ => {}
        }
    }
    group.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazards_become_visible_and_white_space_collapses() {
        let cases = [
            ("plain", "plain"),
            ("  two\r\n\tlines\u{2028}x  ", "two lines x"),
            ("\u{1b}[31mred", "\\x1b[31mred"),
            ("\u{9b}31m", "\\x9b31m"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("a\u{200b}b\u{feff}", "a\\u{200b}b\\u{feff}"),
            ("e\u{301}", "e\u{301}"),
            ("e\u{301}\u{301}\u{301}", "e\u{301}\u{301}\\u{301}"),
            ("\u{301}x", "\\u{301}x"),
            ("商品", "商品"),
            ("\u{0}", "\\x00"),
        ];
        for (text, want) in cases {
            assert_eq!(clean(text), want);
            assert_eq!(clean(&clean(text)), want, "cleaning twice changes nothing");
        }
    }

    #[test]
    fn the_middle_is_left_out() {
        let text = "SELECT id, name, price FROM product WHERE category = ? ORDER BY price";
        for max in 1..90 {
            let short = elide_middle(text, max, "…");
            assert!(width(&short) <= max, "{short:?} over {max}");
            if max >= 6 && max < width(text) {
                assert!(short.starts_with("SEL") && short.ends_with("ice"[3 - 2..].trim()), "{short:?}");
            }
        }
        assert_eq!(elide_middle("abcdef", 6, "…"), "abcdef");
        assert_eq!(elide_middle("商品商品商品", 7, "…"), "商品…品");
        assert_eq!(elide_middle("one two three four five six", 19, "..."), "one two ...five six");
    }

    #[test]
    fn statements_keep_what_tells_them_apart() {
        let cases = [
            ("GET /products", "GET /products"),
            ("SELECT * FROM a", "SELECT * FROM a"),
            ("SELECT count(*) FROM a", "SELECT count(*) FROM a"),
            (
                r#"SELECT COUNT(*) AS "__count" FROM "a_b" WHERE "a_b"."c" = ?"#,
                "SELECT COUNT(*) FROM a_b WHERE c = ?",
            ),
            ("select count(id) as count_1 from t", "select count(id) from t"),
            ("SELECT sum(t.cents) total_of_all FROM t", "SELECT sum(cents) FROM t"),
            ("SELECT COUNT(*) AS n, MAX(created_at) FROM t", "SELECT … FROM t"),
            ("SELECT coalesce(a.first_name, b.name) FROM t", "SELECT … FROM t"),
            ("SELECT COUNT(*) FILTER (WHERE paid) FROM t", "SELECT … FROM t"),
            (
                "SELECT id, author, stars, body FROM review WHERE product_id = ?",
                "SELECT … FROM review WHERE product_id = ?",
            ),
            ("select a, (select max(b) from c), d from e where f = ?", "select … from e where f = ?"),
            (
                "INSERT INTO orders (user_id, product_id, amount) VALUES (?, ?, ?, ?, ?, ?, ?)",
                "INSERT INTO orders (…) VALUES (…)",
            ),
            (
                "UPDATE stock SET left = left - ?, changed_at = ? WHERE id = ?",
                "UPDATE stock SET … WHERE id = ?",
            ),
            ("SELECT a FROM t WHERE id IN (?, ?, ?, ?, ?, ?, ?)", "SELECT a FROM t WHERE id IN (…)"),
            ("SELECT 'x FROM y and more of it' FROM z", "SELECT … FROM z"),
            ("SELECT (unclosed and rather long", "SELECT (…)"),
            (
                r#"SELECT "shop_order"."id", "shop_order"."paid" FROM "shop_order" WHERE "shop_order"."user_id" = ? LIMIT ?"#,
                "SELECT … FROM shop_order WHERE user_id = ? LIMIT ?",
            ),
            (
                "SELECT `a`.`id` FROM `a` JOIN `b` ON `a`.`id` = `b`.`of a`",
                "SELECT a.id FROM a JOIN b ON a.id = b.`of a`",
            ),
            (
                "SELECT [n] FROM [t] WHERE [t].[a b] = x[1] AND at.n = t.n",
                "SELECT n FROM t WHERE [a b] = x[1] AND at.n = n",
            ),
            (r#"UPDATE "t" SET "a" = ?, "b" = ?, "c" = ? WHERE "t"."id" = ?"#, "UPDATE t SET … WHERE id = ?"),
            (r#"DELETE FROM "t" WHERE "t"."x" IN (?)"#, "DELETE FROM t WHERE x IN (?)"),
            ("SELECT a.x FROM a, b WHERE a.x = b.x", "SELECT a.x FROM a, b WHERE a.x = b.x"),
            (r#"SELECT "cut off"#, r#"SELECT "cut off"#),
            ("SELECT x FROM s.t WHERE s.t.x = ?", "SELECT x FROM s.t WHERE s.t.x = ?"),
            ("SELECT product WHERE id = ?", "SELECT product WHERE id = ?"),
        ];
        for (text, want) in cases {
            assert_eq!(statement(text), want);
        }
    }

    #[test]
    fn ascii_is_ascii() {
        assert_eq!(ascii("≤ p50 · a…b → 商"), "<= p50 - a...b -> \\u{5546}");
    }
}
