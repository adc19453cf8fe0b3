//! SQLite: a thread for each connection, as its usual asynchronous drivers do it. A statement goes to the thread over a
//! channel and its rows come back over another, so that a slow statement never blocks the runtime.

use super::{DatabaseError, Row, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Longer than any queue of writers that the demo's load can build.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

struct Job {
    sql: String,
    values: Vec<Value>,
    reply: oneshot::Sender<Result<Vec<Row>, DatabaseError>>,
}

/// The handle of a connection's thread. The thread ends when the handle is dropped.
#[derive(Debug)]
pub(super) struct SqliteConnection {
    jobs: mpsc::Sender<Job>,
    closed: bool,
}

impl SqliteConnection {
    pub(super) async fn open(path: PathBuf) -> Result<SqliteConnection, DatabaseError> {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (opened, is_open) = oneshot::channel();
        std::thread::Builder::new()
            .name("sqlite".to_owned())
            .spawn(move || match open(&path) {
                Ok(connection) => {
                    // Nobody waits any more if `open` was cancelled; then the inbox is closed, too.
                    let _ = opened.send(Ok(()));
                    serve(&connection, &inbox);
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            })
            .map_err(|_| DatabaseError::Closed)?;
        is_open.await.map_err(|_| DatabaseError::Closed)??;
        Ok(SqliteConnection { jobs, closed: false })
    }

    pub(super) async fn run(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { sql: sql.to_owned(), values: values.to_vec(), reply };
        if self.jobs.send(job).is_err() {
            self.closed = true;
            return Err(DatabaseError::Closed);
        }
        answer.await.unwrap_or(Err(DatabaseError::Closed))
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

/// Opens a file as every process of the demo does.
pub(super) fn open(path: &Path) -> Result<rusqlite::Connection, DatabaseError> {
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    // Write-ahead logging lets readers go on while one writes; `normal` is safe with it and does not sync at each commit.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "normal")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn serve(connection: &rusqlite::Connection, inbox: &mpsc::Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        // A request that was given up does not wait for its rows any more.
        let _ = job.reply.send(run(connection, &job.sql, &job.values));
    }
}

fn run(connection: &rusqlite::Connection, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(rusqlite::params_from_iter(values))?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        let values =
            (0..columns).map(|column| row.get_ref(column).map(value_of)).collect::<Result<_, _>>()?;
        answer.push(Row(values));
    }
    Ok(answer)
}

fn value_of(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Integer(value) => Value::Int(value),
        ValueRef::Real(value) => Value::Real(value),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            Value::Text(String::from_utf8_lossy(bytes).into_owned())
        }
        ValueRef::Null => Value::Null,
    }
}

impl rusqlite::ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Int(value) => ValueRef::Integer(*value),
            Value::Real(value) => ValueRef::Real(*value),
            Value::Text(value) => ValueRef::Text(value.as_bytes()),
            Value::Null => ValueRef::Null,
        }))
    }
}
