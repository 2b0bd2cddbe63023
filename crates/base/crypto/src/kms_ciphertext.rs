//! Ciphertexts of the key management service: which key and version opens them, and the sealed message.

use crate::{CryptoFailed, MESSAGE_OVERHEAD, OpenError, Purpose, Random, Secret32, SecretBytes, open, seal};

/// First byte: the only format so far. It is no letter and no digit, so that text is recognised as not ours.
const FORMAT: u8 = 0x81;
/// AES-256-GCM under a key that is derived for the message, as [`seal`] does it.
const ALGORITHM: &[u8] = b"GOOGLE_SYMMETRIC_ENCRYPTION/keystead 1";
const UID_LEN: usize = 16;
const VERSION_LEN: usize = 4;
const HEADER_LEN: usize = 1 + UID_LEN + VERSION_LEN;

/// What a ciphertext is longer than its plaintext, in bytes: 32 bytes become 117, well under the 1,024 that kube-apiserver
/// takes.
pub const KMS_OVERHEAD: usize = HEADER_LEN + MESSAGE_OVERHEAD;

/// A parsed ciphertext. Its parts are claims until it has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KmsCiphertext<'a> {
    /// The key's uid.
    pub uid: [u8; UID_LEN],
    /// The number of the key version.
    pub version: u32,
    message: &'a [u8],
}

/// What a ciphertext is bound to besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct KmsBinding<'a> {
    /// The key's uid.
    pub uid: [u8; UID_LEN],
    /// The number of the key version.
    pub version: u32,
    /// The full resource name of the key version.
    pub version_name: &'a str,
    /// The caller's additional authenticated data.
    pub caller_data: &'a [u8],
}

impl<'a> KmsCiphertext<'a> {
    /// Seals a plaintext under a backing key.
    pub fn seal(
        key: &Secret32,
        binding: &KmsBinding<'_>,
        plaintext: &[u8],
        random: &dyn Random,
    ) -> Result<Vec<u8>, CryptoFailed> {
        let mut out = Vec::with_capacity(KMS_OVERHEAD + plaintext.len());
        out.push(FORMAT);
        out.extend_from_slice(&binding.uid);
        out.extend_from_slice(&binding.version.to_be_bytes());
        seal(key, Purpose::KmsCiphertext, &binding.associated_data(), plaintext, random, &mut out)?;
        Ok(out)
    }

    /// Parses hostile bytes; none: they are not a ciphertext of ours.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first()?;
        let (uid, rest) = rest.split_first_chunk::<UID_LEN>()?;
        let (version, message) = rest.split_first_chunk::<VERSION_LEN>()?;
        let whole = *format == FORMAT && message.len() >= MESSAGE_OVERHEAD;
        whole.then_some(Self { uid: *uid, version: u32::from_be_bytes(*version), message })
    }

    /// Opens it with the key that its header names; `binding` comes from our own records, never from the header.
    pub fn open(&self, key: &Secret32, binding: &KmsBinding<'_>) -> Result<SecretBytes, OpenError> {
        open(key, Purpose::KmsCiphertext, &binding.associated_data(), self.message)
    }
}

impl KmsBinding<'_> {
    /// Every part with its length before it, so that no two bindings give the same bytes.
    fn associated_data(&self) -> Vec<u8> {
        let version = self.version.to_be_bytes();
        let parts: [&[u8]; 6] =
            [&[FORMAT], ALGORITHM, &self.uid, &version, self.version_name.as_bytes(), self.caller_data];
        let mut out = Vec::with_capacity(parts.iter().map(|part| 8 + part.len()).sum());
        for part in parts {
            out.extend_from_slice(&(part.len() as u64).to_be_bytes());
            out.extend_from_slice(part);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SystemRandom;

    const NAME: &str = "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";

    fn binding<'a>(uid: u8, version: u32, version_name: &'a str, caller_data: &'a [u8]) -> KmsBinding<'a> {
        KmsBinding { uid: [uid; 16], version, version_name, caller_data }
    }

    #[test]
    fn only_the_same_binding_opens() {
        let key = Secret32::generate(&SystemRandom).expect("random bytes");
        let bound = binding(1, 1, NAME, b"data");
        let sealed = KmsCiphertext::seal(&key, &bound, &[7; 32], &SystemRandom).expect("sealed");
        assert_eq!(sealed.len(), 32 + KMS_OVERHEAD);
        assert!(sealed.len() < 200, "design: under 200 bytes for 32");
        let parsed = KmsCiphertext::parse(&sealed).expect("parsed");
        assert_eq!((parsed.uid, parsed.version), ([1; 16], 1));
        assert_eq!(parsed.open(&key, &bound).expect("opened").expose(), [7; 32]);
        let other_name = NAME.replace("/r/", "/s/");
        for other in [
            binding(2, 1, NAME, b"data"),
            binding(1, 2, NAME, b"data"),
            binding(1, 1, &other_name, b"data"),
            binding(1, 1, NAME, b"Data"),
            binding(1, 1, NAME, b""),
        ] {
            assert!(parsed.open(&key, &other).is_err(), "{other:?}");
        }
        let stranger = Secret32::generate(&SystemRandom).expect("random bytes");
        assert_eq!(parsed.open(&stranger, &bound).err(), Some(OpenError::OtherKey));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let key = Secret32::generate(&SystemRandom).expect("random bytes");
        let bound = binding(1, 1, NAME, b"");
        let sealed = KmsCiphertext::seal(&key, &bound, b"secret", &SystemRandom).expect("sealed");
        let opens = |bytes: &[u8]| {
            KmsCiphertext::parse(bytes).is_some_and(|parsed| {
                let claimed = KmsBinding { uid: parsed.uid, version: parsed.version, ..bound };
                parsed.open(&key, &claimed).is_ok()
            })
        };
        assert!(opens(&sealed));
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&flipped), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(!opens(&sealed[..len]), "{len} bytes");
        }
    }
}
