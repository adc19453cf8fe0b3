//! What the HTTP services of the demo have in common: the server loop, and the routes to look after a service.

use super::database::DatabaseError;
use super::error::DemoError;
use super::fault::{FaultSwitch, Faults};
use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::serve::ListenerExt;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;

/// Requests under way get this long when the service is told to stop.
const GRACE: Duration = Duration::from_secs(2);

/// Serves until told to stop, then lets requests finish for a moment.
pub(super) async fn listen(
    listener: TcpListener,
    router: Router,
    until: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    // Answers of several writes would wait for acknowledgements otherwise.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(async {
            let _ = stopped.await;
        });
    tokio::select! {
        ended = async { serving.await } => ended.map_err(DemoError::Server),
        () = async {
            until.await;
            drop(stop);
            tokio::time::sleep(GRACE).await;
        } => Ok(()),
    }
}

/// A service whose faults can be changed.
pub(super) trait Control: Clone + Send + Sync + 'static {
    /// The faults that are on.
    fn faults(&self) -> &FaultSwitch;

    /// Makes the causes of these faults true, and those of all others untrue; returns when it is done.
    fn apply(&self, faults: Faults) -> impl Future<Output = Result<(), DatabaseError>> + Send;
}

/// `/healthz` and `/admin/faults`, neither traced. Faults are only changed for callers on this machine.
pub(super) fn care_routes<C: Control>(service: C) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/admin/faults", get(show_faults::<C>).post(change_faults::<C>))
        .with_state(service)
}

async fn show_faults<C: Control>(State(service): State<C>) -> String {
    format!("{}\n", service.faults().get())
}

async fn change_faults<C: Control>(
    State(service): State<C>,
    ConnectInfo(caller): ConnectInfo<SocketAddr>,
    list: String,
) -> (StatusCode, String) {
    if !caller.ip().is_loopback() {
        return (StatusCode::FORBIDDEN, "faults can only be changed from this machine\n".to_owned());
    }
    match Faults::parse(&list) {
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")),
        Ok(faults) => match service.apply(faults).await {
            Ok(()) => (StatusCode::OK, format!("{faults}\n")),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
    }
}
