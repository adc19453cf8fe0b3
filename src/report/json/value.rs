//! Numbers and maps of `report.json`.

use crate::record::Nanos;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// Keys and values in an order of our own.
pub struct Map<V>(pub Vec<(&'static str, V)>);

impl<V: Serialize> Serialize for Map<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in &self.0 {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// Milliseconds to the microsecond.
pub fn ms(value: f64) -> f64 {
    rounded(value, 1e3)
}

/// A length of time in milliseconds, to the microsecond.
pub fn nanos(value: Nanos) -> f64 {
    ms(value.as_millis_f64())
}

/// Shares to a hundredth of a per cent.
pub fn share(value: f64) -> f64 {
    rounded(value, 1e4)
}

/// Never -0.0, so that equal numbers are equal bytes; what is not finite has no place in JSON.
pub fn rounded(value: f64, scale: f64) -> f64 {
    let rounded = (value * scale).round() / scale;
    if rounded.is_finite() && rounded != 0.0 { rounded } else { 0.0 }
}
