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
mod recorder;
mod report;
mod roots;
mod run;
mod screen;
mod search;
mod serve;
mod spans;
mod thresholds;
mod trace_files;
mod trace_link;
mod trace_search;
mod truth;
mod watch;

use args::{Cli, Command};
use clap::Parser;
use exit::{Exit, say};
use std::process::ExitCode;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
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
