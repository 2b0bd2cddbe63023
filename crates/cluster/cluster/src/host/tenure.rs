//! Which driver this host works for. Each one that takes the Lease has a higher number, its tenure; a host that was looked at under a later
//! one does nothing more for an earlier one, however late that one's words come: it may have stood still for minutes.

use std::fs;
use std::path::PathBuf;

use keystead_runtime::whole_file::{self, Readers};

use super::{HostError, LocalHost};

impl LocalHost {
    /// Notes a later driver. Refuses an earlier one.
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

    /// Refuses an earlier driver than the one that was noted last. What is changed is changed under the same lock.
    pub(super) fn is_followed(&self, tenure: u64) -> Result<(), HostError> {
        match self.followed()? {
            Some(later) if later > tenure => Err(HostError::Overtaken),
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
