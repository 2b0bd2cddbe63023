//! Against the real etcd and the real kube-apiserver.

use std::collections::HashSet;

use anyhow::{Context, Result};
use keystead_etcd::stored::{KmsV2, PlainFormat, SealRandomness, SeedKind, Stored};
use keystead_etcd::{Connection, Encryption, Etcd, Group, Layout, inventory};
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, EncryptionProvider, Options, encryption_config};

use crate::reversing_plugin;
use crate::round_trip::sample;
use crate::snapshot::maintenance::compact;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn scan_of_2500_values_survives_a_compaction() -> Result<()> {
    let control_plane = ControlPlane::prepare(Options { api_servers: 0, ..Options::default() }).await?;
    let (etcd, url) = (connect(&control_plane).await?, control_plane.etcd().url());
    let (values, last_put) = fill(&etcd).await?;

    let layout = Layout::default();
    let counted = inventory(&mut etcd.scan("/registry/"), &layout).await?;
    let group = |encryption, count: usize| Group {
        resource: "secrets".to_owned(),
        encryption,
        objects: count as u64,
        bytes: (count * BYTES) as u64,
    };
    let v2 = |key_id: &str| Encryption::KmsV2 { provider: "kms".to_owned(), key_id: key_id.to_owned() };
    assert_eq!(
        counted.groups,
        [
            group(Encryption::Plain { format: PlainFormat::Other }, 834),
            group(v2("key-1"), 833),
            group(v2("key-2"), 833)
        ]
    );
    assert_eq!((counted.objects, counted.wrapped_seeds), (2500, 2));
    assert_eq!(counted.first_revision, Some(last_put));

    let mut scanner = etcd.scan("/registry/");
    let mut found = HashSet::new();
    let mut pages = 0;
    while let Some(page) = scanner.next_page().await? {
        pages += 1;
        let bytes: usize = page.entries.iter().map(|entry| entry.value.len()).sum();
        assert!(bytes < 12 << 20, "a page of {bytes} bytes");
        if pages == 2 {
            // A new revision, so that the scan's own one is not the newest, which is never compacted.
            etcd.put(b"/registry/secrets/default/0000", b"changed").await?;
            compact(url, page.revision + 1).await?;
        }
        for entry in page.entries {
            assert!(found.insert(entry.key), "a key came twice");
        }
    }
    assert_eq!(found, values);
    assert!(pages > 5, "{pages} pages");
    assert_eq!((scanner.revisions(), scanner.repins()), (Some((last_put, last_put + 1)), 1));
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn what_the_api_server_writes_opens_and_what_we_seal_it_reads() -> Result<()> {
    let plugin = reversing_plugin::start()?;
    let provider =
        EncryptionProvider::KmsV2 { name: "kms".to_owned(), endpoint: plugin.endpoint(), timeout: None };
    let encryption = Some(encryption_config(&["secrets"], &[provider]));
    let control_plane = ControlPlane::start(Options { encryption, ..Options::default() }).await?;
    let etcd = connect(&control_plane).await?;
    let client = control_plane.api_servers[0].client();
    client.create(&Object::new(Kind::Secret, "default", "real", "key", b"a password")).await?;

    let key = b"/registry/secrets/default/real";
    let value = etcd.get(key).await?.context("the secret is in etcd")?.value;
    let Stored::KmsV2(stored) = Stored::parse(&value, &[])? else {
        panic!("the secret is not stored by KMS v2")
    };
    assert_eq!(
        (stored.seed.kind, stored.seed.key_id.as_str()),
        (SeedKind::HkdfSeed, reversing_plugin::KEY_ID)
    );
    assert_eq!(stored.encode()?, *value);
    let seed: Vec<u8> = stored.seed.ciphertext.iter().rev().copied().collect();
    let plaintext = stored.open(&seed, key)?;
    assert!(plaintext.starts_with(b"k8s\0"));
    assert!(plaintext.windows(10).any(|window| window == b"a password"));

    let moved = b"/registry/secrets/default/sealed";
    let random = SealRandomness { info: [1; 32], nonce: [2; 12] };
    let sealed = KmsV2::seal("kms", stored.seed.clone(), &seed, moved, &plaintext, &random)?;
    etcd.put(moved, &sealed.encode()?).await?;
    let read = client.get(Kind::Secret, "default", "sealed").await?;
    assert_eq!(read.data["key"], b"a password");
    // The same value under a third key is refused: the check above is not empty.
    etcd.put(b"/registry/secrets/default/stolen", &sealed.encode()?).await?;
    assert!(client.get(Kind::Secret, "default", "stolen").await.is_err());

    let counted = inventory(&mut etcd.scan("/registry/"), &Layout::default()).await?;
    let v2 = Encryption::KmsV2 { provider: "kms".to_owned(), key_id: reversing_plugin::KEY_ID.to_owned() };
    let secrets: Vec<_> = counted.groups.iter().filter(|group| group.resource == "secrets").collect();
    assert_eq!(
        secrets.iter().map(|group| (&group.encryption, group.objects)).collect::<Vec<_>>(),
        [(&v2, 3)]
    );
    assert!(counted.malformed.is_empty());
    // One start of one API server, one seed.
    assert_eq!(counted.wrapped_seeds, 1);
    let resources: HashSet<_> = counted.groups.iter().map(|group| group.resource.as_str()).collect();
    // Of those that are there before the API server is ready.
    for resource in ["namespaces", "clusterroles", "apiregistration.k8s.io/apiservices"] {
        assert!(resources.contains(resource), "{resource} is not in {resources:?}");
    }
    Ok(())
}

/// Writes 2,500 values, a third of them plain and a third each of two key ids; gives their keys and the last revision.
async fn fill(etcd: &Etcd) -> Result<(HashSet<Vec<u8>>, i64)> {
    let mut keys = HashSet::new();
    let mut revision = 0;
    for index in 0..2500 {
        let key = format!("/registry/secrets/default/{index:04}").into_bytes();
        let value = match index % 3 {
            0 => vec![b'x'; BYTES],
            id => sealed_as(&format!("key-{id}"))?,
        };
        etcd.put(&key, &value).await?;
        if index == 2499 {
            revision = etcd.get(&key).await?.context("just written")?.mod_revision;
        }
        keys.insert(key);
    }
    Ok((keys, revision))
}

/// A value of exactly `BYTES` bytes.
fn sealed_as(key_id: &str) -> Result<Vec<u8>> {
    let mut value = sample();
    value.seed.key_id = key_id.to_owned();
    value.payload = vec![0; BYTES];
    let excess = value.encode()?.len() - BYTES;
    value.payload.truncate(BYTES - excess);
    Ok(value.encode()?)
}

async fn connect(control_plane: &ControlPlane) -> Result<Etcd> {
    let connection = Connection::plain(control_plane.etcd().url());
    Ok(Etcd::connect(&connection).await?)
}

/// 2,500 of them are 49 MiB: more than one answer may hold.
const BYTES: usize = 20 << 10;
