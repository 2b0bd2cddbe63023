//! The whole plugin on its sockets in this process, over a backend that fails when a test says so.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use keystead_crypto::{Envelope, Secret32, SystemRandom};
use keystead_plugin::transport::SocketSettings;
use keystead_plugin::{App, ProviderSettings, Running, Settings, StatusVersion};
use keystead_provider::switchable::{Mode, Switchable};
use keystead_provider::{Provider, Wrapped};
use keystead_provider_local::LocalProvider;
use keystead_runtime::{Drained, LogFormat, LogLevel};

use crate::plugin_process::{DEADLINE, Place, get};

/// Long enough to see no second probe.
pub(crate) const ONE_PROBE: Duration = Duration::from_secs(3600);
pub(crate) const OFTEN: Duration = Duration::from_millis(20);

pub(crate) struct Served {
    running: Running,
    pub(crate) backend: Switchable,
    place: Place,
}

/// A ciphertext and the key id that goes with it.
pub(crate) struct Sealed {
    pub(crate) ciphertext: Vec<u8>,
    pub(crate) key_id: String,
}

impl Served {
    /// Serves; the backend may be in any mode from the start.
    pub(crate) async fn start(mode: Mode, probe_interval: Duration, outage_bound: Duration) -> Self {
        let place = Place::new();
        let local = LocalProvider::open(&place.key(), Arc::new(SystemRandom)).expect("a key file");
        let backend = Switchable::new(local);
        backend.set(mode);
        let endpoint = Some(place.socket().to_str().expect("UTF-8").to_owned());
        let settings = Settings {
            socket: SocketSettings { endpoint, ..SocketSettings::default() },
            status_version: StatusVersion::V2,
            provider: ProviderSettings::Local { key_file: place.key() },
            admin: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            probe_interval,
            outage_bound,
            recheck_interval: ONE_PROBE,
            drain_deadline: Duration::from_secs(10),
            log_level: LogLevel::Error,
            log_format: LogFormat::Text,
        };
        let app = App::build_with(settings, None, backend.clone(), Arc::new(SystemRandom)).await;
        let running = app.expect("free sockets").spawn().expect("serves");
        Self { running, backend, place }
    }

    /// With a backend that works, and one probe that is over.
    pub(crate) async fn ready() -> Self {
        let served = Self::start(Mode::Works, ONE_PROBE, ONE_PROBE).await;
        served.until_readyz("ok: ").await;
        served
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.place.socket()
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.running.admin().expect("an admin port")
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        get(self.admin(), path)
    }

    /// Waits until `/readyz` begins with this, and gives its status and text.
    pub(crate) async fn until_readyz(&self, begins: &str) -> (u16, String) {
        let end = Instant::now() + DEADLINE;
        loop {
            let (status, text) = self.get("/readyz");
            if text.starts_with(begins) {
                return (status, text);
            }
            assert!(Instant::now() < end, "`{begins}` did not come: {status} {text}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// One value of `/metrics`; `name` as it stands there, with its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").1;
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("{name}:\n{text}")).parse().expect("a number")
    }

    /// What another host with the same key file would have sealed, under a wrapping key of its own.
    pub(crate) async fn sealed_elsewhere(&self, plaintext: &[u8]) -> Sealed {
        let local = LocalProvider::open(&self.place.key(), Arc::new(SystemRandom)).expect("a key file");
        let key = Secret32::generate(&SystemRandom).expect("random bytes");
        let wrapped = local.wrap(&key).await.expect("wrapped");
        let Wrapped { version, activation, material, bytes } = wrapped;
        let reference = local.describe().reference(version, activation, material).expect("good");
        let ciphertext = Envelope::seal(&reference, &key, &bytes, plaintext, &SystemRandom);
        Sealed { ciphertext: ciphertext.expect("sealed"), key_id: reference.to_string() }
    }

    pub(crate) async fn stop(self) {
        assert_eq!(self.running.stop().await, Drained::Clean);
        assert!(!self.place.socket().exists());
    }
}
