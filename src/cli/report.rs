//! `hotspan report`: the report of a run folder in another format. The analysis is made again from the folder, so a report
//! never speaks of another version's numbers.

use super::analyze::{Means, analyze_folder, find_run};
use super::args::{ColorChoice, Format, PrintArgs, ReportArgs};
use super::exit::{self, Exit};
use crate::report::{self, Picture, Report, Style};
use anyhow::Context;
use std::io::{self, IsTerminal};
use std::path::Path;

/// Runs the command.
pub fn run(args: &ReportArgs) -> anyhow::Result<Exit> {
    let mut analyzed = analyze_folder(&find_run(&args.run)?, &Means::default())?;
    analyzed.link_to(&args.print);
    match &args.pictures {
        None => analyzed.print(&args.print)?,
        Some(folder) => exit::print(&write_pictures(&analyzed.pictures(), folder)?)?,
    }
    Ok(Exit::Passed)
}

/// Writes each picture as a file; their names, a line each.
fn write_pictures(pictures: &[Picture], folder: &Path) -> anyhow::Result<String> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let mut names = String::new();
    for picture in pictures {
        let path = folder.join(&picture.name).with_extension("svg");
        std::fs::write(&path, &picture.svg).with_context(|| format!("cannot write {}", path.display()))?;
        names.push_str(&format!("{}\n", path.display()));
    }
    Ok(names)
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
        Format::Perfetto => report::perfetto(report),
        Format::Firefox => report::firefox(report),
        Format::Svg => report::svg(report),
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
