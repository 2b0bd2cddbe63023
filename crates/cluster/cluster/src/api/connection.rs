use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystead_model::ErrorClass;
use kube::config::{KubeConfigOptions, KubeconfigError};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::error::{CallError, is_about_credentials};
use super::request::{Call, METADATA};

/// Where kubeadm leaves the administrator's credentials.
const KUBEADM: &str = "/etc/kubernetes/admin.conf";
/// A connection on a local network takes milliseconds.
const CONNECT: Duration = Duration::from_secs(10);
/// A read of one small object.
const ASK: Duration = Duration::from_secs(15);

/// Which kubeconfig, and what of it.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    /// One file, or several with `:` between them that are merged as kubectl does, which leaves out those that are missing as long
    /// as one is there (`clientcmd/loader.go` in client-go); none: `/etc/kubernetes/admin.conf`.
    pub files: Option<String>,
    /// The context; none: the current one.
    pub context: Option<String>,
}

impl Kubeconfig {
    /// The files that are read, whether or not they are there.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        let files = self.files.as_deref().filter(|it| !it.is_empty()).unwrap_or(KUBEADM);
        files.split(':').filter(|it| !it.is_empty())
    }
}

/// A connection to one kube-apiserver. Cheap to clone; connections are opened as calls need them.
#[derive(Clone)]
pub struct ApiServer {
    pub(super) client: kube::Client,
    url: String,
    cluster: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// None was given, and the default one is not there.
    #[error("there is no kubeconfig: KUBECONFIG is not set, and {KUBEADM} does not exist")]
    None,
    /// It cannot be read.
    #[error("cannot read the kubeconfig {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is not one. What stands there is not repeated, because it may be a key or a token.
    #[error("{} is not a kubeconfig: {reason}", path.display())]
    Malformed {
        /// The file or files.
        path: PathBuf,
        /// What is wrong, with its place.
        reason: String,
    },
    /// A plugin or file that it names gave no credentials. Its words are not repeated: they may hold them.
    #[error("what {} names for the user gave no credentials", path.display())]
    Credentials {
        /// The file or files.
        path: PathBuf,
    },
    /// It is one, and nobody can connect with what it says.
    #[error("cannot connect as {} says", path.display())]
    Unusable {
        /// The file or files.
        path: PathBuf,
        /// What is wrong.
        source: Box<kube::Error>,
    },
    /// The address of an API server is none.
    #[error("`{0}` is no address of an API server: it is to be such as https://10.0.0.1:6443")]
    Url(String),
    /// The API server did not say which cluster it serves.
    #[error("the API server at {url}, which {} names, does not answer as asked", path.display())]
    Call {
        /// Its address.
        url: String,
        /// The file or files.
        path: PathBuf,
        /// What it said.
        source: CallError,
    },
}

impl ConnectError {
    /// What kind of failure it is. A kubeconfig that is missing or wrong is configuration text.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::None
            | Self::Read { .. }
            | Self::Malformed { .. }
            | Self::Unusable { .. }
            | Self::Url(_) => ErrorClass::Invalid,
            Self::Credentials { .. } => ErrorClass::Unauthenticated,
            Self::Call { source, .. } => source.class(),
        }
    }
}

impl ApiServer {
    /// Reads the kubeconfig and asks the API server which cluster it serves: the uid of the namespace kube-system, which a
    /// cluster has for life.
    ///
    /// # Errors
    ///
    /// Where the kubeconfig is missing or wrong, or the API server cannot be reached or refuses.
    pub async fn connect(kubeconfig: &Kubeconfig) -> Result<Self, ConnectError> {
        let (path, mut server) = Self::open(kubeconfig, None).await?;
        server.cluster = server.cluster_uid().await.map_err(|source| ConnectError::Call {
            url: server.url.clone(),
            path,
            source,
        })?;
        Ok(server)
    }

    /// The API server at `url`, such as `https://10.0.0.1:6443`, with the credentials and the authority of the kubeconfig. Nothing
    /// is asked of it yet, because it may not be up.
    ///
    /// # Errors
    ///
    /// Where the kubeconfig is missing or wrong, or `url` is no URL.
    pub async fn at(kubeconfig: &Kubeconfig, url: &str) -> Result<Self, ConnectError> {
        Ok(Self::open(kubeconfig, Some(url)).await?.1)
    }

