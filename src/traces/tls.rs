//! One crypto provider for the process, and trusted certificates.

use crate::wire::base64;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Once};
use tokio_rustls::TlsAcceptor;

/// Makes ring the process's crypto provider. Once is enough and more do no harm; without it, the first TLS handshake
/// of a library that leaves the choice open would fail.
pub fn install_crypto_provider() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // An error means that somebody else has installed one, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

/// The system's trusted certificates in PEM.
pub(super) fn system_roots() -> io::Result<String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let reason = found.errors.first().map_or_else(|| "none are installed".into(), ToString::to_string);
        return Err(io::Error::other(format!("the system's trusted certificates cannot be read: {reason}")));
    }
    let mut pem = String::new();
    for certificate in found.certs {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in base64::encode(&certificate).as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(pem)
}

/// What the receiver proves itself with, and whom it lets in.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl fmt::Debug for ServerTls {
    /// The key is in there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// From PEM files: a certificate with its chain, its key, and, if only known clients are to be let in, the
    /// certificates of those who vouch for them. The error names the file and what is wrong with it.
    pub fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerTls, String> {
        install_crypto_provider();
        let fault = |path: &Path, why: &dyn fmt::Display| format!("{}: {why}", path.display());
        let chain = certificates(certificate)?;
        let secret = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| fault(key, &format!("no private key could be read ({error})")))?;
        let builder = match client_ca {
            None => ServerConfig::builder().with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path)? {
                    roots.add(root).map_err(|error| fault(path, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build();
                ServerConfig::builder()
                    .with_client_cert_verifier(verifier.map_err(|error| fault(path, &error))?)
            }
        };
        let mut config = builder
            .with_single_cert(chain, secret)
            .map_err(|error| fault(certificate, &format!("does not go with {}: {error}", key.display())))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(ServerTls(Arc::new(config)))
    }

    pub(super) fn acceptor(self) -> TlsAcceptor {
        TlsAcceptor::from(self.0)
    }
}

/// All certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fault = |why: String| format!("{}: {why}", path.display());
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| fault(format!("no certificate could be read ({error})")))?;
    if found.is_empty() { Err(fault("there is no certificate in it".into())) } else { Ok(found) }
}
