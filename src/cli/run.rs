//! `hotspan run`: load, collect, wait, analyse, report. Ties the rooms together with three bounded channels: exchanges from
//! the load threads and span batches from the receiver go to the recorder, which owns the run folder.

use super::analyze::Analyzed;
use super::args::{DemoArgs, ListenArgs, OutputArgs, ReceiveArgs, RunArgs, Source};
use super::exit::{Exit, say};
use super::host;
use super::live::{Interrupts, LoadWatch};
use super::own_telemetry::OwnTelemetry;
use super::progress::Progress;
use super::recorder::{Export, Recorded, Recorder, RecorderLive};
use crate::demo::{self, Demo};
use crate::load::{self, LiveCounters, LoadOptions};
use crate::record::{LoadFacts, Nanos, Run, RunState};
use crate::scenario::{self, OtlpProtocol, Rate, Scenario, Surroundings, UrlForm, UrlLoad};
use crate::traces::{
    Endpoint, ExportConfig, Exporter, ForwardConfig, ForwardEnd, Forwarder, Incoming, Receiver,
    ReceiverConfig, Signal, Transport, WaitPolicy, install_crypto_provider,
};
use crate::wire::folder::RunWriter;
use anyhow::{Context, bail};
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Batches of exchanges that may wait for the recorder: some seconds of the fastest load.
const EXCHANGE_BATCHES: usize = 1_024;
/// Messages of spans that may wait for the recorder; beyond that their senders wait.
pub const SPAN_MESSAGES: usize = 64;
/// How long the last client spans and forwarded spans may take to leave.
pub const LAST_EXPORTS: Duration = Duration::from_secs(10);

/// Runs the command.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    install_crypto_provider();
    let scenario = read_scenario(args)?;
    load::check_target(&scenario)?;
    let runtime = runtime()?;
    let own = runtime.block_on(async { OwnTelemetry::start() });
    let session = Session::open(&runtime, &args.receive, &args.output)?;
    let plan = Plan { scenario, seed: args.seed, threads: args.threads, strict: args.strict };
    let exit = session.execute(&runtime, plan);
    own.shut_down();
    exit
}

/// Runs the demo: opens the receiver, lets `start` bring up the shop against it, and loads the shop.
pub fn run_demo<F>(args: &DemoArgs, start: impl FnOnce(String) -> F) -> anyhow::Result<Exit>
where
    F: Future<Output = anyhow::Result<Demo>>,
{
    install_crypto_provider();
    let runtime = runtime()?;
    let receive = ReceiveArgs {
        traces_from: Source::Receiver,
        listen: ListenArgs {
            otlp_grpc: args.otlp_grpc,
            otlp_http: SocketAddr::from(([127, 0, 0, 1], 0)),
            forward: None,
            forward_queue: 0,
            otlp_tls_cert: None,
            otlp_tls_key: None,
            otlp_tls_client_ca: None,
            otlp_cors: Vec::new(),
        },
        wait: Duration::from_secs(30),
        quiet_period: Duration::from_secs(6),
    };
    let session = Session::open(&runtime, &receive, &args.output)?;
    let endpoint = session.grpc_endpoint().context("the receiver of the demo has no address")?;
    let shop = runtime.block_on(start(endpoint))?;
    let text = demo::scenario(&shop.shop_url, args.users, args.duration);
    let scenario = scenario::parse(&text, "demo.yaml").context("the demo's own scenario")?;
    let plan = Plan { scenario, seed: args.seed, threads: None, strict: false };
    let exit = session.execute(&runtime, plan);
    for complaint in runtime.block_on(shop.stop()) {
        say(&format!("demo shop: {complaint}"));
    }
    exit
}

pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        // On one core a second thread would only take turns with the first.
        .worker_threads((host::cores() as usize).clamp(1, 2))
        .thread_name("hotspan-telemetry")
        .enable_all()
        .build()
        .context("cannot start the runtime for telemetry")
}

/// The scenario that the arguments mean.
fn read_scenario(args: &RunArgs) -> anyhow::Result<Scenario> {
    let shape = &args.shape;
    if args.what.starts_with("http://") || args.what.starts_with("https://") {
        let mut form = UrlForm::new(args.what.as_str());
        form.duration = nanos(shape.duration.unwrap_or(Duration::from_secs(30)));
        form.load = match shape.rate {
            Some(rate) => UrlLoad::Rate(rate_per_second(rate)?),
            None => UrlLoad::Users(shape.users.unwrap_or(10)),
        };
        return Ok(scenario::from_url(&form)?);
    }
    if shape.users.is_some() || shape.rate.is_some() || shape.duration.is_some() {
        bail!("--users, --rate and --duration go with a URL; a scenario file says its load under `load:`");
    }
    let text = std::fs::read_to_string(&args.what).with_context(|| {
        format!(
            "cannot read the scenario {}; name a file, or a URL that begins with http:// or https://",
            args.what
        )
    })?;
    let surroundings = Surroundings {
        environment: Arc::new(std::env::vars_os().filter_map(text_pair).collect()),
        ..Surroundings::default()
    };
    Ok(scenario::parse_with(&text, &args.what, &surroundings)?)
}

