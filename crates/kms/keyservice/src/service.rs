//! The service: what it is put together from, and what it finds by name, from memory or with one read.

mod accounts;
mod credential_uses;
mod figures;
mod keys;
mod notices;
mod policies;
mod projects;
mod settings;
mod usage;

use std::sync::{Arc, Mutex};

use jiff::Timestamp;
use keystead_audit::AuditLog;
use keystead_crypto::Random;
use keystead_model::ErrorClass;
use keystead_store::Store;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

pub use accounts::AccountName;
pub use figures::{ClusterFigures, Figures};
pub(crate) use figures::{FailedOperations, FailureReason};
pub(crate) use keys::after;
pub use notices::{WaitingNotice, WebhookFigures};
pub use settings::{Location, Settings, Webhook};
pub use usage::{ProtectedCluster, VersionUsage};

use crate::KmsError;
use crate::identity::IdentityState;
use crate::key_material::Sealing;
use crate::ledger::Ledger;
use crate::records::{self, Stored, decode};
use crate::remembered::{Cache, Remembered};
use crate::root::RootDirectory;

/// Records that are read at once: in a millisecond, so that short calls get their turn in between.
const READ: usize = 250;

/// Lists that are read whole at the same time: others wait, so that they do not crowd out short calls.
pub(crate) const MOST_SCANS: usize = 4;

/// The key service: the only one who authorises, commits and records. gRPC and REST call [`KeyService::run`].
pub struct KeyService {
    /// In step with what is remembered. Only the ledger commits.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) audit: Arc<AuditLog>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: Arc<dyn Random>,
    pub(crate) sealing: Sealing,
    pub(crate) settings: Settings,
    pub(crate) remembered: Arc<Remembered>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) identity: IdentityState,
    /// Lists that are read whole, because they are filtered or ordered, at the same time.
    pub(crate) scans: Semaphore,
    /// What the last look at all records said.
    pub(crate) figures: Mutex<Figures>,
    pub(crate) failed_operations: FailedOperations,
    /// Held open, so that no other server takes it.
    pub(crate) _root: RootDirectory,
}

/// Tells the time: an argument, so that tests can move it.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// The same clock for the audit log. A process reads one clock: what one clock dates, another one must not age.
pub fn audit_clock(clock: &Arc<dyn Clock>) -> keystead_audit::Clock {
    let clock = Arc::clone(clock);
    Arc::new(move || clock.now())
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// What backup destinations there are, and what is wrong with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// How many are configured.
    pub destinations: usize,
    /// One sentence for each that is missing or refused, or that may lack a key version.
    pub incomplete: Vec<String>,
}

impl Protection {
    /// Whether a key version may be on this machine only until the next backup: no destination is certain to hold it.
    pub fn is_none(&self) -> bool {
        self.incomplete.len() >= self.destinations
    }
}

impl KeyService {
    /// Where clients find the server, such as `https://localhost:9443`.
    pub fn endpoint(&self) -> &str {
        self.settings.token_uri.trim_end_matches("/token")
    }

    /// Whether this server runs clusters itself, for whoever asks for one.
    pub fn runs_local_clusters(&self) -> bool {
        self.settings.local_clusters
    }

    /// How far key versions are on other machines too.
    pub fn protection(&self) -> Protection {
        let places = self.ledger.destinations().places();
        let incomplete: Vec<_> = places.iter().filter_map(|place| place.problem()).collect();
        Protection { destinations: places.len(), incomplete }
    }

    /// Where this server is, with a slash last, as links in answers have it; empty: it was not told.
    pub fn address(&self) -> &str {
        self.settings.token_uri.strip_suffix("token").unwrap_or_default()
    }

    /// Why the groups file that is on the disk now is not the one in use, if it is not: a server that starts could not use it.
    pub fn refused_groups(&self) -> Option<String> {
        self.identity.groups.refused()
    }

    /// Random bytes.
    pub(crate) fn random_bytes<const LEN: usize>(&self) -> Result<[u8; LEN], KmsError> {
        let mut bytes = [0; LEN];
        let filled = self.random.fill(&mut bytes);
        filled.map_err(|_| KmsError::new(ErrorClass::Bug, "no random bytes can be had"))?;
        Ok(bytes)
    }

    /// Reads one record.
    pub(crate) async fn read<T: DeserializeOwned>(
        &self,
        record: &str,
    ) -> Result<Option<Stored<T>>, KmsError> {
        records::read(self.store.as_ref(), record).await
    }

    /// A record from memory, or with one read.
    pub(crate) async fn cached<T: DeserializeOwned>(
        &self,
        cache: &Cache<T>,
        record: &str,
    ) -> Result<Option<Arc<T>>, KmsError> {
        if let Some(value) = cache.get(record) {
            return Ok(Some(value));
        }
        let read_after = cache.epoch();
        let Some(stored) = self.read(record).await? else { return Ok(None) };
        let value = Arc::new(stored.value);
        cache.keep(record, &value, read_after);
        Ok(Some(value))
    }

    /// All records under a prefix.
    pub(crate) async fn read_all<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<T>, KmsError> {
        let (mut all, mut after) = (Vec::new(), String::new());
        loop {
            let (mut items, last) = self.read_some(prefix, &after).await?;
            all.append(&mut items);
            match last {
                Some(last) => after = last,
                None => return Ok(all),
            }
        }
    }

    /// Some records under a prefix, and the name of the last one if there may be more.
    pub(crate) async fn read_some<T: DeserializeOwned>(
        &self,
        prefix: &str,
        after: &str,
    ) -> Result<(Vec<T>, Option<String>), KmsError> {
        let entries = self.store.list(prefix, after, READ).await?;
        let items =
            entries.iter().map(|entry| decode(&entry.name, &entry.value)).collect::<Result<_, _>>()?;
        let full = entries.len() == READ;
        Ok((items, entries.into_iter().last().filter(|_| full).map(|last| last.name)))
    }
}
