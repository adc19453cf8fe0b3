//! [`Exchange`]s ↔ bytes. Numbers are varints, times are differences to the moment before, texts that repeat within a
//! frame (URLs, failure messages, check names) are written once. Each frame can be read on its own.

use crate::record::{
    CheckFailure, Exchange, Failure, FailureClass, Messages, Nanos, Outcome, Phases, Protocol, SpanId,
    StepId, Threshold, Timestamp, TraceId,
};
use crate::wire::protobuf::put_varint;
use std::collections::HashMap;
use std::sync::Arc;

/// Which parts a record has.
mod flag {
    pub const SAMPLED: u16 = 1;
    pub const REUSED: u16 = 1 << 1;
    pub const HTTP2: u16 = 1 << 2;
    pub const FAILED: u16 = 1 << 3;
    pub const STATUS: u16 = 1 << 4;
    pub const CHECKS: u16 = 1 << 5;
    pub const SERVER_TIMING: u16 = 1 << 6;
    pub const RESOLVED: u16 = 1 << 7;
    pub const CONNECTED: u16 = 1 << 8;
    pub const TLS_DONE: u16 = 1 << 9;
    pub const SENT: u16 = 1 << 10;
    pub const FIRST_BYTE: u16 = 1 << 11;
    pub const THRESHOLD: u16 = 1 << 12;
    pub const DECODED: u16 = 1 << 14;
    pub const FOLLOWED: u16 = 1 << 15;
    pub const MESSAGES: u16 = 1 << 13;
}

/// Builds the payload of one frame of exchanges.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    payload: Vec<u8>,
    count: u32,
    texts: HashMap<Arc<str>, u64>,
    /// The text that was written last, and its place: exchanges of one step mostly share the very same URL.
    last: Option<(Arc<str>, u64)>,
    intended: u64,
    front: Front,
}

impl Encoder {
    pub fn push(&mut self, exchange: &Exchange) {
        let front = &mut self.front;
        front.used = 0;
        front.bytes(flags_of(exchange).to_le_bytes());
        front.bytes(exchange.trace_id.0);
        front.bytes(exchange.span_id.0);
        front.varint(u64::from(exchange.step.0));
        front.varint(u64::from(exchange.user));
        front.varint(u64::from(exchange.iteration));
        if !exchange.threshold.is_always() {
            front.varint(u64::from(exchange.threshold.bits()));
        }
        front.difference(&mut self.intended, exchange.intended);
        let mut moment = self.intended;
        let phases = &exchange.phases;
        front.difference(&mut moment, phases.start);
        let passed = [phases.resolved, phases.connected, phases.tls_done, phases.sent, phases.first_byte];
        for at in passed.into_iter().flatten() {
            front.difference(&mut moment, at);
        }
        front.difference(&mut moment, phases.end);
        front.varint(exchange.bytes_sent);
        front.varint(exchange.bytes_received);
        if let Some(bytes) = exchange.bytes_decoded {
            front.varint(bytes);
        }
        if let Some(status) = exchange.status() {
            front.varint(u64::from(status));
        }
        self.payload.extend_from_slice(front.written());
        self.put_text(&exchange.url);
        if let Outcome::Failed { failure, .. } = &exchange.outcome {
            let class = FailureClass::ALL.iter().position(|class| *class == failure.class);
            put_varint(&mut self.payload, class.unwrap_or_default() as u64);
            self.put_text(&failure.message);
        }
        if !exchange.checks_failed.is_empty() {
            put_varint(&mut self.payload, exchange.checks_failed.len() as u64);
            for check in &exchange.checks_failed {
                self.put_text(&check.check);
                self.put_text(&check.seen);
            }
        }
        // Nearly always different, so not worth a place in the table.
        if let Some(timing) = &exchange.server_timing {
            put_varint(&mut self.payload, timing.len() as u64);
            self.payload.extend_from_slice(timing.as_bytes());
        }
        if let Some(messages) = &exchange.messages {
            put_messages(&mut self.payload, messages, exchange.phases.end);
        }
        self.count += 1;
    }

