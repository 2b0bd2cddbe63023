//! What a KMS v2 plugin's Encrypt answered, as kube-apiserver keeps it in every value.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};

use super::Malformed;

/// One wrapped seed. Equal ones unwrap to the same bytes, so one Decrypt serves all values that carry it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrappedSeed {
    /// What is wrapped.
    pub kind: SeedKind,
    /// The plugin's name for the KEK, 1 to 1024 bytes.
    pub key_id: String,
    /// 1 to 1024 bytes.
    pub ciphertext: Vec<u8>,
    /// Whatever the plugin added: names and values together at most 32768 bytes; each name a domain name.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// What a plugin wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeedKind {
    /// Type 0: the AES-GCM key itself. Written by 1.25 to 1.28.
    AesGcmKey,
    /// Type 1: a seed from which each value derives its own key. Written by 1.28 with a gate, by 1.29 and later always.
    HkdfSeed,
}

impl WrappedSeed {
    /// 16 bytes that tell this wrapped seed from any other: the start of a SHA-256 over all of it.
    pub fn fingerprint(&self) -> [u8; 16] {
        let mut bytes = vec![u8::from(self.kind == SeedKind::HkdfSeed)];
        let annotations = self.annotations.iter().flat_map(|(name, value)| [name.as_bytes(), value]);
        for part in [self.key_id.as_bytes(), &self.ciphertext].into_iter().chain(annotations) {
            // Lengths in front, so that no two seeds give the same bytes.
            bytes.extend_from_slice(&part.len().to_be_bytes());
            bytes.extend_from_slice(part);
        }
        let mut fingerprint = [0; 16];
        for (to, from) in fingerprint.iter_mut().zip(digest(&SHA256, &bytes).as_ref()) {
            *to = *from;
        }
        fingerprint
    }

    /// The checks of `ValidateEncryptedObject` in kube-apiserver, which runs them on each write and each read.
    pub(super) fn check(&self) -> Result<(), Malformed> {
        if !(1..=CIPHERTEXT_MAX).contains(&self.ciphertext.len()) {
            return Err(Malformed::WrappedSeedSize(self.ciphertext.len()));
        }
        if !(1..=KEY_ID_MAX).contains(&self.key_id.len()) {
            return Err(Malformed::KeyIdSize(self.key_id.len()));
        }
        let size = self.annotations.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size > ANNOTATIONS_MAX {
            return Err(Malformed::AnnotationsSize(size));
        }
        if !self.annotations.keys().all(|name| is_domain_name(name)) {
            return Err(Malformed::AnnotationName);
        }
        Ok(())
    }
}

/// `IsFullyQualifiedDomainName` of k8s.io/apimachinery.
fn is_domain_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.contains('.') && name.split('.').all(is_label)
}

/// A label of RFC 1123 in lower case.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// `encryptedDEKSourceMaxSize` in kube-apiserver's `envelope.go`.
const CIPHERTEXT_MAX: usize = 1024;
/// `KeyIDMaxSize`, likewise.
const KEY_ID_MAX: usize = 1024;
/// `annotationsMaxSize`, likewise.
const ANNOTATIONS_MAX: usize = 32 * 1024;
