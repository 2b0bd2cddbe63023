//! The three calls of Kubernetes on our own types. Nothing here knows gRPC.

use std::sync::Arc;

use keystead_crypto::{Envelope, EnvelopeError, OpenError, Random, SecretBytes};
use keystead_model::{ErrorClass, InvalidKeyReference, KeyReference, KeyVersion};
use keystead_provider::{Provider, ProviderError};

use crate::metrics::Metrics;
use crate::snapshot::{NotServing, Published, Snapshot};
use crate::unwrap_cache::{Lookup, UnwrapCache};

/// Answers Status, Encrypt and Decrypt.
pub(crate) struct Kms {
    /// Any version of the key that is served.
    pub(crate) key: KeyReference,
    /// The guarded backend, for Decrypts that the cache cannot answer.
    pub(crate) provider: Arc<dyn Provider>,
    /// What to encrypt with.
    pub(crate) published: Arc<Published>,
    /// What was unwrapped before.
    pub(crate) cache: Arc<UnwrapCache>,
    /// Salts.
    pub(crate) random: Arc<dyn Random>,
    /// Counts lookups.
    pub(crate) metrics: Arc<Metrics>,
}

/// An answer of Encrypt: both parts come from one snapshot.
pub(crate) struct Encrypted {
    /// Under 1,024 bytes.
    pub(crate) ciphertext: Vec<u8>,
    /// The key id of Status at that moment.
    pub(crate) key_id: String,
}

impl Kms {
    /// Puts the parts together. Fails where the provider describes itself in a way that makes no key id.
    pub(crate) fn new(
        provider: Arc<dyn Provider>,
        published: Arc<Published>,
        cache: Arc<UnwrapCache>,
        random: Arc<dyn Random>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, InvalidKeyReference> {
        let key = provider.describe().reference(KeyVersion::from(0), None, None)?;
        Ok(Self { key, provider, published, cache, random, metrics })
    }

    /// The key id that Encrypt uses now. Never leaves the process.
    pub(crate) fn status(&self) -> Result<Arc<Snapshot>, NotServing> {
        self.published.snapshot()
    }

    /// Seals 0 to 256 bytes. Never leaves the process.
    pub(crate) fn encrypt(&self, plaintext: &[u8]) -> Result<Encrypted, EncryptError> {
        let snapshot = self.published.snapshot()?;
        let ciphertext = Envelope::seal(
            &snapshot.reference,
            &snapshot.wrapping_key,
            &snapshot.wrapped,
            plaintext,
            &*self.random,
        )?;
        Ok(Encrypted { ciphertext, key_id: snapshot.key_id().to_owned() })
    }

    /// Opens a ciphertext. `key_id` is what KMS v2 sends along, and must be the one that stands in the ciphertext.
    pub(crate) async fn decrypt(
        &self,
        ciphertext: &[u8],
        key_id: Option<&str>,
    ) -> Result<SecretBytes, DecryptError> {
        let envelope = Envelope::parse(ciphertext)?;
        let reference = envelope.key_reference();
        self.check_key(reference, key_id)?;
        let mine = self.published.snapshot().ok();
        if let Some(mine) =
            mine.filter(|mine| mine.reference == *reference && mine.wrapped == envelope.wrapped())
        {
            self.metrics.looked_up(Lookup::Hit);
            return Ok(envelope.open(&mine.wrapping_key)?);
        }
        let (lookup, key) = self.cache.unwrap(&self.provider, reference, envelope.wrapped()).await;
        self.metrics.looked_up(lookup);
        Ok(envelope.open(&*key?)?)
    }

    fn check_key(&self, reference: &KeyReference, key_id: Option<&str>) -> Result<(), DecryptError> {
        if let Some(given) = key_id.filter(|given| reference.as_str() != *given) {
            let given = given.chars().take(KeyReference::MAX_LEN).flat_map(char::escape_debug).collect();
            return Err(DecryptError::KeyIdMismatch { given, sealed: reference.to_string() });
        }
        if !self.key.is_same_key(reference) {
            return Err(DecryptError::ForeignKey(reference.to_string()));
        }
        Ok(())
    }
}

/// Why nothing was encrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncryptError {
    /// The plaintext is too long, or the library failed.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// There is no snapshot.
    #[error(transparent)]
    NotServing(#[from] NotServing),
}

impl EncryptError {
    /// Decides the code that callers see.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Envelope(EnvelopeError::PlaintextTooLong(_)) => ErrorClass::Invalid,
            Self::Envelope(_) => ErrorClass::Bug,
            Self::NotServing(error) => error.class(),
        }
    }
}

/// Why nothing was decrypted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecryptError {
    /// Not a ciphertext of ours.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Sealed with a key that this plugin does not serve.
    #[error(
        "the ciphertext was made with key {0}, which is not a version of the key that this plugin serves"
    )]
    ForeignKey(String),
    /// Sealed with another key version than the caller says.
    #[error("the request says key_id `{given}`, the ciphertext says `{sealed}`")]
    KeyIdMismatch {
        /// In the request, cut to the longest key id of ours, on one line.
        given: String,
        /// In the ciphertext.
        sealed: String,
    },
    /// Changed, or wrapped by something else.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The backend did not unwrap.
    #[error("the key backend did not unwrap the key of this ciphertext: {0}")]
    Unwrap(#[from] ProviderError),
}

impl DecryptError {
    /// Decides the code that callers see.
    pub(crate) fn class(&self) -> ErrorClass {
        match self {
            Self::Envelope(_) | Self::KeyIdMismatch { .. } => ErrorClass::Invalid,
            Self::ForeignKey(_) => ErrorClass::NotFound,
            Self::Open(_) => ErrorClass::Corrupt,
            Self::Unwrap(error) => error.class(),
        }
    }
}

#[cfg(test)]
mod tests;
