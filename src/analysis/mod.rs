//! Exchanges and spans in, blame out: what kind of work a span is, join, tree, critical path, blame, aggregates, findings.
//!
//! No I/O and nothing that can fail: real traces are broken, and a broken one is a note.

mod contain;
mod facts;
mod names;
mod path;
pub mod result;
mod row;
mod semantics;
pub mod statement;
#[cfg(test)]
mod testing;
mod tree;

pub use path::{PathSegment, PathSpan, critical_path};
