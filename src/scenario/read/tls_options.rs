//! `tls:` under `http:`.

use super::super::error::Fault;
use super::super::http_options::{Pem, TlsOptions, TlsVersion};
use super::super::template::Names;
use super::super::types::Trust;
use super::super::yaml::{Node, Reader};
use super::{Context, one_of, value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// The keys of `tls:`.
pub(super) const TLS_KEYS: &[&str] =
    &["certificate", "key", "roots", "insecure", "server_name", "min", "max", "resume"];

/// Reads `tls:`; what it does not say stays as in `base`.
pub(super) fn options(
    node: &Node,
    base: TlsOptions,
    names: &Names,
    context: &Context,
) -> Result<TlsOptions, Fault> {
    let mut options = base;
    let reader = Reader::new(node, "tls", TLS_KEYS)?;
    match (reader.get("certificate"), reader.get("key")) {
        (None, None) => {}
        (None, Some(key)) => {
            return Err(Fault::new(key.place, "a `key` proves nothing without its `certificate`"));
        }
        (Some(certificate), key) => {
            let chain = certificates(certificate, context)?;
            // Many tools write both into one file.
            let key = private_key(key.unwrap_or(certificate), context)?;
            options.identity = Some((chain, key));
        }
    }
    if let Some(node) = reader.get("roots") {
        options.roots = Some(certificates(node, context)?);
        options.trust = Trust::System;
    }
    if let Some(node) = reader.get("insecure") {
        options.trust = if node.flag()? { Trust::Anyone } else { Trust::System };
        if let (Trust::Anyone, Some(roots)) = (options.trust, reader.key("roots")) {
            return Err(Fault::new(
                roots.place,
                "with `insecure: true` nobody is checked: leave `roots` out",
            ));
        }
    }
    if let Some(node) = reader.get("server_name") {
        let typed = node.text(context.source, "a name such as shop.example")?;
        let name = value::fixed_text(node, &typed, names, context, "the server's name")?;
        if ServerName::try_from(name.as_str()).is_err() {
            return Err(node.expected("a name such as shop.example"));
        }
        options.server_name = Some(name);
    }
    let known = [("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)];
    if let Some(node) = reader.get("min") {
        options.least = one_of(node, context.source, &known)?;
    }
    if let Some(node) = reader.get("max") {
        options.most = one_of(node, context.source, &known)?;
    }
    if options.least > options.most {
        return Err(Fault::new(reader.place(), "`min` is a later version than `max`: no version is left"));
    }
    if let Some(node) = reader.get("resume") {
        options.resume = node.flag()?;
    }
    Ok(options)
}

fn certificates(node: &Node, context: &Context) -> Result<Pem, Fault> {
    let (name, bytes) = context.file(node)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(Pem(bytes)),
        Ok(_) => Err(Fault::new(
            node.place,
            format!("{name} has no certificate in PEM (-----BEGIN CERTIFICATE-----)"),
        )),
        Err(why) => {
            Err(Fault::new(node.place, format!("{name} has a certificate that cannot be read: {why}")))
        }
    }
}

fn private_key(node: &Node, context: &Context) -> Result<Pem, Fault> {
    let (name, bytes) = context.file(node)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(_) => Ok(Pem(bytes)),
        Err(_) if has(&bytes, b"ENCRYPTED") => Err(Fault::new(
            node.place,
            format!("the key in {name} is encrypted: write one without a password, e.g. with `openssl pkey`"),
        )),
        Err(_) => Err(Fault::new(
            node.place,
            format!(
                "{name} has no private key in PEM (-----BEGIN PRIVATE KEY-----): say which file has, with `key`"
            ),
        )),
    }
}

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::parse;

    fn read(tls: &str) -> Result<TlsOptions, String> {
        let text =
            format!("target: https://h\nload: {{users: 1, for: 1s}}\nsteps: [GET /]\nhttp: {{tls: {tls}}}\n");
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/t.yaml");
        parse(&text, file).map(|scenario| scenario.http_of(0).tls.clone()).map_err(|error| error.to_string())
    }

    #[test]
    fn files_of_pem_are_read_and_checked() {
        let options = read("{certificate: localhost.pem, key: localhost.key, roots: localhost.pem, server_name: shop.example, min: 1.3, resume: true}").unwrap();
        assert!(options.identity.is_some() && options.roots.is_some() && options.resume);
        assert_eq!((options.server_name.as_deref(), options.least), (Some("shop.example"), TlsVersion::V1_3));
        assert!(!format!("{options:?}").contains("BEGIN"));
        assert_eq!(read("{insecure: true}").unwrap().trust, Trust::Anyone);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (tls, said) in [
            ("{key: localhost.key}", "without its `certificate`"),
            ("{certificate: localhost.key}", "no certificate in PEM"),
            ("{certificate: localhost.pem}", "no private key in PEM"),
            ("{certificate: none.pem, key: localhost.key}", "cannot be read"),
            ("{roots: localhost.pem, insecure: true}", "nobody is checked"),
            ("{min: 1.0}", "did you mean `1.2`?"),
            ("{max: newest}", "one of `1.2` and `1.3`"),
            ("{min: 1.3, max: 1.2}", "no version is left"),
            ("{server_name: 'a b'}", "a name such as"),
            ("{cert: localhost.pem}", "unknown key `cert`"),
        ] {
            let error = read(tls).expect_err(tls);
            assert!(error.contains(said) && error.contains("t.yaml:4"), "{tls}: {error}");
        }
    }
}
