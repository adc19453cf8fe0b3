//! The run folder: `run.json`, `exchanges/`, `spans/`, `metrics/` and `logs/`. Append-only, every record checksummed, readable after
//! `kill -9` up to the last whole record. The format is described in `docs/run-folder.md`.

mod document;
mod error;
mod exchange_codec;
mod fanout;
mod frame;
mod generator;
mod messages;
mod queue;
mod reader;
mod search_doc;
mod segment;
mod together;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use error::{FolderError, Lost};
pub use generator::GeneratorWriter;
pub use messages::{LogTotals, MessageBatch, MessageBatches, MetricTotals};
pub use queue::{MessageQueue, Queued};
pub use reader::{Exchanges, ReadNote, RunReader, SpanBatch, SpanBatches, SpanTotals, Stretch};
pub use writer::RunWriter;

/// The file that makes a folder a run folder.
pub const RUN_FILE: &str = "run.json";
/// Folder of the exchanges' segments.
pub const EXCHANGES_DIR: &str = "exchanges";
/// Folder of the spans' segments.
pub const SPANS_DIR: &str = "spans";
/// Folder of the segments of metrics.
pub const METRICS_DIR: &str = "metrics";
/// Folder of the segments of logs.
pub const LOGS_DIR: &str = "logs";

/// Name of a segment file.
fn segment_name(index: u32) -> String {
    format!("{index:06}.seg")
}
