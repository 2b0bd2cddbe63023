//! The key ids that this process has encrypted with, and whether the backend can still unwrap what it wrapped under them.
//! A backend that was put back to an older state cannot, although it answers well to everything new.

use keystead_crypto::{CryptoFailed, Secret32, hkdf_sha256};
use keystead_model::{ErrorClass, KeyReference};
use keystead_provider::ProviderError;

use crate::snapshot::Snapshot;

/// Key ids change with rotations, which are days apart, and plugins are updated more often than that.
const CAPACITY: usize = 64;

/// Immutable once it is published.
#[derive(Clone, Default)]
pub(crate) struct KeyHistory {
    used: Vec<UsedKey>,
}

/// One key id, and the last wrapped form that was handed out under it.
#[derive(Clone)]
pub(crate) struct UsedKey {
    pub(crate) reference: KeyReference,
    pub(crate) wrapped: Vec<u8>,
    check: [u8; 32],
    pub(crate) lost: bool,
}

/// Whether a wrapped form of before can be unwrapped now.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LookBack {
    Unwraps,
    /// The backend holds other bytes under that version, or none that it ever used.
    Lost,
    /// It did not say: an outage, or the version may not be used.
    Unknown(ProviderError),
}

impl KeyHistory {
    /// All of them, to look back at.
    pub(crate) fn used_mut(&mut self) -> &mut [UsedKey] {
        &mut self.used
    }

    /// Those that the backend could not unwrap when it was last asked.
    pub(crate) fn lost(&self) -> impl Iterator<Item = &KeyReference> {
        self.used.iter().filter(|used| used.lost).map(|used| &used.reference)
    }

    /// Remembers what is encrypted with from now on.
    pub(crate) fn note(&mut self, snapshot: &Snapshot) -> Result<(), CryptoFailed> {
        if self.used.last().is_some_and(|last| last.wrapped == snapshot.wrapped) {
            return Ok(());
        }
        self.used.retain(|used| used.reference != snapshot.reference);
        if self.used.len() >= CAPACITY {
            self.used.remove(0);
        }
        self.used.push(UsedKey {
            reference: snapshot.reference.clone(),
            wrapped: snapshot.wrapped.clone(),
            check: check_of(&snapshot.wrapping_key)?,
            lost: false,
        });
        Ok(())
    }
}

impl UsedKey {
    /// What the backend's answer about [`Self::wrapped`] means.
    pub(crate) fn judge(&self, answer: Result<Secret32, ProviderError>) -> LookBack {
        match answer {
            Ok(key) if check_of(&key) == Ok(self.check) => LookBack::Unwraps,
            Ok(_) => LookBack::Lost,
            Err(error) if error.class() == ErrorClass::Corrupt => LookBack::Lost,
            Err(error) => LookBack::Unknown(error),
        }
    }
}

/// Tells two wrapping keys apart without keeping either.
fn check_of(key: &Secret32) -> Result<[u8; 32], CryptoFailed> {
    let mut check = [0; 32];
    hkdf_sha256(key.expose(), b"", b"keystead wrapping key check 1", &mut check)?;
    Ok(check)
}
