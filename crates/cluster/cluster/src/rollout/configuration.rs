//! What an API server reads and writes with, as far as a rollout is concerned.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One way to store an object: the prefix that kube-apiserver gives the value. A static provider with several keys is several
/// of these, in the order of its keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Provider {
    /// Not encrypted.
    Identity,
    /// AES-CBC with a key in the file.
    AesCbc {
        /// Name of the key.
        key: String,
    },
    /// AES-GCM with a key in the file.
    AesGcm {
        /// Name of the key.
        key: String,
    },
    /// XSalsa20-Poly1305 with a key in the file.
    Secretbox {
        /// Name of the key.
        key: String,
    },
    /// A KMS entry with `apiVersion: v1`.
    KmsV1 {
        /// Name of the entry.
        name: String,
    },
    /// A KMS entry with `apiVersion: v2`.
    KmsV2 {
        /// Name of the entry.
        name: String,
    },
}

impl Provider {
    /// Whether a plugin stands behind it.
    pub fn is_kms(&self) -> bool {
        matches!(self, Self::KmsV1 { .. } | Self::KmsV2 { .. })
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identity => f.write_str("identity"),
            Self::AesCbc { key } => write!(f, "aescbc:{key}"),
            Self::AesGcm { key } => write!(f, "aesgcm:{key}"),
            Self::Secretbox { key } => write!(f, "secretbox:{key}"),
            Self::KmsV1 { name } => write!(f, "kms:v1:{name}"),
            Self::KmsV2 { name } => write!(f, "kms:v2:{name}"),
        }
    }
}

/// The text is no provider.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no provider: it is to be kms:v2:NAME, kms:v1:NAME, aescbc:KEY, aesgcm:KEY, secretbox:KEY or identity"
)]
pub struct NotAProvider(String);

impl FromStr for Provider {
    type Err = NotAProvider;

    /// Reads what [`Provider`] shows.
    fn from_str(text: &str) -> Result<Self, NotAProvider> {
        let rest = |prefix: &str| text.strip_prefix(prefix).filter(|it| !it.is_empty()).map(str::to_owned);
        if text == "identity" {
            return Ok(Self::Identity);
        }
        rest("kms:v2:")
            .map(|name| Self::KmsV2 { name })
            .or_else(|| rest("kms:v1:").map(|name| Self::KmsV1 { name }))
            .or_else(|| rest("aescbc:").map(|key| Self::AesCbc { key }))
            .or_else(|| rest("aesgcm:").map(|key| Self::AesGcm { key }))
            .or_else(|| rest("secretbox:").map(|key| Self::Secretbox { key }))
            .ok_or_else(|| NotAProvider(text.to_owned()))
    }
}

/// The providers of the rollout's resources. The first writes; all read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The first provider of the list.
    pub writer: Provider,
    /// The others, in their order.
    pub readers: Vec<Provider>,
}

impl Order {
    /// All of them, the writer first.
    pub fn providers(&self) -> impl Iterator<Item = &Provider> {
        std::iter::once(&self.writer).chain(&self.readers)
    }

    /// Whether a value of `provider` can be read.
    pub fn reads(&self, provider: &Provider) -> bool {
        self.providers().any(|it| it == provider)
    }

    /// The same providers with `writer` first. Nothing that was readable is lost.
    pub(super) fn with_writer(&self, writer: &Provider) -> Self {
        let readers = self.providers().filter(|it| *it != writer).cloned().collect();
        Self { writer: writer.clone(), readers }
    }

    /// The same order, with those of `needed` at the end that it lacks.
    pub(super) fn with_readers<'a>(mut self, needed: impl IntoIterator<Item = &'a Provider>) -> Self {
        for provider in needed {
            if !self.reads(provider) {
                self.readers.push(provider.clone());
            }
        }
        self
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.providers().map(ToString::to_string).collect();
        write!(f, "[{}]", names.join(", "))
    }
}

/// What an API server was started with, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Configuration {
    /// No `--encryption-provider-config`, or one that says nothing about these resources. Such an API server writes plain
    /// values and refuses everything that starts with `k8s:enc:`.
    NoEncryption,
    /// The flag is set, and these providers are configured.
    Providers(Order),
}

impl Configuration {
    /// How it reads and writes. Without encryption that is like `identity` alone.
    pub fn order(&self) -> Order {
        match self {
            Self::NoEncryption => Order { writer: Provider::Identity, readers: Vec::new() },
            Self::Providers(order) => order.clone(),
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoEncryption => f.write_str("no encryption"),
            Self::Providers(order) => order.fmt(f),
        }
    }
}

/// How a value in etcd is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StoredAs {
    /// The prefix.
    pub provider: Provider,
    /// The key id inside; KMS v2 only.
    pub key_id: Option<String>,
}

impl fmt::Display for StoredAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key_id {
            None => self.provider.fmt(f),
            Some(key_id) => write!(f, "{} (key id {key_id})", self.provider),
        }
    }
}
