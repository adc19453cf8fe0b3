//! A user's cache, as a browser keeps one (RFC 9111, private cache): fresh answers are used again without a request, stale
//! ones are asked for with their validators. Only answers of 200 to GET are kept.
//!
//! Bodies are kept only where a step looks at them. What does not fit is dropped whole.

use super::check::Answer;
use crate::record::{Nanos, Timestamp};
use http::HeaderMap;
use http::header::{
    AGE, CACHE_CONTROL, DATE, ETAG, EXPIRES, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    LAST_MODIFIED, VARY,
};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::UNIX_EPOCH;

/// Most answers of one user.
const MOST_ENTRIES: usize = 256;
/// Most bytes of their bodies.
const MOST_BYTES: usize = 4 << 20;
/// Freshness by guess is a tenth of the age at the time of the answer (RFC 9111, section 4.2.2), a day at most.
const GUESS_LIMIT: Nanos = Nanos::from_millis(86_400_000);

/// Where a cached answer belongs: the endpoint, and path and query.
pub type Key = (usize, String);

/// What the cache has for a request.
pub enum Found {
    /// Nothing: the request is sent as it is.
    Nothing,
    /// A fresh answer: nothing is sent.
    Fresh(Rc<Answer>),
    /// A stale answer: the request is sent with these fields.
    Stale(Vec<(HeaderName, HeaderValue)>),
}

/// A user's cached answers. Costs nothing until the first is kept.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<Key, Entry>,
    bytes: usize,
}

struct Entry {
    answer: Rc<Answer>,
    /// Whether the body was kept with it.
    has_body: bool,
    fresh_until: Timestamp,
    /// The fields that the answer depends on, as the request had them.
    vary: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl Cache {
    /// Forgets everything: another user sits down.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// What there is for a request. `field` gives the request's fields.
    pub fn find(
        &self,
        key: &Key,
        field: impl Fn(&HeaderName) -> Option<HeaderValue>,
        now: Timestamp,
        needs_body: bool,
    ) -> Found {
        let Some(entry) = self.entries.get(key) else { return Found::Nothing };
        if needs_body && !entry.has_body || entry.vary.iter().any(|(name, value)| field(name) != *value) {
            return Found::Nothing;
        }
        if now < entry.fresh_until {
            return Found::Fresh(Rc::clone(&entry.answer));
        }
        let headers = &entry.answer.headers;
        let validators = [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)];
        let fields: Vec<_> = validators
            .into_iter()
            .filter_map(|(has, asks)| headers.get(has).map(|value| (asks, value.clone())))
            .collect();
        if fields.is_empty() { Found::Nothing } else { Found::Stale(fields) }
    }

    /// Takes in an answer and gives what counts as the answer: for a 304 the one that was kept, brought up to date.
    pub fn take_in(
        &mut self,
        key: Key,
        field: impl Fn(&HeaderName) -> Option<HeaderValue>,
        answer: Answer,
        now: Timestamp,
        has_body: bool,
    ) -> Rc<Answer> {
        if answer.status == 304
            && let Some(entry) = self.entries.get_mut(&key)
        {
            let mut headers = HeaderMap::clone(&entry.answer.headers);
            for (name, value) in &*answer.headers {
                headers.insert(name.clone(), value.clone());
            }
            let body = entry.answer.body.clone();
            entry.answer = Rc::new(Answer { status: entry.answer.status, headers: headers.into(), body });
            entry.fresh_until = now + freshness(&entry.answer.headers);
            return Rc::clone(&entry.answer);
        }
        let answer = Rc::new(answer);
        self.drop_entry(&key);
        let Some(vary) = storable(&answer, field) else { return answer };
        let size = answer.body.len();
        if self.entries.len() >= MOST_ENTRIES || self.bytes + size > MOST_BYTES {
            self.clear();
        }
        if size <= MOST_BYTES {
            self.bytes += size;
            let fresh_until = now + freshness(&answer.headers);
            self.entries.insert(key, Entry { answer: Rc::clone(&answer), has_body, fresh_until, vary });
        }
        answer
    }

    /// A successful request with an unsafe method makes what is kept for its place invalid (RFC 9111, section 4.4).
    pub fn drop_entry(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.answer.body.len();
        }
    }
}

/// The fields that the answer depends on, if it may be kept at all and can ever be of use.
fn storable(
    answer: &Answer,
    field: impl Fn(&HeaderName) -> Option<HeaderValue>,
) -> Option<Vec<(HeaderName, Option<HeaderValue>)>> {
    if answer.status != 200 || directive(&answer.headers, "no-store").is_some() {
        return None;
    }
    let useful = freshness(&answer.headers) > Nanos::ZERO
        || answer.headers.contains_key(ETAG)
        || answer.headers.contains_key(LAST_MODIFIED);
    if !useful {
        return None;
    }
    let mut vary = Vec::new();
    for value in answer.headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            if name == "*" {
                return None;
            }
            let name: HeaderName = name.to_ascii_lowercase().parse().ok()?;
            let value = field(&name);
            vary.push((name, value));
        }
    }
    Some(vary)
}

