//! A request's body in pieces: a file is handed on where it lies, never copied behind what stands before it.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Pieces that follow the first.
pub type More = VecDeque<Bytes>;

/// A whole body.
#[derive(Clone, Debug, Default)]
pub struct Content {
    first: Bytes,
    more: More,
}

impl Content {
    /// Of these pieces.
    pub fn new(first: Bytes, more: More) -> Content {
        Content { first, more }
    }

    fn next(&mut self) -> Option<Bytes> {
        if !self.first.is_empty() {
            return Some(std::mem::take(&mut self.first));
        }
        self.more.pop_front()
    }
}

/// Bytes in all pieces.
pub fn length(first: &Bytes, more: &More) -> u64 {
    first.len() as u64 + more.iter().map(|piece| piece.len() as u64).sum::<u64>()
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(length(&self.first, &self.more))
    }
}
