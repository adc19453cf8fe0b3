//! `GET /products?page=`: twenty products with their ratings.

use super::super::database::{DatabaseError, Row, Statement, Value, in_list};
use super::super::fault::Fault;
use super::super::timing::Clock;
use super::{Failure, Shop, payload};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::json;

const PER_PAGE: i64 = 20;

const PAGE: Statement = Statement::new(
    "SELECT",
    "product",
    "SELECT product",
    "SELECT id, name, category, price_cents FROM product WHERE id > $1 ORDER BY id LIMIT 20",
);

/// The ratings of all products of a page at once.
const RATINGS: Statement = Statement::new("SELECT", "review", "SELECT review", "");

/// What the n_plus_one fault runs for each product: its best reviews by the standing of their authors, which is the average
/// rating of everything that the author reviewed.
const TOP_REVIEWS: Statement = Statement::new(
    "SELECT",
    "review",
    "SELECT review",
    "SELECT r.rating, r.body, \
     (SELECT CAST(AVG(b.rating) AS DOUBLE PRECISION) FROM review a JOIN review b ON b.product_id = a.product_id \
     WHERE a.user_id = r.user_id) AS standing \
     FROM review r WHERE r.product_id = $1 ORDER BY standing DESC, r.id LIMIT 3",
);

#[derive(Deserialize)]
pub(super) struct Page {
    #[serde(default = "first_page")]
    page: u32,
}

fn first_page() -> u32 {
    1
}

pub(super) async fn show(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    Query(Page { page }): Query<Page>,
) -> Result<Response, Failure> {
    let after = i64::from(page.saturating_sub(1)) * PER_PAGE;
    let mut connection = shop.connection(&clock).await?;
    let rows = connection.query(&clock, &PAGE, &[after.into()]).await?;
    let mut products = Vec::with_capacity(rows.len());
    for row in &rows {
        products.push(json!({
            "id": row.int(0)?, "name": row.text(1)?, "category": row.text(2)?, "price_cents": row.int(3)?,
        }));
    }
    if shop.faults.is_on(Fault::NPlusOne) {
        for (row, product) in rows.iter().zip(&mut products) {
            let reviews = connection.query(&clock, &TOP_REVIEWS, &[row.int(0)?.into()]).await?;
            product["top_reviews"] = top_reviews(&reviews)?;
        }
    } else if !rows.is_empty() {
        let ids = rows.iter().map(|row| row.int(0).map(Value::Int)).collect::<Result<Vec<_>, _>>()?;
        let statement = RATINGS.with_sql(format!(
            "SELECT product_id, COUNT(*), CAST(AVG(rating) AS DOUBLE PRECISION) FROM review \
             WHERE product_id IN ({}) GROUP BY product_id ORDER BY product_id",
            in_list(ids.len())
        ));
        let ratings = connection.query(&clock, &statement, &ids).await?;
        for rating in &ratings {
            let id = rating.int(0)?;
            if let Some(product) = products.iter_mut().find(|product| product["id"] == id) {
                product["reviews"] = rating.int(1)?.into();
                product["rating"] = rating.real_or_null(2)?.into();
            }
        }
    }
    drop(connection);
    let answer = json!({"page": page, "products": products});
    if shop.faults.is_on(Fault::LargePayload) {
        let catalogue = shop.catalogue.get(&shop.pool, &clock).await?;
        return Ok(payload::whole_catalogue(answer, catalogue));
    }
    Ok(Json(answer).into_response())
}

fn top_reviews(rows: &[Row]) -> Result<serde_json::Value, DatabaseError> {
    let reviews = rows.iter().map(|row| {
        Ok(json!({"rating": row.int(0)?, "body": row.text(1)?, "standing": row.real_or_null(2)?}))
    });
    reviews.collect::<Result<Vec<_>, _>>().map(serde_json::Value::Array)
}
