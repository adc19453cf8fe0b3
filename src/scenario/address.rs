//! Where requests go: the target and the URLs of steps.

use super::types::Endpoint;
use url::Url;

/// A target taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub endpoint: Endpoint,
    /// Path and query as written, at least `/`.
    pub path: String,
    /// User and password that the URL has.
    pub login: Option<(String, String)>,
}

impl Address {
    /// An absolute URL of HTTP.
    pub fn parse(text: &str) -> Result<Address, String> {
        let with_scheme = "write it with its scheme, e.g. http://127.0.0.1:8080";
        let url = Url::parse(text).map_err(|e| {
            let advice = match e {
                url::ParseError::InvalidPort => "ports are numbers from 1 to 65535",
                url::ParseError::RelativeUrlWithoutBase => with_scheme,
                _ => "an example is http://127.0.0.1:8080",
            };
            format!("{text:?} is no URL ({e}): {advice}")
        })?;
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            // `localhost:8080` parses as scheme `localhost`.
            other => {
                return Err(format!("{text:?} has the scheme `{other}`, which is not HTTP: {with_scheme}"));
            }
        };
        if url.fragment().is_some() {
            return Err(format!("{text:?} has a fragment (#…), which is never sent: leave it out"));
        }
        let host = match url.host() {
            Some(url::Host::Ipv6(address)) => address.to_string(),
            Some(host) => host.to_string(),
            None => return Err(format!("{text:?} has no host: {with_scheme}")),
        };
        let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
        let mut path = url.path().to_string();
        if let Some(query) = url.query() {
            path.push('?');
            path.push_str(query);
        }
        Ok(Address { endpoint: Endpoint { tls, host, port }, path, login: login(&url) })
    }

    /// `Authorization` that the URL's user info stands for.
    pub fn authorization(&self) -> Option<String> {
        let (user, password) = self.login.as_ref()?;
        Some(format!("Basic {}", base64(format!("{user}:{password}").as_bytes())))
    }

    /// The path without its last slash: what a step's path is appended to.
    pub fn prefix(&self) -> &str {
        self.path.trim_end_matches('/')
    }
}

fn login(url: &Url) -> Option<(String, String)> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| {
        // `form_urlencoded` would read `+` as a space, which user info does not mean.
        let escaped = format!("x={}", text.replace('+', "%2B"));
        url::form_urlencoded::parse(escaped.as_bytes())
            .next()
            .map(|(_, v)| v.into_owned())
            .unwrap_or_default()
    };
    Some((decoded(url.username()), decoded(url.password().unwrap_or_default())))
}

/// Base64 with padding (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group = chunk.iter().fold(0u32, |g, b| g << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            if digit <= chunk.len() {
                out.push(char::from(DIGITS[(group >> (18 - 6 * digit) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

/// The bytes that base64 stands for, with padding or without.
pub fn base64_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim().trim_end_matches('=').as_bytes();
    let mut out = Vec::with_capacity(digits.len() * 3 / 4);
    for chunk in digits.chunks(4) {
        let mut group = 0u32;
        for byte in chunk {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'a'..=b'z' => byte - b'a' + 26,
                b'0'..=b'9' => byte - b'0' + 52,
                b'+' => 62,
                b'/' => 63,
                _ => return None,
            };
            group = group << 6 | u32::from(digit);
        }
        let bytes = (group << (6 * (4 - chunk.len()))).to_be_bytes();
        match chunk.len() {
            1 => return None,
            digits => out.extend_from_slice(&bytes[1..digits]),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let address = Address::parse("https://me:p%40w@example.org/api/?x=1").unwrap();
        assert_eq!(address.endpoint, Endpoint { tls: true, host: "example.org".into(), port: 443 });
        assert_eq!(
            (address.path.as_str(), address.authorization().as_deref()),
            ("/api/?x=1", Some("Basic bWU6cEB3"))
        );
        let address = Address::parse("http://[::1]:8080").unwrap();
        assert_eq!((address.endpoint.authority().as_str(), address.prefix()), ("[::1]:8080", ""));
    }

    #[test]
    fn what_is_no_http_url_is_refused() {
        for text in ["localhost:8080", "ftp://h/", "/products", "http://", "http://h/#top"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
        assert!(Address::parse("localhost:8080").unwrap_err().contains("write it with its scheme"));
    }

    #[test]
    fn base64_pads() {
        assert_eq!(base64_bytes("AP8").as_deref(), Some(&[0, 255][..]));
        assert_eq!((base64_bytes("A"), base64_bytes("a b=")), (None, None));
        for (plain, coded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(base64_bytes(coded).as_deref(), Some(plain.as_bytes()));
        }
    }
}
