//! Schedule, engine, virtual users.
