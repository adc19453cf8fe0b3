//! The pictures of the report as SVG files that stand alone: for documents, slides and wikis that take no HTML.
//!
//! Colours are those of the page, light and dark, as plain rules that every reader of SVG knows. Foreign text is escaped and
//! only ever the content of an element. Marks carry the numbers that they show in `data-` attributes.

mod course;
mod summary;
#[cfg(test)]
mod tests;
mod trees;

use super::{Report, html, text};
use crate::analysis::result::Category;
use crate::report::view::View;

/// One picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Name of its file, without the ending.
    pub name: String,
    /// The file.
    pub svg: String,
}

/// A picture before it is framed.
struct Drawing {
    name: String,
    title: String,
    height: f64,
    body: String,
}

/// All pictures are as wide.
const WIDTH: f64 = 960.0;
/// Room around what is drawn.
const EDGE: f64 = 24.0;
/// Where a picture begins below its title.
const TOP: f64 = 52.0;
/// Steps with pictures of their own, those with most time: as on the page.
const RICH: usize = 12;

/// Every picture that there is something to draw for, the answer first.
pub fn pictures(report: &Report) -> Vec<Picture> {
    drawings(report)
        .into_iter()
        .map(|drawing| {
            let head = head(&drawing.title, WIDTH, drawing.height, report);
            let body = framed(&drawing);
            Picture { name: drawing.name, svg: format!("{head}{body}</svg>\n") }
        })
        .collect()
}

/// All of them, one below the other, as one file.
pub fn svg(report: &Report) -> String {
    let drawings = drawings(report);
    let height: f64 = drawings.iter().map(|drawing| drawing.height).sum();
    let mut out =
        head(&format!("{}: all pictures", text::clean(&report.run.name)), WIDTH, height.max(1.0), report);
    let mut top = 0.0;
    for drawing in &drawings {
        out.push_str(&format!("<g transform=\"translate(0 {})\">\n{}</g>\n", px(top), framed(drawing)));
        top += drawing.height;
    }
    out.push_str("</svg>\n");
    out
}

fn drawings(report: &Report) -> Vec<Drawing> {
    let view = View::new(report);
    let mut all: Vec<Drawing> = Vec::new();
    all.extend(summary::blame(&view));
    all.extend(summary::latency(&view));
    all.extend(course::load(&view));
    all.extend(course::saturation(&view));
    let mut order: Vec<usize> = (0..view.steps.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(view.steps[*at].result.latency_sum));
    for at in order.into_iter().take(RICH) {
        let step = &view.steps[at];
        let Some(picture) = view.analysis().pictures.steps.get(usize::from(step.result.step.0)) else {
            continue;
        };
        let name = view.step_name(step.result.step);
        all.extend(course::heat(&view, &name, at, picture));
        all.extend(trees::flame(&name, at, picture));
    }
    for (number, (title, tree)) in super::export::whole_requests(&view).into_iter().enumerate() {
        all.push(trees::request(&title, number, tree));
    }
    all
}

fn head(title: &str, width: f64, height: f64, report: &Report) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" role=\"img\">\n\
         <title>{}</title>\n<desc>{}</desc>\n<style>{}</style>\n<rect class=\"bg\" width=\"{w}\" height=\"{h}\"/>\n",
        escaped(&text::clean(title)),
        escaped(&text::clean(&super::headline(report))),
        rules(),
        w = px(width),
        h = px(height),
    )
}

fn framed(drawing: &Drawing) -> String {
    format!("{}{}", label(EDGE, 30.0, "h", &drawing.title, 110), drawing.body)
}

