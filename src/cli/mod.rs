//! The command line: one file per command. The only room with clap, the environment, standard output and signals; it ties
//! the others together with channels.

mod analyst;
mod analyze;
mod answering;
mod args;
mod beside;
mod ci;
mod closer;
mod collect;
mod compare;
mod control;
mod database;
mod demo;
mod doctor;
mod events;
mod exit;
mod fetch;
mod gates;
mod guard;
mod history;
mod host;
mod import;
mod init;
mod live;
mod manual;
mod outputs;
mod own_telemetry;
mod part;
mod progress;
mod propagation;
mod recorder;
mod report;
mod roots;
mod run;
mod screen;
mod search;
mod serve;
mod service_cpu;
mod spans;
mod thresholds;
mod trace_files;
mod trace_link;
mod trace_search;
mod truth;
mod watch;

use args::{Cli, Command};
use clap::{CommandFactory, Parser};
use exit::{Exit, say};
use std::process::ExitCode;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let error = without_dashes(negative(error, std::env::args()));
            // Help and version are asked for and go to standard output with status 0; mistakes are usage, status 2.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let outcome = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Analyze(args) => analyze::run(&args),
        Command::Collect(args) => collect::run(&args),
        Command::Merge(args) => part::merge(&args),
        Command::Ci(args) => ci::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::History(args) => history::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Spans(args) => spans::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
        Command::DemoService(args) => demo::service(&args),
    };
    match outcome {
        Ok(exit) => exit.code(),
        Err(error) => {
            say(&format!("hotspan: {error:#}"));
            Exit::CouldNotRun.code()
        }
    }
}

/// clap takes a negative number for an option that it does not know, and its tip (`-- -3`) leads nowhere: no option here
/// has negative values, which is what there is to say.
fn negative(error: clap::Error, args: impl Iterator<Item = String>) -> clap::Error {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let Some(ContextValue::String(short)) = error.get(ContextKind::InvalidArg) else { return error };
    if error.kind() != ErrorKind::UnknownArgument || !is_negative(short) {
        return error;
    }
    let args: Vec<String> = args.collect();
    let Some(at) = args.iter().position(|arg| arg.starts_with(short.as_str())) else { return error };
    let message = match args[..at].last().filter(|before| at > 1 && before.starts_with("--")) {
        Some(option) => format!("{option} cannot be negative, but is {}", args[at]),
        None => format!("'{}' is a negative number, which nothing here can be", args[at]),
    };
    let mut root = Cli::command();
    root.build();
    match args.get(1).and_then(|name| root.find_subcommand_mut(name)) {
        Some(command) => command.error(ErrorKind::ValueValidation, message),
        None => root.error(ErrorKind::ValueValidation, message),
    }
}

/// clap's tip for what it does not know, to write it behind `--`, helps where commands take words of any kind; here
/// it would make a scenario of it.
fn without_dashes(mut error: clap::Error) -> clap::Error {
    use clap::error::{ContextKind, ContextValue};
    if let Some(ContextValue::StyledStrs(tips)) = error.remove(ContextKind::Suggested) {
        let kept: Vec<_> = tips.into_iter().filter(|tip| !tip.to_string().contains("as a value")).collect();
        if !kept.is_empty() {
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(kept));
        }
    }
    error
}

fn is_negative(arg: &str) -> bool {
    arg.strip_prefix('-').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let args = || line.split(' ').map(str::to_owned);
        without_dashes(negative(Cli::try_parse_from(args()).unwrap_err(), args())).to_string()
    }

    #[test]
    fn negative_values_are_called_so() {
        for (line, expected) in [
            ("hotspan run shop.yaml --rate -3", "error: --rate cannot be negative, but is -3\n"),
            ("hotspan run shop.yaml --duration -5s", "error: --duration cannot be negative, but is -5s\n"),
            ("hotspan demo --users -.5", "error: --users cannot be negative, but is -.5\n"),
            ("hotspan run -7", "error: '-7' is a negative number, which nothing here can be\n"),
        ] {
            let said = said(line);
            assert!(
                said.starts_with(expected) && !said.contains("tip") && said.contains("Usage: hotspan "),
                "{said}"
            );
        }
        let other = said("hotspan run shop.yaml --raet 3");
        assert!(other.contains("unexpected argument '--raet'") && other.contains("--rate"), "{other}");
        let unknown = said("hotspan report runs --out x");
        assert!(
            unknown.contains("unexpected argument '--out'") && !unknown.contains("-- --out"),
            "{unknown}"
        );
    }

    #[test]
    fn addresses_are_told_how_they_are_written() {
        let said = said("hotspan collect --otlp-grpc 4317");
        assert!(
            said.contains("`4317` is no address with a port; write one such as 127.0.0.1:4317"),
            "{said}"
        );
        let cli = Cli::try_parse_from(["hotspan", "collect", "--otlp-grpc", "localhost:4317"]).unwrap();
        let Command::Collect(args) = cli.command else { panic!("collect") };
        assert_eq!(args.listen.otlp_grpc, std::net::SocketAddr::from(([127, 0, 0, 1], 4317)));
    }
}
