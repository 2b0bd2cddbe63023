//! The text of `credentials.json`: what is not in the manifest of the plugin, because that is copied into etcd.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use zeroize::Zeroizing;

/// A file of ours, as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CredentialsFile {
    /// `https://host:port`.
    pub(crate) endpoint: Option<String>,
    /// Certificate authorities of the server, PEM.
    pub(crate) ca: Option<String>,
    /// The same in a file.
    pub(crate) ca_file: Option<PathBuf>,
    /// Whole tokens; two or more while they are being changed.
    #[serde(default)]
    pub(crate) tokens: Vec<TokenEntry>,
    /// Key file of a service account.
    pub(crate) service_account_key_file: Option<PathBuf>,
    /// Certificate of ours and its chain, PEM.
    pub(crate) client_certificate_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub(crate) client_key_file: Option<PathBuf>,
}

/// A token, alone or with the time when it ends.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum TokenEntry {
    Text(SecretText),
    #[serde(rename_all = "camelCase")]
    WithEnd {
        token: SecretText,
        expire_time: Option<String>,
    },
}

/// Key file of a service account as `gcloud iam service-accounts keys create` and our server write it. It has more fields.
#[derive(Debug, Deserialize)]
pub(crate) struct ServiceAccountFile {
    pub(crate) client_email: String,
    pub(crate) private_key_id: Option<String>,
    /// PKCS#8, PEM.
    pub(crate) private_key: SecretText,
}

/// What a file of credentials turned out to be.
#[derive(Debug)]
pub(crate) enum Content {
    Ours(CredentialsFile),
    ServiceAccount(ServiceAccountFile),
}

/// Text that is wiped and cannot be printed.
#[derive(Clone)]
pub(crate) struct SecretText(Zeroizing<String>);

impl SecretText {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = SecretText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
                Ok(SecretText(Zeroizing::new(text.to_owned())))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<SecretText, E> {
                Ok(SecretText(Zeroizing::new(text)))
            }
        }
        deserializer.deserialize_string(Text)
    }
}

impl Content {
    /// Takes a file of ours, or the key file of a service account in its place.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, InvalidJson> {
        #[derive(Deserialize)]
        struct Kind {
            r#type: Option<String>,
        }
        let kind: Kind = serde_json::from_slice(text).map_err(InvalidJson::from)?;
        if kind.r#type.as_deref() == Some("service_account") {
            return Ok(Self::ServiceAccount(ServiceAccountFile::parse(text)?));
        }
        serde_json::from_slice(text).map(Self::Ours).map_err(InvalidJson::from)
    }
}

impl ServiceAccountFile {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, InvalidJson> {
        serde_json::from_slice(text).map_err(InvalidJson::from)
    }
}

/// Not the JSON that is wanted. It names the place and never what stands there.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {problem}")]
pub struct InvalidJson {
    line: usize,
    column: usize,
    problem: String,
}

impl From<serde_json::Error> for InvalidJson {
    fn from(error: serde_json::Error) -> Self {
        let text = error.to_string();
        // Other messages of the parser repeat values. A name that is more than letters could be a misplaced secret.
        let named = ["unknown field", "missing field", "duplicate field"].into_iter().find_map(|problem| {
            let name = text.strip_prefix(problem)?.strip_prefix(" `")?.split('`').next()?;
            let plain =
                name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            plain.then(|| format!("{problem} `{name}`"))
        });
        let problem = named.unwrap_or_else(|| {
            if error.is_data() { "a value of the wrong kind".to_owned() } else { "not JSON".to_owned() }
        });
        Self { line: error.line(), column: error.column(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_file_are_told_apart() {
        let ours = br#"{"endpoint": "https://kms:1", "tokens": ["x", {"token": "y", "expireTime": "z"}]}"#;
        let Ok(Content::Ours(ours)) = Content::parse(ours) else { panic!("a file of ours") };
        assert_eq!((ours.endpoint.as_deref(), ours.tokens.len()), (Some("https://kms:1"), 2));
        let google =
            br#"{"type": "service_account", "project_id": "p", "client_email": "a@b", "private_key": "k"}"#;
        assert!(matches!(Content::parse(google), Ok(Content::ServiceAccount(_))));
    }

    #[test]
    fn errors_name_the_place_and_no_value() {
        for (text, problem) in [
            (r#"{"tokens": "canary"}"#, "a value of the wrong kind"),
            (r#"{"endpoint": 7, "ca": "canary"}"#, "a value of the wrong kind"),
            (r#"{"tokens": ["canary"#, "not JSON"),
            (r#"{"canary_1": "x"}"#, "a value of the wrong kind"),
            (r#"{"tokenz": ["canary"]}"#, "unknown field `tokenz`"),
            (r#"{"endpoint": "canary", "endpoint": "canary"}"#, "duplicate field `endpoint`"),
            (r#"{"type": "service_account", "client_email": "canary"}"#, "missing field `private_key`"),
            ("canary", "not JSON"),
            ("", "not JSON"),
        ] {
            let error = Content::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.starts_with("line ") && error.ends_with(problem), "{text}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
