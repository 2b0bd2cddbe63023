//! Opens stored values with what there is: plugins, and the keys of an EncryptionConfiguration.

use keystead_crypto::SecretBytes;
use keystead_etcd::stored::{KmsV1, KmsV2, Malformed, OpenError, StaticCipher, StaticKey, Stored};
use zeroize::Zeroizing;

use super::plugins::{NoSeed, Plugins};
use crate::encryption_configuration::{EncryptionConfiguration, Provider};
use crate::kms_socket::Wrapped;

/// What opens values.
pub struct Opener {
    plugins: Plugins,
    /// None: no configuration was given.
    keys: Option<Vec<(StaticCipher, String, SecretBytes)>>,
}

/// What a value holds.
pub(super) struct Opened {
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// The cipher would have noticed any change.
    pub(super) is_authentic: bool,
}

/// Why a value was not opened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Unopened {
    /// No plugin was named.
    #[error("no --socket serves the KMS entry {0:?}")]
    NoPlugin(String),
    /// The plugin refused.
    #[error("the plugin of the KMS entry {entry:?} does not unwrap it: {words}")]
    Plugin {
        /// The KMS entry.
        entry: String,
        /// Its words, bounded.
        words: String,
    },
    /// Nobody answers: nothing else can be asked there either.
    #[error("the plugin of the KMS entry {entry:?} does not answer: {words}")]
    Unreachable {
        /// The KMS entry.
        entry: String,
        /// Why.
        words: String,
    },
    /// The key came from the plugin, and the value does not fit to it and to its place.
    #[error(
        "the value was changed, or copied from another etcd key, or the plugin of {0:?} unwraps to something else than it wrapped"
    )]
    NotAuthentic(String),
    /// No configuration was given.
    #[error("the {} key {name:?} is needed: give --encryption-provider-config", word(*cipher))]
    NoKeys {
        /// The cipher.
        cipher: StaticCipher,
        /// Name of the key.
        name: String,
    },
    /// The configuration has no such key.
    #[error("the {} key {name:?} is not in the EncryptionConfiguration", word(*cipher))]
    NoKey {
        /// The cipher.
        cipher: StaticCipher,
        /// Name of the key.
        name: String,
    },
    /// The key of that name does not open it.
    #[error("the {} key {name:?} of the EncryptionConfiguration does not open it: it is another one, or the value was changed", word(*cipher))]
    WrongKey {
        /// The cipher.
        cipher: StaticCipher,
        /// Name of the key.
        name: String,
    },
    /// Nobody can.
    #[error("no kube-apiserver can read it: {0}")]
    Malformed(String),
    /// It opened, and is the object of another key.
    #[error("the object in it has another name or namespace than its etcd key: it was copied")]
    Copied,
}

impl Unopened {
    pub(super) fn malformed(problem: &Malformed) -> Self {
        Self::Malformed(problem.to_string())
    }

    /// Whether the value is not what was stored under its key.
    pub fn is_tampered(&self) -> bool {
        matches!(self, Self::NotAuthentic(_) | Self::Copied)
    }
}

/// As in an EncryptionConfiguration.
pub(super) fn word(cipher: StaticCipher) -> &'static str {
    match cipher {
        StaticCipher::AesCbc => "aescbc",
        StaticCipher::AesGcm => "aesgcm",
        StaticCipher::Secretbox => "secretbox",
    }
}

impl Opener {
    /// Takes the keys out of a configuration. Copies of them are in memory that wipes itself.
    pub fn new(plugins: Plugins, configuration: Option<&EncryptionConfiguration>) -> Self {
        Self { plugins, keys: configuration.map(keys) }
    }

    /// Whether a plugin is there to ask.
    pub fn has_plugins(&self) -> bool {
        !self.plugins.is_empty()
    }

    /// Opens one value. `raw` is all of it.
    pub(super) fn open(&mut self, etcd_key: &[u8], value: &Stored, raw: &[u8]) -> Result<Opened, Unopened> {
        match value {
            Stored::Plain(_) => Ok(Opened { bytes: Zeroizing::new(raw.to_vec()), is_authentic: false }),
            Stored::StaticKey(value) => self.open_static(etcd_key, value),
            Stored::KmsV1(value) => self.open_v1(etcd_key, value),
            Stored::KmsV2(value) => self.open_v2(etcd_key, value),
        }
    }

