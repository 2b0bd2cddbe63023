//! Ed25519 signatures (RFC 8032), with keys in the forms that OpenSSL has too (RFC 8410).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::{CryptoFailed, Random, Secret32, SecretBytes, pem, sha256};

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureKeyError {
    /// Not an unencrypted Ed25519 key in PKCS#8.
    #[error("this is not an Ed25519 private key in PKCS#8 without a password")]
    Private,
    /// Not an Ed25519 key in PEM.
    #[error("this is not an Ed25519 public key in PEM")]
    Public,
    /// One that fits what nobody signed.
    #[error("this public key is of small order: anybody can make signatures that fit it, for any text")]
    SmallOrder,
}

/// Signs. It cannot be printed, and AWS-LC wipes it.
pub struct SigningKey(Ed25519KeyPair);

impl SigningKey {
    /// Makes a new key, in PKCS#8, for whoever keeps it.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub fn generate(random: &dyn Random) -> Result<SecretBytes, CryptoFailed> {
        let seed = Secret32::generate(random)?;
        let key = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| CryptoFailed)?;
        // Version 1: OpenSSL reads no other.
        let pkcs8 = key.to_pkcs8v1().map_err(|_| CryptoFailed)?;
        Ok(SecretBytes::from(pkcs8.as_ref().to_vec()))
    }

    /// From a key that was kept.
    ///
    /// # Errors
    ///
    /// [`SignatureKeyError::Private`].
    pub fn from_pkcs8(key: &[u8]) -> Result<Self, SignatureKeyError> {
        Ed25519KeyPair::from_pkcs8(key).map(Self).map_err(|_| SignatureKeyError::Private)
    }

    /// The same in PEM, as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    ///
    /// [`SignatureKeyError::Private`].
    pub fn from_pem(text: &[u8]) -> Result<Self, SignatureKeyError> {
        let text = str::from_utf8(text).map_err(|_| SignatureKeyError::Private)?;
        Self::from_pkcs8(&der(PRIVATE, text).ok_or(SignatureKeyError::Private)?)
    }

    /// Signs a message: 64 bytes, and always the same ones.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }

    /// What checks its signatures.
    pub fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(key)
    }
}

/// Checks signatures. Its text form is PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether the key that belongs to this one signed just this message.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }

    /// SHA-256 of its DER form: what `openssl pkey -pubin -outform DER | sha256sum` prints.
    pub fn fingerprint(&self) -> [u8; 32] {
        sha256(&self.der())
    }

    fn der(&self) -> Vec<u8> {
        [&SPKI_PREFIX[..], &self.0].concat()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pem(PUBLIC, &self.der()))
    }
}

impl FromStr for PublicKey {
    type Err = SignatureKeyError;

    fn from_str(text: &str) -> Result<Self, SignatureKeyError> {
        let der = der(PUBLIC, text).ok_or(SignatureKeyError::Public)?;
        let key = der.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
        let key: [u8; 32] = key.ok_or(SignatureKeyError::Public)?;
        // AWS-LC, as RFC 8032 has it, takes them.
        if is_of_small_order(key) { Err(SignatureKeyError::SmallOrder) } else { Ok(Self(key)) }
    }
}

/// Whether a point is one of the eight whose eightfold is nothing: of order 1, 2, 4 or 8. In these the message has no part, or next to none.
fn is_of_small_order(mut key: [u8; 32]) -> bool {
    // The sign of x: the negative of such a point is one too.
    if let Some(last) = key.last_mut() {
        *last &= 0x7f;
    }
    SMALL_ORDER.contains(&key)
}

/// The y coordinates of those points, in the forms that decoders take: 0, 1, the two of order 8, and -1, p, and p + 1.
const SMALL_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    y(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a,
        0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    y(0xec, 0xff, 0x7f),
    y(0xed, 0xff, 0x7f),
    y(0xee, 0xff, 0x7f),
];

/// The first byte, those between, and the last one.
const fn y(first: u8, between: u8, last: u8) -> [u8; 32] {
    let mut bytes = [between; 32];
    let [start, .., end] = &mut bytes;
    *start = first;
    *end = last;
    bytes
}

/// What is in a PEM text of this kind, and nothing beside it.
fn der(kind: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.trim().strip_prefix(&format!("-----BEGIN {kind}-----"))?;
    let body = body.strip_suffix(&format!("-----END {kind}-----"))?;
    // One allocation each: growing would leave the key behind.
    let mut digits = Zeroizing::new(Vec::with_capacity(body.len()));
    digits.extend(body.bytes().filter(|it| !it.is_ascii_whitespace()));
    let mut der = Zeroizing::new(vec![0; digits.len()]);
    let len = STANDARD.decode_slice(&*digits, &mut der).ok()?;
    der.truncate(len);
    Some(der)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    /// RFC 8032, section 7.1, test 2.
    #[test]
    fn a_signature_is_that_of_the_rfc() {
        let seed = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        // RFC 8410, section 7: what stands before the seed.
        let pkcs8 = ["302e020100300506032b657004220420", &hex::encode(seed.expect("digits"))].concat();
        let key = SigningKey::from_pkcs8(&hex::decode(pkcs8).expect("digits")).expect("a key");
        assert_eq!(
            hex::encode(key.sign(b"\x72")),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert_eq!(
            hex::encode(key.public_key().0),
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
        );
        assert!(key.public_key().verifies(b"\x72", &key.sign(b"\x72")));
        assert!(!key.public_key().verifies(b"\x73", &key.sign(b"\x72")));
    }

    /// Under the point of order 1 a signature of nothing fits every message.
    #[test]
    fn a_key_under_which_anybody_can_sign_is_refused() {
        let neutral = PublicKey(SMALL_ORDER[1]);
        let nobodys = [&neutral.0[..], &[0; 32]].concat();
        assert!(neutral.verifies(b"one", &nobodys) && neutral.verifies(b"another", &nobodys));
        for key in SMALL_ORDER {
            for sign in [0, 0x80] {
                let mut key = key;
                key[31] |= sign;
                assert_eq!(
                    PublicKey(key).to_string().parse::<PublicKey>(),
                    Err(SignatureKeyError::SmallOrder)
                );
            }
        }
    }

    #[test]
    fn keys_have_one_text() {
        let key = SigningKey::generate(&SystemRandom).expect("a key");
        let text = pem(PRIVATE, key.expose());
        let read = SigningKey::from_pem(text.as_bytes()).expect("its own text");
        let public = SigningKey::from_pkcs8(key.expose()).expect("a key").public_key();
        assert_eq!(read.public_key(), public);
        assert_eq!(public.to_string().parse(), Ok(public));
        assert_eq!(public.to_string().replace('\n', "\r\n").parse(), Ok(public));
        let other = SigningKey::generate(&SystemRandom).expect("a key");
        assert_ne!(SigningKey::from_pkcs8(other.expose()).expect("a key").public_key(), public);

        for bad in [
            text.replace(PRIVATE, "ENCRYPTED PRIVATE KEY"),
            text.replace(PRIVATE, "EC PRIVATE KEY"),
            text.replacen('M', "N", 1),
            public.to_string(),
            String::new(),
        ] {
            assert_eq!(SigningKey::from_pem(bad.as_bytes()).err(), Some(SignatureKeyError::Private), "{bad}");
        }
        for bad in [&*text, "", &public.to_string().replace("MCowBQ", "MCowBR")] {
            assert_eq!(bad.parse::<PublicKey>(), Err(SignatureKeyError::Public), "{bad}");
        }
    }
}
