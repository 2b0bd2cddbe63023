use std::collections::HashSet;

use futures_util::FutureExt;
use futures_util::future::join_all;
use keystead_provider::switchable::Mode;
use tokio::task::JoinSet;

use super::*;
use crate::testbed::{CALL_DEADLINE, OUTAGE_BOUND, Testbed, WrappedKey};

async fn unwrap(bed: &Testbed, wrapped: &WrappedKey) -> (Lookup, Outcome) {
    bed.cache.unwrap(&bed.provider, &wrapped.reference, &wrapped.wrapped).await
}

async fn assert_opens(bed: &Testbed, wrapped: &WrappedKey) {
    let (_, key) = unwrap(bed, wrapped).await;
    assert!(key.expect("unwrapped").is_same(&wrapped.key), "the very key that was wrapped");
}

async fn keys(bed: &Testbed, count: usize) -> Vec<WrappedKey> {
    let mut keys = Vec::new();
    for _ in 0..count {
        keys.push(bed.wrap().await);
    }
    keys
}

/// Calls of unwrap that reach the backend while `work` is done.
async fn calls<T>(bed: &Testbed, work: impl Future<Output = T>) -> usize {
    let before = bed.backend.unwraps();
    work.await;
    bed.backend.unwraps() - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_once_for_one_key_cost_one_call() {
    let bed = Arc::new(Testbed::new());
    let wrapped = Arc::new(bed.wrap().await);
    let all = async {
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let (bed, wrapped) = (Arc::clone(&bed), Arc::clone(&wrapped));
            callers.spawn(async move { assert_opens(&bed, &wrapped).await });
        }
        while let Some(caller) = callers.join_next().await {
            caller.expect("opened");
        }
    };
    assert_eq!(calls(&bed, all).await, 1);
}

#[tokio::test]
async fn a_hundred_at_once_for_a_hundred_keys_cost_a_hundred_calls() {
    let bed = Testbed::new();
    let keys = keys(&bed, 100).await;
    let all = || join_all(keys.iter().map(|key| assert_opens(&bed, key)));
    assert_eq!(calls(&bed, all()).await, 100);
    assert_eq!(calls(&bed, all()).await, 0, "and none the second time");
    assert_eq!(bed.cache.len(), 100);
}

#[tokio::test]
async fn a_lookup_says_how_it_went() {
    let bed = Testbed::new();
    let key = bed.wrap().await;
    let lookups = join_all([unwrap(&bed, &key), unwrap(&bed, &key)]).await;
    let lookups: Vec<_> = lookups.into_iter().map(|(lookup, _)| lookup).collect();
    assert_eq!(lookups, [Lookup::Miss, Lookup::Joined]);
    assert_eq!(unwrap(&bed, &key).await.0, Lookup::Hit);
}

#[tokio::test]
async fn one_wrapped_form_under_two_references_is_two_entries() {
    let bed = Testbed::new();
    let WrappedKey { key, reference, wrapped } = bed.wrap().await;
    let version = reference.version().clone();
    let other =
        bed.provider.describe().reference(version, Some(77), reference.material()).expect("a good version");
    let other = WrappedKey { key, reference: other, wrapped: wrapped.clone() };
    assert_opens(&bed, &other).await;
    let (lookup, _) = bed.cache.unwrap(&bed.provider, &reference, &wrapped).await;
    assert_eq!(lookup, Lookup::Miss);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared_and_not_kept() {
    let bed = Testbed::new();
    let key = bed.wrap().await;
    bed.backend.set(Mode::Fails(ErrorClass::Denied));
    let all = async {
        for (_, outcome) in join_all((0..100).map(|_| unwrap(&bed, &key))).await {
            assert_eq!(outcome.err().map(|error| error.class()), Some(ErrorClass::Denied));
        }
    };
    assert_eq!(calls(&bed, all).await, 1);
    assert_eq!(bed.cache.len(), 0);

    bed.backend.set(Mode::Works);
    assert_eq!(calls(&bed, assert_opens(&bed, &key)).await, 1);
}

#[tokio::test(start_paused = true)]
async fn callers_that_give_up_do_no_harm() {
    let bed = Testbed::new();
    let key = bed.wrap().await;
    bed.backend.set(Mode::Hangs);
    let all = async {
        // The first of them is the one that started the call.
        let impatient = (0..50).map(|_| tokio::time::timeout(Duration::from_millis(10), unwrap(&bed, &key)));
        let patient = (0..50).map(|_| unwrap(&bed, &key));
        let recovers = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            bed.backend.set(Mode::Works);
        };
        let (gave_up, answered, ()) = tokio::join!(join_all(impatient), join_all(patient), recovers);
        assert!(gave_up.iter().all(Result::is_err), "they did give up");
        for (_, outcome) in answered {
            assert!(outcome.expect("the retry worked").is_same(&key.key));
        }
    };
    assert_eq!(calls(&bed, all).await, 2, "one attempt that hung, and the guard's retry");
    assert_eq!(calls(&bed, assert_opens(&bed, &key)).await, 0);
}

