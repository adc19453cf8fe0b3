//! Starts the demo: fills the database, spawns the four processes, waits until they answer, and stops them.

use super::database::{Database, seed};
use super::error::DemoError;
use super::fault::Faults;
use super::options::{DATABASE_URL, Role, ServeOptions, Service};
use super::outbound::http_client;
use super::password::{new_token, seed_password};
use super::telemetry::Telemetry;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

/// Any free port of this machine.
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The hidden command of the program that is started.
pub const SERVICE_COMMAND: &str = "demo-service";

const READY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// Lines of a child's complaints that are kept.
const LINES: usize = 50;

/// How to start the demo.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The program, usually the running one. It is started as `EXE demo-service ROLE --name value …`.
    pub exe: PathBuf,
    /// A PostgreSQL URL, or none for a SQLite file in a temporary directory.
    pub database_url: Option<String>,
    /// Faults at the start.
    pub faults: Faults,
    /// Where the services send their spans; none means the standard variables and defaults.
    pub otlp_endpoint: Option<String>,
    /// Where the shop listens; port 0 for any free one. The other services listen on 127.0.0.1 only.
    pub shop: SocketAddr,
}

/// The running demo. Dropping it kills what [`stop`](Demo::stop) would have asked to end.
#[derive(Debug)]
pub struct Demo {
    /// Base URL of the shop, such as `http://127.0.0.1:8080`.
    pub shop_url: String,
    controls: Vec<String>,
    client: reqwest::Client,
    processes: Vec<Process>,
    database: Database,
    directory: Directory,
}

impl Demo {
    /// Fills a database and starts cache, payment, inventory and shop; returns when all of them answer.
    ///
    /// # Errors
    /// What kept one of them from starting, in its own words.
    pub async fn start(options: DemoOptions) -> Result<Demo, DemoError> {
        let directory = Directory::new()?;
        let database = match options.database_url.clone() {
            Some(url) => Database::Postgres { url },
            None => Database::Sqlite { path: directory.0.join("shop.db") },
        };
        let mut starter = Starter { options: &options, processes: Vec::new() };
        // What needs no data first: if the program cannot be started at all, nobody waits for the data to hear of it.
        let cache = starter.spawn(Service::Cache, LOCAL).await?;
        let payment = url_of(starter.spawn(Service::Payment, LOCAL).await?);
        seed::fill(&database, &seed_password()).await?;
        let inventory =
            url_of(starter.spawn(Service::Inventory { database: database.clone() }, LOCAL).await?);
        let shop = Service::Shop {
            database: database.clone(),
            cache,
            inventory_url: inventory.clone(),
            payment_url: payment.clone(),
            assets: directory.0.join("static"),
        };
        let shop_url = url_of(starter.spawn(shop, options.shop).await?);
        let mut demo = Demo {
            controls: vec![payment, inventory, shop_url.clone()],
            shop_url,
            client: http_client()?,
            processes: starter.processes,
            database,
            directory,
        };
        demo.wait_until_healthy().await?;
        Ok(demo)
    }

    /// The shop's database as a URL for those who want its plans; nothing where it was named in another form.
    pub fn database_url(&self) -> Option<String> {
        match &self.database {
            Database::Sqlite { path } => Some(format!("sqlite:{}", path.display())),
            Database::Postgres { url } if url.contains("://") => {
                let mark = if url.contains('?') { '&' } else { '?' };
                Some(format!("{url}{mark}options=-c%20search_path%3Dhotspan_demo"))
            }
            Database::Postgres { .. } => None,
        }
    }

    /// Where the shop keeps its files until it is stopped.
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// Process ids with their roles, for who wants to watch their processor time.
    pub fn processes(&self) -> Vec<(Role, u32)> {
        self.processes.iter().filter_map(|process| Some((process.role, process.child.id()?))).collect()
    }

    /// Ends the services, lets them send their last spans, and removes their data. Gives what they complained about.
    pub async fn stop(mut self) -> Vec<String> {
        let mut complaints = Vec::new();
        // The shop first, so that nothing asks a service that has gone.
        while let Some(process) = self.processes.pop() {
            complaints.extend(process.stop().await);
        }
        if let Err(error) = seed::clear(&self.database).await {
            complaints.push(format!("the demo's data was not removed: {error}"));
        }
        complaints
    }

