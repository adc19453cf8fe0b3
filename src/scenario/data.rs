//! Data rows from CSV, JSON and JSON Lines.
//!
//! A small file is kept as values. A large one stays on the disk: only where every so many rows begin is kept, so that
//! memory does not grow with the file, and a row is read when it is asked for.

use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::sync::Arc;

/// Files up to this size are kept in memory.
pub(super) const SMALL: u64 = 4 << 20;
/// Most places that are kept of a large file: half a megabyte.
const MOST_PLACES: usize = 1 << 16;
/// A row larger than this is no data row.
const MOST_BLOCK: u64 = 64 << 20;

/// Rows with named columns.
#[derive(Debug)]
pub struct Table {
    /// Column names: from the first line, or the members of the first object.
    pub columns: Arc<[String]>,
    rows: Rows,
}

#[derive(Debug)]
enum Rows {
    Kept(Vec<Value>),
    OnDisk(Indexed),
}

/// A large file.
#[derive(Debug)]
struct Indexed {
    file: File,
    format: Format,
    length: usize,
    /// Where every `stride`-th row begins; then the file's end.
    places: Vec<u64>,
    stride: usize,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A header line, then a row per record.
    Csv,
    /// A list of objects.
    Json,
    /// An object per line.
    JsonLines,
}

impl Format {
    /// By the end of a file's name; CSV where it says nothing else.
    pub fn of(name: &str) -> Format {
        match name.rsplit('.').next().map(str::to_ascii_lowercase).as_deref() {
            Some("json") => Format::Json,
            Some("jsonl" | "ndjson") => Format::JsonLines,
            _ => Format::Csv,
        }
    }
}

impl Table {
    /// Number of rows; at least one.
    pub fn len(&self) -> usize {
        match &self.rows {
            Rows::Kept(values) => values.len() / self.columns.len(),
            Rows::OnDisk(indexed) => indexed.length,
        }
    }

    /// Never true: an empty table is refused when it is read.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A row's values by column, if they are in memory; rows beyond the last start again at the first.
    pub fn kept(&self, row: usize) -> Option<&[Value]> {
        match &self.rows {
            Rows::Kept(values) => {
                let width = self.columns.len();
                let start = (row % self.len()) * width;
                values.get(start..start + width)
            }
            Rows::OnDisk(_) => None,
        }
    }

