//! What the plugin makes of what happens in the key service.

use std::time::Duration;

use anyhow::{Context, Result};
use keystead_proto::kms_v2::StatusRequest;
use keystead_provider::contract;
use keystead_provider_cloudkms::{CloudKmsProvider, CloudKmsSettings, Credentials};
use rcgen::{CertificateParams, KeyPair};
use reqwest::Method;
use serde_json::{Value, json};
use tonic::{Code, Status};

use super::plugged::{OFTEN, Plugged};
use super::service::{KEY, KeyService};
use crate::plugin_process::{Place, Plugin, get, v2};

/// A probe that had begun may end first, and the machine is busy.
const WITHIN_A_PROBE: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_p18_a_rotation_in_the_service_is_taken_up_within_a_probe() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let first = plugin.key_id().await?;
    assert!(first.starts_with("cloudkms-v1-a"), "{first}");
    let old = plugin.encrypt().await?;
    assert_eq!(old.key_id, first);

    assert_eq!(service.rotate().await?, 2);
    let took =
        plugin.until("the new version", async || plugin.key_id().await.is_ok_and(|id| id != first)).await?;
    assert!(took < WITHIN_A_PROBE, "{took:?}");
    let second = plugin.key_id().await?;
    assert!(second.starts_with("cloudkms-v2-a"), "{second}");
    assert_eq!(plugin.encrypt().await?.key_id, second);
    plugin.decrypt(&old).await?;

    // Going back is another activation, so that the old id does not look current.
    service.promote(1).await?;
    plugin.until("version 1 again", async || plugin.key_id().await.is_ok_and(|id| id != second)).await?;
    let third = plugin.key_id().await?;
    assert!(third.starts_with("cloudkms-v1-a") && third != first, "{third} after {first}");

    // With nothing in memory the old ciphertext is opened by the service.
    plugin.stop().await?;
    plugin.start_again().await?;
    plugin.until("Status is good", async || plugin.key_id().await.is_ok()).await?;
    assert_eq!(plugin.key_id().await?, third);
    plugin.decrypt(&old).await?;
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p20_a_disabled_primary_stops_the_plugin_within_a_probe_and_enabling_heals() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let sealed = plugin.encrypt().await?;
    service.enable(1, false).await?;
    let took = plugin.until("Status is an error", async || plugin.key_id().await.is_err()).await?;
    assert!(took < WITHIN_A_PROBE, "{took:?}");
    let status = plugin.key_id().await.expect_err("refused");
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("is DISABLED"), "{status:?}");
    assert_eq!(plugin.encrypt().await.err().map(|error| error.code()), Some(Code::FailedPrecondition));
    // Nothing is served under it from memory either.
    plugin
        .until("its ciphertexts are unreadable", async || {
            plugin.decrypt(&sealed).await.is_err_and(|error| error.code() == Code::FailedPrecondition)
        })
        .await?;

    service.enable(1, true).await?;
    plugin.until("Status is good", async || plugin.key_id().await.is_ok()).await?;
    plugin.decrypt(&sealed).await?;
    plugin.encrypt().await?;
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p11_p20_what_an_old_disabled_version_sealed_is_unreadable_until_it_is_enabled() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let first = plugin.key_id().await?;
    let old = plugin.encrypt().await?;
    service.rotate().await?;
    plugin.until("the new version", async || plugin.key_id().await.is_ok_and(|id| id != first)).await?;
    let new = plugin.encrypt().await?;
    plugin.decrypt(&old).await?;
    service.enable(1, false).await?;
    let refused = |error: Status| error.code() == Code::FailedPrecondition;
    plugin.until("it is unreadable", async || plugin.decrypt(&old).await.is_err_and(refused)).await?;
    plugin.decrypt(&new).await?;
    service.enable(1, true).await?;
    plugin.decrypt(&old).await?;
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p15_a_role_that_is_taken_away_stops_the_plugin_and_given_again_it_heals() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    service.grant(false).await?;
    let took = plugin.until("Status is an error", async || plugin.key_id().await.is_err()).await?;
    assert!(took < WITHIN_A_PROBE, "{took:?}");
    let status = plugin.key_id().await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains(&format!("token {}", token.id)), "{status:?}");
    service.grant(true).await?;
    plugin.until("Status is good", async || plugin.key_id().await.is_ok()).await?;
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_a_revoked_token_is_denied_and_another_one_is_taken_up_without_a_restart() -> Result<()> {
    let service = KeyService::start().await?;
    let (first, second) = (service.create_token().await?, service.create_token().await?);
    let mut plugin = Plugged::ready(&service, &[&first], OFTEN).await?;
    let sealed = plugin.encrypt().await?;
    service.revoke_token(&first.id).await?;
    let took = plugin.until("Status is an error", async || plugin.key_id().await.is_err()).await?;
    assert!(took < WITHIN_A_PROBE, "{took:?}");
    let status = plugin.key_id().await.expect_err("refused");
    assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    assert!(status.message().contains(&format!("token {} was revoked", first.id)), "{status:?}");
    plugin.replace_credentials(&service.credentials(&[&second])?)?;
    plugin.until("Status is good", async || plugin.key_id().await.is_ok()).await?;
    plugin.decrypt(&sealed).await?;
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p6_a_stopped_service_is_an_outage_with_a_bound() -> Result<()> {
    let mut service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], &format!("{OFTEN}outageBound: 4s\n")).await?;
    let sealed = plugin.encrypt().await?;
    service.stop().await?;
    plugin.until("the outage is said", async || plugin.readyz().1.starts_with("outage: ")).await?;
    // Within the bound everything goes on.
    plugin.key_id().await?;
    plugin.decrypt(&sealed).await?;
    plugin.encrypt().await?;
    plugin.until("the bound is over", async || plugin.key_id().await.is_err()).await?;
    assert_eq!(plugin.key_id().await.expect_err("refused").code(), Code::Unavailable);
    service.start_again().await?;
    plugin.until("Status is good", async || plugin.key_id().await.is_ok()).await?;
    plugin.decrypt(&sealed).await?;
    plugin.stop().await
}

