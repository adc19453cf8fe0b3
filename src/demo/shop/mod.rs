//! The shop: the web front that people (and hotspan) talk to.

mod account;
mod assets;
mod basket;
mod catalogue;
mod checkout;
mod failure;
mod listing;
mod payload;
mod product;
mod search;
mod settlement;
mod start_page;

use super::cache::Cache;
use super::database::{Connection, Database, DatabaseError, Pool, create_search_index, drop_search_index};
use super::edge::traced;
use super::error::DemoError;
use super::fault::{Fault, FaultSwitch, Faults};
use super::outbound::{Peer, http_client};
use super::server::{Control, care_routes, listen};
use super::timing::Clock;
use assets::Assets;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};
use catalogue::CatalogueCell;
use failure::Failure;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// More than 20 users can use at once, with some of them waiting for locks.
const CONNECTIONS: usize = 16;
/// Connections under the pool_exhausted fault.
const CONNECTIONS_EXHAUSTED: usize = 1;
/// Requests that a worker serves before the cold_start fault recycles it.
const REQUESTS_PER_WORKER: u64 = 12;

/// The state of the shop.
#[derive(Clone)]
pub(super) struct Shop(Arc<Inner>);

pub(super) struct Inner {
    faults: FaultSwitch,
    /// Held while faults are changed: changing an index and the pool takes a moment.
    changing: tokio::sync::Mutex<()>,
    settlement_due: Notify,
    pool: Pool,
    cache: Cache,
    inventory: Peer,
    payment: Peer,
    catalogue: CatalogueCell,
    assets: Assets,
    requests: AtomicU64,
    next_order: AtomicU64,
}

impl std::ops::Deref for Shop {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Where the shop finds its neighbours.
pub(super) struct Neighbours<'a> {
    pub(super) database: &'a Database,
    pub(super) cache: SocketAddr,
    pub(super) inventory_url: &'a str,
    pub(super) payment_url: &'a str,
    pub(super) assets: &'a Path,
}

/// Serves the shop until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    neighbours: Neighbours<'_>,
    faults: Faults,
    until: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let client = http_client()?;
    let shop = Shop(Arc::new(Inner {
        faults: FaultSwitch::default(),
        changing: tokio::sync::Mutex::default(),
        settlement_due: Notify::new(),
        pool: Pool::open("shop", neighbours.database, CONNECTIONS).await?,
        cache: Cache::new(neighbours.cache),
        inventory: Peer::new(client.clone(), neighbours.inventory_url),
        payment: Peer::new(client, neighbours.payment_url),
        catalogue: CatalogueCell::default(),
        assets: Assets::open(neighbours.assets).await?,
        requests: AtomicU64::new(0),
        next_order: AtomicU64::new(first_order()),
    }));
    shop.warm_up().await?;
    shop.apply(faults).await?;
    let settlement = tokio::spawn(settlement::run(shop.clone()));
    let served = listen(listener, router(&shop), until).await;
    settlement.abort();
    served
}

fn router(shop: &Shop) -> Router {
    Router::new()
        .route("/", get(start_page::show))
        .route("/products", get(listing::show))
        .route("/products/{id}", get(product::show))
        .route("/search", get(search::show))
        .route("/login", post(account::login))
        .route("/logout", post(account::logout))
        .route("/basket", get(basket::show).post(basket::add))
        .route("/checkout", post(checkout::pay))
        .route("/static/{*path}", get(assets::serve_file))
        .layer(from_fn_with_state(shop.clone(), enter))
        .with_state(shop.clone())
        .merge(care_routes(shop.clone()))
}

/// Counts the request, as a worker with a limit of requests does, and traces it.
async fn enter(State(shop): State<Shop>, request: Request, next: Next) -> Response {
    let served = shop.requests.fetch_add(1, Ordering::Relaxed);
    if served % REQUESTS_PER_WORKER == 0 && shop.faults.is_on(Fault::ColdStart) {
        shop.catalogue.recycle();
    }
    traced(request, next).await
}

impl Shop {
    /// What a service does before it says that it is ready. Spans of it belong to no request, so none are made.
    async fn warm_up(&self) -> Result<(), DatabaseError> {
        use tracing::instrument::WithSubscriber;
        async {
            let clock = Clock::start();
            self.catalogue.get(&self.pool, &clock).await?;
            start_page::bestsellers(self, &clock).await.map(drop)
        }
        .with_subscriber(tracing::subscriber::NoSubscriber::new())
        .await
    }

    /// A connection for one or more statements of a request. A handler must never hold two: with one connection in the
    /// pool it would wait for itself.
    async fn connection(&self, clock: &Clock) -> Result<Connection, DatabaseError> {
        self.pool.acquire(clock).await
    }

    fn new_order(&self) -> i64 {
        self.next_order.fetch_add(1, Ordering::Relaxed) as i64
    }
}

/// Above all seeded orders and those of earlier starts.
fn first_order() -> u64 {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_micros()).unwrap_or(1_000_000_000)
}

impl Control for Shop {
    fn faults(&self) -> &FaultSwitch {
        &self.0.faults
    }

    async fn apply(&self, faults: Faults) -> Result<(), DatabaseError> {
        let _changing = self.changing.lock().await;
        let before = self.0.faults.get();
        // Off first: the settlement job must not keep the only connection while the index is changed.
        self.0.faults.set(faults);
        if !faults.contains(Fault::PoolExhausted) {
            self.pool.limit(self.pool.size()).await?;
        }
        match (before.contains(Fault::MissingIndex), faults.contains(Fault::MissingIndex)) {
            (false, true) => drop_search_index(&mut self.pool.take().await?).await?,
            (true, false) => create_search_index(&mut self.pool.take().await?).await?,
            _ => {}
        }
        if faults.contains(Fault::PoolExhausted) {
            self.pool.limit(CONNECTIONS_EXHAUSTED).await?;
            self.settlement_due.notify_one();
        }
        Ok(())
    }
}
