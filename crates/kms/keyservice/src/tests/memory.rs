//! After its destruction a key is out of the process's memory. A process of its own has the keys; we find out from outside
//! what they are, from the sealed blobs and the root key file, and search all of its memory.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use keystead_crypto::{Secret32, SystemRandom};
use keystead_model::{KeyUid, KeyVersion};
use keystead_provider::Provider;
use keystead_provider_local::LocalProvider;
use serde_json::{Value, json};

use super::keys::{decrypts, encrypt};
use crate::key_material::Sealing;
use crate::operations::*;
use crate::records::record_name;
use crate::testbed::{Testbed, key_name, version, version_name};

/// In the environment of the process that is searched.
const ROLE: &str = "KEYSTEAD_TEST_IS_SEARCHED";
/// Begins what that process says, among what the test program says.
const SAYS: &str = "searched: ";
const NAME: &str = "tests::memory::a18_destroyed_material_is_out_of_memory";
/// Each uses both versions once.
const USES: usize = 200;

#[test]
fn a18_destroyed_material_is_out_of_memory() {
    if std::env::var_os(ROLE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(be_searched());
        return;
    }
    let mut searched = Searched::start();
    let said = searched.listen();
    let [destroyed, kept] = keys(&said);
    let before = [searched.copies(&destroyed), searched.copies(&kept)];
    println!("copies in memory before: {before:?}");
    assert!(before[0] > 0 && before[1] > 0, "the control: both are found before, {before:?}");
    searched.go_on();
    assert_eq!(searched.listen(), json!("destroyed"));
    let after = [searched.copies(&destroyed), searched.copies(&kept)];
    println!("copies in memory after the first was destroyed: {after:?}");
    assert_eq!(after[0], 0, "{after:?}");
    assert!(after[1] > 0, "the control: the other one is still found, {after:?}");
    searched.go_on();
    assert!(searched.child.wait().unwrap().success());
}

/// The two keys, as the files on the disk have them.
fn keys(said: &Value) -> [Secret32; 2] {
    let text = |field: &str| said[field].as_str().unwrap();
    let bytes = |field: &str| hex::decode(text(field)).unwrap();
    let stored: Value = serde_json::from_slice(&bytes("storeKey")).unwrap();
    let root_key = LocalProvider::open(text("rootKey").as_ref(), Arc::new(SystemRandom)).unwrap();
    let root_version = KeyVersion::new(stored["version"].as_str().unwrap()).unwrap();
    let wrapped = hex::decode(stored["wrapped"].as_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store_key = runtime.block_on(root_key.unwrap(&root_version, &wrapped)).unwrap();
    let sealing = Sealing::new(store_key);
    let uid = KeyUid(bytes("uid").try_into().unwrap());
    [1, 2].map(|number| {
        let sealed = bytes(&format!("material{number}"));
        sealing.open(uid, &version_name(number), &sealed).unwrap()
    })
}

/// The process that is searched.
struct Searched {
    child: Child,
    says: BufReader<ChildStdout>,
    tell: ChildStdin,
}

impl Searched {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([NAME, "--exact", "--nocapture"])
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap());
        let tell = child.stdin.take().unwrap();
        Self { child, says, tell }
    }

    fn listen(&mut self) -> Value {
        loop {
            let mut line = String::new();
            assert!(self.says.read_line(&mut line).unwrap() > 0, "it has ended");
            if let Some((_, said)) = line.split_once(SAYS) {
                return serde_json::from_str(said).unwrap();
            }
        }
    }

    fn go_on(&mut self) {
        self.tell.write_all(b"\n").unwrap();
    }

    /// How often the key stands in memory that can be written.
    fn copies(&self, key: &Secret32) -> usize {
        let process = format!("/proc/{}", self.child.id());
        let maps = std::fs::read_to_string(format!("{process}/maps")).unwrap();
        let mut memory = std::fs::File::open(format!("{process}/mem")).unwrap();
        let mut copies = 0;
        for map in maps.lines().filter(|map| map.split(' ').nth(1).is_some_and(|it| it.starts_with("rw"))) {
            let (start, rest) = map.split_once('-').unwrap();
            let end = rest.split(' ').next().unwrap();
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            memory.seek(SeekFrom::Start(start)).unwrap();
            memory.read_exact(&mut bytes).unwrap();
            copies += count(&bytes, key.expose());
        }
        copies
    }
}

impl Drop for Searched {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn count(mut bytes: &[u8], key: &[u8; 32]) -> usize {
    let mut found = 0;
    while let Some(at) = bytes.iter().position(|byte| *byte == key[0]) {
        bytes = &bytes[at..];
        found += usize::from(bytes.starts_with(key));
        bytes = &bytes[1..];
    }
    found
}

async fn be_searched() {
    let bed = Arc::new(Testbed::new().await);
    let uid = bed.key().await.key.uid;
    bed.run(CreateCryptoKeyVersion { key: key_name() }).await.unwrap();
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..USES {
        let bed = bed.clone();
        users.spawn(async move {
            for number in [1, 2] {
                let sealed = encrypt(&bed, key_name(), Some(version(number))).await;
                decrypts(&bed, &sealed.ciphertext).await.unwrap();
            }
        });
    }
    users.join_all().await;
    let record = async |name: &str| hex::encode(bed.service.store.get(name).await.unwrap().unwrap().value);
    let about = json!({
        "uid": hex::encode(uid.0),
        "rootKey": bed.directory.path().join("root/root-key"),
        "storeKey": record(record_name::STORE_KEY).await,
        "material1": record(&record_name::material(&version_name(1))).await,
        "material2": record(&record_name::material(&version_name(2))).await,
    });
    say(&about);

    bed.nothing_is_left().await;
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    bed.clock.advance(Duration::from_secs(30 * 86_400));
    assert_eq!(bed.service.tick().await.destroyed, 1);
    say(&json!("destroyed"));
}

/// And waits until it has been searched.
fn say(what: &Value) {
    println!("{SAYS}{what}");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
