//! API servers that send the socket's path as `:authority`: raw up to 1.28, percent-encoded in 1.29 to 1.31. The newest
//! one still does so for KMS v1.

use anyhow::Result;
use keystead_etcd::stored::SeedKind;
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, EncryptionProvider, Options, encryption_config};

use super::host::Host;
use super::stored::{Store, contains, key, open_with_key_file};
use super::v1::KMS_V1_ON;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k1_k2_p7_secrets_of_1_28_with_raw_paths_and_v2beta1() -> Result<()> {
    // Before seeds: the 32 bytes are the key itself.
    check("1.28.15", &[], "statusVersion: v2beta1", SeedKind::AesGcmKey).await
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k1_k2_p7_secrets_of_1_31_with_encoded_paths() -> Result<()> {
    check("1.31.0", &[KMS_V1_ON], "statusVersion: v2", SeedKind::HkdfSeed).await
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k1_k2_p7_secrets_of_1_36() -> Result<()> {
    check("1.36.3", &[KMS_V1_ON], "statusVersion: v2", SeedKind::HkdfSeed).await
}

/// Writes a Secret with v1, moves on to v2, and reads both before and after a restart.
async fn check(version: &str, args: &[&str], setting: &str, kind: SeedKind) -> Result<()> {
    let mut host = Host::new(&[setting])?;
    host.start_ready().await?;
    let (old, new) = (host.v1("old"), host.v2("new"));
    let order = |first: &EncryptionProvider, second: &EncryptionProvider| {
        encryption_config(&["secrets"], &[first.clone(), second.clone()])
    };
    let mut control_plane = ControlPlane::start(Options {
        version: version.to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        encryption: Some(order(&old, &new)),
        ..Options::default()
    })
    .await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;

    client.create(&Object::new(Kind::Secret, "default", "by-v1", "key", VALUE)).await?;
    control_plane.api_servers[0].set_encryption(Some(&order(&new, &old)))?;
    control_plane.api_servers[0].restart().await?;
    client.create(&Object::new(Kind::Secret, "default", "by-v2", "key", VALUE)).await?;

    let by_v1 = store.v1(Kind::Secret, "by-v1").await?;
    let dek = open_with_key_file(&host.key_file(), &by_v1.wrapped_key).await?;
    assert!(contains(&by_v1.open(dek.expose(), &key(Kind::Secret, "by-v1"))?, VALUE));
    let by_v2 = store.v2(Kind::Secret, "by-v2").await?;
    assert_eq!((by_v2.seed.kind, &by_v2.seed.key_id), (kind, &host.key_id().await?));
    let seed = open_with_key_file(&host.key_file(), &by_v2.seed.ciphertext).await?;
    assert!(contains(&by_v2.open(seed.expose(), &key(Kind::Secret, "by-v2"))?, VALUE));

    control_plane.api_servers[0].restart().await?;
    for name in ["by-v1", "by-v2"] {
        assert_eq!(client.get(Kind::Secret, "default", name).await?.data["key"], VALUE);
    }
    assert_eq!(client.list(Kind::Secret, "default", 0, "").await?.items.len(), 2);
    let metrics = control_plane.api_servers[0].metrics().await?;
    assert!(metrics.contains(&format!("git_version=\"v{version}\"")));
    Ok(())
}

const VALUE: &[u8] = b"a password that must not be in etcd";
