//! The admin port: `/livez`, `/readyz`, `/metrics` over plain HTTP, on loopback only.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::Tasks;

/// A probe and a scraper or two; more is a mistake or an attack. When it is reached the oldest connection is closed: one that
/// asks is answered and closed in a millisecond, so the oldest is one that is silent, and nobody can keep others out.
const MAX_CONNECTIONS: usize = 32;
/// A request for one of three paths is read at once.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// After an accept error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the port tells.
pub trait Report: Send + Sync + 'static {
    /// Text of `/readyz`, and whether it is 200 or 503.
    fn readiness(&self) -> Readiness;

    /// Text of `/metrics`, in OpenMetrics form.
    fn metrics(&self) -> String;
}

/// An answer of `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// 200 or 503.
    pub ready: bool,
    /// Why, for a person.
    pub text: String,
}

/// A bound admin port.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Binds. Anything but a loopback address is refused: what the port says is not for the network.
    pub async fn bind(address: SocketAddr) -> std::io::Result<Self> {
        if !address.ip().is_loopback() {
            let text = format!("{address} is not a loopback address");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Where it listens: the real port when 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until the tasks stop.
    pub async fn serve(self, report: Arc<dyn Report>, tasks: Tasks) {
        let stopping = tasks.stopping();
        let mut open = Open::default();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stopping.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let (report, stopping, place) = (Arc::clone(&report), stopping.clone(), open.enter());
            tasks.spawn("admin connection", async move {
                tokio::select! {
                    () = serve_connection(stream, report) => {}
                    () = place.cancelled() => {}
                    () = stopping.cancelled() => {}
                }
            });
        }
    }
}

/// The open connections, oldest first. A connection holds its token as long as it is open.
#[derive(Default)]
struct Open(VecDeque<Weak<CancellationToken>>);

impl Open {
    /// Makes room for one more, and gives what tells that one to close.
    fn enter(&mut self) -> Arc<CancellationToken> {
        self.0.retain(|token| token.strong_count() > 0);
        while self.0.len() >= MAX_CONNECTIONS {
            if let Some(oldest) = self.0.pop_front().and_then(|token| token.upgrade()) {
                oldest.cancel();
            }
        }
        let token = Arc::new(CancellationToken::new());
        self.0.push_back(Arc::downgrade(&token));
        token
    }
}

async fn serve_connection(stream: TcpStream, report: Arc<dyn Report>) {
    let service = service_fn(move |request| {
        let response = answer(&request, &*report);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "admin connection");
    }
}

fn answer<B>(request: &Request<B>, report: &dyn Report) -> Response<Full<Bytes>> {
    const TEXT: &str = "text/plain; charset=utf-8";
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    if request.method() != Method::GET {
        return respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is allowed\n".to_owned());
    }
    match request.uri().path() {
        // Shallow on purpose: a restart heals nothing that a backend breaks, and drops what is cached.
        "/livez" => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => {
            let Readiness { ready, text } = report.readiness();
            let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            respond(status, TEXT, text)
        }
        "/metrics" => respond(StatusCode::OK, OPEN_METRICS, report.metrics()),
        _ => respond(StatusCode::NOT_FOUND, TEXT, "here are /livez, /readyz and /metrics\n".to_owned()),
    }
}

fn respond(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(content_type));
    response
}
