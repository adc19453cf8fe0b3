//! Chunked bodies (RFC 9112, section 7.1), a byte at a time where they are syntax and as a whole where they are data.

use super::fault::Fault;

/// Most bytes of chunk extensions in one body: they are not used, so there is no reason for more.
pub const MOST_EXTENSIONS: u32 = 16 << 10;
/// Most bytes of trailers.
pub const MOST_TRAILERS: usize = 16 << 10;
/// Most trailer fields.
const MOST_TRAILER_FIELDS: usize = 64;
/// Hexadecimal digits of a 64-bit size.
const MOST_DIGITS: u8 = 16;

/// Reads a chunked body.
#[derive(Clone, Debug, Default)]
pub struct Chunks {
    place: Place,
    size: u64,
    digits: u8,
    extensions: u32,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Size,
    AfterSize,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

impl Chunks {
    /// Whether the body has ended.
    pub fn is_done(&self) -> bool {
        self.place == Place::Done
    }

    /// Reads from the front of `input`, handing data to `take`; gives how much was read. Stops at the body's end.
    ///
    /// # Errors
    /// When the bytes are no chunks.
    pub fn feed(&mut self, input: &[u8], mut take: impl FnMut(&[u8])) -> Result<usize, Fault> {
        let mut at = 0;
        while at < input.len() && self.place != Place::Done {
            if self.place == Place::Data {
                let length = usize::try_from(self.size).unwrap_or(usize::MAX).min(input.len() - at);
                take(&input[at..at + length]);
                at += length;
                self.size -= length as u64;
                if self.size == 0 {
                    self.place = Place::DataCr;
                }
            } else {
                self.byte(input[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Bytes that are held until more come.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.trailers.len()
    }

    fn byte(&mut self, byte: u8) -> Result<(), Fault> {
        self.place = match (self.place, byte) {
            (Place::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.digit(byte)?;
                Place::Size
            }
            (Place::Size | Place::AfterSize, b' ' | b'\t') if self.digits > 0 => {
                self.extension()?;
                Place::AfterSize
            }
            (Place::Size | Place::AfterSize, b';') if self.digits > 0 => {
                self.extension()?;
                Place::Extension
            }
            (Place::Size | Place::AfterSize, b'\r') if self.digits > 0 => Place::SizeLf,
            (Place::Extension, b'\r') => Place::SizeLf,
            // A bare line feed is where lenient and strict readers part, and answers are smuggled in between.
            (Place::Extension, b'\n') => return Err(Fault::invalid("a chunk whose size line is broken")),
            (Place::Extension, _) => {
                self.extension()?;
                Place::Extension
            }
            (Place::SizeLf, b'\n') => {
                self.digits = 0;
                if self.size == 0 { Place::Trailers } else { Place::Data }
            }
            (Place::DataCr, b'\r') => Place::DataLf,
            (Place::DataLf, b'\n') => Place::Size,
            (Place::Trailers, _) => return self.trailer(byte),
            (Place::DataCr | Place::DataLf, _) => {
                return Err(Fault::invalid("a chunk that is longer than its size"));
            }
            _ => return Err(Fault::invalid("a chunk whose size line is broken")),
        };
        Ok(())
    }

    fn digit(&mut self, byte: u8) -> Result<(), Fault> {
        self.digits += 1;
        if self.digits > MOST_DIGITS {
            return Err(Fault::invalid("a chunk whose size is no 64-bit number"));
        }
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        self.size = self.size << 4 | u64::from(value);
        Ok(())
    }

    fn extension(&mut self) -> Result<(), Fault> {
        self.extensions += 1;
        if self.extensions > MOST_EXTENSIONS {
            return Err(Fault::invalid(format!(
                "a body with more than {MOST_EXTENSIONS} bytes of chunk extensions"
            )));
        }
        Ok(())
    }

    /// Trailers are kept only to see that they are fields: nothing here uses them.
    fn trailer(&mut self, byte: u8) -> Result<(), Fault> {
        if self.trailers.len() >= MOST_TRAILERS {
            return Err(Fault::invalid(format!("a body with more than {MOST_TRAILERS} bytes of trailers")));
        }
        self.trailers.push(byte);
        if !(self.trailers == b"\r\n" || self.trailers.ends_with(b"\r\n\r\n")) {
            return Ok(());
        }
        let mut room = [httparse::EMPTY_HEADER; MOST_TRAILER_FIELDS];
        match httparse::parse_headers(&self.trailers, &mut room) {
            Ok(httparse::Status::Complete((size, _))) if size == self.trailers.len() => {
                self.trailers = Vec::new();
                self.place = Place::Done;
                Ok(())
            }
            Ok(_) => Err(Fault::invalid("trailers that are broken")),
            Err(error) => Err(Fault::invalid(format!("trailers that are broken: {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Body, bytes read and whether it ended.
    fn read(text: &str) -> Result<(String, usize, bool), String> {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        let used = chunks.feed(text.as_bytes(), |data| body.extend_from_slice(data));
        let used = used.map_err(|fault| fault.words.into_owned())?;
        Ok((String::from_utf8(body).unwrap(), used, chunks.is_done()))
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let text = "5\r\nhello\r\nA;x=\"y\" \r\n, 10 bytes\r\n0 \t\r\nX-A: b\r\n\r\nHTTP";
        assert_eq!(read(text), Ok(("hello, 10 bytes".to_string(), text.len() - 4, true)));
        assert_eq!(read("000\r\n\r\n"), Ok((String::new(), 7, true)));
        assert_eq!(read("3\r\nab"), Ok(("ab".to_string(), 5, false)));
    }

    #[test]
    fn what_is_no_chunk_is_refused() {
        for (text, words) in [
            ("\r\n", "size line"),
            (" 5\r\n", "size line"),
            ("5\n", "size line"),
            ("5;a\n", "size line"),
            ("5 6\r\n", "size line"),
            ("5\rx", "size line"),
            ("-5\r\n", "size line"),
            ("0x5\r\n", "size line"),
            ("10000000000000000\r\n", "64-bit"),
            ("3\r\nabcd\r\n", "longer"),
            ("3\r\nabc\rd", "longer"),
            ("0\r\nno colon\r\n\r\n", "trailers"),
            ("0\r\na b: c\r\n\r\n", "trailers"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(words), "{text:?}: {refused}");
        }
    }

    #[test]
    fn what_is_not_used_is_bounded() {
        let extensions = format!("5;{}", "x".repeat(MOST_EXTENSIONS as usize));
        assert!(read(&extensions).expect_err("bounded").contains("extensions"));
        let spread = "1;abc\r\nx\r\n".repeat(MOST_EXTENSIONS as usize / 4 + 1);
        assert!(read(&spread).expect_err("bounded over all chunks").contains("extensions"));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(MOST_TRAILERS / 6 + 1));
        assert!(read(&trailers).expect_err("bounded").contains("of trailers"));
    }
}
