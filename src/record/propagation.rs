//! Trace context in the formats of OpenTelemetry's propagators, for services that read other headers than W3C's.
//!
//! Each format says what a `traceparent` says, in another order and under other names: a value is a blank form into which
//! pieces of a `traceparent` are copied. That is all that requests which are the same each time need to know of it.

use super::TraceContext;
use std::fmt;
use std::ops::Range;

/// A `traceparent`, as [`TraceContext::traceparent`] writes it.
pub type Traceparent = [u8; TraceContext::LEN];

/// A format of trace context on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Propagator {
    /// W3C: `traceparent`, and `tracestate` where it is sampled.
    TraceContext,
    /// Zipkin, one header: `b3`.
    B3,
    /// Zipkin, a header for each part: `X-B3-TraceId`, `X-B3-SpanId`, `X-B3-Sampled`.
    B3Multi,
    /// Jaeger's clients: `uber-trace-id`.
    Jaeger,
    /// AWS: `X-Amzn-Trace-Id`. Its trace ids begin with the time, see [`Propagation::dates_traces`].
    XRay,
}

/// A header that carries trace context.
#[derive(Debug)]
pub struct ContextField {
    /// Its name, in lower case.
    pub name: &'static str,
    /// A value with all digits 0.
    blank: &'static [u8],
    /// Where in the value stand which bytes of a `traceparent`.
    pieces: &'static [(usize, Range<usize>)],
}

/// Of a `traceparent`: the trace id, the span id, and the last digit of the flags, which is 1 or 0.
const TRACE: Range<usize> = 3..35;
const SPAN: Range<usize> = 36..52;
const SAMPLED: Range<usize> = 54..55;
/// The trace id's first eight digits, and the others: X-Ray writes a dash between them.
const TRACE_TIME: Range<usize> = 3..11;
const TRACE_REST: Range<usize> = 11..35;

const TRACEPARENT: ContextField = ContextField {
    name: "traceparent",
    blank: b"00-00000000000000000000000000000000-0000000000000000-00",
    pieces: &[(0, 0..TraceContext::LEN)],
};
const B3: ContextField = ContextField {
    name: "b3",
    blank: b"00000000000000000000000000000000-0000000000000000-0",
    pieces: &[(0, TRACE), (33, SPAN), (50, SAMPLED)],
};
const B3_MULTI: [ContextField; 3] = [
    ContextField { name: "x-b3-traceid", blank: &[b'0'; 32], pieces: &[(0, TRACE)] },
    ContextField { name: "x-b3-spanid", blank: &[b'0'; 16], pieces: &[(0, SPAN)] },
    ContextField { name: "x-b3-sampled", blank: b"0", pieces: &[(0, SAMPLED)] },
];
/// The third part is the parent's span id, which nobody reads any more: 0.
const JAEGER: ContextField = ContextField {
    name: "uber-trace-id",
    blank: b"00000000000000000000000000000000:0000000000000000:0:0",
    pieces: &[(0, TRACE), (33, SPAN), (52, SAMPLED)],
};
const X_RAY: ContextField = ContextField {
    name: "x-amzn-trace-id",
    blank: b"Root=1-00000000-000000000000000000000000;Parent=0000000000000000;Sampled=0",
    pieces: &[(7, TRACE_TIME), (16, TRACE_REST), (48, SPAN), (73, SAMPLED)],
};

impl ContextField {
    /// The value that says the same as a `traceparent`.
    pub fn value(&self, traceparent: &Traceparent) -> Vec<u8> {
        let mut value = self.blank.to_vec();
        for (to, from) in self.copies() {
            if let (Some(to), Some(from)) = (value.get_mut(to), traceparent.get(from)) {
                to.copy_from_slice(from);
            }
        }
        value
    }

    /// Which bytes of a value are which of a `traceparent`; the others are always the same.
    pub fn copies(&self) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        self.pieces.iter().map(|(at, from)| (*at..*at + from.len(), from.clone()))
    }
}

impl Propagator {
    /// All, by their names in `OTEL_PROPAGATORS`.
    pub const NAMES: [(&'static str, Propagator); 5] = [
        ("tracecontext", Propagator::TraceContext),
        ("b3", Propagator::B3),
        ("b3multi", Propagator::B3Multi),
        ("jaeger", Propagator::Jaeger),
        ("xray", Propagator::XRay),
    ];

    /// As in `OTEL_PROPAGATORS`.
    pub const fn name(self) -> &'static str {
        match self {
            Propagator::TraceContext => "tracecontext",
            Propagator::B3 => "b3",
            Propagator::B3Multi => "b3multi",
            Propagator::Jaeger => "jaeger",
            Propagator::XRay => "xray",
        }
    }

    /// The headers that carry it.
    pub const fn fields(self) -> &'static [ContextField] {
        match self {
            Propagator::TraceContext => &[TRACEPARENT],
            Propagator::B3 => &[B3],
            Propagator::B3Multi => &B3_MULTI,
            Propagator::Jaeger => &[JAEGER],
            Propagator::XRay => &[X_RAY],
        }
    }

    /// Its headers, for a sentence.
    pub fn headers(self) -> &'static str {
        match self {
            Propagator::TraceContext => "the header `traceparent`",
            Propagator::B3 => "the header `b3`",
            Propagator::B3Multi => "the headers `X-B3-TraceId`, `X-B3-SpanId` and `X-B3-Sampled`",
            Propagator::Jaeger => "the header `uber-trace-id`",
            Propagator::XRay => "the header `X-Amzn-Trace-Id`",
        }
    }
}

