//! `GET /basket` and `POST /basket`. A basket belongs to a session; what is in it is reserved in the warehouse.

use super::super::database::{Row, Statement};
use super::super::timing::Clock;
use super::account::session;
use super::{Failure, Shop};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

pub(super) const CONTENT: Statement = Statement::new(
    "SELECT",
    "basket_item",
    "SELECT basket_item product",
    "SELECT b.product_id, b.quantity, p.name, p.price_cents FROM basket_item b JOIN product p ON p.id = b.product_id \
     WHERE b.session = $1 ORDER BY b.product_id",
);

/// One row that every buyer changes. It is the first statement of each transaction, so that locks are taken in one order.
pub(super) const RESERVE: Statement = Statement::new(
    "UPDATE",
    "warehouse",
    "UPDATE warehouse",
    "UPDATE warehouse SET reserved = reserved + $1 WHERE id = 1",
);

const ADD: Statement = Statement::new(
    "INSERT",
    "basket_item",
    "INSERT basket_item",
    "INSERT INTO basket_item (session, product_id, quantity) VALUES ($1, $2, $3)",
);

/// The lines of a basket and what they cost together.
pub(super) fn lines(rows: &[Row]) -> Result<(Vec<serde_json::Value>, i64, i64), Failure> {
    let (mut lines, mut pieces, mut total) = (Vec::with_capacity(rows.len()), 0, 0);
    for row in rows {
        let (quantity, price) = (row.int(1)?, row.int(3)?);
        pieces += quantity;
        total += quantity * price;
        lines.push(json!({
            "product_id": row.int(0)?, "quantity": quantity, "name": row.text(2)?, "price_cents": price,
        }));
    }
    Ok((lines, pieces, total))
}

pub(super) async fn show(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    headers: HeaderMap,
) -> Result<Json<serde_json::Value>, Failure> {
    let (session, _) = session(&shop, &clock, &headers).await?;
    let rows = shop.connection(&clock).await?.query(&clock, &CONTENT, &[session.into()]).await?;
    let (lines, _, total) = lines(&rows)?;
    Ok(Json(json!({"items": lines, "total_cents": total})))
}

#[derive(Deserialize)]
struct Wish {
    product_id: i64,
    quantity: i64,
}

pub(super) async fn add(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<serde_json::Value>), Failure> {
    let wish: Wish =
        serde_json::from_slice(&body).ok().filter(|wish: &Wish| (1..=100).contains(&wish.quantity)).ok_or(
            Failure::Refused(StatusCode::BAD_REQUEST, "send product_id and quantity (1 to 100) as JSON"),
        )?;
    let (session, _) = session(&shop, &clock, &headers).await?;
    let mut connection = shop.connection(&clock).await?;
    connection.begin(&clock).await?;
    connection.query(&clock, &RESERVE, &[wish.quantity.into()]).await?;
    connection.query(&clock, &ADD, &[session.into(), wish.product_id.into(), wish.quantity.into()]).await?;
    connection.commit(&clock).await?;
    drop(connection);
    let answer = json!({"product_id": wish.product_id, "quantity": wish.quantity});
    Ok((StatusCode::CREATED, Json(answer)))
}
