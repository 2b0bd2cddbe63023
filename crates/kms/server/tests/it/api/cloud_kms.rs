//! What gcloud sends, call by call, and what it needs in the answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{KEY, LOCATION, RING, Server};

fn crc(data: &[u8]) -> String {
    crc32c::crc32c(data).to_string()
}

#[tokio::test]
async fn c2_keyrings_create_list_describe() {
    let server = Server::with_project().await;
    let path = format!("/v1/{LOCATION}/keyRings");
    let made = server.post(&format!("{path}?keyRingId=ring-1&alt=json"), json!({})).await.ok();
    assert_eq!(made["name"], RING);
    assert!(made["createTime"].as_str().expect("time").ends_with('Z'));
    server.post(&format!("{path}?keyRingId=ring-2"), json!({})).await.ok();

    let listed = server.get(&format!("{path}?pageSize=1&alt=json")).await.ok();
    assert_eq!((listed["keyRings"][0]["name"].as_str(), &listed["totalSize"]), (Some(RING), &json!(2)));
    let token = listed["nextPageToken"].as_str().expect("token");
    let rest = server.get(&format!("{path}?pageSize=1&pageToken={token}")).await.ok();
    assert_eq!(rest["keyRings"][0]["name"], format!("{LOCATION}/keyRings/ring-2"));
    assert_eq!(rest.get("nextPageToken"), None);
    assert_eq!(server.get(&format!("/v1/{RING}")).await.ok(), made);
}

