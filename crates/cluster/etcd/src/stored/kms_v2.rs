//! Values behind `k8s:enc:kms:v2:NAME:`: an `EncryptedObject` message.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk};
use keystead_proto::stored::{DekSourceType, EncryptedObject};
use prost::Message;
use zeroize::Zeroizing;

use super::malformed::{Malformed, at_least};
use super::{OpenError, SealError, SeedKind, WrappedSeed, gcm};

/// What stands before the provider's name.
pub(super) const PREFIX: &[u8] = b"k8s:enc:kms:v2:";

/// A value sealed under a seed (or, before Kubernetes 1.29, a key) that many values share and that a KMS v2 plugin
/// wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsV2 {
    /// The name of the KMS entry.
    pub provider: String,
    /// What the plugin's Encrypt answered, and is asked to Decrypt.
    pub seed: WrappedSeed,
    /// The sealed object.
    pub payload: Vec<u8>,
}

/// The random bytes of one sealed value.
#[derive(Clone, Copy)]
pub struct SealRandomness {
    /// Selects the key derived from the seed.
    pub info: [u8; 32],
    /// Of AES-GCM.
    pub nonce: [u8; 12],
}

impl KmsV2 {
    /// Opens the payload with what the plugin's Decrypt gave for `seed` and the full etcd key: for a seed 32 bytes or
    /// more, for a key 16, 24 or 32.
    ///
    /// # Errors
    ///
    /// For any other size, and for a value that was changed, moved or sealed with another key.
    pub fn open(&self, unwrapped: &[u8], etcd_key: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        match self.seed.kind {
            SeedKind::AesGcmKey => gcm::open(unwrapped, etcd_key, &self.payload),
            SeedKind::HkdfSeed => {
                let (info, sealed) = self.payload.split_first_chunk().ok_or(OpenError::ShortPayload)?;
                let key = derive_key(unwrapped, info).ok_or(OpenError::KeySize(unwrapped.len()))?;
                gcm::open(key.as_slice(), etcd_key, sealed)
            }
        }
    }

    /// Seals an object as kube-apiserver 1.29 and later does. `wrapped` is what a plugin's Encrypt gave for `seed`
    /// (32 bytes), `etcd_key` is the full key, all of `random` is new for each value.
    ///
    /// # Errors
    ///
    /// Where `wrapped` is not of a seed or `seed` has less than 32 bytes.
    pub fn seal(
        provider: &str,
        wrapped: WrappedSeed,
        seed: &[u8],
        etcd_key: &[u8],
        plaintext: &[u8],
        random: &SealRandomness,
    ) -> Result<Self, SealError> {
        if wrapped.kind != SeedKind::HkdfSeed {
            return Err(SealError::NotASeed);
        }
        let key = derive_key(seed, &random.info).ok_or(SealError::KeySize(seed.len()))?;
        let payload = gcm::seal(key.as_slice(), etcd_key, &random.nonce, plaintext, random.info.to_vec())?;
        Ok(Self { provider: provider.to_owned(), seed: wrapped, payload })
    }

    /// The stored value.
    ///
    /// # Errors
    ///
    /// Where kube-apiserver would refuse to write or to read it.
    pub fn encode(&self) -> Result<Vec<u8>, Malformed> {
        // kube-apiserver refuses a v2 name with a colon when it reads its configuration.
        if self.provider.is_empty() || self.provider.contains(':') {
            return Err(Malformed::Name);
        }
        self.check()?;
        let message = EncryptedObject {
            encrypted_data: self.payload.clone(),
            key_id: self.seed.key_id.clone(),
            encrypted_dek_source: self.seed.ciphertext.clone(),
            annotations: self.seed.annotations.clone().into_iter().collect(),
            encrypted_dek_source_type: match self.seed.kind {
                SeedKind::AesGcmKey => DekSourceType::AesGcmKey,
                SeedKind::HkdfSeed => DekSourceType::HkdfSha256XnonceAesGcmSeed,
            }
            .into(),
        };
        Ok([PREFIX, self.provider.as_bytes(), b":", &message.encode_to_vec()].concat())
    }

    pub(super) fn parse(provider: String, bytes: &[u8]) -> Result<Self, Malformed> {
        // Stricter than Go in one thing that nobody writes: a known field of another wire type is an error, not skipped.
        let message = EncryptedObject::decode(bytes).map_err(Malformed::Protobuf)?;
        let kind = match DekSourceType::try_from(message.encrypted_dek_source_type) {
            Ok(DekSourceType::AesGcmKey) => SeedKind::AesGcmKey,
            Ok(DekSourceType::HkdfSha256XnonceAesGcmSeed) => SeedKind::HkdfSeed,
            Err(_) => return Err(Malformed::UnknownSeedKind(message.encrypted_dek_source_type)),
        };
        let seed = WrappedSeed {
            kind,
            key_id: message.key_id,
            ciphertext: message.encrypted_dek_source,
            annotations: message.annotations.into_iter().collect(),
        };
        let object = Self { provider, seed, payload: message.encrypted_data };
        object.check()?;
        Ok(object)
    }

    fn check(&self) -> Result<(), Malformed> {
        let minimum = match self.seed.kind {
            SeedKind::AesGcmKey => gcm::OVERHEAD,
            SeedKind::HkdfSeed => INFO_LEN + gcm::OVERHEAD,
        };
        at_least(&self.payload, minimum)?;
        self.seed.check()
    }
}

/// HKDF-Expand alone (RFC 5869, 2.3) with SHA-256. `None` for a seed that is too short.
fn derive_key(seed: &[u8], info: &[u8; INFO_LEN]) -> Option<Zeroizing<[u8; 32]>> {
    if seed.len() < SEED_MIN {
        return None;
    }
    // What HMAC does with a key longer than its block (RFC 2104), which aws-lc-rs leaves to its caller by a panic.
    let hashed = (seed.len() > SHA256_BLOCK).then(|| digest(&SHA256, seed));
    let prk = Prk::new_less_safe(HKDF_SHA256, hashed.as_ref().map_or(seed, |hash| hash.as_ref()));
    let mut key = Zeroizing::new([0; 32]);
    prk.expand(&[info], HKDF_SHA256).and_then(|okm| okm.fill(key.as_mut_slice())).ok()?;
    Some(key)
}

/// `infoSizeExtendedNonceGCM` in kube-apiserver's `aes_extended_nonce.go`.
const INFO_LEN: usize = 32;
/// `MinSeedSizeExtendedNonceGCM`, likewise.
const SEED_MIN: usize = 32;
const SHA256_BLOCK: usize = 64;
