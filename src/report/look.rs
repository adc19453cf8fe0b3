//! What other pictures share with the reports, so that a category has one colour and one mark everywhere, a number reads
//! the same, and foreign text is made harmless in one way.

pub use super::number::{NBSP, calls, count, counted, ms, percent, rate, seconds};
pub use super::text::{ascii, char_width, clean, elide_middle, statement, width};
pub use crate::analysis::result::{ByCategory, Category, Contributor};

/// A category's colour among the 256 of terminals: the neighbours of the palette of Okabe and Ito, which people with any
/// common colour blindness tell apart; brightness differs too.
pub const fn color(category: Category) -> u8 {
    match category {
        Category::Generator => 203,
        Category::Connection => 243,
        Category::Network => 249,
        Category::Queue => 175,
        Category::App => 75,
        Category::Database => 214,
        Category::Cache => 36,
        Category::Search => 186,
        Category::Messaging => 141,
        Category::External => 166,
        Category::Transfer => 32,
        Category::Untraced => 240,
    }
}

/// Colours of what passed, is doubtful, failed. They are text, so each has a contrast of 3 or more on black and on white:
/// what colour a terminal has below them is not known.
pub const GOOD: u8 = 29;
/// Doubtful.
pub const CAUTION: u8 = 136;
/// Failed.
pub const BAD: u8 = 167;

/// A cell of a category's bar where there is no colour to tell it by.
pub const fn pattern(category: Category) -> char {
    match category {
        Category::Generator => '!',
        Category::Connection => '+',
        Category::Network => '░',
        Category::Queue => '╳',
        Category::App => '▒',
        Category::Database => '█',
        Category::Cache => '▚',
        Category::Search => '≈',
        Category::Messaging => '◊',
        Category::External => '▓',
        Category::Transfer => '═',
        Category::Untraced => '?',
    }
}

/// The same where there is nothing but ASCII.
pub const fn letter(category: Category) -> char {
    match category {
        Category::Generator => 'G',
        Category::Connection => '+',
        Category::Network => 'N',
        Category::Queue => 'Q',
        Category::App => 'A',
        Category::Database => 'D',
        Category::Cache => 'C',
        Category::Search => 'S',
        Category::Messaging => 'M',
        Category::External => 'E',
        Category::Transfer => 'T',
        Category::Untraced => '?',
    }
}

/// So many cells divided in proportion, by largest remainder: the cells add up.
pub fn divide(parts: &[f64], cells: usize) -> Vec<usize> {
    let total: f64 = parts.iter().map(|value| value.max(0.0)).sum();
    if total <= 0.0 {
        return vec![0; parts.len()];
    }
    let exact: Vec<f64> = parts.iter().map(|value| value.max(0.0) / total * cells as f64).collect();
    let mut sizes: Vec<usize> = exact.iter().map(|e| e.floor() as usize).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    let rest = |i: &usize| exact[*i] - exact[*i].floor();
    order.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
    let missing = cells.saturating_sub(sizes.iter().sum());
    for i in order.into_iter().take(missing) {
        sizes[i] += 1;
    }
    sizes
}

/// What a contributor is called.
pub fn contributor_name(contributor: &Contributor) -> &str {
    super::wording::contributor_name(contributor)
}
