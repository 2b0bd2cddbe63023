//! Drivers on several hosts: one at a time, with the record of the last one.

use keystead_cluster::api::{ApiServer, Kubeconfig};
use keystead_cluster::executor::{DriverLease, LeaseError, Record};
use keystead_runtime::Failure;
use tokio_util::sync::CancellationToken;

use super::told::tell;
use crate::cluster::reencrypt::exit;

/// Takes the Lease, and gives the record that the last driver shared. With `told`, a person is told that another driver may be gone.
pub(super) async fn take_lease(
    servers: &[ApiServer],
    holder: &str,
    stop: &CancellationToken,
    told: bool,
) -> Result<(DriverLease, Option<Record>), LeaseError> {
    let mut wait = |other: &str| {
        if told {
            tell(&format!(
                "waits until it is certain whether {other} still drives a rollout, at most half a minute"
            ));
        }
    };
    DriverLease::acquire(servers.to_vec(), holder.to_owned(), stop.clone(), &mut wait).await
}

pub(super) fn not_driving(error: &LeaseError) -> Failure {
    let failure = Failure::from_error(error).exit(exit(error.class()));
    match error {
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

/// Of what this host knows and what the last driver shared, what was written later.
pub(in crate::cluster) fn newer(local: Option<Record>, shared: Option<Record>) -> Option<Record> {
    match (local, shared) {
        (Some(local), Some(shared)) if local.serial > shared.serial => Some(local),
        (local, shared) => shared.or(local),
    }
}
