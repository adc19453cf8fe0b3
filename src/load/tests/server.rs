//! Small servers on loopback: a friendly one that answers by a function, and one whose every connection is at the mercy
//! of the test.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// A server on a thread of its own; it ends when this is dropped.
pub struct Server {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.take().map(|stop| stop.send(()));
    }
}

/// Every connection goes to `connection`, with its number.
pub fn raw<F, Fut>(connection: F) -> Server
where
    F: Fn(TcpStream, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let accept = async {
                for number in 0..1_000_000 {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    tokio::spawn(connection(stream, number));
                }
            };
            tokio::select! { _ = accept => {}, _ = stopped => {} }
        });
    });
    Server { address, stop: Some(stop) }
}

/// What a friendly server was sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
    pub method: String,
    pub uri: String,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> String {
        self.headers.get(name).map(|v| v.to_str().unwrap().to_string()).unwrap_or_default()
    }
}

/// Requests in the order in which they came.
pub type Log = Arc<Mutex<Vec<Seen>>>;

/// Answers by a function; speaks HTTP/1.1 and HTTP/2 without TLS.
pub fn friendly<B: Into<Bytes> + 'static>(
    answer: impl Fn(&Seen) -> Response<B> + Send + Sync + 'static,
) -> (Server, Log) {
    let log = Log::default();
    let answer = Arc::new(answer);
    let seen = Arc::clone(&log);
    let server = raw(move |stream, connection| {
        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
        async move { serve(TokioIo::new(stream), connection, seen, answer).await }
    });
    (server, log)
}

/// One connection of a friendly server, over whatever carries it.
pub async fn serve<I, B: Into<Bytes> + 'static>(
    io: I,
    connection: usize,
    log: Log,
    answer: Arc<impl Fn(&Seen) -> Response<B> + Send + Sync + 'static>,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
            let seen = Seen {
                connection,
                method: head.method.to_string(),
                uri: head.uri.path_and_query().map(|p| p.to_string()).unwrap_or_default(),
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            };
            let answer = answer(&seen).map(|body| Full::new(body.into()));
            log.lock().unwrap().push(seen);
            Ok::<_, Infallible>(answer)
        }
    });
    let _ = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new())
        .serve_connection(io, service)
        .await;
}

/// An answer of 200 with a body.
pub fn ok(body: &str) -> Response<String> {
    Response::new(body.to_string())
}
