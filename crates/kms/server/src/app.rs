//! Settings -> build -> App -> spawn: how the parts of the server hang together.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use keystead_audit::{AuditLog, SignedHeads};
use keystead_crypto::{Random, SecretBytes, SystemRandom};
use keystead_keyservice::{
    Clock, KeyService, OpenError, Parts, RootDirectory, RootError, SystemClock, audit_clock,
};
use keystead_model::Exit;
use keystead_provider::{Guard, GuardSettings, Provider};
use keystead_runtime::whole_file::{self, Readers};
use keystead_runtime::{Admin, Drained, Failure, Notify, Tasks};
use keystead_store::Store;
use keystead_store_sqlite::{SqliteSettings, SqliteStore};

use crate::api::Api;
use crate::backup_folder::BackupFolder;
use crate::data_dir::{DataDir, DataDirError, Endpoint};
use crate::front::Front;
use crate::health::{self, Health, Refused};
use crate::listener::Listener;
use crate::local_clusters::{LocalClusters, LocalStates};
use crate::metrics::Metrics;
use crate::pki::Pki;
use crate::root_key;
use crate::settings::Settings;
use crate::tls::{Tls, TlsError};
use crate::webhooks::{Receiver, WebhookSettings};

/// After the last call: what is queued for the disk is written, tasks see that they are to end.
const WRITING_DEADLINE: Duration = Duration::from_secs(10);
/// In the data directory.
const ADMIN_TOKEN: &str = "admin-token";

/// A server that has opened everything and is bound to its addresses, and does not serve yet.
pub struct App {
    settings: Settings,
    dir: DataDir,
    listener: Listener,
    admin: Option<Admin>,
    tls: Arc<Tls>,
    pki: Arc<Pki>,
    endpoint: Endpoint,
    keyservice: Arc<KeyService>,
    local_clusters: Option<Arc<LocalClusters>>,
    receivers: Vec<Receiver>,
    clock: Arc<dyn Clock>,
    /// When the process before this one was, by the audit log.
    last_alive: Option<Timestamp>,
    api: Api,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    tasks: Tasks,
}

/// A server that serves.
pub struct Running {
    endpoint: Endpoint,
    admin: Option<SocketAddr>,
    dir: DataDir,
    pki: Arc<Pki>,
    keyservice: Arc<KeyService>,
    health: Arc<Health>,
    drain_deadline: Duration,
    tasks: Tasks,
    notify: Arc<Notify>,
}

