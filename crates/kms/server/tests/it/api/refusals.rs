//! Bad input and what is not served: the documented code, and a text that a person can act on.

use serde_json::json;

use super::{KEY, LOCATION, RING, Server};

#[tokio::test]
async fn names_and_ids_that_are_none() {
    let server = Server::with_key().await;
    for (method, path) in [
        ("POST", format!("/v1/{LOCATION}/keyRings?keyRingId=bad+name%21")),
        ("POST", format!("/v1/{LOCATION}/keyRings?keyRingId={}", "x".repeat(64))),
        ("POST", format!("/v1/{LOCATION}/keyRings")),
        ("POST", format!("/v1/{RING}/cryptoKeys?cryptoKeyId=a.b")),
        ("GET", "/v1/projects/P/locations/us-central1/keyRings".to_owned()),
        ("GET", format!("/v1/{LOCATION}/keyRings/r%21")),
        ("GET", format!("/v1/{KEY}/cryptoKeyVersions/01")),
        ("POST", format!("/v1/{KEY}/cryptoKeyVersions/x:destroy")),
        ("POST", format!("/v1/{KEY}/nonsense/1:encrypt")),
        ("GET", format!("/v1/{LOCATION}/retiredResources/a-b")),
    ] {
        let refused = server.call(method, &path, "{\"purpose\": 1}").await;
        refused.refused(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn texts_that_clients_look_for() {
    let server = Server::with_key().await;
    let again = server.post(&format!("/v1/{LOCATION}/keyRings?keyRingId=ring-1"), json!({})).await;
    assert_eq!(again.refused(409, "ALREADY_EXISTS"), format!("KeyRing {RING} already exists."));
    let missing = server.get(&format!("/v1/{RING}/cryptoKeys/other")).await;
    assert!(missing.refused(404, "NOT_FOUND").contains(&format!("{RING}/cryptoKeys/other")));

    let encrypt = format!("/v1/{KEY}:encrypt");
    for (body, field) in [
        (json!({ "plaintext": "aGk=", "plaintextCrc32c": "1" }), "plaintext"),
        (json!({ "additionalAuthenticatedDataCrc32c": "1" }), "additional_authenticated_data"),
    ] {
        let text = format!("The checksum in field {field}_crc32c did not match the data in field {field}.");
        let refused = server.post(&encrypt, body).await;
        assert_eq!(refused.refused(400, "INVALID_ARGUMENT"), text);
        assert_eq!(refused.detail("BadRequest")["fieldViolations"][0]["field"], format!("{field}_crc32c"));
    }
    let decrypt = format!("/v1/{KEY}:decrypt");
    let refused = server.post(&decrypt, json!({ "ciphertext": "aGk=", "ciphertextCrc32c": "-1" })).await;
    let text = "The checksum in field ciphertext_crc32c did not match the data in field ciphertext.";
    assert_eq!(refused.refused(400, "INVALID_ARGUMENT"), text);
    let garbage = server.post(&decrypt, json!({ "ciphertext": "aGk=" })).await;
    assert!(
        garbage.refused(400, "INVALID_ARGUMENT").starts_with("Decryption failed: the ciphertext is invalid.")
    );
    let long = "A".repeat(65_538 / 3 * 4);
    for field in ["plaintext", "additionalAuthenticatedData"] {
        let refused = server.post(&encrypt, json!({ field: long })).await;
        assert!(refused.refused(400, "INVALID_ARGUMENT").contains("at most 65536 bytes"));
    }

    let path = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-2");
    server.post(&path, json!({ "purpose": 1 })).await.ok();
    let sealed = server.post(&encrypt, json!({ "plaintext": "aGk=" })).await.ok();
    let other = format!("/v1/{RING}/cryptoKeys/key-2:decrypt");
    let wrong = server.post(&other, json!({ "ciphertext": sealed["ciphertext"] })).await;
    let text = "Decryption failed: verify that 'name' refers to the correct CryptoKey.";
    assert_eq!(wrong.refused(400, "INVALID_ARGUMENT"), text);
    let mars = server.post("/v1/projects/key-project/locations/mars/keyRings?keyRingId=r", json!({})).await;
    assert!(mars.refused(404, "NOT_FOUND").contains("mars"));
}

/// Never made into a weaker key.
#[tokio::test]
async fn p2_keys_that_are_not_served_are_refused_with_a_sentence() {
    let server = Server::with_key().await;
    let path = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-2");
    for (body, name, word) in [
        (json!({ "purpose": 1, "versionTemplate": { "protectionLevel": "HSM" } }), "UNIMPLEMENTED", "HSM"),
        (json!({ "purpose": 1, "versionTemplate": { "protectionLevel": 3 } }), "UNIMPLEMENTED", "EXTERNAL"),
        (json!({ "purpose": 1, "versionTemplate": { "protectionLevel": 99 } }), "INVALID_ARGUMENT", "99"),
        (json!({ "purpose": "ASYMMETRIC_SIGN" }), "UNIMPLEMENTED", "ASYMMETRIC_SIGN"),
        (json!({ "purpose": "MAC" }), "UNIMPLEMENTED", "MAC"),
        (json!({ "purpose": 99 }), "INVALID_ARGUMENT", "99"),
        (json!({}), "INVALID_ARGUMENT", "ENCRYPT_DECRYPT"),
        (
            json!({ "purpose": 1, "versionTemplate": { "algorithm": "AES_256_GCM" } }),
            "INVALID_ARGUMENT",
            "AES_256_GCM",
        ),
        (json!({ "purpose": 1, "importOnly": true }), "UNIMPLEMENTED", "import_only"),
        (json!({ "purpose": 1, "cryptoKeyBackend": "x" }), "UNIMPLEMENTED", "crypto_key_backend"),
        (
            json!({ "purpose": 1, "keyAccessJustificationsPolicy": {} }),
            "UNIMPLEMENTED",
            "key_access_justifications_policy",
        ),
    ] {
        let refused = server.post(&path, body.clone()).await;
        assert!(refused.refused(400, name).contains(word), "{body}");
    }
    server.get(&format!("/v1/{RING}/cryptoKeys/key-2")).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn methods_that_are_not_served_say_so_and_what_is() {
    let server = Server::with_key().await;
    let version = format!("/v1/{KEY}/cryptoKeyVersions/1");
    for (method, path, name) in [
        ("POST", format!("{version}:asymmetricSign"), "AsymmetricSign"),
        ("POST", format!("{version}:macVerify"), "MacVerify"),
        ("GET", format!("{version}/publicKey"), "GetPublicKey"),
        ("GET", format!("/v1/{RING}/importJobs"), "ListImportJobs"),
        ("POST", format!("/v1/{KEY}/cryptoKeyVersions:import"), "ImportCryptoKeyVersion"),
        ("GET", format!("/v1/{LOCATION}/ekmConnections"), "ListEkmConnections"),
        ("PATCH", "/v1/folders/1/autokeyConfig".to_owned(), "UpdateAutokeyConfig"),
        ("GET", format!("/v1/{LOCATION}/singleTenantHsmInstances"), "ListSingleTenantHsmInstances"),
    ] {
        let refused = server.call(method, &path, "{\"anything\": [1, 2]}").await;
        let text = refused.refused(400, "UNIMPLEMENTED");
        assert!(text.contains(name) && text.contains("encrypt"), "{text}");
        let stranger = server.call_as("nobody", method, &path, "").await;
        stranger.refused(401, "UNAUTHENTICATED");
    }
    assert!(server.audit_text().contains("AsymmetricSign"));
    for resource in [format!("{RING}/importJobs/j"), format!("{LOCATION}/ekmConfig")] {
        server.get(&format!("/v1/{resource}:getIamPolicy")).await.refused(400, "UNIMPLEMENTED");
    }
}

#[tokio::test]
async fn malformed_requests_are_in_the_audit_log_and_their_contents_are_not() {
    let server = Server::with_key().await;
    let canary = "Y2FuYXJ5LXBsYWludGV4dA==";
    let body = json!({ "plaintext": canary, "plaintextCrc32c": "1" });
    server.post(&format!("/v1/{KEY}:encrypt"), body).await.refused(400, "INVALID_ARGUMENT");
    server.post(&format!("/v1/{KEY}:encrypt"), json!({ "plaintext": canary })).await.ok();
    let audit = server.audit_text();
    assert!(audit.contains("plaintext_crc32c did not match"));
    assert!(audit.contains("test/1"));
    for secret in [canary, "canary-plaintext", server.admin.as_str()] {
        assert!(!audit.contains(secret), "{secret}");
    }
}
