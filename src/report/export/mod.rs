//! The report for other programs: stacks for flame graph viewers, tables, test results, metrics, histograms.
//!
//! The same numbers as in `report.json`, rounded as there. Each format has its own hazards in foreign text: separators in
//! stacks, formulas in spreadsheets, markup in XML, quotes in labels; each file here deals with its own.

mod csv;
mod hdr;
mod openmetrics;
mod stacks;
#[cfg(test)]
mod tests;

pub use csv::csv;
pub use hdr::hdr_log;
pub use openmetrics::openmetrics;
pub(in crate::report) use stacks::stacks_of;
pub use stacks::{folded, speedscope};
