//! Encrypt and decrypt with files, the checks of what comes back, and secrets that are written once.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::recording::Recording;
use crate::{keystead, stderr, stdout};

const KEY: &str = "projects/p/locations/l1/keyRings/r1/cryptoKeys/k1";

fn run(answer: &Value, directory: &Path, words: &str) -> (Output, Recording) {
    let server = Recording::start(vec![(200, answer.clone())]);
    let output = keystead()
        .current_dir(directory)
        .args(words.split_whitespace())
        .args(["--endpoint", &server.endpoint])
        .output()
        .expect("runs");
    (output, server)
}

fn encrypted(ciphertext: &[u8]) -> Value {
    json!({"name": format!("{KEY}/cryptoKeyVersions/2"), "ciphertext": STANDARD.encode(ciphertext),
        "ciphertextCrc32c": crc32c::crc32c(ciphertext).to_string(), "verifiedPlaintextCrc32c": true,
        "verifiedAdditionalAuthenticatedDataCrc32c": true, "protectionLevel": "SOFTWARE"})
}

fn mode(file: &Path) -> u32 {
    std::fs::metadata(file).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn encrypt_sends_what_gcloud_sends_and_writes_the_ciphertext() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = directory.path();
    std::fs::write(at.join("pt"), b"hello\xff\xfe??>>").expect("writes");
    std::fs::write(at.join("aad"), b"aad").expect("writes");
    let words = format!("kms encrypt --key {KEY} --plaintext-file pt --ciphertext-file ct");
    let (output, server) = run(&encrypted(b"CT\x00"), at, &words);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read(at.join("ct")).expect("written"), b"CT\x00");
    // The checksums are those that the real gcloud sent for the same bytes.
    let request = &server.requests()[0];
    assert_eq!(request.line, format!("POST /v1/{KEY}:encrypt"));
    assert_eq!(
        request.body,
        json!({"plaintext": "aGVsbG///j8/Pj4=", "plaintextCrc32c": "892763992", "additionalAuthenticatedDataCrc32c": "0"})
    );
    let (output, server) =
        run(&encrypted(b"CT"), at, &format!("{words} --additional-authenticated-data-file aad"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.requests()[0].body["additionalAuthenticatedData"], "YWFk");
    assert_eq!(server.requests()[0].body["additionalAuthenticatedDataCrc32c"], "3597071301");
    let (output, server) = run(&encrypted(b"CT"), at, &format!("{words} --version 2"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.requests()[0].line, format!("POST /v1/{KEY}/cryptoKeyVersions/2:encrypt"));
    let (output, server) =
        run(&json!({"ciphertext": "Q1Q="}), at, &format!("{words} --skip-integrity-verification"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(server.requests()[0].body, json!({"plaintext": "aGVsbG///j8/Pj4="}));
}

#[test]
fn an_answer_that_does_not_fit_is_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("pt"), b"hello").expect("writes");
    let words = format!("kms encrypt --key {KEY} --plaintext-file pt --ciphertext-file ct");
    for (field, value) in [
        ("ciphertextCrc32c", json!("1")),
        ("ciphertextCrc32c", Value::Null),
        ("verifiedPlaintextCrc32c", json!(false)),
        ("verifiedAdditionalAuthenticatedDataCrc32c", Value::Null),
        ("name", json!("projects/p/locations/l1/keyRings/r1/cryptoKeys/other/cryptoKeyVersions/2")),
        ("ciphertext", json!("???")),
    ] {
        let mut answer = encrypted(b"CT");
        answer[field] = value;
        let (output, _) = run(&answer, directory.path(), &words);
        assert_eq!(output.status.code(), Some(6), "{field}: {}", stderr(&output));
        assert!(stderr(&output).contains("not to be trusted"), "{field}: {}", stderr(&output));
        assert!(!directory.path().join("ct").exists(), "{field}");
    }
    let words = format!("kms decrypt --key {KEY} --ciphertext-file pt --plaintext-file out");
    let (output, _) =
        run(&json!({"plaintext": "aGVsbG8=", "plaintextCrc32c": "1"}), directory.path(), &words);
    assert_eq!(output.status.code(), Some(6), "{}", stderr(&output));
    assert!(!directory.path().join("out").exists());
}

#[test]
fn decrypt_writes_for_the_owner_only() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = directory.path();
    std::fs::write(at.join("ct"), b"CThello").expect("writes");
    std::fs::write(at.join("open"), b"").expect("writes");
    std::fs::set_permissions(at.join("open"), std::fs::Permissions::from_mode(0o644)).expect("sets");
    let answer = json!({"plaintext": "aGVsbG8=", "plaintextCrc32c": crc32c::crc32c(b"hello").to_string()});
    for file in ["new", "open"] {
        let words = format!("kms decrypt --key {KEY} --ciphertext-file ct --plaintext-file {file}");
        let (output, server) = run(&answer, at, &words);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(std::fs::read(at.join(file)).expect("written"), b"hello");
        assert_eq!(mode(&at.join(file)), 0o600, "{file}");
        let body = &server.requests()[0].body;
        assert_eq!(body["ciphertextCrc32c"], "3664939412", "as gcloud computes it");
    }
    let words = format!("kms decrypt --key {KEY} --ciphertext-file ct --plaintext-file -");
    let (output, _) = run(&answer, at, &words);
    assert_eq!((stdout(&output).as_str(), stderr(&output).as_str()), ("hello", ""));
    let words = format!("kms decrypt --key {KEY} --ciphertext-file ct --plaintext-file empty");
    let (output, _) = run(&json!({"plaintextCrc32c": "0"}), at, &words);
    assert_eq!(stdout(&output), "Decrypted file is empty\n");
    assert_eq!(std::fs::read(at.join("empty")).expect("written"), b"");
}

