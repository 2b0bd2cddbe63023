//! StorageVersionMigration in the three versions of its API, and the calls that are made with it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use serde_json::json;

use crate::api::{ApiServer, Call, CallError, Resource};

use super::served::GROUP;

const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";
/// As other objects that are made here have it.
const LABEL: &str = "app.kubernetes.io/managed-by";

/// What of one matters here. `v1alpha1` has more in `spec.resource` and less in a condition.
#[derive(Debug, Deserialize)]
pub(super) struct Migration {
    pub(super) metadata: Metadata,
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) name: String,
    pub(super) uid: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    resource: Target,
}

#[derive(Debug, Deserialize)]
struct Target {
    #[serde(default)]
    group: String,
    resource: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    conditions: Option<Vec<Condition>>,
    #[serde(default)]
    resource_version: String,
}

#[derive(Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// As the conditions say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    /// What the controller says meanwhile, if it does.
    Running(String),
    Succeeded,
    /// Why, in the controller's words.
    Failed(String),
}

impl Migration {
    pub(super) fn state(&self) -> State {
        let conditions = self.status.conditions.as_deref().unwrap_or_default();
        let find = |kind: &str| conditions.iter().find(|it| it.kind == kind && it.status == "True");
        match (find("Failed"), find("Succeeded"), find("Running")) {
            (Some(failed), ..) if failed.message.is_empty() => State::Failed(failed.reason.clone()),
            (Some(failed), ..) => State::Failed(failed.message.clone()),
            (None, Some(_), _) => State::Succeeded,
            (None, None, Some(running)) => State::Running(running.message.clone()),
            (None, None, None) => State::Waiting,
        }
    }

    /// What was stored before it is migrated.
    pub(super) fn checkpoint(&self) -> Option<u64> {
        self.status.resource_version.parse().ok()
    }

    pub(super) fn is_ours(&self) -> bool {
        self.metadata.labels.get(LABEL).is_some_and(|it| it == "keystead")
    }

    pub(super) fn is_of(&self, resource: &Resource) -> bool {
        let Target { group, resource: name } = &self.spec.resource;
        *group == resource.group && *name == resource.name
    }
}

/// The only one of a resource that this command makes, so that it is found again.
pub(super) fn name(resource: &Resource) -> String {
    format!("keystead-{}", resource.full_name())
}

pub(super) async fn list(server: &ApiServer, version: &str) -> Result<Vec<Migration>, CallError> {
    #[derive(Deserialize)]
    struct List {
        items: Option<Vec<Migration>>,
    }
    let list: List = server.json(&Call::get(&path(version, ""), JSON, ASK)).await?;
    Ok(list.items.unwrap_or_default())
}

/// The uid of what was made; none: another one was faster.
pub(super) async fn create(
    server: &ApiServer,
    version: &str,
    resource: &Resource,
) -> Result<Option<String>, CallError> {
    let (group, resource_name) = (&resource.group, &resource.name);
    let target = match version {
        "v1alpha1" => json!({"group": group, "version": resource.version, "resource": resource_name}),
        _ => json!({"group": group, "resource": resource_name}),
    };
    let body = json!({
        "apiVersion": format!("{GROUP}/{version}"),
        "kind": "StorageVersionMigration",
        "metadata": {"name": name(resource), "labels": {LABEL: "keystead"}},
        "spec": {"resource": target},
    })
    .to_string();
    let path = path(version, "");
    let call =
        Call { method: Method::POST, path: &path, accept: JSON, body: Some((JSON, &body)), limit: ASK };
    match server.json::<Migration>(&call).await {
        Ok(made) => Ok(Some(made.metadata.uid)),
        Err(CallError::Refused(refusal)) if refusal.status == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Only the one that was seen, and not one that was made since.
pub(super) async fn delete(server: &ApiServer, version: &str, seen: &Migration) -> Result<(), CallError> {
    let body = json!({"preconditions": {"uid": seen.metadata.uid}}).to_string();
    let path = path(version, &seen.metadata.name);
    let call =
        Call { method: Method::DELETE, path: &path, accept: JSON, body: Some((JSON, &body)), limit: ASK };
    match server.call(&call).await {
        Err(CallError::Refused(refusal)) if matches!(refusal.status, 404 | 409) => Ok(()),
        answer => answer.map(drop),
    }
}

fn path(version: &str, name: &str) -> String {
    let all = format!("/apis/{GROUP}/{version}/storageversionmigrations");
    if name.is_empty() { all } else { format!("{all}/{name}") }
}
