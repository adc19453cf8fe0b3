//! The database of the shop: one small interface over SQLite and PostgreSQL, the same statements for both.
//!
//! Every statement is a CLIENT span and a timer around the same wait. A connection is used by one request at a time.

mod pool;
mod postgres;
mod schema;
pub(super) mod seed;
mod sqlite;
mod statement;

pub(super) use pool::{Connection, Pool};
pub(super) use schema::{create_search_index, drop_search_index};
pub(super) use statement::{Row, Statement, Value, in_list};

use std::path::PathBuf;

/// Which database holds the shop's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// A file, opened in write-ahead-log mode.
    Sqlite {
        /// Where it is.
        path: PathBuf,
    },
    /// A PostgreSQL server. The shop works in a schema of its own, `hotspan_demo`, and touches nothing else.
    Postgres {
        /// `postgres://user:password@host:port/database`, or libpq's key-value form.
        url: String,
    },
}

/// What a database said instead of an answer.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// From SQLite.
    #[error("SQLite: {0}")]
    Sqlite(rusqlite::Error),
    /// From PostgreSQL, with what the server said.
    #[error("PostgreSQL: {}", postgres::explain(.0))]
    Postgres(tokio_postgres::Error),
    /// A column that is missing, or of another type than the statement promises.
    #[error("column {0} of a row is missing or of another type")]
    Column(usize),
    /// The thread or task that serves a connection has ended.
    #[error("a connection was closed")]
    Closed,
}

// The words of a driver are in the message. As a source besides, they would be printed again.
impl From<rusqlite::Error> for DatabaseError {
    fn from(error: rusqlite::Error) -> DatabaseError {
        DatabaseError::Sqlite(error)
    }
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> DatabaseError {
        DatabaseError::Postgres(error)
    }
}

/// How spans name this database.
#[derive(Clone, Debug)]
struct Identity {
    system: &'static str,
    namespace: String,
    server: Option<(String, u16)>,
}

/// A connection to either database.
#[derive(Debug)]
enum Backend {
    Sqlite(sqlite::SqliteConnection),
    Postgres(postgres::PostgresConnection),
}

impl Backend {
    async fn connect(database: &Database) -> Result<Backend, DatabaseError> {
        match database {
            Database::Sqlite { path } => {
                sqlite::SqliteConnection::open(path.clone()).await.map(Backend::Sqlite)
            }
            Database::Postgres { url } => {
                postgres::PostgresConnection::open(url).await.map(Backend::Postgres)
            }
        }
    }

    async fn run(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        match self {
            Backend::Sqlite(connection) => connection.run(sql, values).await,
            Backend::Postgres(connection) => connection.run(sql, values).await,
        }
    }

    fn is_closed(&self) -> bool {
        match self {
            Backend::Sqlite(connection) => connection.is_closed(),
            Backend::Postgres(connection) => connection.is_closed(),
        }
    }
}

fn identity(database: &Database) -> Result<Identity, DatabaseError> {
    match database {
        Database::Sqlite { path } => Ok(Identity {
            system: "sqlite",
            namespace: path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned()),
            server: None,
        }),
        Database::Postgres { url } => postgres::identity(url),
    }
}
