//! Foreign text that tries to act on the readers of each format: 120 strings in every place of a gate.

use super::super::gate::{Check, Gate, GateVerdict, Outcome};
use super::*;
use crate::report::xml_reader::elements;
use serde_json::Value;

/// Strings that end, open, command, link, mention or hide in one format or another.
pub fn hostile() -> Vec<String> {
    const PLAIN: [&str; 56] = [
        "::error::injected",
        "::set-env name=PATH::/evil",
        "\n::add-mask::x",
        "\r\n::stop-commands::t\r\n",
        "##[error]x",
        "##[command]rm",
        "%0A::error::x",
        "%25%0D%0A",
        "a,file=/etc/passwd",
        "a:b,c=d::e",
        "</testcase>",
        "</failure><failure>",
        "]]>",
        "<![CDATA[x]]>",
        "<!--",
        "-->",
        "--><script>alert(1)</script>",
        "<!-- hotspan:gate:other -->",
        "<?xml version=\"1.0\"?>",
        "<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>&e;",
        "&amp;lt;",
        "&#0;",
        "&#x1f;",
        "\" onload=\"x",
        "' or '1'='1",
        "<img src=x onerror=alert(1)>",
        "<details open><summary>x",
        "</details>",
        "</summary>",
        "<script>alert(1)</script>",
        "<svg/onload=alert(1)>",
        "| a | b |",
        "|\n|---|",
        "\\|",
        "\\\\|",
        "`",
        "```",
        "``` ```` `",
        "[x](javascript:alert(1))",
        "![x](https://evil.test/p.png)",
        "https://evil.test",
        "www.evil.test",
        "mail@evil.test",
        "@octocat",
        "@org/team",
        "#1234",
        "GH-12",
        "org/repo#7",
        "**bold** __b__ ~~s~~",
        "# heading\n- list\n> quote",
        "\"} 1\nevil_metric 1",
        "\\\"} 1",
        "# EOF\n",
        "{a=\"b\"}",
        "$(rm -rf /) `id` ${PATH}",
        "'; DROP TABLE x; --",
    ];
    let mut all: Vec<String> = PLAIN.iter().map(ToString::to_string).collect();
    // Every control character and every hazard of terminals, one at a time.
    for code in (0u32..32).chain([
        0x7f, 0x85, 0x9b, 0x90, 0x200b, 0x200d, 0x200f, 0x202e, 0x2028, 0x2029, 0x2066, 0x2069, 0xfeff,
        0xfffe, 0xffff, 0xe0041,
    ]) {
        all.extend(char::from_u32(code).map(|c| format!("a{c}b")));
    }
    all.push("x".repeat(70_000));
    all.push("é".repeat(40_000));
    all.push("`".repeat(300));
    all.push(String::new());
    all.push("   ".into());
    all.push("\u{1b}[2J\u{1b}]0;t\u{7}".into());
    all.push("e\u{301}\u{302}\u{303}\u{304}\u{305}".into());
    all.push("商品|`商品`".into());
    all.push("../../etc/passwd".into());
    all.push("C:\\x\\y|z".into());
    all.push("file:///etc/passwd".into());
    all.push("https://ok.test/a)b](c".into());
    all.push("https://ok.test/\"><script>".into());
    all.push("%SRCROOT%/../x".into());
    all.push("-".repeat(90));
    all.push("gate -->\n## Passed".into());
    all
}

fn every() -> impl Iterator<Item = (String, Gate)> {
    hostile().into_iter().map(|text| (text.clone(), sample::of(&text)))
}

#[test]
fn there_are_as_many_as_promised() {
    assert!(hostile().len() >= 120, "{}", hostile().len());
}

#[test]
fn junit_keeps_its_elements() {
    let want = elements(&junit(&sample::of("name")));
    assert!(want.iter().any(|(depth, name)| (*depth, name.as_str()) == (3, "failure")));
    for (text, gate) in every() {
        assert_eq!(elements(&junit(&gate)), want, "{text:?}");
    }
}

