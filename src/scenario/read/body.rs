//! Bodies beyond JSON, forms and texts: files, forms with files, GraphQL.

use super::super::error::Fault;
use super::super::mask::{self, Kind};
use super::super::template::{self, Escape, Names, Template};
use super::super::types::{Body, BodyPart};
use super::super::yaml::{Key, Node, Reader, Value, entries};
use super::Context;
use super::value::{json, plain};
use bytes::Bytes;

/// A step's body, of whichever kind.
pub fn body(step: &Reader, names: &Names, context: &Context) -> Result<Body, Fault> {
    let kinds = ["json", "form", "body", "multipart", "graphql"];
    let given: Vec<&Key> = kinds.iter().filter_map(|kind| step.key(kind)).collect();
    if let [_, second, ..] = given.as_slice() {
        return Err(Fault::new(
            second.place,
            format!("a step has one body: it has `{}` and `{}`", given[0].text, second.text),
        ));
    }
    if let Some(node) = step.get("json") {
        if let Value::Text(text) = &node.value
            && matches!(text.trim().chars().next(), Some('{' | '['))
            && serde_json::from_str::<serde_json::Value>(text).is_ok()
        {
            return Err(Fault::new(
                node.place,
                "this text would be sent as a JSON string: write it without quotes, json: {a: 1}; or as `body` with a content-type header",
            ));
        }
        let mut text = Template::default();
        json(node, names, context, &mut text)?;
        return Ok(Body::Text { content_type: Some("application/json"), text });
    }
    if let Some(node) = step.get("form") {
        let mut text = Template::default();
        for (index, (key, node)) in entries(node, "a mapping of field names to values")?.iter().enumerate() {
            if mask::is_secret(&key.text) {
                context.secret(node, Kind::Value);
            }
            let separator = if index > 0 { "&" } else { "" };
            text.push_text(&format!("{separator}{}=", template::form_literal(&key.text)));
            let typed = node.text(context.source, "a field's value")?;
            let value = Template::parse(&typed, names, Escape::Percent, template::form_literal)
                .map_err(|fault| context.template_fault(node, &typed, 0, fault))?;
            text.append(value);
        }
        return Ok(Body::Text { content_type: Some("application/x-www-form-urlencoded"), text });
    }
    if let Some(node) = step.get("multipart") {
        return multipart(node, names, context);
    }
    if let Some(node) = step.get("graphql") {
        return graphql(node, names, context);
    }
    if let Some(node) = step.get("body") {
        if let Value::Map(_) = node.value {
            return file(node, context);
        }
        let typed = node.text(context.source, "a text; for structured bodies use `json` or `form`")?;
        return Ok(Body::Text { content_type: None, text: plain(node, &typed, names, context)? });
    }
    Ok(Body::Empty)
}

/// `body: {file: image.png, type: image/png}`: the file as it is.
pub fn file(node: &Node, context: &Context) -> Result<Body, Fault> {
    let reader = Reader::new(node, "a body from a file", &["file", "type"])?;
    let (_, bytes) = context.file(reader.need("file", "the name of a file beside the scenario")?)?;
    let content_type = content_type(&reader, context)?;
    Ok(Body::Parts { content_type, parts: vec![BodyPart::Bytes(bytes)] })
}

fn content_type(reader: &Reader, context: &Context) -> Result<String, Fault> {
    let Some(node) = reader.get("type") else { return Ok("application/octet-stream".to_string()) };
    let text = node.text(context.source, "a media type such as image/png")?;
    if !text.contains('/') || http::HeaderValue::from_str(&text).is_err() {
        return Err(node.expected("a media type such as image/png"));
    }
    Ok(text)
}

/// Keys of a file of a form.
const FILE_KEYS: &[&str] = &["file", "content", "type", "name"];

/// What is in a file of a form.
enum Content {
    /// The bytes of a file, and its path.
    Read(String, bytes::Bytes),
    /// Made for each request.
    Made(Template),
}

/// `photo.png`, `files/a.pdf`: as curl writes a file behind `@`.
fn names_a_file(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let end = text.rsplit_once('.').map_or("", |(_, end)| end);
    text.chars().all(fine) && (2..=5).contains(&end.len()) && !end.contains('/')
}

