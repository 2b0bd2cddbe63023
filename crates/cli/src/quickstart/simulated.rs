//! kube-apiserver's part, played by this program where there is no control plane: the real plugin, the real stored format,
//! and a map in memory in place of etcd.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use keystead_crypto::{Random, Secret32, SystemRandom};
use keystead_etcd::stored::{KmsV2, SealRandomness, SeedKind, Stored, WrappedSeed};
use keystead_etcd::{Layout, StoredCounts, Tally};
use keystead_testkit::kms_client::{Encrypted, KmsClient};
use zeroize::Zeroizing;

use super::plugin_process::PluginProcess;
use super::story::Cluster;

const PROVIDER: &str = "keystead";
/// kube-apiserver makes one for each call.
const UID: &str = "quickstart";

#[derive(Default)]
pub(super) struct SimulatedCluster {
    stored: BTreeMap<String, Vec<u8>>,
    encryption: Option<EncryptionState>,
}

/// What kube-apiserver keeps for a KMS v2 entry: a seed of its own and what the plugin made of it.
struct EncryptionState {
    plugin: KmsClient,
    seed: Secret32,
    wrapped: WrappedSeed,
}

impl EncryptionState {
    /// Status, and then Encrypt of a new seed, which must name the same key.
    async fn new(plugin: KmsClient) -> Result<Self> {
        let key_id = plugin.key_id().await?;
        let seed = Secret32::generate(&SystemRandom)?;
        let answer = plugin.encrypt(seed.expose(), UID).await?;
        ensure!(answer.key_id == key_id, "Status and Encrypt name different keys");
        let wrapped = WrappedSeed {
            kind: SeedKind::HkdfSeed,
            key_id: answer.key_id,
            ciphertext: answer.ciphertext,
            annotations: answer.annotations,
        };
        Ok(Self { plugin, seed, wrapped })
    }

    fn seal(&self, key: &str, object: &[u8]) -> Result<Vec<u8>> {
        let mut random = SealRandomness { info: [0; 32], nonce: [0; 12] };
        SystemRandom.fill(&mut random.info)?;
        SystemRandom.fill(&mut random.nonce)?;
        let sealed =
            KmsV2::seal(PROVIDER, self.wrapped.clone(), self.seed.expose(), key.as_bytes(), object, &random)?;
        Ok(sealed.encode()?)
    }

    /// Through the plugin's Decrypt, as after a restart of kube-apiserver.
    async fn open(&self, key: &str, sealed: &KmsV2) -> Result<Vec<u8>> {
        let wrapped = sealed.seed.clone();
        let wrapped = Encrypted {
            ciphertext: wrapped.ciphertext,
            key_id: wrapped.key_id,
            annotations: wrapped.annotations,
        };
        let seed = Zeroizing::new(self.plugin.decrypt(&wrapped, UID).await?);
        Ok(sealed.open(&seed, key.as_bytes())?.to_vec())
    }
}

impl SimulatedCluster {
    fn encryption(&mut self) -> Result<&mut EncryptionState> {
        self.encryption.as_mut().context("encryption is not switched on")
    }

    async fn read(&mut self, key: &str) -> Result<Vec<u8>> {
        let value = self.stored.get(key).with_context(|| format!("there is no {key}"))?;
        match Stored::parse(value, &[])? {
            Stored::Plain(_) => Ok(value.clone()),
            Stored::KmsV2(sealed) => self.encryption()?.open(key, &sealed).await,
            _ => bail!("{key} is stored in a way that this program did not write"),
        }
    }

    fn write(&mut self, key: &str, object: &[u8]) -> Result<()> {
        let value = match &self.encryption {
            Some(encryption) => encryption.seal(key, object)?,
            None => object.to_vec(),
        };
        self.stored.insert(key.to_owned(), value);
        Ok(())
    }
}

impl Cluster for SimulatedCluster {
    async fn start(&mut self) -> Result<()> {
        Ok(())
    }

    async fn enable(&mut self, plugin: &PluginProcess) -> Result<()> {
        self.encryption = Some(EncryptionState::new(plugin.client()).await?);
        Ok(())
    }

    async fn create_secret(&mut self, name: &str, value: &str) -> Result<()> {
        self.write(&etcd_key(name), &[b"k8s\0", value.as_bytes()].concat())
    }

    async fn read_secret(&mut self, name: &str) -> Result<String> {
        let object = self.read(&etcd_key(name)).await?;
        let value = object.strip_prefix(b"k8s\0".as_slice()).context("not what was written")?;
        Ok(String::from_utf8(value.to_vec())?)
    }

    async fn adopted(&mut self, key_id: &str) -> Result<()> {
        let state = EncryptionState::new(self.encryption()?.plugin.clone()).await?;
        ensure!(state.wrapped.key_id == key_id, "Status went back to another key");
        self.encryption = Some(state);
        Ok(())
    }

    async fn re_encrypt(&mut self) -> Result<usize> {
        let current = self.encryption()?.wrapped.key_id.clone();
        let keys: Vec<String> = self.stored.keys().cloned().collect();
        let mut rewritten = 0;
        for key in keys {
            let value = self.stored.get(&key).context("nothing is deleted here")?;
            let is_current =
                matches!(Stored::parse(value, &[])?, Stored::KmsV2(sealed) if sealed.seed.key_id == current);
            if !is_current {
                let object = self.read(&key).await?;
                self.write(&key, &object)?;
                rewritten += 1;
            }
        }
        Ok(rewritten)
    }

    async fn stored(&mut self, name: &str) -> Result<Vec<u8>> {
        self.stored.get(&etcd_key(name)).cloned().with_context(|| format!("there is no Secret {name}"))
    }

    async fn inventory(&mut self) -> Result<StoredCounts> {
        let mut tally = Tally::new(Layout::default());
        for (key, value) in &self.stored {
            tally.add(key.as_bytes(), value);
        }
        Ok(tally.finish())
    }
}

fn etcd_key(name: &str) -> String {
    format!("/registry/secrets/default/{name}")
}
