//! Answers that a real API server does not give on demand, from one that is played: expired tokens, throttling, a full etcd, failures
//! in a given order, and the Leases of hosts that are not there. It stands in for nothing else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use keystead_cluster::api::ApiServer;
use keystead_testkit::api;

use crate::scene::connect;

/// Answers instead: gets method, path with query, and how many patches came before.
pub(crate) type Instead = Box<dyn FnMut(&str, &str, usize) -> Option<Answer> + Send>;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) message: String,
    /// The object that Kubernetes says is not there.
    pub(crate) missing: Option<&'static str>,
    pub(crate) continue_token: Option<String>,
    /// Instead of a `Status`.
    pub(crate) body: Option<Value>,
}

impl Answer {
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
        Self {
            status,
            retry_after: None,
            message: message.into(),
            missing: None,
            continue_token: None,
            body: None,
        }
    }

    pub(crate) fn missing(name: &'static str) -> Self {
        Self { missing: Some(name), ..Self::new(404, format!("secrets \"{name}\" not found")) }
    }
}

pub(crate) struct Fake {
    pub(crate) server: ApiServer,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) url: String,
    _directory: tempfile::TempDir,
    _tasks: JoinSet<()>,
}

pub(crate) struct State {
    uid: &'static str,
    /// The resource version of each object; an even one is stale.
    pub(crate) versions: Vec<u64>,
    /// When each patch came.
    pub(crate) patches: Vec<Instant>,
    pub(crate) lists: Vec<String>,
    pub(crate) instead: Option<Instead>,
    /// Of kube-system, by name.
    leases: BTreeMap<String, Value>,
    /// Method and path of each call about a Lease.
    pub(crate) lease_calls: Vec<String>,
    /// The resource version that the next change of a Lease gets.
    lease_version: u64,
}

impl Fake {
    /// So many Secrets, all of them stale.
    pub(crate) async fn start(objects: usize, instead: Option<Instead>) -> Result<Self> {
        Self::start_as("cluster-a", objects, instead).await
    }

    pub(crate) async fn start_as(
        uid: &'static str,
        objects: usize,
        instead: Option<Instead>,
    ) -> Result<Self> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = State {
            uid,
            versions: vec![2; objects],
            patches: Vec::new(),
            lists: Vec::new(),
            instead,
            leases: BTreeMap::new(),
            lease_calls: Vec::new(),
            lease_version: 1,
        };
        let state = Arc::new(Mutex::new(state));
        let mut tasks = JoinSet::new();
        let shared = Arc::clone(&state);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let shared = Arc::clone(&shared);
                        async move {
                            let (parts, body) = request.into_parts();
                            let body = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
                            let request = Request::from_parts(parts, body);
                            Ok::<_, Infallible>(shared.lock().expect("not poisoned").answer(&request))
                        }
                    });
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        let directory = tempfile::tempdir()?;
        let kubeconfig = directory.path().join("fake.conf");
        std::fs::write(&kubeconfig, api::kubeconfig(&url, None, "token"))?;
        Ok(Self { server: connect(&kubeconfig).await?, state, url, _directory: directory, _tasks: tasks })
    }

    pub(crate) fn rewritten(&self) -> usize {
        let state = self.state.lock().expect("not poisoned");
        state.versions.iter().filter(|it| *it % 2 == 1).count()
    }

    /// A Lease of kube-system, if it is there.
    pub(crate) fn lease(&self, name: &str) -> Option<Value> {
        self.state.lock().expect("not poisoned").leases.get(name).cloned()
    }

    /// Somebody else writes it, whatever its version is.
    pub(crate) fn put_lease(&self, lease: Value) {
        self.state.lock().expect("not poisoned").keep_lease(lease);
    }
}

