//! What the real kube-apiserver stored, after it is gone.

use std::fs;
use std::io::Write;
use std::path::Path;

use keystead_etcd::stored::{SeedKind, StaticCipher, Stored};
use keystead_etcd::{Connection, Etcd};
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{Binaries, ControlPlane, Options};
use prost::Message;
use serde_json::Value;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};

use super::{CANARY, Plugin, STANDARD, lines, only, run};
use base64::Engine as _;

/// Of 32 bytes, so that they fit every cipher.
const KEYS: [(&str, &str); 3] = [
    ("aescbc", "YWVzY2JjIGtleSBvZiB0aGUgdGVzdCwgMzIgYnl0ZXM="),
    ("aesgcm", "YWVzZ2NtIGtleSBvZiB0aGUgdGVzdCwgMzIgYnl0ZXM="),
    ("secretbox", "c2VjcmV0Ym94IGtleSBvZiB0aGUgdGVzdC4gMzIgYiE="),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane: cargo xtask test"]
async fn secrets_of_every_provider_are_read_when_the_cluster_is_gone() {
    let plugin = Plugin::start().await;
    let mut control_plane = ControlPlane::prepare(Options {
        args: vec!["--feature-gates=KMSv1=true".to_owned()],
        ..Options::default()
    })
    .await
    .expect("etcd");
    let kms = |version: &str| {
        let socket = plugin.socket();
        format!(
            "  - kms: {{apiVersion: {version}, name: kms-{version}, endpoint: \"unix://{socket}\", timeout: 30s}}\n"
        )
    };
    let mut providers: Vec<(String, String)> = KEYS
        .map(|(cipher, key)| {
            (cipher.to_owned(), format!("  - {cipher}: {{keys: [{{name: k, secret: {key}}}]}}\n"))
        })
        .into();
    providers.extend(["v1", "v2"].map(|version| (format!("kms{version}"), kms(version))));
    let text = |first: usize| {
        let mut text = String::from(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n",
        );
        text.push_str(&providers[first].1);
        let rest = providers.iter().enumerate().filter(|(index, _)| *index != first);
        rest.for_each(|(_, (_, provider))| text.push_str(provider));
        text + "  - identity: {}\n"
    };
    for (index, (name, _)) in providers.iter().enumerate() {
        let server = &mut control_plane.api_servers[0];
        server.set_encryption(Some(&text(index))).expect("a file");
        server.start().await.expect("starts");
        let object = Object::new(Kind::Secret, "default", name, "password", CANARY.as_bytes());
        server.client().create(&object).await.expect("created");
        server.stop().await.expect("stops");
    }
    let etcd = Etcd::connect(&Connection::plain(control_plane.etcd().url())).await.expect("etcd");
    let directory = tempfile::tempdir().expect("a directory");
    let good = directory.path().join("good.db");
    save(control_plane.etcd().url(), &good).await;
    let today = directory.path().join("encryption.yaml");
    fs::write(&today, text(4)).expect("written");
    let [good, today] = [&good, &today].map(|it| it.display().to_string());
    let output = directory.path().join("out");
    let out = output.display().to_string();
    let socket = plugin.socket();
    let with = ["--socket", &socket, "--encryption-provider-config", &today];

    // What reads it, and that it does.
    let (code, report, err) = run(&[&["plan-restore", &good, "--format", "json"][..], &with].concat());
    assert_eq!(code, Some(0), "{report}{err}");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let mut configuration = report["configuration"].as_str().expect("text").to_owned();
    for (cipher, key) in KEYS {
        assert!(!configuration.contains(key), "keys are not printed");
        // One after the other in the order of today's file, which is that of KEYS.
        assert!(configuration.contains(&format!("- {cipher}:")), "{configuration}");
        configuration = configuration.replacen("FILL IN the key in base64", key, 1);
    }
    let proofs = report["needs"].as_array().expect("a list").iter();
    let reads = proofs.filter(|it| it["resource"] == "secrets" && it["proof"]["is"] == "reads").count();
    assert_eq!(reads, 5, "{report}");
    let server = &mut control_plane.api_servers[0];
    server.set_encryption(Some(&configuration)).expect("a file");
    server.start().await.expect("the configuration of the plan is good");
    for (name, _) in &providers {
        let read = server.client().get(Kind::Secret, "default", name).await.expect("read");
        assert_eq!(read.data["password"], CANARY.as_bytes(), "{name}");
    }
    let (code, _, err) = run(&["plan-restore", &good]);
    assert_eq!(code, Some(0), "nothing is tried, nothing fails: {err}");

    server.stop().await.expect("stops");

    for (name, _) in &providers {
        let value = etcd.get(format!("/registry/secrets/default/{name}").as_bytes()).await.expect("read");
        let value = value.expect("it is there").value;
        put(control_plane.etcd().url(), &format!("/registry/secrets/default/{name}-copy"), &value).await;
    }
    let copied = directory.path().join("copied.db");
    save(control_plane.etcd().url(), &copied).await;
    let copied = copied.display().to_string();

    // The cluster is gone.
    control_plane.etcd_mut().stop().await.expect("stops");
    drop(control_plane);
    let (code, report, err) = run(&[&["decrypt", &good, "--output-file", &out][..], &with].concat());
    assert_eq!(code, Some(0), "{report}{err}");
    let found = lines(&output);
    for (name, _) in &providers {
        let object = &found[&format!("/registry/secrets/default/{name}")]["object"];
        assert_eq!(object["data"]["password"], STANDARD.encode(CANARY), "{name}");
        assert_eq!(object["metadata"]["name"], name.as_str());
    }
    let namespace = &found["/registry/namespaces/default"]["value"];
    assert!(STANDARD.decode(namespace.as_str().expect("text")).expect("base64").starts_with(b"k8s\0"));
    fs::remove_file(&output).expect("removed");

    // All copies are told; without the keys, what could not be opened.
    let secrets = ["decrypt", &copied, "--output-file", &out, "--resource", "secrets"];
    let (code, report, err) = run(&[&secrets[..], &with].concat());
    assert_eq!(code, Some(6), "{report}{err}");
    assert!(
        report.contains("opened: 5 of 10") && err.contains("5 objects are not what was stored"),
        "{report}{err}"
    );
    assert_eq!(lines(&output).len(), 5);
    fs::remove_file(&output).expect("removed");
    let (code, report, err) = run(&["decrypt", &good, "--socket", &socket, "--resource", "secrets"]);
    assert_eq!(code, Some(3), "{report}{err}");
    assert!(
        report.contains("opened: 2 of 5") && report.contains("secretbox key \"k\" is needed"),
        "{report}"
    );

    let bytes = fs::read(&good).expect("readable");
    fs::write(&good, &bytes[..bytes.len() - 5000]).expect("written");
    let (code, _, err) = run(&[&["decrypt", &good, "--output-file", &out][..], &with].concat());
    assert_eq!(code, Some(6), "{err}");
    only(directory.path(), &["copied.db", "encryption.yaml", "good.db"]);
}

/// Resources of which every API server makes objects when it starts, and how they are to be stored. Of KMS v2 both kinds of seed are met:
/// from 1.29 on it is one for many keys, before it is the key.
const MADE_AT_THE_START: [(&str, &str, &str); 5] = [
    ("clusterroles.rbac.authorization.k8s.io", "clusterroles", "aescbc"),
    ("clusterrolebindings.rbac.authorization.k8s.io", "clusterrolebindings", "aesgcm"),
    ("roles.rbac.authorization.k8s.io", "roles", "secretbox"),
    ("priorityclasses.scheduling.k8s.io", "priorityclasses", "kms v1"),
    ("namespaces", "namespaces", "kms v2"),
];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the control plane: cargo xtask test"]
async fn what_every_version_of_kube_apiserver_writes_is_opened() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    for version in Binaries::versions() {
        // Later ones take this as well, but it is what they have by default that is to be seen.
        let more: &[&str] = if is_1_28(version) { &["--status-version=v2beta1"] } else { &[] };
        let plugin = Plugin::start_with(more).await;
        let (socket, text) = (plugin.socket(), every_way(&plugin.socket()));
        fs::write(path("encryption.yaml"), &text).expect("written");
        let control_plane = ControlPlane::start(Options {
            version: version.to_owned(),
            args: vec!["--feature-gates=KMSv1=true".to_owned()],
            encryption: Some(text.clone()),
            ..Options::default()
        })
        .await
        .expect("it starts");
        let url = control_plane.etcd().url();
        let etcd = Etcd::connect(&Connection::plain(url)).await.expect("etcd");
        for (_, folder, way) in MADE_AT_THE_START {
            let mut scanner = etcd.scan(&format!("/registry/{folder}/"));
            let page = scanner.next_page().await.expect("a page").expect("objects");
            for entry in page.entries {
                assert_eq!(stored_as(&entry.value, version), way, "{folder} of {version}");
            }
        }
        save(url, Path::new(&path("snapshot.db"))).await;
        drop(control_plane);
        let mut args =
            vec!["decrypt".to_owned(), path("snapshot.db"), "--output-file".to_owned(), path("out")];
        args.extend(["--socket".to_owned(), socket.clone()]);
        args.extend(["--encryption-provider-config".to_owned(), path("encryption.yaml")]);
        args.extend(
            MADE_AT_THE_START.iter().flat_map(|(_, it, _)| ["--resource".to_owned(), (*it).to_owned()]),
        );
        let (code, report, err) = run(&args.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(code, Some(0), "{version}: {report}{err}");
        let found = lines(Path::new(&path("out")));
        for name in
            ["namespaces/kube-system", "clusterroles/cluster-admin", "priorityclasses/system-node-critical"]
        {
            let line = found.get(&format!("/registry/{name}"));
            let line = line.unwrap_or_else(|| panic!("{name} of {version} is not among {:?}", found.keys()));
            let value = line["value"].as_str().expect("text");
            assert!(STANDARD.decode(value).expect("base64").starts_with(b"k8s\0"), "{name} of {version}");
        }
        fs::remove_file(path("out")).expect("removed");
        fs::remove_file(path("snapshot.db")).expect("removed");
    }
}

/// Each of [`MADE_AT_THE_START`] in an entry of its own.
fn every_way(socket: &str) -> String {
    let mut text =
        String::from("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n");
    for (resource, _, way) in MADE_AT_THE_START {
        let provider = match KEYS.iter().find(|(cipher, _)| *cipher == way) {
            Some((cipher, key)) => format!("{cipher}: {{keys: [{{name: k, secret: {key}}}]}}"),
            None => {
                let version = way.trim_start_matches("kms ");
                format!(
                    "kms: {{apiVersion: {version}, name: kms-{version}, endpoint: \"unix://{socket}\", timeout: 30s}}"
                )
            }
        };
        text.push_str(&format!("- resources: [{resource}]\n  providers:\n  - {provider}\n"));
    }
    text
}

fn is_1_28(version: &str) -> bool {
    version.starts_with("1.28.")
}

/// In the words of [`MADE_AT_THE_START`].
fn stored_as(value: &[u8], version: &str) -> &'static str {
    match Stored::parse(value, &[]).expect("it is understood") {
        Stored::Plain(_) => "plain",
        Stored::StaticKey(it) => match it.cipher {
            StaticCipher::AesCbc => "aescbc",
            StaticCipher::AesGcm => "aesgcm",
            StaticCipher::Secretbox => "secretbox",
        },
        Stored::KmsV1(_) => "kms v1",
        Stored::KmsV2(it) => {
            assert_eq!(it.seed.kind == SeedKind::HkdfSeed, !is_1_28(version), "{version}");
            "kms v2"
        }
    }
}

