//! Which requests are the slow ones: the shape of their trace, and what else goes with them.
//!
//! The shape is what kinds of work a trace holds and about how often (a count's power of two), never how long anything
//! took, so a slow request has the shape of the fast ones unless it does something else. It is a hash of names, the same in
//! every run and on every machine. A step that has very many shapes keeps those with the smallest hashes and adds up the
//! rest: that choice does not depend on how the work was divided.

use super::analyzer::Told;
use super::codec::codec;
use super::names::{MixedMap, Names};
use super::result::{Association, Contributor, Feature, ShapeResult};
use super::row::{Asked, ERROR, Row, TELLS};
use super::tree::{ENTRY, Forest, OFF, OUTER, TRANSPORT};
use crate::record::Nanos;
use crate::stats::normal_cdf;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shapes of one step that are told apart.
const SHAPES: usize = 512;
/// Shapes of one step that are shown.
const SHOWN: usize = 8;
/// Features of one step that are told apart.
const FEATURES: usize = 4_096;
/// Virtual users that are told apart.
const USERS: u32 = 1_000;
/// URLs of one step that are told apart: those with the smallest hashes, so that all of theirs are counted whatever share
/// of the run they are in.
const URLS: usize = 1_024;
/// Attributes of one step that are told apart, the first by name, and values of each.
const ATTRIBUTES: usize = 256;
const VALUES: usize = 32;
/// Requests with and without a feature, and slow ones with it, that a statement needs.
const SUPPORT: u64 = 20;
const SLOW_SUPPORT: u64 = 5;
/// Probability, after correction for all candidates, below which it is no chance.
const CHANCE: f64 = 0.001;
/// Requests with it must be slow so many times as often as those without.
const RATIO: f64 = 2.0;
/// And it must be in this part of the slow ones.
const COVERS: f64 = 0.2;
/// Statements for one step.
const STATEMENTS: usize = 5;

/// Requests that have something in common.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Group {
    pub exchanges: u64,
    /// Beyond p90 of the step.
    pub slow: u64,
    pub latency: u64,
}

codec!(Group { exchanges, slow, latency });

impl Group {
    fn add(&mut self, latency: u64, slow: bool, weight: u64) {
        self.exchanges += weight;
        self.slow += if slow { weight } else { 0 };
        self.latency += latency * weight;
    }

    fn merge(&mut self, other: &Group) {
        self.exchanges += other.exchanges;
        self.slow += other.slow;
        self.latency += other.latency;
    }
}

/// A shape: how many requests have it, and what it holds (the power of two of the number of calls, from 1).
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shape<K> {
    pub group: Group,
    pub holds: Vec<(K, u32)>,
}

codec!(Shape<Contributor> { group, holds });

/// What one step's requests have in common.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Groups<K> {
    pub shapes: BTreeMap<u64, Shape<K>>,
    /// The shapes beyond those that are told apart.
    pub other: Group,
    /// All exchanges that were grouped.
    pub all: Group,
    pub features: BTreeMap<Feature, Group>,
    /// By hash.
    pub urls: BTreeMap<u64, (Arc<str>, Group)>,
    /// By service and attribute, then by value.
    pub attributes: BTreeMap<(Arc<str>, Arc<str>), Values>,
}

codec!(Groups<Contributor> { shapes, other, all, features, urls, attributes });

/// Requests by the value of an attribute. One with more values than are told apart says what differs between all requests and
/// stays empty, so that it does not matter which came first.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Values {
    pub many: bool,
    pub groups: BTreeMap<Arc<str>, Group>,
}

codec!(Values { many, groups });

impl Values {
    fn add(&mut self, value: Arc<str>, group: &Group) {
        if self.many {
            return;
        }
        self.groups.entry(value).or_default().merge(group);
        if self.groups.len() > VALUES {
            self.are_many();
        }
    }

    fn are_many(&mut self) {
        self.many = true;
        self.groups = BTreeMap::new();
    }
}

impl<K> Default for Groups<K> {
    fn default() -> Groups<K> {
        Groups {
            shapes: BTreeMap::new(),
            other: Group::default(),
            all: Group::default(),
            features: BTreeMap::new(),
            urls: BTreeMap::new(),
            attributes: BTreeMap::new(),
        }
    }
}

