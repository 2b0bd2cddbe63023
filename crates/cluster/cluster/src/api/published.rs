//! The API servers that publish themselves.

use std::time::Duration;

use serde::Deserialize;

use super::request::Call;
use super::{ApiServer, CallError};

const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";
/// Each API server keeps itself in it while it runs (`--endpoint-reconciler-type=lease`, the default).
const PATH: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes";

impl ApiServer {
    /// Address and port of each API server that runs, as `https://10.0.0.1:6443`: those behind the Service `kubernetes`. None where they are
    /// told not to publish themselves.
    ///
    /// # Errors
    ///
    /// The API server does not give the list.
    pub async fn published(&self) -> Result<Vec<String>, CallError> {
        let list: List = match self.json(&Call::get(PATH, JSON, ASK)).await {
            Err(CallError::Refused(refusal)) if refusal.status == 404 => return Ok(Vec::new()),
            answer => answer?,
        };
        let mut addresses = Vec::new();
        for slice in list.items {
            let ports = slice.ports.unwrap_or_default();
            let Some(port) = ports.iter().find(|it| it.name.as_deref() == Some("https")) else { continue };
            for address in slice.endpoints.unwrap_or_default().into_iter().flat_map(|it| it.addresses) {
                addresses.push(super::url(&address, port.port));
            }
        }
        addresses.sort();
        addresses.dedup();
        Ok(addresses)
    }
}

/// A node of the control plane.
pub struct ControlPlaneNode {
    /// Its name.
    pub name: String,
    /// Its addresses, without ports.
    pub addresses: Vec<String>,
}

impl ApiServer {
    /// The nodes that are labelled as control planes, whether or not an API server runs there now.
    ///
    /// # Errors
    ///
    /// The API server does not give the list.
    pub async fn control_plane_nodes(&self) -> Result<Vec<ControlPlaneNode>, CallError> {
        const PATH: &str = "/api/v1/nodes?labelSelector=node-role.kubernetes.io%2Fcontrol-plane";
        let list: Nodes = self.json(&Call::get(PATH, JSON, ASK)).await?;
        let node = |it: Node| ControlPlaneNode {
            name: it.metadata.name,
            addresses: it.status.addresses.into_iter().map(|it| it.address).collect(),
        };
        Ok(list.items.into_iter().map(node).collect())
    }
}

#[derive(Deserialize)]
struct Nodes {
    items: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    metadata: NodeMetadata,
    #[serde(default)]
    status: NodeStatus,
}

#[derive(Deserialize)]
struct NodeMetadata {
    name: String,
}

#[derive(Default, Deserialize)]
struct NodeStatus {
    #[serde(default)]
    addresses: Vec<NodeAddress>,
}

#[derive(Deserialize)]
struct NodeAddress {
    address: String,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Slice>,
}

#[derive(Deserialize)]
struct Slice {
    endpoints: Option<Vec<Endpoint>>,
    ports: Option<Vec<Port>>,
}

#[derive(Deserialize)]
struct Endpoint {
    addresses: Vec<String>,
}

#[derive(Deserialize)]
struct Port {
    name: Option<String>,
    port: u16,
}
