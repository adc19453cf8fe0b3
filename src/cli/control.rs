//! Changing the load while it runs: by hand at the live screen, and with `--control` over HTTP on this machine.
//!
//! Who may, over HTTP: whoever has the token that is printed at the start. A web page in a browser may not, even if it learnt the
//! token's place: the `Host` must be this address, an `Origin` must be its own or absent, changes are JSON by POST alone, and
//! there is no CORS. Everything that changes the load goes through one channel to the loop that watches it and is kept in
//! the run, so that the report tells what was really offered.

use super::answering::{self, Terms};
use crate::load::{Change, Clock, Controller, LiveCounters, ONE, Schedule, Stopper};
use crate::record::{LoadChange, Timestamp};
use crate::ui::Follower;
pub use crate::ui::web::Change as Action;
use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// Longest request body.
const BODY_MAX: usize = 4_096;
/// Connections at once: a person, a script, a screen.
const CONNECTIONS_MAX: usize = 16;
/// Longest wait for a request, and for the loop that applies it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Largest factor.
const FACTOR_MAX: f64 = 1_000.0;

type Asked = (Action, oneshot::Sender<Result<Value, String>>);

/// How the load is changed, for the loop that watches it; also what was asked for over HTTP.
pub struct Commands {
    asked: mpsc::Receiver<Asked>,
    asks: mpsc::Sender<Asked>,
    schedule: Arc<Schedule>,
    controller: Controller,
    /// What the load may be multiplied by.
    most: f64,
    changes: RefCell<Vec<LoadChange>>,
}

/// The endpoint: where it listens, and the word that opens it.
pub struct Endpoint {
    pub address: SocketAddr,
    pub token: String,
}

/// What may be looked at.
pub struct Looks {
    pub counters: Arc<LiveCounters>,
    /// Name of the run folder.
    pub run: String,
    /// All that the live screen shows.
    pub follower: Follower,
}

struct Service {
    address: SocketAddr,
    token: String,
    asks: mpsc::Sender<Asked>,
    controller: Controller,
    looks: Looks,
}

/// Opens the endpoint.
///
/// # Errors
/// When the address is not this machine's own, or is taken.
pub fn open(
    runtime: &Runtime,
    address: SocketAddr,
    commands: &Commands,
    looks: Looks,
) -> anyhow::Result<Endpoint> {
    if !address.ip().is_loopback() {
        bail!("--control {address}: the load can be changed from this machine only; use 127.0.0.1 or [::1]");
    }
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .with_context(|| format!("--control {address}: cannot listen there"))?;
    let address = listener.local_addr()?;
    let token: String = (0..2).map(|_| format!("{:016x}", rand::random::<u64>())).collect();
    let (asks, controller) = (commands.asks.clone(), commands.controller.clone());
    let service = Arc::new(Service { address, token: token.clone(), asks, controller, looks });
    let terms = Terms { connections: CONNECTIONS_MAX, head_within: PATIENCE, whole_within: PATIENCE * 2 };
    runtime.spawn(answering::serve(listener, terms, move |request| {
        let service = Arc::clone(&service);
        async move { service.answer(request).await }
    }));
    Ok(Endpoint { address, token })
}

fn said(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    said(status, &json!({ "error": why }))
}

