//! Compressed bodies: what they become, within bounds. It is done after the last byte has come, so that hotspan's own work is
//! never part of a latency.

use crate::scenario::Coding;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::{self, Read};

/// Most compressions on top of each other.
const MOST_LAYERS: usize = 4;
/// Largest window of zstd, as for all of the web (RFC 9659): 8 MiB.
const MOST_WINDOW_LOG: u32 = 23;

/// What a body became.
#[derive(Debug, PartialEq)]
pub struct Decoded {
    /// The first bytes.
    pub kept: Vec<u8>,
    /// All of them; unknown where not all of the body was there.
    pub size: Option<u64>,
}

/// What is kept of a body, and how large it may become.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes that are kept.
    pub keep: usize,
    /// More than this is refused.
    pub most: u64,
    /// Whether what is given is only the beginning.
    pub is_cut: bool,
}

/// Decompresses a body by its `content-encoding`; nothing where it names nothing that is known.
///
/// # Errors
/// A sentence, when the body is not what it says, or becomes too large.
pub fn decode(codings: &str, raw: &[u8], bounds: Bounds) -> Result<Option<Decoded>, String> {
    let named =
        codings.split(',').map(str::trim).filter(|c| !c.is_empty() && !c.eq_ignore_ascii_case("identity"));
    let layers: Option<Vec<Coding>> = named.map(Coding::named).collect();
    let Some(layers) = layers.filter(|layers| !layers.is_empty() && !raw.is_empty()) else { return Ok(None) };
    if layers.len() > MOST_LAYERS {
        return Err(format!("a body that is compressed more than {MOST_LAYERS} times"));
    }
    let mut reader: Box<dyn Read + '_> = Box::new(raw);
    for layer in layers.iter().rev() {
        reader = layered(*layer, reader, raw).map_err(|e| broken(codings, &e))?;
    }
    let (mut kept, mut size) = (Vec::new(), 0u64);
    let mut buffer = [0; 16 << 10];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(Some(Decoded { kept, size: (!bounds.is_cut).then_some(size) })),
            Ok(count) => {
                size += count as u64;
                let room = bounds.keep.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
                if size > bounds.most {
                    return Err(format!(
                        "a body that becomes more than {} bytes (http.max_decoded)",
                        bounds.most
                    ));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if bounds.is_cut => return Ok(Some(Decoded { kept, size: None })),
            Err(error) => return Err(broken(codings, &error)),
        }
    }
}

fn broken(codings: &str, error: &io::Error) -> String {
    let shown: String = codings.chars().take(40).collect();
    format!("a body that is no whole {shown}: {error}")
}

fn layered<'a>(coding: Coding, inner: Box<dyn Read + 'a>, raw: &[u8]) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match coding {
        Coding::Gzip => Box::new(MultiGzDecoder::new(inner)),
        // The name means zlib's form; servers that send what is inside it are old and still there.
        Coding::Deflate if is_zlib(raw) => Box::new(ZlibDecoder::new(inner)),
        Coding::Deflate => Box::new(DeflateDecoder::new(inner)),
        Coding::Brotli => Box::new(brotli_decompressor::Decompressor::new(inner, 4 << 10)),
        Coding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(inner)?;
            decoder.window_log_max(MOST_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

fn is_zlib(raw: &[u8]) -> bool {
    matches!(raw, [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([*first, *second]).is_multiple_of(31))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    const ALL: Bounds = Bounds { keep: usize::MAX, most: 1 << 20, is_cut: false };
    /// "hello hello hello hello\n" by the brotli tool.
    const BROTLI: &[u8] = &[
        0x1b, 0x17, 0x00, 0xf8, 0x8d, 0x94, 0x6e, 0xde, 0x44, 0x55, 0x86, 0xd6, 0x0a, 0x20, 0x6c, 0x6f, 0x4a,
        0x11, 0x79, 0xe2, 0x80, 0xae, 0x16,
    ];

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn kept(codings: &str, raw: &[u8]) -> Vec<u8> {
        let decoded = decode(codings, raw, ALL).unwrap().unwrap();
        assert_eq!(decoded.size, Some(decoded.kept.len() as u64));
        decoded.kept
    }

    #[test]
    fn every_coding_becomes_what_it_was() {
        let plain = b"some text that is some text".repeat(20);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::default());
        zlib.write_all(&plain).unwrap();
        let mut bare = DeflateEncoder::new(Vec::new(), Compression::default());
        bare.write_all(&plain).unwrap();
        let zstd = zstd::stream::encode_all(plain.as_slice(), 3).unwrap();
        assert_eq!(kept("gzip", &gzip(&plain)), plain);
        assert_eq!(kept("X-Gzip", &gzip(&plain)), plain);
        assert_eq!(kept("deflate", &zlib.finish().unwrap()), plain);
        assert_eq!(kept("deflate", &bare.finish().unwrap()), plain);
        assert_eq!(kept("zstd", &zstd), plain);
        assert_eq!(kept("identity, zstd, gzip", &gzip(&zstd)), plain, "the last was put on last");
        assert_eq!(kept("gzip", &[gzip(b"one "), gzip(b"two")].concat()), b"one two");
        for (codings, raw) in [("identity", &b"x"[..]), ("", b"x"), ("compress", b"x"), ("gzip", b"")] {
            assert_eq!(decode(codings, raw, ALL), Ok(None), "{codings}");
        }
    }

    #[test]
    fn what_is_broken_is_refused() {
        let whole = gzip(b"text text text text text");
        for (codings, raw) in [
            ("gzip", &whole[..whole.len() - 5]),
            ("gzip", b"plain text"),
            ("zstd", b"plain text"),
            ("br", &[0xff; 40]),
            ("deflate", &[0x78, 0x9c, 0xff, 0xff]),
        ] {
            let why = decode(codings, raw, ALL).unwrap_err();
            assert!(why.contains("no whole") && why.contains(codings), "{why}");
        }
        assert!(decode("gzip,gzip,gzip,gzip,gzip", &whole, ALL).unwrap_err().contains("more than 4"));
        let cut = decode("gzip", &whole[..whole.len() - 9], Bounds { is_cut: true, ..ALL }).unwrap().unwrap();
        assert_eq!(cut.size, None);
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let bomb = gzip(&gzip(&vec![0; 50 << 20]));
        let bounds = Bounds { keep: 1_000, most: 1 << 20, is_cut: false };
        assert!(bomb.len() < 10_000);
        let why = decode("gzip, gzip", &bomb, bounds).unwrap_err();
        assert_eq!(why, "a body that becomes more than 1048576 bytes (http.max_decoded)");
        let kept = decode("gzip", &gzip(&[7; 5_000]), bounds).unwrap().unwrap();
        assert_eq!((kept.kept.len(), kept.size), (1_000, Some(5_000)));
    }

    #[test]
    fn brotli_is_read() {
        let decoded = decode("br", BROTLI, ALL);
        assert_eq!(decoded.unwrap().unwrap().kept, b"hello hello hello hello\n");
    }
}
