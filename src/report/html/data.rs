//! What the page's pictures need beyond `report.json`, in short form: the page reads both.
//!
//! Long lists are arrays of numbers whose places have a meaning, told here and nowhere else; `page/base.js` reads them.
//! Owners are numbers of one list. A page must open at once, so the steps with most time have all pictures and the others
//! only what tables need.

use crate::analysis::result::{
    Category, Contributor, ExemplarRole, Finding, FlameNode, Sampled, StepPicture, TraceTree, bucket_start,
};
use crate::record::{Nanos, Timestamp};
use crate::report::export::kind_name;
use crate::report::json::value::{Map, ms, nanos, rounded};
use crate::report::view::View;
use crate::stats::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// Steps with all pictures.
const RICH: usize = 12;
/// Contributors for which the latencies without them are given.
const WITHOUT: usize = 20;
/// Quantiles of the distribution: these, and the maximum.
const LAST_QUANTILE: u32 = 7;

/// Everything.
#[derive(Serialize)]
pub struct Pictures<'a> {
    /// Category, service, system, name, code.
    owners: Vec<[&'a str; 5]>,
    started_ms: f64,
    slice_ms: f64,
    load: LoadCourse,
    steps: Vec<StepJson>,
    /// Whole requests of findings that are none of the steps'.
    requests: Vec<Tree>,
    /// For each finding: the owners whose spans it is about.
    marked: Vec<Vec<usize>>,
    ways: Vec<WayJson<'a>>,
    services: Vec<ServiceJson<'a>>,
    /// Milliseconds of all exchanges that blame was given for.
    total_ms: f64,
}

/// For each slice: exchanges due, ended, users with an exchange under way, exchanges under way (mean).
#[derive(Serialize)]
struct LoadCourse {
    started: Vec<u64>,
    done: Vec<u64>,
    users: Vec<u32>,
    busy: Vec<f64>,
}

#[derive(Serialize)]
struct StepJson {
    /// Whether the step has all pictures.
    rich: bool,
    /// Pairs of share of exchanges (0..=1) and latency: corrected, and from the actual start.
    latency: Vec<(f64, f64)>,
    service: Vec<(f64, f64)>,
    slices: Option<Slices>,
    /// For each slice: the first bucket, then counts from there on; empty where nothing was due.
    heat: Vec<Vec<u64>>,
    /// The smallest latency in the first bucket of any slice and in each one after it.
    heat_first: u16,
    heat_starts_ms: Vec<f64>,
    /// Index of the node above (-1 for none), owner (-1 for the step, -2 for nodes summed up), how many were summed up, own
    /// milliseconds, exchanges.
    flame: Vec<(i64, i64, u32, f64, u64)>,
    /// Band, milliseconds since the start, latency in µs, 1 failed + 2 joined, then for each owner: number, µs, µs to save;
    /// the number is -1 for the rest.
    sample: Vec<Vec<i64>>,
    trees: Vec<Tree>,
    /// Owner, then p50, p95 and p99 of all exchanges without its time.
    without: Vec<(usize, f64, f64, f64)>,
}

#[derive(Serialize)]
struct Slices {
    exchanges: Vec<u64>,
    errors: Vec<u64>,
    weight: Vec<u64>,
    latency_ms: Vec<f64>,
    categories_ms: Map<Vec<f64>>,
}

/// See [`Tree::spans`].
type TreeSpanJson = (i64, usize, usize, usize, &'static str, usize, i64, i64, Vec<&'static str>);

/// Times in nanoseconds since the exchange was due.
#[derive(Serialize)]
struct Tree {
    role: &'static str,
    trace_id: String,
    at_ms: f64,
    /// Begun, sent, first byte, end.
    moments: [i64; 4],
    status: u16,
    failed: bool,
    /// Owner, from, to, span (-1 for none).
    path: Vec<(usize, i64, i64, i64)>,
    /// Parent (-1 for the client), service, instance, name (numbers of `texts`), kind, owner, from, to, marks.
    spans: Vec<TreeSpanJson>,
    texts: Vec<String>,
    omitted: u64,
}

#[derive(Serialize)]
struct WayJson<'a> {
    from: Option<&'a str>,
    to: Option<&'a str>,
    category: &'static str,
    peer: &'a str,
    calls: u64,
    time_ms: f64,
}

#[derive(Serialize)]
struct ServiceJson<'a> {
    name: &'a str,
    spans: u64,
    exchanges: u64,
    own_ms: f64,
}

/// Owners by number, in the order in which they were first asked for.
#[derive(Default)]
struct Owners<'a> {
    list: Vec<&'a Contributor>,
    numbers: BTreeMap<&'a Contributor, usize>,
}

impl<'a> Owners<'a> {
    fn number(&mut self, who: &'a Contributor) -> usize {
        let new = self.list.len();
        let number = *self.numbers.entry(who).or_insert(new);
        if number == new {
            self.list.push(who);
        }
        number
    }

