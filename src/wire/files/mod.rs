//! Trace files of every kind → OTLP trace messages, whatever they are called: the format is found by what is in them.
//!
//! Read in one pass and bounded memory (one record of the format at a time, for Jaeger one trace). A record that cannot be
//! understood is counted and told with its place, and the rest is read. What a format lacks is not made up: a span without
//! a duration is empty, a span without any time is left out.

mod input;
mod jaeger;
mod json;
mod message;
mod table;
mod text;
mod zipkin;

#[cfg(test)]
mod tests;

use crate::record::{SpanId, TraceId};
use crate::wire::otlp;
use crate::wire::protobuf::{Field, Reader, put_bytes};
use input::{Window, ZSTD};
use json::{Broken, Elements, Place};
use message::Message;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A message is handed on when it has this many bytes.
const MESSAGE: usize = 512 << 10;
/// A single framed message, compressed or not, is no larger than this.
const FRAME_MAX: usize = 1 << 30;
/// Problems that are kept with their place; more are counted.
const PROBLEMS: usize = 8;
/// Bytes that are looked at to find out the format.
const HEAD: usize = 64 << 10;
/// Folders within folders go no deeper.
const FOLDERS: u32 = 8;

/// What a file was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// OTLP in JSON: one message or many, also as Jaeger's v3 API and Tempo wrap them.
    OtlpJson,
    /// One OTLP message in protobuf.
    OtlpProtobuf,
    /// OTLP messages each with a length in front, as the Collector's file exporter writes them.
    Framed,
    /// Jaeger's v1 JSON.
    Jaeger,
    /// Zipkin's v2 JSON.
    Zipkin,
    /// Rows of a table.
    Table,
    /// JSON that holds none of these.
    OtherJson,
}

impl Format {
    /// Its name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Format::OtlpJson => "OTLP JSON",
            Format::OtlpProtobuf => "OTLP protobuf",
            Format::Framed => "Collector file (length-prefixed)",
            Format::Jaeger => "Jaeger JSON",
            Format::Zipkin => "Zipkin JSON",
            Format::Table => "table",
            Format::OtherJson => "JSON",
        }
    }
}

/// Something in a file that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Byte (of the uncompressed content) or line, as words.
    pub place: String,
    /// What.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// What reading one file gave.
#[derive(Clone, Debug, Default)]
pub struct FileReport {
    /// Formats that were met, outermost compression first in `layers`.
    pub formats: BTreeMap<Format, u64>,
    /// Compressions taken off.
    pub layers: Vec<&'static str>,
    /// Spans handed on.
    pub spans: u64,
    /// Spans without valid ids, left out.
    pub invalid: u64,
    /// Records that could not be read.
    pub broken: u64,
    /// Records of metrics or logs, which are passed over.
    pub other_signals: u64,
    /// The first problems, each with its place.
    pub problems: Vec<Problem>,
    /// The end is missing; what was whole before it was kept.
    pub torn: bool,
    /// Parts of split traces that were seen; give them to [`Options::splits`] and read again.
    pub splits: HashMap<TraceId, (TraceId, SpanId)>,
}

impl FileReport {
    fn problem(&mut self, place: String, what: String) {
        self.broken += 1;
        if self.problems.len() < PROBLEMS {
            self.problems.push(Problem { place, what });
        }
    }
}

/// What the reader should know beforehand.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Parts of traces that were split for their size → trace and span that they go on from.
    pub splits: Arc<HashMap<TraceId, (TraceId, SpanId)>>,
}

/// Where messages go: OTLP protobuf and the number of valid spans in it; false to stop.
pub type Sink<'s> = dyn FnMut(&[u8], u64) -> bool + 's;

