//! `--database`: what the database says about the run's statements. Read-only and opt-in: statements are planned, never
//! executed, in a session that may not write and that gives up after a few seconds.
//!
//! What was learnt is kept in the run folder, so that `analyze` gives the same report without the database.

mod mysql;
mod postgres;
mod sqlite;

use crate::analysis::plans::{DatabaseEvidence, Scan};
use anyhow::{Context, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Statements that are planned: those with the most time.
pub const STATEMENTS: usize = 40;
/// The file in the run folder.
const FILE: &str = "database.json";

/// How long to wait for a connection, and for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often sessions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Looks at the most: twelve hours.
const LOOKS: usize = 12 * 3_600 * 20;
/// Different statements that are counted.
const COUNTED: usize = 500;
/// Statements without a plan that are told.
const NOTES: usize = 5;

/// How often each statement was seen waiting for a lock, and how often at all.
pub type Waits = BTreeMap<Arc<str>, (u64, u64)>;

/// A database that can be asked.
#[derive(Clone, Debug)]
pub enum Source {
    /// By its URL.
    Postgres(String),
    /// MySQL or MariaDB, by its URL.
    Mysql(String),
    /// By its file.
    Sqlite(String),
}

impl Source {
    /// From `--database`.
    ///
    /// # Errors
    /// For anything but a URL of PostgreSQL, MySQL or MariaDB, or an SQLite file; the message says what is understood.
    pub fn parse(url: &str) -> anyhow::Result<Source> {
        match url.split_once(':') {
            Some(("postgres" | "postgresql", rest)) if rest.starts_with("//") => {
                postgres::check(url)?;
                Ok(Source::Postgres(url.to_owned()))
            }
            Some(("mysql" | "mariadb", rest)) if rest.starts_with("//") => {
                let url = format!("mysql:{rest}");
                mysql::check(&url)?;
                Ok(Source::Mysql(url))
            }
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if !Path::new(path).is_file() {
                    bail!("--database: there is no file {path}");
                }
                Ok(Source::Sqlite(path.to_owned()))
            }
            _ => bail!(
                "--database understands postgres://USER@HOST:PORT/DATABASE, mysql://USER@HOST:PORT/DATABASE and sqlite:PATH, \
                 not `{}`",
                url.split('@').next_back().unwrap_or_default()
            ),
        }
    }

    /// Plans of statements (system and text without data), and what could not be planned.
    ///
    /// # Errors
    /// If the database cannot be reached or refuses to be read.
    pub fn plans(
        &self,
        statements: &[(Arc<str>, Arc<str>)],
    ) -> anyhow::Result<(DatabaseEvidence, Vec<String>)> {
        let of = |systems: &[&str]| -> Vec<Arc<str>> {
            statements.iter().filter(|(s, _)| systems.contains(&&**s)).map(|(_, text)| text.clone()).collect()
        };
        match self {
            Source::Postgres(url) => postgres::plans(url, &of(&["postgresql"])),
            Source::Mysql(url) => mysql::plans(url, &of(&["mysql", "mariadb"])),
            Source::Sqlite(path) => sqlite::plans(path, &of(&["sqlite"])),
        }
    }

    /// Begins to look at what its sessions wait for; nothing where there are none.
    ///
    /// # Errors
    /// If the database cannot be reached.
    pub fn activity(&self) -> anyhow::Result<Option<Activity>> {
        match self {
            Source::Postgres(url) => postgres::activity(url).map(Some),
            Source::Mysql(url) => mysql::activity(url).map(Some),
            Source::Sqlite(_) => Ok(None),
        }
    }
}

/// Looks at what sessions do and wait for, while a load goes on.
pub struct Activity {
    stop: Arc<AtomicBool>,
    looking: JoinHandle<Waits>,
}

impl Activity {
    /// In a thread of its own, until it is told to stop.
    fn start(look: impl FnOnce(&AtomicBool) -> Waits + Send + 'static) -> anyhow::Result<Activity> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let looking = std::thread::Builder::new()
            .name("hotspan-database".into())
            .spawn(move || look(&seen))
            .context("cannot start the thread that looks at the database")?;
        Ok(Activity { stop, looking })
    }

    /// What each statement was seen waiting for.
    pub fn finish(self) -> Waits {
        self.stop.store(true, Ordering::Relaxed);
        self.looking.join().unwrap_or_default()
    }
}

