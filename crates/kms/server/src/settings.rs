//! Settings: one definition for the file, the flags and the environment. A flag wins over the environment, that over the
//! file, that over the default. Each section is a file below; what is a list of objects has no flag.

mod audit;
mod exports;
mod limits;
mod local_clusters;
mod locations;
mod root_key;
mod tls;
mod values;
mod webhooks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystead_audit::AuditSettings;
use keystead_keyservice::Location;
use keystead_model::destruction::InUseRule;
use keystead_provider_cloudkms::CloudKmsSettings;
use keystead_runtime::{AdminAddress, ConfigFileError, Failure, LogFormat, LogLevel, Span, read_config};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::listener::ConnectionLimits;
use crate::local_clusters::LocalClustersSettings;
use crate::tls::TlsSettings;
use crate::webhooks::WebhookSettings;

use audit::PartialAudit;
use limits::PartialLimits;
use local_clusters::PartialLocalClusters;
use locations::LocationEntry;
use root_key::PartialRootKey;
use tls::PartialTls;
use values::{HostName, InUseSetting, LoopbackAddress};
use webhooks::WebhookEntry;

/// Where a server without settings listens.
pub const DEFAULT_LISTEN: SocketAddr =
    SocketAddr::V4(std::net::SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, 9443));
/// Twice the deadline that clients give a call whose connection is going away.
const DEFAULT_DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// Settings as given: in a YAML file with these names, by flags, or in the environment.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "Configuration file of keystead-server")]
pub struct PartialSettings {
    /// Everything that the server keeps; made with mode 0700 when it is not there
    #[arg(long, env = "KEYSTEAD_SERVER_DATA_DIR", value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Root key, witness and audit signing key, which are no part of a backup; DATA_DIR/root unless they are on another
    /// volume
    #[arg(long, env = "KEYSTEAD_SERVER_ROOT_DIR", value_name = "DIRECTORY")]
    root_dir: Option<PathBuf>,
    /// The database; DATA_DIR/keystead.db
    #[arg(long, env = "KEYSTEAD_SERVER_DATABASE", value_name = "FILE")]
    database: Option<PathBuf>,
    /// Address of the TLS port, again for more; 127.0.0.1:9443. Port 0 takes a free one
    #[arg(long, env = "KEYSTEAD_SERVER_LISTEN", value_name = "ADDRESS", value_delimiter = ',')]
    listen: Option<Vec<SocketAddr>>,
    /// Loopback address for plain HTTP, again for more; none
    #[arg(long, env = "KEYSTEAD_SERVER_PLAIN_HTTP", value_name = "ADDRESS", value_delimiter = ',')]
    plain_http: Option<Vec<LoopbackAddress>>,
    /// Name or address by which clients reach the server, for its own certificate, again for more. The first one is in key
    /// files of service accounts
    #[arg(
        long = "host-name",
        env = "KEYSTEAD_SERVER_HOST_NAMES",
        value_name = "NAME",
        value_delimiter = ','
    )]
    host_names: Option<Vec<HostName>>,
    /// Loopback address with /livez, /readyz and /metrics besides the TLS port, or `off`
    #[arg(long, env = "KEYSTEAD_SERVER_ADMIN", value_name = "ADDRESS")]
    admin: Option<AdminAddress>,
    /// Who is in which group: YAML of `GROUP: [MEMBER, ...]`, read again when it changes; nobody is in any
    #[arg(long, env = "KEYSTEAD_SERVER_GROUPS_FILE", value_name = "FILE")]
    groups_file: Option<PathBuf>,
    /// Directory, best on another machine, in which every key version is kept before it can be used; again for more
    #[arg(
        long = "backup-destination",
        env = "KEYSTEAD_SERVER_BACKUP_DESTINATIONS",
        value_name = "DIRECTORY",
        value_delimiter = ','
    )]
    backup_destinations: Option<Vec<PathBuf>>,
    /// For whom keys of service accounts may sign bearer tokens, besides Google's APIs and this server's own address; again
    /// for more
    #[arg(long = "audience", env = "KEYSTEAD_SERVER_AUDIENCES", value_name = "URL", value_delimiter = ',')]
    audiences: Option<Vec<String>>,
    /// Which key versions count as in use, and are not destroyed, besides those that an inventory names or a cluster needs
    #[arg(long, env = "KEYSTEAD_SERVER_IN_USE", value_enum, value_name = "RULE")]
    in_use: Option<InUseSetting>,
    /// How long calls under way may take when the server stops
    #[arg(long, env = "KEYSTEAD_SERVER_DRAIN_DEADLINE", value_name = "TIME")]
    drain_deadline: Option<Span>,
    /// How much to log
    #[arg(long, env = "KEYSTEAD_SERVER_LOG_LEVEL", value_name = "LEVEL")]
    log_level: Option<LogLevel>,
    /// Form of the log
    #[arg(long, env = "KEYSTEAD_SERVER_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// The root key
    #[command(flatten)]
    #[serde(default)]
    root_key: PartialRootKey,
    /// The TLS port
    #[command(flatten)]
    #[serde(default)]
    tls: PartialTls,
    /// How many connections there may be
    #[command(flatten)]
    #[serde(default)]
    limits: PartialLimits,
    /// The audit log
    #[command(flatten)]
    #[serde(default)]
    audit: PartialAudit,
    /// Clusters that the server itself runs
    #[command(flatten)]
    #[serde(default)]
    local_clusters: PartialLocalClusters,
    /// Locations that can hold key rings; `global` and Google's regions
    #[arg(skip)]
    locations: Option<Vec<LocationEntry>>,
    /// Who is told of destroyed key versions, failed operations and silent agents, over HTTPS; nobody
    #[arg(skip)]
    webhooks: Option<Vec<WebhookEntry>>,
}

