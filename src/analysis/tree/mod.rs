//! One trace as trees that hang from the exchanges that caused it.
//!
//! Real traces are broken: parents missing, ids shared, spans twice, parents in a circle, clocks apart. Everything is
//! repaired here, on a copy, and counted; nothing is repaired twice and nothing depends on the order of arrival. All of it
//! is iterative and O(n log n), for a trace may be 50,000 spans deep or wide.

mod coarse;
mod cursors;
mod layers;
mod mend;
mod place;

use super::codec::codec;
use super::names::{NONE, Names};
use super::result::Category;
use super::row::{LISTENS, Row};
use crate::record::SpanKind;
use std::cmp::{Ordering, Reverse};

/// An exchange, as far as its spans are concerned: the window from sent to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub span_id: u64,
    pub from: u64,
    pub to: u64,
    /// A server that answers in one piece is done by then.
    pub first_byte: u64,
}

/// A span in its place. The first nodes of a tree are the exchanges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Node {
    pub span_id: u64,
    /// Its interval on the exchange's clock.
    pub from: u64,
    pub to: u64,
    /// The same clipped to its parent's; empty where the node is not on any path.
    pub start: u64,
    pub end: u64,
    /// What was added to its own clock.
    delta: i64,
    pub parent: u32,
    /// Index of its row; [`NONE`] for exchanges.
    pub row: u32,
    pub owner: u32,
    pub op: u32,
    pub service: u32,
    host: u32,
    /// The node at which its process was entered.
    pub entry: u32,
    pub kind: SpanKind,
    pub flags: u8,
}

impl Node {
    /// Whether its clock was set right.
    pub fn was_shifted(&self) -> bool {
        self.delta != 0
    }
}

/// Not on the path, nor anything below it.
pub(super) const OFF: u8 = 1;
/// Its self time is the way to a traced service.
pub(super) const HOP: u8 = 2;
/// It enters a process: called by another service, or by the client.
pub(super) const ENTRY: u8 = 4;
/// It is the transport of its parent's call, not a call of its own.
pub(super) const TRANSPORT: u8 = 8;
/// Part of its own time belongs to someone else.
pub(super) const SPLIT: u8 = 16;
/// Another span describes the same call better: it is not counted.
pub(super) const OUTER: u8 = 32;
/// It was made while the rows of the statement above were read: no part of that call, but one of its own.
pub(super) const WITHIN: u8 = 64;

/// What was repaired, in one trace or many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Repairs {
    pub duplicates: u64,
    pub orphans: u64,
    pub clipped: u64,
    pub async_tail: u64,
    pub shifted: u64,
    pub skew_max: u64,
    pub cycles: u64,
    /// Spans of hotspan's own that came back.
    pub own: u64,
    /// Spans of which the start is known to the millisecond only.
    pub coarse_starts: u64,
}

codec!(Repairs { duplicates, orphans, clipped, async_tail, shifted, skew_max, cycles, own, coarse_starts });

impl Repairs {
    pub fn merge(&mut self, other: &Repairs) {
        self.duplicates += other.duplicates;
        self.orphans += other.orphans;
        self.clipped += other.clipped;
        self.async_tail += other.async_tail;
        self.shifted += other.shifted;
        self.skew_max = self.skew_max.max(other.skew_max);
        self.cycles += other.cycles;
        self.own += other.own;
        self.coarse_starts += other.coarse_starts;
    }
}

/// The trees of one trace, in buffers that are used again for the next.
#[derive(Default)]
pub(super) struct Forest {
    pub nodes: Vec<Node>,
    pub roots: usize,
    first: Vec<u32>,
    kids: Vec<u32>,
    /// Every node after its parent.
    pub order: Vec<u32>,
    pub repairs: Repairs,
    /// Some siblings overlap.
    pub parallel: bool,
    sorted: Vec<(u64, u32)>,
    ids: Vec<u64>,
    root_ids: Vec<(u64, u32)>,
}

