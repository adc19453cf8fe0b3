//! Statements, their values and their rows.

use super::DatabaseError;
use std::borrow::Cow;

/// One SQL statement with what spans say about it. Parameters are `$1`, `$2` … in the order of their first appearance: SQLite
/// numbers such names by appearance, PostgreSQL by the number.
#[derive(Clone, Debug)]
pub(crate) struct Statement {
    pub(super) sql: Cow<'static, str>,
    pub(super) operation: &'static str,
    /// The first table of the statement; empty for BEGIN, COMMIT and ROLLBACK.
    pub(super) collection: &'static str,
    /// Operation and tables: low in cardinality, the span's name.
    pub(super) summary: &'static str,
}

impl Statement {
    pub(crate) const fn new(
        operation: &'static str,
        collection: &'static str,
        summary: &'static str,
        sql: &'static str,
    ) -> Statement {
        Statement { sql: Cow::Borrowed(sql), operation, collection, summary }
    }

    /// The same statement with another text, for lists whose length differs.
    pub(crate) fn with_sql(&self, sql: String) -> Statement {
        Statement { sql: Cow::Owned(sql), ..self.clone() }
    }

    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }
}

/// `$1,$2,…` for `count` values.
pub(crate) fn in_list(count: usize) -> String {
    (1..=count).map(|index| format!("${index}")).collect::<Vec<_>>().join(",")
}

/// A value of a parameter or a column.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    Real(f64),
    Text(String),
    Null,
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::Int(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::Text(value)
    }
}

/// A row of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row(pub(super) Vec<Value>);

impl Row {
    pub(crate) fn int(&self, column: usize) -> Result<i64, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(DatabaseError::Column(column)),
        }
    }

    /// A number that may be NULL, as an average over no rows is.
    pub(crate) fn real_or_null(&self, column: usize) -> Result<Option<f64>, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Real(value)) => Ok(Some(*value)),
            Some(Value::Null) => Ok(None),
            _ => Err(DatabaseError::Column(column)),
        }
    }

    pub(crate) fn text(&self, column: usize) -> Result<&str, DatabaseError> {
        match self.0.get(column) {
            Some(Value::Text(value)) => Ok(value),
            _ => Err(DatabaseError::Column(column)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_numbered_from_one() {
        assert_eq!(in_list(3), "$1,$2,$3");
        assert_eq!(in_list(0), "");
    }

    #[test]
    fn a_column_of_another_type_is_an_error_that_names_it() {
        let row = Row(vec![Value::Int(7), Value::Null]);
        assert_eq!(row.int(0).unwrap(), 7);
        assert_eq!(row.text(0).unwrap_err().to_string(), "column 0 of a row is missing or of another type");
        assert_eq!(row.real_or_null(1).unwrap(), None);
        assert!(row.int(2).is_err());
    }
}
