use super::*;
use crate::cluster::{Encryption, EncryptionFailure, End, Failure, Target, Task};
use crate::cluster_host::{HostReport, Joined, Reported, SILENT_AFTER};
use crate::{KeyUid, is_unseen};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn version(number: u32) -> VersionNumber {
    number.to_string().parse().unwrap()
}

fn key() -> CryptoKey {
    CryptoKey {
        name: "projects/key-project/locations/us/keyRings/r/cryptoKeys/k".parse().unwrap(),
        uid: KeyUid([0; 16]),
        create_time: at(0),
        primary: Some(version(2)),
        activations: 2,
        next_version: version(4),
        rotation_period_s: None,
        next_rotation_time: None,
        destroy_scheduled_duration_s: 0,
        labels: BTreeMap::new(),
    }
}

fn outdated(time: Timestamp) -> Outdated {
    Outdated::of(&key(), &[(version(1), 41), (version(2), 7)].into(), time).unwrap()
}

fn cluster() -> Cluster {
    Cluster {
        name: "projects/cluster-project/locations/us/clusters/c".parse().unwrap(),
        id: String::new(),
        create_time: at(0),
        labels: [(REENCRYPT_LABEL.to_owned(), AFTER_ROTATION.to_owned())].into(),
        settings: String::new(),
        initial_version: String::new(),
        encryption: Encryption { key: Some(key().name), ..Encryption::default() },
        running: None,
        local_api_servers: None,
        counted_keys: Vec::new(),
    }
}

fn host(heard: Timestamp) -> ClusterHost {
    let report = HostReport { control_plane: vec!["cp-1".to_owned()], ..HostReport::default() };
    ClusterHost {
        name: "projects/cluster-project/locations/us/clusters/c/hosts/host-0000000000000001".parse().unwrap(),
        node: "cp-1".to_owned(),
        create_time: at(0),
        join_token: None,
        joined: Some(Joined { time: at(0), public_key: String::new() }),
        plugin_tokens: Vec::new(),
        certificate_time: None,
        plugin_token_time: None,
        reported: Some(Reported { time: heard, report }),
    }
}

/// An update with the same key. `end`: when it ended, and whether it failed.
fn operation(by_server: bool, start: Timestamp, end: Option<(Timestamp, bool)>) -> ClusterOperation {
    let failure = || Failure { cancelled: false, message: "no disk".to_owned() };
    ClusterOperation {
        name: "projects/cluster-project/locations/us/operations/operation-1".parse().unwrap(),
        cluster: cluster().name.cluster,
        task: Task::Update(Target { key: Some(key().name) }),
        start_time: start,
        detail: String::new(),
        end: end.map(|(time, failed)| End { time, failure: failed.then(failure) }),
        reason: by_server.then(|| "a key was rotated".to_owned()),
    }
}

#[test]
fn what_is_not_under_the_primary_version_is_outdated() {
    let of = |primary: Option<u32>, counts: &[(u32, u64)]| {
        let key = CryptoKey { primary: primary.map(version), ..key() };
        let counts = counts.iter().map(|(number, objects)| (version(*number), *objects)).collect();
        Outdated::of(&key, &counts, at(0)).map(|it| it.objects)
    };
    assert_eq!(of(Some(2), &[(1, 41), (2, 7)]), Some(41));
    assert_eq!(
        of(Some(1), &[(1, 41), (2, 7), (3, 1)]),
        Some(8),
        "an earlier version was made the primary again"
    );
    assert_eq!(of(Some(2), &[(1, u64::MAX), (3, u64::MAX)]), Some(u64::MAX));
    for none in [of(Some(2), &[(1, 0), (2, 7)]), of(Some(2), &[]), of(None, &[(1, 41)])] {
        assert_eq!(none, None);
    }
    assert_eq!(
        outdated(at(0)).to_string(),
        format!(
            "41 objects under other versions of {} than its primary version 2, counted at 2027-01-15T08:00:00Z",
            key().name
        )
    );
    let one = Outdated { objects: 1, ..outdated(at(0)) };
    assert!(one.to_string().starts_with("1 object under"), "{one}");
}