impl Forest {
    /// Builds the trees of a trace from its rows (indices into `rows`, any order) and its exchanges.
    pub fn build(&mut self, roots: &[Root], rows: &[Row], members: &[u32], names: &mut Names) {
        self.repairs = Repairs::default();
        self.plant(roots);
        self.collect(rows, members, names);
        self.link(rows, names.roots_are_spans);
        self.connect();
        if self.order.len() < self.nodes.len() {
            self.repair();
            self.connect();
        }
        self.settle_coarse_starts();
        if self.wrap(names) {
            self.connect();
        }
        if self.hang_in_layers(rows, names) {
            self.connect();
        }
        if self.hang_in_cursors(names) {
            self.connect();
        }
        self.enter(rows, names);
        if self.hang_by_who_waits() {
            self.connect();
        }
        self.leave_listeners(rows);
        self.place(names);
        self.sort_kids();
    }

    /// A wait for the client during which the request does something else is no wait of the request: a stream listens all the time
    /// for its client's going away.
    fn leave_listeners(&mut self, rows: &[Row]) {
        let listens = |node: &Node| rows.get(node.row as usize).is_some_and(|r| r.flags & LISTENS != 0);
        let of_listeners = self.nodes.iter().filter(|n| n.parent != NONE && listens(n)).map(|n| n.parent);
        let mut parents: Vec<u32> = of_listeners.collect();
        parents.sort_unstable();
        parents.dedup();
        for parent in parents {
            let kids = self.kids(parent).iter().map(|k| (*k, &self.nodes[*k as usize]));
            let (listeners, others): (Vec<_>, Vec<_>) = kids.partition(|(_, kid)| listens(kid));
            let mut begun: Vec<u64> = others.iter().map(|(_, kid)| kid.from).collect();
            begun.sort_unstable();
            let within = |from: u64, to: u64| {
                begun.get(begun.partition_point(|b| *b <= from)).is_some_and(|b| *b < to)
            };
            let beside = listeners.iter().filter(|(_, kid)| within(kid.from, kid.to)).map(|(i, _)| *i);
            for listener in beside.collect::<Vec<u32>>() {
                self.nodes[listener as usize].flags |= OFF;
            }
        }
    }

    /// One tree of spans below a root of that kind, as all of one process: no orphans, wrappers, clocks or owners. What
    /// hangs from no known parent is left out.
    pub fn build_plain(
        &mut self,
        root: Root,
        kind: SpanKind,
        rows: &[Row],
        members: &[u32],
        names: &mut Names,
    ) {
        self.repairs = Repairs::default();
        self.plant(&[root]);
        self.nodes[0].kind = kind;
        self.collect(rows, members, names);
        self.link(rows, false);
        self.connect();
        self.place(names);
        self.sort_kids();
    }

    /// Children of a node, latest end first (then earliest start, then span id); those that are off the path too.
    pub fn kids(&self, node: u32) -> &[u32] {
        let node = node as usize;
        &self.kids[self.first[node] as usize..self.first[node + 1] as usize]
    }

    /// Index range of a node's children, for walking with a cursor.
    pub fn kid_range(&self, node: u32) -> (u32, u32) {
        (self.first[node as usize], self.first[node as usize + 1])
    }

    /// A child by its index.
    pub fn kid(&self, index: u32) -> u32 {
        self.kids[index as usize]
    }

