//! SQLite: `EXPLAIN QUERY PLAN` tells which tables are read from end to end; the columns come from the statement's own
//! conditions.

use super::note;
use crate::analysis::plans::{DatabaseEvidence, Scan};
use crate::analysis::statement;
use anyhow::Context;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Rows that are counted at the most: enough to call a table large.
const COUNTED: i64 = 1_000_000;

/// Plans of statements, and what could not be planned.
///
/// # Errors
/// If the file cannot be opened.
pub fn plans(path: &str, statements: &[Arc<str>]) -> anyhow::Result<(DatabaseEvidence, Vec<String>)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let database = Connection::open_with_flags(path, flags)
        .with_context(|| format!("--database: cannot open {path}"))?;
    database.busy_timeout(Duration::from_secs(5))?;
    let mut evidence = DatabaseEvidence::default();
    let mut notes = Vec::new();
    for text in statements {
        let Some(query) = statement::with_parameters(text) else { continue };
        // SQLite numbers its parameters with a question mark.
        match scan(&database, text, &query.replace('$', "?")) {
            Ok(Some(scan)) => drop(evidence.scans.insert(text.clone(), scan)),
            Ok(None) => {}
            Err(why) => note(&mut notes, text, &why),
        }
    }
    Ok((evidence, notes))
}

/// The largest table that a plan reads from end to end although the statement has conditions on its columns.
fn scan(database: &Connection, text: &str, query: &str) -> rusqlite::Result<Option<Scan>> {
    let mut explain = database.prepare(&format!("EXPLAIN QUERY PLAN {query}"))?;
    let n = explain.parameter_count();
    let nulls = rusqlite::params_from_iter(std::iter::repeat_n(rusqlite::types::Null, n));
    let details: Vec<String> =
        explain.query_map(nulls, |row| row.get("detail"))?.collect::<rusqlite::Result<_>>()?;
    let mut best: Option<Scan> = None;
    for detail in details {
        // `SCAN term`, `SCAN term AS t`; with an index it says USING.
        let Some(rest) = detail.strip_prefix("SCAN ").filter(|r| !r.contains("USING")) else { continue };
        let name = rest.strip_prefix("TABLE ").unwrap_or(rest).split(' ').next().unwrap_or_default();
        let table = statement::table_of(text, name).unwrap_or(name);
        let Some(columns) = columns(database, table)? else { continue };
        let compared = statement::compared_columns(text, &|word| columns.contains(word));
        let rows = count(database, table)?;
        if !compared.is_empty() && best.as_ref().is_none_or(|b| b.rows < rows) {
            best = Some(Scan { table: table.into(), columns: compared, rows, found: 0.0, cost: None });
        }
    }
    Ok(best)
}

fn columns(database: &Connection, table: &str) -> rusqlite::Result<Option<BTreeSet<String>>> {
    let mut info = database.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names: BTreeSet<String> =
        info.query_map([table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok((!names.is_empty()).then_some(names))
}

fn count(database: &Connection, table: &str) -> rusqlite::Result<f64> {
    let table = table.replace('"', "\"\"");
    let query = format!("SELECT COUNT(*) FROM (SELECT 1 FROM \"{table}\" LIMIT {COUNTED})");
    database.query_row(&query, [], |row| row.get::<_, i64>(0)).map(|n| n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_named_with_its_columns_until_the_index_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shop.db");
        let path = path.to_str().unwrap();
        let database = Connection::open(path).unwrap();
        let fill = "CREATE TABLE term (id INTEGER PRIMARY KEY, word TEXT, n INTEGER);
             INSERT INTO term (word, n) WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 5000)
             SELECT 'w' || i, i FROM c;";
        database.execute_batch(fill).unwrap();
        let text: Arc<str> = "SELECT t.n FROM term t WHERE t.word = ? ORDER BY t.n LIMIT ?".into();
        let by_id: Arc<str> = "SELECT n FROM term WHERE id = ?".into();
        let broken: Arc<str> = "SELECT n FROM absent WHERE id = ?".into();
        let (evidence, notes) = plans(path, &[text.clone(), by_id.clone(), broken]).unwrap();
        let scan = &evidence.scans[&text];
        assert_eq!((scan.remedy().as_str(), scan.rows), ("CREATE INDEX term_word ON term (word)", 5_000.0));
        assert!(!evidence.scans.contains_key(&by_id));
        assert!(notes[0].contains("no such table"), "{notes:?}");
        database.execute_batch("CREATE INDEX word ON term (word)").unwrap();
        assert!(plans(path, &[text]).unwrap().0.scans.is_empty());
        assert!(plans("/no/such/file", &[]).is_err());
    }
}