    async fn open(kubeconfig: &Kubeconfig, url: Option<&str>) -> Result<(PathBuf, Self), ConnectError> {
        let (path, read) = read(kubeconfig)?;
        let options = KubeConfigOptions { context: kubeconfig.context.clone(), ..Default::default() };
        let mut config = kube::Config::from_custom_kubeconfig(read, &options)
            .await
            .map_err(|error| malformed(&path, &error))?;
        // What becomes a header must be one line.
        let is_broken = |it: &SecretString| it.expose_secret().contains(|it: char| it.is_control());
        if config.auth_info.token.as_ref().is_some_and(is_broken) {
            return Err(ConnectError::Credentials { path });
        }
        config.connect_timeout = Some(CONNECT);
        // Calls have limits of their own, and whoever makes them decides about another attempt.
        config.read_timeout = None;
        config.write_timeout = None;
        config.default_retry = false;
        if let Some(url) = url {
            config.cluster_url = url.parse().map_err(|_| ConnectError::Url(url.to_owned()))?;
        }
        let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        // This runs the plugin, where there is one.
        let client = kube::Client::try_from(config).map_err(|error| match is_about_credentials(&error) {
            true => ConnectError::Credentials { path: path.clone() },
            false => ConnectError::Unusable { path: path.clone(), source: Box::new(error) },
        })?;
        Ok((path, Self { client, url, cluster: String::new() }))
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The uid of the namespace kube-system; empty if it was opened by [`Self::at`].
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Whether it answers from etcd: asks for what every run may read.
    pub(crate) async fn works(&self) -> bool {
        self.cluster_uid().await.is_ok()
    }

    async fn cluster_uid(&self) -> Result<String, CallError> {
        #[derive(Deserialize)]
        struct Answer {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            uid: String,
        }
        let path = "/api/v1/namespaces/kube-system";
        let answer: Answer = self.json(&Call::get(path, METADATA, ASK)).await?;
        Ok(answer.metadata.uid)
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("url", &self.url).field("cluster", &self.cluster).finish()
    }
}

fn read(kubeconfig: &Kubeconfig) -> Result<(PathBuf, kube::config::Kubeconfig), ConnectError> {
    let files = match kubeconfig.files.as_deref().filter(|it| !it.is_empty()) {
        Some(files) => files,
        None if Path::new(KUBEADM).exists() => KUBEADM,
        None => return Err(ConnectError::None),
    };
    let mut merged = kube::config::Kubeconfig::default();
    let (mut missing, mut found) = (None, false);
    for file in files.split(':').filter(|it| !it.is_empty()) {
        let path = PathBuf::from(file);
        match kube::config::Kubeconfig::read_from(&path) {
            Ok(next) => {
                merged = merged.merge(next).map_err(|error| malformed(&path, &error))?;
                found = true;
            }
            Err(KubeconfigError::ReadConfig(error, _)) if error.kind() == std::io::ErrorKind::NotFound => {
                missing.get_or_insert(ConnectError::Read { path, source: error });
            }
            Err(error) => return Err(malformed(&path, &error)),
        }
    }
    match missing {
        Some(error) if !found => Err(error),
        _ => Ok((PathBuf::from(files), merged)),
    }
}

fn malformed(path: &Path, error: &KubeconfigError) -> ConnectError {
    let reason = match error {
        KubeconfigError::ReadConfig(source, path) => {
            let source = std::io::Error::new(source.kind(), source.to_string());
            return ConnectError::Read { path: path.clone(), source };
        }
        // The parser's own words show the lines around the place.
        KubeconfigError::Parse(error) => match error.location() {
            Some(place) => {
                format!("line {}, column {} is not as a kubeconfig has it", place.line(), place.column())
            }
            None => "it is not YAML of that kind".to_owned(),
        },
        KubeconfigError::CurrentContextNotSet => {
            "it has no current context; choose one with --context".to_owned()
        }
        KubeconfigError::LoadContext(name) => format!("it has no context {name}"),
        KubeconfigError::LoadClusterOfContext(name) => format!("it has no cluster {name}"),
        other => other.to_string(),
    };
    ConnectError::Malformed { path: path.to_owned(), reason }
}
