//! The sample shop: an ordinary service with faults to switch on, so that hotspan has something to find on a bare machine.
//!
//! It is instrumented with `tracing`, `tracing-opentelemetry` and `opentelemetry-otlp` under the stable semantic
//! conventions, as a service of anybody's would be, and knows nothing of hotspan: no module of this crate is used here.
//!
//! ```text
//! load ──> shop ──┬─ HTTP + traceparent ──> inventory ──┐
//!                 ├─ HTTP ──> payment (no spans)        ├──> SQLite or PostgreSQL
//!                 ├─ RESP ──> cache (no spans)          │
//!                 └─────────────────────────────────────┘
//! ```
//!
//! [`Demo`] starts the four processes; [`service_main`] is one of them. The shop measures its own parts with plain timers
//! and says them in `Server-Timing`, so that what is computed from spans can be checked against something that is not one.

mod cache;
mod database;
mod delivery;
mod edge;
mod error;
mod fault;
mod inventory;
mod launch;
mod options;
mod outbound;
mod password;
mod payment;
mod scenario;
mod server;
mod service;
mod shop;
mod telemetry;
#[cfg(test)]
mod tests;
mod timing;

pub use database::{Database, DatabaseError};
pub use error::DemoError;
pub use fault::{Expectation, Fault, Faults, expectation};
pub use launch::{Demo, DemoOptions, SERVICE_COMMAND};
pub use options::{Role, ServeOptions, Service};
pub use scenario::scenario;
pub use service::{serve, service_main};
pub use telemetry::Telemetry;
