//! MySQL and MariaDB: `EXPLAIN` of a statement with data of the tables in the places of its parameters (neither plans for unknown
//! ones), sizes of tables, columns, how many different values a sample of a table has, and what sessions wait for.

use super::{Activity, LOOKS, PATIENCE, Waits, count, note, runtime};
use crate::analysis::plans::{DatabaseEvidence, PlanLine, Scan, scan_of_lines, worth_an_index};
use crate::analysis::statement;
use anyhow::{Context, bail};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts, OptsBuilder, Row, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often sessions are looked at: InnoDB shows its transactions anew only where nobody looked for a tenth of a second.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Rows of a table that are looked at for how many different values they have.
const SAMPLE: u32 = 10_000;

fn options(url: &str) -> anyhow::Result<Opts> {
    // The library's error may repeat parts of the URL, and with them a password.
    let options = Opts::from_url(url).map_err(|_| {
        anyhow::anyhow!("--database: the URL cannot be read; expected mysql://USER@HOST:PORT/DATABASE")
    })?;
    if options.db_name().is_none_or(str::is_empty) {
        bail!("--database: the URL names no database; expected mysql://USER@HOST:PORT/DATABASE");
    }
    Ok(OptsBuilder::from_opts(options).prefer_socket(false).stmt_cache_size(0).into())
}

/// Whether a URL can be understood.
///
/// # Errors
/// If not; the message does not repeat its password.
pub fn check(url: &str) -> anyhow::Result<()> {
    options(url).map(drop)
}

async fn connect(url: &str) -> anyhow::Result<Conn> {
    let connected = tokio::time::timeout(PATIENCE, Conn::new(options(url)?)).await;
    let mut client = match connected {
        Ok(connected) => connected.context("--database: cannot connect to MySQL")?,
        Err(_) => bail!("--database: MySQL took no connection within {} s", PATIENCE.as_secs()),
    };
    client
        .query_drop("SET SESSION TRANSACTION READ ONLY")
        .await
        .context("--database: the session cannot be made read-only")?;
    // Limits have other names in MariaDB, and an older server has none.
    for limit in ["max_statement_time = 5", "max_execution_time = 5000", "lock_wait_timeout = 1"] {
        let _ = client.query_drop(format!("SET SESSION {limit}")).await;
    }
    Ok(client)
}

/// Plans of statements, and what could not be planned.
///
/// # Errors
/// If the database cannot be reached or read.
pub fn plans(url: &str, statements: &[Arc<str>]) -> anyhow::Result<(DatabaseEvidence, Vec<String>)> {
    runtime()?.block_on(async {
        let mut planner = Planner::new(connect(url).await?).await?;
        let mut evidence = DatabaseEvidence::default();
        let mut notes = Vec::new();
        for text in statements {
            match planner.scan(text).await {
                Ok(Some(scan)) => drop(evidence.scans.insert(text.clone(), scan)),
                Ok(None) => {}
                Err(why) => note(&mut notes, text, &why),
            }
        }
        let _ = planner.client.disconnect().await;
        Ok((evidence, notes))
    })
}

struct Planner {
    client: Conn,
    rows: HashMap<String, f64>,
    columns: HashMap<String, BTreeSet<String>>,
    /// A value of a column, as SQL.
    values: HashMap<(String, String), String>,
}

impl Planner {
    async fn new(mut client: Conn) -> anyhow::Result<Planner> {
        let sizes = "SELECT table_name, COALESCE(table_rows, 0) FROM information_schema.tables WHERE table_schema = DATABASE()";
        let mut rows = HashMap::new();
        for row in rows_of(&mut client, sizes).await? {
            if let [table, n] = &row[..] {
                rows.insert(table.clone(), n.parse().unwrap_or(0.0));
            }
        }
        let of_tables =
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()";
        let mut columns: HashMap<String, BTreeSet<String>> = HashMap::new();
        for row in rows_of(&mut client, of_tables).await? {
            if let [table, column] = &row[..] {
                columns.entry(table.clone()).or_default().insert(column.clone());
            }
        }
        Ok(Planner { client, rows, columns, values: HashMap::new() })
    }

