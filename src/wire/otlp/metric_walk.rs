//! OTLP metrics messages → [`MetricPoint`]s, one at a time, borrowed from the message.
//!
//! Walking is also the check of a message that came in: what was walked to its end can be walked later.

use super::value::Values;
use super::walk::{next_message, read_resource, read_scope};
use crate::record::{
    Attribute, Bucket, Distribution, MetricPoint, MetricValue, Resource, Scope, SumsSince, Timestamp,
};
use crate::wire::protobuf::{DecodeError, Field, Malformed, Reader};

/// Buckets of one histogram that are read. Senders keep some 10 to 160; a message must not make a list of millions.
pub const MAX_BUCKETS: usize = 4_096;

/// What a walk over metrics met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkedPoints {
    /// Data points handed on.
    pub points: u64,
    /// Data points that say themselves that they have no value, or have none; not handed on.
    pub without_value: u64,
    /// Histograms of which not all buckets were read.
    pub buckets_cut: u64,
    /// Texts cut where they stop being UTF-8.
    pub text_cut: u64,
    /// Values left out because they nest too deep.
    pub too_deep: u64,
}

impl WalkedPoints {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &WalkedPoints) {
        self.points += other.points;
        self.without_value += other.without_value;
        self.buckets_cut += other.buckets_cut;
        self.text_cut += other.text_cut;
        self.too_deep += other.too_deep;
    }
}

/// Calls `f` with every data point of an `ExportMetricsServiceRequest` (or `MetricsData`) that has a value.
///
/// On malformed bytes the points before them have been handed on already.
pub fn for_each_point(
    bytes: &[u8],
    f: &mut impl FnMut(&MetricPoint<'_>),
) -> Result<WalkedPoints, DecodeError> {
    let mut walker = Walker {
        values: Values::new(),
        attributes: Vec::new(),
        counts: Vec::new(),
        bounds: Vec::new(),
        buckets: Vec::new(),
        quantiles: Vec::new(),
        walked: WalkedPoints::default(),
    };
    let mut message = Reader::new(bytes);
    while let Some(resource_metrics) = next_message(&mut message, 1)? {
        let resource = read_resource(resource_metrics, &mut walker.values)?;
        let mut fields = resource_metrics;
        while let Some(scope_metrics) = next_message(&mut fields, 2)? {
            let scope = read_scope(scope_metrics, &mut walker.values)?;
            let mut fields = scope_metrics;
            while let Some(metric) = next_message(&mut fields, 2)? {
                walker.metric(metric, &resource, &scope, f)?;
            }
        }
    }
    let texts = walker.values.walked;
    Ok(WalkedPoints { text_cut: texts.text_cut, too_deep: texts.too_deep, ..walker.walked })
}

/// Buffers that live as long as one message.
struct Walker<'a> {
    values: Values<'a>,
    attributes: Vec<Attribute<'a>>,
    counts: Vec<u64>,
    bounds: Vec<f64>,
    buckets: Vec<Bucket>,
    quantiles: Vec<(f64, f64)>,
    walked: WalkedPoints,
}

/// What the points of a metric have in common.
#[derive(Clone, Copy)]
struct Common<'a, 'r> {
    name: &'a str,
    unit: &'a str,
    resource: &'r Resource<'a>,
    scope: &'r Scope<'a>,
    form: Form,
    monotonic: bool,
    temporality: SumsSince,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Gauge,
    Sum,
    Explicit,
    Exponential,
    Summary,
}

/// The plain fields of a data point while it is read.
#[derive(Default)]
struct Point {
    start: u64,
    time: u64,
    number: Option<f64>,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    flags: u64,
    scale: i64,
    zeros: u64,
    zero_threshold: f64,
}

