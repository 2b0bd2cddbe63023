use jiff::{SignedDuration, Timestamp};
use keystead_model::destruction::{
    Act, ClusterUser, Counted, InUseRule, Permit, Step, Usage, User, Uses, check_unused, plan,
};
use keystead_model::{ErrorClass, VersionState};
use proptest::prelude::*;

use crate::samples::{at, key, version, version_name};

const DUE: &str = "2026-07-01T00:00:00Z";
const RULES: [InUseRule; 3] = [InUseRule::Used, InUseRule::Recent, InUseRule::Off];

fn once(time: &str) -> Uses {
    Uses { count: 1, last: Some(at(time)) }
}

fn named(who: &str, why: &str) -> User {
    User { who: who.to_owned(), why: why.to_owned() }
}

fn in_use() -> Usage {
    Usage {
        encrypts: Uses { count: 7, last: Some(at("2026-05-01T00:00:00Z")) },
        decrypts: once("2026-06-30T12:00:00Z"),
        inventories: vec![named("cluster prod-a:", "41 Secrets"), named("cluster prod-b:", "1 Secret")],
        clusters: Vec::new(),
        inventories_since: Some(at("2026-06-01T00:00:00Z")),
        unknown_before: None,
    }
}

#[test]
fn what_was_used_before_an_older_database_was_put_back_is_not_known() {
    let restored = "2026-06-30T00:00:00Z";
    for (rule, since, refused) in [
        (InUseRule::Used, None, true),
        (InUseRule::Used, Some("2026-06-01T00:00:00Z"), true),
        (InUseRule::Used, Some("2026-06-30T00:00:01Z"), false),
        (InUseRule::Recent, None, true),
        (InUseRule::Off, None, false),
    ] {
        let usage = Usage {
            unknown_before: Some(at(restored)),
            inventories_since: since.map(at),
            ..Usage::default()
        };
        let asked = check_unused(at(DUE), rule, &key(&[]), &version_name(3), &usage);
        assert_eq!(asked.is_err(), refused, "{rule:?} {since:?}");
        let text = asked.map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(text.contains("restored at 2026-06-30T00:00:00Z"), refused, "{text}");
    }
}

#[test]
fn p12_a_version_in_use_is_not_scheduled_and_its_users_are_named() {
    let rule = InUseRule::Used;
    let error = check_unused(at(DUE), rule, &key(&[]), &version_name(3), &in_use()).expect_err("in use");
    assert_eq!(
        error.to_string(),
        "projects/key-project/locations/us/keyRings/prod/cryptoKeys/k/cryptoKeyVersions/3 is still in use: cluster \
         prod-a: 41 Secrets; cluster prod-b: 1 Secret; it was used after 2026-06-01T00:00:00Z, when the oldest registered \
         inventory was taken. Its last Encrypt was at 2026-05-01T00:00:00Z (of 7). Its last Decrypt was at \
         2026-06-30T12:00:00Z (of 1). Re-encrypt, then register an inventory; disable the version to test what would break. \
         To destroy it all the same, run `keystead kms keys update k --keyring=prod --location=us --project=key-project \
         --update-labels=keystead-destroy=3` or `gcloud kms keys update k --keyring=prod --location=us \
         --project=key-project --update-labels=keystead-destroy=3` and ask again (keystead-destroy=all is for every version)."
    );
    assert_eq!((error.class(), error.violation()), (ErrorClass::FailedPrecondition, "KEY_IN_USE"));
}

#[test]
fn an_older_database_that_was_put_back_destroys_nothing_for_a_day() {
    let scheduled = version(3, VersionState::DestroyScheduled);
    for (restored, act) in
        [("2026-06-30T00:00:01Z", Act::Keep), (DUE, Act::Keep), ("2026-06-30T00:00:00Z", Act::Destroy)]
    {
        let usage = Usage { unknown_before: Some(at(restored)), ..Usage::default() };
        let key = key(&[(keystead_model::destruction::OVERRIDE_LABEL, "all")]);
        let steps = plan(at(DUE), InUseRule::Off, &key, &[(scheduled.clone(), usage)]);
        assert_eq!(steps.iter().map(|it| it.act).collect::<Vec<_>>(), [act], "{restored}");
    }
}

