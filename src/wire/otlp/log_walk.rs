//! OTLP logs messages → [`LogLine`]s, one at a time, borrowed from the message. As with metrics, walking is the check.

use super::value::Values;
use super::walk::{next_message, read_resource, read_scope};
use crate::record::{Attribute, LogLine, Resource, Scope, SpanId, Timestamp, TraceId, Value};
use crate::wire::protobuf::{DecodeError, Field, Malformed, Reader};

/// What a walk over logs met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WalkedLogs {
    /// Records handed on.
    pub records: u64,
    /// Records handed on without their trace, whose id is not valid.
    pub bad_ids: u64,
    /// Texts cut where they stop being UTF-8.
    pub text_cut: u64,
    /// Values left out because they nest too deep.
    pub too_deep: u64,
}

impl WalkedLogs {
    /// Adds all of `other`.
    pub fn merge(&mut self, other: &WalkedLogs) {
        self.records += other.records;
        self.bad_ids += other.bad_ids;
        self.text_cut += other.text_cut;
        self.too_deep += other.too_deep;
    }
}

/// Calls `f` with every record of an `ExportLogsServiceRequest` (or `LogsData`).
///
/// On malformed bytes the records before them have been handed on already.
pub fn for_each_log(bytes: &[u8], f: &mut impl FnMut(&LogLine<'_>)) -> Result<WalkedLogs, DecodeError> {
    let (mut values, mut attributes) = (Values::new(), Vec::new());
    let mut walked = WalkedLogs::default();
    let mut message = Reader::new(bytes);
    while let Some(resource_logs) = next_message(&mut message, 1)? {
        let resource = read_resource(resource_logs, &mut values)?;
        let mut fields = resource_logs;
        while let Some(scope_logs) = next_message(&mut fields, 2)? {
            let scope = read_scope(scope_logs, &mut values)?;
            let mut fields = scope_logs;
            while let Some(record) = next_message(&mut fields, 2)? {
                let plain = read_record(record, &mut values, &mut attributes)?;
                walked.records += 1;
                f(&plain.line(&resource, &scope, &attributes, &mut walked));
            }
        }
    }
    Ok(WalkedLogs { text_cut: values.walked.text_cut, too_deep: values.walked.too_deep, ..walked })
}

/// The plain fields of a record.
struct Plain<'a> {
    time: u64,
    observed: u64,
    severity: u64,
    severity_text: &'a str,
    event_name: &'a str,
    body: Value<'a>,
    trace_id: &'a [u8],
    span_id: &'a [u8],
}

impl<'a> Plain<'a> {
    fn line<'r>(
        self,
        resource: &'r Resource<'a>,
        scope: &'r Scope<'a>,
        attributes: &'r [Attribute<'a>],
        walked: &mut WalkedLogs,
    ) -> LogLine<'r>
    where
        'a: 'r,
    {
        // Absent is empty, and some senders write zeros instead.
        let given = |id: &[u8]| id.iter().any(|byte| *byte != 0);
        let trace_id = TraceId::from_bytes(self.trace_id).ok();
        let span_id = SpanId::from_bytes(self.span_id).ok();
        walked.bad_ids +=
            u64::from(given(self.trace_id) && trace_id.is_none() || given(self.span_id) && span_id.is_none());
        LogLine {
            time: Timestamp(if self.time == 0 { self.observed } else { self.time }),
            trace_id,
            span_id: span_id.filter(|_| trace_id.is_some()),
            severity: u8::try_from(self.severity).unwrap_or(0),
            severity_text: self.severity_text,
            event_name: self.event_name,
            body: self.body,
            resource,
            scope,
            attributes,
        }
    }
}

fn read_record<'a>(
    mut reader: Reader<'a>,
    values: &mut Values<'a>,
    attributes: &mut Vec<Attribute<'a>>,
) -> Result<Plain<'a>, DecodeError> {
    attributes.clear();
    values.reset();
    let mut plain = Plain {
        time: 0,
        observed: 0,
        severity: 0,
        severity_text: "",
        event_name: "",
        body: Value::Empty,
        trace_id: &[],
        span_id: &[],
    };
    loop {
        let at = reader.offset();
        match reader.next_field()? {
            None => return Ok(plain),
            Some((1, Field::Fixed64(at))) => plain.time = at,
            Some((2, Field::Varint(n))) => plain.severity = n,
            Some((3, Field::Bytes(text))) => plain.severity_text = values.text(text),
            Some((5, Field::Bytes(body))) => plain.body = values.value(body, 0)?,
            Some((6, Field::Bytes(pair))) => values.push(attributes, pair, 0)?,
            Some((9, Field::Bytes(id))) => plain.trace_id = id.rest(),
            Some((10, Field::Bytes(id))) => plain.span_id = id.rest(),
            Some((11, Field::Fixed64(at))) => plain.observed = at,
            Some((12, Field::Bytes(text))) => plain.event_name = values.text(text),
            Some((7, Field::Varint(_)) | (8, Field::Fixed32(_))) => {}
            Some((1..=3 | 5..=12, _)) => return reader.error(at, Malformed::UnexpectedWireType),
            Some(_) => {}
        }
    }
}
