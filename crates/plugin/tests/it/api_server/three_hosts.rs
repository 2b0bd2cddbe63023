//! Three control-plane hosts with a plugin and a copy of the key file each.

use anyhow::Result;
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options, encryption_config};

use super::convergence::converged;
use super::host::Host;
use super::stored::Store;

#[tokio::test]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p8_three_hosts_read_each_other_and_rotate_by_add_copy_promote() -> Result<()> {
    let first = Host::new(SETTINGS)?;
    let mut hosts = [Host::join(&first, SETTINGS)?, Host::join(&first, SETTINGS)?, first];
    let mut control_plane = ControlPlane::prepare(Options { api_servers: 3, ..Options::default() }).await?;
    for (host, server) in hosts.iter_mut().zip(&mut control_plane.api_servers) {
        host.start_ready().await?;
        server.set_encryption(Some(&encryption_config(&["secrets"], &[host.v2("keystead")])))?;
        server.start().await?;
    }
    let store = Store::of(&control_plane).await?;
    let old = same_key_id(&hosts).await?;

    // Each has a wrapping key of its own, which the two others unwrap.
    write_at_each_and_read_everywhere(&control_plane, "before").await?;
    let mut unwrapped = Vec::new();
    for (host, name) in hosts.iter().zip(["before-0", "before-1", "before-2"]) {
        unwrapped.push(store.v2(Kind::Secret, name).await?.seed.ciphertext);
        assert!(host.calls("v2", "Decrypt").await? >= 2, "the seeds of the two others");
    }
    unwrapped.dedup();
    assert_eq!(unwrapped.len(), 3);

    // Add and copy: nobody writes with the new version, everybody has it.
    hosts[0].key(&["add"])?;
    for index in [1, 2] {
        copy(&hosts[0], &hosts[index])?;
    }
    assert_eq!(same_key_id(&hosts).await?, old);

    // Promote on one: for a while two key ids are written, and everybody reads both.
    hosts[0].key(&["promote", "2"])?;
    let new = hosts[0].key_id_after(&old).await?;
    converged(&control_plane.api_servers[0], "keystead", &new).await?;
    write_at_each_and_read_everywhere(&control_plane, "between").await?;
    let mut key_ids = Vec::new();
    for name in ["between-0", "between-1", "between-2"] {
        key_ids.push(store.v2(Kind::Secret, name).await?.seed.key_id);
    }
    assert_eq!(key_ids, [&new, &old, &old].map(String::clone));

    for index in [1, 2] {
        hosts[index].key(&["promote", "2"])?;
        assert_eq!(hosts[index].key_id_after(&old).await?, new, "the same id on every host");
        converged(&control_plane.api_servers[index], "keystead", &new).await?;
    }
    for item in control_plane.api_servers[0].client().list(Kind::Secret, "default", 0, "").await?.items {
        control_plane.api_servers[1].client().touch(Kind::Secret, "default", &item.name).await?;
    }
    assert_eq!(store.secrets_by_key_id().await?.into_iter().collect::<Vec<_>>(), [(new, 6)]);
    for host in &hosts {
        host.key(&["remove", "1", "--yes"])?;
    }
    write_at_each_and_read_everywhere(&control_plane, "after").await?;

    // The wrong order, to see that the right one is needed: promoted before it was copied.
    let before = hosts[0].key_id().await?;
    hosts[0].key(&["rotate", "--single-host"])?;
    let alone = hosts[0].key_id_after(&before).await?;
    converged(&control_plane.api_servers[0], "keystead", &alone).await?;
    let [one, other, _] = control_plane.api_servers.as_slice() else { panic!("three were asked for") };
    one.client().create(&Object::new(Kind::Secret, "default", "alone", "key", b"value")).await?;
    let unreadable = other.client().get(Kind::Secret, "default", "alone").await.unwrap_err();
    assert!(unreadable.to_string().contains("the key file holds no version 3"), "{unreadable}");
    Ok(())
}

const SETTINGS: &[&str] = &["probeInterval: 300ms"];

/// Through every API server one Secret, and each of them through every API server.
async fn write_at_each_and_read_everywhere(control_plane: &ControlPlane, prefix: &str) -> Result<()> {
    for (index, writer) in control_plane.api_servers.iter().enumerate() {
        let (name, value) = (format!("{prefix}-{index}"), format!("value-{index}"));
        writer.client().create(&Object::new(Kind::Secret, "default", &name, "key", value.as_bytes())).await?;
        for reader in &control_plane.api_servers {
            let read = reader.client().get(Kind::Secret, "default", &name).await?;
            assert_eq!(read.data["key"], value.as_bytes(), "{name}");
        }
    }
    Ok(())
}

/// As an administrator does it: the file travels sealed.
fn copy(from: &Host, to: &Host) -> Result<()> {
    let (identity, sealed) = (to.file("identity"), to.file("sealed"));
    let (identity, path) = (identity.display().to_string(), sealed.display().to_string());
    let recipient = to.key(&["import", "--new-identity", &identity])?;
    std::fs::write(&sealed, from.key(&["export", "--recipient", recipient.trim()])?)?;
    to.key(&["import", &path, "--identity", &identity])?;
    Ok(())
}

async fn same_key_id(hosts: &[Host]) -> Result<String> {
    let mut key_ids = Vec::new();
    for host in hosts {
        key_ids.push(host.key_id().await?);
    }
    key_ids.dedup();
    assert_eq!(key_ids.len(), 1, "{key_ids:?}");
    Ok(key_ids.remove(0))
}
