use jiff::{SignedDuration, Timestamp};
use keystead_model::destruction::{Act, Permit, Step, Usage, check_unused, plan};
use keystead_model::{ErrorClass, VersionState};
use proptest::prelude::*;

use crate::samples::{at, key, version, version_name};

const DUE: &str = "2026-07-01T00:00:00Z";

fn in_use() -> Usage {
    Usage {
        last_unwrap: Some(at("2026-06-30T12:00:00Z")),
        inventories: vec!["cluster prod-a: 41 Secrets".into(), "cluster prod-b: 1 Secret".into()],
    }
}

#[test]
fn p12_a_version_in_use_is_not_scheduled_and_its_users_are_named() {
    let error = check_unused(at(DUE), &key(&[]), &version_name(3), &in_use()).expect_err("in use");
    assert_eq!(
        error.to_string(),
        "projects/key-project/locations/us/keyRings/prod/cryptoKeys/k/cryptoKeyVersions/3 is still in use: cluster \
         prod-a: 41 Secrets; cluster prod-b: 1 Secret; it decrypted something at 2026-06-30T12:00:00Z, less than 7 days \
         ago. Its last Decrypt was at 2026-06-30T12:00:00Z. Re-encrypt first; disable the version to test what would break. \
         To destroy it all the same, run `keystead kms keys update k --keyring=prod --location=us --project=key-project \
         --update-labels=keystead-destroy=3` or `gcloud kms keys update k --keyring=prod --location=us \
         --project=key-project --update-labels=keystead-destroy=3` and ask again (keystead-destroy=all is for every version)."
    );
    assert_eq!((error.class(), error.violation()), (ErrorClass::FailedPrecondition, "KEY_IN_USE"));
}

#[test]
fn a_refusal_names_the_last_decrypt_however_long_ago() {
    let users = vec!["cluster prod-a: 41 Secrets".to_owned()];
    for (last_unwrap, said) in [
        (Some(at("2025-01-01T00:00:00Z")), "Its last Decrypt was at 2025-01-01T00:00:00Z. "),
        (None, "No Decrypt with it is known. "),
    ] {
        let usage = Usage { last_unwrap, inventories: users.clone() };
        let error = check_unused(at(DUE), &key(&[]), &version_name(3), &usage).expect_err("in use");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn each_use_alone_is_enough() {
    let now = at("2026-06-30T00:00:00Z");
    let unused = Usage::default();
    let ask = |usage: &Usage| check_unused(now, &key(&[]), &version_name(3), usage);
    assert_eq!(ask(&unused), Ok(Permit::Unused));
    assert!(ask(&Usage { inventories: vec!["cluster a: 1 Secret".into()], ..unused.clone() }).is_err());
    for (last_unwrap, refused) in [
        ("2026-06-29T00:00:00Z", true),
        ("2026-06-23T00:00:00.000001Z", true),
        ("2026-06-23T00:00:00Z", false),
        ("2026-01-01T00:00:00Z", false),
        // Of a clock that went back.
        ("2027-01-01T00:00:00Z", true),
    ] {
        let usage = Usage { last_unwrap: Some(at(last_unwrap)), ..unused.clone() };
        assert_eq!(ask(&usage).is_err(), refused, "{last_unwrap}");
    }
}

#[test]
fn the_label_lets_one_version_go_or_all() {
    let now = at(DUE);
    let labelled = key(&[("keystead-destroy", "3")]);
    assert_eq!(check_unused(now, &labelled, &version_name(3), &in_use()), Ok(Permit::Overridden));
    assert!(check_unused(now, &labelled, &version_name(30), &in_use()).is_err());
    let all = key(&[("keystead-destroy", "all")]);
    for version in [3, 30] {
        assert_eq!(check_unused(now, &all, &version_name(version), &in_use()), Ok(Permit::Overridden));
    }
    for other in ["", "03", "All", "all ", "3 "] {
        let labelled = key(&[("keystead-destroy", other)]);
        assert!(check_unused(now, &labelled, &version_name(3), &in_use()).is_err(), "{other:?}");
    }
}

#[test]
fn only_what_is_scheduled_and_due_goes() {
    let versions = [
        (version(1, VersionState::Enabled), Usage::default()),
        (version(2, VersionState::Disabled), Usage::default()),
        (version(3, VersionState::DestroyScheduled), Usage::default()),
        (version(4, VersionState::Destroyed), Usage::default()),
    ];
    assert_eq!(plan(at("2026-06-30T23:59:59.999999Z"), &key(&[]), &versions), []);
    assert_eq!(
        plan(at(DUE), &key(&[]), &versions),
        [Step {
            version: version_name(3),
            act: Act::Destroy,
            reason: "destruction was due at 2026-07-01T00:00:00Z and nothing uses the version".into(),
        }]
    );
}

#[test]
fn when_the_time_has_come_it_is_asked_again() {
    let versions = [(version(3, VersionState::DestroyScheduled), in_use())];
    let steps = plan(at(DUE), &key(&[]), &versions);
    assert_eq!((steps.len(), steps[0].act), (1, Act::Keep));
    assert!(steps[0].reason.contains("cluster prod-a: 41 Secrets"), "{}", steps[0].reason);

    let steps = plan(at(DUE), &key(&[("keystead-destroy", "3")]), &versions);
    assert_eq!(steps[0].act, Act::Destroy);
    assert_eq!(
        steps[0].reason,
        "destruction was due at 2026-07-01T00:00:00Z and the label keystead-destroy allows it"
    );
}

proptest! {
    /// Whatever the clock shows and whoever uses what: material goes only when its time has come and nobody uses it or the
    /// label names it; and what goes can go (the transition agrees).
    #[test]
    fn nothing_goes_that_should_stay(
        now_s in 1_700_000_000..1_900_000_000_i64,
        state in 0..4_usize,
        unwrap_s in proptest::option::of(1_700_000_000..1_900_000_000_i64),
        named in 0..2_usize,
        label in proptest::option::of(1..4_u32),
    ) {
        use VersionState::{DestroyScheduled, Destroyed, Disabled, Enabled};
        let now = Timestamp::from_second(now_s).expect("a time");
        let state = [Enabled, Disabled, DestroyScheduled, Destroyed][state];
        let usage = Usage {
            last_unwrap: unwrap_s.map(|it| Timestamp::from_second(it).expect("a time")),
            inventories: vec!["cluster a: 1 Secret".into(); named],
        };
        let label = label.map(|it| it.to_string());
        let labels: Vec<_> = label.iter().map(|it| ("keystead-destroy", it.as_str())).collect();
        let it = version(2, state);
        let steps = plan(now, &key(&labels), &[(it.clone(), usage)]);
        let due = state == DestroyScheduled && now >= at(DUE);
        let recent = unwrap_s.is_some_and(|unwrap_s| now_s - unwrap_s < 7 * 86_400);
        let may_go = (named == 0 && !recent) || label.as_deref() == Some("2");
        prop_assert_eq!(steps.len(), usize::from(due));
        for step in steps {
            prop_assert_eq!(step.act == Act::Destroy, may_go);
            prop_assert!(it.destroyed(now).is_ok());
            let gone = it.destroyed(now).expect("due");
            prop_assert_eq!(plan(now + SignedDuration::from_hours(1), &key(&labels), &[(gone, Usage::default())]), []);
        }
    }
}
