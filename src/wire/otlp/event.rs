//! A moment of a run as an OTLP event (a log record with a name): for backends that mark such moments in graphs.

use crate::record::Timestamp;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

/// An attribute's value of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum EventValue {
    /// Text.
    Text(String),
    /// A count.
    Count(u64),
    /// A measure; its unit is in the attribute's name or description.
    Number(f64),
}

/// An `ExportLogsServiceRequest` with one event: its name, when it happened, a sentence for people, and attributes; sent
/// as the process that `resource` (attribute, value) describes.
pub fn encode_event(
    resource: &[(String, String)],
    name: &str,
    at: Timestamp,
    sentence: &str,
    attributes: &[(&str, EventValue)],
) -> Vec<u8> {
    let record = LogRecord {
        time_unix_nano: at.0,
        observed_time_unix_nano: at.0,
        severity_number: SeverityNumber::Info as i32,
        severity_text: "INFO".into(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(sentence.into())) }),
        attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        event_name: name.into(),
        ..LogRecord::default()
    };
    let text = |(key, value): &(String, String)| attribute(key, &EventValue::Text(value.clone()));
    let scope = InstrumentationScope {
        name: "hotspan".into(),
        version: env!("CARGO_PKG_VERSION").into(),
        ..InstrumentationScope::default()
    };
    let resource = Resource { attributes: resource.iter().map(text).collect(), ..Resource::default() };
    let scope_logs = ScopeLogs { scope: Some(scope), log_records: vec![record], ..ScopeLogs::default() };
    let logs =
        ResourceLogs { resource: Some(resource), scope_logs: vec![scope_logs], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

fn attribute(key: &str, value: &EventValue) -> KeyValue {
    let value = match value {
        EventValue::Text(text) => any_value::Value::StringValue(text.clone()),
        EventValue::Count(count) => any_value::Value::IntValue(i64::try_from(*count).unwrap_or(i64::MAX)),
        EventValue::Number(number) => any_value::Value::DoubleValue(*number),
    };
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::otlp::logs_to_json;

    #[test]
    fn an_event_has_its_name_its_time_and_its_attributes() {
        let resource = [("service.name".to_owned(), "hotspan".to_owned())];
        let attributes =
            [("hotspan.run.id", EventValue::Text("r1".into())), ("exchanges", EventValue::Count(7))];
        let bytes = encode_event(&resource, "hotspan.run.end", Timestamp(5), "It ended.", &attributes);
        let request = ExportLogsServiceRequest::decode(&bytes[..]).unwrap();
        let record = &request.resource_logs[0].scope_logs[0].log_records[0];
        assert_eq!((record.event_name.as_str(), record.time_unix_nano), ("hotspan.run.end", 5));
        let keys: Vec<_> = record.attributes.iter().map(|a| a.key.as_str()).collect();
        assert_eq!(keys, ["hotspan.run.id", "exchanges"]);
        let json: serde_json::Value = serde_json::from_slice(&logs_to_json(&bytes).unwrap()).unwrap();
        let record = &json["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
        assert_eq!(record["timeUnixNano"], "5");
        assert_eq!(record["attributes"][1]["value"]["intValue"], "7");
    }
}