/// The files that paths mean: files as they are, folders with all that is in them, in the order of their names (rotated
/// files carry their time in it). Hidden files are passed over.
pub fn list(paths: &[PathBuf]) -> io::Result<Vec<PathBuf>> {
    fn add(path: &Path, level: u32, files: &mut Vec<PathBuf>) -> io::Result<()> {
        if !path.is_dir() {
            files.push(path.to_owned());
            return Ok(());
        }
        let mut inside: Vec<PathBuf> =
            std::fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?.into_iter().map(|e| e.path()).collect();
        inside.retain(|p| p.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
        inside.sort();
        for path in inside.iter().filter(|p| level < FOLDERS || !p.is_dir()) {
            add(path, level + 1, files)?;
        }
        Ok(())
    }
    let mut files = Vec::new();
    for path in paths {
        add(path, 0, &mut files)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    }
    Ok(files)
}

/// Reads one file. `None` where its content is of no known format.
pub fn read_file(path: &Path, options: &Options, sink: &mut Sink<'_>) -> io::Result<Option<FileReport>> {
    Ok(read_window(Window::open(path)?, options, sink))
}

/// Reads bytes that came otherwise, an answer of a server for instance.
pub fn read_bytes(bytes: Vec<u8>, options: &Options, sink: &mut Sink<'_>) -> Option<FileReport> {
    read_window(Window::of_bytes(bytes), options, sink)
}

/// What the first bytes tell.
enum Head {
    Json,
    Table(u8, table::Start),
    Framed,
    Protobuf,
    Empty,
    Unknown,
}

fn head(window: &mut Window) -> Head {
    window.look(HEAD);
    let bytes = window.at_hand();
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let first = text.iter().position(|c| !c.is_ascii_whitespace());
    match first.and_then(|at| text.get(at)) {
        None => return Head::Empty,
        // A protobuf message may begin with a byte that is white space in a text: 0x0a.
        Some(b'{' | b'[') if first == Some(0) || !is_message(bytes) => return Head::Json,
        _ => {}
    }
    if let [a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let fits = length > 0 && length <= FRAME_MAX;
        let begins = rest.starts_with(&ZSTD) || rest.first().is_some_and(|c| *c == 0x0a || *c == b'{');
        if fits && begins && *a != 0x0a {
            return Head::Framed;
        }
    }
    if is_message(bytes) {
        return Head::Protobuf;
    }
    let line = text.split(|c| *c == b'\n').next().unwrap_or_default();
    match std::str::from_utf8(line).ok().and_then(table::header) {
        Some((separator, form)) => Head::Table(separator, form),
        None => Head::Unknown,
    }
}

/// Whether bytes begin like a message of which field 1 is a list of messages.
fn is_message(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0x0a)
        && varint(bytes.get(1..).unwrap_or_default()).is_some_and(|(length, used)| {
            length == 0 || matches!(bytes.get(1 + used), Some(0x0a | 0x12 | 0x1a))
        })
}

/// A length and the bytes that it took; `None` while it is not whole or where it is no length of ours.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0usize;
    for (i, byte) in bytes.iter().take(5).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            return Some((value, i + 1));
        }
    }
    None
}

fn read_window(mut window: Window, options: &Options, sink: &mut Sink<'_>) -> Option<FileReport> {
    let head = head(&mut window);
    let report = FileReport { layers: window.layers.clone(), ..FileReport::default() };
    let mut decoder =
        Decoder { message: Message::default(), sink, report, options, stopped: false, last: None };
    match head {
        Head::Unknown => {
            // What could not even be looked at is a problem, not another format.
            window.failure.as_ref()?;
        }
        Head::Empty => {}
        Head::Json => {
            json::walk(&mut window, &mut decoder);
            if decoder.report.formats.is_empty() && decoder.report.broken == 0 {
                decoder.met(Format::OtherJson);
            }
        }
        Head::Table(separator, form) => decoder.table(&mut window, separator, form),
        Head::Framed => decoder.frames(&mut window),
        Head::Protobuf => decoder.protobuf(&mut window),
    }
    decoder.flush();
    let mut report = decoder.report;
    if let Some(reason) = window.failure.filter(|_| !report.torn) {
        report.torn = true;
        report.problem("at its end".into(), format!("the file could not be read on: {reason}"));
    }
    jaeger::settle(&mut report.splits);
    Some(report)
}

