//! What stands at the top of a scenario beside its journeys: variables, secrets, data, pauses, time limits, redirects, telemetry.

use super::super::address::Address;
use super::super::error::Fault;
use super::super::flow::Think;
use super::super::mask::{self, Kind};
use super::super::quantity;
use super::super::secret::SHORTEST;
use super::super::template::Names;
use super::super::types::*;
use super::super::yaml::{Node, Reader, Value, entries};
use super::{Context, flag, one_of, positive_duration, value};
use crate::record::Nanos;
use std::path::Path;
use std::sync::Arc;

pub(super) fn default_name(file: &str, target: &Address) -> String {
    let stem = Path::new(file).file_stem().and_then(|s| s.to_str()).filter(|s| !s.is_empty() && *s != "-");
    stem.map_or_else(|| target.endpoint.host.clone(), str::to_string)
}

pub(super) fn variables(top: &Reader, context: &Context) -> Result<(Vec<serde_json::Value>, Names), Fault> {
    let mut values = Vec::new();
    let mut names = Names { environment: Arc::clone(&context.surroundings.environment), ..Names::default() };
    secrets(top, &names, context)?;
    if let Some(node) = top.get("vars") {
        for (key, node) in entries(node, "a mapping of names to values")? {
            value::variable_name(key)?;
            if mask::is_secret(&key.text) {
                context.secret(node, Kind::Value);
            }
            values.push(value::json_value(node, &names, context)?);
            names.declare(&key.text);
        }
    }
    Ok((values, names))
}

/// `secrets: {token: {env: TOKEN}, key: {file: key.txt}}`.
fn secrets(top: &Reader, names: &Names, context: &Context) -> Result<(), Fault> {
    let Some(node) = top.get("secrets") else { return Ok(()) };
    for (key, node) in entries(node, "a mapping of names to where secrets come from")? {
        value::variable_name(key)?;
        if !matches!(node.value, Value::Map(_)) {
            context.secret(node, Kind::Value);
            return Err(Fault::new(
                node.place,
                format!(
                    "a secret does not stand in the file: write {}: {{env: NAME}} or {}: {{file: name.txt}}",
                    key.text, key.text
                ),
            )
            .hidden());
        }
        let reader = Reader::new(node, "a secret", &["env", "file"])?;
        let (node, value) = match (reader.get("env"), reader.get("file")) {
            (Some(node), None) => {
                let name = node.text(context.source, "the name of an environment variable")?;
                let value = context.surroundings.environment.get(&name).cloned().ok_or_else(|| {
                    Fault::new(node.place, format!("the environment variable {name} is not set"))
                })?;
                (node, value)
            }
            (None, Some(node)) => {
                let name = node.text(context.source, "the name of a file")?;
                let path = Path::new(context.file).parent().unwrap_or(Path::new("")).join(&name);
                let text = (context.surroundings.read)(&path).map_err(|e| {
                    Fault::new(node.place, format!("the file {} cannot be read: {e}", path.display()))
                })?;
                (node, text.trim_end_matches(['\r', '\n']).to_string())
            }
            _ => return Err(Fault::new(reader.place(), "a secret comes from `env` or from `file`")),
        };
        if value.len() < SHORTEST {
            return Err(Fault::new(
                node.place,
                format!(
                    "the secret `{}` has fewer than {SHORTEST} characters: it could not be masked",
                    key.text
                ),
            ));
        }
        let mut known = names.secrets.borrow_mut();
        known.values.insert(value.clone());
        known.named.insert(key.text.clone(), value);
    }
    Ok(())
}

pub(super) fn data(node: &Node, context: &Context) -> Result<Data, Fault> {
    let next = Arc::default();
    if !matches!(node.value, Value::Map(_)) {
        let table = context.table(node)?;
        return Ok(Data { table, order: RowOrder::Sequential, at_end: AtEnd::Recycle, next });
    }
    let reader = Reader::new(node, "data", DATA_KEYS)?;
    let table = context.table(reader.need("file", "the name of a CSV, JSON or JSON Lines file")?)?;
    let order = match reader.get("order") {
        None => RowOrder::Sequential,
        Some(node) => one_of(
            node,
            context.source,
            &[
                ("sequential", RowOrder::Sequential),
                ("random", RowOrder::Random),
                ("shuffled", RowOrder::Shuffled),
                ("once", RowOrder::Once),
                ("per_user", RowOrder::PerUser),
            ],
        )?,
    };
    let at_end = match reader.get("at_end") {
        None if order == RowOrder::Once => AtEnd::Stop,
        None => AtEnd::Recycle,
        Some(node) if order == RowOrder::Random => {
            return Err(Fault::new(node.place, "rows in random order have no end: leave `at_end` out"));
        }
        Some(node) => one_of(node, context.source, &[("recycle", AtEnd::Recycle), ("stop", AtEnd::Stop)])?,
    };
    Ok(Data { table, order, at_end, next })
}

pub(super) const DATA_KEYS: &[&str] = &["file", "order", "at_end"];

