//! The backend is put back to an older state and so loses what is encrypted with: nothing goes on silently.

use keystead_provider::switchable::Mode;
use keystead_runtime::Report;

use super::key_service::{Backup, KeyService};
use super::*;
use crate::testbed::{OUTAGE_BOUND, Testbed};

const SEED: &[u8] = b"seed";

fn key_id(bed: &Testbed) -> String {
    bed.kms.status().expect("a snapshot").key_id().to_owned()
}

fn seal(bed: &Testbed) -> Vec<u8> {
    bed.kms.encrypt(SEED).expect("works").ciphertext
}

async fn opens(bed: &Testbed, ciphertext: &[u8]) -> bool {
    bed.kms.decrypt(ciphertext, None).await.is_ok_and(|seed| seed.expose() == SEED)
}

fn lost(bed: &Testbed) -> usize {
    let text = bed.report().metrics();
    let value = text.lines().find_map(|line| line.strip_prefix("keystead_plugin_keys_lost "));
    value.expect("the metric").parse().expect("a number")
}

struct Scene {
    service: KeyService,
    bed: Testbed,
    /// Of before version 2 was made.
    backup: Backup,
    first: String,
    second: String,
    /// Under version 2.
    sealed: Vec<u8>,
}

/// A plugin that encrypts with version 2 of a service of which there is a backup with version 1 alone.
async fn scene() -> Scene {
    let service = KeyService::new();
    let bed = Testbed::over(service.clone(), OUTAGE_BOUND);
    assert!(bed.prober().probe_once().await);
    let (backup, first) = (service.backup(), key_id(&bed));
    service.rotate();
    assert!(bed.prober().probe_once().await);
    let (second, sealed) = (key_id(&bed), seal(&bed));
    assert!(second.starts_with("memory-v2-a2-"), "{second}");
    assert_eq!(lost(&bed), 0);
    Scene { service, bed, backup, first, second, sealed }
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_the_version_in_use_is_taken_as_it_is_and_the_loss_is_told() {
    let Scene { service, bed, backup, first, second, sealed } = scene().await;
    let newer = service.restore(backup);
    assert!(bed.prober().probe_once().await);
    assert_eq!(key_id(&bed), first, "what the backend has now");
    assert_eq!(lost(&bed), 1);
    let readiness = bed.report().readiness();
    assert!(readiness.ready, "{}", readiness.text);
    assert!(readiness.text.contains(&format!("the key backend has lost {second}: ")), "{}", readiness.text);
    // What is in memory can still be read and rewritten, also after a recheck.
    bed.cache.recheck(&*bed.provider).await;
    assert!(opens(&bed, &sealed).await && opens(&bed, &seal(&bed)).await);

    drop(service.restore(newer));
    assert!(bed.prober().probe_once().await);
    assert_eq!((key_id(&bed), lost(&bed)), (second, 0));
    assert!(!bed.report().readiness().text.contains("has lost"));
}

/// Put back and rotated again: the same version number and count of activations, other bytes.
#[tokio::test(start_paused = true)]
async fn another_key_under_the_id_in_use_stops_encryption_until_it_is_put_right() {
    for seen_in_between in [false, true] {
        let Scene { service, bed, backup, second, sealed, .. } = scene().await;
        let newer = service.restore(backup);
        if seen_in_between {
            assert!(bed.prober().probe_once().await);
        }
        service.rotate();
        assert_eq!(service.key_id(), second, "the id alone does not tell");
        for _ in 0..3 {
            assert!(!bed.prober().probe_once().await);
            let error = bed.kms.status().err().expect("no key that can be trusted");
            assert_eq!(error.class(), ErrorClass::Corrupt);
            assert!(error.to_string().contains(&format!("under {second}: it was put back")), "{error}");
            assert!(bed.kms.encrypt(SEED).is_err());
            assert!(!bed.report().readiness().ready);
            assert_eq!(lost(&bed), 1);
            assert!(opens(&bed, &sealed).await, "from memory");
        }

        if seen_in_between {
            // A new version has a new id.
            service.rotate();
            assert!(bed.prober().probe_once().await);
            assert!(key_id(&bed).starts_with("memory-v3-a3-"), "{}", key_id(&bed));
            assert_eq!(lost(&bed), 1, "and still says what is lost");
            assert!(opens(&bed, &sealed).await && opens(&bed, &seal(&bed)).await);
        } else {
            drop(service.restore(newer));
            assert!(bed.prober().probe_once().await);
            assert_eq!((key_id(&bed), lost(&bed)), (second, 0));
            assert!(opens(&bed, &sealed).await && opens(&bed, &seal(&bed)).await);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_no_loss() {
    for mode in [
        Mode::Fails(ErrorClass::Unavailable),
        Mode::Fails(ErrorClass::Unauthenticated),
        Mode::Fails(ErrorClass::Corrupt),
        Mode::Hangs,
        Mode::Lies,
    ] {
        let Scene { bed, second, .. } = scene().await;
        bed.backend.set(mode);
        assert!(!bed.prober().probe_once().await);
        assert_eq!((key_id(&bed), lost(&bed)), (second.clone(), 0), "{mode:?}");
        bed.backend.set(Mode::Works);
        tokio::time::advance(Duration::from_secs(5)).await;
        assert!(bed.prober().probe_once().await);
        assert_eq!((key_id(&bed), lost(&bed)), (second, 0), "{mode:?}");
    }
}

/// The third call of a probe is the one that looks back: that it is not answered, or once with damage, is no loss.
#[tokio::test(start_paused = true)]
async fn only_what_stays_unopened_is_lost() {
    for (failures, good, outage) in [
        (vec![ErrorClass::Corrupt], true, false),
        (vec![ErrorClass::Misconfigured], false, true),
        (vec![ErrorClass::Corrupt, ErrorClass::Misconfigured], false, true),
    ] {
        let Scene { service, bed, second, .. } = scene().await;
        service.fails_to_look_back(failures);
        assert_eq!(bed.prober().probe_once().await, good);
        assert_eq!((key_id(&bed), lost(&bed)), (second, 0));
        assert_eq!(bed.report().readiness().text.starts_with("outage: "), outage);
    }
}

/// After a rotation somebody may disable the old version at once.
#[tokio::test(start_paused = true)]
async fn a_version_that_was_rotated_away_may_be_taken_away() {
    let Scene { service, bed, .. } = scene().await;
    service.rotate();
    service.fails_to_look_back(vec![ErrorClass::FailedPrecondition]);
    assert!(bed.prober().probe_once().await);
    assert!(key_id(&bed).starts_with("memory-v3-a3-"), "{}", key_id(&bed));
    assert_eq!(lost(&bed), 0);
}
