//! URLs and span names without what identifies single things.

use super::fit;

/// A URL's path with what identifies single things replaced by `{id}`; query, fragment and matrix parameters dropped.
pub fn path_template(path: &str) -> String {
    let path = path.split(['?', '#', ';']).next().unwrap_or_default();
    let last = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let segments: Vec<&str> = path
        .split('/')
        .map(|segment| match segment {
            _ if is_a_version(segment) && segment != last => segment,
            _ if identifies(segment) || is_a_short_code(segment) => "{id}",
            _ => segment,
        })
        .collect();
    fit(segments.join("/"))
}

/// `2.0`, as in `/api/2.0/runs`: the version of what follows.
fn is_a_version(segment: &str) -> bool {
    let small = |part: &str| matches!(part.len(), 1 | 2) && part.bytes().all(|c| c.is_ascii_digit());
    segment.split_once('.').is_some_and(|(major, minor)| small(major) && small(minor))
}

/// A span name in which a path, a number or an id may stand; names without any stay as they are.
pub fn name_template(name: &str) -> String {
    if !name.bytes().any(|c| c.is_ascii_digit() || matches!(c, b'/' | b'@' | b'%')) {
        return fit(name.to_owned());
    }
    let words: Vec<String> = name
        .split(' ')
        .map(|word| match word {
            _ if word.contains("://") || word.starts_with("HTTP/") => word.to_owned(),
            _ if word.contains('/') => path_template(word),
            _ if identifies(word) => "{id}".to_owned(),
            _ => without_indexes(word),
        })
        .collect();
    fit(words.join(" "))
}

/// A path through a document without the numbers of a list's items: `product.variants.1.price` as a resolver of GraphQL names it.
fn without_indexes(word: &str) -> String {
    let parts: Vec<&str> = word.split('.').collect();
    let named = |at: usize| parts.get(at).is_some_and(|part| part.starts_with(|c: char| c.is_alphabetic()));
    let is_index = |at: usize| {
        let number = !parts[at].is_empty() && parts[at].bytes().all(|c| c.is_ascii_digit());
        number && at > 0 && named(at - 1) && named(at + 1)
    };
    let part = |at: usize| if is_index(at) { "{id}" } else { parts[at] };
    (0..parts.len()).map(part).collect::<Vec<_>>().join(".")
}

/// Whether a path segment names a single thing: a number, a date, a UUID, a long hexadecimal or random token, an address,
/// a number with a prefix (`order-42`), a title made into a path (`ten-ways-to-brew-tea`).
fn identifies(segment: &str) -> bool {
    let stem = segment.split_once('.').map_or(segment, |(stem, _)| stem);
    let bytes = stem.as_bytes();
    let digits = bytes.iter().filter(|c| c.is_ascii_digit()).count();
    let lower = bytes.iter().filter(|c| c.is_ascii_lowercase()).count();
    let upper = bytes.iter().filter(|c| c.is_ascii_uppercase()).count();
    let letters = lower + upper;
    let hex = bytes.iter().all(|c| c.is_ascii_hexdigit() || *c == b'-');
    let number = digits > 0
        && bytes.iter().all(|c| c.is_ascii_digit() || matches!(c, b'-' | b'_' | b',' | b'+' | b':'));
    number
        || (hex && digits > 0 && bytes.len() >= 10)
        || (bytes.len() >= 20 && digits >= 3 && letters >= 3)
        // Random tokens mix small, capital and digits; words of a path hardly do.
        || (bytes.len() >= 12 && digits >= 2 && upper >= 2 && lower >= 2 && !stem.contains(['-', '_']))
        || ends_in_a_number(stem)
        || is_a_date(bytes)
        || is_a_title(stem, lower)
        || segment.contains(['@', '%'])
}

/// `order-42`, `SKU12345`: letters, then a number; at least four digits where nothing stands between.
fn ends_in_a_number(stem: &str) -> bool {
    let rest = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = stem.len() - rest.len();
    let word = rest.trim_end_matches(['-', '_', ':', '~']);
    let parted = word.len() < rest.len();
    !word.is_empty()
        && word.bytes().any(|c| c.is_ascii_alphabetic())
        && (digits >= 4 || (parted && digits >= 2))
}

/// What has letters and digits and is a name all the same.
const IS_NAME: [&str; 4] = ["x509", "x86", "h264", "h265"];

/// `c75`, `EU12`: one or two letters and a number; `v12` is a version.
fn is_a_short_code(segment: &str) -> bool {
    let word = segment.trim_end_matches(|c: char| c.is_ascii_digit());
    matches!(word.len(), 1 | 2)
        && segment.len() >= word.len() + 2
        && word.bytes().all(|c| c.is_ascii_alphabetic())
        && !word.eq_ignore_ascii_case("v")
        && !IS_NAME.contains(&segment)
}

/// `2024-01-31T10:00:00Z`, `20240131T100000`.
fn is_a_date(bytes: &[u8]) -> bool {
    let (date, time) = match bytes.iter().position(|c| matches!(c, b'T' | b't')) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => return false,
    };
    let of = |text: &[u8], more: &[u8]| text.iter().all(|c| c.is_ascii_digit() || more.contains(c));
    date.len() >= 8 && of(date, b"-") && !time.is_empty() && of(time, b":+-Zz")
}

/// Four words or more joined by hyphens, all small: what a title becomes in a path.
fn is_a_title(stem: &str, lower: usize) -> bool {
    let hyphens = stem.bytes().filter(|c| *c == b'-').count();
    hyphens >= 3 && stem.len() >= 18 && lower + hyphens >= stem.len() - 4 && !stem.contains('_')
}
