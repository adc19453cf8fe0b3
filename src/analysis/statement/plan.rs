//! Normal forms for a database that is to plan them, and what they read by.

use super::ends_with_word;

/// Whether a statement (without its data) asks nothing but whether its connection works: `SELECT 1` and how other systems say it.
pub fn tests_a_connection(normal: &str) -> bool {
    const TESTS: [&str; 7] = [
        "SELECT ?",
        "SELECT ? FROM DUAL",
        "SELECT ? FROM SYSIBM.SYSDUMMY1",
        "SELECT TRUE",
        "VALUES ?",
        "VALUES (?)",
        "PING",
    ];
    let text = normal.trim().trim_end_matches(';');
    TESTS.iter().any(|test| text.eq_ignore_ascii_case(test))
}

/// Whether a normal form adds, changes or removes rows; also in a part of a `WITH`.
pub fn changes_rows(normal: &str) -> bool {
    const FIRST: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "MERGE", "REPLACE", "UPSERT"];
    let first = normal.split([' ', '(']).next().unwrap_or_default().to_ascii_uppercase();
    let within = || {
        let text = normal.to_ascii_uppercase();
        ["INSERT INTO ", "DELETE FROM ", "(UPDATE ", ") UPDATE "].iter().any(|part| text.contains(part))
    };
    FIRST.contains(&first.as_str()) || (first == "WITH" && within())
}

/// Whether a statement counts the rows of a table or a join, all of them.
pub fn counts_all(normal: &str) -> bool {
    let text = normal.to_ascii_uppercase();
    counts_rows(normal) && text.starts_with("SELECT COUNT(") && !text.contains(" WHERE ")
}

/// Whether a statement looks for a pattern within texts.
pub fn matches_text(normal: &str) -> bool {
    let text = normal.to_ascii_uppercase();
    [" LIKE ", " ILIKE ", " REGEXP ", " RLIKE ", " SIMILAR TO ", " ~ ", " ~* "]
        .iter()
        .any(|word| text.contains(word))
}

/// Whether a statement asks for one number over many rows, and nothing else: `COUNT(*)`, `SUM(…)`.
pub fn counts_rows(normal: &str) -> bool {
    let text = normal.to_ascii_uppercase();
    let asked =
        text.strip_prefix("SELECT ").and_then(|text| text.split_once(" FROM ")).map(|(asked, _)| asked);
    asked.is_some_and(|asked| {
        ["COUNT(", "SUM(", "AVG("].iter().any(|function| asked.starts_with(function))
            && !asked.split_once(')').is_some_and(|(_, rest)| rest.contains(['(', ',']))
    })
}

/// A normal form as a statement that a database can plan: each `?` a parameter of its own, `$1`, `$2` … Columns that
/// the name leaves out are left out: how rows are found does not hang on them. Nothing for what was cut off elsewhere, what is no
/// query or change of rows, and what is more than one statement.
pub fn with_parameters(normal: &str) -> Option<String> {
    let first = normal.split([' ', '(']).next()?.to_ascii_uppercase();
    let plain = matches!(first.as_str(), "SELECT" | "WITH" | "INSERT" | "UPDATE" | "DELETE" | "VALUES");
    let normal = normal.replace(", … FROM ", " FROM ").replace("…, ", "");
    // Some instrumentations write two dots where they cut.
    if !plain || normal.contains([';', '…']) || normal.ends_with("..") {
        return None;
    }
    let (mut out, mut n, mut quote) = (String::with_capacity(normal.len() + 16), 0, None);
    // Columns by their number (`GROUP BY 1, 2`), as mappers write them from the first on: where the last ended, and which it was.
    let mut numbered: Option<(usize, usize)> = None;
    let mut characters = normal.chars().peekable();
    while let Some(c) = characters.next() {
        match (c, quote) {
            (c, Some(q)) if c == q => quote = None,
            ('"' | '`', None) => quote = Some(c),
            ('?', None) if !matches!(characters.peek(), Some('|' | '&')) => {
                let next =
                    numbered.filter(|(end, _)| out[*end..].trim() == ",").map(|(_, column)| column + 1);
                if let Some(column) = next.or(ends_with_word(out.trim_end(), "GROUP BY").then_some(1)) {
                    out.push_str(&column.to_string());
                    numbered = Some((out.len(), column));
                    continue;
                }
                n += 1;
                let interval = ends_with_word(out.trim_end(), "INTERVAL");
                if interval {
                    out.truncate(out.trim_end().len() - "INTERVAL".len());
                }
                // Drivers that put in a whole list write its parentheses, too.
                let list = ends_with_word(out.trim_end(), "IN");
                let (open, close) = if list { ("(", ")") } else { ("", "") };
                out.push_str(&format!("{open}${n}{close}"));
                out.push_str(if interval { "::interval" } else { "" });
                continue;
            }
            // How long a type is stands in the text as a number, and no parameter may be there.
            ('(', None) if ends_with_type(out.trim_end()) => {
                if let Some(length) = only_data(characters.clone()) {
                    characters.nth(length - 1);
                    continue;
                }
            }
            // Drivers that write placeholders as `%s` want a remainder written as `%%`.
            ('%', None) if characters.peek() == Some(&'%') => {
                characters.next();
            }
            _ => {}
        }
        out.push(c);
    }
    Some(out)
}

