//! Heads that have come before. A server says the same again and again, but for a date that changes once a second, and the
//! same bytes mean the same: they are compared, which costs a hundredth of what it costs to parse them.

use super::super::field_map::FieldMap;
use super::head::{Asked, Framing, Head};

/// Heads that are kept: some for each step of a usual journey.
const KEPT: usize = 8;
/// Longer heads are parsed each time.
const LONGEST: usize = 1_024;
/// After so many answers in a row that were new, as of a server that numbers its answers, …
const PATIENCE: u32 = 256;
/// … only one of so many is compared and kept.
const SELDOM: u32 = 64;

/// The heads of a thread's last answers.
#[derive(Debug, Default)]
pub struct Known {
    heads: Vec<Kept>,
    /// The one that came last.
    last: usize,
    /// The one that the next new one takes the place of.
    oldest: usize,
    /// Answers in a row that were not known.
    new: u32,
}

#[derive(Debug)]
struct Kept {
    bytes: Vec<u8>,
    asked: Asked,
    status: u16,
    keeps_alive: bool,
    framing: Framing,
}

impl Known {
    /// The head at the front of `bytes` and its size, if the very same has come before.
    #[inline]
    pub fn find(&mut self, bytes: &[u8], asked: Asked) -> Option<(Head, usize)> {
        if self.is_idle() {
            return None;
        }
        let is = |kept: &Kept| bytes.starts_with(&kept.bytes) && kept.asked == asked;
        let at = match self.heads.get(self.last) {
            Some(kept) if is(kept) => self.last,
            _ => self.heads.iter().position(is)?,
        };
        (self.last, self.new) = (at, 0);
        let kept = self.heads.get(at)?;
        let Kept { status, keeps_alive, framing, .. } = *kept;
        let head = Head { status, headers: FieldMap::default(), server_timing: None, keeps_alive, framing };
        Some((head, kept.bytes.len()))
    }

    /// Remembers a head that was parsed from `bytes`, all of them, where nothing in it is handed on but what is kept here.
    pub fn learn(&mut self, bytes: &[u8], asked: Asked, head: &Head) {
        self.new = self.new.saturating_add(1);
        let plain = head.headers.is_empty() && head.server_timing.is_none() && head.status >= 200;
        if !plain || bytes.len() > LONGEST || self.is_idle() {
            return;
        }
        let Head { status, keeps_alive, framing, .. } = *head;
        match self.heads.get_mut(self.oldest) {
            Some(kept) => {
                kept.bytes.clear();
                kept.bytes.extend_from_slice(bytes);
                (kept.asked, kept.status, kept.keeps_alive, kept.framing) =
                    (asked, status, keeps_alive, framing);
            }
            None => self.heads.push(Kept { bytes: bytes.to_vec(), asked, status, keeps_alive, framing }),
        }
        (self.last, self.oldest) = (self.oldest, (self.oldest + 1) % KEPT);
    }

    /// Whether comparing has been of no use for long.
    fn is_idle(&self) -> bool {
        self.new > PATIENCE && !self.new.is_multiple_of(SELDOM)
    }
}

#[cfg(test)]
mod tests {
    use super::super::head::{Fields, parse};
    use super::*;

    fn text(head: &str) -> Vec<u8> {
        (head.replace('|', "\r\n") + "\r\n\r\n").into_bytes()
    }

    /// As the parser uses it: whether it was known, and what it was taken for.
    fn seen(known: &mut Known, bytes: &[u8], asked: Asked) -> (bool, Head, usize) {
        if let Some((head, size)) = known.find(bytes, asked) {
            return (true, head, size);
        }
        let (head, size) = parse(bytes, asked, Fields::Few).unwrap().unwrap();
        known.learn(&bytes[..size], asked, &head);
        (false, head, size)
    }

    #[test]
    fn what_is_known_means_what_it_meant() {
        let mut known = Known::default();
        for (head, knows) in [
            ("HTTP/1.1 200 OK|date: 1|content-length: 5", true),
            ("HTTP/1.1 200 OK|date: 2|content-length: 5", true),
            ("HTTP/1.1 404 No|date: 2|content-length: 7|connection: close", true),
            ("HTTP/1.1 200 OK|transfer-encoding: chunked", true),
            ("HTTP/1.1 200 OK|content-length: 0|set-cookie: a=1", false),
            ("HTTP/1.1 200 OK|content-length: 0|server-timing: db;dur=1", false),
            ("HTTP/1.1 302 Found|content-length: 0|location: /x", false),
            ("HTTP/1.1 103 Early Hints|link: </x>", false),
        ] {
            let mut bytes = text(head);
            let size = bytes.len();
            bytes.extend_from_slice(b"and more");
            let first = seen(&mut known, &bytes, Asked::Ordinary);
            let again = seen(&mut known, &bytes, Asked::Ordinary);
            assert_eq!((first.0, again.0), (false, knows), "{head}");
            assert_eq!((&first.1, first.2), (&again.1, again.2), "{head}");
            assert_eq!(first.2, size);
        }
    }

    #[test]
    fn the_same_head_means_another_body_to_another_method() {
        let mut known = Known::default();
        let bytes = text("HTTP/1.1 200 OK|content-length: 5");
        assert_eq!(seen(&mut known, &bytes, Asked::Ordinary).1.framing, Framing::Length(5));
        let (knew, head, _) = seen(&mut known, &bytes, Asked::Head);
        assert_eq!((knew, head.framing), (false, Framing::Length(0)));
        assert!(seen(&mut known, &bytes, Asked::Ordinary).0 && seen(&mut known, &bytes, Asked::Head).0);
    }

    #[test]
    fn a_head_that_has_not_come_whole_is_not_known() {
        let mut known = Known::default();
        let bytes = text("HTTP/1.1 200 OK|content-length: 5");
        seen(&mut known, &bytes, Asked::Ordinary);
        assert!(known.find(&bytes[..bytes.len() - 1], Asked::Ordinary).is_none());
    }

    #[test]
    fn few_are_kept_and_a_server_that_numbers_its_answers_costs_little() {
        let mut known = Known::default();
        let numbered = |n: u32| text(&format!("HTTP/1.1 200 OK|content-length: 5|x-id: {n}"));
        for n in 0..10_000 {
            assert!(!seen(&mut known, &numbered(n), Asked::Ordinary).0);
        }
        assert_eq!(known.heads.len(), KEPT);
        // One that says the same from then on is noticed again.
        let same = numbered(0);
        let until = (0..1_000).find(|_| seen(&mut known, &same, Asked::Ordinary).0);
        assert!(until.is_some_and(|n| n <= 2 * SELDOM), "{until:?}");
        assert!(seen(&mut known, &same, Asked::Ordinary).0);
    }

    #[test]
    fn several_heads_by_turns_are_all_known() {
        let mut known = Known::default();
        let of = |n: u32| text(&format!("HTTP/1.1 200 OK|content-length: {n}"));
        for n in 0..KEPT as u32 {
            seen(&mut known, &of(n), Asked::Ordinary);
        }
        for n in 0..3 * KEPT as u32 {
            let n = n % KEPT as u32;
            let (knew, head, _) = seen(&mut known, &of(n), Asked::Ordinary);
            assert_eq!((knew, head.framing), (true, Framing::Length(n.into())));
        }
    }
}
