//! Three API servers on one etcd, each with a plugin beside it, and Secrets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures_util::{StreamExt, TryStreamExt, stream};
use keystead_testkit::api::{Client, Kind, Method, Object};
use keystead_testkit::control_plane::{ControlPlane, Options, encryption_config};
use tokio::time::Instant;

use super::clients::Clients;
use super::host::{Calls, Encryption, Plugin, make_key};

/// What the cluster starts with.
pub(crate) const FROM: &str = "1.36.3";
/// What it is upgraded to.
pub(crate) const TO: &str = "1.37.2";
/// Two of them serve while one restarts.
const API_SERVERS: usize = 3;
/// Writers at a time while the cluster is filled.
const FILLERS: usize = 32;
/// Of one Secret. With its metadata it has about 1.3 KB in etcd.
const VALUE_BYTES: usize = 1024;
/// What controllers ask for.
const PAGE: u32 = 500;
/// Far more than a start with 100,000 Secrets takes.
const START: Duration = Duration::from_mins(15);

pub(crate) struct Cluster {
    // Dropped in this order, so that no API server asks a plugin that is gone.
    control_plane: ControlPlane,
    plugins: Vec<Plugin>,
    pub(crate) secrets: usize,
}

/// How long it took to make all Secrets, and what it cost.
pub(crate) struct Filled {
    pub(crate) took: Duration,
    pub(crate) calls: Calls,
}

/// One API server was stopped and started.
#[derive(Debug)]
pub(crate) struct Restarted {
    /// From SIGTERM to the end of the process.
    pub(crate) stop: Duration,
    /// From the new process to `/livez`, which kubelet's startup probe asks.
    pub(crate) live: Duration,
    /// From the new process to `/readyz`.
    pub(crate) ready: Duration,
    /// Of its plugin in that time, those for clients that use it already among them.
    pub(crate) ready_calls: Calls,
    /// The first list of all Secrets afterwards, page by page.
    pub(crate) list: Duration,
    pub(crate) list_calls: Calls,
    /// Afterwards.
    pub(crate) resident_mib: u64,
}

impl Cluster {
    /// Of version [`FROM`], and empty.
    pub(crate) async fn start(encryption: Encryption) -> Result<Self> {
        let gate = (encryption == Encryption::V1).then(|| "--feature-gates=KMSv1=true".to_owned());
        let args = gate.into_iter().collect();
        let options =
            Options { version: FROM.to_owned(), api_servers: API_SERVERS, args, ..Options::default() };
        let mut control_plane = ControlPlane::prepare(options).await?;
        let directory = control_plane.directory().to_owned();
        let mut plugins = Vec::new();
        if encryption != Encryption::Identity {
            let key_file = directory.join("key");
            make_key(&key_file).await?;
            for (index, server) in control_plane.api_servers.iter_mut().enumerate() {
                let plugin = Plugin::start(&directory.join(format!("plugin-{index}")), &key_file).await?;
                let configuration = encryption_config(&["secrets"], &[plugin.provider(encryption)]);
                server.set_encryption(Some(&configuration))?;
                plugins.push(plugin);
            }
        }
        for server in &mut control_plane.api_servers {
            server.spawn().await?;
        }
        for server in &mut control_plane.api_servers {
            server.wait_ready(START).await?;
        }
        Ok(Self { control_plane, plugins, secrets: 0 })
    }

    /// A client whose own API server is this one.
    pub(crate) fn clients(&self, own: usize) -> Clients {
        let servers = self.control_plane.api_servers.iter().map(|it| it.client().clone());
        Clients::new(servers.collect(), own)
    }

    pub(crate) fn api_servers(&self) -> usize {
        self.control_plane.api_servers.len()
    }

    /// Creates Secrets through all API servers.
    pub(crate) async fn fill(&mut self, secrets: usize) -> Result<Filled> {
        let before = self.calls().await?;
        let start = Instant::now();
        let clients: Vec<_> = (0..self.api_servers()).map(|own| self.clients(own)).collect();
        let clients = clients.iter().cycle();
        let create = |(index, clients): (usize, &Clients)| {
            let clients = clients.clone();
            async move {
                let secret = Object::new(Kind::Secret, "default", &name(index), "key", &value(index));
                clients.create(&secret).await
            }
        };
        stream::iter((0..secrets).zip(clients))
            .map(create)
            .buffer_unordered(FILLERS)
            .try_collect::<()>()
            .await
            .map_err(anyhow::Error::msg)?;
        self.secrets = secrets;
        Ok(Filled { took: start.elapsed(), calls: self.calls().await? - before })
    }

