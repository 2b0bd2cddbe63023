//! What goes wrong between a person and a server, and how it is said.

use std::net::TcpListener;
use std::process::Stdio;

use serde_json::json;

use crate::recording::Recording;
use crate::{keystead, stderr, stdout};

const LIST: [&str; 7] = ["kms", "keyrings", "list", "--location", "l1", "--project", "p"];

#[test]
fn denied_and_unknown_end_with_their_exit_codes() {
    for (status, name, code) in [
        (403, "PERMISSION_DENIED", 5),
        (401, "UNAUTHENTICATED", 5),
        (404, "NOT_FOUND", 1),
        (409, "ABORTED", 1),
        (503, "UNAVAILABLE", 4),
    ] {
        let server = Recording::start(vec![(status, json!({"error": {"status": name, "message": "why."}}))]);
        let output = keystead().args(LIST).args(["--endpoint", &server.endpoint]).output().expect("runs");
        assert_eq!(output.status.code(), Some(code), "{name}");
        assert!(stderr(&output).starts_with(&format!("error: {name}: why.\n")), "{}", stderr(&output));
        assert_eq!(stdout(&output), "");
        assert_eq!(server.requests().len(), 1, "nothing is tried again behind a person's back");
    }
}

#[test]
fn what_did_not_happen_to_a_cluster_is_a_failure_and_what_is_under_way_says_how_to_wait() {
    let done = |text: &str| (200, json!({"name": "operation-1", "status": "DONE", "statusMessage": text}));
    let running = || (200, json!({"name": "operation-1", "status": "RUNNING", "detail": "waiting for h1"}));
    let gone = || (503, json!({"error": {"status": "UNAVAILABLE", "message": "gone."}}));
    let refused = || (400, json!({"error": {"status": "FAILED_PRECONDITION", "message": "busy."}}));
    let wait = "`keystead container operations wait operation-1 --location l1 --project p`";
    let kept = "Not deleted [projects/p/locations/l1/clusters/c1]";
    let (update, at_once) =
        ("update c1 --disable-database-encryption", "update c1 --disable-database-encryption --async");
    for (words, answers, code, said, asked) in [
        (update, vec![done("no grant.")], 1, "error: no grant.\n", 1),
        // It has failed before anybody could wait for it.
        (at_once, vec![done("no grant.")], 1, "error: no grant.\n", 1),
        (at_once, vec![running()], 0, wait, 2),
        (update, vec![running(), gone()], 4, wait, 2),
        ("delete c1 c2 --quiet", vec![refused(), done("")], 1, kept, 2),
        ("delete c1 --quiet", vec![refused()], 1, "error: FAILED_PRECONDITION: busy.\n", 1),
    ] {
        let server = Recording::start(answers);
        let place = ["--location", "l1", "--project", "p", "--endpoint", &server.endpoint];
        let words: Vec<_> = ["container", "clusters"].into_iter().chain(words.split(' ')).collect();
        let output = keystead().args(&words).args(place).output().expect("runs");
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(said), "{words:?}: {}", stderr(&output));
        assert_eq!((stdout(&output), server.requests().len()), (String::new(), asked), "{words:?}");
    }
}

#[test]
fn nobody_at_the_address_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("address"));
    drop(listener);
    let output = keystead().args(LIST).args(["--endpoint", &address]).output().expect("runs");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    for part in ["cannot be reached", "caused by: ", "hint: "] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
}

#[test]
fn settings_that_cannot_be_are_usage_errors_before_anything_is_sent() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let at = |name: &str, text: &str| {
        let file = directory.path().join(name);
        std::fs::write(&file, text).expect("writes");
        file.display().to_string()
    };
    let server = Recording::start(vec![(200, json!({}))]);
    let here = server.endpoint.as_str();
    let (empty, two, key) =
        (at("empty", "\n"), at("two", "ks_one ks_two"), at("key.json", "{\"type\": \"service_account\"}"));
    for (more, reason) in [
        (vec![], "KEYSTEAD_ENDPOINT"),
        (vec!["--endpoint", "http://kms.example.org"], "plain HTTP to another host"),
        (vec!["--endpoint", "kms.example.org"], "not an address"),
        (vec!["--endpoint", here, "--token-file", "/nowhere/token"], "cannot read /nowhere/token"),
        (vec!["--endpoint", here, "--token-file", &empty], "one token"),
        (vec!["--endpoint", here, "--token-file", &two], "one token"),
        (vec!["--endpoint", here, "--token-file", &key], "key file"),
        (vec!["--endpoint", here, "--ca-file", &empty], "no certificate"),
        (vec!["--endpoint", here, "--client-key-file", &empty], "go together"),
        (vec!["--endpoint", here, "--format", "nonsense"], "json, yaml"),
        (vec!["--endpoint", here, "--filter", "name="], "missing"),
        (vec!["--endpoint", here, "--limit", "0"], "0"),
    ] {
        let output = keystead().args(LIST).args(&more).output().expect("runs");
        assert_eq!(output.status.code(), Some(2), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{more:?}: {}", stderr(&output));
        assert!(
            !stderr(&output).contains("a b") || more.len() < 4,
            "no token in a text: {}",
            stderr(&output)
        );
    }
    assert!(server.requests().is_empty());
}

