//! Runs that are started from a page: each is a process of this program's own, `hotspan run`, told its scenario by standard
//! input and watched and changed over `--control`. A load that goes wrong does not take the pages with it, and the pages do
//! not take time from the load's threads. One run at a time: two loads on one machine measure each other.

use super::super::analyze::check_findings;
use super::super::beside::Beside;
use super::super::exit::say;
use super::super::guard;
use super::super::live::Interrupts;
use super::super::screen;
use super::saving::{self, Unsaved};
use super::{StartArgs, TOKEN_VARIABLE};
use crate::load;
use crate::record::Nanos;
use crate::scenario::{Scenario, ScenarioError};
use crate::ui::web::{Change, Runner, ScenarioFile, is_name};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Scenarios to pick from.
const SCENARIOS_MAX: usize = 500;
/// Longest scenario.
const TEXT_MAX: u64 = 400 << 10;
/// What a run said last: lines, and characters of each.
const SAID_MAX: usize = 60;
const LINE_MAX: usize = 600;
/// Longest wait for a run's answer, and its longest answer.
const PATIENCE: Duration = Duration::from_secs(6);
const ANSWER_MAX: u64 = 8 << 20;
/// So long what a run said is not asked for again: several may look.
const FRESH: Duration = Duration::from_millis(400);
/// How `hotspan run` says where it can be changed.
const CONTROL_LINE: &str = "The load can be changed at http://";

/// The runs that were started.
pub struct Runs {
    scenarios: PathBuf,
    runs: PathBuf,
    args: StartArgs,
    last: Mutex<Option<Arc<Started>>>,
    /// Held while a scenario is saved.
    saving: Mutex<()>,
}

/// One of them.
struct Started {
    number: u64,
    /// Name of its scenario's file.
    scenario: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    said: Vec<String>,
    /// Address and token of its control, once it has said so.
    control: Option<(SocketAddr, String)>,
    /// Name of its folder.
    run: Option<String>,
    /// What it knew last, and when it was asked.
    look: Option<(Instant, Value)>,
    /// Its process; gone when it ended.
    child: Option<Child>,
    /// How it ended.
    exit: Option<Option<i32>>,
}

impl Started {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self) -> bool {
        self.state().exit.is_some()
    }

    /// Reads what it says until its end.
    fn listen(&self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut line = Vec::new();
        while reader.by_ref().take(1 << 16).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text: String = String::from_utf8_lossy(&line).trim_end().chars().take(LINE_MAX).collect();
            line.clear();
            match control_of(&text) {
                Some(control) => {
                    self.state().control = Some(control);
                    // Its folder is known from now on, also where nobody looks.
                    self.look();
                }
                None if !text.is_empty() => self.say(text),
                None => {}
            }
        }
        let child = self.state().child.take();
        // It closed its standard error: it is at its end.
        let exit = child.and_then(|mut child| child.wait().ok()).and_then(|status| status.code());
        self.state().exit = Some(exit);
    }

    fn say(&self, text: String) {
        let mut state = self.state();
        state.said.push(text);
        if state.said.len() > SAID_MAX {
            state.said.remove(0);
        }
    }

    /// What it knows, as fresh as there is need.
    fn look(&self) -> Option<Value> {
        let control = {
            let state = self.state();
            if let Some((at, look)) = &state.look
                && (at.elapsed() < FRESH || state.exit.is_some())
            {
                return Some(look.clone());
            }
            state.control.clone()?
        };
        let answer = ask(&control, "GET", "/live", None);
        let mut state = self.state();
        match answer {
            Ok(mut answer) => {
                let run = answer["run"].as_str().filter(|id| is_name(id)).map(str::to_owned);
                state.run = run.or_else(|| state.run.take());
                let look = answer["look"].take();
                state.look = Some((Instant::now(), look.clone()));
                Some(look)
            }
            // It may have ended just now: what was last known stays.
            Err(_) => state.look.as_ref().map(|(_, look)| look.clone()),
        }
    }
}

