//! Clusters over the API, as gcloud and the client libraries ask for them.

use keystead_model::{Cluster, ClusterOperation, to_microseconds};
use keystead_store::{Batch, Store as _};
use serde_json::{Value, json};

use super::{KEY, LOCATION, PROJECT, Server};

/// What `gcloud container clusters create --database-encryption-key` sends, less the key.
fn asked_by_gcloud(name: &str) -> Value {
    json!({
        "name": name,
        "initialClusterVersion": "latest",
        "nodePools": [{
            "name": "default-pool",
            "initialNodeCount": 3,
            "config": { "oauthScopes": ["https://www.googleapis.com/auth/logging.write"] },
            "management": { "autoRepair": true, "autoUpgrade": true },
            "upgradeSettings": { "maxSurge": 1 },
        }],
    })
}

/// With a key that the project's clusters may use, and Kubernetes Engine on.
pub(super) async fn server() -> Server {
    let server = Server::with_key().await;
    let engine = format!("/v1/projects/{PROJECT}/services/container.googleapis.com:enable");
    server.post(&engine, json!({})).await.ok();
    server.bind(KEY, &[("roles/cloudkms.cryptoKeyEncrypterDecrypter", &account(&server).await)]).await;
    server
}

/// The service account of the project's clusters, as a member of a policy.
async fn account(server: &Server) -> String {
    let project = server.get(&format!("/v1/projects/{PROJECT}")).await.ok();
    let number = project["projectNumber"].as_str().expect("number");
    format!("serviceAccount:service-{number}@container-engine-robot.iam.gserviceaccount.com")
}

async fn create(server: &Server, location: &str, cluster: Value) -> super::Answered {
    let parent = format!("projects/{PROJECT}/locations/{location}");
    server
        .post(&format!("/v1/{parent}/clusters?alt=json"), json!({ "parent": parent, "cluster": cluster }))
        .await
}

async fn update(server: &Server, cluster: &str, encryption: Value) -> super::Answered {
    let name = format!("{LOCATION}/clusters/{cluster}");
    let body = json!({ "name": name, "update": { "desiredDatabaseEncryption": encryption } });
    server.call("PUT", &format!("/v1/{name}?alt=json"), &body.to_string()).await
}

fn encrypted() -> Value {
    json!({ "keyName": KEY, "state": "ENCRYPTED" })
}

/// The name of a cluster that is being made with the key.
pub(super) async fn encrypted_cluster(server: &Server, name: &str) -> String {
    let mut asked = asked_by_gcloud(name);
    asked["databaseEncryption"] = encrypted();
    create(server, "us-central1", asked).await.ok();
    format!("{LOCATION}/clusters/{name}")
}

/// A cluster of which nothing is to be done.
async fn idle_cluster(server: &Server, name: &str) {
    let begun = create(server, "us-central1", asked_by_gcloud(name)).await.ok();
    succeed(server, &begun).await;
}

/// Writes what the hosts of a cluster have reported when an operation has done what it was for.
async fn succeed(server: &Server, begun: &Value) {
    let record = format!("cluster-operation/{PROJECT}/us-central1/{}", begun["name"].as_str().expect("name"));
    let stored = server.store.get(&record).await.expect("store").expect("operation");
    let operation: ClusterOperation = serde_json::from_slice(&stored.value).expect("operation");
    let of_cluster = format!("cluster/{PROJECT}/us-central1/{}", operation.cluster);
    let stored_cluster = server.store.get(&of_cluster).await.expect("store").expect("cluster");
    let cluster: Cluster = serde_json::from_slice(&stored_cluster.value).expect("cluster");
    let ended = operation.ended(to_microseconds(jiff::Timestamp::now()), None);
    let settled = serde_json::to_vec(&cluster.begin().succeed()).expect("JSON");
    let batch = Batch::default()
        .replace(record, stored.revision, serde_json::to_vec(&ended).expect("JSON"))
        .replace(of_cluster, stored_cluster.revision, settled);
    server.store.commit(batch).await.expect("commit");
}

