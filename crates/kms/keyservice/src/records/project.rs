use std::collections::BTreeMap;

use jiff::Timestamp;
use keystead_model::{ProjectId, ProjectName};
use serde::{Deserialize, Serialize};

use super::account_email;

/// A project: what service accounts, key rings and policies belong to. It cannot be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// Its id, chosen by who made it.
    pub id: ProjectId,
    /// Its number: 12 digits, chosen by the server, never used for another.
    pub number: u64,
    /// A name for people. Nothing depends on it.
    pub display_name: String,
    /// When it was made.
    pub create_time: Timestamp,
    /// The only free data about it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Project {
    /// `projects/ID`.
    pub fn name(&self) -> ProjectName {
        ProjectName { project: self.id.clone() }
    }

    /// The address of the service account that the project's clusters use.
    pub fn cluster_account(&self) -> String {
        account_email::cluster(self.number)
    }
}
