//! A partial result as bytes and back, for machines that each analyse a part of a run.
//!
//! Numbers are variable-length, texts and lists carry their length, structs are their fields in order. What is read is never
//! trusted: every length is checked against the bytes that are left, and anything odd ends in `None`. The file around it
//! (magic, version, checksum) is the caller's.

use super::change::WhatIf;
use super::findings::event_loop::{Requests, Stretches};
use super::findings::evidence::{Evidence, Pattern, PoolMoments, Sameness};
use super::findings::holding::{Doing, Holding};
use super::findings::least::Least;
use super::findings::questions::Questions;
use super::result::{
    BandResult, ByCategory, Category, Contributor, ExemplarRole, Feature, Gaps, PartSlice, Slice,
};
use crate::record::{FailureClass, Nanos, SpanKind, Timestamp, TraceId};
use crate::stats::Histogram;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Something that can be written and read.
pub(super) trait Codec: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(from: &mut &[u8]) -> Option<Self>;
}

/// Fields in order.
macro_rules! codec {
    ($type:ty { $($field:ident),+ $(,)? }) => {
        impl crate::analysis::codec::Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                $( crate::analysis::codec::Codec::put(&self.$field, out); )+
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(Self { $( $field: crate::analysis::codec::Codec::take(from)?, )+ })
            }
        }
    };
}
pub(super) use codec;

/// Enums by their place in a list of all.
macro_rules! listed {
    ($($type:ty: $all:expr);+ $(;)?) => {
        $( impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                let place = $all.iter().position(|one| one == self).unwrap_or_default();
                out.push(place as u8);
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                $all.get(usize::from(u8::take(from)?)).copied()
            }
        } )+
    };
}

listed! {
    ExemplarRole: [ExemplarRole::Typical, ExemplarRole::Slow, ExemplarRole::Worst];
    Category: Category::ALL;
    FailureClass: FailureClass::ALL;
    Pattern: Pattern::ALL;
    SpanKind: [
        SpanKind::Unspecified, SpanKind::Internal, SpanKind::Server, SpanKind::Client, SpanKind::Producer, SpanKind::Consumer,
    ];
}

codec!(Contributor { category, service, system, name, code });
codec!(BandResult { exchanges, latency_sum, categories });
codec!(Slice { started, done, latency, busy, users, weight, categories });
codec!(Evidence {
    patterns,
    loops,
    data,
    hits,
    looks,
    questions,
    instances,
    users,
    blocks,
    stretches,
    requests,
    askers,
    callers,
    holdings,
    pools,
});
codec!(Doing<Contributor> { own, spans });
codec!(Holding<Contributor> { requests, held, between, after });
codec!(PoolMoments { to_last, to_end });
codec!(Questions { looks, unknown, keys, urls });
codec!(Sameness { known, unknown, different });
codec!(Stretches { sample, number });
codec!(Requests { sample, number, in_loop, in_workers });
codec!(Gaps { database, without_statement, external, without_peer, incomplete });
codec!(PartSlice { exchanges, time, calls, call_time });

impl Codec for u8 {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self);
    }
    fn take(from: &mut &[u8]) -> Option<u8> {
        let (first, rest) = from.split_first()?;
        *from = rest;
        Some(*first)
    }
}

impl Codec for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        let mut left = *self;
        while left >= 0x80 {
            out.push(left as u8 | 0x80);
            left >>= 7;
        }
        out.push(left as u8);
    }
    fn take(from: &mut &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = u8::take(from)?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl Codec for u128 {
    fn put(&self, out: &mut Vec<u8>) {
        ((*self >> 64) as u64).put(out);
        (*self as u64).put(out);
    }
    fn take(from: &mut &[u8]) -> Option<u128> {
        Some(u128::from(u64::take(from)?) << 64 | u128::from(u64::take(from)?))
    }
}

/// Smaller whole numbers as `u64`.
macro_rules! narrow {
    ($($type:ty),+) => {
        $( impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                (*self as u64).put(out);
            }
            fn take(from: &mut &[u8]) -> Option<$type> {
                <$type>::try_from(u64::take(from)?).ok()
            }
        } )+
    };
}
narrow!(u16, u32, usize);

impl Codec for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn take(from: &mut &[u8]) -> Option<bool> {
        match u8::take(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

macro_rules! wrapped {
    ($($type:ident),+) => {
        $( impl Codec for $type {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(from: &mut &[u8]) -> Option<$type> {
                Some($type(Codec::take(from)?))
            }
        } )+
    };
}
wrapped!(Nanos, Timestamp, TraceId, ByCategory);

impl<T: Codec> Codec for Reverse<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Reverse(T::take(from)?))
    }
}

impl Codec for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        out.extend_from_slice(self.as_bytes());
    }
    fn take(from: &mut &[u8]) -> Option<Arc<str>> {
        let n = usize::take(from)?;
        let (text, rest) = from.split_at_checked(n)?;
        *from = rest;
        Some(Arc::from(std::str::from_utf8(text).ok()?))
    }
}

impl<T: Codec> Codec for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(if bool::take(from)? { Some(T::take(from)?) } else { None })
    }
}

impl<T: Codec> Codec for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        // Grows as values really come: a length alone must not cost memory.
        let n = usize::take(from)?;
        (0..n).map(|_| T::take(from)).collect()
    }
}