/// What an element turned out to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Element {
    ResourceSpans,
    JaegerTrace,
    JaegerSpan,
    ZipkinSpan,
    Row,
    OtherSignal,
    Other,
}

struct Decoder<'s, 'o> {
    message: Message,
    sink: &'s mut Sink<'o>,
    report: FileReport,
    options: &'s Options,
    stopped: bool,
    /// The format met last: most files have one only.
    last: Option<Format>,
}

impl Elements for Decoder<'_, '_> {
    fn element(&mut self, place: Place, bytes: &[u8], offset: u64) -> bool {
        match classify(place, bytes) {
            Element::ResourceSpans => self.resource_spans(bytes, offset),
            Element::JaegerTrace => self.jaeger_trace(bytes, offset),
            Element::JaegerSpan => self.jaeger_span(bytes, offset),
            Element::ZipkinSpan => self.zipkin_span(bytes, offset),
            Element::Row => {
                self.met(Format::Table);
                let put = table::Row::from_json(bytes)
                    .and_then(|row| table::put_row(&row, table::Start::ClickHouse, &mut self.message));
                self.check(put, offset);
            }
            Element::OtherSignal => self.report.other_signals += 1,
            Element::Other => {}
        }
        self.flush_if_full()
    }

    fn broken(&mut self, broken: Broken) {
        self.report.torn |= broken.torn;
        self.report.problem(byte(broken.offset), broken.what);
    }
}

fn byte(offset: u64) -> String {
    format!("byte {offset}")
}

/// What an element is, by its keys.
fn classify(place: Place, bytes: &[u8]) -> Element {
    if place == Place::ResourceSpans {
        return Element::ResourceSpans;
    }
    let (mut found, mut zipkin) = (Element::Other, 0);
    json::keys(bytes, &mut |key, value| {
        found = match (key, value.first()) {
            (b"scopeSpans" | b"instrumentationLibrarySpans", _) => Element::ResourceSpans,
            (b"resourceMetrics" | b"resourceLogs" | b"resourceProfiles", _) => Element::OtherSignal,
            (b"spans", Some(b'[')) => Element::JaegerTrace,
            (b"spanID", _) => Element::JaegerSpan,
            (b"TraceId" | b"SpanId", _) => Element::Row,
            (b"traceId" | b"id", _) => {
                zipkin += 1;
                if zipkin == 2 { Element::ZipkinSpan } else { Element::Other }
            }
            _ => Element::Other,
        };
        found == Element::Other
    });
    found
}

impl Decoder<'_, '_> {
    fn met(&mut self, format: Format) {
        *self.report.formats.entry(format).or_default() += 1;
        self.last = Some(format);
    }

    fn check(&mut self, put: Result<(), String>, offset: u64) {
        if let Err(what) = put {
            self.report.problem(byte(offset), what);
        }
    }

    fn flush_if_full(&mut self) -> bool {
        if self.message.out.len() >= MESSAGE {
            self.flush();
        }
        !self.stopped
    }

    fn flush(&mut self) {
        let bytes = self.message.take();
        if bytes.is_empty() || self.stopped {
            return;
        }
        match otlp::scan(&bytes, &mut |_| {}) {
            Ok(counted) => {
                let valid = counted.spans - counted.invalid;
                self.report.spans += valid;
                self.report.invalid += counted.invalid;
                if valid > 0 && !(self.sink)(&bytes, valid) {
                    self.stopped = true;
                }
            }
            Err(error) => self.report.problem("in what was read".into(), error.to_string()),
        }
    }