    /// Those of them that are the work of a finding, or have the same cause.
    fn of(&self, finding: &Finding) -> Vec<usize> {
        let its = |who: &Contributor| {
            finding.contributor.is_same_work(who) || finding.related.iter().any(|r| r.is_same_work(who))
        };
        (0..self.list.len()).filter(|at| its(self.list[*at])).collect()
    }
}

impl<'a> Pictures<'a> {
    /// Of a report.
    pub fn new(view: &View<'a>) -> Pictures<'a> {
        let analysis = view.analysis();
        let timeline = &analysis.timeline;
        let width = timeline.width.as_millis_f64();
        let mut order: Vec<usize> = (0..view.steps.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(view.steps[*at].result.latency_sum));
        order.truncate(RICH);
        let mut owners = Owners::default();
        let steps: Vec<StepJson> = view
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| {
                let picture = analysis.pictures.steps.get(usize::from(step.result.step.0));
                let mut out = StepJson {
                    rich: order.contains(&at),
                    latency: distribution(&step.result.latency),
                    service: distribution(&step.result.service_time),
                    ..StepJson::empty()
                };
                for part in step.result.contributors.iter().take(WITHOUT) {
                    let q = |q| nanos(part.without.quantile(q));
                    if !part.without.is_empty() {
                        let number = owners.number(&part.contributor);
                        out.without.push((number, q(0.5), q(0.95), q(0.99)));
                    }
                }
                if let Some(picture) = picture {
                    out.sample =
                        picture.sample.iter().map(|s| sampled(s, timeline.start, &mut owners)).collect();
                    if out.rich {
                        out.add(picture, timeline.start, &mut owners);
                    }
                }
                out
            })
            .collect();
        let mut requests: Vec<Tree> = Vec::new();
        for finding in &analysis.findings {
            let rich = order.iter().any(|at| view.steps[*at].result.step == finding.step);
            let of_step = |tree: &&TraceTree| {
                let picture = analysis.pictures.steps.get(usize::from(finding.step.0));
                rich && picture.is_some_and(|p| p.trees.iter().any(|own| own.trace_id == tree.trace_id))
            };
            if let Some(tree) = analysis.pictures.of_finding(finding).filter(|tree| !of_step(tree)) {
                let new = Tree::new(tree, timeline.start, &mut owners);
                if !requests.iter().any(|old| (&old.trace_id, old.at_ms) == (&new.trace_id, new.at_ms)) {
                    requests.push(new);
                }
            }
        }
        let marked = analysis.findings.iter().map(|finding| owners.of(finding)).collect();
        let slices = &timeline.slices;
        Pictures {
            requests,
            marked,
            owners: owners.list.iter().map(owner_text).collect(),
            started_ms: ms(timeline.start.0 as f64 / 1e6),
            slice_ms: rounded(width, 1e6),
            load: LoadCourse {
                started: slices.iter().map(|s| s.started).collect(),
                done: slices.iter().map(|s| s.done).collect(),
                users: slices.iter().map(|s| s.users).collect(),
                busy: slices.iter().map(|s| ms(s.busy.as_millis_f64() / width)).collect(),
            },
            steps,
            ways: analysis
                .ways
                .iter()
                .map(|way| WayJson {
                    from: way.from.as_deref(),
                    to: way.to.as_deref(),
                    category: way.category.name(),
                    peer: &way.peer,
                    calls: way.calls,
                    time_ms: nanos(way.time),
                })
                .collect(),
            services: analysis
                .services
                .iter()
                .map(|(name, s)| ServiceJson {
                    name,
                    spans: s.spans,
                    exchanges: s.exchanges,
                    own_ms: nanos(s.own),
                })
                .collect(),
            total_ms: nanos(analysis.categories.total()),
        }
    }
}

/// One request alone, of a run that began at `start`, with its owners.
pub fn trace(tree: &TraceTree, start: Timestamp) -> serde_json::Value {
    let mut owners = Owners::default();
    let json = Tree::new(tree, start, &mut owners);
    let owners: Vec<[&str; 5]> = owners.list.iter().map(owner_text).collect();
    // Plain structs of numbers and strings: nothing in them can fail.
    serde_json::json!({ "tree": json, "owners": owners })
}

/// Category, service, system, name and code.
fn owner_text<'a>(o: &&'a Contributor) -> [&'a str; 5] {
    [o.category.name(), &o.service, &o.system, &o.name, &o.code]
}

impl StepJson {
    fn empty() -> StepJson {
        StepJson {
            rich: false,
            latency: Vec::new(),
            service: Vec::new(),
            slices: None,
            heat: Vec::new(),
            heat_first: 0,
            heat_starts_ms: Vec::new(),
            flame: Vec::new(),
            sample: Vec::new(),
            trees: Vec::new(),
            without: Vec::new(),
        }
    }

