//! TLS settings, and a look at the target before any load: can it be reached at all?

use crate::record::Nanos;
use crate::scenario::{Endpoint, ProtocolChoice, Scenario, Trust};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
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
            TargetErrorKind::Tls(why) => {
                write!(
                    f,
                    "{target} was reached, but the TLS handshake failed ({why}): `insecure: true` accepts any certificate, and a plain service has the scheme http"
                )
            }
        }
    }
}

impl std::error::Error for TargetError {}

/// Resolves and connects every endpoint of a scenario once, with TLS where it is spoken, and hangs up. Blocks for at most
/// the connect timeout per endpoint.
///
/// # Errors
/// The first endpoint that cannot be reached.
pub fn check_target(scenario: &Scenario) -> Result<(), TargetError> {
    for endpoint in &scenario.endpoints {
        check_endpoint(endpoint, scenario).map_err(|kind| TargetError { target: endpoint.origin(), kind })?;
    }
    Ok(())
}

fn check_endpoint(endpoint: &Endpoint, scenario: &Scenario) -> Result<(), TargetErrorKind> {
    let limit = Duration::from_nanos(scenario.timeouts.connect.0);
    let addresses: Vec<_> = match scenario.http.resolved(endpoint) {
        Some(address) => vec![address],
        None => {
            let found = (endpoint.host.as_str(), endpoint.port).to_socket_addrs();
            found.map_err(|e| TargetErrorKind::Unresolved(e.to_string()))?.collect()
        }
    };
    let mut last = TargetErrorKind::Unresolved("no address".to_string());
    for address in addresses {
        match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) if endpoint.tls => return check_tls(stream, endpoint, scenario, limit),
            Ok(_) => return Ok(()),
            Err(error) => {
                last = match error.kind() {
                    io::ErrorKind::ConnectionRefused => TargetErrorKind::Refused,
                    io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
                        TargetErrorKind::TimedOut(scenario.timeouts.connect)
                    }
                    _ => TargetErrorKind::Unreachable(error.to_string()),
                }
            }
        }
    }
    Err(last)
}

fn check_tls(
    mut stream: TcpStream,
    endpoint: &Endpoint,
    scenario: &Scenario,
    limit: Duration,
) -> Result<(), TargetErrorKind> {
    let failed = |why: String| TargetErrorKind::Tls(why);
    let config = tls_config(scenario.trust, scenario.protocol).map_err(failed)?;
    let name = ServerName::try_from(endpoint.host.clone()).map_err(|e| failed(e.to_string()))?;
    let mut session =
        rustls::ClientConnection::new(Arc::new(config), name).map_err(|e| failed(e.to_string()))?;
    // A peer that says nothing must not hold up the check for ever.
    let _ = stream.set_read_timeout(Some(limit));
    let _ = stream.set_write_timeout(Some(limit));
    for _ in 0..64 {
        if !session.is_handshaking() {
            return Ok(());
        }
        session.complete_io(&mut stream).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                failed(format!("no answer within {}", scenario.timeouts.connect))
            }
            _ => failed(e.to_string()),
        })?;
    }
    Err(failed("the handshake does not end".to_string()))
}

/// The client side of TLS, with ring as the one provider.
///
/// # Errors
/// A sentence, when the system has no certificates to trust or the provider lacks a protocol.
pub fn tls_config(trust: Trust, protocol: ProtocolChoice) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let mut config = match trust {
        Trust::Anyone => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelievesAll(provider)))
            .with_no_client_auth(),
        Trust::System => {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                return Err("the system has no certificates to trust: install ca-certificates, or set `insecure: true`".to_string());
            }
            builder.with_root_certificates(roots).with_no_client_auth()
        }
    };
    config.alpn_protocols = match protocol {
        ProtocolChoice::Http1 => vec![b"http/1.1".to_vec()],
        ProtocolChoice::Http2 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

/// `insecure: true`: any certificate will do. Signatures are still checked, so that the peer has the key that it shows.
#[derive(Debug)]
struct BelievesAll(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signed,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
