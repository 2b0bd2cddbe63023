//! Key material: sealed under the store key at rest, opened in memory when a version is used, wiped when the last call that
//! uses it has ended.

use keystead_crypto::{KmsBinding, Purpose, Random, Secret32, open, seal};
use keystead_model::{CryptoKeyVersion, CryptoKeyVersionName, ErrorClass, KeyUid, VersionNumber};

use crate::KmsError;

/// Seals backing keys. The store key is unwrapped by the root key once, at start.
pub(crate) struct Sealing {
    store_key: Secret32,
}

/// A version, with its material unless that is gone.
pub(crate) struct ActiveVersion {
    pub(crate) record: CryptoKeyVersion,
    /// The full name, printed once.
    pub(crate) name: String,
    pub(crate) material: Option<Secret32>,
}

impl Sealing {
    pub(crate) fn new(store_key: Secret32) -> Self {
        Self { store_key }
    }

    /// Makes material for a new version, sealed to its place.
    pub(crate) fn generate(
        &self,
        uid: KeyUid,
        version: VersionNumber,
        random: &dyn Random,
    ) -> Result<Vec<u8>, KmsError> {
        let failed = |_| KmsError::new(ErrorClass::Bug, "key material cannot be made");
        let material = Secret32::generate(random).map_err(failed)?;
        let mut sealed = Vec::new();
        let place = place(uid, version);
        seal(&self.store_key, Purpose::BackingKey, &place, material.expose(), random, &mut sealed)
            .map_err(failed)?;
        Ok(sealed)
    }

    /// Opens material at its place; anything else is damage.
    pub(crate) fn open(
        &self,
        uid: KeyUid,
        version: &CryptoKeyVersionName,
        sealed: &[u8],
    ) -> Result<Secret32, KmsError> {
        let damaged = || {
            tracing::error!(%version, "sealed key material does not open");
            KmsError::new(ErrorClass::Corrupt, format!("the stored material of {version} is damaged"))
        };
        let opened = open(&self.store_key, Purpose::BackingKey, &place(uid, version.version), sealed);
        Secret32::from_slice(opened.map_err(|_| damaged())?.expose()).ok_or_else(damaged)
    }
}

/// Bound to uid and number: material that is moved to another record does not open.
fn place(uid: KeyUid, version: VersionNumber) -> [u8; 20] {
    let mut place = [0; 20];
    let (for_uid, for_version) = place.split_at_mut(16);
    for_uid.copy_from_slice(&uid.0);
    for_version.copy_from_slice(&version.get().to_be_bytes());
    place
}

impl ActiveVersion {
    /// What a ciphertext of it is bound to.
    pub(crate) fn binding<'a>(&'a self, uid: KeyUid, caller_data: &'a [u8]) -> KmsBinding<'a> {
        let version = self.record.name.version.get();
        KmsBinding { uid: uid.0, version, version_name: &self.name, caller_data }
    }

    /// The material of an enabled version; the error of section 8 for any other.
    pub(crate) fn usable(&self) -> Result<&Secret32, KmsError> {
        self.record.check_enabled()?;
        self.material.as_ref().ok_or_else(|| {
            KmsError::new(ErrorClass::Corrupt, format!("the stored material of {} is missing", self.name))
        })
    }
}
