//! The limit to compare with: stock tonic on two threads that does one AES-256-GCM per call and nothing else. No plugin on tonic can
//! be faster, so that what one costs beyond this is its own doing.
//!
//! It must never be used as a plugin: its key is gone when it ends.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use keystead_proto::kms_v1::{self, key_management_service_server as v1};
use keystead_proto::kms_v2::{self, key_management_service_server as v2};
use tempfile::TempDir;
use tonic::codegen::tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// Serves KMS v1 and v2 on a new socket at `socket` until the process is killed. Blocks; makes its own runtime of two threads.
pub fn serve(socket: &Path) -> io::Result<()> {
    let mut secret = [0; 32];
    aws_lc_rs::rand::fill(&mut secret).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let incoming = UnixListenerStream::new(tokio::net::UnixListener::bind(socket)?);
        let server = Server::builder()
            .add_service(v2::KeyManagementServiceServer::new(Bare::new(&secret)?))
            .add_service(v1::KeyManagementServiceServer::new(Bare::new(&secret)?));
        server.serve_with_incoming(incoming).await.map_err(io::Error::other)
    })
}

/// A process that serves, for as long as this value lives.
#[derive(Debug)]
pub struct Running {
    child: Child,
    socket: PathBuf,
    _folder: TempDir,
}

impl Running {
    /// Starts `command` with a socket path as one more argument, and waits until it accepts connections there: it must call
    /// [`serve`] with that path.
    pub fn start(mut command: Command) -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let socket = folder.path().join("bare.sock");
        let child = command.arg(&socket).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let mut running = Self { child, socket, _folder: folder };
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&running.socket).is_err() {
            if let Some(status) = running.child.try_wait()? {
                return Err(io::Error::other(format!("the bare tonic server ended: {status}")));
            }
            if start.elapsed() > START {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the bare tonic server does not start"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(running)
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing of it stays.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

struct Bare {
    key: LessSafeKey,
}

impl Bare {
    fn new(secret: &[u8]) -> io::Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, secret).map_err(io::Error::other)?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    fn seal(&self, mut plaintext: Vec<u8>) -> Result<Vec<u8>, Status> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| Status::internal("no random numbers"))?;
        let sealed = self.key.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::empty(),
            &mut plaintext,
        );
        sealed.map_err(|_| Status::internal("not sealed"))?;
        plaintext.extend(nonce);
        Ok(plaintext)
    }

    fn open(&self, mut ciphertext: Vec<u8>) -> Result<Vec<u8>, Status> {
        let refused = || Status::invalid_argument("not a ciphertext");
        let nonce = *ciphertext.last_chunk::<NONCE_LEN>().ok_or_else(refused)?;
        ciphertext.truncate(ciphertext.len() - NONCE_LEN);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length =
            self.key.open_in_place(nonce, Aad::empty(), &mut ciphertext).map_err(|_| refused())?.len();
        ciphertext.truncate(length);
        Ok(ciphertext)
    }
}

#[tonic::async_trait]
impl v2::KeyManagementService for Bare {
    async fn status(
        &self,
        _: Request<kms_v2::StatusRequest>,
    ) -> Result<Response<kms_v2::StatusResponse>, Status> {
        let (version, healthz, key_id) = ("v2".to_owned(), "ok".to_owned(), KEY_ID.to_owned());
        Ok(Response::new(kms_v2::StatusResponse { version, healthz, key_id }))
    }

    async fn encrypt(
        &self,
        request: Request<kms_v2::EncryptRequest>,
    ) -> Result<Response<kms_v2::EncryptResponse>, Status> {
        let ciphertext = self.seal(request.into_inner().plaintext)?;
        let key_id = KEY_ID.to_owned();
        Ok(Response::new(kms_v2::EncryptResponse { ciphertext, key_id, annotations: Default::default() }))
    }

    async fn decrypt(
        &self,
        request: Request<kms_v2::DecryptRequest>,
    ) -> Result<Response<kms_v2::DecryptResponse>, Status> {
        let plaintext = self.open(request.into_inner().ciphertext)?;
        Ok(Response::new(kms_v2::DecryptResponse { plaintext }))
    }
}

#[tonic::async_trait]
impl v1::KeyManagementService for Bare {
    async fn version(
        &self,
        _: Request<kms_v1::VersionRequest>,
    ) -> Result<Response<kms_v1::VersionResponse>, Status> {
        let (version, name) = ("v1beta1".to_owned(), "bare-tonic".to_owned());
        let answer = kms_v1::VersionResponse { version, runtime_name: name, runtime_version: "1".to_owned() };
        Ok(Response::new(answer))
    }

    async fn encrypt(
        &self,
        request: Request<kms_v1::EncryptRequest>,
    ) -> Result<Response<kms_v1::EncryptResponse>, Status> {
        let cipher = self.seal(request.into_inner().plain)?;
        Ok(Response::new(kms_v1::EncryptResponse { cipher }))
    }

    async fn decrypt(
        &self,
        request: Request<kms_v1::DecryptRequest>,
    ) -> Result<Response<kms_v1::DecryptResponse>, Status> {
        let plain = self.open(request.into_inner().cipher)?;
        Ok(Response::new(kms_v1::DecryptResponse { plain }))
    }
}

const KEY_ID: &str = "bare-tonic";
/// It starts in 3 ms; a busy machine may take longer.
const START: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