/// `multipart: {title: "{{ fake.word }}", image: {file: a.png, type: image/png, name: photo.png}}` (RFC 7578).
pub fn multipart(node: &Node, names: &Names, context: &Context) -> Result<Body, Fault> {
    let fields = entries(node, "a mapping of field names to values and files")?;
    if fields.is_empty() {
        return Err(node.expected("at least one field"));
    }
    let mut parts: Vec<BodyPart> = Vec::new();
    let mut text = Template::default();
    let boundary = boundary(fields, context)?;
    for (index, (key, node)) in fields.iter().enumerate() {
        let before = if index > 0 { "\r\n" } else { "" };
        let name = quoted(&key.text);
        text.push_text(&format!("{before}--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\""));
        if let Value::Map(_) = node.value {
            let reader = Reader::new(node, "a file", FILE_KEYS)?;
            let content = match (reader.get("file"), reader.get("content")) {
                (None, Some(node)) => {
                    let typed = node.text(context.source, "the file's content")?;
                    Content::Made(plain(node, &typed, names, context)?)
                }
                (_, None) => {
                    let need = "the name of a file beside the scenario, or `content` and `name`";
                    let (path, bytes) = context.file(reader.need("file", need)?)?;
                    Content::Read(path, bytes)
                }
                (Some(_), Some(second)) => {
                    return Err(Fault::new(second.place, "a file has `file` or `content`, not both"));
                }
            };
            let shown = match (reader.get("name"), &content) {
                (Some(node), _) => node.text(context.source, "the name that is sent")?,
                (None, Content::Read(path, _)) => {
                    path.rsplit(['/', '\\']).next().unwrap_or_default().to_string()
                }
                (None, Content::Made(_)) => {
                    return Err(Fault::new(reader.place(), "a file with `content` needs a `name`"));
                }
            };
            let content_type = content_type(&reader, context)?;
            text.push_text(&format!(
                "; filename=\"{}\"\r\ncontent-type: {content_type}\r\n\r\n",
                quoted(&shown)
            ));
            match content {
                Content::Made(made) => text.append(made),
                Content::Read(_, bytes) => {
                    parts.push(BodyPart::Text(std::mem::take(&mut text)));
                    parts.push(BodyPart::Bytes(bytes));
                }
            }
        } else {
            if mask::is_secret(&key.text) {
                context.secret(node, Kind::Value);
            }
            let typed = node.text(context.source, "a field's value")?;
            if let Some(file) = typed.strip_prefix('@').filter(|file| names_a_file(file)) {
                let how = format!("this would be sent as a text: a file is written {{file: {file}}}");
                return Err(Fault::new(node.place, how));
            }
            text.push_text("\r\n\r\n");
            text.append(plain(node, &typed, names, context)?);
        }
    }
    text.push_text(&format!("\r\n--{boundary}--\r\n"));
    parts.push(BodyPart::Text(text));
    Ok(Body::Parts { content_type: format!("multipart/form-data; boundary={boundary}"), parts })
}

/// A line that stands in none of the files. What templates bring is not known yet: 128 bits of the first file's checksum
/// and the fields' names make it a matter of luck that nobody has.
fn boundary(fields: &[(super::super::yaml::Key, Node)], context: &Context) -> Result<String, Fault> {
    let mut files: Vec<Bytes> = Vec::new();
    let mut seed = 0u32;
    for (key, node) in fields {
        seed = seed.rotate_left(5) ^ crc32fast::hash(key.text.as_bytes());
        if let Value::Map(map) = &node.value
            && let Some((_, file)) = map.iter().find(|(k, _)| k.text == "file")
        {
            files.push(context.file(file)?.1);
        }
    }
    // Each try is another line; a file that has them all would have to be made for it.
    for attempt in 0..1_000u32 {
        let seed = seed.wrapping_add(attempt.wrapping_mul(0x9e37_79b9));
        let words: Vec<String> = (0..4u32)
            .map(|n| format!("{:08x}", crc32fast::hash(&[seed.to_le_bytes(), n.to_le_bytes()].concat())))
            .collect();
        let boundary = format!("hotspan-{}", words.concat());
        if !files.iter().any(|bytes| contains(bytes, boundary.as_bytes())) {
            return Ok(boundary);
        }
    }
    Ok("hotspan-boundary-of-last-resort".to_string())
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let first = needle.first().copied().unwrap_or_default();
    haystack.iter().enumerate().any(|(at, byte)| *byte == first && haystack[at..].starts_with(needle))
}

/// As browsers write names (RFC 7578, section 4.2, and the URL standard's percent-encoding of quotes and line ends).
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// `graphql: {query: …, variables: {…}, operation: …}` as JSON over HTTP. The query is sent as it is: braces are its own.
pub fn graphql(node: &Node, names: &Names, context: &Context) -> Result<Body, Fault> {
    let mut text = Template::default();
    let query = |text: &mut Template, node: &Node| -> Result<(), Fault> {
        let query = node.text(context.source, "a GraphQL document")?;
        text.push_text(&format!("{{\"query\":\"{}\"", template::json_inside(&query)));
        Ok(())
    };
    if let Value::Text(_) = node.value {
        query(&mut text, node)?;
    } else {
        let reader = Reader::new(node, "graphql", &["query", "variables", "operation"])?;
        query(&mut text, reader.need("query", "the GraphQL document, e.g. query: '{ products { id } }'")?)?;
        if let Some(node) = reader.get("variables") {
            entries(node, "a mapping of variables to values")?;
            text.push_text(",\"variables\":");
            json(node, names, context, &mut text)?;
        }
        if let Some(node) = reader.get("operation") {
            let name = node.text(context.source, "the operation's name")?;
            text.push_text(&format!(",\"operationName\":\"{}\"", template::json_inside(&name)));
        }
    }
    text.push_text("}");
    Ok(Body::Text { content_type: Some("application/json"), text })
}
