//! A KMS v1 and v2 service whose answers say what was asked, behind the real transport. `tests/go/kms-client` has the
//! same service, so that answers can be compared.

use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use keystead_plugin::transport::{Listener, Peer, SocketSettings};
use keystead_proto::{kms_v1, kms_v2};
use kms_v1::key_management_service_server::{
    KeyManagementService as V1, KeyManagementServiceServer as V1Server,
};
use kms_v2::key_management_service_server::{
    KeyManagementService as V2, KeyManagementServiceServer as V2Server,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tonic::{Request, Response, Status};

/// A server on a socket of its own.
pub(crate) struct Running {
    pub(crate) path: PathBuf,
    _place: TempDir,
    stop: oneshot::Sender<()>,
    server: JoinSet<()>,
}

impl Running {
    pub(crate) fn start() -> Self {
        Self::start_with("kms.sock", SocketSettings::default())
    }

    /// With everything but the endpoint from `settings`.
    pub(crate) fn start_with(name: &str, settings: SocketSettings) -> Self {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join(name);
        let (stop, server) = serve(&path, settings, None);
        Self { path, _place: place, stop, server }
    }

    /// Stops and waits for the end, which comes when all clients are gone.
    pub(crate) async fn stop(mut self) {
        self.stop.send(()).expect("the server runs");
        self.server.join_next().await.expect("a server").expect("no panic");
        assert!(!self.path.exists(), "the socket file is removed");
    }
}

/// Listens before it returns, on `path` or on a socket that was passed.
pub(crate) fn serve(
    path: &Path,
    settings: SocketSettings,
    passed: Option<UnixListener>,
) -> (oneshot::Sender<()>, JoinSet<()>) {
    let endpoint = Some(path.to_str().expect("UTF-8").to_owned());
    let listener = Listener::bind(&SocketSettings { endpoint, ..settings }, passed).expect("a free path");
    let incoming = listener.incoming().expect("a runtime");
    let (stop, stopped) = oneshot::channel();
    let mut server = JoinSet::new();
    server.spawn(async move {
        tonic::transport::Server::builder()
            .add_service(V1Server::new(Echo).max_decoding_message_size(LIMIT))
            .add_service(V2Server::new(Echo).max_decoding_message_size(LIMIT))
            .serve_with_incoming_shutdown(incoming, async {
                let _stopped = stopped.await;
            })
            .await
            .expect("the server ends in peace");
    });
    (stop, server)
}

/// Largest message that the service takes, in bytes.
pub(crate) const LIMIT: usize = 64 * 1024;

pub(crate) struct Echo;

#[tonic::async_trait]
impl V1 for Echo {
    async fn version(
        &self,
        request: Request<kms_v1::VersionRequest>,
    ) -> Result<Response<kms_v1::VersionResponse>, Status> {
        let version = request.into_inner().version;
        let runtime_name = format!("echo of {version}");
        Ok(Response::new(kms_v1::VersionResponse { version, runtime_name, runtime_version: "1".into() }))
    }

    async fn encrypt(
        &self,
        request: Request<kms_v1::EncryptRequest>,
    ) -> Result<Response<kms_v1::EncryptResponse>, Status> {
        let kms_v1::EncryptRequest { version, plain } = request.into_inner();
        Ok(Response::new(kms_v1::EncryptResponse { cipher: turn(&plain, &version)? }))
    }

    async fn decrypt(
        &self,
        request: Request<kms_v1::DecryptRequest>,
    ) -> Result<Response<kms_v1::DecryptResponse>, Status> {
        let kms_v1::DecryptRequest { version, cipher } = request.into_inner();
        Ok(Response::new(kms_v1::DecryptResponse { plain: turn(&cipher, &version)? }))
    }
}

#[tonic::async_trait]
impl V2 for Echo {
    /// `key_id` is the uid that the transport saw.
    async fn status(
        &self,
        request: Request<kms_v2::StatusRequest>,
    ) -> Result<Response<kms_v2::StatusResponse>, Status> {
        let peer = request.extensions().get::<Peer>().ok_or_else(|| Status::internal("no peer"))?;
        let key_id = format!("uid {}", peer.uid);
        Ok(Response::new(kms_v2::StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id }))
    }

    async fn encrypt(
        &self,
        request: Request<kms_v2::EncryptRequest>,
    ) -> Result<Response<kms_v2::EncryptResponse>, Status> {
        let kms_v2::EncryptRequest { plaintext, uid } = request.into_inner();
        let ciphertext = turn(&plaintext, &uid)?;
        let annotations =
            [("length.example.com".to_owned(), plaintext.len().to_string().into_bytes())].into();
        Ok(Response::new(kms_v2::EncryptResponse { ciphertext, key_id: format!("for {uid}"), annotations }))
    }

    async fn decrypt(
        &self,
        request: Request<kms_v2::DecryptRequest>,
    ) -> Result<Response<kms_v2::DecryptResponse>, Status> {
        let kms_v2::DecryptRequest { ciphertext, uid, key_id, annotations } = request.into_inner();
        let mut notes: Vec<_> = annotations.into_iter().collect();
        notes.sort();
        let notes = notes.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value)));
        let context = format!("{uid}|{key_id}|{}", notes.collect::<Vec<_>>().join(","));
        Ok(Response::new(kms_v2::DecryptResponse { plaintext: turn(&ciphertext, &context)? }))
    }
}

/// The bytes backwards, then the context; nothing is an error.
fn turn(bytes: &[u8], context: &str) -> Result<Vec<u8>, Status> {
    if bytes.is_empty() {
        return Err(Status::invalid_argument(format!("nothing to turn for {context}")));
    }
    Ok(bytes.iter().rev().copied().chain(context.bytes()).collect())
}
