//! A run before it has begun: what is known of it, and the folder that it is kept in.

use super::super::host;
use crate::record::{LoadFacts, Run, RunState};
use crate::scenario::Scenario;
use crate::traces::ExportConfig;
use crate::wire::folder::RunWriter;
use anyhow::bail;
use std::path::{Path, PathBuf};

/// The run before it has begun.
pub fn describe(scenario: &Scenario, config: &ExportConfig) -> Run {
    let started_at = host::now();
    Run {
        id: format!("{}-{}", host::compact_utc(started_at), slug(&scenario.name)),
        name: scenario.name.clone(),
        started_at,
        ended_at: None,
        state: RunState::Running,
        target: scenario.target.clone(),
        hotspan_version: env!("CARGO_PKG_VERSION").to_owned(),
        // Asked for beside the load: git takes longer than all else that is done before it.
        git_commit: None,
        host: host::host(),
        scenario: scenario.text().to_owned(),
        steps: scenario.steps(),
        load: LoadFacts {
            open_model: scenario.is_open(),
            planned: scenario.duration(),
            propagation: scenario.propagation.unwrap_or_default(),
            ..LoadFacts::default()
        },
        receiver: Default::default(),
        export: Default::default(),
        wait: None,
        sources: Default::default(),
        warnings: config.warnings.iter().cloned().chain(unchecked(scenario)).collect(),
    }
}

/// What nobody must overlook: whoever answered, nobody has checked who it was.
fn unchecked(scenario: &Scenario) -> Option<String> {
    let hosts = scenario.unchecked_hosts();
    (!hosts.is_empty()).then(|| {
        format!(
            "Certificates of {} were NOT checked (insecure): anybody could have answered in their place, and secrets went to whoever did.",
            hosts.join(", ")
        )
    })
}

/// A scenario's name as part of a folder's: lower-case letters, digits and dashes.
pub fn slug(name: &str) -> String {
    let dashed: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
    let parts: Vec<&str> = dashed.split('-').filter(|part| !part.is_empty()).collect();
    let slug: String = parts.join("-").chars().take(40).collect();
    if slug.is_empty() { "run".to_owned() } else { slug }
}

/// Makes the run folder. Two runs that begin within one second get names of their own.
pub fn create_folder(out: &Path, mut run: Run) -> anyhow::Result<(PathBuf, RunWriter, Run)> {
    let base = run.id.clone();
    for number in 2..100 {
        let dir = out.join(&run.id);
        if !dir.exists() {
            let writer = RunWriter::create(&dir, &run)?;
            return Ok((dir, writer, run));
        }
        run.id = format!("{base}-{number}");
    }
    bail!("{} has a hundred runs of this second; name another folder with --out", out.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{self, UrlForm};

    #[test]
    fn names_become_folder_names() {
        assert_eq!(slug("Shop: Check-out!"), "shop-check-out");
        assert_eq!(slug("日本"), "run");
        assert_eq!(slug(&"x".repeat(99)).len(), 40);
    }

    #[test]
    fn two_runs_of_one_second_do_not_share_a_folder() {
        let scenario = scenario::from_url(&UrlForm::new("http://127.0.0.1:1/")).unwrap();
        let config = ExportConfig::from_env(|_| None);
        let run = describe(&scenario, &config);
        let out = tempfile::tempdir().unwrap();
        let (first, _writer, _) = create_folder(out.path(), run.clone()).unwrap();
        let (second, _writer, again) = create_folder(out.path(), run.clone()).unwrap();
        assert_ne!(first, second);
        assert_eq!(again.id, format!("{}-2", run.id));
    }
}
