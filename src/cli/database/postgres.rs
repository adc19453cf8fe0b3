//! PostgreSQL: plans for unknown parameters (`GENERIC_PLAN` from version 16 on, before that a prepared statement that is
//! explained and never run), sizes of tables, columns, an index tried out with `hypopg` where that is installed, and what
//! sessions wait for while the load goes on.

use super::{Activity, LOOK_EVERY, LOOKS, PATIENCE, Waits, count, note, runtime};
use crate::analysis::plans::{DatabaseEvidence, Scan, scan_of_plan};
use crate::analysis::statement;
use anyhow::Context;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Whether a URL can be understood.
///
/// # Errors
/// If not; the message does not repeat its password.
pub fn check(url: &str) -> anyhow::Result<()> {
    url.parse::<tokio_postgres::Config>().map(drop).map_err(|why| {
        anyhow::anyhow!(
            "--database: the URL cannot be read ({why}); expected postgres://USER@HOST:PORT/DATABASE"
        )
    })
}

async fn connect(url: &str) -> anyhow::Result<Client> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.connect_timeout(PATIENCE).application_name("hotspan");
    let (client, connection) =
        config.connect(NoTls).await.context("--database: cannot connect to PostgreSQL")?;
    tokio::spawn(async move {
        // Its end ends the queries too, and those are reported.
        let _ = connection.await;
    });
    let session =
        "SET default_transaction_read_only = on; SET statement_timeout = '5s'; SET lock_timeout = '1s'";
    client.batch_execute(session).await.context("--database: the session cannot be made read-only")?;
    Ok(client)
}

/// Plans of statements, and what could not be planned.
///
/// # Errors
/// If the database cannot be reached or read.
pub fn plans(url: &str, statements: &[Arc<str>]) -> anyhow::Result<(DatabaseEvidence, Vec<String>)> {
    runtime()?.block_on(async {
        let client = connect(url).await?;
        let planner = Planner::new(&client).await?;
        let mut evidence = DatabaseEvidence::default();
        let mut notes = Vec::new();
        for text in statements {
            let Some(query) = statement::with_parameters(text) else { continue };
            match planner.plan(&query).await {
                Ok(plan) => {
                    if let Some(scan) = planner.scan(&query, &plan).await {
                        evidence.scans.insert(text.clone(), scan);
                    }
                }
                Err(why) => note(&mut notes, text, &why),
            }
        }
        Ok((evidence, notes))
    })
}

struct Planner<'a> {
    client: &'a Client,
    generic: bool,
    hypopg: bool,
    rows: HashMap<String, f64>,
    columns: HashMap<String, BTreeSet<String>>,
}

