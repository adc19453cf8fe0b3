//! hotspan: a load tester that says *why* a service was slow.
//!
//! It sends W3C trace context with every request, takes in the server's spans, joins both sides of each request and
//! divides every millisecond that the client waited among the parts that spent it.
//!
//! The way of one request through the rooms of this crate:
//!
//! ```text
//! scenario ─> schedule ─> engine ─> Exchange ─┬─> client Span ─> OTLP out
//! (what)      (when due)  (send)              └─> run folder (append-only, on disk)
//! server spans: OTLP in ─> Span ─^                  │
//!                                                   v
//!             join ─> tree ─> critical path ─> blame ─> aggregates ─> findings ─> report
//! ```
//!
//! Data goes one way. While load runs there are bounded channels with one owner each; after the run everything is
//! straight-line code over the run folder. Who may import whom is checked by `tests/suite/import_rules.rs`.

pub mod analysis;
pub mod cli;
pub mod compare;
pub mod demo;
pub mod history;
pub mod load;
pub mod record;
pub mod report;
pub mod scenario;
pub mod stats;
pub mod traces;
pub mod ui;
pub mod wire;
