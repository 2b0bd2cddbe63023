use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde_json::Value;

use super::*;
use crate::fresh_server::{FreshServer, KeyFile};
use crate::operations::{DeleteServiceAccountKey, SwitchServiceAccount};

const NOW: i64 = 20_782 * 86_400 + 43_200;
const SCOPE: &str =
    "openid https://www.googleapis.com/auth/userinfo.email https://www.googleapis.com/auth/cloud-platform";

/// What gcloud signs: its audience stays Google's, and there is no subject.
fn grant(file: &KeyFile, name: &str, value: &str) -> String {
    let mut claims = json!({
        "iss": file.client_email,
        "aud": "https://oauth2.googleapis.com/token",
        "iat": NOW,
        "exp": NOW + 3600,
    });
    claims[name] = value.into();
    file.sign(&claims)
}

async fn exchange(server: &FreshServer, assertion: &str) -> Result<TokenAnswer, TokenRefusal> {
    server.service.exchange_token(GRANT, assertion, Origin::default()).await
}

async fn access_token(server: &FreshServer, file: &KeyFile) -> String {
    let answer = exchange(server, &grant(file, "scope", SCOPE)).await.expect("exchanged");
    assert_eq!((answer.expires_in, answer.token_type, answer.id_token), (3600, "Bearer", None));
    String::from_utf8(answer.access_token.expect("a token").into_exposed()).expect("text")
}

#[tokio::test]
async fn an_access_token_counts_for_an_hour_and_survives_a_restart() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let token = access_token(&server, &file).await;
    let server = server.reopen().await;
    let call = server.bearer(&token).await.expect("it counts");
    assert_eq!(call.caller().principal.email(), file.client_email);
    assert_eq!(call.caller().credential, Credential::ServiceAccountKey(file.private_key_id.clone()));
    server.clock.advance(Duration::from_secs(3599));
    server.bearer(&token).await.expect("a second is left");
    server.clock.advance(Duration::from_secs(1));
    server.bearer(&token).await.map(drop).expect_err("its time is over");
    let audit = server.audit_text();
    assert!(audit.contains("ExchangeToken") && !audit.contains(&token[4..40]));
}

#[tokio::test]
async fn an_access_token_ends_with_its_key_and_its_account() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let token = access_token(&server, &file).await;
    let name = format!("projects/key-project/serviceAccounts/{}", file.client_email);
    let name = server.service.account_name(&name).await.expect("a name");
    let admin = server.admin().await;
    for (enable, counts) in [(false, false), (true, true)] {
        server.run_as(&admin, SwitchServiceAccount { name: name.clone(), enable }).await.expect("switched");
        assert_eq!(server.bearer(&token).await.is_ok(), counts);
    }
    let key_id = file.private_key_id.clone();
    server.run_as(&admin, DeleteServiceAccountKey { name, key_id }).await.expect("deleted");
    server.bearer(&token).await.map(drop).expect_err("its key is gone");
}

#[tokio::test]
async fn no_edit_of_an_access_token_counts() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let token = access_token(&server, &file).await;
    for at in 0..token.len() {
        for letter in ["A", "b", "0", "-", "."] {
            let mut forged = token.clone();
            forged.replace_range(at..=at, letter);
            if forged != token {
                server.bearer(&forged).await.map(drop).expect_err(&forged);
            }
        }
        server.bearer(&token[..at]).await.map(drop).expect_err("cut off");
    }
    // Another server's, which has another store key.
    let other = FreshServer::new().await;
    other.bearer(&token).await.map(drop).expect_err("another server's");
}

#[tokio::test]
async fn an_id_token_has_three_parts_and_says_what_gcloud_reads() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let assertion = grant(&file, "target_audience", "32555940559.apps.googleusercontent.com");
    let answer = exchange(&server, &assertion).await.expect("exchanged");
    assert!(answer.access_token.is_none());
    let id_token = answer.id_token.expect("an id token");
    let parts: Vec<Vec<u8>> =
        id_token.split('.').map(|part| BASE64URL.decode(part).expect("base64url")).collect();
    let [header, claims, signature] = parts.as_slice() else { panic!("{id_token}") };
    let header: Value = serde_json::from_slice(header).expect("json");
    let claims: Value = serde_json::from_slice(claims).expect("json");
    assert_eq!((header["alg"].as_str(), signature.len()), (Some("EdDSA"), 64));
    assert_eq!(claims["aud"], "32555940559.apps.googleusercontent.com");
    assert_eq!(claims["email"], file.client_email.as_str());
    assert_eq!(claims["exp"], NOW + 3600);
    // It is for others: here it opens nothing.
    server.bearer(&id_token).await.map(drop).expect_err("no credential");
}

#[tokio::test]
async fn refusals_are_those_of_oauth() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    let good = grant(&file, "scope", SCOPE);
    let refused = server.service.exchange_token("client_credentials", &good, Origin::default()).await;
    assert_eq!(refused.map(drop).expect_err("another grant").error, "unsupported_grant_type");
    let wrong = |claims: Value| file.sign(&claims);
    let bearer = wrong(json!({
        "iss": file.client_email, "sub": file.client_email, "aud": "https://cloudkms.googleapis.com/", "scope": SCOPE,
        "iat": NOW, "exp": NOW + 60,
    }));
    for (assertion, error) in [
        ("", "invalid_grant"),
        ("a.b.c", "invalid_grant"),
        (bearer.as_str(), "invalid_grant"),
        (&grant(&file, "sub", "somebody@example.com"), "invalid_grant"),
        (&grant(&file, "scope", "https://www.googleapis.com/auth/devstorage.read_only"), "invalid_scope"),
    ] {
        let refused = exchange(&server, assertion).await.map(drop).expect_err(error);
        assert_eq!((refused.error, refused.http_status), (error, 400), "{assertion}");
    }
}

#[tokio::test]
async fn each_token_that_is_given_out_has_its_record() {
    let server = FreshServer::new().await;
    let file = server.key_file("key-project", "backup-job").await;
    for _ in 0..70 {
        access_token(&server, &file).await;
        let answer = exchange(&server, &grant(&file, "target_audience", "https://example.com")).await;
        answer.expect("exchanged");
    }
    // What fails is counted past the first ones.
    for _ in 0..70 {
        exchange(&server, &grant(&file, "scope", "none")).await.map(drop).expect_err("no scope");
    }
    let recorded = server.audit_text().matches("\"methodName\":\"ExchangeToken\"").count();
    assert_eq!(recorded, 2 * 70 + 60);
}
