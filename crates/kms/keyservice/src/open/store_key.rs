use keystead_crypto::Secret32;
use keystead_model::{ErrorClass, KeyVersion};
use keystead_provider::{Description, Provider};
use serde::{Deserialize, Serialize};

use super::{OpenError, Parts};
use crate::service::{decode, encode};
use crate::{KmsError, record_name};

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
    let record = WrappedStoreKey {
        root_key: name(root_key.describe()),
        version: wrapped.version.to_string(),
        wrapped: hex::encode(&wrapped.bytes),
    };
    Ok(encode(&record)?)
}

fn name(description: &Description) -> String {
    format!("{} {}", description.kind, description.key_name)
}
