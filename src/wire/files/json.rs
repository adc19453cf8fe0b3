//! Cuts JSON of any size into the elements that hold spans, without knowing what is in them.
//!
//! One pass with a window that never holds more than one element. It goes into the lists that the formats use
//! (`resourceSpans`, `batches`, `data`, lists of lists) and through the objects around them (`result`, `trace`), and
//! takes every other object whole. Values may follow each other, as in JSON lines; once that is seen a broken line costs
//! itself only.

use super::input::Window;

/// An element larger than this is not read.
const ELEMENT_MAX: usize = 1 << 30;
/// Objects and lists around elements nest no deeper.
const LEVELS: u32 = 6;

/// What an element is known to be from where it stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In `resourceSpans` or `batches`.
    ResourceSpans,
    /// In a list, or on its own.
    Anywhere,
}

/// Why an element or a line could not be cut out.
#[derive(Debug)]
pub(super) struct Broken {
    /// Where.
    pub offset: u64,
    /// What.
    pub what: String,
    /// Whether the input simply ended.
    pub torn: bool,
}

/// What takes the elements.
pub(super) trait Elements {
    /// An element and its offset; false to stop.
    fn element(&mut self, place: Place, bytes: &[u8], offset: u64) -> bool;
    /// Something could not be read.
    fn broken(&mut self, broken: Broken);
}

/// Stops the walk.
enum Stop {
    Broken(Broken),
    Enough,
}

/// Walks all values of the input.
pub(super) fn walk(window: &mut Window, elements: &mut dyn Elements) {
    let mut walker = Walker { window };
    let mut lines = false;
    loop {
        let Some(first) = walker.skip_space(0).map(|at| walker.drop_front(at)) else { return };
        let result = if lines { walker.line(first, elements) } else { walker.top(first, elements) };
        match result {
            Ok(()) => lines = lines || walker.at_line_end(),
            Err(Stop::Enough) => return,
            Err(Stop::Broken(broken)) => {
                let torn = broken.torn;
                elements.broken(broken);
                // A new line that begins an object is where sense may begin again.
                if !walker.next_line(torn) {
                    return;
                }
                lines = true;
            }
        }
    }
}

struct Walker<'w> {
    window: &'w mut Window,
}

