//! `hotspan serve`: the folder of runs as web pages on this machine. What a page is and who may is worked out by `ui::web`;
//! here are the sockets, the files and the processes of runs that are started.

mod folder;
mod runs;
mod saving;
mod text_search;
mod traces;
mod trend;

use super::answering::{self, Terms};
use super::args::address;
use super::exit::{Exit, say};
use super::live::Interrupts;
use crate::traces::install_crypto_provider;
use crate::ui::web::{self, Answer, Asked, BODY_MAX, Door, Runner, Site, TOKEN_MIN};
use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Args;
use folder::Folder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use runs::Runs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// Longest wait for a request.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time that an answer may take: the spans of a large run are read for one.
const ANSWER_IN: Duration = Duration::from_secs(120);
/// Where a token of one's own choice stands.
pub const TOKEN_VARIABLE: &str = "HOTSPAN_SERVE_TOKEN";

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan serve                                  the runs in ./runs, at http://127.0.0.1:7700
  hotspan serve ci-runs --listen 127.0.0.1:0     another folder, any free port
  hotspan serve --scenarios scenarios            runs can be started here; prints a link
  HOTSPAN_SERVE_TOKEN=… hotspan serve --listen 0.0.0.0:7700 --host load.example.internal

Only this machine is let in without a token. With --scenarios, with another address and where HOTSPAN_SERVE_TOKEN is set, a token is asked for: that one, or a new one that is printed. The pages are plain HTTP: between machines put TLS in front, or an SSH tunnel.

Tags and notes are kept in notes.json of each run folder; runs that are started make folders of their own; a scenario that is saved is a file of the folder of --scenarios. Nothing else is written.")]
pub struct ServeArgs {
    /// Folder with run folders.
    #[arg(value_name = "DIR", default_value = "runs")]
    pub runs: PathBuf,
    /// Address to listen at (port 0: any).
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:7700")]
    pub listen: SocketAddr,
    /// A name of this server beside its address, as browsers name it. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Let runs be started from the page, with scenarios of this folder or written and saved there; files that they name must lie in it.
    #[arg(long, value_name = "DIR")]
    pub scenarios: Option<PathBuf>,
    #[command(flatten)]
    pub started: StartArgs,
}

/// What runs that are started from the page have in common.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Runs that are started from the page")]
pub struct StartArgs {
    /// Where server spans come from, as for `hotspan run`.
    #[arg(long, value_name = "SOURCE", default_value = "receiver", requires = "scenarios")]
    pub traces_from: String,
    /// Address of the OTLP/gRPC receiver while a run goes on.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4317", requires = "scenarios")]
    pub otlp_grpc: SocketAddr,
    /// Address of the OTLP/HTTP receiver while a run goes on.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4318", requires = "scenarios")]
    pub otlp_http: SocketAddr,
    /// A public host that is yours to load; private addresses and this machine need no such word.
    #[arg(long, value_name = "HOST", requires = "scenarios")]
    pub i_own: Vec<String>,
    /// Refuse a load of more iterations per second [default: 1000 on public hosts, else none].
    #[arg(long, value_name = "PER_SECOND", requires = "scenarios")]
    pub max_rate: Option<f64>,
}

/// What every connection needs.
struct Server {
    door: Door,
    folder: Folder,
    runs: Option<Runs>,
}

