//! Undoing compression within limits. What comes out is never larger than a message may be, and what is needed on the
//! way (output, zstd's window) is taken from the budget before it is allocated.

use super::body::{BodyError, Budget, Share, work};
use bytes::Bytes;
use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::fmt;
use std::io::{self, Read};

/// Output grows by this much at a time.
const STEP: usize = 256 << 10;
/// Windows up to this size are always allowed: RFC 8878 asks decoders for 8 MiB.
const USUAL_WINDOW: u64 = 8 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// How a message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
    Deflate,
}

impl Packing {
    /// From a header's value in lower case.
    pub fn from_name(name: &str) -> Option<Packing> {
        match name {
            "" | "identity" => Some(Packing::None),
            "gzip" | "x-gzip" => Some(Packing::Gzip),
            "zstd" => Some(Packing::Zstd),
            // HTTP's name for zlib, and zlib's own, as some exporters have it.
            "deflate" | "zlib" => Some(Packing::Deflate),
            _ => None,
        }
    }
}

impl fmt::Display for Packing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Packing::None => "identity",
            Packing::Gzip => "gzip",
            Packing::Zstd => "zstd",
            Packing::Deflate => "deflate",
        })
    }
}

/// The message without its compression.
pub(super) async fn unpack(
    packing: Packing,
    packed: Bytes,
    max: usize,
    budget: &Budget,
    mut share: Share,
) -> Result<(Bytes, Share), BodyError> {
    if packing == Packing::None {
        return Ok((packed, share));
    }
    let budget = budget.clone();
    work(packed.len(), move || {
        let held = share.bytes();
        let fault = |error: io::Error| BodyError::NotPacked(packing, error.to_string());
        let out = match packing {
            Packing::None => return Ok((packed, share)),
            Packing::Gzip => {
                let mut decoder = MultiGzDecoder::new(&packed[..]);
                drain(&mut decoder, packed.len(), max, held, &budget, &mut share, fault)?
            }
            // Most senders mean zlib by "deflate", as HTTP does; some send the bare stream.
            Packing::Deflate if is_zlib(&packed) => {
                let mut decoder = ZlibDecoder::new(&packed[..]);
                drain(&mut decoder, packed.len(), max, held, &budget, &mut share, fault)?
            }
            Packing::Deflate => {
                let mut decoder = DeflateDecoder::new(&packed[..]);
                drain(&mut decoder, packed.len(), max, held, &budget, &mut share, fault)?
            }
            Packing::Zstd => {
                let window = zstd_window(&packed).map_err(|why| BodyError::NotPacked(packing, why.into()))?;
                let allowed = USUAL_WINDOW.max(max as u64);
                if window > allowed {
                    return Err(BodyError::TooLarge);
                }
                let held = held + window as usize;
                budget.grow_now(&mut share, held)?;
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&packed[..]).map_err(fault)?;
                // Holds for the frames after the first too. A frame may be a little above the next power of two.
                let log = u64::BITS - (allowed - 1).leading_zeros();
                decoder.window_log_max(log.clamp(10, 30)).map_err(fault)?;
                drain(&mut decoder, packed.len(), max, held, &budget, &mut share, fault)?
            }
        };
        share.shrink(held.max(out.len()));
        Ok((Bytes::from(out), share))
    })
    .await
    .unwrap_or_else(|| Err(BodyError::Broken("unpacking was given up".into())))
}

/// Reads a decoder to its end.
fn drain(
    decoder: &mut impl Read,
    packed: usize,
    max: usize,
    held: usize,
    budget: &Budget,
    share: &mut Share,
    fault: impl Fn(io::Error) -> BodyError,
) -> Result<Vec<u8>, BodyError> {
    let mut out = Vec::with_capacity((packed * 4).min(max).min(STEP));
    loop {
        let before = out.len();
        // One byte more than allowed shows that there is more.
        let step = STEP.min(max + 1 - before);
        decoder.by_ref().take(step as u64).read_to_end(&mut out).map_err(&fault)?;
        if out.len() > max {
            return Err(BodyError::TooLarge);
        }
        budget.grow_now(share, held + out.capacity())?;
        if out.len() == before {
            return Ok(out);
        }
    }
}

/// Whether bytes begin with zlib's header (RFC 1950).
fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [cmf, flags, ..]
        if cmf & 0xf == 8 && cmf >> 4 <= 7 && (u16::from(*cmf) << 8 | u16::from(*flags)).is_multiple_of(31))
}

