//! A sample of a step's exchanges with who held each of them up: the ones with the smallest hashes of their ids, from each
//! latency band on its own, so that the slow ones are not lost among the many.

use super::super::codec::codec;
use super::super::result::{Contributor, Sampled};
use super::Blamed;
use crate::record::{Nanos, Timestamp, TraceId};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Owners of one exchange that are kept by name.
const OWNERS: usize = 10;

/// What tells exchanges apart: hash, then ids and times.
type Key = (u64, TraceId, u64, u64);

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sample {
    bands: [BTreeMap<Key, Sampled>; 4],
}

codec!(Sample { bands });
codec!(Sampled { band, trace_id, at, latency, failed, joined, parts, rest });

impl Sample {
    /// Takes an exchange in if its hash is among the smallest of its band.
    pub fn offer(&mut self, most: usize, blamed: &Blamed, held: &[(u32, u64, u64)]) {
        let asked = blamed.asked;
        let key = (hash(&blamed.trace, asked.span_id), blamed.trace, asked.span_id, asked.intended);
        let band = &mut self.bands[blamed.band];
        if band.len() >= most && band.last_key_value().is_some_and(|(last, _)| *last <= key) {
            return;
        }
        let mut parts: Vec<(Contributor, Nanos, Nanos)> = held
            .iter()
            .map(|(owner, time, saved)| (blamed.names.who(*owner).clone(), Nanos(*time), Nanos(*saved)))
            .collect();
        parts.sort_by(|a, b| (Reverse(a.1), &a.0).cmp(&(Reverse(b.1), &b.0)));
        let rest = parts.iter().skip(OWNERS).map(|part| part.1).sum();
        parts.truncate(OWNERS);
        band.entry(key).or_insert(Sampled {
            band: blamed.band as u8,
            trace_id: blamed.trace,
            at: Timestamp(asked.intended),
            latency: Nanos(asked.latency()),
            failed: asked.failed,
            joined: blamed.joined,
            parts,
            rest,
        });
        if band.len() > most {
            band.pop_last();
        }
    }

    pub fn merge(&mut self, most: usize, other: Sample) {
        for (mine, theirs) in self.bands.iter_mut().zip(other.bands) {
            for (key, sampled) in theirs {
                mine.entry(key).or_insert(sampled);
            }
            while mine.len() > most {
                mine.pop_last();
            }
        }
    }

    /// By band, then by time.
    pub fn into_exchanges(self) -> Vec<Sampled> {
        let mut out: Vec<Sampled> = self.bands.into_iter().flat_map(BTreeMap::into_values).collect();
        out.sort_by_key(|a| (a.band, a.at, a.trace_id));
        out
    }
}

/// Of ids that may hold the time (old SDKs put it first): mixed well.
fn hash(trace: &TraceId, span: u64) -> u64 {
    let whole = u128::from_be_bytes(trace.0);
    let mut z = (whole >> 64) as u64 ^ (whole as u64).rotate_left(32) ^ span.rotate_left(17);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
