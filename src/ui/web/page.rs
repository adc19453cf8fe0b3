//! The pages as HTML. Everything that comes from a run passes through [`text`], or stands as JSON in an element that no
//! browser runs.

use super::store::{RunResult, RunRow};
use crate::record::{RunState, Timestamp, date_of_day};
use crate::report::embedded_json;
use crate::report::look::{self, NBSP, count, ms, percent, seconds};
use serde_json::{Value, json};
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

/// What stands around every page.
pub struct Shell<'a> {
    /// What forms carry.
    pub csrf: &'a str,
    /// Whether runs can be started.
    pub may_start: bool,
}

/// A page with the links in `menu`, the one at `here` marked; both trusted.
fn whole(title: &str, menu: &[(&str, &str)], here: &str, body: &str) -> String {
    let mut links = String::new();
    for (name, to) in menu {
        let current = if *to == here { " aria-current=\"page\"" } else { "" };
        let _ = write!(links, "<a href=\"{to}\"{current}>{name}</a>");
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<link rel=\"stylesheet\" href=\"/style.css\">\n<link rel=\"icon\" href=\"data:,\">\n\
         <script src=\"/app.js\" defer></script>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#main\">Skip to the page</a>\n\
         <header class=\"top\"><a class=\"brand\" href=\"/\" aria-label=\"hotspan, all runs\"><span class=\"mark\" aria-hidden=\"true\"></span>hotspan</a>\n\
         <nav class=\"menu\" aria-label=\"Pages\">{links}</nav>\n\
         <span class=\"tools\"><button type=\"button\" id=\"theme\" aria-pressed=\"false\" title=\"Light or dark\" hidden>Theme</button></span></header>\n\
         <main id=\"main\" class=\"sheet\" tabindex=\"-1\">\n{body}</main>\n\
         <div class=\"tip\" id=\"tip\" role=\"tooltip\" hidden></div>\n\
         <div class=\"live\" id=\"live\" role=\"status\" aria-live=\"polite\"></div>\n</body>\n</html>\n"
    )
}

/// A sentence where a page should be.
pub fn message(status: u16, why: &str) -> String {
    let body = format!(
        "<p class=\"kicker\">{status}</p>\n<h1 class=\"headline\">{}</h1>\n<p><a href=\"/\">All runs</a></p>\n",
        text(why)
    );
    whole(&format!("{status} · hotspan"), &[], "", &body)
}

/// The page that asks for the token, and where to go on then.
pub fn enter(has_token: bool, to: &str) -> String {
    if !has_token {
        return message(404, "This server has no token: everybody on this machine may look.");
    }
    let body = format!(
        "<h1 class=\"headline\">Who may look here has the token</h1>\n\
         <p class=\"lead\">It was printed when the server was started, in a link that opens this page with it.</p>\n\
         <form class=\"enter\" method=\"post\" action=\"/enter\" id=\"enter\">\n\
         <input type=\"hidden\" name=\"to\" id=\"enter-to\" value=\"{}\">\n\
         <label for=\"token\">Token</label>\n\
         <span class=\"together\"><input id=\"token\" name=\"token\" type=\"password\" autocomplete=\"off\" required>\n\
         <button class=\"primary\">Enter</button></span>\n</form>\n",
        text(to)
    );
    whole("Enter · hotspan", &[], "", &body)
}

/// What pages with a script need to know of a run.
pub fn facts(run: &RunRow) -> Value {
    json!({
        "id": run.id,
        "name": run.name,
        "target": run.target,
        "at": moment(run.started_at),
        "state": state(run).trim_start_matches(" · "),
        "tags": run.notes.tags,
        "headline": run.result.as_ref().map(|result| &result.headline),
    })
}

