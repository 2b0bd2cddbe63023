//! A server whose root key is in another server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::json;

const RING: &str = "projects/root-project/locations/global/keyRings/roots";

#[tokio::test(flavor = "multi_thread")]
async fn p8_one_root_of_trust_serves_another_server() {
    let directory = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_keystead-server"));
    let outer = KmsServer::start(program, &directory.path().join("outer")).await.unwrap();
    outer.create_project("root-project").await.unwrap();
    let rings = "/v1/projects/root-project/locations/global/keyRings?keyRingId=roots";
    outer.ok(Method::POST, rings, Some(&json!({}))).await.unwrap();
    let key = json!({"purpose": "ENCRYPT_DECRYPT"});
    outer.ok(Method::POST, &format!("/v1/{RING}/cryptoKeys?cryptoKeyId=root"), Some(&key)).await.unwrap();
    let (name, user) = (format!("{RING}/cryptoKeys/root"), "user:inner@example.com");
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    outer.grant(&format!("/v1/{name}"), Method::GET, role, user).await.unwrap();
    let token =
        outer.ok(Method::POST, "/keystead/v1/tokens", Some(&json!({"principal": user}))).await.unwrap();
    let credentials = directory.path().join("credentials.json");
    let content =
        json!({"endpoint": outer.endpoint(), "caFile": outer.ca_file(), "tokens": [token["secret"]]});
    std::fs::write(&credentials, content.to_string()).unwrap();
    std::fs::set_permissions(&credentials, std::fs::Permissions::from_mode(0o600)).unwrap();

    let data = directory.path().join("inner");
    let credentials = credentials.to_str().unwrap();
    let more = ["--root-key", name.as_str(), "--root-key-credentials-file", credentials];
    let mut inner = KmsServer::start_with(program, &data, &more).await.unwrap();
    inner.create_project("key-project").await.unwrap();
    inner.kill_and_restart().await.unwrap();
    inner.ok(Method::GET, "/v1/projects/key-project", None).await.unwrap();
    assert!(!data.join("root/root-key").exists(), "no key file beside a root key in a Cloud KMS");

    // Without its root key it does not start, and says why.
    let version = format!("/v1/{name}/cryptoKeyVersions/1");
    let disabled = json!({"state": "DISABLED"});
    outer.ok(Method::PATCH, &format!("{version}?updateMask=state"), Some(&disabled)).await.unwrap();
    let refused = inner.kill_and_restart().await.unwrap_err();
    let log = inner.log().unwrap();
    assert!(log.contains("the root key cannot be used"), "{refused:#}\n{log}");
    let enabled = json!({"state": "ENABLED"});
    outer.ok(Method::PATCH, &format!("{version}?updateMask=state"), Some(&enabled)).await.unwrap();
    inner.kill_and_restart().await.unwrap();
    inner.ok(Method::GET, "/v1/projects/key-project", None).await.unwrap();
}
