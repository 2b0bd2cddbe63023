//! A host that will join the control plane: `kubeadm join` writes a manifest with the flag, and the file that it names has to be there before.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use keystead_runtime::whole_file::{self, FileError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::files::digest;
use super::plugins::{self, PluginAt};
use super::{HostError, LocalHost};
use crate::encryption_configuration::{ApiServer, EncryptionConfiguration};
use crate::kms_socket::{PluginProblem, Wrapped};
use crate::owned_file::{self, OwnedFile, OwnedFileError};
use crate::provider_order::KmsPlugin;
use crate::rollout::Provider;
use crate::yaml::MAX_LEN;

/// What a host that joins needs of one that is there, without the file itself: a host that was named by mistake must not have that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Where kube-apiserver looks for its EncryptionConfiguration, in the container and on every host.
    pub path: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    /// The plugins of the file, with something that each of the host that is there wrapped.
    pub plugins: Vec<(KmsPlugin, Wrapped)>,
}

/// The text of an EncryptionConfiguration, which may hold keys.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FileText(Zeroizing<String>);

impl fmt::Debug for FileText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// How far a host is prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// The file.
    pub file: PreparedFile,
    /// A manifest of kube-apiserver is there, or a unit that runs: the host has joined.
    pub has_joined: bool,
    /// The plugins of the file.
    pub plugins: Vec<(Provider, PluginState)>,
}

/// What a plugin does with what another host's plugin wrapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PluginState {
    /// It unwraps it.
    Unwraps,
    /// Nobody answers; why.
    Away(String),
    /// It does not unwrap it: it has another key, or none; why.
    Refuses(String),
}

/// The file of a host that joins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PreparedFile {
    /// It is not there.
    Missing,
    /// It is there, the same byte for byte.
    Same,
    /// Another one is there.
    Other,
}

impl LocalHost {
    /// What another host needs to join this one, by the files and plugins here, and the file. None: this host has no flag, so that nothing
    /// is needed.
    ///
    /// # Errors
    ///
    /// The files cannot be read, the path is another one in the container, or a plugin does not work.
    pub async fn preparation(&self) -> Result<Option<(Preparation, FileText)>, HostError> {
        let files = self.files()?;
        let Some(found) = files.configuration()? else { return Ok(None) };
        let path = files.facts.encryption_provider_config.clone().unwrap_or_default();
        if Path::new(&path) != found.file.path() {
            return Err(HostError::ElsewhereInContainer { path, host: found.file.path().to_owned() });
        }
        let mut wrapped = Vec::new();
        let known = plugins::known(Some(&found.text), &[]);
        let probes = plugins::probe(&known, &files.facts).await;
        for (PluginAt { provider, socket }, probe) in known.into_iter().zip(probes) {
            let sample = probe.map_err(|reason| HostError::Plugin { provider: provider.clone(), reason })?;
            // A name in the abstract name space is written behind a slash.
            let slash = if socket.starts_with('@') { "/" } else { "" };
            let endpoint = format!("unix://{slash}{socket}");
            wrapped.push((KmsPlugin { provider, endpoint, timeout: None }, sample));
        }
        let (path, digest) = (found.file.path().to_owned(), digest(found.file.bytes()));
        let text = FileText(Zeroizing::new(found.text.text().to_owned()));
        Ok(Some((Preparation { path, digest, plugins: wrapped }, text)))
    }

    /// Looks how far this host is prepared, and with the file's text puts that there, for root alone.
    pub(super) async fn prepare(
        &self,
        wanted: &Preparation,
        text: Option<&FileText>,
    ) -> Result<Prepared, HostError> {
        self.refuse_other_places(&wanted.path)?;
        let mut prepared = Prepared {
            file: prepared_file(wanted)?,
            has_joined: self.has_api_server()?,
            plugins: Vec::new(),
        };
        for (plugin, sample) in &wanted.plugins {
            let known = plugins::known(None, std::slice::from_ref(plugin));
            for plugin in &known {
                prepared.plugins.push((plugin.provider.clone(), state(plugin, sample).await));
            }
        }
        let Some(text) = text.filter(|_| prepared.file != PreparedFile::Same) else { return Ok(prepared) };
        if prepared.has_joined {
            return Err(HostError::HasJoined);
        }
        let bytes = text.0.as_bytes();
        refuse_other_texts(bytes)?;
        let _lock = self.lock()?;
        let directory = whole_file::directory_of(&wanted.path);
        // kubeadm makes it in this way too, and comes later.
        let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(|source| HostError::Places { path: directory.to_owned(), source })?;
        owned_file::create(&wanted.path, bytes, &self.places, None)?;
        prepared.file = PreparedFile::Same;
        Ok(prepared)
    }

    /// Whoever sends a task names the place: it must be one for this file, in a directory that only root changes.
    fn refuse_other_places(&self, path: &Path) -> Result<(), HostError> {
        let refused = |reason: &'static str| HostError::NoPlace { path: path.to_owned(), reason };
        let directory = path.parent().ok_or_else(|| refused("it has no directory"))?;
        let is_plain = path.components().all(|it| matches!(it, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !is_plain {
            return Err(refused("it must be absolute, without `..`"));
        }
        let own = self.configuration.parent().unwrap_or(Path::new("/"));
        if !directory.starts_with(own) && !directory.starts_with(KUBERNETES) {
            return Err(refused("it is neither below /etc/kubernetes nor beside --configuration"));
        }
        if self.manifest.parent().is_some_and(|it| directory.starts_with(it)) {
            return Err(refused("the kubelet takes what is there for pods"));
        }
        // What is not there yet is made below it.
        let there = directory.ancestors().find(|it| it.symlink_metadata().is_ok()).unwrap_or(directory);
        let found = there.symlink_metadata().map_err(|_| refused("its directory cannot be looked at"))?;
        let is_real = there.canonicalize().is_ok_and(|it| it == there);
        if !is_real || !whole_file::is_ours(&found) || found.mode() & 0o022 != 0 {
            return Err(refused("its directory is a link, or others may write to it"));
        }
        Ok(())
    }
}

/// Where kubeadm has everything.
const KUBERNETES: &str = "/etc/kubernetes";

/// Only what kube-apiserver takes.
fn refuse_other_texts(bytes: &[u8]) -> Result<(), HostError> {
    let refused = |reason: String| HostError::NoConfiguration(reason);
    let text = EncryptionConfiguration::read(bytes).map_err(|error| refused(error.to_string()))?;
    let newest = ApiServer { minor: u32::MAX, automatic_reload: true, kms_v1: Some(true) };
    match text.check(&newest).into_iter().find(|it| it.problem.is_refused()) {
        Some(finding) => Err(refused(finding.to_string())),
        None => Ok(()),
    }
}

fn prepared_file(wanted: &Preparation) -> Result<PreparedFile, HostError> {
    match OwnedFile::read(&wanted.path, MAX_LEN) {
        Ok(found) if digest(found.bytes()) == wanted.digest => Ok(PreparedFile::Same),
        Ok(_) => Ok(PreparedFile::Other),
        Err(OwnedFileError::File(FileError::Missing(_))) => Ok(PreparedFile::Missing),
        Err(error) => Err(error.into()),
    }
}

async fn state(plugin: &PluginAt, sample: &Wrapped) -> PluginState {
    match plugin.open().unwrap(sample).await {
        Ok(()) => PluginState::Unwraps,
        Err(problem @ (PluginProblem::Unreachable { .. } | PluginProblem::Late { .. })) => {
            PluginState::Away(problem.to_string())
        }
        Err(problem) => PluginState::Refuses(problem.to_string()),
    }
}
