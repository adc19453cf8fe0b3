//! RESP2, the Redis protocol, as far as the shop needs it: commands are arrays of bulk strings; replies are simple strings,
//! errors, integers and bulk strings.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Larger commands and values are refused: the demo's are a few kilobytes.
const MAX_BULK: usize = 4 << 20;
const MAX_WORDS: usize = 16;

/// A reply of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Simple(&'static str),
    Error(String),
    Integer(i64),
    /// `None` is the null bulk string: no such key.
    Bulk(Option<Bytes>),
}

/// Bytes that are no RESP.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the Redis protocol: {0}")]
pub(super) struct Malformed(&'static str);

impl From<Malformed> for std::io::Error {
    fn from(error: Malformed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Appends a command.
pub(super) fn write_command(words: &[&[u8]], out: &mut BytesMut) {
    out.put_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        write_bulk(word, out);
    }
}

/// Appends a reply.
pub(super) fn write_reply(reply: &Reply, out: &mut BytesMut) {
    match reply {
        Reply::Simple(text) => out.put_slice(format!("+{text}\r\n").as_bytes()),
        Reply::Error(text) => out.put_slice(format!("-{text}\r\n").as_bytes()),
        Reply::Integer(value) => out.put_slice(format!(":{value}\r\n").as_bytes()),
        Reply::Bulk(None) => out.put_slice(b"$-1\r\n"),
        Reply::Bulk(Some(value)) => write_bulk(value, out),
    }
}

fn write_bulk(value: &[u8], out: &mut BytesMut) {
    out.put_slice(format!("${}\r\n", value.len()).as_bytes());
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Takes one whole command from the front; `None` while bytes are missing.
pub(super) fn read_command(input: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Malformed> {
    let mut at = 0;
    let Some(count) = read_number(input, &mut at, b'*')? else { return Ok(None) };
    let count = usize::try_from(count).ok().filter(|count| *count <= MAX_WORDS);
    let count = count.ok_or(Malformed("too many words in a command"))?;
    let mut spans = Vec::with_capacity(count);
    for _ in 0..count {
        match read_bulk(input, &mut at)? {
            None => return Ok(None),
            Some(None) => return Err(Malformed("a null word in a command")),
            Some(Some(range)) => spans.push(range),
        }
    }
    let whole = input.split_to(at).freeze();
    Ok(Some(spans.into_iter().map(|range| whole.slice(range)).collect()))
}

/// Takes one whole reply from the front; `None` while bytes are missing.
pub(super) fn read_reply(input: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let mut at = 0;
    let reply = match input.first() {
        None => return Ok(None),
        Some(b'$') => match read_bulk(input, &mut at)? {
            None => return Ok(None),
            Some(None) => Reply::Bulk(None),
            Some(Some(range)) => {
                let whole = input.split_to(at).freeze();
                return Ok(Some(Reply::Bulk(Some(whole.slice(range)))));
            }
        },
        Some(b':') => match read_number(input, &mut at, b':')? {
            None => return Ok(None),
            Some(value) => Reply::Integer(value),
        },
        Some(b'+') => match read_line(input, &mut at)? {
            None => return Ok(None),
            Some(_) => Reply::Simple("OK"),
        },
        Some(b'-') => match read_line(input, &mut at)? {
            None => return Ok(None),
            Some(line) => Reply::Error(String::from_utf8_lossy(&line[1..]).into_owned()),
        },
        Some(_) => return Err(Malformed("an unknown kind of reply")),
    };
    input.advance(at);
    Ok(Some(reply))
}

fn read_line<'a>(input: &'a BytesMut, at: &mut usize) -> Result<Option<&'a [u8]>, Malformed> {
    let rest = &input[*at..];
    match rest.windows(2).take(512).position(|pair| pair == b"\r\n") {
        Some(end) => {
            *at += end + 2;
            Ok(Some(&rest[..end]))
        }
        None if rest.len() > 512 => Err(Malformed("a line without an end")),
        None => Ok(None),
    }
}

fn read_number(input: &BytesMut, at: &mut usize, kind: u8) -> Result<Option<i64>, Malformed> {
    let Some(line) = read_line(input, at)? else { return Ok(None) };
    match line.split_first() {
        Some((first, digits)) if *first == kind => std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse().ok())
            .map(Some)
            .ok_or(Malformed("a length that is no number")),
        _ => Err(Malformed("another kind of value was expected")),
    }
}

/// The range of a bulk string's bytes: outer `None` while bytes are missing, inner for the null bulk string.
#[allow(clippy::type_complexity)]
fn read_bulk(input: &BytesMut, at: &mut usize) -> Result<Option<Option<std::ops::Range<usize>>>, Malformed> {
    let length = match read_number(input, at, b'$')? {
        None => return Ok(None),
        Some(-1) => return Ok(Some(None)),
        Some(length) => usize::try_from(length).ok().filter(|length| *length <= MAX_BULK),
    };
    let length = length.ok_or(Malformed("a value is too long"))?;
    if input.len() < *at + length + 2 {
        return Ok(None);
    }
    let range = *at..*at + length;
    if &input[range.end..range.end + 2] != b"\r\n" {
        return Err(Malformed("a value is longer than it says"));
    }
    *at = range.end + 2;
    Ok(Some(Some(range)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_read_back_however_it_is_cut() {
        let mut wire = BytesMut::new();
        write_command(&[b"SET", b"key", b"a\r\nb", b"EX", b"60"], &mut wire);
        assert_eq!(&wire[..20], b"*5\r\n$3\r\nSET\r\n$3\r\nkey");
        for cut in 0..wire.len() {
            let mut input = BytesMut::from(&wire[..cut]);
            assert_eq!(read_command(&mut input).unwrap(), None, "cut at {cut}");
            assert_eq!(input.len(), cut, "nothing is taken of a part");
            input.extend_from_slice(&wire[cut..]);
            input.extend_from_slice(b"*1");
            let words = read_command(&mut input).unwrap().unwrap();
            assert_eq!(words, [&b"SET"[..], b"key", b"a\r\nb", b"EX", b"60"]);
            assert_eq!(&input[..], b"*1", "what follows is left");
        }
    }

    #[test]
    fn replies_are_read_back_however_they_are_cut() {
        let replies = [
            Reply::Simple("OK"),
            Reply::Error("ERR no".to_owned()),
            Reply::Integer(-12),
            Reply::Bulk(None),
            Reply::Bulk(Some(Bytes::from_static(b""))),
            Reply::Bulk(Some(Bytes::from_static(b"value\r\n"))),
        ];
        for reply in replies {
            let mut wire = BytesMut::new();
            write_reply(&reply, &mut wire);
            for cut in 0..wire.len() {
                let mut input = BytesMut::from(&wire[..cut]);
                assert_eq!(read_reply(&mut input).unwrap(), None);
                input.extend_from_slice(&wire[cut..]);
                assert_eq!(read_reply(&mut input).unwrap().as_ref(), Some(&reply));
                assert!(input.is_empty());
            }
        }
    }

    #[test]
    fn malformed_bytes_are_errors_not_waits() {
        for wire in [
            "GET key\r\n",
            "*99\r\n",
            "*-1\r\n",
            "*1\r\n$-1\r\n",
            "*1\r\n$99999999\r\n",
            "*1\r\n$1\r\nabc\r\n",
            "*x\r\n",
        ] {
            assert!(read_command(&mut BytesMut::from(wire)).is_err(), "{wire:?}");
        }
        assert!(read_reply(&mut BytesMut::from("!?\r\n")).is_err());
        assert!(read_command(&mut BytesMut::from(&[b'*'; 600][..])).is_err());
    }
}
