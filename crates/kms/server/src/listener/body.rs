//! Bodies: what comes has a length and a deadline, what goes is handed over in pieces.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::watch::Watch;

/// No request of any API is longer; the adapters have limits of their own below it.
pub const MAX_BODY_LEN: u64 = 1024 * 1024;
/// The whole body must be there by then.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(12);
/// A piece of an answer: what the transport holds beyond the room that the client gave.
const PIECE_LEN: usize = 16 * 1024;

/// Why a request's body ends early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Longer than [`MAX_BODY_LEN`].
    #[error("the request is longer than {MAX_BODY_LEN} bytes")]
    TooLong,
    /// Not all there within the deadline.
    #[error("the request was not complete after {} s", BODY_DEADLINE.as_secs())]
    TooSlow,
    /// The connection broke, or what came is no HTTP.
    #[error("the request could not be read")]
    Broken(#[source] hyper::Error),
}

/// The body of a request.
pub(super) struct Request {
    inner: Incoming,
    left: u64,
    deadline: tokio::time::Instant,
    /// Made when the body has to be waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Request {
    /// A body whose headers came just now.
    pub(super) fn new(inner: Incoming) -> Self {
        let deadline = tokio::time::Instant::now() + BODY_DEADLINE;
        Self { inner, left: MAX_BODY_LEN, deadline, timer: None }
    }
}

impl Body for Request {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                let deadline = this.deadline;
                let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
                ready!(timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(BodyError::TooSlow)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, |data| data.len() as u64);
                match this.left.checked_sub(len) {
                    Some(left) => {
                        this.left = left;
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => Poll::Ready(Some(Err(BodyError::TooLong))),
                }
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Broken(error)))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A call on a connection, from its headers to the last byte of its answer.
pub(super) struct Call {
    watch: Arc<Watch>,
    id: u32,
}

impl Call {
    /// The headers are there.
    pub(super) fn begin(watch: Arc<Watch>, http2: bool) -> Self {
        let id = watch.begin(http2);
        Self { watch, id }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.watch.end(self.id, Instant::now());
    }
}

/// The body of an answer. hyper asks for the next piece only when the client has room; while it does not ask, the client
/// is slow.
pub(super) struct Answer<B> {
    inner: B,
    rest: Bytes,
    call: Call,
}

impl<B> Answer<B> {
    /// The answer's head is ready.
    pub(super) fn new(inner: B, call: Call) -> Self {
        call.watch.answering(call.id, Some(Instant::now()));
        Self { inner, rest: Bytes::new(), call }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Answer<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            let frame = match Pin::new(&mut this.inner).poll_frame(cx) {
                Poll::Pending => {
                    // Whoever makes the answer is at it, not the client.
                    this.call.watch.answering(this.call.id, None);
                    return Poll::Pending;
                }
                Poll::Ready(frame) => frame,
            };
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => this.rest = data,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        this.call.watch.answering(this.call.id, Some(Instant::now()));
        let piece = this.rest.split_to(this.rest.len().min(PIECE_LEN));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.inner.size_hint();
        let rest = self.rest.len() as u64;
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(hint.lower() + rest);
        hint
    }
}
