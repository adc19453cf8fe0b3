//! `hotspan run`: load, collect, wait, analyse, report. Ties the rooms together with three bounded channels: exchanges from
//! the load threads and span batches from the receiver go to the recorder, which owns the run folder.

mod export;
mod folder;
mod meant;
mod spans_in;

pub use self::folder::{create_folder, slug};
pub use self::meant::environment;
pub use self::spans_in::{forward_warning, receiver_config, start_forwarder};

use self::export::export_config;
use self::folder::describe;
use self::meant::read_scenario;
use super::analyst::Analyst;
use super::analyze::{Analyzed, Means, check_findings};
use super::args::{DemoArgs, ListenArgs, OutputArgs, ReceiveArgs, RunArgs, Source, TelemetryArgs};
use super::control::{self, Commands, Looks};
use super::database;
use super::events;
use super::exit::{Exit, say};
use super::fetch::Fetcher;
use super::gates::Gates;
use super::guard;
use super::host;
use super::live::{Interrupts, LoadWatch};
use super::own_telemetry::OwnTelemetry;
use super::progress::Progress;
use super::propagation;
use super::recorder::{Export, Recorded, Recorder, RecorderLive};
use super::screen::{self, Watched};
use super::search::{Searcher, Searching, Tally};
use super::watch::Watch;
use crate::demo::{self, Demo};
use crate::load::{self, LiveCounters, LoadOptions, ONE, Schedule};
use crate::record::{LoadFacts, Nanos, Propagation, Run, RunState};
use crate::scenario::{self, Sampling, Scenario, SearchPlan};
use crate::traces::{
    ExportConfig, Exporter, Forwarder, Incoming, Receiver, WaitPolicy, install_crypto_provider,
};
use crate::ui::{Follower, Look, Update, Wish};
use crate::wire::folder::GeneratorWriter;
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

/// With `--trace-cost`: stretches of a run, by turns with tracing and without, and their shortest length.
const TRACE_STRETCHES: u64 = 16;
const SHORTEST_STRETCH: Nanos = Nanos::from_millis(500);

