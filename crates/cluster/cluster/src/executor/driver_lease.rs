//! One driver at a time, whichever host it is on, and its record where the next one finds it: a Lease in kube-system.
//!
//! A driver does nothing unless it renewed the Lease within [`FRESH`]. Another one takes it only after it saw no renewal for [`DURATION`],
//! which it measures with its own clock from the moment when it first saw the last one; no two clocks are compared. A driver that stood
//! still in the middle of a step is refused by the hosts: see `host/tenure.rs`.

use std::sync::Arc;
use std::time::Duration;

use keystead_model::ErrorClass;
use keystead_runtime::Tasks;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use crate::api::{ApiServer, CallError, Lease, get_lease, put_lease};

/// Its name in kube-system.
const NAME: &str = "keystead-rollout";
/// The number of the driver, in decimal digits.
const TENURE: &str = "keystead.io/tenure";
/// The record, as JSON.
const RECORD: &str = "keystead.io/rollout";
/// How long it holds without a renewal: six renewals, and some seconds in which API servers restart.
pub(super) const DURATION: Duration = Duration::from_secs(30);
/// How often it is renewed.
pub(super) const RENEW: Duration = Duration::from_secs(5);
/// A driver that acts was confirmed within this time. What it does then has the rest of [`DURATION`].
const FRESH: Duration = Duration::from_secs(10);
/// How often one looks whether another driver still renews it.
const LOOK: Duration = Duration::from_secs(1);
/// Bytes of the longest record that is shared: kube-apiserver takes 256 KiB of annotations.
const RECORD_MAX: usize = 200 << 10;

/// The Lease, held. It is renewed until this is dropped.
pub struct DriverLease {
    tenure: u64,
    shared: Arc<Shared>,
    renewing: Tasks,
}

struct Shared {
    servers: Vec<ApiServer>,
    holder: String,
    held: Mutex<Held>,
}

struct Held {
    lease: Lease,
    /// Before the last renewal that was answered.
    confirmed: Instant,
    /// Who has it now.
    lost_to: Option<String>,
}

/// Why the Lease is not held.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The API servers do not say.
    #[error("the Lease {NAME} in kube-system, which keeps two rollouts apart, cannot be read or written")]
    Call(#[from] CallError),
    /// Another driver renews it.
    #[error("another rollout is under way: {0} holds the Lease {NAME} in kube-system")]
    Held(String),
    /// Another driver took it, because it was not renewed in time.
    #[error("{0} has taken the Lease {NAME} in kube-system, and goes on with the rollout")]
    Lost(String),
    /// A record of many hosts and resources.
    #[error("the record of the rollout has {0} bytes, and {RECORD_MAX} can be shared with other hosts")]
    TooLong(usize),
    /// What is shared is no record.
    #[error("the Lease {NAME} in kube-system has no record of a rollout, or one of a newer version: {0}")]
    Malformed(String),
}

impl LeaseError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Call(error) => error.class(),
            Self::Held(_) | Self::Lost(_) | Self::TooLong(_) => ErrorClass::FailedPrecondition,
            Self::Malformed(_) => ErrorClass::Invalid,
        }
    }

    /// Whether asking again may help.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_away() || matches!(error.class(), ErrorClass::Unavailable | ErrorClass::Timeout))
    }
}

/// The record that the last driver shared; none if there is none.
///
/// # Errors
///
/// The API server does not say, or it is none.
pub async fn shared_record(server: &ApiServer) -> Result<Option<Record>, LeaseError> {
    get_lease(std::slice::from_ref(server), NAME).await?.map_or(Ok(None), |it| record_of(&it))
}

/// Who drives, as [`DriverLease::driver`] has it, and its record. None: nobody.
pub(super) async fn driver(servers: &[ApiServer]) -> Result<Option<(String, Option<Record>)>, CallError> {
    let found = get_lease(servers, NAME).await?.filter(|it| it.holder().is_some());
    Ok(found.map(|it| (tenure(&it), record_of(&it).ok().flatten())))
}

/// Whose tasks other hosts do: the holder, and the number of its tenure.
fn tenure(lease: &Lease) -> String {
    format!("{}#{}", lease.holder().unwrap_or_default(), number(lease))
}