    /// The scan that an index would spare.
    async fn scan(&mut self, text: &str) -> anyhow::Result<Option<Scan>> {
        let found = self.values_for(text).await;
        let value = |column: &str| found.get(column).cloned();
        let Some(query) = statement::with_data(text, &value) else { return Ok(None) };
        let lines = self.explain(&query).await?;
        let rows = |table: &str| self.rows.get(table).copied();
        let is_column = |table: &str, word: &str| self.columns.get(table).is_some_and(|c| c.contains(word));
        let Some(scan) = scan_of_lines(text, &lines, &rows, &is_column) else { return Ok(None) };
        let columns: Vec<String> = scan.columns.iter().map(|c| quoted(c)).collect();
        let columns = columns.join(", ");
        let sample = format!(
            "SELECT COUNT(*), COUNT(DISTINCT {columns}) FROM (SELECT {columns} FROM {} LIMIT {SAMPLE}) AS sample",
            quoted(&scan.table)
        );
        let counts = rows_of(&mut self.client, &sample).await?;
        let number = |i: usize| counts.first().and_then(|r| r.get(i)?.parse().ok()).unwrap_or(0.0);
        Ok(worth_an_index(scan, number(0), number(1)))
    }

    /// For each column that the statement compares with data, a value that its table has.
    async fn values_for(&mut self, text: &str) -> BTreeMap<String, String> {
        let mut wanted: Vec<(String, String)> = Vec::new();
        for (table, columns) in &self.columns {
            if text.contains(table.as_str()) {
                let compared = statement::compared_columns(text, &|word| columns.contains(word));
                wanted.extend(compared.into_iter().map(|column| (table.clone(), column)));
            }
        }
        wanted.sort();
        let mut found = BTreeMap::new();
        for place in wanted {
            if !self.values.contains_key(&place) {
                let column = quoted(&place.1);
                let query = format!(
                    "SELECT QUOTE({column}) FROM {} WHERE {column} IS NOT NULL LIMIT 1",
                    quoted(&place.0)
                );
                let one = rows_of(&mut self.client, &query).await.unwrap_or_default();
                let value = one.first().and_then(|r| r.first().cloned()).unwrap_or_else(|| "'1'".into());
                self.values.insert(place.clone(), value);
            }
            if let Some(value) = self.values.get(&place) {
                found.insert(place.1, value.clone());
            }
        }
        found
    }

    /// The plan. The statement is not run.
    async fn explain(&mut self, query: &str) -> anyhow::Result<Vec<PlanLine>> {
        let rows: Vec<Row> = self.client.query(format!("EXPLAIN {query}")).await.map_err(message)?;
        let lines = rows.into_iter().map(|row| {
            let names: Vec<String> =
                row.columns_ref().iter().map(|c| c.name_str().to_ascii_lowercase()).collect();
            let cells: HashMap<String, String> =
                names.into_iter().zip(row.unwrap().iter().map(text_of)).collect();
            let cell = |name: &str| cells.get(name).cloned().unwrap_or_default();
            PlanLine {
                table: cell("table"),
                access: cell("type"),
                has_keys: !cell("possible_keys").is_empty(),
                rows: cell("rows").parse().unwrap_or(0.0),
                extra: cell("extra"),
            }
        });
        Ok(lines.collect())
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::NULL => String::new(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => other.as_sql(true),
    }
}

/// The answer's rows as text; NULL is empty.
async fn rows_of(client: &mut Conn, query: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let rows: Vec<Row> = client.query(query).await.map_err(message)?;
    Ok(rows.into_iter().map(|row| row.unwrap().iter().map(text_of).collect()).collect())
}

/// What the server said, in one line.
fn message(error: mysql_async::Error) -> anyhow::Error {
    match error {
        mysql_async::Error::Server(said) => anyhow::anyhow!("{}", said.message),
        other => anyhow::Error::new(other),
    }
}

/// Begins to look at what sessions do and wait for.
///
/// # Errors
/// If the database cannot be reached.
pub fn activity(url: &str) -> anyhow::Result<Activity> {
    let runtime = runtime()?;
    let client = runtime.block_on(connect(url))?;
    Activity::start(move |stop| runtime.block_on(look(client, stop)))
}

async fn look(mut client: Conn, stop: &AtomicBool) -> Waits {
    // Waits for rows are told by the transaction, waits for tables and their definitions by the session's state.
    let active = "SELECT COALESCE(MAX(t.trx_state = 'LOCK WAIT' OR p.state LIKE 'Waiting for%lock%'), 0), p.info \
                  FROM information_schema.processlist p \
                  LEFT JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id \
                  WHERE p.command IN ('Query', 'Execute') AND p.info IS NOT NULL AND p.id <> CONNECTION_ID() \
                  AND p.db = DATABASE() GROUP BY p.id, p.info LIMIT 1000";
    let mut waits = Waits::default();
    for _ in 0..LOOKS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(rows) = rows_of(&mut client, active).await else { break };
        for row in rows {
            let [waiting, query] = &row[..] else { continue };
            count(&mut waits, statement::normalise("mysql", query).into(), waiting == "1");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let _ = client.disconnect().await;
    waits
}
