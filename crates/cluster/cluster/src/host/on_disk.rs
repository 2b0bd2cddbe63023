//! What is in the files of a host.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use keystead_crypto::sha256;

use super::change::RESTART;
use super::{EtcdAccess, HostError, LocalHost, Report, Seen, plugins, process};
use crate::api::url;
use crate::api_server_flags::KMS_V1;
use crate::api_server_manifest::EncryptionSettings;
use crate::api_server_manifest::{ApiServerManifest, Facts};
use crate::encryption_configuration::{
    ApiServer, EncryptionConfiguration, GroupResource, Provider as FileProvider, ResourceEntry,
};
use crate::owned_file::OwnedFile;
use crate::provider_order::{self, KmsPlugin};
use crate::rollout::Configuration;
use crate::yaml::MAX_LEN;

/// The manifest, read.
pub(super) struct Files {
    pub(super) manifest_file: OwnedFile,
    pub(super) manifest: ApiServerManifest,
    pub(super) facts: Facts,
}

/// The EncryptionConfiguration that a manifest names, read.
pub(super) struct ConfigurationFile {
    pub(super) file: OwnedFile,
    pub(super) text: EncryptionConfiguration,
}

impl LocalHost {
    pub(super) fn files(&self) -> Result<Files, HostError> {
        let manifest_file = OwnedFile::read(&self.manifest, MAX_LEN)?;
        let manifest = ApiServerManifest::read(manifest_file.bytes());
        let manifest = manifest.map_err(|error| manifest_file.located(error))?;
        let facts = manifest.facts().map_err(|error| manifest_file.located(error))?;
        Ok(Files { manifest_file, manifest, facts })
    }

    pub(super) async fn look(&self, resources: &[String], more: &[KmsPlugin]) -> Result<Report, HostError> {
        let files = self.files()?;
        let read = files.configuration();
        let file = read.as_ref().ok().and_then(Option::as_ref);
        let resources: Vec<GroupResource> = resources.iter().map(|it| GroupResource::parse(it)).collect();
        let known = plugins::known(file.map(|it| &it.text), more);
        let facts = &files.facts;
        let manifest_changed = changed(&self.manifest);
        let in_rollout = provider_order::resources(file.map(|it| &it.text), &resources);
        let file_changed = file.map_or(0.0, |it| changed(it.file.path()));
        Ok(Report {
            address: address(facts),
            minor: facts.version.map(|(_, minor, _)| minor),
            seen: files.seen(file),
            others: file.map(|it| it.others(&in_rollout)).unwrap_or_default(),
            restart_after: files.manifest.annotation(RESTART).map(str::to_owned),
            resources: in_rollout,
            earlier: self.earlier(&resources),
            automatic_reload: facts.automatic_reload,
            settings: match file.and_then(|it| files.settings(it)) {
                Some(settings) => files.same_elsewhere(settings),
                None => Ok(self.new_settings(&files, &plugins::known(None, more))),
            },
            process: process::find(facts.secure_port),
            etcd: files.etcd(file),
            plugins: plugins::probe(&known).await,
            changed: manifest_changed.max(file_changed),
            on_disk: files.order(&resources, read).map_err(|error| chain(&error)),
        })
    }

    /// What the texts said that were replaced on this host. One that cannot be read says nothing.
    fn earlier(&self, resources: &[GroupResource]) -> BTreeMap<String, Configuration> {
        let Ok(entries) = fs::read_dir(&self.places.previous) else { return BTreeMap::new() };
        let read = |path: PathBuf| {
            let file = OwnedFile::read(&path, MAX_LEN).ok()?;
            let text = EncryptionConfiguration::read(file.bytes()).ok()?;
            let order = provider_order::read(&text, resources).ok()?;
            Some((hex(file.bytes()), order))
        };
        entries.filter_map(|entry| read(entry.ok()?.path())).take(EARLIER_MAX).collect()
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
    pub(super) fn configuration(&self) -> Result<Option<ConfigurationFile>, HostError> {
        let Some(path) = &self.facts.encryption_provider_config else { return Ok(None) };
        let host = self.facts.host_path(path).ok_or_else(|| HostError::NotMounted(path.clone()))?;
        let file = OwnedFile::read(Path::new(&host), MAX_LEN)?;
        let text = EncryptionConfiguration::read(file.bytes()).map_err(|error| file.located(error))?;
        Ok(Some(ConfigurationFile { file, text }))
    }

    pub(super) fn seen(&self, file: Option<&ConfigurationFile>) -> Seen {
        Seen { manifest: hex(self.manifest_file.bytes()), configuration: file.map(|it| hex(it.file.bytes())) }
    }

    /// The settings, if each directory has the same path on the host as in the container. Otherwise they say nothing of where it is.
    fn same_elsewhere(&self, settings: EncryptionSettings) -> Result<EncryptionSettings, String> {
        for directory in &settings.directories {
            let path = directory.path.trim_end_matches('/');
            if let Some(host) = self.facts.host_path(path).filter(|it| it.trim_end_matches('/') != path) {
                return Err(format!("{path} in the container is {host} on the host"));
            }
        }
        Ok(settings)
    }

    /// What kube-apiserver takes. Of a version that the image does not tell, it is taken to be new.
    pub(super) fn api_server(&self) -> ApiServer {
        ApiServer {
            minor: self.facts.version.map_or(u32::MAX, |(_, minor, _)| minor),
            automatic_reload: self.facts.automatic_reload,
            kms_v1: self.facts.feature_gates.get(KMS_V1).copied(),
        }
    }

    fn order(
        &self,
        resources: &[GroupResource],
        read: Result<Option<ConfigurationFile>, HostError>,
    ) -> Result<Configuration, HostError> {
        let Some(ConfigurationFile { file, text }) = read? else { return Ok(Configuration::NoEncryption) };
        if let Some(finding) = text.check(&self.api_server()).into_iter().find(|it| it.problem.is_refused()) {
            return Err(file.located(finding).into());
        }
        Ok(provider_order::read(&text, resources).map_err(|error| file.located(error))?)
    }

    fn etcd(&self, file: Option<&ConfigurationFile>) -> EtcdAccess {
        let flags = &self.facts.etcd;
        let host = |path: &Option<String>| {
            path.as_ref().map(|it| PathBuf::from(self.facts.host_path(it).unwrap_or_else(|| it.clone())))
        };
        EtcdAccess {
            endpoints: flags.servers.clone(),
            ca_file: host(&flags.ca_file),
            certificate_file: host(&flags.certificate_file),
            key_file: host(&flags.key_file),
            prefix: flags.prefix.clone(),
            known_names: file.map(|it| it.text.known_names()).unwrap_or_default(),
        }
    }
}

/// Earlier texts that are looked at; the directory is ours, and nobody changes a cluster's providers a thousand times.
const EARLIER_MAX: usize = 1000;

/// Where the kubelet asks too: kubeadm writes the flag, and without it the API server listens on all addresses.
fn address(facts: &Facts) -> String {
    url(facts.advertise_address.as_deref().unwrap_or("127.0.0.1"), facts.secure_port)
}

/// When name or content last changed, in seconds since 1970. Nobody can set that time, and a rename counts.
fn changed(path: &Path) -> f64 {
    fs::metadata(path).map_or(0.0, |it| it.ctime() as f64 + it.ctime_nsec() as f64 / 1e9)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    sha256(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn chain(error: &HostError) -> String {
    keystead_model::ErrorChain(error).to_string()
}
