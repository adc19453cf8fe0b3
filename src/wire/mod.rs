//! Bytes ↔ records: OTLP in protobuf and JSON, and the run folder's files. No sockets here.
//!
//! One neutral pair of records stands in the middle ([`Span`](crate::record::Span) and
//! [`Exchange`](crate::record::Exchange)); every format is converted once, at this edge. Nothing in this room panics on
//! any input, and whatever a sender can make large (depth, number of values, lengths) is bounded.

pub mod base64;
pub mod files;
pub mod folder;
pub mod otlp;
pub mod protobuf;

#[cfg(test)]
pub(crate) mod fuzz;
#[cfg(test)]
pub(crate) mod fuzz_seeds;
#[cfg(test)]
mod measure;