    fn add<'a>(&mut self, picture: &'a StepPicture, start: Timestamp, owners: &mut Owners<'a>) {
        let of = |c: Category| picture.slices.iter().map(|s| nanos(s.categories.get(c))).collect::<Vec<_>>();
        let seen = |values: &Vec<f64>| values.iter().any(|v| *v > 0.0);
        self.slices = Some(Slices {
            exchanges: picture.slices.iter().map(|s| s.exchanges).collect(),
            errors: picture.slices.iter().map(|s| s.errors).collect(),
            weight: picture.slices.iter().map(|s| s.weight).collect(),
            latency_ms: picture.slices.iter().map(|s| nanos(s.latency)).collect(),
            categories_ms: Map(Category::ALL
                .into_iter()
                .map(|c| (c.name(), of(c)))
                .filter(|(_, values)| seen(values))
                .collect()),
        });
        self.heat = picture.heat.iter().map(|slice| dense(slice)).collect();
        let buckets = || picture.heat.iter().flatten().map(|cell| cell.0);
        if let (Some(first), Some(last)) = (buckets().min(), buckets().max()) {
            self.heat_first = first;
            self.heat_starts_ms =
                (first..=last + 1).map(|b| rounded(bucket_start(b).as_millis_f64(), 1e6)).collect();
        }
        self.flame = picture.flame.iter().map(|node| flame(node, owners)).collect();
        self.trees = picture.trees.iter().map(|tree| Tree::new(tree, start, owners)).collect();
    }
}

/// The first bucket, then the count of each one up to the last.
fn dense(slice: &[(u16, u64)]) -> Vec<u64> {
    let Some((first, last)) = slice.first().zip(slice.last()) else { return Vec::new() };
    let mut out = vec![0; usize::from(last.0 - first.0) + 2];
    out[0] = u64::from(first.0);
    for (bucket, count) in slice {
        out[usize::from(bucket - first.0) + 1] = *count;
    }
    out
}

/// Quantiles at even distances of each decade of 1 − q, as HdrHistogram's plots have them, then the maximum.
pub fn distribution(latency: &Histogram) -> Vec<(f64, f64)> {
    if latency.is_empty() {
        return Vec::new();
    }
    let mut out = vec![(0.0, nanos(latency.quantile(0.0)))];
    let mut left = 1.0f64;
    for _ in 0..LAST_QUANTILE {
        for step in 1..=9u32 {
            let q = 1.0 - left * (1.0 - f64::from(step) / 10.0);
            // Beyond this a single exchange decides; the maximum says it.
            if q > 1.0 - 1.0 / latency.len() as f64 {
                break;
            }
            out.push((rounded(q, 1e9), nanos(latency.quantile(q))));
        }
        left /= 10.0;
    }
    out.push((1.0, nanos(latency.quantile(1.0))));
    out
}

fn flame<'a>(node: &'a FlameNode, owners: &mut Owners<'a>) -> (i64, i64, u32, f64, u64) {
    let parent = node.parent.map_or(-1, i64::from);
    let owner = match (&node.who, node.folded) {
        (Some(who), _) => owners.number(who) as i64,
        (None, 0) => -1,
        (None, _) => -2,
    };
    (parent, owner, node.folded, nanos(node.own), node.exchanges)
}

fn micros(time: Nanos) -> i64 {
    (time.0 / 1_000) as i64 + i64::from(time.0 % 1_000 >= 500)
}

fn sampled<'a>(s: &'a Sampled, start: Timestamp, owners: &mut Owners<'a>) -> Vec<i64> {
    let flags = i64::from(s.failed) + 2 * i64::from(s.joined);
    let mut out = vec![i64::from(s.band), (s.at.since(start).0 / 1_000_000) as i64, micros(s.latency), flags];
    for (who, time, saved) in &s.parts {
        out.extend([owners.number(who) as i64, micros(*time), micros(*saved)]);
    }
    if s.rest > Nanos::ZERO {
        out.extend([-1, micros(s.rest), 0]);
    }
    out
}

impl Tree {
    fn new<'a>(tree: &'a TraceTree, start: Timestamp, owners: &mut Owners<'a>) -> Tree {
        let since = |at: Timestamp| at.0 as i64 - tree.due.0 as i64;
        let mut texts: Vec<String> = Vec::new();
        let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
        let mut text = |text: &str| {
            *numbers.entry(text.to_owned()).or_insert_with(|| {
                texts.push(text.to_owned());
                texts.len() - 1
            })
        };
        let mut spans = Vec::with_capacity(tree.spans.len());
        for s in &tree.spans {
            let kind = kind_name(s.kind);
            let (service, instance, name) = (text(&s.service), text(&s.instance), text(&s.name));
            let parent = s.parent.map_or(-1, i64::from);
            let owner = owners.number(&s.owner);
            let marks = s.marks.names().collect();
            spans.push((parent, service, instance, name, kind, owner, since(s.from), since(s.to), marks));
        }
        Tree {
            role: match tree.role {
                ExemplarRole::Typical => "typical",
                ExemplarRole::Slow => "slow",
                ExemplarRole::Worst => "worst",
            },
            trace_id: tree.trace_id.to_string(),
            at_ms: nanos(tree.due.since(start)),
            moments: tree.moments.map(since),
            status: tree.status,
            failed: tree.failed,
            path: tree
                .path
                .iter()
                .map(|(who, from, to, span)| {
                    (owners.number(who), since(*from), since(*to), span.map_or(-1, i64::from))
                })
                .collect(),
            spans,
            texts,
            omitted: tree.omitted,
        }
    }
}