/// The URLs that a share of the run asked for, by step: those that are told apart.
#[derive(Default)]
pub(super) struct Urls(Vec<BTreeMap<u64, Arc<str>>>);

impl Urls {
    /// Counts an exchange's URL in, and gives its hash.
    pub fn add(&mut self, step: u16, url: &Arc<str>) -> u64 {
        let step = usize::from(step);
        if self.0.len() <= step {
            self.0.resize_with(step + 1, BTreeMap::new);
        }
        let hash = mixed(text_hash(url.bytes()));
        let told = &mut self.0[step];
        let last = told.last_key_value().map_or(0, |(last, _)| *last);
        if (told.len() < URLS || hash < last) && !told.contains_key(&hash) {
            told.insert(hash, url.clone());
            if told.len() > URLS {
                told.pop_last();
            }
        }
        hash
    }

    fn of(&self, step: u16, hash: u64) -> Option<&Arc<str>> {
        self.0.get(usize::from(step))?.get(&hash)
    }
}

impl<K: Clone> Groups<K> {
    /// Counts an exchange of a shape; `holds` is asked for a shape that is new.
    pub fn shape(&mut self, hash: u64, holds: &[(K, u32)], latency: u64, slow: bool, weight: u64) {
        self.all.add(latency, slow, weight);
        if let Some(shape) = self.shapes.get_mut(&hash) {
            return shape.group.add(latency, slow, weight);
        }
        let mut group = Group::default();
        group.add(latency, slow, weight);
        self.insert(hash, Shape { group, holds: holds.to_vec() });
    }

    /// A new shape, unless there are enough with smaller hashes.
    fn insert(&mut self, hash: u64, shape: Shape<K>) {
        let last = self.shapes.last_key_value().map_or(0, |(last, _)| *last);
        if self.shapes.len() >= SHAPES && hash > last {
            return self.other.merge(&shape.group);
        }
        self.shapes.insert(hash, shape);
        if self.shapes.len() > SHAPES
            && let Some((_, shape)) = self.shapes.pop_last()
        {
            self.other.merge(&shape.group);
        }
    }

    /// Adds exchanges with a feature.
    fn feature(&mut self, feature: Feature, group: &Group) {
        self.features.entry(feature).or_default().merge(group);
        if self.features.len() > FEATURES {
            // The largest go: whatever the order of arrival, the smallest stay and are complete.
            self.features.pop_last();
        }
    }

    /// Adds exchanges with an attribute, or says that it has many values.
    pub fn attribute(&mut self, key: (Arc<str>, Arc<str>), values: Values) {
        let mine = self.attributes.entry(key).or_default();
        if values.many {
            mine.are_many();
        }
        values.groups.into_iter().for_each(|(value, group)| mine.add(value, &group));
        if self.attributes.len() > ATTRIBUTES {
            // As of features.
            self.attributes.pop_last();
        }
    }

    pub fn merge(&mut self, other: Groups<K>) {
        for (hash, shape) in other.shapes {
            match self.shapes.get_mut(&hash) {
                Some(mine) => mine.group.merge(&shape.group),
                None => self.insert(hash, shape),
            }
        }
        self.other.merge(&other.other);
        self.all.merge(&other.all);
        for (feature, group) in other.features {
            self.feature(feature, &group);
        }
        other.attributes.into_iter().for_each(|(key, values)| self.attribute(key, values));
        for (hash, (url, group)) in other.urls {
            self.urls.entry(hash).or_insert_with(|| (url, Group::default())).1.merge(&group);
            if self.urls.len() > URLS {
                self.urls.pop_last();
            }
        }
    }
}

impl Groups<u32> {
    /// Gives contributors their names.
    pub fn named(self, names: &Names) -> Groups<Contributor> {
        let named = |shape: Shape<u32>| {
            let mut holds: Vec<(Contributor, u32)> =
                shape.holds.iter().map(|(number, n)| (names.who(*number).clone(), *n)).collect();
            holds.sort();
            Shape { group: shape.group, holds }
        };
        Groups {
            shapes: self.shapes.into_iter().map(|(hash, shape)| (hash, named(shape))).collect(),
            other: self.other,
            all: self.all,
            features: self.features,
            urls: self.urls,
            attributes: self.attributes,
        }
    }
}

