//! A `keystead-server` as a process of its own, and a plain REST client for it.
#![expect(clippy::indexing_slicing, reason = "JSON answers null for what is not there")]

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

use crate::process::Process;
use crate::ready;

/// A start takes a fraction of a second; a busy machine gets more.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running server. It ends with this value.
#[derive(Debug)]
pub struct KmsServer {
    process: Process,
    program: PathBuf,
    data_dir: PathBuf,
    args: Vec<OsString>,
    endpoint: String,
    client: Client,
}

impl KmsServer {
    /// Starts `program` on a free loopback port with everything in `data_dir`, which is made, and waits until it is ready.
    pub async fn start(program: &Path, data_dir: &Path) -> Result<Self> {
        Self::start_with(program, data_dir, &[]).await
    }

    /// The same with further arguments.
    pub async fn start_with(program: &Path, data_dir: &Path, more: &[&str]) -> Result<Self> {
        Self::start_as(program, &[], data_dir, more).await
    }

    /// The same of a program that is the server only with these words before the arguments: `server run`.
    pub async fn start_as(program: &Path, words: &[&str], data_dir: &Path, more: &[&str]) -> Result<Self> {
        let mut args: Vec<OsString> = words.iter().map(OsString::from).collect();
        args.extend(["--data-dir".into(), data_dir.into()]);
        args.extend(["--listen", "127.0.0.1:0", "--log-format", "json"].map(OsString::from));
        args.extend(more.iter().map(OsString::from));
        let (process, endpoint, client) = spawn(program, data_dir, &args).await?;
        Ok(Self {
            process,
            program: program.to_owned(),
            data_dir: data_dir.to_owned(),
            args,
            endpoint,
            client,
        })
    }

    /// Ends it with SIGKILL and starts it again on the same data, on another port.
    pub async fn kill_and_restart(&mut self) -> Result<()> {
        self.process.kill().await?;
        (self.process, self.endpoint, self.client) = spawn(&self.program, &self.data_dir, &self.args).await?;
        Ok(())
    }

    /// Ends it with SIGTERM and gives its exit status.
    pub async fn stop(mut self) -> Result<i32> {
        self.process.stop(PATIENCE).await
    }

    /// Such as `https://localhost:40123`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The certificate authority, as a file.
    pub fn ca_file(&self) -> PathBuf {
        self.data_dir.join("tls/ca.pem")
    }

    /// The first administrator's token, as a file.
    pub fn token_file(&self) -> PathBuf {
        self.data_dir.join("admin-token")
    }

    /// Where it keeps everything.
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged.
    pub fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(log_file(&self.data_dir))?)
    }

    /// A client that trusts the server and sends no credential.
    pub fn http(&self) -> &Client {
        &self.client
    }

    /// One call as the administrator: status and answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let token = std::fs::read_to_string(self.token_file())?;
        self.call_as(token.trim(), method, path, body).await
    }

    /// One call with a token: status and answer. `path` begins with `/v1/`.
    pub async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.endpoint)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let value =
            serde_json::from_str(&text).with_context(|| format!("{path} answered {status}: {text}"))?;
        Ok((status, value))
    }

    /// The same, for a call that must succeed.
    pub async fn ok(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, answer) = self.call(method, path, body).await?;
        ensure!(status == 200, "{path} answered {status}: {answer}");
        Ok(answer)
    }

    /// Makes a project with the APIs that the tests use switched on, and gives its number.
    pub async fn create_project(&self, project: &str) -> Result<u64> {
        self.ok(Method::POST, "/v1/projects", Some(&json!({"projectId": project, "name": project}))).await?;
        for api in ["cloudkms.googleapis.com", "container.googleapis.com"] {
            let path = format!("/v1/projects/{project}/services/{api}:enable");
            self.ok(Method::POST, &path, Some(&json!({}))).await?;
        }
        let made = self.ok(Method::GET, &format!("/v1/projects/{project}"), None).await?;
        let number = made["projectNumber"].as_str().context("a project has a number")?;
        Ok(number.parse()?)
    }

    /// Makes a service account with one role in its project, and a key file for it at `key_file`.
    pub async fn create_service_account(
        &self,
        project: &str,
        id: &str,
        role: &str,
        key_file: &Path,
    ) -> Result<String> {
        let made = json!({"accountId": id});
        let account =
            self.ok(Method::POST, &format!("/v1/projects/{project}/serviceAccounts"), Some(&made)).await?;
        let email = account["email"].as_str().context("an account has an e-mail")?.to_owned();
        let path = format!("/v1/projects/{project}/serviceAccounts/{email}/keys");
        let key = self.ok(Method::POST, &path, Some(&json!({}))).await?;
        let data = key["privateKeyData"].as_str().context("a key has its data once")?;
        std::fs::write(key_file, BASE64.decode(data)?)?;
        self.grant(
            &format!("/v1/projects/{project}"),
            Method::POST,
            role,
            &format!("serviceAccount:{email}"),
        )
        .await?;
        Ok(email)
    }

    /// Adds one binding to the policy of a resource. `get` is how its API reads policies.
    pub async fn grant(&self, resource: &str, get: Method, role: &str, member: &str) -> Result<()> {
        let body = (get == Method::POST).then(|| json!({"options": {"requestedPolicyVersion": 3}}));
        let path = format!("{resource}:getIamPolicy?options.requestedPolicyVersion=3");
        let policy = self.ok(get, &path, body.as_ref()).await?;
        let mut bindings = policy["bindings"].as_array().cloned().unwrap_or_default();
        bindings.push(json!({"role": role, "members": [member]}));
        let policy = json!({"version": 3, "etag": policy["etag"], "bindings": bindings});
        self.ok(Method::POST, &format!("{resource}:setIamPolicy"), Some(&json!({"policy": policy}))).await?;
        Ok(())
    }
}

fn log_file(data_dir: &Path) -> PathBuf {
    data_dir.with_extension("log")
}

async fn spawn(program: &Path, data_dir: &Path, args: &[OsString]) -> Result<(Process, String, Client)> {
    let file = data_dir.join("endpoint.json");
    // What the process before this one wrote would be taken for the new one's.
    if file.exists() {
        std::fs::remove_file(&file)?;
    }
    let mut process = Process::spawn(program, args, &log_file(data_dir)).await?;
    let mut found = None;
    ready::wait("keystead-server", &mut process, PATIENCE, async || {
        let described: Value = serde_json::from_str(&std::fs::read_to_string(&file)?)?;
        let endpoint = described["endpoint"].as_str().context("endpoint.json names no endpoint")?;
        let authority = Certificate::from_pem_bundle(&std::fs::read(data_dir.join("tls/ca.pem"))?)?;
        let client = Client::builder().tls_certs_only(authority).no_proxy().build()?;
        client.get(format!("{endpoint}/livez")).send().await?.error_for_status()?;
        found = Some((endpoint.to_owned(), client));
        Ok(())
    })
    .await?;
    let (endpoint, client) = found.context("a server that is ready has an address")?;
    Ok((process, endpoint, client))
}
