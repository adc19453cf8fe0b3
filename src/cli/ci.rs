//! `hotspan ci`: two versions of a service, measured in turn on one machine, and a verdict.
//!
//! Each run is a process of its own (`hotspan run`), so that a run leaves nothing behind for the next one. Pairs share the seed
//! of their load. Which side of a pair goes first is drawn by lot, in blocks of two pairs: base, head, head, base, or the other
//! way round, so that neither side gets the later, warmer or busier places.

mod service;

use super::args::CiArgs;
use super::compare::{difference, exit_of, of_folder, render, write_files};
use super::exit::{self, Exit, say};
use super::host;
use super::live::Interrupts;
use super::outputs::write_compared;
use super::run::runtime;
use crate::compare::{Comparison, Design, RunSummary, Settings, Status, compare};
use crate::report;
use crate::stats::Random;
use crate::traces::install_crypto_provider;
use anyhow::{Context, bail};
use service::{Probe, Service, Start, last_lines, own_group, signal};
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Pause between two looks at a process.
const LOOK: Duration = Duration::from_millis(50);
/// Between the receivers of the two sides where both run at once.
const DUET_PORTS: u16 = 10;

/// A side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Base,
    Head,
}

impl Side {
    const BOTH: [Side; 2] = [Side::Base, Side::Head];

    fn name(self) -> &'static str {
        match self {
            Side::Base => "base",
            Side::Head => "head",
        }
    }
}

/// Runs the command.
pub fn run(args: &CiArgs) -> anyhow::Result<Exit> {
    check(args)?;
    install_crypto_provider();
    let runtime = runtime()?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| PathBuf::from(format!("runs/{}-ci", host::compact_utc(host::now()))));
    for side in Side::BOTH {
        let dir = out.join(side.name());
        if dir.exists() {
            bail!("{} is there already: name another folder with --out", dir.display());
        }
        std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let interrupts = Interrupts::listen(&runtime);
    let mut bench = Bench {
        args,
        out,
        exe: std::env::current_exe().context("cannot find the running program")?,
        probe: Probe::new(&runtime)?,
        interrupts,
        lot: Random::new(args.seed),
        sides: [Vec::new(), Vec::new()],
    };
    match bench.verdict() {
        Ok(comparison) => {
            write_files(&bench.out, &comparison)?;
            exit::print(&render(&comparison, args.judge.format, args.judge.color))?;
            say(&format!("hotspan: runs, compare.json and compare.md are in {}", bench.out.display()));
            let gate = report::compare_gate(&comparison, args.judge.strict);
            let [base, head] = &bench.sides;
            write_compared(&args.judge.write, &gate, &|| difference(base, head))?;
            Ok(exit_of(&comparison, args.judge.strict))
        }
        Err(_) if bench.interrupted() => Ok(Exit::Interrupted),
        Err(error) => Err(error),
    }
}

fn check(args: &CiArgs) -> anyhow::Result<()> {
    let commands = args.base_command.is_some() && args.head_command.is_some();
    let urls = args.base_url.is_some() && args.head_url.is_some();
    if !commands && !urls {
        bail!(
            "say what the two sides are: --base-command and --head-command, or --base-url and --head-url, or all four"
        );
    }
    if commands && args.ready.is_none() && !urls {
        bail!("--ready URL is missing: when it answers, a started service takes load");
    }
    if args.duet && !urls {
        bail!("--duet needs --base-url and --head-url: both sides run at the same time");
    }
    if args.max_pairs < args.pairs {
        bail!("--max-pairs {} is less than --pairs {}", args.max_pairs, args.pairs);
    }
    Ok(())
}

/// Everything that runs need, and the runs so far.
struct Bench<'a> {
    args: &'a CiArgs,
    out: PathBuf,
    exe: PathBuf,
    probe: Probe<'a>,
    interrupts: Interrupts,
    lot: Random,
    sides: [Vec<RunSummary>; 2],
}

