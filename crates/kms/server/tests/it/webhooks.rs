//! Webhooks: a real receiver over TLS, what it is sent, and what becomes of that when it is away, hostile, or the server is killed.

mod receiver;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keystead_testkit::kms_server::KmsServer;
use reqwest::Method;
use serde_json::{Value, json};

use crate::alerts::{key_with_one_version, shows, value};
use crate::server_process::{BINARY, Place};
use receiver::{Got, Manner, Receiver};

/// The same for every receiver of a test: `whsec_` and this in base64.
const SECRET: [u8; 32] = *b"a secret of thirty-two bytes....";

/// One webhook, as the configuration file has it. With the secret's file.
pub(crate) fn webhook_config(place: &Place, name: &str, url: &str) -> String {
    format!("webhooks:\n{}", entry(place, name, url))
}

fn entry(place: &Place, name: &str, url: &str) -> String {
    let secret = place.write("secret", format!("whsec_{}\n", BASE64.encode(SECRET)));
    std::fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("private");
    format!("  - name: {name}\n    url: {url}\n    secretFile: {}\n", secret.display())
}

/// The same of a receiver whose authority is known.
fn entry_of(place: &Place, name: &str, receiver: &Receiver) -> String {
    let authority = place.write(&format!("{name}.pem"), receiver.authority());
    format!("{}    caFile: {}\n", entry(place, name, &receiver.url()), authority.display())
}

async fn start(place: &Place, entries: &[String]) -> KmsServer {
    let config = place.write("config.yaml", format!("webhooks:\n{}", entries.concat()));
    let more = ["--config", config.to_str().expect("UTF-8")];
    KmsServer::start_with(Path::new(BINARY), &place.path("data"), &more).await.expect("started")
}

async fn destroy(server: &KmsServer, key: &str) {
    let destroy = format!("{key}/cryptoKeyVersions/1:destroy");
    server.ok(Method::POST, &destroy, Some(&json!({}))).await.expect("scheduled");
}

async fn restore(server: &KmsServer, key: &str) {
    let restore = format!("{key}/cryptoKeyVersions/1:restore");
    server.ok(Method::POST, &restore, Some(&json!({}))).await.expect("restored");
}

fn sent(webhook: &str, result: &str) -> String {
    format!("keystead_webhook_deliveries_total{{webhook=\"{webhook}\",result=\"{result}\"}}")
}

fn waiting(webhook: &str) -> String {
    format!("keystead_webhook_notices_waiting{{webhook=\"{webhook}\"}}")
}

/// HMAC as RFC 2104 writes it down, so that it is not the server's code that is believed.
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let padded = |with: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let inner = keystead_crypto::sha256(&[&padded(0x36), message].concat());
    keystead_crypto::sha256(&[padded(0x5c), inner.to_vec()].concat())
}

impl Got {
    fn verified(&self) -> Value {
        let signed =
            format!("{}.{}.{}", self.header("webhook-id"), self.header("webhook-timestamp"), self.body);
        let signature = format!("v1,{}", BASE64.encode(hmac(&SECRET, signed.as_bytes())));
        assert_eq!(self.header("webhook-signature"), signature);
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_str(&self.body).expect("JSON")
    }
}

#[tokio::test]
async fn p12_a_destruction_is_told_over_tls_once_signed_and_without_secrets() {
    let place = Place::new();
    let receiver = Receiver::start(Manner::Takes).await;
    let server = start(&place, &[entry_of(&place, "ops", &receiver)]).await;
    let key = key_with_one_version(&server).await;
    destroy(&server, &key).await;
    let got = receiver.next().await;
    let body = got.verified();
    assert_eq!(body["type"], "key_version.destruction_scheduled");
    let version = format!("{}/cryptoKeyVersions/1", key.strip_prefix("/v1/").expect("a path"));
    assert_eq!(body["data"]["resource"], version.as_str());
    let text = body["data"]["text"].as_str().expect("a sentence");
    assert!(text.starts_with("admin@keystead.local has scheduled its destruction for 20"), "{text}");
    assert!(body["timestamp"].as_str().is_some_and(|it| it.parse::<jiff::Timestamp>().is_ok()), "{body}");
    restore(&server, &key).await;
    let next = receiver.next().await;
    assert_eq!(next.verified()["type"], "key_version.restored");
    assert_ne!(next.header("webhook-id"), got.header("webhook-id"));
    shows(&server, &sent("ops", "delivered"), |it| it == 2.0).await;
    shows(&server, &waiting("ops"), |it| it == 0.0).await;
    assert_eq!(receiver.all().len(), 2);
    let log = server.log().expect("a log");
    assert!(!log.contains(&BASE64.encode(SECRET)) && !log.contains(&receiver.url()), "{log}");
    assert_eq!(server.stop().await.expect("stopped"), 0);
}