/// Address and token, from the line that says them.
fn control_of(line: &str) -> Option<(SocketAddr, String)> {
    let (address, rest) = line.strip_prefix(CONTROL_LINE)?.split_once("/load ")?;
    let token = rest.rsplit_once("Bearer ")?.1;
    Some((address.parse().ok()?, token.to_owned()))
}

/// Asks a run's control. Plain HTTP to this machine, one request, one answer.
fn ask(
    (address, token): &(SocketAddr, String),
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("the run does not answer: {error}");
    let mut stream = TcpStream::connect_timeout(address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer).map_err(failed)?;
    let broken = || "the run's answer cannot be read".to_owned();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").ok_or_else(broken)?;
    let value: Value = serde_json::from_slice(&answer[end + 4..]).map_err(|_| broken())?;
    match answer.get(9..12) {
        Some(b"200") => Ok(value),
        _ => Err(value["error"].as_str().unwrap_or("the run refused it").to_owned()),
    }
}

impl Runs {
    /// With scenarios of a folder, into a folder of runs.
    ///
    /// # Errors
    /// When there is no such folder.
    pub fn open(scenarios: &Path, runs: &Path, args: &StartArgs) -> anyhow::Result<Runs> {
        let scenarios = fs::canonicalize(scenarios)
            .with_context(|| format!("--scenarios: there is no folder {}", scenarios.display()))?;
        if !scenarios.is_dir() {
            bail!("--scenarios: {} is no folder", scenarios.display());
        }
        let args = args.clone();
        // A fault in it must not come out when a run is started.
        super::super::args::parse_source(&args.traces_from)
            .map_err(|why| anyhow::anyhow!("--traces-from {}: {why}", args.traces_from))?;
        Ok(Runs { scenarios, runs: runs.to_owned(), args, last: Mutex::default(), saving: Mutex::default() })
    }

    /// The end of the pages: a run that goes on is stopped and makes its report; a second interrupt ends it at once.
    pub fn end(&self, interrupts: &Interrupts) {
        let Some(started) = self.last().filter(|started| !started.is_over()) else { return };
        say(
            "Stopping the run that was started from the page; its report is made. Ctrl-C again ends it at once.",
        );
        let _ = self.change(Change::Stop);
        while !started.is_over() && interrupts.count() < 2 {
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some(child) = &mut started.state().child {
            // It may have ended just now.
            let _ = child.kill();
        }
    }

    fn last(&self) -> Option<Arc<Started>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The path of a scenario: directly in the folder, and no link to elsewhere.
    fn path(&self, name: &str) -> Option<PathBuf> {
        if !is_scenario(name) {
            return None;
        }
        let path = self.scenarios.join(name);
        fs::symlink_metadata(&path).is_ok_and(|data| data.is_file() && data.len() <= TEXT_MAX).then_some(path)
    }

    /// Reads a text as the scenario of that name.
    fn understand(&self, name: &str, text: &str) -> Result<(Scenario, PathBuf), Value> {
        if !is_scenario(name) {
            return Err(problem("a scenario's name is letters, digits, dots and dashes, and ends in .yaml"));
        }
        if text.len() as u64 > TEXT_MAX {
            return Err(problem("the scenario is too long for the page; start it with `hotspan run`"));
        }
        let file = self.scenarios.join(name);
        let beside = Beside::of(&file).map_err(|error| problem(&format!("{error:#}")))?;
        let scenario = beside.parse(text).map_err(|error| place(&error))?;
        check_findings(&scenario, name).map_err(|error| match error.downcast_ref::<ScenarioError>() {
            Some(error) => place(error),
            None => problem(&format!("{error:#}")),
        })?;
        Ok((scenario, file))
    }

    /// The same for one that may be started here.
    fn read(&self, name: &str, text: &str) -> Result<(Scenario, PathBuf), Value> {
        // What is a scenario all the same can be saved.
        let only_here = |message: &str| {
            let mut error = problem(message);
            error["error"]["can_be_saved"] = json!(true);
            error
        };
        let (scenario, file) = self.understand(name, text)?;
        guard::check(&scenario, &self.args.i_own, self.args.max_rate)
            .map_err(|error| only_here(&for_page(&format!("{error:#}"))))?;
        if scenario.load.search.is_some() {
            return Err(only_here(
                "a search for capacity cannot be watched here; start it with `hotspan run --find-capacity`",
            ));
        }
        Ok((scenario, file))
    }

    fn spawn(&self, file: &Path, text: &str) -> anyhow::Result<Child> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .arg("run")
            .arg("-")
            .arg("--scenario-as")
            .arg(file)
            .arg("--out")
            .arg(&self.runs)
            .args(["--no-ui", "--control", "127.0.0.1:0"])
            .args(["--traces-from", &self.args.traces_from])
            .args(["--otlp-grpc", &self.args.otlp_grpc.to_string()])
            .args(["--otlp-http", &self.args.otlp_http.to_string()])
            .args(self.args.i_own.iter().flat_map(|host| ["--i-own", host]));
        if let Some(rate) = self.args.max_rate {
            command.args(["--max-rate", &rate.to_string()]);
        }
        // Ctrl-C at the terminal is for the pages: they stop the run.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .env_remove(TOKEN_VARIABLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start `hotspan run`")?;
        // All of it is read before anything is written back.
        let told = child.stdin.take().context("no way to the run")?.write_all(text.as_bytes());
        if let Err(error) = told {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error).context("cannot tell the run its scenario");
        }
        Ok(child)
    }
}

