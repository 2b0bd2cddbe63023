//! The backend does not answer: for how long writes go on, and how soon they come back.

use keystead_crypto::Envelope;
use keystead_provider::switchable::Mode;
use keystead_runtime::{Drained, Report};

use super::*;
use crate::testbed::{CALL_DEADLINE, OUTAGE_BOUND, PROBE_INTERVAL, Testbed};

const UNAVAILABLE: Mode = Mode::Fails(ErrorClass::Unavailable);
/// A probe after the one before, and the three calls of it.
const NEXT_PROBE: Duration =
    PROBE_INTERVAL.saturating_add(CALL_DEADLINE).saturating_add(CALL_DEADLINE).saturating_add(CALL_DEADLINE);
/// The first good poll comes after the next probe, and the API server polls each 10 s.
const HEALED: Duration = NEXT_PROBE.saturating_add(POLL_AFTER_FAILURE).saturating_add(TICK);
const HOUR: Duration = Duration::from_secs(60 * 60);

async fn started(bound: Duration) -> (Testbed, ApiServer) {
    let bed = Testbed::with_bound(bound);
    bed.start_prober();
    let mut api_server = ApiServer::start(&bed.kms);
    let ready = api_server.until_writes(true, Duration::from_secs(60)).await;
    assert!(ready <= Some(POLL_AFTER_FAILURE), "{ready:?}");
    assert!(api_server.writes_all_the_time(Duration::from_secs(10 * 60)).await);
    (bed, api_server)
}

