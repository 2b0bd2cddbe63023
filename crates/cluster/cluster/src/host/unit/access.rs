//! What the API server of a unit does not see of its host, and what its user may not open.

use std::fs;
use std::path::Path;

use super::{Unit, user};
use crate::api_server_unit::UnitError;
use crate::host::HostError;
use crate::host::plugins::PluginAt;
use crate::owned_file::OwnedFile;
use crate::pod_user::PodUser;

/// Bits of a mode.
const READS: u32 = 0o4;
const WRITES: u32 = 0o2;
pub(super) const SEARCHES: u32 = 0o1;

impl Unit {
    /// Whom its process runs as, or would if it were started.
    pub(super) fn user(&self) -> Result<PodUser, UnitError> {
        if let Some(user) = self.running.as_ref().and_then(|it| it.user()) {
            return Ok(user);
        }
        let words = &self.shown.runs_as;
        user::of_words(words).map_err(|reason| UnitError::NoUser {
            unit: self.name.clone(),
            user: match &words.user {
                Some(user) if !words.is_dynamic => format!("User={user}"),
                _ => "DynamicUser=yes".to_owned(),
            },
            reason,
        })
    }

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

    /// Where its user may not go, or why that is not known. What is not there yet is nobody's.
    pub(super) fn closes(&self, path: &Path, wanted: u32, may_not: &'static str) -> Option<UnitError> {
        let user = match self.user() {
            Ok(user) => user,
            Err(error) => return Some(error),
        };
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

    /// The group that a file is to be for, so that kube-apiserver reads it: one that is there, or one that is made for us alone. None: it may
    /// read that already.
    pub(in crate::host) fn reader(&self, file: Option<&OwnedFile>) -> Result<Option<u32>, HostError> {
        let user = self.user()?;
        let may = match file {
            Some(file) => user.may(file.metadata(), READS),
            None => user.may_by(rustix::process::geteuid().as_raw(), 0, 0o600, READS),
        };
        Ok(user.groups.last().copied().filter(|_| !may))
    }
}
