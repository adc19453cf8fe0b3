//! The critical path of all requests of a step as a flame graph, and whole requests as waterfalls.

use super::course::in_order;
use super::{Drawing, EDGE, TOP, WIDTH, label, legend, number, on, px, rect, slug, ticks, told};
use crate::analysis::result::{Category, StepPicture, TraceTree};
use crate::record::Timestamp;
use crate::report::export::{frame, mean_of};
use crate::report::json::value::{nanos, rounded};
use crate::report::number as words;

/// Rows of a waterfall; the others are counted below it.
const ROWS: usize = 80;
/// What is narrower than this is not drawn.
const SEEN: f64 = 0.4;

/// Width is time that clients waited; below a frame is what it waited for.
pub fn flame(step: &str, at: usize, picture: &StepPicture) -> Option<Drawing> {
    let nodes = &picture.flame;
    let mut whole: Vec<u64> = nodes.iter().map(|node| node.own.0).collect();
    let mut depth = vec![0usize; nodes.len()];
    for at in 1..nodes.len() {
        depth[at] = nodes[at].parent.map_or(0, |parent| depth[parent as usize] + 1);
    }
    for at in (1..nodes.len()).rev() {
        if let Some(parent) = nodes[at].parent {
            whole[parent as usize] += whole[at];
        }
    }
    let all = whole.first().copied().filter(|all| *all > 0 && nodes.len() > 1)?;
    let room = WIDTH - 2.0 * EDGE;
    let mut next = vec![EDGE; nodes.len()];
    let mut body = String::new();
    let mut seen: Vec<Category> = Vec::new();
    let mut deepest = 0;
    for (at, node) in nodes.iter().enumerate() {
        let width = room * whole[at] as f64 / all as f64;
        let x = match node.parent {
            None => EDGE,
            Some(parent) => {
                let x = next[parent as usize];
                next[parent as usize] += width;
                x
            }
        };
        next[at] = x;
        if width < SEEN {
            continue;
        }
        deepest = deepest.max(depth[at]);
        let category = node.who.as_ref().map(|who| who.category);
        seen.extend(category);
        let y = TOP + 22.0 * depth[at] as f64;
        let mean = rounded(mean_of(whole[at], nodes.first()) / 1e6, 1e3);
        let own = rounded(node.own.as_millis_f64(), 1e3);
        let more = format!(" data-own-ms=\"{own}\" data-mean-ms=\"{mean}\"");
        let mut marks =
            rect(x, y, (width - 0.6).max(SEEN), 20.0, category.map_or("line", Category::name), &more);
        let name = frame(node, step);
        if width > 34.0 {
            marks.push_str(&label(
                x + 5.0,
                y + 14.0,
                &format!("{} s", on(category)),
                &name,
                (width / 6.6) as usize,
            ));
        }
        let share = words::percent(whole[at] as f64 / all as f64);
        body.push_str(&told(&format!("{name}: {share}, {} per request", words::ms_unit(mean)), &marks));
    }
    let height = TOP + 22.0 * (deepest as f64 + 1.0) + 40.0;
    body.push_str(&legend(height - 14.0, &in_order(&seen)));
    let title = format!("Critical path of all requests: {step}");
    Some(Drawing { name: format!("flame-{}-{}", at + 1, slug(step)), title, height, body })
}

