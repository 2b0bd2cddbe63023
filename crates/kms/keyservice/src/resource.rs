use std::fmt;

use keystead_model::{
    ClusterName, CryptoKeyName, CryptoKeyVersionName, KeyRingName, LocationName, ProjectId, ProjectName,
};

/// What a permission is asked for, and where its policies are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The server itself: its policy is inherited by everything.
    Server,
    /// A project.
    Project(ProjectName),
    /// A location of a project; it has no policy of its own.
    Location(LocationName),
    /// A key ring.
    KeyRing(KeyRingName),
    /// A key.
    CryptoKey(CryptoKeyName),
    /// A key version; it has no policy of its own.
    CryptoKeyVersion(CryptoKeyVersionName),
    /// A cluster; it has no policy of its own.
    Cluster(ClusterName),
    /// A service account.
    ServiceAccount {
        /// Its project.
        project: ProjectName,
        /// Its address.
        email: String,
    },
}

impl Resource {
    /// The names whose policies count, from the server (an empty name) down to the resource itself.
    pub fn policy_holders(&self) -> Vec<String> {
        let mut holders = vec![String::new()];
        if let Some(project) = self.project() {
            holders.push(["projects/", project.as_str()].concat());
        }
        match self {
            Self::Server | Self::Project(_) | Self::Location(_) | Self::Cluster(_) => {}
            Self::KeyRing(ring) => holders.push(ring.to_string()),
            Self::CryptoKey(key) => holders.extend([key.ring.to_string(), key.to_string()]),
            Self::CryptoKeyVersion(version) => {
                holders.extend([version.key.ring.to_string(), version.key.to_string()]);
            }
            Self::ServiceAccount { .. } => holders.push(self.to_string()),
        }
        holders
    }

    /// The project that it belongs to.
    pub fn project(&self) -> Option<&ProjectId> {
        match self {
            Self::Server => None,
            Self::Project(name) => Some(&name.project),
            Self::Location(name) => Some(&name.project),
            Self::KeyRing(name) => Some(&name.location.project),
            Self::CryptoKey(name) => Some(&name.ring.location.project),
            Self::CryptoKeyVersion(name) => Some(&name.key.ring.location.project),
            Self::Cluster(name) => Some(&name.location.project),
            Self::ServiceAccount { project, .. } => Some(&project.project),
        }
    }

    /// `resource.type` in conditions.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Server => "keystead.io/Server",
            Self::Project(_) => "cloudresourcemanager.googleapis.com/Project",
            Self::Location(_) => "cloudkms.googleapis.com/Location",
            Self::KeyRing(_) => "cloudkms.googleapis.com/KeyRing",
            Self::CryptoKey(_) => "cloudkms.googleapis.com/CryptoKey",
            Self::CryptoKeyVersion(_) => "cloudkms.googleapis.com/CryptoKeyVersion",
            Self::Cluster(_) => "container.googleapis.com/Cluster",
            Self::ServiceAccount { .. } => "iam.googleapis.com/ServiceAccount",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server => f.write_str("server"),
            Self::Project(name) => name.fmt(f),
            Self::Location(name) => name.fmt(f),
            Self::KeyRing(name) => name.fmt(f),
            Self::CryptoKey(name) => name.fmt(f),
            Self::CryptoKeyVersion(name) => name.fmt(f),
            Self::Cluster(name) => name.fmt(f),
            Self::ServiceAccount { project, email } => write!(f, "{project}/serviceAccounts/{email}"),
        }
    }
}