#[tokio::test]
async fn c6_a_cluster_is_made_with_a_key_and_waits_for_its_hosts() {
    let server = server().await;
    let mut asked = asked_by_gcloud("prod-a");
    asked["databaseEncryption"] = encrypted();
    let begun = create(&server, "us-central1", asked).await.ok();
    assert_eq!(begun["operationType"], "CREATE_CLUSTER");
    assert_eq!(begun["status"], "RUNNING");
    assert_eq!(begun["detail"], "waiting for the hosts of cluster prod-a to join it");
    assert!(begun.get("statusMessage").is_none() && begun.get("endTime").is_none(), "{begun}");
    assert!(begun["targetLink"].as_str().expect("link").ends_with(&format!("v1/{LOCATION}/clusters/prod-a")));
    let name = begun["name"].as_str().expect("name");
    assert!(name.starts_with("operation-"), "{name}");
    let operation = format!("/v1/{LOCATION}/operations/{name}");
    assert_eq!(server.get(&operation).await.ok(), begun);

    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a?alt=json")).await.ok();
    assert_eq!(cluster["status"], "PROVISIONING");
    assert_eq!(
        cluster["databaseEncryption"],
        json!({ "keyName": KEY, "state": "ENCRYPTED", "currentState": "CURRENT_STATE_ENCRYPTION_PENDING" })
    );
    // What the caller said of nodes comes back, and what Terraform's provider reads unseen is there.
    assert_eq!(cluster["nodePools"], asked_by_gcloud("")["nodePools"]);
    assert_eq!((&cluster["legacyAbac"], &cluster["networkConfig"]), (&json!({}), &json!({})));
    assert_eq!((&cluster["location"], &cluster["zone"]), (&json!("us-central1"), &json!("us-central1")));
    assert_eq!(cluster["initialClusterVersion"], "latest");
    assert_eq!(cluster["id"].as_str().map(str::len), Some(64));

    for list in [format!("/v1/{LOCATION}/clusters"), format!("/v1/projects/{PROJECT}/locations/-/clusters")] {
        assert_eq!(server.get(&list).await.ok(), json!({ "clusters": [cluster] }), "{list}");
    }
    let listed = server.get(&format!("/v1/projects/{PROJECT}/locations/-/operations?alt=json")).await.ok();
    assert_eq!(listed, json!({ "operations": [begun] }));
    let taken = create(&server, "us-central1", asked_by_gcloud("prod-a")).await;
    taken.refused(409, "ALREADY_EXISTS");
}

#[tokio::test]
async fn c7_c9_p16_settled_is_key_and_state_and_nothing_else() {
    let server = server().await;
    idle_cluster(&server, "prod-a").await;
    let shown = async |server: &Server| {
        server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok()["databaseEncryption"].clone()
    };
    assert_eq!(shown(&server).await, json!({ "state": "DECRYPTED" }));
    let begun = update(&server, "prod-a", encrypted()).await.ok();
    assert_eq!((&begun["status"], &begun["operationType"]), (&json!("RUNNING"), &json!("UPDATE_CLUSTER")));
    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok();
    assert_eq!(cluster["status"], "RECONCILING");
    succeed(&server, &begun).await;
    assert_eq!(shown(&server).await, encrypted());
    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok();
    assert_eq!(cluster["status"], "RUNNING");

    // Who needs a key to be read is not forgotten: the cluster goes when its Secrets are plain.
    let gone = server.call("DELETE", &format!("/v1/{LOCATION}/clusters/prod-a"), "").await;
    let text = gone.refused(400, "FAILED_PRECONDITION");
    assert!(text.contains(KEY) && text.contains("--disable-database-encryption"), "{text}");
    let begun = update(&server, "prod-a", json!({ "state": "DECRYPTED" })).await.ok();
    assert_eq!(
        shown(&server).await,
        json!({
            "state": "DECRYPTED",
            "currentState": "CURRENT_STATE_DECRYPTION_PENDING",
            "decryptionKeys": [KEY],
        })
    );
    succeed(&server, &begun).await;
    assert_eq!(shown(&server).await, json!({ "state": "DECRYPTED" }));
    let done = server.call("DELETE", &format!("/v1/{LOCATION}/clusters/prod-a"), "").await.ok();
    assert_eq!((&done["status"], &done["operationType"]), (&json!("DONE"), &json!("DELETE_CLUSTER")));
    server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.refused(404, "NOT_FOUND");
    let name = done["name"].as_str().expect("name");
    assert_eq!(server.get(&format!("/v1/{LOCATION}/operations/{name}")).await.ok(), done);
}

