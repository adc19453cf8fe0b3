//! In which formats requests carry their trace context: as the command line says, else the scenario, else the environment.

use super::exit::say;
use crate::record::Propagation;
use crate::scenario::{Scenario, parse_propagator};
use anyhow::anyhow;

/// OpenTelemetry's variable.
const VARIABLE: &str = "OTEL_PROPAGATORS";

/// Lets a scenario's requests carry what is asked for; gives what is to be known about the environment's wish.
pub fn settle(scenario: &mut Scenario, flag: Option<Propagation>) -> anyhow::Result<Vec<String>> {
    if let Some(formats) = flag {
        scenario.propagate(formats).map_err(|why| anyhow!("--propagate {formats}: {why}"))?;
        return Ok(Vec::new());
    }
    if scenario.propagation.is_some() {
        return Ok(Vec::new());
    }
    let (formats, warnings) = environment();
    if let Some(formats) = formats {
        scenario.propagate(formats).map_err(|why| anyhow!("{VARIABLE}={formats}: {why}"))?;
    }
    Ok(warnings)
}

/// What the environment says, and what of it cannot be understood, which is also shown.
pub fn environment() -> (Option<Propagation>, Vec<String>) {
    let (formats, warnings) = read(&std::env::var(VARIABLE).unwrap_or_default());
    for warning in &warnings {
        say(&format!("hotspan: {warning}"));
    }
    (formats, warnings)
}

/// Names with commas between them. As OpenTelemetry has it, one that is not known is told and ignored.
fn read(text: &str) -> (Option<Propagation>, Vec<String>) {
    let (mut known, mut warnings) = (Vec::new(), Vec::new());
    let words = text.split(',').map(|word| word.trim().to_ascii_lowercase());
    // Of baggage there is none to hand on: that is nobody's mistake.
    for word in words.filter(|word| !word.is_empty() && word != "baggage") {
        match parse_propagator(&word) {
            Ok(propagator) => known.push(propagator),
            Err(why) => warnings.push(format!("{VARIABLE}={text}: {why}; `{word}` is ignored")),
        }
    }
    (Propagation::of(known), warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    #[test]
    fn the_environment_s_formats_are_read_and_strange_ones_are_told() {
        let formats = |text: &str| read(text).0.map(|formats| formats.to_string());
        assert_eq!(formats("tracecontext,baggage"), Some("tracecontext".into()));
        assert_eq!(formats(" B3, xray "), Some("b3,xray".into()));
        assert!(["", "baggage", "none", ","].iter().all(|text| formats(text).is_none()));
        assert!(["", "baggage,b3", "tracecontext"].iter().all(|text| read(text).1.is_empty()));
        let (formats, warnings) = read("tracecontext,ottrace,bee3");
        assert_eq!(formats, Some(Propagation::default()));
        assert!(warnings.len() == 2 && warnings[0].contains("`ottrace` is ignored"), "{warnings:?}");
        assert_eq!(read("none").1.len(), 1);
    }

    #[test]
    fn the_flag_wins_over_the_scenario() {
        let text = "target: http://127.0.0.1:1\nload: {users: 1, for: 1s}\nsteps: [{get: /, headers: {b3: '0'}}]\ntrace: {propagate: jaeger}\n";
        let mut scenario = parse(text, "t.yaml").unwrap();
        let xray = crate::scenario::parse_propagation("xray").unwrap();
        let sent = |scenario: &Scenario| scenario.propagation.map(|formats| formats.to_string());
        assert_eq!(settle(&mut scenario, None).unwrap(), [""; 0]);
        assert_eq!(sent(&scenario), Some("jaeger".into()));
        settle(&mut scenario, Some(xray)).unwrap();
        assert_eq!(sent(&scenario), Some("xray".into()));
        let b3 = crate::scenario::parse_propagation("b3").unwrap();
        let refused = settle(&mut scenario, Some(b3)).unwrap_err().to_string();
        assert!(refused.starts_with("--propagate b3: the step `GET /` has a header `b3`"), "{refused}");
    }
}