#[test]
fn annotations_are_one_command_each() {
    let want = annotations(&sample::of("name")).lines().count();
    for (text, mut gate) in every() {
        let out = annotations(&gate);
        assert_eq!(out.lines().count(), want, "{text:?}");
        gate.verdict = GateVerdict::CannotTell;
        let out = out + &annotations(&gate);
        for line in out.lines() {
            let (command, message) =
                line.strip_prefix("::").and_then(|l| l.split_once("::")).expect("a command");
            let (name, properties) = command.split_once(' ').expect("properties");
            assert!(["error", "warning"].contains(&name), "{line}");
            let keys: Vec<&str> =
                properties.split(',').map(|p| p.split_once('=').unwrap_or((p, "")).0).collect();
            assert!(keys == ["title"] || keys == ["title", "file", "line"], "{text:?}: {line}");
            assert!(!properties.contains(':') && !message.contains('\r'), "{line}");
            assert!(line.chars().all(|c| !text::is_hazard(c)), "{text:?}");
        }
    }
}

#[test]
fn no_more_annotations_than_are_shown() {
    let mut gate = sample::of("name");
    let failed: Vec<Check> = gate.checks.iter().filter(|c| c.outcome == Outcome::Failed).cloned().collect();
    gate.checks = (0..8).flat_map(|_| failed.clone()).collect();
    let out = annotations(&gate);
    assert_eq!(out.lines().count(), 10);
    assert!(out.contains("and 31 more"), "{out}");
}

#[test]
fn openmetrics_is_lines_of_metrics() {
    for (text, gate) in every() {
        for out in [openmetrics(&gate), metrics(&gate)] {
            assert!(out.ends_with("\n# EOF\n"), "{text:?}");
            assert_eq!(out.matches("# EOF").filter(|_| true).count() - gate_eofs(&out), 1, "{text:?}");
            for line in out.lines().filter(|l| !l.starts_with("# ")) {
                assert!(line.starts_with("hotspan_"), "{text:?}: {line}");
                let value = line.rsplit_once("} ").expect("labels and a value").1;
                assert!(value.parse::<f64>().is_ok(), "{line}");
                // Quotes within values are escaped, so the others come in pairs around them.
                let bare = line.replace("\\\\", "").replace("\\\"", "");
                assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
            }
        }
    }
}

/// Ends that stand within a label, where they are text.
fn gate_eofs(out: &str) -> usize {
    out.lines().filter(|l| l.starts_with("hotspan_")).map(|l| l.matches("# EOF").count()).sum()
}

#[test]
fn json_formats_are_json_without_hazards() {
    for (text, gate) in every() {
        for out in [json(&gate), sarif(&gate), code_quality(&gate)] {
            let value: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{text:?}: {e}"));
            assert!(value.is_object() || value.is_array());
            assert!(out.chars().all(|c| c == '\n' || !text::is_hazard(c)), "{text:?}");
        }
        let whole: Value = serde_json::from_str(&json(&gate)).unwrap();
        assert_eq!(whole["checks"][0]["name"], text.as_str());
    }
}

