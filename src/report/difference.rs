//! The difference of two sides as a flame graph: where requests spend more or less time, by the path that leads there.
//!
//! Widths are mean milliseconds of a request, the mean of both sides; colour is what changed. All steps have the same weight on
//! both sides, so that another mix of requests is no difference. What is drawn sums to the mean latency of each side.

use super::Report;
use super::export::stacks_of;
use super::number::{self, signed};
use super::text;
use crate::compare::{RunSummary, steady_name};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// Columns of the picture.
const WIDTH: f64 = 1_200.0;
/// Height of a frame.
const ROW: f64 = 18.0;
/// Space at the sides and for the words above.
const MARGIN: f64 = 10.0;
const HEAD: f64 = 46.0;
/// Characters of a longer name by which it is known.
const KNOWN: usize = 10;
/// Narrower frames are not drawn.
const NARROWEST: f64 = 0.4;
/// Width of a character.
const CHARACTER: f64 = 6.6;
/// Deeper frames are drawn as a part of the last one.
const DEEPEST: usize = 64;

/// The paths of one run: its steps, with the exchanges of each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Paths {
    steps: BTreeMap<String, (u64, Vec<Path>)>,
}

/// Frames from the step down, and nanoseconds that an exchange of the step spends in the last of them.
type Path = (Vec<String>, f64);

impl Paths {
    /// Of a run whose spans are there: the tree of its critical paths.
    pub fn of_report(report: &Report) -> Paths {
        let mut paths = Paths::default();
        stacks_of(report, &mut |step, exchanges, frames, own| {
            let (count, all) = paths.steps.entry(step.to_owned()).or_default();
            *count = exchanges;
            all.push((frames, own.0 as f64 / exchanges.max(1) as f64));
        });
        paths
    }

    /// Of a run of which only the report is known: step, service, contributor.
    pub fn of_summary(run: &RunSummary) -> Paths {
        let mut paths = Paths::default();
        for step in &run.steps {
            let name = text::clean(&step.name);
            let mut all: Vec<Path> = Vec::new();
            for c in &step.contributors {
                let mut frames = vec![name.clone()];
                frames.extend((!c.key.service.is_empty()).then(|| text::clean(&c.key.service)));
                let own = if c.key.name.is_empty() { &c.key.category } else { &c.key.name };
                frames.push(format!("{} [{}]", text::clean(own), c.key.category));
                all.push((frames, c.mean_ms * 1e6));
            }
            if step.others_mean_ms > 0.0 {
                all.push((vec![name.clone(), "others".to_owned()], step.others_mean_ms * 1e6));
            }
            paths.steps.insert(name, (step.exchanges, all));
        }
        paths
    }
}

/// Both sides of each path, in nanoseconds of a request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    paths: BTreeMap<Vec<String>, [f64; 2]>,
}

impl Difference {
    /// Of the runs of two sides.
    pub fn new(base: &[Paths], head: &[Paths]) -> Difference {
        let mut weights: BTreeMap<&str, f64> = BTreeMap::new();
        for (step, (exchanges, _)) in base.iter().chain(head).flat_map(|run| &run.steps) {
            *weights.entry(step).or_default() += *exchanges as f64;
        }
        let whole = weights.values().sum::<f64>().max(1.0);
        let everywhere = frames_of_all(base.iter().chain(head));
        let mut paths: BTreeMap<Vec<String>, [f64; 2]> = BTreeMap::new();
        for (side, runs) in [base, head].into_iter().enumerate() {
            for run in runs {
                for (step, (_, all)) in &run.steps {
                    let weight = weights.get(step.as_str()).map_or(0.0, |w| w / whole) / runs.len() as f64;
                    for (frames, own) in all {
                        let known = |f: &String| {
                            if everywhere.contains(f.as_str()) { f.clone() } else { steady_name(f) }
                        };
                        paths.entry(frames.iter().map(known).collect()).or_default()[side] += weight * own;
                    }
                }
            }
        }
        Difference { paths }
    }

    /// A line for each path: frames with semicolons between, then the nanoseconds of base and of head, as `difffolded.pl` and
    /// inferno's `inferno-flamegraph` read it.
    pub fn folded(&self) -> String {
        let mut out = String::new();
        for (frames, [base, head]) in &self.paths {
            let (base, head) = (base.round() as u64, head.round() as u64);
            if base + head > 0 {
                let names: Vec<String> = frames.iter().map(|f| f.replace(';', ",")).collect();
                let _ = writeln!(out, "{} {base} {head}", names.join(";"));
            }
        }
        out
    }