#[test]
fn a_cluster_is_encrypted_anew_when_it_wants_that_and_nothing_speaks_against_it() {
    let now = at(100_000);
    let is_due = |cluster: &Cluster| is_due(cluster, &[host(now)], &outdated(now), &[], now);
    assert!(is_due(&cluster()));
    let unlabelled = Cluster { labels: BTreeMap::new(), ..cluster() };
    let busy = cluster().start("operation-1".parse().unwrap(), Task::SetLabels).unwrap();
    let plain = Cluster { encryption: Encryption::default(), ..cluster() };
    let on_its_way = |target| {
        let encryption = Encryption { abandoned: Some(Target { key: target }), ..cluster().encryption };
        Cluster { encryption, ..cluster() }
    };
    let to_plain = on_its_way(None);
    let to_another = on_its_way(Some(format!("{}-2", key().name).parse().unwrap()));
    for cluster in [unlabelled, busy, plain, to_plain, to_another] {
        assert!(!is_due(&cluster), "{cluster:?}");
    }
    // An update that was refused before it changed anything does not say that the cluster is on its way.
    let failures = vec![EncryptionFailure { key: None, message: String::new(), time: now }];
    let encryption = Encryption { failures, ..cluster().encryption };
    assert!(is_due(&Cluster { encryption, ..cluster() }));
}

#[test]
fn a_cluster_whose_hosts_are_not_there_is_left_alone() {
    let now = at(100_000);
    let is_due = |hosts: &[ClusterHost]| is_due(&cluster(), hosts, &outdated(now), &[], now);
    assert!(is_due(&[host(now - SILENT_AFTER)]));
    assert!(!is_due(&[host(now - SILENT_AFTER - SignedDuration::from_secs(1))]));
    assert!(!is_due(&[]));
}

#[test]
fn what_was_counted_before_the_last_change_ended_says_nothing() {
    let now = at(100_000);
    let earlier = operation(false, at(50), Some((at(100), false)));
    let is_due = |counted| is_due(&cluster(), &[host(now)], &outdated(counted), &[&earlier], now);
    assert!(!is_due(at(99)));
    assert!(!is_due(at(100)), "at the same time, it may have been before");
    assert!(is_due(at(101)));
}

#[test]
fn after_one_that_the_server_started_or_one_that_failed_there_is_a_pause() {
    let start = at(100_000);
    let ended = |failed| Some((start, failed));
    for (by_server, end, pauses) in [
        (true, ended(false), true),
        (true, ended(true), true),
        (false, ended(true), true),
        (false, ended(false), false),
    ] {
        let earlier = operation(by_server, start, end);
        let is_due = |now: Timestamp| {
            // Counted after the one before, also where the clock has gone back since.
            let counted = now.max(start) + SignedDuration::from_secs(1);
            is_due(&cluster(), &[host(now)], &outdated(counted), &[&earlier], now)
        };
        assert_eq!(is_due(start + SignedDuration::from_secs(2)), !pauses, "{by_server} {end:?}");
        assert!(is_due(start + PAUSE), "{by_server} {end:?}");
        assert_eq!(is_due(start - SignedDuration::from_secs(60)), !pauses, "the clock went back");
        assert!(is_due(start - PAUSE), "it was far ahead");
    }
    let labels = ClusterOperation { task: Task::SetLabels, ..operation(false, start, ended(true)) };
    let counted = start - SignedDuration::from_secs(1);
    assert!(is_due(&cluster(), &[host(start)], &outdated(counted), &[&labels], start));
}

#[test]
fn one_at_a_time_and_one_that_takes_long_holds_up_nobody() {
    let start = at(100_000);
    let soon = start + SignedDuration::from_secs(1);
    assert!(may_start(&[], soon));
    let runs = || operation(true, start, None);
    assert!(!may_start(&[operation(false, start, None), runs()], soon));
    assert!(may_start(&[runs()], start + PACE));
    assert!(may_start(&[operation(false, start, None)], soon), "what somebody asked for does not count");
    assert!(may_start(&[operation(true, start, Some((soon, false)))], soon));
}

#[test]
fn a_label_that_means_nothing_is_refused_and_shown_safely() {
    let labels = |value: &str| [(REENCRYPT_LABEL.to_owned(), value.to_owned())].into();
    for right in [BTreeMap::new(), labels(AFTER_ROTATION)] {
        check_reencrypt_label(&right).unwrap();
    }
    for wrong in ["", "yes", "After-Rotation", "\u{202e}"] {
        let text = check_reencrypt_label(&labels(wrong)).unwrap_err().to_string();
        assert!(text.contains("only value is after-rotation"), "{text}");
        assert!(!text.contains(is_unseen), "{text}");
        let cluster = Cluster { labels: labels(wrong), ..cluster() };
        assert!(!cluster.wants_reencryption());
    }
}