fn text_pair((key, value): (std::ffi::OsString, std::ffi::OsString)) -> Option<(String, String)> {
    Some((key.into_string().ok()?, value.into_string().ok()?))
}

fn rate_per_second(rate: f64) -> anyhow::Result<Rate> {
    scenario::parse_rate(&format!("{rate}/s")).map_err(|why| anyhow::anyhow!("--rate {rate}: {why}"))
}

fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// What is to be run.
struct Plan {
    scenario: Scenario,
    seed: u64,
    threads: Option<usize>,
    strict: bool,
}

/// Telemetry in, opened before the load so that no span comes too early.
struct Session<'a> {
    receiver: Option<Receiver>,
    forwarder: Option<Forwarder>,
    spans: mpsc::Receiver<Incoming>,
    wait: WaitPolicy,
    output: &'a OutputArgs,
}

/// A run while it goes on.
struct Underway {
    run: Run,
    dir: PathBuf,
    interrupts: Interrupts,
    progress: Progress,
}

impl<'a> Session<'a> {
    fn open(runtime: &Runtime, args: &ReceiveArgs, output: &'a OutputArgs) -> anyhow::Result<Session<'a>> {
        let _entered = runtime.enter();
        let forwarder = start_forwarder(&args.listen, &output.out)?;
        let (sink, spans) = mpsc::channel(SPAN_MESSAGES);
        let receiver = match args.traces_from {
            Source::None => None,
            Source::Receiver => {
                Some(Receiver::start(receiver_config(&args.listen, forwarder.as_ref())?, sink)?)
            }
        };
        let wait = WaitPolicy {
            quiet: nanos(args.quiet_period),
            deadline: nanos(args.wait),
            ..WaitPolicy::default()
        };
        Ok(Session { receiver, forwarder, spans, wait, output })
    }

    fn grpc_endpoint(&self) -> Option<String> {
        Some(format!("http://{}", self.receiver.as_ref()?.grpc_address()?))
    }

    /// Load, record, wait, analyse, report.
    #[tracing::instrument(name = "hotspan run", skip_all, fields(hotspan.scenario = %plan.scenario.name))]
    fn execute(self, runtime: &Runtime, plan: Plan) -> anyhow::Result<Exit> {
        let Session { receiver, forwarder, spans, wait, output } = self;
        let scenario = Arc::new(plan.scenario);
        let config = export_config(&scenario)?;
        let run = describe(&scenario, &config);
        let (dir, writer, run) = create_folder(&output.out, run)?;
        let exporter = {
            let _entered = runtime.enter();
            let wanted = config.traces.is_some() || config.metrics.is_some();
            wanted.then(|| Exporter::start(&config)).transpose()?
        };
        let mut underway =
            Underway { interrupts: Interrupts::listen(runtime), progress: Progress::new(output), run, dir };
        underway.announce(receiver.as_ref(), output.quiet);

        let (sink, exchanges) = mpsc::channel(EXCHANGE_BATCHES);
        let (stopper, stop) = load::stop_channel();
        let counters = Arc::new(LiveCounters::default());
        let live = Arc::new(RecorderLive::default());
        let recorder = Recorder {
            writer,
            exchanges,
            spans,
            export: Export::new(&underway.run, &config, exporter.as_ref().map(Exporter::handle)),
            wait,
            expects_spans: receiver.is_some(),
            stopper: stopper.clone(),
            counters: counters.clone(),
            live: live.clone(),
        };
        let recorder = recorder.spawn().context("cannot start the recorder's thread")?;
        let mut options = LoadOptions::new(scenario.clone(), sink, stop);
        options.threads = plan.threads.unwrap_or_else(|| (host::cores() as usize).saturating_sub(1).max(1));
        options.seed = plan.seed;
        options.live = counters.clone();
        let watch = LoadWatch { scenario: &scenario, counters: &counters, live: &live, stopper: &stopper };
        let facts = underway.load(options, &watch)?;
        underway.run.load = facts;
        let recorded = underway.late_spans(recorder, &live)?;

        let receiver_facts = receiver.map(|receiver| {
            receiver.lost_after_ack(recorded.lost_after_ack);
            runtime.block_on(receiver.stop())
        });
        underway.run.receiver = receiver_facts.unwrap_or_default();
        if let Some(exporter) = exporter {
            underway.progress.tick("sending the last client spans …");
            underway.run.export = runtime.block_on(exporter.finish(LAST_EXPORTS));
        }
        if let Some(forwarder) = forwarder {
            underway.progress.tick("handing on the last spans …");
            let end = runtime.block_on(forwarder.finish(LAST_EXPORTS));
            let facts = &mut underway.run.receiver;
            (facts.forwarded, facts.forward_dropped) = (end.forwarded, end.dropped);
            facts.forward_waiting = end.waiting;
            underway.run.warnings.extend(forward_warning(&end));
        }
        underway.close(recorded, output, plan.strict)
    }
}

impl Underway {
    /// What a person wants to know before the load begins.
    fn announce(&mut self, receiver: Option<&Receiver>, quiet: bool) {
        if quiet {
            return;
        }
        say(&format!("Loading {} ({}).", self.run.target, self.run.name));
        let addresses = receiver.map(|r| (r.grpc_address(), r.http_address()));
        if let Some((Some(grpc), Some(http))) = addresses {
            say(&format!("Taking in spans on {grpc} (OTLP/gRPC) and {http} (OTLP/HTTP)."));
        }
    }

