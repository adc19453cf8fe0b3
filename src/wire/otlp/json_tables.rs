//! The fields of OTLP's messages as JSON names them, with their numbers and how their values are written.

/// The fields of a message. Tables name each other by address, because values nest in values.
pub(super) struct Table(pub &'static [Entry]);

/// One field of a message: its name in JSON, its number, and how its value is written.
pub(super) struct Entry {
    pub name: &'static str,
    pub number: u32,
    pub kind: Kind,
}

/// How a field's value is written.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// An id of that many bytes.
    Id(usize),
    Base64,
    Fixed64,
    Fixed32,
    Unsigned,
    Unsigned64,
    Signed,
    SignedFixed64,
    Zigzag32,
    Bool,
    Double,
    Enum(&'static [&'static str]),
    One(&'static Table),
    Many(&'static Table),
    /// Values that are no messages, one after another.
    List(&'static Kind),
}

const fn entry(name: &'static str, number: u32, kind: Kind) -> Entry {
    Entry { name, number, kind }
}

pub(super) static REQUEST: Table = Table(&[entry("resourceSpans", 1, Kind::Many(&RESOURCE_SPANS))]);
pub(super) static RESOURCE_SPANS: Table = Table(&[
    entry("resource", 1, Kind::One(&RESOURCE)),
    entry("scopeSpans", 2, Kind::Many(&SCOPE_SPANS)),
    // Before OTLP 0.15, which old backends still answer with.
    entry("instrumentationLibrarySpans", 2, Kind::Many(&SCOPE_SPANS)),
    entry("schemaUrl", 3, Kind::Text),
]);
static RESOURCE: Table = Table(&[
    entry("attributes", 1, Kind::Many(&KEY_VALUE)),
    entry("droppedAttributesCount", 2, Kind::Unsigned),
]);
static SCOPE_SPANS: Table = Table(&[
    entry("scope", 1, Kind::One(&SCOPE)),
    entry("instrumentationLibrary", 1, Kind::One(&SCOPE)),
    entry("spans", 2, Kind::Many(&SPAN)),
    entry("schemaUrl", 3, Kind::Text),
]);
static SCOPE: Table = Table(&[
    entry("name", 1, Kind::Text),
    entry("version", 2, Kind::Text),
    entry("attributes", 3, Kind::Many(&KEY_VALUE)),
    entry("droppedAttributesCount", 4, Kind::Unsigned),
]);
static SPAN: Table = Table(&[
    entry("traceId", 1, Kind::Id(16)),
    entry("spanId", 2, Kind::Id(8)),
    entry("traceState", 3, Kind::Text),
    entry("parentSpanId", 4, Kind::Id(8)),
    entry("name", 5, Kind::Text),
    entry("kind", 6, Kind::Enum(SPAN_KINDS)),
    entry("startTimeUnixNano", 7, Kind::Fixed64),
    entry("endTimeUnixNano", 8, Kind::Fixed64),
    entry("attributes", 9, Kind::Many(&KEY_VALUE)),
    entry("droppedAttributesCount", 10, Kind::Unsigned),
    entry("events", 11, Kind::Many(&EVENT)),
    entry("droppedEventsCount", 12, Kind::Unsigned),
    entry("links", 13, Kind::Many(&LINK)),
    entry("droppedLinksCount", 14, Kind::Unsigned),
    entry("status", 15, Kind::One(&STATUS)),
    entry("flags", 16, Kind::Fixed32),
]);
static EVENT: Table = Table(&[
    entry("timeUnixNano", 1, Kind::Fixed64),
    entry("name", 2, Kind::Text),
    entry("attributes", 3, Kind::Many(&KEY_VALUE)),
    entry("droppedAttributesCount", 4, Kind::Unsigned),
]);
static LINK: Table = Table(&[
    entry("traceId", 1, Kind::Id(16)),
    entry("spanId", 2, Kind::Id(8)),
    entry("traceState", 3, Kind::Text),
    entry("attributes", 4, Kind::Many(&KEY_VALUE)),
    entry("droppedAttributesCount", 5, Kind::Unsigned),
    entry("flags", 6, Kind::Fixed32),
]);
static STATUS: Table = Table(&[entry("message", 2, Kind::Text), entry("code", 3, Kind::Enum(STATUS_CODES))]);
static KEY_VALUE: Table = Table(&[entry("key", 1, Kind::Text), entry("value", 2, Kind::One(&ANY_VALUE))]);
static ANY_VALUE: Table = Table(&[
    entry("stringValue", 1, Kind::Text),
    entry("boolValue", 2, Kind::Bool),
    entry("intValue", 3, Kind::Signed),
    entry("doubleValue", 4, Kind::Double),
    entry("arrayValue", 5, Kind::One(&ARRAY_VALUE)),
    entry("kvlistValue", 6, Kind::One(&KEY_VALUE_LIST)),
    entry("bytesValue", 7, Kind::Base64),
]);
static ARRAY_VALUE: Table = Table(&[entry("values", 1, Kind::Many(&ANY_VALUE))]);
static KEY_VALUE_LIST: Table = Table(&[entry("values", 1, Kind::Many(&KEY_VALUE))]);
static SPAN_KINDS: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
static STATUS_CODES: &[&str] = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];

pub(super) static METRICS: Table = Table(&[entry("resourceMetrics", 1, Kind::Many(&RESOURCE_METRICS))]);
static RESOURCE_METRICS: Table = Table(&[
    entry("resource", 1, Kind::One(&RESOURCE)),
    entry("scopeMetrics", 2, Kind::Many(&SCOPE_METRICS)),
    entry("schemaUrl", 3, Kind::Text),
]);
static SCOPE_METRICS: Table = Table(&[
    entry("scope", 1, Kind::One(&SCOPE)),
    entry("metrics", 2, Kind::Many(&METRIC)),
    entry("schemaUrl", 3, Kind::Text),
]);
static METRIC: Table = Table(&[
    entry("name", 1, Kind::Text),
    entry("description", 2, Kind::Text),
    entry("unit", 3, Kind::Text),
    entry("gauge", 5, Kind::One(&GAUGE)),
    entry("sum", 7, Kind::One(&SUM)),
    entry("histogram", 9, Kind::One(&HISTOGRAM)),
    entry("exponentialHistogram", 10, Kind::One(&EXPONENTIAL_HISTOGRAM)),
    entry("summary", 11, Kind::One(&SUMMARY)),
    entry("metadata", 12, Kind::Many(&KEY_VALUE)),
]);
static GAUGE: Table = Table(&[entry("dataPoints", 1, Kind::Many(&NUMBER_POINT))]);
static SUM: Table = Table(&[
    entry("dataPoints", 1, Kind::Many(&NUMBER_POINT)),
    entry("aggregationTemporality", 2, Kind::Enum(TEMPORALITIES)),
    entry("isMonotonic", 3, Kind::Bool),
]);
static HISTOGRAM: Table = Table(&[
    entry("dataPoints", 1, Kind::Many(&HISTOGRAM_POINT)),
    entry("aggregationTemporality", 2, Kind::Enum(TEMPORALITIES)),
]);
static EXPONENTIAL_HISTOGRAM: Table = Table(&[
    entry("dataPoints", 1, Kind::Many(&EXPONENTIAL_POINT)),
    entry("aggregationTemporality", 2, Kind::Enum(TEMPORALITIES)),
]);
static SUMMARY: Table = Table(&[entry("dataPoints", 1, Kind::Many(&SUMMARY_POINT))]);
static TEMPORALITIES: &[&str] = &[
    "AGGREGATION_TEMPORALITY_UNSPECIFIED",
    "AGGREGATION_TEMPORALITY_DELTA",
    "AGGREGATION_TEMPORALITY_CUMULATIVE",
];
static NUMBER_POINT: Table = Table(&[
    entry("startTimeUnixNano", 2, Kind::Fixed64),
    entry("timeUnixNano", 3, Kind::Fixed64),
    entry("asDouble", 4, Kind::Double),
    entry("exemplars", 5, Kind::Many(&EXEMPLAR)),
    entry("asInt", 6, Kind::SignedFixed64),
    entry("attributes", 7, Kind::Many(&KEY_VALUE)),
    entry("flags", 8, Kind::Unsigned),
]);
static HISTOGRAM_POINT: Table = Table(&[
    entry("startTimeUnixNano", 2, Kind::Fixed64),
    entry("timeUnixNano", 3, Kind::Fixed64),
    entry("count", 4, Kind::Fixed64),
    entry("sum", 5, Kind::Double),
    entry("bucketCounts", 6, Kind::List(&Kind::Fixed64)),
    entry("explicitBounds", 7, Kind::List(&Kind::Double)),
    entry("exemplars", 8, Kind::Many(&EXEMPLAR)),
    entry("attributes", 9, Kind::Many(&KEY_VALUE)),
    entry("flags", 10, Kind::Unsigned),
    entry("min", 11, Kind::Double),
    entry("max", 12, Kind::Double),
]);
static EXPONENTIAL_POINT: Table = Table(&[
    entry("attributes", 1, Kind::Many(&KEY_VALUE)),
    entry("startTimeUnixNano", 2, Kind::Fixed64),
    entry("timeUnixNano", 3, Kind::Fixed64),
    entry("count", 4, Kind::Fixed64),
    entry("sum", 5, Kind::Double),
    entry("scale", 6, Kind::Zigzag32),
    entry("zeroCount", 7, Kind::Fixed64),
    entry("positive", 8, Kind::One(&EXPONENTIAL_BUCKETS)),
    entry("negative", 9, Kind::One(&EXPONENTIAL_BUCKETS)),
    entry("flags", 10, Kind::Unsigned),
    entry("exemplars", 11, Kind::Many(&EXEMPLAR)),
    entry("min", 12, Kind::Double),
    entry("max", 13, Kind::Double),
    entry("zeroThreshold", 14, Kind::Double),
]);
static EXPONENTIAL_BUCKETS: Table =
    Table(&[entry("offset", 1, Kind::Zigzag32), entry("bucketCounts", 2, Kind::List(&Kind::Unsigned64))]);
static SUMMARY_POINT: Table = Table(&[
    entry("startTimeUnixNano", 2, Kind::Fixed64),
    entry("timeUnixNano", 3, Kind::Fixed64),
    entry("count", 4, Kind::Fixed64),
    entry("sum", 5, Kind::Double),
    entry("quantileValues", 6, Kind::Many(&QUANTILE)),
    entry("attributes", 7, Kind::Many(&KEY_VALUE)),
    entry("flags", 8, Kind::Unsigned),
]);
static QUANTILE: Table = Table(&[entry("quantile", 1, Kind::Double), entry("value", 2, Kind::Double)]);
static EXEMPLAR: Table = Table(&[
    entry("timeUnixNano", 2, Kind::Fixed64),
    entry("asDouble", 3, Kind::Double),
    entry("spanId", 4, Kind::Id(8)),
    entry("traceId", 5, Kind::Id(16)),
    entry("asInt", 6, Kind::SignedFixed64),
    entry("filteredAttributes", 7, Kind::Many(&KEY_VALUE)),
]);

pub(super) static LOGS: Table = Table(&[entry("resourceLogs", 1, Kind::Many(&RESOURCE_LOGS))]);
static RESOURCE_LOGS: Table = Table(&[
    entry("resource", 1, Kind::One(&RESOURCE)),
    entry("scopeLogs", 2, Kind::Many(&SCOPE_LOGS)),
    entry("schemaUrl", 3, Kind::Text),
]);
static SCOPE_LOGS: Table = Table(&[
    entry("scope", 1, Kind::One(&SCOPE)),
    entry("logRecords", 2, Kind::Many(&LOG_RECORD)),
    entry("schemaUrl", 3, Kind::Text),
]);
static LOG_RECORD: Table = Table(&[
    entry("timeUnixNano", 1, Kind::Fixed64),
    entry("severityNumber", 2, Kind::Enum(SEVERITIES)),
    entry("severityText", 3, Kind::Text),
    entry("body", 5, Kind::One(&ANY_VALUE)),
    entry("attributes", 6, Kind::Many(&KEY_VALUE)),
    entry("droppedAttributesCount", 7, Kind::Unsigned),
    entry("flags", 8, Kind::Fixed32),
    entry("traceId", 9, Kind::Id(16)),
    entry("spanId", 10, Kind::Id(8)),
    entry("observedTimeUnixNano", 11, Kind::Fixed64),
    entry("eventName", 12, Kind::Text),
]);
static SEVERITIES: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE",
    "SEVERITY_NUMBER_TRACE2",
    "SEVERITY_NUMBER_TRACE3",
    "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG",
    "SEVERITY_NUMBER_DEBUG2",
    "SEVERITY_NUMBER_DEBUG3",
    "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO",
    "SEVERITY_NUMBER_INFO2",
    "SEVERITY_NUMBER_INFO3",
    "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN",
    "SEVERITY_NUMBER_WARN2",
    "SEVERITY_NUMBER_WARN3",
    "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR",
    "SEVERITY_NUMBER_ERROR2",
    "SEVERITY_NUMBER_ERROR3",
    "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL",
    "SEVERITY_NUMBER_FATAL2",
    "SEVERITY_NUMBER_FATAL3",
    "SEVERITY_NUMBER_FATAL4",
];
