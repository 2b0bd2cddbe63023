//! One driver at a time, whichever host it is on, and its record where the next one finds it: a Lease in kube-system.
//!
//! A driver does nothing unless it renewed the Lease within [`FRESH`]. Another one takes it only after it saw no renewal for [`DURATION`],
//! which it measures with its own clock from the moment when it first saw the last one; no two clocks are compared. A driver that stood
//! still in the middle of a step is refused by the hosts: see `host/tenure.rs`.

mod owner;
mod turn;

use std::time::Duration;

use keystead_model::ErrorClass;
use keystead_runtime::Tasks;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use crate::api::{ApiServer, CallError, Lease, get_lease, put_lease};
use crate::host::TENURE_AHEAD_MAX;
use owner::{Ask, Owner};
pub use turn::{Turn, Waits, take_turn};

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

/// The Lease, held. It is renewed until this and all clones of it are dropped.
#[derive(Clone)]
pub struct DriverLease {
    tenure: u64,
    driver: String,
    /// To the task that owns it.
    asks: mpsc::Sender<Ask>,
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
    /// It could not be renewed for changes of others, who leave it to this driver.
    #[error("the Lease {NAME} in kube-system was changed by somebody else at each attempt to renew it")]
    Contended,
    /// It was given back.
    #[error("the Lease {NAME} in kube-system was given back")]
    GivenBack,
    /// This command was told to stop.
    #[error("stopped while waiting for the Lease {NAME} in kube-system")]
    Stopped,
    /// One of the clocks is wrong, or somebody wrote it.
    #[error(
        "the last rollout has the number {0} in the Lease {NAME} in kube-system, and numbers are seconds since 1970: that is more than a day ahead of this host's clock. Set the clock; if it is right, run `kubectl -n kube-system delete lease {NAME}`"
    )]
    Ahead(u64),
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
            Self::Contended => ErrorClass::Unavailable,
            Self::Held(_)
            | Self::Lost(_)
            | Self::GivenBack
            | Self::Stopped
            | Self::Ahead(_)
            | Self::TooLong(_) => ErrorClass::FailedPrecondition,
            Self::Malformed(_) => ErrorClass::Invalid,
        }
    }

    /// Whether asking again may help.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Call(error) => error.may_pass(),
            Self::Contended => true,
            _ => false,
        }
    }
}

/// The record that the last driver shared, from the first of `servers` that can be asked; none if there is none.
///
/// # Errors
///
/// The API servers do not say, or it is none.
pub async fn shared_record(servers: &[ApiServer]) -> Result<Option<Record>, LeaseError> {
    get_lease(servers, NAME).await?.map_or(Ok(None), |it| record_of(&it))
}

/// Who drives.
pub(super) struct Driving {
    /// As [`DriverLease::driver`] has it.
    pub(super) driver: String,
    pub(super) tenure: u64,
    /// What it shares, or why that cannot be read.
    pub(super) record: Result<Option<Record>, LeaseError>,
}

/// None: nobody.
pub(super) async fn driving(servers: &[ApiServer]) -> Result<Option<Driving>, CallError> {
    let found = get_lease(servers, NAME).await?.filter(|it| it.holder().is_some());
    Ok(found.map(|it| Driving { driver: driver(&it), tenure: number(&it), record: record_of(&it) }))
}

/// Whose tasks other hosts do: the holder, and the number of its tenure.
fn driver(lease: &Lease) -> String {
    format!("{}#{}", lease.holder().unwrap_or_default(), number(lease))
}

fn number(lease: &Lease) -> u64 {
    lease.metadata.annotations.get(TENURE).and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Higher than all before. After somebody deleted the Lease, or put back an old backup of etcd, the clock is what makes it so.
fn next_number(lease: &Lease) -> Result<u64, LeaseError> {
    let now: u64 = jiff::Timestamp::now().as_second().try_into().unwrap_or_default();
    let last = number(lease);
    match last > now.saturating_add(TENURE_AHEAD_MAX) {
        true => Err(LeaseError::Ahead(last)),
        false => Ok(last.saturating_add(1).max(now)),
    }
}

impl DriverLease {
    /// Whose tasks other hosts do.
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Higher than that of any driver before.
    pub fn tenure(&self) -> u64 {
        self.tenure
    }

    /// Takes the Lease through any of `servers`, from a driver that is gone too, and gives the record that the last driver shared. `holder` is
    /// [`super::RecordFile::holder`]: one that is the same cannot be alive. A `wait` is told once. `stop` ends the waiting, and is
    /// cancelled when the Lease is lost.
    ///
    /// # Errors
    ///
    /// Another driver holds it and renews it, it was told to stop, or the API servers do not answer.
    pub async fn acquire(
        servers: Vec<ApiServer>,
        holder: String,
        stop: CancellationToken,
        wait: &mut (dyn FnMut(&str) + Send),
    ) -> Result<(Self, Option<Record>), LeaseError> {
        let (taken, record) = take(&servers, &holder, &stop, wait).await?;
        let (tenure, driver) = (number(&taken), driver(&taken));
        let (asks, asked) = mpsc::channel(1);
        let owner = Owner::new(servers, holder, taken);
        Tasks::default().spawn("owns the Lease of the driver", owner.run(asked, stop));
        Ok((Self { tenure, driver, asks }, record))
    }

    /// Makes sure that it is still held, with this record where the next driver finds it.
    ///
    /// # Errors
    ///
    /// It is lost, given back, or cannot be renewed now; or the record is too long.
    pub async fn keep(&self, record: &Record) -> Result<(), LeaseError> {
        let text = serde_json::to_string(record).map_err(|error| LeaseError::Malformed(error.to_string()))?;
        if text.len() > RECORD_MAX {
            return Err(LeaseError::TooLong(text.len()));
        }
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::Keep { record: text, answer }).await.map_err(|_| LeaseError::GivenBack)?;
        answered.await.map_err(|_| LeaseError::GivenBack)?
    }

    /// Who has taken it meanwhile.
    pub async fn lost_to(&self) -> Option<String> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(Ask::LostTo { answer }).await.ok()?;
        answered.await.ok()?
    }

    /// Gives it back, so that another driver need not wait. One that stays runs out.
    pub async fn release(&self) {
        let (answer, answered) = oneshot::channel();
        if self.asks.send(Ask::GiveBack { answer }).await.is_ok() {
            drop(answered.await);
        }
    }
}

/// The Lease, taken, and the record in it.
async fn take(
    servers: &[ApiServer],
    holder: &str,
    stop: &CancellationToken,
    wait: &mut (dyn FnMut(&str) + Send),
) -> Result<(Lease, Option<Record>), LeaseError> {
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
        if is_free {
            // One that cannot be read is not taken: whoever can read it goes on at once.
            let (record, next) = (record_of(&found)?, next_number(&found)?);
            found.metadata.annotations.insert(TENURE.to_owned(), next.to_string());
            if let Some(taken) = put_lease(servers, &found.taken(holder, DURATION)).await? {
                return Ok((taken, record));
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Err(LeaseError::Stopped),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

fn record_of(lease: &Lease) -> Result<Option<Record>, LeaseError> {
    let Some(text) = lease.metadata.annotations.get(RECORD) else { return Ok(None) };
    Record::parse(text.as_bytes()).map(Some).map_err(LeaseError::Malformed)
}