/// `500ms..2s`, one length for always the same pause, or `lognormal(500ms, 2s p95)`.
pub(super) fn think(node: &Node, source: &str) -> Result<Think, Fault> {
    let text = node.text(source, "a pause such as 500ms..2s")?;
    let wrong = |message: String| Fault::new(node.place, message);
    if let Some(inside) = text.trim().strip_prefix("lognormal") {
        return lognormal(inside, &text).map_err(wrong);
    }
    let (least, most) = text.split_once("..").unwrap_or((&text, &text));
    let (least, most) = (quantity::duration(least).map_err(wrong)?, quantity::duration(most).map_err(wrong)?);
    if least > most {
        return Err(wrong(format!("the range {text} is empty: the shorter pause goes first")));
    }
    Ok(Think::Between { least, most })
}

/// `(500ms, 2s p95)`: the median, and a percentile from which the spread follows.
fn lognormal(inside: &str, text: &str) -> Result<Think, String> {
    /// Standard normal quantiles.
    const QUANTILES: [(&str, f64); 4] = [
        ("p90", 1.281_551_565_5),
        ("p95", 1.644_853_627_0),
        ("p99", 2.326_347_874_0),
        ("p99.9", 3.090_232_306_2),
    ];
    let form = || {
        format!(
            "{text:?}: write the median and a percentile (p90, p95, p99 or p99.9), e.g. lognormal(500ms, 2s p95)"
        )
    };
    let inside = inside
        .trim_start()
        .strip_prefix('(')
        .and_then(|i| i.trim_end().strip_suffix(')'))
        .ok_or_else(form)?;
    let (median, upper) = inside.split_once(',').ok_or_else(form)?;
    let (upper, percentile) = upper.trim().rsplit_once(' ').ok_or_else(form)?;
    let z = QUANTILES.iter().find(|(name, _)| *name == percentile).map(|(_, z)| *z).ok_or_else(form)?;
    let (median, upper) = (quantity::duration(median)?, quantity::duration(upper)?);
    if median == Nanos::ZERO || upper <= median {
        return Err(format!(
            "{text:?}: the {percentile} must be longer than the median, and both longer than nothing"
        ));
    }
    Ok(Think::LogNormal { median, sigma: (upper.0 as f64 / median.0 as f64).ln() / z })
}

/// The phases that can have a limit of their own.
pub(super) const TIMEOUT_KEYS: &[&str] = &["connect", "tls", "first_byte", "request"];
/// Most hops where none are named: what browsers and curl come near to is a loop.
const MOST_HOPS: u8 = 10;

pub(super) fn timeouts(top: &Reader, first_byte: Option<Nanos>, source: &str) -> Result<Timeouts, Fault> {
    let mut timeouts = Timeouts {
        connect: Nanos::from_millis(5_000),
        tls: None,
        first_byte,
        request: Nanos::from_millis(30_000),
    };
    if let Some(node) = top.get("timeouts") {
        let reader = Reader::new(node, "timeouts", TIMEOUT_KEYS)?;
        if let Some(node) = reader.get("tls") {
            timeouts.tls = Some(positive_duration(node, source, "a timeout")?);
        }
        if let Some(node) = reader.get("first_byte") {
            timeouts.first_byte = Some(positive_duration(node, source, "a timeout")?);
        }
        if let Some(node) = reader.get("connect") {
            timeouts.connect = positive_duration(node, source, "a timeout")?;
        }
        if let Some(node) = reader.get("request") {
            timeouts.request = positive_duration(node, source, "a timeout")?;
        }
    }
    Ok(timeouts)
}

/// `follow: true`, `false`, or most hops.
pub(super) fn redirects(node: &Node) -> Result<Redirects, Fault> {
    match node.value {
        Value::Bool(true) => Ok(Redirects::Follow(MOST_HOPS)),
        Value::Bool(false) => Ok(Redirects::Answer),
        Value::Int(_) => match node.count("follow", 0..=50)? {
            0 => Ok(Redirects::Answer),
            most => Ok(Redirects::Follow(most as u8)),
        },
        _ => Err(node.expected("true, false, or how many redirects are followed at most")),
    }
}

pub(super) fn telemetry(node: &Node, context: &Context) -> Result<Telemetry, Fault> {
    let reader = Reader::new(node, "telemetry", &["endpoint", "protocol", "headers", "baggage"])?;
    let endpoint = match reader.get("endpoint") {
        None => None,
        Some(node) => {
            context.secret(node, Kind::Url);
            let text = node.text(context.source, "a URL")?;
            Address::parse(&text).map_err(|message| Fault::new(node.place, message))?;
            Some(text)
        }
    };
    let protocol = match reader.get("protocol") {
        None => None,
        Some(node) => Some(one_of(node, context.source, &OtlpProtocol::NAMES)?),
    };
    let mut headers = Vec::new();
    if let Some(node) = reader.get("headers") {
        let names = Names { environment: Arc::clone(&context.surroundings.environment), ..Names::default() };
        for (key, node) in entries(node, "a mapping of header names to values")? {
            // Whatever is sent to a telemetry backend is there to get in.
            context.secret(node, Kind::Value);
            let typed = node.text(context.source, "a header's value")?;
            headers.push((
                key.text.clone(),
                value::fixed_text(node, &typed, &names, context, "a telemetry header")?,
            ));
        }
    }
    Ok(Telemetry { endpoint, protocol, headers, baggage: flag(&reader, "baggage")? })
}
