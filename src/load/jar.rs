//! A user's cookies, kept and sent as a browser does (RFC 6265, and the rules that its successor adds: prefixes, secure cookies
//! that nothing insecure touches, no cookies for whole registries). `SameSite` says nothing here: all requests of a user are as
//! if typed into its own address bar.

use cookie_store::{Cookie, CookieDomain, CookieStore};
use http::HeaderMap;
use http::header::{HeaderValue, SET_COOKIE};
use public_suffix::DEFAULT_PROVIDER;
use url::{Host, Url};

/// Longest name and value together, as in browsers.
const MOST_PAIR: usize = 4_096;
/// Most cookies of one user: a service that sets more must not fill the memory.
const MOST_COOKIES: usize = 300;

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

    /// Keeps what an answer sets. A cookie that is refused (another domain, a broken prefix) is ignored, as browsers do.
    pub fn keep(&mut self, headers: &HeaderMap, url: &str) {
        if !headers.contains_key(SET_COOKIE) {
            return;
        }
        let Ok(url) = Url::parse(url) else { return };
        let store = self.store.get_or_insert_with(|| Box::new(CookieStore::new()));
        for cookie in headers.get_all(SET_COOKIE) {
            if let Ok(text) = std::str::from_utf8(cookie.as_bytes())
                && let Some(cookie) = acceptable(text, &url)
                && is_allowed(store, &cookie, &url)
            {
                let _ = store.insert(cookie, &url);
            }
        }
    }

    /// The `cookie` header for a URL: longer paths first, then in the order in which they were set.
    pub fn header(&self, url: &str) -> Option<HeaderValue> {
        let store = self.store.as_ref()?;
        let mut cookies = store.matches(&Url::parse(url).ok()?);
        cookies.sort_by_key(|cookie| std::cmp::Reverse(cookie.path.len()));
        let mut text = String::new();
        for cookie in cookies {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(cookie.name());
            text.push('=');
            text.push_str(cookie.value());
        }
        if text.is_empty() { None } else { HeaderValue::from_bytes(text.as_bytes()).ok() }
    }
}

/// A cookie as it is to be kept, if its answer may set it.
fn acceptable(text: &str, url: &Url) -> Option<Cookie<'static>> {
    if text.bytes().any(|byte| byte.is_ascii_control() && byte != b'\t') {
        return None;
    }
    let mut cookie = Cookie::parse(text, url).ok()?.into_owned();
    if cookie.name().len() + cookie.value().len() > MOST_PAIR {
        return None;
    }
    if let CookieDomain::Suffix(domain) = &cookie.domain
        && (DEFAULT_PROVIDER.is_effective_tld(domain) || !matches!(url.host(), Some(Host::Domain(_))))
    {
        // A registry's name is nobody's to set cookies for; a host of that very name sets its own.
        if url.host_str() != Some(domain.as_str()) {
            return None;
        }
        cookie.domain = CookieDomain::host_only(url).ok()?;
    }
    let secure = cookie.secure().unwrap_or(false);
    let is_host_only = matches!(cookie.domain, CookieDomain::HostOnly(_));
    let says_domain = cookie.domain().is_some();
    let name = cookie.name().to_ascii_lowercase();
    let fits = match name.split_once('-') {
        Some(("__secure", _)) => secure && url.scheme() == "https",
        Some(("__host", _)) => {
            let whole = cookie.path.is_from_path_attr() && &*cookie.path == "/";
            secure && url.scheme() == "https" && is_host_only && !says_domain && whole
        }
        _ => !secure || is_trustworthy(url),
    };
    fits.then_some(cookie)
}

/// Whether the jar has room for it, and nothing secure that it would replace from an insecure place.
fn is_allowed(store: &CookieStore, cookie: &Cookie, url: &Url) -> bool {
    let mut count = 0;
    for kept in store.iter_unexpired() {
        count += 1;
        let hides = kept.secure().unwrap_or(false)
            && kept.name() == cookie.name()
            && kept.domain.as_cow().zip(cookie.domain.as_cow()).is_some_and(|(a, b)| overlap(&a, &b))
            && cookie.path.starts_with(&*kept.path);
        if hides && !is_trustworthy(url) {
            return false;
        }
    }
    count < MOST_COOKIES
        || store.contains_any(&cookie.domain.as_cow().unwrap_or_default(), &cookie.path, cookie.name())
}

