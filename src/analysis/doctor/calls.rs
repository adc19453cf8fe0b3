//! Are calls to be seen, with what blame needs to name them, and each only once?

use super::sketch::{Known, Sketch, peer};
use super::{Point, Topic, count, listed};
use crate::analysis::names::ROWS;
use crate::analysis::result::Category;
use crate::analysis::tree::leaf;
use crate::record::{KeptSpan, SpanKind};
use std::collections::BTreeSet;

const QUERY: [&str; 3] = ["db.query.text", "db.statement", "db.query.summary"];

/// Databases that are a library in the process: there is no server to name.
const EMBEDDED: [&str; 6] = ["sqlite", "h2", "h2database", "duckdb", "derby", "hsqldb"];

pub(super) fn database(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    // The reading of rows has no statement: its query's span has it.
    let is_query = |known: &&Known<'_>| known.category == Category::Database && known.span.name != ROWS;
    let queries: Vec<&Known<'_>> = sketch.ours.iter().filter(is_query).collect();
    if queries.is_empty() {
        points.push(Point::hint(
            Topic::Database,
            "No database call is to be seen.".into(),
            "If the service has a database, its time would be blamed on its own code.",
            "Instrument its database driver (most languages have an OpenTelemetry instrumentation for it).",
        ));
        return;
    }
    let before = points.len();
    let system = |span: &KeptSpan| {
        span.first_text(&["db.system.name", "db.system"]).unwrap_or("a database").to_owned()
    };
    let lacking = |has: &dyn Fn(&KeptSpan) -> bool| -> Vec<String> {
        queries.iter().filter(|known| !has(known.span)).map(|known| system(known.span)).collect()
    };
    let textless = lacking(&|span| span.first_text(&QUERY).is_some());
    if !textless.is_empty() {
        points.push(Point::hint(
            Topic::Database,
            format!("{} of {} database spans ({}) have no query text.", textless.len(), queries.len(), listed(textless)),
            "Statements would be told apart by the spans' names alone, and repeated queries (N+1) may go unseen.",
            "Switch on `db.query.text` (older: `db.statement`) in the instrumentation; sanitised text is enough.",
        ));
    }
    let peerless = lacking(&|span| peer(span).is_some() || EMBEDDED.contains(&system(span).as_str()));
    if !peerless.is_empty() {
        points.push(Point::hint(
            Topic::Database,
            format!(
                "{} of {} database spans ({}) do not say which server they went to.",
                peerless.len(),
                queries.len(),
                listed(peerless)
            ),
            "Two servers of one kind would be blamed as one.",
            "Set `server.address` and `server.port` (a newer version of the instrumentation does).",
        ));
    }
    if points.len() == before {
        let systems = listed(queries.iter().map(|known| system(known.span)).collect());
        points.push(Point::good(
            Topic::Database,
            format!(
                "Database calls are to be seen, with query text and peer ({}, {systems}).",
                count(queries.len(), "span")
            ),
        ));
    }
}

pub(super) fn outgoing(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let others: Vec<&Known<'_>> = sketch
        .calls()
        .filter(|known| {
            !matches!(known.category, Category::Database | Category::Connection | Category::Queue)
        })
        .collect();
    let any_call = sketch.ours.iter().any(|known| {
        !matches!(known.category, Category::App | Category::Queue | Category::Connection)
            || known.span.kind == SpanKind::Client
    });
    if !any_call {
        points.push(Point::hint(
            Topic::Calls,
            "No outgoing call of any kind is to be seen.".into(),
            "All time of the service would be blamed on its own code, whatever it waits for.",
            "Instrument its HTTP, RPC, cache and database clients, or check that the service really calls nobody.",
        ));
        return;
    }
    let peerless: Vec<String> = others
        .iter()
        .filter(|known| {
            peer(known.span).is_none() && known.span.first_text(&["messaging.destination.name"]).is_none()
        })
        .map(|known| format!("{}: {}", known.span.service(), known.span.name))
        .collect();
    if !peerless.is_empty() {
        points.push(Point::hint(
            Topic::Calls,
            format!(
                "{} of {} outgoing calls do not say whom they call ({}).",
                peerless.len(),
                others.len(),
                listed(peerless)
            ),
            "They would be told apart by their names alone.",
            "Set `server.address` (or `peer.service`) on client spans.",
        ));
    } else if !others.is_empty() {
        let whom = listed(others.iter().filter_map(|known| peer(known.span)).map(host).collect());
        points.push(Point::good(
            Topic::Calls,
            format!("Outgoing calls are to be seen, with their peer ({whom})."),
        ));
    }
}

