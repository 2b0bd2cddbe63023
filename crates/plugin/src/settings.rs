//! Settings: one definition for the file, the flags and the environment. A flag wins over the environment, that over the
//! file, that over the default.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use keystead_provider_cloudkms::CloudKmsSettings;
use keystead_runtime::{AdminAddress, Failure, LogFormat, LogLevel, Span, from_string, read_config};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::transport::SocketSettings;

mod cloud_kms;

pub(crate) use cloud_kms::UserId;

/// Not one of the ports that other plugins and the control plane use.
const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 10_277));
/// Rotation is seen within it.
const DEFAULT_PROBE_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_OUTAGE_BOUND: Duration = Duration::from_secs(60 * 60);
/// Ten wraps a second are no load for any backend, and more would only be a slip of the unit.
const MIN_PROBE_INTERVAL: Duration = Duration::from_millis(100);
/// A revocation is noticed within it, so more than an hour protects nobody.
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// A week without the backend is no outage any more; a longer time would only hide that nobody looks.
const MAX_OUTAGE_BOUND: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DEFAULT_RECHECK_INTERVAL: Duration = Duration::from_secs(5 * 60);
/// Calls under way at the end are answered from memory or within the guard's 2.5 s.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Settings as given: in a YAML file with these names, by flags, or in the environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "Configuration file of keystead-plugin")]
pub struct PartialSettings {
    /// UNIX socket for kube-apiserver, a path or unix:///path
    #[arg(long, env = "KEYSTEAD_SOCKET", value_name = "PATH")]
    socket: Option<String>,
    /// Mode of the socket, octal
    #[arg(long, env = "KEYSTEAD_SOCKET_MODE", value_name = "MODE")]
    socket_mode: Option<FileMode>,
    /// User that may connect besides root and the plugin's own, by number; again for more
    #[arg(long = "allow-uid", env = "KEYSTEAD_ALLOW_UIDS", value_name = "UID", value_delimiter = ',')]
    allow_uids: Option<Vec<u32>>,
    /// Allow a socket name that starts with `@`: it has no file and no permissions
    #[arg(long, env = "KEYSTEAD_ALLOW_ABSTRACT_SOCKET", num_args = 0, default_missing_value = "true")]
    allow_abstract_socket: Option<bool>,
    /// What KMS v2 Status says: `v2beta1` is for Kubernetes 1.27 and 1.28; never change it under a running API server
    #[arg(long, env = "KEYSTEAD_STATUS_VERSION", value_name = "VERSION")]
    status_version: Option<StatusVersion>,
    /// Where the key is
    #[arg(long, env = "KEYSTEAD_PROVIDER", value_name = "KIND")]
    provider: Option<ProviderKind>,
    /// Key file of the provider `local`, mode 0600
    #[arg(long, env = "KEYSTEAD_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Key of the provider `cloudkms`: projects/P/locations/L/keyRings/R/cryptoKeys/K; KMS_KEY_ID says the same
    #[arg(long, env = "KEYSTEAD_KMS_KEY", value_name = "NAME")]
    kms_key: Option<String>,
    /// Public id of the token to use, where the credentials file holds several; KMS_USER_ID says the same
    #[arg(long, env = "KEYSTEAD_KMS_USER", hide_env_values = true, value_name = "ID")]
    kms_user: Option<UserId>,
    /// Where the key service is: https://HOST:PORT; else the credentials file says it
    #[arg(long, env = "KEYSTEAD_KMS_ENDPOINT", value_name = "URL")]
    kms_endpoint: Option<String>,
    /// Certificate authorities of the key service, PEM; else those of the credentials file, else the system's
    #[arg(long, env = "KEYSTEAD_KMS_CA_FILE", value_name = "FILE")]
    kms_ca_file: Option<PathBuf>,
    /// Credentials for the key service, mode 0600 [default: /etc/keystead/credentials.json]
    #[arg(long, env = "KEYSTEAD_CREDENTIALS_FILE", value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Use Google's own Cloud KMS, with application default credentials
    #[arg(long, env = "KEYSTEAD_GOOGLE", num_args = 0, default_missing_value = "true")]
    google: Option<bool>,
    /// Allow a whole token in KMS_USER_ID: a static pod's environment is copied into etcd
    #[arg(long, env = "KEYSTEAD_ALLOW_TOKEN_IN_ENV", num_args = 0, default_missing_value = "true")]
    allow_token_in_env: Option<bool>,
    /// KMS_USER_ID, where it holds a whole token.
    #[arg(skip)]
    #[serde(skip)]
    token_in_env: Option<UserId>,
    /// Loopback address of /livez, /readyz and /metrics, or `off`
    #[arg(long, env = "KEYSTEAD_ADMIN", value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    /// Time between two looks at the key backend, at most 1 hour
    #[arg(long, env = "KEYSTEAD_PROBE_INTERVAL", value_name = "TIME")]
    probe_interval: Option<Span>,
    /// How long to go on with the last good key while the key backend does not answer, at most 7 days; 0s stops at once
    #[arg(long, env = "KEYSTEAD_OUTAGE_BOUND", value_name = "TIME")]
    outage_bound: Option<Span>,
    /// How much to log
    #[arg(long, env = "KEYSTEAD_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Form of the log
    #[arg(long, env = "KEYSTEAD_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
}

