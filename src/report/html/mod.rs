//! The report as one HTML file that needs nothing else: no network, no other file, no server.
//!
//! The page is the same for every run; its scripts and styles are files of this folder, put in as they are. What a run
//! says is data beside them, in a script element that no browser runs. So nothing that a scenario, a server or a span
//! wrote ever becomes markup: the page's scripts put texts in as text. A content policy with the hashes of those scripts
//! forbids all others, and every connection.

mod data;
#[cfg(test)]
mod tests;
mod words;

pub(super) use data::distribution;

use super::{Report, json, markdown};
use crate::analysis::result::TraceTree;
use crate::record::Timestamp;
use crate::report::text;
use crate::report::view::View;
use ring::digest::{SHA256, digest};

/// Elements, numbers, charts and the waterfall: what the local web pages share with the report.
const SHARED: [&str; 4] = [
    include_str!("page/kit.js"),
    include_str!("page/format.js"),
    include_str!("page/charts.js"),
    include_str!("page/waterfall.js"),
];
/// The parts of the page's script, in order; one function around all of them.
const SCRIPTS: [&str; 13] = [
    include_str!("page/base.js"),
    include_str!("page/course.js"),
    include_str!("page/summary.js"),
    include_str!("page/findings.js"),
    include_str!("page/blame.js"),
    include_str!("page/latency.js"),
    include_str!("page/requests.js"),
    include_str!("page/flame.js"),
    include_str!("page/map.js"),
    include_str!("page/load.js"),
    include_str!("page/whatif.js"),
    include_str!("page/evidence.js"),
    include_str!("page/main.js"),
];
const UPLOT: &str = include_str!("vendor/uPlot.iife.min.js");
const STYLES: [&str; 2] = [include_str!("vendor/uPlot.min.css"), include_str!("page/style.css")];
const BODY: &str = include_str!("page/body.html");

/// The style of the report's page, for pages that look like it.
pub fn style() -> String {
    STYLES.join("\n")
}

/// A script for a page that looks like the report: the chart library, and one function around the shared parts and `more`.
pub fn script(more: &[&str]) -> String {
    format!("{UPLOT}\n(function () {{\n\"use strict\";\n{}\n{}\n}})();\n", SHARED.join("\n"), more.join("\n"))
}

/// A request of a run that began at `start`, with its spans as the waterfall takes them and the owners that it names, as JSON.
pub fn trace(tree: &TraceTree, start: Timestamp) -> serde_json::Value {
    data::trace(tree, start)
}

/// The report as a page: the same bytes for the same report.
pub fn html(report: &Report) -> String {
    let view = View::new(report);
    let style = style();
    let script = script(&SCRIPTS);
    let policy = format!(
        "default-src 'none'; script-src '{}'; style-src '{}'; img-src data: blob:; base-uri 'none'; form-action 'none'",
        hash_source(&script),
        hash_source(&style)
    );
    let title = escaped(&text::clean(&format!("{} · hotspan", report.run.name)));
    let mut out = String::with_capacity(512 * 1024);
    out.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str(&format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n"));
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<meta name=\"color-scheme\" content=\"light dark\">\n<meta name=\"referrer\" content=\"no-referrer\">\n");
    out.push_str(&format!("<title>{title}</title>\n<style>{style}</style>\n</head>\n{BODY}"));
    let pieces = [
        ("report", json::embedded(&json::document(&view))),
        ("pictures", json::embedded(&data::Pictures::new(&view))),
        ("words", json::embedded(&words::Words::new(&view))),
        ("markdown", json::embedded(&markdown(report))),
    ];
    for (id, json) in pieces {
        out.push_str(&format!("<script type=\"application/json\" id=\"{id}\">{json}</script>\n"));
    }
    out.push_str(&format!("<script>{script}</script>\n</body>\n</html>\n"));
    out
}

/// A text between tags.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// How a content policy names an inline script or style: by its hash.
fn hash_source(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let hash = digest(&SHA256, text.as_bytes());
    let mut out = String::from("sha256-");
    for group in hash.as_ref().chunks(3) {
        let byte = |i: usize| u32::from(group.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i)) as usize & 63];
            out.push(if i > group.len() { '=' } else { char::from(digit) });
        }
    }
    out
}
