//! `hotspan serve`: the folder of runs as web pages on this machine. What a page is and who may is worked out by `ui::web`;
//! here are the sockets and the files.

use super::exit::{Exit, say};
use super::live::Interrupts;
use crate::record::{Nanos, Run, RunState};
use crate::ui::web::{self, Answer, Asked, BODY_MAX, Notes, RunResult, RunRow, RunStore};
use crate::wire::folder::RunReader;
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// What people keep with a run, in its folder.
const NOTES: &str = "notes.json";
/// Longest file of notes that is read.
const NOTES_MAX: u64 = 256 << 10;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan serve                                  the runs in ./runs, at http://127.0.0.1:7700
  hotspan serve ci-runs --listen 127.0.0.1:0     another folder, any free port

Only this machine is let in. Tags and notes are kept in notes.json of each run folder; nothing else is written.")]
pub struct ServeArgs {
    /// Folder with run folders.
    #[arg(value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Address of this machine to listen at (port 0: any).
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
}

/// Runs the command, until Ctrl-C or SIGTERM.
pub fn run(args: &ServeArgs) -> anyhow::Result<Exit> {
    if !args.listen.ip().is_loopback() {
        bail!("--listen {}: pages are for this machine only; use 127.0.0.1 or [::1]", args.listen);
    }
    let store = Arc::new(Folder::open(&args.runs)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind(args.listen)).with_context(|| {
        format!("--listen {}: cannot listen there; name another port, or 0 for any", args.listen)
    })?;
    let address = listener.local_addr()?;
    say(&format!("The runs in {} are at http://{address}/ (Ctrl-C ends it).", args.runs.display()));
    let hosts = Arc::new(hosts(address));
    runtime.spawn(accept(listener, store, hosts));
    let interrupts = Interrupts::listen(&runtime);
    while interrupts.count() == 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(Exit::Passed)
}

/// The names that this server answers to.
fn hosts(address: SocketAddr) -> Vec<String> {
    let mut hosts = vec![address.to_string(), format!("localhost:{}", address.port())];
    if address.port() == 80 {
        let bare = address.ip();
        hosts.extend([
            if bare.is_ipv6() { format!("[{bare}]") } else { bare.to_string() },
            "localhost".into(),
        ]);
    }
    hosts
}

async fn accept(listener: TcpListener, store: Arc<Folder>, hosts: Arc<Vec<String>>) {
    let seats = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files for a moment, or a peer that left.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (store, hosts) = (Arc::clone(&store), Arc::clone(&hosts));
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let (store, hosts) = (Arc::clone(&store), Arc::clone(&hosts));
                async move { Ok::<_, Infallible>(serve(request, store, hosts).await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(PATIENCE).keep_alive(false);
            // A connection that breaks is its peer's concern.
            let _ = tokio::time::timeout(PATIENCE * 3, http.serve_connection(TokioIo::new(stream), service))
                .await;
            drop(seat);
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    store: Arc<Folder>,
    hosts: Arc<Vec<String>>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // One more than allowed: what is too long is seen to be.
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, BODY_MAX + 1).collect()).await;
    let Ok(Ok(body)) = body else {
        return plain(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long, or did not come");
    };
    let body = body.to_bytes();
    let is_head = head.method == http::Method::HEAD;
    let answered = tokio::task::spawn_blocking(move || {
        let text = |name: HeaderName| head.headers.get(name).and_then(|value| value.to_str().ok());
        let asked = Asked {
            method: head.method.as_str(),
            target: head.uri.path_and_query().map_or("/", |target| target.as_str()),
            host: only(&head.headers, header::HOST),
            // One that is no text is there all the same, and nobody's.
            origin: head.headers.contains_key(header::ORIGIN).then(|| only(&head.headers, header::ORIGIN)),
            content_type: text(header::CONTENT_TYPE),
            body: &body,
        };
        web::answer(&asked, &hosts, &*store)
    });
    match answered.await {
        Ok(answer) => response(answer, is_head),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made"),
    }
}

/// The header's value; nothing where there is none, or several.
fn only(headers: &HeaderMap, name: HeaderName) -> &str {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().unwrap_or_default(),
        _ => "",
    }
}

