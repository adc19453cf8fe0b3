//! Data rows from CSV.

use serde_json::Value;
use std::sync::Arc;

/// Rows with named columns.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Column names, from the first line.
    pub columns: Arc<[String]>,
    rows: Vec<Value>,
}

impl Table {
    /// Number of rows; at least one.
    pub fn len(&self) -> usize {
        self.rows.len() / self.columns.len()
    }

    /// Never true: an empty table is refused when it is read.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The value of a column in a row; rows beyond the last start again at the first.
    pub fn value(&self, row: usize, column: usize) -> &Value {
        &self.rows[(row % self.len()) * self.columns.len() + column]
    }

    /// Reads CSV with a header line. Values are texts, as CSV has nothing else.
    pub(super) fn parse(text: &str) -> Result<Table, String> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
        let header = reader.headers().map_err(|e| e.to_string())?.clone();
        let columns: Arc<[String]> =
            header.iter().map(|c| c.trim_start_matches('\u{feff}').to_string()).collect();
        if let Some(index) = columns.iter().position(String::is_empty) {
            return Err(format!("column {} has no name in the first line", index + 1));
        }
        if columns.is_empty() {
            return Err(
                "it is empty: the first line names the columns, each further line is a row".to_string()
            );
        }
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(|e| e.to_string())?;
            rows.extend(record.iter().map(Value::from));
        }
        if rows.is_empty() {
            return Err("it has column names but no rows".to_string());
        }
        Ok(Table { columns, rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_columns() {
        let table = Table::parse("\u{feff}user, password\nann,\"a,b\"\nbob,2\n").unwrap();
        assert_eq!(&*table.columns, ["user", "password"]);
        assert_eq!((table.len(), table.value(0, 1), table.value(3, 0)), (2, &"a,b".into(), &"bob".into()));
    }

    #[test]
    fn broken_tables_are_refused() {
        assert!(Table::parse("").unwrap_err().contains("empty"));
        assert!(Table::parse("user\n").unwrap_err().contains("no rows"));
        assert!(Table::parse("user,\nann,1\n").unwrap_err().contains("column 2 has no name"));
        assert!(Table::parse("user,password\nann\n").unwrap_err().contains("line: 2"));
    }
}
