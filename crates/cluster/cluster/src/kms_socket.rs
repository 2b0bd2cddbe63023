//! A plugin at its socket, asked as kube-apiserver asks it.
//!
//! It proves what a rollout depends on: the plugin is well, it wraps, and it unwraps what it or another host's plugin wrapped. What is
//! unwrapped is in memory that wipes itself. The answers are the plugin's word: they are bounded, and none of them is trusted.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream as StdUnixStream};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use keystead_crypto::{Random, SystemRandom, sha256};
use keystead_model::ErrorChain;
use keystead_proto::kms_v1::key_management_service_client::KeyManagementServiceClient as V1;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient as V2;
use keystead_proto::{kms_v1, kms_v2};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Response, Status};
use zeroize::Zeroizing;

use crate::encryption_configuration::KmsVersion;

/// What kube-apiserver puts into every request of KMS v1.
const V1BETA1: &str = "v1beta1";
/// The first minor version whose kube-apiserver takes `v2` from Status; until then it is `v2beta1` alone.
const TAKES_V2: u32 = 29;
/// kube-apiserver's own limit where the entry has none.
const CALL: Duration = Duration::from_secs(3);
/// Characters of a plugin's message that are kept.
const MESSAGE_MAX: usize = 300;
/// `EncryptedObject.keyID` and `EncryptedObject.encryptedDEKSource` of kube-apiserver, in bytes.
const FIELD_MAX: usize = 1024;
/// `annotationsMaxSize` of kube-apiserver, in bytes.
const ANNOTATIONS_MAX: usize = 32 << 10;

/// A plugin's socket. Connections are made as calls need them.
pub struct KmsSocket {
    channel: Channel,
    version: KmsVersion,
}

/// The process that made a socket listen, as the kernel knows it; none where nobody does. That is systemd where it starts the service.
pub(crate) async fn listener(socket: &str) -> Option<u32> {
    let stream = tokio::time::timeout(CALL, connect(socket)).await.ok()?.ok()?;
    u32::try_from(stream.peer_cred().ok()?.pid()?).ok()
}

/// What a plugin wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// The key that it is under; empty for KMS v1, which does not say.
    pub key_id: String,
    /// What only the plugin can open, 1,024 bytes at most for KMS v2.
    pub ciphertext: Vec<u8>,
    /// What goes with it.
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// SHA-256 of what is inside, if that is known.
    pub digest: Option<[u8; 32]>,
}

/// Why a plugin cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum PluginProblem {
    /// It gave an error.
    #[error("{call} failed: {message}")]
    Refused {
        /// The call.
        call: &'static str,
        /// Its words.
        message: String,
    },
    /// Nobody answers at the socket, or the connection broke.
    #[error("{call} failed: {message}")]
    Unreachable {
        /// The call.
        call: &'static str,
        /// Why there was no answer.
        message: String,
    },
    /// It gave no answer.
    #[error("{call} was not answered within {} s", CALL.as_secs())]
    Late {
        /// The call.
        call: &'static str,
    },
    /// It says so itself.
    #[error("its Status says {0:?} instead of ok")]
    Unwell(String),
    /// Its answer breaks a rule of kube-apiserver's.
    #[error("{0}")]
    Wrong(&'static str),
}

