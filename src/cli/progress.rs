//! What is going on, on standard error: one line, redrawn on a terminal and printed every few seconds elsewhere; while
//! load runs on a terminal, the live screen.

use super::args::OutputArgs;
use crate::ui::{Feed, Follower, Look, Screen, Setup, Update, Wish};
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
    screen: Option<Screen>,
    follower: Option<Follower>,
}

impl Progress {
    /// Chosen by the arguments and by what standard error is.
    pub fn new(output: &OutputArgs) -> Progress {
        Progress::with(output.quiet, output.no_ui)
    }

    /// Silent, or in plain lines, or as standard error allows.
    pub fn with(quiet: bool, no_ui: bool) -> Progress {
        let mode = match (quiet, no_ui, io::stderr().is_terminal() && can_redraw()) {
            (true, ..) => Mode::Silent,
            (_, false, true) => Mode::Redraw,
            _ => Mode::Lines,
        };
        Progress { mode, last_line: None, drawn: false, screen: None, follower: None }
    }

    /// Whether there can be a live screen: standard error and output are a terminal that this process may draw on.
    pub fn can_have_screen(&self) -> bool {
        self.mode == Mode::Redraw && io::stdout().is_terminal() && in_foreground()
    }

    /// Shows the live screen, if there can be one. Where the terminal does not let itself be taken the line stays.
    pub fn open_screen(&mut self, setup: Setup, look: Look) {
        if self.can_have_screen() {
            self.clear();
            self.screen = Screen::open(setup, look).ok();
        }
    }

    /// Ends the live screen, if there is one; the terminal is as it was before.
    pub fn close_screen(&mut self) {
        self.screen = None;
    }

    /// Lets somebody else look, too.
    pub fn follow(&mut self, follower: Follower) {
        self.follower = Some(follower);
    }

    /// Whether there is a live screen: then there is no line.
    pub fn has_screen(&self) -> bool {
        self.screen.is_some()
    }

    /// A way to tell the live screen and who else looks, if there is anybody.
    pub fn feed(&self) -> Option<Feed> {
        match (&self.screen, &self.follower) {
            (Some(screen), Some(follower)) => Some(screen.feed().and(&follower.feed())),
            (Some(screen), None) => Some(screen.feed()),
            (None, follower) => follower.as_ref().map(Follower::feed),
        }
    }

    /// What the user of the live screen wants.
    pub fn wish(&self) -> Option<Wish> {
        self.screen.as_ref()?.wish()
    }

    /// Tells whoever looks. What finds no place is told again soon enough.
    pub fn tell(&self, update: Update) {
        if let Some(feed) = self.feed() {
            let _ = feed.tell(update);
        }
    }

    /// Shows the line, if it is time to.
    pub fn tick(&mut self, line: &str) {
        self.tell(Update::Status(line.to_owned()));
        if self.screen.is_none() {
            self.line(line);
        }
    }

    /// The same for the line alone: who looks knows it better.
    pub fn line(&mut self, line: &str) {
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
        self.tell(Update::Note(line.to_owned()));
        if self.screen.is_some() {
            return;
        }
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

/// Whether a line can be drawn over: not by terminals that are none, and not in the logs of build machines.
fn can_redraw() -> bool {
    let ci = std::env::var("CI").is_ok_and(|v| !v.is_empty() && v != "false" && v != "0");
    !ci && std::env::var("TERM").map_or(cfg!(windows), |term| term != "dumb")
}

/// Whether this process has the terminal: one in the background would be stopped when it takes it.
fn in_foreground() -> bool {
    #[cfg(unix)]
    {
        let own = rustix::process::getpgrp();
        rustix::termios::tcgetpgrp(io::stderr()).is_ok_and(|group| group == own)
    }
    #[cfg(not(unix))]
    {
        true
    }
}
