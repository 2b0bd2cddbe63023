//! The alert rules that we ship: well formed, about metrics that a running server has, and each with a test that moves its
//! metric as far as the rule waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keystead_testkit::kms_server::KmsServer;
use keystead_testkit::process::Process;
use reqwest::Method;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::Deserialize;
use serde_json::json;

use crate::server_process::{BINARY, Place};
use crate::webhooks::webhook_config;

/// Every rule, and the test that moves its metric as far as the rule waits for: the file and the function.
const SHOWN_BY: [(&str, &str, &str); 24] = [
    ("KeysteadKeyDestructionScheduled", HERE, "p12_a_scheduled_destruction_is_counted_on_a_running_server"),
    ("KeysteadKeyDestroyed", HERE, "p12_a_destruction_whose_time_has_come_is_counted_on_a_running_server"),
    ("KeysteadUnprotected", HERE, "a_server_without_a_backup_destination_shows_it"),
    (
        "KeysteadBackupIncomplete",
        HERE,
        "a_backup_destination_that_goes_away_shows_until_it_holds_everything_again",
    ),
    ("KeysteadNotReady", HERE, "a_server_that_cannot_record_shows_that_it_refuses_and_is_not_ready"),
    ("KeysteadDatabaseNotWritable", HERE, "p8_a_database_that_cannot_be_written_is_told_until_it_can"),
    ("KeysteadDatabaseDisplaced", HERE, "p8_a_database_that_was_removed_or_replaced_is_told_and_not_changed"),
    ("KeysteadRootKeyUnusable", HERE, "a_root_key_that_is_gone_is_told_until_it_is_back"),
    ("KeysteadFileRefused", HERE, "files_that_turn_bad_are_told_until_they_are_good"),
    ("KeysteadConnectionsRefused", HERE, "connections_past_the_places_of_a_source_and_of_all_are_counted"),
    ("KeysteadCertificateEnds", HERE, "the_end_of_a_given_certificate_is_shown"),
    // Needs a file system of its own, which the test makes as root.
    (
        "KeysteadAuditSpaceLow",
        "crates/kms/audit/tests/it/space.rs",
        "a_full_file_system_uses_the_reserve_then_refuses_and_recovers",
    ),
    ("KeysteadAuditRefuses", HERE, "a_server_that_cannot_record_shows_that_it_refuses_and_is_not_ready"),
    ("KeysteadAuditExportBehind", HERE, "an_export_that_fails_shows_its_lag_and_its_failures"),
    (
        "KeysteadAuditExportLost",
        "crates/kms/audit/tests/it/exports.rs",
        "records_whose_time_was_over_are_counted_as_lost",
    ),
    ("KeysteadErasurePending", HERE, "p12_a_destruction_whose_time_has_come_is_counted_on_a_running_server"),
    ("KeysteadAuditDamaged", HERE, "a_server_starts_with_a_damaged_audit_log_and_shows_it"),
    ("KeysteadAgentsSilent", CLUSTERS, "a_host_whose_agent_is_silent_is_shown_until_it_is_heard"),
    (
        "KeysteadClusterOperationFailed",
        CLUSTERS,
        "an_operation_of_a_cluster_that_fails_is_counted_by_its_reason",
    ),
    ("KeysteadInventoryOld", CLUSTERS, "c10_values_under_old_versions_and_old_inventories_are_shown"),
    (
        "KeysteadValuesUnderOldVersions",
        CLUSTERS,
        "c10_values_under_old_versions_and_old_inventories_are_shown",
    ),
    ("KeysteadWebhookFails", WEBHOOKS, "a_receiver_that_is_away_is_told_when_it_is_back_and_holds_up_nobody"),
    (
        "KeysteadWebhookNoticesDropped",
        WEBHOOKS,
        "what_a_receiver_does_not_take_is_given_up_in_the_end_and_that_is_told",
    ),
    (
        "KeysteadServerLogLinesDropped",
        "crates/kms/server/tests/it/process_life.rs",
        "a_log_that_nobody_reads_holds_up_neither_answers_nor_the_end",
    ),
];
const HERE: &str = "crates/kms/server/tests/it/alerts.rs";
const CLUSTERS: &str = "crates/kms/server/tests/it/cluster_alerts.rs";
const WEBHOOKS: &str = "crates/kms/server/tests/it/webhooks.rs";
/// Longest wait for a metric: the server looks at itself every 2 s, and a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(60);
const SCHEDULED: &str = "keystead_key_destructions_total{state=\"scheduled\"}";
const DESTROYED: &str = "keystead_key_destructions_total{state=\"destroyed\"}";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    alert: String,
    expr: String,
    #[serde(rename = "for")]
    pending: Option<String>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[tokio::test]
