//! Moving a key file to another host: sealed to a recipient by HPKE (RFC 9180, base mode, DHKEM-X25519 with HKDF-SHA256,
//! AES-256-GCM).
//!
//! ```text
//! keystead-sealed-key-file 1
//! encapsulated <base64>
//! sealed <base64>
//! ```
//!
//! The recipient is a line of text that is no secret; the identity, which opens, is a file of mode 0600.

use std::path::Path;
use std::str::FromStr;
use std::{fmt, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use keystead_runtime::whole_file::{self, FileError, Readers};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as HPKE;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use zeroize::Zeroizing;

use crate::{KeyFile, KeyFileError};

const FIRST_LINE: &str = "keystead-sealed-key-file 1";
const RECIPIENT_PREFIX: &str = "keystead-recipient-1:";
const IDENTITY_PREFIX: &str = "keystead-identity-1:";
/// HPKE's `info`: a sealed key file is good for nothing else.
const INFO: &[u8] = b"keystead key file export 1";
/// A sealed key file in base64 is under a third longer than the file.
const MAX_LEN: usize = 128 * 1024;
/// An identity has 109 bytes.
const MAX_IDENTITY_LEN: usize = 256;

/// Who may open a sealed key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient([u8; 32]);

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{RECIPIENT_PREFIX}{}", BASE64.encode(self.0))
    }
}

impl FromStr for Recipient {
    type Err = SealedError;

    fn from_str(text: &str) -> Result<Self, SealedError> {
        let bytes = text.trim().strip_prefix(RECIPIENT_PREFIX).and_then(|key| BASE64.decode(key).ok());
        let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        key.map(Self).ok_or(SealedError::Recipient)
    }
}

/// The private half of a recipient.
pub struct Identity {
    private: HpkePrivateKey,
    public: [u8; 32],
}

impl Identity {
    /// Draws a new one.
    pub fn generate() -> Result<Self, SealedError> {
        let (public, private) = HPKE.generate_key_pair().map_err(|_| SealedError::Crypto)?;
        Ok(Self { private, public: public.0.try_into().map_err(|_| SealedError::Crypto)? })
    }

    /// Who this is.
    pub fn recipient(&self) -> Recipient {
        Recipient(self.public)
    }

    /// Writes it to a new file of mode 0600.
    pub fn save(&self, path: &Path) -> Result<(), SealedError> {
        let mut keys = Zeroizing::new(Vec::with_capacity(64));
        keys.extend_from_slice(self.private.secret_bytes());
        keys.extend_from_slice(&self.public);
        let encoded = Zeroizing::new(BASE64.encode(&*keys));
        let text = Zeroizing::new(format!("{IDENTITY_PREFIX}{}\n", *encoded));
        whole_file::create(path, text.as_bytes(), Readers::Owner).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => SealedError::IdentityExists(path.to_owned()),
            _ => SealedError::Io { path: path.to_owned(), source },
        })
    }

    /// Reads what [`Self::save`] wrote. Refuses, like a key file, one that others can read.
    pub fn load(path: &Path) -> Result<Self, SealedError> {
        let wrong = || SealedError::Identity(path.to_owned());
        let (bytes, _) =
            whole_file::read(path, Readers::Owner, MAX_IDENTITY_LEN).map_err(|error| match error {
                FileError::TooLong { .. } => wrong(),
                error => error.into(),
            })?;
        let text = std::str::from_utf8(&bytes).map_err(|_| wrong())?;
        let encoded = text.trim().strip_prefix(IDENTITY_PREFIX).ok_or_else(wrong)?;
        let keys = Zeroizing::new(BASE64.decode(encoded).map_err(|_| wrong())?);
        let (private, public) = keys.split_at_checked(32).ok_or_else(wrong)?;
        Ok(Self {
            private: HpkePrivateKey::from(private.to_vec()),
            public: public.try_into().map_err(|_| wrong())?,
        })
    }
}

/// Seals a key file's text.
pub fn seal_to(recipient: &Recipient, file: &KeyFile) -> Result<String, SealedError> {
    let text = file.print();
    let (encapsulated, sealed) = HPKE
        .seal(INFO, FIRST_LINE.as_bytes(), text.as_bytes(), &HpkePublicKey(recipient.0.to_vec()))
        .map_err(|_| SealedError::Crypto)?;
    Ok(format!(
        "{FIRST_LINE}\nencapsulated {}\nsealed {}\n",
        BASE64.encode(encapsulated.0),
        BASE64.encode(sealed)
    ))
}

/// Opens a sealed key file, which is hostile.
pub fn open_sealed(identity: &Identity, text: &[u8]) -> Result<KeyFile, SealedError> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_LEN);
    let mut lines = text.ok_or(SealedError::NotSealed)?.lines();
    if lines.next() != Some(FIRST_LINE) {
        return Err(SealedError::NotSealed);
    }
    let encapsulated = field(lines.next(), "encapsulated ")?;
    let sealed = field(lines.next(), "sealed ")?;
    if lines.next().is_some() {
        return Err(SealedError::NotSealed);
    }
    let opened = HPKE
        .open(&EncapsulatedSecret(encapsulated), INFO, FIRST_LINE.as_bytes(), &sealed, &identity.private)
        .map(Zeroizing::new)
        .map_err(|_| SealedError::OtherRecipient)?;
    Ok(KeyFile::parse(&opened)?)
}

fn field(line: Option<&str>, name: &str) -> Result<Vec<u8>, SealedError> {
    line.and_then(|line| line.strip_prefix(name))
        .and_then(|encoded| BASE64.decode(encoded).ok())
        .ok_or(SealedError::NotSealed)
}

/// Why a key file was not sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
    /// The library failed.
    #[error("sealing failed")]
    Crypto,
    /// The identity was not read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not an identity file.
    #[error("{} is not an identity: it must hold one line that starts with `{IDENTITY_PREFIX}`", .0.display())]
    Identity(std::path::PathBuf),
    /// An identity is never overwritten: what was sealed to it could not be opened any more.
    #[error("{} exists already; an identity is never overwritten", .0.display())]
    IdentityExists(std::path::PathBuf),
    /// The operating system refused.
    #[error("cannot write {}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What was sealed is no key file.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// Some other text.
    #[error("not a sealed key file: `key export` writes three lines that start with `{FIRST_LINE}`")]
    NotSealed,
    /// Sealed to somebody else, or changed.
    #[error("the file was sealed to another recipient, or was changed on the way")]
    OtherRecipient,
    /// Not a recipient.
    #[error(
        "not a recipient: it must be `{RECIPIENT_PREFIX}` and 44 characters of base64, as `key import --new-identity FILE` prints it"
    )]
    Recipient,
}
