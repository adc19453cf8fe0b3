//! Exit statuses, as documented in `hotspan --help`, and the printing that respects a closed pipe.

use std::io::{self, Write};
use std::process::ExitCode;

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Passed,
    /// Bad input, or the target cannot be reached.
    CouldNotRun,
    /// It ran, but the result cannot carry the verdict that was asked for.
    CannotTell,
    /// A threshold failed.
    Failed,
    /// Stopped by the user; a partial report was written.
    Interrupted,
}

impl Exit {
    /// The status for the shell.
    pub fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Exit::Passed => 0,
            Exit::CouldNotRun => 1,
            Exit::CannotTell => 3,
            Exit::Failed => 99,
            Exit::Interrupted => 130,
        })
    }
}

/// Writes to standard output. A reader that went away (`hotspan … | head`) is not an error.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Writes a line to standard error; failures to do so are nobody's concern.
pub fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
