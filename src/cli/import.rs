//! `hotspan import`: a scenario from a curl line, a HAR, an OpenAPI document, a Postman collection, an access log, a k6 or
//! Locust script. Reads one file, fetches nothing, runs nothing.

use super::args::ImportArgs;
use super::exit::{Exit, say};
use crate::scenario::import::{Format, Imported, import};
use anyhow::{Context, bail};
use std::io::{Read as _, Write as _};
use std::path::Path;

/// Runs the command.
pub fn run(args: &ImportArgs) -> anyhow::Result<Exit> {
    let text = match args.what.as_str() {
        "-" => {
            let mut bytes = Vec::new();
            std::io::stdin().take(65 << 20).read_to_end(&mut bytes).context("cannot read standard input")?;
            String::from_utf8(bytes).context("what stands on standard input is no UTF-8 text")?
        }
        line if line.starts_with("curl ") => line.to_string(),
        file => std::fs::read_to_string(file).with_context(|| {
            format!("cannot read {file}; name a file, `-` for standard input, or a curl line in quotes")
        })?,
    };
    let format = match &args.from {
        Some(name) => match Format::NAMES.iter().find(|(known, _)| known == name) {
            Some((_, format)) => *format,
            None => bail!("unknown format {name:?}: one of {}", names()),
        },
        None => Format::of(&text).with_context(|| {
            format!("cannot tell what {} is: say it with --from, one of {}", args.what, names())
        })?,
    };
    let imported = import(&text, format, args.target.as_deref())
        .map_err(|why| anyhow::anyhow!("{} cannot be imported: {why}", args.what))?;
    write(&imported, args.out.as_deref())
}

fn names() -> String {
    Format::NAMES.map(|(name, _)| name).join(", ")
}

/// Writes the scenario, and says what was not carried over.
pub fn write(imported: &Imported, out: Option<&Path>) -> anyhow::Result<Exit> {
    match out {
        None => std::io::stdout().write_all(imported.yaml.as_bytes()).context("cannot write the scenario")?,
        Some(path) => {
            // A scenario that somebody has worked on is not written over.
            let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
            file.and_then(|mut f| f.write_all(imported.yaml.as_bytes()))
                .with_context(|| format!("cannot write {}: it must be a new file", path.display()))?;
            say(&format!("Wrote {}.", path.display()));
        }
    }
    if !imported.notes.is_empty() {
        say("Not carried over, or to be looked at:");
        imported.notes.iter().for_each(|note| say(&format!("  - {note}")));
    }
    if !imported.environment.is_empty() {
        say(&format!(
            "Secrets were left out. Set these before you run it: {}",
            imported.environment.join(", ")
        ));
    }
    Ok(Exit::Passed)
}
