//! Several hosts that each run the same command: one drives, and the others wait until it is their turn or the goal is reached.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{DriverLease, LOOK, LeaseError};
use crate::api::ApiServer;
use crate::executor::record::Record;
use crate::executor::wants::Wants;

/// What a host does now.
pub enum Turn {
    /// It drives, from this record that the last driver shared.
    Drives(DriverLease, Option<Record>),
    /// Nothing: since it began to wait, another host reached what it wants.
    Reached(Record),
}

/// Something to tell a person who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits<'a> {
    /// This driver may be gone.
    ForCertainty(&'a str),
    /// This driver renews the Lease.
    WhileDriven(&'a str),
}

/// Takes the Lease, at once or when whoever drives has ended. API servers that do not answer are waited for as long as `patience` says,
/// because the rollout itself restarts them. `before` is the version of what was shared before this host did its part: what was reached then
/// is no news.
///
/// # Errors
///
/// It was told to stop, or the API servers do not answer.
pub async fn take_turn(
    servers: &[ApiServer],
    holder: &str,
    wants: &Wants,
    before: Option<(u64, u64)>,
    patience: Duration,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(Waits<'_>) + Send),
) -> Result<Turn, LeaseError> {
    let mut driving: Option<String> = None;
    let mut answered = Instant::now();
    loop {
        let is_first = driving.is_none();
        let mut wait = |other: &str| {
            if is_first {
                tell(Waits::ForCertainty(other));
            }
        };
        match DriverLease::acquire(servers.to_vec(), holder.to_owned(), stop.clone(), &mut wait).await {
            Ok((lease, record)) => {
                let is_news = |it: &Record| it.reached && Some(it.version()) > before && wants.takes(it);
                match record {
                    Some(record) if driving.is_some() && is_news(&record) => {
                        lease.release().await;
                        return Ok(Turn::Reached(record));
                    }
                    record => return Ok(Turn::Drives(lease, record)),
                }
            }
            Err(LeaseError::Held(other)) => {
                if driving.as_ref() != Some(&other) {
                    tell(Waits::WhileDriven(&other));
                }
                driving = Some(other);
                answered = Instant::now();
            }
            Err(error) if error.is_away() && answered.elapsed() < patience => {}
            Err(error) => return Err(error),
        }
        tokio::select! {
            () = stop.cancelled() => return Err(LeaseError::Stopped),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