    /// Zero and the text where it is new; its place in the table, from 1, where it is known.
    fn put_text(&mut self, text: &Arc<str>) {
        if let Some((last, place)) = &self.last
            && Arc::ptr_eq(last, text)
        {
            return put_varint(&mut self.payload, *place);
        }
        match self.texts.get(text) {
            Some(place) => {
                put_varint(&mut self.payload, *place);
                self.last = Some((text.clone(), *place));
            }
            None => {
                let place = self.texts.len() as u64 + 1;
                self.texts.insert(text.clone(), place);
                self.last = Some((text.clone(), place));
                self.payload.push(0);
                put_varint(&mut self.payload, text.len() as u64);
                self.payload.extend_from_slice(text.as_bytes());
            }
        }
    }

    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    pub fn clear(&mut self) {
        self.payload.clear();
        self.count = 0;
        self.texts.clear();
        self.last = None;
        self.intended = 0;
    }
}

/// Room for a record before its first text: flags and ids, and sixteen numbers of at most ten bytes each, are 186 bytes.
/// With so much every place that a `u8` can name is within it, and no byte has to be asked for its room.
const FRONT: usize = 1 << 8;

/// The numbers of a record, put together where there is always room: asking a vector for room number by number is a third
/// of what a record costs.
#[derive(Debug)]
struct Front {
    room: [u8; FRONT],
    used: u8,
}

impl Default for Front {
    fn default() -> Front {
        Front { room: [0; FRONT], used: 0 }
    }
}

impl Front {
    fn written(&self) -> &[u8] {
        &self.room[..usize::from(self.used)]
    }

    #[inline]
    fn byte(&mut self, byte: u8) {
        self.room[usize::from(self.used)] = byte;
        self.used = self.used.wrapping_add(1);
    }

    #[inline]
    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(place) =
            self.room.get_mut(usize::from(self.used)..).and_then(|rest| rest.first_chunk_mut())
        {
            *place = bytes;
            self.used = self.used.wrapping_add(N as u8);
        }
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    /// As [`put_difference`].
    #[inline]
    fn difference(&mut self, moment: &mut u64, to: Timestamp) {
        self.varint(zigzag(moment, to));
    }
}

fn flags_of(exchange: &Exchange) -> u16 {
    let phases = &exchange.phases;
    [
        (flag::SAMPLED, exchange.sampled),
        (flag::REUSED, exchange.connection_reused),
        (flag::HTTP2, exchange.protocol == Protocol::Http2),
        (flag::FAILED, matches!(exchange.outcome, Outcome::Failed { .. })),
        (flag::STATUS, exchange.status().is_some()),
        (flag::CHECKS, !exchange.checks_failed.is_empty()),
        (flag::SERVER_TIMING, exchange.server_timing.is_some()),
        (flag::RESOLVED, phases.resolved.is_some()),
        (flag::CONNECTED, phases.connected.is_some()),
        (flag::TLS_DONE, phases.tls_done.is_some()),
        (flag::SENT, phases.sent.is_some()),
        (flag::FIRST_BYTE, phases.first_byte.is_some()),
        (flag::THRESHOLD, !exchange.threshold.is_always()),
        (flag::DECODED, exchange.bytes_decoded.is_some()),
        (flag::FOLLOWED, exchange.followed),
        (flag::MESSAGES, exchange.messages.is_some()),
    ]
    .into_iter()
    .fold(0, |flags, (bit, set)| if set { flags | bit } else { flags })
}

/// The first message's moment follows a 1, as a difference to the exchange's end; a 0 stands where none came.
fn put_messages(out: &mut Vec<u8>, messages: &Messages, end: Timestamp) {
    put_varint(out, u64::from(messages.sent));
    put_varint(out, u64::from(messages.received));
    out.push(u8::from(messages.first.is_some()));
    if let Some(first) = messages.first {
        put_difference(out, &mut end.0.clone(), first);
    }
    put_varint(out, messages.longest_gap.0);
    put_varint(out, u64::from(messages.round_trips));
    put_varint(out, messages.round_trip_total.0);
    put_varint(out, messages.round_trip_longest.0);
}

/// Signed difference to `moment`, which becomes `to`. Wraps, so that every pair of moments survives.
fn put_difference(out: &mut Vec<u8>, moment: &mut u64, to: Timestamp) {
    put_varint(out, zigzag(moment, to));
}

#[inline]
fn zigzag(moment: &mut u64, to: Timestamp) -> u64 {
    let difference = to.0.wrapping_sub(*moment) as i64;
    *moment = to.0;
    (difference << 1 ^ difference >> 63) as u64
}

/// Appends the exchanges of a frame to `into`; `None` where the payload is not what [`Encoder`] writes.
pub(super) fn decode(payload: &[u8], count: u32, into: &mut Vec<Exchange>) -> Option<()> {
    let mut input = Input { bytes: payload, texts: Vec::new() };
    let mut intended = 0;
    for _ in 0..count {
        into.push(input.exchange(&mut intended)?);
    }
    input.bytes.is_empty().then_some(())
}

