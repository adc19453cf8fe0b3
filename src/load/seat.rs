//! A virtual user's own things: its slot among the deadlines, its cookies and, in the closed model, its connections.

use super::connection::Connection;
use super::flight::Flight;
use super::pool::Pool;
use cookie_store::CookieStore;
use http::HeaderMap;
use http::header::{HeaderValue, SET_COOKIE};
use url::Url;

/// A virtual user.
pub struct Seat {
    /// Index of the load that it is of.
    pub load: usize,
    /// Number of the user, over the whole run.
    pub user: u32,
    /// Its slot among the requests under way.
    pub flight: Flight,
    /// Its cookies.
    pub cookies: Jar,
    /// Where its connections come from.
    pub connections: Connections,
    /// The variables with which its iterations begin, where the user was set up; else the scenario's.
    pub variables: Option<Vec<serde_json::Value>>,
    /// The answers that it keeps.
    pub cache: super::cache::Cache,
}

/// Where a user's connections come from.
pub enum Connections {
    /// Its own, one per endpoint, as a browser's.
    Own(Vec<Option<Connection>>),
    /// The thread's pool.
    Pooled,
}

impl Connections {
    /// An open connection, if there is one.
    pub fn take(&mut self, endpoint: usize, pool: &Pool) -> Option<Connection> {
        match self {
            Connections::Own(own) => own[endpoint].take().filter(Connection::is_usable),
            Connections::Pooled => pool.take(endpoint),
        }
    }

    /// Tells of a connection that was just opened.
    pub fn opened(&self, endpoint: usize, connection: &Connection, pool: &Pool) {
        if let Connections::Pooled = self {
            pool.announce(endpoint, connection);
        }
    }

    /// Takes a connection back after an exchange.
    pub fn give(&mut self, endpoint: usize, connection: Connection, pool: &Pool) {
        match self {
            Connections::Own(own) => own[endpoint] = Some(connection),
            Connections::Pooled => pool.give(endpoint, connection),
        }
    }
}

/// Cookies. Costs nothing until a service sets the first one.
#[derive(Default)]
pub struct Jar {
    store: Option<Box<CookieStore>>,
}

impl Jar {
    /// Whether no service has set any.
    pub fn is_empty(&self) -> bool {
        self.store.is_none()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.store = None;
    }

    /// Keeps what an answer sets.
    pub fn keep(&mut self, headers: &HeaderMap, url: &str) {
        if !headers.contains_key(SET_COOKIE) {
            return;
        }
        let Ok(url) = Url::parse(url) else { return };
        let store = self.store.get_or_insert_with(|| Box::new(CookieStore::new()));
        for cookie in headers.get_all(SET_COOKIE) {
            if let Ok(text) = cookie.to_str() {
                // A cookie that is refused (another domain, a path that does not fit) is ignored, as browsers do.
                let _ = store.parse(text, &url);
            }
        }
    }

    /// The `cookie` header for a URL.
    pub fn header(&self, url: &str) -> Option<HeaderValue> {
        let store = self.store.as_ref()?;
        let url = Url::parse(url).ok()?;
        let mut text = String::new();
        for (name, value) in store.get_request_values(&url) {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(name);
            text.push('=');
            text.push_str(value);
        }
        if text.is_empty() { None } else { HeaderValue::from_str(&text).ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_go_where_they_belong() {
        let mut jar = Jar::default();
        let mut headers = HeaderMap::new();
        headers.append(SET_COOKIE, HeaderValue::from_static("sid=1; Path=/; HttpOnly"));
        headers.append(SET_COOKIE, HeaderValue::from_static("cart=2; Path=/basket"));
        headers.append(SET_COOKIE, HeaderValue::from_static("evil=3; Domain=example.org"));
        jar.keep(&headers, "http://127.0.0.1:8080/login");
        let of = |jar: &Jar, url: &str| jar.header(url).map(|v| v.to_str().unwrap().to_string());
        assert_eq!(of(&jar, "http://127.0.0.1:8080/x").as_deref(), Some("sid=1"));
        let both = of(&jar, "http://127.0.0.1:8080/basket").unwrap();
        assert!(both.contains("sid=1") && both.contains("cart=2") && !both.contains("evil"), "{both}");
        assert_eq!(of(&jar, "http://127.0.0.2:8080/x"), None);
        headers.clear();
        headers.append(SET_COOKIE, HeaderValue::from_static("sid=; Max-Age=0; Path=/"));
        jar.keep(&headers, "http://127.0.0.1:8080/logout");
        assert_eq!(of(&jar, "http://127.0.0.1:8080/x"), None);
    }
}
