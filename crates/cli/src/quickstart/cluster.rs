//! A real etcd and a real kube-apiserver.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use keystead_cluster::api::Kubeconfig;
use keystead_cluster::reencrypt::{self, Control, Ending, Journal, Plan, Request};
use keystead_crypto::sha256;
use keystead_etcd::{Connection, Etcd, Layout, StoredCounts, inventory};
use keystead_testkit::api::{Kind, Object};
use keystead_testkit::control_plane::{
    ApiServer, ControlPlane, EncryptionProvider, Options, encryption_config,
};

use super::plugin_process::PluginProcess;
use super::story::Cluster;
use crate::env::quote;

const NAMESPACE: &str = "default";
const FIELD: &str = "password";
const SECRETS_PREFIX: &str = "/registry/secrets/";
/// kube-apiserver looks at Status with every request for /readyz, but keeps a good result for 20 s, and every minute.
const ADOPTION: Duration = Duration::from_secs(90);
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct RealCluster {
    directory: PathBuf,
    binaries: Option<PathBuf>,
    running: Option<ControlPlane>,
}

impl RealCluster {
    pub(super) fn new(directory: &Path, binaries: Option<PathBuf>) -> Self {
        Self { directory: directory.join("cluster"), binaries, running: None }
    }

    /// What can be done with the cluster that is up.
    pub(super) fn try_it(&self, program: &str) -> Option<String> {
        let kubeconfig = self.kubeconfig().ok()?;
        let kubeconfig = quote(&kubeconfig.to_string_lossy());
        let etcd = self.running.as_ref()?.etcd().url();
        Some(format!(
            "\nkube-apiserver and etcd are up; for example:\n   \
             kubectl --kubeconfig {kubeconfig} get secrets --namespace {NAMESPACE}\n   \
             {program} cluster inventory --endpoints {etcd} --resource secrets\n   \
             {program} cluster reencrypt --kubeconfig {kubeconfig} --no-state"
        ))
    }

    /// Its token is in a file in a directory that only we may enter: it must not stand in a list of processes.
    fn kubeconfig(&self) -> Result<PathBuf> {
        let running = self.running.as_ref().context("the control plane is not running")?;
        let server = running.api_servers.first().context("there is one API server")?;
        let path = self.directory.join("admin.conf");
        std::fs::write(&path, server.kubeconfig(server.token()))?;
        Ok(path)
    }

    fn server(&mut self) -> Result<&mut ApiServer> {
        let running = self.running.as_mut().context("the control plane is not running")?;
        running.api_servers.first_mut().context("there is one API server")
    }

    async fn etcd(&self) -> Result<Etcd> {
        let running = self.running.as_ref().context("the control plane is not running")?;
        Ok(Etcd::connect(&Connection::plain(running.etcd().url())).await?)
    }
}

impl Cluster for RealCluster {
    async fn start(&mut self) -> Result<()> {
        let options = Options {
            binaries: self.binaries.clone(),
            directory: Some(self.directory.clone()),
            ..Options::default()
        };
        self.running = Some(ControlPlane::start(options).await?);
        Ok(())
    }

    async fn enable(&mut self, plugin: &PluginProcess) -> Result<()> {
        let entry = EncryptionProvider::KmsV2 {
            name: "keystead".to_owned(),
            endpoint: format!("unix://{}", plugin.socket().display()),
            timeout: None,
        };
        let config = encryption_config(&["secrets"], &[entry, EncryptionProvider::Identity]);
        let server = self.server()?;
        server.set_encryption(Some(&config))?;
        server.restart().await
    }

    async fn create_secret(&mut self, name: &str, value: &str) -> Result<()> {
        let secret = Object::new(Kind::Secret, NAMESPACE, name, FIELD, value.as_bytes());
        self.server()?.client().create(&secret).await?;
        Ok(())
    }

    async fn read_secret(&mut self, name: &str) -> Result<String> {
        let secret = self.server()?.client().get(Kind::Secret, NAMESPACE, name).await?;
        let value = secret.data.get(FIELD).context("the Secret has lost its field")?;
        Ok(String::from_utf8(value.clone())?)
    }

    async fn adopted(&mut self, key_id: &str) -> Result<()> {
        let hash = format!("sha256:{}", hex::encode(sha256(key_id.as_bytes())));
        let server = self.server()?;
        let seen = async {
            loop {
                server.readyz(false).await?;
                let metrics = server.metrics().await?;
                let status = "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds";
                if metrics.lines().any(|line| line.starts_with(status) && line.contains(&hash)) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        match tokio::time::timeout(ADOPTION, seen).await {
            Ok(seen) => seen,
            Err(_) => bail!("kube-apiserver did not ask the plugin within {ADOPTION:?}"),
        }
    }

    async fn re_encrypt(&mut self) -> Result<usize> {
        let kubeconfig = Kubeconfig { files: Some(self.kubeconfig()?.display().to_string()), context: None };
        let server = keystead_cluster::api::ApiServer::connect(&kubeconfig).await?;
        let request = Request { resources: vec!["secrets".to_owned()], ..Request::default() };
        let plan = Plan::make(&server, request).await?;
        // So short that it begins anew when it is cut.
        let journal = Journal::open(None, &plan)?;
        let run = reencrypt::run(&server, &plan, journal, Control::default(), &mut |_| ()).await;
        if let Some(interrupted) = run.interrupted {
            return Err(interrupted.into());
        }
        ensure!(run.report.ending == Ending::AllCurrent, "{}", run.report);
        Ok(usize::try_from(run.report.rewritten())?)
    }

    async fn stored(&mut self, name: &str) -> Result<Vec<u8>> {
        let key = format!("{SECRETS_PREFIX}{NAMESPACE}/{name}");
        let entry = self.etcd().await?.get(key.as_bytes()).await?;
        Ok(entry.with_context(|| format!("etcd has no {key}"))?.value.to_vec())
    }

    async fn inventory(&mut self) -> Result<StoredCounts> {
        let etcd = self.etcd().await?;
        Ok(inventory(&mut etcd.scan(SECRETS_PREFIX), &Layout::default()).await?)
    }
}
