use std::sync::{Arc, Mutex};

use keystead_audit::{AuditLog, Record};
use keystead_crypto::{Random, Secret32};
use keystead_model::{ErrorClass, KeyVersion};
use keystead_provider::Provider;
use keystead_store::{Batch, Store};
use serde::{Deserialize, Serialize};

use crate::cache::Cache;
use crate::keyring::Sealing;
use crate::schedule::Agenda;
use crate::service::{decode, encode};
use crate::usage::LastUses;
use crate::{Clock, KeyService, KmsError, Settings, record_name};

/// Keys in memory, of about 500 bytes each.
const CACHED_KEYS: usize = 100_000;
/// Versions in memory, of about 600 bytes each.
const CACHED_VERSIONS: usize = 100_000;
/// Policies in memory; most are small, and most resources have none.
const CACHED_POLICIES: usize = 100_000;
/// Switches of APIs, a few for each project.
const CACHED_SERVICES: usize = 10_000;
/// Outbox records that are read at once.
const PAGE: usize = 1000;

/// What the key service is put together from.
pub struct Parts {
    /// Keeps records.
    pub store: Arc<dyn Store>,
    /// Keeps the audit log.
    pub audit: Arc<AuditLog>,
    /// Wraps the store key.
    pub root_key: Arc<dyn Provider>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives random bytes.
    pub random: Arc<dyn Random>,
    /// What the configuration says.
    pub settings: Settings,
}

/// The store key as it is stored: wrapped by a version of the root key.
#[derive(Serialize, Deserialize)]
struct WrappedStoreKey {
    version: String,
    wrapped: String,
}

impl KeyService {
    /// Opens the service: unwraps the store key or makes one, and brings into the audit log what was committed and not
    /// recorded when the process before this one ended.
    pub async fn open(parts: Parts) -> Result<Arc<Self>, KmsError> {
        let store_key = store_key(&parts).await?;
        let service = Self {
            store: parts.store,
            audit: parts.audit,
            clock: parts.clock,
            random: parts.random,
            sealing: Sealing::new(store_key),
            settings: parts.settings,
            keys: Cache::new(CACHED_KEYS),
            versions: Cache::new(CACHED_VERSIONS),
            policies: Cache::new(CACHED_POLICIES),
            services: Cache::new(CACHED_SERVICES),
            agenda: Agenda::default(),
            last_uses: LastUses::default(),
            delivered: Mutex::default(),
        };
        service.deliver_outbox().await?;
        Ok(Arc::new(service))
    }

    async fn deliver_outbox(&self) -> Result<(), KmsError> {
        let mut after = String::new();
        loop {
            let page = self.store.list(record_name::OUTBOX, &after, PAGE).await?;
            let ids: Vec<&str> =
                page.iter().filter_map(|entry| entry.name.strip_prefix(record_name::OUTBOX)).collect();
            let recorded = self.audit.contained(&ids)?;
            for (entry, id) in page.iter().zip(&ids) {
                let record = Record::from_json(&entry.value).ok_or_else(|| {
                    KmsError::new(ErrorClass::Corrupt, format!("the stored record {} is damaged", entry.name))
                })?;
                if !recorded.contains(*id) {
                    self.audit.append_record(record).await?;
                }
                self.delivered().push(entry.name.clone());
            }
            match page.last() {
                Some(last) if page.len() == PAGE => after.clone_from(&last.name),
                _ => return Ok(()),
            }
        }
    }
}

/// Unwraps the store key, or makes it on the first start.
async fn store_key(parts: &Parts) -> Result<Secret32, KmsError> {
    let refused = |error: keystead_provider::ProviderError| {
        KmsError::new(error.class(), format!("the root key cannot be used: {error}"))
    };
    if let Some(entry) = parts.store.get(record_name::STORE_KEY).await? {
        let stored: WrappedStoreKey = decode(&entry.name, &entry.value)?;
        let damaged = || KmsError::new(ErrorClass::Corrupt, "the stored store key is damaged");
        let version = KeyVersion::new(stored.version).map_err(|_| damaged())?;
        let wrapped = hex::decode(&stored.wrapped).map_err(|_| damaged())?;
        return parts.root_key.unwrap(&version, &wrapped).await.map_err(refused);
    }
    let no_random = |_| KmsError::new(ErrorClass::Bug, "no random bytes can be had");
    let store_key = Secret32::generate(parts.random.as_ref()).map_err(no_random)?;
    let wrapped = parts.root_key.wrap(&store_key).await.map_err(refused)?;
    let record =
        WrappedStoreKey { version: wrapped.version.to_string(), wrapped: hex::encode(&wrapped.bytes) };
    parts.store.commit(Batch::default().create(record_name::STORE_KEY, encode(&record)?)).await?;
    Ok(store_key)
}
