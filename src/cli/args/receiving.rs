//! Arguments of what takes spans in, and of what goes out beside OTLP.

use super::values::{address, parse_duration, parse_size};
use crate::traces::{ServerTls, TraceSource};
use clap::Args;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where server spans come from and go to.
#[derive(Debug, Args)]
pub struct ReceiveArgs {
    /// Where server spans come from: `receiver`, `none`, or fetched after the load from `jaeger:URL`, `tempo:URL`,
    /// `zipkin:URL`, `clickhouse:URL` or `file:PATH`.
    #[arg(long, value_name = "SOURCE", value_parser = parse_source, default_value = "receiver")]
    pub traces_from: Source,
    /// Header of every request to that source, e.g. 'X-Scope-OrgID: team-a'; can be given more than once.
    #[arg(long, value_name = "NAME: VALUE")]
    pub traces_header: Vec<String>,
    #[command(flatten)]
    pub listen: ListenArgs,
    /// Longest wait for late spans after the load.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "30s")]
    pub wait: Duration,
    /// Stop waiting when no span has come for this long (SDKs export every 5 s by default).
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "6s")]
    pub quiet_period: Duration,
}

/// The receiver, and where what it takes goes as well.
#[derive(Debug, Args)]
pub struct ListenArgs {
    /// Address of the OTLP/gRPC receiver.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4317")]
    pub otlp_grpc: SocketAddr,
    /// Address of the OTLP/HTTP receiver.
    #[arg(long, value_name = "ADDR", value_parser = address, default_value = "127.0.0.1:4318")]
    pub otlp_http: SocketAddr,
    /// Hand on all that is received to a Collector or Jaeger (gRPC; with a path or port 4318: HTTP).
    #[arg(long, value_name = "URL")]
    pub forward: Option<String>,
    /// Bytes on disk that may wait to be handed on, e.g. 500MB; beyond, they are dropped and counted.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "1GB")]
    pub forward_queue: u64,
    /// Certificate (PEM, with its chain) of the receiver: it then speaks TLS only.
    #[arg(long, value_name = "FILE", requires = "otlp_tls_key")]
    pub otlp_tls_cert: Option<PathBuf>,
    /// Key (PEM) of the certificate.
    #[arg(long, value_name = "FILE", requires = "otlp_tls_cert")]
    pub otlp_tls_key: Option<PathBuf>,
    /// Let in only clients with a certificate from this authority (PEM).
    #[arg(long, value_name = "FILE", requires = "otlp_tls_cert")]
    pub otlp_tls_client_ca: Option<PathBuf>,
    /// Let web pages of this origin send spans, e.g. https://shop.example (repeatable; none by default).
    #[arg(long, value_name = "ORIGIN")]
    pub otlp_cors: Vec<String>,
}

impl ListenArgs {
    /// The receiver's certificate, read.
    pub fn tls(&self) -> anyhow::Result<Option<ServerTls>> {
        let (Some(certificate), Some(key)) = (&self.otlp_tls_cert, &self.otlp_tls_key) else {
            return Ok(None);
        };
        let tls = ServerTls::load(certificate, key, self.otlp_tls_client_ca.as_deref());
        Ok(Some(tls.map_err(anyhow::Error::msg)?))
    }
}

/// What goes out beside OTLP.
#[derive(Clone, Debug, Args)]
pub struct TelemetryArgs {
    /// Serve the run's metrics at /metrics of this address for Prometheus to scrape, e.g. 127.0.0.1:9464.
    #[arg(long, value_name = "ADDR", value_parser = address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Mark every request as test traffic with a `baggage` header (run id, synthetic type `test`).
    #[arg(long)]
    pub baggage: bool,
}

/// Where server spans come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// hotspan's own OTLP receiver.
    Receiver,
    /// No source: the client's side alone.
    None,
    /// Fetched from where they are stored; as typed, secrets and all.
    Fetch(String),
}

impl std::fmt::Debug for Source {
    /// Arguments may be shown in messages about them, so what may hold a secret is not.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Receiver => "receiver",
            Source::None => "none",
            Source::Fetch(_) => "fetch",
        })
    }
}

pub fn parse_source(text: &str) -> Result<Source, String> {
    match text {
        "receiver" => Ok(Source::Receiver),
        "none" => Ok(Source::None),
        _ => TraceSource::parse(text, &[]).map(|_| Source::Fetch(text.to_owned())),
    }
}
