//! `hotspan report`: the report of a run folder in another format. The analysis is made again from the folder, so a report
//! never speaks of another version's numbers.

use super::analyze::{Means, analyze_folder, find_run};
use super::args::{ColorChoice, Format, PrintArgs, ReportArgs};
use super::exit::{self, Exit};
use crate::report::{self, Report, Style};
use std::io::{self, IsTerminal};

/// Runs the command.
pub fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    let mut analyzed = analyze_folder(&find_run(&args.run)?, &Means::default())?;
    analyzed.link_to(&args.print);
    exit::print(&render(&analyzed.report(), &args.print))?;
    Ok(Exit::Passed)
}

/// The report in the format that the arguments ask for.
pub fn render(report: &Report, print: &PrintArgs) -> String {
    match print.format {
        Format::Terminal => report::terminal(report, style(print.color)),
        Format::Markdown => report::markdown(report),
        Format::Json => report::json(report),
        Format::Html => report::html(report),
        Format::Csv => report::csv(report),
        Format::Junit => report::junit(report),
        Format::Openmetrics => report::openmetrics(report),
        Format::Folded => report::folded(report),
        Format::Speedscope => report::speedscope(report),
        Format::Hdr => report::hdr_log(report),
    }
}

/// What standard output can show. 100 columns where its width is unknown.
pub fn style(color: ColorChoice) -> Style {
    let terminal = io::stdout().is_terminal();
    let env_set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
    let color = match color {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => {
            terminal && !env_set("NO_COLOR") && std::env::var("TERM").is_ok_and(|t| t != "dumb")
        }
    };
    let width = terminal
        .then(|| rustix::termios::tcgetwinsize(io::stdout()).ok())
        .flatten()
        .map(|size| usize::from(size.ws_col))
        .filter(|&columns| columns > 0)
        .or_else(|| std::env::var("COLUMNS").ok()?.parse().ok())
        .unwrap_or(100);
    let ascii_locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .is_some_and(|locale| !locale.to_ascii_lowercase().contains("utf"));
    Style { color, width: width.min(100), unicode: !(terminal && ascii_locale) }
}
