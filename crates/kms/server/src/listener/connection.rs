//! One connection: handshake, then HTTP, until the client, a deadline or the end of the process closes it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tonic::body::Body;
use tower::ServiceExt;

use super::admission::Place;
use super::body::{self, Answer, Call};
use super::connect::{self, Wanted};
use super::observed::Observed;
use super::watch::{Close, Watch};
use super::{ClientCertificate, MAX_BODY_LEN, Peer, Serve, Shared};
use crate::methods::is_grpc;
use crate::tls::{AuthoritiesSeen, ClientChain, Tls};

/// A handshake is two round trips; nobody is that far away.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Calls under way on one connection; more wait in the client.
const MAX_CONCURRENT_STREAMS: u32 = 256;
/// A token of 4 KiB, and what tracing and proxies add.
const MAX_HEADER_LIST: u32 = 32 * 1024;
/// The smallest that hyper can keep, and room for the headers above.
const HTTP1_BUFFER: usize = 32 * 1024;
const MAX_HEADERS: usize = 100;
/// A body is taken as fast as it comes on any LAN; what a connection can make us hold is small.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What waits for the client of one stream.
const SEND_BUFFER: usize = 64 * 1024;
/// Rapid reset: streams that the client gave up before we looked at them.
const MAX_PENDING_RESETS: usize = 20;
/// Streams that we reset because the client broke the protocol.
const MAX_ERROR_RESETS: usize = 64;
/// A closed idle connection gets this for its farewell.
const IDLE_FAREWELL: Duration = Duration::from_secs(2);

/// Serves one connection to its end.
///
/// What only the beginning needs, and what hyper needs, is boxed: an idle connection then keeps no room for the handshake.
pub(super) async fn serve<S: Serve>(
    stream: TcpStream,
    address: SocketAddr,
    tls: Option<Arc<Tls>>,
    place: Place,
    service: S,
    shared: Arc<Shared>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %address, "no delay");
    }
    let builder = auto::Builder::new(TokioExecutor::new());
    let watch = Arc::clone(&place.watch);
    let connection = match tls {
        None => {
            let peer = Peer::new(address, false, None);
            http(stream, Client::new(peer, None, &watch), builder, service)
        }
        Some(tls) => {
            let stopping = shared.tasks.stopping();
            let shaking = handshake(stream, Arc::clone(&tls));
            let shaking = Box::pin(tokio::time::timeout(HANDSHAKE_DEADLINE, shaking));
            let shaken = tokio::select! {
                shaken = shaking => shaken,
                () = stopping.cancelled() => return,
                close = watch.closed() => return shared.metrics.closed_connection(close.name()),
            };
            let (stream, seen) = match shaken {
                Ok(Ok(shaken)) => shaken,
                Ok(Err(refused)) => {
                    tracing::debug!(%address, reason = %refused, "handshake");
                    return shared.metrics.failed_handshake(refused.name());
                }
                Err(_) => return shared.metrics.failed_handshake("too_slow"),
            };
            let (_, session) = stream.get_ref();
            let chain = session.peer_certificates();
            let certificate = match chain.and_then(<[_]>::first).map(ClientCertificate::parse) {
                Some(None) => return shared.metrics.failed_handshake("client_certificate"),
                parsed => parsed.flatten(),
            };
            let builder = match session.alpn_protocol() {
                Some(b"h2") => builder.http2_only(),
                Some(_) => builder.http1_only(),
                None => builder,
            };
            let chain = chain.map(|chain| ClientChain::new(tls, chain, seen));
            let peer = Peer::new(address, true, certificate);
            http(*stream, Client::new(peer, chain, &watch), builder, service)
        }
    };
    drive(connection, watch, shared).await;
    drop(place);
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error("plain HTTP on the TLS port")]
    PlainHttp,
    #[error("CONNECT to another host")]
    Elsewhere,
    #[error("{0}")]
    Tls(std::io::Error),
}

impl Refused {
    /// For metrics.
    fn name(&self) -> &'static str {
        match self {
            Self::PlainHttp => "plain_http",
            Self::Elsewhere => "connect_elsewhere",
            Self::Tls(error) => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
                Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
                    "client_certificate"
                }
                Some(rustls::Error::PeerIncompatible(_)) => "version_or_cipher",
                Some(rustls::Error::AlertReceived(_)) => "refused_by_client",
                Some(_) => "not_tls",
                None => "broken",
            },
        }
    }
}

async fn handshake(
    mut stream: TcpStream,
    tls: Arc<Tls>,
) -> Result<(Box<TlsStream<TcpStream>>, AuthoritiesSeen), Refused> {
    // A TLS record begins with 22, no HTTP method does.
    let mut first = [0];
    let peeked = stream.peek(&mut first).await.map_err(Refused::Tls)?;
    if peeked == 1 && first[0].is_ascii_uppercase() {
        let wanted = match first[0] {
            b'C' => connect::answer(&mut stream, &tls).await.map_err(Refused::Tls)?,
            _ => Wanted::NoTunnel,
        };
        match wanted {
            Wanted::Here => {}
            Wanted::Elsewhere => return Err(Refused::Elsewhere),
            Wanted::NoTunnel => return Err(say_https(&mut stream).await),
        }
    }
    let (acceptor, seen) = tls.acceptor();
    let stream = acceptor.accept(stream).await.map_err(Refused::Tls)?;
    Ok((Box::new(stream), seen))
}

