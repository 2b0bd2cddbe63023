//! Records as the store keeps them: JSON, by name. One file for each kind; what keys, versions and policies hold is in
//! `keystead-model`.

pub(crate) mod account_email;
pub(crate) mod certificate;
pub(crate) mod notice;
pub(crate) mod opaque;
pub(crate) mod policy;
pub(crate) mod project;
pub(crate) mod record_name;
pub(crate) mod service_account;
pub(crate) mod service_account_key;
pub(crate) mod service_api;
pub(crate) mod session;
pub(crate) mod token;
pub(crate) mod usage;

use keystead_model::ErrorClass;
use keystead_store::{Revision, Store};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::KmsError;

/// A record and the commit that wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Stored<T> {
    pub(crate) value: T,
    pub(crate) revision: Revision,
}

/// Reads one record from the store.
pub(crate) async fn read<T: DeserializeOwned>(
    store: &dyn Store,
    record: &str,
) -> Result<Option<Stored<T>>, KmsError> {
    let Some(entry) = store.get(record).await? else { return Ok(None) };
    let value = decode(&entry.name, &entry.value)?;
    Ok(Some(Stored { value, revision: entry.revision }))
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, KmsError> {
    serde_json::to_vec(value)
        .map_err(|error| KmsError::new(ErrorClass::Bug, format!("a record cannot be written: {error}")))
}

pub(crate) fn decode<T: DeserializeOwned>(record: &str, bytes: &[u8]) -> Result<T, KmsError> {
    serde_json::from_slice(bytes).map_err(|error| {
        tracing::error!(record, %error, "a stored record cannot be read");
        KmsError::new(ErrorClass::Corrupt, format!("the stored record {record} is damaged"))
    })
}
