//! What a caller says about a cluster besides its encryption: kept and given back where it changes nothing here, otherwise refused by
//! name.

use keystead_keyservice::KmsError;
use keystead_model::ErrorClass;
use keystead_proto::container::{Cluster, ClusterUpdate};
use keystead_proto::descriptor_pool;
use prost::Message;
use prost_reflect::{DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _, Value};

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
    let asked = dynamic("google.container.v1.Cluster", cluster)?;
    let mut kept = DynamicMessage::new(asked.descriptor());
    for (field, value) in asked.fields() {
        let name = field.name();
        if KEPT.contains(&name) {
            check_kept(&format!("cluster.{name}"), value)?;
            kept.set_field(&field, value.clone());
        } else if !HANDLED.contains(&name) && !OF_ANSWERS.contains(&name) && asks(&field, value) {
            return Err(unserved(&format!("cluster.{name}")));
        }
    }
    refuse_access(cluster)?;
    serde_json::to_string(&kept).map_err(|_| unreadable())
}

/// Names what an update asks for besides the encryption.
pub(super) fn check_update(update: &ClusterUpdate) -> Result<(), KmsError> {
    let asked = dynamic("google.container.v1.ClusterUpdate", update)?;
    let mut others = asked.fields().filter(|(field, _)| field.name() != "desired_database_encryption");
    match others.find(|(field, value)| asks(field, value)) {
        Some((field, _)) => Err(unserved(&format!("update.{}", field.name()))),
        None => Ok(()),
    }
}

/// What was kept, as the message that it was.
pub(super) fn restored(settings: &str) -> Result<Cluster, KmsError> {
    let mut json = serde_json::Deserializer::from_str(settings);
    let kind = descriptor("google.container.v1.Cluster")?;
    let message = DynamicMessage::deserialize(kind, &mut json).map_err(|_| unreadable())?;
    message.transcode_to().map_err(|_| unreadable())
}

/// Whether a field asks for something that would have to be done: what is off, empty or the default does not. Terraform's provider sends
/// much of that.
fn asks(field: &FieldDescriptor, value: &Value) -> bool {
    match value {
        Value::Message(message) => {
            let is_off = |field: &FieldDescriptor| {
                field.name() == "enabled" && *message.get_field(field) == Value::Bool(false)
            };
            // One mode of this asks for something although the older switch is off.
            let has_mode = message.descriptor().name() == "BinaryAuthorization";
            is_unserved(message)
                || (has_mode || !message.descriptor().fields().any(|field| is_off(&field)))
                    && message.fields().any(|(field, inner)| asks(&field, inner))
        }
        Value::EnumNumber(number) => {
            let kind = field.kind();
            let chosen = kind.as_enum().and_then(|kind| kind.get_value(*number));
            !chosen.is_some_and(|chosen| chosen.name().ends_with("DISABLED"))
        }
        Value::Bool(on) => *on,
        Value::String(text) => !text.is_empty(),
        _ => true,
    }
}

/// What is kept is given back as it was, so all of it must be known here, and be text that a terminal can show.
fn check_kept(path: &str, value: &Value) -> Result<(), KmsError> {
    match value {
        Value::Message(message) if is_refused_elsewhere(message) => Err(unserved(path)),
        Value::Message(message) => message
            .fields()
            .try_for_each(|(field, inner)| check_kept(&format!("{path}.{}", field.name()), inner)),
        Value::List(items) => items.iter().try_for_each(|item| check_kept(path, item)),
        Value::Map(items) => items.iter().try_for_each(|(key, item)| {
            let key = key.as_str().unwrap_or_default();
            check_text(path, key)?;
            check_kept(path, item)
        }),
        Value::String(text) => check_text(path, text),
        _ => Ok(()),
    }
}

/// Refuses text that a terminal would obey.
pub(super) fn check_text(path: &str, text: &str) -> Result<(), KmsError> {
    match text.chars().any(char::is_control) {
        true => Err(KmsError::invalid(format!("The field {path} holds a control character."))),
        false => Ok(()),
    }
}

/// What is refused of a cluster is refused of its nodes, too.
fn is_refused_elsewhere(message: &DynamicMessage) -> bool {
    let of_cluster = descriptor("google.container.v1.Cluster").ok();
    let refused = of_cluster.iter().flat_map(MessageDescriptor::fields).any(|field| {
        !KEPT.contains(&field.name()) && field.kind().as_message() == Some(&message.descriptor())
    });
    is_unserved(message) || refused && message.fields().any(|(field, inner)| asks(&field, inner))
}

/// A message that stands for what is not served.
fn is_unserved(message: &DynamicMessage) -> bool {
    message.descriptor().name() == "Unserved"
}

/// Who may come in, and how: more of that is promised by nobody here.
fn refuse_access(cluster: &Cluster) -> Result<(), KmsError> {
    let endpoints = cluster.control_plane_endpoints_config.as_ref();
    let by_address = endpoints.and_then(|config| config.ip_endpoints_config.as_ref());
    let networks = by_address.and_then(|config| config.authorized_networks_config.as_ref());
    if networks.is_some_and(|networks| networks.enabled) {
        return Err(unserved(
            "cluster.control_plane_endpoints_config.ip_endpoints_config.authorized_networks_config.enabled",
        ));
    }
    if cluster.legacy_abac.is_some_and(|abac| abac.enabled) {
        return Err(unserved("cluster.legacy_abac.enabled"));
    }
    let Some(auth) = &cluster.master_auth else { return Ok(()) };
    if !auth.username.is_empty() || !auth.password.is_empty() {
        return Err(unserved("cluster.master_auth.username"));
    }
    if !auth.client_key.is_empty() || !auth.client_certificate.is_empty() {
        return Err(unserved("cluster.master_auth.client_key"));
    }
    if auth.client_certificate_config.is_some_and(|config| config.issue_client_certificate) {
        return Err(unserved("cluster.master_auth.client_certificate_config.issue_client_certificate"));
    }
    Ok(())
}

fn unserved(field: &str) -> KmsError {
    let text = format!(
        "The field {field} is not served by Keystead: it encrypts the Secrets of clusters, and leaves all else of them to those \
         who run them. Leave the field out."
    );
    KmsError::new(ErrorClass::Unimplemented, text)
}

fn dynamic(kind: &str, message: &impl Message) -> Result<DynamicMessage, KmsError> {
    DynamicMessage::decode(descriptor(kind)?, message.encode_to_vec().as_slice()).map_err(|_| unreadable())
}

fn descriptor(kind: &str) -> Result<MessageDescriptor, KmsError> {
    descriptor_pool().get_message_by_name(kind).ok_or_else(unreadable)
}

fn unreadable() -> KmsError {
    KmsError::new(ErrorClass::Bug, "the settings of a cluster cannot be read")
}