/// How long an answer is fresh from when it came (RFC 9111, section 4.2.1).
fn freshness(headers: &HeaderMap) -> Nanos {
    if directive(headers, "no-cache").is_some() {
        return Nanos::ZERO;
    }
    let seconds = |n: u64| Nanos(n.min(10 * 365 * 86_400).saturating_mul(1_000_000_000));
    let age =
        headers.get(AGE).and_then(|v| v.to_str().ok()?.trim().parse().ok()).map_or(Nanos::ZERO, seconds);
    let date = |name: HeaderName| {
        let time = httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()?;
        Some(Nanos(time.duration_since(UNIX_EPOCH).ok()?.as_secs().saturating_mul(1_000_000_000)))
    };
    let lifetime = if let Some(text) = directive(headers, "max-age") {
        text.trim_matches('"').parse().map_or(Nanos::ZERO, seconds)
    } else if headers.contains_key(EXPIRES) {
        // An invalid date is in the past.
        match (date(EXPIRES), date(DATE)) {
            (Some(expires), Some(date)) => Nanos(expires.0.saturating_sub(date.0)),
            _ => Nanos::ZERO,
        }
    } else if let (Some(modified), Some(date)) = (date(LAST_MODIFIED), date(DATE)) {
        Nanos(date.0.saturating_sub(modified.0) / 10).min(GUESS_LIMIT)
    } else {
        Nanos::ZERO
    };
    Nanos(lifetime.0.saturating_sub(age.0))
}

/// The value of a directive of `cache-control`; empty for one without a value.
fn directive<'a>(headers: &'a HeaderMap, wanted: &str) -> Option<&'a str> {
    headers.get_all(CACHE_CONTROL).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).find_map(
        |part| {
            let (name, value) = part.trim().split_once('=').unwrap_or((part.trim(), ""));
            name.trim().eq_ignore_ascii_case(wanted).then_some(value.trim())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: &str = "Tue, 24 Nov 2026 12:00:00 GMT";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    fn fresh_for(fields: &[(&'static str, &'static str)]) -> u64 {
        freshness(&headers(fields)).0 / 1_000_000_000
    }

    #[test]
    fn freshness_is_as_the_standard_has_it() {
        let cases: [(&[(&str, &str)], u64); 9] = [
            (&[("cache-control", "public, max-age=60")], 60),
            (&[("cache-control", "Max-Age=60"), ("age", "15")], 45),
            (&[("cache-control", "max-age=60, no-cache")], 0),
            (&[("cache-control", "s-maxage=99")], 0),
            (
                &[
                    ("cache-control", "max-age=5"),
                    ("expires", DAY),
                    ("date", "Tue, 24 Nov 2026 11:00:00 GMT"),
                ],
                5,
            ),
            (&[("expires", DAY), ("date", "Tue, 24 Nov 2026 11:59:30 GMT")], 30),
            (&[("expires", "0"), ("date", DAY)], 0),
            (&[("last-modified", "Tue, 24 Nov 2026 11:50:00 GMT"), ("date", DAY)], 60),
            (&[("date", DAY)], 0),
        ];
        for (fields, seconds) in cases {
            let fields: Vec<(&'static str, &'static str)> = fields.to_vec();
            assert_eq!(fresh_for(&fields), seconds, "{fields:?}");
        }
    }

    #[test]
    fn what_varies_is_not_mixed_up_and_what_may_not_be_kept_is_not() {
        let key = || (0, "/a".to_string());
        let answer = |fields: &[(&'static str, &'static str)]| Answer {
            status: 200,
            headers: headers(fields).into(),
            body: b"x".to_vec(),
        };
        let (german, french) = (HeaderValue::from_static("de"), HeaderValue::from_static("fr"));
        let mut cache = Cache::default();
        let with = |v: &HeaderValue| {
            let v = v.clone();
            move |n: &HeaderName| (*n == http::header::ACCEPT_LANGUAGE).then(|| v.clone())
        };
        let now = Timestamp(5);
        let kept = &[("cache-control", "max-age=9"), ("vary", "Accept-Language")];
        cache.take_in(key(), with(&german), answer(kept), now, true);
        assert!(matches!(cache.find(&key(), with(&german), now, true), Found::Fresh(_)));
        assert!(matches!(cache.find(&key(), with(&french), now, true), Found::Nothing));
        assert!(matches!(cache.find(&key(), with(&german), Timestamp(10_000_000_000), true), Found::Nothing));
        for refused in [
            &[("cache-control", "max-age=9, no-store")][..],
            &[("cache-control", "max-age=9"), ("vary", "*")],
            &[],
        ] {
            cache.take_in(key(), with(&german), answer(refused), now, true);
            assert!(matches!(cache.find(&key(), with(&german), now, true), Found::Nothing), "{refused:?}");
            assert_eq!((cache.entries.len(), cache.bytes), (0, 0));
        }
        cache.take_in(key(), with(&german), answer(&[("etag", "\"1\"")]), now, false);
        assert!(
            matches!(cache.find(&key(), with(&german), now, true), Found::Nothing),
            "its body was not kept"
        );
        assert!(
            matches!(cache.find(&key(), with(&german), now, false), Found::Stale(f) if f[0].0 == IF_NONE_MATCH)
        );
    }

    #[test]
    fn a_cache_does_not_grow_without_end() {
        let mut cache = Cache::default();
        for n in 0..1_000 {
            let answer =
                Answer { status: 200, headers: headers(&[("etag", "\"1\"")]).into(), body: vec![0; 100_000] };
            cache.take_in((0, n.to_string()), |_| None, answer, Timestamp(0), true);
            assert!(cache.bytes <= MOST_BYTES && cache.entries.len() <= MOST_ENTRIES);
        }
    }
}
