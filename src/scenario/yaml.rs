//! YAML as typed: a tree of nodes that know where they stand. The only file of this room that knows the YAML library.
//!
//! The scenario is read from this tree by hand and not by derived structs, because a derive loses the place of a value
//! as soon as a key can be a string or a mapping, and places are what the messages are about.

use super::error::{Fault, Place, listed, nearest};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use std::fmt;
use std::ops::Range;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub place: Place,
    /// Bytes of the source that it was read from, quotes included; empty when unknown.
    pub bytes: Range<usize>,
    pub value: Value,
}

/// A YAML value. Mappings keep their order.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub place: Place,
    pub text: String,
}

/// Largest scenario.
const MOST_BYTES: usize = 1 << 20;
/// Deepest nesting of lists and mappings.
const MOST_DEPTH: usize = 64;

const STACK: usize = 32 << 20;

/// Reads YAML text. Duplicate keys, tabs in the indentation and the like are refused by the library.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    if text.len() > MOST_BYTES {
        let size = text.len() / 1024;
        return Err(Fault::new(
            Place::default(),
            format!("the file has {size} KiB: a scenario has at most 1024; put data into files beside it"),
        ));
    }
    // The library reads by recursion: the deepest file that is allowed needs more stack than a thread usually has.
    let read = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK);
        let running =
            reader.spawn_scoped(scope, || serde_saphyr::from_str_with_options::<Node>(text, options()));
        running.ok().and_then(|running| running.join().ok())
    });
    let Some(read) = read else {
        return Err(Fault::new(Place::default(), "the file cannot be read: no thread could be had for it"));
    };
    read.map_err(|error| {
        let place = error.location().map(place_of).unwrap_or_default();
        let error = error.without_snippet();
        if let serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } = error {
            return Fault::new(place, format!("the key `{key}` stands here a second time"));
        }
        let words = without_location(&error.to_string());
        let line = text.lines().nth(place.line.saturating_sub(1)).unwrap_or_default();
        Fault::new(
            place,
            match words.as_str() {
                w if w.contains("Depth {") => {
                    format!("lists and mappings are nested more than {MOST_DEPTH} deep")
                }
                w if w.starts_with("alias replay limit") || w.contains("Aliases {") => {
                    "aliases (`*name`) stand for more than a scenario can hold: write the values out"
                        .to_string()
                }
                w if w.starts_with("multiple YAML documents") => {
                    "a second document begins here (`---`): a file is one scenario".to_string()
                }
                _ if line.contains(": {{") || line.contains("- {{") => {
                    format!("not valid YAML ({words}): a value that begins with `{{{{` is written in quotes")
                }
                _ => format!("not valid YAML: {words}"),
            },
        )
    })
}

/// Reads a document of another kind, which may be larger than a scenario.
pub(super) fn document(text: &str) -> Result<serde_json::Value, String> {
    let read = std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().stack_size(STACK);
        let running = reader.spawn_scoped(scope, || {
            serde_saphyr::from_str_with_options::<serde_json::Value>(text, options()).map_err(|error| {
                format!("it is no YAML: {}", without_location(&error.without_snippet().to_string()))
            })
        });
        running.ok().and_then(|running| running.join().ok())
    });
    read.unwrap_or_else(|| Err("it cannot be read: no thread could be had for it".to_string()))
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        // `user: no` in a request body is the word "no".
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        with_snippet: false,
        // A scenario that a person wrote is far below all of these; what is above would cost memory or stack.
        budget: serde_saphyr::budget! { max_depth: MOST_DEPTH, max_aliases: 100 },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 100_000,
            max_alias_expansions_per_anchor: 100,
        },
    }
}

/// The library appends the place to its words; the message has it in front already.
fn without_location(words: &str) -> String {
    let first = words.lines().next().unwrap_or_default();
    match first.rfind(" at line ") {
        Some(end) => first[..end].trim_end_matches(',').to_string(),
        None => first.to_string(),
    }
}