/// Host of a URL; anything else as it is.
fn host(peer: &str) -> String {
    let rest = peer.split_once("://").map_or(peer, |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or(rest).to_owned()
}

pub(super) fn duplicates(sketch: &Sketch<'_>, points: &mut Vec<Point>) {
    let before = points.len();
    if sketch.repeated > 0 {
        points.push(Point::fault(
            Topic::Duplicates,
            format!("{} came more than once.", count(sketch.repeated, "span")),
            "hotspan counts each once, but the service pays for sending it twice.",
            "Two exporters, or two pipelines of the Collector, send to the same place: remove one.",
        ));
    }
    let mut seen = BTreeSet::new();
    for known in &sketch.ours {
        let above = twin_above(sketch, known);
        let Some(other) = above.or_else(|| twin_beside(sketch, known)) else { continue };
        let libraries =
            [other.span.library(), known.span.library()].map(|l| if l.is_empty() { "?" } else { l });
        let what = if known.span.kind == SpanKind::Server { "Requests" } else { "Calls" };
        // A mapper's call and its driver's below it count as one; statements, too, where the driver's lies beside the mapper's, within it.
        let asks = matches!(known.category, Category::Database | Category::Cache | Category::Search);
        let beside = asks && (is_within(known.span, other.span) || is_within(other.span, known.span));
        let layers = leaf(known.category) && (above.is_some() || beside);
        let service = known.span.service().to_owned();
        seen.insert((layers, what, service, listed(libraries.map(str::to_owned).to_vec())));
    }
    for (layers, what, service, libraries) in seen {
        if layers {
            points.push(Point::hint(
                Topic::Duplicates,
                format!("{what} of {service} are recorded by two layers, {libraries}."),
                "Two such spans count as one call, with the outer layer's own time told apart.",
                "One of the two instrumentations is enough, and halves the number of these spans.",
            ));
            continue;
        }
        points.push(Point::fault(
            Topic::Duplicates,
            format!("{what} of {service} are recorded twice, by {libraries}."),
            "Each counts as two, and time between the two would be blamed as if it were work.",
            "Switch off one of the two instrumentations (often an automatic one and one by hand, or a framework's and a \
             library's).",
        ));
    }
    if points.len() == before {
        points.push(Point::good(Topic::Duplicates, "Nothing is recorded twice.".into()));
    }
}

/// A span whose parent records the same thing: server in server, or call in call of the same kind, in one service. A
/// service that calls itself has a client span in between.
fn twin_above<'s, 'a>(sketch: &'s Sketch<'a>, known: &Known<'_>) -> Option<&'s Known<'a>> {
    let parent = sketch.parent(known)?;
    let same = parent.span.kind == known.span.kind
        && parent.span.service() == known.span.service()
        && parent.category == known.category
        && matches!(known.span.kind, SpanKind::Server | SpanKind::Client);
    // One library tells of the wait for a pool and, below it, of the connection that had to be opened; of a statement, and that it
    // had to be prepared.
    let parts = matches!(known.category, Category::Queue | Category::Connection | Category::Database);
    if parts && parent.span.library() == known.span.library() {
        return None;
    }
    let alone = sketch.children(parent).filter(|child| child.span.kind == known.span.kind).count() == 1;
    (same && alone && most_of(known.span, parent.span)).then_some(parent)
}

/// A call beside it that covers the same time, of the same category, from another library.
fn twin_beside<'s, 'a>(sketch: &'s Sketch<'a>, known: &Known<'_>) -> Option<&'s Known<'a>> {
    let parent = sketch.parent(known)?;
    if known.span.kind != SpanKind::Client {
        return None;
    }
    sketch.children(parent).find(|other| {
        other.span.kind == SpanKind::Client
            && other.category == known.category
            && other.span.span_id < known.span.span_id
            && other.span.library() != known.span.library()
            && most_of(other.span, known.span)
            && most_of(known.span, other.span)
    })
}

fn is_within(inner: &KeptSpan, outer: &KeptSpan) -> bool {
    inner.start >= outer.start && inner.end <= outer.end
}

/// Whether `inner` covers at least half of `outer` and begins and ends within it.
fn most_of(inner: &KeptSpan, outer: &KeptSpan) -> bool {
    let (start, end) = (inner.start.max(outer.start), inner.end.min(outer.end));
    2 * end.since(start).0 >= outer.end.since(outer.start).0
}
