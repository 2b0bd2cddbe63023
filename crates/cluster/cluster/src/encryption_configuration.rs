//! kube-apiserver's EncryptionConfiguration: what it says, whether kube-apiserver takes it, and edits of the file.
//!
//! The rules are kube-apiserver's own (`k8s.io/apiserver`, `pkg/apis/apiserver/validation/validation_encryption.go` and
//! `pkg/server/options/encryptionconfig/config.go`); a test compares each verdict with real ones. Read strictly, as Kubernetes 1.31
//! and newer do: earlier ones ignore a field that they do not know, which is a typing error that an upgrade turns into an outage.
//!
//! Keys of `aescbc`, `aesgcm` and `secretbox` are in memory that wipes itself, and in no error or debug text.

mod change;
mod decode;
mod duration;
mod effective;
mod endpoint;
mod problem;
mod provider;
mod resource;
mod rules;

use crate::yaml::{Document, Position};

pub use change::{ChangeError, NewKms, NewProvider, Place};
pub use effective::{Effective, ProviderAt};
pub use endpoint::Endpoint;
pub use problem::{ConfigurationError, Finding, Problem};
pub use provider::{KmsEntry, KmsVersion, Provider, ProviderEntry, StaticKey};
pub use resource::GroupResource;
pub use rules::ApiServer;

/// What a file says, with its text.
pub struct EncryptionConfiguration {
    document: Document,
    entries: Vec<ResourceEntry>,
}

/// One entry of `resources`: some resources, and who encrypts and decrypts them.
#[derive(Debug)]
pub struct ResourceEntry {
    /// Names as they are written, such as `secrets`, `*.apps` or `*.*`, and where.
    pub resources: Vec<(String, Position)>,
    /// The first one encrypts, all decrypt.
    pub providers: Vec<ProviderEntry>,
    /// Where it begins.
    pub position: Position,
}

impl EncryptionConfiguration {
    /// Reads the bytes of a file; also of the legacy kind `EncryptionConfig`.
    ///
    /// # Errors
    ///
    /// What kube-apiserver cannot decode, and YAML that [`Document`] refuses, with the place. What it decodes and does not take is told by
    /// [`Self::check`].
    pub fn read(bytes: &[u8]) -> Result<Self, ConfigurationError> {
        Self::of(Document::parse(bytes)?)
    }

    fn of(document: Document) -> Result<Self, ConfigurationError> {
        let entries = decode::entries(&document)?;
        Ok(Self { document, entries })
    }

    /// The same, once more.
    pub(crate) fn copy(&self) -> Result<Self, ConfigurationError> {
        Self::read(self.text().as_bytes())
    }

    /// The text of the file.
    pub fn text(&self) -> &str {
        self.document.text()
    }

    /// In the order of the file, which is that of precedence.
    pub fn entries(&self) -> &[ResourceEntry] {
        &self.entries
    }

    /// Everything that keeps this kube-apiserver from starting with the file, or from doing what the file seems to say, in the order of
    /// the file. Nothing: it is good.
    pub fn check(&self, server: &ApiServer) -> Vec<Finding> {
        rules::check(&self.entries, server)
    }

    /// The names of providers and keys, for `known_names` of the etcd reader's layout: they tell where a stored value's name ends.
    pub fn known_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for provider in self.entries.iter().flat_map(|entry| &entry.providers) {
            match &provider.provider {
                Provider::Kms(kms) => names.push(kms.name.clone()),
                Provider::AesGcm(keys) | Provider::AesCbc(keys) | Provider::Secretbox(keys) => {
                    names.extend(keys.iter().map(|key| key.name.clone()));
                }
                Provider::Identity => (),
            }
        }
        names.sort();
        names.dedup();
        names
    }
}
