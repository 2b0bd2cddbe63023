//! A listener that answers each HTTP/2 request with what a closure makes of it, over TLS or without.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) type Body = UnsyncBoxBody<Bytes, Broken>;
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Ends a body in the middle.
#[derive(Debug)]
pub(crate) struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken off")
    }
}

impl std::error::Error for Broken {}

/// Stops with all its connections when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Server {
    pub(crate) async fn start(
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(Parts, Bytes) -> Answer + Send + Sync + 'static,
    ) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), tls, answer).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(Parts, Bytes) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        let answer: Arc<dyn Fn(Parts, Bytes) -> Answer + Send + Sync> = Arc::new(move |parts, body| {
            counted.fetch_add(1, Ordering::SeqCst);
            answer(parts, body)
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (tls, answer) = (tls.clone(), Arc::clone(&answer));
                connections.spawn(async move { connection(stream, tls, answer).await });
            }
        });
        Self { address, requests, _tasks: tasks }
    }

    /// How many requests came through, whatever was answered.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    answer: Arc<dyn Fn(Parts, Bytes) -> Answer + Send + Sync>,
) {
    match tls {
        None => serve(stream, answer).await,
        Some(config) => {
            if let Ok(stream) = TlsAcceptor::from(config).accept(stream).await {
                serve(stream, answer).await;
            }
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    answer: Arc<dyn Fn(Parts, Bytes) -> Answer + Send + Sync>,
) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = Arc::clone(&answer);
        async move {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            Ok::<_, Infallible>(answer(parts, bytes).await)
        }
    });
    // A client that goes away is no failure of a test.
    drop(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await);
}

/// A response in gRPC with these frames as its body.
pub(crate) fn grpc(frames: Vec<Result<Frame<Bytes>, Broken>>) -> Response<Body> {
    let mut response = Response::new(body(frames));
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

pub(crate) fn body(frames: Vec<Result<Frame<Bytes>, Broken>>) -> Body {
    Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}

/// One message as gRPC frames it.
pub(crate) fn message(message: &impl Message) -> Frame<Bytes> {
    framed(0, &message.encode_to_vec())
}

/// With any flag and any bytes.
pub(crate) fn framed(flag: u8, bytes: &[u8]) -> Frame<Bytes> {
    let mut frame = vec![flag];
    frame.extend_from_slice(&u32::try_from(bytes.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(bytes);
    Frame::data(frame.into())
}

/// The end of an answer.
pub(crate) fn trailers(pairs: &[(&'static str, &str)]) -> Frame<Bytes> {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.insert(*name, HeaderValue::from_str(value).expect("a header value"));
    }
    Frame::trailers(map)
}

/// An answer that is good.
pub(crate) fn ok(answer: &impl Message) -> Response<Body> {
    grpc(vec![Ok(message(answer)), Ok(trailers(&[("grpc-status", "0")]))])
}

/// An answer that is an error, with headers only.
pub(crate) fn refuse(code: tonic::Code, text: &str) -> Response<Body> {
    let mut response = grpc(vec![]);
    let code = (code as i32).to_string();
    response.headers_mut().insert("grpc-status", HeaderValue::from_str(&code).expect("a number"));
    response.headers_mut().insert("grpc-message", HeaderValue::from_str(text).expect("plain text"));
    response
}
