//! Messages that many exchanges share, and the classes of failures.

use crate::record::{Failure, FailureClass};
use crate::scenario::Secrets;
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::io;
use std::sync::Arc;

/// Texts kept once each, without secrets. Bounded: a service that answers every request with another message must not fill
/// the memory.
#[derive(Default)]
pub struct Words {
    known: HashSet<Arc<str>>,
    /// Texts with secrets in them, and what is shown instead.
    masked: HashMap<Box<str>, Arc<str>>,
    secrets: Arc<Secrets>,
}

const MOST_WORDS: usize = 4096;

impl Words {
    /// That let none of these be seen.
    pub fn without(secrets: Arc<Secrets>) -> Words {
        Words { secrets, ..Words::default() }
    }

    /// The shared copy of a text.
    pub fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.known.get(text).or_else(|| self.masked.get(text)) {
            return Arc::clone(known);
        }
        let masked = self.secrets.mask(text);
        let new: Arc<str> = match self.known.get(&*masked) {
            Some(known) => Arc::clone(known),
            None => masked.as_ref().into(),
        };
        if *masked != *text && self.masked.len() < MOST_WORDS {
            self.masked.insert(text.into(), Arc::clone(&new));
        }
        if self.known.len() < MOST_WORDS {
            self.known.insert(Arc::clone(&new));
        }
        new
    }

    /// A failure of that class.
    pub fn failure(&mut self, class: FailureClass, message: &str) -> Failure {
        Failure { class, message: self.share(message) }
    }
}

/// The class of a failed connect.
pub fn of_connect(error: &io::Error) -> FailureClass {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => FailureClass::ConnectRefused,
        // The system's own limit was shorter than ours.
        io::ErrorKind::TimedOut => FailureClass::ConnectTimeout,
        _ => FailureClass::Connect,
    }
}

/// The class of a failure between sending and the last byte.
pub fn of_exchange(error: &hyper::Error, head_seen: bool) -> FailureClass {
    if error.is_parse() {
        return FailureClass::InvalidResponse;
    }
    if let Some(io) = io_error(error) {
        return match io.kind() {
            // hyper reports broken chunks and lengths as invalid input of its own decoder.
            _ if is_refused_by_tls(io) => FailureClass::Tls,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => FailureClass::InvalidResponse,
            io::ErrorKind::UnexpectedEof if head_seen => FailureClass::BodyTruncated,
            _ => FailureClass::Reset,
        };
    }
    if head_seen { FailureClass::BodyTruncated } else { FailureClass::Reset }
}

/// Whether the peer ended TLS with an alert: over version 1.3 it refuses a certificate only after the handshake.
pub fn is_refused_by_tls(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

fn io_error(error: &hyper::Error) -> Option<&io::Error> {
    let mut source = error.source();
    // An error's chain of causes is short; the bound guards against one that points to itself.
    for _ in 0..16 {
        let cause = source?;
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io);
        }
        source = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_text() {
        let mut words = Words::default();
        let (a, b) = (words.share("refused"), words.share("refused"));
        assert!(Arc::ptr_eq(&a, &b));
        for n in 0..2 * MOST_WORDS {
            words.share(&n.to_string());
        }
        assert_eq!(words.known.len(), MOST_WORDS);
    }

    #[test]
    fn a_refusal_after_the_handshake_is_one_of_tls() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let error = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert!(is_refused_by_tls(&error));
        let fault = super::super::http1::Fault::of_socket(&error, false);
        assert_eq!(fault.class, FailureClass::Tls, "{}", fault.words);
        assert!(!is_refused_by_tls(&io::Error::from(io::ErrorKind::InvalidData)));
    }
}
