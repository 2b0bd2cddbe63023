use std::str::FromStr;

use keystead_model::ErrorClass;
use serde::{Deserialize, Serialize};

use crate::{Detail, KmsError};

/// An API of this server, as Service Usage names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceApi {
    /// A name for Google's basic APIs, which gcloud enables in each project that it makes; always on, and nothing.
    CloudApis,
    /// Cloud KMS; off in a new project.
    CloudKms,
    /// Resource Manager; always on.
    CloudResourceManager,
    /// Kubernetes Engine; off in a new project.
    Container,
    /// IAM; always on.
    Iam,
    /// Cloud KMS inventory; always on, because all that it says is of Cloud KMS and of what uses that.
    KmsInventory,
    /// Service Usage; always on.
    ServiceUsage,
}

/// Whether an API is on in a project. No record: it is off, if it can be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServiceState {
    pub(crate) enabled: bool,
}

impl ServiceApi {
    /// All of them, in the order of their names.
    pub const ALL: [Self; 7] = [
        Self::CloudApis,
        Self::CloudKms,
        Self::CloudResourceManager,
        Self::Container,
        Self::Iam,
        Self::KmsInventory,
        Self::ServiceUsage,
    ];

    /// Such as `cloudkms.googleapis.com`.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudApis => "cloudapis.googleapis.com",
            Self::CloudKms => "cloudkms.googleapis.com",
            Self::CloudResourceManager => "cloudresourcemanager.googleapis.com",
            Self::Container => "container.googleapis.com",
            Self::Iam => "iam.googleapis.com",
            Self::KmsInventory => "kmsinventory.googleapis.com",
            Self::ServiceUsage => "serviceusage.googleapis.com",
        }
    }

    /// The name that people read.
    pub fn title(self) -> &'static str {
        match self {
            Self::CloudApis => "Google Cloud APIs",
            Self::CloudKms => "Cloud Key Management Service (KMS) API",
            Self::CloudResourceManager => "Cloud Resource Manager API",
            Self::Container => "Kubernetes Engine API",
            Self::Iam => "Identity and Access Management (IAM) API",
            Self::KmsInventory => "KMS Inventory API",
            Self::ServiceUsage => "Service Usage API",
        }
    }

    /// Whether a project can do without it. The others are what it is administered with.
    pub fn can_be_off(self) -> bool {
        matches!(self, Self::CloudKms | Self::Container)
    }
}

impl FromStr for ServiceApi {
    type Err = KmsError;

    fn from_str(text: &str) -> Result<Self, KmsError> {
        Self::ALL.into_iter().find(|api| api.name() == text).ok_or_else(|| {
            let shown: String = text.chars().take(200).collect();
            let served: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            KmsError::new(
                ErrorClass::NotFound,
                format!("Service {shown} is not one of this server, which has {}.", served.join(", ")),
            )
            .with(Detail::ErrorInfo {
                reason: "SERVICE_CONFIG_NOT_FOUND_OR_PERMISSION_DENIED".to_owned(),
                domain: "serviceusage.googleapis.com".to_owned(),
                metadata: [("services".to_owned(), shown)].into(),
            })
        })
    }
}