    /// A row's values by column, from wherever they are.
    ///
    /// # Errors
    /// When the file cannot be read any more, or was changed.
    pub fn read(&self, row: usize) -> io::Result<Vec<Value>> {
        match (&self.rows, self.kept(row)) {
            (_, Some(values)) => Ok(values.to_vec()),
            (Rows::OnDisk(indexed), None) => indexed.read(row % indexed.length.max(1), &self.columns),
            (Rows::Kept(_), None) => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Reads a small file's text.
    pub(super) fn parse(text: &str, format: Format) -> Result<Table, String> {
        let mut columns: Arc<[String]> = Arc::new([]);
        let mut values = Vec::new();
        let text = text.trim_start_matches('\u{feff}');
        walk(text.as_bytes(), format, &mut columns, |_, row| {
            values.extend(row);
            true
        })?;
        if values.is_empty() {
            return Err(empty(format, columns.is_empty()));
        }
        Ok(Table { columns, rows: Rows::Kept(values) })
    }

    /// Makes an index of a large file: reads it once from start to end, in constant memory.
    pub(super) fn index(file: File, format: Format) -> Result<Table, String> {
        let length = file.metadata().map_err(|e| e.to_string())?.len();
        let mut columns: Arc<[String]> = Arc::new([]);
        let (mut places, mut stride, mut count) = (Vec::new(), 1usize, 0usize);
        let reader = BufReader::with_capacity(1 << 18, &file);
        walk(reader, format, &mut columns, |at, _| {
            if count.is_multiple_of(stride) {
                places.push(at);
                if places.len() > MOST_PLACES {
                    // Every other place is enough: the stride doubles as the file turns out to be longer.
                    let mut keep = false;
                    places.retain(|_| {
                        keep = !keep;
                        keep
                    });
                    stride *= 2;
                }
            }
            count += 1;
            true
        })?;
        if count == 0 {
            return Err(empty(format, columns.is_empty()));
        }
        places.push(length);
        Ok(Table { columns, rows: Rows::OnDisk(Indexed { file, format, length: count, places, stride }) })
    }
}

fn empty(format: Format, no_columns: bool) -> String {
    match (format, no_columns) {
        (Format::Csv, true) => "it is empty: the first line names the columns, each further line is a row",
        (Format::Csv, false) => "it has column names but no rows",
        (Format::Json, _) => "it is no list of objects with at least one",
        (Format::JsonLines, _) => "it is empty: each line is an object",
    }
    .to_string()
}

impl Indexed {
    fn read(&self, row: usize, columns: &Arc<[String]>) -> io::Result<Vec<Value>> {
        let block = row / self.stride;
        let (Some(start), Some(end)) = (self.places.get(block), self.places.get(block + 1)) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let length = end.saturating_sub(*start).min(MOST_BLOCK) as usize;
        let mut bytes = vec![0; length];
        read_at(&self.file, &mut bytes, *start)?;
        let mut left = row % self.stride;
        let mut found = None;
        let mut columns = Arc::clone(columns);
        let walked = walk(bytes.as_slice(), self.format, &mut columns, |_, values| {
            if left == 0 {
                found = Some(values);
                return false;
            }
            left -= 1;
            true
        });
        match (found, walked) {
            (Some(values), _) => Ok(values),
            (None, Err(why)) => Err(io::Error::new(io::ErrorKind::InvalidData, why)),
            (None, Ok(())) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
    }
    #[cfg(not(unix))]
    {
        use std::io::{Seek as _, SeekFrom};
        // Another thread may move the place between: then the row is broken and its request says so.
        let mut file = file.try_clone()?;
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(bytes)
    }
}

/// Goes through rows, with the place where each begins, until `each` says to stop. Columns that are not known yet are
/// taken from the beginning of the file.
fn walk(
    reader: impl BufRead,
    format: Format,
    columns: &mut Arc<[String]>,
    mut each: impl FnMut(u64, Vec<Value>) -> bool,
) -> Result<(), String> {
    match format {
        Format::Csv => walk_csv(reader, columns, each),
        Format::JsonLines => {
            let mut reader = reader;
            let (mut at, mut line, mut number) = (0u64, Vec::new(), 0u64);
            loop {
                line.clear();
                let read = reader
                    .by_ref()
                    .take(MOST_BLOCK)
                    .read_until(b'\n', &mut line)
                    .map_err(|e| e.to_string())?;
                if read == 0 {
                    return Ok(());
                }
                number += 1;
                if !line.trim_ascii().is_empty() {
                    let row = object_row(&line, columns).map_err(|why| format!("line {number}: {why}"))?;
                    if !each(at, row) {
                        return Ok(());
                    }
                }
                at += read as u64;
            }
        }
        Format::Json => walk_json(reader, columns, each),
    }
}

fn walk_csv(
    reader: impl BufRead,
    columns: &mut Arc<[String]>,
    mut each: impl FnMut(u64, Vec<Value>) -> bool,
) -> Result<(), String> {
    let has_headers = columns.is_empty();
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::Headers).has_headers(has_headers).from_reader(reader);
    if has_headers {
        let header = reader.headers().map_err(|e| e.to_string())?;
        *columns = header.iter().map(|c| c.trim_start_matches('\u{feff}').to_string()).collect();
        if let Some(index) = columns.iter().position(String::is_empty) {
            return Err(format!("column {} has no name in the first line", index + 1));
        }
    }
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| e.to_string())? {
        let at = record.position().map_or(0, csv::Position::byte);
        if !each(at, record.iter().map(Value::from).collect()) {
            break;
        }
    }
    Ok(())
}

/// The elements of a list, or what is left of it from the beginning of an element on.
fn walk_json(
    reader: impl BufRead,
    columns: &mut Arc<[String]>,
    mut each: impl FnMut(u64, Vec<Value>) -> bool,
) -> Result<(), String> {
    let (mut depth, mut in_text, mut escaped) = (0usize, false, false);
    let (mut element, mut start) = (Vec::new(), 0u64);
    for (at, byte) in reader.bytes().enumerate() {
        let byte = byte.map_err(|e| e.to_string())?;
        if depth > 0 {
            element.push(byte);
            if element.len() as u64 > MOST_BLOCK {
                return Err("it has an element of more than 64 MiB".to_string());
            }
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_text => escaped = true,
            b'"' => in_text = !in_text,
            _ if in_text => {}
            b'{' => {
                if depth == 0 {
                    (start, element) = (at as u64, vec![byte]);
                }
                depth += 1;
            }
            b'[' if depth > 0 => depth += 1,
            b'}' | b']' if depth > 0 => {
                depth -= 1;
                if depth == 0 {
                    let row =
                        object_row(&element, columns).map_err(|why| format!("at byte {start}: {why}"))?;
                    if !each(start, row) {
                        return Ok(());
                    }
                }
            }
            b'[' | b']' | b',' => {}
            other if other.is_ascii_whitespace() || depth > 0 => {}
            _ => return Err(format!("at byte {at}: it is no list of objects")),
        }
    }
    if depth > 0 { Err(format!("the object at byte {start} has no end")) } else { Ok(()) }
}

fn object_row(text: &[u8], columns: &mut Arc<[String]>) -> Result<Vec<Value>, String> {
    let mut members: serde_json::Map<String, Value> =
        serde_json::from_slice(text).map_err(|e| format!("it is no JSON object ({e})"))?;
    if columns.is_empty() {
        *columns = members.keys().cloned().collect();
        if columns.is_empty() {
            return Err("the first object has no members: they name the columns".to_string());
        }
    }
    Ok(columns.iter().map(|name| members.remove(name).unwrap_or_default()).collect())
}

/// Where a row goes when all rows are put in an order that looks random: a permutation of `0..length` that needs no
/// memory. A Feistel network over the next power of four, walked until it is back in range (Black and Rogaway 2002).
pub fn shuffled(index: usize, length: usize, key: u64) -> usize {
    let bits = usize::BITS - length.saturating_sub(1).leading_zeros();
    let half = bits.div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    let mut at = index as u64;
    // The walk returns after at most four steps on average, and always within the domain's size.
    loop {
        let (mut left, mut right) = (at >> half & mask, at & mask);
        for round in 0..4u64 {
            let mixed =
                (right ^ key.rotate_left(17 * round as u32) ^ round).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (left, right) = (right, left ^ (mixed ^ mixed >> 32) & mask);
        }
        at = left << half | right;
        if (at as usize) < length {
            return at as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn rows(table: &Table) -> Vec<Vec<Value>> {
        (0..table.len()).map(|n| table.read(n).unwrap()).collect()
    }

    fn on_disk(text: &str, format: Format) -> Result<Table, String> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        Table::index(file, format)
    }

    #[test]
    fn rows_and_columns() {
        let table = Table::parse("\u{feff}user, password\nann,\"a,b\"\nbob,2\n", Format::Csv).unwrap();
        assert_eq!(&*table.columns, ["user", "password"]);
        let row = |n| table.kept(n).unwrap();
        assert_eq!((table.len(), &row(0)[1], &row(3)[0]), (2, &"a,b".into(), &"bob".into()));
    }

    #[test]
    fn a_file_on_disk_has_the_same_rows() {
        let mut csv = "user,note\n".to_string();
        let (mut json, mut lines) = ("[\n".to_string(), String::new());
        for n in 0..1_000 {
            csv.push_str(&format!("u{n},\"a \"\"quoted\"\"\nline, {n}\"\n"));
            let object = format!(r#"{{"user": "u{n}", "deep": {{"x": ["]", "}}", {n}]}}}}"#);
            json.push_str(&format!("{}{object}", if n > 0 { ", " } else { "" }));
            lines.push_str(&format!("{object}\n\n"));
        }
        json.push(']');
        for (text, format) in [(csv, Format::Csv), (json, Format::Json), (lines, Format::JsonLines)] {
            let (kept, indexed) = (Table::parse(&text, format).unwrap(), on_disk(&text, format).unwrap());
            assert_eq!((kept.len(), &kept.columns), (1_000, &indexed.columns));
            assert_eq!(rows(&kept), rows(&indexed), "{format:?}");
            let user = kept.columns.iter().position(|c| c == "user").unwrap();
            assert_eq!(kept.read(999).unwrap()[user], "u999");
        }
    }

    #[test]
    fn the_index_of_a_large_file_stays_small() {
        let mut file = tempfile::tempfile().unwrap();
        let mut out = std::io::BufWriter::new(&mut file);
        writeln!(out, "n,text").unwrap();
        for n in 0..400_000 {
            writeln!(out, "{n},{}", "x".repeat(20)).unwrap();
        }
        out.flush().unwrap();
        drop(out);
        std::io::Seek::rewind(&mut file).unwrap();
        let table = Table::index(file, Format::Csv).unwrap();
        let Rows::OnDisk(indexed) = &table.rows else { panic!("it is in memory") };
        assert!(indexed.places.len() <= MOST_PLACES + 1 && indexed.stride == 8, "{}", indexed.stride);
        for n in [0, 1, 7, 8, 123_457, 399_999] {
            assert_eq!(table.read(n).unwrap()[0], n.to_string());
        }
        assert_eq!(table.read(400_000).unwrap()[0], "0", "after the last comes the first");
    }

    #[test]
    fn broken_tables_are_refused() {
        let said = |text: &str, format| {
            let said = Table::parse(text, format).unwrap_err();
            assert_eq!(on_disk(text, format).map(|_| ()).unwrap_err(), said);
            said
        };
        assert!(said("", Format::Csv).contains("empty"));
        assert!(said("user\n", Format::Csv).contains("no rows"));
        assert!(said("user,\nann,1\n", Format::Csv).contains("column 2 has no name"));
        assert!(said("user,password\nann\n", Format::Csv).contains("line: 2"));
        assert!(said("[]", Format::Json).contains("no list of objects"));
        assert!(said("[1, 2]", Format::Json).contains("at byte 1: it is no list of objects"));
        assert!(said("[{\"a\": 1}, {\"a\": ", Format::Json).contains("has no end"));
        assert!(said("{\"a\": 1}\n[1]\n", Format::JsonLines).contains("line 2: it is no JSON object"));
    }

    #[test]
    fn shuffling_is_a_permutation_that_depends_on_its_key() {
        for length in [1, 2, 3, 10, 1_000, 4_097] {
            let mut all: Vec<usize> = (0..length).map(|n| shuffled(n, length, 7)).collect();
            assert!(length < 10 || all != (0..length).collect::<Vec<_>>());
            assert!(length < 10 || all != (0..length).map(|n| shuffled(n, length, 8)).collect::<Vec<_>>());
            all.sort_unstable();
            assert_eq!(all, (0..length).collect::<Vec<_>>());
        }
    }
}
