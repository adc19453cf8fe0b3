//! Calls that a mapper and its driver both record, where the driver's span lies beside the mapper's.
//!
//! SQLAlchemy's instrumentation opens a span around a statement without making it the current one, so that the driver's span of the
//! same statement, and of the `BEGIN` before it, hangs from whatever called the mapper. Left there, each statement counts as two.

use super::super::names::Names;
use super::super::result::Category;
use super::super::row::Row;
use super::Forest;
use crate::record::SpanKind;
use std::cmp::Reverse;

/// Calls that begin after a mapper's among which its driver's is looked for: it makes few before.
const NEAR: usize = 32;

impl Forest {
    /// A call within the time of a sibling that another library recorded of the same call hangs from that one; so does what its library
    /// recorded before it within that time. Whether any was found.
    pub(super) fn hang_in_layers(&mut self, rows: &[Row], names: &Names) -> bool {
        let (mut moves, mut calls): (Vec<(u32, u32)>, Vec<u32>) = (Vec::new(), Vec::new());
        for parent in 0..self.nodes.len() as u32 {
            calls.clear();
            calls.extend(self.kids(parent).iter().filter(|kid| {
                let node = &self.nodes[**kid as usize];
                node.kind == SpanKind::Client
                    && matches!(
                        names.category(node.owner),
                        Category::Database | Category::Cache | Category::Search
                    )
            }));
            let library =
                |call: &u32| rows.get(self.nodes[*call as usize].row as usize).map(|row| row.library);
            if calls.iter().any(|call| library(call) != library(&calls[0])) {
                self.layers(rows, &mut calls, &mut moves);
            }
        }
        for (inner, outer) in &moves {
            self.nodes[*inner as usize].parent = *outer;
        }
        !moves.is_empty()
    }

    /// Which of the calls of one parent are within which others.
    fn layers(&self, rows: &[Row], calls: &mut [u32], moves: &mut Vec<(u32, u32)>) {
        calls.sort_unstable_by_key(|call| {
            let node = &self.nodes[*call as usize];
            (node.from, Reverse(node.to), node.span_id)
        });
        let library = |call: u32| rows.get(self.nodes[call as usize].row as usize).map(|row| row.library);
        let mut taken = vec![false; calls.len()];
        for (at, outer) in calls.iter().enumerate() {
            let this = &self.nodes[*outer as usize];
            let within: Vec<usize> = (at + 1..calls.len().min(at + 1 + NEAR))
                .take_while(|other| self.nodes[calls[*other] as usize].from <= this.to)
                .filter(|other| self.nodes[calls[*other] as usize].to <= this.to)
                .collect();
            // Of several at once it is not known whose each is: then each layer has as many.
            let twins = within.iter().copied().filter(|other| {
                let node = &self.nodes[calls[*other] as usize];
                let one_call = node.owner == this.owner && node.service == this.service;
                !taken[*other] && one_call && library(calls[*other]) != library(*outer)
            });
            let Some(twin) = twins.min().filter(|_| !taken[at]) else { continue };
            let driver = library(calls[twin]);
            for other in within.into_iter().filter(|other| *other <= twin) {
                if !taken[other] && library(calls[other]) == driver {
                    taken[other] = true;
                    moves.push((calls[other], *outer));
                }
            }
        }
    }
}
