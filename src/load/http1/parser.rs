//! Answers out of bytes, wherever those are split: no sockets and no clocks here, so that every path can be tried.

use super::chunks::Chunks;
use super::fault::Fault;
use super::head::{Asked, Fields, Framing, Head, MOST_HEAD, parse};
use super::known::Known;

/// Most interim answers (1xx) before the real one.
pub const MOST_INTERIM: u8 = 32;
/// Most bytes of empty lines before a head; old servers send one after a body.
const MOST_BLANK: u8 = 16;
/// A head that has come in pieces is looked at with every piece up to this size, and beyond it only when a line has ended:
/// a server that sends single bytes must not cost the square of what it sends.
const OFTEN: usize = 1_024;

/// The commonest end of a request that gets no answer.
pub const CLOSED: &str = "the connection was closed before an answer";

/// What a body leaves behind.
#[derive(Debug)]
pub struct Body {
    /// Bytes of it so far.
    pub received: u64,
    /// The first of them, …
    pub kept: Vec<u8>,
    /// … at most so many.
    pub keep: usize,
    /// More than this is refused.
    pub most: u64,
}

impl Default for Body {
    fn default() -> Body {
        Body { received: 0, kept: Vec::new(), keep: 0, most: u64::MAX }
    }
}

impl Body {
    /// Why no more of it is read.
    pub fn too_large(&self) -> Fault {
        Fault::invalid(format!("a body of more than {} bytes (http.max_body)", self.most))
    }

    /// Takes some.
    pub fn take(&mut self, data: &[u8]) {
        self.received += data.len() as u64;
        if self.keep > 0 {
            let room = self.keep.saturating_sub(self.kept.len()).min(data.len());
            self.kept.extend_from_slice(&data[..room]);
        }
    }
}

/// Reads one answer.
#[derive(Debug)]
pub struct Parser {
    asked: Asked,
    fields: Fields,
    place: Place,
    /// The beginning of a head that has come in pieces.
    pending: Vec<u8>,
    interim: u8,
    blank: u8,
    head: Option<Head>,
}

#[derive(Debug)]
enum Place {
    Head,
    Length(u64),
    /// Boxed: few answers are chunked, and a parser lives in every user's state.
    Chunked(Box<Chunks>),
    Close,
    Done,
}

impl Parser {
    /// For the answer to one request.
    pub fn new(asked: Asked, fields: Fields) -> Parser {
        let pending = Vec::new();
        Parser { asked, fields, place: Place::Head, pending, interim: 0, blank: 0, head: None }
    }

    /// Reads from the front of `input`; gives how much was used. What is left over when the answer is done is no part of it.
    /// `known` makes it quicker and nothing else.
    ///
    /// # Errors
    /// When what came is no answer. The parser must not be fed again.
    pub fn feed(&mut self, input: &[u8], body: &mut Body, known: &mut Known) -> Result<usize, Fault> {
        let mut used = 0;
        while used < input.len() && !self.is_done() {
            let rest = &input[used..];
            used += match &mut self.place {
                Place::Head => self.head(rest, known)?,
                Place::Length(left) => {
                    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                    body.take(&rest[..length]);
                    *left -= length as u64;
                    if *left == 0 {
                        self.place = Place::Done;
                    }
                    length
                }
                Place::Chunked(chunks) => {
                    let length = chunks.feed(rest, |data| body.take(data))?;
                    if chunks.is_done() {
                        self.place = Place::Done;
                    }
                    length
                }
                Place::Close => {
                    body.take(rest);
                    rest.len()
                }
                Place::Done => 0,
            };
            if body.received > body.most {
                return Err(body.too_large());
            }
        }
        Ok(used)
    }

    /// The peer has closed its side.
    ///
    /// # Errors
    /// When the answer is not whole.
    pub fn end(&mut self) -> Result<(), Fault> {
        match &self.place {
            Place::Close | Place::Done => {
                self.place = Place::Done;
                Ok(())
            }
            Place::Length(_) => {
                Err(Fault::truncated("the connection was closed before the body's announced end"))
            }
            Place::Chunked(_) => Err(Fault::truncated("the connection was closed before the last chunk")),
            Place::Head if self.pending.is_empty() => Err(Fault::closed(CLOSED)),
            Place::Head => {
                // What was not worth a look while more could come may be no head at all.
                parse(&self.pending, self.asked, self.fields)?;
                Err(Fault::closed("the connection was closed within the head of an answer"))
            }
        }
    }

