//! A plugin without its socket, for unit tests: real key file, real guard, and a switch that makes the backend fail.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use keystead_crypto::{Random, Secret32, SystemRandom};
use keystead_model::KeyReference;
use keystead_provider::switchable::Switchable;
use keystead_provider::{Guard, GuardSettings, Provider};
use keystead_provider_local::{KeyFile, LocalProvider, create, edit};
use keystead_runtime::Tasks;
use tempfile::TempDir;

use crate::admin::PluginReport;
use crate::kms::Kms;
use crate::metrics::Metrics;
use crate::prober::{Prober, ProberSettings};
use crate::snapshot::Published;
use crate::unwrap_cache::UnwrapCache;

pub(crate) const PROBE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const OUTAGE_BOUND: Duration = Duration::from_secs(60 * 60);
/// The guard gives up after that.
pub(crate) const CALL_DEADLINE: Duration = Duration::from_millis(2_500);
const CREATED: &str = "2026-01-31T12:00:00Z";

pub(crate) struct Testbed {
    pub(crate) backend: Switchable,
    /// The backend behind the guard.
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) published: Arc<Published>,
    pub(crate) cache: Arc<UnwrapCache>,
    pub(crate) kms: Arc<Kms>,
    pub(crate) tasks: Tasks,
    outage_bound: Duration,
    on_disk: Option<Arc<OnDisk>>,
}

struct OnDisk {
    key_file: PathBuf,
    _place: TempDir,
}

/// What a provider made of a key.
pub(crate) struct WrappedKey {
    pub(crate) key: Secret32,
    pub(crate) reference: KeyReference,
    pub(crate) wrapped: Vec<u8>,
}

impl Testbed {
    pub(crate) fn new() -> Self {
        Self::with_bound(OUTAGE_BOUND)
    }

    pub(crate) fn with_bound(outage_bound: Duration) -> Self {
        Self::of_key_file(&KeyFile::generate(CREATED, &SystemRandom).expect("a key file"), outage_bound)
    }

    pub(crate) fn of_key_file(file: &KeyFile, outage_bound: Duration) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let key_file = place.path().join("key");
        create(&key_file, file).expect("written");
        let local = LocalProvider::open(&key_file, random()).expect("a good key file");
        Self {
            on_disk: Some(Arc::new(OnDisk { key_file, _place: place })),
            ..Self::over(local, outage_bound)
        }
    }

    /// On a second host with the same key file.
    pub(crate) fn another(&self) -> Self {
        let local = LocalProvider::open(self.key_file(), random()).expect("a good key file");
        Self { on_disk: self.on_disk.clone(), ..Self::over(local, self.outage_bound) }
    }

    /// Two hosts that had one key file, and each made a version 2 of its own and promoted it.
    pub(crate) fn two_hosts_apart() -> (Self, Self) {
        let one = Self::new();
        let text = std::fs::read(one.key_file()).expect("a key file");
        let other = Self::of_key_file(&KeyFile::parse(&text).expect("a good key file"), OUTAGE_BOUND);
        for host in [&one, &other] {
            let number = host.add_version();
            host.promote(number);
        }
        (one, other)
    }

    /// Over a backend without a key file.
    pub(crate) fn over(provider: impl Provider + 'static, outage_bound: Duration) -> Self {
        let backend = Switchable::new(provider);
        let provider: Arc<dyn Provider> = Arc::new(Guard::new(backend.clone(), GuardSettings::default()));
        let tasks = Tasks::default();
        let published = Arc::new(Published::starting());
        let cache = Arc::new(UnwrapCache::new(outage_bound, tasks.clone()));
        let kms = Arc::new(
            Kms::new(
                Arc::clone(&provider),
                Arc::clone(&published),
                Arc::clone(&cache),
                random(),
                Arc::new(Metrics::new()),
            )
            .expect("a provider that makes key ids"),
        );
        Self { backend, provider, published, cache, kms, tasks, outage_bound, on_disk: None }
    }

    pub(crate) fn prober(&self) -> Prober {
        Prober {
            provider: Arc::clone(&self.provider),
            published: Arc::clone(&self.published),
            cache: Arc::clone(&self.cache),
            settings: ProberSettings { interval: PROBE_INTERVAL, outage_bound: self.outage_bound },
            random: random(),
        }
    }

    pub(crate) fn report(&self) -> PluginReport {
        PluginReport {
            published: Arc::clone(&self.published),
            cache: Arc::clone(&self.cache),
            metrics: Arc::clone(&self.kms.metrics),
            socket: Arc::default(),
            expiry: Arc::new(|| None),
            refused: Arc::new(|| None),
        }
    }

    /// Probes in the background, as the plugin does.
    pub(crate) fn start_prober(&self) {
        self.tasks.spawn("prober", self.prober().run(self.tasks.stopping()));
    }

    /// Has the backend wrap a fresh key.
    pub(crate) async fn wrap(&self) -> WrappedKey {
        let key = Secret32::generate(&SystemRandom).expect("random bytes");
        let wrapped = self.provider.wrap(&key).await.expect("the backend works");
        let reference =
            self.provider.describe().reference(wrapped.version, wrapped.activation, wrapped.material);
        WrappedKey { key, reference: reference.expect("a good version"), wrapped: wrapped.bytes }
    }

    pub(crate) fn add_version(&self) -> u32 {
        edit(self.key_file(), |file| file.add(CREATED, &SystemRandom)).expect("added")
    }

    pub(crate) fn promote(&self, version: u32) {
        edit(self.key_file(), |file| file.promote(version)).expect("promoted");
    }

    pub(crate) fn remove(&self, version: u32) {
        edit(self.key_file(), |file| file.remove(version)).expect("removed");
    }

    fn key_file(&self) -> &Path {
        &self.on_disk.as_ref().expect("a testbed with a key file").key_file
    }
}

fn random() -> Arc<dyn Random> {
    Arc::new(SystemRandom)
}
