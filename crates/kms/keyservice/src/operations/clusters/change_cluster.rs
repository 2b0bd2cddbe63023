use std::collections::BTreeMap;

use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster::reencryption::check_reencrypt_label;
use keystead_model::cluster::{DETACH_LABEL, Target, Task};
use keystead_model::key_settings::check_labels;
use keystead_model::{Cluster, ClusterName, ClusterOperation, CryptoKeyName, ErrorClass};
use keystead_store::{Batch, Revision};

use super::key_check::needed;
use super::local_clusters::removing_local;
use super::{ended_at_once, method, new_operation};
use crate::records::usage::Inventory;
use crate::records::{Stored, encode, record_name};
use crate::service::FailureReason;
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Has a cluster encrypted with a key, whatever it is encrypted with now, or not at all. The key that it has already: everything is
/// encrypted anew.
pub struct UpdateClusterEncryption {
    /// The cluster.
    pub name: ClusterName,
    /// The key; none: encryption is switched off.
    pub key: Option<CryptoKeyName>,
}

/// Replaces the labels of a cluster.
pub struct SetClusterLabels {
    /// The cluster.
    pub name: ClusterName,
    /// All of them.
    pub labels: BTreeMap<String, String>,
    /// Of the labels that were read, as [`SetClusterLabels::fingerprint`] makes it; empty: whatever they are.
    pub fingerprint: String,
}

/// Forgets a cluster. It goes on as it is, and is managed here no more.
pub struct DeleteCluster {
    /// The cluster.
    pub name: ClusterName,
}

impl Operation for UpdateClusterEncryption {
    type Output = ClusterOperation;

    fn method(&self) -> Method {
        method("UpdateCluster", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersUpdate)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.name.clone())
    }

    fn describe(&self) -> SafeFields {
        let key = self.key.as_ref().map(CryptoKeyName::text);
        let state = if key.is_some() { "ENCRYPTED" } else { "DECRYPTED" };
        SafeFields::new().with("state", state).with_some("key", key.as_deref())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ClusterOperation, KmsError> {
        let Self { name, key } = authorised.command();
        let target = Target { key: key.clone() };
        let service = authorised.service();
        let stored = service.read_cluster(name).await?;
        if let Some(key) = key {
            service.check_key_location(name, key)?;
        }
        change_encryption(authorised, Batch::default(), stored, target, None).await
    }
}

/// Starts an update, and commits `batch` with it. `reason`: why the server does so by itself; none: somebody asked for it.
pub(super) async fn change_encryption<O: Operation>(
    authorised: &mut Authorised<'_, O>,
    mut batch: Batch,
    stored: Stored<Cluster>,
    target: Target,
    reason: Option<String>,
) -> Result<ClusterOperation, KmsError> {
    let service = authorised.service();
    let cluster = stored.value;
    cluster.check_idle()?;
    let name = &cluster.name;
    let task = Task::Update(target.clone());
    let waits = format!("waiting for the hosts of cluster {}", name.cluster);
    let operation = new_operation(authorised, name, task.clone(), waits)?;
    let operation = ClusterOperation { reason, ..operation };
    let refused = match &target.key {
        None => None,
        Some(key) => match service.check_key_is_usable(name, key).await {
            Ok(key) => {
                batch = needed(batch, &key)?;
                None
            }
            Err(error) if is_about_the_key(error.class()) => Some(error.message().to_owned()),
            Err(error) => return Err(error),
        },
    };
    let is_plain = cluster.needed_to_read().is_empty() && cluster.encryption.abandoned.is_none();
    let (cluster, operation) = match refused {
        // The cluster is as it was, and whoever looks at it later is told as well.
        Some(message) => {
            authorised.outcome().response.add("failure", message.as_str());
            authorised.tell_failure(&operation, FailureReason::Key, &message);
            let cluster = cluster.refuse(&target, &message, operation.start_time);
            (cluster, ended_at_once(&operation, Some(message)))
        }
        None if target.key.is_none() && is_plain => (cluster.forgive(), ended_at_once(&operation, None)),
        None => (cluster.start(operation.name.operation.clone(), task)?, operation),
    };
    replace(authorised, batch, &cluster, stored.revision, operation).await
}

impl Operation for SetClusterLabels {
    type Output = ClusterOperation;

