//! Exit statuses, as documented in `hotspan --help`, and the printing that respects a closed pipe.

use std::borrow::Cow;
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
///
/// In continuous integration the output is read for commands; names of spans and hosts are in the text, and none of them gives
/// one.
pub fn print(text: &str) -> io::Result<()> {
    if in_ci() { print_commands(&without_commands(text)) } else { print_commands(text) }
}

/// Whether a runner reads what is printed.
fn in_ci() -> bool {
    ["CI", "GITHUB_ACTIONS", "TF_BUILD", "TEAMCITY_VERSION"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "false"))
}

/// Without what runners take for a command: `::name` at the beginning of a line, and `##[name]`, `##vso[`, `##teamcity[` anywhere. A
/// space without width breaks them, and in JSON an escape.
fn without_commands(text: &str) -> Cow<'_, str> {
    let starts = |line: &str| line.trim_start().starts_with("::");
    if !text.contains("##") && !text.lines().any(starts) {
        return Cow::Borrowed(text);
    }
    if text.starts_with(['{', '[']) {
        // Two of them stand in strings alone.
        return Cow::Owned(text.replace("##", "\\u0023#"));
    }
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        let line = line
            .replace("##[", "#\u{200b}#[")
            .replace("##vso[", "#\u{200b}#vso[")
            .replace("##teamcity[", "#\u{200b}#teamcity[");
        match line.find("::").filter(|_| starts(&line)) {
            Some(at) => {
                out.push_str(&line[..at]);
                out.push_str(":\u{200b}");
                out.push_str(&line[at + 1..]);
            }
            None => out.push_str(&line),
        }
    }
    Cow::Owned(out)
}

/// Writes to standard output what is meant for the runner.
pub fn print_commands(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(e) => Err(io::Error::new(e.kind(), format!("cannot write to standard output: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// Writes a line to standard error; failures to do so are nobody's concern.
pub fn say(text: &str) {
    let text = if in_ci() { without_commands(text) } else { Cow::Borrowed(text) };
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The last of a chain of causes, which is what the system said; what lies before it are names of layers.
pub fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_a_command_to_a_runner() {
        let harmless = "a::b\n  checkout :: slow\n# heading\n## heading\n";
        assert!(matches!(without_commands(harmless), Cow::Owned(same) if same == harmless));
        assert!(matches!(without_commands("plain\n"), Cow::Borrowed(_)));
        for hostile in [
            "::error::x\n",
            "ok\n  ::add-mask::x\n",
            "\t::stop-commands::t",
            "x ##[error]y\n",
            "##vso[task.complete]\n##teamcity[buildStop]\n",
            "{\n  \"name\": \"##[group]x\"\n}\n",
        ] {
            let text = without_commands(hostile);
            for line in text.lines() {
                assert!(!line.trim_start().starts_with("::"), "{text}");
                assert!(!["##[", "##vso[", "##teamcity["].iter().any(|c| line.contains(c)), "{text}");
            }
        }
        let json: serde_json::Value = serde_json::from_str(&without_commands("{\"a\": \"##[x]\"}")).unwrap();
        assert_eq!(json["a"], "##[x]");
    }
}