    /// Every node but the exchanges: those of one parent one after the other, earliest end first.
    pub fn by_end(&self) -> impl Iterator<Item = u32> + '_ {
        self.kids.iter().rev().copied()
    }

    fn plant(&mut self, roots: &[Root]) {
        self.nodes.clear();
        self.roots = roots.len();
        self.root_ids.clear();
        for (i, root) in roots.iter().enumerate() {
            self.root_ids.push((root.span_id, i as u32));
            self.nodes.push(Node {
                span_id: root.span_id,
                from: root.from,
                to: root.to,
                start: root.from,
                end: root.first_byte,
                delta: 0,
                parent: NONE,
                row: NONE,
                owner: NONE,
                op: NONE,
                service: NONE,
                host: 0,
                entry: i as u32,
                kind: SpanKind::Client,
                flags: 0,
            });
        }
        self.root_ids.sort_unstable();
    }

    fn root_of(&self, span_id: u64) -> Option<u32> {
        let at = self.root_ids.partition_point(|r| r.0 < span_id);
        self.root_ids.get(at).filter(|r| r.0 == span_id).map(|r| r.1)
    }

    /// One node per span, sorted by span id. Spans that came twice are dropped; a client and a server that share an id
    /// (Zipkin's way) are two spans.
    fn collect(&mut self, rows: &[Row], members: &[u32], names: &Names) {
        self.sorted.clear();
        self.sorted.extend(members.iter().map(|m| (rows[*m as usize].span_id, *m)));
        self.sorted.sort_unstable();
        self.ids.clear();
        let mut at = 0;
        while at < self.sorted.len() {
            let id = self.sorted[at].0;
            let to = at + self.sorted[at..].iter().take_while(|s| s.0 == id).count();
            if to - at > 1 {
                self.sorted[at..to]
                    .sort_by(|a, b| by_content(&rows[a.1 as usize], &rows[b.1 as usize], names));
            }
            let exchange = self.root_of(id);
            let mut kept: [Option<u32>; 2] = [None; 2];
            for &(_, member) in &self.sorted[at..to] {
                let row = &rows[member as usize];
                let answers = matches!(row.kind, SpanKind::Server | SpanKind::Consumer);
                // Where root spans stand for the exchanges, only a caller's span is the exchange itself; any other root is
                // work within it.
                if exchange.is_some() && !answers && (!names.roots_are_spans || row.kind == SpanKind::Client)
                {
                    self.repairs.own += 1;
                } else if kept[0].is_none() {
                    kept[0] = Some(member);
                } else if kept[1].is_none() && kept[0].is_some_and(|k| share_an_id(&rows[k as usize], row)) {
                    kept[1] = Some(member);
                } else {
                    self.repairs.duplicates += 1;
                }
            }
            for member in kept.into_iter().flatten() {
                self.ids.push(id);
                self.nodes.push(new_node(member, &rows[member as usize]));
            }
            at = to;
        }
    }

    /// Parents by id. What stays [`NONE`] has no known parent.
    fn link(&mut self, rows: &[Row], roots_are_spans: bool) {
        // Siblings mostly come together: what was found for the last one is asked for first.
        let (mut last, mut found) = ((0, NONE), NONE);
        for i in self.roots..self.nodes.len() {
            let node = &self.nodes[i];
            let row = &rows[node.row as usize];
            let twin = i > self.roots && self.ids[i - self.roots] == self.ids[i - self.roots - 1];
            // Where a root span stands for the exchange both have its id, and what is below it is below the span.
            let of_root = if roots_are_spans { self.find(row.parent_id, row.service, i) } else { NONE };
            let parent = if twin {
                i as u32 - 1
            } else if of_root != NONE {
                of_root
            } else if let Some(root) = self.root_of(row.parent_id).or(self.root_of(row.span_id)) {
                root
            } else if last == (row.parent_id, row.service) && found != i as u32 {
                found
            } else {
                let at = self.find(row.parent_id, row.service, i);
                if at != NONE {
                    (last, found) = ((row.parent_id, row.service), at);
                }
                at
            };
            self.nodes[i].parent = parent;
            if twin {
                // An id of its own, so that ties between the two can be broken.
                self.nodes[i].span_id ^= 0x5A5A_5A5A_5A5A_5A5A;
            }
        }
    }

    fn find(&self, id: u64, service: u32, child: usize) -> u32 {
        if id == 0 {
            return NONE;
        }
        let at = self.ids.partition_point(|i| *i < id);
        if self.ids.get(at) != Some(&id) {
            return NONE;
        }
        let mut found = at + self.roots;
        if self.ids.get(at + 1) == Some(&id) {
            // Shared by a client and a server: what the client's own process did below it is the client's.
            let (client, server) = (self.nodes[found].service, self.nodes[found + 1].service);
            if server == service || client != service {
                found += 1;
            }
        }
        if found == child { NONE } else { found as u32 }
    }

    /// Children by parent, and an order from the exchanges downwards. What hangs from no exchange is not in the order.
    fn connect(&mut self) {
        let n = self.nodes.len();
        self.first.clear();
        self.first.resize(n + 1, 0);
        for node in self.nodes.iter().filter(|n| n.parent != NONE) {
            self.first[node.parent as usize + 1] += 1;
        }
        for i in 0..n {
            self.first[i + 1] += self.first[i];
        }
        self.kids.clear();
        self.kids.resize(self.first[n] as usize, 0);
        // Filled from the back of each range, so that no second table of offsets is needed; put right below.
        for (i, node) in self.nodes.iter().enumerate().rev().filter(|(_, n)| n.parent != NONE) {
            let end = &mut self.first[node.parent as usize + 1];
            *end -= 1;
            self.kids[*end as usize] = i as u32;
        }
        // Each offset now holds its range's start, one place too far up.
        self.first.remove(0);
        self.first.push(self.kids.len() as u32);
        self.order.clear();
        self.order.extend(0..self.roots as u32);
        let mut at = 0;
        while let Some(&node) = self.order.get(at) {
            let (from, to) = self.kid_range(node);
            self.order.extend_from_slice(&self.kids[from as usize..to as usize]);
            at += 1;
        }
    }

    /// Where processes are entered, which calls go to traced services, and who owns what the tree alone can tell.
    fn enter(&mut self, rows: &[Row], names: &mut Names) {
        for at in self.roots..self.order.len() {
            let i = self.order[at];
            let node = self.nodes[i as usize];
            let parent = self.nodes[node.parent as usize];
            let entry = node.parent < self.roots as u32
                || parent.service != node.service
                || matches!(node.kind, SpanKind::Server | SpanKind::Consumer);
            let this = &mut self.nodes[i as usize];
            this.entry = if entry { i } else { parent.entry };
            if entry {
                this.flags |= ENTRY;
                if node.kind == SpanKind::Unspecified {
                    (this.owner, this.op) = names.entry_class(node.owner, node.op);
                }
            }
        }
        self.tell_operations(rows, names);
        for at in self.roots..self.order.len() {
            let i = self.order[at];
            self.own(i, names);
        }
    }

    /// All operations of GraphQL go to one endpoint, through the same handlers: the server's span, and what is between it and a span
    /// that names its operation, are told by that, where it is one.
    fn tell_operations(&mut self, rows: &[Row], names: &mut Names) {
        // By node: the text of the operation; [`NONE`] where there are several.
        let mut told: Vec<u32> = Vec::new();
        for i in self.roots..self.nodes.len() {
            let node = self.nodes[i];
            let operation = rows[node.row as usize].peer;
            if operation == 0 || !self.is_own(i as u32, names) {
                continue;
            }
            told.resize(self.nodes.len(), 0);
            // Every node changes twice at most: who finds it as it would leave it need not go further.
            let mut above = node.parent;
            while above != NONE && self.nodes[above as usize].service == node.service {
                let this = &mut told[above as usize];
                match *this {
                    0 => *this = operation,
                    one if one == operation || one == NONE => break,
                    _ => *this = NONE,
                }
                above = self.nodes[above as usize].parent;
            }
        }
        for (i, operation) in told.into_iter().enumerate().filter(|(_, o)| !matches!(*o, 0 | NONE)) {
            let node = self.nodes[i];
            if self.is_own(i as u32, names) && rows[node.row as usize].peer == 0 {
                let known = names.carrying_out(node.owner, node.op, operation);
                (self.nodes[i].owner, self.nodes[i].op) = known;
            }
        }
    }

    /// A span of work that a service does itself.
    fn is_own(&self, i: u32, names: &Names) -> bool {
        let node = &self.nodes[i as usize];
        matches!(node.kind, SpanKind::Internal | SpanKind::Server)
            && names.category(node.owner) == Category::App
    }

    /// Owner and flags of one node, its entry and its children's entries being known.
    fn own(&mut self, i: u32, names: &mut Names) {
        let node = self.nodes[i as usize];
        let category = names.category(node.owner);
        let called = |k: &&u32| {
            let kid = &self.nodes[**k as usize];
            kid.flags & ENTRY != 0 && kid.kind != SpanKind::Consumer
        };
        let calls = match node.kind {
            SpanKind::Client => true,
            // Without a kind: all of its children are other services', and it is no entry itself.
            SpanKind::Unspecified => node.flags & ENTRY == 0 && self.kids(i).iter().all(|k| called(&k)),
            _ => false,
        };
        let callee =
            if calls { self.kids(i).iter().filter(called).min_by_key(|k| self.by_time(**k)) } else { None };
        if let Some(callee) = callee {
            let owner = names.network(node.service, self.nodes[*callee as usize].op);
            let this = &mut self.nodes[i as usize];
            this.owner = owner;
            this.flags |= HOP;
            return;
        }
        let parent = self.nodes[node.parent as usize];
        let alone = parent.service != node.service || node.flags & (ENTRY | WITHIN | TRANSPORT) != 0;
        if node.parent < self.roots as u32 || alone {
            return;
        }
        let above = names.who(parent.owner);
        let same = leaf(category) && above.category == category;
        let carried = category == Category::External
            && (matches!(
                above.category,
                Category::Database | Category::Cache | Category::Search | Category::Messaging
            ) || (same
                && &*names.who(node.owner).system == "http"
                && !matches!(&*above.system, "" | "http")));
        if carried && parent.flags & HOP == 0 {
            let this = &mut self.nodes[i as usize];
            this.owner = parent.owner;
            this.flags |= TRANSPORT;
        } else if same {
            self.nodes[node.parent as usize].flags |= OUTER;
        }
    }

    fn by_time(&self, node: u32) -> (u64, u64) {
        (self.nodes[node as usize].from, self.nodes[node as usize].span_id)
    }

    fn sort_kids(&mut self) {
        let nodes = &self.nodes;
        self.parallel = false;
        for pair in self.first.windows(2) {
            let kids = &mut self.kids[pair[0] as usize..pair[1] as usize];
            if kids.len() > 1 {
                kids.sort_unstable_by_key(|k| {
                    let n = &nodes[*k as usize];
                    (Reverse(n.end), n.start, n.span_id)
                });
                let mut later = u64::MAX;
                for kid in
                    kids.iter().map(|k| &nodes[*k as usize]).filter(|n| n.flags & OFF == 0 && n.start < n.end)
                {
                    self.parallel |= kid.end > later;
                    later = later.min(kid.start);
                }
            }
        }
    }
}

