//! Findings with what shows them, and thresholds.

use super::screen::{Paint, Row, Screen};
use super::table::{Column, Table};
use crate::analysis::result::{Finding, Severity};
use crate::report::number;
use crate::report::prose::Prose;
use crate::report::view::View;
use crate::report::wording::{self, advice, finding};

/// Most findings shown in full.
const FINDINGS_MAX: usize = 8;

/// All findings, worst first.
pub fn section(view: &View, screen: &mut Screen) {
    let findings = &view.analysis().findings;
    if findings.is_empty() {
        return;
    }
    screen.heading("FINDINGS", &"impact is what removing the cause could save at best".into());
    for (i, finding) in findings.iter().take(FINDINGS_MAX).enumerate() {
        if i > 0 {
            screen.blank();
        }
        one(i + 1, finding, view, screen);
    }
    if findings.len() > FINDINGS_MAX {
        screen.blank();
        let more = number::count((findings.len() - FINDINGS_MAX) as u64);
        screen.prose(Row::of("  ", Paint::Plain), &format!("{more} more in report.json").into(), Paint::Dim);
    }
}

fn one(number: usize, finding: &Finding, view: &View, screen: &mut Screen) {
    let paint = match finding.severity {
        Severity::Critical => Paint::Bad,
        Severity::Warning => Paint::Caution,
        Severity::Info => Paint::Dim,
    };
    let head = Row::of(format!("  {number}  "), Paint::Bold)
        .push(finding::severity(finding.severity), paint)
        .push("  ", Paint::Plain);
    screen.prose(head, &finding::title(finding, view), Paint::Plain);
    let step = view.step(finding.step);
    let mut line = |label: &str, prose: Prose| {
        let label = Row::of(format!("     {label}"), Paint::Dim).pad_to(17);
        screen.prose(label, &prose, Paint::Plain);
    };
    if let Some(place) = finding::place(&finding.contributor) {
        line("where", place);
    }
    if let Some(numbers) = finding::evidence_line(finding) {
        line("evidence", numbers);
    }
    if let Some(also) = finding::also(finding) {
        line("also", also);
    }
    line("impact", finding::impact(finding, step).into());
    line("confidence", finding::sure(finding, step).into());
    line("advice", advice::advice(finding));
    let ids = finding::own_traces(finding, view);
    if !ids.is_empty() {
        line("traces", ids.join(" ").into());
    }
}

/// What the scenario asked for and what was measured.
pub fn thresholds(view: &View, screen: &mut Screen) {
    if view.report.thresholds.is_empty() {
        return;
    }
    screen.heading("THRESHOLDS", &Prose::new());
    let mut table =
        Table::new(vec![Column::left(""), Column::flexible("expression"), Column::right("measured")]);
    for threshold in view.report.thresholds {
        let (word, paint) = if threshold.passed { ("passed", Paint::Good) } else { ("FAILED", Paint::Bad) };
        table.cells(vec![
            Row::of(word, paint),
            Row::of(screen.foreign(&threshold.expression, 200), Paint::Plain),
            Row::of(wording::measured(threshold.actual), Paint::Plain),
        ]);
    }
    table.render(screen);
}
