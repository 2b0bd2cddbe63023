//! The alert rules about clusters: an agent, played here with a certificate of its own, moves their metrics on a running server.

use std::path::Path;

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::alerts::{shows, value};
use crate::server_process::{BINARY, Place};

const PROJECT: &str = "alert-project";
const LOCATION: &str = "projects/alert-project/locations/us-central1";
const KEY: &str = "projects/alert-project/locations/us-central1/keyRings/r/cryptoKeys/k";
const CLUSTER: &str = "projects/alert-project/locations/us-central1/clusters/prod-a";

/// The agent on the only host of a cluster.
struct Agent {
    client: reqwest::Client,
    endpoint: String,
    sequence: u64,
}

impl Agent {
    /// Joins the cluster on the host `cp-1`.
    async fn join(server: &KmsServer) -> Self {
        let invited = format!("/keystead/v1/{CLUSTER}/hosts:invite");
        let invited =
            server.ok(Method::POST, &invited, Some(&json!({"node": "cp-1"}))).await.expect("invited");
        let token = invited["joinToken"].as_str().expect("a token");
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        let request = params.serialize_request(&key).expect("a request").pem().expect("PEM");
        let join = json!({"signingRequestPem": request, "node": "cp-1"});
        let (status, joined) = server
            .call_as(token, Method::POST, "/keystead/v1/agent:join", Some(&join))
            .await
            .expect("answered");
        assert_eq!(status, 200, "{joined}");
        let certificate = joined["certificatePem"].as_str().expect("a certificate");
        let identity = [certificate, &key.serialize_pem()].concat();
        let identity = reqwest::Identity::from_pem(identity.as_bytes()).expect("an identity");
        let authority = std::fs::read(server.ca_file()).expect("read");
        let authority = reqwest::Certificate::from_pem_bundle(&authority).expect("a bundle");
        let client = reqwest::Client::builder().tls_certs_only(authority).identity(identity).no_proxy();
        Self {
            client: client.build().expect("a client"),
            endpoint: server.endpoint().to_owned(),
            sequence: 0,
        }
    }

    async fn call(&self, method: &str, body: &Value) -> (u16, Value) {
        let url = format!("{}/keystead/v1/agent:{method}", self.endpoint);
        let answer = self.client.post(url).json(body).send().await.expect("answered");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Says something until the server takes it: what comes too often is refused.
    async fn say(&mut self, method: &str, mut body: impl FnMut(u64) -> Value) -> Value {
        loop {
            self.sequence += 1;
            let (status, answer) = self.call(method, &body(self.sequence)).await;
            match status {
                200 => return answer,
                429 => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
                _ => panic!("{method} answered {status}: {answer}"),
            }
        }
    }

    async fn report(&mut self, work: Option<Value>) -> Value {
        self.say("report", |sequence| {
            json!({"report": {
                "sequence": sequence.to_string(),
                "agentVersion": env!("CARGO_PKG_VERSION"),
                "controlPlane": ["cp-1"],
                "work": work,
            }})
        })
        .await
    }

    /// So many values under each version of the key, counted some seconds ago.
    async fn count(&mut self, seconds_ago: i64, values: &[(u32, u64)]) {
        let digest = keystead_crypto::sha256(format!("cloudkms\0{KEY}").as_bytes());
        let digest = hex::encode(&digest[..8]);
        let under: serde_json::Map<_, _> = values
            .iter()
            .map(|(version, count)| {
                (format!("cloudkms-v{version}-a{version}-{digest}"), json!(count.to_string()))
            })
            .collect();
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds_ago);
        self.say("reportInventory", |_| json!({"observeTime": time, "under": under})).await;
    }
}

/// A server with a cluster that has nothing to do, and a key that it may use.
async fn cluster(place: &Place) -> (KmsServer, Agent) {
    let server = KmsServer::start(Path::new(BINARY), &place.path("data")).await.expect("started");
    let number = server.create_project(PROJECT).await.expect("a project");
    let rings = format!("/v1/{LOCATION}/keyRings");
    server.ok(Method::POST, &format!("{rings}?keyRingId=r"), Some(&json!({}))).await.expect("a ring");
    let key = json!({"purpose": "ENCRYPT_DECRYPT"});
    server.ok(Method::POST, &format!("{rings}/r/cryptoKeys?cryptoKeyId=k"), Some(&key)).await.expect("a key");
    let account = format!("serviceAccount:service-{number}@container-engine-robot.iam.gserviceaccount.com");
    let role = "roles/cloudkms.cryptoKeyEncrypterDecrypter";
    server.grant(&format!("/v1/{KEY}"), Method::GET, role, &account).await.expect("granted");
    let made = json!({"cluster": {"name": "prod-a"}});
    server.ok(Method::POST, &format!("/v1/{LOCATION}/clusters"), Some(&made)).await.expect("made");
    let agent = Agent::join(&server).await;
    (server, agent)
}

