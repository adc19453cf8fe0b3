//! `hotspan compare`: runs of two sides in, a verdict out.

use super::analyze::{Means, analyze_folder};
use super::args::{ColorChoice, CompareArgs, CompareFormat};
use super::exit::{self, Exit, say};
use super::outputs::write_compared;
use super::report::style;
use crate::compare::{Comparison, Design, RunSummary, Settings, Status, compare, design_of};
use crate::report::{self, Difference, Paths, ReadError};
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};

/// What can stand on a side.
const NAME_A_RUN: &str =
    "name a run folder (`hotspan run` makes them below runs/), a folder of them, or a report.json";

/// Runs the command.
pub fn run(args: &CompareArgs) -> anyhow::Result<Exit> {
    let (base, head) = match (args.base.as_slice(), args.head.as_slice()) {
        ([base, head], []) => (std::slice::from_ref(base), std::slice::from_ref(head)),
        (_, []) => bail!(
            "which runs are base, and which are head? Put `--` between them: hotspan compare b1 b2 -- h1 h2"
        ),
        sides => sides,
    };
    let (base, head) = (side(base, "base")?, side(head, "head")?);
    let design = match (args.paired, args.unpaired) {
        (true, _) => Design::Paired,
        (_, true) => Design::Unpaired,
        _ => design_of(&base, &head),
    };
    let judge = &args.judge;
    let settings = Settings { min_effect: judge.min_effect, ..Settings::default() };
    let allowed: Vec<&str> = judge.allow.iter().map(String::as_str).collect();
    let comparison = compare(&base, &head, design, settings, &allowed);
    if let Some(dir) = &args.out {
        write_files(dir, &comparison)?;
    }
    exit::print(&render(&comparison, judge.format, judge.color))?;
    let gate = report::compare_gate(&comparison, judge.strict);
    write_compared(&judge.write, &gate, &|| difference(&base, &head))?;
    Ok(exit_of(&comparison, judge.strict))
}

/// Where the difference of the means is: by the paths of spans where run folders have them, else by contributors.
pub fn difference(base: &[RunSummary], head: &[RunSummary]) -> anyhow::Result<Difference> {
    let folder =
        |run: &RunSummary| Some(PathBuf::from(&run.source)).filter(|dir| dir.join("run.json").is_file());
    let spans = base.iter().chain(head).all(|run| folder(run).is_some());
    let paths = |runs: &[RunSummary]| -> anyhow::Result<Vec<Paths>> {
        let of = |run: &RunSummary| match folder(run).filter(|_| spans) {
            Some(dir) => {
                let analyzed = analyze_folder(&dir, &Means::default()).with_context(|| run.source.clone())?;
                Ok(Paths::of_report(&analyzed.report()))
            }
            None => Ok(Paths::of_summary(run)),
        };
        runs.iter().map(of).collect()
    };
    Ok(Difference::new(&paths(base)?, &paths(head)?))
}

/// The comparison in a format.
pub fn render(comparison: &Comparison, format: CompareFormat, color: ColorChoice) -> String {
    match format {
        CompareFormat::Terminal => report::comparison_terminal(comparison, style(color)),
        CompareFormat::Markdown => report::comparison_markdown(comparison),
        CompareFormat::Json => report::comparison_json(comparison),
    }
}

/// The exit status. A regression that was not shown is no failure, and the report says what would have been seen.
pub fn exit_of(comparison: &Comparison, strict: bool) -> Exit {
    match comparison.status {
        Status::Regressed => Exit::Failed,
        Status::Same => Exit::Passed,
        Status::CannotTell if strict => Exit::CannotTell,
        Status::CannotTell => Exit::Passed,
        Status::Invalid => {
            if let Some(reason) = comparison.reasons.first() {
                let name = reason.name();
                let way_out = if crate::compare::Reason::ALLOWABLE.contains(&name) {
                    format!(" (--allow {name} compares all the same)")
                } else {
                    String::new()
                };
                say(&format!("hotspan: these runs cannot be compared: {reason}{way_out}"));
            }
            Exit::CannotTell
        }
    }
}

