//! The key in the real key service, the API server real too.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{
    ApiServer, ControlPlane, EncryptionProvider, Options, encryption_config,
};
use serde_json::json;

use super::convergence::converged;
use super::deadline::eventually;
use super::revocation::until_a_write_is_refused;
use super::stored::Store;
use crate::key_service::plugged::{OFTEN, Plugged};
use crate::key_service::service::KeyService;

const SECRETS: u64 = 20;
/// The plugin's default, and a call.
const PROBE: Duration = Duration::from_secs(12);

/// C10, then C11 at once, which is too early; then C11 again when the new version is in use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the control plane, gcloud and kubectl: cargo xtask test"]
async fn c10_c11_p18_a_rotation_in_the_service_is_adopted_and_everything_is_re_encrypted() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    // As deployed: a probe every 10 s or so.
    let mut plugin = Plugged::ready(&service, &[&token], "").await?;
    let control_plane = control_plane(&plugin).await?;
    let server = &control_plane.api_servers[0];
    let store = Store::of(&control_plane).await?;
    for index in 0..SECRETS {
        server.client().create(&secret(&format!("secret-{index}"))).await?;
    }
    let first = plugin.key_id().await?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&first, SECRETS)]));

    rotate(&service, control_plane.directory())?;
    let began = Instant::now();
    re_encrypt(server, control_plane.directory(), "too early")?;
    let left = store.secrets_by_key_id().await?.get(&first).copied().unwrap_or_default();
    println!("C11 at once after C10: {left} of {SECRETS} Secrets are still under the old version");

    plugin
        .until("the plugin shows version 2", async || plugin.key_id().await.is_ok_and(|id| id != first))
        .await?;
    println!("C10 to the plugin's Status: {:?}", began.elapsed());
    ensure!(began.elapsed() < PROBE, "{:?}", began.elapsed());
    let second = plugin.key_id().await?;
    converged(server, "keystead", &second).await?;
    println!("C10 to the API server's use: {:?}", began.elapsed());

    re_encrypt(server, control_plane.directory(), "now")?;
    assert_eq!(store.secrets_by_key_id().await?, counts(&[(&second, SECRETS)]));
    for index in 0..SECRETS {
        assert_eq!(read(server.client(), &format!("secret-{index}")).await?, VALUE);
    }
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p11_p20_what_an_old_disabled_version_sealed_is_lost_to_a_new_api_server_until_enabled() -> Result<()>
{
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let mut control_plane = control_plane(&plugin).await?;
    let client = control_plane.api_servers[0].client().clone();
    client.create(&secret("old")).await?;
    let (first, sealed) = (plugin.key_id().await?, plugin.encrypt().await?);
    service.rotate().await?;
    plugin
        .until("the plugin shows version 2", async || plugin.key_id().await.is_ok_and(|id| id != first))
        .await?;
    converged(&control_plane.api_servers[0], "keystead", &plugin.key_id().await?).await?;
    client.create(&secret("new")).await?;

    // What the API server holds in memory it goes on reading.
    service.enable(1, false).await?;
    plugin
        .until("the plugin opens nothing under it", async || plugin.decrypt(&sealed).await.is_err())
        .await?;
    assert_eq!(read(&client, "old").await?, VALUE);

    // A new API server is not ready, because one of its Secrets is lost; the others are there. The plugin runs on.
    let server = &mut control_plane.api_servers[0];
    server.stop().await?;
    server.spawn().await?;
    eventually("the new one is read", Duration::from_secs(30), async || {
        Ok(read(&client, "new").await.is_ok_and(|value| value == VALUE))
    })
    .await?;
    let lost = client.get(Kind::Secret, "default", "old").await.unwrap_err();
    assert_eq!(lost.status(), Some(500), "{lost}");
    assert!(lost.to_string().contains("is DISABLED: enable it"), "{lost}");

    service.enable(1, true).await?;
    eventually("it returns by itself", Duration::from_secs(60), async || {
        Ok(read(&client, "old").await.is_ok())
    })
    .await?;
    server.wait_ready(Duration::from_secs(90)).await?;
    plugin.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs the control plane: cargo xtask test"]
async fn p20_a_disabled_primary_stops_writes_and_reads_go_on_from_memory() -> Result<()> {
    let service = KeyService::start().await?;
    let token = service.create_token().await?;
    let mut plugin = Plugged::ready(&service, &[&token], OFTEN).await?;
    let control_plane = control_plane(&plugin).await?;
    let client = control_plane.api_servers[0].client();
    client.create(&secret("before")).await?;
    service.enable(1, false).await?;
    plugin.until("Status is an error", async || plugin.key_id().await.is_err()).await?;
    let took = until_a_write_is_refused(client, Duration::from_secs(3)).await?;
    println!("writes were refused {took:?} after the version was disabled");
    assert_eq!(read(client, "before").await?, VALUE);
    service.enable(1, true).await?;
    eventually("writes go on by themselves", Duration::from_secs(90), async || {
        Ok(client.create(&secret("healed")).await.is_ok())
    })
    .await?;
    plugin.stop().await
}

const VALUE: &[u8] = b"a password";

fn secret(name: &str) -> Object {
    Object::new(Kind::Secret, "default", name, "key", VALUE)
}

async fn read(client: &Client, name: &str) -> Result<Vec<u8>> {
    let mut object = client.get(Kind::Secret, "default", name).await?;
    Ok(object.data.remove("key").unwrap_or_default())
}

async fn control_plane(plugin: &Plugged) -> Result<ControlPlane> {
    let kms = EncryptionProvider::KmsV2 {
        name: "keystead".to_owned(),
        endpoint: format!("unix://{}", plugin.socket().display()),
        timeout: None,
    };
    let encryption = Some(encryption_config(&["secrets"], &[kms]));
    ControlPlane::start(Options { encryption, ..Options::default() }).await
}

/// The command of C10, as it stands there.
fn rotate(service: &KeyService, directory: &Path) -> Result<()> {
    let ca = directory.join("key-service-ca.pem");
    std::fs::write(&ca, service.ca_pem()?)?;
    let words = "kms keys versions create --location us-central1 --keyring ring --key key --primary --project key-project";
    let output = Command::new(std::env::var_os("KEYSTEAD_GCLOUD").unwrap_or_else(|| "gcloud".into()))
        .args(words.split(' '))
        .env("CLOUDSDK_CONFIG", directory.join("gcloud"))
        .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
        .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDKMS", format!("{}/", service.endpoint()))
        .env("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", service.admin_token_file()?)
        .env("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", ca)
        // They would win over it.
        .env_remove("REQUESTS_CA_BUNDLE")
        .env_remove("CURL_CA_BUNDLE")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "gcloud {words}: {said}");
    Ok(())
}

/// The command of C11, as it stands there.
fn re_encrypt(server: &ApiServer, directory: &Path, time: &str) -> Result<()> {
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "c", "cluster": {
            "server": server.url(), "certificate-authority-data": STANDARD.encode(server.ca())
        } }],
        "users": [{ "name": "u", "user": { "token": server.token() } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
        "current-context": "x",
    });
    let kubeconfig = directory.join("kubeconfig");
    std::fs::write(&kubeconfig, config.to_string())?;
    let command = format!(
        "kubectl get secrets --all-namespaces -o json | \
         kubectl annotate --overwrite -f - encryption-key-rotation-time=\"{time}\""
    );
    let output = Command::new("sh").args(["-c", &command]).env("KUBECONFIG", kubeconfig).output()?;
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && printed.contains("annotated"), "{command}: {printed}{said}");
    Ok(())
}

fn counts(of: &[(&String, u64)]) -> BTreeMap<String, u64> {
    of.iter().map(|(key_id, count)| ((*key_id).clone(), *count)).collect()
}
