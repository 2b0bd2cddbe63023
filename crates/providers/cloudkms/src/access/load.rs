//! Reads what an [`Access`] is made of.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use http::HeaderValue;
use keystead_runtime::whole_file::{FileError, ReadFile, Readers, read};
use zeroize::Zeroizing;

use super::{Access, Bearer, Expiry};
use crate::credentials_file::{Content, CredentialsFile, ServiceAccountFile, TokenEntry};
use crate::google::GoogleCredentials;
use crate::service_account::ServiceAccount;
use crate::tls::{ClientIdentity, Roots, client_config};
use crate::watched::ClientRefused;
use crate::{AccessError, CloudKmsSettings, Credentials, Endpoint, InvalidToken, Token, TokenId};

/// Longest file that is read, in bytes: a bundle of every public certificate authority has 250 KiB.
const MAX_LEN: usize = 1024 * 1024;

/// What was read so far.
#[derive(Default)]
pub(super) struct Loading {
    files: Vec<ReadFile>,
    absent: Option<PathBuf>,
    expiries: Vec<Expiry>,
}

impl Loading {
    pub(super) fn finish(mut self, settings: &CloudKmsSettings) -> Result<Access, AccessError> {
        let (file, bearer, identity) = match &settings.credentials {
            Credentials::Google => (
                CredentialsFile::default(),
                Bearer::Google(GoogleCredentials::default()),
                "the application default credentials".to_owned(),
            ),
            Credentials::File { path, user } => self.file(path, user.as_ref())?,
            Credentials::Token { token, path } => {
                let file = match self.content(path) {
                    Ok(Content::Ours(file)) => file,
                    Ok(Content::ServiceAccount(_)) => CredentialsFile::default(),
                    Err(AccessError::File(FileError::Missing(_))) => {
                        self.absent = Some(path.clone());
                        CredentialsFile::default()
                    }
                    Err(error) => return Err(error),
                };
                (file, bearer(token)?, identity_of(token))
            }
        };
        let directory = match &settings.credentials {
            Credentials::File { path, .. } | Credentials::Token { path, .. } => path.parent(),
            Credentials::Google => None,
        };
        let directory = directory.unwrap_or(Path::new(""));
        let endpoint = self.endpoint(settings, &file)?;
        let roots = self.roots(settings, &file, directory)?;
        let client = self.client_identity(&file, directory)?;
        let identity = match (&bearer, &client) {
            (Bearer::None, Some(_)) => "the client certificate".to_owned(),
            (Bearer::None, None) => return Err(AccessError::NoCredentials),
            _ => identity,
        };
        let tls = if endpoint.is_encrypted() {
            let (config, expiries) = client_config(&roots, client)?;
            self.expiries.extend(expiries);
            Some(Arc::new(config))
        } else {
            None
        };
        let expiry = self.expiries.into_iter().min_by_key(|expiry| expiry.at);
        Ok(Access {
            endpoint,
            tls,
            bearer,
            identity,
            expiry,
            files: self.files,
            absent: self.absent,
            channel: OnceLock::new(),
            refused: ClientRefused::default(),
        })
    }

    fn read(&mut self, path: &Path, readers: Readers) -> Result<Zeroizing<Vec<u8>>, AccessError> {
        let (bytes, file) = read(path, readers, MAX_LEN)?;
        self.files.push(file);
        Ok(bytes)
    }

    fn content(&mut self, path: &Path) -> Result<Content, AccessError> {
        let text = self.read(path, Readers::Owner)?;
        Content::parse(&text).map_err(|source| AccessError::Json { path: path.to_owned(), source })
    }

