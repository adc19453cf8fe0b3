//! Aggregates, findings and verdicts of small made-up runs.
