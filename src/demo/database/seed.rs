//! Fills a database with the shop's data: the same rows for every start, whatever the machine.

use super::super::password::Stored;
use super::schema::{INDEXES, PRODUCTS, SERIES, TABLES, TERMS_PER_PRODUCT, Table, USERS};
use super::statement::{Value, in_list};
use super::{Database, DatabaseError, postgres, sqlite};
use std::path::Path;

/// Makes the tables anew and fills them. For PostgreSQL the schema `hotspan_demo` is dropped first; a SQLite file must be new.
///
/// # Errors
/// What the database said.
pub(in crate::demo) async fn fill(database: &Database, password: &Stored) -> Result<(), DatabaseError> {
    match database {
        Database::Sqlite { path } => {
            let (path, password) = (path.clone(), password.clone());
            tokio::task::spawn_blocking(move || fill_sqlite(&path, &password))
                .await
                .map_err(|_| DatabaseError::Closed)?
        }
        Database::Postgres { url } => fill_postgres(url, password).await,
    }
}

/// Drops what [`fill`] made in PostgreSQL. A SQLite file goes with its directory.
///
/// # Errors
/// What the database said.
pub(in crate::demo) async fn clear(database: &Database) -> Result<(), DatabaseError> {
    if let Database::Postgres { url } = database {
        let client = postgres::connect(url).await?;
        client.batch_execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", postgres::SCHEMA)).await?;
    }
    Ok(())
}

fn fill_sqlite(path: &Path, password: &Stored) -> Result<(), DatabaseError> {
    let mut connection = sqlite::open(path)?;
    let transaction = connection.transaction()?;
    for table in &TABLES {
        transaction.execute_batch(&table.create())?;
        let sql = format!(
            "INSERT INTO {} ({}) VALUES ({})",
            table.name,
            table.column_names(),
            in_list(table.columns.len())
        );
        let mut insert = transaction.prepare(&sql)?;
        for row in rows(table, password) {
            insert.execute(rusqlite::params_from_iter(&row))?;
        }
    }
    for index in INDEXES {
        transaction.execute_batch(index)?;
    }
    transaction.commit()?;
    connection.execute_batch("PRAGMA optimize")?;
    Ok(())
}

/// Rows in one statement for PostgreSQL.
const ROWS_PER_INSERT: usize = 1_000;

