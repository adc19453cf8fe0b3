//! The report as `report.json`, schema `hotspan.report/1` (`docs/report.schema.json`, described in `docs/report.md`).
//!
//! Names are whole here, not shortened. Characters that a terminal would act on are written as `\u` escapes, so that the
//! file can be looked at with any pager and still gives back the exact text.

mod capacity;
mod comparison;
mod document;
mod generator;
mod group;
mod messages;
mod saturation;
mod step;
pub mod value;
mod what_if;

use super::Report;
use super::text;
use super::view::View;
use crate::compare::Comparison;
use comparison::CompareDoc;
use document::Document;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use std::io::{self, Write};

/// Name and version of the schema.
pub const SCHEMA: &str = "hotspan.report/1";

/// The report as indented JSON that ends with a line break: the same bytes for the same report.
pub fn json(report: &Report) -> String {
    safe_json(&Document::new(&View::new(report)))
}

/// A comparison as indented JSON, in the same way.
pub fn comparison(comparison: &Comparison) -> String {
    safe_json(&CompareDoc::new(comparison))
}

/// Any document, indented, with hazards as `\u` escapes and a line break at its end.
pub fn safe_json(document: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Safe(PrettyFormatter::new()));
    // Plain structs of numbers and strings into memory: neither serde nor the writer has a way to fail.
    let written = document.serialize(&mut serializer);
    debug_assert!(written.is_ok());
    bytes.push(b'\n');
    String::from_utf8(bytes).unwrap_or_default()
}

/// The document, for another document that holds it.
pub fn document<'a>(view: &'a View<'a>) -> Document<'a> {
    Document::new(view)
}

/// As JSON that can stand in a script element of a page: no character that ends the element or acts on a reader.
pub fn embedded<T: Serialize>(value: &T) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, Embedded(CompactFormatter)));
    debug_assert!(written.is_ok());
    String::from_utf8(bytes).unwrap_or_default()
}

/// Without white space, with hazards and what HTML acts on as escapes.
struct Embedded(CompactFormatter);

impl Formatter for Embedded {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment, |c| matches!(c, '<' | '>' | '&') || text::is_hazard(c))
    }
}

/// Writes a text with some characters as escapes.
fn write_escaped<W: ?Sized + Write>(
    writer: &mut W,
    fragment: &str,
    is_hazard: impl Fn(char) -> bool,
) -> io::Result<()> {
    let mut plain = 0;
    for (at, c) in fragment.char_indices().filter(|(_, c)| is_hazard(*c)) {
        writer.write_all(&fragment.as_bytes()[plain..at])?;
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(writer, "\\u{unit:04x}")?;
        }
        plain = at + c.len_utf8();
    }
    writer.write_all(&fragment.as_bytes()[plain..])
}

/// Indented, with hazards as escapes.
struct Safe(PrettyFormatter<'static>);

impl Formatter for Safe {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        write_escaped(writer, fragment, text::is_hazard)
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}