/// Whether a text can be the name of a scenario's file.
fn is_scenario(name: &str) -> bool {
    is_name(name) && [".yaml", ".yml"].iter().any(|end| name.len() > end.len() && name.ends_with(end))
}

/// The guard's advice names arguments of `hotspan run`; here they are those of the server.
fn for_page(message: &str) -> String {
    message.replace("say so with --i-own", "say so when the pages are started, with hotspan serve --i-own")
}

fn problem(message: &str) -> Value {
    json!({"error": {"message": message}})
}

fn place(error: &ScenarioError) -> Value {
    json!({"error": {
        "file": error.file, "line": error.place.line, "column": error.place.column,
        "message": error.message, "excerpt": error.excerpt,
    }})
}

impl Runner for Runs {
    fn scenarios(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.scenarios).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| self.path(name).is_some()).collect();
        names.sort();
        names.truncate(SCENARIOS_MAX);
        names
    }

    fn scenario(&self, name: &str) -> Result<ScenarioFile, String> {
        let path = self.path(name).ok_or("There is no such scenario in the folder.")?;
        let text = fs::read_to_string(path)
            .map_err(|error| format!("The scenario {name} cannot be read: {error}."))?;
        Ok(ScenarioFile { version: saving::version(text.as_bytes()), text })
    }

    fn save(&self, name: &str, text: &str, version: &str) -> Result<String, Value> {
        let (_, file) = self.understand(name, text)?;
        let one = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = saving::save(&file, text, version);
        drop(one);
        match saved {
            Ok(()) => Ok(saving::version(text.as_bytes())),
            Err(Unsaved::Changed) if version.is_empty() => {
                Err(problem(&format!("there is a file {name} already; open that one, or take another name")))
            }
            Err(Unsaved::Changed) => Err(problem(&format!(
                "{name} was changed or removed since this page read it, and is left as it is; save under another name, or open it again"
            ))),
            Err(Unsaved::Failed(error)) => Err(problem(&format!("{name} cannot be written: {error}"))),
        }
    }

    fn check(&self, name: &str, text: &str) -> Value {
        let (scenario, _) = match self.read(name, text) {
            Ok(read) => read,
            Err(why) => return why,
        };
        let setup = screen::setup(&scenario, "", false, true);
        let load: Vec<String> = setup.stages.into_iter().map(|stage| stage.words).collect();
        json!({"ok": {
            "name": scenario.name,
            "target": scenario.target,
            "load": load.join(", then "),
            "steps": setup.steps.len(),
            "duration": words(scenario.duration()),
            "thresholds": scenario.thresholds.len(),
        }})
    }

    fn start(&self, name: &str, text: &str) -> Result<(), Value> {
        let (scenario, file) = self.read(name, text)?;
        let busy = || problem("a run is under way; stop it, or wait for its end");
        if self.last().is_some_and(|started| !started.is_over()) {
            return Err(busy());
        }
        load::check_target(&scenario).map_err(|error| problem(&error.to_string()))?;
        // Held until the run is there: two who press at once start one.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_some_and(|started| !started.is_over()) {
            return Err(busy());
        }
        let mut child = self.spawn(&file, text).map_err(|error| problem(&format!("{error:#}")))?;
        let stderr = child.stderr.take();
        let started = Arc::new(Started {
            number: last.as_ref().map_or(1, |started| started.number + 1),
            scenario: name.to_owned(),
            state: Mutex::new(State { child: Some(child), ..State::default() }),
        });
        let listener = Arc::clone(&started);
        let listening = std::thread::Builder::new().name("hotspan-listen".into()).spawn(move || {
            if let Some(stderr) = stderr {
                listener.listen(stderr);
            }
        });
        if let Err(error) = listening {
            if let Some(child) = &mut started.state().child {
                let _ = child.kill();
                let _ = child.wait();
            }
            return Err(problem(&format!("the system gives no thread: {error}")));
        }
        *last = Some(started);
        Ok(())
    }

    fn state(&self) -> Value {
        let Some(started) = self.last() else { return Value::Null };
        let look = started.look();
        let state = started.state();
        let has_report =
            state.run.as_ref().is_some_and(|run| self.runs.join(run).join("report.html").is_file());
        let word = match (&state.exit, &state.control) {
            (Some(_), _) if has_report => "ended",
            (Some(_), _) => "failed",
            (None, None) => "starting",
            (None, Some(_)) => "running",
        };
        json!({
            "number": started.number,
            "scenario": started.scenario,
            "state": word,
            "run": state.run,
            "exit": state.exit.flatten(),
            "said": state.said,
            "look": look,
        })
    }

    fn change(&self, change: Change) -> Result<Value, String> {
        let started = self.last().filter(|started| !started.is_over()).ok_or("no run is under way")?;
        let control = started.state().control.clone().ok_or("the run has not begun yet; ask again")?;
        let done = ask(&control, "POST", "/load", Some(&json!(change)))?;
        started.state().look = None;
        Ok(done)
    }
}