async fn p12_alert_rules_are_about_metrics_of_a_running_server() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/prometheus/keystead-alerts.yaml");
    let text = std::fs::read_to_string(path).expect("the rules can be read");
    let file: File = serde_saphyr::from_str(&text).expect("YAML of Prometheus' rules");

    let place = Place::new();
    let copy = place.path("copy.jsonl");
    let webhook = webhook_config(&place, "ops", "https://localhost:1/");
    let config = format!("audit:\n  exports:\n    - name: copy\n      file: {}\n{webhook}", copy.display());
    let config = place.write("config.yaml", config);
    let server = place.start(&["--config", config.to_str().expect("UTF-8")]).await;
    let page = server.text("/metrics").await;
    let metrics: BTreeSet<&str> = page
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();

    let mut alerts = BTreeSet::new();
    for Group { name, rules } in file.groups {
        assert!(!rules.is_empty(), "{name}");
        for Rule { alert, expr, pending, labels, annotations } in rules {
            assert!(alerts.insert(alert.clone()), "{alert} is there twice");
            let named: Vec<&str> = words(&expr).filter(|it| it.starts_with("keystead_")).collect();
            assert!(!named.is_empty(), "{alert} is about no metric");
            for metric in named {
                assert!(metrics.contains(metric), "{alert}: {metric} is not in\n{page}");
            }
            assert!(pending.is_none_or(|it| it.ends_with(['m', 'h'])), "{alert}");
            assert!(["warning", "critical"].contains(&labels["severity"].as_str()), "{alert}");
            assert_eq!(annotations.keys().collect::<Vec<_>>(), ["description", "summary"], "{alert}");
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for (alert, file, test) in SHOWN_BY {
        assert!(alerts.remove(alert), "{alert} is no rule");
        let source = std::fs::read_to_string(root.join(file)).expect(file);
        assert!(source.contains(&format!("fn {test}()")), "{alert}: {file} has no test {test}");
    }
    assert!(alerts.is_empty(), "no test in SHOWN_BY moves the metric of {alerts:?}");
    // The series that the two most important ones wait for are there before anything happens.
    for state in ["scheduled", "destroyed"] {
        let series = format!("keystead_key_destructions_total{{state=\"{state}\"}} 0\n");
        assert!(page.contains(&series), "{page}");
    }
    assert!(page.contains("keystead_server_backup_unprotected 1\n"), "{page}");
    assert_eq!(server.stop().await, 0);
}

/// Prometheus itself takes every rule, of the server and of the plugin.
#[test]
#[ignore = "needs promtool"]
fn prometheus_takes_the_rules() {
    let promtool = std::env::var_os("KEYSTEAD_PROMTOOL").expect("KEYSTEAD_PROMTOOL: cargo xtask test");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../deploy/prometheus");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the rules") {
        let file = entry.expect("an entry").path();
        let checked = std::process::Command::new(&promtool).args(["check", "rules"]).arg(&file).output();
        let checked = checked.expect("promtool runs");
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(checked.status.success() && said.contains("SUCCESS"), "{}: {checked:?}", file.display());
        files += 1;
    }
    assert_eq!(files, 2);
}

