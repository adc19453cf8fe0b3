//! The gate as one Markdown comment of a pull or merge request, or as the summary of a step: the decision first, the ten
//! worst, then everything else folded. Names stand in code spans, where neither HTML, links nor mentions mean anything.
//!
//! The first line is a hidden marker with the gate's id: whoever posts the comment looks for it and replaces that comment.

use super::super::gate::{Check, Gate, GateVerdict, Outcome, TraceRef, show};
use super::super::markdown::{cell, code, escape};
use super::super::text;
use super::line;
use std::fmt::Write;

/// Most bytes of a comment: GitHub refuses more than 65,536 characters.
pub const COMMENT_MAX: usize = 65_536;
/// Most bytes of a step's summary: GitHub drops one near 1 MiB without a word.
pub const SUMMARY_MAX: usize = 900 * 1024;
/// Checks that are not folded.
const WORST: usize = 10;

/// What is left out, step by step, until a comment fits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    /// The ten worst, all checks and all details.
    Whole,
    /// Without those that held.
    Notable,
    /// The ten worst and the details.
    Worst,
    /// The ten worst.
    Bare,
    /// The decision and counts.
    Counts,
}

/// The hidden line that a comment of this gate begins with.
pub fn marker(id: &str) -> String {
    let plain: String =
        id.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(80).collect();
    // Two dashes would end an HTML comment early in some readers.
    format!("<!-- hotspan:gate:{} -->", plain.replace("--", "-_"))
}

/// At most `max` bytes; [`COMMENT_MAX`] for a comment, [`SUMMARY_MAX`] for a summary.
pub fn comment(gate: &Gate, max: usize) -> String {
    let levels = [Level::Whole, Level::Notable, Level::Worst, Level::Bare, Level::Counts];
    let mut out = String::new();
    for level in levels {
        out = at_level(gate, level);
        if out.len() <= max {
            return out;
        }
    }
    out
}