async fn fill_postgres(url: &str, password: &Stored) -> Result<(), DatabaseError> {
    let client = postgres::connect(url).await?;
    let schema = postgres::SCHEMA;
    client
        .batch_execute(&format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; BEGIN"))
        .await?;
    for table in &TABLES {
        client.batch_execute(&table.create()).await?;
        let mut rows = rows(table, password).peekable();
        while rows.peek().is_some() {
            let chunk: Vec<String> = rows.by_ref().take(ROWS_PER_INSERT).map(|row| literals(&row)).collect();
            let sql =
                format!("INSERT INTO {} ({}) VALUES {}", table.name, table.column_names(), chunk.join(","));
            client.batch_execute(&sql).await?;
        }
    }
    for index in INDEXES {
        client.batch_execute(index).await?;
    }
    client.batch_execute("COMMIT; ANALYZE").await?;
    Ok(())
}

/// A row as SQL literals. Only for rows made here: they hold no quotes.
fn literals(row: &[Value]) -> String {
    let values: Vec<String> = row
        .iter()
        .map(|value| match value {
            Value::Int(value) => value.to_string(),
            Value::Real(value) => value.to_string(),
            Value::Text(value) => format!("'{}'", value.replace('\'', "''")),
            Value::Null => "NULL".to_owned(),
        })
        .collect();
    format!("({})", values.join(","))
}

/// The rows of a table: a function of the table's name and the row's number alone.
fn rows<'a>(table: &'a Table, password: &'a Stored) -> impl Iterator<Item = Vec<Value>> + 'a {
    let seed = table.name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut random = SplitMix(seed);
    (0..table.rows).map(move |index| row(table.name, index, &mut random, password))
}

fn row(table: &str, index: u64, random: &mut SplitMix, password: &Stored) -> Vec<Value> {
    let id = |n: u64| Value::Int(n as i64);
    match table {
        "product" => {
            let product = Product::of(index);
            let description = (0..60).map(|_| *random.pick(&NOUNS)).collect::<Vec<_>>().join(" ");
            vec![
                id(index + 1),
                product.name().into(),
                product.category.into(),
                id(199 + random.below(20_000)),
                description.into(),
            ]
        }
        "review" => {
            let body = (0..12).map(|_| *random.pick(&ADJECTIVES)).collect::<Vec<_>>().join(" ");
            vec![
                id(index + 1),
                id(1 + index % PRODUCTS),
                id(1 + random.below(USERS)),
                id(1 + random.below(5)),
                body.into(),
            ]
        }
        "shop_user" => vec![
            id(index + 1),
            format!("user{}", index + 1).into(),
            password.salt.clone().into(),
            password.hash.clone().into(),
            id(u64::from(password.rounds)),
        ],
        "orders" => vec![
            id(index + 1),
            id(1 + random.below(USERS)),
            id(500 + random.below(50_000)),
            format!("payment-{index}").into(),
        ],
        "order_item" => vec![
            id(1 + index / 3),
            id(1 + random.below(PRODUCTS)),
            id(1 + random.below(4)),
            id(199 + random.below(20_000)),
        ],
        "stock" => vec![id(1 + index / 3), id(1 + index % 3), id(5 + random.below(200))],
        "search_term" => {
            let product = Product::of(index / TERMS_PER_PRODUCT);
            let term = match index % TERMS_PER_PRODUCT {
                0 => product.adjective.to_owned(),
                1 => product.noun.to_owned(),
                2 => product.category.to_owned(),
                3 => format!("mk{}", 1 + random.below(SERIES)),
                _ => (*random.pick(&NOUNS)).to_owned(),
            };
            vec![term.into(), id(1 + index / TERMS_PER_PRODUCT), id(random.below(1_000))]
        }
        // Reservations start at nothing; names are only for people.
        _ => vec![id(index + 1), format!("warehouse {}", index + 1).into(), id(0)],
    }
}

struct Product {
    adjective: &'static str,
    noun: &'static str,
    category: &'static str,
    number: u64,
}

impl Product {
    fn of(index: u64) -> Product {
        let mut random = SplitMix(index.wrapping_mul(0x9e37_79b9));
        Product {
            adjective: random.pick(&ADJECTIVES),
            noun: random.pick(&NOUNS),
            category: random.pick(&CATEGORIES),
            number: index + 1,
        }
    }

    fn name(&self) -> String {
        format!("{} {} {}", self.adjective, self.noun, self.number)
    }
}

/// Steele, Lea and Flood's generator (SplitMix64): small, and the same everywhere and always, which a crate's default is not.
pub(in crate::demo) struct SplitMix(pub(in crate::demo) u64);

impl SplitMix {
    pub(in crate::demo) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(in crate::demo) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    fn pick<'a, const N: usize>(&mut self, words: &'a [&'static str; N]) -> &'a &'static str {
        &words[self.below(N as u64) as usize]
    }
}

const CATEGORIES: [&str; 8] =
    ["kitchen", "garden", "office", "outdoor", "music", "travel", "sports", "lighting"];

const ADJECTIVES: [&str; 32] = [
    "amber", "bold", "bright", "calm", "classic", "compact", "crisp", "deluxe", "durable", "elegant", "fine",
    "foldable", "gentle", "golden", "handmade", "heavy", "light", "little", "matte", "modern", "narrow",
    "natural", "patient", "plain", "quiet", "robust", "round", "silver", "smooth", "soft", "sturdy", "warm",
];

const NOUNS: [&str; 64] = [
    "anvil", "apron", "basket", "bench", "blanket", "bottle", "bowl", "brush", "bucket", "cable", "candle",
    "chair", "clock", "coat", "compass", "cup", "desk", "drill", "drum", "easel", "fan", "flask", "fork",
    "frame", "funnel", "glove", "guitar", "hammer", "hammock", "hook", "jar", "kettle", "knife", "ladder",
    "lamp", "lantern", "map", "mat", "mirror", "mug", "needle", "notebook", "oar", "pan", "pen", "pillow",
    "plate", "pot", "rake", "rope", "rug", "saddle", "scale", "shelf", "shovel", "spoon", "stool", "table",
    "tent", "torch", "towel", "tray", "vase", "whistle",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn password() -> Stored {
        Stored { salt: "salt".to_owned(), hash: "hash".to_owned(), rounds: 1 }
    }

    fn digest() -> (u64, u32) {
        let mut crc = crc32fast::Hasher::new();
        let mut count = 0;
        for table in &TABLES {
            for row in rows(table, &password()) {
                count += 1;
                crc.update(literals(&row).as_bytes());
            }
        }
        (count, crc.finalize())
    }

    #[test]
    fn the_data_is_the_same_for_every_start_and_machine() {
        assert_eq!(digest(), (285_003, 178_058_827));
    }

    #[test]
    fn rows_have_the_columns_of_their_table() {
        for table in &TABLES {
            if let Some(row) = rows(table, &password()).next() {
                assert_eq!(row.len(), table.columns.len(), "{}", table.name);
            }
        }
    }

    #[test]
    fn quotes_in_literals_are_doubled() {
        assert_eq!(literals(&["it's".into(), Value::Int(-3), Value::Null]), "('it''s',-3,NULL)");
    }

    #[tokio::test]
    async fn a_filled_file_holds_every_row_and_index() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shop.db");
        fill(&Database::Sqlite { path: path.clone() }, &password()).await.unwrap();
        let connection = sqlite::open(&path).unwrap();
        for table in &TABLES {
            let count: i64 = connection
                .query_row(&format!("SELECT COUNT(*) FROM {}", table.name), [], |row| row.get(0))
                .unwrap();
            assert_eq!(count as u64, table.rows, "{}", table.name);
        }
        let indexes: i64 = connection
            .query_row(
                "SELECT COUNT(*) FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(indexes, INDEXES.len() as i64);
    }
}
