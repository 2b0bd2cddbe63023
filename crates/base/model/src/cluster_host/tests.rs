use std::collections::BTreeMap;

use super::*;
use crate::cluster::{Encryption, Target, Task};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn later(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn key(id: &str) -> CryptoKeyName {
    format!("projects/key-project/locations/us/keyRings/r/cryptoKeys/{id}").parse().unwrap()
}

fn operation() -> ClusterOperationId {
    "operation-1".parse().unwrap()
}

fn idle(key: Option<CryptoKeyName>) -> Cluster {
    Cluster {
        name: "projects/cluster-project/locations/us/clusters/c".parse().unwrap(),
        id: String::new(),
        create_time: NOW,
        labels: BTreeMap::new(),
        settings: String::new(),
        initial_version: String::new(),
        local_api_servers: None,
        counted_keys: Vec::new(),
        encryption: Encryption { key, ..Encryption::default() },
        running: None,
    }
}

fn running(task: Task) -> Cluster {
    idle(None).start(operation(), task).unwrap()
}

fn to(key: Option<CryptoKeyName>) -> Task {
    Task::Update(Target { key })
}

fn invited(number: usize) -> ClusterHost {
    let name = format!("projects/cluster-project/locations/us/clusters/c/hosts/host-{number:016x}");
    ClusterHost {
        name: name.parse().unwrap(),
        node: format!("cp-{number}"),
        create_time: NOW,
        join_token: Some(String::new()),
        joined: None,
        plugin_tokens: Vec::new(),
        certificate_time: None,
        plugin_token_time: None,
        reported: None,
    }
}

/// It names itself, as an agent does whose API server answers.
fn heard(number: usize, nodes: &[&str], work: Option<(WorkState, &str)>) -> ClusterHost {
    let report = HostReport {
        sequence: 1,
        control_plane: nodes.iter().map(|it| (*it).to_owned()).chain([format!("cp-{number}")]).collect(),
        work: work.map(|(state, detail)| Work { operation: operation(), state, detail: detail.to_owned() }),
        ..HostReport::default()
    };
    ClusterHost {
        joined: Some(Joined { time: NOW, public_key: String::new() }),
        reported: Some(Reported { time: NOW, report }),
        ..invited(number)
    }
}

#[test]
fn a_task_begins_when_every_host_is_there() {
    let cluster = running(to(Some(key("a"))));
    let nodes = ["cp-1", "cp-2"];
    let waits = |hosts: &[ClusterHost], now| match next(&cluster, hosts, now) {
        Some(Next::Wait(text)) => text,
        other => panic!("{other:?}"),
    };
    assert!(waits(&[], NOW).contains("to join it"));
    let alone = waits(&[heard(1, &nodes, None)], NOW);
    assert!(alone.contains("cp-2 (runs a control plane, is not invited)"), "{alone}");
    let invited = waits(&[heard(1, &nodes, None), invited(2)], NOW);
    assert!(invited.ends_with("cp-2 (invited, has not joined)"), "{invited}");
    let both = [heard(1, &nodes, None), heard(2, &nodes, None)];
    assert_eq!(next(&cluster, &both, NOW), Some(Next::Begin));
    assert_eq!(next(&cluster, &both, later(180)), Some(Next::Begin));
    assert!(waits(&both, later(181)).contains("silent since"));
    let mut blind = both;
    blind.iter_mut().filter_map(|it| it.reported.as_mut()).for_each(|it| it.report.control_plane.clear());
    assert!(waits(&blind, NOW).contains("cp-1 (its API server does not answer)"), "{}", waits(&blind, NOW));
}

#[test]
fn a_task_ends_with_what_its_hosts_say_of_it() {
    let cluster = running(to(Some(key("a")))).begin();
    let hosts = |one, other| [heard(1, &[], Some(one)), heard(2, &[], Some(other))];
    let done = (WorkState::Done, "");
    assert_eq!(next(&cluster, &hosts(done, done), NOW), Some(Next::Succeed));
    let at_it = next(&cluster, &hosts(done, (WorkState::Working, "counts what is stored")), NOW);
    assert_eq!(at_it, Some(Next::Wait("cp-2: counts what is stored".to_owned())));
    let failed = next(&cluster, &hosts(done, (WorkState::Failed, "no disk")), later(1_000));
    assert_eq!(failed, Some(Next::Fail("host cp-2: no disk".to_owned())));
    // What was said of an earlier task does not count for this one.
    let mut earlier = hosts(done, done);
    for host in &mut earlier {
        let work = host.reported.as_mut().and_then(|it| it.report.work.as_mut()).expect("it works");
        work.operation = "operation-0".parse().unwrap();
    }
    assert!(matches!(next(&cluster, &earlier, NOW), Some(Next::Wait(_))));
    // Nor does a failure of something that was not begun.
    let not_begun = running(to(Some(key("a"))));
    let forged = hosts((WorkState::Failed, ""), done);
    assert_eq!(next(&not_begun, &forged, NOW), Some(Next::Begin));
}

#[test]
fn a_host_is_told_where_to_go_once_it_is_on_record_that_it_begins() {
    let waits = running(to(Some(key("a"))));
    assert_eq!(instruction(&waits), None);
    let goal = |cluster: &Cluster| instruction(cluster).map(|it| it.goal);
    assert_eq!(goal(&waits.begin()), Some(HostGoal::Encrypt(key("a"))));
    let cluster = |from: Option<&str>, to_key: Option<&str>| {
        idle(from.map(key)).start(operation(), to(to_key.map(key))).unwrap().begin()
    };
    assert_eq!(goal(&cluster(Some("a"), Some("a"))), Some(HostGoal::Reencrypt(key("a"))));
    assert_eq!(goal(&cluster(Some("a"), Some("b"))), Some(HostGoal::Encrypt(key("b"))));
    assert_eq!(goal(&cluster(Some("a"), None)), Some(HostGoal::Decrypt));
    // Where a task failed on its way, values may be under both.
    let failed = cluster(Some("a"), Some("b")).fail("stopped", NOW);
    let back = failed.start(operation(), to(Some(key("a")))).unwrap().begin();
    assert_eq!(goal(&back), Some(HostGoal::Encrypt(key("a"))));
    assert_eq!(instruction(&idle(Some(key("a")))), None);
}

#[test]
fn a_cluster_that_is_to_stay_plain_is_there_when_its_hosts_are() {
    let cluster = running(Task::Create(Target { key: None }));
    assert_eq!(next(&cluster, &[heard(1, &["cp-1"], None)], NOW), Some(Next::Succeed));
    assert_eq!(next(&idle(None), &[heard(1, &[], None)], NOW), None);
}

#[test]
fn a_report_that_comes_again_or_is_of_the_future_or_too_long_is_refused() {
    let at = |sequence| HostReport { sequence, ..HostReport::default() };
    let last = Reported { time: NOW, report: at(5) };
    assert_eq!(at(6).check(Some(&last), NOW), Ok(()));
    assert_eq!(at(5).check(Some(&last), NOW), Err(InvalidReport::Old { given: 5, taken: 5 }));
    assert_eq!(at(86_400_000).check(None, NOW), Ok(()));
    assert_eq!(at(86_400_001).check(None, NOW), Err(InvalidReport::Ahead(86_400_001)));
    let many = HostReport { control_plane: vec!["cp-1".to_owned(); 33], ..at(1) };
    assert!(matches!(many.check(None, NOW), Err(InvalidReport::TooLong { given: 33, most: 32, .. })));
    let long = HostReport { key_ids: vec!["k".repeat(1025)], ..at(1) };
    assert!(matches!(long.check(None, NOW), Err(InvalidReport::TooLong { given: 1025, .. })));
    for (report, refused) in [
        (HostReport { control_plane: vec!["cp-1\u{1b}[2J".to_owned()], ..at(1) }, InvalidReport::Node),
        (HostReport { writes: "kms\nline".to_owned(), ..at(1) }, InvalidReport::Unseen("writes")),
        (HostReport { key_ids: vec!["\u{202e}1".to_owned()], ..at(1) }, InvalidReport::Unseen("key id")),
    ] {
        assert_eq!(report.check(None, NOW), Err(refused));
    }
    assert!(!at(7).says_more_than(&at(6)));
    assert!(many.decides_more_than(&at(1)) && !long.decides_more_than(&at(1)));
    assert!(many.says_more_than(&at(1)));
}

#[test]
fn names_of_nodes_and_versions_that_fit() {
    for good in ["cp-1", "cp-1.example.com", "a", "0"] {
        assert!(is_node_name(good), "{good}");
    }
    for bad in ["", "CP-1", "cp_1", ".cp", "cp.", "-cp", "cp-", "cp 1", &"a".repeat(254)] {
        assert!(!is_node_name(bad), "{bad}");
    }
    for (one, other, fit) in [
        ("0.1.0", "0.1.9", true),
        ("0.1.0", "0.2.0-rc.1", true),
        ("0.1.0", "0.3.0", false),
        ("1.1.0", "0.1.0", false),
        ("", "0.1.0", false),
        ("latest", "0.1.0", false),
    ] {
        assert_eq!(versions_fit(one, other), fit, "{one} {other}");
        assert_eq!(versions_fit(other, one), fit, "{other} {one}");
    }
}