/// Writes `compare.json` and `compare.md`.
pub fn write_files(dir: &Path, comparison: &Comparison) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    for (name, text) in [
        ("compare.json", report::comparison_json(comparison)),
        ("compare.md", report::comparison_markdown(comparison)),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The runs of a side, earliest first: run folders, folders of run folders, and report.json files.
fn side(paths: &[PathBuf], side: &str) -> anyhow::Result<Vec<RunSummary>> {
    let mut runs = Vec::new();
    for path in paths {
        if path.as_os_str().as_encoded_bytes().starts_with(b"-") && !path.exists() {
            bail!(
                "{side}: there is no run {}; options stand before `--`, what follows it are the runs of head",
                path.display()
            );
        }
        if !path.exists() {
            bail!("{side}: there is no file or folder {}; {NAME_A_RUN}", path.display());
        }
        if path.is_file() {
            runs.push(of_file(path).with_context(|| format!("{side}: {}", path.display()))?);
            continue;
        }
        let folders = run_folders(path).with_context(|| format!("{side}: cannot read {}", path.display()))?;
        if folders.is_empty() {
            bail!("{side}: {} is no run folder, and none is in it; {NAME_A_RUN}", path.display());
        }
        for folder in folders {
            runs.push(of_folder(&folder).with_context(|| side.to_owned())?);
        }
    }
    runs.sort_by(|a, b| a.started_at.cmp(&b.started_at).then(a.id.cmp(&b.id)));
    Ok(runs)
}

/// A run folder itself, or all those in a folder.
fn run_folders(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let is_run = |dir: &Path| dir.join("run.json").is_file();
    if is_run(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut folders: Vec<PathBuf> = std::fs::read_dir(path)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|dir| is_run(dir))
        .collect();
    folders.sort();
    Ok(folders)
}

fn of_file(path: &Path) -> anyhow::Result<RunSummary> {
    let bytes = std::fs::read(path).context("cannot read it")?;
    let text = String::from_utf8(bytes).ok().with_context(|| format!("this is not text; {NAME_A_RUN}"))?;
    Ok(report::summary(&text, &path.display().to_string())?)
}

/// From the folder's report where this version wrote it; else the folder is analysed again.
pub fn of_folder(dir: &Path) -> anyhow::Result<RunSummary> {
    let source = dir.display().to_string();
    if let Some(run) = kept(dir, &source) {
        return Ok(run);
    }
    let analyzed = analyze_folder(dir, &Means::default()).with_context(|| source.clone())?;
    Ok(report::summary(&report::json(&analyzed.report()), &source)?)
}

/// The report that is in a folder, unless it is older than the run's end or of an older version.
fn kept(dir: &Path, source: &str) -> Option<RunSummary> {
    let changed = |name: &str| dir.join(name).metadata().ok()?.modified().ok();
    if changed("report.json")? < changed("run.json")? {
        return None;
    }
    let text = std::fs::read_to_string(dir.join("report.json")).ok()?;
    let summary: Result<RunSummary, ReadError> = report::summary(&text, source);
    summary.ok()
}

/// `5%` or `0.05`.
pub fn parse_effect(text: &str) -> Result<f64, String> {
    let (number, scale) = match text.trim().strip_suffix('%') {
        Some(number) => (number.trim(), 0.01),
        None => (text.trim(), 1.0),
    };
    match number.parse::<f64>() {
        Ok(value) if (0.0..10.0).contains(&(value * scale)) => Ok(value * scale),
        _ => Err("say a share such as 5% or 0.05".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_shares() {
        assert_eq!(
            (parse_effect("5%"), parse_effect(" 0.1 "), parse_effect("0 %")),
            (Ok(0.05), Ok(0.1), Ok(0.0))
        );
        for bad in ["five", "-1%", "", "nan", "2000%"] {
            assert!(parse_effect(bad).is_err(), "{bad}");
        }
    }
}