/// Settings to run with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Everything that the server keeps.
    pub data_dir: PathBuf,
    /// Root key, witness, audit signing key.
    pub root_dir: PathBuf,
    /// The root key in a Cloud KMS; none: a key file in `root_dir`.
    pub root_key: Option<Box<CloudKmsSettings>>,
    /// The SQLite file.
    pub database: PathBuf,
    /// TLS ports.
    pub listen: Vec<SocketAddr>,
    /// Loopback ports without TLS.
    pub plain_http: Vec<SocketAddr>,
    /// Names for the server's own certificate.
    pub host_names: Vec<String>,
    /// A second port for probes and metrics.
    pub admin: Option<SocketAddr>,
    /// The TLS ports' certificates and versions.
    pub tls: TlsSettings,
    /// How many connections there may be.
    pub limits: ConnectionLimits,
    /// Clusters that the server itself runs; none: it runs none.
    pub local_clusters: Option<LocalClustersSettings>,
    /// The audit log.
    pub audit: AuditSettings,
    /// Who is told of what.
    pub webhooks: Vec<WebhookSettings>,
    /// Locations that can hold key rings.
    pub locations: Vec<Location>,
    /// Who is in which group.
    pub groups_file: Option<PathBuf>,
    /// Places in which every key version is kept before it can be used.
    pub backup_destinations: Vec<PathBuf>,
    /// For whom keys of service accounts may sign bearer tokens, besides Google's APIs and our own address.
    pub audiences: Vec<String>,
    /// Which key versions count as in use besides those that an inventory names or a cluster needs.
    pub in_use: InUseRule,
    /// The commit of a database that is older than its witness, to go on from there.
    pub confirm_rollback: Option<u64>,
    /// Make another administrator's token, if `admin-token` is not there. A flag only: no server needs it at every start.
    pub new_admin_token: bool,
    /// How long calls under way may take at the end.
    pub drain_deadline: Duration,
    /// How much to log.
    pub log_level: LogLevel,
    /// Form of the log.
    pub log_format: LogFormat,
}