/// The binary with the manifest's two variables, all of its log looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn k4_two_variables_suffice_and_no_secret_is_logged() -> Result<()> {
    let service = KeyService::start().await?;
    let (first, second) = (service.create_token().await?, service.create_token().await?);
    let place = Place::empty();
    place.write("credentials.json", service.credentials(&[&first, &second])?, 0o600);
    let mut command = place.command([]);
    command.env("KMS_KEY_ID", KEY).env("KMS_USER_ID", &second.id);
    command.env("KEYSTEAD_CREDENTIALS_FILE", place.path("credentials.json"));
    command.env("KEYSTEAD_SOCKET", place.socket()).env("KEYSTEAD_ADMIN", "127.0.0.1:0");
    command.env("KEYSTEAD_LOG_LEVEL", "trace");
    let mut plugin = Plugin::start(command);
    plugin.says("encrypting");
    let status = v2(&place.socket()).await.status(StatusRequest {}).await?.into_inner();
    assert!(status.key_id.starts_with("cloudkms-v1-"), "{}", status.key_id);
    let ended = plugin.terminate();
    assert_eq!(ended.code, 0, "{ended:?}");
    for token in [&first, &second] {
        let secret = token.secret.rsplit_once(&format!("{}_", token.id)).context("a token")?.1;
        assert!(!ended.stderr.contains(secret), "a token is in the log");
    }
    Ok(())
}

/// With Google's own library, which finds the key file in its variable and signs with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn googles_credentials_work_with_another_endpoint() -> Result<()> {
    let service = KeyService::start().await?;
    let place = Place::empty();
    place.write("account.json", service.create_account_key().await?, 0o600);
    place.write("ca.pem", service.ca_pem()?, 0o644);
    let mut command = place.command(["--google", "--kms-key", KEY, "--kms-endpoint", service.endpoint()]);
    command
        .args(["--kms-ca-file", "ca.pem"])
        .env("GOOGLE_APPLICATION_CREDENTIALS", place.path("account.json"));
    command.env("KEYSTEAD_SOCKET", place.socket()).env("KEYSTEAD_ADMIN", "127.0.0.1:0");
    let mut plugin = Plugin::start(command);
    plugin.says("encrypting");
    assert_eq!(plugin.terminate().code, 0);
    Ok(())
}

/// The key file alone is the credentials file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_accounts_key_file_suffices() -> Result<()> {
    let service = KeyService::start().await?;
    let place = Place::empty();
    place.write("account.json", service.create_account_key().await?, 0o600);
    place.write("ca.pem", service.ca_pem()?, 0o644);
    let mut command = place.command(["--kms-key", KEY, "--kms-endpoint", service.endpoint()]);
    command.args(["--kms-ca-file", "ca.pem", "--credentials-file", "account.json"]);
    command.env("KEYSTEAD_SOCKET", place.socket()).env("KEYSTEAD_ADMIN", "127.0.0.1:0");
    let mut plugin = Plugin::start(command);
    plugin.says("encrypting");
    assert_eq!(plugin.terminate().code, 0);
    Ok(())
}

