//! `--write FORMAT=FILE`: a gate in the formats of continuous integration. Each file appears whole or not at all.

use super::exit;
use crate::report::Difference;
use crate::report::ci;
use crate::report::gate::Gate;
use anyhow::Context;
use clap::Args;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes one format of a gate's answer.
type Writer = fn(&Gate) -> String;

/// Formats that stand in a file of their own.
const FORMATS: [(&str, Writer); 7] = [
    ("junit", ci::junit),
    ("comment", |gate| ci::comment(gate, ci::COMMENT_MAX)),
    ("gitlab-metrics", ci::metrics),
    ("code-quality", ci::code_quality),
    ("sarif", ci::sarif),
    ("openmetrics", ci::openmetrics),
    ("json", ci::json),
];

/// What is written beside the report.
#[derive(Clone, Debug, Default, Args)]
pub struct OutputFiles {
    /// Write the result of thresholds, budgets or a comparison for CI: junit=FILE, comment=FILE (Markdown of one comment),
    /// gitlab-metrics=FILE, code-quality=FILE, sarif=FILE, openmetrics=FILE, json=FILE, or `github` (annotations on standard
    /// output and the step's summary). Repeatable.
    #[arg(long = "write", value_name = "FORMAT=FILE", value_parser = parse)]
    pub write: Vec<Output>,
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Annotations and the summary of a step of GitHub Actions.
    GitHub,
    /// A format by its place in the list, and where it goes.
    File(usize, PathBuf),
}

fn parse(text: &str) -> Result<Output, String> {
    let names = || FORMATS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    let (name, file) = match text.split_once('=') {
        Some((name, file)) => (name, Some(file)),
        None => (text, None),
    };
    match (name, file) {
        ("github", None) => Ok(Output::GitHub),
        ("github", Some(_)) => {
            Err("github goes to standard output and $GITHUB_STEP_SUMMARY; write it without a file".into())
        }
        (name, file) => {
            let Some(format) = FORMATS.iter().position(|(known, _)| *known == name) else {
                return Err(format!(
                    "`{name}` is no format; write github, or FORMAT=FILE with one of {}",
                    names()
                ));
            };
            match file.filter(|file| !file.is_empty()) {
                Some(file) => Ok(Output::File(format, PathBuf::from(file))),
                None => Err(format!("say where: {name}=FILE")),
            }
        }
    }
}

/// One output of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compared {
    /// Of its gate.
    Gate(Output),
    /// The difference as a picture.
    Flame(PathBuf),
    /// The difference as stacks with two weights.
    Folded(PathBuf),
}

/// What `--write` of comparisons takes.
pub fn parse_compared(text: &str) -> Result<Compared, String> {
    let file = |name: &str| {
        text.strip_prefix(name)?.strip_prefix('=').filter(|file| !file.is_empty()).map(PathBuf::from)
    };
    if let Some(file) = file("flame") {
        return Ok(Compared::Flame(file));
    }
    if let Some(file) = file("folded") {
        return Ok(Compared::Folded(file));
    }
    match text.split('=').next() {
        Some(name @ ("flame" | "folded")) => Err(format!("say where: {name}=FILE")),
        _ => parse(text)
            .map(Compared::Gate)
            .map_err(|why| why.replace("FORMAT=FILE with one of", "FORMAT=FILE with one of flame, folded,")),
    }
}

/// Writes all that was asked of a comparison. `difference` is looked at only where it is needed: it may mean reading all spans.
pub fn write_compared(
    outputs: &[Compared],
    gate: &Gate,
    difference: &dyn Fn() -> anyhow::Result<Difference>,
) -> anyhow::Result<()> {
    let write = |path: &Path, text: String| {
        whole(path, &text).with_context(|| format!("cannot write the difference to {}", path.display()))
    };
    let drawn = |output: &&Compared| !matches!(output, Compared::Gate(_));
    let difference = outputs.iter().find(drawn).map(|_| difference()).transpose()?.unwrap_or_default();
    for output in outputs {
        match output {
            Compared::Gate(output) => OutputFiles { write: vec![output.clone()] }.write(gate)?,
            Compared::Flame(path) => write(path, difference.svg())?,
            Compared::Folded(path) => write(path, difference.folded())?,
        }
    }
    Ok(())
}

impl OutputFiles {
    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty()
    }

    /// Writes all that was asked for.
    pub fn write(&self, gate: &Gate) -> anyhow::Result<()> {
        for output in &self.write {
            match output {
                Output::File(format, path) => {
                    let (name, write) = FORMATS[*format];
                    whole(path, &write(gate))
                        .with_context(|| format!("cannot write {name} to {}", path.display()))?;
                }
                Output::GitHub => {
                    exit::print_commands(&ci::annotations(gate))?;
                    if let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|p| !p.is_empty()) {
                        add_summary(Path::new(&path), gate)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn whole(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, path))
        .inspect_err(|_| drop(std::fs::remove_file(&part)))
}

/// A summary is added to what the step has already; together they must stay below what GitHub takes.
fn add_summary(path: &Path, gate: &Gate) -> anyhow::Result<()> {
    let used = std::fs::metadata(path).map_or(0, |m| m.len());
    let room = ci::SUMMARY_MAX.saturating_sub(usize::try_from(used).unwrap_or(usize::MAX));
    let text = ci::comment(gate, room);
    if text.len() > room {
        exit::say("hotspan: the summary of this step is full; the result was not added");
        return Ok(());
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot add to GITHUB_STEP_SUMMARY, {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_a_format_and_a_file() {
        assert_eq!(parse("junit=a/b.xml"), Ok(Output::File(0, "a/b.xml".into())));
        assert_eq!(parse("github"), Ok(Output::GitHub));
        for (text, want) in [
            ("junit", "junit=FILE"),
            ("junit=", "junit=FILE"),
            ("html=x", "is no format"),
            ("github=x", "without a file"),
        ] {
            assert!(parse(text).unwrap_err().contains(want), "{text}");
        }
    }

    #[test]
    fn comparisons_have_pictures_too() {
        assert_eq!(parse_compared("flame=a.svg"), Ok(Compared::Flame("a.svg".into())));
        assert_eq!(parse_compared("folded=a"), Ok(Compared::Folded("a".into())));
        assert_eq!(parse_compared("github"), Ok(Compared::Gate(Output::GitHub)));
        for (text, want) in
            [("flame", "flame=FILE"), ("folded=", "folded=FILE"), ("html=x", "flame, folded,")]
        {
            assert!(parse_compared(text).unwrap_err().contains(want), "{text}");
        }
        assert!(parse("flame=a.svg").is_err());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/a.svg");
        let outputs = [Compared::Flame(path.clone())];
        write_compared(&outputs, &Gate::default(), &|| Ok(Difference::default())).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("<svg "));
    }

    #[test]
    fn summaries_are_added_up_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.md");
        std::fs::write(&path, "# before\n").unwrap();
        add_summary(&path, &Gate::default()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# before\n<!-- hotspan:gate:"), "{text}");
        std::fs::write(&path, vec![b'x'; ci::SUMMARY_MAX]).unwrap();
        add_summary(&path, &Gate::default()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len() as usize, ci::SUMMARY_MAX);
    }
}
