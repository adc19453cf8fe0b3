//! Plans of MySQL and MariaDB (`EXPLAIN`, the table that both give): does a statement read a whole table to find a few rows,
//! and by which columns?

use super::postgres::{SELECTIVE, Scan};
use crate::analysis::statement;

/// One line of a plan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanLine {
    /// The table, or what the statement calls it.
    pub table: String,
    /// How it is read: `ALL` is from end to end, and `index` too, in the order of an index.
    pub access: String,
    /// Whether there is an index that could be used.
    pub has_keys: bool,
    /// Rows that are expected to be read.
    pub rows: f64,
    /// What else is said.
    pub extra: String,
}

/// The largest table that a plan reads from end to end although the statement has conditions on its columns and no index on them
/// could be used. `rows` tells the size of a table, `is_column` whether a word is a column of it.
pub fn scan_of_lines(
    normal: &str,
    lines: &[PlanLine],
    rows: &dyn Fn(&str) -> Option<f64>,
    is_column: &dyn Fn(&str, &str) -> bool,
) -> Option<Scan> {
    let scan = |line: &PlanLine| {
        let is_whole = matches!(line.access.as_str(), "ALL" | "index");
        if !is_whole || line.has_keys || !line.extra.contains("Using where") {
            return None;
        }
        let table = statement::table_of(normal, &line.table).unwrap_or(&line.table);
        let columns = statement::compared_columns(normal, &|word| is_column(table, word));
        let rows = rows(table).unwrap_or(0.0).max(line.rows);
        (!columns.is_empty()).then(|| Scan { table: table.into(), columns, rows, found: 0.0, cost: None })
    };
    lines.iter().filter_map(scan).max_by(|a, b| a.rows.total_cmp(&b.rows))
}

/// The scan, once it is known how many different values a sample of so many rows has; none where an index would find much of
/// the table.
pub fn worth_an_index(scan: Scan, sampled: f64, different: f64) -> Option<Scan> {
    if different <= 0.0 || sampled <= 0.0 {
        return None;
    }
    let share = 1.0 / different;
    (share <= SELECTIVE).then(|| Scan { found: (share * scan.rows).max(1.0), ..scan })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(table: &str, access: &str, rows: f64, extra: &str) -> PlanLine {
        PlanLine { table: table.into(), access: access.into(), has_keys: false, rows, extra: extra.into() }
    }

    const JOINED: &str = "SELECT t.id FROM `term` AS t JOIN product p ON p.id = t.product WHERE t.`word` = ? AND p.name = ? LIMIT ?";

    #[test]
    fn the_largest_table_read_from_end_to_end_is_named_with_its_columns() {
        let size = |table: &str| (table == "term").then_some(90_000.0);
        let is_column = |table: &str, word: &str| (table, word) == ("term", "word") || word == "id";
        let all = line("t", "ALL", 88_000.0, "Using where; Using join buffer");
        let by_key = line("p", "eq_ref", 1.0, "Using where");
        let scan = scan_of_lines(JOINED, &[by_key.clone(), all.clone()], &size, &is_column).unwrap();
        assert_eq!(
            (&*scan.table, &scan.columns[..], scan.rows),
            ("term", &["word".to_owned()][..], 90_000.0)
        );
        let in_order = line("t", "index", 20.0, "Using where");
        assert_eq!(scan_of_lines(JOINED, &[in_order], &size, &is_column).as_ref(), Some(&scan));
        let none = |line: PlanLine| scan_of_lines(JOINED, &[line], &size, &is_column).is_none();
        assert!(
            none(by_key)
                && none(PlanLine { has_keys: true, ..all.clone() })
                && none(line("t", "ALL", 9.0, ""))
        );
        assert!(scan_of_lines("SELECT a FROM term t WHERE t.a > b", &[all], &size, &is_column).is_none());
    }

    #[test]
    fn an_index_that_finds_much_of_a_table_is_none() {
        let scan = |rows| Scan { table: "t".into(), columns: vec!["c".into()], rows, found: 0.0, cost: None };
        assert_eq!(worth_an_index(scan(50_000.0), 10_000.0, 2_000.0).unwrap().found, 25.0);
        assert!(worth_an_index(scan(50_000.0), 10_000.0, 3.0).is_none());
        assert!(worth_an_index(scan(50_000.0), 0.0, 0.0).is_none());
    }
}
