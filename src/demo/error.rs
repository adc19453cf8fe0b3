//! What can go wrong when the shop is started or switched.

use super::fault::Fault;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the shop could not be started, changed or kept running. Each message says which input, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A word in a list of faults is not a fault.
    #[error("`{0}` is not a fault; known are none, {known}", known = Fault::ALL.map(Fault::name).join(", "))]
    UnknownFault(String),
    /// A word is not a role.
    #[error("`{0}` is not a service of the demo; known are shop, inventory, payment, cache")]
    UnknownRole(String),
    /// The arguments of a service are incomplete or not understood.
    #[error("demo-service {role}: {problem}")]
    Arguments {
        /// Which service.
        role: String,
        /// Which argument and what was expected.
        problem: String,
    },
    /// An address is taken or not ours.
    #[error("cannot listen on {address}: {source}; choose another port, or 0 for any free one")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The database could not be opened, filled or changed.
    #[error(transparent)]
    Database(#[from] super::database::DatabaseError),
    /// A file of the shop could not be written or read.
    #[error("{path}: {source}; the demo needs about 80 MB of free space there (TMPDIR chooses another place)", path = .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The OTLP exporter could not be set up.
    #[error("OTLP exporter for {endpoint}: {problem}; give an endpoint such as http://127.0.0.1:4317")]
    Exporter {
        /// Where spans should go.
        endpoint: String,
        /// What the exporter said.
        problem: String,
    },
    /// A service of the demo could not be started as a process.
    #[error("cannot start {exe} as the {role} service: {source}", exe = .exe.display())]
    Spawn {
        /// The program.
        exe: PathBuf,
        /// Which service.
        role: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A service ended or stayed silent instead of getting ready.
    #[error("the {role} service did not get ready: {problem}")]
    NotReady {
        /// Which service.
        role: &'static str,
        /// How it ended and what it wrote.
        problem: String,
    },
    /// The HTTP client of the demo could not be made.
    #[error("HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// A server loop ended with an error.
    #[error("server: {0}")]
    Server(std::io::Error),
}