async fn update(server: &KmsServer, key: &str) -> Value {
    let encryption = json!({"state": "ENCRYPTED", "keyName": key});
    let body = json!({"update": {"desiredDatabaseEncryption": encryption}});
    server.ok(Method::PUT, &format!("/v1/{CLUSTER}"), Some(&body)).await.expect("answered")
}

/// `KeysteadAgentsSilent`: a host has joined and says nothing, and then it does.
#[tokio::test]
async fn a_host_whose_agent_is_silent_is_shown_until_it_is_heard() {
    let place = Place::new();
    let (server, mut agent) = cluster(&place).await;
    shows(&server, "keystead_cluster_hosts{state=\"silent\"}", |it| it == 1.0).await;
    shows(&server, "keystead_clusters{state=\"in_operation\"}", |it| it == 1.0).await;
    agent.report(None).await;
    shows(&server, "keystead_cluster_hosts{state=\"silent\"}", |it| it == 0.0).await;
    shows(&server, "keystead_cluster_hosts{state=\"heard\"}", |it| it == 1.0).await;
    shows(&server, "keystead_clusters{state=\"plain\"}", |it| it == 1.0).await;
}

/// `KeysteadClusterOperationFailed`: a key that cannot be used, and a host that says that it could not.
#[tokio::test]
async fn an_operation_of_a_cluster_that_fails_is_counted_by_its_reason() {
    let place = Place::new();
    let (server, mut agent) = cluster(&place).await;
    let failed = |reason: &str| {
        format!("keystead_cluster_operations_failed_total{{task=\"update\",reason=\"{reason}\"}}")
    };
    for reason in ["key", "host", "cancelled"] {
        assert_eq!(value(&server, &failed(reason)).await, 0.0);
    }
    agent.report(None).await;
    let version = format!("/v1/{KEY}/cryptoKeyVersions/1?updateMask=state");
    server.ok(Method::PATCH, &version, Some(&json!({"state": "DISABLED"}))).await.expect("disabled");
    let refused = update(&server, KEY).await;
    assert_eq!(refused["status"], "DONE");
    shows(&server, &failed("key"), |it| it == 1.0).await;

    server.ok(Method::PATCH, &version, Some(&json!({"state": "ENABLED"}))).await.expect("enabled");
    let begun = update(&server, KEY).await;
    agent.report(None).await;
    agent.report(Some(json!({"operation": begun["name"], "state": "FAILED", "detail": "no disk"}))).await;
    shows(&server, &failed("host"), |it| it == 1.0).await;
    assert_eq!(value(&server, &failed("key")).await, 1.0);
    assert_eq!(value(&server, &failed("cancelled")).await, 0.0);
}

/// `KeysteadInventoryOld` and `KeysteadValuesUnderOldVersions`: a cluster is encrypted, was counted seven hours ago, its key gets
/// another version, and everything is counted under that one.
#[tokio::test]
async fn c10_values_under_old_versions_and_old_inventories_are_shown() {
    let place = Place::new();
    let (server, mut agent) = cluster(&place).await;
    let inventory = "keystead_cluster_oldest_inventory_timestamp_seconds";
    let old = "keystead_cluster_values_under_old_versions";
    agent.report(None).await;
    assert_eq!(value(&server, inventory).await, 0.0);
    let begun = update(&server, KEY).await;
    agent.report(None).await;
    agent.report(Some(json!({"operation": begun["name"], "state": "DONE"}))).await;
    shows(&server, "keystead_clusters{state=\"encrypted\"}", |it| it == 1.0).await;
    let hours = |count: f64| jiff::Timestamp::now().as_second() as f64 - count * 3600.0;
    shows(&server, inventory, |it| it > hours(6.0)).await;
    agent.count(7 * 3600, &[(1, 40)]).await;
    shows(&server, inventory, |it| it > hours(8.0) && it < hours(6.0)).await;
    assert_eq!(value(&server, old).await, 0.0);

    let versions = format!("/v1/{KEY}/cryptoKeyVersions");
    server.ok(Method::POST, &versions, Some(&json!({}))).await.expect("made");
    let primary = format!("/v1/{KEY}:updatePrimaryVersion");
    server.ok(Method::POST, &primary, Some(&json!({"cryptoKeyVersionId": "2"}))).await.expect("primary");
    shows(&server, old, |it| it == 40.0).await;
    shows(&server, "keystead_clusters_with_values_under_old_versions", |it| it == 1.0).await;
    agent.count(0, &[(2, 40)]).await;
    shows(&server, old, |it| it == 0.0).await;
    shows(&server, inventory, |it| it > hours(1.0)).await;
}
