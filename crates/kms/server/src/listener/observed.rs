//! The bytes of one connection, after TLS: what comes is counted, what does not go is noticed.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::watch::Watch;

/// A client that takes so much within the answer's deadline is slow, but reads.
const PROGRESS: usize = 16 * 1024;

/// Tells the watch about both directions.
pub(super) struct Observed<T> {
    inner: T,
    watch: Arc<Watch>,
    frames: Frames,
    /// What the watch was told last.
    partial: bool,
    /// Bytes taken since `unsent` began.
    unsent: Option<usize>,
}

impl<T> Observed<T> {
    /// Nothing has come yet.
    pub(super) fn new(inner: T, watch: Arc<Watch>, now: Instant) -> Self {
        Self { inner, watch, frames: Frames::new(now), partial: true, unsent: None }
    }

    fn came(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let now = Instant::now();
        self.frames.feed(bytes, now).map_err(std::io::Error::other)?;
        let partial = self.frames.is_partial();
        if !partial && !self.frames.is_http2() {
            // The first bytes of HTTP/1 may look like a preface; from then on the calls say what is owed.
            self.partial = false;
            self.watch.bytes_came(now);
        } else if partial != self.partial {
            self.partial = partial;
            self.watch.partial(partial, now);
        }
        Ok(())
    }

    fn stuck(&mut self) {
        if self.unsent.is_none() {
            self.unsent = Some(0);
            self.watch.unsent(true, Instant::now());
        }
    }

    fn took(&mut self, count: usize) {
        if let Some(taken) = &mut self.unsent {
            *taken += count;
            if *taken >= PROGRESS {
                *taken = 0;
                self.watch.progressed(Instant::now());
            }
        }
    }

    fn all_sent(&mut self) {
        if self.unsent.take().is_some() {
            self.watch.unsent(false, Instant::now());
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Observed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        match buf.filled().get(before..) {
            Some(bytes) if !bytes.is_empty() => Poll::Ready(self.came(bytes)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Observed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        match flushed {
            Poll::Pending => self.stuck(),
            Poll::Ready(_) => self.all_sent(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        if shut.is_pending() {
            self.stuck();
        }
        shut
    }
}

impl<T> Observed<T> {
    fn note(&mut self, written: Poll<std::io::Result<usize>>) -> Poll<std::io::Result<usize>> {
        match &written {
            Poll::Pending => self.stuck(),
            Poll::Ready(Ok(count)) => self.took(*count),
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}
