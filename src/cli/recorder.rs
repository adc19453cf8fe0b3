//! The one owner of the run folder while load runs: takes exchanges from the load threads and span batches from the
//! receiver, writes both, offers client spans to the exporter, and then waits for late spans with a visible reason.
//!
//! Runs on a thread of its own because it writes files. When the disk is full it says so, refuses spans (their senders
//! may retry elsewhere) and asks the load to stop: going on without recording would measure nothing.

use super::host;
use crate::record::{Exchange, Nanos, ReceiverFacts, Run, WaitEnd, WaitFacts};
use crate::stats::Histogram;
use crate::traces::{Ack, Exporter, Incoming, JoinTracker, LateSpanWait, WaitStep};
use crate::wire::otlp_encode::ClientSpans;
use crate::wire::run_folder::RunWriter;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
