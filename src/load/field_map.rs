//! The fields of an answer's head. Of most answers nobody looks at any: a map of them is a hundred bytes that would be cleared,
//! moved from hand to hand and dropped with each answer.

use http::HeaderMap;
use std::ops::Deref;
use std::sync::LazyLock;

static NONE: LazyLock<HeaderMap> = LazyLock::new(HeaderMap::new);

/// Reads as the map that it is, empty where nothing was kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FieldMap(Option<Box<HeaderMap>>);

impl Deref for FieldMap {
    type Target = HeaderMap;

    fn deref(&self) -> &HeaderMap {
        match &self.0 {
            Some(map) => map,
            None => &NONE,
        }
    }
}

impl From<HeaderMap> for FieldMap {
    fn from(map: HeaderMap) -> FieldMap {
        FieldMap((!map.is_empty()).then(|| Box::new(map)))
    }
}

impl FieldMap {
    /// Whether there are no fields.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl FromIterator<(http::HeaderName, http::HeaderValue)> for FieldMap {
    fn from_iter<I: IntoIterator<Item = (http::HeaderName, http::HeaderValue)>>(fields: I) -> FieldMap {
        FieldMap::from(fields.into_iter().collect::<HeaderMap>())
    }
}