#[test]
fn files_that_cannot_be_are_refused_before_anything_is_sent() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("long"), vec![0; 65_537]).expect("writes");
    let encrypt = format!("kms encrypt --key {KEY} --ciphertext-file ct --plaintext-file");
    for (words, code, reason) in [
        (format!("{encrypt} nofile"), 1, "cannot read nofile"),
        (format!("{encrypt} long"), 1, "longer than 65536 bytes"),
        (format!("{encrypt} - --additional-authenticated-data-file -"), 2, "only one of the files"),
        (
            format!("kms decrypt --key {KEY}/cryptoKeyVersions/1 --ciphertext-file long --plaintext-file -"),
            2,
            "full name",
        ),
    ] {
        let (output, server) = run(&json!({}), directory.path(), &words);
        assert_eq!(output.status.code(), Some(code), "{words}: {}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{words}: {}", stderr(&output));
        assert!(server.requests().is_empty(), "{words}");
    }
}

#[test]
fn secrets_are_written_once_and_for_the_owner_only() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = directory.path();
    let answer =
        json!({"token": {"id": "abc", "expireTime": "2027-01-01T00:00:00Z"}, "secret": "ks_abc_secret"});
    let create = "iam tokens create --principal user:a@example.com --expires-in 1d";
    let (output, _) = run(&answer, at, create);
    assert_eq!(stdout(&output), "ks_abc_secret\n", "{}", stderr(&output));
    assert!(!stderr(&output).contains("secret"), "{}", stderr(&output));
    let (output, _) = run(&answer, at, &format!("{create} --output-file token"));
    assert_eq!((stdout(&output).as_str(), mode(&at.join("token"))), ("", 0o600), "{}", stderr(&output));
    assert_eq!(std::fs::read(at.join("token")).expect("written"), b"ks_abc_secret\n");
    let (output, server) = run(&answer, at, &format!("{create} --output-file /nowhere/token"));
    assert_eq!(output.status.code(), Some(1));
    assert!(server.requests().is_empty(), "no token is made that nobody gets");

    let key = json!({"name": "projects/p/serviceAccounts/s@p.iam.gserviceaccount.com/keys/abc",
        "privateKeyData": STANDARD.encode(b"{\"type\":\"service_account\"}")});
    let words = "iam service-accounts keys create key.json --iam-account s@p.iam.gserviceaccount.com";
    let (output, server) = run(&key, at, words);
    assert_eq!(
        stderr(&output),
        "created key [abc] of type [json] as [key.json] for [s@p.iam.gserviceaccount.com]\n"
    );
    assert_eq!(server.requests()[0].body, json!({"privateKeyType": "TYPE_GOOGLE_CREDENTIALS_FILE"}));
    assert_eq!(std::fs::read(at.join("key.json")).expect("written"), b"{\"type\":\"service_account\"}");
    assert_eq!(mode(&at.join("key.json")), 0o600);
}

