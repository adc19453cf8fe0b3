//! Where the run's own spans and metrics go.

use super::super::exit::say;
use crate::scenario::{OtlpProtocol, Scenario};
use crate::traces::{Endpoint, ExportConfig, Signal, Transport};

/// Where client spans and metrics go: what the scenario says, else what the environment says.
pub fn export_config(scenario: &Scenario) -> anyhow::Result<ExportConfig> {
    let mut config = ExportConfig::from_env(|name| std::env::var(name).ok());
    for warning in &config.warnings {
        say(&format!("hotspan: {warning}"));
    }
    let Some(telemetry) = &scenario.telemetry else { return Ok(config) };
    if let Some(url) = &telemetry.endpoint {
        config.send_to(url).map_err(|why| anyhow::anyhow!("telemetry.endpoint of the scenario: {why}"))?;
    }
    for (signal, endpoint) in config.endpoints().into_iter().filter_map(|(s, e)| Some((s, e.as_mut()?))) {
        match telemetry.protocol {
            None => {}
            Some(OtlpProtocol::HttpJson) => endpoint.transport = Transport::HttpJson,
            Some(OtlpProtocol::Grpc) => endpoint.transport = Transport::Grpc,
            Some(OtlpProtocol::HttpProtobuf) => endpoint.transport = Transport::HttpProtobuf,
        }
        if let (Some(url), Some(_)) = (&telemetry.endpoint, telemetry.protocol) {
            endpoint.url = url_for(url, endpoint, signal);
        }
        endpoint.headers.extend(telemetry.headers.iter().cloned());
    }
    Ok(config)
}

/// The URL as the named protocol needs it: bare for gRPC, with the signal's path for HTTP.
fn url_for(url: &str, endpoint: &Endpoint, signal: Signal) -> String {
    match endpoint.transport {
        Transport::Grpc => url.to_owned(),
        Transport::HttpProtobuf | Transport::HttpJson => {
            format!("{}{}", url.trim_end_matches('/'), signal.path())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn the_scenario_says_where_telemetry_goes() {
        let text = |protocol: &str| {
            format!(
                "target: http://127.0.0.1:1\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\n\
                 telemetry: {{endpoint: 'http://127.0.0.1:9999', protocol: {protocol}, headers: {{x-key: abc}}}}\n"
            )
        };
        let config = |protocol: &str| export_config(&scenario::parse(&text(protocol), "t.yaml").unwrap());
        let http = config("http/protobuf").unwrap().traces.unwrap();
        assert_eq!(http.url, "http://127.0.0.1:9999/v1/traces");
        assert!(http.headers.contains(&("x-key".into(), "abc".into())));
        let grpc = config("grpc").unwrap().metrics.unwrap();
        assert_eq!((grpc.url.as_str(), grpc.transport), ("http://127.0.0.1:9999", Transport::Grpc));
        let json = config("http/json").unwrap().logs.unwrap();
        assert_eq!(
            (json.url.as_str(), json.transport),
            ("http://127.0.0.1:9999/v1/logs", Transport::HttpJson)
        );
    }
}
