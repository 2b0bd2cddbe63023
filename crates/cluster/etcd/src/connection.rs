//! One connection to one member of etcd.

mod error;
mod login;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keystead_proto::etcd::kv_client::KvClient;
use keystead_proto::etcd::maintenance_client::MaintenanceClient;
use keystead_proto::etcd::{AlarmRequest, AlarmType, KeyValue, RangeRequest, RangeResponse, StatusRequest};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

pub use error::{ConnectError, NoAnswer, ReadError};
pub use login::Login;
use login::{LoginError, Session};

/// Where etcd is, and who reads from it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Members of one etcd: `https://127.0.0.1:2379`, or `http://...` without TLS. The first that answers is read from, and
    /// only that one: the pages of a scan must come from the same member.
    pub endpoints: Vec<String>,
    /// For `https`.
    pub tls: Option<TlsFiles>,
    /// For an etcd with users, unless the client certificate names one.
    pub login: Option<Login>,
}

/// PEM files.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// Whom to trust, as in kube-apiserver's `--etcd-cafile`.
    pub ca: PathBuf,
    /// Who we are. The etcd of a real cluster wants to know.
    pub client: Option<ClientFiles>,
}

/// PEM files, as in kube-apiserver's `--etcd-certfile` and `--etcd-keyfile`.
#[derive(Clone, Debug)]
pub struct ClientFiles {
    /// Who we are.
    pub certificate: PathBuf,
    /// The key of `certificate`.
    pub key: PathBuf,
}

/// A member of etcd, to read from. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Etcd {
    endpoint: String,
    client: KvClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    session: Session,
}

/// Something that etcd itself says is wrong with it. It stays until somebody disarms it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The member, in hexadecimal, as etcdctl shows it.
    pub member: String,
    /// `NOSPACE` or `CORRUPT`; a number for one that is not known here.
    pub kind: String,
}

/// How full a member is, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Of the database with its free pages: what etcd compares with its quota.
    pub size: u64,
    /// Without free pages, which are used before the file grows.
    pub in_use: u64,
    /// The member says that something is wrong: an alarm, or no leader.
    pub troubled: bool,
    /// `--quota-backend-bytes`, where writes end. etcd says it since 3.6.
    pub quota: Option<u64>,
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

impl Connection {
    /// One member, without TLS or password.
    pub fn plain(endpoint: impl Into<String>) -> Self {
        Self { endpoints: vec![endpoint.into()], tls: None, login: None }
    }
}

impl Etcd {
    /// Connects to the first member that answers: each has 5 s for the connection, for TLS, for the login and for an answer. Each
    /// later call has 30 s, and reconnects by itself.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read, nobody answers, or etcd does not know us.
    pub async fn connect(connection: &Connection) -> Result<Self, ConnectError> {
        let tls = connection.tls.as_ref().map(tls).transpose()?;
        let mut no_answers = Vec::new();
        let endpoints: Result<Vec<_>, _> = connection
            .endpoints
            .iter()
            .map(|it| endpoint(it, tls.as_ref(), connection.login.is_some()))
            .collect();
        for (text, endpoint) in connection.endpoints.iter().zip(endpoints?) {
            let channel = match endpoint.connect().await {
                Ok(channel) => channel,
                Err(error) => {
                    no_answers.push(NoAnswer::new(text, &error));
                    continue;
                }
            };
            let etcd = Self {
                endpoint: text.clone(),
                client: KvClient::new(channel.clone()).max_decoding_message_size(ANSWER_MAX),
                maintenance: MaintenanceClient::new(channel.clone()),
                session: Session::new(connection.login.clone(), channel),
            };
            let refused = |status| ReadError::Call(Box::new(status));
            match etcd.greet().await {
                Ok(()) => return Ok(etcd),
                Err(LoginError::File(error)) => return Err(error),
                Err(LoginError::Call(status)) if is_no_answer(&status) => {
                    no_answers.push(NoAnswer::new(text, &*status));
                }
                Err(LoginError::Call(status)) => {
                    return Err(ConnectError::Refused { endpoint: text.clone(), source: refused(*status) });
                }
            }
        }
        if no_answers.is_empty() {
            Err(ConnectError::NoEndpoint)
        } else {
            Err(ConnectError::Connect(no_answers))
        }
    }