    /// A picture without scripts: the whole name and both sides of a frame are shown under the pointer.
    pub fn svg(&self) -> String {
        let root = self.tree();
        let [base, head] = root.total;
        let all = (base + head).max(1.0);
        let depth = root.depth();
        let height = HEAD + depth as f64 * ROW + MARGIN;
        let most = root.largest_change().max(0.01 * all);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             font-family=\"monospace\" font-size=\"11\" role=\"img\">\n<title>Difference of mean latency by path</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
        );
        let words = format!(
            "mean of a request: {} → {} ms ({} ms)",
            number::ms(base / 1e6),
            number::ms(head / 1e6),
            signed((head - base) / 1e6, 2)
        );
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"18\" font-size=\"13\" fill=\"#1f2328\">{}</text>",
            escaped(&words)
        );
        let _ = writeln!(
            out,
            "<text x=\"{MARGIN}\" y=\"36\" fill=\"#59636e\">red takes longer in head, blue shorter, grey as long; width is the mean of both sides</text>"
        );
        let scale = (WIDTH - 2.0 * MARGIN) / all;
        let mut x = MARGIN;
        for (name, child) in root.in_order() {
            child.draw(name, x, 0, scale, most, &mut out);
            x += child.width() * scale;
        }
        out.push_str("</svg>\n");
        out
    }

    fn tree(&self) -> Node<'_> {
        let mut root = Node::default();
        for (frames, own) in &self.paths {
            let mut node = &mut root;
            node.add(own);
            for frame in frames.iter().take(DEEPEST) {
                node = node.children.entry(frame).or_default();
                node.add(own);
            }
            node.own[0] += own[0];
            node.own[1] += own[1];
        }
        root
    }
}

/// Frames that every run has: whatever they look like, they are their names.
fn frames_of_all<'a>(runs: impl Iterator<Item = &'a Paths>) -> BTreeSet<&'a str> {
    let mut all: Option<BTreeSet<&str>> = None;
    for run in runs {
        let here = run.steps.values().flat_map(|(_, paths)| paths.iter().flat_map(|(f, _)| f));
        let here: BTreeSet<&str> = here.map(String::as_str).collect();
        all = Some(match all {
            Some(all) => all.intersection(&here).copied().collect(),
            None => here,
        });
    }
    all.unwrap_or_default()
}

#[derive(Default)]
struct Node<'a> {
    /// Nanoseconds of both sides, with everything below.
    total: [f64; 2],
    /// Without it.
    own: [f64; 2],
    children: BTreeMap<&'a str, Node<'a>>,
}

impl<'a> Node<'a> {
    fn add(&mut self, by: &[f64; 2]) {
        self.total[0] += by[0];
        self.total[1] += by[1];
    }

    fn width(&self) -> f64 {
        self.total[0] + self.total[1]
    }

    fn depth(&self) -> usize {
        self.children.values().map(|child| 1 + child.depth()).max().unwrap_or(0)
    }

    /// Of what a frame spends itself, so that the frame that changed stands out among those above it.
    fn largest_change(&self) -> f64 {
        let own = (self.own[1] - self.own[0]).abs();
        self.children.values().map(Node::largest_change).fold(own, f64::max)
    }

    fn in_order(&self) -> Vec<(&'a str, &Node<'a>)> {
        let mut all: Vec<_> = self.children.iter().map(|(name, node)| (*name, node)).collect();
        all.sort_by(|a, b| b.1.width().total_cmp(&a.1.width()).then(a.0.cmp(b.0)));
        all
    }

