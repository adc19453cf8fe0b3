//! Whole documents against golden files in `golden/`. `HOTSPAN_BLESS=1 cargo test --lib report::` writes them anew; look at
//! the difference before you commit it.

use super::sample::{self, Sample};
use super::{Style, headline, json, markdown, terminal};
use std::path::PathBuf;

/// Compares with a golden file, or writes it.
pub fn check(file: &str, got: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/report/golden").join(file);
    if std::env::var_os("HOTSPAN_BLESS").is_some() {
        std::fs::write(&path, got).unwrap();
        return;
    }
    let want = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; write it with HOTSPAN_BLESS=1", path.display()));
    if let Some((n, (want, got))) = want.lines().zip(got.lines()).enumerate().find(|(_, (w, g))| w != g) {
        panic!(
            "{file} differs in line {}:\n  want {want:?}\n  got  {got:?}\nlook, then HOTSPAN_BLESS=1",
            n + 1
        );
    }
    assert_eq!(want.len(), got.len(), "{file}: one is longer; look, then HOTSPAN_BLESS=1");
}

fn style(color: bool, width: usize, unicode: bool) -> Style {
    Style { color, width, unicode }
}

#[test]
fn the_demo_report_in_every_format() {
    let sample = sample::bottleneck();
    let report = sample.report();
    check("bottleneck.100.txt", &terminal(&report, style(false, 100, true)));
    check("bottleneck.100.color.txt", &terminal(&report, style(true, 100, true)));
    check("bottleneck.60.txt", &terminal(&report, style(false, 60, true)));
    check("bottleneck.60.ascii.txt", &terminal(&report, style(false, 60, false)));
    check("bottleneck.md", &markdown(&report));
    check("bottleneck.json", &json(&report));
}

#[test]
fn every_verdict_in_the_terminal() {
    for sample in sample::all() {
        check(&format!("{}.100.txt", sample.name), &terminal(&sample.report(), style(false, 100, true)));
    }
}

#[test]
fn every_sentence_at_60_columns_and_in_markdown() {
    let sample = sample::everything();
    check("everything.60.txt", &terminal(&sample.report(), style(false, 60, true)));
    check("everything.md", &markdown(&sample.report()));
    check("everything.json", &json(&sample.report()));
}

#[test]
fn headlines() {
    let lines: Vec<String> =
        sample::all().iter().map(|s| format!("{}: {}", s.name, headline(&s.report()))).collect();
    check("headlines.txt", &format!("{}\n", lines.join("\n")));
}

fn all_formats(sample: &Sample) -> [String; 4] {
    let report = sample.report();
    [terminal(&report, style(true, 100, true)), markdown(&report), json(&report), headline(&report)]
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    for (first, second) in sample::all().iter().zip(sample::all()) {
        assert_eq!(all_formats(first), all_formats(&second), "{}", first.name);
    }
}

#[test]
fn every_line_fits() {
    for sample in sample::all() {
        for width in [60, 61, 72, 79, 80, 84, 99, 100, 120, 140] {
            for unicode in [true, false] {
                let plain = terminal(&sample.report(), style(false, width, unicode));
                let color = terminal(&sample.report(), style(true, width, unicode));
                for line in plain.lines() {
                    let columns = super::text::width(line);
                    assert!(columns <= width, "{} at {width}: {columns} columns: {line}", sample.name);
                    assert_eq!(line.trim_end(), line, "trailing space");
                }
                if !unicode {
                    assert!(plain.is_ascii(), "{}", sample.name);
                }
                assert_eq!(plain.lines().count(), color.lines().count(), "colour changes the layout");
            }
        }
    }
}

#[test]
fn colour_adds_nothing_but_colour() {
    for sample in sample::all() {
        // The patterns of bars become solid; all else must be the same text.
        let strip = |text: &str| -> String {
            let mut out = String::new();
            let mut rest = text;
            while let Some(at) = rest.find('\u{1b}') {
                out.push_str(&rest[..at]);
                let end = rest[at..].find('m').expect("an SGR sequence ends in m");
                assert!(rest[at + 1..at + end].chars().all(|c| matches!(c, '[' | ';' | '0'..='9')));
                rest = &rest[at + end + 1..];
            }
            out.push_str(rest);
            out
        };
        let color = strip(&terminal(&sample.report(), style(true, 100, true)));
        let plain = terminal(&sample.report(), style(false, 100, true));
        let solid = |text: &str| text.replace(['!', '+', '░', '╳', '▒', '▚', '≈', '◊', '▓', '═', '?'], "█");
        assert_eq!(solid(&color), solid(&plain), "{}", sample.name);
    }
}
