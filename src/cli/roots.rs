//! Which spans of a trace stand for requests, where no load generator recorded them.
//!
//! The root stands for the exchange. Real traces have several roots or none: roots that overlap in time belong to one
//! request (its caller sent no spans), roots apart from each other are requests of their own, and a span whose parent is
//! missing inside the time of a root has lost its parent, which the analysis mends. Nothing here depends on the order of
//! the spans.

use crate::record::{SpanId, SpanKind, TraceId};

/// A span as far as its place in its trace goes: 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub trace: u128,
    pub span: u64,
    /// 0 where there is none.
    pub parent: u64,
    pub start: u64,
    pub end: u64,
    pub kind: SpanKind,
}

/// A request that a trace tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    pub trace: TraceId,
    /// The id of the exchange: spans with it as parent, and the root itself, hang from the exchange.
    pub exchange: SpanId,
    /// The span that names the request.
    pub head: SpanId,
    /// Its kind, for a client and a server may share an id.
    pub kind: SpanKind,
    pub start: u64,
    pub end: u64,
}

/// The id of an exchange whose root is itself a call without anything below: it is not the caller's side of anything.
const LEAF: u64 = 0x4C45_4146_4C45_4146;

/// The requests of all traces among the spans, which are sorted for it.
pub fn find(spans: &mut [Place], out: &mut Vec<Root>) {
    spans.sort_unstable();
    for trace in spans.chunk_by(|a, b| a.trace == b.trace) {
        of_trace(trace, out);
    }
}

/// One trace, sorted by span id.
fn of_trace(spans: &[Place], out: &mut Vec<Root>) {
    let known = |id: u64| spans.binary_search_by(|s| s.span.cmp(&id)).is_ok();
    let parentless = |s: &&Place| s.parent == 0 || s.parent == s.span;
    let mut roots: Vec<&Place> = spans.iter().filter(parentless).collect();
    let mut lost: Vec<&Place> = spans.iter().filter(|s| !parentless(s) && !known(s.parent)).collect();
    // Copies of a span are one, and of a client and a server that share an id the client is the outer one.
    for list in [&mut roots, &mut lost] {
        list.dedup_by(|next, kept| {
            let same = next.span == kept.span;
            if same && next.kind == SpanKind::Client && kept.kind != SpanKind::Client {
                *kept = next;
            }
            same
        });
    }
    if roots.is_empty() && lost.is_empty() {
        // Parents in a circle: the earliest is the likeliest to be the outermost.
        roots.extend(spans.iter().min_by_key(|s| (s.start, std::cmp::Reverse(s.end), s.span)));
    }
    let mut groups = overlapping(&mut roots);
    let covered: Vec<(u64, u64)> = groups.iter().map(|g| (g.start, g.end)).collect();
    // Starts in order and windows apart: the one that could hold a moment is the last that begins by then.
    lost.retain(|s| {
        let at = covered.partition_point(|w| w.0 <= s.start);
        let within = at.checked_sub(1).and_then(|i| covered.get(i)).is_some_and(|w| s.start <= w.1);
        let reaches = covered.get(at).is_some_and(|w| s.end >= w.0);
        !within && !reaches
    });
    groups.extend(overlapping(&mut lost));
    groups.sort_by_key(|g| (g.start, g.head.span));
    for group in groups {
        let trace = TraceId(group.head.trace.to_be_bytes());
        out.push(Root {
            trace,
            exchange: SpanId(group.id(spans).to_be_bytes()),
            head: SpanId(group.head.span.to_be_bytes()),
            kind: group.head.kind,
            start: group.start,
            end: group.end,
        });
    }
}

/// Roots of one request.
struct Group<'s> {
    /// The span that names it: what was sent before what was answered, then the earliest, then the longest.
    head: &'s Place,
    start: u64,
    end: u64,
    /// The missing parent that all its roots have, if it is one.
    parent: Option<u64>,
    roots: u32,
}