/// A length of time: `1 min 30 s`.
fn words(time: Nanos) -> String {
    let seconds = time.as_secs_f64();
    match (seconds / 60.0).floor() {
        minutes if minutes >= 1.0 && seconds % 60.0 >= 1.0 => {
            format!("{minutes:.0} min {:.0} s", seconds % 60.0)
        }
        minutes if minutes >= 1.0 => format!("{minutes:.0} min"),
        _ => format!("{seconds:.0} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(dir: &Path) -> Runs {
        let folder = dir.join("scenarios");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("shop.yaml"), SHOP).unwrap();
        let args = StartArgs {
            traces_from: "none".into(),
            otlp_grpc: SocketAddr::from(([127, 0, 0, 1], 4317)),
            otlp_http: SocketAddr::from(([127, 0, 0, 1], 4318)),
            i_own: Vec::new(),
            max_rate: None,
        };
        Runs::open(&folder, dir, &args).unwrap()
    }

    const SHOP: &str = "name: shop\ntarget: http://127.0.0.1:1\nload: [{rate: 5/s, for: 90s}, {users: 2, for: 30s}]\nsteps: [GET /]\n";

    #[test]
    fn scenarios_are_files_of_the_folder() {
        let dir = tempfile::tempdir().unwrap();
        let runs = runs(dir.path());
        fs::write(dir.path().join("secret.yaml"), "secret").unwrap();
        fs::write(dir.path().join("scenarios/.hidden.yaml"), "x").unwrap();
        fs::write(dir.path().join("scenarios/users.csv"), "x").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(dir.path().join("secret.yaml"), dir.path().join("scenarios/link.yaml"))
            .unwrap();
        assert_eq!(runs.scenarios(), ["shop.yaml"]);
        assert_eq!(runs.scenario("shop.yaml").unwrap().text, SHOP);
        for name in [
            "../secret.yaml",
            "link.yaml",
            "users.csv",
            ".hidden.yaml",
            "",
            ".yaml",
            "/etc/passwd",
            "none.yaml",
        ] {
            assert!(runs.scenario(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_text_is_checked_as_it_is_run() {
        let dir = tempfile::tempdir().unwrap();
        let runs = runs(dir.path());
        let ok = &runs.check("new.yaml", SHOP)["ok"];
        assert_eq!(
            (&ok["name"], &ok["steps"], &ok["duration"]),
            (&json!("shop"), &json!(1), &json!("2 min"))
        );
        assert_eq!(ok["load"], "5 arrivals/s, then 2 users");
        let error = &runs.check("new.yaml", &SHOP.replace("target", "taget"))["error"];
        assert_eq!(
            (&error["file"], &error["line"], &error["column"]),
            (&json!("new.yaml"), &json!(2), &json!(1))
        );
        assert!(error["message"].as_str().unwrap().contains("target"), "{error}");
        let public = &runs.check("new.yaml", &SHOP.replace("127.0.0.1", "93.184.216.34"))["error"];
        assert!(
            public["message"].as_str().unwrap().contains("hotspan serve --i-own 93.184.216.34"),
            "{public}"
        );
        assert!(runs.check("../new.yaml", SHOP)["error"].is_object());
        assert_eq!(runs.state(), Value::Null);
        assert!(runs.change(Change::Pause).unwrap_err().contains("no run"));
    }

    #[test]
    fn a_text_is_saved_if_it_is_a_scenario_and_the_file_is_the_one_that_was_read() {
        let dir = tempfile::tempdir().unwrap();
        let runs = runs(dir.path());
        let read = runs.scenario("shop.yaml").unwrap();
        let why = |result: Result<String, Value>| {
            result.unwrap_err()["error"]["message"].as_str().unwrap().to_owned()
        };
        let more = SHOP.replace("GET /", "GET /more");
        let version = runs.save("shop.yaml", &more, &read.version).unwrap();
        assert_eq!(
            runs.scenario("shop.yaml").unwrap(),
            ScenarioFile { text: more, version: version.clone() }
        );
        assert!(why(runs.save("shop.yaml", SHOP, &read.version)).contains("since this page read it"));
        assert!(why(runs.save("shop.yaml", SHOP, "")).contains("already"));
        assert!(why(runs.save("shop.yaml", "taget: x", &version)).contains("taget"));
        for name in ["../new.yaml", "new.txt", ".new.yaml", "a/b.yaml", "/tmp/new.yaml", "", "new\0.yaml"] {
            assert!(runs.save(name, SHOP, "").is_err(), "{name}");
        }
        // What may not be started from here is a scenario all the same.
        let public = SHOP.replace("127.0.0.1", "93.184.216.34");
        assert_eq!(runs.check("new.yaml", &public)["error"]["can_be_saved"], true);
        runs.save("new.yaml", &public, "").unwrap();
        assert_eq!(runs.scenarios(), ["new.yaml", "shop.yaml"]);
        assert_eq!(runs.check("new.yaml", "x")["error"]["can_be_saved"], Value::Null);
    }

    #[test]
    fn the_control_of_a_run_is_known_by_its_line() {
        let line = "The load can be changed at http://127.0.0.1:4711/load with Authorization: Bearer t0ken";
        assert_eq!(control_of(line), Some((SocketAddr::from(([127, 0, 0, 1], 4711)), "t0ken".into())));
        assert_eq!(control_of("Loading http://127.0.0.1/"), None);
    }
}
