//! The client side of TLS, as the scenario wants it for each endpoint.

use crate::scenario::{HttpOptions, ProtocolChoice, Scenario, TlsOptions, TlsVersion, Trust};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// How TLS is spoken on the way to an endpoint: nothing where it is not.
#[derive(Clone, Default)]
pub struct Tls {
    /// With the endpoint itself.
    pub target: Option<TlsConnector>,
    /// With the proxy before it.
    pub proxy: Option<TlsConnector>,
}

/// For all endpoints of a scenario. Endpoints with the same options share them; where TLS is not spoken nothing is read,
/// because reading the system's certificates takes longer than all else before the first request.
///
/// # Errors
/// A sentence, when certificates are missing or do not fit.
pub fn connectors(scenario: &Scenario) -> Result<Arc<[Tls]>, String> {
    let mut made: Vec<(TlsOptions, ProtocolChoice, TlsConnector)> = Vec::new();
    let mut connector = |options: &TlsOptions, protocol: ProtocolChoice| {
        if let Some((.., known)) = made.iter().find(|(o, p, _)| o == options && *p == protocol) {
            return Ok::<_, String>(known.clone());
        }
        let new = TlsConnector::from(Arc::new(client_config(options, protocol)?));
        made.push((options.clone(), protocol, new.clone()));
        Ok(new)
    };
    let each = scenario.endpoints.iter().enumerate().map(|(index, endpoint)| {
        let HttpOptions { tls, version, proxies, unix, .. } = scenario.http_of(index);
        let target = endpoint.tls.then(|| connector(tls, *version)).transpose()?;
        let secure = proxies.to(endpoint).is_some_and(|proxy| proxy.endpoint.tls) && unix.is_none();
        // Whom the target knows is none of the proxy's business.
        let to_proxy = TlsOptions { identity: None, server_name: None, ..tls.clone() };
        let proxy = secure.then(|| connector(&to_proxy, ProtocolChoice::Http1)).transpose()?;
        Ok(Tls { target, proxy })
    });
    each.collect()
}

/// One configuration, with ring as the one provider.
///
/// # Errors
/// A sentence, when the system has no certificates to trust or the client's do not fit.
pub fn client_config(options: &TlsOptions, protocol: ProtocolChoice) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(options))
        .map_err(|e| e.to_string())?;
    let builder = match options.trust {
        Trust::Anyone => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(BelievesAll(provider)))
        }
        Trust::System => builder.with_root_certificates(roots(options)?),
    };
    let mut config = match &options.identity {
        None => builder.with_no_client_auth(),
        Some((certificates, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificates.0).collect();
            let chain = chain.map_err(|e| format!("the client's certificate: {e}"))?;
            let key = PrivateKeyDer::from_pem_slice(&key.0).map_err(|e| format!("the client's key: {e}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| {
                format!("the client's certificate and key do not fit together or cannot be used ({e})")
            })?
        }
    };
    config.alpn_protocols = match protocol {
        ProtocolChoice::Http1 => vec![b"http/1.1".to_vec()],
        ProtocolChoice::Http2 | ProtocolChoice::Negotiated => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
        ProtocolChoice::Http2Only => vec![b"h2".to_vec()],
    };
    if !options.resume {
        // Users are strangers to each other: none resumes another's session.
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

fn versions(options: &TlsOptions) -> &'static [&'static SupportedProtocolVersion] {
    static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    match (options.least, options.most) {
        (TlsVersion::V1_3, _) => &BOTH[..1],
        (_, TlsVersion::V1_2) => &BOTH[1..],
        _ => &BOTH,
    }
}

fn roots(options: &TlsOptions) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    if let Some(own) = &options.roots {
        for certificate in CertificateDer::pem_slice_iter(&own.0) {
            let certificate = certificate.map_err(|e| format!("the authorities under `roots`: {e}"))?;
            roots.add(certificate).map_err(|e| format!("the authorities under `roots`: {e}"))?;
        }
        return Ok(roots);
    }
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no certificates to trust: install ca-certificates, name your own under `http: {tls: {roots: …}}`, or set `insecure: true`".to_string());
    }
    Ok(roots)
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