impl PartialSettings {
    /// Only a data directory, and any free port of the loopback interface: for tests and for trying.
    pub fn local(data_dir: &Path) -> Self {
        let any = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
        Self { data_dir: Some(data_dir.to_owned()), listen: Some(vec![any]), ..Self::default() }
    }

    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        read_config(path).map_err(|error| {
            let hint = "`keystead-server --print-config-schema` says what the file may hold";
            let failure = Failure::from_error(&error).hint(hint.to_owned()).hint(error.hint());
            if matches!(error, ConfigFileError::Unreadable { .. }) { failure } else { failure.usage() }
        })
    }

    /// What is given here, and `other` for the rest.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            data_dir: self.data_dir.or(other.data_dir),
            root_dir: self.root_dir.or(other.root_dir),
            database: self.database.or(other.database),
            listen: self.listen.or(other.listen),
            plain_http: self.plain_http.or(other.plain_http),
            host_names: self.host_names.or(other.host_names),
            admin: self.admin.or(other.admin),
            groups_file: self.groups_file.or(other.groups_file),
            backup_destinations: self.backup_destinations.or(other.backup_destinations),
            audiences: self.audiences.or(other.audiences),
            in_use: self.in_use.or(other.in_use),
            drain_deadline: self.drain_deadline.or(other.drain_deadline),
            log_level: self.log_level.or(other.log_level),
            log_format: self.log_format.or(other.log_format),
            root_key: self.root_key.or(other.root_key),
            tls: self.tls.or(other.tls),
            limits: self.limits.or(other.limits),
            audit: self.audit.or(other.audit),
            local_clusters: self.local_clusters.or(other.local_clusters),
            locations: self.locations.or(other.locations),
            webhooks: self.webhooks.or(other.webhooks),
        }
    }

    /// Fills in defaults and checks what belongs together.
    pub fn complete(self) -> Result<Settings, Failure> {
        let data_dir = self.data_dir.ok_or_else(|| {
            Failure::new("no data directory is given")
                .usage()
                .hint("give --data-dir DIRECTORY; it is made when it is not there".to_owned())
        })?;
        let listen = self.listen.unwrap_or_else(|| vec![DEFAULT_LISTEN]);
        if listen.is_empty() {
            let hint = "leave `listen` out for 127.0.0.1:9443, or name an address";
            return Err(Failure::new("the list `listen` is empty").usage().hint(hint.to_owned()));
        }
        Ok(Settings {
            root_dir: self.root_dir.unwrap_or_else(|| data_dir.join("root")),
            database: self.database.unwrap_or_else(|| database_in(&data_dir)),
            data_dir,
            listen,
            plain_http: self.plain_http.unwrap_or_default().into_iter().map(LoopbackAddress::get).collect(),
            host_names: self.host_names.unwrap_or_default().into_iter().map(HostName::get).collect(),
            admin: self.admin.and_then(AdminAddress::get),
            root_key: self.root_key.complete()?,
            tls: self.tls.complete()?,
            limits: self.limits.complete()?,
            audit: self.audit.complete()?,
            local_clusters: self.local_clusters.complete()?,
            webhooks: webhooks::complete(self.webhooks.unwrap_or_default())?,
            locations: locations::complete(self.locations)?,
            groups_file: self.groups_file,
            backup_destinations: self.backup_destinations.unwrap_or_default(),
            audiences: self.audiences.unwrap_or_default(),
            in_use: self.in_use.unwrap_or_default().into(),
            confirm_rollback: None,
            new_admin_token: false,
            drain_deadline: self.drain_deadline.map_or(DEFAULT_DRAIN_DEADLINE, Span::get),
            log_level: self.log_level.unwrap_or_default(),
            log_format: self.log_format.unwrap_or_default(),
        })
    }
}

/// Where the database is unless a setting says otherwise.
pub(crate) fn database_in(data_dir: &Path) -> PathBuf {
    data_dir.join("keystead.db")
}

/// JSON schema of the configuration file.
pub fn schema() -> String {
    let mut text = serde_json::to_string_pretty(&schemars::schema_for!(PartialSettings)).unwrap_or_default();
    text.push('\n');
    text
}

/// Wrong text, exit code 2, with what to do.
fn wrong(text: impl Into<String>, hint: &str) -> Failure {
    Failure::new(text).usage().hint(hint.to_owned())
}
