//! A history that is an object in object storage: S3 and what speaks its protocol (MinIO, Ceph, R2, Google Cloud Storage by HMAC
//! keys), or any URL that takes GET and PUT (Azure Blob Storage with a shared access signature, WebDAV).
//!
//! Objects cannot be appended to, so the whole is read and written again, on the condition that it is still what was read
//! (`If-Match`, `If-None-Match`): who comes second reads again, and no run is lost.

use super::store::TRIES;
use crate::traces::header_pairs;
use anyhow::{Context, bail};
use reqwest::header::{CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode, Url};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use std::fmt;
use std::path::Path;
use std::time::Duration;

/// How long a signature is good for.
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// Longest time for one request.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before a write is tried anew, times the number of the try.
const PAUSE: Duration = Duration::from_millis(50);
/// Headers of requests to plain URLs, as `Name=value`, separated by commas.
const HEADERS: &str = "HOTSPAN_HISTORY_HEADERS";

/// Where it is.
pub struct Object {
    name: String,
    place: Place,
}

enum Place {
    S3 { bucket: Bucket, key: String, credentials: Option<Credentials> },
    Web { url: Url, headers: Vec<(HeaderName, HeaderValue)> },
}

/// Secrets stay out of messages.
impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Object").field(&self.name).finish()
    }
}

/// Looks up an environment variable.
type Env<'e> = dyn Fn(&str) -> Option<String> + 'e;

/// What is there, and the mark by which a change is seen.
struct Found {
    bytes: Vec<u8>,
    tag: HeaderValue,
}

