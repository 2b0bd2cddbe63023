//! Callers that close their connection while the disk still works for them.

use std::convert::Infallible;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::handshake;
use http::{Request, Response};
use keystead_proto::cloud_kms::crypto_key_version::CryptoKeyVersionState;
use keystead_proto::cloud_kms::{CryptoKeyVersion, UpdateCryptoKeyVersionRequest};
use keystead_runtime::{Readiness, Report, Tasks};
use keystead_server::{Front, Listener, Metrics};
use keystead_store::{Batch, Changes, Entry, Pending, Revision, Store};
use prost::Message as _;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tower::ServiceExt as _;

use super::{KEY, Server};
use crate::echo::LIMITS;

/// Far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A database whose sync takes as long as the test wants: a commit is written, and its answer waits.
struct SlowDisk {
    inner: Arc<dyn Store>,
    gate: Arc<Gate>,
}

struct Gate {
    /// One permit for each answer that may go out; all of them while nothing is held back.
    permits: Semaphore,
    /// How many commits are written and wait.
    waiting: watch::Sender<usize>,
}

impl Gate {
    /// Far more than there are commits here.
    const ALL: usize = 1_000_000;

    fn hold(&self) {
        self.permits.forget_permits(Self::ALL);
    }

    fn release(&self) {
        self.permits.add_permits(Self::ALL);
    }
}

impl Store for SlowDisk {
    fn get<'a>(&'a self, name: &'a str) -> Pending<'a, Option<Entry>> {
        self.inner.get(name)
    }

    fn list<'a>(&'a self, prefix: &'a str, after: &'a str, limit: usize) -> Pending<'a, Vec<Entry>> {
        self.inner.list(prefix, after, limit)
    }

    fn count<'a>(&'a self, prefix: &'a str) -> Pending<'a, u64> {
        self.inner.count(prefix)
    }

    fn commit(&self, batch: Batch) -> Pending<'_, Revision> {
        Box::pin(async move {
            let revision = self.inner.commit(batch).await;
            self.gate.waiting.send_modify(|waiting| *waiting += 1);
            self.gate.permits.acquire().await.expect("never closed").forget();
            self.gate.waiting.send_modify(|waiting| *waiting -= 1);
            revision
        })
    }

    fn changes(&self, since: Revision) -> Pending<'_, Changes> {
        self.inner.changes(since)
    }

    fn writable(&self) -> Pending<'_, ()> {
        self.inner.writable()
    }

    fn is_erasing(&self) -> bool {
        self.inner.is_erasing()
    }
}

/// Counts calls under way; a call that is dropped in the middle is under way no more.
struct UnderWay(Arc<watch::Sender<usize>>);

impl UnderWay {
    fn begin(calls: &Arc<watch::Sender<usize>>) -> Self {
        calls.send_modify(|calls| *calls += 1);
        Self(Arc::clone(calls))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|calls| *calls -= 1);
    }
}

struct NoReport;

impl Report for NoReport {
    fn readiness(&self) -> Readiness {
        Readiness { ready: true, text: String::new() }
    }

    fn metrics(&self) -> String {
        String::new()
    }
}

/// How a caller asks, and then goes away.
#[derive(Clone, Copy, Debug)]
enum Wire {
    Http1,
    Http2,
    Grpc,
}