fn place_of(location: Location) -> Place {
    Place { line: location.line() as usize, column: location.column() as usize }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Node, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let span = spanned.defined.span();
        let bytes = match (span.byte_offset(), span.byte_len()) {
            (Some(start), Some(len)) => start as usize..(start + len) as usize,
            _ => 0..0,
        };
        Ok(Node { place: place_of(spanned.referenced), bytes, value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Key { place: place_of(spanned.referenced), text: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(Value::Int(v))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(i64::try_from(v).map_or(Value::Float(v as f64), Value::Int))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(Value::Float(v))
    }

    fn visit_str<E>(self, v: &str) -> Result<Value, E> {
        Ok(Value::Text(v.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Key>()? {
            entries.push((key, map.next_value::<Node>()?));
        }
        Ok(Value::Map(entries))
    }
}

impl Node {
    /// What it is, for messages: `a list`, `the number 5`, `"text"`.
    pub fn described(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_string(),
            Value::Bool(b) => format!("`{b}`"),
            Value::Int(n) => format!("the number {n}"),
            Value::Float(n) => format!("the number {n}"),
            Value::Text(text) if text.chars().count() > 60 => "a text".to_string(),
            Value::Text(text) => format!("{text:?}"),
            Value::List(items) if items.is_empty() => "an empty list".to_string(),
            Value::List(_) => "a list".to_string(),
            Value::Map(_) => "a mapping".to_string(),
        }
    }

    /// A fault at this node that says what was expected instead.
    pub fn expected(&self, what: &str) -> Fault {
        Fault::new(self.place, format!("expected {what}, found {}", self.described()))
    }

    /// A text that is not empty; a number or truth value counts as its spelling.
    pub fn text(&self, source: &str, what: &str) -> Result<String, Fault> {
        match &self.value {
            Value::Text(text) => Ok(text.clone()),
            // `1.10` is a version, not 1.1: the spelling counts.
            Value::Int(_) | Value::Float(_) | Value::Bool(_) => match source.get(self.bytes.clone()) {
                Some(spelling) if !spelling.is_empty() => Ok(spelling.trim().to_string()),
                _ => Ok(self.described().trim_start_matches("the number ").trim_matches('`').to_string()),
            },
            _ => Err(self.expected(what)),
        }
    }

    /// The items of a list; a single value counts as a list of one.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => std::slice::from_ref(self),
        }
    }

    /// `true` or `false`.
    pub fn flag(&self) -> Result<bool, Fault> {
        match self.value {
            Value::Bool(b) => Ok(b),
            _ => Err(self.expected("true or false")),
        }
    }

    /// A whole number within a range.
    pub fn count(&self, what: &str, range: std::ops::RangeInclusive<i64>) -> Result<u32, Fault> {
        match self.value {
            Value::Int(n) if range.contains(&n) => Ok(u32::try_from(n).unwrap_or(u32::MAX)),
            Value::Int(n) => Err(Fault::new(
                self.place,
                format!("{what} must be from {} to {}, not {n}", range.start(), range.end()),
            )),
            _ => Err(self.expected(&format!("a whole number ({what})"))),
        }
    }
}

/// Takes a mapping apart, key by key, and refuses what nobody asked for.
pub(super) struct Reader<'a> {
    what: &'static str,
    place: Place,
    entries: &'a [(Key, Node)],
    known: &'static [&'static str],
}

/// Words that other tools have for what one of the known keys says.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["duration", "hold", "hold_for"], "for"),
    (&["vus", "concurrency", "threads", "connections", "clients"], "users"),
    (&["rps", "arrivalRate", "arrival_rate", "arrivals", "qps", "requests_per_second"], "rate"),
    (&["stages", "options", "scenarios", "phases"], "load"),
    (&["scenarios", "flows", "flow", "tasks"], "journeys"),
    (&["host", "base_url", "baseUrl", "baseURL"], "target"),
    (&["check", "checks", "assert", "asserts", "assertions", "validate"], "expect"),
    (&["capture", "save", "outputs"], "extract"),
    (&["sleep", "wait", "delay"], "pause"),
    (&["if", "condition", "only_if", "ifTrue"], "when"),
    (&["loop", "times", "count", "for", "foreach", "for_each"], "repeat"),
    (&["on_error", "on_fail", "continue_on_error"], "on_failure"),
    (&["variables"], "vars"),
    (&["feeder", "feeders", "payload", "csv"], "data"),
    (&["before", "beforeScenario"], "setup"),
    (&["after", "afterScenario"], "teardown"),
    (&["scope"], "keep"),
    (&["wait_time", "think_time", "thinkTime"], "think"),
    (&["followRedirects", "follow_redirects", "redirects", "allow_redirects"], "follow"),
    (&["skip_tls_verify", "verify", "insecureSkipTLSVerify"], "insecure"),
    (&["xpath", "selector"], "css"),
    (&["jsonpath", "json_path", "jmespath"], "json"),
    (&["regexp", "match"], "regex"),
];

/// Words of other tools for which there is no key, and what is written.
const WRITTEN: &[(&[&str], &str, &str)] = &[
    (&["url", "method", "path", "request"], "get", "the method is the key: write get: /path or post: /path"),
    (&["query", "params", "qs"], "get", "a query stands in the path: get: /search?q={{ word }}"),
    (
        &["cookies", "cookie"],
        "get",
        "cookies that answers set are sent by themselves; others are headers: {Cookie: a=b}",
    ),
    (
        &["auth", "basic_auth", "bearer"],
        "get",
        "write headers: {Authorization: \"Bearer {{ token }}\"}, or user and password into the target",
    ),
    (
        &["auth", "basic_auth", "bearer"],
        "journeys",
        "write headers: {Authorization: \"Bearer {{ token }}\"}, or user and password into the target",
    ),
    (
        &["tls", "proxy", "keep_alive", "keepalive", "resolve", "connections", "unix", "version"],
        "journeys",
        "it stands under `http`",
    ),
];

