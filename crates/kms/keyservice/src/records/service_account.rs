use jiff::Timestamp;
use keystead_crypto::sha256;
use keystead_model::{ProjectId, ProjectName};
use serde::{Deserialize, Serialize};

use super::account_email::AccountEmail;
use crate::Resource;

/// A service account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceAccount {
    /// Its project.
    pub project: ProjectId,
    /// Its address, which is its name.
    pub email: String,
    /// 21 digits; never used for another account, even of the same address. The account of a project's clusters has the
    /// project's number.
    pub unique_id: String,
    /// A name for people. Nothing depends on it.
    pub display_name: String,
    /// A text for people. Nothing depends on it.
    pub description: String,
    /// Nobody can authenticate as it.
    pub disabled: bool,
    /// When it was made; of the account of a project's clusters, when the project was.
    pub create_time: Timestamp,
}

impl ServiceAccount {
    /// `projects/P/serviceAccounts/EMAIL`.
    pub fn resource(&self) -> Resource {
        Resource::ServiceAccount {
            project: ProjectName { project: self.project.clone() },
            email: self.email.clone(),
        }
    }

    /// Changes with every change: what a writer names to be sure that nobody wrote in between.
    pub fn etag(&self) -> Vec<u8> {
        let Self { display_name, description, disabled, unique_id, .. } = self;
        let text = format!("{unique_id}\0{disabled}\0{display_name}\0{description}");
        sha256(text.as_bytes()).first_chunk::<8>().map(|etag| etag.to_vec()).unwrap_or_default()
    }

    /// Whether it is the account that the project's clusters use. It cannot be deleted.
    pub fn is_of_clusters(&self) -> bool {
        matches!(AccountEmail::parse(&self.email), Some(AccountEmail::Cluster { .. }))
    }
}