#[test]
fn an_inventory_that_names_it_is_enough_under_every_rule() {
    for rule in RULES {
        let ask = |usage: &Usage| check_unused(at(DUE), rule, &key(&[]), &version_name(3), usage);
        assert_eq!(ask(&Usage::default()), Ok(Permit::Unused));
        let error = ask(&Usage { inventories: vec![named("cluster a:", "1 Secret")], ..Usage::default() });
        let error = error.expect_err("in use").to_string();
        assert!(error.contains("No Encrypt with it is known. No Decrypt with it is known."), "{error}");
    }
}

fn needed_by(cluster: &str) -> ClusterUser {
    let name = format!("projects/cluster-project/locations/us/clusters/{cluster}").parse().expect("a name");
    let counted = Counted { objects: 3, time: at(DUE) };
    ClusterUser::of(&name, false, None, Some(counted)).expect("it has objects")
}

#[test]
fn p12_a_cluster_that_needs_it_is_enough_under_every_rule() {
    for rule in RULES {
        let usage = Usage { clusters: vec![needed_by("prod-a")], ..Usage::default() };
        let ask = |key| check_unused(at(DUE), rule, &key, &version_name(3), &usage);
        let error = ask(key(&[])).expect_err("in use").to_string();
        let words = "cluster projects/cluster-project/locations/us/clusters/prod-a had 3 objects under it at 2026-07-01T00:00:00Z. No";
        assert!(error.contains(words), "{error}");
        assert_eq!(ask(key(&[("keystead-destroy", "3")])), Ok(Permit::Overridden));
    }
}

#[test]
fn p12_a_refusal_names_twenty_users_and_counts_the_others() {
    for (clusters, named, more) in
        [(20, 20, None), (21, 20, Some("; and 1 more. ")), (500, 20, Some("; and 480 more. "))]
    {
        let clusters = (0..clusters).map(|number| needed_by(&format!("c{number}"))).collect();
        let usage = Usage { clusters, ..Usage::default() };
        let asked = check_unused(at(DUE), InUseRule::Off, &key(&[]), &version_name(3), &usage);
        let text = asked.expect_err("in use").to_string();
        assert_eq!(text.matches("/clusters/c").count(), named, "{text}");
        assert_eq!(text.contains(" more. "), more.is_some(), "{text}");
        assert!(more.is_none_or(|more| text.contains(more)), "{text}");
    }
}

#[test]
fn what_ever_encrypted_or_decrypted_is_in_use_until_every_inventory_is_newer() {
    let ask = |usage: &Usage| check_unused(at(DUE), InUseRule::Used, &key(&[]), &version_name(3), usage);
    let use_time = "2024-01-01T00:00:00Z";
    for usage in [
        Usage { encrypts: once(use_time), ..Usage::default() },
        Usage { decrypts: once(use_time), ..Usage::default() },
        Usage { encrypts: once("2020-01-01T00:00:00Z"), decrypts: once(use_time), ..Usage::default() },
    ] {
        for (since, refused) in [
            (None, true),
            (Some("2023-12-31T00:00:00Z"), true),
            (Some(use_time), true),
            (Some("2024-01-01T00:00:00.000001Z"), false),
        ] {
            let usage = Usage { inventories_since: since.map(at), ..usage.clone() };
            assert_eq!(ask(&usage).is_err(), refused, "{usage:?}");
        }
        for rule in [InUseRule::Recent, InUseRule::Off] {
            assert!(check_unused(at(DUE), rule, &key(&[]), &version_name(3), &usage).is_ok(), "{rule:?}");
        }
    }
}