    fn draw(&self, name: &str, x: f64, level: usize, scale: f64, most: f64, out: &mut String) {
        let width = self.width() * scale;
        if width < NARROWEST {
            return;
        }
        let y = HEAD + level as f64 * ROW;
        let change = self.total[1] - self.total[0];
        let title = format!(
            "{name}: {} → {} ms of a request ({} ms; itself {} ms)",
            number::ms(self.total[0] / 1e6),
            number::ms(self.total[1] / 1e6),
            signed(change / 1e6, 3),
            signed((self.own[1] - self.own[0]) / 1e6, 3)
        );
        let fill = colour((self.own[1] - self.own[0]) / most);
        let _ = write!(
            out,
            "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{fill}\" rx=\"1\"/>",
            escaped(&title),
            (width - 0.5).max(NARROWEST / 2.0),
            ROW - 1.0
        );
        let room = ((width - 6.0) / CHARACTER) as usize;
        if room >= 3 {
            let by = match signed(change / 1e6, 2) {
                by if by.trim_start_matches(['+', '-', '−']).chars().all(|c| c == '0' || c == '.') => {
                    String::new()
                }
                by => format!(" {by} ms"),
            };
            // A name that can be known and its number whole, else the name alone; half a number says something else.
            let left = room.saturating_sub(by.chars().count());
            let known = left >= name.chars().count().min(KNOWN);
            let (room, by) = if known { (left, by.as_str()) } else { (room, "") };
            let shown = escaped(&format!("{}{by}", text::elide_middle(name, room, "…")));
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#1f2328\">{shown}</text>",
                x + 3.0,
                y + 12.5
            );
        }
        out.push_str("</g>\n");
        let mut x = x;
        for (name, child) in self.in_order() {
            child.draw(name, x, level + 1, scale, most, out);
            x += child.width() * scale;
        }
    }
}

/// From blue (−1) over grey to red (1).
fn colour(change: f64) -> String {
    let strength = change.abs().min(1.0).sqrt();
    let end = if change > 0.0 { [235.0, 87.0, 87.0] } else { [86.0, 146.0, 235.0] };
    let grey = [224.0, 226.0, 230.0];
    let [r, g, b] = [0, 1, 2].map(|i| (grey[i] + (end[i] - grey[i]) * strength) as u8);
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// As XML has it.
fn escaped(foreign: &str) -> String {
    let clean = text::clean(foreign);
    clean.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(exchanges: u64, all: &[(&str, f64)]) -> Paths {
        let path = |(stack, ms): &(&str, f64)| (stack.split(';').map(str::to_owned).collect(), ms * 1e6);
        let steps = BTreeMap::from([("checkout".to_owned(), (exchanges, all.iter().map(path).collect()))]);
        Paths { steps }
    }

    #[test]
    fn the_picture_names_what_grew_and_sums_to_the_difference() {
        let base = [
            paths(100, &[("checkout;POST /checkout", 2.0), ("checkout;POST /checkout;SELECT", 3.0)]),
            paths(300, &[("checkout;POST /checkout", 2.2), ("checkout;POST /checkout;SELECT", 3.2)]),
        ];
        let head = [paths(
            200,
            &[
                ("checkout;POST /checkout", 2.1),
                ("checkout;POST /checkout;SELECT", 9.1),
                ("checkout;new; <b>", 0.5),
            ],
        )];
        let difference = Difference::new(&base, &head);
        assert_eq!(
            difference.folded(),
            "checkout;POST /checkout 2100000 2100000\ncheckout;POST /checkout;SELECT 3100000 9100000\ncheckout;new; <b> 0 500000\n"
        );
        let sums: [f64; 2] =
            difference.paths.values().fold([0.0; 2], |sum, v| [sum[0] + v[0], sum[1] + v[1]]);
        assert!((sums[0] - 5.2e6).abs() < 1.0 && (sums[1] - 11.7e6).abs() < 1.0, "{sums:?}");
        let svg = difference.svg();
        assert!(svg.contains("SELECT: 3.10 → 9.10 ms of a request (+6.000 ms; itself +6.000 ms)"), "{svg}");
        assert!(svg.contains("&lt;b&gt;") && !svg.contains("<b>") && svg.contains("#eb5757"), "{svg}");
        assert!(svg.contains(">SELECT +6.00 ms</text>") && !svg.contains("… ms"), "{svg}");
        assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    }

    #[test]
    fn names_that_change_from_run_to_run_are_one_frame() {
        let run = |port: u32| {
            paths(10, &[(&format!("checkout;GET 127.0.0.1:{port}"), 1.0), ("checkout;db:5432", 1.0)])
        };
        let difference = Difference::new(&[run(40_001), run(40_002)], &[run(50_003)]);
        assert_eq!(
            difference.folded(),
            "checkout;GET 127.0.0.1:* 1000000 1000000\ncheckout;db:5432 1000000 1000000\n"
        );
    }

    #[test]
    fn nothing_is_a_picture_too() {
        assert!(Difference::new(&[], &[]).svg().ends_with("</svg>\n"));
        assert_eq!(Difference::new(&[Paths::default()], &[]).folded(), "");
    }
}