#[test]
fn a_secret_is_never_written_over_a_file_and_a_failure_leaves_nothing() {
    let token = "iam tokens create --principal user:a@example.com --expires-in 1d --output-file out";
    let key = "iam service-accounts keys create out --iam-account s@p.iam.gserviceaccount.com";
    for words in [token, key] {
        let directory = tempfile::tempdir().expect("temporary directory");
        let at = directory.path();
        // The answer holds no secret: the command fails after it has asked.
        let (output, server) = run(&json!({}), at, words);
        assert_eq!((output.status.code(), server.requests().len()), (Some(1), 1), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(at).expect("reads").count(), 0, "{words}");

        std::fs::write(at.join("out"), b"old").expect("writes");
        let (output, server) = run(&json!({}), at, words);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(stderr(&output).contains("exists already"), "{words}: {}", stderr(&output));
        assert!(server.requests().is_empty(), "{words}");
        assert_eq!(std::fs::read(at.join("out")).expect("reads"), b"old", "{words}");
    }
}

#[test]
fn an_output_file_is_replaced_whole_and_keeps_its_link_and_mode() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = directory.path();
    std::fs::write(at.join("pt"), b"hello").expect("writes");
    std::fs::write(at.join("real"), b"old").expect("writes");
    std::fs::set_permissions(at.join("real"), std::fs::Permissions::from_mode(0o640)).expect("sets");
    std::os::unix::fs::symlink("real", at.join("ct")).expect("links");
    // A second name of the old file keeps the old bytes only if the file was not written in place.
    std::fs::hard_link(at.join("real"), at.join("before")).expect("links");
    let words = format!("kms encrypt --key {KEY} --plaintext-file pt --ciphertext-file ct");
    let (output, _) = run(&encrypted(b"CT"), at, &words);
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(std::fs::read(at.join("real")).expect("reads"), b"CT");
    assert_eq!(std::fs::read(at.join("before")).expect("reads"), b"old");
    assert!(at.join("ct").symlink_metadata().expect("metadata").is_symlink());
    assert_eq!(mode(&at.join("real")), 0o640);
}

#[test]
fn a_disk_without_room_is_found_out_before_a_secret_is_made() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let server = Recording::start(vec![(200, json!({"token": {"id": "abc"}, "secret": "ks_abc_secret"}))]);
    // No file of this process may grow, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", script, env!("CARGO_BIN_EXE_keystead")]).current_dir(directory.path());
    command.args(["iam", "tokens", "create", "--principal", "user:a@example.com", "--no-expiry"]);
    command.args(["--output-file", "token", "--endpoint", &server.endpoint]);
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("cannot write token"), "{}", stderr(&output));
    assert!(server.requests().is_empty());
    assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 0);
}

#[test]
fn a_signal_before_the_answer_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", silent.local_addr().expect("address"));
    for signal in ["-INT", "-TERM"] {
        let mut command = keystead();
        command.args(["iam", "tokens", "create", "--principal", "user:a@example.com", "--no-expiry"]);
        command.args(["--output-file", "token", "--endpoint", &endpoint]).current_dir(directory.path());
        let process = command.stderr(Stdio::piped()).spawn().expect("runs");
        let (mut stream, _) = silent.accept().expect("it calls");
        let mut first = [0];
        stream.read_exact(&mut first).expect("it asks");
        let sent = Command::new("kill").args([signal, &process.id().to_string()]).status();
        assert!(sent.expect("runs").success());
        let output = process.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(1), "{signal}: {}", stderr(&output));
        assert!(stderr(&output).contains("before the server answered"), "{}", stderr(&output));
        assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 0, "{signal}");
    }
}

#[test]
fn standard_output_is_written_where_it_stands_whatever_it_leads_to() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = directory.path();
    std::fs::write(at.join("ct"), b"CT").expect("writes");
    let secret = json!({"token": {"id": "abc"}, "secret": "ks_abc_secret"});
    let plain = json!({"plaintext": "aGVsbG8=", "plaintextCrc32c": crc32c::crc32c(b"hello").to_string()});
    let create = "iam tokens create --principal user:a@example.com --no-expiry --output-file";
    let decrypt = format!("kms decrypt --key {KEY} --ciphertext-file ct --plaintext-file");
    for (answer, words, added) in [(&secret, create, "ks_abc_secret\n"), (&plain, &decrypt, "hello")] {
        for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"] {
            std::fs::write(at.join("out"), "before\n").expect("writes");
            let out = std::fs::OpenOptions::new().append(true).open(at.join("out")).expect("opens");
            let server = Recording::start(vec![(200, answer.clone())]);
            let mut command = keystead();
            command.args(words.split_whitespace()).args([name, "--endpoint", &server.endpoint]);
            let output = command.current_dir(at).stdout(out).output().expect("runs");
            assert!(output.status.success(), "{words} {name}: {}", stderr(&output));
            let written = std::fs::read_to_string(at.join("out")).expect("reads");
            assert_eq!(written, format!("before\n{added}"), "{words} {name}");
        }
    }
}