#[tokio::test]
async fn c3_keys_create_has_an_enabled_primary() {
    let server = Server::with_project().await;
    server.post(&format!("/v1/{LOCATION}/keyRings?keyRingId=ring-1"), json!({})).await.ok();
    let body = json!({
        "purpose": "ENCRYPT_DECRYPT",
        "versionTemplate": { "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "protectionLevel": "SOFTWARE" },
        "rotationPeriod": "7776000s",
        "nextRotationTime": "2099-01-02T03:04:05.000Z",
        "labels": { "team": "a" },
        "destroyScheduledDuration": "90000s",
    });
    let made = server.post(&format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-1&alt=json"), body).await.ok();
    let primary = &made["primary"];
    let expected = json!({
        "name": KEY,
        "primary": {
            "name": format!("{KEY}/cryptoKeyVersions/1"),
            "state": "ENABLED",
            "protectionLevel": "SOFTWARE",
            "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION",
            "createTime": primary["createTime"],
            "generateTime": primary["createTime"],
        },
        "purpose": "ENCRYPT_DECRYPT",
        "createTime": made["createTime"],
        "nextRotationTime": "2099-01-02T03:04:05Z",
        "rotationPeriod": "7776000s",
        "versionTemplate": { "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION", "protectionLevel": "SOFTWARE" },
        "labels": { "team": "a" },
        "destroyScheduledDuration": "90000s",
    });
    assert_eq!(made, expected);
    let path = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-2&skipInitialVersionCreation=True");
    let empty = server.post(&path, json!({ "purpose": 1 })).await.ok();
    assert_eq!((empty.get("primary"), &empty["destroyScheduledDuration"]), (None, &json!("2592000s")));
    let listed = server.get(&format!("/v1/{RING}/cryptoKeys?pageSize=100&filter=labels.team%3Da")).await.ok();
    assert_eq!((listed["cryptoKeys"][0].clone(), &listed["totalSize"]), (made, &json!(1)));
}

#[tokio::test]
async fn c10_versions_create_primary() {
    let server = Server::with_key().await;
    let version = server.post(&format!("/v1/{KEY}/cryptoKeyVersions"), json!({})).await.ok();
    assert_eq!(version["name"], format!("{KEY}/cryptoKeyVersions/2"));
    assert_eq!(
        server.get(&format!("/v1/{KEY}")).await.ok()["primary"]["name"],
        format!("{KEY}/cryptoKeyVersions/1")
    );
    let body = json!({ "cryptoKeyVersionId": "2" });
    let key = server.post(&format!("/v1/{KEY}:updatePrimaryVersion"), body).await.ok();
    assert_eq!(key["primary"], version);
    let listed = server.get(&format!("/v1/{KEY}/cryptoKeyVersions?pageSize=100")).await.ok();
    assert_eq!(listed["cryptoKeyVersions"].as_array().expect("versions").len(), 2);
    for id in ["3", "0", "01", "x", ""] {
        let refused = server
            .post(&format!("/v1/{KEY}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": id }))
            .await;
        assert_eq!(refused.status, if id == "3" { 404 } else { 400 }, "{id}");
    }
}

#[tokio::test]
async fn c4_encrypt_and_decrypt_with_checksums_as_gcloud_sends_them() {
    let server = Server::with_key().await;
    let largest = vec![7; 65_536];
    for (plaintext, aad) in [(&b"hello \xff\xfe"[..], &b""[..]), (b"", b"??>>"), (&largest, &largest)] {
        let body = json!({
            "plaintext": STANDARD.encode(plaintext).replace('+', "-").replace('/', "_"),
            "plaintextCrc32c": crc(plaintext),
            "additionalAuthenticatedData": STANDARD.encode(aad),
            "additionalAuthenticatedDataCrc32c": crc(aad),
        });
        let sealed = server.post(&format!("/v1/{KEY}:encrypt"), body).await.ok();
        assert_eq!(sealed["name"], format!("{KEY}/cryptoKeyVersions/1"));
        assert_eq!(sealed["verifiedPlaintextCrc32c"], true);
        assert_eq!(sealed["verifiedAdditionalAuthenticatedDataCrc32c"], true);
        assert_eq!(sealed["protectionLevel"], "SOFTWARE");
        let ciphertext = STANDARD.decode(sealed["ciphertext"].as_str().expect("text")).expect("base64");
        assert_eq!(sealed["ciphertextCrc32c"], crc(&ciphertext));

        let body = json!({
            "ciphertext": sealed["ciphertext"],
            "ciphertextCrc32c": sealed["ciphertextCrc32c"],
            "additionalAuthenticatedData": STANDARD.encode(aad),
            "additionalAuthenticatedDataCrc32c": crc(aad),
        });
        let opened = server.post(&format!("/v1/{KEY}:decrypt"), body).await.ok();
        let mut expected = json!({
            "plaintextCrc32c": crc(plaintext), "usedPrimary": true, "protectionLevel": "SOFTWARE",
        });
        if !plaintext.is_empty() {
            expected["plaintext"] = Value::String(STANDARD.encode(plaintext));
        }
        assert_eq!(opened, expected);
    }
}

#[tokio::test]
async fn what_was_not_sent_is_not_said_to_be_verified() {
    let server = Server::with_key().await;
    let sealed = server.post(&format!("/v1/{KEY}:encrypt"), json!({ "plaintext": "aGk=" })).await.ok();
    assert_eq!(sealed.get("verifiedPlaintextCrc32c"), None);
    assert_eq!(sealed.get("verifiedAdditionalAuthenticatedDataCrc32c"), None);
}

#[tokio::test]
async fn encrypt_by_a_version_uses_that_version() {
    let server = Server::with_key().await;
    server.post(&format!("/v1/{KEY}/cryptoKeyVersions"), json!({})).await.ok();
    let name = format!("{KEY}/cryptoKeyVersions/2");
    let sealed = server.post(&format!("/v1/{name}:encrypt"), json!({ "plaintext": "aGk=" })).await.ok();
    assert_eq!(sealed["name"], name);
    let opened =
        server.post(&format!("/v1/{KEY}:decrypt"), json!({ "ciphertext": sealed["ciphertext"] })).await.ok();
    assert_eq!((&opened["plaintext"], opened.get("usedPrimary")), (&json!("aGk="), None));
}

#[tokio::test]
async fn p13_states_of_a_version() {
    let server = Server::with_key().await;
    let name = format!("{KEY}/cryptoKeyVersions/1");
    let state = async |state: &str| {
        let body = json!({ "state": state, "externalProtectionLevelOptions": {} });
        server.patch(&format!("/v1/{name}?updateMask=state"), body).await
    };
    assert_eq!(state("DISABLED").await.ok()["state"], "DISABLED");
    let refused = server.post(&format!("/v1/{KEY}:encrypt"), json!({ "plaintext": "aGk=" })).await;
    let text = format!("{name} is not enabled, current state is: DISABLED.");
    assert_eq!(refused.refused(400, "FAILED_PRECONDITION"), text);
    let violation = &refused.detail("PreconditionFailure")["violations"][0];
    assert_eq!((&violation["type"], &violation["subject"]), (&json!("KEY_DISABLED"), &json!(name)));
    assert_eq!(state("ENABLED").await.ok()["state"], "ENABLED");
    for other in ["DESTROYED", "DESTROY_SCHEDULED", "CRYPTO_KEY_VERSION_STATE_UNSPECIFIED"] {
        assert!(!state(other).await.refused(400, "INVALID_ARGUMENT").is_empty(), "{other}");
    }

    let destroyed = server.post(&format!("/v1/{name}:destroy"), json!({})).await.ok();
    assert_eq!(destroyed["state"], "DESTROY_SCHEDULED");
    assert!(destroyed["destroyTime"].is_string());
    server.post(&format!("/v1/{name}:destroy"), json!({})).await.refused(400, "FAILED_PRECONDITION");
    let restored = server.post(&format!("/v1/{name}:restore"), json!({})).await.ok();
    assert_eq!((&restored["state"], restored.get("destroyTime")), (&json!("DISABLED"), None));
}

#[tokio::test]
async fn updates_change_what_the_mask_names_and_nothing_else() {
    let server = Server::with_key().await;
    let schedule = json!({ "rotationPeriod": "86400s", "nextRotationTime": "2099-01-01T00:00:00Z", "labels": { "a": "b" } });
    let path = format!("/v1/{KEY}?updateMask=rotationPeriod,nextRotationTime");
    let set = server.patch(&path, schedule).await.ok();
    assert_eq!((&set["rotationPeriod"], set.get("labels")), (&json!("86400s"), None));
    server.patch(&format!("/v1/{KEY}?updateMask=labels"), json!({ "labels": { "a": "b" } })).await.ok();
    let cleared = server.patch(&path, json!({ "rotationPeriod": null, "labels": {} })).await.ok();
    assert_eq!((cleared.get("rotationPeriod"), cleared.get("nextRotationTime")), (None, None));
    assert_eq!(cleared["labels"], json!({ "a": "b" }));

    let algorithm = json!({ "versionTemplate": { "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION" } });
    server.patch(&format!("/v1/{KEY}?updateMask=versionTemplate.algorithm"), algorithm).await.ok();
    for (mask, body) in [
        ("", json!({})),
        ("nonsense", json!({})),
        ("purpose", json!({ "purpose": "MAC" })),
        ("versionTemplate.algorithm", json!({ "versionTemplate": { "algorithm": "HMAC_SHA256" } })),
        ("versionTemplate.algorithm", json!({})),
        ("rotationPeriod", json!({ "rotationPeriod": "86400.5s" })),
    ] {
        let refused = server.patch(&format!("/v1/{KEY}?updateMask={mask}"), body).await;
        refused.refused(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn locations_and_random_bytes() {
    let server = Server::with_project().await;
    let listed = server.get("/v1/projects/key-project/locations?pageSize=100").await.ok();
    let ids: Vec<_> =
        listed["locations"].as_array().expect("list").iter().map(|it| &it["locationId"]).collect();
    assert_eq!(ids, ["global", "us-central1"]);
    let one = server.get(&format!("/v1/{LOCATION}")).await.ok();
    let expected = json!({
        "name": LOCATION,
        "locationId": "us-central1",
        "displayName": "us-central1",
        "labels": { "cloud.googleapis.com/region": "us-central1" },
        "metadata": { "@type": "type.googleapis.com/google.cloud.kms.v1.LocationMetadata" },
    });
    assert_eq!(one, expected);
    server.get("/v1/projects/key-project/locations/mars").await.refused(404, "NOT_FOUND");

    let path = format!("/v1/{LOCATION}:generateRandomBytes");
    server.bind("projects/key-project", &[("roles/cloudkms.cryptoOperator", "user:admin@example.com")]).await;
    let token = server.token_of("user:admin@example.com").await;
    let made = server.call_as(&token, "POST", &path, "{\"lengthBytes\": 32}").await.ok();
    let data = STANDARD.decode(made["data"].as_str().expect("data")).expect("base64");
    assert_eq!((data.len(), made["dataCrc32c"].as_str()), (32, Some(crc(&data).as_str())));
    for length in [0, 7, 1025, -1] {
        let body = json!({ "lengthBytes": length }).to_string();
        server.call_as(&token, "POST", &path, &body).await.refused(400, "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn deletions_are_operations_that_are_done_and_can_be_read() {
    let server = Server::with_key().await;
    let path = format!("/v1/{RING}/cryptoKeys?cryptoKeyId=key-2&skipInitialVersionCreation=true");
    server.post(&path, json!({ "purpose": "ENCRYPT_DECRYPT" })).await.ok();
    let key = format!("{RING}/cryptoKeys/key-2");
    let operation = server.call("DELETE", &format!("/v1/{key}"), "").await.ok();
    assert_eq!(operation["done"], true);
    assert_eq!(
        operation["response"],
        json!({ "@type": "type.googleapis.com/google.protobuf.Empty", "value": {} })
    );
    let name = operation["name"].as_str().expect("name");
    assert!(name.starts_with(&format!("{LOCATION}/operations/")), "{name}");
    assert_eq!(server.get(&format!("/v1/{name}")).await.ok(), operation);

    let retired = operation["metadata"]["retiredResource"].as_str().expect("retired");
    let resource = server.get(&format!("/v1/{retired}")).await.ok();
    assert_eq!(resource["originalResource"], key);
    let listed = server.get(&format!("/v1/{LOCATION}/retiredResources")).await.ok();
    assert_eq!((&listed["retiredResources"][0], &listed["totalSize"]), (&resource, &json!("1")));
    let again = server.post(&path, json!({ "purpose": "ENCRYPT_DECRYPT" })).await;
    again.refused(409, "ALREADY_EXISTS");
    let other = name.replace("delete-key", "delete-version");
    server.get(&format!("/v1/{other}")).await.refused(404, "NOT_FOUND");
    server.get(&format!("/v1/{LOCATION}/operations/x")).await.refused(404, "NOT_FOUND");
}
