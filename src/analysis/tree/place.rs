//! Puts spans on the exchange's clock and clips them to their parents.

use super::super::names::Names;
use super::{ENTRY, Forest, HOP, Node, OFF};
use crate::record::SpanKind;

impl Forest {
    /// Intervals on the exchange's clock, clipped to the parent's, from the top down.
    pub(super) fn place(&mut self, names: &Names) {
        for at in self.roots..self.order.len() {
            let i = self.order[at] as usize;
            let node = self.nodes[i];
            let parent = self.nodes[node.parent as usize];
            let of_exchange = node.parent < self.roots as u32;
            let delta = if node.flags & ENTRY != 0 {
                self.shift(&node, &parent, of_exchange, names)
            } else {
                parent.delta
            };
            let (from, to) = (moved(node.from, delta), moved(node.to, delta));
            // An exchange's `end` is its first byte; its window goes on to the last.
            let (lower, upper) =
                if of_exchange { (parent.from, parent.to) } else { (parent.start, parent.end) };
            let waited = match (node.kind, parent.kind) {
                (SpanKind::Consumer, SpanKind::Producer) => false,
                (SpanKind::Consumer, _) => to <= parent.to,
                _ => true,
            };
            let (start, end) = (from.max(lower), to.min(upper));
            let off = (node.flags | parent.flags) & OFF != 0
                || !waited
                || start > end
                || (start == end && from < to);
            if (node.flags | parent.flags) & OFF == 0 {
                let late_from = if waited { from.max(parent.to) } else { from };
                self.repairs.async_tail += to.saturating_sub(late_from);
                self.repairs.clipped += u64::from(!off && (start, end) != (from, to));
            }
            let this = &mut self.nodes[i];
            (this.from, this.to, this.delta) = (from, to, delta);
            if off {
                this.flags |= OFF;
                (this.start, this.end) = (lower, lower);
            } else {
                (this.start, this.end) = (start, end);
            }
        }
    }

    /// How far the clock of an entered process is moved. Durations are trusted, clocks are not: what is shorter than its
    /// caller's span but not inside it was recorded by another clock, unless the two are known to share one.
    fn shift(&mut self, node: &Node, parent: &Node, of_exchange: bool, names: &Names) -> i64 {
        let inherited = parent.delta;
        let inside = |delta: i64| {
            let (from, to) = (moved(node.from, delta), moved(node.to, delta));
            parent.from <= from && to <= parent.to
        };
        if inside(inherited) {
            return inherited;
        }
        let same = names.same_clock(node.host, parent.host);
        let (from, to) = (moved(node.from, inherited), moved(node.to, inherited));
        let overlap = to.min(parent.to).saturating_sub(from.max(parent.from));
        let waits = of_exchange || parent.flags & HOP != 0;
        if same == Some(true)
            || node.kind == SpanKind::Consumer
            || !(waits || (same == Some(false) && overlap == 0))
        {
            return inherited;
        }
        // What begins within its caller's span and ends after it fits a clock that is ahead, and work that goes on after the answer
        // (a background task, a span that is ended late). On one machine it is the work.
        let begins_within = parent.from <= from && from < parent.to;
        // So is a call of a service whose own span has not come: it works on for a client that gave up.
        let goes_on = of_exchange && node.kind == SpanKind::Client && from >= parent.to;
        if (begins_within || goes_on) && names.on_this_machine && (of_exchange || same.is_none()) {
            return inherited;
        }
        if inside(0) {
            return self.skewed(0, inherited);
        }
        let length = node.to - node.from;
        let window = parent.to - parent.from;
        let target = if length > window {
            // Longer than its caller's span (streaming, or the caller gave up): clipped, but not lost for its clock.
            if overlap > 0 {
                return inherited;
            }
            parent.from
        } else if overlap * 2 >= length {
            // Nearly inside: the smallest move.
            if from < parent.from { parent.from } else { parent.to - length }
        } else {
            let until = if of_exchange { parent.end } else { parent.to };
            let room = until.saturating_sub(parent.from).saturating_sub(length);
            parent.from + room / 2
        };
        self.skewed(difference(target, node.from), inherited)
    }

    fn skewed(&mut self, delta: i64, inherited: i64) -> i64 {
        self.repairs.shifted += 1;
        self.repairs.skew_max = self.repairs.skew_max.max(delta.abs_diff(inherited));
        delta
    }
}

fn moved(at: u64, delta: i64) -> u64 {
    at.saturating_add_signed(delta)
}

fn difference(to: u64, from: u64) -> i64 {
    i64::try_from(i128::from(to) - i128::from(from)).unwrap_or(if to > from { i64::MAX } else { i64::MIN })
}