    fn open_static(&self, etcd_key: &[u8], value: &StaticKey) -> Result<Opened, Unopened> {
        let (cipher, name) = (value.cipher, value.key_name.clone());
        let Some(keys) = &self.keys else { return Err(Unopened::NoKeys { cipher, name }) };
        // Several entries may have keys of one name: kube-apiserver too tries one after the other.
        let mut named = keys.iter().filter(|(of, key, _)| (*of, key) == (cipher, &name)).peekable();
        if named.peek().is_none() {
            return Err(Unopened::NoKey { cipher, name });
        }
        let is_authentic = cipher != StaticCipher::AesCbc;
        named
            .find_map(|(_, _, key)| {
                let bytes = value.open(key.expose(), etcd_key).ok()?;
                // A wrong key passes under AES-CBC once in 256 times.
                (is_authentic || is_object(&bytes)).then_some(Opened { bytes, is_authentic })
            })
            .ok_or(Unopened::WrongKey { cipher, name })
    }

    fn open_v1(&self, etcd_key: &[u8], value: &KmsV1) -> Result<Opened, Unopened> {
        let entry = &value.provider;
        let key = self.plugins.unwrap_v1(entry, &value.wrapped_key).map_err(|it| no_seed(entry, it))?;
        match value.open(&key, etcd_key) {
            Ok(bytes) => Ok(Opened { bytes, is_authentic: true }),
            Err(error) => {
                // Kubernetes 1.24 and earlier: no other bytes look like an object by chance.
                let earlier = value.open_unauthenticated(&key).ok().filter(|bytes| is_object(bytes));
                match earlier {
                    Some(bytes) => Ok(Opened { bytes, is_authentic: false }),
                    None => Err(not_opened(entry, error)),
                }
            }
        }
    }

    fn open_v2(&mut self, etcd_key: &[u8], value: &KmsV2) -> Result<Opened, Unopened> {
        let (entry, seed) = (&value.provider, &value.seed);
        let wrapped = || Wrapped {
            key_id: seed.key_id.clone(),
            ciphertext: seed.ciphertext.clone(),
            annotations: seed.annotations.clone(),
            digest: None,
        };
        let unwrapped = self.plugins.unwrap_v2(entry, seed.fingerprint(), wrapped);
        let unwrapped = unwrapped.map_err(|it| no_seed(entry, it))?;
        let bytes = value.open(unwrapped, etcd_key).map_err(|error| not_opened(entry, error))?;
        Ok(Opened { bytes, is_authentic: true })
    }
}

fn keys(configuration: &EncryptionConfiguration) -> Vec<(StaticCipher, String, SecretBytes)> {
    let mut all = Vec::new();
    for provider in configuration.entries().iter().flat_map(|entry| &entry.providers) {
        let (cipher, keys) = match &provider.provider {
            Provider::AesCbc(keys) => (StaticCipher::AesCbc, keys),
            Provider::AesGcm(keys) => (StaticCipher::AesGcm, keys),
            Provider::Secretbox(keys) => (StaticCipher::Secretbox, keys),
            Provider::Kms(_) | Provider::Identity => continue,
        };
        all.extend(
            keys.iter()
                .map(|key| (cipher, key.name.clone(), SecretBytes::from(key.secret.expose().to_vec()))),
        );
    }
    all
}

fn no_seed(entry: &str, why: NoSeed) -> Unopened {
    let entry = entry.to_owned();
    match why {
        NoSeed::NoPlugin => Unopened::NoPlugin(entry),
        NoSeed::Refused(words) => Unopened::Plugin { entry, words },
        NoSeed::Unreachable(words) => Unopened::Unreachable { entry, words },
    }
}

fn not_opened(entry: &str, error: OpenError) -> Unopened {
    match error {
        OpenError::KeySize(_) => Unopened::Plugin { entry: entry.to_owned(), words: error.to_string() },
        _ => Unopened::NotAuthentic(entry.to_owned()),
    }
}

/// Whether kube-apiserver can have written these bytes.
fn is_object(bytes: &[u8]) -> bool {
    // The last one is of CBOR (RFC 8949, 3.4.6).
    [&b"k8s\0"[..], &[0xd9, 0xd9, 0xf7]].iter().any(|start| bytes.starts_with(start))
        || serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok()
}