    async fn wait_until_healthy(&mut self) -> Result<(), DemoError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        for (control, role) in self.controls.iter().zip([Role::Payment, Role::Inventory, Role::Shop]) {
            let url = format!("{control}/healthz");
            loop {
                let answer = self.client.get(&url).timeout(READY_TIMEOUT).send();
                let process = self.processes.iter_mut().find(|process| process.role == role);
                // A service that ended in its warm-up leaves its connections unanswered until the system closes them.
                let answer = match process {
                    Some(process) => tokio::select! {
                        answer = answer => answer,
                        status = process.child.wait() => return Err(process.ended(status).await),
                    },
                    None => answer.await,
                };
                match answer {
                    Ok(answer) if answer.status().is_success() => break,
                    _ if Instant::now() < deadline => sleep(Duration::from_millis(20)).await,
                    Ok(answer) => {
                        let problem = format!("{url} answers with status {}", answer.status());
                        return Err(DemoError::NotReady { role: role.name(), problem });
                    }
                    Err(error) => {
                        let problem = format!("{url} does not answer within {READY_TIMEOUT:?}: {error}");
                        return Err(DemoError::NotReady { role: role.name(), problem });
                    }
                }
            }
        }
        Ok(())
    }
}

fn url_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

struct Starter<'a> {
    options: &'a DemoOptions,
    processes: Vec<Process>,
}

impl Starter<'_> {
    /// Starts a process and waits for the address it listens on.
    async fn spawn(&mut self, service: Service, listen: SocketAddr) -> Result<SocketAddr, DemoError> {
        let role = service.role();
        let options = ServeOptions {
            listen,
            service,
            faults: self.options.faults,
            telemetry: Telemetry::Otlp { endpoint: self.options.otlp_endpoint.clone() },
        };
        let (args, database_url) = options.to_args();
        let mut command = Command::new(&self.options.exe);
        command.arg(SERVICE_COMMAND).args(args);
        if let Some(url) = database_url {
            command.env(DATABASE_URL, url);
        }
        // A name for the parent must not name all of its children.
        command.env_remove("OTEL_SERVICE_NAME");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let failed = |source| DemoError::Spawn { exe: self.options.exe.clone(), role: role.name(), source };
        let mut process = Process::new(role, command.spawn().map_err(failed)?);
        let address = process.address().await?;
        self.processes.push(process);
        Ok(address)
    }
}

/// A child process and what it wrote to its standard error.
#[derive(Debug)]
struct Process {
    role: Role,
    child: Child,
    /// Closing it asks the child to end.
    stdin: Option<ChildStdin>,
    complaints: Arc<Mutex<VecDeque<String>>>,
    reading: Option<tokio::task::JoinHandle<()>>,
}

