use std::time::Duration;

use keystead_model::VersionState;

use crate::Tick;
use crate::operations::*;
use crate::testbed::{Testbed, create_key, key_name, ring, version};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_key_is_rotated_when_its_time_has_come_and_not_twice() {
    let bed = scheduled().await;
    assert_eq!(bed.service.tick(true).await, Tick::default(), "not yet");
    bed.clock.advance(DAY);
    assert_eq!(bed.service.tick(true).await, Tick { rotated: 1, ..Tick::default() });
    assert_eq!(bed.service.tick(true).await, Tick::default());
    let key = bed.run(GetCryptoKey { name: key_name() }).await.unwrap();
    assert_eq!(key.key.primary, Some(version(2)));
    assert_eq!(key.primary.unwrap().state, VersionState::Enabled);
    assert_eq!(key.key.next_rotation_time, Some("2026-01-03T00:00:00Z".parse().unwrap()));
    let records = bed.audit_records();
    let rotations = records.iter().filter(|record| record.contains("\"RotateCryptoKey\""));
    assert_eq!(rotations.count(), 1);
}

#[tokio::test]
async fn what_was_missed_while_stopped_is_done_once_at_start() {
    let bed = scheduled().await;
    bed.clock.advance(10 * DAY + Duration::from_secs(3600));
    let bed = bed.reopen().await;
    assert_eq!(bed.service.tick(true).await.rotated, 1);
    let key = bed.run(GetCryptoKey { name: key_name() }).await.unwrap().key;
    assert_eq!(key.primary, Some(version(2)));
    assert_eq!(key.next_rotation_time, Some("2026-01-12T00:00:00Z".parse().unwrap()), "the hour stays");
}

#[tokio::test]
async fn a_schedule_that_was_removed_does_nothing() {
    let bed = scheduled().await;
    let update = UpdateCryptoKey {
        name: key_name(),
        labels: None,
        rotation_period_s: Some(None),
        next_rotation_time: Some(None),
    };
    bed.run(update).await.unwrap();
    bed.clock.advance(30 * DAY);
    assert_eq!(bed.service.tick(true).await, Tick::default());
}

/// A key that is rotated every day, the first time tomorrow.
async fn scheduled() -> Testbed {
    let bed = Testbed::new().await;
    bed.run(CreateKeyRing { name: ring() }).await.unwrap();
    let key = CreateCryptoKey {
        rotation_period_s: Some(86_400),
        next_rotation_time: Some("2026-01-02T00:00:00Z".parse().unwrap()),
        ..create_key()
    };
    bed.run(key).await.unwrap();
    bed
}
