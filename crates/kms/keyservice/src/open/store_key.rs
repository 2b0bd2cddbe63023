use keystead_audit::{Event, EventKind, Record, SafeFields};
use keystead_crypto::Secret32;
use keystead_model::{ErrorClass, KeyVersion};
use keystead_provider::{Description, Provider, Wrapped};
use keystead_store::Batch;
use serde::{Deserialize, Serialize};

use super::{OpenError, Parts};
use crate::KmsError;
use crate::ledger::outbox_entry;
use crate::records::{decode, encode, record_name};

/// The store key as it is stored: wrapped by a version of the root key.
#[derive(Serialize, Deserialize)]
struct WrappedStoreKey {
    /// Kind and name of the root key, so that another one is told from a damaged record.
    root_key: String,
    version: String,
    wrapped: String,
}

/// Unwraps the store key; none: this is the first start.
pub(super) async fn read(parts: &Parts) -> Result<Option<Secret32>, OpenError> {
    let Some(entry) = parts.store.get(record_name::STORE_KEY).await? else { return Ok(None) };
    let stored: WrappedStoreKey = decode(&entry.name, &entry.value)?;
    let given = name(parts.root_key.describe());
    if stored.root_key != given {
        return Err(OpenError::OtherRootKey { needed: stored.root_key, given });
    }
    let damaged = || KmsError::new(ErrorClass::Corrupt, "the stored store key is damaged");
    let version = KeyVersion::new(stored.version).map_err(|_| damaged())?;
    let wrapped = hex::decode(&stored.wrapped).map_err(|_| damaged())?;
    Ok(Some(parts.root_key.unwrap(&version, &wrapped).await?))
}

/// The record of a new store key.
pub(super) async fn wrap(store_key: &Secret32, root_key: &dyn Provider) -> Result<Vec<u8>, OpenError> {
    let wrapped = root_key.wrap(store_key).await?;
    Ok(print(&wrapped, root_key)?)
}

/// After a rotation of the root key: wraps the store key with its new version, so that the old one can be removed. What cannot
/// be done now is done at another start.
pub(super) async fn follow_rotation(
    parts: &Parts,
    server: &str,
    store_key: &Secret32,
) -> Result<(), OpenError> {
    let Some(entry) = parts.store.get(record_name::STORE_KEY).await? else { return Ok(()) };
    let stored: WrappedStoreKey = decode(&entry.name, &entry.value)?;
    let wrapped = match parts.root_key.wrap(store_key).await {
        Ok(wrapped) => wrapped,
        Err(error) => {
            tracing::warn!(%error, "whether the root key was rotated cannot be seen now");
            return Ok(());
        }
    };
    if wrapped.version.to_string() == stored.version {
        return Ok(());
    }
    // Nothing replaces the old form that does not open.
    if !parts.root_key.unwrap(&wrapped.version, &wrapped.bytes).await?.is_same(store_key) {
        return Err(KmsError::new(ErrorClass::Bug, "the root key does not unwrap what it wraps").into());
    }
    let mut id = [0; 16];
    parts.random.fill(&mut id).map_err(|_| KmsError::new(ErrorClass::Bug, "no random bytes can be had"))?;
    let id = hex::encode(id);
    let (now, method) = (parts.clock.now(), "RewrapStoreKey");
    let mut event = Event::new(id.as_str(), now, "keystead.io", method, "server", EventKind::System);
    event.response = SafeFields::new()
        .with("rootKeyVersion", wrapped.version.to_string())
        .with("rootKeyVersionBefore", stored.version.as_str());
    let batch = Batch::default()
        .replace(record_name::STORE_KEY, entry.revision, print(&wrapped, parts.root_key.as_ref())?)
        .put(
            record_name::outbox(server, &id),
            outbox_entry(parts.audit.head().sequence, &Record::of(&event))?,
        );
    parts.store.commit(batch).await?;
    tracing::info!(version = %wrapped.version, before = stored.version, "the store key is wrapped by the new root key");
    Ok(())
}

fn print(wrapped: &Wrapped, root_key: &dyn Provider) -> Result<Vec<u8>, KmsError> {
    encode(&WrappedStoreKey {
        root_key: name(root_key.describe()),
        version: wrapped.version.to_string(),
        wrapped: hex::encode(&wrapped.bytes),
    })
}

fn name(description: &Description) -> String {
    format!("{} {}", description.kind, description.key_name)
}