struct Input<'a> {
    bytes: &'a [u8],
    texts: Vec<Arc<str>>,
}

impl Input<'_> {
    fn exchange(&mut self, intended: &mut u64) -> Option<Exchange> {
        let flags = u16::from_le_bytes(self.array()?);
        let has = |bit: u16| flags & bit != 0;
        let (trace_id, span_id) = (TraceId(self.array()?), SpanId(self.array()?));
        let step = StepId(u16::try_from(self.varint()?).ok()?);
        let user = u32::try_from(self.varint()?).ok()?;
        let iteration = u32::try_from(self.varint()?).ok()?;
        let threshold = if has(flag::THRESHOLD) { u32::try_from(self.varint()?).ok()? } else { 0 };
        let due = self.moment(intended)?;
        let phases = self.phases(flags, due)?;
        let (bytes_sent, bytes_received) = (self.varint()?, self.varint()?);
        let bytes_decoded = if has(flag::DECODED) { Some(self.varint()?) } else { None };
        let status = if has(flag::STATUS) { Some(u16::try_from(self.varint()?).ok()?) } else { None };
        let url = self.text()?;
        let outcome = if has(flag::FAILED) {
            let class = usize::try_from(self.varint()?).ok()?;
            let class = *FailureClass::ALL.get(class)?;
            Outcome::Failed { failure: Failure { class, message: self.text()? }, status }
        } else {
            Outcome::Answered(status?)
        };
        let mut checks_failed = Vec::new();
        if has(flag::CHECKS) {
            for _ in 0..self.varint()? {
                checks_failed.push(CheckFailure { check: self.text()?, seen: self.text()? });
            }
        }
        let server_timing = if has(flag::SERVER_TIMING) { Some(self.new_text()?) } else { None };
        let messages = if has(flag::MESSAGES) { Some(Box::new(self.messages(phases.end)?)) } else { None };
        Some(Exchange {
            trace_id,
            span_id,
            sampled: has(flag::SAMPLED),
            threshold: Threshold::from_bits(threshold),
            step,
            user,
            iteration,
            intended: due,
            phases,
            outcome,
            checks_failed,
            bytes_sent,
            bytes_received,
            bytes_decoded,
            followed: has(flag::FOLLOWED),
            connection_reused: has(flag::REUSED),
            protocol: if has(flag::HTTP2) { Protocol::Http2 } else { Protocol::Http1 },
            url,
            server_timing,
            messages,
        })
    }

    fn messages(&mut self, end: Timestamp) -> Option<Messages> {
        let (sent, received) = (self.small()?, self.small()?);
        let [came] = self.array()?;
        let first = match came {
            0 => None,
            1 => Some(self.moment(&mut end.0.clone())?),
            _ => return None,
        };
        Some(Messages {
            sent,
            received,
            first,
            longest_gap: Nanos(self.varint()?),
            round_trips: self.small()?,
            round_trip_total: Nanos(self.varint()?),
            round_trip_longest: Nanos(self.varint()?),
        })
    }

    fn small(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    fn phases(&mut self, flags: u16, intended: Timestamp) -> Option<Phases> {
        let mut moment = intended.0;
        let mut phases = Phases { start: self.moment(&mut moment)?, ..Phases::default() };
        for (bit, at) in [
            (flag::RESOLVED, &mut phases.resolved),
            (flag::CONNECTED, &mut phases.connected),
            (flag::TLS_DONE, &mut phases.tls_done),
            (flag::SENT, &mut phases.sent),
            (flag::FIRST_BYTE, &mut phases.first_byte),
        ] {
            if flags & bit != 0 {
                *at = Some(self.moment(&mut moment)?);
            }
        }
        phases.end = self.moment(&mut moment)?;
        Some(phases)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*array)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for i in 0..10 {
            let (&byte, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                return (i < 9 || byte <= 1).then_some(value);
            }
        }
        None
    }

    fn moment(&mut self, moment: &mut u64) -> Option<Timestamp> {
        let zigzag = self.varint()?;
        let difference = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
        *moment = moment.wrapping_add(difference);
        Some(Timestamp(*moment))
    }

    fn text(&mut self) -> Option<Arc<str>> {
        match self.varint()? {
            0 => {
                let text = self.new_text()?;
                self.texts.push(text.clone());
                Some(text)
            }
            place => self.texts.get(usize::try_from(place).ok()?.checked_sub(1)?).cloned(),
        }
    }

    fn new_text(&mut self) -> Option<Arc<str>> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(Arc::from(std::str::from_utf8(text).ok()?))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Arc<str>> {
        prop_oneof![
            Just(Arc::from("")),
            Just(Arc::from("http://shop/products")),
            "\\PC{0,20}".prop_map(Arc::from)
        ]
    }

    fn moment() -> impl Strategy<Value = Timestamp> {
        prop_oneof![
            (1_700_000_000_000_000_000u64..1_700_000_010_000_000_000).prop_map(Timestamp),
            any::<u64>().prop_map(Timestamp)
        ]
    }

    fn phases() -> impl Strategy<Value = Phases> {
        let some = || prop::option::of(moment());
        (moment(), some(), some(), some(), some(), some(), moment()).prop_map(
            |(start, resolved, connected, tls_done, sent, first_byte, end)| Phases {
                start,
                resolved,
                connected,
                tls_done,
                sent,
                first_byte,
                end,
            },
        )
    }

    fn outcome() -> impl Strategy<Value = Outcome> {
        let failed =
            (prop::sample::select(FailureClass::ALL.to_vec()), text(), prop::option::of(any::<u16>()));
        prop_oneof![
            any::<u16>().prop_map(Outcome::Answered),
            failed.prop_map(|(class, message, status)| Outcome::Failed {
                failure: Failure { class, message },
                status
            })
        ]
    }

    fn messages() -> impl Strategy<Value = Messages> {
        let counts = (any::<u32>(), any::<u32>(), any::<u32>());
        (counts, prop::option::of(moment()), any::<[u64; 3]>()).prop_map(|(counts, first, lengths)| {
            Messages {
                sent: counts.0,
                received: counts.1,
                first,
                longest_gap: Nanos(lengths[0]),
                round_trips: counts.2,
                round_trip_total: Nanos(lengths[1]),
                round_trip_longest: Nanos(lengths[2]),
            }
        })
    }

    /// Any exchange at all, sensible or not.
    pub fn exchange() -> impl Strategy<Value = Exchange> {
        let sampling = (any::<bool>(), prop_oneof![Just(0), any::<u32>()]);
        let ids = (any::<[u8; 16]>(), any::<[u8; 8]>(), sampling, any::<u16>(), any::<u32>(), any::<u32>());
        let checks = prop::collection::vec((text(), text()), 0..3);
        let texts = (text(), prop::option::of(text()), prop::option::of(messages()));
        let rest =
            (any::<u64>(), (any::<u64>(), any::<Option<u64>>()), any::<[bool; 2]>(), any::<bool>(), texts);
        (ids, moment(), phases(), outcome(), checks, rest).prop_map(
            |(
                (trace, span, (sampled, threshold), step, user, iteration),
                intended,
                phases,
                outcome,
                checks,
                rest,
            )| {
                let (
                    bytes_sent,
                    (bytes_received, bytes_decoded),
                    [connection_reused, followed],
                    http2,
                    texts,
                ) = rest;
                let (url, server_timing, messages) = texts;
                Exchange {
                    trace_id: TraceId(trace),
                    span_id: SpanId(span),
                    sampled,
                    threshold: Threshold::from_bits(threshold),
                    step: StepId(step),
                    user,
                    iteration,
                    intended,
                    phases,
                    outcome,
                    checks_failed: checks
                        .into_iter()
                        .map(|(check, seen)| CheckFailure { check, seen })
                        .collect(),
                    bytes_sent,
                    bytes_received,
                    bytes_decoded,
                    followed,
                    connection_reused,
                    protocol: if http2 { Protocol::Http2 } else { Protocol::Http1 },
                    url,
                    server_timing,
                    messages: messages.map(Box::new),
                }
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn exchanges_read_back_as_they_were(exchanges in prop::collection::vec(exchange(), 0..20)) {
            let mut encoder = Encoder::default();
            for exchange in &exchanges {
                encoder.push(exchange);
            }
            let mut read = Vec::new();
            prop_assert_eq!(decode(encoder.payload(), encoder.count(), &mut read), Some(()));
            prop_assert_eq!(&read, &exchanges);
            // Cut anywhere, it is refused and does not panic.
            for cut in 0..encoder.payload().len() {
                prop_assert_eq!(decode(&encoder.payload()[..cut], encoder.count(), &mut Vec::new()), None);
            }
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), count in 0u32..9) {
            let _ = decode(&bytes, count, &mut Vec::new());
        }
    }
}