/// A person who forgot the `s` gets a sentence.
async fn say_https(stream: &mut TcpStream) -> Refused {
    const ANSWER: &str = "this port speaks TLS: write https:// in place of http://\n";
    let head = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        ANSWER.len()
    );
    if let Err(error) = stream.write_all([head.as_bytes(), ANSWER.as_bytes()].concat().as_slice()).await {
        tracing::debug!(%error, "plain HTTP");
    }
    Refused::PlainHttp
}

/// What the calls of one connection share.
struct Client {
    peer: Arc<Peer>,
    chain: Option<ClientChain>,
    watch: Arc<Watch>,
}

impl Client {
    fn new(peer: Peer, chain: Option<ClientChain>, watch: &Arc<Watch>) -> Arc<Self> {
        let peer = Peer { identified: watch.identified(), ..peer };
        Arc::new(Self { peer: Arc::new(peer), chain, watch: Arc::clone(watch) })
    }

    /// Whom the next call comes from. When the certificate's authority was removed it is nobody, and the connection ends after the
    /// calls under way, so that the client learns the reason from the next handshake.
    fn caller(&self) -> Arc<Peer> {
        match &self.chain {
            Some(chain) if !chain.is_trusted() => {
                self.watch.close(Close::Untrusted);
                Arc::new(Peer::new(self.peer.address, self.peer.tls, None))
            }
            _ => Arc::clone(&self.peer),
        }
    }
}

/// A connection on which HTTP is spoken.
trait Http: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send {
    /// No new calls; ends after those under way.
    fn say_farewell(self: Pin<&mut Self>);
}

impl<I, S> Http for auto::Connection<'static, I, S, TokioExecutor>
where
    Self: Future<Output = Result<(), Box<dyn std::error::Error + Send + Sync>>> + Send,
    S: hyper::service::Service<Request<Incoming>, Response = Response<Answer<Body>>, Error = Infallible>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
{
    fn say_farewell(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn http<S: Serve>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    client: Arc<Client>,
    mut builder: auto::Builder<TokioExecutor>,
    service: S,
) -> Pin<Box<dyn Http>> {
    builder
        .http1()
        // The watch does it: hyper's timer cannot tell an idle connection from half a request.
        .header_read_timeout(None)
        .max_buf_size(HTTP1_BUFFER)
        .max_headers(MAX_HEADERS)
        .http2()
        .max_concurrent_streams(MAX_CONCURRENT_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let io = TokioIo::new(Observed::new(stream, Arc::clone(&client.watch), Instant::now()));
    let service =
        service_fn(move |request: Request<Incoming>| call(request, Arc::clone(&client), service.clone()));
    Box::pin(builder.serve_connection(io, service).into_owned())
}

async fn drive(mut connection: Pin<Box<dyn Http>>, watch: Arc<Watch>, shared: Arc<Shared>) {
    let _open = shared.metrics.connection();
    let stopping = shared.tasks.stopping();
    let (ended, farewell) = tokio::select! {
        ended = connection.as_mut() => (Some(ended), Duration::ZERO),
        close = watch.closed() => {
            shared.metrics.closed_connection(close.name());
            let farewell = match close {
                Close::Idle => IDLE_FAREWELL,
                Close::Untrusted => shared.farewell,
                Close::GaveWay | Close::SlowRequest | Close::SlowAnswer => Duration::ZERO,
            };
            (None, farewell)
        }
        () = stopping.cancelled() => (None, shared.farewell),
    };
    let ended = match ended {
        Some(ended) => ended,
        None if farewell.is_zero() => return,
        None => {
            connection.as_mut().say_farewell();
            tokio::select! {
                ended = connection => ended,
                // Whoever is slow does not hold up the end.
                _ = watch.closed(), if stopping.is_cancelled() => return,
                () = tokio::time::sleep(farewell) => return,
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended");
    }
}

async fn call<S: Serve>(
    request: Request<Incoming>,
    client: Arc<Client>,
    service: S,
) -> Result<Response<Answer<Body>>, Infallible> {
    let http2 = request.version() == Version::HTTP_2;
    let call = Call::begin(Arc::clone(&client.watch), http2);
    // What says itself that it is too long is refused before a byte of it is read.
    if request.body().size_hint().lower() > MAX_BODY_LEN {
        return Ok(too_long(&request).map(|body| Answer::new(body, call)));
    }
    let mut request = request.map(|incoming| Body::new(body::Request::new(incoming)));
    request.extensions_mut().insert(client.caller());
    let response = service.oneshot(request).await?;
    Ok(response.map(|body| Answer::new(body, call)))
}

fn too_long(request: &Request<Incoming>) -> Response<Body> {
    let text = format!("the request is longer than {MAX_BODY_LEN} bytes");
    if is_grpc(request.headers()) {
        return tonic::Status::resource_exhausted(text).into_http();
    }
    let json = format!(r#"{{"error":{{"code":413,"message":"{text}","status":"INVALID_ARGUMENT"}}}}"#);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(json.len()));
    if request.version() != Version::HTTP_2 {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|_| Body::new(http_body_util::Full::new(Bytes::from(json))))
}
