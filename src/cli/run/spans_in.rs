//! How server spans come in, and how they are handed on.

use super::super::args::ListenArgs;
use crate::traces::{ForwardConfig, ForwardEnd, Forwarder, ReceiverConfig};
use std::path::Path;

/// The folders that a forwarder may queue in, below the folder of runs: one for each process.
const FORWARD_QUEUES: usize = 16;

/// Starts forwarding, if it is wanted, with a queue on disk. What an earlier process could not hand on is handed on too.
pub fn start_forwarder(args: &ListenArgs, out: &Path) -> anyhow::Result<Option<Forwarder>> {
    let Some(url) = &args.forward else { return Ok(None) };
    let start = |n: usize| {
        let name = if n == 1 { "forward-queue".to_owned() } else { format!("forward-queue-{n}") };
        Forwarder::start(&ForwardConfig::with_queue(url, out.join(name), args.forward_queue))
    };
    for n in 1..FORWARD_QUEUES {
        match start(n) {
            Err(error) if error.queue_in_use() => {}
            started => return Ok(Some(started?)),
        }
    }
    Ok(Some(start(FORWARD_QUEUES)?))
}

/// The receiver as the arguments want it.
pub fn receiver_config(args: &ListenArgs, forwarder: Option<&Forwarder>) -> anyhow::Result<ReceiverConfig> {
    Ok(ReceiverConfig {
        grpc: Some(args.otlp_grpc),
        http: Some(args.otlp_http),
        forward: forwarder.map(Forwarder::handle),
        tls: args.tls()?,
        origins: args.otlp_cors.clone(),
        ..ReceiverConfig::default()
    })
}

/// What a person should know about spans that were not handed on.
pub fn forward_warning(end: &ForwardEnd) -> Option<String> {
    let why = end.last_error.as_deref().unwrap_or("the time for it was over");
    match (end.dropped, end.waiting) {
        (0, 0) => None,
        (0, waiting) => Some(format!(
            "--forward: {waiting} spans could not be handed on yet ({why}); they wait on disk, and the next `hotspan run` or \
             `hotspan collect` with --forward and the same --out sends them"
        )),
        _ => Some(format!("--forward: {why}")),
    }
}
