//! An address where hotspan's metrics can be scraped (`--metrics-listen`): it serves the latest text that the run's owner
//! of metrics has put there, and never makes it wait.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Scrapes at once; more wait. A scraper opens one connection.
const CONNECTIONS: usize = 16;
/// A connection that sends no request for this long is closed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The latest text; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ScrapeText(Arc<Mutex<Bytes>>);

impl ScrapeText {
    /// Replaces the text.
    pub fn put(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Bytes::from(text);
    }

    fn get(&self) -> Bytes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A listening address for scrapers.
#[derive(Debug)]
pub struct ScrapeEndpoint {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl ScrapeEndpoint {
    /// Listens, on the current tokio runtime, until it is dropped. The texts are of `content_type`.
    ///
    /// # Errors
    /// A sentence with the address, where it cannot be listened on.
    pub fn start(
        address: SocketAddr,
        content_type: &'static str,
        text: ScrapeText,
    ) -> Result<ScrapeEndpoint, String> {
        let wrong =
            |error: io::Error| format!("cannot serve metrics on {address}: {error}; name another address");
        let listener = std::net::TcpListener::bind(address).map_err(wrong)?;
        listener.set_nonblocking(true).map_err(wrong)?;
        let listener = TcpListener::from_std(listener).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let task = tokio::spawn(serve(listener, content_type, text));
        Ok(ScrapeEndpoint { address, task })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ScrapeEndpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, content_type: &'static str, text: ScrapeText) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(seat) = seats.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: that passes.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let text = text.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request: Request<Incoming>| {
                std::future::ready(Ok::<_, Infallible>(respond(&request, content_type, &text)))
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
            let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            drop(seat);
        });
    }
}

fn respond(
    request: &Request<Incoming>,
    content_type: &'static str,
    text: &ScrapeText,
) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, words: &'static str| {
        let mut response = Response::new(Full::new(Bytes::from_static(words.as_bytes())));
        *response.status_mut() = status;
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => {
            let mut response = Response::new(Full::new(text.get()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            response
        }
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"),
        _ => plain(StatusCode::NOT_FOUND, "hotspan serves its metrics at /metrics\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_latest_text_is_served_and_a_taken_address_is_named() {
        let text = ScrapeText::default();
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let endpoint = ScrapeEndpoint::start(local, "text/x-test", text.clone()).unwrap();
        text.put("one 1\n".into());
        text.put("two 2\n".into());
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n");
        let answer = ask(endpoint.address(), &get("/metrics")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(
            answer.contains("content-type: text/x-test") && answer.ends_with("\r\n\r\ntwo 2\n"),
            "{answer}"
        );
        assert!(ask(endpoint.address(), &get("/")).await.starts_with("HTTP/1.1 404"));
        let post = "POST /metrics HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert!(ask(endpoint.address(), post).await.starts_with("HTTP/1.1 405"));
        let error = ScrapeEndpoint::start(endpoint.address(), "x", text).unwrap_err();
        assert!(error.contains(&endpoint.address().to_string()), "{error}");
    }
}