    fn method(&self) -> Method {
        method("SetLabels", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersUpdate)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ClusterOperation, KmsError> {
        let Self { name, labels, fingerprint } = authorised.command();
        check_labels(labels)?;
        check_reencrypt_label(labels)?;
        let stored = authorised.service().read_cluster(name).await?;
        stored.value.check_idle()?;
        if !fingerprint.is_empty() && *fingerprint != Self::fingerprint(&stored.value.labels) {
            let text = format!("The labels of cluster {name} were changed meanwhile: read them again.");
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let cluster = Cluster { labels: labels.clone(), ..stored.value };
        let operation = new_operation(authorised, &cluster.name, Task::SetLabels, String::new())?;
        let operation = ended_at_once(&operation, None);
        replace(authorised, Batch::default(), &cluster, stored.revision, operation).await
    }
}

impl SetClusterLabels {
    /// Says whether labels are what they were: eight hexadecimal digits.
    pub fn fingerprint(labels: &BTreeMap<String, String>) -> String {
        // Lengths first, so that no two maps have one text.
        let text: String =
            labels.iter().map(|(key, value)| format!("{},{},{key}{value}", key.len(), value.len())).collect();
        hex::encode(crc32c::crc32c(text.as_bytes()).to_be_bytes())
    }
}

impl Operation for DeleteCluster {
    type Output = ClusterOperation;

    fn method(&self) -> Method {
        method("DeleteCluster", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersDelete)
    }

    fn target(&self) -> Resource {
        Resource::Cluster(self.name.clone())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ClusterOperation, KmsError> {
        let name = authorised.command().name.clone();
        let stored = authorised.service().read_cluster(&name).await?;
        stored.value.check_idle()?;
        let is_named = stored.value.labels.get(DETACH_LABEL).is_some_and(|it| *it == name.cluster.as_str());
        let is_local = stored.value.local_api_servers.is_some();
        match stored.value.needed_to_read().first() {
            // A local one goes with all that it holds.
            Some(key) if !is_named && !is_local => {
                let place =
                    format!("--location {} --project {}", name.location.location, name.location.project);
                let text = format!(
                    "Secrets of cluster {name} are stored under {key}. Nobody here would know that any more: switch encryption off first, \
                     with `gcloud container clusters update {0} {place} --disable-database-encryption`. If its hosts are gone for good, name it: \
                     `gcloud container clusters update {0} {place} --update-labels {DETACH_LABEL}={0}`, then delete it.",
                    name.cluster
                );
                return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
            }
            Some(key) => authorised.outcome().response = SafeFields::new().with("detachedFrom", key.text()),
            None => {}
        }
        let operation = new_operation(authorised, &name, Task::Delete, String::new())?;
        let operation = ended_at_once(&operation, None);
        let batch = Batch::default()
            .delete(record_name::cluster(&name), stored.revision)
            .create(record_name::cluster_operation(&operation.name), encode(&operation)?);
        let mut batch = removing_local(batch, &stored.value)?;
        // What it held keeps no version from being destroyed any more.
        for key in &stored.value.counted_keys {
            let record = record_name::inventory(key, &Inventory::source_of(&stored.value));
            if let Some(entry) = authorised.service().store.get(&record).await? {
                batch = batch.delete(record, entry.revision);
            }
        }
        let batch = authorised.service().removing_hosts(batch, &name, operation.start_time).await?;
        authorised.commit(batch).await?;
        Ok(operation)
    }
}

async fn replace<O: Operation>(
    authorised: &mut Authorised<'_, O>,
    batch: Batch,
    cluster: &Cluster,
    read_at: Revision,
    operation: ClusterOperation,
) -> Result<ClusterOperation, KmsError> {
    let batch = batch
        .replace(record_name::cluster(&cluster.name), read_at, encode(cluster)?)
        .create(record_name::cluster_operation(&operation.name), encode(&operation)?);
    authorised.commit(batch).await?;
    Ok(operation)
}

/// What can be wrong with a key. Anything else is wrong with the server or with the request.
fn is_about_the_key(class: ErrorClass) -> bool {
    use ErrorClass::{Corrupt, Denied, FailedPrecondition, NotFound};
    matches!(class, FailedPrecondition | NotFound | Denied | Corrupt)
}
