//! A new key version while plugin and API server run.

use std::collections::BTreeMap;

use anyhow::Result;
use keystead_crypto::Envelope;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};

use super::convergence::converged;
use super::host::Host;
use super::stored::Store;
use super::v1::{KMS_V1_ON, v2_secrets_and_v1_config_maps};

const SECRETS: u64 = 20;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p8_p18_rotation_without_restart_back_again_and_removal_of_the_old_version() -> Result<()> {
    let mut host = Host::new(&["probeInterval: 300ms"])?;
    host.start_ready().await?;
    let mut control_plane = start(&host).await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;
    for index in 0..SECRETS {
        client.create(&Object::new(Kind::Secret, "default", &secret(index), "key", VALUE)).await?;
    }
    let first = host.key_id().await?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&first, SECRETS)]));

    // Forward: nothing is rewritten unasked, everything is readable, a patch rewrites each once.
    host.key(&["rotate", "--single-host"])?;
    let second = host.key_id_after(&first).await?;
    converged(&control_plane.api_servers[0], "new", &second).await?;
    read_all(&client).await?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&first, SECRETS)]));
    client.create(&Object::new(Kind::Secret, "default", "later", "key", VALUE)).await?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&first, SECRETS), (&second, 1)]));
    assert_eq!(touch_all(&client).await?, SECRETS, "each stale one was rewritten");
    assert_eq!(touch_all(&client).await?, 0, "once");
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&second, SECRETS + 1)]));

    // Back to the first version: a third key id, so that nothing looks current that is not.
    host.key(&["promote", "1"])?;
    let third = host.key_id_after(&second).await?;
    assert_ne!(third, first);
    converged(&control_plane.api_servers[0], "new", &third).await?;
    assert_eq!(touch_all(&client).await?, SECRETS);
    assert_eq!(touch_all(&client).await?, 0);
    client.touch(Kind::Secret, "default", "later").await?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&third, SECRETS + 1)]));

    // Nothing needs the second version any more: not the running processes, and not new ones.
    host.key(&["remove", "2", "--yes"])?;
    read_all(&client).await?;
    client.create(&Object::new(Kind::Secret, "default", "last", "key", VALUE)).await?;
    control_plane.api_servers[0].stop().await?;
    host.stop().await?;
    host.start_ready().await?;
    assert_eq!(host.key_id().await?, third, "a removal is no rotation");
    control_plane.api_servers[0].start().await?;
    read_all(&client).await?;
    assert_eq!(client.get(Kind::Secret, "default", "last").await?.data["key"], VALUE);
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&third, SECRETS + 2)]));
    Ok(())
}

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p9_what_is_under_a_removed_version_is_lost_and_the_rest_is_not() -> Result<()> {
    let mut host = Host::new(&["probeInterval: 300ms"])?;
    host.start_ready().await?;
    let mut control_plane = start(&host).await?;
    let client = control_plane.api_servers[0].client().clone();
    let store = Store::of(&control_plane).await?;
    client.create(&Object::new(Kind::ConfigMap, "default", "name", "key", VALUE)).await?;
    let version_of_config_map = async || -> Result<String> {
        let stored = store.v1(Kind::ConfigMap, "name").await?;
        Ok(Envelope::parse(&stored.wrapped_key)?.key_reference().to_string())
    };
    let first = host.key_id().await?;
    assert_eq!(version_of_config_map().await?, first);

    // KMS v1 does not know key ids: a patch changes nothing, a write uses the new version.
    host.key(&["rotate", "--single-host"])?;
    let second = host.key_id_after(&first).await?;
    let before = client.get(Kind::ConfigMap, "default", "name").await?;
    assert_eq!(
        client.touch(Kind::ConfigMap, "default", "name").await?,
        before.metadata.resource_version,
        "not stale in the API server's eyes"
    );
    assert_eq!(version_of_config_map().await?, first);
    let mut changed = before;
    changed.data.insert("changed".to_owned(), b"yes".to_vec());
    client.update(&changed).await?;
    assert_eq!(version_of_config_map().await?, second);

    // Written before the API server has seen the new version, so under the old one, and not re-encrypted.
    client.create(&Object::new(Kind::Secret, "default", "forgotten", "key", VALUE)).await?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&first, 1)]));
    host.key(&["remove", "1", "--yes"])?;
    control_plane.api_servers[0].stop().await?;
    host.stop().await?;
    host.start_ready().await?;
    control_plane.api_servers[0].spawn().await?;
    super::deadline::eventually("the API server answers", std::time::Duration::from_secs(30), async || {
        Ok(client.get(Kind::ConfigMap, "default", "name").await.is_ok())
    })
    .await?;
    let lost = client.get(Kind::Secret, "default", "forgotten").await.unwrap_err();
    assert!(lost.to_string().contains("the key file holds no version 1"), "{lost}");
    Ok(())
}

async fn start(host: &Host) -> Result<ControlPlane> {
    let encryption = Some(v2_secrets_and_v1_config_maps(&host.v2("new"), &host.v1("old")));
    let args = vec![KMS_V1_ON.to_owned()];
    ControlPlane::start(Options { encryption, args, ..Options::default() }).await
}

/// Sends an empty merge patch for each; how many it rewrote.
async fn touch_all(client: &Client) -> Result<u64> {
    let mut rewritten = 0;
    for index in 0..SECRETS {
        let before = client.get(Kind::Secret, "default", &secret(index)).await?.metadata.resource_version;
        let after = client.touch(Kind::Secret, "default", &secret(index)).await?;
        rewritten += u64::from(after != before);
    }
    Ok(rewritten)
}

async fn read_all(client: &Client) -> Result<()> {
    for index in 0..SECRETS {
        assert_eq!(client.get(Kind::Secret, "default", &secret(index)).await?.data["key"], VALUE);
    }
    Ok(())
}

fn secret(index: u64) -> String {
    format!("secret-{index}")
}

fn counts(of: &[(&String, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(key_id, count)| ((*key_id).clone(), *count)).collect()
}

const VALUE: &[u8] = b"a password";