/// No token at all; and its end can be seen coming.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_certificate_suffices() -> Result<()> {
    let service = KeyService::start().await?;
    let key = KeyPair::generate()?;
    let request = CertificateParams::default().serialize_request(&key)?.pem()?;
    let place = Place::empty();
    place.write("client.pem", service.issue_certificate(&request).await?, 0o644);
    place.write("client.key", key.serialize_pem(), 0o600);
    let file = json!({
        "endpoint": service.endpoint(),
        "ca": service.ca_pem()?,
        "clientCertificateFile": "client.pem",
        "clientKeyFile": "client.key",
    });
    place.write("credentials.json", file.to_string(), 0o600);
    let mut command = place.command(["--kms-key", KEY, "--credentials-file", "credentials.json"]);
    command.env("KEYSTEAD_SOCKET", place.socket()).env("KEYSTEAD_ADMIN", "127.0.0.1:0");
    let mut plugin = Plugin::start(command);
    plugin.says("encrypting");
    let (status, text) = get(plugin.admin(), "/readyz");
    assert_eq!(status, 200);
    assert!(text.contains("\nthe client certificate ends in 9 days\n"), "{text}");
    let metrics = get(plugin.admin(), "/metrics").1;
    let name = "keystead_plugin_credentials_end_seconds{credential=\"the client certificate\"} ";
    let left = metrics.lines().find_map(|line| line.strip_prefix(name)).context("the metric")?;
    assert!((860_000..=864_000).contains(&left.parse::<i64>()?), "{left}");
    assert_eq!(plugin.terminate().code, 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_fulfils_its_contract_over_the_real_service() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let place = Place::empty();
    let path = place.write("credentials.json", service.credentials(&[&token])?, 0o600);
    let provider = CloudKmsProvider::open(CloudKmsSettings {
        key: KEY.parse()?,
        endpoint: None,
        ca_file: None,
        credentials: Credentials::File { path, user: None },
    })?;
    contract::check(&provider).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn credentials_that_a_start_would_not_find_are_told_and_the_last_good_ones_go_on() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let refused = || plugin.metric("keystead_plugin_credentials_refused");
    let told =
        || plugin.readyz().1.contains("goes on with the last good credentials, could not start again: ");
    assert!(refused() == 0.0 && !told());

    let (path, away) = (plugin.credentials(), plugin.credentials().with_extension("away"));
    std::fs::rename(&path, &away)?;
    assert!(refused() == 1.0 && told(), "{:?}", plugin.readyz());
    assert_eq!(plugin.readyz().0, 200);
    plugin.decrypt(&plugin.encrypt().await?).await?;
    std::fs::write(&path, "{")?;
    assert!(refused() == 1.0 && told());
    assert_eq!(plugin.metric("keystead_plugin_key_refused"), 0.0, "it is not the key");

    std::fs::rename(&away, &path)?;
    assert!(refused() == 0.0 && !told());
    plugin.stop().await
}

/// Whatever else is tried with what stands on a control-plane host.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a10_p15_the_plugins_token_can_encrypt_and_decrypt_with_its_key_and_nothing_else() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let other = service.create_other_key().await?;
    let ring = KEY.rsplit_once("/cryptoKeys/").context("a ring")?.0;
    let (get, post, patch) = (Method::GET, Method::POST, Method::PATCH);
    let good = json!({ "plaintext": "AAAA" });
    let (status, text) =
        service.call_as(&token.secret, post.clone(), &format!("v1/{KEY}:encrypt"), good.clone()).await?;
    assert_eq!(status, 200, "{text}");
    let grab = json!({ "policy": { "bindings": [{ "role": "roles/owner", "members": ["allAuthenticatedUsers"] }] } });
    for (method, path, body) in [
        (&get, format!("v1/{KEY}"), Value::Null),
        (&get, format!("v1/{ring}/cryptoKeys"), Value::Null),
        (&get, format!("v1/{KEY}/cryptoKeyVersions"), Value::Null),
        (&get, format!("v1/{KEY}/cryptoKeyVersions/1"), Value::Null),
        (&get, format!("v1/{KEY}:getIamPolicy"), Value::Null),
        (&post, format!("v1/{KEY}:setIamPolicy"), grab.clone()),
        (&post, format!("v1/{ring}:setIamPolicy"), grab.clone()),
        (&post, "v1/projects/key-project:setIamPolicy".to_owned(), grab),
        (&post, format!("v1/{KEY}/cryptoKeyVersions"), json!({})),
        (&post, format!("v1/{KEY}:updatePrimaryVersion"), json!({ "cryptoKeyVersionId": "1" })),
        (&post, format!("v1/{KEY}/cryptoKeyVersions/1:destroy"), json!({})),
        (&patch, format!("v1/{KEY}/cryptoKeyVersions/1?updateMask=state"), json!({ "state": "DISABLED" })),
        (&patch, format!("v1/{KEY}?updateMask=labels"), json!({ "labels": { "a": "b" } })),
        (&post, format!("v1/{ring}/cryptoKeys?cryptoKeyId=mine"), json!({ "purpose": "ENCRYPT_DECRYPT" })),
        (&post, format!("v1/{other}:encrypt"), good),
        (&post, format!("v1/{other}:decrypt"), json!({ "ciphertext": "AAAA" })),
        (&get, format!("v1/{other}"), Value::Null),
        (&post, "v1/projects/key-project/serviceAccounts".to_owned(), json!({ "accountId": "another" })),
        (&post, "keystead/v1/tokens".to_owned(), json!({ "principal": "user:admin@keystead.local" })),
    ] {
        let (status, text) = service.call_as(&token.secret, method.clone(), &path, body).await?;
        assert_eq!(status, 403, "{method} {path}: {text}");
    }
    Ok(())
}
