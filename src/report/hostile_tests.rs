//! Foreign text that tries to act on terminals, Markdown renderers, JSON readers and people.

use super::ci::hostile_tests::hostile as every_hostile;
use super::sample::{self, Sample};
use super::{Style, headline, json, markdown, terminal};
use crate::analysis::result::*;
use crate::record::{FailureClass, TraceId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Each is put in every place where foreign text can stand.
const HOSTILE: [&str; 34] = [
    "\u{1b}[2J\u{1b}[1;1Hcleared",
    "\u{1b}]0;title\u{7}",
    "\u{1b}]8;;http://evil.test\u{1b}\\link\u{1b}]8;;\u{1b}\\",
    "\u{9b}31mred",
    "\u{90}dcs\u{9c}",
    "one\ntwo\r\nthree\rfour",
    "tab\tbed\u{b}\u{c}",
    "back\u{8}\u{8}\u{8}space\u{7f}",
    "nul\u{0}byte",
    "\u{202e}txt.exe\u{202c}",
    "\u{2066}isolate\u{2069} \u{200f}rtl\u{200e}",
    "zero\u{200b}width\u{200d}join\u{feff}er\u{2060}",
    "line\u{2028}para\u{2029}sep",
    "tag\u{e0041}\u{e0042}\u{e007f}s",
    "z\u{300}\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}algo",
    "soft\u{ad}hyphen \u{34f}joiner \u{3164}filler",
    "商品一覧を取得する商品一覧を取得する商品一覧を取得する商品一覧を取得する商品一覧を取得する",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag 🇩🇪",
    "مرحبا بالعالم",
    "| a | b |\n|---|---|",
    "`code` ``more`` ```fence```",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "&lt;b&gt; &#64;here &amp;",
    "[link](javascript:alert(1)) ![image](http://evil.test/x.png)",
    "https://evil.test/ www.evil.test mail@evil.test",
    "@octocat @org/team #1234 GH-12",
    "**bold** __bold__ ~~gone~~ *a* _b_",
    "# heading\n\n- list\n\n1. one\n\n> quote\n\n---",
    "\\ \\| \\` trailing\\",
    "\"quotes\" 'and' {braces} $(cmd) ${env}",
    "\u{fffe}\u{ffff}\u{fdd0}nonchars\u{10ffff}",
    "        ",
    "a_very_long_name_without_any_space_that_goes_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on_and_on",
    "`",
];

/// The sample with everything, its foreign text replaced.
fn poisoned(text: &str) -> Sample {
    let mut sample = sample::everything();
    let shared = || Arc::<str>::from(text);
    for finding in &mut sample.analysis.findings {
        poison(&mut finding.contributor, text);
    }
    for step in &mut sample.analysis.steps {
        for owner in &mut step.contributors {
            poison(&mut owner.contributor, text);
        }
        step.failures = BTreeMap::from([(FailureClass::Reset, (3, shared()))]);
        step.checks = BTreeMap::from([(shared(), (2, shared()))]);
        let (service, name) = (shared(), shared());
        let contributor =
            Contributor { category: Category::Database, service, system: shared(), name, code: shared() };
        step.reasons =
            vec![Reason { contributor, words: shared(), exchanges: 2, trace_id: TraceId([9; 16]) }];
        step.errors = 3;
    }
    for operation in &mut sample.analysis.operations {
        (operation.service, operation.name) = (shared(), shared());
    }
    sample.analysis.telemetry.services = BTreeMap::from([(shared(), 12)]);
    for step in &mut sample.run.steps {
        (step.name, step.journey) = (text.to_owned(), text.to_owned());
    }
    sample.run.id = text.to_owned();
    sample.run.name = text.to_owned();
    sample.run.target = text.to_owned();
    sample.run.warnings = vec![text.to_owned()];
    sample.run.export.endpoint = Some(text.to_owned());
    sample.run.export.last_error = Some(text.to_owned());
    for threshold in &mut sample.thresholds {
        threshold.expression = text.to_owned();
    }
    sample
}

fn poison(contributor: &mut Contributor, text: &str) {
    let shared = || Arc::<str>::from(text);
    *contributor = Contributor {
        category: contributor.category,
        service: shared(),
        system: shared(),
        name: shared(),
        code: shared(),
    };
}

/// These, and those that every format is tried with.
fn every_sample() -> impl Iterator<Item = (String, Sample)> {
    let all = HOSTILE.into_iter().map(str::to_owned).chain(every_hostile());
    // What is cut at a hundred columns is cut at five thousand characters as at seventy thousand.
    let all = all.map(|text| text.chars().take(5_000).collect::<String>());
    all.map(|text| (text.clone(), poisoned(&text)))
}

#[test]
fn terminals_get_text_and_our_own_colours_only() {
    for (text, sample) in every_sample() {
        for (color, width, unicode) in
            [(true, 100, true), (false, 60, true), (false, 100, false), (true, 60, false)]
        {
            let out = terminal(&sample.report(), Style { color, width, unicode });
            let mut plain = String::new();
            let mut rest = out.as_str();
            while let Some(at) = rest.find('\u{1b}') {
                assert!(color, "an escape without colour: {text:?}");
                plain.push_str(&rest[..at]);
                let end = at + rest[at..].find('m').expect("SGR");
                assert!(
                    rest[at + 1..end].starts_with('[')
                        && rest[at + 2..end].bytes().all(|b| b == b';' || b.is_ascii_digit())
                );
                rest = &rest[end + 1..];
            }
            plain.push_str(rest);
            for line in plain.lines() {
                assert!(super::text::width(line) <= width, "{text:?} at {width}: {line}");
            }
            for c in plain.chars().filter(|c| *c != '\n') {
                assert!(!super::text::is_hazard(c), "{c:?} of {text:?} got through");
                assert!(unicode || c.is_ascii(), "{c:?} in ASCII");
            }
        }
    }
}

#[test]
fn foreign_text_forges_no_lines() {
    // The harmless name and the hostile one give documents of the same sections.
    let sections = |sample: &Sample| {
        let out = terminal(&sample.report(), Style { color: false, width: 100, unicode: true });
        let heads = [
            "STEPS",
            "ERRORS",
            "FINDINGS",
            "THRESHOLDS",
            "EVIDENCE",
            "WARNINGS",
            "NOTES",
            "TRACES TO LOOK AT",
            "FILES",
        ];
        heads.map(|h| out.lines().filter(|l| l.starts_with(h)).count())
    };
    let want = sections(&poisoned("name"));
    assert_eq!(want, [1; 9]);
    for (text, sample) in every_sample() {
        assert_eq!(sections(&sample), want, "{text:?}");
        assert_eq!(headline(&sample.report()).lines().count(), 1, "{text:?}");
    }
}

/// What is left of a Markdown document without its code spans, by the rule of CommonMark: a span ends at a run of as many
/// back-ticks as it began with.
fn outside_code(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(at) = rest.find('`') {
        if rest[..at].ends_with('\\') {
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        out.push_str(&rest[..at]);
        let fence = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let body = &rest[at + fence..];
        let mut end = None;
        let mut from = 0;
        while let Some(tick) = body[from..].find('`') {
            let start = from + tick;
            let run = body[start..].len() - body[start..].trim_start_matches('`').len();
            if run == fence {
                end = Some(start);
                break;
            }
            from = start + run;
        }
        let end = end.unwrap_or_else(|| panic!("a code span does not end: {line}"));
        out.push('\u{1}');
        rest = &body[end + fence..];
    }
    out.push_str(rest);
    out
}

#[test]
fn markdown_keeps_foreign_text_in_code_spans() {
    let bare = outside_code(&markdown(&poisoned("name").report()));
    for (text, sample) in every_sample() {
        let out = markdown(&sample.report());
        assert!(out.chars().all(|c| c == '\n' || !super::text::is_hazard(c)), "{text:?}");
        for line in out.lines() {
            let bare = outside_code(line);
            for bad in ["<s", "<i", "](", "@", "http:", "https:", "www.", "**b", "__b", "~~"] {
                assert!(
                    !bare.contains(bad) || bare.contains("OTEL\\_EXPORTER"),
                    "{bad} of {text:?} in: {line}"
                );
            }
        }
        if !text.trim().is_empty() {
            let got: Vec<String> = out.lines().map(outside_code).collect();
            assert_eq!(got.len(), bare.lines().count(), "{text:?} adds or removes lines");
        }
    }
}

#[test]
fn markdown_tables_keep_their_columns() {
    for (text, sample) in every_sample() {
        let mut columns = None;
        for line in markdown(&sample.report()).lines() {
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            // GFM splits at every pipe that is not escaped, in code spans too; whether "\\\\|" is, depends on the renderer.
            let bars =
                line.char_indices().filter(|(at, c)| *c == '|' && !line[..*at].ends_with('\\')).count();
            let pairs = line.replace("\\\\", "").replace("\\|", "").matches('|').count();
            assert_eq!(bars, pairs, "{text:?}: {line}");
            assert_eq!(*columns.get_or_insert(bars), bars, "{text:?}: {line}");
        }
    }
}

#[test]
fn json_gives_foreign_text_back_whole_and_holds_no_hazard() {
    for (text, sample) in every_sample() {
        let out = json(&sample.report());
        assert!(out.chars().all(|c| c == '\n' || !super::text::is_hazard(c)), "{text:?}");
        let value: serde_json::Value = serde_json::from_str(&out).unwrap();
        for at in [
            "/run/name",
            "/run/target",
            "/steps/0/name",
            "/steps/0/contributors/0/name",
            "/thresholds/0/expression",
            "/telemetry/export/last_error",
        ] {
            assert_eq!(value.pointer(at).and_then(|v| v.as_str()), Some(&*text), "{at}");
        }
    }
}
