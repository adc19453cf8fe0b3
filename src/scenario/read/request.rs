//! Where a step's request goes, and with which headers.

use super::super::address::Address;
use super::super::error::Fault;
use super::super::mask::{self, Kind};
use super::super::template::{self, Escape, Names, Piece, Template};
use super::super::yaml::{Node, Reader, entries};
use super::value::plain;
use super::{Context, Scope};
use http::{HeaderName, HeaderValue};

/// The target that a step names, or the one that it inherits.
pub fn target_of(reader: &Reader, scope: &Scope) -> Result<usize, Fault> {
    let named =
        reader.get("target").map(|node| scope.building.target_named(node, scope.context)).transpose()?;
    Ok(named.unwrap_or(scope.inherited.target))
}

/// Where a request goes.
pub struct RequestTarget {
    pub endpoint: usize,
    pub is_first: bool,
    pub headers: Vec<(HeaderName, Template)>,
    pub path: Template,
    pub path_template: String,
}

/// A step's URL: a path under a target, or a whole URL of a host that is one. `text[offset..]` is the URL.
pub fn request_target(
    node: &Node,
    text: &str,
    offset: usize,
    target: usize,
    scope: &Scope,
) -> Result<RequestTarget, Fault> {
    let Scope { names, context, building, .. } = *scope;
    let url = &text[offset..];
    let chars_before = text[..offset].chars().count();
    let (target, prefix, path) = if url.starts_with("http://") || url.starts_with("https://") {
        let scheme = url.find("://").map_or(0, |at| at + 3);
        let end = url[scheme..].find(['/', '?']).map_or(url.len(), |at| scheme + at);
        if url[..end].contains("{{") {
            return Err(Fault::new(
                node.place,
                "the host of a step cannot be a template: hosts are resolved and connected once",
            ));
        }
        let address = Address::parse(&url[..end]).map_err(|m| Fault::new(node.place, m))?;
        let known = building.targets.iter().position(|t| t.address.endpoint == address.endpoint);
        let Some(known) = known else {
            let host = address.endpoint.origin();
            return Err(Fault::new(
                node.place,
                format!(
                    "{host} is no target of this scenario: name it under `targets: {{other: {host}}}`, so that no slip loads a stranger"
                ),
            ));
        };
        (known, String::new(), &url[end..])
    } else {
        (target, building.targets[target].address.prefix().to_string(), url)
    };
    let target = &building.targets[target];
    let at = chars_before + url[..url.len() - path.len()].chars().count();
    literal_faults(node, text, path, at, context)?;
    let hole = path.starts_with("{{");
    if !path.is_empty() && !path.starts_with(['/', '?']) && !hole {
        return Err(Fault::new(
            context.place_within(node, text, at),
            format!("the path {path:?} must start with `/` (or be a whole URL)"),
        ));
    }
    let mut parsed = Template::parse(path, names, Escape::Percent, template::url_literal)
        .map_err(|fault| context.template_fault(node, text, at, fault))?;
    // What a hole brings at the beginning is a path or URL that the service sent: it has the target's own path already, and
    // is encoded as it has to be.
    if let Some(Piece::Hole(_, escape)) = parsed.pieces.first_mut().filter(|_| hole) {
        *escape = Escape::Plain;
    }
    let mut whole = Template::text(if hole { "" } else { &prefix });
    if path.is_empty() || path.starts_with('?') {
        whole.push_text("/");
    }
    whole.append(parsed);
    let skeleton = whole.skeleton();
    let path_template = skeleton.split('?').next().unwrap_or_default().to_string();
    Ok(RequestTarget {
        endpoint: building.endpoint(&target.address.endpoint),
        is_first: target.address.endpoint == building.targets[0].address.endpoint,
        headers: target.headers.clone(),
        path: whole,
        path_template,
    })
}

fn literal_faults(node: &Node, text: &str, path: &str, at: usize, context: &Context) -> Result<(), Fault> {
    let mut rest = path;
    let mut before = at;
    loop {
        let open = rest.find("{{").unwrap_or(rest.len());
        let literal = &rest[..open];
        if let Some(found) = literal.find(['{', '#']) {
            let place = context.place_within(node, text, before + literal[..found].chars().count());
            let message = if literal[found..].starts_with('#') {
                "a fragment (#…) is never sent: leave it out".to_string()
            } else {
                let name: String = literal[found + 1..].chars().take_while(|c| *c != '}').collect();
                format!("`{{{name}}}` is no template: write {{{{ {name} }}}}")
            };
            return Err(Fault::new(place, message));
        }
        let Some(close) = rest.find("}}") else { return Ok(()) };
        if close < open {
            return Ok(());
        }
        before += rest[..close + 2].chars().count();
        rest = &rest[close + 2..];
    }
}

/// A mapping of header names to values.
pub fn headers(
    node: Option<&Node>,
    names: &Names,
    context: &Context,
) -> Result<Vec<(HeaderName, Template)>, Fault> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut headers = Vec::new();
    for (key, node) in entries(node, "a mapping of header names to values")? {
        let name = HeaderName::from_bytes(key.text.as_bytes())
            .map_err(|_| Fault::new(key.place, format!("{:?} is no header name", key.text)))?;
        let reserved =
            matches!(name.as_str(), "traceparent" | "content-length" | "transfer-encoding" | "connection");
        if reserved || context.propagation.fields().any(|field| field.name == name.as_str()) {
            return Err(Fault::new(
                key.place,
                format!("`{name}` is set for each request by hotspan: leave it out"),
            ));
        }
        if mask::is_secret(name.as_str()) {
            context.secret(node, Kind::Value);
        }
        let text = node.text(context.source, "a header's value")?;
        let template = plain(node, &text, names, context)?;
        for piece in &template.pieces {
            if let Piece::Text(text) = piece
                && HeaderValue::from_str(text).is_err()
            {
                return Err(Fault::new(
                    node.place,
                    format!("the value of `{name}` has a character that no header may have"),
                ));
            }
        }
        headers.push((name, template));
    }
    Ok(headers)
}
