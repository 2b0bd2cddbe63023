use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keystead_crypto::{PublicKey, SecretBytes, SigningKey, SystemRandom};

use crate::{Hash, Head};

/// The first line: what this is, and its form.
const TITLE: &str = "keystead-audit-head 1";

/// What is not a head, a key that signs one, or a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Not an Ed25519 key in PKCS#8.
    #[error("the key that signs heads of the audit log is not an Ed25519 key in PKCS#8")]
    SecretKey,
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
pub struct HeadSigner(SigningKey);

impl HeadSigner {
    /// Makes a new key, in PKCS#8, for whoever keeps it.
    pub fn generate() -> Result<SecretBytes, HeadError> {
        SigningKey::generate(&SystemRandom).map_err(|_| HeadError::Generate)
    }

    /// From a key that was kept.
    pub fn from_pkcs8(key: &SecretBytes) -> Result<Self, HeadError> {
        SigningKey::from_pkcs8(key.expose()).map(Self).map_err(|_| HeadError::SecretKey)
    }

    /// Signs a head.
    pub fn sign(&self, head: &Head) -> SignedHead {
        SignedHead { head: *head, signature: self.0.sign(signed_text(head).as_bytes()) }
    }

    /// What checks its signatures.
    pub fn public_key(&self) -> PublicKey {
        self.0.public_key()
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
        match key.verifies(signed_text(&self.head).as_bytes(), &self.signature) {
            true => Ok(self.head),
            false => Err(HeadError::Signature),
        }
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
