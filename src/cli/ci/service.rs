//! A version of the service under test as a process: started, waited for, and ended with all its children.

use anyhow::{Context, bail};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a service may take to end before it is killed.
const END: Duration = Duration::from_secs(10);
/// How long what was killed may take to be gone: the kernel gives its memory and its ports back after the signal.
const GONE: Duration = Duration::from_secs(5);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Longest wait for one answer to the question whether it is ready.
const ANSWER: Duration = Duration::from_secs(2);

/// A running service; ended when dropped.
pub struct Service {
    child: Child,
    log: PathBuf,
    ended: bool,
}

/// What to start, and when it counts as started.
pub struct Start<'a> {
    /// A line for the shell.
    pub command: &'a str,
    /// Variables besides those of this process.
    pub environment: Vec<(&'static str, String)>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Ready when this answers with a status below 500.
    pub ready: &'a str,
    /// Longest wait for that.
    pub patience: Duration,
}

impl Service {
    /// Starts a service and waits until it is ready. `interrupted` is asked meanwhile.
    ///
    /// # Errors
    /// If something answers there already, the service ends, or it is not ready in time; with the last lines of its output.
    pub fn start(start: &Start, probe: &Probe, interrupted: &dyn Fn() -> bool) -> anyhow::Result<Service> {
        if probe.answers(start.ready) {
            bail!(
                "something answers at {} already: end it first, or it would be measured instead",
                start.ready
            );
        }
        let out =
            File::create(&start.log).with_context(|| format!("cannot write {}", start.log.display()))?;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(start.command).stdin(Stdio::null());
        command.stdout(out.try_clone()?).stderr(out);
        for (name, value) in &start.environment {
            command.env(name, value);
        }
        own_group(&mut command);
        let child = command.spawn().with_context(|| format!("cannot start `{}`", start.command))?;
        let mut service = Service { child, log: start.log.clone(), ended: false };
        let began = Instant::now();
        while !probe.answers(start.ready) {
            if let Some(status) = service.child.try_wait()? {
                bail!(
                    "`{}` ended ({status}) before it was ready:\n{}",
                    start.command,
                    last_lines(&service.log)
                );
            }
            if began.elapsed() > start.patience {
                bail!(
                    "`{}` did not answer at {} within {} s:\n{}",
                    start.command,
                    start.ready,
                    start.patience.as_secs(),
                    last_lines(&service.log)
                );
            }
            if interrupted() {
                bail!("interrupted");
            }
            std::thread::sleep(LOOK);
        }
        Ok(service)
    }

    /// Ends it, and waits until nobody answers any more.
    ///
    /// # Errors
    /// If somebody still does.
    pub fn stop(mut self, ready: &str, probe: &Probe) -> anyhow::Result<()> {
        self.end();
        let began = Instant::now();
        while probe.answers(ready) {
            if began.elapsed() > END {
                bail!(
                    "{ready} still answers after the service was ended: it must not leave processes behind"
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Asks the whole group to end, and then makes it.
    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        signal(&self.child, false);
        let began = Instant::now();
        while began.elapsed() < END && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(LOOK);
        }
        signal(&self.child, true);
        let _ = self.child.wait();
        // A child of the service that still exits would hold the port against the next service.
        let began = Instant::now();
        while began.elapsed() < GONE && anybody_left(&self.child) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.end();
    }
}

/// In a process group of its own, so that it ends with all that it starts and Ctrl-C does not reach it first.
pub fn own_group(command: &mut Command) {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    #[cfg(not(unix))]
    let _ = command;
}

/// Asks a process group to end, or kills it.
#[cfg(unix)]
pub fn signal(child: &Child, kill: bool) {
    use rustix::process::{Pid, Signal, kill_process_group};
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, if kill { Signal::KILL } else { Signal::TERM });
    }
}

/// Asks a process to end, or kills it.
#[cfg(not(unix))]
pub fn signal(child: &Child, _kill: bool) {
    let _ = child;
}

/// Whether a process group still has a process that runs or waits to be reaped.
#[cfg(unix)]
fn anybody_left(leader: &Child) -> bool {
    use rustix::process::{Pid, test_kill_process_group};
    let group = i32::try_from(leader.id()).ok().and_then(Pid::from_raw);
    group.is_some_and(|group| test_kill_process_group(group).is_ok())
}

/// Whether a process group still has a process: this system has no groups.
#[cfg(not(unix))]
fn anybody_left(_leader: &Child) -> bool {
    false
}

/// Asks services whether they are ready.
pub struct Probe<'a> {
    runtime: &'a tokio::runtime::Runtime,
    client: reqwest::Client,
}

impl<'a> Probe<'a> {
    /// One that follows no redirects.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn new(runtime: &'a tokio::runtime::Runtime) -> anyhow::Result<Probe<'a>> {
        let client = reqwest::Client::builder()
            .timeout(ANSWER)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot make a client for the question whether a service is ready")?;
        Ok(Probe { runtime, client })
    }

    /// Whether it answers, and not with a failure of its own.
    pub fn answers(&self, url: &str) -> bool {
        let answer = self.runtime.block_on(async { self.client.get(url).send().await });
        answer.is_ok_and(|answer| answer.status().as_u16() < 500)
    }
}

/// What a process said last.
pub fn last_lines(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(10);
    let lines: Vec<String> = lines[from..].iter().map(|line| format!("  {line}")).collect();
    if lines.is_empty() { format!("  (nothing in {})", log.display()) } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start<'a>(command: &'a str, dir: &Path, ready: &'a str) -> Start<'a> {
        Start {
            command,
            environment: vec![("SIDE", "head".into())],
            log: dir.join("log"),
            ready,
            patience: Duration::from_millis(300),
        }
    }

    /// A port that nobody listens at.
    fn nobody() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}/", listener.local_addr().unwrap())
    }

    #[test]
    fn what_does_not_become_ready_is_ended_and_its_words_are_shown() {
        crate::traces::install_crypto_provider();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let probe = Probe::new(&runtime).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let ready = nobody();
        let why = |command: &str| {
            let started = Service::start(&start(command, dir.path(), &ready), &probe, &|| false);
            format!("{:#}", started.err().unwrap())
        };
        let gone = why("echo $SIDE is broken; exit 3");
        assert!(gone.contains("exit status: 3") && gone.contains("  head is broken"), "{gone}");
        // The process and its child are gone as well; where nobody reaps orphans, it stays as a zombie.
        let pid = dir.path().join("pid");
        let slow = why(&format!("sleep 600 & echo $! > {}; echo warming up; wait", pid.display()));
        assert!(slow.contains("did not answer") && slow.contains("  warming up"), "{slow}");
        let child = std::fs::read_to_string(&pid).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(state.is_empty() || state.contains(") Z "), "still there: {state}");
    }

    #[test]
    fn somebody_elses_service_is_not_measured() {
        crate::traces::install_crypto_provider();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let ready = format!("http://{}/", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut peer, _) = listener.accept().unwrap();
            let _ = peer.read(&mut [0; 1024]);
            let _ = peer.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let probe = Probe::new(&runtime).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let started = Service::start(&start("true", dir.path(), &ready), &probe, &|| false);
        assert!(started.err().unwrap().to_string().contains("answers at"));
        server.join().unwrap();
    }
}
