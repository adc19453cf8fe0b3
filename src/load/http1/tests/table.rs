//! Answers as friendly and hostile servers give them, with what is to be made of each.

use super::Then::{self, Closes, Waits};
use crate::record::FailureClass::{self, BodyTruncated, InvalidResponse, Reset};

/// What is expected of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Status, body, and whether the connection can be used again.
    Answer(u16, &'static str, Reuse),
    /// A failure.
    Failed(FailureClass),
    /// More must come.
    Waits,
}
use Expected::{Answer, Failed, Waits as More};

/// Whether a connection can be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    Yes,
    No,
}
use Reuse::{No, Yes};

/// How hyper takes the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hyper {
    /// As we do.
    Same,
    /// Otherwise, on purpose: what it makes of it, and why we do not.
    Differs(Expected, &'static str),
}
use Hyper::{Differs, Same};

/// One answer.
pub struct Case {
    pub method: &'static str,
    pub bytes: &'static str,
    pub then: Then,
    pub expected: Expected,
    pub hyper: Hyper,
}

const fn case(bytes: &'static str, then: Then, expected: Expected) -> Case {
    Case { method: "GET", bytes, then, expected, hyper: Same }
}

impl Case {
    const fn to(mut self, method: &'static str) -> Case {
        self.method = method;
        self
    }

    const fn unlike_hyper(mut self, expected: Expected, reason: &'static str) -> Case {
        self.hyper = Differs(expected, reason);
        self
    }
}

const TWO_FRAMES: &str =
    "a length and chunks beside each other are how answers are smuggled past a proxy: refused";
const FOLDED: &str = "user agents must read fields that are broken over lines (RFC 9112, section 5.2)";
const AFTER_CHUNKED: &str = "nothing may follow chunked: what the body is cannot be known";

