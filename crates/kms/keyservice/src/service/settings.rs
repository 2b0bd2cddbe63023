use std::path::PathBuf;

use keystead_model::destruction::InUseRule;
use keystead_model::{ErrorClass, LocationId, LocationName};

use crate::records::notice::EventKind;
use crate::{KeyService, KmsError};

/// What the server's configuration says to the key service.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The locations that are served. With us a location is a name, not a place.
    pub locations: Vec<Location>,
    /// Who is in which group: a YAML file of `GROUP: [MEMBER, ...]`; none: nobody is in any.
    pub groups_file: Option<PathBuf>,
    /// Folders, best on other machines, in which every key version is kept before it can be used.
    pub backup_destinations: Vec<PathBuf>,
    /// The address of `POST /token`, as it stands in key files of service accounts.
    pub token_uri: String,
    /// Which versions are in use, so that they are not destroyed.
    pub in_use: InUseRule,
    /// For whom, besides the names of Google's APIs, keys of service accounts may sign bearer tokens.
    pub audiences: Vec<String>,
    /// Whether clusters can be made that this server itself runs.
    pub local_clusters: bool,
    /// Who is told of what.
    pub webhooks: Vec<Webhook>,
}

/// A receiver of notices. Who sends them to it is told by [`KeyService::waiting_notices`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its name here: what waits for it is stored under that.
    pub name: String,
    /// What it is told of, besides what concerns itself.
    pub events: Vec<EventKind>,
}

/// A location that can hold key rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Such as `us-central1` or `global`.
    pub id: LocationId,
    /// A name for people. Nothing depends on it.
    pub display_name: String,
    /// Places in it that clusters may be in, besides those whose names end in a hyphen and a letter: `us-central1-a` is in
    /// `us-central1`.
    pub zones: Vec<LocationId>,
}

impl KeyService {
    /// Refuses a location that is not served.
    pub(crate) fn require_location(&self, name: &LocationName) -> Result<&Location, KmsError> {
        let served = &self.settings.locations;
        served.iter().find(|served| served.id == name.location).ok_or_else(|| {
            KmsError::new(
                ErrorClass::NotFound,
                format!(
                    "Location {} is not served here: Cloud KMS is not available in it. See `gcloud kms locations list`.",
                    name.location
                ),
            )
        })
    }
}
