use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

/// The text of a kubeconfig for an API server at `url`: with its authority in PEM, where it has one, and a bearer token.
pub fn kubeconfig(url: &str, ca: Option<&str>, token: &str) -> String {
    let cluster = match ca {
        Some(ca) => json!({ "server": url, "certificate-authority-data": STANDARD.encode(ca) }),
        None => json!({ "server": url }),
    };
    // JSON is YAML.
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "only",
        "clusters": [{ "name": "only", "cluster": cluster }],
        "users": [{ "name": "only", "user": { "token": token } }],
        "contexts": [{ "name": "only", "context": { "cluster": "only", "user": "only" } }],
    });
    format!("{text:#}\n")
}
