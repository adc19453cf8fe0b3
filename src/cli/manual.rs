//! `hotspan completions` and `hotspan man`: made from the definitions that `--help` is made from, so that they never differ.

use super::args::Cli;
use super::exit::{self, Exit, say};
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan completions bash > ~/.local/share/bash-completion/completions/hotspan
  hotspan completions zsh > \"${fpath[1]}/_hotspan\"
  hotspan completions fish > ~/.config/fish/completions/hotspan.fish")]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  hotspan man ~/.local/share/man/man1 && man hotspan-run
  hotspan man man && man man/hotspan.1")]
pub struct ManArgs {
    /// Folder for the pages; it is made if it is not there.
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}

/// Prints completions for a shell.
pub fn completions(args: &CompletionsArgs) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "hotspan", &mut script);
    exit::print(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Passed)
}

/// Writes the man pages.
pub fn man(args: &ManArgs) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.dir)
        .with_context(|| format!("cannot make the folder {}", args.dir.display()))?;
    let pages = pages()?;
    for (name, page) in &pages {
        let path = args.dir.join(name);
        std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&format!("Wrote {} pages to {}.", pages.len(), args.dir.display()));
    Ok(Exit::Passed)
}

/// All pages with their file names: the program's, then one for each command.
fn pages() -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let mut whole = Cli::command().disable_help_subcommand(true);
    whole.build();
    let commands = whole.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let all: Vec<clap::Command> = std::iter::once(whole.clone()).chain(commands).collect();
    all.into_iter()
        .map(|command| {
            let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            Ok((format!("{name}.1"), page))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_examples() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names[0], "hotspan.1");
        assert!(names.contains(&"hotspan-run.1") && names.contains(&"hotspan-man.1"), "{names:?}");
        assert!(!names.iter().any(|name| name.contains("demo-service")), "{names:?}");
        for (name, page) in &pages {
            let page = String::from_utf8(page.clone()).unwrap();
            let example = if name == "hotspan.1" { "hotspan demo" } else { "Examples:" };
            assert!(page.contains(example), "{name} shows no example");
        }
    }

    #[test]
    fn every_shell_gets_the_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell, Shell::Elvish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "hotspan", &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(script.contains("analyze") && script.contains("find-capacity"), "{shell}");
        }
    }
}
