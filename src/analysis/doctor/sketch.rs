//! The spans of an exam, sorted out once for all checks.

use super::{Exam, Probe};
use crate::analysis::facts::{Facts, Keys};
use crate::analysis::result::Category;
use crate::analysis::semantics::classify;
use crate::record::{KeptSpan, SpanId, SpanKind, Timestamp, TraceId};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// A span of one of the probes, and what is known of it.
pub(super) struct Known<'a> {
    pub span: &'a KeptSpan,
    pub arrived: Timestamp,
    pub probe: &'a Probe,
    /// Index of its parent among the spans of the probes.
    pub parent: Option<usize>,
    pub category: Category,
    pub children: Vec<usize>,
}

/// An exam, sorted out.
pub(super) struct Sketch<'a> {
    pub exam: &'a Exam,
    /// Spans of the probes, each once, without the client's own; in the order of arrival.
    pub ours: Vec<Known<'a>>,
    /// How often a span of the probes came again.
    pub repeated: usize,
    /// Spans without a parent, of other traces, that began while a probe was under way.
    pub strays: Vec<&'a KeptSpan>,
    /// Sampled probes (by trace) that have a span.
    pub joined: BTreeSet<TraceId>,
}

impl<'a> Sketch<'a> {
    pub fn of(exam: &'a Exam) -> Sketch<'a> {
        let probes: HashMap<TraceId, &Probe> = exam.probes.iter().map(|p| (p.trace_id, p)).collect();
        let mut keys = Keys::default();
        let mut at: HashMap<(TraceId, SpanId), usize> = HashMap::new();
        let (mut ours, mut strays) = (Vec::<Known<'_>>::new(), Vec::new());
        let mut repeated = 0;
        let tried: HashSet<TraceId> = exam.tried.iter().map(|(_, probe)| probe.trace_id).collect();
        for (span, arrived) in exam.spans.iter().filter(|(span, _)| !tried.contains(&span.trace_id)) {
            let Some(probe) = probes.get(&span.trace_id).copied() else {
                let during = |p: &Probe| span.start >= p.start && span.start <= p.end;
                if span.parent_id.is_none() && exam.probes.iter().any(during) {
                    strays.push(span);
                }
                continue;
            };
            if span.span_id == probe.span_id {
                continue;
            }
            if at.contains_key(&(span.trace_id, span.span_id)) {
                repeated += 1;
                continue;
            }
            at.insert((span.trace_id, span.span_id), ours.len());
            let category = span.lend(|span| {
                let facts = Facts::of(span, &mut keys);
                classify(span.kind, span.name, &facts).category
            });
            ours.push(Known { span, arrived: *arrived, probe, parent: None, category, children: Vec::new() });
        }
        for index in 0..ours.len() {
            let span = ours[index].span;
            let parent = span.parent_id.and_then(|id| at.get(&(span.trace_id, id)).copied());
            ours[index].parent = parent;
            if let Some(parent) = parent {
                ours[parent].children.push(index);
            }
        }
        let joined = ours.iter().filter(|k| k.probe.sampled).map(|k| k.span.trace_id).collect();
        Sketch { exam, ours, repeated, strays, joined }
    }

    pub fn services(&self) -> Vec<String> {
        let named: BTreeSet<&str> = self.ours.iter().map(|known| known.span.service()).collect();
        named
            .into_iter()
            .map(|name| if name.is_empty() { "(no service.name)" } else { name }.to_owned())
            .collect()
    }

    pub fn parent(&self, known: &Known<'_>) -> Option<&Known<'a>> {
        known.parent.and_then(|index| self.ours.get(index))
    }

    pub fn children<'s>(&'s self, known: &'s Known<'_>) -> impl Iterator<Item = &'s Known<'a>> {
        known.children.iter().filter_map(|index| self.ours.get(*index))
    }

    /// Spans whose parent is the client's span: the entries into the service.
    pub fn entries(&self) -> impl Iterator<Item = &Known<'a>> {
        self.ours.iter().filter(|known| known.span.parent_id == Some(known.probe.span_id))
    }

    /// Calls to other services, databases and queues, by kind or by what they say.
    pub fn calls(&self) -> impl Iterator<Item = &Known<'a>> {
        let called = |k: &&Known<'_>| matches!(k.span.kind, SpanKind::Client | SpanKind::Producer);
        self.ours.iter().filter(called)
    }

    /// How often each key is met.
    pub fn tally<K: Ord>(keys: impl Iterator<Item = K>) -> BTreeMap<K, usize> {
        let mut counts = BTreeMap::new();
        keys.for_each(|key| *counts.entry(key).or_default() += 1);
        counts
    }
}

/// As [`peer`], with the port where there is one: two services on one host are two peers.
pub(super) fn peer_and_port(span: &KeptSpan) -> String {
    let port = ["server.port", "net.peer.port", "network.peer.port"].iter().find_map(|key| span.int(key));
    match (peer(span), port) {
        (Some(peer), Some(port)) if !peer.contains("://") => format!("{peer}:{port}"),
        (Some(peer), _) => peer.to_owned(),
        (None, _) => String::new(),
    }
}

/// The address or name of who is called.
pub(super) fn peer(span: &KeptSpan) -> Option<&str> {
    span.first_text(&[
        "peer.service",
        "service.peer.name",
        "server.address",
        "net.peer.name",
        "network.peer.address",
        "net.sock.peer.addr",
        "net.peer.ip",
        "url.full",
        "http.url",
    ])
}