/// The shapes of the exchanges of one trace, in buffers that are used again. Calls are by exchange and contributor, sorted.
#[derive(Default)]
pub(super) struct Shaper {
    /// Hashes of contributors by number; 0 where not asked for yet.
    hashes: Vec<u64>,
    calls: Vec<(u32, u32)>,
    /// What the shape asked for last holds.
    holds: Vec<(u32, u32)>,
}

impl Shaper {
    /// The shape of one exchange; `holds` is what it has.
    pub fn shape(&mut self, root: u32, names: &Names) -> u64 {
        let from = self.calls.partition_point(|c| c.0 < root);
        let to = self.calls.partition_point(|c| c.0 <= root);
        self.holds.clear();
        for same in self.calls[from..to].chunk_by(|a, b| a.1 == b.1) {
            self.holds.push((same[0].1, (same.len() as u32).ilog2() + 1));
        }
        let mut sum = 0u64;
        for (owner, n) in &self.holds {
            let at = *owner as usize;
            if at >= self.hashes.len() {
                self.hashes.resize(at + 1, 0);
            }
            if self.hashes[at] == 0 {
                self.hashes[at] = hash_of(names.who(*owner));
            }
            // A sum, so that the order of numbers, which is that of arrival, does not matter.
            sum =
                sum.wrapping_add(mixed(self.hashes[at] ^ u64::from(*n).wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        }
        mixed(sum)
    }
}

/// The same for the same names, everywhere and always (FNV-1a of the texts, then mixed).
fn hash_of(who: &Contributor) -> u64 {
    let texts = [who.category.name(), &who.service, &who.system, &who.name, &who.code];
    mixed(text_hash(texts.iter().flat_map(|text| text.bytes().chain([0xff])))).max(1)
}

fn text_hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The commonest shapes, the rest as one without a hash, each with what it holds more or less often than the commonest.
pub(super) fn shapes(groups: &Groups<Contributor>) -> Vec<ShapeResult> {
    let mut order: Vec<(&u64, &Shape<Contributor>)> = groups.shapes.iter().collect();
    order.sort_by(|a, b| b.1.group.exchanges.cmp(&a.1.group.exchanges).then(a.0.cmp(b.0)));
    let usual: BTreeMap<&Contributor, u32> = match order.first() {
        Some((_, shape)) => shape.holds.iter().map(|(who, n)| (who, *n)).collect(),
        None => return Vec::new(),
    };
    let mut out: Vec<ShapeResult> = Vec::new();
    let mut rest = groups.other;
    for (place, (hash, shape)) in order.into_iter().enumerate() {
        if place >= SHOWN {
            rest.merge(&shape.group);
            continue;
        }
        let own: BTreeMap<&Contributor, u32> = shape.holds.iter().map(|(who, n)| (who, *n)).collect();
        let calls = |n: u32| if n == 0 { 0 } else { 1 << (n - 1) };
        let differs = usual.keys().chain(own.keys()).map(|who| {
            let count = |of: &BTreeMap<&Contributor, u32>| calls(of.get(who).copied().unwrap_or(0));
            ((*who).clone(), count(&usual), count(&own))
        });
        let mut differs: Vec<(Contributor, u32, u32)> = differs.filter(|(_, a, b)| a != b).collect();
        differs.sort();
        differs.dedup();
        out.push(result(Some(*hash), &shape.group, differs));
    }
    if rest.exchanges > 0 {
        out.push(result(None, &rest, Vec::new()));
    }
    out
}

fn result(hash: Option<u64>, group: &Group, differs: Vec<(Contributor, u32, u32)>) -> ShapeResult {
    ShapeResult {
        hash,
        exchanges: group.exchanges,
        slow: group.slow,
        latency_sum: Nanos(group.latency),
        differs,
    }
}

/// What goes with slow: every shape and feature with enough requests, tested (likelihood ratio of the two-by-two table,
/// Bonferroni's correction for the number of candidates), strongest first by the table's correlation.
pub(super) fn associations(groups: &Groups<Contributor>) -> Vec<Association> {
    let (candidates, all) = (candidates(groups), &groups.all);
    let shapes = groups.shapes.iter().map(|(hash, shape)| (Feature::Shape(*hash), shape.group));
    let features = groups.features.iter().map(|(feature, group)| (feature.clone(), *group));
    let urls = groups.urls.values().map(|(url, group)| (Feature::Url(url.clone()), *group));
    let attributes = groups.attributes.iter().flat_map(|((service, key), values)| {
        let feature = |value: &Arc<str>| Feature::Attribute(service.clone(), key.clone(), value.clone());
        values.groups.iter().map(move |(value, group)| (feature(value), *group))
    });
    let mut out: Vec<Association> = shapes
        .chain(features)
        .chain(urls)
        .chain(attributes)
        .filter_map(|(feature, group)| associate(feature, &group, candidates, all))
        .collect();
    out.sort_by(|a, b| b.correlation.total_cmp(&a.correlation).then_with(|| a.feature.cmp(&b.feature)));
    // Two names of the same requests (an instance and its host) are one statement.
    let mut kept: Vec<Association> = Vec::new();
    for one in out {
        if !kept.iter().any(|k| (k.exchanges, k.slow) == (one.exchanges, one.slow)) {
            kept.push(one);
        }
    }
    kept.truncate(STATEMENTS);
    kept
}

/// Candidates of a step: how many are tested.
fn candidates(groups: &Groups<Contributor>) -> usize {
    let all = &groups.all;
    let tested = |g: &Group| g.exchanges >= SUPPORT && all.exchanges - g.exchanges >= SUPPORT;
    groups.shapes.values().filter(|s| tested(&s.group)).count()
        + groups.features.values().filter(|g| tested(g)).count()
        + groups.urls.values().filter(|(_, g)| tested(g)).count()
        + groups.attributes.values().flat_map(|values| values.groups.values()).filter(|g| tested(g)).count()
}

fn associate(feature: Feature, with: &Group, candidates: usize, all: &Group) -> Option<Association> {
    let rest = Group {
        exchanges: all.exchanges.checked_sub(with.exchanges)?,
        slow: all.slow.checked_sub(with.slow)?,
        latency: all.latency.saturating_sub(with.latency),
    };
    if with.exchanges < SUPPORT || rest.exchanges < SUPPORT || with.slow < SLOW_SUPPORT {
        return None;
    }
    let share = |g: &Group| g.slow as f64 / g.exchanges as f64;
    let covers = with.slow as f64 / all.slow as f64;
    if share(with) < RATIO * share(&rest) || covers < COVERS {
        return None;
    }
    let [a, b] = [with.slow as f64, (with.exchanges - with.slow) as f64];
    let [c, d] = [rest.slow as f64, (rest.exchanges - rest.slow) as f64];
    let n = a + b + c + d;
    let cell = |seen: f64, row: f64, column: f64| {
        if seen > 0.0 { seen * (seen * n / (row * column)).ln() } else { 0.0 }
    };
    let g =
        2.0 * (cell(a, a + b, a + c) + cell(b, a + b, b + d) + cell(c, c + d, a + c) + cell(d, c + d, b + d));
    // χ² with one degree of freedom is a squared normal.
    let p = 2.0 * (1.0 - normal_cdf(g.max(0.0).sqrt()));
    let p = (p * candidates.max(1) as f64).min(1.0);
    let correlation = (a * d - b * c) / ((a + b) * (c + d) * (a + c) * (b + d)).sqrt();
    (p < CHANCE).then(|| Association {
        feature,
        exchanges: with.exchanges,
        slow: with.slow,
        slow_share_without: share(&rest),
        covers,
        correlation,
        p,
    })
}

/// A feature by numbers: which kind, and what.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Mark {
    Status(u16),
    Opened(bool),
    /// Service and host.
    Instance(u32, u32),
    /// Operation.
    Error(u32),
    /// Service, attribute and value.
    Process(u32, u8, u32),
    User(u32),
    /// Service, attribute and value.
    Attribute(u32, u32, u32),
}

/// Groups of all steps while they are filled.
#[derive(Default)]
pub(super) struct Grouping {
    pub shaper: Shaper,
    steps: Vec<Groups<u32>>,
    marks: MixedMap<(u16, Mark), Group>,
    /// Marks of the spans of a trace, by exchange, sorted, each once.
    spans: Vec<(u32, Mark)>,
}

impl Grouping {
    /// Takes in a trace's trees; `root_of` gives each node's exchange, `told` the attributes of rows.
    pub fn trace(
        &mut self,
        forest: &Forest,
        rows: &[Row],
        (root_of, told): (&[u32], &[Told]),
        names: &Names,
    ) {
        self.shaper.calls.clear();
        self.spans.clear();
        for (i, node) in forest.nodes.iter().enumerate().skip(forest.roots) {
            let row = &rows[node.row as usize];
            if node.flags & (OFF | OUTER | TRANSPORT) == 0 {
                self.shaper.calls.push((root_of[i], node.owner));
            }
            if node.flags & ENTRY != 0 {
                self.spans.push((root_of[i], Mark::Instance(row.service, row.host)));
                let told = names.told(row.host);
                self.spans
                    .extend(told.map(|(key, value)| (root_of[i], Mark::Process(row.service, key, value))));
            }
            if row.flags & ERROR != 0 {
                self.spans.push((root_of[i], Mark::Error(node.op)));
            }
            if row.flags & TELLS != 0 {
                let own = told[told.partition_point(|t| t.0 < node.row)..].iter();
                let own = own.take_while(|t| t.0 == node.row);
                self.spans.extend(own.map(|t| (root_of[i], Mark::Attribute(row.service, t.1, t.2))));
            }
        }
        self.shaper.calls.sort_unstable();
        self.spans.sort_unstable();
        self.spans.dedup();
    }

