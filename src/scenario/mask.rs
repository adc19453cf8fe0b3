//! Secrets do not belong in run folders, reports or spans: what is masked, and how.

use std::borrow::Cow;
use std::ops::Range;

/// What stands for a secret.
pub const MASK: &str = "***";

/// Whether a header, field or query parameter of that name usually holds a secret.
pub fn is_secret(name: &str) -> bool {
    const PARTS: [&str; 10] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "api-key",
        "apikey",
        "credential",
        "signature",
    ];
    const WHOLE: [&str; 9] =
        ["authorization", "proxy-authorization", "cookie", "auth", "key", "sig", "pwd", "pin", "otp"];
    let name = name.to_ascii_lowercase();
    WHOLE.contains(&name.as_str()) || PARTS.iter().any(|part| name.contains(part))
}

/// A URL without user info and with secret query values masked. Borrowed where nothing was to be masked.
pub fn masked_url(url: &str) -> Cow<'_, str> {
    let authority = url.find("://").map(|at| at + 3);
    let end = authority.map(|at| at + url[at..].find(['/', '?', '#']).unwrap_or(url.len() - at));
    let user_info = match (authority, end) {
        (Some(start), Some(end)) => url[start..end].rfind('@').map(|at| start..start + at + 1),
        _ => None,
    };
    let query = url.find('?').map(|at| at + 1);
    let secret_query = query.is_some_and(|at| url[at..].split('&').any(is_secret_pair));
    if user_info.is_none() && !secret_query {
        return Cow::Borrowed(url);
    }
    let Range { start, end } = user_info.unwrap_or(0..0);
    let mut out = String::with_capacity(url.len());
    out.push_str(&url[..start]);
    let Some(query) = query else {
        out.push_str(&url[end..]);
        return Cow::Owned(out);
    };
    out.push_str(&url[end..query]);
    for (index, pair) in url[query..].split('&').enumerate() {
        if index > 0 {
            out.push('&');
        }
        match pair.split_once('=') {
            Some((name, _)) if is_secret_pair(pair) => {
                out.push_str(name);
                out.push('=');
                out.push_str(MASK);
            }
            _ => out.push_str(pair),
        }
    }
    Cow::Owned(out)
}

/// A hole in a scenario's URL is no secret.
fn is_secret_pair(pair: &str) -> bool {
    pair.split_once('=')
        .is_some_and(|(name, value)| is_secret(name) && !value.is_empty() && !value.starts_with("{{"))
}

/// Source text with the given scalars masked. Holes stay, as they hold no secret themselves: `Bearer {{ token }}`.
pub(super) fn masked_source(source: &str, scalars: &[(Range<usize>, Kind)]) -> String {
    let mut scalars: Vec<_> =
        scalars.iter().filter(|(range, _)| source.get(range.clone()).is_some()).collect();
    scalars.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    for (range, kind) in scalars {
        if range.start < at || range.is_empty() {
            continue;
        }
        out.push_str(&source[at..range.start]);
        let raw = &source[range.clone()];
        match kind {
            Kind::Url => out.push_str(&masked_url_source(raw)),
            Kind::Value => out.push_str(&masked_scalar(raw)),
        }
        at = range.end;
    }
    out.push_str(&source[at..]);
    out
}

/// What a masked scalar is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A secret as a whole.
    Value,
    /// A URL, or a method and a URL, that may have secret parts.
    Url,
}

/// User info becomes a mask of its own here, so that the text still is the same request.
fn masked_url_source(raw: &str) -> String {
    if let Some(quote) = raw.chars().next().filter(|c| matches!(c, '"' | '\'') && raw.len() >= 2) {
        return format!("{quote}{}{quote}", masked_url_source(&raw[1..raw.len() - 1]));
    }
    let masked = masked_url(raw);
    match (raw.find("://"), raw.contains('@') && !masked.contains('@')) {
        (Some(at), true) => format!("{}{MASK}@{}", &masked[..at + 3], &masked[at + 3..]),
        _ => masked.into_owned(),
    }
}

fn masked_scalar(raw: &str) -> String {
    let line_break = if raw.ends_with('\n') { "\n" } else { "" };
    if raw.trim_end().contains('\n') {
        return format!("'{MASK}'{line_break}");
    }
    let quote = raw.chars().next().filter(|c| matches!(c, '"' | '\''));
    let inside = match quote {
        Some(_) if raw.len() >= 2 => &raw[1..raw.len() - 1],
        _ => raw,
    };
    let mut out = String::new();
    let mut rest = inside;
    loop {
        let open = rest.find("{{").unwrap_or(rest.len());
        out.push_str(&masked_literal(&rest[..open]));
        rest = &rest[open..];
        let Some(close) = rest.find("}}") else {
            break;
        };
        out.push_str(&rest[..close + 2]);
        rest = &rest[close + 2..];
    }
    match quote {
        Some(quote) => format!("{quote}{out}{quote}"),
        None => format!("'{}'", out.replace('\'', "''")),
    }
}

fn masked_literal(text: &str) -> Cow<'_, str> {
    let scheme =
        ["Bearer ", "Basic ", "Token "].into_iter().find(|scheme| text.starts_with(scheme)).unwrap_or("");
    if text[scheme.len()..].trim().is_empty() {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(format!("{scheme}{MASK}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lose_their_secrets_only() {
        let cases = [
            ("http://h/a?page=2", "http://h/a?page=2"),
            ("http://me:pw@h:1/a?x=1", "http://h:1/a?x=1"),
            ("http://h/a?api_key=k1&x=@&token=t", "http://h/a?api_key=***&x=@&token=***"),
            ("/a?password=p", "/a?password=***"),
            ("http://h/@x", "http://h/@x"),
        ];
        for (url, masked) in cases {
            assert_eq!(masked_url(url), masked);
        }
    }

    #[test]
    fn literals_are_masked_and_holes_are_not() {
        let cases = [
            ("\"Bearer {{ token }}\"", "\"Bearer {{ token }}\""),
            ("Bearer abc", "'Bearer ***'"),
            ("'s3cret'", "'***'"),
            ("s3cret{{ user }}x", "'***{{ user }}***'"),
            ("hunter2", "'***'"),
        ];
        for (raw, masked) in cases {
            assert_eq!(masked_scalar(raw), masked);
        }
        assert_eq!(masked_url_source("GET http://me:pw@h/a"), "GET http://***@h/a");
        assert_eq!(masked_url_source("\"/a?token=x\""), "\"/a?token=***\"");
        assert_eq!(masked_url_source("/a?token={{ token }}"), "/a?token={{ token }}");
    }
}
