//! Whole runs against small servers.

mod changed;
mod connections;
mod conversations;
mod data;
mod events;
mod failures;
mod journeys;
mod kept;
mod model;
mod protocols;
mod proxies;
mod requests;
mod server;
pub mod tls;

use super::*;
use crate::record::Exchange;
use crate::scenario::{Surroundings, parse_with};
use server::Server;

/// What came of a run.
pub struct Ran {
    facts: LoadFacts,
    pub exchanges: Vec<Exchange>,
    started_at: Timestamp,
    live: Arc<LiveCounters>,
    schedule: Schedule,
    /// Names of the scenario's steps.
    pub scenario_steps: Vec<String>,
}

impl Ran {
    /// Offset of a moment from the start of the load, in milliseconds.
    fn ms(&self, at: Timestamp) -> f64 {
        at.since(self.started_at).as_millis_f64()
    }
}

/// Runs a scenario, `TARGET` standing for the server, with its users' data in `users.csv`.
fn run(server: &Server, yaml: &str) -> Ran {
    run_with(server, yaml, |_, _| {})
}

fn run_with(server: &Server, yaml: &str, adjust: impl FnOnce(&mut LoadOptions, Stopper)) -> Ran {
    let text = yaml.replace("TARGET", &server.address.to_string());
    let surroundings = Surroundings {
        read: &|_| Ok("user,password\nann,one\nbob,two\ncid,three\n".to_string()),
        ..Surroundings::default()
    };
    run_scenario(parse_with(&text, "test.yaml", &surroundings).unwrap_or_else(|e| panic!("{e}")), adjust)
}

/// Runs a scenario that was read already.
pub fn run_text(scenario: crate::scenario::Scenario) -> Ran {
    run_scenario(scenario, |_, _| {})
}

fn run_scenario(scenario: crate::scenario::Scenario, adjust: impl FnOnce(&mut LoadOptions, Stopper)) -> Ran {
    let scenario = Arc::new(scenario);
    let (sink, mut received) = tokio::sync::mpsc::channel(1024);
    let (stopper, stop) = stop_channel();
    let mut options = LoadOptions::new(Arc::clone(&scenario), sink, stop);
    adjust(&mut options, stopper);
    let live = Arc::clone(&options.live);
    let handle = start(options).unwrap_or_else(|e| panic!("{e}"));
    let started_at = handle.started_at();
    let facts = handle.join();
    let mut exchanges: Vec<Exchange> = Vec::new();
    while let Ok(batch) = received.try_recv() {
        exchanges.extend(batch);
    }
    exchanges.iter().for_each(is_sound);
    assert_eq!(facts.offered, exchanges.len() as u64, "every exchange is accounted for");
    assert_eq!(facts.sent, exchanges.iter().filter(|e| e.was_sent()).count() as u64);
    let scenario_steps = scenario.steps.iter().map(|step| step.name.clone()).collect();
    Ran { facts, exchanges, started_at, live, schedule: Schedule::of(&scenario, 0), scenario_steps }
}

/// What must hold of every record, whatever happened.
fn is_sound(exchange: &Exchange) {
    let p = &exchange.phases;
    let moments = [
        Some(exchange.intended),
        Some(p.start),
        p.resolved,
        p.connected,
        p.tls_done,
        p.sent,
        p.first_byte,
        Some(p.end),
    ];
    let present: Vec<Timestamp> = moments.into_iter().flatten().collect();
    assert!(present.is_sorted(), "moments out of order: {exchange:?}");
    assert!(exchange.corrected_latency() >= exchange.service_time());
    assert!(exchange.trace_id.0 != [0; 16] && exchange.span_id.0 != [0; 8]);
    if !exchange.was_sent() {
        assert_eq!(exchange.bytes_sent, 0, "{exchange:?}");
    }
}
