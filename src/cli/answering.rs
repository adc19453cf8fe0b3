//! Small servers of hotspan's own: HTTP/1.1, one request for each connection, a bounded number of them at once.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// What a small server lets happen.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Connections at once.
    pub connections: usize,
    /// Longest wait for the head of a request.
    pub head_within: Duration,
    /// Longest time for a request and its answer.
    pub whole_within: Duration,
}

/// Answers whoever comes, for ever.
pub async fn serve<F, A>(listener: TcpListener, terms: Terms, answer: F)
where
    F: Fn(Request<Incoming>) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Full<Bytes>>> + Send,
{
    let seats = Arc::new(tokio::sync::Semaphore::new(terms.connections));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files for a moment, or a peer that left.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(terms.head_within).keep_alive(false);
            // A connection that breaks is its peer's concern.
            let whole = http.serve_connection(TokioIo::new(stream), service);
            let _ = tokio::time::timeout(terms.whole_within, whole).await;
            drop(seat);
        });
    }
}
