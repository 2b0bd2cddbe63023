//! One entry of a provider list.

use std::fmt;
use std::time::Duration;

use keystead_crypto::SecretBytes;

use super::Endpoint;
use crate::yaml::Position;

/// A provider and where it stands.
#[derive(Debug)]
pub struct ProviderEntry {
    /// What it is.
    pub provider: Provider,
    /// Where it begins.
    pub position: Position,
}

/// Who encrypts or decrypts.
#[derive(Debug)]
pub enum Provider {
    /// Nobody: values are stored as they are.
    Identity,
    /// AES-GCM with keys in the file.
    AesGcm(Vec<StaticKey>),
    /// AES-CBC with keys in the file.
    AesCbc(Vec<StaticKey>),
    /// XSalsa20 and Poly1305 with keys in the file.
    Secretbox(Vec<StaticKey>),
    /// A plugin.
    Kms(KmsEntry),
}

/// A key in the file.
pub struct StaticKey {
    /// Part of each value that it encrypts.
    pub name: String,
    /// What `secret` holds, after base64.
    pub secret: SecretBytes,
    /// Where it begins.
    pub position: Position,
}

impl fmt::Debug for StaticKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKey").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A plugin's entry, with Kubernetes' defaults filled in.
#[derive(Debug)]
pub struct KmsEntry {
    /// How kube-apiserver speaks to it.
    pub api_version: KmsVersion,
    /// Whether `apiVersion` is written; without it, v1 is meant.
    pub is_version_written: bool,
    /// Part of each value that it encrypts: it can never be changed.
    pub name: String,
    /// Its socket.
    pub endpoint: Endpoint,
    /// Of one call.
    pub timeout: Duration,
    /// How many data keys kube-apiserver remembers, only of v1; negative: none. 1,000 if nothing is written.
    pub cache_size: Option<i32>,
}

/// A version of the KMS API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KmsVersion {
    /// Deprecated; what an entry without `apiVersion` means.
    V1,
    /// What everything new uses.
    V2,
}

impl fmt::Display for KmsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}
