//! Sockets for telemetry, in and out.
