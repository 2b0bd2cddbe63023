//! Files of the real etcd, with what the real kube-apiserver wrote.

use anyhow::{Context, Result};
use keystead_etcd::{
    Age, Connection, Encryption, Etcd, HashCheck, Layout, Snapshot, SnapshotError, inventory,
    snapshot_inventory,
};
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, EncryptionProvider, Options, encryption_config};

use super::maintenance::{compact, save_snapshot};
use super::rows;
use crate::reversing_plugin;

/// Plain Secrets, then encryption, re-encryption of some, a deletion: the snapshot, the database of the stopped etcd and the
/// running etcd agree on what is there, and the files show what the API does not.
#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn snapshot_shows_what_the_api_shows_and_the_plaintext_before_it() -> Result<()> {
    let plugin = reversing_plugin::start()?;
    let mut control_plane = ControlPlane::start(Options::default()).await?;
    let secret = |name: &str| Object::new(Kind::Secret, "default", name, "key", b"a password");
    for name in ["stays", "touched", "deleted"] {
        control_plane.api_servers[0].client().create(&secret(name)).await?;
    }
    let provider =
        EncryptionProvider::KmsV2 { name: "kms".to_owned(), endpoint: plugin.endpoint(), timeout: None };
    let config = encryption_config(&["secrets"], &[provider, EncryptionProvider::Identity]);
    control_plane.api_servers[0].set_encryption(Some(&config))?;
    control_plane.api_servers[0].restart().await?;
    let client = control_plane.api_servers[0].client().clone();
    client.create(&secret("new")).await?;
    client.touch(Kind::Secret, "default", "touched").await?;
    client.delete(Kind::Secret, "default", "deleted").await?;
    // It writes leases all the time.
    control_plane.api_servers[0].stop().await?;

    let url = control_plane.etcd().url().to_owned();
    let etcd = Etcd::connect(&Connection::plain(&url)).await?;
    // kube-apiserver's own, after its first five minutes.
    etcd.put(b"compact_rev_key", b"1").await?;
    let layout = Layout::default();
    let live = inventory(&mut etcd.scan("/registry/"), &layout).await?;
    let directory = tempfile::tempdir()?;
    let saved = directory.path().join("saved");
    save_snapshot(&url, &saved).await?;

    let counted = snapshot_inventory(&Snapshot::open(&saved)?, &layout, &[])?;
    assert_eq!(counted.current, live, "with its revision");
    assert_eq!(counted.history.hash, HashCheck::Matches);
    assert_eq!(counted.history.elsewhere, 1, "the key that is not under /registry/");
    let secrets = snapshot_inventory(&Snapshot::open(&saved)?, &layout, &["secrets".to_owned()])?;
    let v2 = format!("kms_v2  {}", reversing_plugin::KEY_ID);
    let row = |encryption: &str, objects| ("secrets".to_owned(), encryption.to_owned(), objects);
    assert_eq!(rows(&secrets.current), [row("plain protobuf", 1), row(&v2, 2)]);
    assert_eq!(rows(&secrets.history.old), [row("plain protobuf", 2)], "of `touched` and `deleted`");

    // The newest value of each key is the one that etcd gives.
    let mut keys = Vec::new();
    Snapshot::open(&saved)?.for_each(|stored| {
        if stored.age == Age::Current {
            keys.push((stored.key.to_vec(), stored.value.to_vec(), stored.revision));
        }
    })?;
    for (key, value, revision) in keys {
        let entry = etcd.get(&key).await?.context("a key of the snapshot is there")?;
        assert_eq!((entry.value.as_slice(), entry.mod_revision), (value.as_slice(), revision));
    }

    // Compaction ends the old plaintext.
    compact(&url, live.last_revision.context("a revision")?).await?;
    save_snapshot(&url, &saved).await?;
    let after = snapshot_inventory(&Snapshot::open(&saved)?, &layout, &["secrets".to_owned()])?;
    assert_eq!(rows(&after.current), rows(&secrets.current));
    assert_eq!((after.history.old.objects, after.history.compacted_revision), (0, live.last_revision));
    assert!(!after.history.compaction_unfinished);

    let database = control_plane.etcd().database().to_owned();
    assert!(matches!(Snapshot::open(&database), Err(SnapshotError::InUse)), "etcd is running");
    let copy = directory.path().join("copy");
    std::fs::copy(&database, &copy)?;
    Snapshot::open(&copy)?;
    control_plane.etcd_mut().stop().await?;
    let stopped = snapshot_inventory(&Snapshot::open(&database)?, &layout, &[])?;
    assert_eq!(stopped.current, live);
    assert_eq!(stopped.history.hash, HashCheck::Absent);
    assert!(stopped.current.groups.iter().any(|group| matches!(group.encryption, Encryption::KmsV2 { .. })));
    Ok(())
}
