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

/// What etcd was asked.
pub(super) struct Answers {
    pub(super) stored: Seen<Stored>,
    /// Kinds and members.
    pub(super) alarms: Seen<Vec<(String, String)>>,
    /// Whether it holds the cluster that the kubeconfig leads to.
    pub(super) is_own: Seen<bool>,
}

impl Answers {
    pub(super) fn unseen(reason: &str) -> Self {
        let reason = || reason.to_owned();
        Self { stored: Err(reason()), alarms: Err(reason()), is_own: Err(reason()) }
    }
}

pub(super) async fn look(report: &Seen<Report>, resources: &[String], cluster: &Seen<String>) -> Answers {
    let report = match with_manifest(report) {
        Ok(report) => report,
        Err(reason) => return Answers::unseen(&reason),
    };
    match Etcd::connect(&report.etcd.connection()).await {
        Ok(etcd) => Answers {
            stored: count(&etcd, report, resources).await,
            alarms: alarms(&etcd).await,
            is_own: is_own(&etcd, report, cluster).await,
        },
        Err(error) => Answers::unseen(&ErrorChain(&error).to_string()),
    }
}

async fn is_own(etcd: &Etcd, report: &Report, cluster: &Seen<String>) -> Seen<bool> {
    let cluster = cluster.as_ref().map_err(Clone::clone)?;
    let is_own = stored_values::is_of_cluster(etcd, &report.etcd.layout().etcd_prefix, cluster).await;
    is_own.map_err(|error| ErrorChain(&error).to_string())
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

async fn alarms(etcd: &Etcd) -> Seen<Vec<(String, String)>> {
    let alarms = etcd.alarms().await.map_err(|error| ErrorChain(&error).to_string())?;
    Ok(alarms.into_iter().map(|it| (it.kind, it.member)).collect())
}
