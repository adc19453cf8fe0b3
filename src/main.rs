//! The `hotspan` command: hands its arguments to [`hotspan::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    hotspan::cli::main()
}
