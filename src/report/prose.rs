//! Sentences that know which of their words are ours and which are foreign, so that each format can make the foreign ones
//! safe and recognisable in its own way.

use super::number::NBSP;
use super::text;

/// A piece of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Our own words.
    Own(String),
    /// A foreign name, cleaned: a step, a service, a statement, an address.
    Name(String),
    /// A foreign sentence, cleaned: a warning of the run, an error's message. It is no name, so a page sets it as words.
    Said(String),
}

/// A sentence or a few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prose(pub Vec<Piece>);

/// Longest name in a sentence, in columns; longer ones are elided in the middle.
const NAME_MAX: usize = 64;

impl Prose {
    /// Nothing yet.
    pub fn new() -> Prose {
        Prose::default()
    }

    /// Adds our own words.
    pub fn own(mut self, words: impl AsRef<str>) -> Prose {
        if let Some(Piece::Own(last)) = self.0.last_mut() {
            last.push_str(words.as_ref());
        } else {
            self.0.push(Piece::Own(words.as_ref().to_owned()));
        }
        self
    }

    /// Adds a foreign name, shortened readably where it is long.
    pub fn name(self, name: &str) -> Prose {
        self.short_name(name, NAME_MAX)
    }

    /// Adds a foreign name of at most so many columns.
    pub fn short_name(mut self, name: &str, columns: usize) -> Prose {
        self.0.push(Piece::Name(text::elide_middle(&text::statement(&text::clean(name)), columns, "…")));
        self
    }

    /// Adds foreign text that reads as a sentence (a warning of the run, an error message), whole.
    pub fn foreign(mut self, words: &str) -> Prose {
        self.0.push(Piece::Said(text::elide_middle(&text::clean(words), 400, "…")));
        self
    }

    /// Adds all of another.
    pub fn then(self, other: Prose) -> Prose {
        other.0.into_iter().fold(self, |all, piece| match piece {
            Piece::Own(words) => all.own(words),
            Piece::Name(_) | Piece::Said(_) => {
                let mut all = all;
                all.0.push(piece);
                all
            }
        })
    }

    /// As plain text.
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Own(words) | Piece::Name(words) | Piece::Said(words) => out.push_str(words),
            }
        }
        out.replace(NBSP, " ")
    }
}

impl From<&str> for Prose {
    fn from(words: &str) -> Prose {
        Prose::new().own(words)
    }
}

impl From<String> for Prose {
    fn from(words: String) -> Prose {
        Prose::new().own(words)
    }
}
