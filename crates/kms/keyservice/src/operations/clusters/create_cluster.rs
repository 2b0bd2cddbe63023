use std::collections::BTreeMap;

use keystead_audit::SafeFields;
use keystead_iam::Permission;
use keystead_model::cluster::reencryption::check_reencrypt_label;
use keystead_model::cluster::{Encryption, Target, Task};
use keystead_model::key_settings::check_labels;
use keystead_model::{Cluster, ClusterName, ClusterOperation, CryptoKeyName, ErrorClass, to_microseconds};
use keystead_store::Batch;

use super::key_check::needed;
use super::local_clusters::local_api_servers;
use super::{method, new_operation};
use crate::records::{encode, record_name};
use crate::{Authorised, KmsError, Method, MethodKind, Operation, Resource};

/// Clusters of one project. A list of them is one answer, because the API has no pages for it.
const MOST_CLUSTERS: u64 = 500;
/// What is kept for the caller of one cluster, in bytes.
const MAX_SETTINGS_LEN: usize = 16 * 1024;
/// Longest version that is asked for, in bytes; `latest` and `1.37.2-gke.100` are some.
const MAX_VERSION_LEN: usize = 63;

/// Makes a cluster known here. It is there when its hosts have joined it.
pub struct CreateCluster {
    /// Its name.
    pub name: ClusterName,
    /// The key that its Secrets are encrypted with; none: they are plain.
    pub key: Option<CryptoKeyName>,
    /// Free data.
    pub labels: BTreeMap<String, String>,
    /// What else was said: JSON as the API writes it, at most 16 KiB.
    pub settings: String,
    /// The version that is wanted, such as `latest`.
    pub initial_version: String,
}

impl Operation for CreateCluster {
    type Output = ClusterOperation;

    fn method(&self) -> Method {
        method("CreateCluster", MethodKind::AdminWrite)
    }

    fn permission(&self) -> Option<Permission> {
        Some(Permission::ClustersCreate)
    }

    fn target(&self) -> Resource {
        Resource::Location(self.name.location.clone())
    }

    fn describe(&self) -> SafeFields {
        let key = self.key.as_ref().map(CryptoKeyName::text);
        SafeFields::new().with("cluster", self.name.cluster.as_str()).with_some("key", key.as_deref())
    }

    async fn perform(authorised: &mut Authorised<'_, Self>) -> Result<ClusterOperation, KmsError> {
        let service = authorised.service();
        let Self { name, labels, settings, initial_version, .. } = authorised.command();
        service.region(&name.location)?;
        check_labels(labels)?;
        check_reencrypt_label(labels)?;
        check_len("cluster.initial_cluster_version", initial_version.len(), MAX_VERSION_LEN)?;
        check_len("cluster", settings.len(), MAX_SETTINGS_LEN)?;
        let local_api_servers = local_api_servers(labels, service.settings.local_clusters)?;
        let name = name.clone();
        authorised.outcome().resource = Some(name.to_string().into());
        if service.store.get(&record_name::cluster(&name)).await?.is_some() {
            return Err(KmsError::already_exists("Cluster", name));
        }
        // Written with each new cluster, so that two do not count at the same time.
        let counted = record_name::counted_clusters(&name.location.project);
        let guard = service.store.get(&counted).await?;
        if service.store.count(&record_name::clusters_of(&name.location.project)).await? >= MOST_CLUSTERS {
            let text =
                format!("Project {} has {MOST_CLUSTERS} clusters, which is the most.", name.location.project);
            return Err(KmsError::new(ErrorClass::FailedPrecondition, text));
        }
        let Self { key, labels, settings, initial_version, .. } = authorised.command();
        let mut usable = None;
        if let Some(key) = key {
            service.check_key_location(&name, key)?;
            usable = Some(service.check_key_is_usable(&name, key).await?);
        }
        let task = Task::Create(Target { key: key.clone() });
        let waits = match local_api_servers {
            Some(_) => format!("starting the hosts of cluster {}", name.cluster),
            None => format!("waiting for the hosts of cluster {} to join it", name.cluster),
        };
        let operation = new_operation(authorised, &name, task.clone(), waits)?;
        let cluster = Cluster {
            name: name.clone(),
            id: hex::encode(service.random_bytes::<32>()?),
            create_time: to_microseconds(authorised.now()),
            labels: labels.clone(),
            settings: settings.clone(),
            initial_version: initial_version.clone(),
            encryption: Encryption::default(),
            running: None,
            local_api_servers,
            counted_keys: Vec::new(),
        };
        let cluster = cluster.start(operation.name.operation.clone(), task)?;
        let batch = Batch::default()
            .create(record_name::cluster(&name), encode(&cluster)?)
            .create(record_name::cluster_operation(&operation.name), encode(&operation)?);
        let batch = match guard {
            Some(guard) => batch.replace(counted, guard.revision, Vec::new()),
            None => batch.create(counted, Vec::new()),
        };
        let batch = match &usable {
            Some(key) => needed(batch, key)?,
            None => batch,
        };
        match authorised.commit(batch).await {
            Ok(_) => Ok(operation),
            // The cluster, or another one of the project, was made meanwhile.
            Err(error) if error.class() == ErrorClass::AlreadyExists => Err(authorised.start_over(error)),
            Err(error) => Err(error),
        }
    }
}

fn check_len(field: &str, len: usize, max: usize) -> Result<(), KmsError> {
    if len <= max {
        return Ok(());
    }
    Err(KmsError::invalid(format!("The field {field} is {len} bytes long; at most {max} bytes are allowed.")))
}
