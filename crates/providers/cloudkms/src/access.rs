//! How the service is reached and who we are there: made of settings and files, and made anew when a file changes.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use keystead_model::ErrorClass;
use keystead_provider::ProviderError;
use keystead_runtime::whole_file::ReadFile;
use rustls::ClientConfig;
use tonic::transport::Channel;

use crate::connector::connect;
use crate::google::GoogleCredentials;
use crate::service_account::ServiceAccount;
use crate::transport::Transport;
use crate::watched::ClientRefused;
use crate::{AccessError, CloudKmsSettings, Endpoint};

mod load;

/// Routes a call to the key's location; every client of Google sends it.
const ROUTING: HeaderName = HeaderName::from_static("x-goog-request-params");

/// When a certificate or a token ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// What ends.
    pub what: String,
    /// The moment of its end.
    pub at: SystemTime,
}

/// One way in. It stays the same as long as the files do.
pub(crate) struct Access {
    endpoint: Endpoint,
    tls: Option<Arc<ClientConfig>>,
    bearer: Bearer,
    identity: String,
    expiry: Option<Expiry>,
    files: Vec<ReadFile>,
    /// A credentials file that is not there and need not be.
    absent: Option<PathBuf>,
    channel: OnceLock<Channel>,
    refused: ClientRefused,
}

/// What goes into the header `authorization`.
enum Bearer {
    /// Nothing: a client certificate says it all.
    None,
    Token(HeaderValue),
    ServiceAccount(ServiceAccount),
    Google(GoogleCredentials),
}

impl Access {
    pub(crate) fn load(settings: &CloudKmsSettings) -> Result<Self, AccessError> {
        load::Loading::default().finish(settings)
    }

    /// Whether every file is still the one that was read.
    pub(crate) fn is_current(&self) -> bool {
        self.files.iter().all(ReadFile::is_current)
            && self.absent.as_deref().is_none_or(|path| path.metadata().is_err())
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// For people; no secret.
    pub(crate) fn identity(&self) -> &str {
        &self.identity
    }

    pub(crate) fn client_refused(&self) -> bool {
        self.refused.is_set()
    }

    pub(crate) fn expiry(&self) -> Option<&Expiry> {
        self.expiry.as_ref()
    }

    /// The connection and the headers of one call.
    pub(crate) async fn transport(&self, key: &str) -> Result<Transport, ProviderError> {
        let mut headers = match &self.bearer {
            Bearer::None => HeaderMap::new(),
            Bearer::Token(value) => HeaderMap::from_iter([(AUTHORIZATION, value.clone())]),
            Bearer::ServiceAccount(account) => {
                let value = account
                    .bearer(SystemTime::now())
                    .map_err(|error| ProviderError::new(ErrorClass::Misconfigured, error.to_string()))?;
                HeaderMap::from_iter([(AUTHORIZATION, value)])
            }
            Bearer::Google(google) => google.headers().await?,
        };
        // Names of keys hold only characters that need no escape.
        if let Ok(value) = HeaderValue::try_from(format!("name={key}")) {
            headers.insert(ROUTING, value);
        }
        let channel = match self.channel.get() {
            Some(channel) => channel.clone(),
            None => {
                let new = connect(&self.endpoint, self.tls.as_ref(), &self.refused)?;
                self.channel.get_or_init(|| new).clone()
            }
        };
        Ok(Transport { channel, headers, endpoint: self.endpoint.clone() })
    }
}
