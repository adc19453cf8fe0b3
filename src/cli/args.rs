//! Arguments as typed: cheap, total, no I/O. What they mean is worked out by each command.

mod comparing;
mod receiving;
mod searching;
mod values;

pub use self::comparing::{CiArgs, CompareArgs, CompareFormat};
pub use self::receiving::{ListenArgs, ReceiveArgs, Source, TelemetryArgs, parse_source};
pub use self::searching::SearchArgs;
pub use self::values::{address, parse_duration, parse_size};
use self::values::{parse_part, parse_what_if};
use super::manual::{CompletionsArgs, ManArgs};
use super::serve::ServeArgs;
use super::trace_link;
use crate::analysis::WhatIf;
use crate::record::Propagation;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A load tester that says why it was slow.
#[derive(Debug, Parser)]
#[command(name = "hotspan", version, about, propagate_version = true, max_term_width = 100)]
#[command(after_help = "\
Start here:
  hotspan demo                    a shop with a fault, load on it, and the report
  hotspan run http://127.0.0.1:8080/ --rate 100 --duration 30s
  hotspan run shop.yaml           journeys, stages and thresholds from a file

Your service only has to export OTLP to 127.0.0.1:4317 (gRPC) or :4318 (HTTP), the defaults of every OpenTelemetry SDK.

