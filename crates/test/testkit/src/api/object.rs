//! Secrets and ConfigMaps as this client sees them.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Error;

/// Which resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `secrets`
    Secret,
    /// `configmaps`
    ConfigMap,
}

impl Kind {
    /// The name in paths and in an EncryptionConfiguration.
    pub fn resource(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }
}

/// The metadata that tests look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Name within the namespace.
    pub name: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: String,
    /// Changes with each write to etcd. Empty in an object that is to be written unconditionally.
    #[serde(default)]
    pub resource_version: String,
}

/// A Secret or a ConfigMap. Its values are not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Object {
    /// Which of the two.
    pub kind: Kind,
    /// Its name.
    pub metadata: Metadata,
    /// Its values; those of a ConfigMap are UTF-8.
    pub data: BTreeMap<String, Vec<u8>>,
}

impl Object {
    /// A new one with one value.
    pub fn new(kind: Kind, namespace: &str, name: &str, key: &str, value: &[u8]) -> Self {
        let metadata =
            Metadata { name: name.to_owned(), namespace: namespace.to_owned(), ..Metadata::default() };
        Self { kind, metadata, data: BTreeMap::from([(key.to_owned(), value.to_owned())]) }
    }

    pub(super) fn to_json(&self) -> Value {
        let text = |value: &Vec<u8>| match self.kind {
            Kind::Secret => STANDARD.encode(value),
            Kind::ConfigMap => String::from_utf8_lossy(value).into_owned(),
        };
        let data: BTreeMap<_, _> = self.data.iter().map(|(key, value)| (key, text(value))).collect();
        let mut metadata = json!({ "name": self.metadata.name, "namespace": self.metadata.namespace });
        if let (Some(fields), false) = (metadata.as_object_mut(), self.metadata.resource_version.is_empty()) {
            fields.insert("resourceVersion".to_owned(), self.metadata.resource_version.clone().into());
        }
        json!({ "metadata": metadata, "data": data })
    }

    pub(super) fn from_json(kind: Kind, bytes: &[u8]) -> Result<Self, Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Metadata,
            #[serde(default)]
            data: BTreeMap<String, String>,
        }
        let wire: Wire = serde_json::from_slice(bytes)?;
        let data = wire
            .data
            .into_iter()
            .map(|(key, text)| match kind {
                Kind::Secret => Ok((key, STANDARD.decode(text)?)),
                Kind::ConfigMap => Ok((key, text.into_bytes())),
            })
            .collect::<Result<_, Error>>()?;
        Ok(Self { kind, metadata: wire.metadata, data })
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Object")
            .field("kind", &self.kind)
            .field("metadata", &self.metadata)
            .field("keys", &self.data.keys())
            .finish_non_exhaustive()
    }
}
