//! Ten thousand bearer tokens that nobody was given, each as long as one may be and each another one: the server forgets them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use keystead_testkit::kms_server::KmsServer;
use serde_json::json;
use tokio::task::JoinSet;

use crate::server_process::BINARY;

const TOKENS: usize = 10_000;
/// The longest that the server looks at.
const LENGTH: usize = 8 * 1024;
/// What they may leave in the server's memory, in KiB: less than a fifth of what they hold.
const MOST_KIB: u64 = 16 * 1024;
/// At the same time, so that what is measured is not what waits.
const AT_ONCE: usize = 8;
/// Before the first look: buffers, threads and connections are there then.
const WARM_UP: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_tokens_leave_nothing_in_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = KmsServer::start(BINARY.as_ref(), &directory.path().join("data")).await.expect("starts");
    server.create_project("key-project").await.expect("made");
    let file = directory.path().join("key.json");
    let email =
        server.create_service_account("key-project", "robot-1", "roles/viewer", &file).await.expect("made");
    let file: serde_json::Value =
        serde_json::from_slice(&std::fs::read(file).expect("read")).expect("a key file");
    let key_id = file["private_key_id"].as_str().expect("an id").to_owned();

    send(&server, &email, &key_id, 0..WARM_UP).await;
    let before = memory(&server);
    send(&server, &email, &key_id, WARM_UP..WARM_UP + TOKENS).await;
    let grown = memory(&server).saturating_sub(before);
    println!("{TOKENS} hostile tokens of {LENGTH} bytes: the server grew by {grown} KiB from {before} KiB");
    assert!(grown < MOST_KIB, "the server grew by {grown} KiB");
}

async fn send(server: &KmsServer, email: &str, key_id: &str, numbers: std::ops::Range<usize>) {
    let url = format!("{}/v1/projects/key-project", server.endpoint());
    let mut sending = JoinSet::new();
    for number in numbers {
        if sending.len() >= AT_ONCE {
            sending.join_next().await.expect("one").expect("answered");
        }
        let request = server.http().get(&url).bearer_auth(token(number, email, key_id));
        sending.spawn(async move {
            let answer = request.send().await.expect("answered");
            let status = answer.status();
            // Read to its end: a call that is given up is reset, and many resets end the connection.
            let text = answer.text().await.expect("a body");
            assert_eq!(status, 401, "{text}");
        });
    }
    while let Some(sent) = sending.join_next().await {
        sent.expect("answered");
    }
}

/// No two are the same. They go as far as hostile ones can: some are not even tokens, some have no key that exists, some name
/// a key and an account that exist and are signed by nobody.
fn token(number: usize, email: &str, key_id: &str) -> String {
    let fill = |begin: String| {
        let missing = LENGTH - begin.len();
        begin + &"a".repeat(missing)
    };
    let part = |json: serde_json::Value| BASE64URL.encode(json.to_string());
    let signed_with = |key_id: &str| {
        let claims = json!({
            "iss": email, "sub": email, "aud": "", "scope": "https://www.googleapis.com/auth/cloud-platform",
            "iat": number, "exp": u32::MAX, "jti": "j".repeat(5_000),
        });
        let header = part(json!({ "alg": "RS256", "typ": "JWT", "kid": key_id }));
        fill(format!("{header}.{}.", part(claims)))
    };
    match number % 5 {
        0 => fill(format!("{number:08}")),
        1 => fill(format!("ksa_{number:08}.")),
        2 => fill(format!("ks_{number:016x}_")),
        3 => signed_with(&format!("{number:040x}")),
        _ => signed_with(key_id),
    }
}

/// Resident memory that belongs to the process alone, in KiB.
fn memory(server: &KmsServer) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}