impl App {
    /// Opens the data directory, or makes everything that is not there, and binds.
    pub async fn build(settings: Settings) -> Result<Self, Failure> {
        check_room(&settings)?;
        let dir = DataDir::open(&settings.data_dir).map_err(|error| refused_dir(&error))?;
        let metrics = Arc::new(Metrics::default());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        // Before anything is opened: what is wrong with an address is known at once, and nothing was made for it.
        let tls_dir = dir.directory("tls").map_err(|error| refused_dir(&error))?;
        let pki = Pki::open(&tls_dir, certificate_names(&settings), clock.now());
        let pki = Arc::new(pki.map_err(|error| refused_tls(&error.into()))?);
        let tls = Tls::open(settings.tls.clone(), Arc::clone(&pki)).map_err(|error| refused_tls(&error))?;
        let mut listener = Listener::new(settings.limits, settings.drain_deadline);
        let mut bind = |address, tls| {
            listener.bind(address, tls).map_err(|error| {
                Failure::new(format!("cannot listen on {address}: {error}"))
                    .hint("choose another address with --listen; port 0 takes a free one".to_owned())
            })
        };
        let bind_tls = |address: &SocketAddr| bind(*address, Some(Arc::clone(&tls)));
        let addresses = settings.listen.iter().map(bind_tls).collect::<Result<Vec<_>, _>>()?;
        let bind_plain = |address: &SocketAddr| bind(*address, None);
        let plain_http = settings.plain_http.iter().map(bind_plain).collect::<Result<Vec<_>, _>>()?;
        let admin = match settings.admin {
            Some(address) => Some(bind_admin(address).await?),
            None => None,
        };
        let own_certificate = settings.tls.given.is_none();
        let mut endpoint = Endpoint {
            endpoint: endpoint(settings.host_names.first(), addresses.first().copied()),
            local_endpoint: own_certificate.then(|| endpoint(None, addresses.first().copied())),
            addresses,
            plain_http,
            ca_file: own_certificate.then(|| pki.ca_file()),
            token_file: None,
        };

        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let root = RootDirectory::open(&settings.root_dir).map_err(|error| refused_root(&error))?;
        // All three are ours alone now.
        let tls_dir = settings.data_dir.join("tls");
        for directory in [&settings.data_dir, &tls_dir, &settings.root_dir] {
            remove_unfinished(directory);
        }
        let root_key = root_key::open(&settings, &root.root_key_path(), &random)?;
        let refused_root_key = root_key.refused;
        let root_key: Arc<dyn Provider> = Arc::new(Guard::new(root_key.provider, GuardSettings::default()));
        let store = open_store(&settings.database).await?;
        let audit_dir = dir.directory("audit").map_err(|error| refused_dir(&error))?;
        let mut audit_settings = settings.audit.clone();
        audit_settings.clock = audit_clock(&clock);
        // Beside the log, for whoever keeps it elsewhere; the key that signs is in the root directory.
        audit_settings.signed_heads = Some(SignedHeads {
            signer: Arc::new(root.audit_signer().map_err(|error| Failure::from_error(&error))?),
            file: settings.data_dir.join("audit-head"),
        });
        let audit = AuditLog::open(&audit_dir, audit_settings).map_err(|error| {
            Failure::from_error(&error)
                .hint("`keystead audit verify` says what is wrong with the log".to_owned())
        })?;
        let audit = Arc::new(audit);
        metrics.register(|registry| audit.register_metrics(registry));
        let token_file = dir.join(ADMIN_TOKEN);
        let new_admin_token = settings.new_admin_token && !token_file.exists();
        if settings.new_admin_token && !new_admin_token {
            let token_file = token_file.display();
            tracing::warn!(%token_file, "no new token is made over this one: if it does not work, remove the file and start again");
        }
        let admin_token = token_file.clone();
        let own = [endpoint.endpoint.clone(), format!("{}/", endpoint.endpoint)];
        let keyservice = KeyService::open(Parts {
            store: Arc::clone(&store) as Arc<dyn Store>,
            audit: Arc::clone(&audit),
            root_key: Arc::clone(&root_key),
            root,
            clock: Arc::clone(&clock),
            random,
            settings: keystead_keyservice::Settings {
                locations: settings.locations.clone(),
                groups_file: settings.groups_file.clone(),
                backup_destinations: settings.backup_destinations.clone(),
                in_use: settings.in_use,
                token_uri: format!("{}/token", endpoint.endpoint),
                audiences: own.into_iter().chain(settings.audiences.iter().cloned()).collect(),
                local_clusters: settings.local_clusters.is_some(),
                webhooks: settings.webhooks.iter().map(WebhookSettings::subscription).collect(),
            },
            keep_admin_token: Box::new(move |token| keep_token(&admin_token, token)),
            new_admin_token,
            confirm_rollback: settings.confirm_rollback,
        });
        let keyservice = keyservice.await.map_err(|error| refused_open(&error))?;
        metrics.figures(&keyservice.figures());
        let receiver =
            |it: &WebhookSettings| Receiver::new(it, Arc::clone(&keyservice), Arc::clone(&metrics));
        let receivers = settings.webhooks.iter().map(receiver).collect::<Result<Vec<_>, _>>()?;
        endpoint.token_file = Some(token_file).filter(|file| file.exists());
        let backups = dir.directory("backups").map_err(|error| refused_dir(&error))?;
        let backups = Arc::new(BackupFolder::new(Arc::clone(&store), backups));
        let api = Api::new(Arc::clone(&keyservice)).map_err(|error| Failure::from_error(&error))?;
        let states = LocalStates::default();
        let api = api.with_authority(Arc::clone(&pki)).with_backups(backups);
        let api = api.with_local_clusters(Arc::clone(&states));
        let local_clusters = match &settings.local_clusters {
            Some(local) => {
                let server = endpoint.local_endpoint.as_ref().unwrap_or(&endpoint.endpoint).clone();
                let authority = own_certificate.then(|| pki.ca_pem());
                Some(LocalClusters::open(local, Arc::clone(&keyservice), server, authority, states)?)
            }
            None => None,
        };
        let last_alive = audit.last_alive();
        let (protected, shown) = (Arc::clone(&keyservice), Arc::clone(&keyservice));
        let health = Arc::new(Health::new(health::Parts {
            store,
            audit,
            root_key,
            refused_root_key,
            refused: refused_files(&tls, &keyservice),
            metrics: Arc::clone(&metrics),
            protection: Box::new(move || protected.protection()),
            figures: Box::new(move || shown.figures()),
        }));
        let tasks = Tasks::default();
        Ok(Self {
            settings,
            dir,
            listener,
            admin,
            tls,
            pki,
            endpoint,
            keyservice,
            local_clusters,
            receivers,
            clock,
            last_alive,
            api,
            metrics,
            health,
            tasks,
        })
    }

