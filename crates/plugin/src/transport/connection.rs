//! One accepted connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::Sleep;
use tokio_util::io::poll_read_buf;
use tonic::transport::server::Connected;

use super::authority::Scanner;
use super::places::Place;

/// A connection from an admitted peer, as tonic reads and writes it.
///
/// What the client sends goes through a [`Scanner`] first. A client that keeps this side waiting in the middle of
/// something is closed and logged, because h2 and tonic log nothing; an idle one is never closed, because
/// kube-apiserver is silent for a minute between polls.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    peer: Peer,
    scanner: Scanner,
    /// What was read and not yet passed on.
    buffer: BytesMut,
    /// How many bytes at the start of `buffer` may be passed on.
    safe: usize,
    /// Runs while the client owes the rest of something.
    timer: Option<Pin<Box<Sleep>>>,
    /// The scanner's count of finished frames when `timer` was set.
    finished: u64,
    closed: bool,
    /// Frees the place among the connections that may be open at once.
    _place: Option<Place>,
}

/// Who is on the other end, as the kernel saw it when the client connected: for the log, and for a tonic server, which puts
/// it into a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// `None` when the peer is in a process namespace that this process cannot see into.
    pub pid: Option<i32>,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Connection {
    /// Must be called inside a tokio runtime, whose clock the deadlines use.
    pub(super) fn new(stream: UnixStream, peer: Peer, place: Option<Place>) -> Self {
        Self {
            stream,
            peer,
            scanner: Scanner::default(),
            buffer: BytesMut::new(),
            safe: 0,
            timer: Some(Box::pin(tokio::time::sleep(GREETING_DEADLINE))),
            finished: 0,
            closed: false,
            _place: place,
        }
    }

    /// Who is on the other end.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Reads until the scanner lets something pass; true at the client's end of file.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while self.safe == 0 {
            if self.closed {
                return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
            }
            if self.buffer.capacity() - self.buffer.len() < READ_SIZE / 2 {
                self.buffer.reserve(READ_SIZE);
            }
            let Poll::Ready(read) = poll_read_buf(Pin::new(&mut self.stream), cx, &mut self.buffer) else {
                return self.poll_deadline(cx).map(Err);
            };
            if read? == 0 {
                // What is held back can never become whole.
                let cut = !self.buffer.is_empty();
                return Poll::Ready(if cut { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(true) });
            }
            match self.scanner.scan(&mut self.buffer) {
                Ok(safe) => self.safe = safe,
                Err(error) => {
                    return Poll::Ready(Err(self.close(io::ErrorKind::InvalidData, &error.to_string())));
                }
            }
            self.set_timer();
        }
        Poll::Ready(Ok(false))
    }

    /// Each frame or header block has its own deadline: a client that sends a byte now and then gets no further.
    fn set_timer(&mut self) {
        if !self.scanner.greeted() {
            return;
        }
        let finished = self.scanner.finished();
        if !self.scanner.midway() {
            self.timer = None;
        } else if self.timer.is_none() || finished != self.finished {
            self.timer = Some(Box::pin(tokio::time::sleep(FRAME_DEADLINE)));
        }
        self.finished = finished;
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(timer) = &mut self.timer else { return Poll::Pending };
        ready!(timer.as_mut().poll(cx));
        let reason = if self.scanner.greeted() {
            format!("the rest of a frame or header block did not come within {FRAME_DEADLINE:?}")
        } else {
            format!("no HTTP/2 preface and SETTINGS came within {GREETING_DEADLINE:?}")
        };
        Poll::Ready(self.close(io::ErrorKind::TimedOut, &reason))
    }

    fn close(&mut self, kind: io::ErrorKind, reason: &str) -> io::Error {
        self.closed = true;
        let Peer { pid, uid, .. } = self.peer;
        tracing::warn!(pid, uid, reason, "closed a client's connection");
        io::Error::new(kind, reason)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let end = ready!(this.poll_fill(cx))?;
        if !end {
            let length = this.safe.min(out.remaining());
            out.put_slice(this.buffer.get(..length).unwrap_or_default());
            this.buffer.advance(length);
            this.safe -= length;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

/// A client on the same machine needs well under a millisecond for preface and SETTINGS.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// Over three times kube-apiserver's own 3 s for a whole call.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// A call of kube-apiserver is about 300 bytes, so this takes in some 25 calls at once.
const READ_SIZE: usize = 8 * 1024;

#[cfg(test)]
mod tests;