#[tokio::test]
async fn c8_switching_off_what_is_off_is_done_at_once() {
    let server = server().await;
    idle_cluster(&server, "prod-a").await;
    server.bind(KEY, &[]).await;
    assert_eq!(update(&server, "prod-a", encrypted()).await.ok()["error"]["code"], 9);
    // The record of the call says that nothing came of it.
    let log = server.audit_text();
    let record =
        log.lines().find(|line| line.contains("\"methodName\":\"UpdateCluster\"")).expect("a record");
    assert!(record.contains("\"failure\":\"Service account service-"), "{record}");
    let done = update(&server, "prod-a", json!({ "state": "DECRYPTED" })).await.ok();
    assert_eq!(done["status"], "DONE");
    assert!(done.get("error").is_none(), "{done}");
    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok();
    assert_eq!(
        cluster["databaseEncryption"],
        json!({ "state": "DECRYPTED" }),
        "what failed before does not matter now"
    );
}

#[tokio::test]
async fn p3_the_key_is_in_the_region_of_the_cluster() {
    let server = server().await;
    let elsewhere = KEY.replace("us-central1", "global");
    for (location, key, word) in [
        ("us-central1", elsewhere.as_str(), "global"),
        ("us-central1", &KEY.replace("us-central1", "europe-west1"), "europe-west1"),
        ("us-central1-a", &elsewhere, "--location us-central1"),
    ] {
        let mut asked = asked_by_gcloud("prod-a");
        asked["databaseEncryption"] = json!({ "keyName": key, "state": "ENCRYPTED" });
        let refused = create(&server, location, asked).await;
        let text = refused.refused(400, "INVALID_ARGUMENT");
        assert!(text.contains(word) && text.contains("us-central1"), "{text}");
    }
    for nowhere in ["global", "europe-west1", "europe-west1-a", "us-central1-aa"] {
        let refused = create(&server, nowhere, asked_by_gcloud("prod-a")).await;
        let text = refused.refused(400, "INVALID_ARGUMENT");
        assert!(text.contains(nowhere) && text.contains("gcloud kms locations list"), "{text}");
    }
    // A zone uses the keys of its region.
    let mut asked = asked_by_gcloud("prod-a");
    asked["databaseEncryption"] = encrypted();
    let begun = create(&server, "us-central1-a", asked).await.ok();
    assert_eq!(begun["zone"], "us-central1-a");
}