/// What `etcdctl snapshot save` does: etcd sends its database and the hash of it behind.
async fn save(url: &str, path: &Path) {
    #[derive(Clone, PartialEq, Message)]
    struct SnapshotResponse {
        #[prost(bytes, tag = "3")]
        blob: Vec<u8>,
    }
    let mut client = client(url).await;
    let codec = tonic_prost::ProstCodec::<(), SnapshotResponse>::default();
    let call = "/etcdserverpb.Maintenance/Snapshot".parse().expect("a path");
    let answer = client.server_streaming(tonic::Request::new(()), call, codec).await.expect("a snapshot");
    let (mut stream, mut file) = (answer.into_inner(), fs::File::create(path).expect("a file"));
    while let Some(part) = stream.message().await.expect("a part") {
        file.write_all(&part.blob).expect("written");
    }
}

async fn put(url: &str, key: &str, value: &[u8]) {
    #[derive(Clone, PartialEq, Message)]
    struct PutRequest {
        #[prost(bytes, tag = "1")]
        key: Vec<u8>,
        #[prost(bytes, tag = "2")]
        value: Vec<u8>,
    }
    let request = PutRequest { key: key.as_bytes().to_vec(), value: value.to_vec() };
    let codec = tonic_prost::ProstCodec::<PutRequest, ()>::default();
    let call = "/etcdserverpb.KV/Put".parse().expect("a path");
    client(url).await.unary(tonic::Request::new(request), call, codec).await.expect("written");
}

async fn client(url: &str) -> Grpc<Channel> {
    let channel = Endpoint::from_shared(url.to_owned()).expect("an address").connect().await.expect("etcd");
    let mut client = Grpc::new(channel);
    client.ready().await.expect("ready");
    client
}
