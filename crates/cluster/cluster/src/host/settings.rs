//! What a manifest says about encryption, as it is and as it is to be.

use std::path::{Path, PathBuf};

use super::LocalHost;
use super::files::{ConfigurationFile, Files, digest};
use super::plugins::{self, PluginAt};
use crate::api_server_facts::Facts;
use crate::api_server_flags::KMS_V1;
use crate::api_server_manifest::{DirectoryMount, EncryptionSettings, Mount};
use crate::rollout::{Provider, TELLS_LOADED_FILE};

/// The first minor version in which KMS v1 has to be switched on.
const KMS_V1_IS_OFF: u32 = 29;
/// The volume of the plugin's socket, as the product's documents call it.
const SOCKET_VOLUME: &str = "kms-plugin-socket";
/// The volume of the EncryptionConfiguration's directory, where no other mounts it.
const CONFIGURATION_VOLUME: &str = "encryption-configuration";

impl LocalHost {
    /// What is written into a manifest that has no flag yet, for these plugins.
    pub(super) fn new_settings(&self, files: &Files, plugins: &[PluginAt]) -> EncryptionSettings {
        let minor = files.facts.version.map(|(_, minor, _)| minor);
        let has_v1 = plugins.iter().any(|it| matches!(it.provider, Provider::KmsV1 { .. }));
        EncryptionSettings {
            configuration: self.configuration.display().to_string(),
            automatic_reload: (self.reloads && minor.is_some_and(|minor| minor >= TELLS_LOADED_FILE))
                .then_some(true),
            kms_v1: has_v1 && minor.is_none_or(|minor| minor >= KMS_V1_IS_OFF),
            directories: directories(&self.configuration, plugins, &files.facts),
        }
    }
}

impl Files {
    /// The settings, if each directory has the same path on the host as in the container. Otherwise they say nothing of where it is.
    pub(super) fn same_elsewhere(&self, settings: EncryptionSettings) -> Result<EncryptionSettings, String> {
        for directory in &settings.directories {
            let path = directory.path.trim_end_matches('/');
            if let Some(host) = self.facts.host_path(path).filter(|it| it.trim_end_matches('/') != path) {
                return Err(format!("{path} in the container is {host} on the host"));
            }
        }
        Ok(settings)
    }

    /// What the manifest says about encryption. None: the flag is not set.
    pub(super) fn settings(&self, file: &ConfigurationFile) -> Option<EncryptionSettings> {
        let configuration = self.facts.encryption_provider_config.clone()?;
        let plugins = plugins::known(Some(&file.text), &[]);
        let has_v1 = plugins.iter().any(|it| matches!(it.provider, Provider::KmsV1 { .. }));
        Some(EncryptionSettings {
            automatic_reload: self.facts.automatic_reload.then_some(true),
            kms_v1: has_v1 && self.facts.feature_gates.get(KMS_V1) == Some(&true),
            directories: directories(Path::new(&configuration), &plugins, &self.facts),
            configuration,
        })
    }
}

fn directories(configuration: &Path, plugins: &[PluginAt], facts: &Facts) -> Vec<DirectoryMount> {
    let mut directories = socket_directories(plugins, facts);
    directories.push(DirectoryMount {
        volume: CONFIGURATION_VOLUME.to_owned(),
        path: directory_of(configuration),
        read_only: true,
    });
    directories
}

/// Where the sockets of plugins are, each directory once. A socket in the abstract name space needs none.
pub(super) fn socket_directories(plugins: &[PluginAt], facts: &Facts) -> Vec<DirectoryMount> {
    let mut directories: Vec<DirectoryMount> = Vec::new();
    for plugin in plugins.iter().filter(|it| !it.socket.starts_with('@')) {
        let directory = directory_of(Path::new(&plugin.socket));
        let above = mounted_above(&directory, facts);
        let above = above.map(|it| it.mount_path.trim_end_matches('/').to_owned());
        let path = above.or_else(|| directory_of_all(&directory)).unwrap_or(directory);
        if directories.iter().any(|it| it.path == path) {
            continue;
        }
        // A volume of that name may be there for another directory, and every directory has a name of its own.
        let is_other = |it: &&Mount| it.volume == SOCKET_VOLUME && it.host_path.trim_end_matches('/') != path;
        let is_taken = directories.iter().any(|it| it.volume == SOCKET_VOLUME)
            || facts.mounts.iter().any(|it| is_other(&it));
        let volume = match is_taken {
            false => SOCKET_VOLUME.to_owned(),
            true => format!("{SOCKET_VOLUME}-{}", digest(path.as_bytes()).get(..8).unwrap_or_default()),
        };
        directories.push(DirectoryMount { volume, path, read_only: false });
    }
    directories
}

/// `.../keystead`, where the socket's directory is one in it: with that the API server sees the socket of the next plugin, too, without
/// another start.
fn directory_of_all(directory: &str) -> Option<String> {
    let above =
        Path::new(directory).parent().filter(|it| it.file_name().is_some_and(|name| name == "keystead"))?;
    Some(above.display().to_string())
}

/// The mount that brings a directory to the same path in the container although it is of one above it: sockets of several plugins may be in
/// directories below one. No container mounts `/`; that is what a unit of systemd's sees.
fn mounted_above<'f>(directory: &str, facts: &'f Facts) -> Option<&'f Mount> {
    let is_above = |it: &&Mount| {
        let path = Path::new(it.mount_path.trim_end_matches('/'));
        Path::new(&it.host_path) == path && path.parent().is_some() && Path::new(directory).starts_with(path)
    };
    let mount = facts.mounts.iter().filter(is_above).max_by_key(|it| it.mount_path.len())?;
    // One that is deeper brings something else there.
    (facts.host_path(directory).as_deref() == Some(directory)).then_some(mount)
}

fn directory_of(path: &Path) -> String {
    path.parent().map(Path::to_owned).unwrap_or_else(|| PathBuf::from("/")).display().to_string()
}
