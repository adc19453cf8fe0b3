//! Messages that are sent one at a time and waited for: hotspan's own spans, which are few. What the load makes goes
//! through the [`super::Exporter`], which never waits.

use super::backoff::Backoff;
use super::environment::Endpoint;
use super::peer::{Peer, Sent};
use crate::wire::otlp::{Encoding, Signal};
use bytes::Bytes;
use rand::RngExt;
use std::time::Duration;

/// Tries for one message.
const TRIES: u32 = 3;
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(250),
    longest: Duration::from_secs(2),
    longest_asked: Duration::from_secs(5),
};

/// A connection to one endpoint, in whatever way it is reached.
#[derive(Debug)]
pub struct DirectSender(Peer);

impl DirectSender {
    /// Prepares a connection; it is opened with the first message. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Why there can be none: a certificate that is not there, a header that is not allowed.
    pub fn to(endpoint: &Endpoint) -> Result<DirectSender, String> {
        Peer::new(endpoint).map(DirectSender)
    }

    /// Sends a message in protobuf, again after a pause where the peer is busy. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// Why it was not taken in the end.
    pub async fn send(&self, signal: Signal, message: Bytes) -> Result<(), String> {
        let mut failures = 0;
        loop {
            match self.0.send(signal, Encoding::Protobuf, &message).await {
                Sent::Accepted(None) => return Ok(()),
                Sent::Accepted(Some(partial)) if partial.rejected == 0 => return Ok(()),
                Sent::Accepted(Some(partial)) => {
                    return Err(format!("{} rejected: {}", partial.rejected, partial.message));
                }
                Sent::Refused { why } => return Err(why),
                Sent::Later { why, .. } if failures + 1 >= TRIES => return Err(why),
                Sent::Later { after, .. } => {
                    let jitter = rand::rng().random_range(0.5..1.0);
                    tokio::time::sleep(BACKOFF.pause(failures, after, jitter)).await;
                    failures += 1;
                }
            }
        }
    }
}
