//! The connection pool: a fair queue for a fixed number of connections, whose limit can be lowered while it runs.
//!
//! Every wait for a connection is an INTERNAL span `pool acquire` and queue time of the request.

use super::super::timing::{Clock, Part};
use super::statement::{Row, Statement, Value};
use super::{Backend, Database, DatabaseError, Identity, identity};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::field::Empty;
use tracing::{Instrument, info_span};

const BEGIN: Statement = Statement::new("BEGIN", "", "BEGIN", "BEGIN");
const COMMIT: Statement = Statement::new("COMMIT", "", "COMMIT", "COMMIT");
const ROLLBACK: &str = "ROLLBACK";

/// A pool of open connections.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: &'static str,
    database: Database,
    identity: Identity,
    size: usize,
    idle: Mutex<Vec<Backend>>,
    permits: Arc<Semaphore>,
    /// Permits in use or free; the others are taken away by [`Pool::limit`].
    limit: tokio::sync::Mutex<usize>,
}

impl Pool {
    /// Opens `size` connections.
    pub(crate) async fn open(
        name: &'static str,
        database: &Database,
        size: usize,
    ) -> Result<Pool, DatabaseError> {
        let identity = identity(database)?;
        let mut idle = Vec::with_capacity(size);
        for _ in 0..size {
            idle.push(Backend::connect(database).await?);
        }
        let shared = Shared {
            name,
            database: database.clone(),
            identity,
            size,
            idle: Mutex::new(idle),
            permits: Arc::new(Semaphore::new(size)),
            limit: tokio::sync::Mutex::new(size),
        };
        Ok(Pool { shared: Arc::new(shared) })
    }

    /// Waits for a connection.
    pub(crate) async fn acquire(&self, clock: &Clock) -> Result<Connection, DatabaseError> {
        let started = Instant::now();
        let span = info_span!(
            "pool acquire",
            otel.kind = "internal",
            "db.client.connection.pool.name" = self.shared.name,
            "code.function.name" = "hotspan::demo::database::pool::Pool::acquire",
            "code.file.path" = file!(),
            "code.line.number" = i64::from(line!()),
        );
        let (connection, waited) = async {
            let connection = self.take().await;
            (connection, started.elapsed())
        }
        .instrument(span)
        .await;
        clock.add(Part::Queue, waited);
        connection
    }

    /// The same, for work that no request waits for: neither traced nor timed.
    pub(crate) async fn take(&self) -> Result<Connection, DatabaseError> {
        let permit = self.shared.permits.clone().acquire_owned().await.map_err(|_| DatabaseError::Closed)?;
        let idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let backend = match idle {
            Some(backend) if !backend.is_closed() => backend,
            _ => Backend::connect(&self.shared.database).await?,
        };
        Ok(Connection {
            shared: self.shared.clone(),
            held: Some((backend, permit)),
            state: TransactionState::None,
        })
    }

    /// Lets at most `limit` connections be used from now on; waits until the surplus has come back.
    pub(crate) async fn limit(&self, limit: usize) -> Result<(), DatabaseError> {
        let limit = limit.clamp(1, self.shared.size);
        let mut current = self.shared.limit.lock().await;
        if limit > *current {
            self.shared.permits.add_permits(limit - *current);
        } else {
            // One at a time: a bundle would block the fair queue until all of it is free.
            for _ in limit..*current {
                self.shared.permits.acquire().await.map_err(|_| DatabaseError::Closed)?.forget();
            }
        }
        *current = limit;
        Ok(())
    }

    /// How many connections it can use at most.
    pub(crate) fn size(&self) -> usize {
        self.shared.size
    }

    /// Connections that nobody uses.
    #[cfg(test)]
    pub(crate) fn free(&self) -> usize {
        self.shared.permits.available_permits()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TransactionState {
    None,
    Open,
}

/// A connection in use. It goes back to the pool when dropped; an open transaction is rolled back first.
#[derive(Debug)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    held: Option<(Backend, OwnedSemaphorePermit)>,
    state: TransactionState,
}

impl Connection {
    /// Runs one statement.
    pub(crate) async fn query(
        &mut self,
        clock: &Clock,
        statement: &Statement,
        values: &[Value],
    ) -> Result<Vec<Row>, DatabaseError> {
        let identity = &self.shared.identity;
        let server = identity.server.as_ref();
        let started = Instant::now();
        let span = info_span!(
            "query",
            otel.name = statement.summary,
            otel.kind = "client",
            otel.status_code = Empty,
            "db.system.name" = identity.system,
            "db.namespace" = identity.namespace,
            "db.operation.name" = statement.operation,
            "db.collection.name" = (!statement.collection.is_empty()).then_some(statement.collection),
            "db.query.summary" = statement.summary,
            "db.query.text" = statement.sql(),
            "server.address" = server.map(|(host, _)| host.as_str()),
            "server.port" = server.map(|(_, port)| i64::from(*port)),
            "error.type" = Empty,
        );
        let backend = self.held.as_mut().map(|(backend, _)| backend).ok_or(DatabaseError::Closed)?;
        let (rows, waited) = async {
            let rows = backend.run(&statement.sql, values).await;
            (rows, started.elapsed())
        }
        .instrument(span.clone())
        .await;
        clock.add(Part::Database, waited);
        if let Err(error) = &rows {
            span.record("otel.status_code", "error").record("error.type", error_type(error));
        }
        rows
    }

