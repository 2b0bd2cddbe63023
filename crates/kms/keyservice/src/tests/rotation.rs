use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use keystead_model::VersionState;

use super::after_the_commit::{Faults, Misbehaving};
use crate::Tick;
use crate::operations::*;
use crate::schedule::Schedule;
use crate::testbed::{Testbed, create_key, key_name, ring, version, version_name};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_key_is_rotated_when_its_time_has_come_and_not_twice() {
    let bed = scheduled().await;
    assert_eq!(bed.service.tick().await, Tick::default(), "not yet");
    bed.clock.advance(DAY);
    assert_eq!(bed.service.tick().await, Tick { rotated: 1, ..Tick::default() });
    assert_eq!(bed.service.tick().await, Tick::default());
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
    assert_eq!(bed.service.tick().await.rotated, 1);
    let key = bed.run(GetCryptoKey { name: key_name() }).await.unwrap().key;
    assert_eq!(key.primary, Some(version(2)));
    assert_eq!(key.next_rotation_time, Some("2026-01-12T00:00:00Z".parse().unwrap()), "the hour stays");
}

#[tokio::test]
async fn a_clock_that_goes_to_2050_and_back_does_no_harm() {
    let bed = scheduled().await;
    bed.run(CreateCryptoKeyVersion { key: key_name() }).await.unwrap();
    bed.run(DestroyCryptoKeyVersion { name: version_name(2) }).await.unwrap();
    let (start, hour) = (Instant::now(), Duration::from_secs(3600));
    let mut schedule = Schedule::new(None, start);
    let mut look = async |wall: &str, passed: Duration| {
        bed.clock.set(wall.parse().unwrap());
        schedule.look(&bed.service, start + passed).await
    };
    let nothing = Tick::default();
    assert_eq!(look("2026-01-01T00:00:00Z", Duration::ZERO).await, nothing);
    assert_eq!(look("2050-01-01T00:00:00Z", hour).await, nothing, "neither rotated nor destroyed");
    assert_eq!(look("2050-01-01T01:00:00Z", 2 * hour).await, nothing);
    assert_eq!(look("2026-01-01T03:00:00Z", 3 * hour).await, nothing);
    let rotated = Tick { rotated: 1, ..nothing };
    assert_eq!(look("2026-01-02T00:00:00Z", 24 * hour).await, nothing, "held as long as a day");
    assert_eq!(look("2026-01-02T01:00:00Z", 25 * hour).await, rotated);

    // This time nobody notices it for two days, so that it counts.
    assert_eq!(look("2050-01-01T00:00:00Z", 27 * hour).await, nothing);
    assert_eq!(look("2050-01-03T00:00:00Z", 75 * hour).await, Tick { rotated: 1, destroyed: 1, ..nothing });
    let next = async || bed.run(GetCryptoKey { name: key_name() }).await.unwrap().key.next_rotation_time;
    assert_eq!(next().await, Some("2050-01-04T00:00:00Z".parse().unwrap()));
    assert_eq!(look("2026-01-04T00:00:00Z", 76 * hour).await, nothing);
    assert_eq!(next().await, Some("2026-01-05T00:00:00Z".parse().unwrap()), "planned anew");
    assert_eq!(look("2026-01-05T00:00:00Z", 100 * hour).await, Tick { rotated: 1, ..nothing });
}

#[tokio::test]
async fn what_could_not_be_planned_anew_is_tried_again() {
    let faults = Arc::new(Faults::default());
    let on = Arc::clone(&faults);
    let bed = scheduled().await.reopen_on(|inner| Arc::new(Misbehaving { inner, faults: on })).await;
    let start = Instant::now();
    let mut schedule = Schedule::new(None, start);
    bed.clock.set("2050-01-01T00:00:00Z".parse().unwrap());
    assert_eq!(schedule.look(&bed.service, start).await.rotated, 1);
    bed.clock.set("2026-01-04T00:00:00Z".parse().unwrap());
    faults.refuses.store(true, Ordering::SeqCst);
    assert_eq!(schedule.look(&bed.service, start).await.failed, 1);
    assert_eq!(schedule.look(&bed.service, start).await, Tick::default());
    let key = bed.run(GetCryptoKey { name: key_name() }).await.unwrap().key;
    assert_eq!(key.next_rotation_time, Some("2026-01-05T00:00:00Z".parse().unwrap()));
}

#[tokio::test]
async fn a_process_that_starts_after_a_jump_waits() {
    let bed = scheduled().await;
    bed.clock.advance(DAY);
    let start = Instant::now();
    let before = bed.service.clock.now() - DAY;
    let mut schedule = Schedule::new(Some(before), start);
    assert_eq!(schedule.look(&bed.service, start).await, Tick::default());
    bed.clock.advance(DAY);
    assert_eq!(schedule.look(&bed.service, start + DAY).await, Tick { rotated: 1, ..Tick::default() });
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
    assert_eq!(bed.service.tick().await, Tick::default());
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
