//! `GET /search?q=`: products for a word.

use super::super::database::Statement;
use super::super::timing::Clock;
use super::{Failure, Shop};
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

const HITS: Statement = Statement::new(
    "SELECT",
    "search_term",
    "SELECT search_term",
    "SELECT COUNT(*) FROM search_term WHERE term = $1",
);

const BEST: Statement = Statement::new(
    "SELECT",
    "search_term",
    "SELECT search_term product",
    "SELECT t.product_id, p.name, p.price_cents FROM \
     (SELECT product_id, weight FROM search_term WHERE term = $1 ORDER BY weight DESC, product_id LIMIT 20) t \
     JOIN product p ON p.id = t.product_id ORDER BY t.weight DESC, t.product_id",
);

#[derive(Deserialize)]
pub(super) struct Words {
    #[serde(default)]
    q: String,
}

pub(super) async fn show(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    Query(Words { q }): Query<Words>,
) -> Result<Json<serde_json::Value>, Failure> {
    let word = q.trim().to_ascii_lowercase();
    let catalogue = shop.catalogue.get(&shop.pool, &clock).await?;
    let mut connection = shop.connection(&clock).await?;
    let hits = connection.query(&clock, &HITS, &[word.as_str().into()]).await?;
    let rows = connection.query(&clock, &BEST, &[word.as_str().into()]).await?;
    drop(connection);
    let mut products = Vec::with_capacity(rows.len());
    for row in &rows {
        products.push(json!({"id": row.int(0)?, "name": row.text(1)?, "price_cents": row.int(2)?}));
    }
    let hits = hits.first().map_or(Ok(0), |row| row.int(0))?;
    Ok(Json(json!({"q": word, "hits": hits, "did_you_mean": catalogue.suggest(&word), "products": products})))
}
