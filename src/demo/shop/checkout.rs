//! `POST /checkout`: pays for the basket and makes it an order.

use super::super::database::{Connection, DatabaseError, Statement};
use super::super::fault::Fault;
use super::super::outbound::Call;
use super::super::timing::{Clock, Part, timed};
use super::account::session;
use super::basket::{CONTENT, RESERVE, lines};
use super::{Failure, Shop};
use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::{Extension, Json};
use serde_json::json;
use std::time::Duration;

/// Attempts to pay, the first included.
const ATTEMPTS: u32 = 25;
/// Where the payment API does not say how long to wait.
const DEFAULT_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

const ORDER: Statement = Statement::new(
    "INSERT",
    "orders",
    "INSERT orders",
    "INSERT INTO orders (id, user_id, total_cents, payment) VALUES ($1, $2, $3, $4)",
);

const ORDER_ITEMS: Statement = Statement::new(
    "INSERT",
    "order_item",
    "INSERT order_item SELECT basket_item product",
    "INSERT INTO order_item (order_id, product_id, quantity, price_cents) \
     SELECT CAST($1 AS BIGINT), b.product_id, b.quantity, p.price_cents \
     FROM basket_item b JOIN product p ON p.id = b.product_id WHERE b.session = $2",
);

const EMPTY_BASKET: Statement = Statement::new(
    "DELETE",
    "basket_item",
    "DELETE basket_item",
    "DELETE FROM basket_item WHERE session = $1",
);

/// What is bought.
struct Purchase<'a> {
    session: &'a str,
    user: i64,
    pieces: i64,
    total_cents: i64,
}

pub(super) async fn pay(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<serde_json::Value>), Failure> {
    let (session, user) = session(&shop, &clock, &headers).await?;
    let mut connection = shop.connection(&clock).await?;
    let rows = connection.query(&clock, &CONTENT, &[session.into()]).await?;
    let (_, pieces, total_cents) = lines(&rows)?;
    if rows.is_empty() {
        return Err(Failure::Refused(StatusCode::CONFLICT, "the basket is empty"));
    }
    let purchase = Purchase { session, user, pieces, total_cents };
    let order = if shop.faults.is_on(Fault::LockContention) {
        // The fault: the lock is taken first and held while somebody else screens the payment.
        connection.begin(&clock).await?;
        connection.query(&clock, &RESERVE, &[(-pieces).into()]).await?;
        charge(&shop, &clock, total_cents, Screening::Fraud).await?;
        let order = store(&shop, &clock, &mut connection, &purchase).await?;
        connection.commit(&clock).await?;
        order
    } else {
        drop(connection);
        charge(&shop, &clock, total_cents, Screening::None).await?;
        let mut connection = shop.connection(&clock).await?;
        connection.begin(&clock).await?;
        connection.query(&clock, &RESERVE, &[(-purchase.pieces).into()]).await?;
        let order = store(&shop, &clock, &mut connection, &purchase).await?;
        connection.commit(&clock).await?;
        order
    };
    Ok((StatusCode::CREATED, Json(json!({"order": order, "total_cents": total_cents}))))
}

async fn store(
    shop: &Shop,
    clock: &Clock,
    connection: &mut Connection,
    purchase: &Purchase<'_>,
) -> Result<i64, DatabaseError> {
    let order = shop.new_order();
    let payment = format!("payment-{order}");
    let values = [order.into(), purchase.user.into(), purchase.total_cents.into(), payment.into()];
    connection.query(clock, &ORDER, &values).await?;
    connection.query(clock, &ORDER_ITEMS, &[order.into(), purchase.session.into()]).await?;
    connection.query(clock, &EMPTY_BASKET, &[purchase.session.into()]).await?;
    Ok(order)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Screening {
    None,
    Fraud,
}

/// Pays, and tries again when the payment API says that it is too much now.
async fn charge(shop: &Shop, clock: &Clock, amount_cents: i64, screening: Screening) -> Result<(), Failure> {
    let body = json!({"amount_cents": amount_cents, "screening": screening == Screening::Fraud});
    for attempt in 0..ATTEMPTS {
        let call = Call {
            method: Method::POST,
            path: "/v1/charges".to_owned(),
            template: "/v1/charges",
            json: Some(body.clone()),
            resend: attempt,
        };
        let answer =
            shop.payment.call(clock, call).await.map_err(|error| Failure::Neighbour("payment", error))?;
        match answer.status {
            StatusCode::CREATED => return Ok(()),
            StatusCode::TOO_MANY_REQUESTS if attempt + 1 < ATTEMPTS => {
                let ((), waited) = timed(tokio::time::sleep(retry_after(&answer.headers))).await;
                clock.add(Part::Queue, waited);
            }
            status => return Err(Failure::BadAnswer("payment", status)),
        }
    }
    Err(Failure::BadAnswer("payment", StatusCode::TOO_MANY_REQUESTS))
}

fn retry_after(headers: &HeaderMap) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(DEFAULT_WAIT, Duration::from_secs)
        .min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_wait_is_what_the_answer_asks_for_within_reason() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(value));
            retry_after(&headers)
        };
        assert_eq!(of("3"), Duration::from_secs(3));
        assert_eq!(of("86400"), LONGEST_WAIT);
        assert_eq!(of("Wed, 21 Oct 2026 07:28:00 GMT"), DEFAULT_WAIT);
        assert_eq!(retry_after(&HeaderMap::new()), DEFAULT_WAIT);
    }
}