impl Walker<'_> {
    fn byte(&mut self, at: usize) -> Option<u8> {
        if at >= self.window.at_hand().len() && !self.window.look(at + 1) {
            return None;
        }
        self.window.at_hand().get(at).copied()
    }

    /// Position of the first byte from `at` that is no white space.
    fn skip_space(&mut self, mut at: usize) -> Option<usize> {
        loop {
            match self.byte(at)? {
                b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                // A byte order mark.
                0xef if self.window.offset() == 0 && at == 0 => at += 3,
                _ => return Some(at),
            }
        }
    }

    fn drop_front(&mut self, at: usize) -> u8 {
        self.window.consume(at);
        self.window.at_hand().first().copied().unwrap_or_default()
    }

    fn torn<T>(&self) -> Result<T, Stop> {
        let what = match &self.window.failure {
            Some(reason) => format!("the file ends inside a record ({reason})"),
            None => "the file ends inside a record".to_owned(),
        };
        Err(Stop::Broken(Broken { offset: self.window.offset(), what, torn: true }))
    }

    fn wrong<T>(&self, at: usize, what: &str) -> Result<T, Stop> {
        let seen = self.window.at_hand().get(at).copied().unwrap_or_default();
        let seen = if seen.is_ascii_graphic() {
            format!("`{}`", char::from(seen))
        } else {
            format!("byte 0x{seen:02x}")
        };
        Err(Stop::Broken(Broken {
            offset: self.window.offset() + at as u64,
            what: format!("not valid JSON: expected {what}, found {seen}"),
            torn: false,
        }))
    }

    fn top(&mut self, first: u8, elements: &mut dyn Elements) -> Result<(), Stop> {
        match first {
            b'{' => self.object(0, elements),
            b'[' => self.list(Place::Anywhere, 0, elements),
            _ => self.wrong(0, "an object or a list"),
        }
    }

    /// A value that must end with its line.
    fn line(&mut self, first: u8, elements: &mut dyn Elements) -> Result<(), Stop> {
        let mut searched = 0;
        let (length, last) = loop {
            if let Some(at) = memchr::memchr(b'\n', &self.window.at_hand()[searched..]) {
                break (searched + at, false);
            }
            searched = self.window.at_hand().len();
            if searched > ELEMENT_MAX {
                return self.too_large();
            }
            if !self.window.more() {
                break (searched, true);
            }
        };
        let whole = Scan::default().run(&self.window.at_hand()[..length]).is_some();
        match first {
            b'{' | b'[' if whole => self.top(first, elements),
            b'{' | b'[' if last => self.torn(),
            b'{' | b'[' => Err(Stop::Broken(Broken {
                offset: self.window.offset(),
                what: "not valid JSON: the line ends inside a record".into(),
                torn: false,
            })),
            _ => self.wrong(0, "an object or a list"),
        }
    }

    /// Whether nothing but the end of a line follows.
    fn at_line_end(&mut self) -> bool {
        let mut at = 0;
        while let Some(b' ' | b'\r' | b'\t') = self.byte(at) {
            at += 1;
        }
        self.byte(at) == Some(b'\n') && self.skip_space(at).is_some_and(|at| self.byte(at) == Some(b'{'))
    }

    /// Goes to the next line that begins an object; whether there is one. With `torn` all that is left is at hand.
    fn next_line(&mut self, torn: bool) -> bool {
        loop {
            match memchr::memchr(b'\n', self.window.at_hand()) {
                Some(at) => {
                    self.window.consume(at + 1);
                    if self.byte(0) == Some(b'{') {
                        return true;
                    }
                }
                None if torn => return false,
                None => {
                    let all = self.window.at_hand().len();
                    self.window.consume(all);
                    if !self.window.more() {
                        return false;
                    }
                }
            }
        }
    }

    fn too_large<T>(&self) -> Result<T, Stop> {
        Err(Stop::Broken(Broken {
            offset: self.window.offset(),
            what: format!("a single record is larger than {} MiB and was left out", ELEMENT_MAX >> 20),
            torn: true,
        }))
    }

    /// Position behind the value that begins at `at`.
    fn value_end(&mut self, at: usize) -> Result<usize, Stop> {
        let mut scan = Scan { at, ..Scan::default() };
        loop {
            if let Some(end) = scan.run(self.window.at_hand()) {
                return Ok(end);
            }
            if self.window.at_hand().len() > ELEMENT_MAX {
                return self.too_large();
            }
            if !self.window.more() {
                return self.torn();
            }
        }
    }

    /// An object around elements, or an element itself: that is known when it ends. It begins at the window's front.
    fn object(&mut self, level: u32, elements: &mut dyn Elements) -> Result<(), Stop> {
        let start = self.window.offset();
        let mut at = 1;
        // Whether some of its elements were handed on already, so that it is no element itself.
        let mut entered = false;
        loop {
            let Some(next) = self.skip_space(at) else { return self.torn() };
            match self.byte(next) {
                Some(b'}') if entered => {
                    self.window.consume(next + 1);
                    return Ok(());
                }
                Some(b'}') => {
                    let go_on = elements.element(Place::Anywhere, &self.window.at_hand()[..=next], start);
                    self.window.consume(next + 1);
                    return if go_on { Ok(()) } else { Err(Stop::Enough) };
                }
                Some(b',') => {
                    at = next + 1;
                    continue;
                }
                Some(b'"') => {}
                _ => return self.wrong(next, "a key or `}`"),
            }
            let key_end = self.value_end(next)?;
            let Some(colon) = self.skip_space(key_end) else { return self.torn() };
            if self.byte(colon) != Some(b':') {
                return self.wrong(colon, "`:`");
            }
            let Some(value) = self.skip_space(colon + 1) else { return self.torn() };
            let opens = self.byte(value).unwrap_or_default();
            let inside = way_in(&self.window.at_hand()[next + 1..key_end.max(next + 2) - 1], opens);
            match inside {
                Some(place) if level < LEVELS => {
                    self.window.consume(value);
                    if opens == b'[' {
                        self.list(place, level + 1, elements)?;
                    } else {
                        self.object(level + 1, elements)?;
                    }
                    (entered, at) = (true, 0);
                }
                _ => {
                    at = self.value_end(value)?;
                    if entered {
                        self.window.consume(at);
                        at = 0;
                    }
                }
            }
        }
    }

    /// A list of elements, or of such lists. It begins at the window's front.
    fn list(&mut self, place: Place, level: u32, elements: &mut dyn Elements) -> Result<(), Stop> {
        self.window.consume(1);
        loop {
            let Some(next) = self.skip_space(0) else { return self.torn() };
            match self.drop_front(next) {
                b']' => {
                    self.window.consume(1);
                    return Ok(());
                }
                b',' => self.window.consume(1),
                b'[' if level < LEVELS => self.list(place, level + 1, elements)?,
                b'{' => {
                    let end = self.value_end(0)?;
                    let offset = self.window.offset();
                    let go_on = elements.element(place, &self.window.at_hand()[..end], offset);
                    self.window.consume(end);
                    if !go_on {
                        return Err(Stop::Enough);
                    }
                }
                _ => return self.wrong(0, "an object or `]`"),
            }
        }
    }
}

