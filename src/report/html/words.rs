//! The sentences of a report for the page, foreign names marked: the same as in the other formats.

use crate::record::Nanos;
use crate::report::number::NBSP;
use crate::report::prose::{Piece, Prose};
use crate::report::view::{View, only_service};
use crate::report::wording::{self, Level, advice, finding, ledger, load, verdict};
use serde::Serialize;

/// A sentence: our words at even places, foreign names at odd ones.
#[derive(Serialize)]
struct Sentence(Vec<String>);

impl Sentence {
    fn new(prose: Prose) -> Sentence {
        let mut out: Vec<String> = Vec::new();
        for piece in prose.0 {
            let (text, name) = match piece {
                Piece::Own(words) => (words.replace(NBSP, "\u{202f}"), false),
                Piece::Said(words) => (words, false),
                Piece::Name(name) => (name, true),
            };
            if (out.len() % 2 == 1) != name {
                out.push(String::new());
            }
            out.push(text);
        }
        Sentence(out)
    }
}

impl<T: Into<Prose>> From<T> for Sentence {
    fn from(words: T) -> Sentence {
        Sentence::new(words.into())
    }
}

/// All sentences.
#[derive(Serialize)]
pub struct Words {
    headline: Sentence,
    run: Sentence,
    totals: Sentence,
    facts: Vec<(&'static str, Sentence)>,
    findings: Vec<FindingWords>,
    messages: Vec<MessageWords>,
    load: Vec<Sentence>,
    thresholds: Vec<String>,
    steps: Vec<StepWords>,
    what_if: Vec<ImaginedWords>,
    files: Sentence,
    /// Steps to begin with, as numbers: those that a report tells in detail.
    detailed: Vec<u16>,
}

#[derive(Serialize)]
struct FindingWords {
    title: Sentence,
    place: Option<Sentence>,
    evidence: Option<Sentence>,
    also: Option<Sentence>,
    impact: Sentence,
    confidence: Sentence,
    advice: Sentence,
}

#[derive(Serialize)]
struct MessageWords {
    warning: bool,
    text: Sentence,
    way_out: Option<Sentence>,
}

#[derive(Serialize)]
struct StepWords {
    /// With its journey where that is needed to tell it apart.
    name: String,
    slow: Vec<Sentence>,
    failures: Vec<Sentence>,
    /// The service that all of it is in.
    only: Option<String>,
    /// Names of contributors as in the other formats: short, and told apart by place in the code.
    labels: Vec<String>,
}

#[derive(Serialize)]
struct ImaginedWords {
    about: Sentence,
    range: Option<Sentence>,
}

/// Contributors whose short names are given.
const LABELS: usize = 200;

impl Words {
    /// Of a report.
    pub fn new(view: &View) -> Words {
        let analysis = view.analysis();
        let findings = analysis.findings.iter().map(|f| {
            let step = view.step(f.step);
            FindingWords {
                title: finding::title(f, view).into(),
                place: finding::place(&f.contributor).map(Sentence::new),
                evidence: finding::evidence_line(f).map(Sentence::new),
                also: finding::also(f).map(Sentence::new),
                impact: finding::impact(f, step).into(),
                confidence: finding::sure(f, step).into(),
                advice: advice::advice(f).into(),
            }
        });
        let messages = wording::messages(view).into_iter().map(|m| MessageWords {
            warning: m.level == Level::Warning,
            text: m.text.into(),
            way_out: m.way_out.map(Sentence::new),
        });
        let steps = view.steps.iter().map(|step| {
            let tails = step.tails.iter().filter_map(|tail| wording::main_excess(step, tail));
            let said = wording::conversation(step).map(|words| Prose::new().own(words));
            let slow = said.into_iter().chain(tails).chain(wording::group::slow_with(step));
            let slow = slow.map(Sentence::new).collect();
            let labels = step.contributors.iter().take(LABELS);
            StepWords {
                name: view.step_name(step.result.step),
                slow,
                failures: wording::failures(step).into_iter().map(Sentence::new).collect(),
                only: only_service(step).map(str::to_owned),
                labels: labels.map(|owner| wording::contributor_label(owner, step)).collect(),
            }
        });
        let measured = view.report.thresholds.iter().map(|t| wording::measured(t.actual));
        Words {
            headline: verdict::headline(view).into(),
            run: ledger::run(view).into(),
            totals: ledger::totals(view).into(),
            facts: ledger::facts(view).into_iter().map(|(label, prose)| (label, prose.into())).collect(),
            findings: findings.collect(),
            messages: messages.collect(),
            load: load::sentences(&analysis.saturation).into_iter().map(Sentence::new).collect(),
            thresholds: measured.map(|text| text.replace(NBSP, "\u{202f}")).collect(),
            steps: steps.collect(),
            what_if: analysis
                .what_if
                .iter()
                .map(|w| ImaginedWords {
                    about: wording::imagined::about(w).into(),
                    range: wording::imagined::range(w).map(Sentence::new),
                })
                .collect(),
            files: ledger::files(view).into(),
            detailed: view
                .detailed()
                .iter()
                .filter(|step| step.result.latency_sum > Nanos::ZERO)
                .map(|step| step.result.step.0)
                .collect(),
        }
    }
}