/// Client and servers on one time axis: pale is a span's whole length, solid what the request waited for.
pub fn request(title: &str, number_of: usize, tree: &TraceTree) -> Drawing {
    let since = |at: Timestamp| at.0.saturating_sub(tree.due.0);
    let length = since(tree.moments[3]).max(1) as f64;
    let (left, room) = (330.0, WIDTH - 330.0 - EDGE - 64.0);
    let x_of = |at: Timestamp| left + room * (since(at) as f64 / length).clamp(0.0, 1.0);
    let bar = |from: Timestamp, to: Timestamp, y: f64, height: f64, class: &str, more: &str| {
        rect(x_of(from), y, (x_of(to) - x_of(from)).max(0.5), height, class, more)
    };
    let mut body = String::new();
    let mut seen: Vec<Category> = Vec::new();
    let rows = tree.spans.len().min(ROWS);
    let bottom = TOP + 26.0 + 20.0 * (rows as f64 + 2.0);
    for value in ticks(length / 1e6, 6.0) {
        let x = px(left + room * value * 1e6 / length);
        body.push_str(&format!("<path class=\"grid\" d=\"M{x} {}V{}\"/>\n", TOP + 16.0, px(bottom)));
        body.push_str(&label(x, TOP + 10.0, "d c", &format!("{} ms", number(value)), 14));
    }
    let mut y = TOP + 26.0;
    body.push_str(&label(EDGE, y + 12.0, "t", "critical path", 40));
    for (who, from, to, _) in &tree.path {
        seen.push(who.category);
        let ms = nanos(to.since(*from));
        let mark = bar(*from, *to, y, 16.0, who.category.name(), &format!(" data-path-ms=\"{ms}\""));
        body.push_str(&told(
            &format!("{} [{}] {}", who.name, who.category.name(), words::ms_unit(ms)),
            &mark,
        ));
    }
    let whole = words::ms_unit(nanos(tree.moments[3].since(tree.due)));
    body.push_str(&label(WIDTH - EDGE, y + 12.0, "d e", &whole, 16));
    y += 20.0;
    body.push_str(&label(EDGE, y + 12.0, "t", "request", 40));
    body.push_str(&bar(tree.due, tree.moments[3], y + 4.0, 8.0, "client pale", ""));
    y += 20.0;
    let mut depth = vec![0usize; tree.spans.len()];
    for (at, span) in tree.spans.iter().enumerate() {
        depth[at] = span.parent.map_or(0, |parent| depth.get(parent as usize).map_or(0, |d| d + 1));
    }
    for at in in_tree_order(tree).into_iter().take(ROWS) {
        let span = &tree.spans[at];
        seen.push(span.owner.category);
        let indent = 10.0 * depth[at].min(10) as f64;
        let room_of = ((left - EDGE - indent - 20.0) / 6.6) as usize;
        let mut marks =
            label(EDGE + indent, y + 12.0, "t", &format!("{} · {}", span.name, span.service), room_of);
        marks.push_str(&bar(
            span.from,
            span.to,
            y + 5.0,
            6.0,
            &format!("{} pale", span.owner.category.name()),
            "",
        ));
        for (who, from, to, _) in tree.path.iter().filter(|piece| piece.3 == Some(at as u32)) {
            marks.push_str(&bar(*from, *to, y + 2.0, 12.0, who.category.name(), ""));
        }
        let took = words::ms_unit(nanos(span.to.since(span.from)));
        marks.push_str(&label(WIDTH - EDGE, y + 12.0, "d e", &took, 16));
        let odd: Vec<&str> = span.marks.names().collect();
        let odd = if odd.is_empty() { String::new() } else { format!(" ({})", odd.join(", ")) };
        body.push_str(&told(&format!("{} of {}: {took}{odd}", span.name, span.service), &marks));
        y += 20.0;
    }
    let hidden = tree.omitted + (tree.spans.len() - rows) as u64;
    if hidden > 0 {
        let said = format!("{} not shown", words::counted(hidden, "span is", "spans are"));
        body.push_str(&label(EDGE, y + 12.0, "d", &said, 80));
        y += 20.0;
    }
    body.push_str(&label(EDGE, y + 16.0, "d m", &format!("trace {}", tree.trace_id), 60));
    let height = y + 48.0;
    body.push_str(&legend(height - 10.0, &in_order(&seen)));
    Drawing {
        name: format!("request-{}-{}", number_of + 1, slug(title)),
        title: title.to_owned(),
        height,
        body,
    }
}

/// Spans as a tree is read: each before what it called, siblings by time.
fn in_tree_order(tree: &TraceTree) -> Vec<usize> {
    let mut kids: Vec<Vec<usize>> = vec![Vec::new(); tree.spans.len() + 1];
    for (at, span) in tree.spans.iter().enumerate() {
        let above = span.parent.map_or(0, |parent| parent as usize + 1);
        if let Some(list) = kids.get_mut(above) {
            list.push(at);
        }
    }
    for list in &mut kids {
        // Taken from the end.
        list.sort_by_key(|at| std::cmp::Reverse((tree.spans[*at].from, *at)));
    }
    let mut out = Vec::with_capacity(tree.spans.len());
    let mut open = std::mem::take(&mut kids[0]);
    while let Some(at) = open.pop() {
        out.push(at);
        open.append(&mut kids[at + 1]);
    }
    out
}
