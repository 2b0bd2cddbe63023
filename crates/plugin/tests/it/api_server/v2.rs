//! KMS v2 on the newest API server.

use std::collections::HashSet;

use anyhow::Result;
use keystead_crypto::Envelope;
use keystead_etcd::stored::SeedKind;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options, encryption_config};

use super::host::Host;
use super::stored::{Store, contains, key, open_with_key_file};

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn k2_p1_p5_p8_v2_secrets_are_written_read_and_decoded() -> Result<()> {
    let mut host = Host::new(&[])?;
    host.start_ready().await?;
    let encryption = Some(encryption_config(&["secrets"], &[host.v2("keystead")]));
    let mut control_plane = ControlPlane::start(Options { encryption, ..Options::default() }).await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;

    for name in ["first", "second"] {
        client.create(&Object::new(Kind::Secret, "default", name, "key", VALUE)).await?;
        assert_eq!(client.get(Kind::Secret, "default", name).await?.data["key"], VALUE);
    }
    let mut first = client.get(Kind::Secret, "default", "first").await?;
    first.data.insert("key".to_owned(), UPDATED.to_vec());
    client.update(&first).await?;
    assert_eq!(names(&client).await?, ["first", "second"]);

    assert!(store.value(Kind::Secret, "first").await?.starts_with(b"k8s:enc:kms:v2:keystead:"));
    let (one, two) = (store.v2(Kind::Secret, "first").await?, store.v2(Kind::Secret, "second").await?);
    assert_eq!((one.seed.kind, &one.seed.key_id), (SeedKind::HkdfSeed, &host.key_id().await?));
    assert_eq!(one.seed, two.seed, "one seed for all of one API server");
    assert_ne!(one.payload[..32], two.payload[..32], "a key of its own for each write");
    let seed = open_with_key_file(&host.key_file(), &one.seed.ciphertext).await?;
    let plaintext = one.open(seed.expose(), &key(Kind::Secret, "first"))?;
    assert!(plaintext.starts_with(b"k8s\0") && contains(&plaintext, UPDATED));

    // Whoever has all of etcd has neither a value nor a key: the search finds what is there in clear.
    assert!(store.holds(b"kube-system").await?);
    for secret in [VALUE, UPDATED, seed.expose()] {
        assert!(!store.holds(secret).await?);
    }

    control_plane.api_servers[0].restart().await?;
    assert_eq!(client.get(Kind::Secret, "default", "first").await?.data["key"], UPDATED);
    assert_eq!(client.get(Kind::Secret, "default", "second").await?.data["key"], VALUE);
    assert_eq!(names(&client).await?, ["first", "second"]);
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p6_p8_each_wrapping_key_costs_one_unwrap_and_cached_ones_none() -> Result<()> {
    // No probe but the first one of each start, which wraps once and unwraps once.
    let mut host = Host::new(&["probeInterval: 1h"])?;
    host.start_ready().await?;
    let encryption = Some(encryption_config(&["secrets"], &[host.v2("keystead")]));
    let mut control_plane = ControlPlane::start(Options { encryption, ..Options::default() }).await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;

    // Three wrapping keys with two seeds each: a wrapping key for each start of the plugin, a seed for each of the API
    // server.
    let mut all = Vec::new();
    for start in 0..6 {
        if start > 0 {
            control_plane.api_servers[0].stop().await?;
            if start % 2 == 0 {
                host.stop().await?;
                host.start_ready().await?;
            }
            control_plane.api_servers[0].start().await?;
        }
        for index in 0..4 {
            let name = format!("secret-{start}-{index}");
            client.create(&Object::new(Kind::Secret, "default", &name, "key", VALUE)).await?;
            all.push(name);
        }
    }
    let (mut seeds, mut wrapping_keys) = (HashSet::new(), HashSet::new());
    for name in &all {
        let seed = store.v2(Kind::Secret, name).await?.seed;
        wrapping_keys.insert(Envelope::parse(&seed.ciphertext)?.wrapped().to_vec());
        seeds.insert(seed.ciphertext);
    }
    assert_eq!((seeds.len(), wrapping_keys.len()), (6, 3));

    control_plane.api_servers[0].stop().await?;
    host.stop().await?;
    let before = host.backend().unwraps();
    host.start_ready().await?;
    assert_eq!(host.backend().unwraps() - before, 1, "the probe's own");
    control_plane.api_servers[0].start().await?;
    for name in &all {
        assert_eq!(client.get(Kind::Secret, "default", name).await?.data["key"], VALUE);
    }
    assert_eq!(names(&client).await?, all);
    assert_eq!(host.backend().unwraps() - before, 1 + 3, "one for each wrapping key");
    assert!(host.calls("v2", "Decrypt").await? >= 6, "one for each seed");

    // A new API server asks for all seeds again, and the plugin has them all.
    control_plane.api_servers[0].restart().await?;
    assert_eq!(client.get(Kind::Secret, "default", &all[0]).await?.data["key"], VALUE);
    assert_eq!(host.backend().unwraps() - before, 1 + 3);
    Ok(())
}

async fn names(client: &Client) -> Result<Vec<String>> {
    let page = client.list(Kind::Secret, "default", 0, "").await?;
    Ok(page.items.into_iter().map(|item| item.name).collect())
}

const VALUE: &[u8] = b"a password that must not be in etcd";
const UPDATED: &[u8] = b"another password that must not be in etcd";
