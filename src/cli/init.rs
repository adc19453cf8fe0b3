//! `hotspan init URL`: a first scenario, by asking the server a few GETs. It goes to that host alone, at most a dozen times, and
//! follows nothing.

use super::args::InitArgs;
use super::exit::{Exit, root};
use super::import::write;
use crate::scenario::import::{Draft, DraftStep, Format, Imported, import, literal_url};
use crate::traces::install_crypto_provider;
use anyhow::{Context, anyhow, bail};
use std::time::Duration;
use url::Url;

/// Where services put their description.
const DESCRIPTIONS: [&str; 4] = ["/openapi.json", "/v3/api-docs", "/api/openapi.json", "/openapi.yaml"];
/// Links of a page that become steps.
const MOST_LINKS: usize = 8;
/// Of a body that is larger only the beginning is read.
const MOST_BYTES: usize = 4 << 20;

/// Runs the command.
pub fn run(args: &InitArgs) -> anyhow::Result<Exit> {
    install_crypto_provider();
    let url = Url::parse(&args.url)
        .with_context(|| format!("{:?} is no URL, e.g. http://127.0.0.1:8080", args.url))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        bail!("{} is no http or https URL", args.url);
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("cannot start")?;
    let imported = runtime.block_on(look_around(&url))?;
    write(&imported, args.out.as_deref())
}

/// An answer, as far as it matters here.
struct Seen {
    status: u16,
    kind: String,
    body: String,
}

async fn look_around(url: &Url) -> anyhow::Result<Imported> {
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(Duration::from_secs(10))
        .user_agent(concat!("hotspan/", env!("CARGO_PKG_VERSION")))
        .build()
        .context("cannot make requests")?;
    let first = get(&client, url.clone()).await.map_err(|error| {
        anyhow!("{url} does not answer ({}); start the service, or correct the address", root(&*error))
    })?;
    let target = url.origin().ascii_serialization();
    if Format::of(&first.body) == Some(Format::OpenApi) {
        return described(&first.body, &target);
    }
    for path in DESCRIPTIONS {
        let Ok(place) = url.join(path) else { continue };
        let Ok(seen) = get(&client, place).await else { continue };
        if seen.status == 200 && Format::of(&seen.body) == Some(Format::OpenApi) {
            return described(&seen.body, &target);
        }
    }
    drafted(url, &first, &target).finish().map_err(anyhow::Error::msg)
}

fn described(text: &str, target: &str) -> anyhow::Result<Imported> {
    // Where the description says another host, the one that was asked for is meant; its path stays.
    let mut imported = import(text, Format::OpenApi, None).map_err(anyhow::Error::msg)?;
    let line = imported.yaml.lines().find(|l| l.starts_with("target: ")).unwrap_or_default().to_string();
    let named = line.trim_start_matches("target: ").trim_matches('"');
    let path = Url::parse(named).map(|u| u.path().trim_end_matches('/').to_string()).unwrap_or_default();
    imported.yaml = imported.yaml.replacen(&line, &format!("target: \"{target}{path}\""), 1);
    imported.notes.retain(|note| !note.contains("put it under `target`"));
    Ok(imported)
}

fn drafted(url: &Url, first: &Seen, target: &str) -> Draft {
    let mut draft = Draft {
        name: url.host_str().unwrap_or("service").to_string(),
        target: Some(target.to_string()),
        load: "load:\n  - {users: 5, ramp: 5s, for: 30s}\n".to_string(),
        ..Draft::default()
    };
    let place = |url: &Url| literal_url(&url[url::Position::BeforePath..]);
    let step = |url: &str, status: Option<u16>| DraftStep {
        method: "GET".to_string(),
        url: url.to_string(),
        status,
        ..DraftStep::default()
    };
    let mut steps = vec![step(&place(url), Some(first.status).filter(|s| *s < 400))];
    if first.status >= 400 {
        draft.note(format!("{url} answered with {}: is it the right place?", first.status));
    }
    if first.kind.contains("html") {
        for link in links(url, &first.body) {
            let path = place(&link);
            if steps.len() <= MOST_LINKS && !steps.iter().any(|s| s.url == path) {
                steps.push(step(&path, None));
            }
        }
        let forms = first.body.matches("<form").count();
        if forms > 0 {
            draft.note(format!(
                "the page has {forms} forms, which were not tried: write their steps with `form`"
            ));
        }
    }
    draft.thresholds = vec!["latency.p95 < 500ms".to_string(), "error_rate < 1%".to_string()];
    draft.journeys.push(("visit".to_string(), 1, Some("1s..3s".to_string()), steps));
    draft
}