/// Runs the command, until Ctrl-C or SIGTERM.
pub fn run(args: &ServeArgs) -> anyhow::Result<Exit> {
    install_crypto_provider();
    let token = token(args)?;
    let folder = Folder::open(&args.runs, args.scenarios.is_some())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let runs = args
        .scenarios
        .as_ref()
        .map(|scenarios| Runs::open(scenarios, folder.root(), &args.started))
        .transpose()?;
    let listener = runtime.block_on(TcpListener::bind(args.listen)).with_context(|| {
        format!("--listen {}: cannot listen there; name another port, or 0 for any", args.listen)
    })?;
    let address = listener.local_addr()?;
    let with_token = token.as_ref().map(|token| format!("enter#{token}")).unwrap_or_default();
    let door = door(args, address, token);
    let shown = door.hosts.first().cloned().unwrap_or_default();
    say(&format!("The runs in {} are at http://{shown}/{with_token} (Ctrl-C ends it).", args.runs.display()));
    let server = Arc::new(Server { door, folder, runs });
    let terms =
        Terms { connections: CONNECTIONS_MAX, head_within: PATIENCE, whole_within: PATIENCE * 2 + ANSWER_IN };
    let shared = Arc::clone(&server);
    runtime.spawn(answering::serve(listener, terms, move |request| serve(request, Arc::clone(&shared))));
    let interrupts = Interrupts::listen(&runtime);
    while interrupts.count() == 0 {
        std::thread::sleep(Duration::from_millis(50));
    }
    if let Some(runs) = &server.runs {
        runs.end(&interrupts);
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(Exit::Passed)
}

/// The word that opens the pages: one's own choice, else a new one where there must be one.
fn token(args: &ServeArgs) -> anyhow::Result<Option<String>> {
    match std::env::var(TOKEN_VARIABLE) {
        Ok(own) if own.len() < TOKEN_MIN || !own.bytes().all(|b| b.is_ascii_graphic() && b != b'%') => {
            bail!("{TOKEN_VARIABLE}: a token has {TOKEN_MIN} visible ASCII characters or more, and no %")
        }
        Ok(own) => Ok(Some(own)),
        Err(_) => {
            let needed = args.scenarios.is_some() || !args.listen.ip().is_loopback();
            Ok(needed.then(secret))
        }
    }
}

fn secret() -> String {
    (0..2).map(|_| format!("{:016x}", rand::random::<u64>())).collect()
}

fn door(args: &ServeArgs, address: SocketAddr, token: Option<String>) -> Door {
    let port = address.port();
    // Behind a proxy that does TLS a name has no port.
    let named = args.host.iter().flat_map(|name| {
        let bare = name.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
        if bare { vec![format!("{name}:{port}"), name.clone()] } else { vec![name.clone()] }
    });
    let hosts = if address.ip().is_unspecified() {
        named.chain(names("localhost", port)).collect()
    } else {
        let bare = address.ip();
        let own = if bare.is_ipv6() { format!("[{bare}]") } else { bare.to_string() };
        let local = if bare.is_loopback() { names("localhost", port) } else { Vec::new() };
        names(&own, port).into_iter().chain(local).chain(named).collect()
    };
    Door {
        hosts,
        any_address: address.ip().is_unspecified().then_some(port),
        token,
        session: secret(),
        csrf: secret(),
        cookie: format!("hotspan_{port}"),
    }
}

/// A name as browsers write it.
fn names(name: &str, port: u16) -> Vec<String> {
    let with_port = format!("{name}:{port}");
    if port == 80 { vec![with_port, name.to_owned()] } else { vec![with_port] }
}

async fn serve(request: Request<Incoming>, server: Arc<Server>) -> Response<Full<Bytes>> {
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
            cookie: text(header::COOKIE),
            body: &body,
        };
        let runner = server.runs.as_ref().map(|runs| runs as &dyn Runner);
        web::answer(&asked, Site { door: &server.door, store: &server.folder, runner })
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
    let told = [(header::LOCATION, answer.location), (header::SET_COOKIE, answer.cookie)];
    for (name, value) in told {
        if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(listen: &str, host: &[&str]) -> ServeArgs {
        ServeArgs {
            runs: "runs".into(),
            listen: listen.parse().unwrap(),
            host: host.iter().map(ToString::to_string).collect(),
            scenarios: None,
            started: StartArgs {
                traces_from: "receiver".into(),
                otlp_grpc: SocketAddr::from(([127, 0, 0, 1], 4317)),
                otlp_http: SocketAddr::from(([127, 0, 0, 1], 4318)),
                i_own: Vec::new(),
                max_rate: None,
            },
        }
    }

    #[test]
    fn this_server_has_these_names() {
        let hosts = |listen: &str, host: &[&str]| {
            let args = args(listen, host);
            door(&args, args.listen, None).hosts
        };
        assert_eq!(hosts("127.0.0.1:7700", &[]), ["127.0.0.1:7700", "localhost:7700"]);
        assert_eq!(hosts("[::1]:80", &[]), ["[::1]:80", "[::1]", "localhost:80", "localhost"]);
        assert_eq!(hosts("10.0.0.5:7700", &[]), ["10.0.0.5:7700"]);
        let proxied = hosts("10.0.0.5:7700", &["load.example", "load.example:443"]);
        assert_eq!(proxied, ["10.0.0.5:7700", "load.example:7700", "load.example", "load.example:443"]);
        let any = args("0.0.0.0:7700", &["load.example"]);
        let any = door(&any, any.listen, None);
        assert_eq!((any.hosts[0].as_str(), any.any_address), ("load.example:7700", Some(7700)));
    }

    #[test]
    fn other_machines_and_starts_need_a_token() {
        if std::env::var_os(TOKEN_VARIABLE).is_some() {
            return;
        }
        let local = args("127.0.0.1:7700", &[]);
        assert_eq!(token(&local).unwrap(), None);
        let scenarios = Some("scenarios".into());
        for needs in [args("10.0.0.5:7700", &[]), ServeArgs { scenarios, ..args("127.0.0.1:7700", &[]) }] {
            assert_eq!(token(&needs).unwrap().unwrap().len(), 32);
        }
    }
}
