//! Many runs over time: a file of one line per run, and what changed in it, when, and how sure that is.
//!
//! The run is the sample. Each step and each server operation gives series of numbers; a series is of one scenario and one
//! machine (the environment's fingerprint breaks it), the part that all series of a run have in common is taken out, and
//! changes of level are looked for with the error probability shared among all series. Nothing here does I/O.

mod accept;
mod events;
mod line;
mod series;

pub use accept::{Acceptance, Acceptances, matches};
pub use events::{Event, Findings, Member, find};
pub use line::{Entry, History, Note, to_line};
pub use series::{Group, Measure, Series, SeriesKey, groups};
