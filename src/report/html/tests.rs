//! The page's bytes: deterministic, self-contained, and without a way out for foreign text.

use super::*;
use crate::report::ci::hostile_tests::hostile as every_hostile;
use crate::report::sample;

#[test]
fn hashes_are_written_as_a_content_policy_wants_them() {
    assert_eq!(hash_source(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(hash_source("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
}

/// What stands between two texts.
fn between<'t>(text: &'t str, from: &str, to: &str) -> &'t str {
    let at = text.find(from).unwrap_or_else(|| panic!("no {from}")) + from.len();
    &text[at..at + text[at..].find(to).unwrap_or_else(|| panic!("no {to} after {from}"))]
}

#[test]
fn every_sample_is_a_page_that_loads_nothing() {
    for sample in sample::all() {
        let page = html(&sample.report());
        assert_eq!(page, html(&sample.report()), "{}", sample.name);
        let whole: serde_json::Value =
            serde_json::from_str(between(&page, "id=\"report\">", "</script>")).unwrap();
        let file: serde_json::Value = serde_json::from_str(&json::json(&sample.report())).unwrap();
        assert_eq!(whole, file, "{}: the page and report.json differ", sample.name);
        for outside in ["src=\"", "href=\"http", "@import", "url("] {
            assert!(!page.contains(outside), "{}: {outside}", sample.name);
        }
        assert_eq!(page.matches("<script").count(), 5, "{}", sample.name);
        assert!(page.len() < 1 << 20, "{}: {} bytes", sample.name, page.len());
    }
}

#[test]
fn the_policy_names_the_scripts_that_are_there() {
    let page = html(&sample::bottleneck().report());
    let policy = between(&page, "Content-Security-Policy\" content=\"", "\"");
    let script = between(&page, "<script>", "</script>");
    let style = between(&page, "<style>", "</style>");
    assert!(policy.contains(&hash_source(script)) && policy.contains(&hash_source(style)), "{policy}");
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
}

#[test]
fn foreign_text_does_not_leave_its_element() {
    let own = [
        "</script><script>alert(1)</script>",
        "<!--<script>",
        "\u{2028}\u{2029}",
        "\u{0}\u{1b}[31m",
        "&lt;&#60;",
    ];
    for text in own.into_iter().map(str::to_owned).chain(every_hostile()) {
        let mut sample = sample::bottleneck();
        sample.run.name = text.clone();
        sample.run.target = text.clone();
        for step in &mut sample.run.steps {
            step.name = text.clone();
        }
        let page = html(&sample.report());
        assert_eq!(page.matches("<script").count(), 5, "{text:?}");
        assert_eq!(page.matches("</script").count(), 5, "{text:?}");
        assert!(
            !page.contains('\u{2028}') && !page.contains('\u{0}') && !page.contains('\u{1b}'),
            "{text:?}"
        );
        let whole: serde_json::Value =
            serde_json::from_str(between(&page, "id=\"report\">", "</script>")).unwrap();
        assert_eq!(whole["run"]["target"], text);
    }
}
