//! Values behind `k8s:enc:kms:v1:NAME:`: `length(2, big endian) wrapped-key payload`.

use zeroize::Zeroizing;

use super::malformed::{Malformed, at_least};
use super::{OpenError, SealError, cbc, gcm};

/// What stands before the provider's name.
pub(super) const PREFIX: &[u8] = b"k8s:enc:kms:v1:";

/// A value sealed with its own 32-byte key, which a KMS v1 plugin wrapped. It does not say with which KEK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsV1 {
    /// The name of the KMS entry.
    pub provider: String,
    /// What the plugin's Encrypt gave, up to 65535 bytes. May be empty.
    pub wrapped_key: Vec<u8>,
    /// The sealed object.
    pub payload: Vec<u8>,
}

impl KmsV1 {
    /// Opens the payload with the key that the plugin's Decrypt gave for `wrapped_key` (16, 24 or 32 bytes) and the
    /// full etcd key, as Kubernetes 1.25 and later wrote it.
    ///
    /// # Errors
    ///
    /// Also for values of 1.24 and earlier: see [`Self::open_unauthenticated`].
    pub fn open(&self, key: &[u8], etcd_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        gcm::open(key, etcd_key, &self.payload)
    }

    /// Opens the payload as Kubernetes 1.24 and earlier wrote it: AES-CBC, bound to nothing. kube-apiserver tries
    /// this after [`Self::open`] has failed. It is a call of its own here because nothing shows that the bytes it
    /// gives are the bytes once written: one in 256 random values passes, and whoever knows the text of any value
    /// under the same key can make up others.
    ///
    /// # Errors
    ///
    /// Only where size or padding do not fit.
    pub fn open_unauthenticated(&self, key: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        cbc::open(key, &self.payload)
    }

    /// Seals an object as kube-apiserver does. `wrapped_key` is what a plugin's Encrypt gave for `key` (32 bytes and
    /// new for each object, as kube-apiserver makes it), `nonce` is random, `etcd_key` is the full key.
    ///
    /// # Errors
    ///
    /// Where `key` has a size that AES does not have.
    pub fn seal(
        provider: &str,
        wrapped_key: &[u8],
        key: &[u8],
        etcd_key: &[u8],
        plaintext: &[u8],
        nonce: &[u8; 12],
    ) -> Result<Self, SealError> {
        let payload = gcm::seal(key, etcd_key, nonce, plaintext, Vec::new())?;
        Ok(Self { provider: provider.to_owned(), wrapped_key: wrapped_key.to_vec(), payload })
    }

    /// The stored value.
    ///
    /// # Errors
    ///
    /// Where kube-apiserver could not read it back.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        if self.provider.is_empty() {
            return Err(Malformed::Name);
        }
        at_least(&self.payload, gcm::OVERHEAD)?;
        let length = u16::try_from(self.wrapped_key.len())
            .map_err(|_| Malformed::WrappedKeyTooLong(self.wrapped_key.len()))?;
        let parts: [&[u8]; 6] =
            [PREFIX, self.provider.as_bytes(), b":", &length.to_be_bytes(), &self.wrapped_key, &self.payload];
        Ok(parts.concat())
    }

    pub(super) fn parse(provider: String, bytes: &[u8]) -> Result<Self, Malformed> {
        let (length, rest) = bytes.split_first_chunk().ok_or(Malformed::ShortWrappedKey)?;
        let (wrapped_key, payload) =
            rest.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(Malformed::ShortWrappedKey)?;
        // The shorter of the two formats: AES-GCM of nothing. AES-CBC has at least 32 bytes.
        at_least(payload, gcm::OVERHEAD)?;
        Ok(Self { provider, wrapped_key: wrapped_key.to_vec(), payload: payload.to_vec() })
    }
}
