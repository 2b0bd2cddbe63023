//! Where a policy wants two users to destroy what is in use.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use keystead_model::{CryptoKeyVersion, ErrorClass, VersionState};

use super::keys::encrypt;
use super::needed_versions::{create, gated, overtaken};
use crate::operations::*;
use crate::records::record_name;
use crate::testbed::{Testbed, create_key, key_name, ring, version, version_name};
use crate::{Clock as _, Detail, KmsError, Tick};

const PROJECT: &str = "projects/key-project";
const APPROVER: &str = "roles/keystead.destructionApprover";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Version 1 has encrypted something, and its key's label says that it may go all the same. Three may destroy it, and `c` is the approver.
async fn scene() -> Testbed {
    let bed = Testbed::new().await;
    bed.run(CreateKeyRing { name: ring() }).await.unwrap();
    bed.run(create_key()).await.unwrap();
    bed.run(CreateCryptoKeyVersion { key: key_name() }).await.unwrap();
    encrypt(&bed, key_name(), Some(version(1))).await;
    two_users(&bed).await;
    bed
}

async fn two_users(bed: &Testbed) {
    for user in ["a", "b"] {
        bed.grant(PROJECT, "roles/cloudkms.admin", &format!("user:{user}@example.com")).await;
    }
    bed.grant(PROJECT, APPROVER, "user:c@example.com").await;
    label(bed, true).await;
}

async fn label(bed: &Testbed, is_there: bool) {
    let label = is_there.then(|| ("keystead-destroy".to_owned(), "1".to_owned()));
    let update = UpdateCryptoKey {
        name: key_name(),
        labels: Some(label.into_iter().collect()),
        rotation_period_s: None,
        next_rotation_time: None,
    };
    bed.run(update).await.unwrap();
}

async fn destroy_as(bed: &Testbed, principal: &str) -> Result<CryptoKeyVersion, KmsError> {
    let call = bed.call_of(principal);
    bed.service.run(&call, DestroyCryptoKeyVersion { name: version_name(1) }).await
}

async fn destroys(bed: &Testbed, user: &str) -> Result<CryptoKeyVersion, KmsError> {
    destroy_as(bed, &format!("user:{user}@example.com")).await
}

/// Whose request waits, as the refusal says.
fn waits_for(answer: Result<CryptoKeyVersion, KmsError>) -> String {
    let error = answer.expect_err("one user is not enough");
    assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
    let kind = |it: &Detail| matches!(it, Detail::PreconditionFailure { kind, .. } if kind == "SECOND_USER_REQUIRED");
    assert!(error.details().iter().any(kind), "{error}");
    let (_, first) = error.message().split_once("The first one is user:").expect("it names the first");
    first.split('@').next().unwrap().to_owned()
}

async fn state(bed: &Testbed) -> VersionState {
    bed.run(GetCryptoKeyVersion { name: version_name(1) }).await.unwrap().state
}

async fn requests(bed: &Testbed) -> u64 {
    bed.service.store.count(record_name::FORCED_DESTRUCTIONS).await.unwrap()
}

async fn inventory(bed: &Testbed, source: &str, objects: u64) {
    let counts = [(version(1), objects)].into();
    let inventory = Inventory { source: source.to_owned(), observe_time: bed.clock.now(), counts };
    bed.run(RegisterInventory { key: key_name(), inventory }).await.unwrap();
}