/// Whether a text ends with the type that something is cast to: `x::varchar`, `CAST(x AS numeric`.
fn ends_with_type(text: &str) -> bool {
    const VARYING: &str = " varying";
    let varies = text.len() >= VARYING.len()
        && text.is_char_boundary(text.len() - VARYING.len())
        && text[text.len() - VARYING.len()..].eq_ignore_ascii_case(VARYING);
    let text = if varies { &text[..text.len() - VARYING.len()] } else { text };
    let before = text.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
    before.len() < text.len() && (before.ends_with("::") || ends_with_word(before.trim_end(), "AS"))
}

/// The length of what follows a parenthesis, with its end, if that is nothing but data.
fn only_data(rest: impl Iterator<Item = char>) -> Option<usize> {
    let inside: String = rest.take_while(|c| matches!(c, '?' | ',' | ' ' | ')')).collect();
    let end = inside.find(')')?;
    inside[..end].split(',').all(|one| one.trim() == "?").then_some(end + 1)
}

/// A normal form with data in the places of its parameters, for a database that plans no unknown ones. `data` gives a value, as SQL,
/// for a comparison with a column; other places get a one, limits ten. Nothing for what [`with_parameters`] gives nothing for.
pub fn with_data(normal: &str, data: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let numbered = with_parameters(normal)?;
    let (mut out, mut column, mut limited) =
        (String::with_capacity(numbered.len() + 32), String::new(), false);
    let mut rest = numbered.as_str();
    while let Some(at) = parameter(rest) {
        out.push_str(&rest[..at]);
        let before = out.trim_end();
        let word = before.rsplit([' ', '(', ',']).next().unwrap_or_default().to_ascii_uppercase();
        limited = matches!(word.as_str(), "LIMIT" | "OFFSET") || limited && before.ends_with(',');
        if let Some(name) = compared(before) {
            column = name.to_owned();
        } else if !(before.ends_with([',', '(']) || word == "AND") {
            column.clear();
        }
        let value = if limited { None } else { data(&column).filter(|_| !column.is_empty()) };
        out.push_str(&value.unwrap_or_else(|| if limited { "10" } else { "'1'" }.to_owned()));
        rest = rest[at + 1..].trim_start_matches(|c: char| c.is_ascii_digit());
        rest = rest.strip_prefix("::interval").unwrap_or(rest);
    }
    out.push_str(rest);
    Some(out)
}

/// Where the next `$1` stands.
fn parameter(text: &str) -> Option<usize> {
    let digit = |at: usize| text.as_bytes().get(at + 1).is_some_and(u8::is_ascii_digit);
    text.match_indices('$').map(|(at, _)| at).find(|at| digit(*at))
}

/// The column that what follows is compared with: the `b` of `… a.b =`, `` `b` IN (`` or `b BETWEEN`.
fn compared(before: &str) -> Option<&str> {
    let mut words = before.trim_end_matches('(').split_whitespace().rev();
    let operator = words.next()?.to_ascii_uppercase();
    if !matches!(operator.as_str(), "=" | "<" | ">" | "<=" | ">=" | "<>" | "!=" | "IN" | "LIKE" | "BETWEEN") {
        return None;
    }
    let column = words.next().filter(|w| !w.eq_ignore_ascii_case("NOT")).or_else(|| words.next())?;
    Some(column.trim_start_matches('(').rsplit('.').next()?.trim_matches(['"', '`']))
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
