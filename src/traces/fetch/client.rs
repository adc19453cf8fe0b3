//! One request to a backend: bounded in time and size, made again with growing pauses while the backend is busy.

use super::grpc::Channel;
use super::source::{Backend, Kind};
use crate::record::{retry_after, with_causes};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use std::time::{Duration, SystemTime};

/// Tries for one request.
const TRIES: u32 = 5;
/// The pause before the second try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause, also where the backend asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Longest time for one try.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer is not larger than this.
pub(super) const BODY_MAX: usize = 256 << 20;

/// A request as a backend wants it.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    /// Path and query below the base, with a slash in front; over gRPC the method.
    pub path: String,
    /// Body of a POST, or a message of gRPC; a GET without.
    pub body: Option<Vec<u8>>,
    pub accept: &'static str,
}

impl Ask {
    pub fn get(path: String) -> Ask {
        Ask { path, body: None, accept: "application/json" }
    }
}

/// What came of a request, and how often it was made again.
#[derive(Debug)]
pub(super) struct Answer {
    pub result: Result<Vec<u8>, Refusal>,
    pub retries: u64,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// 404, or 400 by backends that say so of an unknown id: not there (yet).
    NotFound,
    /// 401 or 403: nothing will ever come.
    Forbidden(String),
    /// The answer is larger than is taken: ask for less at once.
    TooLarge,
    /// Anything else, after the last try.
    Failed(String),
}

/// Asks backends.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    /// For backends that are asked over gRPC.
    grpc: Option<Channel>,
    pause: Duration,
}

impl Client {
    /// Connections are opened with the first request. Must be called within a tokio runtime.
    pub fn new(backend: &Backend) -> Result<Client, String> {
        crate::traces::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .user_agent("hotspan")
            .build()
            .map_err(|error| format!("the HTTP client could not be made: {error}"))?;
        let grpc = match backend.kind {
            Kind::JaegerGrpc => Some(Channel::to(backend)?),
            _ => None,
        };
        Ok(Client { http, grpc, pause: FIRST_PAUSE })
    }

    #[cfg(test)]
    pub fn impatient(backend: &Backend) -> Client {
        Client { pause: Duration::from_millis(2), ..Client::new(backend).unwrap() }
    }

    /// Makes a request until it is answered, refused for good, or has failed often enough.
    pub async fn ask(&self, backend: &Backend, ask: &Ask) -> Answer {
        let mut retries = 0;
        loop {
            let once = match &self.grpc {
                Some(channel) => channel.once(backend, ask).await,
                None => self.once(backend, ask).await,
            };
            let (why, wanted) = match once {
                Once::Done(result) => return Answer { result, retries },
                Once::Later(why, wanted) => (why, wanted),
            };
            if retries + 1 >= u64::from(TRIES) {
                return Answer { result: Err(Refusal::Failed(why)), retries };
            }
            let growing = self.pause * 2u32.saturating_pow(retries as u32);
            // Between half and all of it, so that many clients do not come back at once.
            let jittered = growing.mul_f64(0.5 + rand::random::<f64>() / 2.0);
            tokio::time::sleep(wanted.unwrap_or(jittered).min(LONGEST_PAUSE)).await;
            retries += 1;
        }
    }

    async fn once(&self, backend: &Backend, ask: &Ask) -> Once {
        let url = format!("{}{}", backend.base, ask.path);
        let request = match &ask.body {
            Some(body) => self.http.post(url).header(CONTENT_TYPE, "text/plain").body(body.clone()),
            None => self.http.get(url),
        };
        let request =
            request.headers(backend.headers.clone()).header(ACCEPT, HeaderValue::from_static(ask.accept));
        let mut answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => return Once::Later(with_causes(&error.without_url()), None),
        };
        let status = answer.status().as_u16();
        let after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        let mut body = Vec::new();
        loop {
            match answer.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() <= BODY_MAX => body.extend_from_slice(&chunk),
                Ok(Some(_)) => return Once::Done(Err(Refusal::TooLarge)),
                Ok(None) => break,
                Err(error) => return Once::Later(with_causes(&error.without_url()), None),
            }
        }
        let why = || format!("HTTP status {status}{}", said(&body));
        match status {
            200..=299 => Once::Done(Ok(body)),
            // A table or a database that is none; spans that are not there are no rows.
            404 if backend.kind == Kind::ClickHouse => Once::Done(Err(Refusal::Failed(why()))),
            404 => Once::Done(Err(Refusal::NotFound)),
            401 | 403 => Once::Done(Err(Refusal::Forbidden(why()))),
            429 | 500 | 502 | 503 | 504 => Once::Later(why(), after),
            _ => Once::Done(Err(Refusal::Failed(why()))),
        }
    }
}

/// What came of one try.
pub(super) enum Once {
    /// An answer, or a refusal that another try would not change.
    Done(Result<Vec<u8>, Refusal>),
    /// Why not now, and when the backend wants to be asked again.
    Later(String, Option<Duration>),
}

/// The beginning of what an error's body says, on one line.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    if words.is_empty() { String::new() } else { format!(": {}", words.join(" ")) }
}