    /// Stops one API server as a kubelet does, starts it in this version, and lists all Secrets through it.
    pub(crate) async fn restart(&mut self, index: usize, version: &str) -> Result<Restarted> {
        let server = self.control_plane.api_servers.get_mut(index).context("no such API server")?;
        let begin = Instant::now();
        let status = server.stop().await?;
        let stop = begin.elapsed();
        ensure!(status == 0, "kube-apiserver ended with status {status}; {}", server.log().display());
        server.set_version(version)?;

        let before = calls(self.plugins.get(index)).await?;
        let begin = Instant::now();
        server.spawn().await?;
        let client = server.client().clone();
        let until_ready = async { server.wait_ready(START).await.map(|()| begin.elapsed()) };
        let (live, ready) = tokio::try_join!(until_live(&client, begin), until_ready)?;
        let at_ready = calls(self.plugins.get(index)).await?;
        let pid = server.pid().context("it runs")?;
        let metrics = server.metrics().await?;
        ensure!(metrics.contains(&format!("git_version=\"v{version}\"")), "it is not {version}");

        let begin = Instant::now();
        let listed = self.list(index).await?;
        let list = begin.elapsed();
        ensure!(
            listed == self.secrets,
            "{listed} of {} Secrets were listed as they were written",
            self.secrets
        );
        Ok(Restarted {
            stop,
            live,
            ready,
            ready_calls: at_ready - before,
            list,
            list_calls: calls(self.plugins.get(index)).await? - at_ready,
            resident_mib: resident_mib(pid)?,
        })
    }

    /// How many of our Secrets one API server lists with the right value.
    async fn list(&self, index: usize) -> Result<usize> {
        let server = self.control_plane.api_servers.get(index).context("no such API server")?;
        let alone = Clients::new(vec![server.client().clone()], 0);
        let (mut right, mut token) = (0, String::new());
        loop {
            let path = format!("/api/v1/secrets?limit={PAGE}&continue={token}");
            let mut attempts = alone.attempts();
            let page = loop {
                match attempts.server().call(Method::GET, &path, None).await {
                    Ok(page) => break page,
                    Err(error) => attempts.failed(error).await.map_err(anyhow::Error::msg)?,
                }
            };
            for item in page["items"].as_array().context("a list has items")? {
                let name = item["metadata"]["name"].as_str().unwrap_or_default();
                let index = name.strip_prefix(PREFIX).and_then(|it| it.parse().ok());
                let expected = index.map(|it| STANDARD.encode(value(it)));
                right +=
                    usize::from(expected.is_some() && expected.as_deref() == item["data"]["key"].as_str());
            }
            match page["metadata"]["continue"].as_str() {
                Some(more) if !more.is_empty() => token = more.to_owned(),
                _ => return Ok(right),
            }
        }
    }

    /// Of all plugins.
    async fn calls(&self) -> Result<Calls> {
        let mut sum = Calls::default();
        for plugin in &self.plugins {
            sum = sum + plugin.calls().await?;
        }
        Ok(sum)
    }
}

const PREFIX: &str = "secret-";

/// The name of our Secret number `index`.
pub(crate) fn name(index: usize) -> String {
    format!("{PREFIX}{index:06}")
}

/// What stands in it: no two have the same.
pub(crate) fn value(index: usize) -> Vec<u8> {
    format!("{index:06}-").into_bytes().into_iter().cycle().take(VALUE_BYTES).collect()
}

/// Ends with whoever waits for more.
async fn until_live(client: &Client, begin: Instant) -> Result<Duration> {
    while !client.livez().await.is_ok_and(|live| live) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(begin.elapsed())
}

/// Without a plugin there are none.
async fn calls(plugin: Option<&Plugin>) -> Result<Calls> {
    match plugin {
        Some(plugin) => plugin.calls().await,
        None => Ok(Calls::default()),
    }
}

fn resident_mib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:")).context("no VmRSS in /proc")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? / 1024)
}
