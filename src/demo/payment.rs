//! The payment API: somebody else's service. It sends no spans, and it may sleep, since its slowness is nobody's code here.

use super::database::DatabaseError;
use super::error::DemoError;
use super::fault::{Fault, FaultSwitch, Faults};
use super::server::{Control, care_routes, listen};
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const CHARGE: Duration = Duration::from_millis(8);
/// Environment variable with another length of a charge in milliseconds, for trials of what small changes can be seen.
const CHARGE_MS: &str = "HOTSPAN_DEMO_CHARGE_MS";
const SLOW_CHARGE: Duration = Duration::from_millis(400);
/// A charge with the fraud screening that the lock_contention fault asks for.
const SCREENED_CHARGE: Duration = Duration::from_millis(320);
const SETTLEMENTS: Duration = Duration::from_millis(80);
/// Charges a second under the rate_limited_external fault, and how many may come at once.
const CHARGES_PER_SECOND: f64 = 2.0;
const BURST: f64 = 1.0;

#[derive(Clone)]
struct Payment {
    faults: Arc<FaultSwitch>,
    bucket: Arc<Mutex<TokenBucket>>,
    charge: Duration,
}

impl Control for Payment {
    fn faults(&self) -> &FaultSwitch {
        &self.faults
    }

    async fn apply(&self, faults: Faults) -> Result<(), DatabaseError> {
        self.faults.set(faults);
        Ok(())
    }
}

/// Serves the payment API until told to stop.
pub(super) async fn serve(
    listener: TcpListener,
    faults: Faults,
    until: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let payment = Payment {
        faults: Arc::new(FaultSwitch::new(faults)),
        bucket: Arc::new(Mutex::new(TokenBucket::new(CHARGES_PER_SECOND, BURST, Instant::now()))),
        charge: charge_of(std::env::var(CHARGE_MS).ok().as_deref()),
    };
    let router = Router::new()
        .route("/v1/charges", post(charge))
        .route("/v1/settlements", get(settlements))
        .with_state(payment.clone())
        .merge(care_routes(payment));
    listen(listener, router, until).await
}

/// A charge takes as long as the variable says, up to a minute, or as it usually does.
fn charge_of(variable: Option<&str>) -> Duration {
    let ms = variable.and_then(|text| text.trim().parse::<u64>().ok()).filter(|ms| *ms <= 60_000);
    ms.map_or(CHARGE, Duration::from_millis)
}

#[derive(Deserialize)]
struct Charge {
    amount_cents: i64,
    #[serde(default)]
    screening: bool,
}

async fn charge(State(payment): State<Payment>, Json(charge): Json<Charge>) -> Response {
    if payment.faults.is_on(Fault::RateLimitedExternal) {
        let taken = payment.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now());
        if let Err(wait) = taken {
            let seconds = wait.as_secs_f64().ceil().max(1.0);
            let retry_after: [(HeaderName, String); 1] = [(header::RETRY_AFTER, format!("{seconds:.0}"))];
            return (StatusCode::TOO_MANY_REQUESTS, retry_after).into_response();
        }
    }
    let mut takes = if charge.screening { SCREENED_CHARGE } else { payment.charge };
    if payment.faults.is_on(Fault::SlowExternal) {
        takes = takes.max(SLOW_CHARGE);
    }
    tokio::time::sleep(takes).await;
    let receipt = serde_json::json!({"status": "paid", "amount_cents": charge.amount_cents});
    (StatusCode::CREATED, Json(receipt)).into_response()
}

async fn settlements() -> Json<serde_json::Value> {
    tokio::time::sleep(SETTLEMENTS).await;
    Json(serde_json::json!({"open": 0}))
}

/// A token bucket: `rate` tokens a second, at most `burst` saved up.
#[derive(Debug)]
struct TokenBucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    updated: Instant,
}

impl TokenBucket {
    fn new(rate: f64, burst: f64, now: Instant) -> TokenBucket {
        TokenBucket { rate, burst, tokens: burst, updated: now }
    }

    /// Takes a token, or says how long until there is one.
    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.updated).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate).min(self.burst);
        self.updated = self.updated.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(2.0, 3.0, start);
        assert_eq!([(); 3].map(|()| bucket.take(start)), [Ok(()); 3]);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(500)));
        assert_eq!(bucket.take(start + Duration::from_millis(250)), Err(Duration::from_millis(250)));
        assert_eq!(bucket.take(start + Duration::from_millis(500)), Ok(()));
        let taken = (0..100)
            .filter(|tenth| bucket.take(start + Duration::from_millis(500 + 100 * (tenth + 1))).is_ok());
        assert_eq!(taken.count(), 20, "ten seconds at two a second");
    }

    #[test]
    fn a_charge_takes_as_long_as_it_is_told_to() {
        assert_eq!(charge_of(Some(" 44 ")), Duration::from_millis(44));
        assert_eq!([None, Some("soon"), Some("-1"), Some("99999999")].map(charge_of), [CHARGE; 4]);
    }

    #[test]
    fn a_rested_bucket_saves_no_more_than_its_burst() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10.0, 2.0, start);
        let later = start + Duration::from_secs(3600);
        assert_eq!([bucket.take(later), bucket.take(later)], [Ok(()), Ok(())]);
        assert!(bucket.take(later).is_err());
        assert!(bucket.take(start).is_err(), "a clock that reads earlier gives nothing");
    }
}
