use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jsonwebtoken::{EncodingKey, Header, encode};
use keystead_crypto::{Random, SystemRandom};
use keystead_model::ErrorClass;
use serde_json::{Value, json};

use super::*;
use crate::Credential;
use crate::fresh_server::{FreshServer, KeyFile};
use crate::identity::signed::SCOPES;
use crate::operations::{DeleteServiceAccount, DeleteServiceAccountKey, SwitchServiceAccount};

const KMS: &str = "https://cloudkms.googleapis.com/";

/// 2026-11-25T12:00:00Z, when every test begins: 20,782 days and 12 hours after 1970.
const NOW: i64 = 20_782 * 86_400 + 43_200;

fn claims(file: &KeyFile) -> Value {
    json!({ "iss": file.client_email, "sub": file.client_email, "aud": KMS, "iat": NOW, "exp": NOW + 3600 })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(claims.as_object_mut().expect("an object").remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[tokio::test]
async fn what_a_key_file_signs_counts_for_an_hour() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let token = file.sign(&claims(&file));
    let call = server.bearer(&token).await.expect("it counts");
    assert_eq!(call.caller().principal.to_string(), format!("serviceAccount:{}", file.client_email));
    assert_eq!(call.caller().credential, Credential::ServiceAccountKey(file.private_key_id.clone()));
    server.clock.advance(Duration::from_secs(3600 + 59));
    server.bearer(&token).await.expect("a minute of leeway");
    server.clock.advance(Duration::from_secs(1));
    let error = server.bearer(&token).await.map(drop).expect_err("its time is over");
    assert_eq!(error.class(), ErrorClass::Unauthenticated);
    assert!(error.message().contains("has expired"), "{error}");
}

#[tokio::test]
async fn only_what_passed_every_check_is_remembered_and_no_more_than_is_asked_again() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let long = json!(vec!["x"; 1000]);
    for unfit in [
        with(claims(&file), "aud", json!("https://elsewhere.example/")),
        with(claims(&file), "exp", json!(NOW - 3600)),
        with(claims(&file), "sub", json!("somebody@else.example")),
        with(claims(&file), "aud", long.clone()),
    ] {
        server.bearer(&file.sign(&unfit)).await.map(drop).expect_err("unfit");
    }
    assert_eq!(server.service.identity.bearers.len(), 0);
    let good = with(claims(&file), "anything", long);
    for _ in 0..2 {
        server.bearer(&file.sign(&good)).await.expect("it counts");
    }
    assert_eq!(server.service.identity.bearers.len(), 1);
}

#[tokio::test]
async fn claims_that_do_not_fit_are_refused() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let other = server.key_file("other-project", "backup-job").await;
    let good = claims(&file);
    for audience in AUDIENCES {
        server.bearer(&file.sign(&with(good.clone(), "aud", json!(audience)))).await.expect(audience);
        server.bearer(&file.sign(&with(good.clone(), "aud", json!([audience])))).await.expect(audience);
    }
    let scoped =
        with(with(good.clone(), "aud", Value::Null), "scope", json!(format!("openid {}", SCOPES[0])));
    server.bearer(&file.sign(&scoped)).await.expect("newer clients sign a scope");
    let empty = with(scoped.clone(), "aud", json!(""));
    server
        .bearer(&file.sign(&empty))
        .await
        .expect("the Go client over gRPC signs a scope and an empty audience");
    for (name, value) in [
        ("aud", json!("https://oauth2.googleapis.com/token")),
        ("aud", json!("https://storage.googleapis.com/")),
        ("aud", json!("https://cloudkms.googleapis.com")),
        ("aud", json!([KMS, "https://storage.googleapis.com/"])),
        ("aud", json!([])),
        ("aud", json!("")),
        ("aud", json!(7)),
        ("aud", Value::Null),
        ("sub", json!(other.client_email)),
        ("sub", Value::Null),
        ("iss", json!(other.client_email)),
        ("iss", json!("admin@keystead.local")),
        ("iss", json!("../../token/x")),
        ("iss", Value::Null),
        ("exp", json!(NOW - 60)),
        ("exp", json!(NOW + 3661)),
        ("exp", json!(i64::MAX)),
        ("exp", json!(i64::MIN)),
        ("exp", json!("soon")),
        ("exp", Value::Null),
        ("iat", json!(NOW + 61)),
    ] {
        let token = file.sign(&with(good.clone(), name, value.clone()));
        let error = server.bearer(&token).await.map(drop).expect_err(&format!("{name} {value}"));
        assert_eq!(error.class(), ErrorClass::Unauthenticated, "{name} {value}");
    }
    // A scope that is not ours does not stand for an audience.
    let scoped = with(scoped, "scope", json!("https://www.googleapis.com/auth/devstorage.read_only"));
    server.bearer(&file.sign(&scoped)).await.map(drop).expect_err("another scope");
}