Exit status: 0 passed, 1 could not run, 2 usage, 3 the result cannot carry a verdict, 99 a threshold failed, 130 interrupted (with a partial report).")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once, at the start")]
pub enum Command {
    /// Put load on a service, take in its spans, and say why it was slow.
    Run(Box<RunArgs>),
    /// Analyse a run folder again, or traces that were recorded otherwise: files of Jaeger, Tempo, Zipkin, a Collector.
    Analyze(AnalyzeArgs),
    /// Take in spans, metrics and logs without putting on load, until Ctrl-C or for --duration.
    Collect(CollectArgs),
    /// Add up parts of a run that `analyze --part` wrote, and report.
    Merge(MergeArgs),
    /// Measure two versions in turn on this machine, and say what got slower: one command for a pull request.
    Ci(Box<CiArgs>),
    /// What got slower between two versions, and whether that is real: runs of base, `--`, runs of head.
    Compare(CompareArgs),
    /// Print the report of a run folder in another format.
    Report(ReportArgs),
    /// Many runs over time: append them to a file or a branch, see what changed and when, and fail on recent regressions.
    History(super::history::HistoryArgs),
    /// A few requests: is this service traced well enough to be blamed fairly, and if not, what to do?
    Doctor(DoctorArgs),
    /// Print the spans of a run folder, one JSON object a line.
    Spans(SpansArgs),
    /// A first scenario, by asking a server a few GETs.
    Init(InitArgs),
    /// A scenario from a curl line, HAR, OpenAPI document, Postman collection, access log, k6 or Locust script.
    Import(ImportArgs),
    /// Start a shop with a fault, put load on it, and report: works on a bare machine.
    Demo(DemoArgs),
    /// The runs of a folder as web pages: list, reports, comparisons, trends, traces; with --scenarios also runs, started and watched.
    Serve(ServeArgs),
    /// Print completions for a shell.
    Completions(CompletionsArgs),
    /// Write the man pages.
    Man(ManArgs),
    /// One process of the demo shop.
    #[command(hide = true)]
    DemoService(DemoServiceArgs),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan init http://127.0.0.1:8080/ --out shop.yaml
  hotspan run shop.yaml")]
pub struct InitArgs {
    /// Where to look around; only this host is asked.
    pub url: String,
    /// Write the scenario to this new file and not to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan import recorded.har --out shop.yaml
  hotspan import 'curl http://127.0.0.1:8080/products -H \"Authorization: Bearer abc\"'
  hotspan import access.log --target http://127.0.0.1:8080

Nothing is fetched and nothing is executed. Values that look secret become names under `secrets`.")]
pub struct ImportArgs {
    /// A file, `-` for standard input, or a curl line in quotes.
    #[arg(value_name = "FILE|CURL")]
    pub what: String,
    /// What it is, where it cannot be told: curl, har, openapi, postman, access-log, k6, locust,
    /// powershell or fetch.
    #[arg(long, value_name = "FORMAT")]
    pub from: Option<String>,
    /// Where the requests go, where the file does not say or says something else.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Write the scenario to this new file and not to standard output.
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan run http://127.0.0.1:8080/products --users 20 --duration 30s
  hotspan run http://127.0.0.1:8080/ --rate 200 --duration 1m --forward http://127.0.0.1:14317
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:14317 hotspan run shop.yaml

With OTEL_EXPORTER_OTLP_ENDPOINT set (or `telemetry:` in the scenario) hotspan exports its own client spans and metrics there, so that a trace in your backend starts at the client.")]
pub struct RunArgs {
    /// A scenario file, or a URL to load with GET.
    #[arg(value_name = "SCENARIO|URL")]
    pub what: String,
    #[command(flatten)]
    pub shape: ShapeArgs,
    #[command(flatten)]
    pub receive: ReceiveArgs,
    #[command(flatten)]
    pub output: OutputArgs,
    /// Where the requests go, instead of the scenario's `target` or the URL's host.
    #[arg(long, value_name = "URL")]
    pub target: Option<String>,
    /// Which traces services are asked to record: 100%, a share such as 5%, auto (all up to 200/s, then an even part of each
    /// step) or auto:500/s [default: the scenario's `trace.sample`, else 100%].
    #[arg(long, value_name = "SHARE|auto", value_parser = crate::scenario::parse_sampling)]
    pub trace_sample: Option<crate::scenario::Sampling>,
    /// Formats of the trace context that requests carry, with commas between them: tracecontext, b3, b3multi, jaeger, xray
    /// [default: the scenario's `trace.propagate`, else OTEL_PROPAGATORS, else tracecontext].
    #[arg(long, value_name = "FORMATS", value_parser = crate::scenario::parse_propagation)]
    pub propagate: Option<Propagation>,
    /// Find out what full tracing costs the service: tracing is on and off in turn, 16 times in the run.
    #[arg(long, conflicts_with_all = ["trace_sample", "find_capacity"])]
    pub trace_cost: bool,
    /// Search for the highest rate that holds, instead of the load in the scenario; for a URL up to --rate.
    #[arg(long, conflicts_with_all = ["users", "duration"])]
    pub find_capacity: bool,
    /// Let the load be changed while it runs, over HTTP at this address of this machine (port 0: any); prints address and token.
    #[arg(long, value_name = "ADDR", value_parser = address, conflicts_with = "find_capacity")]
    pub control: Option<SocketAddr>,
    /// Standard input is the scenario and stands for this file: what it names must lie in that file's folder.
    #[arg(long, value_name = "FILE", hide = true)]
    pub scenario_as: Option<PathBuf>,
    /// A public host that is yours to load; private addresses and this machine need no such word.
    #[arg(long, value_name = "HOST")]
    pub i_own: Vec<String>,
    /// Refuse a load of more iterations per second [default: 1000 on public hosts, else none].
    #[arg(long, value_name = "PER_SECOND")]
    pub max_rate: Option<f64>,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    #[command(flatten)]
    pub findings: FindingArgs,
    /// Seed of everything random: the same seed gives the same requests.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads that make load [default: cores − 1, at least 1].
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Exit with 3 when the result cannot carry a verdict, even without thresholds.
    #[arg(long)]
    pub strict: bool,
}

/// How problems are found, and what decides.
#[derive(Debug, Default, Args)]
pub struct FindingArgs {
    /// Change a limit of the detectors, e.g. n_plus_one.calls=10, or switch a kind off (slow_query=off); all are in
    /// docs/findings.md. Repeatable.
    #[arg(long = "finding", value_name = "LIMIT=VALUE")]
    pub finding: Vec<String>,
    /// Ask the target's database for plans and waits, read-only: postgres://…, mysql://… or sqlite:PATH. Statements are planned, never run.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// A file of limits, beside those of the scenario: `thresholds:` as in docs/scenario.md, on durations, calls, self time and
    /// new dependencies.
    #[arg(long, value_name = "FILE")]
    pub budget: Option<PathBuf>,
    #[command(flatten)]
    pub outputs: super::outputs::OutputFiles,
}

/// Load for the URL form.
#[derive(Debug, Args)]
pub struct ShapeArgs {
    /// Virtual users (closed model); for a URL [default: 10].
    #[arg(long, value_name = "N", conflicts_with = "rate")]
    pub users: Option<u32>,
    /// Requests per second (open model: due times are fixed by the schedule alone).
    #[arg(long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// How long; for a URL [default: 30s].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
}

/// Where results go and how they look.
#[derive(Debug, Args)]
pub struct OutputArgs {
    /// Folder that run folders are made in.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    #[command(flatten)]
    pub print: PrintArgs,
    /// Plain progress lines instead of the live screen.
    #[arg(long)]
    pub no_ui: bool,
    /// No progress; the report is printed all the same.
    #[arg(long, short)]
    pub quiet: bool,
}

/// How the report is printed.
#[derive(Clone, Debug, Args)]
pub struct PrintArgs {
    /// Format of the report on standard output.
    #[arg(long, value_enum, default_value_t = Format::Terminal)]
    pub format: Format,
    /// Make every trace id of the report a link: jaeger=URL, grafana=URL (or tempo=URL, with #UID of the data source), zipkin=URL,
    /// or a template such as https://host/trace/{trace_id}?from={start_ms}&to={end_ms}.
    #[arg(long, value_name = "LINK", value_parser = trace_link::parse)]
    pub trace_link: Option<String>,
    /// Colour.
    #[arg(long, value_enum, default_value_t = ColorChoice::Auto)]
    pub color: ColorChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people, at most 100 columns.
    Terminal,
    /// For a pull request.
    Markdown,
    /// report.json.
    Json,
    /// One page for a browser, with all pictures.
    Html,
    /// Steps and contributors as a table.
    Csv,
    /// Thresholds as test results in XML, for CI.
    Junit,
    /// The numbers of the run as metrics.
    Openmetrics,
    /// The critical path of all requests as folded stacks, for flame graphs.
    Folded,
    /// The same for speedscope.
    Speedscope,
    /// The average request of each step and real requests as time lines, for ui.perfetto.dev and chrome://tracing.
    Perfetto,
    /// The critical path of all requests for profiler.firefox.com.
    Firefox,
    /// All pictures one below the other; `report --pictures DIR` writes each as a file.
    Svg,
    /// Latencies as an HdrHistogram log.
    Hdr,
}

impl Format {
    /// Whether whole requests are shown.
    pub fn has_pictures(self) -> bool {
        matches!(self, Format::Html | Format::Perfetto | Format::Svg)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// When standard output is a terminal and NO_COLOR is not set.
    Auto,
    Always,
    Never,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan collect --duration 5m && hotspan analyze runs
  hotspan collect --forward http://127.0.0.1:14317 --rotate 1GB --keep 24
  hotspan collect --otlp-grpc 0.0.0.0:4317 --otlp-tls-cert cert.pem --otlp-tls-key key.pem")]
pub struct CollectArgs {
    #[command(flatten)]
    pub listen: ListenArgs,
    /// How long [default: until Ctrl-C].
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Folder that run folders are made in.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Begin a new run folder when one has grown to this size, e.g. 1GB.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub rotate: Option<u64>,
    /// Run folders of this collection that are kept; the oldest are removed [default: all].
    #[arg(long, value_name = "N", requires = "rotate", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,
    /// The ledger at the end, for people or as JSON.
    #[arg(long, value_enum, default_value_t = LedgerFormat::Text)]
    pub format: LedgerFormat,
    /// Plain progress lines instead of one that is redrawn.
    #[arg(long)]
    pub no_ui: bool,
    /// No progress; the ledger is printed all the same.
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LedgerFormat {
    /// Sentences.
    Text,
    /// One JSON object.
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan analyze runs/20261124T101500Z-shop        the same report again
  hotspan analyze traces.json                       recorded otherwise: no load run needed
  hotspan analyze collector/ --out runs             a Collector's files, kept as a run folder
  hotspan analyze download.json --format markdown
  hotspan analyze --traces-from jaeger:http://127.0.0.1:16686 --service shop --last 15m
  hotspan analyze --traces-from tempo:http://127.0.0.1:3200 --traceql '{ status = error }'

Trace files are known by what is in them, not by their names: OTLP (JSON, JSON lines, protobuf), files of the Collector's file exporter, Jaeger and Zipkin JSON, answers of Tempo, tables of spans (ClickHouse's otel_traces as CSV, TSV or JSON rows), each plain or as gzip or zstd. The root span of each trace stands for the request.")]
pub struct AnalyzeArgs {
    /// A run folder, e.g. runs/20261124T101500Z-shop (a folder of runs means the newest in it), or files and folders with
    /// traces.
    #[arg(value_name = "RUN|FILES", required_unless_present = "traces_from")]
    pub paths: Vec<PathBuf>,
    /// For a run folder: fetch the traces that are missing from jaeger:URL, tempo:URL, zipkin:URL, clickhouse:URL or file:PATH.
    /// Without one: search there for traces, whose root spans stand for the requests.
    #[arg(long, value_name = "SOURCE", value_parser = parse_source, default_value = "none", hide_default_value = true)]
    pub traces_from: Source,
    /// Header of every request to that source, e.g. 'X-Scope-OrgID: team-a'; can be given more than once.
    #[arg(long, value_name = "NAME: VALUE")]
    pub traces_header: Vec<String>,
    /// Longest wait for late traces.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    pub wait: Duration,
    /// For trace files and searches: keep what was read as a run folder below this one, with the report in it.
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub search: SearchArgs,
    #[command(flatten)]
    pub print: PrintArgs,
    #[command(flatten)]
    pub findings: FindingArgs,
    /// Passes over the folder, to bound memory [default: as many as keep each below some 850 MiB].
    #[arg(long, value_name = "N")]
    pub partitions: Option<u32>,
    /// Predict latency with a change: `database=0.5x`, `'calls(SELECT review)=1'`, `'POST /charges=0'`, `'search=2ms'`; several
    /// together with `;`, several apart by giving it again.
    #[arg(long, value_name = "TARGET=AMOUNT", value_parser = parse_what_if)]
    pub what_if: Vec<WhatIf>,
    /// Analyse one part of N and write it to a file for `hotspan merge`; parts can be made on different machines.
    #[arg(long, value_name = "I/N", value_parser = parse_part, requires = "write_part")]
    pub part: Option<(u32, u32)>,
    /// Where to write the part.
    #[arg(long, value_name = "FILE", requires = "part")]
    pub write_part: Option<PathBuf>,
    /// Instead of the report: blame beside the target's own `Server-Timing`, as JSON.
    #[arg(long)]
    pub truth: bool,
    /// Exit with 3 when the result cannot carry a verdict, even without thresholds.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan analyze runs/x --part 1/2 --write-part 1.part      on one machine
  hotspan analyze runs/x --part 2/2 --write-part 2.part      on another
  hotspan merge runs/x 1.part 2.part")]
pub struct MergeArgs {
    /// The run folder that the parts are of; its report is written anew.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// All parts of it, in any order.
    #[arg(value_name = "PART", required = true)]
    pub parts: Vec<PathBuf>,
    #[command(flatten)]
    pub print: PrintArgs,
    /// Exit with 3 when the result cannot carry a verdict, even without thresholds.
    #[arg(long)]
    pub strict: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan doctor http://127.0.0.1:8080/products
  hotspan doctor http://127.0.0.1:8080/ --collector-metrics http://127.0.0.1:8888/metrics
  hotspan doctor http://127.0.0.1:8080/ --format json

The service must export OTLP to the receiver, directly or through a Collector.

Exit status: 0 well enough (there may be notes), 3 blame would be wrong or empty, 1 could not ask.")]
pub struct DoctorArgs {
    /// The URL to ask with GET.
    #[arg(value_name = "URL")]
    pub url: String,
    /// A header of every request, `name: value`; may be given several times.
    #[arg(long, short = 'H', value_name = "HEADER")]
    pub header: Vec<String>,
    /// Formats of the trace context that the requests carry, as of `hotspan run` [default: OTEL_PROPAGATORS, else tracecontext].
    #[arg(long, value_name = "FORMATS", value_parser = crate::scenario::parse_propagation)]
    pub propagate: Option<Propagation>,
    /// Requests that ask to be recorded.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub requests: u32,
    /// Requests that ask not to be recorded.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub unsampled: u32,
    /// Address of the OTLP/gRPC receiver.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4317")]
    pub otlp_grpc: SocketAddr,
    /// Address of the OTLP/HTTP receiver.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4318")]
    pub otlp_http: SocketAddr,
    /// The Collector's own metrics, to see whether it lost spans meanwhile.
    #[arg(long, value_name = "URL")]
    pub collector_metrics: Option<String>,
    /// Longest wait for spans.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "20s")]
    pub wait: Duration,
    /// Stop waiting when no span has come for this long.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "6s")]
    pub quiet_period: Duration,
    /// Format of the answer on standard output.
    #[arg(long, value_enum, default_value_t = DoctorFormat::Text)]
    pub format: DoctorFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DoctorFormat {
    /// For people.
    Text,
    /// hotspan.doctor/1.
    Json,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan spans runs | head
  hotspan spans runs --trace 4bf92f3577b34da6a3ce929d0e0e4736")]
pub struct SpansArgs {
    /// A run folder; a folder of runs means the newest in it.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Only the spans of this trace.
    #[arg(long, value_name = "ID")]
    pub trace: Option<String>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan report runs                               the newest run again
  hotspan report runs/20261124T101500Z-shop --format markdown > comment.md
  hotspan report runs --format perfetto > trace.json    for ui.perfetto.dev
  hotspan report runs --pictures pictures           each picture as an SVG file")]
pub struct ReportArgs {
    /// A run folder; a folder of runs means the newest in it.
    #[arg(value_name = "RUN")]
    pub run: PathBuf,
    /// Write each picture of the report as an SVG file into this folder, and print their names.
    #[arg(long, value_name = "DIR", conflicts_with = "format")]
    pub pictures: Option<PathBuf>,
    #[command(flatten)]
    pub print: PrintArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan demo                          an N+1 query, found
  hotspan demo --fault none             a clean bill
  hotspan demo --fault cpu,slow_external
  hotspan demo --database-url postgres://user@127.0.0.1:5432/shop")]
pub struct DemoArgs {
    /// Faults to switch on, separated by commas; `none` for a healthy shop, `list` to see them all.
    #[arg(long, value_name = "NAMES", default_value = "n_plus_one")]
    pub fault: String,
    /// PostgreSQL for the shop, instead of an embedded SQLite file.
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Only serve the shop, at this address, without load and report (spans go to OTEL_EXPORTER_OTLP_ENDPOINT).
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub serve: Option<SocketAddr>,
    /// Virtual users.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub users: u32,
    /// How long to put load on the shop.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "20s")]
    pub duration: Duration,
    /// Address of the OTLP/gRPC receiver [default: a free port].
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:0")]
    pub otlp_grpc: SocketAddr,
    #[command(flatten)]
    pub output: OutputArgs,
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
    /// Seed of everything random.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct DemoServiceArgs {
    /// Arguments of the service, as the demo passes them to itself.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub argv: Vec<String>,
}
#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }
}