    /// Puts on the load and shows how it goes.
    #[tracing::instrument(name = "load", skip_all)]
    fn load(&mut self, options: LoadOptions, watch: &LoadWatch) -> anyhow::Result<LoadFacts> {
        let mut handle = load::start(options)?;
        self.run.started_at = handle.started_at();
        let aborted = watch.until_finished(&handle, &self.interrupts, &mut self.progress);
        let complaint = handle.tear_down();
        let facts = handle.join();
        self.run.ended_at = Some(host::now());
        self.run.state = match (&aborted, self.interrupts.count()) {
            (Some(_), _) => RunState::Aborted,
            (None, 0) => RunState::Complete,
            _ => RunState::Interrupted,
        };
        self.run.warnings.extend(aborted);
        self.run.warnings.extend(complaint);
        Ok(facts)
    }

    /// Waits until the recorder has all spans that will come.
    #[tracing::instrument(name = "wait for late spans", skip_all)]
    fn late_spans(
        &mut self,
        recorder: std::thread::JoinHandle<anyhow::Result<Recorded>>,
        live: &RecorderLive,
    ) -> anyhow::Result<Recorded> {
        self.progress.clear();
        let already = self.interrupts.count();
        while !recorder.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
            if self.interrupts.count() > already || self.run.state == RunState::Interrupted && already > 1 {
                live.hurry.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            let waiting = live.waiting_for.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            if !waiting.is_empty() {
                self.progress.tick(&format!("{waiting} … (Ctrl-C to go on without them)"));
            }
        }
        self.progress.clear();
        match recorder.join() {
            Ok(recorded) => recorded,
            Err(_) => bail!("the recorder's thread failed; what it wrote is in {}", self.dir.display()),
        }
    }

