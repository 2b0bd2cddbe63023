//! Operations that Google's APIs answer with in place of a result. Ours are done when the answer is given, and nothing of
//! them is stored: the name of an operation says what it did, and reading it looks whether that is so.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keystead_model::{CryptoKeyVersionName, ProjectId};
use keystead_proto::cloud_kms::{DeleteCryptoKeyMetadata, DeleteCryptoKeyVersionMetadata};
use keystead_proto::longrunning::Operation;
use keystead_proto::longrunning::operation::Result as Outcome;
use prost_types::Any;

use super::status::packed;

/// Longest name of an operation that is read, in bytes: one that holds the longest name of a version in base64.
const MAX_LEN: usize = 1024;

/// Something that was done, by the operation's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finished {
    /// The name of the retired resource.
    DeletedKey(String),
    /// The name of the version.
    DeletedVersion(String),
    /// The id of the project, for Resource Manager v1 and v3.
    CreatedProject(String),
    /// Services that were switched: `projects/P/services/S`, with commas.
    SwitchedServices(String),
}

const KEY: &str = "delete-key";
const VERSION: &str = "delete-version";
const PROJECT: &str = "cp";
const SERVICES: &str = "services";

impl Finished {
    pub(super) fn deleted_key(retired: &str) -> Self {
        Self::DeletedKey(retired.to_owned())
    }

    pub(super) fn deleted_version(name: &str) -> Self {
        Self::DeletedVersion(name.to_owned())
    }

    /// What an operation of that name did, if it is one of ours.
    pub(super) fn parse(name: &str) -> Option<Self> {
        if name.len() > MAX_LEN {
            return None;
        }
        let (parent, id) = name.rsplit_once("operations/")?;
        let (kind, encoded) = id.split_once('.')?;
        let subject = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
        let finished = match kind {
            KEY => Self::DeletedKey(subject),
            VERSION if subject.parse::<CryptoKeyVersionName>().is_ok() => Self::DeletedVersion(subject),
            PROJECT if subject.parse::<ProjectId>().is_ok() => Self::CreatedProject(subject),
            SERVICES => Self::SwitchedServices(subject),
            _ => return None,
        };
        (finished.parent() == parent).then_some(finished)
    }

    /// The whole name of the operation.
    pub(super) fn name(&self) -> String {
        let (kind, subject) = match self {
            Self::DeletedKey(subject) => (KEY, subject),
            Self::DeletedVersion(subject) => (VERSION, subject),
            Self::CreatedProject(subject) => (PROJECT, subject),
            Self::SwitchedServices(subject) => (SERVICES, subject),
        };
        format!("{}operations/{kind}.{}", self.parent(), URL_SAFE_NO_PAD.encode(subject))
    }

    /// `projects/P/locations/L/` for what is in a location.
    fn parent(&self) -> String {
        match self {
            Self::DeletedKey(subject) | Self::DeletedVersion(subject) => {
                subject.split_inclusive('/').take(4).collect()
            }
            Self::CreatedProject(_) | Self::SwitchedServices(_) => String::new(),
        }
    }

    /// A deletion, done. It answers with nothing.
    pub(super) fn operation(&self) -> Operation {
        let metadata = match self {
            Self::DeletedKey(retired) => Some(packed(
                "google.cloud.kms.v1.DeleteCryptoKeyMetadata",
                &DeleteCryptoKeyMetadata { retired_resource: retired.clone() },
            )),
            Self::DeletedVersion(_) => Some(packed(
                "google.cloud.kms.v1.DeleteCryptoKeyVersionMetadata",
                &DeleteCryptoKeyVersionMetadata {},
            )),
            Self::CreatedProject(_) | Self::SwitchedServices(_) => None,
        };
        self.with(metadata, packed("google.protobuf.Empty", &()))
    }

    pub(super) fn with(&self, metadata: Option<Any>, response: Any) -> Operation {
        Operation { name: self.name(), metadata, done: true, result: Some(Outcome::Response(response)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let location = "projects/key-project/locations/us-central1";
        for finished in [
            Finished::deleted_key(&format!("{location}/retiredResources/0a1b")),
            Finished::deleted_version(&format!("{location}/keyRings/r/cryptoKeys/k/cryptoKeyVersions/7")),
            Finished::CreatedProject("key-project".into()),
            Finished::SwitchedServices("projects/p/services/cloudkms.googleapis.com".into()),
        ] {
            let name = finished.name();
            assert_eq!(Finished::parse(&name), Some(finished), "{name}");
            assert_eq!(Finished::parse(&format!("x{name}")), None);
            assert_eq!(Finished::parse(&name.replace('.', "")), None);
        }
        let name = Finished::deleted_key(&format!("{location}/retiredResources/0a1b")).name();
        assert!(name.starts_with(&format!("{location}/operations/delete-key.")), "{name}");
        assert_eq!(Finished::parse(&name.replace("key-project", "other-project")), None);
        assert_eq!(Finished::parse("operations/"), None);
    }
}
