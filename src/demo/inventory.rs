//! The inventory: the second traced service. It knows how many pieces of a product the warehouses hold.

use super::database::{Database, DatabaseError, Pool, Statement, Value, in_list};
use super::edge::traced;
use super::error::DemoError;
use super::fault::{FaultSwitch, Faults};
use super::server::{Control, care_routes, listen};
use super::timing::Clock;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde::Deserialize;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::net::TcpListener;

const CONNECTIONS: usize = 4;
const REFRESH: Duration = Duration::from_secs(5);
/// Ids in one question at most.
const MAX_IDS: usize = 100;

const STOCK: Statement = Statement::new("SELECT", "stock", "SELECT stock", "");
const ALL_STOCK: &str = "SELECT product_id, CAST(SUM(quantity) AS BIGINT) FROM stock GROUP BY product_id";

#[derive(Clone)]
struct Inventory {
    faults: Arc<FaultSwitch>,
    pool: Pool,
    /// What single items are answered from: the whole table as it was a few seconds ago.
    snapshot: Arc<RwLock<HashMap<i64, i64>>>,
}

impl Control for Inventory {
    fn faults(&self) -> &FaultSwitch {
        &self.faults
    }

    async fn apply(&self, faults: Faults) -> Result<(), DatabaseError> {
        self.faults.set(faults);
        Ok(())
    }
}

/// Serves the inventory until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    database: &Database,
    faults: Faults,
    until: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let inventory = Inventory {
        faults: Arc::new(FaultSwitch::new(faults)),
        pool: Pool::open("inventory", database, CONNECTIONS).await?,
        snapshot: Arc::default(),
    };
    inventory.refresh().await?;
    let refreshing = inventory.clone();
    let refresh = tokio::spawn(async move {
        loop {
            tokio::time::sleep(REFRESH).await;
            // An old snapshot is better than none.
            let _ = refreshing.refresh().await;
        }
    });
    let router = Router::new()
        .route("/stock", get(stock_of_many))
        .route("/stock/{product_id}", get(stock_of_one))
        .layer(from_fn(traced))
        .with_state(inventory.clone())
        .merge(care_routes(inventory));
    let served = listen(listener, router, until).await;
    refresh.abort();
    served
}

impl Inventory {
    async fn refresh(&self) -> Result<(), DatabaseError> {
        let rows = self.pool.take().await?.run(ALL_STOCK, &[]).await?;
        let fresh: HashMap<i64, i64> =
            rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect::<Result<_, DatabaseError>>()?;
        *self.snapshot.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }
}

async fn stock_of_one(State(inventory): State<Inventory>, Path(product_id): Path<i64>) -> Response {
    let pieces = inventory.snapshot.read().unwrap_or_else(PoisonError::into_inner).get(&product_id).copied();
    match pieces {
        Some(pieces) => Json(serde_json::json!({"product_id": product_id, "pieces": pieces})).into_response(),
        None => {
            (StatusCode::NOT_FOUND, Json(serde_json::json!({"error": "no such product"}))).into_response()
        }
    }
}

#[derive(Deserialize)]
struct Many {
    ids: String,
}

async fn stock_of_many(
    State(inventory): State<Inventory>,
    Extension(clock): Extension<Clock>,
    Query(Many { ids }): Query<Many>,
) -> Response {
    let ids: Result<Vec<i64>, _> = ids.split(',').map(str::parse).collect();
    let Some(ids) = ids.ok().filter(|ids| ids.len() <= MAX_IDS) else {
        let message = format!("ids must be up to {MAX_IDS} numbers, separated by commas");
        return (StatusCode::BAD_REQUEST, Json(serde_json::json!({"error": message}))).into_response();
    };
    match pieces_of(&inventory.pool, &clock, &ids).await {
        Ok(pieces) => Json(pieces).into_response(),
        Err(error) => {
            let body = serde_json::json!({"error": error.to_string()});
            (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
        }
    }
}

async fn pieces_of(pool: &Pool, clock: &Clock, ids: &[i64]) -> Result<Vec<(i64, i64)>, DatabaseError> {
    let statement = STOCK.with_sql(format!(
        "SELECT product_id, CAST(SUM(quantity) AS BIGINT) FROM stock WHERE product_id IN ({}) GROUP BY product_id",
        in_list(ids.len())
    ));
    let values: Vec<Value> = ids.iter().copied().map(Value::Int).collect();
    let rows = pool.acquire(clock).await?.query(clock, &statement, &values).await?;
    rows.iter().map(|row| Ok((row.int(0)?, row.int(1)?))).collect()
}