fn count(waits: &mut Waits, statement: Arc<str>, is_locked: bool) {
    if waits.len() < COUNTED || waits.contains_key(&statement) {
        let (locked, seen) = waits.entry(statement).or_default();
        *locked += u64::from(is_locked);
        *seen += 1;
    }
}

fn note(notes: &mut Vec<String>, statement: &str, why: &dyn std::fmt::Display) {
    if notes.len() < NOTES {
        let start: String = statement.chars().take(80).collect();
        notes.push(format!("--database: no plan for `{start}`: {why}"));
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start a runtime")
}

/// Writes what is known beside the run.
pub fn save(dir: &Path, evidence: &DatabaseEvidence) -> anyhow::Result<()> {
    let scans: Vec<Value> = evidence
        .scans
        .iter()
        .map(|(statement, scan)| {
            json!({
                "statement": &**statement, "table": &*scan.table, "columns": scan.columns, "rows": scan.rows,
                "found": scan.found, "cost": scan.cost.map(|(before, after)| vec![before, after]),
            })
        })
        .collect();
    let locks: Vec<Value> = evidence
        .locks
        .iter()
        .map(|(statement, (locked, seen))| json!({"statement": &**statement, "locked": locked, "seen": seen}))
        .collect();
    let text = serde_json::to_string_pretty(&json!({"scans": scans, "locks": locks}))? + "\n";
    let path = dir.join(FILE);
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Reads what is known beside the run; nothing where nothing was asked.
///
/// # Errors
/// If the file is there and is not what [`save`] writes.
pub fn load(dir: &Path) -> anyhow::Result<DatabaseEvidence> {
    let path = dir.join(FILE);
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(DatabaseEvidence::default()) };
    let whole: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    let mut evidence = DatabaseEvidence::default();
    let list = |key: &str| whole.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    for one in list("scans") {
        let text = |key: &str| Arc::<str>::from(one.get(key).and_then(Value::as_str).unwrap_or_default());
        let number = |key: &str| one.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let columns = one.get("columns").and_then(Value::as_array).into_iter().flatten();
        let cost = one.get("cost").and_then(Value::as_array);
        let scan = Scan {
            table: text("table"),
            columns: columns.filter_map(|c| c.as_str().map(str::to_owned)).collect(),
            rows: number("rows"),
            found: number("found"),
            cost: cost.and_then(|c| Some((c.first()?.as_f64()?, c.get(1)?.as_f64()?))),
        };
        evidence.scans.insert(text("statement"), scan);
    }
    for one in list("locks") {
        let count = |key: &str| one.get(key).and_then(Value::as_u64).unwrap_or(0);
        let statement = one.get("statement").and_then(Value::as_str).unwrap_or_default();
        evidence.locks.insert(statement.into(), (count("locked"), count("seen")));
    }
    Ok(evidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        assert!(load(dir.path()).unwrap().scans.is_empty());
        let mut evidence = DatabaseEvidence::default();
        let scan = Scan {
            table: "term".into(),
            columns: vec!["word".into(), "at".into()],
            rows: 1e5,
            found: 3.0,
            cost: Some((1_900.0, 8.5)),
        };
        evidence.scans.insert("SELECT a FROM term WHERE word = ?".into(), scan);
        evidence.locks.insert("UPDATE t SET a = ?".into(), (9, 10));
        save(dir.path(), &evidence).unwrap();
        let again = load(dir.path()).unwrap();
        assert_eq!((again.scans, again.locks), (evidence.scans, evidence.locks));
        std::fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(load(dir.path()).unwrap_err().to_string().contains("database.json is not JSON"));
    }

    #[test]
    fn sources_are_checked_before_the_load() {
        let error = |url: &str| Source::parse(url).unwrap_err().to_string();
        assert!(error("oracle://u:secret@h/db").contains("understands postgres://"));
        assert!(!error("oracle://u:secret@h/db").contains("secret"));
        assert!(
            error("mysql://u:secret@h/").contains("names no database"),
            "{}",
            error("mysql://u:secret@h/")
        );
        assert!(!error("mysql://u:secret@h:no/db").contains("secret"));
        assert!(matches!(Source::parse("mariadb://u:p@127.0.0.1/db").unwrap(), Source::Mysql(_)));
        assert!(error("sqlite:/no/such/file").contains("/no/such/file"));
        assert!(error("postgres://u@h:notaport/db").contains("--database"));
        assert!(matches!(Source::parse("postgres://u@127.0.0.1:5432/db").unwrap(), Source::Postgres(_)));
    }
}