#[tokio::test]
async fn p12_one_user_is_not_enough_and_two_are_named_in_every_record() {
    let mut bed = scene().await;
    assert_eq!(waits_for(destroys(&bed, "a").await), "a");
    let asked = bed.service.store.get(&record_name::forced_destruction(&version_name(1))).await.unwrap();
    // However often, and whoever else is no approver: nothing more is kept.
    for user in ["a", "b", "a"] {
        assert_eq!(waits_for(destroys(&bed, user).await), "a");
    }
    let kept = bed.service.store.get(&record_name::forced_destruction(&version_name(1))).await.unwrap();
    assert_eq!((asked, requests(&bed).await, state(&bed).await), (kept, 1, VersionState::Enabled));
    // A process that ends takes nothing with it.
    bed = bed.reopen().await;
    // What the version is used for meanwhile is the same use, and other counts are the same cluster's.
    encrypt(&bed, key_name(), Some(version(1))).await;
    bed.clock.advance(23 * HOUR);
    let scheduled = destroys(&bed, "c").await.unwrap();
    assert_eq!(scheduled.state, VersionState::DestroyScheduled);
    bed = bed.reopen().await;
    bed.clock.advance(31 * DAY);
    assert_eq!(bed.service.tick().await, Tick { destroyed: 1, ..Tick::default() });
    assert_eq!(requests(&bed).await, 0);

    let audit = bed.audit_records();
    let of = |method: &str, what: &str| {
        let both = |it: &&String| it.contains(method) && it.contains(what) && it.contains("a@example.com");
        audit.iter().filter(both).cloned().collect::<Vec<_>>()
    };
    let [asked] = of("DestroyCryptoKeyVersion", "waitsForSecondUser").try_into().unwrap();
    assert!(!asked.contains("keystead/destruction"), "nothing was destroyed: {asked}");
    for method in ["\"DestroyCryptoKeyVersion\"", "DestroyDueCryptoKeyVersion"] {
        let [done] = of(method, "twoUsers").try_into().unwrap();
        assert!(done.contains("\"approvedBy\":\"c@example.com\""), "{done}");
    }
}

#[tokio::test]
async fn p12_without_such_a_policy_the_label_is_enough_and_without_the_label_nobody_is() {
    let bed = scene().await;
    label(&bed, false).await;
    for user in ["a", "c"] {
        let error = destroys(&bed, user).await.expect_err("it is in use");
        assert!(error.message().contains("--update-labels=keystead-destroy=1"), "{error}");
    }
    assert_eq!(requests(&bed).await, 0);
    // What nobody uses takes one user.
    let unused = DestroyCryptoKeyVersion { name: version_name(2) };
    bed.service.run(&bed.call_of("user:a@example.com"), unused).await.unwrap();
    let bed = Testbed::new().await;
    bed.key().await;
    encrypt(&bed, key_name(), Some(version(1))).await;
    label(&bed, true).await;
    destroys(&bed, "owner").await.unwrap();
}

