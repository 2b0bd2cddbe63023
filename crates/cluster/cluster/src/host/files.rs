//! The files of a host, read.

use std::path::Path;

use keystead_crypto::sha256;

use super::supervisor::Supervisor;
use super::{HostError, LocalHost, Seen};
use crate::api_server_facts::Facts;
use crate::api_server_flags::KMS_V1;
use crate::encryption_configuration::{
    ApiServer, EncryptionConfiguration, Provider as FileProvider, ResourceEntry,
};
use crate::owned_file::OwnedFile;
use crate::yaml::MAX_LEN;

/// What says how the API server is started, read.
pub(crate) struct Files {
    pub(crate) api_server: Supervisor,
    pub(crate) facts: Facts,
}

/// The EncryptionConfiguration that the flag names, read.
pub(crate) struct ConfigurationFile {
    pub(crate) file: OwnedFile,
    pub(crate) text: EncryptionConfiguration,
}

impl LocalHost {
    pub(crate) fn files(&self) -> Result<Files, HostError> {
        let api_server = self.supervisor()?;
        Ok(Files { facts: api_server.facts()?, api_server })
    }
}

impl ConfigurationFile {
    /// What it encrypts besides these resources.
    pub(super) fn others(&self, resources: &[String]) -> Vec<String> {
        let entries = self.text.entries().iter();
        let encrypts = |it: &&ResourceEntry| {
            it.providers.iter().any(|it| !matches!(it.provider, FileProvider::Identity))
        };
        let names = entries.filter(encrypts).flat_map(|it| &it.resources).map(|(name, _)| name);
        names.filter(|it| !resources.contains(it)).cloned().collect()
    }
}

impl Files {
    /// The EncryptionConfiguration; none if the flag is not set.
    pub(crate) fn configuration(&self) -> Result<Option<ConfigurationFile>, HostError> {
        let Some(path) = &self.facts.encryption_provider_config else { return Ok(None) };
        let host = self.facts.host_path(path).ok_or_else(|| HostError::NotMounted(path.clone()))?;
        let file = OwnedFile::read(Path::new(&host), MAX_LEN)?;
        let text = EncryptionConfiguration::read(file.bytes()).map_err(|error| file.located(error))?;
        Ok(Some(ConfigurationFile { file, text }))
    }

    pub(super) fn seen(&self, file: Option<&ConfigurationFile>) -> Seen {
        Seen { start: self.api_server.digest(), configuration: file.map(|it| digest(it.file.bytes())) }
    }

    /// What kube-apiserver takes. Of a version that the image does not tell, it is taken to be new.
    pub(crate) fn taker(&self) -> ApiServer {
        ApiServer {
            minor: self.facts.version.map_or(u32::MAX, |(_, minor, _)| minor),
            automatic_reload: self.facts.automatic_reload,
            kms_v1: self.facts.feature_gates.get(KMS_V1).copied(),
        }
    }
}

/// SHA-256 in hexadecimal, as kube-apiserver's metrics have it.
pub(super) fn digest(bytes: &[u8]) -> String {
    hex::encode(sha256(bytes))
}