#[test]
fn gates_are_of_their_schema() {
    let schema: Value = serde_json::from_str(include_str!("../../../docs/gate.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut gates = vec![sample::comparison(), sample::of("name"), Gate::default()];
    gates[1].checks[0].location = None;
    gates[1].checks[1].figures = Default::default();
    for gate in gates {
        let value: Value = serde_json::from_str(&json(&gate)).unwrap();
        let faults: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

#[test]
fn sarif_places_are_relative_references() {
    for (text, gate) in every() {
        let log: Value = serde_json::from_str(&sarif(&gate)).unwrap();
        for result in log["runs"][0]["results"].as_array().unwrap() {
            let uri = result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"].as_str().unwrap();
            assert!(
                uri.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~/%".contains(&b)),
                "{text:?}: {uri}"
            );
        }
    }
}

/// A document without its code spans, by the rule of CommonMark.
fn outside_code(line: &str) -> String {
    let (mut out, mut rest) = (String::new(), line);
    while let Some(at) = rest.find('`') {
        if rest[..at].ends_with('\\') {
            out.push_str(&rest[..=at]);
            rest = &rest[at + 1..];
            continue;
        }
        out.push_str(&rest[..at]);
        let run = |text: &str| text.len() - text.trim_start_matches('`').len();
        let fence = run(&rest[at..]);
        let (body, mut from) = (&rest[at + fence..], 0);
        let end = loop {
            let start =
                from + body[from..].find('`').unwrap_or_else(|| panic!("a code span does not end: {line}"));
            if run(&body[start..]) == fence {
                break start;
            }
            from = start + run(&body[start..]);
        };
        rest = &body[end + fence..];
    }
    out.push_str(rest);
    out
}

#[test]
fn comments_keep_their_lines_and_link_nowhere() {
    for (text, gate) in every() {
        let out = comment(&gate, SUMMARY_MAX);
        assert!(out.starts_with("<!-- hotspan:gate:"), "{text:?}");
        assert!(out.lines().skip(1).all(|l| !l.starts_with("<!--")), "{text:?}");
        // A trace's address is a link where it is one of the web.
        let linked = |line: &&str| text.starts_with("https://") && line.contains("[trace ");
        for line in out.lines().skip(1).filter(|line| !linked(line)) {
            // What we write ourselves.
            let own = outside_code(line)
                .replace("<!-- -->", "")
                .replace("[trace head](https://jaeger.test/trace/ab)", "")
                .replace("<details><summary>", "")
                .replace("</summary>", "")
                .replace("</details>", "")
                .replace("<sub>", "")
                .replace("</sub>", "");
            for bad in ["](", "<s", "<i", "<!", "<d", "</", "**b", "__b"] {
                assert!(!unescaped(&own, bad), "{bad} of {text:?} in: {line}");
            }
            let raw = outside_code(line).replace("[trace head](https://jaeger.test/trace/ab)", "");
            for link in ["@o", "@e", "https:/", "http:/", "www.e", "GH-1"] {
                assert!(!raw.contains(link), "{link} of {text:?} in: {line}");
            }
            assert!(line.chars().all(|c| !text::is_hazard(c) || c == '\u{fe0f}'), "{text:?} in: {line}");
        }
    }
}

/// Whether a text holds another whose first character no backslash takes away.
fn unescaped(text: &str, what: &str) -> bool {
    text.match_indices(what).any(|(at, _)| {
        let slashes = text[..at].len() - text[..at].trim_end_matches('\\').len();
        slashes.is_multiple_of(2)
    })
}

#[test]
fn tables_of_comments_keep_their_columns() {
    for (text, gate) in every() {
        let mut columns = None;
        for line in comment(&gate, SUMMARY_MAX).lines() {
            if !line.starts_with('|') {
                columns = None;
                continue;
            }
            let bars =
                line.char_indices().filter(|(at, c)| *c == '|' && !line[..*at].ends_with('\\')).count();
            assert_eq!(*columns.get_or_insert(bars), bars, "{text:?}: {line}");
        }
    }
}

#[test]
fn comments_fit() {
    for (text, mut gate) in every() {
        gate.checks = (0..50).flat_map(|_| gate.checks[..2].to_vec()).collect();
        let out = comment(&gate, COMMENT_MAX);
        assert!(
            out.len() <= COMMENT_MAX,
            "{} bytes of {:?}",
            out.len(),
            text.chars().take(20).collect::<String>()
        );
        assert!(out.contains("100 failed"), "{out}");
    }
}

#[test]
fn a_comparison_reads_well() {
    let out = comment(&sample::comparison(), COMMENT_MAX);
    insta::assert_snapshot!(out);
}
