//! What a caller says about a cluster besides its encryption: kept and given back where it changes nothing here, otherwise refused by
//! name.

use keystead_keyservice::KmsError;
use keystead_model::ErrorClass;
use keystead_proto::container::Cluster;
use keystead_proto::descriptor_pool;
use prost::Message;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, Value};

/// About nodes, networks and add-ons, which the owner of the cluster makes. Clients send some of it without being asked and expect it
/// back.
const KEPT: [&str; 22] = [
    "addons_config",
    "autopilot",
    "cluster_ipv4_cidr",
    "control_plane_endpoints_config",
    "default_max_pods_constraint",
    "description",
    "initial_node_count",
    "ip_allocation_policy",
    "locations",
    "logging_service",
    "maintenance_policy",
    "monitoring_service",
    "network",
    "network_config",
    "node_config",
    "node_pools",
    "release_channel",
    "shielded_nodes",
    "subnetwork",
    "autoscaling",
    "master_auth",
    "legacy_abac",
];

/// What has its own place in a cluster's record.
const HANDLED: [&str; 4] = ["name", "database_encryption", "resource_labels", "initial_cluster_version"];

/// What only answers have: whoever sends it back asks for nothing.
const OF_ANSWERS: [&str; 14] = [
    "label_fingerprint",
    "self_link",
    "zone",
    "endpoint",
    "current_master_version",
    "current_node_version",
    "create_time",
    "status",
    "status_message",
    "current_node_count",
    "location",
    "conditions",
    "id",
    "etag",
];

/// The JSON of what is kept. Names what is not served.
pub(super) fn kept(cluster: &Cluster) -> Result<String, KmsError> {
    let asked = DynamicMessage::decode(descriptor()?, cluster.encode_to_vec().as_slice());
    let asked = asked.map_err(|_| unreadable())?;
    let mut kept = DynamicMessage::new(asked.descriptor());
    for (field, value) in asked.fields() {
        let name = field.name();
        if KEPT.contains(&name) {
            kept.set_field(&field, value.clone());
        } else if !HANDLED.contains(&name) && !OF_ANSWERS.contains(&name) && asks_for_something(value) {
            return Err(unserved(name));
        }
    }
    refuse_access(cluster)?;
    serde_json::to_string(&kept).map_err(|_| unreadable())
}

/// What was kept, as the message that it was.
pub(super) fn restored(settings: &str) -> Result<Cluster, KmsError> {
    let mut json = serde_json::Deserializer::from_str(settings);
    let message = DynamicMessage::deserialize(descriptor()?, &mut json).map_err(|_| unreadable())?;
    message.transcode_to().map_err(|_| unreadable())
}

/// A message that stands for what is not served says by being there that somebody asks; any other by what is in it. Terraform's provider
/// sends much that asks for nothing.
fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Message(message) => {
            message.descriptor().fields().len() == 0
                || message.fields().any(|(_, inner)| asks_for_something(inner))
        }
        _ => true,
    }
}

/// Who may come in, and how: more of that is promised by nobody here.
fn refuse_access(cluster: &Cluster) -> Result<(), KmsError> {
    let endpoints = cluster.control_plane_endpoints_config.as_ref();
    let by_address = endpoints.and_then(|config| config.ip_endpoints_config.as_ref());
    let networks = by_address.and_then(|config| config.authorized_networks_config.as_ref());
    if networks.is_some_and(|networks| networks.enabled) {
        return Err(unserved(
            "control_plane_endpoints_config.ip_endpoints_config.authorized_networks_config.enabled",
        ));
    }
    if cluster.legacy_abac.is_some_and(|abac| abac.enabled) {
        return Err(unserved("legacy_abac.enabled"));
    }
    let Some(auth) = &cluster.master_auth else { return Ok(()) };
    if !auth.username.is_empty() || !auth.password.is_empty() {
        return Err(unserved("master_auth.username"));
    }
    if auth.client_certificate_config.is_some_and(|config| config.issue_client_certificate) {
        return Err(unserved("master_auth.client_certificate_config.issue_client_certificate"));
    }
    Ok(())
}

fn unserved(field: &str) -> KmsError {
    let text = format!(
        "The field cluster.{field} is not served by Keystead: it encrypts the Secrets of clusters, and leaves all else of them to those \
         who run them. Leave the field out."
    );
    KmsError::new(ErrorClass::Unimplemented, text)
}

fn descriptor() -> Result<MessageDescriptor, KmsError> {
    descriptor_pool().get_message_by_name("google.container.v1.Cluster").ok_or_else(unreadable)
}

fn unreadable() -> KmsError {
    KmsError::new(ErrorClass::Bug, "the settings of a cluster cannot be read")
}