/// `KeysteadKeyDestructionScheduled`: the counter moves with each version that is scheduled, and with nothing else.
#[tokio::test]
async fn p12_a_scheduled_destruction_is_counted_on_a_running_server() {
    let place = Place::new();
    let server = KmsServer::start(Path::new(BINARY), &place.path("data")).await.expect("started");
    let key = key_with_one_version(&server).await;
    assert_eq!(value(&server, SCHEDULED).await, 0.0);
    let version = format!("{key}/cryptoKeyVersions/1");
    server.ok(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("scheduled");
    assert_eq!(value(&server, SCHEDULED).await, 1.0);
    let (status, answer) =
        server.call(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("answered");
    assert_eq!(status, 400, "{answer}");
    assert_eq!(value(&server, SCHEDULED).await, 1.0, "a refusal schedules nothing");
    server.ok(Method::POST, &format!("{version}:restore"), Some(&json!({}))).await.expect("restored");
    server.ok(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("scheduled");
    assert_eq!(value(&server, SCHEDULED).await, 2.0);
    assert_eq!(value(&server, DESTROYED).await, 0.0);
}

/// `KeysteadKeyDestroyed`: both clocks of the running server move on, as when a machine slept. `KeysteadErasurePending`: somebody
/// reads the database meanwhile.
#[tokio::test]
#[ignore = "needs libfaketime"]
async fn p12_a_destruction_whose_time_has_come_is_counted_on_a_running_server() {
    let library = std::env::var("KEYSTEAD_FAKETIME").expect("KEYSTEAD_FAKETIME: cargo xtask test");
    let place = Place::new();
    let preload = format!("LD_PRELOAD={library}");
    let ahead = place.write("ahead", "+0");
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", ahead.display());
    let words = [&preload, &file, "FAKETIME_NO_CACHE=1", BINARY];
    let server =
        KmsServer::start_as(Path::new("env"), &words, &place.path("data"), &[]).await.expect("started");
    let key = key_with_one_version(&server).await;
    let version = format!("{key}/cryptoKeyVersions/1");
    server.ok(Method::POST, &format!("{version}:destroy"), Some(&json!({}))).await.expect("scheduled");
    assert_eq!(value(&server, DESTROYED).await, 0.0);
    let reader = rusqlite::Connection::open(place.path("data").join("keystead.db")).expect("a reader");
    reader.execute_batch("BEGIN; SELECT count(*) FROM record;").expect("it reads");
    let pending = "keystead_server_erasure_pending";
    shows(&server, pending, |it| it == 0.0).await;
    place.write("ahead", "+2d");
    shows(&server, DESTROYED, |it| it == 1.0).await;
    shows(&server, pending, |it| it == 1.0).await;
    let ready = server.http().get(format!("{}/readyz", server.endpoint())).send().await.expect("answered");
    assert_eq!(ready.status(), 200);
    assert!(ready.text().await.expect("text").contains("erasure pending: "));
    reader.execute_batch("COMMIT").expect("it ends");
    // Threads that wait by the clock that jumped wait long; a change wakes the one that writes.
    let goes_on = async {
        for number in 0.. {
            server.create_project(&format!("project-{number}")).await.expect("a project");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = goes_on => {}
        () = shows(&server, pending, |it| it == 0.0) => {}
    }
}

/// `KeysteadUnprotected`: without a destination the gauge is 1, with one it is 0.
#[tokio::test]
async fn a_server_without_a_backup_destination_shows_it() {
    let place = Place::new();
    let server = KmsServer::start(Path::new(BINARY), &place.path("data")).await.expect("started");
    shows(&server, "keystead_server_backup_unprotected", |it| it == 1.0).await;
    let backups = place.path("backups");
    std::fs::create_dir(&backups).expect("made");
    let destination = ["--backup-destination", backups.to_str().expect("UTF-8")];
    let server = KmsServer::start_with(Path::new(BINARY), &place.path("other"), &destination).await;
    shows(&server.expect("started"), "keystead_server_backup_unprotected", |it| it == 0.0).await;
}

/// `KeysteadBackupIncomplete`: an empty directory stands where a destination was, and then the destination is back.
#[tokio::test]
async fn a_backup_destination_that_goes_away_shows_until_it_holds_everything_again() {
    let place = Place::new();
    let (backups, away) = (place.path("backups"), place.path("away"));
    std::fs::create_dir(&backups).expect("made");
    let destination = ["--backup-destination", backups.to_str().expect("UTF-8")];
    let server = KmsServer::start_with(Path::new(BINARY), &place.path("data"), &destination).await;
    let server = server.expect("started");
    let (incomplete, unprotected) =
        ("keystead_server_backup_destinations_incomplete", "keystead_server_backup_unprotected");
    shows(&server, incomplete, |it| it == 0.0).await;
    shows(&server, unprotected, |it| it == 0.0).await;
    std::fs::rename(&backups, &away).expect("moved");
    std::fs::create_dir(&backups).expect("made");
    shows(&server, incomplete, |it| it == 1.0).await;
    shows(&server, unprotected, |it| it == 1.0).await;
    let ready = server.http().get(format!("{}/readyz", server.endpoint())).send().await.expect("answered");
    assert_eq!(ready.status(), 200);
    let text = ready.text().await.expect("text");
    assert!(text.contains(&format!("backup destination: {} has no file ", backups.display())), "{text}");
    std::fs::remove_dir(&backups).expect("removed");
    std::fs::rename(&away, &backups).expect("moved back");
    shows(&server, incomplete, |it| it == 0.0).await;
    shows(&server, unprotected, |it| it == 0.0).await;
}

/// `KeysteadNotReady` and `KeysteadAuditRefuses`: no file of the server may grow any more, and then it may again.
#[tokio::test]
async fn a_server_that_cannot_record_shows_that_it_refuses_and_is_not_ready() {
    let place = Place::new();
    // Without the signal a write past the limit is an error.
    let words = ["-c", "trap '' XFSZ; exec \"$@\"", "sh", BINARY];
    let server =
        KmsServer::start_as(Path::new("sh"), &words, &place.path("data"), &[]).await.expect("started");
    shows(&server, "keystead_server_ready", |it| it == 1.0).await;
    shows(&server, "keystead_audit_state", |it| it == 0.0).await;

    let pid = Pid::from_raw(server.pid().try_into().expect("a process id"));
    let nothing = Rlimit { current: Some(1), maximum: None };
    let before = prlimit(pid, Resource::Fsize, nothing).expect("limited");
    let project = json!({"projectId": "alert-project", "name": "alert-project"});
    let (status, answer) = server.call(Method::POST, "/v1/projects", Some(&project)).await.expect("answered");
    assert_ne!(status, 200, "{answer}");
    shows(&server, "keystead_audit_state", |it| it >= 2.0).await;
    shows(&server, "keystead_server_ready", |it| it == 0.0).await;

    prlimit(pid, Resource::Fsize, before).expect("as before");
    shows(&server, "keystead_audit_state", |it| it == 0.0).await;
    shows(&server, "keystead_server_ready", |it| it == 1.0).await;
}

/// `KeysteadDatabaseNotWritable`: another program holds the database's lock, and lets go of it. Calls that change nothing go on, and
/// nobody has to call for the server to see that it can write again.
#[tokio::test]
async fn p8_a_database_that_cannot_be_written_is_told_until_it_can() {
    let place = Place::new();
    let data = place.path("data");
    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    let key = key_with_one_version(&server).await;
    shows(&server, "keystead_server_database_writable", |it| it == 1.0).await;

    let other = rusqlite::Connection::open(data.join("keystead.db")).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE").expect("it has the lock");
    shows(&server, "keystead_server_database_writable", |it| it == 1.0).await;
    let version = json!({});
    let versions = format!("{key}/cryptoKeyVersions");
    let (status, answer) = server.call(Method::POST, &versions, Some(&version)).await.expect("answered");
    assert_eq!(status, 503, "{answer}");
    shows(&server, "keystead_server_database_writable", |it| it == 0.0).await;
    shows(&server, "keystead_server_ready", |it| it == 0.0).await;
    let said = not_ready(&server).await;
    assert!(said.contains("store: changes are refused: ") && said.contains("has it locked"), "{said}");
    server.ok(Method::GET, &key, None).await.expect("reads go on");

    other.execute_batch("ROLLBACK").expect("it lets go");
    shows(&server, "keystead_server_database_writable", |it| it == 1.0).await;
    shows(&server, "keystead_server_ready", |it| it == 1.0).await;
    server.ok(Method::POST, &versions, Some(&version)).await.expect("made");
}

/// `KeysteadDatabaseDisplaced`: the files of the database are moved away, then an older copy is put in their place, then they are
/// brought back.
#[tokio::test]
async fn p8_a_database_that_was_removed_or_replaced_is_told_and_not_changed() {
    let place = Place::new();
    let data = place.path("data");
    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    let key = key_with_one_version(&server).await;
    let encrypt = format!("{key}:encrypt");
    let plaintext = json!({"plaintext": "aGVsbG8="});
    server.ok(Method::POST, &encrypt, Some(&plaintext)).await.expect("encrypted");
    shows(&server, "keystead_server_database_displaced", |it| it == 0.0).await;

    let names = ["keystead.db", "keystead.db-wal", "keystead.db-shm"];
    let away = place.path("away");
    std::fs::create_dir(&away).expect("made");
    names.iter().for_each(|it| std::fs::rename(data.join(it), away.join(it)).expect("moved"));
    let (status, answer) = server
        .call(Method::POST, &format!("{key}/cryptoKeyVersions"), Some(&json!({})))
        .await
        .expect("answered");
    assert_eq!(status, 503, "{answer}");
    assert!(answer.to_string().contains("were removed or replaced while it runs"), "{answer}");
    shows(&server, "keystead_server_database_displaced", |it| it == 1.0).await;
    shows(&server, "keystead_server_database_writable", |it| it == 0.0).await;
    let said = not_ready(&server).await;
    assert!(said.contains("keystead.db was removed while the server has it open"), "{said}");
    server.ok(Method::POST, &encrypt, Some(&plaintext)).await.expect("what changes nothing goes on");

    std::fs::copy(away.join("keystead.db"), data.join("keystead.db")).expect("copied");
    let replaced = tokio::time::timeout(PATIENCE, async {
        while !not_ready(&server).await.contains("keystead.db was replaced") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    replaced.await.expect("told");

    names.iter().for_each(|it| std::fs::rename(away.join(it), data.join(it)).expect("moved back"));
    shows(&server, "keystead_server_database_displaced", |it| it == 0.0).await;
    shows(&server, "keystead_server_ready", |it| it == 1.0).await;
    server.ok(Method::POST, &format!("{key}/cryptoKeyVersions"), Some(&json!({}))).await.expect("made");
    assert_eq!(server.stop().await.expect("stopped"), 0);
    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    server.ok(Method::GET, &format!("{key}/cryptoKeyVersions/2"), None).await.expect("it is there");
}

/// `KeysteadRootKeyUnusable`: the file of the root key is moved away and brought back. Calls go on.
#[tokio::test]
async fn a_root_key_that_is_gone_is_told_until_it_is_back() {
    let place = Place::new();
    let data = place.path("data");
    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    let usable = "keystead_server_root_key_usable";
    shows(&server, usable, |it| it == 1.0).await;
    let (file, away) = (data.join("root/root-key"), place.path("away"));
    std::fs::rename(&file, &away).expect("moved");
    shows(&server, usable, |it| it == 0.0).await;
    let said = ready(&server).await;
    let wanted = "root key: goes on with the last good one, could not start again: ";
    assert!(said.contains(wanted) && said.contains("root-key"), "{said}");
    key_with_one_version(&server).await;
    std::fs::rename(&away, &file).expect("moved back");
    shows(&server, usable, |it| it == 1.0).await;
    assert!(!ready(&server).await.contains("root key: "));
}

/// `KeysteadFileRefused`: each file turns bad, becomes good, vanishes and comes back. The server stays ready.
#[tokio::test]
async fn files_that_turn_bad_are_told_until_they_are_good() {
    let place = Place::new();
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    let authority = params.self_signed(&key).expect("signed").pem();
    let groups = "ops@example.com: [user:alice@example.com]\n";
    let files = [("groups", "groups.yaml", groups), ("certificates", "clients.pem", authority.as_str())];
    let paths = files.map(|(_, name, good)| place.write(name, good));
    let paths = paths.each_ref().map(|path| path.to_str().expect("UTF-8"));
    let more = ["--groups-file", paths[0], "--tls-client-ca", paths[1]];
    let server = KmsServer::start_with(Path::new(BINARY), &place.path("data"), &more).await.expect("started");
    for (what, name, good) in files {
        let series = format!("keystead_server_file_refused{{file=\"{what}\"}}");
        shows(&server, &series, |it| it == 0.0).await;
        let wanted = format!("{what}: goes on with the last good ones, could not start again: ");
        let told = async || {
            shows(&server, &series, |it| it == 1.0).await;
            let said = ready(&server).await;
            assert!(said.contains(&wanted) && said.contains(name), "{said}");
        };
        place.write(name, "nothing of the kind");
        told().await;
        place.write(name, good);
        shows(&server, &series, |it| it == 0.0).await;
        assert!(!ready(&server).await.contains(&wanted));
        std::fs::rename(place.path(name), place.path("away")).expect("moved");
        told().await;
        std::fs::rename(place.path("away"), place.path(name)).expect("moved back");
        shows(&server, &series, |it| it == 0.0).await;
    }
}

/// `KeysteadConnectionsRefused`: a host opens connections until it has taken the places of one source, or all there are.
#[tokio::test]
async fn connections_past_the_places_of_a_source_and_of_all_are_counted() {
    for (total, per_source, reason) in
        [("99", "4", "too_many_from_one_source"), ("4", "4", "too_many_connections")]
    {
        let place = Place::new();
        let unknown = "--max-unknown-connections-per-source";
        let more = ["--max-connections", total, "--max-connections-per-source", per_source, unknown, "4"];
        let server =
            KmsServer::start_with(Path::new(BINARY), &place.path("data"), &more).await.expect("started");
        let series = format!("keystead_server_connections_refused_total{{reason=\"{reason}\"}}");
        // Over a connection that stays open, and so has its place.
        shows(&server, &series, |it| it == 0.0).await;
        let address = server.endpoint().strip_prefix("https://").expect("an address");
        let mut open = Vec::new();
        for _ in 0..6 {
            // One that has no place may be gone before it is known here.
            open.push(tokio::net::TcpStream::connect(address).await);
        }
        shows(&server, &series, |it| it > 0.0).await;
        drop(open);
    }
}

/// `KeysteadCertificateEnds`: a certificate that somebody gave and that nobody renewed.
#[tokio::test]
async fn the_end_of_a_given_certificate_is_shown() {
    let place = Place::new();
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("parameters");
    let end = SystemTime::now() + Duration::from_secs(13 * 86_400);
    params.not_after = end.into();
    let certificate = params.self_signed(&key).expect("signed");
    let certificate_file = place.write("given.pem", certificate.pem());
    let key_file = place.write("given.key", key.serialize_pem());
    std::fs::set_permissions(&key_file, Permissions::from_mode(0o600)).expect("private");

    let (data, log) = (place.path("data"), place.path("log"));
    let mut args: Vec<OsString> =
        ["--listen", "127.0.0.1:0", "--plain-http", "127.0.0.1:0"].map(Into::into).into();
    args.extend(["--data-dir".into(), data.clone().into()]);
    args.extend(["--tls-certificate".into(), certificate_file.into(), "--tls-key".into(), key_file.into()]);
    let mut process = Process::spawn(Path::new(BINARY), &args, &log).await.expect("started");
    let endpoint = data.join("endpoint.json");
    crate::polite::until(|| endpoint.exists()).await;
    let endpoint: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&endpoint).expect("read")).expect("JSON");
    let url = format!("http://{}/metrics", endpoint["plainHttp"][0].as_str().expect("a text"));
    let series = "keystead_server_certificate_expiry_seconds{certificate=\"server\"}";
    let client = reqwest::Client::new();
    let shown = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(answer) = client.get(&url).send().await {
                let page = answer.text().await.expect("text");
                if let Some(value) = value_in(&page, series).filter(|it| *it > 0.0) {
                    return value;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    let shown = shown.await.unwrap_or_else(|_| panic!("not shown: {}", process.tail()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(shown - now < 14.0 * 86_400.0 && shown - now > 12.0 * 86_400.0, "{shown}");
    assert_eq!(process.stop(PATIENCE).await.expect("ended"), 0);
}

/// `KeysteadAuditDamaged`: the newest record, which the root directory may know, and one before it are no records any more.
#[tokio::test]
async fn a_server_starts_with_a_damaged_audit_log_and_shows_it() {
    let place = Place::new();
    let data = place.path("data");
    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    server.create_project("alert-project").await.expect("a project");
    assert_eq!(value(&server, "keystead_audit_damaged").await, 0.0);
    assert_eq!(server.stop().await.expect("stopped"), 0);
    let segment = data.join("audit/audit-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&segment).expect("readable");
    let mut lines: Vec<&str> = text.lines().collect();
    let newest = lines.pop().expect("a record").to_uppercase();
    assert!(lines.len() > 1, "{text}");
    lines.push(&newest);
    lines[0] = "{\"sequence\":1,";
    std::fs::write(&segment, format!("{}\n", lines.join("\n"))).expect("writable");

    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    assert_eq!(value(&server, "keystead_audit_damaged").await, 2.0);
    shows(&server, "keystead_server_ready", |it| it == 1.0).await;
    assert_eq!(server.stop().await.expect("stopped"), 0);
    let text = std::fs::read_to_string(&segment).expect("readable");
    assert!(text.contains("\"@type\":\"keystead.audit.Damaged\",\"lines\":1,"), "{text}");
}

/// `KeysteadAuditDamaged` too: the segment in use is removed under the running server. What is recorded later is in a file that is
/// there, and a server starts on it again.
#[tokio::test]
async fn a_server_goes_on_in_a_new_segment_when_its_audit_log_is_removed() {
    let place = Place::new();
    let data = place.path("data");
    let server = KmsServer::start(Path::new(BINARY), &data).await.expect("started");
    let key = key_with_one_version(&server).await;
    assert_eq!(value(&server, "keystead_audit_damaged").await, 0.0);
    let first = "audit-00000000000000000001.jsonl";
    std::fs::remove_file(data.join("audit").join(first)).expect("removed");
    shows(&server, "keystead_audit_damaged", |it| it == 1.0).await;
    let encrypt = format!("{key}:encrypt");
    server.ok(Method::POST, &encrypt, Some(&json!({"plaintext": "aGVsbG8="}))).await.expect("encrypted");
    assert_eq!(server.stop().await.expect("stopped"), 0);
    let entries =
        std::fs::read_dir(data.join("audit")).expect("listed").map(|it| it.expect("an entry").path());
    let segments: Vec<_> = entries.filter(|it| it.extension().is_some_and(|it| it == "jsonl")).collect();
    assert_eq!(segments.len(), 1, "{segments:?}");
    let text = std::fs::read_to_string(&segments[0]).expect("readable");
    let damaged =
        format!("\"@type\":\"keystead.audit.Damaged\",\"segment\":\"{first}\",\"firstSequence\":1,");
    assert!(text.lines().next().is_some_and(|it| it.contains(&damaged)), "{text}");
    assert!(text.contains("\"methodName\":\"Encrypt\""), "{text}");
    KmsServer::start(Path::new(BINARY), &data).await.expect("started again");
}

/// `KeysteadAuditExportBehind`: the directory of an export is missing, and then it is there.
#[tokio::test]
async fn an_export_that_fails_shows_its_lag_and_its_failures() {
    let place = Place::new();
    let missing = place.path("not-mounted");
    let config = format!(
        "audit:\n  exports:\n    - name: copy\n      file: {}\n",
        missing.join("copy.jsonl").display()
    );
    let config = place.write("config.yaml", config);
    let more = ["--config", config.to_str().expect("UTF-8")];
    let server = KmsServer::start_with(Path::new(BINARY), &place.path("data"), &more).await.expect("started");
    server.create_project("alert-project").await.expect("a project");
    shows(&server, "keystead_audit_export_lag{export=\"copy\"}", |it| it > 0.0).await;
    shows(&server, "keystead_audit_export_failures_total{export=\"copy\"}", |it| it > 0.0).await;
    std::fs::create_dir(&missing).expect("made");
    shows(&server, "keystead_audit_export_lag{export=\"copy\"}", |it| it == 0.0).await;
}

/// What a server says that is ready.
async fn ready(server: &KmsServer) -> String {
    let ready = server.http().get(format!("{}/readyz", server.endpoint())).send().await.expect("answered");
    assert_eq!(ready.status(), 200);
    ready.text().await.expect("text")
}

/// What a server says that is not ready.
async fn not_ready(server: &KmsServer) -> String {
    let ready = server.http().get(format!("{}/readyz", server.endpoint())).send().await.expect("answered");
    assert_eq!(ready.status(), 503);
    ready.text().await.expect("text")
}

/// Waits until one series of a running server is as it should be.
pub(crate) async fn shows(server: &KmsServer, series: &str, wanted: impl Fn(f64) -> bool) {
    let shown = tokio::time::timeout(PATIENCE, async {
        while !wanted(value(server, series).await) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    if shown.await.is_err() {
        panic!("{series} is {}", value(server, series).await);
    }
}

/// Makes a key whose version 1 is its only one, and gives the key's path.
pub(crate) async fn key_with_one_version(server: &KmsServer) -> String {
    server.create_project("alert-project").await.expect("a project");
    let rings = "/v1/projects/alert-project/locations/global/keyRings";
    server.ok(Method::POST, &format!("{rings}?keyRingId=r"), Some(&json!({}))).await.expect("a ring");
    let keys = format!("{rings}/r/cryptoKeys");
    let key = json!({"purpose": "ENCRYPT_DECRYPT", "destroyScheduledDuration": "86400s"});
    server.ok(Method::POST, &format!("{keys}?cryptoKeyId=k"), Some(&key)).await.expect("a key");
    format!("{keys}/k")
}

/// What one series of a running server shows.
pub(crate) async fn value(server: &KmsServer, series: &str) -> f64 {
    let sent = server.http().get(format!("{}/metrics", server.endpoint())).send().await;
    let page = sent.expect("answered").text().await.expect("text");
    value_in(&page, series).unwrap_or_else(|| panic!("{series} is not in\n{page}"))
}

fn value_in(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

fn words(expr: &str) -> impl Iterator<Item = &str> {
    expr.split(|it: char| !it.is_ascii_alphanumeric() && it != '_').filter(|it| !it.is_empty())
}
