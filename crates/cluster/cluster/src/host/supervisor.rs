//! How a host runs its API server: the kubelet by a manifest, or systemd by a unit. Both are asked the same few things.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::plugins::PluginAt;
use super::static_pod::StaticPod;
use super::unit::Unit;
use super::{HostError, LocalHost, Process, systemd};
use crate::api_server_facts::Facts;
use crate::api_server_manifest::EncryptionSettings;
use crate::api_server_unit::{Doubt, DropIn, UnitError};
use crate::owned_file::{InFile, OwnedFile, Places};
use crate::pod_user::PodUser;

/// What starts the API server, read.
pub(crate) enum Supervisor {
    /// The kubelet.
    Kubelet(Box<StaticPod>),
    /// systemd.
    Systemd(Box<Unit>),
}

/// What is to be put in the place of what starts it now.
pub(super) enum NewStart {
    Manifest(String),
    DropIn(Option<DropIn>),
}

impl LocalHost {
    pub(super) fn supervisor(&self) -> Result<Supervisor, HostError> {
        match self.unit()? {
            Some(unit) => Ok(Supervisor::Systemd(Box::new(Unit::read(&unit)?))),
            None if systemd::runs() && !self.has_manifest()? => {
                Err(HostError::NoApiServer(self.manifest.clone()))
            }
            None => Ok(Supervisor::Kubelet(Box::new(StaticPod::read(&self.manifest)?))),
        }
    }

    /// The unit that runs the API server; none where a manifest does, or nothing.
    fn unit(&self) -> Result<Option<String>, HostError> {
        if self.unit.is_some() {
            return Ok(self.unit.clone());
        }
        if self.has_manifest()? || !systemd::runs() {
            return Ok(None);
        }
        let mut units = systemd::find();
        match units.len() {
            0 | 1 => Ok(units.pop_first()),
            _ => Err(HostError::SeveralUnits(units.into_iter().collect())),
        }
    }

