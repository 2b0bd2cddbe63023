//! The real gcloud and `keystead` with the same words against the same server: what they print must be the same.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::scene::{LOCATION, Scene, split};
use crate::{stderr, stdout};

/// Whether a line of a story works, and whether what it prints is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Expect {
    /// Exit 0 and the same on standard output.
    Same,
    /// Both refuse; the code is that of `keystead`, as gcloud has only one.
    Refused(i32),
}
use Expect::{Refused, Same};

impl Scene {
    fn gcloud(&self, words: &str) -> Output {
        let program =
            std::env::var_os("KEYSTEAD_GCLOUD").map_or_else(|| PathBuf::from("gcloud"), PathBuf::from);
        self.command(Command::new(program), "of-gcloud").args(split(words)).output().expect("gcloud runs")
    }

    /// Tells a story twice, each in a project of its own, and compares what was printed.
    fn compare(&self, story: &[(&str, Expect)]) {
        for (words, expect) in story {
            let words = words.replace("LOC", LOCATION);
            let theirs = self.gcloud(&words.replace("PROJECT", "of-gcloud"));
            let ours = self.keystead(&words.replace("PROJECT", "of-keystead"));
            let both = format!("{words}\ngcloud: {}\nkeystead: {}", stderr(&theirs), stderr(&ours));
            match expect {
                Same => {
                    assert!(theirs.status.success() && ours.status.success(), "{both}");
                    assert_eq!(without_chance(&stdout(&ours)), without_chance(&stdout(&theirs)), "{both}");
                }
                Refused(code) => {
                    assert!(!theirs.status.success(), "{both}");
                    assert_eq!(ours.status.code(), Some(*code), "{both}");
                    assert_eq!((stdout(&theirs), stdout(&ours)), (String::new(), String::new()), "{both}");
                }
            }
        }
    }
}

