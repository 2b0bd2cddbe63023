//! A directory with credentials, and the provider that reads them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use keystead_crypto::{Secret32, SystemRandom};
use keystead_provider::{Guard, GuardSettings};
use keystead_provider_cloudkms::{AccessError, CloudKmsProvider, CloudKmsSettings, Credentials};
use tempfile::TempDir;

use crate::stand_in::KEY;

pub(crate) const FIRST: &str = "ks_first_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
pub(crate) const SECOND: &str = "ks_second_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8";

pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    /// With credentials for a server without TLS: one token.
    pub(crate) fn for_plain(address: SocketAddr) -> Self {
        let place = Self::new();
        place.write_credentials(&format!(r#"{{"endpoint": "http://{address}", "tokens": ["{FIRST}"]}}"#));
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaced as `keystead` and careful people do it: by rename.
    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let (path, new) = (self.path(name), self.path(".new"));
        fs::write(&new, text).expect("written");
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("its mode");
        fs::rename(&new, &path).expect("in place");
        path
    }

    pub(crate) fn write_credentials(&self, text: &str) -> PathBuf {
        self.write("credentials.json", text, 0o600)
    }

    pub(crate) fn settings(&self) -> CloudKmsSettings {
        CloudKmsSettings {
            key: KEY.parse().expect("a key name"),
            endpoint: None,
            ca_file: None,
            credentials: Credentials::File { path: self.path("credentials.json"), user: None },
        }
    }

    pub(crate) fn provider(&self) -> CloudKmsProvider {
        self.open().expect("good credentials")
    }

    pub(crate) fn open(&self) -> Result<CloudKmsProvider, AccessError> {
        CloudKmsProvider::open(self.settings())
    }
}

/// As in the plugin, but without a breaker, which would hide what the next call says.
pub(crate) fn guarded(provider: CloudKmsProvider) -> Guard<CloudKmsProvider> {
    let settings = GuardSettings {
        deadline: Duration::from_secs(2),
        attempt: Duration::from_millis(700),
        backoff: Duration::from_millis(10),
        breaker_failures: u32::MAX,
        breaker_open: Duration::ZERO,
    };
    Guard::new(provider, settings)
}

pub(crate) fn key() -> Secret32 {
    Secret32::generate(&SystemRandom).expect("random bytes")
}
