//! kube-apiserver's manifest, EncryptionConfiguration and process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use keystead_model::ErrorChain;

use super::{permissions, with_manifest};
use crate::api_server_flags::KMS_V1;
use crate::api_server_manifest::{ApiServerManifest, Facts as ManifestText, Mount};
use crate::doctor::facts::{
    ConfigurationFacts, EntryFacts, KmsEntryFacts, ManifestFacts, PodUser, ProcessFacts, Refusal, Seen,
};
use crate::encryption_configuration::{
    ApiServer as Taker, EncryptionConfiguration, GroupResource, KmsVersion, Problem, Provider as FileProvider,
};
use crate::host::Report;
use crate::owned_file::OwnedFile;
use crate::provider_order;
use crate::rollout::{Configuration, Provider};
use crate::yaml::MAX_LEN;

/// What was read.
pub(super) struct Host {
    pub(super) manifest: Seen<ManifestFacts>,
    pub(super) configuration: Seen<Option<ConfigurationFacts>>,
    /// The manifest itself, where it could be read.
    pub(super) text: Option<ManifestText>,
    /// Whom kube-apiserver runs as, by its manifest and by its process.
    pub(super) users: BTreeSet<PodUser>,
}

pub(super) fn read(path: &Path, report: &Seen<Report>) -> Host {
    let read = manifest_text(path);
    let manifest = match (report, &read) {
        (Ok(report), Ok(text)) => Ok(manifest_facts(path, report, text)),
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    let configuration = with_manifest(&read).and_then(|text| {
        let file = configuration(text)?;
        Ok(file.map(|(path, file)| configuration_facts(&path, &file, &taker(text))))
    });
    let users = manifest.as_ref().map(users).unwrap_or_default();
    Host { manifest, configuration, text: read.ok(), users }
}

fn users(manifest: &ManifestFacts) -> BTreeSet<PodUser> {
    let pod = manifest.run_as_user.map(|user| PodUser { user, groups: manifest.run_as_groups.clone() });
    let process = manifest.process.as_ref();
    let process = process.and_then(|it| Some(PodUser { user: it.user?, groups: it.groups.clone() }));
    pod.into_iter().chain(process).collect()
}

fn manifest_text(path: &Path) -> Seen<ManifestText> {
    let file = OwnedFile::read(path, MAX_LEN).map_err(|error| ErrorChain(&error).to_string())?;
    let manifest = ApiServerManifest::read(file.bytes()).map_err(|error| file.located(error).to_string())?;
    manifest.facts().map_err(|error| file.located(error).to_string())
}

fn manifest_facts(path: &Path, report: &Report, text: &ManifestText) -> ManifestFacts {
    let process = report.process.as_ref().map(|it| {
        let pid = it.id.split('-').next().unwrap_or_default().to_owned();
        let (user, groups) = permissions::of_process(&pid);
        ProcessFacts { pid, started: it.started, has_flag: it.has_flag, user, groups }
    });
    let configuration = text.encryption_provider_config.clone();
    let host = configuration.as_ref().and_then(|it| text.host_path(it)).map(PathBuf::from);
    let mount = configuration.as_ref().map(|file| {
        let at = |it: &&Mount| it.mount_path.trim_end_matches('/') == file;
        text.mounts.iter().any(|it| at(&it))
    });
    let (run_as_user, run_as_groups) = permissions::of_pod(path);
    ManifestFacts {
        path: path.to_owned(),
        address: report.address.clone(),
        minor: report.minor,
        configuration,
        configuration_on_host: host,
        mounted_alone: mount.unwrap_or_default(),
        automatic_reload: report.automatic_reload,
        run_as_user,
        run_as_groups,
        changed: report.changed,
        digest: report.seen.configuration.clone(),
        on_disk: report.on_disk.clone(),
        process,
    }
}

/// The file, with its path on the host; none: the flag is not set.
fn configuration(text: &ManifestText) -> Seen<Option<(PathBuf, EncryptionConfiguration)>> {
    let Some(given) = &text.encryption_provider_config else { return Ok(None) };
    let host = text.host_path(given);
    let host = host.ok_or_else(|| {
        format!("kube-apiserver reads {given}, which no mount of its manifest brings there")
    })?;
    let path = PathBuf::from(host);
    let file = OwnedFile::read(&path, MAX_LEN).map_err(|error| ErrorChain(&error).to_string())?;
    let read =
        EncryptionConfiguration::read(file.bytes()).map_err(|error| file.located(error).to_string())?;
    Ok(Some((path, read)))
}

/// Of a version that the image does not tell, it is taken to be new.
fn taker(text: &ManifestText) -> Taker {
    Taker {
        minor: text.version.map_or(u32::MAX, |(_, minor, _)| minor),
        automatic_reload: text.automatic_reload,
        kms_v1: text.feature_gates.get(KMS_V1).copied(),
    }
}

fn configuration_facts(path: &Path, file: &EncryptionConfiguration, taker: &Taker) -> ConfigurationFacts {
    let providers = || file.entries().iter().flat_map(|it| &it.providers).map(|it| &it.provider);
    let mut kms: Vec<KmsEntryFacts> = Vec::new();
    for provider in providers() {
        let FileProvider::Kms(entry) = provider else { continue };
        let name = entry.name.clone();
        let facts = KmsEntryFacts {
            provider: match entry.api_version {
                KmsVersion::V1 => Provider::KmsV1 { name },
                KmsVersion::V2 => Provider::KmsV2 { name },
            },
            socket: entry.endpoint.socket().to_owned(),
            cache_size: entry.cache_size,
        };
        // The same entry may stand in the lists of several resources.
        if !kms.iter().any(|it| (&it.provider, &it.socket) == (&facts.provider, &facts.socket)) {
            kms.push(facts);
        }
    }
    let entries = file.entries().iter().filter_map(|entry| {
        let resources: Vec<String> = entry.resources.iter().map(|(name, _)| name.clone()).collect();
        match provider_order::configuration(file, &GroupResource::parse(resources.first()?)) {
            Configuration::Providers(order) => Some(EntryFacts { resources, order }),
            Configuration::NoEncryption => None,
        }
    });
    let entries = entries.collect();
    let refused = file.check(taker).into_iter().map(|it| {
        let refusal = match &it.problem {
            Problem::NameTwice(_) => Refusal::NameTwice,
            Problem::KmsV1Gate { .. } => Refusal::KmsV1Gate,
            _ => Refusal::Other,
        };
        (refusal, it.to_string())
    });
    ConfigurationFacts {
        path: path.to_owned(),
        has_keys: providers().any(|it| !matches!(it, FileProvider::Identity | FileProvider::Kms(_))),
        entries,
        refused: refused.collect(),
        kms,
    }
}
