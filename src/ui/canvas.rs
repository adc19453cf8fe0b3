//! Text and bars put into cells. Foreign text passes through [`Canvas::foreign`] before it is put anywhere: it comes out
//! as characters whose columns every terminal agrees on.

use crate::report::look::{self, Category};
use ratatui::buffer::Buffer;
use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Colours. Nothing is said by colour alone.
    pub color: bool,
    /// Characters beyond ASCII.
    pub unicode: bool,
}

/// How a text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// As the terminal has it.
    Plain,
    /// Headings and what matters most.
    Bold,
    /// Secondary.
    Dim,
    /// A category's colour.
    Of(Category),
    /// Good, doubtful, bad.
    Good,
    /// Doubtful.
    Caution,
    /// Bad.
    Bad,
    /// The chosen row.
    Chosen,
    /// p50, p95 and p99: one hue, the higher the brighter, each to be seen on black and on white.
    Percentile(usize),
}

/// One hue, so that curves are not taken for categories.
const PERCENTILES: [u8; 3] = [24, 31, 38];

/// A frame that is being drawn.
pub struct Canvas<'a> {
    buffer: &'a mut Buffer,
    /// What the terminal can show.
    pub look: Look,
}

impl<'a> Canvas<'a> {
    /// Draws into a buffer.
    pub fn new(buffer: &'a mut Buffer, look: Look) -> Canvas<'a> {
        buffer.reset();
        Canvas { buffer, look }
    }

    /// Columns and lines.
    pub fn size(&self) -> (u16, u16) {
        (self.buffer.area.width, self.buffer.area.height)
    }

    fn style(&self, ink: Ink) -> Style {
        let (color, modifier) = match ink {
            Ink::Plain => (None, Modifier::empty()),
            Ink::Bold | Ink::Chosen => (None, Modifier::BOLD),
            Ink::Dim => (None, Modifier::DIM),
            Ink::Of(category) => (Some(look::color(category)), Modifier::empty()),
            Ink::Good => (Some(look::GOOD), Modifier::empty()),
            Ink::Caution => (Some(look::CAUTION), Modifier::empty()),
            Ink::Bad => (Some(look::BAD), Modifier::BOLD),
            Ink::Percentile(n) => (Some(PERCENTILES[n.min(2)]), Modifier::empty()),
        };
        let style = Style::new().add_modifier(modifier);
        match color.filter(|_| self.look.color) {
            Some(color) => style.fg(Color::Indexed(color)),
            None => style,
        }
    }

    /// Foreign text, harmless, in at most so many columns.
    pub fn foreign(&self, text: &str, columns: usize) -> String {
        let safe: String = look::clean(text).chars().map(|c| settled(c, self.look.unicode)).collect();
        look::elide_middle(&safe, columns, if self.look.unicode { "…" } else { "..." })
    }

    /// Puts our own, or harmless, text at a place, in at most so many columns; gives the columns that it took.
    pub fn put(&mut self, (x, y): (u16, u16), columns: usize, text: &str, ink: Ink) -> usize {
        let style = self.style(ink);
        let (width, height) = self.size();
        if y >= height || x >= width {
            return 0;
        }
        let text = text.replace('\u{a0}', " ");
        let text = if self.look.unicode { text } else { plain(&text) };
        let room = columns.min(usize::from(width - x));
        let mut used = 0;
        for c in text.chars() {
            let columns = look::char_width(c);
            if columns == 0 {
                self.mark_on(x, used, y, c);
                continue;
            }
            if used + columns > room {
                break;
            }
            let at = (x + used as u16, y);
            self.cell(at, c, style);
            if columns == 2 {
                // The second half of a wide character is the first one's.
                if let Some(cell) = self.buffer.cell_mut((at.0 + 1, y)) {
                    cell.reset();
                    cell.set_style(style);
                }
            }
            used += columns;
        }
        used
    }

    /// A combining mark sits on the character before it.
    fn mark_on(&mut self, x: u16, used: usize, y: u16, mark: char) {
        let back = (1..=2).filter(|back| used >= *back).map(|back| x + (used - back) as u16);
        for at in back {
            if let Some(cell) = self.buffer.cell_mut((at, y)).filter(|cell| cell.symbol() != " ") {
                let symbol = format!("{}{mark}", cell.symbol());
                cell.set_symbol(&symbol);
                return;
            }
        }
    }

    fn cell(&mut self, at: (u16, u16), c: char, style: Style) {
        if let Some(cell) = self.buffer.cell_mut(at) {
            cell.reset();
            cell.set_char(c).set_style(style);
        }
    }

    /// Several texts, one after the other, in at most so many columns.
    pub fn line(&mut self, (x, y): (u16, u16), columns: usize, parts: &[(String, Ink)]) -> usize {
        let mut used = 0;
        for (text, ink) in parts {
            used += self.put((x + used as u16, y), columns - used.min(columns), text, *ink);
        }
        used
    }

    /// The same, ending before `right`.
    pub fn line_to(&mut self, (right, y): (u16, u16), columns: usize, parts: &[(String, Ink)]) -> usize {
        let width = parts.iter().map(|(text, _)| self.width(text)).sum::<usize>().min(columns);
        self.line((right.saturating_sub(width as u16), y), width, parts)
    }

    /// A text that ends before `right`.
    pub fn right(&mut self, (right, y): (u16, u16), columns: usize, text: &str, ink: Ink) -> usize {
        self.line_to((right, y), columns, &[(text.to_owned(), ink)])
    }

    /// Columns that a text takes here.
    pub fn width(&self, text: &str) -> usize {
        if self.look.unicode { look::width(text) } else { look::width(&plain(text)) }
    }

    /// The character where there is more than ASCII, else the other.
    pub fn either(&self, unicode: char, ascii: char) -> char {
        if self.look.unicode { unicode } else { ascii }
    }

    /// What a category's cells look like.
    pub fn mark(&self, category: Category) -> char {
        match (self.look.unicode, self.look.color) {
            // Not the whole height: rows of bars stay apart.
            (true, true) => '▇',
            (true, false) => look::pattern(category),
            (false, _) => look::letter(category),
        }
    }

    /// A stacked bar.
    pub fn stacked(&mut self, (x, y): (u16, u16), parts: &[(Category, f64)], cells: usize) {
        let sizes = look::divide(&parts.iter().map(|(_, value)| *value).collect::<Vec<_>>(), cells);
        let mut at = x;
        for ((category, _), size) in parts.iter().zip(sizes) {
            let text = self.mark(*category).to_string().repeat(size);
            at += self.put((at, y), size, &text, Ink::Of(*category)) as u16;
        }
    }

    /// Values as small columns, the last at the right end; `top` fills the cell.
    pub fn spark(&mut self, (x, y): (u16, u16), cells: usize, values: &[f64], top: f64, ink: Ink) {
        const EIGHTHS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        const PLAIN: [char; 8] = ['_', '_', '.', '.', ':', ':', '|', '|'];
        let shown = &values[values.len().saturating_sub(cells)..];
        for (i, value) in shown.iter().enumerate() {
            let level = if top > 0.0 { (value / top * 8.0).ceil().clamp(0.0, 8.0) as usize } else { 0 };
            let set = if self.look.unicode { &EIGHTHS } else { &PLAIN };
            let c = if level == 0 { ' ' } else { set[level - 1] };
            self.put((x + i as u16, y), 1, &c.to_string(), ink);
        }
    }

    /// Empties a rectangle.
    pub fn clear(&mut self, (x, y): (u16, u16), (columns, lines): (u16, u16)) {
        let style = Style::new();
        for row in y..y.saturating_add(lines) {
            for column in x..x.saturating_add(columns) {
                self.cell((column, row), ' ', style);
            }
        }
    }
}

/// Our own text in ASCII.
fn plain(text: &str) -> String {
    look::ascii(&text.replace('µ', "u").replace("↑↓", "arrows"))
}

/// A character whose columns every terminal agrees on: those that join or recolour what stands before them, flags, and
/// what private fonts draw, are replaced.
fn settled(c: char, unicode: bool) -> char {
    match u32::from(c) {
        _ if c.is_ascii() => c,
        _ if !unicode => '?',
        0x1f1e6..=0x1f1ff | 0x1f3fb..=0x1f3ff | 0xe000..=0xf8ff | 0xf0000.. => '·',
        _ => c,
    }
}
