//! What a caller says about a cluster besides its encryption: kept and given back where it changes nothing here, otherwise refused by
//! name.

use keystead_keyservice::KmsError;
use keystead_model::{ClusterName, ErrorClass};
use keystead_proto::container::{Cluster, ClusterUpdate};
use keystead_proto::descriptor_pool;
use prost::Message;
use prost_reflect::{
    DeserializeOptions, DynamicMessage, FieldDescriptor, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::methods::is_unserved;

const CLUSTER: &str = "google.container.v1.Cluster";

/// About nodes, networks and add-ons, which the owner of the cluster makes. Clients send some of it without being asked and expect it
/// back.
const KEPT: [&str; 20] = [
    "addons_config",
    "autopilot",
    "autoscaling",
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
    let whole = dynamic(CLUSTER, cluster)?;
    let mut kept = DynamicMessage::new(whole.descriptor());
    for (field, value) in whole.fields() {
        let (name, path) = (field.name(), format!("cluster.{}", field.name()));
        if KEPT.contains(&name) {
            check_kept(&path, &field, value)?;
            kept.set_field(&field, value.clone());
        } else if !HANDLED.contains(&name) && !OF_ANSWERS.contains(&name) {
            refuse_asked(path, &field, value)?;
        }
    }
    serde_json::to_string(&kept).map_err(|_| unreadable())
}

/// Names what an update asks for besides the encryption.
pub(super) fn check_update(update: &ClusterUpdate) -> Result<(), KmsError> {
    let whole = dynamic("google.container.v1.ClusterUpdate", update)?;
    let mut others = whole.fields().filter(|(field, _)| field.name() != "desired_database_encryption");
    others.try_for_each(|(field, value)| refuse_asked(format!("update.{}", field.name()), &field, value))
}

/// What was kept, as the message that it was. What cannot be read is left out, because nothing depends on it and the rest of the cluster
/// matters more; a newer version may have kept more.
pub(super) fn restored(cluster: &ClusterName, settings: &str) -> Cluster {
    let read = || {
        let mut json = serde_json::Deserializer::from_str(settings);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let kind = descriptor(CLUSTER)?;
        let message = DynamicMessage::deserialize_with_options(kind, &mut json, &options);
        message.map_err(|_| unreadable())?.transcode_to().map_err(|_| unreadable())
    };
    read().unwrap_or_else(|error| {
        tracing::error!(%cluster, %error, "what was kept of a cluster's settings is not shown");
        Cluster::default()
    })
}

fn refuse_asked(path: String, field: &FieldDescriptor, value: &Value) -> Result<(), KmsError> {
    match asked(path, field, value) {
        Some(path) => Err(unserved(&path)),
        None => Ok(()),
    }
}

/// The path of the first thing in a value that would have to be done: what is off, empty or the default is none. Terraform's provider
/// sends much of that.
fn asked(path: String, field: &FieldDescriptor, value: &Value) -> Option<String> {
    let asks = match value {
        Value::Message(message) if is_unserved(&message.descriptor()) => true,
        Value::Message(message) if is_off(message) => false,
        Value::Message(message) => {
            let mut fields = message.fields();
            return fields
                .find_map(|(field, value)| asked(format!("{path}.{}", field.name()), &field, value));
        }
        Value::EnumNumber(number) => {
            let kind = field.kind();
            let chosen = kind.as_enum().and_then(|kind| kind.get_value(*number));
            !chosen.is_some_and(|chosen| chosen.name().ends_with("DISABLED"))
        }
        Value::Bool(on) => *on,
        Value::String(text) => !text.is_empty(),
        _ => true,
    };
    asks.then_some(path)
}

/// Whether a message says that the whole is off, whatever else is in it.
fn is_off(message: &DynamicMessage) -> bool {
    let kind = message.descriptor();
    // This has a mode that counts although its older switch is off.
    let has_mode = kind.name() == "BinaryAuthorization";
    let switch = kind.get_field_by_name("enabled").filter(|_| !has_mode);
    switch.is_some_and(|switch| *message.get_field(&switch) == Value::Bool(false))
}

/// What is kept is given back as it was, so all of it must be known here, and be text that a terminal can show.
fn check_kept(path: &str, field: &FieldDescriptor, value: &Value) -> Result<(), KmsError> {
    match value {
        Value::Message(message) if is_refused_of_clusters(&message.descriptor()) => {
            refuse_asked(path.to_owned(), field, value)
        }
        Value::Message(message) => message
            .fields()
            .try_for_each(|(field, value)| check_kept(&format!("{path}.{}", field.name()), &field, value)),
        Value::List(items) => items.iter().try_for_each(|item| check_kept(path, field, item)),
        Value::Map(items) => items.iter().try_for_each(|(key, item)| {
            check_text(path, key.as_str().unwrap_or_default())?;
            check_kept(path, field, item)
        }),
        Value::String(text) => check_text(path, text),
        _ => Ok(()),
    }
}

/// What is refused of a cluster is refused of its nodes and networks, too.
fn is_refused_of_clusters(kind: &MessageDescriptor) -> bool {
    let of_clusters = descriptor(CLUSTER).ok();
    let mut fields = of_clusters.iter().flat_map(MessageDescriptor::fields);
    is_unserved(kind)
        || fields.any(|field| !KEPT.contains(&field.name()) && field.kind().as_message() == Some(kind))
}

/// Refuses text that a terminal would obey.
pub(super) fn check_text(path: &str, text: &str) -> Result<(), KmsError> {
    match text.chars().any(char::is_control) {
        true => Err(KmsError::invalid(format!("The field {path} holds a control character."))),
        false => Ok(()),
    }
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