impl Object {
    /// The object that an argument names; `None` where it is a path.
    pub fn named(path: &Path, env: &Env<'_>) -> anyhow::Result<Option<Object>> {
        let Some(text) = path.to_str() else { return Ok(None) };
        if let Some(rest) = text.strip_prefix("s3://") {
            return s3(text, rest, env).map(Some);
        }
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Ok(None);
        }
        let url = Url::parse(text).with_context(|| format!("{text} is no URL"))?;
        let mut shown = url.clone();
        shown.set_query(None);
        // Neither call fails for http and https.
        let _ = shown.set_password(None).and_then(|()| shown.set_username(""));
        let headers = headers(&env(HEADERS).unwrap_or_default())?;
        Ok(Some(Object { name: shown.to_string(), place: Place::Web { url, headers } }))
    }

    /// For messages, without secrets.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is there.
    pub fn read(&self) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(blocking(self.get())?.map(|found| found.bytes))
    }

    /// Adds lines at the end.
    pub fn append(&self, lines: &str) -> anyhow::Result<()> {
        blocking(async {
            for attempt in 1..=TRIES {
                if self.put(self.get().await?, lines).await? {
                    return Ok(());
                }
                tokio::time::sleep(PAUSE * attempt as u32).await;
            }
            bail!("{} was changed by others each of {TRIES} times; try again", self.name)
        })
    }

    async fn get(&self) -> anyhow::Result<Option<Found>> {
        let answer = self.ask(Method::GET, |request| request).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => return Ok(None),
            status if !status.is_success() => return Err(self.refused("read", answer).await),
            _ => {}
        }
        let tag = answer.headers().get(ETAG).cloned().with_context(|| {
            format!(
                "{} came without an ETag, so two writers could lose each other's runs; use storage that has conditional writes",
                self.name
            )
        })?;
        let bytes = answer.bytes().await.with_context(|| format!("cannot read {}", self.name))?.to_vec();
        Ok(Some(Found { bytes, tag }))
    }

    /// Writes what was found with lines at its end; false where it is not that any more.
    async fn put(&self, found: Option<Found>, lines: &str) -> anyhow::Result<bool> {
        let (mut bytes, condition, tag) = match found {
            Some(found) => (found.bytes, IF_MATCH, found.tag),
            None => (Vec::new(), IF_NONE_MATCH, HeaderValue::from_static("*")),
        };
        if bytes.last().is_some_and(|last| *last != b'\n') {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(lines.as_bytes());
        let answer = self
            .ask(Method::PUT, |request| {
                request.header(condition, tag).header(CONTENT_TYPE, "application/jsonl").body(bytes)
            })
            .await?;
        match answer.status() {
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(self.refused("write", answer).await),
        }
    }

    async fn ask(
        &self,
        method: Method,
        with: impl FnOnce(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> anyhow::Result<reqwest::Response> {
        let client = reqwest::Client::builder().timeout(TIMEOUT).user_agent("hotspan").build()?;
        let request = match &self.place {
            Place::S3 { bucket, key, credentials } => {
                let credentials = credentials.as_ref();
                let url = match method {
                    Method::PUT => bucket.put_object(credentials, key).sign(SIGNED_FOR),
                    _ => bucket.get_object(credentials, key).sign(SIGNED_FOR),
                };
                client.request(method, url)
            }
            Place::Web { url, headers } => {
                headers.iter().fold(client.request(method, url.clone()), |request, (name, value)| {
                    request.header(name, value)
                })
            }
        };
        // The URL of the error would show a signature.
        with(request)
            .send()
            .await
            .map_err(reqwest::Error::without_url)
            .with_context(|| format!("{} cannot be reached", self.name))
    }

    async fn refused(&self, what: &str, answer: reqwest::Response) -> anyhow::Error {
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        let code = match text.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>")) {
            Some((code, _)) => format!(" ({code})"),
            None => String::new(),
        };
        let next = match (&self.place, status.as_u16()) {
            (Place::S3 { credentials: None, .. }, 400..=403) => {
                "; there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()
            }
            (Place::S3 { .. }, 400..=403) => {
                "; the credentials, the region (AWS_REGION) or the rights to it are not those that it wants"
                    .to_owned()
            }
            (Place::S3 { .. }, 301 | 307) => "; the bucket is in another region: set AWS_REGION".to_owned(),
            (Place::Web { .. }, 401 | 403) => {
                format!("; give a header with {HEADERS}, for example Authorization=Bearer%20TOKEN")
            }
            (Place::Web { .. }, 405 | 501) => "; it takes no PUT".to_owned(),
            _ => String::new(),
        };
        anyhow::anyhow!("cannot {what} {}: HTTP status {}{code}{next}", self.name, status.as_u16())
    }
}

/// `BUCKET/KEY`, with what the environment says as for other programs: keys, region, and where it is not Amazon's an endpoint.
fn s3(text: &str, rest: &str, env: &Env<'_>) -> anyhow::Result<Object> {
    let set = |names: &[&str]| names.iter().find_map(|name| env(name).filter(|value| !value.is_empty()));
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || key.is_empty() || key.ends_with('/') {
        bail!("{text} names no object; write s3://BUCKET/KEY, for example s3://perf/shop/history.jsonl");
    }
    let region = set(&["AWS_REGION", "AWS_DEFAULT_REGION"]).unwrap_or_else(|| "us-east-1".to_owned());
    let given = set(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]);
    // A dot in a bucket's name would be one too many for the certificate; other servers know buckets by path.
    let style = if given.is_some() || bucket.contains('.') { UrlStyle::Path } else { UrlStyle::VirtualHost };
    let endpoint = given.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let endpoint = Url::parse(&endpoint).with_context(|| {
        format!("AWS_ENDPOINT_URL: {endpoint} is no URL; write for example http://127.0.0.1:9000")
    })?;
    let secret = (set(&["AWS_ACCESS_KEY_ID"]), set(&["AWS_SECRET_ACCESS_KEY"]), set(&["AWS_SESSION_TOKEN"]));
    let credentials = match secret {
        (Some(id), Some(secret), Some(token)) => Some(Credentials::new_with_token(id, secret, token)),
        (Some(id), Some(secret), None) => Some(Credentials::new(id, secret)),
        (None, None, _) => None,
        _ => bail!("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together; one of them is not set"),
    };
    let bucket = Bucket::new(endpoint, style, bucket.to_owned(), region)
        .with_context(|| format!("{text}: there can be no such bucket"))?;
    Ok(Object { name: text.to_owned(), place: Place::S3 { bucket, key: key.to_owned(), credentials } })
}

