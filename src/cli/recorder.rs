//! The one owner of the run folder while load runs: takes exchanges from the load threads and span batches from the
//! receiver, writes both, offers client spans and metrics to the exporter, and then waits for late spans with a visible
//! reason.
//!
//! Runs on a thread of its own because it writes files. When the disk is full it says so, refuses further spans (their
//! senders are told) and asks the load to stop: going on without recording would measure nothing.

use super::host;
use crate::record::{Exchange, ReceiverFacts, Run, WaitFacts};
use crate::stats::Histogram;
use crate::traces::{Ack, ClientExport, Incoming, JoinTracker, LateSpanWait};
use crate::wire::folder::{FolderError, RunWriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often the folder is flushed and the wait looks at its clock.
const TICK: Duration = Duration::from_millis(100);

/// What the progress line reads while the recorder works.
#[derive(Debug, Default)]
pub struct RecorderLive {
    pub exchanges: AtomicU64,
    pub errors: AtomicU64,
    pub spans: AtomicU64,
    pub traced: AtomicU64,
    pub joined: AtomicU64,
    pub p95_ns: AtomicU64,
    /// Set when the folder cannot be written any more.
    pub broken: AtomicBool,
    /// Set by the user's second thoughts: do not wait for late spans.
    pub hurry: AtomicBool,
}

/// What the recorder found out.
#[derive(Debug)]
pub struct Recorded {
    pub wait: Option<WaitFacts>,
    pub receiver: ReceiverFacts,
    /// Why the folder could not be written any more, and what was lost.
    pub problem: Option<String>,
    pub writer: RunWriter,
}