impl Shell<'_> {
    fn menu(&self) -> Vec<(&'static str, &'static str)> {
        let mut menu = vec![("Runs", "/"), ("Trends", "/trend")];
        if self.may_start {
            menu.extend([("Start", "/start"), ("Live", "/live")]);
        }
        menu
    }

    /// A page that the script makes of its data; the title is ours.
    pub fn tool(&self, title: &str, here: &str, data: &Value) -> String {
        let body = format!(
            "<noscript><p class=\"empty\">This page is drawn by the server's own script. Allow it, or read the report as text.</p></noscript>\n\
             <script type=\"application/json\" id=\"page\">{}</script>\n",
            embedded_json(data)
        );
        whole(&format!("{title} · hotspan"), &self.menu(), here, &body)
    }

    /// The list of runs.
    pub fn list(&self, found: &[&RunRow], all: usize, search: &str) -> String {
        let mut body = String::from("<div class=\"over\"><h1 class=\"headline\">Runs</h1>\n");
        let _ = write!(
            body,
            "<form class=\"search\" role=\"search\" method=\"get\" action=\"/\">\n\
             <label class=\"sr\" for=\"q\">Search names, targets, answers, tags and notes</label>\n\
             <input id=\"q\" name=\"q\" type=\"search\" value=\"{}\" placeholder=\"shop tag:release\">\n\
             <button>Search</button>\n</form></div>\n",
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
        let _ = writeln!(body, "<p class=\"lead\">{words}</p>");
        if !found.is_empty() {
            body.push_str(
                "<form method=\"get\" action=\"/compare\" class=\"picker\">\n\
                 <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Runs\"><table class=\"runs\">\n<thead><tr><th scope=\"col\">Run</th>\
                 <th scope=\"col\">Answer</th><th scope=\"col\" class=\"n\">Requests</th><th scope=\"col\" class=\"n\">Errors</th>\
                 <th scope=\"col\" class=\"n\">p95 ms</th><th scope=\"col\">Thresholds</th>\
                 <th scope=\"col\">Compare as</th></tr></thead>\n<tbody>\n",
            );
            found.iter().for_each(|run| row(run, &mut body));
            body.push_str(
                "</tbody></table></div>\n<p class=\"decide\"><span>Tick the runs of <b>base</b> (before) and of <b>head</b> (after); several of a side \
                 make a comparison sure.</span> <button class=\"primary\">Compare</button></p>\n</form>\n",
            );
        }
        whole("Runs · hotspan", &self.menu(), "/", &body)
    }

    /// One run: what it was, its report, its notes.
    pub fn run(&self, run: &RunRow) -> String {
        let id = text(&run.id);
        let mut body = format!(
            "<p class=\"kicker\"><a href=\"/\">Runs</a></p>\n<h1 class=\"headline\">{}</h1>\n",
            text(&run.name)
        );
        let _ = writeln!(
            body,
            "<p class=\"run-line\">{} · {}{} · <code>{id}</code></p>",
            text(&run.target),
            moment(run.started_at),
            state(run)
        );
        if let Some(result) = &run.result {
            let _ = writeln!(body, "<p class=\"answer\">{}</p>", text(&result.headline));
            body.push_str(&blame(&result.categories));
            body.push_str("<dl class=\"figures\">");
            for (name, value) in [
                ("Requests", count(result.exchanges)),
                ("Errors", count(result.errors)),
                ("p95 of the slowest step, ms", ms(result.p95_ms)),
                ("Thresholds", thresholds(result)),
            ] {
                let _ = write!(
                    body,
                    "<div class=\"figure\"><dt>{name}</dt><dd><strong>{value}</strong></dd></div>"
                );
            }
            body.push_str("</dl>\n");
        }
        body.push_str("<p class=\"ways\">");
        if run.has_page {
            let _ = write!(body, "<a class=\"button primary\" href=\"/runs/{id}/report\">Report</a> ");
        }
        let _ = write!(body, "<a class=\"button\" href=\"/runs/{id}/traces\">Traces</a> ");
        let _ = write!(body, "<a class=\"button\" href=\"/runs/{id}/report.md\">Report as text</a> ");
        if self.may_start {
            let _ = write!(body, "<a class=\"button\" href=\"/start?run={id}\">Run again</a>");
        }
        let _ = write!(
            body,
            "</p>\n<h2 id=\"notes\">Tags and notes</h2>\n<form method=\"post\" action=\"/runs/{id}/notes\" class=\"notes\">\n\
             <input type=\"hidden\" name=\"csrf\" value=\"{}\">\n\
             <label for=\"tags\">Tags</label>\n<input id=\"tags\" name=\"tags\" value=\"{}\" placeholder=\"release-2.1 before\">\n\
             <label for=\"text\">Note</label>\n<textarea id=\"text\" name=\"text\" rows=\"6\">\n{}</textarea>\n\
             <button>Keep</button>\n</form>\n",
            text(self.csrf),
            text(&run.notes.tags.join(" ")),
            lines(&run.notes.text)
        );
        whole(&format!("{} · hotspan", text(&run.name)), &self.menu(), "/", &body)
    }
}

