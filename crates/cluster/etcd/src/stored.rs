//! A stored value taken apart without any key.

mod cbc;
mod gcm;
mod kms_v1;
mod kms_v2;
mod malformed;
mod static_key;
mod wrapped_seed;

pub use gcm::{OpenError, SealError};
pub use kms_v1::KmsV1;
pub use kms_v2::{KmsV2, SealRandomness};
pub use malformed::Malformed;
use serde::Serialize;
pub use static_key::{StaticCipher, StaticKey};
pub use wrapped_seed::{SeedKind, WrappedSeed};

/// What one value in etcd is, seen without any key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Not encrypted.
    Plain(PlainFormat),
    /// Encrypted with a key that stands in the EncryptionConfiguration itself.
    StaticKey(StaticKey),
    /// Encrypted by way of a KMS v1 plugin.
    KmsV1(KmsV1),
    /// Encrypted by way of a KMS v2 plugin.
    KmsV2(KmsV2),
}

/// How a value that is not encrypted is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlainFormat {
    /// Built-in types: `k8s\0`, then a protocol buffer.
    Protobuf,
    /// Custom resources.
    Json,
    /// Custom resources with kube-apiserver's gate `CBORServingAndStorage`.
    Cbor,
    /// None of these.
    Other,
}

impl Stored {
    /// Takes a value apart. `known_names` are the provider and key names of the EncryptionConfiguration, as far as
    /// known: they are matched first, the longest first, because a KMS v1 provider or a static key may have a `:` in
    /// its name. Any other name ends at the next `:`.
    ///
    /// # Errors
    ///
    /// With [`Malformed`] for a value that starts as an encrypted one and that no kube-apiserver can read.
    pub fn parse(value: &[u8], known_names: &[String]) -> Result<Self, Malformed> {
        if let Some(rest) = value.strip_prefix(kms_v2::PREFIX) {
            // No known names: a v2 name has no `:`.
            let (provider, rest) = split_name(rest, &[])?;
            return KmsV2::parse(provider, rest).map(Self::KmsV2);
        }
        if let Some(rest) = value.strip_prefix(kms_v1::PREFIX) {
            let (provider, rest) = split_name(rest, known_names)?;
            return KmsV1::parse(provider, rest).map(Self::KmsV1);
        }
        for (prefix, cipher) in static_key::PREFIXES {
            if let Some(rest) = value.strip_prefix(prefix) {
                let (key_name, rest) = split_name(rest, known_names)?;
                return StaticKey::parse(cipher, key_name, rest).map(Self::StaticKey);
            }
        }
        if value.starts_with(ENCRYPTED_PREFIX) {
            return Err(Malformed::UnknownPrefix);
        }
        Ok(Self::Plain(plain_format(value)))
    }
}

fn plain_format(value: &[u8]) -> PlainFormat {
    if value.starts_with(b"k8s\0") {
        PlainFormat::Protobuf
    } else if value.starts_with(b"{") {
        PlainFormat::Json
    } else if value.starts_with(SELF_DESCRIBED_CBOR) {
        PlainFormat::Cbor
    } else {
        PlainFormat::Other
    }
}

/// Splits `name:rest`.
fn split_name<'a>(bytes: &'a [u8], known: &[String]) -> Result<(String, &'a [u8]), Malformed> {
    let after = |name: &String| bytes.strip_prefix(name.as_bytes())?.strip_prefix(b":");
    let longest = known.iter().filter(|name| after(name).is_some()).max_by_key(|name| name.len());
    if let Some((name, rest)) = longest.and_then(|name| Some((name, after(name)?))) {
        return Ok((name.clone(), rest));
    }
    let window = bytes.get(..=NAME_MAX).unwrap_or(bytes);
    let end = window.iter().position(|byte| *byte == b':').ok_or(Malformed::NameWithoutEnd)?;
    let (name, rest) = bytes.split_at(end);
    let name = std::str::from_utf8(name).map_err(|_| Malformed::Name)?;
    if name.is_empty() {
        return Err(Malformed::Name);
    }
    Ok((name.to_owned(), rest.get(1..).unwrap_or_default()))
}

/// Reserved by kube-apiserver for values that are encrypted (`identity.go`).
const ENCRYPTED_PREFIX: &[u8] = b"k8s:enc:";

/// RFC 8949, 3.4.6.
const SELF_DESCRIBED_CBOR: &[u8] = &[0xd9, 0xd9, 0xf7];

/// Bytes in the longest name read. Ours: kube-apiserver has no limit, but an inventory keeps each name it meets, and
/// the KMS socket of a real name is far shorter.
const NAME_MAX: usize = 1024;