impl Bench<'_> {
    fn interrupted(&self) -> bool {
        self.interrupts.count() > 0
    }

    /// Pairs until something is known, and an alarm made twice.
    fn verdict(&mut self) -> anyhow::Result<Comparison> {
        self.pairs_until(self.args.pairs as usize)?;
        let mut first = self.compared(0);
        if first.status == Status::CannotTell && self.args.max_pairs > self.args.pairs {
            self.progress(&format!(
                "undecided after {} pairs, up to {}",
                self.args.pairs, self.args.max_pairs
            ));
            self.pairs_until(self.args.max_pairs as usize)?;
            first = self.compared(0);
        }
        if !first.needs_confirmation() || self.args.no_confirm {
            return Ok(first);
        }
        let before = self.sides[0].len();
        self.progress("something looks slower; measuring again to be sure");
        self.pairs_until(before + self.args.pairs as usize)?;
        let second = self.compared(before);
        if second.status == Status::Invalid {
            return Ok(second);
        }
        Ok(self.compared(0).confirmed(&first, &second))
    }

    /// The pairs from `from` on, compared.
    fn compared(&self, from: usize) -> Comparison {
        let usual = Settings::default();
        // More than the planned pairs are a second look at the same question, each at half of the level.
        let looks = if self.sides[0].len() - from > self.args.pairs as usize { 2.0 } else { 1.0 };
        let settings = Settings {
            min_effect: self.args.judge.min_effect,
            false_discovery: usual.false_discovery / looks,
            ..usual
        };
        let allowed: Vec<&str> = self.args.judge.allow.iter().map(String::as_str).collect();
        let [base, head] = &self.sides;
        compare(&base[from..], &head[from..], Design::Paired, settings, &allowed)
    }

    fn progress(&self, what: &str) {
        if !self.args.quiet {
            say(&format!("hotspan: {what}"));
        }
    }

    fn pairs_until(&mut self, goal: usize) -> anyhow::Result<()> {
        while self.sides[0].len() < goal {
            let first = self.sides[0].len();
            let order = block(&mut self.lot);
            for (i, sides) in order.into_iter().enumerate().take(goal - first) {
                self.pair(first + i, sides)?;
            }
        }
        Ok(())
    }

    fn pair(&mut self, number: usize, order: [Side; 2]) -> anyhow::Result<()> {
        if self.args.duet {
            self.progress(&format!("pair {}: base and head at once", number + 1));
            return self.duet(number);
        }
        for side in order {
            self.progress(&format!("pair {}: {}", number + 1, side.name()));
            let service = self.start(side, number)?;
            self.warm_up(side)?;
            let run = self.begin(side, number)?;
            self.finish(side, run)?;
            if let Some(service) = service {
                service.stop(self.ready(side), &self.probe)?;
            }
        }
        Ok(())
    }

    /// Both at once: what the machine does, it does to both.
    fn duet(&mut self, number: usize) -> anyhow::Result<()> {
        let mut services = Vec::new();
        for side in Side::BOTH {
            services.push((side, self.start(side, number)?));
        }
        for side in Side::BOTH {
            self.warm_up(side)?;
        }
        let runs = [self.begin(Side::Base, number)?, self.begin(Side::Head, number)?];
        for (side, run) in Side::BOTH.into_iter().zip(runs) {
            self.finish(side, run)?;
        }
        for (side, service) in services {
            if let Some(service) = service {
                service.stop(self.ready(side), &self.probe)?;
            }
        }
        Ok(())
    }

    fn command(&self, side: Side) -> Option<&str> {
        match side {
            Side::Base => self.args.base_command.as_deref(),
            Side::Head => self.args.head_command.as_deref(),
        }
    }

    fn url(&self, side: Side) -> Option<&str> {
        match side {
            Side::Base => self.args.base_url.as_deref(),
            Side::Head => self.args.head_url.as_deref(),
        }
    }

    /// What answers when a side is ready.
    fn ready(&self, side: Side) -> &str {
        match (&self.args.ready, self.url(side)) {
            (Some(ready), _) if !self.args.duet => ready,
            (_, Some(url)) => url,
            (ready, None) => ready.as_deref().unwrap_or_default(),
        }
    }

    /// The addresses of a side's receivers.
    fn receivers(&self, side: Side) -> [SocketAddr; 2] {
        [self.args.otlp_grpc, self.args.otlp_http].map(|mut address| {
            if self.args.duet && side == Side::Head {
                address.set_port(address.port().saturating_add(DUET_PORTS));
            }
            address
        })
    }

    fn start(&self, side: Side, number: usize) -> anyhow::Result<Option<Service>> {
        let Some(command) = self.command(side) else { return Ok(None) };
        let mut environment = vec![("HOTSPAN_SIDE", side.name().to_owned())];
        // A service that says nothing about where its spans go sends them here.
        if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_none() || self.args.duet {
            environment.push(("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.receivers(side)[0])));
        }
        let start = Start {
            command,
            environment,
            log: self.out.join(format!("{}-{}.log", side.name(), number + 1)),
            ready: self.ready(side),
            patience: self.args.ready_timeout,
        };
        Service::start(&start, &self.probe, &|| self.interrupted()).map(Some)
    }

    /// Load whose results are thrown away: caches fill, code is compiled, connections open.
    fn warm_up(&self, side: Side) -> anyhow::Result<()> {
        if self.args.warm_up.is_zero() {
            return Ok(());
        }
        let dir = self.out.join("warm-up");
        let mut child = self.load(side, 0, &dir, "warm-up")?;
        let began = Instant::now();
        while began.elapsed() < self.args.warm_up && child.try_wait()?.is_none() {
            if self.interrupted() {
                end(&mut child);
                bail!("interrupted");
            }
            std::thread::sleep(LOOK);
        }
        end(&mut child);
        let _ = std::fs::remove_dir_all(&dir);
        Ok(())
    }

    /// Begins a run.
    fn begin(&self, side: Side, number: usize) -> anyhow::Result<Child> {
        let seed = self.args.seed.wrapping_add(number as u64);
        self.load(side, seed, &self.out.join(side.name()), side.name())
    }

    fn load(&self, side: Side, seed: u64, out: &Path, log: &str) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.exe);
        command
            .arg("run")
            .arg(&self.args.what)
            .arg("--out")
            .arg(out)
            .args(["--no-ui", "--quiet", "--format", "json"]);
        command.arg("--seed").arg(seed.to_string());
        let [grpc, http] = self.receivers(side);
        command.args(["--otlp-grpc", &grpc.to_string(), "--otlp-http", &http.to_string()]);
        if let Some(url) = self.url(side) {
            command.args(["--target", url]);
        }
        let shape = &self.args.shape;
        let numbers =
            [("--users", shape.users.map(|n| n.to_string())), ("--rate", shape.rate.map(|n| n.to_string()))];
        for (name, value) in numbers {
            if let Some(value) = value {
                command.arg(name).arg(value);
            }
        }
        if let Some(duration) = shape.duration {
            command.arg("--duration").arg(format!("{}ms", duration.as_millis()));
        }
        command.args(&self.args.run_args);
        let log = File::create(self.log_of(log))?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        own_group(&mut command);
        command.spawn().context("cannot start `hotspan run`")
    }

    fn log_of(&self, what: &str) -> PathBuf {
        self.out.join(format!("run-{what}.log"))
    }

    /// Waits for a run, and takes in its report.
    fn finish(&mut self, side: Side, mut run: Child) -> anyhow::Result<()> {
        let status = loop {
            if let Some(status) = run.try_wait()? {
                break status;
            }
            if self.interrupted() {
                end(&mut run);
                bail!("interrupted");
            }
            std::thread::sleep(LOOK);
        };
        // Thresholds that failed and results that carry no verdict of their own are results; the comparison judges them.
        if !matches!(status.code(), Some(0 | 3 | 99)) {
            bail!("the run of {} failed ({status}):\n{}", side.name(), last_lines(&self.log_of(side.name())));
        }
        let dir = self.out.join(side.name());
        let newest = super::analyze::find_run(&dir)?;
        let summary = of_folder(&newest)?;
        if self.sides.iter().flatten().any(|known| known.id == summary.id && known.source == summary.source) {
            bail!("the run of {} left no run folder in {}", side.name(), dir.display());
        }
        self.sides[side as usize].push(summary);
        Ok(())
    }
}

/// Asks a run to end, and waits.
fn end(child: &mut Child) {
    signal(child, false);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(LOOK);
    }
    signal(child, true);
    let _ = child.wait();
}

/// Two pairs: the one that goes first in the one goes second in the other.
fn block(lot: &mut Random) -> [[Side; 2]; 2] {
    let (there, back) = ([Side::Base, Side::Head], [Side::Head, Side::Base]);
    if lot.uniform() < 0.5 { [there, back] } else { [back, there] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_side_has_the_better_places() {
        let mut lot = Random::new(3);
        let blocks: Vec<_> = (0..40).map(|_| block(&mut lot)).collect();
        for [one, other] in &blocks {
            assert_eq!((one[0], one[1]), (other[1], other[0]));
        }
        let base_first = blocks.iter().filter(|b| b[0][0] == Side::Base).count();
        assert!((10..=30).contains(&base_first), "{base_first} of 40 blocks begin with base");
    }
}