/// The formats in which each request carries its context; at least one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Propagation(u8);

impl Propagation {
    /// One format alone.
    pub const fn only(propagator: Propagator) -> Propagation {
        Propagation(1 << propagator as u8)
    }

    /// Those formats; `None` where there are none.
    pub fn of(propagators: impl IntoIterator<Item = Propagator>) -> Option<Propagation> {
        propagators.into_iter().map(Propagation::only).reduce(|all, one| Propagation(all.0 | one.0))
    }

    /// Whether that format is among them.
    pub const fn has(self, propagator: Propagator) -> bool {
        self.0 & Propagation::only(propagator).0 != 0
    }

    /// The formats, each once.
    pub fn propagators(self) -> impl Iterator<Item = Propagator> {
        Propagator::NAMES.into_iter().map(|(_, propagator)| propagator).filter(move |p| self.has(*p))
    }

    /// The formats that are not among them.
    pub fn others(self) -> impl Iterator<Item = Propagator> {
        Propagator::NAMES.into_iter().map(|(_, propagator)| propagator).filter(move |p| !self.has(*p))
    }

    /// The headers that carry the context.
    pub fn fields(self) -> impl Iterator<Item = &'static ContextField> {
        self.propagators().flat_map(|propagator| propagator.fields())
    }

    /// Their headers, for a sentence: `traceparent header`, or `headers traceparent and b3`.
    pub fn headers(self) -> String {
        let names: Vec<&str> = self.fields().map(|field| field.name).collect();
        match names.as_slice() {
            [one] => format!("{one} header"),
            [first @ .., last] => format!("headers {} and {last}", first.join(", ")),
            [] => String::new(),
        }
    }

    /// Whether trace ids must begin with the time, in seconds since 1970: X-Ray refuses others.
    pub const fn dates_traces(self) -> bool {
        self.has(Propagator::XRay)
    }
}

impl Default for Propagation {
    /// W3C alone.
    fn default() -> Propagation {
        Propagation::only(Propagator::TraceContext)
    }
}

impl fmt::Display for Propagation {
    /// As in `OTEL_PROPAGATORS`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.propagators().map(Propagator::name).collect();
        f.write_str(&names.join(","))
    }
}

impl fmt::Debug for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{SpanId, TraceId};

    fn said(propagator: Propagator, sampled: bool) -> Vec<String> {
        let context = TraceContext {
            trace_id: TraceId::from_hex("5759e988bd862e3fe1be46a994272793").unwrap(),
            span_id: SpanId::from_hex("53995c3f42cd8ad8").unwrap(),
            sampled,
        };
        let text = |field: &ContextField| {
            let value = field.value(&context.traceparent());
            assert_eq!(value.len(), field.blank.len());
            format!("{}: {}", field.name, String::from_utf8(value).unwrap())
        };
        propagator.fields().iter().map(text).collect()
    }

    #[test]
    fn every_format_is_written_as_its_specification_writes_it() {
        let w3c = "traceparent: 00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-";
        assert_eq!(said(Propagator::TraceContext, true), [format!("{w3c}01")]);
        assert_eq!(said(Propagator::TraceContext, false), [format!("{w3c}00")]);
        let b3 = "b3: 5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-";
        assert_eq!(said(Propagator::B3, true), [format!("{b3}1")]);
        assert_eq!(said(Propagator::B3, false), [format!("{b3}0")]);
        let multi = ["x-b3-traceid: 5759e988bd862e3fe1be46a994272793", "x-b3-spanid: 53995c3f42cd8ad8"];
        assert_eq!(said(Propagator::B3Multi, true), [multi[0], multi[1], "x-b3-sampled: 1"]);
        assert_eq!(said(Propagator::B3Multi, false), [multi[0], multi[1], "x-b3-sampled: 0"]);
        let jaeger = "uber-trace-id: 5759e988bd862e3fe1be46a994272793:53995c3f42cd8ad8:0:";
        assert_eq!(said(Propagator::Jaeger, true), [format!("{jaeger}1")]);
        assert_eq!(said(Propagator::Jaeger, false), [format!("{jaeger}0")]);
        let xray =
            "x-amzn-trace-id: Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=";
        assert_eq!(said(Propagator::XRay, true), [format!("{xray}1")]);
        assert_eq!(said(Propagator::XRay, false), [format!("{xray}0")]);
    }

    #[test]
    fn formats_are_a_set_with_a_fixed_order() {
        let some = Propagation::of([Propagator::XRay, Propagator::B3, Propagator::XRay]).unwrap();
        assert_eq!(some.to_string(), "b3,xray");
        assert!(some.has(Propagator::B3) && !some.has(Propagator::TraceContext) && some.dates_traces());
        let others: Vec<_> = some.others().map(Propagator::name).collect();
        assert_eq!(others, ["tracecontext", "b3multi", "jaeger"]);
        assert_eq!(some.fields().map(|field| field.name).collect::<Vec<_>>(), ["b3", "x-amzn-trace-id"]);
        assert_eq!(some.headers(), "headers b3 and x-amzn-trace-id");
        assert_eq!(Propagation::default().headers(), "traceparent header");
        assert_eq!(Propagation::of([]), None);
        assert_eq!(Propagation::default().to_string(), "tracecontext");
        assert!(!Propagation::default().dates_traces());
        for (name, propagator) in Propagator::NAMES {
            assert_eq!(propagator.name(), name);
            let headers = propagator.headers().to_ascii_lowercase();
            assert!(propagator.fields().iter().all(|field| headers.contains(field.name)), "{headers}");
        }
    }
}
