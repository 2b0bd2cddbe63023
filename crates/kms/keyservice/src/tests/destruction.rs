use std::path::Path;
use std::time::{Duration, Instant};

use keystead_audit::Destruction;
use keystead_model::{ErrorClass, VersionState};

use super::keys::{decrypts, encrypt};
use crate::call::{Outcome, audit_event};
use crate::operations::*;
use crate::records::record_name;
use crate::records::usage::UseKind;
use crate::schedule::Schedule;
use crate::testbed::{Testbed, create_key, key_name, ring, version, version_name};
use crate::{Clock as _, KmsError, Tick};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn p9_destruction_waits_can_be_taken_back_and_is_final() {
    let bed = two_versions().await;
    let sealed = encrypt(&bed, key_name(), None).await.ciphertext;
    bed.nothing_is_left().await;
    let scheduled = bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    assert_eq!(scheduled.destroy_time, Some("2026-01-31T00:00:00Z".parse().unwrap()));
    assert_eq!(decrypts(&bed, &sealed).await, Err(ErrorClass::FailedPrecondition));
    let restored = bed.run(RestoreCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    assert_eq!((restored.state, restored.destroy_time), (VersionState::Disabled, None));
    bed.clock.advance(31 * DAY);
    assert_eq!(bed.service.tick().await, Tick::default(), "it was taken back");

    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    bed.clock.advance(29 * DAY);
    assert_eq!(bed.service.tick().await, Tick::default(), "never early");
    bed.clock.advance(DAY);
    assert_eq!(bed.service.tick().await, Tick { destroyed: 1, ..Tick::default() });
    let gone = bed.run(GetCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    assert_eq!(gone.state, VersionState::Destroyed);
    assert_eq!(
        gone.destroy_event_time,
        gone.destroy_event_time.max(Some("2026-03-02T00:00:00Z".parse().unwrap()))
    );
    for refused in [
        bed.run(RestoreCryptoKeyVersion { name: version_name(1) }).await.err().unwrap(),
        bed.run(UpdateCryptoKeyVersion { name: version_name(1), enabled: true }).await.err().unwrap(),
    ] {
        assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
    }
    let bed = bed.reopen().await;
    assert_eq!(decrypts(&bed, &sealed).await, Err(ErrorClass::FailedPrecondition));
}

#[tokio::test]
async fn p12_only_a_step_that_was_taken_is_recorded_as_a_step() {
    let bed = two_versions().await;
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    let labelled = |step: &str| {
        let label = format!("{{\"keystead/destruction\":\"{step}\"}}");
        bed.audit_records().iter().filter(|record| record.contains(&label)).count()
    };
    assert_eq!((labelled("scheduled"), labelled("destroyed")), (1, 0));
    bed.clock.advance(30 * DAY);
    assert_eq!(bed.service.tick().await.destroyed, 1);
    assert_eq!((labelled("scheduled"), labelled("destroyed")), (1, 1));

    // The commit failed after the step was noted.
    let (call, command) =
        (bed.call_of("user:owner@example.com"), DestroyCryptoKeyVersion { name: version_name(2) });
    let outcome = Outcome { destruction: Some(Destruction::Scheduled), ..Outcome::default() };
    let failed = KmsError::invalid("the disk is full");
    assert_eq!(audit_event::of(&call, &command, &outcome, Some(&failed)).destruction, None);
    assert_eq!(audit_event::of(&call, &command, &outcome, None).destruction, Some(Destruction::Scheduled));
}

#[tokio::test]
async fn p12_a_version_in_use_is_not_scheduled_unless_its_owner_says_so() {
    let bed = two_versions().await;
    encrypt(&bed, key_name(), Some(version(1))).await;
    let refused = bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.err().unwrap();
    assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
    assert!(refused.message().contains("Its last Encrypt was at 2026-01-01T00:00:00Z (of 1)"), "{refused}");
    // Disabling is the emergency brake and never refused.
    bed.run(UpdateCryptoKeyVersion { name: version_name(1), enabled: false }).await.unwrap();
    // A process that is killed had no time to write: the first use was written before its answer.
    bed.clock.advance(400 * DAY);
    let bed = bed.reopen().await;
    assert!(bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.is_err());
    let labels = [("keystead-destroy".to_owned(), "1".to_owned())].into();
    let update = UpdateCryptoKey {
        name: key_name(),
        labels: Some(labels),
        rotation_period_s: None,
        next_rotation_time: None,
    };
    bed.run(update).await.unwrap();
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    bed.run(DestroyCryptoKeyVersion { name: version_name(2) }).await.unwrap();
}

#[tokio::test]
async fn p12_a_use_after_an_inventory_is_known_to_a_server_that_was_killed() {
    for use_it in [UseKind::Encrypt, UseKind::Decrypt] {
        let bed = two_versions().await;
        let sealed = encrypt(&bed, key_name(), Some(version(1))).await.ciphertext;
        decrypts(&bed, &sealed).await.unwrap();
        // Later uses of the same hour are only in memory.
        let mut bed = bed;
        for restarted in [false, true] {
            bed.clock.advance(Duration::from_secs(60));
            decrypts(&bed, &sealed).await.unwrap();
            bed.nothing_is_left().await;
            if restarted {
                bed = bed.reopen().await;
            }
            bed.clock.advance(Duration::from_secs(1));
            match use_it {
                UseKind::Encrypt => drop(encrypt(&bed, key_name(), Some(version(1))).await),
                UseKind::Decrypt => drop(decrypts(&bed, &sealed).await.unwrap()),
            }
            bed = bed.reopen().await;
            let refused = bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.err().unwrap();
            assert!(refused.message().contains("it was used after"), "{restarted} {refused}");
        }
        // What was used before the inventory and not written yet is written with it.
        bed.clock.advance(Duration::from_secs(60));
        encrypt(&bed, key_name(), Some(version(2))).await;
        bed.clock.advance(Duration::from_secs(60));
        encrypt(&bed, key_name(), Some(version(2))).await;
        bed.nothing_is_left().await;
        bed = bed.reopen().await;
        let usage = bed.run(GetVersionUsage { name: version_name(2) }).await.unwrap();
        assert_eq!(usage.encrypts.count, 2);
        bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    }
}

#[tokio::test]
async fn p12_after_a_clock_that_was_ahead_not_every_use_is_a_commit() {
    let bed = two_versions().await;
    let now = bed.clock.now();
    bed.clock.advance(9000 * DAY);
    let sealed = encrypt(&bed, key_name(), Some(version(1))).await.ciphertext;
    decrypts(&bed, &sealed).await.unwrap();
    bed.nothing_is_left().await;
    bed.clock.set(now);
    // In the same process, and in the next one.
    let mut bed = bed;
    for _ in 0..2 {
        encrypt(&bed, key_name(), Some(version(1))).await;
        decrypts(&bed, &sealed).await.unwrap();
        let newest = bed.service.store.changes(keystead_store::Revision(u64::MAX)).await.unwrap().up_to;
        encrypt(&bed, key_name(), Some(version(1))).await;
        decrypts(&bed, &sealed).await.unwrap();
        let after = bed.service.store.changes(keystead_store::Revision(u64::MAX)).await.unwrap().up_to;
        assert_eq!(after, newest);
        bed = bed.reopen().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn p12_of_uses_that_are_written_at_once_the_newest_stays() {
    let bed = std::sync::Arc::new(two_versions().await);
    for _ in 0..20 {
        // Each inventory has the uses so far written, while others are proved.
        let mut running = tokio::task::JoinSet::new();
        for call in 0..8 {
            let bed = std::sync::Arc::clone(&bed);
            running.spawn(async move {
                match call {
                    0 => bed.service.prove_uses(&key_name(), bed.clock.now()).await.unwrap(),
                    1 => bed.service.write_all_usage().await.unwrap(),
                    _ => drop(encrypt(&bed, key_name(), Some(version(1))).await),
                }
            });
        }
        running.join_all().await;
    }
    bed.service.prove_uses(&key_name(), bed.clock.now()).await.unwrap();
    let bed = std::sync::Arc::into_inner(bed).unwrap().reopen().await;
    let usage = bed.run(GetVersionUsage { name: version_name(1) }).await.unwrap();
    assert_eq!(usage.encrypts.count, 120);
}

#[tokio::test]
async fn p12_an_inventory_of_the_future_is_refused() {
    let bed = two_versions().await;
    let register = async |ahead: u64| {
        let observe_time = bed.clock.now() + Duration::from_secs(ahead);
        let inventory = Inventory { source: "cluster".to_owned(), observe_time, counts: [].into() };
        bed.run(RegisterInventory { key: key_name(), inventory }).await
    };
    let refused = register(61).await.err().unwrap();
    assert_eq!(refused.class(), ErrorClass::Invalid);
    assert!(
        refused.message().contains("is in the future: the server's clock says 2026-01-01T00:00:00Z"),
        "{refused}"
    );
    // A clock that is a little ahead hides nothing.
    assert_eq!(register(60).await.unwrap().observe_time, bed.clock.now());
    encrypt(&bed, key_name(), Some(version(1))).await;
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.err().unwrap();
}

#[tokio::test]
async fn p12_uses_are_counted_over_restarts() {
    let bed = two_versions().await;
    let usage = async |bed: &Testbed| {
        let usage = bed.run(GetVersionUsage { name: version_name(1) }).await.unwrap();
        (usage.encrypts.count, usage.decrypts.count, usage.decrypts.last)
    };
    assert_eq!(usage(&bed).await, (0, 0, None));
    let sealed = encrypt(&bed, key_name(), Some(version(1))).await.ciphertext;
    for _ in 0..3 {
        bed.clock.advance(DAY / 24);
        decrypts(&bed, &sealed).await.unwrap();
        bed.service.write_usage().await.unwrap();
    }
    let last = Some("2026-01-01T03:00:00Z".parse().unwrap());
    assert_eq!(usage(&bed).await, (1, 3, last));
    // A plugin that asks again for what it holds uses nothing.
    bed.clock.advance(DAY);
    let caller_data = b"aad".to_vec();
    bed.run(Decrypt { key: key_name(), ciphertext: sealed, caller_data, recheck: true }).await.unwrap();
    assert_eq!(usage(&bed).await, (1, 3, last));
    let bed = bed.reopen().await;
    assert_eq!(usage(&bed).await, (1, 3, last));
    encrypt(&bed, key_name(), Some(version(1))).await;
    assert_eq!(usage(&bed).await, (2, 3, last));
    bed.service.write_all_usage().await.unwrap();
    let bed = bed.reopen().await;
    assert_eq!(usage(&bed).await, (2, 3, last));
}

#[tokio::test]
async fn p12_a_version_that_a_cluster_holds_is_not_destroyed() {
    let bed = two_versions().await;
    let inventory = |objects: u64| Inventory {
        source: "prod-a".to_owned(),
        observe_time: "2026-01-01T00:00:00Z".parse().unwrap(),
        counts: [(version(1), objects)].into(),
    };
    bed.run(RegisterInventory { key: key_name(), inventory: inventory(41) }).await.unwrap();
    let refused = bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.err().unwrap();
    assert!(refused.message().contains("prod-a had 41 objects under it"), "{refused}");
    assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
    bed.run(RegisterInventory { key: key_name(), inventory: inventory(0) }).await.unwrap();
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();

    // Asked again when the time has come: a cluster that shows up meanwhile keeps it.
    bed.run(RegisterInventory { key: key_name(), inventory: inventory(1) }).await.unwrap();
    bed.clock.advance(40 * DAY);
    let mut counted = Instant::now();
    let mut schedule = Schedule::new(None, counted);
    let said = Tick { kept: 1, ..Tick::default() };
    assert_eq!(schedule.look(&bed.service, counted).await, said);
    assert_eq!(schedule.look(&bed.service, counted).await, Tick::default(), "it is said once");
    bed.run(RegisterInventory { key: key_name(), inventory: inventory(2) }).await.unwrap();
    assert_eq!(schedule.look(&bed.service, counted).await, said, "and again when it changes");
    assert_eq!(schedule.look(&bed.service, counted).await, Tick::default());
    bed.run(RestoreCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    assert_eq!(schedule.look(&bed.service, counted).await, Tick::default());
    bed.run(RegisterInventory { key: key_name(), inventory: inventory(0) }).await.unwrap();
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    bed.run(RegisterInventory { key: key_name(), inventory: inventory(2) }).await.unwrap();
    bed.clock.advance(40 * DAY);
    counted += 40 * DAY;
    assert_eq!(schedule.look(&bed.service, counted).await, said, "a new destruction is news");
    bed.run(DeleteInventory { key: key_name(), source: "prod-a".to_owned() }).await.unwrap();
    assert_eq!(bed.service.tick().await.destroyed, 1);
}

#[tokio::test]
async fn the_sealed_material_is_out_of_every_file() {
    let bed = two_versions().await;
    let entry = bed.service.store.get(&record_name::material(&version_name(1))).await.unwrap().unwrap();
    let kept = bed.service.store.get(&record_name::material(&version_name(2))).await.unwrap().unwrap();
    assert!(found(bed.directory.path(), &entry.value), "the control: before, it is there");
    bed.run(DestroyCryptoKeyVersion { name: version_name(1) }).await.unwrap();
    bed.clock.advance(30 * DAY);
    assert_eq!(bed.service.tick().await.destroyed, 1);
    assert!(bed.service.store.is_erasing(), "it is destroyed, and its bytes go in a moment");
    let erased = async {
        while bed.service.store.is_erasing() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), erased).await.unwrap();
    assert!(!found(bed.directory.path(), &entry.value));
    assert!(found(bed.directory.path(), &kept.value), "the control: the other one is still there");
}

#[tokio::test]
async fn only_a_destroyed_version_can_be_deleted_and_only_an_empty_key() {
    let bed = two_versions().await;
    let refused = bed.run(DeleteCryptoKeyVersion { name: version_name(1) }).await.err().unwrap();
    assert_eq!(refused.class(), ErrorClass::FailedPrecondition);
    for number in [1, 2] {
        bed.run(DestroyCryptoKeyVersion { name: version_name(number) }).await.unwrap();
    }
    bed.clock.advance(30 * DAY);
    assert_eq!(bed.service.tick().await.destroyed, 2);
    assert!(bed.run(DeleteCryptoKey { name: key_name() }).await.is_err(), "it has versions");
    for number in [1, 2] {
        bed.run(DeleteCryptoKeyVersion { name: version_name(number) }).await.unwrap();
    }
    bed.run(DeleteCryptoKey { name: key_name() }).await.unwrap();
}

/// Whether a file below `directory` holds these bytes.
fn found(directory: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return found(&path, bytes);
        }
        std::fs::read(path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}

async fn two_versions() -> Testbed {
    let bed = Testbed::new().await;
    bed.run(CreateKeyRing { name: ring() }).await.unwrap();
    bed.run(create_key()).await.unwrap();
    bed.run(CreateCryptoKeyVersion { key: key_name() }).await.unwrap();
    bed
}
