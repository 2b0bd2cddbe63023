//! What the API server of a unit does not see of its host, and what its user may not open.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use super::Unit;
use crate::api_server_unit::UnitError;
use crate::host::HostError;
use crate::host::plugins::PluginAt;
use crate::owned_file::OwnedFileError;

/// Bits of a mode.
const READS: u32 = 0o4;
const WRITES: u32 = 0o2;
pub(super) const SEARCHES: u32 = 0o1;

impl Unit {
    /// Why it does not get to the socket of a plugin, or to a directory.
    pub(in crate::host) fn refusal(&self, plugin: &PluginAt) -> Option<UnitError> {
        let unit = self.name.clone();
        if !self.shown.has_unix_sockets {
            let by = "RestrictAddressFamilies=".to_owned();
            return Some(UnitError::Hidden { unit, path: plugin.socket.clone(), by });
        }
        if plugin.socket.starts_with('@') {
            return None;
        }
        let socket = Path::new(&plugin.socket);
        self.hides(socket).or_else(|| self.closes(socket, WRITES, "may not open"))
    }

    pub(super) fn hides(&self, path: &Path) -> Option<UnitError> {
        let path = path.display().to_string();
        let by = self.shown.view.hides(&path)?.to_owned();
        Some(UnitError::Hidden { unit: self.name.clone(), path, by })
    }

    /// Where its user may not go. What is not there yet is nobody's.
    pub(super) fn closes(&self, path: &Path, wanted: u32, may_not: &'static str) -> Option<UnitError> {
        let user = self.user()?;
        let mut all: Vec<&Path> = path.ancestors().collect();
        all.reverse();
        all.into_iter().find_map(|it| {
            let found = fs::metadata(it).ok()?;
            let wanted = if it == path { wanted } else { SEARCHES };
            (!user.may(&found, wanted)).then(|| UnitError::Closed {
                unit: self.name.clone(),
                user: user.user,
                may_not: if it == path { may_not } else { "may not enter" },
                path: it.to_owned(),
            })
        })
    }

    /// Lets kube-apiserver's group read a file that was made for root alone.
    pub(in crate::host) fn let_read(&self, path: &Path) -> Result<(), HostError> {
        let io = |source| {
            HostError::from(OwnedFileError::Io {
                action: "let kube-apiserver read",
                path: path.to_owned(),
                source,
            })
        };
        let Some(user) = self.user() else { return Ok(()) };
        let found = fs::metadata(path).map_err(io)?;
        if !user.may(&found, READS) {
            chown(path, None, user.groups.last().copied()).map_err(io)?;
            fs::set_permissions(path, Permissions::from_mode((found.mode() & 0o7777) | 0o040)).map_err(io)?;
        }
        Ok(())
    }
}
