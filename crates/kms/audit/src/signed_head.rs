use std::fmt;
use std::str::FromStr;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_crypto::{SecretBytes, pem};

use crate::{Hash, Head};

/// The first line: what this is, and its form.
const TITLE: &str = "keystead-audit-head 1";
const PEM_START: &str = "-----BEGIN PUBLIC KEY-----";
const PEM_END: &str = "-----END PUBLIC KEY-----";
/// What stands before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What is not a key, a head or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not an Ed25519 key in PKCS#8.
    #[error("the key that signs heads of the audit log is not an Ed25519 key in PKCS#8")]
    SecretKey,
    /// Not an Ed25519 key in PEM.
    #[error("this is not an Ed25519 public key in PEM")]
    PublicKey,
    /// Not what [`SignedHead`] prints.
    #[error("this is not a signed head of an audit log")]
    Form,
    /// Signed by another key, or changed.
    #[error("the head of the audit log is not signed by this key, or was changed")]
    Signature,
    /// The library could not make a key.
    #[error("no key can be made now")]
    Generate,
}

/// Signs heads. Its key is no part of the log: whoever can rewrite the log should not have it.
pub struct HeadSigner(Ed25519KeyPair);

impl HeadSigner {
    /// Makes a new key, in PKCS#8, for whoever keeps it.
    pub fn generate() -> Result<SecretBytes, HeadError> {
        let key = Ed25519KeyPair::generate().map_err(|_| HeadError::Generate)?;
        let pkcs8 = key.to_pkcs8().map_err(|_| HeadError::Generate)?;
        Ok(SecretBytes::from(pkcs8.as_ref().to_vec()))
    }

    /// From a key that was kept.
    pub fn from_pkcs8(key: &SecretBytes) -> Result<Self, HeadError> {
        Ed25519KeyPair::from_pkcs8(key.expose()).map(Self).map_err(|_| HeadError::SecretKey)
    }

    /// Signs a head.
    pub fn sign(&self, head: &Head) -> SignedHead {
        let signature = self.0.sign(signed_text(head).as_bytes()).as_ref().to_vec();
        SignedHead { head: *head, signature }
    }

    /// What checks its signatures.
    pub fn public_key(&self) -> PublicKey {
        let mut key = [0; 32];
        key.iter_mut().zip(self.0.public_key().as_ref()).for_each(|(to, from)| *to = *from);
        PublicKey(key)
    }
}

/// Checks signed heads. Its text form is PEM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pem("PUBLIC KEY", &[&SPKI_PREFIX[..], &self.0].concat()))
    }
}

impl FromStr for PublicKey {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let body = text.trim().strip_prefix(PEM_START).and_then(|it| it.strip_suffix(PEM_END));
        let bytes = body.and_then(|it| STANDARD.decode(it.trim()).ok()).ok_or(HeadError::PublicKey)?;
        let key = bytes.strip_prefix(&SPKI_PREFIX).and_then(|key| key.try_into().ok());
        key.map(Self).ok_or(HeadError::PublicKey)
    }
}

/// A head that can be kept where the log cannot be written, to show later that the log was not rewritten. Its text form is
/// that of `docs/formats/audit-log.md`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    signature: Vec<u8>,
}

impl SignedHead {
    /// The head, if this key signed it.
    pub fn verify(&self, key: &PublicKey) -> Result<Head, HeadError> {
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(signed_text(&self.head).as_bytes(), &self.signature)
            .map_err(|_| HeadError::Signature)?;
        Ok(self.head)
    }

    /// The head, whoever wrote it down: good for a file that was kept in a safe place.
    pub fn unverified(&self) -> Head {
        self.head
    }
}

impl fmt::Display for SignedHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}signature {}", signed_text(&self.head), STANDARD.encode(&self.signature))
    }
}

impl FromStr for SignedHead {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let signed = parse(text).ok_or(HeadError::Form)?;
        // One head has one text.
        if signed.to_string() == text { Ok(signed) } else { Err(HeadError::Form) }
    }
}

fn parse(text: &str) -> Option<SignedHead> {
    let mut lines = text.lines();
    let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
    field("keystead-audit-head").filter(|it| *it == "1")?;
    let sequence = field("sequence")?.parse().ok()?;
    let hash = Hash::from_hex(field("hash")?.as_bytes())?;
    let time = field("time")?.parse().ok()?;
    let signature = STANDARD.decode(field("signature")?).ok()?;
    Some(SignedHead { head: Head { sequence, hash, time }, signature })
}

fn signed_text(head: &Head) -> String {
    let Head { sequence, hash, time } = head;
    format!("{TITLE}\nsequence {sequence}\nhash {hash}\ntime {time}\n")
}
