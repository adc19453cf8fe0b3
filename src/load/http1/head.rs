//! The head of an answer: what its bytes say of the connection and of the body that follows (RFC 9112, sections 4 to 6).

use super::super::field_map::FieldMap;
use super::fault::Fault;
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use std::borrow::Cow;
use std::mem::MaybeUninit;
use std::sync::Arc;

/// Most bytes of a head. Proxies refuse a tenth of it.
pub const MOST_HEAD: usize = 64 << 10;
/// Most fields of a head.
pub const MOST_FIELDS: usize = 256;
/// Fields for which room is made first: room for all would be 8 KiB of stack to touch per answer.
const USUAL_FIELDS: usize = 32;
/// A `Server-Timing` longer than this is cut.
const MOST_SERVER_TIMING: usize = 1_024;

/// What was asked: the same head means another body to another method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Any method but those below.
    #[default]
    Ordinary,
    /// HEAD: whatever the answer says of its body, none follows.
    Head,
    /// CONNECT: after a success the connection is a tunnel.
    Connect,
}

/// Which fields are handed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fields {
    /// All of them.
    All,
    /// None but those of an answer that sets a cookie or points elsewhere: a map of fields costs more than all else that
    /// is done with a small answer.
    #[default]
    Few,
}

/// A head, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Status, 100 to 999.
    pub status: u16,
    /// All fields or none: see [`Fields`].
    pub headers: FieldMap,
    /// The server's own account of its time; several fields are one list.
    pub server_timing: Option<Arc<str>>,
    /// Whether the connection may carry another exchange, as far as the head says.
    pub keeps_alive: bool,
    /// How the end of the body is known.
    pub framing: Framing,
}

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its length; zero where there is no body.
    Length(u64),
    /// By a last chunk of no bytes.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// Reads a head from the front of `bytes`: the head and its size, or nothing when it is not whole yet.
///
/// # Errors
/// When no continuation could make it a head.
pub fn parse(bytes: &[u8], asked: Asked, fields: Fields) -> Result<Option<(Head, usize)>, Fault> {
    let mut room = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
    match parse_into(bytes, &mut room) {
        Err(httparse::Error::TooManyHeaders) => {}
        parsed => return understood(bytes, parsed, asked, fields),
    }
    let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
    understood(bytes, parse_into(bytes, &mut room), asked, fields)
}

type Raw<'h, 'b> = (usize, httparse::Response<'h, 'b>);

fn parse_into<'h, 'b>(
    bytes: &'b [u8],
    room: &'h mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Option<Raw<'h, 'b>>, httparse::Error> {
    let mut raw = httparse::Response::new(&mut []);
    let mut config = httparse::ParserConfig::default();
    // Servers must not break lines any more, and user agents must read those of the ones that do (RFC 9112, section 5.2).
    config.allow_obsolete_multiline_headers_in_responses(true);
    let parsed = config.parse_response_with_uninit_headers(&mut raw, bytes, room)?;
    Ok(match parsed {
        httparse::Status::Complete(size) => Some((size, raw)),
        httparse::Status::Partial => None,
    })
}

fn understood(
    bytes: &[u8],
    parsed: Result<Option<Raw>, httparse::Error>,
    asked: Asked,
    fields: Fields,
) -> Result<Option<(Head, usize)>, Fault> {
    match parsed {
        Ok(None) => Ok(None),
        Ok(Some((size, raw))) => Ok(Some((head_of(&raw, asked, fields)?, size))),
        Err(httparse::Error::TooManyHeaders) => {
            Err(Fault::invalid(format!("an answer with more than {MOST_FIELDS} header fields")))
        }
        // A record of TLS: an alert, or a part of a handshake.
        Err(_) if matches!(bytes, [0x15 | 0x16, ..]) => {
            Err(Fault::invalid("no HTTP/1.1 answer: the server speaks TLS, write https://"))
        }
        Err(error) => Err(Fault::invalid(format!("no HTTP/1.1 answer: {error}"))),
    }
}

/// What the fields say of the framing, gathered over all of them.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    codings: bool,
    chunked_last: bool,
    close: bool,
    keep_alive: bool,
}

fn head_of(raw: &httparse::Response, asked: Asked, fields: Fields) -> Result<Head, Fault> {
    let status = raw.code.unwrap_or_default();
    if status < 100 {
        return Err(Fault::invalid(format!("an answer of status {status:03}, which is none")));
    }
    let mut said = Said::default();
    let mut server_timing: Option<String> = None;
    let mut wanted = fields == Fields::All || (300..400).contains(&status);
    for field in raw.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        match field.name.len() {
            10 if is("connection") => said.connection(field.value),
            10 if is("set-cookie") => wanted = true,
            13 if is("server-timing") => add_timing(&mut server_timing, field.value),
            14 if is("content-length") => said.length(field.value)?,
            17 if is("transfer-encoding") => said.codings(field.value)?,
            _ => {}
        }
    }
    let http_1_1 = raw.version == Some(1);
    let framing = said.framing(status, asked, http_1_1)?;
    Ok(Head {
        status,
        headers: if wanted { map_of(raw.headers)?.into() } else { FieldMap::default() },
        server_timing: server_timing.map(cut),
        keeps_alive: !said.close && (http_1_1 || said.keep_alive) && framing != Framing::Close,
        framing,
    })
}

