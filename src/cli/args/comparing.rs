//! Arguments of `compare` and `ci`.

use super::{ColorChoice, ShapeArgs, address, parse_duration};
use crate::cli::compare::parse_effect;
use crate::cli::outputs::{Compared, parse_compared};
use clap::{Args, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CompareFormat {
    /// For people, at most 100 columns.
    Terminal,
    /// For a pull request.
    Markdown,
    /// compare.json.
    Json,
}

/// How two sides are judged, and where the answer goes.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Changes smaller than this do not count.
    #[arg(long, value_name = "SHARE", value_parser = parse_effect, default_value = "5%")]
    pub min_effect: f64,
    /// Compare although the runs differ in this: incomplete, load-not-delivered, generator-bound, scenario, load, machine,
    /// coverage, sampling or spans-lost. Repeatable, or several with commas between them.
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = clap::builder::PossibleValuesParser::new(crate::compare::Reason::ALLOWABLE), hide_possible_values = true)]
    pub allow: Vec<String>,
    /// Format of the comparison on standard output.
    #[arg(long, value_enum, default_value_t = CompareFormat::Terminal)]
    pub format: CompareFormat,
    /// Colour.
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
    /// Exit with 3 where it cannot be told whether something changed.
    #[arg(long)]
    pub strict: bool,
    /// Write the answer for CI, as `hotspan run` does (junit=FILE, comment=FILE, gitlab-metrics=FILE, code-quality=FILE, sarif=FILE,
    /// openmetrics=FILE, json=FILE, github), or the difference as a flame graph: flame=FILE.svg, folded=FILE. Repeatable.
    #[arg(long = "write", value_name = "FORMAT=FILE", value_parser = parse_compared)]
    pub write: Vec<Compared>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan compare runs/base runs/head                        all runs in two folders
  hotspan compare b1 b2 b3 -- h1 h2 h3 --format markdown
  hotspan compare main/report.json branch/report.json        one run each: structure, and what each service has of the difference
  hotspan compare --write comment=pr.md --write flame=difference.svg runs/base -- runs/head

The run is the sample: a verdict on times needs at least two runs on each side, five made in turn (base, head, head, base, …) on one machine show changes of about 10 %.

Exit status: 0 no regression shown, 3 the runs cannot be compared (with --strict also: cannot tell), 99 something got slower.")]
pub struct CompareArgs {
    /// Runs of the old version: run folders, folders of run folders, or report.json files.
    #[arg(value_name = "BASE", required = true)]
    pub base: Vec<PathBuf>,
    /// Runs of the new version, after `--`, which two names alone do without.
    #[arg(value_name = "HEAD", last = true)]
    pub head: Vec<PathBuf>,
    /// The n-th run of base belongs to the n-th of head, by their starts [default: where the sides took turns].
    #[arg(long, conflicts_with = "unpaired")]
    pub paired: bool,
    /// The sides are two sets of runs.
    #[arg(long)]
    pub unpaired: bool,
    /// Write compare.json and compare.md into this folder.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub judge: JudgeArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan ci shop.yaml --base-command 'exec ./shop-main' --head-command 'exec ./shop-pr' \\
      --ready http://127.0.0.1:8080/health
  hotspan ci shop.yaml --base-url http://127.0.0.1:8081 --head-url http://127.0.0.1:8082 --pairs 5
  hotspan ci http://127.0.0.1:8080/ --rate 100 --base-command … --head-command … --ready …

Commands run one after the other, so both may use one port; each is ended with all its children. OTEL_EXPORTER_OTLP_ENDPOINT is set for them unless it is set already, and HOTSPAN_SIDE is base or head. What stands after `--` goes to each `hotspan run`.

Exit status: 0 no regression shown, 1 could not run, 3 the runs cannot be compared (with --strict also: cannot tell), 99 something got slower, 130 interrupted.")]
pub struct CiArgs {
    /// A scenario file, or a URL to load with GET.
    #[arg(value_name = "SCENARIO|URL")]
    pub what: String,
    /// Shell line that starts the old version.
    #[arg(long, value_name = "COMMAND", requires = "head_command")]
    pub base_command: Option<String>,
    /// Shell line that starts the new version.
    #[arg(long, value_name = "COMMAND", requires = "base_command")]
    pub head_command: Option<String>,
    /// Where the old version is reached, instead of the scenario's target.
    #[arg(long, value_name = "URL", requires = "head_url")]
    pub base_url: Option<String>,
    /// Where the new version is reached.
    #[arg(long, value_name = "URL", requires = "base_url")]
    pub head_url: Option<String>,
    /// A started service takes load when this answers with a status below 500 [default: --base-url and --head-url].
    #[arg(long, value_name = "URL")]
    pub ready: Option<String>,
    /// Longest wait for that.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "60s")]
    pub ready_timeout: Duration,
    /// Load before each run whose results are thrown away; 0s for none.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5s")]
    pub warm_up: Duration,
    /// Pairs of runs.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pairs: u32,
    /// Pairs at most, where so many leave it undecided.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_pairs: u32,
    /// Do not measure again before something is called slower.
    #[arg(long)]
    pub no_confirm: bool,
    /// Run both sides at the same time: what the machine does, it does to both. The head's receivers listen ten ports above.
    #[arg(long)]
    pub duet: bool,
    #[command(flatten)]
    pub shape: ShapeArgs,
    /// Address of the OTLP/gRPC receiver.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4317")]
    pub otlp_grpc: SocketAddr,
    /// Address of the OTLP/HTTP receiver.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4318")]
    pub otlp_http: SocketAddr,
    /// Seed of the order and of the load; the two runs of a pair have the same.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// New folder for runs, logs, compare.json and compare.md [default: runs/TIME-ci].
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub judge: JudgeArgs,
    /// No progress; the comparison is printed all the same.
    #[arg(long, short)]
    pub quiet: bool,
    /// Further arguments of each `hotspan run`.
    #[arg(last = true, value_name = "RUN ARGUMENTS")]
    pub run_args: Vec<String>,
}
