//! The cache process: keys with a time to live, in memory, over RESP. It sends no spans, as a Redis server does not.

use super::resp::{Malformed, Reply, read_command, write_reply};
use bytes::{Bytes, BytesMut};
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Keys kept at most; expired ones are swept when it is reached, and if that is not enough all go.
const MAX_KEYS: usize = 100_000;

struct Entry {
    value: Bytes,
    expires: Option<Instant>,
}

#[derive(Default)]
struct Store(Mutex<HashMap<Bytes, Entry>>);

/// Serves the cache until told to stop.
pub(in crate::demo) async fn serve(listener: TcpListener, until: impl Future<Output = ()>) {
    let store = Arc::new(Store::default());
    tokio::pin!(until);
    loop {
        tokio::select! {
            () = &mut until => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let store = store.clone();
                    tokio::spawn(async move {
                        // A client that goes away or talks nonsense ends its own connection only.
                        let _ = converse(stream, &store).await;
                    });
                }
                // Out of file descriptors, usually; trying again at once would spin.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
}

async fn converse(mut stream: TcpStream, store: &Store) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut input, mut output) = (BytesMut::with_capacity(4096), BytesMut::with_capacity(4096));
    while stream.read_buf(&mut input).await? > 0 {
        loop {
            match read_command(&mut input) {
                Ok(Some(words)) => write_reply(&store.answer(&words, Instant::now()), &mut output),
                Ok(None) => break,
                Err(error) => return refuse(stream, &error).await,
            }
        }
        stream.write_all_buf(&mut output).await?;
    }
    Ok(())
}

async fn refuse(mut stream: TcpStream, error: &Malformed) -> std::io::Result<()> {
    stream.write_all(format!("-ERR {error}\r\n").as_bytes()).await
}

impl Store {
    fn answer(&self, words: &[Bytes], now: Instant) -> Reply {
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        match (name.as_slice(), words.get(1..).unwrap_or_default()) {
            (b"PING", []) => Reply::Simple("PONG"),
            (b"GET", [key]) => Reply::Bulk(self.get(key, now)),
            (b"SET", [key, value]) => self.set(key, value, None, now),
            (b"SET", [key, value, option, seconds]) if option.eq_ignore_ascii_case(b"EX") => {
                match std::str::from_utf8(seconds).ok().and_then(|seconds| seconds.parse().ok()) {
                    Some(seconds @ 1..) => self.set(key, value, Some(Duration::from_secs(seconds)), now),
                    _ => Reply::Error("ERR invalid expire time in 'set' command".to_owned()),
                }
            }
            (b"DEL", keys @ [_, ..]) => {
                let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                let gone = keys.iter().filter(|key| entries.remove(*key).is_some()).count();
                Reply::Integer(gone as i64)
            }
            _ => Reply::Error("ERR unknown command or wrong number of arguments".to_owned()),
        }
    }

    fn get(&self, key: &Bytes, now: Instant) -> Option<Bytes> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(key)?;
        if entry.expires.is_some_and(|expires| expires <= now) {
            entries.remove(key);
            return None;
        }
        Some(entry.value.clone())
    }

    fn set(&self, key: &Bytes, value: &Bytes, life: Option<Duration>, now: Instant) -> Reply {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= MAX_KEYS {
            entries.retain(|_, entry| entry.expires.is_none_or(|expires| expires > now));
            if entries.len() >= MAX_KEYS {
                entries.clear();
            }
        }
        // Copies: a slice of the read buffer would keep the whole buffer alive.
        let entry = Entry { value: Bytes::copy_from_slice(value), expires: life.map(|life| now + life) };
        entries.insert(Bytes::copy_from_slice(key), entry);
        Reply::Simple("OK")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &str) -> Vec<Bytes> {
        command.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
    }

    #[test]
    fn keys_live_as_long_as_they_should() {
        let store = Store::default();
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let bulk = |value: &'static str| Reply::Bulk(Some(Bytes::from_static(value.as_bytes())));
        assert_eq!(store.answer(&words("GET a"), start), Reply::Bulk(None));
        assert_eq!(store.answer(&words("set a 1 ex 10"), start), Reply::Simple("OK"));
        assert_eq!(store.answer(&words("SET b 2"), start), Reply::Simple("OK"));
        assert_eq!(store.answer(&words("GET a"), later(9)), bulk("1"));
        assert_eq!(store.answer(&words("GET a"), later(10)), Reply::Bulk(None));
        assert_eq!(store.answer(&words("GET b"), later(1000)), bulk("2"));
        assert_eq!(store.answer(&words("DEL a b c"), later(1000)), Reply::Integer(1));
        assert_eq!(store.answer(&words("GET b"), later(1000)), Reply::Bulk(None));
    }

    #[test]
    fn what_it_does_not_know_is_an_error_reply() {
        let store = Store::default();
        for command in ["FLUSHALL", "GET", "SET a", "SET a b EX 0", "SET a b EX soon", "DEL"] {
            assert!(matches!(store.answer(&words(command), Instant::now()), Reply::Error(_)), "{command}");
        }
    }

    #[test]
    fn a_full_store_makes_room() {
        let store = Store::default();
        let now = Instant::now();
        for key in 0..MAX_KEYS {
            let key = Bytes::from(key.to_string());
            store.set(&key, &Bytes::from_static(b"x"), Some(Duration::from_secs(1)), now);
        }
        let later = now + Duration::from_secs(2);
        store.answer(&words("SET new 1"), later);
        assert_eq!(store.0.lock().unwrap().len(), 1);
    }
}