fn rank(span: &Place) -> (u64, std::cmp::Reverse<u64>, bool, u64) {
    (span.start, std::cmp::Reverse(span.end), span.kind != SpanKind::Client, span.span)
}

fn overlapping<'s>(roots: &mut [&'s Place]) -> Vec<Group<'s>> {
    roots.sort_unstable_by_key(|s| rank(s));
    let mut groups: Vec<Group> = Vec::new();
    for root in roots.iter() {
        let end = root.end.max(root.start);
        match groups.last_mut() {
            Some(group) if root.start < group.end || (root.start, end) == (group.start, group.end) => {
                group.end = group.end.max(end);
                group.parent = group.parent.filter(|p| *p == root.parent);
                group.roots += 1;
            }
            _ => groups.push(Group {
                head: root,
                start: root.start,
                end,
                parent: Some(root.parent).filter(|p| *p != 0 && *p != root.span),
                roots: 1,
            }),
        }
    }
    groups
}

impl Group<'_> {
    fn id(&self, spans: &[Place]) -> u64 {
        match self.parent {
            // Several answers to one caller that sent no span: the caller is the exchange.
            Some(parent) if self.roots > 1 => parent,
            _ if self.head.kind == SpanKind::Client && !spans.iter().any(|s| self.is_below(s)) => {
                self.head.span ^ LEAF
            }
            _ => self.head.span,
        }
    }

    /// Whether a span hangs from the head, or shares its id as the other end of the call.
    fn is_below(&self, span: &Place) -> bool {
        (span.parent == self.head.span && span.span != self.head.span)
            || (span.span == self.head.span && span.kind != SpanKind::Client)
    }
}

/// Number, UUID or other opaque part of a path: it says which, not what.
fn opaque(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let hex = part.bytes().all(|c| c.is_ascii_hexdigit() || c == b'-');
    let plain = part.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_');
    digits > 0
        && (digits == part.len()
            || (hex && part.len() >= 8)
            || (plain && part.len() >= 20)
            // Letters of one case and digits mixed: an article number, an order code.
            || (part.len() >= 8 && digits >= 2 && part.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())))
}

