//! Where a history lives: a plain file, an object in object storage, or a branch of the repository that holds nothing else. A
//! branch is read and written by git's plumbing, so neither the work tree nor the index is touched.

use super::object::Object;
use crate::history::{Acceptances, History};
use anyhow::{Context, bail};
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Name of the history within a branch.
const IN_BRANCH: &str = "history.jsonl";
/// How often a push of a commit to the branch is tried anew when another writer was faster.
pub(super) const TRIES: usize = 20;

/// Where.
pub enum Store {
    File(PathBuf),
    Branch(String),
    Object(Box<Object>),
}

impl Store {
    /// What the arguments mean.
    pub fn of(file: Option<&Path>, branch: Option<&str>) -> anyhow::Result<Store> {
        Ok(match (file, branch) {
            (_, Some(branch)) => Store::Branch(branch.to_owned()),
            (Some(file), None) => match Object::named(file, &|name| std::env::var(name).ok())? {
                Some(object) => Store::Object(Box::new(object)),
                None => Store::File(file.to_owned()),
            },
            (None, None) => Store::File(PathBuf::from("hotspan-history.jsonl")),
        })
    }

    /// For messages.
    pub fn name(&self) -> String {
        match self {
            Store::File(path) => path.display().to_string(),
            Store::Branch(branch) => format!("{IN_BRANCH} of the branch {branch}"),
            Store::Object(object) => object.name().to_owned(),
        }
    }

    /// The whole history.
    pub fn read(&self) -> anyhow::Result<History> {
        let bytes = match self {
            Store::File(path) => std::fs::read(path).with_context(|| {
                format!("cannot read the history {}; `hotspan history add RUN --to FILE` begins one", path.display())
            })?,
            Store::Branch(branch) => in_branch(branch)?
                .with_context(|| format!("there is no branch {branch} with a {IN_BRANCH}; `hotspan history add RUN --git-branch {branch}` begins one"))?,
            Store::Object(object) => object.read()?.with_context(|| {
                format!("there is no {name}; `hotspan history add RUN --to {name}` begins one", name = object.name())
            })?,
        };
        Ok(History::read(&String::from_utf8_lossy(&bytes)))
    }

    /// Adds lines at the end. A torn last line is ended first, so that what follows is whole.
    pub fn append(&self, lines: &str) -> anyhow::Result<()> {
        match self {
            Store::File(path) => {
                append_to(path, lines).with_context(|| format!("cannot write {}", path.display()))
            }
            Store::Branch(branch) => commit_to(branch, lines),
            Store::Object(object) => object.append(lines),
        }
    }

    /// The file of acceptances beside it: in the work tree, where people review it.
    pub fn acceptances(&self) -> PathBuf {
        match self {
            Store::File(path) => path.with_extension("accepted.json"),
            Store::Branch(_) | Store::Object(_) => PathBuf::from("hotspan-history.accepted.json"),
        }
    }
}

/// The acceptances of a file; none where there is no file.
pub fn acceptances(path: &Path) -> anyhow::Result<Acceptances> {
    match std::fs::read_to_string(path) {
        Ok(text) => Acceptances::read(&text)
            .map_err(anyhow::Error::msg)
            .with_context(|| format!("cannot use {}", path.display())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Acceptances::default()),
        Err(e) => Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn append_to(path: &Path, lines: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new().create(true).append(true).read(true).open(path)?;
    // Two writers on one machine take turns; the lock goes with the file.
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
    let mut torn = false;
    if file.seek(SeekFrom::End(0))? > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        torn = last != *b"\n";
    }
    // One write, so that a reader never sees half of the lines.
    let text = if torn { format!("\n{lines}") } else { lines.to_owned() };
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// Runs git; its standard output, or why it could not.
fn git(arguments: &[&str], input: Option<&[u8]>) -> anyhow::Result<Result<Vec<u8>, String>> {
    let mut child = Command::new("git")
        .args(arguments)
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start git, which --git-branch needs")?;
    if let (Some(bytes), Some(mut stdin)) = (input, child.stdin.take()) {
        // git that ends early says why on its standard error.
        let _ = stdin.write_all(bytes);
    }
    let out = child.wait_with_output().context("git did not end")?;
    let why = || String::from_utf8_lossy(&out.stderr).trim().to_owned();
    Ok(if out.status.success() { Ok(out.stdout.clone()) } else { Err(why()) })
}

fn text_of(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

fn must(arguments: &[&str], input: Option<&[u8]>) -> anyhow::Result<String> {
    let done = git(arguments, input)?;
    done.map(text_of).map_err(|why| anyhow::anyhow!("git {}: {why}", arguments.first().unwrap_or(&"")))
}

fn in_branch(branch: &str) -> anyhow::Result<Option<Vec<u8>>> {
    must(&["rev-parse", "--git-dir"], None)
        .context("--git-branch needs a git repository around this folder")?;
    must(&["check-ref-format", "--branch", branch], None)
        .with_context(|| format!("{branch:?} cannot be the name of a branch"))?;
    for place in [format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}")] {
        if let Ok(bytes) = git(&["cat-file", "blob", &format!("{place}:{IN_BRANCH}")], None)? {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// A commit on top of the branch, or its first. The branch moves only from where it was read: who comes second reads again.
fn commit_to(branch: &str, lines: &str) -> anyhow::Result<()> {
    let reference = format!("refs/heads/{branch}");
    for _ in 0..TRIES {
        let mut text = in_branch(branch)?.unwrap_or_default();
        let resolve =
            |place: &str| git(&["rev-parse", "--verify", "--quiet", &format!("{place}^{{commit}}")], None);
        let own = resolve(&reference)?.ok().map(text_of);
        let parent = match &own {
            Some(own) => Some(own.clone()),
            None => resolve(&format!("refs/remotes/origin/{branch}"))?.ok().map(text_of),
        };
        if text.last().is_some_and(|last| *last != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(lines.as_bytes());
        let blob = must(&["hash-object", "-w", "--stdin"], Some(&text))?;
        let kept = match &parent {
            Some(parent) => must(&["ls-tree", parent], None)?,
            None => String::new(),
        };
        let others = kept.lines().filter(|line| !line.ends_with(&format!("\t{IN_BRANCH}")));
        let tree: String = others
            .map(|line| format!("{line}\n"))
            .chain([format!("100644 blob {blob}\t{IN_BRANCH}\n")])
            .collect();
        let tree = must(&["mktree"], Some(tree.as_bytes()))?;
        let mut commit = vec![
            "-c",
            "user.name=hotspan",
            "-c",
            "user.email=hotspan@localhost",
            "commit-tree",
            &tree,
            "-m",
            "Add runs to the history",
        ];
        if let Some(parent) = &parent {
            commit.extend(["-p", parent]);
        }
        let commit = must(&commit, None)?;
        let before = own.unwrap_or_default();
        if git(&["update-ref", &reference, &commit, &before], None)?.is_ok() {
            return Ok(());
        }
    }
    bail!("the branch {branch} was changed by others each of {TRIES} times; try again")
}

/// Places of commits, oldest first, by their first twelve digits; empty without a repository.
pub fn commit_order() -> HashMap<String, usize> {
    let list = git(&["rev-list", "--topo-order", "--reverse", "--max-count=20000", "HEAD"], None);
    let Ok(Ok(bytes)) = list else { return HashMap::new() };
    let text = String::from_utf8_lossy(&bytes);
    text.lines().enumerate().filter_map(|(i, commit)| Some((commit.get(..12)?.to_owned(), i))).collect()
}