fn row(run: &RunRow, body: &mut String) {
    let (id, name) = (text(&run.id), text(&run.name));
    let _ = write!(
        body,
        "<tr><th scope=\"row\"><a href=\"/runs/{id}\">{name}</a><small>{}{}</small>{}</th>",
        moment(run.started_at),
        state(run),
        tags(run)
    );
    match &run.result {
        None => body.push_str("<td class=\"dim\">no report</td><td></td><td></td><td></td><td></td>"),
        Some(result) => {
            let _ = write!(
                body,
                "<td class=\"says\"><div class=\"brief\">{}</div>{}</td><td class=\"n\">{}</td><td class=\"n{}\">{}</td><td class=\"n\">{}</td><td>{}</td>",
                text(&result.headline),
                blame(&result.categories),
                count(result.exchanges),
                if result.errors > 0 { " bad" } else { "" },
                count(result.errors),
                ms(result.p95_ms),
                thresholds(result)
            );
        }
    }
    body.push_str("<td class=\"sides\">");
    for side in ["base", "head"] {
        let _ = write!(
            body,
            "<label><input type=\"checkbox\" name=\"{side}\" value=\"{id}\" aria-label=\"{name} of {} as {side}\"><span aria-hidden=\"true\">{side}</span></label>",
            moment(run.started_at)
        );
    }
    body.push_str("</td></tr>\n");
}

/// Where the latency went, as a bar. No style of an element may say its width, so it is drawn.
fn blame(categories: &[(String, f64)]) -> String {
    let total: f64 = categories.iter().map(|(_, share)| share).sum();
    if total <= 0.0 {
        return String::new();
    }
    let mut parts = String::new();
    let mut at = 0.0;
    let mut words = Vec::new();
    for (name, share) in categories {
        let width = 1_000.0 * share / total;
        let _ = write!(
            parts,
            "<rect data-c=\"{}\" x=\"{at:.1}\" y=\"0\" width=\"{width:.1}\" height=\"10\"></rect>",
            text(name)
        );
        at += width;
        words.push(format!("{} {}", text(name), percent(*share)));
    }
    let words = words.join(", ");
    format!(
        "<svg class=\"blame\" viewBox=\"0 0 1000 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{words}\"><title>{words}</title>{parts}</svg>"
    )
}

fn thresholds(result: &RunResult) -> String {
    match result.thresholds {
        (0, _) => "<span class=\"dim\">none</span>".into(),
        (all, 0) => format!("<span class=\"pill ok\">all {all} hold</span>"),
        (all, failed) => format!("<span class=\"pill bad\">{failed} of {all} failed</span>"),
    }
}

fn tags(run: &RunRow) -> String {
    let all: String =
        run.notes.tags.iter().map(|tag| format!(" <span class=\"pill\">{}</span>", text(tag))).collect();
    if all.is_empty() { all } else { format!("<span class=\"tags\">{all}</span>") }
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

/// `2026-11-28 15:03:07 UTC`: runs of one minute are told apart.
fn moment(at: Timestamp) -> String {
    let seconds = at.0 / 1_000_000_000;
    let (year, month, day) = date_of_day(seconds / 86_400);
    let (hour, minute) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", seconds % 60)
}
