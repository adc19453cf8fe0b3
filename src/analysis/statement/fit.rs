//! Statements that are too long for a name. What tells one from another are its tables and conditions, and those come after
//! the columns: an ORM writes every column of every joined table before its first `FROM`.

use super::LONGEST;

/// What is kept of a list of columns, in bytes.
const LIST: usize = 160;
/// What names stand in.
const QUOTES: [char; 4] = ['"', '`', '[', ']'];
/// What is kept of the end, where leaving out columns was not enough.
const END: usize = LONGEST / 3;

/// The text within [`LONGEST`] bytes and a mark: long lists of columns lose what is beyond their beginning, then the middle
/// goes. What is left out is marked with `…`.
pub(super) fn fit(text: String) -> String {
    if text.len() <= LONGEST {
        return text;
    }
    let mut text = without_columns(&text);
    if text.len() > LONGEST {
        let until = (0..=LONGEST - END).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let from = (text.len() - END..).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        text.replace_range(until..from, "…");
    }
    text
}

/// Cuts every list between `SELECT` and its `FROM`. The list of a query within a query keeps the columns that are named
/// outside of it: without them the statement would be none.
fn without_columns(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Where columns may be kept in `out`, and the ones left out there, for each list within parentheses.
    let mut within: Vec<(usize, &str)> = Vec::new();
    let mut at = 0;
    while let Some(list) = after_select(text, at) {
        // A list that has no end is not left out: the text itself may have been cut there.
        let end = end_of_list(text, list).unwrap_or(list);
        out.push_str(&text[at..list]);
        match end - list {
            ..=LIST => out.push_str(&text[list..end]),
            _ => {
                let kept = last_comma(&text[list..end]).map_or(0, |comma| comma + 1);
                out.push_str(&text[list..list + kept]);
                out.push_str(if kept == 0 { "…" } else { " …" });
                if is_within_parentheses(&text[..list]) {
                    within.push((out.len(), &text[list + kept..end]));
                }
            }
        }
        at = end;
    }
    out.push_str(&text[at..]);
    for (at, left_out) in within.into_iter().rev() {
        let named: String = entries(left_out).filter(|entry| names(&out, column(entry))).fold(
            String::new(),
            |mut all, entry| {
                all.push_str(", ");
                all.push_str(entry);
                all
            },
        );
        out.insert_str(at, &named);
    }
    out
}

/// Whether a text ends within parentheses that it opened.
fn is_within_parentheses(text: &str) -> bool {
    let open = |byte| text.bytes().filter(|b| *b == byte).count();
    open(b'(') > open(b')')
}

/// The entries of a list, as they are written.
fn entries(list: &str) -> impl Iterator<Item = &str> {
    let commas = outside(list, 0).filter(|at| list.as_bytes()[*at] == b',');
    let mut from = 0;
    commas.chain([list.len()]).map(move |to| {
        let entry = list[from..to].trim();
        from = (to + 1).min(list.len());
        entry
    })
}

/// What an entry of a list of columns is called outside of its query: `b` for `t.b` and for `max(t.a) AS b`.
fn column(entry: &str) -> &str {
    entry.rsplit([' ', '.']).next().unwrap_or_default().trim_matches(QUOTES)
}

/// Whether a word stands in a text.
fn names(text: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    word.contains(letter)
        && text
            .match_indices(word)
            .any(|(at, _)| !text[..at].ends_with(letter) && !text[at + word.len()..].starts_with(letter))
}

/// Where the next list of columns begins, at or after `from`.
fn after_select(text: &str, from: usize) -> Option<usize> {
    const WORD: &str = "SELECT ";
    let bytes = text.as_bytes();
    let at = (from..bytes.len().saturating_sub(WORD.len())).find(|&at| {
        bytes[at..at + WORD.len()].eq_ignore_ascii_case(WORD.as_bytes())
            && (at == 0 || matches!(bytes[at - 1], b' ' | b'('))
    })?;
    Some(at + WORD.len())
}

/// Where the ` FROM ` of the list stands that begins there.
fn end_of_list(text: &str, from: usize) -> Option<usize> {
    const WORD: &str = " FROM ";
    let bytes = text.as_bytes();
    let end = outside(text, from).find(|&at| {
        bytes[at] == b')'
            || bytes.len() - at >= WORD.len()
                && bytes[at..at + WORD.len()].eq_ignore_ascii_case(WORD.as_bytes())
    })?;
    (bytes[end] != b')').then_some(end)
}

/// The last comma between entries of a list that is among what is kept of it.
fn last_comma(list: &str) -> Option<usize> {
    outside(list, 0).take_while(|at| *at < LIST).filter(|at| list.as_bytes()[*at] == b',').last()
}

