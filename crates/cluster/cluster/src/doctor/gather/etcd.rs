//! What etcd holds, and what it says of itself.

use keystead_etcd::Etcd;
use keystead_model::ErrorChain;

use super::with_manifest;
use crate::doctor::facts::{Seen, StoredFacts};
use crate::encryption_configuration::GroupResource;
use crate::host::Report;
use crate::kms_socket::Wrapped;
use crate::rollout::Provider;
use crate::stored_values;

/// What was counted.
pub(super) struct Stored {
    pub(super) resources: Vec<StoredFacts>,
    /// What a wildcard covers has no one place in etcd.
    pub(super) uncounted: Vec<String>,
    /// One wrapped seed of each key id.
    pub(super) seeds: Vec<(Provider, Wrapped)>,
}

/// Kinds and members.
pub(super) type Alarms = Vec<(String, String)>;

pub(super) async fn look(report: &Seen<Report>, resources: &[String]) -> (Seen<Stored>, Seen<Alarms>) {
    let report = match with_manifest(report) {
        Ok(report) => report,
        Err(reason) => return (Err(reason.clone()), Err(reason)),
    };
    match Etcd::connect(&report.etcd.connection()).await {
        Ok(etcd) => (count(&etcd, report, resources).await, alarms(&etcd).await),
        Err(error) => {
            let reason = ErrorChain(&error).to_string();
            (Err(reason.clone()), Err(reason))
        }
    }
}

async fn count(etcd: &Etcd, report: &Report, resources: &[String]) -> Seen<Stored> {
    let mut all = resources.to_vec();
    all.extend(report.resources.iter().filter(|it| !resources.contains(it)).cloned());
    let (uncounted, mut all): (Vec<String>, Vec<String>) = all.into_iter().partition(|it| it.contains('*'));
    if all.is_empty() {
        all.push("secrets".to_owned());
    }
    let mut stored = Stored { resources: Vec::new(), uncounted, seeds: Vec::new() };
    for resource in all {
        let found = stored_values::count(etcd, &report.etcd.layout(), &GroupResource::parse(&resource)).await;
        let found = found.map_err(|error| ErrorChain(&error).to_string())?;
        stored.resources.push(StoredFacts { resource, counts: found.counts, malformed: found.malformed });
        stored.seeds.extend(found.seeds);
    }
    Ok(stored)
}

async fn alarms(etcd: &Etcd) -> Seen<Alarms> {
    let alarms = etcd.alarms().await.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(alarms.into_iter().map(|it| (it.kind, it.member)).collect())
}
