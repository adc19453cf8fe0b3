//! The report as GitHub-flavoured Markdown.
//!
//! Foreign text stands in code spans, where neither HTML, links, mentions, issue numbers nor emphasis mean anything; the
//! only characters to mind there are the back-tick (a longer fence) and, in tables, the pipe.

mod comparison;

pub use comparison::comparison;

use super::checks::stated;
use super::link;
use super::number::{self, NBSP, count, ms, percent, signed};
use super::prose::{Piece, Prose};
use super::view::{self, StepView, TAIL_MIN, Tail, View};
use super::wording::{self, Level, advice, finding, ledger};
use super::{Report, text};
use crate::analysis::result::{Band, Category};
use std::fmt::Write;

/// The report as a Markdown document that ends with a line break.
pub fn markdown(report: &Report) -> String {
    let view = View::new(report);
    let mut doc = Document(String::new());
    doc.paragraph(&format!("# {}", inline(&wording::verdict::headline(&view), false)));
    doc.paragraph(&format!(
        "{}.  \n{}.",
        inline(&ledger::run(&view), false),
        inline(&ledger::totals(&view), false)
    ));
    thresholds(&view, &mut doc);
    steps(&view, &mut doc);
    failures(&view, &mut doc);
    checks(&view, &mut doc);
    conversations(&view, &mut doc);
    for step in view.detailed() {
        detail(step, &view, &mut doc);
    }
    findings(&view, &mut doc);
    imagined(&view, &mut doc);
    load(&view, &mut doc);
    evidence(&view, &mut doc);
    messages(&view, &mut doc);
    traces(&view, &mut doc);
    doc.paragraph(&inline(&ledger::files(&view), false));
    doc.0.truncate(doc.0.trim_end().len());
    doc.0.push('\n');
    doc.0
}

struct Document(String);

impl Document {
    fn paragraph(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push_str("\n\n");
    }

    fn item(&mut self, text: &str) {
        let _ = writeln!(self.0, "- {text}");
    }

    fn end_list(&mut self) {
        self.0.push('\n');
    }

    /// A table; columns whose title ends in `:` are numbers and stand right.
    fn table(&mut self, titles: &[&str], rows: &[Vec<String>]) {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        self.0.push_str(&line(titles.iter().map(|t| t.trim_end_matches(':').to_owned()).collect()));
        self.0.push_str(&line(
            titles.iter().map(|t| if t.ends_with(':') { "---:" } else { "---" }.to_owned()).collect(),
        ));
        for row in rows {
            self.0.push_str(&line(row.iter().map(|cell| cell.replace(NBSP, " ")).collect()));
        }
        self.0.push('\n');
    }
}

/// A sentence: our words with Markdown's characters escaped, foreign ones in code spans.
fn inline(prose: &Prose, in_table: bool) -> String {
    let mut out = String::new();
    for piece in &prose.0 {
        match piece {
            Piece::Own(words) => out.push_str(&escape(words)),
            Piece::Name(name) | Piece::Said(name) => out.push_str(&code(name, in_table)),
        }
    }
    out.replace(NBSP, " ")
}

/// Our own words hold no HTML and no links, but characters such as `*`, `_` and `<`.
pub(super) fn escape(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for c in words.chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '#' | '&') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// Foreign text as a code span that cannot be left from within.
pub(super) fn code(foreign: &str, in_table: bool) -> String {
    let clean = text::clean(foreign);
    if clean.is_empty() {
        return String::new();
    }
    let longest = clean.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if clean.starts_with('`') || clean.ends_with('`') { " " } else { "" };
    // GFM takes a pipe as the end of a cell even within code; the backslash before it is removed again when it is shown.
    // Renderers disagree about a backslash before that, so such a pipe gives way to a broken bar.
    let clean = if in_table { clean.replace("\\|", "\\¦").replace('|', "\\|") } else { clean };
    format!("{fence}{pad}{clean}{pad}{fence}")
}

/// Foreign text in a table cell.
pub(super) fn cell(foreign: &str) -> String {
    code(&text::elide_middle(&text::clean(foreign), 160, "…"), true)
}

