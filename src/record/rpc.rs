//! Statuses of gRPC by number and name.

/// Names of gRPC's statuses, by number.
pub const GRPC_STATUSES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The name of a status; numbers that nobody has named are unknown, as the protocol wants it.
pub fn grpc_status_name(status: u16) -> &'static str {
    GRPC_STATUSES.get(usize::from(status)).copied().unwrap_or("UNKNOWN")
}
