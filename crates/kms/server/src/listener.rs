//! The port: TLS, HTTP/1 and HTTP/2, and everything that keeps hostile or broken clients from harming others.
//!
//! One accept loop of our own for each address. A connection passes admission (caps), the handshake (deadline), and is
//! then served by hyper, watched by one sweep a second. Read [`Listener`] first, then `connection.rs`.

mod admission;
mod body;
mod connect;
mod connection;
mod frames;
mod observed;
mod peer;
mod watch;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tonic::body::Body;
use tower::Service;

use keystead_runtime::Tasks;

use crate::metrics::Metrics;
use crate::tls::Tls;

pub use admission::ConnectionLimits;
pub use body::{BodyError, MAX_BODY_LEN};
pub use peer::{ClientCertificate, Peer};

use admission::{Admission, Full};

/// Waiting connections that the kernel keeps: a storm of 5,000 a second is taken without a refusal.
const BACKLOG: u32 = 4_096;
/// After an accept error such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Deadlines of connections are kept to the second.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What serves requests, REST and gRPC alike. Each request carries an `Arc<Peer>` as an extension.
pub trait Serve:
    Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Serve for S where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Bound addresses that are not served yet.
pub struct Listener {
    sockets: Vec<Bound>,
    limits: ConnectionLimits,
    /// How long calls under way may take at the end.
    farewell: Duration,
}

struct Bound {
    socket: TcpListener,
    address: SocketAddr,
    /// None for plain HTTP.
    tls: Option<Arc<Tls>>,
}

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    pub(crate) farewell: Duration,
}

impl Listener {
    /// Nothing is bound.
    pub fn new(limits: ConnectionLimits, farewell: Duration) -> Self {
        Self { sockets: Vec::new(), limits, farewell }
    }

    /// Binds one more address; without `tls` it speaks plain HTTP, which only a loopback address may.
    pub fn bind(&mut self, address: SocketAddr, tls: Option<Arc<Tls>>) -> std::io::Result<SocketAddr> {
        if tls.is_none() && !address.ip().is_loopback() {
            let text = format!("plain HTTP is for loopback addresses, and {address} is none");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, text));
        }
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A restart must not wait for connections of the process before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let socket = socket.listen(BACKLOG)?;
        let address = socket.local_addr()?;
        self.sockets.push(Bound { socket, address, tls });
        Ok(address)
    }

    /// Serves until the tasks stop; then no new connections, and those that are open end after the calls under way.
    pub fn spawn<S: Serve>(self, service: S, metrics: Arc<Metrics>, tasks: &Tasks) {
        let admission = Arc::new(Admission::new(self.limits));
        for full in Full::ALL {
            metrics.may_refuse_connections(full.name());
        }
        let shared = Arc::new(Shared { metrics, tasks: tasks.clone(), farewell: self.farewell });
        for bound in self.sockets {
            let (service, admission, shared) = (service.clone(), Arc::clone(&admission), Arc::clone(&shared));
            tasks.spawn("listener", accept(bound, service, admission, shared));
        }
        tasks.spawn("connection sweep", sweep(admission, tasks.clone()));
    }
}

async fn accept<S: Serve>(bound: Bound, service: S, admission: Arc<Admission>, shared: Arc<Shared>) {
    let stopping = shared.tasks.stopping();
    loop {
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            () = stopping.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, address = %bound.address, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        match admission.admit(address.ip(), Instant::now()) {
            Ok(place) => {
                let served = connection::serve(
                    stream,
                    address,
                    bound.tls.clone(),
                    place,
                    service.clone(),
                    Arc::clone(&shared),
                );
                shared.tasks.spawn("connection", served);
            }
            // Closed at once: a client in the kernel's queue would wait for nothing.
            Err(full) => {
                shared.metrics.refused_connection(full.name());
                reset(stream);
            }
        }
    }
}

/// Without a farewell and without a socket that lingers.
fn reset(stream: TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "linger");
    }
}

async fn sweep(admission: Arc<Admission>, tasks: Tasks) {
    let stopping = tasks.stopping();
    loop {
        tokio::select! {
            () = tokio::time::sleep(SWEEP_INTERVAL) => admission.sweep(Instant::now()),
            () = stopping.cancelled() => return,
        }
    }
}
