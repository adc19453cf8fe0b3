//! One line about what is going on, on standard error: redrawn on a terminal, printed every few seconds elsewhere.

use super::args::OutputArgs;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// One line, redrawn.
    Redraw,
    /// A new line every few seconds: for logs.
    Lines,
    /// Not at all.
    Silent,
}

/// Seconds between lines where the line cannot be redrawn.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress line.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    last_line: Option<Instant>,
    drawn: bool,
}

impl Progress {
    /// Chosen by the arguments and by what standard error is.
    pub fn new(output: &OutputArgs) -> Progress {
        Progress::with(output.quiet, output.no_ui)
    }

    /// Silent, or in plain lines, or as standard error allows.
    pub fn with(quiet: bool, no_ui: bool) -> Progress {
        let mode = match (quiet, no_ui, io::stderr().is_terminal()) {
            (true, ..) => Mode::Silent,
            (_, false, true) => Mode::Redraw,
            _ => Mode::Lines,
        };
        Progress { mode, last_line: None, drawn: false }
    }

    /// Shows the line, if it is time to.
    pub fn tick(&mut self, line: &str) {
        match self.mode {
            Mode::Silent => {}
            Mode::Redraw => {
                let _ = write!(io::stderr().lock(), "\r\x1b[K{line}");
                let _ = io::stderr().flush();
                self.drawn = true;
            }
            Mode::Lines => {
                if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY) {
                    let _ = writeln!(io::stderr().lock(), "{line}");
                    self.last_line = Some(Instant::now());
                }
            }
        }
    }

    /// A line that stays: something that happened once.
    pub fn note(&mut self, line: &str) {
        if self.mode != Mode::Silent {
            self.clear();
            let _ = writeln!(io::stderr().lock(), "{line}");
        }
    }

    /// Ends a phase: the next line is shown at once.
    pub fn clear(&mut self) {
        if self.drawn {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
            let _ = io::stderr().flush();
            self.drawn = false;
        }
        self.last_line = None;
    }
}
