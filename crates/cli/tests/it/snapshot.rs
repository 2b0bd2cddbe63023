//! `keystead cluster snapshot plan-restore`, `decrypt`, `register`: with real plugins and a real server; what etcd stores is written here, and
//! in `live` by the real API server.

#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "../../../cluster/etcd/tests/it/bbolt_file.rs"]
#[expect(dead_code, reason = "the tests of the etcd reader use the rest")]
mod bbolt_file;
mod live;
mod opened;
mod registered;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bbolt_file::{Written, database};
use keystead_cluster::encryption_configuration::KmsVersion;
use keystead_cluster::kms_socket::{KmsSocket, Wrapped};
use keystead_etcd::stored::{KmsV2, SealRandomness, SeedKind, WrappedSeed};
use keystead_testkit::process::Process;

use crate::rollout::fleet::{make_key, start_plugin_with};
use crate::{keystead, stderr, stdout};

/// In every Secret, and in no output.
const CANARY: &str = "canary-of-a-secret-7d1f";

/// A plugin with a key of its own.
struct Plugin {
    directory: tempfile::TempDir,
    _process: Process,
}

impl Plugin {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// With more flags.
    async fn start_with(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let plugin = directory.path().join("plugin");
        fs::create_dir(&plugin).expect("a directory");
        fs::set_permissions(&plugin, fs::Permissions::from_mode(0o700)).expect("a mode");
        make_key(&plugin.join("key"));
        let process = start_plugin_with(directory.path(), more).await;
        let plugin = Self { directory, _process: process };
        while plugin.wrap().await.is_none() {
            tokio::task::yield_now().await;
        }
        plugin
    }

    fn socket(&self) -> String {
        self.directory.path().join("plugin/kms.sock").display().to_string()
    }

    /// A new seed, wrapped and not.
    async fn wrap(&self) -> Option<(WrappedSeed, Vec<u8>)> {
        let socket = KmsSocket::new(&self.socket(), KmsVersion::V2);
        let wrapped = socket.probe(None).await.ok()?;
        let seed = socket.decrypt(&wrapped).await.ok()?.to_vec();
        let Wrapped { key_id, ciphertext, annotations, .. } = wrapped;
        Some((WrappedSeed { kind: SeedKind::HkdfSeed, key_id, ciphertext, annotations }, seed))
    }
}

/// As kube-apiserver stores it under KMS v2.
fn sealed(key: &str, wrapped: &WrappedSeed, seed: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let random = SealRandomness { info: [7; 32], nonce: [8; 12] };
    let sealed = KmsV2::seal("keystead", wrapped.clone(), seed, key.as_bytes(), plaintext, &random);
    sealed.expect("sealed").encode().expect("encoded")
}

/// A Secret as kube-apiserver writes it, with the canary in it.
fn secret(namespace: &str, name: &str) -> Vec<u8> {
    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, &mut bytes);
        prost::encoding::encode_varint(content.len() as u64, &mut bytes);
        bytes.extend_from_slice(content);
        bytes
    }
    let type_meta = [field(1, b"v1"), field(2, b"Secret")].concat();
    let metadata = [field(1, name.as_bytes()), field(3, namespace.as_bytes())].concat();
    let data = [field(1, b"password"), field(2, CANARY.as_bytes())].concat();
    let object = [field(1, &metadata), field(2, &data), field(3, b"Opaque")].concat();
    [b"k8s\0".to_vec(), field(1, &type_meta), field(2, &object)].concat()
}

/// A snapshot as `etcdctl snapshot save` writes it.
fn write_snapshot(path: &Path, values: &[(&str, Vec<u8>)]) {
    let written: Vec<Written<'_>> = (2..)
        .zip(values)
        .map(|(revision, (key, value))| Written { revision, key, value: Some(value) })
        .collect();
    let mut bytes = database(4096, &written);
    let hash = keystead_crypto::sha256(&bytes);
    bytes.extend_from_slice(&hash);
    fs::write(path, bytes).expect("written");
}

/// `keystead cluster snapshot ARGS`; whatever it prints, it is no value of a Secret.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let output = shown(args);
    let (out, err) = (stdout(&output), stderr(&output));
    for text in [CANARY.to_owned(), STANDARD.encode(CANARY)] {
        assert!(!out.contains(&text) && !err.contains(&text), "{args:?} prints a value: {out}{err}");
    }
    (output.status.code(), out, err)
}

fn shown(args: &[&str]) -> Output {
    keystead().args(["cluster", "snapshot"]).args(args).output().expect("runs")
}

/// The lines of an output file, by etcd key.
fn lines(path: &Path) -> BTreeMap<String, serde_json::Value> {
    let mode = fs::metadata(path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(path).expect("text");
    let parsed = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    parsed.map(|line| (line["key"].as_str().expect("a key").to_owned(), line)).collect()
}

/// Nothing else is in the directory than these.
fn only(directory: &Path, names: &[&str]) {
    let found = fs::read_dir(directory).expect("a directory").map(|it| it.expect("an entry").file_name());
    let mut found: Vec<PathBuf> = found.map(PathBuf::from).collect();
    found.sort();
    assert_eq!(found, names.iter().map(PathBuf::from).collect::<Vec<_>>());
}
