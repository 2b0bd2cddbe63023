//! Puts a model behind a socket, well or badly.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use keystead_plugin::transport::authority::Scanner;
use keystead_proto::kms_v1::key_management_service_server::KeyManagementServiceServer as V1;
use keystead_proto::kms_v2::key_management_service_server::KeyManagementServiceServer as V2;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use crate::fault::Fault;
use crate::model::Model;

/// A model that serves in this process until it is dropped.
pub(crate) struct Served {
    pub(crate) dir: PathBuf,
    pub(crate) socket: PathBuf,
    _folder: Option<TempDir>,
    _running: JoinSet<()>,
}

impl Served {
    pub(crate) fn new(fault: Fault, timeout: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let served = Self::beside(folder.path(), "kms.sock", fault, timeout);
        Self { _folder: Some(folder), ..served }
    }

    /// One more model over the state in `dir`.
    pub(crate) fn beside(dir: &Path, name: &str, fault: Fault, timeout: Duration) -> Self {
        let socket = dir.join(name);
        let model = Arc::new(Model::new(dir.to_owned(), fault, timeout));
        let listener = bind(&socket, fault).unwrap();
        let mut running = JoinSet::new();
        running.spawn(accept(listener, model));
        Self { dir: dir.to_owned(), socket, _folder: None, _running: running }
    }
}

/// Binds as a good plugin does, apart from `fault`.
pub(crate) fn bind(socket: &Path, fault: Fault) -> io::Result<UnixListener> {
    if socket.exists() && fault != Fault::StartKeepsStaleSocket {
        std::fs::remove_file(socket)?;
    }
    let listener = UnixListener::bind(socket)?;
    let mode = match fault {
        Fault::SocketMode0666 => 0o666,
        Fault::SocketMode0755 => 0o755,
        _ => 0o600,
    };
    std::fs::set_permissions(socket, PermissionsExt::from_mode(mode))?;
    if fault == Fault::SocketFolderOpen {
        std::fs::set_permissions(socket.parent().unwrap(), PermissionsExt::from_mode(0o777))?;
    }
    Ok(listener)
}

/// Serves until it is dropped.
pub(crate) async fn accept(listener: UnixListener, model: Arc<Model>) {
    let places = if model.fault == Fault::SocketFewConnections { 30 } else { 10_000 };
    let places = Arc::new(Semaphore::new(places));
    let mut connections = JoinSet::new();
    loop {
        let place = Arc::clone(&places).acquire_owned().await.unwrap();
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let mut first = Vec::new();
        if model.fault == Fault::SocketServesInTurn {
            drop(stream.read_buf(&mut first).await);
        }
        let model = Arc::clone(&model);
        connections.spawn(async move {
            connection(stream, first, model).await;
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
}

/// `first` is what was read of the stream already.
async fn connection(stream: UnixStream, first: Vec<u8>, model: Arc<Model>) {
    if model.fault == Fault::AuthorityStrict {
        return http2(stream, model).await;
    }
    let idle = if model.fault == Fault::SocketClosesIdle { 150 } else { 3_600_000 };
    let (near, far) = tokio::io::duplex(1 << 16);
    let (from_client, mut to_client) = stream.into_split();
    let (mut from_server, to_server) = tokio::io::split(far);
    tokio::select! {
        () = http2(near, model) => {}
        _ = upwards(from_client, first, to_server, Duration::from_millis(idle)) => {}
        _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
    }
}

/// Client to server, with `:authority` made legal. Ends when the client is silent for `idle`.
async fn upwards(
    mut from: impl AsyncRead + Unpin,
    mut held: Vec<u8>,
    mut to: impl AsyncWrite + Unpin,
    idle: Duration,
) -> io::Result<()> {
    let mut scanner = Scanner::default();
    loop {
        let safe = scanner.scan(&mut held).map_err(io::Error::other)?;
        to.write_all(&held[..safe]).await?;
        held.drain(..safe);
        if tokio::time::timeout(idle, from.read_buf(&mut held)).await.map_err(io::Error::other)?? == 0 {
            return Ok(());
        }
    }
}

async fn http2(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, model: Arc<Model>) {
    let mut routes = Routes::builder();
    let fault = model.fault;
    if fault != Fault::OnlyV1 {
        let mut service = V2::from_arc(Arc::clone(&model));
        if fault == Fault::EncryptHuge {
            service = service.max_decoding_message_size(16 << 20).max_encoding_message_size(16 << 20);
        }
        routes.add_service(service);
    }
    if fault != Fault::OnlyV2 {
        let mut service = V1::from_arc(model);
        if fault == Fault::V1Huge {
            service = service.max_decoding_message_size(16 << 20).max_encoding_message_size(16 << 20);
        }
        routes.add_service(service);
    }
    let routes = routes.routes();
    let service = tower::service_fn(move |request| answer(routes.clone(), fault, request));
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new()).http2_only();
    // A connection that breaks is the business of the client that broke it.
    drop(server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await);
}

/// What tonic answers, unless the fault is in what tonic does.
async fn answer(
    routes: Routes,
    fault: Fault,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Body>, tonic::Status> {
    let known =
        ["Status", "Version", "Encrypt", "Decrypt"].iter().any(|it| request.uri().path().ends_with(it));
    let unknown = fault == Fault::AnswersUnknownMethod && !known;
    if !unknown && fault != Fault::AnswersMalformed {
        return Ok(routes.oneshot(request.map(Body::new)).await.unwrap());
    }
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_or_else(|_| Bytes::new(), |it| it.to_bytes());
    let nonsense = body.len() == 5 + 24 && body[5..].iter().all(|it| *it == 0xff);
    if unknown || nonsense {
        let body = Body::new(Full::new(Bytes::from_static(&[0; 5])));
        return Ok(http::Response::builder().header("content-type", "application/grpc").body(body).unwrap());
    }
    let request = http::Request::from_parts(head, Body::new(Full::new(body)));
    Ok(routes.oneshot(request).await.unwrap())
}
