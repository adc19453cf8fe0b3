//! Exchanges and spans in, blame out: what kind of work a span is, join, tree, critical path, blame, aggregates, findings.
//!
//! No I/O and nothing that can fail: real traces are broken, and a broken one is a note.

pub mod result;
pub mod statement;
