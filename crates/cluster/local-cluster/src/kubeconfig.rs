//! Texts of kubeconfig files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use zeroize::Zeroizing;

use keystead_runtime::Failure;

use crate::files;
use crate::layout::{HostLayout, Layout};

/// For a client of an API server of this machine, whose certificate and key are `NAME.pem` and `NAME.key` of the cluster's own. The file holds
/// both, so that it can be copied.
pub(crate) fn of_client(layout: &Layout, port: u16, name: &str) -> Result<Zeroizing<String>, Failure> {
    let data = |file: String| -> Result<Zeroizing<String>, Failure> {
        let path = layout.pki(&file);
        let bytes = std::fs::read(&path).map(Zeroizing::new);
        let bytes = bytes.map_err(|error| files::failed("read", &path, &error))?;
        Ok(Zeroizing::new(STANDARD.encode(bytes.as_slice())))
    };
    let authority = data("authority.pem".to_owned())?;
    let certificate = data(format!("{name}.pem"))?;
    let key = data(format!("{name}.key"))?;
    Ok(Zeroizing::new(format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: local\n  cluster:\n    server: https://127.0.0.1:{port}\n    certificate-authority-data: {}\nusers:\n- name: {name}\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\ncontexts:\n- name: local\n  context: {{cluster: local, user: {name}}}\ncurrent-context: local\n",
        authority.as_str(),
        certificate.as_str(),
        key.as_str(),
    )))
}

/// How a host's API server asks the key server whose a bearer token is: as the host's agent, whose key and certificate it reads from the agent's
/// files.
pub(crate) fn of_token_review(host: &HostLayout, server: &str) -> String {
    let mut cluster = json!({ "server": format!("{server}/keystead/v1/agent:reviewToken") });
    // Without it the system's authorities vouch for the server, as for the agent.
    if let Some(cluster) = cluster.as_object_mut().filter(|_| host.path("agent/authority.pem").exists()) {
        cluster.insert("certificate-authority".to_owned(), json!(host.text("agent/authority.pem")));
    }
    let user = json!({
        "client-certificate": host.text("agent/certificate.pem"),
        "client-key": host.text("agent/key.pem"),
    });
    // JSON is YAML.
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "server", "cluster": cluster }],
        "users": [{ "name": "agent", "user": user }],
        "contexts": [{ "name": "server", "context": { "cluster": "server", "user": "agent" } }],
        "current-context": "server",
    });
    format!("{text:#}\n")
}
