//! The scenario that the arguments of `hotspan run` mean.

use super::super::args::RunArgs;
use super::super::beside::Beside;
use super::nanos;
use crate::scenario::{self, Rate, Scenario, Surroundings, UrlForm, UrlLoad};
use anyhow::{Context, bail};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The scenario that the arguments mean.
pub fn read_scenario(args: &RunArgs) -> anyhow::Result<Scenario> {
    let shape = &args.shape;
    if args.what.starts_with("http://") || args.what.starts_with("https://") {
        let url = match &args.target {
            Some(target) => elsewhere(&args.what, target)?,
            None => args.what.clone(),
        };
        let mut form = UrlForm::new(url);
        form.duration = nanos(shape.duration.unwrap_or(Duration::from_secs(30)));
        form.load = match shape.rate {
            Some(rate) => UrlLoad::Rate(rate_per_second(rate)?),
            None => UrlLoad::Users(shape.users.unwrap_or(10)),
        };
        return Ok(scenario::from_url(&form)?);
    }
    let for_url =
        shape.users.is_some() || shape.rate.is_some() && !args.find_capacity || shape.duration.is_some();
    if for_url {
        bail!("--users, --rate and --duration go with a URL; a scenario file says its load under `load:`");
    }
    if let Some(path) = &args.scenario_as {
        let text = std::io::read_to_string(std::io::stdin()).context("cannot read the scenario")?;
        return Ok(Beside::of(path)?.parse(&text)?);
    }
    let text = match std::fs::read_to_string(&args.what) {
        Ok(text) => text,
        Err(error) => bail!(unread(&args.what, &error)),
    };
    let text = match &args.target {
        Some(target) => with_target(&text, target)
            .with_context(|| format!("--target: {} has no line that begins with `target:`", args.what))?,
        None => text,
    };
    let surroundings = Surroundings { environment: environment(), ..Surroundings::default() };
    Ok(scenario::parse_with(&text, &args.what, &surroundings)?)
}

/// Why something is no scenario, and what was meant instead where that can be guessed.
fn unread(what: &str, error: &std::io::Error) -> String {
    let path = Path::new(what);
    if path.join("run.json").is_file() {
        return format!(
            "{what} is the folder of a run that was made; `hotspan report {what}` shows it, and a scenario's file or a URL makes a new one"
        );
    }
    if path.is_dir() {
        return format!(
            "{what} is a folder; name a scenario's file, or a URL that begins with http:// or https://"
        );
    }
    if error.kind() != std::io::ErrorKind::NotFound {
        return format!("cannot read the scenario {what}: {error}");
    }
    // `localhost:8080/x`, `127.0.0.1:8080`, `http:/host`, `htp://host`.
    let rest = what.find(":/").map_or(what, |at| what[at + 1..].trim_start_matches('/'));
    let host = rest.split('/').next().unwrap_or_default();
    let is_address = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let advice = if is_address || what.contains("://") {
        format!("if it is a URL, write http://{rest}")
    } else {
        "name a file, or a URL that begins with http:// or https://".to_owned()
    };
    format!("there is no scenario file {what}; {advice}")
}

/// A URL's path at another host.
fn elsewhere(url: &str, target: &str) -> anyhow::Result<String> {
    let path = url::Url::parse(url).with_context(|| format!("{url} is no URL"))?;
    let mut out = url::Url::parse(target).with_context(|| format!("--target {target} is no URL"))?;
    out.set_path(path.path());
    out.set_query(path.query());
    Ok(out.into())
}

/// A scenario with another target; none where it has no target of its own to replace.
fn with_target(text: &str, target: &str) -> Option<String> {
    let is_target = |line: &str| line.starts_with("target:");
    text.lines().any(is_target).then(|| {
        let line = format!("target: {}", serde_json::Value::from(target));
        text.lines().map(|l| if is_target(l) { line.as_str() } else { l }).collect::<Vec<_>>().join("\n")
            + "\n"
    })
}

/// The variables of this process that are text.
pub fn environment() -> Arc<BTreeMap<String, String>> {
    Arc::new(std::env::vars_os().filter_map(text_pair).collect())
}

fn text_pair((key, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((key.into_string().ok()?, value.into_string().ok()?))
}

fn rate_per_second(rate: f64) -> anyhow::Result<Rate> {
    scenario::parse_rate(&format!("{rate}/s")).map_err(|why| anyhow::anyhow!("--rate {rate}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_can_go_elsewhere() {
        let text = "name: x\ntarget: http://a\nsteps:\n  - get: /\n";
        let there = with_target(text, "http://b:1").unwrap();
        assert_eq!(there, text.replace("http://a", "\"http://b:1\""));
        assert_eq!(with_target("name: x\n", "http://b"), None);
        assert_eq!(elsewhere("http://a/x?y=1", "https://b:9/").unwrap(), "https://b:9/x?y=1");
        assert!(elsewhere("http://a/x", "b").is_err());
    }
}
