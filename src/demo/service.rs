//! One process of the demo: sets up telemetry, listens, serves, and ends with its parent.

use super::error::DemoError;
use super::options::{DATABASE_URL, ServeOptions, Service};
use super::telemetry::{Exporting, Telemetry};
use super::{cache, inventory, payment, shop};
use std::future::Future;
use std::io::Read;
use std::net::SocketAddr;
use tokio::net::TcpListener;

/// Serves one service until `until` ends. `ready` is called with its address once it answers requests.
///
/// # Errors
/// What kept it from starting, or ended it early.
pub async fn serve(
    options: ServeOptions,
    ready: impl FnOnce(SocketAddr),
    until: impl Future<Output = ()>,
) -> Result<(), DemoError> {
    let role = options.service.role();
    let faults = options.faults;
    let telemetry = match options.service {
        Service::Shop { .. } | Service::Inventory { .. } => options.telemetry,
        Service::Payment | Service::Cache => Telemetry::Off,
    };
    let exporting = Exporting::install(role.name(), &telemetry)?;
    let failed = |source| DemoError::Listen { address: options.listen, source };
    let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
    // Connections wait in the listener's queue until the service is warm, so the address may be told now.
    ready(listener.local_addr().map_err(failed)?);
    let served = match &options.service {
        Service::Shop { database, cache, inventory_url, payment_url, assets } => {
            let neighbours = shop::Neighbours { database, cache: *cache, inventory_url, payment_url, assets };
            shop::serve(listener, neighbours, faults, until).await
        }
        Service::Inventory { database } => inventory::serve(listener, database, faults, until).await,
        Service::Payment => payment::serve(listener, faults, until).await,
        Service::Cache => {
            cache::serve(listener, until).await;
            Ok(())
        }
    };
    exporting.shut_down().await;
    served
}

/// The hidden command `demo-service`: a child of [`Demo`](super::Demo). `args` is what follows the command's name.
/// `announce` gets one line, `ready ADDRESS`, which must reach the standard output at once. Ends on a signal, or when the
/// standard input is closed: children never outlive a parent, even a killed one. Needs a multi-threaded runtime.
///
/// # Errors
/// What kept it from starting, or ended it early.
pub async fn service_main(args: &[String], announce: impl FnOnce(String)) -> Result<(), DemoError> {
    let options = ServeOptions::from_args(args, std::env::var(DATABASE_URL).ok())?;
    serve(options, |address| announce(format!("ready {address}")), until_told()).await
}

async fn until_told() {
    let (closed, is_closed) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let mut buffer = [0; 256];
        while matches!(std::io::stdin().read(&mut buffer), Ok(1..)) {}
        drop(closed);
    });
    tokio::select! {
        _ = is_closed => {}
        () = signalled() => {}
    }
}

#[cfg(unix)]
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    // Ctrl-C goes to the whole group of processes. The parent hears it, too, and closes the standard input when it has read
    // its answers; a child that went first would make them errors.
    let interrupt = signal(SignalKind::interrupt());
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            terminate.recv().await;
        }
        Err(_) => std::future::pending().await,
    }
    drop(interrupt);
}

#[cfg(not(unix))]
async fn signalled() {
    std::future::pending().await
}
