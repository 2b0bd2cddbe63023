//! Backups that a real server knows.

use keystead_model::{KeyReference, KeyVersion};

use super::{WrappedSeed, sealed, secret, write_snapshot};
use crate::scene::{LOCATION, Scene};
use crate::stderr;
use keystead_etcd::stored::SeedKind;

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_a_backup_are_not_destroyed_until_it_is_gone() {
    let scene = Scene::new().await;
    let of = format!("--keyring r --location {LOCATION}");
    scene.works(&format!("kms keyrings create r --location {LOCATION}"));
    scene.works(&format!("kms keys create k {of} --purpose encryption"));
    for _ in 0..2 {
        scene.works(&format!("kms keys versions create --key k {of} --primary"));
    }
    let key = format!("projects/of-keystead/locations/{LOCATION}/keyRings/r/cryptoKeys/k");
    let file = scene.path().join("db");
    let wrapped = |version: u32, key: &str| {
        let digest = keystead_crypto::sha256(format!("cloudkms\0{key}").as_bytes());
        let digest = digest[..8].try_into().expect("8 bytes");
        let id =
            KeyReference::new("cloudkms", KeyVersion::from(version), None, None, digest).expect("a key id");
        WrappedSeed {
            kind: SeedKind::HkdfSeed,
            key_id: id.to_string(),
            ciphertext: vec![1],
            annotations: [].into(),
        }
    };
    let value = |name: &str, wrapped: &WrappedSeed| {
        let key = format!("/registry/secrets/ns/{name}");
        sealed(&key, wrapped, &[3; 32], &secret("ns", name))
    };
    let other = format!("{key}2");
    // The first value of `a` is an old revision.
    write_snapshot(
        &file,
        &[
            ("/registry/secrets/ns/a", value("a", &wrapped(1, &key))),
            ("/registry/secrets/ns/a", value("a", &wrapped(2, &key))),
            ("/registry/secrets/ns/b", value("b", &wrapped(2, &key))),
            ("/registry/secrets/ns/c", value("c", &wrapped(1, &other))),
        ],
    );
    let register = format!("cluster snapshot register {} --key k {of}", file.display());
    let registered = scene.keystead(&format!("{register} --name weekly --expire +p30d"));
    let said = stderr(&registered);
    assert!(registered.status.success(), "{said}");
    assert!(said.contains("version 1: 1 values") && said.contains("version 2: 2 values"), "{said}");
    assert!(said.contains("1 values are under other keys"), "{said}");

    let destroy =
        |version: u32| scene.keystead(&format!("kms keys versions destroy {version} --key k {of} -q"));
    for version in [1, 2] {
        let refused = destroy(version);
        assert!(
            !refused.status.success() && stderr(&refused).contains("backup=weekly,until="),
            "{}",
            stderr(&refused)
        );
    }
    // What was used since the backup was counted stays, until the backup is told to the server as still the same.
    std::fs::write(scene.path().join("plain"), "text").expect("written");
    scene.works(&format!("kms encrypt --key k {of} --plaintext-file plain --ciphertext-file sealed"));
    let refused = destroy(3);
    assert!(
        stderr(&refused).contains("when the oldest registered inventory was taken"),
        "{}",
        stderr(&refused)
    );
    let nothing = scene.keystead(&format!("cluster snapshot unregister --expired --key k {of}"));
    assert!(
        nothing.status.success() && stderr(&nothing).contains("Nothing has expired"),
        "{}",
        stderr(&nothing)
    );
    let destroyed = destroy(3);
    assert!(destroyed.status.success(), "no backup needs it: {}", stderr(&destroyed));

    // The same name with another end replaces it; the one that has ended goes with any of these commands.
    let again = scene.keystead(&format!("{register} --name weekly"));
    assert!(stderr(&again).contains("Removed [backup=weekly,until="), "{}", stderr(&again));
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    scene.works(&format!("{register} --name short --expire {soon}"));
    while jiff::Timestamp::now() <= soon {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let expired = scene.keystead(&format!("cluster snapshot unregister --expired --key k {of}"));
    assert!(stderr(&expired).contains("Removed [backup=short,until="), "{}", stderr(&expired));
    assert!(!destroy(1).status.success(), "`weekly` needs it");
    let missing = scene.keystead(&format!("cluster snapshot unregister --name short --key k {of}"));
    assert_eq!(missing.status.code(), Some(1));
    scene.works(&format!("cluster snapshot unregister --name weekly --key k {of}"));
    assert!(destroy(1).status.success() && destroy(2).status.success(), "nothing needs them");

    let foreign =
        scene.keystead(&format!("cluster snapshot register {} --name x --key other {of}", file.display()));
    assert_eq!(foreign.status.code(), Some(1));
    assert!(stderr(&foreign).contains("under the key id cloudkms-v1-"), "{}", stderr(&foreign));
    let over = scene.keystead(&format!("{register} --name x --expire 2020-01-01"));
    assert_eq!(over.status.code(), Some(2));
}
