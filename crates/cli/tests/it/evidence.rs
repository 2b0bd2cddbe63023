//! `keystead cluster evidence`, and what `verify --evidence` refuses before it looks at anything.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use keystead_cluster::evidence::{Evidence, PromisedBy, Verification, signed};
use keystead_cluster::rollout::Observed;
use keystead_crypto::SigningKey;

use crate::{keystead, stderr, stdout};

fn run(directory: &Path, args: &[&str]) -> Output {
    keystead().current_dir(directory).args(["cluster", "evidence"]).args(args).output().expect("runs")
}

/// A key in `key`, its public half in `evidence.pem`, and what it signed in `evidence.jsonl`.
fn scene(findings: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let made = run(directory.path(), &["create-key", "key", "--public-key", "evidence.pem"]);
    assert!(made.status.success(), "{}", stderr(&made));
    write(directory.path(), findings);
    directory
}

fn write(directory: &Path, findings: &[&str]) {
    let found = Verification {
        cluster: "uid-1".into(),
        promise: "enable encryption with kms:v2:keystead".into(),
        promised_by: PromisedBy::Rollout,
        findings: findings.iter().map(|it| (*it).to_owned()).collect(),
    };
    let time = "2026-01-31T12:00:00Z".parse().expect("a time");
    let evidence =
        Evidence::new(time, "keystead 0.0.0".into(), found, &Observed::default(), &BTreeMap::new());
    let key = fs::read(directory.join("key")).expect("a key");
    let text = signed::sign(evidence, &SigningKey::from_pem(&key).expect("a key")).expect("signed");
    fs::write(directory.join("evidence.jsonl"), text).expect("written");
}

fn check(directory: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let output =
        run(directory, &[&["check", "evidence.jsonl", "--public-key", "evidence.pem"], more].concat());
    (output.status.code(), stdout(&output), stderr(&output))
}

#[test]
fn a_key_is_made_once_and_what_it_signs_is_checked() {
    let directory = scene(&[]);
    let path = directory.path();
    let mode = path.join("key").metadata().expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = run(path, &["create-key", "key", "--public-key", "other.pem"]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    let again = run(path, &["create-key", "other", "--public-key", "evidence.pem"]);
    assert_eq!(again.status.code(), Some(1), "{}", stderr(&again));
    assert!(!path.join("other.pem").exists() && !path.join("other").exists(), "half a pair was left");

    let (code, out, err) = check(path, &["--cluster", "uid-1"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("genuine: signed by SHA256:") && out.contains("it held"), "{out}");
    let (code, out, err) = check(path, &["--format", "json"]);
    assert_eq!(code, Some(0), "{err}");
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&report["cluster"], &report["holds"]), (&"uid-1".into(), &true.into()));
    let (code, _, err) = check(path, &["--cluster", "uid-2"]);
    assert_eq!(code, Some(6), "{err}");
    assert!(err.contains("of another cluster"), "{err}");
}

