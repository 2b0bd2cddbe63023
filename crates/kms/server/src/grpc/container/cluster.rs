use keystead_keyservice::operations::SetClusterLabels;
use keystead_model::Cluster;
use keystead_model::cluster::Task;
use keystead_proto::container as proto;
use keystead_proto::container::cluster::Status;

use super::{encryption, settings};

/// As the API shows it. `address`: of this server, for links.
pub(super) fn cluster(cluster: &Cluster, address: &str) -> proto::Cluster {
    let kept = settings::restored(&cluster.name, &cluster.settings);
    let location = cluster.name.location.location.to_string();
    let status = match cluster.running.as_ref().map(|running| &running.task) {
        None => Status::Running,
        Some(Task::Create(_)) => Status::Provisioning,
        Some(Task::Update(_) | Task::SetLabels) => Status::Reconciling,
        Some(Task::Delete) => Status::Stopping,
    };
    let failure = cluster.encryption.failures.last();
    proto::Cluster {
        name: cluster.name.cluster.to_string(),
        id: cluster.id.clone(),
        location: location.clone(),
        zone: location,
        self_link: format!("{address}v1/{}", cluster.name),
        create_time: cluster.create_time.to_string(),
        initial_cluster_version: cluster.initial_version.clone(),
        resource_labels: cluster.labels.clone().into_iter().collect(),
        label_fingerprint: SetClusterLabels::fingerprint(&cluster.labels),
        status: status.into(),
        status_message: failure.map(|failure| failure.message.clone()).unwrap_or_default(),
        database_encryption: Some(encryption::shown(cluster)),
        // Terraform's provider reads these two without looking whether they are there.
        legacy_abac: Some(proto::LegacyAbac::default()),
        network_config: Some(kept.network_config.clone().unwrap_or_default()),
        ..kept
    }
}
