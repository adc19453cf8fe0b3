//! `GET /products/{id}`: one product, its reviews, and what the inventory has of it and of related products.

use super::super::database::{DatabaseError, Row, Statement};
use super::super::fault::Fault;
use super::super::outbound::Call;
use super::super::timing::Clock;
use super::{Failure, Shop};
use axum::extract::{Path, State};
use axum::http::{Method, StatusCode};
use axum::{Extension, Json};
use bytes::Bytes;
use serde_json::json;
use serde_json::value::RawValue;
use tracing::{Instrument, Span, info_span};

const KEPT_SECONDS: u32 = 300;

const PRODUCT: Statement = Statement::new(
    "SELECT",
    "product",
    "SELECT product",
    "SELECT id, name, category, price_cents, description FROM product WHERE id = $1",
);

const REVIEWS: Statement = Statement::new(
    "SELECT",
    "review",
    "SELECT review",
    "SELECT id, rating, body, user_id FROM review WHERE product_id = $1 ORDER BY id LIMIT 10",
);

pub(super) async fn show(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    Path(id): Path<i64>,
) -> Result<Json<serde_json::Value>, Failure> {
    let catalogue = shop.catalogue.get(&shop.pool, &clock).await?;
    let ids = catalogue.with_related(id);
    if ids.is_empty() {
        return Err(Failure::Refused(StatusCode::NOT_FOUND, "no such product"));
    }
    let product = describe(&shop, &clock, id).await?;
    // Neither needs the other, so both are asked at once.
    // Both spans begin before either does anything, as both waits do: the second may get the processor late.
    let (reviews_span, stock_span) = (reviews_span(), stock_span());
    let (reviews, stock) = clock
        .race(
            async |clock| reviews(&shop, &clock, id).instrument(reviews_span).await,
            async |clock| stock(&shop, &clock, &ids).instrument(stock_span).await,
        )
        .await;
    let product: &RawValue = serde_json::from_slice(&product).map_err(|_| Failure::Broken)?;
    Ok(Json(json!({"product": product, "reviews": reviews?, "stock": stock?})))
}

/// The product as JSON, from the cache where it is known.
async fn describe(shop: &Shop, clock: &Clock, id: i64) -> Result<Bytes, Failure> {
    let key = id.to_string();
    let uncached = shop.faults.is_on(Fault::CacheOff);
    if !uncached && let Some(known) = shop.cache.get(clock, "product:", &key).await {
        return Ok(known);
    }
    let rows = shop.connection(clock).await?.query(clock, &PRODUCT, &[id.into()]).await?;
    let row = rows.first().ok_or(Failure::Refused(StatusCode::NOT_FOUND, "no such product"))?;
    let json = json!({
        "id": row.int(0)?, "name": row.text(1)?, "category": row.text(2)?, "price_cents": row.int(3)?,
        "description": row.text(4)?,
    })
    .to_string();
    if !uncached {
        shop.cache.set(clock, "product:", &key, json.as_bytes(), KEPT_SECONDS).await;
    }
    Ok(Bytes::from(json))
}

fn reviews_span() -> Span {
    info_span!(
        "load reviews",
        otel.kind = "internal",
        "code.function.name" = "hotspan::demo::shop::product::reviews",
        "code.file.path" = file!(),
        "code.line.number" = i64::from(line!()),
    )
}

async fn reviews(shop: &Shop, clock: &Clock, id: i64) -> Result<Vec<serde_json::Value>, DatabaseError> {
    let rows = shop.connection(clock).await?.query(clock, &REVIEWS, &[id.into()]).await?;
    let review = |row: &Row| {
        Ok(json!({"id": row.int(0)?, "rating": row.int(1)?, "body": row.text(2)?, "user_id": row.int(3)?}))
    };
    rows.iter().map(review).collect()
}

fn stock_span() -> Span {
    info_span!(
        "load stock",
        otel.kind = "internal",
        "code.function.name" = "hotspan::demo::shop::product::stock",
        "code.file.path" = file!(),
        "code.line.number" = i64::from(line!()),
    )
}

async fn stock(shop: &Shop, clock: &Clock, ids: &[i64]) -> Result<Vec<serde_json::Value>, Failure> {
    if !shop.faults.is_on(Fault::SequentialCalls) {
        let list = ids.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
        return ask(shop, clock, format!("/stock?ids={list}"), "/stock").await.map(|all| vec![all]);
    }
    let mut answers = Vec::with_capacity(ids.len());
    for id in ids {
        answers.push(ask(shop, clock, format!("/stock/{id}"), "/stock/{product_id}").await?);
    }
    Ok(answers)
}

async fn ask(shop: &Shop, clock: &Clock, path: String, template: &str) -> Result<serde_json::Value, Failure> {
    let call = Call { method: Method::GET, path, template, json: None, resend: 0 };
    let answer = shop
        .inventory
        .call_traced(clock, call)
        .await
        .map_err(|error| Failure::Neighbour("inventory", error))?;
    if answer.status != StatusCode::OK {
        return Err(Failure::BadAnswer("inventory", answer.status));
    }
    serde_json::from_slice(&answer.body).map_err(|_| Failure::BadAnswer("inventory", answer.status))
}
