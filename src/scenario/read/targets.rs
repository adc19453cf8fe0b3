//! Where steps go: one `target`, or several with names under `targets`.

use super::super::address::Address;
use super::super::error::Fault;
use super::super::http_options::HttpOptions;
use super::super::mask::Kind;
use super::super::template::{Names, Template};
use super::super::yaml::{Node, Reader, Value, entries};
use super::{Context, Target, http_options, request, value};

/// All targets; the first is where steps go that name none.
pub fn read(
    top: &Reader,
    http: &HttpOptions,
    names: &Names,
    context: &Context,
) -> Result<Vec<Target>, Fault> {
    let mut targets = Vec::new();
    if let Some(node) = top.get("target") {
        targets.push(Target {
            name: None,
            address: address(node, names, context, "the target")?,
            headers: Vec::new(),
            http: http.clone(),
        });
    }
    if let Some(node) = top.get("targets") {
        for (key, node) in entries(node, "a mapping of names to URLs, e.g. {api: http://127.0.0.1:8080}")? {
            value::variable_name(key)?;
            let (url, headers, own) = match &node.value {
                Value::Map(_) => {
                    let reader = Reader::new(node, "a target", &["url", "headers", "http"])?;
                    let url = reader.need("url", "where it is, e.g. http://127.0.0.1:8080")?;
                    let headers = request::headers(reader.get("headers"), names, context)?;
                    (url, headers, reader.get("http"))
                }
                _ => (node, Vec::new(), None),
            };
            let address = address(url, names, context, &format!("the target `{}`", key.text))?;
            let http = match own {
                Some(node) => http_options::options(node, http.clone(), names, context)?,
                None => http.clone(),
            };
            let same_host = targets.iter().find(|t: &&Target| t.address.endpoint == address.endpoint);
            if same_host.is_some_and(|other| other.http != http) {
                return Err(Fault::new(
                    own.map_or(key.place, |node| node.place),
                    "another target of the same host says otherwise under `http`: a host has one way to be reached",
                ));
            }
            targets.push(Target { name: Some(key.text.clone()), address, headers, http });
        }
    }
    if targets.is_empty() {
        top.need("target", "the URL that is loaded, e.g. http://127.0.0.1:8080")?;
    }
    for target in &mut targets {
        let says_who = target.headers.iter().any(|(name, _)| name == http::header::AUTHORIZATION);
        if let Some(authorization) = target.address.authorization().filter(|_| !says_who) {
            target.headers.push((http::header::AUTHORIZATION, Template::text(&authorization)));
        }
    }
    Ok(targets)
}

fn address(node: &Node, names: &Names, context: &Context, what: &str) -> Result<Address, Fault> {
    context.secret(node, Kind::Url);
    let typed = node.text(context.source, "a URL")?;
    let fixed = value::fixed_text(node, &typed, names, context, what)?;
    let address = Address::parse(&fixed).map_err(|message| Fault::new(node.place, message))?;
    if address.path.contains('?') {
        return Err(Fault::new(node.place, format!("{what} has a query (?…): put it into the steps")));
    }
    Ok(address)
}
