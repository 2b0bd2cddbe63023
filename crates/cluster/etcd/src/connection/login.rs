//! A user of etcd with a password, where etcd knows callers by that and not by certificates.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use keystead_proto::etcd::AuthenticateRequest;
use keystead_proto::etcd::auth_client::AuthClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use zeroize::Zeroizing;

use super::error::ConnectError;
use super::{CONNECT_TIMEOUT, read};

/// Who reads. The password is read from its file when it is needed and kept nowhere.
#[derive(Clone, Debug)]
pub struct Login {
    /// A user of etcd's own.
    pub user: String,
    /// Holds the password, in one line of at most 1024 bytes.
    pub password_file: PathBuf,
}

/// A login and the token that etcd gave for it. Tokens end after some minutes (`--auth-token-ttl`).
#[derive(Clone, Debug)]
pub(super) struct Session {
    login: Option<Login>,
    client: AuthClient<Channel>,
    /// Marked as sensitive, so it is not printed.
    token: Arc<Mutex<Option<MetadataValue<Ascii>>>>,
}

impl Session {
    pub(super) fn new(login: Option<Login>, channel: Channel) -> Self {
        Self { login, client: AuthClient::new(channel), token: Arc::default() }
    }

    /// Logs in. An etcd without users is read without a token, as etcd's own client does.
    pub(super) async fn renew(&self) -> Result<(), LoginError> {
        let Some(login) = &self.login else { return Ok(()) };
        let password = password(&login.password_file)?;
        let mut request =
            Request::new(AuthenticateRequest { name: login.user.clone(), password: password.to_string() });
        request.set_timeout(CONNECT_TIMEOUT);
        let token = match self.client.clone().authenticate(request).await {
            Ok(answer) => {
                let token = MetadataValue::try_from(answer.into_inner().token);
                let mut token = token.map_err(|_| Status::internal("etcd's token is not ASCII"))?;
                token.set_sensitive(true);
                Some(token)
            }
            Err(status) if status.message().contains(NO_USERS) => None,
            Err(status) => return Err(status.into()),
        };
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    /// Puts the token into a call.
    pub(super) fn sign<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(token) = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            request.metadata_mut().insert(TOKEN, token);
        }
        request
    }

    /// Whether a new token may help.
    pub(super) fn has_ended(&self, status: &Status) -> bool {
        let ended = status.code() == Code::Unauthenticated || status.message().contains(OLD_REVISION);
        self.login.is_some() && ended
    }
}

/// Why there is no token.
pub(super) enum LoginError {
    File(ConnectError),
    Call(Box<Status>),
}

impl From<ConnectError> for LoginError {
    fn from(error: ConnectError) -> Self {
        Self::File(error)
    }
}

impl From<Status> for LoginError {
    fn from(status: Status) -> Self {
        Self::Call(Box::new(status))
    }
}

impl From<LoginError> for Status {
    fn from(error: LoginError) -> Self {
        match error {
            LoginError::File(error) => Self::unauthenticated(format!("cannot log in again: {error}")),
            LoginError::Call(status) => *status,
        }
    }
}

fn password(path: &Path) -> Result<Zeroizing<String>, ConnectError> {
    let bytes = read(path)?;
    let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line)
        .ok()
        .filter(|text| (1..=PASSWORD_MAX).contains(&text.len()) && !text.contains(['\n', '\r']));
    let text = text.ok_or_else(|| ConnectError::File {
        path: path.to_owned(),
        source: std::io::Error::other("it does not hold one line of 1 to 1024 bytes of UTF-8: a password"),
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

const PASSWORD_MAX: usize = 1024;

/// `TokenFieldNameGRPC` in etcd's `rpctypes`.
const TOKEN: &str = "token";

/// `ErrGRPCAuthNotEnabled` and `ErrGRPCAuthOldRevision` there: no users, and a user or role was changed since the token.
const NO_USERS: &str = "authentication is not enabled";
const OLD_REVISION: &str = "revision of auth store is old";
