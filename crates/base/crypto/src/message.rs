//! Sealing one message under a key that is derived for it alone.

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::primitive::{TAG_LEN, aes256gcm_open, aes256gcm_seal, hkdf_sha256};
use crate::{CryptoFailed, Random, Secret32, SecretBytes};

/// 128 random bits: at 2^48 messages under one key the chance that two of them share a salt is 2^-33.
const SALT_LEN: usize = 16;
/// 256 bits, so that finding two keys for one commitment costs 2^128.
const COMMITMENT_LEN: usize = 32;

/// What [`seal`] adds to a message, in bytes: salt, commitment and tag.
pub const MESSAGE_OVERHEAD: usize = SALT_LEN + COMMITMENT_LEN + TAG_LEN;

/// What a message is for. Keys derived for one purpose are of no use for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A plaintext of kube-apiserver, sealed under a wrapping key.
    Envelope,
    /// A wrapping key, sealed under a version of a key file.
    KeyFileWrap,
    /// A caller's plaintext, sealed under a key version of the key management service.
    KmsCiphertext,
    /// A key version's material, sealed under the store key.
    BackingKey,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Envelope => b"keystead envelope 1",
            Self::KeyFileWrap => b"keystead key file wrap 1",
            Self::KmsCiphertext => b"keystead kms ciphertext 1",
            Self::BackingKey => b"keystead backing key 1",
        }
    }
}

/// Appends salt, commitment and sealed bytes to `out`.
///
/// HKDF-SHA256 over `key` and a fresh salt gives the AES-256-GCM key, its nonce and a commitment to them, so that no
/// limit on the number of messages under `key` comes near, and no ciphertext opens under two keys.
pub fn seal(
    key: &Secret32,
    purpose: Purpose,
    associated_data: &[u8],
    plaintext: &[u8],
    random: &dyn Random,
    out: &mut Vec<u8>,
) -> Result<(), CryptoFailed> {
    let mut salt = [0; SALT_LEN];
    random.fill(&mut salt)?;
    let derived = derive(key, purpose, &salt)?;
    out.reserve_exact(MESSAGE_OVERHEAD + plaintext.len());
    out.extend_from_slice(&salt);
    out.extend_from_slice(derived.commitment());
    aes256gcm_seal(derived.key(), derived.nonce(), associated_data, plaintext, out)
}

/// Opens what [`seal`] appended. `message` is hostile: anything but the very bytes for this key, purpose and associated
/// data is an error.
pub fn open(
    key: &Secret32,
    purpose: Purpose,
    associated_data: &[u8],
    message: &[u8],
) -> Result<SecretBytes, OpenError> {
    let (salt, rest) = message.split_first_chunk::<SALT_LEN>().ok_or(OpenError::Truncated)?;
    let (commitment, sealed) = rest.split_first_chunk::<COMMITMENT_LEN>().ok_or(OpenError::Truncated)?;
    let derived = derive(key, purpose, salt).map_err(|_| OpenError::Altered)?;
    if !bool::from(derived.commitment().ct_eq(commitment)) {
        return Err(OpenError::OtherKey);
    }
    aes256gcm_open(derived.key(), derived.nonce(), associated_data, sealed)
        .map(SecretBytes::from)
        .map_err(|_| OpenError::Altered)
}

/// Why a message does not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short to hold salt and commitment.
    #[error("the sealed message is truncated")]
    Truncated,
    /// The commitment is to another key, or salt or commitment were changed.
    #[error("the message was sealed under another key, or was changed")]
    OtherKey,
    /// The key is right; ciphertext, tag or associated data are not.
    #[error("the sealed message was changed")]
    Altered,
}

/// 32 bytes of key, 12 of nonce, 32 of commitment, in the order in which HKDF gives them.
struct Derived(Zeroizing<[u8; 32 + 12 + COMMITMENT_LEN]>);

impl Derived {
    fn key(&self) -> &[u8; 32] {
        self.parts().0
    }

    fn nonce(&self) -> &[u8; 12] {
        self.parts().1
    }

    fn commitment(&self) -> &[u8] {
        self.parts().2
    }

    #[expect(clippy::expect_used, reason = "76 bytes are always 32 + 12 + 32")]
    fn parts(&self) -> (&[u8; 32], &[u8; 12], &[u8]) {
        let (key, rest) = self.0.split_first_chunk().expect("76 bytes hold 32");
        let (nonce, commitment) = rest.split_first_chunk().expect("44 bytes hold 12");
        (key, nonce, commitment)
    }
}

fn derive(key: &Secret32, purpose: Purpose, salt: &[u8; SALT_LEN]) -> Result<Derived, CryptoFailed> {
    let mut derived = Derived(Zeroizing::new([0; 76]));
    hkdf_sha256(key.expose(), salt, purpose.label(), derived.0.as_mut_slice())?;
    Ok(derived)
}
