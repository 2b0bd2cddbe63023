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

/// Counts with one wrapped seed of each key id.
type Stored = (Vec<StoredFacts>, Vec<(Provider, Wrapped)>);

/// Kinds and members.
type Alarms = Vec<(String, String)>;

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
    let (mut stored, mut seeds) = (Vec::new(), Vec::new());
    let mut all = resources.to_vec();
    all.extend(report.resources.iter().filter(|it| !resources.contains(it)).cloned());
    // What a wildcard covers has no one place in etcd.
    for resource in all.into_iter().filter(|it| !it.contains('*')) {
        let found = stored_values::count(etcd, &report.etcd.layout(), &GroupResource::parse(&resource)).await;
        let found = found.map_err(|error| ErrorChain(&error).to_string())?;
        stored.push(StoredFacts { resource, counts: found.counts, malformed: found.malformed });
        seeds.extend(found.seeds);
    }
    Ok((stored, seeds))
}

async fn alarms(etcd: &Etcd) -> Seen<Alarms> {
    let alarms = etcd.alarms().await.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(alarms.into_iter().map(|it| (it.kind, it.member)).collect())
}
