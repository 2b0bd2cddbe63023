//! The key is taken away: Status is an error at the next probe, writes stop, and memory is wiped.

use keystead_provider::switchable::Mode;

use super::*;
use crate::testbed::{PROBE_INTERVAL, Testbed};

const REVOCATIONS: [ErrorClass; 3] =
    [ErrorClass::Denied, ErrorClass::NotFound, ErrorClass::FailedPrecondition];

#[tokio::test(start_paused = true)]
async fn a_refusal_is_an_error_of_status_at_the_next_probe_and_stops_writes_in_three_minutes() {
    for class in REVOCATIONS {
        let bed = Testbed::new();
        bed.start_prober();
        let mut api_server = ApiServer::start(&bed.kms);
        assert!(api_server.until_writes(true, Duration::from_secs(60)).await.is_some());
        assert!(api_server.writes_all_the_time(Duration::from_secs(600)).await);

        bed.backend.set(Mode::Fails(class));
        let start = Instant::now();
        let stopped = api_server.until_writes(false, 2 * WRITES_FOR).await.expect("writes stop");
        assert!(stopped <= WRITES_FOR + PROBE_INTERVAL + TICK, "{class:?}: {stopped:?}");
        assert!(start.elapsed() >= WRITES_FOR - POLL, "not by chance");

        // And they stay stopped, whatever the outage bound says.
        assert_eq!(api_server.until_writes(true, Duration::from_secs(7200)).await, None, "{class:?}");
        bed.backend.set(Mode::Fails(ErrorClass::Unavailable));
        assert_eq!(api_server.until_writes(true, Duration::from_secs(7200)).await, None, "{class:?}");

        bed.backend.set(Mode::Works);
        let healed = api_server.until_writes(true, Duration::from_secs(3600)).await.expect("allowed again");
        assert!(healed <= PROBE_INTERVAL + POLL_AFTER_FAILURE + TICK, "{class:?}: {healed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_after_a_refusal_nothing_is_left_in_memory() {
    for class in REVOCATIONS {
        let bed = Testbed::new();
        let prober = bed.prober();
        assert!(prober.probe_once().await);
        let ciphertext = bed.kms.encrypt(b"seed").expect("works").ciphertext;
        let wrapping_key = Arc::downgrade(&bed.kms.status().expect("works").wrapping_key);
        let calls = bed.backend.unwraps();
        assert!(bed.kms.decrypt(&ciphertext, None).await.is_ok());
        assert_eq!(bed.backend.unwraps(), calls, "from memory");

        bed.backend.set(Mode::Fails(class));
        assert!(!prober.probe_once().await);
        assert_eq!(bed.kms.status().err().map(|error| error.class()), Some(class));
        assert!(bed.kms.encrypt(b"seed").is_err());
        assert!(wrapping_key.upgrade().is_none(), "{class:?}: the wrapping key is gone, and so wiped");
        assert_eq!(bed.cache.len(), 0);

        let calls = bed.backend.unwraps();
        let refused = bed.kms.decrypt(&ciphertext, None).await;
        assert_eq!(refused.err().map(|error| error.class()), Some(class));
        assert_eq!(bed.backend.unwraps(), calls + 1, "{class:?}: the backend is asked");

        bed.backend.set(Mode::Works);
        assert_eq!(bed.kms.decrypt(&ciphertext, None).await.expect("allowed again").expose(), b"seed");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_the_middle_of_an_outage_counts() {
    let bed = Testbed::new();
    let prober = bed.prober();
    assert!(prober.probe_once().await);
    bed.backend.set(Mode::Fails(ErrorClass::Unavailable));
    assert!(!prober.probe_once().await);
    assert!(bed.kms.status().is_ok());
    bed.backend.set(Mode::Fails(ErrorClass::Denied));
    // The breaker of the guard may be open.
    tokio::time::advance(Duration::from_secs(5)).await;
    assert!(!prober.probe_once().await);
    assert_eq!(bed.kms.status().err().map(|error| error.class()), Some(ErrorClass::Denied));
}

/// One version is removed from the key file while it is not the primary: what it wrapped cannot be read any more, and
/// encryption goes on.
#[tokio::test(start_paused = true)]
async fn a_removed_version_takes_only_its_own_entries() {
    let bed = Testbed::new();
    let prober = bed.prober();
    assert!(prober.probe_once().await);
    let old = bed.kms.encrypt(b"old").expect("works").ciphertext;
    let number = bed.add_version();
    bed.promote(number);
    assert!(prober.probe_once().await);
    let new = bed.kms.encrypt(b"new").expect("works").ciphertext;
    assert_eq!(bed.kms.decrypt(&old, None).await.expect("still there").expose(), b"old");

    bed.remove(1);
    bed.cache.recheck(&*bed.provider).await;
    let refused = bed.kms.decrypt(&old, None).await;
    assert_eq!(refused.err().map(|error| error.class()), Some(ErrorClass::NotFound));
    assert_eq!(bed.kms.decrypt(&new, None).await.expect("untouched").expose(), b"new");
    assert!(bed.kms.status().is_ok());
}
