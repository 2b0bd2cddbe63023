//! What calls under way may hold in memory, and how long a client may take to send one.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{HeaderMap, Request};
use tokio::time::{Instant, Sleep};
use tonic::Status;

use super::serve::MAX_CONCURRENT_STREAMS;
use crate::transport::Peer;

/// What h2, hyper and tonic keep for a call besides its bytes, rounded up.
const CALL_BYTES: usize = 4 * 1024;
/// Every place of a connection with the largest ciphertext of KMS v1, 65,535 bytes. The calls of KMS v2 are far smaller.
const CONNECTION_BYTES: usize = MAX_CONCURRENT_STREAMS as usize * (CALL_BYTES + 64 * 1024);
/// Fifteen connections that are as full as they may be, or 16,000 ordinary calls at once. It is a small part of
/// `MemoryMax=` in the systemd unit.
const ALL_BYTES: usize = 64 * 1024 * 1024;
/// Other users than root and our own may use half, so that they never keep kube-apiserver out.
const OTHERS_BYTES: usize = ALL_BYTES / 2;
/// From a call's headers to the end of its body: over three times kube-apiserver's own 3 s for a whole call.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);

/// The bytes of all connections.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: AtomicUsize,
}

/// The bytes of one connection.
#[derive(Debug)]
pub(super) struct ConnectionBudget {
    all: Arc<Budget>,
    peer: Peer,
    used: AtomicUsize,
    /// How much all connections together may use when this one asks for more.
    limit_of_all: usize,
}

/// The bytes of one call, given back when its answer has been sent.
#[derive(Debug)]
pub(super) struct Claim {
    connection: Arc<ConnectionBudget>,
    bytes: AtomicUsize,
}

impl ConnectionBudget {
    pub(super) fn new(all: Arc<Budget>, peer: Peer, own_uid: u32) -> Self {
        let trusted = peer.uid == 0 || peer.uid == own_uid;
        let limit_of_all = if trusted { ALL_BYTES } else { OTHERS_BYTES };
        Self { all, peer, used: AtomicUsize::new(0), limit_of_all }
    }

    /// The claim of a call that has just begun.
    pub(super) fn begin(self: &Arc<Self>, headers: &HeaderMap) -> Result<Arc<Claim>, Status> {
        let headers = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum::<usize>();
        let claim = Arc::new(Claim { connection: Arc::clone(self), bytes: AtomicUsize::new(0) });
        claim.add(CALL_BYTES.saturating_add(headers))?;
        Ok(claim)
    }

    fn refuse(&self, code: fn(String) -> Status, reason: String) -> Status {
        let Peer { pid, uid, .. } = self.peer;
        tracing::warn!(pid, uid, reason, "refused a call");
        code(reason)
    }
}

impl Claim {
    fn add(&self, bytes: usize) -> Result<(), Status> {
        let ConnectionBudget { all, used, limit_of_all, .. } = &*self.connection;
        if !take(used, bytes, CONNECTION_BYTES) {
            let reason = format!("the calls under way on this connection hold {CONNECTION_BYTES} bytes");
            return Err(self.connection.refuse(Status::resource_exhausted, reason));
        }
        if !take(&all.used, bytes, *limit_of_all) {
            used.fetch_sub(bytes, Ordering::Relaxed);
            let reason = format!("the calls under way on all connections hold {limit_of_all} bytes");
            return Err(self.connection.refuse(Status::resource_exhausted, reason));
        }
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.connection.used.fetch_sub(bytes, Ordering::Relaxed);
        self.connection.all.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The counters guard nothing but themselves, so no ordering is needed.
fn take(used: &AtomicUsize, bytes: usize, limit: usize) -> bool {
    let more = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

/// The body of a request, counted and with a deadline.
pub(super) struct Counted {
    inner: Incoming,
    claim: Arc<Claim>,
    deadline: Instant,
    /// Made when the body is first waited for: most come with their headers.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Counted {
    /// Puts the counter before a request that begins now.
    pub(super) fn count(request: Request<Incoming>, claim: Arc<Claim>) -> Request<Self> {
        let deadline = Instant::now() + REQUEST_DEADLINE;
        request.map(|inner| Self { inner, claim, deadline, timer: None })
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let deadline = self.deadline;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| {
            let reason = format!("the call was not sent whole within {REQUEST_DEADLINE:?}");
            self.claim.connection.refuse(Status::deadline_exceeded, reason)
        })
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Buf::remaining);
                Poll::Ready(Some(this.claim.add(bytes).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(Status::from_error(Box::new(error))))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => this.poll_deadline(cx).map(|status| Some(Err(status))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer, which is hardly larger than its request and keeps its claim until the client has taken it.
pub(super) struct Answer {
    inner: tonic::body::Body,
    _claim: Option<Arc<Claim>>,
}

impl Answer {
    pub(super) fn new(inner: tonic::body::Body, claim: Option<Arc<Claim>>) -> Self {
        Self { inner, _claim: claim }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 7;

    fn connection(all: &Arc<Budget>, uid: u32) -> Arc<ConnectionBudget> {
        let peer = Peer { pid: None, uid, gid: 0 };
        Arc::new(ConnectionBudget::new(Arc::clone(all), peer, OWN))
    }

    /// Connections that take all they can, each with one call.
    fn fill(all: &Arc<Budget>, uid: u32) -> Vec<Arc<Claim>> {
        let mut claims = Vec::new();
        while let Ok(claim) = connection(all, uid).begin(&HeaderMap::new()) {
            while claim.add(1024).is_ok() {}
            claims.push(claim);
        }
        claims
    }

    #[test]
    fn others_leave_half_to_root_and_our_own_user() {
        let all = Arc::default();
        let others = fill(&all, 1000);
        let used = all.used.load(Ordering::Relaxed);
        assert!(used <= OTHERS_BYTES && used > OTHERS_BYTES - CALL_BYTES, "{used}");
        assert!(connection(&all, 1001).begin(&HeaderMap::new()).is_err(), "another one's share is the same");
        for uid in [0, OWN] {
            assert!(!fill(&all, uid).is_empty());
        }
        let roots = fill(&all, 0);
        let used = all.used.load(Ordering::Relaxed);
        assert!(used <= ALL_BYTES && used > ALL_BYTES - CALL_BYTES, "{used}");
        drop((others, roots));
        assert_eq!(all.used.load(Ordering::Relaxed), 0, "what is over is given back");
    }

    #[test]
    fn a_connection_has_room_for_its_largest_calls_and_no_more() {
        let all = Arc::default();
        let one = connection(&all, 0);
        let begin = || one.begin(&HeaderMap::new()).and_then(|claim| claim.add(64 * 1024).map(|()| claim));
        let claims: Vec<_> = (0..MAX_CONCURRENT_STREAMS).map(|_| begin().expect("room")).collect();
        assert_eq!(begin().expect_err("full").code(), tonic::Code::ResourceExhausted);
        assert!(connection(&all, 0).begin(&HeaderMap::new()).is_ok(), "another connection is not hurt");
        drop(claims);
        assert!(begin().is_ok());
    }
}
