//! Reading request bodies within limits: size, time, and memory over all requests.

use super::answer::Language;
use super::unpack::Packing;
use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

/// Unit of the budget.
const UNIT: usize = 64 << 10;
/// Work on more bytes than this goes to a thread that may block.
const LARGE: usize = 512 << 10;
/// How long a request waits for others to give memory back before its sender is told to come back. Bounded, because
/// half-read requests can wait for each other.
const ROOM: Duration = Duration::from_secs(2);
/// A body must come at this rate at least (bytes per second), after twice the patience for its start: a sender of one
/// byte now and then must not hold a place for hours.
const SLOWEST: u64 = 16 << 10;

/// A gRPC message begins with a flag (compressed or not) and its length.
pub(super) const GRPC_PREFIX: usize = 5;
/// Room for this much is taken at once where the message itself says how long it is; beyond, it has to come first.
const BELIEVED: usize = 1 << 20;

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Larger than a message may be.
    TooLarge,
    /// Too much is under way already.
    Busy,
    /// The peer stopped sending, or sends so slowly that it is as good as stopped.
    Stalled,
    /// The connection broke.
    Broken(String),
    /// It is not compressed as was said.
    NotPacked(Packing, String),
}

/// Memory for bodies, over all requests.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<Semaphore>);

/// A request's share of the budget; given back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    permit: Option<OwnedSemaphorePermit>,
    units: usize,
}

impl Share {
    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        self.units * UNIT
    }

    /// Gives back what is beyond `bytes`.
    pub fn shrink(&mut self, bytes: usize) {
        let spare = self.units.saturating_sub(bytes.div_ceil(UNIT));
        if let Some(spare_permit) = self.permit.as_mut().and_then(|permit| permit.split(spare)) {
            drop(spare_permit);
            self.units -= spare;
        }
    }

    fn missing(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).saturating_sub(self.units)
    }

    fn add(&mut self, more: OwnedSemaphorePermit) {
        self.units += more.num_permits();
        match &mut self.permit {
            Some(permit) => permit.merge(more),
            None => self.permit = Some(more),
        }
    }
}

impl Budget {
    pub fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new((bytes.div_ceil(UNIT) + 1).min(Semaphore::MAX_PERMITS))))
    }

    /// Makes a share hold as many bytes, or fails at once.
    pub fn grow_now(&self, share: &mut Share, bytes: usize) -> Result<(), BodyError> {
        let missing = u32::try_from(share.missing(bytes)).map_err(|_| BodyError::Busy)?;
        if missing > 0 {
            share.add(self.0.clone().try_acquire_many_owned(missing).map_err(|_| BodyError::Busy)?);
        }
        Ok(())
    }

    /// Makes a share hold as many bytes, waiting a little for others to give theirs back: the sender is slowed, which is
    /// better than turned away.
    pub async fn grow(&self, share: &mut Share, bytes: usize) -> Result<(), BodyError> {
        if self.grow_now(share, bytes).is_ok() {
            return Ok(());
        }
        let missing = u32::try_from(share.missing(bytes)).map_err(|_| BodyError::Busy)?;
        match timeout(ROOM, self.0.clone().acquire_many_owned(missing)).await {
            Ok(Ok(more)) => share.add(more),
            _ => return Err(BodyError::Busy),
        }
        Ok(())
    }
}

/// How long a body will be, as its first piece says. gRPC has no content length.
fn announced_by(language: Language, first: &[u8]) -> usize {
    match (language, first) {
        (Language::Grpc, [_, a, b, c, d, ..]) => {
            (u32::from_be_bytes([*a, *b, *c, *d]) as usize).saturating_add(GRPC_PREFIX).min(BELIEVED)
        }
        _ => 0,
    }
}

