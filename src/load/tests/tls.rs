//! TLS: phases, trust, HTTP/2 by negotiation.

use super::server::{Log, Server, ok, raw, serve};
use super::*;
use crate::record::{FailureClass, Outcome, Protocol};
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Self-signed, for localhost and 127.0.0.1; made for these tests and worth nothing elsewhere.
pub const CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIBmDCCAT6gAwIBAgIUB+WtzFKKEWSbbBiZeommXjYJu5IwCgYIKoZIzj0EAwIw\n\
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDE2MTg1NVoYDzIxMjYxMDMx\n\
MTYxODU1WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO\n\
PQMBBwNCAARGmQqi6SVfDSXlsnzCfRakH+vXkWd7buIWhEDjt/eU2NvlQwG7rrqJ\n\
NzBPWJzQnTWU+4GOZ5IxByzib076b+rso2wwajAdBgNVHQ4EFgQUWeQTzx57DicW\n\
GW7waVaSo4PYlH4wHwYDVR0jBBgwFoAUWeQTzx57DicWGW7waVaSo4PYlH4wGgYD\n\
VR0RBBMwEYIJbG9jYWxob3N0hwR/AAABMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E\n\
AwIDSAAwRQIgFFNJRZuDVBInUSJTvShH1D4wPoVW2aEVFDXUuCF14+MCIQDcyIvN\n\
V3K8zjXze0hkUv25+f2X0SlXzkbBwkNif/QVig==\n\
-----END CERTIFICATE-----\n\
";
pub const KEY: &str = "\
-----BEGIN PRIVATE KEY-----\n\
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgmyVGIRat0q/kQVhp\n\
B9MgqijzTi0YyeAWxsfRqMQmVH2hRANCAARGmQqi6SVfDSXlsnzCfRakH+vXkWd7\n\
buIWhEDjt/eU2NvlQwG7rrqJNzBPWJzQnTWU+4GOZ5IxByzib076b+rs\n\
-----END PRIVATE KEY-----\n\
";

pub fn acceptor(protocols: &[&[u8]]) -> tokio_rustls::TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|p| p.to_vec()).collect();
    tokio_rustls::TlsAcceptor::from(Arc::new(config))
}

pub fn secure(protocols: &[&[u8]]) -> Server {
    let acceptor = acceptor(protocols);
    raw(move |stream, number| {
        let acceptor = acceptor.clone();
        async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                serve(TokioIo::new(stream), number, Log::default(), Arc::new(|_: &_| ok("ok"))).await;
            }
        }
    })
}

const LOAD: &str = "load: {rate: 50/s, for: 60ms}\nsteps: [GET /]\n";

#[test]
fn phases_of_a_secure_connection_by_name() {
    let server = secure(&[b"http/1.1"]);
    let port = server.address.port();
    let ran = run(&server, &format!("target: https://localhost:{port}\ninsecure: true\n{LOAD}"));
    let first = ran.exchanges.iter().min_by_key(|e| e.intended).unwrap();
    assert_eq!((&first.outcome, first.protocol), (&Outcome::Answered(200), Protocol::Http1));
    let p = first.phases;
    assert!(p.resolved.is_some() && p.connected.is_some() && p.tls_done.is_some() && p.sent.is_some());
    let reused: Vec<&Exchange> = ran.exchanges.iter().filter(|e| e.connection_reused).collect();
    assert!(reused.iter().all(|e| e.phases.resolved.is_none() && e.phases.tls_done.is_none()));
    let text = format!("target: https://localhost:{port}\ninsecure: true\n{LOAD}");
    assert_eq!(check_target(&crate::scenario::parse(&text, "t").unwrap()), Ok(()));
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let server = secure(&[b"http/1.1"]);
    let text = format!("target: https://{}\n{LOAD}", server.address);
    let scenario = crate::scenario::parse(&text, "t").unwrap();
    if crate::load::tls::connectors(&scenario).is_err() {
        // A machine without any authorities refuses before it connects, and says so.
        let (sink, _received) = tokio::sync::mpsc::channel(1);
        let error = start(LoadOptions::new(Arc::new(scenario), sink, stop_channel().1)).err();
        assert!(matches!(error, Some(LoadError::Tls(why)) if why.contains("ca-certificates")));
        return;
    }
    let ran = run(&server, &text);
    for exchange in &ran.exchanges {
        let Outcome::Failed { failure, .. } = &exchange.outcome else { panic!("{exchange:?}") };
        assert_eq!(failure.class, FailureClass::Tls);
        assert!(failure.message.contains("certificate"), "{}", failure.message);
    }
    let error = check_target(&scenario).unwrap_err().to_string();
    assert!(error.contains("insecure: true"), "{error}");
}

#[test]
fn http2_is_negotiated_and_http1_is_the_way_back() {
    let server = secure(&[b"h2", b"http/1.1"]);
    let ran = run(&server, &format!("target: https://TARGET\ninsecure: true\nhttp2: true\n{LOAD}"));
    assert!(
        ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200) && e.protocol == Protocol::Http2)
    );
    let ran = run(&server, &format!("target: https://TARGET\ninsecure: true\n{LOAD}"));
    assert!(ran.exchanges.iter().all(|e| e.protocol == Protocol::Http1));
    let server = secure(&[b"http/1.1"]);
    let ran = run(&server, &format!("target: https://TARGET\ninsecure: true\nhttp2: true\n{LOAD}"));
    assert!(
        ran.exchanges.iter().all(|e| e.outcome == Outcome::Answered(200) && e.protocol == Protocol::Http1)
    );
}
