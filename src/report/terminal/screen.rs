//! Lines of styled text that fit the width: wrapping, clipping, colours, the ASCII form.

use crate::analysis::result::Category;
use crate::report::Style;
use crate::report::look;
use crate::report::number::NBSP;
use crate::report::prose::{Piece, Prose};
use crate::report::text;

/// How a fragment looks. Without colour all look alike, so nothing may be said by paint alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// As the terminal has it.
    Plain,
    /// Headings and names.
    Bold,
    /// Secondary.
    Dim,
    /// A category's colour.
    Category(Category),
    /// Passed.
    Good,
    /// Doubtful.
    Caution,
    /// Failed.
    Bad,
}

impl Paint {
    /// SGR parameters.
    fn codes(self) -> String {
        match self {
            Paint::Plain => String::new(),
            Paint::Bold => "1".into(),
            Paint::Dim => "2".into(),
            Paint::Good => format!("38;5;{}", look::GOOD),
            Paint::Caution => format!("38;5;{}", look::CAUTION),
            Paint::Bad => format!("1;38;5;{}", look::BAD),
            Paint::Category(category) => format!("38;5;{}", look::color(category)),
        }
    }
}

/// A line, or a cell of one: fragments of text with their looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row(pub Vec<(String, Paint)>);

impl Row {
    /// Nothing yet.
    pub fn new() -> Row {
        Row::default()
    }

    /// One fragment.
    pub fn of(text: impl Into<String>, paint: Paint) -> Row {
        Row::new().push(text, paint)
    }

    /// Adds a fragment.
    pub fn push(mut self, text: impl Into<String>, paint: Paint) -> Row {
        self.0.push((text.into(), paint));
        self
    }

    /// Adds all of another.
    pub fn then(mut self, other: Row) -> Row {
        self.0.extend(other.0);
        self
    }

    /// Adds spaces up to a column.
    pub fn pad_to(self, column: usize) -> Row {
        let gap = column.saturating_sub(self.width());
        self.push(" ".repeat(gap), Paint::Plain)
    }

    /// Columns that it takes.
    pub fn width(&self) -> usize {
        self.0.iter().map(|(text, _)| text::width(text)).sum()
    }
}

/// The document so far.
pub struct Screen {
    style: Style,
    out: String,
    /// Whether a line had to be clipped: then a layout was wrong.
    #[cfg(test)]
    clipped: bool,
}

/// Widths outside of this range read badly, or cannot hold the tables.
const WIDTHS: std::ops::RangeInclusive<usize> = 60..=140;

impl Screen {
    /// An empty document.
    pub fn new(style: Style) -> Screen {
        let width = style.width.clamp(*WIDTHS.start(), *WIDTHS.end());
        Screen {
            style: Style { width, ..style },
            out: String::new(),
            #[cfg(test)]
            clipped: false,
        }
    }

    /// Columns of a line.
    pub fn width(&self) -> usize {
        self.style.width
    }

    /// Whether more than ASCII may be shown.
    pub fn unicode(&self) -> bool {
        self.style.unicode
    }

    /// Whether colours may be shown.
    pub fn color(&self) -> bool {
        self.style.color
    }

