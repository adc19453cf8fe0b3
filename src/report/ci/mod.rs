//! A [`Gate`] in the formats that continuous integration reads. Nothing here does I/O.
//!
//! Names in a gate are foreign text. In each format they pass through what that format needs, so that no name can end an
//! element, forge a line or a command, mention a person, or become a link: `hostile_tests` holds every format to it.

mod annotations;
mod comment;
mod gitlab;
mod json;
mod junit;
mod openmetrics;
mod sarif;

#[cfg(test)]
pub mod hostile_tests;
#[cfg(test)]
mod sample;

pub use annotations::annotations;
pub use comment::{COMMENT_MAX, SUMMARY_MAX, comment, marker};
pub use gitlab::{code_quality, metrics};
pub use json::json;
pub use junit::junit;
pub(super) use openmetrics::{family, label};
pub use openmetrics::{openmetrics, openmetrics_families};
pub use sarif::sarif;

use super::gate::{Check, Gate, Location};
use super::text;

/// Foreign text on one line, at most so many columns.
fn line(foreign: &str, columns: usize) -> String {
    // What cannot be shown is not looked at: a name may be a megabyte.
    let most = columns * 8;
    match foreign.char_indices().nth(most) {
        Some((end, _)) => text::elide_middle(&text::clean(&format!("{}…", &foreign[..end])), columns, "…"),
        None => text::elide_middle(&text::clean(foreign), columns, "…"),
    }
}

/// Where a check is to be shown: its place in the code, else the file that stands for it.
fn place(gate: &Gate, check: &Check) -> Option<Location> {
    let stand_in = || gate.file.as_deref().and_then(|file| Location::parse(&format!("{file}:1")));
    check.location.clone().or_else(stand_in)
}

/// What happened, with the name of the check before it.
fn sentence(check: &Check, columns: usize) -> String {
    let told = line(&check.told(), columns);
    let name = line(&check.full_name(), columns);
    if told.is_empty() { name } else { format!("{name}: {told}") }
}
