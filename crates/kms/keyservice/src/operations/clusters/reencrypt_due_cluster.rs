use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster::Target;
use keystead_model::cluster::reencryption::{AFTER_ROTATION, Outdated, REENCRYPT_LABEL, is_due, may_start};
use keystead_model::{Cluster, ClusterOperation, CryptoKey};
use keystead_store::Batch;

use super::change_cluster::change_encryption;
use super::method;
use crate::records::usage::Inventory;
use crate::records::{Stored, record_name};
use crate::{Authorised, KeyService, KmsError, Method, MethodKind, Operation, Resource};

/// Starts re-encryption of one cluster that wants it after a rotation, if one is due: of those the one for which the server has not done so
/// for the longest time. Answers whether it did.
pub(crate) struct ReencryptDueCluster;

impl Operation for ReencryptDueCluster {
    type Output = bool;

    fn method(&self) -> Method {
        method("ReencryptCluster", MethodKind::System)
    }

    fn permission(&self) -> Option<Permission> {
        None
    }

    fn target(&self) -> Resource {
        Resource::Server
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<bool, KmsError> {
        let (service, now) = (authorised.service(), authorised.now());
        // Written with each start, so that two servers on one store do not start one each.
        let guard = service.store.get(record_name::REENCRYPTION).await?;
        let Some((cluster, outdated)) = service.cluster_to_reencrypt(now).await? else {
            authorised.outcome().unrecorded = true;
            return Ok(false);
        };
        let reason = format!(
            "Started by this server, because the cluster's label {REENCRYPT_LABEL}={AFTER_ROTATION} asks for it: {outdated}."
        );
        authorised.outcome().resource = Some(cluster.value.name.to_string().into());
        authorised.outcome().response = SafeFields::new().with("reason", reason.as_str());
        let batch = match guard {
            Some(guard) => {
                Batch::default().replace(record_name::REENCRYPTION.to_owned(), guard.revision, Vec::new())
            }
            None => Batch::default().create(record_name::REENCRYPTION.to_owned(), Vec::new()),
        };
        let target = Target { key: Some(outdated.key) };
        change_encryption(authorised, batch, cluster, target, Some(reason)).await?;
        Ok(true)
    }
}

impl KeyService {
    async fn cluster_to_reencrypt(
        &self,
        now: jiff::Timestamp,
    ) -> Result<Option<(Stored<Cluster>, Outdated)>, KmsError> {
        let mut candidates = Vec::new();
        for cluster in self.read_all::<Cluster>(record_name::CLUSTERS).await? {
            if !cluster.wants_reencryption() || cluster.running.is_some() {
                continue;
            }
            // As it is when its values are looked at: the batch expects this revision.
            let Some(stored) = self.read::<Cluster>(&record_name::cluster(&cluster.name)).await? else {
                continue;
            };
            if let Some(outdated) = self.outdated(&stored.value).await? {
                candidates.push((stored, outdated));
            }
        }
        if candidates.is_empty() {
            return Ok(None);
        }
        let operations: Vec<ClusterOperation> = self.read_all(record_name::CLUSTER_OPERATIONS).await?;
        if !may_start(&operations, now) {
            return Ok(None);
        }
        let of = |cluster: &Cluster| {
            let is_its = |it: &&ClusterOperation| {
                it.name.location == cluster.name.location && it.cluster == cluster.name.cluster
            };
            operations.iter().filter(is_its).collect::<Vec<_>>()
        };
        let last = |cluster: &Cluster| {
            of(cluster).iter().filter(|it| it.reason.is_some()).map(|it| it.start_time).max()
        };
        candidates.sort_by_cached_key(|(cluster, _)| last(&cluster.value));
        for (cluster, outdated) in candidates {
            let hosts = self.hosts_of(&cluster.value.name).await?;
            if is_due(&cluster.value, &hosts, &outdated, &of(&cluster.value), now) {
                return Ok(Some((cluster, outdated)));
            }
        }
        Ok(None)
    }

    /// What a cluster's last inventory has under other versions of its key than the primary one.
    pub(super) async fn outdated(&self, cluster: &Cluster) -> Result<Option<Outdated>, KmsError> {
        let Some(name) = &cluster.encryption.key else { return Ok(None) };
        let inventory = record_name::inventory(name, &Inventory::source_of(cluster));
        let Some(inventory) = self.read::<Inventory>(&inventory).await? else { return Ok(None) };
        let Some(key) = self.read::<CryptoKey>(&record_name::key(name)).await? else { return Ok(None) };
        Ok(Outdated::of(&key.value, &inventory.value.counts, inventory.value.observe_time))
    }
}
