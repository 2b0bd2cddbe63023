//! Drivers on several hosts: one at a time, with the record of the last one.

use keystead_cluster::api::{ApiServer, Kubeconfig};
use keystead_cluster::executor::{DriverLease, LeaseError, Record};
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use super::stop::stopped;
use super::told::tell;
use crate::cluster::reencrypt::exit;

/// Takes the Lease, and gives the record that the last driver shared.
pub(super) async fn take_lease(
    servers: &[ApiServer],
    holder: &str,
    stop: &CancellationToken,
) -> Result<(DriverLease, Option<Record>), Failure> {
    let taken =
        DriverLease::acquire(servers.to_vec(), holder.to_owned(), stop.clone(), &mut tell_uncertain).await;
    taken.map_err(|error| not_driving(&error))
}

pub(super) fn tell_uncertain(other: &str) {
    tell(&format!("waits until it is certain whether {other} still drives a rollout, at most half a minute"));
}

pub(super) fn not_driving(error: &LeaseError) -> Failure {
    let failure = Failure::from_error(error).exit(exit(error.class()));
    match error {
        LeaseError::Stopped => stopped(),
        LeaseError::Held(_) => failure.hint(
            "wait until it ends, or stop it there with Ctrl-C; what it has done is gone on with from here"
                .to_owned(),
        ),
        _ => failure,
    }
}

/// The one of the kubeconfig, and all that publish themselves: while one restarts, the others know who drives.
pub(super) async fn servers(kubeconfig: &Kubeconfig, server: &ApiServer) -> Result<Vec<ApiServer>, Failure> {
    let published = server.published().await;
    let published = published.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?;
    let mut servers = vec![server.clone()];
    for url in published.iter().filter(|it| it.as_str() != server.url()) {
        let other = ApiServer::at(kubeconfig, url).await;
        servers.push(other.map_err(|error| Failure::from_error(&error).exit(exit(error.class())))?);
    }
    Ok(servers)
}

/// Of what this host knows and what the last driver shared, what was written later. Of two that are as new the shared one has more.
pub(in crate::cluster) fn newer(local: Option<Record>, shared: Option<Record>) -> Option<Record> {
    match (local, shared) {
        (Some(local), Some(shared)) if local.version() > shared.version() => Some(local),
        (local, shared) => shared.or(local),
    }
}

#[cfg(test)]
mod tests {
    use keystead_cluster::executor::{LeaseError, Record};
    use keystead_cluster::rollout::Goal;

    use super::{newer, not_driving};

    fn record(tenure: u64, serial: u64) -> Record {
        let mut record = Record::new("uid".to_owned(), Goal::Disable, Vec::new(), Vec::new());
        (record.tenure, record.serial) = (tenure, serial);
        record
    }

    #[test]
    fn what_a_driver_wrote_that_was_overtaken_is_older_however_much_it_was() {
        let version = |local, shared| newer(local, shared).map(|it| it.version());
        assert_eq!(version(Some(record(7, 99)), Some(record(8, 1))), Some((8, 1)));
        assert_eq!(version(Some(record(8, 2)), Some(record(8, 1))), Some((8, 2)));
        assert_eq!(version(Some(record(0, 3)), None), Some((0, 3)));
        assert_eq!(version(None, Some(record(8, 1))), Some((8, 1)));
        // A part's own file says what its operator wanted, the driver's what was done.
        let mut shared = record(8, 1);
        shared.reached = true;
        assert!(newer(Some(record(8, 1)), Some(shared)).is_some_and(|it| it.reached));
    }

    #[test]
    fn one_that_was_told_to_stop_ends_with_3() {
        assert_eq!(not_driving(&LeaseError::Stopped).code(), 3);
        assert_eq!(not_driving(&LeaseError::Lost("another".to_owned())).code(), 1);
    }
}
