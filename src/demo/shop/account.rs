//! `POST /login` and `POST /logout`. Sessions live in the cache; a cookie names them.

use super::super::database::Statement;
use super::super::fault::Fault;
use super::super::password;
use super::super::timing::Clock;
use super::{Failure, Shop};
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, COOKIE, SET_COOKIE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;
use tracing::{Instrument, info_span};

const SESSION_SECONDS: u32 = 1_800;

const USER: Statement = Statement::new(
    "SELECT",
    "shop_user",
    "SELECT shop_user",
    "SELECT id, password_salt, password_hash, password_rounds FROM shop_user WHERE name = $1",
);

#[derive(Deserialize)]
struct Credentials {
    user: String,
    password: String,
}

/// Takes a form or JSON.
fn credentials(headers: &HeaderMap, body: &[u8]) -> Result<Credentials, Failure> {
    let json = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let read = if json {
        serde_json::from_slice(body).map_err(drop)
    } else {
        serde_urlencoded::from_bytes(body).map_err(drop)
    };
    read.map_err(|()| {
        Failure::Refused(StatusCode::BAD_REQUEST, "send user and password, as a form or as JSON")
    })
}

pub(super) async fn login(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let Credentials { user, password } = credentials(&headers, &body)?;
    let rows = shop.connection(&clock).await?.query(&clock, &USER, &[user.into()]).await?;
    let row = rows.first().ok_or(Failure::Refused(StatusCode::UNAUTHORIZED, "wrong user or password"))?;
    let rounds = u32::try_from(row.int(3)?).unwrap_or(password::ROUNDS);
    let stored = password::Stored { salt: row.text(1)?.to_owned(), hash: row.text(2)?.to_owned(), rounds };
    // A raised policy: the password is hashed again with more rounds after it was found right, as frameworks do. That the
    // better hash is never stored is the fault.
    let policy = if shop.faults.is_on(Fault::Cpu) { password::RAISED_ROUNDS } else { password::ROUNDS };
    if !hash_password(stored, password, policy).await? {
        return Err(Failure::Refused(StatusCode::UNAUTHORIZED, "wrong user or password"));
    }
    let session = password::new_token().ok_or(Failure::Broken)?;
    shop.cache.set(&clock, "session:", &session, row.int(0)?.to_string().as_bytes(), SESSION_SECONDS).await;
    let cookie = format!("session={session}; Path=/; HttpOnly; SameSite=Lax; Max-Age={SESSION_SECONDS}");
    Ok(([(SET_COOKIE, cookie)], Json(json!({"token": session}))).into_response())
}

/// On a thread of its own: it is work for the processor, and other requests must go on.
async fn hash_password(stored: password::Stored, password: String, policy: u32) -> Result<bool, Failure> {
    let span = info_span!(
        "hash password",
        otel.kind = "internal",
        "code.function.name" = "hotspan::demo::shop::account::hash_password",
        "code.file.path" = file!(),
        "code.line.number" = i64::from(line!()),
    );
    let hashing = tokio::task::spawn_blocking(move || {
        let right = stored.verify(&password);
        if right && stored.rounds < policy {
            let _better = password::Stored::derive(&password, &stored.salt, policy);
        }
        right
    });
    Ok(hashing.instrument(span).await?)
}

pub(super) async fn logout(
    State(shop): State<Shop>,
    Extension(clock): Extension<Clock>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    if let Some(session) = cookie(&headers) {
        shop.cache.del(&clock, "session:", session).await;
    }
    Ok(([(SET_COOKIE, "session=; Path=/; Max-Age=0")], Json(json!({"ok": true}))).into_response())
}

/// Who is asking: the session and its user.
pub(super) async fn session<'a>(
    shop: &Shop,
    clock: &Clock,
    headers: &'a HeaderMap,
) -> Result<(&'a str, i64), Failure> {
    let refused = || Failure::Refused(StatusCode::UNAUTHORIZED, "log in first");
    let session = cookie(headers).ok_or_else(refused)?;
    let user = shop.cache.get(clock, "session:", session).await.ok_or_else(refused)?;
    let user = std::str::from_utf8(&user).ok().and_then(|user| user.parse().ok()).ok_or_else(refused)?;
    Ok((session, user))
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("session="))
        .filter(|session| !session.is_empty() && session.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn the_session_is_found_among_other_cookies() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_static(value));
            cookie(&headers).map(str::to_owned)
        };
        assert_eq!(of("a=b; session=0f9a; c=d").as_deref(), Some("0f9a"));
        assert_eq!(of("session="), None);
        assert_eq!(of("session=../../x"), None);
        assert_eq!(of("mysession=0f"), None);
    }

    #[test]
    fn credentials_come_as_a_form_or_as_json() {
        let mut headers = HeaderMap::new();
        let form = credentials(&headers, b"user=user7&password=se%20cret").unwrap();
        assert_eq!((form.user.as_str(), form.password.as_str()), ("user7", "se cret"));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        let json = credentials(&headers, br#"{"user": "user7", "password": "x"}"#).unwrap();
        assert_eq!((json.user.as_str(), json.password.as_str()), ("user7", "x"));
        assert!(credentials(&headers, b"user=user7").is_err());
    }
}