    /// The member that is read from, as it was named.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Logs in, and asks for a key that nobody has. With TLS 1.3 a member that refuses our certificate says so only now, and one
    /// that has lost the others does not answer.
    async fn greet(&self) -> Result<(), LoginError> {
        self.session.renew().await?;
        let mut request = self.session.sign(RangeRequest { key: NO_KEY.to_vec(), ..Default::default() });
        request.set_timeout(CONNECT_TIMEOUT);
        match self.client.clone().range(request).await {
            Err(status) if status.code() != Code::PermissionDenied => Err(status.into()),
            // Who may read the cluster's keys only is refused this one.
            Ok(_) | Err(_) => Ok(()),
        }
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

    /// etcd's newest revision: whatever is read from now on is at least as new.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer.
    pub async fn revision(&self) -> Result<i64, ReadError> {
        let answer = self.range(RangeRequest { key: NO_KEY.to_vec(), ..Default::default() }).await;
        let answer = answer.map_err(|status| ReadError::Call(Box::new(status)))?;
        answer.header.map(|it| it.revision).ok_or(ReadError::NoRevision)
    }

    /// The alarms of all members.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer, or does not tell this user.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, ReadError> {
        let alarm = |request| {
            let mut maintenance = self.maintenance.clone();
            async move { maintenance.alarm(request).await }
        };
        let answer = self.signed(AlarmRequest::default(), alarm).await;
        let answer = answer.map_err(|status| ReadError::Call(Box::new(status)))?;
        let alarms = answer.alarms.into_iter().map(|it| Alarm {
            member: format!("{:x}", it.member_id),
            kind: AlarmType::try_from(it.alarm)
                .map_or_else(|_| it.alarm.to_string(), |kind| kind.as_str_name().to_owned()),
        });
        Ok(alarms.collect())
    }

    /// How much of its quota the member has used.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer, or does not tell this user.
    pub async fn space(&self) -> Result<Space, ReadError> {
        let status = |request| {
            let mut maintenance = self.maintenance.clone();
            async move { maintenance.status(request).await }
        };
        let answer = self.signed(StatusRequest {}, status).await;
        let answer = answer.map_err(|status| ReadError::Call(Box::new(status)))?;
        let bytes = |it: i64| u64::try_from(it).unwrap_or_default();
        Ok(Space {
            size: bytes(answer.db_size),
            troubled: !answer.errors.is_empty(),
            in_use: bytes(answer.db_size_in_use),
            quota: Some(bytes(answer.db_size_quota)).filter(|it| *it > 0),
        })
    }

    pub(crate) async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let range = |request| {
            let mut client = self.client.clone();
            async move { client.range(request).await }
        };
        self.signed(request, range).await
    }

    /// A token that ended is renewed once.
    async fn signed<T: Clone, A, F>(&self, request: T, call: impl Fn(Request<T>) -> F) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let answer = match call(self.session.sign(request.clone())).await {
            Err(status) if self.session.has_ended(&status) => {
                self.session.renew().await?;
                call(self.session.sign(request)).await
            }
            answer => answer,
        };
        Ok(answer?.into_inner())
    }

    /// Writes one key. For tests only.
    ///
    /// # Errors
    ///
    /// Where etcd does not answer.
    #[cfg(feature = "test-util")]
    pub async fn put(&self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        let request = keystead_proto::etcd::PutRequest { key: key.to_vec(), value: value.to_vec() };
        self.client
            .clone()
            .put(self.session.sign(request))
            .await
            .map_err(|status| ReadError::Call(Box::new(status)))?;
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

fn endpoint(text: &str, tls: Option<&ClientTlsConfig>, password: bool) -> Result<Endpoint, ConnectError> {
    let endpoint = Endpoint::from_shared(text.to_owned()).ok();
    let endpoint = endpoint.filter(|it| it.uri().host().is_some() && it.uri().path() == "/");
    let endpoint = endpoint.ok_or_else(|| ConnectError::Endpoint(text.to_owned()))?;
    let uri = endpoint.uri().clone();
    let endpoint = endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(CALL_TIMEOUT);
    match (uri.scheme_str(), tls) {
        (Some("https"), Some(tls)) => endpoint.tls_config(tls.clone()).map_err(ConnectError::Tls),
        (Some("https"), None) => Err(ConnectError::NoAuthority(text.to_owned())),
        (Some("http"), _) if password && !is_loopback(uri.host().unwrap_or_default()) => {
            Err(ConnectError::PasswordInClear(text.to_owned()))
        }
        (Some("http"), _) => Ok(endpoint),
        _ => Err(ConnectError::Endpoint(text.to_owned())),
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse();
    host == "localhost" || address.is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

fn is_no_answer(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal
    )
}

fn tls(files: &TlsFiles) -> Result<ClientTlsConfig, ConnectError> {
    let ca = read(&files.ca)?;
    // Its own limit: that of the connection ends with TCP, and a member that is frozen still takes connections.
    let config =
        ClientTlsConfig::new().timeout(CONNECT_TIMEOUT).ca_certificate(Certificate::from_pem(ca.as_slice()));
    let Some(client) = &files.client else { return Ok(config) };
    let certificate = read(&client.certificate)?;
    let key = read(&client.key)?;
    Ok(config.identity(Identity::from_pem(certificate.as_slice(), key.as_slice())))
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConnectError> {
    let bytes = std::fs::read(path).map_err(|source| ConnectError::File { path: path.to_owned(), source })?;
    Ok(Zeroizing::new(bytes))
}

/// The smallest key there is. Nothing of Kubernetes has it.
const NO_KEY: &[u8] = b"\0";

/// For a connection, and once more for TLS, a login and the first answer each.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// etcd counts all keys of the range for each page, a second for some millions of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of the largest answer taken. A scan asks for pages of a third of it; the largest single value that etcd takes
/// by default has 1.5 MiB. Twice this, once as received and once decoded, is the most memory that a page needs: 48 MiB.
pub(crate) const ANSWER_MAX: usize = 24 << 20;
