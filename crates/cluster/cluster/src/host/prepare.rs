//! A host that will join the control plane: `kubeadm join` writes a manifest with the flag, and the file that it names has to be there before.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use keystead_runtime::whole_file::FileError;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::plugins::{self, PluginAt};
use super::{HostError, LocalHost};
use crate::encryption_configuration::EncryptionConfiguration;
use crate::kms_socket::{PluginProblem, Wrapped};
use crate::owned_file::{self, OwnedFile, OwnedFileError};
use crate::rollout::Provider;
use crate::yaml::MAX_LEN;

/// What a host that joins needs of one that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preparation {
    /// Where kube-apiserver looks for its EncryptionConfiguration, in the container and on every host.
    pub path: PathBuf,
    /// The file.
    pub text: FileText,
    /// Something that each plugin of the host that is there wrapped.
    pub wrapped: Vec<(Provider, Wrapped)>,
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
    /// kube-apiserver's manifest is there: the host has joined.
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
    /// What another host needs to join this one, by the files and plugins here. None: this host has no flag, so that nothing is needed.
    ///
    /// # Errors
    ///
    /// The files cannot be read, the path is another one in the container, or a plugin does not work.
    pub async fn preparation(&self) -> Result<Option<Preparation>, HostError> {
        let files = self.files()?;
        let Some(found) = files.configuration()? else { return Ok(None) };
        let path = files.facts.encryption_provider_config.clone().unwrap_or_default();
        if Path::new(&path) != found.file.path() {
            return Err(HostError::ElsewhereInContainer { path, host: found.file.path().to_owned() });
        }
        let mut wrapped = Vec::new();
        let known = plugins::known(Some(&found.text), &[]);
        let probes = plugins::probe(&known).await;
        for (PluginAt { provider, .. }, probe) in known.into_iter().zip(probes) {
            let sample = probe.map_err(|reason| HostError::Plugin { provider: provider.clone(), reason })?;
            wrapped.push((provider, sample));
        }
        let text = FileText(Zeroizing::new(found.text.text().to_owned()));
        Ok(Some(Preparation { path: found.file.path().to_owned(), text, wrapped }))
    }

    /// Looks how far this host is prepared, and with `write` puts the file there, for root alone.
    pub(super) async fn prepare(&self, wanted: &Preparation, write: bool) -> Result<Prepared, HostError> {
        // Whatever comes here over a line, only what kube-apiserver takes gets a name.
        let text = EncryptionConfiguration::read(wanted.text.0.as_bytes());
        let text = text.map_err(|error| HostError::NoConfiguration(error.to_string()))?;
        let mut prepared = Prepared {
            file: self.prepared_file(wanted)?,
            has_joined: self.manifest.exists(),
            plugins: Vec::new(),
        };
        for plugin in plugins::known(Some(&text), &[]) {
            let samples = wanted.wrapped.iter().filter(|(it, _)| *it == plugin.provider);
            prepared.plugins.push((plugin.provider.clone(), state(&plugin, samples).await));
        }
        if !write || prepared.file == PreparedFile::Same {
            return Ok(prepared);
        }
        if prepared.has_joined {
            return Err(HostError::HasJoined(self.manifest.clone()));
        }
        let _lock = self.lock()?;
        if let Some(directory) = wanted.path.parent() {
            let made = DirBuilder::new().recursive(true).mode(0o755).create(directory);
            made.map_err(|source| HostError::Places { path: directory.to_owned(), source })?;
        }
        owned_file::create(&wanted.path, wanted.text.0.as_bytes(), &self.places)?;
        prepared.file = PreparedFile::Same;
        Ok(prepared)
    }

    fn prepared_file(&self, wanted: &Preparation) -> Result<PreparedFile, HostError> {
        match OwnedFile::read(&wanted.path, MAX_LEN) {
            Ok(found) if found.bytes() == wanted.text.0.as_bytes() => Ok(PreparedFile::Same),
            Ok(_) => Ok(PreparedFile::Other),
            Err(OwnedFileError::File(FileError::Missing(_))) => Ok(PreparedFile::Missing),
            Err(error) => Err(error.into()),
        }
    }
}

async fn state<'w>(plugin: &PluginAt, samples: impl Iterator<Item = &'w (Provider, Wrapped)>) -> PluginState {
    let socket = plugin.open();
    for (_, sample) in samples {
        match socket.unwrap(sample).await {
            Ok(()) => {}
            Err(problem @ (PluginProblem::Unreachable { .. } | PluginProblem::Late { .. })) => {
                return PluginState::Away(problem.to_string());
            }
            Err(problem) => return PluginState::Refuses(problem.to_string()),
        }
    }
    PluginState::Unwraps
}