/// Runs the command.
pub fn run(args: &RunArgs) -> anyhow::Result<Exit> {
    install_crypto_provider();
    let mut scenario = read_scenario(args)?;
    let warnings = propagation::settle(&mut scenario, args.propagate)?;
    if args.find_capacity && scenario.load.search.is_none() {
        let high_per_s = args.shape.rate.unwrap_or(SearchPlan::default().high_per_s);
        let low_per_s = SearchPlan::default().low_per_s.min(high_per_s / 10.0);
        scenario.searching(SearchPlan { low_per_s, high_per_s, ..SearchPlan::default() });
    }
    let most_factor = guard::check(&scenario, &args.i_own, args.max_rate)?;
    load::check_target(&scenario)?;
    let means = Means::of(&args.findings)?;
    // A fault in it must not come out after the load.
    means.budget(&scenario.steps())?;
    check_findings(&scenario, &args.what)?;
    let runtime = runtime()?;
    let own = runtime.block_on(async { OwnTelemetry::start() });
    let session = Session::open(&runtime, &args.receive, &args.output)?;
    let telemetry = args.telemetry.clone();
    let mut sampling = args.trace_sample.unwrap_or(scenario.sampling);
    if args.trace_cost {
        let stretch = Nanos(scenario.duration().0 / TRACE_STRETCHES);
        if stretch < SHORTEST_STRETCH {
            bail!(
                "--trace-cost needs a run of {} s or more",
                TRACE_STRETCHES * SHORTEST_STRETCH.0 / 1_000_000_000
            );
        }
        sampling = Sampling::InTurn { stretch };
    }
    let plan = Plan {
        scenario,
        sampling,
        control: args.control,
        most_factor,
        seed: args.seed,
        threads: args.threads,
        strict: args.strict,
        telemetry,
        means,
        warnings,
    };
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
        traces_header: Vec::new(),
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
    let telemetry = args.telemetry.clone();
    // The demo's own database has nobody else's data: asking it needs no leave.
    let database = shop.database_url().map(|url| database::Source::parse(&url)).transpose()?;
    let means = Means { database, ..Means::default() };
    let sampling = scenario.sampling;
    let plan = Plan {
        scenario,
        sampling,
        control: None,
        most_factor: f64::INFINITY,
        seed: args.seed,
        threads: None,
        strict: false,
        telemetry,
        means,
        warnings: Vec::new(),
    };
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

fn nanos(duration: Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// What is to be run.
struct Plan {
    scenario: Scenario,
    /// Which traces services are asked to record.
    sampling: Sampling,
    /// Where the load can be changed while it runs.
    control: Option<SocketAddr>,
    /// What the load may be multiplied by while it runs.
    most_factor: f64,
    seed: u64,
    threads: Option<usize>,
    strict: bool,
    telemetry: TelemetryArgs,
    means: Means,
    /// What the report shall say of how it was asked for.
    warnings: Vec<String>,
}

/// Telemetry in, opened before the load so that no span comes too early.
struct Session<'a> {
    receiver: Option<Receiver>,
    fetcher: Option<Fetcher>,
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
        let fetcher = Fetcher::new(&args.traces_from, &args.traces_header, args.quiet_period, args.wait)?;
        let receiver = match args.traces_from {
            Source::None | Source::Fetch(_) => None,
            Source::Receiver => {
                Some(Receiver::start(receiver_config(&args.listen, forwarder.as_ref())?, sink)?)
            }
        };
        let wait = WaitPolicy {
            quiet: nanos(args.quiet_period),
            deadline: nanos(args.wait),
            ..WaitPolicy::default()
        };
        Ok(Session { receiver, fetcher, forwarder, spans, wait, output })
    }

    fn grpc_endpoint(&self) -> Option<String> {
        Some(format!("http://{}", self.receiver.as_ref()?.grpc_address()?))
    }

    /// Load, record, wait, analyse, report.
    #[tracing::instrument(name = "hotspan run", skip_all, fields(hotspan.scenario = %plan.scenario.name))]
    fn execute(self, runtime: &Runtime, plan: Plan) -> anyhow::Result<Exit> {
        let Session { receiver, fetcher, forwarder, spans, wait, output } = self;
        let mut scenario = plan.scenario;
        let config = export_config(&scenario)?;
        let commit = std::thread::spawn(|| host::git_commit(Path::new(".")));
        let mut run = describe(&scenario, &config);
        run.sources.trace_link = output.print.trace_link.clone();
        run.warnings.extend(plan.warnings);
        let (dir, writer, run) = create_folder(&output.out, run)?;
        if plan.telemetry.baggage || scenario.telemetry.as_ref().is_some_and(|telemetry| telemetry.baggage) {
            scenario.mark_requests(&format!("hotspan.run.id={},user_agent.synthetic.type=test", run.id));
        }
        let scenario = Arc::new(scenario);
        let exporter = {
            let _entered = runtime.enter();
            config.sends().then(|| Exporter::start(&config)).transpose()?
        };
        let scrape = {
            let _entered = runtime.enter();
            events::serve_metrics(plan.telemetry.metrics_listen)?
        };
        let mut underway =
            Underway { interrupts: Interrupts::listen(runtime), progress: Progress::new(output), run, dir };
        underway.announce(receiver.as_ref(), output.quiet);
        let screened = underway.progress.can_have_screen();
        let watched = screened || plan.control.is_some();
        let analyst = receiver.as_ref().map(|_| Analyst::start(&underway.run, watched)).transpose();
        let analyst = analyst.context("cannot start the analyst's thread")?;

        let (sink, exchanges) = mpsc::channel(EXCHANGE_BATCHES);
        let (stopper, stop) = load::stop_channel();
        let counters = Arc::new(LiveCounters::default());
        let live = Arc::new(RecorderLive::default());
        let tally = Arc::new(Tally::default());
        let recorder = Recorder {
            writer,
            exchanges,
            spans,
            export: Export::new(
                &underway.run,
                &config,
                exporter.as_ref().map(Exporter::handle),
                scrape.as_ref().map(|(_, text)| text.clone()),
            ),
            wait,
            expects_spans: receiver.is_some(),
            stopper: stopper.clone(),
            counters: counters.clone(),
            live: live.clone(),
            analyst,
            tally: scenario.load.search.is_some().then(|| tally.clone()),
            gates: Gates::new(&scenario.thresholds, scenario.steps()),
            watched: watched.then(Watched::default),
        };
        let recorder = recorder.spawn().context("cannot start the recorder's thread")?;
        let mut options = LoadOptions::new(scenario.clone(), sink, stop);
        options.threads = plan.threads.unwrap_or_else(|| (host::cores() as usize).saturating_sub(1).max(1));
        options.seed = plan.seed;
        options.sampling = plan.sampling;
        options.live = counters.clone();
        let factor = scenario.load.search.as_ref().map_or(ONE, Searcher::first_factor);
        let (controller, followed) = load::control_channel(factor);
        let schedule = Arc::new(Schedule::of(&scenario, plan.seed));
        let by_hand = plan.control.is_some() || screened && scenario.load.search.is_none();
        let commands = by_hand.then(|| Commands::new(schedule.clone(), controller.clone(), plan.most_factor));
        if let (Some(address), Some(commands)) = (plan.control, &commands) {
            let setup = screen::setup(&scenario, &underway.run.target, receiver.is_some(), true);
            let follower = Follower::start(setup).context("cannot start the follower's thread")?;
            underway.progress.follow(follower.clone());
            let looks = Looks { counters: counters.clone(), run: underway.run.id.clone(), follower };
            let endpoint = control::open(runtime, address, commands, looks)?;
            say(&format!(
                "The load can be changed at http://{}/load with Authorization: Bearer {}",
                endpoint.address, endpoint.token
            ));
        }
        if commands.is_some() || scenario.load.search.is_some() {
            options.control = Some(followed);
        }
        let watch = LoadWatch {
            scenario: &scenario,
            counters: &counters,
            live: &live,
            stopper: &stopper,
            controller: &controller,
            commands: commands.as_ref(),
            schedule: &schedule,
            receiver: receiver.as_ref(),
            tally: &tally,
        };
        if let Some(exporter) = &exporter {
            exporter.handle().offer_events(events::started(&underway.run, &config));
        }
        let mut means = plan.means;
        let activity = means.database.as_ref().map(database::Source::activity).transpose()?.flatten();
        let look = screen::look(output.print.color);
        let facts = underway.load(options, &watch, look)?;
        underway.run.git_commit = commit.join().unwrap_or_default();
        means.locks = activity.map(database::Activity::finish).unwrap_or_default();
        underway.run.load = facts;
        let mut recorded = underway.late_spans(recorder, &live, receiver.as_ref())?;

        if let Some(receiver) = receiver {
            receiver.lost_after_ack(recorded.lost_after_ack);
            underway.run.receiver = runtime.block_on(receiver.stop());
        }
        underway.send_the_last(runtime, (exporter, &config, &counters), forwarder);
        let word = live.word.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        underway.run.warnings.extend(word.unwrap_or_default());
        if let Some(fetcher) = fetcher.filter(|_| recorded.problem.is_none()) {
            let Underway { run, progress, interrupts, .. } = &mut underway;
            let already = interrupts.count();
            fetcher
                .fetch_into(runtime, &mut recorded.writer, run, progress, &|| interrupts.count() > already)?;
        }
        underway.close(recorded, output, plan.strict, &means)
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
        let propagation = self.run.load.propagation;
        if propagation != Propagation::default() {
            say(&format!("Sending trace context in the {}.", propagation.headers()));
        }
    }

    /// Puts on the load and shows how it goes.
    #[tracing::instrument(name = "load", skip_all)]
    fn load(&mut self, options: LoadOptions, watch: &LoadWatch, look: Look) -> anyhow::Result<LoadFacts> {
        // Without its file the looks are still in the report; without its thread there are none.
        let mut file = GeneratorWriter::create(&self.dir).ok();
        let counters = Arc::clone(&options.live);
        let mut handle = load::start(options)?;
        let setup = screen::setup(
            watch.scenario,
            &self.run.target,
            watch.receiver.is_some(),
            watch.commands.is_some(),
        );
        self.progress.open_screen(setup, look);
        let feed = self.progress.feed();
        if let Some(feed) = &feed {
            let _ = watch.live.screen.set(feed.clone());
        }
        let own = Watch::start(counters, watch.service_cpu(), move |look| {
            if let Some(feed) = &feed {
                let _ = feed.tell(Update::Generator(look.clone()));
            }
            // A disk that is full ends the file, not the load.
            if file.as_mut().is_some_and(|f| f.append(look).is_err()) {
                file = None;
            }
        });
        self.run.started_at = handle.started_at();
        let searcher = watch.search(&handle)?;
        let aborted = watch.until_finished(&handle, &self.interrupts, &mut self.progress);
        let lasted = handle.clock().now().since(handle.started_at());
        self.progress.tell(Update::Status("the last exchanges are written …".into()));
        let complaint = handle.tear_down();
        let mut facts = handle.join();
        facts.generator = own.map(Watch::stop).unwrap_or_default();
        facts.search = searcher.and_then(Searching::join);
        facts.changes = watch.commands.map(Commands::changes).unwrap_or_default();
        if facts.search.is_some() || !facts.changes.is_empty() {
            // What was planned is not what was run: the time that it really took counts.
            facts.planned = lasted;
        }
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

    /// Sends what is left for others: client spans, the word that the run has ended, spans to hand on.
    fn send_the_last(
        &mut self,
        runtime: &Runtime,
        (exporter, config, counters): (Option<Exporter>, &ExportConfig, &LiveCounters),
        forwarder: Option<Forwarder>,
    ) {
        if let Some(exporter) = exporter {
            self.progress.tick("sending the last client spans …");
            exporter.handle().offer_events(events::ended(&self.run, config, counters));
            self.run.export = runtime.block_on(exporter.finish(LAST_EXPORTS));
        }
        if let Some(forwarder) = forwarder {
            self.progress.tick("handing on the last spans …");
            let end = runtime.block_on(forwarder.finish(LAST_EXPORTS));
            let facts = &mut self.run.receiver;
            (facts.forwarded, facts.forward_dropped) = (end.forwarded, end.dropped);
            facts.forward_waiting = end.waiting;
            self.run.warnings.extend(forward_warning(&end));
        }
    }

    /// Waits until the recorder has all spans that will come.
    #[tracing::instrument(name = "wait for late spans", skip_all)]
    fn late_spans(
        &mut self,
        recorder: std::thread::JoinHandle<anyhow::Result<Recorded>>,
        live: &RecorderLive,
        receiver: Option<&Receiver>,
    ) -> anyhow::Result<Recorded> {
        self.progress.clear();
        let already = self.interrupts.count();
        while !recorder.is_finished() {
            std::thread::sleep(Duration::from_millis(20));
            while let Some(wish) = self.progress.wish() {
                if wish == Wish::Interrupt {
                    self.interrupts.add();
                }
            }
            self.progress.tell(Update::Spans(screen::spans(live, receiver)));
            if self.interrupts.count() > already || self.run.state == RunState::Interrupted && already > 1 {
                live.hurry.store(true, std::sync::atomic::Ordering::Relaxed);
            }
            let waiting = live.waiting_for.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            if !waiting.is_empty() {
                self.progress.tick(&format!("{waiting} … (Ctrl-C to go on without them)"));
            }
        }
        // From here on there is text for the terminal again.
        self.progress.close_screen();
        self.progress.clear();
        match recorder.join() {
            Ok(recorded) => recorded,
            Err(_) => bail!("the recorder's thread failed; what it wrote is in {}", self.dir.display()),
        }
    }

    /// Writes the end of the run, analyses the folder and reports.
    fn close(
        mut self,
        recorded: Recorded,
        output: &OutputArgs,
        strict: bool,
        means: &Means,
    ) -> anyhow::Result<Exit> {
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
        let analyzed =
            tracing::info_span!("analyse").in_scope(|| Analyzed::of_run(&self.dir, self.run, means));
        self.progress.clear();
        let mut analyzed = analyzed?;
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