fn thresholds(view: &View, doc: &mut Document) {
    if view.report.thresholds.is_empty() {
        return;
    }
    doc.paragraph("## Thresholds");
    let rows: Vec<Vec<String>> = view
        .report
        .thresholds
        .iter()
        .map(|t| {
            let word = if t.passed { "passed" } else { "**failed**" };
            vec![word.to_owned(), cell(&t.expression), escape(&wording::measured(t.actual))]
        })
        .collect();
    doc.table(&["", "Threshold", "Measured:"], &rows);
}

/// Imagined changes.
fn imagined(view: &View, doc: &mut Document) {
    for result in &view.analysis().what_if {
        doc.paragraph(&format!("## What if {}", code(&result.text, false)));
        doc.paragraph(&inline(&wording::imagined::about(result), false));
        let rows: Vec<Vec<String>> = result
            .steps
            .iter()
            .filter(|s| s.touched > 0)
            .map(|s| {
                vec![
                    cell(&view.step_name(s.step)),
                    count(s.touched),
                    wording::imagined::change(s, |q| q.p50),
                    wording::imagined::change(s, |q| q.p95),
                    wording::imagined::change(s, |q| q.p99),
                ]
            })
            .collect();
        if !rows.is_empty() {
            doc.table(&["Step", "Changed:", "p50 ms:", "p95 ms:", "p99 ms:"], &rows);
        }
        if let Some(range) = wording::imagined::range(result) {
            doc.paragraph(&inline(&range, false));
        }
    }
}

/// Load levels and what they say.
fn load(view: &View, doc: &mut Document) {
    let saturation = &view.analysis().saturation;
    let sentences = wording::load::sentences(saturation);
    if sentences.is_empty() {
        return;
    }
    doc.paragraph("## Load");
    if saturation.levels.len() > 1 {
        let rows: Vec<Vec<String>> = saturation
            .levels
            .iter()
            .map(|level| {
                vec![
                    number::rate(level.offered_per_s),
                    number::rate(level.achieved_per_s),
                    number::calls(level.concurrency),
                    ms(level.mean_ms),
                    wording::load::composition(level),
                ]
            })
            .collect();
        doc.table(&["Offered per s:", "Done per s:", "At once:", "Mean ms:", "Where the mean went"], &rows);
    }
    for sentence in &sentences {
        doc.item(&inline(sentence, false));
    }
    doc.end_list();
}

fn steps(view: &View, doc: &mut Document) {
    if view.steps.is_empty() {
        return;
    }
    doc.paragraph("## Steps");
    let of = |nanos: crate::record::Nanos| ms(nanos.as_millis_f64());
    let rows: Vec<Vec<String>> = view
        .steps
        .iter()
        .map(|step| {
            let name = cell(&view.step_name(step.result.step));
            if step.result.exchanges == 0 {
                let mut row = vec![name, "0".to_owned()];
                row.resize(9, String::new());
                return row;
            }
            let l = &step.latency;
            vec![
                name,
                count(step.result.exchanges),
                number::rate(step.rate),
                count(step.result.errors),
                of(l.mean),
                of(l.p50),
                format!("**{}**", of(l.p95)),
                of(l.p99),
                largest(step),
            ]
        })
        .collect();
    let titles = [
        "Step",
        "Requests:",
        "per s:",
        "Errors:",
        "mean ms:",
        "p50 ms:",
        "p95 ms:",
        "p99 ms:",
        "Where the mean went",
    ];
    doc.table(&titles, &rows);
}

/// `database 71 %, app 14 %`.
fn largest(step: &StepView) -> String {
    let parts = step.largest().into_iter().filter(|p| p.share >= 0.02).take(4);
    parts
        .map(|p| format!("{} {}", p.category.name(), escape(&percent(p.share))))
        .collect::<Vec<_>>()
        .join(", ")
}