/// Whether elements lie within the value of this key.
fn way_in(key: &[u8], opens: u8) -> Option<Place> {
    match (key, opens) {
        (b"resourceSpans" | b"resource_spans" | b"batches", b'[') => Some(Place::ResourceSpans),
        (b"data" | b"traces", b'[') => Some(Place::Anywhere),
        (b"result" | b"trace" | b"data", b'{') => Some(Place::Anywhere),
        _ => None,
    }
}

/// Finds the end of a JSON value; can be continued when more bytes have come. It follows brackets and strings only:
/// whoever reads the value checks the rest.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scan {
    at: usize,
    depth: u32,
    in_string: bool,
    in_scalar: bool,
}

impl Scan {
    /// Position behind the value, once it is there.
    pub fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(&byte) = bytes.get(self.at) {
            if self.in_string {
                let at = self.at + memchr::memchr2(b'"', b'\\', &bytes[self.at..])?;
                if bytes[at] == b'\\' {
                    // The escaped byte must be at hand before it is passed over.
                    bytes.get(at + 1)?;
                    self.at = at + 2;
                    continue;
                }
                (self.at, self.in_string) = (at + 1, false);
                if self.depth == 0 {
                    return Some(self.at);
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' if self.depth == 0 => return Some(self.at),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.at += 1;
                        return Some(self.at);
                    }
                }
                b',' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 && self.in_scalar => {
                    return Some(self.at);
                }
                _ if self.depth == 0 => self.in_scalar = true,
                _ => {}
            }
            self.at += 1;
        }
        None
    }
}

/// The keys of an object and the values that they have, in order, until `f` has seen enough.
pub(super) fn keys<'a>(object: &'a [u8], f: &mut dyn FnMut(&'a [u8], &'a [u8]) -> bool) {
    let space = |mut at: usize| {
        while object.get(at).is_some_and(|c| c.is_ascii_whitespace() || *c == b',') {
            at += 1;
        }
        at
    };
    let mut at = space(1);
    while object.get(at) == Some(&b'"') {
        let Some(key_end) = (Scan { at, ..Scan::default() }).run(object) else { return };
        let mut value = space(key_end);
        if object.get(value) != Some(&b':') {
            return;
        }
        value = space(value + 1);
        let Some(end) = (Scan { at: value, ..Scan::default() }).run(object) else { return };
        if end == value || !f(&object[at + 1..key_end - 1], &object[value..end]) {
            return;
        }
        at = space(end);
    }
}

