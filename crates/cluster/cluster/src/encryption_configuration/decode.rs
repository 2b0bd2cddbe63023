//! From YAML to providers, as strictly as kube-apiserver.

use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use keystead_crypto::SecretBytes;
use zeroize::Zeroizing;

use super::{
    ConfigurationError, Endpoint, KmsEntry, KmsVersion, Problem, Provider, ProviderEntry, ResourceEntry,
    StaticKey, duration,
};
use crate::yaml::{Content, Document, Entry, Node};

type Result<T> = std::result::Result<T, ConfigurationError>;

/// Go does not ask whether the bits behind the last byte are 0.
const BASE64: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true));

/// `cachesize` of v1 where nothing is written.
const DEFAULT_CACHE_SIZE: i32 = 1000;
/// `timeout` where nothing is written.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// A name of a field that is repeated in an error. A key of 16 bytes has 24 characters in base64, so nothing repeated is one.
const MAX_NAME: usize = 20;

pub(super) fn entries(document: &Document) -> Result<Vec<ResourceEntry>> {
    let decoder = Decoder { document };
    let root = document.root();
    let word = |key| root.get(key).and_then(Node::as_str).unwrap_or_default();
    match (word("apiVersion"), word("kind")) {
        // The second is what an old page of Kubernetes' documentation said.
        ("apiserver.config.k8s.io/v1", "EncryptionConfiguration") | ("v1", "EncryptionConfig") => (),
        _ => return Err(decoder.at(root, Problem::Kind)),
    }
    decoder.only(root, &["apiVersion", "kind", "resources"], "apiVersion, kind, resources")?;
    decoder.list(root, "resources")?.iter().map(|entry| decoder.entry(entry)).collect()
}

struct Decoder<'d> {
    document: &'d Document,
}

impl<'d> Decoder<'d> {
    fn at(&self, node: &Node, problem: Problem) -> ConfigurationError {
        ConfigurationError { position: self.document.position(node), problem }
    }

    fn entry(&self, node: &Node) -> Result<ResourceEntry> {
        self.only(node, &["resources", "providers"], "resources, providers")?;
        let resources = self.list(node, "resources")?;
        let resources = resources.iter().map(|name| {
            let text = match name.content {
                Content::Null => "",
                _ => name
                    .as_str()
                    .ok_or_else(|| self.at(name, Problem::Type("the name of a resource, as text")))?,
            };
            Ok((text.to_owned(), self.document.position(name)))
        });
        let resources = resources.collect::<Result<_>>()?;
        let providers = self.list(node, "providers")?;
        let providers = providers.iter().map(|provider| self.provider(provider)).collect::<Result<_>>()?;
        Ok(ResourceEntry { resources, providers, position: self.document.position(node) })
    }

    fn provider(&self, node: &Node) -> Result<ProviderEntry> {
        const KINDS: [&str; 5] = ["kms", "aesgcm", "aescbc", "secretbox", "identity"];
        self.only(node, &KINDS, "kms, aesgcm, aescbc, secretbox, identity")?;
        let given = |entry: &&Entry| !matches!(entry.value.content, Content::Null);
        let mut given = node.entries().iter().filter(given);
        let (Some(entry), None) = (given.next(), given.next()) else {
            return Err(self.at(node, Problem::NotOneProvider));
        };
        let value = &entry.value;
        let provider = match entry.key.as_str() {
            "kms" => Provider::Kms(self.kms(value)?),
            "aesgcm" => Provider::AesGcm(self.keys(value, AES)?),
            "aescbc" => Provider::AesCbc(self.keys(value, AES)?),
            "secretbox" => Provider::Secretbox(self.keys(value, SECRETBOX)?),
            _ => {
                self.only(value, &[], "none; it is written `identity: {}`")?;
                Provider::Identity
            }
        };
        Ok(ProviderEntry { provider, position: self.document.position(node) })
    }

    fn keys(&self, node: &Node, sizes: Sizes) -> Result<Vec<StaticKey>> {
        self.only(node, &["keys"], "keys")?;
        self.list(node, "keys")?.iter().map(|key| self.key(key, sizes)).collect()
    }

    fn key(&self, node: &Node, (sizes, words): Sizes) -> Result<StaticKey> {
        self.only(node, &["name", "secret"], "name, secret")?;
        let name = self.required(node, "name")?.to_owned();
        let secret = self.required(node, "secret")?;
        let secret = decoded(secret).filter(|bytes| sizes.contains(&bytes.expose().len()));
        let field = node.get("secret").unwrap_or(node);
        let secret = secret.ok_or_else(|| self.at(field, Problem::Secret(words)))?;
        Ok(StaticKey { name, secret, position: self.document.position(node) })
    }

