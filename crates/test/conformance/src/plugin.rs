//! A client of the plugin under test: one connection, a deadline for each call, and answers that nobody trusts.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hyper_util::rt::TokioIo;
use keystead_model::ErrorChain;
use keystead_proto::kms_v1::key_management_service_client::KeyManagementServiceClient as V1;
use keystead_proto::kms_v2::key_management_service_client::KeyManagementServiceClient as V2;
use keystead_proto::{kms_v1, kms_v2};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

use crate::options::Socket;

/// What kube-apiserver puts into every request of KMS v1.
pub(crate) const V1_VERSION: &str = "v1beta1";

/// Enough to see a plugin answer what kube-apiserver, with its 4 MiB, could not read.
const LARGEST: usize = 16 << 20;

/// One connection to a plugin, made at the first call and made again when it was lost, as kube-apiserver does.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    channel: Channel,
    timeout: Duration,
    connections: Arc<AtomicUsize>,
}

impl Plugin {
    pub(crate) fn new(socket: &Socket, timeout: Duration) -> Self {
        let socket = socket.clone();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let connector = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            count.fetch_add(1, Ordering::Relaxed);
            async move { socket.connect().await.map(TokioIo::new) }
        });
        // The authority that kube-apiserver sends for KMS v2 since 1.32.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { channel, timeout, connections }
    }

    /// How many connections it took so far; more than one when the plugin closed one.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub(crate) async fn status(&self) -> Result<kms_v2::StatusResponse, Refusal> {
        let mut client = self.v2();
        self.call("Status", client.status(kms_v2::StatusRequest {})).await
    }

    pub(crate) async fn encrypt(
        &self,
        request: kms_v2::EncryptRequest,
    ) -> Result<kms_v2::EncryptResponse, Refusal> {
        let mut client = self.v2();
        self.call("Encrypt", client.encrypt(request)).await
    }

    /// The plaintext.
    pub(crate) async fn decrypt(&self, request: kms_v2::DecryptRequest) -> Result<Vec<u8>, Refusal> {
        let mut client = self.v2();
        self.call("Decrypt", client.decrypt(request)).await.map(|it| it.plaintext)
    }

    pub(crate) async fn v1_version(&self) -> Result<kms_v1::VersionResponse, Refusal> {
        let mut client = self.v1();
        self.call("v1 Version", client.version(kms_v1::VersionRequest { version: V1_VERSION.to_owned() }))
            .await
    }

    /// The cipher.
    pub(crate) async fn v1_encrypt(&self, plain: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let mut client = self.v1();
        let request = kms_v1::EncryptRequest { version: V1_VERSION.to_owned(), plain };
        self.call("v1 Encrypt", client.encrypt(request)).await.map(|it| it.cipher)
    }

    /// The plaintext.
    pub(crate) async fn v1_decrypt(&self, cipher: Vec<u8>) -> Result<Vec<u8>, Refusal> {
        let mut client = self.v1();
        let request = kms_v1::DecryptRequest { version: V1_VERSION.to_owned(), cipher };
        self.call("v1 Decrypt", client.decrypt(request)).await.map(|it| it.plain)
    }

    fn v1(&self) -> V1<Channel> {
        V1::new(self.channel.clone()).max_decoding_message_size(LARGEST)
    }

    fn v2(&self) -> V2<Channel> {
        V2::new(self.channel.clone()).max_decoding_message_size(LARGEST)
    }

    async fn call<T>(
        &self,
        name: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Refusal> {
        let kind = match tokio::time::timeout(self.timeout, answer).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            // tonic keeps a source only for what did not come from the plugin as a gRPC status.
            Ok(Err(status)) => match std::error::Error::source(&status) {
                Some(cause) => Kind::Broken(ErrorChain(cause).to_string()),
                None => Kind::Rpc { code: status.code(), message: status.message().to_owned() },
            },
            Err(_) => Kind::Late(self.timeout),
        };
        Err(Refusal { call: name, kind })
    }
}

/// A call that brought no answer.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    call: &'static str,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The plugin answered an error, as it should when it refuses.
    Rpc { code: Code, message: String },
    /// The connection or the stream ended without an answer.
    Broken(String),
    /// Nothing came within the deadline.
    Late(Duration),
}

impl Refusal {
    /// Whether the plugin itself said no, instead of breaking off or staying silent.
    pub(crate) fn is_clean(&self) -> bool {
        matches!(self.kind, Kind::Rpc { .. })
    }

    pub(crate) fn is_late(&self) -> bool {
        matches!(self.kind, Kind::Late(_))
    }

    pub(crate) fn is_unimplemented(&self) -> bool {
        matches!(self.kind, Kind::Rpc { code: Code::Unimplemented, .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call;
        match &self.kind {
            Kind::Rpc { code, message } => write!(f, "{call}: error {code:?}: {}", quote(message)),
            Kind::Broken(cause) => {
                write!(f, "{call}: no answer, the connection or stream broke: {}", quote(cause))
            }
            Kind::Late(limit) => write!(f, "{call}: no answer within {limit:?}"),
        }
    }
}

/// Runs `calls`, at most `width` at a time, and gives the answers in the order in which they came.
pub(crate) async fn side_by_side<T, F>(width: usize, calls: impl IntoIterator<Item = F>) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut calls = calls.into_iter();
    let mut running = JoinSet::new();
    let mut answers = Vec::new();
    for call in calls.by_ref().take(width) {
        running.spawn(call);
    }
    while let Some(answer) = running.join_next().await {
        answers.extend(answer);
        if let Some(call) = calls.next() {
            running.spawn(call);
        }
    }
    answers
}

/// The answer and how long it took.
pub(crate) async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let start = Instant::now();
    (call.await, start.elapsed())
}

/// Text of a plugin, safe to show: control characters escaped, cut after 200 characters.
pub(crate) fn quote(text: &str) -> String {
    const MOST: usize = 200;
    let mut shown = String::new();
    for letter in text.chars().take(MOST) {
        match letter {
            '\'' | '"' => shown.push(letter),
            _ => shown.extend(letter.escape_debug()),
        }
    }
    if text.chars().nth(MOST).is_some() {
        shown.push_str("...");
    }
    shown
}