impl<'a> Walker<'a> {
    fn metric(
        &mut self,
        message: Reader<'a>,
        resource: &Resource<'a>,
        scope: &Scope<'a>,
        f: &mut impl FnMut(&MetricPoint<'_>),
    ) -> Result<(), DecodeError> {
        let (mut name, mut unit) = ("", "");
        let mut data: Option<(Form, Reader<'a>)> = None;
        let mut fields = message;
        loop {
            let at = fields.offset();
            match fields.next_field()? {
                None => break,
                Some((1, Field::Bytes(text))) => name = self.values.text(text),
                Some((3, Field::Bytes(text))) => unit = self.values.text(text),
                Some((5, Field::Bytes(inner))) => data = Some((Form::Gauge, inner)),
                Some((7, Field::Bytes(inner))) => data = Some((Form::Sum, inner)),
                Some((9, Field::Bytes(inner))) => data = Some((Form::Explicit, inner)),
                Some((10, Field::Bytes(inner))) => data = Some((Form::Exponential, inner)),
                Some((11, Field::Bytes(inner))) => data = Some((Form::Summary, inner)),
                Some((2 | 12, Field::Bytes(_))) => {}
                Some((1 | 2 | 3 | 5 | 7 | 9..=12, _)) => {
                    return fields.error(at, Malformed::UnexpectedWireType);
                }
                Some(_) => {}
            }
        }
        let Some((form, data)) = data else { return Ok(()) };
        let mut common =
            Common { name, unit, resource, scope, form, monotonic: false, temporality: SumsSince::Unknown };
        // The temporality comes after the points: fields have no order.
        let mut fields = data;
        loop {
            let at = fields.offset();
            match fields.next_field()? {
                None => break,
                Some((2, Field::Varint(1))) => common.temporality = SumsSince::LastPoint,
                Some((2, Field::Varint(2))) => common.temporality = SumsSince::Start,
                Some((3, Field::Varint(n))) if form == Form::Sum => common.monotonic = n != 0,
                Some((1, Field::Bytes(_)) | (2, Field::Varint(_))) => {}
                Some((1 | 2, _)) => return fields.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        let mut points = data;
        while let Some(point) = next_message(&mut points, 1)? {
            self.point(point, &common, f)?;
        }
        Ok(())
    }

    fn point(
        &mut self,
        reader: Reader<'a>,
        common: &Common<'a, '_>,
        f: &mut impl FnMut(&MetricPoint<'_>),
    ) -> Result<(), DecodeError> {
        self.attributes.clear();
        self.buckets.clear();
        self.quantiles.clear();
        self.values.reset();
        let point = match common.form {
            Form::Gauge | Form::Sum => self.number(reader)?,
            Form::Explicit => self.explicit(reader)?,
            Form::Exponential => self.exponential(reader)?,
            Form::Summary => self.summary(reader)?,
        };
        let distribution = || Distribution {
            count: point.count,
            sum: point.sum,
            min: point.min,
            max: point.max,
            buckets: &self.buckets,
        };
        let Common { monotonic, temporality, .. } = *common;
        let value = match (common.form, point.number) {
            (Form::Gauge, Some(value)) => Some(MetricValue::Gauge(value)),
            (Form::Sum, Some(value)) => Some(MetricValue::Sum { value, monotonic, temporality }),
            (Form::Gauge | Form::Sum, None) => None,
            (Form::Explicit | Form::Exponential, _) => {
                Some(MetricValue::Histogram { values: distribution(), temporality })
            }
            (Form::Summary, _) => Some(MetricValue::Summary {
                count: point.count,
                sum: point.sum.unwrap_or_default(),
                quantiles: &self.quantiles,
            }),
        };
        // The lowest flag says that there was nothing to report at this time.
        let Some(value) = value.filter(|_| point.flags & 1 == 0) else {
            self.walked.without_value += 1;
            return Ok(());
        };
        self.walked.points += 1;
        f(&MetricPoint {
            time: Timestamp(point.time),
            start: Timestamp(point.start),
            name: common.name,
            unit: common.unit,
            resource: common.resource,
            scope: common.scope,
            attributes: &self.attributes,
            value,
        });
        Ok(())
    }

    fn number(&mut self, mut reader: Reader<'a>) -> Result<Point, DecodeError> {
        let mut point = Point::default();
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(point),
                Some((2, Field::Fixed64(at))) => point.start = at,
                Some((3, Field::Fixed64(at))) => point.time = at,
                Some((4, Field::Fixed64(bits))) => point.number = Some(f64::from_bits(bits)),
                Some((6, Field::Fixed64(bits))) => point.number = Some(bits as i64 as f64),
                Some((7, Field::Bytes(pair))) => self.values.push(&mut self.attributes, pair, 0)?,
                Some((8, Field::Varint(flags))) => point.flags = flags,
                Some((5, Field::Bytes(_))) => {}
                Some((2..=8, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }

    fn explicit(&mut self, mut reader: Reader<'a>) -> Result<Point, DecodeError> {
        self.counts.clear();
        self.bounds.clear();
        let mut point = Point::default();
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => break,
                Some((2, Field::Fixed64(at))) => point.start = at,
                Some((3, Field::Fixed64(at))) => point.time = at,
                Some((4, Field::Fixed64(n))) => point.count = n,
                Some((5, Field::Fixed64(bits))) => point.sum = Some(f64::from_bits(bits)),
                Some((6, Field::Fixed64(n))) => push_within(&mut self.counts, n),
                Some((6, Field::Bytes(mut packed))) => {
                    while let Some(n) = packed.packed_fixed64()? {
                        push_within(&mut self.counts, n);
                    }
                }
                Some((7, Field::Fixed64(bits))) => push_within(&mut self.bounds, f64::from_bits(bits)),
                Some((7, Field::Bytes(mut packed))) => {
                    while let Some(bits) = packed.packed_fixed64()? {
                        push_within(&mut self.bounds, f64::from_bits(bits));
                    }
                }
                Some((9, Field::Bytes(pair))) => self.values.push(&mut self.attributes, pair, 0)?,
                Some((10, Field::Varint(flags))) => point.flags = flags,
                Some((11, Field::Fixed64(bits))) => point.min = Some(f64::from_bits(bits)),
                Some((12, Field::Fixed64(bits))) => point.max = Some(f64::from_bits(bits)),
                Some((8, Field::Bytes(_))) => {}
                Some((2..=12, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        self.walked.buckets_cut += u64::from(self.counts.len() > MAX_BUCKETS);
        let mut lower = f64::NEG_INFINITY;
        for (n, &count) in self.counts.iter().take(MAX_BUCKETS).enumerate() {
            let upper = self.bounds.get(n).copied().unwrap_or(f64::INFINITY);
            if count > 0 {
                self.buckets.push(Bucket { lower, upper, count });
            }
            lower = upper;
        }
        Ok(point)
    }

    fn exponential(&mut self, mut reader: Reader<'a>) -> Result<Point, DecodeError> {
        let mut point = Point::default();
        let (mut positive, mut negative) = (None, None);
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => break,
                Some((1, Field::Bytes(pair))) => self.values.push(&mut self.attributes, pair, 0)?,
                Some((2, Field::Fixed64(at))) => point.start = at,
                Some((3, Field::Fixed64(at))) => point.time = at,
                Some((4, Field::Fixed64(n))) => point.count = n,
                Some((5, Field::Fixed64(bits))) => point.sum = Some(f64::from_bits(bits)),
                Some((6, Field::Varint(n))) => point.scale = unzigzag(n),
                Some((7, Field::Fixed64(n))) => point.zeros = n,
                Some((8, Field::Bytes(buckets))) => positive = Some(buckets),
                Some((9, Field::Bytes(buckets))) => negative = Some(buckets),
                Some((10, Field::Varint(flags))) => point.flags = flags,
                Some((12, Field::Fixed64(bits))) => point.min = Some(f64::from_bits(bits)),
                Some((13, Field::Fixed64(bits))) => point.max = Some(f64::from_bits(bits)),
                Some((14, Field::Fixed64(bits))) => point.zero_threshold = f64::from_bits(bits),
                Some((11, Field::Bytes(_))) => {}
                Some((1..=14, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        if let Some(buckets) = negative {
            let offset = self.exponential_counts(buckets)?;
            for (n, &count) in self.counts.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
                let (near, far) = bounds(point.scale, offset.saturating_add(n as i64));
                self.buckets.push(Bucket { lower: -far, upper: -near, count });
            }
        }
        if point.zeros > 0 {
            let reach = point.zero_threshold.max(0.0);
            self.buckets.push(Bucket { lower: -reach, upper: reach, count: point.zeros });
        }
        if let Some(buckets) = positive {
            let offset = self.exponential_counts(buckets)?;
            for (n, &count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                let (lower, upper) = bounds(point.scale, offset.saturating_add(n as i64));
                self.buckets.push(Bucket { lower, upper, count });
            }
        }
        Ok(point)
    }

    /// Reads the counts of one side into the buffer and gives the index of the first.
    fn exponential_counts(&mut self, mut reader: Reader<'a>) -> Result<i64, DecodeError> {
        self.counts.clear();
        let mut offset = 0;
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => break,
                Some((1, Field::Varint(n))) => offset = unzigzag(n),
                Some((2, Field::Varint(n))) => push_within(&mut self.counts, n),
                Some((2, Field::Bytes(mut packed))) => {
                    while let Some(n) = packed.packed_varint()? {
                        push_within(&mut self.counts, n);
                    }
                }
                Some((1 | 2, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
        if self.counts.len() > MAX_BUCKETS {
            self.walked.buckets_cut += 1;
            self.counts.truncate(MAX_BUCKETS);
        }
        Ok(offset)
    }

    fn summary(&mut self, mut reader: Reader<'a>) -> Result<Point, DecodeError> {
        let mut point = Point::default();
        loop {
            let at = reader.offset();
            match reader.next_field()? {
                None => return Ok(point),
                Some((2, Field::Fixed64(at))) => point.start = at,
                Some((3, Field::Fixed64(at))) => point.time = at,
                Some((4, Field::Fixed64(n))) => point.count = n,
                Some((5, Field::Fixed64(bits))) => point.sum = Some(f64::from_bits(bits)),
                Some((6, Field::Bytes(mut pair))) => {
                    let (mut quantile, mut value) = (0.0, 0.0);
                    loop {
                        let at = pair.offset();
                        match pair.next_field()? {
                            None => break,
                            Some((1, Field::Fixed64(bits))) => quantile = f64::from_bits(bits),
                            Some((2, Field::Fixed64(bits))) => value = f64::from_bits(bits),
                            Some((1 | 2, _)) => return pair.error(at, Malformed::UnexpectedWireType),
                            Some(_) => {}
                        }
                    }
                    push_within(&mut self.quantiles, (quantile, value));
                }
                Some((7, Field::Bytes(pair))) => self.values.push(&mut self.attributes, pair, 0)?,
                Some((8, Field::Varint(flags))) => point.flags = flags,
                Some((2..=8, _)) => return reader.error(at, Malformed::UnexpectedWireType),
                Some(_) => {}
            }
        }
    }
}

/// One more than the limit is kept, so that the cut is noticed.
fn push_within<T>(list: &mut Vec<T>, item: T) {
    if list.len() <= MAX_BUCKETS {
        list.push(item);
    }
}

/// Protobuf's `sint32`.
fn unzigzag(n: u64) -> i64 {
    let n = n as u32;
    i64::from((n >> 1) as i32 ^ -((n & 1) as i32))
}

/// Bounds of an exponential bucket: `base^index` and `base^(index + 1)` with `base = 2^(2^-scale)` (OpenTelemetry's
/// metrics data model). Scales beyond what the model allows give infinities, never a panic.
fn bounds(scale: i64, index: i64) -> (f64, f64) {
    let width = (-(scale as f64)).exp2();
    ((index as f64 * width).exp2(), ((index as f64 + 1.0) * width).exp2())
}
