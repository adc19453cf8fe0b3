//! What is wrong with a scenario, where, and what to do about it.

use std::fmt;

/// A place in a scenario's text: lines and columns count from 1, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// Why a text is no scenario: the file, the place, what was found and what was expected.
///
/// `Display` gives `file:line:column: message` and the line in question with a mark under the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file as the user named it.
    pub file: String,
    /// Where.
    pub place: Place,
    /// What is wrong and what to do.
    pub message: String,
    /// The line's text, for the excerpt.
    pub excerpt: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        if line == 0 {
            return write!(f, "{}: {}", self.file, self.message);
        }
        write!(f, "{}:{line}:{column}: {}", self.file, self.message)?;
        if self.excerpt.is_empty() {
            return Ok(());
        }
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let indent = " ".repeat(column.saturating_sub(1));
        write!(f, "\n {number} | {}\n {margin} | {indent}^", self.excerpt)
    }
}

impl std::error::Error for ScenarioError {}

/// A fault before the file's name and text are known: what the readers of this room return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub place: Place,
    pub message: String,
    /// Whether the line may be shown.
    shown: bool,
}

impl Fault {
    pub fn new(place: Place, message: impl Into<String>) -> Fault {
        Fault { place, message: message.into(), shown: true }
    }

    /// The same without the line: there is a secret in it.
    pub fn hidden(self) -> Fault {
        Fault { shown: false, ..self }
    }

    pub fn in_file(self, file: &str, text: &str) -> ScenarioError {
        let line = self.place.line.checked_sub(1).and_then(|n| text.lines().nth(n));
        // A line that is wider than a screen would hide its own mark.
        let excerpt = line
            .filter(|l| self.shown && l.chars().count() <= 160)
            .unwrap_or_default()
            .trim_end()
            .to_string();
        ScenarioError { file: file.to_string(), place: self.place, message: self.message, excerpt }
    }
}

/// The candidate that is nearest to `word`, if one is near enough to be a likely slip.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1);
    let lower = word.to_lowercase();
    let candidates: Vec<&str> = candidates.into_iter().collect();
    let near = candidates
        .iter()
        .map(|c| (edits(&lower, &c.to_lowercase()), *c))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| c);
    // A word that was cut short, where only one begins so.
    let mut begun =
        candidates.iter().filter(|c| lower.len() >= SHORTEST_CUT && c.to_lowercase().starts_with(&lower));
    near.or_else(|| begun.next().filter(|_| begun.next().is_none()).copied())
}

/// Fewer characters are the beginning of too much.
const SHORTEST_CUT: usize = 3;

/// `a, b and c` with each in backticks.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|w| format!("`{w}`")).collect();
    match quoted.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// Edit distance with swapped neighbours counted once (optimal string alignment, Damerau 1964).
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            row[j] = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(rows[i - 2][j - 2] + 1);
            }
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_strangers_are_not() {
        let keys = ["users", "rate", "ramp", "for"];
        assert_eq!(nearest("rat", keys), Some("rate"));
        assert_eq!(nearest("uesrs", keys), Some("users"));
        assert_eq!(nearest("Users", keys), Some("users"));
        assert_eq!(nearest("duration", keys), None);
        assert_eq!(nearest("x", keys), None);
    }

    #[test]
    fn the_mark_stands_under_the_place() {
        let fault = Fault::new(Place { line: 2, column: 3 }, "no");
        let error = fault.in_file("a.yaml", "one\nabcdef\n");
        assert_eq!(error.to_string(), "a.yaml:2:3: no\n 2 | abcdef\n   |   ^");
    }
}
