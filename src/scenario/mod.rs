//! The scenario file as types: journeys, steps, stages, data, thresholds; and what is said when it is wrong.
//!
//! Text goes in, a [`Scenario`] comes out. Reading has two stages: what was typed (a tree of YAML nodes that know their
//! places) and what is meant (built values and enums, all references resolved, all templates compiled). Nothing here
//! sends, sleeps or looks at a clock; the only things read besides the text are the files that it names, and the caller
//! says how.

mod address;
mod calls;
mod check;
mod curve;
mod data;
mod descriptors;
mod error;
mod flow;
mod formula;
mod http_options;
pub mod import;
mod mask;
mod proxy;
mod quantity;
mod read;
mod secret;
mod shape;
mod template;
#[cfg(test)]
mod tests;
mod threshold;
mod types;
mod url_form;
mod yaml;

pub use address::{base64, base64_bytes};
pub use calls::{Awaited, Call, Conversation, RpcCall, Said, Sending, Turn, Until};
pub use check::{Condition as ValueCondition, MadeCondition, Operation, StatusCheck, StatusRange, compares};
pub use data::{Table, shuffled};
pub use error::{Place, ScenarioError};
pub use http_options::{
    AddressOrder, Coding, Decode, Dns, DnsCache, Family, HttpOptions, KeepAlive, Sharing, TlsOptions,
    TlsVersion,
};
pub use mask::{MASK, is_secret, masked_url};
pub use proxy::{Proxies, Proxy, ProxyKind};
pub use quantity::Rate;
pub use secret::Secrets;
pub use shape::{CurvePoint, LoadPlan, SearchPlan, Spacing, Stage};
pub use template::{
    Escape, Expression, Fake, Filter, Locale, Member, Named, Operator, Piece, Template, percent_encode,
    text_of, write_value,
};
pub use threshold::{
    CATEGORIES, Comparison, Condition, Kind, Limit, Metric, Part, Statistic, Subject, Threshold,
};
pub use types::{
    AtEnd, Body, BodyPart, Caching, Data, Endpoint, Expect, Extract, FindingRule, HeaderCheck, Journey,
    JsonCheck, Keep, KeptSlots, Lifecycle, Missing, OnFailure, Op, OtlpProtocol, Pattern, ProtocolChoice,
    Redirects, RowOrder, Sampling, Scenario, Several, Source, Step, Take, Telemetry, Then, Think, Timeouts,
    TraceScope, Trust,
};
pub use url_form::{UrlForm, UrlLoad, from_url};

use crate::record::{Nanos, Propagation, Propagator, StepInfo};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// What a scenario may use from outside its text.
#[derive(Clone)]
pub struct Surroundings<'a> {
    /// Environment variables for `{{ env.NAME }}`.
    pub environment: Arc<BTreeMap<String, String>>,
    /// Reads a data file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    /// Opens a file that is too large to be read whole, or that is sent as it is.
    pub open: &'a dyn Fn(&Path) -> io::Result<File>,
}

impl Default for Surroundings<'_> {
    /// No environment; data files from the disk.
    fn default() -> Self {
        Surroundings {
            environment: Arc::default(),
            read: &|path: &Path| std::fs::read_to_string(path),
            open: &|path: &Path| File::open(path),
        }
    }
}

/// Reads a scenario. `file` is its name in messages, and data files are looked for beside it.
///
/// No environment variable is visible this way: the command line hands them over with [`parse_with`].
///
/// # Errors
/// The first thing that is wrong, with its place and what to do about it.
pub fn parse(text: &str, file: &str) -> Result<Scenario, ScenarioError> {
    parse_with(text, file, &Surroundings::default())
}

/// Reads a scenario within the given surroundings.
///
/// # Errors
/// The first thing that is wrong, with its place and what to do about it.
pub fn parse_with(text: &str, file: &str, surroundings: &Surroundings) -> Result<Scenario, ScenarioError> {
    read::scenario(text, file, surroundings).map_err(|fault| fault.in_file(file, text))
}

/// Reads only the thresholds of a scenario that was run before: its data files may be gone and its environment another.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn thresholds(text: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, ScenarioError> {
    read::thresholds(text, steps).map_err(|fault| fault.in_file("the scenario in run.json", text))
}

/// Reads a file of limits: `thresholds:` as in a scenario, and nothing else.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn budget(text: &str, file: &str, steps: &[StepInfo]) -> Result<Vec<Threshold>, ScenarioError> {
    read::budget(text, steps).map_err(|fault| fault.in_file(file, text))
}

/// Reads only what a scenario that was run before changes about looking for problems.
///
/// # Errors
/// The first thing that is wrong, with its place.
pub fn findings(text: &str) -> Result<Vec<FindingRule>, ScenarioError> {
    read::findings(text).map_err(|fault| fault.in_file("the scenario in run.json", text))
}

/// Reads a length of time as scenarios write it: `500ms`, `1m30s`.
///
/// # Errors
/// A sentence that says what to write.
pub fn parse_duration(text: &str) -> Result<Nanos, String> {
    quantity::duration(text)
}

/// Reads a sampling rule as scenarios write it: `100%`, `5%`, `auto`, `auto:500/s`.
///
/// # Errors
/// A sentence that says what to write.
pub fn parse_sampling(text: &str) -> Result<Sampling, String> {
    read::sampling(text)
}

/// Reads formats of trace context as scenarios and `OTEL_PROPAGATORS` write them, with commas between: `tracecontext,b3`.
///
/// # Errors
/// A sentence that says what to write.
pub fn parse_propagation(text: &str) -> Result<Propagation, String> {
    read::propagation(text)
}

/// Reads one of them.
///
/// # Errors
/// A sentence that says what to write.
pub fn parse_propagator(text: &str) -> Result<Propagator, String> {
    read::propagator(text)
}

/// Reads a rate as scenarios write it: `200/s`, `90/m`, or a number per second.
///
/// # Errors
/// A sentence that says what to write.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    quantity::rate(text)
}
