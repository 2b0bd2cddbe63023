use std::path::PathBuf;

use keystead_provider_cloudkms::{CloudKmsSettings, Credentials};
use keystead_runtime::Failure;
use schemars::JsonSchema;
use serde::Deserialize;

use super::wrong;

/// Where the root key is, which wraps the store key: a key file in ROOT_DIR, unless a key in a Cloud KMS is named here.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, clap::Args)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PartialRootKey {
    /// Full name of a key in a Cloud KMS, Google's or another Keystead, that is the root key; a key file in ROOT_DIR
    #[arg(long = "root-key", env = "KEYSTEAD_SERVER_ROOT_KEY", value_name = "NAME")]
    name: Option<String>,
    /// Credentials for it: a credentials file as the plugin has it, or the key file of a service account
    #[arg(
        long = "root-key-credentials-file",
        env = "KEYSTEAD_SERVER_ROOT_KEY_CREDENTIALS_FILE",
        value_name = "FILE"
    )]
    credentials_file: Option<PathBuf>,
    /// Where it is served; what the credentials file says, else Google's address
    #[arg(long = "root-key-endpoint", env = "KEYSTEAD_SERVER_ROOT_KEY_ENDPOINT", value_name = "URL")]
    endpoint: Option<String>,
    /// Use Google's application default credentials for it
    #[arg(
        long = "root-key-google",
        env = "KEYSTEAD_SERVER_ROOT_KEY_GOOGLE",
        num_args = 0,
        default_missing_value = "true"
    )]
    google: Option<bool>,
}

impl PartialRootKey {
    pub(super) fn or(self, other: Self) -> Self {
        Self {
            name: self.name.or(other.name),
            credentials_file: self.credentials_file.or(other.credentials_file),
            endpoint: self.endpoint.or(other.endpoint),
            google: self.google.or(other.google),
        }
    }

    /// `None`: the key file.
    pub(super) fn complete(self) -> Result<Option<Box<CloudKmsSettings>>, Failure> {
        let google = self.google == Some(true);
        let Some(name) = self.name else {
            if google || self.credentials_file.is_some() || self.endpoint.is_some() {
                return Err(wrong(
                    "settings of a root key in a Cloud KMS are given, and no key",
                    "name it with --root-key, or leave the others out for a key file",
                ));
            }
            return Ok(None);
        };
        let key = name.parse().map_err(|error| Failure::from_error(&error).usage())?;
        let credentials = match (google, self.credentials_file) {
            (true, None) => Credentials::Google,
            (false, Some(path)) => Credentials::File { path, user: None },
            _ => {
                return Err(wrong(
                    "the root key in a Cloud KMS needs one kind of credentials",
                    "give --root-key-credentials-file FILE or --root-key-google",
                ));
            }
        };
        let endpoint = match self.endpoint {
            None => None,
            Some(text) => Some(text.parse().map_err(|error| Failure::from_error(&error).usage())?),
        };
        Ok(Some(Box::new(CloudKmsSettings { key, endpoint, ca_file: None, credentials })))
    }
}
