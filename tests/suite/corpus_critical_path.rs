//! The critical path on traces that other projects publish with the result they expect. Where hotspan's rule differs on
//! purpose, the difference is listed here with our own value.
//!
//! The corpus is not part of the project: its folder comes from `HOTSPAN_CORPUS` (default `../shared/corpus`).

use hotspan::analysis::{PathSegment, PathSpan, critical_path};
use hotspan::record::{SpanId, SpanKind, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A file of the corpus, or a line that says that the test was skipped.
pub fn corpus(path: &str) -> Option<PathBuf> {
    let folder = std::env::var("HOTSPAN_CORPUS").unwrap_or_else(|_| "../shared/corpus".to_owned());
    let found = PathBuf::from(folder).join(path);
    if !found.exists() {
        eprintln!("skipped: {} is absent; set HOTSPAN_CORPUS to the corpus folder", found.display());
        return None;
    }
    Some(found)
}

/// A JSON file.
pub fn read(path: &PathBuf) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Ids in the corpus are any text; they get numbers in the order of their names.
fn id(names: &[String], name: &str) -> SpanId {
    SpanId((names.iter().position(|n| n == name).unwrap() as u64 + 1).to_be_bytes())
}

/// A trace in Jaeger's v1 JSON, as far as the critical path needs it, and each span's `[service] operation`.
struct Jaeger {
    spans: Vec<PathSpan>,
    labels: BTreeMap<SpanId, String>,
}

fn jaeger(trace: &Value) -> Jaeger {
    let list = trace["spans"].as_array().unwrap();
    let mut names: Vec<String> = list.iter().map(|s| s["spanID"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names.dedup();
    let (mut spans, mut labels) = (Vec::new(), BTreeMap::new());
    for s in list {
        let parent = s["references"].as_array().and_then(|r| r.iter().find(|r| r["refType"] == "CHILD_OF"));
        let parent = parent.map(|r| r["spanID"].as_str().unwrap()).filter(|p| names.iter().any(|n| n == p));
        let kind = s["tags"].as_array().and_then(|tags| tags.iter().find(|t| t["key"] == "span.kind"));
        let start = s["startTime"].as_u64().unwrap();
        let this = id(&names, s["spanID"].as_str().unwrap());
        let service = &trace["processes"][s["processID"].as_str().unwrap()]["serviceName"];
        labels.insert(
            this,
            format!("[{}] {}", service.as_str().unwrap(), s["operationName"].as_str().unwrap()),
        );
        spans.push(PathSpan {
            id: this,
            parent: parent.map(|p| id(&names, p)),
            kind: span_kind(kind.and_then(|k| k["value"].as_str())),
            start: Timestamp(start),
            end: Timestamp(start + s["duration"].as_u64().unwrap()),
        });
    }
    Jaeger { spans, labels }
}

fn span_kind(name: Option<&str>) -> SpanKind {
    match name {
        Some("server") => SpanKind::Server,
        Some("client") => SpanKind::Client,
        Some("producer") => SpanKind::Producer,
        Some("consumer") => SpanKind::Consumer,
        Some("internal") => SpanKind::Internal,
        _ => SpanKind::Unspecified,
    }
}

/// Time on the path by label; labels without time left out.
fn by_label(trace: &Jaeger) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for segment in critical_path(&trace.spans) {
        *sums.entry(trace.labels[&segment.span].clone()).or_default() += segment.length().0;
    }
    sums
}

fn of(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    pairs.iter().map(|(label, time)| ((*label).to_owned(), *time)).collect()
}

/// Where ours differs from CRISP's expectation, and what ours is. CRISP counts an overlap of up to 1 % of the parent as
/// sequence and so gives it to both siblings (10, 19, 20, 21: we clip the earlier one, so that the sum is the root's
/// duration), and gives nothing to an earlier sibling that overlaps by more (12, 13, 14, 16: we give it the time before
/// the later one began, in which nothing else of the trace was under way).
fn ours() -> BTreeMap<u32, BTreeMap<String, u64>> {
    BTreeMap::from([
        (10, of(&[("[S1] O1", 402), ("[S2] O2", 199), ("[S3] O3", 99), ("[S4] O4", 300)])),
        (12, of(&[("[S1] O1", 40), ("[S2] O2", 35), ("[S3] O3", 5), ("[S4] O4", 20)])),
        (13, of(&[("[S1] O1", 40), ("[S2] O2", 35), ("[S3] O3", 5), ("[S4] O4", 20)])),
        (14, of(&[("[S1] O1", 25), ("[S2] O2", 10), ("[S3] O3", 20), ("[S4] O4", 25)])),
        (
            16,
            of(&[
                ("[S1] O1", 40),
                ("[S2] O2", 5),
                ("[S3] O3", 15),
                ("[S4] O4", 10),
                ("[S5] O5", 10),
                ("[S6] O6", 20),
                ("[S7] O7", 10),
            ]),
        ),
        (19, of(&[("[S1] O1", 10), ("[S2] O2", 195), ("[S3] O3", 95), ("[S4] O4", 300)])),
        (20, of(&[("[S1] O1", 10), ("[S2] O2", 195), ("[S3] O3", 95), ("[S4] O4", 300)])),
        (21, of(&[("[S1] O1", 10), ("[S2] O2", 195), ("[S3] O3", 95), ("[S4] O4", 300)])),
    ])
}

#[test]
fn crisp_cases_agree_but_for_the_listed_ones() {
    let Some(folder) = corpus("crisp/test_cases") else { return };
    let ours = ours();
    let mut agreed = 0;
    for n in 1..=25 {
        let file = read(&folder.join(format!("{n}.json")));
        let expected = file["testing"].get("opTimeExclusive").unwrap_or(&file["testing"]);
        let expected = expected.as_array().map_or(expected, |list| &list[0]);
        let mut theirs: BTreeMap<String, u64> =
            expected.as_object().unwrap().iter().map(|(k, v)| (k.clone(), v.as_u64().unwrap())).collect();
        theirs.retain(|_, time| *time > 0);
        let trace = jaeger(&file["data"][0]);
        let got = by_label(&trace);
        match ours.get(&n) {
            Some(ours) => {
                assert_eq!(&got, ours, "case {n}");
                assert_ne!(&got, &theirs, "case {n} agrees now: take it off the list");
            }
            None => {
                assert_eq!(got, theirs, "case {n}");
                agreed += 1;
            }
        }
        // What CRISP's own sums do not do in the listed cases: fill the root.
        let root = trace.spans.iter().find(|s| s.parent.is_none()).unwrap();
        assert_eq!(got.values().sum::<u64>(), root.end.since(root.start).0, "case {n}");
    }
    assert_eq!(agreed, 17);
}

/// Pieces of one span that touch, joined: Jaeger draws them as one section or as two.
fn joined(mut pieces: Vec<(String, u64, u64)>) -> Vec<(String, u64, u64)> {
    pieces.sort_by_key(|p| p.1);
    let mut out: Vec<(String, u64, u64)> = Vec::new();
    for piece in pieces {
        match out.last_mut() {
            Some(last) if last.0 == piece.0 && last.2 == piece.1 => last.2 = piece.2,
            _ => out.push(piece),
        }
    }
    out
}

/// Cases in which ours differs from Jaeger's sections, with ours. Jaeger skips a sibling that overlaps the one after it
/// whole, even the part before that began; we clip it.
fn differing_sections() -> BTreeMap<&'static str, Vec<(&'static str, u64, u64)>> {
    BTreeMap::from([(
        "test2-overlapping-children",
        vec![("X", 1, 10), ("A", 10, 20), ("C", 20, 60), ("X", 60, 101)],
    )])
}

#[test]
fn jaeger_ui_sections_agree_but_for_the_listed_ones() {
    let Some(path) = corpus("jaeger-ui/critical-path-cases.json") else { return };
    let differing = differing_sections();
    let mut differed = 0;
    for case in read(&path)["cases"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let list = case["spans"].as_array().unwrap();
        let mut names: Vec<String> = list.iter().map(|s| s["id"].as_str().unwrap().to_owned()).collect();
        names.sort();
        let spans: Vec<PathSpan> = list
            .iter()
            .map(|s| PathSpan {
                id: id(&names, s["id"].as_str().unwrap()),
                parent: s["parent"].as_str().map(|p| id(&names, p)),
                kind: span_kind(s["kind"].as_str()),
                start: Timestamp(s["start"].as_u64().unwrap()),
                end: Timestamp(s["start"].as_u64().unwrap() + s["duration"].as_u64().unwrap()),
            })
            .collect();
        let label = |s: &PathSegment| names[u64::from_be_bytes(s.span.0) as usize - 1].clone();
        let got = joined(critical_path(&spans).iter().map(|s| (label(s), s.start.0, s.end.0)).collect());
        let section = |s: &Value| {
            (s["span"].as_str().unwrap().to_owned(), s["start"].as_u64().unwrap(), s["end"].as_u64().unwrap())
        };
        let theirs = joined(case["expected_sections"].as_array().unwrap().iter().map(section).collect());
        match differing.get(name) {
            Some(ours) => {
                let ours: Vec<_> =
                    ours.iter().map(|(span, from, to)| ((*span).to_owned(), *from, *to)).collect();
                assert_eq!(got, ours, "{name}");
                assert_ne!(got, theirs, "{name} agrees now: take it off the list");
                differed += 1;
            }
            None => assert_eq!(got, theirs, "{name}"),
        }
    }
    assert_eq!(differed, differing.len());
}

#[test]
fn jaeger_ui_traces_with_odd_children() {
    // Root only, [100, 140]: the child starts after its parent ended.
    let file = "jaeger-ui/traceWithSingleChildLongerThanParentAndStartsAfterParent.json";
    let Some(path) = corpus(file) else { return };
    let trace = jaeger(&read(&path));
    let path = critical_path(&trace.spans);
    let root = trace.spans.iter().find(|s| s.parent.is_none()).unwrap();
    assert_eq!(path, [PathSegment { span: root.id, start: Timestamp(100), end: Timestamp(140) }]);
}

/// Touching siblings: Jaeger asks for an end strictly before the next start and loses the first of the two.
#[test]
fn siblings_that_touch_are_chained() {
    let span = |n: u64, parent: Option<u64>, start, end| PathSpan {
        id: SpanId(n.to_be_bytes()),
        parent: parent.map(|p| SpanId(p.to_be_bytes())),
        kind: SpanKind::Internal,
        start: Timestamp(start),
        end: Timestamp(end),
    };
    let spans = [span(1, None, 0, 20), span(2, Some(1), 0, 10), span(3, Some(1), 10, 20)];
    let whose: Vec<u8> = critical_path(&spans).iter().map(|s| s.span.0[7]).collect();
    assert_eq!(whose, [2, 3]);
}

/// Every other trace of the corpus: whatever it is, the path fills the root and is in order.
#[test]
fn paths_of_published_traces_fill_their_roots() {
    let Some(folder) = corpus("jaeger-ui") else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.extend(
        corpus("deathstarbench")
            .map(|f| std::fs::read_dir(f).unwrap().map(|f| f.unwrap().path()))
            .into_iter()
            .flatten(),
    );
    files.sort();
    let mut traces = 0;
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let content = read(file);
        let list = match content["data"].as_array() {
            Some(list) => list.clone(),
            None => vec![content],
        };
        for trace in
            list.iter().filter(|t| t["spans"][0]["operationName"].is_string() && t["processes"].is_object())
        {
            let trace = jaeger(trace);
            let path = critical_path(&trace.spans);
            for pair in path.windows(2) {
                assert_eq!(pair[0].end, pair[1].start, "{}", file.display());
            }
            traces += usize::from(!path.is_empty());
        }
    }
    assert!(traces > 25, "only {traces} traces were read");
}