/// Window that the first frame asks for, in bytes (RFC 8878, section 3.1.1). It is allocated before anything comes out,
/// so it must be known before.
fn zstd_window(packed: &[u8]) -> Result<u64, &'static str> {
    const SHORT: &str = "the frame's header is cut off";
    let Some(rest) = packed.strip_prefix(&ZSTD_MAGIC) else {
        // A skippable frame may come first; the limit of the decoder holds for what follows.
        let skippable = matches!(packed, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        return if skippable { Ok(USUAL_WINDOW) } else { Err("there is no frame's magic number") };
    };
    let (&descriptor, rest) = rest.split_first().ok_or(SHORT)?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let &window = rest.first().ok_or(SHORT)?;
        let base = 1u64 << (10 + (window >> 3));
        return Ok(base + base / 8 * u64::from(window & 7));
    }
    // The whole content is the window.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let width = [1, 2, 4, 8][usize::from(descriptor >> 6)];
    let bytes = rest.get(dictionary..dictionary + width).ok_or(SHORT)?;
    let mut size = [0; 8];
    size[..width].copy_from_slice(bytes);
    Ok(u64::from_le_bytes(size) + if width == 2 { 256 } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use std::io::Write;

    fn pack(packing: Packing, bytes: &[u8]) -> Bytes {
        let level = Compression::best();
        let packed = match packing {
            Packing::None => bytes.to_vec(),
            Packing::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Packing::Zstd => {
                // As a stream: the size is not in the frame's header, the window is.
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        };
        packed.into()
    }

    async fn length(packing: Packing, packed: Bytes, max: usize) -> Result<usize, BodyError> {
        let (out, share) = unpack(packing, packed, max, &Budget::new(64 << 20), Share::default()).await?;
        assert!(share.bytes() >= out.len() || packing == Packing::None);
        Ok(out.len())
    }

    #[tokio::test]
    async fn a_bomb_is_stopped_at_the_limit_in_every_packing() {
        let limit = 1 << 20;
        for packing in [Packing::Gzip, Packing::Zstd, Packing::Deflate] {
            let bomb = pack(packing, &vec![0; 32 << 20]);
            assert!(bomb.len() < 100_000, "{packing}");
            assert_eq!(length(packing, bomb, limit).await, Err(BodyError::TooLarge), "{packing}");
            assert_eq!(length(packing, pack(packing, &vec![7; limit]), limit).await, Ok(limit));
            assert_eq!(length(packing, pack(packing, b""), limit).await, Ok(0));
            let plain = length(packing, Bytes::from_static(b"plain text"), limit).await;
            assert!(matches!(plain, Err(BodyError::NotPacked(..))), "{packing} {plain:?}");
            let whole = pack(packing, b"some text that is long enough to be cut");
            let torn = length(packing, whole.slice(..whole.len() - 7), limit).await;
            assert!(matches!(torn, Err(BodyError::NotPacked(..))), "{packing} {torn:?}");
        }
    }

    #[tokio::test]
    async fn bare_deflate_and_frames_with_their_size_are_read() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(b"bare").unwrap();
        let bare = encoder.finish().unwrap();
        assert_eq!(length(Packing::Deflate, bare.into(), 10).await, Ok(4));
        let sized = zstd::bulk::compress(&[1; 5_000], 3).unwrap();
        assert_eq!(zstd_window(&sized), Ok(5_000));
        assert_eq!(length(Packing::Zstd, sized.clone().into(), 5_000).await, Ok(5_000));
        let twice = [sized.clone(), sized].concat();
        assert_eq!(length(Packing::Zstd, twice.clone().into(), 10_000).await, Ok(10_000));
        assert_eq!(length(Packing::Zstd, twice.into(), 9_999).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_window_beyond_the_limit_is_refused_before_it_is_allocated() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"little").unwrap();
        let little = encoder.finish().unwrap();
        assert_eq!(zstd_window(&little), Ok(1 << 27));
        assert_eq!(length(Packing::Zstd, little.into(), 1 << 20).await, Err(BodyError::TooLarge));
        // 2^41 + 7/8: the largest that a header can ask for.
        let largest = [&ZSTD_MAGIC[..], &[0, 0xff]].concat();
        assert_eq!(zstd_window(&largest), Ok((1 << 41) + (1 << 38) * 7));
        let claimed = [&ZSTD_MAGIC[..], &[0xe0], &[0xff; 8]].concat();
        assert_eq!(length(Packing::Zstd, claimed.into(), 1 << 20).await, Err(BodyError::TooLarge));
        // The budget is asked first, and a full one is the sender's to wait for.
        let packed = pack(Packing::Gzip, &vec![0; 1 << 20]);
        let tight = Budget::new(1);
        let busy = unpack(Packing::Gzip, packed, 2 << 20, &tight, Share::default()).await;
        assert_eq!(busy.map(|_| ()), Err(BodyError::Busy));
    }
}