fn at_level(gate: &Gate, level: Level) -> String {
    let mut out = format!("{}\n", marker(&gate.id));
    let (sign, word) = match gate.verdict {
        GateVerdict::Passed => ("✅", "passed"),
        GateVerdict::Failed => ("❌", "failed"),
        GateVerdict::CannotTell => ("⚠️", "cannot tell"),
    };
    let title = code(&line(&gate.title, 100), false);
    let _ = writeln!(out, "### {sign} {title} {word}\n");
    let headline = inline(&gate.headline, 400);
    if !headline.is_empty() {
        let _ = writeln!(out, "{headline}\n");
    }
    let _ = writeln!(out, "{}.\n", escape(&gate.counts()));
    let reasons = if level == Level::Counts { 0 } else { 10 };
    list(&mut out, &gate.reasons, reasons);
    let worst = gate.worst();
    if level < Level::Counts && !worst.is_empty() {
        table(&mut out, worst.iter().take(WORST).copied());
    }
    let left = worst.len().saturating_sub(WORST);
    match level {
        Level::Whole => folded_checks(&mut out, "All", gate.checks.iter().collect(), WORST.min(worst.len())),
        Level::Notable if left > 0 => folded_checks(&mut out, "All notable", worst, WORST),
        _ if left > 0 => {
            let _ = writeln!(out, "and {left} more, which did not fit here.\n");
        }
        _ => {}
    }
    if level <= Level::Worst {
        for (title, lines) in &gate.details {
            fold(&mut out, &html(title, 120), &listed(lines, 200));
        }
    }
    if level < Level::Counts {
        let design: Vec<String> = gate.design.iter().take(10).map(|words| inline(words, 400)).collect();
        if !design.is_empty() {
            let _ = writeln!(out, "<sub>{}</sub>\n", design.join(" · "));
        }
        let facts: Vec<String> = gate
            .facts
            .iter()
            .take(12)
            .map(|(name, value)| format!("{} {}", inline(name, 40), code(&line(value, 120), false)))
            .collect();
        if !facts.is_empty() {
            let _ = writeln!(out, "{}\n", facts.join(" · "));
        }
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// A sentence of ours may hold foreign names anywhere, so all of it is escaped, and what Markdown makes of bare text (links,
/// mentions, numbers of issues) is broken by an empty comment.
fn inline(words: &str, columns: usize) -> String {
    let escaped = escape(&line(words, columns));
    let mut out = String::with_capacity(escaped.len());
    let mut before = ' ';
    let mut rest = escaped.chars().peekable();
    while let Some(c) = rest.next() {
        let url = c == ':' && rest.peek() == Some(&'/');
        let host = c == '.' && matches!(before, 'w' | 'W');
        let issue = c == '-' && matches!(before, 'H' | 'h');
        out.push(c);
        if c == '@' || url || host || issue {
            out.push_str("<!-- -->");
        }
        before = c;
    }
    out
}

/// Within HTML, where Markdown's backslashes mean nothing: every sign as an entity.
fn html(words: &str, columns: usize) -> String {
    line(words, columns)
        .chars()
        .map(|c| match c {
            c if c.is_ascii_punctuation() => format!("&#{};", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

fn list(out: &mut String, lines: &[String], most: usize) {
    if most == 0 || lines.is_empty() {
        return;
    }
    out.push_str(&listed(lines, most));
    out.push('\n');
}

fn listed(lines: &[String], most: usize) -> String {
    let mut out = String::new();
    for words in lines.iter().take(most) {
        let _ = writeln!(out, "- {}", inline(words, 600));
    }
    if lines.len() > most {
        let _ = writeln!(out, "- and {} more", lines.len() - most);
    }
    out
}

fn fold(out: &mut String, summary: &str, body: &str) {
    let _ = writeln!(out, "<details><summary>{summary}</summary>\n\n{body}\n</details>\n");
}

/// Nothing where the table above already has them all.
fn folded_checks(out: &mut String, which: &str, checks: Vec<&Check>, shown: usize) {
    if checks.len() <= shown {
        return;
    }
    let mut body = String::new();
    table(&mut body, checks.iter().copied());
    fold(out, &format!("{which} {} checks", checks.len()), &body);
}

/// Columns that no check has anything for are left out.
fn table<'c>(out: &mut String, checks: impl Iterator<Item = &'c Check> + Clone) {
    type Column = (&'static str, &'static str, fn(&Check) -> String);
    let columns: [Column; 8] = [
        ("", "---", |c| escape(&mark(c.outcome))),
        ("Where", "---", |c| cell(&line(&c.group, 60))),
        ("What", "---", |c| cell(&line(&c.name, 100))),
        ("Base", "---:", |c| number(c, c.figures.base)),
        ("Now", "---:", |c| number(c, c.figures.now)),
        ("Change [95 %]", "---:", |c| {
            c.figures.change.map_or_else(String::new, |change| escape(&change.to_string()))
        }),
        ("Must be", "---", |c| c.figures.limit.as_deref().map_or_else(String::new, |l| cell(&line(l, 60)))),
        ("", "---", |c| remark(c)),
    ];
    let used: Vec<&Column> =
        columns.iter().filter(|(_, _, of)| checks.clone().any(|c| !of(c).is_empty())).collect();
    let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    out.push_str(&row(used.iter().map(|(title, ..)| (*title).to_owned()).collect()));
    out.push_str(&row(used.iter().map(|(_, rule, _)| (*rule).to_owned()).collect()));
    for check in checks {
        out.push_str(&row(used.iter().map(|(_, _, of)| of(check)).collect()));
    }
    out.push('\n');
}

fn mark(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed => "❌ failed".to_owned(),
        other => other.words().to_owned(),
    }
}

fn number(check: &Check, value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| escape(&show(value, check.figures.unit)))
}

/// The message, the place in the code and the traces.
fn remark(check: &Check) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !check.message.is_empty() {
        parts.push(cell(&check.message));
    }
    if let Some(at) = &check.location {
        parts.push(cell(&at.line.map_or_else(|| at.file.clone(), |number| format!("{}:{number}", at.file))));
    }
    parts.extend(check.traces.iter().take(4).map(trace));
    parts.join(" ")
}

/// A link only where the URL is of a kind that can do nothing but be opened.
fn trace(trace: &TraceRef) -> String {
    let role = inline(&trace.role, 20);
    let safe = trace.url.as_deref().filter(|url| {
        let tail = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        tail.is_some_and(|tail| {
            !tail.is_empty()
                && tail.len() <= 1_000
                && tail.chars().all(|c| {
                    c.is_ascii_graphic()
                        && !matches!(c, '(' | ')' | '<' | '>' | '|' | '`' | '\\' | '"' | '[' | ']')
                })
        })
    });
    match safe {
        Some(url) => format!("[trace {role}]({url})"),
        None => format!("{role} {}", cell(&text::elide_middle(&text::clean(&trace.id), 40, "…"))),
    }
}
