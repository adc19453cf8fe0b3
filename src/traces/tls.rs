//! One crypto provider for the process, and trusted certificates.

use crate::wire::base64;
use std::io;
use std::sync::Once;

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