fn number(lease: &Lease) -> u64 {
    lease.metadata.annotations.get(TENURE).and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Higher than all before. After somebody deleted the Lease, or put back an old backup of etcd, the clock is what makes it so.
fn next_number(lease: &Lease) -> u64 {
    let now = jiff::Timestamp::now().as_second().try_into().unwrap_or_default();
    number(lease).saturating_add(1).max(now)
}

impl DriverLease {
    /// Whose tasks other hosts do.
    pub async fn driver(&self) -> String {
        tenure(&self.shared.held.lock().await.lease)
    }

    /// Higher than that of any driver before.
    pub(super) fn tenure(&self) -> u64 {
        self.tenure
    }

    /// Takes the Lease through any of `servers`, from a driver that is gone too, and gives the record that the last driver shared. `holder` is
    /// [`super::RecordFile::holder`]: one that is the same cannot be alive. A `wait` is told once.
    ///
    /// # Errors
    ///
    /// Another driver holds it and renews it, or the API servers do not answer.
    pub async fn acquire(
        servers: Vec<ApiServer>,
        holder: String,
        stop: CancellationToken,
        wait: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Self, Option<Record>), LeaseError> {
        let taken = take(&servers, &holder, wait).await?;
        let (record, tenure) = (record_of(&taken)?, number(&taken));
        let held = Mutex::new(Held { lease: taken, confirmed: Instant::now(), lost_to: None });
        let shared = Arc::new(Shared { servers, holder, held });
        let renewing = Tasks::default();
        let ended = renewing.stopping();
        renewing.spawn("renews the Lease of the driver", renew(Arc::clone(&shared), ended, stop));
        Ok((Self { tenure, shared, renewing }, record))
    }

    /// Makes sure that it is still held, with this record where the next driver finds it.
    pub(super) async fn keep(&self, record: &Record) -> Result<(), LeaseError> {
        let text = serde_json::to_string(record).map_err(|error| LeaseError::Malformed(error.to_string()))?;
        if text.len() > RECORD_MAX {
            return Err(LeaseError::TooLong(text.len()));
        }
        let mut held = self.shared.held.lock().await;
        if let Some(other) = &held.lost_to {
            return Err(LeaseError::Lost(other.clone()));
        }
        let is_there = held.lease.metadata.annotations.get(RECORD) == Some(&text);
        if is_there && held.confirmed.elapsed() < FRESH {
            return Ok(());
        }
        self.shared.confirm(&mut held, Some(text)).await
    }

    /// Gives it back, so that another driver need not wait. One that stays runs out.
    pub async fn release(self) {
        self.renewing.stop();
        let held = self.shared.held.lock().await;
        if held.lost_to.is_some() {
            return;
        }
        let mut lease = held.lease.clone();
        lease.spec.holder_identity = None;
        drop(put_lease(&self.shared.servers, &lease).await);
    }
}

impl Drop for DriverLease {
    fn drop(&mut self) {
        self.renewing.stop();
    }
}

impl Shared {
    async fn confirm(&self, held: &mut Held, record: Option<String>) -> Result<(), LeaseError> {
        loop {
            let now = Instant::now();
            let mut lease = held.lease.clone().renewed(&self.holder, DURATION);
            if let Some(record) = &record {
                lease.metadata.annotations.insert(RECORD.to_owned(), record.clone());
            }
            if let Some(written) = put_lease(&self.servers, &lease).await? {
                (held.lease, held.confirmed) = (written, now);
                return Ok(());
            }
            // An attempt that was not answered may have been written all the same; then it is ours.
            match get_lease(&self.servers, NAME).await? {
                Some(found) if found.holder() == Some(&self.holder) => held.lease = found,
                Some(found) => {
                    let other = found.holder().unwrap_or("another host").to_owned();
                    held.lost_to = Some(other.clone());
                    return Err(LeaseError::Lost(other));
                }
                // Somebody deleted it: one that comes at this moment gets it or not.
                None => held.lease.metadata.resource_version = None,
            }
        }
    }
}

/// Until it is lost or given back: a re-encryption takes hours.
async fn renew(shared: Arc<Shared>, ended: CancellationToken, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = ended.cancelled() => return,
            () = tokio::time::sleep(RENEW) => {}
        }
        let mut held = shared.held.lock().await;
        if matches!(shared.confirm(&mut held, None).await, Err(LeaseError::Lost(_))) {
            return stop.cancel();
        }
    }
}

async fn take(
    servers: &[ApiServer],
    holder: &str,
    wait: &mut (dyn FnMut(&str) + Send),
) -> Result<Lease, LeaseError> {
    let mut first: Option<(Lease, Instant)> = None;
    loop {
        let found = get_lease(servers, NAME).await?;
        let other = found.as_ref().and_then(Lease::holder).filter(|it| *it != holder).map(str::to_owned);
        let mut found = found.unwrap_or_else(|| Lease::new(NAME));
        let is_free = match (&other, &first) {
            (None, _) => true,
            (Some(other), None) => {
                wait(other);
                first = Some((found.clone(), Instant::now()));
                false
            }
            (Some(other), Some((seen, since))) => {
                if seen.metadata.resource_version != found.metadata.resource_version {
                    return Err(LeaseError::Held(other.clone()));
                }
                since.elapsed() > DURATION
            }
        };
        let next = next_number(&found).to_string();
        found.metadata.annotations.insert(TENURE.to_owned(), next);
        if is_free && let Some(taken) = put_lease(servers, &found.taken(holder, DURATION)).await? {
            return Ok(taken);
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn record_of(lease: &Lease) -> Result<Option<Record>, LeaseError> {
    let Some(text) = lease.metadata.annotations.get(RECORD) else { return Ok(None) };
    Record::parse(text.as_bytes()).map(Some).map_err(LeaseError::Malformed)
}