    fn resource_spans(&mut self, bytes: &[u8], offset: u64) {
        self.met(Format::OtlpJson);
        self.message.close();
        let before = self.message.out.len();
        if otlp::resource_spans_json(bytes, &mut self.message.out).is_ok() {
            return;
        }
        // One span spoils the whole; so each is read on its own, and only broken ones are left out.
        self.message.out.truncate(before);
        let mut resource: &[u8] = b"{}";
        // Scope and list of spans.
        let mut scopes: Vec<[&[u8]; 2]> = Vec::new();
        json::keys(bytes, &mut |key, value| {
            match key {
                b"resource" => resource = value,
                b"scopeSpans" | b"instrumentationLibrarySpans" => json::objects(value, &mut |scope_spans| {
                    let (mut scope, mut spans): (&[u8], &[u8]) = (b"{}", b"[]");
                    json::keys(scope_spans, &mut |key, value| {
                        match key {
                            b"scope" | b"instrumentationLibrary" => scope = value,
                            b"spans" => spans = value,
                            _ => {}
                        }
                        true
                    });
                    scopes.push([scope, spans]);
                }),
                _ => {}
            }
            true
        });
        for [scope, spans] in scopes {
            json::objects(spans, &mut |span| {
                let parts: [&[u8]; 7] = [
                    b"{\"resource\":",
                    resource,
                    b",\"scopeSpans\":[{\"scope\":",
                    scope,
                    b",\"spans\":[",
                    span,
                    b"]}]}",
                ];
                let before = self.message.out.len();
                if let Err(error) = otlp::resource_spans_json(&parts.concat(), &mut self.message.out) {
                    self.message.out.truncate(before);
                    let within = (span.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize);
                    self.report.problem(byte(offset + within as u64), error.reason);
                }
            });
        }
    }

    fn jaeger_trace(&mut self, bytes: &[u8], offset: u64) {
        self.met(Format::Jaeger);
        let Decoder { message, report, options, .. } = self;
        let mut splits = std::mem::take(&mut report.splits);
        match serde_json::from_slice::<jaeger::Trace>(bytes) {
            Ok(trace) => jaeger::put_trace(&trace, &mut splits, &options.splits, message, &mut |why| {
                report.problem(byte(offset), why.into());
            }),
            Err(_) => match serde_json::from_slice::<jaeger::Frame>(bytes) {
                Err(error) => report.problem(byte(offset), format!("not a Jaeger trace: {error}")),
                Ok(frame) => {
                    let mut spans: Vec<&[u8]> = Vec::new();
                    json::keys(bytes, &mut |key, value| {
                        if key == b"spans" {
                            json::objects(value, &mut |span| spans.push(span));
                        }
                        true
                    });
                    jaeger::put_spans_of(
                        &frame,
                        &spans,
                        &mut splits,
                        &options.splits,
                        message,
                        &mut |index, why| {
                            let within = spans
                                .get(index)
                                .map_or(0, |s| (s.as_ptr() as usize).saturating_sub(bytes.as_ptr() as usize));
                            report.problem(byte(offset + within as u64), format!("not a Jaeger span: {why}"));
                        },
                    );
                }
            },
        }
        report.splits = splits;
    }

    fn jaeger_span(&mut self, bytes: &[u8], offset: u64) {
        self.met(Format::Jaeger);
        let Decoder { message, report, options, .. } = self;
        let put = serde_json::from_slice::<jaeger::JaegerSpan>(bytes)
            .map_err(|error| error.to_string())
            .and_then(|span| {
                jaeger::put_lone_span(&span, &mut report.splits, &options.splits, message)
                    .map_err(str::to_owned)
            });
        self.check(put.map_err(|why| format!("not a Jaeger span: {why}")), offset);
    }

    fn zipkin_span(&mut self, bytes: &[u8], offset: u64) {
        self.met(Format::Zipkin);
        let put = serde_json::from_slice::<zipkin::ZipkinSpan>(bytes)
            .map_err(|error| format!("not a Zipkin span: {error}"))
            .and_then(|span| zipkin::put_span(&span, &mut self.message).map_err(str::to_owned));
        self.check(put, offset);
    }

    fn table(&mut self, window: &mut Window, separator: u8, form: table::Start) {
        self.met(Format::Table);
        table::rows(&mut *window, separator, &mut |line, row| {
            let put = row.and_then(|row| table::put_row(&row, form, &mut self.message));
            if let Err(what) = put {
                self.report.problem(format!("line {line}"), what);
            }
            self.flush_if_full()
        });
    }

