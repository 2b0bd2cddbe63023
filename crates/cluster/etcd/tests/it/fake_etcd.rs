//! An etcd in memory behind real gRPC: one state without history, revisions, compaction and large pages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use keystead_etcd::{Connection, Etcd};
use keystead_proto::etcd::kv_server::{Kv, KvServer};
use keystead_proto::etcd::{KeyValue, PutRequest, PutResponse, RangeRequest, RangeResponse, ResponseHeader};
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status};

/// Ends when dropped.
pub(crate) struct FakeEtcd {
    state: Arc<Mutex<State>>,
    endpoint: String,
    _task: JoinSet<()>,
}

#[derive(Default)]
pub(crate) struct State {
    values: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) revision: i64,
    /// Older revisions are gone.
    pub(crate) compacted: i64,
    /// All ranges asked for.
    pub(crate) requests: Vec<RangeRequest>,
    /// Answers in descending order, as etcd never does.
    pub(crate) disorder: bool,
    /// Says that more keys follow, whatever follows.
    pub(crate) always_more: bool,
}

impl FakeEtcd {
    pub(crate) async fn start() -> Self {
        Self::start_server(Server::builder(), "http").await
    }

    pub(crate) async fn start_with_tls(tls: ServerTlsConfig) -> Self {
        Self::start_server(Server::builder().tls_config(tls).expect("TLS"), "https").await
    }

    async fn start_server(mut server: Server, scheme: &str) -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let endpoint = format!("{scheme}://{}", listener.local_addr().expect("address"));
        let service = KvServer::new(Service(state.clone()));
        let incoming = TcpIncoming::from(listener);
        let mut task = JoinSet::new();
        task.spawn(async move {
            server.add_service(service).serve_with_incoming(incoming).await.expect("serves");
        });
        Self { state, endpoint, _task: task }
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) async fn client(&self) -> Etcd {
        Etcd::connect(&Connection::plain(self.endpoint())).await.expect("connects")
    }

    pub(crate) fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        let mut state = self.state();
        state.revision += 1;
        state.values.insert(key.into(), value.into());
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }
}

struct Service(Arc<Mutex<State>>);

#[tonic::async_trait]
impl Kv for Service {
    async fn range(&self, request: Request<RangeRequest>) -> Result<Response<RangeResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.0.lock().expect("not poisoned");
        // A client that has connected asks for it.
        if request.key != b"\0" || !request.range_end.is_empty() {
            state.requests.push(request.clone());
        }
        if request.revision != 0 && request.revision < state.compacted {
            return Err(Status::out_of_range("etcdserver: mvcc: required revision has been compacted"));
        }
        let end = match request.range_end.as_slice() {
            b"" => [request.key.as_slice(), &[0]].concat(),
            b"\0" => vec![0xff; 64],
            end => end.to_vec(),
        };
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        let range = state.values.range(request.key..end);
        let count = range.clone().count();
        let mut kvs: Vec<KeyValue> = range.take(limit).map(|(key, value)| entry(key, value)).collect();
        if state.disorder {
            kvs.reverse();
        }
        let header = Some(ResponseHeader { revision: state.revision, ..Default::default() });
        let more = kvs.len() < count || state.always_more;
        Ok(Response::new(RangeResponse { header, kvs, more, count: count as i64 }))
    }

    async fn put(&self, request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        let request = request.into_inner();
        let mut state = self.0.lock().expect("not poisoned");
        state.revision += 1;
        state.values.insert(request.key, request.value);
        Ok(Response::new(PutResponse { header: None }))
    }
}

fn entry(key: &[u8], value: &[u8]) -> KeyValue {
    KeyValue { key: key.to_vec(), value: value.to_vec(), mod_revision: 7, ..Default::default() }
}