/// Categories of spans that describe one call to something that sends no spans.
pub(super) fn leaf(category: Category) -> bool {
    use Category::{Cache, Database, External, Messaging, Search};
    matches!(category, Database | Cache | Search | Messaging | External)
}

fn new_node(member: u32, row: &Row) -> Node {
    Node {
        span_id: row.span_id,
        from: row.start,
        to: row.end,
        start: row.start,
        end: row.end,
        delta: 0,
        parent: NONE,
        row: member,
        owner: row.owner,
        op: row.op,
        service: row.service,
        host: row.host,
        entry: NONE,
        kind: row.kind,
        flags: 0,
    }
}

/// Zipkin-style: both ends of a call under one id.
fn share_an_id(a: &Row, b: &Row) -> bool {
    (a.kind == SpanKind::Client && b.kind == SpanKind::Server)
        || (a.service != b.service && a.kind != SpanKind::Server)
}

/// An order of rows with the same span id that depends on what they say alone: callers first.
fn by_content(a: &Row, b: &Row, names: &Names) -> Ordering {
    let key = |r: &Row| (r.kind == SpanKind::Server, r.start, Reverse(r.end), r.kind, r.flags, r.parent_id);
    let texts = |r: &Row| {
        (names.str(r.service), names.str(names.operation(r.op).name), names.who(r.owner), names.str(r.peer))
    };
    key(a).cmp(&key(b)).then_with(|| texts(a).cmp(&texts(b)))
}