/// Whether one domain is the other, or below it.
fn overlap(a: &str, b: &str) -> bool {
    let below = |long: &str, short: &str| long.strip_suffix(short).is_some_and(|rest| rest.ends_with('.'));
    a == b || below(a, b) || below(b, a)
}

/// Whether what comes from there is secure: TLS, and this machine as browsers see it.
fn is_trustworthy(url: &Url) -> bool {
    url.scheme() == "https"
        || match url.host() {
            Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sets cookies from a URL, and gives what is sent to another.
    fn sent(set: &[(&str, &str)], to: &str) -> String {
        let mut jar = Jar::default();
        for (url, cookie) in set {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
            jar.keep(&headers, url);
        }
        let header = jar.header(to).map(|value| String::from_utf8(value.as_bytes().to_vec()).unwrap());
        header.unwrap_or_default()
    }

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
        assert_eq!(of(&jar, "http://127.0.0.1:8080/basket").as_deref(), Some("cart=2; sid=1"));
        assert_eq!(of(&jar, "http://127.0.0.2:8080/x"), None);
        headers.clear();
        headers.append(SET_COOKIE, HeaderValue::from_static("sid=; Max-Age=0; Path=/"));
        jar.keep(&headers, "http://127.0.0.1:8080/logout");
        assert_eq!(of(&jar, "http://127.0.0.1:8080/x"), None);
        jar.clear();
        assert!(jar.is_empty());
    }

    #[test]
    fn domains_are_told_apart() {
        let shop = "https://shop.example.com/";
        for (cookie, to, expected) in [
            ("a=1", shop, "a=1"),
            ("a=1", "https://www.shop.example.com/", ""),
            ("a=1; Domain=shop.example.com", "https://www.shop.example.com/", "a=1"),
            ("a=1; Domain=.example.com", "https://other.example.com/", "a=1"),
            ("a=1; Domain=EXAMPLE.com", "https://example.com/", "a=1"),
            ("a=1; Domain=www.shop.example.com", shop, ""),
            ("a=1; Domain=hop.example.com", shop, ""),
            ("a=1; Domain=com", shop, ""),
            ("a=1; Domain=", shop, "a=1"),
            ("a=1; Domain=example.com", "https://badexample.com/", ""),
        ] {
            assert_eq!(sent(&[(shop, cookie)], to), expected, "{cookie} to {to}");
        }
    }

    #[test]
    fn registries_have_no_cookies() {
        for (url, cookie, expected) in [
            ("https://shop.co.uk/", "a=1; Domain=co.uk", ""),
            ("https://shop.co.uk/", "a=1; Domain=shop.co.uk", "a=1"),
            ("https://me.github.io/", "a=1; Domain=github.io", ""),
            ("https://a.b.kobe.jp/", "a=1; Domain=b.kobe.jp", ""),
            ("https://x.city.kobe.jp/", "a=1; Domain=city.kobe.jp", "a=1"),
            ("http://localhost:8080/", "a=1; Domain=localhost", "a=1"),
            ("http://api.svc/", "a=1; Domain=svc", ""),
            ("http://127.0.0.1/", "a=1; Domain=127.0.0.1", "a=1"),
            ("http://127.0.0.1/", "a=1; Domain=0.0.1", ""),
        ] {
            assert_eq!(sent(&[(url, cookie)], url), expected, "{cookie} from {url}");
        }
        let whole = "https://github.io/";
        assert_eq!(sent(&[(whole, "a=1; Domain=github.io")], whole), "a=1", "its own, …");
        assert_eq!(
            sent(&[(whole, "a=1; Domain=github.io")], "https://me.github.io/"),
            "",
            "… and no other's"
        );
    }

    #[test]
    fn paths_are_told_apart() {
        let from = "https://h.example/shop/cart";
        for (cookie, to, expected) in [
            ("a=1", "/shop/cart", "a=1"),
            ("a=1", "/shop", "a=1"),
            ("a=1", "/shopping", ""),
            ("a=1", "/", ""),
            ("a=1; Path=/", "/x", "a=1"),
            ("a=1; Path=/shop/", "/shop", ""),
            ("a=1; Path=/shop/", "/shop/x", "a=1"),
            ("a=1; Path=relative", "/shop/x", "a=1"),
            ("a=1; Path=/elsewhere", "/elsewhere/x?q=1", "a=1"),
        ] {
            assert_eq!(
                sent(&[(from, cookie)], &format!("https://h.example{to}")),
                expected,
                "{cookie} to {to}"
            );
        }
        let url = "https://h.example/a/b/c";
        let set = [
            (url, "x=root; Path=/"),
            (url, "y=1; Path=/"),
            (url, "x=deep; Path=/a/b"),
            (url, "x=mid; Path=/a"),
        ];
        assert_eq!(sent(&set, url), "x=deep; x=mid; x=root; y=1");
        assert_eq!(sent(&[(url, "x=1"), (url, "y=2"), (url, "x=3")], url), "x=3; y=2", "the place is kept");
    }

    #[test]
    fn time_is_up_when_it_is_said() {
        let url = "https://h.example/";
        for (cookie, expected) in [
            ("a=1; Max-Age=100", "a=1"),
            ("a=1; Max-Age=0", ""),
            ("a=1; Max-Age=-5", ""),
            ("a=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", ""),
            ("a=1; Expires=Thu, 01-Jan-2099 00:00:00 GMT", "a=1"),
            ("a=1; Expires=never", "a=1"),
            ("a=1; Max-Age=100; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "a=1"),
        ] {
            assert_eq!(sent(&[(url, "a=0"), (url, cookie)], url), expected, "{cookie}");
        }
    }

    #[test]
    fn secure_cookies_stay_secure() {
        let (https, http) = ("https://h.example/", "http://h.example/");
        for (set, to, expected) in [
            (vec![(https, "a=1; Secure")], https, "a=1"),
            (vec![(https, "a=1; Secure")], http, ""),
            (vec![(http, "a=1; Secure")], https, ""),
            (vec![(https, "a=1; Secure"), (http, "a=2")], https, "a=1"),
            (vec![(https, "a=1; Secure"), (http, "a=2; Domain=h.example")], https, "a=1"),
            (vec![(https, "a=1; Secure; Path=/x"), (http, "a=2; Path=/y")], "http://h.example/y", "a=2"),
            (vec![(https, "a=1"), (http, "a=2")], https, "a=2"),
            (vec![(https, "a=1; SameSite=Strict")], https, "a=1"),
            (vec![(https, "a=1; HttpOnly")], http, "a=1"),
            (vec![("http://localhost:80/", "a=1; Secure")], "http://localhost:80/", "a=1"),
        ] {
            assert_eq!(sent(&set, to), expected, "{set:?} to {to}");
        }
    }

    #[test]
    fn prefixes_are_promises() {
        let https = "https://h.example/a/b";
        for (cookie, expected) in [
            ("__Host-a=1; Secure; Path=/", "__Host-a=1"),
            ("__Host-a=1; Secure", ""),
            ("__Host-a=1; Path=/", ""),
            ("__Host-a=1; Secure; Path=/; Domain=h.example", ""),
            ("__host-a=1; Path=/", ""),
            ("__Secure-a=1; Secure", "__Secure-a=1"),
            ("__Secure-a=1", ""),
        ] {
            assert_eq!(sent(&[(https, cookie)], https), expected, "{cookie}");
        }
        assert_eq!(sent(&[("http://h.example/", "__Secure-a=1; Secure")], https), "");
    }

    #[test]
    fn odd_cookies_do_no_harm() {
        let url = "https://h.example/";
        for (cookie, expected) in [
            ("a=\u{e4}\u{f6}", "a=\u{e4}\u{f6}"),
            ("a=b=c", "a=b=c"),
            ("a=\"q\"", "a=\"q\""),
            ("a=", "a="),
            ("  a = 1 ; Unknown=x; Path=/", "a=1"),
            ("nothing", ""),
            ("", ""),
        ] {
            assert_eq!(sent(&[(url, cookie)], url), expected, "{cookie:?}");
        }
        let large = format!("a={}", "x".repeat(MOST_PAIR));
        assert_eq!(sent(&[(url, large.as_str())], url), "");
        let many: Vec<String> = (0..MOST_COOKIES + 50).map(|n| format!("c{n}=1")).collect();
        let set: Vec<(&str, &str)> = many.iter().map(|cookie| (url, cookie.as_str())).collect();
        assert_eq!(sent(&set, url).split("; ").count(), MOST_COOKIES);
    }
}
