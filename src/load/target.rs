//! A look at the target before any load: can it be reached at all?

use super::clock::{Clock, ThreadClock};
use super::flight::Flights;
use super::http1::Scratch;
use super::route::Route;
use super::tls::{Tls, connectors};
use crate::record::{FailureClass, Nanos, Phases};
use crate::scenario::Scenario;
use std::cell::Cell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Why a target cannot be loaded. `Display` says which, why, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetError {
    /// The endpoint's origin.
    pub target: String,
    /// Why.
    pub kind: TargetErrorKind,
}

/// Why a target cannot be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetErrorKind {
    /// The name does not resolve.
    Unresolved(String),
    /// Nothing listens there.
    Refused,
    /// No connection within the limit.
    TimedOut(Nanos),
    /// Any other failure to connect.
    Unreachable(String),
    /// The TLS handshake failed.
    Tls(String),
    /// TLS cannot be spoken as the scenario says: its files or the system's are not usable.
    Settings(String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = &self.target;
        match &self.kind {
            TargetErrorKind::Unresolved(why) => {
                write!(
                    f,
                    "the name in {target} does not resolve ({why}): check the spelling and the resolver"
                )
            }
            TargetErrorKind::Refused => {
                write!(
                    f,
                    "nothing listens at {target} (connection refused): start the service, or check the port"
                )
            }
            TargetErrorKind::TimedOut(limit) => {
                write!(
                    f,
                    "{target} did not accept a connection within {limit}: is there a firewall between? `timeouts: {{connect: …}}` sets the limit"
                )
            }
            TargetErrorKind::Unreachable(why) => write!(f, "{target} cannot be reached: {why}"),
            TargetErrorKind::Settings(why) => write!(f, "{target} cannot be spoken to: {why}"),
            TargetErrorKind::Tls(why) => {
                write!(
                    f,
                    "{target} was reached, but the TLS handshake failed ({why}): `http: {{tls: {{roots: ca.pem}}}}` names its authority, `insecure: true` accepts any certificate, and a plain service has the scheme http"
                )
            }
        }
    }
}

impl std::error::Error for TargetError {}

/// Connects every endpoint of a scenario once, through its proxy and with TLS where they are used, and hangs up. Blocks for at
/// most the connect timeout per endpoint.
///
/// # Errors
/// The first endpoint that cannot be reached.
pub fn check_target(scenario: &Scenario) -> Result<(), TargetError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let of = |index: usize, kind| TargetError { target: shown(scenario, index), kind };
    let runtime = runtime.map_err(|e| of(0, TargetErrorKind::Unreachable(e.to_string())))?;
    let tls = connectors(scenario).map_err(|why| of(0, TargetErrorKind::Settings(why)))?;
    for (index, tls) in tls.iter().enumerate().filter(|(index, _)| is_used(scenario, *index)) {
        let checked = runtime.block_on(check_endpoint(scenario, index, tls.clone()));
        checked.map_err(|kind| of(index, kind))?;
    }
    Ok(())
}

/// Whether anything goes to an endpoint. Where all steps of a host need another protocol than the scenario's, its own endpoint
/// has nothing to do, and the service may not even speak that.
fn is_used(scenario: &Scenario, index: usize) -> bool {
    let replaced = scenario.endpoints.get(index).is_some_and(|e| scenario.endpoints[index + 1..].contains(e));
    !replaced || scenario.steps.iter().any(|step| step.endpoint == index)
}

/// An endpoint as it is named in messages: with its socket, or the proxy before it.
fn shown(scenario: &Scenario, index: usize) -> String {
    let Some(endpoint) = scenario.endpoints.get(index) else { return scenario.target.clone() };
    let options = scenario.http_of(index);
    match (&options.unix, options.proxies.to(endpoint)) {
        (Some(path), _) => format!("{} ({})", endpoint.origin(), path.display()),
        (None, Some(proxy)) => {
            format!("{} (through the proxy {})", endpoint.origin(), proxy.origin())
        }
        (None, None) => endpoint.origin(),
    }
}

async fn check_endpoint(scenario: &Scenario, index: usize, tls: Tls) -> Result<(), TargetErrorKind> {
    let clock = Rc::new(ThreadClock::new(Clock::start()));
    let Some(route) = Route::new(scenario, index, tls, &clock, &Scratch::new()) else { return Ok(()) };
    let connect = scenario.timeouts.connect;
    let limit = clock.now() + connect;
    let flights = Rc::new(Flights::default());
    let flight = flights.slot();
    let (stage, mut phases) = (Cell::default(), Phases::default());
    flight.begin(limit);
    let opening = route.open(&flight, limit, &stage, &mut phases);
    // Nobody sweeps this flight: a peer that says nothing is left by the runtime's own timer.
    let opened = tokio::time::timeout(Duration::from_nanos(connect.0), opening).await;
    let (class, words) = match opened {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(unopened)) => unopened,
        Err(_) => route.timed_out(stage.get()),
    };
    Err(match class {
        FailureClass::Dns => TargetErrorKind::Unresolved(words),
        FailureClass::ConnectRefused => TargetErrorKind::Refused,
        FailureClass::ConnectTimeout => TargetErrorKind::TimedOut(connect),
        FailureClass::Tls => TargetErrorKind::Tls(words),
        _ => TargetErrorKind::Unreachable(words),
    })
}