#[tokio::test]
async fn p12_a_policy_above_the_project_cannot_be_taken_back_in_it() {
    let bed = Testbed::new().await;
    bed.key().await;
    encrypt(&bed, key_name(), Some(version(1))).await;
    label(&bed, true).await;
    bed.grant("", APPROVER, "group:officers@example.com").await;
    for _ in 0..2 {
        assert_eq!(waits_for(destroys(&bed, "owner").await), "owner");
    }
    // On a key it cannot be bound, so that nobody who sets the policy of a key chooses who approves.
    let binding = keystead_model::Binding {
        role: APPROVER.to_owned(),
        members: vec!["user:b@example.com".to_owned()],
        condition: None,
    };
    let policy = keystead_model::Policy { bindings: vec![binding], ..Default::default() };
    let set = SetIamPolicy {
        resource: crate::Resource::CryptoKey(key_name()),
        policy,
        etag: None,
        keep_bindings: false,
    };
    assert_eq!(bed.run(set).await.expect_err("not on keys").class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn p12_what_is_late_or_of_other_users_is_asked_anew() {
    let bed = scene().await;
    assert_eq!(waits_for(destroys(&bed, "a").await), "a");
    bed.clock.advance(DAY);
    assert_eq!(waits_for(destroys(&bed, "c").await), "c", "a day later it is forgotten");
    // Somebody uses it whom the first one has not seen.
    inventory(&bed, "another", 3).await;
    assert_eq!(waits_for(destroys(&bed, "a").await), "a");
    inventory(&bed, "another", 4).await;
    destroys(&bed, "c").await.unwrap();
}

#[tokio::test]
async fn p12_a_request_that_nobody_answers_is_deleted() {
    let bed = scene().await;
    waits_for(destroys(&bed, "a").await);
    bed.service.tick().await;
    assert_eq!(requests(&bed).await, 1);
    bed.clock.advance(DAY + HOUR);
    bed.service.tick().await;
    assert_eq!(requests(&bed).await, 0);
}

#[tokio::test]
async fn p12_programs_and_those_who_can_be_anybody_are_none_of_the_two() {
    let bed = scene().await;
    let robot = "serviceAccount:robot@key-project.iam.gserviceaccount.com";
    for role in ["roles/cloudkms.admin", APPROVER] {
        bed.grant(PROJECT, role, robot).await;
    }
    bed.grant("", "roles/keystead.admin", "user:root@example.com").await;
    bed.grant(PROJECT, APPROVER, "user:root@example.com").await;
    let mut said = BTreeSet::new();
    for first in [false, true] {
        for nobody in [robot, "user:root@example.com"] {
            let error = destroy_as(&bed, nobody).await.expect_err("it does not count");
            assert_eq!(error.class(), ErrorClass::FailedPrecondition, "{error}");
            said.insert(error.message().to_owned());
        }
        if !first {
            assert_eq!(requests(&bed).await, 0);
            waits_for(destroys(&bed, "a").await);
        }
    }
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(state(&bed).await, VersionState::Enabled);
}

#[tokio::test]
async fn p9_p12_when_its_time_has_come_a_version_goes_only_for_those_whom_two_agreed_on() {
    // Nobody used it when it was scheduled, or the policy came later: the label of one user is not enough.
    let bed = Testbed::new().await;
    bed.key().await;
    encrypt(&bed, key_name(), Some(version(1))).await;
    label(&bed, true).await;
    destroys(&bed, "owner").await.unwrap();
    bed.clock.advance(31 * DAY);
    two_users(&bed).await;
    assert_eq!(bed.service.tick().await, Tick { kept: 1, ..Tick::default() });
    // Restored, it takes both of them, and what they said before the restore counts no more.
    let restore = || RestoreCryptoKeyVersion { name: version_name(1) };
    bed.run(restore()).await.unwrap();
    waits_for(destroys(&bed, "a").await);
    destroys(&bed, "c").await.unwrap();
    bed.run(restore()).await.unwrap();
    assert_eq!(requests(&bed).await, 0);
    assert_eq!(waits_for(destroys(&bed, "c").await), "c");
    destroys(&bed, "b").await.unwrap();
    // Somebody comes to use it whom they have not seen.
    bed.clock.advance(31 * DAY);
    inventory(&bed, "another", 3).await;
    assert_eq!(bed.service.tick().await, Tick { kept: 1, ..Tick::default() });
    inventory(&bed, "another", 0).await;
    assert_eq!(bed.service.tick().await, Tick { destroyed: 1, ..Tick::default() });
}

#[tokio::test(flavor = "multi_thread")]
async fn p12_however_many_ask_at_once_it_takes_two_and_is_done_once() {
    for round in 0..10 {
        let bed = scene().await;
        let alone = join_all((0..4).map(|_| destroys(&bed, "a"))).await;
        assert!(alone.into_iter().map(waits_for).all(|it| it == "a"), "{round}");
        let bed = scene().await;
        let (done, refused): (Vec<_>, Vec<_>) = join_all(["a", "c", "a", "c"].map(|it| destroys(&bed, it)))
            .await
            .into_iter()
            .partition(Result::is_ok);
        assert_eq!((done.len(), state(&bed).await), (1, VersionState::DestroyScheduled), "{refused:?}");
        let audit = bed.audit_records();
        let of = |what: &str| audit.iter().filter(|it| it.contains(what)).count();
        assert_eq!((of("waitsForSecondUser"), of("\"twoUsers\"")), (1, 1));
    }
}

#[tokio::test]
async fn p12_a_cluster_that_is_made_while_the_second_user_agrees_begins_it_anew() {
    let (bed, waits) = gated().await;
    two_users(&bed).await;
    bed.clock.advance(HOUR);
    encrypt(&bed, key_name(), Some(version(1))).await;
    // The cluster needs the primary; it may have something under version 1 too.
    waits_for(destroys(&bed, "a").await);
    let made = bed.run(create("prod-a", Some(key_name())));
    let (agreed, made) = overtaken(&waits, "version/", destroys(&bed, "c"), made).await;
    made.unwrap();
    assert_eq!(waits_for(agreed), "c", "the cluster was not among those whom `a` has seen");
    assert_eq!(state(&bed).await, VersionState::Enabled);
    destroys(&bed, "a").await.unwrap();
}
