//! Agents that have joined, and use what that lets them do against the server and against other clusters. What they leave behind is
//! bounded, each is named where an administrator looks, and callers and agents of others are served meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::played_agent::{Agent, LOCATION, ask, cluster, connect, create_key, encryption, key, prepare};
use crate::raw;
use crate::server_process::{BINARY, Place, memory_of};

/// What a flood may add to the server's memory, in KiB: buffers of its connections, and what the allocator keeps. The flood itself is
/// some MiB of reports, and with records of them it would be many times that.
const MEMORY_OF_A_FLOOD: u64 = 32 * 1024;
/// What a flood may add to the database and to what the audit log says of its host, in bytes: a few pages, because one record is written
/// again and again, and records of the first refusals of each minute.
const DISK_OF_A_FLOOD: u64 = 128 * 1024;

/// Two clusters with a host each: one goes against the server, and the other does nothing wrong.
struct Scene {
    server: KmsServer,
    hostile: Agent,
    polite: Agent,
    place: Place,
}

impl Scene {
    async fn new(args: &[&str]) -> Self {
        let place = Place::new();
        let server =
            KmsServer::start_with(Path::new(BINARY), &place.path("data"), args).await.expect("started");
        prepare(&server).await.expect("a project");
        create_key(&server, "k").await.expect("a key");
        let mut agents = Vec::new();
        for name in ["hostile", "polite"] {
            let made = json!({ "cluster": {
                "name": name, "initialNodeCount": 1, "databaseEncryption": encryption(Some(&key("k"))),
            } });
            let path = format!("/v1/{LOCATION}/clusters");
            server.ok(Method::POST, &path, Some(&made)).await.expect("made");
            agents.push(Agent::join(&server, &cluster(name), "cp-1").await.expect("joined"));
        }
        let polite = agents.pop().expect("an agent");
        let hostile = agents.pop().expect("an agent");
        Self { server, hostile, polite, place }
    }

    async fn report(&self, body: &Value) -> (u16, Value) {
        ask(self.hostile.request(self.server.endpoint(), "agent:report", body)).await.expect("an answer")
    }

    /// What the audit log has on the disk.
    fn audit_text(&self) -> String {
        let mut text = String::new();
        for path in
            self.place.names().into_iter().filter(|it| it.parent().is_some_and(|it| it.ends_with("audit")))
        {
            text += &String::from_utf8_lossy(&std::fs::read(path).expect("read"));
        }
        text
    }

    /// Bytes of the database, and of what the audit log says of the hostile host.
    fn disk(&self) -> u64 {
        let database = self.server.data_dir().join("keystead.db");
        let cluster = cluster("hostile");
        let text = self.audit_text();
        let records: usize = text.lines().filter(|it| it.contains(&cluster)).map(str::len).sum();
        std::fs::metadata(database).expect("a database").len() + records as u64
    }

