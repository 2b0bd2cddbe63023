//! The plugin's ciphertext: what kube-apiserver stores beside every object.
//!
//! ```text
//! 1 byte    format, 1
//! 1 byte    length of the key reference
//! n bytes   key reference, as text: the key_id of Status and Encrypt
//! 2 bytes   length of the wrapped wrapping key, big endian
//! n bytes   wrapped wrapping key, as the provider gave it
//! 16 bytes  salt
//! 32 bytes  commitment
//! n bytes   sealed plaintext and its 16-byte tag
//! ```
//!
//! Associated data of the seal: everything before the wrapped key, that is format and key reference with its length.
//! The wrapped key needs no binding: another one unwraps to another key, to which the commitment does not fit.

use keystead_model::{InvalidKeyReference, KeyReference};

use crate::message::{MESSAGE_OVERHEAD, OpenError, Purpose, open, seal};
use crate::{CryptoFailed, Random, Secret32, SecretBytes};

/// Most bytes that can be encrypted. kube-apiserver sends 32, and 4 in the health check of KMS v1.
pub const MAX_PLAINTEXT_LEN: usize = 256;

/// Longest wrapped wrapping key, in bytes: RSA-4096 wraps to 512.
pub const MAX_WRAPPED_LEN: usize = 512;

/// Longest ciphertext, in bytes: kube-apiserver refuses more than 1,024 (`encryptedDEKSourceMaxSize`).
pub const MAX_CIPHERTEXT_LEN: usize =
    2 + KeyReference::MAX_LEN + 2 + MAX_WRAPPED_LEN + MESSAGE_OVERHEAD + MAX_PLAINTEXT_LEN;
const _: () = assert!(MAX_CIPHERTEXT_LEN < 1024);

const FORMAT: u8 = 1;

/// A parsed ciphertext. Its parts are hostile until [`Envelope::open`] has succeeded.
pub struct Envelope<'a> {
    key_reference: KeyReference,
    header: &'a [u8],
    wrapped: &'a [u8],
    message: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Seals `plaintext` under a wrapping key and gives the ciphertext.
    ///
    /// Errors: [`EnvelopeError::PlaintextTooLong`] over [`MAX_PLAINTEXT_LEN`], [`EnvelopeError::WrappedTooLong`] when
    /// the provider's wrapped form is empty or over [`MAX_WRAPPED_LEN`].
    pub fn seal(
        key_reference: &KeyReference,
        wrapping_key: &Secret32,
        wrapped: &[u8],
        plaintext: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, EnvelopeError> {
        if plaintext.len() > MAX_PLAINTEXT_LEN {
            return Err(EnvelopeError::PlaintextTooLong(plaintext.len()));
        }
        if wrapped.is_empty() || wrapped.len() > MAX_WRAPPED_LEN {
            return Err(EnvelopeError::WrappedTooLong(wrapped.len()));
        }
        let reference = key_reference.to_string();
        let mut header = Vec::with_capacity(2 + reference.len());
        header.push(FORMAT);
        header.push(u8::try_from(reference.len()).map_err(|_| EnvelopeError::Truncated)?);
        header.extend_from_slice(reference.as_bytes());

        let mut out =
            Vec::with_capacity(header.len() + 2 + wrapped.len() + MESSAGE_OVERHEAD + plaintext.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(&u16::try_from(wrapped.len()).unwrap_or(0).to_be_bytes());
        out.extend_from_slice(wrapped);
        seal(wrapping_key, Purpose::Envelope, &header, plaintext, random, &mut out)?;
        Ok(out)
    }

    /// Splits a ciphertext without any key.
    pub fn parse(ciphertext: &'a [u8]) -> Result<Self, EnvelopeError> {
        match ciphertext.first() {
            Some(&FORMAT) => {}
            Some(&other) => return Err(EnvelopeError::UnknownFormat(other)),
            None => return Err(EnvelopeError::Truncated),
        }
        if ciphertext.len() > MAX_CIPHERTEXT_LEN {
            return Err(EnvelopeError::CiphertextTooLong(ciphertext.len()));
        }
        let reference_len = usize::from(*ciphertext.get(1).ok_or(EnvelopeError::Truncated)?);
        let (header, rest) =
            ciphertext.split_at_checked(2 + reference_len).ok_or(EnvelopeError::Truncated)?;
        let reference = header.get(2..).ok_or(EnvelopeError::Truncated)?;
        let key_reference = std::str::from_utf8(reference).map_err(|_| InvalidKeyReference)?.parse()?;

        let (wrapped_len, rest) = rest.split_first_chunk().ok_or(EnvelopeError::Truncated)?;
        let wrapped_len = usize::from(u16::from_be_bytes(*wrapped_len));
        if wrapped_len == 0 || wrapped_len > MAX_WRAPPED_LEN {
            return Err(EnvelopeError::WrappedTooLong(wrapped_len));
        }
        let (wrapped, message) = rest.split_at_checked(wrapped_len).ok_or(EnvelopeError::Truncated)?;
        if message.len() < MESSAGE_OVERHEAD {
            return Err(EnvelopeError::Truncated);
        }
        Ok(Self { key_reference, header, wrapped, message })
    }

    /// Which key wrapped the wrapping key.
    pub fn key_reference(&self) -> &KeyReference {
        &self.key_reference
    }

    /// The wrapped wrapping key, for the provider.
    pub fn wrapped(&self) -> &'a [u8] {
        self.wrapped
    }

    /// Opens the plaintext with the wrapping key that [`Self::wrapped`] unwraps to.
    pub fn open(&self, wrapping_key: &Secret32) -> Result<SecretBytes, OpenError> {
        open(wrapping_key, Purpose::Envelope, self.header, self.message)
    }
}

/// Why a ciphertext is refused, or cannot be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Over [`MAX_CIPHERTEXT_LEN`].
    #[error("the ciphertext has {0} bytes; no ciphertext of this product has more than {MAX_CIPHERTEXT_LEN}")]
    CiphertextTooLong(usize),
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoFailed),
    /// The key reference is not one of ours.
    #[error("the ciphertext names {0}")]
    KeyReference(#[from] InvalidKeyReference),
    /// Over [`MAX_PLAINTEXT_LEN`].
    #[error("the plaintext has {0} bytes; at most {MAX_PLAINTEXT_LEN} can be encrypted")]
    PlaintextTooLong(usize),
    /// It ends too early.
    #[error("the ciphertext is truncated")]
    Truncated,
    /// It was made by something else.
    #[error("the ciphertext starts with byte {0:#04x}, which is no format of this product")]
    UnknownFormat(u8),
    /// Empty, or over [`MAX_WRAPPED_LEN`].
    #[error("the wrapped key has {0} bytes; 1 to {MAX_WRAPPED_LEN} are possible")]
    WrappedTooLong(usize),
}