    /// Counts a joined exchange.
    pub fn exchange(&mut self, index: u32, asked: &Asked, slow: bool, names: &Names, urls: &Urls) {
        let (weight, latency) = (u64::from(asked.weight), asked.latency());
        let step = usize::from(asked.step);
        if self.steps.len() <= step {
            self.steps.resize_with(step + 1, Groups::default);
        }
        let hash = self.shaper.shape(index, names);
        self.steps[step].shape(hash, &self.shaper.holds, latency, slow, weight);
        let from = self.spans.partition_point(|(root, _)| *root < index);
        let own = self.spans[from..].iter().take_while(|(root, _)| *root == index).map(|(_, mark)| *mark);
        let of_client = [Mark::Status(asked.status), Mark::Opened(asked.opened)];
        let user = (asked.user < USERS).then_some(Mark::User(asked.user));
        for mark in of_client.into_iter().chain(user).chain(own) {
            self.marks.entry((asked.step, mark)).or_default().add(latency, slow, weight);
        }
        if let Some(url) = urls.of(asked.step, asked.url) {
            let told = self.steps[step].urls.entry(asked.url);
            told.or_insert_with(|| (url.clone(), Group::default())).1.add(latency, slow, weight);
        }
    }

    /// The groups by name, in the order of the steps.
    pub fn named(self, names: &Names) -> Vec<Groups<Contributor>> {
        let mut steps: Vec<Groups<Contributor>> =
            self.steps.into_iter().map(|groups| groups.named(names)).collect();
        for ((step, mark), group) in self.marks {
            let feature = match mark {
                Mark::Status(status) => Feature::Status(status),
                Mark::Opened(opened) => Feature::Connection(Arc::from(if opened { "new" } else { "reused" })),
                Mark::Instance(service, host) => {
                    Feature::Instance(names.str(service).clone(), names.instance(host).clone())
                }
                Mark::Error(op) => {
                    let op = names.operation(op);
                    Feature::Error(names.str(op.service).clone(), names.str(op.name).clone())
                }
                Mark::Process(service, key, value) => Feature::Process(
                    names.str(service).clone(),
                    Arc::from(Names::told_key(key)),
                    names.str(value).clone(),
                ),
                Mark::User(user) => Feature::User(user),
                Mark::Attribute(service, key, value) => {
                    let key = (names.str(service).clone(), names.str(key).clone());
                    let groups = BTreeMap::from([(names.str(value).clone(), group)]);
                    steps[usize::from(step)].attribute(key, Values { many: false, groups });
                    continue;
                }
            };
            // An instance without a name is no instance to point at.
            if !matches!(&feature, Feature::Instance(_, instance) if instance.is_empty()) {
                steps[usize::from(step)].feature(feature, &group);
            }
        }
        steps
    }
}