fn failures(view: &View, doc: &mut Document) {
    let bad: Vec<_> =
        view.steps.iter().filter(|s| s.result.errors > 0 || s.result.checks_failed > 0).collect();
    if bad.is_empty() {
        return;
    }
    doc.paragraph("## Errors");
    for step in bad {
        let name = cell(&view.step_name(step.result.step));
        for line in wording::failures(step) {
            doc.item(&format!("{name}: {}", inline(&line, false)));
        }
    }
    doc.end_list();
}

/// Checks beyond the status, each with how often it held.
fn checks(view: &View, doc: &mut Document) {
    let mut rows = Vec::new();
    for (step, checks) in stated(view) {
        let name = cell(&view.step_name(step.result.step));
        rows.extend(
            checks
                .into_iter()
                .map(|check| vec![name.clone(), cell(check.name), count(check.passed), count(check.failed)]),
        );
    }
    if !rows.is_empty() {
        doc.paragraph("## Checks");
        doc.table(&["Step", "Check", "Passed:", "Failed:"], &rows);
    }
}

/// What was said within the requests of steps that are more than a question and its answer.
fn conversations(view: &View, doc: &mut Document) {
    let all = wording::conversations(view);
    if !all.is_empty() {
        doc.paragraph("## Messages");
        all.iter().for_each(|sentence| doc.item(&inline(sentence, false)));
        doc.end_list();
    }
}

fn detail(step: &StepView, view: &View, doc: &mut Document) {
    doc.paragraph(&format!("## Where the time of {} goes", cell(&view.step_name(step.result.step))));
    let slow = step.result.bands[Band::Slow as usize].exchanges;
    let mut words = format!(
        "{}, mean {}, p95 {}.",
        number::counted(step.result.exchanges, "request", "requests"),
        number::nanos(step.latency.mean),
        number::nanos(step.latency.p95)
    );
    if let Some(text) = wording::at_p95(slow) {
        let _ = write!(words, " {text}.");
    }
    doc.paragraph(&words.replace(NBSP, " "));
    let (shown, rest) = step.shown();
    let tail_share = |share: Option<f64>| share.map(|s| escape(&percent(s))).unwrap_or_default();
    let mut rows: Vec<Vec<String>> = shown
        .iter()
        .map(|owner| {
            let c = &owner.result.contributor;
            let calls = if owner.calls > 0.0 { escape(&number::calls(owner.calls)) } else { String::new() };
            let name = wording::contributor_label(owner, step);
            vec![
                c.category.name().to_owned(),
                cell(&name),
                cell(&c.service),
                calls,
                escape(&ms(owner.part.mean_ms)),
                escape(&percent(owner.part.share)),
                tail_share(owner.part.tail_share),
            ]
        })
        .collect();
    if !rest.is_empty() {
        let sum = view::sum(&rest);
        let name = format!("{} more", count(rest.len() as u64));
        let blank = String::new;
        rows.push(vec![
            blank(),
            name,
            blank(),
            blank(),
            escape(&ms(sum.mean_ms)),
            escape(&percent(sum.share)),
            tail_share(sum.tail_share),
        ]);
    }
    doc.table(&["Category", "What", "Service", "Calls:", "mean ms:", "Share:", "at p95:"], &rows);
    tail(step, doc);
}

