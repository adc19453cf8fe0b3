//! Parts of a run that were analysed apart: `hotspan analyze --part` writes one, `hotspan merge` adds them up.
//!
//! A part file is the text `hotspan part` and a line break, a format version, the run's id, which part of how many, then
//! the partial result, and at the end a CRC-32 of all before it. It appears whole or not at all.

use super::analyze::{Analyzed, Means, Part, PartOf, analyze_part, find_run};
use super::args::MergeArgs;
use super::exit::{Exit, say};
use crate::analysis::Partial;
use crate::wire::folder::RunReader;
use anyhow::{Context, bail, ensure};
use std::path::Path;

const MAGIC: &[u8] = b"hotspan part\n";
/// Grows with every change of what a partial result holds: parts are for one analysis, not for keeping.
const VERSION: u32 = 5;

/// Analyses one part and writes it.
pub fn write(dir: &Path, part: PartOf, means: &Means, file: &Path) -> anyhow::Result<Exit> {
    let reader = RunReader::open(dir)?;
    let Part { partial, torn, .. } = analyze_part(&reader, reader.run(), part, means)?;
    torn.iter().for_each(|note| say(&format!("hotspan: {note}")));
    let bytes = encode(&reader.run().id, part, &partial);
    let new = file.with_extension("part.new");
    std::fs::write(&new, bytes)
        .and_then(|()| std::fs::rename(&new, file))
        .inspect_err(|_| drop(std::fs::remove_file(&new)))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(Exit::Passed)
}

/// Adds parts up and reports.
pub fn merge(args: &MergeArgs) -> anyhow::Result<Exit> {
    let dir = find_run(&args.run)?;
    let reader = RunReader::open(&dir)?;
    let run = reader.run().clone();
    let mut whole: Option<(Partial, u32, Vec<u32>)> = None;
    for path in &args.parts {
        let name = path.display();
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let (part, partial) = decode(&bytes, &run.id).with_context(|| format!("{name} cannot be used"))?;
        match &mut whole {
            None => whole = Some((partial, part.of, vec![part.index])),
            Some((sum, of, have)) => {
                ensure!(*of == part.of, "{name} is one of {} parts, the others are of {of}", part.of);
                ensure!(
                    !have.contains(&part.index),
                    "{name} is part {}, which was given already",
                    part.index + 1
                );
                ensure!(
                    sum.is_alike(&partial),
                    "{name} was made with other --what-if changes than the parts before it"
                );
                sum.merge(partial);
                have.push(part.index);
            }
        }
    }
    let (sum, of, have) = whole.context("no part was given")?;
    let missing: Vec<String> =
        (0..of).filter(|i| !have.contains(i)).take(9).map(|i| format!("{}/{of}", i + 1)).collect();
    ensure!(missing.is_empty(), "parts are missing: {}", missing.join(", "));
    let mut analyzed = Analyzed::of_partial(&reader, run, sum, Vec::new(), &Means::default())?;
    analyzed.write_files()?;
    analyzed.print(&args.print)?;
    Ok(analyzed.exit(args.strict))
}

fn encode(run: &str, part: PartOf, partial: &Partial) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    for number in [VERSION, part.index, part.of, u32::try_from(run.len()).unwrap_or(u32::MAX)] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(run.as_bytes());
    partial.encode(&mut out);
    let sum = crc32fast::hash(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

fn decode(bytes: &[u8], run: &str) -> anyhow::Result<(PartOf, Partial)> {
    let rest = bytes.strip_prefix(MAGIC).context("it is no part that `hotspan analyze --part` wrote")?;
    let version = rest.first_chunk().map(|b| u32::from_le_bytes(*b)).context("it ends too early")?;
    ensure!(version == VERSION, "another version of hotspan wrote it; analyse the part again with this one");
    let Some((body, sum)) = bytes.split_last_chunk() else { bail!("it ends too early") };
    ensure!(crc32fast::hash(body) == u32::from_le_bytes(*sum), "it is damaged: its checksum does not fit");
    let mut rest = body.get(MAGIC.len() + 4..).unwrap_or_default();
    let mut number = || -> anyhow::Result<u32> {
        let (first, tail) = rest.split_first_chunk().context("it ends too early")?;
        rest = tail;
        Ok(u32::from_le_bytes(*first))
    };
    let (part, length) = (PartOf { index: number()?, of: number()? }, number()?);
    let (id, rest) = rest.split_at_checked(length as usize).context("it ends too early")?;
    ensure!(id == run.as_bytes(), "it is of the run {}, not of {run}", String::from_utf8_lossy(id));
    let partial = Partial::decode(rest).context("it cannot be read")?;
    Ok((part, partial))
}