impl Said {
    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Several equal lengths are one (RFC 9110, section 8.6); what differs is how answers are smuggled.
    fn length(&mut self, value: &[u8]) -> Result<(), Fault> {
        for item in value.split(|b| *b == b',') {
            let length = number(item.trim_ascii())
                .ok_or_else(|| Fault::invalid("an answer whose content-length is no number"))?;
            if self.length.is_some_and(|before| before != length) {
                return Err(Fault::invalid("an answer with two content-lengths that differ"));
            }
            self.length = Some(length);
        }
        Ok(())
    }

    fn codings(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.codings = true;
        for coding in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if coding.is_empty() {
                continue;
            }
            // Nothing may follow the chunks, or come twice.
            if self.chunked_last {
                return Err(Fault::invalid("an answer whose transfer-encoding goes on after chunked"));
            }
            self.chunked_last = coding.eq_ignore_ascii_case(b"chunked");
        }
        Ok(())
    }

    /// RFC 9112, section 6.3, without its leniencies.
    fn framing(&self, status: u16, asked: Asked, http_1_1: bool) -> Result<Framing, Fault> {
        let tunnel = asked == Asked::Connect && (200..300).contains(&status);
        if asked == Asked::Head || tunnel || status < 200 || status == 204 || status == 304 {
            return Ok(Framing::Length(0));
        }
        match (self.codings, self.length) {
            (true, Some(_)) => {
                Err(Fault::invalid("an answer with both a content-length and a transfer-encoding"))
            }
            (true, None) if !http_1_1 => {
                Err(Fault::invalid("an answer of HTTP/1.0 with a transfer-encoding"))
            }
            (true, None) if self.chunked_last => Ok(Framing::Chunked),
            (true, None) | (false, None) => Ok(Framing::Close),
            (false, Some(length)) => Ok(Framing::Length(length)),
        }
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn map_of(fields: &[httparse::Header]) -> Result<HeaderMap, Fault> {
    let mut map = HeaderMap::with_capacity(fields.len());
    for field in fields {
        // What the parser lets through is what these two let through; the map's own limit is far above ours.
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok();
        let value = HeaderValue::from_bytes(&unfolded(field.value)).ok();
        let (Some(name), Some(value)) = (name, value) else {
            return Err(Fault::invalid("an answer with a header field that is none"));
        };
        map.append(name, value);
    }
    Ok(map)
}

/// A value on one line: each break with the space around it is one space.
fn unfolded(value: &[u8]) -> Cow<'_, [u8]> {
    let is_break = |b: &u8| matches!(b, b'\r' | b'\n');
    if !value.iter().any(is_break) {
        return Cow::Borrowed(value);
    }
    let lines: Vec<&[u8]> = value.split(is_break).map(<[u8]>::trim_ascii).filter(|l| !l.is_empty()).collect();
    Cow::Owned(lines.join(&b' '))
}

fn add_timing(so_far: &mut Option<String>, value: &[u8]) {
    let text = so_far.get_or_insert_with(String::new);
    if text.len() > MOST_SERVER_TIMING {
        return;
    }
    if !text.is_empty() {
        text.push_str(", ");
    }
    text.push_str(&String::from_utf8_lossy(&unfolded(value)));
}