/// What differs between two runs by chance or by project has the same name here: times, etags, long numbers, projects.
fn without_chance(text: &str) -> String {
    let mut names: HashMap<String, usize> = HashMap::new();
    let lines = text.lines().map(|line| {
        if line.trim_start().trim_start_matches('"').starts_with("etag") {
            return "etag".to_owned();
        }
        let mut out = String::new();
        for part in line.split_inclusive(|it: char| !(it.is_alphanumeric() || "-:.".contains(it))) {
            let end = part.trim_end_matches(|it: char| !(it.is_alphanumeric() || "-:.".contains(it)));
            let rest = &part[end.len()..];
            let is_time = end.parse::<jiff::Timestamp>().is_ok();
            let is_number = end.len() >= 8 && end.chars().all(|it| it.is_ascii_hexdigit());
            if is_time {
                out.push_str("TIME");
            } else if is_number {
                let next = names.len();
                out.push_str(&format!("ID{}", names.entry(end.to_owned()).or_insert(next)));
            } else {
                out.push_str(&end.replace("of-gcloud", "PROJECT").replace("of-keystead", "PROJECT"));
            }
            out.push_str(rest);
        }
        // Columns are as wide as the longest cell, and the projects' names are not equally long.
        out.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect::<Vec<_>>().join("  ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c2_keyrings_as_gcloud() {
    let scene = Scene::new().await;
    scene.compare(&[
        ("kms keyrings list --location LOC", Same),
        ("kms keyrings create ring --location LOC --project PROJECT", Same),
        ("kms keyrings create ring --location LOC", Refused(1)),
        ("kms keyrings create other --location LOC --format json", Same),
        ("kms keyrings create bad!name --location LOC", Refused(1)),
        ("kms keyrings create ring --location nowhere-at-all", Refused(1)),
        ("kms keyrings list --location LOC", Same),
        ("kms keyrings list --location LOC --format json --sort-by ~name", Same),
        ("kms keyrings list --location LOC --format value(name.basename()) --filter name:other --limit 5", Same),
        ("kms keyrings list --location LOC --page-size 1 --format value(name)", Same),
        ("kms keyrings describe ring --location LOC", Same),
        ("kms keyrings describe nothere --location LOC", Refused(1)),
        ("kms keyrings describe projects/PROJECT/locations/LOC/keyRings/ring --format value(name)", Same),
        ("kms keyrings get-iam-policy ring --location LOC", Same),
        (
            "kms keyrings add-iam-policy-binding ring --location LOC --member user:a@example.com --role roles/cloudkms.viewer",
            Same,
        ),
        (
            "kms keyrings remove-iam-policy-binding ring --location LOC --member user:a@example.com --role roles/cloudkms.viewer",
            Same,
        ),
        (
            "kms keyrings remove-iam-policy-binding ring --location LOC --member user:a@example.com --role roles/cloudkms.viewer",
            Refused(1),
        ),
        ("kms locations list --format value(locationId)", Same),
        ("kms locations list", Same),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c3_keys_as_gcloud() {
    let scene = Scene::new().await;
    scene.compare(&[
        ("kms keyrings create ring --location LOC", Same),
        ("kms keys list --location LOC --keyring ring", Same),
        ("kms keys create key --location LOC --keyring ring --purpose encryption --project PROJECT", Same),
        ("kms keys create key --location LOC --keyring ring --purpose encryption", Refused(1)),
        (
            "kms keys create turning --location LOC --keyring ring --purpose encryption --rotation-period 90d \
             --next-rotation-time +p30d --labels team=infra,env=prod --destroy-scheduled-duration 25h",
            Same,
        ),
        (
            "kms keys create empty --location LOC --keyring ring --purpose encryption --skip-initial-version-creation \
             --format value(name,purpose)",
            Same,
        ),
        ("kms keys create hard --location LOC --keyring ring --purpose encryption --protection-level hsm", Refused(1)),
        ("kms keys create key2 --location LOC --keyring ring --purpose encryption --rotation-period 1h", Refused(2)),
        ("kms keys create key2 --location LOC --keyring ring", Refused(2)),
        ("kms keys list --location LOC --keyring ring", Same),
        ("kms keys list --location LOC --keyring ring --filter labels.team=infra --format json(name,labels)", Same),
        ("kms keys list --location LOC --keyring ring --filter 'NOT primary:*' --format value(name.basename())", Same),
        ("kms keys describe turning --location LOC --keyring ring --format yaml(name,labels,rotationPeriod)", Same),
        ("kms keys describe key --location LOC --keyring ring", Same),
        ("kms keys describe nothere --location LOC --keyring ring", Refused(1)),
        ("kms keys update turning --location LOC --keyring ring --update-labels x=y --remove-labels env", Same),
        ("kms keys describe turning --location LOC --keyring ring --format value(labels)", Same),
        ("kms keys update turning --location LOC --keyring ring --remove-rotation-schedule", Same),
        ("kms keys describe turning --location LOC --keyring ring", Same),
        (
            "kms keys set-rotation-schedule key --location LOC --keyring ring --rotation-period 30d \
             --next-rotation-time 2040-12-01T00:00:00Z",
            Same,
        ),
        ("kms keys describe key --location LOC --keyring ring --format value(rotationPeriod,nextRotationTime)", Same),
        ("kms keys remove-rotation-schedule key --location LOC --keyring ring", Same),
        ("kms keys update key --location LOC --keyring ring", Refused(2)),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c4_projects_and_services_as_gcloud() {
    let scene = Scene::new().await;
    scene.compare(&[
        ("projects describe PROJECT --format=value(projectNumber)", Same),
        ("projects describe PROJECT", Same),
        ("projects describe PROJECT --format json", Same),
        ("projects describe no-such-project", Refused(1)),
        ("projects list --filter projectId=PROJECT --format value(projectId)", Same),
        ("services list --filter config.name=cloudkms.googleapis.com", Same),
        ("services disable cloudkms.googleapis.com", Same),
        ("kms keyrings list --location LOC", Refused(5)),
        ("services enable cloudkms.googleapis.com", Same),
        ("services enable cloudkms.googleapis.com container.googleapis.com", Same),
        ("kms keyrings list --location LOC", Same),
        ("projects get-iam-policy PROJECT", Same),
        ("projects add-iam-policy-binding PROJECT --member user:a@example.com --role roles/viewer", Same),
        ("projects remove-iam-policy-binding PROJECT --member user:a@example.com --role roles/viewer", Same),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c5_grants_as_gcloud() {
    let scene = Scene::new().await;
    let policy = "bindings:\n- members:\n  - user:z@example.com\n  role: roles/cloudkms.viewer\n";
    std::fs::write(scene.path().join("policy.yaml"), policy).expect("writes");
    scene.compare(&[
        ("kms keyrings create ring --location LOC", Same),
        ("kms keys create key --location LOC --keyring ring --purpose encryption", Same),
        ("kms keys get-iam-policy key --location LOC --keyring ring", Same),
        (
            "kms keys add-iam-policy-binding key --location LOC --keyring ring --member \
             serviceAccount:service-1@container-engine-robot.iam.gserviceaccount.com \
             --role roles/cloudkms.cryptoKeyEncrypterDecrypter --project PROJECT",
            Same,
        ),
        (
            "kms keys get-iam-policy key --location LOC --keyring ring --flatten bindings[].members \
             --format table(bindings.role,bindings.members)",
            Same,
        ),
        (
            "kms keys add-iam-policy-binding key --location LOC --keyring ring --member user:x@example.com \
             --role roles/cloudkms.viewer --condition 'expression=request.time < timestamp(\"2040-01-01T00:00:00Z\"),title=t'",
            Same,
        ),
        (
            "kms keys add-iam-policy-binding key --location LOC --keyring ring --member user:y@example.com \
             --role roles/cloudkms.viewer",
            Refused(1),
        ),
        (
            "kms keys remove-iam-policy-binding key --location LOC --keyring ring --member user:x@example.com \
             --role roles/cloudkms.viewer --all",
            Same,
        ),
        (
            "kms keys add-iam-policy-binding key --location LOC --keyring ring --member user:x@example.com \
             --role roles/no.such.role",
            Refused(1),
        ),
        (
            "kms keys add-iam-policy-binding key --location LOC --keyring ring --member allUsers \
             --role roles/cloudkms.viewer",
            Refused(1),
        ),
        ("kms keys set-iam-policy key policy.yaml --location LOC --keyring ring", Same),
        ("kms keys get-iam-policy key --location LOC --keyring ring --format json", Same),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c6_c8_c9_clusters_as_gcloud() {
    let scene = Scene::new().await;
    let key = "projects/PROJECT/locations/LOC/keyRings/ring/cryptoKeys/nothere";
    scene.compare(&[
        ("container clusters list", Refused(5)),
        ("services enable container.googleapis.com", Same),
        ("container clusters list", Same),
        ("container clusters create prod-a --async --region LOC --format value(name,status)", Same),
        (
            "container clusters create prod-b --async --zone LOC-a --labels a=b --format value(name,zone)",
            Same,
        ),
        ("container clusters create prod-a --async --region LOC", Refused(1)),
        ("container clusters create prod-c --async --region nowhere-at-all", Refused(1)),
        (
            &format!("container clusters create prod-c --async --region LOC --database-encryption-key {key}"),
            Refused(1),
        ),
        ("container clusters list", Same),
        ("container clusters list --zone LOC-a --format value(name,resourceLabels.a)", Same),
        ("container clusters list --format value(name) --filter status=PROVISIONING --limit 1", Same),
        ("container clusters describe prod-a --region LOC --format value(databaseEncryption)", Same),
        ("container clusters describe nothere --region LOC", Refused(1)),
        ("container clusters update prod-a --region LOC --disable-database-encryption", Refused(1)),
        ("container clusters update prod-a --region LOC --update-labels a=b", Refused(1)),
        ("container clusters delete prod-a --region LOC --quiet", Refused(1)),
        ("container operations list --format value(operationType,targetLink.basename(),status)", Same),
        ("container operations describe operation-nothere --region LOC", Refused(1)),
        ("container get-server-config --region LOC", Same),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn c10_versions_and_ciphers_as_gcloud() {
    let scene = Scene::new().await;
    let of_key = "--location LOC --keyring ring --key key";
    let story = [
        "kms keyrings create ring --location LOC".to_owned(),
        "kms keys create key --location LOC --keyring ring --purpose encryption".to_owned(),
        format!("kms keys versions create {of_key} --primary --project PROJECT"),
        format!("kms keys versions create {of_key} --format json"),
        format!("kms keys versions list {of_key}"),
        format!("kms keys versions list {of_key} --filter state=ENABLED --format value(name.basename())"),
        format!("kms keys versions describe 2 {of_key}"),
        format!("kms keys versions disable 3 {of_key}"),
        format!("kms keys versions enable 3 {of_key}"),
        format!("kms keys versions update 3 {of_key} --state disabled"),
        format!("kms keys versions destroy 3 {of_key}"),
        format!("kms keys versions describe 3 {of_key} --format value(state)"),
        format!("kms keys versions restore 3 {of_key} --format value(state)"),
        "kms keys set-primary-version key --location LOC --keyring ring --version 1".to_owned(),
        "kms keys update key --location LOC --keyring ring --primary-version 2 --format value(primary.name)"
            .to_owned(),
        "kms keys list --location LOC --keyring ring".to_owned(),
    ];
    let story: Vec<(&str, Expect)> = story.iter().map(|it| (it.as_str(), Same)).collect();
    scene.compare(&story);
    let refused = format!("kms keys versions describe 9 {of_key}");
    scene.compare(&[(&refused, Refused(1))]);

    // What one encrypts, the other decrypts, with and without additional data.
    std::fs::write(scene.path().join("pt"), b"hello\xff\xfe??>>").expect("writes");
    std::fs::write(scene.path().join("aad"), b"aad").expect("writes");
    let key = format!("--key projects/of-gcloud/locations/{LOCATION}/keyRings/ring/cryptoKeys/key");
    for more in ["", "--additional-authenticated-data-file aad"] {
        let encrypt = format!("kms encrypt {key} --plaintext-file pt --ciphertext-file ct {more}");
        let decrypt = format!("kms decrypt {key} --ciphertext-file ct --plaintext-file out {more}");
        type Run = fn(&Scene, &str) -> Output;
        let (theirs, ours): (Run, Run) = (Scene::gcloud, Scene::keystead);
        for (first, second) in [(theirs, ours), (ours, theirs)] {
            for (run, words) in [(first, &encrypt), (second, &decrypt)] {
                let output = run(&scene, words);
                assert!(output.status.success(), "{words}: {}", stderr(&output));
            }
            assert_eq!(std::fs::read(scene.path().join("out")).expect("written"), b"hello\xff\xfe??>>");
        }
    }
    let disabled = format!("kms keys versions disable 2 {of_key}");
    let encrypt = format!("kms encrypt {of_key} --plaintext-file pt --ciphertext-file ct");
    scene.compare(&[(&disabled, Same), (&encrypt, Refused(1))]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs gcloud"]
async fn service_accounts_as_gcloud() {
    let scene = Scene::new().await;
    let account = "app-one@PROJECT.iam.gserviceaccount.com";
    let of_account = format!("--iam-account {account}");
    let story = [
        "iam service-accounts create app-one --display-name 'An app'".to_owned(),
        "iam service-accounts list --filter email:app-one@".to_owned(),
        format!("iam service-accounts describe {account} --format yaml(displayName,email,projectId,name)"),
        format!("iam service-accounts keys create PROJECT.json {of_account}"),
        format!("iam service-accounts keys list {of_account} --managed-by user"),
        format!("iam service-accounts disable {account}"),
        "iam service-accounts list --filter email:app-one@ --format value(disabled)".to_owned(),
        format!("iam service-accounts enable {account}"),
        format!("iam service-accounts get-iam-policy {account}"),
        format!(
            "iam service-accounts add-iam-policy-binding {account} --member user:a@example.com \
             --role roles/iam.serviceAccountAdmin"
        ),
        format!("iam service-accounts delete {account} --quiet"),
    ];
    let story: Vec<(&str, Expect)> = story.iter().map(|it| (it.as_str(), Same)).collect();
    scene.compare(&story);
    for project in ["of-gcloud", "of-keystead"] {
        let text = std::fs::read(scene.path().join(format!("{project}.json"))).expect("key file");
        let key: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(key["type"], "service_account");
        assert_eq!(key["client_email"], format!("app-one@{project}.iam.gserviceaccount.com"));
    }
}

#[test]
fn only_chance_is_taken_out_of_the_comparison() {
    let one = "NAME                    STATE\nprojects/of-gcloud/k/1  ENABLED\netag: BwX\ntime: '2026-11-01T10:00:00Z'\nn: '123456789012'";
    let same = one
        .replace("of-gcloud", "of-keystead")
        .replace("BwX", "AAA")
        .replace("2026-11", "2027-12")
        .replace("123456789012", "999999999999");
    assert_eq!(without_chance(one), without_chance(&same));
    for (from, to) in [("ENABLED", "DISABLED"), ("k/1", "k/2"), ("time", "when"), ("NAME", "NAMES")] {
        assert_ne!(without_chance(one), without_chance(&one.replace(from, to)), "{to}");
    }
    assert_eq!(split("a 'b c' --d='e f'"), ["a", "b c", "--d=e f"]);
}
