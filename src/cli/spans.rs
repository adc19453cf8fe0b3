//! `hotspan spans`: the spans of a run folder as hotspan reads them, one JSON object a line. To see for oneself what a
//! report was made from, and to compare hotspan's reading with another program's.

use super::analyze::find_run;
use super::args::SpansArgs;
use super::exit::Exit;
use crate::record::{Attribute, Span, SpanId, Status, TraceId, Value};
use crate::wire::folder::RunReader;
use anyhow::Context;
use serde_json::{Map, Value as Json, json};
use std::io::{self, BufWriter, Write};

/// Runs the command.
pub fn run(args: &SpansArgs) -> anyhow::Result<Exit> {
    let wanted = args.trace.as_deref().map(parse_trace).transpose()?;
    let reader = RunReader::open(&find_run(&args.run)?)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let mut failed = None;
    reader.for_each_span_where(&mut |trace| wanted.is_none_or(|wanted| wanted == trace), &mut |span| {
        if failed.is_none() {
            failed = writeln!(out, "{}", object(span)).err();
        }
    });
    match failed.map_or_else(|| out.flush(), Err) {
        // A reader that went away (`hotspan spans … | head`) is not an error.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the spans")
        }
        _ => Ok(Exit::Passed),
    }
}

fn parse_trace(text: &str) -> anyhow::Result<TraceId> {
    TraceId::from_hex(text)
        .map_err(|_| anyhow::anyhow!("--trace {text}: a trace id is 32 hexadecimal digits"))
}

/// A span as it came.
pub fn object(span: &Span<'_>) -> Json {
    let hex = |id: Option<SpanId>| id.map_or_else(String::new, |id| id.to_string());
    json!({
        "trace_id": span.trace_id.to_string(),
        "span_id": span.span_id.to_string(),
        "parent_id": hex(span.parent_id),
        "kind": format!("{:?}", span.kind).to_lowercase(),
        "name": span.name,
        "start_ns": span.start.0,
        "end_ns": span.end.0,
        "status": match span.status {
            Status::Unset => "unset",
            Status::Ok => "ok",
            Status::Error => "error",
        },
        "status_message": span.status_message,
        "trace_state": span.trace_state,
        "flags": span.flags,
        "resource": attributes(&span.resource.attributes),
        "scope": {"name": span.scope.name, "version": span.scope.version},
        "attributes": attributes(span.attributes),
        "events": span.events.iter().map(|event| json!({
            "at_ns": event.at.0, "name": event.name, "attributes": attributes(&event.attributes),
        })).collect::<Vec<_>>(),
        "links": span.links.iter().map(|link| json!({
            "trace_id": link.trace_id.to_string(), "span_id": link.span_id.to_string(),
        })).collect::<Vec<_>>(),
        "dropped": span.dropped,
    })
}

fn attributes(attributes: &[Attribute<'_>]) -> Json {
    let pair = |a: &Attribute<'_>| (a.key.to_owned(), value(&a.value));
    Json::Object(attributes.iter().map(pair).collect::<Map<String, Json>>())
}

fn value(of: &Value<'_>) -> Json {
    match of {
        Value::Str(text) => json!(text),
        Value::Bool(flag) => json!(flag),
        Value::Int(number) => json!(number),
        Value::Double(number) if number.is_finite() => json!(number),
        Value::Double(number) => json!(number.to_string()),
        Value::Bytes(bytes) => json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
        Value::Array(values) => Json::Array(values.iter().map(value).collect()),
        Value::Map(entries) => attributes(entries),
        Value::Empty => Json::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trace_ids_are_checked() {
        assert_eq!(parse_trace(&"0a".repeat(16)).unwrap(), TraceId([10; 16]));
        for bad in ["", "0a", &"0g".repeat(16), &"é".repeat(16)] {
            assert!(parse_trace(bad).unwrap_err().to_string().contains("32 hexadecimal digits"), "{bad}");
        }
    }
}