/// A name in which opaque parts of a path are `{id}` and a query is left out, so that it names a kind of request.
pub fn low_cardinality(name: &str) -> String {
    let name = name.split(['?', '#']).next().unwrap_or_default().trim();
    if !name.contains('/') {
        return name.to_owned();
    }
    name.split('/').map(|part| if opaque(part) { "{id}" } else { part }).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(span: u64, parent: u64, start: u64, end: u64, kind: SpanKind) -> Place {
        Place { trace: 1, span, parent, start, end, kind }
    }

    /// `exchange id: head [start, end)` of each request.
    fn found(spans: &[Place]) -> Vec<String> {
        let mut out = Vec::new();
        find(&mut spans.to_vec(), &mut out);
        let id = |id: SpanId| u64::from_be_bytes(id.0);
        out.iter().map(|r| format!("{}: {} [{}, {})", id(r.exchange), id(r.head), r.start, r.end)).collect()
    }

    use SpanKind::{Client, Consumer, Internal, Server};

    #[test]
    fn the_root_stands_for_the_request() {
        let server = [place(1, 0, 10, 90, Server), place(2, 1, 20, 80, Internal)];
        assert_eq!(found(&server), ["1: 1 [10, 90)"]);
        let client = [place(1, 0, 10, 90, Client), place(2, 1, 20, 80, Server)];
        assert_eq!(found(&client), ["1: 1 [10, 90)"]);
        // A client and a server that share an id: the client's side stands for the request.
        let shared = [place(1, 0, 20, 80, Server), place(1, 0, 10, 90, Client)];
        assert_eq!(found(&shared), ["1: 1 [10, 90)"]);
        let copies = [place(1, 0, 10, 90, Server), place(1, 0, 300, 380, Server)];
        assert_eq!(found(&copies), ["1: 1 [10, 90)"]);
        // A lone call is the work itself, not the caller's side of some.
        assert_eq!(found(&[place(1, 0, 10, 90, Client)]), [format!("{}: 1 [10, 90)", 1 ^ LEAF)]);
    }

    #[test]
    fn several_roots_that_overlap_are_one_request_and_others_are_not() {
        let two = [place(1, 0, 10, 50, Server), place(2, 0, 40, 90, Server), place(3, 0, 200, 300, Consumer)];
        assert_eq!(found(&two), ["1: 1 [10, 90)", "3: 3 [200, 300)"]);
        // One missing caller: it is the exchange. Two that touch but do not overlap are two requests.
        let one_caller = [place(1, 7, 10, 50, Server), place(2, 7, 40, 90, Server)];
        assert_eq!(found(&one_caller), ["7: 1 [10, 90)"]);
        let touching = [place(1, 7, 10, 50, Server), place(2, 7, 50, 90, Server)];
        assert_eq!(found(&touching), ["1: 1 [10, 50)", "2: 2 [50, 90)"]);
        let two_callers = [place(1, 7, 10, 50, Server), place(2, 8, 40, 90, Server)];
        assert_eq!(found(&two_callers), ["1: 1 [10, 90)"]);
    }

    #[test]
    fn what_lost_its_parent_within_a_request_belongs_to_it() {
        let lost = [place(1, 0, 10, 90, Server), place(2, 77, 20, 80, Server), place(3, 78, 85, 200, Server)];
        assert_eq!(found(&lost), ["1: 1 [10, 90)"]);
        let apart = [place(1, 0, 10, 90, Server), place(2, 77, 100, 180, Server)];
        assert_eq!(found(&apart), ["1: 1 [10, 90)", "2: 2 [100, 180)"]);
        let circle = [place(1, 2, 10, 90, Server), place(2, 1, 20, 80, Server)];
        assert_eq!(found(&circle), ["1: 1 [10, 90)"]);
        assert_eq!(found(&[place(5, 5, 10, 90, Server)]), ["5: 5 [10, 90)"]);
    }

    proptest! {
        /// Every trace has a request, requests of a trace do not overlap, their ids differ, and order does not matter.
        #[test]
        fn requests_are_apart_and_do_not_depend_on_order(
            spans in prop::collection::vec((1u64..12, 0u64..14, 0u64..100, 0u64..60, 0usize..5), 1..14).prop_shuffle()
        ) {
            let kinds = [Internal, Server, Client, Consumer, SpanKind::Unspecified];
            let spans: Vec<Place> = spans
                .iter()
                .map(|(id, parent, start, length, kind)| place(*id, *parent, *start, start + length, kinds[*kind]))
                .collect();
            let mut roots = Vec::new();
            find(&mut spans.clone(), &mut roots);
            prop_assert!(!roots.is_empty());
            for pair in roots.windows(2) {
                prop_assert!(pair[0].end <= pair[1].start, "{:?}", pair);
            }
            let mut backwards: Vec<Place> = spans.clone();
            backwards.reverse();
            let mut again = Vec::new();
            find(&mut backwards, &mut again);
            prop_assert_eq!(roots, again);
        }
    }

    #[test]
    fn names_lose_what_only_tells_which() {
        for (name, want) in [
            ("GET /product/0PUK6V6EV0", "GET /product/{id}"),
            ("GET /orders/12345/items?page=2", "GET /orders/{id}/items"),
            ("/users/8ce82b2e-9ed8-20ba-0000-123456789012", "/users/{id}"),
            ("hipstershop.Frontend/Recv.", "hipstershop.Frontend/Recv."),
            ("/api/v1/cart", "/api/v1/cart"),
            ("/wrk2-api/post/compose", "/wrk2-api/post/compose"),
            ("checkout 17", "checkout 17"),
        ] {
            assert_eq!(low_cardinality(name), want);
        }
    }
}