    /// Whether the whole answer has come.
    pub fn is_done(&self) -> bool {
        matches!(self.place, Place::Done)
    }

    /// Whether not a byte of the final answer has come.
    pub fn is_silent(&self) -> bool {
        matches!(self.place, Place::Head) && self.pending.is_empty()
    }

    /// Interim answers so far.
    pub fn interim(&self) -> u8 {
        self.interim
    }

    /// The head, once it has come.
    pub fn seen(&self) -> Option<&Head> {
        self.head.as_ref()
    }

    /// Takes the head out.
    pub fn into_head(self) -> Option<Head> {
        self.head
    }

    /// Bytes that are held until more come.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        let chunks = if let Place::Chunked(chunks) = &self.place { chunks.held() } else { 0 };
        self.pending.len() + chunks
    }

    /// Goes on with a head; gives how much of `input` was used.
    fn head(&mut self, input: &[u8], known: &mut Known) -> Result<usize, Fault> {
        if self.pending.is_empty() {
            let blank = self.skip_blank(input)?;
            let window = &input[blank..input.len().min(blank + MOST_HEAD)];
            if window == b"\r" || window.is_empty() {
                self.pending.extend_from_slice(window);
                return Ok(blank + window.len());
            }
            let may_be_known = self.fields == Fields::Few;
            if may_be_known && let Some((head, size)) = known.find(window, self.asked) {
                self.begin(head)?;
                return Ok(blank + size);
            }
            return match parse(window, self.asked, self.fields)? {
                Some((head, size)) => {
                    if may_be_known {
                        known.learn(&window[..size], self.asked, &head);
                    }
                    self.begin(head)?;
                    Ok(blank + size)
                }
                None if window.len() >= MOST_HEAD => Err(too_large()),
                None => {
                    self.pending.extend_from_slice(window);
                    Ok(blank + window.len())
                }
            };
        }
        let before = self.pending.len();
        let room = MOST_HEAD.saturating_sub(before).min(input.len());
        self.pending.extend_from_slice(&input[..room]);
        if before == 1 && self.pending.starts_with(b"\r\n") {
            // A blank line that was split.
            self.count_blank(2)?;
            self.pending.clear();
            return Ok(1);
        }
        let worth_a_look =
            self.pending.len() <= OFTEN || self.pending.len() >= MOST_HEAD || input[..room].contains(&b'\n');
        let parsed = if worth_a_look { parse(&self.pending, self.asked, self.fields)? } else { None };
        match parsed {
            Some((head, size)) => {
                self.pending = Vec::new();
                self.begin(head)?;
                Ok(size - before)
            }
            None if self.pending.len() >= MOST_HEAD => Err(too_large()),
            None => Ok(room),
        }
    }

    fn skip_blank(&mut self, input: &[u8]) -> Result<usize, Fault> {
        let mut at = 0;
        loop {
            let length = match &input[at..] {
                [b'\n', ..] => 1,
                [b'\r', b'\n', ..] => 2,
                _ => return Ok(at),
            };
            self.count_blank(length)?;
            at += usize::from(length);
        }
    }

    fn count_blank(&mut self, length: u8) -> Result<(), Fault> {
        self.blank += length;
        if self.blank > MOST_BLANK {
            Err(Fault::invalid("empty lines in place of an answer"))
        } else {
            Ok(())
        }
    }

    /// A head has come whole.
    fn begin(&mut self, head: Head) -> Result<(), Fault> {
        if head.status == 101 {
            return Err(Fault::invalid(
                "the server switched to another protocol (101), which was not asked for",
            ));
        }
        if head.status < 200 {
            self.interim += 1;
            if self.interim > MOST_INTERIM {
                return Err(Fault::invalid(format!("more than {MOST_INTERIM} interim answers (1xx)")));
            }
            return Ok(());
        }
        self.place = match head.framing {
            Framing::Length(0) => Place::Done,
            Framing::Length(length) => Place::Length(length),
            Framing::Chunked => Place::Chunked(Box::default()),
            Framing::Close => Place::Close,
        };
        self.head = Some(head);
        Ok(())
    }
}

fn too_large() -> Fault {
    Fault::invalid(format!("an answer whose head is larger than {MOST_HEAD} bytes"))
}
