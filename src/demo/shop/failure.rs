//! Answers that are not what was asked for.

use super::super::database::DatabaseError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// Why a request could not be answered.
#[derive(Debug)]
pub(super) enum Failure {
    /// The caller's fault, or a state that the caller must change first.
    Refused(StatusCode, &'static str),
    Database(DatabaseError),
    /// A neighbour could not be reached.
    Neighbour(&'static str, reqwest::Error),
    /// A neighbour answered with this status, and not for the caller's sake.
    BadAnswer(&'static str, StatusCode),
    /// A thread of the shop ended early.
    Broken,
}

impl From<DatabaseError> for Failure {
    fn from(error: DatabaseError) -> Failure {
        Failure::Database(error)
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(_: tokio::task::JoinError) -> Failure {
        Failure::Broken
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, message) = match self {
            Failure::Refused(status, message) => (status, message.to_owned()),
            Failure::Database(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("database: {error}")),
            Failure::Neighbour(name, error) => (StatusCode::BAD_GATEWAY, format!("{name}: {error}")),
            Failure::BadAnswer(name, status) => {
                (StatusCode::BAD_GATEWAY, format!("{name} answered with status {status}"))
            }
            Failure::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "a worker ended early".to_owned()),
        };
        (status, Json(serde_json::json!({"error": message}))).into_response()
    }
}