impl KmsSocket {
    /// For the path of a socket, or `@` and a name in the abstract name space, that need not be there yet.
    pub fn new(socket: &str, version: KmsVersion) -> Self {
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { connect(&socket).await.map(TokioIo::new) }
        });
        // The authority that kube-apiserver sends for KMS v2 since 1.32; nothing looks it up.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { channel, version }
    }

    /// Asks how the plugin is, and has it wrap 32 new random bytes and unwrap them again. `minor` is the y of the Kubernetes 1.y whose API
    /// server it is for, if that is known.
    ///
    /// # Errors
    ///
    /// Whatever would make kube-apiserver call it unhealthy, or refuse what it wraps.
    pub async fn probe(&self, minor: Option<u32>) -> Result<Wrapped, PluginProblem> {
        let secret = random().ok_or(PluginProblem::Wrong("there is no randomness on this host"))?;
        let wrapped = match self.version {
            KmsVersion::V1 => self.wrap_v1(&secret).await?,
            KmsVersion::V2 => self.wrap_v2(&secret, minor).await?,
        };
        self.unwrap(&wrapped).await?;
        Ok(wrapped)
    }

    /// Has it unwrap what it or another plugin wrapped.
    ///
    /// # Errors
    ///
    /// It refuses, or something else comes out.
    pub async fn unwrap(&self, wrapped: &Wrapped) -> Result<(), PluginProblem> {
        let plain = self.decrypt(wrapped).await?;
        match wrapped.digest {
            Some(digest) if sha256(&plain) != digest => {
                Err(PluginProblem::Wrong("it unwraps to something else than what was wrapped"))
            }
            // The smallest key that kube-apiserver takes.
            None if plain.len() < 16 => Err(PluginProblem::Wrong("what it unwraps is too short for a key")),
            _ => Ok(()),
        }
    }

    /// What it unwraps, whatever that is.
    ///
    /// # Errors
    ///
    /// It refuses, or does not answer.
    pub async fn decrypt(&self, wrapped: &Wrapped) -> Result<Zeroizing<Vec<u8>>, PluginProblem> {
        Ok(Zeroizing::new(match self.version {
            KmsVersion::V1 => {
                let request = kms_v1::DecryptRequest {
                    version: V1BETA1.to_owned(),
                    cipher: wrapped.ciphertext.clone(),
                };
                call("Decrypt", self.v1().decrypt(request)).await?.plain
            }
            KmsVersion::V2 => {
                let request = kms_v2::DecryptRequest {
                    ciphertext: wrapped.ciphertext.clone(),
                    uid: UID.to_owned(),
                    key_id: wrapped.key_id.clone(),
                    annotations: wrapped.annotations.clone().into_iter().collect(),
                };
                call("Decrypt", self.v2().decrypt(request)).await?.plaintext
            }
        }))
    }

    async fn wrap_v1(&self, secret: &[u8; 32]) -> Result<Wrapped, PluginProblem> {
        let request = kms_v1::VersionRequest { version: V1BETA1.to_owned() };
        if call("Version", self.v1().version(request)).await?.version != V1BETA1 {
            return Err(PluginProblem::Wrong("its version is not v1beta1, which kube-apiserver asks for"));
        }
        let request = kms_v1::EncryptRequest { version: V1BETA1.to_owned(), plain: secret.to_vec() };
        let ciphertext = call("Encrypt", self.v1().encrypt(request)).await?.cipher;
        // Its length is stored in 16 bits.
        if ciphertext.len() > usize::from(u16::MAX) {
            return Err(PluginProblem::Wrong("what it wraps is longer than 65,535 bytes"));
        }
        Ok(Wrapped {
            key_id: String::new(),
            ciphertext,
            annotations: BTreeMap::new(),
            digest: Some(sha256(secret)),
        })
    }

    async fn wrap_v2(&self, secret: &[u8; 32], minor: Option<u32>) -> Result<Wrapped, PluginProblem> {
        let status = call("Status", self.v2().status(kms_v2::StatusRequest {})).await?;
        if status.healthz != "ok" {
            return Err(PluginProblem::Unwell(bounded(&status.healthz)));
        }
        if !["v2", "v2beta1"].contains(&status.version.as_str()) {
            return Err(PluginProblem::Wrong("its Status has another version than v2 and v2beta1"));
        }
        if status.version == "v2" && minor.is_some_and(|it| it < TAKES_V2) {
            return Err(PluginProblem::Wrong(
                "its Status says v2, and kube-apiserver 1.27 and 1.28 take v2beta1 alone: start keystead-plugin with --status-version=v2beta1",
            ));
        }
        let request = kms_v2::EncryptRequest { plaintext: secret.to_vec(), uid: UID.to_owned() };
        let answer = call("Encrypt", self.v2().encrypt(request)).await?;
        let annotations: usize = answer.annotations.iter().map(|(key, value)| key.len() + value.len()).sum();
        let wrong = if answer.key_id != status.key_id {
            Some("Encrypt has another key id than Status")
        } else if answer.key_id.is_empty() || answer.key_id.len() > FIELD_MAX {
            Some("its key id must have 1 to 1,024 bytes")
        } else if answer.ciphertext.is_empty() || answer.ciphertext.len() > FIELD_MAX {
            Some("what it wraps must have 1 to 1,024 bytes")
        } else {
            (annotations > ANNOTATIONS_MAX).then_some("its annotations have more than 32 KiB")
        };
        match wrong {
            Some(wrong) => Err(PluginProblem::Wrong(wrong)),
            None => Ok(Wrapped {
                key_id: answer.key_id,
                ciphertext: answer.ciphertext,
                annotations: answer.annotations.into_iter().collect(),
                digest: Some(sha256(secret)),
            }),
        }
    }

    fn v1(&self) -> V1<Channel> {
        V1::new(self.channel.clone())
    }

    fn v2(&self) -> V2<Channel> {
        V2::new(self.channel.clone())
    }
}

impl fmt::Debug for KmsSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KmsSocket").field("version", &self.version).finish_non_exhaustive()
    }
}

/// kube-apiserver sends one of its own for each call; plugins only log it.
const UID: &str = "keystead-cluster";

async fn call<T>(
    name: &'static str,
    answer: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, PluginProblem> {
    match tokio::time::timeout(CALL, answer).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => {
            // There is a source only where no answer came.
            Err(match std::error::Error::source(&status) {
                Some(cause) => {
                    let message = bounded(&ErrorChain(cause).to_string());
                    PluginProblem::Unreachable { call: name, message }
                }
                None => {
                    let message = format!("{:?}: {}", status.code(), bounded(status.message()));
                    PluginProblem::Refused { call: name, message }
                }
            })
        }
        Err(_) => Err(PluginProblem::Late { call: name }),
    }
}

fn bounded(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { ' ' } else { it }).take(MESSAGE_MAX).collect()
}

async fn connect(socket: &str) -> io::Result<UnixStream> {
    let Some(name) = socket.strip_prefix('@') else { return UnixStream::connect(socket).await };
    // The kernel answers at once: nothing of it goes over a network.
    let stream = StdUnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

fn random() -> Option<Zeroizing<[u8; 32]>> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom.fill(bytes.as_mut()).ok()?;
    Some(bytes)
}
