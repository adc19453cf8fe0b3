//! How long to wait before the next try.

use std::time::Duration;

/// Pauses that double with each failure, and what a peer asks for instead.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// After the first failure.
    pub first: Duration,
    /// Longest pause of our own choice.
    pub longest: Duration,
    /// Longest that a peer can ask for.
    pub longest_asked: Duration,
}

impl Backoff {
    /// After so many failures. What the peer asks for is honoured and never undercut. Jitter (a factor from 0.5 to 1) keeps
    /// senders from coming back all at once.
    pub fn pause(&self, failures: u32, asked: Option<Duration>, jitter: f64) -> Duration {
        match asked {
            Some(asked) => asked.min(self.longest_asked).mul_f64(2.0 - jitter).max(Duration::from_millis(1)),
            None => self.first.saturating_mul(1 << failures.min(16)).min(self.longest).mul_f64(jitter),
        }
    }
}