/// A change, as each wire sends it.
struct Change {
    method: &'static str,
    path: String,
    body: Value,
    grpc: Option<(&'static str, Vec<u8>)>,
    audit_name: &'static str,
}

/// A server on a port, whose disk can be held.
struct Scene {
    server: Server,
    gate: Arc<Gate>,
    calls: Arc<watch::Sender<usize>>,
    address: SocketAddr,
    tasks: Tasks,
}

impl Scene {
    async fn new() -> Self {
        let gate = Arc::new(Gate { permits: Semaphore::new(Gate::ALL), waiting: watch::Sender::new(0) });
        let on = Arc::clone(&gate);
        let server = Server::on(|inner| Arc::new(SlowDisk { inner, gate: on })).await.and_key().await;
        let calls = Arc::new(watch::Sender::new(0));
        let (api, counted) = (server.api.clone(), Arc::clone(&calls));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (api, under_way) = (api.clone(), UnderWay::begin(&counted));
            async move {
                let response: Result<Response<Body>, Infallible> = api.oneshot(request).await;
                drop(under_way);
                response
            }
        });
        let metrics = Arc::new(Metrics::default());
        let front = Front::new(service, Arc::new(NoReport), Arc::clone(&metrics));
        let tasks = Tasks::default();
        let mut listener = Listener::new(LIMITS, Duration::from_secs(5));
        let address = listener.bind("127.0.0.1:0".parse().expect("an address"), None).expect("bound");
        listener.spawn(front, metrics, &tasks);
        Self { server, gate, calls, address, tasks }
    }

    /// Sends a change, and closes the connection once it is written and not answered.
    async fn ask_and_go(&self, wire: Wire, change: &Change) {
        let authorization = format!("Bearer {}", self.server.admin);
        let body = change.body.to_string();
        match wire {
            Wire::Http1 => {
                let (method, path) = (change.method, &change.path);
                let text = format!(
                    "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {authorization}\r\n\
                     content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                let mut stream = std::net::TcpStream::connect(self.address).expect("connected");
                stream.write_all(text.as_bytes()).expect("sent");
                self.until_written().await;
                drop(stream);
            }
            Wire::Http2 | Wire::Grpc => {
                let (method, path, content_type, bytes) = match (&change.grpc, wire) {
                    (Some((path, message)), Wire::Grpc) => {
                        let length = u32::try_from(message.len()).expect("short").to_be_bytes();
                        let framed = [&[0][..], &length, message].concat();
                        ("POST", (*path).to_owned(), "application/grpc", framed)
                    }
                    _ => (change.method, change.path.clone(), "application/json", body.into_bytes()),
                };
                let request = Request::builder()
                    .method(method)
                    .uri(format!("http://localhost{path}"))
                    .header("authorization", authorization)
                    .header("content-type", content_type)
                    .header("te", "trailers")
                    .body(())
                    .expect("a request");
                let stream = tokio::net::TcpStream::connect(self.address).await.expect("connected");
                let (sender, connection) = handshake(stream).await.expect("HTTP/2");
                let mut driver = tokio::task::JoinSet::new();
                driver.spawn(connection);
                let mut sender = sender.ready().await.expect("ready");
                let (answer, mut stream) = sender.send_request(request, false).expect("sent");
                stream.send_data(Bytes::from(bytes), true).expect("sent");
                self.until_written().await;
                driver.shutdown().await;
                drop((answer, stream, sender));
            }
        }
        self.until(&self.calls, 0).await;
    }

    async fn until_written(&self) {
        self.until(&self.gate.waiting, 1).await;
    }

    async fn until(&self, counter: &watch::Sender<usize>, wanted: usize) {
        let mut seen = counter.subscribe();
        let reached = tokio::time::timeout(PATIENCE, seen.wait_for(|now| *now == wanted)).await;
        reached.expect("in time").expect("there");
    }

    fn times_recorded(&self, name: &str) -> usize {
        let needle = format!("\"methodName\":\"{name}\"");
        self.server.audit_text().matches(&needle).count()
    }

    /// The change with a caller that goes away, until its record is in the log.
    async fn happens(&self, wire: Wire, change: &Change) {
        let before = self.times_recorded(change.audit_name);
        self.gate.hold();
        self.ask_and_go(wire, change).await;
        assert_eq!(self.times_recorded(change.audit_name), before, "the disk still works for it");
        self.gate.release();
        let recorded = async {
            while self.times_recorded(change.audit_name) == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, recorded).await.expect("recorded without a restart");
        assert_eq!(self.times_recorded(change.audit_name), before + 1, "once");
    }
}

async fn encrypt_as(server: &Server, token: &str) -> u16 {
    let body = json!({ "plaintext": "aGk=" }).to_string();
    server.call_as(token, "POST", &format!("/v1/{KEY}:encrypt"), &body).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_change_whose_caller_closes_the_connection_counts_and_is_recorded() {
    for wire in [Wire::Http1, Wire::Http2, Wire::Grpc] {
        let scene = Scene::new().await;
        let (server, alice) = (&scene.server, scene.server.token_of("user:alice@example.com").await);
        let bob = server.token_of("user:bob@example.com").await;
        let role = "roles/cloudkms.cryptoKeyEncrypter";
        let allowed = [(role, "user:alice@example.com"), (role, "user:bob@example.com")];
        server.bind(KEY, &allowed).await;
        // All of it is in memory now.
        for token in [&server.admin, &alice, &bob] {
            assert_eq!(encrypt_as(server, token).await, 200, "{wire:?}");
        }

        let id = alice.split('_').nth(1).expect("a token has an id");
        let revoke = Change {
            method: "DELETE",
            path: format!("/keystead/v1/tokens/{id}"),
            body: json!({}),
            grpc: None,
            audit_name: "RevokeToken",
        };
        scene.happens(wire, &revoke).await;
        assert_eq!(encrypt_as(server, &alice).await, 401, "{wire:?}");

        let empty = Change {
            method: "POST",
            path: format!("/v1/{KEY}:setIamPolicy"),
            body: json!({ "policy": {} }),
            grpc: None,
            audit_name: "SetIamPolicy",
        };
        scene.happens(wire, &empty).await;
        assert_eq!(encrypt_as(server, &bob).await, 403, "{wire:?}");

        let version = CryptoKeyVersion {
            name: format!("{KEY}/cryptoKeyVersions/1"),
            state: CryptoKeyVersionState::Disabled.into(),
            ..Default::default()
        };
        let message = UpdateCryptoKeyVersionRequest {
            crypto_key_version: Some(version),
            update_mask: Some(prost_types::FieldMask { paths: vec!["state".to_owned()] }),
        };
        let disable = Change {
            method: "PATCH",
            path: format!("/v1/{KEY}/cryptoKeyVersions/1?updateMask=state"),
            body: json!({ "state": "DISABLED" }),
            grpc: Some((
                "/google.cloud.kms.v1.KeyManagementService/UpdateCryptoKeyVersion",
                message.encode_to_vec(),
            )),
            audit_name: "UpdateCryptoKeyVersion",
        };
        scene.happens(wire, &disable).await;
        assert_eq!(encrypt_as(server, &server.admin).await, 400, "{wire:?}");
        scene.tasks.drain(PATIENCE).await;
    }
}
