//! Which share of a run a trace belongs to.

use super::TraceId;

/// A share of the run's traces: those whose id falls to `index` when divided among `of`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Which share, from 0.
    pub index: u32,
    /// How many shares; 0 counts as 1.
    pub of: u32,
}

impl Partition {
    /// The whole run.
    pub const WHOLE: Partition = Partition { index: 0, of: 1 };

    /// Whether a trace belongs to it.
    #[inline]
    pub fn holds(&self, trace: &TraceId) -> bool {
        self.of <= 1 || Partition::index_of(trace, self.of) == self.index
    }

    /// To which of so many shares a trace belongs.
    #[inline]
    pub fn index_of(trace: &TraceId, of: u32) -> u32 {
        // The hash's range cut into equal pieces: share i of n is shares i·k to i·k + k − 1 of n·k.
        ((hash(trace) * u64::from(of.max(1))) >> 32) as u32
    }
}

fn hash(trace: &TraceId) -> u64 {
    let (high, low) = (u128::from_be_bytes(trace.0) >> 64, u128::from_be_bytes(trace.0) as u64);
    // Ids need not be random (old SDKs put the time first): mixed before they are divided.
    ((high as u64) ^ low).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_belongs_to_one_partition_and_they_are_of_like_size() {
        let mut sizes = [0u32; 7];
        for n in 0..7_000u64 {
            let mut id = [7; 16];
            id[8..].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
            let id = TraceId(id);
            let holders: Vec<u32> = (0..7).filter(|i| Partition { index: *i, of: 7 }.holds(&id)).collect();
            assert_eq!(holders, [Partition::index_of(&id, 7)]);
            sizes[holders[0] as usize] += 1;
        }
        assert!(sizes.iter().all(|s| (800..1200).contains(s)), "{sizes:?}");
        let one = TraceId([1; 16]);
        assert!(Partition::WHOLE.holds(&one) && Partition { index: 0, of: 0 }.holds(&one));
    }
}
