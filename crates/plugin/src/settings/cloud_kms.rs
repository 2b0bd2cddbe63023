//! Which provider is meant, and what `cloudkms` needs. The two variables of a static pod's manifest, `KMS_KEY_ID` and
//! `KMS_USER_ID`, are enough where the host has a credentials file.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use keystead_provider_cloudkms::{CloudKmsSettings, Credentials, Token};
use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{PartialSettings, ProviderKind, ProviderSettings};

const DEFAULT_CREDENTIALS: &str = "/etc/keystead/credentials.json";

/// The id of a token, or by mistake a whole one: taken without judgement and never printed, so that no parser repeats it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub(crate) struct UserId(Zeroizing<String>);

impl From<String> for UserId {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl FromStr for UserId {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::from(text.to_owned()))
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UserId(..)")
    }
}

impl PartialSettings {
    /// What the manifest's two variables say. They stand between our own variables and the file.
    pub(crate) fn of_manifest(variable: impl Fn(&str) -> Option<String>) -> Self {
        let given = |name| variable(name).filter(|value| !value.is_empty());
        let user = given("KMS_USER_ID").map(UserId::from);
        let (token_in_env, kms_user) = match user {
            Some(user) if Token::is_meant_by(&user.0) => (Some(user), None),
            user => (None, user),
        };
        Self { kms_key: given("KMS_KEY_ID"), kms_user, token_in_env, ..Self::default() }
    }

    pub(super) fn provider(&self) -> Result<ProviderSettings, Failure> {
        match self.kind()? {
            ProviderKind::Local => self.local(),
            ProviderKind::CloudKms => self.cloud_kms(),
        }
    }

    fn kind(&self) -> Result<ProviderKind, Failure> {
        match (self.provider, &self.kms_key, &self.key_file) {
            (Some(kind), _, _) => Ok(kind),
            (None, Some(_), Some(_)) => {
                Err(Failure::new("a key file and a key in a Cloud KMS are given: only one can be used")
                    .usage()
                    .hint("say `provider: local` or `provider: cloudkms`".to_owned()))
            }
            (None, Some(_), None) => Ok(ProviderKind::CloudKms),
            (None, None, _) => Ok(ProviderKind::Local),
        }
    }

    fn local(&self) -> Result<ProviderSettings, Failure> {
        let key_file = self.key_file.clone().ok_or_else(|| {
            let hint = "give --key-file FILE, or `keyFile: FILE` in the configuration, which `keystead-plugin key create` \
                        makes; or the name of a key in a Cloud KMS with KMS_KEY_ID or --kms-key";
            Failure::new("no key file is given").usage().hint(hint.to_owned())
        })?;
        Ok(ProviderSettings::Local { key_file })
    }

    fn cloud_kms(&self) -> Result<ProviderSettings, Failure> {
        let missing = || {
            Failure::new("no key is given")
                .usage()
                .hint("set KMS_KEY_ID or give --kms-key NAME, the full name of a key".to_owned())
        };
        let key = self.kms_key.as_deref().ok_or_else(missing)?;
        let key = key.parse().map_err(|error| {
            let hint = "`keystead kms keys list` and `gcloud kms keys list` show full names";
            Failure::from_error(&error).usage().hint(hint.to_owned())
        })?;
        let endpoint = match &self.kms_endpoint {
            None => None,
            Some(text) => Some(text.parse().map_err(|error| Failure::from_error(&error).usage())?),
        };
        let credentials = if self.google == Some(true) { Credentials::Google } else { self.credentials()? };
        let ca_file = self.kms_ca_file.clone();
        let settings = CloudKmsSettings { key, endpoint, ca_file, credentials };
        Ok(ProviderSettings::CloudKms(Box::new(settings)))
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let path = self.credentials_file.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_CREDENTIALS));
        let malformed = |error| Failure::from_error(&error).usage();
        if let Some(user) = &self.kms_user {
            if Token::is_meant_by(&user.0) {
                return Err(Failure::new("a whole token is given where only its id belongs")
                    .usage()
                    .hint(into_the_file(&user.0)));
            }
            return Ok(Credentials::File { path, user: Some(user.0.parse().map_err(malformed)?) });
        }
        match &self.token_in_env {
            None => Ok(Credentials::File { path, user: None }),
            Some(token) if self.allow_token_in_env == Some(true) => {
                Ok(Credentials::Token { token: token.0.parse().map_err(malformed)?, path })
            }
            Some(token) => Err(Failure::new(
                "KMS_USER_ID holds a whole token: kubelet copies a static pod's environment into its mirror pod, and so \
                 the token would stand in etcd in clear",
            )
            .usage()
            .hint(format!("{}; or accept that with --allow-token-in-env", into_the_file(&token.0)))),
        }
    }
}

fn into_the_file(token: &str) -> String {
    let id = token.parse::<Token>().map_or_else(|_| "ID".to_owned(), |token| token.id().to_string());
    format!("put the token into `tokens` of {DEFAULT_CREDENTIALS} (mode 0600), and give only its id, {id}")
}
