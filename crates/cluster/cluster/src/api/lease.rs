//! Leases of kube-system: who does something for the whole cluster, and what others must know of it.
//!
//! kube-apiserver takes a change only for the version that was read (`resourceVersion`), so that of two who want a Lease one gets it.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::request::Call;
use super::{ApiServer, CallError};

const COLLECTION: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const JSON: &str = "application/json";
/// Short enough that another API server can be asked before the Lease runs out.
const ASK: Duration = Duration::from_secs(5);

/// A Lease. It is never encrypted as long as only Secrets and ConfigMaps are, so a rollout can rely on it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lease {
    api_version: String,
    kind: String,
    pub(crate) metadata: LeaseMetadata,
    #[serde(default)]
    pub(crate) spec: LeaseSpec,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseMetadata {
    pub(crate) name: String,
    /// None: it is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resource_version: Option<String>,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LeaseSpec {
    /// Empty or none: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) holder_identity: Option<String>,
    /// How long it holds after the last renewal that was seen, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease_duration_seconds: Option<u32>,
    /// For people: no clock but one's own decides anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) renew_time: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease_transitions: Option<u32>,
}

impl Lease {
    /// One that is not there yet.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            api_version: "coordination.k8s.io/v1".to_owned(),
            kind: "Lease".to_owned(),
            metadata: LeaseMetadata {
                name: name.to_owned(),
                resource_version: None,
                annotations: BTreeMap::new(),
            },
            spec: LeaseSpec::default(),
        }
    }

    pub(crate) fn holder(&self) -> Option<&str> {
        self.spec.holder_identity.as_deref().filter(|it| !it.is_empty())
    }

    /// The same, taken now, by the one who had it too.
    pub(crate) fn taken(mut self, holder: &str, duration: Duration) -> Self {
        self.spec.lease_transitions = Some(self.spec.lease_transitions.unwrap_or_default().saturating_add(1));
        self.renewed(holder, duration)
    }

    /// The same, renewed now.
    pub(crate) fn renewed(mut self, holder: &str, duration: Duration) -> Self {
        self.spec.holder_identity = Some(holder.to_owned());
        self.spec.lease_duration_seconds = u32::try_from(duration.as_secs()).ok();
        self.spec.renew_time = Some(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string());
        self
    }
}

/// A Lease, from the first of `servers` that can be asked: one that starts may deny what it will allow. None: there is no such Lease.
pub(crate) async fn get_lease(servers: &[ApiServer], name: &str) -> Result<Option<Lease>, CallError> {
    let mut last = Ok(None);
    for server in servers {
        last = server.lease(name).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Writes a Lease through the first of `servers` that can be asked, unless somebody else changed it since it was read: then none.
pub(crate) async fn put_lease(servers: &[ApiServer], lease: &Lease) -> Result<Option<Lease>, CallError> {
    let mut last = Ok(None);
    for server in servers {
        last = server.put_lease(lease).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

/// Removes a Lease that nobody changed since it was read. Whether it is gone: false if somebody did.
pub(crate) async fn delete_lease(servers: &[ApiServer], lease: &Lease) -> Result<bool, CallError> {
    let path = format!("{COLLECTION}/{}", lease.metadata.name);
    let version = lease.metadata.resource_version.clone();
    let body = serde_json::json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "preconditions": { "resourceVersion": version },
    });
    let body = body.to_string();
    let body = Some((JSON, body.as_str()));
    let call = Call { method: Method::DELETE, path: &path, accept: JSON, body, limit: ASK };
    let mut last = Ok(true);
    for server in servers {
        last = match server.call(&call).await {
            Ok(_) => return Ok(true),
            Err(error) => match status(&error) {
                Some(404) => return Ok(true),
                Some(409) => return Ok(false),
                _ => Err(error),
            },
        };
    }
    last
}

impl ApiServer {
    async fn lease(&self, name: &str) -> Result<Option<Lease>, CallError> {
        match self.json(&Call::get(&format!("{COLLECTION}/{name}"), JSON, ASK)).await {
            Err(error) if status(&error) == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn put_lease(&self, lease: &Lease) -> Result<Option<Lease>, CallError> {
        let is_new = lease.metadata.resource_version.is_none();
        let body = serde_json::to_string(lease).unwrap_or_default();
        let path = match is_new {
            true => COLLECTION.to_owned(),
            false => format!("{COLLECTION}/{}", lease.metadata.name),
        };
        let method = if is_new { Method::POST } else { Method::PUT };
        let call = Call { method, path: &path, accept: JSON, body: Some((JSON, &body)), limit: ASK };
        match self.json(&call).await {
            // There already, changed, or deleted.
            Err(error) if matches!(status(&error), Some(409)) || (!is_new && status(&error) == Some(404)) => {
                Ok(None)
            }
            answer => answer.map(Some),
        }
    }
}

fn status(error: &CallError) -> Option<u16> {
    error.refusal().map(|it| it.status)
}