/// Settings to run with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen, and for whom.
    pub socket: SocketSettings,
    /// What `Status.version` says.
    pub status_version: StatusVersion,
    /// Where the key is.
    pub provider: ProviderSettings,
    /// The admin port; none when switched off.
    pub admin: Option<SocketAddr>,
    /// Time between two probes.
    pub probe_interval: Duration,
    /// How long the last good snapshot is served in an outage.
    pub outage_bound: Duration,
    /// Time between two rechecks of cached keys.
    pub recheck_interval: Duration,
    /// How long calls under way may take at the end.
    pub drain_deadline: Duration,
    /// How much to log.
    pub log_level: LogLevel,
    /// Form of the log.
    pub log_format: LogFormat,
}

/// One provider and what it needs.
#[derive(Clone, Debug)]
pub enum ProviderSettings {
    /// A key file.
    Local {
        /// Its path.
        key_file: PathBuf,
    },
    /// A key in a Cloud KMS.
    CloudKms(Box<CloudKmsSettings>),
}

impl PartialSettings {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        read_config(path).map_err(|error| {
            let hint = "`keystead-plugin --print-config-schema` says what the file may hold";
            let failure = Failure::from_error(&error).hint(hint.to_owned()).hint(error.hint());
            if matches!(error, keystead_runtime::ConfigFileError::Unreadable { .. }) {
                failure
            } else {
                failure.usage()
            }
        })
    }

    /// What is given here, and `other` for the rest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            socket: self.socket.or(other.socket),
            socket_mode: self.socket_mode.or(other.socket_mode),
            allow_uids: self.allow_uids.or(other.allow_uids),
            allow_abstract_socket: self.allow_abstract_socket.or(other.allow_abstract_socket),
            status_version: self.status_version.or(other.status_version),
            provider: self.provider.or(other.provider),
            key_file: self.key_file.or(other.key_file),
            kms_key: self.kms_key.or(other.kms_key),
            kms_user: self.kms_user.or(other.kms_user),
            kms_endpoint: self.kms_endpoint.or(other.kms_endpoint),
            kms_ca_file: self.kms_ca_file.or(other.kms_ca_file),
            credentials_file: self.credentials_file.or(other.credentials_file),
            google: self.google.or(other.google),
            allow_token_in_env: self.allow_token_in_env.or(other.allow_token_in_env),
            token_in_env: self.token_in_env.or(other.token_in_env),
            admin: self.admin.or(other.admin),
            probe_interval: self.probe_interval.or(other.probe_interval),
            outage_bound: self.outage_bound.or(other.outage_bound),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
        }
    }

    /// Fills in defaults and checks what belongs together.
    pub fn complete(self) -> Result<Settings, Failure> {
        let provider = self.provider()?;
        let probe_interval = self.probe_interval.map_or(DEFAULT_PROBE_INTERVAL, Span::get);
        let outage_bound = self.outage_bound.map_or(DEFAULT_OUTAGE_BOUND, Span::get);
        if probe_interval < MIN_PROBE_INTERVAL {
            let text = format!(
                "the probe interval is {probe_interval:?}, and must be {MIN_PROBE_INTERVAL:?} at least"
            );
            return Err(Failure::new(text).usage().hint("leave it out for the default".to_owned()));
        }
        for (what, given, most) in [
            ("probe interval", probe_interval, MAX_PROBE_INTERVAL),
            ("outage bound", outage_bound, MAX_OUTAGE_BOUND),
        ] {
            if given > most {
                let text =
                    format!("the {what} is {} s, and may be {} s at most", given.as_secs(), most.as_secs());
                return Err(Failure::new(text).usage().hint("leave it out for the default".to_owned()));
            }
        }
        Ok(Settings {
            socket: SocketSettings {
                endpoint: self.socket,
                mode: self.socket_mode.map_or(0o600, |FileMode(mode)| mode),
                allow_abstract_socket: self.allow_abstract_socket.unwrap_or(false),
                allow_uids: self.allow_uids.unwrap_or_default(),
            },
            status_version: self.status_version.unwrap_or_default(),
            provider,
            admin: self.admin.map_or(Some(DEFAULT_ADMIN), AdminAddress::get),
            probe_interval,
            outage_bound,
            recheck_interval: DEFAULT_RECHECK_INTERVAL,
            drain_deadline: DRAIN_DEADLINE,
            log_level: self.log_level.unwrap_or_default(),
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

/// JSON schema of the configuration file.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(PartialSettings)).unwrap_or_default();
    text.push('\n');
    text
}

/// Kinds of provider in this build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// A key file on this host.
    Local,
    /// A key in a Cloud KMS: `keystead-server` or Google's.
    #[value(name = "cloudkms")]
    CloudKms,
}

/// What KMS v2 Status says as version. A running kube-apiserver is never ready again once it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum StatusVersion {
    /// Kubernetes 1.29 and later.
    #[default]
    V2,
    /// Kubernetes 1.27 and 1.28; accepted by later ones too.
    V2beta1,
}

impl StatusVersion {
    /// The text on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2beta1 => "v2beta1",
        }
    }
}

/// Permission bits in octal, such as `0600`.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub(crate) struct FileMode(u32);

impl FromStr for FileMode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o777 && mode & 0o600 == 0o600 && mode & 0o002 == 0 => Ok(Self(mode)),
            _ => Err(format!("`{text}` is not a mode for a socket: 0600 or 0660, octal, closed to others")),
        }
    }
}

from_string!(FileMode);