#[tokio::test(start_paused = true)]
async fn an_outage_shorter_than_the_bound_stops_no_write() {
    for mode in [UNAVAILABLE, Mode::Hangs, Mode::Lies, Mode::Fails(ErrorClass::Misconfigured)] {
        let (bed, mut api_server) = started(OUTAGE_BOUND).await;
        bed.backend.set(mode);
        assert!(api_server.writes_all_the_time(OUTAGE_BOUND - NEXT_PROBE).await, "{mode:?}");
        bed.backend.set(Mode::Works);
        assert!(api_server.writes_all_the_time(HOUR).await, "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_longer_than_the_bound_stops_writes_three_minutes_after_it() {
    for mode in [UNAVAILABLE, Mode::Hangs, Mode::Lies, Mode::Fails(ErrorClass::Throttled)] {
        let (bed, mut api_server) = started(OUTAGE_BOUND).await;
        bed.backend.set(mode);
        let stopped = api_server.until_writes(false, 3 * HOUR).await.expect("writes stop");
        // The last good poll is up to a minute before the end of the bound.
        assert!(stopped >= OUTAGE_BOUND + WRITES_FOR - POLL, "{mode:?}: {stopped:?}");
        assert!(stopped <= OUTAGE_BOUND + WRITES_FOR + NEXT_PROBE, "{mode:?}: {stopped:?}");
        let error = bed.kms.status().err().expect("Status is an error");
        assert_eq!(error.class(), ErrorClass::Unavailable);

        bed.backend.set(Mode::Works);
        let healed = api_server.until_writes(true, HOUR).await.expect("writes come back");
        assert!(healed <= HEALED, "{mode:?}: {healed:?}");
        assert!(api_server.writes_all_the_time(HOUR).await);
    }
}

#[tokio::test(start_paused = true)]
async fn the_bound_holds_to_the_moment_while_a_probe_hangs() {
    let bed = Testbed::with_bound(Duration::from_secs(61));
    assert!(bed.prober().probe_once().await);
    bed.backend.set(UNAVAILABLE);
    assert!(!bed.prober().probe_once().await);
    let since = Instant::now();
    bed.backend.set(Mode::Hangs);
    // No probe ends in between, so that nobody publishes the end.
    tokio::time::advance(Duration::from_millis(60_999)).await;
    assert!(bed.kms.status().is_ok(), "{:?}", since.elapsed());
    tokio::time::advance(Duration::from_millis(1)).await;
    assert!(bed.kms.status().is_err(), "{:?}", since.elapsed());
    assert!(bed.kms.encrypt(b"seed").is_err());
    let readiness = bed.report().readiness();
    assert!(!readiness.ready);
    assert!(readiness.text.starts_with("refusing: the key backend has not answered"), "{}", readiness.text);
    assert!(bed.report().metrics().contains("keystead_plugin_serving 0\n"));
}

#[tokio::test(start_paused = true)]
async fn with_bound_zero_the_next_probe_ends_it() {
    let (bed, mut api_server) = started(Duration::ZERO).await;
    bed.backend.set(UNAVAILABLE);
    let stopped = api_server.until_writes(false, HOUR).await.expect("writes stop");
    assert!(stopped <= WRITES_FOR + NEXT_PROBE, "{stopped:?}");
    bed.backend.set(Mode::Works);
    assert!(api_server.until_writes(true, HOUR).await.expect("writes come back") <= HEALED);
}

#[tokio::test(start_paused = true)]
async fn many_short_outages_do_not_add_up() {
    let (bed, mut api_server) = started(Duration::from_secs(120)).await;
    for _ in 0..20 {
        bed.backend.set(UNAVAILABLE);
        assert!(api_server.writes_all_the_time(Duration::from_secs(90)).await);
        bed.backend.set(Mode::Works);
        assert!(api_server.writes_all_the_time(NEXT_PROBE).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_at_the_start_is_waited_for() {
    for mode in [UNAVAILABLE, Mode::Hangs, Mode::Lies, Mode::Fails(ErrorClass::Denied)] {
        let bed = Testbed::new();
        bed.backend.set(mode);
        bed.start_prober();
        let mut api_server = ApiServer::start(&bed.kms);
        assert_eq!(api_server.until_writes(true, 2 * HOUR).await, None, "{mode:?}");
        let error = bed.kms.status().err().expect("no key yet");
        assert!(error.to_string().len() > "not ready yet: ".len(), "it says why: {error}");
        assert!(bed.kms.encrypt(b"seed").is_err());

        bed.backend.set(Mode::Works);
        let healed = api_server.until_writes(true, HOUR).await.expect("writes begin");
        assert!(healed <= HEALED, "{mode:?}: {healed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lying_backend_is_never_adopted() {
    let bed = Testbed::new();
    assert!(bed.prober().probe_once().await);
    let before = bed.kms.status().expect("a snapshot");
    bed.backend.set(Mode::Lies);
    let number = bed.add_version();
    bed.promote(number);
    assert!(!bed.prober().probe_once().await);
    let after = bed.kms.status().expect("the last good one");
    assert!(Arc::ptr_eq(&before, &after));
}

#[tokio::test(start_paused = true)]
async fn while_the_backend_hangs_answers_from_memory_come_at_once() {
    let (bed, _api_server) = started(OUTAGE_BOUND).await;
    let ours = bed.kms.encrypt(b"seed").expect("works").ciphertext;
    // From another host: unwrapped once, then in memory.
    let WrappedSeed { known, unknown } = other_host(&bed).await;
    let opened = bed.kms.decrypt(&known, None).await.expect("works");
    assert_eq!(opened.expose(), b"seed");

    bed.backend.set(Mode::Hangs);
    // Into the middle of a probe.
    tokio::time::sleep(PROBE_INTERVAL + Duration::from_millis(700)).await;
    let start = Instant::now();
    assert!(bed.kms.status().is_ok());
    assert!(bed.kms.encrypt(b"seed").is_ok());
    assert_eq!(bed.kms.decrypt(&ours, None).await.expect("ours").expose(), b"seed");
    assert_eq!(bed.kms.decrypt(&known, None).await.expect("known").expose(), b"seed");
    assert_eq!(start.elapsed(), Duration::ZERO);

    let error = bed.kms.decrypt(&unknown, None).await.err().expect("nobody can answer");
    assert_eq!(error.class(), ErrorClass::Timeout);
    assert!(start.elapsed() <= CALL_DEADLINE, "kube-apiserver waits 3 s: {:?}", start.elapsed());
}

/// Ciphertexts of `seed` under wrapping keys that this process has never seen.
struct WrappedSeed {
    known: Vec<u8>,
    unknown: Vec<u8>,
}

async fn other_host(bed: &Testbed) -> WrappedSeed {
    let mut sealed = Vec::new();
    for _ in 0..2 {
        let key = bed.wrap().await;
        let random = keystead_crypto::SystemRandom;
        sealed
            .push(Envelope::seal(&key.reference, &key.key, &key.wrapped, b"seed", &random).expect("sealed"));
    }
    let [known, unknown] = sealed.try_into().expect("two");
    WrappedSeed { known, unknown }
}

#[tokio::test(start_paused = true)]
async fn entries_in_memory_live_as_long_as_the_snapshot_and_not_longer() {
    let (bed, mut api_server) = started(OUTAGE_BOUND).await;
    let interval = Duration::from_secs(5 * 60);
    let recheck =
        Arc::clone(&bed.cache).recheck_every(Arc::clone(&bed.provider), interval, bed.tasks.stopping());
    bed.tasks.spawn("recheck", recheck);
    assert!(bed.cache.len() > 0);
    bed.backend.set(UNAVAILABLE);
    assert!(api_server.writes_all_the_time(OUTAGE_BOUND - NEXT_PROBE).await);
    assert!(bed.cache.len() > 0);
    // The bound, and the recheck after it.
    tokio::time::sleep(NEXT_PROBE + interval + NEXT_PROBE).await;
    assert_eq!(bed.cache.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_does_not_delay_the_end() {
    let (bed, _api_server) = started(OUTAGE_BOUND).await;
    bed.backend.set(Mode::Hangs);
    tokio::time::sleep(PROBE_INTERVAL + Duration::from_millis(700)).await;
    let start = Instant::now();
    assert_eq!(bed.tasks.drain(Duration::from_secs(5)).await, Drained::Clean);
    assert_eq!(start.elapsed().as_millis(), 0);
}
