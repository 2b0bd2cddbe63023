//! What can be wrong with a configuration. The words never repeat a key.

use super::GroupResource;
use crate::yaml::{Position, YamlError, YamlProblem};

/// Why a configuration was not read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {problem}")]
pub struct ConfigurationError {
    /// Where.
    pub position: Position,
    /// Why, and what is allowed.
    #[source]
    pub problem: Problem,
}

/// Something that [`super::EncryptionConfiguration::check`] found.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub position: Position,
    /// What.
    pub problem: Problem,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.position, self.problem)
    }
}

/// What is wrong.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No YAML, or YAML that is refused.
    #[error("{0}")]
    Yaml(YamlProblem),
    /// A field that kube-apiserver does not know. It is named only if it cannot be a key.
    #[error("unknown field{}: kube-apiserver refuses it from 1.31 and ignores it before; allowed here: {allowed}", named(.name))]
    UnknownField {
        /// The field.
        name: Option<String>,
        /// The known ones.
        allowed: &'static str,
    },
    /// A number for text, a mapping for a list, ...
    #[error("this must be {0}")]
    Type(&'static str),
    /// Another kind of file.
    #[error(
        "not an EncryptionConfiguration: `apiVersion: apiserver.config.k8s.io/v1` and `kind: EncryptionConfiguration` are needed"
    )]
    Kind,
    /// A list that must not be empty.
    #[error("at least one entry is required in `{0}`")]
    Empty(&'static str),
    /// None or several of the five.
    #[error(
        "a provider must be exactly one of kms, aesgcm, aescbc, secretbox and identity (written `identity: {{}}`)"
    )]
    NotOneProvider,
    /// A field without which nothing works.
    #[error("`{0}` is required")]
    Missing(&'static str),
    /// `secret` of a key.
    #[error("the secret must be base64 of {0}")]
    Secret(&'static str),
    /// `apiVersion` of a KMS entry.
    #[error("`apiVersion` of a KMS entry must be v1 or v2")]
    KmsVersion,
    /// `timeout`.
    #[error("the timeout must be a positive duration such as 3s")]
    Timeout,
    /// `cachesize` 0, or too large for 32 bits.
    #[error("`cachesize` must be a whole number other than 0; a negative one switches the cache off")]
    CacheSize,
    /// `cachesize` of v2.
    #[error("`cachesize` is only for `apiVersion: v1`: remove it")]
    CacheSizeOfV2,
    /// `endpoint` is no URL.
    #[error("the endpoint is no URL: write unix:// and the absolute path of the socket")]
    EndpointUrl,
    /// `endpoint` has another scheme.
    #[error("the endpoint must begin with unix://, followed by the absolute path of the socket")]
    EndpointScheme,
    /// kube-apiserver takes it and connects to another path.
    #[error(
        "kube-apiserver connects to {socket:?}, which is not what is written: write unix:// and the absolute path of the socket"
    )]
    EndpointPath {
        /// What it connects to.
        socket: String,
    },
    /// A colon in the name of a v2 entry.
    #[error("the name of a KMS v2 entry must have no colon")]
    NameColon,
    /// Two KMS entries with one name.
    #[error("another KMS entry has the name {0:?}: names are part of stored values and must be unique")]
    NameTwice(String),
    /// KMS v1 from 1.29 without its feature gate.
    #[error(
        "KMS v1{} needs --feature-gates=KMSv1=true on this kube-apiserver",
        if *.implicit { ", which an entry without `apiVersion` means," } else { "" }
    )]
    KmsV1Gate {
        /// Nothing is written.
        implicit: bool,
    },
    /// KMS v2 before 1.27.
    #[error("KMS v2 needs Kubernetes 1.27: before that it is an incompatible alpha version")]
    KmsV2TooNew,
    /// Wildcards before 1.27.
    #[error("`*` in resources needs Kubernetes 1.27")]
    WildcardTooNew,
    /// Capitals.
    #[error("a resource is written with small letters")]
    Capitals,
    /// `*` alone.
    #[error("`*` alone is not allowed: write `*.` for the core group or `*.*` for everything")]
    Star,
    /// Never stored through the REST API.
    #[error("{0} has no REST API and cannot be encrypted")]
    NoRestApi(String),
    /// `events.k8s.io`.
    #[error("events of events.k8s.io are stored as those of the core group: write `events`")]
    EventsGroup,
    /// `extensions`.
    #[error("the group `extensions` does not exist any more")]
    ExtensionsGroup,
    /// `secrets.*`.
    #[error("one resource of all groups (`NAME.*`) is not allowed")]
    AcrossGroups,
    /// The same twice in one entry.
    #[error("the same resource stands twice in this entry")]
    ResourceTwice,
    /// A wildcard and what it covers in one entry.
    #[error("a wildcard and a resource that it covers stand in this entry: keep one of the two")]
    Overlap,
    /// Covered by a wildcard of an earlier entry.
    #[error(
        "{resource} is covered by {by} of an earlier entry, so that this entry would do nothing: put it before that one"
    )]
    Masked {
        /// What is covered.
        resource: GroupResource,
        /// The wildcard.
        by: GroupResource,
    },
}

impl std::error::Error for Finding {}

impl Problem {
    /// Whether kube-apiserver refuses the file. If not, it starts and does something else than the file seems to say.
    pub fn is_refused(&self) -> bool {
        !matches!(self, Self::EndpointPath { .. })
    }
}

impl From<YamlError> for ConfigurationError {
    fn from(error: YamlError) -> Self {
        Self { position: error.position, problem: Problem::Yaml(error.problem) }
    }
}

fn named(name: &Option<String>) -> String {
    name.as_ref().map(|name| format!(" `{name}`")).unwrap_or_default()
}
