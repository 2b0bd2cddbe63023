//! The provider that wraps the store key: a key in a Cloud KMS, or a key file, made on the first start and never again.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use keystead_crypto::{Random, SystemRandom};
use keystead_provider::Provider;
use keystead_provider_cloudkms::CloudKmsProvider;
use keystead_provider_local::{DiskError, KeyFile, LocalProvider, create};
use keystead_runtime::Failure;

use crate::health::Refused;
use crate::restore::import_root_key;
use crate::settings::Settings;

/// The root key, and what says whether a server that starts would find it.
pub(crate) struct RootKey {
    pub(crate) provider: Box<dyn Provider>,
    pub(crate) refused: Refused,
}

/// Opens the root key: the one that is named in a Cloud KMS, else the key file at `path`.
pub(crate) fn open(settings: &Settings, path: &Path, random: &Arc<dyn Random>) -> Result<RootKey, Failure> {
    let Some(in_cloud_kms) = &settings.root_key else {
        let provider = Arc::new(open_file(path, &settings.database, random)?);
        let asked = Arc::clone(&provider);
        return Ok(RootKey { provider: Box::new(provider), refused: Box::new(move || asked.refused()) });
    };
    let provider = CloudKmsProvider::open(in_cloud_kms.as_ref().clone()).map_err(|error| {
        let hint = "check --root-key-credentials-file; docs/reference/cloudkms.md says what it holds";
        Failure::from_error(&error).hint(hint.to_owned()).hint(error.hint())
    })?;
    let provider = Arc::new(provider);
    let asked = Arc::clone(&provider);
    Ok(RootKey { provider: Box::new(provider), refused: Box::new(move || asked.refused()) })
}

/// Reads what [`open`] would read, and makes nothing.
pub(crate) fn check(settings: &Settings, path: &Path) -> Result<(), Failure> {
    let missing = |path: &Path| path.symlink_metadata().is_err();
    // A first start makes it.
    if settings.root_key.is_none() && missing(path) && missing(&settings.database) {
        return Ok(());
    }
    let random: Arc<dyn Random> = Arc::new(SystemRandom);
    open(settings, path, &random).map(drop)
}

/// Opens the key file. It is made only while there is no database, because with another root key a database cannot be
/// opened.
fn open_file(path: &Path, database: &Path, random: &Arc<dyn Random>) -> Result<LocalProvider, Failure> {
    if path.symlink_metadata().is_err() {
        if database.symlink_metadata().is_ok() {
            return Err(Failure::new(format!(
                "there is a database, {}, and no root key, {}, to open it with",
                database.display(),
                path.display()
            ))
            .hint(format!(
                "bring the root key back from where it was exported to: {}; a key in Cloud KMS is named in the configuration \
                 (rootKey)",
                import_root_key(path)
            )));
        }
        let now = Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let made = KeyFile::generate(&now, random.as_ref()).map_err(|error| Failure::from_error(&error))?;
        create(path, &made).map_err(|error| refused(&error))?;
        tracing::info!(path = %path.display(), "made a root key: export it, sealed, to another place");
    }
    LocalProvider::open(path, Arc::clone(random)).map_err(|error| refused(&error))
}

fn refused(error: &DiskError) -> Failure {
    Failure::from_error(error)
        .hint("the root key opens everything else; it must be a file that only this user can read".to_owned())
        .hint(error.hint())
}
