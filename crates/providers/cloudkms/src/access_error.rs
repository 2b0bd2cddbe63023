use std::path::PathBuf;

use keystead_runtime::whole_file::FileError;

use crate::credentials_file::InvalidJson;
use crate::endpoint::InvalidEndpoint;
use crate::service_account::InvalidServiceAccount;
use crate::tls::TlsError;
use crate::{InvalidToken, TokenId};

/// Why the service cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address.
    #[error(transparent)]
    Endpoint(#[from] InvalidEndpoint),
    /// When a token ends is no time.
    #[error("an `expireTime` in the credentials is not a time such as 2027-01-31T12:00:00Z")]
    ExpireTime,
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A certificate without its key, or a key alone.
    #[error("`clientCertificateFile` and `clientKeyFile` belong together")]
    HalfCertificate,
    /// The text of a file.
    #[error("cannot use {}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: InvalidJson,
    },
    /// Nothing says who we are.
    #[error("the credentials hold neither a token nor a service account nor a client certificate")]
    NoCredentials,
    /// Nothing says where the service is.
    #[error("nothing says where the key service is")]
    NoEndpoint,
    /// The id that was asked for.
    #[error("the credentials hold no token with the id {0}")]
    NoSuchToken(TokenId),
    /// The private key of a service account.
    #[error(transparent)]
    ServiceAccount(#[from] InvalidServiceAccount),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A token.
    #[error(transparent)]
    Token(#[from] InvalidToken),
    /// Tokens and a service account.
    #[error("the credentials hold tokens and a service account: only one can be who we are")]
    TwoIdentities,
    /// Several tokens, and none named.
    #[error("the credentials hold several tokens: {0}")]
    WhichToken(String),
}

impl AccessError {
    /// One action that helps.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::NoEndpoint => Some(
                "write `endpoint` into the credentials file, or give --kms-endpoint https://HOST:PORT"
                    .to_owned(),
            ),
            Self::WhichToken(_) | Self::NoSuchToken(_) => {
                Some("name one of the ids in the file with KMS_USER_ID or --kms-user".to_owned())
            }
            Self::NoCredentials => {
                Some("put a token into `tokens`; `keystead iam tokens create` makes one".to_owned())
            }
            _ => None,
        }
    }
}
