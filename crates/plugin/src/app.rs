//! Settings -> build -> App -> spawn: how the parts of the plugin hang together.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use keystead_crypto::{Random, SystemRandom};
use keystead_provider::{Guard, GuardSettings, Provider};
use keystead_runtime::{Admin, Drained, Failure, Notify, Tasks};

use crate::admin::{PluginReport, tell_service_manager};
use crate::grpc::{Handlers, serve};
use crate::kms::Kms;
use crate::metrics::{Measured, Metrics};
use crate::prober::{Prober, ProberSettings};
use crate::providers::{self, ExpirySource, Opened, RefusedSource};
use crate::settings::Settings;
use crate::snapshot::Published;
use crate::transport::{Listener, SocketError};
use crate::unwrap_cache::UnwrapCache;

/// A plugin that is bound to its sockets and does not serve yet.
pub struct App {
    settings: Settings,
    listener: Listener,
    admin: Option<Admin>,
    handlers: Handlers,
    prober: Prober,
    expiry: ExpirySource,
    refused: RefusedSource,
    tasks: Tasks,
}

/// A plugin that serves.
pub struct Running {
    socket: String,
    admin: Option<SocketAddr>,
    settings: Settings,
    tasks: Tasks,
    notify: Arc<Notify>,
}

impl App {
    /// Opens the provider and binds. `inherited` is a socket that the service manager has passed on.
    pub async fn build(settings: Settings, inherited: Option<UnixListener>) -> Result<Self, Failure> {
        let random: Arc<dyn Random> = Arc::new(SystemRandom);
        let opened = providers::open(&settings.provider, &random)?;
        Self::assemble(settings, inherited, opened, random).await
    }

    /// The same with a provider that is open already, for tests.
    pub async fn build_with(
        settings: Settings,
        inherited: Option<UnixListener>,
        provider: impl Provider + 'static,
        random: Arc<dyn Random>,
    ) -> Result<Self, Failure> {
        Self::assemble(settings, inherited, Opened::silent(provider), random).await
    }

    async fn assemble(
        settings: Settings,
        inherited: Option<UnixListener>,
        Opened { provider, expiry, refused }: Opened,
        random: Arc<dyn Random>,
    ) -> Result<Self, Failure> {
        let listener = Listener::bind(&settings.socket, inherited).map_err(|error| refused_socket(&error))?;
        let admin = match settings.admin {
            Some(address) => Some(bind_admin(address).await?),
            None => None,
        };
        let tasks = Tasks::default();
        let metrics = Arc::new(Metrics::new());
        let guarded = Guard::new(Measured::new(provider, Arc::clone(&metrics)), GuardSettings::default());
        let provider: Arc<dyn Provider> = Arc::new(guarded);
        let published = Arc::new(Published::starting());
        let cache = Arc::new(UnwrapCache::new(settings.outage_bound, tasks.clone()));
        let prober = Prober {
            provider: Arc::clone(&provider),
            published: Arc::clone(&published),
            cache: Arc::clone(&cache),
            settings: ProberSettings {
                interval: settings.probe_interval,
                outage_bound: settings.outage_bound,
            },
            random: Arc::clone(&random),
        };
        let kms = Kms::new(provider, published, cache, random, metrics)
            .map_err(|error| Failure::from_error(&error))?;
        let kms = Arc::new(kms);
        let handlers = Handlers { kms, status_version: settings.status_version };
        Ok(Self { settings, listener, admin, handlers, prober, expiry, refused, tasks })
    }

    /// Starts serving, at once, whatever the backend does.
    pub fn spawn(self) -> Result<Running, Failure> {
        let Self { settings, listener, admin, handlers, prober, expiry, refused, tasks } = self;
        let kms = Arc::clone(&handlers.kms);
        let notify = Arc::new(Notify::default());
        let running = Running {
            socket: listener.name(),
            admin: admin.as_ref().map(Admin::address),
            settings,
            tasks: tasks.clone(),
            notify: Arc::clone(&notify),
        };
        let socket = listener.watch();
        let connections =
            listener.incoming().map_err(|error| Failure::new(format!("cannot serve the socket: {error}")))?;
        tasks.spawn("prober", prober.run(tasks.stopping()));
        tasks.spawn("socket", serve(connections, handlers, tasks.clone()));
        let recheck = Arc::clone(&kms.cache).recheck_every(
            Arc::clone(&kms.provider),
            running.settings.recheck_interval,
            tasks.stopping(),
        );
        tasks.spawn("recheck", recheck);
        let report = PluginReport {
            published: Arc::clone(&kms.published),
            cache: Arc::clone(&kms.cache),
            metrics: Arc::clone(&kms.metrics),
            socket,
            expiry,
            refused,
        };
        if let Some(admin) = admin {
            tasks.spawn("admin", admin.serve(Arc::new(report), tasks.clone()));
        }
        notify.ready();
        tasks.spawn(
            "service manager",
            tell_service_manager(Arc::clone(&kms.published), notify, tasks.stopping()),
        );
        Ok(running)
    }
}

impl Running {
    /// The socket, as kube-apiserver's `endpoint` needs it behind `unix://`.
    pub fn socket(&self) -> &str {
        &self.socket
    }

    /// The admin port, with the real number when 0 was asked for.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Resolves when a task has crashed or the plugin is being stopped.
    pub async fn stopping(&self) {
        self.tasks.stopping().cancelled().await;
    }

    /// No new connections; calls under way are answered; then everything ends.
    pub async fn stop(self) -> Drained {
        self.notify.stopping();
        self.tasks.drain(self.settings.drain_deadline).await
    }
}

/// Exit code 2 when the setting itself is wrong, whatever the host looks like.
pub(crate) fn refused_socket(error: &SocketError) -> Failure {
    let failure = Failure::from_error(error).hint("choose another path with --socket".to_owned());
    let failure = failure.hint(error.hint());
    match error {
        SocketError::Invalid { .. }
        | SocketError::TooLong { .. }
        | SocketError::AbstractNotAllowed { .. } => failure.usage(),
        _ => failure,
    }
}

async fn bind_admin(address: SocketAddr) -> Result<Admin, Failure> {
    Admin::bind(address).await.map_err(|error| {
        Failure::new(format!("cannot listen on the admin address {address}: {error}"))
            .hint("choose another with --admin ADDRESS, or --admin off".to_owned())
    })
}
