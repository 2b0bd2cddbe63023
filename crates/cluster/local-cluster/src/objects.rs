//! What is in a new cluster besides what Kubernetes makes: Nodes for its hosts, and what the groups of the key server's users may do.

use std::time::Duration;

use keystead_runtime::Failure;
use reqwest::{Certificate, Client, Identity, StatusCode};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::files;
use crate::layout::Layout;

/// A busy API server on a busy machine answers small requests in milliseconds.
const CALL: Duration = Duration::from_secs(10);
const CLUSTER_ROLE_BINDINGS: &str = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings";
/// Groups that the key server names, and the ClusterRoles of each.
const GROUPS: [(&str, &str); 3] = [("admins", "cluster-admin"), ("editors", "edit"), ("viewers", "view")];

/// The API server of the first host, for its administrator.
pub(crate) struct Administrator {
    client: Client,
    url: String,
}

impl Administrator {
    pub(crate) fn new(layout: &Layout, port: u16) -> Result<Self, Failure> {
        let read = |name: &str| {
            let path = layout.pki(name);
            std::fs::read(&path).map(Zeroizing::new).map_err(|error| files::failed("read", &path, &error))
        };
        let mut identity = read("administrator.pem")?;
        identity.extend_from_slice(&read("administrator.key")?);
        let client = Certificate::from_pem(&read("authority.pem")?).and_then(|authority| {
            let identity = Identity::from_pem(&identity)?;
            let builder = Client::builder().tls_certs_only([authority]).identity(identity);
            builder.no_proxy().timeout(CALL).build()
        });
        let client = client.map_err(|error| Failure::from_error(&error))?;
        Ok(Self { client, url: format!("https://127.0.0.1:{port}") })
    }

    /// Fails until the API server is ready.
    pub(crate) async fn is_ready(&self) -> Result<(), Failure> {
        self.get("/readyz").await.map(drop)
    }

    /// Such as `v1.37.2`.
    pub(crate) async fn version(&self) -> Result<String, Failure> {
        let answer = self.get("/version").await?;
        let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
        let version = answer.get("gitVersion").and_then(Value::as_str);
        version.map(str::to_owned).ok_or_else(|| Failure::new("the API server does not say its version"))
    }

    /// Creates what is not there. What is there is left alone: an administrator may have changed it.
    pub(crate) async fn create_all(&self, hosts: usize) -> Result<(), Failure> {
        for index in 0..hosts {
            let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": {
                "name": format!("host-{index}"), "labels": { "node-role.kubernetes.io/control-plane": "" } } });
            self.create("/api/v1/nodes", &node).await?;
        }
        for (group, role) in GROUPS {
            let api = "rbac.authorization.k8s.io";
            let binding = json!({
                "apiVersion": format!("{api}/v1"),
                "kind": "ClusterRoleBinding",
                "metadata": { "name": format!("keystead-{group}") },
                "roleRef": { "apiGroup": api, "kind": "ClusterRole", "name": role },
                "subjects": [{ "apiGroup": api, "kind": "Group", "name": format!("keystead:{group}") }],
            });
            self.create(CLUSTER_ROLE_BINDINGS, &binding).await?;
        }
        Ok(())
    }

    async fn create(&self, path: &str, object: &Value) -> Result<(), Failure> {
        let request = self.client.post(format!("{}{path}", self.url)).json(object);
        let answer = request.send().await.map_err(|error| Failure::from_error(&error))?;
        match answer.status() {
            StatusCode::CONFLICT => Ok(()),
            status if status.is_success() => Ok(()),
            status => Err(Failure::new(format!("the API server answers {status} to POST {path}"))),
        }
    }

    async fn get(&self, path: &str) -> Result<String, Failure> {
        let request = self.client.get(format!("{}{path}", self.url));
        let answer = request.send().await.map_err(|error| Failure::from_error(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(Failure::new(format!("the API server answers {status} to GET {path}")));
        }
        answer.text().await.map_err(|error| Failure::from_error(&error))
    }
}