impl Service {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        if let Err((status, why)) = self.may(&request) {
            return refused(status, why);
        }
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/load") => said(StatusCode::OK, &self.state()),
            (&Method::POST, "/load") => self.change(request).await,
            (&Method::GET, "/live") => self.live().await,
            (_, "/load") => {
                refused(StatusCode::METHOD_NOT_ALLOWED, "GET tells how the load stands, POST changes it")
            }
            _ => refused(StatusCode::NOT_FOUND, "there are /load and /live"),
        }
    }

    /// Whether the request comes from somebody who was told.
    fn may<B>(&self, request: &Request<B>) -> Result<(), (StatusCode, &'static str)> {
        let header = |name| request.headers().get(name).and_then(|v: &http::HeaderValue| v.to_str().ok());
        let own = self.address.to_string();
        let local = format!("localhost:{}", self.address.port());
        let host = header(HOST).unwrap_or_default();
        if host != own && host != local {
            return Err((StatusCode::MISDIRECTED_REQUEST, "the host is not this address"));
        }
        let origin = request.headers().get(ORIGIN);
        if origin.is_some_and(|o| o.as_bytes() != format!("http://{host}").as_bytes()) {
            return Err((StatusCode::FORBIDDEN, "pages of other origins may not change a load"));
        }
        let token = header(AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer ")).unwrap_or_default();
        if !same(token.as_bytes(), self.token.as_bytes()) {
            return Err((
                StatusCode::UNAUTHORIZED,
                "needs the token that was printed: Authorization: Bearer …",
            ));
        }
        if request.method() == Method::POST
            && header(CONTENT_TYPE).is_none_or(|t| !t.starts_with("application/json"))
        {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "changes are application/json"));
        }
        Ok(())
    }

    async fn change(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let body =
            tokio::time::timeout(PATIENCE, Limited::new(request.into_body(), BODY_MAX).collect()).await;
        let Ok(Ok(body)) = body else {
            return refused(StatusCode::BAD_REQUEST, "the body is too long, or did not come");
        };
        let action = match action(&body.to_bytes()) {
            Ok(action) => action,
            Err(why) => return refused(StatusCode::BAD_REQUEST, &why),
        };
        let (answer, answered) = oneshot::channel();
        if self.asks.send((action, answer)).is_err() {
            return refused(StatusCode::CONFLICT, "the load is over");
        }
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(Ok(done))) => said(StatusCode::OK, &done),
            Ok(Ok(Err(why))) => refused(StatusCode::CONFLICT, &why),
            _ => refused(StatusCode::CONFLICT, "the load is over"),
        }
    }

    /// All that the live screen shows, for whoever draws it elsewhere.
    async fn live(&self) -> Response<Full<Bytes>> {
        let follower = self.looks.follower.clone();
        let look = tokio::task::spawn_blocking(move || follower.snapshot(PATIENCE)).await;
        match look {
            Ok(Some(look)) => said(StatusCode::OK, &json!({ "run": self.looks.run, "look": look })),
            _ => refused(StatusCode::SERVICE_UNAVAILABLE, "what is shown cannot be told now; ask again"),
        }
    }

    fn state(&self) -> Value {
        let timeline = self.controller.timeline();
        let last = timeline.pieces().last().copied();
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Relaxed);
        let c = &self.looks.counters;
        json!({
            "factor": last.map_or(1.0, |piece| f64::from(piece.factor) / f64::from(ONE)),
            "paused": last.is_some_and(|piece| !piece.moving),
            "stage": c.stage.load(Relaxed),
            "users": count(&c.users),
            "in_flight": count(&c.in_flight),
            "waiting": count(&c.waiting),
            "sent": count(&c.sent),
            "done": count(&c.done),
            "errors": count(&c.errors),
            "late": count(&c.late),
            "not_sent": count(&c.not_sent),
        })
    }
}

