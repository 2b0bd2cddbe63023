//! kube-apiserver's manifest, EncryptionConfiguration and process.

use std::collections::BTreeSet;
use std::path::PathBuf;

use keystead_model::ErrorChain;

use super::with_manifest;
use crate::api_server_facts::Facts as ManifestText;
use crate::api_server_manifest::Mount;
use crate::doctor::facts::{
    ConfigurationFacts, EntryFacts, KmsEntryFacts, ManifestFacts, ProcessFacts, Refusal, Seen,
};
use crate::encryption_configuration::{ApiServer as Taker, GroupResource, Problem, Provider as FileProvider};
use crate::host::{ConfigurationFile, Files, LocalHost, Report};
use crate::pod_user::PodUser;
use crate::provider_order;
use crate::rollout::Configuration;

/// What was read.
pub(super) struct Host {
    pub(super) manifest: Seen<ManifestFacts>,
    pub(super) configuration: Seen<Option<ConfigurationFacts>>,
    /// The manifest itself, where it could be read.
    pub(super) text: Option<ManifestText>,
    /// Whom kube-apiserver runs as, by its manifest and by its process.
    pub(super) users: BTreeSet<PodUser>,
    /// Files that the flags of a unit name. Those of a manifest are found with its directory.
    pub(super) unit_files: Option<Vec<PathBuf>>,
}

pub(super) fn read(host: &LocalHost, report: &Seen<Report>) -> Host {
    let files = host.files().map_err(|error| ErrorChain(&error).to_string());
    let manifest = match (report, &files) {
        (Ok(report), Ok(files)) => Ok(manifest_facts(report, files)),
        (Err(reason), _) | (_, Err(reason)) => Err(reason.clone()),
    };
    let configuration = with_manifest(&files).and_then(|files| {
        let file = files.configuration().map_err(|error| ErrorChain(&error).to_string())?;
        Ok(file.map(|file| configuration_facts(&file, &files.taker())))
    });
    let users = manifest.as_ref().map(users).unwrap_or_default();
    let unit_files = files.as_ref().ok().and_then(|it| it.api_server.unit()).map(|(_, files)| files);
    Host { manifest, configuration, text: files.ok().map(|it| it.facts), users, unit_files }
}

fn users(manifest: &ManifestFacts) -> BTreeSet<PodUser> {
    let process = manifest.process.as_ref().and_then(|it| it.runs_as.clone());
    manifest.runs_as.clone().into_iter().chain(process).collect()
}

fn manifest_facts(report: &Report, files: &Files) -> ManifestFacts {
    let text = &files.facts;
    let process = report.process.as_ref().map(|it| {
        let pid = it.id.split('-').next().unwrap_or_default().to_owned();
        let runs_as = PodUser::of_process(&pid);
        ProcessFacts { pid, started: it.started, has_flag: it.has_flag, runs_as }
    });
    let configuration = text.encryption_provider_config.clone();
    let host = configuration.as_ref().and_then(|it| text.host_path(it)).map(PathBuf::from);
    let mount = configuration.as_ref().map(|file| {
        let at = |it: &&Mount| it.mount_path.trim_end_matches('/') == file;
        text.mounts.iter().any(|it| at(&it))
    });
    ManifestFacts {
        path: files.api_server.path().to_owned(),
        unit: files.api_server.unit().map(|(name, _)| name.to_owned()),
        unit_changed: files.api_server.unsettled().into_iter().chain(files.api_server.remarks()).collect(),
        address: report.address.clone(),
        minor: report.minor,
        configuration,
        configuration_on_host: host,
        mounted_alone: mount.unwrap_or_default(),
        automatic_reload: report.automatic_reload,
        // It has one container.
        runs_as: files.api_server.users().into_iter().next(),
        changed: report.changed,
        digest: report.seen.configuration.clone(),
        on_disk: report.on_disk.clone(),
        process,
    }
}

fn configuration_facts(found: &ConfigurationFile, taker: &Taker) -> ConfigurationFacts {
    let file = &found.text;
    let providers = || file.entries().iter().flat_map(|it| &it.providers).map(|it| &it.provider);
    let mut kms: Vec<KmsEntryFacts> = Vec::new();
    for provider in providers() {
        let FileProvider::Kms(entry) = provider else { continue };
        let facts = KmsEntryFacts {
            provider: provider_order::of_entry(entry),
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
        path: found.file.path().to_owned(),
        has_keys: providers().any(|it| !matches!(it, FileProvider::Identity | FileProvider::Kms(_))),
        entries,
        refused: refused.collect(),
        kms,
    }
}
