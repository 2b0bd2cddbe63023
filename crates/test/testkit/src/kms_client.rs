//! A client of a KMS v2 plugin, as kube-apiserver is one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use hyper_util::rt::TokioIo;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient;
use keystead_proto::kms_v2::{DecryptRequest, EncryptRequest, StatusRequest};
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// One connection, made when it is first needed. Clones share it.
#[derive(Clone)]
pub struct KmsClient(KeyManagementServiceClient<Channel>);

/// An answer of Encrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encrypted {
    /// What only the plugin can open.
    pub ciphertext: Vec<u8>,
    /// Which key it is under.
    pub key_id: String,
    /// What has to be sent along to Decrypt.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

impl KmsClient {
    /// For a socket that need not be there yet. Call it within a tokio runtime.
    pub fn new(socket: PathBuf) -> Self {
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        // The address is never looked up: the connector knows the socket.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self(KeyManagementServiceClient::new(channel))
    }

    /// The key id of Status.
    pub async fn key_id(&self) -> Result<String> {
        Ok(self.0.clone().status(StatusRequest {}).await?.into_inner().key_id)
    }

    /// Encrypts a seed.
    pub async fn encrypt(&self, seed: &[u8], uid: &str) -> Result<Encrypted> {
        let request = EncryptRequest { plaintext: seed.to_vec(), uid: uid.to_owned() };
        let answer = self.0.clone().encrypt(request).await?.into_inner();
        let annotations = answer.annotations.into_iter().collect();
        Ok(Encrypted { ciphertext: answer.ciphertext, key_id: answer.key_id, annotations })
    }

    /// Decrypts what [`Self::encrypt`] gave.
    pub async fn decrypt(&self, encrypted: &Encrypted, uid: &str) -> Result<Vec<u8>> {
        let request = DecryptRequest {
            ciphertext: encrypted.ciphertext.clone(),
            uid: uid.to_owned(),
            key_id: encrypted.key_id.clone(),
            annotations: encrypted.annotations.clone().into_iter().collect(),
        };
        Ok(self.0.clone().decrypt(request).await?.into_inner().plaintext)
    }
}
