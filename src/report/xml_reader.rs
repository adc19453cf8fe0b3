//! A reader of XML for tests: it takes nothing that is not well-formed.

/// Element names, in order, with their depth: an XML reader of its own, which takes nothing that is not well-formed.
pub fn elements(xml: &str) -> Vec<(usize, String)> {
    let mut rest = xml.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>").expect("a declaration");
    let (mut open, mut found): (Vec<String>, Vec<(usize, String)>) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        entities(&rest[..at]);
        let end = at + rest[at..].find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        assert!(!tag.contains('<') && !tag.starts_with(['!', '?']), "{tag}");
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let empty = tag.ends_with('/');
        let (name, attributes) = tag.trim_end_matches('/').split_once(' ').unwrap_or((tag, ""));
        let quotes = attributes.matches('"').count();
        assert_eq!(quotes % 2, 0, "{tag}");
        attributes.split('"').for_each(entities);
        found.push((open.len(), name.to_owned()));
        if !empty {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "{open:?} {rest:?}");
    found
}

fn entities(text: &str) {
    for part in text.split('&').skip(1) {
        let name = part.split(';').next().unwrap();
        assert!(["amp", "lt", "gt", "quot", "apos"].contains(&name), "{part}");
    }
    assert!(text.chars().all(|c| c == '\n' || !super::text::is_hazard(c)), "{text:?}");
}
