//! One kube-apiserver on a port of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::pki::Pki;
use super::port::Port;
use super::{Binaries, Options, files};
use crate::api::{Client, Readyz, kubeconfig};
use crate::process::Process;
use crate::ready;

/// How long a graceful stop may take; it took 1.1 s when measured.
const STOP: Duration = Duration::from_secs(70);

/// An API server that can be stopped and started again: address, certificate and etcd stay.
#[derive(Debug)]
pub struct ApiServer {
    process: Option<Process>,
    port: Port,
    program: PathBuf,
    directory: PathBuf,
    /// What never changes: certificates, etcd, addresses.
    fixed_args: Vec<String>,
    args: Vec<String>,
    encryption: bool,
    automatic_reload: bool,
    ca: String,
    token: String,
    client: Client,
}

impl ApiServer {
    pub(super) fn new(
        program: &Path,
        directory: &Path,
        pki: &Pki,
        etcd_url: &str,
        options: &Options,
    ) -> Result<Self> {
        files::create_directory(directory)?;
        let port = Port::reserve()?;
        let path = |flag: &str, path: &Path| format!("--{flag}={}", path.display());
        let fixed_args = vec![
            format!("--etcd-servers={etcd_url}"),
            format!("--etcd-prefix={}", options.etcd_prefix),
            format!("--secure-port={}", port.number()),
            "--permit-port-sharing=true".to_owned(),
            "--bind-address=127.0.0.1".to_owned(),
            "--advertise-address=127.0.0.1".to_owned(),
            path("cert-dir", directory),
            path("tls-cert-file", &pki.server_certificate),
            path("tls-private-key-file", &pki.server_key),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            path("service-account-key-file", &pki.service_account_public_key),
            path("service-account-signing-key-file", &pki.service_account_key),
            path("token-auth-file", &pki.tokens),
            "--authorization-mode=RBAC".to_owned(),
            "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
            // Nobody looks for API servers in the `kubernetes` Service here, and 127.0.0.1 is refused in it.
            "--endpoint-reconciler-type=none".to_owned(),
        ];
        let client = Client::new(&format!("https://127.0.0.1:{}", port.number()), &pki.ca, &pki.token)?;
        let mut server = Self {
            process: None,
            port,
            program: program.to_owned(),
            directory: directory.to_owned(),
            fixed_args,
            args: options.args.clone(),
            encryption: false,
            automatic_reload: options.automatic_reload,
            ca: pki.ca.clone(),
            token: pki.token.clone(),
            client,
        };
        server.set_encryption(options.encryption.as_deref())?;
        Ok(server)
    }

    /// Starts it and does not wait.
    pub async fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} is running already", self.name());
        let mut args = self.fixed_args.clone();
        if self.encryption {
            args.push(format!("--encryption-provider-config={}", self.encryption_file().display()));
            args.push(format!("--encryption-provider-config-automatic-reload={}", self.automatic_reload));
        }
        // Last, so that a test can replace any flag.
        args.extend(self.args.iter().cloned());
        let args: Vec<_> = args.into_iter().map(Into::into).collect();
        self.process = Some(Process::spawn(&self.program, &args, &self.log()).await?);
        Ok(())
    }

    /// Waits until `/readyz` is content. Fails early when the process ends, with the end of its log.
    pub async fn wait_ready(&mut self, patience: Duration) -> Result<()> {
        let name = self.name();
        let process = self.process.as_mut().with_context(|| format!("{name} is not running"))?;
        let client = &self.client;
        ready::wait(&name, process, patience, async || {
            let answer = client.readyz(true).await?;
            ensure!(answer.ok, "/readyz says:\n{}", answer.text);
            Ok(())
        })
        .await
    }

    /// Starts it and waits until it is ready.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn().await?;
        self.wait_ready(super::START).await
    }

    /// Ends it as a kubelet would, and waits for that; the exit status.
    pub async fn stop(&mut self) -> Result<i32> {
        let mut process = self.take()?;
        process.stop(STOP).await
    }

    /// Ends it with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        let mut process = self.take()?;
        process.kill().await?;
        Ok(())
    }

    /// Stops it gracefully, starts it with the present flags and configuration, and waits until it is ready.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await?;
        self.start().await
    }

    /// Replaces the EncryptionConfiguration, by rename. A running API server sees it only with automatic reload,
    /// within a minute. From or to `None` it needs a restart.
    pub fn set_encryption(&mut self, text: Option<&str>) -> Result<()> {
        if let Some(text) = text {
            files::write(&self.encryption_file(), text)?;
        }
        self.encryption = text.is_some();
        Ok(())
    }

    /// Switches automatic reload, for the next start.
    pub fn set_automatic_reload(&mut self, on: bool) {
        self.automatic_reload = on;
    }

    /// Chooses another version of Kubernetes for the next start; its program is looked for, see [`Binaries::find`].
    pub fn set_version(&mut self, version: &str) -> Result<()> {
        self.program = Binaries::find(None, version)?.kube_apiserver;
        Ok(())
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        self.client.url()
    }

    /// The authority of its certificate, in PEM.
    pub fn ca(&self) -> &str {
        &self.ca
    }

    /// Bearer token of an administrator. All API servers of one control plane take the same.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The text of a kubeconfig for whoever has this token.
    pub fn kubeconfig(&self, token: &str) -> String {
        kubeconfig(self.url(), Some(self.ca()), token)
    }

    /// A client with that authority and token.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What `/readyz` says.
    pub async fn readyz(&self, verbose: bool) -> Result<Readyz> {
        Ok(self.client.readyz(verbose).await?)
    }

    /// What `/metrics` says, in Prometheus text.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.client.metrics().await?)
    }

    /// Its process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// What it printed, over all starts.
    pub fn log(&self) -> PathBuf {
        self.directory.join("kube-apiserver.log")
    }

    /// Where its EncryptionConfiguration is.
    pub fn encryption_file(&self) -> PathBuf {
        self.directory.join("encryption.yaml")
    }

    /// kube-apiserver.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Those of every start, without encryption.
    pub fn flags(&self) -> impl Iterator<Item = &String> {
        self.fixed_args.iter().chain(&self.args)
    }

    /// Its port stays its own as long as this is kept.
    pub(super) fn into_port(self) -> Port {
        self.port
    }

    fn take(&mut self) -> Result<Process> {
        self.process.take().with_context(|| format!("{} is not running", self.name()))
    }

    fn name(&self) -> String {
        format!("kube-apiserver on port {}", self.port.number())
    }
}
