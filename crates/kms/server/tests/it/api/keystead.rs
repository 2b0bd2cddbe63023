//! The API of our own.

use std::sync::Arc;

use http::Request;
use keystead_server::{ClientCertificate, Peer};
use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tonic::body::Body;

use super::{KEY, PROJECT, Server};

#[tokio::test]
async fn p13_inventories_say_who_uses_a_version() {
    let server = Server::with_key().await;
    let path = format!("/keystead/v1/{KEY}/inventories");
    let inventory = json!({
        "source": "cluster-1",
        "observeTime": "2026-11-25T12:00:00Z",
        "counts": [{ "cryptoKeyVersionId": "1", "objects": "7" }],
    });
    assert_eq!(server.post(&path, inventory.clone()).await.ok(), inventory);
    assert_eq!(server.get(&path).await.ok(), json!({ "inventories": [inventory] }));
    let version = format!("{KEY}/cryptoKeyVersions/1");
    let usage = server.get(&format!("/keystead/v1/{version}/usage")).await.ok();
    let user = json!({ "source": "cluster-1", "objects": "7", "observeTime": "2026-11-25T12:00:00Z" });
    assert_eq!(usage, json!({ "name": version, "users": [user] }));
    let refused = server.post(&format!("/v1/{version}:destroy"), json!({})).await;
    assert!(refused.refused(400, "FAILED_PRECONDITION").contains("cluster-1"));

    server.call("DELETE", &format!("{path}/cluster-1"), "").await.ok();
    server.call("DELETE", &format!("{path}/cluster-1"), "").await.refused(404, "NOT_FOUND");
    server.post(&format!("/v1/{version}:destroy"), json!({})).await.ok();
    for bad in [
        json!({ "source": "a b", "observeTime": "2026-11-25T12:00:00Z" }),
        json!({ "source": "a" }),
        json!({ "source": "a", "observeTime": "2026-11-25T12:00:00Z", "counts": [{ "cryptoKeyVersionId": "0" }] }),
        json!({
            "source": "a",
            "observeTime": "2026-11-25T12:00:00Z",
            "counts": [{ "cryptoKeyVersionId": "1", "objects": -1 }],
        }),
        // The second would hide the first.
        json!({
            "source": "a",
            "observeTime": "2026-11-25T12:00:00Z",
            "counts": [
                { "cryptoKeyVersionId": "1", "objects": "41" },
                { "cryptoKeyVersionId": "1", "objects": "0" },
            ],
        }),
    ] {
        server.post(&path, bad).await.refused(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn p12_a_cluster_that_needs_a_version_is_named_and_keeps_it() {
    let server = super::container::server().await;
    let cluster = super::container::encrypted_cluster(&server, "prod-a").await;
    let version = format!("{KEY}/cryptoKeyVersions/1");
    let reason = "encrypts with it, because it is the primary version of a key that the cluster needs";
    let usage = server.get(&format!("/keystead/v1/{version}/usage")).await.ok();
    assert_eq!(usage, json!({ "name": version, "clusters": [{ "name": cluster, "reason": reason }] }));
    let refused = server.post(&format!("/v1/{version}:destroy"), json!({})).await;
    let text = refused.refused(400, "FAILED_PRECONDITION");
    assert!(text.contains(&format!("is still in use: cluster {cluster} {reason}. ")), "{text}");
}

#[tokio::test]
async fn the_head_of_the_audit_log_moves_with_every_call() {
    let server = Server::with_project().await;
    let first = server.get("/keystead/v1/audit/head").await.ok();
    let second = server.get("/keystead/v1/audit/head").await.ok();
    let sequence = |head: &serde_json::Value| -> u64 {
        head["sequence"].as_str().expect("text").parse().expect("number")
    };
    assert!(sequence(&second) > sequence(&first));
    assert_ne!(first["hash"], second["hash"]);
    assert_eq!(first["hash"].as_str().expect("hash").len(), 64);
    let token = server.token_of("user:a@example.com").await;
    server.call_as(&token, "GET", "/keystead/v1/audit/head", "").await.refused(403, "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_backup_is_a_database_without_the_root_key() {
    let server = Server::with_key().await;
    let made = server.post("/keystead/v1/backups", json!({})).await.ok();
    let file = server.directory.path().join("backups").join(made["name"].as_str().expect("name"));
    let bytes = std::fs::read(&file).expect("file");
    assert_eq!(made["sizeBytes"], bytes.len().to_string());
    assert_eq!(made["sha256"], hex::encode(keystead_crypto::sha256(&bytes)));
    assert!(keystead_store_sqlite::verify_backup(&file).is_ok());
    let again = server.post("/keystead/v1/backups", json!({})).await.ok();
    assert_ne!(again["name"], made["name"]);
    let token = server.token_of("user:a@example.com").await;
    server.call_as(&token, "POST", "/keystead/v1/backups", "{}").await.refused(403, "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_client_certificate_is_a_credential() {
    let server = Server::with_key().await;
    let key = KeyPair::generate().expect("key");
    let asked = CertificateParams::default().serialize_request(&key).expect("request").pem().expect("PEM");
    let body = json!({ "principal": "user:c@example.com", "signingRequestPem": asked, "ttl": "86400s" });
    let issued = server.post("/keystead/v1/certificates", body).await.ok();
    let text = issued["certificatePem"].as_str().expect("PEM");
    assert!(issued["authorityPem"].as_str().expect("PEM").starts_with("-----BEGIN CERTIFICATE-----"));
    let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).expect("PEM");
    let certificate = ClientCertificate::parse(&pem.contents.into()).expect("certificate");
    assert_eq!(certificate.uris, ["keystead:user:c@example.com"]);
    assert_eq!(issued["serialNumber"], certificate.serial);

    // As the listener does it after it has verified the certificate.
    let peer = Peer::new(([127, 0, 0, 1], 1).into(), true, Some(certificate));
    let peer = Arc::new(peer);
    let request = || Request::builder().uri(format!("/v1/{KEY}")).extension(peer.clone());
    let denied = server.send(request().body(Body::empty()).expect("request")).await;
    denied.refused(403, "PERMISSION_DENIED");
    server.bind(KEY, &[("roles/cloudkms.viewer", "user:c@example.com")]).await;
    server.send(request().body(Body::empty()).expect("request")).await.ok();
    // A bad token is not made good by a certificate.
    let both = request().header("authorization", "Bearer x").body(Body::empty()).expect("request");
    server.send(both).await.refused(401, "UNAUTHENTICATED");
    assert!(server.audit_text().contains("127.0.0.1"));

    let token = server.token_of("user:a@example.com").await;
    let body = json!({ "principal": "user:c@example.com", "signingRequestPem": asked }).to_string();
    let stranger = server.call_as(&token, "POST", "/keystead/v1/certificates", &body).await;
    stranger.refused(403, "PERMISSION_DENIED");
    for body in [
        json!({ "principal": "user:c@example.com" }),
        json!({ "principal": "user:c@example.com", "signingRequestPem": "x" }),
        json!({ "principal": "c@example.com", "signingRequestPem": asked }),
        json!({ "principal": "user:c@example.com", "signingRequestPem": asked, "ttl": "0s" }),
        json!({ "principal": "user:c@example.com", "signingRequestPem": asked, "ttl": "-86400s" }),
        json!({ "principal": "user:c@example.com", "signingRequestPem": asked, "ttl": "99999999s" }),
    ] {
        server.post("/keystead/v1/certificates", body).await.refused(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn p12_where_a_policy_wants_it_two_users_destroy_what_is_in_use() {
    let server = Server::with_key().await;
    server.post(&format!("/v1/{KEY}:encrypt"), json!({ "plaintext": "eA==" })).await.ok();
    let label = json!({ "labels": { "keystead-destroy": "1" } });
    server.patch(&format!("/v1/{KEY}?updateMask=labels"), label).await.ok();
    let first = server.token_of("user:first@example.com").await;
    let officer = server.token_of("user:officer@example.com").await;
    server.bind(KEY, &[("roles/cloudkms.admin", "user:first@example.com")]).await;
    let approver = ("roles/keystead.destructionApprover", "user:officer@example.com");
    server.bind(&format!("projects/{PROJECT}"), &[approver]).await;
    let version = format!("/v1/{KEY}/cryptoKeyVersions/1");
    let destroy = format!("{version}:destroy");
    // The administrator can make credentials of both.
    let nobody = server.post(&destroy, json!({})).await;
    assert!(nobody.refused(400, "FAILED_PRECONDITION").contains("keystead.userCredentials.create"));
    for _ in 0..2 {
        let waits = server.call_as(&first, "POST", &destroy, "{}").await;
        let said = waits.refused(400, "FAILED_PRECONDITION");
        assert!(said.contains("The first one is user:first@example.com"), "{said}");
        assert_eq!(waits.detail("PreconditionFailure")["violations"][0]["type"], "SECOND_USER_REQUIRED");
        assert_eq!(server.get(&version).await.ok()["state"], "ENABLED");
    }
    let done = server.call_as(&officer, "POST", &destroy, "{}").await.ok();
    assert_eq!(done["state"], "DESTROY_SCHEDULED");
    // An approver sees what to approve, and sets no label.
    server.call_as(&officer, "GET", &version, "").await.ok();
    let label = json!({ "labels": { "keystead-destroy": "all" } }).to_string();
    let denied = server.call_as(&officer, "PATCH", &format!("/v1/{KEY}?updateMask=labels"), &label).await;
    denied.refused(403, "PERMISSION_DENIED");
    server.bind(KEY, &[("roles/cloudkms.viewer", "user:first@example.com")]).await;
    let body = json!({ "policy": { "bindings": [{ "role": approver.0, "members": [approver.1] }] } });
    server.post(&format!("/v1/{KEY}:setIamPolicy"), body).await.refused(400, "INVALID_ARGUMENT");
}
