//! What a key id says, and its text.

use std::fmt;
use std::str::FromStr;

/// A provider's name for one piece of KEK material, as short text: 1 to 32 of `A-Z a-z 0-9 . _` (an Azure
/// version is 32 hexadecimal digits).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyVersion(String);

impl KeyVersion {
    /// Checks length and alphabet.
    pub fn new(text: impl Into<String>) -> Result<Self, InvalidKeyVersion> {
        let text = text.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'_';
        if text.is_empty() || text.len() > 32 || !text.bytes().all(legal) {
            return Err(InvalidKeyVersion(text));
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<u32> for KeyVersion {
    fn from(number: u32) -> Self {
        Self(number.to_string())
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a key version.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a key version: 1 to 32 letters, digits, dots and underscores are allowed")]
pub struct InvalidKeyVersion(String);

/// Which key wrapped something: the parsed form of a KMS v2 `key_id`.
///
/// Text: `local-v3-a5-m89abcdef-0123456789abcdef`, that is the kind of provider, the version, where the backend counts
/// activations the count, where it can tell the material of a version from other material a fingerprint, and 8 bytes of a
/// digest of the canonical key name. It is equal on all nodes because it holds only the backend's state, and never an
/// address or a path. At most [`KeyReference::MAX_LEN`] bytes: it is stored in clear in every object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyReference {
    /// Everything is in the text; it is compared on every Decrypt.
    text: String,
    version: KeyVersion,
    material: Option<Material>,
}

/// A fingerprint of one version's material, so that two hosts that made different material under one number have two key
/// ids. It must be one way: it is stored in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Material(pub [u8; 4]);

impl KeyReference {
    /// Longest text, in bytes.
    pub const MAX_LEN: usize = 63;

    /// Joins the parts. `kind` must be 1 to 10 lower-case letters and digits, the whole text at most
    /// [`Self::MAX_LEN`] bytes. `activation` says how often a primary was chosen so far, so that going back to an
    /// earlier version gives a new id: kube-apiserver and KEP-3299 forbid the reuse of an id.
    pub fn new(
        kind: &str,
        version: KeyVersion,
        activation: Option<u32>,
        material: Option<Material>,
        key_digest: [u8; 8],
    ) -> Result<Self, InvalidKeyReference> {
        let activation = activation.map(|count| format!("-a{count}")).unwrap_or_default();
        let fingerprint = material.map(|Material(bytes)| format!("-m{:08x}", u32::from_be_bytes(bytes)));
        let fingerprint = fingerprint.unwrap_or_default();
        let digest = u64::from_be_bytes(key_digest);
        let text = format!("{kind}-v{version}{activation}{fingerprint}-{digest:016x}");
        if !is_kind(kind) || text.len() > Self::MAX_LEN {
            return Err(InvalidKeyReference);
        }
        Ok(Self { text, version, material })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The version that wrapped.
    pub fn version(&self) -> &KeyVersion {
        &self.version
    }

    /// Which material the version had, where the text says so.
    pub fn material(&self) -> Option<Material> {
        self.material
    }

    /// Whether both are versions of one key of one provider.
    pub fn is_same_key(&self, other: &Self) -> bool {
        self.kind_and_digest() == other.kind_and_digest()
    }

    fn kind_and_digest(&self) -> (Option<&str>, Option<&str>) {
        (self.text.split('-').next(), self.text.rsplit('-').next())
    }
}

impl fmt::Display for KeyReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for KeyReference {
    type Err = InvalidKeyReference;

    /// Accepts only what [`Self::new`] makes, so that two texts never name one key.
    fn from_str(text: &str) -> Result<Self, InvalidKeyReference> {
        let mut parts = text.split('-');
        let (kind, version, digest) = (parts.next(), parts.next(), parts.next_back());
        let (mut activation, mut fingerprint) = (parts.next(), parts.next());
        // One of them may be there without the other.
        if fingerprint.is_none() && activation.is_some_and(|part| part.starts_with('m')) {
            std::mem::swap(&mut activation, &mut fingerprint);
        }
        let version = version.and_then(|version| version.strip_prefix('v')).ok_or(InvalidKeyReference)?;
        let version = KeyVersion::new(version).map_err(|_| InvalidKeyReference)?;
        let material = fingerprint.map(|part| parse_material(part).ok_or(InvalidKeyReference)).transpose()?;
        let legal = text.len() <= Self::MAX_LEN
            && parts.next().is_none()
            && kind.is_some_and(is_kind)
            && activation.is_none_or(is_activation)
            && digest.is_some_and(|digest| is_lower_hex(digest, 16));
        if !legal {
            return Err(InvalidKeyReference);
        }
        Ok(Self { text: text.to_owned(), version, material })
    }
}

fn is_kind(text: &str) -> bool {
    (1..=10).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// `a` and a number as it is printed: no sign, no zero in front.
fn is_activation(text: &str) -> bool {
    text.strip_prefix('a').is_some_and(|digits| {
        digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == "0" || !digits.starts_with('0'))
            && digits.parse::<u32>().is_ok()
    })
}

/// `m` and 8 digits.
fn parse_material(text: &str) -> Option<Material> {
    let digits = text.strip_prefix('m').filter(|digits| is_lower_hex(digits, 8))?;
    u32::from_str_radix(digits, 16).ok().map(|number| Material(number.to_be_bytes()))
}

fn is_lower_hex(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The text is not a key id of ours.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key id of this product")]
pub struct InvalidKeyReference;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_the_version_to_a_human_reader() {
        let text = |activation, material| {
            let digest = [1, 2, 3, 4, 5, 6, 7, 8];
            let reference = KeyReference::new("local", KeyVersion::from(3), activation, material, digest);
            reference.expect("legal").to_string()
        };
        let material = Some(Material([0, 0x0b, 0xcd, 0xef]));
        assert_eq!(text(Some(5), material), "local-v3-a5-m000bcdef-0102030405060708");
        assert_eq!(text(Some(5), None), "local-v3-a5-0102030405060708");
        assert_eq!(text(None, material), "local-v3-m000bcdef-0102030405060708");
        assert_eq!(text(None, None), "local-v3-0102030405060708");
    }

    #[test]
    fn says_which_material_it_was() {
        let material = |text: &str| text.parse::<KeyReference>().expect("legal").material();
        assert_eq!(material("local-v3-a5-m000bcdef-0102030405060708"), Some(Material([0, 0x0b, 0xcd, 0xef])));
        assert_eq!(material("local-v3-a5-0102030405060708"), None);
    }

    #[test]
    fn longest_is_under_64_bytes() {
        let version = KeyVersion::new("x".repeat(32)).expect("legal");
        let longest = KeyReference::new("cloudkms00", version.clone(), None, None, [255; 8]).expect("legal");
        assert!(longest.to_string().len() < 64);
        assert!(KeyReference::new("cloudkms00", version, Some(1), None, [255; 8]).is_err());
        // The longest of the provider `local`.
        let (version, material) = (KeyVersion::from(u32::MAX), Some(Material([255; 4])));
        assert!(KeyReference::new("local", version, Some(u32::MAX), material, [255; 8]).is_ok());
    }

    #[test]
    fn refuses_what_it_would_not_print() {
        for text in [
            "",
            "local",
            "local-v1",
            "local-1-0102030405060708",
            "local-v1-a01-0102030405060708",
            "local-v1-a+1-0102030405060708",
            "local-v1-0102030405060708 ",
            "local-v1-010203040506070A",
            "local-v1-+102030405060708",
            "LOCAL-v1-0102030405060708",
            "local-v-0102030405060708",
            "local-v1-a1-b2-0102030405060708",
            "local-v1-a-0102030405060708",
            "local-v1-a00-0102030405060708",
            "local-v1-a4294967296-0102030405060708",
            "local-v1-0102030405060708-",
            "local-v1-a1-m0102030-0102030405060708",
            "local-v1-a1-m010203040-0102030405060708",
            "local-v1-a1-m0102030A-0102030405060708",
            "local-v1-a1-m+1020304-0102030405060708",
            "local-v1-m01020304-a1-0102030405060708",
            "local-v1-m01020304-m01020304-0102030405060708",
            "local-v1-a1-m01020304-m01020304-0102030405060708",
            "local-v1-a1--0102030405060708",
            "local-v1-m-0102030405060708",
            "local-v1-a1-m01020304",
        ] {
            assert_eq!(text.parse::<KeyReference>(), Err(InvalidKeyReference), "{text}");
        }
    }

    proptest! {
        #[test]
        fn text_round_trips(kind in "[a-z0-9]{1,10}", version in "[A-Za-z0-9._]{1,32}",
                            activation: Option<u32>, material: Option<[u8; 4]>, key_digest: [u8; 8]) {
            let version = KeyVersion::new(version).expect("legal");
            let reference = KeyReference::new(&kind, version, activation, material.map(Material), key_digest);
            prop_assume!(reference.is_ok());
            let reference = reference.expect("just seen");
            prop_assert_eq!(reference.material(), material.map(Material));
            prop_assert_eq!(reference.to_string().parse::<KeyReference>(), Ok(reference));
        }

        #[test]
        fn any_text_is_refused_or_printed_again(text in "[a-z]{1,2}-v[0-9]{1,2}(-[am][0-9a-f]{1,9}){0,3}-[0-9a-f]{16}|[a-z0-9v-]{0,40}") {
            if let Ok(reference) = text.parse::<KeyReference>() {
                prop_assert_eq!(reference.to_string(), text);
            }
        }
    }
}
