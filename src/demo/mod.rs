//! The sample shop.
