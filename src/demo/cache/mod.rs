//! The cache of the shop: a small server that speaks the Redis protocol, and an instrumented client for it.

mod client;
mod resp;
mod server;

pub(super) use client::Cache;
pub(super) use server::serve;
