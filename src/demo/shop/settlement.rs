//! The pool_exhausted fault's slow holder: a job that keeps a database connection while it waits for somebody else.

use super::super::fault::Fault;
use super::Shop;
use std::time::Duration;
use tracing::instrument::WithSubscriber;

const OPEN_ORDERS: &str = "SELECT COUNT(*) FROM orders WHERE total_cents > 0";
const PAUSE: Duration = Duration::from_millis(5);

/// Runs for the life of the shop, and does something only under the fault. The job is not instrumented.
pub(super) async fn run(shop: Shop) {
    async {
        loop {
            if shop.faults.is_on(Fault::PoolExhausted) {
                settle(&shop).await;
                tokio::time::sleep(PAUSE).await;
            } else {
                shop.settlement_due.notified().await;
            }
        }
    }
    .with_subscriber(tracing::subscriber::NoSubscriber::new())
    .await;
}

async fn settle(shop: &Shop) {
    // What goes wrong here is tried again with the next round.
    if let Ok(mut connection) = shop.pool.take().await {
        let _ = connection.run(OPEN_ORDERS, &[]).await;
        let _ = shop.payment.call_untraced("/v1/settlements").await;
    }
}