/// The notice is committed, and the process is killed before anybody has taken it. Another process goes on.
#[tokio::test]
async fn p12_a_notice_survives_kill_9_between_commit_and_delivery() {
    let place = Place::new();
    let receiver = Receiver::start(Manner::Silent).await;
    let mut server = start(&place, &[entry_of(&place, "ops", &receiver)]).await;
    let key = key_with_one_version(&server).await;
    destroy(&server, &key).await;
    let first = receiver.next().await;
    server.kill_and_restart().await.expect("restarted");
    let second = receiver.next().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    receiver.now(Manner::Takes);
    server.kill_and_restart().await.expect("restarted");
    let third = receiver.next().await;
    assert_eq!(third.header("webhook-id"), first.header("webhook-id"));
    restore(&server, &key).await;
    assert_eq!(receiver.next().await.verified()["type"], "key_version.restored", "nothing else came before");
}

/// `KeysteadWebhookFails`: connections are closed without an answer, and then they are not.
#[tokio::test]
async fn a_receiver_that_is_away_is_told_when_it_is_back_and_holds_up_nobody() {
    let place = Place::new();
    let (away, other) = (Receiver::start(Manner::Closes).await, Receiver::start(Manner::Takes).await);
    let server = start(&place, &[entry_of(&place, "away", &away), entry_of(&place, "other", &other)]).await;
    assert_eq!(value(&server, &sent("away", "failed")).await, 0.0);
    let key = key_with_one_version(&server).await;
    destroy(&server, &key).await;
    restore(&server, &key).await;
    shows(&server, &sent("away", "failed"), |it| it >= 1.0).await;
    shows(&server, &waiting("away"), |it| it == 2.0).await;
    for kind in ["key_version.destruction_scheduled", "key_version.restored"] {
        assert_eq!(other.next().await.verified()["type"], kind);
    }
    away.now(Manner::Takes);
    for kind in ["key_version.destruction_scheduled", "key_version.restored"] {
        assert_eq!(away.next().await.verified()["type"], kind, "in the order in which it happened");
    }
    shows(&server, &waiting("away"), |it| it == 0.0).await;
    let log = server.log().expect("a log");
    assert!(log.contains("the receiver takes notices again"), "{log}");
}

#[tokio::test]
async fn hostile_receivers_hold_up_neither_calls_nor_others() {
    let place = Place::new();
    let target = Receiver::start(Manner::Takes).await;
    let manners = [
        ("silent", Manner::Silent, "failed"),
        ("endless-headers", Manner::EndlessHeaders, "failed"),
        ("redirects", Manner::Redirects(target.url()), "failed"),
        ("broken", Manner::Garbage, "failed"),
        ("refuses", Manner::Refuses, "refused"),
        // Its status is all that is read.
        ("endless-body", Manner::EndlessBody, "delivered"),
    ];
    let mut receivers = Vec::new();
    let mut entries = Vec::new();
    for (name, manner, _) in &manners {
        let receiver = Receiver::start(manner.clone()).await;
        // With the authority of the one that it is sent to, so that nothing but the redirect is refused.
        let authorities =
            place.write(&format!("{name}.pem"), [receiver.authority(), target.authority()].concat());
        entries.push(format!(
            "{}    caFile: {}\n",
            entry(&place, name, &receiver.url()),
            authorities.display()
        ));
        receivers.push(receiver);
    }
    // Its authority is known to nobody.
    let unknown = Receiver::start(Manner::Takes).await;
    entries.push(entry(&place, "unknown", &unknown.url()));
    entries.push(entry_of(&place, "good", &target));
    let server = start(&place, &entries).await;
    let key = key_with_one_version(&server).await;
    destroy(&server, &key).await;
    let scheduled = target.next().await.verified();
    assert_eq!(scheduled["type"], "key_version.destruction_scheduled");
    for (name, _, result) in manners {
        shows(&server, &sent(name, result), |it| it >= 1.0).await;
    }
    shows(&server, &sent("unknown", "failed"), |it| it >= 1.0).await;
    restore(&server, &key).await;
    assert_eq!(target.next().await.verified()["type"], "key_version.restored");
    // What is refused is about that notice: the next one is sent all the same, at once.
    shows(&server, &sent("refuses", "refused"), |it| it >= 2.0).await;
    assert_eq!(target.all().len(), 2, "nobody was redirected to it");
    assert_eq!(unknown.all().len(), 0);
    shows(&server, &waiting("endless-body"), |it| it == 0.0).await;
    assert_eq!(server.stop().await.expect("stopped"), 0, "what is on its way holds up no stop");
}