    /// Starts serving.
    pub fn spawn(self) -> Result<Running, Failure> {
        let Self {
            settings,
            dir,
            listener,
            admin,
            tls,
            pki,
            endpoint,
            keyservice,
            local_clusters,
            receivers,
            clock,
            last_alive,
            api,
            metrics,
            health,
            tasks,
        } = self;
        let notify = Arc::new(Notify::default());
        let running = Running {
            admin: admin.as_ref().map(Admin::address),
            drain_deadline: settings.drain_deadline,
            tasks: tasks.clone(),
            notify: Arc::clone(&notify),
            endpoint,
            dir,
            pki,
            keyservice: Arc::clone(&keyservice),
            health: Arc::clone(&health),
        };
        running.dir.write_endpoint(&running.endpoint).map_err(|error| refused_dir(&error))?;
        let stopping = tasks.stopping();
        let fresh = tls.keep_fresh(clock, last_alive, Arc::clone(&metrics), stopping.clone());
        tasks.spawn("certificates", fresh);
        tasks.spawn("health", Arc::clone(&health).keep_looking(Arc::clone(&notify), stopping.clone()));
        for destination in 0..keyservice.destinations() {
            let stopping = stopping.clone();
            let stopped = async move { stopping.cancelled().await };
            tasks.spawn("backup destination", Arc::clone(&keyservice).keep_destination(destination, stopped));
        }
        let stopped = async move { stopping.cancelled().await };
        tasks.spawn("schedule", keyservice.run_schedule(stopped));
        for receiver in receivers {
            tasks.spawn("webhook", receiver.keep_telling(tasks.stopping()));
        }
        if let Some(local) = local_clusters {
            tasks.spawn("local clusters", local.keep(tasks.stopping()));
        }
        if let Some(admin) = admin {
            tasks.spawn("admin", admin.serve(Arc::clone(&health) as _, tasks.clone()));
        }
        listener.spawn(Front::new(api, health, Arc::clone(&metrics)), metrics, &tasks);
        notify.ready();
        Ok(running)
    }
}

impl Running {
    /// Where clients find the server, such as `https://localhost:9443`.
    pub fn endpoint(&self) -> &str {
        &self.endpoint.endpoint
    }

    /// The first TLS address, with the real port when 0 was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.endpoint.addresses.first().copied()
    }

    /// Loopback addresses without TLS.
    pub fn plain_http(&self) -> &[SocketAddr] {
        &self.endpoint.plain_http
    }

    /// The admin port.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where the first start leaves the first administrator's token, and a start with `--new-admin-token` another one.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join(ADMIN_TOKEN)
    }

    /// Whether it was there at the start. It is not in a restored data directory, and may be deleted once there are others.
    pub(crate) fn has_admin_token(&self) -> bool {
        self.endpoint.token_file.is_some()
    }

    /// The authorities that clients must trust, in PEM.
    pub fn ca_pem(&self) -> String {
        self.pki.ca_pem()
    }

    /// Signs client certificates.
    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// Every use case, without a network.
    pub fn keyservice(&self) -> &Arc<KeyService> {
        &self.keyservice
    }

    /// Resolves when a task has crashed or the server is being stopped.
    pub async fn stopping(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// No new connections; calls under way are answered; then everything ends.
    pub async fn stop(self) -> Drained {
        self.notify.stopping();
        let drained = self.tasks.drain(self.drain_deadline + WRITING_DEADLINE).await;
        drop(self.health);
        // Log and database end with the last reference, after what is queued.
        let ended = tokio::task::spawn_blocking(move || drop(self.keyservice));
        if ended.await.is_err() {
            return Drained::Crashed;
        }
        drained
    }
}

/// The files that are read again while the server runs, besides that of the root key.
/// What a process that was killed was about to write may be a token or a key.
fn remove_unfinished(directory: &Path) {
    match whole_file::remove_unfinished(directory) {
        Ok(0) => {}
        Ok(removed) => tracing::warn!(removed, directory = %directory.display(), "removed unfinished files"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%error, directory = %directory.display(), "unfinished files may be left");
        }
    }
}

fn refused_files(tls: &Arc<Tls>, keyservice: &Arc<KeyService>) -> Vec<(&'static str, Refused)> {
    let (tls, keyservice) = (Arc::clone(tls), Arc::clone(keyservice));
    vec![
        ("certificates", Box::new(move || tls.refused())),
        ("groups", Box::new(move || keyservice.refused_groups())),
    ]
}