#[test]
fn what_decrypted_of_late_is_in_use_where_that_is_the_rule() {
    let now = at("2026-06-30T00:00:00Z");
    for (last, refused) in [
        ("2026-06-29T00:00:00Z", true),
        ("2026-06-23T00:00:00.000001Z", true),
        ("2026-06-23T00:00:00Z", false),
        ("2026-01-01T00:00:00Z", false),
        // Of a clock that went back.
        ("2027-01-01T00:00:00Z", true),
    ] {
        let usage = Usage { decrypts: once(last), encrypts: once(last), ..Usage::default() };
        let ask = |rule| check_unused(now, rule, &key(&[]), &version_name(3), &usage);
        assert_eq!(ask(InUseRule::Recent).is_err(), refused, "{last}");
        assert_eq!(ask(InUseRule::Off), Ok(Permit::Unused), "{last}");
    }
}

#[test]
fn the_label_lets_one_version_go_or_all() {
    let now = at(DUE);
    let labelled = key(&[("keystead-destroy", "3")]);
    assert_eq!(
        check_unused(now, InUseRule::Used, &labelled, &version_name(3), &in_use()),
        Ok(Permit::Overridden)
    );
    assert!(check_unused(now, InUseRule::Used, &labelled, &version_name(30), &in_use()).is_err());
    let all = key(&[("keystead-destroy", "all")]);
    for version in [3, 30] {
        assert_eq!(
            check_unused(now, InUseRule::Used, &all, &version_name(version), &in_use()),
            Ok(Permit::Overridden)
        );
    }
    for other in ["", "03", "All", "all ", "3 "] {
        let labelled = key(&[("keystead-destroy", other)]);
        assert!(
            check_unused(now, InUseRule::Used, &labelled, &version_name(3), &in_use()).is_err(),
            "{other:?}"
        );
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
    assert_eq!(plan(at("2026-06-30T23:59:59.999999Z"), InUseRule::Used, &key(&[]), &versions), []);
    assert_eq!(
        plan(at(DUE), InUseRule::Used, &key(&[]), &versions),
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
    let steps = plan(at(DUE), InUseRule::Used, &key(&[]), &versions);
    assert_eq!((steps.len(), steps[0].act), (1, Act::Keep));
    assert!(steps[0].reason.contains("cluster prod-a: 41 Secrets"), "{}", steps[0].reason);

    let steps = plan(at(DUE), InUseRule::Used, &key(&[("keystead-destroy", "3")]), &versions);
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
        rule in 0..3_usize,
        label in proptest::option::of(1..4_u32),
    ) {
        use VersionState::{DestroyScheduled, Destroyed, Disabled, Enabled};
        let now = Timestamp::from_second(now_s).expect("a time");
        let state = [Enabled, Disabled, DestroyScheduled, Destroyed][state];
        let usage = Usage {
            decrypts: Uses { count: 1, last: unwrap_s.map(|it| Timestamp::from_second(it).expect("a time")) },
            inventories: vec![User { who: "cluster a:".to_owned(), why: "1 Secret".to_owned() }; named],
            ..Usage::default()
        };
        let rule = RULES[rule];
        let label = label.map(|it| it.to_string());
        let labels: Vec<_> = label.iter().map(|it| ("keystead-destroy", it.as_str())).collect();
        let it = version(2, state);
        let steps = plan(now, rule, &key(&labels), &[(it.clone(), usage)]);
        let due = state == DestroyScheduled && now >= at(DUE);
        let used = match rule {
            InUseRule::Used => unwrap_s.is_some(),
            InUseRule::Recent => unwrap_s.is_some_and(|unwrap_s| now_s - unwrap_s < 7 * 86_400),
            InUseRule::Off => false,
        };
        let may_go = (named == 0 && !used) || label.as_deref() == Some("2");
        prop_assert_eq!(steps.len(), usize::from(due));
        for step in steps {
            prop_assert_eq!(step.act == Act::Destroy, may_go);
            prop_assert!(it.destroyed(now).is_ok());
            let gone = it.destroyed(now).expect("due");
            prop_assert_eq!(plan(now + SignedDuration::from_hours(1), rule, &key(&labels), &[(gone, Usage::default())]), []);
        }
    }
}
