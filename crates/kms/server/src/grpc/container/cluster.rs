use base64::engine::general_purpose::STANDARD;
use keystead_keyservice::operations::{ClusterView, SetClusterLabels};
use keystead_model::cluster::Task;
use keystead_model::cluster::reencryption::Outdated;
use keystead_proto::container as proto;
use keystead_proto::container::cluster::Status;

use super::{encryption, settings};
use crate::local_clusters::LocalState;

/// Where kubectl is led that is given a cluster of somebody's own hosts: a name that never is one, and says what to do. gcloud ends with an
/// error where a cluster has no endpoint; and with a real one it would send tokens of this server to an API server that is somebody else's.
const NOT_OURS: &str = "use-its-own-kubeconfig.invalid";

/// As the API shows it. `address`: of this server, for links. `local`: what is seen of it, if this server runs it.
pub(super) fn cluster(view: &ClusterView, address: &str, local: Option<&LocalState>) -> proto::Cluster {
    let ClusterView { cluster, outdated } = view;
    let trouble = local.and_then(|it| it.trouble.clone());
    let local = local.and_then(|it| it.endpoint.as_ref());
    let kept = settings::restored(&cluster.name, &cluster.settings);
    let location = cluster.name.location.location.to_string();
    let status = match cluster.running.as_ref().map(|running| &running.task) {
        None if trouble.is_some() => Status::Error,
        None => Status::Running,
        Some(Task::Create(_)) => Status::Provisioning,
        Some(Task::Update(_) | Task::SetLabels) => Status::Reconciling,
        Some(Task::Delete) => Status::Stopping,
    };
    let endpoint = match cluster.local_api_servers {
        Some(_) => local.map(|it| it.endpoint.clone()).unwrap_or_default(),
        None => NOT_OURS.to_owned(),
    };
    let version = local.map(|it| it.version.clone()).unwrap_or_default();
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
        status_message: trouble
            .or_else(|| failure.map(|it| it.message.clone()))
            .or_else(|| outdated.as_ref().map(outdated_text))
            .unwrap_or_default(),
        database_encryption: Some(encryption::shown(cluster)),
        endpoint,
        current_master_version: version.clone(),
        // gcloud compares the two, and crashes where one of them is none.
        current_node_version: version,
        master_auth: local.map(|it| proto::MasterAuth {
            cluster_ca_certificate: base64::Engine::encode(&STANDARD, &it.authority_pem),
            ..proto::MasterAuth::default()
        }),
        // Terraform's provider reads these two without looking whether they are there.
        legacy_abac: Some(proto::LegacyAbac::default()),
        network_config: Some(kept.network_config.clone().unwrap_or_default()),
        ..kept
    }
}

/// What is to be known of a cluster with which nothing is wrong.
fn outdated_text(outdated: &Outdated) -> String {
    format!("{outdated}. An update with the same key encrypts them anew.")
}
