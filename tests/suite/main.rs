//! The integration tests: one binary, so that it links once.

mod corpus_critical_path;
mod corpus_sql;
mod import_rules;
