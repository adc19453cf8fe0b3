//! The scenario file as types.