pub const CASES: &[Case] = &[
    // Lengths.
    case("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Waits, Answer(200, "ok", Yes)),
    case("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", Closes, Answer(200, "ok", No)),
    case("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Waits, Answer(200, "", Yes)),
    case(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok",
        Waits,
        Answer(200, "ok", Yes),
    ),
    case("HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", Waits, Answer(200, "ok", Yes)),
    case(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\noks",
        Waits,
        Failed(InvalidResponse),
    ),
    case("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\ncontent-length: 0x2\r\n\r\nok", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nok", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", Closes, Failed(BodyTruncated)),
    case("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok", Waits, More),
    // Chunks.
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Waits,
        Answer(200, "ok", Yes),
    ),
    case(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1;a=b\r\no\r\n01 \r\nk\r\n00\r\nx-sum: 1\r\nx: y\r\n\r\n",
        Waits,
        Answer(200, "ok", Yes),
    ),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n",
        Closes,
        Failed(BodyTruncated),
    ),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", Closes, Failed(BodyTruncated)),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", Closes, Failed(BodyTruncated)),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\nok\n0\n\n", Waits, Failed(InvalidResponse)),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n",
        Waits,
        Failed(InvalidResponse),
    ),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;a\n\r\nok\r\n",
        Waits,
        Failed(InvalidResponse),
    ),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n11111111111111111\r\nok",
        Waits,
        Failed(InvalidResponse),
    ),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nno field\r\n\r\n",
        Waits,
        Failed(InvalidResponse),
    ),
    case(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Waits,
        Failed(InvalidResponse),
    )
    .unlike_hyper(Answer(200, "ok", Yes), TWO_FRAMES),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Waits,
        Answer(200, "ok", Yes),
    ),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, gzip\r\n\r\nok", Closes, Failed(InvalidResponse))
        .unlike_hyper(Answer(200, "ok", No), AFTER_CHUNKED),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", Closes, Answer(200, "ok", No)),
    case("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Waits, Failed(InvalidResponse)),
    // Until the end of the connection.
    case("HTTP/1.1 200 OK\r\n\r\nall of it", Closes, Answer(200, "all of it", No)),
    case("HTTP/1.1 200 OK\r\n\r\n", Closes, Answer(200, "", No)),
    case("HTTP/1.1 200 OK\r\n\r\nso far", Waits, More),
    case("HTTP/1.0 200 OK\r\n\r\nold", Closes, Answer(200, "old", No)),
    // No body, whatever the head says.
    case("HTTP/1.1 204 No Content\r\n\r\n", Waits, Answer(204, "", Yes)),
    case("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", Waits, Answer(304, "", Yes)),
    case("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", Waits, Answer(200, "", Yes)).to("HEAD"),
    case("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Waits, Answer(200, "", Yes)).to("HEAD"),
    case("HTTP/1.1 200 OK\r\n\r\n", Waits, Answer(200, "", Yes)).to("HEAD"),
    // Interim answers.
    case(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        Waits,
        Answer(200, "ok", Yes),
    ),
    case("HTTP/1.1 103 Early Hints\r\n\r\n", Closes, Failed(Reset)),
    case("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n", Waits, Failed(InvalidResponse))
        .unlike_hyper(Answer(101, "", No), "nobody asked for another protocol, so what follows is not HTTP"),
    // Connections that end or stay.
    case("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", Waits, Answer(200, "ok", No)),
    case(
        "HTTP/1.1 200 OK\r\nconnection: a, CLOSE\r\ncontent-length: 2\r\n\r\nok",
        Waits,
        Answer(200, "ok", No),
    ),
    case("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok", Waits, Answer(200, "ok", No)),
    case(
        "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
        Waits,
        Answer(200, "ok", Yes),
    ),
    // More than the answer.
    case("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokay", Waits, Answer(200, "ok", No)),
    case("HTTP/1.1 204 No Content\r\ncontent-length: 2\r\n\r\nok", Waits, Answer(204, "", No)),
    case(
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno",
        Waits,
        Answer(200, "ok", No),
    ),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n0\r\n\r\n",
        Waits,
        Answer(200, "", No),
    ),
    case("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n\r\n", Waits, Answer(200, "", No)),
    // Heads.
    case("\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Waits, Answer(200, "", Yes)),
    case("\r\n\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", Waits, Answer(200, "", Yes)),
    case("HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", Waits, Answer(200, "", Yes)),
    case("HTTP/1.1 200 OK\ncontent-length: 2\n\nok", Waits, Answer(200, "ok", Yes)),
    case("HTTP/1.1 299 \u{e4}\r\nx:\t a \r\nX: b\r\ncontent-length: 0\r\n\r\n", Waits, Answer(299, "", Yes)),
    case("HTTP/1.1 999 Odd\r\ncontent-length: 0\r\n\r\n", Waits, Answer(999, "", Yes)),
    case("HTTP/1.1 099 Odd\r\ncontent-length: 0\r\n\r\n", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 2\r\n\r\nok", Waits, Answer(200, "ok", Yes))
        .unlike_hyper(Failed(InvalidResponse), FOLDED),
    case("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n 2\r\n\r\nok", Waits, Failed(InvalidResponse)),
    case(
        "HTTP/1.1 200 OK\r\ntransfer-encoding:\r\n chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Waits,
        Answer(200, "ok", Yes),
    )
    .unlike_hyper(Failed(InvalidResponse), FOLDED),
    case("HTTP/1.1 200 OK\r\n a: b\r\ncontent-length: 0\r\n\r\n", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\na : b\r\ncontent-length: 0\r\n\r\n", Waits, Failed(InvalidResponse)),
    case("HTTP/1.1 200 OK\r\na: b\0\r\ncontent-length: 0\r\n\r\n", Waits, Failed(InvalidResponse)),
    case("HTTP/2 200 OK\r\n\r\n", Waits, Failed(InvalidResponse)),
    case("220 mail.example.org ESMTP\r\n", Waits, Failed(InvalidResponse)),
    case("<html>no head</html>", Closes, Failed(InvalidResponse)),
    case("\u{16}\u{3}\u{1}\0\u{2}\u{1}", Closes, Failed(InvalidResponse)),
    // The end comes early.
    case("", Closes, Failed(Reset)),
    case("", Waits, More),
    case("HTTP/1.1 200 OK\r\ncontent-le", Closes, Failed(Reset)),
    case("HTTP/1.1 200 OK\r\ncontent-le", Waits, More),
    case("\r\n", Closes, Failed(Reset)),
];
