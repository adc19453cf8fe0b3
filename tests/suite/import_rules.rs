//! Who may import whom (docs: the table in CONTRIBUTING's house style): rooms meet in `record`, and only `cli` ties them.

use std::path::Path;

/// Room and the rooms that it may name.
const RULES: [(&str, &[&str]); 14] = [
    ("record", &[]),
    ("stats", &["record"]),
    ("scenario", &["record"]),
    ("wire", &["record"]),
    ("load", &["record", "stats", "scenario"]),
    ("traces", &["record", "wire"]),
    ("analysis", &["record", "stats"]),
    ("compare", &["record", "stats"]),
    ("history", &["stats"]),
    ("report", &["record", "stats", "analysis", "compare"]),
    ("ui", &["record", "stats", "report"]),
    ("demo", &[]),
    ("cli", &["*"]),
    ("lib", &["*"]),
];

/// Rooms that a file names: what follows `crate::`, alone or in braces, comments aside.
fn named_rooms(text: &str) -> Vec<String> {
    let code: Vec<&str> = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut rooms = Vec::new();
    for rest in code.join("\n").split("crate::").skip(1) {
        let word = |s: &str| {
            s.trim().split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned()
        };
        match rest.strip_prefix('{') {
            // Braces within braces belong to the room before them.
            Some(group) => {
                let mut depth = 0;
                let outer = group.split(|c| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    depth < 0 || (depth == 0 && c == ',')
                });
                rooms.extend(
                    outer.take_while(|s| !s.starts_with([';', '\n', ' ']) || !word(s).is_empty()).map(word),
                );
            }
            None => rooms.push(word(rest)),
        }
    }
    rooms.retain(|room| RULES.iter().any(|(name, _)| name == room));
    rooms
}

/// The edges of a file that the rules do not have.
fn broken(file: &str, room: &str, text: &str) -> Vec<String> {
    let Some((_, allowed)) = RULES.iter().find(|(name, _)| *name == room) else {
        return vec![format!("{file}: room `{room}` is in no rule; add it to tests/suite/import_rules.rs")];
    };
    let bad =
        |to: &&String| to.as_str() != room && !allowed.contains(&to.as_str()) && !allowed.contains(&"*");
    let mut edges: Vec<String> = named_rooms(text)
        .iter()
        .filter(bad)
        .map(|to| format!("{file}: `{room}` must not import `{to}`"))
        .collect();
    edges.dedup();
    edges
}

fn walk(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
}

#[test]
fn rooms_import_only_what_they_may() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    walk(&src, &mut files);
    assert!(files.len() > 20, "found only {files:?}");
    let root = format!("{}/", src.to_str().unwrap().replace('\\', "/"));
    let mut edges = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap();
        let room = name.split('/').next().unwrap().trim_end_matches(".rs");
        let room = if room == "main" { "cli" } else { room };
        edges.extend(broken(name, room, &std::fs::read_to_string(&file).unwrap()));
    }
    assert!(edges.is_empty(), "broken edges:\n{}", edges.join("\n"));
}

#[test]
fn a_broken_edge_is_named() {
    let text = "use crate::record::Span;\nuse crate::{stats::{Histogram, Quantiles}, load};\n// crate::cli\nfn f() { crate::wire::read() }";
    assert_eq!(
        broken("analysis/x.rs", "analysis", text),
        [
            "analysis/x.rs: `analysis` must not import `load`",
            "analysis/x.rs: `analysis` must not import `wire`"
        ]
    );
    assert_eq!(
        broken("demo/x.rs", "demo", "use crate::record::Nanos;"),
        ["demo/x.rs: `demo` must not import `record`"]
    );
    assert_eq!(broken("cli/x.rs", "cli", "use crate::{demo, load};"), [] as [String; 0]);
    assert!(broken("new/x.rs", "new", "")[0].contains("in no rule"));
}
