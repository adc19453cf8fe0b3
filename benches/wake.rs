//! What the machine itself asks for at a fixed rate: a thread that wakes at each moment and does nothing. For `benches/load`:
//! no client that sends each request when it is due can cost less, and clients that cost less send several at once.
//!
//!     wake <per second> <seconds>

use std::thread;
use std::time::{Duration, Instant};

fn main() {
    let numbers: Vec<u32> = std::env::args().skip(1).map(|a| a.parse().expect("numbers")).collect();
    let [rate, seconds] = numbers[..] else { panic!("usage: wake <per second> <seconds>") };
    let begin = Instant::now();
    for n in 0..rate * seconds {
        let due = begin + Duration::from_secs(1) * n / rate;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
