//! `trace`: what one trace covers, which of them are recorded, and which headers carry their context.

use super::super::error::{Fault, listed, nearest};
use super::super::quantity;
use super::super::types::{Sampling, TraceScope};
use super::super::yaml::{Node, Reader, Value};
use super::one_of;
use crate::record::{Propagation, Propagator};

pub const TRACE_KEYS: &[&str] = &["per", "sample", "cap", "propagate"];
const SCOPES: &[(&str, TraceScope)] =
    &[("exchange", TraceScope::Exchange), ("iteration", TraceScope::Iteration)];

/// What the file says of tracing.
pub struct Traced {
    pub scope: TraceScope,
    pub sampling: Sampling,
    pub propagation: Option<Propagation>,
}

/// A word (what a trace covers), or a mapping.
pub fn trace(top: &Reader, source: &str) -> Result<Traced, Fault> {
    let mut traced = Traced { scope: TraceScope::Exchange, sampling: Sampling::default(), propagation: None };
    let Some(node) = top.get("trace") else { return Ok(traced) };
    if !matches!(node.value, Value::Map(_)) {
        traced.scope = one_of(node, source, SCOPES)?;
        return Ok(traced);
    }
    let reader = Reader::new(node, "trace", TRACE_KEYS)?;
    if let Some(node) = reader.get("per") {
        traced.scope = one_of(node, source, SCOPES)?;
    }
    traced.propagation = reader.get("propagate").map(|node| propagate(node, source)).transpose()?;
    let cap = reader.get("cap").map(|node| cap(node, source)).transpose()?;
    traced.sampling = match reader.get("sample") {
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
    Ok(traced)
}

/// A list of names, or one text of them.
fn propagate(node: &Node, source: &str) -> Result<Propagation, Fault> {
    let form = format!("a list of {}", known_propagators());
    let Value::List(items) = &node.value else {
        return propagation(&node.text(source, &form)?).map_err(|message| Fault::new(node.place, message));
    };
    let mut all = Vec::new();
    for item in items {
        let word = item.text(source, &form)?;
        all.push(propagator(&word).map_err(|message| Fault::new(item.place, message))?);
    }
    Propagation::of(all).ok_or_else(|| node.expected(&form))
}

/// Names with commas between them, as in `OTEL_PROPAGATORS`.
pub fn propagation(text: &str) -> Result<Propagation, String> {
    let words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let all = words.map(propagator).collect::<Result<Vec<_>, _>>()?;
    Propagation::of(all).ok_or_else(|| format!("name at least one of {}", known_propagators()))
}

/// One name.
pub fn propagator(word: &str) -> Result<Propagator, String> {
    if let Some((_, propagator)) = Propagator::NAMES.iter().find(|(name, _)| *name == word) {
        return Ok(*propagator);
    }
    Err(match (word, nearest(word, Propagator::NAMES.map(|(name, _)| name))) {
        ("baggage", _) => "`baggage` carries no trace: leave it out (`telemetry: {baggage: true}` marks requests as test traffic)".into(),
        ("ottrace", _) => format!(
            "`ottrace` carries half of a trace id, so that no request could be joined with its spans: let the service read one of {}",
            known_propagators()
        ),
        ("none", _) => "with `none` no request could be joined with its spans: leave it out (`sample: 0%` lets nothing be recorded)".into(),
        (_, Some(near)) => format!("`{word}` is not known here; did you mean `{near}`?"),
        _ => format!("`{word}` is not known here: write one or several of {}", known_propagators()),
    })
}

fn known_propagators() -> String {
    listed(&Propagator::NAMES.map(|(name, _)| name))
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

    fn propagated(trace: &str, headers: &str) -> Result<Option<String>, String> {
        let text = format!(
            "target: http://127.0.0.1:1\nload: {{users: 1, for: 1s}}\nsteps: [{{get: /, headers: {headers}}}]\ntrace: {trace}\n"
        );
        let read = parse(&text, "t.yaml").map_err(|e| e.to_string())?;
        Ok(read.propagation.map(|propagation| propagation.to_string()))
    }

    #[test]
    fn context_is_carried_in_the_formats_that_are_named() {
        let said = |text: &str| Ok(Some(text.to_string()));
        assert_eq!(propagated("iteration", "{}"), Ok(None));
        assert_eq!(propagated("{per: iteration}", "{}"), Ok(None));
        assert_eq!(propagated("{propagate: [xray, tracecontext, b3]}", "{}"), said("tracecontext,b3,xray"));
        assert_eq!(propagated("{propagate: jaeger}", "{}"), said("jaeger"));
        assert_eq!(propagated("{propagate: 'tracecontext, b3multi'}", "{}"), said("tracecontext,b3multi"));
        assert_eq!(propagation("b3,b3").map(|p| p.to_string()), Ok("b3".to_string()));
        for (trace, words) in [
            ("{propagate: [tracecontext, zipkin]}", "`zipkin` is not known here: write one or several of"),
            ("{propagate: [b3mutli]}", "did you mean `b3multi`?"),
            ("{propagate: B3}", "did you mean `b3`?"),
            ("{propagate: []}", "expected a list of `tracecontext`, "),
            ("{propagate: ','}", "name at least one of"),
            ("{propagate: {b3: true}}", "expected a list of"),
            ("{propagate: [tracecontext, baggage]}", "carries no trace"),
            ("{propagate: ottrace}", "half of a trace id"),
            ("{propagate: none}", "`sample: 0%`"),
        ] {
            let message = propagated(trace, "{}").unwrap_err();
            assert!(message.contains(words), "{trace}: {message}");
        }
    }

    #[test]
    fn a_header_that_is_hotspan_s_cannot_be_a_step_s_own() {
        assert!(propagated("exchange", "{b3: '0', X-Amzn-Trace-Id: x}").is_ok());
        assert!(propagated("{propagate: b3multi}", "{b3: '0'}").is_ok());
        for (trace, header) in
            [("{propagate: b3}", "b3"), ("{propagate: [tracecontext, xray]}", "X-Amzn-Trace-Id")]
        {
            let message = propagated(trace, &format!("{{{header}: x}}")).unwrap_err();
            let words = format!("`{}` is set for each request by hotspan", header.to_lowercase());
            assert!(message.contains(&words), "{message}");
        }
        // Also where a step's file says nothing of it and the command line does.
        let text =
            "target: http://127.0.0.1:1\nload: {users: 1, for: 1s}\nsteps: [{get: /, headers: {B3: '0'}}]\n";
        let mut scenario = parse(text, "t.yaml").unwrap();
        let message = scenario.propagate(propagation("tracecontext,b3").unwrap()).unwrap_err();
        assert!(message.contains("the step `GET /` has a header `b3` of its own"), "{message}");
        assert_eq!(scenario.propagation, None);
        scenario.propagate(propagation("b3multi").unwrap()).unwrap();
        assert_eq!(scenario.propagation.map(|p| p.to_string()), Some("b3multi".to_string()));
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