/// The objects of a list.
pub(super) fn objects<'a>(list: &'a [u8], f: &mut dyn FnMut(&'a [u8])) {
    let mut at = 1;
    while let Some(byte) = list.get(at) {
        if *byte != b'{' {
            at += 1;
            continue;
        }
        let Some(end) = (Scan { at, ..Scan::default() }).run(list) else { return };
        f(&list[at..end]);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[derive(Default)]
    struct Seen(Vec<String>);

    impl Elements for Seen {
        fn element(&mut self, place: Place, bytes: &[u8], offset: u64) -> bool {
            let mark = if place == Place::ResourceSpans { "R" } else { "" };
            self.0.push(format!("{mark}{offset}:{}", String::from_utf8_lossy(bytes)));
            true
        }
        fn broken(&mut self, broken: Broken) {
            self.0.push(format!("!{}{} {}", broken.offset, if broken.torn { "T" } else { "" }, broken.what));
        }
    }

    /// Gives one byte at a time, so that every state is left and entered again.
    struct Drip(Vec<u8>, usize);

    impl Read for Drip {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            let Some(byte) = self.0.get(self.1) else { return Ok(0) };
            out[0] = *byte;
            self.1 += 1;
            Ok(1)
        }
    }

    fn seen(text: &str) -> Vec<String> {
        let mut at_once = Seen::default();
        walk(&mut Window::of_bytes(text.as_bytes().to_vec()), &mut at_once);
        let mut dripping = Seen::default();
        walk(&mut Window::new(Box::new(Drip(text.as_bytes().to_vec(), 0))), &mut dripping);
        assert_eq!(at_once.0, dripping.0, "{text}");
        at_once.0
    }

    #[test]
    fn lists_are_entered_and_objects_taken_whole() {
        assert_eq!(
            seen(r#"{"resourceSpans":[{"a":1}, {"b":"}]\""}]}"#),
            ["R18:{\"a\":1}", "R27:{\"b\":\"}]\\\"\"}"]
        );
        assert_eq!(seen(r#"{"result":{"resourceSpans":[{}]}}"#), ["R28:{}"]);
        assert_eq!(seen(r#" {"total":0,"data":[{"x":[1,2]}],"errors":null}"#), ["20:{\"x\":[1,2]}"]);
        assert_eq!(seen(r#"[[{"a":1},{"b":2}],[{"c":3}]]"#), ["2:{\"a\":1}", "10:{\"b\":2}", "20:{\"c\":3}"]);
        assert_eq!(seen(r#"{"traceID":"data","spans":[{}]}"#), [r#"0:{"traceID":"data","spans":[{}]}"#]);
        assert_eq!(seen("\u{feff}[]"), Vec::<String>::new());
        assert_eq!(seen(r#"{"data":null,"errors":[{"code":404}]}"#).len(), 1);
    }

    #[test]
    fn a_broken_line_costs_itself_only() {
        let text = "{\"resourceSpans\":[{\"n\":1}]}\n{\"resourceSpans\":[{\"n\":2}\n{\"resourceSpans\":[{\"n\":3}]}\nrubbish\n{\"resourceSpans\":[{\"n\":4}]}\n{\"resourceSpans\":[{\"n\"";
        let seen = seen(text);
        assert_eq!(seen[0], "R18:{\"n\":1}");
        assert!(seen[1].starts_with("!28 not valid JSON: the line ends inside a record"), "{seen:?}");
        assert_eq!(seen[2], "R72:{\"n\":3}");
        assert!(seen[3].contains("expected an object or a list, found `r`"), "{seen:?}");
        assert_eq!(seen[4], "R108:{\"n\":4}");
        assert!(seen[5].starts_with("!118T the file ends inside a record"), "{seen:?}");
        assert_eq!(seen.len(), 6);
    }

    #[test]
    fn a_first_line_that_was_cut_is_passed_over() {
        let seen = seen("ns\":[]}]}\n{\"resourceSpans\":[{\"n\":1}]}\n");
        assert!(seen[0].starts_with("!0 not valid JSON"), "{seen:?}");
        assert_eq!(seen[1], "R28:{\"n\":1}");
    }

    #[test]
    fn what_comes_before_a_tear_is_kept() {
        let seen = seen(r#"{"data":[{"a":1},{"b":"#);
        assert_eq!(seen[0], "9:{\"a\":1}");
        assert!(seen[1].starts_with("!17T"), "{seen:?}");
    }

    #[test]
    fn keys_come_with_their_values() {
        let mut out = Vec::new();
        keys(br#"{ "a" : 1, "b":[1,{"c":2}] ,"d":"x\"y","e":null}"#, &mut |key, value| {
            out.push((
                String::from_utf8_lossy(key).into_owned(),
                String::from_utf8_lossy(value).into_owned(),
            ));
            true
        });
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(
            out,
            [pair("a", "1"), pair("b", r#"[1,{"c":2}]"#), pair("d", r#""x\"y""#), pair("e", "null")]
        );
    }
}
