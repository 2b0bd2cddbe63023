//! Re-encryption that nobody asked for: after a rotation the server starts it, for clusters that want that.
//!
//! Values stay under the version that encrypted them, so that a rotation protects only what is written later. A cluster with the label
//! [`REENCRYPT_LABEL`] has them written anew. That costs every host a run over all Secrets, and so it is paced: see [`PACE`] and [`PAUSE`].

use std::collections::BTreeMap;
use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::cluster_host::are_all_there;
use crate::{Cluster, ClusterHost, ClusterOperation, CryptoKey, CryptoKeyName, VersionNumber};

/// The label of a cluster that is to be encrypted anew without being asked for. Its value says when.
pub const REENCRYPT_LABEL: &str = "keystead-reencrypt";
/// The only value of [`REENCRYPT_LABEL`]: when values are under another version of the cluster's key than the primary one.
pub const AFTER_ROTATION: &str = "after-rotation";

/// While one that the server started runs, it starts no other for so long. One that waits for a person, or for a host that went away, must
/// not hold up all others for ever.
pub const PACE: SignedDuration = SignedDuration::from_hours(1);
/// After it has started one for a cluster, or one of the cluster failed or was cancelled, whoever started it, the server starts no other
/// for so long. Somebody has to look first; and a host that counts wrongly has its cluster written anew once a day and not for ever.
pub const PAUSE: SignedDuration = SignedDuration::from_hours(24);

/// Values of a cluster that are not under the primary version of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outdated {
    /// The key.
    pub key: CryptoKeyName,
    /// Its primary version.
    pub primary: VersionNumber,
    /// How many values are under others; never 0.
    pub objects: u64,
    /// When they were counted.
    pub observe_time: Timestamp,
}

impl Outdated {
    /// What was counted under the versions of a key, as far as it is not under the primary one; none: nothing is, or there is no primary.
    pub fn of(
        key: &CryptoKey,
        counts: &BTreeMap<VersionNumber, u64>,
        observe_time: Timestamp,
    ) -> Option<Self> {
        let primary = key.primary?;
        let others = counts.iter().filter(|(version, _)| **version != primary);
        let objects = others.fold(0, |sum: u64, (_, objects)| sum.saturating_add(*objects));
        (objects > 0).then(|| Self { key: key.name.clone(), primary, objects, observe_time })
    }
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, primary, objects, observe_time } = self;
        let plural = if *objects == 1 { "" } else { "s" };
        write!(
            f,
            "{objects} object{plural} under other versions of {key} than its primary version {primary}, counted at {observe_time}"
        )
    }
}

/// A value of [`REENCRYPT_LABEL`] that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The label {REENCRYPT_LABEL} is {0:?}. Its only value is {AFTER_ROTATION}: when the cluster's key was rotated, this server has \
     everything encrypted anew. Leave the label out for a cluster that is encrypted anew only when somebody updates it."
)]
pub struct UnknownReencryption(String);

/// Refuses labels that ask for what there is not.
pub fn check_reencrypt_label(labels: &BTreeMap<String, String>) -> Result<(), UnknownReencryption> {
    match labels.get(REENCRYPT_LABEL) {
        Some(value) if value != AFTER_ROTATION => Err(UnknownReencryption(value.clone())),
        _ => Ok(()),
    }
}

impl Cluster {
    /// Whether the server is to have it encrypted anew after a rotation.
    pub fn wants_reencryption(&self) -> bool {
        self.labels.get(REENCRYPT_LABEL).is_some_and(|it| it == AFTER_ROTATION)
    }
}

/// Whether the server may start one at all: none that it started runs, or it was long ago.
pub fn may_start(operations: &[ClusterOperation], now: Timestamp) -> bool {
    let runs = |it: &&ClusterOperation| it.reason.is_some() && it.end.is_none();
    !operations.iter().filter(runs).any(|it| is_within(PACE, it.start_time, now))
}

/// Whether the server is to start one for a cluster now. `operations` are those of the cluster, in any order.
///
/// What was counted before the last change of the encryption ended says nothing of what is there now.
pub fn is_due(
    cluster: &Cluster,
    hosts: &[ClusterHost],
    outdated: &Outdated,
    operations: &[&ClusterOperation],
    now: Timestamp,
) -> bool {
    // A cluster that is on its way between keys is somebody's to bring where it was going.
    let is_settled = cluster.running.is_none()
        && cluster.encryption.abandoned.is_none()
        && cluster.needed_to_read() == [outdated.key.clone()];
    let changes = || operations.iter().filter(|it| it.task.target().is_some());
    let ends = || changes().filter_map(|it| it.end.as_ref());
    let pauses = changes()
        .filter(|it| it.reason.is_some())
        .map(|it| it.start_time)
        .chain(ends().filter(|it| it.failure.is_some()).map(|it| it.time));
    cluster.wants_reencryption()
        && is_settled
        && ends().all(|it| it.time < outdated.observe_time)
        && !pauses.into_iter().any(|time| is_within(PAUSE, time, now))
        && are_all_there(cluster, hosts, now)
}

/// Of whichever of both is later: a clock that was ahead must not hold anything up until it is as late again.
fn is_within(duration: SignedDuration, time: Timestamp, now: Timestamp) -> bool {
    now.duration_since(time).abs() < duration
}

#[cfg(test)]
mod tests;