/// Reads a body to its end.
pub(super) async fn read<B>(
    mut body: B,
    language: Language,
    max: usize,
    patience: Duration,
    budget: &Budget,
    share: &mut Share,
) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(BodyError::TooLarge);
    }
    let mut announced = announced as usize;
    budget.grow(share, announced).await?;
    let begin = Instant::now();
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut len = 0;
    loop {
        let now = Instant::now();
        let at_this_rate = begin + 2 * patience + Duration::from_secs(len as u64 / SLOWEST);
        let deadline = at_this_rate.min(now + patience);
        let frame = timeout_at(deadline, body.frame()).await.map_err(|_| BodyError::Stalled)?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        len += data.len();
        if len > max {
            return Err(BodyError::TooLarge);
        }
        budget.grow(share, len).await?;
        match &first {
            None if !data.is_empty() => first = Some(data),
            None => {}
            Some(head) => {
                if rest.is_empty() {
                    // What is announced may be taken at once, if the budget has it.
                    let by_itself = announced_by(language, head).min(max);
                    if by_itself > announced && budget.grow_now(share, by_itself).is_ok() {
                        announced = by_itself;
                    }
                    rest.reserve(announced.max(len));
                    rest.extend_from_slice(head);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    // A body that came in one piece is not copied.
    Ok(if rest.is_empty() { first.unwrap_or_default() } else { rest.freeze() })
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
    use crate::wire::otlp::Encoding;
    use http_body_util::{BodyExt, Full, StreamBody};

    const PATIENCE: Duration = Duration::from_secs(30);
    const HTTP: Language = Language::Http(Encoding::Protobuf);

    #[tokio::test]
    async fn bodies_are_read_up_to_the_limit() {
        let budget = Budget::new(1 << 20);
        let mut share = Share::default();
        let whole =
            read(Full::new(Bytes::from_static(b"12345")), HTTP, 5, PATIENCE, &budget, &mut share).await;
        assert_eq!(whole, Ok(Bytes::from_static(b"12345")));
        let large =
            read(Full::new(Bytes::from_static(b"123456")), HTTP, 5, PATIENCE, &budget, &mut share).await;
        assert_eq!(large, Err(BodyError::TooLarge));
        let chunks = || {
            let chunks =
                ["ab", "", "cd", "e"].map(|c| Ok::<_, String>(http_body::Frame::data(Bytes::from(c))));
            StreamBody::new(tonic::codegen::tokio_stream::iter(chunks)).boxed()
        };
        let read = async |max| read(chunks(), HTTP, max, PATIENCE, &budget, &mut Share::default()).await;
        assert_eq!(read(5).await, Ok(Bytes::from_static(b"abcde")));
        assert_eq!(read(4).await, Err(BodyError::TooLarge));
    }

    #[tokio::test]
    async fn what_a_grpc_message_says_of_its_length_is_believed_within_bounds() {
        let framed = |claim: u32, pieces: [usize; 2]| {
            let head = [&[0][..], &claim.to_be_bytes(), &vec![1; pieces[0]]].concat();
            let pieces =
                [head, vec![2; pieces[1]]].map(|p| Ok::<_, String>(http_body::Frame::data(Bytes::from(p))));
            StreamBody::new(tonic::codegen::tokio_stream::iter(pieces)).boxed()
        };
        let budget = Budget::new(8 << 20);
        // True, too small, too large, absurd: what comes is what is read, and the budget lends no more than it should.
        for (claim, most) in [(200_000, 200_005), (7, 200_005), (900_000, 900_005), (u32::MAX, BELIEVED)] {
            let mut share = Share::default();
            let body = framed(claim, [70_000, 130_000]);
            let bytes = read(body, Language::Grpc, 64 << 20, PATIENCE, &budget, &mut share).await.unwrap();
            assert_eq!((bytes.len(), bytes[5], bytes[200_004]), (200_005, 1, 2), "{claim}");
            assert_eq!(share.bytes(), most.div_ceil(UNIT) * UNIT, "{claim}");
        }
        // Where the budget has not as much to spare, the message may still come.
        let (mut other, mut share) = (Share::default(), Share::default());
        budget.grow_now(&mut other, (8 << 20) - 250_000).unwrap();
        let body = framed(900_000, [70_000, 130_000]);
        let bytes = read(body, Language::Grpc, 64 << 20, PATIENCE, &budget, &mut share).await;
        assert_eq!(bytes.map(|b| b.len()), Ok(200_005));
        let beyond = framed(u32::MAX, [10, 100]);
        let beyond =
            read(beyond, Language::Grpc, 64, PATIENCE, &Budget::new(1 << 20), &mut Share::default()).await;
        assert_eq!(beyond, Err(BodyError::TooLarge));
    }

    /// Gives a byte now and then.
    struct Trickle(tokio::time::Interval);

    impl Body for Trickle {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            let byte = http_body::Frame::data(Bytes::from_static(b"x"));
            self.0.poll_tick(context).map(|_| Some(Ok(byte)))
        }
    }

    #[tokio::test]
    async fn a_body_that_trickles_is_given_up() {
        let budget = Budget::new(1 << 20);
        // Every byte comes in time, and yet the body would take hours; or it comes no more.
        for every in [20, 3_600_000] {
            let body = Trickle(tokio::time::interval(Duration::from_millis(every)));
            let patience = Duration::from_millis(200);
            let given_up = read(body, HTTP, 10_000, patience, &budget, &mut Share::default()).await;
            assert_eq!(given_up, Err(BodyError::Stalled));
        }
    }

    #[tokio::test]
    async fn the_budget_is_shared_and_given_back() {
        let budget = Budget::new(10 * UNIT);
        let (mut one, mut two) = (Share::default(), Share::default());
        budget.grow(&mut one, 6 * UNIT).await.unwrap();
        budget.grow(&mut one, 6 * UNIT - 5).await.unwrap();
        assert_eq!(budget.grow_now(&mut two, 6 * UNIT), Err(BodyError::Busy));
        assert_eq!(budget.grow(&mut two, 6 * UNIT).await, Err(BodyError::Busy));
        budget.grow(&mut two, 5 * UNIT).await.unwrap();
        one.shrink(UNIT + 1);
        budget.grow_now(&mut two, 9 * UNIT).unwrap();
        assert_eq!((one.bytes(), two.bytes()), (2 * UNIT, 9 * UNIT));
        let waiting = async {
            budget.grow(&mut two, 11 * UNIT).await.unwrap();
        };
        let giving = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            drop(one);
        };
        tokio::join!(waiting, giving);
    }
}
