//! A listener of ours in front of a service that answers by its path, in this process.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use jiff::Timestamp;
use keystead_runtime::{Drained, Readiness, Report, Tasks};
use keystead_server::pki::Pki;
use keystead_server::{ConnectionLimits, Front, Listener, Metrics, Peer, Tls, TlsSettings};
use tonic::body::Body;

pub(crate) const LIMITS: ConnectionLimits =
    ConnectionLimits { total: 10_000, per_source: 10_000, unknown_per_source: 10_000 };

pub(crate) struct Echo {
    pub(crate) address: SocketAddr,
    pub(crate) plain: SocketAddr,
    pub(crate) pki: Arc<Pki>,
    pub(crate) tls: Arc<Tls>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tasks: Tasks,
    /// How many calls have begun to wait in `/hang`.
    pub(crate) hanging: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

struct Ready(Arc<Metrics>);

impl Report for Ready {
    fn readiness(&self) -> Readiness {
        Readiness { ready: false, text: "store: the detail\n".to_owned() }
    }

    fn metrics(&self) -> String {
        self.0.text()
    }
}

impl Echo {
    pub(crate) fn start() -> Self {
        Self::start_with(LIMITS, TlsSettings::default())
    }

    pub(crate) fn start_with(limits: ConnectionLimits, tls: TlsSettings) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        let pki = Arc::new(Pki::open(dir.path(), names, Timestamp::now()).expect("certificates"));
        let tls = Tls::open(tls, Arc::clone(&pki)).expect("TLS");
        let mut listener = Listener::new(limits, Duration::from_secs(5));
        let any = "127.0.0.1:0".parse().expect("an address");
        let address = listener.bind(any, Some(Arc::clone(&tls))).expect("bound");
        let plain = listener.bind(any, None).expect("bound");
        let (metrics, tasks) = (Arc::new(Metrics::default()), Tasks::default());
        let hanging = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&hanging);
        let service = tower::service_fn(move |request| answer(request, Arc::clone(&count)));
        let front = Front::new(service, Arc::new(Ready(Arc::clone(&metrics))), Arc::clone(&metrics));
        listener.spawn(front, Arc::clone(&metrics), &tasks);
        Self { address, plain, pki, tls, metrics, tasks, hanging, _dir: dir }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// A client that trusts our authority.
    pub(crate) fn client(&self) -> reqwest::ClientBuilder {
        let ca = reqwest::Certificate::from_pem_bundle(self.pki.ca_pem().as_bytes()).expect("a bundle");
        reqwest::Client::builder().tls_certs_only(ca).timeout(Duration::from_secs(20))
    }

    pub(crate) async fn stop(self) -> Drained {
        self.tasks.drain(Duration::from_secs(20)).await
    }
}

/// `/bytes/N` answers N bytes, `/panic` panics, `/hang` waits for 3 s, and so does `/known/hang`, which knows who calls; `/unread`
/// answers without reading, anything else says what came.
async fn answer(request: Request<Body>, hanging: Arc<AtomicUsize>) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Some(count) = path.strip_prefix("/bytes/") {
        let count = count.parse().expect("a number");
        return Ok(Response::new(Body::new(Full::new(Bytes::from(vec![b'x'; count])))));
    }
    let peer = Arc::clone(request.extensions().get::<Arc<Peer>>().expect("a peer"));
    if path.starts_with("/known/") {
        peer.identified();
    }
    match path.as_str() {
        "/panic" => panic!("on purpose"),
        "/unread" => return Ok(Response::new(Body::empty())),
        "/hang" | "/known/hang" => {
            hanging.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        _ => {}
    }
    let version = format!("{:?}", request.version());
    let uris = peer.certificate.as_ref().map(|certificate| certificate.uris.clone()).unwrap_or_default();
    let (status, body) = match request.into_body().collect().await {
        Ok(body) => (StatusCode::OK, format!("{} bytes", body.to_bytes().len())),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()),
    };
    let text = format!("{version} {body} tls={} uris={uris:?}\n", peer.tls);
    let mut response = Response::new(Body::new(Full::new(Bytes::from(text))));
    *response.status_mut() = status;
    Ok(response)
}
