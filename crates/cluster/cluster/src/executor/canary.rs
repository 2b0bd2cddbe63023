//! An object that is written through one API server, looked at in etcd, and read through all others.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use keystead_crypto::{Random, SystemRandom};
use keystead_etcd::stored::Stored as StoredValue;
use keystead_etcd::{Etcd, Layout, ReadError};
use keystead_model::ErrorChain;
use serde::Deserialize;
use serde_json::json;

use super::observe::HostSight;
use crate::api::{ApiServer, Call, CallError};
use crate::encryption_configuration::GroupResource;
use crate::etcd_path::etcd_path;
use crate::rollout::{Canary, Reading, Writing};
use crate::stored_values::stored_as;

const ASK: Duration = Duration::from_secs(15);
const JSON: &str = "application/json";
/// kubeadm and every other installer make it, and nothing that runs for users is in it.
const NAMESPACE: &str = "kube-system";
/// For whoever finds one that a killed run left behind; the next run removes it.
const LABEL: &str = "app.kubernetes.io/managed-by";
const LABEL_VALUE: &str = "keystead-canary";

/// An API server that is up, with the epoch in which it was seen.
pub(super) struct Peer {
    pub(super) name: String,
    epoch: String,
    server: ApiServer,
}

impl Peer {
    /// None: it is not up.
    pub(super) fn of(host: &HostSight) -> Option<Self> {
        Some(Self { name: host.name.clone(), epoch: host.epoch()?, server: host.api.clone()? })
    }
}

/// Why there is no canary.
#[derive(Debug, thiserror::Error)]
pub enum CanaryError {
    /// Neither Secrets nor ConfigMaps are among the resources.
    #[error(
        "what an API server writes is seen in a Secret or a ConfigMap, and neither is among the resources: name one of them too"
    )]
    NoKind,
    /// It was not written.
    #[error("an object could not be written through {server}")]
    Write {
        /// The API server.
        server: String,
        /// What it said.
        source: CallError,
    },
    /// A reader did not answer. One that answers and does not read it is part of the canary.
    #[error("{server} could not be asked for what another one wrote")]
    Read {
        /// The API server.
        server: String,
        /// What happened.
        source: CallError,
    },
    /// etcd did not answer.
    #[error("what {server} wrote could not be looked at in etcd")]
    Etcd {
        /// The API server.
        server: String,
        /// Why not.
        source: ReadError,
    },
    /// Another etcd, or another prefix.
    #[error(
        "what {server} wrote is not in etcd under {key}: is this the etcd of this API server, and is the prefix right?"
    )]
    Elsewhere {
        /// The API server.
        server: String,
        /// The etcd key.
        key: String,
    },
    /// A value that no API server can read.
    #[error("what {server} wrote cannot be understood in etcd: {reason}")]
    Malformed {
        /// The API server.
        server: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system gave none.
    #[error("there is no randomness on this host")]
    NoRandomness,
}

/// Writes a canary through `writer`, and has all `readers` read it. It is removed whatever happens; its content is random.
pub(super) async fn run(
    resources: &[GroupResource],
    writer: &Peer,
    readers: &[Peer],
    etcd: &Etcd,
    layout: &Layout,
) -> Result<Canary, CanaryError> {
    let kind = Kind::of(resources).ok_or(CanaryError::NoKind)?;
    remove_leftovers(&writer.server, kind).await;
    let mut random = [0; 24];
    SystemRandom.fill(&mut random).map_err(|_| CanaryError::NoRandomness)?;
    let (name, value) = random.split_at(8);
    let name = format!("keystead-canary-{}", hex::encode(name));
    let value = BASE64_STANDARD.encode(value);
    let object = json!({
        "apiVersion": "v1",
        "kind": kind.name(),
        "metadata": { "name": name, "labels": { LABEL: LABEL_VALUE } },
        "data": { "canary": value },
    })
    .to_string();
    let collection = format!("/api/v1/namespaces/{NAMESPACE}/{}", kind.plural());
    let post = Call {
        method: Method::POST,
        path: &collection,
        accept: JSON,
        body: Some((JSON, &object)),
        limit: ASK,
    };
    writer
        .server
        .call(&post)
        .await
        .map_err(|source| CanaryError::Write { server: writer.name.clone(), source })?;
    let path = format!("{collection}/{name}");
    let looked = look(kind, writer, readers, etcd, layout, &name, &path, &value).await;
    // One that stays is removed by the next run.
    drop(writer.server.call(&delete(&path)).await);
    looked
}

#[expect(clippy::too_many_arguments, reason = "one canary, and everything that it is looked at with")]
async fn look(
    kind: Kind,
    writer: &Peer,
    readers: &[Peer],
    etcd: &Etcd,
    layout: &Layout,
    name: &str,
    path: &str,
    value: &str,
) -> Result<Canary, CanaryError> {
    let server = || writer.name.clone();
    let resource = GroupResource::parse(kind.plural());
    let key =
        format!("/{}/{}/{NAMESPACE}/{name}", layout.etcd_prefix.trim_matches('/'), etcd_path(&resource));
    let entry =
        etcd.get(key.as_bytes()).await.map_err(|source| CanaryError::Etcd { server: server(), source })?;
    let entry = entry.ok_or_else(|| CanaryError::Elsewhere { server: server(), key: key.clone() })?;
    let stored = StoredValue::parse(&entry.value, &layout.known_names)
        .map_err(|reason| CanaryError::Malformed { server: server(), reason: reason.to_string() })?;
    let writing = Writing { server: server(), epoch: writer.epoch.clone(), stored_as: stored_as(&stored) };
    let mut readings = Vec::new();
    for reader in readers {
        let read: Result<Data, CallError> = reader.server.json(&Call::get(path, JSON, ASK)).await;
        let failed = match read {
            Ok(read) if read.data.canary == value => None,
            Ok(_) => Some("it reads something else than what was written".to_owned()),
            Err(source) if source.is_away() => {
                return Err(CanaryError::Read { server: reader.name.clone(), source });
            }
            Err(error) => Some(ErrorChain(&error).to_string()),
        };
        readings.push(Reading { server: reader.name.clone(), epoch: reader.epoch.clone(), failed });
    }
    Ok(Canary { writer: writing, readings })
}

#[derive(Deserialize)]
struct Data {
    data: Content,
}

#[derive(Deserialize)]
struct Content {
    canary: String,
}

#[derive(Clone, Copy)]
enum Kind {
    Secret,
    ConfigMap,
}

impl Kind {
    fn of(resources: &[GroupResource]) -> Option<Self> {
        let has = |kind: Self| resources.contains(&GroupResource::parse(kind.plural()));
        [Self::Secret, Self::ConfigMap].into_iter().find(|it| has(*it))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Secret => "secrets",
            Self::ConfigMap => "configmaps",
        }
    }
}

async fn remove_leftovers(server: &ApiServer, kind: Kind) {
    let all =
        format!("/api/v1/namespaces/{NAMESPACE}/{}?labelSelector={LABEL}%3D{LABEL_VALUE}", kind.plural());
    // They hold nothing but random bytes.
    drop(server.call(&delete(&all)).await);
}

fn delete(path: &str) -> Call<'_> {
    Call { method: Method::DELETE, path, accept: JSON, body: None, limit: ASK }
}
