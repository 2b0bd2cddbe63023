//! IAM policies as they are written and stored.

use serde::{Deserialize, Serialize};

/// A policy of one resource. What may be in it is checked by `keystead-iam`, when it is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// 0 and 1: no conditions; 3: conditions allowed.
    pub version: i32,
    /// Who has which role.
    pub bindings: Vec<Binding>,
}

/// One role for some members, perhaps under a condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// Such as `roles/cloudkms.admin`.
    pub role: String,
    /// Such as `serviceAccount:EMAIL`.
    pub members: Vec<String>,
    /// When the binding counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<Condition>,
}

/// A CEL expression over `request.time`, `resource.name`, `resource.type` and `resource.service`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Condition {
    /// The expression.
    pub expression: String,
    /// For people.
    #[serde(default)]
    pub title: String,
    /// For people.
    #[serde(default)]
    pub description: String,
}
