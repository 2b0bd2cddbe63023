//! What kube-apiserver has stored, read from etcd and opened without the plugin.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use keystead_crypto::{Envelope, SecretBytes, SystemRandom};
use keystead_etcd::stored::{KmsV1, KmsV2, Stored};
use keystead_etcd::{Connection, Encryption, Etcd, Layout, inventory};
use keystead_provider::Provider;
use keystead_provider_local::LocalProvider;
use keystead_testkit::api::Kind;
use keystead_testkit::control_plane::ControlPlane;

/// Reads beside the API servers.
pub(crate) struct Store {
    pub(crate) etcd: Etcd,
}

impl Store {
    pub(crate) async fn of(control_plane: &ControlPlane) -> Result<Self> {
        let connection = Connection::plain(control_plane.etcd().url());
        Ok(Self { etcd: Etcd::connect(&connection).await? })
    }

    /// The stored bytes of an object in `default`.
    pub(crate) async fn value(&self, kind: Kind, name: &str) -> Result<Vec<u8>> {
        let entry = self.etcd.get(&key(kind, name)).await?;
        Ok(entry.with_context(|| format!("{name} is not in etcd"))?.value.to_vec())
    }

    pub(crate) async fn v2(&self, kind: Kind, name: &str) -> Result<KmsV2> {
        match Stored::parse(&self.value(kind, name).await?, &[])? {
            Stored::KmsV2(value) => Ok(value),
            other => anyhow::bail!("{name} is not stored by KMS v2 but as {other:?}"),
        }
    }

    pub(crate) async fn v1(&self, kind: Kind, name: &str) -> Result<KmsV1> {
        match Stored::parse(&self.value(kind, name).await?, &[])? {
            Stored::KmsV1(value) => Ok(value),
            other => anyhow::bail!("{name} is not stored by KMS v1 but as {other:?}"),
        }
    }

    /// How many Secrets are stored under each key id: the histogram of the inventory. Whatever is not KMS v2 counts
    /// under its description.
    pub(crate) async fn secrets_by_key_id(&self) -> Result<BTreeMap<String, u64>> {
        let counted = inventory(&mut self.etcd.scan("/registry/secrets/"), &Layout::default()).await?;
        let groups = counted.groups.into_iter().map(|group| match group.encryption {
            Encryption::KmsV2 { key_id, .. } => (key_id, group.objects),
            other => (format!("{other:?}"), group.objects),
        });
        Ok(groups.collect())
    }

    /// Whether any value of the whole etcd holds these bytes in clear.
    pub(crate) async fn holds(&self, bytes: &[u8]) -> Result<bool> {
        let mut scanner = self.etcd.scan("/");
        while let Some(page) = scanner.next_page().await? {
            let mut values = page.entries.iter().map(|entry| &entry.value);
            if values.any(|value| contains(value, bytes)) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The full etcd key of an object in `default`.
pub(crate) fn key(kind: Kind, name: &str) -> Vec<u8> {
    format!("/registry/{}/default/{name}", kind.resource()).into_bytes()
}

pub(crate) fn contains(value: &[u8], bytes: &[u8]) -> bool {
    value.windows(bytes.len()).any(|window| window == bytes)
}

/// Opens what the plugin's Encrypt gave with the key file alone: no plugin takes part.
pub(crate) async fn open_with_key_file(key_file: &Path, ciphertext: &[u8]) -> Result<SecretBytes> {
    let provider = LocalProvider::open(key_file, Arc::new(SystemRandom))?;
    let envelope = Envelope::parse(ciphertext)?;
    let wrapping_key = provider.unwrap(envelope.key_reference().version(), envelope.wrapped()).await?;
    Ok(envelope.open(&wrapping_key)?)
}