    fn file(
        &mut self,
        path: &Path,
        user: Option<&TokenId>,
    ) -> Result<(CredentialsFile, Bearer, String), AccessError> {
        let (file, account) = match self.content(path)? {
            Content::ServiceAccount(account) => (CredentialsFile::default(), Some(account)),
            Content::Ours(file) => {
                let account = match &file.service_account_key_file {
                    Some(name) => {
                        let name = path.with_file_name("").join(name);
                        let text = self.read(&name, Readers::Owner)?;
                        let account = ServiceAccountFile::parse(&text)
                            .map_err(|source| AccessError::Json { path: name, source })?;
                        Some(account)
                    }
                    None => None,
                };
                (file, account)
            }
        };
        let (bearer, identity) = match account {
            Some(_) if !file.tokens.is_empty() => return Err(AccessError::TwoIdentities),
            Some(account) => {
                let account = ServiceAccount::new(&account)?;
                let identity = format!("service account {}", account.email());
                (Bearer::ServiceAccount(account), identity)
            }
            None => match self.choose(&file.tokens, user)? {
                Some(token) => (bearer(&token)?, identity_of(&token)),
                None => (Bearer::None, String::new()),
            },
        };
        Ok((file, bearer, identity))
    }

    /// The token that is asked for, or the only one.
    fn choose(&mut self, given: &[TokenEntry], user: Option<&TokenId>) -> Result<Option<Token>, AccessError> {
        let mut tokens = Vec::new();
        for given in given {
            let (text, end) = match given {
                TokenEntry::Text(text) => (text, None),
                TokenEntry::WithEnd { token, expire_time } => (token, expire_time.as_deref()),
            };
            let token: Token = text.expose().parse()?;
            let end = match end {
                Some(end) => Some(end.parse::<jiff::Timestamp>().map_err(|_| AccessError::ExpireTime)?),
                None => None,
            };
            tokens.push((token, end));
        }
        let chosen = match user {
            Some(user) => Some(
                tokens
                    .into_iter()
                    .find(|(token, _)| token.id() == user)
                    .ok_or_else(|| AccessError::NoSuchToken(user.clone()))?,
            ),
            None if tokens.len() > 1 => {
                return Err(AccessError::WhichToken(
                    tokens.iter().map(|(token, _)| token.id().to_string()).collect::<Vec<_>>().join(", "),
                ));
            }
            None => tokens.pop(),
        };
        let Some((token, end)) = chosen else { return Ok(None) };
        if let Some(end) = end {
            self.expiries.push(Expiry { what: identity_of(&token), at: end.into() });
        }
        Ok(Some(token))
    }

    fn endpoint(&self, settings: &CloudKmsSettings, file: &CredentialsFile) -> Result<Endpoint, AccessError> {
        if let Some(endpoint) = &settings.endpoint {
            return Ok(endpoint.clone());
        }
        match (&file.endpoint, &settings.credentials) {
            (Some(endpoint), _) => Ok(endpoint.parse()?),
            (None, Credentials::Google) => Ok(Endpoint::GOOGLE.parse()?),
            (None, _) => Err(AccessError::NoEndpoint),
        }
    }

    fn roots(
        &mut self,
        settings: &CloudKmsSettings,
        file: &CredentialsFile,
        directory: &Path,
    ) -> Result<Roots, AccessError> {
        let path = match (&settings.ca_file, &file.ca_file) {
            (Some(path), _) => Some(path.clone()),
            (None, Some(path)) => Some(directory.join(path)),
            (None, None) => None,
        };
        match (path, &file.ca) {
            (Some(path), _) => Ok(Roots::Pem(self.read(&path, Readers::Everybody)?.to_vec())),
            (None, Some(text)) => Ok(Roots::Pem(text.clone().into_bytes())),
            (None, None) => Ok(Roots::System),
        }
    }

    fn client_identity(
        &mut self,
        file: &CredentialsFile,
        directory: &Path,
    ) -> Result<Option<ClientIdentity>, AccessError> {
        match (&file.client_certificate_file, &file.client_key_file) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(ClientIdentity {
                certificates: self.read(&directory.join(certificate), Readers::Everybody)?.to_vec(),
                key: self.read(&directory.join(key), Readers::Owner)?,
            })),
            _ => Err(AccessError::HalfCertificate),
        }
    }
}

fn identity_of(token: &Token) -> String {
    format!("token {}", token.id())
}

fn bearer(token: &Token) -> Result<Bearer, AccessError> {
    let text = Zeroizing::new(format!("Bearer {}", token.expose()));
    let mut value = HeaderValue::from_str(&text).map_err(|_| InvalidToken)?;
    value.set_sensitive(true);
    Ok(Bearer::Token(value))
}
