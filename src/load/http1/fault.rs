//! Why an exchange over HTTP/1.1 failed: a class and words that are few, because exchanges that fail alike share them.

use crate::record::FailureClass;
use std::borrow::Cow;
use std::io;

/// A failure between the first byte of the request and the last of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its class.
    pub class: FailureClass,
    /// What happened.
    pub words: Cow<'static, str>,
}

impl Fault {
    /// What came is not HTTP/1.1, or breaks its rules.
    pub fn invalid(words: impl Into<Cow<'static, str>>) -> Fault {
        Fault { class: FailureClass::InvalidResponse, words: words.into() }
    }

    /// The peer closed the connection where an answer, or the rest of its head, was due.
    pub fn closed(words: &'static str) -> Fault {
        Fault { class: FailureClass::Reset, words: words.into() }
    }

    /// The peer closed the connection within a body.
    pub fn truncated(words: &'static str) -> Fault {
        Fault { class: FailureClass::BodyTruncated, words: words.into() }
    }

    /// The socket failed. TLS reports broken records as invalid data, and a close without its farewell as an early end.
    pub fn of_socket(error: &io::Error, head_seen: bool) -> Fault {
        let class = match error.kind() {
            _ if super::super::words::is_refused_by_tls(error) => FailureClass::Tls,
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => FailureClass::InvalidResponse,
            io::ErrorKind::UnexpectedEof if head_seen => FailureClass::BodyTruncated,
            _ => FailureClass::Reset,
        };
        Fault { class, words: crate::record::with_causes(error).into() }
    }
}
