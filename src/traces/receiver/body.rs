//! Reading request bodies within limits: size before and after decompression, time, and memory over all requests.

use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http_body::Body;
use http_body_util::BodyExt;
use std::fmt::Display;
use std::io::Read;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Unit of the budget.
const UNIT: usize = 64 << 10;
/// Work on more bytes than this goes to a thread that may block.
const LARGE: usize = 512 << 10;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Larger than a message may be.
    TooLarge,
    /// Too much is under way already.
    Busy,
    /// The peer stopped sending.
    Stalled,
    /// The connection broke.
    Broken(String),
    /// It is not gzip.
    Gzip(String),
}

/// Memory for bodies, over all requests.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

/// A request's share of the budget; given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    bytes: usize,
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new((bytes.div_ceil(UNIT) + 1).min(Semaphore::MAX_PERMITS))))
    }

    /// Makes a share hold as many bytes, or fails at once: waiting could lock two half-read requests against each other.
    pub fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), BodyError> {
        let units = bytes.div_ceil(UNIT) - share.bytes.div_ceil(UNIT).min(bytes.div_ceil(UNIT));
        if units > 0 {
            let units = u32::try_from(units).map_err(|_| BodyError::Busy)?;
            let more = self.0.clone().try_acquire_many_owned(units).map_err(|_| BodyError::Busy)?;
            match &mut share.permit {
                Some(permit) => permit.merge(more),
                None => share.permit = Some(more),
            }
        }
        share.bytes = share.bytes.max(bytes);
        Ok(())
    }
}

/// Reads a body to its end.
pub(super) async fn read<B>(
    mut body: B,
    max: usize,
    budget: &Budget,
    share: &mut Share,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    if body.size_hint().lower() > max as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut len = 0;
    loop {
        let frame =
            tokio::time::timeout(super::SILENCE, body.frame()).await.map_err(|_| BodyError::Stalled)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        len += data.len();
        if len > max {
            return Err(BodyError::TooLarge);
        }
        budget.grow(share, len)?;
        match &first {
            None if !data.is_empty() => first = Some(data),
            None => {}
            Some(head) => {
                if rest.is_empty() {
                    rest.reserve(body.size_hint().lower().min(max as u64) as usize + len);
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    // A body that came in one piece is not copied.
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
}

/// Unpacks gzip. The limit holds for what comes out: a small bomb must not become a large message.
pub(super) async fn gunzip(
    packed: Bytes,
    max: usize,
    budget: &Budget,
    mut share: Share,
) -> Result<(Bytes, Share), BodyError> {
    let budget = budget.clone();
    let held = share.bytes;
    work(packed.len(), move || {
        let mut decoder = MultiGzDecoder::new(&packed[..]);
        let mut out = Vec::with_capacity((packed.len() * 4).min(max));
        loop {
            let before = out.len();
            let step = (256 << 10).min(max + 1 - before);
            decoder
                .by_ref()
                .take(step as u64)
                .read_to_end(&mut out)
                .map_err(|error| BodyError::Gzip(error.to_string()))?;
            if out.len() > max {
                return Err(BodyError::TooLarge);
            }
            budget.grow(&mut share, held + out.len())?;
            if out.len() == before {
                return Ok((Bytes::from(out), share));
            }
        }
    })
    .await
    .unwrap_or_else(|| Err(BodyError::Broken("unpacking was given up".into())))
}

/// Runs something that takes time with the size of its input: small things here, large ones where they may block.
/// `None` where it panicked or the runtime is shutting down.
pub(super) async fn work<T: Send + 'static>(
    size: usize,
    f: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if size <= LARGE { Some(f()) } else { tokio::task::spawn_blocking(f).await.ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::{BodyExt, Full, StreamBody};
    use std::io::Write;

    fn pack(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[tokio::test]
    async fn bodies_are_read_up_to_the_limit() {
        let budget = Budget::new(1 << 20);
        let mut share = Share::default();
        let whole = read(Full::new(Bytes::from_static(b"12345")), 5, &budget, &mut share).await;
        assert_eq!(whole, Ok(Bytes::from_static(b"12345")));
        let large = read(Full::new(Bytes::from_static(b"123456")), 5, &budget, &mut share).await;
        assert_eq!(large, Err(BodyError::TooLarge));
        let chunks = || {
            let chunks =
                ["ab", "", "cd", "e"].map(|c| Ok::<_, String>(http_body::Frame::data(Bytes::from(c))));
            StreamBody::new(tonic::codegen::tokio_stream::iter(chunks)).boxed()
        };
        assert_eq!(read(chunks(), 5, &budget, &mut share).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(read(chunks(), 4, &budget, &mut share).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn a_bomb_is_stopped_at_the_limit() {
        let budget = Budget::new(64 << 20);
        let bomb = pack(&vec![0; 8 << 20]);
        assert!(bomb.len() < 100_000);
        let limit = 1 << 20;
        let stopped = gunzip(bomb, limit, &budget, Share::default()).await;
        assert_eq!(stopped.map(|_| ()), Err(BodyError::TooLarge));
        let exact = gunzip(pack(&vec![7; limit]), limit, &budget, Share::default()).await.unwrap();
        assert_eq!((exact.0.len(), exact.1.bytes), (limit, limit));
        let not_gzip = gunzip(Bytes::from_static(b"plain"), limit, &budget, Share::default()).await;
        assert!(matches!(not_gzip, Err(BodyError::Gzip(_))));
        let torn = pack(b"some text").slice(..20);
        assert!(matches!(gunzip(torn, limit, &budget, Share::default()).await, Err(BodyError::Gzip(_))));
    }

    #[test]
    fn the_budget_is_shared_and_given_back() {
        let budget = Budget::new(10 * UNIT);
        let (mut one, mut two) = (Share::default(), Share::default());
        budget.grow(&mut one, 6 * UNIT).unwrap();
        budget.grow(&mut one, 6 * UNIT - 5).unwrap();
        assert_eq!(budget.grow(&mut two, 6 * UNIT), Err(BodyError::Busy));
        budget.grow(&mut two, 5 * UNIT).unwrap();
        drop(one);
        budget.grow(&mut two, 11 * UNIT).unwrap();
    }
}
