//! `GET /static/{path}`: files from a directory. Healthy, each is compressed once; under the static_by_app fault for every
//! request, on the way of that request.

use super::super::database::seed::SplitMix;
use super::super::error::DemoError;
use super::super::fault::Fault;
use super::{Failure, Shop};
use axum::extract::{Path as PathOf, State};
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use tracing::{Instrument, info_span};

/// Name, media type and size of the files that the shop brings along.
const FILES: [(&str, &str, usize); 2] =
    [("app.js", "text/javascript", 1_000_000), ("style.css", "text/css", 20_000)];

struct File {
    path: PathBuf,
    media_type: &'static str,
    plain: Bytes,
    gzip: Bytes,
}

/// The files, ready to send. Only these can be asked for, so no path leads out of the directory.
pub(super) struct Assets(BTreeMap<&'static str, File>);

impl Assets {
    /// Reads the files of a directory; those that are missing are written first.
    pub(super) async fn open(directory: &Path) -> Result<Assets, DemoError> {
        let directory = directory.to_owned();
        let read = tokio::task::spawn_blocking(move || Assets::read(&directory)).await;
        read.map_err(|error| DemoError::Server(std::io::Error::other(error)))?
    }

    fn read(directory: &Path) -> Result<Assets, DemoError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| DemoError::File { path, source }
        };
        std::fs::create_dir_all(directory).map_err(failed(directory))?;
        let mut files = BTreeMap::new();
        for (name, media_type, size) in FILES {
            let path = directory.join(name);
            if !path.exists() {
                std::fs::write(&path, script(size)).map_err(failed(&path))?;
            }
            let plain = std::fs::read(&path).map_err(failed(&path))?;
            let gzip = gzip(&plain).map_err(failed(&path))?;
            files.insert(name, File { path, media_type, plain: plain.into(), gzip: gzip.into() });
        }
        Ok(Assets(files))
    }
}

pub(super) async fn serve_file(
    State(shop): State<Shop>,
    PathOf(path): PathOf<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let file = shop.assets.0.get(path.as_str());
    let file = file.ok_or(Failure::Refused(StatusCode::NOT_FOUND, "no such file"))?;
    let head = [(CONTENT_TYPE, file.media_type), (VARY, "accept-encoding")];
    let takes_gzip = headers.get_all(ACCEPT_ENCODING).iter().any(|value| {
        value.to_str().is_ok_and(|list| list.split(',').any(|coding| coding.trim().starts_with("gzip")))
    });
    if !takes_gzip {
        return Ok((head, file.plain.clone()).into_response());
    }
    let compressed = if shop.faults.is_on(Fault::StaticByApp) {
        compress(file.path.clone()).await?
    } else {
        file.gzip.clone()
    };
    let more = [(CONTENT_ENCODING, "gzip"), (CACHE_CONTROL, "max-age=3600")];
    Ok((head, more, compressed).into_response())
}

/// Reads and compresses a file on a thread of its own, while the request waits.
async fn compress(path: PathBuf) -> Result<Bytes, Failure> {
    let span = info_span!(
        "compress static file",
        otel.kind = "internal",
        "code.function.name" = "hotspan::demo::shop::assets::compress",
        "code.file.path" = file!(),
        "code.line.number" = i64::from(line!()),
    );
    let work = tokio::task::spawn_blocking(move || std::fs::read(&path).and_then(|plain| gzip(&plain)));
    let compressed = work.instrument(span).await?.map_err(|_| Failure::Broken)?;
    Ok(compressed.into())
}

fn gzip(plain: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 4), Compression::default());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// Text that compresses as scripts do, the same each time.
fn script(size: usize) -> String {
    const WORDS: [&str; 12] = [
        "function", "return", "const", "value", "item", "price", "render", "state", "props", "await",
        "basket", "event",
    ];
    let mut random = SplitMix(size as u64);
    let mut text = String::with_capacity(size + 64);
    while text.len() < size {
        let (word, other) = (WORDS[random.below(12) as usize], WORDS[random.below(12) as usize]);
        text.push_str(&format!("{word}_{:x}({other}, {});\n", random.below(4096), random.below(1000)));
    }
    text.truncate(size);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn files_are_written_once_and_compressed_right() {
        let directory = tempfile::tempdir().unwrap();
        let assets = Assets::read(directory.path()).unwrap();
        let file = &assets.0["app.js"];
        assert_eq!(file.plain.len(), 1_000_000);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&file.gzip[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, file.plain);
        std::fs::write(directory.path().join("style.css"), "mine").unwrap();
        assert_eq!(&Assets::read(directory.path()).unwrap().0["style.css"].plain[..], b"mine");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let blocked = directory.path().join("file");
        std::fs::write(&blocked, "").unwrap();
        let error = Assets::read(&blocked.join("static")).err().unwrap().to_string();
        assert!(error.contains("file/static"), "{error}");
    }
}