/// `{"factor": 1.5}`, or a word: `"pause"`, `{"pause": true}` too.
fn action(body: &[u8]) -> Result<Action, String> {
    const KNOWN: &str = r#"write {"factor": 1.5}, {"pause": true}, {"resume": true}, {"next_stage": true}, {"stop": true} or {"stop_now": true}"#;
    let mut value: Value = serde_json::from_slice(body).map_err(|e| format!("no JSON ({e}); {KNOWN}"))?;
    if let Value::Object(map) = &value
        && map.len() == 1
        && let Some((word, Value::Bool(true))) = map.iter().next()
    {
        value = Value::String(word.clone());
    }
    let action: Action = serde_json::from_value(value).map_err(|_| format!("not known; {KNOWN}"))?;
    match action {
        Action::Factor(factor) if !(factor > 0.0 && factor <= FACTOR_MAX) => {
            Err(format!("the factor must be above 0 and at most {FACTOR_MAX}; to stop for a while, pause"))
        }
        action => Ok(action),
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Commands {
    /// For a load that follows `controller` and may be multiplied by `most`.
    pub fn new(schedule: Arc<Schedule>, controller: Controller, most: f64) -> Commands {
        let (asks, asked) = mpsc::channel();
        Commands { asked, asks, schedule, controller, most, changes: RefCell::default() }
    }

    /// Does what was asked for since the last look, with a load that began at `begin`.
    pub fn apply(&self, begin: Timestamp, clock: Clock, stopper: &Stopper) {
        while let Ok((action, answer)) = self.asked.try_recv() {
            let done = self.act(action, begin, clock, stopper).map(|change| {
                let at_s = (change.at.as_secs_f64() * 1e3).round() / 1e3;
                json!({ "done": change.what, "at_s": at_s })
            });
            // Whoever asked may be gone.
            let _ = answer.send(done);
        }
    }

    /// Does one thing, and keeps it in mind.
    ///
    /// # Errors
    /// When more load is asked for than is allowed.
    pub fn act(
        &self,
        action: Action,
        begin: Timestamp,
        clock: Clock,
        stopper: &Stopper,
    ) -> Result<LoadChange, String> {
        let now = clock.now();
        let change = |change| self.controller.change(begin, now, change);
        let (what, at) = match action {
            Action::Factor(factor) if factor > self.most => {
                return Err(format!(
                    "the load may be at most {:.2} times what is planned; --max-rate allows more",
                    self.most
                ));
            }
            Action::Factor(factor) => {
                let millionths = (factor * f64::from(ONE)).round().clamp(1.0, f64::from(u32::MAX)) as u32;
                (format!("rates and users times {factor}"), change(Change::Factor(millionths)))
            }
            Action::Pause => ("paused".to_owned(), change(Change::Pause)),
            Action::Resume => ("resumed".to_owned(), change(Change::Resume)),
            Action::NextStage => {
                let stands = self.controller.timeline().schedule_at(now.since(begin));
                let next = self.schedule.next_stage(stands);
                ("moved to the next stage".to_owned(), change(Change::Jump(next)))
            }
            Action::Stop => {
                stopper.drain();
                ("stopped".to_owned(), now.since(begin))
            }
            Action::StopNow => {
                stopper.now();
                ("stopped at once".to_owned(), now.since(begin))
            }
        };
        let change = LoadChange { at, what };
        self.changes.borrow_mut().push(change.clone());
        Ok(change)
    }

    /// All that was changed.
    pub fn changes(&self) -> Vec<LoadChange> {
        self.changes.borrow().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::control_channel;

    fn service() -> (Service, mpsc::Receiver<Asked>) {
        let (asks, asked) = mpsc::channel();
        let address = SocketAddr::from(([127, 0, 0, 1], 4711));
        let (controller, _signal) = control_channel(ONE);
        let follower = Follower::start(crate::ui::Setup::default()).unwrap();
        let looks = Looks { counters: Arc::default(), run: "r".into(), follower };
        (Service { address, token: "t0ken".into(), asks, controller, looks }, asked)
    }

    fn request(method: Method, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri("/load");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_who_was_told_may() {
        let (service, _asked) = service();
        let (host, token) = (("host", "127.0.0.1:4711"), ("authorization", "Bearer t0ken"));
        let json = ("content-type", "application/json");
        let of = |method, headers: &[(&str, &str)]| {
            service.may(&request(method, headers)).map_err(|e| e.0.as_u16())
        };
        assert_eq!(of(Method::GET, &[host, token]), Ok(()));
        assert_eq!(of(Method::GET, &[("host", "localhost:4711"), token]), Ok(()));
        assert_eq!(of(Method::POST, &[host, token, json, ("origin", "http://127.0.0.1:4711")]), Ok(()));
        assert_eq!(of(Method::GET, &[("host", "evil.example"), token]), Err(421));
        assert_eq!(of(Method::GET, &[token]), Err(421));
        assert_eq!(of(Method::GET, &[host]), Err(401));
        assert_eq!(of(Method::GET, &[host, ("authorization", "Bearer t0ke")]), Err(401));
        assert_eq!(of(Method::POST, &[host, token, json, ("origin", "http://evil.example")]), Err(403));
        assert_eq!(of(Method::POST, &[host, token, json, ("origin", "null")]), Err(403));
        assert_eq!(of(Method::POST, &[host, token, ("content-type", "text/plain")]), Err(415));
    }

    #[test]
    fn actions_are_one_thing_each() {
        assert_eq!(action(br#"{"factor": 1.5}"#), Ok(Action::Factor(1.5)));
        assert_eq!(action(br#"{"pause": true}"#), Ok(Action::Pause));
        assert_eq!(action(br#""next_stage""#), Ok(Action::NextStage));
        for bad in [
            "",
            "{}",
            r#"{"factor": 0}"#,
            r#"{"factor": 1e9}"#,
            r#"{"factor": "2"}"#,
            r#"{"pause": true, "stop": true}"#,
            r#"{"faster": true}"#,
        ] {
            assert!(action(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_changed_is_kept() {
        let (controller, _signal) = control_channel(ONE);
        let scenario = crate::scenario::parse(
            "target: http://127.0.0.1:1\nload: [{rate: 1/s, for: 5s}, {rate: 2/s, for: 5s}]\nsteps: [GET /]\n",
            "t.yaml",
        )
        .unwrap();
        let schedule = Arc::new(Schedule::of(&scenario, 1));
        let commands = Commands::new(schedule, controller.clone(), 3.0);
        let (stopper, _stop) = crate::load::stop_channel();
        let clock = Clock::start();
        for action in [Action::Factor(2.0), Action::NextStage, Action::Factor(4.0)] {
            commands.asks.send((action, oneshot::channel().0)).unwrap();
        }
        let begin = clock.now();
        commands.apply(begin, clock, &stopper);
        let refused = commands.act(Action::Factor(4.0), begin, clock, &stopper).unwrap_err();
        assert!(refused.contains("at most 3.00 times"), "{refused}");
        let what: Vec<String> = commands.changes().into_iter().map(|c| c.what).collect();
        assert_eq!(what, ["rates and users times 2", "moved to the next stage"]);
        let last = *controller.timeline().pieces().last().unwrap();
        assert_eq!((last.factor, last.schedule.0), (2 * ONE, 5_000_000_000));
    }
}
