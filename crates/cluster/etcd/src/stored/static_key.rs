//! Values behind `k8s:enc:aescbc:v1:NAME:` and its kind: sealed with a key that stands in the EncryptionConfiguration.

use aws_lc_rs::cipher::AES_CBC_IV_LEN;
use crypto_secretbox::aead::AeadInPlace;
use crypto_secretbox::{Key, KeyInit, Nonce, Tag, XSalsa20Poly1305};
use serde::Serialize;
use zeroize::Zeroizing;

use super::malformed::{Malformed, at_least};
use super::{OpenError, cbc, gcm};

/// What stands before the key's name.
pub(super) const PREFIXES: [(&[u8], StaticCipher); 3] = [
    (b"k8s:enc:aescbc:v1:", StaticCipher::AesCbc),
    (b"k8s:enc:aesgcm:v1:", StaticCipher::AesGcm),
    (b"k8s:enc:secretbox:v1:", StaticCipher::Secretbox),
];

/// A value sealed with a key of the EncryptionConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticKey {
    /// The cipher that the value names.
    pub cipher: StaticCipher,
    /// The name of the key in the EncryptionConfiguration.
    pub key_name: String,
    /// The sealed object.
    pub payload: Vec<u8>,
}

/// The providers of an EncryptionConfiguration that hold their keys themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StaticCipher {
    /// `aescbc`: no integrity at all.
    AesCbc,
    /// `aesgcm`.
    AesGcm,
    /// `secretbox`: not bound to the etcd key.
    Secretbox,
}

impl StaticKey {
    /// Opens the payload with the bytes of the key that has this name and the full etcd key.
    ///
    /// What it gives under `aescbc` may be anything: that cipher has no integrity, so a wrong key passes once in 256 times. Only
    /// `aesgcm` notices that a value was copied from another etcd key.
    ///
    /// # Errors
    ///
    /// Where the key has a size that the cipher does not have, or is not the one that sealed.
    pub fn open(&self, key: &[u8], etcd_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        match self.cipher {
            StaticCipher::AesCbc => cbc::open(key, &self.payload),
            StaticCipher::AesGcm => gcm::open(key, etcd_key, &self.payload),
            StaticCipher::Secretbox => open_secretbox(key, &self.payload),
        }
    }

    pub(super) fn parse(cipher: StaticCipher, key_name: String, payload: &[u8]) -> Result<Self, Malformed> {
        let minimum = match cipher {
            // IV and one block: the padding makes even an empty text one block.
            StaticCipher::AesCbc => AES_CBC_IV_LEN + 16,
            StaticCipher::AesGcm => gcm::OVERHEAD,
            StaticCipher::Secretbox => NONCE_LEN + TAG_LEN,
        };
        at_least(payload, minimum)?;
        if cipher == StaticCipher::AesCbc && !payload.len().is_multiple_of(16) {
            return Err(Malformed::PartialBlock);
        }
        Ok(Self { cipher, key_name, payload: payload.to_vec() })
    }
}

/// Opens `nonce(24) tag(16) ciphertext`, the order of NaCl's `crypto_secretbox`.
fn open_secretbox(key: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    if key.len() != KEY_LEN {
        return Err(OpenError::KeySize(key.len()));
    }
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(OpenError::ShortPayload)?;
    let (tag, ciphertext) = rest.split_at_checked(TAG_LEN).ok_or(OpenError::ShortPayload)?;
    let mut buffer = Zeroizing::new(ciphertext.to_vec());
    XSalsa20Poly1305::new(Key::from_slice(key))
        .decrypt_in_place_detached(Nonce::from_slice(nonce), &[], &mut buffer, Tag::from_slice(tag))
        .map_err(|_| OpenError::NotAuthentic)?;
    Ok(buffer)
}

const KEY_LEN: usize = 32;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