/// `KeysteadWebhookNoticesDropped`: nothing is taken, and more happens than is kept.
#[tokio::test]
async fn what_a_receiver_does_not_take_is_given_up_in_the_end_and_that_is_told() {
    let place = Place::new();
    let receiver = Receiver::start(Manner::Closes).await;
    let server = start(&place, &[entry_of(&place, "ops", &receiver)]).await;
    let dropped = "keystead_webhook_notices_dropped_total{webhook=\"ops\"}";
    assert_eq!(value(&server, dropped).await, 0.0);
    let key = key_with_one_version(&server).await;
    let (keys, _) = key.rsplit_once('/').expect("a path");
    // Side by side, so that calls share what they wait for the disk.
    let busy = (0..16).map(|number| {
        let (server, key) = (&server, format!("{keys}/busy-{number}"));
        async move {
            let made = json!({"purpose": "ENCRYPT_DECRYPT"});
            let path = format!("{keys}?cryptoKeyId=busy-{number}");
            server.ok(Method::POST, &path, Some(&made)).await.expect("a key");
            for _ in 0..32 {
                destroy(server, &key).await;
                restore(server, &key).await;
            }
        }
    });
    futures_util::future::join_all(busy).await;
    shows(&server, dropped, |it| it >= 24.0).await;
    shows(&server, &waiting("ops"), |it| it <= 1001.0).await;
    receiver.now(Manner::Takes);
    let first = receiver.next().await.verified();
    assert_eq!(first["type"], "webhook.notices_dropped", "before all others");
    shows(&server, &waiting("ops"), |it| it == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_notice_is_sent_beside_a_server_and_faults_are_told() {
    let place = Place::new();
    let receiver = Receiver::start(Manner::Takes).await;
    let config = format!("dataDir: data\nwebhooks:\n{}", entry_of(&place, "ops", &receiver));
    place.write("server.yaml", &config);
    let run =
        |argument: &str| tokio::task::block_in_place(|| place.run(&["--config", "server.yaml", argument]));
    let tested = run("--test-webhooks");
    assert_eq!((tested.code, tested.stdout.as_str()), (Some(0), "ops: delivered\n"), "{tested:?}");
    assert_eq!(receiver.next().await.verified()["type"], "webhook.test");
    assert!(!place.path("data").exists(), "nothing is made");
    receiver.now(Manner::Refuses);
    let tested = run("--test-webhooks");
    assert_eq!(tested.code, Some(1), "{tested:?}");
    assert!(tested.stderr.contains("ops: the receiver answers 400 Bad Request"), "{tested:?}");

    for (secret, mode, said) in [
        ("whsec_c2hvcnQ=\n", 0o600, "there is no secret of a webhook in it"),
        ("nothing of the kind\n", 0o600, "there is no secret of a webhook in it"),
        (&format!("whsec_{}\n", BASE64.encode(SECRET)), 0o644, "others can read or change it"),
    ] {
        let file = place.write("secret", secret);
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).expect("set");
        for argument in ["--check-config", "--test-webhooks"] {
            let refused = run(argument);
            assert_ne!(refused.code, Some(0), "{argument}");
            assert!(refused.stderr.contains(said) && refused.stderr.contains("`ops`"), "{refused:?}");
            assert!(!refused.stderr.contains(secret.trim()), "{refused:?}");
        }
    }
    let none = place.run(&["--data-dir", "data", "--test-webhooks"]);
    assert_eq!(none.code, Some(2), "{none:?}");
}

/// What the documentation tells receivers to do is run as it stands, by a Python that knows nothing of us.
#[tokio::test]
#[ignore = "needs python clients"]
async fn the_documented_verification_accepts_what_is_sent_and_nothing_else() {
    let python = std::env::var_os("KEYSTEAD_PYTHON").expect("KEYSTEAD_PYTHON: cargo xtask test");
    let place = Place::new();
    let receiver = Receiver::start(Manner::Takes).await;
    // The next secret comes first while the receiver still has the one before it.
    let (next, both) = (BASE64.encode([9; 32]), BASE64.encode(SECRET));
    let entry = entry_of(&place, "ops", &receiver);
    let file = place.write("secret", format!("whsec_{next}\nwhsec_{both}\n"));
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("private");
    let server = start(&place, &[entry]).await;
    let key = key_with_one_version(&server).await;
    destroy(&server, &key).await;
    let got = receiver.next().await;

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../docs/reference/webhooks.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, code) = page.split_once("```python\n").expect("a program");
    let (code, _) = code.split_once("```").expect("its end");
    let program =
        place.write("verify.py", format!("{code}\nimport json, sys\nprint(verify(*json.load(sys.stdin)))\n"));
    let verify = |secret: &str, headers: Value, body: &str| {
        let given = place.write("given", json!([secret, headers, body]).to_string());
        let given = std::fs::File::open(given).expect("opened");
        let ran = Command::new(&python).arg(&program).stdin(given).output().expect("python runs");
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stdout).expect("UTF-8").trim() == "True"
    };
    let headers = |time: &str| {
        json!({
            "webhook-id": got.header("webhook-id"),
            "webhook-timestamp": time,
            "webhook-signature": got.header("webhook-signature"),
        })
    };
    let time = got.header("webhook-timestamp");
    for secret in [&next, &both] {
        assert!(verify(&format!("whsec_{secret}"), headers(&time), &got.body));
    }
    assert!(!verify(&format!("whsec_{}", BASE64.encode([8; 32])), headers(&time), &got.body));
    assert!(!verify(&format!("whsec_{both}"), headers(&time), &got.body.replace("scheduled", "undone")));
    let old: i64 = time.parse::<i64>().expect("seconds") - 3600;
    assert!(!verify(&format!("whsec_{both}"), headers(&old.to_string()), &got.body));
    drop(tokio::time::timeout(Duration::ZERO, server.stop()).await);
}
