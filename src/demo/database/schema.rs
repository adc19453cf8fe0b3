//! Tables and indexes of the shop, in SQL that SQLite and PostgreSQL both take.

use super::DatabaseError;
use super::pool::Connection;

/// A table and how many rows it starts with.
pub(super) struct Table {
    pub(super) name: &'static str,
    /// Columns with their types.
    pub(super) columns: &'static [(&'static str, &'static str)],
    pub(super) rows: u64,
}

pub(super) const PRODUCTS: u64 = 10_000;
pub(super) const USERS: u64 = 5_000;
pub(super) const TERMS_PER_PRODUCT: u64 = 10;
/// Products belong to the series `mk1` … `mk64`, which people search for.
pub(super) const SERIES: u64 = 64;

pub(super) const TABLES: [Table; 9] = [
    Table {
        name: "product",
        columns: &[
            ("id", "BIGINT PRIMARY KEY"),
            ("name", "TEXT NOT NULL"),
            ("category", "TEXT NOT NULL"),
            ("price_cents", "BIGINT NOT NULL"),
            ("description", "TEXT NOT NULL"),
        ],
        rows: PRODUCTS,
    },
    Table {
        name: "review",
        columns: &[
            ("id", "BIGINT PRIMARY KEY"),
            ("product_id", "BIGINT NOT NULL"),
            ("user_id", "BIGINT NOT NULL"),
            ("rating", "BIGINT NOT NULL"),
            ("body", "TEXT NOT NULL"),
        ],
        rows: 80_000,
    },
    Table {
        name: "shop_user",
        columns: &[
            ("id", "BIGINT PRIMARY KEY"),
            ("name", "TEXT NOT NULL"),
            ("password_salt", "TEXT NOT NULL"),
            ("password_hash", "TEXT NOT NULL"),
            ("password_rounds", "BIGINT NOT NULL"),
        ],
        rows: USERS,
    },
    Table {
        name: "orders",
        columns: &[
            ("id", "BIGINT PRIMARY KEY"),
            ("user_id", "BIGINT NOT NULL"),
            ("total_cents", "BIGINT NOT NULL"),
            ("payment", "TEXT NOT NULL"),
        ],
        rows: 15_000,
    },
    Table {
        name: "order_item",
        columns: &[
            ("order_id", "BIGINT NOT NULL"),
            ("product_id", "BIGINT NOT NULL"),
            ("quantity", "BIGINT NOT NULL"),
            ("price_cents", "BIGINT NOT NULL"),
        ],
        rows: 45_000,
    },
    Table {
        name: "stock",
        columns: &[
            ("product_id", "BIGINT NOT NULL"),
            ("warehouse_id", "BIGINT NOT NULL"),
            ("quantity", "BIGINT NOT NULL"),
        ],
        rows: PRODUCTS * 3,
    },
    Table {
        name: "search_term",
        columns: &[
            ("term", "TEXT NOT NULL"),
            ("product_id", "BIGINT NOT NULL"),
            ("weight", "BIGINT NOT NULL"),
        ],
        rows: PRODUCTS * TERMS_PER_PRODUCT,
    },
    Table {
        name: "warehouse",
        columns: &[("id", "BIGINT PRIMARY KEY"), ("name", "TEXT NOT NULL"), ("reserved", "BIGINT NOT NULL")],
        rows: 3,
    },
    Table {
        name: "basket_item",
        columns: &[
            ("session", "TEXT NOT NULL"),
            ("product_id", "BIGINT NOT NULL"),
            ("quantity", "BIGINT NOT NULL"),
        ],
        rows: 0,
    },
];

impl Table {
    pub(super) fn create(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        format!("CREATE TABLE {} ({})", self.name, columns.join(", "))
    }

    pub(super) fn column_names(&self) -> String {
        self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }
}

/// Made after the rows: much quicker than keeping them while filling.
pub(super) const INDEXES: [&str; 7] = [
    "CREATE INDEX review_by_product ON review (product_id)",
    "CREATE INDEX review_by_user ON review (user_id)",
    "CREATE UNIQUE INDEX shop_user_by_name ON shop_user (name)",
    "CREATE INDEX stock_by_product ON stock (product_id)",
    "CREATE INDEX basket_item_by_session ON basket_item (session)",
    "CREATE INDEX orders_by_user ON orders (user_id)",
    CREATE_SEARCH_INDEX,
];

const CREATE_SEARCH_INDEX: &str = "CREATE INDEX IF NOT EXISTS search_term_by_term ON search_term (term)";
const DROP_SEARCH_INDEX: &str = "DROP INDEX IF EXISTS search_term_by_term";

/// The healthy state of search.
pub(crate) async fn create_search_index(connection: &mut Connection) -> Result<(), DatabaseError> {
    connection.run(CREATE_SEARCH_INDEX, &[]).await.map(drop)
}

/// The fault `missing_index`.
pub(crate) async fn drop_search_index(connection: &mut Connection) -> Result<(), DatabaseError> {
    connection.run(DROP_SEARCH_INDEX, &[]).await.map(drop)
}