impl Process {
    fn new(role: Role, mut child: Child) -> Process {
        let stdin = child.stdin.take();
        let complaints = Arc::<Mutex<VecDeque<String>>>::default();
        let reading = child.stderr.take().map(|stderr| {
            let kept = complaints.clone();
            tokio::spawn(async move {
                let mut lines = BufReader::new(stderr).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    if kept.len() == LINES {
                        kept.pop_front();
                    }
                    kept.push_back(line);
                }
            })
        });
        Process { role, child, stdin, complaints, reading }
    }

    async fn address(&mut self) -> Result<SocketAddr, DemoError> {
        let role = self.role.name();
        let stdout = self.child.stdout.take();
        let stdout = stdout.ok_or_else(|| DemoError::NotReady { role, problem: "no output".to_owned() })?;
        let mut lines = BufReader::new(stdout).lines();
        match timeout(READY_TIMEOUT, lines.next_line()).await {
            Ok(Ok(Some(line))) => {
                let address = line.strip_prefix("ready ").and_then(|address| address.parse().ok());
                let problem = format!("expected `ready ADDRESS`, got `{line}`");
                address.ok_or(DemoError::NotReady { role, problem })
            }
            Ok(_) => {
                let status = self.child.wait().await;
                Err(self.ended(status).await)
            }
            Err(_) => {
                let problem = format!("it said nothing for {READY_TIMEOUT:?}");
                Err(DemoError::NotReady { role, problem })
            }
        }
    }

    /// Why a process is gone, in its own words.
    async fn ended(&mut self, status: std::io::Result<std::process::ExitStatus>) -> DemoError {
        self.read_all().await;
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = self.said().join("\n");
        let problem = if said.is_empty() { status } else { format!("{status}: {said}") };
        DemoError::NotReady { role: self.role.name(), problem }
    }

    async fn read_all(&mut self) {
        if let Some(reading) = self.reading.take() {
            let _ = timeout(Duration::from_secs(1), reading).await;
        }
    }

    fn said(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    async fn stop(mut self) -> Vec<String> {
        drop(self.stdin.take());
        if timeout(STOP_TIMEOUT, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        self.read_all().await;
        let role = self.role.name();
        self.said().into_iter().map(|line| format!("{role}: {line}")).collect()
    }
}

/// A directory of its own, removed at the end.
#[derive(Debug)]
struct Directory(PathBuf);

/// What the names of such directories begin with; the process id follows, and a random token.
const DIRECTORY: &str = "hotspan-demo-";

impl Directory {
    fn new() -> Result<Directory, DemoError> {
        let parent = std::env::temp_dir();
        remove_left_over(&parent);
        let token = new_token().unwrap_or_default();
        let path = parent.join(format!("{DIRECTORY}{}-{token}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => Ok(Directory(path)),
            Err(source) => Err(DemoError::File { path, source }),
        }
    }
}

/// Removes the directories of demos that were killed. Those of others cannot be removed, and need not be.
fn remove_left_over(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().and_then(owner_of).is_some_and(has_ended) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// The process that made a directory of this name.
fn owner_of(name: &str) -> Option<i32> {
    let (pid, token) = name.strip_prefix(DIRECTORY)?.split_once('-')?;
    let is_token = token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    pid.parse().ok().filter(|_| is_token)
}

#[cfg(unix)]
fn has_ended(pid: i32) -> bool {
    use rustix::process::{Pid, test_kill_process};
    Pid::from_raw(pid).is_some_and(|pid| test_kill_process(pid) == Err(rustix::io::Errno::SRCH))
}

#[cfg(not(unix))]
fn has_ended(_: i32) -> bool {
    false
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn error_of(exe: &str) -> String {
        let options = DemoOptions {
            exe: exe.into(),
            database_url: None,
            faults: Faults::NONE,
            otlp_endpoint: None,
            shop: LOCAL,
        };
        Demo::start(options).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_started_is_named() {
        let message = error_of("/nowhere/hotspan").await;
        assert!(message.starts_with("cannot start /nowhere/hotspan as the cache service: "), "{message}");
    }

    #[cfg(unix)]
    #[test]
    fn only_directories_of_demos_that_ended_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let ended = child.id();
        child.wait().unwrap();
        let token = new_token().unwrap();
        let names = [
            format!("{DIRECTORY}{}-{token}", std::process::id()),
            format!("{DIRECTORY}{ended}-mine"),
            format!("{DIRECTORY}{ended}"),
            format!("{DIRECTORY}-1-{token}"),
            format!("other-{ended}-{token}"),
        ];
        let left_over = format!("{DIRECTORY}{ended}-{token}");
        for name in names.iter().chain([&left_over]) {
            std::fs::create_dir(parent.path().join(name)).unwrap();
        }
        remove_left_over(parent.path());
        assert!(!parent.path().join(left_over).exists());
        for name in names {
            assert!(parent.path().join(&name).exists(), "{name}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_service_that_ends_at_once_is_quoted() {
        let directory = tempfile::tempdir().unwrap();
        let exe = directory.path().join("complains");
        std::fs::write(&exe, "#!/bin/sh\necho no room for $2 >&2\nexit 3\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&exe, mode).unwrap();
        let message = error_of(&exe.to_string_lossy()).await;
        assert_eq!(message, "the cache service did not get ready: exit status: 3: no room for cache");
    }
}