    /// Writes the end of the run, analyses the folder and reports.
    fn close(mut self, recorded: Recorded, output: &OutputArgs, strict: bool) -> anyhow::Result<Exit> {
        self.run.wait = recorded.wait;
        if let Some(problem) = recorded.problem {
            self.run.state = RunState::Aborted;
            self.run.warnings.push(format!("recording stopped, and the load with it: {problem}"));
        }
        let unwritten = recorded.writer.finish(&self.run).err();
        if let Some(error) = &unwritten {
            say(&format!("hotspan: {error}"));
        }
        self.progress.tick("analysing …");
        let analyzed = tracing::info_span!("analyse").in_scope(|| Analyzed::of_run(&self.dir, self.run));
        self.progress.clear();
        let analyzed = analyzed?;
        // A report that cannot be written is still printed: the measurement is not lost with the disk.
        if let Err(error) = analyzed.write_files() {
            say(&format!("hotspan: {error:#}"));
        }
        analyzed.print(&output.print)?;
        Ok(match analyzed.exit(strict) {
            Exit::Passed if unwritten.is_some() => Exit::CouldNotRun,
            exit => exit,
        })
    }
}

/// The folders that a forwarder may queue in, below the folder of runs: one for each process.
const FORWARD_QUEUES: usize = 16;

/// Starts forwarding, if it is wanted, with a queue on disk. What an earlier process could not hand on is handed on too.
pub fn start_forwarder(args: &ListenArgs, out: &Path) -> anyhow::Result<Option<Forwarder>> {
    let Some(url) = &args.forward else { return Ok(None) };
    let start = |n: usize| {
        let name = if n == 1 { "forward-queue".to_owned() } else { format!("forward-queue-{n}") };
        Forwarder::start(&ForwardConfig::with_queue(url, out.join(name), args.forward_queue))
    };
    for n in 1..FORWARD_QUEUES {
        match start(n) {
            Err(error) if error.queue_in_use() => {}
            started => return Ok(Some(started?)),
        }
    }
    Ok(Some(start(FORWARD_QUEUES)?))
}

/// The receiver as the arguments want it.
pub fn receiver_config(args: &ListenArgs, forwarder: Option<&Forwarder>) -> anyhow::Result<ReceiverConfig> {
    Ok(ReceiverConfig {
        grpc: Some(args.otlp_grpc),
        http: Some(args.otlp_http),
        forward: forwarder.map(Forwarder::handle),
        tls: args.tls()?,
        origins: args.otlp_cors.clone(),
        ..ReceiverConfig::default()
    })
}

/// What a person should know about spans that were not handed on.
pub fn forward_warning(end: &ForwardEnd) -> Option<String> {
    let why = end.last_error.as_deref().unwrap_or("the time for it was over");
    match (end.dropped, end.waiting) {
        (0, 0) => None,
        (0, waiting) => Some(format!(
            "--forward: {waiting} spans could not be handed on yet ({why}); they wait on disk, and the next `hotspan run` or \
             `hotspan collect` with --forward and the same --out sends them"
        )),
        _ => Some(format!("--forward: {why}")),
    }
}

/// Where client spans and metrics go: what the scenario says, else what the environment says.
fn export_config(scenario: &Scenario) -> anyhow::Result<ExportConfig> {
    let mut config = ExportConfig::from_env(|name| std::env::var(name).ok());
    for warning in &config.warnings {
        say(&format!("hotspan: {warning}"));
    }
    let Some(telemetry) = &scenario.telemetry else { return Ok(config) };
    if let Some(url) = &telemetry.endpoint {
        config.send_to(url).map_err(|why| anyhow::anyhow!("telemetry.endpoint of the scenario: {why}"))?;
    }
    let endpoints = [(Signal::Traces, &mut config.traces), (Signal::Metrics, &mut config.metrics)];
    for (signal, endpoint) in endpoints.into_iter().filter_map(|(s, e)| Some((s, e.as_mut()?))) {
        match telemetry.protocol {
            None => {}
            Some(OtlpProtocol::HttpJson) => {
                bail!("telemetry.protocol: http/json cannot be sent; use grpc or http/protobuf")
            }
            Some(OtlpProtocol::Grpc) => endpoint.transport = Transport::Grpc,
            Some(OtlpProtocol::HttpProtobuf) => endpoint.transport = Transport::HttpProtobuf,
        }
        if let (Some(url), Some(_)) = (&telemetry.endpoint, telemetry.protocol) {
            endpoint.url = url_for(url, endpoint, signal);
        }
        endpoint.headers.extend(telemetry.headers.iter().cloned());
    }
    Ok(config)
}

/// The URL as the named protocol needs it: bare for gRPC, with the signal's path for HTTP.
fn url_for(url: &str, endpoint: &Endpoint, signal: Signal) -> String {
    match endpoint.transport {
        Transport::Grpc => url.to_owned(),
        Transport::HttpProtobuf => format!("{}{}", url.trim_end_matches('/'), signal.path()),
    }
}

/// The run before it has begun.
fn describe(scenario: &Scenario, config: &ExportConfig) -> Run {
    let started_at = host::now();
    Run {
        id: format!("{}-{}", host::compact_utc(started_at), slug(&scenario.name)),
        name: scenario.name.clone(),
        started_at,
        ended_at: None,
        state: RunState::Running,
        target: scenario.target.clone(),
        hotspan_version: env!("CARGO_PKG_VERSION").to_owned(),
        git_commit: host::git_commit(Path::new(".")),
        host: host::host(),
        scenario: scenario.text().to_owned(),
        steps: scenario.steps(),
        load: LoadFacts {
            open_model: scenario.is_open(),
            planned: scenario.duration(),
            ..LoadFacts::default()
        },
        receiver: Default::default(),
        export: Default::default(),
        wait: None,
        warnings: config.warnings.clone(),
    }
}

/// A scenario's name as part of a folder's: lower-case letters, digits and dashes.
fn slug(name: &str) -> String {
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

    #[test]
    fn the_scenario_says_where_telemetry_goes() {
        let text = |protocol: &str| {
            format!(
                "target: http://127.0.0.1:1\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\n\
                 telemetry: {{endpoint: 'http://127.0.0.1:9999', protocol: {protocol}, headers: {{x-key: abc}}}}\n"
            )
        };
        let config = |protocol: &str| export_config(&scenario::parse(&text(protocol), "t.yaml").unwrap());
        let http = config("http/protobuf").unwrap().traces.unwrap();
        assert_eq!(http.url, "http://127.0.0.1:9999/v1/traces");
        assert!(http.headers.contains(&("x-key".into(), "abc".into())));
        let grpc = config("grpc").unwrap().metrics.unwrap();
        assert_eq!((grpc.url.as_str(), grpc.transport), ("http://127.0.0.1:9999", Transport::Grpc));
        assert!(config("http/json").unwrap_err().to_string().contains("http/protobuf"));
    }
}
