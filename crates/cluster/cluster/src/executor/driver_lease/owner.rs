//! The task that owns the Lease: it alone writes it, and is asked through a channel.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DURATION, FRESH, LeaseError, NAME, RECORD, RENEW, number};
use crate::api::{ApiServer, Lease, get_lease, put_lease};

/// How often a renewal is tried while others change the Lease.
const ATTEMPTS: usize = 3;
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// What is asked of the owner.
pub(super) enum Ask {
    /// [`super::DriverLease::keep`], with the record as JSON.
    Keep {
        /// The record.
        record: String,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), LeaseError>>,
    },
    /// [`super::DriverLease::lost_to`].
    LostTo {
        /// Where the answer goes.
        answer: oneshot::Sender<Option<String>>,
    },
    /// [`super::DriverLease::release`].
    GiveBack {
        /// Told when it was tried.
        answer: oneshot::Sender<()>,
    },
}

pub(super) struct Owner {
    servers: Vec<ApiServer>,
    holder: String,
    tenure: u64,
    lease: Lease,
    /// Before the last renewal that was answered.
    confirmed: Instant,
    /// Who has it now.
    lost_to: Option<String>,
}

impl Owner {
    /// Of a Lease that was taken just now.
    pub(super) fn new(servers: Vec<ApiServer>, holder: String, taken: Lease) -> Self {
        let tenure = number(&taken);
        Self { servers, holder, tenure, lease: taken, confirmed: Instant::now(), lost_to: None }
    }

    /// Until nobody is there who could ask, or it is given back: a re-encryption takes hours. `stop` is cancelled when it is lost.
    pub(super) async fn run(mut self, mut asks: mpsc::Receiver<Ask>, stop: CancellationToken) {
        let mut due = Instant::now() + RENEW;
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    None => return,
                    Some(Ask::Keep { record, answer }) => drop(answer.send(self.keep(record).await)),
                    Some(Ask::LostTo { answer }) => drop(answer.send(self.lost_to.clone())),
                    Some(Ask::GiveBack { answer }) => {
                        self.give_back().await;
                        answer.send(()).ok();
                        return;
                    }
                },
                () = tokio::time::sleep_until(due), if self.lost_to.is_none() => {
                    // One that failed is tried again, and whoever acts asks before.
                    drop(self.confirm(None).await);
                    due = Instant::now() + RENEW;
                }
            }
            if self.lost_to.is_some() {
                stop.cancel();
            }
        }
    }

    async fn keep(&mut self, record: String) -> Result<(), LeaseError> {
        if let Some(other) = &self.lost_to {
            return Err(LeaseError::Lost(other.clone()));
        }
        let is_there = self.lease.metadata.annotations.get(RECORD) == Some(&record);
        if is_there && self.confirmed.elapsed() < FRESH {
            return Ok(());
        }
        self.confirm(Some(record)).await
    }

    async fn confirm(&mut self, record: Option<String>) -> Result<(), LeaseError> {
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let now = Instant::now();
            let mut lease = self.lease.clone().renewed(&self.holder, DURATION);
            if let Some(record) = &record {
                lease.metadata.annotations.insert(RECORD.to_owned(), record.clone());
            }
            if let Some(written) = put_lease(&self.servers, &lease).await? {
                (self.lease, self.confirmed) = (written, now);
                return Ok(());
            }
            // An attempt that was not answered may have been written all the same; then it is ours. One of this host that took it again is not.
            match get_lease(&self.servers, NAME).await? {
                Some(found) if found.holder() == Some(&self.holder) && number(&found) == self.tenure => {
                    self.lease = found;
                }
                Some(found) => {
                    let other = found.holder().unwrap_or("another host").to_owned();
                    self.lost_to = Some(other.clone());
                    return Err(LeaseError::Lost(other));
                }
                // Somebody deleted it: one that comes at this moment gets it or not.
                None => self.lease.metadata.resource_version = None,
            }
        }
        Err(LeaseError::Contended)
    }

    async fn give_back(&mut self) {
        if self.lost_to.is_some() {
            return;
        }
        let mut lease = self.lease.clone();
        lease.spec.holder_identity = None;
        drop(put_lease(&self.servers, &lease).await);
    }
}
