//! Arguments of `hotspan history` as typed.

use super::super::outputs::OutputFiles;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan history add runs/20261124T101500Z-shop --to perf/history.jsonl
  hotspan history add runs --git-branch hotspan-history       the newest run, on a branch of its own
  hotspan history add runs --to s3://perf/shop/history.jsonl  in object storage
  hotspan history show perf/history.jsonl
  hotspan history check perf/history.jsonl --write junit=history.xml
  hotspan history accept perf/history.jsonl --commit 1a2b3c4 --reason 'encrypted' --until 2027-03-31")]
pub struct HistoryArgs {
    #[command(subcommand)]
    pub command: HistoryCommand,
}

#[derive(Debug, Subcommand)]
pub enum HistoryCommand {
    /// Append runs: one line each, with their commit, machine and numbers.
    Add(AddArgs),
    /// What changed, when, by how much and how sure that is; with plots and a proposal to bisect.
    Show(ShowArgs),
    /// Accept a change, for a reason and a time.
    Accept(AcceptArgs),
    /// Fail (99) if a recent change for the worse is not accepted.
    Check(CheckArgs),
}

#[derive(Debug, Args)]
pub struct AddArgs {
    /// Run folders, folders of runs (their newest counts), or report.json files.
    #[arg(value_name = "RUN", required = true)]
    pub runs: Vec<PathBuf>,
    /// The file, or `s3://BUCKET/KEY` or the URL of an object; made where there is none.
    #[arg(long, value_name = "FILE", default_value = "hotspan-history.jsonl", conflicts_with = "git_branch")]
    pub to: Option<PathBuf>,
    /// A branch of this repository instead of a file; the work tree is not touched. Push it yourself.
    #[arg(long, value_name = "BRANCH")]
    pub git_branch: Option<String>,
    /// The commit that was measured, where the runs do not know it (services that live in another repository).
    #[arg(long, value_name = "COMMIT")]
    pub commit: Option<String>,
}

/// Which history, and what of it.
#[derive(Debug, Args)]
pub struct ReadArgs {
    /// The file, `s3://BUCKET/KEY`, or the URL of an object [default: hotspan-history.jsonl].
    #[arg(value_name = "FILE", conflicts_with = "git_branch")]
    pub file: Option<PathBuf>,
    /// A branch of this repository instead of a file.
    #[arg(long, value_name = "BRANCH")]
    pub git_branch: Option<String>,
    /// Only runs of this scenario.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// Only the last runs of each machine.
    #[arg(long, value_name = "N", value_parser = at_least_12)]
    pub last: Option<usize>,
    /// Smallest change that counts.
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = share)]
    pub min_effect: f64,
    /// Accepted changes [default: beside the file, with the extension accepted.json].
    #[arg(long, value_name = "FILE")]
    pub accepted: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    #[command(flatten)]
    pub read: ReadArgs,
    /// Plot series whose name matches, changed or not; `*` stands for any text.
    #[arg(long, value_name = "PATTERN")]
    pub series: Option<String>,
    /// Format on standard output.
    #[arg(long, value_enum, default_value_t = ShowFormat::Terminal)]
    pub format: ShowFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShowFormat {
    /// For people.
    Terminal,
    /// hotspan.changes/1.
    Json,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    pub read: ReadArgs,
    /// A change is recent while it is among so many last runs of its machine.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub recent: usize,
    /// Smallest change for the worse that fails.
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = share)]
    pub fail_over: f64,
    #[command(flatten)]
    pub outputs: OutputFiles,
}

#[derive(Debug, Args)]
pub struct AcceptArgs {
    /// The file or object whose change is accepted [default: hotspan-history.jsonl].
    #[arg(value_name = "FILE", conflicts_with = "git_branch")]
    pub file: Option<PathBuf>,
    /// A branch of this repository instead of a file.
    #[arg(long, value_name = "BRANCH")]
    pub git_branch: Option<String>,
    /// The commit that brought it, as `show` names it.
    #[arg(long, value_name = "COMMIT")]
    pub commit: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// The last day on which that counts, e.g. 2027-01-31.
    #[arg(long, value_name = "DAY")]
    pub until: String,
    /// Only series whose name matches; `*` stands for any text.
    #[arg(long, value_name = "PATTERN", default_value = "*")]
    pub series: String,
    /// The list [default: beside the file, with the extension accepted.json].
    #[arg(long, value_name = "FILE")]
    pub accepted: Option<PathBuf>,
}

/// `5%` or `0.05`.
pub fn share(text: &str) -> Result<f64, String> {
    let number = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|p| p / 100.0),
        None => text.trim().parse(),
    };
    match number {
        Ok(share) if (0.0..=10.0).contains(&share) => Ok(share),
        _ => Err(format!("`{text}` is no share; write for example 5%")),
    }
}

fn at_least_12(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if n >= 12 => Ok(n),
        _ => Err("changes are looked for in 12 runs or more".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_per_cent_or_fractions() {
        assert_eq!((share("5%"), share("0.05"), share("0")), (Ok(0.05), Ok(0.05), Ok(0.0)));
        assert!(share("five").unwrap_err().contains("5%"));
        assert!(share("-1%").is_err() && at_least_12("11").is_err());
    }
}
