//! Trace context in the headers of requests, in other formats than W3C's.

use super::plan::TRACEPARENT;
use crate::record::{ContextField, Propagation, Propagator, Traceparent};
use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The headers beside `traceparent` that carry a request's context.
#[derive(Debug)]
pub struct Carrier {
    w3c: bool,
    others: Vec<(HeaderName, &'static ContextField)>,
}

impl Carrier {
    /// For those formats.
    pub fn new(propagation: Propagation) -> Carrier {
        let others = propagation.propagators().filter(|propagator| *propagator != Propagator::TraceContext);
        let fields = others.flat_map(Propagator::fields);
        Carrier {
            w3c: propagation.has(Propagator::TraceContext),
            others: fields.map(|field| (HeaderName::from_static(field.name), field)).collect(),
        }
    }

    /// Whether `traceparent` and `tracestate` are sent.
    pub fn sends_w3c(&self) -> bool {
        self.w3c
    }

    /// The headers beside `traceparent`.
    pub fn others(&self) -> &[(HeaderName, &'static ContextField)] {
        &self.others
    }

    /// Adds the headers beside `traceparent` to those of a request, and takes that one away where it is not to be sent.
    pub fn put_others(&self, headers: &mut HeaderMap, traceparent: &Traceparent) {
        for (name, field) in &self.others {
            if let Ok(value) = HeaderValue::try_from(field.value(traceparent)) {
                headers.insert(name.clone(), value);
            }
        }
        if !self.w3c {
            headers.remove(TRACEPARENT);
        }
    }
}
