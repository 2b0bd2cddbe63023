//! Which driver this host works for. Each one that takes the Lease has a higher number, its tenure; a host that was looked at under a later
//! one does nothing more for an earlier one, however late that one's words come: it may have stood still for minutes.

use std::fs;
use std::path::PathBuf;

use keystead_runtime::whole_file::{self, Readers};

use super::{HostError, LocalHost};

/// Seconds that a tenure may be ahead of this host's clock. They begin as seconds since 1970 and grow by one with each driver, so that a higher
/// one is a wrong clock's, or made up: noted once, it would keep every true driver away.
pub(crate) const TENURE_AHEAD_MAX: u64 = 24 * 60 * 60;

impl LocalHost {
    /// Notes a later driver. Refuses an earlier one, and one that cannot be.
    pub(super) fn follow(&self, tenure: u64) -> Result<(), HostError> {
        // A look takes no lock unless there is something to note.
        if self.followed()? == Some(tenure) {
            return Ok(());
        }
        let _lock = self.lock()?;
        self.is_followed(tenure)?;
        let path = self.tenure_file();
        whole_file::replace(&path, tenure.to_string().as_bytes(), Readers::Owner)
            .map_err(|source| HostError::Places { path, source })
    }

    /// Refuses an earlier driver than the one that was noted last, and one that cannot be. What is changed is changed under the same lock.
    pub(super) fn is_followed(&self, tenure: u64) -> Result<(), HostError> {
        let now: u64 = jiff::Timestamp::now().as_second().try_into().unwrap_or_default();
        if tenure > now.saturating_add(TENURE_AHEAD_MAX) {
            return Err(HostError::Ahead(tenure));
        }
        match self.followed()? {
            Some(later) if later > tenure => Err(HostError::Overtaken(self.tenure_file())),
            _ => Ok(()),
        }
    }

    fn followed(&self) -> Result<Option<u64>, HostError> {
        let path = self.tenure_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(HostError::Places { path, source }),
        }
    }

    fn tenure_file(&self) -> PathBuf {
        self.places.staging.join("driver")
    }
}