/// Links of a page to the same host, in the page's order.
fn links(base: &Url, page: &str) -> Vec<Url> {
    let Ok(selector) = scraper::Selector::parse("a[href]") else { return Vec::new() };
    let page = scraper::Html::parse_document(page);
    page.select(&selector)
        .filter_map(|a| base.join(a.value().attr("href")?).ok())
        .filter(|link| link.origin() == base.origin())
        // Nobody wants to be logged out, or to delete something, by a look around.
        .filter(|link| {
            !["logout", "signout", "delete", "remove"].iter().any(|w| link.path().to_lowercase().contains(w))
        })
        .map(|mut link| {
            link.set_fragment(None);
            link
        })
        .collect()
}

async fn get(client: &reqwest::Client, url: Url) -> anyhow::Result<Seen> {
    let mut answer = client.get(url).send().await?;
    let status = answer.status().as_u16();
    let kind =
        answer.headers().get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_string();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > MOST_BYTES {
            body.truncate(MOST_BYTES);
            break;
        }
    }
    Ok(Seen { status, kind, body: String::from_utf8_lossy(&body).into_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead as _, BufReader, Write as _};

    /// Answers a few requests by path.
    fn server(
        answer: fn(&str) -> (u16, &'static str, &'static str),
    ) -> (Url, std::thread::JoinHandle<Vec<String>>) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
        listener.set_nonblocking(false).unwrap();
        let running = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for _ in 0..12 {
                let Ok((mut stream, _)) = listener.accept() else { break };
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let Some(Ok(first)) = lines.next() else { break };
                let path = first.split(' ').nth(1).unwrap_or_default().to_string();
                if path == "/stop" {
                    break;
                }
                while lines.next().is_some_and(|l| l.is_ok_and(|l| !l.is_empty())) {}
                let (status, kind, body) = answer(&path);
                write!(stream, "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).unwrap();
                asked.push(path);
            }
            asked
        });
        (url, running)
    }

    fn looked(answer: fn(&str) -> (u16, &'static str, &'static str)) -> (Imported, Vec<String>) {
        install_crypto_provider();
        let (url, running) = server(answer);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let imported = runtime.block_on(look_around(&url)).unwrap();
        let mut stream = std::net::TcpStream::connect(url.socket_addrs(|| None).unwrap()[0]).unwrap();
        write!(stream, "GET /stop HTTP/1.1\r\n\r\n").unwrap();
        let asked = running.join().unwrap();
        crate::scenario::parse(&imported.yaml, "init.yaml")
            .unwrap_or_else(|e| panic!("{e}\n{}", imported.yaml));
        (imported, asked)
    }

    #[test]
    fn links_of_the_first_page_become_steps() {
        let (imported, asked) = looked(|path| match path {
            "/" => (
                200,
                "text/html",
                "<a href='/products?page=1#x'>p</a> <a href='/logout'>l</a> <a href='http://other.example/'>o</a> <form></form>",
            ),
            _ => (404, "text/plain", "no"),
        });
        assert!(imported.yaml.contains("get: \"/products?page=1\""), "{}", imported.yaml);
        assert!(!imported.yaml.contains("logout") && !imported.yaml.contains("other.example"));
        assert!(imported.notes.iter().any(|n| n.contains("1 forms")));
        assert_eq!(asked.len(), 1 + DESCRIPTIONS.len());
    }

    #[test]
    fn a_description_is_taken_where_there_is_one() {
        let (imported, asked) = looked(|path| match path {
            "/openapi.json" => (
                200,
                "application/json",
                r#"{"openapi": "3.0.0", "info": {"title": "Pets"}, "servers": [{"url": "https://elsewhere.example/v1"}], "paths": {"/pets": {"get": {"responses": {"200": {}}}}}}"#,
            ),
            _ => (200, "application/json", "{}"),
        });
        assert_eq!(asked, ["/", "/openapi.json"]);
        assert!(
            imported.yaml.contains("get: \"/pets\"") && imported.yaml.contains("/v1\""),
            "{}",
            imported.yaml
        );
        assert!(!imported.yaml.contains("elsewhere.example"));
    }
}
