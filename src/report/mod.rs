//! One result as several documents: terminal text, Markdown, `report.json` and a page.
//!
//! Numbers are computed once, in `view`; sentences are written once, in `wording`; the formats only lay them out. So the
//! same figure stands in every format. Nothing here does I/O, reads a clock or the environment, or prints: the same
//! [`Report`] gives the same bytes on every machine.
//!
//! Everything that a scenario, a server or a span wrote is foreign text. It passes through `text::clean` before it
//! reaches a terminal and through code spans before it reaches Markdown; `report.json` keeps it whole and escapes what a
//! terminal could act on.

mod checks;
pub mod ci;
mod compare_gate;
mod difference;
mod export;
pub mod gate;
mod html;
mod json;
mod link;
pub mod look;
mod markdown;
mod number;
mod prose;
mod read;
mod run_gate;
mod svg;
mod terminal;
mod text;
mod view;
mod wording;

#[cfg(test)]
mod analysis_tests;
#[cfg(test)]
mod comparison_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod schema_tests;
#[cfg(test)]
mod xml_reader;

use crate::analysis::result::Analysis;
use crate::record::Run;

pub use compare_gate::compare_gate;
pub use difference::{Difference, Paths};
pub use export::{csv, firefox, folded, hdr_log, openmetrics, perfetto, speedscope};
pub use html::{html, script as page_script, style as page_style, trace as trace_json};
pub use json::{comparison as comparison_json, embedded as embedded_json, json, safe_json};
pub use markdown::{comparison as comparison_markdown, markdown};
pub use number::rfc3339;
pub use read::{ReadError, summary, summary_of_any};
pub use run_gate::{junit, run_gate};
pub use svg::{Picture, pictures, svg};
pub use terminal::{comparison as comparison_terminal, terminal};
pub use text::clean;

/// What a report is made from.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Facts about the execution.
    pub run: &'a Run,
    /// What the analysis found.
    pub analysis: &'a Analysis,
    /// Thresholds of the scenario, evaluated, in the scenario's order.
    pub thresholds: &'a [ThresholdResult],
}

/// A threshold of the scenario and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct ThresholdResult {
    /// As the scenario says it, e.g. `product: latency.p99 < 500ms`.
    pub expression: String,
    /// What was measured; absent where nothing was there to measure.
    pub actual: Option<Actual>,
    /// Whether it held. One that could not be measured did not hold.
    pub passed: bool,
    /// What else there is to say: which names are new.
    pub detail: Option<String>,
    /// Where in the code the time is spent, where a span says so: `file:line`.
    pub code: Option<String>,
}

/// A measured value of a threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Actual {
    /// The number, in `unit`.
    pub value: f64,
    /// Its unit.
    pub unit: Unit,
}

/// Units of threshold values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Milliseconds,
    /// A share, 0..=1.
    Share,
    /// Events per second.
    PerSecond,
    /// A plain number, such as calls per exchange.
    Count,
}

impl Unit {
    /// Stable name, as in `report.json`.
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Share => "share",
            Unit::PerSecond => "per_s",
            Unit::Count => "count",
        }
    }
}

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// ANSI colours (256-colour codes). Nothing is said by colour alone.
    pub color: bool,
    /// Columns; values below 60 count as 60, above 140 as 140.
    pub width: usize,
    /// Characters beyond ASCII. Without it the output is pure ASCII.
    pub unicode: bool,
}

impl Default for Style {
    fn default() -> Style {
        Style { color: false, width: 100, unicode: true }
    }
}

/// The answer in one sentence: what is slow and because of what, or why that cannot be said and what to do.
///
/// A share in it is the share of the corrected latency of the requests between p90 and p99 (those around the p95 that it
/// names); where there are too few requests for such a band it names the mean and is the share of the mean.
pub fn headline(report: &Report) -> String {
    wording::verdict::headline(&view::View::new(report)).plain()
}
