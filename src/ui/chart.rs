//! Curves out of Braille dots: two by four in each cell.

use super::canvas::{Canvas, Ink};

/// Dots of a cell by column and row, as bits of the character.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// A field of cells that curves are drawn into.
pub struct Chart {
    columns: usize,
    lines: usize,
    cells: Vec<(u32, Ink)>,
}

impl Chart {
    /// An empty field.
    pub fn new(columns: usize, lines: usize) -> Chart {
        Chart { columns, lines, cells: vec![(0, Ink::Plain); columns * lines] }
    }

    /// Draws a curve through points in 0..=1 (x to the right, y up); a gap where a point is missing. Later curves are on
    /// top: a cell has one ink.
    pub fn curve(&mut self, points: &[(f64, Option<f64>)], ink: Ink) {
        let mut before: Option<(i64, i64)> = None;
        for (x, y) in points {
            let Some(y) = y else {
                before = None;
                continue;
            };
            let here = (
                (x.clamp(0.0, 1.0) * (self.columns * 2).saturating_sub(1) as f64).round() as i64,
                ((1.0 - y.clamp(0.0, 1.0)) * (self.lines * 4).saturating_sub(1) as f64).round() as i64,
            );
            self.segment(before.unwrap_or(here), here, ink);
            before = Some(here);
        }
    }

    fn segment(&mut self, (x0, y0): (i64, i64), (x1, y1): (i64, i64), ink: Ink) {
        let steps = (x1 - x0).abs().max((y1 - y0).abs()).max(1);
        for step in 0..=steps {
            let along = |a: i64, b: i64| a + ((b - a) as f64 * step as f64 / steps as f64).round() as i64;
            self.dot(along(x0, x1), along(y0, y1), ink);
        }
    }

    fn dot(&mut self, x: i64, y: i64, ink: Ink) {
        let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { return };
        if x < self.columns * 2 && y < self.lines * 4 {
            let cell = &mut self.cells[y / 4 * self.columns + x / 2];
            *cell = (cell.0 | DOTS[x % 2][y % 4], ink);
        }
    }

    /// Puts the field at a place; empty cells leave what is there.
    pub fn put(&self, (x, y): (u16, u16), canvas: &mut Canvas) {
        for (i, (dots, ink)) in self.cells.iter().enumerate().filter(|(_, (dots, _))| *dots != 0) {
            let at = (x + (i % self.columns) as u16, y + (i / self.columns) as u16);
            let c = if canvas.look.unicode { char::from_u32(0x2800 + dots).unwrap_or(' ') } else { '*' };
            canvas.put(at, 1, &c.to_string(), *ink);
        }
    }
}

/// A round number at or above the value: 1, 2 or 5 times a power of ten.
pub fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 5.0, 7.0, 10.0]
        .into_iter()
        .map(|m| m * power)
        .find(|round| *round >= value * 0.999)
        .unwrap_or(10.0 * power)
}
