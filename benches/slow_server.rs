//! A server for `benches/load`: answers every request with two bytes after a delay, and is silent for a while when told to.
//! One thread per connection and nothing but the standard library, so that `rustc -O` is all it takes.
//!
//!     slow_server <port> <delay ms> [<silent from ms> <silent for ms>]
//!
//! The silence is counted from the first request. `GET /requests` gives how many were answered, that one not included.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

static SERVED: AtomicU64 = AtomicU64::new(0);
static BEGUN: OnceLock<Instant> = OnceLock::new();
/// Connections at once: a bound, so that a client gone mad does not take the machine with it.
const MOST: usize = 12_000;

#[derive(Clone, Copy)]
struct Manner {
    delay: Duration,
    silent_from: Duration,
    silent_for: Duration,
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().expect("numbers")).collect();
    let at = |index: usize| Duration::from_millis(numbers.get(index).copied().unwrap_or(0));
    let manner = Manner { delay: at(1), silent_from: at(2), silent_for: at(3) };
    let port = u16::try_from(numbers[0]).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
    for stream in listener.incoming().flatten().take(MOST) {
        let serving = thread::Builder::new().stack_size(64 << 10);
        // A connection that gets no thread is closed, which its client sees.
        let _ = serving.spawn(move || serve(stream, manner));
    }
}

fn serve(mut stream: TcpStream, manner: Manner) {
    let _ = stream.set_nodelay(true);
    let mut head = Vec::with_capacity(512);
    let mut buffer = [0; 2048];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        head.extend_from_slice(&buffer[..count]);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        let asks = head.starts_with(b"GET /requests ");
        head.clear();
        let body = match asks {
            true => SERVED.load(Ordering::Relaxed).to_string(),
            false => {
                wait(manner);
                SERVED.fetch_add(1, Ordering::Relaxed);
                "ok".to_string()
            }
        };
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn wait(manner: Manner) {
    let since = BEGUN.get_or_init(Instant::now).elapsed();
    let over = manner.silent_from + manner.silent_for;
    let silence = if since >= manner.silent_from { over.saturating_sub(since) } else { Duration::ZERO };
    let wait = manner.delay.max(silence);
    if wait > Duration::ZERO {
        thread::sleep(wait);
    }
}
