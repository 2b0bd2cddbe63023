//! AES-GCM as kube-apiserver uses it: `nonce(12) ciphertext tag(16)`, the etcd key as associated data.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use keystead_model::ErrorClass;
use zeroize::Zeroizing;

/// Bytes that the nonce and the tag add.
pub(super) const OVERHEAD: usize = NONCE_LEN + 16;

/// Why a stored value does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The plugin's Decrypt gave a key or seed of a size that kube-apiserver refuses too.
    #[error("the unwrapped key has {0} bytes, a size that is never used")]
    KeySize(usize),
    /// Too short for its nonce and tag.
    #[error("the payload is too short")]
    ShortPayload,
    /// The value was changed, or moved from another etcd key, or this is not its key.
    #[error("the value does not open: it was changed or moved, or was sealed with another key")]
    NotAuthentic,
    /// AES-CBC, which `aescbc` uses and KMS v1 did before Kubernetes 1.25: the padding is wrong.
    #[error("the value does not open: wrong padding")]
    Padding,
}

impl OpenError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Corrupt
    }
}

/// Why a value is not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a size that kube-apiserver could use to read it back.
    #[error("the key has {0} bytes, a size that is never used")]
    KeySize(usize),
    /// Type 0 is read but not written: its nonces are a counter, which is not ours to continue.
    #[error("only seeds seal new values, not AES-GCM keys")]
    NotASeed,
    /// Longer than AES-GCM can take (64 GiB).
    #[error("the object is too large")]
    TooLarge,
}

impl SealError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}

/// Opens `nonce ciphertext tag`.
pub(super) fn open(key: &[u8], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let key = cipher(key).ok_or(OpenError::KeySize(key.len()))?;
    if sealed.len() < OVERHEAD {
        return Err(OpenError::ShortPayload);
    }
    let (nonce, rest) = sealed.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| OpenError::ShortPayload)?;
    let mut buffer = Zeroizing::new(rest.to_vec());
    let length =
        key.open_in_place(nonce, Aad::from(aad), &mut buffer).map_err(|_| OpenError::NotAuthentic)?.len();
    buffer.truncate(length);
    Ok(buffer)
}

/// Appends `nonce ciphertext tag` to `out`. The caller answers for the nonce being new under this key.
pub(super) fn seal(
    key: &[u8],
    aad: &[u8],
    nonce: &[u8; NONCE_LEN],
    plaintext: &[u8],
    mut out: Vec<u8>,
) -> Result<Vec<u8>, SealError> {
    let key = cipher(key).ok_or(SealError::KeySize(key.len()))?;
    // Exact, so that no plaintext is left behind in a buffer that grew.
    let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len()));
    buffer.extend_from_slice(plaintext);
    let tag = key
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut buffer)
        .map_err(|_| SealError::TooLarge)?;
    out.extend_from_slice(nonce);
    out.extend_from_slice(&buffer);
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// `None` for a size that AES does not have.
fn cipher(key: &[u8]) -> Option<LessSafeKey> {
    let algorithm = match key.len() {
        16 => &AES_128_GCM,
        24 => &AES_192_GCM,
        32 => &AES_256_GCM,
        _ => return None,
    };
    UnboundKey::new(algorithm, key).ok().map(LessSafeKey::new)
}
