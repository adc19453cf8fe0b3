//! `GET /`: categories and bestsellers. The bestsellers come from the cache.

use super::super::database::{DatabaseError, Statement};
use super::super::fault::Fault;
use super::super::timing::Clock;
use super::{Failure, Shop};
use axum::extract::State;
use axum::{Extension, Json};
use bytes::Bytes;
use serde_json::value::RawValue;

const KEPT_SECONDS: u32 = 300;

/// Over all order lines there ever were: an honest aggregate, and the reason why there is a cache.
const BESTSELLERS: Statement = Statement::new(
    "SELECT",
    "order_item",
    "SELECT order_item product",
    "SELECT b.product_id, p.name, b.revenue FROM \
     (SELECT product_id, CAST(SUM(quantity * price_cents) AS BIGINT) AS revenue FROM order_item \
     GROUP BY product_id ORDER BY revenue DESC, product_id LIMIT 10) b \
     JOIN product p ON p.id = b.product_id ORDER BY b.revenue DESC, b.product_id",
);

pub(super) async fn show(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
) -> Result<Json<serde_json::Value>, Failure> {
    let catalogue = shop.catalogue.get(&shop.pool, &clock).await?;
    let bestsellers = bestsellers(&shop, &clock).await?;
    let bestsellers: &RawValue = serde_json::from_slice(&bestsellers).map_err(|_| Failure::Broken)?;
    Ok(Json(serde_json::json!({"categories": catalogue.categories(), "bestsellers": bestsellers})))
}

/// The bestsellers as JSON.
pub(super) async fn bestsellers(shop: &Shop, clock: &Clock) -> Result<Bytes, DatabaseError> {
    let uncached = shop.faults.is_on(Fault::CacheOff);
    if !uncached && let Some(known) = shop.cache.get(clock, "page:", "bestsellers").await {
        return Ok(known);
    }
    let rows = shop.connection(clock).await?.query(clock, &BESTSELLERS, &[]).await?;
    let mut list = Vec::with_capacity(rows.len());
    for row in &rows {
        list.push(serde_json::json!({
            "product_id": row.int(0)?, "name": row.text(1)?, "revenue_cents": row.int(2)?,
        }));
    }
    let json = serde_json::Value::Array(list).to_string();
    if !uncached {
        shop.cache.set(clock, "page:", "bestsellers", json.as_bytes(), KEPT_SECONDS).await;
    }
    Ok(Bytes::from(json))
}
