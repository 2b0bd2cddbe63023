//! What an API says of who runs its control plane.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use super::request::{Call, METADATA_LIST};
use super::{ApiServer, CallError};
use crate::platform::PlatformFacts;

const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";
/// Every pool of a vendor sets the same labels, and a cluster has fewer pools than this.
const NODES: &str = "/api/v1/nodes?limit=100";
/// The second one is how it was called before Kubernetes 1.20, and still is on some platforms.
const CONTROL_PLANES: [&str; 2] = [
    "/api/v1/nodes?limit=1&labelSelector=node-role.kubernetes.io%2Fcontrol-plane",
    "/api/v1/nodes?limit=1&labelSelector=node-role.kubernetes.io%2Fmaster",
];
const INFRASTRUCTURE: &str = "/apis/config.openshift.io/v1/infrastructures/cluster";

impl ApiServer {
    /// Asks for version, labels of nodes, and OpenShift's Infrastructure. What is refused or not answered is not known.
    pub async fn platform_facts(&self) -> PlatformFacts {
        let (version, labels, has_control_plane_nodes, openshift_topology) = tokio::join!(
            self.version(),
            self.node_labels(NODES),
            self.has_control_plane_nodes(),
            self.openshift_topology()
        );
        PlatformFacts {
            version: version.and_then(|(version, _)| version),
            has_control_plane_nodes,
            labels: labels.unwrap_or_default().into_iter().flatten().collect(),
            openshift_topology,
        }
    }

    async fn has_control_plane_nodes(&self) -> Option<bool> {
        for path in CONTROL_PLANES {
            if !self.node_labels(path).await.ok()?.is_empty() {
                return Some(true);
            }
        }
        Some(false)
    }

    async fn node_labels(&self, path: &str) -> Result<Vec<BTreeMap<String, String>>, CallError> {
        #[derive(Deserialize)]
        struct List {
            items: Option<Vec<Node>>,
        }
        #[derive(Deserialize)]
        struct Node {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            labels: Option<BTreeMap<String, String>>,
        }
        let list: List = self.json(&Call::get(path, METADATA_LIST, ASK)).await?;
        let nodes = list.items.unwrap_or_default().into_iter();
        Ok(nodes.map(|it| it.metadata.labels.unwrap_or_default()).collect())
    }

    async fn openshift_topology(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Infrastructure {
            #[serde(default)]
            status: Status,
        }
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Status {
            control_plane_topology: String,
        }
        let found: Infrastructure = self.json(&Call::get(INFRASTRUCTURE, JSON, ASK)).await.ok()?;
        Some(found.status.control_plane_topology)
    }
}