#[tokio::test]
async fn p14_p15_without_the_grant_the_text_says_what_to_run() {
    let server = server().await;
    let account = account(&server).await;
    idle_cluster(&server, "prod-a").await;
    server.bind(KEY, &[("roles/cloudkms.cryptoKeyEncrypter", &account)]).await;
    let failed = update(&server, "prod-a", encrypted()).await.ok();
    assert_eq!(failed["status"], "DONE");
    // gcloud and Terraform read `statusMessage`, and take an operation with `error` alone for a success.
    let text = failed["statusMessage"].as_str().expect("a message");
    assert_eq!((&failed["error"]["message"], &failed["error"]["code"]), (&json!(text), &json!(9)));
    let command = format!(
        "gcloud kms keys add-iam-policy-binding key-1 --keyring ring-1 --location us-central1 --project {PROJECT} --member {account} \
         --role roles/cloudkms.cryptoKeyEncrypterDecrypter"
    );
    assert!(text.contains(&command), "{text}");
    let absent = json!({ "keyName": KEY.replace("key-1", "key-9"), "state": "ENCRYPTED" });
    let unknown = update(&server, "prod-a", absent).await.ok();
    let same = |text: &str| text.replace("key-9", "key-1");
    assert_eq!(
        same(unknown["statusMessage"].as_str().expect("a message")),
        text,
        "whether it exists is not told"
    );

    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok();
    let shown = &cluster["databaseEncryption"];
    assert_eq!((&cluster["status"], &shown["state"]), (&json!("RUNNING"), &json!("DECRYPTED")));
    assert_eq!(shown["currentState"], "CURRENT_STATE_ENCRYPTION_ERROR");
    assert_eq!(shown["lastOperationErrors"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["lastOperationErrors"][0]["errorMessage"], text);

    server.bind(KEY, &[("roles/cloudkms.cryptoKeyEncrypterDecrypter", &account)]).await;
    let begun = update(&server, "prod-a", encrypted()).await.ok();
    succeed(&server, &begun).await;
    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok();
    assert_eq!(cluster["databaseEncryption"], encrypted(), "errors go with the next success");
}

#[tokio::test]
async fn p20_a_disabled_key_is_refused_and_heals() {
    let server = server().await;
    idle_cluster(&server, "prod-a").await;
    let version = format!("/v1/{KEY}/cryptoKeyVersions/1?updateMask=state");
    server.patch(&version, json!({ "state": "DISABLED" })).await.ok();
    let failed = update(&server, "prod-a", encrypted()).await.ok();
    let text = failed["statusMessage"].as_str().expect("a message");
    assert!(
        text.contains("DISABLED") && text.contains("gcloud kms keys versions enable 1 --key key-1"),
        "{text}"
    );
    let mut asked = asked_by_gcloud("prod-b");
    asked["databaseEncryption"] = encrypted();
    create(&server, "us-central1", asked.clone()).await.refused(400, "FAILED_PRECONDITION");
    server.get(&format!("/v1/{LOCATION}/clusters/prod-b")).await.refused(404, "NOT_FOUND");
    server.patch(&version, json!({ "state": "ENABLED" })).await.ok();
    assert_eq!(update(&server, "prod-a", encrypted()).await.ok()["status"], "RUNNING");
    create(&server, "us-central1", asked).await.ok();

    let kms = format!("/v1/projects/{PROJECT}/services/cloudkms.googleapis.com:disable");
    idle_cluster(&server, "prod-c").await;
    server.post(&kms, json!({})).await.ok();
    let off = update(&server, "prod-c", encrypted()).await.ok();
    let text = off["statusMessage"].as_str().expect("a message");
    assert!(text.contains("Cloud Key Management Service (KMS) API"), "{text}");
}

#[tokio::test]
async fn one_thing_at_a_time_and_what_is_cancelled_has_not_happened() {
    let server = server().await;
    idle_cluster(&server, "prod-a").await;
    let first = update(&server, "prod-a", encrypted()).await.ok();
    let first = first["name"].as_str().expect("name");
    let name = format!("/v1/{LOCATION}/clusters/prod-a");
    for busy in [
        update(&server, "prod-a", json!({ "state": "DECRYPTED" })).await,
        server.call("DELETE", &name, "").await,
        server.post(&format!("{name}:setResourceLabels"), json!({ "resourceLabels": {} })).await,
    ] {
        let text = busy.refused(400, "FAILED_PRECONDITION");
        assert!(text.contains(first) && text.contains("gcloud container operations cancel"), "{text}");
    }
    let cancel = format!("/v1/{LOCATION}/operations/{first}:cancel");
    assert_eq!(server.post(&cancel, json!({ "name": "ignored" })).await.ok(), json!({}));
    let ended = server.get(&format!("/v1/{LOCATION}/operations/{first}")).await.ok();
    assert_eq!((&ended["status"], &ended["error"]["code"]), (&json!("DONE"), &json!(1)));
    assert_eq!(ended["statusMessage"], "cancelled by admin@keystead.local");
    server.post(&cancel, json!({})).await.refused(400, "FAILED_PRECONDITION");
    let cluster = server.get(&name).await.ok();
    assert_eq!(
        (&cluster["status"], &cluster["databaseEncryption"]["state"]),
        (&json!("RUNNING"), &json!("DECRYPTED"))
    );

    let log = server.audit_text();
    let record =
        log.lines().find(|line| line.contains("\"methodName\":\"CancelOperation\"")).expect("a record");
    assert!(
        record.contains(&format!("operations/{first}")) && record.contains("\"cluster\":\"prod-a\""),
        "{record}"
    );

    // A cluster that was never there leaves its name.
    let begun = create(&server, "us-central1", asked_by_gcloud("prod-b")).await.ok();
    let begun = begun["name"].as_str().expect("name");
    server.post(&format!("/v1/{LOCATION}/operations/{begun}:cancel"), json!({})).await.ok();
    server.get(&format!("/v1/{LOCATION}/clusters/prod-b")).await.refused(404, "NOT_FOUND");
    create(&server, "us-central1", asked_by_gcloud("prod-b")).await.ok();
}

#[tokio::test]
async fn labels_are_replaced_unless_somebody_was_faster() {
    let server = server().await;
    idle_cluster(&server, "prod-a").await;
    let name = format!("/v1/{LOCATION}/clusters/prod-a");
    let before = server.get(&name).await.ok()["labelFingerprint"].clone();
    let body = json!({ "resourceLabels": { "env": "prod" }, "labelFingerprint": before });
    let done = server.post(&format!("{name}:setResourceLabels"), body.clone()).await.ok();
    assert_eq!((&done["status"], &done["operationType"]), (&json!("DONE"), &json!("SET_LABELS")));
    assert_eq!(server.get(&name).await.ok()["resourceLabels"], json!({ "env": "prod" }));
    let late = server.post(&format!("{name}:setResourceLabels"), body).await;
    late.refused(400, "FAILED_PRECONDITION");
    let wrong = json!({ "resourceLabels": { "Env": "prod" } });
    server.post(&format!("{name}:setResourceLabels"), wrong).await.refused(400, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn p18_a_cluster_says_how_much_is_under_old_versions_and_an_operation_that_nobody_asked_for_says_why() {
    let server = server().await;
    let mut asked = asked_by_gcloud("prod-a");
    asked["databaseEncryption"] = encrypted();
    let begun = create(&server, "us-central1", asked).await.ok();
    succeed(&server, &begun).await;
    let name = format!("/v1/{LOCATION}/clusters/prod-a");
    let id = server.get(&name).await.ok()["id"].as_str().expect("an id").to_owned();
    let inventory = json!({
        "source": format!("cluster={id}"),
        "observeTime": jiff::Timestamp::now().to_string(),
        "counts": [{ "cryptoKeyVersionId": "1", "objects": "41" }],
    });
    server.post(&format!("/keystead/v1/{KEY}/inventories"), inventory).await.ok();
    assert_eq!(server.get(&name).await.ok().get("statusMessage"), None, "it is the primary version");
    server.post(&format!("/v1/{KEY}/cryptoKeyVersions"), json!({})).await.ok();
    let primary = json!({ "cryptoKeyVersionId": "2" });
    server.post(&format!("/v1/{KEY}:updatePrimaryVersion"), primary).await.ok();
    let cluster = server.get(&name).await.ok();
    let said = cluster["statusMessage"].as_str().expect("a message");
    assert!(
        said.starts_with(&format!("41 objects under other versions of {KEY} than its primary version 2")),
        "{said}"
    );
    assert!(said.ends_with("An update with the same key encrypts them anew."), "{said}");
    assert_eq!(cluster["status"], "RUNNING");
    let listed = server.get(&format!("/v1/{LOCATION}/clusters")).await.ok();
    assert_eq!(listed, json!({ "clusters": [cluster] }));
    // The label that has the server start it.
    let label = |value: &str| json!({ "resourceLabels": { "keystead-reencrypt": value } });
    let wrong = server.post(&format!("{name}:setResourceLabels"), label("always")).await;
    wrong.refused(400, "INVALID_ARGUMENT");
    server.post(&format!("{name}:setResourceLabels"), label("after-rotation")).await.ok();

    // What the server started says why, while it runs and when it has ended.
    let begun = update(&server, "prod-a", encrypted()).await.ok();
    let record = format!("cluster-operation/{PROJECT}/us-central1/{}", begun["name"].as_str().expect("name"));
    let stored = server.store.get(&record).await.expect("store").expect("operation");
    let operation: ClusterOperation = serde_json::from_slice(&stored.value).expect("operation");
    let operation = ClusterOperation { reason: Some("Started by this server.".to_owned()), ..operation };
    let operation = serde_json::to_vec(&operation).expect("JSON");
    let batch = Batch::default().replace(record, stored.revision, operation);
    server.store.commit(batch).await.expect("commit");
    let path = format!("/v1/{LOCATION}/operations/{}", begun["name"].as_str().expect("name"));
    let runs = server.get(&path).await.ok();
    assert_eq!(
        runs["detail"], "Started by this server. waiting for the hosts of cluster prod-a to join it",
        "{runs}"
    );
    succeed(&server, &begun).await;
    assert_eq!(server.get(&path).await.ok()["detail"], "Started by this server.");
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name_and_nothing_is_made() {
    let server = server().await;
    for (field, value, named) in [
        ("networkPolicy", json!({ "enabled": true }), "cluster.network_policy"),
        ("binaryAuthorization", json!({ "enabled": true }), "cluster.binary_authorization"),
        ("confidentialNodes", json!({ "enabled": true }), "cluster.confidential_nodes"),
        (
            "binaryAuthorization",
            json!({ "evaluationMode": "PROJECT_SINGLETON_POLICY_ENFORCE" }),
            "cluster.binary_authorization",
        ),
        (
            "nodeConfig",
            json!({ "confidentialNodes": { "enabled": true } }),
            "cluster.node_config.confidential_nodes",
        ),
        (
            "nodeConfig",
            json!({ "accelerators": [{ "acceleratorCount": 1 }] }),
            "cluster.node_config.accelerators",
        ),
        ("nodeConfig", json!({ "maxRunDuration": "3600s" }), "cluster.node_config.max_run_duration"),
        (
            "maintenancePolicy",
            json!({ "window": { "maintenanceExclusions": { "value": { "startTime": "x" } } } }),
            "cluster.maintenance_policy.window.maintenance_exclusions",
        ),
        (
            "controlPlaneEndpointsConfig",
            json!({ "ipEndpointsConfig": { "authorizedNetworksConfig": { "enabled": true } } }),
            "cluster.control_plane_endpoints_config.ip_endpoints_config.authorized_networks_config.enabled",
        ),
        (
            "networkConfig",
            json!({ "gatewayApiConfig": { "channel": 3 } }),
            "cluster.network_config.gateway_api_config",
        ),
        ("workloadIdentityConfig", json!({ "workloadPool": "p.svc" }), "cluster.workload_identity_config"),
        ("monitoringConfig", json!({ "componentConfig": { "x": [] } }), "cluster.monitoring_config"),
        ("legacyAbac", json!({ "enabled": true }), "cluster.legacy_abac.enabled"),
        ("enableKubernetesAlpha", json!(true), "cluster.enable_kubernetes_alpha"),
        ("masterAuth", json!({ "username": "admin" }), "cluster.master_auth.username"),
        ("masterAuth", json!({ "clientKey": "c2VjcmV0" }), "cluster.master_auth.client_key"),
        (
            "masterAuth",
            json!({ "clientCertificateConfig": { "issueClientCertificate": true } }),
            "cluster.master_auth.client_certificate_config.issue_client_certificate",
        ),
        ("notificationConfig", json!({ "pubsub": { "enabled": true } }), "cluster.notification_config"),
        (
            "databaseEncryption",
            json!({ "keyName": KEY, "state": "ALL_OBJECTS_ENCRYPTION_ENABLED" }),
            "ALL_OBJECTS_ENCRYPTION_ENABLED",
        ),
    ] {
        let mut asked = asked_by_gcloud("prod-a");
        asked[field] = value;
        let refused = create(&server, "us-central1", asked).await;
        let text = refused.refused(400, "UNIMPLEMENTED");
        assert!(text.contains(named), "{text}");
    }
    // Off is what it is.
    let mut asked = asked_by_gcloud("prod-a");
    asked["networkPolicy"] = json!({ "enabled": false });
    asked["legacyAbac"] = json!({ "enabled": false });
    asked["masterAuth"] = json!({ "clientCertificateConfig": { "issueClientCertificate": false } });
    asked["shieldedNodes"] = json!({ "enabled": true });
    asked["privateClusterConfig"] = json!({ "enablePrivateNodes": false });
    asked["secretManagerConfig"] = json!({ "enabled": false });
    asked["workloadIdentityConfig"] = json!({ "workloadPool": "" });
    asked["binaryAuthorization"] = json!({ "evaluationMode": "DISABLED" });
    asked["securityPostureConfig"] =
        json!({ "mode": "DISABLED", "vulnerabilityMode": "VULNERABILITY_DISABLED" });
    asked["loggingConfig"] = json!({});
    create(&server, "us-central1", asked).await.ok();

    let name = format!("{LOCATION}/clusters/prod-a");
    for (field, value) in [
        ("desiredMasterVersion", json!("1.37")),
        ("desiredBinaryAuthorization", json!({ "evaluationMode": 2 })),
        ("desiredLoggingService", json!("none")),
        ("etag", json!("stale")),
        ("desiredNodePoolAutoConfigKubeletConfig", json!({ "x": 1 })),
    ] {
        let mut update = json!({ "desiredDatabaseEncryption": { "state": "DECRYPTED" } });
        update[field] = value;
        let body = json!({ "name": name, "update": update }).to_string();
        let refused = server.call("PUT", &format!("/v1/{name}"), &body).await;
        assert!(refused.refused(400, "UNIMPLEMENTED").contains("update."), "{field}");
    }
    let nothing = json!({ "name": name, "update": {} }).to_string();
    server.call("PUT", &format!("/v1/{name}"), &nothing).await.refused(400, "UNIMPLEMENTED");
    for (field, text) in [("description", "a\u{1b}[31m"), ("initialClusterVersion", "latest\n")] {
        let mut asked = asked_by_gcloud("prod-b");
        asked[field] = json!(text);
        create(&server, "us-central1", asked).await.refused(400, "INVALID_ARGUMENT");
    }
    for encryption in [
        json!({ "state": "ENCRYPTED" }),
        json!({ "keyName": KEY, "state": "DECRYPTED" }),
        json!({}),
        json!({ "keyName": "nonsense", "state": "ENCRYPTED" }),
        json!({ "keyName": KEY, "state": 9 }),
    ] {
        update(&server, "prod-a", encryption).await.refused(400, "INVALID_ARGUMENT");
    }
    for name in ["", "A", "a_b", "a-", &"a".repeat(41)] {
        create(&server, "us-central1", asked_by_gcloud(name)).await.refused(400, "INVALID_ARGUMENT");
    }
    let mut large = asked_by_gcloud("prod-b");
    large["description"] = json!("x".repeat(16 * 1024));
    create(&server, "us-central1", large).await.refused(400, "INVALID_ARGUMENT");
}

/// What Terraform's provider sends for `google_container_cluster` with a name, a location, `initial_node_count` and `database_encryption`,
/// and what it then reads.
#[tokio::test]
async fn c6_c7_c8_terraforms_shapes() {
    let server = server().await;
    let sent = json!({
        "name": "prod-a",
        "initialNodeCount": 1,
        "maintenancePolicy": { "window": {} },
        "controlPlaneEndpointsConfig": {
            "dnsEndpointConfig": { "enableK8sCertsViaDns": false },
            "ipEndpointsConfig": {
                "enabled": true,
                "enablePublicEndpoint": true,
                "privateEndpointSubnetwork": "",
                "globalAccess": false,
                "authorizedNetworksConfig": {},
            },
        },
        "legacyAbac": { "enabled": false },
        "networkPolicy": {},
        "ipAllocationPolicy": { "useIpAliases": true, "stackType": "IPV4" },
        "autoscaling": { "enableNodeAutoprovisioning": false },
        "binaryAuthorization": { "enabled": false },
        "autopilot": { "enabled": false },
        "networkConfig": {},
        "notificationConfig": { "pubsub": {} },
        "resourceLabels": { "goog-terraform-provisioned": "true" },
        "shieldedNodes": { "enabled": true },
        "nodeConfig": { "oauthScopes": ["https://www.googleapis.com/auth/logging.write"] },
        "databaseEncryption": encrypted(),
    });
    let begun = create(&server, "us-central1", sent.clone()).await.ok();
    succeed(&server, &begun).await;
    let name = format!("/v1/{LOCATION}/clusters/prod-a");
    let read = server.get(&format!("{name}?alt=json&prettyPrint=false")).await.ok();
    assert_eq!(read["status"], "RUNNING");
    for field in [
        "databaseEncryption",
        "initialNodeCount",
        "resourceLabels",
        "shieldedNodes",
        "nodeConfig",
        "ipAllocationPolicy",
    ] {
        assert_eq!(read[field], sent[field], "{field}");
    }
    // The provider reads these two without looking whether they are there, and calls Compute Engine for groups of instances.
    assert_eq!((&read["legacyAbac"], &read["networkConfig"]), (&json!({}), &json!({})));
    assert!(!read.to_string().contains("instanceGroupUrls"), "{read}");
    let done = server
        .get(&format!("/v1/{LOCATION}/operations/{}", begun["name"].as_str().expect("name")))
        .await
        .ok();
    assert_eq!((&done["status"], done.get("statusMessage")), (&json!("DONE"), None));

    let begun = update(&server, "prod-a", json!({ "state": "DECRYPTED" })).await.ok();
    succeed(&server, &begun).await;
    let read = server.get(&name).await.ok();
    assert_eq!(read["databaseEncryption"], json!({ "state": "DECRYPTED" }));
    assert_eq!(server.call("DELETE", &name, "").await.ok()["status"], "DONE");

    let mut more = sent;
    more["controlPlaneEndpointsConfig"]["ipEndpointsConfig"]["authorizedNetworksConfig"] =
        json!({ "enabled": true });
    let refused = create(&server, "us-central1", more).await;
    assert!(refused.refused(400, "UNIMPLEMENTED").contains("authorized_networks_config"));
}

#[tokio::test]
async fn numbers_enums_and_older_paths_are_read_too() {
    let server = server().await;
    let project = server.get(&format!("/v1/projects/{PROJECT}")).await.ok();
    let number = project["projectNumber"].as_str().expect("number");
    let path = format!("/v1/projects/{number}/zones/us-central1/clusters?$alt=json;enum-encoding=int");
    let mut asked = asked_by_gcloud("prod-a");
    asked["databaseEncryption"] = json!({ "keyName": KEY, "state": 1 });
    let begun = server.post(&path, json!({ "cluster": asked })).await.ok();
    let name = begun["name"].as_str().expect("name");
    let by_zone = format!("/v1/projects/{PROJECT}/zones/us-central1");
    assert_eq!(server.get(&format!("{by_zone}/operations/{name}")).await.ok(), begun);
    let cluster = server.get(&format!("/v1/{LOCATION}/clusters/prod-a")).await.ok();
    assert_eq!(server.get(&format!("{by_zone}/clusters/prod-a")).await.ok(), cluster);
    let config = server.get(&format!("/v1/{LOCATION}/serverConfig")).await.ok();
    assert_eq!(config["defaultClusterVersion"], "latest");
    // One thing is named once.
    let other = format!("{by_zone}/clusters/nope?name={LOCATION}/clusters/prod-a");
    server.call("DELETE", &other, "").await.refused(400, "INVALID_ARGUMENT");
    let elsewhere =
        json!({ "parent": "projects/other-one/locations/us-central1", "cluster": { "name": "moved" } });
    server.post(&format!("{by_zone}/clusters"), elsewhere).await.refused(400, "INVALID_ARGUMENT");
    // Operations of Cloud KMS are at their own names still.
    server.get(&format!("/v1/{LOCATION}/operations/delete-key.x")).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn kubernetes_engine_is_off_until_it_is_enabled() {
    let server = Server::with_key().await;
    let off = create(&server, "us-central1", asked_by_gcloud("prod-a")).await;
    off.refused(403, "PERMISSION_DENIED");
    assert_eq!(off.detail("ErrorInfo")["metadata"]["service"], "container.googleapis.com");
}
