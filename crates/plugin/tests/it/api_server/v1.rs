//! KMS v1 on the newest API server, alone and beside v2.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use keystead_crypto::Envelope;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, EncryptionProvider, Options, encryption_config};

use super::host::Host;
use super::stored::{Store, contains, key, open_with_key_file};

/// From 1.29 on v1 is off unless asked for.
pub(crate) const KMS_V1_ON: &str = "--feature-gates=KMSv1=true";

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k1_k3_p5_v1_secrets_are_written_read_and_decoded_with_api_version_empty_and_v1() -> Result<()> {
    let mut host = Host::new(&["probeInterval: 1h"])?;
    host.start_ready().await?;
    let mut control_plane =
        start(encryption_config(&["secrets"], &[host.v1_with("old", false, None)])).await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;

    for (round, explicit_version) in [false, true].into_iter().enumerate() {
        let encryption = encryption_config(&["secrets"], &[host.v1_with("old", explicit_version, None)]);
        control_plane.api_servers[0].set_encryption(Some(&encryption))?;
        control_plane.api_servers[0].restart().await?;
        for index in 0..2 {
            let name = format!("secret-{round}-{index}");
            client.create(&Object::new(Kind::Secret, "default", &name, "key", VALUE)).await?;
        }
        let mut first = client.get(Kind::Secret, "default", "secret-0-0").await?;
        first.data.insert("round".to_owned(), vec![b'0'; round + 1]);
        client.update(&first).await?;
    }
    control_plane.api_servers[0].restart().await?;
    let page = client.list(Kind::Secret, "default", 0, "").await?;
    assert_eq!(page.items.len(), 4);

    let mut wrapped_keys = HashSet::new();
    for item in page.items {
        let name = item.name;
        assert_eq!(client.get(Kind::Secret, "default", &name).await?.data["key"], VALUE);
        assert!(store.value(Kind::Secret, &name).await?.starts_with(b"k8s:enc:kms:v1:old:"));
        let stored = store.v1(Kind::Secret, &name).await?;
        let dek = open_with_key_file(&host.key_file(), &stored.wrapped_key).await?;
        assert!(contains(&stored.open(dek.expose(), &key(Kind::Secret, &name))?, VALUE));
        assert!(!store.holds(dek.expose()).await?);
        wrapped_keys.insert(stored.wrapped_key);
    }
    assert_eq!(wrapped_keys.len(), 4, "a DEK of its own for each Secret");
    assert!(!store.holds(VALUE).await?);
    assert_eq!(
        (host.backend().wraps(), host.backend().unwraps()),
        (1, 1),
        "no Secret costs the backend a call"
    );
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k3_v1_cachesize_is_honoured() -> Result<()> {
    const SECRETS: u64 = 30;
    let mut host = Host::new(&[])?;
    host.start_ready().await?;
    let mut control_plane = start(encryption_config(&["secrets"], &[host.v1("old")])).await?;
    let client = control_plane.api_servers[0].client().clone();
    for index in 0..SECRETS {
        let name = format!("secret-{index}");
        client.create(&Object::new(Kind::Secret, "default", &name, "key", VALUE)).await?;
    }
    // By default there is room for 1,000; a negative size is none.
    for (cache_size, expected) in [(None, 0), (Some(2), SECRETS), (Some(-1), SECRETS)] {
        let encryption = encryption_config(&["secrets"], &[host.v1_with("old", true, cache_size)]);
        control_plane.api_servers[0].set_encryption(Some(&encryption))?;
        control_plane.api_servers[0].restart().await?;
        read_all(&client, SECRETS).await?;
        let before = host.calls("v1", "Decrypt").await?;
        read_all(&client, SECRETS).await?;
        let decrypts = host.calls("v1", "Decrypt").await? - before;
        // Nobody asks for /readyz meanwhile, so none of them is its `ping`.
        assert_eq!(decrypts, expected, "cachesize {cache_size:?}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k1_k2_both_versions_on_one_socket() -> Result<()> {
    let mut host = Host::new(&[])?;
    host.start_ready().await?;
    let encryption = v2_secrets_and_v1_config_maps(&host.v2("new"), &host.v1("old"));
    let mut control_plane = start(encryption).await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;

    client.create(&Object::new(Kind::Secret, "default", "name", "key", VALUE)).await?;
    client.create(&Object::new(Kind::ConfigMap, "default", "name", "key", VALUE)).await?;
    let secret = store.v2(Kind::Secret, "name").await?;
    let config_map = store.v1(Kind::ConfigMap, "name").await?;
    assert_eq!((secret.provider.as_str(), config_map.provider.as_str()), ("new", "old"));
    // Both are sealed by one key, and say so.
    let key_id = host.key_id().await?;
    assert_eq!(secret.seed.key_id, key_id);
    assert_eq!(Envelope::parse(&config_map.wrapped_key)?.key_reference().to_string(), key_id);
    let seed = open_with_key_file(&host.key_file(), &secret.seed.ciphertext).await?;
    assert!(contains(&secret.open(seed.expose(), &key(Kind::Secret, "name"))?, VALUE));
    let dek = open_with_key_file(&host.key_file(), &config_map.wrapped_key).await?;
    assert!(contains(&config_map.open(dek.expose(), &key(Kind::ConfigMap, "name"))?, VALUE));

    control_plane.api_servers[0].restart().await?;
    for kind in [Kind::Secret, Kind::ConfigMap] {
        assert_eq!(client.get(kind, "default", "name").await?.data["key"], VALUE);
    }
    let readyz = control_plane.api_servers[0].readyz(true).await?;
    for check in ["[+]kms-provider-0 ok", "[+]kms-provider-1 ok"] {
        ensure!(readyz.text.contains(check), "{}", readyz.text);
    }
    Ok(())
}

/// Two entries: the testkit writes one.
pub(crate) fn v2_secrets_and_v1_config_maps(v2: &EncryptionProvider, v1: &EncryptionProvider) -> String {
    let mut text = encryption_config(&["secrets"], std::slice::from_ref(v2));
    let config_maps = encryption_config(&["configmaps"], std::slice::from_ref(v1));
    let (_, entry) = config_maps.split_once("resources:\n").expect("a configuration has resources");
    text.push_str(entry);
    text
}

async fn start(encryption: String) -> Result<ControlPlane> {
    let args = vec![KMS_V1_ON.to_owned()];
    ControlPlane::start(Options { encryption: Some(encryption), args, ..Options::default() }).await
}

async fn read_all(client: &Client, secrets: u64) -> Result<()> {
    for index in 0..secrets {
        client.get(Kind::Secret, "default", &format!("secret-{index}")).await?;
    }
    Ok(())
}

const VALUE: &[u8] = b"a password that must not be in etcd";
