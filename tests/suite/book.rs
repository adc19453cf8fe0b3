//! The book: its links lead somewhere, and its code is code that is compiled.

use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of every page without its code, by its file.
fn pages() -> BTreeMap<PathBuf, String> {
    let code = Regex::new(r"(?s)```.*?```").unwrap();
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|end| end == "md"));
    pages
        .chain([root().join("README.md")])
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path, code.replace_all(&text, "").into_owned())
        })
        .collect()
}

/// The anchors that a page's headings have where it is shown.
fn anchors(page: &str) -> BTreeSet<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

#[test]
fn every_link_of_the_book_leads_somewhere() {
    let pages = pages();
    let link = Regex::new(r#"\]\(([^)\s]+)\)|src="([^"]+)""#).unwrap();
    let mut seen = 0;
    for (path, text) in &pages {
        for found in link.captures_iter(text) {
            let to = found.get(1).or(found.get(2)).unwrap().as_str();
            if to.contains("://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = to.split_once('#').unwrap_or((to, ""));
            let target = if file.is_empty() { path.clone() } else { path.parent().unwrap().join(file) };
            let target = target.canonicalize().unwrap_or_else(|_| panic!("{}: no file {to}", path.display()));
            let page = pages.iter().find(|(path, _)| path.canonicalize().unwrap() == target);
            if let (Some((_, page)), false) = (page, anchor.is_empty()) {
                assert!(anchors(page).contains(anchor), "{}: no heading for {to}", path.display());
            }
        }
    }
    assert!(seen > 80, "{seen} links");
}

#[test]
fn the_service_in_rust_is_the_example_that_is_compiled() {
    let example = std::fs::read_to_string(root().join("examples/traced.rs")).unwrap();
    let (_, code) = example.split_once("\n\n").unwrap();
    let page = std::fs::read_to_string(root().join("docs/get-started.md")).unwrap();
    assert!(
        page.contains(&format!("```rust\n{code}```")),
        "copy examples/traced.rs into docs/get-started.md"
    );
}
