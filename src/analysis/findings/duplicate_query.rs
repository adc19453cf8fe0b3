//! `duplicate_query`: the same statement with the same data more than once in one request of a service.
//!
//! Only where the data are known: the text has no placeholders, or the parameters are given. What placeholders hide may
//! differ, and is left to the rule of series.

use super::evidence::Pattern;
use super::{Claim, Found, Limit, View};
use crate::analysis::result::FindingKind;
use crate::analysis::statement::changes_rows;

const REQUESTS: f64 = 0.10;

/// Statements whose repeats take enough.
pub(super) fn find(view: &View<'_>) -> Vec<Found> {
    let parts = view.tally.evidence.of(Pattern::Duplicate).filter(|(who, _)| asks(&who.name));
    let found = |part| {
        let claim = Claim::sure(FindingKind::DuplicateQuery);
        view.pattern(claim, part, REQUESTS, Limit::DuplicateShare, Limit::DuplicateMeanMs)
    };
    parts.filter_map(found).collect()
}

/// Whether a statement gets an answer that could be kept.
fn asks(statement: &str) -> bool {
    // What only ends a transaction, or sets a connection back.
    const NOTHING: [&str; 7] = ["ROLLBACK", "END", "ABORT", "SAVEPOINT", "RELEASE", "RESET", "DISCARD"];
    let first = statement.split([' ', ';']).next().unwrap_or_default();
    !writes(statement) && !NOTHING.iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// Whether a statement changes something, or may wait for those who do.
pub(super) fn writes(statement: &str) -> bool {
    const FIRST: [&str; 8] = ["BEGIN", "START", "COMMIT", "LOCK", "SET", "DEL", "INCR", "DECR"];
    let first = statement.split([' ', '(']).next().unwrap_or_default().to_ascii_uppercase();
    let locks = || {
        let text = statement.to_ascii_uppercase();
        ["FOR UPDATE", "FOR SHARE", "ADVISORY_LOCK", "ADVISORY_XACT_LOCK"]
            .iter()
            .any(|lock| text.contains(lock))
    };
    changes_rows(statement) || FIRST.contains(&first.as_str()) || locks()
}

#[cfg(test)]
mod tests {
    use super::{asks, writes};

    #[test]
    fn what_ends_a_transaction_asks_nothing() {
        assert!(asks("SELECT a FROM t") && asks("GET settings"));
        for nothing in
            ["ROLLBACK", "rollback;", "ROLLBACK TO SAVEPOINT a", "RELEASE SAVEPOINT a", "RESET ALL", "COMMIT"]
        {
            assert!(!asks(nothing), "{nothing}");
        }
    }

    #[test]
    fn who_gives_a_lock_back_waits_for_none() {
        assert!(writes("SELECT pg_advisory_lock(?)") && writes("SELECT pg_advisory_xact_lock(?)"));
        assert!(writes("SELECT id FROM t WHERE id = ? FOR UPDATE"));
        assert!(!writes("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL"));
    }
}
