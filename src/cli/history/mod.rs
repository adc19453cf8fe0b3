//! `hotspan history`: runs appended to a file, a branch or an object, what changed in them, and a gate on recent changes.

mod args;
pub mod entry;
mod gate;
mod object;
mod show;
mod store;

pub use args::HistoryArgs;

use super::exit::{self, Exit, say};
use crate::history::{Acceptance, Acceptances, Entry, Findings, Group, History, find, groups, to_line};
use crate::record::date_of_day;
use anyhow::{Context, bail};
use args::{AcceptArgs, AddArgs, CheckArgs, HistoryCommand, ReadArgs, ShowArgs, ShowFormat};
use std::collections::HashSet;
use store::Store;

/// Runs the command.
pub fn run(args: &HistoryArgs) -> anyhow::Result<Exit> {
    match &args.command {
        HistoryCommand::Add(args) => add(args),
        HistoryCommand::Show(args) => show(args),
        HistoryCommand::Accept(args) => accept(args),
        HistoryCommand::Check(args) => check(args),
    }
}

fn add(args: &AddArgs) -> anyhow::Result<Exit> {
    let store = Store::of(args.to.as_deref(), args.git_branch.as_deref())?;
    let entries: Vec<Entry> = args
        .runs
        .iter()
        .map(|run| entry::read(run, args.commit.as_deref()))
        .collect::<anyhow::Result<_>>()?;
    let known = store.read().unwrap_or_default();
    let mut seen: HashSet<&str> = known.entries.iter().map(|entry| entry.run.as_str()).collect();
    let mut lines = String::new();
    let mut added = 0;
    for entry in &entries {
        if !seen.insert(&entry.run) {
            say(&format!(
                "hotspan: the run {} is in {} already and was not added again",
                entry.run,
                store.name()
            ));
            continue;
        }
        if let Some(doubt) = &entry.doubt {
            say(&format!("hotspan: {} is added and will not be counted: {doubt}", entry.run));
        }
        if entry.commit.is_none() {
            say(&format!(
                "hotspan: {} knows no commit, so a change cannot be traced to one; add it with --commit",
                entry.run
            ));
        }
        lines.push_str(
            &to_line(entry)
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("cannot add {}", entry.run))?,
        );
        added += 1;
    }
    if added > 0 {
        store.append(&lines)?;
    }
    // Others may have added runs meanwhile, so it is read again.
    let runs = match store.read() {
        Ok(now) if added > 0 => now.entries.len(),
        _ => known.entries.len() + added,
    };
    exit::print(&format!(
        "Added {added} of {} runs to {}, which now has {runs}.\n",
        entries.len(),
        store.name()
    ))?;
    Ok(Exit::Passed)
}

/// A history with everything that was found in it.
struct Looked {
    history: History,
    groups: Vec<(Group, Findings)>,
    acceptances: Acceptances,
    today: String,
    by_commit: bool,
}

fn look(args: &ReadArgs) -> anyhow::Result<Looked> {
    let store = Store::of(args.file.as_deref(), args.git_branch.as_deref())?;
    let mut history = store.read()?;
    let by_commit = history.order_by(&store::commit_order());
    if history.entries.is_empty() {
        let notes: Vec<String> = history.notes.iter().map(ToString::to_string).collect();
        bail!("{} has no run{}{}", store.name(), if notes.is_empty() { "" } else { ": " }, notes.join("; "));
    }
    let scenario = args.scenario.clone();
    let all = groups(&history.entries);
    let chosen: Vec<Group> = all
        .into_iter()
        .filter(|group| scenario.as_ref().is_none_or(|name| *name == group.scenario))
        .collect();
    if chosen.is_empty() {
        let mut known: Vec<&str> = history.entries.iter().map(|entry| entry.scenario.as_str()).collect();
        known.sort_unstable();
        known.dedup();
        match &scenario {
            Some(name) if !known.contains(&name.as_str()) => {
                bail!(
                    "no run of {} is of the scenario {name:?}; there are {}",
                    store.name(),
                    known.join(", ")
                )
            }
            _ => bail!(
                "every run of {} is doubtful; `hotspan history show` has no numbers to show",
                store.name()
            ),
        }
    }
    let groups = chosen
        .into_iter()
        .map(|mut group| {
            if let Some(last) = args.last {
                keep_last(&mut group, last);
            }
            let findings = find(&group, args.min_effect);
            (group, findings)
        })
        .collect();
    let path = args.accepted.clone().unwrap_or_else(|| store.acceptances());
    Ok(Looked { history, groups, acceptances: store::acceptances(&path)?, today: today(), by_commit })
}

fn keep_last(group: &mut Group, last: usize) {
    let from = group.runs.len().saturating_sub(last);
    group.runs.drain(..from);
    group.series.iter_mut().for_each(|series| drop(series.values.drain(..from)));
    group.series.retain(|series| series.values.iter().any(Option::is_some));
}

fn today() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (year, month, day) = date_of_day(now.as_secs() / 86_400);
    format!("{year:04}-{month:02}-{day:02}")
}

fn show(args: &ShowArgs) -> anyhow::Result<Exit> {
    let looked = look(&args.read)?;
    let text = match args.format {
        ShowFormat::Terminal => show::terminal(&looked, args),
        ShowFormat::Json => show::json(&looked),
    };
    exit::print(&text)?;
    Ok(Exit::Passed)
}

fn accept(args: &AcceptArgs) -> anyhow::Result<Exit> {
    let store = Store::of(args.file.as_deref(), args.git_branch.as_deref())?;
    let path = args.accepted.clone().unwrap_or_else(|| store.acceptances());
    let mut list = store::acceptances(&path)?;
    let new = Acceptance {
        commit: args.commit.clone(),
        series: args.series.clone(),
        reason: args.reason.clone(),
        until: args.until.clone(),
    };
    new.check().map_err(anyhow::Error::msg)?;
    if new.until < today() {
        bail!("{} is over already: say until when the change is to be accepted", new.until);
    }
    list.0.retain(|old| (&old.commit, &old.series) != (&new.commit, &new.series));
    list.0.push(new);
    let part = path.with_extension("json.part");
    std::fs::write(&part, list.write())
        .and_then(|()| std::fs::rename(&part, &path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    exit::print(&format!("Accepted in {}; commit that file.\n", path.display()))?;
    Ok(Exit::Passed)
}

fn check(args: &CheckArgs) -> anyhow::Result<Exit> {
    let looked = look(&args.read)?;
    let gate = gate::gate(&looked, args);
    args.outputs.write(&gate)?;
    exit::print(&show::verdict(&gate))?;
    Ok(match gate.verdict {
        crate::report::gate::GateVerdict::Passed => Exit::Passed,
        crate::report::gate::GateVerdict::Failed => Exit::Failed,
        crate::report::gate::GateVerdict::CannotTell => Exit::CannotTell,
    })
}