/// Places of a text, at or after `from`, that are outside of parentheses opened since and of quoted names; the parenthesis that closes
/// an older one among them, the last.
fn outside(text: &str, from: usize) -> impl Iterator<Item = usize> {
    let (mut depth, mut quote, mut over) = (0_usize, None, false);
    text.bytes().enumerate().skip(from).filter_map(move |(at, byte)| {
        match (quote, byte) {
            _ if over => return None,
            (Some(open), byte) => {
                if byte == open {
                    quote = None;
                }
                return None;
            }
            (None, b'"' | b'`') => quote = Some(byte),
            (None, b'(') => depth += 1,
            (None, b')') if depth > 0 => depth -= 1,
            (None, b')') => {
                over = true;
                return Some(at);
            }
            (None, _) if depth == 0 => return Some(at),
            (None, _) => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(table: &str, n: usize) -> String {
        (0..n).map(|i| format!("\"{table}\".\"column_{i:02}\"")).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn columns_are_left_out_and_what_follows_stays() {
        let all = columns("shop_order", 80);
        let rest = "FROM \"shop_order\" WHERE (\"shop_order\".\"customer_id\" = ? AND \"shop_order\".\"paid\") LIMIT ?";
        let name = fit(format!("SELECT DISTINCT {all} {rest}"));
        assert!(
            name.starts_with("SELECT DISTINCT \"shop_order\".\"column_00\", \"shop_order\".\"column_01\""),
            "{name}"
        );
        assert!(name.ends_with(&format!(", … {rest}")), "{name}");
        assert!(name.len() < 400, "{name}");
        // Two statements that differ in their conditions alone have two names.
        let other = fit(format!("SELECT DISTINCT {all} FROM \"shop_order\" WHERE \"shop_order\".\"id\" = ?"));
        assert_ne!(name, other);
    }

    #[test]
    fn each_query_within_a_query_has_its_own_list() {
        let (all, few) = (columns("a", 60), columns("b", 3));
        let name = fit(format!(
            "WITH x AS (SELECT {all}, (SELECT COUNT(*) FROM c WHERE c.a = a.id) FROM a) SELECT {few} FROM x JOIN (SELECT {all} FROM a) y ON (?)"
        ));
        assert!(name.starts_with("WITH x AS (SELECT \"a\".\"column_00\", "), "{name}");
        assert!(name.contains(&format!(", … FROM a) SELECT {few} FROM x JOIN (SELECT \"a\"")), "{name}");
        assert!(name.ends_with(", … FROM a) y ON (?)"), "{name}");
        assert!(!name.contains("COUNT"), "{name}");
    }

    #[test]
    fn columns_that_are_named_outside_of_their_query_stay() {
        let all: Vec<String> = (0..60).map(|i| format!("book.column_{i:02} AS book_column_{i:02}")).collect();
        let all = all.join(", ");
        let statement = |name: &str| {
            format!(
                "SELECT anon_1.{name} AS x, review.text FROM (SELECT {all} FROM book WHERE book.b = ? LIMIT ?) AS anon_1 \
                 LEFT JOIN review ON review.book = anon_1.book_column_41"
            )
        };
        let name = fit(statement("book_column_03"));
        assert!(name.contains(", …, book.column_41 AS book_column_41 FROM book WHERE"), "{name}");
        assert!(name.len() < LONGEST && !name.contains("column_40"), "{name}");
        assert!(fit(statement("book_column_55")).contains(
            ", …, book.column_41 AS book_column_41, book.column_55 AS book_column_55 FROM book WHERE"
        ));
        // The outermost list is what the database answers with: nothing else needs it.
        let outer = fit(format!("SELECT {} FROM t WHERE t.column_70 = ?", columns("t", 80)));
        assert!(outer.ends_with(", … FROM t WHERE t.column_70 = ?"), "{outer}");
    }

    #[test]
    fn what_is_no_list_is_cut_in_the_middle() {
        let one = format!("SELECT CASE {} END FROM t WHERE b = ?", "WHEN a = ? THEN ? ".repeat(80));
        assert_eq!(fit(one), "SELECT … FROM t WHERE b = ?");
        for text in [
            format!("SELECT {} FROM t) WHERE z = ?", columns("é", 60).replace(", ", " FROM_ ")),
            format!("INSERT INTO t ({}) VALUES (?) RETURNING id", columns("é", 90)),
            format!("SELECT (SELECT \"a FROM b\", {}", columns("é", 90)),
            "é".repeat(LONGEST),
        ] {
            let name = fit(text.clone());
            assert!(name.len() <= LONGEST + '…'.len_utf8(), "{} {name}", name.len());
            let (begin, end) = name.split_once('…').unwrap();
            assert!(text.starts_with(begin) && text.ends_with(end) && !end.is_empty(), "{name}");
        }
        let short = format!("SELECT {} FROM t", columns("t", 20));
        assert_eq!(fit(short.clone()), short);
    }
}