/// Rules for both looks, from the colours of the page.
fn rules() -> String {
    let style = html::style();
    let light = style.find(":root {").map_or("", |at| &style[at..]);
    let dark = style.find(":root[data-theme=\"dark\"] {").map_or("", |at| &style[at..]);
    let color = |block: &str, name: &str| {
        let block = block.split('}').next().unwrap_or_default();
        let after = block.split(&format!("--{name}:")).nth(1).unwrap_or("#888");
        after.split(';').next().unwrap_or_default().trim().to_owned()
    };
    let of = |block: &str, on: [&str; 2]| {
        let mut out = format!(".on-deep{{fill:{}}}.on-pale{{fill:{}}}", on[0], on[1]);
        for (class, name) in [
            ("bg", "bg"),
            ("t", "text"),
            ("h", "text"),
            ("d", "dim"),
            ("line", "line"),
            ("panel", "panel"),
            ("client", "client"),
        ] {
            out.push_str(&format!(".{class}{{fill:{}}}", color(block, name)));
        }
        out.push_str(&format!(
            ".grid{{stroke:{}}}.dots{{stroke:{}}}",
            color(block, "grid"),
            color(block, "dim")
        ));
        for category in Category::ALL {
            let name = category.name();
            out.push_str(&format!(".{name}{{fill:{}}}", color(block, name)));
        }
        for line in 1..=6 {
            out.push_str(&format!(
                ".l{line}{{stroke:{0}}}.f{line}{{fill:{0}}}",
                color(block, &format!("l{line}"))
            ));
        }
        out.push_str(&format!(".heat{{fill:rgb({})}}", color(block, "heat")));
        out
    };
    format!(
        "text{{font:12px system-ui,-apple-system,\"Segoe UI\",Roboto,sans-serif;font-variant-numeric:tabular-nums}}.h{{font-size:16px;\
         font-weight:650}}.d,.s{{font-size:11px}}.m{{font-family:ui-monospace,Menlo,Consolas,monospace}}path{{fill:none;stroke-width:2}}\
         .grid{{stroke-width:1}}.dots{{stroke-dasharray:4 3}}.e{{text-anchor:end}}.c{{text-anchor:middle}}.pale{{opacity:.34}}{}\
         @media (prefers-color-scheme:dark){{{}}}",
        of(light, ["#fff", "#14181f"]),
        of(dark, ["#0b0f15", "#0b0f15"])
    )
}

/// How a text on a category's colour is filled.
fn on(category: Option<Category>) -> &'static str {
    use Category as C;
    match category {
        None => "t",
        Some(C::Network | C::Database | C::Cache | C::Transfer | C::Untraced) => "on-pale",
        Some(_) => "on-deep",
    }
}

/// So many neighbours are drawn as one, that a picture has at most `most` columns and each of them some requests.
fn together(columns: usize, requests: u64, most: usize) -> usize {
    let wanted = usize::try_from(requests / 4).unwrap_or(most).clamp(12, most);
    columns.div_ceil(wanted).max(1)
}

/// A text at a place; what is too long loses its middle.
fn label(x: f64, y: f64, class: &str, words: &str, most: usize) -> String {
    let shown = text::elide_middle(&text::clean(words), most, "…");
    format!("<text x=\"{}\" y=\"{}\" class=\"{class}\">{}</text>\n", px(x), px(y), escaped(&shown))
}

/// A rectangle; `more` are attributes of ours.
fn rect(x: f64, y: f64, width: f64, height: f64, class: &str, more: &str) -> String {
    format!(
        "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" class=\"{class}\"{more}/>\n",
        px(x),
        px(y),
        px(width.max(0.0)),
        px(height.max(0.0))
    )
}

/// What a mark says when it is pointed at, in an element that holds the mark.
fn told(words: &str, marks: &str) -> String {
    format!("<g><title>{}</title>{marks}</g>\n", escaped(&text::clean(words)))
}

/// The categories that are there, and what their colours mean.
fn legend(y: f64, seen: &[Category]) -> String {
    let mut x = EDGE;
    let mut out = String::new();
    for category in Category::ALL.into_iter().filter(|c| seen.contains(c)) {
        out.push_str(&rect(x, y - 9.0, 11.0, 11.0, category.name(), ""));
        out.push_str(&label(x + 17.0, y, "d", category.name(), 20));
        x += 32.0 + 6.6 * category.name().len() as f64;
    }
    out
}

/// Places are kept to a hundredth.
fn px(value: f64) -> f64 {
    crate::report::json::value::rounded(value, 1e2)
}

/// A text between tags. What XML cannot hold was made visible before.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Part of a file's name: what every system takes.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            'a'..='z' | '0'..='9' => out.push(c),
            'A'..='Z' => out.push(c.to_ascii_lowercase()),
            _ if !out.ends_with('-') => out.push('-'),
            _ => {}
        }
    }
    let out: String = out.trim_matches('-').chars().take(40).collect();
    if out.is_empty() { "step".to_owned() } else { out.trim_end_matches('-').to_owned() }
}

/// Round values of a scale from 0, about `wanted` of them.
fn ticks(most: f64, wanted: f64) -> Vec<f64> {
    if most <= 0.0 || !most.is_finite() {
        return vec![0.0];
    }
    let raw = most / wanted;
    let unit = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * unit).into_iter().find(|s| *s >= raw).unwrap_or(raw);
    (0..=(most / step * 1.0001) as u32).map(|n| f64::from(n) * step).collect()
}

/// A plain number for an axis.
fn number(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        v if v >= 1_000.0 => format!("{v:.0}"),
        v if v >= 1.0 && v.fract() < 1e-9 => format!("{v:.0}"),
        v => format!("{v:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}
