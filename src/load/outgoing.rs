//! Bodies of requests over HTTP/2: whole, or piece by piece while an answer is read.

use super::content::{Content, More};
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A body on its way out.
pub enum Outgoing {
    /// All of it is known.
    Whole(Content),
    /// What others hand over, in pieces.
    Pieces(Rc<Pieces>),
}

/// Pieces of a body, handed over by whoever makes them. Of one thread.
#[derive(Default)]
pub struct Pieces {
    queue: RefCell<VecDeque<Bytes>>,
    ended: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Pieces {
    /// Hands over the next piece.
    pub fn push(&self, piece: Bytes) {
        self.queue.borrow_mut().push_back(piece);
        self.wake();
    }

    /// There are no more.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl From<Bytes> for Outgoing {
    fn from(bytes: Bytes) -> Outgoing {
        Outgoing::Whole(Content::new(bytes, More::new()))
    }
}

impl From<Content> for Outgoing {
    fn from(content: Content) -> Outgoing {
        Outgoing::Whole(content)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Outgoing::Whole(body) => Pin::new(body).poll_frame(cx),
            Outgoing::Pieces(pieces) => {
                if let Some(piece) = pieces.queue.borrow_mut().pop_front() {
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                if pieces.ended.get() {
                    return Poll::Ready(None);
                }
                pieces.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Whole(body) => body.is_end_stream(),
            Outgoing::Pieces(pieces) => pieces.ended.get() && pieces.queue.borrow().is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Outgoing::Whole(body) => body.size_hint(),
            Outgoing::Pieces(_) => SizeHint::default(),
        }
    }
}
