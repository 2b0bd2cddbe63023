//! A control plane with many Secrets, and the run that is tested.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use keystead_cluster::api::{ApiServer, Kubeconfig};
use keystead_cluster::reencrypt::{Control, Journal, Plan, Progress, Request, Run, run};
use keystead_etcd::{Connection, Encryption, Etcd, Layout, inventory};
use keystead_testkit::api::{Client, Kind, Object};
use keystead_testkit::control_plane::{ControlPlane, Options};

pub(crate) struct Scene {
    pub(crate) control_plane: ControlPlane,
}

/// The key that encrypts, of Secrets, ConfigMaps and nothing else; one after it is read with, and last what is not encrypted.
pub(crate) fn keys(names: &[&str]) -> String {
    let mut text = String::from(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources: [secrets, configmaps]\n    providers:\n",
    );
    for name in names {
        // 32 bytes, of zero: the test is about who is stale and not about secrecy.
        let secret = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        text.push_str(&format!(
            "      - secretbox:\n          keys:\n            - {{name: {name}, secret: {secret}}}\n"
        ));
    }
    text.push_str("      - identity: {}\n");
    text
}

impl Scene {
    /// One API server that stores Secrets as they are.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(&[]).await
    }

    /// With more flags.
    pub(crate) async fn start_with(args: &[&str]) -> Result<Self> {
        let args = args.iter().map(|it| (*it).to_owned()).collect();
        let control_plane = ControlPlane::start(Options { args, ..Options::default() }).await?;
        Ok(Self { control_plane })
    }

    pub(crate) fn client(&self) -> &Client {
        self.control_plane.api_servers[0].client()
    }

    /// Restarts the API server with these keys, the first of which encrypts.
    pub(crate) async fn encrypt_with(&mut self, names: &[&str]) -> Result<()> {
        let server = &mut self.control_plane.api_servers[0];
        server.set_encryption(Some(&keys(names)))?;
        server.restart().await
    }

    pub(crate) async fn fill(&self, namespace: &str, count: usize) -> Result<()> {
        let client = self.client();
        let create = |index: usize| async move {
            let secret = Object::new(Kind::Secret, namespace, &format!("s-{index:05}"), "count", b"0");
            client.create(&secret).await
        };
        // As many as saturate an API server on two cores.
        stream::iter(0..count).map(create).buffer_unordered(16).try_collect::<Vec<_>>().await?;
        Ok(())
    }

    pub(crate) async fn namespace(&self, name: &str) -> Result<()> {
        let object = serde_json::json!({"metadata": {"name": name}});
        self.post("/api/v1/namespaces", &object).await
    }

    pub(crate) async fn post(&self, path: &str, object: &serde_json::Value) -> Result<()> {
        self.client().call(keystead_testkit::api::Method::POST, path, Some(object)).await?;
        Ok(())
    }

    /// A kubeconfig with this token, as a file.
    pub(crate) fn kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.control_plane.directory().join(format!("{name}.conf"));
        std::fs::write(&path, self.control_plane.api_servers[0].kubeconfig(token))?;
        Ok(path)
    }

    pub(crate) async fn connect(&self) -> Result<ApiServer> {
        let token = self.control_plane.api_servers[0].token();
        connect(&self.kubeconfig("admin", token)?).await
    }

    /// How many values of Secrets are stored under each key; `-` is none.
    pub(crate) async fn stored(&self) -> Result<Vec<(String, u64)>> {
        let connection = Connection::plain(self.control_plane.etcd().url());
        let etcd = Etcd::connect(&connection).await?;
        let counts = inventory(&mut etcd.scan("/registry/secrets/"), &Layout::default()).await?;
        let key = |encryption: Encryption| match encryption {
            Encryption::StaticKey { key_name, .. } => key_name,
            Encryption::Plain { .. } => "-".to_owned(),
            other => format!("{other:?}"),
        };
        Ok(counts.groups.into_iter().map(|group| (key(group.encryption), group.objects)).collect())
    }

    /// A whole run over the Secrets, without a state file.
    pub(crate) async fn reencrypt(&self, request: Request, control: Control) -> Result<Run> {
        self.reencrypt_with(request, control, None, &mut |_| ()).await
    }

    pub(crate) async fn reencrypt_with(
        &self,
        request: Request,
        control: Control,
        state: Option<&Path>,
        observer: &mut (dyn FnMut(&Progress) + Send),
    ) -> Result<Run> {
        let server = self.connect().await?;
        let plan = Plan::make(&server, request).await?;
        let journal = Journal::open(state, &plan)?;
        Ok(run(&server, &plan, journal, control, observer).await)
    }
}

pub(crate) async fn connect(kubeconfig: &Path) -> Result<ApiServer> {
    let files = Some(kubeconfig.to_str().context("a path is text")?.to_owned());
    Ok(ApiServer::connect(&Kubeconfig { files, context: None }).await?)
}

pub(crate) fn secrets() -> Request {
    Request { resources: vec!["secrets".to_owned()], ..Request::default() }
}