impl<K: Codec + Ord, V: Codec> Codec for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let n = usize::take(from)?;
        (0..n).map(|_| Some((K::take(from)?, V::take(from)?))).collect()
    }
}

impl<T: Codec + Ord> Codec for BTreeSet<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let n = usize::take(from)?;
        (0..n).map(|_| T::take(from)).collect()
    }
}

impl<T: Codec + Ord + Copy> Codec for Least<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.len().put(out);
        self.iter().for_each(|value| value.put(out));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let n = usize::take(from)?;
        (0..n).map(|_| T::take(from)).collect()
    }
}

impl<T: Codec, const N: usize> Codec for [T; N] {
    fn put(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|value| value.put(out));
    }
    fn take(from: &mut &[u8]) -> Option<Self> {
        let values: Option<Vec<T>> = (0..N).map(|_| T::take(from)).collect();
        values?.try_into().ok()
    }
}

macro_rules! tuple {
    ($($name:ident . $place:tt),+) => {
        impl<$($name: Codec),+> Codec for ($($name,)+) {
            fn put(&self, out: &mut Vec<u8>) {
                $( self.$place.put(out); )+
            }
            fn take(from: &mut &[u8]) -> Option<Self> {
                Some(($( $name::take(from)?, )+))
            }
        }
    };
}
tuple!(A.0, B.1);
tuple!(A.0, B.1, C.2);
tuple!(A.0, B.1, C.2, D.3);
tuple!(A.0, B.1, C.2, D.3, E.4, F.5);

impl Codec for Feature {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Feature::Shape(hash) => (0u8, *hash).put(out),
            Feature::Status(status) => (1u8, *status).put(out),
            Feature::Connection(which) => (2u8, which.clone()).put(out),
            Feature::Instance(service, instance) => (3u8, service.clone(), instance.clone()).put(out),
            Feature::Error(service, operation) => (4u8, service.clone(), operation.clone()).put(out),
            Feature::Process(service, key, value) => {
                (5u8, service.clone(), key.clone(), value.clone()).put(out);
            }
            Feature::User(user) => (6u8, *user).put(out),
            Feature::Url(url) => (7u8, url.clone()).put(out),
            Feature::Attribute(service, key, value) => {
                (8u8, service.clone(), key.clone(), value.clone()).put(out);
            }
        }
    }
    fn take(from: &mut &[u8]) -> Option<Feature> {
        Some(match u8::take(from)? {
            0 => Feature::Shape(Codec::take(from)?),
            1 => Feature::Status(Codec::take(from)?),
            2 => Feature::Connection(Codec::take(from)?),
            3 => Feature::Instance(Codec::take(from)?, Codec::take(from)?),
            4 => Feature::Error(Codec::take(from)?, Codec::take(from)?),
            5 => Feature::Process(Codec::take(from)?, Codec::take(from)?, Codec::take(from)?),
            6 => Feature::User(Codec::take(from)?),
            7 => Feature::Url(Codec::take(from)?),
            8 => Feature::Attribute(Codec::take(from)?, Codec::take(from)?, Codec::take(from)?),
            _ => return None,
        })
    }
}

impl Codec for WhatIf {
    fn put(&self, out: &mut Vec<u8>) {
        Arc::<str>::from(&*self.text).put(out);
    }
    fn take(from: &mut &[u8]) -> Option<WhatIf> {
        WhatIf::parse(&Arc::<str>::take(from)?).ok()
    }
}

impl Codec for Histogram {
    fn put(&self, out: &mut Vec<u8>) {
        let (bits, sum, max, counts) = self.parts();
        (bits, sum, max, counts).put(out);
    }
    fn take(from: &mut &[u8]) -> Option<Histogram> {
        let (bits, sum, max, counts): (u32, u128, u64, Vec<(usize, u64)>) = Codec::take(from)?;
        Histogram::from_parts(bits, sum, max, &counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back<T: Codec>(value: &T) -> T {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        let mut rest = &bytes[..];
        let read = T::take(&mut rest).unwrap();
        assert!(rest.is_empty());
        read
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            numbers in prop::collection::vec(any::<u64>(), 0..40),
            map in prop::collection::btree_map(any::<u16>(), any::<Option<u128>>(), 0..9),
            text in ".*",
        ) {
            prop_assert_eq!(back(&numbers), numbers.clone());
            prop_assert_eq!(back(&map), map);
            let text: Arc<str> = text.into();
            prop_assert_eq!(back(&text), text);
            for mut h in [Histogram::new(), Histogram::coarse()] {
                numbers.iter().for_each(|n| h.record(Nanos(*n)));
                prop_assert_eq!(back(&h), h);
            }
        }

        #[test]
        fn nonsense_is_refused_or_read_but_never_trusted(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut rest = &bytes[..];
            let _ = Vec::<Arc<str>>::take(&mut rest);
            let _ = Histogram::take(&mut &bytes[..]);
            let _ = BTreeMap::<Contributor, [u64; 4]>::take(&mut &bytes[..]);
        }
    }

    #[test]
    fn a_length_that_no_bytes_stand_behind_costs_nothing() {
        let mut bytes = Vec::new();
        (u64::MAX >> 1).put(&mut bytes);
        assert_eq!(Vec::<u64>::take(&mut &bytes[..]), None);
        assert_eq!(u64::take(&mut &[0xffu8; 11][..]), None);
    }
}
