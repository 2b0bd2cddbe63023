use std::pin::Pin;

use keystead_crypto::{Secret32, sha256};
use keystead_model::{InvalidKeyReference, KeyReference, KeyVersion, Material};

use crate::ProviderError;

/// A call under way. Boxed, so that the trait can be used as an object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, ProviderError>> + Send + 'a>>;

/// A KEK backend: wraps and unwraps 32-byte keys, and nothing else.
///
/// There is no context argument: associated data lives in our envelope, so that every backend can do it (AWS cannot wrap
/// on a named version, RSA and AES-KW take no associated data).
pub trait Provider: Send + Sync {
    /// Names the backend and the key. It cannot fail and makes no call.
    fn describe(&self) -> &Description;

    /// Wraps `key` with the primary and says which version that really was. It may be called again for the same key, so
    /// it must have no side effect but its answer. The wrapped form is 1 to 512 bytes.
    fn wrap<'a>(&'a self, key: &'a Secret32) -> Pending<'a, Wrapped>;

    /// Gives back what [`Provider::wrap`] was given. Both arguments are hostile. It uses exactly the version named,
    /// answers `Corrupt` when authentication fails and `Denied`, `NotFound` or `FailedPrecondition` when the version may
    /// not be used, and never guesses. It must not panic on any input.
    fn unwrap<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32>;

    /// The same for a key that the caller holds already and only asks about again. A backend that counts uses of a version
    /// need not count this one.
    fn recheck<'a>(&'a self, version: &'a KeyVersion, wrapped: &'a [u8]) -> Pending<'a, Secret32> {
        self.unwrap(version, wrapped)
    }
}

/// A wrapped key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// The version that wrapped.
    pub version: KeyVersion,
    /// How often the backend has chosen a primary so far, where it counts that.
    pub activation: Option<u32>,
    /// Which material that version has, where the backend can tell and wants it in key ids. It is always the same for one
    /// version's material.
    pub material: Option<Material>,
    /// The wrapped form, 1 to 512 bytes.
    pub bytes: Vec<u8>,
}

/// What a provider is, for ids, logs and people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// `local`, `cloudkms`, ...: 1 to 10 lower-case letters and digits.
    pub kind: &'static str,
    /// The canonical name of the key, equal on all nodes: a resource name, or for a key file its random id. Never a
    /// path or an address.
    pub key_name: String,
}

impl Description {
    /// The reference of one version of this key.
    pub fn reference(
        &self,
        version: KeyVersion,
        activation: Option<u32>,
        material: Option<Material>,
    ) -> Result<KeyReference, InvalidKeyReference> {
        KeyReference::new(self.kind, version, activation, material, self.key_digest())
    }

    /// First 8 bytes of SHA-256 over kind and name. The kind holds no NUL, so no two pairs give one input.
    fn key_digest(&self) -> [u8; 8] {
        let digest = sha256(format!("{}\0{}", self.kind, self.key_name).as_bytes());
        let (first, _) = digest.split_first_chunk().unwrap_or((&[0; 8], &[]));
        *first
    }
}