    async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.server.endpoint());
        let response = self.server.http().get(url).send().await.expect("answered");
        response.text().await.expect("text")
    }

    /// Somebody encrypts, and the other cluster's operation goes on.
    async fn others_are_served(&mut self) {
        let path = format!("/v1/{}:encrypt", key("k"));
        self.server.ok(Method::POST, &path, Some(&json!({ "plaintext": "eA==" }))).await.expect("encrypted");
        let status = self.polite.turn(self.server.endpoint()).await.expect("an answer");
        assert!(matches!(status, 200 | 429), "the polite agent got {status}");
    }

    /// The polite cluster's operation ends as if nobody else were there.
    async fn polite_cluster_is_done(&mut self) {
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while self.polite.host.stored_under.is_none() {
                self.others_are_served().await;
            }
        });
        waited.await.expect("its agent is told and does its part");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_reports_leaves_nothing_behind_and_others_are_served() {
    let mut scene = Scene::new(&[]).await;
    assert_eq!(scene.hostile.turn(scene.server.endpoint()).await, Some(200));
    scene.others_are_served().await;
    let (memory, disk) = (memory_of(scene.server.pid()), scene.disk());

    let (ends, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut flood = JoinSet::new();
    for connection in 0..8 {
        // Each says something else each time, half of it what decides about the task.
        let mut report = scene.hostile.report();
        let http = connect(&scene.server, &scene.hostile.identity).expect("a client");
        let (endpoint, ends, sent) =
            (scene.server.endpoint().to_owned(), Arc::clone(&ends), Arc::clone(&sent));
        flood.spawn(async move {
            let mut number = 0_u64;
            while !ends.load(Ordering::SeqCst) {
                number += 1;
                let sequence = jiff::Timestamp::now().as_millisecond().unsigned_abs() + number;
                report["report"]["sequence"] = sequence.to_string().into();
                report["report"]["writes"] = format!("kms:v2:{connection}-{number}").into();
                if connection % 2 == 0 {
                    report["report"]["controlPlane"] = json!(["cp-1", format!("cp-{number}")]);
                }
                let request = http.post(format!("{endpoint}/keystead/v1/agent:report")).json(&report);
                let (status, answer) = ask(request).await.expect("an answer");
                assert!(matches!(status, 200 | 400 | 429), "{status}: {answer}");
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    scene.polite_cluster_is_done().await;
    while sent.load(Ordering::SeqCst) < 4_000 {
        scene.others_are_served().await;
    }
    ends.store(true, Ordering::SeqCst);
    flood.join_all().await;

    let grown = memory_of(scene.server.pid()).saturating_sub(memory);
    let written = scene.disk().saturating_sub(disk);
    println!("{} reports: {grown} KiB of memory, {written} bytes on the disk", sent.load(Ordering::SeqCst));
    assert!(grown < MEMORY_OF_A_FLOOD, "{grown} KiB");
    assert!(written < DISK_OF_A_FLOOD, "{written} bytes");
    // Who it was.
    let metrics = scene.metrics().await;
    let count = metrics.lines().find(|it| {
        it.starts_with("keystead_server_request_seconds_count")
            && it.contains("ReportHost")
            && it.contains("RESOURCE_EXHAUSTED")
    });
    assert!(count.is_some(), "{metrics}");
    assert!(scene.audit_text().contains(&format!("{}/hosts/", cluster("hostile"))), "the host is named");
}

#[tokio::test]
async fn reports_that_are_huge_lie_or_were_heard_before_are_refused_by_name() {
    let mut scene = Scene::new(&[]).await;
    let captured = scene.hostile.report();
    assert_eq!(scene.report(&captured).await.0, 200);
    let text = |answer: &Value| answer["error"]["message"].as_str().unwrap_or_default().to_owned();
    // Whoever has it again gets nothing, and neither does somebody with a copy of it and another certificate.
    let (status, answer) = scene.report(&captured).await;
    assert!(status == 400 && text(&answer).contains("was taken already"), "{answer}");
    let theirs = ask(scene.polite.request(scene.server.endpoint(), "agent:report", &captured)).await;
    assert_eq!(theirs.expect("an answer").0, 200, "it is a report of its own host, whatever it says");
    let hosts = format!("/keystead/v1/{}/hosts", cluster("hostile"));
    let before = scene.server.ok(Method::GET, &hosts, None).await.expect("listed");

    for (field, value, status, said) in [
        ("agentVersion", json!("0.99.0"), 400, "one minor version apart"),
        ("agentVersion", json!("\u{1b}[31m"), 400, "cannot be seen"),
        ("agentVersion", json!("1".repeat(100_000)), 400, "agent_version has 100000 bytes"),
        ("keyIds", json!(vec!["x"; 1_000]), 400, "key_ids has 1000 entries"),
        ("keyIds", json!(["x".repeat(100_000)]), 400, "key id has 100000 bytes"),
        ("controlPlane", json!(vec!["cp-1"; 1_000]), 400, "control_plane has 1000 entries"),
        ("controlPlane", json!(["../../etc"]), 400, "no Node's"),
        ("sequence", json!(u64::MAX.to_string()), 400, "set the clock of the host"),
        ("work", json!({ "operation": "x;reboot", "state": "DONE" }), 400, "report.work.operation"),
        ("work", json!({ "operation": "operation-1", "state": 9 }), 400, ""),
    ] {
        let mut report = scene.hostile.report();
        report["report"][field] = value;
        let (given, answer) = scene.report(&report).await;
        assert!(given == status && text(&answer).contains(said), "{field}: {given} {answer}");
        assert!(text(&answer).len() < 1_000, "{field}: what was sent does not come back whole");
    }
    let huge = json!({ "report": { "writes": "x".repeat(300_000) } });
    let (status, answer) = scene.report(&huge).await;
    assert!(
        status == 400 && text(&answer).contains("The body is larger than 262144 bytes"),
        "{status} {answer}"
    );
    let after = scene.server.ok(Method::GET, &hosts, None).await.expect("listed");
    assert_eq!(after, before, "nothing of all that is written down");
    scene.polite_cluster_is_done().await;
    assert!(
        scene.audit_text().contains("one minor version apart"),
        "an agent of another version is on record"
    );
}

#[tokio::test]
async fn a_host_has_nothing_of_another_cluster_and_only_its_own_part_of_its_own() {
    let mut scene = Scene::new(&[]).await;
    assert_eq!(scene.hostile.turn(scene.server.endpoint()).await, Some(200));
    let other = cluster("polite");
    let endpoint = scene.server.endpoint().to_owned();
    let http = connect(&scene.server, &scene.hostile.identity).expect("a client");
    for (method, path, body) in [
        (Method::GET, format!("/v1/{other}"), json!({})),
        (Method::GET, format!("/v1/{}", cluster("hostile")), json!({})),
        (Method::GET, format!("/v1/{LOCATION}/clusters"), json!({})),
        (Method::GET, format!("/v1/{LOCATION}/operations"), json!({})),
        (Method::GET, format!("/keystead/v1/{other}/hosts"), json!({})),
        (Method::POST, format!("/keystead/v1/{other}/hosts:invite"), json!({ "node": "cp-9" })),
        (Method::DELETE, format!("/v1/{other}"), json!({})),
        (
            Method::PUT,
            format!("/v1/{other}"),
            json!({ "update": { "desiredDatabaseEncryption": encryption(None) } }),
        ),
        (Method::POST, format!("/v1/{}:encrypt", key("k")), json!({ "plaintext": "eA==" })),
        (Method::GET, format!("/keystead/v1/{}/inventories", key("k")), json!({})),
        (Method::GET, "/keystead/v1/tokens".to_owned(), json!({})),
        (Method::POST, "/keystead/v1/tokens".to_owned(), json!({ "principal": "user:a@example.com" })),
    ] {
        let (status, answer) =
            ask(http.request(method, format!("{endpoint}{path}")).json(&body)).await.expect(&path);
        assert_eq!(status, 403, "{path}: {answer}");
    }
    // What it joined as is its cluster's, whatever it says.
    let hosts = async |scene: &Scene| {
        scene.server.ok(Method::GET, &format!("/keystead/v1/{other}/hosts"), None).await.expect("listed")
    };
    let before = hosts(&scene).await;
    let review =
        json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": "x" } });
    let reviewed =
        ask(scene.hostile.request(&endpoint, "agent:reviewToken", &review)).await.expect("an answer");
    assert_eq!(reviewed.0, 400, "tokens are reviewed for local clusters: {}", reviewed.1);
    assert_eq!(hosts(&scene).await, before);
    assert!(scene.audit_text().contains(&format!("{}/hosts/", cluster("hostile"))), "the host is named");
    scene.polite_cluster_is_done().await;
}

#[tokio::test]
async fn connections_without_number_and_answers_that_nobody_reads_keep_nobody_out() {
    let mut scene = Scene::new(&["--max-connections-per-source", "40"]).await;
    let address = scene.server.endpoint().trim_start_matches("https://localhost:").to_owned();
    let address = format!("127.0.0.1:{address}").parse().expect("an address");
    let mut config = trusting(&scene.server);
    let [certificate, private_key] = &scene.hostile.identity;
    raw::be_client(&mut config, certificate.as_bytes(), private_key.as_bytes());
    let memory = memory_of(scene.server.pid());
    // From another address, as another host is: known callers, so that nothing gives way, and none of them reads.
    let mut open = Vec::new();
    let request = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(100);
    for _ in 0..80 {
        let Ok(tcp) = raw::tcp_from([127, 0, 0, 7], address).await else { continue };
        let Ok(mut stream) = raw::tls(config.clone(), tcp).await else { continue };
        // What the other side does not take is not waited for.
        drop(tokio::time::timeout(Duration::from_millis(20), stream.write_all(&request)).await);
        open.push(stream);
    }
    scene.polite_cluster_is_done().await;
    let metrics = scene.metrics().await;
    assert!(
        metrics.contains("keystead_server_connections_refused_total{reason=\"too_many_from_one_source\"}"),
        "{metrics}"
    );
    let grown = memory_of(scene.server.pid()).saturating_sub(memory);
    assert!(grown < MEMORY_OF_A_FLOOD, "{grown} KiB");
    // At most so many were let in.
    let mut live = 0;
    for stream in &mut open {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_u8()).await;
        live += usize::from(matches!(read, Ok(Ok(_))));
    }
    assert!((1..=40).contains(&live), "{live} connections of one source");
}

/// A client of HTTP/1.1 that trusts the server.
fn trusting(server: &KmsServer) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(server.ca_file()).expect("a bundle") {
        roots.add(certificate.expect("a certificate")).expect("added");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