fn cut(mut text: String) -> Arc<str> {
    if text.len() > MOST_SERVER_TIMING {
        let end = (0..=MOST_SERVER_TIMING).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str) -> Result<(Framing, bool), String> {
        framing_to(head, Asked::Ordinary)
    }

    fn framing_to(head: &str, asked: Asked) -> Result<(Framing, bool), String> {
        let text = head.replace('|', "\r\n") + "\r\n\r\n";
        match parse(text.as_bytes(), asked, Fields::Few) {
            Ok(Some((head, size))) => {
                assert_eq!(size, text.len());
                Ok((head.framing, head.keeps_alive))
            }
            Ok(None) => Err("partial".to_string()),
            Err(fault) => Err(fault.words.into_owned()),
        }
    }

    #[test]
    fn a_field_that_is_broken_over_lines_is_one_line() {
        let head = "HTTP/1.1 200 OK\r\nserver-timing: a;dur=1,\r\n\t b;dur=2\r\nx: one \r\n  two\r\ncontent-length: 0\r\n\r\n";
        let (head, _) = parse(head.as_bytes(), Asked::Ordinary, Fields::All).unwrap().unwrap();
        assert_eq!(head.headers.get("x").unwrap(), "one two");
        assert_eq!(head.server_timing.as_deref(), Some("a;dur=1, b;dur=2"));
    }

    #[test]
    fn a_server_that_speaks_tls_is_known_by_its_alert() {
        let fault = parse(b"\x15\x03\x01\0\x02\x02\x28", Asked::Ordinary, Fields::All).unwrap_err();
        assert!(fault.words.contains("write https://"), "{}", fault.words);
    }

    #[test]
    fn the_end_of_the_body_is_known_by_the_rules() {
        use Framing::*;
        for (head, expected) in [
            ("HTTP/1.1 200 OK|content-length: 5", (Length(5), true)),
            ("HTTP/1.1 200 OK|Content-Length: 5|content-LENGTH: 5, 5", (Length(5), true)),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked", (Chunked, true)),
            ("HTTP/1.1 200 OK|transfer-encoding: gzip|transfer-encoding: , Chunked", (Chunked, true)),
            ("HTTP/1.1 200 OK|transfer-encoding: gzip", (Close, false)),
            ("HTTP/1.1 200 OK", (Close, false)),
            ("HTTP/1.1 204 No Content|content-length: 5", (Length(0), true)),
            ("HTTP/1.1 304 Not Modified|transfer-encoding: chunked", (Length(0), true)),
            ("HTTP/1.1 103 Early Hints|link: </x>", (Length(0), true)),
            ("HTTP/1.1 200 OK|content-length: 0|connection: x, Close", (Length(0), false)),
            ("HTTP/1.0 200 OK|content-length: 0", (Length(0), false)),
            ("HTTP/1.0 200 OK|content-length: 0|connection: keep-alive", (Length(0), true)),
            ("HTTP/1.0 200 OK|content-length: 0|connection: keep-alive, close", (Length(0), false)),
        ] {
            assert_eq!(framing(head), Ok(expected), "{head}");
        }
        assert_eq!(framing_to("HTTP/1.1 200 OK|content-length: 5", Asked::Head), Ok((Length(0), true)));
        assert_eq!(framing_to("HTTP/1.1 200 OK|content-length: 5", Asked::Connect), Ok((Length(0), true)));
        assert_eq!(framing_to("HTTP/1.1 403 No|content-length: 5", Asked::Connect), Ok((Length(5), true)));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for (head, words) in [
            ("HTTP/1.1 200 OK|content-length: 5|content-length: 6", "two content-lengths"),
            ("HTTP/1.1 200 OK|content-length: 5, 6", "two content-lengths"),
            ("HTTP/1.1 200 OK|content-length: +5", "no number"),
            ("HTTP/1.1 200 OK|content-length:", "no number"),
            ("HTTP/1.1 200 OK|content-length: 18446744073709551616", "no number"),
            ("HTTP/1.1 200 OK|content-length: 5|transfer-encoding: chunked", "both"),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked, gzip", "goes on"),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked|transfer-encoding: chunked", "goes on"),
            ("HTTP/1.0 200 OK|transfer-encoding: chunked", "HTTP/1.0"),
            ("HTTP/1.1 099 No", "none"),
            ("HTTP/1.1 20 OK", "no HTTP/1.1 answer"),
            ("HTTP/2.0 200 OK", "no HTTP/1.1 answer"),
            ("HTTP/1.1 200 OK|a b: c", "no HTTP/1.1 answer"),
            ("HTTP/1.1 200 OK| folded: c", "no HTTP/1.1 answer"),
            ("HTTP/1.1 200 OK|content-length : 5", "no HTTP/1.1 answer"),
        ] {
            let refused = framing(head).expect_err(head);
            assert!(refused.contains(words), "{head}: {refused}");
        }
    }

    #[test]
    fn fields_are_handed_on_where_somebody_looks() {
        let fields = |head: &str, fields| {
            let text = head.replace('|', "\r\n") + "\r\n\r\n";
            parse(text.as_bytes(), Asked::Ordinary, fields).unwrap().unwrap().0.headers.len()
        };
        assert_eq!(fields("HTTP/1.1 200 OK|a: 1|b: 2", Fields::Few), 0);
        assert_eq!(fields("HTTP/1.1 200 OK|a: 1|b: 2", Fields::All), 2);
        assert_eq!(fields("HTTP/1.1 200 OK|a: 1|set-cookie: b=2", Fields::Few), 2);
        assert_eq!(fields("HTTP/1.1 302 Found|location: /x", Fields::Few), 1);
    }

    #[test]
    fn many_fields_are_read_and_too_many_refused() {
        let head = |fields: usize| format!("HTTP/1.1 200 OK|content-length: 0{}", "|a: b".repeat(fields - 1));
        assert_eq!(framing(&head(MOST_FIELDS)), Ok((Framing::Length(0), true)));
        assert_eq!(
            framing(&head(MOST_FIELDS + 1)),
            Err("an answer with more than 256 header fields".to_string())
        );
    }
}
