//! Bars out of character cells. Each category has one colour and, without colour, one pattern or letter everywhere.

use super::screen::{Paint, Row, Screen};
use crate::analysis::result::Category;
use crate::report::look;

/// A bar of `cells` cells, divided in proportion by largest remainder, so that the cells add up.
pub fn stacked(parts: &[(Category, f64)], cells: usize, screen: &Screen) -> Row {
    let sizes = look::divide(&parts.iter().map(|(_, value)| *value).collect::<Vec<_>>(), cells);
    parts.iter().zip(sizes).filter(|(_, size)| *size > 0).fold(Row::new(), |row, ((category, _), size)| {
        row.push(mark(*category, screen).to_string().repeat(size), Paint::Category(*category))
    })
}

/// A bar for one share (0..=1) of `cells` cells; anything above nothing shows as one cell.
pub fn single(category: Category, share: f64, cells: usize, screen: &Screen) -> Row {
    let size = if share <= 0.0 { 0 } else { ((share * cells as f64).round() as usize).clamp(1, cells) };
    Row::of(mark(category, screen).to_string().repeat(size), Paint::Category(category))
}

/// A category by its mark and its name. The name keeps the text's own colour: coloured words are hard to read on one
/// background or the other.
pub fn key(category: Category, screen: &Screen) -> Row {
    Row::of(mark(category, screen), Paint::Category(category))
        .push(format!(" {}", category.name()), Paint::Plain)
}

/// What a category's cells look like.
pub fn mark(category: Category, screen: &Screen) -> char {
    match (screen.unicode(), screen.color()) {
        (true, true) => '█',
        (true, false) => look::pattern(category),
        (false, _) => look::letter(category),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Style;

    #[test]
    fn cells_add_up_and_marks_differ() {
        let screen = Screen::new(Style { color: false, width: 100, unicode: false });
        let parts = [(Category::Database, 1.0), (Category::App, 1.0), (Category::Network, 1.0)];
        for cells in 0..50 {
            assert_eq!(stacked(&parts, cells, &screen).width(), cells);
        }
        let text: String = stacked(&parts, 4, &screen).0.into_iter().map(|(text, _)| text).collect();
        assert_eq!(text, "DDAN");
        assert_eq!(stacked(&[(Category::App, 0.0)], 9, &screen), Row::new());
        for unicode in [true, false] {
            let screen = Screen::new(Style { color: false, width: 100, unicode });
            let marks: std::collections::BTreeSet<char> =
                Category::ALL.iter().map(|c| mark(*c, &screen)).collect();
            assert_eq!(marks.len(), Category::ALL.len(), "two categories look alike");
        }
    }

    #[test]
    fn a_small_share_still_shows() {
        let screen = Screen::new(Style::default());
        assert_eq!(single(Category::App, 0.001, 10, &screen).width(), 1);
        assert_eq!(single(Category::App, 0.0, 10, &screen).width(), 0);
        assert_eq!(single(Category::App, 1.0, 10, &screen).width(), 10);
    }
}
