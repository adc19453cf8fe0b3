//! The integration tests: one binary, so that it links once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "tests")]

mod book;
mod cli;
mod corpus_critical_path;
mod corpus_findings;
mod corpus_nezha;
mod corpus_otlp;
mod corpus_sql;
mod corpus_traces;
mod history;
mod import_rules;
mod payloads;