fn tail(step: &StepView, doc: &mut Document) {
    let tails: Vec<&Tail> = step.tails.iter().filter(|t| t.exchanges >= TAIL_MIN).collect();
    let Some(first) = tails.first() else { return };
    let mut titles =
        vec!["mean ms".to_owned(), format!("typical half (n = {}):", count(first.typical_exchanges))];
    for t in &tails {
        titles.extend([format!("slowest {} % (n = {}):", t.percent, count(t.exchanges)), "more:".to_owned()]);
    }
    let largest = tails.iter().map(|t| t.mean_ms).fold(first.typical_mean_ms, f64::max);
    let digits = number::digits_for(largest);
    let mut rows = Vec::new();
    for i in view::by_excess((0..Category::ALL.len()).collect(), first) {
        let category = Category::ALL[i];
        if !tails.iter().any(|t| t.categories[i].typical_ms + t.categories[i].tail_ms > 0.0) {
            continue;
        }
        let mut row =
            vec![category.name().to_owned(), number::grouped(first.categories[i].typical_ms, digits)];
        for t in &tails {
            let part = &t.categories[i];
            row.extend([number::grouped(part.tail_ms, digits), signed(part.excess_ms(), digits)]);
        }
        rows.push(row);
    }
    let mut all = vec!["**all**".to_owned(), number::grouped(first.typical_mean_ms, digits)];
    for t in &tails {
        all.extend([number::grouped(t.mean_ms, digits), format!("**{}**", signed(t.gap_ms(), digits))]);
    }
    rows.push(all);
    doc.table(&titles.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    if let Some(main) = wording::main_excess(step, first) {
        doc.paragraph(&inline(&main, false));
    }
    for sentence in wording::group::slow_with(step) {
        doc.paragraph(&inline(&sentence, false));
    }
}

fn findings(view: &View, doc: &mut Document) {
    let findings = &view.analysis().findings;
    if findings.is_empty() {
        return;
    }
    doc.paragraph("## Findings");
    for (i, f) in findings.iter().enumerate() {
        let severity = finding::severity(f.severity);
        doc.paragraph(&format!("### {}. {} ({severity})", i + 1, inline(&finding::title(f, view), false)));
        let step = view.step(f.step);
        let mut line = |label: &str, prose: Prose| doc.item(&format!("{label}: {}", inline(&prose, false)));
        if let Some(place) = finding::place(&f.contributor) {
            line("Where", place);
        }
        if let Some(numbers) = finding::evidence_line(f) {
            line("Evidence", numbers);
        }
        if let Some(also) = finding::also(f) {
            line("Also", also);
        }
        line("Impact", finding::impact(f, step).into());
        line("Confidence", finding::sure(f, step).into());
        line("Advice", advice::advice(f));
        for id in finding::own_traces(f, view) {
            line("Trace", Prose::new().name(&id));
        }
        doc.end_list();
    }
}

fn evidence(view: &View, doc: &mut Document) {
    doc.paragraph("## Evidence");
    for (label, prose) in ledger::facts(view) {
        doc.item(&format!("{label}: {}", inline(&prose, false)));
    }
    doc.end_list();
}

fn messages(view: &View, doc: &mut Document) {
    let messages = wording::messages(view);
    for (level, title) in [(Level::Warning, "## Warnings"), (Level::Note, "## Notes")] {
        let some: Vec<_> = messages.iter().filter(|m| m.level == level).collect();
        if some.is_empty() {
            continue;
        }
        doc.paragraph(title);
        for message in some {
            doc.item(&inline(&message.whole(), false));
        }
        doc.end_list();
    }
}

fn traces(view: &View, doc: &mut Document) {
    let mut rows = Vec::new();
    for step in view.to_look_at() {
        for exemplar in step.exemplars() {
            let (role, latency, remark) = wording::exemplar(exemplar);
            let id = code(&exemplar.trace_id.to_string(), true);
            let id = match link::url(view, exemplar.trace_id) {
                Some(url) => format!("[{id}]({url})"),
                None => id,
            };
            rows.push(vec![
                cell(&view.step_name(step.result.step)),
                role,
                escape(&latency),
                id,
                remark.to_owned(),
            ]);
        }
    }
    if !rows.is_empty() {
        doc.paragraph("## Traces to look at");
        doc.table(&["Step", "Request", "Latency:", "Trace id", ""], &rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_spans_cannot_be_left() {
        let cases = [
            ("plain", "`plain`"),
            ("a `b` c", "``a `b` c``"),
            ("`", "`` ` ``"),
            ("``x", "``` ``x ```"),
            ("a|b", "`a\\|b`"),
            ("a\\|b", "`a\\¦b`"),
            ("line\nbreak", "`line break`"),
            ("", ""),
        ];
        for (text, want) in cases {
            assert_eq!(code(text, true), want);
        }
        assert_eq!(code("a|b", false), "`a|b`");
    }

    #[test]
    fn our_words_keep_their_characters() {
        assert_eq!(escape("<0.1 % of span_id [x] * #1"), "\\<0.1 % of span\\_id \\[x\\] \\* \\#1");
    }
}
