//! The large_payload fault: a list without a limit, sent as a stream while it is written.

use super::catalogue::Catalogue;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;

const CHUNK: usize = 64 * 1024;
/// Chunks that may wait for the client.
const WAITING: usize = 4;

/// The page with every product of the shop in it. The head goes out at once; a thread writes the rest as the client reads.
pub(super) fn whole_catalogue(page: serde_json::Value, catalogue: Arc<Catalogue>) -> Response {
    let (chunks, body) = mpsc::channel(WAITING);
    tokio::task::spawn_blocking(move || write(&page, &catalogue, &chunks));
    ([(CONTENT_TYPE, "application/json")], Body::new(Chunks(body))).into_response()
}

/// Ends early when the client has gone away.
fn write(page: &serde_json::Value, catalogue: &Catalogue, chunks: &mpsc::Sender<Bytes>) -> Option<()> {
    let mut buffer = Vec::with_capacity(CHUNK + 1024);
    buffer.extend_from_slice(b"{\"page\":");
    serde_json::to_writer(&mut buffer, page).ok()?;
    buffer.extend_from_slice(b",\"catalogue\":[");
    for (index, item) in catalogue.items().iter().enumerate() {
        if index > 0 {
            buffer.push(b',');
        }
        serde_json::to_writer(&mut buffer, item).ok()?;
        if buffer.len() >= CHUNK {
            let full = std::mem::replace(&mut buffer, Vec::with_capacity(CHUNK + 1024));
            chunks.blocking_send(Bytes::from(full)).ok()?;
        }
    }
    buffer.extend_from_slice(b"]}");
    chunks.blocking_send(Bytes::from(buffer)).ok()
}

/// A body out of a channel.
struct Chunks(mpsc::Receiver<Bytes>);

impl http_body::Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}
