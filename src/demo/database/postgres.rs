//! PostgreSQL over tokio-postgres, without TLS (the demo's database is a neighbour). Statements are prepared once for each
//! connection. Everything lives in the schema `hotspan_demo`.

use super::{DatabaseError, Identity, Row, Value};
use bytes::BytesMut;
use std::collections::HashMap;
use std::error::Error;
use std::str::FromStr;
use tokio_postgres::config::Host;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, NoTls};

/// The schema that the demo makes and drops.
pub(super) const SCHEMA: &str = "hotspan_demo";

/// One connection and its prepared statements.
pub(super) struct PostgresConnection {
    client: Client,
    prepared: HashMap<String, tokio_postgres::Statement>,
}

impl std::fmt::Debug for PostgresConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresConnection").field("prepared", &self.prepared.len()).finish_non_exhaustive()
    }
}

/// Connects; the connection's task ends when the client is dropped.
pub(super) async fn connect(url: &str) -> Result<Client, DatabaseError> {
    let mut config = Config::from_str(url)?;
    config.options(format!("-c search_path={SCHEMA}"));
    config.application_name("hotspan-demo");
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        // An error ends the connection; the next statement on it says so.
        let _ = connection.await;
    });
    Ok(client)
}

impl PostgresConnection {
    pub(super) async fn open(url: &str) -> Result<PostgresConnection, DatabaseError> {
        Ok(PostgresConnection { client: connect(url).await?, prepared: HashMap::new() })
    }

    pub(super) async fn run(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                let statement = self.client.prepare(sql).await?;
                self.prepared.insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        let rows = self.client.query(&statement, &values).await?;
        rows.iter().map(row_of).collect()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

fn row_of(row: &tokio_postgres::Row) -> Result<Row, DatabaseError> {
    let value = |column: usize| {
        Ok(match *row.columns()[column].type_() {
            Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map(Value::Int),
            Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map(|value| Value::Int(i64::from(value))),
            Type::FLOAT8 => row.try_get::<_, Option<f64>>(column)?.map(Value::Real),
            Type::TEXT | Type::VARCHAR => row.try_get::<_, Option<String>>(column)?.map(Value::Text),
            _ => return Err(DatabaseError::Column(column)),
        }
        .unwrap_or(Value::Null))
    };
    (0..row.len()).map(value).collect::<Result<Vec<_>, DatabaseError>>().map(Row)
}

impl ToSql for Value {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Value::Int(value) => value.to_sql_checked(ty, out),
            Value::Real(value) => value.to_sql_checked(ty, out),
            Value::Text(value) => value.to_sql_checked(ty, out),
            Value::Null => Ok(IsNull::Yes),
        }
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::FLOAT8 | Type::TEXT | Type::VARCHAR)
    }

    to_sql_checked!();
}

/// Host, port and database of the URL, for spans.
pub(super) fn identity(url: &str) -> Result<Identity, DatabaseError> {
    let config = Config::from_str(url)?;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".to_owned(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    Ok(Identity {
        system: "postgresql",
        namespace: format!("{database}|{SCHEMA}"),
        server: Some((host, port)),
    })
}

/// The server's own words where there are any: the driver's alone are "db error".
pub(super) fn explain(error: &tokio_postgres::Error) -> String {
    match (error.as_db_error(), error.source()) {
        (Some(said), _) => format!("{} ({})", said.message(), said.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_name_the_server_and_never_the_password() {
        let identity = identity("postgres://shop:secret@127.0.0.1:5433/store").unwrap();
        assert_eq!(identity.server, Some(("127.0.0.1".to_owned(), 5433)));
        assert_eq!(identity.namespace, "store|hotspan_demo");
        assert!(!format!("{identity:?}").contains("secret"));
    }

    #[test]
    fn a_wrong_url_is_an_error() {
        let message = identity("postgres://host:not-a-port/x").unwrap_err().to_string();
        assert!(message.starts_with("PostgreSQL: "), "{message}");
    }
}