fn plain(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{why}\n"))));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn response(answer: Answer, is_head: bool) -> Response<Full<Bytes>> {
    let body = if is_head { Bytes::new() } else { Bytes::from(answer.body) };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let fixed = [
        (header::CONTENT_TYPE, answer.content_type),
        (header::CONTENT_SECURITY_POLICY, answer.policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not `no-referrer`: browsers would send forms with an origin of `null`.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if let Some(location) = answer.location.and_then(|location| HeaderValue::try_from(location).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// When a file was changed, and its length: whether it is the one that was read.
type Stamp = (SystemTime, u64);

/// A folder of run folders.
pub struct Folder {
    root: PathBuf,
    /// What reports say, by run: they are long, and read once.
    results: Mutex<HashMap<String, (Stamp, Option<RunResult>)>>,
}

impl Folder {
    fn open(path: &Path) -> anyhow::Result<Folder> {
        let root = fs::canonicalize(path).with_context(|| {
            format!("there is no folder {}; `hotspan run` and `hotspan demo` make one", path.display())
        })?;
        if !root.is_dir() {
            bail!("{} is no folder", path.display());
        }
        Ok(Folder { root, results: Mutex::default() })
    }

    /// The folder of a run: directly below the root, and not a link to elsewhere.
    fn dir(&self, id: &str) -> Option<PathBuf> {
        if !web::is_name(id) {
            return None;
        }
        let dir = fs::canonicalize(self.root.join(id)).ok()?;
        (dir.parent() == Some(&self.root) && dir.join("run.json").is_file()).then_some(dir)
    }

    /// A file of a run, not one that a link leads to.
    fn file(&self, id: &str, name: &str) -> Option<PathBuf> {
        let path = self.dir(id)?.join(name);
        fs::symlink_metadata(&path).is_ok_and(|data| data.is_file()).then_some(path)
    }

    fn result(&self, id: &str) -> Option<RunResult> {
        let path = self.file(id, "report.json")?;
        let data = fs::metadata(&path).ok()?;
        let stamp = (data.modified().unwrap_or(SystemTime::UNIX_EPOCH), data.len());
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, result)) = results.get(id)
            && *read == stamp
        {
            return result.clone();
        }
        let result = fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let result = result.map(|report: Value| result_of(&report));
        results.insert(id.to_owned(), (stamp, result.clone()));
        result
    }

    fn notes(&self, id: &str) -> Notes {
        let read = || {
            let path = self.file(id, NOTES)?;
            if fs::metadata(&path).ok()?.len() > NOTES_MAX {
                return None;
            }
            serde_json::from_slice::<Value>(&fs::read(path).ok()?).ok()
        };
        let Some(value) = read() else { return Notes::default() };
        let tags = value.get("tags").and_then(Value::as_array).into_iter().flatten();
        Notes {
            tags: tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
            text: value.get("text").and_then(Value::as_str).unwrap_or_default().to_owned(),
        }
    }
}

/// What the list shows of a `report.json`.
fn result_of(report: &Value) -> RunResult {
    let list = |key: &str| report.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
    let steps = list("steps");
    let thresholds = list("thresholds");
    let failed = thresholds.iter().filter(|t| t.get("passed").and_then(Value::as_bool) != Some(true)).count();
    RunResult {
        headline: report.pointer("/verdict/headline").and_then(Value::as_str).unwrap_or_default().to_owned(),
        exchanges: steps.iter().map(|step| number(step, "/exchanges") as u64).sum(),
        errors: steps.iter().map(|step| number(step, "/errors") as u64).sum(),
        p95_ms: steps.iter().map(|step| number(step, "/latency_ms/p95")).fold(0.0, f64::max),
        thresholds: (thresholds.len(), failed),
    }
}

fn lasted(run: &Run) -> Option<Nanos> {
    run.ended_at.filter(|_| run.state != RunState::Running).map(|end| end.since(run.started_at))
}

impl RunStore for Folder {
    fn list(&self) -> Vec<RunRow> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut runs: Vec<RunRow> = names.filter_map(|name| self.run(&name)).collect();
        runs.sort_by(|a, b| b.started_at.cmp(&a.started_at).then_with(|| b.id.cmp(&a.id)));
        runs
    }

    fn run(&self, id: &str) -> Option<RunRow> {
        let reader = RunReader::open(&self.dir(id)?).ok()?;
        let run = reader.run();
        Some(RunRow {
            id: id.to_owned(),
            name: run.name.clone(),
            target: run.target.clone(),
            started_at: run.started_at,
            lasted: lasted(run),
            state: run.state,
            result: self.result(id),
            has_page: self.file(id, "report.html").is_some(),
            notes: self.notes(id),
        })
    }

    fn page(&self, id: &str) -> Option<Vec<u8>> {
        fs::read(self.file(id, "report.html")?).ok()
    }

    fn text(&self, id: &str) -> Result<String, String> {
        let path = self.file(id, "report.md");
        let path = path.ok_or("This run has no report; `hotspan analyze` makes it anew.")?;
        fs::read_to_string(path).map_err(|error| format!("The report cannot be read: {error}."))
    }

    fn keep(&self, id: &str, notes: &Notes) -> Result<(), String> {
        let dir = self.dir(id).ok_or("There is no such run any more.")?;
        let text = format!("{:#}\n", json!({"tags": notes.tags, "text": notes.text}));
        // Written beside and moved: half a file is never read.
        let beside = dir.join(format!("{NOTES}.new"));
        fs::write(&beside, text)
            .and_then(|()| fs::rename(&beside, dir.join(NOTES)))
            .map_err(|error| format!("The notes cannot be kept in {id}: {error}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("runs");
        fs::create_dir_all(root.join("20261128T1-shop")).unwrap();
        let run = json!({
            "format": "hotspan.run/1", "id": "20261128T1-shop", "name": "shop", "state": "complete",
            "started_at_unix_ns": 1_795_532_592_250_000_000_u64, "ended_at_unix_ns": 1_795_532_622_250_000_000_u64,
        })
        .to_string();
        fs::write(root.join("20261128T1-shop/run.json"), &run).unwrap();
        fs::create_dir_all(dir.path().join("secret")).unwrap();
        fs::write(dir.path().join("secret/run.json"), run).unwrap();
        fs::write(dir.path().join("secret/report.html"), "secret").unwrap();
        let folder = Folder::open(&root).unwrap();
        (dir, folder)
    }

    #[test]
    fn notes_are_kept_beside_the_run() {
        let (_dir, folder) = folder();
        let notes = Notes { tags: vec!["release".into()], text: "two\nlines".into() };
        folder.keep("20261128T1-shop", &notes).unwrap();
        assert_eq!(folder.run("20261128T1-shop").unwrap().notes, notes);
        assert_eq!(folder.list().len(), 1);
        assert!(folder.keep("other", &notes).is_err());
    }

    #[test]
    fn what_reports_say_is_read_anew_when_they_change() {
        let (dir, folder) = folder();
        assert_eq!(folder.result("20261128T1-shop"), None);
        let path = dir.path().join("runs/20261128T1-shop/report.json");
        let report = |headline: &str| {
            json!({
                "verdict": {"headline": headline},
                "steps": [{"exchanges": 10, "errors": 1, "latency_ms": {"p95": 3.5}}, {"exchanges": 5, "latency_ms": {"p95": 7.0}}],
                "thresholds": [{"passed": true}, {"passed": false}],
            })
            .to_string()
        };
        fs::write(&path, report("slow")).unwrap();
        let result = folder.result("20261128T1-shop").unwrap();
        assert_eq!((result.exchanges, result.errors, result.p95_ms, result.thresholds), (15, 1, 7.0, (2, 1)));
        fs::write(&path, report("much slower")).unwrap();
        assert_eq!(folder.result("20261128T1-shop").unwrap().headline, "much slower");
    }

    #[cfg(unix)]
    #[test]
    fn no_name_and_no_link_leads_out() {
        let (dir, folder) = folder();
        std::os::unix::fs::symlink(dir.path().join("secret"), dir.path().join("runs/link")).unwrap();
        let secret = dir.path().join("secret/report.html");
        std::os::unix::fs::symlink(secret, dir.path().join("runs/20261128T1-shop/report.html")).unwrap();
        for id in ["..", "../secret", "link", ".", "", "/etc"] {
            assert_eq!(folder.run(id), None, "{id}");
        }
        assert_eq!(folder.page("20261128T1-shop"), None, "a link in a run folder is not followed");
    }

    #[test]
    fn this_server_has_these_names() {
        assert_eq!(hosts(SocketAddr::from(([127, 0, 0, 1], 7700))), ["127.0.0.1:7700", "localhost:7700"]);
        assert_eq!(hosts("[::1]:80".parse().unwrap()), ["[::1]:80", "localhost:80", "[::1]", "localhost"]);
    }
}