    /// What stands for left-out text.
    pub fn ellipsis(&self) -> &'static str {
        if self.style.unicode { "…" } else { "..." }
    }

    /// Text as this terminal can show it. Must come before measuring: the ASCII form is wider.
    pub fn text(&self, text: &str) -> String {
        if self.style.unicode { text.to_owned() } else { text::ascii(text) }
    }

    /// Foreign text, cleaned, as this terminal can show it, in at most so many columns.
    pub fn foreign(&self, name: &str, columns: usize) -> String {
        text::elide_middle(&self.text(&text::clean(name)), columns, self.ellipsis())
    }

    /// An empty line; never two, and none at the start.
    pub fn blank(&mut self) {
        if !self.out.is_empty() && !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// A section's title with a remark.
    pub fn heading(&mut self, title: &str, aside: &Prose) {
        self.blank();
        let title = self.text(title);
        let indent = text::width(&title) + 2;
        let row = Row::of(title, Paint::Bold);
        if aside.0.is_empty() {
            self.row(row);
        } else if indent + 24 > self.width() {
            self.row(row);
            self.prose(Row::of("  ", Paint::Plain), aside, Paint::Dim);
        } else {
            self.prose(row.pad_to(indent), aside, Paint::Dim);
        }
    }

    /// One line, clipped to the width, without trailing space.
    pub fn row(&mut self, row: Row) {
        let mut room = self.width();
        let mut line = String::new();
        let mut fragments: Vec<(String, Paint)> = Vec::new();
        for (text, paint) in row.0 {
            let text: String = self.text(&text).replace(NBSP, " ");
            #[cfg(test)]
            {
                self.clipped |= text::width(text.trim_end()) > room;
            }
            let fits: String = text
                .chars()
                .take_while(|c| {
                    let columns = text::char_width(*c);
                    let fits = columns <= room;
                    room = if fits { room - columns } else { 0 };
                    fits
                })
                .collect();
            match fragments.last_mut() {
                Some((last, same)) if *same == paint => last.push_str(&fits),
                _ => fragments.push((fits, paint)),
            }
        }
        while let Some((text, _)) = fragments.last_mut() {
            text.truncate(text.trim_end_matches(' ').len());
            if !text.is_empty() {
                break;
            }
            fragments.pop();
        }
        for (text, paint) in fragments {
            self.paint(&text, paint, &mut line);
        }
        self.out.push_str(&line);
        self.out.push('\n');
    }

    fn paint(&self, text: &str, paint: Paint, line: &mut String) {
        let codes = paint.codes();
        if self.style.color && !codes.is_empty() && !text.trim().is_empty() {
            line.push_str(&format!("\u{1b}[{codes}m{text}\u{1b}[0m"));
        } else {
            line.push_str(text);
        }
    }

    /// A sentence behind `prefix`, wrapped; following lines are indented to the prefix's width.
    pub fn prose(&mut self, prefix: Row, prose: &Prose, paint: Paint) {
        let indent = prefix.width();
        let room = self.width().saturating_sub(indent).max(20);
        let mut line = prefix;
        let mut used = 0;
        let mut lines = Vec::new();
        for word in self.words(prose, paint, room) {
            let columns = word.width();
            if used > 0 && used + 1 + columns > room {
                lines.push(std::mem::replace(&mut line, Row::new().pad_to(indent)));
                used = 0;
            }
            if used > 0 {
                line = line.push(" ", Paint::Plain);
                used += 1;
            }
            line = line.then(word);
            used += columns;
        }
        lines.push(line);
        for line in lines {
            self.row(line);
        }
    }

    /// Words of at most `room` columns; longer ones are cut in pieces.
    fn words(&self, prose: &Prose, paint: Paint, room: usize) -> Vec<Row> {
        let mut words: Vec<Row> = Vec::new();
        let mut word = Row::new();
        let mut end = |word: &mut Row| {
            if !word.0.is_empty() {
                words.push(std::mem::take(word));
            }
        };
        for piece in &prose.0 {
            let (text, paint) = match piece {
                Piece::Own(text) => (text, paint),
                Piece::Name(text) if paint == Paint::Plain => (text, Paint::Bold),
                Piece::Name(text) | Piece::Said(text) => (text, paint),
            };
            for c in self.text(text).chars() {
                if c == ' ' {
                    end(&mut word);
                    continue;
                }
                if word.width() + text::char_width(c) > room {
                    end(&mut word);
                }
                match word.0.last_mut() {
                    Some((last, same)) if *same == paint => last.push(c),
                    _ => word = std::mem::take(&mut word).push(c, paint),
                }
            }
        }
        end(&mut word);
        words
    }

    /// Whether any line had to be clipped.
    #[cfg(test)]
    pub fn clipped(&self) -> bool {
        self.clipped
    }

    /// The document.
    pub fn finish(self) -> String {
        self.out
    }
}