/// `Name=value,Name=value`, percent-encoded as in OTEL_EXPORTER_OTLP_HEADERS.
fn headers(text: &str) -> anyhow::Result<Vec<(HeaderName, HeaderValue)>> {
    // What is wrong with it may be a secret.
    let wrong = || format!("{HEADERS} is a list like Authorization=Bearer%20TOKEN,x-ms-blob-type=BlockBlob");
    let one = |(name, value): (String, String)| {
        let mut value = HeaderValue::from_str(&value).ok().with_context(wrong)?;
        value.set_sensitive(true);
        Ok((name.parse::<HeaderName>().ok().with_context(wrong)?, value))
    };
    header_pairs(text).with_context(wrong)?.into_iter().map(one).collect()
}

/// Runs a few requests to their end.
fn blocking<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    crate::traces::install_crypto_provider();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime for object storage")?;
    runtime.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpListener;
    use std::sync::{Arc, Mutex};

    /// Storage with one object: what requests it saw, and what is there. `others` are writers who were faster, one for each PUT.
    struct Storage {
        seen: Vec<String>,
        object: Option<String>,
        version: u32,
        others: Vec<String>,
        refuses: Option<u16>,
    }

    impl Storage {
        fn answer(&mut self, head: &str, body: &str) -> (u16, String, String) {
            self.seen.push(head.to_owned());
            let tag = |version: u32| format!("etag: \"v{version}\"\r\n");
            if let Some(status) = self.refuses {
                return (status, String::new(), "<Error><Code>AccessDenied</Code></Error>".into());
            }
            if head.starts_with("GET") {
                return match &self.object {
                    Some(text) => (200, tag(self.version), text.clone()),
                    None => (404, String::new(), "<Error><Code>NoSuchKey</Code></Error>".into()),
                };
            }
            if let Some(line) = self.others.pop() {
                self.object = Some(self.object.take().unwrap_or_default() + &line);
                self.version += 1;
            }
            let held = match &self.object {
                Some(_) => head.contains(&format!("if-match: \"v{}\"", self.version)),
                None => head.contains("if-none-match: *"),
            };
            if !held {
                return (412, String::new(), String::new());
            }
            self.object = Some(body.to_owned());
            self.version += 1;
            (200, tag(self.version), String::new())
        }
    }

    fn serve(storage: Storage) -> (String, Arc<Mutex<Storage>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let storage = Arc::new(Mutex::new(storage));
        let kept = Arc::clone(&storage);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = String::new();
                while reader.read_line(&mut head).unwrap() > 2 {}
                let length = head.lines().find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
                });
                let mut body = vec![0; length.unwrap_or(0)];
                reader.read_exact(&mut body).unwrap();
                let (status, headers, text) =
                    kept.lock().unwrap().answer(&head, std::str::from_utf8(&body).unwrap());
                let length = text.len();
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status} X\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n{text}"
                );
            }
        });
        (base, storage)
    }

    fn storage(object: Option<&str>, others: &[&str]) -> Storage {
        let others = others.iter().map(|line| (*line).to_owned()).collect();
        Storage { seen: Vec::new(), object: object.map(str::to_owned), version: 1, others, refuses: None }
    }

    fn at(name: &str, variables: &[(&str, &str)]) -> anyhow::Result<Option<Object>> {
        let env = |wanted: &str| {
            variables.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned())
        };
        Object::named(Path::new(name), &env)
    }

    #[test]
    fn lines_are_added_by_condition_and_nobody_is_overwritten() {
        let (base, seen) = serve(storage(None, &["theirs 2\n", "theirs 1\n"]));
        let variables = [
            ("AWS_ENDPOINT_URL", base.as_str()),
            ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWS_REGION", "eu-central-1"),
        ];
        let object = at("s3://perf/shop/history.jsonl", &variables).unwrap().unwrap();
        assert!(object.read().unwrap().is_none());
        object.append("ours\n").unwrap();
        assert_eq!(object.read().unwrap().unwrap(), b"theirs 1\ntheirs 2\nours\n");
        let seen = seen.lock().unwrap();
        let first = &seen.seen[0];
        assert!(
            first.starts_with("GET /perf/shop/history.jsonl?X-Amz-Algorithm=AWS4-HMAC-SHA256"),
            "{first}"
        );
        assert!(first.contains("%2Feu-central-1%2Fs3%2Faws4_request"), "{first}");
        assert_eq!(seen.seen.iter().filter(|head| head.starts_with("PUT")).count(), 3);
    }

    #[test]
    fn a_torn_line_is_ended_and_headers_are_sent_to_a_plain_url() {
        let (base, seen) = serve(storage(Some("torn"), &[]));
        let variables = [(HEADERS, "Authorization=Bearer%20abc,x-ms-blob-type=BlockBlob")];
        let object = at(&format!("{base}/c/h.jsonl?sig=s3cret"), &variables).unwrap().unwrap();
        assert_eq!(object.name(), format!("{base}/c/h.jsonl"), "a signature is no part of the name");
        object.append("ours\n").unwrap();
        let seen = seen.lock().unwrap();
        assert_eq!(seen.object.as_deref(), Some("torn\nours\n"));
        assert!(seen.seen.iter().all(|head| head.contains("authorization: Bearer abc")
            && head.contains("x-ms-blob-type: BlockBlob")
            && head.contains("?sig=s3cret")));
    }

    #[test]
    fn refusals_say_what_to_do_and_show_no_secret() {
        let refusing = || Storage { refuses: Some(403), ..storage(None, &[]) };
        let (base, _) = serve(refusing());
        let without = at("s3://b/k", &[("AWS_ENDPOINT_URL_S3", &base)]).unwrap().unwrap();
        let error = without.append("x\n").unwrap_err().to_string();
        assert_eq!(
            error,
            "cannot read s3://b/k: HTTP status 403 (AccessDenied); there are no credentials: set AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        );
        let plain = at(&format!("{base}/h?sig=s3cret"), &[]).unwrap().unwrap();
        let error = format!("{:#}", plain.append("x\n").unwrap_err());
        assert!(error.contains("HOTSPAN_HISTORY_HEADERS") && !error.contains("s3cret"), "{error}");
        let nobody = at("http://127.0.0.1:9/h?sig=s3cret", &[]).unwrap().unwrap();
        let error = format!("{:#}", nobody.read().unwrap_err());
        assert!(
            error.starts_with("http://127.0.0.1:9/h cannot be reached") && !error.contains("s3cret"),
            "{error}"
        );
    }

    #[test]
    fn what_is_an_object_and_what_a_file() {
        for path in ["perf/history.jsonl", "s3", "http.jsonl", "C:/history.jsonl"] {
            assert!(at(path, &[]).unwrap().is_none(), "{path}");
        }
        for (name, problem) in [
            ("s3://", "names no object"),
            ("s3://bucket", "names no object"),
            ("s3://bucket/folder/", "names no object"),
        ] {
            let error = at(name, &[]).unwrap_err().to_string();
            assert!(error.contains(problem), "{name}: {error}");
        }
        let half = at("s3://b/k", &[("AWS_ACCESS_KEY_ID", "x")]).unwrap_err().to_string();
        assert!(half.contains("go together"), "{half}");
        let header = at("https://h/k", &[(HEADERS, "s3cret")]).unwrap_err().to_string();
        assert!(header.contains("is a list like") && !header.contains("s3cret"), "{header}");
    }
}