/// What a word of another tool is called here, where that is known.
fn elsewhere(word: &str, known: &[&str]) -> Option<String> {
    let called = ELSEWHERE.iter().find(|(words, here)| words.contains(&word) && known.contains(here));
    if let Some((_, here)) = called {
        return Some(format!("it is called `{here}` here"));
    }
    let written = WRITTEN.iter().find(|(words, beside, _)| words.contains(&word) && known.contains(beside));
    written.map(|(_, _, how)| (*how).to_string())
}

/// A value that ends within parentheses, as a comma between braces leaves it.
fn cut_short(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Text(text) if text.matches('(').count() > text.matches(')').count() => Some(text),
        _ => None,
    }
}

impl<'a> Reader<'a> {
    /// `what` names the mapping in messages, e.g. `a load stage`; `known` are all keys that it may have.
    pub fn new(
        node: &'a Node,
        what: &'static str,
        known: &'static [&'static str],
    ) -> Result<Reader<'a>, Fault> {
        let Value::Map(entries) = &node.value else {
            let keys = listed(&known[..known.len().min(4)]);
            return Err(node.expected(&format!("{what}, a mapping with keys such as {keys}")));
        };
        for (at, (key, _)) in entries.iter().enumerate() {
            if known.contains(&key.text.as_str()) {
                continue;
            }
            if let Some(begun) = at.checked_sub(1).and_then(|before| cut_short(&entries[before].1)) {
                let why =
                    format!("a comma ends a value within {{ }}: put what begins with `{begun}` in quotes");
                return Err(Fault::new(key.place, why));
            }
            let hint = match (elsewhere(&key.text, known), nearest(&key.text, known.iter().copied())) {
                (Some(hint), _) => format!("; {hint}"),
                (None, Some(near)) => format!("; did you mean `{near}`?"),
                (None, None) => format!("; known keys are {}", listed(known)),
            };
            return Err(Fault::new(key.place, format!("unknown key `{}` in {what}{hint}", key.text)));
        }
        Ok(Reader { what, place: node.place, entries, known })
    }

    /// Where the mapping begins.
    pub fn place(&self) -> Place {
        self.place
    }

    /// The value of a key, if it is there and not empty.
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        debug_assert!(self.known.contains(&key), "{key} is not a known key of {}", self.what);
        let (_, node) = self.entries.iter().find(|(k, _)| k.text == key)?;
        (!matches!(node.value, Value::Null)).then_some(node)
    }

    /// The value of a key that must be there.
    pub fn need(&self, key: &str, why: &str) -> Result<&'a Node, Fault> {
        self.get(key).ok_or_else(|| Fault::new(self.place, format!("{} needs `{key}`: {why}", self.what)))
    }

    /// All keys, in order.
    pub fn keys(&self) -> impl Iterator<Item = &'a Key> {
        self.entries.iter().map(|(k, _)| k)
    }

    /// The key itself, whether or not it has a value: `post: /x` and an empty `json:` alike.
    pub fn key(&self, key: &str) -> Option<&'a Key> {
        self.entries.iter().map(|(k, _)| k).find(|k| k.text == key)
    }
}

/// The entries of a mapping with free keys.
pub(super) fn entries<'a>(node: &'a Node, what: &str) -> Result<&'a [(Key, Node)], Fault> {
    match &node.value {
        Value::Map(entries) => Ok(entries),
        _ => Err(node.expected(what)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_source_bytes_are_known_in_all_styles() {
        let text = "a: 1\nb:\n  - {c: \"x y\", d: 1.10}\n  - e: 'z'\n";
        let root = read(text).unwrap();
        let top = entries(&root, "").unwrap();
        assert_eq!((top[1].0.place.line, top[1].0.place.column), (2, 1));
        let items = top[1].1.items();
        let first = entries(&items[0], "").unwrap();
        assert_eq!((first[0].1.place.line, first[0].1.place.column), (3, 9));
        assert_eq!(&text[first[0].1.bytes.clone()], "\"x y\"");
        assert_eq!(first[1].1.text(text, "").unwrap(), "1.10");
        let second = entries(&items[1], "").unwrap();
        assert_eq!(&text[second[0].1.bytes.clone()], "'z'");
    }

    #[test]
    fn words_that_look_like_truth_values_stay_words() {
        let root = read("a: no\nb: 007\nc: true\n").unwrap();
        let top = entries(&root, "").unwrap();
        assert!(matches!(&top[0].1.value, Value::Text(t) if t == "no"));
        assert!(matches!(&top[1].1.value, Value::Text(t) if t == "007"));
        assert!(matches!(top[2].1.value, Value::Bool(true)));
    }
}
