//! The provider that wraps the store key: a key file, made on the first start and never again.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use keystead_crypto::Random;
use keystead_provider_local::{DiskError, KeyFile, LocalProvider, create};
use keystead_runtime::Failure;

/// Opens the key file. It is made only while there is no database, because with another root key a database cannot be
/// opened.
pub(crate) fn open(path: &Path, database: &Path, random: &Arc<dyn Random>) -> Result<LocalProvider, Failure> {
    if path.symlink_metadata().is_err() {
        if database.symlink_metadata().is_ok() {
            return Err(Failure::new(format!(
                "there is a database, {}, and no root key, {}, to open it with",
                database.display(),
                path.display()
            ))
            .hint(format!(
                "bring the root key back from where it was exported to: `keystead plugin key import FILE --key-file {}`",
                path.display()
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