#[tokio::test]
async fn p17_secrets_of_two_years_on_three_hosts_cost_one_call_for_each_wrapping_key() {
    const DAYS: usize = 2 * 365;
    // Larger than any of its kind and prime to their number: neighbours in a list were written at other times.
    const STRIDE: usize = 7919;
    let bed = Testbed::new();
    let keys = keys(&bed, 3 * DAYS).await;
    let list = async || {
        for secret in 0..4 * keys.len() {
            assert_opens(&bed, &keys[secret * STRIDE % keys.len()]).await;
        }
    };
    assert_eq!(calls(&bed, list()).await, keys.len(), "the first API server that starts");
    assert_eq!(calls(&bed, list()).await, 0, "and the next one");
}

#[tokio::test]
async fn at_most_8192_are_kept_and_the_least_recently_used_goes_first() {
    let bed = Testbed::new();
    let keys = keys(&bed, 8192 + 10).await;
    for key in &keys[..8192] {
        assert_opens(&bed, key).await;
    }
    assert_eq!(bed.cache.len(), 8192);
    // The five oldest are used again, so that the next five go.
    assert_eq!(calls(&bed, join_all(keys[..5].iter().map(|key| assert_opens(&bed, key)))).await, 0);
    for key in &keys[8192..] {
        assert_opens(&bed, key).await;
    }
    assert_eq!(bed.cache.len(), 8192);

    let entries: HashSet<Vec<u8>> =
        bed.cache.entries().by_wrapped.keys().map(|(_, wrapped)| wrapped.clone()).collect();
    let gone: Vec<usize> = (0..keys.len()).filter(|it| !entries.contains(&keys[*it].wrapped)).collect();
    assert_eq!(gone, (5..15).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn more_than_256_under_way_are_refused_at_once() {
    let bed = Testbed::new();
    let keys = keys(&bed, 258).await;
    bed.backend.set(Mode::Hangs);
    let start = Instant::now();
    let crowd = join_all(keys[..256].iter().map(|key| unwrap(&bed, key)));
    let late = async {
        // Polled after the crowd, so that all of it is under way.
        let (_, refused) = unwrap(&bed, &keys[256]).await;
        assert_eq!(refused.err().map(|error| error.class()), Some(ErrorClass::Throttled));
        assert!(unwrap(&bed, &keys[0]).now_or_never().is_none(), "one that is under way can still be joined");
        assert_eq!(start.elapsed(), Duration::ZERO);
    };
    let (outcomes, ()) = tokio::join!(crowd, late);
    assert!(outcomes.iter().all(|(_, outcome)| outcome.is_err()));
    assert!(start.elapsed() <= CALL_DEADLINE, "{:?}", start.elapsed());

    bed.backend.set(Mode::Works);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_opens(&bed, &keys[257]).await;
}

/// Three entries of version 1 and two of version 2, unwrapped.
async fn two_versions(bed: &Testbed) -> (Vec<WrappedKey>, Vec<WrappedKey>) {
    let first = keys(bed, 3).await;
    let number = bed.add_version();
    bed.promote(number);
    let second = keys(bed, 2).await;
    for key in first.iter().chain(&second) {
        assert_opens(bed, key).await;
    }
    assert_eq!(bed.cache.len(), 5);
    (first, second)
}

async fn recheck(bed: &Testbed) {
    bed.cache.recheck(&*bed.provider).await;
}

#[tokio::test]
async fn recheck_asks_once_for_each_version() {
    let bed = Testbed::new();
    let (_first, _second) = two_versions(&bed).await;
    assert_eq!(calls(&bed, recheck(&bed)).await, 2);
    assert_eq!(bed.cache.len(), 5);
}

#[tokio::test]
async fn recheck_wipes_the_refused_version_and_no_other() {
    let bed = Testbed::new();
    let (first, second) = two_versions(&bed).await;
    let (_, held) = unwrap(&bed, &first[0]).await;
    let held = Arc::downgrade(&held.expect("cached"));
    bed.remove(1);
    recheck(&bed).await;
    assert_eq!(bed.cache.len(), 2);
    assert!(held.upgrade().is_none(), "the key itself is gone, and so wiped");
    assert_eq!(calls(&bed, assert_opens(&bed, &second[0])).await, 0);
    let (_, outcome) = unwrap(&bed, &first[0]).await;
    assert_eq!(outcome.err().map(|error| error.class()), Some(ErrorClass::NotFound));
}

/// Two hosts made version 2 apart: what the backend says of one is no word about the other.
#[tokio::test]
async fn recheck_asks_once_for_each_material_of_a_version() {
    let (bed, elsewhere) = Testbed::two_hosts_apart();
    let (ours, theirs) = (bed.wrap().await, elsewhere.wrap().await);
    assert_eq!(ours.reference.version(), theirs.reference.version());
    assert_opens(&bed, &ours).await;
    bed.cache.learn(&theirs.reference, &theirs.wrapped, &Arc::new(theirs.key));
    assert_eq!(calls(&bed, recheck(&bed)).await, 2);
    assert_eq!(bed.cache.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn every_refusal_wipes_and_every_other_failure_keeps() {
    use ErrorClass::*;
    for (class, left) in [
        (Denied, 0),
        (NotFound, 0),
        (FailedPrecondition, 0),
        // Perhaps the only copy that is left.
        (Corrupt, 1),
        (Unavailable, 1),
        (Timeout, 1),
        (Throttled, 1),
        (Unauthenticated, 1),
        (Misconfigured, 1),
        (Bug, 1),
    ] {
        let bed = Testbed::new();
        assert_opens(&bed, &bed.wrap().await).await;
        bed.backend.set(Mode::Fails(class));
        recheck(&bed).await;
        assert_eq!(bed.cache.len(), left, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_keeps_entries_until_the_bound_and_no_longer() {
    let bed = Testbed::new();
    let key = bed.wrap().await;
    assert_opens(&bed, &key).await;
    bed.backend.set(Mode::Fails(ErrorClass::Unavailable));
    let confirmed = Instant::now();
    let step = Duration::from_secs(5 * 60);
    while confirmed.elapsed() + step < OUTAGE_BOUND {
        tokio::time::advance(step).await;
        recheck(&bed).await;
        assert_eq!(calls(&bed, assert_opens(&bed, &key)).await, 0, "{:?}", confirmed.elapsed());
    }
    tokio::time::advance(step).await;
    recheck(&bed).await;
    assert_eq!(bed.cache.len(), 0, "{:?}", confirmed.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_starts_the_bound_anew() {
    let bed = Testbed::new();
    assert_opens(&bed, &bed.wrap().await).await;
    for _ in 0..3 {
        tokio::time::advance(OUTAGE_BOUND - Duration::from_secs(60)).await;
        recheck(&bed).await;
        bed.backend.set(Mode::Fails(ErrorClass::Unavailable));
        tokio::time::advance(OUTAGE_BOUND - Duration::from_secs(60)).await;
        recheck(&bed).await;
        assert_eq!(bed.cache.len(), 1);
        bed.backend.set(Mode::Works);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_goes_after_a_week() {
    let bed = Testbed::new();
    let (first, _second) = two_versions(&bed).await;
    for _ in 0..8 {
        tokio::time::advance(Duration::from_secs(24 * 3600)).await;
        assert_opens(&bed, &first[0]).await;
        recheck(&bed).await;
    }
    assert_eq!(bed.cache.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn recheck_runs_every_five_minutes_and_ends_when_told() {
    let bed = Testbed::new();
    assert_opens(&bed, &bed.wrap().await).await;
    let interval = Duration::from_secs(5 * 60);
    let running =
        Arc::clone(&bed.cache).recheck_every(Arc::clone(&bed.provider), interval, bed.tasks.stopping());
    bed.tasks.spawn("recheck", running);
    let hour = tokio::time::sleep(Duration::from_secs(60 * 60 + 1));
    assert_eq!(calls(&bed, hour).await, 12);

    // Also in the middle of a recheck that hangs.
    bed.backend.set(Mode::Hangs);
    tokio::time::sleep(interval - Duration::from_millis(500)).await;
    let start = Instant::now();
    assert_eq!(bed.tasks.drain(Duration::from_secs(5)).await, keystead_runtime::Drained::Clean);
    assert!(start.elapsed() <= Duration::from_millis(1), "{:?}", start.elapsed());
}