    fn kms(&self, node: &Node) -> Result<KmsEntry> {
        const FIELDS: [&str; 5] = ["apiVersion", "name", "endpoint", "timeout", "cachesize"];
        self.only(node, &FIELDS, "apiVersion, name, endpoint, timeout, cachesize")?;
        let version = self.text(node, "apiVersion")?;
        let api_version = match version {
            "" | "v1" => KmsVersion::V1,
            "v2" => KmsVersion::V2,
            _ => return Err(self.field(node, "apiVersion", Problem::KmsVersion)),
        };
        let name = self.required(node, "name")?.to_owned();
        let endpoint = self.text(node, "endpoint")?.parse();
        let endpoint: Endpoint = endpoint.map_err(|problem| self.field(node, "endpoint", problem))?;
        let cache_size = match (self.cache_size(node)?, api_version) {
            (Some(_), KmsVersion::V2) => return Err(self.field(node, "cachesize", Problem::CacheSizeOfV2)),
            (None, KmsVersion::V2) => None,
            (size, KmsVersion::V1) => Some(size.unwrap_or(DEFAULT_CACHE_SIZE)),
        };
        let timeout = self.timeout(node)?;
        Ok(KmsEntry {
            api_version,
            is_version_written: !version.is_empty(),
            name,
            endpoint,
            timeout,
            cache_size,
        })
    }

    fn timeout(&self, node: &Node) -> Result<Duration> {
        let given = node.get("timeout").filter(|value| !matches!(value.content, Content::Null));
        let Some(value) = given else { return Ok(DEFAULT_TIMEOUT) };
        let nanoseconds = value.as_str().and_then(duration::parse);
        let nanoseconds = nanoseconds.and_then(|it| u64::try_from(it).ok()).filter(|it| *it > 0);
        nanoseconds.map(Duration::from_nanos).ok_or_else(|| self.at(value, Problem::Timeout))
    }

    fn cache_size(&self, node: &Node) -> Result<Option<i32>> {
        let Some(value) = node.get("cachesize") else { return Ok(None) };
        match &value.content {
            Content::Null => Ok(None),
            Content::Integer(size) => match i32::try_from(*size) {
                Ok(size) if size != 0 => Ok(Some(size)),
                _ => Err(self.at(value, Problem::CacheSize)),
            },
            _ => Err(self.at(value, Problem::CacheSize)),
        }
    }

    /// Text that must not be empty.
    fn required(&self, node: &'d Node, key: &'static str) -> Result<&'d str> {
        match self.text(node, key)? {
            "" => Err(self.field(node, key, Problem::Missing(key))),
            text => Ok(text),
        }
    }

    /// Text; nothing and `null` are empty text.
    fn text<'n>(&self, node: &'n Node, key: &'static str) -> Result<&'n str> {
        match node.get(key) {
            None | Some(Node { content: Content::Null, .. }) => Ok(""),
            Some(value) => {
                value.as_str().ok_or_else(|| self.at(value, Problem::Type("text: put it in quotes")))
            }
        }
    }

    /// A problem at a field, or where the field should be.
    fn field(&self, node: &Node, key: &str, problem: Problem) -> ConfigurationError {
        self.at(node.get(key).unwrap_or(node), problem)
    }

    /// The items of a list that must not be empty.
    fn list<'n>(&self, node: &'n Node, key: &'static str) -> Result<&'n [Node]> {
        match node.get(key) {
            None | Some(Node { content: Content::Null, .. }) => Err(self.at(node, Problem::Empty(key))),
            Some(value) => match &value.content {
                Content::Sequence(items) if items.is_empty() => Err(self.at(value, Problem::Empty(key))),
                Content::Sequence(items) => Ok(items),
                _ => Err(self.at(value, Problem::Type("a list"))),
            },
        }
    }

    /// A mapping with known fields only.
    fn only(&self, node: &Node, known: &[&str], allowed: &'static str) -> Result<()> {
        match &node.content {
            Content::Null => Ok(()),
            Content::Mapping(entries) => {
                match entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
                    None => Ok(()),
                    Some(entry) => {
                        let name = entry.key.as_str();
                        let harmless =
                            name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_alphabetic());
                        let name = harmless.then(|| name.to_owned());
                        let problem = Problem::UnknownField { name, allowed };
                        Err(ConfigurationError { position: self.document.key_position(entry), problem })
                    }
                }
            }
            _ => Err(self.at(node, Problem::Type("a mapping"))),
        }
    }
}

/// The bytes of a key; none if it is no base64. Nothing grows: that would leave parts of it behind in freed memory.
fn decoded(secret: &str) -> Option<SecretBytes> {
    let mut digits = Zeroizing::new(String::with_capacity(secret.len()));
    // Go skips line ends inside.
    digits.extend(secret.chars().filter(|it| !matches!(it, '\r' | '\n')));
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(digits.len())]);
    let len = BASE64.decode_slice(digits.as_bytes(), &mut bytes).ok()?;
    bytes.truncate(len);
    Some(SecretBytes::from(std::mem::take(&mut *bytes)))
}

/// Allowed lengths in bytes, and the same in words.
type Sizes = (&'static [usize], &'static str);
const AES: Sizes = (&[16, 24, 32], "16, 24 or 32 bytes");
const SECRETBOX: Sizes = (&[32], "32 bytes");
