//! A real etcd and one or more real API servers as plain processes on free ports of this machine.
//!
//! Everything is in one directory that goes away with the [`ControlPlane`]. The processes are killed when it is
//! dropped and also when this process dies without dropping anything.

mod api_server;
mod binaries;
mod controller_manager;
mod encryption_config;
mod etcd_server;
mod files;
mod pki;
mod port;
mod static_pod;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

pub use api_server::ApiServer;
pub use binaries::{Binaries, DEFAULT_VERSION};
pub use controller_manager::ControllerManager;
pub use encryption_config::{EncryptionProvider, encryption_config};
pub use etcd_server::EtcdServer;
pub use static_pod::{PlayedKubelet, StaticPod};

/// Far more than the 2 to 4 s that a start takes: test machines are busy.
const START: Duration = Duration::from_secs(60);

/// What to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// Version of Kubernetes, as under `tests/control-plane`.
    pub version: String,
    /// Directory with `kube-apiserver` and `etcd`; by default they are looked for, see [`Binaries::find`].
    pub binaries: Option<PathBuf>,
    /// How many API servers share the etcd.
    pub api_servers: usize,
    /// More flags for each API server, such as `--feature-gates=KMSv1=true`.
    pub args: Vec<String>,
    /// More flags for etcd, such as `--quota-backend-bytes=16777216`.
    pub etcd_args: Vec<String>,
    /// Text of each API server's EncryptionConfiguration, see [`encryption_config`].
    pub encryption: Option<String>,
    /// Whether API servers follow changes of that file.
    pub automatic_reload: bool,
    /// Where in etcd the API servers store.
    pub etcd_prefix: String,
    /// Whether etcd waits for the disk. Without, it is faster and loses data only when the machine crashes.
    pub fsync: bool,
    /// Directory for everything; by default a temporary one. A directory given here is not removed.
    pub directory: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            version: DEFAULT_VERSION.to_owned(),
            binaries: None,
            api_servers: 1,
            args: Vec::new(),
            etcd_args: Vec::new(),
            encryption: None,
            automatic_reload: false,
            etcd_prefix: "/registry".to_owned(),
            fsync: false,
            directory: None,
        }
    }
}

/// A running etcd and its API servers.
#[derive(Debug)]
pub struct ControlPlane {
    /// The API servers, in the order of their ports' reservation.
    pub api_servers: Vec<ApiServer>,
    // Fields are dropped in this order: clients of etcd, etcd, the files of both.
    etcd: EtcdServer,
    directory: Directory,
}

impl ControlPlane {
    /// Starts everything and waits until each API server is ready.
    pub async fn start(options: Options) -> Result<Self> {
        let mut control_plane = Self::prepare(options).await?;
        for server in &mut control_plane.api_servers {
            server.spawn().await?;
        }
        for server in &mut control_plane.api_servers {
            server.wait_ready(START).await?;
        }
        Ok(control_plane)
    }

    /// Starts etcd only. [`ApiServer::spawn`] and [`ApiServer::wait_ready`] do the rest, for tests that look at the
    /// time in between.
    pub async fn prepare(options: Options) -> Result<Self> {
        let binaries = Binaries::find(options.binaries.as_deref(), &options.version)?;
        let directory = Directory::new(options.directory.as_deref())?;
        let pki = pki::Pki::write(&directory.path().join("pki"))?;
        let etcd_directory = directory.path().join("etcd");
        let etcd =
            EtcdServer::start(&binaries.etcd, &etcd_directory, options.fsync, &options.etcd_args, START)
                .await?;
        let api_servers = (0..options.api_servers)
            .map(|index| {
                let directory = directory.path().join(format!("kube-apiserver-{index}"));
                ApiServer::new(&binaries.kube_apiserver, &directory, &pki, etcd.url(), &options)
            })
            .collect::<Result<_>>()?;
        Ok(Self { api_servers, etcd, directory })
    }

    /// The etcd behind all API servers.
    pub fn etcd(&self) -> &EtcdServer {
        &self.etcd
    }

    /// The same, to stop it.
    pub fn etcd_mut(&mut self) -> &mut EtcdServer {
        &mut self.etcd
    }

    /// Where data, logs, certificates and configuration are; also a place for a plugin's socket.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

#[derive(Debug)]
enum Directory {
    Temporary(tempfile::TempDir),
    Given(PathBuf),
}

impl Directory {
    fn new(given: Option<&Path>) -> Result<Self> {
        match given {
            None => {
                let directory = tempfile::Builder::new().prefix("keystead-").tempdir();
                Ok(Self::Temporary(directory.context("cannot make a temporary directory")?))
            }
            Some(path) => {
                files::create_directory(path)?;
                Ok(Self::Given(std::path::absolute(path)?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Given(path) => path,
        }
    }
}
