//! A comparison as Markdown, for a comment on a pull request: the verdict first, the ten worst, the rest folded.

use super::{Document, cell, code, escape, inline};
use crate::compare::{Change, Comparison, OperationChange, QUANTILES, Status, Verdict};
use crate::report::number::{NBSP, signed};
use crate::report::prose::Prose;
use crate::report::wording::comparison as wording;

/// Rows of a table before the fold.
const WORST: usize = 10;
/// Rows of a table at most.
const LISTED: usize = 100;

/// The comparison as a Markdown document that ends with a line break.
pub fn comparison(c: &Comparison) -> String {
    let mut doc = Document(String::new());
    let word = match c.status {
        Status::Regressed => "Slower",
        Status::Same => "Same",
        Status::CannotTell => "No regression shown",
        Status::Invalid => "No verdict",
    };
    doc.paragraph(&format!("## {word}"));
    doc.paragraph(&inline(&wording::headline(c), false));
    for (before, reason) in
        c.reasons.iter().map(|r| ("", r)).chain(c.allowed.iter().map(|r| ("let pass: ", r)))
    {
        doc.item(&inline(&Prose::from(before).foreign(&reason.to_string()), false));
    }
    if !c.reasons.is_empty() || !c.allowed.is_empty() {
        doc.end_list();
    }
    structure(c, &mut doc);
    steps(c, &mut doc);
    operations(c, &mut doc);
    services(c, &mut doc);
    doc.paragraph(&inline(&wording::design_line(c).own("."), false));
    if let Some(line) = wording::whole_line(c) {
        doc.paragraph(&inline(&line.own("."), false));
    }
    doc.0.truncate(doc.0.trim_end().len());
    doc.0.push('\n');
    doc.0
}

fn structure(c: &Comparison, doc: &mut Document) {
    let (alarms, others): (Vec<_>, Vec<_>) = c.structure.iter().partition(|s| s.alarm);
    for change in alarms.iter().take(WORST) {
        doc.item(&format!("**{}**", inline(&wording::structure_line(change), false)));
    }
    if !alarms.is_empty() {
        doc.end_list();
    }
    if others.is_empty() {
        return;
    }
    fold(doc, &format!("Spans that came, went, or are called more or less often ({})", others.len()));
    for change in others.iter().take(LISTED) {
        doc.item(&inline(&wording::structure_line(change), false));
    }
    doc.end_list();
    end_fold(doc);
}

fn fold(doc: &mut Document, title: &str) {
    doc.paragraph(&format!("<details><summary>{title}</summary>"));
}

fn end_fold(doc: &mut Document) {
    doc.paragraph("</details>");
}

fn cells(change: Option<&Change>) -> [String; 3] {
    let Some(change) = change else { return Default::default() };
    [
        escape(&wording::from_to(change)),
        format!("**{}**", escape(&wording::change_of(change.ratio))),
        escape(&wording::interval(change).unwrap_or_default()),
    ]
}

fn steps(c: &Comparison, doc: &mut Document) {
    if c.steps.is_empty() {
        return;
    }
    let quantiles = if wording::shows_p25(&c.steps) { 3 } else { 2 };
    let rows: Vec<Vec<String>> = c
        .steps
        .iter()
        .take(LISTED)
        .map(|step| {
            let mut row = vec![cell(&step.name)];
            row.extend(step.latency.iter().take(quantiles).flat_map(|change| cells(change.as_ref())));
            row.push(word(step.verdict));
            row
        })
        .collect();
    let titles = QUANTILES.map(|quantile| format!("{quantile} ms:"));
    let mut columns = vec!["Step"];
    columns.extend(
        titles.iter().take(quantiles).flat_map(|title| [title.as_str(), "change:", "95 % interval:"]),
    );
    columns.push("verdict");
    doc.table(&columns, &rows);
    for step in c.steps.iter().filter(|s| matches!(s.verdict, Verdict::Regressed | Verdict::Improved)) {
        if let Some(part) = wording::main_part(step) {
            doc.item(&format!("{}: {}", code(&step.name, false), inline(&part, false)));
        }
    }
    doc.end_list();
}

fn word(verdict: Verdict) -> String {
    match verdict {
        Verdict::Regressed => "**slower**".to_owned(),
        other => wording::verdict_word(other).to_owned(),
    }
}

fn operations(c: &Comparison, doc: &mut Document) {
    let changed: Vec<&OperationChange> =
        c.operations.iter().filter(|o| matches!(o.verdict, Verdict::Regressed | Verdict::Improved)).collect();
    let row = |op: &&OperationChange| {
        let (what, change) =
            wording::worst(op).map_or((String::new(), None), |(what, change)| (what, Some(change)));
        let [from_to, by, interval] = cells(change);
        vec![cell(&op.key.name), cell(&op.key.service), what, from_to, by, interval, word(op.verdict)]
    };
    let titles = ["Operation", "Service", "of", "ms:", "change:", "95 % interval:", "verdict"];
    let worst: Vec<Vec<String>> = changed.iter().take(WORST).map(row).collect();
    if !worst.is_empty() {
        doc.table(&titles, &worst);
    }
    let rest: Vec<Vec<String>> = changed.iter().skip(WORST).take(LISTED).map(row).collect();
    if !rest.is_empty() {
        fold(doc, &format!("{} more operations", changed.len() - WORST));
        doc.table(&titles, &rest);
        end_fold(doc);
    }
}

fn services(c: &Comparison, doc: &mut Document) {
    let least = c.settings.min_change_ms;
    let (figures, with_suspicion) = wording::services(c);
    let rows: Vec<Vec<String>> = c
        .services
        .iter()
        .filter(|s| wording::is_shown(s, least))
        .take(WORST)
        .map(|s| {
            let number = |value: f64| signed(value, 2).trim_start_matches('+').to_owned();
            let change = |ms: f64| format!("{}{NBSP}ms", signed(ms, 2));
            let mut row = vec![cell(&s.service)];
            row.extend(with_suspicion.then(|| s.suspicion_ms.map(change).unwrap_or_default()));
            row.extend([s.own_ms.base, s.own_ms.head, s.network_ms.base, s.network_ms.head].map(number));
            row.push(change(s.change_ms()));
            row
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    fold(doc, &format!("Services: {figures}"));
    let mut head = vec!["Service"];
    head.extend(with_suspicion.then_some("suspicion:"));
    head.extend(["own, base:", "own, head:", "ways from it, base:", "ways from it, head:", "change:"]);
    doc.table(&head, &rows);
    end_fold(doc);
}