    /// Messages with four bytes of length in front, each plain or compressed for itself.
    fn frames(&mut self, window: &mut Window) {
        self.met(Format::Framed);
        while !self.stopped && window.look(1) {
            let offset = window.offset();
            if !window.look(4) {
                return self.tear(offset, window);
            }
            let head = window.at_hand();
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if length > FRAME_MAX {
                let what = format!("a length of {length} bytes makes no sense; what follows cannot be read");
                return self.report.problem(byte(offset), what);
            }
            if !window.look(4 + length) {
                return self.tear(offset, window);
            }
            let frame = &window.at_hand()[4..4 + length];
            let put = if frame.starts_with(&ZSTD) {
                let mut plain = Vec::new();
                zstd::stream::read::Decoder::new(frame)
                    .and_then(|d| d.take(FRAME_MAX as u64).read_to_end(&mut plain))
                    .map_err(|error| format!("the zstd frame is broken: {error}"))
                    .map(|_| plain)
            } else {
                Ok(frame.to_vec())
            };
            window.consume(4 + length);
            match put {
                Ok(message) => self.framed(message, offset),
                Err(what) => self.report.problem(byte(offset), what),
            }
        }
    }

    fn framed(&mut self, message: Vec<u8>, offset: u64) {
        if message.first() == Some(&b'{') {
            // Places within it count from its own start; the frame's is what helps.
            let before = self.report.problems.len();
            json::walk(&mut Window::of_bytes(message), self);
            for problem in &mut self.report.problems[before..] {
                problem.place = format!("{} of the message at byte {offset}", problem.place);
            }
            return;
        }
        self.message.close();
        match otlp::scan(&message, &mut |_| {}) {
            Ok(_) => {
                self.message.out.extend_from_slice(&message);
                self.flush_if_full();
            }
            Err(error) => self.report.problem(byte(offset), format!("no OTLP trace message: {error}")),
        }
    }

    fn tear(&mut self, offset: u64, window: &Window) {
        self.report.torn = true;
        let reason = window.failure.as_ref().map(|r| format!(" ({r})")).unwrap_or_default();
        self.report.problem(byte(offset), format!("the file ends inside a record{reason}"));
    }

    /// One message of any size: its `resource_spans` are read one by one. Tempo's answer by id has one more level.
    fn protobuf(&mut self, window: &mut Window) {
        self.met(Format::OtlpProtobuf);
        while !self.stopped && window.look(1) {
            let offset = window.offset();
            window.look(16);
            let key = window.at_hand().first().copied().unwrap_or_default();
            let Some((length, used)) = varint(window.at_hand().get(1..).unwrap_or_default()) else {
                return self.tear(offset, window);
            };
            if key & 7 != 2 || length > FRAME_MAX {
                return self.report.problem(byte(offset), "not a field of an OTLP trace message".into());
            }
            if !window.look(1 + used + length) {
                return self.tear(offset, window);
            }
            if key == 0x0a {
                let field = &window.at_hand()[1 + used..1 + used + length];
                let mut one = Vec::with_capacity(length + 6);
                if is_wrapped(field) {
                    one.extend_from_slice(field);
                } else {
                    put_bytes(&mut one, 1, field);
                }
                match otlp::scan(&one, &mut |_| {}) {
                    Ok(_) => self.message.out.extend_from_slice(&one),
                    Err(error) => {
                        self.report.problem(byte(offset), format!("no OTLP resource spans: {error}"));
                    }
                }
            }
            window.consume(1 + used + length);
            self.flush_if_full();
        }
    }
}

/// Whether a field holds a whole message of resource spans, rather than being one: all its fields are number 1, and what
/// is in the first has a message as field 2 (which a resource never has).
fn is_wrapped(field: &[u8]) -> bool {
    let mut reader = Reader::new(field);
    let mut inner_has_scopes = false;
    loop {
        match reader.next_field() {
            Ok(None) => return inner_has_scopes,
            Ok(Some((1, Field::Bytes(mut inner)))) => {
                while let Ok(Some((number, value))) = inner.next_field() {
                    inner_has_scopes |= number == 2 && matches!(value, Field::Bytes(_));
                }
            }
            _ => return false,
        }
    }
}