#[test]
fn settings_of_gcloud_serve_both() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "ks_of_gcloud").expect("writes");
    let server = Recording::start(vec![(200, json!({}))]);
    let output = keystead()
        .args(["kms", "keyrings", "list", "--location", "l1"])
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", format!("{}/", server.endpoint))
        .env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", &token)
        .env("CLOUDSDK_CORE_PROJECT", "from-gcloud")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stderr(&output), "Listed 0 items.\n");
    let requests = server.requests();
    assert_eq!(requests[0].line, "GET /v1/projects/from-gcloud/locations/l1/keyRings?pageSize=100");
    assert_eq!(requests[0].authorization.as_deref(), Some("Bearer ks_of_gcloud"));
}

#[test]
fn a_token_follows_no_redirection() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "ks_mine").expect("writes");
    let other = Recording::start(vec![(200, json!({}))]);
    let server = Recording::start(vec![(307, json!({"elsewhere": format!("{}/v1/x", other.endpoint)}))]);
    let output =
        keystead().args(LIST).args(["--endpoint", &server.endpoint, "--token-file"]).arg(&token).output();
    assert_eq!(output.expect("runs").status.code(), Some(1));
    assert_eq!((server.requests().len(), other.requests().len()), (1, 0));
}

#[test]
fn a_list_without_end_ends() {
    let server =
        Recording::start(vec![(200, json!({"keyRings": [{"name": "r"}], "nextPageToken": "again"}))]);
    let output = keystead().args(LIST).args(["--endpoint", &server.endpoint]).output().expect("runs");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("the same page"), "{}", stderr(&output));
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn what_lasts_for_ever_is_not_done_without_an_answer() {
    let server = Recording::start(vec![(200, json!({}))]);
    let key = "projects/p/locations/l1/keyRings/r1/cryptoKeys/k1";
    let output = keystead()
        .args(["kms", "keys", "delete", key, "--endpoint", &server.endpoint])
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("--quiet"), "{}", stderr(&output));
    assert!(server.requests().is_empty());
}

#[test]
fn a_question_answered_with_no_changes_nothing() {
    use std::io::Write;
    let server = Recording::start(vec![(200, json!({}))]);
    let mut command = keystead();
    command.args([
        "iam",
        "service-accounts",
        "delete",
        "s@p.iam.gserviceaccount.com",
        "--endpoint",
        &server.endpoint,
    ]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(b"n\n").expect("writes");
    let output = child.wait_with_output().expect("ends");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("Do you want to continue (Y/n)?"), "{}", stderr(&output));
    assert!(server.requests().is_empty());
}

#[test]
fn half_of_a_rotation_says_which_half() {
    let made = json!({"name": "projects/p/locations/l1/keyRings/r1/cryptoKeys/k1/cryptoKeyVersions/3"});
    let refused = json!({"error": {"status": "PERMISSION_DENIED", "message": "no."}});
    let server = Recording::start(vec![(200, made), (403, refused)]);
    let output = keystead()
        .args(["kms", "keys", "versions", "create", "--primary", "--endpoint", &server.endpoint, "--key"])
        .arg("projects/p/locations/l1/keyRings/r1/cryptoKeys/k1")
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(5));
    assert!(stderr(&output).contains("caused by: version 3 was created before that"), "{}", stderr(&output));
    assert!(stderr(&output).contains("set-primary-version"), "{}", stderr(&output));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let server = Recording::start(vec![(200, json!({"keyRings": [{"name": "r"}]}))]);
    let (reader, writer) = std::io::pipe().expect("pipe");
    drop(reader);
    let output = keystead()
        .args(LIST)
        .args(["--endpoint", &server.endpoint])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("runs");
    assert!(output.status.success());
    assert_eq!(stderr(&output), "");
}

#[test]
fn a_policy_with_conditions_is_not_changed_by_guess() {
    let policy = json!({"version": 3, "etag": "ACAB", "bindings": [{"role": "roles/a", "members": ["user:a@example.com"],
        "condition": {"title": "t", "expression": "true"}}]});
    for (verb, role, reason) in [
        ("add-iam-policy-binding", "roles/a", "--condition=None"),
        ("remove-iam-policy-binding", "roles/a", "--all"),
    ] {
        let server = Recording::start(vec![(200, policy.clone())]);
        let output = keystead()
            .args(["projects", verb, "p", "--member", "user:a@example.com", "--role", role])
            .args(["--endpoint", &server.endpoint])
            .output()
            .expect("runs");
        assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
        assert_eq!(server.requests().len(), 1, "only read");
    }
    let server = Recording::start(vec![(200, policy)]);
    let output = keystead()
        .args([
            "projects",
            "remove-iam-policy-binding",
            "p",
            "--member",
            "user:z@example.com",
            "--role",
            "roles/a",
        ])
        .args(["--condition", "None", "--endpoint", &server.endpoint])
        .output()
        .expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("no such binding"), "{}", stderr(&output));
}
