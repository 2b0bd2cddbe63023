//! The key service in this process, on a TLS port of its own, with one key and an account that may use it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_runtime::Drained;
use keystead_server::{App, PartialSettings, Running, Settings};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROJECT: &str = "key-project";
const RING: &str = "projects/key-project/locations/us-central1/keyRings/ring";
pub(crate) const KEY: &str = "projects/key-project/locations/us-central1/keyRings/ring/cryptoKeys/key";
/// An account with a key file; made when it is asked for.
const ACCOUNT: &str = "plugin@key-project.iam.gserviceaccount.com";
const ROLE: &str = "roles/cloudkms.cryptoKeyEncrypterDecrypter";

pub(crate) struct KeyService {
    running: Option<Running>,
    address: SocketAddr,
    endpoint: String,
    http: Client,
    admin: String,
    /// The cluster's account of P14, which every project has.
    account: String,
    directory: TempDir,
}

/// A token as the service gives it out.
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl KeyService {
    /// With a project, a ring, a key with one version, and the role of P15 on it for the cluster's account.
    pub(crate) async fn start() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let running = serve(&directory, SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = running.address().context("an address")?;
        let http = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(running.ca_pem().as_bytes())?)
            .no_proxy()
            .timeout(Duration::from_secs(20))
            .build()?;
        let admin = fs::read_to_string(running.token_file())?.trim().to_owned();
        let endpoint = running.endpoint().to_owned();
        let account = String::new();
        let mut service = Self { running: Some(running), address, endpoint, http, admin, account, directory };
        service.post("v1/projects", json!({ "projectId": PROJECT })).await?;
        for api in ["cloudkms.googleapis.com", "iam.googleapis.com"] {
            service.post(&format!("v1/projects/{PROJECT}/services/{api}:enable"), json!({})).await?;
        }
        let location = "projects/key-project/locations/us-central1";
        service.post(&format!("v1/{location}/keyRings?keyRingId=ring"), json!({})).await?;
        let key = json!({ "purpose": "ENCRYPT_DECRYPT" });
        service.post(&format!("v1/{RING}/cryptoKeys?cryptoKeyId=key"), key).await?;
        let project = service.call(Method::GET, &format!("v1/projects/{PROJECT}"), Value::Null).await?;
        let number = project["projectNumber"].as_str().context("a number")?;
        service.account = format!("service-{number}@container-engine-robot.iam.gserviceaccount.com");
        service.grant(true).await?;
        Ok(service)
    }

    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a version the primary, as C10 does: two calls.
    pub(crate) async fn rotate(&self) -> Result<u32> {
        let made = self.post(&format!("v1/{KEY}/cryptoKeyVersions"), json!({})).await?;
        let name = made["name"].as_str().context("a name")?;
        let number = name.rsplit('/').next().context("a number")?.parse()?;
        self.promote(number).await?;
        Ok(number)
    }

    pub(crate) async fn promote(&self, version: u32) -> Result<()> {
        let body = json!({ "cryptoKeyVersionId": version.to_string() });
        self.post(&format!("v1/{KEY}:updatePrimaryVersion"), body).await.map(drop)
    }

    pub(crate) async fn enable(&self, version: u32, enabled: bool) -> Result<()> {
        let state = if enabled { "ENABLED" } else { "DISABLED" };
        let path = format!("v1/{KEY}/cryptoKeyVersions/{version}?updateMask=state");
        self.call(Method::PATCH, &path, json!({ "state": state })).await.map(drop)
    }

    /// Gives the account its role on the key, or takes it away.
    pub(crate) async fn grant(&self, granted: bool) -> Result<()> {
        self.grant_to(if granted { vec![self.account.as_str()] } else { vec![] }).await
    }

    async fn grant_to(&self, accounts: Vec<&str>) -> Result<()> {
        let members: Vec<String> =
            accounts.iter().map(|account| format!("serviceAccount:{account}")).collect();
        let bindings =
            if members.is_empty() { json!([]) } else { json!([{ "role": ROLE, "members": members }]) };
        let body = json!({ "policy": { "bindings": bindings, "version": 3 } });
        self.post(&format!("v1/{KEY}:setIamPolicy"), body).await.map(drop)
    }

    pub(crate) async fn create_token(&self) -> Result<Token> {
        let body = json!({ "principal": format!("serviceAccount:{}", self.account) });
        let made = self.post("keystead/v1/tokens", body).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text");
        Ok(Token { id: text(&made["token"]["id"])?, secret: text(&made["secret"])? })
    }

    pub(crate) async fn revoke_token(&self, id: &str) -> Result<()> {
        self.call(Method::DELETE, &format!("keystead/v1/tokens/{id}"), Value::Null).await.map(drop)
    }

    /// An account of its own with the role; the text of its JSON key file.
    pub(crate) async fn create_account_key(&self) -> Result<String> {
        let account = json!({ "accountId": "plugin" });
        self.post(&format!("v1/projects/{PROJECT}/serviceAccounts"), account).await?;
        self.grant_to(vec![ACCOUNT]).await?;
        let path = format!("v1/projects/{PROJECT}/serviceAccounts/{ACCOUNT}/keys");
        let made = self.post(&path, json!({})).await?;
        let data = made["privateKeyData"].as_str().context("a key file")?;
        Ok(String::from_utf8(STANDARD.decode(data)?)?)
    }

    /// A client certificate of the server's own authority for a key of the caller's, for ten days; PEM.
    pub(crate) async fn issue_certificate(&self, signing_request: &str) -> Result<String> {
        let principal = format!("serviceAccount:{}", self.account);
        let body = json!({ "principal": principal, "signingRequestPem": signing_request, "ttl": "864000s" });
        let issued = self.post("keystead/v1/certificates", body).await?;
        issued["certificatePem"].as_str().map(str::to_owned).context("a certificate")
    }

    /// A credentials file for this service with these tokens.
    pub(crate) fn credentials(&self, tokens: &[&Token]) -> Result<String> {
        let secrets: Vec<&str> = tokens.iter().map(|token| token.secret.as_str()).collect();
        let file = json!({ "endpoint": self.endpoint, "ca": self.ca_pem()?, "tokens": secrets });
        Ok(file.to_string())
    }

    pub(crate) fn ca_pem(&self) -> Result<String> {
        Ok(self.running.as_ref().context("the service is stopped")?.ca_pem())
    }

    pub(crate) async fn stop(&mut self) -> Result<()> {
        let running = self.running.take().context("the service is stopped")?;
        let drained = running.stop().await;
        ensure!(drained == Drained::Clean, "the service ended as {drained:?}");
        Ok(())
    }

    /// Again, at the same address.
    pub(crate) async fn start_again(&mut self) -> Result<()> {
        ensure!(self.running.is_none(), "the service runs");
        self.running = Some(serve(&self.directory, self.address).await?);
        Ok(())
    }

    /// All that the stopped service keeps.
    pub(crate) fn copy_files(&self) -> Result<TempDir> {
        ensure!(self.running.is_none(), "the service runs");
        let copy = tempfile::tempdir()?;
        copy_tree(self.directory.path(), copy.path())?;
        Ok(copy)
    }

    /// Puts back what [`Self::copy_files`] made, and nothing else.
    pub(crate) fn restore_files(&self, copy: &TempDir) -> Result<()> {
        ensure!(self.running.is_none(), "the service runs");
        fs::remove_dir_all(self.directory.path())?;
        copy_tree(copy.path(), self.directory.path())
    }

    /// Where the administrator's token is, for programs.
    pub(crate) fn admin_token_file(&self) -> Result<PathBuf> {
        Ok(self.running.as_ref().context("the service is stopped")?.token_file())
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.call(Method::POST, path, body).await
    }

    /// As the first administrator.
    async fn call(&self, method: Method, path: &str, body: Value) -> Result<Value> {
        let (status, text) = self.call_as(&self.admin, method, path, body).await?;
        ensure!(status == 200, "{path}: {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }

    /// As whoever has this token; HTTP status and body.
    pub(crate) async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Value,
    ) -> Result<(u16, String)> {
        let request = self.http.request(method, format!("{}/{path}", self.endpoint)).bearer_auth(token);
        let request = if body.is_null() { request } else { request.json(&body) };
        let response = request.send().await?;
        Ok((response.status().as_u16(), response.text().await?))
    }

    /// A second key, on which the account has no role.
    pub(crate) async fn create_other_key(&self) -> Result<String> {
        let body = json!({ "purpose": "ENCRYPT_DECRYPT" });
        self.post(&format!("v1/{RING}/cryptoKeys?cryptoKeyId=other"), body).await?;
        Ok(format!("{RING}/cryptoKeys/other"))
    }
}

/// With the permissions, which the service checks.
fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, copied) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_tree(&entry.path(), &copied)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), copied)?;
        }
    }
    Ok(())
}

async fn serve(directory: &TempDir, address: SocketAddr) -> Result<Running> {
    let given = PartialSettings::local(&directory.path().join("data"))
        .complete()
        .map_err(|failure| anyhow!("{failure}"))?;
    let settings = Settings { listen: vec![address], admin: None, ..given };
    let app = App::build(settings).await.and_then(App::spawn);
    app.map_err(|failure| anyhow!("{failure}"))
}
