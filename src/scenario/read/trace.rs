//! `trace`: what one trace covers, and which of them are recorded.

use super::super::error::Fault;
use super::super::quantity;
use super::super::types::{Sampling, TraceScope};
use super::super::yaml::{Node, Reader, Value};
use super::one_of;

pub const TRACE_KEYS: &[&str] = &["per", "sample", "cap"];
const SCOPES: &[(&str, TraceScope)] =
    &[("exchange", TraceScope::Exchange), ("iteration", TraceScope::Iteration)];

/// A word (what a trace covers), or a mapping.
pub fn trace(top: &Reader, source: &str) -> Result<(TraceScope, Sampling), Fault> {
    let Some(node) = top.get("trace") else { return Ok((TraceScope::Exchange, Sampling::default())) };
    if !matches!(node.value, Value::Map(_)) {
        return Ok((one_of(node, source, SCOPES)?, Sampling::default()));
    }
    let reader = Reader::new(node, "trace", TRACE_KEYS)?;
    let scope = reader.get("per").map_or(Ok(TraceScope::Exchange), |node| one_of(node, source, SCOPES))?;
    let cap = reader.get("cap").map(|node| cap(node, source)).transpose()?;
    let sampling = match reader.get("sample") {
        None => cap.map_or(Sampling::default(), |cap_per_second| Sampling::Auto { cap_per_second }),
        Some(node) => {
            let text = node.text(source, "auto, or a share such as 5%")?;
            let sampling = sampling(&text).map_err(|message| Fault::new(node.place, message))?;
            match (sampling, cap) {
                (Sampling::Auto { .. }, Some(cap_per_second)) => Sampling::Auto { cap_per_second },
                (_, Some(_)) => {
                    return Err(Fault::new(node.place, "`cap` goes with `sample: auto` only"));
                }
                (sampling, None) => sampling,
            }
        }
    };
    Ok((scope, sampling))
}

fn cap(node: &Node, source: &str) -> Result<f64, Fault> {
    let text = node.text(source, "a rate such as 200/s")?;
    let rate = quantity::rate(&text).map_err(|message| Fault::new(node.place, message))?;
    if rate.as_per_second() > 0.0 {
        Ok(rate.as_per_second())
    } else {
        Err(Fault::new(node.place, "the cap must be above 0; `sample: 0%` records nothing"))
    }
}

/// `100%`, `5%`, `0.05`, `auto`, or `auto:500/s` with a cap.
pub fn sampling(text: &str) -> Result<Sampling, String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix("auto") {
        return match rest.strip_prefix(':').map(quantity::rate) {
            None if rest.is_empty() => Ok(Sampling::Auto { cap_per_second: Sampling::CAP_PER_SECOND }),
            Some(Ok(cap)) if cap.as_per_second() > 0.0 => {
                Ok(Sampling::Auto { cap_per_second: cap.as_per_second() })
            }
            _ => Err(format!("{text:?} is not known: write auto, auto:500/s, 100% or 5%")),
        };
    }
    match quantity::ratio(text) {
        Some(share) if share <= 1.0 => Ok(Sampling::Share(share)),
        _ => Err(format!("{text:?} is no share to sample: write auto, 100%, 5% or 0.05")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    fn read(trace: &str) -> Result<(TraceScope, Sampling), String> {
        let text = format!(
            "target: http://127.0.0.1:1\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\ntrace: {trace}\n"
        );
        parse(&text, "t.yaml").map(|s| (s.trace, s.sampling)).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_recorded_is_a_share_or_automatic() {
        let auto = |cap_per_second| Sampling::Auto { cap_per_second };
        assert_eq!(read("iteration"), Ok((TraceScope::Iteration, Sampling::Share(1.0))));
        assert_eq!(read("{sample: 5%}"), Ok((TraceScope::Exchange, Sampling::Share(0.05))));
        assert_eq!(read("{per: iteration, sample: auto}"), Ok((TraceScope::Iteration, auto(200.0))));
        assert_eq!(read("{sample: auto, cap: 30/m}"), Ok((TraceScope::Exchange, auto(0.5))));
        assert_eq!(read("{cap: 50/s}"), Ok((TraceScope::Exchange, auto(50.0))));
        assert_eq!(sampling("auto:500/s"), Ok(auto(500.0)));
        assert_eq!(sampling("0%"), Ok(Sampling::Share(0.0)));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (trace, words) in [
            ("{sample: 150%}", "no share to sample"),
            ("{sample: often}", "no share to sample"),
            ("{sample: 5%, cap: 10/s}", "goes with `sample: auto`"),
            ("{cap: 0/s}", "above 0"),
            ("{sampel: 5%}", "did you mean `sample`?"),
            ("{per: walk}", "expected one of"),
        ] {
            let message = read(trace).unwrap_err();
            assert!(message.contains(words), "{trace}: {message}");
        }
        assert!(sampling("auto:0/s").is_err() && sampling("automatic").is_err());
    }
}
