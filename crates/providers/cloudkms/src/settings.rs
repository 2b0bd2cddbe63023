use std::path::PathBuf;

use keystead_model::CryptoKeyName;

use crate::{Endpoint, Token, TokenId};

/// Which key, where, and who we are.
#[derive(Clone, Debug)]
pub struct CloudKmsSettings {
    /// The key.
    pub key: CryptoKeyName,
    /// Where the service is; else what the credentials file says, and for Google's credentials Google's address.
    pub endpoint: Option<Endpoint>,
    /// Certificate authorities that the service's certificate may come from; else what the credentials file says, else
    /// those of the system.
    pub ca_file: Option<PathBuf>,
    /// Who we are.
    pub credentials: Credentials,
}

/// Who we are, and where that is written.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A credentials file, or the key file of a service account.
    File {
        /// Its path.
        path: PathBuf,
        /// Which of the tokens in it; not needed where there is one.
        user: Option<TokenId>,
    },
    /// A token that was given apart. The file may still name address and authority, and may be absent.
    Token {
        /// The token.
        token: Token,
        /// The credentials file.
        path: PathBuf,
    },
    /// Google's application default credentials.
    Google,
}