    fn has_manifest(&self) -> Result<bool, HostError> {
        match self.manifest.symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(HostError::Unseen { path: self.manifest.clone(), source }),
        }
    }

    /// Whether this host is one of the control plane already.
    ///
    /// # Errors
    ///
    /// That cannot be found out.
    pub fn has_api_server(&self) -> Result<bool, HostError> {
        let Some(unit) = self.unit()? else { return self.has_manifest() };
        match systemd::show(&unit) {
            Ok(shown) => Ok(shown.main_process.is_some() || shown.is_changing()),
            Err(UnitError::NotLoaded { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Supervisor {
    /// What it would start with.
    pub(crate) fn facts(&self) -> Result<Facts, HostError> {
        match self {
            Self::Kubelet(pod) => pod.facts(),
            Self::Systemd(unit) => unit.facts(),
        }
    }

    /// The file that a person edits.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Kubelet(pod) => pod.path(),
            Self::Systemd(unit) => unit.path(),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Option<String> {
        match self {
            Self::Kubelet(pod) => pod.flag(name),
            Self::Systemd(unit) => unit.flag(name),
        }
    }

    /// Whom it runs as, as far as that is said.
    pub(crate) fn users(&self) -> BTreeSet<PodUser> {
        match self {
            Self::Kubelet(pod) => pod.users(),
            Self::Systemd(unit) => unit.users(),
        }
    }

    /// Of all that decides what it starts with, apart from the EncryptionConfiguration.
    pub(super) fn digest(&self) -> String {
        match self {
            Self::Kubelet(pod) => pod.digest(),
            Self::Systemd(unit) => unit.digest(),
        }
    }

    /// When that last changed, in seconds since 1970.
    pub(super) fn changed(&self) -> f64 {
        match self {
            Self::Kubelet(pod) => pod.changed(),
            Self::Systemd(unit) => unit.changed(),
        }
    }

    pub(super) fn process(&self, facts: &Facts) -> Option<Process> {
        match self {
            Self::Kubelet(pod) => pod.process(facts),
            Self::Systemd(unit) => unit.process(),
        }
    }

    /// Whether a process is to end or to start, with nothing more to be done for it.
    pub(super) fn is_restarting(&self, process: Option<&Process>, has_flag: bool) -> bool {
        match self {
            Self::Kubelet(pod) => pod.is_restarting(process, has_flag),
            Self::Systemd(unit) => unit.is_restarting(),
        }
    }

    /// The unit of systemd, and files that its flags name. None: it is a manifest.
    pub(crate) fn unit(&self) -> Option<(&str, Vec<PathBuf>)> {
        match self {
            Self::Kubelet(_) => None,
            Self::Systemd(unit) => Some((unit.name(), unit.named_files())),
        }
    }

    /// Why it might start with something else than what is read. Nothing is changed meanwhile.
    pub(crate) fn unsettled(&self) -> Option<Doubt> {
        match self {
            Self::Kubelet(_) => None,
            Self::Systemd(unit) => unit.unsettled(),
        }
    }

    /// What a person ought to know, and what stops nothing.
    pub(crate) fn remarks(&self) -> Vec<Doubt> {
        match self {
            Self::Kubelet(_) => Vec::new(),
            Self::Systemd(unit) => unit.unread().into_iter().chain(unit.changed_below()).collect(),
        }
    }

    /// Whether systemd has yet to read what a command of ours wrote or took away.
    pub(super) fn is_unread(&self) -> bool {
        match self {
            Self::Kubelet(_) => false,
            Self::Systemd(unit) => unit.unread().is_some(),
        }
    }

    /// Why it does not get to a plugin, and nothing that is done here changes that.
    pub(super) fn refusal(&self, plugin: &PluginAt) -> Option<HostError> {
        match self {
            Self::Kubelet(_) => None,
            Self::Systemd(unit) => unit.refusal(plugin).map(HostError::from),
        }
    }

    pub(super) fn encrypting(&self, settings: &EncryptionSettings) -> Result<NewStart, HostError> {
        Ok(match self {
            Self::Kubelet(pod) => NewStart::Manifest(pod.encrypting(settings)?),
            Self::Systemd(unit) => NewStart::DropIn(unit.encrypting(settings)?),
        })
    }

    pub(super) fn plain(&self, settings: &EncryptionSettings) -> Result<NewStart, HostError> {
        Ok(match self {
            Self::Kubelet(pod) => NewStart::Manifest(pod.plain(settings)?),
            Self::Systemd(unit) => NewStart::DropIn(unit.plain()?),
        })
    }

    /// Whether [`Self::put`] would find its places fit.
    pub(super) fn check(&self, places: &Places) -> Result<(), HostError> {
        match self {
            Self::Kubelet(pod) => pod.check(places),
            Self::Systemd(unit) => unit.check(places),
        }
    }

    /// Puts it in its place, which restarts the API server.
    pub(super) fn put(&self, new: &NewStart, places: &Places) -> Result<(), HostError> {
        match (self, new) {
            (Self::Kubelet(pod), NewStart::Manifest(text)) => pod.put(text, places),
            (Self::Systemd(unit), NewStart::DropIn(drop_in)) => unit.put(drop_in.as_ref(), places),
            // It was made for another way of starting than the one that is found now.
            (Self::Kubelet(_), NewStart::DropIn(_)) | (Self::Systemd(_), NewStart::Manifest(_)) => {
                Err(HostError::Changed(self.path().to_owned()))
            }
        }
    }

    /// Restarts it as it is, if it is still that process.
    pub(super) fn restart(&self, process: &str, places: &Places) -> Result<(), HostError> {
        match self {
            Self::Kubelet(pod) => pod.restart(process, places),
            Self::Systemd(unit) => unit.restart(process),
        }
    }

    /// The group that a file is to be for, so that it reads it: one that is there, or one that is made for us alone. None: it may read it as
    /// it is.
    pub(super) fn reader(&self, file: Option<&OwnedFile>) -> Result<Option<u32>, HostError> {
        match self {
            Self::Kubelet(_) => Ok(None),
            Self::Systemd(unit) => unit.reader(file),
        }
    }

    /// An error about what it starts with, with the name of the file.
    pub(super) fn located<E: std::error::Error + 'static>(&self, error: E) -> InFile<E> {
        InFile { path: self.path().to_owned(), source: Box::new(error) }
    }
}