async fn open_store(path: &Path) -> Result<Arc<SqliteStore>, Failure> {
    let owned = path.to_owned();
    // It reads and checks files.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&owned, SqliteSettings::default()));
    match opened.await {
        Ok(Ok(store)) => Ok(Arc::new(store)),
        Ok(Err(error)) => Err(Failure::from_error(&error).hint(format!(
            "check {} and the room on its disk; `keystead server restore` takes a backup",
            path.display()
        ))),
        Err(_) => Err(Failure::new("opening the database ended in a bug").exit(Exit::Bug)),
    }
}

/// What the server's own certificate says: this host, what the settings name, and the addresses that are listened on.
fn certificate_names(settings: &Settings) -> Vec<String> {
    let mut names = settings.host_names.clone();
    names.extend(["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string()]);
    let listened = settings.listen.iter().map(SocketAddr::ip);
    names.extend(listened.filter(|address| !address.is_unspecified()).map(|address| address.to_string()));
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// With the host name, or the best that can be said without one.
fn endpoint(host_name: Option<&String>, address: Option<SocketAddr>) -> String {
    let Some(address) = address else { return String::new() };
    let port = address.port();
    // `localhost` is 127.0.0.1 on some hosts and nothing else, so that a server of ::1 alone is not found by that name.
    let local = address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST);
    match host_name {
        Some(name) if name.contains(':') => format!("https://[{name}]:{port}"),
        Some(name) => format!("https://{name}:{port}"),
        None if local || address.ip().is_unspecified() => format!("https://localhost:{port}"),
        None => format!("https://{address}"),
    }
}

/// One line, as `gcloud` and `curl` read it.
fn keep_token(path: &Path, token: &SecretBytes) -> std::io::Result<()> {
    let line = zeroize::Zeroizing::new([token.expose(), b"\n"].concat());
    whole_file::replace(path, &line, Readers::Owner)
}

pub(crate) fn refused_open(error: &OpenError) -> Failure {
    let failure = Failure::from_error(error);
    match error {
        OpenError::Rollback(rollback) => {
            failure.hint(format!("to go on from there: --confirm-rollback {}", rollback.database))
        }
        OpenError::Destination(_) => failure.hint("check --backup-destination".to_owned()),
        OpenError::Groups(_) => failure.hint("check --groups-file".to_owned()),
        OpenError::RootKey(_) | OpenError::OtherRootKey { .. } => {
            failure.hint("put the root key that belongs to this database into --root-dir".to_owned())
        }
        _ => failure,
    }
}

/// What a new server writes besides the reserve of its audit log, in bytes, with room for some thousand calls.
const FIRST_START: u64 = 16 << 20;

/// Refuses a first start where there is no room for it, before anything is made that would be half a server.
pub(crate) fn check_room(settings: &Settings) -> Result<(), Failure> {
    if settings.database.exists() {
        return Ok(());
    }
    let existing = settings.data_dir.ancestors().find(|path| path.is_dir());
    // Where nothing can be found out, the first write says what is wrong.
    let Some(found) = existing.and_then(|path| rustix::fs::statvfs(path).ok()) else { return Ok(()) };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let reserve = settings.audit.reserve_bytes;
    let needed = reserve.saturating_add(FIRST_START);
    if free >= needed {
        return Ok(());
    }
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let text = format!(
        "there are {} MiB free for {}, and a new server needs {}: {} for the reserve of its audit log and {} for the rest",
        free >> 20,
        settings.data_dir.display(),
        mib(needed),
        mib(reserve),
        mib(FIRST_START)
    );
    let hint = "make room, choose another place with --data-dir, or a smaller reserve with --audit-reserve";
    Err(Failure::new(text).hint(hint.to_owned()))
}

pub(crate) fn refused_dir(error: &DataDirError) -> Failure {
    Failure::from_error(error).hint(error.hint())
}

pub(crate) fn refused_root(error: &RootError) -> Failure {
    Failure::from_error(error).hint("check --root-dir, and who may use it".to_owned())
}

pub(crate) fn refused_tls(error: &TlsError) -> Failure {
    Failure::from_error(error).hint("check the certificate and key files, and who may read them".to_owned())
}

async fn bind_admin(address: SocketAddr) -> Result<Admin, Failure> {
    Admin::bind(address).await.map_err(|error| {
        Failure::new(format!("cannot listen on the admin address {address}: {error}"))
            .hint("choose another with --admin ADDRESS, or --admin off".to_owned())
    })
}