#[test]
fn what_is_not_as_it_was_signed_proves_nothing() {
    let directory = scene(&["2 secrets are stored as identity"]);
    let path = directory.path();
    let (code, out, err) = check(path, &[]);
    assert_eq!(code, Some(6), "{err}");
    assert!(out.contains("broken: 2 secrets") && err.contains("genuine"), "{out}{err}");

    let text = fs::read_to_string(path.join("evidence.jsonl")).expect("text");
    for (changed, code, why) in [
        (text.replace("2 secrets", "1 secrets"), 6, "changed after it was signed"),
        (text.replace("\"format\":1", "\"format\":9"), 1, "its format is 9"),
        (text[..text.len() - 40].to_owned(), 6, "cut off"),
        ("nothing\n".to_owned(), 6, "no evidence of keystead"),
    ] {
        fs::write(path.join("evidence.jsonl"), &changed).expect("written");
        let (found, out, err) = check(path, &[]);
        assert_eq!(found, Some(code), "{changed}: {err}");
        assert!(err.contains(why) && out.is_empty(), "{changed}: {out}{err}");
    }
    fs::write(path.join("evidence.jsonl"), text).expect("written");
    let other = run(path, &["create-key", "other", "--public-key", "other.pem"]);
    assert!(other.status.success(), "{}", stderr(&other));
    let other = run(path, &["check", "evidence.jsonl", "--public-key", "other.pem"]);
    assert_eq!(other.status.code(), Some(6), "{}", stderr(&other));
    assert!(stderr(&other).contains("and the key that was given is SHA256:"), "{}", stderr(&other));
    // The point of order 1: a signature of nothing fits it, whatever the report says.
    let weak = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n-----END PUBLIC KEY-----\n";
    fs::write(path.join("weak.pem"), weak).expect("written");
    let weak = run(path, &["check", "evidence.jsonl", "--public-key", "weak.pem"]);
    assert_eq!(weak.status.code(), Some(2), "{}", stderr(&weak));
    assert!(stderr(&weak).contains("of small order"), "{}", stderr(&weak));
    let none = run(path, &["check", "evidence.jsonl", "--public-key", "evidence.jsonl"]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
}

/// As the page on the format says: without any program of ours.
#[test]
fn openssl_and_jq_check_a_report() {
    let page = include_str!("../../../../docs/formats/evidence.md");
    let (_, rest) = page.split_once("```sh\n").expect("the page has a script");
    let (script, _) = rest.split_once("```").expect("an end");
    let directory = scene(&[]);
    let run = || {
        let output =
            Command::new("sh").args(["-c", script]).current_dir(&directory).output().expect("sh runs");
        (output.status.success(), format!("{}{}", stdout(&output), stderr(&output)))
    };
    let (good, said) = run();
    assert!(good, "{said}");
    let path = directory.path().join("evidence.jsonl");
    let text = fs::read_to_string(&path).expect("text");
    for changed in [text.replace("uid-1", "uid-2"), format!("{text}\n"), text.trim_end().to_owned()] {
        fs::write(&path, changed).expect("written");
        let (good, said) = run();
        assert!(!good, "{said}");
    }
    // Genuine, and not what was promised.
    write(directory.path(), &["one"]);
    let (good, said) = run();
    assert!(!good && said.contains("Signature Verified Successfully"), "{said}");
    // A key of OpenSSL's own making signs too.
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "ed25519", "-out"])
        .arg(directory.path().join("key"))
        .output()
        .expect("openssl runs");
    assert!(made.status.success(), "{}", stderr(&made));
    let public = "openssl pkey -in key -pubout -out evidence.pem";
    Command::new("sh").args(["-c", public]).current_dir(&directory).status().expect("sh runs");
    write(directory.path(), &[]);
    let (code, _, err) = check(directory.path(), &[]);
    assert_eq!(code, Some(0), "{err}");
    let (good, said) = run();
    assert!(good, "{said}");
}

/// No cluster is there: it would be unreachable, with another exit code.
#[test]
fn evidence_that_could_not_be_written_is_refused_before_anything_is_looked_at() {
    let directory = scene(&[]);
    let path = directory.path();
    let verify = |args: &[&str]| {
        let mut command = keystead();
        command.current_dir(path).args(["cluster", "verify", "--kubeconfig", "none"]).args(args);
        let output = command.output().expect("runs");
        (output.status.code(), stderr(&output))
    };
    let before = fs::read(path.join("evidence.jsonl")).expect("bytes");
    let (code, err) = verify(&["--evidence", "evidence.jsonl", "--signing-key", "key"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("exists already") && err.contains("--replace"), "{err}");
    assert_eq!(fs::read(path.join("evidence.jsonl")).expect("bytes"), before);
    let (code, err) = verify(&["--evidence", "no/where", "--signing-key", "key"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("there is no directory no"), "{err}");
    let (code, err) = verify(&["--evidence", "new", "--signing-key", "evidence.pem"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("others can read"), "{err}");
    fs::set_permissions(path.join("evidence.pem"), fs::Permissions::from_mode(0o600)).expect("a mode");
    let (code, err) = verify(&["--evidence", "new", "--signing-key", "evidence.pem"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("not an Ed25519 private key"), "{err}");
    let (code, err) = verify(&["--evidence", "new"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("--signing-key"), "{err}");
    assert!(!path.join("new").exists());
}