    /// Runs a statement that is known by its text only, untraced: for set-up and background jobs.
    pub(crate) async fn run(&mut self, sql: &str, values: &[Value]) -> Result<Vec<Row>, DatabaseError> {
        let backend = self.held.as_mut().map(|(backend, _)| backend).ok_or(DatabaseError::Closed)?;
        backend.run(sql, values).await
    }

    /// Opens a transaction. SQLite takes its write lock with the first write, PostgreSQL locks rows as they are written.
    pub(crate) async fn begin(&mut self, clock: &Clock) -> Result<(), DatabaseError> {
        self.state = TransactionState::Open;
        self.query(clock, &BEGIN, &[]).await.map(drop)
    }

    /// Makes the transaction's changes last.
    pub(crate) async fn commit(&mut self, clock: &Clock) -> Result<(), DatabaseError> {
        self.query(clock, &COMMIT, &[]).await?;
        self.state = TransactionState::None;
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let Some((mut backend, permit)) = self.held.take() else { return };
        let shared = self.shared.clone();
        let give_back = move |backend: Backend, permit: OwnedSemaphorePermit| {
            shared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(backend);
            // After the push: who gets the permit must find the connection.
            drop(permit);
        };
        match (self.state, tokio::runtime::Handle::try_current()) {
            (TransactionState::None, _) => give_back(backend, permit),
            (TransactionState::Open, Ok(runtime)) => {
                runtime.spawn(async move {
                    if backend.run(ROLLBACK, &[]).await.is_ok() {
                        give_back(backend, permit);
                    }
                });
            }
            // Without a runtime the process is ending; closing the connection rolls back.
            (TransactionState::Open, Err(_)) => {}
        }
    }
}

fn error_type(error: &DatabaseError) -> String {
    match error {
        DatabaseError::Sqlite(error) => {
            error.sqlite_error_code().map_or_else(|| "sqlite".to_owned(), |code| format!("{code:?}"))
        }
        DatabaseError::Postgres(error) => {
            error.code().map_or_else(|| "postgresql".to_owned(), |code| code.code().to_owned())
        }
        DatabaseError::Column(_) => "column".to_owned(),
        DatabaseError::Closed => "closed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pool(size: usize) -> (Pool, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::Sqlite { path: directory.path().join("test.db") };
        let pool = Pool::open("test", &database, size).await.unwrap();
        pool.take().await.unwrap().run("CREATE TABLE t (n BIGINT NOT NULL)", &[]).await.unwrap();
        (pool, directory)
    }

    async fn rows(pool: &Pool) -> i64 {
        let mut connection = pool.take().await.unwrap();
        connection.run("SELECT COUNT(*) FROM t", &[]).await.unwrap()[0].int(0).unwrap()
    }

    #[tokio::test]
    async fn a_lowered_limit_waits_for_connections_in_use_and_can_be_raised_again() {
        let (pool, _directory) = pool(3).await;
        let held = [pool.take().await.unwrap(), pool.take().await.unwrap()];
        assert_eq!(pool.free(), 1);
        let lowering = tokio::spawn({
            let pool = pool.clone();
            async move { pool.limit(1).await.unwrap() }
        });
        tokio::task::yield_now().await;
        assert!(!lowering.is_finished(), "two of the three are in use");
        drop(held);
        lowering.await.unwrap();
        assert_eq!(pool.free(), 1);
        pool.limit(99).await.unwrap();
        assert_eq!(pool.free(), 3, "never more than were opened");
        pool.limit(0).await.unwrap();
        assert_eq!(pool.free(), 1, "never none");
    }

    #[tokio::test]
    async fn a_transaction_that_is_given_up_leaves_nothing() {
        let (pool, _directory) = pool(1).await;
        let clock = Clock::start();
        let insert = "INSERT INTO t (n) VALUES ($1)";
        let mut connection = pool.take().await.unwrap();
        connection.begin(&clock).await.unwrap();
        connection.run(insert, &[1.into()]).await.unwrap();
        drop(connection);
        assert_eq!(rows(&pool).await, 0);
        let mut connection = pool.take().await.unwrap();
        connection.begin(&clock).await.unwrap();
        connection.run(insert, &[2.into()]).await.unwrap();
        connection.commit(&clock).await.unwrap();
        drop(connection);
        assert_eq!(rows(&pool).await, 1);
        assert!(clock.get(Part::Database) > std::time::Duration::ZERO);
    }

    #[tokio::test]
    async fn a_failed_statement_is_an_error_and_the_connection_stays() {
        let (pool, _directory) = pool(1).await;
        let wrong = Statement::new("SELECT", "nowhere", "SELECT nowhere", "SELECT * FROM nowhere");
        let mut connection = pool.acquire(&Clock::start()).await.unwrap();
        let error = connection.query(&Clock::start(), &wrong, &[]).await.unwrap_err().to_string();
        assert!(error.starts_with("SQLite: no such table: nowhere"), "{error}");
        drop(connection);
        assert_eq!(rows(&pool).await, 0);
    }
}