#[tokio::test]
async fn only_rs256_by_the_very_key_counts() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let other = server.key_file("other-project", "backup-job").await;
    let good = claims(&file);
    let refused = async |why: &str, token: String| {
        let error = server.bearer(&token).await.map(drop).expect_err(why);
        assert_eq!(error.class(), ErrorClass::Unauthenticated, "{why}");
    };
    // Signed by another account's key under this one's name.
    refused("another key", other.sign_as(&file.private_key_id, &good)).await;
    refused("another key's id", file.sign_as(&other.private_key_id, &good)).await;
    refused("no such key", file.sign_as(&"0".repeat(40), &good)).await;
    refused("no id", file.sign_as("", &good)).await;

    let part = |value: &Value| BASE64URL.encode(value.to_string());
    let kid = &file.private_key_id;
    let header = |alg: &str| part(&json!({ "alg": alg, "typ": "JWT", "kid": kid }));
    for alg in ["none", "None", "NONE", "nOnE", "RS512", "PS256", "ES256", ""] {
        refused(alg, format!("{}.{}.", header(alg), part(&good))).await;
        let signature = file.sign(&good).rsplit_once('.').expect("three parts").1.to_owned();
        refused(alg, format!("{}.{}.{signature}", header(alg), part(&good))).await;
    }
    // The public key, taken for a shared secret: the classic confusion.
    let public = server.public_key(&file).await;
    let mut confused = Header::new(Algorithm::HS256);
    confused.kid = Some(kid.clone());
    refused("HS256", encode(&confused, &good, &EncodingKey::from_secret(&public)).expect("signed")).await;
    // A key that comes with the token.
    let mut critical = Header::new(Algorithm::RS256);
    critical.kid = Some(kid.clone());
    critical.crit = Some(vec!["b64".to_owned()]);
    refused("crit", encode(&critical, &good, &file.encoding_key()).expect("signed")).await;
}

#[tokio::test]
async fn a_deleted_key_and_a_disabled_account_stop_with_the_next_request() {
    let server = FreshServer::new().await;
    let first = server.key_file("key-project", "backup-job").await;
    let second = server.another_key(&first).await;
    let name = format!("projects/-/serviceAccounts/{}", first.client_email);
    let name = server.service.account_name(&name).await.expect("a name");
    let (by_first, by_second) = (first.sign(&claims(&first)), second.sign(&claims(&second)));
    let opaque = server.token(&format!("serviceAccount:{}", first.client_email), None).await;
    for token in [&by_first, &by_second, &opaque] {
        server.bearer(token).await.expect("it counts");
    }
    let admin = server.admin().await;
    let key_id = first.private_key_id.clone();
    server.run_as(&admin, DeleteServiceAccountKey { name: name.clone(), key_id }).await.expect("deleted");
    let error = server.bearer(&by_first).await.map(drop).expect_err("its key is gone");
    assert!(error.message().contains("was deleted"), "{error}");
    server.bearer(&by_second).await.expect("the other key counts");

    let switch = |enable| SwitchServiceAccount { name: name.clone(), enable };
    server.run_as(&admin, switch(false)).await.expect("disabled");
    for token in [&by_second, &opaque] {
        let error = server.bearer(token).await.map(drop).expect_err("the account is disabled");
        assert!(error.message().contains("is disabled"), "{error}");
    }
    server.run_as(&admin, switch(true)).await.expect("enabled");
    server.bearer(&by_second).await.expect("it counts again");
    server.run_as(&admin, DeleteServiceAccount { name: name.clone() }).await.expect("deleted");
    for token in [&by_second, &opaque] {
        server.bearer(token).await.map(drop).expect_err("the account is gone");
    }
    let keys = crate::records::record_name::service_account_keys(&first.client_email);
    assert_eq!(server.service.store.count(&keys).await.expect("counted"), 0);
}

/// 10,000 edits of a signed token, many at once: none authenticates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_signed_tokens_never_authenticate() {
    let server = Arc::new(FreshServer::new().await);
    let file = server.key_file("key-project", "backup-job").await;
    let token = file.sign(&claims(&file));
    server.bearer(&token).await.expect("the real one counts");
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=";
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (server, token) = (Arc::clone(&server), token.clone());
        tasks.spawn(async move {
            for round in 0..1_000_usize {
                let mut dice = [0; 8];
                SystemRandom.fill(&mut dice).expect("random");
                let at = (usize::from(dice[0]) * 256 + usize::from(dice[1])) % token.len();
                let letter = alphabet[usize::from(dice[2]) % alphabet.len()];
                let mut forged = token.clone().into_bytes();
                match round % 4 {
                    0 => forged[at] = letter,
                    1 => forged.truncate(at),
                    2 => forged.insert(at, letter),
                    _ => drop(forged.remove(at)),
                }
                let forged = String::from_utf8(forged).expect("ascii");
                if forged != token {
                    let error = server.bearer(&forged).await.map(drop).expect_err(&forged);
                    assert_eq!(error.class(), ErrorClass::Unauthenticated, "{forged}");
                }
                server.bearer(&token).await.expect("the real one counts beside them");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no task panicked");
    }
}
