//! One connection to one member of etcd.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystead_model::ErrorClass;
use keystead_proto::etcd::kv_client::KvClient;
use keystead_proto::etcd::{KeyValue, RangeRequest, RangeResponse};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

/// Where etcd is. One member and not all of them: the pages of a scan must come from the same one.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `https://127.0.0.1:2379`, or `http://...` without TLS.
    pub endpoint: String,
    /// For `https`.
    pub tls: Option<TlsFiles>,
}

/// PEM files, as in kube-apiserver's `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile`.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Whom to trust.
    pub ca: PathBuf,
    /// Who we are.
    pub certificate: PathBuf,
    /// The key of `certificate`.
    pub key: PathBuf,
}

/// A member of etcd, to read from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Etcd {
    client: KvClient<Channel>,
}

/// One key with its value, which wipes itself and is not printed: it may be a Secret that is not encrypted.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whole, as kube-apiserver binds it into what it seals.
    pub key: Vec<u8>,
    /// Encrypted or not.
    pub value: Zeroizing<Vec<u8>>,
    /// The revision that wrote it: an object's `resourceVersion`.
    pub mod_revision: i64,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not a URL.
    #[error("`{0}` is not an address of etcd such as https://127.0.0.1:2379")]
    Endpoint(String),
    /// A file of [`TlsFiles`].
    #[error("cannot read {}", path.display())]
    File {
        /// The file that cannot be read.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// What the files hold does not make a TLS client.
    #[error("the TLS files for etcd do not fit together")]
    Tls(#[source] tonic::transport::Error),
    /// Nobody answers, or one of the two sides refuses the other's certificate.
    #[error("cannot connect to etcd at {endpoint}")]
    Connect {
        /// The address that was tried.
        endpoint: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
}

impl ConnectError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Endpoint(_) | Self::File { .. } | Self::Tls(_) => ErrorClass::Misconfigured,
            Self::Connect { .. } => ErrorClass::Unavailable,
        }
    }
}

/// Why etcd did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// etcd's own error, or none of its answers arrived.
    #[error("cannot read from etcd")]
    Call(#[source] Box<tonic::Status>),
    /// The answer has no header, so it does not say which revision it is of.
    #[error("etcd's answer does not name its revision")]
    NoRevision,
    /// A page that does not follow the one before, or that has no keys although more follow.
    #[error("etcd's answer is not the next keys in their order")]
    Disorder,
}

impl ReadError {
    /// What kind of failure it is.
    pub fn class(&self) -> ErrorClass {
        let Self::Call(status) = self else { return ErrorClass::Corrupt };
        match status.code() {
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => ErrorClass::Timeout,
            tonic::Code::ResourceExhausted => ErrorClass::Throttled,
            tonic::Code::Unauthenticated => ErrorClass::Unauthenticated,
            tonic::Code::PermissionDenied => ErrorClass::Denied,
            tonic::Code::InvalidArgument | tonic::Code::OutOfRange => ErrorClass::Invalid,
            tonic::Code::Unimplemented => ErrorClass::Unimplemented,
            _ => ErrorClass::Unavailable,
        }
    }
}

impl Etcd {
    /// Connects, in 5 s at most. Each later call has 30 s, and reconnects by itself.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or nobody answers.
    pub async fn connect(connection: &Connection) -> Result<Self, ConnectError> {
        let mut endpoint = Endpoint::from_shared(connection.endpoint.clone())
            .map_err(|_| ConnectError::Endpoint(connection.endpoint.clone()))?
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT);
        if let Some(files) = &connection.tls {
            endpoint = endpoint.tls_config(tls(files)?).map_err(ConnectError::Tls)?;
        }
        let channel = endpoint
            .connect()
            .await
            .map_err(|source| ConnectError::Connect { endpoint: connection.endpoint.clone(), source })?;
        Ok(Self { client: KvClient::new(channel).max_decoding_message_size(ANSWER_MAX) })
    }

    /// The newest value of one key.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer. A key that is not there is `None`.
    pub async fn get(&self, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        let answer = self.range(RangeRequest { key: key.to_vec(), ..Default::default() }).await;
        let answer = answer.map_err(|status| ReadError::Call(Box::new(status)))?;
        Ok(answer.kvs.into_iter().next().map(Entry::from))
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, tonic::Status> {
        Ok(self.client.clone().range(request).await?.into_inner())
    }

    /// Writes one key. For tests only.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer.
    #[cfg(feature = "test-util")]
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let request = keystead_proto::etcd::PutRequest { key: key.to_vec(), value: value.to_vec() };
        self.client.clone().put(request).await.map_err(|status| ReadError::Call(Box::new(status)))?;
        Ok(())
    }
}

impl From<KeyValue> for Entry {
    fn from(kv: KeyValue) -> Self {
        Self { key: kv.key, value: Zeroizing::new(kv.value), mod_revision: kv.mod_revision }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &String::from_utf8_lossy(&self.key))
            .field("value_bytes", &self.value.len())
            .field("mod_revision", &self.mod_revision)
            .finish()
    }
}

fn tls(files: &TlsFiles) -> Result<ClientTlsConfig, ConnectError> {
    let ca = read(&files.ca)?;
    let certificate = read(&files.certificate)?;
    let key = read(&files.key)?;
    Ok(ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(ca.as_slice()))
        .identity(Identity::from_pem(certificate.as_slice(), key.as_slice())))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConnectError> {
    let bytes = std::fs::read(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })?;
    Ok(Zeroizing::new(bytes))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// etcd counts all keys of the range for each page, a second for some millions of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of the largest answer taken. A scan asks for pages of a third of it; the largest single value that etcd takes
/// by default has 1.5 MiB. Twice this, once as received and once decoded, is the most memory that a page needs: 48 MiB.
pub(crate) const ANSWER_MAX: usize = 24 << 20;
