//! The pages as HTML. Everything that comes from a run passes through [`text`].

use super::{RunResult, RunRow};
use crate::record::{RunState, Timestamp, date_of_day};
use crate::report::look::{self, NBSP, count, ms, seconds};
use std::fmt::Write;

/// Foreign text for an element or a quoted attribute.
fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in look::clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Text of several lines: each made harmless by itself.
fn lines(several: &str) -> String {
    several.lines().map(text).collect::<Vec<_>>().join("\n")
}

fn whole(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n</head>\n<body>\n\
         <header><a class=\"home\" href=\"/\">hotspan</a></header>\n<main>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A sentence where a page should be.
pub fn message(status: u16, why: &str) -> String {
    whole(
        &format!("{status} · hotspan"),
        &format!("<h1>{status}</h1>\n<p>{}</p>\n<p><a href=\"/\">All runs</a></p>\n", text(why)),
    )
}

/// The list of runs.
pub fn list(found: &[&RunRow], all: usize, search: &str) -> String {
    let mut body = String::from("<h1>Runs</h1>\n");
    let _ = write!(
        body,
        "<form class=\"search\" role=\"search\" method=\"get\" action=\"/\">\n\
         <label for=\"q\">Search names, targets, answers, tags and notes</label>\n\
         <span><input id=\"q\" name=\"q\" type=\"search\" value=\"{}\" placeholder=\"shop tag:release\">\n\
         <button>Search</button></span>\n</form>\n",
        text(search)
    );
    let words = match (found.len(), all, search.trim()) {
        (_, 0, _) => "No run yet. <code>hotspan demo</code> makes one.".to_owned(),
        (n, all, "") => format!("{} of {}.", count(n as u64), look::counted(all as u64, "run", "runs")),
        (n, all, _) => format!(
            "{} of {} found. <a href=\"/\">Show all</a>",
            count(n as u64),
            look::counted(all as u64, "run", "runs")
        ),
    };
    let _ = writeln!(body, "<p class=\"aside\">{words}</p>");
    if !found.is_empty() {
        body.push_str(
            "<div class=\"wide\"><table>\n<thead><tr><th scope=\"col\">run</th><th scope=\"col\">answer</th>\
             <th scope=\"col\" class=\"n\">requests</th><th scope=\"col\" class=\"n\">errors</th>\
             <th scope=\"col\" class=\"n\">p95 ms</th><th scope=\"col\">thresholds</th></tr></thead>\n<tbody>\n",
        );
        found.iter().for_each(|run| row(run, &mut body));
        body.push_str("</tbody></table></div>\n");
    }
    whole("Runs · hotspan", &body)
}

fn row(run: &RunRow, body: &mut String) {
    let _ = write!(
        body,
        "<tr><th scope=\"row\"><a href=\"/runs/{}\">{}</a><br><span class=\"aside\">{}{}</span>{}</th>",
        text(&run.id),
        text(&run.name),
        moment(run.started_at),
        state(run),
        tags(run)
    );
    match &run.result {
        None => {
            body.push_str("<td class=\"aside\">no report</td><td></td><td></td><td></td><td></td></tr>\n")
        }
        Some(result) => {
            let _ = writeln!(
                body,
                "<td>{}</td><td class=\"n\">{}</td><td class=\"n{}\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                text(&result.headline),
                count(result.exchanges),
                if result.errors > 0 { " bad" } else { "" },
                count(result.errors),
                ms(result.p95_ms),
                thresholds(result)
            );
        }
    }
}

fn thresholds(result: &RunResult) -> String {
    match result.thresholds {
        (0, _) => "none".into(),
        (all, 0) => format!("<span class=\"good\">all {all} hold</span>"),
        (all, failed) => format!("<span class=\"bad\">{failed} of {all} failed</span>"),
    }
}

fn tags(run: &RunRow) -> String {
    run.notes.tags.iter().map(|tag| format!(" <span class=\"tag\">{}</span>", text(tag))).collect()
}

fn state(run: &RunRow) -> String {
    let lasted =
        run.lasted.map(|time| format!(" · {}", seconds(time).replace(NBSP, " "))).unwrap_or_default();
    let word = match run.state {
        RunState::Complete => "",
        RunState::Running => " · running, or was killed",
        RunState::Interrupted => " · interrupted",
        RunState::Aborted => " · stopped early",
    };
    lasted + word
}

/// `2026-11-28 15:03 UTC`.
fn moment(at: Timestamp) -> String {
    let minutes = at.0 / 60_000_000_000;
    let (year, month, day) = date_of_day(minutes / 1_440);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minutes / 60 % 24, minutes % 60)
}

/// One run: what it was, its report, its notes.
pub fn run(run: &RunRow) -> String {
    let id = text(&run.id);
    let mut body = format!("<h1>{}</h1>\n", text(&run.name));
    let _ = writeln!(
        body,
        "<p class=\"aside\">{} · {}{}<br><code>{id}</code></p>",
        text(&run.target),
        moment(run.started_at),
        state(run)
    );
    if let Some(result) = &run.result {
        let _ = writeln!(body, "<p class=\"answer\">{}</p>", text(&result.headline));
        let _ = writeln!(
            body,
            "<p>{}, {}, p95 {} ms, thresholds: {}</p>",
            look::counted(result.exchanges, "request", "requests"),
            look::counted(result.errors, "error", "errors"),
            ms(result.p95_ms),
            thresholds(result)
        );
    }
    body.push_str("<p>");
    if run.has_page {
        let _ = write!(body, "<a class=\"button\" href=\"/runs/{id}/report\">Report</a> ");
    }
    let _ = writeln!(body, "<a href=\"/runs/{id}/report.md\">Report as text</a></p>");
    let _ = write!(
        body,
        "<h2 id=\"notes\">Tags and notes</h2>\n<form method=\"post\" action=\"/runs/{id}/notes\">\n\
         <label for=\"tags\">Tags</label>\n<input id=\"tags\" name=\"tags\" value=\"{}\" placeholder=\"release-2.1 before\">\n\
         <label for=\"text\">Note</label>\n<textarea id=\"text\" name=\"text\" rows=\"8\">\n{}</textarea>\n\
         <button>Keep</button>\n</form>\n",
        text(&run.notes.tags.join(" ")),
        lines(&run.notes.text)
    );
    whole(&format!("{} · hotspan", text(&run.name)), &body)
}
