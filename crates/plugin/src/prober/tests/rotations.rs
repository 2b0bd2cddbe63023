//! New versions, going back, and new wrapping keys: one id at a time, and none twice.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use keystead_crypto::Envelope;
use keystead_provider::switchable::Mode;

use super::key_service::KeyService;
use super::*;
use crate::testbed::{PROBE_INTERVAL, Testbed};

fn key_id(bed: &Testbed) -> String {
    bed.kms.status().expect("a snapshot").key_id().to_owned()
}

#[tokio::test(start_paused = true)]
async fn version_and_activation_count_make_new_ids_and_an_added_version_does_not() {
    let bed = Testbed::new();
    let prober = bed.prober();
    assert!(prober.probe_once().await);
    let first = key_id(&bed);
    assert!(first.starts_with("local-v1-a1-"), "{first}");
    assert!(prober.probe_once().await);
    assert_eq!(key_id(&bed), first);

    let number = bed.add_version();
    assert!(prober.probe_once().await);
    assert_eq!(key_id(&bed), first, "it only unwraps until it is promoted");

    bed.promote(number);
    assert_eq!(key_id(&bed), first, "not before the probe");
    assert!(prober.probe_once().await);
    assert!(key_id(&bed).starts_with("local-v2-a2-"), "{}", key_id(&bed));

    bed.promote(1);
    assert!(prober.probe_once().await);
    assert!(key_id(&bed).starts_with("local-v1-a3-"), "{}", key_id(&bed));
}

#[tokio::test(start_paused = true)]
async fn a_running_prober_sees_a_rotation_within_its_interval() {
    let bed = Testbed::new();
    bed.start_prober();
    let mut api_server = ApiServer::start(&bed.kms);
    assert!(api_server.until_writes(true, Duration::from_secs(60)).await.is_some());
    let old = key_id(&bed);
    let number = bed.add_version();
    bed.promote(number);
    tokio::time::sleep(PROBE_INTERVAL).await;
    assert_ne!(key_id(&bed), old);
    assert!(api_server.writes_all_the_time(Duration::from_secs(120)).await);
    assert_eq!(api_server.key_id, Some(key_id(&bed)), "adopted");
}

#[tokio::test(start_paused = true)]
async fn a_wrapping_key_seals_for_a_day_under_the_same_id() {
    let bed = Testbed::new();
    bed.start_prober();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let first_id = key_id(&bed);
    let first = bed.kms.encrypt(b"seed").expect("works").ciphertext;
    let first_key = Arc::clone(&bed.kms.status().expect("works").wrapping_key);

    tokio::time::sleep(WRAPPING_KEY_LIFE - PROBE_INTERVAL).await;
    assert!(Arc::ptr_eq(&first_key, &bed.kms.status().expect("works").wrapping_key), "still the first");

    tokio::time::sleep(PROBE_INTERVAL * 2).await;
    let snapshot = bed.kms.status().expect("works");
    assert!(!snapshot.wrapping_key.is_same(&first_key));
    assert_eq!(snapshot.key_id(), first_id);
    let second = bed.kms.encrypt(b"seed").expect("works").ciphertext;
    let wrapped = |ciphertext: &[u8]| Envelope::parse(ciphertext).expect("ours").wrapped().to_vec();
    assert_ne!(wrapped(&first), wrapped(&second));

    let calls = bed.backend.unwraps();
    assert_eq!(bed.kms.decrypt(&first, Some(&first_id)).await.expect("known").expose(), b"seed");
    assert_eq!(bed.backend.unwraps(), calls, "yesterday's key is still in memory");
}

/// Two hosts with one key file name one id, and each opens what the other sealed.
#[tokio::test(start_paused = true)]
async fn two_plugins_on_one_key_agree() {
    let one = Testbed::new();
    let other = one.another();
    for bed in [&one, &other] {
        assert!(bed.prober().probe_once().await);
    }
    assert_eq!(key_id(&one), key_id(&other));
    let sealed = one.kms.encrypt(b"seed").expect("works");
    let opened = other.kms.decrypt(&sealed.ciphertext, Some(&sealed.key_id)).await;
    assert_eq!(opened.expect("the same key").expose(), b"seed");
}

const ROTATIONS: u32 = 10_000;

/// A caller asks all the time while the key is rotated and rolled back ten thousand times. An id never comes back, so
/// when Status says the same before and after an Encrypt, it said so in between, and Encrypt must agree.
#[tokio::test]
async fn status_and_encrypt_never_disagree_and_no_id_comes_twice() {
    let service = KeyService::new();
    let bed = Testbed::over(service.clone(), Duration::from_secs(3600));
    let prober = bed.prober();
    assert!(prober.probe_once().await);
    let stop = Arc::new(AtomicBool::new(false));
    let agreed = Arc::new(AtomicUsize::new(0));
    let (kms, until, count) = (Arc::clone(&bed.kms), Arc::clone(&stop), Arc::clone(&agreed));
    let caller = thread::spawn(move || call_until(&kms, &until, &count));

    let mut draws = Draws(0x5eed);
    let mut seen = HashSet::from([key_id(&bed)]);
    let mut sealed = Vec::new();
    for round in 0..ROTATIONS {
        let before = key_id(&bed);
        match draws.next() % 8 {
            0..=2 => service.rotate(),
            3..=5 => service.go_back(draws.next()),
            6 => bed.backend.set(Mode::Lies),
            _ => {
                // Two at once: the prober never sees the first.
                service.rotate();
                service.go_back(draws.next());
            }
        }
        let good = prober.probe_once().await;
        bed.backend.set(Mode::Works);
        let now = key_id(&bed);
        assert_eq!(now, if good { service.key_id() } else { before.clone() }, "round {round}");
        assert!(now == before || seen.insert(now.clone()), "round {round}: {now} came back");
        let encrypted = bed.kms.encrypt(b"seed").expect("works");
        assert_eq!(encrypted.key_id, now, "round {round}");
        if round % 100 == 0 {
            sealed.push(encrypted);
        }
    }
    stop.store(true, Ordering::SeqCst);
    caller.join().expect("no disagreement");
    assert!(agreed.load(Ordering::SeqCst) > 1_000, "{agreed:?}: the callers did see something");
    assert!(seen.len() > ROTATIONS as usize / 2, "{} ids", seen.len());
    for encrypted in sealed {
        let opened = bed.kms.decrypt(&encrypted.ciphertext, Some(&encrypted.key_id)).await;
        assert_eq!(opened.expect("every version is still there").expose(), b"seed");
    }
}

fn call_until(kms: &Kms, stop: &AtomicBool, agreed: &AtomicUsize) {
    while !stop.load(Ordering::SeqCst) {
        let before = kms.status().expect("serving").key_id().to_owned();
        let encrypted = kms.encrypt(b"seed").expect("serving");
        let after = kms.status().expect("serving").key_id().to_owned();
        let inside = Envelope::parse(&encrypted.ciphertext).expect("ours").key_reference().to_string();
        assert_eq!(encrypted.key_id, inside, "the id beside the ciphertext and the one in it");
        if before == after {
            assert_eq!(encrypted.key_id, before);
            agreed.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Knuth's linear congruence: the same draws in each run.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).expect("31 bits")
    }
}
