//! Tables that fit: columns are as wide as their content, one column takes what is left, optional ones give way, and where
//! that is still not enough the wide column gets a line of its own.

use super::screen::{Paint, Row, Screen};
use crate::report::text;

/// A column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    align: Align,
    /// 0 stays; of the others those with the highest number go first, together.
    optional: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
    Hidden,
    /// Left, and takes what is left of the width; its text is elided in the middle.
    Flexible,
}

impl Column {
    /// Text.
    pub const fn left(title: &'static str) -> Column {
        Column { title, align: Align::Left, optional: 0 }
    }

    /// Numbers.
    pub const fn right(title: &'static str) -> Column {
        Column { title, align: Align::Right, optional: 0 }
    }

    /// The one column of long names.
    pub const fn flexible(title: &'static str) -> Column {
        Column { title, align: Align::Flexible, optional: 0 }
    }

    /// Left out always.
    pub const fn hidden() -> Column {
        Column { title: "", align: Align::Hidden, optional: 0 }
    }

    /// May be left out where there is no room; those with the highest number go first, together.
    pub const fn optional(self, order: u8) -> Column {
        Column { optional: order, ..self }
    }
}

enum Line {
    Cells(Vec<Row>),
    Free(Row),
}

/// Columns and what stands in them.
pub struct Table {
    columns: Vec<Column>,
    lines: Vec<Line>,
}

const INDENT: usize = 2;
const GAP: usize = 2;
/// The flexible column gets at least so much, or a line of its own.
const FLEXIBLE_MIN: usize = 24;

impl Table {
    /// An empty table.
    pub fn new(columns: Vec<Column>) -> Table {
        Table { columns, lines: Vec::new() }
    }

    /// Adds a row of cells, one for each column.
    pub fn cells(&mut self, cells: Vec<Row>) {
        self.lines.push(Line::Cells(cells));
    }

    /// Adds a line of its own between rows.
    pub fn free(&mut self, row: Row) {
        self.lines.push(Line::Free(row));
    }

    /// Lays it out.
    pub fn render(self, screen: &mut Screen) {
        let layout = Layout::new(&self, screen);
        let titles: Vec<Row> =
            self.columns.iter().map(|c| Row::of(screen.text(c.title), Paint::Dim)).collect();
        layout.print(&titles, screen, true);
        for line in &self.lines {
            match line {
                Line::Cells(cells) => layout.print(cells, screen, false),
                Line::Free(row) => screen.row(row.clone()),
            }
        }
    }
}

/// Where the columns stand.
struct Layout {
    /// Index, alignment and width of the columns that stay.
    columns: Vec<(usize, Align, usize)>,
    /// The flexible column, when it has a line of its own.
    own_line: Option<usize>,
}

impl Layout {
    fn new(table: &Table, screen: &Screen) -> Layout {
        let natural: Vec<usize> = (0..table.columns.len()).map(|i| table.natural_width(i, screen)).collect();
        let mut kept: Vec<usize> =
            (0..table.columns.len()).filter(|i| table.columns[*i].align != Align::Hidden).collect();
        let flexible = table.columns.iter().position(|c| c.align == Align::Flexible);
        let fixed = |kept: &[usize]| {
            let widths: usize = kept.iter().filter(|i| Some(**i) != flexible).map(|i| natural[*i]).sum();
            widths + INDENT + GAP * kept.len().saturating_sub(1)
        };
        let wanted = flexible.map_or(0, |i| natural[i].min(FLEXIBLE_MIN));
        while fixed(&kept) + wanted > screen.width() {
            let order = kept.iter().map(|i| table.columns[*i].optional).max().unwrap_or(0);
            if order == 0 {
                break;
            }
            kept.retain(|i| table.columns[*i].optional != order);
        }
        let room = screen.width().saturating_sub(fixed(&kept));
        let own_line = flexible.filter(|_| room < wanted);
        let columns = kept
            .into_iter()
            .filter(|i| Some(*i) != own_line)
            .map(|i| {
                let width = if Some(i) == flexible { natural[i].min(room) } else { natural[i] };
                (i, table.columns[i].align, width)
            })
            .collect();
        Layout { columns, own_line }
    }

    fn print(&self, cells: &[Row], screen: &mut Screen, is_title: bool) {
        if let Some(wide) = self.own_line.and_then(|i| cells.get(i)).filter(|_| !is_title) {
            let room = screen.width() - INDENT;
            screen.row(Row::of(" ".repeat(INDENT), Paint::Plain).then(elided(wide, room, screen)));
        }
        let mut row = Row::new();
        let mut column = INDENT + if self.own_line.is_some() { 2 } else { 0 };
        for (i, align, width) in &self.columns {
            let Some(cell) = cells.get(*i) else { continue };
            let cell = elided(cell, *width, screen);
            let start =
                if *align == Align::Right { column + width - cell.width().min(*width) } else { column };
            row = row.pad_to(start).then(cell);
            column += width + GAP;
        }
        screen.row(row);
    }
}

/// The first fragment gives way where a cell is too wide.
fn elided(cell: &Row, room: usize, screen: &Screen) -> Row {
    let over = cell.width().saturating_sub(room);
    let mut cell = cell.clone();
    if let Some((first, _)) = cell.0.first_mut().filter(|_| over > 0) {
        *first = text::elide_middle(first, text::width(first).saturating_sub(over), screen.ellipsis());
    }
    cell
}

impl Table {
    fn natural_width(&self, column: usize, screen: &Screen) -> usize {
        let cells = self.lines.iter().filter_map(|line| match line {
            Line::Cells(cells) => cells.get(column).map(Row::width),
            Line::Free(_) => None,
        });
        cells.max().unwrap_or(0).max(text::width(&screen.text(self.columns[column].title)))
    }
}
