//! A KMS v2 plugin without any secret: it wraps a seed by writing it backwards. kube-apiserver before 1.32 cannot talk
//! to it, because it sends an `:authority` that tonic refuses.

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use keystead_proto::kms_v2::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use keystead_proto::kms_v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

pub(crate) const KEY_ID: &str = "backwards/1";

/// Ends when dropped.
pub(crate) struct Plugin {
    socket: PathBuf,
    _directory: tempfile::TempDir,
    _server: JoinSet<()>,
}

pub(crate) fn start() -> Result<Plugin> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("kms.sock");
    let incoming = Incoming(UnixListener::bind(&socket)?);
    let mut server = JoinSet::new();
    server.spawn(async move {
        let server = Server::builder().add_service(KeyManagementServiceServer::new(Reversing));
        server.serve_with_incoming(incoming).await.expect("serves");
    });
    Ok(Plugin { socket, _directory: directory, _server: server })
}

impl Plugin {
    pub(crate) fn endpoint(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

struct Incoming(UnixListener);

impl Stream for Incoming {
    type Item = std::io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_accept(context).map(|accepted| Some(accepted.map(|(stream, _)| stream)))
    }
}

struct Reversing;

#[tonic::async_trait]
impl KeyManagementService for Reversing {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let [version, healthz, key_id] = ["v2", "ok", KEY_ID].map(str::to_owned);
        Ok(Response::new(StatusResponse { version, healthz, key_id }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let ciphertext = request.into_inner().plaintext.into_iter().rev().collect();
        let annotations = [("backwards.example".to_owned(), b"yes".to_vec())].into();
        Ok(Response::new(EncryptResponse { ciphertext, key_id: KEY_ID.to_owned(), annotations }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let request = request.into_inner();
        if request.annotations.len() != 1 || request.key_id != KEY_ID {
            return Err(Status::invalid_argument("not what Encrypt gave"));
        }
        Ok(Response::new(DecryptResponse { plaintext: request.ciphertext.into_iter().rev().collect() }))
    }
}