impl<'a> Planner<'a> {
    async fn new(client: &'a Client) -> anyhow::Result<Planner<'a>> {
        let version = rows_of(client, "SHOW server_version_num").await?;
        let version: u32 = version.first().and_then(|r| r.first()?.parse().ok()).unwrap_or(0);
        let hypopg = rows_of(client, "SELECT 1 FROM pg_extension WHERE extname = 'hypopg'").await?;
        // Statistics of the planner, or counters of changes where it was never analysed.
        let sizes = "SELECT c.relname, GREATEST(c.reltuples, COALESCE(s.n_live_tup, 0))::float8 FROM pg_class c \
                     LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.relkind IN ('r', 'p', 'm') LIMIT 20000";
        let mut rows: HashMap<String, f64> = HashMap::new();
        for row in rows_of(client, sizes).await? {
            if let [name, n] = &row[..] {
                let n = n.parse().unwrap_or(0.0);
                let most = rows.entry(name.clone()).or_insert(n);
                *most = most.max(n);
            }
        }
        let of_tables = "SELECT c.relname, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
                         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE a.attnum > 0 AND NOT a.attisdropped \
                         AND c.relkind IN ('r', 'p', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
                         LIMIT 200000";
        let mut columns: HashMap<String, BTreeSet<String>> = HashMap::new();
        for row in rows_of(client, of_tables).await? {
            if let [table, column] = &row[..] {
                columns.entry(table.clone()).or_default().insert(column.clone());
            }
        }
        Ok(Planner { client, generic: version >= 160_000, hypopg: !hypopg.is_empty(), rows, columns })
    }

    /// The plan for unknown parameters. The statement is not run.
    async fn plan(&self, query: &str) -> anyhow::Result<serde_json::Value> {
        let text = if self.generic {
            rows_of(self.client, &format!("EXPLAIN (GENERIC_PLAN, FORMAT JSON) {query}")).await?
        } else {
            self.plan_prepared(query).await?
        };
        let text = text.first().and_then(|r| r.first()).context("EXPLAIN gave nothing")?;
        Ok(serde_json::from_str(text)?)
    }

    async fn plan_prepared(&self, query: &str) -> anyhow::Result<Vec<Vec<String>>> {
        let client = self.client;
        client
            .batch_execute(&format!("SET plan_cache_mode = force_generic_plan; PREPARE hotspan AS {query}"))
            .await
            .map_err(message)?;
        let parameters = "SELECT COALESCE(array_length(parameter_types, 1), 0) FROM pg_prepared_statements WHERE name = 'hotspan'";
        let n = rows_of(client, parameters).await?;
        let n: usize = n.first().and_then(|r| r.first()?.parse().ok()).unwrap_or(0);
        let nulls = vec!["NULL"; n].join(", ");
        let arguments = if n == 0 { String::new() } else { format!("({nulls})") };
        let plan = rows_of(client, &format!("EXPLAIN (FORMAT JSON) EXECUTE hotspan{arguments}")).await;
        client.batch_execute("DEALLOCATE hotspan").await.map_err(message)?;
        plan
    }

    /// The scan that an index would spare, with the cost of the plan with that index where it could be tried.
    async fn scan(&self, query: &str, plan: &serde_json::Value) -> Option<Scan> {
        let rows = |table: &str| self.rows.get(table).copied();
        let is_column = |table: &str, word: &str| self.columns.get(table).is_some_and(|c| c.contains(word));
        let mut scan = scan_of_plan(plan, &rows, &is_column)?;
        if self.hypopg && !scan.columns.is_empty() {
            let total =
                |plan: &serde_json::Value| plan.pointer("/0/Plan/Total Cost").and_then(|c| c.as_f64());
            let index = scan.remedy().replace('\'', "''");
            let made = rows_of(self.client, &format!("SELECT 1 FROM hypopg_create_index('{index}')")).await;
            if made.is_ok()
                && let Ok(better) = self.plan(query).await
            {
                scan.cost = total(plan).zip(total(&better));
            }
            let _ = rows_of(self.client, "SELECT hypopg_reset()").await;
            // An index that the planner would not use is no remedy.
            if scan.cost.is_some_and(|(before, after)| after > 0.9 * before) {
                scan.columns.clear();
            }
        }
        Some(scan)
    }
}

/// The answer's rows as text.
async fn rows_of(client: &Client, query: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let messages = client.simple_query(query).await.map_err(message)?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => {
            Some((0..row.len()).map(|i| row.get(i).unwrap_or_default().to_owned()).collect())
        }
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// What the server said, in one line.
fn message(error: tokio_postgres::Error) -> anyhow::Error {
    match error.as_db_error() {
        Some(said) => anyhow::anyhow!("{}", said.message()),
        None => anyhow::Error::new(error),
    }
}

/// Begins to look at what sessions do and wait for.
///
/// # Errors
/// If the database cannot be reached.
pub fn activity(url: &str) -> anyhow::Result<Activity> {
    let runtime = runtime()?;
    let client = runtime.block_on(connect(url))?;
    Activity::start(move |stop| runtime.block_on(look(&client, stop)))
}

async fn look(client: &Client, stop: &AtomicBool) -> Waits {
    let active = "SELECT COALESCE(wait_event_type, ''), query FROM pg_stat_activity WHERE state = 'active' \
                  AND pid <> pg_backend_pid() AND datname = current_database() LIMIT 1000";
    let mut waits = Waits::default();
    for _ in 0..LOOKS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let Ok(rows) = rows_of(client, active).await else { break };
        for row in rows {
            let [waiting, query] = &row[..] else { continue };
            count(&mut waits, statement::normalise("postgresql", query).into(), waiting == "Lock");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    waits
}
