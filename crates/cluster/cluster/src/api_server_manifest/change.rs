//! What has to change in a manifest, and the change.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ApiServerManifest, DirectoryMount, ManifestError};
use crate::api_server_flags::{CONFIG, FEATURE_GATES, KMS_V1, RELOAD};

/// What a manifest must say for kube-apiserver to encrypt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionSettings {
    /// The EncryptionConfiguration, in one of the directories.
    pub configuration: String,
    /// Whether kube-apiserver follows changes of that file. None leaves the flag as it is.
    pub automatic_reload: Option<bool>,
    /// Whether the gate `KMSv1` must be on, which KMS v1 needs from Kubernetes 1.29.
    pub kms_v1: bool,
    /// The configuration's directory and the sockets' directories.
    pub directories: Vec<DirectoryMount>,
}

/// One change of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestEdit {
    /// Adds a flag or changes its value.
    SetFlag {
        /// Without dashes in front.
        name: &'static str,
        /// The value.
        value: String,
    },
    /// Removes a flag.
    RemoveFlag {
        /// Without dashes in front.
        name: &'static str,
    },
    /// Switches a feature gate and leaves all others as they are; `None` removes it.
    SetFeatureGate {
        /// The gate.
        name: &'static str,
        /// Its new value.
        on: Option<bool>,
    },
    /// Mounts a directory.
    Mount(DirectoryMount),
    /// Removes the mount of a directory, and its volume if nothing else mounts that.
    Unmount(DirectoryMount),
}

impl ApiServerManifest {
    /// What is missing; nothing if the manifest says everything already. Refuses if it says something else.
    pub fn plan_encryption(&self, wanted: &EncryptionSettings) -> Result<Vec<ManifestEdit>, ManifestError> {
        let facts = self.facts()?;
        self.once(&[CONFIG, RELOAD])?;
        let mut edits = Vec::new();
        match facts.encryption_provider_config {
            Some(given) if given == wanted.configuration => (),
            Some(given) => {
                return Err(ManifestError::OtherConfiguration {
                    given,
                    wanted: wanted.configuration.clone(),
                });
            }
            None => edits.push(ManifestEdit::SetFlag { name: CONFIG, value: wanted.configuration.clone() }),
        }
        if let Some(on) = wanted.automatic_reload.filter(|on| *on != facts.automatic_reload) {
            edits.push(ManifestEdit::SetFlag { name: RELOAD, value: on.to_string() });
        }
        if wanted.kms_v1 && facts.feature_gates.get(KMS_V1) != Some(&true) {
            self.once(&[FEATURE_GATES])?;
            edits.push(ManifestEdit::SetFeatureGate { name: KMS_V1, on: Some(true) });
        }
        for directory in &wanted.directories {
            if !self.is_mounted(directory)? {
                edits.push(ManifestEdit::Mount(directory.clone()));
            }
        }
        Ok(edits)
    }

    /// What is to be removed so that nothing of `settings` stays. A mount of another volume's name or another path is somebody else's
    /// and stays. Refuses if the configuration is another file.
    pub fn plan_removal(&self, settings: &EncryptionSettings) -> Result<Vec<ManifestEdit>, ManifestError> {
        let facts = self.facts()?;
        self.once(&[CONFIG, RELOAD])?;
        let mut edits = Vec::new();
        match facts.encryption_provider_config {
            Some(given) if given != settings.configuration => {
                return Err(ManifestError::OtherConfiguration {
                    given,
                    wanted: settings.configuration.clone(),
                });
            }
            Some(_) => edits.push(ManifestEdit::RemoveFlag { name: CONFIG }),
            None => (),
        }
        // kube-apiserver does not start with it alone.
        if self.flag(RELOAD)?.is_some() {
            edits.push(ManifestEdit::RemoveFlag { name: RELOAD });
        }
        if settings.kms_v1 && facts.feature_gates.contains_key(KMS_V1) {
            self.once(&[FEATURE_GATES])?;
            edits.push(ManifestEdit::SetFeatureGate { name: KMS_V1, on: None });
        }
        for directory in &settings.directories {
            if facts.mounts.iter().any(|mount| mount.volume == directory.volume && mount.is_of(directory)) {
                edits.push(ManifestEdit::Unmount(directory.clone()));
            }
        }
        Ok(edits)
    }

    /// Refuses a flag that is to be edited and stands twice, at its place in the text that was given.
    fn once(&self, names: &[&str]) -> Result<(), ManifestError> {
        names.iter().try_for_each(|name| self.only(name).map(drop))
    }

    /// The manifest after these edits. Each edit is proven by reading its result.
    pub fn edited(&self, edits: &[ManifestEdit]) -> Result<Self, ManifestError> {
        let mut manifest = Self::read(self.text().as_bytes())?;
        for edit in edits {
            manifest = Self::of(match edit {
                ManifestEdit::SetFlag { name, value } => manifest.with_flag(name, value)?,
                ManifestEdit::RemoveFlag { name } => manifest.without_flag(name)?,
                ManifestEdit::SetFeatureGate { name, on } => match manifest.merged_gates(name, *on)? {
                    gates if gates.is_empty() => manifest.without_flag(FEATURE_GATES)?,
                    gates => manifest.with_flag(FEATURE_GATES, &gates)?,
                },
                ManifestEdit::Mount(directory) => manifest.with_mount(directory)?,
                ManifestEdit::Unmount(directory) => manifest.without_mount(directory)?,
            })?;
        }
        Ok(manifest)
    }
}

impl fmt::Display for ManifestEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetFlag { name, value } => write!(f, "set --{name}={value}"),
            Self::RemoveFlag { name } => write!(f, "remove --{name}"),
            Self::SetFeatureGate { name, on: Some(on) } => write!(f, "set {name}={on} in --feature-gates"),
            Self::SetFeatureGate { name, on: None } => write!(f, "remove {name} from --feature-gates"),
            Self::Mount(directory) => {
                let how = if directory.read_only { ", read-only" } else { "" };
                write!(f, "mount the directory {} as volume {}{how}", directory.path, directory.volume)
            }
            Self::Unmount(directory) => {
                write!(f, "remove the mount of {} and its volume {}", directory.path, directory.volume)
            }
        }
    }
}
