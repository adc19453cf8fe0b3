//! The cache client of the services: a few connections, each command a CLIENT span and a timer around the same wait.
//!
//! A cache that fails is a cache that knows nothing: the error is on its span, the request goes on.

use super::super::timing::{Clock, Part};
use super::resp::{Reply, read_reply, write_command};
use bytes::{Bytes, BytesMut};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::field::Empty;
use tracing::{Instrument, info_span};

/// Idle connections kept; more are opened and closed as the load asks.
const IDLE: usize = 32;
const TIMEOUT: Duration = Duration::from_secs(2);

/// A client of the cache. Clones share its connections.
#[derive(Clone, Debug)]
pub(in crate::demo) struct Cache {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cache {
    pub(in crate::demo) fn new(address: SocketAddr) -> Cache {
        Cache { address, idle: Arc::default() }
    }

    /// The value of `prefix` + `key`. Spans name the prefix only.
    pub(in crate::demo) async fn get(&self, clock: &Clock, prefix: &str, key: &str) -> Option<Bytes> {
        let full = format!("{prefix}{key}");
        match self.call(clock, "GET", prefix, &[b"GET", full.as_bytes()]).await {
            Some(Reply::Bulk(value)) => value,
            _ => None,
        }
    }

    /// Keeps a value for some seconds.
    pub(in crate::demo) async fn set(
        &self,
        clock: &Clock,
        prefix: &str,
        key: &str,
        value: &[u8],
        seconds: u32,
    ) {
        let full = format!("{prefix}{key}");
        let seconds = seconds.to_string();
        self.call(clock, "SET", prefix, &[b"SET", full.as_bytes(), value, b"EX", seconds.as_bytes()]).await;
    }

    /// Forgets a value.
    pub(in crate::demo) async fn del(&self, clock: &Clock, prefix: &str, key: &str) {
        let full = format!("{prefix}{key}");
        self.call(clock, "DEL", prefix, &[b"DEL", full.as_bytes()]).await;
    }

    async fn call(
        &self,
        clock: &Clock,
        operation: &'static str,
        prefix: &str,
        words: &[&[u8]],
    ) -> Option<Reply> {
        let arguments = if operation == "SET" { "? ? EX ?" } else { "?" };
        let (text, address) = (format!("{operation} {prefix}{arguments}"), self.address.ip().to_string());
        let started = Instant::now();
        let span = info_span!(
            "cache",
            otel.name = operation,
            otel.kind = "client",
            otel.status_code = Empty,
            "db.system.name" = "redis",
            "db.namespace" = "0",
            "db.operation.name" = operation,
            "db.query.text" = text,
            "server.address" = address,
            "server.port" = i64::from(self.address.port()),
            "error.type" = Empty,
        );
        let (reply, waited) = async {
            let reply = tokio::time::timeout(TIMEOUT, self.exchange(words)).await;
            (reply, started.elapsed())
        }
        .instrument(span.clone())
        .await;
        clock.add(Part::Cache, waited);
        let failure = match reply {
            Ok(Ok(Reply::Error(_))) => "ERR".to_owned(),
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(error)) => error.kind().to_string(),
            Err(_) => "timeout".to_owned(),
        };
        span.record("otel.status_code", "error").record("error.type", failure);
        None
    }

    async fn exchange(&self, words: &[&[u8]]) -> std::io::Result<Reply> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        let mut buffer = BytesMut::with_capacity(1024);
        write_command(words, &mut buffer);
        stream.write_all_buf(&mut buffer).await?;
        loop {
            if let Some(reply) = read_reply(&mut buffer)? {
                let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                if idle.len() < IDLE {
                    idle.push(stream);
                }
                return Ok(reply);
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