impl State {
    fn answer(&mut self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let count = self.patches.len();
        if request.method() == "PATCH" {
            self.patches.push(Instant::now());
        }
        if let Some(answer) = self.instead.as_mut().and_then(|it| it(request.method().as_str(), &path, count))
        {
            if let Some(body) = &answer.body {
                return response(answer.status, answer.retry_after, body);
            }
            let metadata = json!({"continue": answer.continue_token});
            let mut body = json!({"kind": "Status", "message": answer.message, "metadata": metadata});
            if let Some(name) = answer.missing {
                body["reason"] = "NotFound".into();
                body["details"] = json!({"kind": "secrets", "name": name});
            }
            return response(answer.status, answer.retry_after, &body);
        }
        if let Some(name) = request.uri().path().strip_prefix(LEASES) {
            let name = name.trim_start_matches('/');
            self.lease_calls.push(format!("{} {name}", request.method()));
            let body = serde_json::from_slice(request.body()).unwrap_or_default();
            let (status, body) = self.answer_lease(request.method().as_str(), name, body);
            return response(status, None, &body);
        }
        let body = match (request.method().as_str(), request.uri().path()) {
            ("GET", "/api/v1/namespaces/kube-system") => json!({"metadata": {"uid": self.uid}}),
            ("GET", "/apis") => json!({"groups": []}),
            ("GET", "/apis/apiregistration.k8s.io/v1/apiservices") => json!({"items": []}),
            ("GET", "/api/v1") => json!({"resources": [
                {"name": "secrets", "namespaced": true, "verbs": ["list", "patch"]},
                {"name": "configmaps", "namespaced": true, "verbs": ["list", "patch"]},
            ]}),
            ("GET", "/api/v1/secrets") => self.list(request.uri().query().unwrap_or_default()),
            ("GET", "/api/v1/configmaps") => json!({"metadata": {}, "items": null}),
            (method, path) => {
                match path.rsplit_once("/o-").and_then(|(_, index)| index.parse::<usize>().ok()) {
                    Some(index) => {
                        let version = &mut self.versions[index];
                        *version |= u64::from(method == "PATCH");
                        object(index, *version)
                    }
                    None => return response(404, None, &json!({"message": "not found"})),
                }
            }
        };
        response(200, None, &body)
    }

    /// As kube-apiserver does: nobody writes over what they have not read.
    fn answer_lease(&mut self, method: &str, name: &str, body: Value) -> (u16, Value) {
        let there = match method {
            "POST" => self.leases.get(body["metadata"]["name"].as_str().unwrap_or_default()),
            _ => self.leases.get(name),
        };
        let wanted = match method {
            "DELETE" => &body["preconditions"]["resourceVersion"],
            _ => &body["metadata"]["resourceVersion"],
        };
        match (method, there) {
            ("POST", Some(_)) => (409, json!({"message": "it exists"})),
            ("POST", None) => (201, self.keep_lease(body)),
            (_, None) => (404, json!({"message": "not found"})),
            ("GET", Some(lease)) => (200, lease.clone()),
            (_, Some(lease)) if lease["metadata"]["resourceVersion"] != *wanted => {
                (409, json!({"message": "it was changed"}))
            }
            ("DELETE", Some(_)) => (200, self.leases.remove(name).unwrap_or_default()),
            _ => (200, self.keep_lease(body)),
        }
    }

    fn keep_lease(&mut self, mut lease: Value) -> Value {
        lease["metadata"]["resourceVersion"] = self.lease_version.to_string().into();
        self.lease_version += 1;
        let name = lease["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.leases.insert(name, lease.clone());
        lease
    }

    fn list(&mut self, query: &str) -> Value {
        self.lists.push(query.to_owned());
        let value = |name: &str| {
            query.split('&').find_map(|it| it.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default()
        };
        let start: usize = value("continue").trim_start_matches('i').parse().unwrap_or(0);
        let end = (start + value("limit").parse::<usize>().unwrap_or(usize::MAX)).min(self.versions.len());
        let items: Vec<_> = (start..end).map(|index| object(index, self.versions[index])).collect();
        let left = self.versions.len() - end;
        match left {
            0 => json!({"metadata": {}, "items": items}),
            _ => {
                json!({"metadata": {"continue": format!("i{end}"), "remainingItemCount": left}, "items": items})
            }
        }
    }
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";

fn object(index: usize, version: u64) -> Value {
    json!({"metadata": {"name": format!("o-{index}"), "namespace": "n", "resourceVersion": version.to_string()}})
}

fn response(status: u16, retry_after: Option<u64>, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(http::header::RETRY_AFTER, seconds.into());
    }
    response
}
